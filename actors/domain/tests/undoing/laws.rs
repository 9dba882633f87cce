//! The laws of undo and redo, one by one.

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Choice, Command, NewColumn, TableChange};
use openprod_domain::conflict;
use openprod_domain::inverse::Turn;
use openprod_domain::inverse::obstacle::Cause;
use openprod_domain::inverse::stack::{MAX_STEPS, Scope, Stack, Step, Trail, Which, standing};
use openprod_domain::read;
use openprod_domain::view::Read;
use openprod_model::bundle::{Bundle, BundleKind};
use openprod_model::ids::{BundleId, Digest, Position};
use openprod_model::operation::{Basis, FieldAt, Operation, PairAt};
use openprod_model::value::{FieldType, Text};

use crate::kit::{Replica, keys, name, text};

#[test]
fn undo_undo_redo_undo_at_any_depth() {
    let [mut mara, ..] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    for label in ["Dawn", "Sunrise", "Noon"] {
        mara.sets(cue, "label", label);
    }
    let label = |mara: &Replica| mara.reads(cue, "label").0;
    assert_eq!(mara.undoes().plan.label.as_str(), "Undo: Set label of cues LX 12");
    assert_eq!(label(&mara), "Sunrise");
    mara.undoes();
    assert_eq!(label(&mara), "Dawn");
    assert_eq!(mara.redoes().plan.label.as_str(), "Redo: Set label of cues LX 12");
    assert_eq!(label(&mara), "Sunrise");
    mara.undoes();
    mara.undoes();
    assert_eq!(label(&mara), "", "nothing was there before the first");
    mara.undoes();
    assert!(!read::exists(&mara.view(), cue).unwrap());
    for _ in 0..4 {
        mara.redoes();
    }
    assert_eq!(label(&mara), "Noon");
    let refusal = mara.turns(Turn::Redo, Scope::Mine, None).unwrap_err();
    assert_eq!(refusal.message, "There is nothing to be redone.");
}

#[test]
fn a_new_change_gives_up_what_could_have_been_done_again() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "label", "Dawn");
    mara.undoes();
    leo.meets(&mara);
    leo.sets(cue, "notes", "Check");
    mara.meets(&leo);
    assert!(mara.turns(Turn::Redo, Scope::Shared, None).is_err(), "something new was done by somebody");
    mara.redoes();
    mara.undoes();
    mara.sets(cue, "label", "Noon");
    assert!(mara.turns(Turn::Redo, Scope::Mine, None).is_err());
    mara.undoes();
    mara.redoes();
    assert_eq!(mara.reads(cue, "label").0, "Noon");
}

#[test]
fn what_somebody_else_changed_since_is_passed_over_with_his_name() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "notes", "Check");
    mara.sets(cue, "label", "Dawn");
    leo.meets(&mara);
    leo.sets(cue, "label", "Blackout");
    mara.meets(&leo);
    let turned = mara.undoes();
    assert_eq!(turned.bundle.label, "Set notes of cues LX 12");
    let [skipped] = &turned.skipped[..] else { panic!("{turned:?}") };
    assert_eq!(skipped.obstacle.cause, Cause::Changed);
    assert_eq!(skipped.obstacle.sentence, "cues LX 12 label was changed by Leo since.");
    assert_eq!(skipped.obstacle.names, ["Leo"]);
    assert_eq!(mara.reads(cue, "label").0, "Blackout");
    leo.meets(&mara);
    leo.undoes();
    mara.meets(&leo);
    assert_eq!(mara.reads(cue, "label").0, "Dawn");
    assert!(mara.undoes().skipped.is_empty(), "Leo took his change back: Mara's stands as she left it");
    assert_eq!(mara.reads(cue, "label").0, "");
}

#[test]
fn a_bundle_is_undone_whole_or_not_at_all() {
    let [mut mara, mut leo, _] = Replica::three();
    let (one, two) = (mara.adds("cues", "LX 1"), mara.adds("cues", "LX 2"));
    let set = |record| {
        let values = vec![(name("label"), Some(text("Dawn")))];
        Command::SetFields { record, table: name("cues"), values }
    };
    let both = mara.does(vec![set(one), set(two)]);
    leo.meets(&mara);
    leo.sets(two, "label", "Dusk");
    mara.meets(&leo);
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(both.digest()))).unwrap_err();
    assert_eq!(
        refusal.message,
        "\"Change 2 records in cues\" cannot be undone. cues LX 2 label was changed by Leo since."
    );
    assert_eq!((mara.reads(one, "label").0, mara.reads(two, "label").0), ("Dawn".into(), "Dusk".into()));
}

#[test]
fn the_same_bundle_undone_on_two_replicas_is_no_conflict_and_is_undone_once() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "label", "Dawn");
    let noon = mara.sets(cue, "label", "Noon");
    leo.meets(&mara);
    let which = Some(Which::Id(noon.header().id));
    mara.undoes();
    leo.turns(Turn::Undo, Scope::Shared, which).unwrap();
    mara.meets(&leo);
    leo.meets(&mara);
    for replica in [&mut mara, &mut leo] {
        assert_eq!(replica.reads(cue, "label"), ("Dawn".into(), false));
        let again = replica.turns(Turn::Undo, Scope::Shared, which).unwrap_err();
        assert_eq!(again.message, "It is undone already.");
    }
    assert_eq!(mara.undoes().bundle.label, "Set label of cues LX 12");
    assert_eq!(mara.reads(cue, "label"), (String::new(), false), "the one before it, not the same again");
    mara.redoes();
    mara.redoes();
    assert_eq!(mara.reads(cue, "label"), ("Noon".into(), false));
}

#[test]
fn what_others_made_is_undone_in_the_shared_scope_only() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    let dawn = mara.sets(cue, "label", "Dawn");
    leo.meets(&mara);
    let refusal = leo.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(dawn.digest()))).unwrap_err();
    assert_eq!(refusal.message, "This bundle was made by Mara.");
    assert_eq!(leo.turns(Turn::Undo, Scope::Mine, None).unwrap_err().message, "There is nothing to be undone.");
    leo.turns(Turn::Undo, Scope::Shared, None).unwrap();
    mara.meets(&leo);
    assert_eq!(mara.reads(cue, "label").0, "");
    mara.redoes();
    assert_eq!(mara.reads(cue, "label").0, "Dawn", "it is Mara's, whoever undid it");
}

#[test]
fn the_undo_of_a_removal_brings_everything_back() {
    let [mut mara, mut leo, _] = Replica::three();
    let (cue, scene) = (mara.adds("cues", "LX 12"), mara.adds("scenes", "Storm"));
    let edge = mara.joins(cue, scene);
    mara.sets(cue, "label", "Dawn");
    let before = mara.shows();
    mara.does(vec![Command::DeleteRecord { record: cue }]);
    assert!(read::edge(&mara.view(), edge).unwrap().is_none());
    mara.undoes();
    assert_eq!(mara.shows(), before);
    assert!(read::edge(&mara.view(), edge).unwrap().is_some());
    leo.meets(&mara);
    leo.sets(cue, "label", "Dusk");
    mara.meets(&leo);
    let refusal = mara.turns(Turn::Redo, Scope::Mine, None).unwrap_err();
    assert!(refusal.message.contains("would hide what Leo wrote since: cues LX 12 label"), "{}", refusal.message);
}

#[test]
fn the_undo_of_a_creation_never_hides_what_somebody_else_wrote_there() {
    let [mut mara, mut leo, _] = Replica::three();
    let scene = mara.adds("scenes", "Storm");
    let cue = mara.adds("cues", "LX 12");
    leo.meets(&mara);
    leo.sets(cue, "notes", "Check the iris");
    mara.meets(&leo);
    let turned = mara.undoes();
    assert_eq!(turned.skipped[0].obstacle.cause, Cause::WouldHide);
    let sentence = &turned.skipped[0].obstacle.sentence;
    assert_eq!(sentence, "Undoing it would hide what Leo wrote since: cues LX 12 notes.");
    assert_eq!(turned.bundle.label, "Add a record to scenes", "what nobody else has touched goes instead");
    mara.redoes();
    leo.meets(&mara);
    leo.undoes();
    leo.joins(cue, scene);
    mara.meets(&leo);
    let refusal = mara.turns(Turn::Undo, Scope::Mine, None).unwrap_err();
    assert!(refusal.message.contains("would hide what Leo wrote since: Edge"), "{}", refusal.message);
    leo.undoes();
    mara.meets(&leo);
    mara.undoes();
    assert!(mara.tips(&Cell::Facet { table: name("scenes"), entity: scene })[0].content == Content::Absent);
}

#[test]
fn an_undone_creation_has_seen_what_it_takes_along() {
    let [mut mara, ..] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    assert!(mara.undoes().plan.opened.is_empty(), "nobody has edited what was taken away");
    let facet = mara.tips(&Cell::Facet { table: name("cues"), entity: cue });
    let field = mara.tips(&Replica::field(cue, "name"));
    assert_eq!((facet[0].content.clone(), field[0].content.clone()), (Content::Absent, Content::Absent));
    assert!(facet[0].seen.contains(&field[0].op), "the name as it stands behind it");
}

#[test]
fn nothing_is_put_back_on_what_somebody_has_removed() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "label", "Dawn");
    leo.meets(&mara);
    leo.does(vec![Command::DeleteRecord { record: cue }]);
    mara.meets(&leo);
    let turned = mara.undoes();
    let causes: Vec<_> = turned.skipped.iter().map(|skipped| skipped.obstacle.cause).collect();
    assert_eq!(causes, [Cause::Removed, Cause::Changed], "neither the label nor the record");
    assert_eq!(turned.skipped[0].obstacle.sentence, "Leo removed what it is about since: cues LX 12 label.");
}

#[test]
fn an_undone_decision_about_a_removal_opens_it_again() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    leo.meets(&mara);
    mara.does(vec![Command::DeleteRecord { record: cue }]);
    leo.sets(cue, "label", "Dusk");
    mara.meets(&leo);
    let cell = Cell::Facet { table: name("cues"), entity: cue };
    for choice in [Choice::LetGo, Choice::Restore] {
        mara.does(vec![Command::Resolve { cell: cell.clone(), choice }]);
        assert!(conflict::of(&mara.view(), &cell).unwrap().is_none());
        assert_eq!(mara.undoes().plan.opened.len(), 1);
        assert!(conflict::of(&mara.view(), &cell).unwrap().is_some());
        mara.redoes();
        assert!(conflict::of(&mara.view(), &cell).unwrap().is_none());
        mara.undoes();
    }
}

#[test]
fn a_removal_done_again_has_seen_no_more_than_it_had_before() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    leo.meets(&mara);
    mara.does(vec![Command::DeleteRecord { record: cue }]);
    let unseen = leo.sets(cue, "label", "Dusk");
    mara.meets(&leo);
    mara.undoes();
    mara.redoes();
    let removal = &mara.tips(&Cell::Facet { table: name("cues"), entity: cue })[0];
    assert_eq!(removal.content, Content::Absent);
    assert_eq!(removal.seen.len(), 1, "the name, which Mara knew");
    assert!(!removal.seen.contains(&unseen.ops()[0].reference), "what Leo wrote unseen is still to be decided");
}

/// A log in which Leo has done everything.
struct Endless(u64);

impl Trail for Endless {
    fn steps(&self, from: Position, limit: usize) -> Read<Vec<Step>> {
        let upto = self.0.min(from.0 + limit as u64 - 1);
        let step = |at| Step {
            position: Position(at),
            digest: Digest::from_bytes([0; 32]),
            id: BundleId::from_bytes([0; 16]),
            actor: keys(1).actor(),
            kind: BundleKind::EDIT,
        };
        Ok((from.0..=upto).map(step).collect())
    }
    fn bundle(&self, _: Position) -> Read<Option<Bundle>> {
        Ok(None)
    }
    fn position_of(&self, _: Which) -> Read<Option<Position>> {
        Ok(None)
    }
}

#[test]
fn the_search_goes_back_so_far_and_says_so() {
    let stack = |length| {
        let log = Endless(length);
        let mut stack = Stack::new(&log, Position(length), Turn::Undo, Scope::Mine, keys(0).actor());
        assert_eq!(stack.pop().unwrap(), None);
        stack.gave_up()
    };
    assert!(!stack(MAX_STEPS as u64 - 1));
    assert!(stack(MAX_STEPS as u64 + 1));
    let log = Endless(MAX_STEPS as u64 + 9);
    let first = log.step(Position(1)).unwrap().unwrap();
    assert_eq!(standing(&log, Position(log.0), &first).unwrap(), None, "it lies too far back to tell");
}

#[test]
fn undoing_a_resolution_brings_the_candidates_back_side_by_side() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    leo.meets(&mara);
    mara.sets(cue, "label", "Dawn");
    leo.sets(cue, "label", "Dusk");
    mara.meets(&leo);
    let before = mara.tips(&Replica::field(cue, "label"));
    assert_eq!(before.len(), 2);
    mara.sets(cue, "label", "Noon");
    assert_eq!(mara.reads(cue, "label"), ("Noon".into(), false));
    let turned = mara.undoes();
    assert_eq!(turned.plan.opened.len(), 1, "the conflict is open again, and it is said so");
    let after = mara.tips(&Replica::field(cue, "label"));
    let contents = |tips: &[openprod_domain::cell::Tip]| tips.iter().map(|tip| tip.content.clone()).collect::<Vec<_>>();
    assert_eq!(contents(&after), contents(&before));
    let restored: Vec<_> = after.iter().map(|tip| tip.restores.unwrap()).collect();
    assert_eq!(restored, before.iter().map(|tip| tip.op).collect::<Vec<_>>(), "credited to their first authors");
    mara.redoes();
    assert_eq!(mara.reads(cue, "label"), ("Noon".into(), false));
    let decided = &mara.tips(&Replica::field(cue, "label"))[0];
    assert!(decided.decision, "it is a decision again");
}

#[test]
fn a_column_is_hidden_and_a_table_dropped_when_their_creation_is_undone() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    let column = NewColumn { name: name("page"), field_type: FieldType::Text, required: false, default: None };
    mara.does(vec![Command::AlterTable { table: name("cues"), changes: vec![TableChange::AddColumn(column)] }]);
    leo.meets(&mara);
    mara.undoes();
    let hidden = |mara: &Replica| {
        let table = read::table(&mara.view(), &name("cues")).unwrap().unwrap();
        table.column(&name("page")).unwrap().spec.hidden
    };
    assert!(hidden(&mara));
    mara.redoes();
    assert!(!hidden(&mara));
    leo.meets(&mara);
    leo.sets(cue, "page", "3");
    mara.meets(&leo);
    let turned = mara.undoes();
    assert_eq!(turned.skipped[0].obstacle.sentence, "Undoing it would hide what Leo wrote since: cues LX 12 page.");

    let description = Text::new("").unwrap();
    mara.does(vec![Command::CreateTable { name: name("props"), description, columns: Vec::new() }]);
    mara.undoes();
    assert!(read::table(&mara.view(), &name("props")).unwrap().is_none());
    mara.redoes();
    assert!(read::table(&mara.view(), &name("props")).unwrap().is_some());
}

#[test]
fn a_name_that_is_taken_by_now_stands_in_the_way() {
    let [mut mara, mut leo, _] = Replica::three();
    let rename = |from: &str, to: &str| Command::AlterTable {
        table: name(from),
        changes: vec![TableChange::Rename { name: name(to) }],
    };
    mara.does(vec![rename("cues", "light cues")]);
    leo.meets(&mara);
    leo.does(vec![rename("scenes", "cues")]);
    mara.meets(&leo);
    let turned = mara.turns(Turn::Undo, Scope::Mine, None).unwrap_err();
    assert!(turned.message.contains("There is another table called \"cues\" by now."), "{}", turned.message);
}

#[test]
fn a_field_that_needs_a_value_by_now_is_not_emptied() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "label", "Dawn");
    leo.meets(&mara);
    let require = TableChange::Require { column: name("label"), required: true };
    leo.does(vec![Command::AlterTable { table: name("cues"), changes: vec![require] }]);
    mara.meets(&leo);
    let turned = mara.undoes();
    assert_eq!(turned.skipped[0].obstacle.cause, Cause::DoesNotFit);
    assert_eq!(turned.skipped[1].obstacle.cause, Cause::WouldHide, "the record that holds what stays, stays");
    assert_eq!(mara.reads(cue, "label").0, "Dawn");
}

#[test]
fn membership_and_the_foundation_stay() {
    let [mut mara, ..] = Replica::three();
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(mara.log[0].digest()))).unwrap_err();
    assert_eq!(refusal.message, "\"Raw\" cannot be undone. A workspace is founded once.");
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(mara.log[1].digest()))).unwrap_err();
    assert!(refusal.message.contains("remove the member instead"), "{}", refusal.message);
}

#[test]
fn an_undo_is_not_undone_but_what_it_undid_is_done_again() {
    let [mut mara, ..] = Replica::three();
    mara.adds("cues", "LX 12");
    let (undo, _) = mara.turns(Turn::Undo, Scope::Mine, None).unwrap();
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(undo.digest()))).unwrap_err();
    assert!(refusal.message.contains("name the bundle that it is about"), "{}", refusal.message);
}

#[test]
fn a_merge_is_undone_and_done_again() {
    let [mut mara, ..] = Replica::three();
    let (one, two) = (mara.adds("cues", "LX 1"), mara.adds("cues", "LX 2"));
    let basis = Basis::default();
    mara.seals(BundleKind::MERGE, &[Operation::MergeEntities { at: vec![PairAt { one, other: two, basis }] }]);
    assert_eq!(mara.reads(one, "name"), ("LX 2".into(), true));
    mara.undoes();
    assert_eq!((mara.reads(one, "name"), mara.reads(two, "name")), (("LX 1".into(), false), ("LX 2".into(), false)));
    mara.redoes();
    assert_eq!(mara.reads(one, "name"), ("LX 2".into(), true));
}

#[test]
fn an_edit_of_a_merged_record_is_undone_in_each_register_by_itself() {
    let [mut mara, ..] = Replica::three();
    let (one, two) = (mara.adds("cues", "LX 1"), mara.adds("cues", "LX 2"));
    let basis = Basis::default();
    mara.seals(BundleKind::MERGE, &[Operation::MergeEntities { at: vec![PairAt { one, other: two, basis }] }]);
    mara.sets(one, "name", "LX 3");
    assert_eq!(mara.reads(two, "name"), ("LX 3".into(), false));
    mara.undoes();
    assert_eq!(mara.reads(one, "name"), ("LX 2".into(), true), "both names again");
    mara.undoes();
    assert_eq!((mara.reads(one, "name").0, mara.reads(two, "name").0), ("LX 1".into(), "LX 2".into()));
}

#[test]
fn a_text_that_people_write_together_is_left_alone() {
    let [mut mara, ..] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    let basis = Basis::default();
    let at = vec![FieldAt { entity: cue, table: name("cues"), field: name("notes"), basis }];
    let edit = mara.seals(BundleKind::EDIT, &[Operation::ApplyCrdt { at, update: vec![0, 0] }]);
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(edit.digest()))).unwrap_err();
    assert!(refusal.message.contains("people write together"), "{}", refusal.message);
}

#[test]
fn what_lies_ahead_is_told_as_it_will_be_when_its_turn_comes() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    mara.sets(cue, "label", "Dawn");
    mara.sets(cue, "label", "Noon");
    leo.meets(&mara);
    leo.sets(cue, "notes", "Check");
    mara.meets(&leo);
    let ahead = mara.foresees(Turn::Undo, Scope::Mine);
    let can: Vec<bool> = ahead.iter().take(3).map(|(_, obstacle)| obstacle.is_none()).collect();
    assert_eq!(can, [true, true, false], "{ahead:?}");
    mara.undoes();
    mara.undoes();
    let ahead = mara.foresees(Turn::Redo, Scope::Mine);
    assert_eq!(ahead.len(), 2, "{ahead:?}");
    assert!(ahead.iter().all(|(_, obstacle)| obstacle.is_none()), "{ahead:?}");
}

#[test]
fn who_concurrently_wrote_the_same_does_not_stand_in_the_way() {
    let [mut mara, mut leo, _] = Replica::three();
    let cue = mara.adds("cues", "LX 12");
    leo.meets(&mara);
    mara.sets(cue, "label", "Dawn");
    leo.sets(cue, "label", "Dawn");
    mara.meets(&leo);
    mara.undoes();
    assert_eq!(mara.reads(cue, "label"), (String::new(), false));
    leo.meets(&mara);
    assert_eq!(leo.reads(cue, "label"), (String::new(), false));
}
