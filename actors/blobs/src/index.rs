//! The index: what is known of each blob, in a file of its own.
//!
//! A full or broken disk refuses files and nothing else (see [`Tables`]).

use std::io;

pub use openprod_disk::tables::Medium;
use openprod_disk::tables::{Fault, Form, META, Tables, damaged};
use openprod_messages::blobs::{BlobError, Kept};
use openprod_model::codec;
use openprod_model::ids::{BlobHash, WorkspaceId};
use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tables::{BLOBS, BlobRow, FORMAT, FRAMES, MENTIONS, META_PLACE, MentionRow, OUTLINES, PINS, Place, USES};

/// Memory for the engine: an index is small, and read seldom.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The index. See the module.
pub struct Index(Tables);

/// Everything that is known of a blob that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is short.
    pub row: BlobRow,
    /// The bytes of its outline.
    pub outline: Vec<u8>,
    /// Of a compressed blob, the length of each piece on disk.
    pub frames: Vec<u32>,
}

/// A mention to write down: a blob, and the cell that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The blob.
    pub hash: BlobHash,
    /// The bundle's position.
    pub position: u64,
    /// The number of the mention in the bundle.
    pub number: u32,
    /// The key of the cell.
    pub cell: Vec<u8>,
    /// What is said of the blob.
    pub row: MentionRow,
}

impl Index {
    /// The index of a workspace's blobs. Opens nothing yet.
    pub fn new(medium: Medium, workspace: WorkspaceId) -> Self {
        let form = Form { called: "the index of files", format: FORMAT, make, cache_bytes: CACHE_BYTES };
        Self(Tables::new(medium, form, *workspace.as_bytes()))
    }

    fn read<T: Default>(&self, job: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, BlobError> {
        self.0.read(job).map_err(fault)
    }

    /// Durable when it returns (I-1).
    fn write<T>(&self, job: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, BlobError> {
        let written = self.0.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            let done = job(&txn)?;
            fail::fail_point!("blobs-before-commit");
            txn.commit()?;
            fail::fail_point!("blobs-after-commit");
            Ok(done)
        });
        written.map_err(fault)
    }

    /// What is short of a blob that is here.
    pub fn row(&self, hash: BlobHash) -> Result<Option<BlobRow>, BlobError> {
        self.read(|txn| optional(&txn.open_table(BLOBS)?, hash))
    }

    /// A blob that is here, as people are told.
    pub fn kept(&self, hash: BlobHash) -> Result<Option<Kept>, BlobError> {
        self.read(|txn| {
            let row = optional(&txn.open_table(BLOBS)?, hash)?;
            let pinned = txn.open_table(PINS)?.get(hash.as_bytes())?.is_some();
            Ok(row.map(|row| kept(hash, &row, pinned)))
        })
    }

    /// Whether a blob is pinned, here or not.
    pub fn is_pinned(&self, hash: BlobHash) -> Result<bool, BlobError> {
        self.read(|txn| Ok(txn.open_table(PINS)?.get(hash.as_bytes())?.is_some()))
    }

    /// Everything of a blob that is here.
    pub fn entry(&self, hash: BlobHash) -> Result<Option<Entry>, BlobError> {
        self.read(|txn| {
            let Some(row) = optional(&txn.open_table(BLOBS)?, hash)? else { return Ok(None) };
            let bytes =
                |table: TableDefinition<'static, &'static [u8; 32], &'static [u8]>| -> Result<Vec<u8>, redb::Error> {
                    Ok(txn.open_table(table)?.get(hash.as_bytes())?.map(|row| row.value().to_vec()).unwrap_or_default())
                };
            let frames = bytes(FRAMES)?.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
            Ok(Some(Entry { row, outline: bytes(OUTLINES)?, frames }))
        })
    }

    /// The blobs behind `after` in the order of their addresses, at most `limit`.
    pub fn list(&self, after: Option<BlobHash>, limit: usize) -> Result<Vec<Kept>, BlobError> {
        self.read(|txn| {
            let (blobs, pins) = (txn.open_table(BLOBS)?, txn.open_table(PINS)?);
            let mut found = Vec::new();
            for item in blobs.range::<&[u8; 32]>(behind(after.as_ref()))?.take(limit) {
                let (hash, row) = item?;
                let pinned = pins.get(hash.value())?.is_some();
                found.push(kept(BlobHash::from_bytes(*hash.value()), &decoded(row.value())?, pinned));
            }
            Ok(found)
        })
    }

    /// Writes down that a blob is here.
    pub fn put(&self, hash: BlobHash, entry: &Entry) -> Result<(), BlobError> {
        let frames: Vec<u8> = entry.frames.iter().flat_map(|length| length.to_le_bytes()).collect();
        self.write(|txn| {
            txn.open_table(BLOBS)?.insert(hash.as_bytes(), &codec::encode(&entry.row)[..])?;
            txn.open_table(OUTLINES)?.insert(hash.as_bytes(), &entry.outline[..])?;
            txn.open_table(FRAMES)?.insert(hash.as_bytes(), &frames[..])?;
            Ok(())
        })
    }

    /// Changes what is short of a blob, if it is here.
    pub fn change(&self, hash: BlobHash, change: impl FnOnce(&mut BlobRow)) -> Result<(), BlobError> {
        self.write(|txn| {
            let mut blobs = txn.open_table(BLOBS)?;
            if let Some(mut row) = optional::<BlobRow>(&blobs, hash)? {
                change(&mut row);
                blobs.insert(hash.as_bytes(), &codec::encode(&row)[..])?;
            }
            Ok(())
        })
    }

    /// Forgets a blob that is no longer here.
    pub fn remove(&self, hash: BlobHash) -> Result<(), BlobError> {
        self.write(|txn| {
            txn.open_table(BLOBS)?.remove(hash.as_bytes())?;
            txn.open_table(OUTLINES)?.remove(hash.as_bytes())?;
            txn.open_table(FRAMES)?.remove(hash.as_bytes())?;
            Ok(())
        })
    }

    /// Pins a blob, here or not, or lets it go.
    pub fn pin(&self, hash: BlobHash, since_ms: Option<u64>) -> Result<(), BlobError> {
        self.write(|txn| {
            let mut pins = txn.open_table(PINS)?;
            match since_ms {
                Some(since_ms) => pins.insert(hash.as_bytes(), since_ms)?,
                None => pins.remove(hash.as_bytes())?,
            };
            Ok(())
        })
    }

    /// The blobs that are pinned, here or not, behind `after`, at most `limit`.
    pub fn pins(&self, after: Option<BlobHash>, limit: usize) -> Result<Vec<BlobHash>, BlobError> {
        self.read(|txn| {
            let pins = txn.open_table(PINS)?;
            let rows = pins.range::<&[u8; 32]>(behind(after.as_ref()))?;
            rows.take(limit).map(|row| Ok(BlobHash::from_bytes(*row?.0.value()))).collect()
        })
    }

    /// How far the log was read for mentions.
    pub fn place(&self) -> Result<Option<Place>, BlobError> {
        self.read(|txn| match txn.open_table(META)?.get(META_PLACE)? {
            Some(row) => Ok(Some(decoded(row.value())?)),
            None => Ok(None),
        })
    }

    /// Writes down what a stretch of the log mentions, and how far it was read.
    pub fn mentioned(&self, mentions: &[Mention], place: &Place) -> Result<(), BlobError> {
        self.write(|txn| {
            let (mut uses, mut rows) = (txn.open_table(USES)?, txn.open_table(MENTIONS)?);
            for Mention { hash, position, number, cell, row } in mentions {
                uses.insert((hash.as_bytes(), *position, *number), &cell[..])?;
                let known = optional(&rows, *hash)?;
                rows.insert(
                    hash.as_bytes(),
                    &codec::encode(&known.map_or(row.clone(), |known| later(known, row)))[..],
                )?;
            }
            txn.open_table(META)?.insert(META_PLACE, &codec::encode(place)[..])?;
            Ok(())
        })
    }

    /// Forgets every mention, and that the log was read.
    pub fn forget_mentions(&self) -> Result<(), BlobError> {
        self.write(|txn| {
            txn.delete_table(USES)?;
            txn.delete_table(MENTIONS)?;
            txn.open_table(USES)?;
            txn.open_table(MENTIONS)?;
            txn.open_table(META)?.remove(META_PLACE)?;
            Ok(())
        })
    }

    /// What the log says of a blob.
    pub fn mention(&self, hash: BlobHash) -> Result<Option<MentionRow>, BlobError> {
        self.read(|txn| optional(&txn.open_table(MENTIONS)?, hash))
    }

    /// What the log says of blobs, behind `after` in the order of their addresses, at most `limit`.
    pub fn mentions(&self, after: Option<BlobHash>, limit: usize) -> Result<Vec<(BlobHash, MentionRow)>, BlobError> {
        self.read(|txn| {
            let rows = txn.open_table(MENTIONS)?;
            let read = |item: Result<(redb::AccessGuard<'_, _>, redb::AccessGuard<'_, _>), redb::StorageError>| {
                let (hash, row): (redb::AccessGuard<'_, &[u8; 32]>, redb::AccessGuard<'_, &[u8]>) = item?;
                Ok((BlobHash::from_bytes(*hash.value()), decoded(row.value())?))
            };
            rows.range::<&[u8; 32]>(behind(after.as_ref()))?.take(limit).map(read).collect()
        })
    }

    /// The keys of the cells that mention a blob or once did, without repetition.
    pub fn cells(&self, hash: BlobHash) -> Result<Vec<Vec<u8>>, BlobError> {
        self.read(|txn| {
            let uses = txn.open_table(USES)?;
            let range = (hash.as_bytes(), 0, 0)..=(hash.as_bytes(), u64::MAX, u32::MAX);
            let cells = uses.range(range)?.map(|item| Ok(item?.1.value().to_vec()));
            let mut cells = cells.collect::<Result<Vec<_>, redb::Error>>()?;
            cells.sort_unstable();
            cells.dedup();
            Ok(cells)
        })
    }

    /// Closes the file; it is opened again when it is needed.
    pub fn close(&self) {
        self.0.close();
    }
}

/// The range behind an address.
fn behind(after: Option<&BlobHash>) -> (std::ops::Bound<&[u8; 32]>, std::ops::Bound<&[u8; 32]>) {
    use std::ops::Bound::{Excluded, Unbounded};
    (after.map_or(Unbounded, |hash| Excluded(hash.as_bytes())), Unbounded)
}

fn kept(hash: BlobHash, row: &BlobRow, pinned: bool) -> Kept {
    Kept { hash, size: row.size, stored: row.stored, added_ms: row.added_ms, pinned, damaged: row.damaged }
}

/// What is known with what is said later: a deletion says no name, and takes none away.
fn later(known: MentionRow, said: &MentionRow) -> MentionRow {
    let last_ms = known.last_ms.max(said.last_ms);
    let row = if said.name.is_empty() { known } else { said.clone() };
    MentionRow { last_ms, ..row }
}

fn make(txn: &WriteTransaction) -> Result<(), redb::Error> {
    for table in [BLOBS, OUTLINES, FRAMES, MENTIONS] {
        txn.open_table(table)?;
    }
    txn.open_table(PINS)?;
    txn.open_table(USES)?;
    Ok(())
}

fn optional<T: Serialize + DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
    hash: BlobHash,
) -> Result<Option<T>, redb::Error> {
    table.get(hash.as_bytes())?.map(|row| decoded(row.value())).transpose()
}

fn decoded<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    codec::decode(bytes).map_err(|error| damaged(error.to_string()))
}

fn fault(Fault { reason, full }: Fault) -> BlobError {
    BlobError::Disk { reason, full }
}

/// What the disk said.
pub(crate) fn disk(error: &io::Error) -> BlobError {
    fault(error.into())
}
