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
        self.through = self.through.max(through);
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
        if self.work == Work::Folds && position == self.position {
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
        let (store, oplog) = (Arc::clone(&self.args.store), self.args.oplog.clone());
        self.start(myself, Work::Folds, move || {
            let round = store.fold_some()?;
            for (at, reason) in round.damaged {
                // If nobody is there to hear it, the next check of the log finds it again.
                drop(oplog.cast(OplogMsg::FoundDamaged { at, reason }));
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
