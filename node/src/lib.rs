//! The node: it assembles the rooms, supervises them, answers gRPC clients, and is the `openprod` command line.
//!
//! Nothing is decided here that a room or the domain could decide: services turn requests into messages and answers
//! into replies.
//!
//! ```text
//! node (this process)
//!  +- identities, gRPC and HTTP server, metrics
//!  +- workspace W1 (supervisor): oplog, state, commands
//!  +- workspace W2 (supervisor): oplog, state, commands
//! ```
//!
//! Reading order: [`node`] (start and stop), [`workspace`] (the tree of one workspace), [`server`] (doors and their
//! locks), [`services`] (one file per gRPC service), [`cli`] (what people type).

pub mod backup;
pub mod certificate;
pub mod child;
pub mod cli;
pub mod clients;
pub mod config;
pub mod demo;
pub mod diagnostics;
pub mod emergency;
pub mod environment;
pub mod exchange;
pub mod files;
pub mod folder;
pub mod identities;
pub mod joining;
pub mod logging;
pub mod manifest;
pub mod migration;
pub mod node;
pub mod peers;
pub mod recovery;
pub mod refetch;
pub mod restart;
pub mod run;
pub mod server;
pub mod services;
pub mod sheet;
pub mod storage;
pub mod syncing;
pub mod telemetry;
pub mod verification;
pub mod workspace;
pub mod workspace_file;
