//! The Rust client of an OpenProd node: commands, reads and a live view of its workspaces, over gRPC.
//!
//! A [`Client`] speaks to one node; a [`Workspace`] is one show on it. What it adds to the generated code:
//!
//! * **Each command happens once.** A [`Change`] gets its command id when it is made. A reply that is lost, a node that
//!   restarts, a deadline that passes: the same change is sent again under the same id, and the node gives the first
//!   answer again. So a caller may do the same: keep the change, execute it once more.
//! * **You read what you wrote.** Reads wait for the last revision that this client has written or been shown.
//! * **A watch has no gaps.** [`Watch`] goes on from where a broken stream ended. Where it cannot, it says
//!   [`Event::Resynced`] and begins with a fresh snapshot.
//! * **Every call ends.** All have deadlines, retries are bounded in number and time ([`Patience`]).
//! * **Errors are sentences.** An [`Error`] says what happened and what to do next; [`Refused`] carries the reason that
//!   the node published for programs.
//!
//! It holds no data and decides nothing: what a command means is said by the node.
//!
//! Reading order: [`connect`], [`commands`], [`reads`], [`overlays`], [`blobs`], [`watch`], [`streams`], [`error`]; `trust`.

pub mod blobs;
pub mod commands;
pub mod connect;
pub mod error;
pub mod overlays;
pub mod reads;
pub mod streams;
pub mod watch;

mod attempt;
mod ids;
mod trust;

pub use attempt::Patience;
pub use commands::Change;
pub use connect::{Client, Endpoint, Token, Workspace};
pub use error::{Error, Refused};
pub use openprod_api::v1;
pub use openprod_wire::client_ticket::{BearerToken, ClientTicket, ClientTicketError, Fingerprint, NotAToken};
pub use reads::{Pages, Question};
pub use streams::Answers;
pub use watch::{Event, From, Watch};

/// The largest message that is sent or taken, in bytes: 32 MiB, as much as a node takes by default.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
