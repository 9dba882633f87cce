//! The oplog.

pub mod actor;
pub mod disk;
pub mod logic;
pub mod store;
pub mod tables;
