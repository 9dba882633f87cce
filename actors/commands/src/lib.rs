//! The commands room: the one door for writes (I-11).
//!
//! It takes a request, plans it on what its author may see, signs the bundle, hands it to the oplog, and answers when
//! the oplog says that it is durable (I-1). It never writes to a disk, never reads a peer, and never answers before the
//! commit. It speaks to the oplog only; facts come back to it as answers to its own calls.
//!
//! Between a plan and the moment when the state has folded it, a bundle is *pending*: its ops are kept folded in a
//! layer on top of the newest snapshot, so that the next request, of whomever, is planned on it.
//!
//! An undo or a redo is planned on the log alone: the room waits until the state has folded all that is pending, so that
//! it can tell what stood before each write.
//!
//! Its death costs the callers in flight an error that they may retry: command ids are kept in the log with their
//! answers (I-6). A new incarnation asks the oplog for the end of the log, waits until the state has reached it, and
//! goes on.
//!
//! Reading order: [`actor`], then `desk` (who waits for what), `planning` (a request becomes a bundle), `seen` (what
//! an author had seen).

pub mod actor;
mod desk;
mod planning;
mod seen;
