//! The desk: requests come in, bundles go out, and whoever waits gets an answer when his bundle is durable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use openprod_domain::command::{Command, Request};
use openprod_domain::view::{Layer, ReadFailure};
use openprod_messages::commands::{Answer, CommandError, CommandsMsg, Founding, Outcome};
use openprod_messages::log::Receipt;
use openprod_messages::oplog::{Append, AppendError, OplogMsg};
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source};
use openprod_model::clock::Hlc;
use openprod_model::codec;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, CommandId, Digest, OpRef, Position, SessionId};
use openprod_model::operation::{Basis, Operation};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use ractor::{ActorRef, RpcReplyPort};

use crate::actor::CommandsArgs;
use crate::planning::{self, Picture, Planned};
use crate::seen::Maker;

mod overlays;

/// Requests of more commands than this are planned on another thread, so that the actor's thread stays free.
const LONG_REQUEST: usize = 256;
/// A layer of more ops than this, most of which the snapshot holds too, is folded anew from what is pending.
const REFOLD_ABOVE: usize = 4_096;
/// How many times what is pending the layer may hold before that.
const REFOLD_FACTOR: usize = 4;
/// How long a request waits for the state to reach the log after a restart before its client is told to come back.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(10);

type Reply = RpcReplyPort<Result<Outcome, CommandError>>;

/// An own bundle that the state has not folded yet, as far as this room knows.
struct Pending {
    bundle: Bundle,
    session: Option<SessionId>,
}

/// What a new snapshot holds more than the last.
struct Reached {
    own: HashSet<Digest>,
    /// Whether any of it was not made here.
    foreign: bool,
}

/// Callers of one command, waiting for its bundle to be durable.
struct Waiting {
    command: CommandId,
    payload: [u8; 32],
    actor: ActorId,
    answer: Answer,
    replies: Vec<Reply>,
}

/// What the room remembers. All of it can be had again from the log.
pub struct Desk {
    args: CommandsArgs,
    myself: ActorRef<CommandsMsg>,
    /// Counts the times that the pending bundles were given up.
    epoch: u64,
    /// Whether the end of the log must be asked for before anything is planned.
    lost: bool,
    pending: Vec<Pending>,
    waiting: HashMap<Digest, Waiting>,
    /// The snapshot that the layer lies on, with what follows from both.
    picture: Option<Picture>,
    /// How many ops the layer holds.
    folded: usize,
    clock: Hlc,
    /// See [`Picture`].
    secret: Arc<[u8; 32]>,
    closing: Option<RpcReplyPort<()>>,
    closed: bool,
}

impl Desk {
    pub(crate) fn new(args: CommandsArgs, myself: ActorRef<CommandsMsg>) -> Self {
        let mut secret = [0; 32];
        args.env.random.fill(&mut secret);
        Self {
            args,
            myself,
            epoch: 0,
            lost: true,
            pending: Vec::new(),
            waiting: HashMap::new(),
            picture: None,
            folded: 0,
            clock: Hlc::ZERO,
            secret: Arc::new(secret),
            closing: None,
            closed: false,
        }
    }

    pub(crate) async fn execute(&mut self, request: Request, actor: Option<ActorId>, reply: Reply) {
        match self.begin(request, actor, reply).await {
            Ok(()) => {}
            Err((reply, answer)) => send(reply, answer),
        }
    }

    /// Plans and hands over a request, or gives its answer at once.
    async fn begin(
        &mut self,
        request: Request,
        actor: Option<ActorId>,
        reply: Reply,
    ) -> Result<(), (Reply, Result<Outcome, CommandError>)> {
        let keys = match self.keys(actor) {
            Ok(keys) => keys,
            Err(error) => return Err((reply, Err(error))),
        };
        let payload = *blake3::hash(&codec::encode(&request)).as_bytes();
        let reply = match self.repeated(request.command_id, payload, keys.actor(), reply) {
            Ok(reply) => reply,
            Err(Repeated::Joined) => return Ok(()),
            Err(Repeated::Answered(answered)) => return Err(*answered),
        };
        let planned = match self.plan(&request, &keys).await {
            Ok(planned) => planned,
            Err(error) => return Err((reply, Err(error))),
        };
        fail::fail_point!("commands-after-plan");
        let waiting = Waiting {
            command: request.command_id,
            payload,
            actor: keys.actor(),
            answer: planned.answer.clone(),
            replies: vec![reply],
        };
        self.hand_over(planned, request.session, waiting);
        Ok(())
    }

    fn keys(&self, actor: Option<ActorId>) -> Result<Keys, CommandError> {
        if self.closed {
            return Err(CommandError::Unavailable("The workspace is closing.".to_owned()));
        }
        self.args.keyring.keys(actor).ok_or_else(|| {
            let who = actor.map_or_else(|| "any actor".to_owned(), |actor| format!("actor {}", actor.short()));
            let refusal = Refusal::new(Reason::UnknownActor, format!("This node does not hold the keys of {who}."));
            refusal.at("actor").next("Create or import the identity first.").into()
        })
    }

    /// Finds a command that was given before: in flight, or answered and in the log (I-6).
    fn repeated(
        &mut self,
        command: CommandId,
        payload: [u8; 32],
        actor: ActorId,
        reply: Reply,
    ) -> Result<Reply, Repeated> {
        if let Some(waiting) = self.waiting.values_mut().find(|waiting| waiting.command == command) {
            if waiting.payload == payload && waiting.actor == actor {
                waiting.replies.push(reply);
                return Err(Repeated::Joined);
            }
            return Err(Repeated::answered(reply, Err(reused(command))));
        }
        match self.args.log.receipt(command) {
            // Overlays that cannot be read keep nobody from writing.
            Ok(None) if matches!(self.args.shelf.receipt(command), Ok(Some(_))) => {
                Err(Repeated::answered(reply, Err(reused(command))))
            }
            Ok(None) => Ok(reply),
            Ok(Some((_, receipt))) if receipt.payload != payload || receipt.actor != actor => {
                Err(Repeated::answered(reply, Err(reused(command))))
            }
            Ok(Some((revision, receipt))) => Err(Repeated::answered(reply, replayed(revision, &receipt))),
            Err(failure) => Err(Repeated::answered(reply, Err(unreadable(&failure)))),
        }
    }

    async fn plan(&mut self, request: &Request, keys: &Keys) -> Result<Planned, CommandError> {
        if request.turn().is_some() {
            self.wait_for_all().await?;
        }
        let picture = self.picture(keys.actor()).await?;
        if let [Command::CommitOverlay { overlay }] = request.commands[..] {
            return self.plan_commit(picture, overlay, request, keys).await;
        }
        if request.commands.len() <= LONG_REQUEST && request.turn().is_none() {
            return picture.plan(request, keys);
        }
        let (request, keys) = (request.clone(), keys.clone());
        let planned = self.args.env.offload(move || picture.plan(&request, &keys)).await;
        planned.unwrap_or_else(|| Err(CommandError::Unavailable("Planning broke off; try again.".to_owned())))
    }

    /// The newest snapshot with all pending bundles on top, as `actor` writes on it.
    async fn picture(&mut self, actor: ActorId) -> Result<Picture, CommandError> {
        if self.lost {
            self.find_the_end().await?;
        }
        let folded = self.args.snapshots.folded().borrow().position;
        if self.picture.as_ref().is_none_or(|picture| picture.snapshot.position() < folded) {
            self.refresh().map_err(|failure| unreadable(&failure))?;
        }
        let prev = match self.pending.iter().rev().find(|pending| pending.bundle.header().actor == actor) {
            Some(pending) => Some(pending.bundle.digest()),
            None => self.args.log.prev_of(actor).map_err(|failure| unreadable(&failure))?,
        };
        let picture = self.picture.clone().ok_or_else(|| CommandError::Unavailable("No snapshot.".to_owned()))?;
        Ok(Picture { prev, clock: self.clock, ..picture })
    }

    /// Waits until the state has folded everything that was handed over: what undoing reads is in the log then.
    async fn wait_for_all(&mut self) -> Result<(), CommandError> {
        self.find_the_end().await?;
        self.refresh().map_err(|failure| unreadable(&failure))?;
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(CommandError::Unavailable("The workspace was busy; try again.".to_owned()))
    }

    /// After a start or a failure: waits behind what an earlier incarnation queued, and until the state has folded it.
    async fn find_the_end(&mut self) -> Result<(), CommandError> {
        let unavailable = |what: String| CommandError::Unavailable(what);
        let tail = self.args.oplog.call(|reply| OplogMsg::Tail { reply }).await;
        let tail = tail.map_err(|none| unavailable(none.to_string()))?.map_err(|error| append_error(&error))?;
        let mut folded = self.args.snapshots.folded();
        let reached = folded.wait_for(|folded| folded.position >= tail.position);
        if !matches!(tokio::time::timeout(CATCH_UP_DEADLINE, reached).await, Ok(Ok(()))) {
            let at = self.args.snapshots.folded().borrow().position;
            let end = tail.position;
            return Err(unavailable(format!(
                "The workspace is still being read: {at} of {end} bundles. Try again soon."
            )));
        }
        self.clock = self.clock.max(tail.hlc);
        self.picture = None;
        self.lost = false;
        Ok(())
    }

    /// Takes a new snapshot and drops the pending bundles that it holds.
    ///
    /// As long as nothing but own bundles came in between, the layer stays right on the new snapshot: for the cells that
    /// it holds both say the same. So it is folded anew only when somebody else's bundle came, or when it has grown.
    fn refresh(&mut self) -> Result<(), ReadFailure> {
        let snapshot = self.args.snapshots.snapshot()?;
        let reached = self.reached_by(&*snapshot)?;
        self.pending.retain(|pending| !reached.own.contains(&pending.bundle.digest()));
        self.clock = self.clock.max(self.args.log.tail()?.hlc);
        let mut picture = self.empty_picture(snapshot)?;
        let wanted: usize = self.pending.iter().map(|pending| pending.bundle.ops().len()).sum();
        let grown = self.folded > REFOLD_ABOVE.max(REFOLD_FACTOR * wanted);
        match self.picture.take() {
            // Whose its ops are stays known as long as the layer holds them.
            Some(old) if !(reached.foreign || grown || wanted == 0) => {
                (picture.layer, picture.pending) = (old.layer, old.pending);
            }
            _ => picture.layer = Arc::new(self.fold_pending(&picture)?),
        }
        let makers = Arc::make_mut(&mut picture.pending);
        for pending in &self.pending {
            note(&mut picture.heads, makers, pending);
        }
        self.picture = Some(picture);
        Ok(())
    }

    /// Which pending bundles a new snapshot holds, and whether it holds others that the last one did not.
    fn reached_by(&self, snapshot: &dyn Snapshot) -> Result<Reached, ReadFailure> {
        let before = self.picture.as_ref().map(|picture| picture.snapshot.position());
        let mut own = HashSet::new();
        for digest in self.pending.iter().map(|pending| pending.bundle.digest()) {
            if self.args.log.position_of(digest)?.is_some_and(|position| position <= snapshot.position()) {
                own.insert(digest);
            }
        }
        let advanced = before.map(|before| snapshot.position().0.saturating_sub(before.0));
        Ok(Reached { foreign: advanced != u64::try_from(own.len()).ok(), own })
    }

    fn fold_pending(&mut self, picture: &Picture) -> Result<Layer, ReadFailure> {
        let mut layer = Layer::default();
        self.folded = 0;
        for op in self.pending.iter().flat_map(|pending| pending.bundle.ops()) {
            layer.fold(picture.snapshot.view(), op, None)?;
            self.folded += 1;
        }
        Ok(layer)
    }

    fn empty_picture(&self, snapshot: Arc<dyn Snapshot>) -> Result<Picture, ReadFailure> {
        Ok(Picture {
            workspace: self.args.workspace,
            heads: snapshot.heads()?,
            snapshot,
            layer: Arc::default(),
            pending: Arc::default(),
            prev: None,
            clock: self.clock,
            log: Arc::clone(&self.args.log),
            env: self.args.env.clone(),
            secret: Arc::clone(&self.secret),
        })
    }

    /// Gives a bundle to the oplog and keeps it pending until the state has it.
    fn hand_over(&mut self, planned: Planned, session: Option<SessionId>, waiting: Waiting) {
        let Planned { bundle, layer, answer } = planned;
        let digest = bundle.digest();
        let receipt = Receipt {
            command: waiting.command,
            payload: waiting.payload,
            actor: waiting.actor,
            answer: codec::encode(&answer),
        };
        self.clock = self.clock.max(bundle.last_hlc());
        self.waiting.insert(digest, waiting);
        let pending = Pending { bundle: bundle.clone(), session };
        self.folded += bundle.ops().len();
        if let Some(picture) = &mut self.picture {
            Arc::make_mut(&mut picture.layer).absorb(layer);
            note(&mut picture.heads, Arc::make_mut(&mut picture.pending), &pending);
        }
        self.pending.push(pending);
        self.append(Append { bundle, receipt, session }, digest);
    }

    /// Sends the bundle now, in order, and brings the answer back as a message.
    fn append(&self, append: Append, digest: Digest) {
        let (oplog, myself, epoch) = (self.args.oplog.clone(), self.myself.clone(), self.epoch);
        let (port, answer) = ractor::concurrency::oneshot();
        // Where nobody takes the message, its port is dropped with it, and the wait below ends at once.
        let _ = oplog.cast(OplogMsg::Append { append: Box::new(append), reply: port.into() });
        tokio::spawn(async move {
            let result = tokio::time::timeout(openprod_messages::address::CALL_DEADLINE, answer).await;
            let result = result.ok().and_then(Result::ok);
            // If this room has died meanwhile, its callers were told by their dropped ports.
            let _ = myself.cast(CommandsMsg::Settled { epoch, digest, result });
        });
    }

    pub(crate) fn settled(&mut self, epoch: u64, digest: Digest, result: Option<Result<Position, AppendError>>) {
        let answer = match result {
            Some(Ok(position)) => Ok(position),
            Some(Err(error)) => Err(append_error(&error)),
            None => Err(CommandError::Unavailable(
                "The log did not answer. Whether the change was made is unknown; the same command tells.".to_owned(),
            )),
        };
        let repeat = answer.as_ref().is_ok_and(|position| !self.lies_at(digest, *position));
        if (answer.is_err() || repeat) && epoch == self.epoch {
            self.give_up_pending();
        }
        if let Some(waiting) = self.waiting.remove(&digest) {
            if repeat { self.answer_again(waiting) } else { waiting.answer_all(&answer) }
        }
        self.close_if_done();
    }

    /// Whether the bundle of that digest is the one at `position`. It is another if an earlier incarnation of this room
    /// had the same command in flight: then that one was taken, and this one never will be.
    fn lies_at(&self, digest: Digest, position: Position) -> bool {
        // Where the log cannot be read, the oplog's own word holds.
        self.args.log.entry(position).map_or(true, |entry| entry.is_none_or(|entry| entry.digest == digest))
    }

    /// Gives the answer of the bundle that was taken for the same command.
    fn answer_again(&self, waiting: Waiting) {
        let answer = match self.args.log.receipt(waiting.command) {
            Ok(Some((revision, receipt))) => replayed(revision, &receipt),
            Ok(None) => Err(CommandError::Unavailable("The first answer is lost; read again.".to_owned())),
            Err(failure) => Err(unreadable(&failure)),
        };
        for reply in waiting.replies {
            send(reply, answer.clone());
        }
    }

    /// A bundle did not make it, so what was planned on it will not either.
    fn give_up_pending(&mut self) {
        self.epoch += 1;
        self.lost = true;
        self.pending.clear();
        self.picture = None;
    }

    pub(crate) async fn found(&mut self, command: CommandId, founding: Founding, reply: Reply) {
        let (payload, founder) = (*blake3::hash(&codec::encode(&founding.name)).as_bytes(), founding.founder);
        let reply = match self.repeated(command, payload, founder, reply) {
            Ok(reply) => reply,
            Err(Repeated::Joined) => return,
            Err(Repeated::Answered(answered)) => return send(answered.0, answered.1),
        };
        match self.foundation(founding).await {
            Ok(planned) => {
                let waiting =
                    Waiting { command, payload, actor: founder, answer: planned.answer.clone(), replies: vec![reply] };
                self.hand_over(planned, None, waiting);
            }
            Err(error) => send(reply, Err(error)),
        }
    }

    /// The first bundle: it has no past, and admits its own author.
    async fn foundation(&mut self, founding: Founding) -> Result<Planned, CommandError> {
        let keys = self.keys(Some(founding.founder))?;
        let picture = self.picture(founding.founder).await?;
        if picture.snapshot.position() > Position::ZERO || !self.pending.is_empty() {
            let message = "This workspace was founded already.";
            return Err(Refusal::new(Reason::AlreadyExists, message).into());
        }
        let label = Text::new(&format!("Found {}", founding.name)).map_err(Refusal::from)?;
        let operations = founding_operations(founding);
        let stamp = picture.stamp(keys.actor(), operations.len());
        let mut layer = Layer::default();
        for (index, operation) in operations.iter().enumerate() {
            let op = stamp.op(index, operation.clone());
            layer.fold(picture.snapshot.view(), &op, None).map_err(|failure| unreadable(&failure))?;
        }
        let draft = Draft {
            stamp,
            id: self.args.env.bundle(),
            wall_ms: self.args.env.clock.wall_ms(),
            parents: Vec::new(),
            prev: None,
            kind: BundleKind::BOOTSTRAP,
            label,
            source: Source::default(),
            undoes: Vec::new(),
            ops: operations.iter().map(Operation::to_raw).collect(),
        };
        let bundle = draft.seal(&keys).map_err(|malformed| planning::refusal_of(&malformed))?;
        let answer = Answer {
            bundle: bundle.header().id,
            digest: bundle.digest(),
            created: Vec::new(),
            opened: Vec::new(),
            turned: None,
            skipped: Vec::new(),
        };
        Ok(Planned { bundle, layer, answer })
    }

    pub(crate) fn close(&mut self, reply: RpcReplyPort<()>) {
        self.closed = true;
        self.closing = Some(reply);
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.waiting.is_empty()
            && let Some(reply) = self.closing.take()
        {
            // Whoever asked has given up waiting if this fails; closing goes on without him.
            let _ = reply.send(());
        }
    }
}

/// The founder's own, and an admission and a name for everybody besides.
fn founding_operations(founding: Founding) -> Vec<Operation> {
    let Founding { name, founder, founder_name, besides, recovery } = founding;
    let mut operations = vec![Operation::Bootstrap { name, founder, founder_name, recovery }];
    for (member, name) in besides {
        operations.push(Operation::AdmitMember { member, basis: Basis::default() });
        operations.push(Operation::NameActor { actor: member, name, basis: Basis::default() });
    }
    operations
}

enum Repeated {
    Joined,
    Answered(Box<(Reply, Result<Outcome, CommandError>)>),
}

impl Repeated {
    fn answered(reply: Reply, answer: Result<Outcome, CommandError>) -> Self {
        Self::Answered(Box::new((reply, answer)))
    }
}

impl Waiting {
    fn answer_all(self, result: &Result<Position, CommandError>) {
        for (index, reply) in self.replies.into_iter().enumerate() {
            let outcome =
                result.clone().map(|revision| Outcome { revision, answer: self.answer.clone(), replayed: index > 0 });
            send(reply, outcome);
        }
    }
}

/// Answers a caller; one who has hung up meanwhile can ask again with the same id.
fn send(reply: Reply, answer: Result<Outcome, CommandError>) {
    let _ = reply.send(answer);
}

fn note(heads: &mut Vec<Digest>, makers: &mut HashMap<OpRef, Maker>, pending: &Pending) {
    let ancestors: Vec<Digest> = pending.bundle.ancestors().collect();
    heads.retain(|head| !ancestors.contains(head));
    heads.push(pending.bundle.digest());
    let maker = Maker { actor: pending.bundle.header().actor, session: pending.session };
    makers.extend(pending.bundle.ops().iter().map(|op| (op.reference, maker)));
}

fn replayed(revision: Position, receipt: &Receipt) -> Result<Outcome, CommandError> {
    let answer = Answer::stored(&receipt.answer);
    let answer =
        answer.map_err(|error| CommandError::Unavailable(format!("The stored answer is damaged: {error}.")))?;
    Ok(Outcome { revision, answer, replayed: true })
}

fn reused(command: CommandId) -> CommandError {
    let message = format!("Command id {command} was used before, for something else.");
    Refusal::new(Reason::CommandIdReused, message).at("command_id").next("Make a fresh id for each command.").into()
}

fn unreadable(failure: &ReadFailure) -> CommandError {
    CommandError::Unavailable(failure.to_string())
}

fn append_error(error: &AppendError) -> CommandError {
    match error {
        AppendError::Refused(refusal) => CommandError::Refused(refusal.clone()),
        AppendError::Stale => CommandError::Unavailable("The workspace was busy; try again.".to_owned()),
        AppendError::Disk { reason, full: true } => {
            let message = format!("The disk is full, so nothing can be written: {reason}.");
            Refusal::new(Reason::DiskFull, message).next("Free some space, then try again; nothing is lost.").into()
        }
        AppendError::Disk { reason, full: false } => {
            CommandError::Unavailable(format!("The disk did not take the change: {reason}. The same command tells."))
        }
    }
}
