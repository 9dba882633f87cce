//! What there is to say of a file that a cell shows: how large it is, whether it is here, who deleted it and why.

use openprod_blobs::collect::Library;
use openprod_domain::cell::Cell;
use openprod_domain::describe::{bytes, escaped};
use openprod_domain::view::{Read, ReadFailure};
use openprod_domain::{asset, read};
use openprod_model::value::BlobRef;

use super::Telling;
use crate::files::{self, Known};
use crate::services::reading::Scene;

impl Telling<'_> {
    /// What is known of the file now, whatever moment is explained; none if the cell shows none.
    pub(super) fn file(&mut self, scene: &Scene) -> Read<Option<(Known, String)>> {
        let Some(file) = self.reading.content().and_then(asset::file_in) else { return Ok(None) };
        let file = file.clone();
        let known = known(&scene.library, &file)?;
        let sentence = match known.deletion.as_str() {
            "" => present(&known, file.size),
            reason => format!("It was deleted by {}: {}.", self.who_deleted(scene, &file)?, escaped(reason)),
        };
        Ok(Some((known, sentence)))
    }

    fn who_deleted(&mut self, scene: &Scene, file: &BlobRef) -> Read<String> {
        let reading = read::cell(scene.snapshot.view(), Cell::Asset { hash: file.hash })?;
        self.author(reading.shown().and_then(|tip| tip.position))
    }
}

fn known(library: &Library, file: &BlobRef) -> Read<Known> {
    files::known(library, file.hash).map_err(|error| ReadFailure(error.to_string()))
}

fn present(known: &Known, size: u64) -> String {
    let size = bytes(size);
    match known.kept {
        Some(kept) if kept.damaged => format!("It is {size} large, and damaged on this node: put it here again."),
        Some(_) => format!("It is {size} large, and on this node."),
        None => format!("It is {size} large, and not on this node: it comes from another when somebody opens it."),
    }
}

#[cfg(test)]
mod tests {
    use openprod_messages::blobs::Kept;
    use openprod_model::ids::BlobHash;

    use super::*;

    #[test]
    fn whether_a_file_is_here_is_said_with_what_to_do() {
        let hash = BlobHash::from_bytes([1; 32]);
        let said = |kept| present(&Known { hash, kept, mention: None, deletion: String::new() }, 1536);
        let kept = |damaged| Kept { hash, size: 1536, stored: 9, added_ms: 1, pinned: false, damaged };
        assert_eq!(said(Some(kept(false))), "It is 1.5 KiB large, and on this node.");
        assert!(said(Some(kept(true))).contains("put it here again"));
        assert!(said(None).contains("when somebody opens it"));
    }
}
