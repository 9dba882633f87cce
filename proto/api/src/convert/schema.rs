//! Types of fields, columns and changes of tables from and to messages.

use openprod_domain::command::{NewColumn, TableChange};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldType, Name, PrimitiveType, Value};

use super::path::{each, known, name, optional_name, optional_part, or_empty, part, required, required_part, text};
use crate::v1;

impl From<&FieldType> for v1::FieldType {
    fn from(field_type: &FieldType) -> Self {
        let plain = |data: v1::DataType| Self { r#type: data.into(), ..Self::default() };
        match field_type {
            FieldType::Text => plain(v1::DataType::Text),
            FieldType::Integer => plain(v1::DataType::Integer),
            FieldType::Float => plain(v1::DataType::Float),
            FieldType::Boolean => plain(v1::DataType::Boolean),
            FieldType::Date => plain(v1::DataType::Date),
            FieldType::DateTime => plain(v1::DataType::Datetime),
            FieldType::Duration => plain(v1::DataType::Duration),
            FieldType::Blob => plain(v1::DataType::Blob),
            FieldType::Enum { values } => Self { enum_values: strings(values), ..plain(v1::DataType::Enum) },
            FieldType::Reference { table } => {
                Self { reference_table: or_empty(table.as_ref()), ..plain(v1::DataType::Reference) }
            }
            FieldType::List { item } => Self { item: item_type(*item).into(), ..plain(v1::DataType::List) },
            FieldType::Document => plain(v1::DataType::Document),
            FieldType::Sequence { item } => Self { item: item_type(*item).into(), ..plain(v1::DataType::Sequence) },
        }
    }
}

impl TryFrom<v1::FieldType> for FieldType {
    type Error = Refusal;
    fn try_from(field_type: v1::FieldType) -> Result<Self, Refusal> {
        let data = known(field_type.r#type, "type")?;
        check_extras(&field_type, data)?;
        Ok(match data {
            v1::DataType::Unspecified => return Err(lacks_type("type")),
            v1::DataType::Text => Self::Text,
            v1::DataType::Integer => Self::Integer,
            v1::DataType::Float => Self::Float,
            v1::DataType::Boolean => Self::Boolean,
            v1::DataType::Date => Self::Date,
            v1::DataType::Datetime => Self::DateTime,
            v1::DataType::Duration => Self::Duration,
            v1::DataType::Blob => Self::Blob,
            v1::DataType::Enum => Self::Enum { values: names(&field_type.enum_values, "enum_values")? },
            v1::DataType::Reference => {
                Self::Reference { table: optional_name(&field_type.reference_table, "reference_table")? }
            }
            v1::DataType::List => Self::List { item: item_of(known(field_type.item, "item")?)? },
            v1::DataType::Document => Self::Document,
            v1::DataType::Sequence => Self::Sequence { item: item_of(known(field_type.item, "item")?)? },
        })
    }
}

/// Refuses what only another type has.
fn check_extras(field_type: &v1::FieldType, data: v1::DataType) -> Result<(), Refusal> {
    let extras = [
        (!field_type.enum_values.is_empty(), v1::DataType::Enum, "enum_values", "an enum"),
        (!field_type.reference_table.is_empty(), v1::DataType::Reference, "reference_table", "a reference"),
        (field_type.item != 0 && data != v1::DataType::Sequence, v1::DataType::List, "item", "a list or sequence"),
    ];
    match extras.into_iter().find(|(given, of, _, _)| *given && *of != data) {
        Some((_, _, at, what)) => Err(Refusal::new(Reason::InvalidRequest, format!("Only {what} has `{at}`.")).at(at)),
        None => Ok(()),
    }
}

fn item_type(item: PrimitiveType) -> v1::DataType {
    match item {
        PrimitiveType::Text => v1::DataType::Text,
        PrimitiveType::Integer => v1::DataType::Integer,
        PrimitiveType::Float => v1::DataType::Float,
        PrimitiveType::Boolean => v1::DataType::Boolean,
        PrimitiveType::Date => v1::DataType::Date,
        PrimitiveType::DateTime => v1::DataType::Datetime,
        PrimitiveType::Duration => v1::DataType::Duration,
    }
}

fn item_of(data: v1::DataType) -> Result<PrimitiveType, Refusal> {
    Ok(match data {
        v1::DataType::Text => PrimitiveType::Text,
        v1::DataType::Integer => PrimitiveType::Integer,
        v1::DataType::Float => PrimitiveType::Float,
        v1::DataType::Boolean => PrimitiveType::Boolean,
        v1::DataType::Date => PrimitiveType::Date,
        v1::DataType::Datetime => PrimitiveType::DateTime,
        v1::DataType::Duration => PrimitiveType::Duration,
        v1::DataType::Unspecified => return Err(lacks_type("item")),
        v1::DataType::Enum
        | v1::DataType::Reference
        | v1::DataType::Blob
        | v1::DataType::List
        | v1::DataType::Document
        | v1::DataType::Sequence => {
            let message = "The items of a list may be neither enums, references, files nor lists.";
            return Err(Refusal::new(Reason::InvalidRequest, message).at("item"));
        }
    })
}

fn lacks_type(at: &str) -> Refusal {
    Refusal::new(Reason::InvalidRequest, format!("The request lacks `{at}`."))
        .at(at)
        .next("Name a type, such as DATA_TYPE_TEXT.")
}

fn strings(names: &[Name]) -> Vec<String> {
    names.iter().map(Name::to_string).collect()
}

fn names(texts: &[String], at: &str) -> Result<Vec<Name>, Refusal> {
    each(texts, at, |text| name(text, ""))
}

impl From<&NewColumn> for v1::NewColumn {
    fn from(column: &NewColumn) -> Self {
        Self {
            name: column.name.to_string(),
            r#type: Some((&column.field_type).into()),
            required: column.required,
            default: column.default.as_ref().map(v1::Value::from),
        }
    }
}

impl TryFrom<v1::NewColumn> for NewColumn {
    type Error = Refusal;
    fn try_from(column: v1::NewColumn) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&column.name, "name")?,
            field_type: required_part(column.r#type, "type")?,
            required: column.required,
            default: optional_part(column.default, "default")?,
        })
    }
}

impl From<&TableChange> for v1::TableChange {
    fn from(change: &TableChange) -> Self {
        use v1::table_change as api;
        use v1::table_change::Kind;
        let kind = match change {
            TableChange::Rename { name } => Kind::Rename(api::Rename { name: name.to_string() }),
            TableChange::Describe { description } => {
                Kind::Describe(api::Describe { description: description.to_string() })
            }
            TableChange::AddColumn(column) => Kind::AddColumn(column.into()),
            TableChange::RenameColumn { column, name } => {
                Kind::RenameColumn(api::RenameColumn { column: column.to_string(), name: name.to_string() })
            }
            TableChange::MoveColumn { column, before } => {
                Kind::MoveColumn(api::MoveColumn { column: column.to_string(), before: or_empty(before.as_ref()) })
            }
            TableChange::HideColumn { column } => Kind::HideColumn(api::HideColumn { column: column.to_string() }),
            TableChange::ShowColumn { column } => Kind::ShowColumn(api::ShowColumn { column: column.to_string() }),
            TableChange::WidenEnum { column, values } => {
                Kind::WidenEnum(api::WidenEnum { column: column.to_string(), values: strings(values) })
            }
            TableChange::Require { column, required } => {
                Kind::Require(api::Require { column: column.to_string(), required: *required })
            }
            TableChange::SetDefault { column, default } => {
                let default = default.as_ref().map(v1::Value::from);
                Kind::SetDefault(api::SetDefault { column: column.to_string(), default })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::TableChange> for TableChange {
    type Error = Refusal;
    fn try_from(change: v1::TableChange) -> Result<Self, Refusal> {
        use v1::table_change::Kind;
        match required(change.kind, "kind")? {
            Kind::Rename(change) => part(change, "rename"),
            Kind::Describe(change) => part(change, "describe"),
            Kind::AddColumn(column) => part(column, "add_column").map(Self::AddColumn),
            Kind::RenameColumn(change) => part(change, "rename_column"),
            Kind::MoveColumn(change) => part(change, "move_column"),
            Kind::HideColumn(change) => part(change, "hide_column"),
            Kind::ShowColumn(change) => part(change, "show_column"),
            Kind::WidenEnum(change) => part(change, "widen_enum"),
            Kind::Require(change) => part(change, "require"),
            Kind::SetDefault(change) => part(change, "set_default"),
        }
    }
}

/// Each kind of change: its message, and how it becomes a change.
macro_rules! changes {
    ($($message:ident($change:ident) => $made:expr;)*) => {$(
        impl TryFrom<v1::table_change::$message> for TableChange {
            type Error = Refusal;
            fn try_from($change: v1::table_change::$message) -> Result<Self, Refusal> {
                Ok($made)
            }
        }
    )*};
}

changes! {
    Rename(change) => Self::Rename { name: name(&change.name, "name")? };
    Describe(change) => Self::Describe { description: text(&change.description, "description")? };
    RenameColumn(change) => Self::RenameColumn { column: column(&change.column)?, name: name(&change.name, "name")? };
    MoveColumn(change) => Self::MoveColumn {
        column: column(&change.column)?,
        before: optional_name(&change.before, "before")?,
    };
    HideColumn(change) => Self::HideColumn { column: column(&change.column)? };
    ShowColumn(change) => Self::ShowColumn { column: column(&change.column)? };
    WidenEnum(change) => Self::WidenEnum { column: column(&change.column)?, values: names(&change.values, "values")? };
    Require(change) => Self::Require { column: column(&change.column)?, required: change.required };
    SetDefault(change) => Self::SetDefault {
        column: column(&change.column)?,
        default: optional_part::<_, Value>(change.default, "default")?,
    };
}

fn column(column: &str) -> Result<Name, Refusal> {
    name(column, "column")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    proptest! {
        #[test]
        fn every_type_comes_back(field_type in samples::field_type()) {
            prop_assert_eq!(FieldType::try_from(v1::FieldType::from(&field_type)), Ok(field_type));
        }
    }

    #[test]
    fn a_type_with_parts_of_another_is_refused() {
        let wrong = v1::FieldType {
            r#type: v1::DataType::Text.into(),
            reference_table: "people".into(),
            ..v1::FieldType::default()
        };
        assert_eq!(FieldType::try_from(wrong).unwrap_err().at, "reference_table");
    }

    #[test]
    fn a_number_of_a_newer_version_is_refused() {
        let newer = v1::FieldType { r#type: 99, ..v1::FieldType::default() };
        assert_eq!(FieldType::try_from(newer).unwrap_err().at, "type");
    }

    #[test]
    fn a_list_of_lists_is_refused() {
        let list: i32 = v1::DataType::List.into();
        let nested = v1::FieldType { r#type: list, item: list, ..v1::FieldType::default() };
        assert_eq!(FieldType::try_from(nested).unwrap_err().at, "item");
    }
}
