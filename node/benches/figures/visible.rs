//! An edit on one node as a client of another one sees it.

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::{Change, Event, From, Workspace};
use tokio::sync::mpsc;

use super::kit::{Failure, Node, at, edit, fsyncs, line, load, make_table, median, ms};
use super::mesh::{joins, meets, seen_from, until};

/// Edits that are followed.
const EDITS: usize = 500;
/// Between two of them: people type, and nothing of one is in the way of the next.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn figures(folder: &Path) -> Result<(), Failure> {
    let floor = median(&mut fsyncs(folder, 500)?) + round_trip()?;
    for nodes in [2, 3, 12] {
        with(&folder.join(nodes.to_string()), nodes, floor).await?;
    }
    Ok(())
}

async fn with(folder: &Path, count: usize, floor: Duration) -> Result<(), Failure> {
    std::fs::create_dir(folder)?;
    let (_nodes, views) = company(folder, count).await?;
    let records = load(&views[0], 100).await?;
    let mut times = followed(&views, &records).await?;
    let (p50, p99) = (median(&mut times), at(&mut times, 99));
    for (name, time) in [("p50", p50), ("p99", p99)] {
        let figure = format!("edit shown on all other nodes, {count} nodes, {name} / fdatasync + UDP");
        line(&figure, &ms(time), &ms(floor), time.div_duration_f64(floor));
    }
    Ok(())
}

/// So many nodes, each connected with each, and the workspace as a client of each sees it.
pub(super) async fn company(folder: &Path, count: usize) -> Result<(Vec<Node>, Vec<Workspace>), Failure> {
    let mut house = Node::among_peers(&folder.join("0"))?;
    let workspace = house.workspace("Bench").await?;
    make_table(&workspace).await?;
    let (mut nodes, mut views) = (vec![house], vec![workspace]);
    for number in 1..count {
        let node = Node::among_peers(&folder.join(number.to_string()))?;
        joins(&node, &views[0]).await?;
        let view = seen_from(&node, views[0].id()).await?;
        for other in &views[1..] {
            meets(&node, other).await?;
        }
        nodes.push(node);
        views.push(view);
    }
    all_have_the_same(&views).await?;
    Ok((nodes, views))
}

/// Waits until nobody has more than another, and what everybody has says so many members.
pub(super) async fn all_have_the_same(views: &[Workspace]) -> Result<(), Failure> {
    until(async || {
        let mut seen = Vec::new();
        for view in views {
            let workspace = view.describe().await?;
            seen.push((workspace.revision, workspace.members.len()));
        }
        seen.dedup();
        // Each node, and who works on it, and the recovery key.
        Ok((seen.len() == 1 && seen[0].1 == 2 * views.len() + 1).then_some(()))
    })
    .await
}

/// How long each edit on the first node took until it was shown to a client of each other one.
async fn followed(views: &[Workspace], records: &[String]) -> Result<Vec<Duration>, Failure> {
    let (mut audience, mut times) = (Audience::of(views).await?, Vec::new());
    for n in 0..EDITS {
        times.push(audience.sees(&edit(&records[n % records.len()], n)).await?);
    }
    Ok(times)
}

/// Clients of all nodes, who follow what is written at the first.
pub(super) struct Audience {
    writes: Workspace,
    others: usize,
    seen: mpsc::UnboundedReceiver<Instant>,
}

impl Audience {
    pub(super) async fn of(views: &[Workspace]) -> Result<Self, Failure> {
        all_have_the_same(views).await?;
        let (shown, seen) = mpsc::unbounded_channel();
        for view in &views[1..] {
            let (shown, mut watch) = (shown.clone(), view.watch(From::Now, Vec::new()));
            // A watch begins with a mark.
            while !matches!(watch.next().await?, Event::Bookmark(_)) {}
            tokio::spawn(async move {
                while let Ok(event) = watch.next().await {
                    if matches!(event, Event::Batch(_)) && shown.send(Instant::now()).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { writes: views[0].clone(), others: views.len() - 1, seen })
    }

    /// How long a change at the first took until all others were shown it; then a pause.
    pub(super) async fn sees(&mut self, change: &Change) -> Result<Duration, Failure> {
        let start = Instant::now();
        self.writes.execute(change).await?;
        let mut last = start;
        for _ in 0..self.others {
            last = last.max(self.seen.recv().await.ok_or("every node is followed")?);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(last - start)
    }
}

/// A datagram over loopback and back.
fn round_trip() -> Result<Duration, Failure> {
    let (here, there) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    here.connect(there.local_addr()?)?;
    there.connect(here.local_addr()?)?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let mut bytes = [0; 600];
        for _ in 0..1_000 {
            let length = there.recv(&mut bytes)?;
            there.send(&bytes[..length])?;
        }
        Ok(())
    });
    let (mut times, mut bytes) = (Vec::new(), [0; 600]);
    for _ in 0..1_000 {
        let start = Instant::now();
        here.send(&[7; 600])?;
        here.recv(&mut bytes)?;
        times.push(start.elapsed());
    }
    echo.join().map_err(|_| "the echo ends well")??;
    Ok(median(&mut times))
}
