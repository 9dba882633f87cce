//! What the tests need of the world: authors who write bundles, a disk with limits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, Digest, EntityId, OpId, OpRef, WorkspaceId};
use openprod_model::operation::{Basis, FacetAt, FieldAt, Operation, RawOp};
use openprod_model::value::{Name, Text, Value};
use redb::StorageBackend;

use crate::Backends;

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([9; 16]);

/// Somebody who writes bundles.
pub(crate) struct Author {
    keys: Keys,
    bundles: AtomicU64,
}

impl Author {
    pub(crate) fn new(seed: u8) -> Self {
        Self { keys: Keys::from_seed(&[seed; 32]), bundles: AtomicU64::new(0) }
    }

    pub(crate) fn actor(&self) -> ActorId {
        self.keys.actor()
    }

    pub(crate) fn writes(&self, parents: Vec<Digest>, ms: u64, ops: &[Operation]) -> Bundle {
        self.writes_raw(parents, ms, ops.iter().map(Operation::to_raw).collect())
    }

    pub(crate) fn writes_raw(&self, parents: Vec<Digest>, ms: u64, ops: Vec<RawOp>) -> Bundle {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        self.seals(number, "Test", parents, ms, ops)
    }

    /// Another bundle with the same ops at the same clock, as only a broken or malicious author makes.
    pub(crate) fn writes_the_ops_of(&self, bundle: &Bundle) -> Bundle {
        let number = self.bundles.load(Ordering::Relaxed) - 1;
        let ops = bundle.ops().iter().map(|op| op.operation.as_ref().unwrap().to_raw()).collect();
        self.seals(number, "Again", Vec::new(), bundle.header().hlc.ms, ops)
    }

    fn seals(&self, number: u64, label: &str, parents: Vec<Digest>, ms: u64, ops: Vec<RawOp>) -> Bundle {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.keys.actor().as_bytes()[..8]);
        id[8..12].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        let hlc = Hlc { ms, counter: 0 };
        let stamp = Stamp { workspace: WORKSPACE, actor: self.actor(), hlc, op_base: OpId::from_bytes(id) };
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(id),
            wall_ms: ms,
            parents,
            prev: None,
            kind: BundleKind::EDIT,
            label: Text::new(label).unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops,
        };
        draft.seal(&self.keys).unwrap()
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn entity(number: u64) -> EntityId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    EntityId::from_bytes(bytes)
}

pub(crate) fn knowing(preds: Vec<OpRef>) -> Basis {
    Basis { preds, restores: None, decision: false }
}

pub(crate) fn set(number: u64, field: &str, value: &str, preds: Vec<OpRef>) -> Operation {
    let at = FieldAt { entity: entity(number), table: name("cues"), field: name(field), basis: knowing(preds) };
    Operation::SetField { at: vec![at], value: Value::text(value).unwrap() }
}

pub(crate) fn attach(number: u64) -> Operation {
    let at = FacetAt { entity: entity(number), table: name("cues"), basis: Basis::default() };
    Operation::AttachFacet { at: vec![at] }
}

/// A disk in memory, that survives its users, can be full, can fail, and forgets what was not synced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<DiskInner>);

#[derive(Debug, Default)]
struct DiskInner {
    bytes: Mutex<Vec<u8>>,
    synced: Mutex<Vec<u8>>,
    /// Zero for no limit.
    limit: AtomicUsize,
    fails: AtomicUsize,
    removed: AtomicUsize,
}

impl Disk {
    /// Writes that would need more bytes than these fail.
    pub(crate) fn holds_at_most(&self, bytes: usize) {
        self.0.limit.store(bytes, Ordering::SeqCst);
    }

    /// So many of the next accesses fail.
    pub(crate) fn fails(&self, times: usize) {
        self.0.fails.store(times, Ordering::SeqCst);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.bytes.lock().unwrap().len()
    }

    pub(crate) fn times_removed(&self) -> usize {
        self.0.removed.load(Ordering::SeqCst)
    }

    /// A disk with what was synced, as after a power cut.
    pub(crate) fn after_power_cut(&self) -> Self {
        let synced = self.0.synced.lock().unwrap().clone();
        Self(Arc::new(DiskInner {
            bytes: Mutex::new(synced.clone()),
            synced: Mutex::new(synced),
            ..Default::default()
        }))
    }

    pub(crate) fn flips(&self, at: usize) {
        let mut bytes = self.0.bytes.lock().unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 0x55;
    }

    fn may(&self) -> std::io::Result<()> {
        let fails = self.0.fails.load(Ordering::SeqCst);
        if fails == 0 {
            return Ok(());
        }
        self.0.fails.store(fails - 1, Ordering::SeqCst);
        Err(std::io::Error::other("the disk gave up"))
    }

    fn room(&self, end: usize) -> std::io::Result<()> {
        let limit = self.0.limit.load(Ordering::SeqCst);
        if limit > 0 && end > limit { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Backends for Disk {
    fn open(&self) -> std::io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn remove(&self) -> std::io::Result<()> {
        self.0.removed.fetch_add(1, Ordering::SeqCst);
        self.0.bytes.lock().unwrap().clear();
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.may()?;
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.may()?;
        let bytes = self.0.bytes.lock().unwrap();
        let from = offset as usize;
        let there = bytes.get(from..from + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.may()?;
        // Like a sparse file: only writing needs room.
        self.0.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.may()?;
        let bytes = self.0.bytes.lock().unwrap();
        self.0.synced.lock().unwrap().clone_from(&bytes);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.may()?;
        let (from, end) = (offset as usize, offset as usize + data.len());
        self.room(end)?;
        let mut bytes = self.0.bytes.lock().unwrap();
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[from..end].copy_from_slice(data);
        Ok(())
    }
}
