//! People at machines of their own who work on one show, and what must hold when they have met.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::v1;

use super::cables::Machine;
use crate::world::{HAMLET, Node, Person, Setup, World, row};

/// Longer than nodes take to agree when nothing is wrong: the longest pause before a lost peer is dialled again is a
/// minute, and a dial into silence takes ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A crew: everybody at a node of his own. The first one sits at the house, and has founded Hamlet.
pub(super) struct Crew {
    pub(super) world: World,
    /// The nodes of all but the first.
    pub(super) nodes: Vec<Node>,
    pub(super) people: Vec<Person>,
    /// The bundles that everybody has had since the beginning.
    pub(super) began_with: u64,
    /// The ids of the bundles that nodes have acknowledged since.
    acknowledged: BTreeSet<String>,
}

impl Crew {
    /// A crew on one network, at these machines: each joins by the ticket of the first, over the network.
    pub(super) async fn gathers(at: &[(&str, &Machine)]) -> Self {
        let setups: Vec<_> = at.iter().map(|(name, machine)| (*name, Setup::on(&machine.name()))).collect();
        Self::gathers_as(&setups).await
    }

    /// A crew whose nodes are set up like this.
    pub(super) async fn gathers_as(at: &[(&str, Setup)]) -> Self {
        let world = World::with(at[0].1.clone()).await;
        let first = world.person_in(HAMLET, at[0].0).await;
        first.makes_table("cues", &["label text", "note text"]).await;
        let mut crew =
            Self { world, nodes: Vec::new(), people: vec![first], began_with: 0, acknowledged: BTreeSet::new() };
        let joining = at[1..].iter().map(|(name, setup)| crew.joins(0, name, setup.clone()));
        for (node, person) in futures::future::join_all(joining).await {
            crew.nodes.push(node);
            crew.people.push(person);
        }
        crew.began_with = crew.agrees_as_it_is().await;
        crew
    }

    /// Somebody at another node joins by a ticket of that one.
    pub(super) async fn is_joined_by(&mut self, inviter: usize, name: &str, setup: Setup) {
        let (node, person) = self.joins(inviter, name, setup).await;
        self.nodes.push(node);
        self.people.push(person);
    }

    async fn joins(&self, inviter: usize, name: &str, setup: Setup) -> (Node, Person) {
        let (node, person) = self.begins_to_join(inviter, name, setup).await;
        person.is_a_member().await;
        (node, person)
    }

    /// Somebody at another node was admitted by a ticket of that one, and has nothing yet.
    pub(super) async fn begins_to_join(&self, inviter: usize, name: &str, setup: Setup) -> (Node, Person) {
        let ticket = self.people[inviter].invites(1).await.ticket;
        let node = self.world.another_node_as(name, setup).await;
        let person = self.world.visitor(&node, name).await;
        person.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
        (node, person.in_workspace(self.people[0].workspace_id()))
    }

    /// A node is stopped; after `meanwhile` it is started again, and its person is back at it.
    pub(super) async fn restarts(&mut self, who: usize, meanwhile: impl FnOnce(&Path)) {
        let node = if who == 0 { &mut self.world.house } else { &mut self.nodes[who - 1] };
        node.stops().await;
        meanwhile(node.folder());
        node.comes_back().await;
        self.people[who] = self.people[who].through(node.socket()).await;
    }

    /// The first adds cues that everybody has before anything else happens.
    pub(super) async fn has_cues(&mut self, count: usize) {
        for at in 0..count {
            self.people[0].adds("cues", &format!("LX {at}"), row!["label" => "Preset"]).await;
        }
        self.began_with = self.agrees_as_it_is().await;
    }

    /// A change was acknowledged: it must be everywhere in the end.
    pub(super) fn notes(&mut self, done: &v1::ExecuteResponse) {
        assert!(self.acknowledged.insert(done.bundle_id.clone()), "one bundle of each change");
    }

    /// Somebody sets a field of a cue; it must be everywhere in the end.
    pub(super) async fn edits(&mut self, who: usize, cue: usize, column: &str, to: &str) {
        let done = self.people[who].sets(&format!("LX {cue}"), column, to).await;
        self.notes(&done);
    }

    /// How many bundles everybody is to have.
    pub(super) fn all(&self) -> u64 {
        self.began_with + self.acknowledged.len() as u64
    }

    /// Waits until everybody holds the same, and knows it: what was written side by side is more than any of them has.
    async fn agrees_as_it_is(&self) -> u64 {
        let mut waiting = Waiting::new();
        loop {
            let all = waiting.looks(&self.people, 0).await[0];
            if waiting.held.iter().all(|held| *held == all) && everybody_is_equal(&self.people, all).await {
                return all;
            }
        }
    }

    /// Everybody comes to hold and show the same: everything acknowledged, nothing else, and with exactly so many
    /// conflicts. Tells how long it took until all had it, and until all knew that.
    pub(super) async fn agrees(&self, conflicts: usize) -> (Duration, Duration) {
        let times = come_together(&self.people, self.all()).await;
        self.is_judged(conflicts).await;
        times
    }

    /// What everybody holds is what was acknowledged, and all see the same.
    pub(super) async fn is_judged(&self, conflicts: usize) {
        let mut hashes = BTreeSet::new();
        for person in &self.people {
            let report = person.finds_all_well().await;
            assert_eq!(report.bundles, self.all(), "{} holds everything and nothing else", person.name);
            hashes.insert(report.state_hash);
            let held = holds(person).await;
            let lost: Vec<_> = self.acknowledged.difference(&held).collect();
            assert!(lost.is_empty(), "{} lacks {lost:?}", person.name);
            let disputes = person.disputes(v1::ListConflictsRequest::default()).await;
            assert_eq!(disputes.len(), conflicts, "{} sees {disputes:#?}", person.name);
        }
        assert_eq!(hashes.len(), 1, "{hashes:?}");
    }
}

/// The ids of the bundles that somebody's node holds.
async fn holds(person: &Person) -> BTreeSet<String> {
    let mut pages = person.workspace().pages(v1::ListBundlesRequest::default());
    let mut ids = BTreeSet::new();
    while let Some(page) = pages.next().await.unwrap() {
        ids.extend(page.bundles.into_iter().map(|bundle| bundle.bundle_id));
    }
    ids
}

/// How many bundles each one's node holds.
pub(super) async fn revisions(people: &[Person]) -> Vec<u64> {
    futures::future::join_all(people.iter().map(async |person| person.asks_how_it_is().await.revision)).await
}

/// Waits until these people's nodes hold so many bundles, and know of each other that they hold and show the same. Tells
/// how long the one and the other took.
pub(super) async fn come_together(people: &[Person], bundles: u64) -> (Duration, Duration) {
    let (began, mut waiting) = (Instant::now(), Waiting::new());
    all_hold(people, bundles).await;
    let had = began.elapsed();
    while !everybody_is_equal(people, bundles).await {
        waiting.looks(people, bundles).await;
    }
    (had, began.elapsed())
}

/// Waits until these people's nodes hold so many bundles.
pub(super) async fn all_hold(people: &[Person], bundles: u64) {
    let mut waiting = Waiting::new();
    while waiting.looks(people, bundles).await.iter().any(|revision| *revision < bundles) {}
}

/// Waits as long as there is progress.
struct Waiting {
    held: Vec<u64>,
    since: Instant,
}

impl Waiting {
    fn new() -> Self {
        Self { held: Vec::new(), since: Instant::now() }
    }

    /// Looks how many bundles each node holds, after a pause.
    async fn looks(&mut self, people: &[Person], wanted: u64) -> &[u64] {
        tokio::time::sleep(LOOK_EVERY).await;
        let held = revisions(people).await;
        if held != self.held {
            *self = Self { held, since: Instant::now() };
        } else if self.since.elapsed() > PATIENCE {
            gives_up(people, wanted).await;
        }
        &self.held
    }
}

/// Whether each of these nodes is connected with another of them, and found all such to hold and show the same.
async fn everybody_is_equal(people: &[Person], bundles: u64) -> bool {
    let known = futures::future::join_all(people.iter().map(Person::knows_peers)).await;
    let keys: BTreeSet<_> = known.iter().map(|one| one.key.clone()).collect();
    let is_equal = |one: &v1::SharedWorkspace| one.verified_ms.is_some() && one.verified_bundles == bundles;
    known.iter().all(|one| {
        let links =
            one.peers.iter().filter(|peer| keys.contains(&peer.key)).filter_map(|peer| peer.connection.as_ref());
        let mut links = links.peekable();
        (people.len() == 1 || links.peek().is_some())
            && links.all(|link| !link.sharing.is_empty() && link.sharing.iter().all(is_equal))
    })
}

async fn gives_up(people: &[Person], wanted: u64) {
    for person in people {
        let (revision, peers) = (person.asks_how_it_is().await.revision, person.knows_peers().await.peers);
        eprintln!("{} holds {revision} bundles, and knows {peers:#?}", person.name);
    }
    panic!("for {} s nothing has happened, and they do not agree on {wanted} bundles or more", PATIENCE.as_secs());
}
