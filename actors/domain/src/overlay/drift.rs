//! Drift: what others wrote canonically into cells that an overlay also writes, and how a person decides it.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_model::ids::OpRef;
use openprod_model::refusal::{Reason, Refusal};

use super::out::label;
use super::{CellChange, Delta, Staged, Staging};
use crate::cell::{Cell, Content, Tip};
use crate::decide::Decision;
use crate::describe;
use crate::unions::Unions;
use crate::view::{Read, View};

/// A cell that an overlay writes and somebody else has written since.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The cell; where several read as one, the first of them.
    pub cell: Cell,
    /// What is staged there.
    pub mine: Content,
    /// The canonical writes that the overlay does not know, in canonical order.
    pub theirs: Vec<Tip>,
}

impl Staging {
    /// All drift, in the order of the cells.
    pub fn drift(&self, base: &dyn View) -> Read<Vec<Drift>> {
        let unions = base.unions()?;
        let (mut drifts, mut judged) = (Vec::new(), BTreeSet::new());
        for (cell, _) in self.cells() {
            let united = unions.cells(&cell);
            if united.len() == 1 || judged.insert(united[0].key()) {
                drifts.extend(self.drift_among(base, &unions, &united)?);
            }
        }
        Ok(drifts)
    }

    /// The drift on a cell, or on one that reads as one with it.
    pub fn drift_on(&self, base: &dyn View, cell: &Cell) -> Read<Option<Drift>> {
        let unions = base.unions()?;
        self.drift_among(base, &unions, &unions.cells(cell))
    }

    /// What stands in cells that read as one and says something else, unknown to what is staged in any of them.
    fn drift_among(&self, base: &dyn View, unions: &Unions, united: &[Cell]) -> Read<Option<Drift>> {
        let staged: Vec<&Staged> = united.iter().filter_map(|cell| self.cell(cell)).collect();
        let Some(first) = staged.first() else { return Ok(None) };
        // Of several places the latest counts; nobody has to choose.
        if matches!(united[0], Cell::EdgePosition { .. }) {
            return Ok(None);
        }
        let mine = unions.canonical_content(first.content.clone());
        let mut theirs = unions.tips(base, &united[0])?;
        // Edits merge.
        let merges = |tip: &Tip| matches!((&mine, &tip.content), (Content::Edit(_), Content::Edit(_)));
        theirs.retain(|tip| tip.content != mine && !merges(tip) && !staged.iter().any(|one| one.knows(&tip.op)));
        Ok((!theirs.is_empty()).then(|| Drift { cell: united[0].clone(), mine, theirs }))
    }

    /// What is staged in these cells supersedes the canonical writes that stand on `base`: those are known from now on.
    pub fn keep_mine(&self, base: &dyn View, cells: &[Cell]) -> Decision<Delta> {
        let unions = base.unions()?;
        let mut changes = Vec::new();
        for cell in cells {
            let drift = self.drift_on(base, cell)?.ok_or_else(|| no_drift(cell))?;
            let theirs: BTreeSet<OpRef> = drift.theirs.iter().map(|tip| tip.op).collect();
            changes.extend(self.acknowledging(base, &unions.cells(cell), &theirs)?);
        }
        Ok(self.step(label("Keep mine"), changes, self.head.next))
    }

    /// Each of the united cells that holds one of `theirs`, superseding it.
    fn acknowledging(&self, base: &dyn View, united: &[Cell], theirs: &BTreeSet<OpRef>) -> Read<Vec<CellChange>> {
        let any = united.iter().find_map(|cell| self.cell(cell));
        let mut changes = Vec::new();
        for cell in united {
            let known: Vec<OpRef> =
                base.tips(cell)?.into_iter().map(|tip| tip.op).filter(|op| theirs.contains(op)).collect();
            let beside = |staged: &Staged| Staged {
                preds: Vec::new(),
                acknowledged: Vec::new(),
                beside: Vec::new(),
                ..staged.clone()
            };
            let staged = self.cell(cell).cloned().or_else(|| any.map(beside));
            if let Some(mut staged) = staged.filter(|_| !known.is_empty()) {
                staged.acknowledged.extend(known);
                changes.push((cell.key(), Some(Arc::new(staged))));
            }
        }
        Ok(changes)
    }

    /// Takes these cells out of the overlay, so that what others wrote there is shown.
    pub fn use_canonical(&self, base: &dyn View, cells: &[Cell]) -> Decision<Delta> {
        let unions = base.unions()?;
        let mut out = Vec::new();
        for cell in cells {
            self.drift_on(base, cell)?.ok_or_else(|| no_drift(cell))?;
            out.extend(unions.cells(cell).into_iter().filter(|cell| self.cell(cell).is_some()));
        }
        self.taken_out(base, &out, "Use canonical")
    }
}

fn no_drift(cell: &Cell) -> Refusal {
    let message = format!("{} has not drifted in this overlay.", describe::cell(cell));
    Refusal::new(Reason::InvalidRequest, message).next("List the drift again.")
}
