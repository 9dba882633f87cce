//! A blob that comes in pieces, in any order and perhaps over days: what has come stays, and is checked again after a break.
//!
//! It lies in `incoming/` as `fetch-HASH`, each piece at its place, with the outline beside it. Nothing of it is trusted
//! after a start: what does not stand up to the outline is asked for again; so nothing has to be synced while it comes.
//! When it is whole it is put as any other file is.

use std::sync::Arc;

use openprod_messages::blobs::{BlobError, Kept};
use openprod_model::ids::BlobHash;

use crate::folder::Patching;
use crate::index::disk;
use crate::outline::{MAX_BLOB_BYTES, Outline, PIECE_BYTES, piece_range, pieces};
use crate::store::Store;

/// What the names of such files begin with.
const PREFIX: &str = "fetch-";
/// How the name of an outline ends.
const OUTLINE: &str = ".outline";

/// A blob that is being fetched.
pub struct Partial {
    store: Arc<Store>,
    hash: BlobHash,
    file: Box<dyn Patching>,
}

/// What was there of it from before: the outline, and each piece that is right, with its length.
pub type Before = Option<(Outline, Vec<(u64, usize)>)>;

impl Store {
    /// Begins to fetch a blob, or goes on. Reads what is there. Blocks its thread.
    pub fn fetch(self: &Arc<Self>, hash: BlobHash) -> Result<(Partial, Before), BlobError> {
        let file = self.folder.patch(&name(hash)).map_err(|error| disk(&error))?;
        let partial = Partial { store: Arc::clone(self), hash, file };
        let before = partial.before().map_err(|error| disk(&error))?;
        Ok((partial, before))
    }
}

impl Partial {
    fn before(&self) -> std::io::Result<Before> {
        let known = self.store.folder.patch(&outline_name(self.hash))?;
        // The size first, then the hashes.
        let length = known.size()?.min(8 + Outline::bytes_of(MAX_BLOB_BYTES));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        known.read_exact_at(&mut bytes, 0)?;
        let Some((size, hashes)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        let Ok(outline) = Outline::checked(self.hash, u64::from_le_bytes(*size), hashes) else { return Ok(None) };
        let mut had = Vec::new();
        for index in 0..pieces(outline.size()) {
            if let Some(length) = self.right(&outline, index)? {
                had.push((index, length));
            }
        }
        Ok(Some((outline, had)))
    }

    /// The length of a piece, if it is there and right.
    fn right(&self, outline: &Outline, index: u64) -> std::io::Result<Option<usize>> {
        let (from, end) = (index * PIECE_BYTES as u64, self.file.size()?);
        if from >= end {
            return Ok(None);
        }
        let length = usize::try_from(end - from).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(outline.is_piece_of_some_length(index, &bytes).then_some(length))
    }

    /// Writes the outline down.
    pub fn keep_outline(&mut self, outline: &Outline) -> Result<(), BlobError> {
        let bytes = [&outline.size().to_le_bytes()[..], &outline.bytes()].concat();
        let mut known = self.store.folder.patch(&outline_name(self.hash)).map_err(|error| disk(&error))?;
        fail::fail_point!("blobs-before-outline");
        known.write_all_at(&bytes, 0).map_err(|error| disk(&error))?;
        fail::fail_point!("blobs-after-outline");
        Ok(())
    }

    /// Writes a piece down.
    pub fn keep_piece(&mut self, index: u64, bytes: &[u8]) -> Result<(), BlobError> {
        fail::fail_point!("blobs-before-piece");
        self.file.write_all_at(bytes, index * PIECE_BYTES as u64).map_err(|error| disk(&error))?;
        fail::fail_point!("blobs-after-piece");
        Ok(())
    }

    /// All of it has come: it is put as any other file is, and what lies in `incoming/` goes. Blocks its thread.
    pub fn finish(self, size: u64) -> Result<Kept, BlobError> {
        fail::fail_point!("blobs-before-whole");
        let mut putting = self.store.begin(Some(self.hash));
        for index in 0..pieces(size) {
            let range = piece_range(size, index);
            let mut piece = vec![0; usize::try_from(range.end - range.start).unwrap_or(PIECE_BYTES)];
            self.file.read_exact_at(&mut piece, range.start).map_err(|error| disk(&error))?;
            putting.write(&piece)?;
        }
        let kept = putting.finish()?;
        fail::fail_point!("blobs-before-forget");
        self.store.drop_partial(self.hash)?;
        fail::fail_point!("blobs-after-forget");
        Ok(kept)
    }
}

impl Store {
    /// Gives up what has come of a blob.
    pub fn drop_partial(&self, hash: BlobHash) -> Result<(), BlobError> {
        [name(hash), outline_name(hash)]
            .iter()
            .try_for_each(|name| self.folder.drop_begun(name))
            .map_err(|error| disk(&error))
    }

    /// The blobs of which something has come.
    pub fn partials(&self) -> Result<Vec<BlobHash>, BlobError> {
        let begun = self.folder.begun().map_err(|error| disk(&error))?;
        let mut found: Vec<_> = begun.iter().filter_map(|name| partial_of(name)).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn name(hash: BlobHash) -> String {
    format!("{PREFIX}{hash}")
}

fn outline_name(hash: BlobHash) -> String {
    format!("{PREFIX}{hash}{OUTLINE}")
}

/// The blob of which a file in `incoming/` is a part; none if it is something else.
pub(crate) fn partial_of(name: &str) -> Option<BlobHash> {
    let hash = name.strip_prefix(PREFIX)?;
    hash.strip_suffix(OUTLINE).unwrap_or(hash).parse().ok()
}
