//! Snapshots: one revision of the state, held by a read transaction, and the past as far as the log remembers it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock};

use openprod_domain::cell::{Cell, KeyRange, Tip};
use openprod_domain::edits::{self, Edit};
use openprod_domain::fold;
use openprod_domain::text::{Document, Kind};
use openprod_domain::unions::Unions;
use openprod_domain::view::{History, Moment, Read, ReadFailure, Reading, View};
use openprod_messages::log::{LogReader, Stored};
use openprod_messages::snapshot::{CellPrint, Counts, Snapshot, StateHash, Written};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{Digest, OpRef, Position};
use redb::{ReadOnlyTable, ReadTransaction};

use super::shelf::{Asked, Shelf};
use super::{Health, StoreError, UnionsAtHand, lock};
use crate::fold::{Cursor, Dead, Place, Standing};
use crate::hash;
use crate::tables::{self, BUCKETS, DEAD, EDITS, ENTRIES, META, META_CURSOR, TIPS};

/// How many bundles a snapshot keeps at hand while it reads the past.
const BUNDLES_AT_HAND: usize = 16;

/// See the module.
pub(super) struct Snap {
    tips: ReadOnlyTable<&'static [u8], &'static [u8]>,
    dead: ReadOnlyTable<&'static [u8], &'static [u8; tables::DEAD_BYTES]>,
    edits: ReadOnlyTable<&'static [u8], &'static [u8]>,
    entries: ReadOnlyTable<&'static [u8], ()>,
    buckets: ReadOnlyTable<u8, &'static [u8; 32]>,
    cursor: Cursor,
    log: Arc<dyn LogReader>,
    pub(super) health: Arc<Health>,
    shelf: Arc<Shelf>,
    at_hand: Mutex<VecDeque<(Position, Arc<Bundle>)>>,
    unions: OnceLock<Arc<Unions>>,
    unions_at_hand: Arc<UnionsAtHand>,
}

impl Snap {
    pub(super) fn of(
        transaction: &ReadTransaction,
        log: Arc<dyn LogReader>,
        health: Arc<Health>,
        (unions_at_hand, shelf): (Arc<UnionsAtHand>, Arc<Shelf>),
    ) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        let cursor = meta.get(META_CURSOR)?.ok_or(tables::BadRow)?;
        let cursor = tables::read_cursor(cursor.value())?;
        Ok(Self {
            tips: transaction.open_table(TIPS)?,
            dead: transaction.open_table(DEAD)?,
            edits: transaction.open_table(EDITS)?,
            entries: transaction.open_table(ENTRIES)?,
            buckets: transaction.open_table(BUCKETS)?,
            cursor,
            log,
            health,
            shelf,
            at_hand: Mutex::default(),
            unions: OnceLock::new(),
            unions_at_hand,
        })
    }

    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    #[cfg(test)]
    pub(super) fn raw_tips(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.tips.range::<&[u8]>(..).unwrap().map(Result::unwrap);
        rows.map(|(key, row)| (key.value().to_vec(), row.value().to_vec())).collect()
    }

    fn sound<T>(&self, result: Result<T, StoreError>) -> Read<T> {
        result.map_err(|error| self.health.failed(&error))
    }

    fn standing(&self, key: &[u8]) -> Result<Vec<Standing>, StoreError> {
        match self.tips.get(key)? {
            Some(row) => Ok(tables::read_tips(row.value())?),
            None => Ok(Vec::new()),
        }
    }

    fn superseded(&self, key: &[u8]) -> Result<Vec<(OpRef, Dead)>, StoreError> {
        // No cell's key is the beginning of another's.
        let range = KeyRange::prefix(key.to_vec());
        let mut superseded = Vec::new();
        for row in self.dead.range::<&[u8]>(&*range.from..&*range.to)? {
            let (row_key, row) = row?;
            let op = row_key.value().last_chunk().copied().ok_or(tables::BadRow)?;
            superseded.push((OpRef::from_bytes(op), tables::read_dead(row.value())?));
        }
        Ok(superseded)
    }

    /// The edits of several cells behind one position and up to another, in canonical order.
    fn edits_between(&self, cells: &[Cell], behind: Position, upto: Position) -> Result<Vec<Edit>, StoreError> {
        let mut edits = Vec::new();
        for cell in cells {
            let range = tables::edit_range(&cell.key(), behind, upto);
            for row in self.edits.range::<&[u8]>(&*range.start..&*range.end)? {
                let (key, row) = row?;
                edits.push(tables::read_edit(key.value(), row.value())?);
            }
        }
        Ok(edits::in_order(edits))
    }

    fn document_upto(
        &self,
        (cells, kind): (&[Cell], Kind),
        upto: Position,
        more: &[Edit],
        tell: &mut dyn FnMut(&Document),
    ) -> Read<()> {
        let between = |behind, upto| self.sound(self.edits_between(cells, behind, upto));
        self.shelf.show(&Asked { cells, kind, upto, more }, &between, tell)
    }

    fn buckets(&self) -> Result<Box<[[u8; 32]; 256]>, StoreError> {
        let mut buckets = Box::new([[0; 32]; 256]);
        for row in self.buckets.range::<u8>(..)? {
            let (number, bytes) = row?;
            buckets[usize::from(number.value())] = *bytes.value();
        }
        Ok(buckets)
    }

    fn prints(&self, bucket: u8, after: &[u8], limit: usize) -> Result<Vec<CellPrint>, StoreError> {
        let mut prints = Vec::new();
        for row in self.tips.range::<&[u8]>((Bound::Excluded(after), Bound::Unbounded))? {
            let (key, row) = row?;
            if hash::bucket_of(key.value()) != bucket {
                continue;
            }
            let tips: Vec<OpRef> = tables::read_tips(row.value())?.iter().map(|one| one.tip.op).collect();
            if prints.len() == limit {
                break;
            }
            prints.extend((!tips.is_empty()).then(|| (key.value().to_vec(), hash::print(key.value(), &tips))));
        }
        Ok(prints)
    }

    /// Every write of a cell that has come, and the first position at which it was superseded.
    fn all_writes(&self, key: &[u8]) -> Result<Vec<(OpRef, Place, Option<Position>)>, StoreError> {
        let superseded = self.superseded(key)?.into_iter();
        let superseded = superseded.filter_map(|(op, dead)| Some((op, dead.written?, Some(dead.since))));
        let standing = self.standing(key)?.into_iter().map(|one| (one.tip.op, one.place, None));
        let mut writes: Vec<_> = superseded.chain(standing).collect();
        writes.sort_unstable_by_key(|(op, place, _)| (*place, *op));
        Ok(writes)
    }

    /// Where an op that wrote a cell lies, whether its write still stands or not.
    fn place_of(&self, key: &[u8], op: OpRef) -> Result<Option<Place>, StoreError> {
        if let Some(row) = self.dead.get(tables::dead_key(key, op).as_slice())? {
            return Ok(tables::read_dead(row.value())?.written);
        }
        let standing = self.standing(key)?.into_iter().find(|one| one.tip.op == op);
        Ok(standing.map(|one| one.place))
    }

    fn bundle(&self, at: Position) -> Read<Arc<Bundle>> {
        if let Some((_, bundle)) = lock(&self.at_hand).iter().find(|(position, _)| *position == at) {
            return Ok(Arc::clone(bundle));
        }
        let Some(Stored::Whole(bundle)) = self.log.bundle(at)? else {
            return Err(ReadFailure(format!("the bundle at log position {at} can no longer be read")));
        };
        let mut at_hand = lock(&self.at_hand);
        at_hand.truncate(BUNDLES_AT_HAND - 1);
        at_hand.push_front((at, Arc::clone(&bundle)));
        Ok(bundle)
    }

    /// What the log says that an op wrote into a cell, and which writes it superseded there.
    fn remember(&self, cell: &Cell, place: Place) -> Read<(Tip, Vec<OpRef>)> {
        let bundle = self.bundle(place.position)?;
        let missing = || ReadFailure(format!("the log does not hold what the state folded at {}", place.position));
        let op = bundle.ops().get(place.index as usize).ok_or_else(missing)?;
        let writes = op.operation.as_ref().map(fold::writes).unwrap_or_default();
        let mut of_cell = writes.iter().filter(|write| write.cell == *cell);
        let preds = of_cell.clone().flat_map(|write| write.basis.preds.iter().copied()).collect();
        // An op that writes a cell twice says what it says last.
        let last = of_cell.next_back().ok_or_else(missing)?;
        Ok((last.tip(op, Some(place.position)), preds))
    }

    fn tips_at_revision(&self, cell: &Cell, key: &[u8], last: Position) -> Read<Vec<Tip>> {
        let standing = self.sound(self.standing(key))?;
        let mut tips: Vec<Tip> =
            standing.into_iter().filter(|one| one.place.position <= last).map(|one| one.tip).collect();
        for (_, dead) in self.sound(self.superseded(key))? {
            if let Some(place) = dead.written.filter(|place| place.position <= last && dead.since > last) {
                tips.push(self.remember(cell, place)?.0);
            }
        }
        Ok(tips)
    }

    fn tips_among(&self, cell: &Cell, key: &[u8], among: &BTreeSet<Position>) -> Read<Vec<Tip>> {
        let (mut tips, mut superseded) = (BTreeMap::new(), BTreeSet::new());
        for (op, place, _) in self.sound(self.all_writes(key))? {
            if among.contains(&place.position) {
                let (tip, preds) = self.remember(cell, place)?;
                superseded.extend(preds);
                tips.insert(op, tip);
            }
        }
        tips.retain(|op, _| !superseded.contains(op));
        Ok(tips.into_values().collect())
    }
}

impl View for Snap {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        let standing = self.sound(self.standing(&cell.key()))?;
        Ok(standing.into_iter().map(|one| one.tip).collect())
    }

    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        let rows = match self.tips.range::<&[u8]>(&*range.from..&*range.to) {
            Ok(rows) => rows,
            Err(error) => return Box::new(std::iter::once(Err(self.health.failed(&error.into())))),
        };
        Box::new(rows.map(|row| {
            let read = || -> Result<_, StoreError> {
                let (key, tips) = row?;
                let cell = Cell::from_key(key.value()).ok_or(tables::BadRow)?;
                Ok((cell, tables::read_tips(tips.value())?.into_iter().map(|one| one.tip).collect()))
            };
            self.sound(read())
        }))
    }

    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        let rows = match self.entries.range::<&[u8]>(&*range.from..&*range.to) {
            Ok(rows) => rows,
            Err(error) => return Some(Box::new(std::iter::once(Err(self.health.failed(&error.into()))))),
        };
        Some(Box::new(rows.map(|row| self.sound(row.map(|(key, _)| key.value().to_vec()).map_err(Into::into)))))
    }

    fn unions(&self) -> Read<Arc<Unions>> {
        if let Some(unions) = self.unions.get() {
            return Ok(Arc::clone(unions));
        }
        let position = self.cursor.position;
        let unions = if let Some(unions) = self.unions_at_hand.at(position) {
            unions
        } else {
            let unions = Arc::new(Unions::of(self)?);
            self.unions_at_hand.keep(position, &unions);
            unions
        };
        Ok(Arc::clone(self.unions.get_or_init(|| unions)))
    }

    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        self.sound(self.edits_between(std::slice::from_ref(cell), Position::ZERO, self.cursor.position))
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        self.document_upto((cells, kind), self.cursor.position, more, tell)
    }
}

impl History for Snap {
    fn tips_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Tip>> {
        let key = cell.key();
        let mut tips = match moment {
            Moment::Revision(last) => self.tips_at_revision(cell, &key, *last)?,
            Moment::Bundles(among) => self.tips_among(cell, &key, among)?,
        };
        tips.sort_by_key(Tip::order);
        Ok(tips)
    }

    fn write(&self, cell: &Cell, op: OpRef) -> Read<Option<(Tip, Vec<OpRef>)>> {
        match self.sound(self.place_of(&cell.key(), op))? {
            Some(place) => self.remember(cell, place).map(Some),
            None => Ok(None),
        }
    }

    fn unions_at(&self, moment: &Moment) -> Read<Option<Arc<Unions>>> {
        match moment {
            Moment::Revision(last) if self.unions_at_hand.are_current(*last) => self.unions().map(Some),
            _ => Ok(None),
        }
    }

    fn edits_behind(&self, cell: &Cell, position: Position) -> Read<Vec<Edit>> {
        self.sound(self.edits_between(std::slice::from_ref(cell), position, self.cursor.position))
    }

    fn with_document_at(
        &self,
        cells: &[Cell],
        kind: Kind,
        moment: &Moment,
        more: &[Edit],
        tell: &mut dyn FnMut(&Document),
    ) -> Read<()> {
        match moment {
            Moment::Revision(last) => self.document_upto((cells, kind), (*last).min(self.cursor.position), more, tell),
            Moment::Bundles(_) => {
                let mut all = more.to_vec();
                for cell in cells {
                    all.extend(self.edits_at(cell, moment)?);
                }
                tell(&edits::document(kind, &edits::in_order(all)));
                Ok(())
            }
        }
    }
}

impl Snapshot for Snap {
    fn position(&self) -> Position {
        self.cursor.position
    }

    fn chain(&self) -> Digest {
        self.cursor.chain
    }

    fn heads(&self) -> Read<Vec<Digest>> {
        Ok(self.cursor.heads.clone())
    }

    fn written(&self, cell: &Cell) -> Read<Vec<Written>> {
        let writes = self.sound(self.all_writes(&cell.key()))?.into_iter();
        Ok(writes
            .map(|(op, place, superseded_at)| Written {
                op,
                position: place.position,
                index: place.index,
                superseded_at,
            })
            .collect())
    }

    fn hash(&self) -> Read<StateHash> {
        let buckets = self.sound(self.buckets())?;
        Ok(StateHash {
            fold_version: fold::FOLD_VERSION,
            unknown_ops: self.cursor.counts.unknown_ops,
            total: hash::total(&buckets),
            buckets,
        })
    }

    fn bucket(&self, number: u8, after: &[u8], limit: usize) -> Read<Vec<CellPrint>> {
        self.sound(self.prints(number, after, limit))
    }

    fn counts(&self) -> Read<Counts> {
        Ok(self.cursor.counts)
    }

    fn view(&self) -> &dyn View {
        self
    }
}
