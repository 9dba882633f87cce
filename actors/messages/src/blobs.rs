//! What is said to the blobs room, and what anybody may know of the files that it keeps.
//!
//! Bytes never pass a mailbox: whoever has a file to give or wants one uses the room's store in his own task. The room
//! itself only tends it.

use openprod_model::ids::BlobHash;
use ractor::RpcReplyPort;

/// A file that this node keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its address: BLAKE3 of its bytes.
    pub hash: BlobHash,
    /// The number of its bytes.
    pub size: u64,
    /// What it takes on disk: less than its size where it is kept compressed.
    pub stored: u64,
    /// When it came, by this node's clock.
    pub added_ms: u64,
    /// Whether it is kept whatever happens.
    pub pinned: bool,
    /// Whether its bytes are no longer what they were. It is not given to anybody until it has been put again.
    pub damaged: bool,
}

/// Why a file was not given or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It is not on this node; it may be on others. Nothing is known to be wrong with it.
    #[error("the file {0} is not on this node")]
    Unavailable(BlobHash),
    /// What is on the disk is no longer what was put there.
    #[error("the file {0} is damaged on this node's disk")]
    Damaged(BlobHash),
    /// It has more bytes than a file may have.
    #[error("a file may have {max} bytes")]
    TooLarge {
        /// The most that there may be.
        max: u64,
    },
    /// Its bytes are not those that were announced.
    #[error("the bytes are those of {got}, and {wanted} was announced")]
    Other {
        /// What was announced.
        wanted: BlobHash,
        /// What came.
        got: BlobHash,
    },
    /// The system refused.
    #[error("{reason}")]
    Disk {
        /// What it said.
        reason: String,
        /// Whether it said that there is no space.
        full: bool,
    },
}

/// Messages to the blobs room.
pub enum BlobsMsg {
    /// Time to look after the store. Said by the room's own timer only.
    Tend,
    /// Close the store.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}
