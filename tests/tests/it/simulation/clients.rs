//! Clients: programs that ask a machine for things, and ask again with the same command id where the answer is lost.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_domain::command::Request;
use openprod_messages::commands::{CommandError, CommandsMsg};
use openprod_model::ids::{ActorId, BlobHash, CommandId, Digest};
use openprod_node::files::FileError;

use super::machine::Front;

/// How often a client asks before it gives up.
const TRIES: usize = 20;
/// The pause before it asks again.
const PAUSE: Duration = Duration::from_millis(1_500);

/// How a request ended.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// It was acknowledged.
    Done { digest: Digest, is_held: bool },
    /// It was staged.
    Staged,
    /// The machine has joined.
    Joined,
    /// A file was taken in for good.
    Kept(BlobHash),
    /// A file was opened and read: the hash that was asked for, and that of its bytes.
    Opened { hash: BlobHash, got: BlobHash },
    /// A file was not taken or given.
    Unopened(BlobHash, FileError),
    /// A stranger was told nothing.
    TurnedAway,
    /// A stranger was told these things.
    Told(Vec<String>),
    /// It was refused.
    Refused(String),
    /// No answer came: perhaps it was done, perhaps not.
    Nothing,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { digest, .. } => write!(f, "done by {digest}"),
            Self::Staged => f.write_str("staged"),
            Self::Joined => f.write_str("joined"),
            Self::Kept(hash) => write!(f, "kept as {hash}"),
            Self::Opened { hash, got } => write!(f, "{hash} opened, {got} read"),
            Self::Unopened(hash, why) => write!(f, "{hash} not to be had, {why:?}"),
            Self::TurnedAway => f.write_str("turned away"),
            Self::Told(what) => write!(f, "told {what:?}"),
            Self::Refused(reason) => write!(f, "refused, {reason}"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

/// An answer to a client of a machine.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) at: usize,
    pub(super) command: CommandId,
    pub(super) said: Said,
    /// How often it was asked.
    pub(super) tries: usize,
}

/// Where answers come in, and how many are waited for.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Mutex<(Vec<Answer>, usize)>>);

impl Desk {
    /// What was answered since the last time.
    pub(super) fn answers(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }

    /// How many still wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().unwrap().1
    }

    /// A client tries something once, which gives nothing if it was not done.
    pub(super) fn tries(
        &self,
        at: usize,
        command: CommandId,
        deed: impl Future<Output = Option<Said>> + Send + 'static,
    ) {
        self.0.lock().unwrap().1 += 1;
        let desk = self.clone();
        tokio::spawn(async move {
            let said = deed.await.unwrap_or(Said::Nothing);
            desk.is_told(Answer { at, command, said, tries: 1 });
        });
    }

    fn is_told(&self, answer: Answer) {
        let mut desk = self.0.lock().unwrap();
        desk.0.push(answer);
        desk.1 -= 1;
    }

    /// A client begins to ask.
    pub(super) fn asks(&self, at: usize, front: &Front, actor: ActorId, request: Request) {
        self.0.lock().unwrap().1 += 1;
        let (desk, front) = (self.clone(), front.clone());
        tokio::spawn(async move {
            let command = request.command_id;
            let (said, tries) = is_answered(&front, actor, request).await;
            desk.is_told(Answer { at, command, said, tries });
        });
    }
}

async fn is_answered(front: &Front, actor: ActorId, request: Request) -> (Said, usize) {
    for tries in 1..=TRIES {
        if let Some(said) = asks_once(front, actor, request.clone()).await {
            return (said, tries);
        }
        tokio::time::sleep(PAUSE).await;
    }
    (Said::Nothing, TRIES)
}

/// None if the answer was lost. An answer of a life that ended meanwhile never arrived.
async fn asks_once(front: &Front, actor: ActorId, request: Request) -> Option<Said> {
    let (life, living) = front.now();
    let workspace = living?.workspace;
    let (request, actor) = (Box::new(request), Some(actor));
    let answer = workspace.commands.call(|reply| CommandsMsg::Execute { request, actor, reply }).await;
    let is_alive = front.now().0 == life;
    match answer.ok().filter(|_| is_alive)? {
        Ok(outcome) => {
            let digest = outcome.answer.digest;
            let is_held = workspace.log.position_of(digest).ok()?.is_some();
            Some(Said::Done { digest, is_held })
        }
        Err(CommandError::Refused(refusal)) => Some(Said::Refused(format!("{:?}", refusal.reason))),
        Err(CommandError::Unavailable(_)) => None,
    }
}
