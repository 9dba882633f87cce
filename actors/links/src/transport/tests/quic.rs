//! QUIC on loopback, over roads that can be blocked; and what only a real socket meets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_messages::watch;
use tokio::net::UdpSocket;

use super::{World, channels, connected, key, keys};
use crate::transport::quic::Quic;
use crate::transport::{Network, PROTOCOL};

/// Short, so that silence is noticed soon.
const IDLE: Duration = Duration::from_millis(600);

/// No datagram of QUIC is larger.
const LARGEST: usize = 65_536;

/// What passes on the roads, for all to see.
#[derive(Default)]
struct Traffic {
    is_blocked: bool,
    passed: usize,
    recent: Vec<Vec<u8>>,
}

type Roads = watch::Sender<Traffic>;

/// The machine's loopback, and the roads on it.
pub(super) struct OnLoopback {
    roads: Arc<Roads>,
    /// A port that nobody else gets, and from which nobody answers.
    nowhere: std::net::UdpSocket,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl OnLoopback {
    pub(super) fn new() -> Self {
        let nowhere = std::net::UdpSocket::bind(any_port()).unwrap();
        Self { roads: Arc::new(watch::channel(Traffic::default()).0), nowhere, tasks: Mutex::default() }
    }
}

impl World for OnLoopback {
    async fn node(&self, seed: u8) -> Arc<dyn Network> {
        Quic::start(&keys(seed), any_port(), PROTOCOL, IDLE).unwrap()
    }

    async fn foreigner(&self, seed: u8) -> Arc<dyn Network> {
        Quic::start(&keys(seed), any_port(), b"another/1", IDLE).unwrap()
    }

    async fn road_to(&self, node: &dyn Network) -> SocketAddr {
        let road = UdpSocket::bind(any_port()).await.unwrap();
        let entrance = road.local_addr().unwrap();
        self.tasks.lock().unwrap().spawn(carry(road, node.addresses()[0], Arc::clone(&self.roads)));
        entrance
    }

    fn block(&self) {
        self.roads.send_modify(|traffic| traffic.is_blocked = true);
    }

    fn nowhere(&self) -> SocketAddr {
        self.nowhere.local_addr().unwrap()
    }

    async fn idles(&self) {
        let mut roads = self.roads.subscribe();
        let until = roads.borrow().passed + 24;
        roads.wait_for(|traffic| traffic.passed >= until).await.unwrap();
    }
}

/// Carries datagrams to `target`, and what it answers back to whoever they were from.
async fn carry(road: UdpSocket, target: SocketAddr, roads: Arc<Roads>) {
    let road = Arc::new(road);
    let mut exits: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut back = tokio::task::JoinSet::new();
    let mut datagram = vec![0; LARGEST];
    while let Ok((length, from)) = road.recv_from(&mut datagram).await {
        if let std::collections::btree_map::Entry::Vacant(vacant) = exits.entry(from) {
            let exit = Arc::new(UdpSocket::bind(any_port()).await.unwrap());
            vacant.insert(Arc::clone(&exit));
            back.spawn(carry_back(exit, Arc::clone(&road), from, Arc::clone(&roads)));
        }
        pass(&roads, &exits[&from], target, &datagram[..length]).await;
    }
}

async fn carry_back(exit: Arc<UdpSocket>, road: Arc<UdpSocket>, to: SocketAddr, roads: Arc<Roads>) {
    let mut datagram = vec![0; LARGEST];
    while let Ok(length) = exit.recv(&mut datagram).await {
        pass(&roads, &road, to, &datagram[..length]).await;
    }
}

async fn pass(roads: &Roads, socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) {
    if !roads.borrow().is_blocked {
        socket.send_to(datagram, to).await.unwrap();
        roads.send_modify(|traffic| {
            traffic.passed += 1;
            traffic.recent.push(datagram.to_vec());
        });
    }
}

/// A generator of bytes that are the same each time (xorshift, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Rubbish, or a true datagram with some bytes changed, cut or repeated.
    fn hostile(&mut self, real: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = match self.below(3) {
            0 => (0..self.below(1_400)).map(|_| self.next().to_le_bytes()[0]).collect(),
            _ => real[self.below(real.len())].clone(),
        };
        for _ in 0..self.below(4) {
            if !bytes.is_empty() {
                let at = self.below(bytes.len());
                bytes[at] ^= self.next().to_le_bytes()[0];
            }
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len() + 1));
        }
        bytes
    }
}

#[tokio::test]
async fn two_thousand_hostile_datagrams_do_no_harm() {
    let world = OnLoopback::new();
    let (_one, other, both) = connected(&world).await;
    let (mut mine, mut theirs) = channels(&both).await;
    let real = world.roads.borrow().recent.clone();
    let (attacker, target) = (UdpSocket::bind(any_port()).await.unwrap(), other.addresses()[0]);
    let mut noise = Noise(7);
    for n in 0..2_000u32 {
        let datagram = noise.hostile(&real);
        if !datagram.is_empty() {
            attacker.send_to(&datagram, target).await.unwrap();
        }
        if n % 100 == 0 {
            let frame = n.to_le_bytes().to_vec();
            mine.send.send(frame.clone()).await.unwrap();
            assert_eq!(theirs.receive.receive().await.unwrap(), Some(frame));
        }
    }
    let third = world.node(3).await;
    let (dialled, accepted) = tokio::join!(third.dial(target, Some(other.key())), other.accept());
    assert_eq!(dialled.unwrap().peer(), other.key());
    assert_eq!(accepted.unwrap().peer(), key(3), "nobody else came in");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = OnLoopback::new();
    let address = world.nowhere();
    let refused = Quic::listen(&keys(1), address).err().unwrap();
    assert!(refused.to_string().starts_with(&format!("cannot listen for other nodes on {address}")), "{refused}");
}

#[tokio::test]
async fn a_node_that_moves_to_another_address_keeps_its_connection() {
    let world = OnLoopback::new();
    let one = Quic::start(&keys(1), any_port(), PROTOCOL, IDLE).unwrap();
    let other = world.node(2).await;
    let both = tokio::join!(one.dial(other.addresses()[0], None), other.accept());
    let both = (both.0.unwrap(), both.1.unwrap());
    let before = both.1.remote();
    one.moves_to(any_port()).unwrap();
    channels(&both).await;
    channels(&both).await;
    assert_ne!(both.1.remote(), before);
}
