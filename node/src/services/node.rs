//! NodeService: what the node is, how it is, and the identities that act on it.

use std::sync::Arc;

use openprod_api::convert::history::signed_ms;
use openprod_api::convert::ids;
use openprod_api::status;
use openprod_api::v1;
use openprod_api::v1::node_service_server::NodeService as Service;
use openprod_model::identity::{ImportError, Keys};
use openprod_model::ids::{ActorId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use tonic::{Request, Response, Status};

use super::{Caller, caller, name_of, unavailable};
use crate::diagnostics;
use crate::identities::{Identity, IdentityError};
use crate::node::{Node, Slot};
use crate::workspace::{Condition, Workspace};

/// The version of the API that this node speaks.
const API_VERSION: &str = "openprod.v1";
/// Shorter passphrases are guessed too fast, whatever seals with them.
const MIN_PASSPHRASE_CHARS: usize = 8;

/// Tells of the node, and keeps its identities.
pub struct NodeService(Arc<Node>);

impl NodeService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }
}

#[tonic::async_trait]
impl Service for NodeService {
    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Result<Response<v1::GetInfoResponse>, Status> {
        let default = self.0.identities.default_actor();
        Ok(Response::new(v1::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: API_VERSION.to_owned(),
            node_id: self.0.device.actor().to_string(),
            data_dir: self.0.folder.root().display().to_string(),
            default_actor: default.map_or_else(String::new, |actor| actor.to_string()),
        }))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        let slots = super::workspaces(&self.0);
        let mut workspaces: Vec<_> = slots.iter().map(|(id, slot)| slot_status(&id.to_string(), slot)).collect();
        workspaces.sort_by(|a, b| (&a.name, &a.workspace).cmp(&(&b.name, &b.workspace)));
        Ok(Response::new(v1::GetStatusResponse {
            started_ms: signed_ms(self.0.started_ms),
            now_ms: signed_ms(self.0.env.clock.wall_ms()),
            workspaces,
        }))
    }

    async fn run_diagnostics(
        &self,
        _: Request<v1::RunDiagnosticsRequest>,
    ) -> Result<Response<v1::RunDiagnosticsResponse>, Status> {
        let (node, workspaces) = (Arc::clone(&self.0), super::workspaces(&self.0));
        let peers = diagnostics::peer_facts(&node).await;
        let job = move || diagnostics::of_running(&node, &workspaces, peers.as_ref());
        let checks = self.0.env.offload(job).await;
        let checks = checks.ok_or_else(|| super::internal("the diagnostics panicked"))?;
        Ok(Response::new(v1::RunDiagnosticsResponse { checks: checks.into_iter().map(diagnosis).collect() }))
    }

    async fn list_identities(
        &self,
        _: Request<v1::ListIdentitiesRequest>,
    ) -> Result<Response<v1::ListIdentitiesResponse>, Status> {
        let default = self.0.identities.default_actor();
        let known = self.0.identities.list();
        let mut identities: Vec<_> = known.iter().map(|identity| shown(identity, default)).collect();
        identities.sort_by(|a, b| (!a.is_default, &a.display_name).cmp(&(!b.is_default, &b.display_name)));
        Ok(Response::new(v1::ListIdentitiesResponse { identities }))
    }

    async fn create_identity(
        &self,
        request: Request<v1::CreateIdentityRequest>,
    ) -> Result<Response<v1::CreateIdentityResponse>, Status> {
        own_user_only(caller(request.extensions())?)?;
        let name = person(&request.get_ref().display_name)?;
        let identity =
            self.0.identities.create(name.as_str(), &*self.0.env.random).map_err(|error| not_kept(&error))?;
        Ok(Response::new(v1::CreateIdentityResponse { identity: Some(self.shown(&identity)) }))
    }

    async fn export_identity(
        &self,
        request: Request<v1::ExportIdentityRequest>,
    ) -> Result<Response<v1::ExportIdentityResponse>, Status> {
        own_user_only(caller(request.extensions())?)?;
        let v1::ExportIdentityRequest { actor, passphrase } = request.into_inner();
        let actor: ActorId = ids::id(&actor, "actor").map_err(|refusal| status::refused(&refusal))?;
        let identity = self.0.identities.of(actor).ok_or_else(|| unknown_actor(actor))?;
        if passphrase.chars().count() < MIN_PASSPHRASE_CHARS {
            let message = format!("The passphrase has fewer than {MIN_PASSPHRASE_CHARS} characters.");
            return Err(status::refused(&Refusal::new(Reason::InvalidValue, message).at("passphrase")));
        }
        let (mut salt, mut nonce) = ([0; 16], [0; 12]);
        self.0.env.random.fill(&mut salt);
        self.0.env.random.fill(&mut nonce);
        let sealed = self.0.env.offload(move || identity.keys.export(&passphrase, salt, nonce)).await;
        let text = sealed.ok_or_else(|| super::internal("sealing an identity panicked"))?;
        Ok(Response::new(v1::ExportIdentityResponse { text }))
    }

    async fn import_identity(
        &self,
        request: Request<v1::ImportIdentityRequest>,
    ) -> Result<Response<v1::ImportIdentityResponse>, Status> {
        own_user_only(caller(request.extensions())?)?;
        let v1::ImportIdentityRequest { text, passphrase, display_name } = request.into_inner();
        let name = person(&display_name)?;
        let opened = self.0.env.offload(move || Keys::import(&text, &passphrase)).await;
        let keys = opened
            .ok_or_else(|| super::internal("opening an identity panicked"))?
            .map_err(|error| not_opened(&error))?;
        let actor = keys.actor();
        let (identity, already_known) = match self.0.identities.add(keys, name.as_str(), &*self.0.env.random) {
            Ok(identity) => (identity, false),
            Err(IdentityError::Exists(_)) => (self.0.identities.of(actor).ok_or_else(|| unknown_actor(actor))?, true),
            Err(error) => return Err(not_kept(&error)),
        };
        Ok(Response::new(v1::ImportIdentityResponse { identity: Some(self.shown(&identity)), already_known }))
    }

    async fn set_default_identity(
        &self,
        request: Request<v1::SetDefaultIdentityRequest>,
    ) -> Result<Response<v1::SetDefaultIdentityResponse>, Status> {
        own_user_only(caller(request.extensions())?)?;
        let actor: ActorId = ids::id(&request.get_ref().actor, "actor").map_err(|refusal| status::refused(&refusal))?;
        let identity = self.0.identities.of(actor).ok_or_else(|| unknown_actor(actor))?;
        self.0.identities.set_default(actor).map_err(|error| not_kept(&error))?;
        Ok(Response::new(v1::SetDefaultIdentityResponse { identity: Some(self.shown(&identity)) }))
    }
}

impl NodeService {
    fn shown(&self, identity: &Identity) -> v1::Identity {
        shown(identity, self.0.identities.default_actor())
    }
}

fn shown(identity: &Identity, default: Option<ActorId>) -> v1::Identity {
    let actor = identity.keys.actor();
    v1::Identity {
        actor: actor.to_string(),
        display_name: identity.name.to_string(),
        is_default: default == Some(actor),
    }
}

/// Keys are handed out, made, taken in and put to use only for whoever may read the key files anyway.
fn own_user_only(caller: Caller) -> Result<(), Status> {
    super::own_user_only(caller, "Identities are made, chosen, exported and imported")
}

pub(super) fn person(name: &str) -> Result<Text, Status> {
    let refused = |refusal: Refusal| status::refused(&refusal.at("display_name"));
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        let message = "A person needs a name without control characters.";
        return Err(refused(Refusal::new(Reason::InvalidValue, message)));
    }
    Text::new(name.trim()).map_err(|invalid| refused(invalid.into()))
}

pub(super) fn unknown_actor(actor: ActorId) -> Status {
    let message = format!("This node does not hold the keys of {}.", actor.short());
    status::refused(&Refusal::new(Reason::UnknownActor, message).at("actor"))
}

fn not_kept(error: &IdentityError) -> Status {
    tracing::error!(%error, "an identity was not kept");
    unavailable("The identity could not be written to the node's folder.")
}

fn not_opened(error: &ImportError) -> Status {
    let at = match error {
        ImportError::NotAnIdentity => "text",
        ImportError::WrongPassphrase => "passphrase",
    };
    status::refused(&Refusal::new(Reason::InvalidValue, super::sentence(&error.to_string())).at(at))
}

fn slot_status(workspace: &str, slot: &Slot) -> v1::WorkspaceStatus {
    let failed = |why: String| v1::WorkspaceStatus {
        workspace: workspace.to_owned(),
        state: v1::WorkspaceState::Failed.into(),
        why,
        ..v1::WorkspaceStatus::default()
    };
    match slot {
        Slot::Closed { why } => failed(why.clone()),
        Slot::Open(open) => match open.condition.borrow().clone() {
            Condition::Running => running_status(open),
            Condition::Failed { why } => v1::WorkspaceStatus { name: name_of(open), ..failed(why) },
            Condition::Closed => failed("It was closed.".to_owned()),
        },
    }
}

fn running_status(workspace: &Workspace) -> v1::WorkspaceStatus {
    let revision = workspace.log.tail().map_or(0, |tail| tail.position.0);
    let state_lag = revision.saturating_sub(workspace.snapshots.folded().borrow().position.0);
    let conflicts = workspace.conflicts.standing().borrow().clone();
    let counts = workspace.snapshots.snapshot().and_then(|snapshot| snapshot.counts()).ok();
    v1::WorkspaceStatus {
        workspace: workspace.id.to_string(),
        name: name_of(workspace),
        state: if counts.is_some() { v1::WorkspaceState::Running } else { v1::WorkspaceState::Starting }.into(),
        why: String::new(),
        revision,
        state_lag,
        record_count: None,
        op_count: counts.map(|counts| counts.ops + counts.unknown_ops),
        disk_bytes: workspace.log.bytes_on_disk() + workspace.snapshots.bytes_on_disk(),
        quarantine_count: workspace.log.quarantine_alarms().unwrap_or_default(),
        damaged_count: counts.map_or(0, |counts| counts.damaged),
        conflict_count: (conflicts.position != Position::ZERO)
            .then(|| u64::try_from(conflicts.cells.len()).unwrap_or(u64::MAX)),
        sync_paused_ms: workspace.syncing.held().borrow().map(signed_ms),
    }
}

fn diagnosis(check: diagnostics::Check) -> v1::Diagnosis {
    v1::Diagnosis {
        id: check.id.to_owned(),
        title: check.title.to_owned(),
        outcome: outcome(check.outcome).into(),
        evidence: check.evidence,
        fix: check.fix,
    }
}

/// An outcome as a message.
pub(super) fn outcome(outcome: diagnostics::Outcome) -> v1::CheckOutcome {
    match outcome {
        diagnostics::Outcome::Ok => v1::CheckOutcome::Ok,
        diagnostics::Outcome::Warning => v1::CheckOutcome::Warning,
        diagnostics::Outcome::Problem => v1::CheckOutcome::Problem,
    }
}
