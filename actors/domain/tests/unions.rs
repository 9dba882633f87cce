//! Merging, splitting and mapping on several replicas: everybody ends with the same, and nothing is lost.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod kit;

use std::collections::BTreeSet;

use kit::smiths::{CONTACTS, SCHEDULE, at, confirm, jay, john, merge, reject, revoke, show, split, two_smiths};
use kit::{Eyes, Replica, World, adds, name, record, sets, table};
use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Command, Created, TableChange};
use openprod_domain::describe;
use openprod_domain::read;
use openprod_domain::text::TextEdit;
use openprod_domain::view::View;
use openprod_model::bundle::BundleKind;
use openprod_model::ids::EntityId;
use openprod_model::refusal::Reason;
use openprod_model::value::{FieldRef, FieldType, Name, PrimitiveType, Value};

fn says(world: &World, at: usize, record: EntityId) -> [Vec<String>; 2] {
    let replica = &world.replicas[at];
    [replica.says(record, CONTACTS, "name"), replica.says(record, SCHEDULE, "attendee")]
}

#[test]
fn one_person_in_two_tables_is_merged_decided_and_split() {
    let mut world = two_smiths();
    assert!(world.does(0, vec![confirm()]).opened.is_empty(), "nobody is in both tables yet");
    let merged = world.does(0, vec![merge(&[jay(), john()])]);
    assert_eq!(merged.kind, BundleKind::MERGE);
    assert_eq!(merged.label.as_str(), "Merge J. Smith with John Smith");
    let opened: Vec<&Cell> = merged.opened.iter().map(|conflict| &conflict.cell).collect();
    assert_eq!(opened, [&Cell::Field { table: name(CONTACTS), entity: john(), field: name("name") }]);
    for id in [john(), jay()] {
        for words in says(&world, 0, id) {
            assert_eq!(BTreeSet::from_iter(words), BTreeSet::from(["John Smith".into(), "J. Smith".into()]));
        }
    }
    world.does(0, vec![sets(jay(), CONTACTS, "name", "John Smith")]);
    world.everyone_meets();
    assert_eq!(says(&world, 2, john()), [["John Smith"], ["John Smith"]]);
    world.does(1, vec![split(john(), &[jay()])]);
    world.everyone_meets();
    let view = world.replicas[2].view();
    for (id, table) in [(john(), CONTACTS), (jay(), SCHEDULE)] {
        assert_eq!(read::tables_of(&view, id).unwrap(), [name(table)]);
        assert_eq!(says(&world, 2, id), [["John Smith"], ["John Smith"]], "each keeps what was decided");
    }
}

#[test]
fn what_is_merged_can_be_split_as_it_was() {
    let mut world = two_smiths();
    let before = [says(&world, 0, john()), says(&world, 0, jay())];
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(0, vec![split(john(), &[john()])]);
    assert_eq!([says(&world, 0, john()), says(&world, 0, jay())], before);
}

#[test]
fn opposite_and_chained_merges_agree() {
    let mut world = two_smiths();
    world.does(0, vec![adds(record(3), CONTACTS, &[("name", "Johnny")])]);
    world.everyone_meets();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(1, vec![merge(&[jay(), john()])]);
    world.does(2, vec![merge(&[jay(), record(3)])]);
    world.everyone_meets();
    let view = world.replicas[1].view();
    let unions = view.unions().unwrap();
    assert_eq!(unions.ids(&record(3)), [john(), jay(), record(3)]);
    let records: Vec<EntityId> = read::records(&view, &name(SCHEDULE), None).map(Result::unwrap).collect();
    assert_eq!(records, [john()], "once, under the smallest id, though only another is in this table");
}

#[test]
fn a_merge_and_a_split_that_have_not_seen_each_other_unite_nothing() {
    let mut world = two_smiths();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(0, vec![split(john(), &[jay()])]);
    world.everyone_meets();
    world.does(1, vec![merge(&[john(), jay()])]);
    world.everyone_meets();
    world.does(1, vec![split(john(), &[jay()])]);
    world.does(2, vec![adds(record(3), CONTACTS, &[("name", "Johnny")]), merge(&[john(), record(3)])]);
    world.everyone_meets();
    let unions = world.replicas[0].view().unions().unwrap();
    assert_eq!(unions.ids(&jay()), [jay()]);
    assert_eq!(unions.ids(&record(3)), [john(), record(3)]);

    world.does(0, vec![merge(&[record(3), jay()])]);
    world.everyone_meets();
    world.does(1, vec![split(john(), &[jay()])]);
    world.does(2, vec![Command::SplitRecord { record: jay(), ids: vec![john(), record(3)] }]);
    world.everyone_meets();
    assert!(!world.replicas[0].view().unions().unwrap().is_merged(jay()), "two who split the same agree");
}

#[test]
fn a_pair_in_dispute_unites_nothing_until_somebody_decides() {
    let mut world = two_smiths();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(1, vec![merge(&[john(), jay()])]);
    world.does(1, vec![split(john(), &[jay()])]);
    world.everyone_meets();
    let unions = world.replicas[2].view().unions().unwrap();
    assert!(!unions.is_merged(john()), "one says so, one says no");
    world.does(2, vec![merge(&[john(), jay()])]);
    world.everyone_meets();
    assert!(world.replicas[0].view().unions().unwrap().is_merged(john()));
}

#[test]
fn a_split_keeps_the_rest_together_and_closes_every_way_across() {
    let mut world = two_smiths();
    world.does(0, vec![adds(record(3), CONTACTS, &[("name", "Johnny")]), adds(record(4), SCHEDULE, &[])]);
    world.does(0, vec![merge(&[john(), jay()])]);
    world.everyone_meets();
    // Everything hangs on the first: without it the others are joined anew.
    world.does(1, vec![merge(&[jay(), record(3)])]);
    world.does(2, vec![merge(&[jay(), record(4)])]);
    world.everyone_meets();
    world.does(0, vec![split(jay(), &[john()])]);
    world.everyone_meets();
    let unions = world.replicas[1].view().unions().unwrap();
    assert_eq!(unions.ids(&john()), [john()]);
    assert_eq!(unions.ids(&record(4)), [jay(), record(3), record(4)]);
}

#[test]
fn whoever_has_not_seen_a_merge_writes_beside_it() {
    let mut world = two_smiths();
    world.does(0, vec![confirm()]);
    world.everyone_meets();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(1, vec![sets(jay(), SCHEDULE, "attendee", "Jay Smith")]);
    world.everyone_meets();
    let words = world.replicas[2].says(john(), CONTACTS, "name");
    assert_eq!(BTreeSet::from_iter(words), BTreeSet::from(["John Smith".into(), "Jay Smith".into()]));
    world.does(2, vec![sets(john(), SCHEDULE, "attendee", "John Smith")]);
    world.everyone_meets();
    assert_eq!(says(&world, 0, jay()), [["John Smith"], ["John Smith"]]);
    assert!(!world.replicas[0].field(jay(), SCHEDULE, "attendee").in_conflict());
}

#[test]
fn equal_values_from_both_sides_are_no_conflict() {
    let mut world = show();
    world.does(0, vec![confirm()]);
    world.does(0, vec![adds(john(), CONTACTS, &[("name", "John")]), adds(jay(), SCHEDULE, &[("attendee", "John")])]);
    assert!(world.does(0, vec![merge(&[john(), jay()])]).opened.is_empty());
    world.does(0, vec![sets(john(), CONTACTS, "name", "Johnny")]);
    assert_eq!(says(&world, 0, john()), [["Johnny"], ["Johnny"]]);
    assert!(!world.replicas[0].field(john(), CONTACTS, "name").in_conflict());
}

#[test]
fn an_empty_field_says_nothing_against_a_value() {
    let mut world = show();
    let cleared = Command::SetFields { record: john(), table: name(CONTACTS), values: vec![(name("name"), None)] };
    world.does(0, vec![adds(john(), CONTACTS, &[("name", "Wrong")]), cleared]);
    world.does(0, vec![adds(jay(), SCHEDULE, &[("attendee", "J. Smith")]), confirm(), merge(&[john(), jay()])]);
    assert_eq!(says(&world, 0, john()), [["J. Smith"], ["J. Smith"]]);
    assert!(!world.replicas[0].field(john(), CONTACTS, "name").in_conflict());
    world.tries(0, vec![sets(jay(), SCHEDULE, "attendee", "Jay")], Eyes::Unknown).unwrap();
    assert_eq!(says(&world, 0, john()), [["Jay"], ["Jay"]], "nor after an edit by somebody who does not know");
}

#[test]
fn clearing_against_an_edit_is_a_conflict_under_a_mapping_too() {
    let mut world = two_smiths();
    world.does(0, vec![confirm(), merge(&[john(), jay()]), sets(john(), CONTACTS, "name", "John Smith")]);
    world.everyone_meets();
    let cleared = Command::SetFields { record: john(), table: name(CONTACTS), values: vec![(name("name"), None)] };
    world.does(0, vec![cleared]);
    world.does(1, vec![sets(jay(), SCHEDULE, "attendee", "Jay")]);
    world.everyone_meets();
    assert!(world.replicas[2].field(john(), CONTACTS, "name").in_conflict());
}

#[test]
fn a_value_does_not_vanish_from_one_table_because_the_record_left_another() {
    let mut world = two_smiths();
    world.does(0, vec![confirm()]);
    let added = Command::AddToTable { record: john(), table: name(SCHEDULE), values: vec![] };
    world.does(0, vec![added]);
    assert_eq!(world.replicas[0].says(john(), SCHEDULE, "attendee"), ["John Smith"]);
    world.does(0, vec![Command::RemoveFromTable { record: john(), table: name(CONTACTS) }]);
    assert_eq!(world.replicas[0].says(john(), SCHEDULE, "attendee"), ["John Smith"]);
    world.does(0, vec![sets(john(), SCHEDULE, "attendee", "Johnny")]);
    let back = Command::AddToTable { record: john(), table: name(CONTACTS), values: vec![] };
    world.does(0, vec![back]);
    assert_eq!(says(&world, 0, john()), [["Johnny"], ["Johnny"]]);
}

#[test]
fn what_was_removed_from_a_table_does_not_come_back_with_a_mapping() {
    let mut world = two_smiths();
    world.does(0, vec![Command::AddToTable { record: john(), table: name(SCHEDULE), values: vec![] }]);
    world.does(0, vec![sets(john(), SCHEDULE, "attendee", "Johnny")]);
    world.does(0, vec![Command::RemoveFromTable { record: john(), table: name(CONTACTS) }, confirm()]);
    assert_eq!(world.replicas[0].says(john(), SCHEDULE, "attendee"), ["Johnny"]);
    world.tries(0, vec![sets(john(), SCHEDULE, "attendee", "Jo")], Eyes::Unknown).unwrap();
    world.does(0, vec![Command::AddToTable { record: john(), table: name(CONTACTS), values: vec![] }]);
    let words = world.replicas[0].says(john(), CONTACTS, "name");
    assert_eq!(BTreeSet::from_iter(words), BTreeSet::from(["Jo".into(), "John Smith".into()]), "nothing is lost");
}

#[test]
fn confirming_against_rejecting_unites_nothing() {
    let mut world = two_smiths();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.everyone_meets();
    world.does(0, vec![confirm()]);
    world.does(1, vec![reject()]);
    world.everyone_meets();
    assert_eq!(says(&world, 2, john()), [["John Smith"], ["J. Smith"]]);
    world.does(2, vec![confirm()]);
    world.everyone_meets();
    assert!(world.replicas[0].field(john(), CONTACTS, "name").in_conflict());
}

#[test]
fn after_a_revoke_both_sides_keep_what_they_show() {
    let mut world = two_smiths();
    world.does(0, vec![confirm()]);
    world.does(0, vec![Command::AddToTable { record: john(), table: name(SCHEDULE), values: vec![] }]);
    world.does(0, vec![Command::AddToTable { record: jay(), table: name(CONTACTS), values: vec![] }]);
    world.everyone_meets();
    world.does(0, vec![revoke()]);
    world.does(1, vec![revoke()]);
    world.everyone_meets();
    assert_eq!(says(&world, 2, john()), [["John Smith"], ["John Smith"]]);
    assert_eq!(says(&world, 2, jay()), [["J. Smith"], ["J. Smith"]]);
    world.does(2, vec![sets(john(), SCHEDULE, "attendee", "Johnny")]);
    assert_eq!(says(&world, 2, john()), [["John Smith"], ["Johnny"]]);
}

#[test]
fn a_third_column_keeps_two_together() {
    let mut world = two_smiths();
    let to_props = |table, column| Command::ConfirmMapping { one: at(table, column), other: at("props", "owner") };
    world.does(0, vec![confirm(), to_props(CONTACTS, "name")]);
    assert_eq!(world.is_refused(0, to_props(SCHEDULE, "attendee")).reason, Reason::AlreadyExists);
    let view = world.replicas[0].view();
    let group = view.unions().unwrap().mapped(&name("props"), &name("owner")).unwrap().to_vec();
    let tables: Vec<&Name> = group.iter().map(|column| &column.table).collect();
    assert_eq!(tables, [&name(CONTACTS), &name("props"), &name(SCHEDULE)]);
}

#[test]
fn tables_are_split_off_with_their_candidates() {
    let mut world = two_smiths();
    world.does(0, vec![confirm(), merge(&[john(), jay()])]);
    world.everyone_meets();
    world.does(1, vec![sets(john(), SCHEDULE, "number", "13")]);
    world.does(2, vec![sets(john(), SCHEDULE, "number", "14")]);
    world.everyone_meets();
    let off = Command::SplitOff { record: jay(), tables: vec![name(SCHEDULE)], edges: vec![], new: None };
    let plan = world.does(0, vec![off]);
    let [(0, Created::Record(new))] = plan.created[..] else { panic!("one new record: {:?}", plan.created) };
    let words = world.replicas[0].says(new, SCHEDULE, "number");
    assert_eq!(BTreeSet::from_iter(words), BTreeSet::from(["13".into(), "14".into()]));
    assert_eq!(world.replicas[0].says(new, SCHEDULE, "attendee"), ["J. Smith"], "each side takes its own");
    assert_eq!(world.replicas[0].says(john(), CONTACTS, "name"), ["John Smith"]);
    let view = world.replicas[0].view();
    assert_eq!(read::tables_of(&view, jay()).unwrap(), [name(CONTACTS)]);
    assert_eq!(read::tables_of(&view, new).unwrap(), [name(SCHEDULE)]);
}

#[test]
fn what_a_table_showed_through_another_goes_along_and_stays() {
    let mut world = two_smiths();
    world.does(0, vec![confirm(), Command::AddToTable { record: john(), table: name(SCHEDULE), values: vec![] }]);
    let off = |table: &str, new| Command::SplitOff { record: john(), tables: vec![name(table)], edges: vec![], new };
    world.does(0, vec![off(SCHEDULE, Some(record(9)))]);
    assert_eq!(world.replicas[0].says(record(9), SCHEDULE, "attendee"), ["John Smith"]);
    world.does(0, vec![Command::AddToTable { record: john(), table: name("props"), values: vec![] }]);
    world.does(0, vec![Command::ConfirmMapping { one: at("props", "owner"), other: at(CONTACTS, "name") }]);
    world.does(0, vec![off(CONTACTS, Some(record(8)))]);
    assert_eq!(world.replicas[0].says(john(), "props", "owner"), ["John Smith"]);
    assert_eq!(world.replicas[0].says(record(8), CONTACTS, "phone"), ["12"]);
}

#[test]
fn an_edge_goes_along_only_if_it_is_named() {
    let mut world = two_smiths();
    world.does(0, vec![merge(&[john(), jay()]), adds(record(3), CONTACTS, &[("name", "Ann")])]);
    let edge = |source, target| Command::CreateEdge {
        edge: None,
        edge_type: name("knows"),
        source,
        target,
        properties: vec![(name("since"), Value::Integer(1999))],
        place: None,
    };
    let created = world.does(0, vec![edge(jay(), record(3)), edge(record(3), jay())]).created;
    let [(_, Created::Edge(kept)), (_, Created::Edge(moved))] = created[..] else { panic!("two edges") };
    let off =
        Command::SplitOff { record: john(), tables: vec![name(SCHEDULE)], edges: vec![moved], new: Some(record(9)) };
    let created = world.does(0, vec![off]).created;
    let Some((_, Created::Edge(again))) = created.iter().find(|(_, made)| matches!(made, Created::Edge(_))) else {
        panic!("an edge made anew: {created:?}")
    };
    let view = world.replicas[0].view();
    assert_eq!(read::edge(&view, kept).unwrap().unwrap().ends.source, john());
    assert!(read::edge(&view, moved).unwrap().is_none());
    let edge = read::edge(&view, *again).unwrap().unwrap();
    assert_eq!((edge.ends.source, edge.ends.target), (record(3), record(9)));
    assert_eq!(edge.properties[0].1.value, Some(Value::Integer(1999)));
}

#[test]
fn references_to_any_id_of_a_record_are_equal() {
    let mut world = two_smiths();
    world.does(0, vec![adds(record(3), SCHEDULE, &[])]);
    world.everyone_meets();
    let with = |who| Command::SetFields {
        record: record(3),
        table: name(SCHEDULE),
        values: vec![(name("with"), Some(Value::Entity(who)))],
    };
    world.does(0, vec![with(john())]);
    world.does(1, vec![with(jay())]);
    world.everyone_meets();
    assert!(world.replicas[2].field(record(3), SCHEDULE, "with").in_conflict());
    world.does(2, vec![merge(&[john(), jay()])]);
    let field = world.replicas[2].field(record(3), SCHEDULE, "with");
    assert!(!field.in_conflict());
    assert_eq!(field.content(), Some(&Content::Value(Value::Entity(john()))));
    world.tries(2, vec![with(record(3))], Eyes::Unknown).unwrap();
    assert!(!world.replicas[2].field(record(3), SCHEDULE, "with").in_conflict(), "both are written over");
}

#[test]
fn a_field_that_refers_into_the_record_it_became_one_with_is_written_over() {
    let mut world = two_smiths();
    let target = FieldRef { entity: john(), table: name(CONTACTS), field: name("name") };
    let refers = vec![(name("attendee"), Some(Value::FieldRef(target)))];
    world.does(0, vec![Command::SetFields { record: jay(), table: name(SCHEDULE), values: refers }]);
    assert_eq!(world.replicas[0].says(jay(), SCHEDULE, "attendee"), ["John Smith"]);
    world.does(0, vec![confirm(), merge(&[john(), jay()])]);
    world.does(0, vec![sets(john(), SCHEDULE, "attendee", "Johnny")]);
    assert_eq!(says(&world, 0, jay()), [["Johnny"], ["Johnny"]]);
}

#[test]
fn what_makes_no_sense_is_refused_in_plain_words() {
    let mut world = two_smiths();
    let nobody = record(77);
    let map = |one: (&str, &str), other: (&str, &str)| Command::ConfirmMapping {
        one: at(one.0, one.1),
        other: at(other.0, other.1),
    };
    for (command, reason, words) in [
        (merge(&[john()]), Reason::InvalidRequest, "Merging needs two records at least."),
        (merge(&[john(), john()]), Reason::AlreadyExists, "These are one record already."),
        (merge(&[john(), nobody]), Reason::UnknownRecord, "There is no record"),
        (split(john(), &[john()]), Reason::InvalidRequest, "is not merged with any other."),
        (split(nobody, &[john()]), Reason::UnknownRecord, "There is no record"),
        (map((CONTACTS, "name"), (CONTACTS, "name")), Reason::InvalidRequest, "is only one column."),
        (map((CONTACTS, "name"), (CONTACTS, "phone")), Reason::InvalidRequest, "one field in every record."),
        (map((CONTACTS, "name"), ("props", "weight")), Reason::WrongType, "weight in props holds an integer."),
        (map((CONTACTS, "nam"), ("props", "weight")), Reason::UnknownField, "There is no field \"nam\""),
        (map(("contact", "name"), ("props", "weight")), Reason::UnknownTable, "There is no table \"contact\""),
        (revoke(), Reason::UnknownField, "neither confirmed nor rejected"),
        (
            Command::SplitOff { record: john(), tables: vec![name(CONTACTS)], edges: vec![], new: None },
            Reason::InvalidRequest,
            "leaves at least one",
        ),
        (
            Command::SplitOff { record: john(), tables: vec![name(SCHEDULE)], edges: vec![], new: None },
            Reason::UnknownRecord,
            "There is no record",
        ),
    ] {
        let refusal = world.is_refused(0, command);
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert!(refusal.message.contains(words), "{refusal}");
    }
    world.does(0, vec![merge(&[john(), jay()]), confirm()]);
    for (command, reason, words) in [
        (merge(&[jay(), john()]), Reason::AlreadyExists, "These are one record already."),
        (split(john(), &[nobody]), Reason::UnknownRecord, "is no id of this record"),
        (split(john(), &[]), Reason::InvalidRequest, "at least one must be split off"),
        (split(john(), &[john(), jay()]), Reason::InvalidRequest, "at least one must be kept"),
        (confirm(), Reason::AlreadyExists, "are one field already"),
        (reject(), Reason::InvalidRequest, "are confirmed to be one field"),
        (map((CONTACTS, "phone"), (SCHEDULE, "attendee")), Reason::InvalidRequest, "phone and name of contacts"),
    ] {
        let refusal = world.is_refused(0, command);
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert!(refusal.message.contains(words), "{refusal}");
    }
}

#[test]
fn columns_of_unlike_types_are_not_mapped() {
    let listed = |values: &[&str]| FieldType::Enum { values: values.iter().map(|value| name(value)).collect() };
    let of = |item| FieldType::List { item };
    let mut world = World::new(
        1,
        vec![
            table(
                "a",
                &[
                    ("state", listed(&["open", "done"])),
                    ("tags", of(PrimitiveType::Text)),
                    ("note", FieldType::Document),
                ],
            ),
            table(
                "b",
                &[
                    ("state", listed(&["done", "open"])),
                    ("tags", of(PrimitiveType::Integer)),
                    ("note", FieldType::Document),
                ],
            ),
            table("c", &[("state", listed(&["open"]))]),
        ],
    );
    let map = |column, one, other| Command::ConfirmMapping { one: at(one, column), other: at(other, column) };
    for (command, words) in [
        (map("tags", "a", "b"), "holds a list of"),
        (map("note", "a", "b"), "people edit together"),
        (map("state", "a", "c"), "do not list the same values"),
    ] {
        let refusal = world.is_refused(0, command);
        assert!(refusal.reason == Reason::WrongType && refusal.message.contains(words), "{refusal}");
    }
    world.does(0, vec![map("state", "a", "b")]);
    let widened = TableChange::WidenEnum { column: name("state"), values: vec![name("late")] };
    world.does(0, vec![Command::AlterTable { table: name("a"), changes: vec![widened] }, adds(john(), "a", &[])]);
    let late = vec![(name("state"), Some(Value::Enum(name("late"))))];
    let refusal = world.is_refused(0, Command::SetFields { record: john(), table: name("a"), values: late });
    assert!(refusal.message.contains("is not a value of state in b"), "{refusal}");
}

fn writes(record: EntityId, table: &str, column: &str, text: &str) -> Command {
    let edits = vec![TextEdit::Insert { at: 0, text: text.to_owned() }];
    Command::EditText { record, table: name(table), column: name(column), edits }
}

/// What a text says, on all replicas.
fn text_of(world: &World, record: EntityId, table: &str, column: &str) -> String {
    let said = |replica: &Replica| {
        let field = read::field(&replica.view(), &name(table), record, &name(column)).unwrap();
        field.value.map_or_else(String::new, |value| describe::value(&value).trim_matches('"').to_owned())
    };
    let all: BTreeSet<String> = world.replicas.iter().map(said).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

#[test]
fn a_text_of_merged_records_is_whole_in_each_after_a_split_and_goes_along_with_its_table() {
    let mut world = two_smiths();
    world.does(0, vec![adds(record(3), CONTACTS, &[("name", "Jon")]), writes(record(3), CONTACTS, "bio", "Older. ")]);
    world.does(0, vec![writes(john(), CONTACTS, "bio", "Born. "), merge(&[john(), record(3)])]);
    world.everyone_meets();
    let both = text_of(&world, john(), CONTACTS, "bio");
    assert!(["Born. Older. ", "Older. Born. "].contains(&&*both));
    world.does(1, vec![writes(record(3), CONTACTS, "bio", "Met. ")]);
    world.everyone_meets();
    world.does(2, vec![split(john(), &[record(3)])]);
    world.does(0, vec![split(john(), &[record(3)])]);
    world.everyone_meets();
    // The one before whose words it was written has it in front of them; the other takes those along.
    let mut sides = [john(), record(3)].map(|one| text_of(&world, one, CONTACTS, "bio"));
    sides.sort_by_key(String::len);
    assert!(["Met. Born. ", "Met. Older. "].contains(&&*sides[0]), "{sides:?}");
    assert_eq!(sides[1], format!("Met. {both}"));
    world.does(0, vec![Command::AddToTable { record: john(), table: name(SCHEDULE), values: vec![] }]);
    let before = text_of(&world, john(), CONTACTS, "bio");
    let off = Command::SplitOff { record: john(), tables: vec![name(CONTACTS)], edges: vec![], new: Some(record(9)) };
    world.does(0, vec![off]);
    world.everyone_meets();
    assert_eq!(text_of(&world, record(9), CONTACTS, "bio"), before);
}

#[test]
fn what_was_hidden_under_the_id_of_a_new_record_does_not_come_up_beside_what_is_split_off() {
    let mut world = two_smiths();
    world.does(0, vec![merge(&[john(), jay()])]);
    world.does(0, vec![adds(record(9), SCHEDULE, &[("number", "7")])]);
    world.does(0, vec![Command::RemoveFromTable { record: record(9), table: name(SCHEDULE) }]);
    world.does(0, vec![sets(john(), SCHEDULE, "number", "13")]);
    let off = Command::SplitOff { record: john(), tables: vec![name(SCHEDULE)], edges: vec![], new: Some(record(9)) };
    world.does(0, vec![off]);
    assert_eq!(world.replicas[0].says(record(9), SCHEDULE, "number"), ["13"]);
}
