//! The actor: takes bundles one message at a time, and commits in groups whatever came while the last commit ran.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openprod_messages::address::Address;
use openprod_messages::environment::Environment;
use openprod_messages::log::{LogReader, Quarantined, Stored, Tail};
use openprod_messages::oplog::{Admitted, Append, AppendError, CommitOutcome, Hands, OplogMsg};
use openprod_messages::state::StateMsg;
use openprod_messages::watch;
use openprod_model::ids::Position;
use openprod_model::refusal::{Reason, Refusal};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::oneshot;

use crate::logic::admission::{Admission, Candidate, Origin, Wanted};
use crate::logic::along::along;
use crate::logic::batch::{self, Batch, Change, Unit};
use crate::logic::ledger::{Damage, Ledger, Taken, disk};
use crate::store::{LogStore, Writer};
use crate::tables::End;

/// Most jobs that share the checking of bundles from elsewhere.
const CHECKERS: usize = 4;
/// Fewest bundles that are read in a job of their own: for fewer, a thread costs more than it saves.
const LEAST_TO_READ: usize = 256;
/// Fewest signatures that are verified in a job of their own, likewise; each takes as long as reading ten bundles.
const LEAST_TO_VERIFY: usize = 16;
/// How many of the offers that wait are read ahead, so that memory and threads are bounded whoever offers.
const READ_AHEAD: usize = 4;

/// How long after a failure the log is looked at again, though nobody asks for anything.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the oplog is given at its start. All of it outlives the actor.
#[derive(Clone)]
pub struct OplogArgs {
    /// The open store.
    pub store: Arc<LogStore>,
    /// The clock and the threads.
    pub env: Environment,
    /// Who folds what is appended.
    pub state: Address<StateMsg>,
    /// Where everybody else can see how far the log reaches.
    pub appended: watch::Sender<Position>,
}

/// The actor. One lives per workspace.
pub struct Oplog;

impl Actor for Oplog {
    type Msg = OplogMsg;
    type State = Desk;
    type Arguments = OplogArgs;

    async fn pre_start(&self, myself: ActorRef<OplogMsg>, args: OplogArgs) -> Result<Desk, ActorProcessingErr> {
        Desk::open(myself, args).await
    }

    async fn handle(
        &self,
        _myself: ActorRef<OplogMsg>,
        message: OplogMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OplogMsg::Append { append, reply } => desk.append(*append, reply).await,
            OplogMsg::Admit { bundles, source, hands, reply } => desk.admit(bundles, source, hands, reply),
            OplogMsg::Judge => desk.judge_next().await,
            OplogMsg::Tail { reply } => desk.tail(reply).await,
            OplogMsg::FoundDamaged { at, reason } => desk.found_damaged(at, &reason).await,
            OplogMsg::Retry { number, reply } => desk.again(number, Hands::Anybodys, reply).await,
            OplogMsg::Take { number, reply } => desk.again(number, Hands::Members, reply).await,
            OplogMsg::Skip { number, reply } => desk.skip(number, reply).await,
            OplogMsg::Committed(outcome) => desk.committed(outcome),
            OplogMsg::LookAgain => desk.look_again().await,
            OplogMsg::Close { reply } => desk.close(reply),
        }
        Ok(())
    }
}

/// Who waits for a commit, and what he will be told.
enum Waiter {
    Append { position: Position, reply: RpcReplyPort<Result<Position, AppendError>> },
    Admit { admitted: Admitted, reply: RpcReplyPort<Result<Admitted, AppendError>> },
    Tail { reply: RpcReplyPort<Result<Tail, AppendError>> },
    Skip { reply: RpcReplyPort<Result<(), AppendError>> },
    Close { reply: RpcReplyPort<()> },
}

impl Waiter {
    fn done(self, tail: &Tail) {
        match self {
            Self::Append { position, reply } => answer(reply, Ok(position)),
            Self::Admit { admitted, reply } => answer(reply, Ok(Admitted { through: tail.position, ..admitted })),
            Self::Tail { reply } => answer(reply, Ok(tail.clone())),
            Self::Skip { reply } => answer(reply, Ok(())),
            Self::Close { reply } => answer(reply, ()),
        }
    }

    fn failed(self, error: AppendError) {
        match self {
            Self::Append { reply, .. } => answer(reply, Err(error)),
            Self::Admit { reply, .. } => answer(reply, Err(error)),
            Self::Tail { reply } => answer(reply, Err(error)),
            Self::Skip { reply } => answer(reply, Err(error)),
            Self::Close { reply } => answer(reply, ()),
        }
    }
}

/// Whoever gave up waiting does not want the answer any more.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, answer: T) {
    let _ = reply.send(answer);
}

/// Bundles from elsewhere.
struct Offer {
    bundles: Vec<Vec<u8>>,
    /// What they are, once they are being read, off the actor.
    candidates: Option<Shares<Candidate>>,
    source: String,
    hands: Hands,
}

impl Offer {
    fn of(bundles: Vec<Vec<u8>>, source: String, hands: Hands) -> Self {
        Self { bundles, candidates: None, source, hands }
    }

    /// Sees to it that they are being read.
    fn read(&mut self, env: &Environment) -> &mut Shares<Candidate> {
        let bundles = &mut self.bundles;
        let begins = || share_out(env, LEAST_TO_READ, std::mem::take(bundles), Candidate::read);
        self.candidates.get_or_insert_with(begins)
    }
}

/// An offer that waits to be judged.
struct Offered {
    offer: Offer,
    reply: RpcReplyPort<Result<Admitted, AppendError>>,
}

struct Queued {
    unit: Unit,
    waiters: Vec<Waiter>,
}

struct InFlight {
    number: u64,
    end: End,
    /// Whether good copies take the places of damaged bundles.
    mends: bool,
    waiters: Vec<Waiter>,
}

/// What the actor has in hand. Nothing in it is lost with it but unanswered calls.
pub struct Desk {
    myself: ActorRef<OplogMsg>,
    store: Arc<LogStore>,
    env: Environment,
    state: Address<StateMsg>,
    appended: watch::Sender<Position>,
    writer: Writer,
    /// None after a failed commit, until the next message that needs it reads the store again; one comes soon.
    ledger: Option<Ledger>,
    /// What is durable.
    durable: Option<(End, Tail)>,
    offered: VecDeque<Offered>,
    queue: VecDeque<Queued>,
    in_flight: Option<InFlight>,
    commits: u64,
    /// Whether a timer runs that says to look at the log again.
    looks_again: bool,
    closing: bool,
}

impl Desk {
    async fn open(myself: ActorRef<OplogMsg>, args: OplogArgs) -> Result<Self, ActorProcessingErr> {
        let OplogArgs { store, env, state, appended } = args;
        let held = Arc::clone(&store);
        let writer = env.offload(move || held.writer()).await.ok_or("the right to write the log was not given")?;
        let mut desk = Self {
            myself,
            store,
            env,
            state,
            appended,
            writer,
            ledger: None,
            durable: None,
            offered: VecDeque::new(),
            queue: VecDeque::new(),
            in_flight: None,
            commits: 0,
            looks_again: false,
            closing: false,
        };
        // A disk that takes no writes yet is no reason not to start: the next append tries again.
        if let Err(error) = desk.ready().await {
            tracing::warn!(%error, "the log takes no bundles for now");
            desk.later();
        }
        Ok(desk)
    }

    /// Sees to it that there is a ledger.
    async fn ready(&mut self) -> Result<(), AppendError> {
        if self.closing {
            return Err(AppendError::Disk { reason: "the workspace is closing".into(), full: false });
        }
        if self.ledger.is_some() {
            return Ok(());
        }
        let writer = self.writer.clone();
        let ledger = self.env.offload(move || writer.ledger()).await;
        let ledger =
            ledger.unwrap_or_else(|| Err(AppendError::Disk { reason: "reading it panicked".into(), full: false }))?;
        let End { position, chain, hlc, .. } = ledger.end();
        let heads = ledger.heads().iter().copied().collect();
        self.durable = Some((ledger.end(), Tail { position, chain, heads, hlc }));
        self.ledger = Some(ledger);
        self.tell(position);
        Ok(())
    }

    /// What failed may be in the log all the same, and whoever asked for it may never ask again: the state and the other
    /// nodes are to hear of it nevertheless.
    fn later(&mut self) {
        if !std::mem::replace(&mut self.looks_again, true) {
            self.myself.send_after(LOOK_AGAIN_AFTER, || OplogMsg::LookAgain);
        }
    }

    async fn look_again(&mut self) {
        self.looks_again = false;
        if !self.closing && self.ready().await.is_err() {
            self.later();
        }
    }

    fn tell(&self, through: Position) {
        if self.appended.send_if_modified(|told| std::mem::replace(told, through) != through) {
            // The state reads on from its own position; a hint that is lost while it restarts is not missed.
            let _ = self.state.cast(StateMsg::Appended { through });
        }
    }

    async fn append(&mut self, append: Append, reply: RpcReplyPort<Result<Position, AppendError>>) {
        if let Err(error) = self.ready().await {
            return answer(reply, Err(error));
        }
        let now_ms = self.env.clock.wall_ms();
        let digest = append.bundle.digest();
        let ledger = self.ledger.as_mut().expect("it was made ready");
        match ledger.take(&*self.store, append, now_ms) {
            Ok(Taken::Staged(position, unit)) => {
                let waited = ledger.waited_for(&*self.store, digest).unwrap_or_default();
                self.queue(unit, Waiter::Append { position, reply });
                self.has_come(waited);
            }
            Ok(Taken::Before(position)) => self.behind_all(Waiter::Append { position, reply }),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// What waited for an own bundle: it was known elsewhere before it was made here, on a copy of this node.
    fn has_come(&self, bundles: Vec<Vec<u8>>) {
        if !bundles.is_empty() {
            let (port, _) = ractor::concurrency::oneshot();
            let (source, hands) = ("what waited".to_owned(), Hands::Anybodys);
            // Only a dead actor does not hear it, and its bundles come again.
            let _ = self.myself.cast(OplogMsg::Admit { bundles, source, hands, reply: port.into() });
        }
    }

    fn admit(
        &mut self,
        bundles: Vec<Vec<u8>>,
        source: String,
        hands: Hands,
        reply: RpcReplyPort<Result<Admitted, AppendError>>,
    ) {
        self.offered.push_back(Offered { offer: Offer::of(bundles, source, hands), reply });
        self.read_ahead();
        if self.offered.len() == 1 {
            self.judges_again();
        }
    }

    /// Judges what was offered first. What came meanwhile has its turn before the next: so whoever offers many bundles
    /// offers them in pieces, and local commands pass between these.
    async fn judge_next(&mut self) {
        let Some(Offered { offer, reply }) = self.offered.pop_front() else { return };
        self.read_ahead();
        match self.judge(offer).await {
            Ok((admitted, unit)) => self.queue(unit, Waiter::Admit { admitted, reply }),
            Err(error) => answer(reply, Err(error)),
        }
        if !self.offered.is_empty() {
            self.judges_again();
        }
    }

    fn read_ahead(&mut self) {
        for Offered { offer, .. } in self.offered.iter_mut().take(READ_AHEAD) {
            offer.read(&self.env);
        }
    }

    fn judges_again(&self) {
        // Only a dead actor does not hear it; what was offered to it is offered again.
        let _ = self.myself.cast(OplogMsg::Judge);
    }

    /// Judges bundles from elsewhere. Reading and verifying happen off the actor, which waits.
    async fn judge(&mut self, mut offer: Offer) -> Result<(Admitted, Unit), AppendError> {
        self.ready().await?;
        let mut candidates = offer.read(&self.env).gathered().await?;
        let Offer { source, hands, .. } = offer;
        let now_ms = self.env.clock.wall_ms();
        let ledger = self.ledger.as_mut().expect("it was made ready");
        candidates.extend(along(ledger, &*self.store, &candidates).map_err(disk)?);
        let from = Origin { source, hands, now_ms };
        let mut admission = Admission::begin(ledger, &*self.store, candidates, from).map_err(disk)?;
        loop {
            let wanted = admission.wanted();
            if wanted.is_empty() {
                break;
            }
            admission.verified(share_out(&self.env, LEAST_TO_VERIFY, wanted, verify).gathered().await?);
        }
        let ledger = self.ledger.as_mut().expect("nobody takes it while this message is handled");
        admission.finish(ledger, &*self.store).map_err(|failure| {
            let error = disk(failure);
            self.give_up(&error, Vec::new());
            error
        })
    }

    async fn tail(&mut self, reply: RpcReplyPort<Result<Tail, AppendError>>) {
        match self.ready().await {
            Ok(()) => self.behind_all(Waiter::Tail { reply }),
            Err(error) => answer(reply, Err(error)),
        }
    }

    async fn found_damaged(&mut self, at: Position, reason: &str) {
        if let Err(error) = self.damage(at, reason).await {
            tracing::warn!(%at, %error, "a damaged bundle could not be put into quarantine");
        }
    }

    async fn damage(&mut self, at: Position, reason: &str) -> Result<(), AppendError> {
        self.ready().await?;
        let entry = self.store.entry(at).map_err(disk)?;
        let stored = self.store.bundle(at).map_err(disk)?;
        let (Some(entry), Some(Stored::Damaged { bytes, .. })) = (entry, stored) else { return Ok(()) };
        tracing::error!(%at, digest = %entry.digest, reason, "a bundle in the log is damaged");
        let (digest, reason, now_ms) = (entry.digest, reason.to_owned(), self.env.clock.wall_ms());
        let damage = Damage { at, digest, bytes: bytes.into(), reason, now_ms };
        let ledger = self.ledger.as_mut().expect("it was made ready");
        if let Some(unit) = ledger.found_damaged(&*self.store, damage).map_err(disk)? {
            self.queue.push_back(Queued { unit, waiters: Vec::new() });
            self.commit_next();
        }
        Ok(())
    }

    async fn again(&mut self, number: u64, hands: Hands, reply: RpcReplyPort<Result<Admitted, AppendError>>) {
        match self.judge_again(number, hands).await {
            Ok((admitted, unit)) => self.queue(unit, Waiter::Admit { admitted, reply }),
            Err(error) => answer(reply, Err(error)),
        }
    }

    async fn judge_again(&mut self, number: u64, hands: Hands) -> Result<(Admitted, Unit), AppendError> {
        let found = self.store.quarantined_at(number).map_err(disk)?;
        let (quarantined, at) = found.ok_or_else(|| AppendError::Refused(unknown(number)))?;
        let whole_again = match at {
            Some(at) => matches!(self.store.bundle(at).map_err(disk)?, Some(Stored::Whole(_))),
            None => false,
        };
        let Quarantined { bytes, source, .. } = quarantined;
        let (admitted, mut unit) = self.judge(Offer::of(vec![bytes], source, hands)).await?;
        if whole_again || (at.is_none() && admitted.known > 0) {
            unit.changes.push(Change::Release { number });
        }
        Ok((admitted, unit))
    }

    async fn skip(&mut self, number: u64, reply: RpcReplyPort<Result<(), AppendError>>) {
        match self.skipping(number).await {
            Ok(unit) => self.queue(unit, Waiter::Skip { reply }),
            Err(error) => answer(reply, Err(error)),
        }
    }

    async fn skipping(&mut self, number: u64) -> Result<Unit, AppendError> {
        self.ready().await?;
        let found = self.store.quarantined_at(number).map_err(disk)?;
        found.ok_or_else(|| AppendError::Refused(unknown(number)))?;
        let end = self.ledger.as_ref().expect("it was made ready").end();
        Ok(Unit { changes: vec![Change::Skip { number }], end })
    }

    fn close(&mut self, reply: RpcReplyPort<()>) {
        self.closing = true;
        self.behind_all(Waiter::Close { reply });
    }

    /// Queues a unit. If it changes nothing, its waiter only waits for what is queued before.
    fn queue(&mut self, unit: Unit, waiter: Waiter) {
        if unit.changes.is_empty() {
            return self.behind_all(waiter);
        }
        self.queue.push_back(Queued { unit, waiters: vec![waiter] });
        self.commit_next();
    }

    /// Answers when everything queued so far is durable (I-1); at once, if it is.
    fn behind_all(&mut self, waiter: Waiter) {
        if let Some(last) = self.queue.back_mut() {
            last.waiters.push(waiter);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.waiters.push(waiter);
        } else if let Some((_, tail)) = &self.durable {
            waiter.done(tail);
        } else {
            waiter.failed(AppendError::Disk { reason: "the log could not be read".into(), full: false });
        }
    }

    /// Starts the next commit with everything that queued, unless one runs.
    fn commit_next(&mut self) {
        let joining = batch::joining(self.queue.iter().map(|queued| &queued.unit));
        let Some((base, _)) = self.durable.as_ref().filter(|_| self.in_flight.is_none() && joining > 0) else { return };
        let (base, mut end) = (*base, *base);
        let (mut changes, mut waiters) = (Vec::new(), Vec::new());
        for queued in self.queue.drain(..joining) {
            end = queued.unit.end;
            changes.extend(queued.unit.changes);
            waiters.extend(queued.waiters);
        }
        self.commits += 1;
        let number = self.commits;
        let mends = changes.iter().any(|change| matches!(change, Change::Replace { .. }));
        self.in_flight = Some(InFlight { number, end, mends, waiters });
        self.start(number, Batch { base, changes, end, now_ms: self.env.clock.wall_ms() });
    }

    fn start(&self, number: u64, batch: Batch) {
        let (writer, myself) = (self.writer.clone(), self.myself.clone());
        self.env.spawner.run(Box::new(move || {
            let result = writer.commit(&batch);
            // Should this incarnation be dead by now, the next one finds in the store what was written.
            let _ = myself.cast(OplogMsg::Committed(CommitOutcome { number, result }));
        }));
    }

    /// A commit ended: its waiters are answered, the facts told, and the next one starts with all that queued.
    fn committed(&mut self, CommitOutcome { number, result }: CommitOutcome) {
        let Some(InFlight { end, mends, waiters, .. }) = self.in_flight.take_if(|in_flight| in_flight.number == number)
        else {
            return;
        };
        match result {
            Ok(tail) => {
                self.settle(end, tail, waiters);
                if mends {
                    // A state that is not there to hear it looks for itself when it starts.
                    let _ = self.state.cast(StateMsg::Mended);
                }
            }
            Err(error) => self.give_up(&error, waiters),
        }
    }

    fn settle(&mut self, end: End, tail: Tail, waiters: Vec<Waiter>) {
        fail::fail_point!("oplog-before-reply");
        if let Some(ledger) = &mut self.ledger {
            ledger.settled(end);
        }
        self.tell(tail.position);
        for waiter in waiters {
            waiter.done(&tail);
        }
        self.durable = Some((end, tail));
        self.commit_next();
    }

    /// What was queued behind a failure builds on what may never be there. Only the store knows; it is read again, when
    /// a commit that still runs has ended.
    fn give_up(&mut self, error: &AppendError, waiters: Vec<Waiter>) {
        tracing::error!(%error, waiting = waiters.len(), queued = self.queue.len(), "the log could not be written or read");
        self.ledger = None;
        self.durable = None;
        self.later();
        for waiter in waiters {
            waiter.failed(error.clone());
        }
        for waiter in self.queue.drain(..).flat_map(|queued| queued.waiters) {
            let appends = matches!(waiter, Waiter::Append { .. });
            waiter.failed(if appends { AppendError::Stale } else { error.clone() });
        }
    }
}

fn unknown(number: u64) -> Refusal {
    Refusal::new(Reason::UnknownHistory, format!("There is no quarantined bundle number {number}."))
}

fn verify(wanted: Wanted) -> (Wanted, bool) {
    let holds = wanted.holds();
    (wanted, holds)
}

/// Work that a few jobs do off the actor: each gives the results of its share, in the order of the items.
struct Shares<R>(Vec<oneshot::Receiver<Vec<R>>>);

/// Begins to do `work` on each item, in jobs of at least so many.
fn share_out<T, R>(env: &Environment, least: usize, items: Vec<T>, work: fn(T) -> R) -> Shares<R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let share = items.len().div_ceil(CHECKERS).max(least);
    let mut items = items.into_iter();
    let mut jobs = Vec::new();
    loop {
        let part: Vec<T> = items.by_ref().take(share).collect();
        if part.is_empty() {
            return Shares(jobs);
        }
        let (done, result) = oneshot::channel();
        // The receiver is gone only with the actor.
        env.spawner.run(Box::new(move || drop(done.send(part.into_iter().map(work).collect::<Vec<R>>()))));
        jobs.push(result);
    }
}

impl<R> Shares<R> {
    /// Waits for all results.
    async fn gathered(&mut self) -> Result<Vec<R>, AppendError> {
        let mut results = Vec::new();
        for job in self.0.drain(..) {
            results.extend(job.await.map_err(|_| AppendError::Refused(unreadable()))?);
        }
        Ok(results)
    }
}

fn unreadable() -> Refusal {
    Refusal::new(Reason::BadBundle, "The bundles could not be read.")
}
