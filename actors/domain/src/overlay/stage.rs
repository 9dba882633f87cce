//! Staging: a planned request becomes cells of an overlay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use openprod_model::bundle::Op;
use openprod_model::ids::OpRef;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;

use super::{CellChange, Delta, MAX_CELLS, Staged, Staging, reference};
use crate::cell::{Cell, Content};
use crate::decide::{Decision, Seen};
use crate::edits::Edit;
use crate::fold::{self, Write};
use crate::text::{self, Document, Flaw, Kind};
use crate::view::{Read, View};

/// What an author sees who works in an overlay: everything staged there, and of the canonical state what he had seen.
pub struct SeenThrough<'a> {
    /// What he had seen of the canonical state.
    pub canonical: &'a dyn Seen,
    /// The overlay.
    pub staging: &'a Staging,
}

impl Seen for SeenThrough<'_> {
    fn seen(&self, cell: &Cell) -> Read<Option<Vec<OpRef>>> {
        let Some(mut seen) = self.canonical.seen(cell)? else { return Ok(None) };
        seen.extend(self.staging.cell(cell).map(|staged| staged.tip().op));
        Ok(Some(seen))
    }

    fn before(&self, cell: &Cell, op: OpRef) -> Read<Vec<Content>> {
        self.canonical.before(cell, op)
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<bool> {
        self.canonical.with_document(cells, kind, &[&self.staging.edits(cells), more].concat(), tell)
    }
}

/// Cells as they shall be, on the way to a delta.
type Changes = BTreeMap<Vec<u8>, Arc<Staged>>;

impl Staging {
    /// Stages ops that were planned on [`Self::over`] `base`. A cell that is staged already keeps the canonical writes
    /// that it supersedes, and says the new thing.
    pub fn stage(&self, base: &dyn View, canonical: &dyn Seen, ops: &[Op], label: &Text) -> Decision<Delta> {
        let numbers: HashMap<OpRef, u32> = ops.iter().map(|op| op.reference).zip(self.head.next..).collect();
        let mut changes = Changes::new();
        for op in ops {
            for write in op.operation.iter().flat_map(fold::writes) {
                refuse(&write)?;
                let key = write.cell.key();
                let staged = match changes.get(&key).or_else(|| self.cells.get(&key)) {
                    Some(before) => (**before).clone(),
                    None => first(base, canonical, &write, &numbers)?,
                };
                let staged =
                    said(staged, &write, numbers[&op.reference], &numbers).map_err(|flaw| not_joined(&flaw))?;
                changes.insert(key, Arc::new(staged));
            }
        }
        let next = self.head.next.saturating_add(u32::try_from(ops.len()).unwrap_or(u32::MAX));
        let changes: Vec<CellChange> = changes.into_iter().map(|(key, staged)| (key, Some(staged))).collect();
        let more = changes.iter().filter(|(key, _)| !self.cells.contains_key(key)).count();
        if self.len() + more > MAX_CELLS {
            return Err(full(self.len() + more).into());
        }
        Ok(self.step(label.clone(), changes, next))
    }
}

/// Membership is nobody's draft.
fn refuse(write: &Write<'_>) -> Result<(), Refusal> {
    if !matches!(write.cell, Cell::Member { .. }) {
        return Ok(());
    }
    let message = "Members are admitted and removed outside of overlays only.";
    Err(Refusal::new(Reason::NotInOverlay, message).next("Do it without an overlay."))
}

fn full(cells: usize) -> Refusal {
    let message = format!("The overlay would change {cells} things, more than the {MAX_CELLS} of one commit.");
    Refusal::new(Reason::TooLarge, message).next("Commit it first, or use another overlay.")
}

/// What the author of a cell's first staged write knew of it.
fn first(base: &dyn View, canonical: &dyn Seen, write: &Write<'_>, numbers: &HashMap<OpRef, u32>) -> Read<Staged> {
    let mut preds = write.basis.preds.clone();
    preds.retain(|op| !numbers.contains_key(op));
    let mut beside = match canonical.seen(&write.cell)? {
        Some(seen) => seen,
        None => base.tips(&write.cell)?.into_iter().map(|tip| tip.op).collect(),
    };
    beside.retain(|op| !preds.contains(op));
    Ok(Staged {
        number: 0,
        generation: 0,
        preds,
        acknowledged: Vec::new(),
        beside,
        decision: false,
        seen: Vec::new(),
        content: Content::Absent,
    })
}

/// The same cell, saying what a write says; an edit of a document or a sequence goes on from those before it.
fn said(staged: Staged, write: &Write<'_>, number: u32, numbers: &HashMap<OpRef, u32>) -> Result<Staged, Flaw> {
    let local = |op: &OpRef| numbers.get(op).map_or(*op, |number| reference(*number));
    let content = match (&staged.content, &write.content) {
        (Content::Edit(earlier), Content::Edit(later)) => Content::Edit(text::joined(earlier, later)?),
        (_, content) => content.clone(),
    };
    Ok(Staged {
        number,
        decision: staged.decision || write.basis.decision,
        seen: write.seen.iter().map(local).collect(),
        content,
        ..staged
    })
}

fn not_joined(flaw: &Flaw) -> Refusal {
    let message = format!("The edit cannot be added to what the overlay holds of this field: {flaw}.");
    Refusal::new(Reason::TooLarge, message).next("Commit the overlay first.")
}
