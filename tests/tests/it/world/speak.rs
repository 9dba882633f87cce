//! Words of the API in short: values, rows, columns, commands, and how values are read aloud.

use openprod_client::v1::command::Kind;
use openprod_client::v1::value::Kind as Value;
use openprod_client::{Change, v1};

/// An id that nobody has used yet.
pub(crate) fn fresh_id() -> String {
    Change::new(Vec::<v1::Command>::new()).command_id().to_string()
}

/// A value, made of what Rust has for it.
pub(crate) fn value(of: impl Into<Is>) -> v1::Value {
    of.into().0
}

/// What converts into a value.
pub(crate) struct Is(pub(crate) v1::Value);

macro_rules! is {
    ($($from:ty => $kind:ident;)*) => {$(
        impl From<$from> for Is {
            fn from(value: $from) -> Self {
                Self(v1::Value { kind: Some(Value::$kind(value.into())) })
            }
        }
    )*};
}

is! {
    &str => Text;
    String => Text;
    i64 => Integer;
    i32 => Integer;
    f64 => Float;
    bool => Boolean;
    v1::Date => Date;
    v1::List => List;
}

impl From<v1::Value> for Is {
    fn from(value: v1::Value) -> Self {
        Self(value)
    }
}

/// One of an enum's values.
pub(crate) fn one_of(word: &str) -> v1::Value {
    v1::Value { kind: Some(Value::Enum(word.to_owned())) }
}

/// `row!["label" => "Dawn", "page" => 3]`
macro_rules! row {
    ($($column:literal => $value:expr),* $(,)?) => {
        vec![$($crate::world::set_to($column, $value)),*]
    };
}
pub(crate) use row;

/// A column and its value.
pub(crate) fn set_to(column: &str, to: impl Into<Is>) -> v1::FieldValue {
    v1::FieldValue { column: column.to_owned(), value: Some(value(to)) }
}

/// A column without a value.
pub(crate) fn cleared(column: &str) -> v1::FieldValue {
    v1::FieldValue { column: column.to_owned(), value: None }
}

/// A value read aloud.
pub(crate) fn aloud(value: Option<&v1::Value>) -> String {
    match value.and_then(|value| value.kind.as_ref()) {
        None => "nothing".to_owned(),
        Some(Value::Text(text) | Value::Enum(text) | Value::Entity(text)) => text.clone(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Boolean(yes)) => yes.to_string(),
        Some(other) => format!("{other:?}"),
    }
}

/// A column as in "page integer", "label text required", "state enum on|off", "lead reference people", "tags list text".
pub(crate) fn column(words: &str) -> v1::NewColumn {
    use v1::DataType as T;
    let mut words: Vec<&str> = words.split(' ').collect();
    let required = words.pop_if(|last| *last == "required").is_some();
    let (name, kind, more) = (words[0], words[1], words.get(2).copied().unwrap_or_default());
    let of = |kind| match kind {
        "text" => T::Text,
        "integer" => T::Integer,
        "float" => T::Float,
        "boolean" => T::Boolean,
        "date" => T::Date,
        "datetime" => T::Datetime,
        "duration" => T::Duration,
        "enum" => T::Enum,
        "reference" => T::Reference,
        "blob" => T::Blob,
        "list" => T::List,
        "document" => T::Document,
        "sequence" => T::Sequence,
        other => panic!("{other} is no type"),
    };
    let mut field = v1::FieldType { r#type: of(kind).into(), ..Default::default() };
    match kind {
        "enum" => field.enum_values = more.split('|').map(str::to_owned).collect(),
        "reference" => more.clone_into(&mut field.reference_table),
        "list" | "sequence" => field.item = of(more).into(),
        _ => {}
    }
    v1::NewColumn { name: name.to_owned(), r#type: Some(field), required, default: None }
}

fn said(kind: Kind) -> v1::Command {
    v1::Command { kind: Some(kind) }
}

/// A table with these columns.
pub(crate) fn create_table(name: &str, columns: &[&str]) -> v1::Command {
    let columns = columns.iter().map(|words| column(words)).collect();
    said(Kind::CreateTable(v1::CreateTable { name: name.to_owned(), description: String::new(), columns }))
}

/// Changes of a table.
pub(crate) fn alter_table(table: &str, changes: Vec<v1::table_change::Kind>) -> v1::Command {
    let changes = changes.into_iter().map(|kind| v1::TableChange { kind: Some(kind) }).collect();
    said(Kind::AlterTable(v1::AlterTable { table: table.to_owned(), changes }))
}

/// A table is hidden.
pub(crate) fn drop_table(table: &str) -> v1::Command {
    said(Kind::DropTable(v1::DropTable { table: table.to_owned() }))
}

/// A record.
pub(crate) fn create_record(record: &str, table: &str, values: Vec<v1::FieldValue>) -> v1::Command {
    said(Kind::CreateRecord(v1::CreateRecord { record: record.to_owned(), table: table.to_owned(), values }))
}

/// A record in one more table.
pub(crate) fn add_to_table(record: &str, table: &str, values: Vec<v1::FieldValue>) -> v1::Command {
    said(Kind::AddToTable(v1::AddToTable { record: record.to_owned(), table: table.to_owned(), values }))
}

/// A record out of a table.
pub(crate) fn remove_from_table(record: &str, table: &str) -> v1::Command {
    said(Kind::RemoveFromTable(v1::RemoveFromTable { record: record.to_owned(), table: table.to_owned() }))
}

/// A record out of all tables.
pub(crate) fn delete_record(record: &str) -> v1::Command {
    said(Kind::DeleteRecord(v1::DeleteRecord { record: record.to_owned() }))
}

/// Fields of a record.
pub(crate) fn set_fields(record: &str, table: &str, values: Vec<v1::FieldValue>) -> v1::Command {
    said(Kind::SetFields(v1::SetFields { record: record.to_owned(), table: table.to_owned(), values }))
}

/// An edge.
pub(crate) fn create_edge(kind: &str, source: &str, target: &str, place: Option<v1::Place>) -> v1::Command {
    said(Kind::CreateEdge(v1::CreateEdge {
        edge: String::new(),
        r#type: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        properties: Vec::new(),
        place,
    }))
}

/// An ordered edge goes elsewhere.
pub(crate) fn move_edge(edge: &str, place: v1::Place) -> v1::Command {
    said(Kind::MoveEdge(v1::MoveEdge { edge: edge.to_owned(), place: Some(place) }))
}

/// An edge goes.
pub(crate) fn delete_edge(edge: &str) -> v1::Command {
    said(Kind::DeleteEdge(v1::DeleteEdge { edge: edge.to_owned() }))
}

/// Properties of an edge.
pub(crate) fn set_edge_properties(edge: &str, property: &str, to: Option<v1::Value>) -> v1::Command {
    let values = vec![v1::PropertyValue { property: property.to_owned(), value: to }];
    said(Kind::SetEdgeProperties(v1::SetEdgeProperties { edge: edge.to_owned(), values }))
}

/// A setting.
pub(crate) fn put_setting(setting: &str, to: Option<v1::Value>) -> v1::Command {
    said(Kind::PutSetting(v1::PutSetting { setting: setting.to_owned(), value: to }))
}

/// A member comes.
pub(crate) fn admit_member(member: &str, name: &str) -> v1::Command {
    said(Kind::AdmitMember(v1::AdmitMember { member: member.to_owned(), name: Some(name.to_owned()) }))
}

/// A member goes.
pub(crate) fn remove_member(member: &str, why: &str) -> v1::Command {
    said(Kind::RemoveMember(v1::RemoveMember { member: member.to_owned(), why: why.to_owned() }))
}

/// An actor's name.
pub(crate) fn name_actor(actor: &str, name: &str) -> v1::Command {
    said(Kind::NameActor(v1::NameActor { actor: actor.to_owned(), name: name.to_owned() }))
}

/// A file is deleted for everybody.
pub(crate) fn delete_asset(hash: &str, reason: &str) -> v1::Command {
    said(Kind::DeleteAsset(v1::DeleteAsset { hash: hash.to_owned(), reason: reason.to_owned() }))
}

/// That is taken back.
pub(crate) fn restore_asset(hash: &str) -> v1::Command {
    said(Kind::RestoreAsset(v1::RestoreAsset { hash: hash.to_owned() }))
}

/// A conflict is decided.
pub(crate) fn resolve(conflict: &v1::Conflict, choice: v1::resolve::Choice) -> v1::Command {
    said(Kind::Resolve(v1::Resolve { cell: conflict.cell.clone(), choice: Some(choice) }))
}

/// Before or behind all others.
pub(crate) fn at_end(end: v1::place::End) -> v1::Place {
    v1::Place { at: Some(v1::place::At::End(end.into())) }
}

/// Right before an edge.
pub(crate) fn before(edge: &str) -> v1::Place {
    v1::Place { at: Some(v1::place::At::Before(edge.to_owned())) }
}

/// Right behind an edge.
pub(crate) fn behind(edge: &str) -> v1::Place {
    v1::Place { at: Some(v1::place::At::After(edge.to_owned())) }
}

/// The cell of a field.
pub(crate) fn field_cell(table: &str, record: &str, column: &str) -> v1::Cell {
    let field = v1::cell::Field { table: table.to_owned(), record: record.to_owned(), column: column.to_owned() };
    v1::Cell { kind: Some(v1::cell::Kind::Field(field)) }
}

/// Behind the bundle of that revision.
pub(crate) fn at_revision(revision: u64) -> v1::AsOf {
    v1::AsOf { point: Some(v1::as_of::Point::Revision(revision)) }
}

/// Puts text somewhere.
pub(crate) fn insert(at: u32, text: &str) -> v1::TextEdit {
    let kind = v1::text_edit::Kind::Insert(v1::text_edit::Insert { at, text: text.to_owned() });
    v1::TextEdit { kind: Some(kind) }
}

/// Removes a part of a text.
pub(crate) fn delete(at: u32, length: u32) -> v1::TextEdit {
    v1::TextEdit { kind: Some(v1::text_edit::Kind::Delete(v1::text_edit::Delete { at, length })) }
}

/// Items of text.
pub(crate) fn items(words: &[&str]) -> Vec<v1::Primitive> {
    let item = |word: &&str| v1::Primitive { kind: Some(v1::primitive::Kind::Text((*word).to_owned())) };
    words.iter().map(item).collect()
}
