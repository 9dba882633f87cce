//! Knocking at another node's door: dials it, asks to be admitted, and waits for its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openprod_messages::address::CALL_DEADLINE;
use openprod_model::ids::ActorId;
use openprod_model::value::Text;
use openprod_wire::admission::{Admission, EXPORTER_LABEL, Session};
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::Frame;
use openprod_wire::hello::{TAG_LABEL, WorkspaceTag};
use openprod_wire::opening::Opening;

use super::guest::{Effect, Guest, Joined, Means, NotJoined};
use super::waiting::PATIENCE_MS;
use crate::transport::{Channel, Closed, Connection, DialError, LinkError, Network};

/// How long the other may take to answer: a person decides there, and that node gives up first.
const ANSWER_DEADLINE: Duration = Duration::from_millis(PATIENCE_MS).saturating_add(CALL_DEADLINE).saturating_mul(2);

/// Why this node did not become a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KnockError {
    /// No address can be reached; each with the reason.
    #[error("{}", unreachable(.0))]
    Unreachable(Vec<(SocketAddr, DialError)>),
    /// It was reached, and does not admit this node.
    #[error(transparent)]
    NotJoined(#[from] NotJoined),
    /// The connection was lost meanwhile. Whether it admitted this node is unknown: asking again tells.
    #[error("the connection was lost: {0}")]
    Lost(LinkError),
}

fn unreachable(tried: &[(SocketAddr, DialError)]) -> String {
    let tried: Vec<String> = tried.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    if tried.is_empty() { "no address is known".to_owned() } else { tried.join("; ") }
}

/// What a joiner is told meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// This node answers there.
    Reached {
        /// Its key.
        member: ActorId,
        /// Where.
        address: SocketAddr,
    },
    /// A member there sees these six digits too, and has to approve.
    Compare {
        /// What the workspace is called.
        workspace: Text,
        /// The six digits.
        code: String,
    },
}

/// Asks whoever answers first at `addresses`, in their order, to admit this node, which is called `name`. Where
/// `expected` is given, only that node will do. `number` is random and fresh.
pub async fn knock(
    network: &dyn Network,
    addresses: &[SocketAddr],
    expected: Option<ActorId>,
    means: Means,
    name: Text,
    number: [u8; 32],
    mut tell: impl FnMut(Progress) + Send,
) -> Result<Joined, KnockError> {
    let (address, connection) = reach(network, addresses, expected).await?;
    tell(Progress::Reached { member: connection.peer(), address });
    let session = Session {
        exporter: connection.exporter(EXPORTER_LABEL, b""),
        joiner: network.key(),
        member: connection.peer(),
    };
    let opening = opening(&*connection, &means);
    let guest = Guest::new(session, means, number);
    let asked = async {
        let mut channel = connection.open().await?;
        channel.send.say(&opening).await?;
        channel.send.say(&guest.asks(name)).await?;
        Ok(channel)
    };
    let channel = asked.await.map_err(KnockError::Lost)?;
    let answered = tokio::time::timeout(ANSWER_DEADLINE, answered(channel, guest, tell)).await;
    answered.unwrap_or(Err(KnockError::Lost(LinkError::TooSlow)))
}

async fn reach(
    network: &dyn Network,
    addresses: &[SocketAddr],
    expected: Option<ActorId>,
) -> Result<(SocketAddr, Arc<dyn Connection>), KnockError> {
    let mut tried = Vec::new();
    for address in addresses {
        match network.dial(*address, expected).await {
            Ok(connection) => return Ok((*address, connection)),
            Err(error) => tried.push((*address, error)),
        }
    }
    Err(KnockError::Unreachable(tried))
}

/// Whoever knows the workspace names it by its tag: so the other learns of no workspace that it does not know.
fn opening(connection: &dyn Connection, means: &Means) -> Opening {
    match means {
        Means::Key { workspace, .. } => {
            let secret = connection.exporter(TAG_LABEL, b"");
            Opening::Admission { tag: WorkspaceTag::of(*workspace, &secret, connection.side()) }
        }
        Means::Asking { .. } => Opening::Asking,
    }
}

async fn answered(
    channel: Channel,
    mut guest: Guest,
    mut tell: impl FnMut(Progress) + Send,
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
                Effect::Show { workspace, code } => tell(Progress::Compare { workspace, code }),
                Effect::Done(result) => return Ok(result?),
            }
        }
    }
}
