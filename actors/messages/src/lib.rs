//! The whole conversation inside a node: what rooms say to each other, and what each may assume of the world.
//!
//! One file of typed messages per room. Requests are imperative (`Append`), facts are past tense (`Appended`).
//! Calls go only towards the log (api to commands to oplog); facts come back by cast and carry positions only, so no
//! cycle of waiting exists and no mailbox holds data. An event is a hint: the log position is the truth.
//!
//! Reading order: [`environment`] (clock, randomness, threads), [`address`] (who is reached, across restarts),
//! [`watch`] (what is shown to whom it concerns), [`log`] and [`snapshot`] (what may be read without asking anybody), then [`commands`], [`oplog`], [`state`], [`overlays`],
//! [`conflicts`], [`blobs`], [`admission`].

pub mod address;
pub mod admission;
pub mod blobs;
pub mod commands;
pub mod conflicts;
pub mod environment;
pub mod log;
pub mod oplog;
pub mod overlays;
pub mod snapshot;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod watch;
