//! A table as the command line knows it: its columns with their types, the values that people type, the records they
//! mean.

use jiff::SignedDuration;
use openprod_client::{Workspace, v1};
use openprod_domain::describe::suggestion;
use openprod_domain::edits;
use openprod_domain::text::Kind;
use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Name, Value};

use super::context::{SHORTEST_PREFIX, parsed};
use super::error::CliError;
use super::json::text_of;
use crate::sheet::cell::{format_value, parse_value};

/// A table with typed columns.
#[derive(Debug, Clone)]
pub struct KnownTable {
    /// Its key.
    pub key: Name,
    /// The name that people see.
    pub name: String,
    /// Its columns in the order in which they are shown, hidden ones included.
    pub columns: Vec<KnownColumn>,
}

/// A column with its type.
#[derive(Debug, Clone)]
pub struct KnownColumn {
    /// Its key.
    pub key: Name,
    /// The name that people see.
    pub name: String,
    /// The type of its fields.
    pub field_type: FieldType,
    /// Whether it is left out where all columns are shown.
    pub hidden: bool,
}

impl KnownTable {
    /// Asks the node.
    pub async fn read(workspace: &Workspace, table: &str) -> Result<Self, CliError> {
        Self::of(&workspace.table(table).await?)
    }

    /// What the node told.
    pub fn of(table: &v1::Table) -> Result<Self, CliError> {
        let columns = table.columns.iter().map(known_column).collect::<Result<_, _>>()?;
        Ok(Self { key: name(&table.key)?, name: table.name.clone(), columns })
    }

    /// The column of that name or key.
    pub fn column(&self, wanted: &str) -> Result<&KnownColumn, CliError> {
        let named = self.columns.iter().find(|column| column.name == wanted);
        named.or_else(|| self.columns.iter().find(|column| column.key.as_str() == wanted)).ok_or_else(|| {
            let next = suggestion(wanted, self.columns.iter().map(|column| column.name.as_str()), "column");
            CliError::failed(format!("{} has no column \"{wanted}\".", self.name)).next(next)
        })
    }

    /// What the fields of the column of that key are made of, if they are edited and not set.
    pub fn merges(&self, key: &Name) -> Option<Kind> {
        let column = self.columns.iter().find(|column| column.key == *key)?;
        edits::kind_of(&column.field_type).map(|(kind, _)| kind)
    }

    /// The columns of those keys; those that are not hidden, if there are none.
    pub fn shown(&self, keys: &[String]) -> Vec<&KnownColumn> {
        if keys.is_empty() {
            return self.columns.iter().filter(|column| !column.hidden).collect();
        }
        keys.iter().filter_map(|key| self.columns.iter().find(|column| column.key.as_str() == key)).collect()
    }

    /// The values of `column=value` words; nothing behind the sign clears the field.
    pub async fn values(
        &self,
        workspace: &Workspace,
        words: &[String],
    ) -> Result<Vec<(Name, Option<Value>)>, CliError> {
        let mut values = Vec::new();
        for word in words {
            let (column, text) = split(word)?;
            let column = self.column(column)?;
            values.push((column.key.clone(), column.value(workspace, text).await?));
        }
        Ok(values)
    }

    /// The record that people mean: by its id, the value of its first column, or the beginning of its id.
    pub async fn record(&self, workspace: &Workspace, wanted: &str) -> Result<EntityId, CliError> {
        if let Ok(record) = wanted.parse() {
            return Ok(record);
        }
        let mut meant = self.called(workspace, wanted).await?;
        if meant.is_empty() && may_begin_an_id(wanted) {
            meant = self.beginning_with(workspace, &wanted.to_lowercase()).await?;
        }
        self.only(wanted, &meant)
    }

    /// The records whose first column shows this.
    async fn called(&self, workspace: &Workspace, wanted: &str) -> Result<Vec<String>, CliError> {
        let Some(first) = self.shown(&[]).first().copied() else { return Ok(Vec::new()) };
        let Ok(Some(value)) = parse_value(wanted, &first.field_type) else { return Ok(Vec::new()) };
        let question = v1::QueryRequest {
            table: self.key.to_string(),
            query: equality(&first.key, &value),
            columns: vec![first.key.to_string()],
            ..Default::default()
        };
        let mut records = workspace.pages(question).all().await?;
        // Other values may be equal, such as the same instant in another time zone.
        let shown = |record: &v1::Record| record.fields.first().and_then(|field| field.value.as_ref()).map(text_of);
        records.retain(|record| shown(record).is_some_and(|text| text == wanted));
        Ok(records.into_iter().map(|record| record.id).collect())
    }

    /// The records whose ids begin so.
    async fn beginning_with(&self, workspace: &Workspace, beginning: &str) -> Result<Vec<String>, CliError> {
        // Any one column will do: it is about the ids.
        let columns = self.columns.iter().take(1).map(|column| column.key.to_string()).collect();
        let question = v1::ListRecordsRequest { table: self.key.to_string(), columns, ..Default::default() };
        let mut records = workspace.pages(question).all().await?;
        records.retain(|record| record.id.starts_with(beginning));
        Ok(records.into_iter().map(|record| record.id).collect())
    }

    fn only(&self, wanted: &str, meant: &[String]) -> Result<EntityId, CliError> {
        const LISTED: usize = 4;
        match meant {
            [only] => parsed(only),
            [] => Err(CliError::failed(format!("{} has no record \"{wanted}\".", self.name)).next(format!(
                "Name one by the value of its first column, or by its id: `openprod records \"{}\"` lists them.",
                self.name
            ))),
            several => {
                let more = if several.len() > LISTED { ", ..." } else { "" };
                let listed = several[..several.len().min(LISTED)].join(", ");
                Err(CliError::failed(format!("{} has {} records \"{wanted}\".", self.name, several.len()))
                    .affected(format!("They are: {listed}{more}."))
                    .next("Name one by its id."))
            }
        }
    }
}

impl KnownColumn {
    /// Reads a value of this column. A reference may be given by the other record's name, a file as `@` and its path.
    pub async fn value(&self, workspace: &Workspace, text: &str) -> Result<Option<Value>, CliError> {
        let wrong = |why: String| CliError::failed(format!("{}: {why}", self.name)).affected("Nothing was changed.");
        let read = parse_value(text, &self.field_type).map_err(wrong);
        match (&self.field_type, read) {
            // A file of this computer goes to the node, and the field refers to it.
            (FieldType::Blob, Err(_)) if text.starts_with('@') => {
                Ok(Some(Value::Blob(super::blobs::put(workspace, std::path::Path::new(&text[1..])).await?)))
            }
            (FieldType::Reference { table: Some(table) }, Err(_)) => {
                let table = Box::pin(KnownTable::read(workspace, table.as_str())).await?;
                let record = Box::pin(table.record(workspace, text)).await?;
                Ok(Some(Value::Entity(record)))
            }
            (_, read) => read,
        }
    }
}

fn known_column(column: &v1::Column) -> Result<KnownColumn, CliError> {
    let field_type = FieldType::try_from(column.r#type.clone().unwrap_or_default())?;
    Ok(KnownColumn { key: name(&column.key)?, name: column.name.clone(), field_type, hidden: column.hidden })
}

/// A name that a person typed.
pub fn name(text: &str) -> Result<Name, CliError> {
    Name::new(text).map_err(|invalid| CliError::usage(format!("\"{text}\" cannot be a name: {invalid}.")))
}

/// `column=value`, at the first sign.
pub fn split(word: &str) -> Result<(&str, &str), CliError> {
    word.split_once('=').ok_or_else(|| {
        CliError::usage(format!("\"{word}\" sets nothing.")).next("Write column=value; column= clears the field.")
    })
}

/// A value without a column to say its type: `name=text`, or `name:type=value`.
pub fn untyped(word: &str) -> Result<(Name, Option<Value>), CliError> {
    let (left, text) = split(word)?;
    let (named, field_type) = match left.rsplit_once(':') {
        Some((named, of)) => (named, super::columns::field_type(of)?),
        None => (left, FieldType::Text),
    };
    let value = parse_value(text, &field_type).map_err(|why| CliError::usage(format!("{named}: {why}")))?;
    Ok((name(named)?, value))
}

/// A record anywhere: its id, or `table/record`.
pub async fn anywhere(workspace: &Workspace, wanted: &str) -> Result<EntityId, CliError> {
    if let Ok(record) = wanted.parse() {
        return Ok(record);
    }
    let Some((table, record)) = wanted.split_once('/') else {
        return Err(CliError::usage(format!("\"{wanted}\" is not the id of a record."))
            .next("Write its id, or its table and its name, as in \"cues/LX 12\"."));
    };
    KnownTable::read(workspace, table).await?.record(workspace, record).await
}

fn may_begin_an_id(wanted: &str) -> bool {
    wanted.len() >= SHORTEST_PREFIX && wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// The query for the records whose column holds this value; for all records, if a query cannot say the value.
fn equality(column: &Name, value: &Value) -> String {
    let literal = match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{:?}", number.as_f64()),
        Value::Boolean(yes) => yes.to_string(),
        Value::Text(_) | Value::Enum(_) | Value::Date(_) | Value::DateTime(_) | Value::Entity(_) => {
            format!("\"{}\"", format_value(value).replace('\\', r"\\").replace('"', r#"\""#))
        }
        Value::Duration(length) => format!("\"{}\"", SignedDuration::from_millis(length.ms)),
        Value::Blob(_) | Value::List(_) | Value::FieldRef(_) => return String::new(),
    };
    format!("`{}` == {literal}", column.as_str().replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_a_column_is_text_unless_its_type_is_said() {
        assert_eq!(untyped("note=a=b").unwrap().1, Some(Value::text("a=b").unwrap()));
        assert_eq!(untyped("count:integer=3").unwrap().1, Some(Value::Integer(3)));
        assert_eq!(untyped("note=").unwrap().1, None);
        assert!(untyped("count:integer=three").is_err() && untyped("note").is_err());
    }

    #[test]
    fn a_name_of_any_type_becomes_a_question() {
        let asked = |of: FieldType, text: &str| {
            let value = parse_value(text, &of).unwrap().unwrap();
            equality(&name("Cue `#`").unwrap(), &value)
        };
        assert_eq!(asked(FieldType::Text, r#"the "LX\12" cue"#), r#"`Cue ``#``` == "the \"LX\\12\" cue""#);
        assert_eq!(asked(FieldType::Integer, "12"), "`Cue ``#``` == 12");
        assert_eq!(asked(FieldType::Float, "1e300"), "`Cue ``#``` == 1e300");
        assert_eq!(asked(FieldType::Duration, "1:30:00"), "`Cue ``#``` == \"PT1H30M\"");
        for (of, text) in [
            (FieldType::Text, "LX 12\n\\"),
            (FieldType::Boolean, "true"),
            (FieldType::Date, "2026-05-01"),
            (FieldType::DateTime, "2026-05-01T18:00:00.5+02:00"),
            (FieldType::Duration, "-0:00:01.5"),
        ] {
            openprod_domain::query::Query::parse(&asked(of, text)).unwrap();
        }
    }
}
