//! Fetching: any peers, in any order, slow, wrong or gone, and a break in between: what comes out is the blob.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use openprod_model::ids::BlobHash;
use proptest::prelude::*;

use crate::fetch::{Effect, Event, Fetch, RUN_PIECES};
use crate::kit::{Bench, hash_of, noise};
use crate::outline::{Outline, Outlining, PIECE_BYTES, pieces};

type Peer = u8;

fn outlined(bytes: &[u8]) -> Outline {
    let mut outlining = Outlining::default();
    bytes.chunks(PIECE_BYTES).for_each(|piece| outlining.add(piece));
    outlining.finish()
}

fn piece(bytes: &[u8], index: u64) -> Vec<u8> {
    bytes.chunks(PIECE_BYTES).nth(usize::try_from(index).unwrap()).unwrap_or_default().to_vec()
}

/// How a peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Never answers.
    Silent,
    /// Sends pieces with a wrong byte.
    Corrupt,
    /// Sends a wrong outline.
    Forger,
    /// Says that the blob is a few bytes shorter.
    Liar,
    /// Goes away after so many answers.
    Leaver(u8),
}

/// A fetch, the peers it asks, and what it has written down.
struct Scene {
    bytes: Vec<u8>,
    fetch: Fetch<Peer>,
    peers: BTreeMap<Peer, Manner>,
    outline: Option<Outline>,
    kept: BTreeMap<u64, Vec<u8>>,
    coming: VecDeque<Event<Peer>>,
    answered: BTreeMap<Peer, u8>,
    blamed: BTreeSet<Peer>,
    done: Option<u64>,
    most_asked: u64,
}

impl Scene {
    fn of(bytes: Vec<u8>, manners: &[Manner]) -> Self {
        let peers: BTreeMap<_, _> = (0..).zip(manners.iter().copied()).collect();
        let coming = peers.keys().map(|peer| Event::Found(*peer)).collect();
        Self {
            fetch: Fetch::new(hash_of(&bytes)),
            bytes,
            peers,
            outline: None,
            kept: BTreeMap::new(),
            coming,
            answered: BTreeMap::new(),
            blamed: BTreeSet::new(),
            done: None,
            most_asked: 0,
        }
    }

    /// Lets it happen, the next of what comes chosen by `dice`, until nothing comes any more.
    fn plays(&mut self, mut dice: impl FnMut(usize) -> usize) {
        for _ in 0..10_000 {
            if self.coming.is_empty() {
                return;
            }
            let chosen = dice(self.coming.len());
            let event = self.coming.remove(chosen).unwrap();
            for effect in self.fetch.handle(event) {
                self.does(effect);
            }
        }
        panic!("it never ends");
    }

    fn does(&mut self, effect: Effect<Peer>) {
        match effect {
            Effect::AskOutline(peer) => self.asks_outline(peer),
            Effect::AskPieces(peer, run) => {
                self.most_asked = self.most_asked.max(run.end - run.start);
                run.for_each(|index| self.asks_piece(peer, index));
            }
            Effect::KeepOutline(outline) => self.outline = Some(outline),
            Effect::KeepPiece(index, bytes) => {
                assert!(self.kept.insert(index, bytes).is_none(), "piece {index} is written twice");
            }
            Effect::Done(size) => assert!(self.done.replace(size).is_none()),
            Effect::Blame(peer) => assert!(self.blamed.insert(peer)),
            Effect::Stuck => {}
        }
    }

    /// Whether the peer is still there to answer.
    fn is_there(&mut self, peer: Peer) -> bool {
        let answered = self.answered.entry(peer).or_default();
        *answered = answered.saturating_add(1);
        match self.peers[&peer] {
            Manner::Silent => {
                self.coming.push_back(Event::Late(peer));
                false
            }
            Manner::Leaver(after) if *answered > after => {
                self.coming.push_back(Event::Lost(peer));
                false
            }
            _ => true,
        }
    }

    fn asks_outline(&mut self, peer: Peer) {
        if !self.is_there(peer) {
            return;
        }
        let (outline, size) = (outlined(&self.bytes), self.bytes.len() as u64);
        let (size, bytes) = match self.peers[&peer] {
            Manner::Forger => (size + 3 * PIECE_BYTES as u64, outline.bytes()),
            Manner::Liar => (size.saturating_sub(3), outline.bytes()),
            _ => (size, outline.bytes()),
        };
        self.coming.push_back(Event::Outlined(peer, size, bytes));
    }

    fn asks_piece(&mut self, peer: Peer, index: u64) {
        if !self.is_there(peer) {
            return;
        }
        let mut bytes = piece(&self.bytes, index);
        if self.peers[&peer] == Manner::Corrupt {
            bytes.push(1);
            bytes.swap_remove(0);
        }
        self.coming.push_back(Event::Sent(peer, index, bytes));
    }

    fn is_whole(&self) -> bool {
        let whole: Vec<u8> = self.kept.values().flatten().copied().collect();
        self.done == Some(self.bytes.len() as u64) && whole == self.bytes
    }
}

fn in_turn(_: usize) -> usize {
    0
}

#[test]
fn several_peers_send_a_blob_and_none_of_them_twice() {
    for size in [0, 5, PIECE_BYTES, PIECE_BYTES + 1, 40 * PIECE_BYTES + 3] {
        let mut scene = Scene::of(noise(size), &[Manner::Honest; 3]);
        scene.plays(in_turn);
        assert!(scene.is_whole(), "{size}");
        assert!(scene.most_asked <= RUN_PIECES && scene.blamed.is_empty());
        if size > 20 * PIECE_BYTES {
            assert!(scene.answered.values().all(|answers| *answers > 3), "{:?}", scene.answered);
        }
    }
}

#[test]
fn a_peer_that_sends_what_is_wrong_is_blamed_and_the_others_suffice() {
    for wrong in [Manner::Corrupt, Manner::Forger] {
        let mut scene = Scene::of(noise(5 * PIECE_BYTES + 9), &[wrong, Manner::Honest]);
        scene.plays(in_turn);
        assert!(scene.is_whole(), "{wrong:?}");
        assert_eq!(scene.blamed, BTreeSet::from([0]), "{wrong:?}");
    }
}

#[test]
fn nobody_is_blamed_for_what_another_said_of_the_size() {
    for size in [50, 3 * PIECE_BYTES + 50] {
        let mut scene = Scene::of(noise(size), &[Manner::Liar, Manner::Honest]);
        scene.plays(in_turn);
        assert!(scene.is_whole() && !scene.blamed.contains(&1), "{size}");
    }
}

#[test]
fn where_nobody_can_be_asked_it_waits_and_goes_on_with_the_next() {
    let mut scene = Scene::of(noise(9 * PIECE_BYTES), &[Manner::Leaver(4), Manner::Silent]);
    scene.plays(in_turn);
    assert_eq!(scene.done, None);
    assert_eq!(scene.fetch.progress(), (scene.kept.len() as u64, Some(9)));
    scene.peers.insert(7, Manner::Honest);
    scene.coming.push_back(Event::Found(7));
    scene.plays(in_turn);
    assert!(scene.is_whole());
}

#[test]
fn after_a_break_only_what_is_missing_is_asked_for() {
    let bytes = noise(20 * PIECE_BYTES + 1);
    let outline = outlined(&bytes);
    let had = [0, 1, 2, 7, 20].map(|index| (index, piece(&bytes, index).len()));
    let mut scene = Scene::of(bytes.clone(), &[Manner::Honest]);
    scene.fetch = Fetch::resumed(outline, had);
    scene.kept = had.into_iter().map(|(index, _)| (index, piece(&bytes, index))).collect();
    scene.plays(in_turn);
    assert!(scene.is_whole());
    assert_eq!(scene.answered[&0], 16);
    let mut whole = Fetch::resumed(outlined(&bytes), (0..21).map(|index| (index, piece(&bytes, index).len())));
    assert_eq!(whole.handle(Event::Found(1)), [Effect::Done(bytes.len() as u64)]);
}

#[test]
fn what_has_come_outlives_a_kill_and_is_checked_again() {
    let mut bench = Bench::new();
    let bytes = noise(6 * PIECE_BYTES + 100);
    let (hash, outline) = (hash_of(&bytes), outlined(&bytes));
    let (mut partial, before) = bench.store.fetch(hash).unwrap();
    assert_eq!(before, None);
    partial.keep_outline(&outline).unwrap();
    for index in [6, 1, 3] {
        partial.keep_piece(index, &piece(&bytes, index)).unwrap();
    }
    partial.keep_piece(4, &noise(PIECE_BYTES - 1)).unwrap();
    drop(partial);
    bench.restarts();
    let (mut partial, before) = bench.store.fetch(hash).unwrap();
    assert_eq!(before, Some((outline, vec![(1, PIECE_BYTES), (3, PIECE_BYTES), (6, 100)])));
    for index in 0..6 {
        partial.keep_piece(index, &piece(&bytes, index)).unwrap();
    }
    assert_eq!(bench.store.partials().unwrap(), [hash]);
    let kept = partial.finish(bytes.len() as u64).unwrap();
    assert_eq!((kept.hash, bench.reads(hash).unwrap()), (hash, bytes));
    assert_eq!(bench.files().len(), 1);
}

#[test]
fn a_fetch_that_ends_in_other_bytes_keeps_nothing() {
    let bench = Bench::new();
    let (mut partial, _) = bench.store.fetch(hash_of(b"x")).unwrap();
    partial.keep_piece(0, b"y").unwrap();
    assert!(partial.finish(1).is_err());
    assert!(bench.store.list(None, 9).unwrap().is_empty());
}

#[test]
fn what_nobody_asked_for_is_not_believed() {
    let mut fetch: Fetch<Peer> = Fetch::new(BlobHash::from_bytes([1; 32]));
    assert_eq!(fetch.handle(Event::Sent(3, 0, vec![1])), [Effect::Stuck], "a stranger");
    assert_eq!(fetch.handle(Event::Found(3)), [Effect::AskOutline(3)]);
    assert_eq!(fetch.handle(Event::Sent(3, 0, vec![1])), [Effect::Blame(3), Effect::Stuck]);
    assert_eq!(fetch.handle(Event::Found(3)), [Effect::Stuck], "it is asked nothing more");
    assert_eq!(fetch.handle(Event::Outlined(3, 1, Vec::new())), [Effect::Stuck]);
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => Just(Manner::Honest),
        1 => Just(Manner::Silent),
        1 => Just(Manner::Corrupt),
        1 => Just(Manner::Forger),
        1 => Just(Manner::Liar),
        1 => (0..30_u8).prop_map(Manner::Leaver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_one_honest_peer_it_is_always_done(
        size in 0..12 * PIECE_BYTES,
        manners in proptest::collection::vec(manner(), 0..5),
        honest in 0..5_usize,
        rolls in proptest::collection::vec(any::<usize>(), 1..200),
    ) {
        let mut manners = manners;
        let at = honest.min(manners.len());
        manners.insert(at, Manner::Honest);
        let mut scene = Scene::of(noise(size), &manners);
        let mut rolls = rolls.into_iter().cycle();
        scene.plays(|among| rolls.next().unwrap() % among);
        prop_assert!(scene.is_whole());
        let honest = |peer: &Peer| matches!(manners[usize::from(*peer)], Manner::Honest | Manner::Leaver(_));
        prop_assert!(!scene.blamed.iter().any(honest), "{:?}", scene.blamed);
        prop_assert_eq!(scene.kept.len() as u64, pieces(size as u64));
    }

    #[test]
    fn whatever_comes_it_never_panics(
        events in proptest::collection::vec((0..5_u8, 0..4_u8, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..100)), 0..60),
    ) {
        let mut fetch: Fetch<Peer> = Fetch::new(hash_of(b"x"));
        for (kind, peer, number, bytes) in events {
            fetch.handle(match kind {
                0 => Event::Found(peer),
                1 => Event::Lost(peer),
                2 => Event::Outlined(peer, number, bytes),
                3 => Event::Sent(peer, number, bytes),
                _ => Event::Late(peer),
            });
        }
        prop_assert!(!fetch.is_done());
    }
}
