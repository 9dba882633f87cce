//! `openprod import`: a spreadsheet into a table, staged in an overlay, where people look at it before it is so.
//!
//! With `--commit` it is written at once, as one bundle of the kind `import`. From the overlay it is committed as one
//! bundle of the kind `overlay`. Both name the file as their source. With `--batch`, for files that are too large for
//! one bundle, it is written at once in several, each all or nothing.
//!
//! The doing ([`prepare`], [`Prepared::stage`], [`Prepared::apply`], [`import_bytes`]) prints nothing; the command
//! around it does.

mod apply;
mod draft;
mod error;
mod ids;
mod links;
mod outcome;
mod pack;
mod prepare;
mod show;
mod spec;
mod survey;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use openprod_client::Workspace;
use openprod_model::value::FieldType;

pub use apply::{Progress, import_bytes};
pub use error::ImportError;
pub use outcome::{BadCell, ColumnSummary, ImportOutcome, ImportSummary, Loss, StagedImport, Written};
pub use prepare::{Prepared, prepare};
pub use spec::{Bundles, Gone, ImportSpec, LinkBy, LinkSpec, TypeSpec};

use super::context::Context;
use super::error::CliError;
use super::export::bar::Bar;
use super::output::{Style, json, remark};
use super::{ask, columns};
use crate::sheet::decode::MAX_FILE_BYTES;
use crate::sheet::{ReadOptions, SheetError};

/// Imports a CSV, TSV or XLSX file into a table
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = columns::TYPES)]
pub struct ImportArgs {
    /// File; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Table; it is made if it is not there
    #[arg(long, short, value_name = "TABLE")]
    table: String,
    /// Columns by which a row is known to be a record that is there already; # counts rows that share those before it
    #[arg(long, short, value_name = "COLUMN,...", value_delimiter = ',')]
    key: Vec<String>,
    /// Columns in which an empty cell means the one above
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    fill_down: Vec<String>,
    /// Column whose cells name records of a table, to which edges are made; with :prefix "12.4" means "12"
    #[arg(long, short, value_name = "COLUMN=TABLE[:prefix]")]
    link: Vec<LinkSpec>,
    /// Type of a column that the table does not have yet
    #[arg(long = "type", value_name = "COLUMN=TYPE")]
    types: Vec<TypeSpec>,
    /// What separates cells: one character, or tab
    #[arg(long, value_name = "CHARACTER", value_parser = spec::delimiter)]
    delimiter: Option<u8>,
    /// Encoding of the file, such as windows-1252
    #[arg(long, value_name = "ENCODING")]
    encoding: Option<String>,
    /// Sheet of a workbook; without it the first
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Line of the header; without it the first that is not empty
    #[arg(long, value_name = "LINE", conflicts_with = "no_header")]
    header_line: Option<u64>,
    /// The first line is data already
    #[arg(long)]
    no_header: bool,
    /// Takes records out of the table whose keys are not in the file
    #[arg(long, requires = "key")]
    remove_gone: bool,
    #[command(flatten)]
    when: When,
}

/// When it is written; into an overlay, unless that is said.
#[derive(Debug, Clone, Copy, clap::Args)]
struct When {
    /// Writes it at once, as one bundle, and not into an overlay
    #[arg(long)]
    commit: bool,
    /// Writes it at once, in several bundles, each all or nothing, for files that are too large for one
    #[arg(long, conflicts_with = "commit")]
    batch: bool,
    /// Shows what would happen, and changes nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is done with an import that is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Stage,
    Write,
}

/// Runs `import`.
pub async fn run(args: ImportArgs, context: &Context) -> Result<(), CliError> {
    let (name, bytes) = file(&args.file)?;
    let then = match (args.when.dry_run, args.when.commit || args.when.batch) {
        (true, _) => Then::Nothing,
        (false, true) => Then::Write,
        (false, false) => Then::Stage,
    };
    let spec = spec_of(args);
    if spec.bundles == Bundles::Several && spec.keys.is_empty() {
        remark("Without --key this import cannot be taken up again: a second run would make every record once more.");
    }
    let workspace = context.workspace().await?;
    if then == Then::Write && workspace.overlay().is_some() {
        return Err(CliError::usage("What is written at once is not staged in an overlay.")
            .next("Leave out --commit and --batch, or --overlay."));
    }
    let prepared = prepare(&workspace, &name, &bytes, &spec).await?;
    if context.style != Style::Json {
        show::summary(context.style, &prepared.summary)?;
    }
    if then != Then::Stage {
        prepared.check(spec.bundles)?;
    }
    match then {
        Then::Nothing => finish(context, &prepared.left(), "Nothing was changed."),
        _ if prepared.is_empty() => finish(context, &prepared.left(), "There is nothing to change."),
        Then::Stage => stage(context, &workspace, prepared).await,
        Then::Write => write(context, &workspace, prepared, spec.bundles).await,
    }
}

async fn stage(context: &Context, workspace: &Workspace, prepared: Prepared) -> Result<(), CliError> {
    let outcome = prepared.stage(workspace).await?;
    let name = outcome.overlay.as_ref().map(|at| at.name.clone()).unwrap_or_default();
    let words = format!(
        "Staged in the overlay \"{name}\"; nobody else sees it yet.\n\
         Look at it:  openprod overlay preview \"{name}\"\n\
         Commit it:   openprod overlay commit \"{name}\"\n\
         Drop it:     openprod overlay discard \"{name}\""
    );
    finish(context, &outcome, &words)
}

async fn write(context: &Context, workspace: &Workspace, prepared: Prepared, bundles: Bundles) -> Result<(), CliError> {
    // A preview is for whoever sits there; a program has said what it wants.
    if std::io::stdin().is_terminal() && context.style != Style::Json {
        ask::sure(context, &format!("Import into {}?", prepared.summary.table))?;
    }
    let bar = Bar::new();
    let told = |Progress { done, of }| bar.at("Importing", done as u64, of as u64);
    let outcome = prepared.apply(workspace, bundles, told).await?;
    drop(bar);
    let last = outcome.written.last().map(|written| written.revision).unwrap_or_default();
    finish(context, &outcome, &format!("Imported. Revision {last}."))
}

fn spec_of(args: ImportArgs) -> ImportSpec {
    ImportSpec {
        table: args.table,
        keys: args.key,
        fill_down: args.fill_down,
        links: args.link,
        types: args.types.into_iter().map(|TypeSpec(column, of)| (column, of)).collect::<Vec<(String, FieldType)>>(),
        read: ReadOptions {
            delimiter: args.delimiter,
            encoding: args.encoding,
            sheet: args.sheet,
            header_line: args.header_line,
            no_header: args.no_header,
        },
        bundles: if args.when.batch { Bundles::Several } else { Bundles::One },
        gone: if args.remove_gone { Gone::Go } else { Gone::Stay },
    }
}

/// The name of a file and its bytes.
fn file(path: &Path) -> Result<(String, Vec<u8>), CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| CliError::file(Path::new("standard input"), &error))?;
        return Ok(("standard input".to_owned(), bytes));
    }
    let unreadable = |error| CliError::file(path, &error);
    let size = usize::try_from(std::fs::metadata(path).map_err(unreadable)?.len()).unwrap_or(usize::MAX);
    if size > MAX_FILE_BYTES {
        return Err(ImportError::from(SheetError::FileTooLarge(size)).into());
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, std::fs::read(path).map_err(unreadable)?))
}

/// Tells how it went; an import with something set aside is done in part.
fn finish(context: &Context, outcome: &ImportOutcome, words: &str) -> Result<(), CliError> {
    if context.style == Style::Json {
        json(&outcome.to_json())?;
    } else {
        for conflict in &outcome.conflicts {
            remark(&format!("Conflict: {conflict}"));
        }
        words.lines().for_each(remark);
    }
    let nothing = outcome.written.is_empty() && outcome.overlay.is_none();
    let rest = if nothing { "Nothing was changed." } else { "Everything else was imported." };
    let aside = outcome.summary.set_aside();
    if aside.is_empty() {
        return Ok(());
    }
    Err(CliError::partial(format!("Set aside: {}.", aside.join(" and ")))
        .affected(rest)
        .next("Mend these lines and import the file again; with --key nothing is made twice."))
}

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Node(error) => Self::from(*error),
            ImportError::Unknown { message, next } => Self::failed(message).affected("Nothing was changed.").next(next),
            ImportError::Stopped { done, of, why } => Self::from(*why)
                .affected(format!("{done} of {of} bundles were written; the rest was not."))
                .next("Run the same command again: with --key it goes on where it stopped."),
            ImportError::TooLarge { .. } => Self::failed(error.to_string())
                .affected("Nothing was changed.")
                .next("Add --batch to write it in several bundles, each all or nothing; or split the file."),
            ImportError::Sheet(_) => Self::failed(error.to_string()).affected("Nothing was changed."),
        }
    }
}
