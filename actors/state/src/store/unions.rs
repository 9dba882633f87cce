//! The unions of the newest snapshots, kept between them: most pieces of the log merge and map nothing.

use std::sync::{Arc, Mutex};

use openprod_domain::cell::Cell;
use openprod_domain::unions::Unions;
use openprod_model::ids::Position;

use super::lock;
use crate::fold::Piece;

/// See the module. As old as the open file that it is about.
pub(super) struct UnionsAtHand(Mutex<Kept>);

struct Kept {
    /// Since this position, nothing has changed that unions depend on.
    since: Position,
    unions: Option<Arc<Unions>>,
}

impl UnionsAtHand {
    /// Of a file that is folded this far: what was before is not known.
    pub(super) fn from(position: Position) -> Self {
        Self(Mutex::new(Kept { since: position, unions: None }))
    }

    /// Hears of a piece before anybody can read it.
    pub(super) fn hear(&self, piece: &Piece) {
        let changes = |cell: &Cell| matches!(cell, Cell::Merge { .. } | Cell::Mapping { .. } | Cell::Column { .. });
        if piece.cells.values().any(|touched| changes(&touched.cell)) {
            *lock(&self.0) = Kept { since: piece.cursor.position, unions: None };
        }
    }

    /// Those at a position, if they are at hand.
    pub(super) fn at(&self, position: Position) -> Option<Arc<Unions>> {
        let kept = lock(&self.0);
        kept.unions.clone().filter(|_| position >= kept.since)
    }

    /// Whether those at a position are still those of today.
    pub(super) fn are_current(&self, position: Position) -> bool {
        position >= lock(&self.0).since
    }

    /// Keeps those that a snapshot at `position` has read.
    pub(super) fn keep(&self, position: Position, unions: &Arc<Unions>) {
        let mut kept = lock(&self.0);
        if position >= kept.since {
            kept.unions = Some(Arc::clone(unions));
        }
    }
}
