//! What a workspace holds before an import: the table, its columns as the file calls them, its records.

use std::collections::HashMap;

use openprod_client::{Error, Workspace, v1};
use openprod_domain::describe::{escaped, suggestion};
use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Name, Value};

use super::error::ImportError;

/// How many records are asked for at once.
const PAGE: u32 = 1_000;

/// A table as an import needs to know it.
#[derive(Debug, Clone)]
pub(super) struct Surveyed {
    /// What commands call it.
    pub(super) reference: Name,
    /// The name that people see.
    pub(super) name: String,
    /// Its columns, hidden ones included.
    pub(super) columns: Vec<SurveyedColumn>,
}

/// A column of it.
#[derive(Debug, Clone)]
pub(super) struct SurveyedColumn {
    /// Its key.
    pub(super) key: String,
    /// What commands call it.
    pub(super) reference: Name,
    /// The name that people see.
    pub(super) name: Name,
    /// The type of its fields.
    pub(super) field_type: FieldType,
    /// Whether a record without a value there is refused.
    pub(super) required: bool,
    /// Whether a new record gets a value there by itself.
    pub(super) has_default: bool,
    /// Whether it is left out where all columns are shown.
    pub(super) hidden: bool,
}

/// The values of a record, in the order of the columns asked for.
pub(super) type Values = Vec<Option<Value>>;

/// Finds a table by its name, else by its key, as the node does.
pub(super) fn find(tables: &[v1::Table], wanted: &str) -> Result<Option<Surveyed>, ImportError> {
    let of_key = tables.iter().find(|table| table.key == wanted);
    let same = of_key.filter(|table| table.name == wanted);
    let found = same.or_else(|| tables.iter().find(|table| table.name == wanted)).or(of_key);
    found.map(|table| surveyed(table, tables)).transpose()
}

/// A table that has to be there.
pub(super) fn find_target(tables: &[v1::Table], wanted: &str) -> Result<Surveyed, ImportError> {
    find(tables, wanted)?.ok_or_else(|| {
        let next = suggestion(wanted, tables.iter().map(|table| table.name.as_str()), "table");
        ImportError::unknown(format!("There is no table \"{}\" to link to.", escaped(wanted)), next)
    })
}

fn surveyed(table: &v1::Table, tables: &[v1::Table]) -> Result<Surveyed, ImportError> {
    let others = tables.iter().filter(|other| other.key != table.key).map(|other| other.name.as_str());
    let reference = name(reference(&table.key, &table.name, others))?;
    let columns = table.columns.iter().map(|column| column_of(column, &table.columns)).collect::<Result<_, _>>()?;
    Ok(Surveyed { reference, name: table.name.clone(), columns })
}

fn column_of(column: &v1::Column, columns: &[v1::Column]) -> Result<SurveyedColumn, ImportError> {
    let others = columns.iter().filter(|other| other.key != column.key).map(|other| other.name.as_str());
    let field_type = column.r#type.clone().unwrap_or_default().try_into();
    let newer = |_| newer(&format!("the type of the column {}", column.name));
    Ok(SurveyedColumn {
        reference: name(reference(&column.key, &column.name, others))?,
        key: column.key.clone(),
        name: name(&column.name)?,
        field_type: field_type.map_err(newer)?,
        required: column.required,
        has_default: column.default.is_some(),
        hidden: column.hidden,
    })
}

/// The key, which never changes; the name, if the key is now the name of another.
fn reference<'a>(key: &'a str, name: &'a str, mut others: impl Iterator<Item = &'a str>) -> &'a str {
    if others.any(|other| other == key) { name } else { key }
}

fn name(text: &str) -> Result<Name, ImportError> {
    Name::new(text).map_err(|_| newer(&format!("the name \"{}\"", escaped(text))))
}

fn newer(what: &str) -> ImportError {
    ImportError::unknown(
        format!("This program does not understand {what} that the node told."),
        "Use the `openprod` of the node's version.",
    )
}

impl Surveyed {
    /// The name under which the file knows a column: its name, or its key if only that is in the header.
    pub(super) fn title(&self, column: &SurveyedColumn, header: &[String]) -> Name {
        let has = |title: &str| header.iter().any(|cell| cell == title);
        let is_name = |title: &str| self.columns.iter().any(|other| other.name.as_str() == title);
        match Name::new(&column.key) {
            Ok(key) if !has(column.name.as_str()) && has(&column.key) && !is_name(&column.key) => key,
            _ => column.name.clone(),
        }
    }

    /// The columns by which people name records: the first, such as a number, and the first of text behind it, such as
    /// a title.
    pub(super) fn naming(&self) -> Vec<&SurveyedColumn> {
        let shown = self.columns.iter().filter(|column| !column.hidden);
        naming(shown, |column| &column.field_type)
    }
}

/// Of columns in their order, those by which people name records.
pub(super) fn naming<T>(mut columns: impl Iterator<Item = T>, of: impl Fn(&T) -> &FieldType) -> Vec<T> {
    let first = columns.next();
    let text = columns.find(|column| *of(column) == FieldType::Text);
    first.into_iter().chain(text).collect()
}

/// The records of a table with these columns, in the order of their creation, and the revision that this shows.
pub(super) async fn records(
    workspace: &Workspace,
    table: &Surveyed,
    columns: &[&SurveyedColumn],
) -> Result<(Vec<(EntityId, Values)>, u64), ImportError> {
    let question = v1::ListRecordsRequest {
        table: table.reference.to_string(),
        columns: columns.iter().map(|column| column.reference.to_string()).collect(),
        page_size: PAGE,
        ..Default::default()
    };
    let places: HashMap<&str, usize> = columns.iter().enumerate().map(|(i, column)| (column.key.as_str(), i)).collect();
    let (mut pages, mut records, mut revision) = (workspace.pages(question), Vec::new(), None);
    while let Some(page) = pages.next().await? {
        revision.get_or_insert(page.revision);
        for record in page.records {
            records.push(values(record, &places, workspace)?);
        }
    }
    Ok((records, revision.unwrap_or_default()))
}

fn values(
    record: v1::Record,
    places: &HashMap<&str, usize>,
    workspace: &Workspace,
) -> Result<(EntityId, Values), ImportError> {
    let mut values = vec![None; places.len()];
    for field in record.fields {
        if let (Some(place), Some(value)) = (places.get(field.column.as_str()), field.value) {
            values[*place] = Some(value.try_into().map_err(|_| newer("a value"))?);
        }
    }
    Ok((id(&record.id, workspace)?, values))
}

/// An id that the node gave.
pub(super) fn id(text: &str, workspace: &Workspace) -> Result<EntityId, ImportError> {
    let failed = |_| Error::Failed {
        at: workspace.client().at().to_owned(),
        why: format!("it gave \"{}\" as a record's id", escaped(text)),
    };
    Ok(text.parse().map_err(failed)?)
}
