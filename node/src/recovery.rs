//! Recovery: whoever has the recovery key of a workspace becomes a member again, with nobody else there to admit him;
//! and a member makes the key anew, where it was lost, seen by others, or never made.

use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::read::{self, Membership};
use openprod_domain::recovery;
use openprod_domain::view::{Read, ReadFailure, View};
use openprod_messages::commands::{CommandError, Outcome};
use openprod_messages::log::Stored;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, Position};
use openprod_model::operation::Operation;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use openprod_wire::admission::modest;
use openprod_wire::recovery::RecoveryKey;

use crate::environment;
use crate::node::{self, Node};
use crate::workspace::Workspace;

/// Makes an identity of this node (the default one if none is named), and the node itself, members of the key's
/// workspace, in the name of the key. Gives the identity. Nothing is written where both are members already.
pub async fn recover(node: &Node, key: RecoveryKey, named: Option<ActorId>) -> Result<ActorId, CommandError> {
    let identity = named.or_else(|| node.identities.default_actor()).and_then(|actor| node.identities.of(actor));
    let unknown = || Refusal::new(Reason::UnknownActor, "This node does not hold the keys of that actor.").at("actor");
    let identity = identity.ok_or_else(unknown)?;
    let actor = identity.keys.actor();
    let workspace = node.workspace(key.workspace)?;
    let snapshot = workspace.snapshots.snapshot().map_err(|failure| CommandError::Unavailable(failure.to_string()))?;
    let wanted = [(actor, identity.name), (node.device.actor(), node::own_name())];
    let commands = missing(snapshot.view(), wanted)?;
    if commands.is_empty() {
        return Ok(actor);
    }
    let holder = key.keys.actor();
    let _lent = node.keyring.lends(key.keys);
    match writes(node, &workspace, commands, Some(holder), "Recover by the recovery key").await {
        Ok(_) => Ok(actor),
        Err(CommandError::Refused(refusal)) if refusal.reason == Reason::NotAMember => Err(no_longer().into()),
        Err(error) => Err(error),
    }
}

/// A recovery key that was made anew.
#[derive(Debug)]
pub struct Renewed {
    /// It, known to nobody else and never again.
    pub key: RecoveryKey,
    /// The one before, which is no member any more.
    pub replaced: Option<ActorId>,
    /// The revision behind it.
    pub revision: Position,
}

/// Makes a recovery key for a workspace in the name of `by`, a member (the default identity if none is named), and
/// removes the one before, in one bundle.
pub async fn renew(node: &Node, workspace: &Workspace, by: Option<ActorId>) -> Result<Renewed, CommandError> {
    let unreadable = |failure: ReadFailure| CommandError::Unavailable(failure.to_string());
    let replaced = present(workspace).map_err(unreadable)?;
    let keys = Keys::from_seed(&environment::secret(&*node.env.random));
    let (member, why) = (keys.actor(), modest("A new recovery key takes its place"));
    let mut commands = vec![
        Command::AdmitMember { member, name: Some(modest("Recovery key")) },
        Command::PutSetting { setting: recovery::setting(), value: Some(recovery::value(member)) },
    ];
    commands.extend(replaced.map(|member| Command::RemoveMember { member, why }));
    let outcome = writes(node, workspace, commands, by, "Make a new recovery key").await?;
    let key = RecoveryKey { workspace: workspace.id, keys };
    Ok(Renewed { key, replaced, revision: outcome.revision })
}

/// The recovery key that is a member now: the one made last, or the one that the workspace began with.
fn present(workspace: &Workspace) -> Read<Option<ActorId>> {
    let snapshot = workspace.snapshots.snapshot()?;
    let made = recovery::current(snapshot.view())?;
    let key = if made.is_some() { made } else { founding(workspace)? };
    let Some(key) = key else { return Ok(None) };
    Ok((read::membership(snapshot.view(), key)? == Membership::Admitted).then_some(key))
}

fn founding(workspace: &Workspace) -> Read<Option<ActorId>> {
    let Some(Stored::Whole(first)) = workspace.log.bundle(Position::ZERO.next())? else { return Ok(None) };
    Ok(first.ops().iter().find_map(|op| match &op.operation {
        Some(Operation::Bootstrap { recovery, .. }) => *recovery,
        _ => None,
    }))
}

async fn writes(
    node: &Node,
    workspace: &Workspace,
    commands: Vec<Command>,
    by: Option<ActorId>,
    label: &str,
) -> Result<Outcome, CommandError> {
    let request = Request::of_members(node.env.command(), Stance::Decide, Some(modest(label)), commands);
    workspace.commands.execute(request, by).await
}

/// The admissions of those who are not members.
fn missing(view: &dyn View, wanted: [(ActorId, Text); 2]) -> Result<Vec<Command>, CommandError> {
    let mut commands = Vec::new();
    for (member, name) in wanted {
        let standing = read::membership(view, member);
        if standing.map_err(|failure| CommandError::Unavailable(failure.to_string()))? != Membership::Admitted {
            commands.push(Command::AdmitMember { member, name: Some(name) });
        }
    }
    Ok(commands)
}

fn no_longer() -> Refusal {
    let message = "This recovery key is not, or no longer, a member of its workspace.";
    Refusal::new(Reason::NotAMember, message).at("recovery_key").next("Ask a member to admit you.")
}
