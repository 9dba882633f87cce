//! Care for the store: what a kill has left is cleared up, and every blob can be read again to see that it is whole.

use std::ops::ControlFlow;

use openprod_messages::blobs::BlobError;
use openprod_model::ids::BlobHash;

use crate::folder::Reading;
use crate::index::{Entry, disk};
use crate::outline::{MAX_BLOB_BYTES, Outlining, PIECE_BYTES};
use crate::partial::partial_of;
use crate::squeeze;
use crate::store::{Store, file_name};
use crate::tables::BlobRow;

/// How many rows of the index are read at a time.
pub(crate) const CHUNK_ROWS: usize = 1_024;

/// What was cleared up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Files that had not come whole, and were removed.
    pub broken_off: u64,
    /// Whole files that were not known of, and are now.
    pub taken_in: u64,
    /// Blobs whose files are gone.
    pub gone: u64,
}

/// How far a verification came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Those whose bytes are no longer what they were.
    pub damaged: Vec<BlobHash>,
    /// Those whose files are gone.
    pub gone: Vec<BlobHash>,
}

/// Hears how far it came, and may break it off.
pub type Tell<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

impl Store {
    /// Clears up what a kill has left. Blocks its thread.
    pub fn clear_up(&self) -> Result<Cleared, BlobError> {
        let mut cleared = Cleared::default();
        for name in self.folder.begun().map_err(|error| disk(&error))? {
            if !name.starts_with(&self.prefix) && self.is_left_over(&name)? {
                self.folder.drop_begun(&name).map_err(|error| disk(&error))?;
                cleared.broken_off += 1;
            }
        }
        for first in 0..=u8::MAX {
            for name in self.folder.names(first).map_err(|error| disk(&error))? {
                cleared.taken_in += u64::from(self.take_in(&name)?);
            }
        }
        let mut gone = 0;
        let forget = &mut |hash| {
            gone += u64::from(self.forget_if_gone(hash)?);
            Ok(ControlFlow::Continue(()))
        };
        self.each(forget).map(drop)?;
        Ok(Cleared { gone, ..cleared })
    }

    /// Whether a file that is not whole is of no more use: of what is being fetched, only once it is here.
    fn is_left_over(&self, name: &str) -> Result<bool, BlobError> {
        match partial_of(name) {
            Some(hash) => Ok(self.index.row(hash)?.is_some()),
            None => Ok(true),
        }
    }

    /// Each blob that is here, in the order of their addresses.
    pub(crate) fn each(
        &self,
        look: &mut dyn FnMut(BlobHash) -> Result<ControlFlow<()>, BlobError>,
    ) -> Result<ControlFlow<()>, BlobError> {
        let mut after = None;
        loop {
            let chunk = self.index.list(after, CHUNK_ROWS)?;
            let Some(last) = chunk.last() else { return Ok(ControlFlow::Continue(())) };
            after = Some(last.hash);
            for kept in chunk {
                if look(kept.hash)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    /// Takes in a whole file that the index does not know, if its name tells what is in it. Others are left alone.
    fn take_in(&self, name: &str) -> Result<bool, BlobError> {
        let Some((hash, squeezed)) = parsed(name) else { return Ok(false) };
        if self.index.row(hash)?.is_some() {
            return Ok(false);
        }
        let Some(file) = self.folder.open(name).map_err(|error| disk(&error))? else { return Ok(false) };
        let read = if squeezed { squeezed_entry(&*file) } else { plain_entry(&*file) };
        let Some((found, mut entry)) = read.map_err(|error| disk(&error))? else { return Ok(false) };
        let now_ms = self.now_ms();
        (entry.row.added_ms, entry.row.touched_ms) = (now_ms, now_ms);
        let _settling = self.settle();
        if found != hash || self.index.row(hash)?.is_some() {
            return Ok(false);
        }
        self.index.put(hash, &entry)?;
        Ok(true)
    }

    fn forget_if_gone(&self, hash: BlobHash) -> Result<bool, BlobError> {
        let _settling = self.settle();
        let Some(row) = self.index.row(hash)? else { return Ok(false) };
        let file = self.folder.open(&file_name(hash, row.squeezed)).map_err(|error| disk(&error))?;
        if file.is_some() {
            return Ok(false);
        }
        // With what may be left beside it.
        self.remove(hash, &row)?;
        Ok(true)
    }

    /// Reads every blob and compares it with its address. Those that are damaged are given to nobody from then on, until
    /// they are put again. None if it was broken off. Blocks its thread.
    pub fn verify(&self, tell: Tell<'_>) -> Result<Option<Verified>, BlobError> {
        let mut progress = Progress { done: 0, total: self.bytes()? };
        let mut verified = Verified::default();
        let ended = self.each(&mut |hash| self.verify_one(hash, &mut progress, &mut verified, tell))?;
        verified.bytes = progress.done;
        Ok(ended.is_continue().then_some(verified))
    }

    fn bytes(&self) -> Result<u64, BlobError> {
        let mut total = 0;
        let add = &mut |hash| {
            total += self.index.row(hash)?.map_or(0, |row| row.size);
            Ok(ControlFlow::Continue(()))
        };
        self.each(add).map(drop)?;
        Ok(total)
    }

    fn verify_one(
        &self,
        hash: BlobHash,
        progress: &mut Progress,
        verified: &mut Verified,
        tell: Tell<'_>,
    ) -> Result<ControlFlow<()>, BlobError> {
        let Some(entry) = self.index.entry(hash)? else { return Ok(ControlFlow::Continue(())) };
        let was_damaged = entry.row.damaged;
        let read = self.reader(hash, &entry).and_then(|reader| {
            reader.is_whole(&mut |bytes| {
                progress.done += bytes;
                tell(*progress).is_continue()
            })
        });
        verified.blobs += 1;
        let is_damaged = match read {
            Ok(None) => return Ok(ControlFlow::Break(())),
            Ok(Some(whole)) => !whole,
            Err(BlobError::Damaged(_)) => true,
            Err(BlobError::Unavailable(_)) => {
                // It may have been collected meanwhile: then nobody misses it.
                if self.forget_if_gone(hash)? {
                    verified.gone.push(hash);
                }
                return Ok(ControlFlow::Continue(()));
            }
            Err(other) => return Err(other),
        };
        if is_damaged {
            verified.damaged.push(hash);
        }
        if is_damaged != was_damaged {
            self.index.change(hash, |row| row.damaged = is_damaged)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The address, and whether it is compressed, of a file of that name.
fn parsed(name: &str) -> Option<(BlobHash, bool)> {
    let (_, name) = name.split_once('/')?;
    let (hash, squeezed) = name.strip_suffix(".zst").map_or((name, false), |hash| (hash, true));
    let parsed: BlobHash = hash.parse().ok()?;
    (parsed.to_string() == hash).then_some((parsed, squeezed))
}

type Found = std::io::Result<Option<(BlobHash, Entry)>>;

fn plain_entry(file: &dyn Reading) -> Found {
    let stored = file.size()?;
    if stored > MAX_BLOB_BYTES {
        return Ok(None);
    }
    let (mut outlining, mut at) = (Outlining::default(), 0);
    while at < stored || stored == 0 {
        let mut piece = vec![0; length(stored - at)];
        file.read_exact_at(&mut piece, at)?;
        outlining.add(&piece);
        at += piece.len() as u64;
        if piece.is_empty() {
            break;
        }
    }
    Ok(Some(entry(outlining, stored, None)))
}

/// None if it is not a row of frames of pieces.
fn squeezed_entry(file: &dyn Reading) -> Found {
    let stored = file.size()?;
    let (mut outlining, mut frames, mut at) = (Outlining::default(), Vec::new(), 0);
    while at < stored && outlining.size() <= MAX_BLOB_BYTES {
        let mut ahead =
            vec![0; length(stored - at).saturating_mul(2).min(usize::try_from(stored - at).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut ahead, at)?;
        let Some(frame) = squeeze::frame_length(&ahead) else { return Ok(None) };
        let Some(piece) = squeeze::unsqueezed_at_most(&ahead[..frame], PIECE_BYTES) else { return Ok(None) };
        outlining.add(&piece);
        at += frame as u64;
        frames.push(u32::try_from(frame).map_err(std::io::Error::other)?);
    }
    Ok(Some(entry(outlining, stored, Some(frames))))
}

fn length(left: u64) -> usize {
    usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)
}

fn entry(outlining: Outlining, stored: u64, frames: Option<Vec<u32>>) -> (BlobHash, Entry) {
    let outline = outlining.finish();
    let squeezed = frames.is_some();
    let row = BlobRow {
        size: outline.size(),
        stored,
        squeezed,
        added_ms: 0,
        touched_ms: 0,
        damaged: false,
        idle_since_ms: None,
    };
    (outline.root(), Entry { row, outline: outline.bytes(), frames: frames.unwrap_or_default() })
}
