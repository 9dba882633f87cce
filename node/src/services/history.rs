//! History: the log as people read it, newest first, and single bundles with all that they changed.

use std::sync::Arc;

use openprod_api::convert::history::{BundleName, bundle_named, cell_content};
use openprod_api::v1;
use openprod_api::v1::history_service_server::HistoryService as Service;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::describe;
use openprod_domain::fold::{self, Write};
use openprod_domain::view::{Read, View};
use openprod_messages::log::{Entry, LogReader, Stored};
use openprod_model::bundle::{Bundle, Op};
use openprod_model::ids::{Digest, OpRef, Position};
use openprod_model::operation::Operation;
use openprod_model::refusal::{Reason, Refusal};
use tonic::{Request, Response, Status};

use self::filter::Filter;
use super::batch::{Names, info};
use super::paging::{self, Pages};
use super::reading::{Asked, Problem, Scene, blocking, read};
use crate::node::Node;

mod filter;
mod words;

/// How many entries are read at a time, going back.
const CHUNK_ENTRIES: u64 = 1_024;
/// How many entries are looked at for one page; a page may end there, with fewer items or none, and a token.
const MAX_ENTRIES: u64 = 200_000;
/// How many bundles are read for one page, likewise.
const MAX_BUNDLES: usize = 5_000;
/// How much of the changes of one page is told; a bundle's import of long texts stays below what clients accept.
const MAX_CONTENT_BYTES: usize = paging::MAX_BYTES;

/// Reads the log.
pub struct HistoryService {
    node: Arc<Node>,
}

impl HistoryService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Service for HistoryService {
    async fn list_bundles(
        &self,
        request: Request<v1::ListBundlesRequest>,
    ) -> Result<Response<v1::ListBundlesResponse>, Status> {
        let request = request.into_inner();
        let workspace = request.workspace.clone();
        let asked = Asked { workspace: &workspace, min_revision: request.min_revision, ..Asked::default() };
        read(&self.node, asked, move |scene| list(scene, &request)).await.map(Response::new)
    }

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<v1::GetBundleResponse>, Status> {
        let request = request.into_inner();
        let workspace = super::workspace(&self.node, &request.workspace)?;
        let (log, named) = (Arc::clone(&workspace.log), request.bundle.clone());
        // The state must have folded the bundle, to tell what stood before it.
        let position = blocking(move |_| position_of(&*log, &named)).await?;
        let name = request.workspace.clone();
        let asked = Asked { workspace: &name, min_revision: position.0, ..Asked::default() };
        read(&self.node, asked, move |scene| one(scene, position, &request)).await.map(Response::new)
    }
}

fn list(scene: &Scene, request: &v1::ListBundlesRequest) -> Result<v1::ListBundlesResponse, Problem> {
    let unpaged =
        v1::ListBundlesRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let newest = scene.snapshot.position();
    let from = pages
        .place::<Position>(&request.page_token)?
        .map_or(newest, |(_, behind)| Position(behind.0.saturating_sub(1)));
    let view = scene.view();
    let filter = Filter::of(request, &*view)?;
    let mut search = Search { scene, filter: &filter, names: Names::of(&*view), found: Vec::new(), read: 0 };
    let reached = search.back_from(from.min(newest), paging::items(request.page_size))?;
    let next = if reached > Position(1) { pages.token(newest, &reached) } else { String::new() };
    Ok(v1::ListBundlesResponse { bundles: search.found, next_page_token: next, revision: scene.revision().0 })
}

/// A walk back through the log.
struct Search<'a> {
    scene: &'a Scene,
    filter: &'a Filter,
    names: Names<'a>,
    found: Vec<v1::BundleInfo>,
    read: usize,
}

impl Search<'_> {
    /// Finds at most `wanted` bundles at and before `from`; says which position was looked at last.
    fn back_from(&mut self, from: Position, wanted: usize) -> Result<Position, Problem> {
        let mut behind = from.next();
        let end = Position(from.0.saturating_sub(MAX_ENTRIES));
        while behind.0 > 1 && behind > end {
            self.scene.stop.check()?;
            let start = Position(behind.0.saturating_sub(CHUNK_ENTRIES).max(1));
            let count = usize::try_from(behind.0 - start.0).unwrap_or(usize::MAX);
            let entries = self.scene.log.entries(start, count)?;
            for (position, entry) in entries.into_iter().rev().filter(|(position, _)| *position < behind) {
                self.look_at(position, &entry)?;
                if self.found.len() == wanted || self.read >= MAX_BUNDLES {
                    return Ok(position);
                }
            }
            behind = start;
        }
        Ok(behind)
    }

    fn look_at(&mut self, position: Position, entry: &Entry) -> Result<(), Problem> {
        if !self.filter.fits_entry(entry) {
            return Ok(());
        }
        self.read += 1;
        let Some(stored) = self.scene.log.bundle(position)? else { return Ok(()) };
        let fits = match &stored {
            Stored::Whole(bundle) => self.filter.fits_bundle(&*self.scene.snapshot, position, bundle)?,
            // What cannot be read can be found by what the log keeps beside it, and only so.
            Stored::Damaged { .. } => self.filter.is_of_entries_only(),
        };
        if fits {
            self.found.push(info(&mut self.names, position, entry, stored.outline().as_ref())?);
        }
        Ok(())
    }
}

pub(super) fn position_of(log: &dyn LogReader, named: &str) -> Result<Position, Problem> {
    let position = match bundle_named(named, "bundle")? {
        BundleName::Digest(digest) => log.position_of(digest)?,
        BundleName::Id(id) => log.position_of_id(id)?,
    };
    position.ok_or_else(|| no_bundle(named).into())
}

fn no_bundle(named: &str) -> Refusal {
    Refusal::new(Reason::UnknownHistory, format!("There is no bundle {}.", describe::escaped(named))).at("bundle")
}

fn one(scene: &Scene, position: Position, request: &v1::GetBundleRequest) -> Result<v1::GetBundleResponse, Problem> {
    let unpaged = v1::GetBundleRequest { page_size: 0, page_token: String::new(), ..request.clone() };
    let pages = Pages::of(&unpaged);
    let first = pages.place::<u32>(&request.page_token)?.map_or(0, |(_, next)| next);
    let (entry, stored) = stored_at(&*scene.log, position)?.ok_or_else(|| no_bundle(&request.bundle))?;
    let view = scene.view_at(position);
    let bundle = Some(info(&mut Names::of(&*view), position, &entry, stored.outline().as_ref())?);
    let Stored::Whole(whole) = &stored else {
        return Ok(v1::GetBundleResponse { bundle, ..v1::GetBundleResponse::default() });
    };
    let mut page = OpsPage { scene, view: &*view, ops: Vec::new(), bytes: 0 };
    let next = page.fill(whole, first, paging::items(request.page_size))?;
    Ok(v1::GetBundleResponse {
        bundle,
        parents: whole.header().parents.iter().map(Digest::to_string).collect(),
        ops: page.ops,
        next_page_token: next.map(|next| pages.token(position, &next)).unwrap_or_default(),
    })
}

fn stored_at(log: &dyn LogReader, position: Position) -> Read<Option<(Entry, Stored)>> {
    Ok(log.entry(position)?.zip(log.bundle(position)?))
}

/// Some ops of a bundle, as they are told.
struct OpsPage<'a> {
    scene: &'a Scene,
    view: &'a dyn View,
    ops: Vec<v1::OpInfo>,
    bytes: usize,
}

impl OpsPage<'_> {
    /// Takes in at most `wanted` ops from `first` on; says where the next page begins.
    fn fill(&mut self, bundle: &Bundle, first: u32, wanted: usize) -> Result<Option<u32>, Problem> {
        for (index, op) in (0_u32..).zip(bundle.ops()).skip(usize::try_from(first).unwrap_or(usize::MAX)) {
            if self.ops.len() == wanted || self.bytes > MAX_CONTENT_BYTES {
                return Ok(Some(index));
            }
            self.scene.stop.check()?;
            let told = self.op(op)?;
            self.ops.push(told);
        }
        Ok(None)
    }

    fn op(&mut self, op: &Op) -> Read<v1::OpInfo> {
        let Some(operation) = &op.operation else {
            let words = format!("Something that a newer version knows (kind {})", op.kind);
            return Ok(v1::OpInfo { op: op.reference.to_string(), words, ..v1::OpInfo::default() });
        };
        let mut changes = Vec::new();
        for write in fold::writes(operation) {
            changes.push(self.change(&write)?);
        }
        Ok(v1::OpInfo {
            op: op.reference.to_string(),
            kind: kind_name(op.kind).to_owned(),
            words: words::of(self.view, &|file| self.scene.file_called(file), operation)?,
            changes,
        })
    }

    fn change(&mut self, write: &Write<'_>) -> Read<v1::CellChange> {
        let before = self.seen(&write.cell, &write.basis.preds)?;
        self.bytes += before.iter().chain([&write.content]).map(content_weight).sum::<usize>();
        Ok(v1::CellChange {
            cell: Some((&write.cell).into()),
            before: before.iter().map(|content| cell_content(&write.cell, content)).collect(),
            after: Some(cell_content(&write.cell, &write.content)),
        })
    }

    /// What the author had seen standing: each different content once.
    fn seen(&self, cell: &Cell, preds: &[OpRef]) -> Read<Vec<Content>> {
        let mut seen = Vec::new();
        if preds.is_empty() {
            return Ok(seen);
        }
        for row in self.scene.snapshot.written(cell)?.iter().filter(|row| preds.contains(&row.op)) {
            let Some(Stored::Whole(bundle)) = self.scene.log.bundle(row.position)? else { continue };
            let index = usize::try_from(row.index).unwrap_or(usize::MAX);
            let operation = bundle.ops().get(index).and_then(|op| op.operation.as_ref());
            let content = operation.and_then(|operation| written_into(cell, operation));
            seen.extend(content.filter(|content| !seen.contains(content)));
        }
        Ok(seen)
    }
}

/// What an op left in a cell.
fn written_into(cell: &Cell, operation: &Operation) -> Option<Content> {
    fold::writes(operation).into_iter().rfind(|write| write.cell == *cell).map(|write| write.content)
}

fn kind_name(kind: u16) -> &'static str {
    Operation::KINDS.iter().find(|(number, _)| *number == kind).map_or("", |(_, name)| name)
}

/// About how many bytes a content takes in a message.
fn content_weight(content: &Content) -> usize {
    use openprod_model::value::Value;
    128 + match content {
        Content::Value(Value::Text(text)) => text.as_str().len(),
        Content::Value(value @ Value::List(_)) => openprod_model::codec::encode(value).len(),
        Content::Place(place) => place.len(),
        Content::Edit(update) => update.len(),
        Content::Column(spec) => openprod_model::codec::encode(spec).len(),
        _ => 0,
    }
}
