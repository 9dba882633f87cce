//! Following the log: which overlays were committed, and which cells others have written too.

use openprod_domain::cell::Cell;
use openprod_domain::fold;
use openprod_domain::overlay::Staging;
use openprod_domain::unions::Unions;
use openprod_messages::log::{Entry, Stored};
use openprod_messages::overlays::{End, Overlay};
use openprod_model::bundle::{Bundle, BundleKind, OverlaySource};
use openprod_model::ids::{OpRef, OverlayId, Position};

use crate::shelf::{Shelf, row};
use crate::store::{Change, Fault};
use crate::tables::Place;

/// How much of the log is read at a time.
const CHUNK_ENTRIES: usize = 1_024;
/// Reading on is written down this often, so that a start need not read much again.
const WRITE_PLACE_EVERY: u64 = 4_096;

/// How far following came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// To the end of the log.
    Whole,
    /// Not so far: the log could not be read, or something not written down.
    InPart,
}

impl Shelf {
    /// Reads the log on from where it was left.
    pub fn follow(&self) -> Followed {
        match self.try_follow() {
            Ok(()) => Followed::Whole,
            Err(fault) => {
                tracing::warn!(%fault, "the overlays could not follow the log");
                Followed::InPart
            }
        }
    }

    fn try_follow(&self) -> Result<(), Fault> {
        if self.is_down() {
            // Whoever asks for an overlay next has them read, and followed, again.
            return Ok(());
        }
        self.find_place()?;
        loop {
            let from = self.place().position.next();
            let entries = self.log.entries(from, CHUNK_ENTRIES).map_err(|failure| fault(&failure))?;
            if entries.is_empty() {
                return Ok(());
            }
            for (at, entry) in entries {
                self.learn(at, &entry)?;
            }
        }
    }

    /// A log that is not the one which was read so far, or one that was never read.
    fn find_place(&self) -> Result<(), Fault> {
        let place = self.place();
        let entry = self.log.entry(place.position).map_err(|failure| fault(&failure))?;
        if place.position == Position::ZERO || entry.is_some_and(|entry| entry.chain == place.chain) {
            return Ok(());
        }
        tracing::warn!("the log is not the one that overlays have followed; it is read from its beginning");
        self.reach(Place { position: Position::ZERO, ..place });
        Ok(())
    }

    fn learn(&self, at: Position, entry: &Entry) -> Result<(), Fault> {
        let place = Place { position: at, chain: entry.chain };
        let overlays = self.overlays();
        if overlays.iter().any(|overlay| !overlay.staging.is_empty()) || entry.kind == BundleKind::OVERLAY {
            let stored = self.log.bundle(at).map_err(|failure| fault(&failure))?;
            if let Some(Stored::Whole(bundle)) = stored {
                self.learn_of(&bundle, place, &overlays)?;
            }
        }
        self.reach(place);
        if at.0.is_multiple_of(WRITE_PLACE_EVERY) && !overlays.is_empty() {
            self.store.write(&[Change::Read(place)])?;
        }
        Ok(())
    }

    fn learn_of(&self, bundle: &Bundle, place: Place, overlays: &[Overlay]) -> Result<(), Fault> {
        let source = OverlaySource::of(bundle.header().kind, &bundle.header().source);
        if let Some(source) = &source {
            match overlays.iter().find(|overlay| overlay.info.id == source.overlay) {
                Some(overlay) => self.committed(overlay, source.generation, bundle, place)?,
                None if self.is_ending(source.overlay) => self.drop_for_good(source.overlay, place)?,
                None => {}
            }
        }
        let unions = self.unions();
        let cells: Vec<(Cell, OpRef)> = written(bundle).collect();
        for overlay in overlays.iter().filter(|one| source.as_ref().is_none_or(|by| by.overlay != one.info.id)) {
            if cells.iter().any(|(cell, op)| touches(&overlay.staging, &unions, cell, *op)) {
                self.touch(overlay.info.id, place.position);
            }
        }
        Ok(())
    }

    /// What the log holds, the overlay need not keep. What was staged after the commit was planned stays.
    fn committed(&self, overlay: &Overlay, generation: u64, bundle: &Bundle, place: Place) -> Result<(), Fault> {
        fail::fail_point!("overlays-before-drop");
        let delta = overlay.staging.committed(generation, bundle.ops());
        let id = overlay.info.id;
        if delta.cells.iter().all(|(_, staged)| staged.is_none()) {
            // Nobody shall see it any more, however long the disk takes to forget it.
            self.end(id, End::Committed(place.position));
            self.drop_for_good(id, place)?;
        } else {
            let row = row(&overlay.info, delta.head);
            self.store.write(&[row, Change::Staged(id, Box::new(delta.clone())), Change::Read(place)])?;
            self.apply(id, &delta);
        }
        tracing::info!(overlay = %id, revision = %place.position, "an overlay was committed");
        Ok(())
    }

    fn drop_for_good(&self, id: OverlayId, place: Place) -> Result<(), Fault> {
        self.store.write(&[Change::End(id), Change::Read(place)])?;
        self.has_ended(id);
        Ok(())
    }
}

/// Every cell that a bundle writes, with the op that does.
fn written(bundle: &Bundle) -> impl Iterator<Item = (Cell, OpRef)> {
    bundle.ops().iter().flat_map(|op| {
        let writes = op.operation.iter().flat_map(fold::writes);
        writes.map(|write| (write.cell, op.reference)).collect::<Vec<_>>()
    })
}

/// Whether an overlay writes the cell, or one that reads as one with it, and does not know that write.
fn touches(staging: &Staging, unions: &Unions, cell: &Cell, op: OpRef) -> bool {
    // What is merged or mapped now may bring cells together that were not.
    if matches!(cell, Cell::Merge { .. } | Cell::Mapping { .. }) {
        return true;
    }
    let united = unions.cells(cell);
    let staged: Vec<_> = united.iter().filter_map(|cell| staging.cell(cell)).collect();
    !staged.is_empty() && !staged.iter().any(|staged| staged.knows(&op))
}

fn fault(error: &impl ToString) -> Fault {
    Fault { reason: error.to_string(), full: false }
}
