//! Syncing: whether a workspace exchanges bundles and files with other nodes, or a person has paused that.
//!
//! A pause is a file in the workspace's folder, and outlives the node: a machine that starts again in the middle of a
//! show stays as quiet as it was told to be. `status`, `peers` and `doctor` tell of it for as long as it lasts, also on
//! the other nodes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use openprod_messages::watch;

use crate::folder;

/// What whoever finds the file reads in it.
const SAID: &str = "Syncing of this workspace is paused. `openprod sync resume` lets it go on.\n";

/// Whether a workspace syncs.
pub struct Syncing {
    /// There while it is paused; none where nothing is kept from one run to the next.
    note: Option<PathBuf>,
    held: watch::Sender<Option<u64>>,
    one_at_a_time: Mutex<()>,
}

impl Syncing {
    /// As the file there tells.
    pub fn noted_at(note: PathBuf) -> Self {
        let held = watch::Sender::new(noted(&note));
        Self { note: Some(note), held, one_at_a_time: Mutex::default() }
    }

    /// It syncs, and a pause ends with the process.
    pub fn forgetful() -> Self {
        Self { note: None, held: watch::Sender::new(None), one_at_a_time: Mutex::default() }
    }

    /// Since when it is paused, by this node's clock in milliseconds since 1970; none if it is not.
    pub fn held(&self) -> watch::Receiver<Option<u64>> {
        self.held.subscribe()
    }

    /// Pauses it, unless it is paused. Since when it is.
    pub fn pause(&self, now_ms: u64) -> io::Result<u64> {
        let _turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = *self.held.borrow();
        if let Some(since_ms) = since_ms {
            return Ok(since_ms);
        }
        self.note.as_ref().map_or(Ok(()), |note| folder::write_over(note, SAID.as_bytes()))?;
        self.held.send_replace(Some(now_ms));
        Ok(now_ms)
    }

    /// Lets it go on, if it is paused.
    pub fn resume(&self) -> io::Result<()> {
        let _turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        match self.note.as_ref().map_or(Ok(()), std::fs::remove_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.held.send_replace(None);
                Ok(())
            }
        }
    }
}

/// Since when a workspace is paused, as the file there tells: since it was written.
pub fn noted(note: &Path) -> Option<u64> {
    let written = std::fs::metadata(note).ok()?.modified().ok();
    let since = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_outlives_the_node_and_ends_when_somebody_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("sync-paused");
        let syncing = Syncing::noted_at(note.clone());
        let told = syncing.held();
        assert_eq!((*told.borrow(), noted(&note)), (None, None));
        assert_eq!(syncing.pause(5).unwrap(), 5);
        assert_eq!(syncing.pause(9).unwrap(), 5, "it is paused already");
        assert_eq!(*told.borrow(), Some(5));
        let later = Syncing::noted_at(note.clone());
        assert_eq!(*later.held().borrow(), noted(&note));
        assert!(noted(&note).is_some());
        later.resume().unwrap();
        later.resume().unwrap();
        assert_eq!((*later.held().borrow(), noted(&note)), (None, None));
    }

    #[test]
    fn a_pause_that_cannot_be_kept_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let syncing = Syncing::noted_at(folder.path().join("gone/sync-paused"));
        assert!(syncing.pause(5).is_err());
        assert_eq!(*syncing.held().borrow(), None);
    }
}
