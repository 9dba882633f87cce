//! Every kind of operation has an inverse, or stands in the list of those that have none, with the reason.

use openprod_domain::inverse::Turn;
use openprod_domain::inverse::obstacle::NEVER_UNDONE;
use openprod_domain::inverse::stack::{Scope, Which};
use openprod_model::bundle::BundleKind;
use openprod_model::ids::{ActorId, BlobHash, EdgeId, EntityId};
use openprod_model::operation::{
    Basis, ColumnAt, ColumnRef, EdgeEnds, FacetAt, FieldAt, MappingAt, Operation, PairAt, PositionAt,
};
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{FieldRef, FieldType, Text};

use crate::kit::{Replica, name, text};

const ENTITY: EntityId = EntityId::from_bytes([1; 16]);
const OTHER: EntityId = EntityId::from_bytes([2; 16]);
const EDGE: EdgeId = EdgeId::from_bytes([3; 16]);

/// The kinds whose inverse is a law of its own, not of this test.
const MERGING: [u16; 2] = [8, 9];

/// An op of that kind that stands on nothing.
fn sample(kind: u16) -> Operation {
    let basis = Basis::default();
    let facet = || vec![FacetAt { entity: ENTITY, table: name("cues"), basis: Basis::default() }];
    let field = || vec![FieldAt { entity: ENTITY, table: name("cues"), field: name("label"), basis: Basis::default() }];
    let ends = EdgeEnds { edge_type: name("in"), source: ENTITY, target: OTHER };
    let place = || PositionAt { edge: EDGE, position: vec![128], basis: Basis::default() };
    let pair = || vec![PairAt { one: ENTITY, other: OTHER, basis: Basis::default() }];
    let column = |column: &str| ColumnRef { table: name("cues"), column: name(column) };
    let mapping = || MappingAt { one: column("label"), other: column("notes"), basis: Basis::default() };
    let member = ActorId::from_bytes([7; 32]);
    let hash = BlobHash::from_bytes([8; 32]);
    let columns = vec![ColumnAt {
        column: name("page"),
        spec: ColumnSpec {
            name: name("page"),
            field_type: FieldType::Text,
            required: false,
            default: None,
            order: 9,
            hidden: false,
        },
        basis: Basis::default(),
    }];
    let spec = || TableSpec { name: name("props"), description: Text::new("").unwrap() };
    match kind {
        1 => Operation::Bootstrap {
            name: Text::new("Show").unwrap(),
            founder: member,
            founder_name: Text::new("Ann").unwrap(),
            recovery: None,
        },
        2 => Operation::AttachFacet { at: facet() },
        3 => Operation::DetachFacet { at: facet(), seen: Vec::new() },
        4 => Operation::DeleteEntity { at: facet(), seen: Vec::new() },
        5 => Operation::SetField { at: field(), value: text("Dawn") },
        6 => Operation::ClearField { at: field() },
        7 => Operation::SetFieldReference {
            at: field(),
            target: FieldRef { entity: OTHER, table: name("cues"), field: name("label") },
        },
        8 => Operation::ApplyCrdt { at: field(), update: vec![0, 0] },
        9 => Operation::ClearAndAdd { at: field(), update: vec![0, 0] },
        10 => Operation::CreateEdge { edge: EDGE, ends, basis },
        11 => Operation::CreateOrderedEdge {
            edge: EDGE,
            ends,
            basis,
            position: vec![128],
            position_basis: Basis::default(),
        },
        12 => Operation::DeleteEdge { edge: EDGE, basis, seen: Vec::new() },
        13 => Operation::SetEdgeProperty { edge: EDGE, property: name("p"), value: text("x"), basis },
        14 => Operation::ClearEdgeProperty { edge: EDGE, property: name("p"), basis },
        15 => Operation::MoveOrderedEdge { to: place() },
        16 => Operation::RebalanceOrderedEdges { to: vec![place()] },
        20 => Operation::CreateTable { table: name("props"), spec: spec(), basis, columns },
        21 => Operation::AlterTable { table: name("cues"), spec: None, columns },
        22 => Operation::DropTable { table: name("props"), basis },
        30 => Operation::PutSetting { setting: name("s"), value: Some(text("x")), basis },
        40 => Operation::AdmitMember { member, basis },
        41 => Operation::RemoveMember { member, why: Text::new("").unwrap(), basis },
        42 => Operation::NameActor { actor: member, name: Text::new("Ann").unwrap(), basis },
        50 => Operation::MergeEntities { at: pair() },
        51 => Operation::SplitEntity { at: pair() },
        52 => Operation::ConfirmFieldMapping { at: mapping() },
        53 => Operation::RejectFieldMapping { at: mapping() },
        54 => Operation::RevokeFieldMapping { at: mapping() },
        60 => Operation::DeleteAsset { hash, reason: Text::new("old").unwrap(), basis },
        61 => Operation::RestoreAsset { hash, basis },
        _ => panic!("kind {kind} is new: give it a sample here, and an inverse or a reason why it has none"),
    }
}

/// The same op on top of what stands in its cells.
fn on_top(mara: &Replica, kind: u16) -> Operation {
    let mut operation = sample(kind);
    let cells: Vec<_> = openprod_domain::fold::writes(&operation).into_iter().map(|write| write.cell).collect();
    let mut bases = cells.iter().map(|cell| mara.all_of(cell));
    let mut next = || bases.next().unwrap();
    match &mut operation {
        Operation::SetField { at, .. } | Operation::ClearField { at } | Operation::SetFieldReference { at, .. } => {
            for at in at {
                at.basis = next();
            }
        }
        Operation::AttachFacet { at } | Operation::DetachFacet { at, .. } | Operation::DeleteEntity { at, .. } => {
            for at in at {
                at.basis = next();
            }
        }
        Operation::CreateEdge { basis, .. }
        | Operation::DeleteEdge { basis, .. }
        | Operation::SetEdgeProperty { basis, .. }
        | Operation::ClearEdgeProperty { basis, .. }
        | Operation::DropTable { basis, .. }
        | Operation::PutSetting { basis, .. }
        | Operation::NameActor { basis, .. }
        | Operation::DeleteAsset { basis, .. }
        | Operation::RestoreAsset { basis, .. } => *basis = next(),
        Operation::CreateOrderedEdge { basis, position_basis, .. } => (*basis, *position_basis) = (next(), next()),
        Operation::MoveOrderedEdge { to } => to.basis = next(),
        Operation::RebalanceOrderedEdges { to } => {
            for to in to {
                to.basis = next();
            }
        }
        Operation::CreateTable { basis, columns, .. } => {
            *basis = next();
            for column in columns {
                column.basis = next();
            }
        }
        Operation::AlterTable { columns, .. } => {
            for column in columns {
                column.basis = next();
            }
        }
        Operation::MergeEntities { at } | Operation::SplitEntity { at } => {
            for at in at {
                at.basis = next();
            }
        }
        Operation::ConfirmFieldMapping { at }
        | Operation::RejectFieldMapping { at }
        | Operation::RevokeFieldMapping { at } => at.basis = next(),
        _ => {}
    }
    operation
}

#[test]
fn every_kind_has_an_inverse_or_a_reason_why_it_has_none() {
    for (kind, called) in Operation::KINDS {
        let [mut mara, ..] = Replica::three();
        if *kind == 42 {
            mara.seals(BundleKind::MEMBER, &[sample(42)]);
        }
        let before = mara.shows();
        let operation = on_top(&mara, *kind);
        let bundle = mara.seals(BundleKind::EDIT, &[operation]);
        let done = mara.shows();
        let which = Some(Which::Digest(bundle.digest()));
        let undone = mara.turns(Turn::Undo, Scope::Mine, which);
        if let Some((_, why)) = NEVER_UNDONE.iter().find(|(never, _)| never == kind) {
            let refusal = undone.unwrap_err();
            assert!(refusal.message.contains(why), "{called}: {}", refusal.message);
            continue;
        }
        if MERGING.contains(kind) {
            continue;
        }
        undone.unwrap_or_else(|refusal| panic!("{called}: {}", refusal.message));
        let visible = |mut shown: Vec<(openprod_domain::cell::Cell, openprod_domain::cell::Content)>| {
            use openprod_domain::cell::{Cell, Content};
            // A place hides with its edge, and a column that is no more is hidden.
            shown.retain(|(cell, content)| {
                let hidden = matches!(content, Content::Column(spec) if spec.hidden);
                !hidden && !matches!(cell, Cell::EdgePosition { .. })
            });
            shown
        };
        assert_eq!(visible(mara.shows()), visible(before), "{called} undone");
        mara.turns(Turn::Redo, Scope::Mine, which).unwrap_or_else(|refusal| panic!("{called}: {}", refusal.message));
        assert_eq!(mara.shows(), done, "{called} done again");
    }
}

#[test]
fn a_first_name_is_not_taken_away() {
    let [mut mara, ..] = Replica::three();
    let named = mara.seals(BundleKind::MEMBER, &[sample(42)]);
    let refusal = mara.turns(Turn::Undo, Scope::Mine, Some(Which::Digest(named.digest()))).unwrap_err();
    assert!(refusal.message.contains("give another name instead"), "{}", refusal.message);
}
