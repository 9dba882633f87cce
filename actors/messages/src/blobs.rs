//! What is said to the blobs room, and what anybody may know of the files that it keeps.
//!
//! Bytes never pass a mailbox: whoever has a file to give or wants one uses the room's store in his own task. The room
//! itself only tends it.

use crate::watch;
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

/// How it goes to get a file from other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchStanding {
    /// It is under way.
    Coming {
        /// How many pieces are here.
        had: u64,
        /// Of how many; none until a node has said so.
        of: Option<u64>,
        /// How many nodes send it.
        from: usize,
    },
    /// It is here.
    Here(Kept),
    /// None of the nodes that are connected has it, or none answers any more. What has come of it is kept.
    Nowhere {
        /// How many were asked.
        asked: usize,
    },
    /// It cannot be kept here.
    Failed(BlobError),
}

impl FetchStanding {
    /// Nobody has been asked yet.
    pub const BEGUN: Self = Self::Coming { had: 0, of: None, from: 0 };

    /// Whether it changes no more.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Coming { .. })
    }
}

/// Messages to the blobs room.
pub enum BlobsMsg {
    /// A file is wanted that is not here.
    Fetch {
        /// Which.
        hash: BlobHash,
        /// How it goes, until it is over or nobody looks any more; none if too many files are on their way.
        reply: RpcReplyPort<Option<watch::Receiver<FetchStanding>>>,
    },
    /// Files may be missing that this node keeps, or may be had now.
    Look,
    /// Time to look after the store. Said by the room's own timer only.
    Tend,
    /// Close the store.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}
