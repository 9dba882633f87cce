//! Replication: what two nodes say to each other, about one workspace, until both have the same bundles.
//!
//! A [`Message`] travels as a frame ([`crate::framing`]). Kinds that only a newer version knows are passed over: what
//! matters to an older one, a newer one says in ways that the older one knows, since both know each other's version.
//!
//! The order of things: each side tells its [`Frontier`] and answers the other's with [`Lacking`]. Where both lack
//! something of one actor, his history is forked, and the lower key begins [`Reconcile`] for him, ending with
//! [`Common`]. Then each gives what the other lacks, parents first, in [`Checkpoint`]s (a large bundle in [`Part`]s),
//! or offers what the other may have meanwhile ([`Offer`]); each of these is answered by [`Acknowledge`]. When nothing
//! is left to give, [`Summary`]s are compared.
//!
//! A node that is being given somebody's history by another peer already says so in [`Lacking`], and is offered it. Of
//! a run of one author's bundles the last one may be offered alone: who has it has those before it. Long frames travel
//! [`Squeezed`].

use openprod_model::clock::Hlc;
use openprod_model::codec::{MAX_ENCODED_BYTES, long};
use openprod_model::ids::{ActorId, Digest};
use serde::{Deserialize, Serialize};

use crate::framing::Frame;

pub mod squeeze;

/// Most bytes of bundles in one checkpoint: what is lost when a link is cut, and a fraction of a second on Wi-Fi.
pub const MAX_CHECKPOINT_BYTES: usize = 1024 * 1024;
/// Most bundles in one checkpoint, so that the receiver's local work waits for no more than these to be checked.
pub const MAX_CHECKPOINT_BUNDLES: usize = 256;
/// Most bytes in one part of a large bundle.
pub const MAX_PART_BYTES: usize = 256 * 1024;
/// Largest frame: a full checkpoint, and what says how long each of its bundles is.
pub const MAX_FRAME_BYTES: usize = MAX_CHECKPOINT_BYTES + 16 * 1024;
/// Most tips in one frame of a frontier: about 300 KiB. More take several frames.
pub const MAX_TIPS: usize = 4_096;
/// Most digests in one frame: 256 KiB.
pub const MAX_DIGESTS: usize = 8_192;
/// Most bytes of a step of set reconciliation.
pub const MAX_RECONCILE_BYTES: usize = 64 * 1024;
/// Buckets of the state hash.
pub const BUCKETS: usize = 256;
/// Most cells in one frame: comparing is for naming what differs, and nobody reads more names than this.
pub const MAX_CELLS: usize = 1_024;
/// Longest key of a cell, far beyond any that a name's limits allow.
pub const MAX_CELL_KEY_BYTES: usize = 512;
/// Longest ephemeral message: presence and "is typing", not documents.
pub const MAX_EPHEMERAL_BYTES: usize = 4 * 1024;
/// Longest sentence in a goodbye.
pub const MAX_SENTENCE_BYTES: usize = 400;

/// The last bundle of a lane of an actor's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// Whose.
    pub actor: ActorId,
    /// Its clock.
    pub hlc: Hlc,
    /// It.
    pub digest: Digest,
}

/// What the sender has: with each tip, everything that it builds on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// The tips, at most [`MAX_TIPS`].
    pub tips: Vec<Tip>,
    /// Whether another frame goes on.
    pub more: bool,
}

/// The answer to a frontier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// Those of the other's tips that the sender does not have, at most [`MAX_DIGESTS`] with those below.
    pub digests: Vec<Digest>,
    /// More of them: somebody else is giving these to the sender already. They are to be offered, not given.
    pub coming: Vec<Digest>,
    /// Whether another frame goes on.
    pub more: bool,
}

/// A step of range-based set reconciliation (Meyer's *Range-Based Set Reconciliation*, 2023; the negentropy protocol,
/// version 1) over (clock in ms, digest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// Over this actor's bundles; over all, if none.
    pub actor: Option<ActorId>,
    /// The step, at most [`MAX_RECONCILE_BYTES`].
    pub message: Vec<u8>,
}

/// The end of a reconciliation of one actor's bundles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// Whose.
    pub actor: ActorId,
    /// The last ones that both have: everything common comes before one of them. At most [`MAX_DIGESTS`].
    pub digests: Vec<Digest>,
}

/// Bundles that the other lacks, parents first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Counts what the sender gives and offers, from 1.
    pub number: u64,
    /// How many bundles the sender has still to look at behind these: at most so many will follow.
    pub remaining: u64,
    /// Their bytes: at most [`MAX_CHECKPOINT_BUNDLES`], and at most [`MAX_CHECKPOINT_BYTES`] of them.
    #[serde(with = "long::many")]
    pub bundles: Vec<Vec<u8>>,
}

/// A part of a bundle too large for a checkpoint: with the parts behind it, a checkpoint of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As in [`Checkpoint`]; the same in all parts of a bundle.
    pub number: u64,
    /// As in [`Checkpoint`].
    pub remaining: u64,
    /// The length of the whole bundle in bytes.
    pub total: u32,
    /// The bytes of this part, at most [`MAX_PART_BYTES`]; parts come in order.
    #[serde(with = "long")]
    pub bytes: Vec<u8>,
}

/// Bundles that the sender has, and the other may have from somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// As in [`Checkpoint`].
    pub number: u64,
    /// Which, parents first, at most [`MAX_CHECKPOINT_BUNDLES`].
    pub digests: Vec<Digest>,
}

/// What became of a checkpoint, once it is durable and folded; or the answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Of which one.
    pub number: u64,
    /// Which of those in it, counted from 0, the sender of this does not have: refused, or waiting for what was; or
    /// wanted, of an offer. At most [`MAX_CHECKPOINT_BUNDLES`].
    pub lacking: Vec<u16>,
}

/// Bundles to be given whatever was given before: they are damaged where the sender has them, or were found missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Which, at most [`MAX_DIGESTS`].
    pub digests: Vec<Digest>,
}

/// What a state says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSummary {
    /// The version of the laws by which it was folded.
    pub fold_version: u16,
    /// Ops of kinds unknown there.
    pub unknown_ops: u64,
    /// BLAKE3 of the list of kinds that are known there.
    pub kinds: [u8; 32],
    /// The state hash.
    pub total: Digest,
}

/// Where the sender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// BLAKE3 of the heads, ascending. Equal heads are equal logs.
    pub heads: Digest,
    /// How many bundles there are.
    pub bundles: u64,
    /// Whether the sender has given everything that it believes to be lacking, and has it acknowledged.
    pub idle: bool,
    /// Its state at these heads; none while it is being folded.
    pub state: Option<StateSummary>,
}

/// The buckets of the sender's state hash, to find where two states of equal logs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// At these heads.
    pub heads: Digest,
    /// The buckets, [`BUCKETS`] of them.
    pub buckets: Vec<[u8; 32]>,
}

/// A cell, as the state hash sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellPrint {
    /// Its key, at most [`MAX_CELL_KEY_BYTES`].
    pub key: Vec<u8>,
    /// What it adds to its bucket.
    pub print: [u8; 32],
}

/// The cells of a bucket that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// At these heads.
    pub heads: Digest,
    /// Which bucket.
    pub bucket: u8,
    /// Behind this key; from the first cell on, if empty.
    pub after: Vec<u8>,
    /// Its cells from there on, ascending by key, at most [`MAX_CELLS`].
    pub cells: Vec<CellPrint>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// Something of the moment, such as who is where. Never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ephemeral {
    /// At most [`MAX_EPHEMERAL_BYTES`].
    pub bytes: Vec<u8>,
}

/// The sender has paused syncing, or goes on with it. While one of the two has it paused, neither gives bundles nor
/// compares; what the moment brings is said all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whether it is paused.
    pub on: bool,
}

/// Why a conversation ends. Numbers of newer versions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason(pub u16);

impl Reason {
    /// The node is closing, or the workspace is.
    pub const CLOSING: Self = Self(1);
    /// A frame could not be read.
    pub const MALFORMED: Self = Self(2);
    /// A frame came that the protocol does not allow there, or more than it allows.
    pub const UNEXPECTED: Self = Self(3);
    /// The sender's log cannot be read or written at the moment.
    pub const TROUBLE: Self = Self(4);
    /// The other is no member of the workspace, or not any longer.
    pub const NOT_A_MEMBER: Self = Self(5);
    /// The other did not read for too long.
    pub const TOO_SLOW: Self = Self(6);
}

/// The end of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: Reason,
    /// The same in a sentence, at most [`MAX_SENTENCE_BYTES`].
    pub sentence: String,
}

/// Another frame of this conversation, compressed: see [`squeeze`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Squeezed {
    /// The bytes of the other frame as one zstd frame (RFC 8878); unsqueezed, at most [`MAX_FRAME_BYTES`].
    #[serde(with = "long")]
    pub bytes: Vec<u8>,
}

/// Anything that is said in the conversation. Kinds are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Each is its body, which says what it is.
pub enum Message {
    Frontier(Frontier),
    Lacking(Lacking),
    Reconcile(Reconcile),
    Common(Common),
    Checkpoint(Checkpoint),
    Part(Part),
    Offer(Offer),
    Acknowledge(Acknowledge),
    Want(Want),
    Summary(Summary),
    Buckets(Buckets),
    Cells(Cells),
    Goodbye(Goodbye),
    Ephemeral(Ephemeral),
    Squeezed(Squeezed),
    Hold(Hold),
}

macro_rules! bodies {
    ($($name:ident)*) => {
        $(impl From<$name> for Message {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

bodies!(Frontier Lacking Reconcile Common Checkpoint Part Offer Acknowledge Want Summary Buckets Cells Goodbye Ephemeral Squeezed Hold);

impl Frame for Message {
    const KINDS: u32 = 16;
    const MAX_BYTES: usize = MAX_FRAME_BYTES;

    fn is_within_bounds(&self) -> bool {
        match self {
            Self::Frontier(body) => body.tips.len() <= MAX_TIPS,
            Self::Lacking(body) => body.digests.len() + body.coming.len() <= MAX_DIGESTS,
            Self::Common(Common { digests, .. }) | Self::Want(Want { digests }) => digests.len() <= MAX_DIGESTS,
            Self::Reconcile(body) => body.message.len() <= MAX_RECONCILE_BYTES,
            Self::Checkpoint(body) => body.fits(),
            Self::Part(body) => body.fits(),
            Self::Offer(body) => body.digests.len() <= MAX_CHECKPOINT_BUNDLES,
            Self::Acknowledge(body) => body.lacking.len() <= MAX_CHECKPOINT_BUNDLES,
            Self::Summary(_) | Self::Squeezed(_) | Self::Hold(_) => true,
            Self::Buckets(body) => body.buckets.len() == BUCKETS,
            Self::Cells(body) => body.fits(),
            Self::Goodbye(body) => body.sentence.len() <= MAX_SENTENCE_BYTES,
            Self::Ephemeral(body) => body.bytes.len() <= MAX_EPHEMERAL_BYTES,
        }
    }
}

impl Checkpoint {
    fn fits(&self) -> bool {
        let bytes: usize = self.bundles.iter().map(Vec::len).sum();
        (1..=MAX_CHECKPOINT_BUNDLES).contains(&self.bundles.len()) && bytes <= MAX_CHECKPOINT_BYTES
    }
}

impl Part {
    fn fits(&self) -> bool {
        let total = self.total as usize;
        let large = (MAX_CHECKPOINT_BYTES + 1..=MAX_ENCODED_BYTES).contains(&total);
        large && (1..=MAX_PART_BYTES).contains(&self.bytes.len())
    }
}

impl Cells {
    fn fits(&self) -> bool {
        self.cells.len() <= MAX_CELLS
            && self.after.len() <= MAX_CELL_KEY_BYTES
            && self.cells.iter().all(|cell| cell.key.len() <= MAX_CELL_KEY_BYTES)
    }
}

impl Goodbye {
    /// A goodbye; the sentence is cut to its limit.
    pub fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        sentence.truncate(sentence.floor_char_boundary(MAX_SENTENCE_BYTES));
        Self { reason, sentence }
    }
}

#[cfg(test)]
mod tests;
