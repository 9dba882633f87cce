//! What the tests need of the world: authors who write bundles.

use std::sync::atomic::{AtomicU64, Ordering};

use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, Digest, EntityId, OpId, OpRef, WorkspaceId};
use openprod_model::operation::{Basis, FacetAt, FieldAt, Operation, RawOp};
use openprod_model::value::{Name, Text, Value};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([9; 16]);

/// Somebody who writes bundles.
pub(crate) struct Author {
    keys: Keys,
    bundles: AtomicU64,
}

impl Author {
    pub(crate) fn new(seed: u8) -> Self {
        Self { keys: Keys::from_seed(&[seed; 32]), bundles: AtomicU64::new(0) }
    }

    pub(crate) fn actor(&self) -> ActorId {
        self.keys.actor()
    }

    pub(crate) fn writes(&self, parents: Vec<Digest>, ms: u64, ops: &[Operation]) -> Bundle {
        self.writes_raw(parents, ms, ops.iter().map(Operation::to_raw).collect())
    }

    pub(crate) fn writes_raw(&self, parents: Vec<Digest>, ms: u64, ops: Vec<RawOp>) -> Bundle {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        self.seals(number, "Test", parents, ms, ops)
    }

    /// Another bundle with the same ops at the same clock, as only a broken or malicious author makes.
    pub(crate) fn writes_the_ops_of(&self, bundle: &Bundle) -> Bundle {
        let number = self.bundles.load(Ordering::Relaxed) - 1;
        let ops = bundle.ops().iter().map(|op| op.operation.as_ref().unwrap().to_raw()).collect();
        self.seals(number, "Again", Vec::new(), bundle.header().hlc.ms, ops)
    }

    fn seals(&self, number: u64, label: &str, parents: Vec<Digest>, ms: u64, ops: Vec<RawOp>) -> Bundle {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.keys.actor().as_bytes()[..8]);
        id[8..12].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        let hlc = Hlc { ms, counter: 0 };
        let stamp = Stamp { workspace: WORKSPACE, actor: self.actor(), hlc, op_base: OpId::from_bytes(id) };
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(id),
            wall_ms: ms,
            parents,
            prev: None,
            kind: BundleKind::EDIT,
            label: Text::new(label).unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops,
        };
        draft.seal(&self.keys).unwrap()
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn entity(number: u64) -> EntityId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    EntityId::from_bytes(bytes)
}

pub(crate) fn knowing(preds: Vec<OpRef>) -> Basis {
    Basis { preds, restores: None, decision: false }
}

pub(crate) fn set(number: u64, field: &str, value: &str, preds: Vec<OpRef>) -> Operation {
    let at = FieldAt { entity: entity(number), table: name("cues"), field: name(field), basis: knowing(preds) };
    Operation::SetField { at: vec![at], value: Value::text(value).unwrap() }
}

pub(crate) fn attach(number: u64) -> Operation {
    let at = FacetAt { entity: entity(number), table: name("cues"), basis: Basis::default() };
    Operation::AttachFacet { at: vec![at] }
}
