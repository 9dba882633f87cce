//! What is said to the commands room: the one door for writes.

use std::sync::Arc;

use openprod_domain::command::{Created, Request};
use openprod_domain::inverse::Turn;
use openprod_domain::inverse::take::{Named, Skipped};
use openprod_model::codec::{self, DecodeError};
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OverlayId, Position};
use openprod_model::refusal::Refusal;
use openprod_model::value::Text;
use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::oplog::AppendError;
use crate::overlays::Done;

/// A conflict that a command opened, or made wider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedConflict {
    /// The cell's key.
    pub cell: Vec<u8>,
    /// What happened, for people.
    pub sentence: String,
}

/// The answer to a command, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The bundle's id.
    pub bundle: BundleId,
    /// The bundle's digest.
    pub digest: Digest,
    /// What was made, with the index of the command that made it.
    pub created: Vec<(u32, Created)>,
    /// Conflicts opened.
    pub opened: Vec<OpenedConflict>,
    /// What was undone or redone.
    pub turned: Option<(Turn, Named)>,
    /// What an undo or a redo passed over.
    pub skipped: Vec<Skipped>,
}

/// The answer to a command as it was stored before undo and redo.
#[derive(Serialize, Deserialize)]
struct ShortAnswer {
    bundle: BundleId,
    digest: Digest,
    created: Vec<(u32, Created)>,
    opened: Vec<OpenedConflict>,
}

impl Answer {
    /// Reads a stored answer, whichever version stored it.
    pub fn stored(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes).or_else(|error| {
            let ShortAnswer { bundle, digest, created, opened } = codec::decode(bytes).map_err(|_| error)?;
            Ok(Self { bundle, digest, created, opened, turned: None, skipped: Vec::new() })
        })
    }
}

/// A command's outcome: durable (I-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The revision at which it stands.
    pub revision: Position,
    /// The answer.
    pub answer: Answer,
    /// Whether this is the first answer again, to a retry.
    pub replayed: bool,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The caller's fault. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not known whether it was carried out: a retry with the same id tells.
    #[error("{0}")]
    Unavailable(String),
}

/// The key pairs that this node holds.
pub trait Keyring: Send + Sync {
    /// The keys of an actor, or of the default one.
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys>;
}

/// The node's keys, shared by its workspaces.
pub type SharedKeyring = Arc<dyn Keyring>;

/// What came of staging a request: durable in the overlay (I-1), and nothing else has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedOutcome {
    /// The revision of the canonical state that it was planned on.
    pub revision: Position,
    /// The answer.
    pub done: Done,
    /// Whether this is the first answer again, to a retry.
    pub replayed: bool,
}

/// What the first bundle of a workspace holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// What to call the workspace.
    pub name: Text,
    /// Its founder, one of this node's actors.
    pub founder: ActorId,
    /// What people call the founder.
    pub founder_name: Text,
    /// Who else is a member from the beginning, and what people call them: this node, and the recovery key.
    pub besides: Vec<(ActorId, Text)>,
    /// Which of these is the recovery key.
    pub recovery: Option<ActorId>,
}

impl Address<CommandsMsg> {
    /// Has a request carried out as one bundle, by the node's default actor if none is named. Durable when this returns
    /// (I-1).
    pub async fn execute(&self, request: Request, actor: Option<ActorId>) -> Result<Outcome, CommandError> {
        let request = Box::new(request);
        let answer = self.call(|reply| CommandsMsg::Execute { request, actor, reply }).await;
        answer.map_err(|none| CommandError::Unavailable(none.to_string()))?
    }
}

/// Messages to the commands room.
pub enum CommandsMsg {
    /// Carry out a request as one bundle.
    Execute {
        /// What to do.
        request: Box<Request>,
        /// As whom; the node's default actor if none.
        actor: Option<ActorId>,
        /// What came of it.
        reply: RpcReplyPort<Result<Outcome, CommandError>>,
    },
    /// Plan a request as ever, on what an overlay shows, and stage it there.
    Stage {
        /// Where.
        overlay: OverlayId,
        /// What to do.
        request: Box<Request>,
        /// As whom; the node's default actor if none.
        actor: Option<ActorId>,
        /// What came of it.
        reply: RpcReplyPort<Result<StagedOutcome, CommandError>>,
    },
    /// Make the first bundle of a workspace. The same command id acts once, as with any other command.
    Found {
        /// The command.
        command: CommandId,
        /// What it shall hold.
        founding: Box<Founding>,
        /// What came of it.
        reply: RpcReplyPort<Result<Outcome, CommandError>>,
    },
    /// The oplog answered for a bundle, or never will. Said by this room's own tasks only.
    Settled {
        /// Which incarnation of the pending layer it belongs to.
        epoch: u64,
        /// Which bundle.
        digest: Digest,
        /// Where it stands now; none if the oplog did not answer.
        result: Option<Result<Position, AppendError>>,
    },
    /// Take no more requests; answer when the last one is settled.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_stored_before_undo_is_still_read() {
        let (bundle, digest) = (BundleId::from_bytes([1; 16]), Digest::from_bytes([2; 32]));
        let opened = vec![OpenedConflict { cell: vec![3], sentence: "Choose a value.".to_owned() }];
        let short = ShortAnswer { bundle, digest, created: Vec::new(), opened: opened.clone() };
        let answer = Answer { bundle, digest, created: Vec::new(), opened, turned: None, skipped: Vec::new() };
        assert_eq!(Answer::stored(&codec::encode(&short)), Ok(answer.clone()));
        assert_eq!(Answer::stored(&codec::encode(&answer)), Ok(answer));
        assert!(Answer::stored(&[1, 2, 3]).is_err());
    }
}
