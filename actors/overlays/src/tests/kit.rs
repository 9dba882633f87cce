//! What the tests need: a shelf on a log and a state in memory, and a disk that fails on demand.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openprod_domain::cell::{Cell, Content};
use openprod_domain::decide::NoBase;
use openprod_domain::overlay::{Delta, Staging};
use openprod_domain::view::{Empty, Read, ReadFailure};
use openprod_messages::commands::CommandError;
use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};
use openprod_messages::log::{Entry, LogReader, Quarantined, Receipt, Stored, Tail};
use openprod_messages::overlays::{Action, Asked, Changed, Done, Overlay, OverlayError, Overlays, StagedReceipt};
use openprod_messages::snapshot::{Folded, Snapshot, Snapshots};
use openprod_messages::watch;
use openprod_model::bundle::{Bundle, BundleKind, Draft, OverlaySource, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, EntityId, OpId, OverlayId, Position, WorkspaceId};
use openprod_model::operation::{Basis, FieldAt, Operation, RawOp};
use openprod_model::refusal::Reason;
use openprod_model::value::{Name, Text, Value};

use crate::shelf::Shelf;
use crate::store::{Change, Fault, FileStore, Kept, OverlayStore};

const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

pub(super) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(super) fn nobody() -> Source {
    Source::default()
}

pub(super) fn reason(error: &OverlayError) -> Option<Reason> {
    match error {
        OverlayError::Command(CommandError::Refused(refusal)) => Some(refusal.reason),
        _ => None,
    }
}

fn label(record: u8) -> Cell {
    let (table, field) = (Name::new("cues").unwrap(), Name::new("label").unwrap());
    Cell::Field { table, entity: EntityId::from_bytes([record; 16]), field }
}

/// What is staged as the label of a record.
pub(super) fn label_of(staging: &Staging, record: u8) -> Option<String> {
    match &staging.cell(&label(record))?.content {
        Content::Value(Value::Text(text)) => Some(text.to_string()),
        _ => None,
    }
}

fn sets(record: u8, to: &str) -> Operation {
    let Cell::Field { table, entity, field } = label(record) else { unreachable!() };
    let at = vec![FieldAt { entity, table, field, basis: Basis::default() }];
    Operation::SetField { at, value: Value::text(to).unwrap() }
}

/// A disk that may be full.
#[derive(Default)]
pub(super) struct Disk(AtomicBool);

impl Disk {
    pub(super) fn fails_full(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    pub(super) fn works_again(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

struct OnDisk(FileStore, Arc<Disk>);

impl OverlayStore for OnDisk {
    fn load(&self) -> Result<Kept, Fault> {
        self.0.load()
    }
    fn write(&self, changes: &[Change]) -> Result<(), Fault> {
        if self.1.0.load(Ordering::SeqCst) {
            return Err(Fault { reason: "no space left".to_owned(), full: true });
        }
        self.0.write(changes)
    }
    fn receipt(&self, command: CommandId) -> Result<Option<StagedReceipt>, Fault> {
        self.0.receipt(command)
    }
    fn close(&self) {
        self.0.close();
    }
}

/// The number of a command that was never given.
fn fresh() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1_000);
    LAST.fetch_add(1, Ordering::SeqCst)
}

/// A shelf, and the world around it.
pub(super) struct Room {
    pub(super) shelf: Shelf,
    pub(super) disk: Arc<Disk>,
    log: Arc<FakeLog>,
    ops: u64,
}

impl Room {
    pub(super) fn in_memory() -> Self {
        Self::on(FileStore::in_memory(WORKSPACE))
    }

    pub(super) fn in_file(file: &Path) -> Self {
        Self::on(FileStore::at(file.to_owned(), WORKSPACE, 1024 * 1024))
    }

    pub(super) fn of_another_workspace(file: &Path) -> Self {
        Self::on(FileStore::at(file.to_owned(), WorkspaceId::from_bytes([8; 16]), 1024 * 1024))
    }

    fn on(store: FileStore) -> Self {
        let (disk, log) = (Arc::<Disk>::default(), Arc::<FakeLog>::default());
        let store = Box::new(OnDisk(store, Arc::clone(&disk)));
        let shelf = Shelf::new(store, log.clone(), Arc::new(NoState), environment());
        shelf.load();
        Self { shelf, disk, log, ops: 0 }
    }

    pub(super) fn asks(&mut self, command: u64, payload: [u8; 32], action: Action) -> Changed {
        self.shelf.act(action, Asked { command: CommandId::from_bytes(u128::from(command).to_be_bytes()), payload })
    }

    pub(super) fn tries(&mut self, action: Action) -> Changed {
        self.asks(fresh(), [0; 32], action)
    }

    pub(super) fn does(&mut self, action: Action) -> Done {
        self.tries(action).unwrap().0
    }

    pub(super) fn makes(&mut self, name: &str) -> OverlayId {
        self.does(Action::Create { name: text(name), label: None, source: nobody() }).overlay
    }

    fn stamp(&mut self) -> Stamp {
        self.ops += 1;
        let hlc = Hlc { ms: self.ops, counter: 0 };
        Stamp { workspace: WORKSPACE, actor: keys().actor(), hlc, op_base: OpId::new(self.ops, [0; 10]) }
    }

    pub(super) fn plans(&mut self, overlay: OverlayId, record: u8, to: &str) -> Delta {
        let op = self.stamp().op(0, sets(record, to));
        self.shelf.overlay(overlay).unwrap().staging.stage(&Empty, &NoBase, &[op], &text("Set label")).unwrap()
    }

    pub(super) fn stages_as(&mut self, command: u64, overlay: OverlayId, delta: Delta) -> Changed {
        let (created, opened) = (Vec::new(), Vec::new());
        self.asks(command, [1; 32], Action::Stage { overlay, delta: Box::new(delta), created, opened })
    }

    pub(super) fn stages(&mut self, overlay: OverlayId, record: u8, to: &str) {
        let delta = self.plans(overlay, record, to);
        self.stages_as(fresh(), overlay, delta).unwrap();
    }

    /// The overlay as it is comes into the log.
    pub(super) fn log_commits(&mut self, overlay: OverlayId) {
        let overlay = self.shelf.overlay(overlay).unwrap();
        self.log_holds(&overlay);
    }

    pub(super) fn log_holds(&mut self, overlay: &Overlay) {
        let stamp = self.stamp();
        let ops = overlay.staging.commit(&Empty, stamp).unwrap().ops;
        let detail =
            OverlaySource { overlay: overlay.info.id, generation: overlay.staging.head().generation, file: None };
        let source = Source { kind: Source::OVERLAY, name: overlay.info.name.clone(), detail: detail.to_detail() };
        self.log.append(sealed(stamp, BundleKind::OVERLAY, source, ops));
    }

    pub(super) fn log_writes(&mut self, record: u8, to: &str) {
        let stamp = self.stamp();
        self.log.append(sealed(stamp, BundleKind::EDIT, nobody(), vec![sets(record, to).to_raw()]));
    }
}

fn keys() -> Keys {
    Keys::from_seed(&[1; 32])
}

fn sealed(stamp: Stamp, kind: BundleKind, source: Source, ops: Vec<RawOp>) -> Bundle {
    let draft = Draft {
        stamp,
        id: BundleId::from_bytes([1; 16]),
        wall_ms: 0,
        parents: Vec::new(),
        prev: None,
        kind,
        label: text("Do it"),
        source,
        undoes: Vec::new(),
        ops,
    };
    draft.seal(&keys()).unwrap()
}

struct Fixed(AtomicU64);

impl Clock for Fixed {
    fn wall_ms(&self) -> u64 {
        1_000
    }
    fn monotonic_ms(&self) -> u64 {
        1_000
    }
}

impl Randomness for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes[2..].copy_from_slice(&count);
    }
}

impl Spawner for Fixed {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

fn environment() -> Environment {
    let fixed = || Arc::new(Fixed(AtomicU64::new(0)));
    Environment { clock: fixed(), random: fixed(), spawner: fixed() }
}

/// A state that cannot be read.
struct NoState;

impl Snapshots for NoState {
    fn snapshot(&self) -> Read<Arc<dyn Snapshot>> {
        Err(ReadFailure("there is none in these tests".to_owned()))
    }
    fn folded(&self) -> watch::Receiver<Folded> {
        watch::channel(Folded::default()).1
    }
    fn bytes_on_disk(&self) -> u64 {
        0
    }
}

/// A log in memory.
#[derive(Default)]
struct FakeLog(Mutex<Vec<(Entry, Bundle)>>);

impl FakeLog {
    fn append(&self, bundle: Bundle) {
        let mut entries = self.0.lock().unwrap();
        let before = entries.last().map_or([0; 32], |(entry, _)| *entry.chain.as_bytes());
        let chain = blake3::hash(&[&before[..], bundle.digest().as_bytes()].concat());
        let header = bundle.header();
        let entry = Entry {
            digest: bundle.digest(),
            chain: Digest::from_bytes(*chain.as_bytes()),
            id: header.id,
            actor: header.actor,
            hlc: header.hlc,
            wall_ms: header.wall_ms,
            kind: header.kind,
            ops: header.op_count,
            session: None,
            appended_ms: 0,
        };
        entries.push((entry, bundle));
    }

    fn at<T>(&self, at: Position, of: impl FnOnce(&(Entry, Bundle)) -> T) -> Option<T> {
        let index = usize::try_from(at.0.checked_sub(1)?).unwrap();
        self.0.lock().unwrap().get(index).map(of)
    }
}

impl LogReader for FakeLog {
    fn tail(&self) -> Read<Tail> {
        let position = Position(self.0.lock().unwrap().len() as u64);
        let chain = self.at(position, |(entry, _)| entry.chain).unwrap_or(Digest::from_bytes([0; 32]));
        Ok(Tail { position, chain, heads: Vec::new(), hlc: Hlc::ZERO })
    }
    fn entry(&self, at: Position) -> Read<Option<Entry>> {
        Ok(self.at(at, |(entry, _)| entry.clone()))
    }
    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>> {
        let end = from.0 + limit as u64;
        Ok((from.0..end)
            .map_while(|at| Some((Position(at), self.at(Position(at), |(entry, _)| entry.clone())?)))
            .collect())
    }
    fn bundle(&self, at: Position) -> Read<Option<Stored>> {
        Ok(self.at(at, |(_, bundle)| Stored::Whole(Arc::new(bundle.clone()))))
    }
    fn bundles(&self, _: Position, _: usize, _: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        Err(ReadFailure("not asked in these tests".to_owned()))
    }
    fn position_of(&self, _: Digest) -> Read<Option<Position>> {
        Ok(None)
    }
    fn position_of_id(&self, _: BundleId) -> Read<Option<Position>> {
        Ok(None)
    }
    fn prev_of(&self, _: ActorId) -> Read<Option<Digest>> {
        Ok(None)
    }
    fn receipt(&self, _: CommandId) -> Read<Option<(Position, Receipt)>> {
        Ok(None)
    }
    fn quarantined(&self, _: u64, _: usize) -> Read<Vec<Quarantined>> {
        Ok(Vec::new())
    }
    fn quarantine_alarms(&self) -> Read<u64> {
        Ok(0)
    }
    fn bytes_on_disk(&self) -> u64 {
        0
    }
}
