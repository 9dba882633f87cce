//! What people decide about: conflicts, overlays, undo, history. Each beside the nearest thing that the same node does.

use std::path::Path;
use std::time::{Duration, Instant};

use openprod_client::{Change, Client, Workspace, v1};

use super::kit::{Failure, Node, RECORDS_A_BUNDLE, line, load, make_table, median, ms, set};

const CONFLICTS: usize = 10_000;
const STAGED: usize = 50_000;
const EDITS: usize = 2_000;
const ROUNDS: usize = 50;

pub(super) async fn figures(folder: &Path) -> Result<(), Failure> {
    let mut node = Node::start(folder)?;
    let workspace = node.workspace("Decisions").await?;
    make_table(&workspace).await?;
    let records = load(&workspace, CONFLICTS).await?;
    let page = || v1::ListRecordsRequest { table: "things".to_owned(), page_size: 100, ..Default::default() };
    let floor = timed(async || workspace.read(page()).await.map(drop)).await?;
    conflicts(&node, &workspace, &records, floor).await?;
    undo(&workspace, &records).await?;
    overlay(&workspace, &records, floor).await?;
    history(&workspace, &records[0], floor).await
}

/// The median of some rounds.
async fn timed<E>(mut job: impl AsyncFnMut() -> Result<(), E>) -> Result<Duration, Failure>
where
    Failure: From<E>,
{
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        job().await?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

/// Two sessions write every record's field without having seen each other.
async fn conflicts(node: &Node, workspace: &Workspace, records: &[String], page: Duration) -> Result<(), Failure> {
    let base = workspace.describe().await?.revision;
    let other = Client::connect(node.client.clone()).await?.workspace(workspace.id());
    let mut times = Vec::new();
    for (who, value) in [(workspace, "ours"), (&other, "theirs")] {
        let start = Instant::now();
        for part in records.chunks(RECORDS_A_BUNDLE) {
            who.execute(&Change::new(part.iter().map(|record| set(record, 1, value))).base(base)).await?;
        }
        let shown = v1::ListRecordsRequest { table: "things".to_owned(), page_size: 1, ..Default::default() };
        workspace.read(shown).await?;
        times.push(start.elapsed());
    }
    let (without, with) = (times[0], times[1]);
    let ratio = with.div_duration_f64(without);
    line("10,000 field sets that conflict / that do not", &ms(with), &ms(without), ratio);
    let listing = || v1::ListConflictsRequest { page_size: 100, ..Default::default() };
    let listed = timed(async || workspace.read(listing()).await.map(drop)).await?;
    line("page of 100 of 10,000 conflicts / of records", &ms(listed), &ms(page), listed.div_duration_f64(page));
    Ok(())
}

async fn undo(workspace: &Workspace, records: &[String]) -> Result<(), Failure> {
    let start = Instant::now();
    workspace.execute(&Change::new(records.iter().map(|record| set(record, 2, "changed")))).await?;
    let done = start.elapsed();
    let start = Instant::now();
    workspace.execute(&Change::undo(v1::UndoScope::Mine, None)).await?;
    let undone = start.elapsed();
    line("undo of a bundle of 10,000 ops / making it", &ms(undone), &ms(done), undone.div_duration_f64(done));
    Ok(())
}

async fn overlay(workspace: &Workspace, records: &[String], page: Duration) -> Result<(), Failure> {
    let id = workspace.create_overlay("Much", "", None).await?.overlay;
    let within = workspace.clone().through(id.parse()?);
    for field in 3..3 + STAGED / records.len() {
        within.execute(&Change::new(records.iter().map(|record| set(record, field, "staged")))).await?;
    }
    let preview = || v1::PreviewOverlayRequest { overlay: id.clone(), page_size: 100, ..Default::default() };
    let previewed = timed(async || workspace.read(preview()).await.map(drop)).await?;
    line("first page of 50,000 staged ops / of records", &ms(previewed), &ms(page), previewed.div_duration_f64(page));
    let mut edits = 0..ROUNDS;
    let restaged = timed(async || {
        let value = format!("staged {:?}", edits.next());
        within.execute(&Change::new([set(&records[0], 3, &value)])).await?;
        workspace.read(preview()).await.map(drop)
    })
    .await?;
    line(
        "the same behind one more staged edit / of records",
        &ms(restaged),
        &ms(page),
        restaged.div_duration_f64(page),
    );
    Ok(())
}

async fn history(workspace: &Workspace, record: &str, page: Duration) -> Result<(), Failure> {
    for n in 0..EDITS {
        workspace.execute(&Change::new([set(record, 9, &format!("edit {n}"))])).await?;
    }
    let field = v1::cell::Field { table: "things".to_owned(), record: record.to_owned(), column: "field9".to_owned() };
    let cell = Some(v1::Cell { kind: Some(v1::cell::Kind::Field(field)) });
    let explain = || v1::ExplainCellRequest { cell: cell.clone(), page_size: 50, ..Default::default() };
    let told = timed(async || workspace.read(explain()).await.map(drop)).await?;
    line("first page of a cell edited 2,000 times / of records", &ms(told), &ms(page), told.div_duration_f64(page));
    Ok(())
}
