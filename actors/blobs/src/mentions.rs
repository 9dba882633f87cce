//! What the log says of blobs: which cells mention them, under which names, and since when nobody has any more.
//!
//! The log is read when somebody wants to know, on from where it was left. Nothing is read while people edit.

use std::collections::BTreeSet;

use openprod_domain::asset;
use openprod_domain::cell::Cell;
use openprod_domain::fold::{self, Write};
use openprod_messages::blobs::BlobError;
use openprod_messages::log::{Entry, LogReader, Stored};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{BlobHash, Position};
use openprod_model::operation::Operation;
use openprod_model::value::BlobRef;

use crate::index::{Index, Mention};
use crate::tables::{MentionRow, Place};

/// How much of the log is read and written down at a time.
const CHUNK_BUNDLES: usize = 1_024;
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Reads the log on to its end. Blocks its thread. Gives how many bundles could not be read whole.
pub(crate) fn follow(index: &Index, log: &dyn LogReader) -> Result<u64, BlobError> {
    let mut place = begin(index, log)?;
    loop {
        let from = place.position.next();
        let bundles = log.bundles(from, CHUNK_BUNDLES, CHUNK_BYTES).map_err(|failure| unread(&failure))?;
        if bundles.is_empty() {
            return Ok(place.obscure);
        }
        let mut mentions = Vec::new();
        for (at, entry, stored) in bundles {
            place.position = at;
            place.chain = entry.chain;
            match stored {
                Stored::Whole(bundle) => {
                    place.obscure += u64::from(bundle.ops().iter().any(|op| op.operation.is_none()));
                    mentions.extend(of_bundle(&bundle, at, &entry));
                }
                Stored::Damaged { .. } => place.obscure += 1,
            }
        }
        index.mentioned(&mentions, &place)?;
    }
}

/// Adds the blobs that the log mentions behind `position` to `found`. Blocks its thread.
pub(crate) fn behind(log: &dyn LogReader, position: Position, found: &mut BTreeSet<BlobHash>) -> Result<(), BlobError> {
    let mut position = position;
    loop {
        let bundles = log.bundles(position.next(), CHUNK_BUNDLES, CHUNK_BYTES).map_err(|failure| unread(&failure))?;
        let Some((last, ..)) = bundles.last() else { return Ok(()) };
        position = *last;
        for (at, entry, stored) in &bundles {
            if let Stored::Whole(bundle) = stored {
                found.extend(of_bundle(bundle, *at, entry).into_iter().map(|mention| mention.hash));
            }
        }
    }
}

/// Where to read on: where it was left, or at the beginning if the log is another one, or more of it is understood now.
fn begin(index: &Index, log: &dyn LogReader) -> Result<Place, BlobError> {
    let kinds = u32::try_from(Operation::KINDS.len()).unwrap_or(u32::MAX);
    let start = Place { position: Position::ZERO, chain: openprod_messages::log::CHAIN_START, kinds, obscure: 0 };
    let Some(place) = index.place()? else { return Ok(start) };
    let entry = log.entry(place.position).map_err(|failure| unread(&failure))?;
    if place.kinds == kinds && entry.is_some_and(|entry| entry.chain == place.chain) {
        return Ok(place);
    }
    index.forget_mentions()?;
    Ok(start)
}

fn of_bundle(bundle: &Bundle, at: Position, entry: &Entry) -> Vec<Mention> {
    let writes = bundle.ops().iter().filter_map(|op| op.operation.as_ref()).flat_map(fold::writes);
    let said = writes.filter_map(|write| {
        let row = said_by(&write, entry.appended_ms)?;
        Some((row.0, write.cell.key(), row.1))
    });
    let mention = |(number, (hash, cell, row))| Mention { hash, position: at.0, number, cell, row };
    (0..).zip(said).map(mention).collect()
}

/// What a write says of a blob, if it is about one.
fn said_by(write: &Write<'_>, last_ms: u64) -> Option<(BlobHash, MentionRow)> {
    if let Cell::Asset { hash } = write.cell {
        return Some((hash, MentionRow { size: 0, name: String::new(), media_type: String::new(), last_ms }));
    }
    let BlobRef { hash, size, name, media_type } = asset::file_in(&write.content)?;
    let row = MentionRow { size: *size, name: name.to_string(), media_type: media_type.to_string(), last_ms };
    Some((*hash, row))
}

pub(crate) fn unread(error: &impl ToString) -> BlobError {
    BlobError::Disk { reason: error.to_string(), full: false }
}
