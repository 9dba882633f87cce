//! Writing what waits for ancestors: a bounded buffer beside the log.

use openprod_model::codec;
use openprod_model::ids::Digest;
use redb::{ReadableTable, ReadableTableMetadata};

use super::super::Fault;
use super::{MAX_WAITING, MAX_WAITING_BYTES, Pen};
use crate::store::reader::decode;
use crate::tables::{META_WAITING, WAITING_BYTES, WAITING_DIGESTS, WAITING_FOR, WaitingRow};

impl Pen<'_> {
    /// Keeps a bundle until an ancestor comes.
    pub(super) fn wait(&mut self, number: u64, row: &WaitingRow, bytes: &[u8]) -> Result<(), Fault> {
        self.waiting.insert(number, codec::encode(row).as_slice())?;
        self.txn.open_table(WAITING_BYTES)?.insert(number, bytes)?;
        self.txn.open_table(WAITING_DIGESTS)?.insert((row.digest.as_bytes(), number), ())?;
        for ancestor in &row.missing {
            self.txn.open_table(WAITING_FOR)?.insert((ancestor.as_bytes(), number), ())?;
        }
        self.set_waiting_bytes(self.waiting_bytes()?.saturating_add(bytes.len() as u64))?;
        while self.waiting.len()? > MAX_WAITING || self.waiting_bytes()? > MAX_WAITING_BYTES {
            let Some(oldest) = self.waiting.first()?.map(|(number, _)| number.value()) else { break };
            self.forget_waiting(oldest)?;
        }
        Ok(())
    }

    /// A bundle has found its place, in the log or in quarantine.
    pub(super) fn waits_no_more(&mut self, digest: Digest) -> Result<(), Fault> {
        if self.waiting.is_empty()? {
            return Ok(());
        }
        let numbers: Vec<u64> = {
            let table = self.txn.open_table(WAITING_DIGESTS)?;
            let rows = table.range((digest.as_bytes(), 0)..=(digest.as_bytes(), u64::MAX))?;
            rows.map(|row| Ok(row?.0.value().1)).collect::<Result<_, Fault>>()?
        };
        numbers.into_iter().try_for_each(|number| self.forget_waiting(number))
    }

    fn forget_waiting(&mut self, number: u64) -> Result<(), Fault> {
        let row = self.waiting.remove(number)?.map(|row| decode(row.value(), "a waiting bundle")).transpose()?;
        let Some(WaitingRow { digest, missing, .. }) = row else { return Ok(()) };
        let bytes = self.txn.open_table(WAITING_BYTES)?.remove(number)?.map_or(0, |bytes| bytes.value().len());
        self.set_waiting_bytes(self.waiting_bytes()?.saturating_sub(bytes as u64))?;
        self.txn.open_table(WAITING_DIGESTS)?.remove((digest.as_bytes(), number))?;
        for ancestor in missing {
            self.txn.open_table(WAITING_FOR)?.remove((ancestor.as_bytes(), number))?;
        }
        Ok(())
    }

    fn waiting_bytes(&self) -> Result<u64, Fault> {
        let bytes = self.meta.get(META_WAITING)?.and_then(|bytes| bytes.value().try_into().ok());
        Ok(bytes.map_or(0, u64::from_le_bytes))
    }

    fn set_waiting_bytes(&mut self, bytes: u64) -> Result<(), Fault> {
        self.meta.insert(META_WAITING, bytes.to_le_bytes().as_slice())?;
        Ok(())
    }
}
