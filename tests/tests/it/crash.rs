//! Acknowledged is acknowledged: a node dies at any moment, and nothing is lost, doubled or half done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_client::{Change, v1};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{Person, Setup, World, create_record, create_table, row};

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
const WRITERS: usize = 3;
/// How often a point is passed before it strikes: behind the start, within the writing.
const PASSES: u64 = 12;

/// People who write pairs of records without rest. A pair is one bundle: half of it is a broken promise.
struct Crew {
    chief: Person,
    writers: JoinSet<()>,
    log: Arc<Acknowledged>,
    stop: watch::Sender<bool>,
}

/// What was acknowledged: the bundle of each pair.
#[derive(Default)]
struct Acknowledged {
    pairs: Mutex<BTreeMap<String, v1::ExecuteResponse>>,
    count: watch::Sender<usize>,
    next: AtomicU64,
}

impl Crew {
    async fn begins(world: &World) -> Self {
        let chief = world.person("Mara").await;
        chief.does(vec![create_table("left", &["name text"]), create_table("right", &["name text"])]).await;
        let (stop, stopped) = watch::channel(false);
        let log = Arc::new(Acknowledged::default());
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(write(chief.in_another_browser().await, Arc::clone(&log), stopped.clone()));
        }
        Self { chief, writers, log, stop }
    }

    /// Waits until so many more pairs are acknowledged.
    async fn writes(&self, more: usize) {
        let wanted = *self.log.count.borrow() + more;
        let mut count = self.log.count.subscribe();
        let written = tokio::time::timeout(Duration::from_mins(1), count.wait_for(|count| *count >= wanted)).await;
        written.expect("the crew gets on with its work").unwrap();
    }

    /// Lets everybody finish, then holds the workspace against what was acknowledged.
    async fn ends(mut self) {
        self.stop.send_replace(true);
        let finishing = async {
            while let Some(writer) = self.writers.join_next().await {
                writer.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_mins(1), finishing).await.expect("everybody gets an answer");
        let pairs = self.log.pairs.lock().unwrap().clone();
        let names: Vec<&String> = pairs.keys().collect();
        for table in ["left", "right"] {
            let mut there = self.chief.lists(table).await;
            there.sort();
            assert!(there.iter().eq(names.iter().copied()), "{table}: {there:?} is not {names:?}");
        }
        let bundles = self.chief.workspace().pages(v1::ListBundlesRequest::default()).all().await.unwrap();
        let of_pairs: BTreeMap<_, _> =
            bundles.iter().filter(|bundle| pairs.contains_key(&bundle.label)).map(|b| (&b.label, b)).collect();
        assert_eq!(bundles.len(), pairs.len() + 2, "a bundle too many or too few");
        for (name, done) in &pairs {
            let kept = of_pairs[name];
            assert_eq!((kept.revision, &kept.bundle_digest), (done.revision, &done.bundle_digest), "{name}");
        }
        let report = self.chief.finds_all_well().await;
        assert_eq!(report.bundles, bundles.len() as u64);
    }
}

/// Writes pairs until told to stop. What has no answer is sent again under its id until it has one.
async fn write(writer: Person, log: Arc<Acknowledged>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let name = format!("pair {:06}", log.next.fetch_add(1, Ordering::Relaxed));
        let half = |table| create_record("", table, row!["name" => name.as_str()]);
        let change = Change::new([half("left"), half("right")]).label(&name);
        let done = loop {
            match writer.workspace().execute(&change).await {
                Ok(done) => break done,
                Err(error) => assert!(error.is_transient(), "{name}: {error} {error:?}"),
            }
        };
        log.pairs.lock().unwrap().insert(name, done);
        log.count.send_modify(|count| *count += 1);
    }
}

/// Numbers from a seed, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

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
            println!("{} kills, {} pairs acknowledged", round + 1, *crew.log.count.borrow());
        }
    }
    crew.writes(5).await;
    let pairs = *crew.log.count.borrow();
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
