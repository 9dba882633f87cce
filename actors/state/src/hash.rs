//! The state hash: 256 buckets to which every cell contributes by addition, so that a change costs only its own cell.
//!
//! A sum of hashes does not depend on the order of its terms (Bellare and Micciancio's *AdHash*, 1997). Comparing two
//! nodes' buckets finds where they differ; it protects against mistakes, not against forgery, which signatures do.

use openprod_domain::fold::FOLD_VERSION;
use openprod_model::ids::{Digest, OpRef};

const CELL_DOMAIN: &[u8] = b"openprod/cell/1\0";
const BUCKET_DOMAIN: &[u8] = b"openprod/bucket/1\0";
const STATE_DOMAIN: &[u8] = b"openprod/state/1\0";

/// The sums: four little-endian lanes of 64 bits each, every lane wrapping by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets(Box<[[u64; 4]; 256]>);

impl Default for Buckets {
    fn default() -> Self {
        Self(Box::new([[0; 4]; 256]))
    }
}

impl Buckets {
    /// A cell's tips are no longer `before` but `after`; either may be empty. Gives the bucket that changed.
    pub(crate) fn change(&mut self, key: &[u8], before: &[OpRef], after: &[OpRef]) -> u8 {
        let number = bucket_of(key);
        let lanes = &mut self.0[usize::from(number)];
        let (out, into) = (contribution(key, before), contribution(key, after));
        for (lane, (out, into)) in lanes.iter_mut().zip(out.into_iter().zip(into)) {
            *lane = lane.wrapping_sub(out).wrapping_add(into);
        }
        number
    }

    /// One bucket's bytes.
    pub(crate) fn bytes(&self, number: u8) -> [u8; 32] {
        joined(self.0[usize::from(number)])
    }

    /// Puts one bucket's bytes back.
    pub(crate) fn set(&mut self, number: u8, bytes: &[u8; 32]) {
        self.0[usize::from(number)] = lanes(bytes);
    }
}

/// BLAKE3 over the fold version and all buckets.
pub(crate) fn total(buckets: &[[u8; 32]; 256]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(STATE_DOMAIN).update(&FOLD_VERSION.to_le_bytes()).update(buckets.as_flattened());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// What a cell with these tips adds to its bucket.
pub(crate) fn print(key: &[u8], tips: &[OpRef]) -> [u8; 32] {
    joined(contribution(key, tips))
}

/// The bucket of a cell.
pub(crate) fn bucket_of(key: &[u8]) -> u8 {
    blake3::Hasher::new().update(BUCKET_DOMAIN).update(key).finalize().as_bytes()[0]
}

fn contribution(key: &[u8], tips: &[OpRef]) -> [u64; 4] {
    if tips.is_empty() {
        return [0; 4];
    }
    let mut sorted = tips.to_vec();
    sorted.sort_unstable();
    let length = u32::try_from(key.len()).expect("a key is a few names and ids");
    let mut hasher = blake3::Hasher::new();
    hasher.update(CELL_DOMAIN).update(&length.to_le_bytes()).update(key);
    for op in sorted {
        hasher.update(op.as_bytes());
    }
    lanes(hasher.finalize().as_bytes())
}

fn joined(lanes: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, lane) in bytes.chunks_exact_mut(8).zip(lanes) {
        chunk.copy_from_slice(&lane.to_le_bytes());
    }
    bytes
}

fn lanes(bytes: &[u8; 32]) -> [u64; 4] {
    let mut lanes = [0; 4];
    for (lane, chunk) in lanes.iter_mut().zip(bytes.as_chunks().0) {
        *lane = u64::from_le_bytes(*chunk);
    }
    lanes
}
