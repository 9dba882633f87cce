//! Files: how a node that lacks a file asks another for it, on a channel opened with [`crate::opening::Opening::Blob`].
//!
//! A channel is about one file, so that one file never waits for another. Whoever opened it asks; the other answers each
//! question in turn. Every piece can be checked by itself against the outline, and the outline against the file's hash,
//! so nothing that is said here is believed.

use openprod_model::codec::long;
use openprod_model::ids::BlobHash;
use serde::{Deserialize, Serialize};

use crate::framing::Frame;

/// The most pieces that one question may ask for: as many as make 2 MiB.
pub const MAX_PIECES_ASKED: u32 = 8;
/// The most bytes of a piece.
pub const MAX_PIECE_BYTES: usize = 256 * 1024;
/// The most bytes of an outline: 32 for each piece of a file of 64 GiB.
pub const MAX_OUTLINE_BYTES: usize = 8 * 1024 * 1024;

/// What is asked of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAsk {
    /// Whether the other has it; if so, its outline. The first question, and only the first.
    Outline {
        /// Which file the channel is about.
        hash: BlobHash,
    },
    /// Pieces in a row.
    Pieces {
        /// The first, counted from 0.
        first: u64,
        /// How many, at most [`MAX_PIECES_ASKED`].
        count: u32,
    },
}

impl Frame for FileAsk {
    const KINDS: u32 = 2;
    /// A kind and a hash; with room for what a newer version may add.
    const MAX_BYTES: usize = 256;

    fn is_within_bounds(&self) -> bool {
        !matches!(self, Self::Pieces { count, .. } if *count > MAX_PIECES_ASKED)
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAnswer {
    /// The other does not have the file, or no longer; nothing more comes.
    Missing,
    /// It has the file.
    Outline {
        /// The number of the file's bytes, as it says.
        size: u64,
        /// The chaining values of the file's pieces.
        #[serde(with = "long")]
        outline: Vec<u8>,
    },
    /// A piece.
    Piece {
        /// Which, counted from 0.
        index: u64,
        /// Its bytes.
        #[serde(with = "long")]
        bytes: Vec<u8>,
    },
}

impl Frame for FileAnswer {
    const KINDS: u32 = 3;
    const MAX_BYTES: usize = MAX_OUTLINE_BYTES + 64;

    fn is_within_bounds(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Outline { outline, .. } => outline.len() <= MAX_OUTLINE_BYTES,
            Self::Piece { bytes, .. } => bytes.len() <= MAX_PIECE_BYTES,
        }
    }
}
