//! The blackout: twelve nodes in three parts that work without each other, and meet again.

use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::{Change, Workspace, v1};
use tokio::task::JoinSet;

use super::kit::{FIELDS, Failure, Node, load, plain, rate, set, work, write};
use super::mesh::{meets, until};
use super::visible::{all_have_the_same, company};

const NODES: usize = 12;
const PARTS: usize = 3;
/// Records whose fields are edited by one node only, for each node.
const OWN_RECORDS: usize = 100;
/// Records whose fields are edited in every part: each field is one conflict.
const SHARED_RECORDS: usize = 50;
const COLLISIONS: usize = SHARED_RECORDS * FIELDS;
/// Edits of each node; the drill as it is recorded has ten times as many (`OPENPROD_BENCH_EDITS=10000`).
const EDITS: usize = 1_000;

pub(super) async fn figures(folder: &Path) -> Result<(), Failure> {
    let edits = super::number("OPENPROD_BENCH_EDITS", EDITS).max(COLLISIONS);
    let (nodes, views) = company(folder, NODES).await?;
    let records = load(&views[0], NODES * OWN_RECORDS + SHARED_RECORDS).await?;
    all_have_the_same(&views).await?;
    let before = views[0].describe().await?.revision;
    for view in &views {
        forgets_other_parts(view, &views).await?;
    }

    let start = Instant::now();
    let mut teams = JoinSet::new();
    for (number, view) in views.iter().cloned().enumerate() {
        let records = records.clone();
        teams.spawn(async move { write(&view, edits, move |n| change(&records, number, n)).await });
    }
    while let Some(done) = teams.join_next().await {
        done??;
    }
    let mut expected = before;
    for part in 0..PARTS {
        let inside: Vec<&Workspace> =
            (0..NODES).filter(|node| part_of(*node) == part).map(|node| &views[node]).collect();
        let all = before + (inside.len() * edits) as u64;
        all_reach(&inside, all).await?;
        expected += all - before;
    }
    let apart = start.elapsed();
    plain("(blackout: apart, until each part has its own edits)", &format!("{:.1} s", apart.as_secs_f64()));

    let (start, worked_before) = (Instant::now(), worked(&nodes)?);
    for (number, node) in nodes.iter().enumerate() {
        for (_, other) in
            views.iter().enumerate().filter(|(other, _)| *other < number && part_of(*other) != part_of(number))
        {
            meets(node, other).await?;
        }
    }
    all_reach(&views.iter().collect::<Vec<_>>(), expected).await?;
    let together = start.elapsed();
    all_see_the_conflicts(&views).await?;
    tell(edits, together, worked(&nodes)?.saturating_sub(worked_before), &nodes)
}

fn part_of(node: usize) -> usize {
    node * PARTS / NODES
}

/// The first node of each part writes the shared fields first; everything else is in nobody's way.
fn change(records: &[String], node: usize, n: usize) -> Change {
    let is_first = node == 0 || part_of(node) != part_of(node - 1);
    let at = if is_first && n < COLLISIONS {
        NODES * OWN_RECORDS + n / FIELDS
    } else {
        node * OWN_RECORDS + n / FIELDS % OWN_RECORDS
    };
    Change::new([set(&records[at], n % FIELDS, &format!("edit {n} of {node}"))])
}

/// Takes the nodes of other parts out of the list, which ends the connections with them.
async fn forgets_other_parts(view: &Workspace, views: &[Workspace]) -> Result<(), Failure> {
    let mut keys = Vec::new();
    for other in views {
        keys.push(other.client().ask(v1::ListPeersRequest {}).await?.key);
    }
    let own = view.client().ask(v1::ListPeersRequest {}).await?.key;
    let number = keys.iter().position(|key| *key == own).ok_or("every node has a key")?;
    let others = keys.into_iter().enumerate().filter(|(other, _)| part_of(*other) != part_of(number));
    for (_, peer) in others {
        view.client().ask(v1::ForgetPeerRequest { peer }).await?;
    }
    Ok(())
}

async fn all_reach(views: &[&Workspace], revision: u64) -> Result<(), Failure> {
    for view in views {
        until(async || Ok((view.describe().await?.revision == revision).then_some(()))).await?;
    }
    Ok(())
}

/// The conflicts follow what is shown by a moment.
async fn all_see_the_conflicts(views: &[Workspace]) -> Result<(), Failure> {
    for view in views {
        until(async || {
            let page = v1::ListConflictsRequest { page_size: 1, ..Default::default() };
            Ok((view.read(page).await?.total_count == COLLISIONS as u64).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// The time that processors have worked for all of them.
fn worked(nodes: &[Node]) -> Result<Duration, Failure> {
    nodes.iter().map(Node::worked).sum()
}

fn tell(edits: usize, together: Duration, worked: Duration, nodes: &[Node]) -> Result<(), Failure> {
    let taken = NODES * (NODES - NODES / PARTS) * edits;

    let mut peaks = Vec::new();
    for node in nodes {
        peaks.push(node.peak_mib()?);
    }
    let most = peaks.into_iter().max().unwrap_or_default();
    let figure = format!("blackout of {NODES} nodes in {PARTS} parts, {edits} edits each");
    plain(&format!("{figure}: until all have all"), &format!("{:.2} s", together.as_secs_f64()));
    plain(&format!("{figure}: taken by all nodes together"), &format!("{:.0}/s", rate(taken, together)));
    plain(&format!("{figure}: processor time per edit taken"), &work(taken, worked));
    plain(&format!("{figure}: conflicts, on each node"), &format!("{COLLISIONS}"));
    plain(&format!("{figure}: peak memory of one node"), &format!("{most} MiB"));
    Ok(())
}
