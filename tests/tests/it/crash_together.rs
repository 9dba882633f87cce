//! Nodes that die while they give each other their bundles: at the end all hold and show the same, and all that was
//! acknowledged anywhere.

use std::time::Duration;

use crate::crew::{Crew, Dice, makes_tables};
use crate::world::{Node, Setup, World};

/// Where replication can be stopped, in the order in which a bundle passes these points.
const POINTS: [&str; 8] = [
    "links-after-send",
    "links-after-receive",
    "links-before-admit",
    "oplog-before-commit",
    "oplog-after-commit",
    "state-before-commit",
    "state-after-commit",
    "links-before-acknowledge",
];

/// How often a point is passed before it strikes: behind the greeting, within the giving.
const PASSES: u64 = 12;

/// Nodes of one show, each of which knows each other, and a crew that writes at all of them.
struct Tour {
    world: World,
    others: Vec<Node>,
    crew: Crew,
}

impl Tour {
    async fn of(nodes: usize) -> Self {
        let mut world = World::with(Setup::among_peers()).await;
        let mara = world.person("Mara").await;
        makes_tables(&mara).await;
        let mut chiefs = vec![mara];
        let ticket = chiefs[0].invites(8).await.ticket;
        let mut others = Vec::new();
        for number in 1..nodes {
            let mut node = world.another_node(&format!("truck {number}")).await;
            let chief = world.visitor(&node, &format!("Driver {number}")).await;
            chief.types(&format!("openprod join {ticket}")).await.ok();
            let chief = chief.in_workspace(chiefs[0].workspace_id());
            chief.is_a_member().await;
            for known in &chiefs {
                chief.names_peer(&known.is_dialled_at().await).await;
            }
            node.keeps_its_port(&chief).await;
            others.push(node);
            chiefs.push(chief);
        }
        world.house.keeps_its_port(&chiefs[0]).await;
        for chief in &chiefs {
            chief.catches_up_with(nodes - 1).await;
        }
        let crew = Crew::at(chiefs).await;
        Self { world, others, crew }
    }

    fn node(&mut self, number: usize) -> &mut Node {
        if number == 0 { &mut self.world.house } else { &mut self.others[number - 1] }
    }

    /// Everybody finishes; then all nodes come to hold and to show the same, and every pair is everywhere.
    async fn ends(mut self) -> usize {
        self.crew.finishes().await;
        let others = self.crew.chiefs.len() - 1;
        let mut shown = Vec::new();
        for chief in &self.crew.chiefs {
            chief.catches_up_with(others).await;
        }
        for (node, chief) in self.crew.chiefs.iter().enumerate() {
            let bundles = self.crew.finds_every_pair(node).await;
            shown.push((bundles, chief.finds_all_well().await.state_hash));
            assert!(chief.lists_quarantine().await.is_empty(), "{} set something aside", chief.name);
        }
        assert!(shown.iter().all(|one| *one == shown[0]), "{shown:?}");
        self.crew.has_written()
    }
}

/// Kills nodes in the middle of work, one or more at a time, over and over.
async fn kill_loops(nodes: usize, loops: u64, seed: u64) {
    let mut tour = Tour::of(nodes).await;
    let mut dice = Dice(seed);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    for _ in 0..loops {
        tour.crew.writes(usize::try_from(dice.below(25)).unwrap()).await;
        for _ in 0..dice.below(200) {
            tokio::task::yield_now().await;
        }
        let dead: Vec<usize> = (0..nodes).filter(|_| dice.below(2) == 0).collect();
        for number in &dead {
            tour.node(*number).dies();
        }
        if dead.len() < nodes {
            tour.crew.writes(usize::try_from(dice.below(10)).unwrap()).await;
        }
        for number in &dead {
            tour.node(*number).comes_back().await;
            slowest = slowest.max(tour.node(*number).start);
        }
        kills += dead.len();
    }
    tour.crew.writes(5).await;
    let pairs = tour.ends().await;
    println!("seed {seed}: {nodes} nodes, {kills} kills, {pairs} pairs, all everywhere; slowest start {slowest:?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test]
async fn two_nodes_that_are_killed_at_random_moments_lose_nothing_and_end_equal() {
    let loops = number("OPENPROD_KILL_LOOPS").unwrap_or(6);
    kill_loops(2, loops, number("OPENPROD_KILL_SEED").unwrap_or(1)).await;
}

#[tokio::test]
async fn three_nodes_that_are_killed_at_random_moments_lose_nothing_and_end_equal() {
    let loops = number("OPENPROD_KILL_LOOPS").unwrap_or(4);
    kill_loops(3, loops, number("OPENPROD_KILL_SEED").unwrap_or(2)).await;
}

#[tokio::test]
async fn a_node_may_die_at_every_step_of_taking_a_bundle() {
    let mut tour = Tour::of(2).await;
    for point in POINTS {
        let victim = tour.node(1);
        let well = victim.setup();
        victim.dies();
        victim.set_up(well.clone().with_faults(&format!("{point}:{PASSES}=abort")));
        victim.launches();
        let status = victim.ends().await;
        assert!(!status.success(), "{point}: {status}");
        victim.says(&format!("fault at {point}")).await;
        victim.set_up(well);
        victim.comes_back().await;
        tour.crew.writes(10).await;
    }
    tour.ends().await;
}

#[tokio::test]
async fn kill_9_may_come_while_a_step_of_taking_a_bundle_hangs() {
    let mut tour = Tour::of(2).await;
    for point in POINTS {
        let victim = tour.node(1);
        let well = victim.setup();
        victim.dies();
        victim.set_up(well.clone().with_faults(&format!("{point}:{PASSES}=stop")));
        victim.launches();
        victim.says(&format!("fault at {point}")).await;
        victim.dies();
        victim.set_up(well);
        victim.comes_back().await;
        tour.crew.writes(10).await;
    }
    tour.ends().await;
}

#[tokio::test]
async fn a_panic_at_any_step_of_taking_a_bundle_is_mended_without_a_restart() {
    let mut tour = Tour::of(2).await;
    for point in POINTS {
        let victim = tour.node(1);
        let well = victim.setup();
        victim.dies();
        victim.set_up(well.clone().with_failpoints(&format!("{point}={PASSES}*off->1*panic->off")));
        victim.launches();
        victim.says(&format!("failpoint {point} panic")).await;
        victim.set_up(well);
        tour.crew.writes(10).await;
    }
    tour.ends().await;
}

/// Where joining can be stopped, and whether at the node that lets in; else at the one that joins.
const JOINING_POINTS: [(&str, bool); 5] = [
    ("links-after-redeem", true),
    ("links-before-verdict", true),
    ("joining-before-made", false),
    ("joining-before-noted", false),
    ("joining-before-listed", false),
];

#[tokio::test]
async fn either_node_may_die_at_every_step_of_joining_and_the_same_ticket_joins_afterwards() {
    for (point, at_house) in JOINING_POINTS {
        let mut world = World::with(Setup::among_peers()).await;
        let mara = world.person("Mara").await;
        makes_tables(&mara).await;
        world.house.keeps_its_port(&mara).await;
        let mut tour = world.another_node("tour").await;
        let leo = world.visitor(&tour, "Leo").await;
        let ticket = mara.invites(1).await.ticket;
        let victim = if at_house { &mut world.house } else { &mut tour };
        let well = victim.setup();
        victim.dies();
        victim.set_up(well.clone().with_faults(&format!("{point}:1=abort")));
        victim.comes_back().await;
        let broken_off = leo.types(&format!("openprod join {ticket}")).await;
        assert_ne!(broken_off.code, 0, "{point}: {broken_off}");
        assert!(!victim.ends().await.success(), "{point}");
        victim.set_up(well);
        victim.comes_back().await;

        leo.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
        let leo = leo.in_workspace(mara.workspace_id());
        leo.is_a_member().await;
        assert_eq!(mara.lists_invites().await, ["used_up, 1 of 1"], "{point}");
        for person in [&mara, &leo] {
            person.catches_up_with(1).await;
            person.finds_all_well().await;
        }
    }
}
