//! Convergence: whole replicas in one process, who write, hear of each other in any order, crash, fork and forget; at
//! the end they meet, and must agree on everything, and nothing that was acknowledged may be lost.
//!
//! The rooms are the real ones, put together as a node puts them together; only what is below them is made up: disks in
//! memory, clocks and chance from seeds, jobs that run where they are given. There is no gRPC; bundles go from log to
//! log, or over a network in memory, as nodes replicate.
//!
//! Reading order: `acts` (what people do: a new kind of command is one row there), `plan` (what happens), `company`
//! (how bundles travel), `linked` (how they travel between nodes), `witness` (what is checked of every request), `meeting` (what is checked at the end), `portrait` (what people
//! see), `replica` and `chance` (what is simulated). `named` holds the cases that have a name.
//!
//! `OPENPROD_CONVERGENCE_CASES`, `_SEED` and `_STEPS` make more of it and longer; a failure prints the story, cut down
//! as far as `_SHRINK_S` seconds allow, and the line that tells it again.

pub(crate) mod acts;
pub(crate) mod chance;
pub(crate) mod company;
mod linked;
pub(crate) mod meeting;
mod named;
pub(crate) mod plan;
pub(crate) mod portrait;
pub(crate) mod replica;
pub(crate) mod shelf;
pub(crate) mod witness;

use std::collections::{BTreeMap, BTreeSet};

use openprod_model::operation::Operation;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

pub(crate) use chance::Dice;
use plan::{Plan, plans};

/// So many stories in the ordinary tests: a few seconds in a debug build.
const CASES: u64 = 32;
const STEPS: u64 = 40;
/// Cutting a failing story down stops after so many seconds, or tries.
const SHRINK_S: u64 = 60;
const MAX_SHRINK_STEPS: u32 = 10_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a story in a runtime of its own, of one thread.
fn alone<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(story)
}

/// What stories came to, taken together.
#[derive(Debug, Default)]
struct Sum {
    bundles: usize,
    refusals: usize,
    conflicts: usize,
    kinds: BTreeSet<u16>,
    /// How many bundles of each kind.
    made: BTreeMap<&'static str, usize>,
}

impl Sum {
    fn add(&mut self, company: &mut company::Company) {
        let bundles = company.bundles(0);
        self.kinds.extend(bundles.iter().flat_map(|bundle| bundle.ops()).map(|op| op.kind));
        self.bundles += bundles.len();
        for bundle in &bundles {
            *self.made.entry(bundle.header().kind.word()).or_default() += 1;
        }
        self.refusals += company.refusals;
        self.conflicts += portrait::conflicts(company.snapshot(0).view()).len();
    }

    /// What every run must have seen and this one has not: kinds of operations, and kinds of bundles at least twice.
    fn lacks(&self) -> Vec<&'static str> {
        let operations = Operation::KINDS.iter().filter(|(kind, _)| !self.kinds.contains(kind)).map(|(_, name)| *name);
        let is_rare = |kind: &&str| self.made.get(*kind).is_none_or(|count| *count < 2);
        operations.chain(MADE.into_iter().filter(is_rare)).collect()
    }
}

/// One story from one seed; if it ends badly, the shortest one that still does, and how to tell it again.
fn tells(seed: u64, steps: u64, sum: &mut Sum) {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: MAX_SHRINK_STEPS,
        max_shrink_time: u32::try_from(1_000 * number("OPENPROD_CONVERGENCE_SHRINK_S", SHRINK_S)).unwrap(),
        ..Config::default()
    };
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, blake3::hash(&seed.to_le_bytes()).as_bytes());
    let mut runner = TestRunner::new_with_rng(config, chance);
    let sum = std::cell::RefCell::new(sum);
    let told = runner.run(&plans(usize::try_from(steps).unwrap()), |plan: Plan| {
        let mut company = alone(plan.happens()).map_err(TestCaseError::fail)?;
        sum.borrow_mut().add(&mut company);
        Ok(())
    });
    match told {
        Ok(()) => {}
        Err(TestError::Fail(why, plan)) => panic!(
            "{why}\n\n{plan:?}\n\nThe whole story again:\n    OPENPROD_CONVERGENCE_SEED={seed} \
             OPENPROD_CONVERGENCE_CASES=1 OPENPROD_CONVERGENCE_STEPS={steps} \
             cargo test -p openprod-tests --test it convergence::whatever -- --nocapture\n"
        ),
        Err(other) => panic!("{other}"),
    }
}

/// Kinds of bundles that must not be rare.
const MADE: [&str; 8] = ["edit", "import", "resolution", "merge", "undo", "redo", "member", "schema"];

#[test]
fn whatever_happens_everybody_agrees_and_nothing_is_lost() {
    let (cases, steps) = (number("OPENPROD_CONVERGENCE_CASES", CASES), number("OPENPROD_CONVERGENCE_STEPS", STEPS));
    let first = number("OPENPROD_CONVERGENCE_SEED", 1);
    let (mut sum, mut last) = (Sum::default(), first + cases);
    let mut seed = first;
    while seed < last {
        tells(seed, steps, &mut sum);
        seed += 1;
        // What is rare by chance gets more of it.
        if seed == last && cases >= CASES && !sum.lacks().is_empty() && last < first + 3 * cases {
            last += 1;
        }
    }
    println!("{} stories from seed {first}: {sum:?}", last - first);
    if cases >= CASES {
        let lacks = sum.lacks();
        assert!(lacks.is_empty(), "{lacks:?}: never happened, or once only: give them a row in acts.rs; {sum:?}");
        assert!(sum.conflicts > 0 && sum.bundles > sum.refusals, "the stories are too tame: {sum:?}");
    }
}
