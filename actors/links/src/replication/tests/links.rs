//! Single links: catching up, going on after a cut, large bundles, relaying, refusing, and what a comparison tells.

use std::collections::BTreeMap;

use openprod_messages::log::LogReader;
use openprod_wire::replication::{Goodbye, MAX_CHECKPOINT_BUNDLES, MAX_FRAME_BYTES, Reason};

use super::kit::{Net, Replica};
use crate::replication::engine::{Ending, Event, Progress, Report};
use crate::replication::giving::MAX_FLIGHTS;

fn with_history(replicas: usize, bundles: usize) -> Net {
    let mut net = Net::new(replicas, 1);
    net.writes_often(0, bundles - 1);
    net
}

#[test]
fn an_empty_replica_gets_everything_and_both_say_so() {
    let mut net = with_history(2, 700);
    net.joins(0, 1);
    net.meets();
    net.agrees();
    assert!(net.replicas[1].handed.values().all(|times| *times == 1), "each once");
    let told = net.end(1, 0).reports.iter().rev().find_map(|report| match report {
        Report::Progress(progress) => Some(*progress),
        _ => None,
    });
    assert_eq!(told.unwrap(), Progress { given: 0, to_give: 0, taken: 700, to_take: 0 });
}

#[test]
fn both_directions_at_once_and_nothing_that_the_other_has() {
    let mut net = with_history(2, 50);
    net.replicas[1] = net.replicas[0].copied();
    for _ in 0..300 {
        net.writes(0);
        net.writes(1);
    }
    net.joins(0, 1);
    net.meets();
    net.agrees();
    assert_eq!((net.replicas[0].handed.len(), net.replicas[1].handed.len()), (300, 300));
}

#[test]
fn memory_is_bounded_however_long_the_backlog() {
    let mut net = with_history(2, 30);
    for _ in 0..40 {
        net.writes_large(0, 300_000);
    }
    net.joins(0, 1);
    net.meets();
    net.agrees();
    let most = net.end(1, 0).most_under_way;
    assert!(most <= (MAX_FLIGHTS + 1) * MAX_FRAME_BYTES, "{most} bytes were under way");
}

#[test]
fn a_cut_link_goes_on_after_the_last_acknowledged_checkpoint() {
    let mut net = with_history(2, 800);
    for _ in 0..40 {
        net.joins(0, 1);
        net.steps(30);
        net.cuts(0, 1);
    }
    net.joins(0, 1);
    net.meets();
    net.agrees();
    let handed: usize = net.replicas[1].handed.values().sum();
    assert!(handed <= 800 + 40 * MAX_FLIGHTS * MAX_CHECKPOINT_BUNDLES);
    let again = net.replicas[1].handed.values().filter(|times| **times > 1).count();
    assert_eq!(again, 0, "what was admitted is not given again");
}

#[test]
fn a_backlog_comes_from_one_peer_though_four_have_it() {
    let mut net = with_history(5, 900);
    for at in 1..4 {
        net.replicas[at] = net.replicas[0].copied();
    }
    (0..4).for_each(|at| net.joins(at, 4));
    net.meets();
    net.agrees();
    assert!(net.replicas[4].handed.values().all(|times| *times == 1), "each once");
}

#[test]
fn a_backlog_goes_on_from_the_next_peer_when_the_first_goes_away() {
    let mut net = with_history(3, 1_000);
    net.replicas[1] = net.replicas[0].copied();
    net.joins(0, 2);
    net.joins(1, 2);
    while net.replicas[2].log.end().0 < 300 {
        net.step();
    }
    net.cuts(0, 2);
    net.meets();
    assert_eq!(net.replicas[2].digests(), net.written);
}

#[test]
fn a_peer_that_does_not_give_what_it_has_is_not_waited_for() {
    let mut net = with_history(3, 600);
    net.replicas[1] = net.replicas[0].copied();
    net.joins(0, 2);
    // It tells what it has, and is not heard of again.
    while !net.replicas[2].under_way.claim().waits() {
        net.step();
    }
    net.falls_silent(0);
    net.joins(1, 2);
    net.settles();
    assert_eq!(net.replicas[2].log.end().0, 0, "it is waited for");
    net.everywhere(|| Event::Tick);
    assert_eq!(net.replicas[2].digests(), net.written);
}

#[test]
fn three_parts_that_meet_at_once_wait_for_each_other_in_no_circle() {
    let mut net = Net::new(6, 7);
    net.everyone_joins();
    net.meets();
    (0..6).for_each(|one| (0..one).for_each(|other| net.cuts(one, other)));
    for (one, other) in [(0, 1), (2, 3), (4, 5)] {
        net.joins(one, other);
        net.writes_often(one, 100);
        net.writes_often(other, 100);
        net.settles();
    }
    net.replicas.iter_mut().for_each(|replica| replica.handed = BTreeMap::new());
    for one in 0..6 {
        (0..one).filter(|other| one / 2 != other / 2).for_each(|other| net.joins(one, other));
    }
    net.meets();
    net.meets();
    net.agrees();
    for replica in &net.replicas {
        let handed: usize = replica.handed.values().sum();
        assert!(handed <= 400 + 400 / 2, "{handed} for 400");
    }
}

#[test]
fn a_large_bundle_comes_in_parts_and_is_invisible_until_whole() {
    let mut net = with_history(2, 3);
    net.joins(0, 1);
    net.meets();
    let large = net.writes_large(0, 5_000_000);
    net.writes(0);
    let mut seen_before = false;
    while net.step() {
        let holds = net.replicas[1].log.position_of(large).unwrap().is_some();
        seen_before |= !holds && net.replicas[1].log.end().0 > 3;
    }
    assert!(!seen_before, "nothing of what builds on it came before it");
    net.meets();
    net.agrees();
}

#[test]
fn edits_arrive_at_once_and_through_others() {
    let mut net = with_history(4, 2);
    (0..3).for_each(|at| net.joins(at, at + 1));
    net.meets();
    for at in [0, 3, 1, 2, 0, 0, 3] {
        net.writes(at);
        net.settles();
        assert!(net.replicas.iter().all(|replica| replica.digests() == net.written), "after a write at {at}");
    }
    net.meets();
    net.agrees();
}

#[test]
fn what_is_given_at_once_waits_for_what_was_offered_before_it() {
    let mut net = with_history(3, 2);
    net.joins(1, 2);
    net.joins(0, 1);
    net.meets();
    // The first is another's, and is offered; the second builds on it, and would be given at once.
    net.writes_as(1, 0);
    net.writes(1);
    net.meets();
    net.agrees();
    assert!(net.replicas.iter().all(|replica| replica.early.is_empty()), "parents first");
}

#[test]
fn what_one_conversation_could_not_have_admitted_another_is_asked_for() {
    let mut net = with_history(3, 2);
    net.joins(0, 2);
    net.joins(1, 2);
    net.meets();
    let fresh = net.writes(0);
    while !net.replicas[2].under_way.holds(fresh) {
        net.step();
    }
    net.fails_to_admit(0, 2);
    net.joins(0, 1);
    net.meets();
    assert_eq!(net.replicas[2].digests(), net.written);
}

#[test]
fn in_a_full_mesh_hardly_anything_is_given_twice() {
    let mut net = with_history(5, 2);
    net.everyone_joins();
    net.meets();
    net.replicas.iter_mut().for_each(|replica| replica.handed = BTreeMap::new());
    for at in 0..5 {
        net.writes(at);
        net.settles_fairly();
    }
    net.meets();
    net.agrees();
    for replica in &net.replicas {
        let handed: usize = replica.handed.values().sum();
        assert_eq!(replica.handed.len(), 4);
        assert!(handed <= 5, "{:?}", replica.handed);
    }
}

#[test]
fn what_a_peer_refuses_is_no_riddle_and_what_builds_on_it_comes_when_it_is_taken() {
    let mut net = with_history(2, 3);
    net.joins(0, 1);
    let bad = net.writes(0);
    net.replicas[1].refuses.insert(bad);
    net.writes_often(0, 5);
    net.meets();
    (0..6).for_each(|_| net.everywhere(|| Event::Tick));
    assert_eq!(net.replicas[1].digests().len(), 3);
    let told = |net: &Net| net.end(0, 1).reports.iter().any(|report| matches!(report, Report::Unexplained { .. }));
    assert!(!told(&net) && net.end(0, 1).synced() != net.end(1, 0).synced().or(Some(bad)));
    net.replicas[1].refuses.clear();
    net.cuts(0, 1);
    net.joins(0, 1);
    net.meets();
    net.agrees();
}

#[test]
fn a_difference_that_nothing_explains_is_found_and_counted() {
    let mut net = with_history(2, 40);
    net.joins(0, 1);
    net.meets();
    // Behind everybody's back, each loses its newest.
    let (ours, theirs) = (net.writes(0), net.writes(1));
    net.meets();
    for (at, lost) in [(0, theirs), (1, ours)] {
        let kept: Vec<_> = net.replicas[at].bundles().into_iter().filter(|bundle| bundle.digest() != lost).collect();
        net.replicas[at] = Replica::of(&kept);
    }
    (0..8).for_each(|_| net.everywhere(|| Event::Tick));
    assert!(net.replicas.iter().all(|replica| replica.digests() == net.written));
    assert!(net.end(0, 1).reports.contains(&Report::Unexplained { ours: 1, theirs: 1 }));
}

#[test]
fn states_that_differ_over_equal_logs_are_an_alarm_that_names_the_cell() {
    let mut net = with_history(2, 60);
    net.joins(0, 1);
    net.settles();
    let cell = net.writes(0).as_bytes().to_vec();
    net.replicas[1].wrong = Some(cell.clone());
    net.meets();
    for (one, other) in [(0, 1), (1, 0)] {
        let last = net.end(one, other).reports.last().unwrap();
        assert!(matches!(last, Report::Diverged { cells, .. } if *cells == vec![cell.clone()]), "{last:?}");
    }
    // Right again at the next heads.
    net.replicas[1].wrong = None;
    net.writes(1);
    net.meets();
    assert!(net.end(0, 1).synced().is_some() && net.end(1, 0).synced().is_some());
}

#[test]
fn a_forked_history_is_found_from_both_sides_without_giving_it_all_again() {
    let mut net = with_history(2, 400);
    net.replicas[1] = net.replicas[0].copied();
    for _ in 0..20 {
        net.writes_as(0, 0);
        net.writes_as(1, 0);
        net.writes_as(1, 9);
    }
    net.joins(0, 1);
    net.meets();
    net.agrees();
    assert_eq!((net.replicas[0].handed.len(), net.replicas[1].handed.len()), (40, 20), "only what differs");
    // Known forks are no forks any more: the lanes tell.
    net.cuts(0, 1);
    net.replicas.iter_mut().for_each(|replica| replica.handed = BTreeMap::new());
    net.writes_as(0, 0);
    net.joins(0, 1);
    net.meets();
    net.agrees();
    assert_eq!(net.replicas[1].handed.len(), 1);
}

#[test]
fn words_of_the_moment_travel_beside_and_goodbye_ends_it_for_both() {
    let mut net = with_history(2, 2);
    net.joins(0, 1);
    net.event((0, 1), 0, Event::Say(b"typing".to_vec()));
    net.settles();
    assert_eq!(net.end(1, 0).heard, vec![b"typing".to_vec()]);
    let goodbye = Goodbye::new(Reason::CLOSING, "The node is closing.");
    net.event((0, 1), 1, Event::Leave(goodbye.clone()));
    net.settles();
    assert_eq!(net.end(0, 1).ending, Some(Ending::Theirs(goodbye.clone())));
    assert_eq!(net.end(1, 0).ending, Some(Ending::Ours(goodbye)));
}

#[test]
fn kinds_of_newer_versions_are_passed_over() {
    let mut net = with_history(2, 2);
    net.joins(0, 1);
    net.event((0, 1), 1, Event::Received([&0x90_u32.to_le_bytes()[..], b"later"].concat()));
    net.meets();
    net.agrees();
}
