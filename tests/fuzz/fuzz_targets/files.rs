//! Whatever neighbours say about a file that is fetched from them, in any order: only what is right is written down, whoever
//! sent what is wrong is asked nothing more, and the file is done when it is whole and not before.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use openprod_blobs::fetch::{Effect, Event, Fetch, RUN_PIECES};
use openprod_blobs::outline::{Outline, Outlining, PIECE_BYTES, pieces};
use openprod_model::ids::BlobHash;

/// The most neighbours, and the most pieces of the file.
const NEIGHBOURS: u8 = 4;
const MOST_PIECES: usize = 3;

type Neighbour = u8;

#[derive(Arbitrary, Debug)]
enum Says {
    Found,
    Lost,
    Late,
    /// The outline as it is, under a size that may be another.
    Outline {
        longer: i64,
    },
    /// Any bytes as an outline.
    OtherOutline {
        size: u64,
        bytes: Vec<u8>,
    },
    /// A piece as it is, or under another number.
    Piece {
        index: u8,
        said: Option<u64>,
    },
    /// Any bytes as a piece.
    OtherPiece {
        index: u64,
        bytes: Vec<u8>,
    },
    /// A piece of the right length with a bit that is wrong.
    Flipped {
        index: u8,
        at: u32,
    },
}

#[derive(Arbitrary, Debug)]
struct Story {
    full: u8,
    rest: u16,
    /// At this step the node dies, and goes on with what it had written down.
    dies_at: Option<u8>,
    said: Vec<(u8, Says)>,
}

struct Scene {
    file: Vec<u8>,
    fetch: Fetch<Neighbour>,
    outline: Option<Outline>,
    kept: BTreeMap<u64, Vec<u8>>,
    blamed: BTreeSet<Neighbour>,
    done: Option<u64>,
}

fn root(file: &[u8]) -> BlobHash {
    BlobHash::from_bytes(*blake3::hash(file).as_bytes())
}

fn outline(file: &[u8]) -> Outline {
    let mut outlining = Outlining::default();
    file.chunks(PIECE_BYTES).for_each(|piece| outlining.add(piece));
    outlining.finish()
}

impl Scene {
    fn piece(&self, index: u64) -> Vec<u8> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.file.chunks(PIECE_BYTES).nth(index).unwrap_or_default().to_vec()
    }

    fn event(&self, by: Neighbour, says: Says) -> Event<Neighbour> {
        let all = pieces(self.file.len() as u64);
        match says {
            Says::Found => Event::Found(by),
            Says::Lost => Event::Lost(by),
            Says::Late => Event::Late(by),
            Says::Outline { longer } => {
                let size = (self.file.len() as u64).saturating_add_signed(longer);
                Event::Outlined(by, size, outline(&self.file).bytes())
            }
            Says::OtherOutline { size, bytes } => Event::Outlined(by, size, bytes),
            Says::Piece { index, said } => {
                let index = u64::from(index) % all;
                Event::Sent(by, said.unwrap_or(index), self.piece(index))
            }
            Says::OtherPiece { index, bytes } => Event::Sent(by, index, bytes),
            Says::Flipped { index, at } => {
                let (index, mut bytes) = (u64::from(index) % all, self.piece(u64::from(index) % all));
                let at = at as usize % bytes.len().max(1);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                Event::Sent(by, index, bytes)
            }
        }
    }

    fn happens(&mut self, event: Event<Neighbour>) {
        for effect in self.fetch.handle(event) {
            assert!(self.done.is_none(), "what is done is done");
            match effect {
                Effect::AskOutline(of) => assert!(!self.blamed.contains(&of)),
                Effect::AskPieces(of, run) => {
                    assert!(!self.blamed.contains(&of), "who was blamed is asked");
                    assert!(run.start < run.end && run.end - run.start <= RUN_PIECES);
                    assert!(run.clone().all(|index| !self.kept.contains_key(&index)), "what is here is asked for");
                    let all = self.outline.as_ref().map_or(1, |outline| pieces(outline.size()));
                    assert!(run.end <= all, "what is not there is asked for");
                }
                Effect::KeepOutline(known) => self.outline = Some(known),
                Effect::KeepPiece(index, bytes) => {
                    assert!(bytes == self.piece(index), "piece {index} is not the file's");
                    assert!(self.kept.insert(index, bytes).is_none(), "written down twice");
                }
                Effect::Done(size) => self.done = Some(size),
                Effect::Blame(of) => assert!(self.blamed.insert(of), "blamed once"),
                Effect::Stuck => {}
            }
        }
        if let Some(size) = self.done {
            assert_eq!(size, self.file.len() as u64);
            let whole: Vec<u8> = self.kept.values().flatten().copied().collect();
            assert!(whole == self.file, "it is done and not whole");
        }
    }

    /// The node dies; what it had written down is there.
    fn dies(&mut self) {
        if self.done.is_some() {
            return;
        }
        self.blamed.clear();
        self.fetch = match self.outline.clone() {
            Some(outline) => Fetch::resumed(outline, self.kept.iter().map(|(index, bytes)| (*index, bytes.len()))),
            None => Fetch::new(root(&self.file)),
        };
    }

    /// Whatever was said, somebody honest is enough.
    fn ends(&mut self, honest: Neighbour) {
        self.happens(Event::Found(honest));
        self.happens(Event::Outlined(honest, self.file.len() as u64, outline(&self.file).bytes()));
        for index in 0..pieces(self.file.len() as u64) {
            self.happens(Event::Sent(honest, index, self.piece(index)));
        }
        assert!(self.done.is_some() && !self.blamed.contains(&honest), "{:?}", self.fetch);
    }
}

fuzz_target!(|story: Story| {
    let length = usize::from(story.full) % MOST_PIECES * PIECE_BYTES + usize::from(story.rest) % 5_000;
    let mut file = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut file);
    let fetch = Fetch::new(root(&file));
    let (kept, blamed) = (BTreeMap::new(), BTreeSet::new());
    let mut scene = Scene { file, fetch, outline: None, kept, blamed, done: None };
    for (step, (by, says)) in story.said.into_iter().take(48).enumerate() {
        if story.dies_at.map(usize::from) == Some(step) {
            scene.dies();
        }
        scene.happens(scene.event(by % NEIGHBOURS, says));
    }
    scene.ends(NEIGHBOURS);
});
