//! Random histories: however they are ordered, repeated, cut into pieces and interrupted, the state is what the
//! oracle says (I-3, I-4).

use std::collections::BTreeSet;

use openprod_domain::cell::Cell;
use openprod_domain::fold::writes;
use openprod_domain::index;
use openprod_domain::oracle::Oracle;
use openprod_domain::view::{History, Moment};
use openprod_messages::testing::MemoryLog;
use openprod_model::bundle::Bundle;
use openprod_model::ids::EdgeId;
use openprod_model::operation::{EdgeEnds, FacetAt, FieldAt, Operation, PositionAt};
use openprod_model::value::Value;
use proptest::prelude::*;

use super::*;
use crate::testing::{Author, WORKSPACE, entity, knowing, name};
use openprod_model::ids::OpRef;

/// One op: which kind, which of few cells, which earlier writes its author names, and a value.
#[derive(Debug, Clone)]
struct Step {
    author: u8,
    kind: u8,
    at: u64,
    seen: u32,
    value: u8,
}

/// What happens to the store between two appends.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    Folds,
    Settles,
    Restarts,
    LosesPower,
    DiskFails,
    DiskFills,
    DiskEmpties,
}

fn a_step() -> impl Strategy<Value = Step> {
    (0..3_u8, 0..10_u8, 0..3_u64, any::<u32>(), 0..3_u8).prop_map(|(author, kind, at, seen, value)| Step {
        author,
        kind,
        at,
        seen,
        value,
    })
}

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        6 => Just(Event::Folds),
        2 => Just(Event::Settles),
        1 => Just(Event::Restarts),
        2 => Just(Event::LosesPower),
        1 => Just(Event::DiskFails),
        1 => Just(Event::DiskFills),
        1 => Just(Event::DiskEmpties),
    ]
}

/// The op of a step; `known` are the earlier writes of whatever cell it writes.
fn operation(step: &Step, known: &dyn Fn(&Cell) -> Vec<OpRef>) -> Operation {
    let basis = |cell: &Cell| {
        let mut basis = knowing(chosen(&known(cell), step.seen));
        basis.decision = step.seen.is_multiple_of(5);
        basis
    };
    let (entity, table, edge) = (entity(step.at), name("cues"), EdgeId::from_bytes([step.at as u8; 16]));
    let field = name(["label", "note"][usize::from(step.value % 2)]);
    let field_at = || {
        let cell = Cell::Field { table: table.clone(), entity, field: field.clone() };
        FieldAt { entity, table: table.clone(), field: field.clone(), basis: basis(&cell) }
    };
    let facet_at = || {
        let cell = Cell::Facet { table: table.clone(), entity };
        vec![FacetAt { entity, table: table.clone(), basis: basis(&cell) }]
    };
    let place = |position: u8| {
        let cell = Cell::EdgePosition { edge };
        PositionAt { edge, position: vec![position], basis: basis(&cell) }
    };
    match step.kind {
        0 => Operation::AttachFacet { at: facet_at() },
        1 => {
            Operation::DetachFacet { at: facet_at(), seen: chosen(&known(&Cell::Facet { table, entity }), !step.seen) }
        }
        2 => Operation::ClearField { at: vec![field_at()] },
        3 => {
            let ends = EdgeEnds { edge_type: name("follows"), source: entity, target: entity };
            Operation::CreateEdge { edge, ends, basis: basis(&Cell::Edge { edge }) }
        }
        4 => Operation::DeleteEdge { edge, basis: basis(&Cell::Edge { edge }), seen: Vec::new() },
        9 => Operation::ApplyCrdt { at: vec![field_at()], update: vec![step.value, step.author] },
        // One op that writes one cell twice.
        5 => Operation::RebalanceOrderedEdges { to: vec![place(step.value), place(step.value + 1)] },
        _ => Operation::SetField { at: vec![field_at()], value: Value::Integer(i64::from(step.value)) },
    }
}

/// Those whose bit is set, and now and then one that never comes.
fn chosen(known: &[OpRef], bits: u32) -> Vec<OpRef> {
    let mut chosen: Vec<_> =
        (0..).zip(known).filter(|(bit, _)| bits >> (bit % 31) & 1 == 1).map(|(_, op)| *op).collect();
    if bits.is_multiple_of(11) {
        chosen.push(OpRef::from_bytes([bits as u8; 16]));
    }
    chosen
}

/// Bundles of one to three ops each, some of them with the very ops of an earlier bundle (which authors never do).
fn history(steps: &[Step]) -> (Vec<Bundle>, bool) {
    let authors = [Author::new(1), Author::new(2), Author::new(3)];
    let (mut bundles, mut repeats) = (Vec::<Bundle>::new(), false);
    let mut all: Vec<(Cell, OpRef)> = Vec::new();
    for (number, step) in (1..).zip(steps) {
        let known = |cell: &Cell| all.iter().filter(|(c, _)| c == cell).map(|(_, op)| *op).collect::<Vec<_>>();
        let more = Step { at: (step.at + 1) % 3, kind: step.kind.wrapping_add(3) % 10, ..step.clone() };
        let ops = [operation(step, &known), operation(&more, &known)];
        let ops = &ops[..=usize::from(step.seen.is_multiple_of(3))];
        let parents = bundles.last().map(Bundle::digest).into_iter().collect();
        let author = &authors[usize::from(step.author)];
        let bundle = author.writes(parents, number / 3, ops);
        if step.kind == 8 {
            repeats = true;
            bundles.push(author.writes_the_ops_of(&bundle));
        }
        for op in bundle.ops() {
            all.extend(writes(op.operation.as_ref().unwrap()).into_iter().map(|write| (write.cell, op.reference)));
        }
        bundles.push(bundle);
    }
    (bundles, repeats)
}

fn numbered(bundles: &[Bundle]) -> impl Iterator<Item = (Position, &Bundle)> {
    (1..).map(Position).zip(bundles)
}

/// The state is what the oracle says of the bundles folded so far.
fn check(store: &StateStore, bundles: &[Bundle]) -> Result<(), TestCaseError> {
    let snapshot = store.snapshot().unwrap();
    let oracle = Oracle::of(numbered(&bundles[..snapshot.position().0 as usize]));
    let cells: Vec<_> = snapshot.cells(&Cell::everything()).map(Result::unwrap).collect();
    prop_assert_eq!(&cells, &oracle.cells().collect::<Vec<_>>());
    let everything = openprod_domain::cell::KeyRange { from: Vec::new(), to: vec![u8::MAX] };
    let entries: BTreeSet<_> = snapshot.entries(&everything).unwrap().map(Result::unwrap).collect();
    prop_assert_eq!(&entries, &oracle.entries());
    let derived: BTreeSet<_> =
        cells.iter().flat_map(|(cell, tips)| index::entries(cell, tips.iter().map(|tip| &tip.content))).collect();
    prop_assert_eq!(&entries, &derived);
    for (cell, _) in &cells {
        prop_assert_eq!(snapshot.edits(cell).unwrap(), oracle.edits(cell));
    }
    let hash = snapshot.hash().unwrap();
    prop_assert_eq!(hash.total, oracle.total());
    prop_assert_eq!(hash.buckets, oracle.buckets());
    prop_assert_eq!(snapshot.counts().unwrap().cells, cells.len() as u64);
    Ok(())
}

/// Every moment of the past is what the oracle says of the bundles that had happened then.
fn check_past(store: &StateStore, bundles: &[Bundle], among: &BTreeSet<Position>) -> Result<(), TestCaseError> {
    let snapshot = store.snapshot().unwrap();
    let cells: Vec<_> = snapshot.cells(&Cell::everything()).map(|item| item.unwrap().0).collect();
    for last in 0..=bundles.len() {
        let oracle = Oracle::of(numbered(&bundles[..last]));
        for cell in &cells {
            let tips = snapshot.tips_at(cell, &Moment::Revision(Position(last as u64))).unwrap();
            prop_assert_eq!(tips, oracle.tips(cell));
            let edits = snapshot.edits_at(cell, &Moment::Revision(Position(last as u64))).unwrap();
            prop_assert_eq!(edits, oracle.edits(cell));
            let (kind, position) = (openprod_domain::text::Kind::Text, Position(last as u64));
            let mut behind = snapshot.edits(cell).unwrap();
            behind.retain(|edit| edit.position > Some(position));
            prop_assert_eq!(snapshot.edits_behind(cell, position).unwrap(), behind);
            let (mut left_out, cells) = (Vec::new(), [cell.clone()]);
            let tell = &mut |document: &openprod_domain::text::Document| {
                left_out = document.left_out().keys().copied().collect();
            };
            snapshot.with_document_at(&cells, kind, &Moment::Revision(position), &[], tell).unwrap();
            let built = openprod_domain::edits::document(kind, &oracle.edits(cell));
            prop_assert_eq!(left_out, built.left_out().keys().copied().collect::<Vec<_>>());
        }
    }
    let oracle = Oracle::of(numbered(bundles).filter(|(position, _)| among.contains(position)));
    for cell in &cells {
        let tips = snapshot.tips_at(cell, &Moment::Bundles(Arc::new(among.clone()))).unwrap();
        prop_assert_eq!(tips, oracle.tips(cell));
    }
    check_writes(&*snapshot, bundles)
}

/// Every write is remembered, whether it stands or not.
fn check_writes(snapshot: &dyn Snapshot, bundles: &[Bundle]) -> Result<(), TestCaseError> {
    let oracle = Oracle::of(numbered(bundles));
    let remembered = |view: &dyn History, cell: &Cell, op| {
        let (tip, preds) = view.write(cell, op).unwrap()?;
        Some((tip, preds.into_iter().collect::<BTreeSet<_>>()))
    };
    for op in bundles.iter().flat_map(Bundle::ops) {
        for write in op.operation.iter().flat_map(writes) {
            let told = remembered(snapshot, &write.cell, op.reference);
            prop_assert!(told.is_some());
            prop_assert_eq!(told, remembered(&oracle, &write.cell, op.reference));
        }
    }
    let never = Cell::Setting { setting: name("none") };
    prop_assert!(snapshot.write(&never, OpRef::from_bytes([9; 16])).unwrap().is_none());
    Ok(())
}

struct Run {
    log: Arc<MemoryLog>,
    disk: MemoryDisk,
    store: Arc<StateStore>,
}

impl Run {
    fn new() -> Self {
        let (log, disk) = (MemoryLog::of(&[]), MemoryDisk::default());
        let store = StateStore::open(disk.clone(), WORKSPACE, log.clone(), Options::default()).unwrap();
        Self { log, disk, store }
    }

    fn open(&mut self) {
        self.store = StateStore::open(self.disk.clone(), WORKSPACE, self.log.clone(), Options::default()).unwrap();
    }

    fn suffers(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Folds => drop(self.store.fold_some()),
            Event::Settles => drop(self.store.settle()),
            Event::Restarts => {
                self.store.close();
                self.open();
            }
            Event::LosesPower => {
                self.disk = self.disk.after_power_cut();
                self.open();
            }
            Event::DiskFails => {
                self.disk.fails(2);
                drop((self.store.settle(), self.store.fold_some()));
                self.disk.fails(0);
            }
            Event::DiskFills => self.disk.holds_at_most(self.disk.bytes().len() / 2),
            Event::DiskEmpties => self.disk.has_room(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_state_is_what_the_oracle_says(
        steps in proptest::collection::vec(a_step(), 1..24),
        events in proptest::collection::vec(an_event(), 48),
        order in proptest::collection::vec(any::<u16>(), 48),
        in_order in any::<bool>(),
        among in proptest::collection::vec(any::<bool>(), 48),
    ) {
        let (bundles, repeats) = history(&steps);
        let mut order: Vec<_> = order.iter().zip(bundles).collect();
        if !in_order {
            order.sort_by_key(|(at, _)| **at);
        }
        let bundles: Vec<_> = order.into_iter().map(|(_, bundle)| bundle).collect();
        let mut run = Run::new();
        for (bundle, event) in bundles.iter().zip(&events) {
            run.log.append(bundle);
            run.suffers(*event);
            if run.store.snapshot().is_ok() {
                check(&run.store, &bundles)?;
            }
        }
        run.disk.has_room();
        run.store.fold_all(&mut |_, _| {}).unwrap();
        prop_assert_eq!(run.store.position().0, run.log.end().0);
        check(&run.store, &bundles)?;
        let replayed = replay_hash(run.log.clone(), WORKSPACE, &mut |_, _| {}).unwrap();
        prop_assert_eq!(replayed, run.store.snapshot().unwrap().hash().unwrap());
        let among = numbered(&bundles).zip(among).filter(|(_, chosen)| *chosen).map(|((at, _), _)| at);
        // An op in two bundles is remembered at the first alone.
        let among = if repeats { BTreeSet::new() } else { among.collect() };
        check_past(&run.store, &bundles, &among)?;
    }
}
