//! Fetching a blob from peers: what to ask whom, what to believe, and where to go on after a break. No I/O.
//!
//! A machine: it is told what happened ([`Event`]) and answers what to do ([`Effect`]). Any peer that has the blob may send
//! any piece, several at once; each piece is checked by itself against the outline, which was checked against the address.
//! So a peer can waste one round trip and no more: what it sends wrong is thrown away, it is asked nothing further, and
//! what it was asked for is asked of others.
//!
//! Nobody's word for the size is taken. That a blob has one piece only, a peer's outline cannot prove, since it is empty:
//! such a peer is asked for that piece alone, and believed when it hashes to the address. How long the last piece is, is
//! known when it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use openprod_model::ids::BlobHash;

use crate::outline::{MAX_BLOB_BYTES, Outline, PIECE_BYTES, pieces};

/// Pieces asked for at once: 2 MiB, so that a link of 100 Mbit/s is busy for a sixth of a second.
pub const RUN_PIECES: u64 = 8;
/// Runs under way to one peer: while one is being answered, the next is on its way.
const RUNS_A_PEER: usize = 2;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<P> {
    /// A peer is there that says it has the blob.
    Found(P),
    /// A peer is gone, or says that it does not have the blob after all.
    Lost(P),
    /// A peer has sent the outline, and the size that it says the blob has.
    Outlined(P, u64, Vec<u8>),
    /// A peer has sent a piece.
    Sent(P, u64, Vec<u8>),
    /// A peer has not answered for so long that others should be asked instead. It may still answer.
    Late(P),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask a peer for the outline.
    AskOutline(P),
    /// Ask a peer for these pieces.
    AskPieces(P, Range<u64>),
    /// Write down the outline: with it and the pieces written, fetching can go on after a break.
    KeepOutline(Outline),
    /// Write down a piece. It is right.
    KeepPiece(u64, Vec<u8>),
    /// All pieces are there. The blob has this size.
    Done(u64),
    /// A peer has sent what is not the blob's: it is asked nothing more.
    Blame(P),
    /// Nobody is left to ask. It goes on when somebody is found.
    Stuck,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was asked for the outline.
    Outlining,
    /// It was asked for the only piece, as it says.
    Single,
    /// It is asked for pieces.
    Ready,
    /// It is asked nothing, since it was late; whatever it still sends counts.
    Late,
}

/// A fetch under way.
#[derive(Debug, Clone)]
pub struct Fetch<P> {
    root: BlobHash,
    outline: Option<Outline>,
    had: BTreeSet<u64>,
    /// Pieces from here on were never asked for.
    next: u64,
    /// Pieces before that which have to be asked for again.
    again: BTreeSet<u64>,
    peers: BTreeMap<P, Standing>,
    asked: BTreeMap<P, BTreeSet<u64>>,
    blamed: BTreeSet<P>,
    size: Option<u64>,
    is_done: bool,
}

impl<P: Copy + Ord> Fetch<P> {
    /// A fetch of which nothing is here yet.
    pub fn new(root: BlobHash) -> Self {
        Self {
            root,
            outline: None,
            had: BTreeSet::new(),
            next: 0,
            again: BTreeSet::new(),
            peers: BTreeMap::new(),
            asked: BTreeMap::new(),
            blamed: BTreeSet::new(),
            size: None,
            is_done: false,
        }
    }

    /// A fetch that goes on: with the outline, and the pieces that were found whole, each with its length.
    pub fn resumed(outline: Outline, had: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let mut fetch = Self::new(outline.root());
        for (index, length) in had {
            fetch.note(&outline, index, length);
        }
        fetch.outline = Some(outline);
        fetch
    }

    /// How many pieces are here, and of how many if that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.had.len() as u64, self.outline.as_ref().map(|outline| pieces(outline.size())))
    }

    /// Whether all is here.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What to do about what happened.
    pub fn handle(&mut self, event: Event<P>) -> Vec<Effect<P>> {
        if self.is_done {
            return Vec::new();
        }
        let mut effects = Vec::new();
        match event {
            Event::Found(peer) => self.found(peer),
            Event::Lost(peer) => self.lost(peer),
            Event::Outlined(peer, size, bytes) => self.outlined(peer, size, &bytes, &mut effects),
            Event::Sent(peer, index, bytes) => self.sent(peer, index, bytes, &mut effects),
            Event::Late(peer) => self.late(peer),
        }
        self.go_on(&mut effects);
        effects
    }

    fn found(&mut self, peer: P) {
        if !self.blamed.contains(&peer) {
            let again = matches!(self.peers.get(&peer), None | Some(Standing::Late));
            if again {
                self.peers.insert(peer, Standing::Ready);
            }
        }
    }

    fn lost(&mut self, peer: P) {
        self.peers.remove(&peer);
        self.take_back(peer);
    }

    fn late(&mut self, peer: P) {
        if let Some(standing) = self.peers.get_mut(&peer) {
            *standing = Standing::Late;
            self.take_back(peer);
        }
    }

    fn blame(&mut self, peer: P, effects: &mut Vec<Effect<P>>) {
        self.lost(peer);
        if self.blamed.insert(peer) {
            effects.push(Effect::Blame(peer));
        }
    }

    fn take_back(&mut self, peer: P) {
        let asked = self.asked.remove(&peer).unwrap_or_default();
        self.again.extend(asked.into_iter().filter(|index| !self.had.contains(index)));
    }

    fn outlined(&mut self, peer: P, size: u64, bytes: &[u8], effects: &mut Vec<Effect<P>>) {
        if !matches!(self.peers.get(&peer), Some(Standing::Outlining | Standing::Late)) {
            return;
        }
        let Ok(outline) = Outline::checked(self.root, size, bytes) else { return self.blame(peer, effects) };
        if self.outline.is_some() {
            self.peers.insert(peer, Standing::Ready);
        } else if pieces(size) == 1 {
            self.peers.insert(peer, Standing::Single);
            effects.push(Effect::AskPieces(peer, 0..1));
        } else {
            self.peers.insert(peer, Standing::Ready);
            effects.push(Effect::KeepOutline(outline.clone()));
            self.outline = Some(outline);
            // Whoever said that there is one piece only was wrong about that, and may be right about its bytes.
            self.peers.values_mut().filter(|one| **one == Standing::Single).for_each(|one| *one = Standing::Ready);
        }
    }

    fn sent(&mut self, peer: P, index: u64, bytes: Vec<u8>, effects: &mut Vec<Effect<P>>) {
        let Some(standing) = self.peers.get(&peer).copied() else { return };
        match &self.outline {
            None if standing == Standing::Single || standing == Standing::Late => {
                self.sent_only_one(peer, index, bytes, effects);
            }
            // Nobody was asked for pieces yet.
            None => self.blame(peer, effects),
            Some(outline) if !outline.is_piece_of_some_length(index, &bytes) => self.blame(peer, effects),
            Some(outline) => {
                let outline = outline.clone();
                self.asked.entry(peer).or_default().remove(&index);
                if standing == Standing::Late {
                    self.peers.insert(peer, Standing::Ready);
                }
                if self.note(&outline, index, bytes.len()) {
                    effects.push(Effect::KeepPiece(index, bytes));
                }
            }
        }
    }

    fn sent_only_one(&mut self, peer: P, index: u64, bytes: Vec<u8>, effects: &mut Vec<Effect<P>>) {
        let is_it =
            index == 0 && bytes.len() <= PIECE_BYTES && *blake3::hash(&bytes).as_bytes() == *self.root.as_bytes();
        if !is_it {
            return self.blame(peer, effects);
        }
        self.size = Some(bytes.len() as u64);
        self.had.insert(0);
        effects.push(Effect::KeepPiece(0, bytes));
    }

    /// Takes note of a piece; false if it was here already.
    fn note(&mut self, outline: &Outline, index: u64, length: usize) -> bool {
        if index == pieces(outline.size()) - 1 {
            self.size = Some(index * PIECE_BYTES as u64 + length as u64);
        }
        self.again.remove(&index);
        self.had.insert(index)
    }

    fn go_on(&mut self, effects: &mut Vec<Effect<P>>) {
        let all = self.outline.as_ref().map_or(1, |outline| pieces(outline.size()));
        if let (Some(size), true) = (self.size, self.had.len() as u64 == all) {
            self.is_done = true;
            effects.push(Effect::Done(size.min(MAX_BLOB_BYTES)));
            return;
        }
        let ready: Vec<P> =
            self.peers.iter().filter(|(_, standing)| **standing == Standing::Ready).map(|(p, _)| *p).collect();
        for peer in ready {
            if self.outline.is_none() {
                self.peers.insert(peer, Standing::Outlining);
                effects.push(Effect::AskOutline(peer));
                continue;
            }
            while self.asked.get(&peer).map_or(0, |asked| asked.len() as u64) <= (RUNS_A_PEER as u64 - 1) * RUN_PIECES {
                let Some(run) = self.next_run(all) else { break };
                self.asked.entry(peer).or_default().extend(run.clone());
                effects.push(Effect::AskPieces(peer, run));
            }
        }
        if self.peers.values().all(|standing| *standing == Standing::Late) && !effects.contains(&Effect::Stuck) {
            effects.push(Effect::Stuck);
        }
    }

    /// The next pieces in a row that nobody was asked for, and that are not here.
    fn next_run(&mut self, all: u64) -> Option<Range<u64>> {
        if let Some(first) = self.again.pop_first() {
            let mut end = first + 1;
            while end - first < RUN_PIECES && self.again.remove(&end) {
                end += 1;
            }
            return Some(first..end);
        }
        while self.had.contains(&self.next) {
            self.next += 1;
        }
        let (first, mut end) = (self.next, self.next);
        while end < all && end - first < RUN_PIECES && !self.had.contains(&end) {
            end += 1;
        }
        self.next = end;
        (first < end).then_some(first..end)
    }
}
