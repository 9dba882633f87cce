//! Batches: what one durable commit writes, in order.

use std::sync::Arc;

use openprod_messages::log::{Entry, Receipt};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{Digest, OpRef, Position};

use super::members::{MemberOp, SetId};
use crate::tables::{End, LaneRow, QuarantineRow, WaitingRow};

/// Most bundles that join one commit, so that a commit stays short.
pub const MAX_BATCH_BUNDLES: usize = 4_096;
/// Most bytes that join one commit, so that memory stays bounded. A larger unit of work is a commit of its own.
pub const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// A bundle that found its place.
#[derive(Debug, Clone)]
pub struct Staged {
    /// Where.
    pub position: Position,
    /// What lies beside it.
    pub entry: Entry,
    /// It.
    pub bundle: Arc<Bundle>,
    /// Its parents and `prev`: heads no longer.
    pub ancestors: Vec<Digest>,
    /// Its author's bundle before: no tip of his chain any longer.
    pub prev: Option<Digest>,
    /// The lane that it is the tip of now.
    pub lane: LaneRow,
    /// The member ops in its past and itself.
    pub members: SetId,
    /// That set, if no ancestor has it.
    pub new_set: Option<Arc<[OpRef]>>,
    /// Its own member ops.
    pub member_ops: Vec<MemberOp>,
    /// The answer to the command that made it, if it was made here.
    pub receipt: Option<Receipt>,
}

/// One thing to be written.
#[derive(Debug, Clone)]
pub enum Change {
    /// Append a bundle.
    Append(Arc<Staged>),
    /// Put bytes into quarantine.
    Quarantine {
        /// Under this number.
        number: u64,
        /// What is known of them.
        row: QuarantineRow,
        /// They.
        bytes: Arc<[u8]>,
    },
    /// Keep a bundle until an ancestor comes.
    Wait {
        /// Under this number.
        number: u64,
        /// What is known of it.
        row: WaitingRow,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// Silence the alarm of a quarantined bundle.
    Skip {
        /// Its number.
        number: u64,
    },
    /// Let a bundle out of quarantine: it is in the log, whole.
    Release {
        /// Its number.
        number: u64,
    },
    /// Put good bytes in the place of damaged ones.
    Replace {
        /// Where.
        position: Position,
        /// Of what digest.
        digest: Digest,
        /// The good bytes.
        bytes: Arc<[u8]>,
    },
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(staged) => staged.bundle.bytes().len(),
            Self::Quarantine { bytes, .. } | Self::Wait { bytes, .. } | Self::Replace { bytes, .. } => bytes.len(),
            Self::Skip { .. } | Self::Release { .. } => 0,
        }
    }
}

/// What stands or falls together: the changes of one message (I-2).
#[derive(Debug, Clone)]
pub struct Unit {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The end of the log behind them.
    pub end: End,
}

/// What one commit writes.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The end of the log that it was made for. On any other it is refused.
    pub base: End,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The end of the log behind it.
    pub end: End,
    /// The node's clock, by which receipts expire.
    pub now_ms: u64,
}

/// How many units from the front of a queue join the next commit: at least one, if there is one.
pub fn joining<'a>(queue: impl Iterator<Item = &'a Unit>) -> usize {
    let (mut bundles, mut bytes) = (0, 0);
    let fits = |unit: &&Unit| {
        bundles += unit.changes.len();
        bytes += unit.changes.iter().map(Change::bytes).sum::<usize>();
        bundles <= MAX_BATCH_BUNDLES && bytes <= MAX_BATCH_BYTES
    };
    let mut queue = queue.peekable();
    let least = usize::from(queue.peek().is_some());
    queue.take_while(fits).count().max(least)
}
