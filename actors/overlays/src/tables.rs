//! The overlays' file: the names of its tables, the layout of their keys and rows, and the version of all that.
//!
//! All rows are encoded by [`openprod_model::codec`].
//!
//! | table | key | row |
//! |---|---|---|
//! | `meta` | a word | `format` (u16), `workspace` (16 bytes), `place` ([`Place`]) |
//! | `overlays` | overlay | [`OverlayRow`] |
//! | `cells` | overlay, key of the cell | `Staged` |
//! | `steps` | overlay, serial | the step's label |
//! | `step_cells` | overlay, serial, key of the cell | `Option<Staged>` |
//! | `receipts` | command id | [`ReceiptRow`] |
//! | `receipts_by_time` | ms when given, command id | |

use openprod_domain::overlay::Head;
use openprod_messages::overlays::{Info, StagedReceipt};
use openprod_model::ids::{Digest, Position};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

/// The format that this version writes.
pub const FORMAT: u16 = 1;

type Id = &'static [u8; 16];
type Bytes = &'static [u8];

pub(crate) const OVERLAYS: TableDefinition<'static, Id, Bytes> = TableDefinition::new("overlays");
pub(crate) const CELLS: TableDefinition<'static, (Id, Bytes), Bytes> = TableDefinition::new("cells");
pub(crate) const STEPS: TableDefinition<'static, (Id, u64), Bytes> = TableDefinition::new("steps");
pub(crate) const STEP_CELLS: TableDefinition<'static, (Id, u64, Bytes), Bytes> = TableDefinition::new("step_cells");
pub(crate) const RECEIPTS: TableDefinition<'static, Id, Bytes> = TableDefinition::new("receipts");
pub(crate) const RECEIPTS_BY_TIME: TableDefinition<'static, (u64, Id), ()> = TableDefinition::new("receipts_by_time");

/// In `meta`: how far the log was read.
pub(crate) const META_PLACE: &str = "place";

/// How far the log was read, so that no commit is learned of twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The last position read.
    pub position: Position,
    /// The log's chain there: another log cannot be mistaken for this one.
    pub chain: Digest,
}

/// An overlay without its cells and steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRow {
    /// What it says of itself.
    pub info: Info,
    /// What changes with every change.
    pub head: Head,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// When it was given, by this node's clock: its key in `receipts_by_time`.
    pub given_ms: u64,
    /// The answer.
    pub receipt: StagedReceipt,
}
