//! Disks: what the log's file lies on, so that it can be opened again after a fault, or be a simulated one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use openprod_disk::MemoryDisk;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Opens the place where a log lies. After an I/O error the engine refuses everything until it is opened anew, so the
/// store asks for it more than once; the one before is closed by then.
pub trait Disk: Send + Sync {
    /// Opens it, making it if there is none.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
}

/// A log in a file.
#[derive(Debug, Clone)]
pub struct LogFile(PathBuf);

impl LogFile {
    /// The log at that path.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }
}

impl Disk for LogFile {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let is_new = !self.0.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.0)?;
        if is_new {
            sync_folder_of(&self.0)?;
        }
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }
}

impl Disk for MemoryDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Self::open(self))
    }
}

/// Makes a new name in a folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Larger files were in use before they were damaged.
const LARGEST_UNBORN: u64 = 16 * 1024 * 1024;

/// Empties a file whose making was cut short by a crash, and says whether it was one. The engine writes its header,
/// which lies in the first block, and gives it its magic number last; before that, nothing lies behind it. A log that
/// ever held anything has pages there, and is never taken for one.
pub(crate) fn empty_if_unborn(disk: &(impl Disk + ?Sized)) -> io::Result<bool> {
    let backend = disk.open()?;
    let unborn = is_unborn(&*backend)?;
    if unborn {
        backend.set_len(0)?;
        backend.sync_data()?;
    }
    backend.close()?;
    Ok(unborn)
}

fn is_unborn(backend: &dyn StorageBackend) -> io::Result<bool> {
    let len = backend.len()?;
    if len == 0 || len > LARGEST_UNBORN {
        return Ok(false);
    }
    let mut bytes = vec![0; size(len)];
    backend.read(0, &mut bytes)?;
    Ok(bytes.iter().skip(size(BLOCK)).all(|byte| *byte == 0))
}

/// A backend whose size is known to others.
#[derive(Debug)]
pub(crate) struct Measured {
    inner: Box<dyn StorageBackend>,
    bytes: Arc<AtomicU64>,
}

impl Measured {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, bytes: Arc<AtomicU64>) -> Self {
        Self { inner, bytes }
    }
}

impl StorageBackend for Measured {
    fn len(&self) -> io::Result<u64> {
        let len = self.inner.len()?;
        self.bytes.store(len, Ordering::Relaxed);
        Ok(len)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.bytes.store(len, Ordering::Relaxed);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

const BLOCK: u64 = 4_096;

/// A backend that keeps what is written to it in memory and leaves what is below untouched: so that a log can be
/// repaired for reading on a disk that takes no writes, or that must not be changed.
#[derive(Debug)]
pub(crate) struct Untouched {
    below: Box<dyn StorageBackend>,
    above: Mutex<Above>,
}

#[derive(Debug)]
struct Above {
    /// How much of what is below still counts.
    below: u64,
    len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Untouched {
    pub(crate) fn over(below: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self { below, above: Mutex::new(Above { below: len, len, blocks: BTreeMap::new() }) })
    }

    fn above(&self) -> std::sync::MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block `number` as it would be on disk.
    fn block(&self, above: &Above, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(block) = above.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; size(BLOCK)];
        let start = number * BLOCK;
        let there = above.below.saturating_sub(start).min(BLOCK);
        if there > 0 {
            self.below.read(start, &mut block[..size(there)])?;
        }
        Ok(block.into())
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a few megabytes fit in memory")
}

/// The pieces of a range that lie in one block each: block, offset in it, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |number| {
        let from = offset.max(number * BLOCK);
        let to = end.min((number + 1) * BLOCK);
        (number, size(from - number * BLOCK), size(to - from))
    })
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above();
        if offset + out.len() as u64 > above.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (number, from, len) in pieces(offset, out.len()) {
            let block = self.block(&above, number)?;
            out[done..done + len].copy_from_slice(&block[from..from + len]);
            done += len;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut above = self.above();
        if len < above.len {
            if !len.is_multiple_of(BLOCK) {
                let mut last = self.block(&above, len / BLOCK)?;
                last[size(len % BLOCK)..].fill(0);
                above.blocks.insert(len / BLOCK, last);
            }
            above.blocks.retain(|number, _| number * BLOCK < len);
            above.below = above.below.min(len);
        }
        above.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.above();
        let mut done = 0;
        for (number, from, len) in pieces(offset, data.len()) {
            let mut block = self.block(&above, number)?;
            block[from..from + len].copy_from_slice(&data[done..done + len]);
            above.blocks.insert(number, block);
            done += len;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.below.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.below.unlock_range(start, end)
    }
}
