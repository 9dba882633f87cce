//! The oplog's laws, pure: who may append what, in which order, and what is written for it.

pub mod admission;
pub mod along;
pub mod batch;
pub mod ledger;
pub mod members;
