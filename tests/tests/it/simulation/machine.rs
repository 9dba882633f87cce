//! A machine: a whole node, its disks, its place in the network, and what befalls it as one.
//!
//! The rooms of the workspace and the endpoint are the real ones; what is written here is only what the node's own
//! assembly does with folders and sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use openprod_links::admission::door::{Door, Houses};
use openprod_links::admission::host::Findable;
use openprod_links::endpoint::{
    Endpoint, EndpointArgs, EndpointMsg, Link, MemoryBook, PeerStatus, Purpose, Workspaces,
};
use openprod_links::transport::memory::Ether;
use openprod_links::transport::{Channel, Connection, Network};
use openprod_messages::address::Address;
use openprod_messages::admission::{AdmissionMsg, TicketShelf};
use openprod_messages::commands::Keyring;
use openprod_messages::environment::Environment;
use openprod_messages::log::{LogReader, Stored};
use openprod_model::bundle::Bundle;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, Digest, Position, WorkspaceId};
use openprod_node::exchange;
use openprod_node::workspace::{Condition, Room, Workspace};
use openprod_wire::hello::VERSIONS;
use ractor::{Actor, ActorRef};

use super::nature::Nature;
use super::story::MOST_MACHINES;
use crate::convergence::replica::{Disks, Given, House, WORKSPACE, move_in};

/// What changes within this time is told once, as in the node.
const CALM: Duration = Duration::from_millis(200);
/// How long a dead endpoint's place is empty.
const ENDPOINT_PAUSE: Duration = Duration::from_millis(10);

/// The key of a machine.
pub(super) fn node_keys(number: usize) -> &'static Keys {
    static ALL: LazyLock<[Keys; MOST_MACHINES]> =
        LazyLock::new(|| std::array::from_fn(|number| Keys::from_seed(&[100 + u8::try_from(number).unwrap(); 32])));
    &ALL[number]
}

/// The key of whoever works on a machine that joins.
pub(super) fn guest_keys(number: usize) -> Keys {
    Keys::from_seed(&[50 + u8::try_from(number).unwrap(); 32])
}

pub(super) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap()], 4433))
}

/// The keys that lie on a machine: its own first.
pub(super) struct Bunch(pub(super) Vec<Keys>);

impl Keyring for Bunch {
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys> {
        // Who does not say as whom he writes writes as the person, not as the machine.
        self.0.iter().skip(usize::from(actor.is_none())).find(|keys| actor.is_none_or(|it| keys.actor() == it)).cloned()
    }
}

/// Tickets, remembered through all lives.
#[derive(Default)]
struct MemoryShelf(Mutex<Option<Vec<u8>>>);

impl TicketShelf for MemoryShelf {
    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        *self.0.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }
}

/// Who is to give a machine its first bundles, remembered through all lives; nobody while it takes no part yet.
#[derive(Clone, Default)]
pub(super) struct Expected(Arc<Mutex<Option<ActorId>>>);

impl Expected {
    pub(super) fn of(who: ActorId) -> Self {
        Self(Arc::new(Mutex::new(Some(who))))
    }

    pub(super) fn is_now(&self, who: ActorId) {
        *self.0.lock().unwrap() = Some(who);
    }

    fn who(&self) -> Option<ActorId> {
        *self.0.lock().unwrap()
    }
}

/// A living node, as programs on its machine see it.
#[derive(Clone)]
pub(super) struct Living {
    pub(super) workspace: Workspace,
    pub(super) endpoint: Address<EndpointMsg>,
}

/// What programs on this machine reach the node by. A life that has ended answers nobody.
#[derive(Clone, Default)]
pub(super) struct Front(Arc<Mutex<(u64, Option<Living>)>>);

impl Front {
    /// The number of the present life, and the node if it is up.
    pub(super) fn now(&self) -> (u64, Option<Living>) {
        self.0.lock().unwrap().clone()
    }

    fn opens(&self, living: Living) {
        self.0.lock().unwrap().1 = Some(living);
    }

    fn shuts(&self) {
        let mut front = self.0.lock().unwrap();
        *front = (front.0 + 1, None);
    }
}

/// The one workspace of the node, as its door sees it.
struct Porch(Workspace);

impl Houses for Porch {
    fn findable(&self) -> Vec<Findable> {
        Vec::new()
    }

    fn room(&self, workspace: WorkspaceId) -> Option<Address<AdmissionMsg>> {
        (workspace == WORKSPACE).then(|| self.0.admission.clone())
    }
}

/// The same, as its endpoint sees it.
struct Street {
    workspace: Workspace,
    door: Arc<Door>,
    expected: Expected,
    env: Environment,
}

impl Street {
    fn hears(&self, link: &Link, channel: Channel) {
        let (door, connection) = (Arc::clone(&self.door), Arc::clone(&link.connection));
        tokio::spawn(async move { door.hears(&*connection, channel, Some(WORKSPACE)).await });
    }

    fn gives(&self, link: &Link, channel: Channel) {
        tokio::spawn(exchange::answer(self.workspace.clone(), self.env.clone(), link.id, channel));
    }
}

impl Workspaces for Street {
    fn known(&self) -> Vec<WorkspaceId> {
        let runs = *self.workspace.condition.borrow() == Condition::Running;
        if runs && self.expected.who().is_some() { vec![WORKSPACE] } else { Vec::new() }
    }

    fn is_member(&self, _: WorkspaceId, peer: ActorId) -> bool {
        let is_empty = self.workspace.log.tail().is_ok_and(|tail| tail.position == Position::ZERO);
        self.workspace.welcome.is_member(peer) || is_empty && self.expected.who() == Some(peer)
    }

    fn asked(&self, connection: Arc<dyn Connection>, channel: Channel) {
        let door = Arc::clone(&self.door);
        tokio::spawn(async move { door.hears(&*connection, channel, None).await });
    }

    fn linked(&self, link: &Link, _: WorkspaceId, purpose: Purpose, channel: Channel) {
        match purpose {
            Purpose::Bundles => {
                self.workspace.neighbourhood.linked(link);
                self.workspace.doorway.linked(link.id, link.peer, channel);
            }
            Purpose::Admission => self.hears(link, channel),
            Purpose::Files => self.gives(link, channel),
        }
    }

    fn parted(&self, link: &Link, _: WorkspaceId) {
        self.workspace.neighbourhood.parted(link.id);
        self.workspace.doorway.parted(link.id);
    }
}

/// The node, while it lives.
struct Life {
    workspace: Workspace,
    house: ActorRef<()>,
    endpoint: Address<EndpointMsg>,
    args: EndpointArgs,
    lookout: tokio::task::AbortHandle,
}

/// A machine.
pub(super) struct Machine {
    pub(super) number: usize,
    pub(super) keys: Arc<Bunch>,
    pub(super) nature: Nature,
    pub(super) disks: Disks,
    /// Kinds of operations that its version does not know.
    pub(super) unknown: &'static [u16],
    /// Whether it keeps every file that the workspace needs.
    pub(super) keeps_all_files: bool,
    pub(super) front: Front,
    /// Whether a room or a disk of it has failed: of several checkpoints in its hands, one may then be missed, and those
    /// behind it wait until it comes again.
    pub(super) is_shaken: bool,
    /// Who gives it its first bundles.
    pub(super) expected: Expected,
    book: Arc<MemoryBook>,
    shelf: Arc<MemoryShelf>,
    ether: Ether,
    life: Option<Life>,
}

impl Machine {
    pub(super) fn new(number: usize, keys: Bunch, nature: Nature, disks: Disks, ether: &Ether) -> Self {
        Self {
            number,
            keys: Arc::new(keys),
            nature,
            disks,
            unknown: &[],
            keeps_all_files: false,
            front: Front::default(),
            is_shaken: false,
            expected: Expected::of(node_keys(0).actor()),
            book: Arc::default(),
            shelf: Arc::default(),
            ether: ether.clone(),
            life: None,
        }
    }

    pub(super) fn key(&self) -> ActorId {
        self.keys.0[0].actor()
    }

    /// Who works here.
    pub(super) fn person(&self) -> ActorId {
        self.keys.0[1].actor()
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Its workspace, if it is up.
    pub(super) fn workspace(&self) -> Option<&Workspace> {
        self.life.as_ref().map(|life| &life.workspace)
    }

    /// Whether it takes part in the workspace: it was there from the beginning, or has joined.
    pub(super) fn takes_part(&self) -> bool {
        self.expected.who().is_some()
    }

    /// Why its workspace was stopped, if it was.
    pub(super) fn failure(&self) -> Option<String> {
        match &*self.workspace()?.condition.borrow() {
            Condition::Failed { why } => Some(why.clone()),
            _ => None,
        }
    }

    /// How it stands with the others that it knows; nothing while it or its endpoint is down.
    pub(super) async fn knows_peers(&self) -> Vec<PeerStatus> {
        let Some(life) = &self.life else { return Vec::new() };
        life.endpoint.call(|reply| EndpointMsg::Status { reply }).await.unwrap_or_default()
    }

    /// Is switched on. The error says why it does not start.
    pub(super) async fn starts(&mut self) -> Result<(), String> {
        let endpoint = Address::of("endpoint");
        let (house, _) = Actor::spawn(None, House, ()).await.unwrap();
        let given = Given {
            env: self.nature.env.clone(),
            keyring: self.keys.clone(),
            tickets: self.shelf.clone(),
            node: self.key(),
            endpoint: endpoint.clone(),
            unknown: self.unknown,
            keeps_all_files: self.keeps_all_files,
        };
        let (workspace, _) = move_in(&self.disks, given, house.get_cell()).await?;
        let network = self.ether.node(self.key(), address(self.number));
        let door = Arc::new(Door::new(self.key(), Arc::new(Porch(workspace.clone())), self.nature.env.clone()));
        let (expected, env) = (self.expected.clone(), self.nature.env.clone());
        let args = EndpointArgs {
            network: network as Arc<dyn Network>,
            workspaces: Arc::new(Street { workspace: workspace.clone(), door, expected, env }),
            book: self.book.clone(),
            env: self.nature.env.clone(),
            versions: VERSIONS,
            software: "openprod under simulation".to_owned(),
        };
        let (actor, _) = Actor::spawn(None, Endpoint, args.clone()).await.unwrap();
        endpoint.moved_to(actor);
        let lookout = tokio::spawn(look_out(workspace.clone(), endpoint.clone())).abort_handle();
        self.front.opens(Living { workspace: workspace.clone(), endpoint: endpoint.clone() });
        self.life = Some(Life { workspace, house, endpoint, args, lookout });
        Ok(())
    }

    /// Is switched off in good order.
    pub(super) async fn stops(&mut self) {
        self.front.shuts();
        let Some(life) = self.life.take() else { return };
        life.args.network.stop();
        life.workspace.close().await;
        life.ends().await;
        // Rooms that did not close in time go on with disks that nobody opens again.
        self.disks = self.disks.copied();
    }

    /// Its process ends from one moment to the next, and this is what is found on its disks.
    pub(super) async fn dies(&mut self, found: impl FnOnce(&Disks) -> Disks) {
        self.front.shuts();
        self.ether.crash(self.key());
        self.disks = found(&self.disks);
        if let Some(life) = self.life.take() {
            life.ends().await;
        }
    }

    /// A room panics.
    pub(super) fn loses(&self, room: Room) {
        if let Some(life) = &self.life {
            life.workspace.kill(room);
        }
    }

    /// The endpoint panics, and is started again, as the node does.
    pub(super) async fn loses_its_endpoint(&self) {
        let Some(life) = &self.life else { return };
        if let Some(endpoint) = life.endpoint.living() {
            endpoint.get_cell().kill_and_wait(None).await.unwrap();
        }
        tokio::time::sleep(ENDPOINT_PAUSE).await;
        let (endpoint, _) = Actor::spawn(None, Endpoint, life.args.clone()).await.unwrap();
        life.endpoint.moved_to(endpoint);
    }

    /// Discovery tells it of another.
    pub(super) fn hears_of(&self, other: usize) {
        if let Some(life) = &self.life {
            let (key, addresses) = (node_keys(other).actor(), vec![address(other)]);
            // An endpoint that is being started again hears of it the next time.
            let _ = life.endpoint.cast(EndpointMsg::Found { key, addresses });
        }
    }

    /// A person names another to it, by key and address; it is remembered.
    pub(super) async fn is_told_of(&self, other: usize) {
        if let Some(life) = &self.life {
            let (key, addresses) = (Some(node_keys(other).actor()), vec![address(other)]);
            let _ = life.endpoint.call(|reply| EndpointMsg::Add { key, addresses, reply }).await;
        }
    }

    /// The digests of its log from a position on.
    pub(super) fn digests_from(&self, from: Position) -> Result<Vec<Digest>, String> {
        let workspace = self.workspace().ok_or("it is down")?;
        let entries = workspace.log.entries(from, usize::MAX).map_err(|failure| failure.to_string())?;
        Ok(entries.into_iter().map(|(_, entry)| entry.digest).collect())
    }
}

impl Life {
    async fn ends(self) {
        self.lookout.abort();
        if let Some(endpoint) = self.endpoint.living() {
            endpoint.get_cell().kill_and_wait(None).await.unwrap();
        }
        self.house.get_cell().kill_and_wait(None).await.unwrap();
    }
}

/// Tells the endpoint when members may have changed.
async fn look_out(workspace: Workspace, endpoint: Address<EndpointMsg>) {
    let mut folded = workspace.snapshots.folded();
    while folded.changed().await.is_ok() {
        tokio::time::sleep(CALM).await;
        let _ = endpoint.cast(EndpointMsg::Changed);
    }
}

/// Every bundle that was ever seen: reading one from a log again costs more.
#[derive(Default)]
pub(super) struct Library(BTreeMap<Digest, Arc<Bundle>>);

impl Library {
    /// A bundle of a log, and whether it was never seen before.
    pub(super) fn read(&mut self, log: &dyn LogReader, digest: Digest) -> Result<(Arc<Bundle>, bool), String> {
        if let Some(bundle) = self.0.get(&digest) {
            return Ok((Arc::clone(bundle), false));
        }
        let at = log.position_of(digest).map_err(|failure| failure.to_string())?.ok_or("it is not in the log")?;
        match log.bundle(at).map_err(|failure| failure.to_string())? {
            Some(Stored::Whole(bundle)) => Ok((Arc::clone(self.0.entry(digest).or_insert(bundle)), true)),
            Some(Stored::Damaged { reason, .. }) => Err(format!("the bundle at {at} is damaged: {reason}")),
            None => Err(format!("there is no bundle at {at}")),
        }
    }

    /// One that was seen before.
    pub(super) fn of(&self, digest: Digest) -> &Arc<Bundle> {
        &self.0[&digest]
    }
}
