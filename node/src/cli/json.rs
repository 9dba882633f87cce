//! What the node tells, as JSON for programs and as text for people.

use openprod_client::v1;
use openprod_model::value::{Primitive, Value};
use serde_json::{Map, Value as Json, json};

use crate::sheet::cell::format_value;

/// A value as text. One that this version does not understand is said to be so.
pub fn text_of(value: &v1::Value) -> String {
    Value::try_from(value.clone()).map_or_else(|_| "(a value of a newer version)".to_owned(), |v| format_value(&v))
}

/// A value as JSON: numbers, booleans and lists as such, all else as text.
pub fn value(value: &v1::Value) -> Json {
    match Value::try_from(value.clone()) {
        Ok(Value::Integer(number)) => number.into(),
        Ok(Value::Float(number)) => number.as_f64().into(),
        Ok(Value::Boolean(truth)) => truth.into(),
        Ok(Value::List(list)) => list.items().iter().map(item).collect(),
        Ok(other) => format_value(&other).into(),
        Err(_) => Json::Null,
    }
}

fn item(item: &Primitive) -> Json {
    match item {
        Primitive::Text(text) => text.as_str().into(),
        Primitive::Integer(number) => (*number).into(),
        Primitive::Float(number) => number.as_f64().into(),
        Primitive::Boolean(truth) => (*truth).into(),
        Primitive::Date(date) => format_value(&Value::Date(*date)).into(),
        Primitive::DateTime(at) => format_value(&Value::DateTime(*at)).into(),
        Primitive::Duration(length) => format_value(&Value::Duration(*length)).into(),
    }
}

/// A field as text: flagged where people disagree, or where its reference is broken.
pub fn flagged(field: &v1::FieldReading) -> String {
    let text = field.value.as_ref().map(text_of).unwrap_or_default();
    match (field.in_conflict, field.origin()) {
        (true, _) => format!("{text} (!{})", field.candidate_count).trim_start().to_owned(),
        (false, v1::ValueOrigin::Broken) => "(broken reference)".to_owned(),
        (false, _) => text,
    }
}

/// The names of the fields on which people disagree.
pub fn in_conflict(fields: &[v1::FieldReading]) -> Vec<String> {
    fields.iter().filter(|field| field.in_conflict).map(|field| field.column.clone()).collect()
}

/// Fields by their keys.
pub fn fields(fields: &[v1::FieldReading]) -> Json {
    let pairs = fields.iter().map(|field| (field.column.clone(), field.value.as_ref().map_or(Json::Null, value)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

/// A record.
pub fn record(record: &v1::Record) -> Json {
    json!({
        "id": record.id, "ids": record.ids, "table": record.table, "fields": fields(&record.fields),
        "conflicts": in_conflict(&record.fields), "in_conflict": record.in_conflict,
    })
}

/// A merged record.
pub fn merged(record: &v1::MergedRecord) -> Json {
    json!({"id": record.id, "ids": record.ids, "name": record.name, "tables": record.tables})
}

/// Two records that are not the same.
pub fn merge_exception(pair: &v1::MergeException) -> Json {
    json!({
        "one": pair.one, "one_name": pair.one_name, "other": pair.other, "other_name": pair.other_name,
        "disputed": pair.disputed,
    })
}

/// A pair of columns, and what is said of it.
pub fn mapping(mapping: &v1::Mapping) -> Json {
    let column = |column: &Option<v1::NamedColumn>| {
        let column = column.clone().unwrap_or_default();
        json!({"table": column.table, "column": column.column})
    };
    json!({
        "one": column(&mapping.one), "other": column(&mapping.other), "state": mapping_state(mapping.state()),
        "united": mapping.united,
    })
}

/// What people said of a pair of columns, in a word.
pub fn mapping_state(state: v1::MappingState) -> &'static str {
    match state {
        v1::MappingState::Confirmed => "confirmed",
        v1::MappingState::Rejected => "rejected",
        v1::MappingState::Revoked => "revoked",
        v1::MappingState::Disputed => "disputed",
        v1::MappingState::Unspecified => "",
    }
}

/// An edge.
pub fn edge(edge: &v1::Edge) -> Json {
    let ends = edge.ends.clone().unwrap_or_default();
    json!({
        "id": edge.id, "type": ends.r#type, "source": ends.source, "target": ends.target, "ordered": edge.ordered,
        "properties": fields(&edge.properties), "conflicts": in_conflict(&edge.properties),
        "in_conflict": edge.in_conflict,
    })
}

/// A table.
pub fn table(table: &v1::Table) -> Json {
    let columns: Vec<Json> = table.columns.iter().map(column).collect();
    json!({"key": table.key, "name": table.name, "description": table.description, "columns": columns})
}

fn column(column: &v1::Column) -> Json {
    json!({
        "key": column.key, "name": column.name, "type": type_words(column), "required": column.required,
        "default": column.default.as_ref().map(value), "hidden": column.hidden,
    })
}

/// The type of a column as it is typed.
pub fn type_words(column: &v1::Column) -> String {
    let field_type = column.r#type.clone().unwrap_or_default().try_into();
    field_type.map_or_else(|_| "(a type of a newer version)".to_owned(), |of| super::columns::words(&of))
}

/// A bundle without its changes.
pub fn bundle(bundle: &v1::BundleInfo) -> Json {
    let source = bundle.source.as_ref().filter(|source| source.kind != 0);
    json!({
        "revision": bundle.revision, "bundle_id": bundle.bundle_id, "bundle_digest": bundle.bundle_digest,
        "actor": bundle.actor, "actor_name": bundle.actor_name, "wall_ms": bundle.wall_ms,
        "time_implausible": bundle.time_implausible, "kind": kind_word(bundle), "label": bundle.label,
        "source": source.map(|source| json!({"kind": source.kind, "name": source.name, "hash": source.hash})),
        "undoes": bundle.undoes, "op_count": bundle.op_count, "shown_in_part": bundle.shown_in_part,
    })
}

/// What made a bundle, in a word.
pub fn kind_word(bundle: &v1::BundleInfo) -> &'static str {
    openprod_api::convert::history::bundle_kind_of(bundle.kind)
        .map_or("unknown", openprod_model::bundle::BundleKind::word)
}

/// Who made a bundle: the name, else the beginning of the id.
pub fn who(bundle: &v1::BundleInfo) -> String {
    if bundle.actor_name.is_empty() { bundle.actor.chars().take(8).collect() } else { bundle.actor_name.clone() }
}

/// What a write put into a cell, as text.
pub fn content(content: Option<&v1::CellContent>) -> String {
    use v1::cell_content::Content;
    match content.and_then(|content| content.content.as_ref()) {
        Some(Content::Value(value)) => text_of(value),
        Some(Content::Absent(_)) => "(nothing)".to_owned(),
        Some(Content::Present(_)) => "(present)".to_owned(),
        Some(Content::Edge(ends)) => format!("{} from {} to {}", ends.r#type, ends.source, ends.target),
        Some(Content::Place(_)) => "(a place)".to_owned(),
        Some(Content::Table(spec)) => spec.name.clone(),
        Some(Content::Column(of)) => format!("{} ({})", of.name, type_words(of)),
        Some(Content::Name(name)) => name.clone(),
        Some(Content::Rejected(_)) => "(rejected)".to_owned(),
        Some(Content::Edit(update)) => format!("(an edit of {} bytes)", update.len()),
        None => "(a content of a newer version)".to_owned(),
    }
}

/// What a change did, when it was acknowledged.
pub fn done(done: &v1::ExecuteResponse) -> Json {
    use v1::created::Thing;
    let created = done.created.iter().filter_map(|created| created.thing.as_ref()).map(|thing| match thing {
        Thing::Record(id) => json!({"record": id}),
        Thing::Edge(id) => json!({"edge": id}),
    });
    let skipped = done.skipped.iter().map(|skipped| {
        json!({"bundle": skipped.bundle.as_ref().map(named), "obstacle": skipped.obstacle.as_ref().map(obstacle)})
    });
    let opened: Vec<&str> = done.opened_conflicts.iter().map(|opened| opened.sentence.as_str()).collect();
    json!({
        "revision": done.revision, "bundle_id": done.bundle_id, "bundle_digest": done.bundle_digest,
        "created": created.collect::<Vec<_>>(), "opened_conflicts": opened, "replayed": done.replayed,
        "undone": done.undone.as_ref().map(named), "redone": done.redone.as_ref().map(named),
        "skipped": skipped.collect::<Vec<_>>(),
        "staged": done.staged.as_ref().map(|staged| json!({"overlay": staged.overlay, "generation": staged.generation})),
    })
}

fn named(bundle: &v1::BundleRef) -> Json {
    json!({"bundle_id": bundle.bundle_id, "bundle_digest": bundle.bundle_digest, "label": bundle.label})
}

/// Why a bundle cannot be undone or redone.
pub fn obstacle(obstacle: &v1::UndoObstacle) -> Json {
    let cause = obstacle.cause().as_str_name();
    let cause = cause.strip_prefix("CAUSE_").unwrap_or(cause).to_lowercase();
    json!({"cause": cause, "sentence": obstacle.sentence, "names": obstacle.names})
}
