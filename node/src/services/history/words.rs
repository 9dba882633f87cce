//! Words: what an op does, in one line for people.

use openprod_domain::cell::Cell;
use openprod_domain::view::{Read, View};
use openprod_domain::{describe, read};
use openprod_model::ids::{BlobHash, EntityId};
use openprod_model::operation::{FacetAt, FieldAt, MappingAt, Operation, PairAt};
use openprod_model::value::Name;

/// How a file is called.
type FileNames<'a> = &'a dyn Fn(BlobHash) -> String;

/// What `operation` does, as `view` and `files` name things.
pub(super) fn of(view: &dyn View, files: FileNames<'_>, operation: &Operation) -> Read<String> {
    Ok(match operation {
        Operation::Bootstrap { name, founder_name, .. } => {
            format!("Found the workspace {} for {}", plain(name.as_str()), plain(founder_name.as_str()))
        }
        Operation::AttachFacet { at } => format!("Add {}", facets(view, at, "to")?),
        Operation::DetachFacet { at, .. } => format!("Take {}", facets(view, at, "out of")?),
        Operation::DeleteEntity { at, .. } => match at.first() {
            Some(first) => format!("Delete {}", record(view, &first.table, first.entity)?),
            None => "Delete a record".to_owned(),
        },
        Operation::SetField { at, value } => format!("Set {} to {}", fields(view, at)?, describe::value(value)),
        Operation::ClearField { at } => format!("Clear {}", fields(view, at)?),
        Operation::SetFieldReference { at, target } => {
            let far = Cell::Field { table: target.table.clone(), entity: target.entity, field: target.field.clone() };
            format!("Let {} show {}", fields(view, at)?, describe::cell_on(view, &far)?)
        }
        Operation::CreateEdge { ends, .. } | Operation::CreateOrderedEdge { ends, .. } => {
            let (source, target) = (anywhere(view, ends.source)?, anywhere(view, ends.target)?);
            format!("Join {source} and {target} as {}", ends.edge_type)
        }
        Operation::DeleteEdge { edge, .. } => format!("Delete edge {edge}"),
        Operation::SetEdgeProperty { edge, property, value, .. } => {
            format!("Set {property} of edge {edge} to {}", describe::value(value))
        }
        Operation::ClearEdgeProperty { edge, property, .. } => format!("Clear {property} of edge {edge}"),
        Operation::MoveOrderedEdge { to } => format!("Move edge {}", to.edge),
        Operation::ApplyCrdt { at, .. } => format!("Edit {}", fields(view, at)?),
        Operation::ClearAndAdd { at, .. } => format!("Replace {}", fields(view, at)?),
        Operation::MergeEntities { at } => format!("Merge {}", pairs(view, at, "with")?),
        Operation::SplitEntity { at } => format!("Split {}", pairs(view, at, "from")?),
        Operation::RebalanceOrderedEdges { to } => format!("Renumber the places of {} edges", to.len()),
        other => of_workspace(view, files, other)?,
    })
}

fn of_workspace(view: &dyn View, files: FileNames<'_>, operation: &Operation) -> Read<String> {
    Ok(match operation {
        Operation::CreateTable { table, columns, .. } => {
            format!("Create table {table} with {}", counted(columns.len(), "column"))
        }
        Operation::AlterTable { table, columns, .. } => match columns.as_slice() {
            [column] => format!("Alter column {} of table {table}", column.column),
            [] => format!("Alter table {table}"),
            several => format!("Alter {} of table {table}", counted(several.len(), "column")),
        },
        Operation::DropTable { table, .. } => format!("Drop table {table}"),
        Operation::PutSetting { setting, value: Some(value), .. } => {
            format!("Set setting {setting} to {}", describe::value(value))
        }
        Operation::PutSetting { setting, value: None, .. } => format!("Clear setting {setting}"),
        Operation::AdmitMember { member, .. } => format!("Admit {}", actor(view, *member)?),
        Operation::RemoveMember { member, why, .. } => {
            let why = if why.as_str().is_empty() { String::new() } else { format!(": {}", plain(why.as_str())) };
            format!("Remove {}{why}", actor(view, *member)?)
        }
        Operation::ConfirmFieldMapping { at } => format!("Map {}", mapping(at)),
        Operation::RejectFieldMapping { at } => format!("Reject the mapping of {}", mapping(at)),
        Operation::RevokeFieldMapping { at } => format!("Revoke the mapping of {}", mapping(at)),
        Operation::DeleteAsset { hash, reason, .. } => {
            format!("Delete the file {}: {}", files(*hash), plain(reason.as_str()))
        }
        Operation::RestoreAsset { hash, .. } => format!("Restore the file {}", files(*hash)),
        Operation::NameActor { actor, name, .. } => format!("Call {} {}", actor.short(), plain(name.as_str())),
        _ => describe_kind(operation),
    })
}

/// The name of an op's kind, for one that has no words of its own.
fn describe_kind(operation: &Operation) -> String {
    let kind = operation.kind();
    Operation::KINDS.iter().find(|(number, _)| *number == kind).map_or("", |(_, name)| name).to_owned()
}

fn plain(text: &str) -> String {
    describe::escaped(text)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn facets(view: &dyn View, at: &[FacetAt], joint: &str) -> Read<String> {
    let Some(first) = at.first() else { return Ok("nothing".to_owned()) };
    let tables: Vec<&str> = at.iter().map(|at| at.table.as_str()).collect();
    Ok(format!("{} {joint} {}", record(view, &first.table, first.entity)?, tables.join(", ")))
}

fn fields(view: &dyn View, at: &[FieldAt]) -> Read<String> {
    let Some(first) = at.first() else { return Ok("nothing".to_owned()) };
    let cell = Cell::Field { table: first.table.clone(), entity: first.entity, field: first.field.clone() };
    describe::cell_on(view, &cell)
}

fn pairs(view: &dyn View, at: &[PairAt], joint: &str) -> Read<String> {
    let Some(first) = at.first() else { return Ok("nothing".to_owned()) };
    let more = if at.len() > 1 { format!(" and {} more", counted(at.len() - 1, "pair")) } else { String::new() };
    Ok(format!("{} {joint} {}{more}", anywhere(view, first.one)?, anywhere(view, first.other)?))
}

fn mapping(at: &MappingAt) -> String {
    format!("{} of {} and {} of {}", at.one.column, at.one.table, at.other.column, at.other.table)
}

fn record(view: &dyn View, table: &Name, entity: EntityId) -> Read<String> {
    match read::table_of_key(view, table)? {
        Some(table) => describe::record(view, &table, entity),
        None => Ok(format!("record {entity}")),
    }
}

/// A record as it is called in the first of its tables.
fn anywhere(view: &dyn View, entity: EntityId) -> Read<String> {
    match read::tables_of(view, entity)?.first() {
        Some(table) => record(view, table, entity),
        None => Ok(format!("record {entity}")),
    }
}

fn actor(view: &dyn View, actor: openprod_model::ids::ActorId) -> Read<String> {
    Ok(read::actor_name(view, actor)?.map_or_else(|| actor.short(), |name| plain(name.as_str())))
}

#[cfg(test)]
mod tests {
    use openprod_domain::view::Empty;
    use openprod_model::operation::Basis;
    use openprod_model::value::{Text, Value};

    use super::*;

    #[test]
    fn an_op_is_said_even_where_nothing_is_known_of_its_table() {
        let at = vec![FieldAt {
            entity: EntityId::from_bytes([1; 16]),
            table: Name::new("cues").unwrap(),
            field: Name::new("label").unwrap(),
            basis: Basis::default(),
        }];
        let set = Operation::SetField { at, value: Value::text("Dawn").unwrap() };
        let said = of(&Empty, &|hash| hash.short(), &set).unwrap();
        assert!(said.ends_with(" label to \"Dawn\""), "{said}");
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        let actor = openprod_model::ids::ActorId::from_bytes([1; 32]);
        let name = Text::new("Mara\u{1b}[31m").unwrap();
        let named = Operation::NameActor { actor, name, basis: Basis::default() };
        assert!(!of(&Empty, &|hash| hash.short(), &named).unwrap().contains('\u{1b}'));
    }
}
