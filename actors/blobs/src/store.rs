//! The store: takes files in while they stream by, and gives them again piece by piece, each checked.
//!
//! What happens to a file that is put, and what a kill in between leaves:
//!
//! ```text
//! written to incoming/    a beginning, removed at the next start
//! synced                  the same
//! renamed, folder synced  a whole file that the index does not know: taken in at the next start
//! index committed         a blob: acknowledged only now (I-1)
//! ```
//!
//! Removing goes the same way back: the file first, then what the index knows, which the next start drops if it must.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openprod_messages::blobs::{BlobError, Kept};
use openprod_messages::environment::Environment;
use openprod_model::ids::BlobHash;
use tokio::sync::Semaphore;

use crate::exchange::GIVEN_AT_ONCE;
use crate::folder::{Folder, Writing};
use crate::index::{Entry, Index, disk};
use crate::outline::{MAX_BLOB_BYTES, Outlining, PIECE_BYTES};
use crate::reader::Reader;
use crate::squeeze;
use crate::tables::BlobRow;
use crate::thumbnail;

/// The blobs of a workspace. Shared by whoever puts and reads them, each in his own task.
pub struct Store {
    pub(crate) folder: Box<dyn Folder>,
    pub(crate) index: Index,
    env: Environment,
    /// Held while a file and what the index knows of it change together.
    settling: Mutex<()>,
    /// What the names of files begin with that this store is taking in: others are left of broken ones.
    pub(crate) prefix: String,
    next: AtomicU64,
    /// Whoever reads a piece for a neighbour takes a place.
    pub(crate) giving: Semaphore,
}

impl Store {
    /// The store over a folder of files and its index. Opens nothing yet.
    pub fn new(folder: Box<dyn Folder>, index: Index, env: Environment) -> Arc<Self> {
        let mut random = [0; 8];
        env.random.fill(&mut random);
        let prefix = format!("{:016x}", u64::from_le_bytes(random));
        let (settling, next, giving) = (Mutex::new(()), AtomicU64::new(0), Semaphore::new(GIVEN_AT_ONCE));
        Arc::new(Self { folder, index, env, settling, prefix, next, giving })
    }

    pub(crate) fn settle(&self) -> MutexGuard<'_, ()> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.env.clock.wall_ms()
    }

    fn fresh_name(&self) -> String {
        format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Begins to take a file in. If it is known what it must be, nothing else is taken.
    pub fn begin(self: &Arc<Self>, expected: Option<BlobHash>) -> Putting {
        let name = self.fresh_name();
        let store = Arc::clone(self);
        Putting { store, expected, name, file: None, parts: Parts::default(), piece: Vec::new() }
    }

    /// A blob that is here, damaged or not.
    pub fn kept(&self, hash: BlobHash) -> Result<Option<Kept>, BlobError> {
        self.index.kept(hash)
    }

    /// The blobs that are here, behind `after` in the order of their addresses, at most `limit`.
    pub fn list(&self, after: Option<BlobHash>, limit: usize) -> Result<Vec<Kept>, BlobError> {
        self.index.list(after, limit)
    }

    /// Keeps a blob whatever happens, also one that is not here yet.
    pub fn pin(&self, hash: BlobHash) -> Result<(), BlobError> {
        self.index.pin(hash, Some(self.now_ms()))
    }

    /// Keeps it no longer than others.
    pub fn unpin(&self, hash: BlobHash) -> Result<(), BlobError> {
        self.index.pin(hash, None)
    }

    /// Opens a blob for reading.
    pub fn open(&self, hash: BlobHash) -> Result<Reader, BlobError> {
        let entry = self.index.entry(hash)?.ok_or(BlobError::Unavailable(hash))?;
        if entry.row.damaged {
            return Err(BlobError::Damaged(hash));
        }
        self.reader(hash, &entry)
    }

    /// As [`Self::open`], whatever is known of its file.
    pub(crate) fn reader(&self, hash: BlobHash, entry: &Entry) -> Result<Reader, BlobError> {
        let file = self.folder.open(&file_name(hash, entry.row.squeezed)).map_err(|error| disk(&error))?;
        Reader::new(hash, entry, file.ok_or(BlobError::Unavailable(hash))?).ok_or(BlobError::Damaged(hash))
    }

    /// Takes a blob away: the file first, then what is known of it.
    pub(crate) fn remove(&self, hash: BlobHash, row: &BlobRow) -> Result<(), BlobError> {
        self.folder.remove(&file_name(hash, row.squeezed)).map_err(|error| disk(&error))?;
        self.folder.remove(&thumbnail_name(hash)).map_err(|error| disk(&error))?;
        fail::fail_point!("blobs-between-removals");
        self.index.remove(hash)
    }

    /// The thumbnail of a blob, if one was made: empty if none can be.
    pub fn thumbnail(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, BlobError> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let Some(file) = self.folder.open(&thumbnail_name(hash))? else { return Ok(None) };
            let length = usize::try_from(file.size()?).unwrap_or(usize::MAX).min(thumbnail::MAX_BYTES);
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(Some(bytes))
        };
        read().map_err(|error| disk(&error))
    }

    /// Keeps the thumbnail of a blob as long as the blob; an empty one says that none can be made.
    pub fn keep_thumbnail(&self, hash: BlobHash, bytes: &[u8]) -> Result<(), BlobError> {
        let begun = self.fresh_name();
        let write = || {
            let mut file = self.folder.begin(&begun)?;
            file.write_all(bytes)?;
            file.sync()?;
            drop(file);
            // Whoever removes the blob removes this with it.
            let _settling = self.settle();
            match self.index.row(hash) {
                Ok(Some(_)) => self.folder.keep(&begun, &thumbnail_name(hash)),
                _ => self.folder.drop_begun(&begun),
            }
        };
        write().map_err(|error| {
            drop(self.folder.drop_begun(&begun));
            disk(&error)
        })
    }

    /// Closes the index; it is opened again when it is needed.
    pub fn close(&self) {
        self.index.close();
    }
}

/// The name of a blob's file.
pub(crate) fn file_name(hash: BlobHash, squeezed: bool) -> String {
    let (hash, ending) = (hash.to_string(), if squeezed { ".zst" } else { "" });
    format!("{}/{hash}{ending}", &hash[..2])
}

/// The name of a blob's thumbnail. Another way of making them gives them another name.
fn thumbnail_name(hash: BlobHash) -> String {
    format!("thumbnails/{hash}-1.png")
}

/// A file that is being taken in. Dropped before its end, it leaves nothing.
pub struct Putting {
    store: Arc<Store>,
    expected: Option<BlobHash>,
    name: String,
    file: Option<Box<dyn Writing>>,
    parts: Parts,
    piece: Vec<u8>,
}

/// What is known of the pieces that were written.
#[derive(Default)]
struct Parts {
    outlining: Outlining,
    stored: u64,
    /// Whether it is kept compressed; decided by the first piece.
    squeezes: Option<bool>,
    frames: Vec<u32>,
}

impl Putting {
    /// Takes the next bytes. Blocks its thread. After an error it takes no more.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE_BYTES {
                self.end_piece()?;
            }
        }
        Ok(())
    }

    /// The number of bytes taken so far.
    pub fn size(&self) -> u64 {
        self.parts.outlining.size() + self.piece.len() as u64
    }

    fn end_piece(&mut self) -> Result<(), BlobError> {
        if self.size() > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge { max: MAX_BLOB_BYTES });
        }
        if self.file.is_none() {
            self.file = Some(self.store.folder.begin(&self.name).map_err(|error| disk(&error))?);
        }
        let file = self.file.as_mut().expect("it was just begun");
        self.parts.add(&self.piece, &mut **file).map_err(|error| disk(&error))?;
        self.piece.clear();
        Ok(())
    }

    /// The file is whole: keeps it, and tells what it is. Durable when this returns (I-1). Blocks its thread.
    pub fn finish(mut self) -> Result<Kept, BlobError> {
        if !self.piece.is_empty() || self.file.is_none() {
            self.end_piece()?;
        }
        let parts = std::mem::take(&mut self.parts);
        let outline = parts.outlining.finish();
        let hash = outline.root();
        if let Some(wanted) = self.expected.filter(|wanted| *wanted != hash) {
            return Err(BlobError::Other { wanted, got: hash });
        }
        let now_ms = self.store.now_ms();
        let store = Arc::clone(&self.store);
        let _settling = store.settle();
        let present = store.index.row(hash)?;
        match present {
            Some(row) if !row.damaged && store.is_there(hash, &row)? => {
                store.index.change(hash, |row| (row.touched_ms, row.idle_since_ms) = (now_ms, None))?;
            }
            _ => {
                let added_ms = present.map_or(now_ms, |row| row.added_ms);
                let squeezed = parts.squeezes.unwrap_or(false);
                let row = BlobRow {
                    size: outline.size(),
                    stored: parts.stored,
                    squeezed,
                    added_ms,
                    touched_ms: now_ms,
                    damaged: false,
                    idle_since_ms: None,
                };
                self.settle_down(hash, &Entry { row, outline: outline.bytes(), frames: parts.frames })?;
            }
        }
        store.index.kept(hash)?.ok_or(BlobError::Unavailable(hash))
    }

    fn settle_down(&mut self, hash: BlobHash, entry: &Entry) -> Result<(), BlobError> {
        let mut file = self.file.take().expect("a piece was written");
        fail::fail_point!("blobs-before-sync");
        file.sync().map_err(|error| disk(&error))?;
        drop(file);
        fail::fail_point!("blobs-before-rename");
        let name = file_name(hash, entry.row.squeezed);
        let renamed = self.store.folder.keep(&self.name, &name).map_err(|error| disk(&error));
        fail::fail_point!("blobs-after-rename");
        let settled = renamed.and_then(|()| self.store.index.put(hash, entry));
        if settled.is_err() && matches!(self.store.index.row(hash), Ok(None)) {
            // Nothing was acknowledged, so it need not take room; what cannot be removed now is taken in at a start.
            drop(self.store.folder.remove(&name));
        }
        settled
    }
}

impl Store {
    /// Whether the file of a blob is there, and as long as it must be.
    fn is_there(&self, hash: BlobHash, row: &BlobRow) -> Result<bool, BlobError> {
        let size =
            |name: &str| -> io::Result<Option<u64>> { self.folder.open(name)?.map(|file| file.size()).transpose() };
        Ok(size(&file_name(hash, row.squeezed)).map_err(|error| disk(&error))? == Some(row.stored))
    }
}

impl Drop for Putting {
    fn drop(&mut self) {
        if let Err(error) = self.store.folder.drop_begun(&self.name) {
            tracing::warn!(%error, "what was left of a file that did not come whole could not be removed");
        }
    }
}

impl Parts {
    fn add(&mut self, piece: &[u8], file: &mut dyn Writing) -> io::Result<()> {
        self.outlining.add(piece);
        let squeezes = *self.squeezes.get_or_insert_with(|| squeeze::is_worth_it(piece));
        if !squeezes {
            self.stored += piece.len() as u64;
            return file.write_all(piece);
        }
        let frame = squeeze::squeezed(piece)?;
        self.stored += frame.len() as u64;
        self.frames.push(u32::try_from(frame.len()).map_err(io::Error::other)?);
        file.write_all(&frame)
    }
}
