//! Steps: an overlay's own undo and redo, as far back as anybody goes.

use std::sync::Arc;

use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use serde::{Deserialize, Serialize};

use super::{CellChange, Delta, Head, Staged, Staging};

/// Most steps that can be undone: further back nobody remembers what a step was. Older ones stay staged.
pub const MAX_STEPS: u64 = 200;

/// One step, as its counterpart: what its cells hold on the other side of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does, in the imperative.
    pub label: Text,
    /// The cells that it changes, with what they hold before it, or behind it once it is undone.
    pub cells: Vec<(Vec<u8>, Option<Staged>)>,
}

impl Staging {
    /// The step that an undo would take back.
    pub fn undoable(&self) -> Option<&Step> {
        self.steps.get(&self.head.done.checked_sub(1)?).map(AsRef::as_ref)
    }

    /// The step that a redo would do again.
    pub fn redoable(&self) -> Option<&Step> {
        self.steps.get(&self.head.done).map(AsRef::as_ref)
    }

    /// Takes the last step back.
    pub fn undo(&self) -> Result<Delta, Refusal> {
        let step = self.undoable().ok_or_else(|| nothing("undo"))?;
        let done = self.head.done - 1;
        Ok(self.swapped(step, done, done))
    }

    /// Does again what was taken back last.
    pub fn redo(&self) -> Result<Delta, Refusal> {
        let step = self.redoable().ok_or_else(|| nothing("redo"))?;
        Ok(self.swapped(step, self.head.done, self.head.done + 1))
    }

    fn swapped(&self, step: &Step, serial: u64, done: u64) -> Delta {
        let head = Head { generation: self.head.generation + 1, done, ..self.head };
        let restored = |staged: &Staged| Arc::new(Staged { generation: head.generation, ..staged.clone() });
        let cells: Vec<CellChange> =
            step.cells.iter().map(|(key, staged)| (key.clone(), staged.as_ref().map(restored))).collect();
        let kept = Some((serial, self.counterpart(step.label.clone(), &cells)));
        Delta { head, cells, kept, forgotten: Vec::new() }
    }

    /// A change by a person: a step that can be undone, and behind which nothing can be redone.
    pub(super) fn step(&self, label: Text, cells: Vec<CellChange>, next: u32) -> Delta {
        let serial = self.head.done;
        let head = Head { generation: self.head.generation + 1, next, done: serial + 1 };
        let stamped = |staged: Arc<Staged>| Arc::new(Staged { generation: head.generation, ..(*staged).clone() });
        let cells: Vec<CellChange> = cells.into_iter().map(|(key, staged)| (key, staged.map(stamped))).collect();
        let forgotten = self.steps.keys().copied().filter(|old| *old >= serial || old + MAX_STEPS <= serial).collect();
        let kept = Some((serial, self.counterpart(label, &cells)));
        Delta { head, cells, kept, forgotten }
    }

    /// What takes a change of these cells back.
    fn counterpart(&self, label: Text, changes: &[CellChange]) -> Arc<Step> {
        let before = |(key, _): &CellChange| (key.clone(), self.cells.get(key).map(|staged| (**staged).clone()));
        Arc::new(Step { label, cells: changes.iter().map(before).collect() })
    }
}

fn nothing(what: &str) -> Refusal {
    Refusal::new(Reason::InvalidRequest, format!("There is nothing to {what} in this overlay."))
}
