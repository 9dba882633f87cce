//! BlobService: files come and go in chunks; what is known of them is told.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openprod_api::convert::ids::{id, optional_id};
use openprod_api::status::{self, ApiError};
use openprod_api::v1;
use openprod_api::v1::Reason;
use openprod_api::v1::blob_service_server::BlobService as Service;
use openprod_blobs::care::{Progress, Verified};
use openprod_blobs::collect::Library;
use openprod_blobs::outline::PIECE_BYTES;
use openprod_messages::blobs::{BlobsMsg, FetchStanding, Kept};
use openprod_messages::watch;
use openprod_model::ids::{BlobHash, Position};
use openprod_model::refusal::{self, Refusal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::paging::{Pages, items};
use super::{CHUNK_BYTES, Parts, STREAM_AHEAD, caller, streaming};
use crate::files::{self, FileError, Known};
use crate::node::Node;

/// Takes, gives and keeps files.
pub struct BlobService(Arc<Node>);

impl BlobService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    fn library(&self, workspace: &str) -> Result<Library, Status> {
        Ok(super::workspace(&self.0, workspace)?.library)
    }

    async fn blocking<T, E>(&self, job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Status>
    where
        T: Send + 'static,
        E: Into<FileError> + Send + 'static,
    {
        files::on_a_thread(&self.0.env, job).await.map_err(Status::from)
    }

    async fn known(&self, library: Library, hash: BlobHash) -> Result<Known, Status> {
        self.blocking(move || files::known(&library, hash)).await
    }

    async fn stat(&self, library: Library, hash: BlobHash) -> Result<v1::Blob, Status> {
        self.known(library, hash).await.map(|known| blob(&known))
    }

    /// Pins or lets go, and tells what is known of the file then.
    async fn pin(&self, workspace: &str, hash: &str, pins: bool) -> Result<v1::Blob, Status> {
        let (workspace, hash) = (super::workspace(&self.0, workspace)?, parsed(hash)?);
        let store = Arc::clone(&workspace.library.store);
        self.blocking(move || if pins { store.pin(hash) } else { store.unpin(hash) }).await?;
        // A room that is being started again looks by itself.
        let _ = workspace.blobs.cast(BlobsMsg::Look);
        self.stat(workspace.library, hash).await
    }
}

impl From<FileError> for Status {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Refused(refusal) => status::refused(&refusal),
            FileError::Unavailable(why) => super::unavailable(why),
            FileError::Busy => super::too_busy(),
        }
    }
}

fn parsed(hash: &str) -> Result<BlobHash, Status> {
    id(hash, "hash").map_err(|refusal| status::refused(&refusal))
}

#[tonic::async_trait]
impl Service for BlobService {
    type GetBlobStream = Parts<v1::GetBlobResponse>;
    type FetchBlobStream = Parts<v1::FetchBlobResponse>;
    type VerifyBlobsStream = Parts<v1::VerifyBlobsResponse>;

    async fn put_blob(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobResponse>, Status> {
        caller(request.extensions())?;
        let mut chunks = request.into_inner();
        let Some(first) = chunks.message().await? else { return Err(no_end()) };
        let library = self.library(&first.workspace)?;
        let expected =
            optional_id(&first.expected_hash, "expected_hash").map_err(|refusal| status::refused(&refusal))?;
        // Why it broke off, where that is the client's doing.
        let mut broke_off = None;
        let kept = files::put(&self.0.env, &library, expected, to_the_end(first, chunks, &mut broke_off)).await;
        if let Some(status) = broke_off {
            return Err(status);
        }
        let blob = self.stat(library, kept?.hash).await?;
        Ok(Response::new(v1::PutBlobResponse { blob: Some(blob) }))
    }

    async fn get_blob(&self, request: Request<v1::GetBlobRequest>) -> Result<Response<Self::GetBlobStream>, Status> {
        let v1::GetBlobRequest { workspace, hash, offset, length } = request.get_ref();
        let (workspace, hash) = (super::workspace(&self.0, workspace)?, parsed(hash)?);
        let (_, reader) = files::open(&workspace, &self.0.env, hash).await?;
        let size = reader.size();
        let end = if *length == 0 { size } else { offset.saturating_add(*length).min(size) };
        let pieces = files::pieces(self.0.env.clone(), reader, *offset..end);
        let begins = futures::stream::once(async move { Ok(v1::GetBlobResponse { chunk: Vec::new(), size }) });
        let parts = pieces.map(|piece| Ok(v1::GetBlobResponse { chunk: piece.map_err(Status::from)?, size: 0 }));
        streaming(request.extensions(), begins.chain(parts))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        let v1::FetchBlobRequest { workspace, hash } = request.get_ref();
        let (workspace, hash) = (super::workspace(&self.0, workspace)?, parsed(hash)?);
        let known = self.known(workspace.library.clone(), hash).await?;
        let (sender, parts) = mpsc::channel(STREAM_AHEAD);
        let response = streaming(request.extensions(), ReceiverStream::new(parts))?;
        known.ensure_not_deleted()?;
        if known.is_here() {
            // There is room for one.
            let _ = sender.try_send(Ok(fetched(&known)));
            return Ok(response);
        }
        let standing = files::fetch(&workspace, hash).await?;
        let env = self.0.env.clone();
        tokio::spawn(async move {
            let last = tokio::select! {
                biased;
                last = tells(standing, &known, &sender) => last,
                // The client is gone, and need not be told.
                () = sender.closed() => return,
            };
            let came = match last {
                Ok(_) => files::on_a_thread(&env, move || files::known(&workspace.library, hash)).await,
                Err(error) => Err(error),
            };
            let _ = sender.send(came.map(|known| fetched(&known)).map_err(Status::from)).await;
        });
        Ok(response)
    }

    async fn get_thumbnail(
        &self,
        request: Request<v1::GetThumbnailRequest>,
    ) -> Result<Response<v1::GetThumbnailResponse>, Status> {
        let v1::GetThumbnailRequest { workspace, hash } = request.get_ref();
        let workspace = super::workspace(&self.0, workspace)?;
        let png = files::thumbnail(&self.0.env, &workspace, parsed(hash)?).await?;
        Ok(Response::new(v1::GetThumbnailResponse { png }))
    }

    async fn stat_blob(&self, request: Request<v1::StatBlobRequest>) -> Result<Response<v1::StatBlobResponse>, Status> {
        let v1::StatBlobRequest { workspace, hash } = request.get_ref();
        let blob = self.stat(self.library(workspace)?, parsed(hash)?).await?;
        Ok(Response::new(v1::StatBlobResponse { blob: Some(blob) }))
    }

    async fn list_blobs(
        &self,
        request: Request<v1::ListBlobsRequest>,
    ) -> Result<Response<v1::ListBlobsResponse>, Status> {
        let v1::ListBlobsRequest { workspace, page_size, page_token } = request.into_inner();
        let library = self.library(&workspace)?;
        let pages = Pages::of(&("list_blobs", &workspace));
        let place = pages.place::<BlobHash>(&page_token).map_err(|refusal| status::refused(&refusal))?;
        let (after, limit) = (place.map(|(_, after)| after), items(page_size));
        let found = self.blocking(move || files::list(&library, after, limit)).await?;
        let last = found.last().filter(|_| found.len() == limit);
        let next_page_token = last.map_or_else(String::new, |last| pages.token(Position::ZERO, &last.hash));
        Ok(Response::new(v1::ListBlobsResponse { blobs: found.iter().map(blob).collect(), next_page_token }))
    }

    async fn pin_blob(&self, request: Request<v1::PinBlobRequest>) -> Result<Response<v1::PinBlobResponse>, Status> {
        let v1::PinBlobRequest { workspace, hash } = request.get_ref();
        let blob = Some(self.pin(workspace, hash, true).await?);
        Ok(Response::new(v1::PinBlobResponse { blob }))
    }

    async fn unpin_blob(
        &self,
        request: Request<v1::UnpinBlobRequest>,
    ) -> Result<Response<v1::UnpinBlobResponse>, Status> {
        let v1::UnpinBlobRequest { workspace, hash } = request.get_ref();
        let blob = Some(self.pin(workspace, hash, false).await?);
        Ok(Response::new(v1::UnpinBlobResponse { blob }))
    }

    async fn verify_blobs(
        &self,
        request: Request<v1::VerifyBlobsRequest>,
    ) -> Result<Response<Self::VerifyBlobsStream>, Status> {
        let library = self.library(&request.get_ref().workspace)?;
        let (sender, parts) = mpsc::channel(STREAM_AHEAD);
        let response = streaming(request.extensions(), ReceiverStream::new(parts))?;
        let env = self.0.env.clone();
        tokio::spawn(async move {
            let to_client = sender.clone();
            let verified =
                files::on_a_thread(&env, move || library.store.verify(&mut |progress| told(&to_client, progress)));
            let last = match verified.await {
                Ok(Some(verified)) => Ok(report(&verified)),
                // Broken off, because the client is gone.
                Ok(None) => return,
                Err(error) => Err(Status::from(error)),
            };
            // Nobody hears it if the client is gone.
            let _ = sender.send(last).await;
        });
        Ok(response)
    }

    async fn collect_blobs(
        &self,
        request: Request<v1::CollectBlobsRequest>,
    ) -> Result<Response<v1::CollectBlobsResponse>, Status> {
        caller(request.extensions())?;
        let v1::CollectBlobsRequest { workspace, dry_run } = request.into_inner();
        let library = self.library(&workspace)?;
        let collected = self
            .blocking(move || -> Result<_, FileError> {
                let collected = library.collect(dry_run)?;
                let known = collected.blobs.iter().map(|kept| {
                    let known = files::known(&library, kept.hash)?;
                    Ok(Known { kept: Some(*kept), ..known })
                });
                let known: Result<Vec<_>, FileError> = known.collect();
                Ok((known?, collected.freed, collected.retention_days))
            })
            .await?;
        let (known, freed_bytes, retention_days) = collected;
        let blobs = known.iter().map(blob).collect();
        Ok(Response::new(v1::CollectBlobsResponse { blobs, freed_bytes, retention_days }))
    }
}

/// The chunks of a file, up to the one that is said to be its last. What breaks it off is left in `broke_off`.
fn to_the_end(
    first: v1::PutBlobRequest,
    chunks: Streaming<v1::PutBlobRequest>,
    broke_off: &mut Option<Status>,
) -> impl Stream<Item = Result<Vec<u8>, FileError>> + Send {
    futures::stream::unfold((Some(first), chunks, broke_off), |(ready, mut chunks, broke_off)| async move {
        let next = match ready {
            Some(v1::PutBlobRequest { last: true, chunk, .. }) if chunk.is_empty() => return None,
            Some(first) => Ok(Some(first)),
            None => chunks.message().await,
        };
        let failed = match next {
            Ok(Some(v1::PutBlobRequest { chunk, .. })) if chunk.len() > CHUNK_BYTES => chunk_too_large(),
            Ok(Some(v1::PutBlobRequest { chunk, last, .. })) => {
                let ended = v1::PutBlobRequest { last: true, ..v1::PutBlobRequest::default() };
                return Some((Ok(chunk), (last.then_some(ended), chunks, broke_off)));
            }
            Ok(None) => no_end(),
            Err(status) => status,
        };
        *broke_off = Some(failed);
        let error = FileError::Unavailable("The upload broke off.".to_owned());
        Some((Err(error), (None, chunks, broke_off)))
    })
}

fn no_end() -> Status {
    let message = "The file ended before the message that says `last`.";
    let refusal = Refusal::new(refusal::Reason::InvalidRequest, message).at("last");
    status::refused(&refusal.next("Nothing was kept. Send it again, with `last` in the last message."))
}

fn chunk_too_large() -> Status {
    ApiError::new(Reason::TooLarge, format!("A message may carry {CHUNK_BYTES} bytes of a file.")).into()
}

/// Tells how a fetch goes, until it is over.
async fn tells(
    mut standing: watch::Receiver<FetchStanding>,
    known: &Known,
    client: &mpsc::Sender<Result<v1::FetchBlobResponse, Status>>,
) -> Result<Kept, FileError> {
    loop {
        let now = standing.borrow_and_update().clone();
        let FetchStanding::Coming { had, of, from } = now else { return files::came(known, now) };
        // A client that reads slowly is told less often, and the last of it in any case.
        let _ = client.try_send(Ok(coming(had, of, from)));
        standing.changed().await.map_err(|_| files::broke_off())?;
    }
}

fn coming(had: u64, of: Option<u64>, from: usize) -> v1::FetchBlobResponse {
    let stage = match from {
        0 => "Asking other nodes".to_owned(),
        1 => "Getting it from 1 node".to_owned(),
        some => format!("Getting it from {some} nodes"),
    };
    let bytes = |pieces: u64| pieces * PIECE_BYTES as u64;
    let progress = v1::Progress { stage, done: bytes(had), total: bytes(of.unwrap_or(0)) };
    v1::FetchBlobResponse { event: Some(v1::fetch_blob_response::Event::Progress(progress)) }
}

fn fetched(known: &Known) -> v1::FetchBlobResponse {
    v1::FetchBlobResponse { event: Some(v1::fetch_blob_response::Event::Blob(blob(known))) }
}

fn told(client: &mpsc::Sender<Result<v1::VerifyBlobsResponse, Status>>, progress: Progress) -> ControlFlow<()> {
    let Progress { done, total } = progress;
    let progress = v1::Progress { stage: "Reading files".to_owned(), done, total };
    let event = Some(v1::verify_blobs_response::Event::Progress(progress));
    match client.blocking_send(Ok(v1::VerifyBlobsResponse { event })) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn report(verified: &Verified) -> v1::VerifyBlobsResponse {
    let words = |hashes: &[BlobHash]| hashes.iter().map(ToString::to_string).collect();
    let event = v1::verify_blobs_response::Event::Report(v1::VerifyBlobsReport {
        blobs: verified.blobs,
        bytes: verified.bytes,
        damaged: words(&verified.damaged),
        gone: words(&verified.gone),
    });
    v1::VerifyBlobsResponse { event: Some(event) }
}

/// What is known of a file, as a message.
pub(super) fn blob(known: &Known) -> v1::Blob {
    let availability = match known.kept {
        _ if !known.deletion.is_empty() => v1::BlobAvailability::Deleted,
        None => v1::BlobAvailability::Unavailable,
        Some(kept) if kept.damaged => v1::BlobAvailability::Damaged,
        Some(_) => v1::BlobAvailability::Here,
    };
    let mention = known.mention.clone().unwrap_or(openprod_blobs::tables::MentionRow {
        size: 0,
        name: String::new(),
        media_type: String::new(),
        last_ms: 0,
    });
    v1::Blob {
        hash: known.hash.to_string(),
        size: known.kept.map_or(mention.size, |kept| kept.size),
        name: mention.name,
        media_type: mention.media_type,
        availability: availability.into(),
        stored_bytes: known.kept.map_or(0, |kept| kept.stored),
        added_ms: known.kept.map_or(0, |kept| kept.added_ms),
        pinned: known.kept.is_some_and(|kept| kept.pinned),
        deletion_reason: known.deletion.clone(),
    }
}
