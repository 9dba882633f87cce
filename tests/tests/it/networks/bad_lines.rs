//! Two nodes at the two ends of a bad line, whose people go on working.

use std::net::SocketAddr;
use std::time::Duration;

use super::cables::{Lan, Machine};
use super::crew::Crew;
use super::form;
use super::line::{Line, Weather};

/// A person at work changes something so often.
const PACE: Duration = Duration::from_millis(100);

/// Cues that both ends edit while nothing passes.
const DISPUTED: usize = 5;

/// Two people who have met once, and whose nodes reach each other only over a line that was just cut.
async fn parted_by_a_line(seed: u64) -> (Crew, Line) {
    let (house, tour) = (Lan::new(), Lan::new());
    let (at_house, (at_tour, visit)) = (Machine::on(&house).0, Machine::on(&house));
    let mut crew = Crew::gathers(&[("Mara", &at_house), ("Leo", &at_tour)]).await;
    crew.has_cues(100).await;
    let far: SocketAddr = at_tour.is_dialled_on(&tour);
    let line = Line::between(house.is_entered(), tour.is_entered(), far, seed).await;
    line.becomes(Weather { lost: 100, ..Weather::default() });
    crew.restarts(1, |_| {
        visit.is_pulled();
        at_tour.plugs_into(&tour);
    })
    .await;
    crew.people[0].names_peer(&line.entrance.to_string()).await;
    (crew, line)
}

/// Both work for so many seconds; tells the slowest answer that anybody got.
async fn both_work_for(crew: &mut Crew, seconds: u64) -> Duration {
    let mut pace = tokio::time::interval(PACE);
    let (mut edit, mut slowest) = (0, Duration::ZERO);
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        pace.tick().await;
        let asked = tokio::time::Instant::now();
        crew.edits(edit % 2, DISPUTED + edit % 90, ["label", "note"][edit % 2], &format!("edit {edit}")).await;
        slowest = slowest.max(asked.elapsed());
        edit += 1;
    }
    slowest
}

async fn both_edit_what_is_disputed(crew: &mut Crew) {
    for cue in 0..DISPUTED {
        crew.edits(0, cue, "label", "at home").await;
        crew.edits(1, cue, "label", "on tour").await;
    }
}

#[tokio::test]
async fn a_wifi_that_drops_again_and_again_loses_nothing_while_both_go_on() {
    let Some(form) = form() else { return };
    let seconds = |short, long| Duration::from_secs(form.of(short, long) as u64);
    let (mut crew, line) = parted_by_a_line(20).await;
    both_edit_what_is_disputed(&mut crew).await;
    line.becomes(Weather { good_for: seconds(3, 20), silent_for: seconds(2, 20), ..Weather::default() });
    let slowest = both_work_for(&mut crew, seconds(15, 400).as_secs()).await;
    let (had, equal) = crew.agrees(DISPUTED).await;
    let (passed, lost) = (line.count(|one| &one.passed), line.count(|one| &one.lost));
    println!(
        "Wi-Fi: {passed} datagrams passed and {lost} were lost; {} bundles; slowest edit {slowest:?}; after the last \
         edit all had it in {had:?} and knew in {equal:?}",
        crew.all()
    );
    assert!(passed > 0 && lost > 0, "the line was neither dead nor good");
}

#[tokio::test]
async fn a_line_that_loses_delays_doubles_and_reorders_and_a_router_that_forgets_lose_nothing() {
    let Some(form) = form() else { return };
    let (mut crew, line) = parted_by_a_line(10).await;
    both_edit_what_is_disputed(&mut crew).await;
    line.becomes(Weather {
        lost: 10,
        doubled: 10,
        delay: Duration::from_millis(200),
        jitter: Duration::from_millis(100),
        rebound: Duration::from_secs(5),
        ..Weather::default()
    });
    let slowest = both_work_for(&mut crew, form.of(15, 300) as u64).await;
    let (had, equal) = crew.agrees(DISPUTED).await;
    let count = |what: fn(&super::line::Happened) -> &_| line.count(what);
    let (lost, doubled, rebound) = (count(|one| &one.lost), count(|one| &one.doubled), count(|one| &one.rebound));
    println!(
        "bad line: {lost} datagrams were lost and {doubled} doubled, {rebound} new ports; {} bundles; slowest edit \
         {slowest:?}; after the last edit all had it in {had:?} and knew in {equal:?}",
        crew.all()
    );
    assert!(lost > 0 && doubled > 0 && rebound > 0, "the line was bad in each way");
}
