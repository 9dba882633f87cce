//! Peers: whom this node dials and when, and which connection it keeps. Pure: time and chance are arguments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use openprod_model::ids::ActorId;
use openprod_wire::closing::CloseCode;

use super::LinkId;
use super::status::{KnownPeer, Obstacle};
use crate::transport::{Closed, Side};

/// The most peers known at once; those that were only found go first.
pub(super) const MAX_PEERS: usize = 256;

/// The most addresses kept for a peer: a laptop has a few networks.
pub(super) const MAX_ADDRESSES: usize = 8;

/// The most dials under way at once.
const MAX_DIALS: usize = 16;

/// The first pause before a peer is dialled again; it doubles with each failure.
const FIRST_PAUSE_MS: u64 = 500;

/// The longest pause: whoever comes back is found within a minute.
const LONGEST_PAUSE_MS: u64 = 60_000;

/// The pause after one of both said that it does not want the other: only people change that, and where they do it on
/// this node it is known at once ([`Peers::admitted`]).
const UNWELCOME_PAUSE_MS: u64 = 300_000;

/// The pause while as many as allowed are being dialled.
const CROWDED_PAUSE_MS: u64 = 1_000;

/// A node that was found waits so long for the other to dial if the other has the lower key, so that most pairs dial once.
const COURTESY_MS: u64 = 1_500;

/// The pause after a peer said that another computer has this node's key: each of the two gets its turn, and neither
/// waits long for it.
const TWIN_PAUSE_MS: u64 = 10_000;

/// Most lives of a peer that are remembered: to tell a node that was started again, whose life is new, from several
/// that have one key, whose lives come back.
const MAX_LIVES: usize = 8;

/// How often a life must have come back: once may be a dead connection that was noticed late.
const LIVES_COME_BACK: u32 = 2;

/// Whoever was connected for so long without being driven out is alone by now: a twin comes back much sooner.
const ALONE_AFTER_MS: u64 = 180_000;

/// What people are told where another node with this node's key runs.
pub(super) const TWIN_OF_THIS: &str = "another computer runs with this node's key: this node's folder was copied. \
     Nothing is lost, but only one of the two is connected at a time. Stop one, delete node.key in its folder, start it, \
     and let it join again by a ticket";

/// What people are told of a peer that is several nodes.
const TWINS: &str = "several computers run with this node's key: its folder was copied. Nothing is lost, but only one \
     of them is connected at a time. `openprod peers` there says what to do";

/// A connection that lasted so long was a good one: the next failure is the first.
const GOOD_AFTER_MS: u64 = 10_000;

/// Numbers the peers of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNumber(u64);

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Dial; whichever address answers first will do.
    Dial { peer: PeerNumber, addresses: Vec<SocketAddr>, expected: Option<ActorId> },
    /// Call [`Peers::due`] in so many milliseconds.
    Wake { peer: PeerNumber, in_ms: u64 },
    /// Close a connection.
    Close { link: LinkId, code: CloseCode },
    /// Remember [`Peers::remembered`].
    Remember,
}

/// A connection on which both have said hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) link: LinkId,
    pub(super) key: ActorId,
    pub(super) side: Side,
    pub(super) remote: SocketAddr,
    /// The other's present life.
    pub(super) life: u64,
    pub(super) at_ms: u64,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For people.
    pub(super) trouble: String,
    /// What stands in the way, if that is known.
    pub(super) obstacle: Option<Obstacle>,
    /// Whether trying again soon would end the same way.
    pub(super) is_lasting: bool,
}

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Resting,
    Waiting { until_ms: u64 },
    Dialling,
    Connected(Met),
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) key: Option<ActorId>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) is_remembered: bool,
    pub(super) stage: Stage,
    pub(super) failures: u32,
    trouble: String,
    pub(super) obstacle: Option<Obstacle>,
    /// Its lives, the latest last, at most [`MAX_LIVES`].
    lives: Vec<u64>,
    /// How often a life came back after another.
    came_back: u32,
    /// Whether it said that another computer has this node's key.
    knows_twin: bool,
    /// Whether it was this node that did not want it, the last time.
    turned_away: bool,
}

impl Peer {
    /// What is wrong, for people; empty if nothing is.
    pub(super) fn trouble(&self, now_ms: u64) -> &str {
        match self {
            peer if peer.is_alone(now_ms) => &peer.trouble,
            Self { knows_twin: true, .. } => TWIN_OF_THIS,
            peer if peer.is_several() => TWINS,
            peer => &peer.trouble,
        }
    }

    fn is_alone(&self, now_ms: u64) -> bool {
        matches!(self.stage, Stage::Connected(met) if now_ms.saturating_sub(met.at_ms) >= ALONE_AFTER_MS)
    }

    /// What was known of twins is over if it is alone.
    fn forget_twins(&mut self, now_ms: u64) {
        if self.is_alone(now_ms) {
            (self.came_back, self.knows_twin) = (0, false);
            self.lives.clear();
        }
    }

    /// Whether its key, or this node's, is on several computers.
    pub(super) fn is_double(&self, now_ms: u64) -> bool {
        !self.is_alone(now_ms) && (self.knows_twin || self.is_several())
    }

    /// Whether several nodes have its key.
    fn is_several(&self) -> bool {
        self.came_back >= LIVES_COME_BACK
    }

    fn lives_as(&mut self, life: u64) {
        if self.lives.last() == Some(&life) {
            return;
        }
        self.came_back += u32::from(self.lives.contains(&life));
        self.lives.retain(|known| *known != life);
        self.lives.push(life);
        let surplus = self.lives.len().saturating_sub(MAX_LIVES);
        self.lives.drain(..surplus);
    }

    fn prefer(&mut self, address: SocketAddr) {
        self.addresses.retain(|known| *known != address);
        self.addresses.insert(0, address);
        self.addresses.truncate(MAX_ADDRESSES);
    }

    fn learn(&mut self, addresses: &[SocketAddr]) {
        let news: Vec<_> = addresses.iter().filter(|a| !self.addresses.contains(a)).copied().collect();
        self.addresses.extend(news);
        self.addresses.truncate(MAX_ADDRESSES);
    }
}

/// All peers.
#[derive(Debug)]
pub(super) struct Peers {
    me: ActorId,
    all: BTreeMap<PeerNumber, Peer>,
    next: u64,
}

impl Peers {
    pub(super) fn new(me: ActorId) -> Self {
        Self { me, all: BTreeMap::new(), next: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.all.values()
    }

    /// What a later run of the node should know.
    pub(super) fn remembered(&self) -> Vec<KnownPeer> {
        let kept = self.all.values().filter(|peer| peer.is_remembered);
        kept.map(|peer| KnownPeer { key: peer.key, addresses: peer.addresses.clone() }).collect()
    }

    pub(super) fn key_of(&self, number: PeerNumber) -> Option<ActorId> {
        self.all.get(&number).and_then(|peer| peer.key)
    }

    pub(super) fn link_of(&self, key: ActorId) -> Option<LinkId> {
        self.all.values().find(|peer| peer.key == Some(key)).and_then(|peer| match peer.stage {
            Stage::Connected(met) => Some(met.link),
            _ => None,
        })
    }

    /// A person or an earlier run of the node names a peer: it is remembered, and dialled at once.
    pub(super) fn add(&mut self, key: Option<ActorId>, addresses: &[SocketAddr]) -> (Option<PeerNumber>, Vec<Act>) {
        let (number, mut acts) = self.seek(key, addresses);
        if let Some(peer) = number.and_then(|number| self.all.get_mut(&number)) {
            peer.is_remembered = true;
            acts.insert(0, Act::Remember);
        }
        (number, acts)
    }

    /// A peer is dialled at once, and until it answers.
    pub(super) fn seek(&mut self, key: Option<ActorId>, addresses: &[SocketAddr]) -> (Option<PeerNumber>, Vec<Act>) {
        let known = self.find(key, addresses).or_else(|| self.make(key));
        let Some((number, peer)) = known.and_then(|n| Some((n, self.all.get_mut(&n)?))) else {
            return (None, Vec::new());
        };
        peer.key = peer.key.or(key);
        addresses.iter().rev().take(MAX_ADDRESSES).for_each(|address| peer.prefer(*address));
        peer.failures = 0;
        let is_idle = matches!(peer.stage, Stage::Resting | Stage::Waiting { .. });
        let acts = if is_idle { self.wait(number, 0, 0) } else { Vec::new() };
        (Some(number), acts)
    }

    pub(super) fn is_remembered(&self, key: ActorId) -> bool {
        self.all.values().any(|peer| peer.is_remembered && peer.key == Some(key))
    }

    /// Discovery found a node. A hint, no more: it is dialled if nothing is known of it, after a courtesy pause if the
    /// other will probably dial.
    pub(super) fn found(&mut self, key: ActorId, addresses: &[SocketAddr], now_ms: u64) -> Vec<Act> {
        if key == self.me {
            return Vec::new();
        }
        let Some(number) = self.find(Some(key), &[]).or_else(|| self.make(Some(key))) else { return Vec::new() };
        let Some(peer) = self.all.get_mut(&number) else { return Vec::new() };
        peer.learn(addresses);
        let pause = if self.me < key { 0 } else { COURTESY_MS };
        match peer.stage {
            Stage::Resting => self.wait(number, now_ms, pause),
            Stage::Waiting { until_ms } if until_ms > now_ms + COURTESY_MS && peer.failures > 0 => {
                self.wait(number, now_ms, pause)
            }
            _ => Vec::new(),
        }
    }

    /// Discovery says that a node is gone. If it is, its connection will say so too.
    pub(super) fn left(&mut self, key: ActorId) {
        let is_gone = |peer: &Peer| {
            peer.key == Some(key) && !peer.is_remembered && matches!(peer.stage, Stage::Resting | Stage::Waiting { .. })
        };
        self.all.retain(|_, peer| !is_gone(peer));
    }

    /// A person takes a peer out of the list, by its key or an address of it. None if there is no such peer.
    pub(super) fn forget(&mut self, is_meant: impl Fn(&Peer) -> bool) -> Option<Vec<Act>> {
        let number = self.all.iter().find(|(_, peer)| is_meant(peer)).map(|(number, _)| *number)?;
        let peer = self.all.remove(&number)?;
        let mut acts = vec![Act::Remember];
        if let Stage::Connected(met) = peer.stage {
            acts.push(Act::Close { link: met.link, code: CloseCode::FORGOTTEN });
        }
        Some(acts)
    }

    /// A pause may be over.
    pub(super) fn due(&mut self, number: PeerNumber, now_ms: u64) -> Vec<Act> {
        let dials = self.all.values().filter(|peer| peer.stage == Stage::Dialling).count();
        let Some(peer) = self.all.get_mut(&number) else { return Vec::new() };
        match peer.stage {
            Stage::Waiting { until_ms } if until_ms > now_ms => Vec::new(),
            Stage::Waiting { .. } if dials >= MAX_DIALS => self.wait(number, now_ms, CROWDED_PAUSE_MS),
            Stage::Waiting { .. } if !peer.addresses.is_empty() => {
                peer.stage = Stage::Dialling;
                vec![Act::Dial { peer: number, addresses: peer.addresses.clone(), expected: peer.key }]
            }
            _ => Vec::new(),
        }
    }

    /// Nobody answered, somebody else did, or the hello failed.
    pub(super) fn failed(&mut self, number: PeerNumber, why: Failure, now_ms: u64, chance: u64) -> Vec<Act> {
        let Some(peer) = self.all.get_mut(&number).filter(|peer| peer.stage == Stage::Dialling) else {
            return Vec::new();
        };
        peer.trouble = why.trouble;
        peer.obstacle = why.obstacle;
        peer.failures += 1;
        let pause = if why.is_lasting { UNWELCOME_PAUSE_MS } else { pause_ms(peer.failures, chance) };
        self.wait(number, now_ms, pause)
    }

    /// A connection on which both have said hello, dialled for `dialled` if by this node. Tells whether it is kept;
    /// the acts close what is not kept.
    pub(super) fn met(&mut self, met: Met, dialled: Option<PeerNumber>) -> (bool, Vec<Act>) {
        let Some(number) = self.place(met.key, dialled) else {
            return (false, vec![Act::Close { link: met.link, code: CloseCode::BUSY }]);
        };
        let me = self.me;
        let Some(peer) = self.all.get_mut(&number) else { return (false, Vec::new()) };
        let mut acts = Vec::new();
        peer.forget_twins(met.at_ms);
        peer.lives_as(met.life);
        if let Stage::Connected(old) = peer.stage {
            if !replaces(me, &met, &old) {
                return (false, vec![Act::Close { link: met.link, code: CloseCode::DUPLICATE }]);
            }
            let is_twin = met.life != old.life && peer.is_several();
            let code = if is_twin { CloseCode::TWIN } else { CloseCode::DUPLICATE };
            acts.push(Act::Close { link: old.link, code });
        }
        peer.key = Some(met.key);
        peer.prefer(met.remote);
        peer.stage = Stage::Connected(met);
        peer.trouble.clear();
        peer.obstacle = None;
        peer.turned_away = false;
        if peer.is_remembered {
            acts.push(Act::Remember);
        }
        (true, acts)
    }

    /// The other is a member of a workspace of this node: it is worth remembering.
    pub(super) fn belongs(&mut self, link: LinkId) -> Vec<Act> {
        let is_this = |peer: &&mut Peer| matches!(peer.stage, Stage::Connected(met) if met.link == link);
        match self.all.values_mut().find(is_this).filter(|peer| !peer.is_remembered) {
            Some(peer) => {
                peer.is_remembered = true;
                vec![Act::Remember]
            }
            None => Vec::new(),
        }
    }

    /// Members may have changed: whoever was turned away and is one now is dialled.
    pub(super) fn admitted(&mut self, is_member: impl Fn(ActorId) -> bool, now_ms: u64) -> Vec<Act> {
        let is_back = |peer: &Peer| {
            let waits = matches!(peer.stage, Stage::Waiting { .. });
            waits && peer.turned_away && peer.key.is_some_and(&is_member)
        };
        let back: Vec<_> = self.all.iter().filter(|(_, peer)| is_back(peer)).map(|(number, _)| *number).collect();
        back.into_iter().flat_map(|number| self.wait(number, now_ms, 0)).collect()
    }

    /// The peer that a connection belongs to; entries that turn out to be one node become one.
    fn place(&mut self, key: ActorId, dialled: Option<PeerNumber>) -> Option<PeerNumber> {
        let known = self.find(Some(key), &[]);
        match (known, dialled.filter(|number| self.all.contains_key(number))) {
            (Some(known), Some(dialled)) if known != dialled => {
                let twin = self.all.remove(&dialled)?;
                self.all.get_mut(&known)?.learn(&twin.addresses);
                Some(known)
            }
            (Some(known), _) => Some(known),
            (None, Some(dialled)) => Some(dialled),
            (None, None) => self.make(Some(key)),
        }
    }

    /// A connection ended. Only the one that was kept matters.
    pub(super) fn ended(&mut self, link: LinkId, how: &Closed, now_ms: u64, chance: u64) -> Vec<Act> {
        let is_this = |peer: &Peer| matches!(peer.stage, Stage::Connected(met) if met.link == link);
        let Some((number, peer)) = self.all.iter_mut().find(|(_, peer)| is_this(peer)) else { return Vec::new() };
        let Stage::Connected(met) = peer.stage else { return Vec::new() };
        peer.forget_twins(now_ms);
        peer.trouble = how.to_string();
        peer.obstacle = Obstacle::of_closing(how);
        peer.turned_away = *how == Closed::Here(CloseCode::NOT_WELCOME);
        let was_good = now_ms.saturating_sub(met.at_ms) >= GOOD_AFTER_MS;
        peer.failures = if was_good { 1 } else { peer.failures + 1 };
        let is_twin = *how == Closed::There(CloseCode::TWIN);
        peer.knows_twin |= is_twin;
        let pause = match how {
            _ if is_twin => TWIN_PAUSE_MS,
            how if is_unwelcome(how) => UNWELCOME_PAUSE_MS,
            _ => pause_ms(peer.failures, chance),
        };
        let (number, is_stranger) = (*number, !peer.is_remembered && met.side == Side::Dialled);
        if is_stranger {
            self.all.remove(&number);
            return Vec::new();
        }
        self.wait(number, now_ms, pause)
    }

    fn find(&self, key: Option<ActorId>, addresses: &[SocketAddr]) -> Option<PeerNumber> {
        let is_it = |peer: &Peer| match (key, peer.key) {
            (Some(key), Some(known)) => key == known,
            _ => peer.addresses.iter().any(|address| addresses.contains(address)),
        };
        self.all.iter().find(|(_, peer)| is_it(peer)).map(|(number, _)| *number)
    }

    /// A new peer, in the place of one that was only found if there are too many.
    fn make(&mut self, key: Option<ActorId>) -> Option<PeerNumber> {
        if self.all.len() >= MAX_PEERS {
            let is_idle = |peer: &Peer| matches!(peer.stage, Stage::Resting | Stage::Waiting { .. });
            let spare = self.all.iter().find(|(_, peer)| !peer.is_remembered && is_idle(peer));
            let spare = *spare?.0;
            self.all.remove(&spare);
        }
        self.next += 1;
        let peer = Peer {
            key,
            addresses: Vec::new(),
            is_remembered: false,
            stage: Stage::Resting,
            failures: 0,
            trouble: String::new(),
            obstacle: None,
            lives: Vec::new(),
            came_back: 0,
            knows_twin: false,
            turned_away: false,
        };
        self.all.insert(PeerNumber(self.next), peer);
        Some(PeerNumber(self.next))
    }

    /// Dials after a pause.
    fn wait(&mut self, number: PeerNumber, now_ms: u64, pause_ms: u64) -> Vec<Act> {
        let Some(peer) = self.all.get_mut(&number) else { return Vec::new() };
        peer.stage = Stage::Waiting { until_ms: now_ms + pause_ms };
        vec![Act::Wake { peer: number, in_ms: pause_ms }]
    }
}

/// Of two connections between the same nodes, whether the new one is kept: both ends come to the same answer. One with
/// a later life of the other is; one dialled by the same end again is, for that end has its reasons; of two that were
/// dialled by both ends, the one dialled by the lower key.
fn replaces(me: ActorId, new: &Met, old: &Met) -> bool {
    if new.life != old.life || new.side == old.side {
        return true;
    }
    let dialler = if new.side == Side::Dialler { me } else { new.key };
    dialler == me.min(new.key)
}

/// The pause before the next attempt, drawn between half of it and all of it, so that nodes do not come in step.
fn pause_ms(failures: u32, chance: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
    pause / 2 + chance % (pause / 2 + 1)
}

/// Whether trying again soon would end the same way.
pub(super) fn is_unwelcome(how: &Closed) -> bool {
    const LASTING: [CloseCode; 5] =
        [CloseCode::NOT_WELCOME, CloseCode::VERSION, CloseCode::MISBEHAVED, CloseCode::FORGOTTEN, CloseCode::MYSELF];
    matches!(how, Closed::There(code) | Closed::Here(code) if LASTING.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ActorId = ActorId::from_bytes([1; 32]);
    const PEER: ActorId = ActorId::from_bytes([2; 32]);

    fn met(link: u64, life: u64) -> Met {
        let remote = SocketAddr::from(([10, 0, 0, 2], 7118));
        Met { link: LinkId(link), key: PEER, side: Side::Dialled, remote, life, at_ms: 0 }
    }

    /// What those of each life are told when the next one comes.
    fn told(lives: &[u64]) -> (Vec<CloseCode>, String) {
        told_every(1_000, lives)
    }

    /// The same, with a pause in between.
    fn told_every(pause_ms: u64, lives: &[u64]) -> (Vec<CloseCode>, String) {
        let (mut peers, mut codes) = (Peers::new(ME), Vec::new());
        for (link, life) in (0..).zip(lives) {
            let (is_kept, acts) = peers.met(Met { at_ms: link * pause_ms, ..met(link, *life) }, None);
            assert!(is_kept, "whoever comes with another life is kept");
            codes.extend(acts.iter().filter_map(|act| match act {
                Act::Close { code, .. } => Some(*code),
                _ => None,
            }));
        }
        (codes, peers.iter().next().unwrap().trouble(lives.len() as u64 * pause_ms).to_owned())
    }

    #[test]
    fn a_node_that_is_started_again_and_again_is_one_node() {
        let (codes, trouble) = told(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(codes.iter().all(|code| *code == CloseCode::DUPLICATE) && trouble.is_empty(), "{codes:?} {trouble}");
        let late = told(&[1, 2, 1]).0;
        assert!(!late.contains(&CloseCode::TWIN), "a connection of its last life may be noticed late: {late:?}");
        let rare = told_every(ALONE_AFTER_MS, &[1, 2, 1, 2, 1]).0;
        assert!(!rare.contains(&CloseCode::TWIN), "two computers that are never on at once disturb nobody: {rare:?}");
    }

    #[test]
    fn lives_that_come_back_are_several_nodes_with_one_key_and_both_sides_hear_of_it() {
        for lives in [vec![1, 2, 1, 2, 1], vec![1, 2, 3, 1, 2, 3], vec![1, 2, 1, 3, 2]] {
            let (codes, trouble) = told(&lives);
            assert_eq!(codes.last(), Some(&CloseCode::TWIN), "{lives:?}");
            assert!(trouble.contains("several computers"), "{lives:?}: {trouble}");
        }
    }

    #[test]
    fn who_was_sent_away_does_not_insist_and_who_was_only_lost_is_dialled_soon() {
        let pause = |how: Closed| {
            let mut peers = Peers::new(ME);
            peers.add(Some(PEER), &[SocketAddr::from(([10, 0, 0, 2], 7118))]);
            peers.met(met(1, 7), None);
            let acts = peers.ended(LinkId(1), &how, 100, 0);
            let [Act::Wake { in_ms, .. }] = acts[..] else { panic!("{how}: {acts:?}") };
            in_ms
        };
        for code in [CloseCode::NOT_WELCOME, CloseCode::VERSION, CloseCode::MISBEHAVED] {
            assert_eq!([pause(Closed::There(code)), pause(Closed::Here(code))], [UNWELCOME_PAUSE_MS; 2], "{code}");
        }
        assert!(pause(Closed::There(CloseCode::STOPPING)) <= FIRST_PAUSE_MS && pause(Closed::Silent) <= FIRST_PAUSE_MS);
    }

    #[test]
    fn who_is_told_of_its_twin_says_so_and_waits_for_its_turn() {
        let mut peers = Peers::new(ME);
        peers.add(Some(PEER), &[SocketAddr::from(([10, 0, 0, 2], 7118))]);
        peers.met(met(1, 7), None);
        let acts = peers.ended(LinkId(1), &Closed::There(CloseCode::TWIN), 100, 0);
        assert!(matches!(acts[..], [Act::Wake { in_ms: TWIN_PAUSE_MS, .. }]), "{acts:?}");
        peers.met(met(2, 7), None);
        let trouble = |now_ms| peers.iter().next().unwrap().trouble(now_ms).to_owned();
        assert!(trouble(1_000).contains("delete node.key"), "also while it is connected");
        assert_eq!(trouble(ALONE_AFTER_MS), "", "until nobody drives it out any more");
    }
}
