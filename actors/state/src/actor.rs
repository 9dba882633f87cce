//! The actor: decides when to fold, when to make it durable, and when to give up. The work runs on a worker, one job
//! at a time.

use std::sync::Arc;
use std::time::Duration;

use openprod_domain::view::ReadFailure;
use openprod_messages::address::Address;
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::oplog::OplogMsg;
use openprod_messages::state::StateMsg;
use openprod_model::ids::Position;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::store::{FoldError, StateStore};

/// How long folded pieces may wait to be made durable.
const SETTLE_AFTER: Duration = Duration::from_secs(2);
/// The first pause after a failure; it doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Failures in a row after which the supervisor must know: about half a minute of them.
const MAX_FAILURES: u32 = 9;
/// Progress of a long catching up is logged this often.
const PROGRESS_EVERY_MS: u64 = 1_000;

/// What the actor may use, and whom it may speak to.
#[derive(Clone)]
pub struct StateArgs {
    /// The store; it outlives the actor.
    pub store: Arc<StateStore>,
    /// The log.
    pub log: Arc<dyn LogReader>,
    /// Clock and threads.
    pub env: Environment,
    /// Who is told of damaged bundles.
    pub oplog: Address<OplogMsg>,
}

/// The state's actor.
pub struct State;

/// What the actor knows between two messages.
pub struct Folding {
    args: StateArgs,
    /// How far the log goes, as far as heard.
    through: Position,
    /// Whether it was said to have grown since the worker began to read it.
    has_grown: bool,
    /// How far it is folded.
    position: Position,
    work: Work,
    settle: Settle,
    closing: Vec<RpcReplyPort<()>>,
    failures: u32,
    progress_ms: u64,
}

/// What the worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Nothing,
    Folds,
    Settles,
    Closes,
    /// Nothing, until a pause after a failure is over.
    Pauses,
    /// Nothing any more: the store is closed.
    Ended,
}

/// Whether folded pieces wait to be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settle {
    No,
    /// A timer runs.
    Later,
    Now,
}

impl Actor for State {
    type Msg = StateMsg;
    type State = Folding;
    type Arguments = StateArgs;

    async fn pre_start(&self, myself: ActorRef<StateMsg>, args: StateArgs) -> Result<Folding, ActorProcessingErr> {
        let troubled = myself.clone();
        // The message is a hint to look; if the actor is gone, the next incarnation looks anyway.
        args.store.on_trouble(move || drop(troubled.cast(StateMsg::TryAgain)));
        let (through, position) = (args.log.tail()?.position, args.store.position());
        let progress_ms = args.env.clock.monotonic_ms();
        Ok(Folding {
            args,
            through,
            has_grown: false,
            position,
            work: Work::Nothing,
            settle: Settle::No,
            closing: Vec::new(),
            failures: 0,
            progress_ms,
        })
    }

    async fn post_start(&self, myself: ActorRef<StateMsg>, state: &mut Folding) -> Result<(), ActorProcessingErr> {
        // An incarnation that died may have left pieces to be made durable.
        state.arm(&myself);
        state.go_on(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<StateMsg>,
        message: StateMsg,
        state: &mut Folding,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StateMsg::Appended { through } => state.appended(&myself, through),
            StateMsg::Mended => state.mended(&myself),
            StateMsg::FoldedPiece { result } => state.folded(&myself, result)?,
            StateMsg::Settle => state.settle(&myself),
            StateMsg::TryAgain => state.try_again(&myself),
            StateMsg::Close { reply } => state.close(&myself, reply)?,
        }
        Ok(())
    }
}

impl Folding {
    fn appended(&mut self, myself: &ActorRef<StateMsg>, through: Position) {
        (self.through, self.has_grown) = (self.through.max(through), true);
        self.go_on(myself);
    }

    fn mended(&mut self, myself: &ActorRef<StateMsg>) {
        self.args.store.passes_over_nothing();
        self.go_on(myself);
    }

    fn settle(&mut self, myself: &ActorRef<StateMsg>) {
        self.settle = Settle::Now;
        self.go_on(myself);
    }

    fn try_again(&mut self, myself: &ActorRef<StateMsg>) {
        if self.work == Work::Pauses {
            self.work = Work::Nothing;
        }
        self.go_on(myself);
    }

    fn close(&mut self, myself: &ActorRef<StateMsg>, reply: RpcReplyPort<()>) -> Result<(), ReadFailure> {
        self.through = self.args.log.tail()?.position;
        self.closing.push(reply);
        self.try_again(myself);
        Ok(())
    }

    fn folded(
        &mut self,
        myself: &ActorRef<StateMsg>,
        result: Result<Position, ReadFailure>,
    ) -> Result<(), ActorProcessingErr> {
        match (self.work, result) {
            (Work::Closes, _) => self.work = Work::Ended,
            (_, Ok(position)) => self.succeeded(myself, position),
            (_, Err(failure)) => self.failed(myself, failure)?,
        }
        self.go_on(myself);
        Ok(())
    }

    fn succeeded(&mut self, myself: &ActorRef<StateMsg>, position: Position) {
        if self.work == Work::Folds && position == self.position && !self.has_grown {
            // The log is shorter than was said; it will say so again when it has grown.
            self.through = position;
        }
        (self.position, self.work, self.failures) = (position, Work::Nothing, 0);
        self.arm(myself);
        self.log_progress();
    }

    fn failed(&mut self, myself: &ActorRef<StateMsg>, failure: ReadFailure) -> Result<(), ActorProcessingErr> {
        self.failures += 1;
        tracing::warn!(%failure, failures = self.failures, "a piece of the log was not folded");
        if !self.closing.is_empty() {
            // Whatever is missing will be folded at the next start.
            (self.through, self.settle, self.work) = (self.position, Settle::No, Work::Nothing);
            return Ok(());
        }
        if self.failures > MAX_FAILURES && !self.args.store.is_full() {
            return Err(failure.into());
        }
        self.work = Work::Pauses;
        let pause = PAUSE.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_PAUSE);
        myself.send_after(pause, || StateMsg::TryAgain);
        Ok(())
    }

    /// Starts whatever is due next, if the worker is idle.
    fn go_on(&mut self, myself: &ActorRef<StateMsg>) {
        match self.work {
            Work::Nothing if self.position < self.through => self.fold(myself),
            Work::Nothing if self.closing.is_empty() && !self.args.store.is_fine() => self.fold(myself),
            Work::Nothing if self.settle == Settle::Now => self.make_durable(myself),
            Work::Nothing if !self.closing.is_empty() => self.close_store(myself),
            Work::Ended => self.closing.drain(..).for_each(|reply| drop(reply.send(()))),
            _ => {}
        }
    }

    fn fold(&mut self, myself: &ActorRef<StateMsg>) {
        self.has_grown = false;
        let (store, oplog) = (Arc::clone(&self.args.store), self.args.oplog.clone());
        self.start(myself, Work::Folds, move || {
            let round = store.fold_some()?;
            for (at, reason) in round.damaged {
                if oplog.cast(OplogMsg::FoundDamaged { at, reason }).is_err() {
                    tracing::debug!(%at, "the oplog was not there to hear of a damaged bundle");
                }
            }
            Ok(round.position)
        });
    }

    fn make_durable(&mut self, myself: &ActorRef<StateMsg>) {
        self.settle = Settle::No;
        let store = Arc::clone(&self.args.store);
        self.start(myself, Work::Settles, move || store.settle().map(|_| store.position()));
    }

    fn close_store(&mut self, myself: &ActorRef<StateMsg>) {
        let store = Arc::clone(&self.args.store);
        self.start(myself, Work::Closes, move || {
            store.close();
            Ok(store.position())
        });
    }

    fn start(
        &mut self,
        myself: &ActorRef<StateMsg>,
        work: Work,
        job: impl FnOnce() -> Result<Position, FoldError> + Send + 'static,
    ) {
        self.work = work;
        let (env, myself) = (self.args.env.clone(), myself.clone());
        ractor::concurrency::spawn(async move {
            let result = match env.offload(job).await {
                Some(result) => result.map_err(|error| ReadFailure(error.to_string())),
                None => Err(ReadFailure("the worker panicked".into())),
            };
            // An incarnation that is gone does not wait for it.
            drop(myself.cast(StateMsg::FoldedPiece { result }));
        });
    }

    /// Sees to it that folded pieces become durable in time.
    fn arm(&mut self, myself: &ActorRef<StateMsg>) {
        if self.settle == Settle::No && self.args.store.unsettled() {
            self.settle = Settle::Later;
            myself.send_after(SETTLE_AFTER, || StateMsg::Settle);
        }
    }

    fn log_progress(&mut self) {
        let now_ms = self.args.env.clock.monotonic_ms();
        if self.position < self.through && now_ms >= self.progress_ms + PROGRESS_EVERY_MS {
            self.progress_ms = now_ms;
            tracing::info!(position = %self.position, of = %self.through, "folding the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use openprod_disk::MemoryDisk;
    use openprod_messages::environment::{Clock, Randomness, Spawner};
    use openprod_messages::snapshot::{Folded, Snapshots};
    use openprod_messages::testing::MemoryLog;
    use openprod_model::bundle::Bundle;

    use super::*;
    use crate::store::{Options, replay_hash};
    use crate::testing::{Author, WORKSPACE, set};

    struct Inline;

    impl Clock for Inline {
        fn wall_ms(&self) -> u64 {
            0
        }
        fn monotonic_ms(&self) -> u64 {
            0
        }
    }

    impl Randomness for Inline {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(4);
        }
    }

    impl Spawner for Inline {
        fn run(&self, job: Box<dyn FnOnce() + Send>) {
            job();
        }
    }

    /// Runs each job at once. Behind the next one something happens, before anybody hears what came of the job.
    #[derive(Default)]
    struct Meddler(Mutex<Option<Box<dyn FnOnce() + Send>>>);

    impl Spawner for Meddler {
        fn run(&self, job: Box<dyn FnOnce() + Send>) {
            job();
            let meddle = self.0.lock().unwrap().take();
            if let Some(meddle) = meddle {
                meddle();
            }
        }
    }

    struct FakeOplog;

    impl Actor for FakeOplog {
        type Msg = OplogMsg;
        type State = Arc<Mutex<Vec<Position>>>;
        type Arguments = Self::State;

        async fn pre_start(
            &self,
            _: ActorRef<OplogMsg>,
            heard: Self::State,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(heard)
        }

        async fn handle(
            &self,
            _: ActorRef<OplogMsg>,
            message: OplogMsg,
            heard: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let OplogMsg::FoundDamaged { at, .. } = message {
                heard.lock().unwrap().push(at);
            }
            Ok(())
        }
    }

    struct Room {
        log: Arc<MemoryLog>,
        disk: MemoryDisk,
        store: Arc<StateStore>,
        actor: ActorRef<StateMsg>,
        heard: Arc<Mutex<Vec<Position>>>,
    }

    impl Room {
        async fn with(log: Arc<MemoryLog>, disk: MemoryDisk) -> Self {
            Self::under(Arc::new(Inline), log, disk).await
        }

        async fn under(spawner: Arc<dyn Spawner>, log: Arc<MemoryLog>, disk: MemoryDisk) -> Self {
            let store = StateStore::open(disk.clone(), WORKSPACE, log.clone(), Options::default()).unwrap();
            let heard: Arc<Mutex<Vec<Position>>> = Arc::default();
            let oplog = Address::of("oplog");
            oplog.moved_to(Actor::spawn(None, FakeOplog, Arc::clone(&heard)).await.unwrap().0);
            let env = Environment { clock: Arc::new(Inline), random: Arc::new(Inline), spawner };
            let args = StateArgs { store: Arc::clone(&store), log: log.clone(), env, oplog };
            let actor = Actor::spawn(None, State, args).await.unwrap().0;
            Self { log, disk, store, actor, heard }
        }

        fn append(&self, bundle: &Bundle) {
            self.log.append(bundle);
            self.actor.cast(StateMsg::Appended { through: Position(self.log.end().0) }).unwrap();
        }

        async fn reaches(&self, position: u64) -> Folded {
            let mut folded = self.store.folded();
            let reached = folded.wait_for(|folded| folded.position == Position(position));
            tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
            *folded.borrow()
        }

        async fn closes(&self) {
            let (port, answer) = ractor::concurrency::oneshot();
            self.actor.cast(StateMsg::Close { reply: port.into() }).unwrap();
            tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap();
        }
    }

    fn bundle(number: u64) -> Bundle {
        Author::new(u8::try_from(number).unwrap()).writes(vec![], number, &[set(number, "label", "A", vec![])])
    }

    #[tokio::test]
    async fn it_catches_up_by_itself_and_follows_the_log() {
        let room = Room::with(MemoryLog::of(&[bundle(1), bundle(2)]), MemoryDisk::default()).await;
        room.reaches(2).await;
        room.append(&bundle(3));
        room.reaches(3).await;
    }

    #[tokio::test]
    async fn growth_that_is_told_while_there_was_nothing_to_fold_is_not_forgotten() {
        let meddler = Arc::new(Meddler::default());
        let room = Room::under(meddler.clone(), MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        room.reaches(1).await;
        let (log, actor) = (room.log.clone(), room.actor.clone());
        *meddler.0.lock().unwrap() = Some(Box::new(move || {
            log.append(&bundle(2));
            actor.cast(StateMsg::Appended { through: Position(2) }).unwrap();
        }));
        // It looks again, and finds nothing new.
        room.actor.cast(StateMsg::Mended).unwrap();
        room.reaches(2).await;
    }

    #[tokio::test]
    async fn closing_folds_the_rest_and_makes_it_durable() {
        let room = Room::with(MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        room.log.append(&bundle(2));
        room.closes().await;
        let again = Room::with(room.log.clone(), room.disk.after_power_cut()).await;
        assert_eq!(again.store.position(), Position(2));
        room.closes().await;
    }

    #[tokio::test]
    async fn what_was_folded_is_durable_once_it_settles() {
        let room = Room::with(MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        room.reaches(1).await;
        room.actor.cast(StateMsg::Settle).unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while room.store.unsettled() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let again = StateStore::open(room.disk.after_power_cut(), WORKSPACE, room.log.clone(), Options::default());
        assert_eq!(again.unwrap().position(), Position(1));
    }

    #[tokio::test]
    async fn a_new_incarnation_goes_on_where_the_old_one_was_killed() {
        let room = Room::with(MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        room.reaches(1).await;
        let before = room.store.snapshot().unwrap();
        room.actor.kill();
        room.log.append(&bundle(2));
        let env = Environment { clock: Arc::new(Inline), random: Arc::new(Inline), spawner: Arc::new(Inline) };
        let oplog = Address::of("oplog");
        let args = StateArgs { store: Arc::clone(&room.store), log: room.log.clone(), env, oplog };
        Actor::spawn(None, State, args).await.unwrap();
        room.reaches(2).await;
        assert_eq!(before.position(), Position(1));
        let replayed = replay_hash(room.log.clone(), WORKSPACE, &mut |_, _| {}).unwrap();
        assert_eq!(room.store.snapshot().unwrap().hash().unwrap(), replayed);
    }

    #[tokio::test]
    async fn the_oplog_hears_of_damage() {
        let log = MemoryLog::of(&[bundle(1), bundle(2)]);
        log.damage(Position(1));
        let room = Room::with(log, MemoryDisk::default()).await;
        room.reaches(2).await;
        room.closes().await;
        assert_eq!(*room.heard.lock().unwrap(), [Position(1)]);
    }

    #[tokio::test]
    async fn a_disk_that_fails_for_a_while_is_tried_again() {
        let room = Room::with(MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        let incarnation = room.reaches(1).await.incarnation;
        room.disk.fails(2);
        room.actor.cast(StateMsg::Settle).unwrap();
        room.append(&bundle(2));
        assert!(room.reaches(2).await.incarnation > incarnation);
        assert_eq!(room.store.snapshot().unwrap().position(), Position(2));
    }

    #[tokio::test]
    async fn a_disk_that_fails_for_good_is_told_to_the_supervisor() {
        let room = Room::with(MemoryLog::of(&[bundle(1)]), MemoryDisk::default()).await;
        room.reaches(1).await;
        room.disk.fails(usize::MAX);
        room.actor.cast(StateMsg::Settle).unwrap();
        // Spares the test the pauses.
        let hurried = async {
            while room.actor.cast(StateMsg::TryAgain).is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), hurried).await.unwrap();
    }
}
