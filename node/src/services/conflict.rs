//! Conflicts: where people disagree, what is in dispute, and who said what.
//!
//! Where conflicts are, the conflicts room keeps at hand; what each of them is, is read from a snapshot. The room may
//! be some bundles behind that snapshot: what these reach is looked at again, so the two together are exact.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use openprod_api::convert::ids::{id, optional_id};
use openprod_api::convert::path::{required, required_part};
use openprod_api::v1;
use openprod_api::v1::conflict_service_server::ConflictService as Service;
use openprod_api::v1::get_conflict_request::Which;
use openprod_domain::cell::Cell;
use openprod_domain::conflict::{self, Conflict};
use openprod_domain::describe;
use openprod_domain::view::{History, Read, View};
use openprod_messages::address::CALL_DEADLINE;
use openprod_messages::conflicts::Standing;
use openprod_messages::log::{LogReader, Stored};
use openprod_model::ids::{ActorId, ConflictId, EntityId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Name;
use tonic::{Request, Response, Status};

use super::disputes::{Disputes, author, places_once};
use super::history::position_of;
use super::paging::{self, Pages};
use super::reading::{self, Asked, Problem, Scene, read};
use crate::node::Node;
use crate::workspace::Workspace;

/// How much of the log is read at a time, to see what came since the room looked.
const CHUNK_BUNDLES: usize = 256;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Reads conflicts.
pub struct ConflictService {
    node: Arc<Node>,
}

impl ConflictService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Runs `job` with the cells in conflict as its scene shows them.
    async fn with_all<T: Send + 'static>(
        &self,
        workspace: &str,
        min_revision: u64,
        job: impl FnOnce(&Scene, &Arc<BTreeSet<Cell>>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Status> {
        let found = super::workspace(&self.node, workspace)?;
        let standing = standing(&found, Position(min_revision)).await?;
        // The room has seen a state of that revision, so there is one.
        let asked = Asked { workspace, min_revision: standing.position.0, ..Asked::default() };
        read(&self.node, asked, move |scene| job(scene, &at_scene(scene, standing)?)).await
    }
}

#[tonic::async_trait]
impl Service for ConflictService {
    async fn list_conflicts(
        &self,
        request: Request<v1::ListConflictsRequest>,
    ) -> Result<Response<v1::ListConflictsResponse>, Status> {
        let request = request.into_inner();
        let (workspace, min_revision) = (request.workspace.clone(), request.min_revision);
        let job = move |scene: &Scene, cells: &Arc<BTreeSet<Cell>>| list(scene, cells, &request);
        self.with_all(&workspace, min_revision, job).await.map(Response::new)
    }

    async fn get_conflict(
        &self,
        request: Request<v1::GetConflictRequest>,
    ) -> Result<Response<v1::GetConflictResponse>, Status> {
        let v1::GetConflictRequest { workspace, which, min_revision } = request.into_inner();
        let found = match required(which, "which").map_err(|refusal| Status::from(Problem::from(refusal)))? {
            Which::Cell(cell) => {
                let asked = Asked { workspace: &workspace, min_revision, ..Asked::default() };
                read(&self.node, asked, move |scene| about(scene, cell)).await
            }
            Which::Conflict(id) => {
                self.with_all(&workspace, min_revision, move |scene, cells| named(scene, cells, &id)).await
            }
        };
        found.map(Response::new)
    }
}

/// Where the conflicts are, at that revision or a later one; at what was acknowledged by now, if it is zero.
async fn standing(workspace: &Workspace, min_revision: Position) -> Result<Standing, Status> {
    let wanted = super::snapshot_from(workspace, min_revision).await?.position();
    let mut standing = workspace.conflicts.standing();
    let reached = standing.wait_for(|standing| standing.position >= wanted);
    match tokio::time::timeout(CALL_DEADLINE, reached).await {
        Ok(Ok(())) => Ok(standing.borrow().clone()),
        Ok(Err(_)) => Err(super::unavailable("This workspace is being closed.")),
        Err(_) => Err(super::unavailable("The conflicts of this workspace are still being looked for.")),
    }
}

/// The cells in conflict as the scene shows them, with all that was written since the room looked.
fn at_scene(scene: &Scene, standing: Standing) -> Result<Arc<BTreeSet<Cell>>, Problem> {
    let view = scene.view();
    let Some(written) = written_since(scene, standing.position)? else {
        return Ok(Arc::new(conflict::all(&*view)?.into_iter().map(|conflict| conflict.cell).collect()));
    };
    let mut cells = standing.cells;
    conflict::keep_up(&*view, &mut cells, &written)?;
    Ok(cells)
}

/// The cells that were written behind a position; none if the log does not tell, as where it is damaged.
fn written_since(scene: &Scene, mut at: Position) -> Result<Option<BTreeSet<Cell>>, Problem> {
    let (end, mut written) = (scene.snapshot.position(), BTreeSet::new());
    while at < end {
        scene.stop.check()?;
        let bundles = scene.log.bundles(at.next(), CHUNK_BUNDLES, CHUNK_BYTES)?;
        let Some((last, ..)) = bundles.last() else { return Ok(None) };
        at = *last;
        for (_, _, stored) in &bundles {
            let Stored::Whole(bundle) = stored else { return Ok(None) };
            written.extend(conflict::written_by(bundle));
        }
    }
    Ok(Some(written))
}

fn about(scene: &Scene, cell: v1::Cell) -> Result<v1::GetConflictResponse, Problem> {
    let cell: Cell = required_part(Some(cell), "cell")?;
    let view = scene.view();
    match conflict::of(&*view, &cell)? {
        Some(conflict) => told(scene, &conflict),
        None => Err(none(format!("There is no conflict about {}.", describe::cell_on(&*view, &cell)?), "cell").into()),
    }
}

fn named(scene: &Scene, cells: &BTreeSet<Cell>, wanted: &str) -> Result<v1::GetConflictResponse, Problem> {
    let wanted: ConflictId = id(wanted, "conflict")?;
    let cell = cells.iter().find(|cell| conflict::id(cell) == wanted);
    let conflict = cell.map(|cell| conflict::of(&*scene.view(), cell)).transpose()?.flatten();
    match conflict {
        Some(conflict) => told(scene, &conflict),
        None => Err(none(format!("There is no conflict {wanted}."), "conflict").into()),
    }
}

fn none(message: String, at: &str) -> Refusal {
    let refusal = Refusal::new(Reason::NotInConflict, message).at(at);
    refusal.next("Somebody may have decided it already: `openprod conflicts` lists those that are open.")
}

fn told(scene: &Scene, conflict: &Conflict) -> Result<v1::GetConflictResponse, Problem> {
    let view = scene.view();
    let conflict = Some(Disputes::of(&*view, &*scene.snapshot, &*scene.log).whole(conflict)?);
    Ok(v1::GetConflictResponse { conflict, revision: scene.revision().0 })
}

fn list(
    scene: &Scene,
    cells: &Arc<BTreeSet<Cell>>,
    request: &v1::ListConflictsRequest,
) -> Result<v1::ListConflictsResponse, Problem> {
    let unpaged =
        v1::ListConflictsRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<Vec<u8>>(&request.page_token)?.and_then(|(_, key)| Cell::from_key(&key));
    let view = scene.view();
    let chosen = Filter::of(&*view, &*scene.log, request)?.chosen(scene, cells)?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = chosen.range((from, Bound::Unbounded)).peekable();
    let mut disputes = Disputes::of(&*view, &*scene.snapshot, &*scene.log);
    let (mut conflicts, mut last, mut writes) = (Vec::new(), None, 0);
    while conflicts.len() < paging::items(request.page_size) && writes < MAX_WRITES {
        let Some(cell) = rest.next() else { break };
        scene.stop.check()?;
        if let Some(conflict) = conflict::of(&*view, cell)? {
            writes += conflict.tips().len();
            conflicts.push(disputes.whole(&conflict)?);
        }
        last = Some(cell.key());
    }
    let next = last.filter(|_| rest.peek().is_some()).map(|key| pages.token(scene.revision(), &key));
    Ok(v1::ListConflictsResponse {
        conflicts,
        next_page_token: next.unwrap_or_default(),
        total_count: u64::try_from(chosen.len()).unwrap_or(u64::MAX),
        revision: scene.revision().0,
    })
}

/// About how many writes a page tells, each of some hundred bytes: so it stays well below what clients accept.
const MAX_WRITES: usize = 4_000;

/// Which conflicts are asked for.
#[derive(Debug, Default)]
struct Filter {
    table: Option<Name>,
    record: Option<EntityId>,
    actor: Option<ActorId>,
    bundle: Option<Position>,
}

impl Filter {
    fn of(view: &dyn View, log: &dyn LogReader, request: &v1::ListConflictsRequest) -> Result<Self, Problem> {
        let is_asked = |text: &str| !text.is_empty();
        Ok(Self {
            table: is_asked(&request.table).then(|| reading::table_key(view, &request.table)).transpose()?,
            record: optional_id(&request.record, "record")?,
            actor: optional_id(&request.actor, "actor")?,
            bundle: is_asked(&request.bundle).then(|| position_of(log, &request.bundle)).transpose()?,
        })
    }

    fn wants_all(&self) -> bool {
        let Self { table, record, actor, bundle } = self;
        table.is_none() && record.is_none() && actor.is_none() && bundle.is_none()
    }

    fn chosen(&self, scene: &Scene, cells: &Arc<BTreeSet<Cell>>) -> Result<Arc<BTreeSet<Cell>>, Problem> {
        if self.wants_all() {
            return Ok(Arc::clone(cells));
        }
        let (view, mut chosen) = (scene.view(), BTreeSet::new());
        for cell in &**cells {
            scene.stop.check()?;
            let conflict = conflict::of(&*view, cell)?;
            if let Some(conflict) = conflict
                && self.fits(scene, &*view, &conflict)?
            {
                chosen.insert(conflict.cell);
            }
        }
        Ok(Arc::new(chosen))
    }

    fn fits(&self, scene: &Scene, view: &dyn View, conflict: &Conflict) -> Read<bool> {
        let (history, log): (&dyn History, _) = (&*scene.snapshot, &*scene.log);
        let places = places_once(view, history, &conflict.cell)?;
        if self.table.as_ref().is_some_and(|table| !places.tables.contains(table))
            || self.record.is_some_and(|record| !places.records.contains(&record))
        {
            return Ok(false);
        }
        let (mut by_actor, mut in_bundle) = (self.actor.is_none(), self.bundle.is_none());
        for tip in conflict.tips() {
            by_actor |= author(history, log, conflict, tip)? == self.actor;
            in_bundle |= tip.position == self.bundle || conflict::origin(history, conflict, tip)? == self.bundle;
        }
        Ok(by_actor && in_bundle)
    }
}
