//! The state: what the log amounts to. This room folds bundles into cells, and gives snapshots to whoever reads.
//!
//! **What it is for.** History is a list of bundles; people want to know what Cue 12 says now, and what it said last
//! Tuesday. The state keeps, for every cell, the writes that stand, the superseded ones with the positions between
//! which they stood, an index, and a hash by which two nodes find that they agree. All of it is derived (I-4): it lies
//! in a file of its own, which may be lost, and which is emptied without asking when it is damaged, foreign, of
//! another version, or ahead of the log.
//!
//! **What it never does.** It never refuses a bundle, never judges a value, and never writes history: folding an op
//! reads only that op (I-3). It holds no data in its mailbox: an event says that the log has grown, and the state
//! reads on from its own position. Readers never wait for it: a snapshot is a read transaction that lives in the
//! reader's task (I-14).
//!
//! **Whom it speaks to.** It reads the log through a `LogReader`, tells the oplog when a stored bundle is found
//! damaged, and tells everybody else through a watch how far it has folded.
//!
//! **What its death causes.** Nothing is lost. Snapshots go on, because the store outlives the actor; the next
//! incarnation reads on from the stored position. After a crash of the process at most 20,000 ops, or two seconds of
//! them, are folded again.
//!
//! Reading order: `tables` (what lies in the file), `fold` (bundles to cells, in memory), `hash`, `store`
//! (the file, its one writer and its snapshots), `actor` (when to fold).

mod actor;
mod fold;
mod hash;
mod store;
mod tables;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
mod testing;

pub use actor::{State, StateArgs};
pub use store::{
    Backends, FoldError, MAX_PIECE_OPS, MAX_UNSETTLED_OPS, OnDisk, OpenError, Options, Round, Settled, StateStore,
    replay_hash,
};
