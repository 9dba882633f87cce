//! Other nodes, as this one is assembled: the socket, the endpoint that speaks with them, and discovery.
//!
//! ```text
//! node
//!  +- peers (this actor)
//!      +- endpoint    keeps the connections
//!      discovery      a task; finds nodes on the local network
//!      lookout        a task; tells both when workspaces or members have changed
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use openprod_domain::join_mode::JoinMode;
use openprod_domain::view::Read;
use openprod_links::admission::door::{Door, Houses};
use openprod_links::admission::host::Findable;
use openprod_links::admission::room::name_of;
use openprod_links::discovery::{self, DiscoveryArgs, MDNS_PORT, Nearby, Reach};
use openprod_links::endpoint::{Endpoint, EndpointArgs, EndpointMsg, Link, Purpose, Workspaces};
use openprod_links::transport::quic::{Quic, StartError};
use openprod_links::transport::{Channel, Connection, Network};
use openprod_messages::address::Address;
use openprod_messages::admission::AdmissionMsg;
use openprod_messages::snapshot::Folded;
use openprod_messages::watch;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::closing::CloseCode;
use openprod_wire::hello::{VERSIONS, Versions};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::config::Origin;
use crate::exchange;
use crate::joining;
use crate::node::{Node, Slot};
use crate::restart::{Restarts, Verdict};
use crate::workspace::{Condition, Workspace};
use book::Book;

mod book;

/// What changes within this time is told once: a burst of edits is one reason to look. Whoever was removed keeps his
/// connection for so long, and is given nothing over it: that is judged with each bundle.
const CALM: Duration = Duration::from_millis(200);

/// How long the answer to somebody who asked to be admitted may be under way: a slow Wi-Fi, and no longer.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Other nodes, as the rest of this one sees them.
pub struct Peers {
    /// The endpoint.
    pub endpoint: Address<EndpointMsg>,
    /// Where this node is dialled.
    pub network: Arc<Quic>,
    /// The open workspaces near.
    pub nearby: watch::Receiver<Vec<Nearby>>,
    looks: bool,
    supervisor: ActorRef<SupervisorMsg>,
    /// Discovery ends with it.
    lookout: tokio::task::AbortHandle,
}

/// Why a node does not speak with others though it should.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// Its socket could not be opened.
    #[error("{0}: set peer_listen to another address and port, or to \"off\"")]
    Network(#[from] StartError),
    /// The supervisor did not start.
    #[error("the supervisor of peers did not start: {0}")]
    Supervisor(String),
}

/// Begins to speak with other nodes, if the configuration says so.
pub async fn start(node: &Arc<Node>) -> Result<Option<Peers>, PeersError> {
    let Some(address) = node.config.peer_listen else { return Ok(None) };
    let network = listen(node, address)?;
    let endpoint = node.endpoint.clone();
    let door = Door::new(network.key(), Arc::new(Street(Arc::downgrade(node))), node.env.clone());
    let args = EndpointArgs {
        network: Arc::clone(&network) as Arc<dyn Network>,
        workspaces: Arc::new(OfNode { node: Arc::downgrade(node), door: Arc::new(door) }),
        book: Arc::new(Book(node.folder.peers())),
        env: node.env.clone(),
        software: concat!("openprod ", env!("CARGO_PKG_VERSION")).to_owned(),
        versions: versions(),
    };
    let watched = Watched { args: args.clone(), endpoint: endpoint.clone(), restarts: Restarts::default() };
    let supervisor = Actor::spawn(None, Supervisor, watched).await;
    let (supervisor, _) = supervisor.map_err(|error| PeersError::Supervisor(error.to_string()))?;
    let (changes, news) = watch::channel(0);
    let (shown, nearby) = watch::channel(Vec::new());
    let lookout = tokio::spawn(look_out(Arc::downgrade(node), changes, endpoint.clone())).abort_handle();
    let reach = reach(node);
    if let Some(reach) = reach {
        let found = DiscoveryArgs {
            key: network.key(),
            port: network.addresses().first().map_or(0, SocketAddr::port),
            reach,
            mdns_port: MDNS_PORT,
            workspaces: args.workspaces,
            endpoint: endpoint.clone(),
            nearby: Arc::new(shown),
            env: args.env,
        };
        tokio::spawn(discovery::run(found, news));
    }
    for address in network.addresses() {
        tracing::info!(%address, key = %network.key().short(), "listening for other nodes");
    }
    Ok(Some(Peers { endpoint, network, nearby, looks: reach.is_some(), supervisor, lookout }))
}

/// The protocol versions of this build; under test, those of another one, as in `2-3`.
fn versions() -> Versions {
    fail::fail_point!("peers-versions", |said| {
        let text = said.unwrap_or_default();
        let (lowest, highest) = text.split_once('-').expect("versions are written as 1-2");
        let number = |text: &str| text.parse().expect("a version is a number");
        Versions { lowest: number(lowest), highest: number(highest) }
    });
    VERSIONS
}

/// A port that nobody chose may be another one: two nodes run on one machine without a word.
fn listen(node: &Node, address: SocketAddr) -> Result<Arc<Quic>, StartError> {
    let is_chosen = node.config.entries().iter().any(|e| e.name == "peer_listen" && e.origin != Origin::Default);
    match Quic::listen(&node.device, address) {
        Err(StartError::Listen { source, .. })
            if !is_chosen && address.is_ipv6() && source.kind() != std::io::ErrorKind::AddrInUse =>
        {
            tracing::info!(%source, "there is no IPv6 here; other nodes find this one by IPv4");
            listen(node, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        Err(StartError::Listen { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse && !is_chosen => {
            tracing::warn!(%address, "another program has this port; other nodes find this one on a free one");
            Quic::listen(&node.device, SocketAddr::new(address.ip(), 0))
        }
        listening => listening,
    }
}

/// Where discovery looks. A node that listens on loopback only has nothing to tell the network.
fn reach(node: &Node) -> Option<Reach> {
    let ip = node.config.peer_listen?.ip();
    match ip {
        _ if !node.config.discovery || ip.is_loopback() => None,
        ip if ip.is_unspecified() => Some(Reach::Network),
        ip => Some(Reach::Interface(ip)),
    }
}

impl Peers {
    /// Where other nodes reach this one: a socket that listens on all interfaces is told by the address of each, and by
    /// loopback only where there is nothing else.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        everywhere(&self.network.addresses())
    }

    /// Whether this node looks for others on the local network.
    pub fn looks(&self) -> bool {
        self.looks
    }

    /// Says goodbye to all.
    pub fn stop(&self) {
        self.network.stop();
        self.supervisor.stop(None);
        self.lookout.abort();
    }
}

/// Where others reach what listens there: every interface is told by its own address.
pub(crate) fn everywhere(listening: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in listening {
        if address.ip().is_unspecified() {
            let is_reached = |ip: &IpAddr| ip.is_ipv4() || address.is_ipv6();
            addresses
                .extend(interfaces().iter().filter(|ip| is_reached(ip)).map(|ip| SocketAddr::new(*ip, address.port())));
        } else {
            addresses.push(*address);
        }
    }
    addresses
}

/// The addresses of this machine's interfaces, those that most others can use first.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> =
        if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect();
    // Link-local addresses mean nothing without the name of an interface of the machine that dials.
    all.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    all.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    if all.iter().any(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    all
}

/// The workspaces of this node, as the endpoint sees them.
struct OfNode {
    node: Weak<Node>,
    door: Arc<Door>,
}

/// The workspaces of this node, as its door sees them.
struct Street(Weak<Node>);

impl Houses for Street {
    fn findable(&self) -> Vec<Findable> {
        let running = self.0.upgrade().map_or_else(Vec::new, |node| running(&node));
        running.iter().filter_map(|workspace| findable(workspace).ok().flatten()).collect()
    }

    fn room(&self, workspace: WorkspaceId) -> Option<Address<AdmissionMsg>> {
        Some(self.0.upgrade()?.workspace(workspace).ok()?.admission)
    }
}

fn findable(workspace: &Workspace) -> Read<Option<Findable>> {
    let snapshot = workspace.snapshots.snapshot()?;
    let (mode, name) = (JoinMode::of(snapshot.view())?, name_of(&*snapshot)?);
    Ok((mode != JoinMode::Invite).then_some(Findable { workspace: workspace.id, name, mode }))
}

fn running(node: &Node) -> Vec<Workspace> {
    let open = node.workspaces().into_iter().filter_map(|(_, slot)| match slot {
        Slot::Open(workspace) => Some(*workspace),
        Slot::Closed { .. } => None,
    });
    open.filter(|workspace| *workspace.condition.borrow() == Condition::Running).collect()
}

impl OfNode {
    fn workspace(&self, id: WorkspaceId) -> Option<Workspace> {
        self.node.upgrade()?.workspace(id).ok()
    }

    /// Somebody asks to be admitted to a workspace that he knows.
    fn hears(&self, link: &Link, workspace: WorkspaceId, channel: Channel) {
        let (door, connection) = (Arc::clone(&self.door), Arc::clone(&link.connection));
        tokio::spawn(async move { door.hears(&*connection, channel, Some(workspace)).await });
    }

    /// A member asks for a file.
    fn gives(&self, link: &Link, workspace: Workspace, channel: Channel) {
        if let Some(node) = self.node.upgrade() {
            tokio::spawn(exchange::answer(workspace, node.env.clone(), link.id, channel));
        }
    }
}

impl Workspaces for OfNode {
    fn known(&self) -> Vec<WorkspaceId> {
        self.node.upgrade().map_or_else(Vec::new, |node| running(&node).iter().map(|workspace| workspace.id).collect())
    }

    /// Who cannot be asked about is no member for now. A workspace that is empty yet knows no members: there it is the
    /// node that admitted this one.
    fn is_member(&self, workspace: WorkspaceId, peer: ActorId) -> bool {
        let Some(node) = self.node.upgrade() else { return false };
        let Ok(workspace) = node.workspace(workspace) else { return false };
        workspace.welcome.is_member(peer) || joining::is_expected(&node, &workspace, peer)
    }

    fn advertised(&self) -> Vec<(WorkspaceId, String)> {
        let findable = self.node.upgrade().map_or_else(Vec::new, |node| Street(Arc::downgrade(&node)).findable());
        findable.into_iter().map(|one| (one.workspace, one.name.to_string())).collect()
    }

    fn asked(&self, connection: Arc<dyn Connection>, channel: Channel) {
        let door = Arc::clone(&self.door);
        tokio::spawn(async move {
            door.hears(&*connection, channel, None).await;
            // Dropped at once, the connection would take the last word with it. Whoever asked hangs up when he has it.
            let _ = tokio::time::timeout(LAST_WORD, connection.closed()).await;
        });
    }

    fn linked(&self, link: &Link, workspace: WorkspaceId, purpose: Purpose, channel: Channel) {
        match (purpose, self.workspace(workspace)) {
            (Purpose::Bundles, Some(workspace)) => {
                workspace.neighbourhood.linked(link);
                workspace.doorway.linked(link.id, link.peer, channel);
            }
            (Purpose::Files, Some(workspace)) => self.gives(link, workspace, channel),
            (Purpose::Admission, Some(_)) => self.hears(link, workspace, channel),
            _ => {
                tracing::debug!(peer = %link.peer.short(), %workspace, ?purpose, "a channel is not served");
                channel.give_up(CloseCode::UNKNOWN);
            }
        }
    }

    fn parted(&self, link: &Link, workspace: WorkspaceId) {
        if let Some(workspace) = self.workspace(workspace) {
            workspace.neighbourhood.parted(link.id);
            workspace.doorway.parted(link.id);
        }
    }
}

type FoldedReceivers = Vec<watch::Receiver<Folded>>;

/// Tells when workspaces or what they hold have changed, until it is stopped or the node is gone.
async fn look_out(node: Weak<Node>, changes: watch::Sender<u64>, endpoint: Address<EndpointMsg>) {
    let Some((mut listed, mut folded)) = node.upgrade().map(|node| (node.listed(), folded(&node))) else { return };
    loop {
        tokio::select! {
            biased;
            news = listed.changed() => if news.is_err() { return },
            () = any(&mut folded) => {}
        }
        tokio::time::sleep(CALM).await;
        // What changes from here on is told the next time.
        let Some(node) = node.upgrade() else { return };
        folded = self::folded(&node);
        changes.send_modify(|count| *count += 1);
        // An endpoint that is restarting looks for itself.
        let _ = endpoint.cast(EndpointMsg::Changed);
    }
}

fn folded(node: &Node) -> FoldedReceivers {
    running(node).iter().map(|workspace| workspace.snapshots.folded()).collect()
}

async fn any(folded: &mut FoldedReceivers) {
    if folded.is_empty() {
        std::future::pending::<()>().await;
    }
    // One whose workspace is closed is left out the next time.
    let _ = futures::future::select_all(folded.iter_mut().map(|one| Box::pin(one.changed()))).await;
}

/// Starts the endpoint again when it dies.
struct Supervisor;

struct Watched {
    args: EndpointArgs,
    endpoint: Address<EndpointMsg>,
    restarts: Restarts,
}

enum SupervisorMsg {
    StartAgain,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = Watched;
    type Arguments = Watched;

    async fn pre_start(&self, me: ActorRef<SupervisorMsg>, watched: Watched) -> Result<Watched, ActorProcessingErr> {
        watched.start(&me).await?;
        Ok(watched)
    }

    async fn handle(
        &self,
        me: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        watched: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::StartAgain => watched.start(&me).await,
        }
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        watched: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => watched.died(&me, &error.to_string()),
            SupervisionEvent::ActorTerminated(_, _, why) => watched.died(&me, why.as_deref().unwrap_or("it ended")),
            _ => {}
        }
        Ok(())
    }
}

impl Watched {
    async fn start(&self, me: &ActorRef<SupervisorMsg>) -> Result<(), ActorProcessingErr> {
        let (endpoint, _) = Actor::spawn_linked(None, Endpoint, self.args.clone(), me.get_cell()).await?;
        self.endpoint.moved_to(endpoint);
        Ok(())
    }

    fn died(&mut self, me: &ActorRef<SupervisorMsg>, error: &str) {
        match self.restarts.died(self.args.env.clock.monotonic_ms()) {
            Verdict::Restart { after_ms } => {
                tracing::error!(error, after_ms, "the endpoint died and is started again");
                me.send_after(Duration::from_millis(after_ms), || SupervisorMsg::StartAgain);
            }
            Verdict::GiveUp => tracing::error!(error, "the endpoint keeps dying: this node speaks with no others"),
        }
    }
}
