//! The command `doctor`: checks this computer, the node and its folder.

use clap::Args;

use super::context::Context;
use super::error::CliError;

/// What `doctor` takes.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Mends what can be mended safely
    #[arg(long)]
    pub fix: bool,
}

/// Runs `doctor`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: DoctorArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod doctor` is not there yet."))
}
