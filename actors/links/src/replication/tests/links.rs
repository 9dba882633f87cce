//! Single links: catching up, going on after a cut, large bundles, relaying, refusing, and what a comparison tells.

use std::collections::BTreeMap;

use openprod_messages::log::LogReader;
use openprod_wire::replication::{Goodbye, MAX_CHECKPOINT_BUNDLES, MAX_FRAME_BYTES, Reason, Want};

use super::kit::{Net, Replica};
use crate::replication::engine::{Ending, Event, Holds, Progress, Report, Stretch};
use crate::replication::giving::{MAX_FLIGHT_BYTES, MAX_FLIGHTS};

fn with_history(replicas: usize, bundles: usize) -> Net {
    let mut net = Net::new(replicas, 1);
    net.writes_often(0, bundles - 1);
    net
}

/// More than may be under way at a time.
fn with_a_backlog() -> Net {
    let mut net = with_history(2, 30);
    for _ in 0..40 {
        net.writes_large(0, 300_000);
    }
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
    let done_bytes = net.replicas[0].bundles().iter().map(|bundle| bundle.bytes().len() as u64).sum();
    let taking = Stretch { done: 700, done_bytes, left: 0 };
    assert_eq!(told.unwrap(), Progress { taking, ..Progress::default() });
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
    let mut net = with_a_backlog();
    net.joins(0, 1);
    net.meets();
    net.agrees();
    let most = net.end(1, 0).most_under_way;
    assert!(most <= MAX_FLIGHT_BYTES + 2 * MAX_FRAME_BYTES, "{most} bytes were under way");
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
fn how_much_is_left_is_known_as_soon_as_the_first_has_come() {
    let mut net = with_history(2, 700);
    net.joins(0, 1);
    net.meets();
    let progress = |report: &Report| match report {
        Report::Progress(progress) => Some((progress.giving, progress.taking)),
        _ => None,
    };
    let total = |stretch: Stretch| stretch.done + stretch.left;
    for (gave, _) in net.end(0, 1).reports.iter().filter_map(progress) {
        assert_eq!(total(gave), 700);
    }
    for (_, took) in net.end(1, 0).reports.iter().filter_map(progress).filter(|(_, took)| total(*took) > 0) {
        assert_eq!(total(took), 700);
        assert_eq!(took.left_bytes().is_some(), took.done > 0, "an estimate needs something to go by");
        let all = took.done_bytes + took.left_bytes().unwrap_or_default();
        assert!(took.done == 0 || (700 * 200..700 * 2_000).contains(&all), "{took:?}");
    }
}

#[test]
fn a_paused_catch_up_keeps_what_came_and_goes_on_where_it_stopped() {
    for paused_at in [0, 1] {
        let mut net = with_a_backlog();
        let all = net.replicas[0].digests().len();
        net.joins(0, 1);
        while net.replicas[1].log.end().0 < 35 {
            net.step();
        }
        net.event((0, 1), paused_at, Event::Held { on: true });
        net.settles();
        let came = net.replicas[1].digests();
        assert!(came.len() < all);
        let (first, second) = (net.writes(0), net.writes(1));
        net.everywhere(|| Event::Pause);
        net.everywhere(|| Event::Tick);
        assert!(net.replicas[1].digests().is_superset(&came) && net.replicas[1].digests().len() == came.len() + 1);
        assert!(!net.replicas[0].digests().contains(&second) && !net.replicas[1].digests().contains(&first));
        let other = 1 - paused_at;
        let told = Report::Held(Holds { here: false, there: true });
        assert!(net.end(other, paused_at).reports.contains(&told));
        net.event((0, 1), paused_at, Event::Held { on: false });
        net.meets();
        net.agrees();
        assert!(net.replicas[1].handed.values().all(|times| *times == 1), "each once");
    }
}

#[test]
fn nothing_is_given_from_behind_what_the_state_has_shown_the_peer_to_be_a_member_at() {
    let mut net = with_history(2, 10);
    net.joins(0, 1);
    net.meets();
    // The removal and what is written behind it are in the log, and the state has not come so far.
    net.replicas[0].folded = Some(net.replicas[0].log.end());
    let removal = net.writes(0);
    net.writes_often(0, 5);
    net.event((0, 1), 1, Event::Appended);
    net.says(1, 0, Want { digests: vec![removal] });
    net.meets();
    assert_eq!(net.replicas[1].log.end().0, 10);
    // It has, and the conversation goes on for a moment.
    net.replicas[0].folded = None;
    net.replicas[0].is_alone = true;
    net.writes(0);
    net.says(1, 0, Want { digests: vec![removal] });
    net.meets();
    assert_eq!(net.replicas[1].log.end().0, 10);
}

#[test]
fn a_link_that_begins_while_one_side_pauses_greets_and_waits() {
    let mut net = with_history(2, 20);
    net.replicas[1] = Replica::of(&net.replicas[0].bundles()[..5]);
    net.joins_paused(0, 1);
    net.meets();
    net.everywhere(|| Event::Tick);
    assert_eq!(net.replicas[1].log.end().0, 5);
    net.event((0, 1), 0, Event::Held { on: false });
    net.meets();
    net.agrees();
}

#[test]
fn what_a_peer_that_pauses_was_about_to_give_comes_from_another() {
    let mut net = with_history(3, 1_000);
    net.replicas[1] = net.replicas[0].copied();
    net.joins(0, 2);
    net.joins(1, 2);
    while net.replicas[2].log.end().0 < 300 {
        net.step();
    }
    net.event((0, 2), 0, Event::Held { on: true });
    net.settles();
    net.everywhere(|| Event::Pause);
    assert_eq!(net.replicas[2].digests(), net.written);
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
