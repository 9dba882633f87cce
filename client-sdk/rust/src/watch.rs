//! Following a workspace without gaps, across lost connections and restarts of the node.

use backon::{BackoffBuilder as _, ExponentialBackoff};
use openprod_api::v1;
use openprod_api::v1::watch_request::{From as Place, Start};
use openprod_api::v1::watch_response::Event as Told;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

use crate::connect::Workspace;
use crate::error::Error;

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// With what happens from now on.
    Now,
    /// With everything as it stands, then with what happens.
    Snapshot,
    /// Behind this revision.
    Revision(u64),
    /// Behind what a token of an earlier watch marks.
    Token(String),
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Event {
    /// A part of everything as it stands.
    Snapshot(v1::SnapshotPart),
    /// The snapshot is complete, and shows this revision.
    SnapshotEnd(u64),
    /// A bundle, whole.
    Batch(Box<v1::ChangeBatch>),
    /// Nothing more happened up to this revision.
    Bookmark(u64),
    /// Something happened to an overlay of the node. A hint: read it anew.
    Overlay(v1::OverlayEvent),
    /// Who is in the workspace now; what was told of it before counts no more.
    Presence(v1::PresenceEvent),
    /// The watch could not go on where it was: forget what it told; a fresh snapshot follows.
    Resynced,
}

/// A live view of a workspace.
///
/// It goes on by itself after a lost connection. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    workspace: Workspace,
    scope: Option<v1::WatchScope>,
    /// Where the next stream begins.
    from: From,
    /// Whether a stream that begins at `from` continues what was told; a half-told snapshot does not.
    continues: bool,
    stream: Option<Streaming<v1::WatchResponse>>,
    backoff: Option<ExponentialBackoff>,
}

impl Workspace {
    /// Follows the workspace; `tables` are those to tell of, all if there are none.
    pub fn watch(&self, from: From, tables: Vec<String>) -> Watch {
        let scope = (!tables.is_empty()).then_some(v1::WatchScope { tables });
        Watch { workspace: self.clone(), scope, from, continues: true, stream: None, backoff: None }
    }
}

impl Watch {
    /// The next event. Lost connections are made again in between; an error comes only when that fails for long, or
    /// when the node refuses. After an error that may pass, it can be asked again and goes on without a gap.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if !self.continues {
                return Ok(self.resync());
            }
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) if is_resync(&error) => {
                    self.stream = None;
                    self.continues = false;
                }
                Err(error) => self.lost(error).await?,
            }
        }
    }

    /// A token with which a later watch goes on behind the last event; none before the first mark.
    pub fn token(&self) -> Option<&str> {
        if let From::Token(token) = &self.from { Some(token) } else { None }
    }

    async fn step(&mut self) -> Result<Option<Event>, Error> {
        let at = self.workspace.client().at().to_owned();
        let silence = self.workspace.client().patience().silence;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(begin(&self.workspace, &self.from, self.scope.clone()).await?),
        };
        let said = timeout(silence, stream.message()).await.map_err(|_| Error::Late { at: at.clone() })?;
        match said.map_err(|status| Error::from_status(&status, &at))? {
            Some(message) => Ok(message.event.map(|event| self.mark(event))),
            None => Err(Error::Unreachable { at, why: "the node ended the stream".to_owned() }),
        }
    }

    /// Remembers where to go on.
    fn mark(&mut self, told: Told) -> Event {
        self.backoff = None;
        match told {
            Told::SnapshotPart(part) => Event::Snapshot(part),
            Told::SnapshotEnd(end) => {
                self.reach(end.revision, end.resume_token);
                Event::SnapshotEnd(end.revision)
            }
            Told::Bookmark(bookmark) => {
                self.reach(bookmark.revision, bookmark.resume_token);
                Event::Bookmark(bookmark.revision)
            }
            Told::Presence(event) => Event::Presence(event),
            Told::Overlay(event) => Event::Overlay(event),
            Told::Batch(batch) => {
                let revision = batch.bundle.as_ref().map(|bundle| bundle.revision).unwrap_or_default();
                self.reach(revision, batch.resume_token.clone());
                Event::Batch(Box::new(batch))
            }
        }
    }

    fn reach(&mut self, revision: u64, token: String) {
        self.workspace.note(revision);
        self.from = From::Token(token);
    }

    /// The stream broke: waits a little before the next one, or gives up for now.
    async fn lost(&mut self, error: Error) -> Result<(), Error> {
        if self.stream.take().is_some() {
            // What a stream without a mark had told cannot be continued, unless it had begun at a revision.
            self.continues = matches!(self.from, From::Token(_) | From::Revision(_));
        }
        if !error.is_transient() {
            return Err(error);
        }
        let policy = self.workspace.client().patience().backoff();
        let Some(wait) = self.backoff.get_or_insert_with(|| policy.build()).next() else {
            self.backoff = None;
            return Err(error);
        };
        tracing::debug!(%error, ?wait, "watching again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn resync(&mut self) -> Event {
        self.workspace.forget();
        self.from = From::Snapshot;
        self.continues = true;
        Event::Resynced
    }
}

async fn begin(
    workspace: &Workspace,
    from: &From,
    scope: Option<v1::WatchScope>,
) -> Result<Streaming<v1::WatchResponse>, Error> {
    let place = match from {
        From::Now | From::Snapshot => Place::Start(Start::Now.into()),
        From::Revision(revision) => Place::Revision(*revision),
        From::Token(token) => Place::ResumeToken(token.clone()),
    };
    let message = v1::WatchRequest {
        workspace: workspace.id().to_string(),
        from: Some(place),
        scope,
        include_snapshot: *from == From::Snapshot,
    };
    let client = workspace.client();
    let call = async |_| -> Result<_, Status> { client.events().watch(Request::new(message)).await };
    Ok(client.patience().once(client.at(), call).await?.into_inner())
}

fn is_resync(error: &Error) -> bool {
    matches!(error.reason(), Some(v1::Reason::ResumeTokenExpired | v1::Reason::WatcherLagged))
}
