//! What is said to the oplog: the only writer of history.

use openprod_model::bundle::Bundle;
use openprod_model::ids::{ActorId, Digest, Position, SessionId};
use openprod_model::refusal::Refusal;
use ractor::RpcReplyPort;

use crate::log::{Receipt, Spot, Tail};

/// An own bundle to be appended, with the answer to the command that made it.
#[derive(Debug)]
pub struct Append {
    /// The signed bundle.
    pub bundle: Bundle,
    /// The answer, stored in the same transaction.
    pub receipt: Receipt,
    /// The client session that asked.
    pub session: Option<SessionId>,
}

/// Why a bundle was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It was planned on a log that is no longer the end of this one: plan again.
    #[error("the bundle was planned on an older log")]
    Stale,
    /// It does not stand up to the checks: its author's past does not admit him, say.
    #[error(transparent)]
    Refused(Refusal),
    /// The disk did not take it. Nothing was acknowledged; whether it was written is unknown until a retry.
    #[error("the disk did not take it: {reason}")]
    Disk {
        /// What the system said.
        reason: String,
        /// Whether it said that there is no space.
        full: bool,
    },
}

/// What became of bundles from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Appended now; with what was kept from before and had waited for these.
    pub appended: u64,
    /// Already there.
    pub known: u64,
    /// Quarantined, with their numbers.
    pub quarantined: Vec<u64>,
    /// How many of these stand, and wait for a person to take them.
    pub kept_for_people: u64,
    /// Waiting for ancestors that are not in the log: kept until these come, as long as there is room.
    pub waiting: u64,
    /// The end of the log afterwards.
    pub through: Position,
    /// Those offered that are in the log now.
    pub held: Vec<Held>,
    /// Which of those offered, counted from 0, are not in the log.
    pub unheld: Vec<usize>,
    /// What they wait for and this node does not have anywhere.
    pub missing: Vec<Digest>,
}

/// A bundle that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// It.
    pub digest: Digest,
    /// Its author.
    pub actor: ActorId,
    /// Its place on his lanes.
    pub spot: Spot,
}

/// Through whose hands bundles come. Whether they stand does not depend on it; whether they are let in at once does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hands {
    /// A member's node, or a person who takes them: what stands is let in.
    Members,
    /// Anybody's, such as a file's: what was written by somebody who was removed meanwhile is kept until a person takes
    /// it, unless a member has built on it.
    Anybodys,
}

/// Messages to the oplog.
pub enum OplogMsg {
    /// Append an own bundle. The reply comes after the durable commit (I-1).
    Append {
        /// What to append.
        append: Box<Append>,
        /// Its position.
        reply: RpcReplyPort<Result<Position, AppendError>>,
    },
    /// Admit bundles from elsewhere (a workspace file, a peer), parents first.
    Admit {
        /// Their bytes.
        bundles: Vec<Vec<u8>>,
        /// Where they come from, for the quarantine.
        source: String,
        /// Who gives them.
        hands: Hands,
        /// What became of them.
        reply: RpcReplyPort<Result<Admitted, AppendError>>,
    },
    /// Judge the next of what is to be admitted. Said by the oplog to itself, so that others are heard in between.
    Judge,
    /// Time to see what is in the log, which could not be written or read. Said by the oplog's own timer only.
    LookAgain,
    /// The end of the log, behind everything queued before.
    Tail {
        /// The end.
        reply: RpcReplyPort<Result<Tail, AppendError>>,
    },
    /// A reader found that a stored bundle is not whole any more.
    FoundDamaged {
        /// Where.
        at: Position,
        /// What is wrong.
        reason: String,
    },
    /// Check a quarantined bundle again, and admit it if it stands.
    Retry {
        /// Its number.
        number: u64,
        /// What became of it.
        reply: RpcReplyPort<Result<Admitted, AppendError>>,
    },
    /// A person takes a quarantined bundle, and what it builds on: it is let in if it stands, whoever was removed.
    Take {
        /// Its number.
        number: u64,
        /// What became of it.
        reply: RpcReplyPort<Result<Admitted, AppendError>>,
    },
    /// Silence the alarm of a quarantined bundle.
    Skip {
        /// Its number.
        number: u64,
        /// Whether there was one.
        reply: RpcReplyPort<Result<(), AppendError>>,
    },
    /// The writer finished a commit. Said by the oplog's own writer only.
    Committed(CommitOutcome),
    /// Stop taking work, finish what is queued, close the store.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}

/// How a group commit ended.
#[derive(Debug)]
pub struct CommitOutcome {
    /// Which commit, counted by the oplog since its start.
    pub number: u64,
    /// The end of the log now, or why the disk did not take it.
    pub result: Result<Tail, AppendError>,
}
