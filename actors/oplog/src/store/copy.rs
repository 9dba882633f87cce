//! Backups: a compact copy of the log in a file of its own, made while the log goes on growing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openprod_messages::log::{Stored, chain};
use openprod_model::ids::{Digest, Position};
use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::{Failed, Fault, LogStore, Options, durably, guarded, reader, untouched_engine};
use crate::disk::{LogFile, sync_folder_of};
use crate::tables::{
    BUNDLES, DIGESTS, ENTRIES, EntryRow, HEADS, IDS, LANES, MEMBER_OPS, MEMBER_SETS, META, QUARANTINE,
    QUARANTINE_BYTES, QUARANTINE_DIGESTS, QUARANTINE_MARKS, RECEIPTS, RECEIPTS_BY_TIME, WAITING, WAITING_BYTES,
    WAITING_DIGESTS, WAITING_FOR,
};

/// A backup that was made, and read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// How far it reaches.
    pub through: Position,
    /// Its size.
    pub bytes: u64,
    /// Bundles that are damaged in it, because they are in the log.
    pub damaged: Vec<Position>,
}

/// Why there is no backup. What was begun of it is removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Nothing is overwritten.
    #[error("there is a file of that name already")]
    Exists,
    /// It could not be written, or does not read back as it should.
    #[error("the backup could not be made: {0}")]
    Failed(String),
}

impl LogStore {
    /// Writes a copy of the log as it is now to `path`, durably, and reads it again. Takes long for a long log; the
    /// log goes on meanwhile. Blocks its thread.
    pub fn backup_to(&self, path: &Path) -> Result<Backup, BackupError> {
        if path.exists() {
            return Err(BackupError::Exists);
        }
        let part = part_of(path);
        let made = self.copy_to(&part).and_then(|backup| {
            fs::rename(&part, path).and_then(|()| sync_folder_of(path)).map_err(|e| e.to_string())?;
            Ok(backup)
        });
        made.map_err(|reason| {
            // Whether or not anything was begun, nothing of it stays.
            let _ = fs::remove_file(&part);
            BackupError::Failed(reason)
        })
    }

    fn copy_to(&self, part: &Path) -> Result<Backup, String> {
        let _ = fs::remove_file(part);
        let options = self.options;
        let copied = guarded(|| {
            let from = self.long_read()?;
            let to = super::engine(&LogFile::at(part), options, &Arc::default())?;
            durably(&to, |to| copy_tables(&from, to))?;
            Ok(())
        });
        copied.map_err(|error| error.to_string())?;
        let bytes = fs::metadata(part).map_err(|error| error.to_string())?.len();
        let (through, damaged) = guarded(|| checked(part, options)).map_err(|error| error.to_string())?;
        Ok(Backup { through, bytes, damaged })
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn copy_tables(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    copy(from, to, META)?;
    copy(from, to, BUNDLES)?;
    copy(from, to, ENTRIES)?;
    copy(from, to, DIGESTS)?;
    copy(from, to, IDS)?;
    copy(from, to, LANES)?;
    copy(from, to, HEADS)?;
    copy(from, to, RECEIPTS)?;
    copy(from, to, RECEIPTS_BY_TIME)?;
    copy(from, to, QUARANTINE)?;
    copy(from, to, QUARANTINE_BYTES)?;
    copy(from, to, QUARANTINE_MARKS)?;
    copy(from, to, QUARANTINE_DIGESTS)?;
    copy(from, to, WAITING)?;
    copy(from, to, WAITING_BYTES)?;
    copy(from, to, WAITING_DIGESTS)?;
    copy(from, to, WAITING_FOR)?;
    copy(from, to, MEMBER_OPS)?;
    copy(from, to, MEMBER_SETS)
}

fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<(), Fault> {
    let (from, mut to) = (from.open_table(table)?, to.open_table(table)?);
    for row in from.iter()? {
        let (key, value) = row?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Reads a copy from end to end: how far its chain reaches, and what is damaged in it.
fn checked(part: &Path, options: Options) -> Result<(Position, Vec<Position>), Failed> {
    let database: Database = untouched_engine(&LogFile::at(part), options)?;
    let txn = database.begin_read().map_err(Fault::from)?;
    Ok(walk(&txn)?)
}

fn walk(txn: &ReadTransaction) -> Result<(Position, Vec<Position>), Fault> {
    let end = reader::end(&txn.open_table(META)?)?;
    let (mut through, mut so_far, mut damaged) = (Position::ZERO, Digest::from_bytes([0; 32]), Vec::new());
    for row in txn.open_table(ENTRIES)?.iter()? {
        let (at, row) = row?;
        let EntryRow { entry, .. } = reader::decode(row.value(), "an entry")?;
        so_far = chain(so_far, entry.digest);
        through = through.next();
        if through.0 != at.value() || so_far != entry.chain {
            return Err(Fault::damaged(format!("the chain breaks at position {}", at.value())));
        }
        if let Stored::Damaged { .. } = reader::stored(txn, through, entry.digest)? {
            damaged.push(through);
        }
    }
    if through != end.position || so_far != end.chain {
        return Err(Fault::damaged(format!("the chain ends at position {through} instead of {}", end.position)));
    }
    Ok((through, damaged))
}
