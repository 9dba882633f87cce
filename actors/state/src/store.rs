//! The store: state in one redb file, its only writer, and its readers' door.
//!
//! A piece of the log is folded in memory and written in one transaction, every row once, in key order. Most commits
//! are not durable: a crash loses only folding, which is done again. After an I/O error redb refuses everything until
//! it is opened anew, which happens before the next piece; a file that is damaged, foreign or from another version is
//! emptied, and the log folded from its first bundle.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use openprod_disk::MemoryDisk;
use openprod_domain::view::{Read, ReadFailure};
use openprod_messages::log::{Entry, LogReader, Stored, Tail};
use openprod_messages::snapshot::{Folded, Snapshot, Snapshots, StateHash};
use openprod_messages::watch;
use openprod_model::ids::{Position, WorkspaceId};
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::fold::Cursor;
use crate::hash::Buckets;
use crate::tables::{self, META, META_FORMAT, META_KINDS};

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
mod histories;
mod place;
mod rows;
mod shelf;
mod snapshot;
#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
mod speed;
mod spill;
#[cfg(test)]
mod tests;
mod trouble;
mod unions;

pub use place::{Backends, OnDisk};
use rows::{begin, empty, fold_on, read_buckets, read_cursor, write};
use shelf::Shelf;
use snapshot::Snap;
use spill::{Gauge, Spill};
use trouble::{DAMAGED, FINE, Health, StoreError, Wake, is_garbage};
use unions::UnionsAtHand;

/// Most ops that are folded without being durable: what a crash makes us fold again, in less than a second. Each time
/// most of the pages are written that were touched since; so it is not to be much less.
pub const MAX_UNSETTLED_OPS: u64 = 20_000;
/// Most ops of a piece, unless one bundle has more. Scattered edits cost a page or two each; the more of them share a
/// transaction, the fewer pages are written twice.
pub const MAX_PIECE_OPS: u64 = 50_000;
/// Most bundles read at once.
const BATCH_BUNDLES: usize = 50_000;
/// About as many bytes are read at once.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// How the store uses the machine.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most memory for redb's cache.
    pub cache_bytes: usize,
    /// Kinds of ops that are passed over though this version knows them, as an older one would pass over them: for
    /// tests of what becomes of such a state once it is opened by a version that knows them. Otherwise empty.
    pub unknown: &'static [u16],
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, unknown: &[] }
    }
}

/// Why the store could not be opened. A damaged file is no reason: it is emptied.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the state is in use by another process")]
    InUse,
    /// The disk refused.
    #[error("the state could not be opened: {0}")]
    Disk(String),
    /// The log could not be read, so it is not known whether the state belongs to it.
    #[error(transparent)]
    Log(#[from] ReadFailure),
}

/// Why a piece was not folded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoldError {
    /// The disk is full, and more would have to be held in memory than is right.
    #[error("the disk is full")]
    Full,
    /// The state's disk or file.
    #[error("the state could not be written: {0}")]
    Disk(String),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReadFailure),
    /// The store was closed.
    #[error("the state is closed")]
    Closed,
}

/// What one round of folding came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// How far the log is folded.
    pub position: Position,
    /// Bundles found damaged, and what is wrong with them.
    pub damaged: Vec<(Position, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub struct StateStore {
    backends: Box<dyn Backends>,
    workspace: WorkspaceId,
    log: Arc<dyn LogReader>,
    options: Options,
    gauge: Arc<Gauge>,
    wake: Arc<Wake>,
    /// The open file; none while it is being opened anew, and for ever once closed.
    living: RwLock<Option<Living>>,
    /// Only who holds this folds.
    writer: Mutex<Writer>,
    latest: Mutex<Option<Arc<Snap>>>,
    shelf: Arc<Shelf>,
    folded: watch::Sender<Folded>,
    /// The last position that anybody was told of; no reader sees less (I-14).
    promised: AtomicU64,
    full: AtomicBool,
    /// Whether damaged bundles were replaced since the file was looked at.
    mended: AtomicBool,
}

struct Living {
    database: Database,
    health: Arc<Health>,
    unions: Arc<UnionsAtHand>,
}

/// What the writer knows without reading.
#[derive(Default)]
struct Writer {
    /// None while it must be read from the file again.
    known: Option<(Cursor, Buckets)>,
    /// Ops that are folded and not durable.
    unsettled: u64,
    closed: bool,
}

impl StateStore {
    /// Opens the state of a workspace, or begins an empty one; a state that does not belong to `log` is emptied.
    pub fn open(
        backends: impl Backends + 'static,
        workspace: WorkspaceId,
        log: Arc<dyn LogReader>,
        options: Options,
    ) -> Result<Arc<Self>, OpenError> {
        let store = Self {
            backends: Box::new(backends),
            workspace,
            log,
            options,
            gauge: Arc::default(),
            wake: Arc::default(),
            living: RwLock::default(),
            writer: Mutex::default(),
            latest: Mutex::default(),
            shelf: Arc::default(),
            folded: watch::Sender::new(Folded::default()),
            promised: AtomicU64::default(),
            full: AtomicBool::default(),
            mended: AtomicBool::default(),
        };
        store.open_file(&mut lock(&store.writer))?;
        Ok(Arc::new(store))
    }

    /// Asks to be told, at most once per trouble, when a reader finds that the file must be opened anew.
    pub fn on_trouble(&self, wake: impl Fn() + Send + 'static) {
        *lock(&self.wake) = Some(Box::new(wake));
    }

    /// Folds some more of the log: about 16 MiB, in pieces of at most [`MAX_PIECE_OPS`] or one bundle each (I-2).
    pub fn fold_some(&self) -> Result<Round, FoldError> {
        let mut writer = self.writer();
        let from = self.mend(&mut writer)?;
        let batch = self.log.bundles(from.next(), BATCH_BUNDLES, BATCH_BYTES)?;
        let tail = if batch.iter().any(|(_, _, stored)| is_damaged(stored)) { Some(self.log.tail()?) } else { None };
        let mut round = Round { position: from, damaged: Vec::new() };
        for piece in pieces(&batch) {
            round.position = self.fold_piece(&mut writer, piece, tail.as_ref())?;
            round.damaged.extend(piece.iter().filter_map(damage));
        }
        Ok(round)
    }

    /// Folds all of the log, in this thread. `progress` hears of positions: done, and the last.
    pub fn fold_all(&self, progress: &mut dyn FnMut(Position, Position)) -> Result<Position, FoldError> {
        loop {
            let end = self.log.tail()?.position;
            let before = self.folded.borrow().position;
            let done = self.fold_some()?.position;
            progress(done, end.max(done));
            if done >= end || done == before {
                return Ok(done);
            }
        }
    }

    /// Makes durable what is folded. Gives whether all of it is: a full disk takes it later.
    pub fn settle(&self) -> Result<Settled, FoldError> {
        let mut writer = self.writer();
        self.mend(&mut writer)?;
        if writer.unsettled > 0 || self.holding() {
            self.on_living(|living| {
                let transaction = begin(living, Durability::Immediate)?;
                Ok(transaction.commit()?)
            })?;
            writer.unsettled = 0;
        }
        Ok(if self.holding() { Settled::DiskFull } else { Settled::Durable })
    }

    /// Makes everything durable and closes the file, for good. Snapshots that are still held fail from now on.
    pub fn close(&self) {
        let settled = self.settle();
        if let Err(error) = settled {
            tracing::warn!(%error, "the state was closed without its last pieces; they will be folded again");
        }
        self.writer().closed = true;
        self.forget_living();
    }

    /// Whether folded pieces are not durable yet.
    pub fn unsettled(&self) -> bool {
        self.writer().unsettled > 0 || self.holding()
    }

    /// How far the log is folded.
    pub fn position(&self) -> Position {
        self.folded.borrow().position
    }

    /// Whether the last failure was that of a full disk, which ends by itself.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether nothing is known to be wrong with the open file; otherwise the next round opens it anew.
    pub fn is_fine(&self) -> bool {
        let living = self.living.read().unwrap_or_else(PoisonError::into_inner);
        living.as_ref().is_some_and(|living| living.health.fine()) && !self.mended.load(Ordering::Acquire)
    }

    /// Bundles that were damaged are whole: if it has passed over any, the next round opens it anew, and folds all.
    pub fn passes_over_nothing(&self) {
        self.mended.store(true, Ordering::Release);
    }

    fn holding(&self) -> bool {
        self.gauge.holding.load(Ordering::Acquire)
    }

    /// A writer that panicked left nothing half done on disk; what it knew is read anew.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            self.writer.clear_poison();
            let mut writer = poisoned.into_inner();
            writer.known = None;
            writer
        })
    }

    fn forget_living(&self) {
        *lock(&self.latest) = None;
        self.shelf.clear();
        *self.living.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens the file anew if it must be; gives how far it is folded.
    fn mend(&self, writer: &mut Writer) -> Result<Position, FoldError> {
        if writer.closed {
            return Err(FoldError::Closed);
        }
        let is_mended = self.mended.swap(false, Ordering::AcqRel);
        if let (true, Some((cursor, _))) = (self.is_fine(), &writer.known)
            && !(is_mended && cursor.counts.damaged > 0)
        {
            return Ok(cursor.position);
        }
        tracing::warn!("opening the state anew");
        self.open_file(writer).map_err(|error| match error {
            OpenError::Log(failure) => FoldError::Log(failure),
            other => FoldError::Disk(other.to_string()),
        })
    }

    fn on_living<T>(&self, act: impl FnOnce(&Living) -> Result<T, StoreError>) -> Result<T, FoldError> {
        let living = self.living.read().unwrap_or_else(PoisonError::into_inner);
        let Some(living) = &*living else { return Err(FoldError::Closed) };
        act(living).map_err(|error| {
            let _ = living.health.is(error.ailment());
            self.full.store(error.no_space(), Ordering::Relaxed);
            error.into()
        })
    }

    fn fold_piece(
        &self,
        writer: &mut Writer,
        bundles: &[(Position, Entry, Stored)],
        tail: Option<&Tail>,
    ) -> Result<Position, FoldError> {
        // Taken, and put back on success only: after a failure it is read from the file again.
        let (cursor, mut buckets) = writer.known.take().ok_or(FoldError::Closed)?;
        let ops: u64 = bundles.iter().map(|(_, entry, _)| u64::from(entry.ops)).sum();
        let unsettled = writer.unsettled + ops.max(1);
        let (durability, unsettled) =
            if unsettled < MAX_UNSETTLED_OPS { (Durability::None, unsettled) } else { (Durability::Immediate, 0) };
        let (cursor, changes_members) = self.on_living(|living| {
            let transaction = begin(living, durability)?;
            let mut piece = fold_on(&transaction, cursor, self.options.unknown, bundles)?;
            if let Some(tail) = tail.filter(|tail| tail.position == piece.cursor.position) {
                // A damaged bundle does not tell its parents, but the log knew them when it came.
                piece.cursor.heads.clone_from(&tail.heads);
            }
            write(&transaction, &piece, &mut buckets)?;
            living.unions.hear(&piece);
            fail::fail_point!("state-before-commit");
            transaction.commit()?;
            fail::fail_point!("state-after-commit");
            let changes_members = piece.changes_members();
            Ok((piece.cursor, changes_members))
        })?;
        writer.unsettled = unsettled;
        let position = cursor.position;
        writer.known = Some((cursor, buckets));
        self.tell(|folded| {
            let members = if changes_members { position } else { folded.members };
            Folded { position, members, ..folded }
        });
        Ok(position)
    }

    /// Readers first lose the old snapshot, then hear that there is a new one.
    fn tell(&self, now: impl FnOnce(Folded) -> Folded) {
        *lock(&self.latest) = None;
        self.folded.send_modify(|folded| {
            *folded = now(*folded);
            self.promised.fetch_max(folded.position.0, Ordering::AcqRel);
        });
    }

    /// Opens the file, empties it if it is of no use, and reads how far it goes.
    fn open_file(&self, writer: &mut Writer) -> Result<Position, OpenError> {
        let damaged = match &*self.living.read().unwrap_or_else(PoisonError::into_inner) {
            Some(living) => living.health.ailment.load(Ordering::Acquire) == DAMAGED,
            None => false,
        };
        self.forget_living();
        writer.known = None;
        if damaged {
            self.remove("it is damaged")?;
        }
        let (living, known) = match self.try_open()? {
            Ok(opened) => opened,
            Err(reason) => {
                self.remove(&reason)?;
                self.try_open()?.map_err(OpenError::Disk)?
            }
        };
        let position = known.0.position;
        *self.living.write().unwrap_or_else(PoisonError::into_inner) = Some(living);
        (writer.known, writer.unsettled) = (Some(known), 0);
        self.tell(|folded| Folded { position, incarnation: folded.incarnation + 1, members: position });
        Ok(position)
    }

    fn remove(&self, reason: &str) -> Result<(), OpenError> {
        tracing::warn!(workspace = %self.workspace, reason, "the state is emptied and folded again from the log");
        self.backends.remove().map_err(|error| OpenError::Disk(error.to_string()))
    }

    /// The inner error says why the file is of no use.
    #[allow(clippy::type_complexity, reason = "said once, here")]
    fn try_open(&self) -> Result<Result<(Living, (Cursor, Buckets)), String>, OpenError> {
        let database = match self.open_database()? {
            Ok(database) => database,
            Err(reason) => return Ok(Err(reason)),
        };
        let health = Arc::new(Health { ailment: AtomicU8::new(FINE), wake: Arc::clone(&self.wake) });
        let mut living = Living { database, health, unions: Arc::new(UnionsAtHand::from(Position::ZERO)) };
        match self.read_known(&living) {
            Ok(Ok(known)) => {
                living.unions = Arc::new(UnionsAtHand::from(known.0.position));
                Ok(Ok((living, known)))
            }
            Ok(Err(failure)) => Err(OpenError::Log(failure)),
            Err(error) if error.ailment() == DAMAGED => Ok(Err(error.to_string())),
            Err(error) => Err(OpenError::Disk(error.to_string())),
        }
    }

    fn open_database(&self) -> Result<Result<Database, String>, OpenError> {
        let backend = self.backends.open().map_err(|error| OpenError::Disk(error.to_string()))?;
        let backend = Spill::over(backend, Arc::clone(&self.gauge));
        let cache_bytes = self.options.cache_bytes;
        // redb trusts its own files; a damaged one may bring it to a panic.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            Database::builder().set_cache_size(cache_bytes).create_with_backend(backend)
        }));
        match opened {
            Ok(Ok(database)) => Ok(Ok(database)),
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(OpenError::InUse),
            Ok(Err(DatabaseError::Storage(redb::StorageError::Io(error)))) if !is_garbage(&error) => {
                Err(OpenError::Disk(error.to_string()))
            }
            Ok(Err(error)) => Ok(Err(error.to_string())),
            Err(_) => Ok(Err("redb could not make sense of it".to_owned())),
        }
    }

    /// How far an open file goes, after emptying it if it belongs to another version, workspace or log.
    fn read_known(&self, living: &Living) -> Result<Read<(Cursor, Buckets)>, StoreError> {
        let transaction = begin(living, Durability::Immediate)?;
        let useless = match self.useless(&transaction)? {
            Ok(useless) => useless,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Some(reason) = useless {
            if !reason.is_empty() {
                tracing::warn!(workspace = %self.workspace, reason, "the state is emptied and folded again");
            }
            empty(&transaction, self.workspace, self.options.unknown)?;
        }
        let known = (read_cursor(&transaction)?, read_buckets(&transaction)?);
        if useless.is_some() {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(Ok(known))
    }

    /// Why what is there is of no use; an empty reason if nothing is there.
    fn useless(&self, transaction: &WriteTransaction) -> Result<Read<Option<&'static str>>, StoreError> {
        let (format, kinds) = {
            let meta = transaction.open_table(META)?;
            let row = |name| Ok::<_, StoreError>(meta.get(name)?.map(|row| row.value().to_vec()));
            (row(META_FORMAT)?, row(META_KINDS)?)
        };
        if format.is_none() {
            return Ok(Ok(Some("")));
        }
        if format != Some(tables::format_bytes(self.workspace)) {
            return Ok(Ok(Some("it is of another version or workspace")));
        }
        let cursor = read_cursor(transaction)?;
        if cursor.counts.unknown_ops > 0 && kinds != Some(tables::kinds_bytes(self.options.unknown)) {
            return Ok(Ok(Some("this version may know operations that it passed over")));
        }
        if cursor.counts.damaged > 0 {
            return Ok(Ok(Some("it passed over damaged bundles, which may be whole by now")));
        }
        Ok(self.agrees(&cursor).map(|agrees| (!agrees).then_some("the log is not the one it was folded from")))
    }

    fn agrees(&self, cursor: &Cursor) -> Read<bool> {
        if cursor.position == Position::ZERO {
            return Ok(true);
        }
        Ok(self.log.entry(cursor.position)?.is_some_and(|entry| entry.chain == cursor.chain))
    }
}

impl Snapshots for StateStore {
    fn snapshot(&self) -> Read<Arc<dyn Snapshot>> {
        let mut latest = lock(&self.latest);
        let snap = match &*latest {
            Some(snap) if snap.health.fine() => Arc::clone(snap),
            _ => Arc::clone(latest.insert(Arc::new(self.take_snapshot()?))),
        };
        Ok(snap)
    }

    fn folded(&self) -> watch::Receiver<Folded> {
        self.folded.subscribe()
    }

    fn bytes_on_disk(&self) -> u64 {
        self.gauge.length.load(Ordering::Relaxed)
    }
}

impl StateStore {
    fn take_snapshot(&self) -> Read<Snap> {
        let living = self.living.read().unwrap_or_else(PoisonError::into_inner);
        let Some(living) = &*living else { return Err(ReadFailure("it is closed, or just being opened".into())) };
        // Asked first: the writer may come to promise more while the snapshot is taken.
        let promised = self.promised.load(Ordering::Acquire);
        let taken = || -> Result<Snap, StoreError> {
            let transaction = living.database.begin_read()?;
            Snap::of(
                &transaction,
                Arc::clone(&self.log),
                Arc::clone(&living.health),
                (Arc::clone(&living.unions), Arc::clone(&self.shelf)),
            )
        };
        let snap = taken().map_err(|error| living.health.failed(&error))?;
        if snap.cursor().position.0 < promised {
            return Err(ReadFailure("it is being folded again; try again".into()));
        }
        Ok(snap)
    }
}

/// Whether everything folded is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is.
    Durable,
    /// The disk is full; it will be tried again.
    DiskFull,
}

/// Folds a whole log into memory and gives the state hash: what the stored state must equal (I-4).
pub fn replay_hash(
    log: Arc<dyn LogReader>,
    workspace: WorkspaceId,
    progress: &mut dyn FnMut(Position, Position),
) -> Read<StateHash> {
    let failed = |error: &dyn std::fmt::Display| ReadFailure(error.to_string());
    let store =
        StateStore::open(MemoryDisk::default(), workspace, log, Options::default()).map_err(|error| failed(&error))?;
    store.fold_all(progress).map_err(|error| failed(&error))?;
    store.snapshot()?.hash()
}

fn is_damaged(stored: &Stored) -> bool {
    matches!(stored, Stored::Damaged { .. })
}

fn damage((position, _, stored): &(Position, Entry, Stored)) -> Option<(Position, String)> {
    match stored {
        Stored::Whole(_) => None,
        Stored::Damaged { reason, .. } => Some((*position, reason.clone())),
    }
}

/// Cuts a batch into pieces: as many bundles as fit into [`MAX_PIECE_OPS`], but at least one.
fn pieces(mut batch: &[(Position, Entry, Stored)]) -> impl Iterator<Item = &[(Position, Entry, Stored)]> {
    std::iter::from_fn(move || {
        let mut ops = 0;
        let fits = batch.iter().take_while(|(_, entry, _)| {
            ops += u64::from(entry.ops);
            ops <= MAX_PIECE_OPS
        });
        let (piece, rest) = batch.split_at(fits.count().max(1).min(batch.len()));
        batch = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
