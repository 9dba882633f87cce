//! Who shows wrong tokens: after a few, an address is only told to wait, and the log is told once.
//!
//! A token has 256 random bits and is not guessed; this bounds what guessing costs the node. A right token is let in
//! from any address, so that nobody is shut out by a neighbour or by an old tablet that goes on trying.

use std::collections::HashMap;
use std::net::IpAddr;

/// How many wrong tokens an address may show before it is told to wait.
const TRIES: u32 = 20;
/// In how many milliseconds, and for how many.
const WINDOW_MS: u64 = 60_000;
/// Addresses remembered at once; when there are more, all are forgotten, which costs a warning or two.
const MAX_ADDRESSES: usize = 4_096;

/// What to do about a wrong token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say what is needed.
    Explain,
    /// Tell it to wait, and the log that this begins.
    Report,
    /// Tell it to wait.
    Wait,
}

/// The wrong tokens of the last minute.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: HashMap<IpAddr, Tally>,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    since_ms: u64,
    count: u32,
}

impl Strangers {
    /// A wrong token was shown from there.
    pub(super) fn err(&mut self, from: IpAddr, now_ms: u64) -> Verdict {
        let from = network(from);
        if self.seen.len() >= MAX_ADDRESSES && !self.seen.contains_key(&from) {
            self.seen.clear();
        }
        let tally = self.seen.entry(from).or_insert(Tally { since_ms: now_ms, count: 0 });
        if now_ms.saturating_sub(tally.since_ms) >= WINDOW_MS {
            *tally = Tally { since_ms: now_ms, count: 0 };
        }
        tally.count = tally.count.saturating_add(1);
        match tally.count {
            0..=TRIES => Verdict::Explain,
            count if count == TRIES + 1 => Verdict::Report,
            _ => Verdict::Wait,
        }
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(strangers: &mut Strangers, from: &str, times: u32, now_ms: u64) -> Vec<Verdict> {
        (0..times).map(|_| strangers.err(from.parse().unwrap(), now_ms)).collect()
    }

    #[test]
    fn after_a_few_wrong_tokens_an_address_waits_and_the_others_do_not() {
        let mut strangers = Strangers::default();
        assert!(verdicts(&mut strangers, "10.0.0.9", TRIES, 5).iter().all(|v| *v == Verdict::Explain));
        assert_eq!(verdicts(&mut strangers, "10.0.0.9", 2, 6), [Verdict::Report, Verdict::Wait]);
        assert_eq!(verdicts(&mut strangers, "10.0.0.8", 1, 6), [Verdict::Explain]);
        assert_eq!(verdicts(&mut strangers, "10.0.0.9", 1, 5 + WINDOW_MS), [Verdict::Explain]);
    }

    #[test]
    fn a_whole_network_of_addresses_counts_as_one_and_none_grows_without_bound() {
        let mut strangers = Strangers::default();
        for last in 0..TRIES {
            strangers.err(format!("fd00::{last:x}").parse().unwrap(), 0);
        }
        assert_eq!(verdicts(&mut strangers, "fd00::ffff", 1, 0), [Verdict::Report]);
        for number in 0..=u32::try_from(MAX_ADDRESSES).unwrap() {
            strangers.err(IpAddr::V4(number.into()), 0);
        }
        assert!(strangers.seen.len() <= MAX_ADDRESSES);
    }
}
