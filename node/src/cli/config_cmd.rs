//! The command `config`: tells and checks the configuration.

use clap::{Args, Subcommand};

use super::context::Context;
use super::error::CliError;

/// What `config` takes.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with a configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Says whether the configuration can be used
    Check,
    /// Tells every setting
    Show {
        /// Tells where each was set, too
        #[arg(long)]
        origin: bool,
    },
    /// Prints an example file with every setting
    Example,
}

/// Runs `config`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: ConfigArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod config` is not there yet."))
}
