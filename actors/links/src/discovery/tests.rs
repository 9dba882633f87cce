//! Two nodes find each other by real multicast on loopback, on a port of their own.

use std::net::Ipv4Addr;

use openprod_messages::environment::{Clock, Randomness, Spawner};
use openprod_model::ids::WorkspaceId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::*;
use crate::endpoint::{Link, Purpose};
use crate::transport::{Channel, Connection};

const SHOW: WorkspaceId = WorkspaceId::from_bytes([1; 16]);
const OPEN: WorkspaceId = WorkspaceId::from_bytes([2; 16]);

/// A node that has these workspaces and no others.
struct Having(Vec<WorkspaceId>);

impl Workspaces for Having {
    fn known(&self) -> Vec<WorkspaceId> {
        self.0.clone()
    }

    fn is_member(&self, _: WorkspaceId, _: ActorId) -> bool {
        false
    }

    fn asked(&self, _: Arc<dyn Connection>, channel: Channel) {
        drop(channel);
    }

    fn linked(&self, _: &Link, _: WorkspaceId, _: Purpose, channel: Channel) {
        drop(channel);
    }

    fn parted(&self, _: &Link, _: WorkspaceId) {}

    fn advertised(&self) -> Vec<(WorkspaceId, String)> {
        self.0.iter().filter(|workspace| **workspace == OPEN).map(|w| (*w, "Hamlet".to_owned())).collect()
    }
}

struct Plain(std::time::Instant);

impl Clock for Plain {
    fn wall_ms(&self) -> u64 {
        self.monotonic_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

impl Randomness for Plain {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

impl Spawner for Plain {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// Writes down what the endpoint is told.
struct Listener;

impl Actor for Listener {
    type Msg = EndpointMsg;
    type State = mpsc::UnboundedSender<EndpointMsg>;
    type Arguments = Self::State;

    async fn pre_start(&self, _: ActorRef<EndpointMsg>, told: Self::State) -> Result<Self::State, ActorProcessingErr> {
        Ok(told)
    }

    async fn handle(
        &self,
        _: ActorRef<EndpointMsg>,
        message: EndpointMsg,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        told.send(message).map_err(|_| "the test is over".into())
    }
}

struct Node {
    key: ActorId,
    changes: watch::Sender<u64>,
    told: Told,
    nearby: watch::Receiver<Vec<Nearby>>,
}

async fn node(n: u8, mdns_port: u16, workspaces: Vec<WorkspaceId>) -> Node {
    let (args, told, nearby) = arguments(n, mdns_port, workspaces).await;
    let (changes, news) = watch::channel(0);
    let key = args.key;
    tokio::spawn(run(args, news));
    Node { key, changes, told, nearby }
}

type Told = mpsc::UnboundedReceiver<EndpointMsg>;

async fn arguments(
    n: u8,
    mdns_port: u16,
    workspaces: Vec<WorkspaceId>,
) -> (DiscoveryArgs, Told, watch::Receiver<Vec<Nearby>>) {
    let (say, told) = mpsc::unbounded_channel();
    let endpoint = Address::of("endpoint");
    endpoint.moved_to(Actor::spawn(None, Listener, say).await.unwrap().0);
    let plain = || Arc::new(Plain(std::time::Instant::now()));
    let (shown, nearby) = watch::channel(Vec::new());
    let args = DiscoveryArgs {
        key: ActorId::from_bytes([n; 32]),
        port: 7_000 + u16::from(n),
        reach: Reach::Interface(Ipv4Addr::LOCALHOST.into()),
        mdns_port,
        workspaces: Arc::new(Having(workspaces)),
        endpoint,
        nearby: Arc::new(shown),
        env: Environment { clock: plain(), random: plain(), spawner: plain() },
    };
    (args, told, nearby)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("multicast works on loopback")
}

/// A port that no other run of the tests uses at the same time.
fn own_port() -> u16 {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

#[tokio::test]
async fn nodes_of_one_workspace_find_each_other_and_strangers_see_only_what_is_open() {
    let port = own_port();
    let mut mara = node(1, port, vec![SHOW]).await;
    let mut leo = node(2, port, vec![SHOW, OPEN]).await;
    let mut stranger = node(3, port, vec![]).await;
    let (mara_key, leo_key) = (mara.key, leo.key);
    for (hears, of, at) in [(&mut mara, leo_key, 7_002), (&mut leo, mara_key, 7_001)] {
        match within(hears.told.recv()).await {
            Some(EndpointMsg::Found { key, addresses }) => {
                assert_eq!((key, addresses), (of, vec![SocketAddr::from((Ipv4Addr::LOCALHOST, at))]));
            }
            _ => panic!("a node is found first"),
        }
    }
    within(stranger.nearby.wait_for(|nearby| !nearby.is_empty())).await.unwrap();
    let open = stranger.nearby.borrow()[0].clone();
    assert_eq!((open.workspace, open.name.as_str(), open.key), (OPEN, "Hamlet", leo.key));
    drop(leo.changes);
    let left = within(async {
        loop {
            if let Some(EndpointMsg::Left { key }) = mara.told.recv().await {
                break key;
            }
        }
    });
    assert_eq!(left.await, leo_key, "a node that stops says goodbye");
    assert!(stranger.told.try_recv().is_err(), "who shares nothing is not dialled");
}

/// A response of multicast DNS with the addresses of machines that nobody asked about, to be kept for years.
fn unasked(first: u16) -> Vec<u8> {
    const RECORDS: u16 = 40;
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    packet[6..8].copy_from_slice(&RECORDS.to_be_bytes());
    for number in first..first + RECORDS {
        packet.extend([&[9][..], format!("host{number:05}").as_bytes(), &[5], b"local", &[0]].concat());
        packet.extend([0, 1, 0, 1, 0x05, 0xf5, 0xe1, 0, 0, 4, 10, 0, 0, 1]);
    }
    packet
}

#[tokio::test]
async fn addresses_that_nobody_asked_for_are_a_flood_though_no_event_tells_of_them() {
    let port = own_port();
    let (args, _told, _nearby) = arguments(1, port, vec![SHOW]).await;
    let (_changes, mut news) = watch::channel(0);
    let flood = async {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for first in (0..).step_by(40).map(|at: u32| u16::try_from(at % 60_000).unwrap()) {
            pace.tick().await;
            socket.send_to(&unasked(first), (Ipv4Addr::new(224, 0, 0, 251), port)).await.unwrap();
        }
    };
    let broken = within(async {
        tokio::select! {
            biased;
            broken = look(&args, &mut news) => broken,
            () = flood => unreachable!("it goes on for ever"),
        }
    });
    assert_eq!(broken.await, Err(Broken::Flood));
}
