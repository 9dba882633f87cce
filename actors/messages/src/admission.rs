//! What is said to the admission room: tickets, and people who want to join.

use openprod_model::ids::ActorId;
use openprod_model::value::Text;
use openprod_wire::admission::{Denial, Right};
use openprod_wire::ticket::Secret;
use ractor::RpcReplyPort;

use crate::commands::CommandError;

/// What a ticket shall be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many nodes may join with it.
    pub uses: u16,
    /// For how long, in milliseconds.
    pub lifetime_ms: u64,
}

/// How a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketStanding {
    /// It can be used.
    Live,
    /// As many have joined with it as were meant to.
    UsedUp,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

/// A ticket as the inviting node knows it: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketNote {
    /// The public half of its key: its id.
    pub key: ActorId,
    /// Who made it, and admits by it.
    pub maker: ActorId,
    /// When it was made, by this node's clock, in milliseconds since 1970.
    pub made_ms: u64,
    /// When it ends, likewise.
    pub expires_ms: u64,
    /// How many nodes may join with it.
    pub uses: u16,
    /// The nodes that did.
    pub joined: Vec<ActorId>,
    /// How it stands.
    pub standing: TicketStanding,
}

/// A node that waits for a member to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Its key.
    pub joiner: ActorId,
    /// What it calls itself.
    pub name: Text,
    /// The six digits that its screen shows too.
    pub code: String,
    /// When it asked, by this node's clock, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What a joiner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is a member from now on, durably (I-1), of the workspace of this name.
    Admitted {
        /// The name, in one line.
        name: Text,
    },
    /// It is not.
    Denied(Denial),
    /// It is a stranger, and is told nothing.
    Silence,
}

/// Where the tickets of a workspace are kept: private to this node, and in no backup.
pub trait TicketShelf: Send + Sync {
    /// What was kept last; none if nothing was.
    fn read(&self) -> std::io::Result<Option<Vec<u8>>>;
    /// Keeps this in its place, whole and durably.
    fn write(&self, bytes: &[u8]) -> std::io::Result<()>;
}

/// Messages to the admission room.
pub enum AdmissionMsg {
    /// Make a ticket, in the name of one of this node's actors; the default one if none.
    Invite {
        /// What it shall be good for.
        terms: Terms,
        /// Who invites.
        maker: Option<ActorId>,
        /// The ticket, and its secret: known to nobody else, and never again.
        reply: RpcReplyPort<Result<(TicketNote, Secret), CommandError>>,
    },
    /// Tell all tickets that are remembered, the latest first.
    Tickets {
        /// They.
        reply: RpcReplyPort<Vec<TicketNote>>,
    },
    /// Take a ticket back. Who has joined with it stays a member.
    Revoke {
        /// Its id.
        ticket: ActorId,
        /// How it stands then.
        reply: RpcReplyPort<Result<TicketNote, CommandError>>,
    },
    /// A node has proven in its session that it has a ticket's secret or a member's key: admit it.
    Claim {
        /// Which of them.
        by: Right,
        /// The public half of what it has.
        key: ActorId,
        /// The node.
        joiner: ActorId,
        /// What it calls itself.
        name: Text,
        /// What it is told.
        reply: RpcReplyPort<Verdict>,
    },
    /// A node asks to be let in. In an open workspace it is; else it waits until a member decides. It gives up by
    /// dropping the reply port.
    Knock {
        /// Who asks.
        request: JoinRequest,
        /// What it is told.
        reply: RpcReplyPort<Verdict>,
    },
    /// Tell who waits, the first to ask first.
    Requests {
        /// They.
        reply: RpcReplyPort<Vec<JoinRequest>>,
    },
    /// Decide about whoever waits with this code.
    Decide {
        /// The six digits, as both screens show them; spaces do not matter.
        code: String,
        /// Whether it is admitted.
        answer: Answer,
        /// Who decides, one of this node's actors; the default one if none.
        by: Option<ActorId>,
        /// Who it was.
        reply: RpcReplyPort<Result<JoinRequest, CommandError>>,
    },
    /// Some time has passed: forget who has waited too long, or has gone. Said by the room to itself.
    Sweep,
}

/// What a member says to somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Come in.
    Approve,
    /// No.
    Deny,
}
