//! Salvage: the bundles of a log that does not open any more, or only in part. The file is never changed.
//!
//! First through the engine, position by position; then, if anything was amiss, by looking through the whole file for
//! what reads as a bundle. Nothing found is trusted: it goes through admission like any bundle from elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use openprod_model::bundle::{Bundle, FORMAT};
use openprod_model::clock::Hlc;
use openprod_model::codec::MAX_ENCODED_BYTES;
use openprod_model::ids::Digest;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend};

use super::{Fault, Options, faulty, untouched_engine};
use crate::disk::Disk;
use crate::tables::BUNDLES;

/// Most problems that are told one by one.
const MAX_PROBLEMS: usize = 1_000;

/// What could be saved.
#[derive(Debug, Default)]
pub struct Salvage {
    /// The bundles, each once, parents before children.
    pub bundles: Vec<Bundle>,
    /// What went wrong, in sentences.
    pub problems: Vec<String>,
}

/// Saves what can be saved of the log in that file.
pub fn salvage(path: &Path) -> io::Result<Salvage> {
    File::open(path)?;
    let mut found = Found::default();
    found.through_the_engine(path);
    if !found.problems.is_empty() {
        found.through_the_bytes(&mut File::open(path)?)?;
    }
    let mut problems = found.problems;
    if problems.len() > MAX_PROBLEMS {
        let more = problems.split_off(MAX_PROBLEMS).len();
        problems.push(format!("And {more} more."));
    }
    Ok(Salvage { bundles: found.bundles.into_values().collect(), problems })
}

#[derive(Default)]
struct Found {
    /// By clock, because a child's exceeds its parents' (I-8).
    bundles: BTreeMap<(Hlc, Digest), Bundle>,
    problems: Vec<String>,
}

impl Found {
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let bundle = Bundle::parse(bytes).map_err(|malformed| malformed.to_string())?;
        self.bundles.entry((bundle.header().hlc, bundle.digest())).or_insert(bundle);
        Ok(())
    }

    fn through_the_engine(&mut self, path: &Path) {
        let open = || faulty(|| untouched_engine(&Offline(path), Options::default()));
        let mut database = match open() {
            Ok(database) => database,
            Err(fault) => return self.problems.push(format!("The log does not open: {}.", fault.reason)),
        };
        let last = match last(&database) {
            Ok(last) => last,
            Err(fault) => return self.problems.push(format!("The log does not say how long it is: {}.", fault.reason)),
        };
        for at in 1..=last {
            let taken = bytes_at(&database, at);
            if taken.as_ref().is_err_and(|fault| fault.latched) {
                // The engine reads nothing more after an I/O error until it is opened again.
                match open() {
                    Ok(again) => database = again,
                    Err(fault) => return self.problems.push(format!("The log does not open again: {}.", fault.reason)),
                }
            }
            let taken = taken.map_err(|fault| fault.reason).and_then(|bytes| self.take(&bytes));
            if let Err(reason) = taken {
                self.problems.push(format!("Position {at} does not read: {reason}."));
            }
        }
    }

    fn through_the_bytes(&mut self, file: &mut File) -> io::Result<()> {
        const STEP: usize = 2 * MAX_ENCODED_BYTES;
        let mut window = Vec::new();
        loop {
            let wanted = (STEP + MAX_ENCODED_BYTES - window.len()) as u64;
            let got = file.by_ref().take(wanted).read_to_end(&mut window)?;
            let is_last = (got as u64) < wanted;
            let step = if is_last { window.len() } else { STEP };
            self.look_through(&window, step);
            if is_last {
                return Ok(());
            }
            window.drain(..step);
        }
    }

    fn look_through(&mut self, window: &[u8], step: usize) {
        let mut at = 0;
        while at < step {
            let length = envelope_length(&window[at..]);
            let taken = length.is_some_and(|length| self.take(&window[at..at + length]).is_ok());
            at += length.filter(|_| taken).unwrap_or(1);
        }
    }
}

fn last(database: &Database) -> Result<u64, Fault> {
    faulty(|| {
        let read = || -> Result<u64, Fault> {
            let table = database.begin_read()?.open_table(BUNDLES)?;
            Ok(table.last()?.map_or(0, |(at, _)| at.value()))
        };
        Ok(read()?)
    })
}

fn bytes_at(database: &Database, at: u64) -> Result<Vec<u8>, Fault> {
    faulty(|| {
        let read = || -> Result<Vec<u8>, Fault> {
            let bytes = database.begin_read()?.open_table(BUNDLES)?.get(at)?;
            bytes.map(|bytes| bytes.value().to_vec()).ok_or_else(|| Fault::damaged("nothing is there"))
        };
        Ok(read()?)
    })
}

/// How long the bundle would be that begins here, by its own account: format, header with its length, the header's
/// format, 64 bytes of signature, ops with their lengths.
fn envelope_length(bytes: &[u8]) -> Option<usize> {
    const SHORTEST_HEADER: usize = 200;
    let format = FORMAT.to_le_bytes();
    if !bytes.starts_with(&format) {
        return None;
    }
    let header = length(bytes, 2).filter(|header| *header >= SHORTEST_HEADER)?;
    if bytes.get(10..12)? != format {
        return None;
    }
    let mut at = 10 + header + 64;
    let ops = length(bytes, at)?;
    at += 8;
    for _ in 0..ops {
        at += 10 + length(bytes, at + 2)?;
    }
    (at <= bytes.len() && at <= MAX_ENCODED_BYTES).then_some(at)
}

/// The length that stands at `at`, if it is one.
fn length(bytes: &[u8], at: usize) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?);
    usize::try_from(length).ok().filter(|length| *length <= MAX_ENCODED_BYTES)
}

/// A file that is only read, and not locked: whoever has it open should not have.
struct Offline<'p>(&'p Path);

impl Disk for Offline<'_> {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(ReadOnly(Mutex::new(File::open(self.0)?))))
    }
}

#[derive(Debug)]
struct ReadOnly(Mutex<File>);

impl StorageBackend for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(out)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
