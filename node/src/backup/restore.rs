//! Restoring: a backup, or a workspace file, becomes a workspace of a node that does not run.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use openprod_messages::commands::CommandError;
use openprod_messages::log::{LogReader, Stored};
use openprod_model::ids::{Position, WorkspaceId};
use openprod_model::refusal::Refusal;
use openprod_oplog::store::{LogStore, OpenError};

use super::{Contents, ContentsError, FILES, LOG, WORKSPACE, files as of_files, private_folder};
use crate::config::Config;
use crate::folder::{Folder, FolderError, LockError, WorkspaceFolder};
use crate::node::{Node, StartError};
use crate::workspace_file::{self, Brought, FileError, Reader};

/// What to do about a workspace that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Refuse.
    Refuse,
    /// Rename its folder, and put the restored one in its place.
    PutAside,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it was called, for people.
    pub name: String,
    /// The last position in it.
    pub revision: Position,
    /// Where the folder that was there before lies now.
    pub aside: Option<PathBuf>,
    /// What came of the files that a workspace file carries; none if it carries none.
    pub files: Option<Brought>,
}

/// Why nothing was restored. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The node's folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A node runs on it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The workspace is there already.
    #[error("workspace {0} is on this node already; --yes-replace puts its folder aside and restores in its place")]
    Exists(WorkspaceId),
    /// The backup is not whole.
    #[error("the backup is refused: {0}")]
    Contents(#[from] ContentsError),
    /// The workspace file is not whole.
    #[error("the workspace file is refused: {0}")]
    File(#[from] FileError),
    /// The history does not stand up to its checks.
    #[error("{0}")]
    Refused(Refusal),
    /// The copied log does not open or read.
    #[error("the log in the backup is refused: {0}")]
    Log(String),
    /// The node did not start to take the history in.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refused.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// How long closing may take after the history was taken in.
const PATIENCE: Duration = Duration::from_mins(1);

/// Restores `from`, the folder of a backup or a workspace file, into the folder of a node that does not run.
pub async fn restore(config: Config, from: &Path, present: Present) -> Result<Restored, RestoreError> {
    let what = What::at(from)?;
    let folder = Folder::open(&config.data_dir)?;
    let lock = folder.lock(Timestamp::now())?;
    let id = what.workspace;
    let files = folder.workspace(id);
    if files.root().exists() && present == Present::Refuse {
        return Err(RestoreError::Exists(id));
    }
    let aside = put_aside(&files)?;
    let restored = match &what.history {
        History::Log(log) => copied(&files, log, id).map(|revision| (revision, None)),
        History::File(file) => {
            // The node that takes the history in locks the folder itself.
            drop(lock);
            taken_in(config, file).await
        }
    };
    match restored {
        Ok((revision, files)) => Ok(Restored { workspace: id, name: what.name, revision, aside, files }),
        Err(error) => {
            put_back(&files, aside.as_deref());
            Err(error)
        }
    }
}

/// What is to be restored; its hashes were checked.
struct What {
    workspace: WorkspaceId,
    name: String,
    history: History,
}

enum History {
    /// A copy of a log.
    Log(PathBuf),
    /// A workspace file.
    File(PathBuf),
}

impl What {
    fn at(from: &Path) -> Result<Self, RestoreError> {
        if from.is_dir() { Self::in_backup(from) } else { Self::in_file(from.to_owned()) }
    }

    fn in_backup(from: &Path) -> Result<Self, RestoreError> {
        let contents = Contents::read(from)?;
        contents.check(from)?;
        if !contents.has(LOG) {
            return Err(ContentsError::Syntax("it lists no history").into());
        }
        let history = History::Log(from.join(LOG));
        Ok(Self { workspace: contents.workspace, name: contents.name, history })
    }

    /// The whole file is read before anything is put aside for it.
    fn in_file(path: PathBuf) -> Result<Self, RestoreError> {
        let file = File::open(&path).map_err(|error| RestoreError::Io(path.clone(), error))?;
        let mut reader = Reader::open(BufReader::new(file))?;
        while reader.next_bundle()?.is_some() {}
        let manifest = reader.manifest().clone();
        Ok(Self { workspace: manifest.workspace, name: manifest.name, history: History::File(path) })
    }
}

fn put_aside(files: &WorkspaceFolder) -> Result<Option<PathBuf>, RestoreError> {
    if !files.root().exists() {
        return Ok(None);
    }
    let mut name = files.root().file_name().unwrap_or_default().to_owned();
    name.push(format!(".replaced-{}", Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ")));
    let aside = files.root().with_file_name(name);
    fs::rename(files.root(), &aside).map_err(|error| RestoreError::Io(files.root().to_owned(), error))?;
    Ok(Some(aside))
}

fn put_back(files: &WorkspaceFolder, aside: Option<&Path>) {
    let Some(aside) = aside else { return };
    if let Err(error) = fs::rename(aside, files.root()) {
        tracing::error!(folder = %aside.display(), %error, "the workspace that was put aside could not be put back");
    }
}

/// Copies a log into a folder of its own, opens it, and gives that folder the workspace's name.
fn copied(files: &WorkspaceFolder, log: &Path, id: WorkspaceId) -> Result<Position, RestoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| RestoreError::Io(path, error)
    };
    let parent = files.root().parent().unwrap_or(Path::new("/"));
    // Dropping it removes whatever was begun.
    let part = tempfile::Builder::new().prefix(".restoring-").tempdir_in(parent).map_err(at(parent))?;
    let copy = part.path().join(LOG);
    fs::copy(log, &copy).and_then(|_| File::open(&copy)?.sync_all()).map_err(at(&copy))?;
    let from = log.parent().unwrap_or(Path::new("/")).join(WORKSPACE);
    let own = part.path().join(WORKSPACE);
    let text = fs::read(&from).map_err(at(&from))?;
    crate::folder::write_over(&own, &text).map_err(at(&own))?;
    crate::manifest::read(&own, id).map_err(|error| RestoreError::Log(error.to_string()))?;
    private_folder(&part.path().join("backups")).map_err(at(part.path()))?;
    let saved = log.parent().unwrap_or(Path::new("/")).join(FILES);
    of_files::place(&saved, &part.path().join(FILES)).map_err(at(&saved))?;
    let revision = opened(&copy, id)?;
    let part = part.keep();
    fs::rename(&part, files.root()).and_then(|()| File::open(parent)?.sync_all()).map_err(at(files.root()))?;
    Ok(revision)
}

/// Opens the copy, and reads its last bundle.
fn opened(copy: &Path, id: WorkspaceId) -> Result<Position, RestoreError> {
    let wrong = |error: &dyn std::fmt::Display| RestoreError::Log(error.to_string());
    let store = LogStore::open_file(copy, id, openprod_oplog::store::Options::default()).map_err(|e| wrong(&e))?;
    let tail = store.tail().map_err(|failure| wrong(&failure))?;
    match store.bundle(tail.position).map_err(|failure| wrong(&failure))? {
        Some(Stored::Whole(_)) => Ok(tail.position),
        Some(Stored::Damaged { reason, .. }) => Err(RestoreError::Log(reason)),
        None => Err(RestoreError::Log("it is empty".to_owned())),
    }
}

/// Waits until the last of a stopped node's tasks has let go of a log, so that another node may open it at once.
async fn let_go(log: &Path, id: WorkspaceId) {
    let is_open = || {
        matches!(LogStore::open_file(log, id, openprod_oplog::store::Options::default()), Err(OpenError::AlreadyOpen))
    };
    let free = async {
        while is_open() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, free).await.is_err() {
        tracing::warn!(log = %log.display(), "the log is still open");
    }
}

/// Starts the node without doors, and lets it take the file in as if a stranger had sent it.
async fn taken_in(config: Config, path: &Path) -> Result<(Position, Option<Brought>), RestoreError> {
    let file = File::open(path).map_err(|error| RestoreError::Io(path.to_owned(), error))?;
    let node = Node::start(config).await?;
    let imported = workspace_file::import(&node, file, &path.display().to_string()).await;
    node.stop(PATIENCE).await;
    if let Ok(imported) = &imported {
        let log = node.folder.workspace(imported.workspace).log();
        drop(node);
        let_go(&log, imported.workspace).await;
    }
    imported.map(|imported| (imported.revision, imported.files)).map_err(|error| match error {
        CommandError::Refused(refusal) => RestoreError::Refused(refusal),
        CommandError::Unavailable(why) => RestoreError::Log(why),
    })
}
