//! Admission: who may join a workspace, and who may sync it.

pub mod gate;
pub mod tickets;
pub mod waiting;
