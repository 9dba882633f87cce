//! Files: which of them are no longer wanted.

use openprod_model::ids::BlobHash;
use openprod_model::operation::Operation;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;

use super::{Decision, Planner};
use crate::asset;
use crate::cell::Cell;

/// Longest reason in bytes: it is shown wherever the file would be.
const MAX_REASON_BYTES: usize = 1_000;

impl Planner<'_> {
    pub(super) fn delete_asset(&mut self, hash: BlobHash, reason: &Text) -> Decision<()> {
        let text = reason.as_str();
        if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > MAX_REASON_BYTES {
            let message = format!("Deleting a file needs a reason: one line of at most {MAX_REASON_BYTES} bytes.");
            return Err(Refusal::new(Reason::InvalidValue, message).at("reason").into());
        }
        if asset::deletion(&self.view(), hash)?.is_some() {
            let message = format!("File {} is deleted already.", hash.short());
            return Err(Refusal::new(Reason::InvalidRequest, message).at("hash").into());
        }
        let basis = self.basis(&Cell::Asset { hash })?;
        self.push(Operation::DeleteAsset { hash, reason: reason.clone(), basis })
    }

    pub(super) fn restore_asset(&mut self, hash: BlobHash) -> Decision<()> {
        if asset::deletion(&self.view(), hash)?.is_none() {
            let message = format!("File {} is not deleted.", hash.short());
            return Err(Refusal::new(Reason::InvalidRequest, message).at("hash").into());
        }
        let basis = self.basis(&Cell::Asset { hash })?;
        self.push(Operation::RestoreAsset { hash, basis })
    }
}
