//! Commands: the one door for writes, from a request to the commands room and back.

use std::sync::Arc;

use openprod_api::convert::command::{Execution, Stage, created};
use openprod_api::convert::ids::optional_id;
use openprod_api::convert::undo::{bundle_ref, skipped};
use openprod_api::status::refused;
use openprod_api::v1;
use openprod_api::v1::command_service_server::CommandService as Service;
use openprod_domain::cell::Cell;
use openprod_domain::command::Command;
use openprod_domain::conflict;
use openprod_domain::inverse::Turn;
use openprod_domain::inverse::take::Named;
use openprod_messages::commands::{CommandsMsg, OpenedConflict, Outcome, StagedOutcome};
use openprod_model::ids::{ActorId, OverlayId};
use tonic::{Request, Response, Status};

use super::reading::{Asked, read};
use crate::node::Node;
use crate::telemetry;
use crate::workspace::Workspace;

mod undo;

/// Changes workspaces.
pub struct CommandService {
    node: Arc<Node>,
}

impl CommandService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Service for CommandService {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let caller = super::caller(request.extensions())?;
        let mut message = request.into_inner();
        let workspace = super::workspace(&self.node, &message.workspace)?;
        // A workspace may be named, too; the command is about the one that was found.
        message.workspace = workspace.id.to_string();
        let execution = Execution::try_from(message).map_err(|refusal| refused(&refusal))?;
        let actor = super::acting(caller, execution.actor, "actor")?;
        if let Some(overlay) = staged_in(&workspace, &execution) {
            return stage(&workspace, overlay, execution.request, actor).await;
        }
        let request = Box::new(execution.request);
        let outcome = workspace.commands.call(|reply| CommandsMsg::Execute { request, actor, reply }).await;
        let outcome = outcome.map_err(super::no_answer)?.map_err(super::failed)?;
        count(&outcome);
        Ok(Response::new(answer(outcome)))
    }

    async fn list_undo(&self, request: Request<v1::ListUndoRequest>) -> Result<Response<v1::ListUndoResponse>, Status> {
        let caller = super::caller(request.extensions())?;
        let request = request.into_inner();
        let named = optional_id(&request.actor, "actor").map_err(|refusal| refused(&refusal))?;
        let actor = super::acting(caller, named, "actor")?.or_else(|| self.node.identities.default_actor());
        let actor = actor.ok_or_else(|| refused(&undo::nobody()))?;
        let workspace = request.workspace.clone();
        let asked = Asked { workspace: &workspace, min_revision: request.min_revision, ..Asked::default() };
        read(&self.node, asked, move |scene| undo::list(scene, actor, &request)).await.map(Response::new)
    }
}

/// The overlay that is meant: the one named, or the one that is active in the session. A commit is never staged.
fn staged_in(workspace: &Workspace, execution: &Execution) -> Option<OverlayId> {
    if execution.request.commands.iter().any(|command| matches!(command, Command::CommitOverlay { .. })) {
        return None;
    }
    match execution.stage {
        Stage::In(overlay) => Some(overlay),
        Stage::Nowhere => None,
        // Steps within an overlay have an undo of their own.
        Stage::Active if execution.request.turn().is_some() => None,
        Stage::Active => workspace.shelf.active(execution.request.session?),
    }
}

async fn stage(
    workspace: &Workspace,
    overlay: OverlayId,
    request: openprod_domain::command::Request,
    actor: Option<ActorId>,
) -> Result<Response<v1::ExecuteResponse>, Status> {
    let request = Box::new(request);
    let outcome = workspace.commands.call(|reply| CommandsMsg::Stage { overlay, request, actor, reply }).await;
    let StagedOutcome { revision, done, replayed } = outcome.map_err(super::no_answer)?.map_err(super::failed)?;
    Ok(Response::new(v1::ExecuteResponse {
        revision: revision.0,
        created: done.created.into_iter().map(|(index, thing)| created(index, thing)).collect(),
        opened_conflicts: done.opened.into_iter().map(opened).collect(),
        replayed,
        staged: Some(v1::StagedIn { overlay: done.overlay.to_string(), generation: done.generation }),
        ..v1::ExecuteResponse::default()
    }))
}

fn count(outcome: &Outcome) {
    if !outcome.replayed {
        metrics::counter!(telemetry::BUNDLES_COMMITTED).increment(1);
        let opened = u64::try_from(outcome.answer.opened.len()).unwrap_or(u64::MAX);
        metrics::counter!(telemetry::CONFLICTS_OPENED).increment(opened);
    }
}

fn answer(outcome: Outcome) -> v1::ExecuteResponse {
    let Outcome { revision, answer, replayed } = outcome;
    v1::ExecuteResponse {
        revision: revision.0,
        bundle_id: answer.bundle.to_string(),
        bundle_digest: answer.digest.to_string(),
        created: answer.created.into_iter().map(|(index, thing)| created(index, thing)).collect(),
        opened_conflicts: answer.opened.into_iter().map(opened).collect(),
        replayed,
        undone: turned(answer.turned.as_ref(), Turn::Undo),
        redone: turned(answer.turned.as_ref(), Turn::Redo),
        skipped: answer.skipped.iter().map(skipped).collect(),
        staged: None,
    }
}

fn turned(turned: Option<&(Turn, Named)>, wanted: Turn) -> Option<v1::BundleRef> {
    turned.filter(|(turn, _)| *turn == wanted).map(|(_, bundle)| bundle_ref(bundle))
}

fn opened(opened: OpenedConflict) -> v1::OpenedConflict {
    let cell = Cell::from_key(&opened.cell);
    v1::OpenedConflict {
        conflict: cell.as_ref().map(|cell| conflict::id(cell).to_string()).unwrap_or_default(),
        cell: cell.as_ref().map(v1::Cell::from),
        sentence: opened.sentence,
    }
}
