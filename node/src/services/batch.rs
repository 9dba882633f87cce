//! Bundles as clients are told of them: the facts about one, what its ops wrote, and what that changed in what is shown.

use std::collections::{BTreeMap, BTreeSet};

use openprod_api::convert::history::{Beside, bundle_info, bundle_kind, signed_ms};
use openprod_api::convert::path::or_empty;
use openprod_api::v1;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::edits;
use openprod_domain::index::{self, Direction};
use openprod_domain::read::{self, EdgeReading, Table, Tables};
use openprod_domain::text::Document;
use openprod_domain::view::{History, Read, View};
use openprod_messages::log::{Entry, LogReader, Stored};
use openprod_model::bundle::{Bundle, Outline};
use openprod_model::ids::{ActorId, EdgeId, EntityId, Position};
use openprod_model::value::{Name, Text};

use self::touched::Touched;
use super::paging::{MAX_BYTES, Mark};
use super::reading;

mod conflicts;
mod touched;

/// Most records, and most edges, that a batch tells one by one; of larger ones it names the tables to read anew.
pub(super) const MAX_CHANGED: usize = 2_000;
/// About how many bytes a conflict takes beside its sentence.
const CONFLICT_BYTES: usize = 192;
/// How far an author's clock may be ahead of this node's before it cannot be right: time zones set wrong are not news.
const PLAUSIBLE_AHEAD_MS: u64 = 24 * 60 * 60 * 1_000;
/// 2020-01-01T00:00Z: no bundle is older than the format; a clock without battery shows less.
const EARLIEST_PLAUSIBLE_MS: u64 = 1_577_836_800_000;

/// Whether the time that a bundle's author saw cannot be right.
fn is_implausible(entry: &Entry) -> bool {
    let latest = entry.appended_ms.saturating_add(PLAUSIBLE_AHEAD_MS);
    entry.wall_ms < EARLIEST_PLAUSIBLE_MS || entry.wall_ms > latest
}

/// The names of actors, each looked up once.
pub(super) struct Names<'a> {
    view: &'a dyn View,
    known: BTreeMap<ActorId, Option<Text>>,
}

impl<'a> Names<'a> {
    /// Names as `view` shows them.
    pub(super) fn of(view: &'a dyn View) -> Self {
        Self { view, known: BTreeMap::new() }
    }

    fn name(&mut self, actor: ActorId) -> Read<Option<&Text>> {
        if let std::collections::btree_map::Entry::Vacant(unknown) = self.known.entry(actor) {
            unknown.insert(read::actor_name(self.view, actor)?);
        }
        Ok(self.known.get(&actor).and_then(Option::as_ref))
    }

    /// What people call an actor; a part of its id where nobody gave a name.
    pub(super) fn called(&mut self, actor: ActorId) -> Read<String> {
        Ok(self.name(actor)?.map_or_else(|| actor.short(), Text::to_string))
    }
}

/// The facts about a stored bundle; `outline` is none if it is damaged.
pub(super) fn info(
    names: &mut Names<'_>,
    position: Position,
    entry: &Entry,
    outline: Option<&Outline>,
) -> Read<v1::BundleInfo> {
    let actor_name = names.name(entry.actor)?;
    let time_implausible = is_implausible(entry);
    Ok(match outline {
        Some(Outline { header, digest, all_known }) => {
            let beside = Beside { revision: position, actor_name, time_implausible, shown_in_part: !all_known };
            bundle_info(header, *digest, beside)
        }
        // What the log keeps beside the bundle is all that is left of it.
        None => v1::BundleInfo {
            revision: position.0,
            bundle_id: entry.id.to_string(),
            bundle_digest: entry.digest.to_string(),
            actor: entry.actor.to_string(),
            actor_name: or_empty(actor_name),
            wall_ms: signed_ms(entry.wall_ms),
            time_implausible,
            kind: bundle_kind(entry.kind),
            label: String::new(),
            source: None,
            undoes: Vec::new(),
            op_count: entry.ops,
            shown_in_part: true,
        },
    })
}

/// What a watcher wants to be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The keys of the tables; none for everything.
    pub(super) tables: Option<BTreeSet<Name>>,
}

impl Scope {
    /// Whether a table is in it.
    pub(super) fn holds(&self, table: &Name) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.contains(table))
    }

    fn is_everything(&self) -> bool {
        self.tables.is_none()
    }

    /// Whether an edge is at a record of a table in it.
    pub(super) fn holds_edge(&self, view: &dyn View, edge: &EdgeReading) -> Read<bool> {
        if self.is_everything() {
            return Ok(true);
        }
        let mut at = read::tables_of(view, edge.ends.source)?;
        at.extend(read::tables_of(view, edge.ends.target)?);
        Ok(at.iter().any(|table| self.holds(table)))
    }
}

/// A bundle of the log, to be told as what it changed.
pub(super) struct Telling<'a> {
    /// The newest state: its index names edges that the past has none for.
    pub(super) now: &'a dyn History,
    /// What was seen right before it.
    pub(super) before: &'a dyn View,
    /// What was seen right behind it.
    pub(super) after: &'a dyn View,
    /// The log: who wrote what is in dispute.
    pub(super) log: &'a dyn LogReader,
    /// What to tell.
    pub(super) scope: &'a Scope,
    /// Where it lies.
    pub(super) position: Position,
    /// What the log keeps beside it.
    pub(super) entry: &'a Entry,
    /// The bundle.
    pub(super) stored: &'a Stored,
}

impl Telling<'_> {
    /// The batch, and about how many bytes it takes; none if nothing in scope changed.
    pub(super) fn batch(&self) -> Read<Option<(v1::ChangeBatch, usize)>> {
        let told = match self.stored {
            Stored::Damaged { .. } => self.unknown()?,
            Stored::Whole(bundle) => self.known(&Touched::by(bundle, self.before, self.after, self.scope)?, bundle)?,
        };
        let Some((changes, bytes)) = told else { return Ok(None) };
        let bundle = Some(info(&mut Names::of(self.after), self.position, self.entry, self.stored.outline().as_ref())?);
        let resume_token = Mark { revision: self.position, chain: self.entry.chain }.token();
        Ok(Some((v1::ChangeBatch { bundle, resume_token, ..changes }, bytes)))
    }

    /// It cannot be known any more what the bundle changed: everything in scope may have.
    fn unknown(&self) -> Read<Option<(v1::ChangeBatch, usize)>> {
        let tables =
            read::tables(self.after)?.into_iter().map(|table| table.key).filter(|table| self.scope.holds(table));
        let too_large = Some(v1::TooLarge { tables: tables.map(|table| table.to_string()).collect(), edges: true });
        let batch = v1::ChangeBatch {
            schema_changed: true,
            workspace_changed: self.scope.is_everything(),
            too_large,
            conflicts_changed: true,
            ..v1::ChangeBatch::default()
        };
        Ok(Some((batch, 0)))
    }

    fn known(&self, touched: &Touched, bundle: &Bundle) -> Read<Option<(v1::ChangeBatch, usize)>> {
        let mut batch = v1::ChangeBatch {
            schema_changed: touched.schema,
            workspace_changed: touched.workspace,
            ..v1::ChangeBatch::default()
        };
        if touched.is_too_large() {
            (batch.too_large, batch.conflicts_changed) = (Some(touched.too_large()), true);
            return Ok(Some((batch, 0)));
        }
        batch.records = records(self.before, self.after, touched)?;
        batch.edges = self.edges(touched)?;
        batch.documents = self.documents(touched)?;
        match conflicts::told(self, bundle)? {
            Some(told) => batch.conflicts = told,
            None => batch.conflicts_changed = true,
        }
        let bytes = bytes(&batch);
        if bytes > MAX_BYTES || batch.edges.len() > MAX_CHANGED {
            (batch.records, batch.edges, batch.documents) = (Vec::new(), Vec::new(), Vec::new());
            (batch.too_large, batch.conflicts, batch.conflicts_changed) = (Some(touched.too_large()), Vec::new(), true);
        }
        let something = bytes > 0 || batch.schema_changed || batch.workspace_changed || batch.conflicts_changed;
        Ok((something || self.scope.is_everything()).then_some((batch, bytes)))
    }

    /// The updates of the documents that were edited. One that left out anything or took it otherwise than it came is
    /// to be read anew: an editor that applied the same updates might show something else.
    fn documents(&self, touched: &Touched) -> Read<Vec<v1::DocumentChange>> {
        let mut changes = Vec::new();
        for ((table, entity, field), updates) in &touched.documents {
            let cell = Cell::Field { table: table.clone(), entity: *entity, field: field.clone() };
            let is_plain = match edits::kind_at(self.after, &cell)? {
                Some((kind, _)) => edits::read(self.after, &cell, kind, Document::is_plain)?,
                None => continue,
            };
            changes.push(v1::DocumentChange {
                record: entity.to_string(),
                table: table.to_string(),
                column: field.to_string(),
                updates: if is_plain { updates.clone() } else { Vec::new() },
                reload: !is_plain,
            });
        }
        Ok(changes)
    }

    fn edges(&self, touched: &Touched) -> Read<Vec<v1::EdgeChange>> {
        let mut edges = touched.edges.clone();
        for record in &touched.moved {
            // An edge shows while both its ends exist, so it comes and goes with them.
            if read::exists(self.before, *record)? != read::exists(self.after, *record)? {
                edges.extend(edges_at(self.now, *record)?);
            }
        }
        for record in &touched.renamed {
            edges.extend(edges_at(self.now, *record)?);
        }
        let mut changes = Vec::new();
        for edge in edges {
            changes.extend(self.edge(edge)?);
        }
        Ok(changes)
    }

    fn edge(&self, edge: EdgeId) -> Read<Option<v1::EdgeChange>> {
        let (before, after) = (self.before, self.after);
        let (was, is) = (read::edge(before, edge)?, read::edge(after, edge)?);
        let in_scope = |view: &dyn View, edge: &Option<EdgeReading>| match edge {
            Some(edge) => self.scope.holds_edge(view, edge),
            None => Ok(false),
        };
        if was.is_none() && is.is_none() {
            return Ok(deleted_unseen(before, after, edge)?.map(removed));
        }
        if !in_scope(before, &was)? && !in_scope(after, &is)? {
            return Ok(None);
        }
        let (kind, edge) = match (&was, &is) {
            (None, Some(edge)) => (v1::ChangeKind::Created, v1::Edge::from(edge)),
            (Some(_), Some(edge)) => (v1::ChangeKind::Changed, v1::Edge::from(edge)),
            (Some(edge), None) => return Ok(Some(removed(edge.into()))),
            (None, None) => return Ok(None),
        };
        Ok(Some(v1::EdgeChange { kind: kind.into(), edge: Some(edge) }))
    }
}

fn removed(edge: v1::Edge) -> v1::EdgeChange {
    v1::EdgeChange { kind: v1::ChangeKind::Removed.into(), edge: Some(v1::Edge { properties: Vec::new(), ..edge }) }
}

/// An edge that was deleted while a removed record hid it. Its going may not have been told with the record, as the
/// index no longer named it by then; told twice, it does no harm.
fn deleted_unseen(before: &dyn View, after: &dyn View, edge: EdgeId) -> Read<Option<v1::Edge>> {
    let cell = |view| read::cell(view, Cell::Edge { edge });
    if cell(after)?.content() != Some(&Content::Absent) {
        return Ok(None);
    }
    let was = cell(before)?;
    let Some(Content::Edge(ends)) = was.content() else { return Ok(None) };
    let hidden = EdgeReading { edge, ends: ends.clone(), place: None, properties: Vec::new(), in_conflict: false };
    Ok(Some((&hidden).into()))
}

/// The edges that may be at a record.
fn edges_at(view: &dyn View, record: EntityId) -> Read<Vec<EdgeId>> {
    let mut edges = Vec::new();
    for direction in [Direction::From, Direction::To] {
        for entry in view.entries(&index::edges_at(record, direction, None)).into_iter().flatten() {
            edges.extend(index::edge_in(&entry?));
        }
    }
    Ok(edges)
}

fn bytes(batch: &v1::ChangeBatch) -> usize {
    let records = batch.records.iter().filter_map(|change| change.record.as_ref()).map(reading::weight);
    let edges = batch.edges.iter().filter_map(|change| change.edge.as_ref()).map(reading::edge_weight);
    let conflicts = batch.conflicts.iter().map(|change| CONFLICT_BYTES + change.sentence.len());
    let updates = batch.documents.iter().flat_map(|change| &change.updates).map(|update| 64 + update.len());
    records.chain(edges).chain(conflicts).chain(updates).sum()
}

fn records(before: &dyn View, after: &dyn View, touched: &Touched) -> Read<Vec<v1::RecordChange>> {
    let mut tables = Tables::of(after);
    let mut changes = Vec::new();
    for ((table, entity), fields) in &touched.records {
        let known = tables.of_key(table)?;
        let (kind, record) = match (shows(before, table, *entity)?, shows(after, table, *entity)?) {
            (false, true) => (v1::ChangeKind::Created, whole(after, known, table, *entity)?),
            (true, true) => {
                let fields = fields.names(before, after, known, table, *entity)?;
                (v1::ChangeKind::Changed, part(after, table, *entity, &fields)?)
            }
            (true, false) => (v1::ChangeKind::Removed, reading::record_of(after, table, *entity, [])?),
            // What is hidden changes nothing that is shown.
            (false, false) => continue,
        };
        changes.push(v1::RecordChange { kind: kind.into(), record: Some(record) });
    }
    Ok(changes)
}

/// Whether a record is shown in a table under this very id.
fn shows(view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
    Ok(view.unions()?.canonical(entity) == entity && read::is_record(view, table, entity)?)
}

/// All fields of a record, hidden columns included.
fn whole(view: &dyn View, known: Option<&Table>, table: &Name, entity: EntityId) -> Read<v1::Record> {
    if let Some(known) = known {
        let columns: Vec<Name> = known.columns.iter().map(|column| column.key.clone()).collect();
        return reading::record(view, known, entity, &columns);
    }
    let fields = read::fields(view, table, entity)?;
    reading::record_of(view, table, entity, fields.iter().map(|(name, field)| (name, field)))
}

/// The fields that changed, those without a value now included.
fn part(view: &dyn View, table: &Name, entity: EntityId, fields: &BTreeSet<Name>) -> Read<v1::Record> {
    let mut told = Vec::new();
    for field in fields {
        told.push((field, read::field(view, table, entity, field)?));
    }
    reading::record_of(view, table, entity, told.iter().map(|(name, field)| (*name, field)))
}

#[cfg(test)]
mod tests {
    use openprod_model::bundle::BundleKind;
    use openprod_model::clock::Hlc;
    use openprod_model::ids::{BundleId, Digest};

    use super::*;

    fn entry(wall_ms: u64, appended_ms: u64) -> Entry {
        Entry {
            digest: Digest::from_bytes([1; 32]),
            chain: Digest::from_bytes([2; 32]),
            id: BundleId::from_bytes([3; 16]),
            actor: ActorId::from_bytes([4; 32]),
            hlc: Hlc::ZERO,
            wall_ms,
            kind: BundleKind::EDIT,
            ops: 1,
            session: None,
            appended_ms,
        }
    }

    #[test]
    fn a_time_is_implausible_a_day_ahead_or_before_2020() {
        let now = 1_795_000_000_000;
        assert!(!is_implausible(&entry(now + PLAUSIBLE_AHEAD_MS, now)));
        assert!(is_implausible(&entry(now + PLAUSIBLE_AHEAD_MS + 1, now)));
        assert!(!is_implausible(&entry(EARLIEST_PLAUSIBLE_MS, now)), "a laptop that was offline for years");
        assert!(is_implausible(&entry(0, now)));
    }
}
