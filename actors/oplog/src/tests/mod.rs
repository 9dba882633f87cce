//! The oplog's own tests: the real actor and the real engine, over disks that fail, tear and heal.

#![allow(clippy::cast_possible_truncation, reason = "tests count in small numbers")]

mod admit;
mod append;
mod copies;
mod crash;
mod failpoints;
mod faults;
mod handover;
pub(crate) mod kit;
mod migration;
mod model;
mod quarantine;
mod space;
