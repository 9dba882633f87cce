//! Knocking at another node's door: asks on a channel to be admitted, and waits for its answer.

use std::time::Duration;

use openprod_messages::address::CALL_DEADLINE;
use openprod_model::ids::ActorId;
use openprod_model::value::Text;
use openprod_wire::admission::{Admission, EXPORTER_LABEL, Session};
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::Frame;

use super::guest::{Effect, Guest, Joined, Means, NotJoined};
use super::waiting::PATIENCE_MS;
use crate::transport::{Channel, Closed, Connection, LinkError};

/// How long the other may take to answer: a person decides there, and that node gives up first.
const ANSWER_DEADLINE: Duration = Duration::from_millis(PATIENCE_MS).saturating_add(CALL_DEADLINE).saturating_mul(2);

/// Why this node did not become a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnockError {
    /// The other does not admit this node.
    #[error(transparent)]
    NotJoined(#[from] NotJoined),
    /// The connection was lost meanwhile. Whether this node was admitted is unknown: asking again tells.
    #[error("the connection was lost: {0}")]
    Lost(LinkError),
}

/// The digits that the person who joins is to compare with what a member there sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What the workspace is called.
    pub workspace: Text,
    /// The six digits.
    pub code: String,
}

/// Asks on `channel`, which was just opened on `connection` for admission, to admit the node `me`, which is called
/// `name`. `number` is random and fresh. `show` is called where people are to compare.
pub async fn knock(
    me: ActorId,
    connection: &dyn Connection,
    mut channel: Channel,
    means: Means,
    name: Text,
    number: [u8; 32],
    show: impl FnMut(Comparison) + Send,
) -> Result<Joined, KnockError> {
    let exporter = connection.exporter(EXPORTER_LABEL, b"");
    let guest = Guest::new(Session { exporter, joiner: me, member: connection.peer() }, means, number);
    channel.send.say(&guest.asks(name)).await.map_err(KnockError::Lost)?;
    let answered = tokio::time::timeout(ANSWER_DEADLINE, answered(channel, guest, show)).await;
    answered.unwrap_or(Err(KnockError::Lost(LinkError::TooSlow)))
}

async fn answered(
    channel: Channel,
    mut guest: Guest,
    mut show: impl FnMut(Comparison) + Send,
) -> Result<Joined, KnockError> {
    // The sending half lives as long as we wait: dropped, it would say that nobody waits.
    let Channel { mut send, mut receive } = channel;
    receive.set_limit(Admission::MAX_BYTES);
    loop {
        let frame = match receive.receive().await {
            Ok(frame) => frame,
            // As a node treats strangers.
            Err(LinkError::GivenUp(_) | LinkError::Closed(Closed::There(CloseCode::NOT_WELCOME))) => None,
            Err(error) => return Err(KnockError::Lost(error)),
        };
        for effect in guest.hears(frame.as_deref()) {
            match effect {
                Effect::Say(frame) => send.say(&frame).await.map_err(KnockError::Lost)?,
                Effect::Show { workspace, code } => show(Comparison { workspace, code }),
                Effect::Done(result) => return Ok(result?),
            }
        }
    }
}
