//! Storage: opens the stores of a workspace's folder.

use std::sync::Arc;

use openprod_blobs::folder::OnDisk as FilesOnDisk;
use openprod_blobs::index::{Index, Medium};
use openprod_blobs::store::Store;
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_model::ids::WorkspaceId;
use openprod_oplog::store::{LogStore, OpenError};
use openprod_overlays::store::{FileStore, OverlayStore};
use openprod_state::{OnDisk, StateStore};

use crate::config::Config;
use crate::folder::WorkspaceFolder;

const MIB: usize = 1024 * 1024;
/// Memory for the engine that keeps overlays: everything that is staged is in memory anyway.
const OVERLAYS_CACHE_BYTES: usize = 4 * MIB;

/// The open stores of a workspace.
pub struct Stores {
    /// Its log: the source of truth.
    pub log: Arc<LogStore>,
    /// Its state: derived, and made anew where it does not belong to the log.
    pub state: Arc<StateStore>,
    /// Its overlays, which are opened when they are needed: what is wrong with them stops nothing else.
    pub overlays: Box<dyn OverlayStore>,
}

/// Opens the stores in a workspace's folder, making those that are missing; but a log that is missing is made only where
/// its history is yet to begin or to come. The error is a sentence for people.
pub fn open(folder: &WorkspaceFolder, id: WorkspaceId, config: &Config) -> Result<Stores, String> {
    if is_missing(folder) {
        return Err(format!("{}: the log is missing", folder.log().display()));
    }
    let log = openprod_oplog::store::Options { cache_bytes: config.log_cache_mb.saturating_mul(MIB) };
    let log =
        LogStore::open_file(folder.log(), id, log).map_err(|error| format!("{}: {error}", folder.log().display()))?;
    let reader: Arc<dyn LogReader> = log.clone();
    let state =
        openprod_state::Options { cache_bytes: config.state_cache_mb.saturating_mul(MIB), ..Default::default() };
    let state = StateStore::open(OnDisk(folder.state()), id, reader, state)
        .map_err(|error| format!("{}: {error}", folder.state().display()))?;
    let overlays = Box::new(FileStore::at(folder.overlays(), id, OVERLAYS_CACHE_BYTES));
    Ok(Stores { log, state, overlays })
}

fn is_missing(folder: &WorkspaceFolder) -> bool {
    let is_awaited = folder.unfinished().exists() || folder.joining().exists();
    !is_awaited && !folder.log().exists()
}

/// Whether a log is gone or is no log any more. One that only could not be opened this time is not lost.
pub fn is_lost(folder: &WorkspaceFolder, id: WorkspaceId) -> bool {
    let opened = || LogStore::open_file(folder.log(), id, openprod_oplog::store::Options::default());
    is_missing(folder) || matches!(opened(), Err(OpenError::Damaged { .. }))
}

/// The files of a workspace's folder. Opens nothing yet: what is wrong with them stops nothing else.
pub fn blobs(folder: &WorkspaceFolder, id: WorkspaceId, env: &Environment) -> Arc<Store> {
    let index = Index::new(Medium::File(folder.blob_index()), id);
    Store::new(Box::new(FilesOnDisk(folder.blobs())), index, env.clone())
}
