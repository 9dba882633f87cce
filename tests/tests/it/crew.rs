//! A crew that writes without rest while its nodes die, and what was acknowledged to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_client::{Change, v1};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{Person, World, create_record, create_table, row};

/// How many write at each node.
const WRITERS: usize = 3;

/// People who write pairs of records without rest. A pair is one bundle: half of it is a broken promise.
pub(crate) struct Crew {
    /// Somebody at each node.
    pub(crate) chiefs: Vec<Person>,
    writers: JoinSet<()>,
    log: Arc<Acknowledged>,
    stop: watch::Sender<bool>,
}

/// A pair that was acknowledged: at which node, and as which bundle.
type Pair = (usize, v1::ExecuteResponse);

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    pairs: Mutex<BTreeMap<String, Pair>>,
    count: watch::Sender<usize>,
    next: AtomicU64,
}

impl Crew {
    /// At the house alone.
    pub(crate) async fn begins(world: &World) -> Self {
        let chief = world.person("Mara").await;
        makes_tables(&chief).await;
        Self::at(vec![chief]).await
    }

    /// At several nodes that have the tables.
    pub(crate) async fn at(chiefs: Vec<Person>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let log = Arc::new(Acknowledged::default());
        let mut writers = JoinSet::new();
        for (node, chief) in chiefs.iter().enumerate() {
            for _ in 0..WRITERS {
                let writer = chief.in_another_browser().await;
                writers.spawn(write(node, writer, Arc::clone(&log), stopped.clone()));
            }
        }
        Self { chiefs, writers, log, stop }
    }

    /// How many pairs are acknowledged.
    pub(crate) fn has_written(&self) -> usize {
        *self.log.count.borrow()
    }

    /// Waits until so many more pairs are acknowledged.
    pub(crate) async fn writes(&self, more: usize) {
        let wanted = self.has_written() + more;
        let mut count = self.log.count.subscribe();
        let written = tokio::time::timeout(Duration::from_mins(1), count.wait_for(|count| *count >= wanted)).await;
        written.expect("the crew gets on with its work").unwrap();
    }

    /// Lets everybody finish what they have begun.
    pub(crate) async fn finishes(&mut self) {
        self.stop.send_replace(true);
        let finishing = async {
            while let Some(writer) = self.writers.join_next().await {
                writer.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_mins(1), finishing).await.expect("everybody gets an answer");
    }

    /// Lets everybody finish, then holds the workspace against what was acknowledged.
    pub(crate) async fn ends(mut self) {
        self.finishes().await;
        let bundles = self.finds_every_pair(0).await;
        assert_eq!(bundles, self.has_written() + 2, "a bundle too many or too few");
    }

    /// Holds a node against what was acknowledged at any of them; gives how many bundles it has.
    pub(crate) async fn finds_every_pair(&self, node: usize) -> usize {
        let chief = &self.chiefs[node];
        let pairs = self.log.pairs.lock().unwrap().clone();
        for table in ["left", "right"] {
            let mut there = chief.lists(table).await;
            there.sort();
            assert!(there.iter().eq(pairs.keys()), "{}, {table}: {there:?} is not {:?}", chief.name, pairs.keys());
        }
        let bundles = chief.workspace().pages(v1::ListBundlesRequest::default()).all().await.unwrap();
        let of_pairs: BTreeMap<_, _> =
            bundles.iter().filter(|bundle| pairs.contains_key(&bundle.label)).map(|b| (&b.label, b)).collect();
        for (name, (written_at, done)) in &pairs {
            let kept = of_pairs[name];
            assert_eq!(kept.bundle_digest, done.bundle_digest, "{name}");
            assert!(*written_at != node || kept.revision == done.revision, "{name} moved");
        }
        let report = chief.finds_all_well().await;
        assert_eq!(report.bundles, bundles.len() as u64);
        bundles.len()
    }
}

/// Makes what a crew writes to.
pub(crate) async fn makes_tables(chief: &Person) {
    chief.does(vec![create_table("left", &["name text"]), create_table("right", &["name text"])]).await;
}

/// Writes pairs until told to stop. What has no answer is sent again under its id until it has one.
async fn write(node: usize, writer: Person, log: Arc<Acknowledged>, stopped: watch::Receiver<bool>) {
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
        log.pairs.lock().unwrap().insert(name, (node, done));
        log.count.send_modify(|count| *count += 1);
    }
}

/// Numbers from a seed, the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
