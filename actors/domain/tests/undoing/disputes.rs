//! What conflicts are and how they are decided, one law after the other; and that keeping up with them finds all.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Choice, Command};
use openprod_domain::conflict::{self, Conflict, Dispute, Turn};
use openprod_domain::decide::Problem;
use openprod_domain::read::Tables;
use openprod_domain::view::{Read, View};
use openprod_domain::{describe, read};
use openprod_model::bundle::{Bundle, BundleKind};
use openprod_model::ids::{EdgeId, EntityId, OpRef};
use openprod_model::operation::{Basis, ColumnRef, FieldAt, MappingAt, Operation, PairAt};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Value;

use crate::kit::{Replica, name, text};

fn all_meet(replicas: &mut [Replica; 3]) {
    for _ in 0..2 {
        for one in 0..3 {
            for other in 0..3 {
                let other = replicas[other].clone();
                replicas[one].meets(&other);
            }
        }
    }
}

fn facet(record: EntityId) -> Cell {
    Cell::Facet { table: name("cues"), entity: record }
}

fn resolves(who: &mut Replica, cell: &Cell, choice: Choice) -> Bundle {
    who.does(vec![Command::Resolve { cell: cell.clone(), choice }])
}

fn refused(who: &mut Replica, cell: &Cell, choice: Choice) -> Refusal {
    match who.tries(vec![Command::Resolve { cell: cell.clone(), choice }]) {
        Err(Problem::Refused(refusal)) => refusal,
        other => panic!("this should have been refused: {other:?}"),
    }
}

fn only(who: &Replica) -> Conflict {
    let [conflict] = &who.conflicts()[..] else { panic!("not one conflict: {:?}", who.conflicts()) };
    conflict.clone()
}

fn values(conflict: &Conflict) -> Vec<(String, bool)> {
    let Dispute::Values(candidates) = &conflict.dispute else { panic!("{conflict:?}") };
    candidates.iter().map(|candidate| (describe::content(&candidate.content), candidate.shown)).collect()
}

fn candidate(conflict: &Conflict, saying: &str) -> OpRef {
    let Dispute::Values(candidates) = &conflict.dispute else { panic!("{conflict:?}") };
    let said = |content: &Content| describe::content(content) == saying;
    candidates.iter().find(|candidate| said(&candidate.content)).unwrap().tips[0].op
}

fn edits(conflict: &Conflict) -> usize {
    let Dispute::RemovedWhileEdited { edits, .. } = &conflict.dispute else { panic!("{conflict:?}") };
    edits.len()
}

/// Everybody knows a cue that is called LX 12.
fn with_cue() -> ([Replica; 3], EntityId) {
    let mut replicas = Replica::three();
    let cue = replicas[0].adds("cues", "LX 12");
    replicas[0].sets(cue, "label", "Old");
    all_meet(&mut replicas);
    (replicas, cue)
}

fn deletes(who: &mut Replica, cue: EntityId) -> Bundle {
    who.does(vec![Command::DeleteRecord { record: cue }])
}

#[test]
fn different_values_are_a_conflict_with_the_same_id_and_candidates_whatever_the_order() {
    let (mut replicas, cue) = with_cue();
    replicas[0].sets(cue, "label", "Dawn");
    replicas[1].sets(cue, "label", "Noon");
    replicas[1].sets(cue, "label", "Dusk");
    replicas[2].sets(cue, "label", "Dawn");
    replicas[2].sets(cue, "notes", "Check");
    all_meet(&mut replicas);
    let conflicts: Vec<Conflict> = replicas.iter().map(only).collect();
    for (conflict, replica) in conflicts.iter().zip(&replicas) {
        assert_eq!(conflict.id(), conflict::id(&Replica::field(cue, "label")));
        assert_eq!(values(conflict).len(), 2, "equal values are one candidate, and branch tips only: {conflict:?}");
        assert_eq!(conflict.tips().len(), 3);
        assert_eq!(values(conflict), values(&conflicts[0]));
        let tips = |conflict: &Conflict| conflict.tips().iter().map(|tip| tip.op).collect::<Vec<_>>();
        assert_eq!(tips(conflict), tips(&conflicts[0]));
        assert!(!conflict.reopened);
        assert_eq!(values(conflict).iter().filter(|(_, shown)| *shown).count(), 1);
        let sentence =
            describe::conflict(&mut Tables::of(&replica.view()), conflict, &mut |_| Ok("Leo".to_owned())).unwrap();
        assert!(sentence.starts_with("cues LX 12 label was edited by Leo ("), "{sentence}");
    }
}

#[test]
fn equal_values_and_other_fields_are_no_conflict() {
    let (mut replicas, cue) = with_cue();
    for replica in &mut replicas {
        replica.sets(cue, "label", "Dawn");
    }
    replicas[1].sets(cue, "notes", "Check");
    all_meet(&mut replicas);
    assert!(replicas.iter().all(|replica| replica.conflicts().is_empty()));
}

#[test]
fn a_decision_closes_and_a_late_edit_opens_it_again_while_the_decision_stays_on_show() {
    let (mut replicas, cue) = with_cue();
    let label = Replica::field(cue, "label");
    let [mara, leo, jo] = &mut replicas;
    mara.sets(cue, "label", "Dawn");
    leo.sets(cue, "label", "Noon");
    mara.meets(leo);
    let conflict = only(mara);
    let bundle = resolves(mara, &label, Choice::Candidate(candidate(&conflict, "\"Noon\"")));
    assert_eq!(bundle.header().kind, BundleKind::RESOLUTION);
    assert_eq!(bundle.header().label.as_str(), "Resolve cues LX 12 label");
    assert!(mara.conflicts().is_empty());
    assert_eq!(mara.reads(cue, "label"), ("Noon".to_owned(), false));
    assert_eq!(refused(mara, &label, Choice::Clear).reason, Reason::NotInConflict);

    jo.sets(cue, "label", "Late");
    mara.meets(jo);
    let again = only(mara);
    assert!(again.reopened && again.id() == conflict.id());
    let mut said = values(&again);
    said.sort();
    assert_eq!(said, [("\"Late\"".to_owned(), false), ("\"Noon\"".to_owned(), true)]);
    resolves(mara, &label, Choice::Value(text("Sunrise")));
    assert_eq!(mara.reads(cue, "label"), ("Sunrise".to_owned(), false));
}

#[test]
fn two_decisions_made_apart_conflict_again_unless_they_say_the_same() {
    for (second, open) in [("Sunrise", 1), ("Dawn", 0)] {
        let (mut replicas, cue) = with_cue();
        let label = Replica::field(cue, "label");
        let [mara, leo, _] = &mut replicas;
        mara.sets(cue, "label", "Dawn");
        leo.sets(cue, "label", "Noon");
        mara.meets(leo);
        leo.meets(mara);
        resolves(mara, &label, Choice::Value(text("Dawn")));
        resolves(leo, &label, Choice::Value(text(second)));
        all_meet(&mut replicas);
        for replica in &replicas {
            assert_eq!(replica.conflicts().len(), open, "{second}");
            assert!(replica.conflicts().iter().all(|conflict| conflict.reopened));
        }
    }
}

#[test]
fn a_choice_must_fit_the_conflict() {
    let (mut replicas, cue) = with_cue();
    let label = Replica::field(cue, "label");
    let [mara, leo, jo] = &mut replicas;
    mara.sets(cue, "label", "Dawn");
    leo.sets(cue, "label", "Noon");
    deletes(jo, cue);
    mara.meets(leo);
    for choice in [Choice::Restore, Choice::LetGo, Choice::Candidate(OpRef::from_bytes([7; 16]))] {
        assert_eq!(refused(mara, &label, choice).at, "commands[0].resolve.choice");
    }
    let refusal = refused(mara, &label, Choice::Value(Value::Integer(3)));
    assert_eq!(refusal.reason, Reason::WrongType);
    resolves(mara, &label, Choice::Clear);
    assert_eq!(mara.reads(cue, "label"), (String::new(), false));
    jo.meets(leo);
    let gone = facet(cue);
    assert_eq!(refused(jo, &gone, Choice::Clear).reason, Reason::InvalidRequest);
}

#[test]
fn what_somebody_deleted_and_somebody_else_edited_unseen_is_restored_or_let_go() {
    for restores in [true, false] {
        let (mut replicas, cue) = with_cue();
        let [mara, leo, _] = &mut replicas;
        deletes(mara, cue);
        leo.sets(cue, "label", "Noon");
        all_meet(&mut replicas);
        let conflict = only(&replicas[2]);
        assert_eq!((conflict.cell.clone(), edits(&conflict)), (facet(cue), 1));
        assert!(!conflict.reopened);
        let choice = if restores { Choice::Restore } else { Choice::LetGo };
        resolves(&mut replicas[2], &facet(cue), choice);
        all_meet(&mut replicas);
        for replica in &mut replicas {
            assert!(replica.conflicts().is_empty(), "{:?}", replica.conflicts());
            assert_eq!(read::exists(&replica.view(), cue).unwrap(), restores);
        }
        if restores {
            assert_eq!(replicas[0].reads(cue, "label").0, "Noon");
        }
    }
}

#[test]
fn what_was_let_go_is_open_again_when_a_third_edit_comes() {
    let (mut replicas, cue) = with_cue();
    let [mara, leo, jo] = &mut replicas;
    deletes(mara, cue);
    leo.sets(cue, "label", "Noon");
    jo.sets(cue, "notes", "Mind the step");
    mara.meets(leo);
    resolves(mara, &facet(cue), Choice::LetGo);
    assert!(mara.conflicts().is_empty());
    mara.meets(jo);
    let again = only(mara);
    assert!(again.reopened && edits(&again) == 1, "{again:?}");
}

#[test]
fn a_deletion_after_the_edit_was_seen_is_no_conflict() {
    let (mut replicas, cue) = with_cue();
    let [mara, leo, _] = &mut replicas;
    leo.sets(cue, "label", "Noon");
    mara.meets(leo);
    deletes(mara, cue);
    all_meet(&mut replicas);
    assert!(replicas[1].conflicts().is_empty());
}

#[test]
fn an_edge_removed_while_its_property_was_edited_comes_back_with_what_it_joined() {
    let (mut replicas, cue) = with_cue();
    let scene = replicas[0].adds("scenes", "Storm");
    let edge = replicas[0].joins(cue, scene);
    all_meet(&mut replicas);
    let [mara, leo, _] = &mut replicas;
    mara.does(vec![Command::DeleteEdge { edge }]);
    notes(leo, edge, "12");
    all_meet(&mut replicas);
    let conflict = only(&replicas[0]);
    assert_eq!((conflict.cell.clone(), edits(&conflict)), (Cell::Edge { edge }, 1));
    let mut other = replicas[1].clone();
    resolves(&mut replicas[0], &Cell::Edge { edge }, Choice::Restore);
    let shown = read::edge(&replicas[0].view(), edge).unwrap().unwrap();
    assert_eq!((shown.ends.source, shown.ends.target), (cue, scene));
    assert!(replicas[0].conflicts().is_empty());
    resolves(&mut other, &Cell::Edge { edge }, Choice::LetGo);
    assert!(other.conflicts().is_empty() && read::edge(&other.view(), edge).unwrap().is_none());
}

fn notes(who: &mut Replica, edge: EdgeId, page: &str) -> Bundle {
    who.does(vec![Command::SetEdgeProperties { edge, values: vec![(name("page"), Some(text(page)))] }])
}

#[test]
fn an_edge_made_unseen_at_a_record_that_was_deleted_is_a_conflict_of_the_record() {
    let (mut replicas, cue) = with_cue();
    let scene = replicas[0].adds("scenes", "Storm");
    all_meet(&mut replicas);
    let [mara, leo, _] = &mut replicas;
    deletes(mara, cue);
    let edge = leo.joins(cue, scene);
    all_meet(&mut replicas);
    assert_eq!(only(&replicas[2]).cell, facet(cue));
    let mut other = replicas[1].clone();
    resolves(&mut replicas[2], &facet(cue), Choice::LetGo);
    assert!(replicas[2].conflicts().is_empty(), "{:?}", replicas[2].conflicts());
    resolves(&mut other, &facet(cue), Choice::Restore);
    assert!(read::edge(&other.view(), edge).unwrap().is_some());
}

#[test]
fn properties_of_edges_conflict_as_fields_do() {
    let (mut replicas, cue) = with_cue();
    let scene = replicas[0].adds("scenes", "Storm");
    let edge = replicas[0].joins(cue, scene);
    all_meet(&mut replicas);
    for (who, page) in [(0, "11"), (1, "12")] {
        notes(&mut replicas[who], edge, page);
    }
    all_meet(&mut replicas);
    let conflict = only(&replicas[2]);
    let page = Cell::EdgeProperty { edge, property: name("page") };
    assert_eq!((conflict.cell.clone(), values(&conflict).len()), (page.clone(), 2));
    resolves(&mut replicas[2], &page, Choice::Value(text("13")));
    assert!(replicas[2].conflicts().is_empty());
}

/// Says that two records are one, or not.
fn merges(who: &mut Replica, one: EntityId, other: EntityId, is_one: bool) -> Bundle {
    let (low, high) = (one.min(other), one.max(other));
    let basis = who.all_of(&Cell::Merge { low, high });
    let at = vec![PairAt { one: low, other: high, basis }];
    let operation = if is_one { Operation::MergeEntities { at } } else { Operation::SplitEntity { at } };
    who.seals(BundleKind::MERGE, &[operation])
}

#[test]
fn merged_records_conflict_as_one_and_no_more_when_they_are_split() {
    let (mut replicas, cue) = with_cue();
    let other = replicas[0].adds("cues", "LX 12");
    replicas[0].sets(other, "label", "New");
    merges(&mut replicas[0], cue, other, true);
    all_meet(&mut replicas);
    let conflict = only(&replicas[1]);
    let first = cue.min(other);
    assert_eq!(conflict.cell, Replica::field(first, "label"));
    for id in [cue, other] {
        let same = conflict::of(&replicas[2].view(), &Replica::field(id, "label")).unwrap().unwrap();
        assert_eq!(same.id(), conflict.id(), "by whichever id");
    }
    let mut apart = replicas[1].clone();
    merges(&mut apart, cue, other, false);
    assert!(apart.conflicts().is_empty());
    resolves(&mut replicas[1], &Replica::field(other, "label"), Choice::Value(text("Both")));
    assert!(replicas[1].conflicts().is_empty());
    merges(&mut replicas[1], cue, other, false);
    for id in [cue, other] {
        assert_eq!(replicas[1].reads(id, "label").0, "Both", "what was decided is on both sides");
    }
}

#[test]
fn several_conflicts_are_decided_in_one_bundle_with_one_op_each_and_undone_as_one() {
    let (mut replicas, cue) = with_cue();
    let [mara, leo, _] = &mut replicas;
    for column in ["label", "notes"] {
        mara.sets(cue, column, "Mine");
        leo.sets(cue, column, "Theirs");
    }
    mara.meets(leo);
    let decided = mara.conflicts().into_iter().map(|conflict| {
        let choice = Choice::Candidate(candidate(&conflict, "\"Theirs\""));
        Command::Resolve { cell: conflict.cell, choice }
    });
    let commands = decided.collect();
    let bundle = mara.does(commands);
    assert_eq!((bundle.ops().len(), bundle.header().kind), (2, BundleKind::RESOLUTION));
    assert_eq!(bundle.header().label.as_str(), "Resolve 2 conflicts");
    assert!(mara.conflicts().is_empty());
    mara.undoes();
    assert_eq!(mara.conflicts().len(), 2, "both candidates are back");
    mara.redoes();
    assert!(mara.conflicts().is_empty());
}

#[test]
fn what_became_of_conflicts_follows_from_the_views_around_a_bundle() {
    let (mut replicas, cue) = with_cue();
    let label = Replica::field(cue, "label");
    let [mara, leo, jo] = &mut replicas;
    mara.sets(cue, "label", "Dawn");
    leo.sets(cue, "label", "Noon");
    jo.sets(cue, "label", "Late");
    let turn = |before: &Replica, after: &Replica| {
        let cells = conflict::reach(&after.view(), [&label]).unwrap().unwrap();
        let mut turns = conflict::turns(&before.view(), &after.view(), &cells).unwrap();
        assert!(turns.len() < 2, "{turns:?}");
        turns.pop()
    };
    let before = mara.clone();
    mara.meets(leo);
    assert!(matches!(turn(&before, mara), Some(Turn::Opened(_))));
    let (before, mut early) = (mara.clone(), mara.clone());
    early.meets(jo);
    assert!(matches!(turn(&before, &early), Some(Turn::Changed(_))));
    resolves(mara, &label, Choice::Value(text("Sunrise")));
    assert!(matches!(turn(&before, mara), Some(Turn::Resolved(_))));
    let before = mara.clone();
    mara.meets(jo);
    assert!(matches!(turn(&before, mara), Some(Turn::Reopened(_))));
    assert_eq!(turn(mara, mara), None);
}

#[test]
fn what_a_table_says_that_the_record_is_taken_out_of_is_in_conflict_no_more_and_is_again_when_it_is_put_back() {
    let (mut replicas, cue) = with_cue();
    let mara = &mut replicas[0];
    let column = |table| ColumnRef { table: name(table), column: name("label") };
    let at = MappingAt { one: column("cues"), other: column("scenes"), basis: Basis::default() };
    mara.seals(BundleKind::EDIT, &[Operation::ConfirmFieldMapping { at }]);
    mara.does(vec![Command::AddToTable { record: cue, table: name("scenes"), values: vec![] }]);
    let mut standing = Arc::new(stands(&mara.view()).unwrap());
    let mut keeps_up = |mara: &Replica, bundle: &Bundle| {
        conflict::keep_up(&mara.view(), &mut standing, &conflict::written_by(bundle)).unwrap();
        assert_eq!(*standing, by_force(&mara.view()));
        standing.len()
    };
    let at = FieldAt { table: name("scenes"), entity: cue, field: name("label"), basis: Basis::default() };
    let set = mara.seals(BundleKind::EDIT, &[Operation::SetField { at: vec![at], value: text("Dusk") }]);
    assert_eq!(keeps_up(mara, &set), 1, "the two tables say different things");
    let out = mara.does(vec![Command::RemoveFromTable { record: cue, table: name("scenes") }]);
    assert_eq!(keeps_up(mara, &out), 0);
    let back = mara.does(vec![Command::AddToTable { record: cue, table: name("scenes"), values: vec![] }]);
    assert_eq!(keeps_up(mara, &back), 1);
}

/// Small numbers without a pattern, the same in every run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Something that a person may do; refusals are no matter here.
fn acts(who: &mut Replica, dice: &mut Dice, records: &[EntityId], edges: &mut Vec<EdgeId>) {
    let one = records[dice.below(records.len())];
    let other = records[dice.below(records.len())];
    let word = ["A", "B", "C"][dice.below(3)];
    let table = name(["cues", "scenes"][dice.below(2)]);
    let command = match dice.below(14) {
        0..=4 => {
            let column = ["label", "notes"][dice.below(2)];
            let values = vec![(name(column), Some(text(word)))];
            Command::SetFields { record: one, table, values }
        }
        5 => Command::DeleteRecord { record: one },
        6 => Command::CreateRecord { record: Some(one), table, values: vec![] },
        7 if !edges.is_empty() => Command::DeleteEdge { edge: edges[dice.below(edges.len())] },
        8 if !edges.is_empty() => {
            let edge = edges[dice.below(edges.len())];
            Command::SetEdgeProperties { edge, values: vec![(name("page"), Some(text(word)))] }
        }
        9 if one != other => {
            merges(who, one, other, dice.below(2) == 0);
            return;
        }
        10 => {
            if read::exists(&who.view(), one).unwrap() && read::exists(&who.view(), other).unwrap() {
                edges.push(who.joins(one, other));
            }
            return;
        }
        11 => Command::AddToTable { record: one, table, values: vec![(name("label"), text(word))] },
        12 => Command::RemoveFromTable { record: one, table },
        _ => {
            let conflicts = who.conflicts();
            let Some(conflict) = conflicts.get(dice.below(conflicts.len().max(1))) else { return };
            let choice = match (&conflict.dispute, dice.below(2)) {
                (Dispute::Values(candidates), _) => Choice::Candidate(candidates[0].tips[0].op),
                (Dispute::RemovedWhileEdited { .. }, 0) => Choice::Restore,
                (Dispute::RemovedWhileEdited { .. }, _) => Choice::LetGo,
            };
            Command::Resolve { cell: conflict.cell.clone(), choice }
        }
    };
    drop(who.tries(vec![command]));
}

/// Everything in conflict, by looking at every cell.
fn by_force(view: &dyn View) -> BTreeSet<Cell> {
    let cells: Vec<Cell> = view.cells(&Cell::everything()).map(|item| item.unwrap().0).collect();
    let found = cells.iter().filter_map(|cell| conflict::of(view, cell).unwrap());
    found.map(|conflict| conflict.cell).collect()
}

fn stands(view: &dyn View) -> Read<BTreeSet<Cell>> {
    Ok(conflict::all(view)?.into_iter().map(|conflict| conflict.cell).collect())
}

#[test]
fn whoever_keeps_up_bundle_by_bundle_finds_what_a_look_at_every_cell_finds() {
    let (mut differ, mut removed) = (0, 0);
    for seed in 1..=30 {
        let (mut dice, mut replicas, mut edges) = (Dice(seed * 7_919), Replica::three(), Vec::new());
        let records: Vec<EntityId> = (0..4).map(|n| replicas[0].adds("cues", &format!("LX {n}"))).collect();
        if seed % 3 == 0 {
            let column = |table| ColumnRef { table: name(table), column: name("label") };
            let at = MappingAt { one: column("cues"), other: column("scenes"), basis: Basis::default() };
            replicas[0].seals(BundleKind::EDIT, &[Operation::ConfirmFieldMapping { at }]);
        }
        all_meet(&mut replicas);
        let mut standing: [Arc<BTreeSet<Cell>>; 3] = Default::default();
        for _ in 0..60 {
            let who = dice.below(3);
            let known = replicas[who].log.len();
            if dice.below(3) == 0 {
                let other = replicas[dice.below(3)].clone();
                replicas[who].meets(&other);
            } else {
                acts(&mut replicas[who], &mut dice, &records, &mut edges);
            }
            let replica = &replicas[who];
            let written = replica.log[known..].iter().flat_map(|bundle| conflict::written_by(bundle)).collect();
            let view = replica.view();
            conflict::keep_up(&view, &mut standing[who], &written).unwrap();
            let forced = by_force(&view);
            assert_eq!(stands(&view).unwrap(), forced, "seed {seed}: what the index suspects");
            assert_eq!(*standing[who], forced, "seed {seed}: what was kept up with");
        }
        all_meet(&mut replicas);
        let conflicts = replicas[0].conflicts();
        for replica in &replicas {
            removed +=
                conflicts.iter().filter(|one| matches!(one.cell, Cell::Facet { .. } | Cell::Edge { .. })).count();
            differ += conflicts.iter().filter(|one| matches!(one.cell, Cell::Field { .. })).count();
            let ids = |all: &[Conflict]| all.iter().map(Conflict::id).collect::<Vec<_>>();
            assert_eq!(ids(&replica.conflicts()), ids(&conflicts), "seed {seed}");
        }
    }
    assert!(differ > 30 && removed > 30, "there was too little to find: {differ}, {removed}");
}
