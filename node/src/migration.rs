//! Migration: brings the folder of an older version forward, one numbered step at a time, after a backup.
//!
//! The folder's format covers everything in it: when the format of the log changes, so does the folder's, so that there is
//! a backup first and an older version refuses the folder before it has opened anything.
//!
//! Going back is refused (see [`crate::manifest`]): the backup that was made before the first step is the way back.

use std::io;
use std::path::{Path, PathBuf};

use crate::folder::{self, WorkspaceFolder};
use crate::manifest::{self, FORMAT, ManifestError};

/// A step from the format before to this one.
struct Step {
    to: u32,
    what: &'static str,
    run: fn(&mut toml::Table),
}

/// All steps, in order. A step never changes once it was released.
const STEPS: &[Step] = &[
    Step { to: 2, what: "say which version wrote the folder", run: name_the_writer },
    Step { to: 3, what: "a log of format 2, which the store makes when it opens it", run: |_| {} },
];

/// Formats before 2 did not say who wrote them; all were written by versions before 0.1.0 was released.
fn name_the_writer(manifest: &mut toml::Table) {
    manifest.insert("written_by".to_owned(), toml::Value::String("0.1.0-dev".to_owned()));
}

/// Why a folder was not brought forward. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Its manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The backup or the new manifest could not be written.
    #[error("{path} could not be written, so the folder stays in its old format: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Brings a workspace's folder to the present format; does nothing where it is there. The node holds the folder's lock
/// and has not opened its stores yet.
pub fn bring_forward(workspace: &WorkspaceFolder, now_ms: u64) -> Result<(), MigrationError> {
    let path = workspace.manifest();
    let (format, mut table) = manifest::read_any(&path)?;
    if format >= FORMAT {
        return Ok(());
    }
    let kept = back_up(workspace, format, now_ms)?;
    for step in STEPS.iter().filter(|step| step.to > format) {
        tracing::info!(folder = %workspace.root().display(), to = step.to, what = step.what, backup = %kept.display(), "migrating");
        (step.run)(&mut table);
    }
    table.insert("format".to_owned(), toml::Value::Integer(FORMAT.into()));
    table.insert("written_by".to_owned(), toml::Value::String(env!("CARGO_PKG_VERSION").to_owned()));
    let text = toml::to_string(&table).expect("what was read as TOML is written as TOML");
    folder::write_over(&path, text.as_bytes()).map_err(at(&path))
}

/// Copies the manifest and the log, the source of truth, beside the folder's other backups. The manifest comes last: a
/// copy that has one is whole.
fn back_up(workspace: &WorkspaceFolder, format: u32, now_ms: u64) -> Result<PathBuf, MigrationError> {
    let folder = workspace.backups().join(format!("before-format-{FORMAT}-was-{format}-at-{now_ms}"));
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    for file in [workspace.log(), workspace.manifest()] {
        if file.exists() {
            copy(&file, &folder)?;
        }
    }
    Ok(folder)
}

fn copy(file: &Path, into: &Path) -> Result<(), MigrationError> {
    let target = into.join(file.file_name().unwrap_or_default());
    std::fs::copy(file, &target).map_err(at(&target))?;
    std::fs::File::open(&target).and_then(|copy| copy.sync_all()).map_err(at(&target))
}

fn at(path: &Path) -> impl Fn(io::Error) -> MigrationError + '_ {
    move |source| MigrationError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;
    use openprod_model::ids::WorkspaceId;

    const OLD: &str = "format = 1\nworkspace = \"07070707-0707-0707-0707-070707070707\"\ncreated_ms = 5\n";

    fn old_folder(root: &Path) -> (WorkspaceFolder, WorkspaceId) {
        let id = WorkspaceId::from_bytes([7; 16]);
        let workspace = Folder::open(root).unwrap().workspace(id);
        workspace.create().unwrap();
        std::fs::write(workspace.manifest(), OLD).unwrap();
        std::fs::write(workspace.log(), "the log").unwrap();
        (workspace, id)
    }

    #[test]
    fn a_folder_of_format_1_is_backed_up_and_brought_forward() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, id) = old_folder(&root.path().join("node"));
        assert!(matches!(manifest::read(&workspace.manifest(), id), Err(ManifestError::Old { found: 1, .. })));
        bring_forward(&workspace, 9).unwrap();
        let manifest = manifest::read(&workspace.manifest(), id).unwrap();
        assert_eq!((manifest.format, manifest.created_ms), (FORMAT, 5));
        assert_eq!(manifest.written_by, env!("CARGO_PKG_VERSION"));
        let backup = std::fs::read_dir(workspace.backups()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_to_string(backup.join("workspace.toml")).unwrap(), OLD);
        assert_eq!(std::fs::read_to_string(backup.join("log.redb")).unwrap(), "the log");
        bring_forward(&workspace, 10).unwrap();
        assert_eq!(std::fs::read_dir(workspace.backups()).unwrap().count(), 1, "a second start has nothing to do");
    }

    #[test]
    fn a_folder_from_the_future_is_refused_with_the_version_to_install() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, id) = old_folder(&root.path().join("node"));
        let future = OLD.replace("format = 1", "format = 99\nwritten_by = \"7.0.0\"\nsurprise = true");
        std::fs::write(workspace.manifest(), &future).unwrap();
        bring_forward(&workspace, 9).unwrap();
        let refusal = manifest::read(&workspace.manifest(), id).unwrap_err().to_string();
        assert!(refusal.contains("format 99") && refusal.contains("openprod 7.0.0"), "{refusal}");
        assert_eq!(std::fs::read_to_string(workspace.manifest()).unwrap(), future, "nothing was touched");
    }

    /// What the backup and the refusal of older versions depend on: whoever gives the log a new format adds a step here.
    #[test]
    fn the_log_has_the_format_that_its_folder_says() {
        let formats = (FORMAT, openprod_oplog::tables::FORMAT);
        assert_eq!(formats, (3, 2), "a new format of the log is a new format of the folder");
    }

    #[test]
    fn the_steps_lead_to_the_present_format_without_a_gap() {
        let reached: Vec<u32> = STEPS.iter().map(|step| step.to).collect();
        assert_eq!(reached, (2..=FORMAT).collect::<Vec<_>>());
    }
}
