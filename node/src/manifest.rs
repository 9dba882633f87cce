//! The manifest of a workspace's folder: `workspace.toml`, which says whose folder it is and in which format.

use std::path::{Path, PathBuf};

use openprod_model::ids::WorkspaceId;
use serde::{Deserialize, Serialize};

use crate::folder;

/// The format of a workspace's folder that this version writes.
pub const FORMAT: u32 = 3;

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
    /// The version of openprod that made the folder or brought it to this format: whoever is too old for it knows what
    /// to install. Since format 2.
    pub written_by: String,
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
        "{path} is of format {found}, written by openprod {written_by}, and this version knows formats up to {FORMAT}. \
         Install the newer version again, or restore the backup that it made before it converted the folder",
        path = path.display()
    )]
    FromTheFuture {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The version that wrote it.
        written_by: String,
    },
    /// An older version wrote it: [`crate::migration`] brings it forward when the workspace is opened.
    #[error("{path} is of the older format {found}; it is converted, after a backup, when a node opens it", path = path.display())]
    Old {
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
        let written_by = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, workspace: id.to_string(), created_ms: now_ms, written_by }
    }
}

/// Writes a manifest, durably.
pub fn write(path: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let text = toml::to_string(manifest).expect("four plain fields are TOML");
    folder::write_over(path, text.as_bytes())
}

/// What a manifest of any format says, and the format that it says it has.
pub fn read_any(path: &Path) -> Result<(u32, toml::Table), ManifestError> {
    let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Io { path: path.to_owned(), source })?;
    let wrong = |why: &str| ManifestError::Syntax { path: path.to_owned(), why: why.to_owned() };
    let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
    let format = table.get("format").and_then(toml::Value::as_integer).and_then(|format| u32::try_from(format).ok());
    Ok((format.ok_or_else(|| wrong("it does not say its format"))?, table))
}

/// Reads the manifest of the folder of workspace `id`, which must be of the present format.
pub fn read(path: &Path, id: WorkspaceId) -> Result<Manifest, ManifestError> {
    // The format comes first: a newer manifest may have fields that this version does not know.
    let (found, table) = read_any(path)?;
    if found > FORMAT {
        let written_by = table.get("written_by").and_then(toml::Value::as_str).unwrap_or("a newer version").to_owned();
        return Err(ManifestError::FromTheFuture { path: path.to_owned(), found, written_by });
    }
    if found < FORMAT {
        return Err(ManifestError::Old { path: path.to_owned(), found });
    }
    let manifest: Manifest = table.try_into().map_err(|error: toml::de::Error| ManifestError::Syntax {
        path: path.to_owned(),
        why: error.message().to_owned(),
    })?;
    if manifest.workspace != id.to_string() {
        return Err(ManifestError::Foreign { path: path.to_owned(), found: manifest.workspace });
    }
    Ok(manifest)
}
