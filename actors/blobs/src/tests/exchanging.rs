//! Exchanging: neighbours that are slow, wrong, silent, or leave in the middle, and a file that comes all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use openprod_messages::blobs::{BlobsMsg, FetchStanding};
use openprod_messages::watch;
use openprod_model::ids::BlobHash;
use openprod_wire::files::{FileAnswer, FileAsk};
use ractor::{Actor, ActorRef, call};
use tokio::sync::mpsc;

use super::collecting::House;
use crate::actor::{Blobs, BlobsArgs};
use crate::exchange::{Answering, Asking, Ended, Neighbour, Neighbours, Talk, answer, ended};
use crate::kit::{Bench, environment, hash_of, noise};
use crate::outline::PIECE_BYTES;

/// One end of a conversation in memory.
struct Memory<Say, Hear> {
    says: mpsc::Sender<Say>,
    hears: mpsc::Receiver<Hear>,
}

impl<Say: Send + 'static, Hear: Send + 'static> Talk<Say, Hear> for Memory<Say, Hear> {
    fn say(&mut self, say: Say) -> BoxFuture<'_, Result<(), Ended>> {
        async move { self.says.send(say).await.map_err(|_| Ended("it is gone".to_owned())) }.boxed()
    }
    fn hear(&mut self) -> BoxFuture<'_, Result<Option<Hear>, Ended>> {
        async { Ok(self.hears.recv().await) }.boxed()
    }
}

fn conversation() -> (Asking, Answering) {
    let ((asks, asked), (answers, answered)) = (mpsc::channel(4), mpsc::channel(4));
    (Box::new(Memory { says: asks, hears: answered }), Box::new(Memory { says: answers, hears: asked }))
}

/// How a neighbour behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Cannot be called.
    Deaf,
    /// Takes questions, and answers nothing.
    Silent,
    /// Answers the first question, and nothing further.
    Stuck,
    /// Sends pieces with a wrong byte.
    Corrupt,
    /// Hangs up behind so many pieces.
    Leaver(u64),
}

/// The neighbours of a node.
struct Street {
    there: watch::Sender<Vec<Neighbour>>,
    manners: Mutex<BTreeMap<Neighbour, (Manner, Arc<House>)>>,
    calls: AtomicU64,
    /// How many pieces went out of all houses together.
    sent: Arc<AtomicU64>,
}

impl Street {
    fn of(houses: &[(Manner, Arc<House>)]) -> Arc<Self> {
        let manners: BTreeMap<_, _> = (1..).map(Neighbour).zip(houses.iter().cloned()).collect();
        let there = watch::channel(manners.keys().copied().collect()).0;
        Arc::new(Self { there, manners: Mutex::new(manners), calls: AtomicU64::new(0), sent: Arc::default() })
    }

    fn comes(&self, manner: Manner, house: &Arc<House>) {
        let mut manners = self.manners.lock().unwrap();
        let new = Neighbour(manners.len() as u64 + 1);
        manners.insert(new, (manner, house.clone()));
        self.there.send_modify(|there| there.push(new));
    }
}

impl Neighbours for Street {
    fn there(&self) -> watch::Receiver<Vec<Neighbour>> {
        self.there.subscribe()
    }

    fn call(&self, neighbour: Neighbour) -> BoxFuture<'static, Result<Asking, Ended>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (manner, house) = self.manners.lock().unwrap()[&neighbour].clone();
        if manner == Manner::Deaf {
            return async { Err(Ended("nobody answers".to_owned())) }.boxed();
        }
        let ((asking, theirs), sent) = (conversation(), self.sent.clone());
        let env = environment(&house.bench.time);
        let (inside, outside) = conversation();
        tokio::spawn(answer(house.library.clone(), env, outside));
        tokio::spawn(behave(manner, theirs, inside, sent));
        async move { Ok(asking) }.boxed()
    }
}

/// Stands between an honest house and the street.
async fn behave(manner: Manner, mut street: Answering, mut house: Asking, sent: Arc<AtomicU64>) {
    let mut pieces = 0;
    loop {
        tokio::select! {
            biased;
            ask = street.hear() => {
                let Ok(Some(ask)) = ask else { return };
                match manner {
                    Manner::Silent => {}
                    Manner::Stuck if matches!(ask, FileAsk::Pieces { .. }) => {}
                    _ => drop(house.say(ask).await),
                }
            }
            answer = house.hear() => {
                let Ok(Some(mut answer)) = answer else { return };
                if let FileAnswer::Piece { bytes, .. } = &mut answer {
                    if manner == Manner::Leaver(pieces) {
                        return;
                    }
                    pieces += 1;
                    sent.fetch_add(1, Ordering::Relaxed);
                    if manner == Manner::Corrupt {
                        bytes[0] ^= 1;
                    }
                }
                if street.say(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn house_with(files: &[&[u8]]) -> Arc<House> {
    let house = House::new();
    for bytes in files {
        house.puts(bytes);
    }
    Arc::new(house)
}

/// A node that lacks files, and its room.
struct Home {
    house: House,
    room: ActorRef<BlobsMsg>,
}

impl Home {
    async fn on(street: &Arc<Street>, keeps_all: bool) -> Self {
        Self::of(House::new(), street, keeps_all).await
    }

    async fn of(house: House, street: &Arc<Street>, keeps_all: bool) -> Self {
        let (library, env) = (house.library.clone(), environment(&house.bench.time));
        let args = BlobsArgs { library, neighbours: street.clone(), keeps_all, env };
        Self { room: Actor::spawn(None, Blobs, args).await.unwrap().0, house }
    }

    async fn wants(&self, hash: BlobHash) -> watch::Receiver<FetchStanding> {
        call!(self.room, |reply| BlobsMsg::Fetch { hash, reply }).unwrap().unwrap()
    }

    async fn gets(&self, hash: BlobHash) -> FetchStanding {
        ended(&mut self.wants(hash).await).await.unwrap()
    }

    fn reads(&self, hash: BlobHash) -> Vec<u8> {
        let bench: &Bench = &self.house.bench;
        bench.reads(hash).unwrap()
    }
}

/// Several pieces, the last a short one.
fn film() -> Vec<u8> {
    noise(10 * PIECE_BYTES + 5)
}

#[tokio::test(start_paused = true)]
async fn a_file_comes_from_whoever_has_it_whatever_the_others_do() {
    let manners = [
        &[Manner::Honest][..],
        &[Manner::Deaf, Manner::Honest],
        &[Manner::Silent, Manner::Honest],
        &[Manner::Stuck, Manner::Honest],
        &[Manner::Corrupt, Manner::Honest],
        &[Manner::Leaver(0), Manner::Honest],
        &[Manner::Leaver(3), Manner::Leaver(5), Manner::Honest],
        &[Manner::Corrupt, Manner::Silent, Manner::Stuck, Manner::Leaver(3), Manner::Deaf, Manner::Honest],
    ];
    for bytes in [Vec::new(), noise(1), noise(PIECE_BYTES), film()] {
        let has_it = house_with(&[&bytes]);
        for manners in manners {
            let street = Street::of(&manners.iter().map(|manner| (*manner, has_it.clone())).collect::<Vec<_>>());
            let home = Home::on(&street, false).await;
            let came = home.gets(hash_of(&bytes)).await;
            assert!(
                matches!(came, FetchStanding::Here(kept) if kept.size == bytes.len() as u64),
                "{manners:?}: {came:?}"
            );
            assert_eq!(home.reads(hash_of(&bytes)), bytes, "{manners:?}");
            assert_eq!(home.house.bench.store.partials(), Ok(Vec::new()), "{manners:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_that_have_it_share_the_work() {
    let bytes = film();
    let houses = [house_with(&[&bytes]), house_with(&[&bytes]), house_with(&[&bytes])];
    let street = Street::of(&houses.map(|house| (Manner::Honest, house)));
    let home = Home::on(&street, false).await;
    assert!(matches!(home.gets(hash_of(&bytes)).await, FetchStanding::Here(_)));
    assert_eq!(street.sent.load(Ordering::Relaxed), 11, "no piece is sent twice");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_gives_is_nowhere_and_what_came_of_it_is_not_asked_for_again() {
    let bytes = film();
    let (has_it, lacks_it) = (house_with(&[&bytes]), house_with(&[]));
    let street = Street::of(&[(Manner::Leaver(6), has_it.clone()), (Manner::Honest, lacks_it)]);
    let home = Home::on(&street, false).await;
    assert_eq!(home.gets(hash_of(&bytes)).await, FetchStanding::Nowhere { asked: 2 });
    assert_eq!(home.house.bench.store.partials(), Ok(vec![hash_of(&bytes)]));

    street.sent.store(0, Ordering::Relaxed);
    street.comes(Manner::Honest, &has_it);
    assert!(matches!(home.gets(hash_of(&bytes)).await, FetchStanding::Here(_)));
    assert_eq!(home.reads(hash_of(&bytes)), bytes);
    assert!(
        street.sent.load(Ordering::Relaxed) <= 11,
        "nothing that was here is sent again, but what the leaver begins anew"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_said_at_once_and_two_who_want_a_file_fetch_it_once() {
    let street = Street::of(&[]);
    let home = Home::on(&street, false).await;
    let bytes = film();
    assert_eq!(home.gets(hash_of(&bytes)).await, FetchStanding::Nowhere { asked: 0 });
    street.comes(Manner::Honest, &house_with(&[&bytes]));
    let (mut one, mut other) = (home.wants(hash_of(&bytes)).await, home.wants(hash_of(&bytes)).await);
    assert!(matches!(ended(&mut one).await, Some(FetchStanding::Here(_))));
    assert!(matches!(ended(&mut other).await, Some(FetchStanding::Here(_))));
    assert_eq!(street.calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_nobody_waits_for_ends() {
    let bytes = film();
    let street = Street::of(&[(Manner::Silent, house_with(&[&bytes]))]);
    let home = Home::on(&street, false).await;
    let there = street.there.clone();
    drop(home.wants(hash_of(&bytes)).await);
    // It was the only one that looked who is there, beside the room itself.
    while there.receiver_count() > 1 {
        tokio::task::yield_now().await;
    }
    street.comes(Manner::Honest, &house_with(&[&bytes]));
    assert!(matches!(home.gets(hash_of(&bytes)).await, FetchStanding::Here(_)), "and may begin again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_deleted_is_not_given_and_a_wrong_question_ends_the_conversation() {
    let bytes = noise(100);
    let mut house = House::new();
    let hash = house.puts(&bytes);
    house.deletes(hash);
    let env = environment(&house.bench.time);
    let (mut asking, answering) = conversation();
    let answered = tokio::spawn(answer(house.library.clone(), env.clone(), answering));
    asking.say(FileAsk::Outline { hash }).await.unwrap();
    assert_eq!(asking.hear().await, Ok(Some(FileAnswer::Missing)));
    answered.await.unwrap();

    let (mut asking, answering) = conversation();
    let answered = tokio::spawn(answer(house.library.clone(), env, answering));
    asking.say(FileAsk::Pieces { first: 0, count: 1 }).await.unwrap();
    assert_eq!(asking.hear().await, Ok(None));
    answered.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_comes_as_soon_as_somebody_has_it_and_with_keep_all_what_fields_say() {
    let (pinned, said, loose) = (film(), noise(70), noise(80));
    let street = Street::of(&[]);
    let mut house = House::new();
    house.bench.store.pin(hash_of(&pinned)).unwrap();
    let before = house.shows(hash_of(&loose), &[]);
    house.shows(hash_of(&said), &[&before]);
    let home = Home::of(house, &street, true).await;
    street.comes(Manner::Honest, &house_with(&[&pinned, &said, &loose]));
    let store = &home.house.bench.store;
    while store.open(hash_of(&pinned)).is_err() || store.open(hash_of(&said)).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    tokio::time::sleep(std::time::Duration::from_mins(11)).await;
    assert!(store.open(hash_of(&loose)).is_err(), "it was superseded before: no standing value is that file");
}
