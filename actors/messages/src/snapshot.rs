//! Snapshots: one revision of the state, read in the reader's own task, never queuing behind writes (I-14).

use std::sync::Arc;

use crate::watch;
use openprod_domain::cell::Cell;
use openprod_domain::view::{History, Read, View};
use openprod_model::ids::{Digest, OpRef, Position};

/// One line of a cell's history: a write that was folded, or one that others superseded before it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The op.
    pub op: OpRef,
    /// Where its bundle lies.
    pub position: Position,
    /// Which op of the bundle it is.
    pub index: u32,
    /// The first position at which a write superseded it.
    pub superseded_at: Option<Position>,
}

/// The digest of all cells and their tips: 256 buckets, and BLAKE3 over them.
#[derive(Clone, PartialEq, Eq)]
pub struct StateHash {
    /// The version of the laws by which it was folded; only equal versions compare.
    pub fold_version: u16,
    /// Ops of unknown kinds in the log; states with any compare only between equal sets of known kinds.
    pub unknown_ops: u64,
    /// Over all buckets.
    pub total: Digest,
    /// Each bucket.
    pub buckets: Box<[[u8; 32]; 256]>,
}

impl std::fmt::Debug for StateHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateHash({})", self.total.short())
    }
}

/// A cell's key, and what the cell adds to its bucket of the state hash.
pub type CellPrint = (Vec<u8>, [u8; 32]);

/// What a snapshot counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bundles folded.
    pub bundles: u64,
    /// Ops folded.
    pub ops: u64,
    /// Ops of unknown kinds, kept but not folded.
    pub unknown_ops: u64,
    /// Bundles that were damaged in the log and could not be folded.
    pub damaged: u64,
    /// Cells that have ever been written.
    pub cells: u64,
}

/// One revision of the state.
pub trait Snapshot: History + Send + Sync {
    /// Its revision.
    fn position(&self) -> Position;
    /// The log's chain there.
    fn chain(&self) -> Digest;
    /// The log's heads there.
    fn heads(&self) -> Read<Vec<Digest>>;
    /// All writes of a cell, by position.
    fn written(&self, cell: &Cell) -> Read<Vec<Written>>;
    /// The state hash.
    fn hash(&self) -> Read<StateHash>;
    /// The cells of one bucket of it behind the key `after`, ascending by key, at most `limit`: what each adds to it.
    fn bucket(&self, number: u8, after: &[u8], limit: usize) -> Read<Vec<CellPrint>>;
    /// What there is.
    fn counts(&self) -> Read<Counts>;
    /// Itself as a view.
    fn view(&self) -> &dyn View;
}

/// How far the state has folded the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// The last position folded.
    pub position: Position,
    /// Counts restarts of the state's store; a reader that waits looks again when it changes.
    pub incarnation: u64,
    /// Members have last changed at or before this position, in this incarnation: who has judged them at a later one, need
    /// not do so again.
    pub members: Position,
}

/// Gives snapshots.
pub trait Snapshots: Send + Sync {
    /// The newest one.
    fn snapshot(&self) -> Read<Arc<dyn Snapshot>>;
    /// Tells when the state has folded more.
    fn folded(&self) -> watch::Receiver<Folded>;
    /// The bytes that the state takes on disk, as far as known.
    fn bytes_on_disk(&self) -> u64;
}
