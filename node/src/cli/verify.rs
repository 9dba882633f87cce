//! The command `verify`: checks everything that a workspace has stored.

use clap::Args;

use super::context::Context;
use super::error::CliError;

/// What `verify` takes.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {}

/// Runs `verify`.
#[expect(clippy::unused_async, reason = "its module is being written")]
pub async fn run(_: VerifyArgs, _: &Context) -> Result<(), CliError> {
    Err(CliError::failed("`openprod verify` is not there yet."))
}
