//! From a file and a workspace to commands, without changing anything.

use std::borrow::Cow;

use openprod_client::Workspace;
use openprod_domain::command::Command;
use openprod_domain::describe::{escaped, suggestion};
use openprod_model::value::{FieldType, Name};

use super::draft::Draft;
use super::error::ImportError;
use super::outcome::{ColumnSummary, ImportSummary};
use super::pack::Weight;
use super::spec::{Gone, ImportSpec};
use super::survey::{self, Surveyed, SurveyedColumn};
use crate::cli::columns;
use crate::sheet::plan::ORDINAL;
use crate::sheet::{Guess, ImportOptions, ImportPlan, Sheet, TableNow, guess_types, plan_import, read_sheet};

/// An import that is ready to be done.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it would do.
    pub summary: ImportSummary,
    pub(super) commands: Vec<Command>,
    /// How many columns of the table give new records a value by themselves.
    pub(super) defaults: usize,
    /// The revision that was read, if records of it are changed.
    pub(super) base: Option<u64>,
}

/// Reads a file, holds it against a workspace and says what there is to do.
pub async fn prepare(
    workspace: &Workspace,
    file_name: &str,
    bytes: &[u8],
    spec: &ImportSpec,
) -> Result<Prepared, ImportError> {
    let spec = normal(spec);
    let sheet = read_sheet(bytes, file_name, &spec.read)?;
    check_columns(&sheet, &spec)?;
    let tables = workspace.list_tables().await?;
    let table = survey::find(&tables, &spec.table)?;
    let options = options(&spec);
    let (now, base) = table_now(workspace, table.as_ref(), &sheet, &options).await?;
    let mut plan = plan_import(&with_shadows(&sheet, &spec), &options, &now)?;
    let mut draft = Draft::of(table.as_ref(), &sheet, &spec, &mut plan)?;
    for (column, far) in references(table.as_ref(), &plan) {
        draft.check_references(workspace, &tables, &column, &far).await?;
    }
    for (index, link) in spec.links.iter().enumerate() {
        let target = if link.table == spec.table { None } else { Some(survey::find_target(&tables, &link.table)?) };
        let other = target.filter(|target| !draft.is_of(target));
        let targets = draft.targets(workspace, other.as_ref(), table.as_ref()).await?;
        let shadow = shadow(index);
        draft.wish(plan.links.iter().filter(|wish| wish.column == shadow), link, &targets, &sheet);
    }
    draft.drop_edges_that_are_there(workspace).await?;
    let mut summary = draft.summary(&plan, &sheet, spec.table.clone());
    (summary.file_name, summary.hash) = (file_name.to_owned(), blake3::hash(bytes).to_string());
    summary.columns = column_summaries(&sheet, &spec, &plan, &now);
    if options.keys.is_empty() && table.is_some() {
        summary.notes.push("No key was named, so every row becomes a new record.".to_owned());
    }
    let defaults = table.iter().flat_map(|table| &table.columns).filter(|column| column.has_default).count();
    note_gone(&mut summary, spec.gone)?;
    let commands = draft.commands(&plan, spec.gone);
    Weight { ops: summary.ops, bytes: summary.bytes } = Weight::of_all(&commands, defaults);
    Ok(Prepared { base: base.filter(|_| summary.changed > 0), summary, commands, defaults })
}

/// Says what becomes of what is gone. Of a row that cannot be read nobody knows which record it is.
fn note_gone(summary: &mut ImportSummary, gone: Gone) -> Result<(), ImportError> {
    if gone == Gone::Go && summary.bad_rows() > 0 {
        let message = format!("{} rows cannot be read, so it cannot be told what is gone.", summary.bad_rows());
        return Err(ImportError::unknown(message, "Mend those lines, or leave out --remove-gone."));
    }
    match (summary.gone, gone) {
        (0, _) => {}
        (_, Gone::Stay) => {
            let note = "Records that are not in the file stay as they are; --remove-gone takes them out of the table.";
            summary.notes.push(note.to_owned());
        }
        (_, Gone::Go) => summary.notes.push("Records that are not in the file are taken out of the table.".to_owned()),
    }
    Ok(())
}

/// The columns whose fields are records of a certain table, with that table's key.
fn references(table: Option<&Surveyed>, plan: &ImportPlan) -> Vec<(Name, Name)> {
    let there = table.iter().flat_map(|table| &table.columns).map(|column| (&column.reference, &column.field_type));
    let new = plan.new_columns.iter().map(|(name, of)| (name, of));
    let far = |(column, of): (&Name, &FieldType)| match of {
        FieldType::Reference { table: Some(table) } => Some((column.clone(), table.clone())),
        _ => None,
    };
    there.chain(new).filter_map(far).collect()
}

/// Names as the file's header has them, normalized.
fn normal(spec: &ImportSpec) -> ImportSpec {
    let name = |text: &String| Name::new(text).map_or_else(|_| text.clone(), |name| name.to_string());
    let mut spec = spec.clone();
    spec.table = name(&spec.table);
    spec.keys.iter_mut().chain(&mut spec.fill_down).for_each(|column| *column = name(column));
    spec.types.iter_mut().for_each(|(column, _)| *column = name(column));
    for link in &mut spec.links {
        (link.column, link.table) = (name(&link.column), name(&link.table));
    }
    spec
}

fn check_columns(sheet: &Sheet, spec: &ImportSpec) -> Result<(), ImportError> {
    let keys = spec.keys.iter().filter(|key| *key != ORDINAL).map(|column| ("--key", column));
    let fill_down = spec.fill_down.iter().map(|column| ("--fill-down", column));
    let links = spec.links.iter().map(|link| ("--link", &link.column));
    let types = spec.types.iter().map(|(column, _)| ("--type", column));
    match keys.chain(fill_down).chain(links).chain(types).find(|(_, column)| !sheet.header.contains(column)) {
        None => Ok(()),
        Some((option, column)) => {
            let message = format!("The file has no column \"{}\", which {option} names.", escaped(column));
            let next = suggestion(column, sheet.header.iter().map(String::as_str), "column");
            Err(ImportError::unknown(message, next))
        }
    }
}

/// The plan's options. Keys and names of records are text unless somebody says otherwise.
fn options(spec: &ImportSpec) -> ImportOptions {
    let mut types = spec.types.clone();
    let names = spec.keys.iter().filter(|key| *key != ORDINAL).chain(spec.links.iter().map(|link| &link.column));
    for column in names {
        if !types.iter().any(|(told, _)| told == column) {
            types.push((column.clone(), FieldType::Text));
        }
    }
    let mut fill_down = spec.fill_down.clone();
    let mut links = Vec::new();
    for (index, link) in spec.links.iter().enumerate() {
        let shadow = shadow(index);
        if spec.fill_down.contains(&link.column) {
            fill_down.push(shadow.clone());
        }
        links.push((shadow, link.table.clone()));
    }
    ImportOptions { table: spec.table.clone(), keys: spec.keys.clone(), fill_down, links, types, ordinal: None }
}

/// The name of a column beside the file's own: headers hold no line breaks.
fn shadow(index: usize) -> String {
    format!("\nlink {index}")
}

/// The sheet with one more column for each link. In it stands, for each cell that is not empty, the row's index: so the
/// plan tells whose edge it is and from which row the cell came, and the cell's text stays a field too.
fn with_shadows<'a>(sheet: &'a Sheet, spec: &ImportSpec) -> Cow<'a, Sheet> {
    let mut sheet = Cow::Borrowed(sheet);
    for (index, link) in spec.links.iter().enumerate() {
        let place = sheet.header.iter().position(|title| *title == link.column).expect("columns were checked");
        let sheet = sheet.to_mut();
        sheet.header.push(shadow(index));
        for (number, row) in sheet.rows.iter_mut().enumerate() {
            let empty = row.cells[place].trim().is_empty();
            row.cells.push(if empty { String::new() } else { number.to_string() });
        }
    }
    sheet
}

/// The table as the file knows it, and the revision at which it was read. Without a key no record is needed.
async fn table_now(
    workspace: &Workspace,
    table: Option<&Surveyed>,
    sheet: &Sheet,
    options: &ImportOptions,
) -> Result<(TableNow, Option<u64>), ImportError> {
    let Some(table) = table else { return Ok((TableNow::default(), None)) };
    let column = |column: &SurveyedColumn| (table.title(column, &sheet.header), column.field_type.clone());
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    if options.keys.is_empty() {
        return Ok((TableNow { columns, records: Vec::new() }, None));
    }
    let all: Vec<&SurveyedColumn> = table.columns.iter().collect();
    let (records, revision) = survey::records(workspace, table, &all).await?;
    Ok((TableNow::keyed(columns, records, options), Some(revision)))
}

fn column_summaries(sheet: &Sheet, spec: &ImportSpec, plan: &ImportPlan, now: &TableNow) -> Vec<ColumnSummary> {
    let of = |columns: &[(Name, FieldType)], title: &str| {
        columns.iter().find(|(name, _)| name.as_str() == title).map(|(_, of)| columns::words(of))
    };
    let summary = |guess: &Guess| {
        let title = &sheet.header[guess.column];
        let kind = of(&now.columns, title);
        let is_new = kind.is_none();
        let told = spec.types.iter().any(|(column, _)| column == title);
        let link = spec.links.iter().find(|link| link.column == *title);
        let why = match (is_new, told, link) {
            (false, ..) => "It is so in the table.".to_owned(),
            (true, true, _) => "As told.".to_owned(),
            (true, false, Some(link)) => format!("It names records of {}.", link.table),
            (true, false, None) if spec.keys.contains(title) => "It is a key.".to_owned(),
            (true, false, None) => guess.because.clone(),
        };
        let kind = kind.or_else(|| of(&plan.new_columns, title)).unwrap_or_default();
        ColumnSummary { name: title.clone(), kind, is_new, why }
    };
    guess_types(sheet).iter().map(summary).collect()
}
