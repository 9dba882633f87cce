//! Tickets: what a member gives to somebody who shall join, as text or as a QR code.
//!
//! A ticket names the workspace, the node that invites with its addresses, and a secret. The secret is the seed of a
//! key pair made for this one ticket: the joiner signs with it, and the inviting node keeps nothing but the public
//! half, so that its disk tells nobody how to join.

use core::net::SocketAddr;

use openprod_model::codec;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, WorkspaceId};
use serde::{Deserialize, Serialize};

use crate::letters::{self, LettersError};

/// Longest time that a ticket may be good for: 24 hours, a working day and the night behind it.
pub const MAX_LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;
/// Most uses of a ticket: a large crew, from one code on the wall.
pub const MAX_USES: u16 = 100;
/// Most addresses in a ticket: more network interfaces than a laptop has in use, and still a QR code that scans.
pub const MAX_ADDRESSES: usize = 8;

const WORD: &str = "JOIN";
const VERSION: u8 = 1;
const KEY_CONTEXT: &str = "openprod 2026 key pair of a ticket's secret";

/// The secret of a ticket. Its debug form does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 16]);

impl Secret {
    /// From 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key pair whose seed follows from it.
    pub fn keys(&self) -> Keys {
        Keys::from_seed(&blake3::derive_key(KEY_CONTEXT, &self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An invitation to a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where to.
    pub workspace: WorkspaceId,
    /// The node that invites, and that must be reached.
    pub inviter: ActorId,
    /// Where that node was listening when the ticket was made; at most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// What proves that the joiner has the ticket.
    pub secret: Secret,
    /// When it ends, by the inviting node's clock, in milliseconds since 1970. Only that node judges it.
    pub expires_ms: u64,
    /// How many nodes may join with it.
    pub uses: u16,
}

/// Why a text is not a ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Its letters are not those of a ticket.
    #[error("{0}")]
    Letters(#[from] LettersError),
    /// The letters are right, and what they say is not a ticket.
    #[error("its content is not a ticket's")]
    Content,
}

impl Ticket {
    /// Whether `text` says of itself that it is a ticket, whole and right or not.
    pub fn is_meant(text: &str) -> bool {
        letters::claims(WORD, text)
    }

    /// Reads a ticket that was copied, typed or scanned: case, line breaks and dashes do not matter.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let content = letters::read(WORD, VERSION, text)?;
        let ticket: Self = codec::decode(&content).map_err(|_| TicketError::Content)?;
        if ticket.is_possible() { Ok(ticket) } else { Err(TicketError::Content) }
    }

    fn is_possible(&self) -> bool {
        self.addresses.len() <= MAX_ADDRESSES && (1..=MAX_USES).contains(&self.uses)
    }
}

impl std::fmt::Display for Ticket {
    /// In capitals, so that a QR code takes it in its alphanumeric mode.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&letters::write(WORD, VERSION, &codec::encode(self)))
    }
}
