//! Writes updates, in lib0's update encoding, version 1, and divides what is too much for one.

use std::borrow::Cow;

use super::scan::{Block, Content, Run, Scanned, Span, Unit, item_lengths, utf16_len};
use super::{Kind, MAX_UPDATE_BYTES};

/// Most bytes of content in one block of what is divided: two fit into an update, with all that surrounds them.
const PIECE_BYTES: usize = MAX_UPDATE_BYTES / 2 - 1024;
/// More than a block takes beside its content, a deletion takes, or an update takes beside both.
const BESIDE_BYTES: usize = 64;

/// The bytes of one update.
pub(super) fn update(kind: Kind, scanned: &Scanned<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(&mut bytes, scanned.runs.len() as u64);
    for run in &scanned.runs {
        number(&mut bytes, run.blocks.len() as u64);
        number(&mut bytes, run.client);
        number(&mut bytes, u64::from(run.start()));
        run.blocks.iter().for_each(|block| write_block(&mut bytes, kind, block));
    }
    let clients: Vec<&[Span]> = scanned.deletes.chunk_by(|a, b| a.client == b.client).collect();
    number(&mut bytes, clients.len() as u64);
    for spans in clients {
        number(&mut bytes, spans[0].client);
        number(&mut bytes, spans.len() as u64);
        for span in spans {
            number(&mut bytes, u64::from(span.start));
            number(&mut bytes, u64::from(span.end - span.start));
        }
    }
    bytes
}

/// The bytes of as many updates as are needed, each of one client and short enough; together they are `scanned`.
pub(super) fn updates(kind: Kind, scanned: Scanned<'_>) -> Vec<Vec<u8>> {
    let (mut all, mut open, mut size) = (Vec::new(), Scanned::default(), 0);
    let mut make_room = |open: &mut Scanned<'_>, needed: usize, other_client: bool| {
        if size + needed + BESIDE_BYTES > MAX_UPDATE_BYTES || other_client {
            all.push(update(kind, &std::mem::take(open)));
            size = 0;
        }
        size += needed;
    };
    for Run { client, blocks } in scanned.runs {
        for block in blocks.into_iter().flat_map(|block| pieces(client, block)) {
            let is_other = open.runs.first().is_some_and(|run: &Run<'_>| run.client != client);
            make_room(&mut open, content_bytes(&block) + BESIDE_BYTES, is_other);
            match open.runs.first_mut() {
                Some(run) => run.blocks.push(block),
                None => open.runs.push(Run { client, blocks: vec![block] }),
            }
        }
    }
    for span in scanned.deletes {
        make_room(&mut open, BESIDE_BYTES / 2, false);
        open.deletes.push(span);
    }
    if open != Scanned::default() {
        all.push(update(kind, &open));
    }
    all
}

/// The rest of `block` from `clock` on, as its author would have written it had the first part gone out before.
/// None if that would divide a letter.
pub(super) fn rest_of<'a>(client: u64, block: &Block<'a>, clock: u32) -> Option<Block<'a>> {
    let content = match &block.content {
        Content::Letters(text) => Content::Letters(slice(text, letters_offset(text, clock - block.clock)?)),
        Content::Items(items) => {
            let at = item_lengths(items).take((clock - block.clock) as usize).sum();
            Content::Items(match items {
                Cow::Borrowed(items) => Cow::Borrowed(&items[at..]),
                Cow::Owned(items) => Cow::Owned(items[at..].to_vec()),
            })
        }
        Content::Gone => Content::Gone,
    };
    let origin = Some(Unit { client, clock: clock - 1 });
    Some(Block { clock, len: block.end() - clock, origin, right: block.right, content })
}

fn slice<'a>(text: &Cow<'a, str>, from: usize) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..]),
        Cow::Owned(text) => Cow::Owned(text[from..].to_owned()),
    }
}

/// The byte at which the UTF-16 unit `units` of `text` begins; none within a letter.
pub(super) fn letters_offset(text: &str, units: u32) -> Option<usize> {
    let mut passed = 0;
    for (at, letter) in text.char_indices() {
        if passed >= units as usize {
            return (passed == units as usize).then_some(at);
        }
        passed += letter.len_utf16();
    }
    (passed == units as usize).then_some(text.len())
}

fn content_bytes(block: &Block<'_>) -> usize {
    match &block.content {
        Content::Letters(text) => text.len(),
        Content::Items(items) => items.len(),
        Content::Gone => 0,
    }
}

/// `block` in parts of at most [`PIECE_BYTES`] of content (a single item may be longer).
fn pieces(client: u64, block: Block<'_>) -> impl Iterator<Item = Block<'_>> {
    let mut rest = Some(block);
    std::iter::from_fn(move || {
        let mut block = rest.take()?;
        if let Some((units, bytes)) = cut(&block) {
            rest = rest_of(client, &block, block.clock + units);
            block.len = units;
            block.content = match block.content {
                Content::Letters(text) => Content::Letters(Cow::Owned(text[..bytes].to_owned())),
                Content::Items(items) => Content::Items(Cow::Owned(items[..bytes].to_vec())),
                Content::Gone => Content::Gone,
            };
        }
        Some(block)
    })
}

/// Where to cut the first piece off: behind how many units, which are how many bytes. None if nothing remains.
fn cut(block: &Block<'_>) -> Option<(u32, usize)> {
    match &block.content {
        Content::Letters(text) if text.len() > PIECE_BYTES => {
            let bytes = text.floor_char_boundary(PIECE_BYTES);
            Some((utf16_len(&text[..bytes]), bytes))
        }
        Content::Items(items) if items.len() > PIECE_BYTES => {
            let (mut units, mut bytes) = (0, 0);
            for length in item_lengths(items).take_while(|length| units_fit(&mut bytes, *length)) {
                units += u32::from(length > 0);
            }
            (units < block.len).then_some((units, bytes))
        }
        _ => None,
    }
}

fn units_fit(bytes: &mut usize, length: usize) -> bool {
    let fits = *bytes == 0 || *bytes + length <= PIECE_BYTES;
    if fits {
        *bytes += length;
    }
    fits
}

fn write_block(bytes: &mut Vec<u8>, kind: Kind, block: &Block<'_>) {
    let what = match block.content {
        Content::Gone => 1,
        Content::Letters(_) => 4,
        Content::Items(_) => 8,
    };
    bytes.push(what | if block.origin.is_some() { 0x80 } else { 0 } | if block.right.is_some() { 0x40 } else { 0 });
    for unit in block.origin.iter().chain(&block.right) {
        number(bytes, unit.client);
        number(bytes, u64::from(unit.clock));
    }
    if block.origin.is_none() && block.right.is_none() {
        bytes.push(1);
        text(bytes, kind.root().as_bytes());
    }
    match &block.content {
        Content::Gone => number(bytes, u64::from(block.len)),
        Content::Letters(letters) => text(bytes, letters.as_bytes()),
        Content::Items(items) => {
            number(bytes, u64::from(block.len));
            bytes.extend_from_slice(items);
        }
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

fn number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}
