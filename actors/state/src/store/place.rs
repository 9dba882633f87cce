//! Places: where the state's file lies.

use std::path::PathBuf;

use openprod_disk::MemoryDisk;
use redb::StorageBackend;
use redb::backends::FileBackend;

/// Where the file lies: on a disk, in memory, or in a simulated world.
pub trait Backends: Send + Sync {
    /// Opens the file, or makes an empty one.
    fn open(&self) -> std::io::Result<Box<dyn StorageBackend>>;
    /// Removes the file, which is not open.
    fn remove(&self) -> std::io::Result<()>;
}

/// A file on a disk.
#[derive(Debug, Clone)]
pub struct OnDisk(pub PathBuf);

impl Backends for OnDisk {
    fn open(&self) -> std::io::Result<Box<dyn StorageBackend>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.0)?;
        Ok(Box::new(FileBackend::new(file).map_err(std::io::Error::other)?))
    }

    fn remove(&self) -> std::io::Result<()> {
        std::fs::remove_file(&self.0)
    }
}

/// Memory: it outlives the store, and is gone with the last clone.
impl Backends for MemoryDisk {
    fn open(&self) -> std::io::Result<Box<dyn StorageBackend>> {
        Ok(Self::open(self))
    }

    fn remove(&self) -> std::io::Result<()> {
        Self::remove(self);
        Ok(())
    }
}
