//! Joining: how this node becomes a member of a workspace that others have, and what it keeps until it has it.
//!
//! Once another node has admitted this one, the workspace is made here, empty, with a note of whom to expect its first
//! bundles from, and who is to be a member. When the history that comes shows this node as a member, it makes that
//! person one, and the note is removed. A crash before the workspace is made leaves nothing: the same ticket joins again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::read::{self, Membership};
use openprod_links::admission::guest::{Joined, Means, NotJoined};
use openprod_links::admission::knock::{Comparison, KnockError, knock};
use openprod_links::discovery::Nearby;
use openprod_links::endpoint::{EndpointMsg, KnownPeer, Purpose};
use openprod_links::transport::{Channel, Connection, Network as _};
use openprod_messages::address::Address;
use openprod_messages::commands::CommandError;
use openprod_model::ids::{ActorId, Position, WorkspaceId};
use openprod_model::value::Text;
use openprod_wire::admission::{Right, modest};
use openprod_wire::opening::Opening;
use openprod_wire::recovery::RecoveryKey;
use openprod_wire::ticket::Ticket;
use serde::{Deserialize, Serialize};

use crate::folder;
use crate::identities::Identity;
use crate::node::{self, Node};
use crate::peers::Peers;
use crate::refetch;
use crate::workspace::Workspace;

/// How long a node listens for others before it says that none is near: an announcement, and a
/// question a second later, are answered by then.
const LISTEN_FOR: Duration = Duration::from_secs(5);

/// By what this node joins, and where it asks.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and only while somebody joins")]
pub enum Way {
    /// By a ticket, at the node that gave it out.
    Ticket(Ticket),
    /// By a recovery key, at any member that listens there.
    Recovery(RecoveryKey, Vec<SocketAddr>),
    /// By nothing: the people there decide. The workspace may be named, as it is called there.
    Asking(Option<Text>, Vec<SocketAddr>),
}

/// Why this node did not join.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JoinError {
    /// Nobody could be reached.
    #[error("the other node cannot be reached: {0}")]
    Unreachable(String),
    /// The other does not admit this node, or the connection was lost.
    #[error(transparent)]
    Knock(#[from] KnockError),
    /// The workspace could not be made here.
    #[error(transparent)]
    Here(#[from] CommandError),
}

/// What is kept in a workspace's folder until its history has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// The node that admitted this one, 64 hexadecimal digits.
    member: String,
    /// Who joins, likewise.
    actor: String,
    /// What he is called.
    name: String,
}

/// Why nobody near is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NobodyNear {
    /// None that is called so, or none at all, lets people join or ask.
    #[error("no workspace near can be joined without a ticket")]
    None,
    /// Several do; their names, as far as they differ.
    #[error("several workspaces near can be joined: {}", .0.join(", "))]
    Several(Vec<String>),
}

/// The one workspace near that can be joined, by its name or id if one is given: what it is called, and where to ask.
/// All of that is claimed, and none of it proven.
pub async fn near(peers: &Peers, name: Option<&Text>) -> Result<(Text, Vec<SocketAddr>), NobodyNear> {
    let name = name.map(Text::as_str);
    let mut nearby = peers.nearby.clone();
    // Where nothing is heard in time, or ever, there is nothing to choose from.
    let _ = tokio::time::timeout(LISTEN_FOR, nearby.wait_for(|heard| chosen(heard, name).is_ok())).await;
    let (name, addresses) = chosen(&nearby.borrow(), name)?;
    Ok((modest(&name), addresses))
}

fn chosen(heard: &[Nearby], name: Option<&str>) -> Result<(String, Vec<SocketAddr>), NobodyNear> {
    let is_meant = |one: &Nearby, name: &str| {
        let name = name.to_lowercase();
        one.name.to_lowercase() == name || one.workspace.to_string() == name
    };
    let fits = |one: &&Nearby| name.is_none_or(|name| is_meant(one, name));
    let first = heard.iter().find(fits).ok_or(NobodyNear::None)?;
    let (same, others): (Vec<_>, Vec<_>) = heard.iter().filter(fits).partition(|one| one.workspace == first.workspace);
    if others.is_empty() {
        return Ok((first.name.clone(), same.iter().flat_map(|one| one.addresses.clone()).collect()));
    }
    let names: BTreeSet<_> = same.iter().chain(&others).map(|one| format!("{:?}", one.name)).collect();
    Err(NobodyNear::Several(names.into_iter().collect()))
}

/// Asks to join, and makes the workspace here when this node is a member. Whoever drops this asks no longer; once this
/// node is a member, the workspace is made all the same. `person` is who works on it here; `show` is
/// called where people are to compare six digits.
pub async fn join(
    node: &Arc<Node>,
    peers: &Peers,
    way: Way,
    person: &Identity,
    show: impl FnMut(Comparison) + Send,
) -> Result<Joined, JoinError> {
    let asked = ask(peers, way).await?;
    let (connection, addresses) = (Arc::clone(&asked.connection), asked.addresses);
    let mut number = [0; 32];
    node.env.random.fill(&mut number);
    let me = node.device.actor();
    let entered = knock(me, &*connection, asked.channel, asked.means, node::own_name(), number, show).await?;
    fail::fail_point!("joining-before-made");
    let (member, actor) = (connection.peer().to_string(), person.keys.actor().to_string());
    let kept = Note { member, actor, name: person.name.to_string() };
    let known = KnownPeer { key: Some(connection.peer()), addresses };
    // This node is a member now: nothing is left half done, though nobody waits for it any more.
    let made = tokio::spawn(enter(Arc::clone(node), peers.endpoint.clone(), entered.workspace, kept, known));
    made.await.unwrap_or_else(|broken| Err(CommandError::Unavailable(broken.to_string())))?;
    Ok(entered)
}

/// Makes the workspace, and goes on until its history has come from the node that let this one in.
async fn enter(
    node: Arc<Node>,
    endpoint: Address<EndpointMsg>,
    workspace: WorkspaceId,
    kept: Note,
    KnownPeer { key, addresses }: KnownPeer,
) -> Result<(), CommandError> {
    expect(&node, workspace, &kept).await?;
    // A peer that there is no room to remember is dialled by its own wish.
    let _ = endpoint.call(|reply| EndpointMsg::Add { key, addresses, reply }).await;
    tokio::spawn(settle(Arc::downgrade(&node), workspace));
    Ok(())
}

/// A channel on which the question can be put.
struct Asked {
    connection: Arc<dyn Connection>,
    channel: Channel,
    means: Means,
    addresses: Vec<SocketAddr>,
}

async fn ask(peers: &Peers, way: Way) -> Result<Asked, JoinError> {
    match way {
        Way::Ticket(ticket) => {
            let (workspace, keys) = (ticket.workspace, ticket.secret.keys());
            let means = Means::Key { by: Right::Ticket, workspace, keys };
            by_link(peers, workspace, ticket.inviter, ticket.addresses, means).await
        }
        Way::Recovery(RecoveryKey { workspace, keys }, addresses) => {
            let member = dial(peers, &addresses).await?.peer();
            by_link(peers, workspace, member, addresses, Means::Key { by: Right::Member, workspace, keys }).await
        }
        Way::Asking(workspace, addresses) => {
            let connection = dial(peers, &addresses).await?;
            let lost = |error| JoinError::Knock(KnockError::Lost(error));
            let mut channel = connection.open().await.map_err(|closed| lost(closed.into()))?;
            channel.send.say(&Opening::Asking).await.map_err(lost)?;
            Ok(Asked { connection, channel, means: Means::Asking { workspace }, addresses })
        }
    }
}

/// Whoever knows the workspace asks on the one connection of the two nodes, over which it then syncs.
async fn by_link(
    peers: &Peers,
    workspace: WorkspaceId,
    key: ActorId,
    addresses: Vec<SocketAddr>,
    means: Means,
) -> Result<Asked, JoinError> {
    let at = addresses.clone();
    let reached = peers.endpoint.call(|reply| EndpointMsg::Reach { workspace, key, addresses: at, reply }).await;
    let unreachable = |error: String| JoinError::Unreachable(error);
    let link =
        reached.map_err(|none| unreachable(none.to_string()))?.map_err(|error| unreachable(error.to_string()))?;
    let channel = link.open(workspace, Purpose::Admission).await.map_err(KnockError::Lost)?;
    Ok(Asked { connection: link.connection, channel, means, addresses })
}

async fn dial(peers: &Peers, addresses: &[SocketAddr]) -> Result<Arc<dyn Connection>, JoinError> {
    let mut tried = Vec::new();
    for address in addresses {
        match peers.network.dial(*address, None).await {
            Ok(connection) => return Ok(connection),
            Err(error) => tried.push(format!("{address}: {error}")),
        }
    }
    Err(JoinError::Unreachable(tried.join("; ")))
}

/// Makes the workspace, empty, or notes in one that is here already what is expected. One whose log is lost begins again,
/// empty; the note goes first, so that a crash in between leaves a workspace to which its history may come.
async fn expect(node: &Node, workspace: WorkspaceId, kept: &Note) -> Result<(), CommandError> {
    let path = node.folder.workspace(workspace).joining();
    let text = toml::to_string(kept).expect("three plain fields are TOML");
    let write = || folder::write_over(&path, text.as_bytes());
    let failed = |error: std::io::Error| CommandError::Unavailable(format!("{}: {error}", path.display()));
    if node.workspace(workspace).is_ok() {
        return write().map_err(failed);
    }
    if refetch::is_lost(node, workspace) {
        write().map_err(failed)?;
        refetch::put_aside(&node.folder.workspace(workspace), node.env.clock.wall_ms()).map_err(failed)?;
        return node.adopt(workspace).await.map(drop);
    }
    let made = node.make(workspace).await?;
    fail::fail_point!("joining-before-noted");
    write().map_err(failed)?;
    fail::fail_point!("joining-before-listed");
    node.list_made(&made)
}

fn noted(path: &Path) -> Option<Note> {
    let text = std::fs::read_to_string(path).ok()?;
    toml::from_str(&text).inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not understood")).ok()
}

/// Whether the first bundles of a workspace that is empty yet are expected from this node.
pub fn is_expected(node: &Node, workspace: &Workspace, peer: ActorId) -> bool {
    let is_empty = workspace.log.tail().is_ok_and(|tail| tail.position == Position::ZERO);
    is_empty
        && noted(&node.folder.workspace(workspace.id).joining()).is_some_and(|note| note.member == peer.to_string())
}

/// Goes on with what a restart interrupted.
pub fn resume(node: &Arc<Node>) {
    for (workspace, _) in node.workspaces() {
        if node.folder.workspace(workspace).joining().exists() {
            tokio::spawn(settle(Arc::downgrade(node), workspace));
        }
    }
}

/// Waits until the history shows this node as a member, and makes the person one for whom it joined.
async fn settle(node: Weak<Node>, id: WorkspaceId) {
    let Some(mut folded) = node.upgrade().and_then(|node| Some(node.workspace(id).ok()?.snapshots.folded())) else {
        return;
    };
    loop {
        folded.mark_unchanged();
        let Some(here) = node.upgrade() else { return };
        match try_to_settle(&here, id).await {
            Ok(Settled::Done) => return,
            Ok(Settled::NotYet) => {}
            Err(error) => tracing::warn!(workspace = %id, %error, "whoever joined is not a member yet"),
        }
        drop(here);
        if folded.changed().await.is_err() {
            return;
        }
    }
}

enum Settled {
    Done,
    NotYet,
}

async fn try_to_settle(node: &Node, id: WorkspaceId) -> Result<Settled, CommandError> {
    let path = node.folder.workspace(id).joining();
    let Some(kept) = noted(&path) else { return Ok(Settled::Done) };
    let workspace = node.workspace(id)?;
    let unreadable = |failure: openprod_domain::view::ReadFailure| CommandError::Unavailable(failure.to_string());
    let snapshot = workspace.snapshots.snapshot().map_err(unreadable)?;
    let standing = |actor| read::membership(snapshot.view(), actor).map_err(unreadable);
    if standing(node.device.actor())? != Membership::Admitted {
        return Ok(Settled::NotYet);
    }
    if let Some(person) = kept.actor.parse().ok().filter(|actor| node.identities.of(*actor).is_some())
        && standing(person)? == Membership::Stranger
    {
        admit(node, &workspace, person, &kept.name).await?;
    }
    match refetch::take_back(node, &workspace).await? {
        0 => {}
        bundles => tracing::info!(workspace = %id, bundles, "taken back from the log that was lost"),
    }
    let removed = std::fs::remove_file(&path);
    removed.map(|()| Settled::Done).map_err(|error| CommandError::Unavailable(error.to_string()))
}

async fn admit(node: &Node, workspace: &Workspace, person: ActorId, name: &str) -> Result<(), CommandError> {
    let commands = vec![Command::AdmitMember { member: person, name: Text::new(name).ok() }];
    let request = Request::of_members(node.env.command(), Stance::Beside, None, commands);
    workspace.commands.execute(request, Some(node.device.actor())).await.map(drop)
}

/// A sentence for whoever tried to join, and what to do next.
pub fn advice(error: &JoinError) -> &'static str {
    match error {
        JoinError::Unreachable(_) => "Are both on one network, is that node running, and is its UDP port open?",
        JoinError::Knock(KnockError::NotJoined(NotJoined::Choose(_))) => "Name one of them with --name.",
        JoinError::Knock(KnockError::NotJoined(_)) => "Ask for a new ticket.",
        JoinError::Knock(KnockError::Lost(_)) | JoinError::Here(_) => {
            "Try again: the same ticket is still good for you."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(workspace: u8, name: &str, node: u8) -> Nearby {
        let workspace = WorkspaceId::from_bytes([workspace; 16]);
        let addresses = vec![SocketAddr::from(([10, 0, 0, node], 7118))];
        Nearby { workspace, name: name.to_owned(), key: ActorId::from_bytes([node; 32]), addresses }
    }

    #[test]
    fn the_only_workspace_near_is_asked_for_at_all_its_nodes_and_of_several_one_is_to_be_named() {
        let heard = [heard(1, "Hamlet", 1), heard(2, "Macbeth", 2), heard(1, "Hamlet", 3)];
        let addresses = |nodes: &[usize]| nodes.iter().flat_map(|at| heard[*at].addresses.clone()).collect::<Vec<_>>();
        assert_eq!(chosen(&heard[..1], None), Ok(("Hamlet".to_owned(), addresses(&[0]))));
        assert_eq!(chosen(&heard, Some("Hamlet")), Ok(("Hamlet".to_owned(), addresses(&[0, 2]))));
        let names = ["\"Hamlet\"", "\"Macbeth\""].map(str::to_owned).into();
        assert_eq!(chosen(&heard, None), Err(NobodyNear::Several(names)));
        assert_eq!(chosen(&heard, Some("Lear")), Err(NobodyNear::None));
        assert_eq!(chosen(&[], None), Err(NobodyNear::None));
    }

    #[test]
    fn of_two_workspaces_with_one_name_none_is_taken_for_the_other() {
        let names = vec!["\"Hamlet\"".to_owned()];
        let heard = [heard(1, "Hamlet", 1), heard(2, "Hamlet", 2)];
        assert_eq!(chosen(&heard, Some("Hamlet")), Err(NobodyNear::Several(names)));
    }
}
