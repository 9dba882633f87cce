//! The nouns of OpenProd and their bytes: ids, clocks, values, operations, bundles, identities, refusals.
//!
//! Nothing here acts: no actors, no I/O, no clock, no randomness. Time and random bytes are arguments. Every
//! structure that is stored, signed, hashed or sent between nodes is defined here and encoded by [`codec`];
//! golden files beside the tests guard every format.
//!
//! Reading order: [`value`], [`ids`], [`clock`], [`operation`], [`bundle`], [`identity`], [`refusal`].
//!
//! # Invariants
//!
//! They are numbered here, once, and cited where they are upheld and where they are tested.
//!
//! - **I-1** An acknowledged bundle is durable: it was in the log, synced to disk, before anyone was told.
//! - **I-2** A bundle is visible whole or not at all, on disk, to readers and to watchers.
//! - **I-3** Folding an op reads only that op. Any order and any repetition of the same ops gives the same tips.
//! - **I-4** State is derived: replaying the log from nothing gives the same tips and the same state hash.
//! - **I-5** A write supersedes exactly the writes that its author had seen; what he had not seen stands beside it.
//! - **I-6** A command id acts once. The same id with the same payload gets the first answer again.
//! - **I-7** The log holds a bundle only if all its parents are there before it, it is authentic, and its own past
//!   admits its author.
//! - **I-8** The clock of a bundle exceeds that of every op of its parents, across restarts and clock changes.
//! - **I-9** Decoded bytes encode to themselves. What is hashed or signed is the bytes received.
//! - **I-10** An op of an unknown kind is stored, counted and passed on unharmed.
//! - **I-11** There is one way into history: commands (or admission of a peer's bundle), then the oplog.
//! - **I-12** Nothing crosses from one workspace to another.
//! - **I-13** A refused write changes nothing, and its author is told why.
//! - **I-14** A reader sees one revision throughout; a client never goes back in time.

pub mod bundle;
pub mod clock;
pub mod codec;
pub mod identity;
pub mod ids;
pub mod operation;
pub mod refusal;
pub mod schema;
pub mod value;
