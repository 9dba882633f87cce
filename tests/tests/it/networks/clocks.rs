//! Machines whose clocks are days and years off: nothing waits for them, nothing is decided by them, and they are told.

use super::cables::{Lan, Machine};
use super::crew::Crew;
use super::form;
use crate::world::Setup;

const THREE_DAYS_S: i64 = 3 * 24 * 60 * 60;
const THREE_YEARS_S: i64 = 3 * 365 * 24 * 60 * 60;

/// A node on a machine whose clock is so many seconds ahead.
fn ahead(machine: &Machine, seconds: i64) -> Setup {
    let env = vec![("FAILPOINTS", format!("wall-clock=return({seconds})"))];
    Setup { env, ..Setup::on(&machine.name()) }
}

#[tokio::test]
async fn clocks_that_are_days_ahead_and_years_behind_decide_nothing() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (future, _), (past, to_past)) = (Machine::on(&lan), Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers_as(&[
        ("Mara", Setup::on(&house.name())),
        ("Leo", ahead(&future, THREE_DAYS_S)),
        ("Nina", ahead(&past, -THREE_YEARS_S)),
    ])
    .await;
    crew.has_cues(2).await;

    // Who has seen a write comes after it, whatever the clocks say.
    crew.edits(1, 0, "label", "three days ahead").await;
    crew.people[2].comes_to_see("LX 0", "label", "three days ahead").await;
    crew.edits(2, 0, "label", "three years behind").await;
    for person in [0, 1] {
        crew.people[person].comes_to_see("LX 0", "label", "three years behind").await;
    }
    crew.edits(0, 0, "label", "now").await;
    crew.agrees(0).await;

    // Who has not seen it is in conflict, whatever the clocks say.
    to_past.is_pulled();
    crew.edits(1, 1, "label", "Dawn").await;
    crew.edits(2, 1, "label", "Dusk").await;
    to_past.is_put_back();
    crew.agrees(1).await;
    for person in &crew.people {
        assert_eq!(person.sees("LX 0", "label").await, "now");
    }

    let told = crew.people[0].types("openprod peers").await.ok();
    told.says("s ahead").says("s behind");
}
