//! A workspace on its way out as one file, in chunks.

use std::io::{self, Write};

use openprod_api::status;
use openprod_api::v1;
use openprod_model::refusal::{Reason, Refusal};
use tonic::Status;

use super::{Sender, gone, progress};
use crate::services::{CHUNK_BYTES, name_of, sentence, unreadable};
use crate::workspace::Workspace;
use crate::workspace_file::{self, Carried, Packing};

/// Sends the history, and the files of `packing` if they are to go along. Blocks its thread.
pub(super) fn exported(
    workspace: &Workspace,
    packing: Option<Packing>,
    now_ms: u64,
    sender: &Sender<v1::ExportWorkspaceResponse>,
) -> Result<(), Status> {
    let mut chunks = Chunks { sender, chunk: Vec::with_capacity(CHUNK_BYTES) };
    // Whoever is gone is noticed by the next chunk.
    let told = |stage, done, total| {
        let progress = Some(progress(stage, done, total));
        drop(sender.blocking_send(Ok(v1::ExportWorkspaceResponse { progress, ..Default::default() })));
    };
    let mut tell = |done, total| told("Writing the history", done, total);
    let name = name_of(workspace);
    let files = packing.as_ref().map_or(&[][..], |packing| &packing.files);
    let written = workspace_file::write(&*workspace.log, workspace.id, name, now_ms, files, &mut chunks, &mut tell);
    written.map_err(|error| match error {
        workspace_file::WriteError::Log(failure) => unreadable(&failure),
        workspace_file::WriteError::Io(_) => gone(()),
        workspace_file::WriteError::Damaged { .. } => {
            let refusal = Refusal::new(Reason::BadBundle, sentence(&error.to_string()));
            status::refused(&refusal.next("`openprod export --emergency` saves what can be read."))
        }
    })?;
    let Some(packing) = packing else { return chunks.flush().map_err(gone) };
    let mut tell = |done| told("Writing the files", done, packing.bytes());
    let broken =
        workspace_file::pour(&workspace.library.store, &packing.files, &mut chunks, &mut tell).map_err(gone)?;
    chunks.flush().map_err(gone)?;
    let blobs = Some(carried(&packing, &broken));
    sender.blocking_send(Ok(v1::ExportWorkspaceResponse { blobs, ..Default::default() })).map_err(gone)
}

/// What is told of the files that went along, of which some turned out not to be whole.
fn carried(packing: &Packing, broken: &[Carried]) -> v1::ExportedBlobs {
    let count = |files: &[Carried]| u64::try_from(files.len()).unwrap_or(u64::MAX);
    v1::ExportedBlobs {
        blobs: count(&packing.files) - count(broken),
        bytes: packing.bytes() - broken.iter().map(|file| file.size).sum::<u64>(),
        missing: packing.missing,
        deleted: packing.deleted,
        damaged: packing.damaged + count(broken),
    }
}

/// A file that goes to the client in chunks.
struct Chunks<'a> {
    sender: &'a Sender<v1::ExportWorkspaceResponse>,
    chunk: Vec<u8>,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        let part = v1::ExportWorkspaceResponse { chunk, ..Default::default() };
        self.sender.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
