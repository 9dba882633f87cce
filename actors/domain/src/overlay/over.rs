//! A view seen through an overlay.

use std::cell::OnceCell;
use std::sync::Arc;

use openprod_model::clock::Hlc;
use openprod_model::ids::{OpId, OpRef};

use super::{Staged, Staging};
use crate::cell::{Cell, Content, KeyRange, Tip};
use crate::edits::{self, Edit};
use crate::text::{self, Document, Kind};
use crate::unions::Unions;
use crate::view::{self, Read, Reading, View};

/// A view with staged cells on top: of a staged cell there stand the canonical writes that it does not supersede, and
/// the staged one.
pub struct Over<'a, V> {
    base: V,
    staging: &'a Staging,
    unions: OnceCell<Arc<Unions>>,
}

impl Staging {
    /// `base`, seen through this overlay. Costs nothing: cells are put together as they are read.
    pub fn over<V: View>(&self, base: V) -> Over<'_, V> {
        Over { base, staging: self, unions: OnceCell::new() }
    }
}

impl Staging {
    /// The edits that are staged for documents or sequences, in canonical order.
    pub(super) fn edits(&self, cells: &[Cell]) -> Vec<Edit> {
        let staged = cells.iter().filter_map(|cell| self.cell(cell));
        edits::in_order(staged.flat_map(Staged::edits).collect())
    }
}

impl Staged {
    /// Its edits. Each goes by its content: readers who keep documents tell edits apart by what refers to them, and the
    /// numbers of several overlays are the same.
    fn edits(&self) -> Vec<Edit> {
        let Content::Edit(staged) = &self.content else { return Vec::new() };
        let edit = |(index, update): (u128, Vec<u8>)| Edit {
            op: OpRef::from_bytes(*blake3::hash(&update).as_bytes().first_chunk().expect("a hash has 32 bytes")),
            hlc: Hlc { ms: u64::MAX, counter: self.number },
            op_id: OpId::from_bytes(index.to_be_bytes()),
            position: None,
            update: update.into(),
        };
        (0..).zip(text::divided(staged)).map(edit).collect()
    }

    fn over(&self, mut standing: Vec<Tip>) -> Vec<Tip> {
        standing.retain(|tip| !self.supersedes(&tip.op));
        standing.push(self.tip());
        standing
    }
}

impl<V: View> View for Over<'_, V> {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        let standing = self.base.tips(cell)?;
        Ok(match self.staging.cell(cell) {
            Some(staged) => staged.over(standing),
            None => standing,
        })
    }

    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        let staged = self.staging.cells.range(range.from.clone()..range.to.clone());
        let staged = staged.filter_map(|(key, _)| Some((Cell::from_key(key)?, None)));
        let base = self.base.cells(range).filter_map(|item| match item {
            Ok((cell, tips)) => self.staging.cell(&cell).is_none().then_some(Ok((cell, Some(tips)))),
            Err(failure) => Some(Err(failure)),
        });
        Box::new(view::merged(base, staged, |(cell, _)| cell.key()).map(|item| match item? {
            (cell, Some(tips)) => Ok((cell, tips)),
            (cell, None) => self.tips(&cell).map(|tips| (cell, tips)),
        }))
    }

    fn entries(&self, range: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        let staged = self.staging.entries.range(range.from.clone()..range.to.clone()).cloned();
        let base = self.base.entries(range)?.filter(|item| match item {
            Ok(entry) => !self.staging.entries.contains(entry),
            Err(_) => true,
        });
        Some(view::merged(base, staged, Vec::clone))
    }

    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        let staged = self.staging.edits(std::slice::from_ref(cell));
        Ok(edits::in_order([self.base.edits(cell)?, staged].concat()))
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<()> {
        self.base.with_document(cells, kind, &[&self.staging.edits(cells), more].concat(), tell)
    }

    fn unions(&self) -> Read<Arc<Unions>> {
        if self.staging.uniting > 0 { view::kept(&self.unions, self) } else { self.base.unions() }
    }
}
