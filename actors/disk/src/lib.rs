//! A disk in memory: what a room's store lies on where no file is wanted, and where a test wants faults.
//!
//! It outlives the stores that open it, as a file does, and it can be copied, as a file can. It can also do what real
//! disks do to people: fill up, fail for a while or for good, flip a bit, and forget at a power cut whatever was not
//! synced. Clones are the same disk.
//!
//! [`tables`] are files on a real disk (or on this one) that rooms keep beside the log.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

#[cfg(feature = "floor")]
pub mod floor;
pub mod tables;

/// A fault that a disk is told to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Writes fail: no space. Reading goes on.
    Full,
    /// Growing fails: no space. Writing in place goes on.
    CannotGrow,
    /// Writes and syncs fail.
    WriteError,
    /// The sync fails, after which what was written may be lost.
    SyncError,
    /// Everything fails.
    Dead,
}

/// Something that was done to a disk and not synced yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsynced {
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// The disk was made longer or shorter.
    Resize(u64),
}

/// Sees the disk before each change and each sync: what was synced, and what was done since.
pub type Watcher = Box<dyn FnMut(&[u8], &[Unsynced]) + Send>;

/// A disk in memory. See the crate.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Where the two may differ.
    changed: Vec<Range<usize>>,
    /// Kept for the watcher only.
    unsynced: Vec<Unsynced>,
    watcher: Option<Watcher>,
    trouble: Option<Trouble>,
    /// Accesses that still succeed before the trouble begins.
    countdown: u64,
    /// So many of the next accesses fail.
    failing: usize,
    /// No byte can be written behind here.
    room: Option<usize>,
    openings: u64,
    removals: u64,
}

impl std::fmt::Debug for Platter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Platter({} bytes)", self.bytes.len())
    }
}

impl MemoryDisk {
    /// A disk that holds these bytes.
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter { synced: bytes.clone(), bytes, ..Platter::default() })))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A backend for the storage engine: this very disk.
    pub fn open(&self) -> Box<dyn StorageBackend> {
        self.platter().openings += 1;
        Box::new(self.clone())
    }

    /// Removes what is on it.
    pub fn remove(&self) {
        let mut platter = self.platter();
        platter.removals += 1;
        platter.resize(0);
        platter.sync();
    }

    /// What is on it, synced or not: what another process finds after the one that wrote it was killed.
    pub fn bytes(&self) -> Vec<u8> {
        self.platter().bytes.clone()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.platter().bytes.is_empty()
    }

    /// Holds from now on what another disk does, for good: as a file does over which another was renamed.
    pub fn becomes(&self, other: &Self) -> io::Result<()> {
        let bytes = other.bytes();
        let mut platter = self.platter();
        let all = [Trouble::Dead, Trouble::Full, Trouble::CannotGrow, Trouble::WriteError, Trouble::SyncError];
        platter.access(&all)?;
        (platter.synced, platter.changed) = (bytes.clone(), Vec::new());
        platter.bytes = bytes;
        Ok(())
    }

    /// Another disk with the same bytes, as a copy of the file would be.
    pub fn copied(&self) -> Self {
        Self::holding(self.bytes())
    }

    /// Another disk with what was synced, as after a power cut.
    pub fn after_power_cut(&self) -> Self {
        Self::holding(self.platter().synced.clone())
    }

    /// Another disk as it may be found after a power cut: what was synced is there, and of the sectors that were written
    /// since, any. Which, `dice` tells, in the order of the sectors.
    pub fn torn(&self, mut dice: impl FnMut() -> bool) -> Self {
        const SECTOR: usize = 512;
        let platter = self.platter();
        let mut image = platter.synced.clone();
        if platter.bytes.len() != image.len() && dice() {
            image.resize(platter.bytes.len(), 0);
        }
        let sectors = platter.changed.iter().flat_map(|range| range.start / SECTOR..range.end.div_ceil(SECTOR));
        for sector in sectors.collect::<BTreeSet<usize>>() {
            let end = (sector * SECTOR + SECTOR).min(image.len()).min(platter.bytes.len());
            if sector * SECTOR < end && dice() {
                let sector = sector * SECTOR..end;
                image[sector.clone()].copy_from_slice(&platter.bytes[sector]);
            }
        }
        Self::holding(image)
    }

    /// Begins to have this trouble after some more accesses of the sort that it concerns.
    pub fn has(&self, trouble: Trouble, after: u64) {
        let mut platter = self.platter();
        (platter.trouble, platter.countdown) = (Some(trouble), after);
    }

    /// Is well again.
    pub fn heals(&self) {
        self.platter().trouble = None;
    }

    /// So many of the next accesses fail, whatever they are.
    pub fn fails(&self, times: usize) {
        self.platter().failing = times;
    }

    /// Writes that would need more bytes than these fail, with the reason that there is no space.
    pub fn holds_at_most(&self, bytes: usize) {
        self.platter().room = Some(bytes);
    }

    /// Has room for everything again.
    pub fn has_room(&self) {
        self.platter().room = None;
    }

    /// Flips some bits of the byte at an offset, counted around the end.
    pub fn flips(&self, at: usize) {
        let mut platter = self.platter();
        let at = at % platter.bytes.len();
        platter.bytes[at] ^= 0x55;
        platter.changed.push(at..at + 1);
    }

    /// Shows itself before each change and each sync from now on.
    pub fn is_watched_by(&self, watcher: Watcher) {
        self.platter().watcher = Some(watcher);
    }

    /// How often it was opened.
    pub fn openings(&self) -> u64 {
        self.platter().openings
    }

    /// How often it was emptied.
    pub fn removals(&self) -> u64 {
        self.platter().removals
    }
}

impl Platter {
    /// Fails if it was told to, at an access that these troubles concern.
    fn access(&mut self, concerned: &[Trouble]) -> io::Result<()> {
        if self.failing > 0 {
            self.failing -= 1;
            return Err(io::Error::other("the disk gave up"));
        }
        let Some(trouble) = self.trouble.filter(|trouble| concerned.contains(trouble)) else { return Ok(()) };
        if self.countdown > 0 {
            self.countdown -= 1;
            return Ok(());
        }
        match trouble {
            Trouble::Full | Trouble::CannotGrow => Err(io::ErrorKind::StorageFull.into()),
            // EIO, as Linux says it.
            _ => Err(io::Error::from_raw_os_error(5)),
        }
    }

    fn show(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            watcher(&self.synced, &self.unsynced);
            self.watcher = Some(watcher);
        }
    }

    /// Longer disks are like sparse files: only writing needs room.
    fn resize(&mut self, length: usize) {
        self.changed.push(length.min(self.bytes.len())..length.max(self.bytes.len()));
        self.bytes.truncate(length);
        // Zeroes straight from the allocator: unoptimized, `resize` writes megabytes one by one.
        self.bytes.append(&mut vec![0; length - self.bytes.len()]);
    }

    fn write(&mut self, range: Range<usize>, data: &[u8]) {
        if self.bytes.len() < range.end {
            self.resize(range.end);
        }
        self.bytes[range.clone()].copy_from_slice(data);
        self.changed.push(range);
    }

    fn sync(&mut self) {
        self.synced.truncate(self.bytes.len());
        self.synced.append(&mut vec![0; self.bytes.len() - self.synced.len()]);
        for range in self.changed.drain(..) {
            let range = range.start.min(self.bytes.len())..range.end.min(self.bytes.len());
            self.synced[range.clone()].copy_from_slice(&self.bytes[range]);
        }
        self.unsynced.clear();
    }

    fn note(&mut self, done: impl FnOnce() -> Unsynced) {
        if self.watcher.is_some() {
            self.unsynced.push(done());
        }
    }
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

impl StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        let mut platter = self.platter();
        platter.access(&[Trouble::Dead])?;
        Ok(platter.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.access(&[Trouble::Dead])?;
        let from = size(offset)?;
        out.copy_from_slice(platter.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.show();
        platter.access(&[Trouble::Dead, Trouble::Full, Trouble::CannotGrow, Trouble::WriteError])?;
        platter.resize(size(len)?);
        platter.note(|| Unsynced::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.show();
        platter.access(&[Trouble::Dead, Trouble::WriteError, Trouble::SyncError])?;
        platter.sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.show();
        platter.access(&[Trouble::Dead, Trouble::Full, Trouble::WriteError])?;
        let from = size(offset)?;
        if platter.room.is_some_and(|room| from + data.len() > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.write(from..from + data.len(), data);
        platter.note(|| Unsynced::Write(offset, data.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the right report")]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_forgets_what_was_not_synced() {
        let disk = MemoryDisk::default();
        disk.write(2, b"kept").unwrap();
        disk.sync_data().unwrap();
        disk.write(4, b"lost").unwrap();
        disk.set_len(5).unwrap();
        assert_eq!(disk.bytes(), b"\0\0kel");
        assert_eq!(disk.after_power_cut().bytes(), b"\0\0kept");
        disk.sync_data().unwrap();
        assert_eq!(disk.after_power_cut().bytes(), b"\0\0kel");
    }

    #[test]
    fn a_torn_disk_has_some_of_the_sectors_that_were_not_synced() {
        let disk = MemoryDisk::holding(vec![0; 2048]);
        disk.write(100, &[1; 1500]).unwrap();
        let mut tosses = [true, false, true, true].into_iter();
        let torn = disk.torn(|| tosses.next().unwrap()).bytes();
        assert!(torn[100..512].iter().chain(&torn[1024..1600]).all(|byte| *byte == 1));
        assert!(torn[..100].iter().chain(&torn[512..1024]).all(|byte| *byte == 0));
        disk.sync_data().unwrap();
        assert_eq!(disk.torn(|| unreachable!("everything was synced")).bytes(), disk.bytes());
    }

    #[test]
    fn a_copy_goes_its_own_way() {
        let disk = MemoryDisk::holding(b"old".to_vec());
        let copy = disk.copied();
        disk.write(0, b"new").unwrap();
        assert_eq!((copy.bytes(), disk.bytes()), (b"old".to_vec(), b"new".to_vec()));
    }

    #[test]
    fn it_fails_as_it_is_told() {
        let disk = MemoryDisk::holding(vec![0; 8]);
        disk.has(Trouble::Full, 1);
        disk.write(0, b"a").unwrap();
        assert_eq!(disk.write(1, b"b").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.read(0, &mut [0]).unwrap();
        disk.heals();
        disk.holds_at_most(8);
        disk.write(7, b"c").unwrap();
        assert_eq!(disk.write(8, b"d").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.has_room();
        disk.fails(1);
        assert!(disk.len().is_err() && disk.len().is_ok());
    }
}
