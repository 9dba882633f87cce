//! What a node tells about another node, for people and programs.

use std::net::SocketAddr;

use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::closing::CloseCode;

use crate::transport::{Closed, DialError, Side, Traffic};

/// A peer that outlives this run of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its key, unless nobody has answered at its address yet.
    pub key: Option<ActorId>,
    /// Where it was reached, the latest first.
    pub addresses: Vec<SocketAddr>,
}

/// Another node, as this one knows it now.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// Its key, unless nobody has answered at its address yet.
    pub key: Option<ActorId>,
    /// Where it is dialled, the best first.
    pub addresses: Vec<SocketAddr>,
    /// How it stands with it.
    pub stage: PeerStage,
    /// Why the last attempt or connection ended, for people; empty where none did.
    pub trouble: String,
    /// What stands between the two, as far as this node knows what it is.
    pub obstacle: Option<Obstacle>,
    /// Whether two machines have its key: a life of it came back after another one.
    pub is_double: bool,
}

/// What stands between two nodes. People can do something about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Nobody answers: it does not run, or a firewall is between.
    NoAnswer,
    /// Another node answers at its address.
    WrongKey,
    /// It speaks no protocol version that this node speaks.
    Version,
    /// One of the two is no member of anything that the other has.
    NotAMember,
    /// The key that answers is this node's own.
    Myself,
}

impl Obstacle {
    /// What ended a connection.
    pub(super) fn of_closing(how: &Closed) -> Option<Self> {
        match how {
            Closed::There(code) | Closed::Here(code) => match *code {
                CloseCode::NOT_WELCOME => Some(Self::NotAMember),
                CloseCode::VERSION => Some(Self::Version),
                CloseCode::MYSELF => Some(Self::Myself),
                _ => None,
            },
            Closed::Silent => Some(Self::NoAnswer),
            Closed::Lost(_) => None,
        }
    }

    /// Why a dial failed.
    pub(super) fn of_dial(error: &DialError) -> Option<Self> {
        match error {
            DialError::NoAnswer => Some(Self::NoAnswer),
            DialError::WrongKey { .. } => Some(Self::WrongKey),
            DialError::Refused(_) | DialError::Impossible(_) => None,
        }
    }
}

/// How it stands with another node.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerStage {
    /// Nobody dials it; it may dial.
    Resting,
    /// It is dialled again.
    Waiting {
        /// In how many milliseconds.
        in_ms: u64,
        /// After how many failures in a row.
        failures: u32,
    },
    /// It is being dialled.
    Dialling,
    /// It is connected.
    Connected(Box<Connected>),
}

/// A connection, in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    /// Since when: milliseconds since 1970, by this node's clock.
    pub since_ms: u64,
    /// Where the other is.
    pub remote: SocketAddr,
    /// Which end this node is.
    pub side: Side,
    /// How long a packet there and back takes, in microseconds.
    pub round_trip_us: u64,
    /// How far its clock is ahead of this node's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Bytes sent and received.
    pub traffic: Traffic,
    /// The protocol version both speak.
    pub version: u16,
    /// What it is: `openprod 0.1.0`.
    pub software: String,
    /// For how many milliseconds nothing was heard from it.
    pub silent_ms: u64,
    /// The workspaces that the two share now.
    pub workspaces: Vec<WorkspaceId>,
}
