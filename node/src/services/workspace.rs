//! WorkspaceService: makes, lists, describes and takes in workspaces.

use std::io::{self, Read};
use std::sync::Arc;

use openprod_api::convert::ids;
use openprod_api::status;
use openprod_api::v1;
use openprod_api::v1::workspace_service_server::WorkspaceService as Service;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::read;
use openprod_domain::view::{Read as Reads, View};
use openprod_model::ids::{ActorId, CommandId, Position, WorkspaceId};
use openprod_model::refusal::Refusal;
use openprod_model::value::Text;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::reading::{self, Asked, Scene};
use super::{caller, failed, name_in, name_of};
use crate::node::{Made, Node, Slot};
use crate::workspace_file::{self, Brought};

/// Makes, lists, describes and takes in workspaces.
pub struct WorkspaceService {
    node: Arc<Node>,
}

impl WorkspaceService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Service for WorkspaceService {
    async fn create_workspace(
        &self,
        request: Request<v1::CreateWorkspaceRequest>,
    ) -> Result<Response<v1::CreateWorkspaceResponse>, Status> {
        let caller = caller(request.extensions())?;
        let asked = request.into_inner();
        let refused = |refusal: Refusal| status::refused(&refusal);
        let command: CommandId = ids::id(&asked.command_id, "command_id").map_err(refused)?;
        let founder: Option<ActorId> = ids::optional_id(&asked.founder, "founder").map_err(refused)?;
        let founder = super::acting(caller, founder, "founder")?;
        let name = Text::new(asked.name.trim()).map_err(|invalid| refused(Refusal::from(invalid).at("name")))?;
        let node = Arc::clone(&self.node);
        to_the_end(async move { create(&node, command, name, founder).await }).await.map(Response::new)
    }

    async fn list_workspaces(
        &self,
        _: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let slots = super::workspaces(&self.node);
        let summary = |(id, slot): &(WorkspaceId, Slot)| v1::WorkspaceSummary {
            workspace: id.to_string(),
            name: match slot {
                Slot::Open(workspace) => name_of(workspace),
                Slot::Closed { .. } => String::new(),
            },
        };
        let mut workspaces: Vec<_> = slots.iter().map(summary).collect();
        workspaces.sort_by(|a, b| (&a.name, &a.workspace).cmp(&(&b.name, &b.workspace)));
        Ok(Response::new(v1::ListWorkspacesResponse { workspaces }))
    }

    async fn get_workspace(
        &self,
        request: Request<v1::GetWorkspaceRequest>,
    ) -> Result<Response<v1::GetWorkspaceResponse>, Status> {
        let v1::GetWorkspaceRequest { workspace, min_revision, as_of, overlay } = request.into_inner();
        let asked = Asked { workspace: &workspace, min_revision, as_of, pinned: None, overlay: &overlay };
        let id = super::workspace(&self.node, &workspace)?.id;
        let job = move |scene: &Scene| Ok(describe(&*scene.view(), id, scene.revision())?);
        reading::read(&self.node, asked, job).await.map(Response::new)
    }

    async fn import_workspace(
        &self,
        request: Request<Streaming<v1::ImportWorkspaceRequest>>,
    ) -> Result<Response<v1::ImportWorkspaceResponse>, Status> {
        caller(request.extensions())?;
        let mut chunks = request.into_inner();
        let (sender, receiver) = mpsc::channel(super::STREAM_AHEAD);
        let feed = async move {
            while let Some(v1::ImportWorkspaceRequest { chunk }) = chunks.message().await? {
                // The reader stops listening when it has found something wrong, and says what.
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            // Dropping the sender is the end of the file; an interrupted upload therefore reads as a truncated file.
            Ok::<(), Status>(())
        };
        let file = Upload { chunks: receiver, current: Vec::new(), at: 0 };
        let node = Arc::clone(&self.node);
        let import =
            async move { workspace_file::import(&node, file, "an uploaded workspace file").await.map_err(failed) };
        let (_, imported) = tokio::join!(feed, to_the_end(import));
        let imported = imported?;
        Ok(Response::new(v1::ImportWorkspaceResponse {
            workspace: imported.workspace.to_string(),
            name: imported.name,
            revision: imported.revision.0,
            new_bundles: imported.new,
            known_bundles: imported.known,
            refused_bundles: imported.quarantined,
            held_bundles: imported.held,
            blobs: imported.files.map(v1::ImportedBlobs::from),
        }))
    }
}

impl From<Brought> for v1::ImportedBlobs {
    fn from(brought: Brought) -> Self {
        let Brought { new, new_bytes, known, unneeded, refused, reasons } = brought;
        Self {
            new_blobs: new,
            new_bytes,
            known_blobs: known,
            unneeded_blobs: unneeded,
            refused_blobs: refused,
            reasons,
        }
    }
}

/// Runs what must not stop halfway, such as the making of a folder, to its end, even if the caller goes away.
async fn to_the_end<T: Send + 'static>(
    job: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(job.in_current_span())
        .await
        .unwrap_or_else(|_| Err(super::internal("the making of a workspace panicked")))
}

async fn create(
    node: &Node,
    command: CommandId,
    name: Text,
    founder: Option<ActorId>,
) -> Result<v1::CreateWorkspaceResponse, Status> {
    let Made { workspace, outcome, recovery } = node.create(command, name, founder).await.map_err(failed)?;
    // So that the next call may name it. Should that take too long, it is made all the same.
    let _shown = super::snapshot_from(&workspace, outcome.revision).await;
    Ok(v1::CreateWorkspaceResponse {
        workspace: workspace.id.to_string(),
        revision: outcome.revision.0,
        replayed: outcome.replayed,
        recovery_key: recovery.map(|key| key.reveal().to_string()).unwrap_or_default(),
    })
}

/// What a view shows of its workspace.
fn describe(view: &dyn View, workspace: WorkspaceId, revision: Position) -> Reads<v1::GetWorkspaceResponse> {
    Ok(v1::GetWorkspaceResponse {
        workspace: workspace.to_string(),
        name: name_in(view)?,
        settings: settings(view)?,
        members: members(view)?,
        revision: revision.0,
    })
}

fn settings(view: &dyn View) -> Reads<Vec<v1::Setting>> {
    let mut settings = Vec::new();
    for item in view.cells(&Cell::settings()) {
        let (cell, tips) = item?;
        let reading = read::CellReading { cell, tips };
        if let (Cell::Setting { setting }, Some(Content::Value(value))) = (&reading.cell, reading.content()) {
            let (name, value) = (setting.to_string(), Some(value.into()));
            settings.push(v1::Setting { name, value, in_conflict: reading.in_conflict() });
        }
    }
    Ok(settings)
}

fn members(view: &dyn View) -> Reads<Vec<v1::Member>> {
    let mut members = Vec::new();
    for (actor, membership) in read::members(view)? {
        let name = read::actor_name(view, actor)?;
        members.push(v1::Member {
            actor: actor.to_string(),
            name: name.map_or_else(String::new, |name| name.to_string()),
            membership: v1::Membership::from(membership).into(),
            in_conflict: read::cell(view, Cell::Member { member: actor })?.in_conflict(),
        });
    }
    members.sort_by(|a, b| (&a.name, &a.actor).cmp(&(&b.name, &b.actor)));
    Ok(members)
}

/// A file that comes in chunks, to be read off the runtime's threads.
struct Upload {
    chunks: mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Upload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.chunks.blocking_recv() {
                Some(chunk) => (self.current, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.current.len() - self.at);
        out[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
