//! The overlays room: keeps what is staged beside the canonical state, on this node only.
//!
//! An overlay is a set of staged cells ([`openprod_domain::overlay`]) with a name. The room makes, renames, stashes,
//! recalls and discards overlays, takes in what the commands room has planned for them, and lets people knock out
//! staged changes, decide drift, undo and redo. Each change is durable in its own file before it is answered (I-1), and
//! a command id acts once (I-6). Readers share what is staged without asking the room ([`shelf::Shelf`]).
//!
//! It never writes history: a commit is made by the commands room. And it calls no room. That something was committed
//! it learns from the log, by its own place in it, at its start and when the log has grown; what the log holds it
//! drops. So whatever dies when, nothing is committed twice and nothing is lost. Which overlay is active in which
//! session is kept in memory only: after a restart none is.
//!
//! Its death costs its callers an error that they may retry; it starts with what its file holds. If the file cannot be
//! read, overlays answer with the reason, and everything else goes on.
//!
//! Reading order: [`actor`], [`shelf`] (what readers see, and what is done), [`follow`] (what the log tells), [`store`],
//! [`tables`].

pub mod actor;
pub mod follow;
pub mod shelf;
pub mod store;
pub mod tables;

// What fails there is the test: a panic is the right report.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests;
