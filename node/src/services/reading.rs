//! Reading: one revision of a workspace, opened for a request and read off the runtime's threads.
//!
//! What may be long runs on blocking threads, only so many at once, and stops soon after nobody waits for it any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openprod_api::convert;
use openprod_api::convert::ids::optional_id;
use openprod_api::convert::path::{name, optional_part};
use openprod_api::status::ApiError;
use openprod_api::v1;
use openprod_blobs::collect::Library;
use openprod_domain::cell::Cell;
use openprod_domain::query::QueryProblem;
use openprod_domain::read::{self, FieldReading, Origin, Table};
use openprod_domain::view::{AsOf, Moment, Read, ReadFailure, View};
use openprod_domain::{describe, register};
use openprod_messages::log::LogReader;
use openprod_messages::overlays::Overlay;
use openprod_messages::snapshot::Snapshot;
use openprod_model::ids::{BlobHash, EntityId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Name;
use tokio::sync::Semaphore;
use tonic::Status;

use super::moment::{self, Past};
use crate::node::Node;
use crate::workspace::Workspace;

/// How many blocking reads run at once in this process; the others wait their turn.
const MAX_READS: usize = 64;

static READS: Semaphore = Semaphore::const_new(MAX_READS);

/// Why a read gave no answer: ready to be sent.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Box<Status>);

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        *problem.0
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Status::from(ApiError::from(refusal)).into()
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Status::from(error).into()
    }
}

impl From<ReadFailure> for Problem {
    fn from(failure: ReadFailure) -> Self {
        super::unreadable(&failure).into()
    }
}

impl From<QueryProblem> for Problem {
    fn from(problem: QueryProblem) -> Self {
        match problem {
            QueryProblem::Query(error) => Refusal::from(error).at("query").into(),
            QueryProblem::Read(failure) => failure.into(),
        }
    }
}

/// Says whether anybody still waits for a read.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A failure once nobody waits any more; to be asked now and then by what takes long.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.0.load(Ordering::Relaxed) {
            Err(Status::cancelled("Nobody waits for this any more.").into())
        } else {
            Ok(())
        }
    }
}

/// Lives as long as somebody waits.
struct Waiting(Stop);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `job` on a thread where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce(&Stop) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let permit = READS.acquire().await.expect("the permits are never closed");
    let stop = Stop::default();
    let _waiting = Waiting(stop.clone());
    let run = move || {
        // The permit is given back when the work ends, not when its caller gives up.
        let _permit = permit;
        job(&stop)
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(_) => Err(super::internal("a read panicked").into()),
    }
}

/// What a request says about where and when it reads.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    /// The workspace.
    pub(super) workspace: &'a str,
    /// The revision to wait for.
    pub(super) min_revision: u64,
    /// A point in the past.
    pub(super) as_of: Option<v1::AsOf>,
    /// The revision at which earlier pages were read, if this one must be read there too.
    pub(super) pinned: Option<Position>,
    /// The overlay through which to read; empty for none.
    pub(super) overlay: &'a str,
}

/// Opens the workspace at the time asked for, and runs `job` there.
pub(super) async fn read<T: Send + 'static>(
    node: &Node,
    asked: Asked<'_>,
    job: impl FnOnce(&Scene) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Status> {
    let workspace = super::workspace(node, asked.workspace)?;
    Ok(read_in(&workspace, asked, job).await?)
}

async fn read_in<T: Send + 'static>(
    workspace: &Workspace,
    asked: Asked<'_>,
    job: impl FnOnce(&Scene) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let as_of = optional_part::<_, convert::history::AsOf>(asked.as_of.clone(), "as_of")?;
    let (id, log) = (workspace.id, Arc::clone(&workspace.log));
    let mut min_revision = Position(asked.min_revision).max(asked.pinned.unwrap_or_default());
    let overlay = overlay(workspace, &asked).await?;
    if overlay.is_some() {
        // What was staged was planned on everything that was acknowledged by then.
        min_revision = min_revision.max(workspace.log.tail()?.position);
    }
    if let Some(as_of) = as_of {
        let log = Arc::clone(&log);
        let needed = blocking(move |stop| Past { workspace: id, log: &*log, stop }.needed(as_of)).await?;
        min_revision = min_revision.max(needed);
    }
    let snapshot = super::snapshot_from(workspace, min_revision).await?;
    let (pinned, library) = (asked.pinned, workspace.library.clone());
    blocking(move |stop| {
        let upto = pinned.unwrap_or_else(|| snapshot.position());
        let moment = match as_of {
            Some(as_of) => Some(Past { workspace: id, log: &*log, stop }.moment(as_of, upto)?),
            None => pinned.map(Moment::Revision),
        };
        let moment = moment.filter(|moment| !is_now(moment, &*snapshot));
        job(&Scene { snapshot, log, library, moment, overlay, stop: stop.clone() })
    })
    .await
}

/// The overlay that was asked for. Before the snapshot is taken: should it be committed in between, both say the same.
async fn overlay(workspace: &Workspace, asked: &Asked<'_>) -> Result<Option<Overlay>, Problem> {
    let Some(id) = optional_id(asked.overlay, "overlay")? else { return Ok(None) };
    if asked.as_of.is_some() {
        let message = "An overlay lies on the present; it cannot be read in the past.";
        return Err(Refusal::new(Reason::InvalidRequest, message).at("overlay").into());
    }
    super::overlays_follow(workspace).await?;
    Ok(Some(workspace.shelf.overlay(id).map_err(super::failed)?))
}

fn is_now(moment: &Moment, snapshot: &dyn Snapshot) -> bool {
    matches!(moment, Moment::Revision(revision) if *revision == snapshot.position())
}

/// A workspace as a request sees it: one revision of it, or a moment before.
pub(super) struct Scene {
    /// The state.
    pub(super) snapshot: Arc<dyn Snapshot>,
    /// The log.
    pub(super) log: Arc<dyn LogReader>,
    /// Its files.
    pub(super) library: Library,
    /// The moment in the past; none for the snapshot's own.
    pub(super) moment: Option<Moment>,
    /// The overlay through which it is seen.
    pub(super) overlay: Option<Overlay>,
    /// Says when nobody waits any more.
    pub(super) stop: Stop,
}

impl Scene {
    /// What people call a file: in quotes its name, if anything refers to it by one.
    pub(super) fn file_called(&self, hash: BlobHash) -> String {
        let name = self.library.mention(hash).ok().flatten().map(|mention| mention.name).unwrap_or_default();
        if name.is_empty() { hash.short() } else { format!("\"{}\"", describe::escaped(&name)) }
    }

    /// What is seen.
    pub(super) fn view(&self) -> Box<dyn View + '_> {
        match &self.overlay {
            None => self.canonical(),
            Some(overlay) => Box::new(overlay.staging.over(self.canonical())),
        }
    }

    /// What is seen without an overlay.
    pub(super) fn canonical(&self) -> Box<dyn View + '_> {
        match &self.moment {
            None => Box::new(self.snapshot.view()),
            Some(moment) => Box::new(AsOf::new(&*self.snapshot, moment.clone())),
        }
    }

    /// The view at a position.
    pub(super) fn view_at(&self, position: Position) -> Box<dyn View + '_> {
        view_at(&*self.snapshot, position)
    }

    /// The revision that is shown, or up to which everything is shown.
    pub(super) fn revision(&self) -> Position {
        self.moment.as_ref().map_or_else(|| self.snapshot.position(), moment::surely_shown)
    }

    /// Whether the bundle at `position` had happened.
    pub(super) fn includes(&self, position: Position) -> bool {
        self.moment.as_ref().is_none_or(|moment| moment.includes(position))
    }
}

/// What was seen right behind the bundle at `position`.
pub(super) fn view_at(snapshot: &dyn Snapshot, position: Position) -> Box<dyn View + '_> {
    if position == snapshot.position() {
        return Box::new(snapshot.view());
    }
    Box::new(AsOf::new(snapshot, Moment::Revision(position)))
}

/// The table of that name or key, which is not dropped.
pub(super) fn table(view: &dyn View, named: &str) -> Result<Table, Problem> {
    let named = name(named, "table")?;
    if let Some(table) = read::table(view, &named)? {
        return Ok(table);
    }
    let tables = read::tables(view)?;
    let next = describe::suggestion(named.as_str(), tables.iter().map(|table| table.spec.name.as_str()), "table");
    let message = format!("There is no table \"{named}\".");
    Err(Refusal::new(Reason::UnknownTable, message).at("table").next(next).into())
}

/// The key of the table of that name or key, dropped ones included: for looking into the past.
pub(super) fn table_key(view: &dyn View, named: &str) -> Result<Name, Problem> {
    let key = name(named, "table")?;
    match table(view, named) {
        Ok(table) => Ok(table.key),
        Err(_) if !view.tips(&Cell::Table { table: key.clone() })?.is_empty() => Ok(key),
        Err(problem) => Err(problem),
    }
}

/// The keys of the columns named, or of all that are not hidden.
pub(super) fn columns(table: &Table, named: &[String]) -> Result<Vec<Name>, Refusal> {
    if named.is_empty() {
        return Ok(table.visible().map(|column| column.key.clone()).collect());
    }
    let mut keys: Vec<Name> = Vec::new();
    for (index, named) in named.iter().enumerate() {
        let key = column(table, named).map_err(|refusal| refusal.at(format!("columns[{index}]")))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The key of the column of that name or key.
pub(super) fn column(table: &Table, named: &str) -> Result<Name, Refusal> {
    if let Some(column) = table.column(&name(named, "column")?) {
        return Ok(column.key.clone());
    }
    let known = table.columns.iter().map(|column| column.spec.name.as_str());
    let message = format!("Table {} has no column \"{}\".", table.spec.name, describe::escaped(named));
    let next = describe::suggestion(named, known, "column");
    Err(Refusal::new(Reason::UnknownField, message).at("column").next(next))
}

/// A record of a table, with those of the `columns` that hold something or are in conflict.
pub(super) fn record(view: &dyn View, table: &Table, entity: EntityId, columns: &[Name]) -> Read<v1::Record> {
    let fields: BTreeMap<Name, FieldReading> = read::fields(view, &table.key, entity)?.into_iter().collect();
    let told = columns.iter().filter_map(|column| fields.get_key_value(column));
    let told = told.filter(|(_, field)| field.value.is_some() || field.in_conflict() || is_broken(field));
    record_of(view, &table.key, view.unions()?.canonical(entity), told)
}

/// A record of a table under all its ids, with the fields given.
pub(super) fn record_of<'a>(
    view: &dyn View,
    table: &Name,
    entity: EntityId,
    fields: impl IntoIterator<Item = (&'a Name, &'a FieldReading)>,
) -> Read<v1::Record> {
    let unions = view.unions()?;
    let ids = if unions.canonical(entity) == entity { unions.ids(&entity) } else { &[entity] };
    Ok(convert::reading::record(ids, table, membership_in_conflict(view, table, ids)?, fields))
}

/// Whether people disagree on its being a record of that table, under any of its ids.
fn membership_in_conflict(view: &dyn View, table: &Name, ids: &[EntityId]) -> Read<bool> {
    for entity in ids {
        let cell = Cell::Facet { table: table.clone(), entity: *entity };
        if register::in_conflict(&cell, &view.tips(&cell)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_broken(field: &FieldReading) -> bool {
    matches!(field.origin, Origin::Broken(_))
}

/// About how many bytes a record takes in a message.
pub(super) fn weight(record: &v1::Record) -> usize {
    64 + record.table.len() + record.fields.iter().map(field_weight).sum::<usize>()
}

/// About how many bytes an edge takes in a message.
pub(super) fn edge_weight(edge: &v1::Edge) -> usize {
    192 + edge.properties.iter().map(field_weight).sum::<usize>()
}

fn field_weight(field: &v1::FieldReading) -> usize {
    use v1::value::Kind;
    let value = match field.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(Kind::Text(text) | Kind::Enum(text)) => text.len(),
        Some(Kind::Blob(blob)) => 80 + blob.name.len() + blob.media_type.len(),
        Some(Kind::List(list)) => list.items.iter().map(item_weight).sum(),
        _ => 64,
    };
    32 + field.column.len()
        + value
        + field.target.as_ref().map_or(0, |target| 64 + target.table.len() + target.field.len())
}

fn item_weight(item: &v1::Primitive) -> usize {
    match &item.kind {
        Some(v1::primitive::Kind::Text(text)) => 8 + text.len(),
        _ => 48,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_stops() {
        let (seen, stopped) = std::sync::mpsc::channel();
        let read = blocking(move |stop| {
            while stop.check().is_ok() {
                std::thread::yield_now();
            }
            seen.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), read).await.is_err());
        tokio::task::spawn_blocking(move || stopped.recv().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_internal_error() {
        let problem = blocking::<()>(|_| panic!("as planned")).await.unwrap_err();
        assert_eq!(Status::from(problem).code(), tonic::Code::Internal);
    }
}
