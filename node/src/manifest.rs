//! The manifest of a workspace's folder: `workspace.toml`, which says whose folder it is and in which format.

use std::path::{Path, PathBuf};

use openprod_model::ids::WorkspaceId;
use serde::{Deserialize, Serialize};

use crate::folder;

/// The format of a workspace's folder that this version writes.
pub const FORMAT: u32 = 1;

/// What `workspace.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of the folder.
    pub format: u32,
    /// The workspace.
    pub workspace: String,
    /// When the folder was made, by its node's clock, in milliseconds since 1970.
    pub created_ms: u64,
}

/// Why a manifest is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is missing or cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a manifest.
    #[error("{path} is not a workspace's manifest: {why}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer version wrote it.
    #[error(
        "{path} is of format {found}, and this version of openprod knows formats up to {FORMAT}. \
         Install the newer version again, or restore the backup that it made before it converted the folder",
        path = path.display()
    )]
    FromTheFuture {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is of another workspace.
    #[error("{path} is of workspace {found}: the folder was renamed or copied", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl Manifest {
    /// The manifest of a new folder.
    pub fn new(id: WorkspaceId, now_ms: u64) -> Self {
        Self { format: FORMAT, workspace: id.to_string(), created_ms: now_ms }
    }
}

/// Writes a manifest, durably.
pub fn write(path: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let text = toml::to_string(manifest).expect("three plain fields are TOML");
    folder::write_over(path, text.as_bytes())
}

/// Reads the manifest of the folder of workspace `id`.
pub fn read(path: &Path, id: WorkspaceId) -> Result<Manifest, ManifestError> {
    let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Io { path: path.to_owned(), source })?;
    // The format comes first: a newer manifest may have fields that this version does not know.
    let syntax = |error: toml::de::Error| ManifestError::Syntax {
        path: path.to_owned(),
        why: error.message().to_owned(),
    };
    let table: toml::Table = toml::from_str(&text).map_err(syntax)?;
    if let Some(found) = table.get("format").and_then(toml::Value::as_integer).and_then(|n| u32::try_from(n).ok())
        && found > FORMAT
    {
        return Err(ManifestError::FromTheFuture { path: path.to_owned(), found });
    }
    let manifest: Manifest = table.try_into().map_err(syntax)?;
    if manifest.workspace != id.to_string() {
        return Err(ManifestError::Foreign { path: path.to_owned(), found: manifest.workspace });
    }
    Ok(manifest)
}
