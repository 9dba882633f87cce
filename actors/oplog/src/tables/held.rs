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

fn rows(quarantine: &impl ReadableTable<u64, &'static [u8]>) -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
    let rows = quarantine.iter()?.map(|row| row.map(|(number, row)| (number.value(), row.value().to_vec())));
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn tell_apart(txn: &WriteTransaction) -> Result<(), redb::Error> {
    let mut quarantine = txn.open_table(QUARANTINE)?;
    for (number, row) in rows(&quarantine)? {
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
    for (number, row) in rows(&quarantine)? {
        let row: QuarantineRow = codec::decode(&row).expect("this version wrote it");
        let QuarantineRow { digest, source, reason, since_ms, skipped, at, mark, .. } = row;
        let row = QuarantineRow2 { digest, source, reason, since_ms, skipped, at, mark };
        quarantine.insert(number, codec::encode(&row).as_slice())?;
    }
    txn.open_table(super::META)?.insert(super::META_FORMAT, 2_u16.to_le_bytes().as_slice())?;
    Ok(())
}
