//! Describing: cells, values, commands and conflicts as people say them.

use std::sync::Arc;

use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Name, Primitive, Text, Value};

use crate::cell::{Cell, Content, Tip};
use crate::command::Command;
use crate::conflict::{Conflict, Dispute};
use crate::read::{self, Table, Tables};
use crate::view::{Read, View};

/// How much of a text is quoted in a sentence.
const QUOTED_CHARS: usize = 60;

/// A value as it stands in a sentence: text in quotes, shortened, control characters shown as escapes.
pub fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text.as_str()),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.as_f64().to_string(),
        Value::Boolean(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Date(date) => date_text(*date),
        Value::DateTime(at) => datetime_text(*at),
        Value::Duration(duration) => duration_text(duration.ms),
        Value::Enum(name) => name.to_string(),
        Value::Entity(entity) => format!("record {entity}"),
        Value::Blob(blob) => format!("the file {}", quoted(blob.name.as_str())),
        Value::List(list) => {
            let items: Vec<String> = list.items().iter().take(5).map(primitive).collect();
            let more = if list.items().len() > 5 { ", ..." } else { "" };
            format!("[{}{more}]", items.join(", "))
        }
        Value::FieldRef(target) => format!("the field {} of record {}", target.field, target.entity),
    }
}

fn primitive(item: &Primitive) -> String {
    value(&match item {
        Primitive::Text(text) => Value::Text(text.clone()),
        Primitive::Integer(number) => Value::Integer(*number),
        Primitive::Float(number) => Value::Float(*number),
        Primitive::Boolean(yes) => Value::Boolean(*yes),
        Primitive::Date(date) => Value::Date(*date),
        Primitive::DateTime(at) => Value::DateTime(*at),
        Primitive::Duration(duration) => Value::Duration(*duration),
    })
}

/// Bytes as people read them: 4.2 MiB.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // The last unit that leaves at least one; tenths by whole numbers, cut off.
    let step = (usize::try_from(count.ilog2()).unwrap_or_default() / 10).min(UNITS.len());
    let tenths = (u128::from(count) * 10) >> (10 * step);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[step - 1])
}

fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS).flat_map(shown_char).collect();
    if text.chars().count() > QUOTED_CHARS {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

fn shown_char(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

/// Text with every control character shown as an escape: safe for a terminal and a log.
pub fn escaped(text: &str) -> String {
    text.chars().flat_map(shown_char).collect()
}

fn date_text(date: openprod_model::value::Date) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().days(date.days.clamp(-4_371_587, 2_932_896)))
        .map_or_else(|_| format!("day {}", date.days), |day| day.to_string())
}

fn datetime_text(at: openprod_model::value::DateTime) -> String {
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let span = jiff::SignedDuration::from_millis(at.local_ms());
    epoch.checked_add(span).map_or_else(|_| format!("{} ms", at.local_ms()), |time| time.to_string())
}

fn duration_text(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let total = ms.unsigned_abs();
    let (minutes, seconds, rest) = (total / 60_000, total / 1_000 % 60, total % 1_000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    if minutes == 0 {
        format!("{sign}{seconds}{fraction} s")
    } else {
        format!("{sign}{minutes}:{seconds:02}{fraction}")
    }
}

/// A type with its article: "a date", "an integer".
pub fn a_type(field_type: &FieldType) -> String {
    match field_type {
        FieldType::Text => "text".to_owned(),
        FieldType::Integer | FieldType::Enum { .. } => format!("an {}", field_type.word()),
        FieldType::List { item } => format!("a list of {}", item.word()),
        FieldType::Sequence { item } => format!("a sequence of {}", item.word()),
        _ => format!("a {}", field_type.word()),
    }
}

/// What a cell holds, in a sentence.
pub fn content(content: &Content) -> String {
    match content {
        Content::Absent => "nothing".to_owned(),
        Content::Present => "present".to_owned(),
        Content::Value(held) => value(held),
        Content::Edge(ends) => format!("{} from {} to {}", ends.edge_type, ends.source, ends.target),
        Content::Place(_) => "a place".to_owned(),
        Content::Table(spec) => quoted(spec.name.as_str()),
        Content::Column(spec) => format!("{} ({})", quoted(spec.name.as_str()), spec.field_type.word()),
        Content::Name(name) => quoted(name.as_str()),
        Content::Rejected => "rejected".to_owned(),
        Content::Edit(_) => "an edit".to_owned(),
    }
}

/// A cell, where no view is at hand.
pub fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Table { table } => format!("Table {table}"),
        Cell::Column { table, column } => format!("Field {column} of table {table}"),
        Cell::Facet { table, entity } => format!("The presence of record {entity} in {table}"),
        Cell::Field { table, entity, field } => format!("{field} of record {entity} in {table}"),
        Cell::Edge { edge } => format!("Edge {edge}"),
        Cell::EdgeProperty { edge, property } => format!("{property} of edge {edge}"),
        Cell::EdgePosition { edge } => format!("The place of edge {edge}"),
        Cell::Setting { setting } => format!("Setting {setting}"),
        Cell::Member { member } => format!("The membership of {}", member.short()),
        Cell::ActorName { actor } => format!("The name of actor {}", actor.short()),
        Cell::Merge { low, high } => format!("The merge of records {low} and {high}"),
        Cell::Mapping { low, high } => {
            format!("The mapping of {}.{} and {}.{}", low.table, low.column, high.table, high.column)
        }
        Cell::Asset { hash } => format!("The deletion of file {}", hash.short()),
    }
}

/// A cell as people call it: "Cue 42 Label".
pub fn cell_on(view: &dyn View, which: &Cell) -> Read<String> {
    cell_in(&mut Tables::of(view), which)
}

/// The same, where more than one is called.
pub fn cell_in(tables: &mut Tables<'_>, which: &Cell) -> Read<String> {
    let view = tables.view();
    Ok(match which {
        Cell::Field { table, entity, field } => {
            let table = tables.of_key(table)?;
            let column = table.and_then(|table| table.columns.iter().find(|column| column.key == *field));
            let field = column.map_or_else(|| field.clone(), |column| column.spec.name.clone());
            let record = table.map(|table| record(view, table, *entity)).transpose()?;
            format!("{} {field}", record.unwrap_or_else(|| format!("record {entity}")))
        }
        Cell::Facet { table, entity } => match tables.of_key(table)? {
            Some(known) => format!("{} in {}", record(view, known, *entity)?, known.spec.name),
            None => cell(which),
        },
        _ => cell(which),
    })
}

/// A record as people call it: the value of its first column that has one.
pub fn record(view: &dyn View, table: &Table, entity: EntityId) -> Read<String> {
    for column in table.visible() {
        if let Some(name) = read::field(view, &table.key, entity, &column.key)?.value {
            let name = value(&name);
            return Ok(format!("{} {}", table.spec.name, name.trim_matches('"')));
        }
    }
    Ok(format!("{} {entity}", table.spec.name))
}

/// The sentence of a conflict: what it is about, who wrote what, and what is to be done. `who` names the author of a
/// write.
pub fn conflict(
    tables: &mut Tables<'_>,
    conflict: &Conflict,
    who: &mut dyn FnMut(&Tip) -> Read<String>,
) -> Read<String> {
    let subject = cell_in(tables, &conflict.cell)?;
    Ok(match &conflict.dispute {
        Dispute::Values(candidates) => {
            let mut said = Vec::new();
            for candidate in candidates {
                let writers = names(candidate.tips.iter(), who)?;
                said.push(format!("{} ({})", all_of(&writers), content(&candidate.content)));
            }
            format!("{subject} was edited by {}. Choose a value.", all_of(&said))
        }
        Dispute::RemovedWhileEdited { removals, edits } => {
            let removers = names(removals.iter(), who)?;
            let editors = names(edits.iter().map(|(_, tip)| tip), who)?;
            let (removed, edited) = (all_of(&removers), all_of(&editors));
            format!("{subject} was removed by {removed} and edited by {edited}. Restore it or let it go.")
        }
    })
}

/// The authors of writes, each once, in order.
fn names<'a>(tips: impl Iterator<Item = &'a Tip>, who: &mut dyn FnMut(&Tip) -> Read<String>) -> Read<Vec<String>> {
    let mut names = Vec::new();
    for tip in tips {
        let name = who(tip)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// "A, B and C".
fn all_of(said: &[String]) -> String {
    match said.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => said.concat(),
    }
}

/// "Did you mean ...?", or the list of what is known.
pub fn suggestion<'a>(wanted: &str, known: impl Iterator<Item = &'a str>, what: &str) -> String {
    const LISTED: usize = 12;
    let known: Vec<&str> = known.collect();
    let lower = wanted.to_lowercase();
    let near = known.iter().map(|name| (distance(&lower, &name.to_lowercase()), *name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + lower.chars().count() / 4 => format!("Did you mean \"{name}\"?"),
        _ if known.is_empty() => format!("There is no {what} yet."),
        _ => {
            let more = if known.len() > LISTED { ", ..." } else { "" };
            format!("Known: {}{more}.", known[..known.len().min(LISTED)].join(", "))
        }
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The label of a request that brought none. `tables` are those looked up before, under the names used for them.
pub fn label(view: &dyn View, tables: &[(Name, Arc<Table>)], commands: &[Command]) -> Read<Text> {
    let Some(first) = commands.first() else { return Ok(plain("")) };
    let same = commands.iter().all(|c| std::mem::discriminant(c) == std::mem::discriminant(first));
    let text =
        if commands.len() == 1 || !same { one_label(view, tables, first)? } else { many_label(first, commands.len()) };
    let rest = if same { String::new() } else { format!(" and {} more", commands.len() - 1) };
    Ok(plain(&format!("{text}{rest}")))
}

/// As much of a text as a label holds.
pub(crate) fn plain(text: &str) -> Text {
    const LABEL_CHARS: usize = 90;
    let short: String = text.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect();
    Text::new(&short).expect("a short text without control characters is text")
}

fn many_label(first: &Command, count: usize) -> String {
    match first {
        Command::CreateRecord { table, .. } => format!("Add {count} records to {table}"),
        Command::SetFields { table, .. } => format!("Change {count} records in {table}"),
        Command::DeleteRecord { .. } => format!("Delete {count} records"),
        Command::CreateEdge { edge_type, .. } => format!("Add {count} edges {edge_type}"),
        Command::CreateTable { .. } => format!("Create {count} tables"),
        Command::Resolve { .. } => format!("Resolve {count} conflicts"),
        Command::MergeRecords { .. } => format!("Merge records {count} times"),
        Command::ConfirmMapping { .. } => format!("Map {count} pairs of columns"),
        _ => format!("Make {count} changes"),
    }
}

fn one_label(view: &dyn View, tables: &[(Name, Arc<Table>)], command: &Command) -> Read<String> {
    let known = |table, entity| known(view, tables, table, entity);
    Ok(match command {
        Command::CreateTable { name, .. } => format!("Create table {name}"),
        Command::AlterTable { table, .. } => format!("Alter table {table}"),
        Command::DropTable { table } => format!("Drop table {table}"),
        Command::CreateRecord { record: Some(entity), table, .. } => format!("Add {}", known(table, *entity)?),
        Command::CreateRecord { table, .. } => format!("Add a record to {table}"),
        Command::AddToTable { table, record, .. } => format!("Add {} to {table}", known(table, *record)?),
        Command::RemoveFromTable { record, table } => format!("Remove {} from {table}", known(table, *record)?),
        Command::DeleteRecord { .. } => "Delete a record".to_owned(),
        Command::SetFields { record, table, values } => {
            let names: Vec<&str> = values.iter().take(3).map(|(name, _)| Name::as_str(name)).collect();
            format!("Set {} of {}", names.join(", "), known(table, *record)?)
        }
        Command::CreateEdge { edge_type, .. } => format!("Add edge {edge_type}"),
        Command::MoveEdge { .. } => "Move an edge".to_owned(),
        Command::DeleteEdge { .. } => "Delete an edge".to_owned(),
        Command::SetEdgeProperties { .. } => "Change an edge".to_owned(),
        Command::PutSetting { setting, .. } => format!("Change setting {setting}"),
        Command::AdmitMember { member, name } => {
            format!("Admit {}", name.as_ref().map_or_else(|| member.short(), ToString::to_string))
        }
        Command::RemoveMember { member, .. } => format!("Remove member {}", member.short()),
        Command::EditText { record, table, column, .. }
        | Command::SetText { record, table, column, .. }
        | Command::EditSequence { record, table, column, .. }
        | Command::ApplyUpdate { record, table, column, .. } => {
            format!("Edit {column} of {}", known(table, *record)?)
        }
        Command::NameActor { name, .. } => format!("Name an actor {name}"),
        Command::Resolve { cell, .. } => format!("Resolve {}", cell_on(view, cell)?),
        Command::Undo { .. } => "Undo".to_owned(),
        Command::Redo { .. } => "Redo".to_owned(),
        Command::MergeRecords { records } => merge_label(view, records)?,
        Command::SplitRecord { record, ids } => split_label(view, *record, ids)?,
        Command::SplitOff { record, tables, .. } => {
            let tables: Vec<&str> = tables.iter().map(Name::as_str).collect();
            format!("Split {} off from {}", tables.join(", "), called(view, *record)?)
        }
        Command::ConfirmMapping { one, other } => format!("Map {one} to {other}"),
        Command::RejectMapping { one, other } => format!("Reject the mapping of {one} to {other}"),
        Command::RevokeMapping { one, other } => format!("Revoke the mapping of {one} to {other}"),
        Command::CommitOverlay { .. } => "Commit an overlay".to_owned(),
        Command::DeleteAsset { hash, .. } => format!("Delete file {}", hash.short()),
        Command::RestoreAsset { hash } => format!("Restore file {}", hash.short()),
    })
}

fn merge_label(view: &dyn View, records: &[EntityId]) -> Read<String> {
    const NAMED: usize = 3;
    let names = records.iter().take(NAMED).map(|record| called(view, *record)).collect::<Read<Vec<_>>>()?;
    let Some((first, rest)) = names.split_first() else { return Ok("Merge records".to_owned()) };
    let more = if records.len() > NAMED { format!(" and {} more", records.len() - NAMED) } else { String::new() };
    Ok(format!("Merge {first} with {}{more}", rest.join(", ")))
}

fn split_label(view: &dyn View, record: EntityId, ids: &[EntityId]) -> Read<String> {
    let whole = called(view, record)?;
    Ok(match ids {
        [one] => format!("Split record {one} from {whole}"),
        several => format!("Split {} ids from {whole}", several.len()),
    })
}

/// A record by its name alone, as it is called in the first of its tables that gives it one.
pub fn called(view: &dyn View, entity: EntityId) -> Read<String> {
    for table in read::tables_of(view, entity)? {
        let Some(table) = read::table_of_key(view, &table)? else { continue };
        for column in table.visible() {
            if let Some(name) = read::field(view, &table.key, entity, &column.key)?.value {
                return Ok(value(&name).trim_matches('"').to_owned());
            }
        }
    }
    Ok(format!("record {entity}"))
}

fn known(view: &dyn View, tables: &[(Name, Arc<Table>)], named: &Name, entity: EntityId) -> Read<String> {
    if let Some((_, table)) = tables.iter().find(|(name, _)| name == named) {
        return record(view, table, entity);
    }
    match read::table(view, named)? {
        Some(table) => record(view, &table, entity),
        None => Ok(format!("record {entity}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!([0, 1023, 1024, 1536, 5 << 20].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
