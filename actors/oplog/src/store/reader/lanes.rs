//! Reading the lanes: what another node is told of this log, and what it is given.

use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::log::{Lane, Lanes, Placed, Stored, Waiting};
use openprod_model::ids::{ActorId, Digest, Position};
use redb::{ReadTransaction, ReadableTable};

use super::{Fault, LogStore, decode, entry_at, quarantine_row, stored_at};
use crate::logic::batch::Staged;
use crate::tables::{BUNDLES, DIGESTS, ENTRIES, EntryRow, LANES, LaneRow, QUARANTINE_DIGESTS};

const LOWEST: [u8; 32] = [0; 32];
const HIGHEST: [u8; 32] = [u8::MAX; 32];

type Row = (ActorId, Digest, LaneRow);

/// An actor's lanes, by their tips' digests.
pub(super) fn of(txn: &ReadTransaction, actor: ActorId) -> Result<Vec<Row>, Fault> {
    between(txn, &actor, &actor)
}

fn between(txn: &ReadTransaction, first: &ActorId, last: &ActorId) -> Result<Vec<Row>, Fault> {
    let table = txn.open_table(LANES)?;
    let rows = table.range((first.as_bytes(), &LOWEST)..=(last.as_bytes(), &HIGHEST))?.map(|row| {
        let (key, row) = row?;
        let (actor, tip) = key.value();
        Ok((ActorId::from_bytes(*actor), Digest::from_bytes(*tip), decode(row.value(), "a lane")?))
    });
    rows.collect()
}

fn lanes(rows: Vec<Row>) -> Vec<Lane> {
    let lane = |(actor, tip, row): Row| {
        let LaneRow { number, first, from, hlc, at } = row;
        Lane { actor, number, first, from, tip, hlc, at }
    };
    let mut lanes: Vec<Lane> = rows.into_iter().map(lane).collect();
    lanes.sort_unstable_by_key(|lane| (lane.actor, lane.number));
    lanes
}

fn placed(at: Position, row: EntryRow) -> Placed {
    Placed { at, entry: row.entry, lane: row.lane }
}

impl Lanes for LogStore {
    fn lanes(&self) -> Read<Vec<Lane>> {
        let (first, last) = (ActorId::from_bytes(LOWEST), ActorId::from_bytes(HIGHEST));
        self.read(|txn| Ok(lanes(between(txn, &first, &last)?)))
    }

    fn lanes_of(&self, actor: ActorId) -> Read<Vec<Lane>> {
        self.read(|txn| Ok(lanes(of(txn, actor)?)))
    }

    fn placed(&self, from: Position, limit: usize) -> Read<Vec<Placed>> {
        let recent = self.recent().from(from, limit);
        if !recent.is_empty() {
            let placed =
                |staged: &Staged| Placed { at: staged.position, entry: staged.entry.clone(), lane: staged.lane.number };
            return Ok(recent.iter().map(|staged| placed(staged)).collect());
        }
        self.read(|txn| {
            let table = txn.open_table(ENTRIES)?;
            let rows = table.range(from.0..)?.take(limit).map(|row| {
                let (at, row) = row?;
                let at = Position(at.value());
                Ok(placed(at, decode(row.value(), &format!("entry {at}"))?))
            });
            rows.collect()
        })
    }

    fn find(&self, digests: &[Digest]) -> Read<Vec<Option<Placed>>> {
        self.read(|txn| {
            let (positions, entries) = (txn.open_table(DIGESTS)?, txn.open_table(ENTRIES)?);
            let found = digests.iter().map(|digest| {
                let Some(at) = positions.get(digest.as_bytes())? else { return Ok(None) };
                let at = Position(at.value());
                Ok(entry_at(&entries, at)?.map(|row| placed(at, row)))
            });
            found.collect()
        })
    }

    fn select(&self, at: &[Position], bytes: usize) -> Read<Vec<(Position, Stored)>> {
        self.read(|txn| {
            let (entries, bundles) = (txn.open_table(ENTRIES)?, txn.open_table(BUNDLES)?);
            let (mut selected, mut taken) = (Vec::new(), 0);
            for at in at {
                let stored = match self.recent().at(*at) {
                    Some(recent) => Stored::Whole(Arc::clone(&recent.bundle)),
                    None => match entry_at(&entries, *at)? {
                        Some(row) => stored_at(&bundles, *at, row.entry.digest)?,
                        None => continue,
                    },
                };
                taken += match &stored {
                    Stored::Whole(bundle) => bundle.bytes().len(),
                    Stored::Damaged { .. } => 0,
                };
                if taken > bytes && !selected.is_empty() {
                    break;
                }
                selected.push((*at, stored));
            }
            Ok(selected)
        })
    }

    fn waiting(&self, from: u64, limit: usize) -> Read<Vec<Waiting>> {
        self.all_waiting(from, limit)
    }

    fn damaged(&self, limit: usize) -> Read<Vec<Digest>> {
        self.read(|txn| {
            let mut damaged = Vec::new();
            for row in txn.open_table(QUARANTINE_DIGESTS)?.iter()? {
                let (key, _) = row?;
                let (digest, number) = key.value();
                if quarantine_row(txn, number)?.is_some_and(|row| row.at.is_some()) {
                    damaged.push(Digest::from_bytes(*digest));
                }
                if damaged.len() == limit {
                    break;
                }
            }
            Ok(damaged)
        })
    }
}
