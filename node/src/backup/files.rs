//! The files of a workspace in its backup: under their addresses, as they lie in the workspace's own folder.
//!
//! Files never change, so within one disk a second name for the same bytes is enough, and a backup takes no room for
//! them. They need no place in the list of contents either: their names say what is in them, and a node that finds them
//! compares (`openprod_blobs::care`). What is known of them beside, such as pins, is of the node and not of the workspace.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::private_folder;

/// Gives every whole file in `from` a place in `to`. Gives the number of their bytes. What is removed meanwhile is not
/// missed: nothing needed it.
pub(super) fn place(from: &Path, to: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for first in 0..=u8::MAX {
        let rack = format!("{first:02x}");
        let (source, target) = (from.join(&rack), to.join(&rack));
        if !source.is_dir() {
            continue;
        }
        private_folder(&target)?;
        for entry in fs::read_dir(&source)? {
            let entry = entry?;
            match linked_or_copied(&entry.path(), &target.join(entry.file_name())) {
                Ok(()) => bytes += entry.metadata().map_or(0, |metadata| metadata.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(&target)?.sync_all()?;
    }
    if to.is_dir() {
        File::open(to)?.sync_all()?;
    }
    Ok(bytes)
}

fn linked_or_copied(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        }
        linked => linked,
    }
}
