//! Collection: which blobs nothing needs any more, and their removal.
//!
//! A blob is needed while it is pinned, and while a standing or a staged value is that file, unless the file was deleted;
//! and while the log mentions it in what the state does not show yet.
//! One that is not needed goes when it has not been for long, no op that this node took in lately mentions it, and nobody
//! has put it lately, who may be about to mention it. How long that is, a setting says. Time is this node's own: when it
//! took an op in, whatever its author's clock said.
//!
//! Where the history cannot be read whole, nothing goes: what is not understood may need any of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::asset;
use openprod_domain::cell::Cell;
use openprod_domain::view::View;
use openprod_messages::blobs::{BlobError, Kept};
use openprod_messages::log::LogReader;
use openprod_messages::overlays::Overlays;
use openprod_messages::snapshot::Snapshots;
use openprod_model::ids::BlobHash;

use crate::care::CHUNK_ROWS;
use crate::index::Index;
use crate::mentions::{self, unread};
use crate::reader::Reader;
use crate::store::Store;
use crate::tables::MentionRow;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What the store is compared with: what the workspace says.
#[derive(Clone)]
pub struct Library {
    /// The files.
    pub store: Arc<Store>,
    /// The history.
    pub log: Arc<dyn LogReader>,
    /// The state.
    pub snapshots: Arc<dyn Snapshots>,
    /// What is staged.
    pub overlays: Arc<dyn Overlays>,
}

/// Why nothing is collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// Part of the history is damaged, or of a newer version.
    #[error("{0} bundles of the history cannot be read whole, and may need any file")]
    Obscure(u64),
    /// Bundles wait in quarantine.
    #[error("{0} bundles are in quarantine, and may need any file")]
    Quarantined(u64),
    /// Something could not be read or removed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// What was collected, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The blobs.
    pub blobs: Vec<Kept>,
    /// What they took on disk, in bytes.
    pub freed: u64,
    /// For how many days a file is kept that nothing needs any more.
    pub retention_days: u64,
}

/// What decides when a blob goes that nothing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Since when nothing needs it, as far as anybody has looked.
    pub idle_since_ms: u64,
    /// When it was last put.
    pub touched_ms: u64,
    /// When this node took in the last op that mentions it; none if none does.
    pub mentioned_ms: Option<u64>,
}

impl Facts {
    /// Whether it goes. Whoever has put it has a day at least to say what for.
    pub fn go(&self, now_ms: u64, retention_ms: u64) -> bool {
        let is_past = |ms: u64, window_ms: u64| ms.saturating_add(window_ms) <= now_ms;
        is_past(self.idle_since_ms, retention_ms)
            && is_past(self.touched_ms, retention_ms.max(DAY_MS))
            && self.mentioned_ms.is_none_or(|ms| is_past(ms, retention_ms))
    }
}

/// One collection.
struct Pass<'a> {
    view: &'a dyn View,
    /// Needed besides what the view shows: staged, or mentioned in what is not folded yet.
    besides: BTreeSet<BlobHash>,
    retention_ms: u64,
    dry: bool,
}

impl Library {
    /// Removes the blobs that nothing needs any more; if `dry`, only tells which. Blocks its thread.
    pub fn collect(&self, dry: bool) -> Result<Collected, CollectError> {
        self.ensure_clear()?;
        let snapshot = self.snapshots.snapshot().map_err(|failure| unread(&failure))?;
        let retention_days = asset::retention_days(snapshot.view()).map_err(|failure| unread(&failure))?;
        let retention_ms = retention_days.saturating_mul(DAY_MS);
        let mut besides = self.staged()?;
        mentions::behind(&*self.log, snapshot.position(), &mut besides)?;
        let pass = Pass { view: snapshot.view(), besides, retention_ms, dry };
        self.drop_partials(dry)?;
        let mut collected = Collected { retention_days, ..Collected::default() };
        let mut after = None;
        loop {
            let chunk = self.store.list(after, CHUNK_ROWS)?;
            let Some(last) = chunk.last() else { return Ok(collected) };
            after = Some(last.hash);
            for kept in chunk {
                if self.goes(&pass, kept.hash)? {
                    collected.freed += kept.stored;
                    collected.blobs.push(kept);
                }
            }
        }
    }

    fn ensure_clear(&self) -> Result<(), CollectError> {
        match mentions::follow(&self.store.index, &*self.log)? {
            0 => {}
            obscure => return Err(CollectError::Obscure(obscure)),
        }
        match self.log.quarantine_alarms().map_err(|failure| unread(&failure))? {
            0 => Ok(()),
            waiting => Err(CollectError::Quarantined(waiting)),
        }
    }

    fn staged(&self) -> Result<BTreeSet<BlobHash>, BlobError> {
        let overlays = self.overlays.all().map_err(|error| unread(&error))?;
        let cells = overlays.iter().flat_map(|overlay| overlay.staging.cells());
        Ok(cells.filter_map(|(_, staged)| Some(asset::file_in(&staged.content)?.hash)).collect())
    }

    /// What has come of blobs that nothing mentions and nobody has pinned is of no use.
    fn drop_partials(&self, dry: bool) -> Result<(), BlobError> {
        for hash in self.store.partials()?.into_iter().filter(|_| !dry) {
            if self.store.index.mention(hash)?.is_none() && !self.store.index.is_pinned(hash)? {
                self.store.drop_partial(hash)?;
            }
        }
        Ok(())
    }

    /// Whether a blob goes; and if so, and not only asked, it is gone. Whoever puts it again in this moment waits, and
    /// finds it absent or untouched.
    fn goes(&self, pass: &Pass<'_>, hash: BlobHash) -> Result<bool, BlobError> {
        let index = &self.store.index;
        let _settling = self.store.settle();
        let (Some(row), Some(kept)) = (index.row(hash)?, index.kept(hash)?) else { return Ok(false) };
        let now_ms = self.store.now_ms();
        let is_needed = kept.pinned || pass.besides.contains(&hash) || is_needed(index, pass.view, hash)?;
        let idle_since_ms = if is_needed { None } else { Some(row.idle_since_ms.unwrap_or(now_ms)) };
        let mentioned_ms = index.mention(hash)?.map(|mention| mention.last_ms);
        let facts =
            idle_since_ms.map(|idle_since_ms| Facts { idle_since_ms, touched_ms: row.touched_ms, mentioned_ms });
        let goes = facts.is_some_and(|facts| facts.go(now_ms, pass.retention_ms));
        if pass.dry {
            return Ok(goes);
        }
        if goes {
            self.store.remove(hash, &row)?;
        } else if idle_since_ms != row.idle_since_ms {
            index.change(hash, |row| row.idle_since_ms = idle_since_ms)?;
        }
        Ok(goes)
    }

    /// What the history says of a blob: none if it never mentions it.
    pub fn mention(&self, hash: BlobHash) -> Result<Option<MentionRow>, BlobError> {
        mentions::follow(&self.store.index, &*self.log)?;
        self.store.index.mention(hash)
    }

    /// What the history says of blobs, here or not, behind `after` in the order of their addresses, at most `limit`.
    pub fn mentions(&self, after: Option<BlobHash>, limit: usize) -> Result<Vec<(BlobHash, MentionRow)>, BlobError> {
        mentions::follow(&self.store.index, &*self.log)?;
        self.store.index.mentions(after, limit)
    }
}

impl Library {
    /// Opens a file for somebody else: one that is here, whole, and not deleted. Blocks its thread.
    pub fn give(&self, hash: BlobHash) -> Result<Reader, BlobError> {
        let snapshot = self.snapshots.snapshot().map_err(|failure| unread(&failure))?;
        match asset::deletion(snapshot.view(), hash).map_err(|failure| unread(&failure))? {
            Some(_) => Err(BlobError::Unavailable(hash)),
            None => self.store.open(hash),
        }
    }
}

/// Whether a standing value is that file, and the file was not deleted.
pub(crate) fn is_needed(index: &Index, view: &dyn View, hash: BlobHash) -> Result<bool, BlobError> {
    if asset::deletion(view, hash).map_err(|failure| unread(&failure))?.is_some() {
        return Ok(false);
    }
    for key in index.cells(hash)? {
        let Some(cell) = Cell::from_key(&key) else { continue };
        let tips = view.tips(&cell).map_err(|failure| unread(&failure))?;
        if tips.iter().any(|tip| asset::file_in(&tip.content).is_some_and(|file| file.hash == hash)) {
            return Ok(true);
        }
    }
    Ok(false)
}
