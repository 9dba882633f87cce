//! John Smith of the contacts and J. Smith of the schedule, who are one.

use openprod_domain::command::{Command, NamedColumn};
use openprod_model::ids::EntityId;
use openprod_model::value::FieldType;

use super::{World, adds, name, record, table};

pub(crate) const CONTACTS: &str = "contacts";
pub(crate) const SCHEDULE: &str = "schedule";

pub(crate) fn show() -> World {
    let text = FieldType::Text;
    let person = FieldType::Reference { table: None };
    World::new(
        3,
        vec![
            table(CONTACTS, &[("name", text.clone()), ("phone", text.clone()), ("bio", FieldType::Document)]),
            table(
                SCHEDULE,
                &[
                    ("attendee", text.clone()),
                    ("number", text.clone()),
                    ("with", person),
                    ("notes", FieldType::Document),
                ],
            ),
            table("props", &[("owner", text), ("weight", FieldType::Integer)]),
        ],
    )
}

pub(crate) fn john() -> EntityId {
    record(1)
}

pub(crate) fn jay() -> EntityId {
    record(2)
}

pub(crate) fn merge(records: &[EntityId]) -> Command {
    Command::MergeRecords { records: records.to_vec() }
}

pub(crate) fn split(record: EntityId, ids: &[EntityId]) -> Command {
    Command::SplitRecord { record, ids: ids.to_vec() }
}

pub(crate) fn at(table: &str, column: &str) -> NamedColumn {
    NamedColumn { table: name(table), column: name(column) }
}

pub(crate) fn confirm() -> Command {
    Command::ConfirmMapping { one: at(CONTACTS, "name"), other: at(SCHEDULE, "attendee") }
}

pub(crate) fn reject() -> Command {
    Command::RejectMapping { one: at(CONTACTS, "name"), other: at(SCHEDULE, "attendee") }
}

pub(crate) fn revoke() -> Command {
    Command::RevokeMapping { one: at(CONTACTS, "name"), other: at(SCHEDULE, "attendee") }
}

/// John Smith of the contacts and J. Smith of the schedule, on all replicas.
pub(crate) fn two_smiths() -> World {
    let mut world = show();
    world.does(0, vec![adds(john(), CONTACTS, &[("name", "John Smith"), ("phone", "12")])]);
    world.does(0, vec![adds(jay(), SCHEDULE, &[("attendee", "J. Smith"), ("number", "12")])]);
    world.everyone_meets();
    world
}
