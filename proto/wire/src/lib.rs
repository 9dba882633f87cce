//! What nodes say to each other: frames, tickets, and their encoding.
//!
//! Nothing here acts: no actors, no I/O, no clock, no randomness. A frame is a length, then the canonical bytes of one
//! value of [`openprod_model::codec`].

pub mod admission;
pub mod framing;
pub mod letters;
pub mod recovery;
pub mod ticket;
