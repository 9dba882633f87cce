//! What is exported: a table's or a query's records with the names of their columns; and the bytes of a file of them.

use std::collections::HashMap;

use openprod_client::{Workspace, v1};
use openprod_model::value::Value;

use super::Format;
use crate::cli::error::CliError;
use crate::cli::known::{KnownColumn, KnownTable};
use crate::sheet::encode::NamedTable;
use crate::sheet::{LineEnding, format_value, write_csv, write_jsonl, write_xlsx};

/// How many records are asked for at once.
const PAGE: u32 = 1_000;

/// Records as a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Exported {
    /// The table's name.
    pub(super) name: String,
    /// The names of the columns.
    pub(super) header: Vec<String>,
    /// The values that are shown, one for each column.
    pub(super) rows: Vec<Vec<Option<Value>>>,
    /// How many of them are in conflict.
    pub(super) conflicts: usize,
}

/// A table's records, in the order of their creation, with these columns or all that are not hidden.
pub(super) async fn table(
    workspace: &Workspace,
    table: &v1::Table,
    columns: &[String],
    as_of: Option<v1::AsOf>,
) -> Result<Exported, CliError> {
    let known = KnownTable::of(table)?;
    let named = columns.iter().map(|column| known.column(column)).collect::<Result<Vec<_>, _>>()?;
    let columns = if named.is_empty() { known.shown(&[]) } else { named };
    let question = v1::ListRecordsRequest {
        table: table.key.clone(),
        columns: columns.iter().map(|column| column.key.to_string()).collect(),
        page_size: PAGE,
        as_of,
        ..Default::default()
    };
    let mut exported = Exported::of(&known, &columns);
    let keys: Vec<String> = question.columns.clone();
    let mut pages = workspace.pages(question);
    while let Some(page) = pages.next().await? {
        exported.add(&keys, page.records)?;
    }
    Ok(exported)
}

/// The records that a query finds, in its order.
pub(super) async fn query(workspace: &Workspace, question: v1::QueryRequest) -> Result<Exported, CliError> {
    let as_of = question.as_of.clone();
    let mut pages = workspace.pages(v1::QueryRequest { page_size: PAGE, ..question.clone() });
    let mut exported: Option<Exported> = None;
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await? {
        let of = page.records.first().map_or(question.table.clone(), |record| record.table.clone());
        if exported.as_ref().is_none_or(|exported| exported.name.is_empty()) {
            keys = page.columns;
            exported = Some(begun(workspace, of, &keys, as_of.clone()).await?);
        }
        exported.get_or_insert_default().add(&keys, page.records)?;
    }
    Ok(exported.unwrap_or_default())
}

/// A query that finds nothing may not tell of which table: then columns go by their keys.
async fn begun(
    workspace: &Workspace,
    table: String,
    keys: &[String],
    as_of: Option<v1::AsOf>,
) -> Result<Exported, CliError> {
    if table.is_empty() {
        return Ok(Exported { header: keys.to_vec(), ..Exported::default() });
    }
    let question = v1::GetTableRequest { table, as_of, ..Default::default() };
    let known = KnownTable::of(&workspace.read(question).await?.table.unwrap_or_default())?;
    Ok(Exported::of(&known, &known.shown(keys)))
}

impl Exported {
    /// Two columns of one name, made on two nodes at once, are told apart by their keys.
    fn of(table: &KnownTable, columns: &[&KnownColumn]) -> Self {
        let twice = |name: &str| columns.iter().filter(|column| column.name == name).count() > 1;
        let title = |column: &&KnownColumn| {
            if twice(&column.name) { column.key.to_string() } else { column.name.clone() }
        };
        Self { name: table.name.clone(), header: columns.iter().map(title).collect(), ..Self::default() }
    }

    fn add(&mut self, keys: &[String], records: Vec<v1::Record>) -> Result<(), CliError> {
        let places: HashMap<&str, usize> = keys.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect();
        for record in records {
            let mut row = vec![None; keys.len()];
            for field in record.fields {
                self.conflicts += usize::from(field.in_conflict);
                if let (Some(place), Some(value)) = (places.get(field.column.as_str()), field.value) {
                    row[*place] = Some(value.try_into()?);
                }
            }
            self.rows.push(row);
        }
        Ok(())
    }

    fn into_named(self) -> NamedTable {
        (self.name, self.header, self.rows)
    }
}

/// The bytes of a file of these tables. Only a workbook holds more than one.
pub(super) fn encode(format: Format, tables: Vec<Exported>) -> Result<Vec<u8>, CliError> {
    match format {
        Format::Xlsx => {
            let tables: Vec<NamedTable> = tables.into_iter().map(Exported::into_named).collect();
            write_xlsx(&tables).map_err(|error| CliError::failed(format!("{error}.")))
        }
        Format::Csv => Ok(tables.iter().flat_map(csv).collect()),
        Format::Jsonl => Ok(tables.iter().flat_map(|table| write_jsonl(&table.header, &table.rows)).collect()),
    }
}

fn csv(table: &Exported) -> Vec<u8> {
    let cell = |value: &Option<Value>| value.as_ref().map(format_value).unwrap_or_default();
    write_csv(&table.header, table.rows.iter().map(|row| row.iter().map(cell)), LineEnding::CrLf)
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::EntityId;
    use openprod_model::value::Name;

    use super::*;
    use crate::sheet::{ImportOptions, ReadOptions, TableNow, plan_import, read_sheet};

    const CUES: &str = "cue,label,time,called,when\r\n1,\"Sun, rise\",3,true,2026-11-21\r\n2,,5.5,,\r\n2.10,\"two\nlines\",,false,\r\n";

    fn keyed() -> ImportOptions {
        let types = vec![("cue".to_owned(), openprod_model::value::FieldType::Text)];
        ImportOptions { table: "cues".to_owned(), keys: vec!["cue".to_owned()], types, ..ImportOptions::default() }
    }

    /// What the node would tell of the records that an import of `text` makes.
    fn imported(text: &[u8]) -> (Exported, TableNow) {
        let sheet = read_sheet(text, "cues.csv", &ReadOptions::default()).unwrap();
        let plan = plan_import(&sheet, &keyed(), &TableNow::default()).unwrap();
        let keys: Vec<String> = plan.new_columns.iter().map(|(name, _)| name.to_string()).collect();
        let field = |(column, value): &(Name, Value)| v1::FieldReading {
            column: column.to_string(),
            value: Some(value.into()),
            ..Default::default()
        };
        let record = |row: &crate::sheet::NewRecord| v1::Record {
            fields: row.values.iter().map(field).collect(),
            ..Default::default()
        };
        let mut exported = Exported { name: "cues".to_owned(), header: keys.clone(), ..Exported::default() };
        exported.add(&keys, plan.new_records.iter().map(record).collect()).unwrap();
        let id = |n: usize| EntityId::from_bytes((n as u128).to_be_bytes());
        let records = exported.rows.iter().enumerate().map(|(n, row)| (id(n), row.clone())).collect();
        let now = TableNow::keyed(plan.new_columns, records, &keyed());
        (exported, now)
    }

    #[test]
    fn what_was_imported_is_exported_cell_by_cell_and_back_it_changes_nothing() {
        let (exported, now) = imported(CUES.as_bytes());
        let cells = |bytes: &[u8]| {
            let sheet = read_sheet(bytes, "cues.csv", &ReadOptions::default()).unwrap();
            (sheet.header, sheet.rows.into_iter().map(|row| row.cells).collect::<Vec<_>>())
        };
        let written = encode(Format::Csv, vec![exported.clone()]).unwrap();
        assert_eq!(cells(&written), cells(CUES.as_bytes()));
        for format in [Format::Csv, Format::Xlsx] {
            let written = encode(format, vec![exported.clone()]).unwrap();
            let sheet = read_sheet(&written, "cues", &ReadOptions::default()).unwrap();
            let again = plan_import(&sheet, &keyed(), &now).unwrap();
            assert_eq!((again.unchanged, again.new_records.len(), again.changed.len()), (3, 0, 0), "{format:?}");
            assert_eq!((again.bad, again.gone), (vec![], vec![]));
        }
    }
}
