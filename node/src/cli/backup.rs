//! The commands `backup` and `restore`: copies of a workspace.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::error::CliError;

/// What `backup` takes.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Where to, on the node's computer; left out for the workspace's own folder of backups
    pub path: Option<PathBuf>,
}

/// What `restore` takes.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The copy
    pub path: PathBuf,
}

/// Runs `backup`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: BackupArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod backup` is not there yet."))
}

/// Runs `restore`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn restore(_: RestoreArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod restore` is not there yet."))
}
