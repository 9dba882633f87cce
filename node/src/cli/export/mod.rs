//! `openprod export`: tables and queries as spreadsheets, a workspace as one file, and the emergency export.

pub(in crate::cli) mod bar;
mod data;
mod emergency;

use std::fs::Permissions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openprod_client::{Workspace, v1};
use openprod_domain::describe;

use super::context::Context;
use super::error::CliError;
use super::output::{Style, json, remark};
use super::{ask, time};
use bar::Bar;
use data::Exported;

/// What `export` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// Table
    #[arg(value_name = "TABLE", conflicts_with_all = ["all", "workspace_file", "emergency"])]
    table: Option<String>,
    /// Records that this query finds, of TABLE or of the table that it names
    #[arg(long, short, value_name = "QUERY", conflicts_with_all = ["all", "workspace_file", "emergency"])]
    query: Option<String>,
    /// All tables: into one workbook, or into a folder with a file for each
    #[arg(long, conflicts_with_all = ["workspace_file", "emergency"])]
    all: bool,
    /// Columns; without it all that are not hidden
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', conflicts_with = "all")]
    columns: Vec<String>,
    /// Format; without it by the ending of the output, else csv
    #[arg(long, short, value_enum)]
    format: Option<Format>,
    /// Where to: a file, a folder for several; - for standard output
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    as_of: Option<String>,
    /// Writes the workspace with its whole history into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["emergency", "output", "format", "as_of"])]
    workspace_file: Option<PathBuf>,
    /// Takes the files along into the workspace file that are on this node
    #[arg(long, requires = "workspace_file")]
    with_blobs: bool,
    /// Saves what can be read into the folder named with --output, without a node
    #[arg(long, requires = "output", conflicts_with_all = ["format", "as_of"])]
    emergency: bool,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Comma-separated text
    Csv,
    /// A JSON object on each line
    Jsonl,
    /// A workbook
    Xlsx,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Xlsx => "xlsx",
        }
    }

    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_lowercase();
        [Self::Csv, Self::Jsonl, Self::Xlsx].into_iter().find(|format| format.ending() == ending)
    }
}

/// A spreadsheet is passed on: the system's umask says to whom.
const FOR_OTHERS: u32 = 0o666;
/// A whole history is not, unless somebody says so.
const FOR_ONESELF: u32 = 0o600;

/// Where the bytes go.
enum Place<'a> {
    Output,
    File(&'a Path),
}

/// Runs `export`.
pub async fn run(args: ExportArgs, context: &Context) -> Result<(), CliError> {
    if let (true, Some(folder)) = (args.emergency, &args.output) {
        return emergency::run(context, folder).await;
    }
    if let Some(path) = &args.workspace_file {
        return whole(context, path, &args).await;
    }
    let output = args.output.clone();
    let place = match output.as_deref() {
        Some(path) if path != Path::new("-") => Place::File(path),
        _ => Place::Output,
    };
    let format = args.format.or(output.as_deref().and_then(Format::of)).unwrap_or(Format::Csv);
    if format == Format::Xlsx && matches!(place, Place::Output) && std::io::stdout().is_terminal() {
        return Err(CliError::usage("A workbook cannot be shown on a terminal.").next("Name a file with --output."));
    }
    let workspace = context.workspace().await?;
    let as_of = time::as_of(args.as_of.as_deref())?;
    if args.all {
        return all(context, &workspace, format, &place, as_of).await;
    }
    let exported = one(&workspace, args, as_of).await?;
    tell_of_conflicts(&exported);
    let rows = exported.rows.len();
    write(context, &place, &data::encode(format, vec![exported])?)?;
    tell(context, &place, &format!("{rows} records"))
}

async fn one(workspace: &Workspace, args: ExportArgs, as_of: Option<v1::AsOf>) -> Result<Exported, CliError> {
    let ExportArgs { table, query, columns, .. } = args;
    match (table, query) {
        (None, None) => Err(CliError::usage("Nothing was named to export.")
            .next("Name a table, or use --query, --all, --workspace-file or --emergency.")),
        (Some(table), None) => {
            let question = v1::GetTableRequest { table, as_of: as_of.clone(), ..Default::default() };
            let table = workspace.read(question).await?.table.unwrap_or_default();
            data::table(workspace, &table, &columns, as_of).await
        }
        (table, Some(query)) => {
            let table = table.unwrap_or_default();
            data::query(workspace, v1::QueryRequest { table, query, columns, as_of, ..Default::default() }).await
        }
    }
}

/// All tables as they were at one revision; through an overlay, as they are.
async fn all(
    context: &Context,
    workspace: &Workspace,
    format: Format,
    place: &Place<'_>,
    as_of: Option<v1::AsOf>,
) -> Result<(), CliError> {
    let told = workspace.read(v1::ListTablesRequest { as_of: as_of.clone(), ..Default::default() }).await?;
    let now = v1::AsOf { point: Some(v1::as_of::Point::Revision(told.revision)) };
    // An overlay lies on the present, whatever that is when each table is read.
    let as_of = as_of.or(workspace.overlay().is_none().then_some(now));
    let mut tables = Vec::new();
    for table in &told.tables {
        let exported = data::table(workspace, table, &[], as_of.clone()).await?;
        tell_of_conflicts(&exported);
        tables.push(exported);
    }
    let count = format!("{} tables", tables.len());
    match (format, place) {
        (Format::Xlsx, _) => write(context, place, &data::encode(format, tables)?)?,
        (_, Place::Output) => {
            return Err(CliError::usage("Several tables do not fit into one such file.")
                .next("Name a folder with --output, or use --format xlsx."));
        }
        (_, Place::File(folder)) => {
            std::fs::create_dir_all(folder).map_err(|error| CliError::file(folder, &error))?;
            for (name, table) in file_names(&tables, format).into_iter().zip(tables) {
                write(context, &Place::File(&folder.join(name)), &data::encode(format, vec![table])?)?;
            }
        }
    }
    tell(context, place, &count)
}

/// A file name for each table, none twice, also where the file system does not tell upper case from lower case.
fn file_names(tables: &[Exported], format: Format) -> Vec<String> {
    let plain = |name: &str| -> String {
        let kept = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
        let short: String = name.trim_start_matches('.').chars().map(kept).take(60).collect();
        if short.is_empty() { "table".to_owned() } else { short }
    };
    let mut taken = std::collections::HashSet::new();
    let mut unique = |table: &Exported| {
        let base = plain(&table.name);
        let numbered = (1_u32..).map(|n| if n == 1 { base.clone() } else { format!("{base} {n}") });
        let name = numbered.into_iter().find(|name| taken.insert(name.to_lowercase())).expect("numbers do not end");
        format!("{name}.{}", format.ending())
    };
    tables.iter().map(&mut unique).collect()
}

fn tell_of_conflicts(exported: &Exported) {
    if exported.conflicts > 0 {
        let Exported { name, conflicts, .. } = exported;
        remark(&format!("{name}: people disagree on {conflicts} fields; what is shown was exported."));
    }
}

fn tell(context: &Context, place: &Place<'_>, what: &str) -> Result<(), CliError> {
    match place {
        Place::Output => Ok(()),
        Place::File(path) if context.style == Style::Json => {
            json(&serde_json::json!({"output": path.display().to_string(), "what": what}))
        }
        Place::File(path) => {
            remark(&format!("Wrote {what} to {}.", path.display()));
            Ok(())
        }
    }
}

/// A file appears under its name only once it is whole; one that is there is replaced only after a yes.
fn write(context: &Context, place: &Place<'_>, bytes: &[u8]) -> Result<(), CliError> {
    let Place::File(path) = place else { return Ok(std::io::stdout().lock().write_all(bytes)?) };
    let mut part = part_of(context, path, FOR_OTHERS)?;
    part.write_all(bytes).map_err(|error| CliError::file(path, &error))?;
    keep(part, path)
}

fn part_of(context: &Context, path: &Path, mode: u32) -> Result<tempfile::NamedTempFile, CliError> {
    if path.exists() {
        ask::sure(context, &format!("Replace {}?", path.display()))?;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder);
    part.map_err(|error| CliError::file(folder, &error))
}

fn keep(part: tempfile::NamedTempFile, path: &Path) -> Result<(), CliError> {
    part.as_file().sync_all().map_err(|error| CliError::file(path, &error))?;
    part.persist(path).map(|_| ()).map_err(|error| CliError::file(path, &error.error))
}

/// The workspace with its whole history.
async fn whole(context: &Context, path: &Path, args: &ExportArgs) -> Result<(), CliError> {
    let (workspace, with_blobs) = (context.workspace().await?, args.with_blobs);
    let mut part = part_of(context, path, FOR_ONESELF)?;
    let (bar, mut bytes, mut blobs) = (Bar::new(), 0, None);
    let mut pieces = if with_blobs { workspace.export_with_blobs().await? } else { workspace.export().await? };
    while let Some(piece) = pieces.next().await? {
        part.write_all(&piece.chunk).map_err(|error| CliError::file(path, &error))?;
        bytes += piece.chunk.len();
        piece.progress.iter().for_each(|progress| bar.told(progress));
        blobs = blobs.or(piece.blobs);
    }
    drop(bar);
    if with_blobs && blobs.is_none() {
        // Without this word, the node has ended too early, or is of a version that carries no files.
        return Err(CliError::failed("The node did not say which files went along.").affected("Nothing was written."));
    }
    keep(part, path)?;
    let what = blobs.as_ref().map_or_else(String::new, |blobs| format!(", with {}", carried(blobs)));
    tell(context, &Place::File(path), &format!("the workspace{what}, {bytes} bytes,"))
}

/// Which files went along, and which did not.
fn carried(blobs: &v1::ExportedBlobs) -> String {
    let v1::ExportedBlobs { blobs, bytes, missing, deleted, damaged } = blobs;
    let left = [(missing, "not on this node"), (damaged, "damaged here"), (deleted, "deleted")];
    let left = left.iter().filter(|(count, _)| **count > 0).map(|(count, why)| format!("{count} {why}"));
    let left: Vec<_> = left.collect();
    let left = if left.is_empty() { String::new() } else { format!(" (not: {})", left.join(", ")) };
    format!("{blobs} files of {}{left}", describe::bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_each_table_has_a_name_of_its_own() {
        let table = |name: &str| Exported { name: name.to_owned(), ..Exported::default() };
        let tables = ["Cues", "cues", "../a/b", ""].map(table);
        assert_eq!(file_names(&tables, Format::Csv), ["Cues.csv", "cues 2.csv", "_a_b.csv", "table.csv"]);
    }

    #[test]
    fn the_ending_says_the_format() {
        assert_eq!(Format::of(Path::new("x/cast.XLSX")), Some(Format::Xlsx));
        assert_eq!((Format::of(Path::new("cast")), Format::of(Path::new("-"))), (None, None));
    }
}
