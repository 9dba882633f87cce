//! The member's side of one admission stream: what it says to whoever asks, as a machine without clock or chance.
//!
//! A stranger hears nothing at all: not that his proof is wrong, not that a workspace is unknown, not that it lets nobody
//! ask. Each of these closes the stream, and none can be told from another.

use openprod_domain::join_mode::JoinMode;
use openprod_messages::admission::Verdict;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_model::value::Text;
use openprod_wire::admission::{Admission, MAX_CHOICES, Right, Session, commitment, modest};
use openprod_wire::framing::{self, FrameError};

/// A workspace that whoever finds it may ask to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findable {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it is called, as [`modest`] cuts it.
    pub name: Text,
    /// How it lets in who asks: never [`JoinMode::Invite`].
    pub mode: JoinMode,
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The joiner said something.
    Frame(Vec<u8>),
    /// These are the workspaces that can be found here.
    Found(Vec<Findable>),
    /// The workspace's room has decided.
    Verdict(Verdict),
}

/// What the machine wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this.
    Say(Admission),
    /// Look which workspaces can be found here; comes back as [`Event::Found`].
    Find,
    /// Ask the workspace's room to admit the joiner by what it has proven; comes back as [`Event::Verdict`].
    Claim {
        /// The workspace.
        workspace: WorkspaceId,
        /// By what.
        by: Right,
        /// The public half of what it has.
        key: ActorId,
        /// What the joiner calls itself.
        name: Text,
    },
    /// Ask the workspace's room to let the joiner wait for a member, or in; comes back as [`Event::Verdict`].
    Knock {
        /// The workspace.
        workspace: WorkspaceId,
        /// What the joiner calls itself.
        name: Text,
        /// The six digits; empty where nobody compares, in an open workspace.
        code: String,
    },
    /// Say nothing more, and listen no more.
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// It has yet to say what it wants.
    Asking,
    /// It wants to be let in; it is looked up where to.
    Finding { wanted: Option<Text>, commitment: [u8; 32], name: Text },
    /// It has yet to say its number.
    Revealing { workspace: WorkspaceId, commitment: [u8; 32], name: Text },
    /// The room decides.
    Deciding { workspace: WorkspaceId },
    /// All was said.
    Over,
}

/// The member's side of one admission stream.
#[derive(Debug)]
pub struct Host {
    session: Session,
    /// The workspace that the joiner named by its tag when it opened the stream; none if it knows none.
    named: Option<WorkspaceId>,
    /// Random, for the six digits.
    number: [u8; 32],
    step: Step,
}

impl Host {
    /// For a stream in this session, opened for the workspace `named`; `number` is random and fresh.
    pub fn new(session: Session, named: Option<WorkspaceId>, number: [u8; 32]) -> Self {
        Self { session, named, number, step: Step::Asking }
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// Takes what happens, and says what is to be done.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Frame(bytes) => match framing::decode(&bytes) {
                Ok(frame) => self.hears(frame),
                // A newer version may say more than this one understands.
                Err(FrameError::Unknown { .. }) => Vec::new(),
                Err(_) => self.close(),
            },
            Event::Found(workspaces) => self.found(workspaces),
            Event::Verdict(verdict) => self.decided(verdict),
        }
    }

    fn hears(&mut self, frame: Admission) -> Vec<Effect> {
        match (frame, std::mem::replace(&mut self.step, Step::Over)) {
            (Admission::Claim { by, key, proof, name }, Step::Asking) => match self.named {
                Some(workspace) if self.session.is_proven(by, workspace, key, &proof) => {
                    self.step = Step::Deciding { workspace };
                    vec![Effect::Claim { workspace, by, key, name: modest(name.as_str()) }]
                }
                _ => self.close(),
            },
            (Admission::Request { workspace: wanted, commitment, name }, Step::Asking) => {
                self.step = Step::Finding { wanted, commitment, name: modest(name.as_str()) };
                vec![Effect::Find]
            }
            (Admission::Reveal { number }, Step::Revealing { workspace, commitment: bound, name })
                if commitment(&number) == bound =>
            {
                self.step = Step::Deciding { workspace };
                vec![Effect::Knock { workspace, name, code: self.session.code(&number, &self.number) }]
            }
            _ => self.close(),
        }
    }

    fn found(&mut self, mut workspaces: Vec<Findable>) -> Vec<Effect> {
        let Step::Finding { wanted, commitment, name } = std::mem::replace(&mut self.step, Step::Over) else {
            return self.close();
        };
        workspaces
            .retain(|one| one.mode != JoinMode::Invite && wanted.as_ref().is_none_or(|wanted| one.name == *wanted));
        match workspaces.as_slice() {
            [] => self.close(),
            [Findable { workspace, mode: JoinMode::Open, .. }] => {
                self.step = Step::Deciding { workspace: *workspace };
                vec![Effect::Knock { workspace: *workspace, name, code: String::new() }]
            }
            [one] => {
                self.step = Step::Revealing { workspace: one.workspace, commitment, name };
                vec![Effect::Say(Admission::Challenge { number: self.number, name: one.name.clone() })]
            }
            several => {
                let names = several.iter().take(MAX_CHOICES).map(|one| one.name.clone()).collect();
                self.last(Admission::Choose { names })
            }
        }
    }

    fn decided(&mut self, verdict: Verdict) -> Vec<Effect> {
        let Step::Deciding { workspace } = self.step else { return self.close() };
        match verdict {
            Verdict::Admitted { name } => self.last(Admission::Admitted { workspace, name }),
            Verdict::Denied(why) => self.last(Admission::Refused { why }),
            Verdict::Silence => self.close(),
        }
    }

    fn last(&mut self, frame: Admission) -> Vec<Effect> {
        self.step = Step::Over;
        vec![Effect::Say(frame), Effect::Close]
    }

    fn close(&mut self) -> Vec<Effect> {
        self.step = Step::Over;
        vec![Effect::Close]
    }
}
