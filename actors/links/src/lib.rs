//! Other nodes: finding them, admitting them, and giving each other the bundles that the other lacks.

pub mod admission;
pub mod company;
pub mod discovery;
pub mod endpoint;
pub mod replication;
pub mod sessions;
pub mod transport;
