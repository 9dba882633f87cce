//! The endpoint: the one actor of a node that speaks with other nodes, for all of its workspaces.
//!
//! ```text
//! node
//!  +- endpoint                     keeps the peers, dials, keeps one connection for each pair of nodes
//!      +- acceptor                 hands over whoever has dialled
//!      +- one task for each link   hello, what the two share, channels, clocks
//! ```
//!
//! It knows no bundles and no members: it asks [`Workspaces`] who is a member, and hands over channels. It remembers
//! peers through a [`PeerBook`]. It may die at any time: its tasks close their connections when they notice, and the
//! next incarnation begins with the book.
//!
//! Reading order: `peers` (whom it dials, which connection it keeps; pure), `link` (one conversation), this file (what it is told), `running`
//! (what it does).

use std::net::SocketAddr;
use std::sync::Arc;

use openprod_messages::environment::Environment;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::hello::{Versions, WorkspaceTag};
use openprod_wire::opening::Opening;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::transport::{Channel, Closed, Connection, DialError, Network};
pub use link::Link;
use link::{Greeting, HelloError, News};
pub use peers::PeerNumber;
use running::Application;
pub use running::Running;
pub use status::{Connected, KnownPeer, Obstacle, PeerStage, PeerStatus};

mod link;
mod peers;
mod running;
mod status;
#[cfg(test)]
mod tests;

/// Numbers the connections; no number is used twice on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a channel of a workspace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Its bundles. One for each connection, opened by whoever dialled.
    Bundles,
    /// To be admitted to it. The other need not be a member.
    Admission,
    /// Its files.
    Files,
}

impl Purpose {
    fn opening(self, tag: WorkspaceTag) -> Opening {
        match self {
            Self::Bundles => Opening::Workspace { tag },
            Self::Admission => Opening::Admission { tag },
            Self::Files => Opening::Blob { tag },
        }
    }

    fn of(opening: Opening) -> Option<(Self, WorkspaceTag)> {
        match opening {
            Opening::Control | Opening::Asking | Opening::Presence { .. } => None,
            Opening::Workspace { tag } => Some((Self::Bundles, tag)),
            Opening::Admission { tag } => Some((Self::Admission, tag)),
            Opening::Blob { tag } => Some((Self::Files, tag)),
        }
    }
}

/// The workspaces of the node, as the endpoint sees them. Asked in the endpoint's tasks: it must not wait.
pub trait Workspaces: Send + Sync {
    /// The workspaces that the node runs.
    fn known(&self) -> Vec<WorkspaceId>;

    /// Whether a node is a member of a workspace now, as far as this node knows.
    fn is_member(&self, workspace: WorkspaceId, peer: ActorId) -> bool;

    /// Somebody who knows no workspace asks to be admitted to one. The connection ends when nobody holds it.
    fn asked(&self, connection: Arc<dyn Connection>, channel: Channel);

    /// Here is a channel of a workspace. For [`Purpose::Bundles`] there is one of each link; a new one of a link
    /// replaces the one before. For all but [`Purpose::Admission`] the other was a member a moment ago.
    fn linked(&self, link: &Link, workspace: WorkspaceId, purpose: Purpose, channel: Channel);

    /// The workspaces that are open to everybody near, with their names, to be found by those who do not know them.
    fn advertised(&self) -> Vec<(WorkspaceId, String)> {
        Vec::new()
    }

    /// The other is no member of the workspace any more, or the connection is gone: all channels of it on this link end.
    fn parted(&self, link: &Link, workspace: WorkspaceId);
}

/// Where peers are remembered from one run of the node to the next.
pub trait PeerBook: Send + Sync {
    /// The peers remembered; none where there is no book yet.
    fn load(&self) -> std::io::Result<Vec<KnownPeer>>;
    /// Remembers these and no others.
    fn store(&self, peers: &[KnownPeer]) -> std::io::Result<()>;
}

/// A book that is gone with the process.
#[cfg(any(test, feature = "testing"))]
#[derive(Default)]
pub struct MemoryBook(std::sync::Mutex<Vec<KnownPeer>>);

#[cfg(any(test, feature = "testing"))]
impl PeerBook for MemoryBook {
    fn load(&self) -> std::io::Result<Vec<KnownPeer>> {
        Ok(self.0.lock().expect("nobody panics with it").clone())
    }

    fn store(&self, peers: &[KnownPeer]) -> std::io::Result<()> {
        *self.0.lock().expect("nobody panics with it") = peers.to_vec();
        Ok(())
    }
}

/// What the endpoint may use.
#[derive(Clone)]
pub struct EndpointArgs {
    /// The network; it outlives the actor.
    pub network: Arc<dyn Network>,
    /// The node's workspaces.
    pub workspaces: Arc<dyn Workspaces>,
    /// Where peers are remembered.
    pub book: Arc<dyn PeerBook>,
    /// Clock, randomness, threads.
    pub env: Environment,
    /// What this node is, for people: `openprod 0.1.0`.
    pub software: String,
    /// The protocol versions that it speaks: [`openprod_wire::hello::VERSIONS`].
    pub versions: Versions,
}

/// Why a node could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReachError(pub String);

/// What the endpoint is told.
pub enum EndpointMsg {
    /// A person names a peer. It is remembered and dialled until it answers.
    Add {
        /// Its key, where it is known.
        key: Option<ActorId>,
        /// Where it is.
        addresses: Vec<SocketAddr>,
        /// Whether there was room for it.
        reply: RpcReplyPort<bool>,
    },
    /// A person takes a peer out of the list. It may still dial.
    Forget {
        /// Its key, or an address of it.
        peer: PeerName,
        /// Whether there was such a peer.
        reply: RpcReplyPort<bool>,
    },
    /// Asks how it stands with all peers.
    Status {
        /// They, in the order in which they became known.
        reply: RpcReplyPort<Vec<PeerStatus>>,
    },
    /// Somebody wants to be admitted to a workspace by a node: it is dialled, unless it is connected already.
    Reach {
        /// The workspace to be joined.
        workspace: WorkspaceId,
        /// The other's key.
        key: ActorId,
        /// Where it may be.
        addresses: Vec<SocketAddr>,
        /// The link, on which a channel for [`Purpose::Admission`] can be opened.
        reply: RpcReplyPort<Result<Link, ReachError>>,
    },
    /// Discovery found a node. A hint, no more.
    Found {
        /// The key that it claims.
        key: ActorId,
        /// Where it claims to be.
        addresses: Vec<SocketAddr>,
    },
    /// Discovery says that a node has left. A hint, no more.
    Left {
        /// The key that was claimed.
        key: ActorId,
    },
    /// Workspaces were opened or closed, or members have changed.
    Changed,
    /// The work on a workspace's bundles broke off, and wants a new channel on the same link.
    Renew {
        /// The link.
        link: LinkId,
        /// The workspace.
        workspace: WorkspaceId,
    },
    /// The acceptor: somebody has dialled.
    Came(Arc<dyn Connection>),
    /// A peer's pause may be over.
    Due(PeerNumber),
    /// A dial ended.
    Dialled(PeerNumber, Result<Arc<dyn Connection>, DialError>),
    /// Both have said hello on a connection, or failed to.
    Met(Meeting),
    /// Something changed on a link.
    News(LinkNews),
    /// A link's conversation is over.
    Ended(LinkId, Closed),
    /// The book was read or written.
    Booked(BookNews),
}

/// By what a person names a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerName {
    /// By its key.
    Key(ActorId),
    /// By an address of it.
    Address(SocketAddr),
}

/// How a hello ended. Made by the endpoint's own tasks only.
pub struct Meeting {
    link: LinkId,
    connection: Arc<dyn Connection>,
    dialled: Option<PeerNumber>,
    result: Result<(Greeting, Channel), HelloError>,
}

/// What changed on a link. Made by the endpoint's own tasks only.
pub struct LinkNews(LinkId, News);

/// What became of the book. Made by the endpoint's own tasks only.
pub struct BookNews(std::io::Result<Option<Vec<KnownPeer>>>);

/// The endpoint's actor.
pub struct Endpoint;

impl Actor for Endpoint {
    type Msg = EndpointMsg;
    type State = Running;
    type Arguments = EndpointArgs;

    async fn pre_start(&self, me: ActorRef<EndpointMsg>, args: EndpointArgs) -> Result<Running, ActorProcessingErr> {
        Ok(Running::start(me, args))
    }

    async fn handle(
        &self,
        _: ActorRef<EndpointMsg>,
        message: EndpointMsg,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EndpointMsg::Add { key, addresses, reply } => running.add(key, &addresses, reply),
            EndpointMsg::Forget { peer, reply } => running.forget(peer, reply),
            EndpointMsg::Status { reply } => running.status(reply),
            EndpointMsg::Reach { workspace, key, addresses, reply } => {
                running.reach(Application { workspace, reply, was_tried: false }, key, &addresses);
            }
            EndpointMsg::Found { key, addresses } => running.found(key, &addresses),
            EndpointMsg::Left { key } => running.peers.left(key),
            EndpointMsg::Changed => running.changed(),
            EndpointMsg::Renew { link, workspace } => running.renew(link, workspace),
            EndpointMsg::Came(connection) => running.came(connection),
            EndpointMsg::Due(peer) => running.due(peer),
            EndpointMsg::Dialled(peer, result) => running.dialled(peer, result),
            EndpointMsg::Met(meeting) => running.met(meeting),
            EndpointMsg::News(LinkNews(link, news)) => running.news(link, news),
            EndpointMsg::Ended(link, how) => running.ended(link, &how),
            EndpointMsg::Booked(BookNews(news)) => running.booked(news),
        }
        Ok(())
    }
}
