//! Views: what reading needs, and a layer of staged writes on top of another view.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_model::bundle::Op;
use openprod_model::ids::{OpRef, Position};

use crate::cell::{Cell, KeyRange, Tip};
use crate::edits::{self, Edit};
use crate::text::{Document, Kind};
use crate::unions::Unions;
use crate::{fold, index, register};

/// The store behind a view could not be read. This is never the reader's fault.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the state could not be read: {0}")]
pub struct ReadFailure(pub String);

/// What a read gives.
pub type Read<T> = Result<T, ReadFailure>;

/// Items read one by one.
pub type Reading<'a, T> = Box<dyn Iterator<Item = Read<T>> + 'a>;

/// A consistent picture of all cells: a snapshot of the state, a past one, or either with staged writes on top.
pub trait View {
    /// The standing writes of a cell, in canonical order.
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>>;

    /// The cells within a range of keys that have standing writes, in key order.
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)>;

    /// The index entries within a range of keys, in key order: candidates, to be checked against the cells.
    /// None if this view keeps no index; the caller then scans.
    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>>;

    /// The merges and mappings that stand. Asked for each field that is read, so a view keeps them at hand.
    fn unions(&self) -> Read<Arc<Unions>>;

    /// The edits of a cell that is a document or a sequence, superseded ones too, in canonical order.
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>>;

    /// Shows to `tell`, once, the document that the edits of `cells`, which read as one, and `more` amount to. A view
    /// that keeps documents at hand need not build it. `tell` must not read documents itself: the one may be locked.
    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        tell(&edits::document(kind, &edits::of_cells(self, cells, more)?));
        Ok(())
    }
}

/// Remembers the unions of a view that does not change.
pub(crate) fn kept(at_hand: &OnceCell<Arc<Unions>>, view: &dyn View) -> Read<Arc<Unions>> {
    if let Some(unions) = at_hand.get() {
        return Ok(Arc::clone(unions));
    }
    let unions = Arc::new(Unions::of(view)?);
    Ok(Arc::clone(at_hand.get_or_init(|| unions)))
}

impl<V: View + ?Sized> View for &V {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        (**self).tips(cell)
    }
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        (**self).cells(range)
    }
    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        (**self).entries(range)
    }
    fn unions(&self) -> Read<Arc<Unions>> {
        (**self).unions()
    }
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        (**self).edits(cell)
    }
    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        (**self).with_document(cells, kind, more, tell)
    }
}

impl<V: View + ?Sized> View for Box<V> {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        (**self).tips(cell)
    }
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        (**self).cells(range)
    }
    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        (**self).entries(range)
    }
    fn unions(&self) -> Read<Arc<Unions>> {
        (**self).unions()
    }
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        (**self).edits(cell)
    }
    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        (**self).with_document(cells, kind, more, tell)
    }
}

/// Writes folded in memory, to be read on top of a [`View`].
#[derive(Debug, Clone, Default)]
pub struct Layer {
    cells: BTreeMap<Vec<u8>, Vec<Tip>>,
    entries: BTreeSet<Vec<u8>>,
    edits: BTreeMap<Vec<u8>, Vec<Edit>>,
    /// Whether any of its writes merges or maps something.
    unites: bool,
}

impl Layer {
    /// Folds an op on top of `base` and what the layer holds already.
    pub fn fold(&mut self, base: &dyn View, op: &Op, position: Option<Position>) -> Read<()> {
        let Some(operation) = &op.operation else { return Ok(()) };
        for write in fold::writes(operation) {
            let key = write.cell.key();
            let mut tips = match self.cells.remove(&key) {
                Some(tips) => tips,
                None => base.tips(&write.cell)?,
            };
            self.unites |= matches!(write.cell, Cell::Merge { .. } | Cell::Mapping { .. });
            register::apply(&mut tips, write.tip(op, position), &write.basis.preds);
            self.entries.extend(index::entries(&write.cell, tips.iter().map(|tip| &tip.content)));
            self.cells.insert(key, tips);
        }
        for (cell, edit) in Edit::by(op, position) {
            self.edits.entry(cell.key()).or_default().push(edit);
        }
        Ok(())
    }

    /// The edits of these cells that were folded, in canonical order.
    pub fn edits(&self, cells: &[Cell]) -> Vec<Edit> {
        let folded = cells.iter().filter_map(|cell| self.edits.get(&cell.key()));
        edits::in_order(folded.flatten().cloned().collect())
    }

    /// Takes in a layer that was folded on top of this one.
    pub fn absorb(&mut self, upper: Self) {
        self.cells.extend(upper.cells);
        self.entries.extend(upper.entries);
        for (cell, edits) in upper.edits {
            self.edits.entry(cell).or_default().extend(edits);
        }
        self.unites |= upper.unites;
    }

    /// Whether nothing was folded.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// `base` with this layer on top.
    pub fn over<'a>(&'a self, base: &'a dyn View) -> Layered<'a> {
        Layered { base, layer: self, unions: OnceCell::new() }
    }
}

/// A view with a [`Layer`] on top.
pub struct Layered<'a> {
    base: &'a dyn View,
    layer: &'a Layer,
    unions: OnceCell<Arc<Unions>>,
}

impl View for Layered<'_> {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        match self.layer.cells.get(&cell.key()) {
            Some(tips) => Ok(tips.clone()),
            None => self.base.tips(cell),
        }
    }

    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        let staged = self.layer.cells.range(range.from.clone()..range.to.clone());
        let staged = staged.filter_map(|(key, tips)| Some((Cell::from_key(key)?, tips.clone())));
        let base = self.base.cells(range).filter(|item| match item {
            Ok((cell, _)) => !self.layer.cells.contains_key(&cell.key()),
            Err(_) => true,
        });
        merged(base, staged, |(cell, _)| cell.key())
    }

    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        let staged = self.layer.entries.range(range.from.clone()..range.to.clone()).cloned();
        let base = self.base.entries(range)?.filter(|item| match item {
            Ok(entry) => !self.layer.entries.contains(entry),
            Err(_) => true,
        });
        Some(merged(base, staged, Vec::clone))
    }

    fn unions(&self) -> Read<Arc<Unions>> {
        if self.layer.unites { kept(&self.unions, self) } else { self.base.unions() }
    }

    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        let folded = self.layer.edits(std::slice::from_ref(cell));
        let base = self.base.edits(cell)?;
        Ok(if folded.is_empty() { base } else { edits::in_order([base, folded].concat()) })
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        let more = [&self.layer.edits(cells), more].concat();
        self.base.with_document(cells, kind, &more, tell)
    }
}

/// Merges two sorted sequences by key.
pub(crate) fn merged<'a, T: 'a, K: Ord>(
    base: impl Iterator<Item = Read<T>> + 'a,
    staged: impl Iterator<Item = T> + 'a,
    key: impl Fn(&T) -> K + 'a,
) -> Reading<'a, T> {
    let (mut base, mut staged) = (base.peekable(), staged.peekable());
    Box::new(std::iter::from_fn(move || match (base.peek(), staged.peek()) {
        (Some(Ok(left)), Some(right)) if key(right) < key(left) => staged.next().map(Ok),
        (None, Some(_)) => staged.next().map(Ok),
        _ => base.next(),
    }))
}

/// A view of nothing, to build on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl View for Empty {
    fn tips(&self, _: &Cell) -> Read<Vec<Tip>> {
        Ok(Vec::new())
    }
    fn cells(&self, _: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        Box::new(std::iter::empty())
    }
    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        Some(Box::new(std::iter::empty()))
    }
    fn unions(&self) -> Read<Arc<Unions>> {
        Ok(Arc::default())
    }
    fn edits(&self, _: &Cell) -> Read<Vec<Edit>> {
        Ok(Vec::new())
    }
}

/// A moment in a log's past.
#[derive(Debug, Clone)]
pub enum Moment {
    /// Everything up to and including a position.
    Revision(Position),
    /// Exactly these positions: the ancestors of a bundle, or what was written before a time, with its ancestors.
    Bundles(Arc<BTreeSet<Position>>),
}

impl Moment {
    /// Whether the bundle at `position` had happened.
    pub fn includes(&self, position: Position) -> bool {
        match self {
            Self::Revision(last) => position <= *last,
            Self::Bundles(positions) => positions.contains(&position),
        }
    }
}

/// A view that remembers.
pub trait History: View {
    /// The writes of a cell that stood at a moment, in canonical order.
    fn tips_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Tip>>;

    /// What an op wrote into a cell, whether it still stands or not, and which writes it superseded there; none if it
    /// wrote nothing there, as far as is known.
    fn write(&self, cell: &Cell, op: OpRef) -> Read<Option<(Tip, Vec<OpRef>)>>;

    /// The merges and mappings that stood at a moment, if they are at hand; else they are read from their cells.
    fn unions_at(&self, _: &Moment) -> Read<Option<Arc<Unions>>> {
        Ok(None)
    }

    /// The edits of a cell that had happened at a moment, in canonical order.
    fn edits_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Edit>> {
        let mut edits = self.edits(cell)?;
        edits.retain(|edit| edit.position.is_some_and(|position| moment.includes(position)));
        Ok(edits)
    }

    /// The edits of a cell that lie behind a position, in canonical order.
    fn edits_behind(&self, cell: &Cell, position: Position) -> Read<Vec<Edit>> {
        let mut edits = self.edits(cell)?;
        edits.retain(|edit| edit.position.is_some_and(|at| at > position));
        Ok(edits)
    }

    /// As [`View::with_document`], at a moment.
    fn with_document_at(
        &self,
        cells: &[Cell],
        kind: Kind,
        moment: &Moment,
        more: &[Edit],
        tell: &mut dyn FnMut(&Document),
    ) -> Read<()> {
        let mut all = more.to_vec();
        for cell in cells {
            all.extend(self.edits_at(cell, moment)?);
        }
        tell(&edits::document(kind, &edits::in_order(all)));
        Ok(())
    }
}

/// The past of a view, itself a view. It keeps no index: queries scan.
pub struct AsOf<'a> {
    now: &'a dyn History,
    moment: Moment,
    unions: OnceCell<Arc<Unions>>,
}

impl<'a> AsOf<'a> {
    /// What `now` remembers of `moment`.
    pub fn new(now: &'a dyn History, moment: Moment) -> Self {
        Self { now, moment, unions: OnceCell::new() }
    }
}

impl View for AsOf<'_> {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        self.now.tips_at(cell, &self.moment)
    }

    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        // A cell that was ever written has standing writes for ever, so today's cells include those of the past.
        Box::new(self.now.cells(range).filter_map(|item| match item {
            Ok((cell, _)) => match self.tips(&cell) {
                Ok(tips) if tips.is_empty() => None,
                Ok(tips) => Some(Ok((cell, tips))),
                Err(failure) => Some(Err(failure)),
            },
            Err(failure) => Some(Err(failure)),
        }))
    }

    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        None
    }

    fn unions(&self) -> Read<Arc<Unions>> {
        match self.now.unions_at(&self.moment)? {
            Some(unions) => Ok(unions),
            None => kept(&self.unions, self),
        }
    }

    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        self.now.edits_at(cell, &self.moment)
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        self.now.with_document_at(cells, kind, &self.moment, more, tell)
    }
}
