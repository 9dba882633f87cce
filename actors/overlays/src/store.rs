//! The store: overlays in their own file, behind a narrow trait.
//!
//! A commit is durable before anything is acknowledged. A full or broken disk refuses changes of overlays and nothing
//! else (see [`Tables`]).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use openprod_disk::MemoryDisk;
pub use openprod_disk::tables::Fault;
use openprod_disk::tables::{Form, META, Medium, Tables, damaged};
use openprod_domain::overlay::steps::Step;
use openprod_domain::overlay::{Delta, Staged, Staging};
use openprod_messages::overlays::{Info, StagedReceipt};
use openprod_model::codec;
use openprod_model::ids::{CommandId, OverlayId, WorkspaceId};
use openprod_model::value::Text;
use redb::{Durability, ReadableTable, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tables::{
    CELLS, FORMAT, META_PLACE, OVERLAYS, OverlayRow, Place, RECEIPTS, RECEIPTS_BY_TIME, ReceiptRow, STEP_CELLS, STEPS,
};

/// How long answers are kept: nobody tries a command again after a day.
const RECEIPTS_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most answers forgotten in one commit, so that none takes long.
const FORGET_PER_COMMIT: usize = 64;

/// Everything that was written down.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The overlays.
    pub overlays: Vec<(Info, Staging)>,
    /// How far the log was read; none if it never was.
    pub place: Option<Place>,
}

/// One thing to write down.
#[derive(Debug, Clone)]
pub enum Change {
    /// An overlay without its cells and steps.
    Overlay(Box<OverlayRow>),
    /// Its cells and steps.
    Staged(OverlayId, Box<Delta>),
    /// It ends.
    End(OverlayId),
    /// The log was read so far.
    Read(Place),
    /// The answer to a command.
    Answered(CommandId, Box<ReceiptRow>),
}

/// Keeps overlays.
pub trait OverlayStore: Send + Sync {
    /// Everything that was written down.
    fn load(&self) -> Result<Kept, Fault>;
    /// Writes these down, all or none, before it returns (I-1).
    fn write(&self, changes: &[Change]) -> Result<(), Fault>;
    /// The answer that was given to a command.
    fn receipt(&self, command: CommandId) -> Result<Option<StagedReceipt>, Fault>;
    /// Closes the file; it is opened again when it is needed.
    fn close(&self);
}

/// Overlays in a file of their own.
pub struct FileStore(Tables);

impl FileStore {
    /// The overlays of `workspace` in that file, with that much memory for the engine. Opens nothing yet.
    pub fn at(path: PathBuf, workspace: WorkspaceId, cache_bytes: usize) -> Self {
        Self::on(Medium::File(path), workspace, cache_bytes)
    }

    /// Overlays that are gone with the process: where no file is wanted.
    pub fn in_memory(workspace: WorkspaceId) -> Self {
        const CACHE_BYTES: usize = 1024 * 1024;
        Self::on(Medium::Memory(MemoryDisk::default()), workspace, CACHE_BYTES)
    }

    fn on(medium: Medium, workspace: WorkspaceId, cache_bytes: usize) -> Self {
        let form = Form { called: "the file of overlays", format: FORMAT, make, cache_bytes };
        Self(Tables::new(medium, form, *workspace.as_bytes()))
    }
}

fn make(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(OVERLAYS)?;
    txn.open_table(CELLS)?;
    txn.open_table(STEPS)?;
    txn.open_table(STEP_CELLS)?;
    txn.open_table(RECEIPTS)?;
    txn.open_table(RECEIPTS_BY_TIME)?;
    Ok(())
}

impl OverlayStore for FileStore {
    fn load(&self) -> Result<Kept, Fault> {
        self.0.read(|txn| {
            let place = match txn.open_table(META)?.get(META_PLACE)? {
                Some(row) => Some(decoded(row.value())?),
                None => None,
            };
            let mut overlays = Vec::new();
            for item in txn.open_table(OVERLAYS)?.iter()? {
                let (id, row) = item?;
                let OverlayRow { info, head } = decoded(row.value())?;
                let (cells, steps) = (cells_of(txn, id.value())?, steps_of(txn, id.value())?);
                overlays.push((info, Staging::restored(head, cells, steps)));
            }
            Ok(Kept { overlays, place })
        })
    }

    fn write(&self, changes: &[Change]) -> Result<(), Fault> {
        self.0.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            for change in changes {
                put(&txn, change)?;
            }
            fail::fail_point!("overlays-before-commit");
            txn.commit()?;
            fail::fail_point!("overlays-after-commit");
            Ok(())
        })
    }

    fn receipt(&self, command: CommandId) -> Result<Option<StagedReceipt>, Fault> {
        self.0.read(|txn| {
            let row = match txn.open_table(RECEIPTS)?.get(command.as_bytes())? {
                Some(row) => Some(decoded::<ReceiptRow>(row.value())?),
                None => None,
            };
            Ok(row.map(|row| row.receipt))
        })
    }

    fn close(&self) {
        self.0.close();
    }
}

type Rows<T> = Result<Vec<T>, redb::Error>;

fn cells_of(txn: &redb::ReadTransaction, overlay: &[u8; 16]) -> Rows<(Vec<u8>, Staged)> {
    let mut cells = Vec::new();
    for item in txn.open_table(CELLS)?.range((overlay, &[][..])..)? {
        let (key, row) = item?;
        let (of, cell) = key.value();
        if of != overlay {
            break;
        }
        cells.push((cell.to_vec(), decoded(row.value())?));
    }
    Ok(cells)
}

fn steps_of(txn: &redb::ReadTransaction, overlay: &[u8; 16]) -> Rows<(u64, Step)> {
    let mut steps = BTreeMap::new();
    for item in txn.open_table(STEPS)?.range((overlay, 0)..=(overlay, u64::MAX))? {
        let (key, row) = item?;
        steps.insert(key.value().1, Step { label: decoded::<Text>(row.value())?, cells: Vec::new() });
    }
    for item in txn.open_table(STEP_CELLS)?.range((overlay, 0, &[][..])..)? {
        let (key, row) = item?;
        let (of, serial, cell) = key.value();
        if of != overlay {
            break;
        }
        let step = steps.get_mut(&serial).ok_or_else(|| damaged("a step of an overlay is missing"))?;
        step.cells.push((cell.to_vec(), decoded(row.value())?));
    }
    Ok(steps.into_iter().collect())
}

fn put(txn: &WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    match change {
        Change::Overlay(row) => {
            txn.open_table(OVERLAYS)?.insert(row.info.id.as_bytes(), &encoded(row)[..])?;
        }
        Change::Staged(overlay, delta) => put_delta(txn, overlay.as_bytes(), delta)?,
        Change::End(overlay) => end(txn, overlay.as_bytes())?,
        Change::Read(place) => {
            txn.open_table(META)?.insert(META_PLACE, &encoded(place)[..])?;
        }
        Change::Answered(command, row) => answered(txn, *command, row)?,
    }
    Ok(())
}

fn put_delta(txn: &WriteTransaction, overlay: &[u8; 16], delta: &Delta) -> Result<(), redb::Error> {
    let mut cells = txn.open_table(CELLS)?;
    for (key, staged) in &delta.cells {
        match staged {
            Some(staged) => cells.insert((overlay, &key[..]), &encoded(&**staged)[..])?,
            None => cells.remove((overlay, &key[..]))?,
        };
    }
    for serial in &delta.forgotten {
        forget_step(txn, overlay, *serial..=*serial)?;
    }
    let Some((serial, step)) = &delta.kept else { return Ok(()) };
    forget_step(txn, overlay, *serial..=*serial)?;
    txn.open_table(STEPS)?.insert((overlay, *serial), &encoded(&step.label)[..])?;
    let mut step_cells = txn.open_table(STEP_CELLS)?;
    for (key, staged) in &step.cells {
        step_cells.insert((overlay, *serial, &key[..]), &encoded(staged)[..])?;
    }
    Ok(())
}

fn forget_step(txn: &WriteTransaction, overlay: &[u8; 16], serials: RangeInclusive<u64>) -> Result<(), redb::Error> {
    let (first, last) = (*serials.start(), *serials.end());
    txn.open_table(STEPS)?.retain_in((overlay, first)..=(overlay, last), |_, _| false)?;
    let mut step_cells = txn.open_table(STEP_CELLS)?;
    // Keys of cells begin with a tag below 255, so that this one is behind them all.
    step_cells.retain_in((overlay, first, &[][..])..=(overlay, last, &[u8::MAX][..]), |_, _| false)?;
    Ok(())
}

fn end(txn: &WriteTransaction, overlay: &[u8; 16]) -> Result<(), redb::Error> {
    txn.open_table(OVERLAYS)?.remove(overlay)?;
    txn.open_table(CELLS)?.retain_in((overlay, &[][..])..=(overlay, &[u8::MAX][..]), |_, _| false)?;
    forget_step(txn, overlay, 0..=u64::MAX)
}

fn answered(txn: &WriteTransaction, command: CommandId, row: &ReceiptRow) -> Result<(), redb::Error> {
    let (mut receipts, mut by_time) = (txn.open_table(RECEIPTS)?, txn.open_table(RECEIPTS_BY_TIME)?);
    let horizon = row.given_ms.saturating_sub(RECEIPTS_KEPT_MS);
    let old: Vec<(u64, [u8; 16])> = by_time
        .range(..(horizon, &[0; 16]))?
        .take(FORGET_PER_COMMIT)
        .map(|item| item.map(|(key, _)| (key.value().0, *key.value().1)))
        .collect::<Result<_, _>>()?;
    for (given_ms, command) in old {
        by_time.remove((given_ms, &command))?;
        receipts.remove(&command)?;
    }
    by_time.insert((row.given_ms, command.as_bytes()), ())?;
    receipts.insert(command.as_bytes(), &encoded(row)[..])?;
    Ok(())
}

fn encoded(row: &impl Serialize) -> Vec<u8> {
    codec::encode(row)
}

fn decoded<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    codec::decode(bytes).map_err(|error| damaged(error.to_string()))
}
