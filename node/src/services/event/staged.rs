//! What a watcher is told of overlays: how they differ from what it was told last.

use std::collections::BTreeMap;
use std::sync::Arc;

use openprod_api::v1;
use openprod_messages::overlays::{End, Info, Overlay, Overlays};
use openprod_messages::watch;
use openprod_model::ids::{OverlayId, Position};

/// What was told of an overlay.
struct Known {
    info: Arc<Info>,
    generation: u64,
    touched: Option<Position>,
}

/// The overlays of a workspace, as far as a watcher was told of them.
pub(super) struct Staged {
    known: BTreeMap<OverlayId, Known>,
    changed: watch::Receiver<u64>,
}

impl From<Overlay> for Known {
    fn from(overlay: Overlay) -> Self {
        let generation = overlay.staging.head().generation;
        Self { info: overlay.info, generation, touched: overlay.touched }
    }
}

impl Staged {
    /// Knows what there is at this moment.
    pub(super) fn new(shelf: &dyn Overlays) -> Self {
        let changed = shelf.changed();
        let all = shelf.all().unwrap_or_default();
        Self { known: all.into_iter().map(|overlay| (overlay.info.id, overlay.into())).collect(), changed }
    }

    /// Ends when there may be something to tell.
    pub(super) async fn changed(&mut self) -> Result<(), watch::RecvError> {
        self.changed.changed().await
    }

    /// What happened since, for a reader who was told the log up to `told`.
    pub(super) fn events(&mut self, overlays: &dyn Overlays, told: Position) -> Vec<v1::OverlayEvent> {
        // What changes from here on wakes the watcher, so nothing is missed between looking and waiting.
        self.changed.borrow_and_update();
        // Overlays that cannot be read are no news; they will be told of again when they can.
        let Ok(all) = overlays.all() else { return Vec::new() };
        let now: BTreeMap<OverlayId, Known> =
            all.into_iter().map(|overlay| (overlay.info.id, overlay.into())).collect();
        let mut events = Vec::new();
        for (id, known) in &now {
            events.extend(happened(*id, self.known.get(id), known));
        }
        let gone: Vec<OverlayId> = self.known.keys().filter(|id| !now.contains_key(id)).copied().collect();
        let mut waiting = Vec::new();
        for id in gone {
            match ended(id, overlays.ended(id), told) {
                Some(event) => events.push(event),
                None => waiting.extend(self.known.remove_entry(&id)),
            }
        }
        self.known = now;
        self.known.extend(waiting);
        events
    }
}

fn happened(id: OverlayId, before: Option<&Known>, now: &Known) -> Vec<v1::OverlayEvent> {
    let event = |kind: v1::OverlayEventKind, revision: Option<Position>| v1::OverlayEvent {
        kind: kind.into(),
        overlay: id.to_string(),
        name: now.info.name.to_string(),
        generation: now.generation,
        revision: revision.unwrap_or_default().0,
    };
    let mut events = Vec::new();
    if before.is_none_or(|before| before.generation != now.generation || before.info != now.info) {
        events.push(event(v1::OverlayEventKind::Changed, None));
    }
    if now.touched.is_some() && before.is_none_or(|before| before.touched != now.touched) {
        events.push(event(v1::OverlayEventKind::Drifted, now.touched));
    }
    events
}

/// Nothing as long as the commit itself was not told.
fn ended(id: OverlayId, end: Option<End>, told: Position) -> Option<v1::OverlayEvent> {
    let (kind, revision) = match end {
        Some(End::Committed(at)) if at > told => return None,
        Some(End::Committed(at)) => (v1::OverlayEventKind::Committed, at),
        Some(End::Discarded) | None => (v1::OverlayEventKind::Discarded, Position::ZERO),
    };
    let overlay = id.to_string();
    Some(v1::OverlayEvent { kind: kind.into(), overlay, revision: revision.0, ..v1::OverlayEvent::default() })
}
