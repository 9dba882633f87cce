//! What the tests need: a node in memory with one workspace, whose people act and whose door stands open to a network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openprod_domain::cell::{Cell, KeyRange, Tip};
use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::decide::{self, FreshIds, NoBase, Problem};
use openprod_domain::edits::Edit;
use openprod_domain::fold;
use openprod_domain::join_mode::JoinMode;
use openprod_domain::oracle::Oracle;
use openprod_domain::read::{self, Membership};
use openprod_domain::text::ClientId;
use openprod_domain::unions::Unions;
use openprod_domain::view::{History, Moment, Read, ReadFailure, Reading, View};
use openprod_messages::address::Address;
use openprod_messages::admission::{AdmissionMsg, TicketShelf};
use openprod_messages::commands::{Answer, CommandError, CommandsMsg, Keyring, Outcome};
use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::{Counts, Folded, Snapshot, Snapshots, StateHash, Written};
use openprod_messages::testing::MemoryLog;
use openprod_messages::watch;
use openprod_model::bundle::{BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, EdgeId, EntityId, OpId, OpRef, Position, WorkspaceId};
use openprod_model::operation::{Basis, Operation, RawOp};
use openprod_model::value::Text;
use openprod_wire::hello::{TAG_LABEL, WorkspaceTag};
use openprod_wire::opening::Opening;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::door::{Door, Houses};
use super::super::host::Findable;
use super::super::room::{Admissions, AdmissionsArgs, name_of};
use crate::transport::Network;
use crate::transport::memory::Ether;

pub(super) const HAMLET: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

pub(super) fn keys(seed: u8) -> Keys {
    Keys::from_seed(&[seed; 32])
}

pub(super) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

/// Time stands still until it is set; bytes are never the same twice; jobs run at once.
pub(super) struct Hand {
    pub(super) now_ms: AtomicU64,
    drawn: AtomicU64,
}

impl Clock for Hand {
    fn wall_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
    fn monotonic_ms(&self) -> u64 {
        self.wall_ms()
    }
}

impl Randomness for Hand {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
        blake3::Hasher::new().update(&drawn.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

impl Spawner for Hand {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

struct Picture {
    oracle: Oracle,
    position: Position,
    written: BTreeMap<Vec<u8>, Vec<Written>>,
}

impl View for Picture {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        View::tips(&self.oracle, cell)
    }
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        View::cells(&self.oracle, range)
    }
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        View::edits(&self.oracle, cell)
    }
    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        None
    }
    fn unions(&self) -> Read<Arc<Unions>> {
        View::unions(&self.oracle)
    }
}

impl History for Picture {
    fn tips_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Tip>> {
        self.oracle.tips_at(cell, moment)
    }
    fn write(&self, cell: &Cell, op: OpRef) -> Read<Option<(Tip, Vec<OpRef>)>> {
        self.oracle.write(cell, op)
    }
}

/// What admission never asks of a snapshot.
fn not_asked<T>() -> Read<T> {
    Err(ReadFailure("nobody asks that here".into()))
}

impl Snapshot for Picture {
    fn position(&self) -> Position {
        self.position
    }
    fn chain(&self) -> Digest {
        Digest::from_bytes([0; 32])
    }
    fn heads(&self) -> Read<Vec<Digest>> {
        not_asked()
    }
    fn written(&self, cell: &Cell) -> Read<Vec<Written>> {
        Ok(self.written.get(&cell.key()).cloned().unwrap_or_default())
    }
    fn hash(&self) -> Read<StateHash> {
        not_asked()
    }
    fn bucket(&self, _: u8, _: &[u8], _: usize) -> Read<Vec<(Vec<u8>, [u8; 32])>> {
        not_asked()
    }
    fn counts(&self) -> Read<Counts> {
        not_asked()
    }
    fn view(&self) -> &dyn View {
        self
    }
}

/// The log and the state of a workspace, and the commands that write it.
pub(super) struct House {
    pub(super) log: Arc<MemoryLog>,
    oracle: Mutex<Oracle>,
    folded: watch::Sender<Folded>,
    held: Vec<Keys>,
    pub(super) hand: Arc<Hand>,
}

impl Snapshots for House {
    fn snapshot(&self) -> Read<Arc<dyn Snapshot>> {
        let (oracle, position) = (self.oracle.lock().unwrap().clone(), self.folded.borrow().position);
        Ok(Arc::new(Picture { oracle, position, written: self.written()? }))
    }
    fn folded(&self) -> watch::Receiver<Folded> {
        self.folded.subscribe()
    }
    fn bytes_on_disk(&self) -> u64 {
        0
    }
}

impl Keyring for House {
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys> {
        let wanted = |keys: &&Keys| actor.is_none_or(|actor| keys.actor() == actor);
        self.held.iter().find(wanted).cloned()
    }
}

struct NoIds;

impl FreshIds for NoIds {
    fn entity(&mut self) -> EntityId {
        EntityId::from_bytes([1; 16])
    }
    fn edge(&mut self) -> EdgeId {
        EdgeId::from_bytes([1; 16])
    }
    fn writer(&mut self, _: &[u8]) -> ClientId {
        ClientId::new(1)
    }
}

impl House {
    fn written(&self) -> Read<BTreeMap<Vec<u8>, Vec<Written>>> {
        let mut written: BTreeMap<Vec<u8>, Vec<Written>> = BTreeMap::new();
        for (position, _, stored) in self.log.bundles(Position(1), usize::MAX, usize::MAX)? {
            let openprod_messages::log::Stored::Whole(bundle) = stored else { continue };
            for op in bundle.ops() {
                for write in op.operation.iter().flat_map(fold::writes) {
                    let row = Written { op: op.reference, position, index: 0, superseded_at: None };
                    written.entry(write.cell.key()).or_default().push(row);
                }
            }
        }
        Ok(written)
    }

    fn stamp(&self, actor: ActorId) -> Stamp {
        let mut id = [0; 16];
        self.hand.fill(&mut id);
        let hlc = Hlc::tick(self.hand.wall_ms(), self.log.tail().unwrap().hlc, 16);
        Stamp { workspace: HAMLET, actor, hlc, op_base: OpId::from_bytes(id) }
    }

    fn append(&self, keys: &Keys, stamp: Stamp, kind: BundleKind, ops: Vec<RawOp>, parents: Vec<Digest>) -> Position {
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(*stamp.op_base.as_bytes()),
            wall_ms: self.hand.wall_ms(),
            parents,
            prev: self.log.prev_of(keys.actor()).unwrap(),
            kind,
            label: text("Test"),
            source: Source::default(),
            undoes: Vec::new(),
            ops,
        };
        let bundle = draft.seal(keys).unwrap();
        self.log.append(&bundle);
        let position = self.log.end();
        self.oracle.lock().unwrap().add(position, &bundle);
        self.folded.send_replace(Folded { position, members: position, incarnation: 0 });
        position
    }

    fn found(&self, founder: &Keys) {
        let operation = Operation::Bootstrap {
            name: text("Hamlet"),
            founder: founder.actor(),
            founder_name: text("Mara"),
            recovery: None,
        };
        let stamp = self.stamp(founder.actor());
        self.append(founder, stamp, BundleKind::BOOTSTRAP, vec![operation.to_raw()], Vec::new());
    }

    /// Carries out commands, as the commands room does.
    pub(super) fn does(&self, by: &Keys, stance: Stance, commands: Vec<Command>) -> Result<Position, CommandError> {
        let request = Request {
            command_id: CommandId::from_bytes([0; 16]),
            session: None,
            base: None,
            stance,
            kind: BundleKind::EDIT,
            label: None,
            source: Source::default(),
            commands,
        };
        let stamp = self.stamp(by.actor());
        let plan = decide::plan(&*self.oracle.lock().unwrap(), &NoBase, &mut NoIds, stamp, &request);
        let plan = plan.map_err(|problem| match problem {
            Problem::Refused(refusal) => CommandError::Refused(refusal),
            Problem::Read(failure) => CommandError::Unavailable(failure.to_string()),
        })?;
        let heads = self.log.tail().unwrap().heads;
        Ok(self.append(by, stamp, plan.kind, plan.ops, heads))
    }

    /// Writes member ops elsewhere, on what was known at `from`.
    pub(super) fn elsewhere(&self, by: &Keys, from: Position, operation: &Operation) {
        let parent = self.log.entry(from).unwrap().unwrap().digest;
        self.append(by, self.stamp(by.actor()), BundleKind::EDIT, vec![operation.to_raw()], vec![parent]);
    }

    pub(super) fn tips(&self, member: ActorId) -> Basis {
        let tips = self.oracle.lock().unwrap().tips(&Cell::Member { member });
        Basis { preds: tips.into_iter().map(|tip| tip.op).collect(), ..Basis::default() }
    }

    pub(super) fn membership(&self, member: ActorId) -> Membership {
        read::membership(&*self.oracle.lock().unwrap(), member).unwrap()
    }
}

struct Writes(Arc<House>);

impl Actor for Writes {
    type Msg = CommandsMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<CommandsMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<CommandsMsg>,
        message: CommandsMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let CommandsMsg::Execute { request, actor, reply } = message else { return Ok(()) };
        let keys = self.0.keys(actor).unwrap();
        let revision = self.0.does(&keys, request.stance, request.commands);
        let answer = Answer {
            bundle: BundleId::from_bytes([0; 16]),
            digest: Digest::from_bytes([0; 32]),
            created: Vec::new(),
            opened: Vec::new(),
            turned: None,
            skipped: Vec::new(),
        };
        let _ = reply.send(revision.map(|revision| Outcome { revision, answer, replayed: false }));
        Ok(())
    }
}

/// A shelf in memory; it can be full.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) bytes: Mutex<Option<Vec<u8>>>,
    pub(super) is_full: std::sync::atomic::AtomicBool,
}

impl TicketShelf for Memory {
    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.bytes.lock().unwrap().clone())
    }
    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        *self.bytes.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }
}

struct Street {
    house: Arc<House>,
    room: Address<AdmissionMsg>,
}

impl Houses for Street {
    fn findable(&self) -> Vec<Findable> {
        let snapshot = self.house.snapshot().unwrap();
        let (mode, name) = (JoinMode::of(snapshot.view()).unwrap(), name_of(&*snapshot).unwrap());
        let one = Findable { workspace: HAMLET, name, mode };
        Some(one).filter(|one| one.mode != JoinMode::Invite).into_iter().collect()
    }
    fn room(&self, workspace: WorkspaceId) -> Option<Address<AdmissionMsg>> {
        (workspace == HAMLET).then(|| self.room.clone())
    }
}

/// A member node with its workspace, and the network around it.
pub(super) struct Node {
    pub(super) house: Arc<House>,
    pub(super) shelf: Arc<Memory>,
    pub(super) room: Address<AdmissionMsg>,
    pub(super) ether: Ether,
    pub(super) mara: Keys,
    pub(super) leo: Keys,
    pub(super) key: ActorId,
}

impl Node {
    pub(super) const ADDRESS: ([u8; 4], u16) = ([10, 0, 0, 1], 4433);

    /// Mara founded the workspace; Leo has his keys on the same node.
    pub(super) async fn starts() -> Self {
        tokio::time::pause();
        let hand = Arc::new(Hand { now_ms: AtomicU64::new(1_800_000_000_000), drawn: AtomicU64::new(0) });
        let (mara, leo, device) = (keys(1), keys(2), keys(3));
        let house = Arc::new(House {
            log: Arc::default(),
            oracle: Mutex::default(),
            folded: watch::channel(Folded::default()).0,
            held: vec![mara.clone(), leo.clone(), device.clone()],
            hand,
        });
        house.found(&mara);
        let (shelf, ether) = (Arc::<Memory>::default(), Ether::default());
        let node = Self { house, shelf, room: Address::of("admission room"), ether, mara, leo, key: device.actor() };
        node.opens_room().await;
        let network = node.ether.node(node.key, SocketAddr::from(Self::ADDRESS));
        node.opens_door(network);
        node
    }

    /// A first incarnation of the room, or the next.
    pub(super) async fn opens_room(&self) {
        let commands = Address::of("commands room");
        commands.moved_to(Actor::spawn(None, Writes(Arc::clone(&self.house)), ()).await.unwrap().0);
        let args = AdmissionsArgs {
            env: self.env(),
            node: self.key,
            node_name: text("Venue server"),
            keyring: self.house.clone(),
            shelf: self.shelf.clone(),
            commands,
            log: self.house.log.clone(),
            snapshots: self.house.clone(),
        };
        self.room.moved_to(Actor::spawn(None, Admissions, args).await.unwrap().0);
    }

    fn env(&self) -> Environment {
        let hand = &self.house.hand;
        Environment { clock: hand.clone(), random: hand.clone(), spawner: hand.clone() }
    }

    fn opens_door(&self, network: Arc<dyn Network>) {
        let street = Street { house: Arc::clone(&self.house), room: self.room.clone() };
        let door = Arc::new(Door::new(self.key, Arc::new(street), self.env()));
        tokio::spawn(async move {
            while let Some(connection) = network.accept().await {
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    while let Ok(mut channel) = connection.accept().await {
                        let secret = connection.exporter(TAG_LABEL, b"");
                        let hamlet = WorkspaceTag::of(HAMLET, &secret, connection.side().other());
                        let named = match channel.receive.hear::<Opening>().await {
                            Ok(Some(Opening::Admission { tag })) if tag == hamlet => Some(HAMLET),
                            Ok(Some(Opening::Asking)) => None,
                            _ => continue,
                        };
                        let (door, connection) = (Arc::clone(&door), Arc::clone(&connection));
                        tokio::spawn(async move { door.hears(&*connection, channel, named).await });
                    }
                });
            }
        });
    }

    pub(super) fn waits(&self, ms: u64) {
        self.house.hand.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn is_open_to(&self, mode: JoinMode) {
        let put = Command::PutSetting { setting: JoinMode::setting(), value: Some(mode.value()) };
        self.house.does(&self.mara, Stance::Beside, vec![put]).unwrap();
    }
}
