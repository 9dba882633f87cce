//! What both networks do, tested once: each test runs over QUIC on loopback and over memory.

use openprod_model::identity::Keys;
use openprod_model::ids::ActorId;
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::FrameError;
use openprod_wire::hello::{Control, Side};
use openprod_wire::opening::Opening;

use super::memory::Ether;
use super::*;

mod quic;

/// What a test needs of a network.
trait World {
    /// A node with the key of this seed.
    async fn node(&self, seed: u8) -> Arc<dyn Network>;
    /// A node that speaks another protocol.
    async fn foreigner(&self, seed: u8) -> Arc<dyn Network>;
    /// The address by which a node is dialled from now on, on a road that can be blocked.
    async fn road_to(&self, node: &dyn Network) -> SocketAddr;
    /// Nothing passes on any road from now on.
    fn block(&self);
    /// An address where nobody is.
    fn nowhere(&self) -> SocketAddr;
    /// Waits, while nobody says anything, for longer than the idle timeout.
    async fn idles(&self);
}

fn keys(seed: u8) -> Keys {
    Keys::from_seed(&[seed; 32])
}

fn key(seed: u8) -> ActorId {
    keys(seed).actor()
}

struct InMemory(Ether);

impl InMemory {
    fn new() -> Self {
        tokio::time::pause();
        Self(Ether::default())
    }

    fn address(seed: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, seed], 4433))
    }
}

impl World for InMemory {
    async fn node(&self, seed: u8) -> Arc<dyn Network> {
        self.0.node(key(seed), Self::address(seed))
    }

    async fn foreigner(&self, seed: u8) -> Arc<dyn Network> {
        self.0.node_speaking(b"another/1", key(seed), Self::address(seed))
    }

    async fn road_to(&self, node: &dyn Network) -> SocketAddr {
        node.addresses()[0]
    }

    fn block(&self) {
        for (one, other) in (1..4).flat_map(|one| (1..4).map(move |other| (one, other))) {
            self.0.change(key(one), key(other), |weather| weather.passes = false);
        }
    }

    fn nowhere(&self) -> SocketAddr {
        Self::address(99)
    }

    async fn idles(&self) {
        tokio::time::sleep(3 * IDLE_TIMEOUT).await;
    }
}

type Both = (Arc<dyn Connection>, Arc<dyn Connection>);

async fn connected(world: &impl World) -> (Arc<dyn Network>, Arc<dyn Network>, Both) {
    let (one, other) = (world.node(1).await, world.node(2).await);
    let road = world.road_to(&*other).await;
    let (dialler, dialled) = tokio::join!(one.dial(road, Some(other.key())), other.accept());
    (one, other, (dialler.unwrap(), dialled.unwrap()))
}

async fn channels(both: &Both) -> (Channel, Channel) {
    let mut mine = both.0.open().await.unwrap();
    mine.send.say(&Opening::Control).await.unwrap();
    let mut theirs = both.1.accept().await.unwrap();
    assert_eq!(theirs.receive.hear().await.unwrap(), Some(Opening::Control));
    (mine, theirs)
}

async fn both_ends_know_each_other_and_one_secret(world: impl World) {
    let (one, other, (dialler, dialled)) = connected(&world).await;
    assert_eq!((dialler.peer(), dialled.peer()), (other.key(), one.key()));
    assert_eq!((dialler.side(), dialled.side()), (Side::Dialler, Side::Dialled));
    let secret = dialler.exporter(b"EXPORTER-one", b"context");
    assert_eq!(secret, dialled.exporter(b"EXPORTER-one", b"context"));
    assert_ne!(secret, dialler.exporter(b"EXPORTER-two", b"context"));
    assert_ne!(secret, dialler.exporter(b"EXPORTER-one", b"other"));
    let road = world.road_to(&*other).await;
    let (again, _kept) = tokio::join!(one.dial(road, None), other.accept());
    assert_ne!(secret, again.unwrap().exporter(b"EXPORTER-one", b"context"), "each session has its own");
}

async fn another_node_than_the_expected_is_refused(world: impl World) {
    let (one, other) = (world.node(1).await, world.node(2).await);
    let road = world.road_to(&*other).await;
    let refused = one.dial(road, Some(key(3))).await.err();
    assert_eq!(refused, Some(DialError::WrongKey { found: other.key() }));
    let (dialled, accepted) = tokio::join!(one.dial(road, Some(other.key())), other.accept());
    assert!(dialled.is_ok() && accepted.is_some(), "it goes on");
}

async fn who_speaks_another_protocol_is_refused(world: impl World) {
    let (one, foreigner) = (world.node(1).await, world.foreigner(2).await);
    let road = world.road_to(&*one).await;
    assert!(matches!(foreigner.dial(road, Some(one.key())).await, Err(DialError::Refused(_))));
    let road = world.road_to(&*foreigner).await;
    assert!(matches!(one.dial(road, None).await, Err(DialError::Refused(_))));
}

async fn where_nobody_is_nobody_answers(world: impl World) {
    let one = world.node(1).await;
    assert_eq!(one.dial(world.nowhere(), None).await.err(), Some(DialError::NoAnswer));
}

async fn frames_arrive_in_order_both_ways_and_end(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    let (mut mine, mut theirs) = channels(&both).await;
    for n in 0..100u64 {
        mine.send.say(&Control::Probe { sent_ms: n }).await.unwrap();
    }
    mine.send.finish();
    for n in 0..100 {
        assert_eq!(theirs.receive.hear().await.unwrap(), Some(Control::Probe { sent_ms: n }));
    }
    assert_eq!(theirs.receive.hear::<Control>().await.unwrap(), None);
    theirs.send.send(Vec::new()).await.unwrap();
    theirs.send.finish();
    assert_eq!(mine.receive.receive().await.unwrap(), Some(Vec::new()));
    assert_eq!(mine.receive.receive().await.unwrap(), None);
    assert!(both.0.traffic().sent > 0 && both.1.traffic().received > 0);
}

async fn a_frame_beyond_the_limit_is_refused_before_it_is_held(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    let (mut mine, mut theirs) = channels(&both).await;
    theirs.receive.set_limit(1_000);
    mine.send.send(vec![1; 1_000]).await.unwrap();
    mine.send.send(vec![1; 1_001]).await.unwrap();
    assert_eq!(theirs.receive.receive().await.unwrap(), Some(vec![1; 1_000]));
    let refused = LinkError::Frame(FrameError::TooLarge { bytes: 1_001, limit: 1_000 });
    assert_eq!(theirs.receive.receive().await, Err(refused.clone()));
    assert_eq!(theirs.receive.receive().await, Err(refused), "and it stays so");
    let mut first = both.0.open().await.unwrap();
    first.send.send(vec![0; FIRST_LIMIT + 1]).await.unwrap();
    let mut heard = both.1.accept().await.unwrap();
    assert!(matches!(heard.receive.receive().await, Err(LinkError::Frame(FrameError::TooLarge { .. }))));
}

async fn a_slow_reader_slows_its_writer_and_nothing_else(world: impl World) {
    const FRAME: usize = 64 * 1024;
    let (_one, _other, both) = connected(&world).await;
    both.1.welcome();
    let (mut mine, mut theirs) = channels(&both).await;
    let (counted, mut count) = openprod_messages::watch::channel(0usize);
    let writer = tokio::spawn(async move {
        for _ in 0..64 {
            mine.send.send(vec![7; FRAME]).await.unwrap();
            counted.send_modify(|count| *count += 1);
        }
        mine
    });
    count.wait_for(|count| *count * FRAME >= CHANNEL_WINDOW_BYTES as usize / 2).await.unwrap();
    let (mut other_mine, mut other_theirs) = channels(&both).await;
    for n in 0..50u64 {
        other_mine.send.say(&Control::Probe { sent_ms: n }).await.unwrap();
        assert_eq!(other_theirs.receive.hear().await.unwrap(), Some(Control::Probe { sent_ms: n }));
    }
    // What the window, the sender's buffer and the frame in hand hold, and no more.
    assert!(*count.borrow() * FRAME <= 2 * CHANNEL_WINDOW_BYTES as usize + FRAME, "{} frames", *count.borrow());
    theirs.receive.set_limit(FRAME);
    for _ in 0..64 {
        assert_eq!(theirs.receive.receive().await.unwrap().map(|frame| frame.len()), Some(FRAME));
    }
    drop(writer.await.unwrap());
}

async fn giving_up_a_channel_says_why(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    let (mine, mut theirs) = channels(&both).await;
    mine.give_up(CloseCode::NOT_WELCOME);
    assert_eq!(theirs.receive.receive().await, Err(LinkError::GivenUp(CloseCode::NOT_WELCOME)));
    let refused = loop {
        if let Err(refused) = theirs.send.send(vec![0; 100]).await {
            break refused;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, LinkError::GivenUp(CloseCode::NOT_WELCOME));
    channels(&both).await;
}

async fn a_dropped_future_loses_nothing(world: impl World) {
    use futures::FutureExt;
    let (_one, _other, both) = connected(&world).await;
    let (mut mine, mut theirs) = channels(&both).await;
    theirs.receive.set_limit(100_000);
    let writer = tokio::spawn(async move {
        for n in 0..20u8 {
            mine.send.send(vec![n; 10_000]).await.unwrap();
        }
        mine
    });
    let mut heard = Vec::new();
    while heard.len() < 20 {
        match theirs.receive.receive().now_or_never() {
            Some(frame) => heard.push(frame.unwrap().unwrap()),
            None => tokio::task::yield_now().await,
        }
    }
    assert!(heard.iter().zip(0..).all(|(frame, n)| *frame == [n; 10_000]));
    drop(writer.await.unwrap());
}

async fn closing_a_connection_says_why_everywhere(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    let (mut mine, mut theirs) = channels(&both).await;
    both.0.close(CloseCode::DUPLICATE);
    both.0.close(CloseCode::BUSY);
    assert_eq!(both.0.closed().await, Closed::Here(CloseCode::DUPLICATE));
    assert_eq!(both.1.closed().await, Closed::There(CloseCode::DUPLICATE));
    assert_eq!(mine.receive.receive().await, Err(Closed::Here(CloseCode::DUPLICATE).into()));
    assert_eq!(theirs.receive.receive().await, Err(Closed::There(CloseCode::DUPLICATE).into()));
    assert_eq!(theirs.send.send(vec![1]).await, Err(Closed::There(CloseCode::DUPLICATE).into()));
    assert_eq!(both.1.open().await.err(), Some(Closed::There(CloseCode::DUPLICATE)));
    assert_eq!(both.1.accept().await.err(), Some(Closed::There(CloseCode::DUPLICATE)));
}

async fn a_connection_that_nobody_holds_is_closed(world: impl World) {
    let (_one, _other, (dialler, dialled)) = connected(&world).await;
    drop(dialler);
    assert_eq!(dialled.closed().await, Closed::There(CloseCode::DONE));
}

async fn a_stopped_network_says_so_and_dials_no_more(world: impl World) {
    let (one, other, both) = connected(&world).await;
    let road = other.addresses()[0];
    one.stop();
    assert_eq!(both.1.closed().await, Closed::There(CloseCode::STOPPING));
    assert!(one.accept().await.is_none());
    assert!(matches!(one.dial(road, None).await, Err(DialError::Impossible(_))));
}

async fn silence_ends_a_connection_and_keep_alive_prevents_it(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    world.idles().await;
    channels(&both).await;
    world.block();
    assert_eq!(both.0.closed().await, Closed::Silent);
    assert_eq!(both.1.closed().await, Closed::Silent);
}

async fn channels_are_counted(world: impl World) {
    let (_one, _other, both) = connected(&world).await;
    both.1.welcome();
    both.1.welcome();
    let mut held = Vec::new();
    for _ in 0..MAX_CHANNELS {
        held.push(channels(&both).await);
    }
    let (more, ()) = tokio::join!(both.0.open(), async {
        tokio::task::yield_now().await;
        held.clear();
    });
    assert!(more.is_ok(), "channels that end make room");
}

async fn a_stranger_has_few_channels(world: impl World) {
    use futures::FutureExt;
    let (_one, _other, both) = connected(&world).await;
    let mut held = Vec::new();
    for _ in 0..MAX_STRANGER_CHANNELS {
        held.push(channels(&both).await);
    }
    assert!(both.0.open().now_or_never().is_none());
}

#[tokio::test]
async fn weather_scatters_multiplies_and_truncates_frames() {
    let world = InMemory::new();
    let (_one, _other, both) = connected(&world).await;
    let (mut first, mut second) = (channels(&both).await, channels(&both).await);
    let (from, to) = (both.0.peer(), both.1.peer());
    let delays = std::sync::Mutex::new(vec![Duration::from_secs(1), Duration::from_secs(5)]);
    world.0.change(to, from, |weather| {
        weather.strays = Some(Arc::new(move || delays.lock().unwrap().pop().unwrap_or_default()));
    });
    first.0.send.send(vec![1]).await.unwrap();
    second.0.send.send(vec![2]).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(second.1.receive.receive().await, Ok(Some(vec![2])));
    assert_eq!(begun.elapsed().as_secs(), 1, "it overtook what was said on another channel");
    assert_eq!(first.1.receive.receive().await, Ok(Some(vec![1])));
    world.0.change(to, from, |weather| {
        weather.garbles = Some(Arc::new(|frame| match frame[0] {
            3 => memory::Arrival::Frames(vec![frame.clone(), frame]),
            4 => memory::Arrival::Frames(Vec::new()),
            _ => memory::Arrival::Truncated,
        }));
    });
    for frame in 3..6 {
        first.0.send.send(vec![frame]).await.unwrap();
    }
    assert_eq!(first.1.receive.receive().await, Ok(Some(vec![3])));
    assert_eq!(first.1.receive.receive().await, Ok(Some(vec![3])));
    assert_eq!(first.1.receive.receive().await, Err(LinkError::Truncated));
}

macro_rules! each {
    ($($law:ident)*) => {
        mod over_memory {
            $(#[tokio::test]
            async fn $law() {
                super::$law(super::InMemory::new()).await;
            })*
        }

        mod over_quic {
            $(#[tokio::test]
            async fn $law() {
                super::$law(super::quic::OnLoopback::new()).await;
            })*
        }
    };
}

each! {
    both_ends_know_each_other_and_one_secret
    another_node_than_the_expected_is_refused
    who_speaks_another_protocol_is_refused
    where_nobody_is_nobody_answers
    frames_arrive_in_order_both_ways_and_end
    a_frame_beyond_the_limit_is_refused_before_it_is_held
    a_slow_reader_slows_its_writer_and_nothing_else
    giving_up_a_channel_says_why
    a_dropped_future_loses_nothing
    closing_a_connection_says_why_everywhere
    a_connection_that_nobody_holds_is_closed
    a_stopped_network_says_so_and_dials_no_more
    silence_ends_a_connection_and_keep_alive_prevents_it
    channels_are_counted
    a_stranger_has_few_channels
}
