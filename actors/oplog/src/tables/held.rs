//! The step to format 3: a bundle in quarantine is one that does not stand, or one that waits for a person.

use openprod_model::codec;
use openprod_model::ids::{Digest, Position};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{QUARANTINE, QuarantineRow};

/// A quarantined bundle as format 2 knew it.
#[derive(Serialize, Deserialize)]
struct QuarantineRow2 {
    digest: Option<Digest>,
    source: String,
    reason: String,
    since_ms: u64,
    skipped: bool,
    at: Option<Position>,
    mark: [u8; 32],
}

pub(super) fn tell_apart(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let mut quarantine = txn.open_table(QUARANTINE)?;
    let mut rows = Vec::new();
    for row in quarantine.iter()? {
        let (number, row) = row?;
        rows.push((number.value(), row.value().to_vec()));
    }
    for (number, row) in rows {
        let damaged = |error| redb::Error::Corrupted(format!("quarantined bundle {number} of format 2: {error}"));
        let QuarantineRow2 { digest, source, reason, since_ms, skipped, at, mark } =
            codec::decode(&row).map_err(damaged)?;
        let row = QuarantineRow { digest, source, reason, since_ms, skipped, at, mark, held: false };
        quarantine.insert(number, codec::encode(&row).as_slice())?;
    }
    Ok(())
}

/// Makes a log of format 2 of one of format 3, as it would have been.
#[cfg(test)]
pub(crate) fn forget(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let mut quarantine = txn.open_table(QUARANTINE)?;
    let mut rows = Vec::new();
    for row in quarantine.iter()? {
        let (number, row) = row?;
        rows.push((number.value(), row.value().to_vec()));
    }
    for (number, row) in rows {
        let row: QuarantineRow = codec::decode(&row).expect("this version wrote it");
        let QuarantineRow { digest, source, reason, since_ms, skipped, at, mark, .. } = row;
        let row = QuarantineRow2 { digest, source, reason, since_ms, skipped, at, mark };
        quarantine.insert(number, codec::encode(&row).as_slice())?;
    }
    txn.open_table(super::META)?.insert(super::META_FORMAT, 2_u16.to_le_bytes().as_slice())?;
    Ok(())
}
