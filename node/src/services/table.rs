//! Tables: their columns, their records, what a query finds, and how a cell came to hold what it holds.

use std::sync::Arc;

use openprod_api::convert::ids::id;
use openprod_api::convert::path::{optional_name, required};
use openprod_api::v1;
use openprod_api::v1::table_service_server::TableService as Service;
use openprod_domain::cell::Cell;
use openprod_domain::describe::escaped;
use openprod_domain::query::{Checked, Context, Page, PageKey, Query};
use openprod_domain::read::{self, Table};
use openprod_domain::view::{Read, View};
use openprod_model::ids::{EntityId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{DateTime, Name};
use tonic::{Request, Response, Status};

use super::paging::{self, Pages};
use super::reading::{self, Asked, Problem, Scene, read};
use crate::node::Node;

mod document;
mod explain;
mod same;

/// Reads tables, records and cells.
pub struct TableService {
    node: Arc<Node>,
}

impl TableService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Service for TableService {
    async fn list_tables(
        &self,
        request: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        let v1::ListTablesRequest { workspace, min_revision, as_of, overlay } = request.into_inner();
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, tables).await.map(Response::new)
    }

    async fn get_table(&self, request: Request<v1::GetTableRequest>) -> Result<Response<v1::GetTableResponse>, Status> {
        let v1::GetTableRequest { workspace, table, min_revision, as_of, overlay } = request.into_inner();
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        let job = move |scene: &Scene| {
            let table = Some((&reading::table(&*scene.view(), &table)?).into());
            Ok(v1::GetTableResponse { table, revision: scene.revision().0 })
        };
        read(&self.node, asked, job).await.map(Response::new)
    }

    async fn get_record(
        &self,
        request: Request<v1::GetRecordRequest>,
    ) -> Result<Response<v1::GetRecordResponse>, Status> {
        let v1::GetRecordRequest { workspace, record, table, min_revision, as_of, overlay } = request.into_inner();
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| one(scene, &record, &table)).await.map(Response::new)
    }

    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of, overlay) = (request.workspace.clone(), request.as_of.clone(), request.overlay.clone());
        let min_revision = request.min_revision;
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| list(scene, &request)).await.map(Response::new)
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<v1::QueryResponse>, Status> {
        let request = request.into_inner();
        let question = Question::of(request, now(&self.node)).map_err(Problem::from)?;
        let (workspace, as_of) = (question.request.workspace.clone(), question.request.as_of.clone());
        let (min_revision, overlay) = (question.request.min_revision, question.request.overlay.clone());
        let pinned = question.pinned;
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned, overlay: &overlay };
        read(&self.node, asked, move |scene| question.answer(scene)).await.map(Response::new)
    }

    async fn explain_cell(
        &self,
        request: Request<v1::ExplainCellRequest>,
    ) -> Result<Response<v1::ExplainCellResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of, overlay) = (request.workspace.clone(), request.as_of.clone(), request.overlay.clone());
        let min_revision = request.min_revision;
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| explain::explain(scene, &request)).await.map(Response::new)
    }

    async fn list_mappings(
        &self,
        request: Request<v1::ListMappingsRequest>,
    ) -> Result<Response<v1::ListMappingsResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of) = (request.workspace.clone(), request.as_of.clone());
        let asked = Asked { workspace: &workspace, min_revision: request.min_revision, as_of, ..Asked::default() };
        read(&self.node, asked, move |scene| same::mappings(scene, &request)).await.map(Response::new)
    }

    async fn list_merges(
        &self,
        request: Request<v1::ListMergesRequest>,
    ) -> Result<Response<v1::ListMergesResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of) = (request.workspace.clone(), request.as_of.clone());
        let asked = Asked { workspace: &workspace, min_revision: request.min_revision, as_of, ..Asked::default() };
        read(&self.node, asked, move |scene| same::merges(scene, &request)).await.map(Response::new)
    }

    async fn list_merge_exceptions(
        &self,
        request: Request<v1::ListMergeExceptionsRequest>,
    ) -> Result<Response<v1::ListMergeExceptionsResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of) = (request.workspace.clone(), request.as_of.clone());
        let asked = Asked { workspace: &workspace, min_revision: request.min_revision, as_of, ..Asked::default() };
        read(&self.node, asked, move |scene| same::exceptions(scene, &request)).await.map(Response::new)
    }

    async fn get_document(
        &self,
        request: Request<v1::GetDocumentRequest>,
    ) -> Result<Response<v1::GetDocumentResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of, overlay) = (request.workspace.clone(), request.as_of.clone(), request.overlay.clone());
        let min_revision = request.min_revision;
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| document::document(scene, &request)).await.map(Response::new)
    }
}

fn tables(scene: &Scene) -> Result<v1::ListTablesResponse, Problem> {
    let tables = read::tables(&*scene.view())?.iter().map(v1::Table::from).collect();
    Ok(v1::ListTablesResponse { tables, revision: scene.revision().0 })
}

fn one(scene: &Scene, record: &str, table: &str) -> Result<v1::GetRecordResponse, Problem> {
    let record = id(record, "record")?;
    let view = scene.view();
    let view = &*view;
    let tables = if table.is_empty() { tables_with(view, record)? } else { vec![reading::table(view, table)?] };
    let mut records = Vec::new();
    for table in &tables {
        if read::is_record(view, &table.key, record)? {
            records.push(reading::record(view, table, record, &reading::columns(table, &[])?)?);
        }
    }
    if records.is_empty() {
        return Err(no_record(view, record, table)?.into());
    }
    Ok(v1::GetRecordResponse { records, revision: scene.revision().0 })
}

/// The tables that it is a record of, by name.
fn tables_with(view: &dyn View, record: EntityId) -> Read<Vec<Table>> {
    let keys = read::tables_of(view, record)?;
    Ok(read::tables(view)?.into_iter().filter(|table| keys.contains(&table.key)).collect())
}

/// Why there is none: it was removed, or never was.
fn no_record(view: &dyn View, record: EntityId, table: &str) -> Read<Refusal> {
    let within = if table.is_empty() {
        " in a table that is shown".to_owned()
    } else {
        format!(" in table \"{}\"", escaped(table))
    };
    let refusal = |message: String| Refusal::new(Reason::UnknownRecord, message).at("record");
    if read::exists(view, record)? {
        return Ok(refusal(format!("Record {record} is not{within}, but elsewhere.")));
    }
    if was_ever(view, record)? {
        let next = "A read as of an earlier revision still shows it.";
        return Ok(refusal(format!("Record {record} was removed.")).next(next));
    }
    Ok(refusal(format!("There is no record {record}.")))
}

/// Whether it was ever put into a table.
fn was_ever(view: &dyn View, entity: EntityId) -> Read<bool> {
    for item in view.cells(&Cell::tables()) {
        let (Cell::Table { table }, _) = item? else { continue };
        if !view.tips(&Cell::Facet { table, entity })?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list(scene: &Scene, request: &v1::ListRecordsRequest) -> Result<v1::ListRecordsResponse, Problem> {
    let unpaged =
        v1::ListRecordsRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<EntityId>(&request.page_token)?.map(|(_, last)| last);
    let view = scene.view();
    let view = &*view;
    let table = reading::table(view, &request.table)?;
    let columns = reading::columns(&table, &request.columns)?;
    let mut entities = read::records(view, &table.key, after);
    let (mut records, mut last, mut bytes) = (Vec::new(), None, 0);
    while records.len() < paging::items(request.page_size) && bytes < paging::MAX_BYTES {
        let Some(entity) = entities.next().transpose()? else { break };
        let record = reading::record(view, &table, entity, &columns)?;
        bytes += reading::weight(&record);
        records.push(record);
        last = Some(entity);
    }
    let more = last.is_some() && entities.next().transpose()?.is_some();
    let next = last.filter(|_| more).map(|last| pages.token(scene.revision(), &last));
    Ok(v1::ListRecordsResponse { records, next_page_token: next.unwrap_or_default(), revision: scene.revision().0 })
}

/// The time on this node's wall, for `$now`.
fn now(node: &Node) -> Option<DateTime> {
    let ms = i64::try_from(node.env.clock.wall_ms()).ok()?;
    let offset = jiff::tz::TimeZone::system().to_offset(jiff::Timestamp::from_millisecond(ms).ok()?);
    let minutes = offset.seconds().div_euclid(60);
    DateTime::new(ms + i64::from(minutes) * 60_000, i16::try_from(minutes).ok()).ok()
}

/// Where a page of a query begins: the time that `$now` is on all of its pages, and the query's own key.
type Place = (Option<DateTime>, Vec<u8>);

/// A query as it was asked.
struct Question {
    request: v1::QueryRequest,
    pages: Pages,
    key: Option<PageKey>,
    context: Context,
    /// The revision of the first page, where pages must all be read at one.
    pinned: Option<Position>,
}

impl Question {
    fn of(request: v1::QueryRequest, now: Option<DateTime>) -> Result<Self, Refusal> {
        let unpaged = v1::QueryRequest {
            page_size: 0,
            page_token: String::new(),
            min_revision: 0,
            explain: false,
            ..request.clone()
        };
        let pages = Pages::of(&unpaged);
        let place = pages.place::<Place>(&request.page_token)?;
        let pinned = place.as_ref().map(|(revision, _)| *revision).filter(|_| sorts(&request.query));
        let (now, key) = match place {
            Some((_, (now, key))) => (now, Some(PageKey::from_bytes(&key))),
            None => (now, None),
        };
        Ok(Self { request, pages, key, context: Context { now }, pinned })
    }

    fn answer(&self, scene: &Scene) -> Result<v1::QueryResponse, Problem> {
        let view = scene.view();
        let view = &*view;
        let checked = self.checked(view)?;
        let columns = reading::columns(checked.table(), &self.request.columns)?;
        let mut page = checked.page(view, &self.context, self.key.as_ref(), paging::items(self.request.page_size))?;
        let records = fitting(view, &page, &columns)?;
        if records.len() < page.found.rows.len() {
            // The next page begins behind what was told.
            page = checked.page(view, &self.context, self.key.as_ref(), records.len())?;
        }
        let next = page.next.map(|key| {
            let place: Place = (self.context.now, key.as_bytes().to_vec());
            self.pages.token(self.pinned.unwrap_or_else(|| scene.snapshot.position()), &place)
        });
        Ok(v1::QueryResponse {
            records,
            columns: columns.iter().map(Name::to_string).collect(),
            next_page_token: next.unwrap_or_default(),
            revision: scene.revision().0,
            plan: if self.request.explain { page.found.plan } else { String::new() },
        })
    }

    fn checked(&self, view: &dyn View) -> Result<Checked, Problem> {
        let named = optional_name(&self.request.table, "table")?;
        if named.is_some() {
            reading::table(view, &self.request.table)?;
        }
        if self.request.query.trim().is_empty() {
            let table = required(named, "table")?;
            return Ok(Query::of_table(&table).check(view, None)?);
        }
        let query = Query::parse(&self.request.query).map_err(|error| Refusal::from(error).at("query"))?;
        Ok(query.check(view, named.as_ref())?)
    }
}

/// Whether a query sorts its rows: its pages then belong to one revision.
fn sorts(query: &str) -> bool {
    Query::parse(query).is_ok_and(|query| query.is_ordered())
}

/// The records of a page, as many as fit into a message.
fn fitting(view: &dyn View, page: &Page, columns: &[Name]) -> Read<Vec<v1::Record>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    for entity in &page.found.rows {
        if bytes >= paging::MAX_BYTES {
            break;
        }
        let record = reading::record(view, &page.found.table, *entity, columns)?;
        bytes += reading::weight(&record);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, page_token: &str) -> v1::QueryRequest {
        v1::QueryRequest { query: query.into(), page_token: page_token.into(), ..v1::QueryRequest::default() }
    }

    fn next_of(query: &str) -> String {
        let now = DateTime::new(5, Some(60)).unwrap();
        let question = Question::of(asked(query, ""), Some(now)).unwrap();
        let place: Place = (Some(now), vec![1, 2]);
        question.pages.token(Position(9), &place)
    }

    #[test]
    fn pages_of_a_sorted_query_are_read_at_one_revision_and_at_one_time() {
        let query = "table == \"cues\" Order By label";
        let later = DateTime::new(99, Some(60)).ok();
        let question = Question::of(asked(query, &next_of(query)), later).unwrap();
        assert_eq!(question.pinned, Some(Position(9)));
        assert_eq!(question.context.now, DateTime::new(5, Some(60)).ok());
        assert_eq!(question.key, Some(PageKey::from_bytes(&[1, 2])));
    }

    #[test]
    fn pages_in_the_order_of_creation_go_on_with_the_newest_state() {
        let query = "table == \"cues\"";
        assert_eq!(Question::of(asked(query, &next_of(query)), None).unwrap().pinned, None);
    }

    #[test]
    fn a_page_token_of_another_query_is_refused_but_sizes_may_differ() {
        let token = next_of("table == \"cues\"");
        assert!(Question::of(asked("table == \"people\"", &token), None).is_err());
        let smaller = v1::QueryRequest { page_size: 3, explain: true, ..asked("table == \"cues\"", &token) };
        assert!(Question::of(smaller, None).is_ok());
    }
}
