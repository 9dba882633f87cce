//! What the tests of this room share: bytes, a folder that fails as it is told, and a store on both.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openprod_disk::MemoryDisk;
use openprod_messages::blobs::{BlobError, Kept};
use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};
use openprod_model::ids::{BlobHash, WorkspaceId};

use crate::folder::{Folder, OnDisk, Patching, Reading, Writing};
use crate::index::{Index, Medium};
use crate::store::Store;

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// Bytes that compress.
pub(crate) fn patterned(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at / 97) % 251).unwrap()).collect()
}

/// Bytes that do not.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    (0..size).map(|_| next()).collect()
}

pub(crate) fn hash_of(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A clock that is set, randomness that counts, and no threads.
#[derive(Default)]
pub(crate) struct Fixed {
    pub(crate) now_ms: AtomicU64,
    drawn: AtomicU64,
}

impl Clock for Fixed {
    fn wall_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
    fn monotonic_ms(&self) -> u64 {
        self.wall_ms()
    }
}

impl Randomness for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(drawn.iter().cycle()).for_each(|(byte, drawn)| *byte = *drawn);
    }
}

struct Inline;

impl Spawner for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// A folder whose steps fail from one on: as a full disk does, or as a kill does, behind which nothing happens.
#[derive(Clone)]
pub(crate) struct Failing {
    folder: OnDisk,
    left: Arc<AtomicI64>,
    with: Arc<Mutex<io::ErrorKind>>,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err((*self.with.lock().unwrap()).into()) }
    }

    /// Lets so many steps happen, and no more.
    pub(crate) fn fails_after(&self, steps: i64, with: io::ErrorKind) {
        *self.with.lock().unwrap() = with;
        self.left.store(steps, Ordering::Relaxed);
    }

    pub(crate) fn heals(&self) {
        self.left.store(i64::MAX, Ordering::Relaxed);
    }

    /// Whether a step was refused.
    pub(crate) fn has_failed(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

struct FailingFile(Failing, Box<dyn Writing>);

impl Writing for FailingFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A kill may come in the middle of a write.
        let half = bytes.len() / 2;
        self.0.step()?;
        self.1.write_all(&bytes[..half])?;
        self.0.step()?;
        self.1.write_all(&bytes[half..])
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.step()?;
        self.1.sync()
    }
}

impl Folder for Failing {
    fn begin(&self, name: &str) -> io::Result<Box<dyn Writing>> {
        self.step()?;
        Ok(Box::new(FailingFile(self.clone(), self.folder.begin(name)?)))
    }
    fn patch(&self, name: &str) -> io::Result<Box<dyn Patching>> {
        self.step()?;
        self.folder.patch(name)
    }
    fn keep(&self, begun: &str, name: &str) -> io::Result<()> {
        self.step()?;
        self.folder.keep(begun, name)?;
        self.step()
    }
    fn drop_begun(&self, begun: &str) -> io::Result<()> {
        self.step()?;
        self.folder.drop_begun(begun)
    }
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Reading>>> {
        self.folder.open(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.folder.remove(name)
    }
    fn begun(&self) -> io::Result<Vec<String>> {
        self.folder.begun()
    }
    fn names(&self, first: u8) -> io::Result<Vec<String>> {
        self.folder.names(first)
    }
}

/// A store that can be killed and opened again.
pub(crate) struct Bench {
    pub(crate) place: tempfile::TempDir,
    pub(crate) folder: Failing,
    pub(crate) disk: MemoryDisk,
    pub(crate) time: Arc<Fixed>,
    pub(crate) store: Arc<Store>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = Failing {
            folder: OnDisk(place.path().join("blobs")),
            left: Arc::new(AtomicI64::new(i64::MAX)),
            with: Arc::new(Mutex::new(io::ErrorKind::Other)),
        };
        let time = Arc::new(Fixed::default());
        time.now_ms.store(NOW_MS, Ordering::Relaxed);
        let disk = MemoryDisk::default();
        let store = opened(&folder, &disk, &time);
        Self { place, folder, disk, time, store }
    }

    /// Another process opens what the killed one has left, and clears up.
    pub(crate) fn restarts(&mut self) {
        self.folder.heals();
        self.disk.heals();
        self.disk = self.disk.copied();
        self.store = opened(&self.folder, &self.disk, &self.time);
        self.store.clear_up().unwrap();
    }

    pub(crate) fn puts(&self, bytes: &[u8]) -> Result<Kept, BlobError> {
        let mut putting = self.store.begin(None);
        bytes.chunks(10_007).try_for_each(|chunk| putting.write(chunk))?;
        putting.finish()
    }

    pub(crate) fn reads(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let reader = self.store.open(hash)?;
        let mut range = 0..reader.size();
        let mut bytes = Vec::new();
        while !range.is_empty() {
            bytes.extend(reader.next(&mut range)?);
        }
        Ok(bytes)
    }

    /// Every file in the folder, by its path within.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found: Vec<_> = self.folder.begun().unwrap();
        (0..=u8::MAX).for_each(|first| found.extend(self.folder.names(first).unwrap()));
        found
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(&self.place.path().join("blobs")).join(name)
    }
}

pub(crate) fn environment(time: &Arc<Fixed>) -> Environment {
    Environment { clock: time.clone(), random: time.clone(), spawner: Arc::new(Inline) }
}

fn opened(folder: &Failing, disk: &MemoryDisk, time: &Arc<Fixed>) -> Arc<Store> {
    Store::new(Box::new(folder.clone()), Index::new(Medium::Memory(disk.clone()), WORKSPACE), environment(time))
}
