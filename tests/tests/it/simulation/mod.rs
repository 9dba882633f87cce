//! Simulation: whole nodes in one process, in virtual time. They run all the time, with their rooms, their endpoint and
//! its engine, over a network in memory and disks in memory, while people write and everything goes wrong that can.
//! Judges look on all along; at the end everything is mended, and all must be equal within half a minute, and nothing
//! that was acknowledged may be lost.
//!
//! Where `convergence` moves bundles by hand to reach every order, here nobody moves anything: nodes find each other,
//! push, compare, break off, back off and dial again by themselves. People do the same acts, and the same judges judge.
//!
//! A story is told by its seed: the same seed told again gives the same trace, which is a hash of every line of the
//! tape and of the disks that are left behind, and a judge sees to it. `OPENPROD_SIMULATION_SEED`, `_CASES` and `_STEPS`
//! make more of it and longer, `_TWICE` tells so many stories a second time; `_LOUD` tells them while they happen. A failure
//! prints the end of the tape, and one line that replays it.
//!
//! Reading order: `story` (what happens, and the end), `faults` (what goes wrong), `lives` (who dies, comes back and comes anew), `judges` (who looks on), `clients`
//! (who asks), `writing` (what for), `files` (what lies beside the log), `joining` (who comes), `strangers` (who comes in vain), `machine` (what a node is here), `nature` (what is under it), `liar`, `tape`.

mod clients;
mod faults;
mod files;
mod joining;
mod judges;
mod liar;
mod lives;
mod machine;
mod nature;
mod story;
mod strangers;
mod tape;
mod writing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use story::Story;
use tape::Tape;

/// So many stories in the ordinary tests.
const CASES: u64 = 8;
const STEPS: u64 = 60;
/// So many of them are told twice.
const TWICE: u64 = 2;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn steps() -> usize {
    usize::try_from(number("OPENPROD_SIMULATION_STEPS", STEPS)).unwrap()
}

fn first_seed() -> u64 {
    number("OPENPROD_SIMULATION_SEED", 1)
}

/// A story from its beginning to its end, in a runtime of its own. The error is a whole report.
fn tells(seed: u64) -> Result<(Duration, Tape), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (verdict, tape) = runtime.block_on(async {
        let mut story = Story::begins(seed).await.unwrap();
        let verdict = story.happens(steps()).await;
        let slowest = story.slowest;
        (verdict.map(|()| slowest), story.ends().await)
    });
    let again = replay(seed);
    match verdict {
        Ok(slowest) => Ok((slowest, tape)),
        Err(wrong) => Err(format!("{}\n\n{wrong}\n\nThe whole story again:\n    {again}\n", tape.end())),
    }
}

/// The line that tells a story again.
fn replay(seed: u64) -> String {
    format!(
        "OPENPROD_SIMULATION_SEED={seed} OPENPROD_SIMULATION_CASES=1 OPENPROD_SIMULATION_STEPS={} \
         cargo test -p openprod-tests --test it simulation::whatever -- --nocapture",
        steps()
    )
}

/// What many stories came to.
#[derive(Default)]
struct Sum {
    stories: u32,
    slowest: Duration,
    trace: blake3::Hasher,
    tally: BTreeMap<&'static str, usize>,
}

impl Sum {
    fn add(&mut self, slowest: Duration, tape: &Tape) {
        self.stories += 1;
        self.slowest = self.slowest.max(slowest);
        self.trace.update(tape.trace().as_bytes());
        tape.tally.iter().for_each(|(kind, count)| *self.tally.entry(kind).or_default() += count);
    }
}

/// A wall clock, and this thread's processor time, which others on the machine do not spoil.
struct Watch(Instant, f64);

impl Watch {
    fn starts() -> Self {
        Self(Instant::now(), Self::processor_s())
    }

    /// Nought where the kernel does not tell.
    fn processor_s() -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    }

    /// How long so many stories took, in words.
    fn says(&self, stories: u32) -> String {
        let (wall, processor) = (self.0.elapsed().as_secs_f64(), Self::processor_s() - self.1);
        let hourly = |seconds: f64| f64::from(stories) * 3_600.0 / seconds;
        format!(
            "{stories} seeds in {wall:.1} s, {processor:.1} s of processor time: {:.0} seeds an hour, {:.0} on a free core",
            hourly(wall),
            hourly(processor)
        )
    }
}

#[test]
fn whatever_goes_wrong_all_nodes_agree_in_the_end_and_nothing_is_lost() {
    let (watch, mut sum) = (Watch::starts(), Sum::default());
    let (first, cases) = (first_seed(), number("OPENPROD_SIMULATION_CASES", CASES));
    for seed in first..first + cases {
        let (slowest, tape) = tells(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        sum.add(slowest, &tape);
    }
    let Sum { slowest, trace, tally, .. } = &sum;
    println!("{cases} stories from seed {first}, equal at the latest after {slowest:?}: {tally:?}");
    println!("trace {}; {}", trace.finalize(), watch.says(sum.stories));
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_hash() {
    let (first, twice) = (first_seed(), number("OPENPROD_SIMULATION_TWICE", TWICE));
    for seed in first..first + twice {
        // Each time in a thread of its own, so that nothing is left of the time before.
        let [one, other] = [(); 2].map(|()| {
            let told = std::thread::spawn(move || tells(seed)).join().unwrap();
            told.unwrap_or_else(|wrong| panic!("{wrong}")).1
        });
        let parts = one.parts_from(&other);
        assert!(parts.is_none(), "seed {seed} told twice: {}", parts.unwrap_or_default());
    }
}
