//! Recovery: whoever has the recovery key of a workspace becomes a member again, with nobody else there to admit him.

use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::read::{self, Membership};
use openprod_domain::view::View;
use openprod_messages::commands::{CommandError, CommandsMsg};
use openprod_model::bundle::{BundleKind, Source};
use openprod_model::ids::{ActorId, CommandId};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use openprod_wire::recovery::RecoveryKey;

use crate::node::{self, Node};

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
    let mut id = [0; 16];
    node.env.random.fill(&mut id);
    let request = Request {
        command_id: CommandId::from_bytes(id),
        session: None,
        base: None,
        stance: Stance::Decide,
        kind: BundleKind::MEMBER,
        label: None,
        source: Source::default(),
        commands,
    };
    let (request, by) = (Box::new(request), Some(holder));
    let written = workspace.commands.call(|reply| CommandsMsg::Execute { request, actor: by, reply }).await;
    match written.map_err(|none| CommandError::Unavailable(none.to_string()))? {
        Ok(_) => Ok(actor),
        Err(CommandError::Refused(refusal)) if refusal.reason == Reason::NotAMember => Err(no_longer().into()),
        Err(error) => Err(error),
    }
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
