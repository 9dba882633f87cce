//! The conflicts room: it keeps at hand which cells are in conflict, so that nobody searches a whole workspace for them.
//!
//! What a conflict is, `domain::conflict` says; this room only remembers where there is one. It begins with the cells
//! that the state's index suspects, and then follows the log behind the state: what a bundle writes, and what that
//! reaches, is looked at again. After a bundle that merges records or maps columns it looks at all suspects again, for
//! these change what reads as one.
//!
//! Its memory is a [`Board`], which outlives it and is read without asking the room; so readers never queue. It
//! speaks to nobody, folds nothing and writes nothing. It may be killed at any time: readers keep what the board says,
//! which stays right for its position, and a new incarnation begins with the suspects.
//!
//! Reading order: [`actor`], then `follow` (from one position to the next), [`Board`].

use openprod_messages::conflicts::{Conflicts, Standing};
use openprod_messages::watch;

pub mod actor;
mod follow;
#[cfg(test)]
mod tests;

/// What the room knows, for everybody to read.
#[derive(Debug, Default)]
pub struct Board(watch::Sender<Standing>);

impl Board {
    fn says(&self) -> Standing {
        self.0.borrow().clone()
    }

    fn put(&self, standing: Standing) {
        self.0.send_replace(standing);
    }
}

impl Conflicts for Board {
    fn standing(&self) -> watch::Receiver<Standing> {
        self.0.subscribe()
    }
}
