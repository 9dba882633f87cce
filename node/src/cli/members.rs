//! Commands for the members of a workspace.

use clap::{Args, Subcommand};
use openprod_client::{Change, Workspace, v1};
use openprod_domain::command::Command;
use openprod_model::ids::ActorId;
use serde_json::json;

use super::context::{self, Context};
use super::error::CliError;
use super::output::{self, Grid, Style, grid};
use super::tables::text;
use super::{ask, write};

/// Lists, admits, removes and names members
#[derive(Debug, Clone, Args)]
pub struct MembersArgs {
    #[command(subcommand)]
    command: Option<MembersCommand>,
}

#[derive(Debug, Clone, Subcommand)]
enum MembersCommand {
    /// Lists everybody who was ever admitted
    List,
    /// Admits somebody
    Admit {
        /// The actor's id, 64 hexadecimal digits, or the name of an identity of this node
        member: String,
        /// What people call the actor
        #[arg(long)]
        name: Option<String>,
        /// Admits whoever is in doubt, too: who admitted him was removed meanwhile, or others removed him again
        #[arg(long)]
        decide: bool,
    },
    /// Removes a member
    Remove {
        /// The member: a name, an id or the beginning of it
        member: String,
        /// Why, for the others
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Gives somebody a display name
    Name {
        /// The member: a name, an id or the beginning of it
        member: String,
        /// The new name
        name: String,
    },
}

/// Runs `members`.
pub async fn run(args: MembersArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let (command, verb) = match args.command.unwrap_or(MembersCommand::List) {
        MembersCommand::List => return list(context, &workspace).await,
        MembersCommand::Admit { member, name, decide } => {
            let name = name.as_deref().map(text).transpose()?;
            let command = Command::AdmitMember { member: someone(&workspace, &member).await?, name };
            if decide {
                let change = Change::new(&[command]).stance(v1::Stance::Decide);
                return write::tell(context, &workspace.execute(&change).await?, "Admitted");
            }
            (command, "Admitted")
        }
        MembersCommand::Remove { member, why } => {
            let actor = someone(&workspace, &member).await?;
            ask::sure(context, &format!("Remove {member} ({})?", actor.short()))?;
            (Command::RemoveMember { member: actor, why: text(&why)? }, "Removed")
        }
        MembersCommand::Name { member, name } => {
            (Command::NameActor { actor: someone(&workspace, &member).await?, name: text(&name)? }, "Named")
        }
    };
    write::send(context, &workspace, &[command], verb).await
}

/// Members go before identities of this node, which may not have been admitted yet.
async fn someone(workspace: &Workspace, wanted: &str) -> Result<ActorId, CliError> {
    let members = workspace.describe().await?.members;
    let known: Vec<_> = members.iter().map(|one| (one.actor.as_str(), one.name.as_str())).collect();
    let unknown = match context::actor(wanted, &known, "member") {
        Ok(actor) => return Ok(actor),
        Err(unknown) => unknown,
    };
    let identities = workspace.client().identities().await?;
    let known: Vec<_> = identities.iter().map(|one| (one.actor.as_str(), one.display_name.as_str())).collect();
    context::actor(wanted, &known, "member").map_err(|_| unknown)
}

async fn list(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let mut shown = Grid::new(&["NAME", "ACTOR", "MEMBERSHIP"]);
    for member in workspace.describe().await?.members {
        let standing = match member.membership() {
            v1::Membership::Admitted => "admitted",
            v1::Membership::Removed => "removed",
            v1::Membership::Unspecified => "unknown",
        };
        if context.style == Style::Json {
            output::json(&json!({
                "actor": member.actor, "name": member.name, "membership": standing, "in_conflict": member.in_conflict,
            }))?;
        }
        let flag = if member.in_conflict { " (people disagree)" } else { "" };
        shown.row([member.name, member.actor, format!("{standing}{flag}")]);
    }
    if context.style == Style::Json { Ok(()) } else { grid(context.style, &shown) }
}
