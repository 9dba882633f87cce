//! The session: an actor that runs an engine over a channel of frames, in the rooms of a workspace.
//!
//! ```text
//! channel --reader--> mailbox --> engine --> outbox --writer--> channel
//!   the state has grown -^          |
//!   clock ---------------^          +--> oplog (checkpoints in their order), then wait until the state has folded them
//! ```
//!
//! Whoever sends to the mailbox waits until what he sent before was handled, so it holds a few messages and no more; a
//! peer that sends faster than this node works is slowed down by its own window. The outbox holds what the protocol
//! lets be unanswered. The engine reads the disk, so it works off the actor.
//!
//! When the session dies, the channel goes with it, and the next session of the two nodes begins with a greeting: what
//! was acknowledged stays, what was not is given again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use openprod_domain::cell::Cell;
use openprod_messages::address::{Address, NoAnswer};
use openprod_messages::commands::SharedKeyring;
use openprod_messages::environment::Environment;
use openprod_messages::log::Lanes;
use openprod_messages::oplog::{Admitted, AppendError, Hands, OplogMsg};
use openprod_messages::snapshot::{Folded, Snapshots};
use openprod_messages::watch;
use openprod_model::ids::{ActorId, Digest};
use openprod_wire::closing::CloseCode;
use openprod_wire::replication::{Goodbye, MAX_EPHEMERAL_BYTES, MAX_FRAME_BYTES, Reason, squeeze};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::engine::{Effect, Ending, Engine, Event, Progress, Report, Side, World};
use super::pace::Paces;
use super::standing::Standing;
use super::under_way::UnderWay;
use super::welcome::Host;
use crate::transport::{Channel, FrameReceiver, FrameSender, LinkError};

/// How soon after something happened the two sides compare where they stand.
pub const PAUSE: Duration = Duration::from_secs(1);
/// How often they compare whatever happened; up to a quarter more, so that not all links do so at once.
pub const ANTI_ENTROPY: Duration = Duration::from_secs(30);
/// Most frames that were received and not handled.
const FRAMES_AHEAD: usize = 8;
/// Most bytes that wait to be sent: all that may be unanswered, with a largest bundle, twice. A peer that does not read
/// so much is given up.
const MAX_OUTBOX_BYTES: usize = 64 * 1024 * 1024;
/// Most messages of the moment that wait to be taken; more are dropped, since newer ones follow.
pub const MOMENTS_AHEAD: usize = 64;

/// What a session is given.
pub struct SessionArgs {
    /// The key of this node.
    pub own: ActorId,
    /// The key of the other.
    pub peer: ActorId,
    /// The conversation, after its opening.
    pub channel: Channel,
    /// The workspace.
    pub rooms: Rooms,
    /// Where the session tells how it stands.
    pub standing: watch::Sender<LinkStanding>,
    /// Who hears what the peer says of the moment.
    pub moments: mpsc::Sender<Vec<u8>>,
}

/// What a session needs of its workspace. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    /// The log.
    pub log: Arc<dyn Lanes>,
    /// The state.
    pub snapshots: Arc<dyn Snapshots>,
    /// Who says what peers may be given.
    pub host: Arc<dyn Host>,
    /// Who admits.
    pub oplog: Address<OplogMsg>,
    /// Since when a person has syncing paused here, by this node's clock in milliseconds since 1970; none if it goes on.
    pub held: watch::Receiver<Option<u64>>,
    /// Whose keys are here.
    pub keyring: SharedKeyring,
    /// The clock, chance and threads.
    pub env: Environment,
    /// What the sessions of the workspace have in hand, all together.
    pub under_way: UnderWay,
}

/// How a link stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStanding {
    /// How far it is.
    pub progress: Progress,
    /// How long the rest takes about.
    pub paces: Paces,
    /// When heads and state hashes were last found equal.
    pub synced: Option<Synced>,
    /// Heads of equal logs whose states cannot be compared, if these were the last compared.
    pub not_comparable: Option<Digest>,
    /// The alarm that states of equal logs differ, until they are found equal.
    pub diverged: Option<Diverged>,
    /// How many bundles were found missing for no reason that anybody knows.
    pub unexplained: u64,
    /// Whether somebody at the peer has syncing paused.
    pub held_there: bool,
    /// How it ended, if it has.
    pub ended: Option<String>,
}

/// A comparison that found both sides equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// BLAKE3 of the heads.
    pub heads: Digest,
    /// How many bundles both have.
    pub bundles: u64,
    /// When, by this node's clock.
    pub at_ms: u64,
}

/// A comparison that found states different over equal logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverged {
    /// BLAKE3 of the heads.
    pub heads: Digest,
    /// Cells that differ, as far as they were found.
    pub cells: Vec<Cell>,
}

/// Messages to a session.
pub enum SessionMsg {
    /// Something happened. Said by the session's own tasks only; the permit is given back when it was handled.
    Happened(Event, OwnedSemaphorePermit),
    /// The channel is over. Likewise.
    Over(Result<(), LinkError>),
    /// One of the session's own tasks panicked. Likewise.
    Broke,
    /// What was to be admitted is. Likewise.
    Judged(Event),
    /// Goes on. Said by the session to itself.
    Again,
    /// A second has passed. Likewise.
    Pause,
    /// It is time to compare. Likewise.
    Tick,
    /// Say something of the moment to the peer, at most [`MAX_EPHEMERAL_BYTES`].
    Say(Vec<u8>),
    /// End the conversation.
    Leave(Goodbye),
}

/// The actor.
pub struct Session;

impl Actor for Session {
    type Msg = SessionMsg;
    type State = Desk;
    type Arguments = SessionArgs;

    async fn pre_start(&self, myself: ActorRef<SessionMsg>, args: SessionArgs) -> Result<Desk, ActorProcessingErr> {
        let is_held = args.rooms.held.borrow().is_some();
        let mut desk = Desk::new(myself, args);
        if is_held {
            desk.happened(Event::Held { on: true }).await;
        }
        desk.happened(Event::Opened).await;
        Ok(desk)
    }

    async fn handle(
        &self,
        _: ActorRef<SessionMsg>,
        message: SessionMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMsg::Happened(event, _permit) => desk.happened(event).await,
            SessionMsg::Over(result) => desk.over(result),
            SessionMsg::Broke => desk.broke(),
            SessionMsg::Judged(event) => desk.happened(event).await,
            SessionMsg::Again => desk.happened(Event::Again).await,
            SessionMsg::Pause => desk.pause().await,
            SessionMsg::Tick => desk.happened(Event::Tick).await,
            SessionMsg::Say(bytes) => desk.says(bytes).await,
            SessionMsg::Leave(goodbye) => desk.happened(Event::Leave(goodbye)).await,
        }
        Ok(())
    }
}

/// A task that ends with whoever started it.
struct Task(JoinHandle<()>);

impl Task {
    /// Works for a session, which hears of it if the work panics: nobody may wait for what will never be said.
    fn of(session: ActorRef<SessionMsg>, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(watched(session, work)))
    }
}

async fn watched(session: ActorRef<SessionMsg>, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        // Only a dead session does not hear it.
        let _ = session.cast(SessionMsg::Broke);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What goes out, and how much of it still waits.
struct Outbox {
    frames: mpsc::UnboundedSender<(Vec<u8>, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl Outbox {
    /// Whether there was room.
    fn put(&self, frame: Vec<u8>) -> bool {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        // A writer that is gone has failed, or the reader hears that the channel is over: the session ends by that.
        room.map(|room| drop(self.frames.send((frame, room)))).is_ok()
    }
}

/// What is left to be done when the engine's work is done.
enum Deed {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Anything but sending.
    Do(Effect),
}

impl Deed {
    /// None for what goes beyond the limits of a frame.
    fn of(effect: Effect) -> Option<Self> {
        let Effect::Send(message) = effect else { return Some(Self::Do(effect)) };
        let frame = squeeze::encode(&message).ok();
        debug_assert!(frame.is_some(), "the engine keeps its own limits: {message:?}");
        frame.map(Self::Send)
    }
}

/// What the actor has in hand. Nothing in it is lost with it but what was not acknowledged.
pub struct Desk {
    myself: ActorRef<SessionMsg>,
    peer: ActorId,
    /// None while it works, and for ever if it panicked.
    engine: Option<Engine>,
    host: Arc<dyn Host>,
    log: Arc<dyn Lanes>,
    snapshots: Arc<dyn Snapshots>,
    oplog: Address<OplogMsg>,
    env: Environment,
    under_way: UnderWay,
    standing: watch::Sender<LinkStanding>,
    moments: mpsc::Sender<Vec<u8>>,
    /// None when everything was said.
    outbox: Option<Outbox>,
    /// Whether something happened since the last pause.
    stirred: bool,
    /// What is to be admitted, in order. The engine hands on no more than may be unanswered.
    to_admit: mpsc::UnboundedSender<Vec<Vec<u8>>>,
    _tasks: Vec<Task>,
}

impl Desk {
    fn new(myself: ActorRef<SessionMsg>, args: SessionArgs) -> Self {
        let SessionArgs { own, peer, channel, rooms, standing, moments } = args;
        let Rooms { log, snapshots, host, oplog, held, keyring, env, under_way } = rooms;
        let is_own = Box::new(move |actor| keyring.keys(Some(actor)).is_some());
        let (frames, outgoing) = mpsc::unbounded_channel();
        let Channel { send, receive } = channel;
        // The writer is not among the tasks that end with the actor: it ends when the last frame is said.
        tokio::spawn(watched(myself.clone(), writes(send, outgoing)));
        let (to_admit, given) = mpsc::unbounded_channel();
        let judge =
            Judge { oplog: oplog.clone(), snapshots: Arc::clone(&snapshots), source: format!("peer {}", peer.short()) };
        let tasks = vec![
            Task::of(myself.clone(), judge.judges(given, myself.clone())),
            Task::of(myself.clone(), reads(receive, myself.clone())),
            Task::of(myself.clone(), follows(snapshots.folded(), |_| Event::Appended, myself.clone())),
            Task::of(myself.clone(), follows(held, |since_ms| Event::Held { on: since_ms.is_some() }, myself.clone())),
            Task::of(myself.clone(), ticks(jittered(&env), myself.clone())),
        ];
        let outbox = Some(Outbox { frames, room: Arc::new(Semaphore::new(MAX_OUTBOX_BYTES)) });
        let engine = Some(Engine::new(Side::of(own, peer), is_own));
        Self {
            myself,
            peer,
            engine,
            host,
            log,
            snapshots,
            oplog,
            env,
            under_way,
            standing,
            moments,
            outbox,
            stirred: false,
            to_admit,
            _tasks: tasks,
        }
    }

    /// The engine is told, and what it says is done.
    async fn happened(&mut self, event: Event) {
        self.stirred |= !matches!(event, Event::Pause | Event::Tick | Event::Say(_));
        let Some(mut engine) = self.engine.take() else { return };
        let (log, state) = (Arc::clone(&self.log), Standing(Arc::clone(&self.snapshots)));
        let (under_way, host, peer) = (self.under_way.clone(), Arc::clone(&self.host), self.peer);
        let work = move || {
            let through = host.gives_through(peer);
            let effects = engine.handle(event, &World { log: &*log, state: &state, through, under_way: &under_way });
            let deeds: Option<Vec<Deed>> = effects.into_iter().map(Deed::of).collect();
            (engine, deeds)
        };
        match self.env.offload(work).await {
            Some((engine, Some(deeds))) => {
                self.engine = Some(engine);
                for deed in deeds {
                    self.does(deed);
                }
            }
            _ => self.broke(),
        }
    }

    fn broke(&mut self) {
        self.ends("it failed on this node; its log says why".to_owned());
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Send(frame) => self.sends(frame),
            Deed::Do(effect) => self.effects(effect),
        }
    }

    fn effects(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message) => unreachable!("what is to be sent was made a frame: {message:?}"),
            // The judge ends with this actor only.
            Effect::Admit(bundles) => drop(self.to_admit.send(bundles)),
            Effect::Again => drop(self.myself.cast(SessionMsg::Again)),
            Effect::Damaged { at, reason } => drop(self.oplog.cast(OplogMsg::FoundDamaged { at, reason })),
            Effect::Hear(bytes) => drop(self.moments.try_send(bytes)),
            Effect::Report(report) => self.tells(report),
            Effect::Close(ending) => self.closes(ending),
        }
    }

    fn sends(&mut self, frame: Vec<u8>) {
        let was_put = self.outbox.as_ref().is_none_or(|outbox| outbox.put(frame));
        if !was_put {
            self.ends("the other node does not read what it is sent".to_owned());
        }
    }

    fn tells(&mut self, report: Report) {
        let clock = &self.env.clock;
        let (at_ms, now_ms) = (clock.wall_ms(), clock.monotonic_ms());
        match &report {
            Report::Diverged { heads, cells } => {
                tracing::error!(peer = %self.peer, %heads, cells = cells.len(), "equal logs came to different states");
            }
            Report::Unexplained { ours, theirs } => {
                tracing::error!(peer = %self.peer, ours, theirs, "bundles were missing that should not have been");
            }
            _ => {}
        }
        self.standing.send_modify(|standing| standing.note(report, at_ms, now_ms));
    }

    fn closes(&mut self, ending: Ending) {
        let sentence = match ending {
            Ending::Ours(goodbye) => format!("this node ended it: {}", goodbye.sentence),
            Ending::Theirs(goodbye) => format!("the other node ended it: {}", goodbye.sentence),
        };
        self.ends(sentence);
    }

    fn over(&mut self, result: Result<(), LinkError>) {
        let sentence = result.err().map_or_else(|| "the other node ended it".to_owned(), |error| error.to_string());
        self.ends(sentence);
    }

    /// The first reason stands.
    fn ends(&mut self, sentence: String) {
        if self.outbox.take().is_some() {
            tracing::debug!(peer = %self.peer, sentence, "a link's replication ended");
            self.standing.send_modify(|standing| standing.ended = Some(sentence));
            self.myself.stop(None);
        }
    }

    async fn pause(&mut self) {
        let is_busy = self.engine.as_ref().is_some_and(|engine| !engine.is_idle());
        if std::mem::take(&mut self.stirred) || is_busy {
            self.happened(Event::Pause).await;
        }
    }

    async fn says(&mut self, bytes: Vec<u8>) {
        if bytes.len() <= MAX_EPHEMERAL_BYTES {
            self.happened(Event::Say(bytes)).await;
        }
    }
}

impl LinkStanding {
    fn note(&mut self, report: Report, at_ms: u64, now_ms: u64) {
        match report {
            Report::Progress(progress) => {
                self.paces.note(progress, now_ms);
                self.progress = progress;
            }
            Report::Held(holds) => {
                self.held_there = holds.there;
                self.paces.begin_anew();
            }
            Report::Synced { heads, bundles } => {
                self.synced = Some(Synced { heads, bundles, at_ms });
                (self.diverged, self.not_comparable) = (None, None);
            }
            Report::NotComparable { heads } => self.not_comparable = Some(heads),
            Report::Diverged { heads, cells } => {
                let cells = cells.iter().filter_map(|key| Cell::from_key(key)).collect();
                self.diverged = Some(Diverged { heads, cells });
            }
            Report::Unexplained { ours, theirs } => self.unexplained += ours + theirs,
        }
    }
}

/// Hands bundles to the oplog, waits until they are folded, and says so.
struct Judge {
    oplog: Address<OplogMsg>,
    snapshots: Arc<dyn Snapshots>,
    source: String,
}

impl Judge {
    /// Hands on at once what is given, and tells in the same order what became of it.
    async fn judges(self, mut given: mpsc::UnboundedReceiver<Vec<Vec<u8>>>, session: ActorRef<SessionMsg>) {
        let mut under_way = FuturesOrdered::new();
        loop {
            tokio::select! {
                biased;
                bundles = given.recv() => match bundles {
                    Some(bundles) => under_way.push_back(self.admits(bundles)),
                    None => return,
                },
                // Only a dead session does not hear it.
                Some(event) = under_way.next() => drop(session.cast(SessionMsg::Judged(event))),
            }
        }
    }

    fn admits(&self, bundles: Vec<Vec<u8>>) -> impl Future<Output = Event> + use<> {
        // The gate is open for the peer, so it is a member's node.
        let (source, hands) = (self.source.clone(), Hands::Members);
        fail::fail_point!("links-before-admit");
        let asked = self.oplog.ask(move |reply| OplogMsg::Admit { bundles, source, hands, reply });
        let folded = self.snapshots.folded();
        async move {
            match admitted(asked, folded).await {
                Ok(admitted) => Event::Admitted(admitted),
                Err(reason) => Event::NotAdmitted { reason },
            }
        }
    }
}

async fn admitted(
    asked: impl Future<Output = Result<Result<Admitted, AppendError>, NoAnswer>>,
    mut folded: watch::Receiver<Folded>,
) -> Result<Admitted, String> {
    let admitted = asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let reached = folded.wait_for(|folded| folded.position >= admitted.through).await.is_ok();
    fail::fail_point!("links-before-acknowledge");
    if reached { Ok(admitted) } else { Err("the workspace is closing".to_owned()) }
}

/// The interval between two ticks.
fn jittered(env: &Environment) -> Duration {
    let mut byte = [0];
    env.random.fill(&mut byte);
    ANTI_ENTROPY + ANTI_ENTROPY / 4 * u32::from(byte[0]) / 256
}

/// Gives every frame to the session, which takes a few at a time.
async fn reads(mut receive: FrameReceiver, session: ActorRef<SessionMsg>) {
    receive.set_limit(MAX_FRAME_BYTES);
    let ahead = Arc::new(Semaphore::new(FRAMES_AHEAD));
    loop {
        let Ok(permit) = Arc::clone(&ahead).acquire_owned().await else { return };
        let received = receive.receive().await;
        fail::fail_point!("links-after-receive");
        let message = match received {
            Ok(Some(frame)) => SessionMsg::Happened(Event::Received(frame), permit),
            Ok(None) => SessionMsg::Over(Ok(())),
            Err(error) => SessionMsg::Over(Err(error)),
        };
        let is_over = matches!(message, SessionMsg::Over(_));
        if session.cast(message).is_err() || is_over {
            return;
        }
    }
}

/// Says whatever is put into the outbox, and ends the direction behind the last.
async fn writes(mut send: FrameSender, mut frames: mpsc::UnboundedReceiver<(Vec<u8>, OwnedSemaphorePermit)>) {
    while let Some((frame, _room)) = frames.recv().await {
        // That the channel is over, the reader hears too.
        if send.send(frame).await.is_err() {
            return send.give_up(CloseCode::TOO_SLOW);
        }
        fail::fail_point!("links-after-send");
    }
    send.finish();
}

/// Tells the session what has changed, such as that the log has grown: the latest only, once at a time.
async fn follows<T: Copy + Send + Sync>(
    mut changes: watch::Receiver<T>,
    event: impl Fn(T) -> Event,
    session: ActorRef<SessionMsg>,
) {
    let ahead = Arc::new(Semaphore::new(1));
    loop {
        let Ok(permit) = Arc::clone(&ahead).acquire_owned().await else { return };
        if changes.changed().await.is_err() {
            return;
        }
        let latest = *changes.borrow_and_update();
        if session.cast(SessionMsg::Happened(event(latest), permit)).is_err() {
            return;
        }
    }
}

async fn ticks(every: Duration, session: ActorRef<SessionMsg>) {
    let mut pauses = tokio::time::interval(PAUSE);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            biased;
            _ = ticks.tick() => SessionMsg::Tick,
            _ = pauses.tick() => SessionMsg::Pause,
        };
        if session.cast(message).is_err() {
            return;
        }
    }
}

/// What a session is told when the node closes.
pub fn closing() -> Goodbye {
    Goodbye::new(Reason::CLOSING, "The node is closing.")
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::Position;

    use super::*;

    #[test]
    fn what_is_in_the_log_is_acknowledged_when_it_is_folded_and_not_before() {
        let in_the_log = Admitted { through: Position(2), ..Admitted::default() };
        let asked = || std::future::ready(Ok(Ok(in_the_log.clone())));
        let (state, folded) = watch::channel(Folded { position: Position(1), ..Folded::default() });
        let mut answer = Box::pin(admitted(asked(), folded.clone()));
        assert!(answer.as_mut().now_or_never().is_none(), "the state is behind the log");
        state.send_replace(Folded { position: Position(2), ..Folded::default() });
        assert_eq!(answer.now_or_never().unwrap().unwrap(), in_the_log);
        state.send_replace(Folded::default());
        drop(state);
        assert!(admitted(asked(), folded).now_or_never().unwrap().is_err(), "a state that is gone folds nothing");
    }
}
