//! Files: given to the node in pieces, taken from it in pieces, and kept there.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt as _, future, stream};
use openprod_api::v1;
use openprod_model::ids::BlobHash;
use tonic::{Request, Response};

use crate::connect::Workspace;
use crate::error::Error;
use crate::reads::Pages;
use crate::streams::Answers;

/// The largest piece in which a file is sent, in bytes.
pub const MAX_PIECE_BYTES: usize = 1024 * 1024;

impl Workspace {
    /// Puts a file on the node, from pieces of at most [`MAX_PIECE_BYTES`]. When this returns, it is on the node's disk
    /// for good. If it is known what it must be, nothing else is taken. An error among the pieces breaks it off.
    pub async fn put_blob<S>(&self, pieces: S, expected: Option<BlobHash>) -> Result<v1::Blob, Error>
    where
        S: Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
    {
        let broke_off = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&broke_off);
        let (workspace, expected_hash) = (self.id().to_string(), expected.map(|hash| hash.to_string()));
        let first = v1::PutBlobRequest { workspace, expected_hash: expected_hash.unwrap_or_default(), ..fresh() };
        let pieces = pieces.map(Some).chain(stream::once(future::ready(None))).scan(keep, |keep, piece| {
            future::ready(match piece {
                Some(Ok(chunk)) => Some(v1::PutBlobRequest { chunk, ..fresh() }),
                Some(Err(error)) => {
                    *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
                None => Some(v1::PutBlobRequest { last: true, ..fresh() }),
            })
        });
        let messages = stream::once(future::ready(first)).chain(pieces);
        let answer = self.client().blobs().put_blob(messages).await;
        if let Some(error) = broke_off.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::Unusable(format!("The file could not be read to its end: {error}.")));
        }
        let answer = answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, self.client().at()));
        Ok(answer?.blob.unwrap_or_default())
    }

    /// Takes a file from the node, from `offset` on, at most `length` bytes; 0 for all. A node that does not have it fetches
    /// it from others first.
    pub async fn get_blob(
        &self,
        hash: BlobHash,
        offset: u64,
        length: u64,
    ) -> Result<Answers<v1::GetBlobResponse>, Error> {
        let (workspace, hash) = (self.id().to_string(), hash.to_string());
        let message = v1::GetBlobRequest { workspace, hash, offset, length };
        self.client().begin(async || self.client().blobs().get_blob(Request::new(message)).await).await
    }

    /// Has the node fetch a file from other nodes, and tells how that goes; the last answer is the file. Dropped before,
    /// it stops, and what has come stays on the node.
    pub async fn fetch_blob(&self, hash: BlobHash) -> Result<Answers<v1::FetchBlobResponse>, Error> {
        let message = v1::FetchBlobRequest { workspace: self.id().to_string(), hash: hash.to_string() };
        self.client().begin(async || self.client().blobs().fetch_blob(Request::new(message.clone())).await).await
    }

    /// A small picture of a file that is a picture or a PDF, as a PNG.
    pub async fn thumbnail(&self, hash: BlobHash) -> Result<Vec<u8>, Error> {
        let hash = hash.to_string();
        Ok(self.read(v1::GetThumbnailRequest { hash, ..Default::default() }).await?.png)
    }

    /// What the node knows of a file, whether it is there or not.
    pub async fn blob(&self, hash: BlobHash) -> Result<v1::Blob, Error> {
        let hash = hash.to_string();
        Ok(self.read(v1::StatBlobRequest { hash, ..Default::default() }).await?.blob.unwrap_or_default())
    }

    /// The files that are on the node or that fields refer to.
    pub fn blobs(&self) -> Pages<v1::ListBlobsRequest> {
        self.pages(v1::ListBlobsRequest::default())
    }

    /// Keeps a file on the node whatever happens, also one that is not there yet.
    pub async fn pin_blob(&self, hash: BlobHash) -> Result<v1::Blob, Error> {
        let hash = hash.to_string();
        Ok(self.read(v1::PinBlobRequest { hash, ..Default::default() }).await?.blob.unwrap_or_default())
    }

    /// Keeps it no longer than others.
    pub async fn unpin_blob(&self, hash: BlobHash) -> Result<v1::Blob, Error> {
        let hash = hash.to_string();
        Ok(self.read(v1::UnpinBlobRequest { hash, ..Default::default() }).await?.blob.unwrap_or_default())
    }

    /// Reads every file on the node again and compares it with its hash.
    pub async fn verify_blobs(&self) -> Result<Answers<v1::VerifyBlobsResponse>, Error> {
        let message = v1::VerifyBlobsRequest { workspace: self.id().to_string() };
        self.client().begin(async || self.client().blobs().verify_blobs(Request::new(message)).await).await
    }

    /// Removes from the node what nothing has needed for long; if `dry_run`, only tells what that would be.
    pub async fn collect_blobs(&self, dry_run: bool) -> Result<v1::CollectBlobsResponse, Error> {
        self.read(v1::CollectBlobsRequest { dry_run, ..Default::default() }).await
    }
}

fn fresh() -> v1::PutBlobRequest {
    v1::PutBlobRequest::default()
}
