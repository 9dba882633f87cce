//! Watchers of a running node, asked for one message at a time.

use futures::StreamExt;
use openprod_api::v1::command_service_server::CommandService as _;
use openprod_model::ids::CommandId;
use openprod_model::value::Text;

use super::*;
use crate::config::{self, Flag};
use crate::services::Caller;
use crate::services::calling::by;
use crate::services::command::CommandService;
use crate::workspace::Workspace;

/// A node with one workspace, and a folder that lives as long.
struct House {
    node: Arc<Node>,
    workspace: Workspace,
    _place: tempfile::TempDir,
}

impl House {
    async fn opens() -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("home").display().to_string();
        let flag = |name: &str, value: String| Flag { name: name.to_owned(), value };
        let flags = vec![flag("data-dir", root), flag("listen", "off".to_owned())];
        let node = Node::start(config::resolve(None, &[], flags).unwrap()).await.unwrap();
        let made = node.create(command_id(0), Text::new("Hamlet").unwrap(), None).await.unwrap();
        let workspace = made.workspace;
        Self { node, workspace, _place: place }
    }

    /// Puts a setting, and gives the revision.
    async fn writes(&self, number: u64) -> Position {
        self.writes_all(number, 1).await
    }

    /// Puts so many settings at once, and gives the revision.
    async fn writes_all(&self, number: u64, count: u64) -> Position {
        let put = |count| {
            let value = v1::Value { kind: Some(v1::value::Kind::Integer(i64::try_from(number).unwrap())) };
            let put = v1::PutSetting { setting: format!("workspace.count{count}"), value: Some(value) };
            v1::Command { kind: Some(v1::command::Kind::PutSetting(put)) }
        };
        let mut request = Request::new(v1::ExecuteRequest {
            command_id: command_id(number).to_string(),
            workspace: self.workspace.id.to_string(),
            commands: (0..count).map(put).collect(),
            ..v1::ExecuteRequest::default()
        });
        request.extensions_mut().insert(Caller { actor: None });
        let service = CommandService::new(Arc::clone(&self.node));
        let done = by(Caller { actor: None }, service.execute(request)).await.unwrap();
        Position(done.into_inner().revision)
    }

    /// Waits until reads show this.
    async fn shows(&self, revision: Position) {
        self.workspace.snapshots.folded().wait_for(|folded| folded.position >= revision).await.unwrap();
    }

    async fn watches(&self, from: From) -> Parts<v1::WatchResponse> {
        let workspace = self.workspace.id.to_string();
        let request = v1::WatchRequest { workspace, from: Some(from), ..v1::WatchRequest::default() };
        let service = EventService::new(Arc::clone(&self.node));
        by(Caller { actor: None }, service.watch(Request::new(request))).await.unwrap().into_inner()
    }
}

fn command_id(number: u64) -> CommandId {
    CommandId::from_bytes(u128::from(number).to_be_bytes())
}

/// The revision of the next message, which must be of a bundle, and its token.
async fn hears(watch: &mut Parts<v1::WatchResponse>) -> (Position, String) {
    let message = watch.next().await.unwrap().unwrap();
    let Some(v1::watch_response::Event::Batch(batch)) = message.event else { panic!("no bundle: {message:?}") };
    (Position(batch.bundle.unwrap().revision), batch.resume_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_from_now_on_does_not_hear_of_what_was_written_before() {
    // So many that they are written long before reads show them.
    const MANY: u64 = 10_000;
    let house = House::opens().await;
    house.writes_all(1, MANY).await;
    let mut watch = house.watches(From::Start(v1::watch_request::Start::Now.into())).await;
    let next = house.writes(2).await;
    assert_eq!(hears(&mut watch).await.0, next);
    house.node.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_is_too_slow_is_told_where_to_go_on() {
    const AT_ONCE: usize = 256;
    let house = House::opens().await;
    let mut slow = house.watches(From::Revision(1)).await;
    let first = house.writes(1).await;
    let (heard, token) = hears(&mut slow).await;
    assert_eq!(heard, first);

    let numbers = 2..pace::MAX_LAG_BUNDLES + 4;
    let writes = futures::stream::iter(numbers).map(|number| house.writes(number)).buffer_unordered(AT_ONCE);
    let last = writes.fold(first, |last, revision| async move { last.max(revision) }).await;
    house.shows(last).await;

    let refused = ApiError::from(slow.next().await.unwrap().unwrap_err());
    assert_eq!(refused.known_reason(), Some(v1::Reason::WatcherLagged), "{refused:?}");
    assert_eq!((refused.code, refused.resume_token.as_ref()), (tonic::Code::ResourceExhausted, Some(&token)));
    assert!(slow.next().await.is_none(), "nothing is told behind a gap");
    let mut again = house.watches(From::ResumeToken(token)).await;
    assert_eq!(hears(&mut again).await.0, first.next());
    house.node.stop(std::time::Duration::from_secs(5)).await;
}
