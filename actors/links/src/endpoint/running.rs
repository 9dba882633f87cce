//! The endpoint as it runs: what it knows, and what it does about each message.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use openprod_messages::environment::Clock;
use openprod_messages::watch;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::closing::CloseCode;
use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::mpsc;

use super::link::{Beginning, Conversation, Greeting, HelloError, Link, Myself, News};
use super::peers::{self, Act, Failure, Met, PeerNumber, Peers, Stage};
use super::status::{Connected, KnownPeer, Obstacle, PeerStage, PeerStatus};
use super::{BookNews, EndpointArgs, EndpointMsg, LinkId, LinkNews, Meeting, PeerName, ReachError};
use crate::transport::{Channel, Closed, Connection, DialError};

/// Connections that have not said hello yet, at once; further ones are told that the node is busy,
/// unless they are known from before.
pub(super) const MAX_UNMET: usize = 32;

/// What the endpoint knows between two messages.
pub struct Running {
    args: EndpointArgs,
    me: ActorRef<EndpointMsg>,
    myself: Myself,
    pub(super) peers: Peers,
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
pub(super) struct Application {
    pub(super) workspace: WorkspaceId,
    pub(super) reply: RpcReplyPort<Result<Link, ReachError>>,
    /// Whether the node was dialled since. A dial that had begun before may have said hello without the workspace.
    pub(super) was_tried: bool,
}

/// Whether the book is being read or written, and whether it must be written behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BookState {
    Loading,
    LoadingAndOutdated,
    Written,
    Writing,
    WritingAndOutdated,
}

impl Running {
    pub(super) fn start(me: ActorRef<EndpointMsg>, args: EndpointArgs) -> Self {
        let draw = || {
            let mut bytes = [0; 8];
            args.env.random.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let myself = Myself { life: draw(), software: args.software.clone(), versions: args.versions };
        let running = Self {
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
        running
    }

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
    fn dial(&mut self, peer: PeerNumber, addresses: Vec<SocketAddr>, expected: Option<ActorId>) {
        let waiting = self.peers.key_of(peer).and_then(|key| self.joining.get_mut(&key));
        waiting.into_iter().flatten().for_each(|application| application.was_tried = true);
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

    pub(super) fn due(&mut self, peer: PeerNumber) {
        let acts = self.peers.due(peer, self.now_ms());
        self.act(acts);
    }

    pub(super) fn dialled(&mut self, peer: PeerNumber, result: Result<Arc<dyn Connection>, DialError>) {
        match result {
            Ok(connection) => self.greet(connection, Some(peer)),
            Err(error) => {
                let obstacle = Obstacle::of_dial(&error);
                self.failed(peer, Failure { trouble: error.to_string(), obstacle, is_lasting: false });
            }
        }
    }

    fn failed(&mut self, peer: PeerNumber, why: Failure) {
        let (now_ms, chance) = (self.now_ms(), self.chance());
        let again = self.give_up_reaching(peer, &why.trouble);
        let acts = self.peers.failed(peer, why, now_ms, chance);
        self.act(acts);
        if let Some(key) = again {
            let (_, acts) = self.peers.seek(Some(key), &[]);
            self.act(acts);
        }
    }

    /// Whoever waits to reach this peer is told why it cannot. Gives whom to dial again, for those who came while it was
    /// dialled.
    fn give_up_reaching(&mut self, peer: PeerNumber, trouble: &str) -> Option<ActorId> {
        let key = self.peers.key_of(peer)?;
        let (tried, rest): (Vec<_>, Vec<_>) =
            self.joining.remove(&key)?.into_iter().partition(|application| application.was_tried);
        for application in tried {
            answer(application.reply, Err(ReachError(trouble.to_owned())));
        }
        if rest.is_empty() {
            return None;
        }
        self.joining.insert(key, rest);
        Some(key)
    }

    pub(super) fn came(&mut self, connection: Arc<dyn Connection>) {
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
            own: self.args.network.key(),
            connection: Arc::clone(&connection),
            myself: self.myself.clone(),
            known: self.known(),
            workspaces: Arc::clone(&self.args.workspaces),
            clock: Arc::clone(&self.args.env.clock),
        };
        tokio::spawn(async move {
            let result = beginning.greet().await;
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

    pub(super) fn met(&mut self, meeting: Meeting) {
        self.unmet -= 1;
        match meeting.result {
            Ok((greeting, control)) => self.greeted(greeting, control, meeting.dialled),
            // Whoever has its channel keeps the connection.
            Err(HelloError::Asks) => {}
            Err(error) => {
                if error == HelloError::Twin {
                    tracing::error!(from = %meeting.connection.remote(), "{}", peers::TWIN_OF_THIS);
                }
                tracing::debug!(peer = %meeting.connection.peer().short(), link = meeting.link.0, %error, "no hello");
                meeting.connection.close(error.code());
                if let Some(peer) = meeting.dialled {
                    let (obstacle, is_lasting) = (error.obstacle(), error.is_lasting());
                    self.failed(peer, Failure { trouble: error.to_string(), obstacle, is_lasting });
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

    pub(super) fn ended(&mut self, link: LinkId, how: &Closed) {
        if let Some(linked) = self.links.remove(&link) {
            tracing::info!(peer = %linked.link.peer.short(), %how, "a connection ended");
        }
        if *how == Closed::There(CloseCode::TWIN) {
            tracing::error!("{}", peers::TWIN_OF_THIS);
        }
        let (now_ms, chance) = (self.now_ms(), self.chance());
        let acts = self.peers.ended(link, how, now_ms, chance);
        self.act(acts);
    }

    pub(super) fn news(&mut self, link: LinkId, news: News) {
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

    pub(super) fn add(&mut self, key: Option<ActorId>, addresses: &[SocketAddr], reply: RpcReplyPort<bool>) {
        let (number, acts) = self.peers.add(key, addresses);
        self.act(acts);
        answer(reply, number.is_some());
    }

    pub(super) fn forget(&mut self, name: PeerName, reply: RpcReplyPort<bool>) {
        let forgotten = self.peers.forget(|peer| match name {
            PeerName::Key(key) => peer.key == Some(key),
            PeerName::Address(address) => peer.addresses.contains(&address),
        });
        answer(reply, forgotten.is_some());
        self.act(forgotten.unwrap_or_default());
    }

    pub(super) fn found(&mut self, key: ActorId, addresses: &[SocketAddr]) {
        let acts = self.peers.found(key, addresses, self.now_ms());
        self.act(acts);
    }

    pub(super) fn reach(&mut self, application: Application, key: ActorId, addresses: &[SocketAddr]) {
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

    pub(super) fn changed(&mut self) {
        self.changes.send_modify(|count| *count += 1);
        let (workspaces, now_ms) = (Arc::clone(&self.args.workspaces), self.now_ms());
        let is_member = |key| workspaces.known().into_iter().any(|workspace| workspaces.is_member(workspace, key));
        let acts = self.peers.admitted(is_member, now_ms);
        self.act(acts);
    }

    pub(super) fn renew(&self, link: LinkId, workspace: WorkspaceId) {
        if let Some(linked) = self.links.get(&link) {
            // The conversation is over where it does not listen.
            let _ = linked.renewals.send(workspace);
        }
    }

    pub(super) fn status(&self, reply: RpcReplyPort<Vec<PeerStatus>>) {
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
                Some(linked) => PeerStage::Connected(Box::new(linked.figures(&*self.args.env.clock))),
                None => PeerStage::Resting,
            },
        };
        PeerStatus {
            key: peer.key,
            addresses: peer.addresses.clone(),
            stage,
            trouble: peer.trouble(now_ms).to_owned(),
            obstacle: peer.obstacle,
            is_double: peer.is_double(now_ms),
        }
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
            BookState::Loading => self.book = BookState::LoadingAndOutdated,
            BookState::LoadingAndOutdated | BookState::WritingAndOutdated => {}
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

    pub(super) fn booked(&mut self, news: std::io::Result<Option<Vec<KnownPeer>>>) {
        let was = std::mem::replace(&mut self.book, BookState::Written);
        match news {
            Ok(Some(known)) => {
                for peer in known.iter().take(peers::MAX_PEERS) {
                    let (_, acts) = self.peers.add(peer.key, &peer.addresses);
                    self.act(acts.into_iter().filter(|act| *act != Act::Remember).collect());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the list of peers could not be read or written"),
        }
        if matches!(was, BookState::LoadingAndOutdated | BookState::WritingAndOutdated) {
            self.store();
        }
    }
}

impl Linked {
    fn figures(&self, clock: &dyn Clock) -> Connected {
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
            silent_ms: self.link.silent_ms(clock),
            workspaces: self.shares.clone(),
        }
    }
}

/// Whoever asked may have given up.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, with: T) {
    let _ = reply.send(with);
}
