//! The command `export`: a table as a spreadsheet, or a workspace as one file.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::error::CliError;

/// What `export` takes.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Table; left out for the whole workspace
    pub table: Option<String>,
    /// Where to; its ending says the format: csv, jsonl, xlsx, openprod
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Columns, separated by commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    pub as_of: Option<String>,
}

/// Runs `export`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: ExportArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod export` is not there yet."))
}
