//! AdminService: verifies, saves, exports; shows and settles what is in quarantine.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openprod_api::convert::ids;
use openprod_api::status;
use openprod_api::v1;
use openprod_api::v1::admin_service_server::AdminService as Service;
use openprod_messages::log::Quarantined;
use openprod_messages::oplog::OplogMsg;
use openprod_model::ids::Position;
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Parts, STREAM_AHEAD, no_answer, not_appended, sentence, streaming, unreadable};
use super::{acting, caller};
use crate::files::FileError;
use crate::node::Node;
use crate::workspace::Workspace;
use crate::{backup, logging, verification, workspace_file};

mod quarantine;
mod taking_out;
mod waiting;

/// Verifies, saves and repairs.
pub struct AdminService(Arc<Node>);

impl AdminService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    fn workspace(&self, named: &str) -> Result<Workspace, Status> {
        super::workspace(&self.0, named)
    }
}

type Sender<T> = mpsc::Sender<Result<T, Status>>;

#[tonic::async_trait]
impl Service for AdminService {
    type VerifyStream = Parts<v1::VerifyResponse>;
    type BackupStream = Parts<v1::BackupResponse>;
    type ExportWorkspaceStream = Parts<v1::ExportWorkspaceResponse>;

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let workspace = self.workspace(&request.get_ref().workspace)?;
        let end = workspace.log.tail().map_err(|failure| unreadable(&failure))?.position;
        let snapshot = super::snapshot_from(&workspace, end).await?;
        let log = Arc::clone(&workspace.log);
        let subject = verification::Subject { workspace: workspace.id, log, snapshot: Some(snapshot) };
        let job = move |sender: &Sender<v1::VerifyResponse>| verified(&workspace, &subject, sender);
        self.stream(&request, job)
    }

    async fn list_quarantine(
        &self,
        request: Request<v1::ListQuarantineRequest>,
    ) -> Result<Response<v1::ListQuarantineResponse>, Status> {
        let workspace = self.workspace(&request.get_ref().workspace)?;
        quarantine::list(&workspace, request.get_ref()).map(Response::new)
    }

    async fn get_quarantined(
        &self,
        request: Request<v1::GetQuarantinedRequest>,
    ) -> Result<Response<v1::GetQuarantinedResponse>, Status> {
        let v1::GetQuarantinedRequest { workspace, number } = request.into_inner();
        let workspace = self.workspace(&workspace)?;
        quarantine::show(&workspace, number).map(Response::new)
    }

    async fn retry_quarantined(
        &self,
        request: Request<v1::RetryQuarantinedRequest>,
    ) -> Result<Response<v1::RetryQuarantinedResponse>, Status> {
        let v1::RetryQuarantinedRequest { workspace, number } = request.into_inner();
        let workspace = self.workspace(&workspace)?;
        quarantine::find(&workspace, number)?;
        let admitted = workspace.oplog.call(|reply| OplogMsg::Retry { number, reply }).await;
        let admitted = admitted.map_err(no_answer)?.map_err(not_appended)?;
        let admitted_now = admitted.appended + admitted.known > 0;
        let item = if admitted_now { None } else { Some(quarantine::item(&quarantine::find(&workspace, number)?)) };
        let revision = if admitted_now { admitted.through.0 } else { 0 };
        Ok(Response::new(v1::RetryQuarantinedResponse { admitted: admitted_now, revision, item }))
    }

    async fn take_quarantined(
        &self,
        request: Request<v1::TakeQuarantinedRequest>,
    ) -> Result<Response<v1::TakeQuarantinedResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::TakeQuarantinedRequest { workspace, numbers, actor } = request.into_inner();
        let named = ids::optional_id(&actor, "actor").map_err(|refusal| status::refused(&refusal))?;
        let taker = acting(caller, named, "actor")?.or_else(|| self.0.identities.default_actor());
        let workspace = self.workspace(&workspace)?;
        quarantine::may_take(&workspace, taker, &numbers)?;
        quarantine::take(&workspace, numbers).await.map(Response::new)
    }

    async fn list_waiting(
        &self,
        request: Request<v1::ListWaitingRequest>,
    ) -> Result<Response<v1::ListWaitingResponse>, Status> {
        let workspace = self.workspace(&request.get_ref().workspace)?;
        waiting::list(&workspace, request.get_ref()).map(Response::new)
    }

    async fn skip_quarantined(
        &self,
        request: Request<v1::SkipQuarantinedRequest>,
    ) -> Result<Response<v1::SkipQuarantinedResponse>, Status> {
        let v1::SkipQuarantinedRequest { workspace, number } = request.into_inner();
        let workspace = self.workspace(&workspace)?;
        quarantine::find(&workspace, number)?;
        let skipped = workspace.oplog.call(|reply| OplogMsg::Skip { number, reply }).await;
        skipped.map_err(no_answer)?.map_err(not_appended)?;
        Ok(Response::new(v1::SkipQuarantinedResponse {}))
    }

    async fn export_quarantined(
        &self,
        request: Request<v1::ExportQuarantinedRequest>,
    ) -> Result<Response<v1::ExportQuarantinedResponse>, Status> {
        let v1::ExportQuarantinedRequest { workspace, number } = request.into_inner();
        let Quarantined { bytes, .. } = quarantine::find(&self.workspace(&workspace)?, number)?;
        Ok(Response::new(v1::ExportQuarantinedResponse { content: bytes }))
    }

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        if !request.get_ref().path.is_empty() {
            super::own_user_only(super::caller(request.extensions())?, "Backups are written to a path")?;
        }
        let workspace = self.workspace(&request.get_ref().workspace)?;
        let place = self.place_for(&workspace, &request.get_ref().path)?;
        let (now, files) = (self.0.env.clock.wall_ms(), self.0.folder.workspace(workspace.id).blobs());
        let job = move |sender: &Sender<v1::BackupResponse>| backed_up(&workspace, &files, &place, now, sender);
        self.stream(&request, job)
    }

    async fn export_workspace(
        &self,
        request: Request<v1::ExportWorkspaceRequest>,
    ) -> Result<Response<Self::ExportWorkspaceStream>, Status> {
        let v1::ExportWorkspaceRequest { workspace, with_blobs } = request.get_ref();
        let (workspace, with_blobs) = (self.workspace(workspace)?, *with_blobs);
        if with_blobs {
            // What was deleted by now does not go along.
            super::snapshot_from(&workspace, Position::ZERO).await?;
        }
        let now = self.0.env.clock.wall_ms();
        let job = move |sender: &Sender<v1::ExportWorkspaceResponse>| {
            let packing = with_blobs.then(|| workspace_file::packing(&workspace.library)).transpose();
            taking_out::exported(&workspace, packing.map_err(FileError::from)?, now, sender)
        };
        self.stream(&request, job)
    }

    async fn set_log_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        super::own_user_only(super::caller(request.extensions())?, "What is logged is changed")?;
        let filter = &request.get_ref().filter;
        let changed = logging::change_filter(filter).map_err(|error| {
            let refusal = Refusal::new(Reason::InvalidValue, sentence(&error.to_string())).at("filter");
            status::refused(&refusal.next("Write a level such as info, or info,openprod_oplog=debug."))
        });
        let previous_filter = changed?;
        tracing::info!(filter, previous_filter, "the log level was changed");
        Ok(Response::new(v1::SetLogLevelResponse { previous_filter }))
    }
}

impl AdminService {
    /// Runs `job` on a thread where it may block, and streams what it sends; its failure is the stream's last part.
    fn stream<R, T: Send + 'static>(
        &self,
        request: &Request<R>,
        job: impl FnOnce(&Sender<T>) -> Result<(), Status> + Send + 'static,
    ) -> Result<Response<Parts<T>>, Status> {
        let (sender, parts) = mpsc::channel(STREAM_AHEAD);
        let response = streaming(request.extensions(), ReceiverStream::new(parts))?;
        let (env, to_client) = (self.0.env.clone(), sender.clone());
        tokio::spawn(async move {
            let failure = match env.offload(move || job(&to_client)).await {
                Some(Ok(())) => return,
                Some(Err(status)) => status,
                None => super::internal("a long task panicked"),
            };
            // Nobody hears it if the client is gone.
            let _ = sender.send(Err(failure)).await;
        });
        Ok(response)
    }

    /// Where a backup goes: a path of the client's choice, or a new name in the workspace's own folder of backups.
    fn place_for(&self, workspace: &Workspace, path: &str) -> Result<backup::Place, Status> {
        if path.is_empty() {
            return Ok(backup::Place::Within(self.0.folder.workspace(workspace.id).backups()));
        }
        let path = PathBuf::from(path);
        if path.is_absolute() {
            return Ok(backup::Place::Exactly(path));
        }
        let message = "The path of a backup must be absolute: the node does not know where you are.";
        Err(status::refused(&Refusal::new(Reason::InvalidValue, message).at("path")))
    }
}

fn gone<T>(_: T) -> Status {
    Status::cancelled("The client is gone.")
}

fn progress(stage: &str, done: u64, total: u64) -> v1::Progress {
    v1::Progress { stage: stage.to_owned(), done, total }
}

fn verified(
    workspace: &Workspace,
    subject: &verification::Subject,
    sender: &Sender<v1::VerifyResponse>,
) -> Result<(), Status> {
    let mut tell = |at: verification::Progress| {
        let event = v1::verify_response::Event::Progress(progress(at.stage.words(), at.done, at.total));
        match sender.blocking_send(Ok(v1::VerifyResponse { event: Some(event) })) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let report = match verification::verify(subject, &mut tell) {
        Ok(report) => report,
        Err(verification::VerifyError::BrokenOff) => return Err(gone(())),
        Err(verification::VerifyError::Read(failure)) => return Err(unreadable(&failure)),
    };
    tell_of_damage(workspace, &report);
    let event = Some(v1::verify_response::Event::Report(verify_report(report)));
    sender.blocking_send(Ok(v1::VerifyResponse { event })).map_err(gone)
}

/// The oplog sets aside what is damaged; then good copies are asked for from other nodes.
fn tell_of_damage(workspace: &Workspace, report: &verification::Report) {
    for (digest, reason) in report.damaged() {
        match workspace.log.position_of(digest) {
            Ok(Some(at)) => drop(workspace.oplog.cast(OplogMsg::FoundDamaged { at, reason: reason.to_owned() })),
            Ok(None) => {}
            Err(failure) => tracing::warn!(%failure, "where a damaged bundle lies could not be read"),
        }
    }
}

fn verify_report(report: verification::Report) -> v1::VerifyReport {
    v1::VerifyReport {
        outcome: super::node::outcome(report.outcome()).into(),
        bundles: report.bundles,
        ops: report.ops,
        revision: report.revision.0,
        state_hash: report.state_hash.to_string(),
        findings: report.findings.into_iter().map(finding).collect(),
    }
}

fn finding(finding: verification::Finding) -> v1::Finding {
    v1::Finding {
        id: finding.id.to_owned(),
        outcome: super::node::outcome(finding.outcome).into(),
        sentence: finding.sentence,
        bundle_digest: finding.bundle.map_or_else(String::new, |digest| digest.to_string()),
        fix: finding.fix.to_owned(),
    }
}

fn backed_up(
    workspace: &Workspace,
    files: &Path,
    place: &backup::Place,
    now_ms: u64,
    sender: &Sender<v1::BackupResponse>,
) -> Result<(), Status> {
    let send = |event| sender.blocking_send(Ok(v1::BackupResponse { event: Some(event) })).map_err(gone);
    let total = workspace.log.tail().map_or(0, |tail| tail.position.0);
    send(v1::backup_response::Event::Progress(progress("Copying the history", 0, total)))?;
    let name = super::name_of(workspace);
    let written =
        backup::write(&workspace.store, files, workspace.id, &name, place, now_ms).map_err(|error| match error {
            backup::BackupError::Exists(_) => {
                let refusal = Refusal::new(Reason::AlreadyExists, sentence(&error.to_string())).at("path");
                status::refused(&refusal.next("Name a path at which nothing is yet."))
            }
            backup::BackupError::Full => super::disk_full(),
            other => super::unavailable(sentence(&other.to_string())),
        })?;
    send(v1::backup_response::Event::Report(v1::BackupReport {
        path: written.path.display().to_string(),
        revision: written.revision.0,
        bundles: written.revision.0,
        bytes: written.bytes,
    }))
}
