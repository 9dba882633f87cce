//! Much at once: somebody joins a show that is long under way, and twelve nodes meet after a blackout.

use std::time::{Duration, Instant};

use super::cables::{Lan, Machine, go_to};
use super::crew::{Crew, revisions};
use super::form;
use crate::world::{Person, Setup, create_record, row, set_to};

/// Records in one bundle of a big log, and the operations that make each.
const RECORDS: usize = 50;
const OPS: usize = 4;

/// Who works on twelve nodes.
const NAMES: [&str; 12] = ["Mara", "Leo", "Nina", "Oskar", "Pia", "Rosa", "Sam", "Tess", "Uli", "Vera", "Wim", "Yara"];

/// A person at work changes something so often.
const PACE: Duration = Duration::from_millis(100);

/// Half of them, and the slowest.
fn half_and_worst(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:?} half of the time and {:?} at most", times[times.len() / 2], times[times.len() - 1])
}

/// The first writes so many operations.
async fn is_long_under_way(crew: &mut Crew, ops: usize) {
    for bundle in 0..ops.div_ceil(RECORDS * OPS) {
        let record = |at: usize| {
            let name = set_to("name", format!("cue {bundle}.{at}"));
            create_record("", "cues", [vec![name], row!["label" => "Preset", "note" => "as in the first act"]].concat())
        };
        let done = crew.people[0].does((0..RECORDS).map(record).collect()).await;
        crew.notes(&done);
    }
}

/// What a joining node says is still to come.
async fn still_to_come(person: &Person) -> Option<u64> {
    let peers = person.knows_peers().await.peers;
    peers.iter().filter_map(|peer| peer.connection.as_ref()?.sharing.first().map(|one| one.to_take)).max()
}

#[tokio::test]
async fn somebody_joins_a_long_show_and_those_who_work_on_it_do_not_notice() {
    let Some(form) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, _), (late, _)) = (Machine::on(&lan), Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(20).await;
    is_long_under_way(&mut crew, form.of(50_000, 1_000_000)).await;
    crew.agrees(0).await;

    let began = Instant::now();
    let (node, nina) = crew.begins_to_join(0, "Nina", Setup::on(&late.name())).await;
    let mut pace = tokio::time::interval(PACE);
    let (mut answers, mut arrivals, mut told) = (Vec::new(), Vec::new(), 0);
    while revisions(std::slice::from_ref(&nina)).await[0] < crew.all() {
        pace.tick().await;
        told = told.max(still_to_come(&nina).await.unwrap_or_default());
        let (edit, asked) = (answers.len(), Instant::now());
        crew.edits(0, edit % 20, "label", &format!("edit {edit}")).await;
        answers.push(asked.elapsed());
        crew.people[1].comes_to_see(&format!("LX {}", edit % 20), "label", &format!("edit {edit}")).await;
        arrivals.push(asked.elapsed());
    }
    let caught_up = began.elapsed();
    nina.is_a_member().await;
    // Her node was admitted, and has admitted her.
    crew.began_with += 2;
    let memory = node.peak_memory_kib();
    crew.nodes.push(node);
    crew.people.push(nina);
    crew.edits(2, 0, "note", "from the one who came late").await;
    crew.agrees(0).await;
    println!(
        "a node that joins: {} bundles in {caught_up:?}, {told} were told to come; {} edits meanwhile, acknowledged in \
         {}, on the other node in {}; the new node takes {memory} KiB at most",
        crew.all(),
        answers.len(),
        half_and_worst(answers),
        half_and_worst(arrivals)
    );
    assert!(told > 0, "nobody was told how far it is");
}

#[tokio::test]
async fn twelve_nodes_split_three_ways_meet_again_with_exactly_the_conflicts_that_they_made() {
    let Some(form) = form() else { return };
    let (collisions, edits) = (form.of(20, 500), form.of(80, 10_000));
    let (whole, sides) = (Lan::new(), [Lan::new(), Lan::new(), Lan::new()]);
    let machines: Vec<_> = NAMES.iter().map(|_| Machine::on(&whole)).collect();
    let seats: Vec<_> = NAMES.into_iter().zip(machines.iter().map(|(machine, _)| machine)).collect();
    let mut crew = Crew::gathers(&seats).await;
    crew.has_cues(collisions.max(120)).await;

    for (side, four) in sides.iter().zip(machines.chunks(4)) {
        go_to(four, side);
    }
    // Each works on ten cues of his own, and the first two of two sides on what both think is theirs.
    let work = crew.people.iter().enumerate().map(async |(at, person)| {
        let mut done = Vec::new();
        for edit in 0..edits / 4 {
            done.push(person.sets(&format!("LX {}", 10 * at + edit % 10), "label", format!("edit {edit}")).await);
        }
        for cue in 0..if at == 0 || at == 4 { collisions } else { 0 } {
            done.push(person.sets(&format!("LX {cue}"), "note", NAMES[at]).await);
        }
        done
    });
    let began = Instant::now();
    let done = futures::future::join_all(work).await;
    done.iter().flatten().for_each(|one| crew.notes(one));
    let worked = began.elapsed();

    go_to(&machines, &whole);
    let (had, equal) = crew.agrees(collisions).await;
    println!(
        "blackout: 12 nodes, 3 sides, {edits} edits a side in {worked:?}, {collisions} collisions: all had {} bundles \
         {had:?} after they met, and knew in {equal:?}; {collisions} conflicts",
        crew.all()
    );
}
