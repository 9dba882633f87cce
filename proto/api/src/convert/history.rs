//! Bundles, cells, contents and points in the past, from and to messages.

use openprod_domain::cell::{Cell, Content};
use openprod_model::bundle::{BundleKind, Header, OverlaySource, Source};
use openprod_model::ids::{BundleId, Digest, Position};
use openprod_model::operation::ColumnRef;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;

use super::ids::{bytes, hex, id};
use super::path::{known, name, or_empty, part, required, required_part, text};
use crate::v1;

/// A BLAKE3 hash has 32 bytes, or none are given.
const FILE_HASH_BYTES: usize = 32;

/// The kind's number in messages: that of the log, so that kinds of newer versions pass unharmed.
pub fn bundle_kind(kind: BundleKind) -> i32 {
    kind.0.into()
}

/// The kind of that number; none for a number that no log can hold, or that says nothing.
pub fn bundle_kind_of(number: i32) -> Option<BundleKind> {
    u16::try_from(number).ok().filter(|number| *number != 0).map(BundleKind)
}

impl From<&Source> for v1::Source {
    fn from(source: &Source) -> Self {
        // Of an overlay the id and the generation come first, and mean nothing to anybody else.
        let own = if source.kind == Source::OVERLAY { OverlaySource::OWN_BYTES } else { 0 };
        let hash = source.detail.get(own..).unwrap_or_default();
        Self { kind: source.kind.into(), name: source.name.to_string(), hash: hex(hash) }
    }
}

impl TryFrom<v1::Source> for Source {
    type Error = Refusal;
    fn try_from(source: v1::Source) -> Result<Self, Refusal> {
        let kind = match known(source.kind, "kind")? {
            v1::SourceKind::Unspecified => Self::PERSON,
            v1::SourceKind::File => Self::FILE,
            v1::SourceKind::Overlay => {
                let message = "That a change comes from an overlay, the node says by itself.";
                return Err(Refusal::new(Reason::InvalidValue, message).at("kind"));
            }
        };
        let detail = bytes(&source.hash, "hash")?;
        if !detail.is_empty() && detail.len() != FILE_HASH_BYTES {
            return Err(Refusal::new(Reason::InvalidValue, "A hash has 64 hexadecimal digits.").at("hash"));
        }
        Ok(Self { kind, name: text(&source.name, "name")?, detail })
    }
}

/// What a bundle's own header does not say.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// Where it lies in this node's log; zero if it does not.
    pub revision: Position,
    /// What people call its author.
    pub actor_name: Option<&'a Text>,
    /// Whether its time cannot be right.
    pub time_implausible: bool,
    /// Whether it holds ops that this version does not know.
    pub shown_in_part: bool,
}

/// A bundle without its changes.
pub fn bundle_info(header: &Header, digest: Digest, beside: Beside<'_>) -> v1::BundleInfo {
    v1::BundleInfo {
        revision: beside.revision.0,
        bundle_id: header.id.to_string(),
        bundle_digest: digest.to_string(),
        actor: header.actor.to_string(),
        actor_name: or_empty(beside.actor_name),
        wall_ms: signed_ms(header.wall_ms),
        time_implausible: beside.time_implausible,
        kind: bundle_kind(header.kind),
        label: header.label.to_string(),
        source: Some((&header.source).into()),
        undoes: header.undoes.iter().map(Digest::to_string).collect(),
        op_count: header.op_count,
        shown_in_part: beside.shown_in_part,
    }
}

/// Milliseconds as they are written in messages; clocks that show more than 292 million years are held there.
pub fn signed_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A point in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Behind the bundle at this position.
    Revision(Position),
    /// At the bundle of this digest and its ancestors.
    Digest(Digest),
    /// At the bundle of this id and its ancestors.
    Bundle(BundleId),
    /// At this time by the authors' clocks, in milliseconds since 1970.
    WallMs(u64),
}

impl TryFrom<v1::AsOf> for AsOf {
    type Error = Refusal;
    fn try_from(as_of: v1::AsOf) -> Result<Self, Refusal> {
        use v1::as_of::Point;
        Ok(match required(as_of.point, "point")? {
            Point::Revision(revision) => Self::Revision(Position(revision)),
            Point::Bundle(bundle) => match bundle_named(&bundle, "bundle")? {
                BundleName::Digest(digest) => Self::Digest(digest),
                BundleName::Id(id) => Self::Bundle(id),
            },
            Point::WallMs(ms) => Self::WallMs(u64::try_from(ms).map_err(|_| before_1970())?),
        })
    }
}

fn before_1970() -> Refusal {
    Refusal::new(Reason::InvalidValue, "No history is older than 1970.").at("wall_ms")
}

impl From<AsOf> for v1::AsOf {
    fn from(as_of: AsOf) -> Self {
        use v1::as_of::Point;
        let point = match as_of {
            AsOf::Revision(revision) => Point::Revision(revision.0),
            AsOf::Digest(digest) => Point::Bundle(digest.to_string()),
            AsOf::Bundle(id) => Point::Bundle(id.to_string()),
            AsOf::WallMs(ms) => Point::WallMs(signed_ms(ms)),
        };
        Self { point: Some(point) }
    }
}

/// How a request names a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleName {
    /// By its digest.
    Digest(Digest),
    /// By its id.
    Id(BundleId),
}

/// A bundle named by its digest or its id.
pub fn bundle_named(text: &str, at: &str) -> Result<BundleName, Refusal> {
    match text.parse() {
        Ok(digest) => Ok(BundleName::Digest(digest)),
        Err(_) => id(text, at).map(BundleName::Id),
    }
}

impl From<&Cell> for v1::Cell {
    fn from(cell: &Cell) -> Self {
        use v1::cell as api;
        use v1::cell::Kind;
        let kind = match cell {
            Cell::Table { table } => Kind::Table(table.to_string()),
            Cell::Column { table, column } => {
                Kind::Column(api::Column { table: table.to_string(), column: column.to_string() })
            }
            Cell::Facet { table, entity } => {
                Kind::Facet(api::Facet { table: table.to_string(), record: entity.to_string() })
            }
            Cell::Field { table, entity, field } => Kind::Field(api::Field {
                table: table.to_string(),
                record: entity.to_string(),
                column: field.to_string(),
            }),
            Cell::Edge { edge } => Kind::Edge(edge.to_string()),
            Cell::EdgeProperty { edge, property } => {
                Kind::EdgeProperty(api::EdgeProperty { edge: edge.to_string(), property: property.to_string() })
            }
            Cell::EdgePosition { edge } => Kind::EdgePosition(edge.to_string()),
            Cell::Setting { setting } => Kind::Setting(setting.to_string()),
            Cell::Member { member } => Kind::Member(member.to_string()),
            Cell::ActorName { actor } => Kind::ActorName(actor.to_string()),
            Cell::Merge { low, high } => Kind::Merge(api::Merge { one: low.to_string(), other: high.to_string() }),
            Cell::Asset { hash } => Kind::Asset(hash.to_string()),
            Cell::Mapping { low, high } => {
                Kind::Mapping(api::Mapping { one: Some(low.into()), other: Some(high.into()) })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Cell> for Cell {
    type Error = Refusal;
    fn try_from(cell: v1::Cell) -> Result<Self, Refusal> {
        use v1::cell::Kind;
        Ok(match required(cell.kind, "kind")? {
            Kind::Table(table) => Self::Table { table: name(&table, "table")? },
            Kind::Column(column) => part(column, "column")?,
            Kind::Facet(facet) => part(facet, "facet")?,
            Kind::Field(field) => part(field, "field")?,
            Kind::Edge(edge) => Self::Edge { edge: id(&edge, "edge")? },
            Kind::EdgeProperty(property) => part(property, "edge_property")?,
            Kind::EdgePosition(edge) => Self::EdgePosition { edge: id(&edge, "edge_position")? },
            Kind::Setting(setting) => Self::Setting { setting: name(&setting, "setting")? },
            Kind::Member(member) => Self::Member { member: id(&member, "member")? },
            Kind::ActorName(actor) => Self::ActorName { actor: id(&actor, "actor_name")? },
            Kind::Merge(pair) => Self::merge(id(&pair.one, "merge.one")?, id(&pair.other, "merge.other")?),
            Kind::Mapping(pair) => part(pair, "mapping")?,
            Kind::Asset(hash) => Self::Asset { hash: id(&hash, "asset")? },
        })
    }
}

impl TryFrom<v1::cell::Column> for Cell {
    type Error = Refusal;
    fn try_from(cell: v1::cell::Column) -> Result<Self, Refusal> {
        Ok(Self::Column { table: name(&cell.table, "table")?, column: name(&cell.column, "column")? })
    }
}

impl From<&ColumnRef> for v1::cell::Column {
    fn from(column: &ColumnRef) -> Self {
        Self { table: column.table.to_string(), column: column.column.to_string() }
    }
}

impl TryFrom<v1::cell::Column> for ColumnRef {
    type Error = Refusal;
    fn try_from(column: v1::cell::Column) -> Result<Self, Refusal> {
        Ok(Self { table: name(&column.table, "table")?, column: name(&column.column, "column")? })
    }
}

impl TryFrom<v1::cell::Mapping> for Cell {
    type Error = Refusal;
    fn try_from(pair: v1::cell::Mapping) -> Result<Self, Refusal> {
        Ok(Self::mapping(required_part(pair.one, "one")?, required_part(pair.other, "other")?))
    }
}

impl TryFrom<v1::cell::Facet> for Cell {
    type Error = Refusal;
    fn try_from(cell: v1::cell::Facet) -> Result<Self, Refusal> {
        Ok(Self::Facet { table: name(&cell.table, "table")?, entity: id(&cell.record, "record")? })
    }
}

impl TryFrom<v1::cell::Field> for Cell {
    type Error = Refusal;
    fn try_from(cell: v1::cell::Field) -> Result<Self, Refusal> {
        let (table, field) = (name(&cell.table, "table")?, name(&cell.column, "column")?);
        Ok(Self::Field { table, entity: id(&cell.record, "record")?, field })
    }
}

impl TryFrom<v1::cell::EdgeProperty> for Cell {
    type Error = Refusal;
    fn try_from(cell: v1::cell::EdgeProperty) -> Result<Self, Refusal> {
        Ok(Self::EdgeProperty { edge: id(&cell.edge, "edge")?, property: name(&cell.property, "property")? })
    }
}

/// What a write put into `cell`, which lends a column its key.
pub fn cell_content(cell: &Cell, content: &Content) -> v1::CellContent {
    use v1::cell_content::{Content as Said, TableSpec};
    let said = match content {
        Content::Absent => Said::Absent(true),
        Content::Present => Said::Present(true),
        Content::Value(value) => Said::Value(value.into()),
        Content::Edge(ends) => Said::Edge(ends.into()),
        Content::Place(place) => Said::Place(place.clone()),
        Content::Table(spec) => {
            Said::Table(TableSpec { name: spec.name.to_string(), description: spec.description.to_string() })
        }
        Content::Column(spec) => {
            let key = if let Cell::Column { column, .. } = cell { column } else { &spec.name };
            Said::Column(super::reading::column(key, spec))
        }
        Content::Name(name) => Said::Name(name.to_string()),
        Content::Rejected => Said::Rejected(true),
        Content::Edit(update) => Said::Edit(update.clone()),
    };
    v1::CellContent { content: Some(said) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    proptest! {
        #[test]
        fn every_cell_comes_back(cell in samples::cell()) {
            prop_assert_eq!(Cell::try_from(v1::Cell::from(&cell)), Ok(cell));
        }

        #[test]
        fn every_source_comes_back(source in samples::source()) {
            prop_assert_eq!(Source::try_from(v1::Source::from(&source)), Ok(source));
        }

        #[test]
        fn every_kind_passes_unharmed(number in 1_u16..) {
            prop_assert_eq!(bundle_kind_of(bundle_kind(BundleKind(number))), Some(BundleKind(number)));
        }
    }

    #[test]
    fn the_published_kinds_have_the_numbers_of_the_log() {
        for number in 1..=13_u16 {
            let published = v1::BundleKind::try_from(i32::from(number)).unwrap().as_str_name();
            assert_eq!(published, format!("BUNDLE_KIND_{}", BundleKind(number).word().to_uppercase()));
        }
        assert_eq!(BundleKind(14).word(), "unknown");
    }

    #[test]
    fn a_point_in_the_past_comes_back() {
        let (digest, bundle) = (Digest::from_bytes([7; 32]), BundleId::from_bytes([8; 16]));
        let points =
            [AsOf::Revision(Position(3)), AsOf::Digest(digest), AsOf::Bundle(bundle), AsOf::WallMs(1_795_000_000_000)];
        for point in points {
            assert_eq!(AsOf::try_from(v1::AsOf::from(point)), Ok(point));
        }
    }

    #[test]
    fn a_point_that_is_none_is_refused() {
        use v1::as_of::Point;
        for (point, at) in [(Point::Bundle("yesterday".into()), "bundle"), (Point::WallMs(-1), "wall_ms")] {
            assert_eq!(AsOf::try_from(v1::AsOf { point: Some(point) }).unwrap_err().at, at);
        }
        assert_eq!(AsOf::try_from(v1::AsOf { point: None }).unwrap_err().at, "point");
    }
}
