//! Bundles: ops that happen together or not at all; the unit of signing, of undo, of replication, of history.
//!
//! A bundle on disk and on the wire is `{format, header bytes, signature, ops}`. The header commits to every op
//! through the digest of their checksums; the digest of the header is the bundle's identity; the actor signs that.
//! Parents and `prev` make history a signed hash DAG (as in Git; Kleppmann's *Making CRDTs Byzantine fault
//! tolerant*, 2022).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::codec::{self, Bytes, DecodeError};
use crate::identity::{self, Keys, Signature};
use crate::ids::{ActorId, BundleId, Digest, OpId, OpRef, OverlayId, WorkspaceId};
use crate::operation::{self, Operation, RawOp};
use crate::value::Text;

/// The format written by this version.
pub const FORMAT: u16 = 1;
/// Most ops in a bundle: what one command may change at once, so that a reader never holds more than this unfolded.
pub const MAX_OPS: usize = 100_000;
/// Most parents of a bundle: heads that one author could plausibly have had before him.
pub const MAX_PARENTS: usize = 1_024;
/// Longest label in bytes: it is one line in an undo menu.
pub const MAX_LABEL_BYTES: usize = 400;
/// Longest identification of a source in bytes: a hash, with room to grow.
pub const MAX_SOURCE_DETAIL_BYTES: usize = 256;
/// Longest opaque extension in bytes.
pub const MAX_EXTRA_BYTES: usize = 4_096;

const HEADER_DOMAIN: &[u8] = b"openprod/bundle/1\0";
const OPS_DOMAIN: &[u8] = b"openprod/ops/1\0";

/// What made a bundle. Unknown numbers, from newer versions, are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleKind(pub u16);

impl BundleKind {
    /// A person's edit.
    pub const EDIT: Self = Self(1);
    /// An import of a file.
    pub const IMPORT: Self = Self(2);
    /// A script run.
    pub const SCRIPT: Self = Self(3);
    /// A rule by itself.
    pub const RULE: Self = Self(4);
    /// The resolution of a conflict.
    pub const RESOLUTION: Self = Self(5);
    /// An undo.
    pub const UNDO: Self = Self(6);
    /// A redo.
    pub const REDO: Self = Self(7);
    /// The commit of an overlay.
    pub const OVERLAY: Self = Self(8);
    /// A merge or split of records.
    pub const MERGE: Self = Self(9);
    /// The adoption of a module.
    pub const MODULE: Self = Self(10);
    /// The first bundle of a workspace.
    pub const BOOTSTRAP: Self = Self(11);
    /// A change of membership.
    pub const MEMBER: Self = Self(12);
    /// A change of tables and columns.
    pub const SCHEMA: Self = Self(13);

    const WORDS: [(Self, &'static str); 13] = [
        (Self::EDIT, "edit"),
        (Self::IMPORT, "import"),
        (Self::SCRIPT, "script"),
        (Self::RULE, "rule"),
        (Self::RESOLUTION, "resolution"),
        (Self::UNDO, "undo"),
        (Self::REDO, "redo"),
        (Self::OVERLAY, "overlay"),
        (Self::MERGE, "merge"),
        (Self::MODULE, "module"),
        (Self::BOOTSTRAP, "bootstrap"),
        (Self::MEMBER, "member"),
        (Self::SCHEMA, "schema"),
    ];

    /// Its word, or "unknown" for a kind of a newer version.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(kind, _)| *kind == self).map_or("unknown", |(_, word)| word)
    }

    /// The kind of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, w)| *w == word).map(|(kind, _)| *kind)
    }
}

/// Where a bundle's changes come from. `kind` 0 is the person who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// 0 person, 1 import file, 2 overlay; other numbers belong to newer versions and are kept.
    pub kind: u16,
    /// What people call the source, such as the file's name; may be empty.
    pub name: Text,
    /// What identifies it, such as the file's BLAKE3 hash; may be empty.
    pub detail: Vec<u8>,
}

impl Source {
    /// The person who signed.
    pub const PERSON: u16 = 0;
    /// An imported file: `name` is its name, `detail` the hash of its bytes.
    pub const FILE: u16 = 1;
    /// A committed overlay: see [`OverlaySource`].
    pub const OVERLAY: u16 = 2;
}

/// Which overlay a bundle commits: the `detail` of a source of kind [`Source::OVERLAY`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySource {
    /// The overlay, which was never known outside its node.
    pub overlay: OverlayId,
    /// The generation of it that was committed: 8 bytes, big-endian, behind the id.
    pub generation: u64,
    /// BLAKE3 of the file that was imported into it, 32 bytes behind those; none if there was none.
    pub file: Option<[u8; 32]>,
}

impl OverlaySource {
    /// How much of a detail is the overlay's id and generation.
    pub const OWN_BYTES: usize = 24;

    /// As the detail of a source.
    pub fn to_detail(&self) -> Vec<u8> {
        let own = [&self.overlay.as_bytes()[..], &self.generation.to_be_bytes()].concat();
        [own, self.file.map(Vec::from).unwrap_or_default()].concat()
    }

    /// What a bundle of that kind and source commits; none if it commits no overlay.
    pub fn of(kind: BundleKind, source: &Source) -> Option<Self> {
        if kind != BundleKind::OVERLAY || source.kind != Source::OVERLAY {
            return None;
        }
        let (overlay, rest) = source.detail.split_first_chunk::<16>()?;
        let (generation, file) = rest.split_first_chunk::<8>()?;
        let file = <[u8; 32]>::try_from(file).ok();
        Some(Self { overlay: OverlayId::from_bytes(*overlay), generation: u64::from_be_bytes(*generation), file })
    }
}

impl Default for Source {
    fn default() -> Self {
        Self { kind: Self::PERSON, name: Text::new("").expect("empty text is text"), detail: Vec::new() }
    }
}

/// A module at the version that the author had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModuleVersion {
    /// The module's name.
    pub module: Text,
    /// Its semantic version.
    pub version: Text,
}

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// Format version of header and ops: [`FORMAT`].
    pub format: u16,
    /// Its id, for people and links.
    pub id: BundleId,
    /// The workspace that it belongs to, and no other (I-12).
    pub workspace: WorkspaceId,
    /// Who signed it.
    pub actor: ActorId,
    /// The clock of its first op; op `i` has `counter + i`.
    pub hlc: Hlc,
    /// The author's wall clock in milliseconds since 1970: a label for people, never an order.
    pub wall_ms: u64,
    /// The heads that it was planned on, strictly ascending.
    pub parents: Vec<Digest>,
    /// The same actor's bundle before this one.
    pub prev: Option<Digest>,
    /// What made it.
    pub kind: BundleKind,
    /// A short sentence in the imperative: "Rename Jane Doe".
    pub label: Text,
    /// Where its changes come from.
    pub source: Source,
    /// The bundles that it undoes or redoes.
    pub undoes: Vec<Digest>,
    /// The modules that the author had adopted.
    pub modules: Vec<ModuleVersion>,
    /// The id of its first op; op `i` has `op_base + i`.
    pub op_base: OpId,
    /// The number of ops.
    pub op_count: u32,
    /// BLAKE3 of the ops' checksums, in order.
    #[serde(with = "codec::fixed")]
    pub ops_digest: [u8; 32],
    /// For the future: hashed, kept, not understood.
    pub extra: Vec<u8>,
}

/// The stored and transmitted form. An op is its kind and its encoded body.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    format: u16,
    #[serde(borrow)]
    header: Bytes<'a>,
    signature: Signature,
    #[serde(borrow)]
    ops: Vec<(u16, Bytes<'a>)>,
}

impl<'a> Envelope<'a> {
    /// The envelope, and the header in it.
    fn open(bytes: &'a [u8]) -> Result<(Self, Header), Malformed> {
        let envelope: Self = codec::decode(bytes)?;
        if envelope.format != FORMAT {
            return Err(Malformed::Format(envelope.format));
        }
        let header: Header = codec::decode(envelope.header.0)?;
        header.check(envelope.ops.len())?;
        Ok((envelope, header))
    }

    fn raw_ops(&self) -> Vec<RawOp<&'a [u8]>> {
        self.ops.iter().map(|(kind, body)| RawOp { kind: *kind, body: body.0 }).collect()
    }
}

/// An op in its bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its id.
    pub id: OpId,
    /// Its clock.
    pub hlc: Hlc,
    /// What refers to it.
    pub reference: OpRef,
    /// What it says; none if this version does not know its kind (I-10).
    pub operation: Option<Operation>,
    /// Its kind's number.
    pub kind: u16,
}

/// Why bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The encoding is wrong.
    #[error("{0}")]
    Encoding(#[from] DecodeError),
    /// Another format.
    #[error("bundle format {0} is not known to this version, which knows {FORMAT}")]
    Format(u16),
    /// A limit is exceeded, or a count does not fit.
    #[error("{0}")]
    Limit(&'static str),
    /// The ops are not those that the header commits to.
    #[error("an operation was altered: the checksums do not add up to what the header says")]
    Checksum,
}

/// What a bundle says of itself, read without its ops: where there are many, much faster. Whether they are those that
/// the header commits to, only [`Bundle::parse`] tells.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Its header.
    pub header: Header,
    /// Its identity.
    pub digest: Digest,
    /// Whether this version knows the kinds of all its ops.
    pub all_known: bool,
}

impl Outline {
    /// Reads the header of a bundle's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (envelope, header) = Envelope::open(bytes)?;
        let is_known = |kind: u16| Operation::KINDS.iter().any(|(known, _)| *known == kind);
        let all_known = envelope.ops.iter().all(|(kind, _)| is_known(*kind));
        Ok(Self { header, digest: header_digest(envelope.header.0), all_known })
    }
}

/// A whole, well-formed bundle. Whether it is authentic is another question: [`Bundle::signature_holds`].
#[derive(Debug, Clone)]
pub struct Bundle {
    header: Header,
    digest: Digest,
    signature: Signature,
    ops: Vec<Op>,
    bytes: Arc<[u8]>,
}

impl Bundle {
    /// Reads a bundle and checks everything that can be checked from its bytes alone, but for the signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (envelope, header) = Envelope::open(bytes)?;
        let raw = envelope.raw_ops();
        let checksums = header.checksums(&raw);
        if digest_of(&checksums) != header.ops_digest {
            return Err(Malformed::Checksum);
        }
        let ops = raw.iter().zip(&checksums).enumerate();
        let ops = ops.map(|(i, (raw, sum))| header.op(i, raw, sum)).collect::<Result<_, _>>()?;
        let digest = header_digest(envelope.header.0);
        Ok(Self { header, digest, signature: envelope.signature, ops, bytes: bytes.into() })
    }

    /// Whether its own signature verifies, strictly. Costs about 50 µs.
    pub fn signature_holds(&self) -> bool {
        identity::verify(self.header.actor, &signed_bytes(self.digest), &self.signature)
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its identity.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says of itself, without its ops.
    pub fn outline(&self) -> Outline {
        let all_known = self.ops.iter().all(|op| op.operation.is_some());
        Outline { header: self.header.clone(), digest: self.digest, all_known }
    }

    /// Its ops, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Its bytes, as received or sealed.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The clock of its last op, or its own if it has none.
    pub fn last_hlc(&self) -> Hlc {
        self.ops.last().map_or(self.header.hlc, |op| op.hlc)
    }

    /// Parents and `prev`, each once: what must be in a log before it.
    pub fn ancestors(&self) -> impl Iterator<Item = Digest> + '_ {
        let prev = self.header.prev.filter(|prev| !self.header.parents.contains(prev));
        self.header.parents.iter().copied().chain(prev)
    }
}

impl Header {
    fn check(&self, ops: usize) -> Result<(), Malformed> {
        let limits = [
            (self.format == FORMAT, "the header is of another format than the bundle"),
            (ops <= MAX_OPS, "more than 100,000 operations"),
            (self.op_count as usize == ops, "the header counts other operations than there are"),
            (self.parents.len() <= MAX_PARENTS, "more than 1,024 parents"),
            (self.parents.windows(2).all(|pair| pair[0] < pair[1]), "the parents are not strictly ascending"),
            (self.label.as_str().len() <= MAX_LABEL_BYTES, "a label of more than 400 bytes"),
            (!self.label.as_str().chars().any(char::is_control), "control characters in the label"),
            (self.source.name.as_str().len() <= MAX_LABEL_BYTES, "a source's name of more than 400 bytes"),
            (self.source.detail.len() <= MAX_SOURCE_DETAIL_BYTES, "a source's detail of more than 256 bytes"),
            (self.extra.len() <= MAX_EXTRA_BYTES, "more than 4,096 bytes of extension"),
            (self.hlc.plus(self.op_count).is_some(), "the clock's counter overflows"),
        ];
        limits.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(Malformed::Limit(what)))
    }

    fn checksums<B: AsRef<[u8]>>(&self, ops: &[RawOp<B>]) -> Vec<[u8; 32]> {
        (0..)
            .zip(ops)
            .map(|(i, raw)| raw.checksum(self.workspace, self.actor, self.op_base.plus(i), self.op_hlc(i)))
            .collect()
    }

    fn op_hlc(&self, index: u32) -> Hlc {
        self.hlc.plus(index).unwrap_or(self.hlc)
    }

    fn op<B: AsRef<[u8]>>(&self, index: usize, raw: &RawOp<B>, checksum: &[u8; 32]) -> Result<Op, Malformed> {
        let index = u32::try_from(index).map_err(|_| Malformed::Limit("more than 100,000 operations"))?;
        Ok(Op {
            id: self.op_base.plus(index),
            hlc: self.op_hlc(index),
            reference: operation::op_ref(checksum),
            operation: Operation::from_raw(raw)?,
            kind: raw.kind,
        })
    }
}

/// Gives each op of a bundle in the making its id, clock and reference, so that a later op can refer to an earlier one.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The author.
    pub actor: ActorId,
    /// The bundle's clock.
    pub hlc: Hlc,
    /// The id of the first op.
    pub op_base: OpId,
}

impl Stamp {
    /// Op `index` of the bundle.
    pub fn op(&self, index: usize, operation: Operation) -> Op {
        self.op_and_raw(index, operation).0
    }

    /// Op `index` of the bundle, and as it will be stored.
    pub fn op_and_raw(&self, index: usize, operation: Operation) -> (Op, RawOp) {
        let offset = u32::try_from(index).unwrap_or(u32::MAX);
        let (id, hlc) = (self.op_base.plus(offset), self.hlc.plus(offset).unwrap_or(self.hlc));
        let raw = operation.to_raw();
        let reference = operation::op_ref(&raw.checksum(self.workspace, self.actor, id, hlc));
        (Op { id, hlc, reference, kind: raw.kind, operation: Some(operation) }, raw)
    }
}

/// Everything that a new bundle says, but for what follows from its ops.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Who, when and where.
    pub stamp: Stamp,
    /// Its id.
    pub id: BundleId,
    /// The author's wall clock.
    pub wall_ms: u64,
    /// The heads it was planned on, in any order.
    pub parents: Vec<Digest>,
    /// The author's bundle before.
    pub prev: Option<Digest>,
    /// What makes it.
    pub kind: BundleKind,
    /// Its label.
    pub label: Text,
    /// Its source.
    pub source: Source,
    /// What it undoes.
    pub undoes: Vec<Digest>,
    /// Its ops.
    pub ops: Vec<RawOp>,
}

impl Draft {
    /// Signs the bundle with `keys`, which must be the author's.
    pub fn seal(mut self, keys: &Keys) -> Result<Bundle, Malformed> {
        self.parents.sort_unstable();
        self.parents.dedup();
        let mut header = Header {
            format: FORMAT,
            id: self.id,
            workspace: self.stamp.workspace,
            actor: keys.actor(),
            hlc: self.stamp.hlc,
            wall_ms: self.wall_ms,
            parents: self.parents,
            prev: self.prev,
            kind: self.kind,
            label: self.label,
            source: self.source,
            undoes: self.undoes,
            modules: Vec::new(),
            op_base: self.stamp.op_base,
            op_count: u32::try_from(self.ops.len()).map_err(|_| Malformed::Limit("more than 100,000 operations"))?,
            ops_digest: [0; 32],
            extra: Vec::new(),
        };
        header.check(self.ops.len())?;
        let checksums = header.checksums(&self.ops);
        header.ops_digest = digest_of(&checksums);
        let ops = self.ops.iter().zip(&checksums).enumerate();
        let ops = ops.map(|(i, (raw, sum))| header.op(i, raw, sum)).collect::<Result<_, _>>()?;
        let header_bytes = codec::encode(&header);
        let digest = header_digest(&header_bytes);
        let signature = keys.sign(&signed_bytes(digest));
        let raw = self.ops.iter().map(|raw| (raw.kind, Bytes(&raw.body))).collect();
        let bytes = codec::encode(&Envelope { format: FORMAT, header: Bytes(&header_bytes), signature, ops: raw });
        if bytes.len() > codec::MAX_ENCODED_BYTES {
            return Err(DecodeError::TooLarge(bytes.len()).into());
        }
        Ok(Bundle { header, digest, signature, ops, bytes: bytes.into() })
    }
}

/// The digest that a bundle of these bytes would have, if they are one: found without reading its ops.
pub fn digest_in(bytes: &[u8]) -> Option<Digest> {
    // The format, the length of the header, the header.
    let (_, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some(header_digest(header))
}

fn digest_of(checksums: &[[u8; 32]]) -> [u8; 32] {
    codec::hash(OPS_DOMAIN, &[checksums.as_flattened()])
}

fn header_digest(header: &[u8]) -> Digest {
    Digest::from_bytes(codec::hash(HEADER_DOMAIN, &[header]))
}

/// What is signed: the domain, then the digest, which covers the workspace, the actor and every op.
fn signed_bytes(digest: Digest) -> Vec<u8> {
    [HEADER_DOMAIN, digest.as_bytes()].concat()
}
