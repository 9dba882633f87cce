//! A network in one process: the ether, in which nodes have addresses, and whose weather is commanded.
//!
//! It does what `quic` does as far as its users can see, deterministically: nothing in it is left to chance, time is
//! tokio's, which a test may pause, and all waiting is in the order in which things were asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openprod_messages::watch;
use openprod_model::ids::ActorId;
use openprod_wire::closing::CloseCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Closed, Connection, DIAL_DEADLINE, DialError, IDLE_TIMEOUT, Network, PROTOCOL, Side, Traffic};
use wire::{End, Wire};

mod pipe;
mod wire;

/// How many nodes may have dialled one that has not looked yet.
const BACKLOG: usize = 256;

/// What happens to what one node sends to another.
#[derive(Clone)]
pub struct Weather {
    /// Whether anything arrives. What is held up arrives when it passes again, unless the connection is gone by then.
    pub passes: bool,
    /// How long it is under way.
    pub delay: Duration,
    /// How much longer each frame is under way. A frame never overtakes one of its own channel, but those of others.
    pub strays: Option<Stray>,
    /// What becomes of each frame: a lying node, or one whose memory fails.
    pub garbles: Option<Garble>,
}

/// Draws how much longer a frame is under way.
pub type Stray = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Makes of a frame what arrives instead.
pub type Garble = Arc<dyn Fn(Vec<u8>) -> Arrival + Send + Sync>;

/// What arrives in the place of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// These frames, or none.
    Frames(Vec<Vec<u8>>),
    /// A part of it, and nothing behind: the channel ends within a frame.
    Truncated,
}

impl Weather {
    fn time_under_way(&self) -> Duration {
        self.delay + self.strays.as_ref().map_or(Duration::ZERO, |strays| strays())
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self { passes: true, delay: Duration::ZERO, strays: None, garbles: None }
    }
}

/// The ether: all nodes of a test, and the weather between each two of them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ether(Arc<Mutex<Sky>>);

#[derive(Default)]
struct Sky {
    stations: BTreeMap<SocketAddr, Station>,
    weather: BTreeMap<(ActorId, ActorId), watch::Sender<Weather>>,
    wires: Vec<Weak<Wire>>,
    wires_made: u64,
}

#[derive(Clone)]
struct Station {
    key: ActorId,
    protocol: &'static [u8],
    dialled: mpsc::Sender<Arc<dyn Connection>>,
}

impl Ether {
    /// A node with this key at this address, in the place of whoever was there.
    pub fn node(&self, key: ActorId, address: SocketAddr) -> Arc<MemoryNetwork> {
        self.node_speaking(PROTOCOL, key, address)
    }

    /// As [`Self::node`], for a node that speaks something else than this build does.
    pub fn node_speaking(&self, protocol: &'static [u8], key: ActorId, address: SocketAddr) -> Arc<MemoryNetwork> {
        let (dialled, incoming) = mpsc::channel(BACKLOG);
        self.sky().stations.insert(address, Station { key, protocol, dialled });
        let (stopped, _) = watch::channel(false);
        Arc::new(MemoryNetwork { ether: self.clone(), key, protocol, address, incoming: incoming.into(), stopped })
    }

    /// Changes the weather from one node to another, that way only.
    pub fn change(&self, from: ActorId, to: ActorId, change: impl FnOnce(&mut Weather)) {
        self.sky().weather(from, to).send_modify(change);
    }

    /// From now on nothing passes between the two, either way. Connections notice when they have heard nothing for long.
    pub fn part(&self, one: ActorId, other: ActorId) {
        self.change(one, other, |weather| weather.passes = false);
        self.change(other, one, |weather| weather.passes = false);
    }

    /// From now on everything passes between the two.
    pub fn meet(&self, one: ActorId, other: ActorId) {
        self.change(one, other, |weather| weather.passes = true);
        self.change(other, one, |weather| weather.passes = true);
    }

    /// From now on everything passes between all.
    pub fn everyone_meets(&self) {
        self.sky().weather.values().for_each(|weather| weather.send_modify(|weather| weather.passes = true));
    }

    /// Ends the connections between the two at once, at both ends; they may connect again.
    pub fn cut(&self, one: ActorId, other: ActorId) {
        for wire in self.sky().wires_of(one).filter(|wire| wire.joins(other)) {
            wire.end(Side::Dialler, &Closed::Lost("cut".to_owned()));
            wire.end(Side::Dialled, &Closed::Lost("cut".to_owned()));
        }
    }

    /// The node is gone from one moment to the next, without a word. The others notice when they have heard nothing.
    pub fn crash(&self, key: ActorId) {
        let mut sky = self.sky();
        sky.stations.retain(|_, station| station.key != key);
        for wire in sky.wires_of(key) {
            wire.end(wire.side_of(key), &Closed::Lost("crashed".to_owned()));
        }
    }

    /// How many connections stand at one of their ends at least.
    pub fn connections(&self) -> usize {
        self.sky().wires.iter().filter_map(Weak::upgrade).filter(|wire| !wire.is_over()).count()
    }

    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sky {
    fn weather(&mut self, from: ActorId, to: ActorId) -> &watch::Sender<Weather> {
        self.weather.entry((from, to)).or_insert_with(|| watch::channel(Weather::default()).0)
    }

    fn wires_of(&self, key: ActorId) -> impl Iterator<Item = Arc<Wire>> {
        self.wires.iter().filter_map(Weak::upgrade).filter(move |wire| wire.joins(key))
    }

    fn join(&mut self, dialler: End, dialled: End) -> Arc<Wire> {
        self.wires_made += 1;
        let there = self.weather(dialler.key, dialled.key).subscribe();
        let back = self.weather(dialled.key, dialler.key).subscribe();
        let wire = Arc::new(Wire::new(self.wires_made, [dialler, dialled], [there, back]));
        self.wires.retain(|wire| wire.strong_count() > 0);
        self.wires.push(Arc::downgrade(&wire));
        wire
    }
}

/// A node's place in the ether.
pub struct MemoryNetwork {
    ether: Ether,
    key: ActorId,
    protocol: &'static [u8],
    address: SocketAddr,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
    stopped: watch::Sender<bool>,
}

impl MemoryNetwork {
    async fn reach(&self, to: SocketAddr, expected: Option<ActorId>) -> Result<Arc<dyn Connection>, DialError> {
        if *self.stopped.borrow() {
            return Err(DialError::Impossible("this node's network was stopped".to_owned()));
        }
        let station = self.ether.sky().stations.get(&to).cloned().ok_or(DialError::NoAnswer)?;
        self.travel(station.key).await;
        match expected {
            Some(expected) if expected != station.key => return Err(DialError::WrongKey { found: station.key }),
            _ if station.protocol != self.protocol => {
                return Err(DialError::Refused("it does not speak this protocol".to_owned()));
            }
            _ => {}
        }
        self.connect(to, &station)
    }

    /// A packet to the other and one back.
    async fn travel(&self, other: ActorId) {
        for (from, to) in [(self.key, other), (other, self.key)] {
            let mut weather = self.ether.sky().weather(from, to).subscribe();
            // An ether that is gone keeps the weather of its last day.
            let _ = weather.wait_for(|weather| weather.passes).await;
            let delay = weather.borrow().delay;
            tokio::time::sleep(delay).await;
        }
    }

    fn connect(&self, to: SocketAddr, station: &Station) -> Result<Arc<dyn Connection>, DialError> {
        let dialler = End { key: self.key, address: self.address };
        let wire = self.ether.sky().join(dialler, End { key: station.key, address: to });
        let [mine, theirs] = MemoryConnection::ends(&wire);
        station.dialled.try_send(theirs).map_err(|_| DialError::NoAnswer)?;
        tokio::spawn(Arc::clone(&wire).watch_over());
        Ok(mine)
    }
}

impl Network for MemoryNetwork {
    fn key(&self) -> ActorId {
        self.key
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn dial(&self, to: SocketAddr, expected: Option<ActorId>) -> BoxFuture<'_, Result<Arc<dyn Connection>, DialError>> {
        let within = tokio::time::timeout(DIAL_DEADLINE, self.reach(to, expected));
        within.map(|reached| reached.unwrap_or(Err(DialError::NoAnswer))).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        let next = async {
            let (mut incoming, mut stopped) = (self.incoming.lock().await, self.stopped.subscribe());
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                connection = incoming.recv() => connection,
            }
        };
        next.boxed()
    }

    fn stop(&self) {
        self.stopped.send_replace(true);
        let mut sky = self.ether.sky();
        sky.stations.retain(|_, station| station.key != self.key);
        for wire in sky.wires_of(self.key) {
            wire.close(wire.side_of(self.key), CloseCode::STOPPING);
        }
    }
}

/// One end of a connection in memory.
struct MemoryConnection {
    wire: Arc<Wire>,
    side: Side,
    incoming: tokio::sync::Mutex<mpsc::Receiver<super::Channel>>,
    outgoing: mpsc::Sender<super::Channel>,
}

impl MemoryConnection {
    fn ends(wire: &Arc<Wire>) -> [Arc<dyn Connection>; 2] {
        let (there, dialled) = mpsc::channel(super::MAX_CHANNELS as usize);
        let (back, dialler) = mpsc::channel(super::MAX_CHANNELS as usize);
        [(Side::Dialler, dialler, there), (Side::Dialled, dialled, back)].map(|(side, incoming, outgoing)| {
            let wire = Arc::clone(wire);
            Arc::new(Self { wire, side, incoming: incoming.into(), outgoing }) as Arc<dyn Connection>
        })
    }

    async fn open_one(&self) -> Option<super::Channel> {
        let place = Arc::new(self.wire.places(self.side).acquire_owned().await.ok()?);
        let (mine, theirs) = pipe::channel(&self.wire, self.side, &place);
        self.outgoing.send(theirs).await.ok()?;
        Some(mine)
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.wire.close(self.side, CloseCode::DONE);
    }
}

/// What is waited for, unless the connection ends before.
async fn unless_closed<T>(
    what: impl Future<Output = Option<T>>,
    closed: impl Future<Output = Closed>,
) -> Result<T, Closed> {
    tokio::select! {
        biased;
        how = closed => Err(how),
        Some(done) = what => Ok(done),
        else => Err(Closed::Lost("the other end is gone".to_owned())),
    }
}

impl Connection for MemoryConnection {
    fn peer(&self) -> ActorId {
        self.wire.at(self.side.other()).key
    }

    fn side(&self) -> Side {
        self.side
    }

    fn remote(&self) -> SocketAddr {
        self.wire.at(self.side.other()).address
    }

    fn round_trip(&self) -> Duration {
        self.wire.round_trip()
    }

    fn traffic(&self) -> Traffic {
        Traffic { sent: self.wire.carried_from(self.side), received: self.wire.carried_from(self.side.other()) }
    }

    fn exporter(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        self.wire.exporter(label, context)
    }

    fn welcome(&self) {
        self.wire.welcome(self.side.other());
    }

    fn open(&self) -> BoxFuture<'_, Result<super::Channel, Closed>> {
        unless_closed(self.open_one(), self.closed()).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<super::Channel, Closed>> {
        unless_closed(async { self.incoming.lock().await.recv().await }, self.closed()).boxed()
    }

    fn close(&self, code: CloseCode) {
        self.wire.close(self.side, code);
    }

    fn closed(&self) -> BoxFuture<'static, Closed> {
        let (wire, side) = (Arc::clone(&self.wire), self.side);
        async move { wire.ended(side).await }.boxed()
    }
}
