//! What a bundle did to each cell that it wrote.

use std::collections::{HashMap, HashSet};

use openprod_model::ids::OpRef;

use super::Deed;
use crate::cell::{Cell, Content, Tip};
use crate::fold;

/// What a bundle did to one cell.
#[derive(Debug)]
pub(super) struct Touch {
    /// The cell.
    pub(super) cell: Cell,
    /// The writes of others that it superseded, each once.
    pub(super) preds: Vec<OpRef>,
    writes: Vec<Tip>,
    /// Its own writes that it superseded itself.
    passed: HashSet<OpRef>,
}

impl Touch {
    /// Its writes that stood when it was done.
    pub(super) fn left(&self) -> impl Iterator<Item = &Tip> {
        self.writes.iter().filter(|tip| !self.passed.contains(&tip.op))
    }

    /// The updates by which it edited a document or a sequence.
    pub(super) fn updates(&self) -> impl Iterator<Item = &[u8]> {
        self.writes.iter().filter_map(|tip| match &tip.content {
            Content::Edit(update) => Some(&**update),
            _ => None,
        })
    }

    /// Whether it edited a document or a sequence.
    pub(super) fn is_text(&self) -> bool {
        self.writes.iter().any(|tip| matches!(tip.content, Content::Edit(_)))
    }
}

/// What `deed` did to each cell, in the order of its first writes.
pub(super) fn by(deed: &Deed) -> Vec<Touch> {
    let own: HashSet<OpRef> = deed.bundle.ops().iter().map(|op| op.reference).collect();
    let (mut touches, mut at) = (Vec::<Touch>::new(), HashMap::new());
    for op in deed.bundle.ops() {
        for write in op.operation.iter().flat_map(fold::writes) {
            let index = *at.entry(write.cell.clone()).or_insert(touches.len());
            if index == touches.len() {
                let cell = write.cell.clone();
                touches.push(Touch { cell, preds: Vec::new(), writes: Vec::new(), passed: HashSet::new() });
            }
            let touch = &mut touches[index];
            // An op that writes a cell twice says what it says last.
            touch.writes.retain(|tip| tip.op != op.reference);
            touch.writes.push(write.tip(op, Some(deed.position)));
            let (passed, preds): (Vec<OpRef>, Vec<OpRef>) =
                write.basis.preds.iter().copied().partition(|op| own.contains(op));
            touch.passed.extend(passed);
            touch.preds.extend(preds);
        }
    }
    for touch in &mut touches {
        touch.preds.sort_unstable();
        touch.preds.dedup();
    }
    touches
}
