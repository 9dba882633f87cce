//! The command `watch`: what happens, as it happens.

use openprod_client::{Event, From, v1};
use openprod_domain::describe::escaped;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Style, line, remark};
use super::{json as told, time, who};

/// Follows the workspace until it is stopped
#[derive(Debug, Clone, clap::Args)]
pub struct WatchArgs {
    /// Tells of this table only; may be given several times
    #[arg(long)]
    pub table: Vec<String>,
    /// Begins behind this revision, not now
    #[arg(long, value_name = "REVISION")]
    pub from: Option<u64>,
}

/// Runs `watch`.
pub async fn run(args: WatchArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let mut watch = workspace.watch(args.from.map_or(From::Now, From::Revision), args.table);
    loop {
        let event = watch.next().await?;
        match (context.style, &event) {
            (Style::Json, _) => output::json(&as_json(&event))?,
            (_, Event::Batch(batch)) => tell(batch)?,
            (_, Event::Resynced) => remark("The watch could not go on where it was; some changes were not told."),
            (_, Event::SnapshotEnd(revision)) => remark(&format!("It goes on behind revision {revision}.")),
            (_, Event::Overlay(event)) => tell_of_overlay(event)?,
            (_, Event::Presence(event)) => who::tell(event)?,
            (_, Event::Snapshot(_) | Event::Bookmark(_)) => {}
        }
    }
}

fn tell(batch: &v1::ChangeBatch) -> Result<(), CliError> {
    let bundle = batch.bundle.clone().unwrap_or_default();
    let head = format!("{}  {}  {}  {}", bundle.revision, time::of_bundle(&bundle), told::who(&bundle), bundle.label);
    line(&escaped(&head))?;
    for change in &batch.records {
        let record = change.record.clone().unwrap_or_default();
        let fields: Vec<_> = record.fields.iter().map(|one| format!("{}={}", one.column, told::flagged(one))).collect();
        let words = format!("{} {} {}", kind_word(change.kind()), record.table, record.id);
        line(&escaped(format!("    {words}  {}", fields.join(", ")).trim_end()))?;
    }
    for change in &batch.edges {
        let edge = change.edge.clone().unwrap_or_default();
        let ends = edge.ends.unwrap_or_default();
        let words = format!("{} edge {} {}", kind_word(change.kind()), ends.r#type, edge.id);
        line(&escaped(&format!("    {words}  from {} to {}", ends.source, ends.target)))?;
    }
    for change in &batch.conflicts {
        line(&escaped(&format!("    ! {}: {}", turn_word(change.kind()), change.sentence)))?;
    }
    if let Some(too_large) = &batch.too_large {
        line(&escaped(&format!("    too large to tell: read again {}", too_large.tables.join(", "))))?;
    }
    Ok(())
}

fn tell_of_overlay(event: &v1::OverlayEvent) -> Result<(), CliError> {
    line(&escaped(&format!("overlay  {}  {}", event_word(event), overlay_name(event))))
}

fn kind_word(kind: v1::ChangeKind) -> &'static str {
    match kind {
        v1::ChangeKind::Created => "+",
        v1::ChangeKind::Removed => "-",
        v1::ChangeKind::Changed | v1::ChangeKind::Unspecified => "~",
    }
}

fn turn_word(kind: v1::ConflictChangeKind) -> &'static str {
    match kind {
        v1::ConflictChangeKind::Opened => "opened",
        v1::ConflictChangeKind::Reopened => "reopened",
        v1::ConflictChangeKind::Changed => "changed",
        v1::ConflictChangeKind::Resolved => "resolved",
        v1::ConflictChangeKind::Unspecified => "unknown",
    }
}

fn as_json(event: &Event) -> Json {
    match event {
        Event::Snapshot(part) => json!({"event": "snapshot",
            "tables": part.tables.iter().map(told::table).collect::<Vec<_>>(),
            "records": part.records.iter().map(told::record).collect::<Vec<_>>(),
            "edges": part.edges.iter().map(told::edge).collect::<Vec<_>>()}),
        Event::SnapshotEnd(revision) => json!({"event": "snapshot_end", "revision": revision}),
        Event::Bookmark(revision) => json!({"event": "bookmark", "revision": revision}),
        Event::Resynced => json!({"event": "resynced"}),
        Event::Batch(batch) => batch_json(batch),
        Event::Presence(event) => json!({"event": "presence",
            "people": event.people.iter().map(who::as_json).collect::<Vec<_>>()}),
        Event::Overlay(event) => json!({"event": "overlay", "what": event_word(event), "overlay": event.overlay,
            "name": event.name, "generation": event.generation, "revision": event.revision}),
    }
}

fn event_word(event: &v1::OverlayEvent) -> &'static str {
    match event.kind() {
        v1::OverlayEventKind::Changed => "changed",
        v1::OverlayEventKind::Drifted => "drifted",
        v1::OverlayEventKind::Committed => "committed",
        v1::OverlayEventKind::Discarded => "discarded",
        v1::OverlayEventKind::Unspecified => "unknown",
    }
}

/// One that is no more is known by its id only.
fn overlay_name(event: &v1::OverlayEvent) -> &str {
    if event.name.is_empty() { &event.overlay } else { &event.name }
}

fn batch_json(batch: &v1::ChangeBatch) -> Json {
    let record = |change: &v1::RecordChange| json!({"change": change_word(change.kind()), "record": change.record.as_ref().map(told::record)});
    let edge = |change: &v1::EdgeChange| json!({"change": change_word(change.kind()), "edge": change.edge.as_ref().map(told::edge)});
    let conflict = |change: &v1::ConflictChange| json!({"change": turn_word(change.kind()), "conflict": change.conflict, "sentence": change.sentence});
    let too_large = batch.too_large.as_ref().map(|large| json!({"tables": large.tables, "edges": large.edges}));
    json!({
        "event": "batch", "bundle": batch.bundle.as_ref().map(told::bundle),
        "records": batch.records.iter().map(record).collect::<Vec<_>>(),
        "edges": batch.edges.iter().map(edge).collect::<Vec<_>>(),
        "conflicts": batch.conflicts.iter().map(conflict).collect::<Vec<_>>(),
        "conflicts_changed": batch.conflicts_changed, "schema_changed": batch.schema_changed, "workspace_changed": batch.workspace_changed, "too_large": too_large,
    })
}

fn change_word(kind: v1::ChangeKind) -> &'static str {
    match kind {
        v1::ChangeKind::Created => "created",
        v1::ChangeKind::Changed => "changed",
        v1::ChangeKind::Removed => "removed",
        v1::ChangeKind::Unspecified => "unknown",
    }
}
