//! Overlays: changes that are staged beside the canonical state until somebody commits or discards all of them.
//!
//! A [`Staging`] holds cells, not ops: for each what it shall say, and which canonical writes its author knew when it
//! was first staged. So it lies on any view of the state ([`Staging::over`]) without being made anew, and canonical
//! writes that it does not know are *drift* ([`Staging::drift`]). Staged ops go by numbers, which stand for op
//! references inside the overlay only; committing ([`Staging::commit`]) makes real ops of the cells, with the writes
//! known then as their preds, and real references of the numbers.
//!
//! Nothing here changes a staging at once: every change is worked out as a [`Delta`] first, so that it can be written
//! to a disk before it is made.
//!
//! Reading order: this file, [`over`], [`stage`], [`drift`], [`diff`], [`commit`].

pub mod commit;
pub mod diff;
pub mod drift;
pub mod out;
pub mod over;
pub mod stage;
pub mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_model::clock::Hlc;
use openprod_model::ids::{OpId, OpRef};
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Content, Tip};
use crate::index;
use steps::Step;

/// Most cells of one overlay: what one bundle can hold, for it is committed as one.
pub const MAX_CELLS: usize = openprod_model::bundle::MAX_OPS;

/// What is staged for one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The number of the staged op that wrote it last.
    pub number: u32,
    /// The generation of the overlay that it was last changed in.
    pub generation: u64,
    /// The canonical writes that it supersedes: those that its author meant when it was first staged.
    pub preds: Vec<OpRef>,
    /// The canonical writes that came later, and that it supersedes because a person said so.
    pub acknowledged: Vec<OpRef>,
    /// The canonical writes that its author knew, and left standing beside it.
    pub beside: Vec<OpRef>,
    /// Whether a person decided a conflict by it.
    pub decision: bool,
    /// For removals: the writes seen on what hangs there, canonical and staged ones.
    pub seen: Vec<OpRef>,
    /// What it says.
    pub content: Content,
}

impl Staged {
    /// As a standing write. It will be made when the overlay is committed; so it is later than everything that stands.
    pub fn tip(&self) -> Tip {
        Tip {
            op: reference(self.number),
            hlc: Hlc { ms: u64::MAX, counter: self.number },
            op_id: OpId::from_bytes(*reference(self.number).as_bytes()),
            position: None,
            decision: self.decision,
            restores: None,
            seen: self.seen.clone(),
            content: self.content.clone(),
        }
    }

    /// Whether its author knew that canonical write.
    pub fn knows(&self, op: &OpRef) -> bool {
        self.supersedes(op) || self.beside.contains(op)
    }

    fn supersedes(&self, op: &OpRef) -> bool {
        self.preds.contains(op) || self.acknowledged.contains(op)
    }
}

const LOCAL: [u8; 12] = [0; 12];

/// What refers to a staged op within its overlay. No checksum begins with 96 zero bits.
fn reference(number: u32) -> OpRef {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    OpRef::from_bytes(bytes)
}

/// The number of the staged op that `op` refers to; none for a canonical one.
fn number(op: &OpRef) -> Option<u32> {
    let (zeros, number) = op.as_bytes().split_last_chunk::<4>()?;
    (zeros == LOCAL).then(|| u32::from_be_bytes(*number))
}

/// What changes with every change of an overlay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Counts the changes.
    pub generation: u64,
    /// The number of the next staged op.
    pub next: u32,
    /// The serial behind the last step that is done: those before can be undone, those from it on redone.
    pub done: u64,
}

/// The staged cells of an overlay, and the steps by which they came. Independent of any view.
#[derive(Debug, Clone, Default)]
pub struct Staging {
    head: Head,
    cells: BTreeMap<Vec<u8>, Arc<Staged>>,
    entries: BTreeSet<Vec<u8>>,
    /// How many of its cells merge or map something.
    uniting: usize,
    steps: BTreeMap<u64, Arc<Step>>,
}

/// A cell by its key, and what shall be staged there from now on, if anything.
pub type CellChange = (Vec<u8>, Option<Arc<Staged>>);

/// A change of a staging, worked out and not yet made.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The head from now on.
    pub head: Head,
    /// The cells that change.
    pub cells: Vec<CellChange>,
    /// The step to be kept under its serial.
    pub kept: Option<(u64, Arc<Step>)>,
    /// The serials of steps to be forgotten.
    pub forgotten: Vec<u64>,
}

impl Staging {
    /// What was written down of one.
    pub fn restored(
        head: Head,
        cells: impl IntoIterator<Item = (Vec<u8>, Staged)>,
        steps: impl IntoIterator<Item = (u64, Step)>,
    ) -> Self {
        let mut staging = Self { head, ..Self::default() };
        for (key, staged) in cells {
            staging.put(key, Some(Arc::new(staged)));
        }
        staging.steps = steps.into_iter().map(|(serial, step)| (serial, Arc::new(step))).collect();
        staging
    }

    /// What changes with every change.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How many cells are staged.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// What is staged for a cell.
    pub fn cell(&self, cell: &Cell) -> Option<&Staged> {
        self.cells.get(&cell.key()).map(AsRef::as_ref)
    }

    /// All staged cells, in the order of their keys.
    pub fn cells(&self) -> impl Iterator<Item = (Cell, &Staged)> {
        self.cells.iter().filter_map(|(key, staged)| Some((Cell::from_key(key)?, &**staged)))
    }

    /// Makes a change.
    pub fn apply(&mut self, delta: &Delta) {
        self.head = delta.head;
        for (key, staged) in &delta.cells {
            self.put(key.clone(), staged.clone());
        }
        self.steps.retain(|serial, _| !delta.forgotten.contains(serial));
        if let Some((serial, step)) = &delta.kept {
            self.steps.insert(*serial, Arc::clone(step));
        }
    }

    fn put(&mut self, key: Vec<u8>, staged: Option<Arc<Staged>>) {
        let Some(cell) = Cell::from_key(&key) else { return };
        let unites = usize::from(matches!(cell, Cell::Merge { .. } | Cell::Mapping { .. }));
        if let Some(before) = self.cells.remove(&key) {
            for entry in index::entries(&cell, [&before.content].into_iter()) {
                self.entries.remove(&entry);
            }
            self.uniting -= unites;
        }
        if let Some(staged) = staged {
            self.entries.extend(index::entries(&cell, [&staged.content].into_iter()));
            self.uniting += unites;
            self.cells.insert(key, staged);
        }
    }
}
