//! What every figure uses: a node of the real binary, records to work with, and lines that say how it went.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openprod_client::{Change, Client, Endpoint, Workspace, v1};
use openprod_model::ids::WorkspaceId;
use tokio::task::JoinSet;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Records in one bundle of a bulk load: with ten fields each, well within one bundle's limit.
pub(super) const RECORDS_A_BUNDLE: usize = 5_000;
pub(super) const FIELDS: usize = 10;
/// What Linux counts processor time in, whatever its clock.
const TICK_MS: u64 = 10;
/// Clients that write at once where many edits are needed.
const WRITERS: usize = 64;

pub(super) fn line(figure: &str, ours: &str, floor: &str, ratio: f64) {
    println!("{figure:<66} {ours:>14} {floor:>14} {ratio:>8.2}");
}

pub(super) fn plain(figure: &str, ours: &str) {
    println!("{figure:<66} {ours:>14}");
}

pub(super) fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// Microseconds of work for each of `count`.
pub(super) fn work(count: usize, time: Duration) -> String {
    format!("{:.1} us", 1e6 / rate(count, time))
}

pub(super) fn median(times: &mut [Duration]) -> Duration {
    at(times, 50)
}

pub(super) fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[allow(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
pub(super) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Appending what a bundle of one edit weighs, and syncing it.
pub(super) fn fsyncs(folder: &Path, rounds: usize) -> Result<Vec<Duration>, Failure> {
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

/// The program that is measured: the one that was just built, or the one that `OPENPROD_BENCH_PROGRAM` names, so that an
/// earlier one can be measured beside it.
fn program() -> PathBuf {
    std::env::var_os("OPENPROD_BENCH_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_openprod").into(), PathBuf::from)
}

/// The real binary, in a folder of its own, reached over its socket.
pub(super) struct Node {
    folder: PathBuf,
    process: Child,
    pub(super) client: Endpoint,
}

impl Node {
    /// One that speaks with no other node.
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        Self::start_with(folder, "off")
    }

    /// One that others may dial over loopback.
    pub(super) fn among_peers(folder: &Path) -> Result<Self, Failure> {
        Self::start_with(folder, "127.0.0.1:0")
    }

    fn start_with(folder: &Path, peers: &str) -> Result<Self, Failure> {
        let mut process = Command::new(program())
            .args(["up", "--listen", "off", "--peer-listen", peers, "--discovery", "off", "--log", "warn"])
            .arg("--data-dir")
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().ok_or("the node's output is piped")?;
        let mut first = String::new();
        BufReader::new(out).read_line(&mut first)?;
        if first.is_empty() {
            return Err("the node did not start".into());
        }
        let client = Endpoint::Socket(folder.join("openprod.sock"));
        Ok(Self { folder: folder.to_owned(), process, client })
    }

    pub(super) async fn workspace(&mut self, name: &str) -> Result<Workspace, Failure> {
        let client = Client::connect(self.client.clone()).await?;
        let known = client.list_workspaces().await?.into_iter().find(|known| known.name == name);
        let id = match known {
            Some(known) => known.workspace,
            None => client.create_workspace(name, None).await?.workspace,
        };
        Ok(client.workspace(id.parse::<WorkspaceId>()?))
    }

    pub(super) fn resident_mib(&self) -> Result<u64, Failure> {
        self.memory_mib("VmRSS:")
    }

    /// The most that it ever had.
    pub(super) fn peak_mib(&self) -> Result<u64, Failure> {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, which: &str) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with(which)).ok_or("a process has memory")?;
        Ok(line.split_whitespace().nth(1).ok_or("memory is a number")?.parse::<u64>()? / 1024)
    }

    /// The time that processors have worked for it: a figure that others who use the machine do not change much.
    pub(super) fn worked(&self) -> Result<Duration, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        // The third field comes first here; user and system time are the 14th and 15th.
        let ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * TICK_MS))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of that name of its only workspace.
    pub(super) fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let workspace = std::fs::read_dir(self.folder.join("workspaces"))?.next().ok_or("it has a workspace")??;
        Ok(workspace.path().join(name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A benchmark that ends early leaves no node behind; one that is gone already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn text(value: String) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::Text(value)) }
}

pub(super) async fn execute(workspace: &Workspace, kind: v1::command::Kind) -> Result<v1::ExecuteResponse, Failure> {
    Ok(workspace.execute(&Change::new([v1::Command { kind: Some(kind) }])).await?)
}

pub(super) async fn make_table(workspace: &Workspace) -> Result<(), Failure> {
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
pub(super) async fn load(workspace: &Workspace, count: usize) -> Result<Vec<String>, Failure> {
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

/// Sets one field of a record.
pub(super) fn edit(record: &str, n: usize) -> Change {
    Change::new([set(record, 3, &format!("edit {n}"))])
}

pub(super) fn set(record: &str, field: usize, value: &str) -> v1::Command {
    let values = vec![v1::FieldValue { column: format!("field{field}"), value: Some(text(value.to_owned())) }];
    let set = v1::SetFields { record: record.to_owned(), table: "things".to_owned(), values };
    v1::Command { kind: Some(v1::command::Kind::SetFields(set)) }
}

/// So many edits, each a bundle of its own, by [`WRITERS`] clients at once; the n-th change is `change(n)`.
pub(super) async fn write(
    workspace: &Workspace,
    count: usize,
    change: impl Fn(usize) -> Change + Clone + Send + 'static,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (workspace, change) = (workspace.clone(), change.clone());
        writers.spawn(async move {
            for n in (writer..count).step_by(WRITERS) {
                workspace.execute(&change(n)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

pub(super) async fn read_one(workspace: &Workspace) -> Result<(), Failure> {
    let page = v1::ListRecordsRequest { table: "things".to_owned(), page_size: 1, ..v1::ListRecordsRequest::default() };
    workspace.read(page).await?;
    Ok(())
}
