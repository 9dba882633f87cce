//! What the tests need: people who write bundles, an environment, a disk that fails on demand, a running oplog.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) use openprod_disk::{MemoryDisk, Trouble};
use openprod_messages::address::Address;
use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};
use openprod_messages::log::{Lanes, LogReader, Receipt, Spot, Stored, Tail};
use openprod_messages::oplog::{Admitted, Append, AppendError, Hands, OplogMsg};
use openprod_messages::state::StateMsg;
use openprod_messages::watch;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpId, OpRef, Position, WorkspaceId};
use openprod_model::operation::{Basis, Operation};
use openprod_model::value::{Name, Text, Value};
use ractor::{Actor, ActorRef, RpcReplyPort};
use tokio::task::JoinHandle;

use crate::actor::{Oplog, OplogArgs};
use crate::store::{LogStore, Options};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

/// A small generator (SplitMix64), so that a seed says everything.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }
    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }
}

/// A person with a key pair.
pub(crate) fn person(name: &str) -> Keys {
    Keys::from_seed(blake3::hash(name.as_bytes()).as_bytes())
}

fn unique(counter: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(&counter.to_le_bytes()).as_bytes()[..16]);
    bytes
}

static COUNTER: AtomicU64 = AtomicU64::new(1);

fn next_unique() -> [u8; 16] {
    unique(COUNTER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn command() -> CommandId {
    CommandId::from_bytes(next_unique())
}

/// What somebody knows of history, and builds on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knowledge {
    pub(crate) heads: Vec<Digest>,
    pub(crate) prev: BTreeMap<ActorId, Digest>,
    pub(crate) hlc: Hlc,
    /// The standing write of each member's cell.
    pub(crate) member: BTreeMap<ActorId, OpRef>,
}

impl Knowledge {
    pub(crate) fn sees(&mut self, bundle: &Bundle) {
        let ancestors: Vec<Digest> = bundle.ancestors().collect();
        self.heads.retain(|head| !ancestors.contains(head));
        self.heads.push(bundle.digest());
        self.prev.insert(bundle.header().actor, bundle.digest());
        self.hlc = self.hlc.max(bundle.last_hlc());
        for op in bundle.ops() {
            if let Some(
                Operation::Bootstrap { founder: member, .. }
                | Operation::AdmitMember { member, .. }
                | Operation::RemoveMember { member, .. },
            ) = op.operation
            {
                self.member.insert(member, op.reference);
            }
        }
    }

    pub(crate) fn draft(&self, who: &Keys, ops: &[Operation]) -> Draft {
        let hlc = Hlc::tick(1_000, self.hlc, ops.len() as u32);
        Draft {
            stamp: Stamp { workspace: WORKSPACE, actor: who.actor(), hlc, op_base: OpId::from_bytes(next_unique()) },
            id: BundleId::from_bytes(next_unique()),
            wall_ms: 1_000,
            parents: self.heads.clone(),
            prev: self.prev.get(&who.actor()).copied(),
            kind: BundleKind::EDIT,
            label: Text::new("Test").unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops: ops.iter().map(Operation::to_raw).collect(),
        }
    }

    /// Writes a bundle on top of everything known, and knows it from then on.
    pub(crate) fn write(&mut self, who: &Keys, ops: &[Operation]) -> Bundle {
        let bundle = self.draft(who, ops).seal(who).unwrap();
        self.sees(&bundle);
        bundle
    }

    pub(crate) fn edit(&mut self, who: &Keys) -> Bundle {
        self.write(who, &[edit()])
    }

    pub(crate) fn admit(&mut self, who: &Keys, whom: &Keys) -> Bundle {
        let member = whom.actor();
        let basis = self.basis(member);
        self.write(who, &[Operation::AdmitMember { member, basis }])
    }

    pub(crate) fn remove(&mut self, who: &Keys, whom: &Keys) -> Bundle {
        let member = whom.actor();
        let basis = self.basis(member);
        self.write(who, &[Operation::RemoveMember { member, why: Text::new("").unwrap(), basis }])
    }

    fn basis(&self, member: ActorId) -> Basis {
        Basis { preds: self.member.get(&member).copied().into_iter().collect(), ..Basis::default() }
    }

    pub(crate) fn bootstrap(&mut self, founder: &Keys) -> Bundle {
        let bundle = self.bootstrap_draft(founder).seal(founder).unwrap();
        self.sees(&bundle);
        bundle
    }

    pub(crate) fn bootstrap_draft(&self, founder: &Keys) -> Draft {
        let op = Operation::Bootstrap {
            name: Text::new("Hamlet").unwrap(),
            founder: founder.actor(),
            founder_name: Text::new("Mara").unwrap(),
            recovery: None,
        };
        Draft { kind: BundleKind::BOOTSTRAP, ..self.draft(founder, &[op]) }
    }
}

pub(crate) fn edit() -> Operation {
    Operation::PutSetting {
        setting: Name::new("colour").unwrap(),
        value: Some(Value::Text(Text::new("red").unwrap())),
        basis: Basis::default(),
    }
}

/// The bytes of `bundle` with a broken signature: it lies right behind the header, before the ops.
pub(crate) fn unsigned(bundle: &Bundle) -> Vec<u8> {
    let mut bytes = bundle.bytes().to_vec();
    let header = u64::from_le_bytes(bytes[2..10].try_into().unwrap()) as usize;
    bytes[10 + header] ^= 1;
    assert_eq!(Bundle::parse(&bytes).unwrap().digest(), bundle.digest());
    assert!(!Bundle::parse(&bytes).unwrap().signature_holds());
    bytes
}

pub(crate) fn bytes(bundles: &[&Bundle]) -> Vec<Vec<u8>> {
    bundles.iter().map(|bundle| bundle.bytes().to_vec()).collect()
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct HandClock(pub(crate) AtomicU64);

impl Clock for HandClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn monotonic_ms(&self) -> u64 {
        self.wall_ms()
    }
}

struct Zeros;

impl Randomness for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Threads;

impl Spawner for Threads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(job);
    }
}

struct Inline;

impl Spawner for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A writer's thread that can be held up.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Option<Vec<Job>>>>);

impl Gate {
    pub(crate) fn closes(&self) {
        self.0.lock().unwrap().get_or_insert_default();
    }
    pub(crate) fn opens(&self) {
        let held = self.0.lock().unwrap().take();
        held.into_iter().flatten().for_each(|job| job());
    }
}

impl Spawner for Gate {
    fn run(&self, job: Job) {
        match &mut *self.0.lock().unwrap() {
            Some(held) => held.push(job),
            None => drop(std::thread::spawn(job)),
        }
    }
}

pub(crate) enum Working {
    Threads,
    Inline,
    Behind(Gate),
}

pub(crate) fn environment(working: &Working) -> (Environment, Arc<HandClock>) {
    let clock = Arc::new(HandClock(AtomicU64::new(1_000_000_000)));
    let spawner: Arc<dyn Spawner> = match working {
        Working::Threads => Arc::new(Threads),
        Working::Inline => Arc::new(Inline),
        Working::Behind(gate) => Arc::new(gate.clone()),
    };
    (Environment { clock: clock.clone(), random: Arc::new(Zeros), spawner }, clock)
}

/// A state room that writes down what it is told.
pub(crate) struct Listener;

impl Actor for Listener {
    type Msg = StateMsg;
    type State = Arc<Mutex<Vec<Position>>>;
    type Arguments = Arc<Mutex<Vec<Position>>>;

    async fn pre_start(
        &self,
        _: ActorRef<StateMsg>,
        heard: Self::Arguments,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        Ok(heard)
    }

    async fn handle(
        &self,
        _: ActorRef<StateMsg>,
        message: StateMsg,
        heard: &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        if let StateMsg::Appended { through } = message {
            heard.lock().unwrap().push(through);
        }
        Ok(())
    }
}

/// A running oplog over a disk in memory.
pub(crate) struct Running {
    pub(crate) disk: MemoryDisk,
    pub(crate) store: Arc<LogStore>,
    pub(crate) env: Environment,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) address: Address<OplogMsg>,
    pub(crate) state: Address<StateMsg>,
    pub(crate) heard: Arc<Mutex<Vec<Position>>>,
    pub(crate) appended: watch::Sender<Position>,
    pub(crate) life: JoinHandle<()>,
}

pub(crate) const OPTIONS: Options = Options { cache_bytes: 1024 * 1024 };

pub(crate) async fn running() -> Running {
    running_on(MemoryDisk::default(), &Working::Threads).await
}

pub(crate) async fn running_on(disk: MemoryDisk, working: &Working) -> Running {
    let store = LogStore::open(disk.clone(), WORKSPACE, OPTIONS).unwrap();
    let (env, clock) = environment(working);
    let (state, heard) = (Address::of("state"), Arc::default());
    let (listener, _) = Actor::spawn(None, Listener, Arc::clone(&heard)).await.unwrap();
    state.moved_to(listener);
    let appended = watch::Sender::new(Position::ZERO);
    let address = Address::of("oplog");
    let life = live(&store, &env, &state, &appended, &address).await;
    Running { disk, store, env, clock, address, state, heard, appended, life }
}

async fn live(
    store: &Arc<LogStore>,
    env: &Environment,
    state: &Address<StateMsg>,
    appended: &watch::Sender<Position>,
    address: &Address<OplogMsg>,
) -> JoinHandle<()> {
    let args =
        OplogArgs { store: Arc::clone(store), env: env.clone(), state: state.clone(), appended: appended.clone() };
    let (actor, life) = Actor::spawn(None, Oplog, args).await.unwrap();
    address.moved_to(actor);
    life
}

impl Running {
    /// Kills the actor, mid-await if it must be, and starts another on the same store.
    pub(crate) async fn killed_and_restarted(&mut self) {
        self.address.living().unwrap().kill();
        self.restarted().await;
    }

    pub(crate) async fn restarted(&mut self) {
        self.life = live(&self.store, &self.env, &self.state, &self.appended, &self.address).await;
    }

    pub(crate) fn ask_append(&self, bundle: &Bundle, command: CommandId) -> Asked<Result<Position, AppendError>> {
        let append = Box::new(append_of(bundle, command));
        self.ask(|reply| OplogMsg::Append { append, reply })
    }

    pub(crate) fn ask<T: Send + 'static>(&self, message: impl FnOnce(RpcReplyPort<T>) -> OplogMsg) -> Asked<T> {
        let (port, answer) = ractor::concurrency::oneshot();
        self.address.cast(message(port.into())).unwrap();
        Asked(answer)
    }

    pub(crate) async fn append(&self, bundle: &Bundle) -> Result<Position, AppendError> {
        self.ask_append(bundle, command()).answer().await.unwrap()
    }

    pub(crate) async fn admit(&self, bundles: Vec<Vec<u8>>) -> Admitted {
        self.try_admit(bundles).await.unwrap()
    }

    pub(crate) async fn try_admit(&self, bundles: Vec<Vec<u8>>) -> Result<Admitted, AppendError> {
        self.through(Hands::Members, bundles).await
    }

    /// Offers bundles through anybody's hands.
    pub(crate) async fn is_handed(&self, bundles: Vec<Vec<u8>>) -> Admitted {
        self.through(Hands::Anybodys, bundles).await.unwrap()
    }

    async fn through(&self, hands: Hands, bundles: Vec<Vec<u8>>) -> Result<Admitted, AppendError> {
        self.ask(|reply| OplogMsg::Admit { bundles, source: "a file".into(), hands, reply }).answer().await.unwrap()
    }

    pub(crate) async fn take(&self, number: u64) -> Result<Admitted, AppendError> {
        self.ask(|reply| OplogMsg::Take { number, reply }).answer().await.unwrap()
    }

    pub(crate) async fn tail(&self) -> Result<Tail, AppendError> {
        self.ask(|reply| OplogMsg::Tail { reply }).answer().await.unwrap()
    }

    pub(crate) async fn retry(&self, number: u64) -> Result<Admitted, AppendError> {
        self.ask(|reply| OplogMsg::Retry { number, reply }).answer().await.unwrap()
    }

    pub(crate) async fn skip(&self, number: u64) -> Result<(), AppendError> {
        self.ask(|reply| OplogMsg::Skip { number, reply }).answer().await.unwrap()
    }

    pub(crate) fn holds(&self, bundle: &Bundle) -> bool {
        self.store.position_of(bundle.digest()).unwrap().is_some()
    }

    pub(crate) fn reasons(&self) -> Vec<String> {
        self.store.quarantined(0, 100).unwrap().into_iter().map(|quarantined| quarantined.reason).collect()
    }
}

pub(crate) fn append_of(bundle: &Bundle, command: CommandId) -> Append {
    let payload = *blake3::hash(command.as_bytes()).as_bytes();
    let receipt = Receipt { command, payload, actor: bundle.header().actor, answer: b"answer".to_vec() };
    Append { bundle: bundle.clone(), receipt, session: None }
}

/// An answer that is on its way.
pub(crate) struct Asked<T>(ractor::concurrency::OneshotReceiver<T>);

impl<T> Asked<T> {
    pub(crate) fn is_open(&mut self) -> bool {
        matches!(self.0.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
    }

    /// None if the actor died over it.
    pub(crate) async fn answer(self) -> Option<T> {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.0).await.expect("an answer in time").ok()
    }
}

/// Whether the stored log is whole: entries without gaps, the chain right, every bundle whole, heads and chain tips
/// as the bundles imply.
pub(crate) fn check_log(store: &LogStore) -> Vec<Digest> {
    let tail = store.tail().unwrap();
    let all = store.bundles_on_disk(Position::ZERO, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all.len() as u64, tail.position.0);
    let mut chain = Digest::from_bytes([0; 32]);
    let (mut heads, mut seen) = (std::collections::BTreeSet::new(), Vec::new());
    let mut tips: BTreeMap<ActorId, std::collections::BTreeSet<(Hlc, Digest)>> = BTreeMap::new();
    let mut hlc = Hlc::ZERO;
    for (at, (position, entry, stored)) in (1..).zip(all) {
        let Stored::Whole(bundle) = stored else { panic!("{position} is damaged") };
        assert_eq!(position, Position(at));
        assert_eq!(entry.digest, bundle.digest());
        chain = openprod_messages::log::chain(chain, entry.digest);
        assert_eq!(entry.chain, chain);
        let of_actor = tips.entry(entry.actor).or_default();
        of_actor.retain(|(_, tip)| Some(*tip) != bundle.header().prev);
        of_actor.insert((entry.hlc, entry.digest));
        for ancestor in bundle.ancestors() {
            assert!(seen.contains(&ancestor), "I-7: a parent is before its child");
            heads.remove(&ancestor);
        }
        heads.insert(entry.digest);
        seen.push(entry.digest);
        hlc = hlc.max(bundle.last_hlc());
        assert_eq!(store.position_of(entry.digest).unwrap(), Some(position));
        assert!(store.position_of_id(entry.id).unwrap().unwrap() <= position);
    }
    assert_eq!(tail.heads, heads.into_iter().collect::<Vec<_>>());
    assert_eq!((tail.chain, tail.hlc), (chain, hlc));
    for (actor, tips) in tips {
        assert_eq!(store.prev_of(actor).unwrap(), tips.last().map(|(_, digest)| *digest));
        let lanes: std::collections::BTreeSet<_> =
            store.lanes_of(actor).unwrap().into_iter().map(|lane| (lane.hlc, lane.tip)).collect();
        assert_eq!(lanes, tips);
    }
    check_lanes(store);
    seen
}

/// Whether each bundle lies behind its `prev` on a lane, or begins another that comes from there.
fn check_lanes(store: &LogStore) {
    let placed = store.placed(Position::ZERO, usize::MAX).unwrap();
    let spots: BTreeMap<Digest, Spot> = placed.iter().map(|placed| (placed.entry.digest, placed.spot())).collect();
    let lanes = store.lanes().unwrap();
    let mut ends: BTreeMap<(ActorId, u32), Spot> = BTreeMap::new();
    for placed in &placed {
        let Some(Stored::Whole(bundle)) = store.bundle(placed.at).unwrap() else { panic!("{} is damaged", placed.at) };
        let prev = bundle.header().prev.map(|prev| spots[&prev]);
        let (actor, number) = (placed.entry.actor, placed.lane);
        let lane = lanes.iter().find(|lane| (lane.actor, lane.number) == (actor, number)).unwrap();
        match ends.insert((actor, number), placed.spot()) {
            None => assert_eq!((lane.first, lane.from), (placed.at, prev)),
            end => assert_eq!(end, prev),
        }
    }
    assert_eq!(lanes.len(), ends.len());
    assert!(lanes.iter().all(|lane| ends[&(lane.actor, lane.number)].at == lane.at));
}
