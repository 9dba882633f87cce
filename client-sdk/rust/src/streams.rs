//! Long work on the node: its progress and its end, told as they come; whole workspaces, out and in.

use std::time::Duration;

use futures::Stream;
use openprod_api::v1;
use tonic::{Request, Response, Status, Streaming};

use crate::connect::{Client, Workspace};
use crate::error::Error;

/// What the node tells while it works. Dropping it cancels the work.
#[derive(Debug)]
pub struct Answers<T> {
    stream: Streaming<T>,
    at: String,
}

impl<T> Answers<T> {
    /// The next message; none when the work is done.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        self.stream.message().await.map_err(|status| Error::from_status(&status, &self.at))
    }
}

impl Workspace {
    /// Hashes everything again, checks every signature, folds the log again and compares.
    pub async fn verify(&self) -> Result<Answers<v1::VerifyResponse>, Error> {
        let message = v1::VerifyRequest { workspace: self.id().to_string() };
        self.client().begin(async || self.client().admin().verify(Request::new(message)).await).await
    }

    /// Writes a copy to `path` on the node's machine; if that is empty, into the workspace's own folder of backups.
    pub async fn backup(&self, path: &str) -> Result<Answers<v1::BackupResponse>, Error> {
        let message = v1::BackupRequest { workspace: self.id().to_string(), path: path.to_owned() };
        self.client().begin(async || self.client().admin().backup(Request::new(message)).await).await
    }

    /// Gives the whole history as one file, piece by piece.
    pub async fn export(&self) -> Result<Answers<v1::ExportWorkspaceResponse>, Error> {
        self.takes_out(v1::ExportWorkspaceRequest::default()).await
    }

    /// The same with the files that the node has of it; the last piece tells which. Older versions refuse such a file.
    pub async fn export_with_blobs(&self) -> Result<Answers<v1::ExportWorkspaceResponse>, Error> {
        self.takes_out(v1::ExportWorkspaceRequest { with_blobs: true, ..Default::default() }).await
    }

    async fn takes_out(
        &self,
        message: v1::ExportWorkspaceRequest,
    ) -> Result<Answers<v1::ExportWorkspaceResponse>, Error> {
        let message = v1::ExportWorkspaceRequest { workspace: self.id().to_string(), ..message };
        self.client().begin(async || self.client().admin().export_workspace(Request::new(message)).await).await
    }
}

impl Client {
    /// Joins a workspace that other nodes have. Dropping the answers before the last one gives up a request that a
    /// member has not decided yet.
    pub async fn join(&self, message: v1::JoinRequest) -> Result<Answers<v1::JoinResponse>, Error> {
        self.begin(async || self.invites().join(Request::new(message)).await).await
    }

    /// Tells of the other nodes at once, and whenever something has changed.
    pub async fn watch_peers(&self) -> Result<Answers<v1::WatchPeersResponse>, Error> {
        self.begin(async || self.peers().watch_peers(Request::new(v1::WatchPeersRequest {})).await).await
    }

    /// Takes in a workspace from the pieces of an exported file, each at most 1 MiB. Where the node has that
    /// workspace already, the two histories are joined; so the same file may be brought twice.
    pub async fn import_workspace<S>(&self, pieces: S) -> Result<v1::ImportWorkspaceResponse, Error>
    where
        S: Stream<Item = Vec<u8>> + Send + 'static,
    {
        use futures::StreamExt as _;
        let messages = pieces.map(|chunk| v1::ImportWorkspaceRequest { chunk });
        let answer = self.workspaces().import_workspace(messages).await;
        answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, self.at()))
    }

    /// Work that may take long has no deadline of its own, only its beginning has; keep-alives notice a dead node.
    pub(crate) async fn begin<T>(
        &self,
        call: impl AsyncFnOnce() -> Result<Response<Streaming<T>>, Status>,
    ) -> Result<Answers<T>, Error> {
        let begun = self.patience().once(self.at(), async |_: Duration| call().await).await?;
        Ok(Answers { stream: begun.into_inner(), at: self.at().to_owned() })
    }
}
