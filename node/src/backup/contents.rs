//! The list of what a backup holds, with the size and hash of each file: a backup that was cut or altered is recognised.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use openprod_model::ids::{Position, WorkspaceId};

use crate::logging::escaped;

const FIRST_LINE: &str = "openprod backup ";
const FORMAT: u32 = 1;
/// A list is a dozen short lines; whatever is longer is not one.
const MAX_BYTES: u64 = 64 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it was called, for people.
    pub name: String,
    /// The last position in it.
    pub revision: Position,
    /// When it was made, by that node's clock.
    pub made: Timestamp,
    /// Its files.
    pub files: Vec<Listed>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name within the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of it, as 64 hexadecimal digits.
    pub hash: String,
}

/// Why a backup is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// There is no list, or it could not be read.
    #[error("{path}: {1}", path = .0.display())]
    Io(std::path::PathBuf, #[source] io::Error),
    /// It is not a list.
    #[error("its list of contents is damaged: {0}")]
    Syntax(&'static str),
    /// A newer version made it.
    #[error("it has format {0}, and this version of openprod knows formats up to {FORMAT}")]
    FromTheFuture(u32),
    /// A file is not as it was.
    #[error("its file {name} was altered or cut off: it has {found} bytes of {listed}, or another content")]
    Altered {
        /// The file.
        name: String,
        /// Its size now.
        found: u64,
        /// Its size as listed.
        listed: u64,
    },
}

impl Contents {
    /// The list of `files` in `folder`.
    pub(super) fn of(
        folder: &Path,
        files: &[&str],
        workspace: WorkspaceId,
        name: &str,
        revision: Position,
        made: Timestamp,
    ) -> io::Result<Self> {
        let listed = |name: &&str| {
            let (bytes, hash) = hash_of(&folder.join(name))?;
            Ok(Listed { name: (*name).to_owned(), bytes, hash })
        };
        let files = files.iter().map(listed).collect::<io::Result<_>>()?;
        Ok(Self { workspace, name: escaped(name).into_owned(), revision, made, files })
    }

    /// The list as text.
    pub(super) fn to_text(&self) -> String {
        let Self { workspace, name, revision, made, files } = self;
        let mut text =
            format!("{FIRST_LINE}{FORMAT}\nworkspace {workspace}\nname {name}\nrevision {revision}\nmade {made:.0}\n");
        for Listed { name, bytes, hash } in files {
            let _ = writeln!(text, "file {hash} {bytes} {name}");
        }
        text
    }

    /// Reads the list of a backup, without looking at its files.
    pub fn read(folder: &Path) -> Result<Self, ContentsError> {
        let path = folder.join(super::MANIFEST);
        let failed = |error| ContentsError::Io(path.clone(), error);
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(File::open(&path).map_err(failed)?, MAX_BYTES), &mut text)
            .map_err(failed)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, ContentsError> {
        use ContentsError::Syntax;
        let mut lines = text.lines();
        let first = lines.next().and_then(|line| line.strip_prefix(FIRST_LINE));
        match first.and_then(|format| format.parse::<u32>().ok()) {
            None | Some(0) => return Err(Syntax("it does not begin as one")),
            Some(FORMAT) => {}
            Some(newer) => return Err(ContentsError::FromTheFuture(newer)),
        }
        let (mut said, mut files) = (std::collections::BTreeMap::new(), Vec::new());
        for (key, rest) in lines.filter_map(|line| line.split_once(' ')) {
            if key == "file" {
                files.push(listed(rest)?);
            } else {
                said.insert(key, rest);
            }
        }
        let said = |key| said.get(key).copied().unwrap_or_default();
        Ok(Self {
            workspace: said("workspace").parse().map_err(|_| Syntax("it names no workspace"))?,
            name: said("name").to_owned(),
            revision: Position(said("revision").parse().map_err(|_| Syntax("it names no revision"))?),
            made: said("made").parse().map_err(|_| Syntax("it names no time"))?,
            files,
        })
    }

    /// Whether every file is as it was.
    pub fn check(&self, folder: &Path) -> Result<(), ContentsError> {
        for Listed { name, bytes: listed, hash } in &self.files {
            let path = folder.join(name);
            let (found, content) = hash_of(&path).map_err(|error| ContentsError::Io(path, error))?;
            if found != *listed || content != *hash {
                return Err(ContentsError::Altered { name: name.clone(), found, listed: *listed });
            }
        }
        Ok(())
    }

    /// Whether the backup has a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }
}

fn listed(line: &str) -> Result<Listed, ContentsError> {
    let mut words = line.splitn(3, ' ');
    let (Some(hash), Some(bytes), Some(name)) = (words.next(), words.next(), words.next()) else {
        return Err(ContentsError::Syntax("a file has no hash, size or name"));
    };
    // A name leads nowhere else.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(ContentsError::Syntax("a file has an impossible name"));
    }
    let bytes = bytes.parse().map_err(|_| ContentsError::Syntax("a file has no size"))?;
    Ok(Listed { name: name.to_owned(), bytes, hash: hash.to_owned() })
}

fn hash_of(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((bytes, hasher.finalize().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> (tempfile::TempDir, Contents) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log.redb"), b"history").unwrap();
        let made: Timestamp = "2026-03-01T19:30:00Z".parse().unwrap();
        let id = WorkspaceId::from_bytes([7; 16]);
        let contents = Contents::of(folder.path(), &["log.redb"], id, "Ham\nlet", Position(3), made).unwrap();
        std::fs::write(folder.path().join("MANIFEST"), contents.to_text()).unwrap();
        (folder, contents)
    }

    #[test]
    fn the_list_comes_back() {
        let (folder, contents) = backup();
        assert_eq!(Contents::read(folder.path()).unwrap(), contents);
        contents.check(folder.path()).unwrap();
    }

    #[test]
    fn a_file_that_was_cut_altered_or_lost_is_named() {
        let (folder, contents) = backup();
        for content in [&b"histor"[..], b"historY"] {
            std::fs::write(folder.path().join("log.redb"), content).unwrap();
            assert!(contents.check(folder.path()).unwrap_err().to_string().contains("log.redb"));
        }
        std::fs::remove_file(folder.path().join("log.redb")).unwrap();
        assert!(matches!(contents.check(folder.path()), Err(ContentsError::Io(..))));
    }

    #[test]
    fn lists_that_lead_elsewhere_or_are_newer_are_refused() {
        let (_folder, contents) = backup();
        let text = contents.to_text();
        assert!(Contents::parse(&text.replace("log.redb", "../log.redb")).is_err());
        let newer = text.replace("backup 1", "backup 2");
        assert!(matches!(Contents::parse(&newer), Err(ContentsError::FromTheFuture(2))));
        assert!(Contents::parse("").is_err());
    }
}
