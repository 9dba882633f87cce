//! Transport: authenticated connections between nodes, and channels of frames on them, whatever carries them.
//!
//! A [`Network`] is a node's place in the world: it dials and is dialled. A [`Connection`] joins two nodes that have
//! proven their keys to each other; the key is the identity, and nobody else vouches for it. A [`Channel`] is one
//! conversation on a connection: two directions of frames, each bounded, so that a slow reader slows its writer and
//! nothing else. What the frames say is no business of this module.
//!
//! `quic` is the real one; `memory` is the same in one process, with cuts and delays by command. One suite of tests
//! holds them to the same behaviour.

// The dialler and the dialled: that they sound alike is how the language has it.
#![allow(clippy::similar_names)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openprod_model::ids::ActorId;
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::{self, Frame, FrameError};
pub use openprod_wire::hello::Side;

#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod quic;
#[cfg(test)]
mod tests;

/// What every connection says it speaks, before anything else; it stays through all protocol versions of the hello.
pub const PROTOCOL: &[u8] = b"openprod/1";

/// How long a connection may hear nothing before it counts as gone: Wi-Fi that roams is silent for some seconds, and a
/// new connection costs one handshake. It is counted from the first packet that goes unanswered, which is sent
/// [`KEEP_ALIVE`] after the last that was heard: so a node whose power fails is gone for others within 12 seconds.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a node that has nothing to say says that it is there. Four of them may be lost in a row.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How long a dial may take before it is given up.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// How long one frame may wait to be sent because the other does not read. Far beyond any fold of a checkpoint.
pub const SEND_DEADLINE: Duration = Duration::from_mins(1);

/// How many channels the other side may have open at once on a connection: a few for each of many workspaces.
pub const MAX_CHANNELS: u32 = 256;

/// How many it may have open before it is welcome.
pub const MAX_STRANGER_CHANNELS: u32 = 4;

/// How many bytes one direction of a channel holds that were sent and not yet read.
pub const CHANNEL_WINDOW_BYTES: u32 = 1024 * 1024;

/// A frame that nobody has set a limit for yet: room for an opening and no more.
const FIRST_LIMIT: usize = 4 * 1024;

/// A node's place among the others.
pub trait Network: Send + Sync {
    /// The key that this node is known by.
    fn key(&self) -> ActorId;

    /// Where it is dialled, one address for each that it listens on.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// Dials; where `expected` is given, only that node will do. Takes at most [`DIAL_DEADLINE`].
    fn dial(&self, to: SocketAddr, expected: Option<ActorId>) -> BoxFuture<'_, Result<Arc<dyn Connection>, DialError>>;

    /// The next node that has dialled this one and proven its key; none after [`Self::stop`].
    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>>;

    /// Closes all connections and listens no more.
    fn stop(&self);
}

/// Two nodes that know each other's key. When nobody holds it any more, it is closed; so whoever works on its channels
/// sees to it that somebody does.
pub trait Connection: Send + Sync {
    /// The other's key, proven.
    fn peer(&self) -> ActorId;

    /// Which end this is.
    fn side(&self) -> Side;

    /// Where the other is at present; it may move.
    fn remote(&self) -> SocketAddr;

    /// How long a packet there and back takes, as estimated now.
    fn round_trip(&self) -> Duration;

    /// What went over it so far.
    fn traffic(&self) -> Traffic;

    /// 32 bytes that only the two ends of this connection can compute, the same at both (RFC 8446, section 7.5).
    fn exporter(&self, label: &[u8], context: &[u8]) -> [u8; 32];

    /// The other belongs here: from now on it may have [`MAX_CHANNELS`] open, and a member's share of memory.
    fn welcome(&self);

    /// Opens a channel, as soon as the other allows one more. The other hears of it with the first frame.
    fn open(&self) -> BoxFuture<'_, Result<Channel, Closed>>;

    /// The next channel that the other opens.
    fn accept(&self) -> BoxFuture<'_, Result<Channel, Closed>>;

    /// Ends it at once; frames under way may be lost. Without effect where it is closed already.
    fn close(&self, code: CloseCode);

    /// Waits until it is closed, by whomever, and says how.
    fn closed(&self) -> BoxFuture<'static, Closed>;
}

/// What went over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This node closed it.
    #[error("this node closed the connection: {0}")]
    Here(CloseCode),
    /// The other closed it.
    #[error("the other node closed the connection: {0}")]
    There(CloseCode),
    /// Nothing was heard for [`IDLE_TIMEOUT`].
    #[error("nothing was heard from the other node")]
    Silent,
    /// Something below failed.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nobody answers there, or a firewall is between.
    #[error("nobody answers there; is the node running, and is its UDP port open?")]
    NoAnswer,
    /// Another node than the expected one is there.
    #[error("another node is there, with the key {}", .found.short())]
    WrongKey {
        /// The key of the one that answered.
        found: ActorId,
    },
    /// It answers, but not as a node does, or it refuses.
    #[error("the one that answers there refused: {0}")]
    Refused(String),
    /// This node's network was stopped, or the address cannot be dialled from here.
    #[error("the address cannot be dialled from here: {0}")]
    Impossible(String),
}

/// Why a frame was not sent or not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The other gave up this channel.
    #[error("the other node gave up the channel: {0}")]
    GivenUp(CloseCode),
    /// The other ended the channel within a frame.
    #[error("the channel ended within a frame")]
    Truncated,
    /// What came is not a frame that can be used.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other did not read, or did not write, for too long.
    #[error("the other node takes too long")]
    TooSlow,
}

/// One conversation: what this node says, and what it hears. The halves may go separate ways.
pub struct Channel {
    /// What this node says.
    pub send: FrameSender,
    /// What it hears.
    pub receive: FrameReceiver,
}

impl Channel {
    fn of(send: impl Outlet + 'static, receive: impl Inlet + 'static) -> Self {
        Self { send: FrameSender(Box::new(send)), receive: FrameReceiver(Box::new(receive)) }
    }

    /// Gives up both directions.
    pub fn give_up(self, code: CloseCode) {
        self.send.give_up(code);
        self.receive.give_up(code);
    }
}

/// The sending half of what carries a channel.
trait Outlet: Send + Sync {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), LinkError>>;
    fn finish(&mut self);
    fn give_up(&mut self, code: CloseCode);
}

/// The receiving half of what carries a channel.
trait Inlet: Send + Sync {
    /// May be dropped and called again: nothing is lost.
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, LinkError>>;
    fn set_limit(&mut self, bytes: usize);
    fn give_up(&mut self, code: CloseCode);
}

/// Says frames. Dropped, it ends the direction as [`Self::finish`] does.
pub struct FrameSender(Box<dyn Outlet>);

impl FrameSender {
    /// Sends a frame's bytes: waits while the window is full, at most [`SEND_DEADLINE`]. If the future is dropped before
    /// it is done, the direction is broken: the other hears [`LinkError::Truncated`].
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), LinkError> {
        tokio::time::timeout(SEND_DEADLINE, self.0.send(frame)).await.unwrap_or(Err(LinkError::TooSlow))
    }

    /// Sends a frame.
    pub async fn say<T: Frame>(&mut self, frame: &T) -> Result<(), LinkError> {
        self.send(framing::encode(frame)?).await
    }

    /// Nothing more will be said; what was said still arrives.
    pub fn finish(mut self) {
        self.0.finish();
    }

    /// Nothing more will be said, and what is under way need not arrive.
    pub fn give_up(mut self, code: CloseCode) {
        self.0.give_up(code);
    }
}

/// Hears frames. Dropped, it tells the other that nobody listens any more.
pub struct FrameReceiver(Box<dyn Inlet>);

impl FrameReceiver {
    /// The bytes of the next frame, or none after the last. The future may be dropped and asked for again: nothing is
    /// lost.
    pub async fn receive(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        self.0.receive().await
    }

    /// The next frame, with the limit of its kind of stream; none after the last.
    pub async fn hear<T: Frame>(&mut self) -> Result<Option<T>, LinkError> {
        self.set_limit(T::MAX_BYTES);
        let bytes = self.receive().await?;
        Ok(bytes.map(|bytes| framing::decode(&bytes)).transpose()?)
    }

    /// As [`Self::hear`], but waits no longer than this.
    pub async fn hear_within<T: Frame>(&mut self, patience: Duration) -> Result<Option<T>, LinkError> {
        tokio::time::timeout(patience, self.hear()).await.unwrap_or(Err(LinkError::TooSlow))
    }

    /// The most bytes of a frame that begins from now on. At first there is room for an opening only.
    pub fn set_limit(&mut self, bytes: usize) {
        self.0.set_limit(bytes);
    }

    /// Listens no more, and tells the other why.
    pub fn give_up(mut self, code: CloseCode) {
        self.0.give_up(code);
    }
}
