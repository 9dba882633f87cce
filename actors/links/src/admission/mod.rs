//! Admission: who may join a workspace, and who may sync it.

pub mod crowd;
pub mod door;
pub mod gate;
pub mod guest;
pub mod host;
pub mod knock;
pub mod room;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod waiting;
