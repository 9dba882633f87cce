//! The emergency export: what can still be read of a log, as tables that every spreadsheet program opens.
//!
//! It needs the log's file and nothing else: no node, no state, no whole log. It changes nothing there. One bad bundle
//! never stops it; what could not be read, and what is not to be trusted, is named in `REPORT.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use openprod_domain::cell::Cell;
use openprod_domain::describe;
use openprod_domain::read::{self, Table};
use openprod_domain::view::{Empty, Layer, Read, ReadFailure, View};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{Digest, EntityId, Position, WorkspaceId};
use openprod_model::value::{Name, Value};
use openprod_oplog::store::{Salvage, salvage};

use crate::backup::plain;
use crate::sheet::{LineEnding, format_value, write_csv, write_jsonl};

/// The name of the report.
pub const REPORT: &str = "REPORT.txt";

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Bundles that were folded.
    pub bundles: u64,
    /// Tables that were written, with their records.
    pub tables: Vec<(String, usize)>,
    /// What could not be read, or is not to be trusted, in sentences.
    pub problems: Vec<String>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = .path.display())]
pub struct EmergencyError {
    /// Where.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Saves what can be saved of the log in the file `log` of `workspace` into the new folder `to`: for each table a CSV
/// and a JSON Lines file, then `edges.csv`, `history.csv` and the report. Blocks its thread.
pub fn export(log: &Path, workspace: WorkspaceId, to: &Path) -> Result<Saved, EmergencyError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| EmergencyError { path, source }
    };
    let Salvage { bundles, mut problems } = salvage(log).map_err(at(log))?;
    fs::create_dir_all(to).map_err(at(to))?;
    if fs::read_dir(to).map_err(at(to))?.next().is_some() {
        return Err(at(to)(io::ErrorKind::DirectoryNotEmpty.into()));
    }
    let trusted = trusted(bundles, workspace, &mut problems);
    let layer = folded(&trusted, &mut problems);
    let view = layer.over(&Empty);
    let mut saved = Saved { bundles: trusted.len() as u64, tables: Vec::new(), problems };
    let mut files = vec![("history.csv".to_owned(), history(&trusted))];
    match read::tables(&view) {
        Ok(tables) => tables.iter().for_each(|table| add_table(&view, table, &mut saved, &mut files)),
        Err(failure) => saved.problems.push(format!("The tables could not be told: {failure}.")),
    }
    match edges(&view) {
        Ok(edges) => files.push(("edges.csv".to_owned(), edges)),
        Err(failure) => saved.problems.push(format!("The edges could not be told: {failure}.")),
    }
    files.push((REPORT.to_owned(), report(&saved, workspace).into_bytes()));
    for (name, content) in files {
        let path = to.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    Ok(saved)
}

/// The bundles that their authors signed, or vouched for later; what else was found in the file is named.
fn trusted(bundles: Vec<Bundle>, workspace: WorkspaceId, problems: &mut Vec<String>) -> Vec<Bundle> {
    let (own, foreign): (Vec<_>, Vec<_>) =
        bundles.into_iter().partition(|bundle| bundle.header().workspace == workspace);
    if !foreign.is_empty() {
        problems.push(format!("{} bundles of other workspaces were left out.", foreign.len()));
    }
    let mut vouched: BTreeSet<Digest> = BTreeSet::new();
    // Children follow their parents; so from the end, each voucher comes before what it vouches for.
    let mut kept: Vec<Bundle> = Vec::new();
    for bundle in own.into_iter().rev() {
        if vouched.contains(&bundle.digest()) || bundle.signature_holds() {
            vouched.extend(bundle.header().prev);
            kept.push(bundle);
        } else {
            let (label, actor) = (describe::escaped(bundle.header().label.as_str()), bundle.header().actor.short());
            problems.push(format!(
                "A bundle \"{label}\" that claims to be of {actor} is not signed by its author, and was left out."
            ));
        }
    }
    kept.reverse();
    let there: BTreeSet<Digest> = kept.iter().map(Bundle::digest).collect();
    for bundle in &kept {
        for missing in bundle.ancestors().filter(|ancestor| !there.contains(ancestor)) {
            let label = describe::escaped(bundle.header().label.as_str());
            problems.push(format!(
                "Bundle {}, on which \"{label}\" builds, is missing: what it changed is not shown.",
                missing.short()
            ));
        }
    }
    kept
}

fn folded(bundles: &[Bundle], problems: &mut Vec<String>) -> Layer {
    let mut layer = Layer::default();
    for (number, bundle) in (1..).zip(bundles) {
        let fold = || bundle.ops().iter().try_for_each(|op| layer.fold(&Empty, op, Some(Position(number))));
        if !matches!(std::panic::catch_unwind(AssertUnwindSafe(fold)), Ok(Ok(()))) {
            let label = describe::escaped(bundle.header().label.as_str());
            problems.push(format!("The bundle \"{label}\" could not be folded whole."));
        }
    }
    layer
}

type Files = Vec<(String, Vec<u8>)>;

fn add_table(view: &dyn View, table: &Table, saved: &mut Saved, files: &mut Files) {
    let Sheet { header, rows, lost, conflicts } = sheet(view, table);
    let name = table.spec.name.to_string();
    let base = free_name(&plain(&name), files);
    let texts = rows.iter().map(|row| row.iter().map(|value| value.as_ref().map_or_else(String::new, format_value)));
    files.push((format!("{base}.csv"), write_csv(&header, texts, LineEnding::default())));
    files.push((format!("{base}.jsonl"), write_jsonl(&header, &rows)));
    if lost > 0 {
        saved.problems.push(format!("{lost} records of the table {name} could not be read."));
    }
    saved.problems.extend(conflicts);
    saved.tables.push((name, rows.len()));
}

/// The name, with a number behind it if another table is called much the same.
fn free_name(base: &str, files: &Files) -> String {
    let taken = |name: &str| files.iter().any(|(file, _)| file.eq_ignore_ascii_case(&format!("{name}.csv")));
    let reserved = ["history", "edges"];
    let is_free = |name: &String| !taken(name) && !reserved.contains(&name.to_lowercase().as_str());
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.to_owned()).chain(numbered).find(is_free).expect("there are more numbers than tables")
}

struct Sheet {
    header: Vec<String>,
    rows: Vec<Vec<Option<Value>>>,
    /// Records that could not be read.
    lost: usize,
    /// Where people disagree, in sentences: only what is shown stands in the files.
    conflicts: Vec<String>,
}

fn sheet(view: &dyn View, table: &Table) -> Sheet {
    let mut columns: Vec<(Name, String)> =
        table.columns.iter().map(|column| (column.key.clone(), column.spec.name.to_string())).collect();
    let (mut records, mut lost, mut conflicts) = (Vec::new(), 0, Vec::new());
    for record in read::records(view, &table.key, None) {
        match record.and_then(|id| Ok((id, read::fields(view, &table.key, id)?))) {
            Ok(record) => records.push(record),
            Err(_) => lost += 1,
        }
    }
    // Columns whose description was lost keep their keys.
    for (key, _) in records.iter().flat_map(|(_, fields)| fields) {
        if columns.iter().all(|(known, _)| known != key) {
            columns.push((key.clone(), key.to_string()));
        }
    }
    let row = |(id, fields): (EntityId, Vec<(Name, read::FieldReading)>)| {
        let mut values: BTreeMap<Name, Option<Value>> = BTreeMap::new();
        for (key, field) in fields {
            if field.in_conflict() {
                let others = field.reading.tips.iter().filter_map(|tip| tip.content.value()).map(describe::value);
                let others = others.collect::<Vec<_>>().join(", ");
                conflicts.push(format!("People disagree on {key} of record {id} in {}: {others}.", table.spec.name));
            }
            values.insert(key, field.value);
        }
        let cells = columns.iter().map(|(key, _)| values.remove(key).flatten());
        std::iter::once(Some(Value::Entity(id))).chain(cells).collect()
    };
    let rows = records.into_iter().map(row).collect();
    let header = std::iter::once("record".to_owned()).chain(columns.iter().map(|(_, name)| name.clone())).collect();
    Sheet { header, rows, lost, conflicts }
}

fn edges(view: &dyn View) -> Read<Vec<u8>> {
    let header = ["edge", "type", "source", "target", "properties"].map(str::to_owned);
    let mut rows = Vec::new();
    for item in view.cells(&Cell::edges()) {
        let (Cell::Edge { edge }, _) = item? else { continue };
        let Some(reading) = read::edge(view, edge)? else { continue };
        let shown = |(name, field): &(Name, read::FieldReading)| {
            Some(format!("{name}={}", format_value(field.value.as_ref()?)))
        };
        let properties: Vec<String> = reading.properties.iter().filter_map(shown).collect();
        let ends = &reading.ends;
        rows.push([
            edge.to_string(),
            ends.edge_type.to_string(),
            ends.source.to_string(),
            ends.target.to_string(),
            properties.join("; "),
        ]);
    }
    Ok::<_, ReadFailure>(write_csv(&header, rows, LineEnding::default()))
}

fn history(bundles: &[Bundle]) -> Vec<u8> {
    let header = ["bundle", "time", "actor", "kind", "label", "operations"].map(str::to_owned);
    let rows = bundles.iter().map(|bundle| {
        let header = bundle.header();
        let time = i64::try_from(header.wall_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        [
            bundle.digest().to_string(),
            time.map_or_else(|| header.wall_ms.to_string(), |time| time.to_string()),
            header.actor.to_string(),
            header.kind.word().to_owned(),
            header.label.to_string(),
            header.op_count.to_string(),
        ]
    });
    write_csv(&header, rows, LineEnding::default())
}

fn report(saved: &Saved, workspace: WorkspaceId) -> String {
    let mut text = format!(
        "Emergency export of workspace {workspace}\n\n{} bundles were read; history.csv lists them.\n\
         A write that was never acknowledged may be among them.\n\nTables:\n",
        saved.bundles
    );
    for (name, records) in &saved.tables {
        let _ = writeln!(text, "  {}: {records} records", describe::escaped(name));
    }
    if saved.problems.is_empty() {
        text.push_str("\nNothing was amiss: every bundle that the log holds was read.\n");
        return text;
    }
    let _ = writeln!(text, "\nWhat was amiss ({}):", saved.problems.len());
    for problem in &saved.problems {
        let _ = writeln!(text, "  - {problem}");
    }
    text
}
