//! Nodes that were apart, and meet again on a network.

use super::cables::{Cable, Lan, Machine, go_to};
use super::crew::{Crew, come_together};
use super::form;
use crate::scenario_a;

#[tokio::test]
async fn two_departments_are_offline_for_a_weekend_and_meet_on_monday() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let (office, _) = Machine::on(&lan);
    let ((lighting, to_lighting), (sound, to_sound)) = (Machine::on(&lan), Machine::on(&lan));
    let crew = Crew::gathers(&[("Mara", &office), ("Alex", &lighting), ("Jordan", &sound)]).await;
    let [mara, alex, jordan] = &crew.people[..] else { panic!("three people") };
    scenario_a::prepares(mara).await;
    come_together(&crew.people, mara.asks_how_it_is().await.revision).await;

    [&to_lighting, &to_sound].into_iter().for_each(Cable::is_pulled);
    let everybody_meets = async |bundles: u64| {
        [&to_lighting, &to_sound].into_iter().for_each(Cable::is_put_back);
        come_together(&crew.people, bundles).await;
    };
    scenario_a::weekend([mara, alex, jordan], everybody_meets).await;
}

#[tokio::test]
async fn three_parts_of_a_network_that_meet_two_at_a_time_come_to_agree() {
    let Some(form) = form() else { return };
    let (whole, parts) = (Lan::new(), [Lan::new(), Lan::new(), Lan::new()]);
    let machines: Vec<_> = (0..6).map(|_| Machine::on(&whole)).collect();
    let names = ["Mara", "Leo", "Nina", "Oskar", "Pia", "Rosa"];
    let seats: Vec<_> = names.into_iter().zip(machines.iter().map(|(machine, _)| machine)).collect();
    let mut crew = Crew::gathers(&seats).await;
    let edits = form.of(5, 200);
    crew.has_cues(6 * edits).await;
    for (part, two) in parts.iter().zip(machines.chunks(2)) {
        go_to(two, part);
    }
    // Of each part one edits what is nobody else's, and the other what all parts edit.
    for at in 0..edits {
        for part in 0..3 {
            crew.edits(2 * part, edits * (1 + part) + at, "label", "ours").await;
            crew.edits(2 * part + 1, at, "note", &format!("part {part}")).await;
        }
    }
    let of_two_parts = crew.began_with + 4 * edits as u64;
    for (one, other, held) in [(0, 1, of_two_parts), (1, 2, crew.all()), (2, 0, crew.all())] {
        let moved = &machines[2 * other..][..2];
        go_to(moved, &parts[one]);
        let both = [2 * one, 2 * one + 1, 2 * other, 2 * other + 1].map(|at| crew.people[at].clone());
        come_together(&both, held).await;
        go_to(moved, &parts[other]);
    }
    go_to(&machines, &whole);
    crew.agrees(edits).await;
}
