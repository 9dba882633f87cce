//! Acknowledged is acknowledged: a node dies at any moment, and nothing is lost, doubled or half done.

use std::time::Duration;

use crate::crew::{Crew, Dice};
use crate::world::{Setup, World};

/// Where a node can be stopped, in the order in which a write passes these points.
pub(crate) const POINTS: [&str; 7] = [
    "commands-after-plan",
    "oplog-mid-batch",
    "oplog-before-commit",
    "oplog-after-commit",
    "oplog-before-reply",
    "state-before-commit",
    "state-after-commit",
];
/// How often a point is passed before it strikes: behind the start, within the writing.
const PASSES: u64 = 12;

/// Kills the node in the middle of work, over and over; sometimes while it has hardly started.
async fn kill_loops(loops: u64, seed: u64) {
    let mut world = World::new().await;
    let crew = Crew::begins(&world).await;
    let mut dice = Dice(seed);
    let mut slowest = Duration::ZERO;
    for round in 0..loops {
        crew.writes(usize::try_from(dice.below(25)).unwrap()).await;
        for _ in 0..dice.below(200) {
            tokio::task::yield_now().await;
        }
        world.house.dies();
        if dice.below(4) == 0 {
            world.house.launches();
            for _ in 0..dice.below(2_000) {
                tokio::task::yield_now().await;
            }
            world.house.dies();
        }
        world.house.comes_back().await;
        slowest = slowest.max(world.house.start);
        if round % 50 == 49 {
            println!("{} kills, {} pairs acknowledged", round + 1, crew.has_written());
        }
    }
    crew.writes(5).await;
    let pairs = crew.has_written();
    crew.ends().await;
    println!("seed {seed}: {loops} kills, {pairs} pairs acknowledged, none lost; slowest start {slowest:?}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_at_random_moments() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    kill_loops(number("OPENPROD_KILL_LOOPS").unwrap_or(8), number("OPENPROD_KILL_SEED").unwrap_or(1)).await;
}

#[tokio::test]
async fn the_process_may_die_at_every_step_of_a_write() {
    let mut world = World::new().await;
    let crew = Crew::begins(&world).await;
    for point in POINTS {
        world.house.dies();
        world.house.set_up(Setup::faults(&format!("{point}:{PASSES}=abort")));
        world.house.launches();
        let status = world.house.ends().await;
        assert!(!status.success(), "{point}: {status}");
        // Its last words are read after it is gone.
        world.house.says(&format!("fault at {point}")).await;
        world.house.set_up(Setup::default());
        world.house.comes_back().await;
        crew.writes(5).await;
    }
    crew.ends().await;
}

#[tokio::test]
async fn kill_9_may_come_while_a_step_of_a_write_hangs() {
    let mut world = World::new().await;
    let crew = Crew::begins(&world).await;
    for point in POINTS {
        world.house.dies();
        world.house.set_up(Setup::faults(&format!("{point}:{PASSES}=stop")));
        world.house.launches();
        world.house.says(&format!("fault at {point}")).await;
        world.house.dies();
        world.house.set_up(Setup::default());
        world.house.comes_back().await;
        crew.writes(5).await;
    }
    crew.ends().await;
}

#[tokio::test]
async fn a_panic_at_any_step_of_a_write_is_mended_without_a_restart() {
    let mut world = World::new().await;
    let crew = Crew::begins(&world).await;
    for point in POINTS {
        world.house.dies();
        world.house.set_up(Setup::failpoints(&format!("{point}={PASSES}*off->1*panic->off")));
        world.house.launches();
        world.house.says(&format!("failpoint {point} panic")).await;
        crew.writes(10).await;
    }
    crew.ends().await;
}
