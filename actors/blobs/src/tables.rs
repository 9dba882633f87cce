//! The index of blobs: the names of its tables, the layout of their keys and rows, and the version of all that.
//!
//! Rows are encoded by [`openprod_model::codec`] unless it says bytes.
//!
//! | table | key | row |
//! |---|---|---|
//! | `meta` | a word | `format` (u16), `workspace` (16 bytes), `place` ([`Place`]) |
//! | `blobs` | hash | [`BlobRow`] |
//! | `outlines` | hash | bytes: the hashes of its pieces |
//! | `frames` | hash | bytes: of a compressed blob, the length of each piece on disk, u32 little-endian |
//! | `pins` | hash | when, by this node's clock: u64 |
//! | `uses` | hash, position, number in the bundle | bytes: the key of the cell that says it |
//! | `mentions` | hash | [`MentionRow`] |
//!
//! `uses` and `mentions` follow from the log, and are made anew where they do not belong to it.

use openprod_model::ids::{Digest, Position};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

/// The format that this version writes.
pub const FORMAT: u16 = 1;

type Hash = &'static [u8; 32];
type Bytes = &'static [u8];
type Table<K, V> = TableDefinition<'static, K, V>;

pub(crate) const BLOBS: Table<Hash, Bytes> = Table::new("blobs");
pub(crate) const OUTLINES: Table<Hash, Bytes> = Table::new("outlines");
pub(crate) const FRAMES: Table<Hash, Bytes> = Table::new("frames");
pub(crate) const PINS: Table<Hash, u64> = Table::new("pins");
pub(crate) const USES: Table<(Hash, u64, u32), Bytes> = Table::new("uses");
pub(crate) const MENTIONS: Table<Hash, Bytes> = Table::new("mentions");

/// In `meta`: how far the log was read.
pub(crate) const META_PLACE: &str = "place";

/// How far the log was read for mentions of blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The last position read.
    pub position: Position,
    /// The log's chain there: another log cannot be mistaken for this one.
    pub chain: Digest,
    /// The kinds of ops that were known when it was read: with more, it has to be read again.
    pub kinds: u32,
    /// How many bundles could not be read whole, or hold ops of unknown kinds: they may mention any blob.
    pub obscure: u64,
}

/// A blob that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// The number of its bytes.
    pub size: u64,
    /// The number of bytes of its file.
    pub stored: u64,
    /// Whether it is kept compressed.
    pub squeezed: bool,
    /// When it came, by this node's clock.
    pub added_ms: u64,
    /// When it was last put: whoever did so may be about to refer to it.
    pub touched_ms: u64,
    /// Whether its file was found to be other than it was.
    pub damaged: bool,
    /// Since when nothing is known to need it, by this node's clock; none if something does.
    pub idle_since_ms: Option<u64>,
}

/// What the log says of a blob, here or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MentionRow {
    /// Its size, as it was said last; 0 if nothing but its deletion mentions it.
    pub size: u64,
    /// The name of its file, as it was said last; may be empty.
    pub name: String,
    /// Its media type, as it was said last; may be empty.
    pub media_type: String,
    /// When this node took in the last bundle that mentions it, by this node's clock.
    pub last_ms: u64,
}
