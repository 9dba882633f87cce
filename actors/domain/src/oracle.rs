//! The oracle: what the cells of a history are, by definition and without any cleverness. Folding must equal it.
//!
//! Collect every write of every op, in whatever order; mark each written, and each of its preds dead. A cell's tips
//! are the writes that are written and not dead. Tests compare; `verify` may, for a small log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_model::bundle::Bundle;
use openprod_model::ids::{Digest, OpRef, Position};

use crate::cell::{Cell, KeyRange, Tip};
use crate::edits::{self, Edit};
use crate::unions::Unions;
use crate::view::{History, Moment, Read, Reading, View};
use crate::{fold, index};

/// All writes of a history.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    registers: BTreeMap<Vec<u8>, Register>,
    edits: BTreeMap<Vec<u8>, BTreeMap<OpRef, Edit>>,
}

/// All writes of one cell, by op.
#[derive(Debug, Clone, Default)]
struct Register {
    written: BTreeMap<OpRef, Tip>,
    preds: BTreeMap<OpRef, Vec<OpRef>>,
    dead: BTreeSet<OpRef>,
}

impl Oracle {
    /// The oracle of these bundles.
    pub fn of<'a>(bundles: impl IntoIterator<Item = (Position, &'a Bundle)>) -> Self {
        let mut oracle = Self::default();
        bundles.into_iter().for_each(|(position, bundle)| oracle.add(position, bundle));
        oracle
    }

    /// Collects one more bundle. Neither order nor repetition matters.
    pub fn add(&mut self, position: Position, bundle: &Bundle) {
        for op in bundle.ops() {
            for write in op.operation.iter().flat_map(fold::writes) {
                let register = self.registers.entry(write.cell.key()).or_default();
                register.dead.extend(&write.basis.preds);
                let mut tip = write.tip(op, Some(position));
                // An op found in two bundles lies where it came first.
                let before = register.written.get(&op.reference).and_then(|tip| tip.position);
                tip.position = tip.position.min(before.or(tip.position));
                register.written.insert(op.reference, tip);
                let preds = register.preds.entry(op.reference).or_default();
                preds.extend(&write.basis.preds);
                preds.sort_unstable();
                preds.dedup();
            }
            for (cell, mut edit) in Edit::by(op, Some(position)) {
                let edits = self.edits.entry(cell.key()).or_default();
                let before = edits.get(&op.reference).and_then(|edit| edit.position);
                edit.position = edit.position.min(before.or(edit.position));
                edits.insert(op.reference, edit);
            }
        }
    }

    /// The standing writes of a cell, in canonical order.
    pub fn tips(&self, cell: &Cell) -> Vec<Tip> {
        self.registers.get(&cell.key()).map(Register::tips).unwrap_or_default()
    }

    /// The edits of a cell, in canonical order.
    pub fn edits(&self, cell: &Cell) -> Vec<Edit> {
        let edits = self.edits.get(&cell.key()).into_iter().flat_map(BTreeMap::values);
        edits::in_order(edits.cloned().collect())
    }

    /// Every cell that was ever written, with its standing writes, in key order.
    pub fn cells(&self) -> impl Iterator<Item = (Cell, Vec<Tip>)> + '_ {
        self.registers.iter().filter_map(|(key, register)| Some((Cell::from_key(key)?, register.tips())))
    }

    /// Every index entry, in order.
    pub fn entries(&self) -> BTreeSet<Vec<u8>> {
        self.cells().flat_map(|(cell, tips)| index::entries(&cell, tips.iter().map(|tip| &tip.content))).collect()
    }

    /// The 256 buckets of the state hash. Each cell adds BLAKE3(`openprod/cell/1\0`, length of its key, key, sorted
    /// tips) to the bucket that the first byte of BLAKE3(`openprod/bucket/1\0`, key) names; the sum is taken in four
    /// lanes of 64 bits, little-endian, wrapping.
    pub fn buckets(&self) -> Box<[[u8; 32]; 256]> {
        let mut buckets = Box::new([[0; 32]; 256]);
        for (key, register) in &self.registers {
            let number = blake3::hash(&[b"openprod/bucket/1\0", &key[..]].concat()).as_bytes()[0];
            add_lanes(&mut buckets[usize::from(number)], register.contribution(key).as_bytes());
        }
        buckets
    }

    /// The state hash: BLAKE3(`openprod/state/1\0`, fold version, buckets).
    pub fn total(&self) -> Digest {
        let (version, buckets) = (fold::FOLD_VERSION.to_le_bytes(), self.buckets());
        let parts = [b"openprod/state/1\0", &version[..], buckets.as_flattened()];
        Digest::from_bytes(*blake3::hash(&parts.concat()).as_bytes())
    }
}

impl View for Oracle {
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        Ok(Self::edits(self, cell))
    }

    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        Ok(Self::tips(self, cell))
    }

    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        let registers = self.registers.range(range.from.clone()..range.to.clone());
        let cells = registers.filter_map(|(key, register)| Some((Cell::from_key(key)?, register.tips())));
        Box::new(cells.filter(|(_, tips)| !tips.is_empty()).map(Ok))
    }

    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        None
    }

    fn unions(&self) -> Read<Arc<Unions>> {
        Unions::of(self).map(Arc::new)
    }
}

impl History for Oracle {
    fn tips_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Tip>> {
        Ok(self.registers.get(&cell.key()).map(|register| register.tips_at(moment)).unwrap_or_default())
    }

    fn write(&self, cell: &Cell, op: OpRef) -> Read<Option<(Tip, Vec<OpRef>)>> {
        let Some(register) = self.registers.get(&cell.key()) else { return Ok(None) };
        Ok(register.written.get(&op).map(|tip| (tip.clone(), register.preds[&op].clone())))
    }
}

impl Register {
    fn tips_at(&self, moment: &Moment) -> Vec<Tip> {
        let happened = |tip: &&Tip| tip.position.is_some_and(|position| moment.includes(position));
        let written: Vec<&Tip> = self.written.values().filter(happened).collect();
        let dead: BTreeSet<OpRef> = written.iter().flat_map(|tip| self.preds[&tip.op].iter().copied()).collect();
        let mut tips: Vec<Tip> = written.into_iter().filter(|tip| !dead.contains(&tip.op)).cloned().collect();
        tips.sort_by_key(Tip::order);
        tips
    }

    fn tips(&self) -> Vec<Tip> {
        let mut tips: Vec<Tip> = self.written.values().filter(|tip| !self.dead.contains(&tip.op)).cloned().collect();
        tips.sort_by_key(Tip::order);
        tips
    }

    fn contribution(&self, key: &[u8]) -> blake3::Hash {
        let length = u32::try_from(key.len()).expect("a key is a few names and ids").to_le_bytes();
        let tips: BTreeSet<OpRef> = self.tips().iter().map(|tip| tip.op).collect();
        let tips: Vec<u8> = tips.iter().flat_map(|op| *op.as_bytes()).collect();
        blake3::hash(&[b"openprod/cell/1\0", &length[..], key, &tips].concat())
    }
}

fn add_lanes(sum: &mut [u8; 32], term: &[u8; 32]) {
    for (sum, term) in sum.as_chunks_mut().0.iter_mut().zip(term.as_chunks().0) {
        *sum = u64::from_le_bytes(*sum).wrapping_add(u64::from_le_bytes(*term)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::bundle::{BundleKind, Draft, Source, Stamp};
    use openprod_model::clock::Hlc;
    use openprod_model::identity::Keys;
    use openprod_model::ids::{BundleId, EntityId, OpId, WorkspaceId};
    use openprod_model::operation::{Basis, FieldAt, Operation};
    use openprod_model::value::{Name, Text, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::register;

    /// One write: into one of three cells, with which of the earlier writes seen.
    type Step = (u8, u32, i64);

    fn cell(number: u8) -> (EntityId, Name, Name) {
        (EntityId::from_bytes([number; 16]), Name::new("cues").unwrap(), Name::new("label").unwrap())
    }

    /// A history in which every author names, of the tips that the log then has, those whose bit is set.
    fn history(steps: &[Step]) -> Vec<Bundle> {
        let keys = Keys::from_seed(&[7; 32]);
        let mut oracle = Oracle::default();
        let mut bundles = Vec::new();
        for (number, (at, seen, value)) in (1..).zip(steps) {
            let (entity, table, field) = cell(at % 3);
            let tips = oracle.tips(&Cell::Field { table: table.clone(), entity, field: field.clone() });
            let preds =
                (0..).zip(&tips).filter(|(bit, _)| seen >> (bit % 32) & 1 == 1).map(|(_, tip)| tip.op).collect();
            let basis = Basis { preds, restores: None, decision: seen % 7 == 0 };
            let at = vec![FieldAt { entity, table, field, basis }];
            let bundle = sealed(&keys, number, &Operation::SetField { at, value: Value::Integer(*value) });
            oracle.add(Position(number), &bundle);
            bundles.push(bundle);
        }
        bundles
    }

    fn sealed(keys: &Keys, number: u64, operation: &Operation) -> Bundle {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let hlc = Hlc { ms: number / 3, counter: 0 };
        let workspace = WorkspaceId::from_bytes([1; 16]);
        let stamp = Stamp { workspace, actor: keys.actor(), hlc, op_base: OpId::from_bytes(id) };
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(id),
            wall_ms: 0,
            parents: Vec::new(),
            prev: None,
            kind: BundleKind::EDIT,
            label: Text::new("Test").unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops: vec![operation.to_raw()],
        };
        draft.seal(keys).unwrap()
    }

    fn numbered(bundles: &[Bundle]) -> impl Iterator<Item = (Position, &Bundle)> {
        (1..).map(Position).zip(bundles)
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        proptest::collection::vec((0..3_u8, any::<u32>(), 0..4_i64), 1..40)
    }

    proptest! {
        /// I-3: any order and any repetition.
        #[test]
        fn order_and_repetition_do_not_matter(
            (steps, order) in steps().prop_flat_map(|steps| {
                let order = proptest::collection::vec(0..steps.len(), 0..80);
                (Just(steps), order)
            }),
        ) {
            let bundles = history(&steps);
            let all: Vec<_> = numbered(&bundles).collect();
            let shuffled = order.iter().map(|at| all[*at]).chain(all.iter().rev().copied());
            let (straight, shuffled) = (Oracle::of(all.iter().copied()), Oracle::of(shuffled));
            prop_assert!(straight.cells().eq(shuffled.cells()));
            prop_assert_eq!(straight.total(), shuffled.total());
        }

        /// The register of a log whose order respects parents is what the definition says.
        #[test]
        fn registers_equal_the_definition(steps in steps()) {
            let bundles = history(&steps);
            let mut registers: BTreeMap<Vec<u8>, Vec<Tip>> = BTreeMap::new();
            for (position, bundle) in numbered(&bundles) {
                for op in bundle.ops() {
                    for write in op.operation.iter().flat_map(fold::writes) {
                        let tips = registers.entry(write.cell.key()).or_default();
                        register::apply(tips, write.tip(op, Some(position)), &write.basis.preds);
                    }
                }
            }
            let oracle = Oracle::of(numbered(&bundles));
            for (cell, tips) in oracle.cells() {
                prop_assert_eq!(&registers[&cell.key()], &tips);
            }
        }
    }
}
