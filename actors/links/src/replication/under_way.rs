//! Under way: what the conversations about one workspace know of each other, so that what one of them fetches, another
//! does not.
//!
//! A bundle that was handed to the oplog is *in hand* until it is known what became of it. Before that, a conversation
//! *claims*: where its peer tells of tips that are not here, it claims their actors' histories, unless another one has.
//! What is claimed by another, the peer is told to offer instead of giving it. An offer is answered when the claims
//! before it are settled, and then most of it is here. So a backlog is fetched from the first peer that has it, and from
//! the next if that one goes away.
//!
//! Claims are numbered, and a conversation that claims waits for those before its own only: nobody waits in a circle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openprod_model::ids::{ActorId, Digest};

/// What the conversations about one workspace have under way. Cheap to clone: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    in_hand: BTreeMap<Digest, usize>,
    /// The tips that are awaited, and whose they are, by the number of the claim.
    claims: BTreeMap<u64, BTreeMap<Digest, ActorId>>,
    claimed: u64,
}

impl UnderWay {
    /// Whether a bundle is in somebody's hand.
    pub fn holds(&self, digest: Digest) -> bool {
        self.all().in_hand.contains_key(&digest)
    }

    /// These are taken in hand, until what is given back is dropped.
    pub fn take(&self, mut digests: Vec<Digest>) -> InHand {
        digests.sort_unstable();
        for digest in &digests {
            *self.all().in_hand.entry(*digest).or_default() += 1;
        }
        InHand { digests, of: self.clone() }
    }

    /// A claim of nothing yet, behind all others.
    pub fn claim(&self) -> Claim {
        let mut all = self.all();
        all.claimed += 1;
        Claim { number: all.claimed, of: self.clone() }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bundles in hand.
#[derive(Debug)]
pub struct InHand {
    /// Ascending.
    digests: Vec<Digest>,
    of: UnderWay,
}

impl InHand {
    /// Whether a bundle is among them.
    pub fn has(&self, digest: Digest) -> bool {
        self.digests.binary_search(&digest).is_ok()
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut all = self.of.all();
        for digest in &self.digests {
            if let Some(times) = all.in_hand.get_mut(digest) {
                *times -= 1;
            }
        }
        all.in_hand.retain(|_, times| *times > 0);
    }
}

/// What a conversation fetches for all. Dropped, it claims nothing any more.
#[derive(Debug)]
pub struct Claim {
    number: u64,
    of: UnderWay,
}

impl Claim {
    /// Claims the history of an actor up to a tip that is not here; not if another conversation claims of it.
    pub fn takes(&self, actor: ActorId, tip: Digest) -> bool {
        let mut all = self.of.all();
        let mut others = all.claims.iter().filter(|(number, _)| **number != self.number);
        let is_free = !others.any(|(_, tips)| tips.values().any(|claimed| *claimed == actor));
        if is_free {
            all.claims.entry(self.number).or_default().insert(tip, actor);
        }
        is_free
    }

    /// The tips that have not come yet.
    pub fn awaited(&self) -> Vec<Digest> {
        self.of.all().claims.get(&self.number).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// These have come.
    pub fn settles(&self, come: impl IntoIterator<Item = Digest>) {
        let mut all = self.of.all();
        let Some(tips) = all.claims.get_mut(&self.number) else { return };
        for digest in come {
            tips.remove(&digest);
        }
        if tips.is_empty() {
            all.claims.remove(&self.number);
        }
    }

    /// Claims nothing any more.
    pub fn gives_up(&self) {
        self.of.all().claims.remove(&self.number);
    }

    /// Whether there are claims to be waited for: those before this one, or all if this one claims nothing.
    pub fn waits(&self) -> bool {
        let all = self.of.all();
        let before = if all.claims.contains_key(&self.number) { self.number } else { u64::MAX };
        all.claims.range(..before).next().is_some()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.gives_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARA: ActorId = ActorId::from_bytes([1; 32]);
    const LEO: ActorId = ActorId::from_bytes([2; 32]);

    fn tip(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn a_history_is_claimed_by_the_first_who_learns_of_it_and_then_by_the_next() {
        let all = UnderWay::default();
        let (first, second) = (all.claim(), all.claim());
        assert!(first.takes(MARA, tip(1)));
        assert!(first.takes(MARA, tip(2)));
        assert!(!second.takes(MARA, tip(1)));
        assert!(second.takes(LEO, tip(3)));
        first.settles([tip(1)]);
        assert_eq!(first.awaited(), [tip(2)]);
        assert!(!second.takes(MARA, tip(1)));
        drop(first);
        assert!(second.takes(MARA, tip(1)));
    }

    #[test]
    fn nobody_waits_in_a_circle() {
        let all = UnderWay::default();
        let (first, second, third) = (all.claim(), all.claim(), all.claim());
        assert!(!first.waits());
        first.takes(MARA, tip(1));
        second.takes(LEO, tip(2));
        assert_eq!([first.waits(), second.waits(), third.waits()], [false, true, true]);
        first.settles([tip(1)]);
        assert_eq!([first.waits(), second.waits(), third.waits()], [true, false, true]);
        second.gives_up();
        assert_eq!([first.waits(), second.waits(), third.waits()], [false; 3]);
    }

    #[test]
    fn what_is_in_hand_is_so_until_everybody_has_put_it_down() {
        let all = UnderWay::default();
        let (one, other) = (all.take(vec![tip(2), tip(1)]), all.take(vec![tip(2)]));
        assert!(one.has(tip(1)) && all.holds(tip(1)) && all.holds(tip(2)));
        drop(one);
        assert!(!all.holds(tip(1)) && all.holds(tip(2)));
        drop(other);
        assert!(!all.holds(tip(2)));
    }
}
