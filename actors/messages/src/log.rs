//! Reading the log: what any room may look up without asking the oplog's actor.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::inverse::stack::{Step, Trail, Which};
use openprod_domain::view::Read;
use openprod_model::bundle::{Bundle, BundleKind, Op, Outline};
use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpRef, Position, SessionId};
use openprod_model::operation::Operation;
use serde::{Deserialize, Serialize};

/// What the log keeps beside each bundle, so that most questions need not read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The bundle's identity.
    pub digest: Digest,
    /// BLAKE3 of the chain up to here: (chain before, digest). Equal chains are equal logs in equal order.
    pub chain: Digest,
    /// Its id.
    pub id: BundleId,
    /// Its author.
    pub actor: ActorId,
    /// Its clock.
    pub hlc: Hlc,
    /// Its author's wall clock.
    pub wall_ms: u64,
    /// What made it.
    pub kind: BundleKind,
    /// The number of its ops.
    pub ops: u32,
    /// The client session that asked for it, if it was made on this node. Local; never leaves.
    pub session: Option<SessionId>,
    /// This node's clock when it was appended.
    pub appended_ms: u64,
}

impl Entry {
    /// The entry of a bundle, with the chain up to it and what only this node knows of it.
    pub fn of(bundle: &Bundle, chain: Digest, session: Option<SessionId>, appended_ms: u64) -> Self {
        let header = bundle.header();
        Self {
            digest: bundle.digest(),
            chain,
            id: header.id,
            actor: header.actor,
            hlc: header.hlc,
            wall_ms: header.wall_ms,
            kind: header.kind,
            ops: header.op_count,
            session,
            appended_ms,
        }
    }
}

/// The chain before the first bundle.
pub const CHAIN_START: Digest = Digest::from_bytes([0; 32]);

const CHAIN_DOMAIN: &[u8] = b"openprod/chain/1\0";

/// The chain behind a bundle: it commits to every bundle up to there and to their order.
pub fn chain(before: Digest, digest: Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CHAIN_DOMAIN).update(before.as_bytes()).update(digest.as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A bundle as it lies in the log.
#[derive(Debug, Clone)]
pub enum Stored {
    /// Whole. What was appended a moment ago is shared by all who read it.
    Whole(Arc<Bundle>),
    /// Its bytes no longer stand up to their checksums.
    Damaged {
        /// The bytes as they are.
        bytes: Vec<u8>,
        /// What is wrong with them.
        reason: String,
    },
}

impl Stored {
    /// What it says of itself, if it is whole.
    pub fn outline(&self) -> Option<Outline> {
        match self {
            Self::Whole(bundle) => Some(bundle.outline()),
            Self::Damaged { .. } => None,
        }
    }
}

/// The answer to a command, kept with its bundle so that a retry gets it again (I-6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The command.
    pub command: CommandId,
    /// BLAKE3 of what it asked for.
    pub payload: [u8; 32],
    /// Who asked.
    pub actor: ActorId,
    /// The encoded answer, without its revision.
    pub answer: Vec<u8>,
}

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The position of the last bundle.
    pub position: Position,
    /// The chain there.
    pub chain: Digest,
    /// The bundles that no other has as a parent.
    pub heads: Vec<Digest>,
    /// The greatest clock in the log, or used for it.
    pub hlc: Hlc,
}

/// A bundle that was not let into the log, or is no longer whole there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its number among the quarantined.
    pub number: u64,
    /// Its bytes as they came.
    pub bytes: Vec<u8>,
    /// Its digest, if it could be read, or was known.
    pub digest: Option<Digest>,
    /// Where it came from: "log position 12", a file's name, later a peer.
    pub source: String,
    /// Why it is here, for people.
    pub reason: String,
    /// This node's clock when it was put here.
    pub since_ms: u64,
    /// Whether a person silenced its alarm.
    pub skipped: bool,
    /// Whether it stands up to the checks, and waits for a person to take it: who wrote it was removed meanwhile.
    pub held: bool,
}

/// The log as undoing reads it.
pub struct LogTrail<'a>(pub &'a dyn LogReader);

impl Trail for LogTrail<'_> {
    fn steps(&self, from: Position, limit: usize) -> Read<Vec<Step>> {
        let entries = self.0.entries(from, limit)?.into_iter();
        Ok(entries.map(|(position, entry)| step(position, &entry)).collect())
    }

    fn bundle(&self, at: Position) -> Read<Option<Bundle>> {
        Ok(match self.0.bundle(at)? {
            Some(Stored::Whole(bundle)) => Some(Arc::unwrap_or_clone(bundle)),
            _ => None,
        })
    }

    fn position_of(&self, which: Which) -> Read<Option<Position>> {
        match which {
            Which::Digest(digest) => self.0.position_of(digest),
            Which::Id(id) => self.0.position_of_id(id),
        }
    }

    fn step(&self, at: Position) -> Read<Option<Step>> {
        Ok(self.0.entry(at)?.map(|entry| step(at, &entry)))
    }
}

fn step(position: Position, entry: &Entry) -> Step {
    Step { position, digest: entry.digest, id: entry.id, actor: entry.actor, kind: entry.kind }
}

/// The same, read from the bundles themselves: for logs that do not keep it at hand.
pub fn member_ops_before<L: LogReader + ?Sized>(log: &L, at: Position) -> Read<BTreeSet<OpRef>> {
    let (mut found, mut past) = (BTreeSet::new(), BTreeSet::from([at]));
    while let Some(at) = past.pop_last() {
        let Some(Stored::Whole(bundle)) = log.bundle(at)? else { continue };
        found.extend(bundle.ops().iter().filter(|op| changes_membership(op)).map(|op| op.reference));
        for ancestor in bundle.ancestors() {
            past.extend(log.position_of(ancestor)?);
        }
    }
    Ok(found)
}

fn changes_membership(op: &Op) -> bool {
    use Operation::{AdmitMember, Bootstrap, RemoveMember};
    matches!(op.operation, Some(Bootstrap { .. } | AdmitMember { .. } | RemoveMember { .. }))
}

/// A place on one of its author's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// The lane.
    pub lane: u32,
    /// The clock of the bundle there: it grows along a lane.
    pub hlc: Hlc,
    /// Where that bundle lies: positions grow along a lane too.
    pub at: Position,
}

/// An unforked stretch of an actor's bundles, each naming the one before as `prev`. An actor's first is lane 0; each
/// fork of his history begins another, numbered as this log learned of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Whose.
    pub actor: ActorId,
    /// Its number among his.
    pub number: u32,
    /// Where its first bundle lies.
    pub first: Position,
    /// What its first bundle names as `prev`, if anything.
    pub from: Option<Spot>,
    /// Its last bundle.
    pub tip: Digest,
    /// The clock of that.
    pub hlc: Hlc,
    /// Where that lies.
    pub at: Position,
}

/// A bundle's entry, where it lies, and on which of its author's lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub at: Position,
    /// What lies beside it.
    pub entry: Entry,
    /// Its lane.
    pub lane: u32,
}

impl Placed {
    /// Its place.
    pub fn spot(&self) -> Spot {
        Spot { lane: self.lane, hlc: self.entry.hlc, at: self.at }
    }
}

/// A bundle that waits for ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number among those that wait.
    pub number: u64,
    /// Its digest.
    pub digest: Digest,
    /// Where it came from.
    pub source: String,
    /// This node's clock when it came.
    pub since_ms: u64,
    /// Its ancestors that were not in the log then.
    pub missing: Vec<Digest>,
}

/// What it takes to tell another node what this one has, and to give it what it lacks.
pub trait Lanes: LogReader {
    /// Every lane there is, by actor and number.
    fn lanes(&self) -> Read<Vec<Lane>>;
    /// An actor's lanes, by number.
    fn lanes_of(&self, actor: ActorId) -> Read<Vec<Lane>>;
    /// The entries from `from` on with their lanes, at most `limit`.
    fn placed(&self, from: Position, limit: usize) -> Read<Vec<Placed>>;
    /// Where the bundles of these digests lie, in their order; none for what is not here.
    fn find(&self, digests: &[Digest]) -> Read<Vec<Option<Placed>>>;
    /// The bundles at these positions, in their order: as many as fit into about `bytes` bytes, but at least one.
    fn select(&self, at: &[Position], bytes: usize) -> Read<Vec<(Position, Stored)>>;
    /// The bundles that wait for ancestors, numbered from `from` on, at most `limit`.
    fn waiting(&self, from: u64, limit: usize) -> Read<Vec<Waiting>>;
    /// The digests of bundles that lie damaged in the log, at most `limit`.
    fn damaged(&self, limit: usize) -> Read<Vec<Digest>>;
}

/// Reads the log. Each call sees one consistent state of it, at least as new as every acknowledged append.
pub trait LogReader: Send + Sync {
    /// The end.
    fn tail(&self) -> Read<Tail>;
    /// The entry at a position.
    fn entry(&self, at: Position) -> Read<Option<Entry>>;
    /// The entries from `from` on, at most `limit`.
    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>>;
    /// The bundle at a position.
    fn bundle(&self, at: Position) -> Read<Option<Stored>>;
    /// What the bundle at a position says of itself; none if that cannot be read. Its ops are not looked at.
    fn outline(&self, at: Position) -> Read<Option<Outline>> {
        Ok(self.bundle(at)?.and_then(|stored| stored.outline()))
    }
    /// The bundles from `from` on, at most `limit` of them or about `bytes` bytes, but at least one if there is one.
    fn bundles(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>>;
    /// The same as it lies on the disk, for who makes sure of that: nothing that is kept in memory is given for it.
    fn bundles_on_disk(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        self.bundles(from, limit, bytes)
    }
    /// Where the bundle of that digest lies.
    fn position_of(&self, digest: Digest) -> Read<Option<Position>>;
    /// Where the bundle of that id lies; the first, should several claim it.
    fn position_of_id(&self, id: BundleId) -> Read<Option<Position>>;
    /// An actor's last bundle: the greatest tip of its chain.
    fn prev_of(&self, actor: ActorId) -> Read<Option<Digest>>;
    /// The ops that admitted and removed members, in the past of the bundle at a position and in itself.
    fn member_ops_known(&self, at: Position) -> Read<BTreeSet<OpRef>> {
        member_ops_before(self, at)
    }
    /// The answer that was given to a command, and its revision.
    fn receipt(&self, command: CommandId) -> Read<Option<(Position, Receipt)>>;
    /// The quarantined bundles numbered from `from` on, at most `limit`.
    fn quarantined(&self, from: u64, limit: usize) -> Read<Vec<Quarantined>>;
    /// How many quarantined bundles nobody has skipped.
    fn quarantine_alarms(&self) -> Read<u64>;
    /// The bytes that the log takes on disk, as far as known.
    fn bytes_on_disk(&self) -> u64;
}
