//! What people do with files.

use std::path::Path;

use openprod_client::{Change, Error, v1};
use openprod_model::ids::BlobHash;
use tokio_stream as stream;

use super::mesh::{LOOK_EVERY, PATIENCE};
use super::person::Person;
use super::speak::{delete_asset, restore_asset};

impl Person {
    /// Puts a file on the node, in small pieces.
    pub(crate) async fn puts_file(&self, bytes: &[u8]) -> v1::Blob {
        let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        self.workspace().put_blob(stream::iter(pieces), None).await.unwrap()
    }

    /// The same, which fails because it breaks off in the middle.
    pub(crate) async fn breaks_off_a_file(&self, bytes: &[u8]) -> Error {
        let pieces = vec![Ok(bytes.to_vec()), Err(std::io::Error::other("the stick was pulled out"))];
        self.workspace().put_blob(stream::iter(pieces), None).await.unwrap_err()
    }

    /// Gets a file from the node.
    pub(crate) async fn gets_file(&self, hash: &str) -> Result<Vec<u8>, Error> {
        self.gets_part(hash, 0, 0).await
    }

    /// Gets a part of it.
    pub(crate) async fn gets_part(&self, hash: &str, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut answers = self.workspace().get_blob(hash_of(hash), offset, length).await?;
        let mut bytes = Vec::new();
        while let Some(answer) = answers.next().await? {
            bytes.extend(answer.chunk);
        }
        Ok(bytes)
    }

    /// Has the node fetch a file from others, and tells what it said on the way.
    pub(crate) async fn fetches_file(&self, hash: &str) -> Result<(v1::Blob, Vec<v1::Progress>), Error> {
        use v1::fetch_blob_response::Event;
        let mut answers = self.workspace().fetch_blob(hash_of(hash)).await?;
        let mut told = Vec::new();
        loop {
            match answers.next().await?.expect("the file comes last").event.unwrap() {
                Event::Progress(progress) => told.push(progress),
                Event::Blob(blob) => return Ok((blob, told)),
            }
        }
    }

    /// Waits until a file is on the node.
    pub(crate) async fn has_file(&self, hash: &str) {
        let seen = async {
            while self.looks_at_file(hash).await.availability() != v1::BlobAvailability::Here {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the file comes by itself");
    }

    /// A small picture of a file.
    pub(crate) async fn looks_at_thumbnail(&self, hash: &str) -> Result<Vec<u8>, Error> {
        self.workspace().thumbnail(hash_of(hash)).await
    }

    /// What the node knows of a file.
    pub(crate) async fn looks_at_file(&self, hash: &str) -> v1::Blob {
        self.workspace().blob(hash_of(hash)).await.unwrap()
    }

    /// The files that are there or that fields refer to.
    pub(crate) async fn lists_files(&self) -> Vec<v1::Blob> {
        self.workspace().blobs().all().await.unwrap()
    }

    /// Keeps a file on the node.
    pub(crate) async fn pins_file(&self, hash: &str) -> v1::Blob {
        self.workspace().pin_blob(hash_of(hash)).await.unwrap()
    }

    /// Keeps it no longer than others.
    pub(crate) async fn unpins_file(&self, hash: &str) -> v1::Blob {
        self.workspace().unpin_blob(hash_of(hash)).await.unwrap()
    }

    /// Has every file read again.
    pub(crate) async fn verifies_files(&self) -> v1::VerifyBlobsReport {
        use v1::verify_blobs_response::Event;
        let mut answers = self.workspace().verify_blobs().await.unwrap();
        loop {
            if let Some(Event::Report(report)) = answers.next().await.unwrap().expect("a report comes last").event {
                return report;
            }
        }
    }

    /// Has the node remove what nothing needs.
    pub(crate) async fn collects_files(&self) -> v1::CollectBlobsResponse {
        self.workspace().collect_blobs(false).await.unwrap()
    }

    /// Deletes a file for everybody.
    pub(crate) async fn deletes_file(&self, hash: &str, reason: &str) -> v1::ExecuteResponse {
        self.does(vec![delete_asset(hash, reason)]).await
    }

    /// Takes that back.
    pub(crate) async fn restores_file(&self, hash: &str) -> v1::ExecuteResponse {
        self.does(vec![restore_asset(hash)]).await
    }

    /// Makes a field of a record say that file, without putting it anywhere.
    pub(crate) async fn refers(&self, name: &str, column: &str, bytes: &[u8], called: &str) {
        let hash = blake3::hash(bytes).to_hex().to_string();
        let size = bytes.len() as u64;
        let file = v1::BlobRef { hash, size, name: called.to_owned(), media_type: "application/pdf".to_owned() };
        let value = v1::Value { kind: Some(v1::value::Kind::Blob(file)) };
        let values = vec![v1::FieldValue { column: column.to_owned(), value: Some(value) }];
        let (record, table) = (self.id(name), self.table_of(name));
        let set = v1::command::Kind::SetFields(v1::SetFields { record, table, values });
        self.workspace().execute(&Change::new([v1::Command { kind: Some(set) }])).await.unwrap();
    }
}

fn hash_of(hash: &str) -> BlobHash {
    hash.parse().unwrap()
}

/// All that lies below a folder, as paths within it.
pub(crate) fn below(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(here) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(here) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
