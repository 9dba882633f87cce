//! Addresses: a room is reached through one, whichever incarnation of it lives at the moment.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use ractor::{ActorRef, Message, MessagingErr, RpcReplyPort};

/// How long a call inside a node may take before its caller gives up: far beyond the slowest disk sync seen.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// The room did not answer: it is down, was restarted, or took too long. Whether it acted is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} of this workspace is restarting; try again")]
pub struct NoAnswer(pub &'static str);

/// Always points at the living incarnation of a room. Cheap to clone.
pub struct Address<M: Message> {
    room: &'static str,
    living: Arc<RwLock<Option<ActorRef<M>>>>,
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { room: self.room, living: Arc::clone(&self.living) }
    }
}

impl<M: Message> Address<M> {
    /// The address of a room that does not live yet; messages to it are lost until [`Self::moved_to`].
    pub fn of(room: &'static str) -> Self {
        Self { room, living: Arc::default() }
    }

    /// The supervisor says who lives here from now on.
    pub fn moved_to(&self, actor: ActorRef<M>) {
        *self.living.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(actor);
    }

    /// Who lives here, if anybody.
    pub fn living(&self) -> Option<ActorRef<M>> {
        self.living.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Says something without waiting for an answer. That it was queued does not mean that it will be heard.
    pub fn cast(&self, message: M) -> Result<(), NoAnswer> {
        let actor = self.living().ok_or(NoAnswer(self.room))?;
        actor.cast(message).map_err(|_: MessagingErr<M>| NoAnswer(self.room))
    }

    /// Asks something and waits for the answer, at most [`CALL_DEADLINE`].
    pub async fn call<T: Send + 'static>(&self, ask: impl FnOnce(RpcReplyPort<T>) -> M) -> Result<T, NoAnswer> {
        self.ask(ask).await
    }

    /// Asks something, now, and gives what waits for the answer, at most [`CALL_DEADLINE`]: who asks several things in a
    /// row is heard in that order, whichever answer is waited for first.
    pub fn ask<T: Send + 'static, F: FnOnce(RpcReplyPort<T>) -> M>(
        &self,
        ask: F,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send + use<T, F, M> {
        let (port, answer) = ractor::concurrency::oneshot();
        let (asked, room) = (self.cast(ask(port.into())), self.room);
        async move {
            asked?;
            match tokio::time::timeout(CALL_DEADLINE, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(NoAnswer(room)),
            }
        }
    }
}
