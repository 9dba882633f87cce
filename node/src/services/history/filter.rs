//! Which bundles a reader of history asks for.

use openprod_api::convert::history::bundle_kind_of;
use openprod_api::convert::ids::optional_id;
use openprod_api::v1;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::fold::{self, Write};
use openprod_domain::view::{Moment, Read, View};
use openprod_messages::log::Entry;
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::{Bundle, BundleKind};
use openprod_model::ids::{ActorId, EdgeId, EntityId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Primitive, Value};

use super::super::reading::{self, Problem};

/// What a bundle must be; every part that is given must fit.
#[derive(Debug, Default)]
pub(super) struct Filter {
    actor: Option<ActorId>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    kinds: Vec<BundleKind>,
    table: Option<Name>,
    /// All ids of the record.
    record: Option<Vec<EntityId>>,
    /// In lower case.
    text: String,
}

impl Filter {
    /// What the request asks for.
    pub(super) fn of(request: &v1::ListBundlesRequest, view: &dyn View) -> Result<Self, Problem> {
        let kinds = request.kinds.iter().map(|number| bundle_kind_of(*number).ok_or_else(|| no_kind(*number)));
        let table = match request.table.as_str() {
            "" => None,
            named => Some(reading::table_key(view, named)?),
        };
        let record = match optional_id(&request.record, "record")? {
            Some(record) => Some(view.unions()?.ids(&record).to_vec()),
            None => None,
        };
        Ok(Self {
            actor: optional_id(&request.actor, "actor")?,
            since_ms: request.since_ms,
            until_ms: request.until_ms,
            kinds: kinds.collect::<Result<_, _>>()?,
            table,
            record,
            text: request.text.to_lowercase(),
        })
    }

    /// Whether a bundle fits as far as the log tells beside it.
    pub(super) fn fits_entry(&self, entry: &Entry) -> bool {
        let wall_ms = i64::try_from(entry.wall_ms).unwrap_or(i64::MAX);
        self.actor.is_none_or(|actor| actor == entry.actor)
            && self.since_ms.is_none_or(|since| wall_ms >= since)
            && self.until_ms.is_none_or(|until| wall_ms < until)
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
    }

    /// Whether nothing is asked of the bundles themselves.
    pub(super) fn is_of_entries_only(&self) -> bool {
        self.table.is_none() && self.record.is_none() && self.text.is_empty()
    }

    /// Whether a bundle fits, which lies at `position`.
    pub(super) fn fits_bundle(&self, snapshot: &dyn Snapshot, position: Position, bundle: &Bundle) -> Read<bool> {
        if self.is_of_entries_only() {
            return Ok(true);
        }
        let operations = bundle.ops().iter().filter_map(|op| op.operation.as_ref());
        let writes: Vec<Write<'_>> = operations.flat_map(fold::writes).collect();
        Ok(self.table.as_ref().is_none_or(|table| writes.iter().any(|write| is_of_table(&write.cell, table)))
            && (self.text.is_empty() || self.mentions(bundle, &writes))
            && match &self.record {
                Some(record) => touches(snapshot, position, record, &writes)?,
                None => true,
            })
    }

    fn mentions(&self, bundle: &Bundle, writes: &[Write<'_>]) -> bool {
        let header = bundle.header();
        self.is_in(header.label.as_str())
            || self.is_in(header.source.name.as_str())
            || writes.iter().filter_map(|write| write.content.value()).any(|value| self.is_in_value(value))
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.text)
    }

    fn is_in_value(&self, value: &Value) -> bool {
        match value {
            Value::Text(text) => self.is_in(text.as_str()),
            Value::Enum(name) => self.is_in(name.as_str()),
            Value::Blob(blob) => self.is_in(blob.name.as_str()),
            Value::Integer(number) => self.is_in(&number.to_string()),
            Value::Float(number) => self.is_in(&number.as_f64().to_string()),
            Value::List(list) => {
                list.items().iter().any(|item| matches!(item, Primitive::Text(text) if self.is_in(text.as_str())))
            }
            _ => false,
        }
    }
}

fn no_kind(number: i32) -> Refusal {
    Refusal::new(Reason::InvalidRequest, format!("{number} is no kind of bundle.")).at("kinds")
}

fn is_of_table(cell: &Cell, wanted: &Name) -> bool {
    match cell {
        Cell::Table { table } | Cell::Column { table, .. } | Cell::Facet { table, .. } | Cell::Field { table, .. } => {
            table == wanted
        }
        Cell::Mapping { low, high } => low.table == *wanted || high.table == *wanted,
        _ => false,
    }
}

fn touches(snapshot: &dyn Snapshot, position: Position, record: &[EntityId], writes: &[Write<'_>]) -> Read<bool> {
    for write in writes {
        let touches = match &write.cell {
            Cell::Facet { entity, .. } | Cell::Field { entity, .. } => record.contains(entity),
            Cell::Merge { low, high } => record.contains(low) || record.contains(high),
            Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => {
                joins(&write.content, record) || is_end_of(snapshot, position, record, *edge)?
            }
            _ => false,
        };
        if touches {
            return Ok(true);
        }
    }
    Ok(false)
}

fn joins(content: &Content, record: &[EntityId]) -> bool {
    matches!(content, Content::Edge(ends) if record.contains(&ends.source) || record.contains(&ends.target))
}

/// Whether an edge was at the record when the bundle at `position` came, or by it.
fn is_end_of(snapshot: &dyn Snapshot, position: Position, record: &[EntityId], edge: EdgeId) -> Read<bool> {
    for at in [Position(position.0.saturating_sub(1)), position] {
        let tips = snapshot.tips_at(&Cell::Edge { edge }, &Moment::Revision(at))?;
        if tips.iter().any(|tip| joins(&tip.content, record)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use openprod_domain::view::Empty;
    use openprod_model::clock::Hlc;
    use openprod_model::ids::{BundleId, Digest};

    use super::*;

    fn entry(actor: u8, wall_ms: u64, kind: BundleKind) -> Entry {
        Entry {
            digest: Digest::from_bytes([1; 32]),
            chain: Digest::from_bytes([1; 32]),
            id: BundleId::from_bytes([1; 16]),
            actor: ActorId::from_bytes([actor; 32]),
            hlc: Hlc::ZERO,
            wall_ms,
            kind,
            ops: 1,
            session: None,
            appended_ms: 0,
        }
    }

    fn filter(request: &v1::ListBundlesRequest) -> Filter {
        Filter::of(request, &Empty).unwrap()
    }

    #[test]
    fn times_are_from_and_before() {
        let day = filter(&v1::ListBundlesRequest { since_ms: Some(10), until_ms: Some(20), ..Default::default() });
        let fits = |wall_ms| day.fits_entry(&entry(1, wall_ms, BundleKind::EDIT));
        assert_eq!([9, 10, 19, 20, u64::MAX].map(fits), [false, true, true, false, false]);
    }

    #[test]
    fn every_part_that_is_given_must_fit() {
        let imports = filter(&v1::ListBundlesRequest {
            actor: ActorId::from_bytes([1; 32]).to_string(),
            kinds: vec![v1::BundleKind::Import.into(), v1::BundleKind::Edit.into()],
            ..Default::default()
        });
        assert!(imports.fits_entry(&entry(1, 0, BundleKind::IMPORT)));
        assert!(!imports.fits_entry(&entry(1, 0, BundleKind::UNDO)));
        assert!(!imports.fits_entry(&entry(2, 0, BundleKind::EDIT)));
    }

    #[test]
    fn a_kind_that_says_nothing_is_refused() {
        let request = v1::ListBundlesRequest { kinds: vec![0], ..Default::default() };
        assert!(Filter::of(&request, &Empty).is_err());
    }

    #[test]
    fn values_are_searched_without_regard_to_case() {
        let search = filter(&v1::ListBundlesRequest { text: "DÄMMERUNG".into(), ..Default::default() });
        assert!(search.is_in_value(&Value::text("Morgendämmerung").unwrap()));
        assert!(!search.is_in_value(&Value::text("Dawn").unwrap()));
        assert!(!search.is_of_entries_only());
    }
}
