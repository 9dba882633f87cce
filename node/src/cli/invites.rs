//! Commands for letting others in: tickets, those who ask, and the recovery key.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openprod_client::{Workspace, v1};
use openprod_domain::describe::escaped;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value as Json, json};

use super::context::{Context, SHORTEST_PREFIX};
use super::error::CliError;
use super::output::{self, Grid, Style, grid, line, remark};
use super::{ask, time};

/// Makes a ticket with which others join the workspace
#[derive(Debug, Clone, Args)]
pub struct InviteArgs {
    /// Shows it as a QR code, too
    #[arg(long)]
    qr: bool,
    /// How many nodes may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    uses: u32,
    /// How long it is good: 30min, 2h, at most 24h
    #[arg(long, value_name = "TIME", default_value = "2h")]
    expires: String,
}

/// Joins a workspace that other nodes have
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    /// Ticket, or recovery key
    ticket: Option<String>,
    /// Where a member's node listens, such as 10.0.0.5:7118: needed for a recovery key. To ask without a ticket, it may
    /// be left out where the node is near
    #[arg(long, value_name = "ADDRESS")]
    at: Option<String>,
    /// A workspace near by that can be joined without a ticket, by its name or id: `openprod nearby` lists them
    #[arg(long, value_name = "NAME|ID", conflicts_with_all = ["ticket", "at", "name"])]
    open: Option<String>,
    /// What the workspace is called there, if several can be joined
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Lists and revokes tickets
#[derive(Debug, Clone, Args)]
pub struct InvitesArgs {
    #[command(subcommand)]
    command: Option<InvitesCommand>,
}

#[derive(Debug, Clone, Subcommand)]
enum InvitesCommand {
    /// Lists the tickets that this node gave out
    List,
    /// Takes a ticket back; who has joined with it stays a member
    Revoke {
        /// Its id or the beginning of it
        invite: String,
    },
}

/// Lists those who wait to join, and decides about them
#[derive(Debug, Clone, Args)]
pub struct RequestsArgs {
    #[command(subcommand)]
    command: Option<RequestsCommand>,
}

#[derive(Debug, Clone, Subcommand)]
enum RequestsCommand {
    /// Lists those who wait
    List,
    /// Lets in whoever waits with this code; read it from the screen of the one who joins
    Approve {
        /// The six digits
        code: String,
    },
    /// Turns away whoever waits with this code
    Deny {
        /// The six digits
        code: String,
    },
}

/// Becomes a member again by a workspace's recovery key
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// File with the recovery key; else it is asked for
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Looks after the workspace's recovery key
#[derive(Debug, Clone, Args)]
pub struct RecoveryArgs {
    #[command(subcommand)]
    command: RecoveryCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum RecoveryCommand {
    /// Makes a new recovery key, and shows it this once; the one before lets nobody in any more
    New,
}

/// Runs `recovery`.
pub async fn recovery(args: &RecoveryArgs, context: &Context) -> Result<(), CliError> {
    let RecoveryCommand::New = args.command;
    let workspace = context.workspace().await?;
    ask::sure(context, "Make a new recovery key? One that was made before lets nobody in any more.")?;
    let actor = workspace.actor().map(|actor| actor.to_string()).unwrap_or_default();
    let made = workspace.read(v1::CreateRecoveryKeyRequest { actor, ..Default::default() }).await?;
    if context.style == Style::Json {
        return output::json(&json!({
            "recovery_key": made.recovery_key, "actor": made.actor, "replaced": made.replaced,
            "revision": made.revision,
        }));
    }
    line(&made.recovery_key)?;
    remark("It is shown this once. Keep it on paper: it lets you in again when all devices are lost.");
    if !made.replaced.is_empty() {
        remark("The recovery key before is worth nothing any more: throw it away.");
    }
    Ok(())
}

/// Runs `invite`.
pub async fn invite(args: InviteArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let (uses, lifetime_s) = (args.uses, seconds(&args.expires)?);
    let actor = workspace.actor().map(|actor| actor.to_string()).unwrap_or_default();
    let made = workspace.read(v1::CreateInviteRequest { actor, uses, lifetime_s, ..Default::default() }).await?;
    let invite = made.invite.unwrap_or_default();
    if context.style == Style::Json {
        let mut json = as_json(&invite);
        json["ticket"] = made.ticket.into();
        json["addresses"] = made.addresses.into();
        return output::json(&json);
    }
    if args.qr {
        line(&qr(&made.ticket)?)?;
    }
    line(&made.ticket)?;
    remark(&format!("Good for {} until {}.", joins(invite.uses), time::shown(invite.expires_ms)));
    if made.addresses.is_empty() {
        remark("This node does not listen for others, so nobody can join with it yet.");
    }
    Ok(())
}

fn joins(uses: u32) -> String {
    if uses == 1 { "one node".to_owned() } else { format!("{uses} nodes") }
}

/// A time span as people write it, in seconds.
fn seconds(text: &str) -> Result<u32, CliError> {
    let span: Option<jiff::SignedDuration> = text.trim().parse().ok();
    let seconds = span.and_then(|span| u32::try_from(span.as_secs()).ok()).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| CliError::usage(format!("\"{text}\" is not a time span.")).next("Write 30min, 2h or 24h."))
}

/// The ticket as a QR code of half blocks: two lines of it are one of the terminal.
pub(super) fn qr(ticket: &str) -> Result<String, CliError> {
    let failed = |error| CliError::failed(format!("The ticket does not fit into a QR code: {error}."));
    let code = QrCode::new(ticket).map_err(failed)?;
    // Terminals are mostly dark, and scanners want a light ground.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// Runs `join`.
pub async fn join(args: JoinArgs, context: &Context) -> Result<(), CliError> {
    use v1::join_response::Event;
    let client = context.client().await?;
    let actor = context.acting(&client).await?.map(|actor| actor.to_string()).unwrap_or_default();
    let (address, workspace_name) = (args.at.unwrap_or_default(), args.open.or(args.name).unwrap_or_default());
    let message = v1::JoinRequest { ticket: args.ticket.unwrap_or_default(), address, workspace_name, actor };
    let mut answers = client.join(message).await?;
    while let Some(answer) = answers.next().await? {
        match answer.event {
            Some(Event::Comparison(shown)) => compare(context, &shown)?,
            Some(Event::Joined(joined)) => return arrived(context, &joined),
            None => {}
        }
    }
    Err(CliError::failed("The node broke off.").next("Try again: the same ticket is still good for you."))
}

fn compare(context: &Context, shown: &v1::JoinComparison) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&json!({"workspace_name": shown.workspace_name, "code": shown.code}));
    }
    remark(&format!(
        "To join {}, a member has to type `openprod requests approve` with this code:",
        shown.workspace_name
    ));
    line(&shown.code)
}

fn arrived(context: &Context, joined: &v1::Joined) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&json!({"workspace": joined.workspace, "name": joined.name}));
    }
    line(&joined.workspace)?;
    remark(&format!(
        "Joined {}. What it holds comes as the nodes sync: `openprod peers --watch` tells how far it is.",
        joined.name
    ));
    Ok(())
}

/// Runs `invites`.
pub async fn invites(args: InvitesArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match args.command.unwrap_or(InvitesCommand::List) {
        InvitesCommand::List => list(context, &workspace).await,
        InvitesCommand::Revoke { invite } => {
            let invite = meant(&workspace, &invite).await?;
            let answer = workspace.read(v1::RevokeInviteRequest { invite, ..Default::default() }).await?;
            let invite = answer.invite.unwrap_or_default();
            if context.style == Style::Json {
                return output::json(&as_json(&invite));
            }
            remark(&format!("The ticket is {}.", state(&invite)));
            Ok(())
        }
    }
}

async fn list(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let invites = workspace.read(v1::ListInvitesRequest::default()).await?.invites;
    if context.style == Style::Json {
        return invites.iter().try_for_each(|invite| output::json(&as_json(invite)));
    }
    let mut shown = Grid::new(&["TICKET", "STATE", "JOINED", "UNTIL"]);
    for invite in invites {
        let (id, state) = (invite.invite[..12.min(invite.invite.len())].to_owned(), state(&invite).to_owned());
        let joined = format!("{} of {}", invite.joined.len(), invite.uses);
        shown.row([id, state, joined, time::shown(invite.expires_ms)]);
    }
    grid(context.style, &shown)
}

/// The ticket whose id begins so.
async fn meant(workspace: &Workspace, wanted: &str) -> Result<String, CliError> {
    let invites = workspace.read(v1::ListInvitesRequest::default()).await?.invites;
    let folded = wanted.to_lowercase();
    let fits = |invite: &&v1::Invite| folded.len() >= SHORTEST_PREFIX && invite.invite.starts_with(&folded);
    match invites.iter().filter(fits).collect::<Vec<_>>()[..] {
        [only] => Ok(only.invite.clone()),
        [] => Err(CliError::failed(format!("There is no ticket \"{wanted}\".")).next("`openprod invites` lists them.")),
        _ => Err(CliError::usage(format!("\"{wanted}\" may mean several.")).next("Write more letters of its id.")),
    }
}

fn state(invite: &v1::Invite) -> &'static str {
    match invite.state() {
        v1::InviteState::Live => "live",
        v1::InviteState::UsedUp => "used up",
        v1::InviteState::Expired => "expired",
        v1::InviteState::Revoked => "revoked",
        v1::InviteState::Unspecified => "unknown",
    }
}

fn as_json(invite: &v1::Invite) -> Json {
    json!({
        "invite": invite.invite, "actor": invite.actor, "created_ms": invite.created_ms,
        "expires_ms": invite.expires_ms, "uses": invite.uses, "joined": invite.joined, "state": state(invite),
    })
}

/// Runs `requests`.
pub async fn requests(args: RequestsArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let actor = workspace.actor().map(|actor| actor.to_string()).unwrap_or_default();
    match args.command.unwrap_or(RequestsCommand::List) {
        RequestsCommand::List => waiting(context, &workspace).await,
        RequestsCommand::Approve { code } => {
            let question = v1::ApproveJoinRequestRequest { code, actor, ..Default::default() };
            told(context, workspace.read(question).await?.request, "Admitted")
        }
        RequestsCommand::Deny { code } => {
            let question = v1::DenyJoinRequestRequest { code, actor, ..Default::default() };
            told(context, workspace.read(question).await?.request, "Turned away")
        }
    }
}

async fn waiting(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let requests = workspace.read(v1::ListJoinRequestsRequest::default()).await?.requests;
    if context.style == Style::Json {
        return requests.iter().try_for_each(|request| output::json(&request_json(request)));
    }
    if requests.is_empty() {
        remark("Nobody waits at this node. Whoever asks waits at the node that he asked, and only there.");
        return Ok(());
    }
    let mut shown = Grid::new(&["CODE", "NAME", "NODE", "SINCE"]);
    for request in requests {
        let since = time::shown(request.since_ms);
        shown.row([request.code, escaped(&request.name), request.node, since]);
    }
    grid(context.style, &shown)
}

fn told(context: &Context, request: Option<v1::WaitingNode>, verb: &str) -> Result<(), CliError> {
    let request = request.unwrap_or_default();
    if context.style == Style::Json {
        return output::json(&request_json(&request));
    }
    line(&request.node)?;
    remark(&format!("{verb}: {}.", request.name));
    Ok(())
}

fn request_json(request: &v1::WaitingNode) -> Json {
    json!({"node": request.node, "name": request.name, "code": request.code, "since_ms": request.since_ms})
}

/// Runs `recover`.
pub async fn recover(args: &RecoverArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let key = ask::recovery_key(args.key_file.as_deref())?;
    let actor = context.acting(&client).await?.map(|actor| actor.to_string()).unwrap_or_default();
    let question = v1::RecoverWorkspaceRequest { recovery_key: key.trim().to_owned(), actor };
    let answer = client.ask(question).await?;
    if context.style == Style::Json {
        return output::json(&json!({"workspace": answer.workspace, "actor": answer.actor}));
    }
    line(&answer.workspace)?;
    remark("You are a member again, and so is this node.");
    Ok(())
}
