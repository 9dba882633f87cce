//! Random histories: writes, joins, cuts, restored copies and forks, in any order; then everybody meets.

use proptest::prelude::*;

use super::kit::{Net, Replica};

#[derive(Debug, Clone)]
enum Act {
    /// Somebody writes a few times at a replica: as the person of that replica, or as one whose key is everywhere.
    Writes {
        at: usize,
        times: usize,
        shared: bool,
    },
    Joins(usize, usize),
    Cuts(usize, usize),
    /// Some of what is under way arrives.
    Passes(usize),
    /// A replica crashes: all its links are cut.
    Restarts(usize),
    /// A replica is copied, to be restored later.
    BacksUp(usize),
    /// The oldest copy is put to work as one more replica, which goes on with the same keys.
    Restores,
}

fn act() -> impl Strategy<Value = Act> {
    let at = || 0_usize..8;
    prop_oneof![
        4 => (at(), 1_usize..8, any::<bool>()).prop_map(|(at, times, shared)| Act::Writes { at, times, shared }),
        4 => (at(), at()).prop_map(|(one, other)| Act::Joins(one, other)),
        2 => (at(), at()).prop_map(|(one, other)| Act::Cuts(one, other)),
        4 => (1_usize..60).prop_map(Act::Passes),
        1 => at().prop_map(Act::Restarts),
        1 => at().prop_map(Act::BacksUp),
        1 => Just(Act::Restores),
    ]
}

/// Whose key is everywhere.
const SHARED: u8 = 99;
const MOST_REPLICAS: usize = 5;

fn play(replicas: usize, seed: u64, acts: &[Act]) -> Net {
    let mut net = Net::new(replicas, seed);
    let first = net.replicas[0].bundles();
    for replica in &mut net.replicas[1..] {
        *replica = Replica::of(&first);
    }
    let mut copies = Vec::new();
    for act in acts {
        let all = net.replicas.len();
        match *act {
            Act::Writes { at, times, shared } => {
                let (at, own) = (at % all, u8::try_from(at % all).unwrap());
                for _ in 0..times {
                    net.writes_as(at, if shared { SHARED } else { own });
                }
            }
            Act::Joins(one, other) => net.joins(one % all, other % all),
            Act::Cuts(one, other) => net.cuts(one % all, other % all),
            Act::Passes(steps) => net.steps(steps),
            Act::Restarts(at) => (0..all).for_each(|other| net.cuts(at % all, other)),
            Act::BacksUp(at) => copies.push(net.replicas[at % all].copied()),
            Act::Restores if !copies.is_empty() && all < MOST_REPLICAS => net.replicas.push(copies.remove(0)),
            Act::Restores => {}
        }
    }
    net
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_everybody_ends_with_everything(
        replicas in 2_usize..5,
        seed in any::<u64>(),
        acts in proptest::collection::vec(act(), 0..40),
    ) {
        let mut net = play(replicas, seed, &acts);
        net.everyone_joins();
        net.meets();
        net.agrees();
        prop_assert!(net.replicas.iter().all(|replica| replica.early.is_empty()), "parents first");
    }

    /// Through one, or along a line: what nobody gets directly is passed on.
    #[test]
    fn a_line_is_enough(replicas in 2_usize..5, seed in any::<u64>(), acts in proptest::collection::vec(act(), 0..30)) {
        let mut net = play(replicas, seed, &acts);
        let all = net.replicas.len();
        for one in 0..all {
            (one + 2..all).for_each(|other| net.cuts(one, other));
        }
        (1..all).for_each(|at| net.joins(at - 1, at));
        net.meets();
        net.agrees();
    }
}
