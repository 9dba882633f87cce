//! Replication: what two nodes say to each other, about one workspace, until both have the same bundles.
//!
//! A frame is the number of its kind, two bytes, little-endian, and the canonical bytes of its body. Kinds that this
//! version does not know are told apart from frames that nobody could know: those from [`MAY_IGNORE`] on are passed
//! over, the others end the conversation.
//!
//! The order of things: each side tells its [`Frontier`] and answers the other's with [`Lacking`]. Where both lack
//! something of one actor, his history is forked, and the lower key begins [`Reconcile`] for him, ending with
//! [`Common`]. Then each gives what the other lacks, parents first, in [`Checkpoint`]s (a large bundle in [`Part`]s),
//! or offers what the other may have meanwhile ([`Offer`]); each of these is answered by [`Acknowledge`]. When nothing
//! is left to give, [`Summary`]s are compared.

use openprod_model::clock::Hlc;
use openprod_model::codec::{self, MAX_ENCODED_BYTES};
use openprod_model::ids::{ActorId, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Kinds from here on may be passed over by whoever does not know them.
pub const MAY_IGNORE: u16 = 0x8000;
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
    /// Those of the other's tips that the sender does not have, at most [`MAX_DIGESTS`].
    pub digests: Vec<Digest>,
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
    /// A frame of a kind that this version does not know and may not pass over.
    pub const UNKNOWN_KIND: Self = Self(4);
    /// The sender's log cannot be read or written at the moment.
    pub const TROUBLE: Self = Self(5);
    /// The other is no member of the workspace, or not any longer.
    pub const NOT_A_MEMBER: Self = Self(6);
    /// The other did not answer for too long.
    pub const SILENCE: Self = Self(7);
}

/// The end of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: Reason,
    /// The same in a sentence, at most [`MAX_SENTENCE_BYTES`].
    pub sentence: String,
}

macro_rules! frames {
    ($($kind:literal $name:ident;)*) => {
        /// A frame.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // Each is its body, which says what it is.
        pub enum Frame { $($name($name),)* }

        impl Frame {
            /// The number of its kind.
            pub fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// Its bytes.
            pub fn encode(&self) -> Vec<u8> {
                let body = match self { $(Self::$name(body) => codec::encode(body),)* };
                [&self.kind().to_le_bytes()[..], &body].concat()
            }

            fn decode_body(kind: u16, body: &[u8]) -> Result<Self, FrameError> {
                match kind {
                    $($kind => Ok(Self::$name(read(body)?)),)*
                    kind => Err(FrameError::Unknown(kind)),
                }
            }
        }

        $(impl From<$name> for Frame {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

frames! {
    1 Frontier;
    2 Lacking;
    3 Reconcile;
    4 Common;
    5 Checkpoint;
    6 Part;
    7 Offer;
    8 Acknowledge;
    9 Want;
    10 Summary;
    11 Buckets;
    12 Cells;
    13 Goodbye;
    0x8001 Ephemeral;
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are none, too many, or no encoding of what they claim to be.
    #[error("a frame could not be read: {0}")]
    Malformed(String),
    /// It holds more than it may.
    #[error("a frame holds {0}")]
    Limit(&'static str),
    /// A kind of a newer version, or of none.
    #[error("a frame is of the unknown kind {0}")]
    Unknown(u16),
}

impl FrameError {
    /// Whether the frame may be passed over.
    pub fn may_be_ignored(&self) -> bool {
        matches!(self, Self::Unknown(kind) if *kind >= MAY_IGNORE)
    }

    /// What is said to whoever sent it.
    pub fn reason(&self) -> Reason {
        if matches!(self, Self::Unknown(_)) { Reason::UNKNOWN_KIND } else { Reason::MALFORMED }
    }
}

fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    codec::decode(body).map_err(|error| FrameError::Malformed(error.to_string()))
}

impl Frame {
    /// Reads a frame and checks its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::Limit("more bytes than a frame may"));
        }
        let Some((kind, body)) = bytes.split_first_chunk() else {
            return Err(FrameError::Malformed("it has no kind".to_owned()));
        };
        let frame = Self::decode_body(u16::from_le_bytes(*kind), body)?;
        frame.checked()
    }

    fn checked(self) -> Result<Self, FrameError> {
        let too_much = match &self {
            Self::Frontier(body) if body.tips.len() > MAX_TIPS => "too many tips",
            Self::Lacking(body) if body.digests.len() > MAX_DIGESTS => "too many digests",
            Self::Common(body) if body.digests.len() > MAX_DIGESTS => "too many digests",
            Self::Want(body) if body.digests.len() > MAX_DIGESTS => "too many digests",
            Self::Reconcile(body) if body.message.len() > MAX_RECONCILE_BYTES => "too long a step of reconciliation",
            Self::Checkpoint(body) if !body.fits() => "no bundles or too many",
            Self::Part(body) if !body.fits() => "too long a part, or a part of too long or too short a bundle",
            Self::Offer(body) if body.digests.len() > MAX_CHECKPOINT_BUNDLES => "too many digests",
            Self::Acknowledge(body) if body.lacking.len() > MAX_CHECKPOINT_BUNDLES => "too many numbers",
            Self::Buckets(body) if body.buckets.len() != BUCKETS => "other than 256 buckets",
            Self::Cells(body) if !body.fits() => "too many cells, or too long keys",
            Self::Ephemeral(body) if body.bytes.len() > MAX_EPHEMERAL_BYTES => "too long a message of the moment",
            Self::Goodbye(body) if body.sentence.len() > MAX_SENTENCE_BYTES => "too long a sentence",
            _ => return Ok(self),
        };
        Err(FrameError::Limit(too_much))
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
