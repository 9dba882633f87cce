//! The joiner's side of one admission stream, as a machine without clock or chance.

use openprod_model::identity::Keys;
use openprod_model::ids::WorkspaceId;
use openprod_model::value::Text;
use openprod_wire::admission::{Admission, Denial, Right, Session, commitment};
use openprod_wire::framing::{self, FrameError};

/// By what somebody joins.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and only while somebody joins")]
pub enum Means {
    /// A ticket's key, or that of a member: the recovery key, or a person's own.
    Key {
        /// Which of them.
        by: Right,
        /// The workspace.
        workspace: WorkspaceId,
        /// The key pair.
        keys: Keys,
    },
    /// Nothing: somebody there is asked.
    Asking {
        /// The name of the workspace; none if there is only one that can be meant.
        workspace: Option<Text>,
    },
}

/// What the machine wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this.
    Say(Admission),
    /// Show these six digits to the person who joins, to be compared with what the members see.
    Show {
        /// What the workspace is called.
        workspace: Text,
        /// The six digits.
        code: String,
    },
    /// It is over.
    Done(Result<Joined, NotJoined>),
}

/// This node is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Of this workspace.
    pub workspace: WorkspaceId,
    /// What it is called there.
    pub name: Text,
}

/// Why it is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// The member says no.
    #[error("{0}")]
    Denied(#[from] Denial),
    /// Several workspaces can be meant.
    #[error("several workspaces there can be joined")]
    Choose(Vec<Text>),
    /// The member ended it without a word, as it does with strangers.
    #[error("that node does not know this ticket or key, or lets nobody ask")]
    Silence,
    /// The member says what the protocol does not allow.
    #[error("that node does not keep to the protocol")]
    Misbehaved,
}

/// The joiner's side of one admission stream.
#[derive(Debug)]
pub struct Guest {
    session: Session,
    means: Means,
    /// Random, for the six digits.
    number: [u8; 32],
}

impl Guest {
    /// For a stream in this session; `number` is random and fresh.
    pub fn new(session: Session, means: Means, number: [u8; 32]) -> Self {
        Self { session, means, number }
    }

    /// What it says first. `name` is what this node is called.
    pub fn asks(&self, name: Text) -> Admission {
        match &self.means {
            Means::Key { by, workspace, keys } => {
                let proof = self.session.prove(*by, *workspace, keys);
                Admission::Claim { by: *by, key: keys.actor(), proof, name }
            }
            Means::Asking { workspace } => {
                Admission::Request { workspace: workspace.clone(), commitment: commitment(&self.number), name }
            }
        }
    }

    /// Takes what the member says; none if it has ended the stream.
    pub fn hears(&mut self, bytes: Option<&[u8]>) -> Vec<Effect> {
        let Some(bytes) = bytes else { return vec![Effect::Done(Err(NotJoined::Silence))] };
        match framing::decode(bytes) {
            Ok(frame) => self.answers(frame),
            // A newer version may say more than this one understands.
            Err(FrameError::Unknown { .. }) => Vec::new(),
            Err(_) => vec![Effect::Done(Err(NotJoined::Misbehaved))],
        }
    }

    fn answers(&mut self, frame: Admission) -> Vec<Effect> {
        let done = |result| vec![Effect::Done(result)];
        match (frame, &self.means) {
            (Admission::Admitted { workspace, .. }, Means::Key { workspace: wanted, .. }) if workspace != *wanted => {
                done(Err(NotJoined::Misbehaved))
            }
            (Admission::Admitted { workspace, name }, _) => done(Ok(Joined { workspace, name })),
            (Admission::Refused { why }, _) => done(Err(why.into())),
            (Admission::Challenge { number, name }, Means::Asking { .. }) => {
                let code = self.session.code(&self.number, &number);
                vec![Effect::Say(Admission::Reveal { number: self.number }), Effect::Show { workspace: name, code }]
            }
            (Admission::Choose { names }, Means::Asking { workspace: None }) => done(Err(NotJoined::Choose(names))),
            _ => done(Err(NotJoined::Misbehaved)),
        }
    }
}

#[cfg(test)]
mod tests {
    use openprod_domain::join_mode::JoinMode;
    use openprod_messages::admission::Verdict;
    use openprod_wire::admission::{MAX_CHOICES, modest};
    use openprod_wire::ticket::Secret;

    use super::super::host::{self, Event, Findable, Host};
    use super::*;

    const HAMLET: WorkspaceId = WorkspaceId::from_bytes([7; 16]);
    const TOSCA: WorkspaceId = WorkspaceId::from_bytes([8; 16]);

    fn session() -> Session {
        let [joiner, member] = [2, 1].map(|seed| Keys::from_seed(&[seed; 32]).actor());
        Session { exporter: [5; 32], joiner, member }
    }

    fn text(text: &str) -> Text {
        Text::new(text).unwrap()
    }

    fn ticket(workspace: WorkspaceId) -> Means {
        Means::Key { by: Right::Ticket, workspace, keys: Secret::from_bytes([9; 16]).keys() }
    }

    fn findable(mode: JoinMode) -> Vec<Findable> {
        vec![Findable { workspace: HAMLET, name: text("Hamlet"), mode }]
    }

    /// A joiner and a member, and what passes between them.
    struct Meeting {
        guest: Guest,
        host: Host,
        findable: Vec<Findable>,
        verdict: Verdict,
        /// The codes that the two sides show.
        codes: Vec<String>,
        claimed: bool,
        bytes_to_joiner: usize,
    }

    impl Meeting {
        fn new(means: Means, findable: Vec<Findable>) -> Self {
            let named = match &means {
                Means::Key { workspace, .. } => Some(*workspace).filter(|id| *id == HAMLET),
                Means::Asking { .. } => None,
            };
            Self {
                guest: Guest::new(session(), means, [1; 32]),
                host: Host::new(session(), named, [2; 32]),
                findable,
                verdict: Verdict::Admitted { name: text("Hamlet") },
                codes: Vec::new(),
                claimed: false,
                bytes_to_joiner: 0,
            }
        }

        fn goes(&mut self) -> Result<Joined, NotJoined> {
            let first = framing::encode(&self.guest.asks(modest("Leo's laptop"))).unwrap();
            let mut effects = self.host.handle(Event::Frame(first));
            loop {
                let Some(effect) = (!effects.is_empty()).then(|| effects.remove(0)) else { panic!("nobody goes on") };
                let answered = match effect {
                    host::Effect::Say(frame) => framing::encode(&frame).unwrap(),
                    host::Effect::Close => return done(self.guest.hears(None)),
                    host::Effect::Find => {
                        effects = self.host.handle(Event::Found(self.findable.clone()));
                        continue;
                    }
                    host::Effect::Knock { code, .. } => {
                        self.codes.push(code);
                        effects = self.host.handle(Event::Verdict(self.verdict.clone()));
                        continue;
                    }
                    host::Effect::Claim { .. } => {
                        self.claimed = true;
                        effects = self.host.handle(Event::Verdict(self.verdict.clone()));
                        continue;
                    }
                };
                self.bytes_to_joiner += answered.len();
                for effect in self.guest.hears(Some(&answered)) {
                    match effect {
                        Effect::Say(frame) => {
                            effects.extend(self.host.handle(Event::Frame(framing::encode(&frame).unwrap())));
                        }
                        Effect::Show { code, .. } => self.codes.push(code),
                        Effect::Done(result) => return result,
                    }
                }
            }
        }
    }

    fn done(effects: Vec<Effect>) -> Result<Joined, NotJoined> {
        match effects.into_iter().next_back() {
            Some(Effect::Done(result)) => result,
            other => panic!("it should be over: {other:?}"),
        }
    }

    #[test]
    fn who_has_a_ticket_or_a_members_key_is_let_in_at_once() {
        for by in [Right::Ticket, Right::Member] {
            let means = Means::Key { by, workspace: HAMLET, keys: Keys::from_seed(&[3; 32]) };
            let mut meeting = Meeting::new(means, Vec::new());
            assert_eq!(meeting.goes(), Ok(Joined { workspace: HAMLET, name: text("Hamlet") }));
            assert!(meeting.host.is_over() && meeting.codes.is_empty());
        }
    }

    #[test]
    fn who_asks_sees_the_digits_that_the_members_see() {
        let mut meeting = Meeting::new(Means::Asking { workspace: None }, findable(JoinMode::Request));
        assert!(meeting.goes().is_ok());
        let [shown, seen] = &meeting.codes[..] else { panic!("two codes: {:?}", meeting.codes) };
        assert_eq!(shown, seen);
        meeting = Meeting::new(Means::Asking { workspace: None }, findable(JoinMode::Request));
        meeting.verdict = Verdict::Denied(Denial::Denied);
        assert_eq!(meeting.goes(), Err(NotJoined::Denied(Denial::Denied)));
    }

    #[test]
    fn an_open_workspace_asks_nobody() {
        let mut meeting = Meeting::new(Means::Asking { workspace: Some(text("Hamlet")) }, findable(JoinMode::Open));
        assert!(meeting.goes().is_ok());
        assert_eq!(meeting.codes, [""]);
    }

    #[test]
    fn strangers_hear_nothing() {
        let asking = |name: Option<&str>| Means::Asking { workspace: name.map(text) };
        let cases = [
            (ticket(TOSCA), findable(JoinMode::Open)),
            (asking(None), Vec::new()),
            (asking(None), findable(JoinMode::Invite)),
            (asking(Some("Tosca")), findable(JoinMode::Request)),
        ];
        for (means, findable) in cases {
            let mut meeting = Meeting::new(means, findable);
            assert_eq!(meeting.goes(), Err(NotJoined::Silence));
            assert_eq!((meeting.bytes_to_joiner, meeting.claimed), (0, false));
        }
        let mut meeting = Meeting::new(ticket(HAMLET), Vec::new());
        meeting.verdict = Verdict::Silence;
        assert_eq!(meeting.goes(), Err(NotJoined::Silence));
        assert_eq!(meeting.bytes_to_joiner, 0);
    }

    #[test]
    fn a_proof_of_another_session_is_a_strangers() {
        let mut meeting = Meeting::new(ticket(HAMLET), Vec::new());
        meeting.guest.session.exporter = [6; 32];
        assert_eq!(meeting.goes(), Err(NotJoined::Silence));
        assert!(!meeting.claimed);
    }

    #[test]
    fn where_several_can_be_meant_one_is_to_be_chosen() {
        let several = [findable(JoinMode::Request), findable(JoinMode::Open)].concat();
        let mut meeting = Meeting::new(Means::Asking { workspace: None }, several.clone());
        assert_eq!(meeting.goes(), Err(NotJoined::Choose(vec![text("Hamlet"), text("Hamlet")])));
        let many = vec![several[0].clone(); 100];
        match Meeting::new(Means::Asking { workspace: None }, many).goes() {
            Err(NotJoined::Choose(names)) => assert_eq!(names.len(), MAX_CHOICES),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_that_was_not_committed_to_ends_it() {
        let mut host = Host::new(session(), None, [2; 32]);
        let guest = Guest::new(session(), Means::Asking { workspace: None }, [1; 32]);
        host.handle(Event::Frame(framing::encode(&guest.asks(text("x"))).unwrap()));
        host.handle(Event::Found(findable(JoinMode::Request)));
        let other = framing::encode(&Admission::Reveal { number: [9; 32] }).unwrap();
        assert_eq!(host.handle(Event::Frame(other)), [host::Effect::Close]);
    }

    #[test]
    fn whatever_comes_at_the_wrong_moment_ends_it_and_what_is_unknown_is_passed_over() {
        let reveal = framing::encode(&Admission::Reveal { number: [1; 32] }).unwrap();
        for event in [Event::Frame(reveal), Event::Found(Vec::new()), Event::Verdict(Verdict::Silence)] {
            assert_eq!(Host::new(session(), None, [2; 32]).handle(event), [host::Effect::Close]);
        }
        assert!(Host::new(session(), None, [2; 32]).handle(Event::Frame(vec![99, 0, 0, 0])).is_empty());
        let mut guest = Guest::new(session(), ticket(HAMLET), [1; 32]);
        assert!(guest.hears(Some(&[99, 0, 0, 0])).is_empty());
        let elsewhere = framing::encode(&Admission::Admitted { workspace: TOSCA, name: text("Tosca") }).unwrap();
        assert_eq!(guest.hears(Some(&elsewhere)), [Effect::Done(Err(NotJoined::Misbehaved))]);
    }
}
