//! From format 1 to 2: each bundle's lane is noted, and tips of chains become tips of lanes.

use std::collections::BTreeMap;

use openprod_messages::log::Entry;
use openprod_model::bundle::Bundle;
use openprod_model::clock::Hlc;
use openprod_model::codec::{self, DecodeError};
use openprod_model::ids::{ActorId, Digest, Position};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    BUNDLES, Bytes32, ENTRIES, End, EntryRow, LANES, LaneRow, META, META_END, SetId, WAITING, WAITING_BYTES,
    WAITING_DIGESTS, WAITING_FOR,
};

/// In format 1: each tip of an actor's chain, and its clock.
pub(super) const CHAINS: TableDefinition<'static, (Bytes32, Bytes32), &'static [u8; 12]> =
    TableDefinition::new("chains");

/// A row of `entries` in format 1.
#[derive(Serialize, Deserialize)]
struct EntryRow1 {
    entry: Entry,
    members: SetId,
}

/// What is known of the lanes while the log is gone through.
#[derive(Default)]
struct Noted {
    /// The tips of each actor's lanes.
    tips: BTreeMap<ActorId, BTreeMap<Digest, LaneRow>>,
    /// Where each bundle lies on them.
    rows: BTreeMap<Digest, LaneRow>,
}

impl Noted {
    fn place(&mut self, entry: &Entry, prev: Option<Digest>, at: Position) -> LaneRow {
        let tips = self.tips.entry(entry.actor).or_default();
        let before = prev.and_then(|prev| tips.remove(&prev));
        let from = prev.and_then(|prev| self.rows.get(&prev)).map(LaneRow::spot);
        let number = u32::try_from(tips.len()).unwrap_or(u32::MAX);
        let began = before.unwrap_or(LaneRow { number, first: at, from, hlc: entry.hlc, at });
        let row = LaneRow { hlc: entry.hlc, at, ..began };
        tips.insert(entry.digest, row);
        self.rows.insert(entry.digest, row);
        row
    }

    /// The greatest tip: what a bundle that no longer reads most probably named.
    fn latest(&self, actor: ActorId) -> Option<Digest> {
        let tips = self.tips.get(&actor)?.iter();
        tips.max_by_key(|(digest, row)| (row.hlc, **digest)).map(|(digest, _)| *digest)
    }
}

/// Where a log of format 1 ends.
#[derive(Serialize, Deserialize)]
struct End1 {
    position: Position,
    chain: Digest,
    hlc: Hlc,
    next_quarantine: u64,
}

fn rewrite_end(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = txn.open_table(META)?;
    let Some(row) = meta.get(META_END)?.map(|row| row.value().to_vec()) else { return Ok(()) };
    let End1 { position, chain, hlc, next_quarantine } = codec::decode(&row).map_err(|error| damaged(&error))?;
    let end = End { position, chain, hlc, next_quarantine, ..End::EMPTY };
    meta.insert(META_END, codec::encode(&end).as_slice())?;
    Ok(())
}

fn make_room(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(WAITING)?;
    txn.open_table(WAITING_BYTES)?;
    txn.open_table(WAITING_DIGESTS)?;
    txn.open_table(WAITING_FOR)?;
    Ok(())
}

pub(super) fn note(txn: &WriteTransaction) -> Result<(), redb::Error> {
    rewrite_end(txn)?;
    make_room(txn)?;
    let (mut entries, bundles) = (txn.open_table(ENTRIES)?, txn.open_table(BUNDLES)?);
    let mut noted = Noted::default();
    let last = entries.last()?.map_or(0, |(at, _)| at.value());
    for at in 1..=last {
        let Some(row) = entries.get(at)?.map(|row| row.value().to_vec()) else { continue };
        let EntryRow1 { entry, members } = codec::decode(&row).map_err(|error| damaged(&error))?;
        let bundle = bundles.get(at)?.and_then(|bytes| Bundle::parse(bytes.value()).ok());
        let prev = bundle.map_or_else(|| noted.latest(entry.actor), |bundle| bundle.header().prev);
        let lane = noted.place(&entry, prev, Position(at)).number;
        entries.insert(at, codec::encode(&EntryRow { entry, members, lane }).as_slice())?;
    }
    write_tips(&mut txn.open_table(LANES)?, &noted)?;
    txn.delete_table(CHAINS)?;
    Ok(())
}

fn write_tips(
    lanes: &mut Table<'_, (Bytes32, Bytes32), &'static [u8]>,
    noted: &Noted,
) -> Result<(), redb::StorageError> {
    for (actor, tips) in &noted.tips {
        for (digest, row) in tips {
            lanes.insert((actor.as_bytes(), digest.as_bytes()), codec::encode(row).as_slice())?;
        }
    }
    Ok(())
}

/// Makes a log of format 1 of one of format 2, as it would have been.
#[cfg(test)]
pub(crate) fn forget(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let (mut entries, mut chains) = (txn.open_table(ENTRIES)?, txn.open_table(CHAINS)?);
    let mut rows = Vec::new();
    for row in entries.iter()? {
        let (at, row) = row?;
        rows.push((at.value(), codec::decode::<EntryRow>(row.value()).map_err(|error| damaged(&error))?));
    }
    for (at, EntryRow { entry, members, .. }) in rows {
        entries.insert(at, codec::encode(&EntryRow1 { entry, members }).as_slice())?;
    }
    for row in txn.open_table(LANES)?.iter()? {
        let (key, row) = row?;
        let row: LaneRow = codec::decode(row.value()).map_err(|error| damaged(&error))?;
        chains.insert(key.value(), &row.hlc.to_bytes())?;
    }
    let mut meta = txn.open_table(META)?;
    let end = meta
        .get(META_END)?
        .map(|row| codec::decode::<End>(row.value()))
        .transpose()
        .map_err(|error| damaged(&error))?;
    let End { position, chain, hlc, next_quarantine, .. } = end.unwrap_or(End::EMPTY);
    meta.insert(META_END, codec::encode(&End1 { position, chain, hlc, next_quarantine }).as_slice())?;
    meta.insert(super::META_FORMAT, 1_u16.to_le_bytes().as_slice())?;
    txn.delete_table(LANES)?;
    txn.delete_table(WAITING)?;
    txn.delete_table(WAITING_BYTES)?;
    txn.delete_table(WAITING_DIGESTS)?;
    txn.delete_table(WAITING_FOR)?;
    Ok(())
}

fn damaged(error: &DecodeError) -> redb::Error {
    redb::Error::Corrupted(format!("an entry of format 1: {error}"))
}
