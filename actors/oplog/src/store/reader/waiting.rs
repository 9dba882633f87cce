//! Reading what is kept outside the log: bundles that wait, and what may yet be vouched for.

use openprod_domain::view::Read;
use openprod_messages::log::Waiting;
use openprod_model::ids::Digest;
use redb::{ReadOnlyTable, ReadTransaction};

use super::{Fault, LogStore, decode, quarantine_row};
use crate::tables::{
    Bytes32, QUARANTINE_BYTES, QUARANTINE_DIGESTS, WAITING, WAITING_BYTES, WAITING_DIGESTS, WAITING_FOR, WaitingRow,
};

type Numbered = ReadOnlyTable<(Bytes32, u64), ()>;

fn numbers(table: &Numbered, digest: Digest) -> Result<Vec<u64>, Fault> {
    let rows = table.range((digest.as_bytes(), 0)..=(digest.as_bytes(), u64::MAX))?;
    rows.map(|row| Ok(row?.0.value().1)).collect()
}

/// The bytes that are kept under a digest. What lies damaged in the log is no copy to go by.
pub(super) fn kept(txn: &ReadTransaction, digest: Digest) -> Result<Vec<Vec<u8>>, Fault> {
    let mut kept = bytes_of(txn, &numbers(&txn.open_table(WAITING_DIGESTS)?, digest)?)?;
    let quarantined = txn.open_table(QUARANTINE_BYTES)?;
    for number in numbers(&txn.open_table(QUARANTINE_DIGESTS)?, digest)? {
        if quarantine_row(txn, number)?.is_some_and(|row| row.at.is_none()) {
            kept.extend(quarantined.get(number)?.map(|bytes| bytes.value().to_vec()));
        }
    }
    Ok(kept)
}

/// The bytes of what waits for a bundle.
pub(super) fn waiting_for(txn: &ReadTransaction, digest: Digest) -> Result<Vec<Vec<u8>>, Fault> {
    bytes_of(txn, &numbers(&txn.open_table(WAITING_FOR)?, digest)?)
}

fn bytes_of(txn: &ReadTransaction, numbers: &[u64]) -> Result<Vec<Vec<u8>>, Fault> {
    let table = txn.open_table(WAITING_BYTES)?;
    let mut all = Vec::new();
    for number in numbers {
        all.extend(table.get(number)?.map(|bytes| bytes.value().to_vec()));
    }
    Ok(all)
}

impl LogStore {
    /// See [`openprod_messages::log::Lanes::waiting`].
    pub(super) fn all_waiting(&self, from: u64, limit: usize) -> Read<Vec<Waiting>> {
        self.read(|txn| {
            let rows = txn.open_table(WAITING)?.range(from..)?.take(limit).map(|row| {
                let (number, row) = row?;
                let row: WaitingRow = decode(row.value(), "a waiting bundle")?;
                let WaitingRow { digest, source, since_ms, missing } = row;
                Ok(Waiting { number: number.value(), digest, source, since_ms, missing })
            });
            rows.collect()
        })
    }
}
