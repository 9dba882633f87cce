//! The blobs room: keeps files, each under the BLAKE3 hash of its bytes.
//!
//! A field says of a file what it is called, how large it is and what its hash is; the bytes lie here, in a folder of
//! their own, and need not be here at all: what is missing is *unavailable* until some node that has it is met, and what
//! is damaged is never given to anybody. Files come and go piece by piece ([`outline`]), so memory does not grow with
//! their size, and each piece is checked by itself, whoever sends it. A file is acknowledged once it is on the disk for
//! good (I-1); a kill at any moment leaves it whole or not at all ([`store`]). Files that nothing needs any more go after
//! a while ([`collect`]).
//!
//! The room writes no history and calls no room. Whoever puts or reads a file does so in his own task, through the
//! [`store::Store`], which outlives the actor. The actor tends it: it clears up after a kill, collects once a day, and
//! has what is wanted and not here fetched from other nodes ([`exchange`], [`keeping`]). When it dies, fetches break off;
//! what has come stays, and whoever waits asks again.
//!
//! Why an outline of our own rather than the crate bao-tree: pieces of one size under the plain BLAKE3 root, any of which
//! can be checked once the outline is there, need two hundred lines over `blake3::hazmat`; that crate brings ranges of
//! chunks, its own I/O traits and some ten crates more, and its interface has changed in twelve breaking releases. What
//! is sent is BLAKE3's own tree, so either can be exchanged for the other.
//!
//! Reading order: [`outline`], [`store`], [`reader`], [`care`], [`collect`], [`mentions`], [`actor`], [`fetch`], [`partial`], [`exchange`], [`keeping`], [`thumbnail`]; [`folder`] and
//! [`index`] are where it all lies, [`tables`] the layout.

pub mod actor;
pub mod care;
pub mod collect;
pub mod exchange;
pub mod fetch;
pub mod folder;
pub mod index;
pub mod keeping;
mod mentions;
pub mod outline;
pub mod partial;
pub mod reader;
pub mod squeeze;
pub mod store;
pub mod tables;
pub mod thumbnail;

// What fails there is the test: a panic is the right report.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod kit;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
