//! Undo: what takes back an update and leaves everybody else's letters alone.
//!
//! The inverse of updates removes the letters they inserted, where still shown, and restores those they deleted, where
//! still deleted. It is an ordinary update, so redo is the inverse of the inverse, to any depth.
//!
//! Yjs cannot bring a deleted letter back; it is written again, right behind where it stood. Whose letter that is must
//! not depend on who undoes: the client id of restored letters is derived from what was deleted (and counted on where
//! that id has been used), the clock of each is its place among all that was deleted. So two replicas that undo the
//! same at the same time write the same letters, and they stand once. The neighbour behind which a letter is written
//! tells which letter it restores; thereby a letter that somebody has restored already is not restored again.
//!
//! **What is not promised.** A letter that two *different* sets of deletions name (one person deletes a word, another
//! at the same time the whole line) stands twice if both are undone at the same time, neither knowing of the other.
//! Letters that a browser deleted before it sent them have no content and stay away. If several people deleted the
//! same letter, the undo of one brings it back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use yrs::encoding::read::Cursor;
use yrs::{Any, Array, Assoc, ClientID, ID, StickyIndex, Text, Transact};

use super::admit::without;
use super::scan::{Block, Content, Run, Scanned, Span, Unit, item_lengths, scan, scan_op};
use super::write::{letters_offset, update, updates};
use super::{Document, Kind, RESTORED, Replica, Root};

/// Most letters without content that are given a stand-in while places are looked up.
const MAX_STAND_INS: u32 = 16 * 1024 * 1024;

impl Document {
    /// The updates that take back `undone`: what one bundle has done to this field, as it is in the log. None if
    /// nothing of it is left to take back. What of `undone` makes no sense here is passed over.
    pub fn inverse<'u>(&self, undone: impl IntoIterator<Item = &'u [u8]>) -> Vec<Vec<u8>> {
        let (mut inserted, mut deleted) = (Vec::new(), Vec::new());
        for scanned in undone.into_iter().filter_map(|bytes| scan_op(bytes, self.kind()).ok()) {
            let span = |run: &Run<'_>| Span { client: run.client, start: run.start(), end: run.end() };
            let written: Vec<Span> = scanned.runs.iter().map(span).collect();
            if !self.ledger.divides(&written) && !self.ledger.divides(&scanned.deletes) {
                inserted.extend(written);
                deleted.extend(scanned.deletes);
            }
        }
        let (inserted, deleted) = (union(inserted), union(deleted));
        let state = self.encode_state();
        let past = Past::of(&state, self.kind());
        let removed = past.shown_of(&inserted);
        past.restoration(&without(&deleted, &inserted), removed)
    }
}

/// All that was ever written in a document, and what became of it.
struct Past<'a> {
    kind: Kind,
    blocks: BTreeMap<u64, Vec<Block<'a>>>,
    /// What is deleted.
    gone: Vec<Span>,
    /// Which letters were restored as which: the first is where those of the span were written again.
    restored: Vec<(Span, Unit)>,
}

impl<'a> Past<'a> {
    fn of(state: &'a [u8], kind: Kind) -> Self {
        let scanned = scan(state, kind).expect("what a document says of itself is of its kind");
        let restored = scanned.runs.iter().filter(|run| run.client >= RESTORED).flat_map(restored_by);
        let mut restored: Vec<(Span, Unit)> = restored.collect();
        restored.sort_unstable();
        let blocks = scanned.runs.into_iter().map(|run| (run.client, run.blocks)).collect();
        Self { kind, blocks, gone: scanned.deletes, restored }
    }

    fn block(&self, unit: Unit) -> Option<&Block<'a>> {
        let blocks = self.blocks.get(&unit.client)?;
        let block = blocks.get(blocks.partition_point(|block| block.end() <= unit.clock))?;
        (block.clock <= unit.clock).then_some(block)
    }

    fn is_shown(&self, unit: Unit) -> bool {
        let at = self.gone.partition_point(|span| (span.client, span.end) <= (unit.client, unit.clock));
        let is_gone = self.gone.get(at).is_some_and(|span| holds(span, unit));
        !is_gone && self.block(unit).is_some_and(|block| block.content != Content::Gone)
    }

    /// The letters that are shown of `unit`: itself, or what it was restored as.
    fn shown_as(&self, unit: Unit) -> Vec<Unit> {
        let (mut shown, mut left) = (Vec::new(), vec![unit]);
        while let Some(unit) = left.pop() {
            if self.is_shown(unit) {
                shown.push(unit);
            }
            let from = self.restored.partition_point(|(span, _)| span.client < unit.client);
            let of_client = self.restored[from..].iter().take_while(|(span, _)| span.client == unit.client);
            for (span, first) in of_client.filter(|(span, _)| holds(span, unit)) {
                left.push(Unit { clock: first.clock + unit.clock - span.start, ..*first });
            }
        }
        shown
    }

    fn shown_of(&self, spans: &[Span]) -> Vec<Span> {
        let shown = self.known_units(spans).flat_map(|unit| self.shown_as(unit));
        union(shown.map(single).collect())
    }

    fn known_units(&self, spans: &[Span]) -> impl Iterator<Item = Unit> {
        let known = |client: u64| self.blocks.get(&client).and_then(|blocks| blocks.last()).map_or(0, Block::end);
        spans.iter().flat_map(move |span| {
            let client = span.client;
            (span.start..span.end.min(known(client))).map(move |clock| Unit { client, clock })
        })
    }

    /// The updates that delete `removed`, and write again what of `deleted` is not shown.
    fn restoration(&self, deleted: &[Span], removed: Vec<Span>) -> Vec<Vec<u8>> {
        let has_content = |unit: &Unit| self.block(*unit).is_some_and(|block| block.content != Content::Gone);
        let wanted: Vec<Unit> = self.known_units(deleted).filter(has_content).collect();
        let is_shown: Vec<bool> = wanted.iter().map(|unit| !self.shown_as(*unit).is_empty()).collect();
        if is_shown.iter().all(|is_shown| *is_shown) {
            return updates(self.kind, Scanned { runs: Vec::new(), deletes: removed });
        }
        let client = self.restorer(&wanted);
        let written = self.write_again(client, &wanted);
        let mut scanned = scan(&written, self.kind).expect("what is written here is of this kind");
        // What is shown already is written too, because clocks count all that was deleted, and deleted at once.
        let doubles = (0..).zip(&is_shown).filter(|(_, is_shown)| **is_shown);
        let doubles = doubles.map(|(clock, _)| single(Unit { client, clock }));
        scanned.deletes = union(removed.into_iter().chain(doubles).collect());
        updates(self.kind, scanned)
    }

    /// The client id of what is restored of `wanted`: the first of those derived from it that is not used.
    fn restorer(&self, wanted: &[Unit]) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("OpenProd 2026 client id of restored letters");
        for span in union(wanted.iter().copied().map(single).collect()) {
            hasher.update(&span.client.to_le_bytes());
            hasher.update(&span.start.to_le_bytes());
            hasher.update(&span.end.to_le_bytes());
        }
        let mut bytes = hasher.finalize_xof();
        loop {
            let mut next = [0; 8];
            bytes.fill(&mut next);
            let client = RESTORED | (u64::from_le_bytes(next) & (RESTORED - 1));
            if !self.blocks.contains_key(&client) {
                return client;
            }
        }
    }

    /// `wanted` written again by `client`, each letter behind where it stood, as one update of any length.
    fn write_again(&self, client: u64, wanted: &[Unit]) -> Vec<u8> {
        let everything = self.with_nothing_deleted(client);
        let mut transaction = everything.doc.transact_mut();
        let in_one_block = |a: &Unit, b: &Unit| {
            a.client == b.client && a.clock + 1 == b.clock && self.block(*a).is_some_and(|block| b.clock < block.end())
        };
        for piece in wanted.chunk_by(in_one_block) {
            let (first, last) = (piece[0], piece[piece.len() - 1]);
            let id = ID::new(ClientID::new(last.client), last.clock);
            let place = StickyIndex::from_id(id, Assoc::Before).get_offset(&transaction);
            let at = place.expect("what was written has a place").index;
            let block = self.block(first).expect("what is wanted has content");
            let (from, to) = (first.clock - block.clock, last.clock + 1 - block.clock);
            match (&everything.root, &block.content) {
                (Root::Text(root), Content::Letters(letters)) => {
                    root.insert(&mut transaction, at, letters_between(letters, from, to));
                }
                (Root::List(root), Content::Items(items)) => {
                    root.insert_range(&mut transaction, at, items_between(items, from, to));
                }
                _ => {}
            }
        }
        transaction.commit();
        transaction.encode_update_v1()
    }

    /// The document as it would be if nobody had ever deleted anything: every letter has a place in it.
    fn with_nothing_deleted(&self, client: u64) -> Replica {
        let gone = self.blocks.values().flatten().filter(|block| block.content == Content::Gone);
        let stand_in = gone.map(|block| block.len).try_fold(0u32, u32::checked_add).is_some_and(|n| n <= MAX_STAND_INS);
        let restore = |block: &Block<'a>| {
            let mut block = block.clone();
            if stand_in && block.content == Content::Gone {
                block.content = self.stand_in(block.len as usize);
            }
            block
        };
        // Higher clients first, as Yrs does: it finds its way through conflicts faster.
        let runs = self.blocks.iter().rev();
        let runs = runs.map(|(client, blocks)| Run { client: *client, blocks: blocks.iter().map(restore).collect() });
        let everything = Replica::new(self.kind, client);
        let bytes = update(self.kind, &Scanned { runs: runs.collect(), deletes: Vec::new() });
        everything.integrate(&bytes).expect("what a document says of itself can be applied");
        everything
    }

    fn stand_in(&self, len: usize) -> Content<'a> {
        const NULL: u8 = 126;
        match self.kind {
            Kind::Text => Content::Letters(Cow::Owned(" ".repeat(len))),
            Kind::List => Content::Items(Cow::Owned(vec![NULL; len])),
        }
    }
}

fn letters_between(letters: &str, from: u32, to: u32) -> &str {
    let offset = |units| letters_offset(letters, units).unwrap_or(letters.len());
    &letters[offset(from)..offset(to)]
}

fn items_between(items: &[u8], from: u32, to: u32) -> Vec<Any> {
    let before = item_lengths(items).take(from as usize).sum();
    let mut cursor = Cursor::new(&items[before..]);
    (from..to).map_while(|_| Any::decode(&mut cursor).ok()).collect()
}

/// What the letters of `run`, all restored ones, restore: those before which they stand, up to their origin.
fn restored_by(run: &Run<'_>) -> Vec<(Span, Unit)> {
    let follows = |a: &Block<'_>, b: &Block<'_>| b.origin == Some(Unit { client: run.client, clock: a.end() - 1 });
    let piece = |blocks: &[Block<'_>]| {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let origin = first.origin?;
        let end = origin.clock + 1;
        let start = end.checked_sub(last.end() - first.clock)?;
        Some((Span { client: origin.client, start, end }, Unit { client: run.client, clock: first.clock }))
    };
    run.blocks.chunk_by(follows).filter_map(piece).collect()
}

fn holds(span: &Span, unit: Unit) -> bool {
    span.client == unit.client && (span.start..span.end).contains(&unit.clock)
}

fn single(unit: Unit) -> Span {
    Span { client: unit.client, start: unit.clock, end: unit.clock + 1 }
}

/// The units of `spans`, in order, apart, neighbours joined.
pub(super) fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let touches = last.client == next.client && next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    spans
}
