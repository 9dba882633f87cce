//! Admission: what a node that wants to join and a member say to each other, on a stream of its own.
//!
//! The joiner asks once. Who has a ticket or a member's key proves it by a signature over the TLS session, so that
//! nobody in between can use what he hears. Who has neither may ask where the workspace lets itself be found: then both
//! sides mix a number into the session that neither could choose knowing the other's, and two people compare the six
//! digits that follow from it. The commitment comes first, so that somebody who answers both sides with sessions of his
//! own has one chance in a million, however fast he computes (as in ZRTP, RFC 6189, section 4.4.1.1).

use openprod_model::identity::{self, Keys, Signature};
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_model::value::Text;
use serde::{Deserialize, Serialize};

use crate::framing::Frame;

/// Longest name that a node gives itself, in bytes: a line on a screen.
pub const MAX_NAME_BYTES: usize = 128;
/// Most names of workspaces in one answer: a list that somebody chooses from.
pub const MAX_CHOICES: usize = 16;
/// The label under which both sides export the bytes of their TLS session (RFC 8446, section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-openprod-admission/1";

const TICKET_DOMAIN: &[u8] = b"openprod/join-by-ticket/1\0";
const MEMBER_DOMAIN: &[u8] = b"openprod/join-by-member/1\0";
const COMMITMENT_DOMAIN: &[u8] = b"openprod/join-commitment/1\0";
const CODE_DOMAIN: &[u8] = b"openprod/join-code/1\0";

/// Both ends of a TLS session, as each side knows them for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Bytes that only these two can know, exported from the session under [`EXPORTER_LABEL`].
    pub exporter: [u8; 32],
    /// The node that wants to join.
    pub joiner: ActorId,
    /// The member that it asks.
    pub member: ActorId,
}

impl Session {
    fn said(&self, domain: &[u8], rest: &[&[u8]]) -> Vec<u8> {
        let mut said = [domain, &self.exporter, self.joiner.as_bytes(), self.member.as_bytes()].concat();
        said.extend(rest.iter().flat_map(|part| part.iter().copied()));
        said
    }

    /// Shows that the joiner has a ticket's secret, or a member's key.
    pub fn prove(&self, by: Right, workspace: WorkspaceId, keys: &Keys) -> Signature {
        keys.sign(&self.said(by.domain(), &[workspace.as_bytes()]))
    }

    /// Whether [`Self::prove`] made `proof` in this very session with the keys of `key`.
    pub fn is_proven(&self, by: Right, workspace: WorkspaceId, key: ActorId, proof: &Signature) -> bool {
        identity::verify(key, &self.said(by.domain(), &[workspace.as_bytes()]), proof)
    }

    /// The six digits that people compare, in two groups: "481 502".
    pub fn code(&self, joiners: &[u8; 32], members: &[u8; 32]) -> String {
        let hash = blake3::hash(&self.said(CODE_DOMAIN, &[joiners, members]));
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let number = u64::from_le_bytes(first) % 1_000_000;
        format!("{:03} {:03}", number / 1000, number % 1000)
    }
}

/// Binds the joiner to a number before it hears the member's.
pub fn commitment(number: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(COMMITMENT_DOMAIN).update(number);
    *hasher.finalize().as_bytes()
}

/// By what right somebody joins who need not wait for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// A ticket.
    Ticket,
    /// A key that is a member already: the recovery key, or a person's own, taken along to another computer.
    Member,
}

impl Right {
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Ticket => TICKET_DOMAIN,
            Self::Member => MEMBER_DOMAIN,
        }
    }
}

/// Why a member does not admit somebody. Told only to whom it may concern: strangers are told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// The ticket's time is over.
    #[error("this ticket has expired")]
    Expired,
    /// Somebody took the ticket back.
    #[error("this ticket was revoked")]
    Revoked,
    /// As many have joined with it as were meant to.
    #[error("this ticket was used up")]
    UsedUp,
    /// Whoever would admit is no longer a member.
    #[error("who made this ticket is no longer a member")]
    MakerRemoved,
    /// Whoever joins was removed after it had joined with this very ticket.
    #[error("this node was removed since; a new ticket readmits it")]
    Removed,
    /// A person said no.
    #[error("a member said no")]
    Denied,
    /// Nobody answered.
    #[error("nobody answered")]
    Unanswered,
    /// Too many wait already.
    #[error("too many are waiting to join already")]
    TooMany,
    /// The member cannot write at the moment.
    #[error("that node cannot admit anybody at the moment")]
    Unavailable,
}

/// What is said on an admission stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// The joiner has a ticket of the stream's workspace, or the key of a member.
    Claim {
        /// Which of them.
        by: Right,
        /// The public half of the ticket's key, or the member.
        key: ActorId,
        /// See [`Session::prove`].
        proof: Signature,
        /// What the joining node is called.
        name: Text,
    },
    /// The joiner has nothing and asks to be let in.
    Request {
        /// The name of the workspace; none if there is only one that can be meant.
        workspace: Option<Text>,
        /// See [`commitment`].
        commitment: [u8; 32],
        /// What the joining node is called.
        name: Text,
    },
    /// The member will ask its people, once the joiner has said its number.
    Challenge {
        /// The member's number.
        number: [u8; 32],
        /// What the workspace is called.
        name: Text,
    },
    /// The joiner's number, once the member has said its own.
    Reveal {
        /// The number.
        number: [u8; 32],
    },
    /// Several workspaces can be meant: the joiner shall name one of them in a new stream.
    Choose {
        /// Their names.
        names: Vec<Text>,
    },
    /// The joiner's node is a member from now on.
    Admitted {
        /// The workspace.
        workspace: WorkspaceId,
        /// What it is called.
        name: Text,
    },
    /// It is not.
    Refused {
        /// Why.
        why: Denial,
    },
}

impl Frame for Admission {
    const KINDS: u32 = 7;
    /// A few names and a signature.
    const MAX_BYTES: usize = 4096;

    fn is_within_bounds(&self) -> bool {
        let fits = |name: &Text| name.as_str().len() <= MAX_NAME_BYTES;
        match self {
            Self::Request { workspace, name, .. } => fits(name) && workspace.as_ref().is_none_or(fits),
            Self::Choose { names } => names.len() <= MAX_CHOICES && names.iter().all(fits),
            Self::Claim { name, .. } | Self::Challenge { name, .. } | Self::Admitted { name, .. } => fits(name),
            Self::Reveal { .. } | Self::Refused { .. } => true,
        }
    }
}

/// `name` cut to what a frame may hold, in one line; "Unnamed" if nothing is left of it.
pub fn modest(name: &str) -> Text {
    let line: String = name.chars().filter(|c| !c.is_control()).collect();
    // Normalizing can lengthen, so it goes before the cut; the beginning of normal text is normal.
    let normal = Text::new(line.trim());
    let cut = normal.iter().map(|text| &text.as_str()[..text.as_str().floor_char_boundary(MAX_NAME_BYTES)]);
    let cut = cut.map(str::trim_end).find(|name| !name.is_empty()).unwrap_or("Unnamed");
    Text::new(cut).expect("the beginning of a text is a text")
}
