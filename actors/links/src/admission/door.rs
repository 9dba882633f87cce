//! The door of a node: hears out those who ask to be admitted, a bounded number at a time, and asks the workspaces' rooms.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openprod_messages::address::{Address, CALL_DEADLINE};
use openprod_messages::admission::{AdmissionMsg, JoinRequest, Verdict};
use openprod_messages::environment::Environment;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::admission::{Admission, Denial, EXPORTER_LABEL, Session};
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::Frame;
use tokio::sync::oneshot;

use super::crowd::Crowd;
use super::host::{Effect, Event, Findable, Host};
use super::waiting::PATIENCE_MS;
use crate::transport::{Channel, Connection, FrameReceiver, FrameSender};

/// How long a joiner may take to say something.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// How long a room may think: a person decides, and the room itself gives up first.
const VERDICT_DEADLINE: Duration = Duration::from_millis(PATIENCE_MS).saturating_add(CALL_DEADLINE);

/// The workspaces of this node, as its door sees them.
pub trait Houses: Send + Sync {
    /// Those that whoever finds them may ask to join.
    fn findable(&self) -> Vec<Findable>;
    /// The admission room of one.
    fn room(&self, workspace: WorkspaceId) -> Option<Address<AdmissionMsg>>;
}

/// The door of a node.
pub struct Door {
    key: ActorId,
    houses: Arc<dyn Houses>,
    env: Environment,
    crowd: Mutex<Crowd>,
}

/// Somebody at the door, until he goes.
struct Inside<'a>(&'a Door, IpAddr);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.crowd.lock().unwrap_or_else(PoisonError::into_inner).leave(self.1);
    }
}

/// How a joiner's stream goes on.
enum Next {
    Happens(Event),
    Gone,
}

impl Door {
    /// The door of the node with this key.
    pub fn new(key: ActorId, houses: Arc<dyn Houses>, env: Environment) -> Self {
        Self { key, houses, env, crowd: Mutex::default() }
    }

    /// Hears out whoever opened `channel` on `connection` for admission: to the workspace that its tag names, or to one
    /// that he has yet to find. Strangers hear nothing but that the channel is given up.
    pub async fn hears(&self, connection: &dyn Connection, channel: Channel, named: Option<WorkspaceId>) {
        let address = connection.remote().ip();
        let entered =
            self.crowd.lock().unwrap_or_else(PoisonError::into_inner).enter(address, self.env.clock.wall_ms());
        let Ok(()) = entered else { return channel.give_up(CloseCode::BUSY) };
        let _inside = Inside(self, address);
        let exporter = connection.exporter(EXPORTER_LABEL, b"");
        let session = Session { exporter, joiner: connection.peer(), member: self.key };
        let mut number = [0; 32];
        self.env.random.fill(&mut number);
        let host = Host::new(session, named, number);
        self.serves(host, channel, connection.peer()).await;
    }

    async fn serves(&self, mut host: Host, channel: Channel, joiner: ActorId) {
        let Channel { mut send, mut receive } = channel;
        receive.set_limit(Admission::MAX_BYTES);
        let (mut verdict, mut said) = (None, false);
        while !host.is_over() {
            let Next::Happens(event) = next(&mut receive, &mut verdict).await else { return give_up(send, receive) };
            let mut effects = host.handle(event);
            while !effects.is_empty() {
                match effects.remove(0) {
                    Effect::Say(frame) => match send.say(&frame).await {
                        Ok(()) => said = true,
                        Err(_) => return give_up(send, receive),
                    },
                    Effect::Find => effects.extend(host.handle(Event::Found(self.houses.findable()))),
                    Effect::Claim { workspace, by, key, name } => {
                        verdict =
                            Some(self.ask(workspace, |reply| AdmissionMsg::Claim { by, key, joiner, name, reply }));
                    }
                    Effect::Knock { workspace, name, code } => {
                        let since_ms = self.env.clock.wall_ms();
                        let request = JoinRequest { joiner, name, code, since_ms };
                        verdict = Some(self.ask(workspace, |reply| AdmissionMsg::Knock { request, reply }));
                    }
                    Effect::Close => break,
                }
            }
        }
        if said { send.finish() } else { give_up(send, receive) }
    }

    /// Where nobody takes the message, its port is dropped with it, and the wait for it ends at once.
    fn ask(
        &self,
        workspace: WorkspaceId,
        message: impl FnOnce(ractor::RpcReplyPort<Verdict>) -> AdmissionMsg,
    ) -> oneshot::Receiver<Verdict> {
        let (port, verdict) = ractor::concurrency::oneshot();
        if let Some(room) = self.houses.room(workspace) {
            let _ = room.cast(message(port.into()));
        }
        verdict
    }
}

/// What happens next: the joiner says something or goes, or the room has decided. While a room decides, the joiner has
/// nothing to say, and need not be quick.
async fn next(receive: &mut FrameReceiver, verdict: &mut Option<oneshot::Receiver<Verdict>>) -> Next {
    let patience = if verdict.is_some() { VERDICT_DEADLINE } else { FRAME_DEADLINE };
    let decided = async {
        match verdict {
            Some(verdict) => verdict.await.unwrap_or(Verdict::Denied(Denial::Unavailable)),
            None => std::future::pending().await,
        }
    };
    let happens = async {
        tokio::select! {
            biased;
            verdict = decided => Next::Happens(Event::Verdict(verdict)),
            frame = receive.receive() => match frame {
                Ok(Some(bytes)) => Next::Happens(Event::Frame(bytes)),
                Ok(None) | Err(_) => Next::Gone,
            },
        }
    };
    tokio::time::timeout(patience, happens).await.unwrap_or(Next::Gone)
}

fn give_up(send: FrameSender, receive: FrameReceiver) {
    send.give_up(CloseCode::NOT_WELCOME);
    receive.give_up(CloseCode::NOT_WELCOME);
}
