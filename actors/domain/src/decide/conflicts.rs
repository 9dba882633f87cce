//! Conflicts: deciding them. A decision names every write in dispute that its author had seen, and stays on show until
//! somebody decides again.

use openprod_model::ids::{EntityId, OpRef};
use openprod_model::operation::Basis;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldRef, Name, Value};

use super::{Decision, Planner};
use crate::cell::{Cell, Content, Tip};
use crate::command::Choice;
use crate::compose::Putting;
use crate::conflict::{self, Conflict, Dispute};
use crate::describe;
use crate::read::{self, Column, Table};
use crate::view::View;

impl Planner<'_> {
    pub(super) fn resolve(&mut self, cell: &Cell, choice: &Choice) -> Decision<()> {
        let Some(conflict) = conflict::of(&self.view(), cell)? else {
            let message = format!("There is no conflict about {}.", describe::cell_on(&self.view(), cell)?);
            let refusal = Refusal::new(Reason::NotInConflict, message).at("cell");
            return Err(refusal.next("Somebody may have decided it already: look again.").into());
        };
        match (&conflict.dispute, choice) {
            (Dispute::Values(_), _) => self.decide_value(&conflict, choice),
            (Dispute::RemovedWhileEdited { removals, .. }, Choice::Restore) => self.restore(&conflict.cell, removals),
            (Dispute::RemovedWhileEdited { edits, .. }, Choice::LetGo) => self.let_go(&conflict.cell, edits),
            _ => Err(unfit("It was removed while somebody edited it: restore it, or let it go.").into()),
        }
    }

    fn decide_value(&mut self, conflict: &Conflict, choice: &Choice) -> Decision<()> {
        let content = self.chosen(conflict, choice)?;
        let cells = read::written_with(&self.view(), &conflict.cell)?;
        let seen = if content == Content::Absent { self.seen_hanging_on(&conflict.cell)? } else { Vec::new() };
        let bases = self.verdicts(&cells)?;
        let puttings = cells.into_iter().zip(bases).map(|(cell, basis)| {
            let (content, seen) = (content.clone(), seen.clone());
            Putting { cell, content, basis, seen }
        });
        self.push_all(puttings.collect())
    }

    /// What a choice comes to.
    fn chosen(&self, conflict: &Conflict, choice: &Choice) -> Decision<Content> {
        match choice {
            Choice::Candidate(op) => match conflict::candidate(conflict, *op) {
                Some(candidate) => Ok(candidate.content.clone()),
                None => Err(unfit("That is not one of the values in dispute: look again.").into()),
            },
            Choice::Value(value) => self.fitting(&conflict.cell, value),
            Choice::Clear => self.cleared(&conflict.cell),
            Choice::Restore | Choice::LetGo => Err(unfit("Nothing was removed here: choose a value.").into()),
        }
    }

    /// A value of one's own, if the cell can hold it.
    fn fitting(&self, cell: &Cell, value: &Value) -> Decision<Content> {
        match cell {
            Cell::Field { table, entity, field } => {
                if let Some((table, column)) = self.column_of(table, field)? {
                    self.check_held(&table, &column, *entity, value)?;
                }
            }
            Cell::EdgeProperty { .. } | Cell::Setting { .. } => {}
            _ => return Err(unfit("This holds no value of one's own: choose one of the candidates.").into()),
        }
        Ok(Content::Value(value.clone()))
    }

    fn check_held(&self, table: &Table, column: &Column, entity: EntityId, value: &Value) -> Decision<()> {
        const PLACE: &str = "choice.value";
        self.check_value(table, column, value, PLACE)?;
        self.check_mapped(table, column, value, PLACE)?;
        match value {
            Value::FieldRef(target) => {
                let own = FieldRef { entity, table: table.key.clone(), field: column.key.clone() };
                self.check_reference(&own, column, target, PLACE)
            }
            _ => Ok(()),
        }
    }

    fn cleared(&self, cell: &Cell) -> Decision<Content> {
        match cell {
            Cell::Field { table, field, .. } => match self.column_of(table, field)? {
                Some((table, column)) => self.check_not_required(&table, &column).map(|()| Content::Absent),
                None => Ok(Content::Absent),
            },
            Cell::EdgeProperty { .. } | Cell::Setting { .. } => Ok(Content::Absent),
            _ => Err(unfit("This cannot be without a value: choose one of the candidates.").into()),
        }
    }

    /// A column by the keys of a cell; none if it is known no more, as when another version's table holds it.
    fn column_of(&self, table: &Name, field: &Name) -> Decision<Option<(Table, Column)>> {
        let Some(table) = read::table_of_key(&self.view(), table)? else { return Ok(None) };
        let column = table.columns.iter().find(|column| column.key == *field).cloned();
        Ok(column.map(|column| (table, column)))
    }

    /// Brings back all that these removals took away: a record in each table that it was taken out of, or an edge.
    fn restore(&mut self, cell: &Cell, removals: &[Tip]) -> Decision<()> {
        let mut puttings = Vec::new();
        for cell in self.removed_together(cell, removals)? {
            let content = self.before_removal(&cell, removals)?;
            let basis = self.verdict(&cell)?;
            puttings.push(Putting { cell, content, basis, seen: Vec::new() });
        }
        self.push_all(puttings)
    }

    /// The cells that the same removals emptied.
    fn removed_together(&self, cell: &Cell, removals: &[Tip]) -> Decision<Vec<Cell>> {
        let Cell::Facet { entity, .. } = cell else { return Ok(vec![cell.clone()]) };
        let (view, mut together) = (self.view(), Vec::new());
        for table in read::tables_ever_of(&view, *entity)? {
            let facet = Cell::Facet { table, entity: *entity };
            if view.tips(&facet)?.iter().any(|tip| removals.iter().any(|removal| removal.op == tip.op)) {
                together.push(facet);
            }
        }
        Ok(together)
    }

    fn before_removal(&self, cell: &Cell, removals: &[Tip]) -> Decision<Content> {
        if matches!(cell, Cell::Facet { .. }) {
            return Ok(Content::Present);
        }
        for removal in removals {
            let before = self.seen.before(cell, removal.op)?;
            if let Some(content) = before.into_iter().find(|content| *content != Content::Absent) {
                return Ok(content);
            }
        }
        let refusal = Refusal::new(Reason::UnknownHistory, "What was removed here is not known any more.");
        Err(refusal.at("choice").next("Make it anew, or let it go.").into())
    }

    fn let_go(&mut self, cell: &Cell, edits: &[(Cell, Tip)]) -> Decision<()> {
        let mut seen = self.seen_hanging_on(cell)?;
        seen.extend(self.seen_of(&edits.iter().map(|(at, tip)| (at.clone(), vec![tip.clone()])).collect::<Vec<_>>())?);
        seen.sort_unstable();
        seen.dedup();
        let basis = self.verdict(cell)?;
        self.push_all(vec![Putting { cell: cell.clone(), content: Content::Absent, basis, seen }])
    }

    fn verdict(&self, cell: &Cell) -> Decision<Basis> {
        Ok(self.verdicts(std::slice::from_ref(cell))?.remove(0))
    }

    /// The writes that hang on a record or an edge, as far as the author had seen them.
    fn seen_hanging_on(&self, cell: &Cell) -> Decision<Vec<OpRef>> {
        match cell {
            Cell::Facet { table, entity } => {
                let mut seen = self.seen_fields(table, *entity)?;
                seen.extend(self.seen_edges(*entity)?);
                Ok(seen)
            }
            Cell::Edge { edge } => self.seen_of(&read::writes_of_edge(&self.view(), *edge)?),
            _ => Ok(Vec::new()),
        }
    }
}

fn unfit(message: &str) -> Refusal {
    Refusal::new(Reason::InvalidRequest, message).at("choice")
}
