//! What undoing means, and what conflicts are: laws one by one, and histories of three people at random.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod disputes;
mod interleavings;
mod kinds;
mod kit;
mod laws;
mod texts;
