//! A whole node behind its doors: what clients, browsers and strangers meet there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use openprod_api::v1;
use openprod_api::v1::admin_service_client::AdminServiceClient;
use openprod_api::v1::command_service_client::CommandServiceClient;
use openprod_api::v1::event_service_client::EventServiceClient;
use openprod_api::v1::node_service_client::NodeServiceClient;
use openprod_api::v1::table_service_client::TableServiceClient;
use openprod_api::v1::workspace_service_client::WorkspaceServiceClient;
use openprod_model::ids::CommandId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::{ServeError, serve};
use crate::backup::{Present, restore};
use crate::config::{self, Config, Flag};
use crate::node::Node;
use crate::{emergency, telemetry};

mod files;

struct House {
    node: Arc<Node>,
    config: Config,
    port: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

fn config(folder: &Path, more: &[(&str, &str)]) -> Config {
    let own = [("data-dir", folder.to_str().unwrap()), ("listen", "127.0.0.1:0"), ("shutdown-seconds", "5")];
    let flag = |(name, value): &(&str, &str)| Flag { name: (*name).to_owned(), value: (*value).to_owned() };
    config::resolve(None, &[], own.iter().chain(more).map(flag).collect()).unwrap()
}

impl House {
    async fn opens(config: Config) -> Self {
        let node = Node::start(config.clone()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let (open, opened) = oneshot::channel();
        let tell = move |port| open.send(port).unwrap();
        let served = tokio::spawn(serve(Arc::clone(&node), telemetry::start(), tell, shutdown));
        let port = opened.await.unwrap().unwrap();
        Self { node, config, port, stop, served }
    }

    async fn channel(&self) -> Channel {
        let path = self.config.socket.clone().unwrap();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    async fn port(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.port)).unwrap().connect().await.unwrap()
    }

    async fn says(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.port).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.says(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await
    }

    fn token(&self) -> String {
        let actor = self.node.identities.default_actor().unwrap();
        std::fs::read_to_string(self.node.identities.token_path(actor)).unwrap().trim().to_owned()
    }

    async fn closes(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.node.stop(Duration::from_secs(5)).await;
        let folders = self.node.folder.workspaces().unwrap().into_iter().map(|id| (id, self.node.folder.workspace(id)));
        let folders: Vec<_> = folders.collect();
        drop(self.node);
        for (id, files) in folders {
            // The last of the node's tasks may still be letting go of the files.
            while let Err(why) = crate::storage::open(&files, id, &self.config) {
                assert!(why.contains("in another process"), "{why}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn command_id() -> String {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    CommandId::new(1_772_400_000_000, random).to_string()
}

/// Founds a workspace with a table of people, and gives its id.
async fn founds_hamlet(house: &House) -> String {
    let channel = house.channel().await;
    let asked = v1::CreateWorkspaceRequest { command_id: command_id(), name: "Hamlet".into(), founder: String::new() };
    let mut workspaces = WorkspaceServiceClient::new(channel.clone());
    let made = workspaces.create_workspace(asked.clone()).await.unwrap().into_inner();
    let again = workspaces.create_workspace(asked).await.unwrap().into_inner();
    assert_eq!((again.replayed, &again.workspace), (true, &made.workspace));
    let text = v1::FieldType { r#type: v1::DataType::Text.into(), ..v1::FieldType::default() };
    let column = v1::NewColumn { name: "name".into(), r#type: Some(text), required: false, default: None };
    let table = v1::CreateTable { name: "people".into(), description: String::new(), columns: vec![column] };
    execute(&channel, vec![v1::command::Kind::CreateTable(table)]).await;
    for name in ["Ophelia", "Laertes", "Yorick"] {
        let value = v1::Value { kind: Some(v1::value::Kind::Text(name.into())) };
        let values = vec![v1::FieldValue { column: "name".into(), value: Some(value) }];
        let record = v1::CreateRecord { record: String::new(), table: "people".into(), values };
        execute(&channel, vec![v1::command::Kind::CreateRecord(record)]).await;
    }
    made.workspace
}

async fn execute(channel: &Channel, kinds: Vec<v1::command::Kind>) {
    let commands = kinds.into_iter().map(|kind| v1::Command { kind: Some(kind) }).collect();
    let (command_id, workspace) = (command_id(), "Hamlet".to_owned());
    let request = v1::ExecuteRequest { command_id, workspace, commands, ..v1::ExecuteRequest::default() };
    CommandServiceClient::new(channel.clone()).execute(request).await.unwrap();
}

async fn people(house: &House, workspace: &str) -> usize {
    let min_revision = 5;
    let request = v1::ListRecordsRequest {
        workspace: workspace.into(),
        table: "people".into(),
        min_revision,
        ..v1::ListRecordsRequest::default()
    };
    let listed = TableServiceClient::new(house.channel().await).list_records(request).await.unwrap();
    listed.into_inner().records.len()
}

async fn verified(house: &House, workspace: &str) -> v1::VerifyReport {
    let request = v1::VerifyRequest { workspace: workspace.into() };
    let mut parts = AdminServiceClient::new(house.channel().await).verify(request).await.unwrap().into_inner();
    let mut report = None;
    while let Some(part) = parts.message().await.unwrap() {
        if let Some(v1::verify_response::Event::Report(found)) = part.event {
            report = Some(found);
        }
    }
    report.unwrap()
}

async fn exported(house: &House, workspace: &str) -> Vec<u8> {
    let request = v1::ExportWorkspaceRequest { workspace: workspace.into(), ..Default::default() };
    let mut parts =
        AdminServiceClient::new(house.channel().await).export_workspace(request).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        file.extend(part.chunk);
    }
    file
}

async fn imports(house: &House, file: &[u8]) -> Result<v1::ImportWorkspaceResponse, tonic::Status> {
    let chunks: Vec<_> = file.chunks(100).map(|chunk| v1::ImportWorkspaceRequest { chunk: chunk.to_vec() }).collect();
    let mut workspaces = WorkspaceServiceClient::new(house.channel().await);
    workspaces.import_workspace(futures::stream::iter(chunks)).await.map(tonic::Response::into_inner)
}

async fn backed_up(house: &House, workspace: &str, path: &str) -> v1::BackupReport {
    let request = v1::BackupRequest { workspace: workspace.into(), path: path.into() };
    let mut parts = AdminServiceClient::new(house.channel().await).backup(request).await.unwrap().into_inner();
    let mut report = None;
    while let Some(part) = parts.message().await.unwrap() {
        if let Some(v1::backup_response::Event::Report(written)) = part.event {
            report = Some(written);
        }
    }
    report.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_travels_as_one_file_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let home = House::opens(config(&place.path().join("home"), &[])).await;
    let id = founds_hamlet(&home).await;
    assert_eq!(people(&home, "Hamlet").await, 3);
    let report = verified(&home, &id).await;
    assert_eq!((report.outcome(), report.bundles, &report.findings[..]), (v1::CheckOutcome::Ok, 5, &[][..]));
    let file = exported(&home, &id).await;

    let tour = House::opens(config(&place.path().join("tour"), &[])).await;
    for cut in [10, 30, file.len() / 2, file.len() - 1] {
        let refused = imports(&tour, &file[..cut]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{cut}: {}", refused.message());
    }
    let mut altered = file.clone();
    altered[file.len() / 2] ^= 1;
    imports(&tour, &altered).await.unwrap_err();
    assert!(tour.node.workspaces().is_empty() && tour.node.folder.workspaces().unwrap().is_empty());

    let taken = imports(&tour, &file).await.unwrap();
    assert_eq!((taken.workspace.as_str(), taken.name.as_str(), taken.new_bundles), (id.as_str(), "Hamlet", 5));
    assert_eq!(people(&tour, &id).await, 3);
    assert_eq!(verified(&tour, &id).await.state_hash, report.state_hash);
    let again = imports(&tour, &file).await.unwrap();
    assert_eq!((again.new_bundles, again.known_bundles, again.refused_bundles), (0, 5, 0));
    home.closes().await;
    tour.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_what_was_there_is_put_aside() {
    let place = tempfile::tempdir().unwrap();
    let settings = config(&place.path().join("home"), &[]);
    let home = House::opens(settings.clone()).await;
    let id = founds_hamlet(&home).await;
    let written = backed_up(&home, "Hamlet", "").await;
    assert!(written.path.contains("Hamlet-20") && written.revision == 5, "{written:?}");
    let busy = restore(settings.clone(), Path::new(&written.path), Present::Refuse).await.unwrap_err();
    assert!(busy.to_string().contains("in use by process"), "{busy}");
    let log = home.node.folder.workspace(id.parse().unwrap()).log();
    home.closes().await;

    let saved = emergency::export(&log, id.parse().unwrap(), &place.path().join("saved")).unwrap();
    assert_eq!((saved.bundles, saved.tables, saved.problems), (5, vec![("people".to_owned(), 3)], vec![]));
    let csv = std::fs::read_to_string(place.path().join("saved/people.csv")).unwrap();
    assert!(csv.starts_with("record,name\r\n") && csv.contains("Yorick"), "{csv}");

    let from = PathBuf::from(&written.path);
    let outside = place.path().join("backup");
    std::fs::rename(&from, &outside).unwrap();
    let there = restore(settings.clone(), &outside, Present::Refuse).await.unwrap_err();
    assert!(there.to_string().contains("--yes-replace"), "{there}");
    let restored = restore(settings.clone(), &outside, Present::PutAside).await.unwrap();
    assert!(restored.aside.unwrap().join("log.redb").exists());
    let home = House::opens(settings.clone()).await;
    assert_eq!(people(&home, &id).await, 3);
    home.closes().await;
    let history = outside.join("log.redb");
    let bytes = std::fs::read(&history).unwrap();
    std::fs::write(&history, &bytes[..bytes.len() - 3]).unwrap();
    let altered = restore(settings, &outside, Present::PutAside).await.unwrap_err();
    assert!(altered.to_string().contains("altered or cut off"), "{altered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_stopped_node_is_backed_up_as_it_is() {
    use crate::backup::{Place, write};
    let place = tempfile::tempdir().unwrap();
    let home = House::opens(config(&place.path().join("home"), &[])).await;
    let id = founds_hamlet(&home).await.parse().unwrap();
    let files = home.node.folder.workspace(id);
    let settings = home.config.clone();
    home.closes().await;
    let stores = crate::storage::open(&files, id, &settings).unwrap();
    let written = write(&stores.log, &files.blobs(), id, "Hamlet", &Place::Within(place.path().join("b")), 0).unwrap();
    assert!(written.path.ends_with("b/Hamlet-19700101T000000Z") && written.damaged.is_empty(), "{written:?}");
    drop(stores);
    let tour = config(&place.path().join("tour"), &[]);
    let restored = restore(tour.clone(), &written.path, Present::Refuse).await.unwrap();
    assert_eq!((restored.workspace, restored.revision.0, restored.aside), (id, 5, None));
    let tour = House::opens(tour).await;
    assert_eq!(people(&tour, "Hamlet").await, 3);
    tour.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_tricked_browsers_stay_outside() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[("allowed-origins", "https://desk.example")])).await;
    let mut calls = NodeServiceClient::new(house.port().await);
    let refused = calls.get_info(v1::GetInfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let advice = openprod_api::status::ApiError::from(refused).next;
    assert!(advice.contains(".token"), "{advice}");
    let with_token = |message| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", house.token()).parse().unwrap());
        request
    };
    calls.get_info(with_token(v1::GetInfoRequest {})).await.unwrap();
    let mut request = Request::new(v1::CreateIdentityRequest { display_name: "Eve".into() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", house.token()).parse().unwrap());
    assert_eq!(calls.create_identity(request).await.unwrap_err().code(), Code::PermissionDenied);
    let mut by_socket = NodeServiceClient::new(house.channel().await);
    by_socket.create_identity(v1::CreateIdentityRequest { display_name: "Mara".into() }).await.unwrap();

    assert!(house.get("/healthz", "Host: localhost\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(house.get("/readyz", "Host: 127.0.0.1:1\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(house.get("/metrics", "Host: localhost\r\n").await.contains("openprod_requests_total"));
    assert!(house.get("/healthz", "Host: evil.example\r\n").await.starts_with("HTTP/1.1 421"));
    assert!(
        house.get("/healthz", "Host: localhost\r\nOrigin: http://evil.example\r\n").await.starts_with("HTTP/1.1 403")
    );
    let allowed = house.get("/healthz", "Host: localhost\r\nOrigin: https://desk.example\r\n").await;
    assert!(allowed.contains("access-control-allow-origin: https://desk.example"), "{allowed}");
    assert!(house.get("/etc/passwd", "Host: localhost\r\n").await.starts_with("HTTP/1.1 404"));
    house.closes().await;
}

fn web_call(path: &str, headers: &str) -> String {
    let fixed =
        "Host: localhost\r\nConnection: close\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n";
    format!("POST /openprod.v1.{path} HTTP/1.1\r\n{fixed}{headers}\r\n\0\0\0\0\0")
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_speak_grpc_web_and_deadlines_are_named_as_such() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[])).await;
    let token = format!("Authorization: Bearer {}\r\n", house.token());
    let info = house.says(&web_call("NodeService/GetInfo", &token)).await;
    assert!(info.contains("grpc-status:0") && info.contains("openprod.v1"), "{info}");
    let nobody = house.says(&web_call("NodeService/GetInfo", "")).await;
    assert!(nobody.contains("grpc-status: 16"), "{nobody}");
    let late = house.says(&web_call("NodeService/RunDiagnostics", &format!("{token}Grpc-Timeout: 0n\r\n"))).await;
    assert!(late.contains("grpc-status: 4"), "{late}");
    let unknown = house.says(&web_call("NodeService/Evil", &token)).await;
    assert!(unknown.contains("grpc-status: 12"), "{unknown}");
    assert!(!house.get("/metrics", "Host: localhost\r\n").await.contains("Evil"));
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_are_told_to_come_back() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[("max-clients", "1")])).await;
    let channel = house.channel().await;
    let calls = (0..8).map(|_| {
        let mut calls = NodeServiceClient::new(channel.clone());
        async move { calls.run_diagnostics(v1::RunDiagnosticsRequest {}).await }
    });
    let answers = futures::future::join_all(calls).await;
    let shed =
        answers.iter().filter(|answer| answer.as_ref().is_err_and(|s| s.code() == Code::ResourceExhausted)).count();
    assert!((1..8).contains(&shed), "{shed}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_ends_its_streams_and_leaves_no_socket() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[])).await;
    founds_hamlet(&house).await;
    let request = v1::WatchRequest { workspace: "Hamlet".into(), ..v1::WatchRequest::default() };
    let stream = EventServiceClient::new(house.channel().await).watch(request).await.unwrap().into_inner();
    let watcher = tokio::spawn(async move { stream.map(|part| part.map(|_| ())).collect::<Vec<_>>().await });
    let socket = house.config.socket.clone().unwrap();
    let begun = Instant::now();
    house.closes().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let parts = watcher.await.unwrap();
    assert_eq!(parts.last().unwrap().as_ref().unwrap_err().code(), Code::Unavailable);
    assert!(!socket.exists());
}
