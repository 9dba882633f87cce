//! A workspace as one file: its whole history, to be carried to another node.
//!
//! ```text
//! "OPENPROD-WORKSPACE\n"  format (u16, little-endian)  then, compressed by zstd (RFC 8878), frames:
//!   manifest   whose history it is, and how many bundles there are
//!   bundle     as it lies in the log; in the log's order, so parents come first
//!   files      in format 2: the hash and the size of each file that is carried along
//!   trailer    the count again, and BLAKE3 of every frame before: a file that was cut or altered is recognised
//! frame = kind (u8), length (u32, little-endian), that many bytes
//! and behind all this, in format 2, the bytes of those files, uncompressed, one right behind the other
//! ```
//!
//! A reader holds one frame at a time, and believes nothing: each bundle is checked by the oplog as if a stranger had
//! sent it, each file against its hash. Where a file lies follows from the list, which the trailer vouches for; so bytes
//! that are damaged among the files cost one of them, and none of the history.
//!
//! What carries no files is written in format 1, which every version reads; one that does not know format 2 says so.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openprod_domain::view::ReadFailure;
use openprod_messages::log::{LogReader, Stored};
use openprod_model::codec;
use openprod_model::ids::{BlobHash, Position, WorkspaceId};
use serde::{Deserialize, Serialize};

mod carried;
mod import;

pub use carried::{Brought, Packing, packing, pour};
pub use import::{Imported, import};

/// The format without files.
const PLAIN: u16 = 1;
/// The format with files, and the newest one that this version knows.
const WITH_FILES: u16 = 2;

const MAGIC: &[u8] = b"OPENPROD-WORKSPACE\n";
const HASH_DOMAIN: &[u8] = b"openprod/workspace-file/1\0";
/// Of zstd: 3 is its own default; higher ones cost more time than they save space here.
const LEVEL: i32 = 3;
/// Most memory for decompression is two to this power: 16 MiB.
const MAX_WINDOW_LOG: u32 = 24;
/// Below this much nothing is said of the ratio: small files of repetitive history are dense.
const RATIO_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// A file that grows by more than this is made to fill disks.
const MAX_RATIO: u64 = 500;
/// How much of the log is read at once.
const BATCH_BUNDLES: usize = 256;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How many files one frame lists: 400 KiB of hashes and sizes.
const FILES_A_FRAME: usize = 10_000;
/// More files than this are no show's; their list alone would take 40 MiB of memory.
const MAX_FILES: usize = 1_000_000;

const MANIFEST: u8 = 1;
const BUNDLE: u8 = 2;
const TRAILER: u8 = 3;
const FILES: u8 = 4;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it was called, for people.
    pub name: String,
    /// When the file was written, by that node's clock, in milliseconds since 1970.
    pub exported_ms: u64,
    /// How many bundles follow.
    pub bundles: u64,
}

/// A file that is carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its address: BLAKE3 of its bytes.
    pub hash: BlobHash,
    /// The number of its bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    bundles: u64,
    hash: [u8; 32],
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadFailure),
    /// The log holds a bundle that is no longer whole: a file without it could not be taken in anywhere.
    #[error("the bundle at revision {at} is damaged: {reason}")]
    Damaged {
        /// Where.
        at: Position,
        /// What is wrong.
        reason: String,
    },
    /// Whatever takes the file did not.
    #[error("the file could not be written: {0}")]
    Io(#[from] io::Error),
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not begin as one.
    #[error("this is not a workspace file")]
    NotAWorkspaceFile,
    /// A newer version wrote it.
    #[error("this workspace file has format {0}, and this version of openprod knows formats up to {WITH_FILES}")]
    FromTheFuture(u16),
    /// It ends too early.
    #[error("the file is cut off: it ends {}", place(*read, *of))]
    Truncated {
        /// Bundles read.
        read: u64,
        /// Bundles promised.
        of: u64,
    },
    /// It says something impossible.
    #[error("the file is damaged {}: {why}", place(*read, *of))]
    Damaged {
        /// Bundles read.
        read: u64,
        /// Bundles promised.
        of: u64,
        /// What is wrong.
        why: String,
    },
    /// It could not be read.
    #[error("the file could not be read: {0}")]
    Io(io::Error),
}

/// How far a file was read.
fn place(read: u64, of: u64) -> String {
    if of == 0 { "before its first bundle".to_owned() } else { format!("after {read} of {of} bundles") }
}

/// Writes the whole log as a file, with the list of `files`, whose bytes are to be written behind it ([`pour`]).
/// `progress` hears how many bundles are written, of how many.
pub fn write<W: Write>(
    log: &dyn LogReader,
    workspace: WorkspaceId,
    name: String,
    now_ms: u64,
    files: &[Carried],
    mut out: W,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<W, WriteError> {
    // What is appended from now on is left out; positions up to here never change.
    let end = log.tail()?.position;
    out.write_all(MAGIC)?;
    out.write_all(&if files.is_empty() { PLAIN } else { WITH_FILES }.to_le_bytes())?;
    let mut frames = Frames { out: zstd::Encoder::new(out, LEVEL)?, hasher: hasher() };
    frames.out.include_checksum(true)?;
    frames.write(MANIFEST, &codec::encode(&Manifest { workspace, name, exported_ms: now_ms, bundles: end.0 }))?;
    let mut from = Position::ZERO.next();
    while from <= end {
        for (at, _, stored) in
            log.bundles(from, BATCH_BUNDLES, BATCH_BYTES)?.into_iter().take_while(|(at, ..)| *at <= end)
        {
            match stored {
                Stored::Whole(bundle) => frames.write(BUNDLE, bundle.bytes())?,
                Stored::Damaged { reason, .. } => return Err(WriteError::Damaged { at, reason }),
            }
            from = at.next();
        }
        progress(from.0 - 1, end.0);
    }
    for part in files.chunks(FILES_A_FRAME) {
        frames.write(FILES, &codec::encode(&part))?;
    }
    let hash = *frames.hasher.finalize().as_bytes();
    frames.write(TRAILER, &codec::encode(&Trailer { bundles: end.0, hash }))?;
    Ok(frames.out.finish()?)
}

struct Frames<W: Write> {
    out: zstd::Encoder<'static, W>,
    hasher: blake3::Hasher,
}

impl<W: Write> Frames<W> {
    fn write(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let head = head(kind, u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?);
        self.hasher.update(&head).update(bytes);
        self.out.write_all(&head)?;
        self.out.write_all(bytes)
    }
}

fn head(kind: u8, length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_le_bytes();
    [kind, a, b, c, d]
}

fn hasher() -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HASH_DOMAIN);
    hasher
}

/// Reads a file, bundle by bundle.
pub struct Reader<R: Read> {
    format: u16,
    frames: zstd::Decoder<'static, BufReader<Counted<R>>>,
    compressed: Arc<AtomicU64>,
    uncompressed: u64,
    hasher: blake3::Hasher,
    manifest: Manifest,
    read: u64,
    files: Vec<Carried>,
}

/// The files that follow the history.
pub struct Behind {
    /// Which, in their order.
    pub files: Vec<Carried>,
    /// Their bytes.
    pub content: Box<dyn Read + Send>,
}

struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a file.
    pub fn open(mut file: R) -> Result<Self, FileError> {
        let mut start = [0; MAGIC.len() + 2];
        file.read_exact(&mut start).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::NotAWorkspaceFile,
            _ => FileError::Io(error),
        })?;
        let (magic, format) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(FileError::NotAWorkspaceFile);
        }
        let format = match u16::from_le_bytes([format[0], format[1]]) {
            known @ (PLAIN | WITH_FILES) => known,
            0 => return Err(FileError::NotAWorkspaceFile),
            newer => return Err(FileError::FromTheFuture(newer)),
        };
        let compressed = Arc::new(AtomicU64::new(0));
        let mut frames =
            zstd::Decoder::new(Counted { inner: file, bytes: Arc::clone(&compressed) }).map_err(FileError::Io)?;
        frames.window_log_max(MAX_WINDOW_LOG).map_err(FileError::Io)?;
        // What follows is another matter where something may follow.
        let frames = if format == WITH_FILES { frames.single_frame() } else { frames };
        let unknown =
            Manifest { workspace: WorkspaceId::from_bytes([0; 16]), name: String::new(), exported_ms: 0, bundles: 0 };
        let mut reader = Self {
            format,
            frames,
            compressed,
            uncompressed: 0,
            hasher: hasher(),
            manifest: unknown,
            read: 0,
            files: Vec::new(),
        };
        let (kind, bytes) = reader.frame()?;
        if kind != MANIFEST {
            return Err(reader.damaged("it does not begin with a manifest"));
        }
        reader.manifest = codec::decode(&bytes).map_err(|error| reader.damaged(error.to_string()))?;
        reader.hash(kind, &bytes);
        Ok(reader)
    }

    /// What the file says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next bundle's bytes; none behind the last, once the history has proved to be whole.
    pub fn next_bundle(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        loop {
            let (kind, bytes) = self.frame()?;
            match kind {
                BUNDLE if self.read < self.manifest.bundles => {
                    self.hash(kind, &bytes);
                    self.read += 1;
                    return Ok(Some(bytes));
                }
                BUNDLE => return Err(self.damaged("it holds more bundles than it says")),
                FILES if self.format == WITH_FILES => self.lists(&bytes)?,
                TRAILER => return self.ends(&bytes).map(|()| None),
                other => return Err(self.damaged(format!("it holds a part of the unknown kind {other}"))),
            }
        }
    }

    fn lists(&mut self, files: &[u8]) -> Result<(), FileError> {
        self.hash(FILES, files);
        let files: Vec<Carried> = codec::decode(files).map_err(|error| self.damaged(error.to_string()))?;
        if self.files.len() + files.len() > MAX_FILES {
            return Err(self.damaged("it lists more files than there can be"));
        }
        self.files.extend(files);
        Ok(())
    }

    /// The files behind the history, once all of that was read; none if it carries none.
    pub fn behind(self) -> Option<Behind>
    where
        R: Send + 'static,
    {
        let Self { files, frames, .. } = self;
        (!files.is_empty()).then(|| Behind { files, content: Box::new(frames.finish()) })
    }

    fn ends(&mut self, trailer: &[u8]) -> Result<(), FileError> {
        let trailer: Trailer = codec::decode(trailer).map_err(|error| self.damaged(error.to_string()))?;
        if trailer.bundles != self.read || trailer.bundles != self.manifest.bundles {
            return Err(self.damaged("it holds another number of bundles than it says"));
        }
        if trailer.hash != *self.hasher.finalize().as_bytes() {
            return Err(self.damaged("its checksum does not match its content"));
        }
        match self.frames.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), FileError> {
        let mut head = [0; 5];
        self.frames.read_exact(&mut head).map_err(|error| self.broken(error))?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > codec::MAX_ENCODED_BYTES {
            return Err(self.damaged("it holds a part of more than 16 MiB"));
        }
        let mut bytes = Vec::new();
        let got = Read::by_ref(&mut self.frames).take(length as u64).read_to_end(&mut bytes);
        let got = got.map_err(|error| self.broken(error))?;
        if got < length {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        self.uncompressed += (head.len() + length) as u64;
        let compressed = self.compressed.load(Ordering::Relaxed);
        if self.uncompressed > RATIO_FREE_BYTES.max(compressed.saturating_mul(MAX_RATIO)) {
            return Err(self.damaged("it holds far more than its size allows"));
        }
        Ok((kind, bytes))
    }

    fn hash(&mut self, kind: u8, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a frame is at most 16 MiB");
        self.hasher.update(&head(kind, length)).update(bytes);
    }

    fn damaged(&self, why: impl Into<String>) -> FileError {
        FileError::Damaged { read: self.read, of: self.manifest.bundles, why: why.into() }
    }

    /// What an error of reading means: zstd says "other" of what is not its own.
    fn broken(&self, error: io::Error) -> FileError {
        let (read, of) = (self.read, self.manifest.bundles);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Truncated { read, of },
            io::ErrorKind::Other | io::ErrorKind::InvalidData => {
                FileError::Damaged { read, of, why: error.to_string() }
            }
            _ => FileError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of these frames, whatever they say.
    fn file(bundles: u64, frames: &[(u8, &[u8])]) -> Vec<u8> {
        formatted(PLAIN, bundles, frames)
    }

    fn formatted(format: u16, bundles: u64, frames: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(format.to_le_bytes());
        let mut made = Frames { out: zstd::Encoder::new(out, LEVEL).unwrap(), hasher: hasher() };
        let workspace = WorkspaceId::from_bytes([7; 16]);
        let manifest = Manifest { workspace, name: "Hamlet".to_owned(), exported_ms: 0, bundles };
        made.write(MANIFEST, &codec::encode(&manifest)).unwrap();
        for (kind, bytes) in frames {
            made.write(*kind, bytes).unwrap();
        }
        let hash = *made.hasher.finalize().as_bytes();
        made.write(TRAILER, &codec::encode(&Trailer { bundles, hash })).unwrap();
        made.out.finish().unwrap()
    }

    fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
        let mut reader = Reader::open(file)?;
        std::iter::from_fn(|| reader.next_bundle().transpose()).collect()
    }

    #[test]
    fn bundles_come_back_in_order() {
        let whole = file(2, &[(BUNDLE, b"one"), (BUNDLE, b"two")]);
        assert_eq!(read(&whole).unwrap(), [b"one", b"two"]);
    }

    #[test]
    fn a_file_cut_anywhere_or_with_something_behind_it_is_refused() {
        let whole = file(2, &[(BUNDLE, b"one"), (BUNDLE, b"two")]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} of {}", whole.len());
        }
        let truncated = read(&whole[..whole.len() - 1]).unwrap_err();
        assert!(truncated.to_string().starts_with("the file is cut off: it ends "), "{truncated}");
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            // A few bits mean nothing, such as how much memory the reader had better have: then nothing is altered.
            assert!(read(&altered).map_or(true, |bundles| bundles == [b"one", b"two"]), "{position}");
        }
        assert!(read(&[&whole[..], b"more"].concat()).is_err());
    }

    #[test]
    fn what_a_file_promises_it_must_keep() {
        assert!(read(&file(3, &[(BUNDLE, b"one")])).is_err());
        assert!(read(&file(0, &[(BUNDLE, b"one")])).is_err());
        assert!(read(&file(1, &[(9, b"one")])).is_err());
        let newer = [MAGIC, &[3, 0]].concat();
        assert!(matches!(read(&newer), Err(FileError::FromTheFuture(3))));
        assert!(matches!(read(b"PK\x03\x04"), Err(FileError::NotAWorkspaceFile)));
    }

    #[test]
    fn files_lie_behind_the_history_whatever_has_become_of_their_bytes() {
        let carried = [3, 0, 4].map(|size| Carried { hash: BlobHash::from_bytes([size; 32]), size: size.into() });
        let lists = carried.chunks(2).map(|part| codec::encode(&part)).collect::<Vec<_>>();
        let frames = [(BUNDLE, &b"one"[..]), (FILES, &lists[0]), (FILES, &lists[1])];
        let whole = [formatted(WITH_FILES, 1, &frames), b"abcdefg".to_vec()].concat();
        let mut reader = Reader::open(io::Cursor::new(whole.clone())).unwrap();
        assert_eq!(reader.next_bundle().unwrap().unwrap(), b"one");
        assert_eq!(reader.next_bundle().unwrap(), None);
        let Behind { files, mut content } = reader.behind().unwrap();
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        assert_eq!((&files[..], &bytes[..]), (&carried[..], &b"abcdefg"[..]));
        let history = whole.len() - 7;
        assert!((0..history).all(|end| read(&whole[..end]).is_err()));
        assert!((history..whole.len()).all(|end| read(&whole[..end]).is_ok()));
        assert!(read(&file(1, &frames)).is_err(), "format 1 knows of no files");
    }

    #[test]
    fn a_file_made_to_fill_the_memory_is_refused() {
        let mebibytes = vec![0; 8 * 1024 * 1024];
        let frames: Vec<(u8, &[u8])> = (0..40).map(|_| (BUNDLE, &mebibytes[..])).collect();
        let bomb = file(40, &frames);
        assert!(bomb.len() < 1024 * 1024);
        let refused = read(&bomb).unwrap_err().to_string();
        assert!(refused.contains("far more than its size allows"), "{refused}");
        let large = vec![0; codec::MAX_ENCODED_BYTES + 1];
        let refused = read(&file(1, &[(BUNDLE, &large)])).unwrap_err().to_string();
        assert!(refused.contains("more than 16 MiB"), "{refused}");
    }
}
