//! The oplog: admits, orders and keeps bundles. It is the only writer of history (I-11).
//!
//! # What it is for
//!
//! A workspace is what its log says: every bundle that was ever admitted, in the order in which this node learned of
//! it, parents first. Own bundles come from the commands room, already signed; others come as bytes from a workspace
//! file, later from a peer. The oplog judges each by the bundle's own past alone (I-7), gives it a position, makes it
//! durable, and only then says so (I-1). What came while one commit ran goes into the next, together: group commit
//! without timers. What does not stand up to the checks is kept in quarantine, with its bytes, its source and the
//! reason, until a good copy comes or a person decides. What builds on something that is not here waits beside the log,
//! bounded, until it comes: with every bundle that comes, what belongs to it is judged along.
//!
//! # What it never does
//!
//! It never folds, never looks at a value, never asks another room anything, never waits for one. It never drops a
//! bundle for its schema or its clock's being wrong. It never acknowledges before the disk did. It never changes or
//! removes what it appended; the one exception is a damaged bundle, whose good copy takes its place, digest for digest.
//!
//! # Whom it speaks to
//!
//! Commands calls it (`Append`, `Tail`); whoever brings bundles calls it (`Admit`); people reach it through `Retry`
//! and `Skip`. It casts `Appended` to the state, and a watch channel tells everybody else how far the log reaches.
//! Reading needs no message: [`store::LogStore`] is a `LogReader`, in the reader's own task.
//!
//! # What its death causes
//!
//! Calls that were not answered fail; whether they were carried out, the receipt of the command id tells (I-6). The
//! next incarnation takes the right to write from the dead one first, so nothing that the dead one had queued is
//! written behind its back, and then goes on from what is stored. The store itself lives on: readers notice nothing.
//!
//! A disk that fails or fills up is not death. The commit's callers are told, what was queued behind it is told to
//! plan again, reading goes on, and the next append tries the disk again.
//!
//! # Reading order
//!
//! [`tables`] (what lies on disk), [`logic::ledger`] (the end of the log and the laws), [`logic::members`] (who may
//! write), [`logic::admission`] and [`logic::along`] (bundles from elsewhere), [`logic::batch`] (what one commit writes), [`store`] (the
//! engine, its faults, its one [`store::Writer`], backups, salvage), [`disk`] (what it lies on), [`actor`].
//!
//! # Where it can be made to fail
//!
//! With the feature `failpoints`: `oplog-mid-batch`, `oplog-before-commit`, `oplog-after-commit`,
//! `oplog-before-reply`.

pub mod actor;
pub mod disk;
pub mod logic;
pub mod store;
pub mod tables;

#[cfg(test)]
mod tests;
