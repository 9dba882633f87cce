//! Commands for the identities of a node: who can act there.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use openprod_client::{Client, v1};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::ask;
use super::context::{self, Context};
use super::error::CliError;
use super::output::{self, Grid, Style, grid, line, remark};

/// Lists, makes, exports and imports identities of the node
#[derive(Debug, Clone, Args)]
pub struct IdentitiesArgs {
    #[command(subcommand)]
    command: Option<IdentitiesCommand>,
}

#[derive(Debug, Clone, Subcommand)]
enum IdentitiesCommand {
    /// Lists the identities, the default first
    List,
    /// Makes an identity
    New {
        /// What people call the actor
        name: String,
    },
    /// Makes an identity the one that acts where none is named
    Default {
        /// The identity: a name, an id or the beginning of it
        identity: String,
    },
    /// Writes an identity, sealed under a passphrase, to be taken to another node
    Export {
        /// The identity: a name, an id or the beginning of it
        identity: String,
        /// Where to; standard output if it is left out
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// File whose first line is the passphrase; else it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Takes in an identity that another node exported
    Import {
        /// The exported file
        file: PathBuf,
        /// What people call the actor
        #[arg(long)]
        name: String,
        /// File whose first line is the passphrase; else it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

/// Runs `identities`.
pub async fn run(args: IdentitiesArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    match args.command.unwrap_or(IdentitiesCommand::List) {
        IdentitiesCommand::List => list(context, &client).await,
        IdentitiesCommand::New { name } => {
            let made = client.create_identity(&name).await?.identity.unwrap_or_default();
            tell(context, &made, "Made")
        }
        IdentitiesCommand::Default { identity } => default(context, &client, &identity).await,
        IdentitiesCommand::Export { identity, output, passphrase_file } => {
            export(&client, &identity, output.as_deref(), passphrase_file.as_deref()).await
        }
        IdentitiesCommand::Import { file, name, passphrase_file } => {
            let text = std::fs::read_to_string(&file).map_err(|error| CliError::file(&file, &error))?;
            let passphrase = ask::passphrase(passphrase_file.as_deref())?.to_string();
            let question = v1::ImportIdentityRequest { text: text.trim().to_owned(), passphrase, display_name: name };
            let answer = client.ask(question).await?;
            let verb = if answer.already_known { "It was here already" } else { "Taken in" };
            tell(context, &answer.identity.unwrap_or_default(), verb)
        }
    }
}

async fn list(context: &Context, client: &Client) -> Result<(), CliError> {
    let identities = client.identities().await?;
    if context.style == Style::Json {
        return identities.iter().try_for_each(|identity| output::json(&as_json(identity)));
    }
    let mut shown = Grid::new(&["NAME", "ACTOR", "DEFAULT"]);
    for identity in identities {
        let default = if identity.is_default { "yes" } else { "" };
        shown.row([identity.display_name, identity.actor, default.to_owned()]);
    }
    grid(context.style, &shown)
}

fn tell(context: &Context, identity: &v1::Identity, verb: &str) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&as_json(identity));
    }
    line(&identity.actor)?;
    remark(&format!("{verb}: {}.", identity.display_name));
    Ok(())
}

fn as_json(identity: &v1::Identity) -> Json {
    json!({"actor": identity.actor, "name": identity.display_name, "is_default": identity.is_default})
}

async fn known(client: &Client, wanted: &str) -> Result<v1::Identity, CliError> {
    let identities = client.identities().await?;
    let names: Vec<_> = identities.iter().map(|one| (one.actor.as_str(), one.display_name.as_str())).collect();
    let actor = context::actor(wanted, &names, "identity")?.to_string();
    let unknown = || CliError::failed(format!("This node does not hold the identity {actor}."));
    identities.iter().find(|one| one.actor == actor).cloned().ok_or_else(unknown)
}

async fn default(context: &Context, client: &Client, wanted: &str) -> Result<(), CliError> {
    let identity = known(client, wanted).await?;
    if identity.is_default {
        return tell(context, &identity, "It is the default already");
    }
    let answer = client.ask(v1::SetDefaultIdentityRequest { actor: identity.actor }).await?;
    tell(context, &answer.identity.unwrap_or_default(), "The default from now on")
}

async fn export(
    client: &Client,
    wanted: &str,
    output: Option<&Path>,
    passphrase_file: Option<&Path>,
) -> Result<(), CliError> {
    let actor = known(client, wanted).await?.actor;
    let passphrase = ask::new_passphrase(passphrase_file)?.to_string();
    let text = Zeroizing::new(client.ask(v1::ExportIdentityRequest { actor, passphrase }).await?.text);
    let Some(path) = output else { return line(&text) };
    // For this user only, and never over another file.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{}", text.as_str())).map_err(|error| CliError::file(path, &error))?;
    remark(&format!("Written to {}. Whoever has it and the passphrase can act as this person.", path.display()));
    Ok(())
}
