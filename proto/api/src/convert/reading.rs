//! What is read of a workspace, to messages: tables, records, edges, members.

use openprod_domain::cell::Tip;
use openprod_domain::index::Direction;
use openprod_domain::read::{self, EdgeReading, Membership, Origin};
use openprod_model::ids::EntityId;
use openprod_model::operation::EdgeEnds;
use openprod_model::schema::ColumnSpec;
use openprod_model::value::Name;

use crate::v1;

impl From<&read::Table> for v1::Table {
    fn from(table: &read::Table) -> Self {
        Self {
            key: table.key.to_string(),
            name: table.spec.name.to_string(),
            description: table.spec.description.to_string(),
            columns: table.columns.iter().map(|of| column(&of.key, &of.spec)).collect(),
        }
    }
}

/// A column.
pub fn column(key: &Name, spec: &ColumnSpec) -> v1::Column {
    v1::Column {
        key: key.to_string(),
        name: spec.name.to_string(),
        r#type: Some((&spec.field_type).into()),
        required: spec.required,
        default: spec.default.as_ref().map(v1::Value::from),
        hidden: spec.hidden,
        order: spec.order,
    }
}

/// A field or property as it is shown.
pub fn field_reading(column: &Name, field: &read::FieldReading) -> v1::FieldReading {
    let (origin, target) = match &field.origin {
        Origin::Own => (v1::ValueOrigin::Own, None),
        Origin::Through(target) => (v1::ValueOrigin::Through, Some(target.into())),
        Origin::Broken(target) => (v1::ValueOrigin::Broken, Some(target.into())),
    };
    v1::FieldReading {
        column: column.to_string(),
        value: field.value.as_ref().map(v1::Value::from),
        in_conflict: field.in_conflict(),
        candidate_count: candidates(&field.reading.tips),
        origin: origin.into(),
        target,
    }
}

/// How many different contents stand.
fn candidates(tips: &[Tip]) -> u32 {
    let is_first = |(i, tip): &(usize, &Tip)| tips[..*i].iter().all(|earlier| earlier.content != tip.content);
    u32::try_from(tips.iter().enumerate().filter(is_first).count()).unwrap_or(u32::MAX)
}

/// A record of one table with the fields given. Of its ids, the first is the one under which it is known.
pub fn record<'a>(
    ids: &[EntityId],
    table: &Name,
    in_conflict: bool,
    fields: impl IntoIterator<Item = (&'a Name, &'a read::FieldReading)>,
) -> v1::Record {
    let fields = fields.into_iter().map(|(column, field)| field_reading(column, field)).collect();
    let all = if ids.len() > 1 { ids } else { &[] };
    v1::Record {
        id: ids.first().map_or_else(String::new, EntityId::to_string),
        table: table.to_string(),
        fields,
        in_conflict,
        ids: all.iter().map(EntityId::to_string).collect(),
    }
}

impl From<&EdgeEnds> for v1::EdgeEnds {
    fn from(ends: &EdgeEnds) -> Self {
        Self { r#type: ends.edge_type.to_string(), source: ends.source.to_string(), target: ends.target.to_string() }
    }
}

impl From<&EdgeReading> for v1::Edge {
    fn from(edge: &EdgeReading) -> Self {
        Self {
            id: edge.edge.to_string(),
            ends: Some((&edge.ends).into()),
            ordered: edge.place.is_some(),
            properties: edge.properties.iter().map(|(name, property)| field_reading(name, property)).collect(),
            in_conflict: edge.in_conflict,
        }
    }
}

impl From<Membership> for v1::Membership {
    fn from(membership: Membership) -> Self {
        match membership {
            Membership::Admitted => Self::Admitted,
            Membership::Removed => Self::Removed,
            Membership::Stranger => Self::Unspecified,
        }
    }
}

/// The ends at which to look for edges.
pub fn directions(direction: v1::EdgeDirection) -> &'static [Direction] {
    match direction {
        v1::EdgeDirection::From => &[Direction::From],
        v1::EdgeDirection::To => &[Direction::To],
        v1::EdgeDirection::Unspecified | v1::EdgeDirection::Both => &[Direction::From, Direction::To],
    }
}

#[cfg(test)]
mod tests {
    use openprod_domain::cell::{Cell, Content};
    use openprod_domain::read::CellReading;
    use openprod_model::clock::Hlc;
    use openprod_model::ids::{OpId, OpRef};
    use openprod_model::value::Value;

    use super::*;

    fn tip(number: u8, content: Content) -> Tip {
        Tip {
            op: OpRef::from_bytes([number; 16]),
            hlc: Hlc { ms: number.into(), counter: 0 },
            op_id: OpId::from_bytes([number; 16]),
            position: None,
            decision: false,
            restores: None,
            seen: Vec::new(),
            content,
        }
    }

    fn label(tips: Vec<Tip>) -> v1::FieldReading {
        let (table, field) = (Name::new("cues").unwrap(), Name::new("label").unwrap());
        let cell = Cell::Field { table, entity: EntityId::from_bytes([1; 16]), field: field.clone() };
        let reading = CellReading { cell, tips };
        let value = reading.content().and_then(Content::value).cloned();
        field_reading(&field, &read::FieldReading { value, origin: Origin::Own, reading })
    }

    #[test]
    fn equal_candidates_count_once_and_a_cleared_field_is_one() {
        let says = |text| Content::Value(Value::text(text).unwrap());
        let alone = label(vec![tip(1, says("Dawn")), tip(2, says("Dawn"))]);
        assert_eq!((alone.in_conflict, alone.candidate_count), (false, 1));
        let torn = label(vec![tip(1, says("Dawn")), tip(2, says("Sunrise")), tip(3, Content::Absent)]);
        assert_eq!((torn.in_conflict, torn.candidate_count, torn.value), (true, 3, None));
        assert_eq!(label(Vec::new()).candidate_count, 0);
    }
}
