//! Taking in a workspace file: bundle by bundle, through the oplog's own checks.
//!
//! Where the node has no such workspace, it makes one: all of the file or nothing. Where it has, the file's history is
//! joined with the one that is here: what is new is added, what does not stand up to its checks goes into quarantine.
//! So does, for a person to take, what somebody wrote who was removed meanwhile: a file comes through anybody's hands. So
//! two nodes without a network meet by a stick.
//!
//! The files that it carries come in when all of the history is here ([`carried`]): each by itself, so that one which is
//! damaged, or an end in the middle, costs nothing of what came before.

use std::io::Read;

use openprod_messages::commands::CommandError;
use openprod_messages::oplog::{Admitted, AppendError, Hands, OplogMsg};
use openprod_model::ids::{Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::mpsc;

use super::carried::{self, Brought};
use super::{Behind, FileError, Manifest, Reader};
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
    /// How many of the file's bundles were new here.
    pub new: u64,
    /// How many were here already.
    pub known: u64,
    /// How many went into quarantine, or wait for others.
    pub quarantined: u64,
    /// How many wait in quarantine for a person to take them.
    pub held: u64,
    /// What came of the files that it carries; none if it carries none.
    pub files: Option<Brought>,
}

/// What the reading thread tells.
enum Told {
    Begins(Manifest),
    Batch(Vec<Vec<u8>>),
    Ends(Option<Behind>),
    Broke(FileError),
}

/// Takes in `file`, called `source` where it is mentioned.
pub async fn import<R: Read + Send + 'static>(node: &Node, file: R, source: &str) -> Result<Imported, CommandError> {
    let (tell, mut told) = mpsc::channel(AHEAD);
    node.env.spawner.run(Box::new(move || read(file, &tell)));
    let manifest = match told.recv().await {
        Some(Told::Begins(manifest)) => manifest,
        Some(Told::Broke(error)) => return Err(broken(&error)),
        _ => return Err(CommandError::Unavailable("The file was not read.".to_owned())),
    };
    let (imported, behind) = match node.workspace(manifest.workspace) {
        Ok(present) => join(&present, told, source).await,
        Err(refusal) if refusal.reason == Reason::UnknownWorkspace => found(node, &manifest, told, source).await,
        Err(down) => Err(down.into()),
    }?;
    let Some(behind) = behind else { return Ok(imported) };
    let library = node.workspace(imported.workspace)?.library;
    let brought = node.env.offload(move || carried::take_in(&library, behind)).await;
    let files = brought.ok_or_else(|| CommandError::Unavailable("The taking in of files broke off.".to_owned()))?;
    Ok(Imported { files: Some(files), ..imported })
}

/// What was taken in, and the files that are still to come.
type Historic = (Imported, Option<Behind>);

/// Makes a workspace of the file. All or nothing: a file that is not whole, or whose bundles do not stand up to their
/// checks, leaves nothing behind.
async fn found(node: &Node, manifest: &Manifest, told: Telling, source: &str) -> Result<Historic, CommandError> {
    let workspace = node.make(manifest.workspace).await?;
    match fill(&workspace, manifest, told, source).await {
        Ok((revision, behind)) => {
            node.list_made(&workspace)?;
            let imported = Imported {
                workspace: workspace.id,
                name: name_of(&workspace),
                revision,
                new: manifest.bundles,
                known: 0,
                quarantined: 0,
                held: 0,
                files: None,
            };
            Ok((imported, behind))
        }
        Err(error) => {
            workspace.close().await;
            node.unmake(node.folder.workspace(workspace.id).root());
            Err(error)
        }
    }
}

/// Adds what is new to a workspace that is here already. Each bundle stands or falls by itself, so a file that breaks
/// off has still brought what came before.
async fn join(workspace: &Workspace, mut told: Telling, source: &str) -> Result<Historic, CommandError> {
    let is_empty = workspace.log.tail().is_ok_and(|tail| tail.position == Position::ZERO);
    let hands = if is_empty { Hands::Members } else { Hands::Anybodys };
    let mut offered = Offered::through(hands);
    let offering = offer_all(&mut offered, workspace, &mut told, source).await;
    let behind = offering.map_err(|error| partly(&offered, error))?;
    let (suspects, kept) = (offered.quarantined(), offered.kept_for_people);
    shown(workspace, offered.through).await?;
    let imported = Imported {
        workspace: workspace.id,
        name: name_of(workspace),
        revision: offered.through,
        new: offered.new,
        known: offered.total.saturating_sub(offered.new + suspects + offered.waiting),
        quarantined: suspects.saturating_sub(kept) + offered.waiting,
        held: kept,
        files: None,
    };
    Ok((imported, behind))
}

/// What a file that broke off has brought all the same.
fn partly(offered: &Offered, error: CommandError) -> CommandError {
    match error {
        CommandError::Refused(refusal) if offered.new > 0 => {
            let next = format!("{} bundles before that were taken in. Take in a whole copy of the file.", offered.new);
            refusal.next(next).into()
        }
        other => other,
    }
}

/// What the reading thread tells, as it comes.
type Telling = mpsc::Receiver<Told>;

/// Reads the file on a thread where that may block. Ends early if nobody listens any more.
fn read(file: impl Read + Send + 'static, tell: &mpsc::Sender<Told>) {
    let told = || -> Result<(), FileError> {
        let mut reader = Reader::open(file)?;
        let mut listening = tell.blocking_send(Told::Begins(reader.manifest().clone())).is_ok();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while listening {
            let Some(bundle) = reader.next_bundle()? else {
                // Whoever listened may be gone; then nobody cares how it ends.
                let _ = tell
                    .blocking_send(Told::Batch(batch))
                    .and_then(|()| tell.blocking_send(Told::Ends(reader.behind())));
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

/// Hands the file's bundles to the oplog of a new workspace, and waits until the state shows them.
async fn fill(
    workspace: &Workspace,
    manifest: &Manifest,
    mut told: Telling,
    source: &str,
) -> Result<(Position, Option<Behind>), CommandError> {
    // Whoever takes in a whole workspace takes in its past.
    let mut offered = Offered::through(Hands::Members);
    let behind = offer_all(&mut offered, workspace, &mut told, source).await?;
    if offered.waiting > 0 || !offered.suspects.is_empty() {
        return Err(not_standing(&offered.suspects, workspace));
    }
    if offered.through.0 != manifest.bundles {
        let message =
            format!("Only {} of the file's {} bundles stand up to their checks.", offered.through, manifest.bundles);
        return Err(Refusal::new(Reason::BadBundle, message).next(OTHER_COPY).into());
    }
    shown(workspace, offered.through).await?;
    Ok((offered.through, behind))
}

const OTHER_COPY: &str = "Nothing was taken in. Export the workspace again where it came from, and try that file.";

/// What was handed to the oplog, and what came of it.
struct Offered {
    hands: Hands,
    /// Bundles in the file so far.
    total: u64,
    /// Bundles appended.
    new: u64,
    /// Bundles that need others which are not here.
    waiting: u64,
    /// Numbers in the quarantine.
    suspects: Vec<u64>,
    /// How many of these wait for a person.
    kept_for_people: u64,
    /// The end of the log.
    through: Position,
    /// Batches of which something was not taken: a bundle may need one of its author further on that vouches for it.
    again: Vec<Vec<u8>>,
    again_bytes: usize,
}

/// Offers every bundle of the file once, and those of batches that were not taken whole once more at the end. Gives the
/// files that follow.
async fn offer_all(
    offered: &mut Offered,
    workspace: &Workspace,
    told: &mut Telling,
    source: &str,
) -> Result<Option<Behind>, CommandError> {
    loop {
        match told.recv().await {
            Some(Told::Batch(batch)) => offered.offer(workspace, batch, source).await?,
            Some(Told::Ends(behind)) => return offered.once_more(workspace, source).await.map(|()| behind),
            Some(Told::Broke(error)) => return Err(broken(&error)),
            Some(Told::Begins(_)) | None => return Err(CommandError::Unavailable("The file was not read.".to_owned())),
        }
    }
}

impl Offered {
    fn through(hands: Hands) -> Self {
        Self {
            hands,
            total: 0,
            new: 0,
            waiting: 0,
            suspects: Vec::new(),
            kept_for_people: 0,
            through: Position::ZERO,
            again: Vec::new(),
            again_bytes: 0,
        }
    }

    fn quarantined(&self) -> u64 {
        u64::try_from(self.suspects.len()).unwrap_or(u64::MAX)
    }

    async fn offer(&mut self, workspace: &Workspace, batch: Vec<Vec<u8>>, source: &str) -> Result<(), CommandError> {
        self.total += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let (copy, size) = (batch.clone(), batch.iter().map(Vec::len).sum::<usize>());
        let admitted = admit(workspace, batch, source, self.hands).await?;
        (self.new, self.through) = (self.new + admitted.appended, admitted.through);
        if admitted.waiting == 0 && admitted.quarantined.is_empty() {
            return Ok(());
        }
        if self.again_bytes + size > MAX_WAITING_BYTES {
            self.settles(admitted);
            return Ok(());
        }
        self.again_bytes += size;
        self.again.extend(copy);
        Ok(())
    }

    async fn once_more(&mut self, workspace: &Workspace, source: &str) -> Result<(), CommandError> {
        if self.again.is_empty() {
            return Ok(());
        }
        let admitted = admit(workspace, std::mem::take(&mut self.again), source, self.hands).await?;
        (self.new, self.through) = (self.new + admitted.appended, admitted.through);
        self.settles(admitted);
        Ok(())
    }

    fn settles(&mut self, admitted: Admitted) {
        self.waiting += admitted.waiting;
        self.suspects.extend(admitted.quarantined);
        self.kept_for_people += admitted.kept_for_people;
    }
}

async fn admit(
    workspace: &Workspace,
    bundles: Vec<Vec<u8>>,
    source: &str,
    hands: Hands,
) -> Result<Admitted, CommandError> {
    let source = source.to_owned();
    let admitted = workspace.oplog.call(|reply| OplogMsg::Admit { bundles, source, hands, reply }).await;
    admitted.map_err(|none| CommandError::Unavailable(none.to_string()))?.map_err(|error| match error {
        AppendError::Refused(refusal) => refusal.into(),
        AppendError::Disk { full: true, .. } => {
            Refusal::new(Reason::DiskFull, "The disk is full.").next("Free some space, then try again.").into()
        }
        other => CommandError::Unavailable(sentence(&other.to_string())),
    })
}

/// Says what is wrong with the first bundle that does not stand.
fn not_standing(suspects: &[u64], workspace: &Workspace) -> CommandError {
    let why = suspects.first().and_then(|number| {
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
