//! The command `sync`: pauses and resumes the exchange with other nodes.

use clap::{Args, Subcommand};
use openprod_client::v1;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{self, Style, remark};
use super::time;

/// Pauses syncing with other nodes, and resumes it
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    #[command(subcommand)]
    command: SyncCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum SyncCommand {
    /// Gives and takes nothing of the workspace any more until it is resumed; work on this node goes on, nothing is lost
    Pause,
    /// Goes on where it stopped
    Resume,
}

/// Runs `sync`.
pub async fn run(args: &SyncArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let id = workspace.id().to_string();
    let paused_ms = match args.command {
        SyncCommand::Pause => Some(workspace.read(v1::PauseSyncRequest::default()).await?.paused_ms),
        SyncCommand::Resume => {
            workspace.read(v1::ResumeSyncRequest::default()).await?;
            None
        }
    };
    if context.style == Style::Json {
        return output::json(&json!({"workspace": id, "sync_paused_ms": paused_ms}));
    }
    match paused_ms {
        Some(since) => remark(&format!(
            "Syncing is paused since {}, on this node and also when it starts again. `openprod sync resume` lets it go on.",
            time::shown(since)
        )),
        None => remark("Syncing goes on. `openprod peers` tells how far it is."),
    }
    Ok(())
}
