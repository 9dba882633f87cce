//! The service against a room whose state lags behind the log.

use openprod_domain::decide::NoBase;
use openprod_domain::view::Empty;
use openprod_messages::overlays::Overlays as _;
use openprod_messages::testing::{MemoryLog, MemoryState};
use openprod_messages::watch;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, CommandId, EntityId, OpId, OverlayId, WorkspaceId};
use openprod_model::operation::{Basis, FieldAt, Operation};
use openprod_model::value::{Name, Text, Value};
use openprod_overlays::actor::{Overlays, OverlaysArgs};
use openprod_overlays::shelf::Shelf;
use openprod_overlays::store::FileStore;
use ractor::Actor;

use super::*;

const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

fn said(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn sets_label(to: &str) -> Operation {
    let (table, field) = (Name::new("cues").unwrap(), Name::new("label").unwrap());
    let at = vec![FieldAt { entity: EntityId::from_bytes([1; 16]), table, field, basis: Basis::default() }];
    Operation::SetField { at, value: Value::text(to).unwrap() }
}

fn stamp(number: u64) -> Stamp {
    let (actor, hlc) = (Keys::from_seed(&[1; 32]).actor(), Hlc { ms: number, counter: 0 });
    Stamp { workspace: WORKSPACE, actor, hlc, op_base: OpId::new(number, [0; 10]) }
}

/// What somebody else writes, without a word to the overlay.
fn theirs() -> Bundle {
    let draft = Draft {
        stamp: stamp(2),
        id: BundleId::from_bytes([1; 16]),
        wall_ms: 0,
        parents: Vec::new(),
        prev: None,
        kind: BundleKind::EDIT,
        label: said("Set label"),
        source: Source::default(),
        undoes: Vec::new(),
        ops: vec![sets_label("Theirs").to_raw()],
    };
    draft.seal(&Keys::from_seed(&[1; 32])).unwrap()
}

/// A room whose log is ahead of its state.
struct Lagging {
    log: Arc<MemoryLog>,
    state: Arc<MemoryState>,
    shelf: Arc<Shelf>,
    address: Address<OverlaysMsg>,
    appended: watch::Sender<Position>,
}

impl Lagging {
    async fn begins() -> Self {
        let (log, state) = (Arc::<MemoryLog>::default(), Arc::<MemoryState>::default());
        let (env, store) = (crate::environment::real(), Box::new(FileStore::in_memory(WORKSPACE)));
        let shelf = Arc::new(Shelf::new(store, log.clone(), state.clone(), env.clone()));
        let (appended, seen) = watch::channel(Position::ZERO);
        let args = OverlaysArgs { shelf: Arc::clone(&shelf), env, appended: seen };
        let address = Address::of("overlays room");
        address.moved_to(Actor::spawn(None, Overlays, args).await.unwrap().0);
        Self { log, state, shelf, address, appended }
    }

    async fn does(&self, number: u8, action: Action) -> Result<Done, Status> {
        let asked = Command { command: CommandId::from_bytes([number; 16]), payload: [number; 32] };
        Room { address: &self.address, log: &*self.log, snapshots: &*self.state }.does(action, asked).await
    }

    /// Makes an overlay in which a label is staged.
    async fn stages(&self) -> OverlayId {
        let create = Action::Create { name: said("draft"), label: None, source: Source::default() };
        let overlay = self.does(1, create).await.unwrap().overlay;
        let (staging, op) = (self.shelf.overlay(overlay).unwrap().staging, stamp(1).op(0, sets_label("Mine")));
        let delta = Box::new(staging.stage(&Empty, &NoBase, &[op], &said("Set label")).unwrap());
        let stage = Action::Stage { overlay, delta, created: Vec::new(), opened: Vec::new() };
        self.does(2, stage).await.unwrap();
        overlay
    }

    /// Somebody else writes the same label, of which the room hears.
    async fn drifts(&self, theirs: &Bundle) {
        self.log.append(theirs);
        self.appended.send_replace(self.log.end());
        self.shelf.followed().wait_for(|followed| *followed == self.log.end()).await.unwrap();
    }
}

#[tokio::test]
async fn what_has_drifted_is_decided_on_a_state_that_shows_it() {
    let keep_mine: fn(OverlayId) -> Action = |overlay| Action::KeepMine { overlay, which: Which::All, base: None };
    let use_canonical = |overlay| Action::UseCanonical { overlay, which: Which::All };
    for decide in [keep_mine, use_canonical] {
        let (room, theirs) = (Lagging::begins().await, theirs());
        let overlay = room.stages().await;
        room.drifts(&theirs).await;
        assert!(room.shelf.overlay(overlay).unwrap().touched.is_some(), "whoever watches is told");
        let mut decided = Box::pin(room.does(3, decide(overlay)));
        assert!(futures::poll!(&mut decided).is_pending());
        // Had the room been asked at once, it would have answered before this.
        room.does(4, Action::Rename { overlay, name: said("final") }).await.unwrap();
        room.state.fold(&theirs, Position(1));
        assert!(decided.await.unwrap().generation > 1);
    }
}
