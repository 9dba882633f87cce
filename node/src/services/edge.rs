//! Edges: relationships between records, as they are shown.

use std::sync::Arc;

use openprod_api::convert::ids::id;
use openprod_api::convert::path::{known, optional_name};
use openprod_api::convert::reading::directions;
use openprod_api::v1;
use openprod_api::v1::edge_service_server::EdgeService as Service;
use openprod_domain::read::{self, EdgeReading};
use openprod_domain::view::{Read, View};
use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Name;
use tonic::{Request, Response, Status};

use super::paging::{self, Pages};
use super::reading::{Asked, Problem, Scene, edge_weight, read};
use crate::node::Node;

/// Reads edges.
pub struct EdgeService {
    node: Arc<Node>,
}

impl EdgeService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Service for EdgeService {
    async fn list_edges(
        &self,
        request: Request<v1::ListEdgesRequest>,
    ) -> Result<Response<v1::ListEdgesResponse>, Status> {
        let request = request.into_inner();
        let (workspace, as_of, overlay) = (request.workspace.clone(), request.as_of.clone(), request.overlay.clone());
        let min_revision = request.min_revision;
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| list(scene, &request)).await.map(Response::new)
    }

    async fn get_edge(&self, request: Request<v1::GetEdgeRequest>) -> Result<Response<v1::GetEdgeResponse>, Status> {
        let v1::GetEdgeRequest { workspace, edge, min_revision, as_of, overlay } = request.into_inner();
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        read(&self.node, asked, move |scene| one(scene, &edge)).await.map(Response::new)
    }
}

/// The key by which edges are listed: which end the record is, then as the domain orders them.
type Place = (u8, Name, Option<Vec<u8>>, EdgeId);

fn list(scene: &Scene, request: &v1::ListEdgesRequest) -> Result<v1::ListEdgesResponse, Problem> {
    let pages = pages(request);
    let after = pages.place::<Place>(&request.page_token)?.map(|(_, place)| place);
    let record = id(&request.record, "record")?;
    let view = scene.view();
    if !read::exists(&*view, record)? {
        let message = format!("There is no record {record}, or it was removed.");
        return Err(Refusal::new(Reason::UnknownRecord, message).at("record").into());
    }
    let behind = |place: &Place| after.as_ref().is_none_or(|after| place > after);
    let all = at_record(&*view, record, request)?.into_iter();
    let mut rest = all.filter(|(place, _)| behind(place)).peekable();
    let (mut edges, mut last, mut bytes) = (Vec::new(), None, 0);
    while edges.len() < paging::items(request.page_size) && bytes < paging::MAX_BYTES {
        let Some((place, edge)) = rest.next() else { break };
        let edge = v1::Edge::from(&edge);
        bytes += edge_weight(&edge);
        edges.push(edge);
        last = Some(place);
    }
    let next = last.filter(|_| rest.peek().is_some()).map(|place| pages.token(scene.revision(), &place));
    Ok(v1::ListEdgesResponse { edges, next_page_token: next.unwrap_or_default(), revision: scene.revision().0 })
}

fn pages(request: &v1::ListEdgesRequest) -> Pages {
    let unpaged = v1::ListEdgesRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    Pages::of(&unpaged)
}

/// All edges at the record that were asked for, each with its key, in the order of the keys.
fn at_record(
    view: &dyn View,
    record: EntityId,
    request: &v1::ListEdgesRequest,
) -> Result<Vec<(Place, EdgeReading)>, Problem> {
    let edge_type = optional_name(&request.r#type, "type")?;
    let record = view.unions()?.canonical(record);
    let directions = directions(known(request.direction, "direction")?);
    let mut edges = Vec::new();
    for (end, direction) in (0_u8..).zip(directions) {
        let here = read::edges(view, record, *direction, edge_type.as_ref())?.into_iter();
        // An edge from the record to itself was told from its beginning.
        let fresh = here.filter(|edge| end == 0 || edge.ends.source != record);
        edges.extend(fresh.map(|edge| ((end, edge.ends.edge_type.clone(), edge.place.clone(), edge.edge), edge)));
    }
    Ok(edges)
}

fn one(scene: &Scene, edge: &str) -> Result<v1::GetEdgeResponse, Problem> {
    let edge = id(edge, "edge")?;
    let found = shown(&*scene.view(), edge)?;
    let found = found.ok_or_else(|| {
        let message = format!("There is no edge {edge}, or it or a record at its ends was removed.");
        Refusal::new(Reason::UnknownEdge, message).at("edge")
    })?;
    Ok(v1::GetEdgeResponse { edge: Some(found), revision: scene.revision().0 })
}

fn shown(view: &dyn View, edge: EdgeId) -> Read<Option<v1::Edge>> {
    Ok(read::edge(view, edge)?.as_ref().map(v1::Edge::from))
}
