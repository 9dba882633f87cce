//! Backups: a folder with a whole copy of a workspace, checked when it is written and again when it is restored.
//!
//! ```text
//! <name>-<UTC time>/
//!   workspace.toml      whose it is
//!   log.redb            a copy of the log; or, made of a running node, history.openprod: the same as a workspace file
//!   blobs/              the files that fields refer to, each under its hash
//!   MANIFEST            what else lies there, with the size and BLAKE3 hash of each file
//! ```
//!
//! The state is left out: it follows from the log. Overlays are left out too: what is staged is private to this node
//! until it is committed, and backups travel. So restoring one never brings an overlay back, nor one that was committed
//! since; what was staged lies in the old folder, which is set aside. A backup appears under its name only once it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use openprod_model::ids::{Position, WorkspaceId};
use openprod_oplog::store::LogStore;

use crate::manifest::{self, Manifest};

mod contents;
mod files;
mod restore;

pub use contents::{Contents, ContentsError, Listed};
pub use restore::{Present, RestoreError, Restored, restore};

/// The name of the list of contents.
pub const MANIFEST: &str = "MANIFEST";
/// The name of a copy of a log.
const LOG: &str = "log.redb";
/// The name of the workspace's own manifest.
const WORKSPACE: &str = "workspace.toml";
/// The name of the folder of files.
const FILES: &str = "blobs";

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into this folder, under a name made of the workspace's and the time.
    Within(PathBuf),
    /// Here, where nothing may be yet.
    Exactly(PathBuf),
}

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its folder.
    pub path: PathBuf,
    /// The last position in it.
    pub revision: Position,
    /// Its size.
    pub bytes: u64,
    /// Bundles that are damaged in it, because they are in the log.
    pub damaged: Vec<Position>,
}

/// Why there is no backup. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing is overwritten.
    #[error("there is something at {path} already", path = .0.display())]
    Exists(PathBuf),
    /// No space.
    #[error("the disk is full")]
    Full,
    /// The system refused.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The log could not be copied, or the copy does not read back as it should.
    #[error("{0}")]
    Copy(String),
}

/// Writes a backup of a workspace called `name`, whose files lie in the folder `files`. Blocks its thread.
pub fn write(
    store: &LogStore,
    files: &Path,
    workspace: WorkspaceId,
    name: &str,
    place: &Place,
    now_ms: u64,
) -> Result<Written, BackupError> {
    let time = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let path = match place {
        Place::Exactly(path) => path.clone(),
        Place::Within(folder) => folder.join(format!("{}-{}", plain(name), time.strftime("%Y%m%dT%H%M%SZ"))),
    };
    if path.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(path));
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    private_folder(parent).map_err(io_at(parent))?;
    // Dropping it removes whatever was begun.
    let part = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent).map_err(io_at(parent))?;
    let copied = fill(part.path(), store, workspace, name, time)?;
    let bytes = copied.bytes + files::place(files, &part.path().join(FILES)).map_err(io_at(part.path()))?;
    let part = part.keep();
    let renamed = fs::rename(&part, &path).and_then(|()| File::open(parent)?.sync_all());
    if let Err(error) = renamed {
        let _ = fs::remove_dir_all(&part);
        return Err(io_at(&path)(error));
    }
    Ok(Written { path, bytes, ..copied })
}

fn fill(
    part: &Path,
    store: &LogStore,
    workspace: WorkspaceId,
    name: &str,
    time: Timestamp,
) -> Result<Written, BackupError> {
    let now_ms = u64::try_from(time.as_millisecond()).unwrap_or_default();
    let own = part.join(WORKSPACE);
    manifest::write(&own, &Manifest::new(workspace, now_ms)).map_err(io_at(&own))?;
    let copied = store.backup_to(&part.join(LOG)).map_err(|error| BackupError::Copy(error.to_string()))?;
    let contents = Contents::of(part, &[WORKSPACE, LOG], workspace, name, copied.through, time).map_err(io_at(part))?;
    let list = part.join(MANIFEST);
    let mut file = private_file(&list).map_err(io_at(&list))?;
    file.write_all(contents.to_text().as_bytes()).and_then(|()| file.sync_all()).map_err(io_at(&list))?;
    // What was just written is read again, and compared.
    contents.check(part).map_err(|error| BackupError::Copy(error.to_string()))?;
    File::open(part).and_then(|folder| folder.sync_all()).map_err(io_at(part))?;
    let bytes = contents.files.iter().map(|file| file.bytes).sum();
    Ok(Written { path: part.to_owned(), revision: copied.through, bytes, damaged: copied.damaged })
}

/// A name that is safe as that of a folder: letters, digits and dashes.
pub(crate) fn plain(name: &str) -> String {
    const LONGEST: usize = 60;
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(LONGEST).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "workspace".to_owned() } else { plain.to_owned() }
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull => BackupError::Full,
        _ => BackupError::Io(path.to_owned(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shows_become_names_of_folders() {
        assert_eq!(plain("Macbeth 2026/27 (Große Bühne)"), "Macbeth-2026-27--Große-Bühne");
        assert_eq!([plain("../.."), plain("")], ["workspace", "workspace"]);
    }
}
