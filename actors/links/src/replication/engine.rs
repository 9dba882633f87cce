//! The engine: one conversation about one workspace with one peer, as a machine without I/O.

use std::fmt;

use openprod_domain::view::{Read, ReadFailure};
use openprod_messages::log::Lanes;
use openprod_messages::oplog::Admitted;
use openprod_model::ids::{ActorId, Digest, Position};
use openprod_wire::framing::FrameError;
use openprod_wire::replication::{CellPrint, Ephemeral, Goodbye, Hold, Message, Reason, StateSummary, squeeze};

use super::comparing::Comparing;
use super::forks::Forks;
use super::giving::Giving;
use super::greeting::Greeting;
use super::had::Had;
use super::taking::Taking;
use super::under_way::UnderWay;

/// Which side of the conversation this is. Both compute it: the lower key begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Begins what only one of them may begin: reconciliations.
    Begins,
    /// Answers.
    Answers,
}

impl Side {
    /// The side of a node towards a peer.
    pub fn of(own: ActorId, peer: ActorId) -> Self {
        if own < peer { Self::Begins } else { Self::Answers }
    }
}

/// Tells whether an actor's key is on this node: what he writes, only this node can give at once.
pub type IsOwn = Box<dyn Fn(ActorId) -> bool + Send>;

/// What the engine reads. Every call may block on a disk.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The log.
    pub log: &'a dyn Lanes,
    /// The state.
    pub state: &'a dyn Sums,
    /// Through which position the peer may be given what it lacks; none if it is no member.
    pub through: Option<Position>,
    /// What the conversations with other peers have in hand.
    pub under_way: &'a UnderWay,
}

/// The state as another node's is compared with it.
pub trait Sums {
    /// BLAKE3 of the heads that were folded, and what the state is there; none if it passed over damaged bundles.
    fn summary(&self) -> Read<(Digest, Option<StateSummary>)>;
    /// The same heads, and the buckets of the state hash.
    fn buckets(&self) -> Read<(Digest, Box<[[u8; 32]; 256]>)>;
    /// The cells of a bucket behind the key `after`, ascending by key, at most `limit`.
    fn cells(&self, bucket: u8, after: &[u8], limit: usize) -> Read<Vec<CellPrint>>;
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The conversation begins.
    Opened,
    /// A frame came.
    Received(Vec<u8>),
    /// The log has grown, and the state has folded it.
    Appended,
    /// What was to be admitted was judged, is durable and folded.
    Admitted(Admitted),
    /// It could not be.
    NotAdmitted {
        /// Why, for people.
        reason: String,
    },
    /// [`Effect::Again`] came to its turn.
    Again,
    /// A moment has passed in which there may have been something to compare: about a second.
    Pause,
    /// It is time to compare, whatever happened: about half a minute.
    Tick,
    /// Something of the moment is to be said to the peer.
    Say(Vec<u8>),
    /// A person here has paused syncing, or lets it go on.
    Held {
        /// Whether it is paused now.
        on: bool,
    },
    /// The conversation is to end.
    Leave(Goodbye),
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame.
    Send(Message),
    /// Admit bundles, wait until they are folded, and say what became of them. The next may follow before that is
    /// known: they are admitted in the order in which they are given, and told of in that order.
    Admit(Vec<Vec<u8>>),
    /// Come back with [`Event::Again`] when other events had their turn.
    Again,
    /// A bundle in the log is damaged.
    Damaged {
        /// Where.
        at: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer says something of the moment.
    Hear(Vec<u8>),
    /// Something to be told of this link.
    Report(Report),
    /// The conversation is over; what was to be sent before is to be sent.
    Close(Ending),
}

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// This node said goodbye.
    Ours(Goodbye),
    /// The peer did.
    Theirs(Goodbye),
}

/// What a link has to tell of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// How far it is.
    Progress(Progress),
    /// Somebody has paused syncing, or lets it go on.
    Held(Holds),
    /// Heads and state hashes were compared, and are equal.
    Synced {
        /// BLAKE3 of the heads.
        heads: Digest,
        /// How many bundles both have.
        bundles: u64,
    },
    /// The logs are equal; the states cannot be compared: other laws, or other known kinds of ops.
    NotComparable {
        /// BLAKE3 of the heads.
        heads: Digest,
    },
    /// The logs are equal and the states are not. An alarm.
    Diverged {
        /// BLAKE3 of the heads.
        heads: Digest,
        /// Keys of cells that differ, as far as they were found; at most [`super::comparing::MAX_NAMED`] are told.
        cells: Vec<Vec<u8>>,
    },
    /// Heads differed though nobody had anything left to give: what a reconciliation of the whole logs found.
    Unexplained {
        /// Bundles that the peer lacked.
        ours: u64,
        /// Bundles that this node lacked.
        theirs: u64,
    },
}

/// How far both directions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the peer lacks: given and acknowledged, and still to be looked at.
    pub giving: Stretch,
    /// What this node lacks: taken and in the log; and what came and is not, with what the peer has still to look at.
    pub taking: Stretch,
}

/// How far one direction is, in bundles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Done with.
    pub done: u64,
    /// The bytes of these; where some of a checkpoint was there already, its part of the bytes is guessed.
    pub done_bytes: u64,
    /// Left, at most: some of what is still to be looked at may be there already.
    pub left: u64,
}

impl Stretch {
    /// About how many bytes are left, if the rest is like what is done; none before anything is. The log does not know
    /// how long its bundles are without reading them.
    pub fn left_bytes(&self) -> Option<u64> {
        (self.done > 0).then(|| share(self.done_bytes, self.left, self.done))
    }
}

/// `whole * part / of`, in whole numbers.
pub(super) fn share(whole: u64, part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(part) / u128::from(of)).unwrap_or(u64::MAX)
}

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(super) enum End {
    /// The log or the state cannot be read.
    Trouble(String),
    /// The peer does not keep to the protocol.
    Broken(Reason, String),
    /// Somebody said goodbye.
    Said(Ending),
}

impl From<ReadFailure> for End {
    fn from(failure: ReadFailure) -> Self {
        Self::Trouble(failure.0)
    }
}

/// A step of the machine.
pub(super) type Step<T = ()> = Result<T, End>;

/// The peer did what the protocol does not allow.
pub(super) fn unexpected<T>(what: &str) -> Step<T> {
    Err(End::Broken(Reason::UNEXPECTED, what.to_owned()))
}

/// What a step has at hand.
pub(super) struct Turn<'a> {
    pub(super) log: &'a dyn Lanes,
    pub(super) state: &'a dyn Sums,
    pub(super) through: Option<Position>,
    pub(super) under_way: &'a UnderWay,
    pub(super) effects: Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn say(&mut self, frame: impl Into<Message>) {
        self.effects.push(Effect::Send(frame.into()));
    }

    pub(super) fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(report));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Frontiers are told.
    Greeting,
    /// Forked histories are reconciled.
    Forks,
    /// Bundles flow.
    Open,
    /// Over.
    Ended,
}

/// Who has syncing paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds {
    /// A person at this node.
    pub here: bool,
    /// Somebody at the peer.
    pub there: bool,
}

/// The machine.
pub struct Engine {
    phase: Phase,
    holds: Holds,
    had: Had,
    greeting: Greeting,
    forks: Forks,
    giving: Giving,
    taking: Taking,
    comparing: Comparing,
    told: Progress,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?}, {:?})", self.phase, self.told)
    }
}

impl Engine {
    /// A conversation that has not begun.
    pub fn new(side: Side, is_own: IsOwn) -> Self {
        Self {
            phase: Phase::Greeting,
            holds: Holds::default(),
            had: Had::default(),
            greeting: Greeting::default(),
            forks: Forks::new(side),
            giving: Giving::new(is_own),
            taking: Taking::default(),
            comparing: Comparing::new(side),
            told: Progress::default(),
        }
    }

    /// Takes what happened and says what is to be done. After [`Effect::Close`] nothing more is.
    pub fn handle(&mut self, event: Event, world: &World<'_>) -> Vec<Effect> {
        if self.phase == Phase::Ended {
            return Vec::new();
        }
        let World { log, state, through, under_way } = *world;
        let mut turn = Turn { log, state, through, under_way, effects: Vec::new() };
        let result = self.turn(event, &mut turn).and_then(|()| self.go_on(&mut turn));
        if let Err(end) = result {
            self.end(end, &mut turn);
        }
        turn.effects
    }

    fn turn(&mut self, event: Event, turn: &mut Turn<'_>) -> Step {
        match event {
            Event::Opened => self.greeting.begin(turn),
            Event::Received(bytes) => self.received(&bytes, turn),
            Event::Admitted(admitted) => self.taking.admitted(&admitted, &mut self.had, turn),
            Event::NotAdmitted { reason } => Err(End::Trouble(reason)),
            Event::Appended | Event::Again => Ok(()),
            Event::Pause => self.pause(turn),
            Event::Tick => self.tick(turn),
            Event::Say(bytes) => {
                turn.say(Ephemeral { bytes });
                Ok(())
            }
            Event::Held { on } => {
                self.held_here(on, turn);
                Ok(())
            }
            Event::Leave(goodbye) => Err(End::Said(Ending::Ours(goodbye))),
        }
    }

    fn received(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Step {
        match squeeze::decode(bytes) {
            Ok(frame) => self.hear(frame, turn),
            Err(FrameError::Unknown { .. }) => Ok(()),
            Err(error) => Err(End::Broken(Reason::MALFORMED, error.to_string())),
        }
    }

    fn hear(&mut self, frame: Message, turn: &mut Turn<'_>) -> Step {
        match frame {
            Message::Ephemeral(body) => {
                turn.effects.push(Effect::Hear(body.bytes));
                Ok(())
            }
            Message::Hold(hold) => {
                self.held_there(hold, turn);
                Ok(())
            }
            Message::Goodbye(goodbye) => Err(End::Said(Ending::Theirs(goodbye))),
            frame => match self.phase {
                Phase::Greeting => self.hear_greeting(frame, turn),
                Phase::Forks => self.hear_forks(frame, turn),
                Phase::Open => self.hear_open(frame, turn),
                Phase::Ended => Ok(()),
            },
        }
    }

    fn hear_greeting(&mut self, frame: Message, turn: &mut Turn<'_>) -> Step {
        match frame {
            Message::Frontier(frontier) => {
                self.greeting.frontier(&frontier, &mut self.had, &mut self.taking, turn)?;
            }
            Message::Lacking(lacking) => self.greeting.lacking(lacking, &mut self.had, turn)?,
            _ => return unexpected("a frame came before the greeting was over"),
        }
        if let Some(forked) = self.greeting.forked() {
            self.forks.begin(forked, turn)?;
            self.phase = Phase::Forks;
            self.forks_are_known(turn)?;
        }
        Ok(())
    }

    fn hear_forks(&mut self, frame: Message, turn: &mut Turn<'_>) -> Step {
        match frame {
            Message::Reconcile(step) => self.forks.reconcile(&step, &mut self.had, turn)?,
            Message::Common(common) => self.forks.common(&common, &mut self.had, turn)?,
            _ => return unexpected("a frame came before forks were reconciled"),
        }
        self.forks_are_known(turn)
    }

    fn forks_are_known(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.forks.are_known() {
            self.phase = Phase::Open;
            self.giving.begin(&self.had, self.greeting.coming(), turn)?;
        }
        Ok(())
    }

    fn hear_open(&mut self, frame: Message, turn: &mut Turn<'_>) -> Step {
        match frame {
            Message::Checkpoint(checkpoint) => self.taking.checkpoint(checkpoint),
            Message::Part(part) => self.taking.part(part),
            Message::Offer(offer) => self.taking.offer(offer),
            Message::Acknowledge(answer) => self.giving.acknowledged(&answer, &mut self.had, turn),
            Message::Want(want) => self.giving.wanted(&want.digests, turn),
            Message::Summary(theirs) => self.comparing.summary(theirs, self.is_idle(), &mut self.giving, turn),
            Message::Reconcile(step) => self.comparing.reconcile(&step, &mut self.giving, turn),
            Message::Buckets(theirs) => self.comparing.buckets(&theirs, turn),
            Message::Cells(theirs) => self.comparing.cells(&theirs, turn),
            _ => unexpected("a frame of the greeting came after it"),
        }
    }

    fn held_here(&mut self, on: bool, turn: &mut Turn<'_>) {
        if std::mem::replace(&mut self.holds.here, on) != on {
            turn.say(Hold { on });
            turn.report(Report::Held(self.holds));
        }
    }

    /// What a peer does not give for now, others may.
    fn held_there(&mut self, hold: Hold, turn: &mut Turn<'_>) {
        if std::mem::replace(&mut self.holds.there, hold.on) != hold.on {
            turn.report(Report::Held(self.holds));
            self.taking.claims_nothing();
        }
    }

    /// Whether bundles flow, and are compared.
    fn flows(&self) -> bool {
        self.phase == Phase::Open && self.holds == Holds::default()
    }

    /// Does what can be done now. What had come before this node paused waits; while only the peer does, it is taken.
    fn go_on(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if !self.holds.here {
            self.taking.go_on(&mut self.had, turn)?;
        }
        self.giving.reaches(turn.through);
        if self.flows() {
            self.giving.go_on(&self.had, turn)?;
        }
        self.tell(turn);
        if self.flows() && self.is_idle() { self.comparing.became_idle(turn) } else { Ok(()) }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.giving.is_done() && self.taking.is_done()
    }

    fn tell(&mut self, turn: &mut Turn<'_>) {
        let now = Progress { giving: self.giving.progress(), taking: self.taking.progress() };
        if now != std::mem::replace(&mut self.told, now) {
            turn.report(Report::Progress(now));
        }
    }

    fn pause(&mut self, turn: &mut Turn<'_>) -> Step {
        self.taking.pause(turn)?;
        let idle = self.flows() && self.is_idle();
        self.comparing.pause(idle, &mut self.giving, turn)
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Step {
        self.taking.tick();
        if !self.flows() {
            return Ok(());
        }
        self.giving.ask_again(turn)?;
        let explained = self.giving.withholds() || self.taking.has_refused();
        self.comparing.tick(self.is_idle(), explained, turn)
    }

    fn end(&mut self, end: End, turn: &mut Turn<'_>) {
        self.phase = Phase::Ended;
        self.had.forget_in_hand();
        self.taking.claims_nothing();
        let ending = match end {
            End::Trouble(reason) => Ending::Ours(Goodbye::new(Reason::TROUBLE, reason)),
            End::Broken(reason, sentence) => Ending::Ours(Goodbye::new(reason, sentence)),
            End::Said(ending) => ending,
        };
        if let Ending::Ours(goodbye) = &ending {
            turn.say(goodbye.clone());
        }
        turn.effects.push(Effect::Close(ending));
    }
}
