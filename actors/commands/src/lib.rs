//! The commands room: the one door for writes (I-11).
//!
//! It takes a request, plans it on what its author may see, signs the bundle, hands it to the oplog, and answers when
//! the oplog says that it is durable (I-1). It never writes to a disk, never reads a peer, and never answers before the
//! commit. It speaks to the oplog, and to the overlays room where a request is to be staged; facts come back to it as
//! answers to its own calls.
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
//! A request for an overlay is planned as ever, by the same laws, on what the overlay shows; what it comes to is staged
//! there instead of signed. Committing an overlay is a request like any other, and becomes one bundle.
//!
//! Reading order: [`actor`], then `desk` (who waits for what), `planning` (a request becomes a bundle), `seen` (what
//! an author had seen), `staging` (the same for overlays).

pub mod actor;
mod desk;
mod planning;
mod seen;
mod staging;
