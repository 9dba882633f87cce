//! Commands for the node and its workspaces: `workspaces`, `init`, `status`.

use openprod_client::v1;
use openprod_domain::describe::bytes;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Grid, Style, facts, grid, line, remark};
use super::time;

/// Makes an empty workspace and prints its id
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// Its name
    pub name: String,
}

/// Runs `workspaces`.
pub async fn list(context: &Context) -> Result<(), CliError> {
    let known = context.client().await?.list_workspaces().await?;
    if context.style == Style::Json {
        let told = |one: &v1::WorkspaceSummary| json!({"workspace": one.workspace, "name": one.name});
        return known.iter().try_for_each(|one| output::json(&told(one)));
    }
    let mut shown = Grid::new(&["NAME", "WORKSPACE"]);
    for workspace in known {
        shown.row([workspace.name, workspace.workspace]);
    }
    grid(context.style, &shown)
}

/// Runs `init`.
pub async fn init(args: InitArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let founder = context.acting(&client).await?;
    let made = client.create_workspace(&args.name, founder).await?;
    if context.style == Style::Json {
        return output::json(&json!({
            "workspace": made.workspace, "name": args.name, "revision": made.revision, "replayed": made.replayed,
            "recovery_key": made.recovery_key,
        }));
    }
    line(&made.workspace)?;
    remark(&format!("Made the workspace {}.", args.name));
    remark("Its recovery key is shown this once. Keep it on paper: it lets you in again when all devices are lost.");
    remark(&made.recovery_key);
    Ok(())
}

/// Runs `status`.
pub async fn status(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let info = client.ask(v1::GetInfoRequest {}).await?;
    let status = client.ask(v1::GetStatusRequest {}).await?;
    if context.style == Style::Json {
        return output::json(&as_json(&info, &status));
    }
    facts(
        context.style,
        &[
            ("node", info.node_id),
            ("version", info.version),
            ("at", client.at().to_owned()),
            ("folder", info.data_dir),
            ("since", time::shown(status.started_ms)),
        ],
    )?;
    if status.workspaces.is_empty() {
        remark("No workspaces yet. Make one with `openprod init NAME`.");
        return Ok(());
    }
    let mut shown = Grid::new(&["WORKSPACE", "STATE", "REVISION", "BEHIND", "RECORDS", "DISK", "ATTENTION"]);
    for workspace in &status.workspaces {
        shown.row(row(workspace));
    }
    line("")?;
    grid(context.style, &shown)?;
    // What is wrong is said here, too: few people ask for a check before something is.
    let checks = client.ask(v1::RunDiagnosticsRequest {}).await?.checks;
    let wrong = checks.iter().filter(|check| check.outcome() != v1::CheckOutcome::Ok);
    wrong.for_each(|check| remark(&format!("{}: {} {}", check.id, check.evidence, check.fix)));
    Ok(())
}

fn row(workspace: &v1::WorkspaceStatus) -> [String; 7] {
    let counted = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let attention = [
        (!workspace.why.is_empty()).then(|| workspace.why.clone()),
        counted(workspace.conflict_count.unwrap_or_default(), "in conflict: run `openprod conflicts`"),
        counted(workspace.quarantine_count, "in quarantine"),
        counted(workspace.damaged_count, "damaged: run `openprod verify`"),
        workspace.sync_paused_ms.map(|_| "syncing is paused: `openprod sync resume` lets it go on".to_owned()),
    ];
    [
        workspace.name.clone(),
        state_word(workspace.state()).to_owned(),
        workspace.revision.to_string(),
        workspace.state_lag.to_string(),
        workspace.record_count.map(|count| count.to_string()).unwrap_or_default(),
        bytes(workspace.disk_bytes),
        attention.into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}

fn state_word(state: v1::WorkspaceState) -> &'static str {
    match state {
        v1::WorkspaceState::Starting => "starting",
        v1::WorkspaceState::Running => "running",
        v1::WorkspaceState::Failed => "failed",
        v1::WorkspaceState::Unspecified => "unknown",
    }
}

fn as_json(info: &v1::GetInfoResponse, status: &v1::GetStatusResponse) -> Json {
    let workspaces: Vec<Json> = status.workspaces.iter().map(workspace_json).collect();
    json!({
        "node_id": info.node_id, "version": info.version, "api_version": info.api_version, "data_dir": info.data_dir,
        "default_actor": info.default_actor, "started_ms": status.started_ms, "now_ms": status.now_ms,
        "workspaces": workspaces,
    })
}

fn workspace_json(workspace: &v1::WorkspaceStatus) -> Json {
    json!({
        "workspace": workspace.workspace, "name": workspace.name, "state": state_word(workspace.state()),
        "why": workspace.why, "revision": workspace.revision, "state_lag": workspace.state_lag,
        "record_count": workspace.record_count, "op_count": workspace.op_count, "disk_bytes": workspace.disk_bytes,
        "quarantine_count": workspace.quarantine_count, "damaged_count": workspace.damaged_count,
        "conflict_count": workspace.conflict_count, "sync_paused_ms": workspace.sync_paused_ms,
    })
}
