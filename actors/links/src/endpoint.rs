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
//! Reading order: `peers` (whom it dials, which connection it keeps; pure), [`link`] (one conversation), this file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use openprod_messages::environment::Environment;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::closing::CloseCode;
use openprod_wire::hello::WorkspaceTag;
use openprod_wire::opening::Opening;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{mpsc, watch};

use crate::transport::{Channel, Closed, Connection, DialError, Network};
pub use link::Link;
use link::{Beginning, Conversation, Greeting, HelloError, Myself, News};
pub use peers::PeerNumber;
use peers::{Act, Failure, Met, Peers, Stage};
pub use status::{Connected, KnownPeer, PeerStage, PeerStatus};

mod link;
mod peers;
mod status;
#[cfg(test)]
mod tests;

/// Connections that have not said hello yet, at once; further ones are told that the node is busy,
/// unless they are known from before.
const MAX_UNMET: usize = 32;

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
    /// What is never stored.
    Presence,
}

impl Purpose {
    fn opening(self, tag: WorkspaceTag) -> Opening {
        match self {
            Self::Bundles => Opening::Workspace { tag },
            Self::Admission => Opening::Admission { tag },
            Self::Files => Opening::Blob { tag },
            Self::Presence => Opening::Presence { tag },
        }
    }

    fn of(opening: Opening) -> Option<(Self, WorkspaceTag)> {
        match opening {
            Opening::Control | Opening::Asking => None,
            Opening::Workspace { tag } => Some((Self::Bundles, tag)),
            Opening::Admission { tag } => Some((Self::Admission, tag)),
            Opening::Blob { tag } => Some((Self::Files, tag)),
            Opening::Presence { tag } => Some((Self::Presence, tag)),
        }
    }
}

/// The workspaces of the node, as the endpoint sees them. Asked in the endpoint's tasks: it must not wait.
pub trait Workspaces: Send + Sync {
    /// The workspaces that the node runs.
    fn known(&self) -> Vec<WorkspaceId>;

    /// Whether a node is a member of a workspace now, as far as this node knows.
    fn is_member(&self, workspace: WorkspaceId, peer: ActorId) -> bool;

    /// Here is a channel of a workspace. For [`Purpose::Bundles`] there is one of each link; a new one of a link
    /// replaces the one before. For all but [`Purpose::Admission`] the other was a member a moment ago.
    fn linked(&self, link: &Link, workspace: WorkspaceId, purpose: Purpose, channel: Channel);

    /// The workspaces that are open to everybody near, with their names, to be found by those who do not know them.
    fn advertised(&self) -> Vec<(WorkspaceId, String)> {
        Vec::new()
    }

    /// Somebody who knows no workspace asks to be admitted to one. The connection ends when nobody holds it.
    fn asked(&self, connection: Arc<dyn Connection>, channel: Channel);

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

/// What the endpoint knows between two messages.
pub struct Running {
    args: EndpointArgs,
    me: ActorRef<EndpointMsg>,
    myself: Myself,
    peers: Peers,
    links: BTreeMap<LinkId, Linked>,
    unmet: usize,
    next_link: u64,
    changes: watch::Sender<u64>,
    joining: BTreeMap<ActorId, Vec<Application>>,
    book: BookState,
}

/// A kept connection.
struct Linked {
    link: Link,
    software: String,
    since_ms: u64,
    clock_offset_ms: Option<i64>,
    shares: Vec<WorkspaceId>,
    renewals: mpsc::UnboundedSender<WorkspaceId>,
}

/// Somebody waits to reach a node.
struct Application {
    workspace: WorkspaceId,
    reply: RpcReplyPort<Result<Link, ReachError>>,
}

/// Whether the book is being written, and whether it must be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BookState {
    Loading,
    Written,
    Writing,
    WritingAndOutdated,
}

impl Actor for Endpoint {
    type Msg = EndpointMsg;
    type State = Running;
    type Arguments = EndpointArgs;

    async fn pre_start(&self, me: ActorRef<EndpointMsg>, args: EndpointArgs) -> Result<Running, ActorProcessingErr> {
        let draw = || {
            let mut bytes = [0; 8];
            args.env.random.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let myself = Myself { life: draw(), software: args.software.clone() };
        let running = Running {
            me,
            myself,
            peers: Peers::new(args.network.key()),
            links: BTreeMap::new(),
            unmet: 0,
            next_link: draw() >> 1,
            changes: watch::channel(0).0,
            joining: BTreeMap::new(),
            book: BookState::Loading,
            args,
        };
        running.accept_on();
        running.load();
        Ok(running)
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
                running.reach(Application { workspace, reply }, key, &addresses);
            }
            EndpointMsg::Found { key, addresses } => running.found(key, &addresses),
            EndpointMsg::Left { key } => running.peers.left(key),
            EndpointMsg::Changed => running.changes.send_modify(|count| *count += 1),
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

impl Running {
    fn now_ms(&self) -> u64 {
        self.args.env.clock.monotonic_ms()
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.args.env.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn accept_on(&self) {
        let (network, me) = (Arc::clone(&self.args.network), self.me.clone());
        tokio::spawn(async move {
            while let Some(connection) = network.accept().await {
                if me.cast(EndpointMsg::Came(connection)).is_err() {
                    break;
                }
            }
        });
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Dial { peer, addresses, expected } => self.dial(peer, addresses, expected),
                Act::Wake { peer, in_ms } => self.wake(peer, in_ms),
                Act::Close { link, code } => self.close(link, code),
                Act::Remember => self.remember(),
            }
        }
    }

    /// Dials all addresses at once: of a laptop's many, some lead nowhere. The first that answers is taken.
    fn dial(&self, peer: PeerNumber, addresses: Vec<SocketAddr>, expected: Option<ActorId>) {
        let (network, me) = (Arc::clone(&self.args.network), self.me.clone());
        tokio::spawn(async move {
            let dials = addresses.into_iter().map(|address| network.dial(address, expected).boxed());
            let result = futures::future::select_ok(dials).await.map(|(connection, _)| connection);
            // An endpoint that is gone wants no connection; dropped, it is closed.
            let _ = me.cast(EndpointMsg::Dialled(peer, result));
        });
    }

    fn wake(&self, peer: PeerNumber, in_ms: u64) {
        let me = self.me.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(in_ms)).await;
            // A later incarnation makes its own plans.
            let _ = me.cast(EndpointMsg::Due(peer));
        });
    }

    fn close(&self, link: LinkId, code: CloseCode) {
        if let Some(linked) = self.links.get(&link) {
            linked.link.connection.close(code);
        }
    }

    fn due(&mut self, peer: PeerNumber) {
        let acts = self.peers.due(peer, self.now_ms());
        self.act(acts);
    }

    fn dialled(&mut self, peer: PeerNumber, result: Result<Arc<dyn Connection>, DialError>) {
        match result {
            Ok(connection) => self.greet(connection, Some(peer)),
            Err(error) => self.failed(peer, error.to_string(), false),
        }
    }

    fn failed(&mut self, peer: PeerNumber, trouble: String, is_lasting: bool) {
        let (now_ms, chance) = (self.now_ms(), self.chance());
        self.give_up_reaching(peer, &trouble);
        let acts = self.peers.failed(peer, Failure { trouble, is_lasting }, now_ms, chance);
        self.act(acts);
    }

    /// Whoever waits to reach this peer is told why it cannot.
    fn give_up_reaching(&mut self, peer: PeerNumber, trouble: &str) {
        let applications = self.peers.key_of(peer).and_then(|key| self.joining.remove(&key));
        for application in applications.unwrap_or_default() {
            answer(application.reply, Err(ReachError(trouble.to_owned())));
        }
    }

    fn came(&mut self, connection: Arc<dyn Connection>) {
        if self.unmet >= MAX_UNMET && !self.peers.is_remembered(connection.peer()) {
            connection.close(CloseCode::BUSY);
        } else {
            self.greet(connection, None);
        }
    }

    fn greet(&mut self, connection: Arc<dyn Connection>, dialled: Option<PeerNumber>) {
        self.unmet += 1;
        self.next_link += 1;
        let (id, me) = (LinkId(self.next_link), self.me.clone());
        let beginning = Beginning {
            id,
            connection: Arc::clone(&connection),
            myself: self.myself.clone(),
            known: self.known(),
            workspaces: Arc::clone(&self.args.workspaces),
            clock: Arc::clone(&self.args.env.clock),
        };
        let is_myself = connection.peer() == self.args.network.key();
        tokio::spawn(async move {
            let result = if is_myself { Err(HelloError::Myself) } else { beginning.greet().await };
            let _ = me.cast(EndpointMsg::Met(Meeting { link: id, connection, dialled, result }));
        });
    }

    /// The workspaces that the node runs, and those that it is about to join.
    fn known(&self) -> Vec<WorkspaceId> {
        let mut known = self.args.workspaces.known();
        let joining = self.joining.values().flatten().map(|application| application.workspace);
        let more: BTreeSet<_> = joining.filter(|workspace| !known.contains(workspace)).collect();
        known.extend(more);
        known
    }

    fn met(&mut self, meeting: Meeting) {
        self.unmet -= 1;
        match meeting.result {
            Ok((greeting, control)) => self.greeted(greeting, control, meeting.dialled),
            // Whoever has its channel keeps the connection.
            Err(HelloError::Asks) => {}
            Err(error) => {
                tracing::debug!(peer = %meeting.connection.peer().short(), link = meeting.link.0, %error, "no hello");
                meeting.connection.close(error.code());
                if let Some(peer) = meeting.dialled {
                    self.failed(peer, error.to_string(), error.is_lasting());
                }
            }
        }
    }

    fn greeted(&mut self, greeting: Greeting, control: Channel, dialled: Option<PeerNumber>) {
        let (link, at_ms) = (greeting.link.clone(), self.now_ms());
        let (key, side, remote) = (link.peer, link.connection.side(), link.connection.remote());
        let met = Met { link: link.id, key, side, remote, life: greeting.life, at_ms };
        let (is_kept, acts) = self.peers.met(met, dialled);
        if is_kept {
            self.keep(greeting, control);
        } else {
            link.connection.close(CloseCode::DUPLICATE);
        }
        self.act(acts);
        if let Some(current) = self.peers.link_of(key).and_then(|id| self.links.get(&id)) {
            for application in self.joining.remove(&key).unwrap_or_default() {
                answer(application.reply, Ok(current.link.clone()));
            }
        }
    }

    fn keep(&mut self, greeting: Greeting, control: Channel) {
        let Greeting { link, software, .. } = greeting;
        let (renewals, asked) = mpsc::unbounded_channel();
        let since_ms = self.args.env.clock.wall_ms();
        let (id, told, me) = (link.id, self.me.clone(), self.me.clone());
        let conversation = Conversation {
            link: link.clone(),
            control,
            workspaces: Arc::clone(&self.args.workspaces),
            clock: Arc::clone(&self.args.env.clock),
            changes: self.changes.subscribe(),
            renewals: asked,
            tells: Box::new(move |news| drop(told.cast(EndpointMsg::News(LinkNews(id, news))))),
        };
        let kept = Linked { link, software, since_ms, clock_offset_ms: None, shares: Vec::new(), renewals };
        self.links.insert(id, kept);
        tokio::spawn(async move {
            let how = conversation.go_on().await;
            let _ = me.cast(EndpointMsg::Ended(id, how));
        });
    }

    fn ended(&mut self, link: LinkId, how: &Closed) {
        if let Some(linked) = self.links.remove(&link) {
            tracing::info!(peer = %linked.link.peer.short(), %how, "a connection ended");
        }
        let (now_ms, chance) = (self.now_ms(), self.chance());
        let acts = self.peers.ended(link, how, now_ms, chance);
        self.act(acts);
    }

    fn news(&mut self, link: LinkId, news: News) {
        let Some(linked) = self.links.get_mut(&link) else { return };
        match news {
            News::ClockOffset(ahead_ms) => linked.clock_offset_ms = Some(ahead_ms),
            News::Shares(workspaces) => {
                linked.shares = workspaces;
                if !linked.shares.is_empty() {
                    let acts = self.peers.belongs(link);
                    self.act(acts);
                }
            }
        }
    }

    fn add(&mut self, key: Option<ActorId>, addresses: &[SocketAddr], reply: RpcReplyPort<bool>) {
        let (number, acts) = self.peers.add(key, addresses);
        self.act(acts);
        answer(reply, number.is_some());
    }

    fn forget(&mut self, name: PeerName, reply: RpcReplyPort<bool>) {
        let forgotten = self.peers.forget(|peer| match name {
            PeerName::Key(key) => peer.key == Some(key),
            PeerName::Address(address) => peer.addresses.contains(&address),
        });
        answer(reply, forgotten.is_some());
        self.act(forgotten.unwrap_or_default());
    }

    fn found(&mut self, key: ActorId, addresses: &[SocketAddr]) {
        let acts = self.peers.found(key, addresses, self.now_ms());
        self.act(acts);
    }

    fn reach(&mut self, application: Application, key: ActorId, addresses: &[SocketAddr]) {
        if let Some(linked) = self.peers.link_of(key).and_then(|link| self.links.get(&link)) {
            return answer(application.reply, Ok(linked.link.clone()));
        }
        self.joining.entry(key).or_default().push(application);
        let (number, acts) = self.peers.seek(Some(key), addresses);
        match number {
            Some(_) => self.act(acts),
            None => drop(self.joining.remove(&key)),
        }
    }

    fn renew(&self, link: LinkId, workspace: WorkspaceId) {
        if let Some(linked) = self.links.get(&link) {
            // The conversation is over where it does not listen.
            let _ = linked.renewals.send(workspace);
        }
    }

    fn status(&self, reply: RpcReplyPort<Vec<PeerStatus>>) {
        let now_ms = self.now_ms();
        answer(reply, self.peers.iter().map(|peer| self.status_of(peer, now_ms)).collect());
    }

    fn status_of(&self, peer: &peers::Peer, now_ms: u64) -> PeerStatus {
        let stage = match peer.stage {
            Stage::Resting => PeerStage::Resting,
            Stage::Waiting { until_ms } => {
                PeerStage::Waiting { in_ms: until_ms.saturating_sub(now_ms), failures: peer.failures }
            }
            Stage::Dialling => PeerStage::Dialling,
            Stage::Connected(met) => match self.links.get(&met.link) {
                Some(linked) => PeerStage::Connected(Box::new(linked.figures())),
                None => PeerStage::Resting,
            },
        };
        PeerStatus { key: peer.key, addresses: peer.addresses.clone(), stage, trouble: peer.trouble.clone() }
    }

    fn load(&self) {
        let (book, env, me) = (Arc::clone(&self.args.book), self.args.env.clone(), self.me.clone());
        tokio::spawn(async move {
            let loaded = env.offload(move || book.load()).await.unwrap_or_else(|| Ok(Vec::new()));
            let _ = me.cast(EndpointMsg::Booked(BookNews(loaded.map(Some))));
        });
    }

    fn remember(&mut self) {
        match self.book {
            BookState::Written => self.store(),
            BookState::Writing => self.book = BookState::WritingAndOutdated,
            BookState::Loading | BookState::WritingAndOutdated => {}
        }
    }

    fn store(&mut self) {
        self.book = BookState::Writing;
        let peers = self.peers.remembered();
        let (book, env, me) = (Arc::clone(&self.args.book), self.args.env.clone(), self.me.clone());
        tokio::spawn(async move {
            let stored = env.offload(move || book.store(&peers)).await.unwrap_or(Ok(()));
            let _ = me.cast(EndpointMsg::Booked(BookNews(stored.map(|()| None))));
        });
    }

    fn booked(&mut self, news: std::io::Result<Option<Vec<KnownPeer>>>) {
        let was = std::mem::replace(&mut self.book, BookState::Written);
        match news {
            Ok(Some(known)) => {
                for peer in known.iter().take(peers::MAX_PEERS) {
                    let (_, acts) = self.peers.add(peer.key, &peer.addresses);
                    self.act(acts.into_iter().filter(|act| *act != Act::Remember).collect());
                }
            }
            Ok(None) if was == BookState::WritingAndOutdated => self.store(),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the list of peers could not be read or written"),
        }
    }
}

impl Linked {
    fn figures(&self) -> Connected {
        let connection = &self.link.connection;
        Connected {
            since_ms: self.since_ms,
            remote: connection.remote(),
            side: connection.side(),
            round_trip_us: u64::try_from(connection.round_trip().as_micros()).unwrap_or(u64::MAX),
            clock_offset_ms: self.clock_offset_ms,
            traffic: connection.traffic(),
            version: self.link.version,
            software: self.software.clone(),
            workspaces: self.shares.clone(),
        }
    }
}

/// Whoever asked may have given up.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, with: T) {
    let _ = reply.send(with);
}
