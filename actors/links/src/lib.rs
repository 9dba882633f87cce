//! Other nodes: finding them, admitting them, and giving each other the bundles that the other lacks.
//!
//! # Where it can be made to fail
//!
//! With the feature `failpoints`: `links-after-receive`, `links-before-admit`, `links-before-acknowledge`,
//! `links-after-send`; and, while somebody joins, `links-after-redeem`, `links-before-verdict`.

pub mod admission;
pub mod company;
pub mod discovery;
pub mod endpoint;
pub mod replication;
pub mod sessions;
pub mod transport;
