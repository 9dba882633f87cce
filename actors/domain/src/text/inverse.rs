//! Undo: what takes back an update and leaves everybody else's letters alone.
//!
//! The inverse of updates removes the letters they inserted, where still shown, and restores those they deleted, where
//! still deleted. It is an ordinary update, so redo is the inverse of the inverse, to any depth.
//!
//! Yjs cannot bring a deleted letter back; it is written again, right before where it stands. What is written must not
//! depend on who undoes, or two who undo the same at the same time would write different things under one id. So a
//! letter is written behind the one behind which it was first written, and before itself: as by somebody who knew it
//! and what its author knew, and nothing that came later. The client id of restored letters is derived from what is
//! written, pieces and all; the clock of each is its place among all that was deleted. **The same id always means the
//! same letter between the same neighbours.** Therefore Yjs' order of letters stays the same everywhere, and two
//! replicas that undo the same at the same time write the same letters, which stand once. Where letters were restored
//! before and are gone again, those are restored, among what was written around them since. The neighbour before which
//! a letter is written tells which letter it restores; thereby a letter that somebody has restored already is not
//! restored again.
//!
//! Up to [`MAX_APART`] letters are written each for itself, also those that are shown: they are deleted at once, and
//! stand right before themselves unseen. More are written in pieces, divided only where somebody wrote in between: each
//! letter for itself would take twenty times its bytes. All of a piece stands where its first letter does. Therefore only
//! what is not shown is written, and where it stood last: before what it was restored as, or it would come to stand on the
//! other side of letters that came back together with it.
//!
//! **What is not promised.** A letter that two *different* sets of deletions name (one person deletes a word, another
//! at the same time the whole line) stands twice if both are undone at the same time, neither knowing of the other. So
//! does what comes back in pieces, if its undo is made twice at the same time and only one of the two knew of writing
//! within it, or of what of it had come back or gone before; and what had been restored in part before, if a node of an
//! earlier version undoes the same at the same time, since these counted generations otherwise. If one person deletes
//! all that an undo had restored, while another, for the sake of a part, undoes once more, and a third types right before
//! a letter that stands, then what he typed may come to stand behind that letter when the first takes the deletion back.
//! Letters that a browser deleted before it sent them have no content and stay away. If several people deleted the
//! same letter, the undo of one brings it back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::admit::without;
use super::ledger::Ledger;
use super::scan::{Block, Content, Run, Scanned, Span, Unit, item_lengths, scan, scan_op};
use super::write::{letters_offset, updates};
use super::{Document, Kind, RESTORED};

/// Most letters that are restored each for itself: 256. They take about 6 KiB.
const MAX_APART: usize = 256;
/// How many bits of the client id of restored letters are derived from them. Those above count how often they were
/// restored: of letters written behind the same one, Yjs puts those of the higher client nearer to their right
/// neighbour, and what is restored belongs right before what it restores, also where letters stand twice.
const DERIVED_BITS: u32 = 40;
/// After so many times it is no longer counted.
const LAST_GENERATION: u64 = (RESTORED >> DERIVED_BITS) - 1;

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
        let past = Past::of(&state, self.kind(), &self.ledger);
        let removed = past.shown_of(&inserted);
        past.restoration(&without(&deleted, &inserted), removed)
    }
}

/// All that was ever written in a document, and what became of it.
struct Past<'a> {
    kind: Kind,
    ledger: &'a Ledger,
    blocks: BTreeMap<u64, Vec<Block<'a>>>,
    /// What is deleted.
    gone: Vec<Span>,
    /// Which letters were restored as which: the unit is where those of the span were written again. In order, by the
    /// power of two that a span's length reaches, so that those that hold a unit lie close together.
    restored: BTreeMap<u32, Vec<(Span, Unit)>>,
}

impl<'a> Past<'a> {
    fn of(state: &'a [u8], kind: Kind, ledger: &'a Ledger) -> Self {
        let scanned = scan(state, kind).expect("what a document says of itself is of its kind");
        let mut restored: BTreeMap<u32, Vec<(Span, Unit)>> = BTreeMap::new();
        for (span, first) in scanned.runs.iter().filter(|run| run.client >= RESTORED).flat_map(restored_by) {
            restored.entry((span.end - span.start).ilog2()).or_default().push((span, first));
        }
        for spans in restored.values_mut() {
            spans.sort_unstable();
        }
        let blocks = scanned.runs.into_iter().map(|run| (run.client, run.blocks)).collect();
        Self { kind, ledger, blocks, gone: scanned.deletes, restored }
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
            left.extend(self.restorations(unit).map(|(restored, _)| restored));
        }
        shown
    }

    /// As what `unit`, one of `wanted`, was restored last, or itself; and whether it ever was in one piece with others.
    /// What was restored of it and is wanted too stands for itself.
    fn latest(&self, mut unit: Unit, wanted: &[Unit]) -> (Unit, bool) {
        let mut in_a_piece = false;
        let is_other = |restored: &Unit| wanted.binary_search(restored).is_ok();
        let last = |unit| self.restorations(unit).filter(|(restored, _)| !is_other(restored)).max();
        while let Some((restored, piece)) = last(unit) {
            in_a_piece |= !self.is_one_letter(piece);
            unit = restored;
        }
        (unit, in_a_piece)
    }

    fn is_one_letter(&self, span: Span) -> bool {
        let second = Unit { client: span.client, clock: span.start + 1 };
        span.end == second.clock + u32::from(self.ledger.is_half(second))
    }

    /// What `unit` was restored as, and in which piece.
    fn restorations(&self, unit: Unit) -> impl Iterator<Item = (Unit, Span)> {
        self.restored.iter().flat_map(move |(power, spans)| {
            let earliest = unit.clock.saturating_sub((2 << power) - 1);
            let from = spans.partition_point(|(span, _)| (span.client, span.start) < (unit.client, earliest));
            let near = spans[from..]
                .iter()
                .take_while(move |(span, _)| (span.client, span.start) <= (unit.client, unit.clock));
            let hits = near.filter(move |(span, _)| holds(span, unit));
            hits.map(move |(span, first)| (Unit { clock: first.clock + unit.clock - span.start, ..*first }, *span))
        })
    }

    fn shown_of(&self, spans: &[Span]) -> Vec<Span> {
        let shown = self.known_units(spans).flat_map(|unit| self.shown_as(unit));
        union(shown.map(single).collect())
    }

    /// How many units were written under a client id.
    fn known(&self, client: u64) -> u32 {
        self.blocks.get(&client).and_then(|blocks| blocks.last()).map_or(0, Block::end)
    }

    fn known_units(&self, spans: &[Span]) -> impl Iterator<Item = Unit> {
        spans.iter().flat_map(move |span| {
            let client = span.client;
            (span.start..span.end.min(self.known(client))).map(move |clock| Unit { client, clock })
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
        let in_pieces = wanted.len() > MAX_APART || wanted.iter().any(|unit| self.latest(*unit, &wanted).1);
        let (run, doubles) =
            if in_pieces { (self.lacking(&wanted, &is_shown), vec![]) } else { self.apart(wanted, &is_shown) };
        updates(self.kind, Scanned { runs: vec![run], deletes: union(removed.into_iter().chain(doubles).collect()) })
    }

    /// Each of `wanted` written again for itself. What is shown already is written too, because clocks count all that
    /// was deleted, and is to be deleted at once.
    fn apart(&self, wanted: Vec<Unit>, is_shown: &[bool]) -> (Run<'a>, Vec<Span>) {
        let (client, pieces) = self.restorer(wanted, None);
        let doubles = (0..).zip(is_shown).filter(|(_, is_shown)| **is_shown);
        let doubles = doubles.map(|(clock, _)| single(Unit { client, clock })).collect();
        (Run { client, blocks: self.written_again(&pieces) }, doubles)
    }

    /// What of `wanted` is not shown, written again in pieces, where it stood last.
    fn lacking(&self, wanted: &[Unit], is_shown: &[bool]) -> Run<'a> {
        let lacking = wanted.iter().zip(is_shown).filter(|(_, is_shown)| !**is_shown);
        let lacking = lacking.map(|(unit, _)| self.latest(*unit, wanted).0).collect();
        let (client, pieces) = self.restorer(lacking, Some(&self.written_behind()));
        Run { client, blocks: self.written_again(&pieces) }
    }

    /// Under which client id `wanted`, which is in order, is written again, and in which pieces. Where all of it was
    /// restored before, that is restored.
    fn restorer(&self, mut wanted: Vec<Unit>, divided: Option<&BTreeSet<Unit>>) -> (u64, Vec<Span>) {
        loop {
            let pieces = self.pieces(&wanted, divided);
            let Some(client) = self.restored_under(&pieces) else {
                return (self.client_of(&pieces, self.generations(&pieces)[0]), pieces);
            };
            wanted = (0..).map(|clock| Unit { client, clock }).take(wanted.len()).collect();
        }
    }

    /// Under which client id `pieces` were written again, if they were.
    fn restored_under(&self, pieces: &[Span]) -> Option<u64> {
        let clients = self.generations(pieces).map(|generation| self.client_of(pieces, generation));
        clients.into_iter().find(|client| self.blocks.contains_key(client))
    }

    /// The generation of what restores `pieces`, and the one that it had in earlier versions.
    ///
    /// Of two that are written right before the same letter, Yjs puts the higher client nearer to it. While a letter is
    /// shown, there can be one already: written unseen, because others of what it was restored with were restored once
    /// more. That is one generation beyond the letter, and restores the whole of what it was restored with. Whatever else
    /// restores it lies one further, and so behind what was typed before the letter meanwhile.
    fn generations(&self, pieces: &[Span]) -> [u64; 2] {
        let latest = pieces.iter().map(|piece| generation(piece.client)).max().unwrap_or(0);
        let one_restoration = latest == 0 || self.is_whole(pieces);
        [latest + if one_restoration { 1 } else { 2 }, latest + 1].map(|next| next.min(LAST_GENERATION))
    }

    /// Whether `pieces` are everything that was written under one client id.
    fn is_whole(&self, pieces: &[Span]) -> bool {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return false };
        let lengths: u32 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        first.client == last.client && lengths == self.known(first.client)
    }

    /// What of `wanted` is written in one go: single letters, or whatever is not `divided`.
    fn pieces(&self, wanted: &[Unit], divided: Option<&BTreeSet<Unit>>) -> Vec<Span> {
        let in_one_go = |a: &Unit, b: &Unit| {
            divided.is_some_and(|divided| self.origin(*b) == Some(*a) && !divided.contains(a))
                || self.ledger.is_half(*b)
        };
        let pieces = wanted.chunk_by(|a, b| follows(*a, *b) && in_one_go(a, b));
        pieces.map(|piece| Span { end: piece[piece.len() - 1].clock + 1, ..single(piece[0]) }).collect()
    }

    /// The client id of `pieces` in a generation: the first derived from them under which nothing was written, or they
    /// were. Under others somebody has forged something.
    fn client_of(&self, pieces: &[Span], generation: u64) -> u64 {
        let content = self.content(pieces);
        let holds_them = |client| self.content(&[Span { client, start: 0, end: self.known(client) }]) == content;
        let is_theirs = |client: &u64| !self.blocks.contains_key(client) || holds_them(*client);
        derived(pieces, generation).find(is_theirs).expect("there is always a next one")
    }

    /// The units right behind which somebody wrote something else than the next of the same client.
    fn written_behind(&self) -> BTreeSet<Unit> {
        let blocks = self.blocks.iter().flat_map(|(client, blocks)| blocks.iter().map(|block| (*client, block)));
        let origin = |(client, block): (u64, &Block<'_>)| {
            block.origin.filter(|origin| !follows(*origin, Unit { client, clock: block.clock }))
        };
        blocks.filter_map(origin).collect()
    }

    /// The unit behind which `unit` was written.
    fn origin(&self, unit: Unit) -> Option<Unit> {
        let block = self.block(unit)?;
        if block.clock < unit.clock { Some(Unit { clock: unit.clock - 1, ..unit }) } else { block.origin }
    }

    /// `pieces` written again, each between the left neighbour of its first unit and that unit.
    fn written_again(&self, pieces: &[Span]) -> Vec<Block<'a>> {
        let mut clock = 0;
        let again = |piece: &Span| {
            let first = Unit { client: piece.client, clock: piece.start };
            let len = piece.end - piece.start;
            clock += len;
            let (origin, content) = (self.origin(first), self.content(std::slice::from_ref(piece)));
            Block { clock: clock - len, len, origin, right: Some(first), content }
        };
        pieces.iter().map(again).collect()
    }

    /// What the units of `spans` are made of.
    fn content(&self, spans: &[Span]) -> Content<'a> {
        let (mut letters, mut items) = (String::new(), Vec::new());
        for (block, from, to) in spans.iter().flat_map(|span| self.parts(span)) {
            match &block.content {
                Content::Letters(all) => letters.push_str(letters_between(all, from, to)),
                Content::Items(all) => items.extend_from_slice(items_between(all, from, to)),
                Content::Gone => {}
            }
        }
        match self.kind {
            Kind::Text => Content::Letters(Cow::Owned(letters)),
            Kind::List => Content::Items(Cow::Owned(items)),
        }
    }

    /// The blocks that have a part in `span`, and from where to where in each.
    fn parts(&self, span: &Span) -> impl Iterator<Item = (&Block<'a>, u32, u32)> {
        let blocks = self.blocks.get(&span.client).map_or(&[][..], Vec::as_slice);
        let (start, end) = (span.start, span.end);
        let from = blocks.partition_point(move |block| block.end() <= start);
        let within = blocks[from..].iter().take_while(move |block| block.clock < end);
        within.map(move |block| (block, start.max(block.clock) - block.clock, end.min(block.end()) - block.clock))
    }
}

/// The client ids that are derived from `pieces` in a generation, without end.
fn derived(pieces: &[Span], generation: u64) -> impl Iterator<Item = u64> + use<> {
    let mut hasher = blake3::Hasher::new_derive_key("OpenProd 2026 client id of restored letters");
    for piece in pieces {
        hasher.update(&piece.client.to_le_bytes());
        hasher.update(&piece.start.to_le_bytes());
        hasher.update(&piece.end.to_le_bytes());
    }
    let common = RESTORED | (generation << DERIVED_BITS);
    let mut bytes = hasher.finalize_xof();
    std::iter::repeat_with(move || {
        let mut next = [0; 8];
        bytes.fill(&mut next);
        common | (u64::from_le_bytes(next) & ((1 << DERIVED_BITS) - 1))
    })
}

/// How often the letters of `client` were restored: not at all, or once more than what they restore.
fn generation(client: u64) -> u64 {
    if client < RESTORED { 0 } else { (client & (RESTORED - 1)) >> DERIVED_BITS }
}

fn follows(a: Unit, b: Unit) -> bool {
    a.client == b.client && a.clock + 1 == b.clock
}

fn letters_between(letters: &str, from: u32, to: u32) -> &str {
    let offset = |units| letters_offset(letters, units).unwrap_or(letters.len());
    &letters[offset(from)..offset(to)]
}

fn items_between(items: &[u8], from: u32, to: u32) -> &[u8] {
    let offset = |units| item_lengths(items).take(units as usize).sum();
    &items[offset(from)..offset(to)]
}

/// What the letters of `run`, all restored ones, restore: those from the one on before which they were written.
fn restored_by(run: &Run<'_>) -> Vec<(Span, Unit)> {
    let goes_on = |a: &Block<'_>, b: &Block<'_>| {
        b.right == a.right && b.origin == Some(Unit { client: run.client, clock: a.end() - 1 })
    };
    let piece = |blocks: &[Block<'_>]| {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let right = first.right?;
        let end = right.clock.checked_add(last.end() - first.clock)?;
        let span = Span { client: right.client, start: right.clock, end };
        Some((span, Unit { client: run.client, clock: first.clock }))
    };
    run.blocks.chunk_by(goes_on).filter_map(piece).collect()
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
