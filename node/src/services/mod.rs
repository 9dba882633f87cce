//! The gRPC services: requests become messages, answers become replies; nothing is decided here.
//!
//! One file for each service. What all of them share stands in this one: who calls, until when, which workspace is
//! meant, how failures of the rooms become statuses, and how long answers are streamed. What several need: [`reading`]
//! (a revision, opened off the runtime's threads), [`moment`] (the past), [`paging`] (tokens), [`batch`] (what a bundle
//! changed), [`disputes`] (what people disagree about).

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use http::Extensions;
use openprod_api::status::{self, ApiError};
use openprod_api::v1::Reason;
use openprod_api::v1::access_service_server::{self, AccessServiceServer};
use openprod_api::v1::admin_service_server::{self, AdminServiceServer};
use openprod_api::v1::blob_service_server::{self, BlobServiceServer};
use openprod_api::v1::command_service_server::{self, CommandServiceServer};
use openprod_api::v1::conflict_service_server::{self, ConflictServiceServer};
use openprod_api::v1::edge_service_server::{self, EdgeServiceServer};
use openprod_api::v1::event_service_server::{self, EventServiceServer};
use openprod_api::v1::history_service_server::{self, HistoryServiceServer};
use openprod_api::v1::invite_service_server::{self, InviteServiceServer};
use openprod_api::v1::node_service_server::{self, NodeServiceServer};
use openprod_api::v1::overlay_service_server::{self, OverlayServiceServer};
use openprod_api::v1::peer_service_server::{self, PeerServiceServer};
use openprod_api::v1::table_service_server::{self, TableServiceServer};
use openprod_api::v1::workspace_service_server::{self, WorkspaceServiceServer};
use openprod_domain::fold::workspace_name_setting;
use openprod_domain::read;
use openprod_domain::view::{ReadFailure, View};
use openprod_messages::address::NoAnswer;
use openprod_messages::commands::CommandError;
use openprod_messages::log::LogReader;
use openprod_messages::oplog::AppendError;
use openprod_messages::snapshot::{Snapshot, Snapshots};
use openprod_messages::watch;
use openprod_messages::watch::RecvError;
use openprod_model::ids::{ActorId, Position, WorkspaceId};
use openprod_model::refusal::{self, Refusal};
use openprod_model::value::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Code, Response, Status};

use crate::node::{Node, Slot};
use crate::workspace::Workspace;

pub mod access;
pub mod admin;
pub mod blob;
pub mod calling;
pub mod command;
pub mod conflict;
pub mod edge;
pub mod event;
pub mod history;
pub mod invite;
pub mod node;
pub mod overlay;
pub mod peer;
pub mod table;
pub mod workspace;

mod batch;
mod disputes;
mod moment;
mod paging;
mod reading;

/// Largest message that this node sends: beyond what any page or bundle comes to.
pub const MAX_SENT_BYTES: usize = 64 * 1024 * 1024;
/// How many calls a stream may be ahead of its reader: parts wait in a channel of this size.
pub const STREAM_AHEAD: usize = 16;
/// Largest part of a streamed file, as the API says.
pub const CHUNK_BYTES: usize = 1024 * 1024;

/// The full names of the services, as health checks name them.
pub const NAMES: [&str; 14] = [
    access_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
    blob_service_server::SERVICE_NAME,
    command_service_server::SERVICE_NAME,
    conflict_service_server::SERVICE_NAME,
    edge_service_server::SERVICE_NAME,
    event_service_server::SERVICE_NAME,
    history_service_server::SERVICE_NAME,
    invite_service_server::SERVICE_NAME,
    node_service_server::SERVICE_NAME,
    overlay_service_server::SERVICE_NAME,
    peer_service_server::SERVICE_NAME,
    table_service_server::SERVICE_NAME,
    workspace_service_server::SERVICE_NAME,
];

/// All services of this node, and the reflection that describes them.
pub fn routes(node: &Arc<Node>) -> Routes {
    const DESCRIBED: &str = "the descriptors were made by this build";
    let received = node.config.max_request_mb.saturating_mul(1024 * 1024);
    macro_rules! bounded {
        ($server:ident($service:path)) => {
            $server::new(<$service>::new(Arc::clone(node)))
                .max_decoding_message_size(received)
                .max_encoding_message_size(MAX_SENT_BYTES)
        };
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(openprod_api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Routes::default()
        .add_service(bounded!(AccessServiceServer(access::AccessService)))
        .add_service(bounded!(AdminServiceServer(admin::AdminService)))
        .add_service(bounded!(BlobServiceServer(blob::BlobService)))
        .add_service(bounded!(CommandServiceServer(command::CommandService)))
        .add_service(bounded!(ConflictServiceServer(conflict::ConflictService)))
        .add_service(bounded!(EdgeServiceServer(edge::EdgeService)))
        .add_service(bounded!(EventServiceServer(event::EventService)))
        .add_service(bounded!(HistoryServiceServer(history::HistoryService)))
        .add_service(bounded!(InviteServiceServer(invite::InviteService)))
        .add_service(bounded!(NodeServiceServer(node::NodeService)))
        .add_service(bounded!(OverlayServiceServer(overlay::OverlayService)))
        .add_service(bounded!(PeerServiceServer(peer::PeerService)))
        .add_service(bounded!(TableServiceServer(table::TableService)))
        .add_service(bounded!(WorkspaceServiceServer(workspace::WorkspaceService)))
        .add_service(reflection().build_v1().expect(DESCRIBED))
        .add_service(reflection().build_v1alpha().expect(DESCRIBED))
}

/// Who calls. An extension of every request that a service sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The actor whose token the call carries; none through the Unix socket, whose permissions decide.
    pub actor: Option<ActorId>,
}

/// When the caller gives up. An extension of requests that carry a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// What streamed answers share: how many there may be, and word that the node stops. An extension of every request.
#[derive(Debug, Clone)]
pub struct Streams {
    slots: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Turns true when the token of a call is taken back. An extension of requests that carry such a token.
#[derive(Debug, Clone)]
pub struct Revoked(pub watch::Receiver<bool>);

/// A mark on answers that are streamed: what they take in time says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Streamed;

/// A streamed answer.
pub type Parts<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

impl Streams {
    /// At most `at_once` of them; all end when `stopping` turns true.
    pub fn new(at_once: usize, stopping: watch::Receiver<bool>) -> Self {
        Self { slots: Arc::new(Semaphore::new(at_once)), stopping }
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| too_busy())
    }
}

/// Streams `parts` as the answer to the request with these extensions: it counts as one of the node's streams, and
/// ends with a status at the request's deadline and when the node stops.
pub fn streaming<T, S>(extensions: &Extensions, parts: S) -> Result<Response<Parts<T>>, Status>
where
    T: Send + 'static,
    S: futures::Stream<Item = Result<T, Status>> + Send + 'static,
{
    let streams = extensions.get::<Streams>().cloned();
    let slot = streams.as_ref().map(Streams::slot).transpose()?;
    let deadline = extensions.get::<Deadline>().copied();
    let revoked = extensions.get::<Revoked>().cloned();
    let end = Box::pin(ends(streams.map(|streams| streams.stopping), revoked, deadline));
    let state = Some((Box::pin(parts), end, slot));
    let parts = futures::stream::unfold(state, |state| async move {
        let (mut parts, mut end, slot) = state?;
        tokio::select! {
            biased;
            status = &mut end => Some((Err(status), None)),
            // A panic here would take down the whole connection, with everybody else's calls on it.
            part = AssertUnwindSafe(parts.next()).catch_unwind() => match part {
                Ok(part) => part.map(|part| (part, Some((parts, end, slot)))),
                Err(_) => Some((Err(internal("a stream panicked")), None)),
            },
        }
    });
    let mut response = Response::new(Box::pin(parts) as Parts<T>);
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

async fn ends(stopping: Option<watch::Receiver<bool>>, revoked: Option<Revoked>, deadline: Option<Deadline>) -> Status {
    let turns_true = async |told: Option<watch::Receiver<bool>>| match told {
        Some(told) => stopped(told).await,
        None => std::future::pending().await,
    };
    let expires = async {
        match deadline {
            Some(Deadline(at)) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = turns_true(stopping) => unavailable("The node is stopping."),
        () = turns_true(revoked.map(|Revoked(told)| told)) => taken_back(),
        () = expires => deadline_exceeded(),
    }
}

/// Ends when the node stops.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        // Whoever would say so is gone without a word: then nothing stops.
        std::future::pending::<()>().await;
    }
}

/// Who makes this call; refused where no door has said so.
pub fn caller(extensions: &Extensions) -> Result<Caller, Status> {
    let unknown = || ApiError::new(Reason::Unauthenticated, "It is not known who makes this call.").into();
    extensions.get::<Caller>().copied().ok_or_else(unknown)
}

/// Who acts: whom the request names in its field `at`, else whom the token stands for; never anybody else by token.
pub fn acting(caller: Caller, named: Option<ActorId>, at: &str) -> Result<Option<ActorId>, Status> {
    match (caller.actor, named) {
        (Some(own), Some(other)) if own != other => {
            let message = format!("The token of this call acts as {} and not as {}.", own.short(), other.short());
            let error = ApiError { at: at.to_owned(), ..ApiError::new(Reason::ActorNotYours, message) };
            Err(error.next(format!("Leave the {at} out, or call with that actor's token.")).into())
        }
        (own, named) => Ok(own.or(named)),
    }
}

/// Some things are for whoever may read the node's files anyway. `what` begins the sentence of the refusal.
pub fn own_user_only(caller: Caller, what: &str) -> Result<(), Status> {
    if caller.actor.is_none() {
        return Ok(());
    }
    let denied = ApiError::new(Reason::Unspecified, format!("{what} through the node's Unix socket only."));
    let denied = ApiError { code: Code::PermissionDenied, reason: String::new(), ..denied };
    Err(denied.next("Use the command `openprod` on the node's machine, as the node's user.").into())
}

/// The workspaces that the caller may know of; those that could not be opened, whoever may know of all.
pub fn workspaces(node: &Node) -> Vec<(WorkspaceId, Slot)> {
    let mut all = node.workspaces();
    all.retain(|(_, slot)| match slot {
        Slot::Open(workspace) => calling::sees(workspace),
        Slot::Closed { .. } => calling::sees_all(),
    });
    all
}

/// The running workspace of that id, or of that name if only one has it. One that the caller may not know of is not there.
pub fn workspace(node: &Node, named: &str) -> Result<Workspace, Status> {
    if named.is_empty() {
        let missing = Refusal::new(refusal::Reason::InvalidRequest, "The request lacks `workspace`.").at("workspace");
        return Err(status::refused(&missing.next("`openprod workspaces` lists them.")));
    }
    let id = match named.parse::<WorkspaceId>() {
        Ok(id) => id,
        Err(_) => named_so(node, named).map_err(|refusal| status::refused(&refusal))?,
    };
    match node.workspace(id) {
        Ok(workspace) if calling::sees(&workspace) => Ok(workspace),
        Err(refusal) if refusal.reason == refusal::Reason::UnknownWorkspace || calling::sees_all() => {
            Err(status::refused(&refusal))
        }
        Ok(_) | Err(_) => Err(status::refused(&crate::node::unknown_workspace(id))),
    }
}

fn named_so(node: &Node, name: &str) -> Result<WorkspaceId, Refusal> {
    let open = workspaces(node).into_iter().filter_map(|(id, slot)| match slot {
        Slot::Open(workspace) => Some((id, *workspace)),
        Slot::Closed { .. } => None,
    });
    let named: Vec<_> = open.filter(|(_, workspace)| name_of(workspace) == name).map(|(id, _)| id).collect();
    match named.as_slice() {
        [id] => Ok(*id),
        [] => {
            let message = format!("This node has no workspace called \"{name}\".");
            let refusal = Refusal::new(refusal::Reason::UnknownWorkspace, message).at("workspace");
            Err(refusal.next("`openprod workspaces` lists them."))
        }
        several => {
            let message = format!("{} workspaces are called \"{name}\".", several.len());
            let refusal = Refusal::new(refusal::Reason::UnknownWorkspace, message).at("workspace");
            Err(refusal.next("Name the one that is meant by its id."))
        }
    }
}

/// What people call a workspace; empty as long as that cannot be read.
pub fn name_of(workspace: &Workspace) -> String {
    workspace.snapshots.snapshot().and_then(|snapshot| name_in(snapshot.view())).unwrap_or_default()
}

/// What people call the workspace of this view.
pub fn name_in(view: &dyn View) -> Result<String, ReadFailure> {
    let value = read::setting(view, &workspace_name_setting())?;
    Ok(match value {
        Some(Value::Text(name)) => name.to_string(),
        _ => String::new(),
    })
}

/// The newest snapshot that shows at least this revision, or, for 0, everything that was acknowledged by now; waits for
/// it if need be, also while the state is just being opened anew.
pub async fn snapshot_from(workspace: &Workspace, min_revision: Position) -> Result<Arc<dyn Snapshot>, Status> {
    snapshot_of(&*workspace.log, &*workspace.snapshots, min_revision).await
}

/// The same, of a log and the state that folds it.
async fn snapshot_of(
    log: &dyn LogReader,
    snapshots: &dyn Snapshots,
    min_revision: Position,
) -> Result<Arc<dyn Snapshot>, Status> {
    let end = log.tail().map_err(|failure| unreadable(&failure))?.position;
    if min_revision > end {
        let message = format!("Revision {min_revision} is not in this log, which ends at {end}.");
        let unknown = Refusal::new(refusal::Reason::UnknownHistory, message).at("min_revision");
        return Err(status::refused(&unknown));
    }
    let wanted = if min_revision == Position::ZERO { end } else { min_revision };
    let mut failure = None;
    let shown = newest(snapshots, wanted, &mut failure);
    match tokio::time::timeout(openprod_messages::address::CALL_DEADLINE, shown).await {
        Ok(Ok(snapshot)) => Ok(snapshot),
        Ok(Err(_)) => Err(unavailable("This workspace is being closed.")),
        Err(_) => match failure {
            Some(failure) => Err(unreadable(&failure)),
            None => Err(unavailable("The state of this workspace does not catch up with its log.")),
        },
    }
}

/// Waits for a snapshot that shows this revision. `failure` is why the state could not be read so far.
async fn newest(
    snapshots: &dyn Snapshots,
    wanted: Position,
    failure: &mut Option<ReadFailure>,
) -> Result<Arc<dyn Snapshot>, RecvError> {
    let mut folded = snapshots.folded();
    loop {
        folded.wait_for(|folded| folded.position >= wanted).await?;
        match snapshots.snapshot() {
            Ok(snapshot) => return Ok(snapshot),
            Err(unread) => *failure = Some(unread),
        }
        // A state that cannot be read is opened anew, of which whoever waits here is told.
        folded.changed().await?;
    }
}

/// Waits until the overlays know of every commit that was acknowledged by now, so that none is shown that is no more.
/// Only so long: should they not be able to follow the log, they are shown as far as they have.
pub async fn overlays_follow(workspace: &Workspace) -> Result<(), Status> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
    if workspace.shelf.all().is_err() {
        // Whoever asks for one is told why there is none.
        return Ok(());
    }
    let end = workspace.log.tail().map_err(|failure| unreadable(&failure))?.position;
    let mut followed = workspace.shelf.followed();
    if tokio::time::timeout(PATIENCE, followed.wait_for(|followed| *followed >= end)).await.is_err() {
        tracing::warn!(workspace = %workspace.id, "the overlays do not keep up with the log");
    }
    Ok(())
}

/// What a command's failure is to its caller.
pub fn failed(error: CommandError) -> Status {
    match error {
        CommandError::Refused(refusal) => status::refused(&refusal),
        CommandError::Unavailable(why) => unavailable(why),
    }
}

/// What it is to a caller that the oplog did not take something.
pub fn not_appended(error: AppendError) -> Status {
    match error {
        AppendError::Refused(refusal) => status::refused(&refusal),
        AppendError::Disk { full: true, .. } => disk_full(),
        AppendError::Stale | AppendError::Disk { .. } => unavailable(sentence(&error.to_string())),
    }
}

/// What it is to a caller that a store could not be read.
pub fn unreadable(failure: &ReadFailure) -> Status {
    tracing::error!(%failure, "a read failed");
    unavailable(sentence(&failure.to_string()))
}

/// What it is to a caller that a room did not answer.
pub fn no_answer(none: NoAnswer) -> Status {
    unavailable(sentence(&none.to_string()))
}

/// Not now, perhaps later: nothing is known to be wrong with the request.
pub fn unavailable(why: impl Into<String>) -> Status {
    ApiError::new(Reason::WorkspaceDown, why).next("Try again; a write with the same command id.").into()
}

/// The deadline has passed.
pub fn deadline_exceeded() -> Status {
    ApiError::new(Reason::DeadlineExceeded, "The deadline passed before the answer was ready.")
        .next("If it was a write, it may have happened: try again with the same command id.")
        .into()
}

/// Too much is under way.
pub fn too_busy() -> Status {
    ApiError::new(Reason::TooBusy, "This node serves as many requests as it may at once.")
        .next("Try again in a moment; the setting max_clients is the limit.")
        .into()
}

/// There is no space.
pub fn disk_full() -> Status {
    ApiError::new(Reason::DiskFull, "The disk is full.").next("Free some space, then try again.").into()
}

/// The token was good when the call began.
pub fn taken_back() -> Status {
    ApiError::new(Reason::Unauthenticated, "The token of this call was taken back.")
        .next("Get a new ticket: `openprod token create` on the node's machine.")
        .into()
}

/// Something went wrong that nobody foresaw; the log has the details, the caller gets none.
pub fn internal(what: &str) -> Status {
    tracing::error!(what, "an unforeseen failure");
    ApiError::new(Reason::Internal, "The node failed in a way that it did not foresee.")
        .next("Its log says more.")
        .into()
}

/// A text as a sentence: a capital first, a full stop last.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or_else(String::new, |letter| letter.to_uppercase().collect());
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use openprod_messages::testing::MemoryState;

    use super::*;

    #[tokio::test]
    async fn whoever_reads_waits_while_the_state_is_opened_anew() {
        let state = Arc::<MemoryState>::default();
        state.fails(true);
        let mut failure = None;
        let mut reading = Box::pin(newest(&*state, Position::ZERO, &mut failure));
        assert!(futures::poll!(&mut reading).is_pending());
        state.opens_anew();
        assert_eq!(reading.await.unwrap().position(), Position::ZERO);
        assert!(failure.is_some(), "should it never be opened, this is what is said");
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_deadline_with_a_status() {
        let mut extensions = Extensions::new();
        extensions.insert(Deadline(Instant::now() + std::time::Duration::from_millis(20)));
        let endless = futures::stream::once(async { Ok(1) }).chain(futures::stream::pending());
        let parts: Vec<_> = streaming(&extensions, endless).unwrap().into_inner().collect().await;
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].as_ref().unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_stopping_node_ends_its_streams_and_there_are_only_so_many() {
        let (stop, stopping) = watch::channel(false);
        let mut extensions = Extensions::new();
        extensions.insert(Streams::new(1, stopping));
        let first = streaming::<u8, _>(&extensions, futures::stream::pending()).unwrap();
        let second = streaming::<u8, _>(&extensions, futures::stream::pending()).err().unwrap();
        assert_eq!(second.code(), tonic::Code::ResourceExhausted);
        stop.send_replace(true);
        let parts: Vec<_> = first.into_inner().collect().await;
        assert_eq!(parts[0].as_ref().unwrap_err().code(), tonic::Code::Unavailable);
        assert!(streaming::<u8, _>(&extensions, futures::stream::empty()).is_ok(), "the slot is free again");
    }

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_a_status() {
        let broken = futures::stream::once(async { panic!("the secret is 42") });
        let parts: Vec<_> = streaming::<u8, _>(&Extensions::new(), broken).unwrap().into_inner().collect().await;
        assert_eq!(parts[0].as_ref().unwrap_err().code(), tonic::Code::Internal);
    }

    const MARA: ActorId = ActorId::from_bytes([1; 32]);
    const LEO: ActorId = ActorId::from_bytes([2; 32]);

    #[test]
    fn a_token_acts_as_its_own_actor_only() {
        let mara = Caller { actor: Some(MARA) };
        assert_eq!(acting(mara, None, "actor").unwrap(), Some(MARA));
        assert_eq!(acting(mara, Some(MARA), "actor").unwrap(), Some(MARA));
        let refused = ApiError::from(acting(mara, Some(LEO), "founder").unwrap_err());
        assert_eq!((refused.code, refused.known_reason()), (Code::PermissionDenied, Some(Reason::ActorNotYours)));
        assert_eq!(refused.at, "founder");
    }

    #[test]
    fn the_socket_acts_as_whom_it_names_or_as_the_default() {
        let socket = Caller { actor: None };
        assert_eq!(acting(socket, None, "actor").unwrap(), None);
        assert_eq!(acting(socket, Some(LEO), "actor").unwrap(), Some(LEO));
    }

    #[test]
    fn texts_become_sentences() {
        assert_eq!(sentence("the disk is full"), "The disk is full.");
        assert_eq!(sentence("Why?"), "Why?");
    }
}
