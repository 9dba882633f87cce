//! Following: from the cells in conflict at one position to those at a later one.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::conflict;
use openprod_domain::view::Read;
use openprod_messages::conflicts::Standing;
use openprod_messages::log::{LogReader, Stored};
use openprod_messages::snapshot::Snapshot;
use openprod_model::ids::Position;

/// How much of the log is followed at a time.
const PIECE_BUNDLES: usize = 256;
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// What stands at a snapshot, found without knowing anything.
pub(crate) fn from_scratch(snapshot: &dyn Snapshot) -> Read<Standing> {
    let conflicts = conflict::all(snapshot.view())?;
    let cells = conflicts.into_iter().map(|conflict| conflict.cell).collect();
    Ok(Standing { position: snapshot.position(), cells: Arc::new(cells) })
}

/// What stands some bundles behind `before`, as the snapshot, which is not older, shows it.
pub(crate) fn further(before: Standing, snapshot: &dyn Snapshot, log: &dyn LogReader) -> Read<Standing> {
    let (mut position, mut cells) = (before.position, before.cells);
    let (mut written, mut is_everything_told) = (BTreeSet::new(), true);
    for (at, _, stored) in log.bundles(position.next(), PIECE_BUNDLES, PIECE_BYTES)? {
        if at > snapshot.position() {
            break;
        }
        position = at;
        match stored {
            Stored::Whole(bundle) => written.extend(conflict::written_by(&bundle)),
            // What the state had folded before the damage is in its cells, and nothing here tells which.
            Stored::Damaged { .. } => is_everything_told = false,
        }
    }
    // A log that holds nothing behind a position that the state has passed is not the one that was followed.
    is_everything_told &= position > before.position;
    if !is_everything_told {
        return from_scratch(snapshot);
    }
    conflict::keep_up(snapshot.view(), &mut cells, &written)?;
    Ok(Standing { position, cells })
}

/// Whether what is known belongs to this log as the state shows it now, and can be followed from there.
pub(crate) fn goes_on(known: &Standing, now: Position) -> bool {
    known.position != Position::ZERO && known.position <= now
}
