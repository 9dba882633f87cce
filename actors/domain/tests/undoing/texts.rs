//! Undo in texts that people write together: what one typed goes, what others typed stays.

use openprod_domain::command::{Command, NewColumn, TableChange};
use openprod_domain::inverse::Turn;
use openprod_domain::inverse::stack::{Scope, Which};
use openprod_domain::text::TextEdit;
use openprod_model::bundle::Bundle;
use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Text};

use crate::kit::{Replica, name, text};

fn with_script() -> [Replica; 3] {
    let [mut mara, mut leo, mut jo] = Replica::three();
    let column = NewColumn { name: name("script"), field_type: FieldType::Document, required: false, default: None };
    let changes = vec![TableChange::AddColumn(column)];
    mara.does(vec![Command::AlterTable { table: name("cues"), changes }]);
    leo.meets(&mara);
    jo.meets(&mara);
    [mara, leo, jo]
}

fn types(person: &mut Replica, record: EntityId, at: u32, text: &str) -> Bundle {
    edits(person, record, vec![TextEdit::Insert { at, text: text.to_owned() }])
}

fn edits(person: &mut Replica, record: EntityId, edits: Vec<TextEdit>) -> Bundle {
    person.does(vec![Command::EditText { record, table: name("cues"), column: name("script"), edits }])
}

fn says(person: &Replica, record: EntityId) -> String {
    person.reads(record, "script").0
}

#[test]
fn undo_takes_ones_own_letters_and_leaves_those_of_others() {
    let [mut mara, mut leo, _] = with_script();
    let cue = mara.adds("cues", "LX 12");
    types(&mut mara, cue, 0, "Go on the word");
    leo.meets(&mara);
    types(&mut leo, cue, 14, " \"ghost\"");
    types(&mut mara, cue, 0, "STANDBY. ");
    mara.meets(&leo);
    assert_eq!(says(&mara, cue), "STANDBY. Go on the word \"ghost\"");
    mara.undoes();
    assert_eq!(says(&mara, cue), "Go on the word \"ghost\"");
    mara.undoes();
    assert_eq!(says(&mara, cue), " \"ghost\"");
    mara.redoes();
    mara.redoes();
    assert_eq!(says(&mara, cue), "STANDBY. Go on the word \"ghost\"");
    mara.undoes();
    leo.meets(&mara);
    assert_eq!((says(&leo, cue), leo.oracle.total()), (says(&mara, cue), mara.oracle.total()));
}

#[test]
fn what_was_deleted_comes_back_where_it_stood() {
    let [mut mara, mut leo, _] = with_script();
    let cue = mara.adds("cues", "LX 12");
    types(&mut mara, cue, 0, "slow fade to black");
    edits(&mut mara, cue, vec![TextEdit::Delete { at: 0, length: 5 }]);
    leo.meets(&mara);
    types(&mut leo, cue, 13, " and out");
    mara.meets(&leo);
    mara.undoes();
    assert_eq!(says(&mara, cue), "slow fade to black and out");
    mara.redoes();
    assert_eq!(says(&mara, cue), "fade to black and out");
}

#[test]
fn the_same_edit_undone_on_two_replicas_is_undone_once() {
    let [mut mara, mut leo, _] = with_script();
    let cue = mara.adds("cues", "LX 12");
    types(&mut mara, cue, 0, "one two three");
    let cut = edits(&mut mara, cue, vec![TextEdit::Delete { at: 3, length: 4 }]);
    leo.meets(&mara);
    for person in [&mut mara, &mut leo] {
        person.turns(Turn::Undo, Scope::Shared, Some(Which::Digest(cut.digest()))).unwrap();
    }
    mara.meets(&leo);
    leo.meets(&mara);
    assert_eq!((says(&mara, cue), says(&leo, cue)), ("one two three".into(), "one two three".into()));
}

#[test]
fn a_record_with_anothers_letters_in_it_is_not_undone() {
    let [mut mara, mut leo, _] = with_script();
    let values = vec![(name("name"), text("LX 12")), (name("script"), text("Go"))];
    let made = mara.does(vec![Command::CreateRecord { record: None, table: name("cues"), values }]);
    let cue = openprod_domain::read::records(&mara.view(), &name("cues"), None).next().unwrap().unwrap();
    assert_eq!(says(&mara, cue), "Go");
    leo.meets(&mara);
    types(&mut leo, cue, 2, " now");
    mara.meets(&leo);
    types(&mut mara, cue, 0, "LX ");
    mara.undoes();
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(made.digest()))).unwrap_err();
    assert!(refusal.message.contains("Leo"), "{}", refusal.message);
    leo.meets(&mara);
    leo.undoes();
    mara.meets(&leo);
    mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(made.digest()))).unwrap();
}

#[test]
fn setting_a_text_is_the_least_edit_and_is_undone_as_such() {
    let [mut mara, mut leo, _] = with_script();
    let cue = mara.adds("cues", "LX 12");
    types(&mut mara, cue, 0, "Blackout on the door slam");
    leo.meets(&mara);
    let set = |text: &str| {
        let text = Text::new(text).unwrap();
        vec![Command::SetText { record: cue, table: name("cues"), column: name("script"), text }]
    };
    mara.does(set("Blackout on the second door slam"));
    leo.does(set("Slow blackout on the door slam"));
    mara.meets(&leo);
    assert_eq!(says(&mara, cue), "Slow blackout on the second door slam");
    mara.undoes();
    assert_eq!(says(&mara, cue), "Slow blackout on the door slam");
}
