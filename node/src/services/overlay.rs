//! Overlays: requests become messages to their room; what they would change is read like anything else.

use std::sync::Arc;

use openprod_api::convert::history::signed_ms;
use openprod_api::convert::ids::id;
use openprod_api::convert::path::{each, optional_part, text};
use openprod_api::status::refused;
use openprod_api::v1;
use openprod_api::v1::overlay_service_server::OverlayService as Service;
use openprod_domain::cell::Cell;
use openprod_messages::address::Address;
use openprod_messages::log::LogReader;
use openprod_messages::overlays::{Action, Asked as Command, Done, Overlay, OverlayError, OverlaysMsg, Which};
use openprod_messages::snapshot::Snapshots;
use openprod_model::bundle::Source;
use openprod_model::codec;
use openprod_model::ids::Position;
use openprod_model::refusal::{Reason, Refusal};
use tonic::{Request, Response, Status};

use self::preview::Surveyed;
use super::reading::{Asked, Scene, read};
use crate::node::Node;
use crate::workspace::Workspace;

mod preview;
#[cfg(test)]
mod tests;

/// Keeps and shows overlays.
pub struct OverlayService {
    node: Arc<Node>,
    surveyed: Arc<Surveyed>,
}

impl OverlayService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, surveyed: Arc::default() }
    }

    /// The workspace, with overlays that know of every commit.
    async fn workspace(&self, named: &str) -> Result<Workspace, Status> {
        let workspace = super::workspace(&self.node, named)?;
        super::overlays_follow(&workspace).await?;
        Ok(workspace)
    }

    /// Has the room do something, once for the command id.
    async fn change(
        &self,
        workspace: &str,
        command_id: &str,
        action: Result<Action, Refusal>,
    ) -> Result<(Workspace, Done), Status> {
        let workspace = self.workspace(workspace).await?;
        let action = action.map_err(|refusal| refused(&refusal))?;
        let command = id(command_id, "command_id").map_err(|refusal| refused(&refusal))?;
        // The debug form names all that is asked for. Should an upgrade change it, a retry across it is refused.
        let payload = *blake3::hash(&codec::encode(&format!("{action:?}"))).as_bytes();
        let done = Room::of(&workspace).does(action, Command { command, payload }).await?;
        Ok((workspace, done))
    }

    async fn activate(&self, workspace: &str, session: &str, overlay: Option<&str>) -> Result<(), Status> {
        let workspace = self.workspace(workspace).await?;
        let session = id(session, "session").map_err(|refusal| refused(&refusal))?;
        let overlay = overlay.map(|overlay| id(overlay, "overlay")).transpose().map_err(|refusal| refused(&refusal))?;
        let done = workspace.overlays.call(|reply| OverlaysMsg::Activate { session, overlay, reply }).await;
        done.map_err(super::no_answer)?.map_err(super::failed)
    }
}

/// The overlays room of a workspace, with the log and the state that it looks at.
struct Room<'w> {
    address: &'w Address<OverlaysMsg>,
    log: &'w dyn LogReader,
    snapshots: &'w dyn Snapshots,
}

impl<'w> Room<'w> {
    fn of(workspace: &'w Workspace) -> Self {
        Self { address: &workspace.overlays, log: &*workspace.log, snapshots: &*workspace.snapshots }
    }

    async fn does(&self, action: Action, asked: Command) -> Result<Done, Status> {
        if matches!(action, Action::KeepMine { .. } | Action::UseCanonical { .. }) {
            // Whoever was told that something has drifted may know it from the log, before the state shows it.
            super::snapshot_of(self.log, self.snapshots, Position::ZERO).await?;
        }
        let action = Box::new(action);
        let done = self.address.call(|reply| OverlaysMsg::Do { action, asked, reply }).await;
        match done.map_err(super::no_answer)? {
            Ok((done, _)) => Ok(done),
            Err(OverlayError::Command(error)) => Err(super::failed(error)),
            Err(OverlayError::Stale) => Err(super::unavailable("The overlay was changed meanwhile.")),
        }
    }
}

/// A change that answers with the overlay's generation.
macro_rules! changes {
    ($service:expr, $request:expr, $action:expr) => {{
        let request = $request.into_inner();
        let action = $action(&request);
        $service.change(&request.workspace, &request.command_id, action).await?.1
    }};
}

#[tonic::async_trait]
impl Service for OverlayService {
    async fn create_overlay(
        &self,
        request: Request<v1::CreateOverlayRequest>,
    ) -> Result<Response<v1::CreateOverlayResponse>, Status> {
        let v1::CreateOverlayRequest { command_id, workspace, name, label, source } = request.into_inner();
        let action = create(&name, &label, source);
        let (workspace, done) = self.change(&workspace, &command_id, action).await?;
        let overlay = workspace.shelf.overlay(done.overlay).map_err(super::failed)?;
        Ok(Response::new(v1::CreateOverlayResponse { overlay: Some(told(&workspace, &overlay)) }))
    }

    async fn list_overlays(
        &self,
        request: Request<v1::ListOverlaysRequest>,
    ) -> Result<Response<v1::ListOverlaysResponse>, Status> {
        let workspace = self.workspace(&request.into_inner().workspace).await?;
        let overlays = workspace.shelf.all().map_err(super::failed)?;
        let overlays = overlays.iter().map(|overlay| told(&workspace, overlay)).collect();
        Ok(Response::new(v1::ListOverlaysResponse { overlays }))
    }

    async fn get_overlay(
        &self,
        request: Request<v1::GetOverlayRequest>,
    ) -> Result<Response<v1::GetOverlayResponse>, Status> {
        let v1::GetOverlayRequest { workspace, overlay } = request.into_inner();
        let workspace = self.workspace(&workspace).await?;
        let overlay = id(&overlay, "overlay").map_err(|refusal| refused(&refusal))?;
        let overlay = workspace.shelf.overlay(overlay).map_err(super::failed)?;
        Ok(Response::new(v1::GetOverlayResponse { overlay: Some(told(&workspace, &overlay)) }))
    }

    async fn rename_overlay(
        &self,
        request: Request<v1::RenameOverlayRequest>,
    ) -> Result<Response<v1::RenameOverlayResponse>, Status> {
        changes!(self, request, |request: &v1::RenameOverlayRequest| Ok(Action::Rename {
            overlay: id(&request.overlay, "overlay")?,
            name: text(&request.name, "name")?,
        }));
        Ok(Response::new(v1::RenameOverlayResponse {}))
    }

    async fn activate_overlay(
        &self,
        request: Request<v1::ActivateOverlayRequest>,
    ) -> Result<Response<v1::ActivateOverlayResponse>, Status> {
        let v1::ActivateOverlayRequest { workspace, overlay, session } = request.into_inner();
        self.activate(&workspace, &session, Some(&overlay)).await?;
        Ok(Response::new(v1::ActivateOverlayResponse {}))
    }

    async fn deactivate_overlay(
        &self,
        request: Request<v1::DeactivateOverlayRequest>,
    ) -> Result<Response<v1::DeactivateOverlayResponse>, Status> {
        let v1::DeactivateOverlayRequest { workspace, session } = request.into_inner();
        self.activate(&workspace, &session, None).await?;
        Ok(Response::new(v1::DeactivateOverlayResponse {}))
    }

    async fn stash_overlay(
        &self,
        request: Request<v1::StashOverlayRequest>,
    ) -> Result<Response<v1::StashOverlayResponse>, Status> {
        changes!(self, request, |request: &v1::StashOverlayRequest| Ok(Action::Stash {
            overlay: id(&request.overlay, "overlay")?
        }));
        Ok(Response::new(v1::StashOverlayResponse {}))
    }

    async fn recall_overlay(
        &self,
        request: Request<v1::RecallOverlayRequest>,
    ) -> Result<Response<v1::RecallOverlayResponse>, Status> {
        changes!(self, request, |request: &v1::RecallOverlayRequest| Ok(Action::Recall {
            overlay: id(&request.overlay, "overlay")?
        }));
        Ok(Response::new(v1::RecallOverlayResponse {}))
    }

    async fn discard_overlay(
        &self,
        request: Request<v1::DiscardOverlayRequest>,
    ) -> Result<Response<v1::DiscardOverlayResponse>, Status> {
        changes!(self, request, |request: &v1::DiscardOverlayRequest| Ok(Action::Discard {
            overlay: id(&request.overlay, "overlay")?
        }));
        Ok(Response::new(v1::DiscardOverlayResponse {}))
    }

    async fn preview_overlay(
        &self,
        request: Request<v1::PreviewOverlayRequest>,
    ) -> Result<Response<v1::PreviewOverlayResponse>, Status> {
        let request = request.into_inner();
        let (workspace, overlay) = (request.workspace.clone(), named(&request.overlay)?);
        let asked = through(&workspace, &overlay, request.min_revision);
        let surveyed = Arc::clone(&self.surveyed);
        let job = move |scene: &Scene| preview::differences(scene, &surveyed, &request);
        read(&self.node, asked, job).await.map(Response::new)
    }

    async fn list_drift(
        &self,
        request: Request<v1::ListDriftRequest>,
    ) -> Result<Response<v1::ListDriftResponse>, Status> {
        let request = request.into_inner();
        let (workspace, overlay) = (request.workspace.clone(), named(&request.overlay)?);
        let asked = through(&workspace, &overlay, request.min_revision);
        read(&self.node, asked, move |scene: &Scene| preview::drift(scene, &request)).await.map(Response::new)
    }

    async fn keep_mine(&self, request: Request<v1::KeepMineRequest>) -> Result<Response<v1::KeepMineResponse>, Status> {
        let done = changes!(self, request, |request: &v1::KeepMineRequest| Ok(Action::KeepMine {
            overlay: id(&request.overlay, "overlay")?,
            which: which(&request.cells, request.all)?,
            base: request.base.map(Position),
        }));
        Ok(Response::new(v1::KeepMineResponse { generation: done.generation }))
    }

    async fn use_canonical(
        &self,
        request: Request<v1::UseCanonicalRequest>,
    ) -> Result<Response<v1::UseCanonicalResponse>, Status> {
        let done = changes!(self, request, |request: &v1::UseCanonicalRequest| Ok(Action::UseCanonical {
            overlay: id(&request.overlay, "overlay")?,
            which: which(&request.cells, request.all)?,
        }));
        Ok(Response::new(v1::UseCanonicalResponse { generation: done.generation }))
    }

    async fn knock_out(&self, request: Request<v1::KnockOutRequest>) -> Result<Response<v1::KnockOutResponse>, Status> {
        let done = changes!(self, request, |request: &v1::KnockOutRequest| Ok(Action::KnockOut {
            overlay: id(&request.overlay, "overlay")?,
            cells: each(request.cells.clone(), "cells", Cell::try_from)?,
            records: each(&request.records, "records", |record| id(record, ""))?,
        }));
        Ok(Response::new(v1::KnockOutResponse { generation: done.generation }))
    }

    async fn undo_staged(
        &self,
        request: Request<v1::UndoStagedRequest>,
    ) -> Result<Response<v1::UndoStagedResponse>, Status> {
        let done = changes!(self, request, |request: &v1::UndoStagedRequest| Ok(Action::Undo {
            overlay: id(&request.overlay, "overlay")?
        }));
        Ok(Response::new(v1::UndoStagedResponse { label: done.what.to_string(), generation: done.generation }))
    }

    async fn redo_staged(
        &self,
        request: Request<v1::RedoStagedRequest>,
    ) -> Result<Response<v1::RedoStagedResponse>, Status> {
        let done = changes!(self, request, |request: &v1::RedoStagedRequest| Ok(Action::Redo {
            overlay: id(&request.overlay, "overlay")?
        }));
        Ok(Response::new(v1::RedoStagedResponse { label: done.what.to_string(), generation: done.generation }))
    }
}

fn create(name: &str, label: &str, source: Option<v1::Source>) -> Result<Action, Refusal> {
    let label = if label.is_empty() { None } else { Some(text(label, "label")?) };
    let source: Source = optional_part(source, "source")?.unwrap_or_default();
    Ok(Action::Create { name: text(name, "name")?, label, source })
}

fn which(cells: &[v1::Cell], all: bool) -> Result<Which, Refusal> {
    match (all, cells) {
        (true, []) => Ok(Which::All),
        (true, _) => {
            let message = "Either all drift is meant, or that of the cells named.";
            Err(Refusal::new(Reason::InvalidRequest, message).at("all"))
        }
        (false, cells) => each(cells.to_vec(), "cells", Cell::try_from).map(Which::Cells),
    }
}

/// The overlay of a read, which must be named.
fn named(overlay: &str) -> Result<String, Status> {
    if overlay.is_empty() {
        let missing = Refusal::new(Reason::InvalidRequest, "The request lacks `overlay`.").at("overlay");
        return Err(refused(&missing));
    }
    Ok(overlay.to_owned())
}

fn through<'a>(workspace: &'a str, overlay: &'a str, min_revision: u64) -> Asked<'a> {
    Asked { workspace, min_revision, overlay, ..Asked::default() }
}

fn told(workspace: &Workspace, overlay: &Overlay) -> v1::Overlay {
    let Overlay { info, staging, .. } = overlay;
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    v1::Overlay {
        overlay: info.id.to_string(),
        name: info.name.to_string(),
        label: info.label.as_ref().map(ToString::to_string).unwrap_or_default(),
        source: (info.source.kind == Source::FILE).then(|| (&info.source).into()),
        created_ms: signed_ms(info.created_ms),
        stashed: info.stashed,
        generation: staging.head().generation,
        staged_cells: count(staging.len()),
        undo_label: staging.undoable().map(|step| step.label.to_string()).unwrap_or_default(),
        redo_label: staging.redoable().map(|step| step.label.to_string()).unwrap_or_default(),
        active_sessions: u32::try_from(workspace.shelf.active_in(info.id)).unwrap_or(u32::MAX),
    }
}
