//! Figures: what the real binary does, beside a floor taken in the same run. Ratios are the result.
//!
//! `cargo bench -p openprod-node` prints the short form (up to 100,000 operations); the variable
//! `OPENPROD_BENCH_OPS=1000000` goes on to a million. Nothing here fails on a time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openprod_client::{Change, Client, Endpoint, Workspace, v1};
use openprod_model::ids::WorkspaceId;
use tokio::task::JoinSet;

mod decisions;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Records in one bundle of a bulk load: with ten fields each, well within one bundle's limit.
const RECORDS_A_BUNDLE: usize = 5_000;
const FIELDS: usize = 10;

fn main() -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("openprod-bench").tempdir_in(std::env::temp_dir())?;
    let most: usize = std::env::var("OPENPROD_BENCH_OPS").ok().and_then(|ops| ops.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(figures(folder.path(), most))
}

async fn figures(folder: &Path, most: usize) -> Result<(), Failure> {
    println!("{:<58} {:>14} {:>14} {:>8}", "figure", "ours", "floor", "ratio");
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
    decisions::figures(&folder.join("decisions")).await?;
    for ops in [10_000, 100_000, 1_000_000].into_iter().filter(|ops| *ops <= most) {
        at_size(&folder.join(format!("size-{ops}")), ops).await?;
    }
    Ok(())
}

fn line(figure: &str, ours: &str, floor: &str, ratio: f64) {
    println!("{figure:<58} {ours:>14} {floor:>14} {ratio:>8.2}");
}

fn plain(figure: &str, ours: &str) {
    println!("{figure:<58} {ours:>14}");
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn median(times: &mut [Duration]) -> Duration {
    at(times, 50)
}

fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[allow(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Appending what a bundle of one edit weighs, and syncing it.
fn fsyncs(folder: &Path, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let mut file = std::fs::File::create(folder.join("floor"))?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        file.write_all(&[7; 600])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The real binary, in a folder of its own, reached over its socket.
struct Node {
    process: Child,
    client: Endpoint,
}

impl Node {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_openprod"))
            .args(["up", "--listen", "off", "--peer-listen", "off", "--log", "warn", "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().ok_or("the node's output is piped")?;
        let mut first = String::new();
        BufReader::new(out).read_line(&mut first)?;
        if first.is_empty() {
            return Err("the node did not start".into());
        }
        Ok(Self { process, client: Endpoint::Socket(folder.join("openprod.sock")) })
    }

    async fn workspace(&mut self, name: &str) -> Result<Workspace, Failure> {
        let client = Client::connect(self.client.clone()).await?;
        let known = client.list_workspaces().await?.into_iter().find(|known| known.name == name);
        let id = match known {
            Some(known) => known.workspace,
            None => client.create_workspace(name, None).await?.workspace,
        };
        Ok(client.workspace(id.parse::<WorkspaceId>()?))
    }

    fn resident_mib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("a process has memory")?;
        Ok(line.split_whitespace().nth(1).ok_or("memory is a number")?.parse::<u64>()? / 1024)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A benchmark that ends early leaves no node behind; one that is gone already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(value: String) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::Text(value)) }
}

async fn execute(workspace: &Workspace, kind: v1::command::Kind) -> Result<v1::ExecuteResponse, Failure> {
    Ok(workspace.execute(&Change::new([v1::Command { kind: Some(kind) }])).await?)
}

async fn make_table(workspace: &Workspace) -> Result<(), Failure> {
    let of_text = v1::FieldType { r#type: v1::DataType::Text.into(), ..v1::FieldType::default() };
    let column =
        |n| v1::NewColumn { name: format!("field{n}"), r#type: Some(of_text.clone()), ..v1::NewColumn::default() };
    let columns = (0..FIELDS).map(column).collect();
    let table = v1::CreateTable { name: "things".to_owned(), description: String::new(), columns };
    execute(workspace, v1::command::Kind::CreateTable(table)).await?;
    Ok(())
}

fn record(n: usize) -> v1::Command {
    let values = (0..FIELDS).map(|field| v1::FieldValue {
        column: format!("field{field}"),
        value: Some(text(format!("value {} of {field}", n % 1_000))),
    });
    let create = v1::CreateRecord { record: String::new(), table: "things".to_owned(), values: values.collect() };
    v1::Command { kind: Some(v1::command::Kind::CreateRecord(create)) }
}

/// Makes records; gives their ids.
async fn load(workspace: &Workspace, count: usize) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let all: Vec<usize> = (0..count).collect();
    for part in all.chunks(RECORDS_A_BUNDLE) {
        let done = workspace.execute(&Change::new(part.iter().map(|n| record(*n)))).await?;
        ids.extend(done.created.into_iter().filter_map(|created| match created.thing {
            Some(v1::created::Thing::Record(id)) => Some(id),
            _ => None,
        }));
    }
    Ok(ids)
}

fn edit(record: &str, n: usize) -> Change {
    let values = vec![v1::FieldValue { column: "field3".to_owned(), value: Some(text(format!("edit {n}"))) }];
    let set = v1::SetFields { record: record.to_owned(), table: "things".to_owned(), values };
    Change::new([v1::Command { kind: Some(v1::command::Kind::SetFields(set)) }])
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

async fn read_one(workspace: &Workspace) -> Result<(), Failure> {
    let page = v1::ListRecordsRequest { table: "things".to_owned(), page_size: 1, ..v1::ListRecordsRequest::default() };
    workspace.read(page).await?;
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
    let workspaces = folder.join("workspaces");
    for file in ["log.redb", "state.redb"] {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&workspaces)? {
            bytes += std::fs::metadata(entry?.path().join(file))?.len();
        }
        plain(&format!("{ops} ops: bytes per op in {file}"), &format!("{}", bytes / ops as u64));
    }
    Ok(())
}
