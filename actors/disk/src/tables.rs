//! A file of tables that a room keeps beside the log.
//!
//! After an I/O error the engine (redb) has to be opened again, so the file is opened when it is needed: a full or broken
//! disk refuses what the room would write and nothing else, and with the disk mended it works again.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::MemoryDisk;

/// What every such file says of itself; a room may add to it.
pub const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

/// In [`META`]: the format, a little-endian u16.
const META_FORMAT: &str = "format";

/// In [`META`]: the workspace that the file belongs to.
const META_WORKSPACE: &str = "workspace";

/// Where the tables lie.
#[derive(Debug)]
pub enum Medium {
    /// In this file; it is made when the first thing is written.
    File(PathBuf),
    /// In memory.
    Memory(MemoryDisk),
}

impl Medium {
    fn is_made(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::Memory(disk) => !disk.is_empty(),
        }
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What people call it, with its article: "the index of files".
    pub called: &'static str,
    /// The format that this version writes; no other is read.
    pub format: u16,
    /// Makes all tables of a new file.
    pub make: fn(&WriteTransaction) -> Result<(), redb::Error>,
    /// Memory for the engine.
    pub cache_bytes: usize,
}

/// What the disk would not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// What the system said.
    pub reason: String,
    /// Whether it said that there is no space.
    pub full: bool,
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Self { reason: error.to_string(), full }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        (&error).into()
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            other => Self { reason: other.to_string(), full: false },
        }
    }
}

impl From<redb::DatabaseError> for Fault {
    fn from(error: redb::DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

/// That what was read makes no sense.
pub fn damaged(why: impl Into<String>) -> redb::Error {
    redb::Error::Corrupted(why.into())
}

/// The format of a file, and its workspace.
type Identity = (Vec<u8>, Vec<u8>);

/// The tables. See the module.
pub struct Tables {
    medium: Medium,
    form: Form,
    workspace: [u8; 16],
    open: Mutex<Option<Database>>,
}

impl Tables {
    /// Tables of a workspace. Opens nothing yet.
    pub fn new(medium: Medium, form: Form, workspace: [u8; 16]) -> Self {
        Self { medium, form, workspace, open: Mutex::new(None) }
    }

    /// Reads. What was never made is not made for reading: it holds nothing.
    pub fn read<T: Default>(&self, job: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Fault> {
        if !self.medium.is_made() {
            return Ok(T::default());
        }
        self.with(|database| job(&database.begin_read()?))
    }

    /// Does `job` on the open file; whatever goes wrong, the file is opened anew the next time.
    pub fn with<T>(&self, job: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Fault> {
        let mut open = self.open();
        let result = self.opened(&mut open).and_then(|database| {
            // The engine may panic on a damaged file.
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| job(database)));
            Ok(done.unwrap_or_else(|_| Err(damaged("it cannot be read")))?)
        });
        if result.is_err() {
            *open = None;
        }
        result
    }

    /// Closes the file; it is opened again when it is needed.
    pub fn close(&self) {
        *self.open() = None;
    }

    fn open(&self) -> MutexGuard<'_, Option<Database>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened<'a>(&self, open: &'a mut MutexGuard<'_, Option<Database>>) -> Result<&'a Database, Fault> {
        if open.is_none() {
            let database = std::panic::catch_unwind(AssertUnwindSafe(|| self.begin()));
            **open = Some(database.unwrap_or_else(|_| Err(damaged("it cannot be opened").into()))?);
        }
        Ok(open.as_ref().expect("it was just opened"))
    }

    fn begin(&self) -> Result<Database, Fault> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.form.cache_bytes);
        let database = match &self.medium {
            Medium::File(path) => {
                if !path.exists() {
                    self.make(path, &builder)?;
                }
                builder.open(path)?
            }
            Medium::Memory(disk) => {
                if disk.is_empty() {
                    let part = MemoryDisk::default();
                    self.prepare(&builder.create_with_backend(part.clone())?)?;
                    disk.becomes(&part)?;
                }
                builder.create_with_backend(disk.clone())?
            }
        };
        self.prepare(&database)?;
        Ok(database)
    }

    /// Makes a file: under its name it is whole, also if the lights go out while it is made.
    fn make(&self, path: &Path, builder: &Builder) -> Result<(), Fault> {
        let part = path.with_extension("making");
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let database = builder.create(&part)?;
        self.prepare(&database)?;
        drop(database);
        std::fs::rename(&part, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(std::fs::File::open(folder).and_then(|folder| folder.sync_all())?)
    }

    /// Makes the tables of a new file; refuses one that is not of this workspace, or of another version.
    fn prepare(&self, database: &Database) -> Result<(), Fault> {
        let refused =
            |why: &str| Err(Fault { reason: format!("{} is of another {why}", self.form.called), full: false });
        match self.found(database)? {
            Some((format, _)) if format != self.form.format.to_le_bytes() => {
                refused("version of OpenProd: use a newer one")
            }
            Some((_, whose)) if whose != self.workspace => refused("workspace"),
            _ => Ok(()),
        }
    }

    /// What a file that was made before says of itself.
    fn found(&self, database: &Database) -> Result<Option<Identity>, redb::Error> {
        let txn = database.begin_write()?;
        let found = {
            let mut meta = txn.open_table(META)?;
            let format = meta.get(META_FORMAT)?.map(|row| row.value().to_vec());
            let whose = meta.get(META_WORKSPACE)?.map(|row| row.value().to_vec());
            if format.is_none() {
                meta.insert(META_FORMAT, &self.form.format.to_le_bytes()[..])?;
                meta.insert(META_WORKSPACE, &self.workspace[..])?;
            }
            format.zip(whose)
        };
        if found.is_some() {
            txn.abort()?;
        } else {
            (self.form.make)(&txn)?;
            txn.commit()?;
        }
        Ok(found)
    }
}
