//! Simulation: whole nodes in one process, in virtual time. They run all the time, with their rooms, their endpoint and
//! its engine, over a network in memory and disks in memory, while people write and everything goes wrong that can.
//! Judges look on all along; at the end everything is mended, and all must be equal within half a minute, and nothing
//! that was acknowledged may be lost.
//!
//! Where `convergence` moves bundles by hand to reach every order, here nobody moves anything: nodes find each other,
//! push, compare, break off, back off and dial again by themselves. People do the same acts, and the same judges judge.
//!
//! A story is told by its seed: everything that is drawn. What is left to the library is which of several tasks that wait
//! for one change (`tokio::sync::watch`) is woken first, in the same moment: now and then the same seed goes another way.
//! `OPENPROD_SIMULATION_SEED`, `_CASES` and `_STEPS` make more of it and longer; `_LOUD` tells it while it happens. A
//! failure prints the end of the tape, and one line that replays it.
//!
//! Reading order: `story` (what happens, and the end), `faults` (what goes wrong), `judges` (who looks on), `clients`
//! (who asks), `writing` (what for), `machine` (what a node is here), `nature` (what is under it), `liar`, `tape`.

mod clients;
mod faults;
mod judges;
mod liar;
mod machine;
mod nature;
mod story;
mod tape;
mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use story::Story;
use tape::Tape;

/// So many stories in the ordinary tests.
const CASES: u64 = 8;
const STEPS: u64 = 60;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A story from its beginning to its end, in a runtime of its own.
fn tells(seed: u64, steps: usize) -> (Result<Duration, String>, Tape) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut story = Story::begins(seed).await.unwrap();
        let verdict = story.happens(steps).await;
        let slowest = story.slowest;
        (verdict.map(|()| slowest), story.ends().await)
    })
}

/// The line that tells a story again.
fn replay(seed: u64, steps: usize) -> String {
    format!(
        "OPENPROD_SIMULATION_SEED={seed} OPENPROD_SIMULATION_CASES=1 OPENPROD_SIMULATION_STEPS={steps} \
         cargo test -p openprod-tests --test it simulation::whatever -- --nocapture"
    )
}

#[test]
fn whatever_goes_wrong_all_nodes_agree_in_the_end_and_nothing_is_lost() {
    let (cases, first) = (number("OPENPROD_SIMULATION_CASES", CASES), number("OPENPROD_SIMULATION_SEED", 1));
    let steps = usize::try_from(number("OPENPROD_SIMULATION_STEPS", STEPS)).unwrap();
    let (mut tally, mut slowest) = (BTreeMap::<&str, usize>::new(), Duration::ZERO);
    for seed in first..first + cases {
        let (verdict, tape) = tells(seed, steps);
        match verdict {
            Ok(took) => slowest = slowest.max(took),
            Err(wrong) => panic!("{}\n\n{wrong}\n\nThe whole story again:\n    {}\n", tape.end(), replay(seed, steps)),
        }
        tape.tally.iter().for_each(|(kind, count)| *tally.entry(kind).or_default() += count);
    }
    println!("{cases} stories from seed {first}, equal at the latest after {slowest:?}: {tally:?}");
}
