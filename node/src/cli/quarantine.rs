//! The command `quarantine`: bundles that were not taken into history.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::context::Context;
use super::error::CliError;

/// What `quarantine` takes.
#[derive(Debug, Clone, Args)]
pub struct QuarantineArgs {
    /// What to do; lists if left out.
    #[command(subcommand)]
    pub command: Option<QuarantineCommand>,
}

/// What can be done with the quarantine.
#[derive(Debug, Clone, Subcommand)]
pub enum QuarantineCommand {
    /// Lists what is there
    List,
    /// Tells one, as far as it can be read
    Show {
        /// Its number
        number: u64,
    },
    /// Tries again to take one in
    Retry {
        /// Its number
        number: u64,
    },
    /// Silences the alarm of one
    Skip {
        /// Its number
        number: u64,
    },
    /// Writes the bytes of one to a file
    Export {
        /// Its number
        number: u64,
        /// Where to
        file: PathBuf,
    },
}

/// Runs `quarantine`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: QuarantineArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod quarantine` is not there yet."))
}
