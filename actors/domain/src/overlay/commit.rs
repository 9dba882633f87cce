//! Committing: staged cells become ops, in an order in which each is about something that is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use openprod_model::bundle::{MAX_OPS, Op, Stamp};
use openprod_model::ids::OpRef;
use openprod_model::operation::{Basis, Operation, RawOp};
use openprod_model::refusal::{Reason, Refusal};

use super::{Delta, Head, Staged, Staging, number};
use crate::cell::{Cell, Content};
use crate::compose::{self, Putting};
use crate::decide::Decision;
use crate::view::{Layer, Read, View};
use crate::{fold, read, text};

/// What a commit comes to.
#[derive(Debug)]
pub struct Commit {
    /// The ops, as they will be sealed.
    pub ops: Vec<RawOp>,
    /// The same folded, to be read on top of the view.
    pub layer: Layer,
    /// The cells that they write.
    pub touched: Vec<Cell>,
}

/// A commit in the making.
struct Composer<'a> {
    base: &'a dyn View,
    stamp: Stamp,
    commit: Commit,
    /// The ops that staged ops have become, by number: removals say which of them they have seen.
    became: HashMap<u32, Vec<OpRef>>,
}

/// What is made first, what last: nothing is about what comes behind it, and removals end everything.
fn rank(cell: &Cell, content: &Content) -> u8 {
    match (cell, content) {
        (Cell::Facet { .. } | Cell::Edge { .. }, Content::Absent) => 8,
        (Cell::Table { .. }, Content::Absent) => 9,
        (Cell::Table { .. }, _) => 0,
        (Cell::Column { .. }, _) => 1,
        (Cell::Facet { .. }, _) => 2,
        (Cell::Merge { .. } | Cell::Mapping { .. }, _) => 3,
        (Cell::Field { .. }, _) => 4,
        (Cell::Edge { .. }, _) => 5,
        (Cell::EdgeProperty { .. } | Cell::EdgePosition { .. }, _) => 6,
        (Cell::Setting { .. } | Cell::Member { .. } | Cell::ActorName { .. } | Cell::Asset { .. }, _) => 7,
    }
}

impl Staging {
    /// The ops of everything staged, on top of `base`. Whether drift is decided, the caller has made sure.
    pub fn commit(&self, base: &dyn View, stamp: Stamp) -> Decision<Commit> {
        let commit = Commit { ops: Vec::new(), layer: Layer::default(), touched: Vec::new() };
        let mut composer = Composer { base, stamp, commit, became: HashMap::new() };
        let useless = self.made_and_removed(base)?;
        let mut cells: Vec<(Cell, &Staged)> = self.cells().filter(|(cell, _)| !useless.contains(cell)).collect();
        cells.sort_by_key(|(cell, staged)| rank(cell, &staged.content));
        for (cell, staged) in cells {
            composer.put(self.written_with(base, &cell, staged)?, staged)?;
        }
        Ok(composer.commit)
    }

    /// The cell's write, and the same for those that read as one with it now and are not staged themselves.
    fn written_with(&self, base: &dyn View, cell: &Cell, staged: &Staged) -> Read<Vec<Putting>> {
        let mut puttings = puttings(cell, staged, &known(staged));
        let view = self.over(base);
        let unions = view.unions()?;
        if unions.is_empty() || !matches!(cell, Cell::Field { .. }) {
            return Ok(puttings);
        }
        // Of several staged cells the first speaks for those that are not.
        if unions.cells(cell).iter().find(|one| self.cell(one).is_some()) == Some(cell) {
            let others = read::written_with(&view, cell)?.into_iter().filter(|one| self.cell(one).is_none());
            puttings.extend(others.flat_map(|one| self::puttings(&one, staged, &[])));
        }
        Ok(puttings)
    }

    /// Takes out what a commit of `generation` has made real, by `ops`: cells that changed since stay, and supersede
    /// what the commit wrote there. Steps end with it.
    pub fn committed(&self, generation: u64, ops: &[Op]) -> Delta {
        let head = Head { generation: self.head.generation.max(generation) + 1, ..self.head };
        let written = written(ops);
        let last = |key: &Vec<u8>| written.get(key)?.last().map(|(op, _)| *op);
        let numbers: HashMap<u32, OpRef> =
            self.cells.iter().filter_map(|(key, staged)| Some((staged.number, last(key)?))).collect();
        let cells = self.cells.iter().map(|(key, staged)| {
            if staged.generation <= generation {
                return (key.clone(), None);
            }
            let mut later = (**staged).clone();
            if let Some(writes) = written.get(key) {
                later.preds = writes.iter().map(|(op, _)| *op).collect();
                (later.acknowledged, later.beside) = (Vec::new(), Vec::new());
                later.content = remaining(later.content, writes);
            }
            let real = |op: OpRef| number(&op).and_then(|number| numbers.get(&number).copied()).unwrap_or(op);
            later.seen = later.seen.into_iter().map(real).collect();
            let is_left = !matches!(&later.content, Content::Edit(left) if left.is_empty());
            (key.clone(), is_left.then(|| Arc::new(later)))
        });
        Delta { head, cells: cells.collect(), kept: None, forgotten: self.steps.keys().copied().collect() }
    }
}

/// What ops write, by the keys of the cells.
fn written(ops: &[Op]) -> BTreeMap<Vec<u8>, Vec<(OpRef, Content)>> {
    let mut written: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for op in ops {
        for write in op.operation.iter().flat_map(fold::writes) {
            written.entry(write.cell.key()).or_default().push((op.reference, write.content));
        }
    }
    written
}

/// What is staged beyond what was committed: all of a value, of a document or a sequence the later edits.
fn remaining(content: Content, committed: &[(OpRef, Content)]) -> Content {
    let Content::Edit(staged) = content else { return content };
    let updates = committed.iter().filter_map(|(_, content)| match content {
        Content::Edit(update) => Some(&update[..]),
        _ => None,
    });
    // What cannot be read stays as it is, and is left out of what the field shows.
    Content::Edit(text::remaining(&staged, updates).unwrap_or(staged))
}

fn known(staged: &Staged) -> Vec<OpRef> {
    staged.preds.iter().chain(&staged.acknowledged).copied().collect()
}

/// The writes that make a cell say what is staged: one, or one for each update of a document or a sequence.
fn puttings(cell: &Cell, staged: &Staged, preds: &[OpRef]) -> Vec<Putting> {
    let mut preds = preds.to_vec();
    preds.sort_unstable();
    preds.dedup();
    let contents = match &staged.content {
        Content::Edit(edits) => text::divided(edits).into_iter().map(Content::Edit).collect(),
        content => vec![content.clone()],
    };
    let putting = |content| {
        let basis = Basis { preds: preds.clone(), restores: None, decision: staged.decision };
        Putting { cell: cell.clone(), content, basis, seen: staged.seen.clone() }
    };
    contents.into_iter().map(putting).collect()
}

impl Composer<'_> {
    fn put(&mut self, puttings: Vec<Putting>, staged: &Staged) -> Decision<()> {
        let real = puttings.into_iter().map(|putting| Putting { seen: self.real(&putting.seen), ..putting });
        for operation in compose::operations(real.collect::<Vec<_>>()) {
            let op = self.push(operation)?;
            self.became.entry(staged.number).or_default().push(op);
        }
        Ok(())
    }

    /// References as everybody understands them; those of staged ops that were written over again mean nothing.
    fn real(&self, seen: &[OpRef]) -> Vec<OpRef> {
        let real = |op: &OpRef| match number(op) {
            Some(number) => self.became.get(&number).cloned().unwrap_or_default(),
            None => vec![*op],
        };
        let mut real: Vec<OpRef> = seen.iter().flat_map(real).collect();
        real.sort_unstable();
        real.dedup();
        real
    }

    fn push(&mut self, operation: Operation) -> Decision<OpRef> {
        let Commit { ops, layer, touched } = &mut self.commit;
        if ops.len() >= MAX_OPS {
            let message = format!("The overlay comes to more than the {MAX_OPS} operations of one commit.");
            return Err(Refusal::new(Reason::TooLarge, message).next("Knock out a part of it.").into());
        }
        touched.extend(fold::writes(&operation).into_iter().map(|write| write.cell));
        let (op, raw) = self.stamp.op_and_raw(ops.len(), operation);
        layer.fold(self.base, &op, None)?;
        ops.push(raw);
        Ok(op.reference)
    }
}
