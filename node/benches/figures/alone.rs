//! One node by itself: edits, bulk loads, reads, and how they go as the workspace grows.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::{Workspace, v1};
use tokio::task::JoinSet;

use super::kit::{FIELDS, Failure, Node, at, edit, fsyncs, line, load, make_table, median, ms, plain, rate, read_one};

pub(super) async fn figures(folder: &Path, most: usize) -> Result<(), Failure> {
    let sync = median(&mut fsyncs(folder, 500)?);
    let mut node = Node::start(&folder.join("node"))?;
    let workspace = node.workspace("Bench").await?;
    make_table(&workspace).await?;
    let echo = echoes(&workspace, 1_000).await?;
    let records = load(&workspace, 1_000).await?;
    edits(&workspace, &records, sync, echo).await?;
    many_edits(&workspace, &records).await?;
    pages_under_load(&workspace, &records).await?;
    bulk(&workspace, folder).await?;
    drop(node);
    for ops in [10_000, 100_000, 1_000_000].into_iter().filter(|ops| *ops <= most) {
        at_size(&folder.join(format!("size-{ops}")), ops).await?;
    }
    Ok(())
}

/// The cheapest call that the node answers, through the same layers.
async fn echoes(workspace: &Workspace, rounds: usize) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        workspace.client().ask(v1::GetInfoRequest {}).await?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

async fn edits(workspace: &Workspace, records: &[String], sync: Duration, echo: Duration) -> Result<(), Failure> {
    let mut times = Vec::new();
    for n in 0..2_000 {
        let start = Instant::now();
        workspace.execute(&edit(&records[n % records.len()], n)).await?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (median(&mut times), at(&mut times, 99));
    let floor = sync + echo;
    line("durable edit over gRPC, 1 client, p50 / echo + fdatasync", &ms(p50), &ms(floor), p50.div_duration_f64(floor));
    line("durable edit over gRPC, 1 client, p99", &ms(p99), &ms(floor), p99.div_duration_f64(floor));
    Ok(())
}

async fn many_edits(workspace: &Workspace, records: &[String]) -> Result<(), Failure> {
    const CLIENTS: usize = 64;
    const EACH: usize = 200;
    let run = |edits: bool| {
        let (workspace, records) = (workspace.clone(), records.to_vec());
        async move {
            let start = Instant::now();
            let mut clients = JoinSet::new();
            for client in 0..CLIENTS {
                let (workspace, records) = (workspace.clone(), records.clone());
                clients.spawn(async move {
                    for n in 0..EACH {
                        if edits {
                            let record = &records[(client * EACH + n) % records.len()];
                            workspace.execute(&edit(record, client * EACH + n)).await?;
                        } else {
                            workspace.client().ask(v1::GetInfoRequest {}).await?;
                        }
                    }
                    Ok::<_, Failure>(())
                });
            }
            while let Some(done) = clients.join_next().await {
                done??;
            }
            Ok::<_, Failure>(rate(CLIENTS * EACH, start.elapsed()))
        }
    };
    let (ours, floor) = (run(true).await?, run(false).await?);
    line(
        "durable edits over gRPC, 64 in flight / echo",
        &format!("{ours:.0}/s"),
        &format!("{floor:.0}/s"),
        ours / floor,
    );
    Ok(())
}

async fn pages_under_load(workspace: &Workspace, records: &[String]) -> Result<(), Failure> {
    const PAGES: usize = 500;
    let (writer, ids) = (workspace.clone(), records.to_vec());
    let load = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        for n in 0.. {
            tick.tick().await;
            let (writer, change) = (writer.clone(), edit(&ids[n % ids.len()], n));
            tokio::spawn(async move { writer.execute(&change).await.map(|_| ()) });
        }
    });
    let mut times = Vec::new();
    for _ in 0..PAGES {
        let start = Instant::now();
        let page =
            v1::ListRecordsRequest { table: "things".to_owned(), page_size: 100, ..v1::ListRecordsRequest::default() };
        workspace.read(page).await?;
        times.push(start.elapsed());
    }
    load.abort();
    plain("page of 100 records while 1,000 edits/s arrive, p50", &ms(median(&mut times)));
    plain("page of 100 records while 1,000 edits/s arrive, p99", &ms(at(&mut times, 99)));
    Ok(())
}

/// 100,000 field sets: to the durable answer, and until a read shows them. The floor writes the same texts to a file
/// and syncs it once.
async fn bulk(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    const RECORDS: usize = 10_000;
    let start = Instant::now();
    load(workspace, RECORDS).await?;
    let durable = start.elapsed();
    read_one(workspace).await?;
    let shown = start.elapsed();
    let start = Instant::now();
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join("bulk"))?);
    for n in 0..RECORDS {
        for field in 0..FIELDS {
            writeln!(file, "{n}\tfield{field}\tvalue {} of {field}", n % 1_000)?;
        }
    }
    file.flush()?;
    file.get_ref().sync_data()?;
    let floor = rate(RECORDS * FIELDS, start.elapsed());
    for (figure, time) in [("durable", durable), ("durable and shown to a reader", shown)] {
        let ours = rate(RECORDS * FIELDS, time);
        line(
            &format!("bulk load of 100,000 field sets, {figure} / plain file"),
            &format!("{ours:.0}/s"),
            &format!("{floor:.0}/s"),
            ours / floor,
        );
    }
    Ok(())
}

async fn timed_query(workspace: &Workspace, query: &str) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let request = v1::QueryRequest { query: query.to_owned(), page_size: 1_000, ..v1::QueryRequest::default() };
        workspace.read(request).await?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

/// A workspace of about `ops` operations: its start after a kill, its memory, its queries, its bytes.
async fn at_size(folder: &Path, ops: usize) -> Result<(), Failure> {
    let records = ops / (FIELDS + 1);
    let mut node = Node::start(folder)?;
    let workspace = node.workspace("Bench").await?;
    make_table(&workspace).await?;
    load(&workspace, records).await?;
    read_one(&workspace).await?;
    plain(&format!("{ops} ops: resident memory after loading"), &format!("{} MiB", node.resident_mib()?));
    drop(node);
    let start = Instant::now();
    let mut node = Node::start(folder)?;
    let workspace = node.workspace("Bench").await?;
    let up = start.elapsed();
    read_one(&workspace).await?;
    plain(&format!("{ops} ops: start after kill -9 until it answers"), &ms(up));
    plain(&format!("{ops} ops: start after kill -9 until the first read"), &ms(start.elapsed()));
    let equality = timed_query(&workspace, "table == \"things\" AND field5 == \"value 7 of 5\"").await?;
    plain(&format!("{ops} ops, {records} records: indexed equality"), &ms(equality));
    let filter = timed_query(&workspace, "table == \"things\" AND field5 LIKE \"%value 77%\"").await?;
    plain(&format!("{ops} ops, {records} records: filter"), &ms(filter));
    plain(&format!("{ops} ops: resident memory after a restart"), &format!("{} MiB", node.resident_mib()?));
    for file in ["log.redb", "state.redb"] {
        let bytes = std::fs::metadata(node.file(file)?)?.len();
        plain(&format!("{ops} ops: bytes per op in {file}"), &format!("{}", bytes / ops as u64));
    }
    Ok(())
}
