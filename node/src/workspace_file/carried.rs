//! The files that a workspace file carries along: which those are, and how they come in again.
//!
//! Taken along is what is here and whole, what the history mentions, and what nobody has deleted. Taken in is what the
//! history here mentions and lacks; so a file of somebody else's making fills no disk with what nobody needs. Memory
//! holds a piece of one file at a time.

use std::collections::BTreeSet;
use std::io::{self, Read, Take, Write};
use std::sync::Arc;

use openprod_blobs::collect::Library;
use openprod_blobs::outline::{MAX_BLOB_BYTES, PIECE_BYTES};
use openprod_blobs::store::Store;
use openprod_domain::describe::bytes;
use openprod_messages::blobs::BlobError;
use openprod_model::ids::BlobHash;

use super::{Behind, Carried};
use crate::files::{self, Known};
use crate::services::sentence;

/// How many files are looked at at once.
const PAGE: usize = 1_000;
/// How many reasons are told: whoever has read so many knows that the file is bad.
const MAX_REASONS: usize = 20;

/// Which files go along, and how many do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packing {
    /// Those that go along, in the order of their addresses.
    pub files: Vec<Carried>,
    /// How many fields say and this node has not.
    pub missing: u64,
    /// How many were deleted for everybody.
    pub deleted: u64,
    /// How many are damaged on this node's disk.
    pub damaged: u64,
}

/// What came of the files that a workspace file carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// How many were new here.
    pub new: u64,
    /// How many bytes these have.
    pub new_bytes: u64,
    /// How many were here already.
    pub known: u64,
    /// How many were left aside, because the history here does not mention them, or somebody has deleted them.
    pub unneeded: u64,
    /// How many did not come.
    pub refused: u64,
    /// Why, in sentences; of many the first.
    pub reasons: Vec<String>,
}

/// Looks which files go along. Blocks its thread.
pub fn packing(library: &Library) -> Result<Packing, BlobError> {
    let needed: BTreeSet<BlobHash> = library.missing(true)?.into_iter().collect();
    let (mut packing, mut after) = (Packing::default(), None);
    loop {
        let page = files::list(library, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(packing) };
        after = Some(last.hash);
        for known in &page {
            packing.adds(known, needed.contains(&known.hash));
        }
    }
}

impl Packing {
    fn adds(&mut self, known: &Known, is_needed: bool) {
        match (known.kept, &known.mention) {
            _ if !known.deletion.is_empty() => self.deleted += 1,
            (Some(kept), Some(_)) if !kept.damaged => {
                self.files.push(Carried { hash: kept.hash, size: kept.size });
            }
            (Some(_), _) if is_needed => self.damaged += 1,
            (None, _) if is_needed => self.missing += 1,
            _ => {}
        }
    }

    /// How many bytes those have that go along.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Writes the bytes of `files`, one right behind the other. Gives those that turned out damaged, or went meanwhile: the
/// place of each is filled up, lest the others lose theirs, and nobody will take what fills it for the file. `progress`
/// hears how many bytes are written. Blocks its thread.
pub fn pour(
    store: &Store,
    files: &[Carried],
    out: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Vec<Carried>> {
    let (mut broken, mut done) = (Vec::new(), 0);
    for file in files {
        let mut rest = 0..file.size;
        if let Ok(reader) = store.open(file.hash) {
            while let Ok(piece) = reader.next(&mut rest)
                && !piece.is_empty()
            {
                out.write_all(&piece)?;
                progress(done + rest.start);
            }
        }
        if !rest.is_empty() {
            broken.push(*file);
            io::copy(&mut io::repeat(0).take(rest.end - rest.start), out)?;
        }
        done += file.size;
    }
    Ok(broken)
}

/// What becomes of a file.
enum Fate {
    New,
    Known,
    Unneeded,
    Refused(String),
}

/// Takes in what is needed of the files behind a history that is here by now. Blocks its thread.
pub(super) fn take_in(library: &Library, Behind { files, mut content }: Behind) -> Brought {
    let mut brought = Brought::default();
    for (number, file) in (0..).zip(&files) {
        match fate(library, file, &mut *content) {
            Ok(fate) => brought.counts(file, fate),
            Err(why) => {
                let left = u64::try_from(files.len()).unwrap_or(u64::MAX) - number;
                brought.refused += left;
                brought.reasons.push(format!("{} Files that did not come: {left}.", sentence(&why)));
                return brought;
            }
        }
    }
    if !matches!(content.read(&mut [0]), Ok(0)) {
        brought.reasons.push("Something follows the last file, and was left aside.".to_owned());
    }
    brought
}

impl Brought {
    fn counts(&mut self, file: &Carried, fate: Fate) {
        match fate {
            Fate::New => (self.new, self.new_bytes) = (self.new + 1, self.new_bytes + file.size),
            Fate::Known => self.known += 1,
            Fate::Unneeded => self.unneeded += 1,
            Fate::Refused(why) => {
                self.refused += 1;
                if self.reasons.len() < MAX_REASONS {
                    self.reasons.push(why);
                }
            }
        }
    }
}

/// Takes a file in, or passes over its bytes. The error says why neither it nor what follows it can come.
fn fate(library: &Library, file: &Carried, content: &mut dyn Read) -> Result<Fate, String> {
    let known = files::known(library, file.hash).map_err(|error| unkept(&error))?;
    let mut own = content.take(file.size);
    let fate = if file.size > MAX_BLOB_BYTES {
        Fate::Refused(format!("{} has more than the {} that a file may have.", known.called(), bytes(MAX_BLOB_BYTES)))
    } else if known.is_here() {
        Fate::Known
    } else if known.mention.is_none() || !known.deletion.is_empty() {
        Fate::Unneeded
    } else {
        return put(&library.store, &known, &mut own);
    };
    io::copy(&mut own, &mut io::sink()).map_err(|error| unread(&error))?;
    if own.limit() > 0 { Err(cut_off(&known)) } else { Ok(fate) }
}

fn put(store: &Arc<Store>, known: &Known, own: &mut Take<&mut dyn Read>) -> Result<Fate, String> {
    let (mut putting, mut piece) = (store.begin(Some(known.hash)), vec![0; PIECE_BYTES]);
    while own.limit() > 0 {
        match own.read(&mut piece).map_err(|error| unread(&error))? {
            0 => return Err(cut_off(known)),
            count => putting.write(&piece[..count]).map_err(|error| unkept(&error))?,
        }
    }
    match putting.finish() {
        Ok(_) => Ok(Fate::New),
        Err(BlobError::Other { .. }) => Ok(Fate::Refused(format!("{} came damaged, and was refused.", known.called()))),
        Err(error) => Err(unkept(&error)),
    }
}

fn cut_off(known: &Known) -> String {
    format!("the workspace file is cut off: it ends within {}", known.called())
}

fn unread(error: &io::Error) -> String {
    format!("the workspace file could not be read: {error}")
}

fn unkept(error: &BlobError) -> String {
    match error {
        BlobError::Disk { full: true, .. } => "the disk is full".to_owned(),
        other => other.to_string(),
    }
}
