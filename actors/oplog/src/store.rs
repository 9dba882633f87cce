//! The store: the log in its file. Readers read it directly; only its [`Writer`] changes it.
//!
//! After any I/O error the engine (redb) refuses whatever is not in its cache until it is opened again. So the store
//! opens it again by itself: for writing if the disk lets it, else for reading, with the repair kept in memory.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use openprod_domain::view::{Read, ReadFailure};
use openprod_model::ids::WorkspaceId;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction};

use crate::disk::{self, Disk, LogFile, Measured, Untouched};
use crate::tables::{self, META, META_FORMAT, META_WORKSPACE, MIGRATIONS};

mod copy;
mod reader;
mod recent;
mod salvage;
mod writer;

pub use copy::{Backup, BackupError};
use recent::Recent;
pub use recent::{MAX_RECENT, MAX_RECENT_BYTES};
pub use salvage::{Salvage, salvage};
pub use writer::{
    FORGET_PER_COMMIT, MAX_QUARANTINED, MAX_QUARANTINED_BYTES, MAX_WAITING, MAX_WAITING_BYTES, RECEIPT_DAYS, Writer,
};

/// How a log is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Memory for the engine's cache, in bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024 }
    }
}

/// Why a log could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("the log is open in another process")]
    AlreadyOpen,
    /// A newer version wrote it.
    #[error("the log has format {found}; this version knows formats up to {known}: use a newer version")]
    FromTheFuture {
        /// Its format.
        found: u16,
        /// The newest format known here.
        known: u16,
    },
    /// It is the log of another workspace (I-12).
    #[error("this is the log of workspace {found}")]
    OtherWorkspace {
        /// Whose it is.
        found: WorkspaceId,
    },
    /// It is not a log, or no longer one.
    #[error("the log is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// The system refused.
    #[error("the log could not be opened: {0}")]
    Io(String),
}

/// Something that went wrong in the engine.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    /// The system said that there is no space.
    pub(crate) full: bool,
    /// The engine has to be opened again.
    pub(crate) latched: bool,
}

impl Fault {
    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), full: false, latched: false }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        let full = matches!(&error, E::Io(error) if error.kind() == io::ErrorKind::StorageFull);
        let latched = matches!(error, E::Io(_) | E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_));
        Self { reason: error.to_string(), full, latched }
    }
}

macro_rules! faults {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

faults!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError, redb::SetDurabilityError);

impl From<Fault> for ReadFailure {
    fn from(fault: Fault) -> Self {
        Self(fault.reason)
    }
}

enum Opened {
    /// As usual.
    Writable(Database),
    /// The disk takes no writes. What the engine wanted to write for its repair is in memory.
    Readable(Database, Fault),
    /// The disk does not even give what was written.
    Not(Fault),
}

struct Slot {
    /// Counts openings: who saw a fault asks for the one after it, and only one of them opens.
    generation: u64,
    opened: Opened,
}

/// The log in its file. Cheap to read from many tasks at once; it outlives the actor that writes it.
pub struct LogStore {
    disk: Box<dyn Disk>,
    workspace: WorkspaceId,
    options: Options,
    slot: RwLock<Slot>,
    /// The number of the newest writer. Held while a commit runs.
    writers: Mutex<u64>,
    /// The end of the log.
    recent: Mutex<Recent>,
    bytes: Arc<AtomicU64>,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogStore({})", self.workspace)
    }
}

impl LogStore {
    /// Opens the log of `workspace`, or makes it where there is none.
    pub fn open(disk: impl Disk + 'static, workspace: WorkspaceId, options: Options) -> Result<Arc<Self>, OpenError> {
        let bytes = Arc::default();
        let begin = || -> Result<Database, Failed> {
            let database = engine(&disk, options, &bytes)?;
            prepare(&database, workspace)?;
            Ok(database)
        };
        let database = match guarded(begin) {
            Err(OpenError::Damaged { .. }) if disk::empty_if_unborn(&disk).unwrap_or(false) => guarded(begin)?,
            opened => opened?,
        };
        Ok(Arc::new(Self {
            disk: Box::new(disk),
            workspace,
            options,
            slot: RwLock::new(Slot { generation: 0, opened: Opened::Writable(database) }),
            writers: Mutex::new(0),
            recent: Mutex::default(),
            bytes,
        }))
    }

    /// Opens the log in that file.
    pub fn open_file(path: impl AsRef<Path>, workspace: WorkspaceId, options: Options) -> Result<Arc<Self>, OpenError> {
        Self::open(LogFile::at(path), workspace, options)
    }

    /// The workspace whose log it is.
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Makes a writer. Whoever was writer before is one no longer: nothing of his will be written from now on.
    /// Waits for a commit that runs.
    pub fn writer(self: &Arc<Self>) -> Writer {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        *writers += 1;
        Writer { store: Arc::clone(self), number: *writers }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one consistent state. If the engine has to be opened again, that is done, once.
    pub(crate) fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Read<T> {
        let (generation, result) = self.read_once(&read);
        match result {
            Err(fault) if fault.latched => {
                self.open_again(generation);
                Ok(self.read_once(&read).1?)
            }
            result => Ok(result?),
        }
    }

    fn read_once<T>(&self, read: &impl Fn(&ReadTransaction) -> Result<T, Fault>) -> (u64, Result<T, Fault>) {
        let slot = self.slot();
        let result = match &slot.opened {
            Opened::Writable(database) | Opened::Readable(database, _) => {
                database.begin_read().map_err(Fault::from).and_then(|txn| read(&txn))
            }
            Opened::Not(fault) => Err(Fault { latched: true, ..fault.clone() }),
        };
        (slot.generation, result)
    }

    /// A read transaction that outlives the call. Should the engine be opened again meanwhile, it fails.
    pub(crate) fn long_read(&self) -> Result<ReadTransaction, Fault> {
        match &self.slot().opened {
            Opened::Writable(database) | Opened::Readable(database, _) => Ok(database.begin_read()?),
            Opened::Not(fault) => Err(fault.clone()),
        }
    }

    /// Opens the engine again, unless that was done since `seen`. Waits for readers and a commit that run.
    fn open_again(&self, seen: u64) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.generation != seen {
            return;
        }
        slot.generation += 1;
        // The faulty one is closed first: it holds the lock on the file.
        slot.opened = Opened::Not(Fault::damaged("the log is being opened again"));
        slot.opened = self.open_as_far_as_possible();
    }

    fn open_as_far_as_possible(&self) -> Opened {
        let writable = faulty(|| {
            let database = engine(&self.disk, self.options, &self.bytes)?;
            prepare(&database, self.workspace)?;
            Ok(database)
        });
        let fault = match writable {
            Ok(database) => return Opened::Writable(database),
            Err(fault) => fault,
        };
        tracing::warn!(reason = fault.reason, "the disk takes no writes; the log goes on being read");
        match faulty(|| untouched_engine(&self.disk, self.options)) {
            Ok(database) => Opened::Readable(database, fault),
            Err(fault) => Opened::Not(fault),
        }
    }

    /// Sees to it that the engine takes writes: its generation, or why it does not.
    fn writable(&self) -> Result<u64, Fault> {
        let generation = match &*self.slot() {
            Slot { generation, opened: Opened::Writable(_) } => return Ok(*generation),
            Slot { generation, .. } => *generation,
        };
        self.open_again(generation);
        match &*self.slot() {
            Slot { generation, opened: Opened::Writable(_) } => Ok(*generation),
            Slot { opened: Opened::Readable(_, fault) | Opened::Not(fault), .. } => Err(fault.clone()),
        }
    }

    /// Runs `write` in a transaction and makes it durable (I-1, I-2).
    fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let generation = self.writable()?;
        let result = faulty(|| match &self.slot().opened {
            Opened::Writable(database) => Ok(durably(database, write)?),
            Opened::Readable(_, fault) | Opened::Not(fault) => Err(fault.clone().into()),
        });
        if result.as_ref().is_err_and(|fault| fault.latched) {
            self.open_again(generation);
        }
        result
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One durable commit. In two phases, because what strangers send lies there: a torn commit is never taken for a
/// whole one by its checksum alone.
pub(crate) fn durably<T>(
    database: &Database,
    write: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_two_phase_commit(true);
    let result = write(&txn)?;
    fail::fail_point!("oplog-before-commit");
    txn.commit()?;
    fail::fail_point!("oplog-after-commit");
    Ok(result)
}

/// Failures while opening, before it is known what they mean to the caller.
pub(crate) enum Failed {
    Open(OpenError),
    Fault(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<redb::DatabaseError> for Failed {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Open(OpenError::AlreadyOpen),
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) if tells_damage(&error) => {
                Self::Open(OpenError::Damaged { reason: error.to_string() })
            }
            error => Self::Fault(redb::Error::from(error).into()),
        }
    }
}

/// The system read the file; it is not what it should be.
fn tells_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<Failed> for OpenError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Open(error) => error,
            Failed::Fault(fault) if fault.latched => Self::Io(fault.reason),
            Failed::Fault(fault) => Self::Damaged { reason: fault.reason },
        }
    }
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Open(error) => Self { reason: error.to_string(), full: false, latched: true },
            Failed::Fault(fault) => fault,
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Fault(redb::Error::Io(error).into())
    }
}

/// The engine meets damaged files with assertions too; here they become errors.
fn unpanicked<T>(run: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let panicked =
        |_| Err(Fault { latched: true, ..Fault::damaged("the storage engine panicked over the log's file") });
    std::panic::catch_unwind(AssertUnwindSafe(run)).or_else(panicked)?
}

fn faulty<T>(run: impl FnOnce() -> Result<T, Failed>) -> Result<T, Fault> {
    unpanicked(run).map_err(Fault::from)
}

pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, Failed>) -> Result<T, OpenError> {
    unpanicked(run).map_err(OpenError::from)
}

fn engine(disk: &(impl Disk + ?Sized), options: Options, bytes: &Arc<AtomicU64>) -> Result<Database, Failed> {
    build(Measured::new(disk.open()?, Arc::clone(bytes)), options)
}

pub(crate) fn untouched_engine(disk: &(impl Disk + ?Sized), options: Options) -> Result<Database, Failed> {
    build(Untouched::over(disk.open()?)?, options)
}

fn build(backend: impl StorageBackend, options: Options) -> Result<Database, Failed> {
    Ok(redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend)?)
}

impl Disk for Box<dyn Disk> {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        (**self).open()
    }
}

/// Brings the file to the present format, and checks whose it is.
fn prepare(database: &Database, workspace: WorkspaceId) -> Result<(), Failed> {
    let found = {
        let txn = database.begin_read().map_err(Fault::from)?;
        format_of(&txn)?
    };
    if found > tables::FORMAT {
        return Err(OpenError::FromTheFuture { found, known: tables::FORMAT }.into());
    }
    for step in MIGRATIONS.iter().filter(|step| step.to > found) {
        tracing::info!(to = step.to, what = step.what, "migrating the log");
        durably(database, |txn| {
            (step.run)(txn).map_err(Fault::from)?;
            let mut meta = txn.open_table(META)?;
            meta.insert(META_FORMAT, step.to.to_le_bytes().as_slice())?;
            if meta.get(META_WORKSPACE)?.is_none() {
                meta.insert(META_WORKSPACE, workspace.as_bytes().as_slice())?;
            }
            Ok(())
        })?;
    }
    let txn = database.begin_read().map_err(Fault::from)?;
    match workspace_of(&txn)? {
        found if found == workspace => Ok(()),
        found => Err(OpenError::OtherWorkspace { found }.into()),
    }
}

fn format_of(txn: &ReadTransaction) -> Result<u16, Fault> {
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let Some(format) = meta.get(META_FORMAT)? else { return Ok(0) };
    let bytes = format.value().try_into().map_err(|_| Fault::damaged("its format number is not a number"))?;
    Ok(u16::from_le_bytes(bytes))
}

pub(crate) fn workspace_of(txn: &ReadTransaction) -> Result<WorkspaceId, Fault> {
    let meta = txn.open_table(META)?;
    let found = meta.get(META_WORKSPACE)?.and_then(|id| <[u8; 16]>::try_from(id.value()).ok());
    found.map(WorkspaceId::from_bytes).ok_or_else(|| Fault::damaged("it does not say whose it is"))
}
