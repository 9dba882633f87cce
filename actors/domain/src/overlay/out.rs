//! Knocking out: staged changes leave the overlay, with what hangs on them there.

use std::collections::BTreeSet;

use openprod_model::ids::EntityId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Text, Value};

use super::{Delta, Staging};
use crate::cell::{Cell, Content};
use crate::decide::Decision;
use crate::describe;
use crate::read;
use crate::view::{Read, View};

pub(super) fn label(text: &str) -> Text {
    Text::new(text).expect("a few words are text")
}

impl Staging {
    /// Takes these cells out of the overlay, and with them what could not be without them: with a record that the
    /// overlay makes its fields and edges and the references to it, with a table everything in it.
    pub fn knock_out(&self, base: &dyn View, cells: &[Cell]) -> Decision<Delta> {
        let unions = self.over(base).unions()?;
        let mut out = Vec::new();
        for cell in cells {
            let united = unions.cells(cell);
            let staged: Vec<Cell> = united.into_iter().filter(|cell| self.cell(cell).is_some()).collect();
            if staged.is_empty() {
                let message = format!("{} is not changed in this overlay.", describe::cell(cell));
                return Err(Refusal::new(Reason::InvalidRequest, message).next("Preview the overlay again.").into());
            }
            out.extend(staged);
        }
        self.taken_out(base, &out, "Knock out")
    }

    /// The staged cells of a record: those of its fields and of its being in tables.
    pub fn cells_of(&self, entity: EntityId) -> Vec<Cell> {
        let is_of = |cell: &Cell| match cell {
            Cell::Facet { entity: one, .. } | Cell::Field { entity: one, .. } => *one == entity,
            _ => false,
        };
        self.cells().map(|(cell, _)| cell).filter(is_of).collect()
    }

    /// What was made in this very overlay and is removed again, with all that hangs on it: of no use to anybody else.
    pub(super) fn made_and_removed(&self, base: &dyn View) -> Read<BTreeSet<Cell>> {
        let mut gone = Vec::new();
        for (cell, staged) in self.cells().filter(|(_, staged)| staged.content == Content::Absent) {
            if staged.preds.is_empty() && staged.beside.is_empty() && base.tips(&cell)?.is_empty() {
                gone.push(cell);
            }
        }
        Ok(self.hanging_on(base, &gone)?.into_iter().collect())
    }

    pub(super) fn taken_out(&self, base: &dyn View, cells: &[Cell], words: &str) -> Decision<Delta> {
        let out = self.hanging_on(base, cells)?;
        let delta = self.step(label(words), out.iter().map(|cell| (cell.key(), None)).collect(), self.head.next);
        let mut after = self.clone();
        after.apply(&delta);
        for cell in &out {
            after.check_required(base, cell)?;
        }
        Ok(delta)
    }

    /// A record that stays needs its required values.
    fn check_required(&self, base: &dyn View, cell: &Cell) -> Decision<()> {
        let Cell::Field { table, entity, field } = cell else { return Ok(()) };
        let view = self.over(base);
        let Some(known) = read::table_of_key(&view, table)? else { return Ok(()) };
        let required = known.columns.iter().any(|column| column.key == *field && column.spec.required);
        if !required || !read::is_record(&view, table, *entity)? {
            return Ok(());
        }
        if read::field(&view, table, *entity, field)?.value.is_some() {
            return Ok(());
        }
        let message = format!("{} needs a value.", describe::cell(cell));
        Err(Refusal::new(Reason::RequiredMissing, message).next("Take the whole record out of the overlay.").into())
    }

    /// These cells, and the staged cells that could not be without them.
    pub(super) fn hanging_on(&self, base: &dyn View, cells: &[Cell]) -> Read<Vec<Cell>> {
        let mut out: BTreeSet<Cell> = cells.iter().cloned().collect();
        loop {
            let more = self.orphans(base, &out)?;
            if more.is_empty() {
                return Ok(out.into_iter().collect());
            }
            out.extend(more);
        }
    }

    /// The staged cells outside `out` that hang on something which is not there without `out`.
    fn orphans(&self, base: &dyn View, out: &BTreeSet<Cell>) -> Read<Vec<Cell>> {
        // Fields carry nothing; so most knocking out looks at nothing else.
        let carries =
            |cell: &Cell| !matches!(cell, Cell::Field { .. } | Cell::EdgeProperty { .. } | Cell::EdgePosition { .. });
        if !out.iter().any(carries) {
            return Ok(Vec::new());
        }
        let mut after = self.clone();
        for cell in out {
            after.put(cell.key(), None);
        }
        let view = after.over(base);
        let mut orphans = Vec::new();
        for (cell, staged) in after.cells() {
            if hangs_loose(&view, base, &cell, &staged.content)? {
                orphans.push(cell);
            }
        }
        Ok(orphans)
    }
}

/// Whether what a staged cell is about neither is there nor ever was.
fn hangs_loose(view: &dyn View, base: &dyn View, cell: &Cell, content: &Content) -> Read<bool> {
    Ok(match (cell, content) {
        (Cell::Column { table, .. } | Cell::Facet { table, .. }, _) if unknown(view, base, &table_cell(table))? => true,
        (Cell::Field { table, entity, field }, _) => {
            let facet = Cell::Facet { table: table.clone(), entity: *entity };
            let column = Cell::Column { table: table.clone(), column: field.clone() };
            unknown(view, base, &facet)? && !read::is_record(view, table, *entity)?
                || unknown(view, base, &column)?
                || match content {
                    Content::Value(Value::Entity(target)) => never_was(view, *target)?,
                    Content::Value(Value::FieldRef(target)) => never_was(view, target.entity)?,
                    _ => false,
                }
        }
        (Cell::Edge { .. }, Content::Edge(ends)) => never_was(view, ends.source)? || never_was(view, ends.target)?,
        (Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge }, _) => {
            unknown(view, base, &Cell::Edge { edge: *edge })?
        }
        (Cell::Merge { low, high }, Content::Present) => never_was(view, *low)? || never_was(view, *high)?,
        _ => false,
    })
}

fn table_cell(table: &openprod_model::value::Name) -> Cell {
    Cell::Table { table: table.clone() }
}

/// Whether nobody has written the cell, neither here nor canonically.
fn unknown(view: &dyn View, base: &dyn View, cell: &Cell) -> Read<bool> {
    Ok(base.tips(cell)?.is_empty() && view.tips(cell)?.is_empty())
}

/// Whether the entity is in no table, and was taken out of none.
fn never_was(view: &dyn View, entity: EntityId) -> Read<bool> {
    if read::exists(view, entity)? {
        return Ok(false);
    }
    for item in view.cells(&Cell::tables()) {
        let (Cell::Table { table }, _) = item? else { continue };
        if !view.tips(&Cell::Facet { table, entity })?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
