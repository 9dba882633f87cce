//! Nodes that give each other what they lack: a first sync, and catching up after a time apart.

use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::{Client, Workspace, v1};
use openprod_disk::floor::{self, Rows};
use openprod_model::ids::WorkspaceId;

use super::kit::{FIELDS, Failure, Node, edit, line, load, make_table, plain, rate, work, write};

/// How often it is looked how far somebody is.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longer than anything here takes: who waits so long waits for what does not come.
const PATIENCE: Duration = Duration::from_mins(30);
/// Edits that a node lacks when it catches up, each a bundle of its own.
const BEHIND: usize = 100_000;
/// Records of the small workspace.
const RECORDS: usize = 10_000;

pub(super) async fn figures(folder: &Path, ops: usize) -> Result<(), Failure> {
    first_sync(&folder.join("first"), ops).await?;
    let behind = super::number("OPENPROD_BENCH_BEHIND", BEHIND);
    catching_up(&folder.join("behind"), behind).await
}

/// A node joins a workspace of `ops` operations that were made in large bundles.
async fn first_sync(folder: &Path, ops: usize) -> Result<(), Failure> {
    std::fs::create_dir(folder)?;
    let mut house = Node::among_peers(&folder.join("house"))?;
    let workspace = house.workspace("Bench").await?;
    make_table(&workspace).await?;
    load(&workspace, ops / (FIELDS + 1)).await?;
    let tour = Node::among_peers(&folder.join("tour"))?;
    let sync = timed(&workspace, &tour, async || {
        joins(&tour, &workspace).await?;
        Ok(())
    })
    .await?;
    tell(&format!("first sync of {ops} ops in large bundles"), ops, &sync, tour, &[], folder)
}

/// A node that was away lacks `behind` edits; then another one joins and lacks everything.
async fn catching_up(folder: &Path, behind: usize) -> Result<(), Failure> {
    std::fs::create_dir(folder)?;
    let mut house = Node::among_peers(&folder.join("house"))?;
    let workspace = house.workspace("Bench").await?;
    make_table(&workspace).await?;
    let records = load(&workspace, RECORDS).await?;
    let tour = Node::among_peers(&folder.join("tour"))?;
    timed(&workspace, &tour, async || joins(&tour, &workspace).await).await?;
    drop(tour);
    let before = rows(&folder.join("tour"))?;
    let apart = write(&workspace, behind, move |n| edit(&records[n * 7 % records.len()], n)).await?;
    plain("(making the edits meanwhile, 64 clients)", &format!("{:.0}/s", rate(behind, apart)));

    let tour = Node::among_peers(&folder.join("tour"))?;
    let sync = timed(&workspace, &tour, async || meets(&tour, &workspace).await).await?;
    tell(&format!("catching up with {behind} edits"), behind, &sync, tour, &before, folder)?;
    let guest = Node::among_peers(&folder.join("guest"))?;
    let sync = timed(&workspace, &guest, async || joins(&guest, &workspace).await).await?;
    let all = RECORDS * (FIELDS + 1) + behind;
    let figure = format!("full sync of 10,000 records x 10 fields and {behind} edits");
    tell(&figure, all, &sync, guest, &[], folder)
}

/// How a node got everything.
struct Sync {
    /// Until all of it was durable there and shown to its clients.
    shown: Duration,
    /// Until both had found that they hold and show the same.
    verified: Duration,
    /// The time that processors worked for the node until then.
    worked: Duration,
    /// What came over the connection.
    bytes: u64,
}

/// Lets a node begin to sync, and waits until it has everything.
async fn timed(
    house: &Workspace,
    node: &Node,
    begin: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<Sync, Failure> {
    let (start, worked_before) = (Instant::now(), node.worked()?);
    begin().await?;
    let client = Client::connect(node.client.clone()).await?;
    let there = client.workspace(house.id());
    until(async || Ok((there.describe().await?.revision >= house.describe().await?.revision).then_some(()))).await?;
    let shown = start.elapsed();
    let bytes = until(async || is_equal(&client, house).await).await?;
    Ok(Sync { shown, verified: start.elapsed(), worked: node.worked()?.saturating_sub(worked_before), bytes })
}

/// What came over the connection, if both were found equal as the house is now.
async fn is_equal(client: &Client, house: &Workspace) -> Result<Option<u64>, Failure> {
    let bundles = house.describe().await?.revision;
    let peers = client.ask(v1::ListPeersRequest {}).await?.peers;
    let connections = peers.into_iter().filter_map(|peer| peer.connection);
    let equal = |one: &v1::SharedWorkspace| one.verified_ms.is_some() && one.verified_bundles >= bundles;
    Ok(connections.into_iter().find(|one| one.sharing.iter().any(equal)).map(|one| one.received_bytes))
}

/// Asks until there is an answer.
pub(super) async fn until<T>(mut ask: impl AsyncFnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let asking = async {
        loop {
            match ask().await? {
                Some(answer) => return Ok(answer),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await?
}

/// Makes a node a member by a ticket.
pub(super) async fn joins(node: &Node, house: &Workspace) -> Result<(), Failure> {
    let invite = v1::CreateInviteRequest { uses: 1, ..Default::default() };
    let ticket = house.read(invite).await?.ticket;
    let client = Client::connect(node.client.clone()).await?;
    let mut answers = client.join(v1::JoinRequest { ticket, ..Default::default() }).await?;
    while answers.next().await?.is_some_and(|answer| !is_joined(&answer)) {}
    Ok(())
}

fn is_joined(answer: &v1::JoinResponse) -> bool {
    matches!(answer.event, Some(v1::join_response::Event::Joined(_)))
}

/// Tells a node where another one is.
pub(super) async fn meets(node: &Node, other: &Workspace) -> Result<(), Failure> {
    let address = other.client().ask(v1::ListPeersRequest {}).await?.listens_on.remove(0);
    let client = Client::connect(node.client.clone()).await?;
    client.ask(v1::AddPeerRequest { address, key: String::new() }).await?;
    Ok(())
}

/// The workspace as a client of that node sees it.
pub(super) async fn seen_from(node: &Node, id: WorkspaceId) -> Result<Workspace, Failure> {
    Ok(Client::connect(node.client.clone()).await?.workspace(id))
}

/// What the node in that folder has stored; it does not run.
fn rows(folder: &Path) -> Result<Vec<Rows>, Failure> {
    let workspace = std::fs::read_dir(folder.join("workspaces"))?.next().ok_or("it has a workspace")??.path();
    let mut rows = floor::rows_of(&workspace.join("log.redb"))?;
    rows.extend(floor::rows_of(&workspace.join("state.redb"))?);
    Ok(rows)
}

/// Says how it went, beside hashing and loading the same rows into the bare engine.
fn tell(figure: &str, ops: usize, sync: &Sync, node: Node, before: &[Rows], folder: &Path) -> Result<(), Failure> {
    let (peak, own) = (node.peak_mib()?, node.folder().to_owned());
    drop(node);
    let stored = rows(&own)?;
    let file = folder.join("floor.redb");
    let floor = floor::load(&stored, before, &file)?;
    std::fs::remove_file(file)?;
    let per_second = |time| format!("{:.0}/s", rate(ops, time));
    line(figure, &per_second(sync.shown), &per_second(floor), sync.shown.div_duration_f64(floor));
    plain(&format!("{figure}: until verified equal"), &format!("{:.2} s", sync.verified.as_secs_f64()));
    plain(&format!("{figure}: processor time per op"), &work(ops, sync.worked));
    plain(&format!("{figure}: bytes per op on the wire"), &format!("{}", sync.bytes / ops as u64));
    plain(&format!("{figure}: peak memory"), &format!("{peak} MiB"));
    Ok(())
}
