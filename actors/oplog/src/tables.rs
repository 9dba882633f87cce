//! The log's file: the names of its tables, the layout of their keys and rows, and how old formats become new ones.
//!
//! All rows are encoded by [`openprod_model::codec`], but for the bytes of bundles, which lie there as they came.
//!
//! | table | key | row |
//! |---|---|---|
//! | `meta` | a word | `format` (u16), `workspace` (16 bytes), `end` ([`End`]), `quarantined_bytes`, `waiting_bytes` (u64) |
//! | `bundles` | position | the bundle's bytes |
//! | `entries` | position | `EntryRow` |
//! | `digests` | digest | position |
//! | `ids` | bundle id, position | |
//! | `lanes` | actor, digest | `LaneRow`: the lane of the actor's chain that ends with that bundle |
//! | `heads` | digest | |
//! | `receipts` | command id | `ReceiptRow` |
//! | `receipts_by_time` | ms when appended, command id | |
//! | `quarantine` | number | [`QuarantineRow`] |
//! | `quarantine_bytes` | number | the bytes as they came |
//! | `quarantine_marks` | BLAKE3 of those bytes | number |
//! | `quarantine_digests` | digest, number | |
//! | `waiting` | number | [`WaitingRow`] |
//! | `waiting_bytes` | number | the bytes as they came |
//! | `waiting_digests` | digest, number | |
//! | `waiting_for` | digest of an ancestor that was missing, number | |
//! | `member_ops` | op reference | [`crate::logic::members::MemberOp`] |
//! | `member_sets` | set id | the references in it, ascending |

use openprod_messages::log::{Entry, Receipt, Spot};
use openprod_model::clock::Hlc;
use openprod_model::ids::{Digest, Position};
use redb::{TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::logic::members::SetId;

pub(crate) mod held;
pub(crate) mod lanes;

/// The format that this version writes: the number of its last migration.
pub const FORMAT: u16 = 3;

pub(crate) type ByWord = TableDefinition<'static, &'static str, &'static [u8]>;
pub(crate) type ByNumber = TableDefinition<'static, u64, &'static [u8]>;
pub(crate) type Bytes16 = &'static [u8; 16];
pub(crate) type Bytes32 = &'static [u8; 32];

pub(crate) const META: ByWord = TableDefinition::new("meta");
pub(crate) const BUNDLES: ByNumber = TableDefinition::new("bundles");
pub(crate) const ENTRIES: ByNumber = TableDefinition::new("entries");
pub(crate) const DIGESTS: TableDefinition<'static, Bytes32, u64> = TableDefinition::new("digests");
pub(crate) const IDS: TableDefinition<'static, (Bytes16, u64), ()> = TableDefinition::new("ids");
pub(crate) const LANES: TableDefinition<'static, (Bytes32, Bytes32), &'static [u8]> = TableDefinition::new("lanes");
pub(crate) const HEADS: TableDefinition<'static, Bytes32, ()> = TableDefinition::new("heads");
pub(crate) const RECEIPTS: TableDefinition<'static, Bytes16, &'static [u8]> = TableDefinition::new("receipts");
pub(crate) const RECEIPTS_BY_TIME: TableDefinition<'static, (u64, Bytes16), ()> =
    TableDefinition::new("receipts_by_time");
pub(crate) const QUARANTINE: ByNumber = TableDefinition::new("quarantine");
pub(crate) const QUARANTINE_BYTES: ByNumber = TableDefinition::new("quarantine_bytes");
pub(crate) const QUARANTINE_MARKS: TableDefinition<'static, Bytes32, u64> = TableDefinition::new("quarantine_marks");
pub(crate) const QUARANTINE_DIGESTS: TableDefinition<'static, (Bytes32, u64), ()> =
    TableDefinition::new("quarantine_digests");
pub(crate) const WAITING: ByNumber = TableDefinition::new("waiting");
pub(crate) const WAITING_BYTES: ByNumber = TableDefinition::new("waiting_bytes");
pub(crate) const WAITING_DIGESTS: TableDefinition<'static, (Bytes32, u64), ()> =
    TableDefinition::new("waiting_digests");
pub(crate) const WAITING_FOR: TableDefinition<'static, (Bytes32, u64), ()> = TableDefinition::new("waiting_for");
pub(crate) const MEMBER_OPS: TableDefinition<'static, Bytes16, &'static [u8]> = TableDefinition::new("member_ops");
pub(crate) const MEMBER_SETS: TableDefinition<'static, Bytes32, &'static [u8]> = TableDefinition::new("member_sets");

/// In `meta`: the format, a little-endian u16.
pub(crate) const META_FORMAT: &str = "format";
/// In `meta`: the workspace that the log belongs to.
pub(crate) const META_WORKSPACE: &str = "workspace";
/// In `meta`: how many bytes are quarantined, a little-endian u64.
pub(crate) const META_QUARANTINED: &str = "quarantined_bytes";
/// In `meta`: how many bytes wait for ancestors, a little-endian u64.
pub(crate) const META_WAITING: &str = "waiting_bytes";
/// In `meta`: the end of the log.
pub(crate) const META_END: &str = "end";

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The position of the last bundle.
    pub position: Position,
    /// The chain there.
    pub chain: Digest,
    /// The greatest clock of any op in the log.
    pub hlc: Hlc,
    /// The number of the next bundle to be quarantined.
    pub next_quarantine: u64,
    /// The number of the next bundle that will wait for an ancestor.
    pub next_waiting: u64,
}

impl End {
    /// The end of a log without bundles.
    pub const EMPTY: Self = Self {
        position: Position::ZERO,
        chain: Digest::from_bytes([0; 32]),
        hlc: Hlc::ZERO,
        next_quarantine: 1,
        next_waiting: 1,
    };
}

/// What lies beside a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    /// What readers are told.
    pub(crate) entry: Entry,
    /// The member ops in the bundle's past and in itself.
    pub(crate) members: SetId,
    /// Which of its author's lanes it lies on.
    pub(crate) lane: u32,
}

/// A lane of an actor's chain, as it lies with the digest of its tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRow {
    /// Its number among the actor's.
    pub number: u32,
    /// Where its first bundle lies.
    pub first: Position,
    /// What its first bundle names as `prev`, if anything.
    pub from: Option<Spot>,
    /// The clock of its tip.
    pub hlc: Hlc,
    /// Where its tip lies.
    pub at: Position,
}

impl LaneRow {
    /// The place of its tip.
    pub fn spot(&self) -> Spot {
        Spot { lane: self.number, hlc: self.hlc, at: self.at }
    }
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptRow {
    /// Where its bundle lies.
    pub(crate) position: Position,
    /// When it was appended, by this node's clock: its key in `receipts_by_time`.
    pub(crate) appended_ms: u64,
    /// The answer.
    pub(crate) receipt: Receipt,
}

/// What is known of a quarantined bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// Its digest, where known.
    pub digest: Option<Digest>,
    /// Where it came from.
    pub source: String,
    /// Why it is here.
    pub reason: String,
    /// Since when, by this node's clock.
    pub since_ms: u64,
    /// Whether its alarm was silenced.
    pub skipped: bool,
    /// Where in the log it lies damaged, if it does.
    pub at: Option<Position>,
    /// BLAKE3 of its bytes.
    pub mark: [u8; 32],
    /// Whether it stands up to the checks and waits for a person to take it.
    pub held: bool,
}

/// What is known of a bundle that waits for ancestors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// Its digest.
    pub digest: Digest,
    /// Where it came from.
    pub source: String,
    /// Since when, by this node's clock.
    pub since_ms: u64,
    /// Its ancestors that were not here.
    pub missing: Vec<Digest>,
}

/// A step from one format to the next.
pub(crate) struct Migration {
    /// The format that it makes.
    pub(crate) to: u16,
    /// What it does, for people.
    pub(crate) what: &'static str,
    /// Does it.
    pub(crate) run: fn(&WriteTransaction) -> Result<(), redb::Error>,
}

/// Every step there ever was, in order. A new log takes them all.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { to: 1, what: "make the tables", run: make_tables },
    Migration { to: 2, what: "note the lane of each bundle, and make room for bundles that wait", run: lanes::note },
    Migration { to: 3, what: "tell what waits for a person from what does not stand", run: held::tell_apart },
];

fn make_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(META)?;
    txn.open_table(BUNDLES)?;
    txn.open_table(ENTRIES)?;
    txn.open_table(DIGESTS)?;
    txn.open_table(IDS)?;
    txn.open_table(lanes::CHAINS)?;
    txn.open_table(HEADS)?;
    txn.open_table(RECEIPTS)?;
    txn.open_table(RECEIPTS_BY_TIME)?;
    txn.open_table(QUARANTINE)?;
    txn.open_table(QUARANTINE_BYTES)?;
    txn.open_table(QUARANTINE_MARKS)?;
    txn.open_table(QUARANTINE_DIGESTS)?;
    txn.open_table(MEMBER_OPS)?;
    txn.open_table(MEMBER_SETS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_count_up_to_the_format_without_gaps() {
        let numbers: Vec<u16> = MIGRATIONS.iter().map(|step| step.to).collect();
        assert_eq!(numbers, (1..=FORMAT).collect::<Vec<_>>());
    }
}
