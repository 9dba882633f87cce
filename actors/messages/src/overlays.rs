//! What is said to the overlays room, and what anybody may read of overlays without asking it.
//!
//! An overlay is private to this node until it is committed. Committing is a command ([`crate::commands`]); the room
//! learns of it from the log.

use std::sync::Arc;

use crate::watch;
use openprod_domain::cell::Cell;
use openprod_domain::command::Created;
use openprod_domain::overlay::{Delta, Staging};
use openprod_domain::view::Read;
use openprod_model::bundle::{BundleKind, OverlaySource, Source};
use openprod_model::ids::{CommandId, EntityId, OverlayId, Position, SessionId};
use openprod_model::value::Text;
use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use crate::commands::{CommandError, OpenedConflict};
use crate::log::{LogReader, Stored};

/// What an overlay says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Its id.
    pub id: OverlayId,
    /// What people call it: no two overlays of a workspace are called the same.
    pub name: Text,
    /// The label of its commit, if its maker gave one.
    pub label: Option<Text>,
    /// Where its changes come from: the person who commits, or an imported file.
    pub source: Source,
    /// When it was made, by this node's clock.
    pub created_ms: u64,
    /// Whether it was set aside: nothing is staged in it before it is recalled.
    pub stashed: bool,
}

/// An overlay as it stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// What it says of itself.
    pub info: Arc<Info>,
    /// What is staged in it.
    pub staging: Arc<Staging>,
    /// The last position at which others wrote a cell that it also writes; none if that never happened, as far as
    /// the room has read. A hint: what has drifted, the staging tells.
    pub touched: Option<Position>,
}

/// How an overlay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was committed, by the bundle at this position.
    Committed(Position),
    /// It was discarded.
    Discarded,
}

/// The answer to a change of an overlay, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The overlay.
    pub overlay: OverlayId,
    /// Its generation behind the change.
    pub generation: u64,
    /// What was done, for people: the step that was undone, say. May be empty.
    pub what: Text,
    /// What was made, with the index of the command that made it.
    pub created: Vec<(u32, Created)>,
    /// Conflicts opened within the overlay.
    pub opened: Vec<OpenedConflict>,
}

/// The answer to a command that changed an overlay, kept for a day so that a retry gets it again (I-6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedReceipt {
    /// BLAKE3 of what it asked for.
    pub payload: [u8; 32],
    /// The answer.
    pub done: Done,
}

/// A command's id, and what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub command: CommandId,
    /// BLAKE3 of what it asks for.
    pub payload: [u8; 32],
}

/// Reads overlays. What was acknowledged before a call, the call shows.
pub trait Overlays: Send + Sync {
    /// All of them, by name. The error tells that none can be had at the moment.
    fn all(&self) -> Result<Vec<Overlay>, CommandError>;
    /// One of them; refused if there is none.
    fn overlay(&self, id: OverlayId) -> Result<Overlay, CommandError>;
    /// The one that is active in a session.
    fn active(&self, session: SessionId) -> Option<OverlayId>;
    /// The sessions in which it is active.
    fn active_in(&self, id: OverlayId) -> usize;
    /// How far the room has read the log: commits behind that it does not know of yet.
    fn followed(&self) -> watch::Receiver<Position>;
    /// The answer that was given to a command.
    fn receipt(&self, command: CommandId) -> Result<Option<StagedReceipt>, CommandError>;
    /// How an overlay ended, if that was lately.
    fn ended(&self, id: OverlayId) -> Option<End>;
    /// Tells when any of them has changed.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// What is to be done with overlays.
#[derive(Debug)]
pub enum Action {
    /// Makes an empty one.
    Create {
        /// What to call it.
        name: Text,
        /// The label of its commit.
        label: Option<Text>,
        /// Where its changes will come from.
        source: Source,
    },
    /// Calls it something else.
    Rename {
        /// Which.
        overlay: OverlayId,
        /// The new name.
        name: Text,
    },
    /// Sets it aside: active nowhere, and nothing is staged in it meanwhile.
    Stash {
        /// Which.
        overlay: OverlayId,
    },
    /// Takes it up again.
    Recall {
        /// Which.
        overlay: OverlayId,
    },
    /// Drops it with everything staged in it.
    Discard {
        /// Which.
        overlay: OverlayId,
    },
    /// Stages what the commands room has planned.
    Stage {
        /// Where.
        overlay: OverlayId,
        /// The change, worked out on the generation before it.
        delta: Box<Delta>,
        /// What was made.
        created: Vec<(u32, Created)>,
        /// Conflicts opened.
        opened: Vec<OpenedConflict>,
    },
    /// Takes staged cells out.
    KnockOut {
        /// Of which.
        overlay: OverlayId,
        /// The cells.
        cells: Vec<Cell>,
        /// And those of these records.
        records: Vec<EntityId>,
    },
    /// What is staged supersedes what others wrote.
    KeepMine {
        /// Of which.
        overlay: OverlayId,
        /// Which drift.
        which: Which,
        /// The revision at which the drift was looked at: what came later stays undecided. None for now.
        base: Option<Position>,
    },
    /// What others wrote stays, what is staged goes.
    UseCanonical {
        /// Of which.
        overlay: OverlayId,
        /// Which drift.
        which: Which,
    },
    /// Takes the last step back.
    Undo {
        /// Of which.
        overlay: OverlayId,
    },
    /// Does the step again that was taken back last.
    Redo {
        /// Of which.
        overlay: OverlayId,
    },
}

/// Which drift is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// That of these cells.
    Cells(Vec<Cell>),
    /// All of it.
    All,
}

/// Why an overlay was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// The overlay has changed since the change was worked out: work it out again.
    #[error("the overlay has changed meanwhile")]
    Stale,
    /// As for any command.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// What a caller is told of a change: the answer, and whether it is the first answer again, to a retry.
pub type Changed = Result<(Done, bool), OverlayError>;

/// Messages to the overlays room.
pub enum OverlaysMsg {
    /// Change something, durably (I-1).
    Do {
        /// What to do.
        action: Box<Action>,
        /// The command that asks for it; the same id acts once (I-6).
        asked: Asked,
        /// What came of it.
        reply: RpcReplyPort<Changed>,
    },
    /// Make an overlay the one that a session writes to, or none. Kept in memory only.
    Activate {
        /// The session.
        session: SessionId,
        /// The overlay; none for no overlay.
        overlay: Option<OverlayId>,
        /// Whether it could be.
        reply: RpcReplyPort<Result<(), CommandError>>,
    },
    /// The log has grown. A hint: the room reads on from its own place.
    Appended {
        /// How far.
        through: Position,
    },
    /// Stop taking work and close the store.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}

/// The position at which a generation of `overlay` was committed, in the log behind `from`; none if it was not.
/// Who asks with an overlay at hand knows by this that it is the log's already.
pub fn committed_behind(log: &dyn LogReader, from: Position, overlay: OverlayId) -> Read<Option<Position>> {
    const CHUNK: usize = 4_096;
    let mut from = from.next();
    loop {
        let entries = log.entries(from, CHUNK)?;
        let Some((last, _)) = entries.last() else { return Ok(None) };
        let last = *last;
        for (at, _) in entries.into_iter().filter(|(_, entry)| entry.kind == BundleKind::OVERLAY) {
            if commit_at(log, at)?.is_some_and(|source| source.overlay == overlay) {
                return Ok(Some(at));
            }
        }
        from = last.next();
    }
}

/// What the bundle at a position commits; none if it commits no overlay.
pub fn commit_at(log: &dyn LogReader, at: Position) -> Read<Option<OverlaySource>> {
    Ok(match log.bundle(at)? {
        Some(Stored::Whole(bundle)) => OverlaySource::of(bundle.header().kind, &bundle.header().source),
        _ => None,
    })
}
