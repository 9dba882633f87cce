//! The folder of files: what is being written lies apart from what is whole, and a file appears under its name at once.
//!
//! ```text
//! blobs/
//!   incoming/            what is being written; at a start, what was broken off, and what is being fetched (fetch-...)
//!   ab/ab12...           a blob as it is, under its address
//!   ab/ab34....zst       a blob kept compressed: its pieces, one zstd frame each
//!   thumbnails/          made of them; remove it, and they are made anew
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const INCOMING: &str = "incoming";

/// A file that is being written.
pub trait Writing: Send {
    /// Adds bytes at the end.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when they are on the disk for good.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is whole.
pub trait Reading: Send + Sync {
    /// Fills `bytes` from an offset.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// The number of its bytes.
    fn size(&self) -> io::Result<u64>;
}

/// A file that is written here and there.
pub trait Patching: Send + Sync {
    /// Writes bytes at an offset.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from an offset.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// The number of its bytes.
    fn size(&self) -> io::Result<u64>;
}

/// Where files lie. What is begun has one word as its name; what is whole, `ab/ab12...`.
pub trait Folder: Send + Sync {
    /// Begins a file.
    fn begin(&self, name: &str) -> io::Result<Box<dyn Writing>>;
    /// Begins a file, or goes on with it, to be written here and there.
    fn patch(&self, name: &str) -> io::Result<Box<dyn Patching>>;
    /// Gives what was begun and synced its name for good: durable when this returns.
    fn keep(&self, begun: &str, name: &str) -> io::Result<()>;
    /// Removes what was begun.
    fn drop_begun(&self, begun: &str) -> io::Result<()>;
    /// Opens a whole file; none if there is none of that name.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Reading>>>;
    /// Removes a whole file, if it is there: durable when this returns.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of what was begun and is not whole.
    fn begun(&self) -> io::Result<Vec<String>>;
    /// The names of the whole files whose address begins with this byte.
    fn names(&self, first: u8) -> io::Result<Vec<String>>;
}

/// A folder on a disk. It is made when the first file is.
#[derive(Debug, Clone)]
pub struct OnDisk(pub PathBuf);

impl OnDisk {
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn incoming(&self, name: &str) -> PathBuf {
        self.0.join(INCOMING).join(name)
    }
}

impl Writing for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Reading for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Patching for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Folder for OnDisk {
    fn begin(&self, name: &str) -> io::Result<Box<dyn Writing>> {
        make(&self.0.join(INCOMING))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.incoming(name))?;
        Ok(Box::new(file))
    }

    fn patch(&self, name: &str) -> io::Result<Box<dyn Patching>> {
        make(&self.0.join(INCOMING))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(self.incoming(name))?;
        Ok(Box::new(file))
    }

    fn keep(&self, begun: &str, name: &str) -> io::Result<()> {
        let path = self.at(name);
        let rack = path.parent().unwrap_or(&self.0);
        if !rack.exists() {
            make(rack)?;
            sync(&self.0)?;
        }
        fs::rename(self.incoming(begun), &path)?;
        sync(rack)
    }

    fn drop_begun(&self, begun: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.incoming(begun)))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Reading>>> {
        match File::open(self.at(name)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.at(name);
        match fs::remove_file(&path) {
            Ok(()) => sync(path.parent().unwrap_or(&self.0)),
            removed => absent_is_fine(removed),
        }
    }

    fn begun(&self) -> io::Result<Vec<String>> {
        listed(&self.0.join(INCOMING), "")
    }

    fn names(&self, first: u8) -> io::Result<Vec<String>> {
        let rack = format!("{first:02x}");
        listed(&self.0.join(&rack), &format!("{rack}/"))
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn listed(folder: &Path, before: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let named = |entry: io::Result<fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name().to_str().map(|name| Ok(format!("{before}{name}"))),
        Err(error) => Some(Err(error)),
    };
    entries.filter_map(named).collect()
}
