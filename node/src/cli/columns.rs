//! Columns as they are typed: `name:type[:required][=default]`.

use openprod_domain::command::NewColumn;
use openprod_domain::describe::suggestion;
use openprod_model::value::{FieldType, Name, PrimitiveType};

use super::error::CliError;
use super::known::name;
use crate::sheet::cell::parse_value;

/// What can be written, for help texts.
pub const TYPES: &str = "Types: text, integer, float, boolean, date, datetime, duration, enum(a,b,c), \
                         reference or reference(table), blob, list(type)";

const WORDS: &[&str] = &[
    "text",
    "integer",
    "float",
    "boolean",
    "date",
    "datetime",
    "duration",
    "enum",
    "reference",
    "blob",
    "list",
    "document",
    "sequence",
];

/// Reads a column.
pub fn column(text: &str) -> Result<NewColumn, CliError> {
    let (named, rest) = text.split_at(text.find([':', '=']).unwrap_or(text.len()));
    let (of, rest) = rest.strip_prefix(':').map_or(("text", rest), |rest| rest.split_at(end_of_type(rest)));
    let (required, rest) = rest.strip_prefix(":required").map_or((false, rest), |rest| (true, rest));
    let default = match rest {
        "" => None,
        rest => Some(rest.strip_prefix('=').ok_or_else(|| malformed(text))?),
    };
    let (name, field_type) = (name(named)?, field_type(of)?);
    let wrong = |why| CliError::usage(format!("{name}: the default: {why}"));
    let default = default.map_or(Ok(None), |text| parse_value(text, &field_type)).map_err(wrong)?;
    Ok(NewColumn { name, field_type, required, default })
}

fn end_of_type(rest: &str) -> usize {
    let bare = rest.find([':', '=']).unwrap_or(rest.len());
    match rest.find('(') {
        Some(open) if open < bare => rest.find(')').map_or(rest.len(), |close| close + 1),
        _ => bare,
    }
}

/// Reads a type, such as `enum(a,b,c)`.
pub fn field_type(text: &str) -> Result<FieldType, CliError> {
    let (word, inside) = match text.split_once('(') {
        Some((word, rest)) => (word, Some(rest.strip_suffix(')').ok_or_else(|| malformed(text))?)),
        None => (text, None),
    };
    Ok(match (word.trim(), inside) {
        ("enum", Some(values)) => FieldType::Enum { values: values.split(',').map(name).collect::<Result<_, _>>()? },
        ("enum", None) => return Err(CliError::usage("An enum needs its values, as in enum(open,closed).")),
        ("reference", table) => FieldType::Reference { table: table.map(name).transpose()? },
        ("list", item) => FieldType::List { item: primitive(item.unwrap_or("text"))? },
        ("sequence", item) => FieldType::Sequence { item: primitive(item.unwrap_or("text"))? },
        ("document", None) => FieldType::Document,
        ("blob", None) => FieldType::Blob,
        (word, None) => primitive(word)?.into(),
        _ => return Err(malformed(text)),
    })
}

fn primitive(word: &str) -> Result<PrimitiveType, CliError> {
    Ok(match word.trim() {
        "text" => PrimitiveType::Text,
        "integer" => PrimitiveType::Integer,
        "float" => PrimitiveType::Float,
        "boolean" => PrimitiveType::Boolean,
        "date" => PrimitiveType::Date,
        "datetime" => PrimitiveType::DateTime,
        "duration" => PrimitiveType::Duration,
        other => {
            let next = suggestion(other, WORDS.iter().copied(), "type");
            return Err(CliError::usage(format!("There is no type \"{other}\".")).next(next));
        }
    })
}

fn malformed(text: &str) -> CliError {
    CliError::usage(format!("\"{text}\" is not a column.")).next("Write name:type[:required][=default].")
}

/// A type as it is typed.
pub fn words(field_type: &FieldType) -> String {
    match field_type {
        FieldType::Enum { values } => {
            format!("enum({})", values.iter().map(Name::as_str).collect::<Vec<_>>().join(","))
        }
        FieldType::Reference { table: Some(table) } => format!("reference({table})"),
        FieldType::List { item } => format!("list({})", item.word()),
        FieldType::Sequence { item } => format!("sequence({})", item.word()),
        other => other.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::value::Value;

    use super::*;

    #[test]
    fn columns_are_read_as_typed() {
        let plain = column("label").unwrap();
        assert_eq!((plain.field_type, plain.required, plain.default), (FieldType::Text, false, None));
        let number = column("number:integer:required=1").unwrap();
        assert_eq!((number.field_type, number.required), (FieldType::Integer, true));
        assert_eq!(number.default, Some(Value::Integer(1)));
        let state = column("state:enum(open,in work,closed)=in work").unwrap();
        assert_eq!(words(&state.field_type), "enum(open,in work,closed)");
        assert_eq!(state.default.map(|value| crate::sheet::cell::format_value(&value)), Some("in work".to_owned()));
        assert_eq!(words(&column("who:reference(people):required").unwrap().field_type), "reference(people)");
    }

    #[test]
    fn what_is_no_column_is_refused() {
        for text in ["n:integr", "n:enum", "n:enum(a", "n:text:needed", "n:integer=one", ":text", "n:date(x)"] {
            assert!(column(text).is_err(), "{text}");
        }
    }
}
