//! The crowd at the door: how many strangers are heard at a time, and how often one address may try.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most admission streams at a time, over all workspaces of a node.
pub const MAX_AT_ONCE: usize = 64;
/// Most of them from one address: a crew behind one router, not a flood.
pub const MAX_FROM_ONE: usize = 20;
/// Most tries from one address within [`WINDOW_MS`]: each costs a signature's verification.
pub const MAX_TRIES: u32 = 60;
/// The time in which tries are counted.
pub const WINDOW_MS: u64 = 60 * 1000;
/// Most addresses whose tries are counted; beyond, the ones that tried longest ago are forgotten.
const MAX_COUNTED: usize = 4096;

#[derive(Debug, Clone, Copy, Default)]
struct Visitor {
    inside: usize,
    tries: u32,
    since_ms: u64,
}

/// Who is at the door. Its memory is bounded whatever comes.
#[derive(Debug, Default)]
pub struct Crowd {
    visitors: BTreeMap<IpAddr, Visitor>,
    inside: usize,
}

/// Too many are there already; nothing is said to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many ask to be admitted")]
pub struct TooMany;

impl Crowd {
    /// One more stream from `address`, until [`Self::leave`].
    pub fn enter(&mut self, address: IpAddr, now_ms: u64) -> Result<(), TooMany> {
        let address = address.to_canonical();
        if self.inside >= MAX_AT_ONCE || !self.has_room_to_count(address, now_ms) {
            return Err(TooMany);
        }
        let visitor = self.visitors.entry(address).or_default();
        if visitor.tries == 0 || now_ms.saturating_sub(visitor.since_ms) >= WINDOW_MS {
            (visitor.tries, visitor.since_ms) = (0, now_ms);
        }
        if visitor.inside >= MAX_FROM_ONE || visitor.tries >= MAX_TRIES {
            return Err(TooMany);
        }
        visitor.inside += 1;
        visitor.tries += 1;
        self.inside += 1;
        Ok(())
    }

    /// A stream from `address` has ended.
    pub fn leave(&mut self, address: IpAddr) {
        let visitor = self.visitors.get_mut(&address.to_canonical()).filter(|visitor| visitor.inside > 0);
        if let Some(visitor) = visitor {
            visitor.inside -= 1;
            self.inside -= 1;
        }
    }

    fn has_room_to_count(&mut self, address: IpAddr, now_ms: u64) -> bool {
        if self.visitors.len() >= MAX_COUNTED && !self.visitors.contains_key(&address) {
            self.visitors.retain(|_, one| one.inside > 0 || now_ms.saturating_sub(one.since_ms) < WINDOW_MS);
        }
        self.visitors.len() < MAX_COUNTED || self.visitors.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn one_address_has_its_share_and_no_more() {
        let mut crowd = Crowd::default();
        let mapped = IpAddr::V6(std::net::Ipv4Addr::from(7).to_ipv6_mapped());
        (0..MAX_FROM_ONE).for_each(|_| crowd.enter(address(7), 0).unwrap());
        assert_eq!((crowd.enter(address(7), 0), crowd.enter(mapped, 0)), (Err(TooMany), Err(TooMany)));
        assert!(crowd.enter(address(8), 0).is_ok(), "others are not disturbed");
    }

    #[test]
    fn who_tries_too_often_waits_for_the_next_minute() {
        let mut crowd = Crowd::default();
        for _ in 0..MAX_TRIES {
            crowd.enter(address(7), 5).unwrap();
            crowd.leave(address(7));
        }
        assert_eq!(crowd.enter(address(7), WINDOW_MS + 4), Err(TooMany));
        assert!(crowd.enter(address(7), WINDOW_MS + 5).is_ok());
    }

    #[test]
    fn ten_thousand_strangers_take_no_more_room_than_a_few() {
        let mut crowd = Crowd::default();
        let let_in = (0..10_000).filter(|n| crowd.enter(address(*n), 0).is_ok()).count();
        assert_eq!(let_in, MAX_AT_ONCE);
        (0..10_000).for_each(|n| crowd.leave(address(n)));
        for n in 0..10_000 {
            if crowd.enter(address(n), 1).is_ok() {
                crowd.leave(address(n));
            }
        }
        assert!(crowd.visitors.len() <= MAX_COUNTED);
        assert!(crowd.enter(address(9_999), 2 * WINDOW_MS).is_ok(), "and the next ones are heard");
    }
}
