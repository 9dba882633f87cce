//! Files at the doors: what gRPC and plain HTTP have in common where they take files in and give them out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openprod_blobs::collect::{CollectError, Library};
use openprod_blobs::exchange;
use openprod_blobs::reader::Reader;
use openprod_blobs::tables::MentionRow;
use openprod_blobs::thumbnail;
use openprod_domain::asset;
use openprod_messages::blobs::{BlobError, BlobsMsg, FetchStanding, Kept};
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::ids::BlobHash;
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::Semaphore;

use crate::child::{self, ChildError, Job};
use crate::workspace::Workspace;

/// How many files are taken in at once: each holds a piece and a hash in memory, and waits for the same disk.
const MAX_PUTS: usize = 32;

/// How long the next bytes of a file may take: whoever is gone does not take a place for ever.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// How many thumbnails are made at once: each is a process that may use a whole core and much memory.
const MAX_THUMBNAILS: usize = 2;
/// How many more wait for that.
const MAX_WAITING: usize = 64;

static THUMBNAILS: Semaphore = Semaphore::const_new(MAX_THUMBNAILS);
static WAITING: Semaphore = Semaphore::const_new(MAX_THUMBNAILS + MAX_WAITING);
static PUTS: Semaphore = Semaphore::const_new(MAX_PUTS);

/// Everything that this node knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its address.
    pub hash: BlobHash,
    /// What is here of it.
    pub kept: Option<Kept>,
    /// What the history says of it.
    pub mention: Option<MentionRow>,
    /// Why it was deleted; empty if it was not.
    pub deletion: String,
}

/// Why a file was not taken or given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// The caller is told why, and what to do.
    Refused(Refusal),
    /// The node cannot at the moment; the sentence says why.
    Unavailable(String),
    /// Too many files are being taken in.
    Busy,
}

impl From<BlobError> for FileError {
    fn from(error: BlobError) -> Self {
        let sentence = crate::services::sentence(&error.to_string());
        let refused = |reason, next: &str| Self::Refused(Refusal::new(reason, sentence.clone()).next(next));
        match error {
            BlobError::Unavailable(_) => {
                refused(Reason::BlobUnavailable, "It may be on another node. Whoever has it can put it here again.")
            }
            BlobError::Damaged(_) => {
                refused(Reason::BlobUnavailable, "Put it here again; `openprod blob verify` looks for others.")
            }
            BlobError::TooLarge { .. } => refused(Reason::TooLarge, ""),
            BlobError::Other { .. } => refused(Reason::InvalidValue, "Was it changed meanwhile? Try again."),
            BlobError::Disk { full: true, .. } => {
                let refusal = Refusal::new(Reason::DiskFull, "The disk is full.");
                Self::Refused(refusal.next("Free some space, then try again."))
            }
            BlobError::Disk { .. } => Self::Unavailable(sentence),
        }
    }
}

impl From<CollectError> for FileError {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Blob(error) => error.into(),
            other => {
                let refusal = Refusal::new(Reason::BadBundle, crate::services::sentence(&other.to_string()));
                Self::Refused(refusal.next("`openprod doctor` and `openprod quarantine list` tell more."))
            }
        }
    }
}

/// The work with a file ended before it was done: something in it panicked, or its room died.
pub fn broke_off() -> FileError {
    FileError::Unavailable("The work with the file broke off; try again.".to_owned())
}

fn stalled() -> FileError {
    FileError::Unavailable("The upload stopped coming.".to_owned())
}

/// Runs `job` on a thread where it may block.
pub async fn on_a_thread<T, E>(
    env: &Environment,
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, FileError>
where
    T: Send + 'static,
    E: Into<FileError> + Send + 'static,
{
    env.offload(job).await.ok_or_else(broke_off)?.map_err(Into::into)
}

/// Takes a file in. It is kept only if `chunks` ends without an error.
pub async fn put<C, E>(
    env: &Environment,
    library: &Library,
    expected: Option<BlobHash>,
    chunks: impl Stream<Item = Result<C, E>>,
) -> Result<Kept, FileError>
where
    C: AsRef<[u8]> + Send + 'static,
    E: Into<FileError>,
{
    let _place = PUTS.try_acquire().map_err(|_| FileError::Busy)?;
    let mut putting = library.store.begin(expected);
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = tokio::time::timeout(STALLED_AFTER, chunks.next()).await.map_err(|_| stalled())? {
        let chunk = chunk.map_err(Into::into)?;
        putting = on_a_thread(env, move || putting.write(chunk.as_ref()).map(|()| putting)).await?;
    }
    on_a_thread(env, move || putting.finish()).await
}

/// Everything that this node knows of a file. Blocks its thread.
pub fn known(library: &Library, hash: BlobHash) -> Result<Known, BlobError> {
    let mention = library.mention(hash)?;
    told(library, hash, library.store.kept(hash)?, mention)
}

/// What is known of a file, with what was read of it before. Blocks its thread.
fn told(
    library: &Library,
    hash: BlobHash,
    kept: Option<Kept>,
    mention: Option<MentionRow>,
) -> Result<Known, BlobError> {
    let unread = |reason: &dyn std::fmt::Display| BlobError::Disk { reason: reason.to_string(), full: false };
    // What the history never mentions was never deleted.
    let deletion = if mention.is_some() {
        let snapshot = library.snapshots.snapshot().map_err(|failure| unread(&failure))?;
        asset::deletion(snapshot.view(), hash).map_err(|failure| unread(&failure))?
    } else {
        None
    };
    Ok(Known { hash, kept, mention, deletion: deletion.map_or_else(String::new, |reason| reason.to_string()) })
}

/// The files that are here or that the history mentions, behind `after` in the order of their addresses, at most
/// `limit`. Blocks its thread.
pub fn list(library: &Library, after: Option<BlobHash>, limit: usize) -> Result<Vec<Known>, BlobError> {
    let mut found: std::collections::BTreeMap<BlobHash, (Option<Kept>, Option<MentionRow>)> =
        library.store.list(after, limit)?.into_iter().map(|kept| (kept.hash, (Some(kept), None))).collect();
    for (hash, mention) in library.mentions(after, limit)? {
        found.entry(hash).or_default().1 = Some(mention);
    }
    let page = found.into_iter().take(limit);
    page.map(|(hash, (kept, mention))| {
        // The other half may lie behind the end of its own page.
        let kept = kept.map_or_else(|| library.store.kept(hash), |kept| Ok(Some(kept)))?;
        let mention = mention.map_or_else(|| library.mention(hash), |mention| Ok(Some(mention)))?;
        told(library, hash, kept, mention)
    })
    .collect()
}

/// Opens a file for reading, unless it was deleted; one that is not here is fetched from other nodes first.
pub async fn open(workspace: &Workspace, env: &Environment, hash: BlobHash) -> Result<(Known, Reader), FileError> {
    let opened = || {
        let library = workspace.library.clone();
        on_a_thread(env, move || try_open(&library, hash))
    };
    let (known, reader) = opened().await?;
    if let Some(reader) = reader {
        return Ok((known, reader));
    }
    let ended = exchange::ended(&mut fetch(workspace, hash).await?).await;
    came(&known, ended.ok_or_else(broke_off)?)?;
    let (known, reader) = opened().await?;
    Ok((known, reader.ok_or(BlobError::Unavailable(hash))?))
}

/// What is known of a file that was not deleted, and its reader if it is here and whole. Blocks its thread.
fn try_open(library: &Library, hash: BlobHash) -> Result<(Known, Option<Reader>), FileError> {
    let known = known(library, hash)?;
    known.ensure_not_deleted()?;
    let reader = if known.is_here() { Some(library.store.open(hash)?) } else { None };
    Ok((known, reader))
}

impl Known {
    /// Whether it is here, and whole.
    pub fn is_here(&self) -> bool {
        self.kept.is_some_and(|kept| !kept.damaged)
    }

    /// Refuses what was deleted for everybody.
    pub fn ensure_not_deleted(&self) -> Result<(), FileError> {
        if self.deletion.is_empty() {
            return Ok(());
        }
        let message = format!("The file {} was deleted: {}", self.called(), crate::services::sentence(&self.deletion));
        let refusal = Refusal::new(Reason::BlobDeleted, message);
        Err(FileError::Refused(refusal.next("`openprod blob restore` takes that back.")))
    }

    /// What people call it: its name, if anybody gave it one.
    pub fn called(&self) -> String {
        let name = self.mention.as_ref().map_or("", |mention| mention.name.as_str());
        if name.is_empty() { self.hash.to_string() } else { name.to_owned() }
    }
}

/// Has a file fetched from other nodes, and shows how that goes for as long as anybody looks.
pub async fn fetch(workspace: &Workspace, hash: BlobHash) -> Result<watch::Receiver<FetchStanding>, FileError> {
    let begun = workspace.blobs.call(|reply| BlobsMsg::Fetch { hash, reply }).await;
    begun.map_err(|_| broke_off())?.ok_or(FileError::Busy)
}

/// What came of a fetch that is over.
pub fn came(known: &Known, ended: FetchStanding) -> Result<Kept, FileError> {
    match ended {
        FetchStanding::Here(kept) => Ok(kept),
        FetchStanding::Failed(error) => Err(error.into()),
        FetchStanding::Coming { .. } => Err(broke_off()),
        FetchStanding::Nowhere { asked } => {
            let refusal = Refusal::new(Reason::BlobUnavailable, format!("{} is not on this node.", known.called()));
            let next = match asked {
                0 => "It may be on another node, and none is connected now: ask again when one is.",
                _ => "No node that is connected gives it: ask again when another node is, or put it here again.",
            };
            Err(FileError::Refused(refusal.next(next)))
        }
    }
}

/// The bytes of a range, piece by piece as they are taken.
pub fn pieces(
    env: Environment,
    reader: Reader,
    range: Range<u64>,
) -> impl Stream<Item = Result<Vec<u8>, FileError>> + Send {
    futures::stream::try_unfold((env, Arc::new(reader), range), |(env, reader, range)| async move {
        let (held, mut rest) = (Arc::clone(&reader), range);
        let (piece, rest) = on_a_thread(&env, move || held.next(&mut rest).map(|piece| (piece, rest))).await?;
        Ok((!piece.is_empty()).then_some((piece, (env, reader, rest))))
    })
}

/// A small picture of a file. Kept once it is made; that none can be made is remembered too.
pub async fn thumbnail(env: &Environment, workspace: &Workspace, hash: BlobHash) -> Result<Vec<u8>, FileError> {
    let (known, reader) = open(workspace, env, hash).await?;
    let store = Arc::clone(&workspace.library.store);
    let kept = on_a_thread(env, move || store.thumbnail(hash)).await?;
    let png = if let Some(kept) = kept {
        kept
    } else {
        let (made, store) = (made(env, reader).await?, Arc::clone(&workspace.library.store));
        on_a_thread(env, move || store.keep_thumbnail(hash, &made).map(|()| made)).await?
    };
    if png.is_empty() {
        let message = format!("{} cannot be shown small.", known.called());
        let refusal = Refusal::new(Reason::NoThumbnail, message);
        return Err(FileError::Refused(refusal.next("Thumbnails are made of PNG, JPEG, WebP, GIF and PDF.")));
    }
    Ok(png)
}

/// Has a thumbnail made in a process of its own; an empty one if none can be.
async fn made(env: &Environment, reader: Reader) -> Result<Vec<u8>, FileError> {
    let first = reader.size().min(thumbnail::BEGINNING_BYTES);
    let (begins, reader) =
        on_a_thread(env, move || reader.next(&mut (0..first)).map(|begins| (begins, reader))).await?;
    if reader.size() > thumbnail::MAX_SOURCE_BYTES || !thumbnail::is_candidate(&begins) {
        return Ok(Vec::new());
    }
    let _waiting = WAITING.try_acquire().map_err(|_| FileError::Busy)?;
    let _turn = THUMBNAILS.acquire().await.map_err(|_| FileError::Busy)?;
    let size = reader.size();
    match child::run(Job::Thumbnail, pieces(env.clone(), reader, 0..size)).await {
        Ok(png) if thumbnail::is_thumbnail(&png) => Ok(png),
        // Whatever it was that ended it, it would end it again.
        Ok(_) | Err(ChildError::Ended(_)) => Ok(Vec::new()),
        Err(ChildError::Source(error)) => Err(error),
        Err(ChildError::Late) => Err(FileError::Unavailable("The thumbnail took too long to be made.".to_owned())),
        Err(ChildError::System(error)) => {
            Err(FileError::Unavailable(format!("The thumbnail could not be made: {error}.")))
        }
    }
}
