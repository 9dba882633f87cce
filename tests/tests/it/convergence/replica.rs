//! A replica: a workspace with its real rooms, on disks in memory, under a clock and chance of its own.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use openprod_blobs::index::{Index, Medium};
use openprod_blobs::store::Store;
use openprod_disk::MemoryDisk;
use openprod_domain::command::Request;
use openprod_domain::view::Read;
use openprod_links::endpoint::EndpointMsg;
use openprod_links::replication::session::Rooms;
use openprod_links::replication::under_way::UnderWay;
use openprod_links::replication::welcome::Host;
use openprod_messages::address::Address;
use openprod_messages::admission::TicketShelf;
use openprod_messages::commands::{CommandError, CommandsMsg, Founding, Keyring, Outcome, SharedKeyring};
use openprod_messages::environment::Environment;
use openprod_messages::log::{Lanes, LogReader, Stored, Tail};
use openprod_messages::oplog::{Admitted, Hands, OplogMsg};
use openprod_messages::snapshot::{Snapshot, Snapshots};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, CommandId, Digest, Position, SessionId, WorkspaceId};
use openprod_model::operation::RawOp;
use openprod_model::value::Text;
use openprod_node::syncing::Syncing;
use openprod_node::workspace::{self, Parts, Workspace};
use openprod_oplog::store::LogStore;
use openprod_overlays::store::FileStore;
use openprod_state::StateStore;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

use super::chance::{HandClock, environment};
use super::shelf::Shelf;
use super::witness::{Line, lines};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);
/// When the story begins.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// How often the runtime is let go on before a closed store must have been let go of.
const PATIENCE: usize = 100_000;

/// Everybody who writes, on whatever replica: all keys are everywhere, so an actor's history forks easily.
pub(crate) struct Cast(pub(crate) Vec<Keys>);

impl Cast {
    pub(crate) fn of(people: usize) -> Arc<Self> {
        let seed = |number| [u8::try_from(number).unwrap() + 1; 32];
        Arc::new(Self((0..people).map(|number| Keys::from_seed(&seed(number))).collect()))
    }

    pub(crate) fn actor(&self, number: usize) -> ActorId {
        self.0[number % self.0.len()].actor()
    }
}

/// Nobody is invited here.
struct NoTickets;

impl TicketShelf for NoTickets {
    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

impl Keyring for Cast {
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys> {
        self.0.iter().find(|keys| actor.is_none_or(|actor| keys.actor() == actor)).cloned()
    }
}

/// The disks of a replica.
#[derive(Clone, Default)]
pub(crate) struct Disks {
    pub(crate) log: MemoryDisk,
    pub(crate) state: MemoryDisk,
    pub(crate) files: Shelf,
}

impl Disks {
    pub(crate) fn copied(&self) -> Self {
        Self { log: self.log.copied(), state: self.state.copied(), files: self.files.copied() }
    }
}

/// The rooms, while they live.
struct Life {
    workspace: Workspace,
    house: ActorRef<()>,
    stores: Stores,
}

/// A whole replica.
pub(super) struct Replica {
    cast: Arc<Cast>,
    seed: u64,
    env: Environment,
    pub(super) clock: Arc<HandClock>,
    disks: Disks,
    /// Kinds of operations that its version does not know.
    pub(super) unknown: &'static [u16],
    under_way: UnderWay,
    /// None only between two lives.
    life: Option<Life>,
    lines: Vec<Line>,
}

/// What keeps the rooms of one replica, and takes them along when it is killed.
pub(crate) struct House;

impl Actor for House {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Replica {
    /// An empty replica whose chance and clock follow from `seed`: wall clocks are up to an hour apart.
    pub(super) async fn new(cast: &Arc<Cast>, seed: u64, unknown: &'static [u16]) -> Self {
        Self::on(cast, seed, unknown, Disks::default()).await
    }

    async fn on(cast: &Arc<Cast>, seed: u64, unknown: &'static [u16], disks: Disks) -> Self {
        let (env, clock) = environment(seed, BEGIN_MS + seed % 3_600_000);
        let life = Some(begin(cast, &env, &disks, unknown).await);
        let replica = Self {
            cast: Arc::clone(cast),
            seed,
            env,
            clock,
            disks,
            unknown,
            under_way: UnderWay::default(),
            life,
            lines: Vec::new(),
        };
        replica.catches_up().await;
        replica
    }

    fn workspace(&self) -> &Workspace {
        &self.life.as_ref().expect("it lives").workspace
    }

    /// Makes the first bundle.
    pub(super) async fn founds(&self, name: &str) -> Digest {
        let founder = self.cast.actor(0);
        let (name, founder_name) = (Text::new(name).unwrap(), Text::new("Mara").unwrap());
        let command = CommandId::from_bytes([0; 16]);
        let founding = Box::new(Founding { name, founder, founder_name, besides: Vec::new(), recovery: None });
        let ask = |reply| CommandsMsg::Found { command, founding, reply };
        let found = self.workspace().commands.call(ask).await.unwrap().unwrap();
        self.catches_up().await;
        found.answer.digest
    }

    /// Sends all requests before it waits for any answer, so that later ones are planned on what is still pending.
    pub(super) async fn executes(&self, requests: Vec<(Request, ActorId)>) -> Vec<Result<Outcome, CommandError>> {
        let mut asked = Vec::new();
        for (request, actor) in requests {
            let commands = self.workspace().commands.clone();
            asked.push(tokio::spawn(async move {
                let (request, actor) = (Box::new(request), Some(actor));
                commands.call(|reply| CommandsMsg::Execute { request, actor, reply }).await.unwrap()
            }));
        }
        let mut answers = Vec::new();
        for asked in asked {
            answers.push(asked.await.unwrap());
        }
        self.catches_up().await;
        answers
    }

    /// Takes bundles from elsewhere.
    pub(super) async fn admits(&self, bundles: Vec<Vec<u8>>) -> Admitted {
        let ask =
            |reply| OplogMsg::Admit { bundles, source: "another replica".to_owned(), hands: Hands::Members, reply };
        let admitted = self.workspace().oplog.call(ask).await.unwrap().unwrap();
        self.catches_up().await;
        admitted
    }

    /// A bundle of these ops on top of everything that is here, signed, and written past the door for commands: as
    /// another program writes it, or a version that plans otherwise. It enters as a bundle from elsewhere.
    pub(super) async fn writes_by_hand(&self, actor: ActorId, ops: Vec<RawOp>) -> Digest {
        let keys = self.cast.keys(Some(actor)).unwrap();
        let bundle = by_hand(&self.env, &keys, &*self.workspace().log, ops).unwrap();
        let admitted = self.admits(vec![bundle.bytes().to_vec()]).await;
        assert!(admitted.appended >= 1, "a member's own bundle is admitted: {admitted:?}");
        bundle.digest()
    }

    /// Waits until the state has folded what the log holds.
    async fn catches_up(&self) {
        let end = self.tail().position;
        let mut folded = self.workspace().snapshots.folded();
        folded.wait_for(|folded| folded.position >= end).await.unwrap();
    }

    /// What a link needs of it.
    pub(super) fn rooms(&self) -> Rooms {
        let workspace = self.workspace();
        Rooms {
            log: workspace.store.clone(),
            snapshots: workspace.snapshots.clone(),
            host: Arc::new(Anybody(workspace.snapshots.clone())),
            oplog: workspace.oplog.clone(),
            held: workspace.syncing.held(),
            keyring: self.cast.clone(),
            env: self.env.clone(),
            under_way: self.under_way.clone(),
        }
    }

    pub(super) fn log(&self) -> &Arc<dyn LogReader> {
        &self.workspace().log
    }

    pub(super) fn tail(&self) -> Tail {
        self.log().tail().unwrap()
    }

    pub(super) fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.workspace().snapshots.snapshot().unwrap()
    }

    fn bundles_from(&self, from: Position) -> Vec<(Position, Option<SessionId>, Bundle)> {
        let stored = self.log().bundles(from, usize::MAX, usize::MAX).unwrap();
        let whole = |(position, entry, stored): (Position, openprod_messages::log::Entry, Stored)| match stored {
            Stored::Whole(bundle) => (position, entry.session, Arc::unwrap_or_clone(bundle)),
            Stored::Damaged { reason, .. } => panic!("{position}: {reason}"),
        };
        stored.into_iter().map(whole).collect()
    }

    pub(super) fn holds(&self, digest: Digest) -> bool {
        self.log().position_of(digest).unwrap().is_some()
    }

    /// What waits for ancestors.
    pub(super) fn waiting(&self) -> BTreeSet<Digest> {
        self.workspace().store.waiting(0, usize::MAX).unwrap().into_iter().map(|waiting| waiting.digest).collect()
    }

    /// The digests of its log, in its order.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let entries = self.log().entries(Position(1), usize::MAX).unwrap();
        entries.into_iter().map(|(_, entry)| entry.digest).collect()
    }

    pub(super) fn bundle(&self, digest: Digest) -> Bundle {
        let position = self.log().position_of(digest).unwrap().expect("it is in the log");
        match self.log().bundle(position).unwrap() {
            Some(Stored::Whole(bundle)) => Arc::unwrap_or_clone(bundle),
            other => panic!("{other:?} at {position}"),
        }
    }

    /// Every write in its log, in order: kept, so that reading it again and again costs only what is new.
    pub(super) fn lines(&mut self) -> &[Line] {
        let from = self.lines.last().map_or(Position(1), |line| line.position.next());
        for (position, session, bundle) in self.bundles_from(from) {
            self.lines.extend(lines(position, session, &bundle));
        }
        &self.lines
    }

    /// Closes in good order and is opened again on the same disks.
    pub(super) async fn restarts(&mut self) {
        self.closes().await;
        self.begins().await;
    }

    async fn closes(&mut self) {
        self.workspace().close().await;
        let stores = self.life.take().expect("it lives").stores;
        let gone = || stores.0.strong_count() + stores.1.strong_count() == 0;
        for _ in 0..PATIENCE {
            if gone() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(gone(), "a closed workspace still holds its stores");
    }

    /// Its process is killed: what was written is there, what was not is not.
    pub(super) async fn is_killed(&mut self) {
        self.dies(Disks::copied).await;
    }

    /// The power fails: what was not synced is gone.
    pub(super) async fn loses_power(&mut self) {
        self.dies(|disks| Disks {
            log: disks.log.after_power_cut(),
            state: disks.state.after_power_cut(),
            files: disks.files.torn(|| false),
        })
        .await;
    }

    /// The file of its state is lost.
    pub(super) async fn loses_its_state(&mut self) {
        self.dies(|disks| Disks { state: MemoryDisk::default(), ..disks.copied() }).await;
    }

    /// A bit of a bundle in its log flips on the disk, and it is opened anew.
    pub(super) async fn loses_a_bit_of(&mut self, digest: Digest) {
        let bytes = self.bundle(digest).bytes().to_vec();
        self.closes().await;
        let image = self.disks.log.bytes();
        let places = (0..image.len().saturating_sub(bytes.len())).filter(|at| image[*at..].starts_with(&bytes));
        places.for_each(|at| self.disks.log.flips(at + bytes.len() - 20));
        self.begins().await;
        let at = self.log().position_of(digest).unwrap().unwrap();
        assert!(matches!(self.log().bundle(at).unwrap(), Some(Stored::Damaged { .. })), "it is damaged");
    }

    /// Is opened by a version that knows every kind of operation.
    pub(super) async fn learns(&mut self) {
        self.unknown = &[];
        self.restarts().await;
    }

    /// What a backup taken now would hold.
    pub(super) fn copy_of_its_disks(&self) -> Disks {
        self.disks.copied()
    }

    /// Another replica on a copy of this one's disks. Without a seed of its own its chance and its clock begin where
    /// those of this one began, as on a machine that was cloned: so its fresh ids are not fresh.
    pub(super) async fn again_on(&self, disks: &Disks, seed: Option<u64>) -> Self {
        Self::on(&self.cast, seed.unwrap_or(self.seed), self.unknown, disks.copied()).await
    }

    async fn dies(&mut self, found: impl FnOnce(&Disks) -> Disks) {
        // What the dying rooms still do, they do to disks that nobody opens again.
        let disks = found(&self.disks);
        let life = self.life.take().expect("it lives");
        life.house.get_cell().kill_and_wait(None).await.unwrap();
        self.disks = disks;
        self.begins().await;
    }

    async fn begins(&mut self) {
        self.life = Some(begin(&self.cast, &self.env, &self.disks, self.unknown).await);
        self.lines.clear();
        self.catches_up().await;
    }
}

/// A bundle of these ops on top of everything that is in a log, signed.
pub(crate) fn by_hand(env: &Environment, keys: &Keys, log: &dyn LogReader, ops: Vec<RawOp>) -> Read<Bundle> {
    let tail = log.tail()?;
    let hlc = Hlc::tick(env.clock.wall_ms(), tail.hlc, u32::try_from(ops.len()).unwrap());
    let draft = Draft {
        stamp: Stamp { workspace: WORKSPACE, actor: keys.actor(), hlc, op_base: env.op_base() },
        id: env.bundle(),
        wall_ms: env.clock.wall_ms(),
        parents: tail.heads,
        prev: log.prev_of(keys.actor())?,
        kind: BundleKind::EDIT,
        label: Text::new("Write by hand").unwrap(),
        source: Source::default(),
        undoes: Vec::new(),
        ops,
    };
    Ok(draft.seal(keys).unwrap())
}

async fn begin(cast: &Arc<Cast>, env: &Environment, disks: &Disks, unknown: &'static [u16]) -> Life {
    let (house, _) = Actor::spawn(None, House, ()).await.unwrap();
    let (node, endpoint) = (cast.actor(0), Address::of("endpoint"));
    let tickets = Arc::new(NoTickets);
    let given =
        Given { env: env.clone(), keyring: cast.clone(), tickets, node, endpoint, unknown, keeps_all_files: false };
    let (workspace, stores) = move_in(disks, given, house.get_cell()).await.unwrap();
    Life { workspace, house, stores }
}

/// What a workspace is given beside its disks.
pub(crate) struct Given {
    pub(crate) env: Environment,
    pub(crate) keyring: SharedKeyring,
    pub(crate) tickets: Arc<dyn TicketShelf>,
    /// The key of the node.
    pub(crate) node: ActorId,
    pub(crate) endpoint: Address<EndpointMsg>,
    /// Kinds of operations that its version does not know.
    pub(crate) unknown: &'static [u16],
    /// Whether it keeps every file that the workspace needs.
    pub(crate) keeps_all_files: bool,
}

/// Gives to everybody what there is: that histories come to the same in the end is asked here, not who may see them.
struct Anybody(Arc<dyn Snapshots>);

impl Host for Anybody {
    fn gives_through(&self, _: ActorId) -> Option<Position> {
        Some(self.0.folded().borrow().position)
    }
}

/// The stores of a workspace, which it alone holds.
type Stores = (Weak<LogStore>, Weak<StateStore>);

/// Opens a workspace on its disks and starts its rooms. The error says which of its stores could not be opened.
pub(crate) async fn move_in(disks: &Disks, given: Given, house: ActorCell) -> Result<(Workspace, Stores), String> {
    let Given { env, keyring, tickets, node, endpoint, unknown, keeps_all_files } = given;
    let log = openprod_oplog::store::Options { cache_bytes: CACHE_BYTES };
    let log = LogStore::open(disks.log.clone(), WORKSPACE, log).map_err(|error| format!("the log: {error}"))?;
    let state = openprod_state::Options { cache_bytes: CACHE_BYTES, unknown };
    let state = StateStore::open(disks.state.clone(), WORKSPACE, log.clone(), state);
    let state = state.map_err(|error| format!("the state: {error}"))?;
    let stores = (Arc::downgrade(&log), Arc::downgrade(&state));
    let overlays = Box::new(FileStore::in_memory(WORKSPACE));
    let index = Index::new(Medium::Memory(disks.files.index.clone()), WORKSPACE);
    let blobs = Store::new(Box::new(disks.files.clone()), index, env.clone());
    let node = (node, Text::new("Replica").unwrap());
    let id = WORKSPACE;
    let syncing = Syncing::forgetful();
    let parts =
        Parts { id, log, state, overlays, blobs, keeps_all_files, tickets, syncing, node, endpoint, env, keyring };
    let workspace = workspace::start(parts, house).await.map_err(|error| error.to_string())?;
    Ok((workspace, stores))
}
