//! Nodes that meet, in memory and in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use openprod_messages::environment::{Clock, Randomness, Spawner};
use openprod_model::identity::Keys;
use openprod_wire::framing::Frame;
use openprod_wire::hello::{Control, Hello, Side, TAG_LABEL, VERSIONS, Versions};

use std::time::Duration;

use openprod_wire::closing::CloseCode;

use super::running::MAX_UNMET;
use super::*;
use crate::transport::memory::{Ether, MemoryNetwork};

/// 21 November 2026, somewhere in the morning.
const MORNING_MS: u64 = 1_795_240_000_000;

const SHOW: WorkspaceId = WorkspaceId::from_bytes([1; 16]);
const OTHER_SHOW: WorkspaceId = WorkspaceId::from_bytes([2; 16]);

/// Virtual time, off by so many milliseconds.
struct VirtualClock {
    start: tokio::time::Instant,
    skew_ms: i64,
}

impl Clock for VirtualClock {
    fn wall_ms(&self) -> u64 {
        (MORNING_MS + self.monotonic_ms()).checked_add_signed(self.skew_ms).unwrap()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

struct Seeded(AtomicU64);

impl Randomness for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.0.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.0.store(next, Ordering::Relaxed);
            *byte = next.to_be_bytes()[0];
        }
    }
}

struct Inline;

impl Spawner for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// Threads that take a second for everything.
struct Late;

impl Spawner for Late {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            job();
        });
    }
}

/// The workspaces of a node, its members as it knows them, and the channels that it was given.
#[derive(Default)]
struct Rooms {
    members: Mutex<BTreeMap<WorkspaceId, BTreeSet<ActorId>>>,
    given: Mutex<Given>,
    changed: openprod_messages::watch::Sender<()>,
}

#[derive(Default)]
struct Given {
    open: BTreeMap<(LinkId, WorkspaceId), (Purpose, Link, Channel)>,
    total: usize,
}

impl Rooms {
    fn admits(&self, workspace: WorkspaceId, seeds: &[u8]) {
        self.members.lock().unwrap().insert(workspace, seeds.iter().map(|seed| key(*seed)).collect());
    }

    fn open(&self) -> Vec<(ActorId, WorkspaceId, Purpose)> {
        let given = self.given.lock().unwrap();
        given.open.iter().map(|((_, workspace), (purpose, link, _))| (link.peer, *workspace, *purpose)).collect()
    }

    /// Waits until the open channels are these.
    async fn until(&self, wanted: &[(u8, WorkspaceId, Purpose)]) {
        let wanted: Vec<_> = wanted.iter().map(|(seed, w, purpose)| (key(*seed), *w, *purpose)).collect();
        let mut changed = self.changed.subscribe();
        let come = async {
            while self.open() != wanted {
                changed.changed().await.unwrap();
            }
        };
        let come = tokio::time::timeout(Duration::from_secs(1_000), come).await;
        assert!(come.is_ok(), "wanted {wanted:?}, and there are {:?}", self.open());
    }
}

impl Workspaces for Rooms {
    fn known(&self) -> Vec<WorkspaceId> {
        self.members.lock().unwrap().keys().copied().collect()
    }

    fn is_member(&self, workspace: WorkspaceId, peer: ActorId) -> bool {
        self.members.lock().unwrap().get(&workspace).is_some_and(|members| members.contains(&peer))
    }

    fn linked(&self, link: &Link, workspace: WorkspaceId, purpose: Purpose, channel: Channel) {
        let mut given = self.given.lock().unwrap();
        given.total += 1;
        given.open.insert((link.id, workspace), (purpose, link.clone(), channel));
        self.changed.send_replace(());
    }

    fn asked(&self, _: Arc<dyn Connection>, channel: Channel) {
        channel.give_up(CloseCode::NOT_WELCOME);
    }

    fn parted(&self, link: &Link, workspace: WorkspaceId) {
        self.given.lock().unwrap().open.remove(&(link.id, workspace));
        self.changed.send_replace(());
    }
}

fn key(seed: u8) -> ActorId {
    Keys::from_seed(&[seed; 32]).actor()
}

fn address(seed: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, seed], 4433))
}

struct Node {
    seed: u8,
    endpoint: ActorRef<EndpointMsg>,
    network: Arc<MemoryNetwork>,
    rooms: Arc<Rooms>,
    book: Arc<MemoryBook>,
}

struct World {
    ether: Ether,
    start: tokio::time::Instant,
    lives: AtomicU64,
    spawner: Arc<dyn Spawner>,
}

impl World {
    fn new() -> Self {
        tokio::time::pause();
        let (start, spawner) = (tokio::time::Instant::now(), Arc::new(Inline));
        Self { ether: Ether::default(), start, lives: AtomicU64::new(0), spawner }
    }

    async fn node(&self, seed: u8, members: &[u8]) -> Node {
        let rooms = Arc::<Rooms>::default();
        rooms.admits(SHOW, members);
        self.node_with(seed, 0, rooms, Arc::default()).await
    }

    async fn node_with(&self, seed: u8, skew_ms: i64, rooms: Arc<Rooms>, book: Arc<MemoryBook>) -> Node {
        let network = self.ether.node(key(seed), address(seed));
        let life = self.lives.fetch_add(1, Ordering::Relaxed) << 8;
        let random = Arc::new(Seeded(AtomicU64::new(u64::from(seed) | life)));
        let env = Environment {
            clock: Arc::new(VirtualClock { start: self.start, skew_ms }),
            random,
            spawner: Arc::clone(&self.spawner),
        };
        let args = EndpointArgs {
            network: Arc::clone(&network) as Arc<dyn Network>,
            workspaces: Arc::clone(&rooms) as Arc<dyn Workspaces>,
            book: Arc::clone(&book) as Arc<dyn PeerBook>,
            env,
            versions: VERSIONS,
            software: "openprod test".to_owned(),
        };
        let (endpoint, _) = Actor::spawn(None, Endpoint, args).await.unwrap();
        Node { seed, endpoint, network, rooms, book }
    }

    /// A raw connection to a node, for those who misbehave.
    async fn stranger(&self, to: &Node) -> Arc<dyn Connection> {
        self.ether.node(key(99), address(99)).dial(address(to.seed), None).await.unwrap()
    }
}

impl Node {
    async fn ask<T: Send + 'static>(&self, message: impl FnOnce(RpcReplyPort<T>) -> EndpointMsg) -> T {
        let (port, answer) = ractor::concurrency::oneshot();
        self.endpoint.cast(message(port.into())).unwrap();
        answer.await.unwrap()
    }

    async fn adds(&self, other: u8) {
        let addresses = vec![address(other)];
        assert!(self.ask(|reply| EndpointMsg::Add { key: None, addresses, reply }).await);
    }

    async fn status(&self) -> Vec<PeerStatus> {
        self.ask(|reply| EndpointMsg::Status { reply }).await
    }

    /// Waits until the status of a peer is as wanted.
    async fn sees(&self, other: u8, wanted: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        for _ in 0..10_000 {
            let peers = self.status().await;
            let is_meant = |peer: &PeerStatus| peer.key == Some(key(other)) || peer.addresses.contains(&address(other));
            if let Some(found) = peers.into_iter().find(|peer| is_meant(peer) && wanted(peer)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{:?}", self.status().await);
    }

    async fn connected(&self, other: u8) -> Connected {
        let is_connected = |peer: &PeerStatus| matches!(&peer.stage, PeerStage::Connected(_));
        match self.sees(other, is_connected).await.stage {
            PeerStage::Connected(figures) => *figures,
            _ => unreachable!("it was looked for"),
        }
    }

    fn changes(&self, members: &[u8]) {
        self.rooms.admits(SHOW, members);
        self.endpoint.cast(EndpointMsg::Changed).unwrap();
    }

    /// The only link that it was given channels on.
    fn link(&self) -> LinkId {
        let given = self.rooms.given.lock().unwrap();
        given.open.keys().next().unwrap().0
    }
}

const BUNDLES: Purpose = Purpose::Bundles;

#[tokio::test]
async fn members_meet_share_their_workspace_and_say_how_it_stands() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    let figures = mara.connected(2).await;
    assert_eq!((figures.version, figures.workspaces), (VERSIONS.highest, vec![SHOW]));
    assert_eq!((figures.software.as_str(), figures.remote), ("openprod test", address(2)));
    assert!(figures.traffic.sent > 0 && figures.traffic.received > 0);
    assert_eq!(leo.connected(1).await.side, Side::Dialled);
    let known = KnownPeer { key: Some(key(2)), addresses: vec![address(2)] };
    assert_eq!(*mara.book.0.lock().unwrap(), [known]);
    assert_eq!(leo.book.0.lock().unwrap()[0].key, Some(key(1)), "who was dialled remembers too");
}

#[tokio::test]
async fn dials_that_cross_become_the_connection_that_the_lower_key_dialled() {
    let world = World::new();
    for (one, other) in [(1, 2), (2, 1)] {
        world.ether.change(key(one), key(other), |weather| weather.delay = Duration::from_millis(40));
    }
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    tokio::join!(mara.adds(2), leo.adds(1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    assert_eq!(world.ether.connections(), 1);
    let lower = if key(1) < key(2) { &mara } else { &leo };
    let higher = 3 - lower.seed;
    assert_eq!(lower.connected(higher).await.side, Side::Dialler);
}

#[tokio::test]
async fn a_stranger_gets_no_byte() {
    let world = World::new();
    let mara = world.node(1, &[1, 2]).await;
    let stranger = world.node(3, &[]).await;
    stranger.rooms.members.lock().unwrap().remove(&SHOW);
    stranger.rooms.admits(OTHER_SHOW, &[1, 3]);
    stranger.adds(1).await;
    let status = stranger.sees(1, |peer| matches!(peer.stage, PeerStage::Waiting { failures: 1, .. })).await;
    assert!(status.trouble.contains("not a member here"), "{}", status.trouble);
    let PeerStage::Waiting { in_ms, .. } = status.stage else { panic!("it waits") };
    assert!(in_ms > 60_000, "who is not welcome does not insist");
    let raw = world.stranger(&mara).await;
    let mut channel = raw.open().await.unwrap();
    channel.send.say(&Opening::Control).await.unwrap();
    channel.send.say(&Control::Hello(hello(VERSIONS, Vec::new()))).await.unwrap();
    assert_eq!(raw.closed().await, Closed::There(CloseCode::NOT_WELCOME));
    assert_eq!(raw.traffic().received, 0);
    assert!(mara.status().await.is_empty());
}

fn hello(versions: Versions, knows: Vec<WorkspaceTag>) -> Hello {
    Hello { versions, life: 1, software: String::new(), clock_ms: 0, features: 0, knows }
}

/// Says hello as somebody who knows the show.
async fn greets(connection: &dyn Connection, versions: Versions) -> Channel {
    let tag = WorkspaceTag::of(SHOW, &connection.exporter(TAG_LABEL, &[]), Side::Dialler);
    let mut channel = connection.open().await.unwrap();
    channel.send.say(&Opening::Control).await.unwrap();
    channel.send.say(&Control::Hello(hello(versions, vec![tag]))).await.unwrap();
    channel
}

#[tokio::test]
async fn versions_without_overlap_part_with_a_reason_and_overlapping_ones_agree() {
    let world = World::new();
    let mara = world.node(1, &[1, 2]).await;
    let newer = world.stranger(&mara).await;
    let next = VERSIONS.highest + 1;
    let _control = greets(&*newer, Versions { lowest: next, highest: next }).await;
    assert_eq!(newer.closed().await, Closed::There(CloseCode::VERSION));
    let both = world.stranger(&mara).await;
    let mut control = greets(&*both, Versions { lowest: 1, highest: next }).await;
    assert!(matches!(control.receive.hear().await, Ok(Some(Control::Hello(_)))));
    assert_eq!(mara.connected(99).await.version, VERSIONS.highest);
}

#[tokio::test]
async fn what_a_newer_node_adds_is_passed_over_and_rubbish_is_not() {
    let world = World::new();
    let mara = world.node(1, &[1, 2, 99]).await;
    let raw = world.stranger(&mara).await;
    let mut control = greets(&*raw, VERSIONS).await;
    control.send.send(Control::KINDS.to_le_bytes().to_vec()).await.unwrap();
    let mut unknown = raw.open().await.unwrap();
    unknown.send.send(Opening::KINDS.to_le_bytes().to_vec()).await.unwrap();
    assert_eq!(unknown.receive.receive().await, Err(crate::transport::LinkError::GivenUp(CloseCode::UNKNOWN)));
    mara.connected(99).await;
    control.send.send(vec![0xff, 0, 0]).await.unwrap();
    assert_eq!(raw.closed().await, Closed::There(CloseCode::MISBEHAVED));
}

#[tokio::test]
async fn a_conversation_that_breaks_off_within_a_frame_begins_again_soon() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
    world.ether.change(key(1), key(2), |weather| {
        weather.garbles = Some(Arc::new(|_| crate::transport::memory::Arrival::Truncated));
    });
    tokio::join!(mara.rooms.until(&[]), leo.rooms.until(&[]));
    world.ether.change(key(1), key(2), |weather| weather.garbles = None);
    let begun = tokio::time::Instant::now();
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    assert!(begun.elapsed() < Duration::from_mins(1), "nobody is punished for a bad line: {:?}", begun.elapsed());
}

#[tokio::test]
async fn who_says_nothing_is_sent_away_and_so_is_who_belongs_nowhere() {
    let world = World::new();
    let mara = world.node(1, &[1, 2]).await;
    let silent = world.stranger(&mara).await;
    assert_eq!(silent.closed().await, Closed::There(CloseCode::TOO_SLOW));
    let idle = world.stranger(&mara).await;
    let _control = greets(&*idle, VERSIONS).await;
    assert_eq!(idle.closed().await, Closed::There(CloseCode::NOT_WELCOME));
}

#[tokio::test]
async fn a_crowd_of_silent_strangers_does_not_keep_a_known_member_out() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    leo.adds(1).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
    let mut crowd = Vec::new();
    for _ in 0..(2 * MAX_UNMET) {
        crowd.push(world.stranger(&mara).await);
    }
    let busy = Closed::There(CloseCode::BUSY);
    assert_eq!(crowd.pop().unwrap().closed().await, busy);
    world.ether.cut(key(1), key(2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
}

#[tokio::test]
async fn a_cut_link_comes_back_and_a_long_absence_is_dialled_seldom() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
    world.ether.cut(key(1), key(2));
    mara.rooms.until(&[]).await;
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    world.ether.part(key(1), key(2));
    tokio::join!(mara.rooms.until(&[]), leo.rooms.until(&[]));
    let waiting = mara.sees(2, |peer| matches!(peer.stage, PeerStage::Waiting { failures: 8.., .. })).await;
    assert!(waiting.trouble.contains("nobody answers there"), "{}", waiting.trouble);
    let PeerStage::Waiting { in_ms, .. } = waiting.stage else { panic!("it waits") };
    assert!((20_000..=60_000).contains(&in_ms), "{in_ms}");
    world.ether.meet(key(1), key(2));
    let begun = tokio::time::Instant::now();
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    assert!(begun.elapsed() <= Duration::from_secs(62), "within a minute of healing");
    assert_eq!(world.ether.connections(), 1);
}

#[tokio::test]
async fn a_removed_member_is_disconnected_and_an_admitted_one_is_let_in_on_the_same_link() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1]).await, world.node(2, &[1, 2]).await);
    leo.adds(1).await;
    mara.connected(2).await;
    assert!(mara.rooms.open().is_empty() && leo.rooms.open().is_empty());
    mara.changes(&[1, 2]);
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    mara.changes(&[1]);
    tokio::join!(mara.rooms.until(&[]), leo.rooms.until(&[]));
    let status = leo.sees(1, |peer| matches!(peer.stage, PeerStage::Waiting { .. })).await;
    assert!(status.trouble.contains("not a member here"), "{}", status.trouble);
    let begun = tokio::time::Instant::now();
    mara.changes(&[1, 2]);
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    assert!(begun.elapsed() < Duration::from_secs(5), "who is admitted again is dialled: {:?}", begun.elapsed());
}

#[tokio::test]
async fn leaving_one_workspace_leaves_the_others_linked() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.rooms.admits(OTHER_SHOW, &[1, 2]);
    leo.rooms.admits(OTHER_SHOW, &[1, 2]);
    mara.adds(2).await;
    leo.rooms.until(&[(1, SHOW, BUNDLES), (1, OTHER_SHOW, BUNDLES)]).await;
    leo.changes(&[2]);
    leo.rooms.until(&[(1, OTHER_SHOW, BUNDLES)]).await;
    let only = |peer: &PeerStatus| matches!(&peer.stage, PeerStage::Connected(c) if c.workspaces == [OTHER_SHOW]);
    tokio::join!(leo.sees(1, only), mara.sees(2, only));
}

#[tokio::test]
async fn a_node_that_crashed_and_came_back_is_taken_for_the_living_one() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    leo.rooms.until(&[(1, SHOW, BUNDLES)]).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
    let before = leo.link();
    world.ether.crash(key(1));
    mara.endpoint.kill();
    let again = world.node_with(1, 0, Arc::clone(&mara.rooms), Arc::clone(&mara.book)).await;
    again.connected(2).await;
    let begun = tokio::time::Instant::now();
    while leo.rooms.open().is_empty() || leo.link() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for the dead connection to time out");
}

#[tokio::test]
async fn an_endpoint_that_dies_leaves_no_connection_behind() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    tokio::join!(mara.rooms.until(&[(2, SHOW, BUNDLES)]), leo.rooms.until(&[(1, SHOW, BUNDLES)]));
    mara.endpoint.kill();
    tokio::join!(mara.rooms.until(&[]), leo.rooms.until(&[]));
    let status = leo.sees(1, |peer| matches!(peer.stage, PeerStage::Waiting { .. })).await;
    assert!(status.trouble.contains("the node stopped"), "{}", status.trouble);
}

#[tokio::test]
async fn the_clock_of_a_laptop_that_is_days_off_is_told() {
    const THREE_DAYS_MS: i64 = 3 * 24 * 3_600 * 1_000;
    let world = World::new();
    let (mara, rooms) = (world.node(1, &[1, 2]).await, Arc::<Rooms>::default());
    rooms.admits(SHOW, &[1, 2]);
    let leo = world.node_with(2, THREE_DAYS_MS, rooms, Arc::default()).await;
    leo.adds(1).await;
    let is_measured = |peer: &PeerStatus| matches!(&peer.stage, PeerStage::Connected(c) if c.clock_offset_ms.is_some());
    for (node, other, ahead_ms) in [(&mara, 2, THREE_DAYS_MS), (&leo, 1, -THREE_DAYS_MS)] {
        node.sees(other, is_measured).await;
        let offset = node.connected(other).await.clock_offset_ms.unwrap();
        assert!((offset - ahead_ms).abs() <= 1, "{offset}");
    }
}

#[tokio::test]
async fn who_wants_to_join_reaches_the_one_who_invited() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1]).await, world.node(2, &[]).await);
    leo.rooms.members.lock().unwrap().clear();
    let reach = |workspace, reply| EndpointMsg::Reach { workspace, key: key(1), addresses: vec![address(1)], reply };
    let link = leo.ask(|reply| reach(SHOW, reply)).await.unwrap();
    let _channel = link.open(SHOW, Purpose::Admission).await.unwrap();
    mara.rooms.until(&[(2, SHOW, Purpose::Admission)]).await;
    let sneaks = link.open(SHOW, BUNDLES).await.unwrap();
    let mut heard = sneaks.receive;
    assert_eq!(heard.receive().await, Err(crate::transport::LinkError::GivenUp(CloseCode::NOT_WELCOME)));
    let again = leo.ask(|reply| reach(SHOW, reply)).await.unwrap();
    assert_eq!(again.id, link.id, "the same link serves");
    leo.changes(&[1, 2]);
    mara.changes(&[1, 2]);
    leo.rooms.until(&[(1, SHOW, BUNDLES)]).await;
    world.ether.crash(key(1));
    let absent =
        leo.ask(|reply| EndpointMsg::Reach { workspace: SHOW, key: key(3), addresses: vec![address(3)], reply });
    assert!(absent.await.unwrap_err().0.contains("nobody answers there"));
}

#[test]
fn whoever_wants_to_join_while_the_node_is_dialled_for_nothing_reaches_it_all_the_same() {
    for moment_ms in 0..100 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let reached = runtime.block_on(reached_after(moment_ms));
        reached.unwrap_or_else(|error| panic!("after {moment_ms} ms: {error}"));
    }
}

/// Leo dials Mara, with whom he shares nothing yet, which is answered by a closed connection; he asks to join a moment
/// after that has begun.
async fn reached_after(moment_ms: u64) -> Result<Link, ReachError> {
    let world = World::new();
    let (_mara, leo) = (world.node(1, &[1]).await, world.node(2, &[]).await);
    for (from, to) in [(1, 2), (2, 1)] {
        world.ether.change(key(from), key(to), |weather| weather.delay = Duration::from_millis(10));
    }
    leo.rooms.members.lock().unwrap().clear();
    leo.adds(1).await;
    tokio::time::sleep(Duration::from_millis(moment_ms)).await;
    leo.ask(|reply| EndpointMsg::Reach { workspace: SHOW, key: key(1), addresses: vec![address(1)], reply }).await
}

#[tokio::test]
async fn who_is_named_while_the_book_is_read_is_written_into_it() {
    let world = World { spawner: Arc::new(Late), ..World::new() };
    let mara = world.node(1, &[1, 2]).await;
    mara.adds(2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*mara.book.0.lock().unwrap(), [KnownPeer { key: None, addresses: vec![address(2)] }]);
}

#[tokio::test]
async fn a_forgotten_peer_is_let_go_and_the_own_address_is_no_peer() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    leo.rooms.until(&[(1, SHOW, BUNDLES)]).await;
    let name = PeerName::Address(address(2));
    assert!(mara.ask(|reply| EndpointMsg::Forget { peer: name, reply }).await);
    assert!(!mara.ask(|reply| EndpointMsg::Forget { peer: name, reply }).await);
    mara.rooms.until(&[]).await;
    assert!(mara.status().await.is_empty() && mara.book.0.lock().unwrap().is_empty());
    mara.adds(1).await;
    let myself = mara.sees(1, |peer| !peer.trouble.is_empty()).await;
    assert_eq!(myself.trouble, "it is this very node");
}

#[tokio::test]
async fn a_channel_that_broke_off_is_opened_again_by_whoever_dialled() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    mara.rooms.until(&[(2, SHOW, BUNDLES)]).await;
    leo.rooms.until(&[(1, SHOW, BUNDLES)]).await;
    mara.endpoint.cast(EndpointMsg::Renew { link: mara.link(), workspace: SHOW }).unwrap();
    let mut changed = leo.rooms.changed.subscribe();
    while leo.rooms.given.lock().unwrap().total < 2 {
        changed.changed().await.unwrap();
    }
    assert_eq!(mara.rooms.open().len(), 1);
}

#[tokio::test]
async fn a_stopped_node_says_goodbye() {
    let world = World::new();
    let (mara, leo) = (world.node(1, &[1, 2]).await, world.node(2, &[1, 2]).await);
    mara.adds(2).await;
    leo.rooms.until(&[(1, SHOW, BUNDLES)]).await;
    leo.network.stop();
    mara.rooms.until(&[]).await;
    assert!(leo.network.dial(address(1), None).await.is_err());
}
