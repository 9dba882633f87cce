//! What a browser's editor sends, checked before it becomes an op.

use yrs::{ReadTxn, Transact};

use super::ledger::Verdict;
use super::scan::{Flaw, Scanned, Span, scan};
use super::write::updates;
use super::{ClientId, Document};

/// Most bytes of what a client sends at once: 1 MiB, as much as a text value may have. It is divided into updates.
pub const MAX_RAW_BYTES: usize = 1024 * 1024;

/// Why a client's update is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It can never be part of this field.
    #[error("The update was not taken: {0}.")]
    Flawed(#[from] Flaw),
    /// It writes as somebody else.
    #[error("The update was not taken: it holds new writing of client {found}, not of {declared} only.")]
    AnotherClient {
        /// Whose writing it is.
        found: u64,
        /// Whose it should be.
        declared: u64,
    },
}

impl Document {
    /// The updates for the log that `raw`, sent by `client`, amounts to here and now: without what is known already
    /// (an editor that connects again sends all its deletions), none if nothing remains.
    pub fn admit(&self, client: ClientId, raw: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
        if raw.len() > MAX_RAW_BYTES {
            return Err(Flaw::TooLong(raw.len()).into());
        }
        let sent = scan(raw, self.kind())?;
        let mut new = self.ledger.unknown_part(sent).ok_or(Flaw::DividesLetter)?;
        let stranger = new.runs.iter().map(|run| run.client).find(|found| *found != client.0);
        if let Some(found) = stranger {
            return Err(Refused::AnotherClient { found, declared: client.0 });
        }
        self.forget_known_deletes(&mut new);
        match self.ledger.judge(&new) {
            Verdict::Fits => Ok(updates(self.kind(), new)),
            Verdict::Waits(_) | Verdict::Overlaps => Err(Flaw::Waiting.into()),
            Verdict::Flawed(flaw) => Err(flaw.into()),
        }
    }

    /// Takes out of `update` the deletions of what is deleted: undo would otherwise bring all of it back.
    fn forget_known_deletes(&self, update: &mut Scanned<'_>) {
        if !update.deletes.is_empty() {
            let snapshot = self.yrs.doc.transact().snapshot();
            let mut gone = Vec::new();
            for (client, ranges) in snapshot.delete_set.iter() {
                let client = client.get();
                gone.extend(ranges.iter().map(|range| Span { client, start: range.start, end: range.end }));
            }
            update.deletes = without(&update.deletes, &gone);
        }
    }
}

/// The units of `spans` that are not in `taken`. Both are in order and apart.
pub(super) fn without(spans: &[Span], taken: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    for span in spans {
        let from = taken.partition_point(|other| (other.client, other.end) <= (span.client, span.start));
        let hits = taken[from..].iter().take_while(|other| (other.client, other.start) < (span.client, span.end));
        let mut start = span.start;
        for hit in hits {
            left.extend((hit.start > start).then_some(Span { start, end: hit.start, ..*span }));
            start = start.max(hit.end);
        }
        left.extend((start < span.end).then_some(Span { start, ..*span }));
    }
    left
}
