//! Taking in a workspace file: a new workspace, filled bundle by bundle through the oplog's own checks.

use std::io::Read;

use openprod_messages::commands::CommandError;
use openprod_messages::oplog::{Admitted, AppendError, OplogMsg};
use openprod_model::ids::{Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::mpsc;

use super::{FileError, Manifest, Reader};
use crate::node::Node;
use crate::services::{name_of, sentence};
use crate::workspace::Workspace;

/// Most bundles handed to the oplog at once.
const BATCH_BUNDLES: usize = 256;
/// About as many bytes are handed to it at once; a single bundle may be larger.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that are read ahead.
const AHEAD: usize = 2;
/// Most bytes kept of what waited for a bundle further on in the file.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// How long the state may take without any progress.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// A workspace that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// The end of its log here.
    pub revision: Position,
    /// How many bundles it holds.
    pub bundles: u64,
}

/// What the reading thread tells.
enum Told {
    Begins(Manifest),
    Batch(Vec<Vec<u8>>),
    Ends,
    Broke(FileError),
}

/// Takes in `file`, called `source` where it is mentioned. All or nothing: a file that is not whole, or whose bundles
/// do not stand up to their checks, leaves nothing behind.
pub async fn import<R: Read + Send + 'static>(node: &Node, file: R, source: &str) -> Result<Imported, CommandError> {
    let (tell, mut told) = mpsc::channel(AHEAD);
    node.env.spawner.run(Box::new(move || read(file, &tell)));
    let manifest = match told.recv().await {
        Some(Told::Begins(manifest)) => manifest,
        Some(Told::Broke(error)) => return Err(broken(&error)),
        _ => return Err(CommandError::Unavailable("The file was not read.".to_owned())),
    };
    let workspace = node.make(manifest.workspace).await.map_err(there_already)?;
    match fill(&workspace, &manifest, &mut told, source).await {
        Ok(revision) => {
            node.list_made(&workspace)?;
            let name = name_of(&workspace);
            Ok(Imported { workspace: workspace.id, name, revision, bundles: manifest.bundles })
        }
        Err(error) => {
            workspace.close().await;
            node.unmake(node.folder.workspace(workspace.id).root());
            Err(error)
        }
    }
}

/// Reads the file on a thread where that may block. Ends early if nobody listens any more.
fn read(file: impl Read, tell: &mpsc::Sender<Told>) {
    let told = || -> Result<(), FileError> {
        let mut reader = Reader::open(file)?;
        let mut listening = tell.blocking_send(Told::Begins(reader.manifest().clone())).is_ok();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while listening {
            let Some(bundle) = reader.next_bundle()? else {
                // Whoever listened may be gone; then nobody cares how it ends.
                let _ = tell.blocking_send(Told::Batch(batch)).and_then(|()| tell.blocking_send(Told::Ends));
                break;
            };
            bytes += bundle.len();
            batch.push(bundle);
            if batch.len() == BATCH_BUNDLES || bytes >= BATCH_BYTES {
                bytes = 0;
                listening = tell.blocking_send(Told::Batch(std::mem::take(&mut batch))).is_ok();
            }
        }
        Ok(())
    };
    if let Err(error) = told() {
        let _ = tell.blocking_send(Told::Broke(error));
    }
}

/// Hands the file's bundles to the oplog, and waits until the state shows them.
async fn fill(
    workspace: &Workspace,
    manifest: &Manifest,
    told: &mut mpsc::Receiver<Told>,
    source: &str,
) -> Result<Position, CommandError> {
    let mut waiting = Waiting::default();
    loop {
        match told.recv().await {
            Some(Told::Batch(batch)) => waiting.offer(workspace, batch, source).await?,
            Some(Told::Ends) => break,
            Some(Told::Broke(error)) => return Err(broken(&error)),
            Some(Told::Begins(_)) | None => return Err(CommandError::Unavailable("The file was not read.".to_owned())),
        }
    }
    waiting.once_more(workspace, source).await?;
    let end = workspace.log.tail().map_err(|failure| CommandError::Unavailable(failure.to_string()))?.position;
    if end.0 != manifest.bundles {
        let message = format!("Only {end} of the file's {} bundles stand up to their checks.", manifest.bundles);
        return Err(Refusal::new(Reason::BadBundle, message).next(OTHER_COPY).into());
    }
    shown(workspace, end).await?;
    Ok(end)
}

const OTHER_COPY: &str = "Nothing was taken in. Export the workspace again where it came from, and try that file.";

/// Batches of which something was not taken: a bundle may need one of its author further on that vouches for it.
#[derive(Default)]
struct Waiting {
    bundles: Vec<Vec<u8>>,
    bytes: usize,
}

impl Waiting {
    async fn offer(&mut self, workspace: &Workspace, batch: Vec<Vec<u8>>, source: &str) -> Result<(), CommandError> {
        let (copy, size) = (batch.clone(), batch.iter().map(Vec::len).sum::<usize>());
        let admitted = admit(workspace, batch, source).await?;
        if admitted.waiting == 0 && admitted.quarantined.is_empty() {
            return Ok(());
        }
        self.bytes += size;
        self.bundles.extend(copy);
        if self.bytes > MAX_WAITING_BYTES {
            return Err(not_standing(&admitted, workspace));
        }
        Ok(())
    }

    async fn once_more(self, workspace: &Workspace, source: &str) -> Result<(), CommandError> {
        if self.bundles.is_empty() {
            return Ok(());
        }
        let admitted = admit(workspace, self.bundles, source).await?;
        if admitted.waiting == 0 && admitted.quarantined.is_empty() {
            return Ok(());
        }
        Err(not_standing(&admitted, workspace))
    }
}

async fn admit(workspace: &Workspace, bundles: Vec<Vec<u8>>, source: &str) -> Result<Admitted, CommandError> {
    let source = source.to_owned();
    let admitted = workspace.oplog.call(|reply| OplogMsg::Admit { bundles, source, reply }).await;
    admitted.map_err(|none| CommandError::Unavailable(none.to_string()))?.map_err(|error| match error {
        AppendError::Refused(refusal) => refusal.into(),
        AppendError::Disk { full: true, .. } => {
            Refusal::new(Reason::DiskFull, "The disk is full.").next("Free some space, then try again.").into()
        }
        other => CommandError::Unavailable(sentence(&other.to_string())),
    })
}

/// Says what is wrong with the first bundle that does not stand.
fn not_standing(admitted: &Admitted, workspace: &Workspace) -> CommandError {
    let why = admitted.quarantined.first().and_then(|number| {
        let first = workspace.log.quarantined(*number, 1).ok()?.into_iter().next()?;
        Some(first.reason)
    });
    let why = why.unwrap_or_else(|| "Some bundles need others that are not in the file.".to_owned());
    let message = format!("The file's history does not stand up to its checks: {}", sentence(&why));
    Refusal::new(Reason::BadBundle, message).next(OTHER_COPY).into()
}

/// Waits until the state has folded the log up to `end`, as long as it gets on.
async fn shown(workspace: &Workspace, end: Position) -> Result<(), CommandError> {
    let mut folded = workspace.snapshots.folded();
    while folded.borrow_and_update().position < end {
        match tokio::time::timeout(PATIENCE, folded.changed()).await {
            Ok(Ok(())) => {}
            _ => return Err(CommandError::Unavailable("The state does not fold what was taken in.".to_owned())),
        }
    }
    Ok(())
}

fn broken(error: &FileError) -> CommandError {
    let next = match error {
        FileError::FromTheFuture(_) => "Install the newer version of openprod.",
        FileError::Io(_) => return CommandError::Unavailable(sentence(&error.to_string())),
        _ => OTHER_COPY,
    };
    Refusal::new(Reason::InvalidValue, sentence(&error.to_string())).next(next).into()
}

fn there_already(error: CommandError) -> CommandError {
    match error {
        CommandError::Refused(refusal) if refusal.reason == Reason::AlreadyExists => refusal
            .next(
                "Its history is not joined with the file's. Take the file in on another node, or restore it here \
                   with `openprod restore`, which puts the present one aside.",
            )
            .into(),
        other => other,
    }
}
