//! Admission: who may join a workspace, and who may sync it.

pub mod gate;
pub mod guest;
pub mod host;
pub mod tickets;
pub mod waiting;
