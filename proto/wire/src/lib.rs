//! What nodes say to each other: frames, tickets, and their encoding.
//!
//! Nothing here acts: no actors, no I/O, no clock, no randomness. A frame is a length, then the canonical bytes of one
//! value of [`openprod_model::codec`].
//!
//! Reading order: [`framing`], [`opening`], [`hello`], [`closing`], [`beacon`]; then [`letters`], [`ticket`],
//! [`client_ticket`], [`recovery`] and [`admission`]; then [`replication`] and [`presence`]; then [`files`].

pub mod admission;
pub mod beacon;
pub mod client_ticket;
pub mod closing;
pub mod files;
pub mod framing;
pub mod hello;
#[cfg(test)]
mod hostile;
pub mod letters;
pub mod opening;
pub mod presence;
pub mod recovery;
pub mod replication;
pub mod ticket;
