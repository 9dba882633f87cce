//! What the state says of itself to a peer's.

use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::snapshot::Snapshots;
use openprod_model::ids::Digest;
use openprod_model::operation::Operation;
use openprod_wire::replication::{CellPrint, StateSummary};

use super::comparing::digest_of_heads;
use super::engine::Sums;

const KINDS_DOMAIN: &[u8] = b"openprod/kinds/1\0";

/// A state whose newest snapshot is compared.
pub struct Standing(pub Arc<dyn Snapshots>);

/// BLAKE3 of the numbers of the kinds of operations that this version knows.
fn known_kinds() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(KINDS_DOMAIN);
    for (kind, _) in Operation::KINDS {
        hasher.update(&kind.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

impl Sums for Standing {
    fn summary(&self) -> Read<(Digest, Option<StateSummary>)> {
        let snapshot = self.0.snapshot()?;
        let hash = snapshot.hash()?;
        let (fold_version, unknown_ops, total) = (hash.fold_version, hash.unknown_ops, hash.total);
        let summary = StateSummary { fold_version, unknown_ops, kinds: known_kinds(), total };
        let is_whole = snapshot.counts()?.damaged == 0;
        Ok((digest_of_heads(snapshot.heads()?), is_whole.then_some(summary)))
    }

    fn buckets(&self) -> Read<(Digest, Box<[[u8; 32]; 256]>)> {
        let snapshot = self.0.snapshot()?;
        Ok((digest_of_heads(snapshot.heads()?), snapshot.hash()?.buckets))
    }

    fn cells(&self, bucket: u8, after: &[u8], limit: usize) -> Read<Vec<CellPrint>> {
        let cells = self.0.snapshot()?.bucket(bucket, after, limit)?;
        Ok(cells.into_iter().map(|(key, print)| CellPrint { key, print }).collect())
    }
}
