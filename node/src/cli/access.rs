//! Commands for clients on other machines: `token`, `tokens`, `certificate` on the node's machine, `connect` on theirs.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use openprod_client::{Client, ClientTicket, Endpoint, v1};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::invites::qr;
use super::output::{self, Grid, Style, grid, line, remark};
use super::time;
use crate::{config, folder};
use openprod_domain::describe::escaped;

/// Longest ticket that is read from standard input, with room for line breaks.
const MAX_TICKET_BYTES: u64 = 4_096;

/// Gives a token to a client on another machine, or takes it back
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum TokenCommand {
    /// Makes a token, and a ticket that carries it; it acts as --actor, else as the default identity
    Create {
        /// What people call the client, such as "Fly floor tablet"
        #[arg(long)]
        name: String,
        /// Shows the ticket as a QR code, too
        #[arg(long)]
        qr: bool,
    },
    /// Takes a token back: what is under way with it ends
    Revoke {
        /// The client's name, the token's id or the beginning of it
        token: String,
    },
}

/// Shows the certificate by which clients on other machines know this node
#[derive(Debug, Clone, Args)]
pub struct CertificateArgs {
    /// File to write it to, as PEM; standard output if it is left out
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Remembers a node on another machine by its ticket, for --node
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// What to call the node here: letters, digits and dashes
    name: String,
    /// The ticket; read from standard input if it is left out, where nobody else sees it
    ticket: Option<String>,
}

/// Runs `token`.
pub async fn token(args: TokenArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    match args.command {
        TokenCommand::Create { name, qr } => create(context, &client, name, qr).await,
        TokenCommand::Revoke { token } => {
            let token = meant(&client, &token).await?;
            let revoked = client.ask(v1::RevokeTokenRequest { token }).await?.token.unwrap_or_default();
            if context.style == Style::Json {
                return output::json(&as_json(&revoked));
            }
            remark(&format!("The token of {} is taken back.", escaped(&revoked.name)));
            Ok(())
        }
    }
}

async fn create(context: &Context, client: &Client, name: String, with_qr: bool) -> Result<(), CliError> {
    let actor = context.acting(client).await?.map(|actor| actor.to_string()).unwrap_or_default();
    let made = client.ask(v1::CreateTokenRequest { name, actor }).await?;
    let token = made.token.unwrap_or_default();
    if context.style == Style::Json {
        let mut json = as_json(&token);
        json["secret"] = made.secret.into();
        json["ticket"] = made.ticket.into();
        json["addresses"] = made.addresses.into();
        return output::json(&json);
    }
    if made.ticket.is_empty() {
        line(&made.secret)?;
        remark("This node is reached from this machine only, so there is no ticket: a program here sends this token.");
        remark("For other machines, set listen to \"0.0.0.0:7117\", start the node again, and make another one.");
        return Ok(());
    }
    if with_qr {
        line(&qr(&made.ticket)?)?;
    }
    line(&made.ticket)?;
    remark(&format!("It is told this once. It leads to {}.", made.addresses.join(", ")));
    remark("On the other machine: openprod connect NAME, then openprod --node NAME status");
    Ok(())
}

/// The token whose client is called so, or whose id begins so.
async fn meant(client: &Client, wanted: &str) -> Result<String, CliError> {
    let tokens = client.ask(v1::ListTokensRequest {}).await?.tokens;
    let fits = |token: &&v1::ClientToken| token.name == wanted || token.token.starts_with(&wanted.to_lowercase());
    match tokens.iter().filter(fits).collect::<Vec<_>>()[..] {
        [only] => Ok(only.token.clone()),
        [] => Err(CliError::failed(format!("There is no token \"{wanted}\".")).next("`openprod tokens` lists them.")),
        _ => Err(CliError::usage(format!("\"{wanted}\" may mean several.")).next("Name it by its whole id.")),
    }
}

/// Runs `tokens`.
pub async fn tokens(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let tokens = client.ask(v1::ListTokensRequest {}).await?.tokens;
    if context.style == Style::Json {
        return tokens.iter().try_for_each(|token| output::json(&as_json(token)));
    }
    let names = client.identities().await?;
    let name = |actor: &str| {
        let known = names.iter().find(|identity| identity.actor == actor);
        known.map_or_else(|| actor.chars().take(8).collect(), |identity| escaped(&identity.display_name))
    };
    let mut shown = Grid::new(&["TOKEN", "CLIENT", "ACTS AS", "SINCE"]);
    for token in tokens {
        let acts_as = name(&token.actor);
        shown.row([token.token, escaped(&token.name), acts_as, time::shown(token.created_ms)]);
    }
    grid(context.style, &shown)
}

fn as_json(token: &v1::ClientToken) -> Json {
    json!({"token": token.token, "name": token.name, "actor": token.actor, "created_ms": token.created_ms})
}

/// Runs `certificate`.
pub async fn certificate(args: CertificateArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let shown = client.ask(v1::GetCertificateRequest {}).await?;
    if context.style == Style::Json {
        return output::json(&json!({"pem": shown.pem, "fingerprint": shown.fingerprint, "name": shown.name}));
    }
    match &args.output {
        Some(path) => std::fs::write(path, &shown.pem).map_err(|error| CliError::file(path, &error))?,
        None => line(shown.pem.trim_end())?,
    }
    remark(&format!("Its SHA-256 fingerprint is {}.", shown.fingerprint));
    remark(&format!("A client that compares names is to expect \"{}\".", shown.name));
    Ok(())
}

/// Runs `connect`.
pub async fn connect(args: ConnectArgs, context: &Context) -> Result<(), CliError> {
    let path = file_of(&args.name)?;
    let ticket = match args.ticket {
        Some(text) => parsed(&text)?,
        None => parsed(&asked()?)?,
    };
    let client = Client::connect(Endpoint::Ticket(ticket.clone())).await?;
    let node = client.ask(v1::GetInfoRequest {}).await?;
    let kept = path.parent().map_or(Ok(()), folder::create_private);
    let kept = kept.and_then(|()| folder::write_over(&path, ticket.reveal().as_bytes()));
    kept.map_err(|error| CliError::file(&path, &error))?;
    if context.style == Style::Json {
        return output::json(&json!({"name": args.name, "node": node.node_id, "at": client.at()}));
    }
    remark(&format!("Reached openprod {} at {}. Use it with --node {}.", node.version, client.at(), args.name));
    Ok(())
}

/// The ticket from standard input.
fn asked() -> Result<String, CliError> {
    if std::io::stdin().is_terminal() {
        remark("Ticket, as `openprod token create` shows it on the node's machine, then Ctrl-D:");
    }
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_TICKET_BYTES).read_to_string(&mut text);
    read.map_err(|error| CliError::failed(format!("The ticket could not be read: {error}.")))?;
    Ok(text)
}

/// The ticket that people mean by a word: it itself, or the name under which it was kept.
pub fn ticket_of(word: &str) -> Result<ClientTicket, CliError> {
    if ClientTicket::is_meant(word) {
        return parsed(word);
    }
    let path = file_of(word)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => parsed(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CliError::usage(format!("There is no node called \"{word}\" here."))
                .next(format!("With a ticket of it: openprod connect {word}")))
        }
        Err(error) => Err(CliError::file(&path, &error)),
    }
}

fn parsed(text: &str) -> Result<ClientTicket, CliError> {
    let wrong = |error| {
        CliError::usage(format!("This is no client ticket: {error}."))
            .next("Copy it again, as `openprod token create` shows it on the node's machine.")
    };
    ClientTicket::parse(text.trim()).map_err(wrong)
}

/// Where a ticket is kept under a name.
fn file_of(name: &str) -> Result<PathBuf, CliError> {
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(
            CliError::usage(format!("\"{name}\" cannot be a node's name.")).next("Use letters, digits and dashes.")
        );
    }
    let folder = config::known_nodes().ok_or_else(|| {
        CliError::failed("There is no folder for tickets, since HOME is not set.").next("Set HOME, or XDG_CONFIG_HOME.")
    })?;
    Ok(Path::new(&folder).join(format!("{name}.ticket")))
}
