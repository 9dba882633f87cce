//! Texts and lists, as people, browsers and strangers write them.

mod converge;
mod edits;
mod hostile;
mod real;
mod staged;
mod undo;

use std::convert::Infallible;

use openprod_model::ids::OpRef;

use super::{ClientId, Document, Kind, TextEdit};

/// A field's log: its updates in canonical order.
#[derive(Clone)]
struct Log {
    kind: Kind,
    updates: Vec<(OpRef, Vec<u8>)>,
}

impl Log {
    fn new(kind: Kind) -> Self {
        Self { kind, updates: Vec::new() }
    }

    fn document(&self) -> Document {
        Document::build(self.kind, self.updates.iter().cloned())
    }

    fn push(&mut self, updates: Vec<Vec<u8>>) {
        for update in updates {
            self.updates.push((op(self.updates.len()), update));
        }
    }

    fn types(&mut self, who: u64, at: u32, text: &str) -> Vec<Vec<u8>> {
        self.edits(who, &[TextEdit::Insert { at, text: text.to_owned() }])
    }

    fn deletes(&mut self, who: u64, at: u32, length: u32) -> Vec<Vec<u8>> {
        self.edits(who, &[TextEdit::Delete { at, length }])
    }

    fn edits(&mut self, who: u64, edits: &[TextEdit]) -> Vec<Vec<u8>> {
        let updates = self.document().edit_text(ClientId::new(who), edits).unwrap();
        self.push(updates.clone());
        updates
    }

    fn undoes(&mut self, undone: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let updates = self.document().inverse(undone.iter().map(Vec::as_slice));
        self.push(updates.clone());
        updates
    }

    fn text(&self) -> String {
        self.document().text()
    }
}

fn op(number: usize) -> OpRef {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    OpRef::from_bytes(bytes)
}

/// Applies an update where nothing but its arrival may matter.
fn arrives(document: Document, number: usize, update: &[u8], all: &[(OpRef, Vec<u8>)]) -> Document {
    document.apply(op(number), update, || Ok::<_, Infallible>(all.to_vec())).unwrap()
}

/// Chance that repeats itself: splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// An edit that fits `text`: mostly short insertions, some of them of letters of two units.
fn random_edit(chance: &mut Chance, text: &str) -> TextEdit {
    let starts: Vec<u32> = {
        let mut at = 0;
        let starts = text.chars().map(|letter| {
            at += u32::try_from(letter.len_utf16()).unwrap();
            at
        });
        [0].into_iter().chain(starts).collect()
    };
    let from = chance.below(starts.len());
    if chance.below(3) > 0 || from + 1 == starts.len() {
        let words = ["a", "bc", "def ", "\u{e9}", "\u{1f3ad}", "x\u{1f3ad}y", "long word "];
        let text = words[chance.below(words.len())].repeat(1 + chance.below(2));
        return TextEdit::Insert { at: starts[from], text };
    }
    let to = (from + 1 + chance.below(6)).min(starts.len() - 1);
    TextEdit::Delete { at: starts[from], length: starts[to] - starts[from] }
}
