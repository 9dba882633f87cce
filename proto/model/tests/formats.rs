//! Golden files: the bytes of every format, as they must stay for ever, and what hostile bytes come to.
//!
//! A golden file that changes is a broken promise to every log on every disk. After adding a *new* format, run
//! `OPENPROD_WRITE_GOLDEN=1 cargo test -p openprod-model --test formats` once and look at what was added.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use openprod_model::bundle::{Bundle, BundleKind, Draft, Malformed, Outline, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::codec::{self, DecodeError};
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BlobHash, BundleId, Digest, EdgeId, EntityId, OpId, OpRef, WorkspaceId};
use openprod_model::operation::{
    Basis, ColumnAt, ColumnRef, EdgeEnds, FacetAt, FieldAt, MappingAt, Operation, PairAt, PositionAt, RawOp,
};
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{
    BlobRef, Date, DateTime, Duration, FieldRef, FieldType, Float, List, Name, Primitive, PrimitiveType, Text, Value,
};
use proptest::prelude::*;

fn golden(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    let hex: String = bytes
        .chunks(32)
        .map(|line| line.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")) + "\n")
        .collect();
    if std::env::var_os("OPENPROD_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, &hex).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no golden file {}", path.display()));
    assert_eq!(hex, kept, "the bytes of {name} have changed: that is a new format, not a new golden file");
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn entity(n: u8) -> EntityId {
    EntityId::from_bytes([n; 16])
}

fn basis() -> Basis {
    Basis {
        preds: vec![OpRef::from_bytes([1; 16]), OpRef::from_bytes([2; 16])],
        restores: Some(OpRef::from_bytes([3; 16])),
        decision: true,
    }
}

fn every_value() -> Vec<Value> {
    let list = vec![
        Primitive::Text(text("é")),
        Primitive::Integer(-1),
        Primitive::Float(Float::new(0.5).unwrap()),
        Primitive::Boolean(true),
        Primitive::Date(Date { days: 1 }),
        Primitive::DateTime(DateTime::new(2, None).unwrap()),
        Primitive::Duration(Duration { ms: 3 }),
    ];
    vec![
        Value::Text(text("Sunrise")),
        Value::Integer(i64::MIN),
        Value::Float(Float::new(-0.0).unwrap()),
        Value::Boolean(false),
        Value::Date(Date { days: -1 }),
        Value::DateTime(DateTime::new(1_700_000_000_000, Some(-90)).unwrap()),
        Value::Duration(Duration { ms: -1 }),
        Value::Enum(name("go")),
        Value::Entity(entity(4)),
        Value::Blob(BlobRef {
            hash: BlobHash::from_bytes([5; 32]),
            size: 6,
            name: text("a.png"),
            media_type: text("image/png"),
        }),
        Value::List(List::try_from(list).unwrap()),
        Value::FieldRef(FieldRef { entity: entity(7), table: name("cues"), field: name("label") }),
    ]
}

fn every_type() -> Vec<FieldType> {
    vec![
        FieldType::Text,
        FieldType::Integer,
        FieldType::Float,
        FieldType::Boolean,
        FieldType::Date,
        FieldType::DateTime,
        FieldType::Duration,
        FieldType::Enum { values: vec![name("go"), name("stop")] },
        FieldType::Reference { table: Some(name("people")) },
        FieldType::Blob,
        FieldType::List { item: PrimitiveType::Duration },
    ]
}

fn column(column: &str, field_type: FieldType) -> ColumnAt {
    let spec = ColumnSpec {
        name: name(column),
        field_type,
        required: true,
        default: Some(Value::Integer(1)),
        order: 2,
        hidden: false,
    };
    ColumnAt { column: name(column), spec, basis: basis() }
}

fn every_operation() -> Vec<Operation> {
    let facet = || vec![FacetAt { entity: entity(1), table: name("cues"), basis: basis() }];
    let field = || vec![FieldAt { entity: entity(1), table: name("cues"), field: name("label"), basis: basis() }];
    let edge = EdgeId::from_bytes([8; 16]);
    let ends = || EdgeEnds { edge_type: name("in"), source: entity(1), target: entity(2) };
    let actor = ActorId::from_bytes([9; 32]);
    let spec = || TableSpec { name: name("Cues"), description: text("All cues") };
    let place = || PositionAt { edge, position: vec![128], basis: basis() };
    let columns = || every_type().into_iter().map(|t| column(t.clone().word(), t)).collect::<Vec<_>>();
    vec![
        Operation::Bootstrap { name: text("Show"), founder: actor, founder_name: text("Alex"), recovery: Some(actor) },
        Operation::AttachFacet { at: facet() },
        Operation::DetachFacet { at: facet(), seen: vec![OpRef::from_bytes([3; 16])] },
        Operation::DeleteEntity { at: facet(), seen: vec![] },
        Operation::SetField { at: field(), value: Value::Text(text("Dawn")) },
        Operation::ClearField { at: field() },
        Operation::SetFieldReference {
            at: field(),
            target: FieldRef { entity: entity(2), table: name("cues"), field: name("label") },
        },
        Operation::CreateEdge { edge, ends: ends(), basis: Basis::default() },
        Operation::CreateOrderedEdge {
            edge,
            ends: ends(),
            basis: Basis::default(),
            position: vec![128],
            position_basis: basis(),
        },
        Operation::DeleteEdge { edge, basis: basis(), seen: vec![] },
        Operation::SetEdgeProperty { edge, property: name("role"), value: Value::Boolean(true), basis: basis() },
        Operation::ClearEdgeProperty { edge, property: name("role"), basis: basis() },
        Operation::MoveOrderedEdge { to: place() },
        Operation::RebalanceOrderedEdges { to: vec![place()] },
        Operation::CreateTable { table: name("cues"), spec: spec(), basis: basis(), columns: columns() },
        Operation::AlterTable { table: name("cues"), spec: Some((spec(), basis())), columns: columns() },
        Operation::DropTable { table: name("cues"), basis: basis() },
        Operation::PutSetting { setting: name("name"), value: None, basis: basis() },
        Operation::AdmitMember { member: actor, basis: basis() },
        Operation::RemoveMember { member: actor, why: text("left"), basis: basis() },
        Operation::NameActor { actor, name: text("Jo"), basis: basis() },
    ]
}

/// The kinds of the second version. The bundle's golden file holds those of the first.
fn later_operations() -> Vec<Operation> {
    let field = || vec![FieldAt { entity: entity(1), table: name("cues"), field: name("label"), basis: basis() }];
    let pair = || vec![PairAt { one: entity(1), other: entity(2), basis: basis() }];
    let mapping = || MappingAt {
        one: ColumnRef { table: name("contacts"), column: name("name") },
        other: ColumnRef { table: name("schedule"), column: name("attendee") },
        basis: basis(),
    };
    vec![
        Operation::ApplyCrdt { at: field(), update: vec![1, 2, 3] },
        Operation::ClearAndAdd { at: field(), update: vec![4, 5] },
        Operation::MergeEntities { at: pair() },
        Operation::SplitEntity { at: pair() },
        Operation::ConfirmFieldMapping { at: mapping() },
        Operation::RejectFieldMapping { at: mapping() },
        Operation::RevokeFieldMapping { at: mapping() },
        Operation::DeleteAsset { hash: BlobHash::from_bytes([5; 32]), reason: text("an old plan"), basis: basis() },
        Operation::RestoreAsset { hash: BlobHash::from_bytes([5; 32]), basis: basis() },
    ]
}

fn keys() -> Keys {
    Keys::from_seed(&[42; 32])
}

fn draft(ops: Vec<RawOp>) -> Draft {
    Draft {
        stamp: Stamp {
            workspace: WorkspaceId::from_bytes([1; 16]),
            actor: keys().actor(),
            hlc: Hlc { ms: 1_700_000_000_000, counter: 7 },
            op_base: OpId::from_bytes([2; 16]),
        },
        id: BundleId::from_bytes([3; 16]),
        wall_ms: 1_700_000_000_123,
        parents: vec![Digest::from_bytes([5; 32]), Digest::from_bytes([4; 32])],
        prev: Some(Digest::from_bytes([4; 32])),
        kind: BundleKind::EDIT,
        label: text("Rename Jane Doe"),
        source: Source { kind: Source::FILE, name: text("cast.csv"), detail: vec![6; 4] },
        undoes: vec![Digest::from_bytes([7; 32])],
        ops,
    }
}

fn sealed() -> Bundle {
    draft(every_operation().iter().map(Operation::to_raw).collect()).seal(&keys()).unwrap()
}

#[test]
fn every_value_keeps_its_bytes() {
    for value in every_value() {
        let bytes = codec::encode(&value);
        assert_eq!(codec::decode::<Value>(&bytes).unwrap(), value);
    }
    golden("values", &codec::encode(&every_value()));
    golden("types", &codec::encode(&every_type()));
    let merging = [FieldType::Document, FieldType::Sequence { item: PrimitiveType::Text }];
    golden("types_2", &codec::encode(&merging.to_vec()));
}

#[test]
fn every_operation_keeps_its_bytes_and_its_kind() {
    let operations = [every_operation(), later_operations()].concat();
    let mut kinds: Vec<u16> = operations.iter().map(Operation::kind).collect();
    kinds.sort_unstable();
    let known: Vec<u16> = Operation::KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, known, "every kind has a golden file");
    for operation in operations {
        let raw = operation.to_raw();
        assert_eq!(Operation::from_raw(&raw).unwrap().as_ref(), Some(&operation));
        golden(&format!("op_{:03}", raw.kind), &raw.body);
    }
}

#[test]
fn a_bundle_keeps_its_bytes_its_digest_and_its_signature() {
    let bundle = sealed();
    golden("bundle", bundle.bytes());
    golden("bundle_digest", bundle.digest().as_bytes());
    let again = Bundle::parse(bundle.bytes()).unwrap();
    assert!(again.signature_holds());
    assert_eq!((again.digest(), again.header()), (bundle.digest(), bundle.header()));
    assert_eq!(again.ops(), bundle.ops());
}

#[test]
fn an_exported_identity_keeps_its_bytes_and_opens_under_its_passphrase_only() {
    use openprod_model::identity::ImportError;
    let exported = keys().export("break a leg", [1; 16], [2; 12]);
    golden("identity", exported.as_bytes());
    assert_eq!(Keys::import(&exported, "break a leg").unwrap().actor(), keys().actor());
    assert_eq!(Keys::import(&exported, "good luck").unwrap_err(), ImportError::WrongPassphrase);
    assert_eq!(Keys::import(&exported[..exported.len() - 2], "break a leg").unwrap_err(), ImportError::NotAnIdentity);
    assert_eq!(Keys::import("hello", "break a leg").unwrap_err(), ImportError::NotAnIdentity);
}

#[test]
fn an_op_of_an_unknown_kind_is_kept_unharmed() {
    let unknown = RawOp { kind: 60_000, body: vec![1, 2, 3] };
    let bundle = draft(vec![unknown]).seal(&keys()).unwrap();
    let again = Bundle::parse(bundle.bytes()).unwrap();
    assert_eq!((again.ops()[0].kind, &again.ops()[0].operation), (60_000, &None));
    assert_eq!(again.bytes(), bundle.bytes());
}

#[test]
fn an_outline_says_what_the_bundle_says_of_itself() {
    let known: Vec<RawOp> = every_operation().iter().map(Operation::to_raw).collect();
    let unknown = [known.clone(), vec![RawOp { kind: 60_000, body: vec![1] }]].concat();
    for (ops, all_known) in [(vec![], true), (known, true), (unknown, false)] {
        let bundle = draft(ops).seal(&keys()).unwrap();
        let outline = Outline::parse(bundle.bytes()).unwrap();
        assert_eq!((&outline.header, outline.digest, outline.all_known), (bundle.header(), bundle.digest(), all_known));
        let own = bundle.outline();
        assert_eq!((own.header, own.digest, own.all_known), (outline.header, outline.digest, all_known));
    }
}

#[test]
fn a_changed_byte_is_always_found() {
    let few = every_operation().iter().take(4).map(Operation::to_raw).collect();
    let bundle = draft(few).seal(&keys()).unwrap();
    for at in 0..bundle.bytes().len() {
        let mut bytes = bundle.bytes().to_vec();
        bytes[at] ^= 1;
        let accepted = Bundle::parse(&bytes).is_ok_and(|parsed| parsed.signature_holds());
        assert!(!accepted, "byte {at} was changed and nobody noticed");
    }
}

#[test]
fn a_bundle_signed_by_another_key_is_not_authentic() {
    let forged = Keys::from_seed(&[43; 32]);
    let mut bytes = draft(vec![]).seal(&forged).unwrap().bytes().to_vec();
    let (theirs, ours) = (forged.actor(), keys().actor());
    let at = bytes.windows(32).position(|w| w == theirs.as_bytes()).unwrap();
    bytes[at..at + 32].copy_from_slice(ours.as_bytes());
    assert!(!Bundle::parse(&bytes).unwrap().signature_holds());
}

#[test]
fn what_is_not_canonical_is_refused() {
    assert!(codec::decode::<Value>(&codec::encode(&Value::Integer(1))[..8]).is_err());
    let trailing = [codec::encode(&Value::Integer(1)), vec![0]].concat();
    assert_eq!(codec::decode::<Value>(&trailing), Err(DecodeError::Trailing(1)));
    let mut nan = codec::encode(&Value::Float(Float::new(1.0).unwrap()));
    nan[4..].copy_from_slice(&f64::NAN.to_bits().to_le_bytes());
    assert!(codec::decode::<Value>(&nan).is_err());
    nan[4..].copy_from_slice(&(-0.0_f64).to_bits().to_le_bytes());
    assert!(codec::decode::<Value>(&nan).is_err(), "-0 has another canonical form");
    let mut boolean = codec::encode(&Value::Boolean(true));
    boolean[4] = 2;
    assert!(codec::decode::<Value>(&boolean).is_err());
    let decomposed = codec::encode(&"e\u{301}".to_owned());
    assert!(codec::decode::<Text>(&decomposed).is_err(), "text that is not NFC");
}

#[test]
fn limits_hold() {
    let too_many = vec![RawOp { kind: 1, body: vec![] }; openprod_model::bundle::MAX_OPS + 1];
    assert!(matches!(draft(too_many).seal(&keys()), Err(Malformed::Limit(_))));
    let too_large = vec![RawOp { kind: 60_000, body: vec![0; codec::MAX_ENCODED_BYTES] }];
    assert!(matches!(draft(too_large).seal(&keys()), Err(Malformed::Encoding(DecodeError::TooLarge(_)))));
    assert!(matches!(Bundle::parse(&vec![0; codec::MAX_ENCODED_BYTES + 1]), Err(Malformed::Encoding(_))));
    let mut length = codec::encode(&vec![1_u8]);
    length[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(codec::decode::<Vec<u8>>(&length).is_err(), "a length that asks for all the memory there is");
}

#[test]
fn text_and_names_have_one_form() {
    assert_eq!(Text::new("e\u{301}").unwrap(), Text::new("é").unwrap());
    assert!(Text::new("a\0b").is_err());
    assert!(Float::new(f64::NAN).is_err() && Float::new(f64::INFINITY).is_err());
    assert_eq!(Float::new(-0.0).unwrap(), Float::new(0.0).unwrap());
    assert_eq!(name("  Cue  ").as_str(), "Cue");
    for bad in ["", " ", "a\nb", "a\u{1b}[31m", &"x".repeat(129)] {
        assert!(Name::new(bad).is_err(), "{bad:?} is no name");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Bundle::parse(&bytes);
        let _ = codec::decode::<Value>(&bytes);
        for (kind, _) in Operation::KINDS {
            let _ = Operation::from_raw(&RawOp { kind: *kind, body: bytes.clone() });
        }
    }

    #[test]
    fn altered_bundles_never_panic_and_never_pass(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let original = sealed();
        let mut bytes = original.bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if bytes != **original.bytes() {
            prop_assert!(!Bundle::parse(&bytes).is_ok_and(|parsed| parsed.signature_holds()));
        }
    }
}
