//! A disk that is full for a while: what it does not take is held in memory, and poured out when there is space again.
//!
//! redb refuses every further read once a write has failed. The state is derived, so a sync that promises too much
//! costs nothing but folding again after a crash; and so readers go on as if nothing had happened. What reached the
//! disk is a beginning of the writes in their order, as after a power cut, which redb recovers from.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// Most that is held: a full disk takes no bundles either, so there is little left to fold.
const MAX_HELD_BYTES: usize = 32 * 1024 * 1024;
const BLOCK: usize = 4_096;

/// What is known of a file without asking the disk.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Its length in bytes.
    pub(super) length: AtomicU64,
    /// Whether something waits in memory for space.
    pub(super) holding: AtomicBool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spill {
    disk: Box<dyn StorageBackend>,
    held: Mutex<Option<Held>>,
    gauge: Arc<Gauge>,
}

/// The file as it ought to be, where that differs from the disk.
#[derive(Debug)]
struct Held {
    blocks: BTreeMap<u64, Vec<u8>>,
    /// The length that the file ought to have.
    length: u64,
    /// What lies on the disk counts below here only: behind, the file was cut off.
    below: u64,
}

impl Spill {
    pub(super) fn over(disk: Box<dyn StorageBackend>, gauge: Arc<Gauge>) -> Self {
        gauge.length.store(disk.len().unwrap_or(0), Ordering::Relaxed);
        gauge.holding.store(false, Ordering::Release);
        Self { disk, held: Mutex::default(), gauge }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> io::Result<Held> {
        tracing::warn!("the disk is full: the state goes on in memory until there is space");
        let length = self.disk.len()?;
        self.gauge.holding.store(true, Ordering::Release);
        Ok(Held { blocks: BTreeMap::new(), length, below: length })
    }

    /// Gives everything held to the disk: the block with redb's header last, behind a sync.
    fn pour(&self, held: &Held) -> io::Result<()> {
        self.disk.set_len(held.below)?;
        self.disk.set_len(held.length)?;
        for (at, block) in held.blocks.iter().rev() {
            if *at == 0 {
                self.disk.sync_data()?;
            }
            self.disk.write(*at, &block[..block.len().min(size(held.length - at))])?;
        }
        self.disk.sync_data()
    }
}

impl Held {
    fn read(&self, disk: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_disk = size(self.below.saturating_sub(offset)).min(out.len());
        out[on_disk..].fill(0);
        disk.read(offset, &mut out[..on_disk])?;
        for (at, from, part) in parts(offset, out.len()) {
            if let Some(block) = self.blocks.get(&at) {
                let length = part.len();
                out[part].copy_from_slice(&block[from..from + length]);
            }
        }
        Ok(())
    }

    fn write(&mut self, disk: &dyn StorageBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.blocks.len() * BLOCK + data.len() > MAX_HELD_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.length = self.length.max(offset + data.len() as u64);
        for (at, from, part) in parts(offset, data.len()) {
            if !self.blocks.contains_key(&at) {
                let mut block = vec![0; BLOCK];
                self.read(disk, at, &mut block[..size(self.length - at).min(BLOCK)])?;
                self.blocks.insert(at, block);
            }
            if let Some(block) = self.blocks.get_mut(&at) {
                block[from..from + part.len()].copy_from_slice(&data[part]);
            }
        }
        Ok(())
    }

    /// What is cut off must read as zero, should the file grow again.
    fn set_len(&mut self, length: u64) {
        (self.length, self.below) = (length, self.below.min(length));
        self.blocks.retain(|at, _| *at < length);
        if let Some((at, block)) = self.blocks.last_key_value().map(|(at, _)| *at).zip(self.blocks.values_mut().last())
        {
            block[size(length - at).min(BLOCK)..].fill(0);
        }
    }
}

/// The parts of a byte range that lie in one block each: the block's offset, the offset in the block, the part.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let end = offset + length as u64;
    let first = offset / BLOCK as u64 * BLOCK as u64;
    (first..end).step_by(BLOCK).map(move |at| {
        let (from, to) = (at.max(offset), (at + BLOCK as u64).min(end));
        (at, size(from - at), size(from - offset)..size(to - offset))
    })
}

/// A length that fits in memory, because something of that length is there.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn no_space<T>(result: &io::Result<T>) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(result, Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
}

impl StorageBackend for Spill {
    fn len(&self) -> io::Result<u64> {
        match &*self.held() {
            Some(held) => Ok(held.length),
            None => self.disk.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Most reads find nothing held, and must not wait for one another.
        if !self.gauge.holding.load(Ordering::Acquire) {
            return self.disk.read(offset, out);
        }
        match &*self.held() {
            Some(held) => held.read(&*self.disk, offset, out),
            None => self.disk.read(offset, out),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut held = self.held();
        if held.is_none() {
            let result = self.disk.set_len(length);
            if no_space(&result) {
                *held = Some(self.start()?);
            } else {
                result?;
            }
        }
        if let Some(held) = &mut *held {
            held.set_len(length);
        }
        self.gauge.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.held();
        let Some(waiting) = &*held else { return self.disk.sync_data() };
        let result = self.pour(waiting);
        if no_space(&result) {
            return Ok(());
        }
        result?;
        tracing::info!("there is space on the disk again: the state is written");
        *held = None;
        self.gauge.holding.store(false, Ordering::Release);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut held = self.held();
        if held.is_none() {
            let result = self.disk.write(offset, data);
            if !no_space(&result) {
                return result;
            }
            *held = Some(self.start()?);
        }
        match &mut *held {
            Some(held) => held.write(&*self.disk, offset, data),
            None => Ok(()),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.query_lock_range(start, end)
    }
}
