//! Conflicts at hand: which cells are in conflict, kept ready by the conflicts room, read without asking it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::watch;
use openprod_domain::cell::Cell;
use openprod_domain::view::ReadFailure;
use openprod_model::ids::Position;

/// The cells in conflict, as far as the room has followed the log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Everything up to here is counted in; what the state has folded since may be, too. Nothing at all is at hand
    /// at zero, as long as the room has not looked yet.
    pub position: Position,
    /// The cells, each the first of those that read as one with it, in order.
    ///
    /// Whoever reads a later revision looks again at what the bundles in between reach
    /// ([`reach`](openprod_domain::conflict::reach)); then the two together are exact.
    pub cells: Arc<BTreeSet<Cell>>,
}

/// Gives the cells in conflict.
pub trait Conflicts: Send + Sync {
    /// The newest that is known, and word when there is newer.
    fn standing(&self) -> watch::Receiver<Standing>;
}

/// Messages to the conflicts room.
pub enum ConflictsMsg {
    /// The state has folded more. A hint: the room reads on from its own position.
    Folded,
    /// A piece of the log was followed. Said by the room's own worker only.
    Followed {
        /// Why not, if it could not be.
        result: Result<(), ReadFailure>,
    },
    /// The pause after a failure is over. Said by the room's own timer only.
    TryAgain,
}
