//! The end of the log as it was written a moment ago: several rooms follow the log, and so read and check it once, not
//! once for each.
//!
//! Only what is durable is here (I-1). It is the very bundles that were judged, so whoever makes sure of what lies on
//! the disk does not look here.

use std::collections::VecDeque;
use std::sync::Arc;

use openprod_model::ids::Position;

use crate::logic::batch::{Batch, Change, Staged};

/// Most bundles that are kept: what two peers may have given before the first of it is folded, and as many that those
/// who follow the state are behind.
pub const MAX_RECENT: usize = 8_192;
/// Most bytes of bundles, of which one largest is kept whatever its size. Read, they take a few times as much.
pub const MAX_RECENT_BYTES: usize = 8 * 1024 * 1024;

/// See the module. The positions have no gaps.
#[derive(Debug, Default)]
pub(super) struct Recent {
    written: VecDeque<Arc<Staged>>,
    bytes: usize,
}

impl Recent {
    /// A batch is durable.
    pub(super) fn hears(&mut self, batch: &Batch) {
        for change in &batch.changes {
            match change {
                Change::Append(staged) => self.push(Arc::clone(staged)),
                // The good copy may be another one than the one that was here.
                Change::Replace { .. } => *self = Self::default(),
                _ => {}
            }
        }
        while self.written.len() > MAX_RECENT || (self.bytes > MAX_RECENT_BYTES && self.written.len() > 1) {
            self.bytes -= self.written.pop_front().map_or(0, |first| first.bundle.bytes().len());
        }
    }

    fn push(&mut self, staged: Arc<Staged>) {
        // Of a commit whose writer died behind it, nothing was heard.
        if self.written.back().is_some_and(|last| last.position.next() != staged.position) {
            *self = Self::default();
        }
        self.bytes += staged.bundle.bytes().len();
        self.written.push_back(staged);
    }

    /// Those from a position on, at most `limit`; none if that position is not here.
    pub(super) fn from(&self, from: Position, limit: usize) -> Vec<Arc<Staged>> {
        let first = self.written.front().and_then(|first| from.0.checked_sub(first.position.0));
        let Some(first) = first.and_then(|first| usize::try_from(first).ok()) else { return Vec::new() };
        self.written.iter().skip(first).take(limit).cloned().collect()
    }

    /// The one at a position.
    pub(super) fn at(&self, at: Position) -> Option<Arc<Staged>> {
        self.from(at, 1).pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::batch::Staged;
    use crate::logic::members::SetId;
    use crate::tables::{End, LaneRow};
    use crate::tests::kit::{Knowledge, person};
    use openprod_messages::log::{CHAIN_START, Entry};
    use openprod_model::bundle::Bundle;
    use openprod_model::ids::Digest;

    fn staged(bundle: &Arc<Bundle>, at: u64) -> Arc<Staged> {
        let (position, hlc) = (Position(at), bundle.header().hlc);
        Arc::new(Staged {
            position,
            entry: Entry::of(bundle, CHAIN_START, None, 0),
            bundle: Arc::clone(bundle),
            ancestors: Vec::new(),
            prev: None,
            lane: LaneRow { number: 0, first: position, from: None, hlc, at: position },
            members: SetId::EMPTY,
            new_set: None,
            member_ops: Vec::new(),
            receipt: None,
        })
    }

    fn batch(changes: Vec<Change>) -> Batch {
        Batch { base: End::EMPTY, changes, end: End::EMPTY, now_ms: 0 }
    }

    fn positions(recent: &Recent, from: u64) -> Vec<u64> {
        recent.from(Position(from), 3).iter().map(|staged| staged.position.0).collect()
    }

    fn with(positions: impl Iterator<Item = u64>, bundle: &Arc<Bundle>) -> Recent {
        let mut recent = Recent::default();
        recent.hears(&batch(positions.map(|at| Change::Append(staged(bundle, at))).collect()));
        recent
    }

    fn bundle() -> Arc<Bundle> {
        Arc::new(Knowledge::default().bootstrap(&person("Mara")))
    }

    #[test]
    fn it_gives_what_lies_behind_a_position_that_is_here() {
        let recent = with(5..=8, &bundle());
        assert_eq!([4, 5, 7, 9].map(|from| positions(&recent, from)), [vec![], vec![5, 6, 7], vec![7, 8], vec![]]);
        assert_eq!(recent.at(Position(6)).map(|staged| staged.position), Some(Position(6)));
        assert!(positions(&Recent::default(), 1).is_empty());
    }

    #[test]
    fn it_keeps_no_more_than_it_may_and_the_last_of_it() {
        let bundle = bundle();
        let most = MAX_RECENT as u64;
        let recent = with(1..=most + 10, &bundle);
        assert_eq!((recent.written.len(), recent.bytes), (MAX_RECENT, MAX_RECENT * bundle.bytes().len()));
        assert!(positions(&recent, 10).is_empty() && !positions(&recent, 11).is_empty());
    }

    #[test]
    fn behind_a_gap_and_behind_a_good_copy_it_begins_anew() {
        let bundle = bundle();
        let mut recent = with([1, 2, 4].into_iter(), &bundle);
        assert_eq!([1, 4].map(|from| positions(&recent, from)), [vec![], vec![4]]);
        let (position, digest) = (Position(4), Digest::from_bytes([1; 32]));
        recent.hears(&batch(vec![Change::Replace { position, digest, bytes: Arc::clone(bundle.bytes()) }]));
        assert!(recent.at(position).is_none() && recent.bytes == 0);
    }
}
