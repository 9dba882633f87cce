//! Reads an update byte by byte before Yrs does, and lets pass only what a field's document is made of.
//!
//! The format is lib0's update encoding, version 1, as Yjs writes it: blocks by client, then deletions by client. Yrs
//! accepts far more than text and lists are made of (nested documents, maps, values within values, gaps), and most of
//! what has made it panic or ask for memory lies there. So this grammar is narrow: one root, letters or flat values,
//! no gaps, every declared count and length held against the bytes that are there, every clock within [`MAX_CLOCK`].

use std::borrow::Cow;

use super::{Kind, MAX_CLIENT, MAX_ITEM_BYTES, MAX_UPDATE_BYTES};

/// Highest clock: Yrs subtracts clocks as signed 32-bit numbers.
pub(super) const MAX_CLOCK: u32 = i32::MAX as u32;

const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT: u8 = 0x40;
const GONE: u8 = 1;
const LETTERS: u8 = 4;
const ITEMS: u8 = 8;

/// Why an update is left out of what a field shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// More bytes than an update may have.
    #[error("it is {0} bytes long, more than an update may be")]
    TooLong(usize),
    /// Its bytes end within something, or go on behind the end.
    #[error("its bytes do not end where its contents do")]
    Ends,
    /// A number that is out of its range.
    #[error("it holds a number out of range")]
    Number,
    /// Blocks of several clients, where one author writes as one.
    #[error("it holds the writing of several clients")]
    Clients,
    /// A parent other than the root of this kind of field.
    #[error("it writes to another root than this field's")]
    Root,
    /// Content of which this kind of field is not made.
    #[error("it holds something else than {0}")]
    Content(&'static str),
    /// Text that is not UTF-8 or holds a NUL, or an item that is longer than allowed.
    #[error("it holds text that is no text")]
    Text,
    /// Deletions that are empty, overlap or are not in order.
    #[error("its deletions are not in order")]
    Deletions,
    /// A boundary in the middle of a letter of two UTF-16 units.
    #[error("it divides a letter")]
    DividesLetter,
    /// It builds on a unit that no other update of the field has brought.
    #[error("it builds on something that has not arrived")]
    Waiting,
    /// It goes on from units that another update has written under the same client id.
    #[error("it claims what another update has written")]
    Claimed,
    /// Yrs could not read it.
    #[error("it cannot be read")]
    Unreadable,
    /// Yrs gave up on it.
    #[error("it cannot be applied")]
    Inapplicable,
}

/// One letter (a UTF-16 unit) of a text or one item of a list: who made it, and its number among theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Unit {
    pub(super) client: u64,
    pub(super) clock: u32,
}

/// Units of one client with consecutive clocks, `start` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) client: u64,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What a block is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Letters of a text.
    Letters(Cow<'a, str>),
    /// Items of a list as lib0 encodes them, one behind the other.
    Items(Cow<'a, [u8]>),
    /// Units that were deleted before anybody saw them.
    Gone,
}

/// Units that were written in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) clock: u32,
    /// Its number of units, at least one.
    pub(super) len: u32,
    /// The unit behind which it was written.
    pub(super) origin: Option<Unit>,
    /// The unit before which it was written.
    pub(super) right: Option<Unit>,
    pub(super) content: Content<'a>,
}

/// The blocks of one client; each begins where the one before it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) client: u64,
    pub(super) blocks: Vec<Block<'a>>,
}

/// An update, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scanned<'a> {
    pub(super) runs: Vec<Run<'a>>,
    /// What it deletes: by client, ascending, apart.
    pub(super) deletes: Vec<Span>,
}

impl Block<'_> {
    pub(super) fn end(&self) -> u32 {
        self.clock + self.len
    }
}

impl Run<'_> {
    pub(super) fn start(&self) -> u32 {
        self.blocks.first().map_or(0, |block| block.clock)
    }

    pub(super) fn end(&self) -> u32 {
        self.blocks.last().map_or(0, Block::end)
    }
}

/// Reads the update of one op.
pub(super) fn scan_op(bytes: &[u8], kind: Kind) -> Result<Scanned<'_>, Flaw> {
    if bytes.len() > MAX_UPDATE_BYTES {
        return Err(Flaw::TooLong(bytes.len()));
    }
    let scanned = scan(bytes, kind)?;
    if scanned.runs.len() > 1 { Err(Flaw::Clients) } else { Ok(scanned) }
}

/// Reads an update of several clients and any length.
pub(super) fn scan(bytes: &[u8], kind: Kind) -> Result<Scanned<'_>, Flaw> {
    let mut walker = Walker { rest: bytes, kind };
    let runs = walker.runs()?;
    let deletes = walker.deletes()?;
    if walker.rest.is_empty() { Ok(Scanned { runs, deletes }) } else { Err(Flaw::Ends) }
}

/// Reads a state vector: of each client, the first clock that is not known.
pub(super) fn scan_known(bytes: &[u8]) -> Result<Vec<Unit>, Flaw> {
    let mut walker = Walker { rest: bytes, kind: Kind::Text };
    let count = walker.count()?;
    let known = (0..count).map(|_| walker.unit()).collect::<Result<_, _>>()?;
    if walker.rest.is_empty() { Ok(known) } else { Err(Flaw::Ends) }
}

/// The lengths in bytes of the values that `items` is made of.
pub(super) fn item_lengths(items: &[u8]) -> impl Iterator<Item = usize> {
    let mut walker = Walker { rest: items, kind: Kind::List };
    std::iter::from_fn(move || {
        let before = walker.rest.len();
        walker.item().ok().map(|()| before - walker.rest.len())
    })
}

struct Walker<'a> {
    rest: &'a [u8],
    kind: Kind,
}

impl<'a> Walker<'a> {
    fn byte(&mut self) -> Result<u8, Flaw> {
        let (first, rest) = self.rest.split_first().ok_or(Flaw::Ends)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Flaw::Ends)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of at most eight groups of seven bits, the lowest first, up to `max`.
    fn number(&mut self, max: u64) -> Result<u64, Flaw> {
        let mut number = 0;
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if number <= max { Ok(number) } else { Err(Flaw::Number) };
            }
        }
        Err(Flaw::Number)
    }

    /// How many things follow: never more than there are bytes, so that nothing is reserved for what cannot come.
    fn count(&mut self) -> Result<usize, Flaw> {
        let max = self.rest.len() as u64;
        Ok(usize::try_from(self.number(max)?).unwrap_or(usize::MAX))
    }

    fn clock(&mut self) -> Result<u32, Flaw> {
        let number = self.number(u64::from(MAX_CLOCK))?;
        u32::try_from(number).map_err(|_| Flaw::Number)
    }

    fn client(&mut self) -> Result<u64, Flaw> {
        self.number(MAX_CLIENT)
    }

    fn unit(&mut self) -> Result<Unit, Flaw> {
        Ok(Unit { client: self.client()?, clock: self.clock()? })
    }

    fn text(&mut self) -> Result<&'a str, Flaw> {
        let length = self.count()?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Flaw::Text)?;
        if text.contains('\0') { Err(Flaw::Text) } else { Ok(text) }
    }

    fn runs(&mut self) -> Result<Vec<Run<'a>>, Flaw> {
        let count = self.count()?;
        let mut runs = Vec::with_capacity(count.min(1));
        for _ in 0..count {
            runs.push(self.run()?);
        }
        if runs.len() < 2 {
            return Ok(runs);
        }
        let mut clients: Vec<u64> = runs.iter().map(|run: &Run<'_>| run.client).collect();
        clients.sort_unstable();
        if clients.is_sorted_by(|a, b| a < b) { Ok(runs) } else { Err(Flaw::Clients) }
    }

    fn run(&mut self) -> Result<Run<'a>, Flaw> {
        let count = self.count()?;
        let client = self.client()?;
        let mut clock = self.clock()?;
        // Most updates are one block; more are paid for as they come.
        let mut blocks = Vec::with_capacity(count.min(1));
        for _ in 0..count {
            let block = self.block(clock)?;
            clock = block.end();
            blocks.push(block);
        }
        if blocks.is_empty() { Err(Flaw::Number) } else { Ok(Run { client, blocks }) }
    }

    fn block(&mut self, clock: u32) -> Result<Block<'a>, Flaw> {
        let info = self.byte()?;
        let origin = if info & HAS_ORIGIN == 0 { None } else { Some(self.unit()?) };
        let right = if info & HAS_RIGHT == 0 { None } else { Some(self.unit()?) };
        if origin.is_none() && right.is_none() {
            self.root()?;
        }
        let (len, content) = self.content(info & !(HAS_ORIGIN | HAS_RIGHT))?;
        match clock.checked_add(len) {
            Some(end) if len > 0 && end <= MAX_CLOCK => Ok(Block { clock, len, origin, right, content }),
            _ => Err(Flaw::Number),
        }
    }

    fn root(&mut self) -> Result<(), Flaw> {
        let is_named = self.byte()? == 1;
        if is_named && self.text()? == self.kind.root() { Ok(()) } else { Err(Flaw::Root) }
    }

    fn content(&mut self, what: u8) -> Result<(u32, Content<'a>), Flaw> {
        match (what, self.kind) {
            (GONE, _) => {
                let max = MAX_UPDATE_BYTES as u64;
                let len = self.number(max)?;
                Ok((u32::try_from(len).map_err(|_| Flaw::Number)?, Content::Gone))
            }
            (LETTERS, Kind::Text) => {
                let text = self.text()?;
                Ok((utf16_len(text), Content::Letters(Cow::Borrowed(text))))
            }
            (ITEMS, Kind::List) => self.items(),
            (_, kind) => Err(Flaw::Content(kind.contents())),
        }
    }

    fn items(&mut self) -> Result<(u32, Content<'a>), Flaw> {
        let count = self.count()?;
        let before = self.rest;
        for _ in 0..count {
            self.item()?;
        }
        let bytes = &before[..before.len() - self.rest.len()];
        Ok((u32::try_from(count).map_err(|_| Flaw::Number)?, Content::Items(Cow::Borrowed(bytes))))
    }

    /// A value without values in it: yes and no, numbers, text.
    fn item(&mut self) -> Result<(), Flaw> {
        match self.byte()? {
            120 | 121 => Ok(()),
            122 | 123 => self.take(8).map(|_| ()),
            124 => self.take(4).map(|_| ()),
            125 => self.number(u64::MAX).map(|_| ()),
            119 if self.text()?.len() <= MAX_ITEM_BYTES => Ok(()),
            119 => Err(Flaw::Text),
            _ => Err(Flaw::Content(Kind::List.contents())),
        }
    }

    fn deletes(&mut self) -> Result<Vec<Span>, Flaw> {
        let mut spans = Vec::new();
        for _ in 0..self.count()? {
            let client = self.client()?;
            let count = self.count()?;
            let first = spans.len();
            for _ in 0..count {
                let (start, len) = (self.clock()?, self.clock()?);
                let end = start.checked_add(len).filter(|end| len > 0 && *end <= MAX_CLOCK).ok_or(Flaw::Deletions)?;
                if spans[first..].last().is_some_and(|last: &Span| start < last.end) {
                    return Err(Flaw::Deletions);
                }
                spans.push(Span { client, start, end });
            }
        }
        spans.sort_unstable();
        let apart = |a: &Span, b: &Span| a.client < b.client || a.end <= b.start;
        if spans.is_sorted_by(apart) { Ok(spans) } else { Err(Flaw::Deletions) }
    }
}

/// The length of `text` in UTF-16 units, as browsers count.
pub(super) fn utf16_len(text: &str) -> u32 {
    let len = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    u32::try_from(len).unwrap_or(u32::MAX)
}
