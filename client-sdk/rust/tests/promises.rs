//! What the client promises, against a node that loses replies, breaks streams and forgets.

// A panic is the right report here.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_api::status::ApiError;
use openprod_api::v1;
use openprod_api::v1::command_service_server::{CommandService, CommandServiceServer};
use openprod_api::v1::event_service_server::{EventService, EventServiceServer};
use openprod_api::v1::table_service_server::{TableService, TableServiceServer};
use openprod_api::v1::watch_request::From as Place;
use openprod_api::v1::watch_response::Event as Told;
use openprod_client::{Change, Client, Endpoint, Error, Event, From, Patience, Workspace};
use openprod_model::ids::WorkspaceId;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

type Stream<T> = futures::stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// A node that follows a script.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    /// How many replies are still to be lost.
    lost: usize,
    command_ids: Vec<String>,
    min_revisions: Vec<u64>,
    watched: Vec<v1::WatchRequest>,
    streams: Vec<Vec<Result<v1::WatchResponse, Status>>>,
}

#[tonic::async_trait]
impl CommandService for Fake {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let mut script = self.0.lock().unwrap();
        script.command_ids.push(request.into_inner().command_id);
        if script.lost > 0 {
            script.lost -= 1;
            return Err(ApiError::new(v1::Reason::WorkspaceDown, "The workspace starts anew.").into());
        }
        Ok(Response::new(v1::ExecuteResponse { revision: 7, ..Default::default() }))
    }

    async fn list_undo(&self, _: Request<v1::ListUndoRequest>) -> Result<Response<v1::ListUndoResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl TableService for Fake {
    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let v1::ListRecordsRequest { min_revision, page_token, .. } = request.into_inner();
        self.0.lock().unwrap().min_revisions.push(min_revision);
        let page: usize = page_token.parse().unwrap_or_default();
        let records = vec![v1::Record { id: page.to_string(), ..Default::default() }];
        let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
        Ok(Response::new(v1::ListRecordsResponse { records, next_page_token, revision: 7 }))
    }

    async fn list_tables(&self, _: Request<v1::ListTablesRequest>) -> Result<Response<v1::ListTablesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_table(&self, request: Request<v1::GetTableRequest>) -> Result<Response<v1::GetTableResponse>, Status> {
        let message = format!("There is no table \"{}\".", request.into_inner().table);
        Err(ApiError::new(v1::Reason::UnknownTable, message).next("Did you mean \"cues\"?").into())
    }

    async fn get_record(&self, _: Request<v1::GetRecordRequest>) -> Result<Response<v1::GetRecordResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn query(&self, _: Request<v1::QueryRequest>) -> Result<Response<v1::QueryResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn explain_cell(
        &self,
        _: Request<v1::ExplainCellRequest>,
    ) -> Result<Response<v1::ExplainCellResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_mappings(
        &self,
        _: Request<v1::ListMappingsRequest>,
    ) -> Result<Response<v1::ListMappingsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_merges(&self, _: Request<v1::ListMergesRequest>) -> Result<Response<v1::ListMergesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_merge_exceptions(
        &self,
        _: Request<v1::ListMergeExceptionsRequest>,
    ) -> Result<Response<v1::ListMergeExceptionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_document(
        &self,
        _: Request<v1::GetDocumentRequest>,
    ) -> Result<Response<v1::GetDocumentResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl EventService for Fake {
    type WatchStream = Stream<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut script = self.0.lock().unwrap();
        script.watched.push(request.into_inner());
        let stream = if script.streams.is_empty() { Vec::new() } else { script.streams.remove(0) };
        Ok(Response::new(futures::stream::iter(stream)))
    }

    async fn set_presence(
        &self,
        _: Request<v1::SetPresenceRequest>,
    ) -> Result<Response<v1::SetPresenceResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_presence(
        &self,
        _: Request<v1::ListPresenceRequest>,
    ) -> Result<Response<v1::ListPresenceResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

impl Fake {
    /// Runs until the test ends.
    async fn starts(&self) -> (Workspace, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("openprod.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(CommandServiceServer::new(self.clone()))
            .add_service(TableServiceServer::new(self.clone()))
            .add_service(EventServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        let patience = Patience { retries: 3, total: Duration::from_secs(20), ..Patience::default() };
        let client = Client::connect_with(Endpoint::Socket(socket), patience).await.unwrap();
        (client.workspace(WorkspaceId::from_bytes([7; 16])), folder)
    }

    fn script<T>(&self, play: impl FnOnce(&mut Script) -> T) -> T {
        play(&mut self.0.lock().unwrap())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "streams are made of results")]
fn told(event: Told) -> Result<v1::WatchResponse, Status> {
    Ok(v1::WatchResponse { event: Some(event) })
}

fn batch(revision: u64) -> Result<v1::WatchResponse, Status> {
    let bundle = Some(v1::BundleInfo { revision, ..Default::default() });
    told(Told::Batch(v1::ChangeBatch { bundle, resume_token: format!("{revision}:past"), ..Default::default() }))
}

fn nothing() -> Change {
    Change::new(Vec::<v1::Command>::new())
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_under_the_same_command_id() {
    let fake = Fake::default();
    fake.script(|script| script.lost = 2);
    let (workspace, _folder) = fake.starts().await;
    assert_eq!(workspace.execute(&nothing()).await.unwrap().revision, 7);
    let ids = fake.script(|script| script.command_ids.clone());
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn a_node_that_stays_down_is_given_up_and_the_same_change_can_be_sent_later() {
    let fake = Fake::default();
    fake.script(|script| script.lost = 4);
    let (workspace, _folder) = fake.starts().await;
    let change = nothing();
    let error = workspace.execute(&change).await.unwrap_err();
    assert!(matches!(&error, Error::Busy(refused) if refused.message == "The workspace starts anew."), "{error:?}");
    workspace.execute(&change).await.unwrap();
    assert!(fake.script(|script| script.command_ids.iter().all(|id| *id == change.command_id().to_string())));
}

#[tokio::test]
async fn reads_wait_for_what_was_written_and_turn_their_pages() {
    let fake = Fake::default();
    let (workspace, _folder) = fake.starts().await;
    workspace.execute(&nothing()).await.unwrap();
    let records = workspace.records("cues").all().await.unwrap();
    assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(fake.script(|script| script.min_revisions.clone()), [7, 7, 7]);
}

#[tokio::test]
async fn a_refusal_arrives_whole_and_is_not_retried() {
    let (workspace, _folder) = Fake::default().starts().await;
    let error = workspace.table("cue").await.unwrap_err();
    let Error::Refused(refused) = error else { panic!("{error:?}") };
    assert_eq!(refused.known(), Some(v1::Reason::UnknownTable));
    assert_eq!(refused.message, "There is no table \"cue\".");
    assert_eq!(refused.next, "Did you mean \"cues\"?");
}

#[tokio::test]
async fn a_watch_goes_on_behind_the_last_batch_when_its_stream_breaks() {
    let fake = Fake::default();
    fake.script(|script| script.streams = vec![vec![batch(1), batch(2)], vec![batch(3)]]);
    let (workspace, _folder) = fake.starts().await;
    let mut watch = workspace.watch(From::Revision(0), Vec::new());
    for expected in 1..=3 {
        let Event::Batch(batch) = watch.next().await.unwrap() else { panic!("a batch was sent") };
        assert_eq!(batch.bundle.unwrap().revision, expected);
    }
    let places: Vec<_> = fake.script(|script| script.watched.iter().map(|asked| asked.from.clone()).collect());
    assert_eq!(places, [Some(Place::Revision(0)), Some(Place::ResumeToken("2:past".to_owned()))]);
    assert_eq!((watch.token(), workspace.seen()), (Some("3:past"), 3));
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_says_so_and_takes_a_snapshot() {
    for reason in [v1::Reason::ResumeTokenExpired, v1::Reason::WatcherLagged] {
        let fake = Fake::default();
        let end = v1::SnapshotEnd { revision: 9, resume_token: "9:new".to_owned() };
        let refused = Err(ApiError::new(reason, "No.").into());
        fake.script(|script| script.streams = vec![vec![batch(1), refused], vec![told(Told::SnapshotEnd(end))]]);
        let (workspace, _folder) = fake.starts().await;
        let mut watch = workspace.watch(From::Revision(0), Vec::new());
        assert!(matches!(watch.next().await.unwrap(), Event::Batch(_)));
        assert!(matches!(watch.next().await.unwrap(), Event::Resynced));
        assert!(matches!(watch.next().await.unwrap(), Event::SnapshotEnd(9)));
        assert!(fake.script(|script| script.watched[1].include_snapshot));
    }
}

#[tokio::test]
async fn a_watch_that_breaks_before_its_first_mark_does_not_hide_what_it_may_have_missed() {
    let fake = Fake::default();
    let (workspace, _folder) = fake.starts().await;
    let mut watch = workspace.watch(From::Now, Vec::new());
    assert!(matches!(watch.next().await.unwrap(), Event::Resynced));
}

#[test]
fn calls_can_be_made_from_any_thread() {
    fn any_thread<T: Send>(_: impl Fn(Workspace) -> T) {}
    any_thread(|workspace| async move { workspace.execute(&nothing()).await });
    any_thread(|workspace| async move { workspace.records("cues").all().await });
    any_thread(|workspace| async move { workspace.watch(From::Now, Vec::new()).next().await });
    any_thread(|workspace| async move { workspace.client().create_identity("Mara").await });
    any_thread(|workspace| async move { workspace.verify().await?.next().await });
}
