//! Reading the stored log: for everybody ([`LogReader`]) and for judging bundles ([`Past`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::log::{Entry, LogReader, Quarantined, Receipt, Spot, Stored, Tail};
use openprod_model::bundle::{Bundle, Outline};
use openprod_model::codec;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpRef, Position};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Fault, LogStore};
use crate::logic::batch::Staged;
use crate::logic::ledger::{Known, Past, Remembered, Tips};
use crate::logic::members::{MemberOp, SetId};
use crate::tables::{
    BUNDLES, DIGESTS, ENTRIES, End, EntryRow, HEADS, IDS, MEMBER_OPS, MEMBER_SETS, META, META_END, QUARANTINE,
    QUARANTINE_BYTES, QUARANTINE_DIGESTS, QUARANTINE_MARKS, QuarantineRow, RECEIPTS, ReceiptRow, WAITING,
};

mod lanes;
mod waiting;

pub(crate) fn decode<T: Serialize + DeserializeOwned>(row: &[u8], what: &str) -> Result<T, Fault> {
    codec::decode(row).map_err(|error| Fault::damaged(format!("{what} in the log is damaged: {error}")))
}

/// Where the log ends.
pub(crate) fn end(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<End, Fault> {
    let row = meta.get(META_END)?;
    row.map_or(Ok(End::EMPTY), |row| decode(row.value(), "the end"))
}

/// The bundles that no other has as a parent.
pub(crate) fn heads(heads: &impl ReadableTable<&'static [u8; 32], ()>) -> Result<Vec<Digest>, Fault> {
    heads.iter()?.map(|head| Ok(Digest::from_bytes(*head?.0.value()))).collect()
}

/// A table of rows by position. Opening one costs as much as reading a row: who reads many, opens it once.
type ByPosition = ReadOnlyTable<u64, &'static [u8]>;

fn entry_row(txn: &ReadTransaction, at: Position) -> Result<Option<EntryRow>, Fault> {
    entry_at(&txn.open_table(ENTRIES)?, at)
}

fn entry_at(entries: &ByPosition, at: Position) -> Result<Option<EntryRow>, Fault> {
    let row = entries.get(at.0)?;
    row.map(|row| decode(row.value(), &format!("entry {at}"))).transpose()
}

fn position(txn: &ReadTransaction, digest: Digest) -> Result<Option<Position>, Fault> {
    Ok(txn.open_table(DIGESTS)?.get(digest.as_bytes())?.map(|position| Position(position.value())))
}

/// The bundle at a position, checked against its entry.
pub(crate) fn stored(txn: &ReadTransaction, at: Position, digest: Digest) -> Result<Stored, Fault> {
    stored_at(&txn.open_table(BUNDLES)?, at, digest)
}

fn stored_at(bundles: &ByPosition, at: Position, digest: Digest) -> Result<Stored, Fault> {
    let Some(row) = bundles.get(at.0)? else {
        return Ok(Stored::Damaged { bytes: Vec::new(), reason: "its bytes are gone".into() });
    };
    let bytes = row.value();
    let damaged = |reason: String| Stored::Damaged { bytes: bytes.to_vec(), reason };
    Ok(match Bundle::parse(bytes) {
        Ok(bundle) if bundle.digest() == digest => Stored::Whole(Arc::new(bundle)),
        Ok(_) => damaged("another bundle lies in its place".into()),
        Err(malformed) => damaged(malformed.to_string()),
    })
}

fn quarantine_row(txn: &ReadTransaction, number: u64) -> Result<Option<QuarantineRow>, Fault> {
    let row = txn.open_table(QUARANTINE)?.get(number)?;
    row.map(|row| decode(row.value(), &format!("quarantine {number}"))).transpose()
}

fn quarantined(txn: &ReadTransaction, number: u64, row: QuarantineRow) -> Result<Quarantined, Fault> {
    let bytes = txn.open_table(QUARANTINE_BYTES)?.get(number)?.map_or_else(Vec::new, |bytes| bytes.value().to_vec());
    let QuarantineRow { digest, source, reason, since_ms, skipped, held, .. } = row;
    Ok(Quarantined { number, bytes, digest, source, reason, since_ms, skipped, held })
}

impl LogStore {
    /// Where the log ends, and its heads.
    pub(crate) fn end_and_heads(&self) -> Read<(End, Vec<Digest>)> {
        self.read(|txn| Ok((end(&txn.open_table(META)?)?, heads(&txn.open_table(HEADS)?)?)))
    }

    /// One quarantined bundle, and where in the log it lies damaged, if it does.
    pub(crate) fn quarantined_at(&self, number: u64) -> Read<Option<(Quarantined, Option<Position>)>> {
        self.read(|txn| {
            let Some(row) = quarantine_row(txn, number)? else { return Ok(None) };
            let at = row.at;
            Ok(Some((quarantined(txn, number, row)?, at)))
        })
    }
}

impl LogReader for LogStore {
    fn tail(&self) -> Read<Tail> {
        let (end, heads) = self.end_and_heads()?;
        Ok(Tail { position: end.position, chain: end.chain, heads, hlc: end.hlc })
    }

    fn entry(&self, at: Position) -> Read<Option<Entry>> {
        self.read(|txn| Ok(entry_row(txn, at)?.map(|row| row.entry)))
    }

    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>> {
        let recent = self.recent().from(from, limit);
        if !recent.is_empty() {
            return Ok(recent.iter().map(|staged| (staged.position, staged.entry.clone())).collect());
        }
        self.read(|txn| {
            let table = txn.open_table(ENTRIES)?;
            let rows = table.range(from.0..)?.take(limit).map(|row| {
                let (at, row) = row?;
                let at = Position(at.value());
                let row: EntryRow = decode(row.value(), &format!("entry {at}"))?;
                Ok((at, row.entry))
            });
            rows.collect()
        })
    }

    fn bundle(&self, at: Position) -> Read<Option<Stored>> {
        self.read(|txn| {
            let Some(row) = entry_row(txn, at)? else { return Ok(None) };
            Ok(Some(stored(txn, at, row.entry.digest)?))
        })
    }

    fn outline(&self, at: Position) -> Read<Option<Outline>> {
        self.read(|txn| {
            let Some(row) = entry_row(txn, at)? else { return Ok(None) };
            let bytes = txn.open_table(BUNDLES)?.get(at.0)?;
            let outline = bytes.and_then(|bytes| Outline::parse(bytes.value()).ok());
            Ok(outline.filter(|outline| outline.digest == row.entry.digest))
        })
    }

    fn bundles(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        let recent = self.recent().from(from, limit);
        if recent.is_empty() {
            return self.bundles_on_disk(from, limit, bytes);
        }
        let (mut found, mut taken) = (Vec::with_capacity(recent.len()), 0);
        for Staged { position, entry, bundle, .. } in recent.iter().map(AsRef::as_ref) {
            taken += bundle.bytes().len();
            if taken > bytes && !found.is_empty() {
                break;
            }
            found.push((*position, entry.clone(), Stored::Whole(Arc::clone(bundle))));
        }
        Ok(found)
    }

    fn bundles_on_disk(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        self.read(|txn| {
            let bundles = txn.open_table(BUNDLES)?;
            let (mut found, mut taken) = (Vec::new(), 0);
            for row in txn.open_table(ENTRIES)?.range(from.0..)?.take(limit) {
                let (at, row) = row?;
                let at = Position(at.value());
                let EntryRow { entry, .. } = decode(row.value(), &format!("entry {at}"))?;
                let stored = stored_at(&bundles, at, entry.digest)?;
                taken += match &stored {
                    Stored::Whole(bundle) => bundle.bytes().len(),
                    Stored::Damaged { bytes, .. } => bytes.len(),
                };
                if taken > bytes && !found.is_empty() {
                    break;
                }
                found.push((at, entry, stored));
            }
            Ok(found)
        })
    }

    fn position_of(&self, digest: Digest) -> Read<Option<Position>> {
        self.read(|txn| position(txn, digest))
    }

    fn position_of_id(&self, id: BundleId) -> Read<Option<Position>> {
        self.read(|txn| {
            let table = txn.open_table(IDS)?;
            let first = table.range((id.as_bytes(), 0)..=(id.as_bytes(), u64::MAX))?.next().transpose()?;
            Ok(first.map(|(key, _)| Position(key.value().1)))
        })
    }

    fn prev_of(&self, actor: ActorId) -> Read<Option<Digest>> {
        Ok(self.tips(actor)?.last_key_value().map(|((_, digest), _)| *digest))
    }

    fn member_ops_known(&self, at: Position) -> Read<BTreeSet<OpRef>> {
        let row = self.read(|txn| entry_row(txn, at))?;
        let set = row.map(|row| row.members).filter(|set| *set != SetId::EMPTY);
        let ops = set.map(|set| self.member_set(set)).transpose()?.flatten();
        Ok(ops.into_iter().flatten().collect())
    }

    fn receipt(&self, command: CommandId) -> Read<Option<(Position, Receipt)>> {
        self.read(|txn| {
            let row = txn.open_table(RECEIPTS)?.get(command.as_bytes())?;
            let row: Option<ReceiptRow> = row.map(|row| decode(row.value(), "a receipt")).transpose()?;
            Ok(row.map(|row| (row.position, row.receipt)))
        })
    }

    fn quarantined(&self, from: u64, limit: usize) -> Read<Vec<Quarantined>> {
        self.read(|txn| {
            let table = txn.open_table(QUARANTINE)?;
            let rows = table.range(from..)?.take(limit).map(|row| {
                let (number, row) = row?;
                quarantined(txn, number.value(), decode(row.value(), "a quarantined bundle")?)
            });
            rows.collect()
        })
    }

    fn quarantine_alarms(&self) -> Read<u64> {
        self.read(|txn| {
            let mut alarms = 0;
            for row in txn.open_table(QUARANTINE)?.iter()? {
                let row: QuarantineRow = decode(row?.1.value(), "a quarantined bundle")?;
                alarms += u64::from(!row.skipped);
            }
            Ok(alarms)
        })
    }

    fn bytes_on_disk(&self) -> u64 {
        self.bytes()
    }
}

impl Past for LogStore {
    fn known(&self, digest: Digest) -> Read<Option<Known>> {
        self.read(|txn| {
            let Some(position) = position(txn, digest)? else { return Ok(None) };
            let row = entry_row(txn, position)?;
            let EntryRow { entry, members, lane } =
                row.ok_or_else(|| Fault::damaged(format!("entry {position} is gone")))?;
            let last_hlc = entry.hlc.plus(entry.ops.saturating_sub(1)).unwrap_or(entry.hlc);
            let spot = Some(Spot { lane, hlc: entry.hlc, at: position });
            Ok(Some(Known { position, actor: entry.actor, last_hlc, members, spot }))
        })
    }

    fn tips(&self, actor: ActorId) -> Read<Tips> {
        self.read(|txn| {
            let lanes = lanes::of(txn, actor)?.into_iter();
            Ok(lanes.map(|(_, tip, row)| ((row.hlc, tip), row)).collect())
        })
    }

    fn remembered(&self, command: CommandId) -> Read<Option<Remembered>> {
        let found = self.receipt(command)?;
        Ok(found.map(|(position, receipt)| Remembered { position, payload: receipt.payload, actor: receipt.actor }))
    }

    fn member_set(&self, id: SetId) -> Read<Option<Vec<OpRef>>> {
        self.read(|txn| {
            let row = txn.open_table(MEMBER_SETS)?.get(&id.0)?;
            row.map(|row| decode(row.value(), "a set of member operations")).transpose()
        })
    }

    fn member_op(&self, op: OpRef) -> Read<Option<MemberOp>> {
        self.read(|txn| {
            let row = txn.open_table(MEMBER_OPS)?.get(op.as_bytes())?;
            row.map(|row| decode(row.value(), "a member operation")).transpose()
        })
    }

    fn marked(&self, mark: [u8; 32]) -> Read<Option<u64>> {
        self.read(|txn| Ok(txn.open_table(QUARANTINE_MARKS)?.get(&mark)?.map(|number| number.value())))
    }

    fn keeps_any(&self) -> Read<bool> {
        self.read(|txn| Ok(!txn.open_table(WAITING)?.is_empty()? || !txn.open_table(QUARANTINE)?.is_empty()?))
    }

    fn kept(&self, digest: Digest) -> Read<Vec<Vec<u8>>> {
        self.read(|txn| waiting::kept(txn, digest))
    }

    fn waiting_for(&self, digest: Digest) -> Read<Vec<Vec<u8>>> {
        self.read(|txn| waiting::waiting_for(txn, digest))
    }

    fn damaged(&self, digest: Digest) -> Read<Option<u64>> {
        self.read(|txn| {
            let table = txn.open_table(QUARANTINE_DIGESTS)?;
            for row in table.range((digest.as_bytes(), 0)..=(digest.as_bytes(), u64::MAX))? {
                let number = row?.0.value().1;
                if quarantine_row(txn, number)?.is_some_and(|row| row.at.is_some()) {
                    return Ok(Some(number));
                }
            }
            Ok(None)
        })
    }
}
