//! Folding a piece of the log in memory: bundles in, changed cells out. No disk, no clock; what was folded before is
//! asked of a [`Ground`].
//!
//! A cell's register is kept in two parts: the writes that stand, and the superseded ones. A write that is named as
//! superseded before it came leaves a mark, so that order and repetition do not matter (I-3).

use std::collections::BTreeMap;

use openprod_domain::cell::{Cell, Tip};
use openprod_domain::edits::Edit;
use openprod_domain::{fold, index};
use openprod_messages::log::{Entry, Stored};
use openprod_messages::snapshot::Counts;
use openprod_model::bundle::{Bundle, Op};
use openprod_model::ids::{Digest, OpRef, Position};

/// Where a write lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The bundle's position.
    pub(crate) position: Position,
    /// Which op of the bundle it is.
    pub(crate) index: u32,
}

/// A write that stands, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The write.
    pub(crate) tip: Tip,
    /// Where it lies.
    pub(crate) place: Place,
}

/// A write that is superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead {
    /// The first position at which a write superseded it.
    pub(crate) since: Position,
    /// Where it lies; none while it has not come.
    pub(crate) written: Option<Place>,
}

/// How far the log is folded, and what that amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The last position folded.
    pub(crate) position: Position,
    /// The log's chain there; zero before the first.
    pub(crate) chain: Digest,
    /// The sums so far.
    pub(crate) counts: Counts,
    /// The bundles so far that no other has as a parent.
    pub(crate) heads: Vec<Digest>,
}

impl Default for Cursor {
    fn default() -> Self {
        let chain = Digest::from_bytes([0; 32]);
        Self { position: Position::ZERO, chain, counts: Counts::default(), heads: Vec::new() }
    }
}

/// What was folded before this piece.
pub(crate) trait Ground {
    /// Why it could not be read.
    type Failure;
    /// The standing writes of a cell; none if it was never written.
    fn standing(&self, cell: &[u8]) -> Result<Option<Vec<Standing>>, Self::Failure>;
    /// A superseded write of a cell.
    fn dead(&self, cell: &[u8], op: OpRef) -> Result<Option<Dead>, Self::Failure>;
}

/// A cell that a piece touches.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The cell.
    pub(crate) cell: Cell,
    /// Its standing writes, in canonical order.
    pub(crate) standing: Vec<Standing>,
    /// Writes that were superseded, or came after that, within this piece.
    pub(crate) dead: BTreeMap<OpRef, Dead>,
    /// Edits of a document or sequence that came within this piece.
    pub(crate) edits: BTreeMap<Place, Edit>,
    /// What stood before the piece; none if the cell was never written.
    pub(crate) before: Option<Before>,
}

/// What a cell showed to the hash and to the index before a piece.
#[derive(Debug)]
pub(crate) struct Before {
    /// Its standing writes.
    pub(crate) tips: Vec<OpRef>,
    /// Its index entries, sorted.
    pub(crate) entries: Vec<Vec<u8>>,
}

/// A piece of the log, folded in memory.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The cells that it touches, by key.
    pub(crate) cells: BTreeMap<Vec<u8>, Touched>,
    /// How far the log is folded with it.
    pub(crate) cursor: Cursor,
    /// Kinds of ops that are passed over.
    unknown: &'static [u16],
}

impl Piece {
    /// Nothing yet, behind `cursor`.
    pub(crate) fn behind(cursor: Cursor, unknown: &'static [u16]) -> Self {
        Self { cells: BTreeMap::new(), cursor, unknown }
    }

    /// Folds the next bundle, whole (I-2). A damaged one is counted and passed over.
    pub(crate) fn fold<G: Ground>(
        &mut self,
        ground: &G,
        (position, entry, stored): &(Position, Entry, Stored),
    ) -> Result<(), G::Failure> {
        match stored {
            Stored::Whole(bundle) => self.fold_bundle(ground, *position, bundle)?,
            Stored::Damaged { .. } => self.cursor.counts.damaged += 1,
        }
        self.cursor.heads.push(entry.digest);
        (self.cursor.position, self.cursor.chain) = (*position, entry.chain);
        Ok(())
    }

    /// Whether it touches what is said of any member.
    pub(crate) fn changes_members(&self) -> bool {
        self.cells.values().any(|touched| matches!(touched.cell, Cell::Member { .. }))
    }

    fn fold_bundle<G: Ground>(&mut self, ground: &G, position: Position, bundle: &Bundle) -> Result<(), G::Failure> {
        for (index, op) in (0..).zip(bundle.ops()) {
            self.fold_op(ground, op, Place { position, index })?;
        }
        self.cursor.counts.bundles += 1;
        self.cursor.heads.retain(|head| !bundle.ancestors().any(|ancestor| ancestor == *head));
        Ok(())
    }

    fn fold_op<G: Ground>(&mut self, ground: &G, op: &Op, place: Place) -> Result<(), G::Failure> {
        let known = op.operation.as_ref().filter(|_| !self.unknown.contains(&op.kind));
        let Some(operation) = known else {
            self.cursor.counts.unknown_ops += 1;
            return Ok(());
        };
        self.cursor.counts.ops += 1;
        for write in fold::writes(operation) {
            let key = write.cell.key();
            let tip = write.tip(op, Some(place.position));
            let touched = match self.cells.get_mut(&key) {
                Some(touched) => touched,
                None => self.touch(ground, key.clone(), write.cell)?,
            };
            touched.apply(ground, &key, Standing { tip, place }, &write.basis.preds)?;
        }
        for (cell, edit) in Edit::by(op, Some(place.position)) {
            if let Some(touched) = self.cells.get_mut(&cell.key()) {
                touched.edits.insert(place, edit);
            }
        }
        Ok(())
    }

    fn touch<G: Ground>(&mut self, ground: &G, key: Vec<u8>, cell: Cell) -> Result<&mut Touched, G::Failure> {
        let standing = ground.standing(&key)?;
        let before = standing.as_ref().map(|standing| Before {
            tips: standing.iter().map(|one| one.tip.op).collect(),
            entries: entries(&cell, standing),
        });
        self.cursor.counts.cells += u64::from(before.is_none());
        let touched = Touched {
            cell,
            standing: standing.unwrap_or_default(),
            dead: BTreeMap::new(),
            edits: BTreeMap::new(),
            before,
        };
        Ok(self.cells.entry(key).or_insert(touched))
    }
}

impl Touched {
    /// The references of its standing writes.
    pub(crate) fn tips(&self) -> Vec<OpRef> {
        self.standing.iter().map(|one| one.tip.op).collect()
    }

    /// Its index entries, sorted.
    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        entries(&self.cell, &self.standing)
    }

    /// The domain's `register::apply`, for arrival in any order at all.
    fn apply<G: Ground>(&mut self, ground: &G, key: &[u8], write: Standing, preds: &[OpRef]) -> Result<(), G::Failure> {
        for pred in preds {
            self.supersede(ground, key, *pred, write.place.position)?;
        }
        match self.dead_before(ground, key, write.tip.op)? {
            Some(Dead { since, written: None }) => {
                self.dead.insert(write.tip.op, Dead { since, written: Some(write.place) });
            }
            Some(_) => {}
            None => self.stand(write),
        }
        Ok(())
    }

    fn supersede<G: Ground>(&mut self, ground: &G, key: &[u8], pred: OpRef, since: Position) -> Result<(), G::Failure> {
        if let Some(at) = self.standing.iter().position(|one| one.tip.op == pred) {
            let written = Some(self.standing.remove(at).place);
            self.dead.insert(pred, Dead { since, written });
        } else if self.dead_before(ground, key, pred)?.is_none() {
            self.dead.insert(pred, Dead { since, written: None });
        }
        Ok(())
    }

    fn dead_before<G: Ground>(&self, ground: &G, key: &[u8], op: OpRef) -> Result<Option<Dead>, G::Failure> {
        match self.dead.get(&op) {
            Some(dead) => Ok(Some(*dead)),
            None if self.before.is_none() => Ok(None),
            None => ground.dead(key, op),
        }
    }

    /// An op found in two bundles keeps its first place; an op that writes a cell twice says what it says last.
    fn stand(&mut self, mut write: Standing) {
        if let Some(at) = self.standing.iter().position(|one| one.tip.op == write.tip.op) {
            write.place = self.standing.remove(at).place;
            write.tip.position = Some(write.place.position);
        }
        let at = self.standing.partition_point(|one| one.tip.order() < write.tip.order());
        self.standing.insert(at, write);
    }
}

fn entries(cell: &Cell, standing: &[Standing]) -> Vec<Vec<u8>> {
    index::entries(cell, standing.iter().map(|one| &one.tip.content))
}
