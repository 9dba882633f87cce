//! Writing the log: one batch, one durable commit.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use openprod_messages::log::Tail;
use openprod_messages::oplog::AppendError;
use openprod_model::codec;
use openprod_model::ids::{ActorId, CommandId, Digest, Position};
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::reader::{self, decode};
use super::{Fault, LogStore};
use crate::logic::batch::{Batch, Change, Staged};
use crate::logic::ledger::Ledger;
use crate::logic::members::SetId;
use crate::tables::{
    BUNDLES, Bytes16, Bytes32, DIGESTS, ENTRIES, End, EntryRow, HEADS, IDS, LANES, LaneRow, MEMBER_OPS, MEMBER_SETS,
    META, META_END, META_QUARANTINED, QUARANTINE, QUARANTINE_BYTES, QUARANTINE_DIGESTS, QUARANTINE_MARKS,
    QuarantineRow, RECEIPTS, RECEIPTS_BY_TIME, ReceiptRow, WAITING,
};

/// How long the answer to a command is remembered, in days.
pub const RECEIPT_DAYS: u64 = 1;
/// Most expired receipts that a commit forgets beyond twice those it adds, so that no commit pays for all at once.
pub const FORGET_PER_COMMIT: usize = 64;
/// Most quarantined bundles that are kept: the oldest goes first, but never one that lies damaged in the log.
pub const MAX_QUARANTINED: u64 = 10_000;
/// Most bytes that are kept in quarantine, likewise.
pub const MAX_QUARANTINED_BYTES: u64 = 256 * 1024 * 1024;

/// Most bundles that wait for ancestors; the one that has waited longest goes first, and will be given again.
pub const MAX_WAITING: u64 = 4_096;
/// Most bytes of such bundles, likewise. They are judged together, in memory.
pub const MAX_WAITING_BYTES: u64 = 64 * 1024 * 1024;

mod waiting;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The only way to change a log (I-11). There is one at a time: making the next takes the right from this one.
#[derive(Debug, Clone)]
pub struct Writer {
    pub(super) store: Arc<LogStore>,
    pub(super) number: u64,
}

impl Writer {
    /// The ledger of the log as it is stored, if the disk takes writes.
    pub(crate) fn ledger(&self) -> Result<Ledger, AppendError> {
        self.exclusively(|store| {
            store.writable()?;
            let (end, heads) = store.end_and_heads().map_err(|failure| Fault::damaged(failure.0))?;
            Ok(Ledger::new(store.workspace(), end, heads))
        })
    }

    /// Writes a batch durably. It is refused as stale if the log is not the one that it was made for.
    pub(crate) fn commit(&self, batch: &Batch) -> Result<Tail, AppendError> {
        let moved = self.exclusively(|store| {
            let tail = store.write(|txn| Pen::new(txn)?.write(batch))?;
            if tail.is_some() {
                store.recent().hears(batch);
            }
            Ok(tail)
        })?;
        moved.ok_or(AppendError::Stale)
    }

    fn exclusively<T>(&self, run: impl FnOnce(&LogStore) -> Result<T, Fault>) -> Result<T, AppendError> {
        let writers = self.store.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if *writers != self.number {
            return Err(AppendError::Stale);
        }
        run(&self.store).map_err(|Fault { reason, full, .. }| AppendError::Disk { reason, full })
    }
}

/// The open tables of one commit.
struct Pen<'t> {
    txn: &'t WriteTransaction,
    meta: Table<'t, &'static str, &'static [u8]>,
    bundles: Table<'t, u64, &'static [u8]>,
    entries: Table<'t, u64, &'static [u8]>,
    digests: Table<'t, Bytes32, u64>,
    ids: Table<'t, (Bytes16, u64), ()>,
    lanes: Table<'t, (Bytes32, Bytes32), &'static [u8]>,
    heads: Table<'t, Bytes32, ()>,
    receipts: Table<'t, Bytes16, &'static [u8]>,
    receipts_by_time: Table<'t, (u64, Bytes16), ()>,
    quarantine: Table<'t, u64, &'static [u8]>,
    waiting: Table<'t, u64, &'static [u8]>,
    new_heads: Net<Digest, ()>,
    new_lanes: Net<(ActorId, Digest), LaneRow>,
}

/// What is left, when a batch ends, of rows of which most go again within it: each by its key, none if it goes.
struct Net<K, R>(BTreeMap<K, Option<R>>);

impl<K: Ord, R> Net<K, R> {
    /// A row that was never there.
    fn comes(&mut self, key: K, row: R) {
        self.0.insert(key, Some(row));
    }

    fn goes(&mut self, key: K) {
        if !matches!(self.0.remove(&key), Some(Some(_))) {
            self.0.insert(key, None);
        }
    }
}

impl<'t> Pen<'t> {
    fn new(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            txn,
            meta: txn.open_table(META)?,
            bundles: txn.open_table(BUNDLES)?,
            entries: txn.open_table(ENTRIES)?,
            digests: txn.open_table(DIGESTS)?,
            ids: txn.open_table(IDS)?,
            lanes: txn.open_table(LANES)?,
            heads: txn.open_table(HEADS)?,
            receipts: txn.open_table(RECEIPTS)?,
            receipts_by_time: txn.open_table(RECEIPTS_BY_TIME)?,
            quarantine: txn.open_table(QUARANTINE)?,
            waiting: txn.open_table(WAITING)?,
            new_heads: Net(BTreeMap::new()),
            new_lanes: Net(BTreeMap::new()),
        })
    }

    /// Writes a batch; none if it was made for another log.
    fn write(mut self, batch: &Batch) -> Result<Option<Tail>, Fault> {
        if self.end()? != batch.base {
            return Ok(None);
        }
        let (mut receipts, mut last) = (0, batch.base.position);
        for change in &batch.changes {
            match change {
                Change::Append(staged) => {
                    last = last.next();
                    assert_eq!(staged.position, last, "positions count up without gaps");
                    self.append(staged)?;
                    receipts += usize::from(staged.receipt.is_some());
                }
                Change::Quarantine { number, row, bytes } => self.quarantine(*number, row, bytes)?,
                Change::Wait { number, row, bytes } => self.wait(*number, row, bytes)?,
                Change::Skip { number } => self.skip(*number)?,
                Change::Release { number } => self.release(*number)?,
                Change::Replace { position, digest, bytes } => self.replace(*position, *digest, bytes)?,
            }
            fail::fail_point!("oplog-mid-batch");
        }
        self.write_heads()?;
        self.write_lanes()?;
        self.forget(batch.now_ms, FORGET_PER_COMMIT + 2 * receipts)?;
        self.meta.insert(META_END, codec::encode(&batch.end).as_slice())?;
        let End { position, chain, hlc, .. } = batch.end;
        Ok(Some(Tail { position, chain, heads: reader::heads(&self.heads)?, hlc }))
    }

    fn end(&self) -> Result<End, Fault> {
        reader::end(&self.meta)
    }

    fn append(&mut self, staged: &Staged) -> Result<(), Fault> {
        let Staged { position: Position(at), entry, bundle, .. } = staged;
        let digest = entry.digest.as_bytes();
        let row = EntryRow { entry: entry.clone(), members: staged.members, lane: staged.lane.number };
        self.bundles.insert(at, &**bundle.bytes())?;
        self.entries.insert(at, codec::encode(&row).as_slice())?;
        self.digests.insert(digest, at)?;
        self.ids.insert((entry.id.as_bytes(), *at), ())?;
        staged.ancestors.iter().for_each(|ancestor| self.new_heads.goes(*ancestor));
        self.new_heads.comes(entry.digest, ());
        if let Some(prev) = staged.prev {
            self.new_lanes.goes((entry.actor, prev));
        }
        self.new_lanes.comes((entry.actor, entry.digest), staged.lane);
        self.remember(staged)?;
        self.members(staged)?;
        self.waits_no_more(entry.digest)?;
        if self.quarantine.is_empty()? { Ok(()) } else { self.release_all(entry.digest) }
    }

    fn write_heads(&mut self) -> Result<(), Fault> {
        for (digest, row) in std::mem::take(&mut self.new_heads.0) {
            match row {
                Some(()) => self.heads.insert(digest.as_bytes(), ())?,
                None => self.heads.remove(digest.as_bytes())?,
            };
        }
        Ok(())
    }

    fn write_lanes(&mut self) -> Result<(), Fault> {
        for ((actor, tip), row) in std::mem::take(&mut self.new_lanes.0) {
            let key = (actor.as_bytes(), tip.as_bytes());
            match row {
                Some(row) => self.lanes.insert(key, codec::encode(&row).as_slice())?,
                None => self.lanes.remove(key)?,
            };
        }
        Ok(())
    }

    fn remember(&mut self, staged: &Staged) -> Result<(), Fault> {
        let Some(receipt) = &staged.receipt else { return Ok(()) };
        let (command, appended_ms) = (receipt.command.as_bytes(), staged.entry.appended_ms);
        let row = ReceiptRow { position: staged.position, appended_ms, receipt: receipt.clone() };
        self.receipts.insert(command, codec::encode(&row).as_slice())?;
        self.receipts_by_time.insert((appended_ms, command), ())?;
        Ok(())
    }

    fn members(&mut self, staged: &Staged) -> Result<(), Fault> {
        for op in &staged.member_ops {
            let mut ops = self.txn.open_table(MEMBER_OPS)?;
            ops.insert(op.tip.op.as_bytes(), codec::encode(op).as_slice())?;
        }
        if let Some(set) = &staged.new_set {
            let SetId(id) = staged.members;
            let mut sets = self.txn.open_table(MEMBER_SETS)?;
            sets.insert(&id, codec::encode(&set.to_vec()).as_slice())?;
        }
        Ok(())
    }

    /// Forgets receipts that are older than [`RECEIPT_DAYS`], the oldest first.
    fn forget(&mut self, now_ms: u64, most: usize) -> Result<(), Fault> {
        let before = now_ms.saturating_sub(RECEIPT_DAYS * DAY_MS);
        let expired = self.receipts_by_time.range(..(before, &[0; 16]))?.take(most).map(|row| {
            let (key, _) = row?;
            let (appended_ms, command) = key.value();
            Ok((appended_ms, CommandId::from_bytes(*command)))
        });
        for (appended_ms, command) in expired.collect::<Result<Vec<_>, Fault>>()? {
            self.receipts_by_time.remove((appended_ms, command.as_bytes()))?;
            self.receipts.remove(command.as_bytes())?;
        }
        Ok(())
    }

    fn quarantine(&mut self, number: u64, row: &QuarantineRow, bytes: &[u8]) -> Result<(), Fault> {
        self.quarantine.insert(number, codec::encode(row).as_slice())?;
        self.txn.open_table(QUARANTINE_BYTES)?.insert(number, bytes)?;
        self.txn.open_table(QUARANTINE_MARKS)?.insert(&row.mark, number)?;
        if let Some(digest) = row.digest {
            self.txn.open_table(QUARANTINE_DIGESTS)?.insert((digest.as_bytes(), number), ())?;
            self.waits_no_more(digest)?;
        }
        self.set_quarantined_bytes(self.quarantined_bytes()?.saturating_add(bytes.len() as u64))?;
        self.make_room()
    }

    /// The oldest go first, but never one that lies damaged in the log (those bytes are nowhere else), nor one about
    /// which a person is to decide.
    fn make_room(&mut self) -> Result<(), Fault> {
        while self.quarantine.len()? > MAX_QUARANTINED || self.quarantined_bytes()? > MAX_QUARANTINED_BYTES {
            match self.oldest()? {
                Some(number) => self.release(number)?,
                None => break,
            }
        }
        Ok(())
    }

    fn oldest(&self) -> Result<Option<u64>, Fault> {
        for row in self.quarantine.iter()? {
            let (number, row) = row?;
            let row: QuarantineRow = decode(row.value(), "a quarantined bundle")?;
            if row.at.is_none() && !row.held {
                return Ok(Some(number.value()));
            }
        }
        Ok(None)
    }

    fn quarantined_bytes(&self) -> Result<u64, Fault> {
        let bytes = self.meta.get(META_QUARANTINED)?.and_then(|bytes| bytes.value().try_into().ok());
        Ok(bytes.map_or(0, u64::from_le_bytes))
    }

    fn set_quarantined_bytes(&mut self, bytes: u64) -> Result<(), Fault> {
        self.meta.insert(META_QUARANTINED, bytes.to_le_bytes().as_slice())?;
        Ok(())
    }

    fn row(&self, number: u64) -> Result<Option<QuarantineRow>, Fault> {
        self.quarantine.get(number)?.map(|row| decode(row.value(), "a quarantined bundle")).transpose()
    }

    fn skip(&mut self, number: u64) -> Result<(), Fault> {
        let Some(row) = self.row(number)? else { return Ok(()) };
        let row = QuarantineRow { skipped: true, ..row };
        self.quarantine.insert(number, codec::encode(&row).as_slice())?;
        Ok(())
    }

    fn release(&mut self, number: u64) -> Result<(), Fault> {
        let Some(row) = self.row(number)? else { return Ok(()) };
        self.quarantine.remove(number)?;
        let bytes = self.txn.open_table(QUARANTINE_BYTES)?.remove(number)?.map_or(0, |bytes| bytes.value().len());
        self.set_quarantined_bytes(self.quarantined_bytes()?.saturating_sub(bytes as u64))?;
        self.txn.open_table(QUARANTINE_MARKS)?.remove(&row.mark)?;
        if let Some(digest) = row.digest {
            self.txn.open_table(QUARANTINE_DIGESTS)?.remove((digest.as_bytes(), number))?;
        }
        Ok(())
    }

    fn release_all(&mut self, digest: Digest) -> Result<(), Fault> {
        let numbers: Vec<u64> = {
            let table = self.txn.open_table(QUARANTINE_DIGESTS)?;
            let rows = table.range((digest.as_bytes(), 0)..=(digest.as_bytes(), u64::MAX))?;
            rows.map(|row| Ok(row?.0.value().1)).collect::<Result<_, Fault>>()?
        };
        numbers.into_iter().try_for_each(|number| self.release(number))
    }

    fn replace(&mut self, position: Position, digest: Digest, bytes: &[u8]) -> Result<(), Fault> {
        self.bundles.insert(position.0, bytes)?;
        self.release_all(digest)
    }
}
