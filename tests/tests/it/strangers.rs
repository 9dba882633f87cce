//! Strangers at the door of a node: they hear nothing, cost little, and members do not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openprod_links::transport::{Channel, Connection, DialError, Network as _};
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::opening::Opening;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::intruder::{Intruder, first_datagram, hello, tag, throws};
use crate::world::{Person, World};

/// How many dial in the short form.
const FEW: usize = 600;
/// How many dial at a time.
const AT_A_TIME: usize = 24;
/// How many keys and addresses they have among them.
const ADDRESSES: u8 = 24;
/// What a crowd may cost in memory, whatever its size: buffers of what is under way, and what the allocator keeps.
const MAX_GROWTH_KIB: u64 = 96 * 1024;
/// How long a stranger listens who says so little that the node is still waiting for more.
const LISTENS: Duration = Duration::from_millis(20);
/// Of so many who dial the node, one dials another for comparison.
const DECOYS: usize = 4;
/// Edits that are timed before the crowd comes.
const TIMED: usize = 20;

/// What became of those who dialled.
#[derive(Default)]
struct Tally {
    dialled: AtomicUsize,
    refused: AtomicUsize,
    connected: AtomicUsize,
    frames_heard: AtomicUsize,
    channels_opened: AtomicUsize,
}

impl Tally {
    fn count(of: &AtomicUsize) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

struct Crowd {
    node: SocketAddr,
    people: Vec<Intruder>,
    liars: Vec<Intruder>,
    first: Vec<u8>,
    tally: Tally,
}

impl Crowd {
    async fn before(node: SocketAddr) -> Self {
        let people: Vec<_> = (1..=ADDRESSES).map(Intruder::number).collect();
        let liars = vec![Intruder::speaking(101, b"h3"), Intruder::speaking(102, b"openprod/0")];
        let first = first_datagram(&people[0]).await;
        Self { node, people, liars, first, tally: Tally::default() }
    }

    /// The `number`th comes, in one of the ways there are.
    async fn comes(&self, number: usize) {
        Tally::count(&self.tally.dialled);
        let person = &self.people[number / 6 % self.people.len()];
        match number % 6 {
            0 => self.gets_in(person.dials(self.node).await, number / 6).await,
            1 => self.is_turned_away(&self.liars[number / 6 % 2].dials(self.node).await),
            2 => self.is_turned_away(&person.quic.dial(self.node, Some(ActorId::from_bytes([7; 32]))).await),
            3 => throws(&self.first, self.node),
            4 => throws(&garbage(number), self.node),
            _ => self.says_whatever(person.dials(self.node).await, number / 6).await,
        }
    }

    fn is_turned_away(&self, dialled: &Result<Arc<dyn Connection>, DialError>) {
        assert!(dialled.is_err(), "a handshake that cannot stand stood");
        Tally::count(&self.tally.refused);
    }

    /// A hello that names workspaces nobody has here.
    async fn gets_in(&self, dialled: Result<Arc<dyn Connection>, DialError>, number: usize) {
        let Ok(connection) = dialled else { return Tally::count(&self.tally.refused) };
        Tally::count(&self.tally.connected);
        let knows = (0..number % 5).map(|n| tag(&*connection, WorkspaceId::new(n as u64 + 1, [3; 10]))).collect();
        let Ok(mut channel) = connection.open().await else { return };
        let _ = channel.send.say(&Opening::Control).await;
        let _ = channel.send.say(&hello(knows)).await;
        self.listens(&*connection, channel, LISTENS * 50).await;
    }

    /// Each kind of opening, then rubbish.
    async fn says_whatever(&self, dialled: Result<Arc<dyn Connection>, DialError>, number: usize) {
        let Ok(connection) = dialled else { return Tally::count(&self.tally.refused) };
        Tally::count(&self.tally.connected);
        let tag = tag(&*connection, WorkspaceId::new(9, [9; 10]));
        let openings = [
            Opening::Control,
            Opening::Workspace { tag },
            Opening::Admission { tag },
            Opening::Blob { tag },
            Opening::Presence { tag },
            Opening::Asking,
        ];
        let Ok(mut channel) = connection.open().await else { return };
        let _ = channel.send.say(&openings[number % openings.len()]).await;
        let _ = channel.send.send(garbage(number)).await;
        self.listens(&*connection, channel, LISTENS).await;
    }

    /// Whatever comes within the patience of this one is counted, and nothing must.
    async fn listens(&self, connection: &dyn Connection, mut channel: Channel, patience: Duration) {
        let heard = async {
            while let Ok(Some(_)) = channel.receive.receive().await {
                Tally::count(&self.tally.frames_heard);
            }
            connection.closed().await
        };
        let opened = async {
            while connection.accept().await.is_ok() {
                Tally::count(&self.tally.channels_opened);
            }
        };
        let _ = tokio::time::timeout(patience, async { tokio::join!(heard, opened) }).await;
    }
}

fn garbage(number: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; 1 + number % 1_400];
    reader.fill(&mut bytes);
    bytes
}

/// How long an edit at one node takes until somebody at the other sees it.
async fn an_edit(from: &Person, to: &Person, number: usize) -> Duration {
    let (began, label) = (Instant::now(), format!("edit {number}"));
    from.sets("LX 1", "label", label.as_str()).await;
    while to.sees("LX 1", "label").await != label {
        tokio::task::yield_now().await;
    }
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_strangers_hears_nothing_and_members_go_on() {
    let many = std::env::var("OPENPROD_STRANGERS").map_or(FEW, |many| many.parse().unwrap());
    let (world, mara, _tour, leo) = World::at_two_nodes().await;

    let mut calm = Vec::new();
    for number in 0..TIMED {
        calm.push(an_edit(&mara, &leo, number).await);
    }
    // What a crowd takes of this machine, at whoever's door: it is held against that.
    let elsewhere = world.another_node("elsewhere").await;
    let decoy = world.visitor(&elsewhere, "Oskar").await.is_dialled_at().await.parse().unwrap();
    let (beside, _) = meanwhile(&world, (&mara, &leo), decoy, many / DECOYS).await;
    let before = world.house.memory_kib();
    let door = mara.is_dialled_at().await.parse().unwrap();
    let (crowded, Seen { most_kib, told }) = meanwhile(&world, (&mara, &leo), door, many).await;

    let (seen, calm, beside, crowded) = (crowded.len(), median(calm), median(beside), median(crowded));
    let [dialled, refused, connected, frames_heard, channels_opened] = told;
    println!(
        "{dialled} strangers, {connected} of them connected, {refused} turned away; {seen} edits meanwhile, each seen, \
         median {crowded:?}; {beside:?} while others crowd at another node of this machine, {calm:?} in peace; \
         memory {before} KiB before, {most_kib} KiB at most"
    );
    assert_eq!((dialled, frames_heard, channels_opened), (many, 0, 0), "a stranger was told something");
    assert!(connected > 0, "some get as far as the hello");
    assert!(most_kib < before + MAX_GROWTH_KIB, "memory grew from {before} to {most_kib} KiB");
    let leos_node = leo.knows_peers().await.key;
    mara.comes_to_know(|peer| peer.key == leos_node).await;
    assert_eq!(mara.knows_peers().await.peers.len(), 1, "no stranger is remembered");
    mara.catches_up_with(1).await;
}

/// What was seen while a crowd came.
struct Seen {
    most_kib: u64,
    /// Dialled, refused, connected, frames heard, channels opened.
    told: [usize; 5],
}

/// A crowd comes to a door, and people go on: how long each of their edits takes to be seen.
async fn meanwhile(
    world: &World,
    (from, to): (&Person, &Person),
    door: SocketAddr,
    many: usize,
) -> (Vec<Duration>, Seen) {
    let crowd = Arc::new(Crowd::before(door).await);
    let (over, mut is_over) = watch::channel(false);
    let coming = tokio::spawn(all_come(Arc::clone(&crowd), many, over));
    let (mut edits, mut most_kib) = (Vec::new(), world.house.memory_kib());
    while !*is_over.borrow_and_update() {
        edits.push(an_edit(from, to, many + edits.len()).await);
        most_kib = most_kib.max(world.house.memory_kib());
    }
    coming.await.unwrap();
    let Tally { dialled, refused, connected, frames_heard, channels_opened } = &crowd.tally;
    let told = [dialled, refused, connected, frames_heard, channels_opened].map(|count| count.load(Ordering::Relaxed));
    (edits, Seen { most_kib, told })
}

async fn all_come(crowd: Arc<Crowd>, many: usize, over: watch::Sender<bool>) {
    let (places, mut coming) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    for number in 0..many {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let crowd = Arc::clone(&crowd);
        coming.spawn(async move {
            crowd.comes(number).await;
            drop(place);
        });
    }
    while let Some(one) = coming.join_next().await {
        one.unwrap();
    }
    over.send_replace(true);
}
