//! Reading a blob: any piece of it, checked against its outline, so that nobody is given bytes that are not the blob's.

use std::io;
use std::ops::Range;

use openprod_messages::blobs::BlobError;
use openprod_model::ids::BlobHash;

use crate::folder::Reading;
use crate::index::{Entry, disk};
use crate::outline::{Outline, PIECE_BYTES, piece_range, pieces};
use crate::squeeze;

/// A blob that is open for reading. It stays readable while it is open, also if it is collected meanwhile.
pub struct Reader {
    hash: BlobHash,
    outline: Outline,
    /// Where each piece of a compressed blob begins on disk, and behind the last.
    frames: Option<Vec<u64>>,
    file: Box<dyn Reading>,
}

impl Reader {
    /// None if what is known of the blob contradicts itself.
    pub(crate) fn new(hash: BlobHash, entry: &Entry, file: Box<dyn Reading>) -> Option<Self> {
        let outline = Outline::checked(hash, entry.row.size, &entry.outline).ok()?;
        let frames = if entry.row.squeezed { Some(starts(&entry.frames, entry.row.size)?) } else { None };
        Some(Self { hash, outline, frames, file })
    }

    /// Its outline.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The number of its bytes.
    pub fn size(&self) -> u64 {
        self.outline.size()
    }

    /// The piece `index`. Blocks its thread.
    pub fn piece(&self, index: u64) -> Result<Vec<u8>, BlobError> {
        let bytes = self.stored_piece(index)?.filter(|bytes| self.outline.is_piece(index, bytes));
        bytes.ok_or(BlobError::Damaged(self.hash))
    }

    /// As it comes from the disk, unchecked; none if the file is too short or does not decompress.
    fn stored_piece(&self, index: u64) -> Result<Option<Vec<u8>>, BlobError> {
        let plain = piece_range(self.size(), index);
        let length = usize::try_from(plain.end - plain.start).unwrap_or(PIECE_BYTES);
        let Some(frames) = &self.frames else { return self.bytes(plain) };
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some([from, to]) = at.checked_add(2).and_then(|end| frames.get(at..end)) else { return Ok(None) };
        let frame = self.bytes(*from..*to)?;
        Ok(frame.and_then(|frame| squeeze::unsqueezed(&frame, length)))
    }

    fn bytes(&self, range: Range<u64>) -> Result<Option<Vec<u8>>, BlobError> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(PIECE_BYTES)];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(disk(&error)),
        }
    }

    /// The next bytes of a range: what of it lies in the piece in which it begins. Empty at its end.
    pub fn next(&self, range: &mut Range<u64>) -> Result<Vec<u8>, BlobError> {
        let range_end = range.end.min(self.size());
        if range.start >= range_end {
            return Ok(Vec::new());
        }
        let index = range.start / PIECE_BYTES as u64;
        let lies = piece_range(self.size(), index);
        let mut piece = self.piece(index)?;
        let end = range_end.min(lies.end);
        let within = |at: u64| usize::try_from(at - lies.start).unwrap_or(PIECE_BYTES);
        piece.truncate(within(end));
        piece.drain(..within(range.start));
        range.start = end;
        Ok(piece)
    }

    /// Checks every piece. `tell` hears the number of bytes of each, and may break it off by saying no.
    pub fn is_whole(&self, tell: &mut dyn FnMut(u64) -> bool) -> Result<Option<bool>, BlobError> {
        for index in 0..pieces(self.size()) {
            match self.piece(index) {
                Ok(piece) if tell(piece.len() as u64) => {}
                Ok(_) => return Ok(None),
                Err(BlobError::Damaged(_)) => return Ok(Some(false)),
                Err(other) => return Err(other),
            }
        }
        Ok(Some(true))
    }
}

/// Where each frame begins, and behind the last; none if there are not as many as pieces, or one is impossibly long.
fn starts(lengths: &[u32], size: u64) -> Option<Vec<u64>> {
    /// zstd makes no piece longer than this, whatever is in it.
    const LONGEST_FRAME: usize = 2 * PIECE_BYTES;
    if lengths.len() as u64 != pieces(size) || lengths.iter().any(|length| *length as usize > LONGEST_FRAME) {
        return None;
    }
    let sums = lengths.iter().scan(0_u64, |end, length| {
        *end += u64::from(*length);
        Some(*end)
    });
    Some(std::iter::once(0).chain(sums).collect())
}
