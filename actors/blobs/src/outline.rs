//! The outline of a blob: the hashes of its pieces, from which its address follows, so that each piece is known to be
//! right by itself, whoever sends it and in whatever order.
//!
//! BLAKE3 is a tree over chunks of 1 KiB (its specification, section 2.1). A piece is a subtree of 256 chunks, the last
//! one what is left; its hash is the chaining value of that subtree. The address of the blob is the root over the pieces,
//! exactly what BLAKE3 gives for the whole. A blob of one piece needs no outline: its address is the hash of the piece.

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use openprod_model::ids::BlobHash;

/// The size of a piece in bytes: small enough to be held by each of many readers and to be sent again after a fault, and
/// large enough that an outline takes an eight-thousandth of its blob.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Largest blob: 64 GiB, more than a recorded show. Its outline takes 8 MiB.
pub const MAX_BLOB_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// The size of a hash in bytes.
const HASH_BYTES: usize = 32;

const PIECE: u64 = PIECE_BYTES as u64;

/// The number of pieces of a blob of `size` bytes: at least one.
pub fn pieces(size: u64) -> u64 {
    size.div_ceil(PIECE).max(1)
}

/// The bytes of the piece `index` of a blob of `size` bytes; empty behind the last.
pub fn piece_range(size: u64, index: u64) -> Range<u64> {
    let from = index.saturating_mul(PIECE).min(size);
    from..from.saturating_add(PIECE).min(size)
}

/// The hashes of the pieces of one blob, known to give its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    size: u64,
    root: BlobHash,
    /// Empty for a blob of one piece.
    hashes: Vec<ChainingValue>,
}

/// The outline is not that of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outline does not give the blob's address")]
pub struct NotTheOutline;

impl Outline {
    /// Takes in an outline that somebody sent, if it is that of the blob.
    pub fn checked(root: BlobHash, size: u64, bytes: &[u8]) -> Result<Self, NotTheOutline> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        let wanted = if size <= PIECE { 0 } else { pieces(size) };
        if size > MAX_BLOB_BYTES || !rest.is_empty() || u64::try_from(hashes.len()) != Ok(wanted) {
            return Err(NotTheOutline);
        }
        if wanted > 0 && root_of(hashes, size) != root {
            return Err(NotTheOutline);
        }
        Ok(Self { size, root, hashes: hashes.to_vec() })
    }

    /// The length in bytes of the outline of a blob of `size` bytes: what to expect before reading one.
    pub fn bytes_of(size: u64) -> u64 {
        if size <= PIECE { 0 } else { pieces(size) * HASH_BYTES as u64 }
    }

    /// As it is stored and sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// The address of the blob.
    pub fn root(&self) -> BlobHash {
        self.root
    }

    /// The size of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether these are the bytes of the piece `index`.
    pub fn is_piece(&self, index: u64, bytes: &[u8]) -> bool {
        let range = piece_range(self.size, index);
        range.end - range.start == bytes.len() as u64 && self.is_piece_of_some_length(index, bytes)
    }

    /// The same where the size of the blob is only what somebody said: the length of the last piece follows from its hash.
    pub fn is_piece_of_some_length(&self, index: u64, bytes: &[u8]) -> bool {
        let is_last = index == pieces(self.size) - 1;
        let fits = if is_last { bytes.len() <= PIECE_BYTES } else { bytes.len() == PIECE_BYTES };
        if index >= pieces(self.size) || !fits || (bytes.is_empty() && !self.hashes.is_empty()) {
            return false;
        }
        match usize::try_from(index).ok().and_then(|index| self.hashes.get(index)) {
            Some(hash) => piece_hash(index, bytes) == *hash,
            None => *blake3::hash(bytes).as_bytes() == *self.root.as_bytes(),
        }
    }
}

/// Makes the outline of a blob that comes piece by piece. Holds its hashes, never its bytes.
#[derive(Debug, Default)]
pub struct Outlining {
    size: u64,
    hashes: Vec<ChainingValue>,
    /// The address, should the first piece be the only one.
    single: Option<BlobHash>,
}

impl Outlining {
    /// Takes the next piece: each is full but the last.
    pub fn add(&mut self, piece: &[u8]) {
        let index = pieces_before(self.size);
        if index == 0 {
            self.single = Some(BlobHash::from_bytes(*blake3::hash(piece).as_bytes()));
        }
        // Subtrees are of something; nothing at all is the root alone.
        if !piece.is_empty() {
            self.hashes.push(piece_hash(index, piece));
        }
        self.size += piece.len() as u64;
    }

    /// The number of bytes that came.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The outline of what came.
    pub fn finish(self) -> Outline {
        let Self { size, hashes, single } = self;
        if size > PIECE {
            let root = root_of(&hashes, size);
            return Outline { size, root, hashes };
        }
        let root = single.unwrap_or_else(|| BlobHash::from_bytes(*blake3::hash(&[]).as_bytes()));
        Outline { size, root, hashes: Vec::new() }
    }
}

fn pieces_before(size: u64) -> u64 {
    size / PIECE
}

fn piece_hash(index: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(index * PIECE).update(bytes).finalize_non_root()
}

/// The root over more than one piece.
fn root_of(hashes: &[ChainingValue], size: u64) -> BlobHash {
    let (left, right) = parted(hashes, size);
    BlobHash::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

/// The hash of the subtree over these pieces, which hold `size` bytes. It goes as deep as the tree is high: 18 at most.
fn subtree(hashes: &[ChainingValue], size: u64) -> ChainingValue {
    if let [hash] = hashes {
        return *hash;
    }
    let (left, right) = parted(hashes, size);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The two halves of a tree of more than one piece.
fn parted(hashes: &[ChainingValue], size: u64) -> (ChainingValue, ChainingValue) {
    let left_size = left_subtree_len(size);
    // More than one piece: the left half is a power of two of them.
    let (left, right) = hashes.split_at(usize::try_from(left_size / PIECE).unwrap_or(usize::MAX).min(hashes.len()));
    (subtree(left, left_size), subtree(right, size - left_size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the right report")]
mod tests {
    use super::*;
    use crate::kit::patterned;

    fn outlined(bytes: &[u8]) -> Outline {
        let mut outlining = Outlining::default();
        bytes.chunks(PIECE_BYTES).for_each(|piece| outlining.add(piece));
        outlining.finish()
    }

    #[test]
    fn the_root_is_what_blake3_gives_for_the_whole() {
        for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 5 * PIECE_BYTES + 77] {
            let bytes = patterned(size);
            let outline = outlined(&bytes);
            assert_eq!(outline.root().as_bytes(), blake3::hash(&bytes).as_bytes(), "{size}");
            assert_eq!(outline.bytes().len() as u64, Outline::bytes_of(size as u64), "{size}");
            assert_eq!(Outline::checked(outline.root(), size as u64, &outline.bytes()), Ok(outline), "{size}");
        }
    }

    #[test]
    fn each_piece_is_known_by_itself_and_by_nothing_else() {
        let bytes = patterned(3 * PIECE_BYTES + 5);
        let outline = outlined(&bytes);
        for (index, piece) in (0..).zip(bytes.chunks(PIECE_BYTES)) {
            assert!(outline.is_piece(index, piece));
            assert!(!outline.is_piece(index + 1, piece));
            let mut wrong = piece.to_vec();
            wrong[piece.len() - 1] ^= 1;
            assert!(!outline.is_piece(index, &wrong) && !outline.is_piece(index, &piece[1..]));
        }
    }

    #[test]
    fn what_is_not_the_outline_is_refused() {
        let bytes = patterned(4 * PIECE_BYTES);
        let outline = outlined(&bytes);
        let (root, size, sent) = (outline.root(), outline.size(), outline.bytes());
        let mut flipped = sent.clone();
        flipped[40] ^= 1;
        for (size, wrong) in [(size, &flipped[..]), (size, &sent[1..]), (size, &sent[..96]), (size - PIECE, &sent[..])]
        {
            assert_eq!(Outline::checked(root, size, wrong), Err(NotTheOutline));
        }
        assert_eq!(Outline::checked(root, u64::MAX, &sent), Err(NotTheOutline));
        assert_eq!(Outline::checked(root, 5, b""), Ok(Outline { size: 5, root, hashes: Vec::new() }));
    }
}
