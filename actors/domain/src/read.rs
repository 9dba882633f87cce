//! Reading: records, tables, edges and members as people see them, made of cells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_model::ids::{ActorId, EdgeId, EntityId};
use openprod_model::operation::EdgeEnds;
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{FieldRef, Name, Text, Value};

use crate::cell::{Cell, Content, Tip};
use crate::edits;
use crate::index::{self, Direction};
use crate::register;
use crate::unions::Unions;
use crate::view::{Read, Reading, View};

/// How far field references are followed before they read as broken: longer chains are cycles or mistakes.
pub const MAX_REFERENCE_STEPS: usize = 16;

/// A cell as it is shown.
#[derive(Debug, Clone)]
pub struct CellReading {
    /// The cell.
    pub cell: Cell,
    /// All standing writes, in canonical order.
    pub tips: Vec<Tip>,
}

impl CellReading {
    /// The write that is shown.
    pub fn shown(&self) -> Option<&Tip> {
        register::shown(&self.cell, &self.tips)
    }

    /// What it says.
    pub fn content(&self) -> Option<&Content> {
        self.shown().map(|tip| &tip.content)
    }

    /// Whether standing writes disagree.
    pub fn in_conflict(&self) -> bool {
        register::in_conflict(&self.cell, &self.tips)
    }

    /// Whether edits stand there, which merge: what the cell shows is more than its standing writes say.
    pub fn is_edited(&self) -> bool {
        self.tips.iter().any(|tip| matches!(tip.content, Content::Edit(_)))
    }
}

/// Reads a cell by itself, whatever it is united with.
pub fn cell(view: &dyn View, cell: Cell) -> Read<CellReading> {
    Ok(CellReading { tips: view.tips(&cell)?, cell })
}

/// Reads a cell together with all that read as one with it: the same field under a merged record's other ids, the
/// columns mapped to it.
pub fn united(view: &dyn View, cell: Cell) -> Read<CellReading> {
    Ok(CellReading { tips: view.unions()?.tips(view, &cell)?, cell })
}

/// The cells that an edit of `cell` writes: of all that read as one with it, those whose record is in their table, and
/// those that hold something already.
pub fn written_with(view: &dyn View, cell: &Cell) -> Read<Vec<Cell>> {
    let unions = view.unions()?;
    let mut written = Vec::new();
    if !unions.is_alone(cell) {
        for one in unions.cells(cell) {
            let Cell::Field { table, entity, .. } = &one else { continue };
            if holds_facet(view, table, *entity)? || !view.tips(&one)?.is_empty() {
                written.push(one);
            }
        }
    }
    if written.is_empty() {
        written.push(cell.clone());
    }
    Ok(written)
}

/// A table, with its columns in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its key, which never changes.
    pub key: Name,
    /// What it says of itself.
    pub spec: TableSpec,
    /// Its columns, hidden ones included.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its key, which never changes.
    pub key: Name,
    /// What it says of itself.
    pub spec: ColumnSpec,
}

impl Table {
    /// The column of that name, or else of that key.
    pub fn column(&self, name: &Name) -> Option<&Column> {
        let named = self.columns.iter().find(|column| column.spec.name == *name);
        named.or_else(|| self.columns.iter().find(|column| column.key == *name))
    }

    /// The columns that are not hidden.
    pub fn visible(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.spec.hidden)
    }
}

/// All tables that are not dropped, by name.
pub fn tables(view: &dyn View) -> Read<Vec<Table>> {
    let mut tables = Vec::new();
    for item in view.cells(&Cell::tables()) {
        let (cell, tips) = item?;
        if let (Cell::Table { table }, Some(Content::Table(spec))) =
            (&cell, register::shown(&cell, &tips).map(|tip| &tip.content))
        {
            tables.push(Table { key: table.clone(), spec: spec.clone(), columns: columns(view, table)? });
        }
    }
    tables.sort_by(|a, b| (&a.spec.name, &a.key).cmp(&(&b.spec.name, &b.key)));
    Ok(tables)
}

/// The table of that key, unless it is dropped.
pub fn table_of_key(view: &dyn View, key: &Name) -> Read<Option<Table>> {
    let reading = cell(view, Cell::Table { table: key.clone() })?;
    let Some(Content::Table(spec)) = reading.content() else { return Ok(None) };
    Ok(Some(Table { key: key.clone(), spec: spec.clone(), columns: columns(view, key)? }))
}

/// The tables of a view, each looked up once.
pub struct Tables<'a> {
    view: &'a dyn View,
    known: BTreeMap<Name, Option<Table>>,
}

impl<'a> Tables<'a> {
    /// The tables that `view` shows.
    pub fn of(view: &'a dyn View) -> Self {
        Self { view, known: BTreeMap::new() }
    }

    /// The view.
    pub fn view(&self) -> &'a dyn View {
        self.view
    }

    /// The table of that key, unless it is dropped.
    pub fn of_key(&mut self, key: &Name) -> Read<Option<&Table>> {
        if !self.known.contains_key(key) {
            self.known.insert(key.clone(), table_of_key(self.view, key)?);
        }
        Ok(self.known.get(key).and_then(Option::as_ref))
    }
}

/// The table of that name, or else of that key.
pub fn table(view: &dyn View, name: &Name) -> Read<Option<Table>> {
    if let Some(table) = table_of_key(view, name)?.filter(|table| table.spec.name == *name) {
        return Ok(Some(table));
    }
    match tables(view)?.into_iter().find(|table| table.spec.name == *name) {
        Some(table) => Ok(Some(table)),
        None => table_of_key(view, name),
    }
}

fn columns(view: &dyn View, table: &Name) -> Read<Vec<Column>> {
    let mut columns = Vec::new();
    for item in view.cells(&Cell::columns(table)) {
        let (cell, tips) = item?;
        if let (Cell::Column { column, .. }, Some(Content::Column(spec))) =
            (&cell, register::shown(&cell, &tips).map(|tip| &tip.content))
        {
            columns.push(Column { key: column.clone(), spec: spec.clone() });
        }
    }
    columns.sort_by(|a, b| (a.spec.order, &a.key).cmp(&(b.spec.order, &b.key)));
    Ok(columns)
}

/// Whether the entity, under any of its ids, is a record of the table.
pub fn is_record(view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
    holds_any_facet(view, table, view.unions()?.ids(&entity))
}

/// Whether any of these very ids is attached to the table.
pub fn holds_any_facet(view: &dyn View, table: &Name, ids: &[EntityId]) -> Read<bool> {
    for id in ids {
        if holds_facet(view, table, *id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether this very id is attached to the table.
pub fn holds_facet(view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
    Ok(cell(view, Cell::Facet { table: table.clone(), entity })?.content() == Some(&Content::Present))
}

/// The ids of a record that are attached to the table.
pub fn ids_in(view: &dyn View, table: &Name, entity: EntityId) -> Read<Vec<EntityId>> {
    let mut ids = Vec::new();
    for id in view.unions()?.ids(&entity) {
        if holds_facet(view, table, *id)? {
            ids.push(*id);
        }
    }
    Ok(ids)
}

/// The records of a table in the order of their ids, that is of their creation; those behind `after` only. Merged
/// records come once, under their canonical ids.
pub fn records<'a>(view: &'a dyn View, table: &Name, after: Option<EntityId>) -> Reading<'a, EntityId> {
    let unions = match view.unions() {
        Ok(unions) => unions,
        Err(failure) => return Box::new(std::iter::once(Err(failure))),
    };
    let mut range = Cell::facets(table);
    if let Some(entity) = after {
        range = range.after(&Cell::Facet { table: table.clone(), entity }.key());
    }
    let merged = merged_records(view, unions.classes(after).to_vec(), table.clone());
    let alone = view.cells(&range).filter_map(move |item| match item {
        Ok((cell, tips)) => match (&cell, register::shown(&cell, &tips)) {
            (Cell::Facet { entity, .. }, Some(tip)) if tip.content == Content::Present => {
                (!unions.is_merged(*entity)).then_some(Ok(*entity))
            }
            _ => None,
        },
        Err(failure) => Some(Err(failure)),
    });
    merged_in_order(alone, merged)
}

/// The canonical ids of those classes that are records of a table, in order.
fn merged_records(view: &dyn View, classes: Vec<Arc<[EntityId]>>, table: Name) -> impl Iterator<Item = Read<EntityId>> {
    classes.into_iter().filter_map(move |class| match holds_any_facet(view, &table, &class) {
        Ok(is_record) => is_record.then_some(Ok(class[0])),
        Err(failure) => Some(Err(failure)),
    })
}

/// Two sequences in order as one.
fn merged_in_order<'a>(
    one: impl Iterator<Item = Read<EntityId>> + 'a,
    other: impl Iterator<Item = Read<EntityId>> + 'a,
) -> Reading<'a, EntityId> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    Box::new(std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(Ok(left)), Some(Ok(right))) if right < left => other.next(),
        (_, Some(Err(_))) | (None, _) => other.next(),
        _ => one.next(),
    }))
}

/// The keys of the tables that the entity is a record of.
pub fn tables_of(view: &dyn View, entity: EntityId) -> Read<Vec<Name>> {
    let unions = view.unions()?;
    let mut tables = BTreeSet::new();
    for id in unions.ids(&entity) {
        for table in table_candidates(view, *id)? {
            if !tables.contains(&table) && holds_facet(view, &table, *id)? {
                tables.insert(table);
            }
        }
    }
    Ok(tables.into_iter().collect())
}

/// The tables that this very id may be attached to.
fn table_candidates(view: &dyn View, entity: EntityId) -> Read<Vec<Name>> {
    let Some(entries) = view.entries(&index::facets_of(entity)) else { return all_table_keys(view) };
    entries.filter_map(|entry| entry.map(|entry| index::facet_in(&entry)).transpose()).collect()
}

/// The keys of the tables that this very id is, or ever was, a record of.
pub fn tables_ever_of(view: &dyn View, entity: EntityId) -> Read<Vec<Name>> {
    let mut tables = Vec::new();
    for table in all_table_keys(view)? {
        if !view.tips(&Cell::Facet { table: table.clone(), entity })?.is_empty() {
            tables.push(table);
        }
    }
    Ok(tables)
}

/// The keys of all tables that ever were.
fn all_table_keys(view: &dyn View) -> Read<Vec<Name>> {
    view.cells(&Cell::tables())
        .filter_map(|item| match item {
            Ok((Cell::Table { table }, _)) => Some(Ok(table)),
            Ok(_) => None,
            Err(failure) => Some(Err(failure)),
        })
        .collect()
}

/// Whether the entity is a record of any table.
pub fn exists(view: &dyn View, entity: EntityId) -> Read<bool> {
    Ok(!tables_of(view, entity)?.is_empty())
}

/// Where a field's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The field itself.
    Own,
    /// Another record's field, to which this one refers.
    Through(FieldRef),
    /// A reference that leads nowhere, or in a circle.
    Broken(FieldRef),
}

/// A field or property as it is shown.
#[derive(Debug, Clone)]
pub struct FieldReading {
    /// The value; none if it never had one, lost it, or its reference is broken.
    pub value: Option<Value>,
    /// Where it comes from.
    pub origin: Origin,
    /// The cell that holds it: the far one, through a reference.
    pub reading: CellReading,
}

impl FieldReading {
    /// Whether standing writes disagree.
    pub fn in_conflict(&self) -> bool {
        self.reading.in_conflict()
    }
}

/// Reads a field, through references.
pub fn field(view: &dyn View, table: &Name, entity: EntityId, field: &Name) -> Read<FieldReading> {
    let own = united(view, Cell::Field { table: table.clone(), entity, field: field.clone() })?;
    follow(view, own)
}

fn follow(view: &dyn View, own: CellReading) -> Read<FieldReading> {
    let Some(Content::Value(Value::FieldRef(first))) = own.content().cloned() else {
        return Ok(FieldReading { value: value_of(view, &own)?, origin: Origin::Own, reading: own });
    };
    let mut target = first.clone();
    for _ in 0..MAX_REFERENCE_STEPS {
        if !is_record(view, &target.table, target.entity)? {
            break;
        }
        let FieldRef { table, entity, field } = target;
        let far = united(view, Cell::Field { table, entity, field })?;
        let Some(Content::Value(Value::FieldRef(next))) = far.content() else {
            let value = value_of(view, &far)?;
            return Ok(FieldReading { value, origin: Origin::Through(first), reading: far });
        };
        target = next.clone();
    }
    Ok(FieldReading { value: None, origin: Origin::Broken(first), reading: own })
}

/// The value that is shown; of a document or a sequence, what all its edits amount to.
fn value_of(view: &dyn View, reading: &CellReading) -> Read<Option<Value>> {
    if reading.is_edited()
        && let Some((kind, item)) = edits::kind_at(view, &reading.cell)?
    {
        return edits::read(view, &reading.cell, kind, |document| edits::value(document, item));
    }
    Ok(reading.content().and_then(Content::value).cloned())
}

/// All fields that a record has values in, or conflicts, by column key; those of unknown columns too.
pub fn fields(view: &dyn View, table: &Name, entity: EntityId) -> Read<Vec<(Name, FieldReading)>> {
    let unions = view.unions()?;
    if unions.is_merged(entity) || unions.maps(table) {
        return united_fields(view, &unions, table, entity);
    }
    let mut fields = Vec::new();
    for item in view.cells(&Cell::fields(table, entity)) {
        let (cell, mut tips) = item?;
        if let Cell::Field { field, .. } = &cell {
            let field = field.clone();
            unions.canonicalize(&mut tips);
            fields.push((field, follow(view, CellReading { cell, tips })?));
        }
    }
    Ok(fields)
}

/// The same where the record is merged or columns of the table are mapped: the fields under all ids, and those that
/// mapped columns fill.
fn united_fields(view: &dyn View, unions: &Unions, table: &Name, entity: EntityId) -> Read<Vec<(Name, FieldReading)>> {
    let mut names: BTreeSet<Name> = unions.mapped_in(table).cloned().collect();
    for id in unions.ids(&entity) {
        for item in view.cells(&Cell::fields(table, *id)) {
            if let (Cell::Field { field, .. }, _) = item? {
                names.insert(field);
            }
        }
    }
    let mut fields = Vec::new();
    for name in names {
        let reading = field(view, table, entity, &name)?;
        if !reading.reading.tips.is_empty() {
            fields.push((name, reading));
        }
    }
    Ok(fields)
}

/// An edge as it is shown.
#[derive(Debug, Clone)]
pub struct EdgeReading {
    /// Its id.
    pub edge: EdgeId,
    /// What it joins.
    pub ends: EdgeEnds,
    /// Its place among the sources of its target, if it is ordered.
    pub place: Option<Vec<u8>>,
    /// Its properties.
    pub properties: Vec<(Name, FieldReading)>,
    /// Whether its existence is in conflict.
    pub in_conflict: bool,
}

/// An edge that exists and joins two records that exist.
pub fn edge(view: &dyn View, edge: EdgeId) -> Read<Option<EdgeReading>> {
    let reading = united(view, Cell::Edge { edge })?;
    let Some(Content::Edge(ends)) = reading.content() else { return Ok(None) };
    if !exists(view, ends.source)? || !exists(view, ends.target)? {
        return Ok(None);
    }
    let place = match cell(view, Cell::EdgePosition { edge })?.content() {
        Some(Content::Place(place)) => Some(place.clone()),
        _ => None,
    };
    let in_conflict = reading.in_conflict();
    Ok(Some(EdgeReading { edge, ends: ends.clone(), place, properties: properties(view, edge)?, in_conflict }))
}

fn properties(view: &dyn View, edge: EdgeId) -> Read<Vec<(Name, FieldReading)>> {
    let (mut properties, unions) = (Vec::new(), view.unions()?);
    for item in view.cells(&Cell::properties(edge)) {
        let (cell, mut tips) = item?;
        if let Cell::EdgeProperty { property, .. } = &cell {
            let property = property.clone();
            unions.canonicalize(&mut tips);
            properties.push((property, follow(view, CellReading { cell, tips })?));
        }
    }
    Ok(properties)
}

/// Every edge that some standing write lets begin or end at an entity, shown or hidden: what hangs on it besides fields.
pub fn edges_hanging_on(view: &dyn View, entity: EntityId) -> Read<BTreeSet<EdgeId>> {
    let mut edges = BTreeSet::new();
    for direction in [Direction::From, Direction::To] {
        for edge in edge_candidates(view, entity, direction, None)? {
            let joins = |tip: &Tip| match &tip.content {
                Content::Edge(ends) => ends.source == entity || ends.target == entity,
                _ => false,
            };
            if view.tips(&Cell::Edge { edge })?.iter().any(joins) {
                edges.insert(edge);
            }
        }
    }
    Ok(edges)
}

/// The standing writes of an edge and of its properties.
pub fn writes_of_edge(view: &dyn View, edge: EdgeId) -> Read<Vec<(Cell, Vec<Tip>)>> {
    let own = Cell::Edge { edge };
    let mut writes = vec![(own.clone(), view.tips(&own)?)];
    for item in view.cells(&Cell::properties(edge)) {
        writes.push(item?);
    }
    Ok(writes)
}

/// The edges at one end of an entity, of one type or of all; ordered ones by their places, the others by id.
pub fn edges(
    view: &dyn View,
    entity: EntityId,
    direction: Direction,
    edge_type: Option<&Name>,
) -> Read<Vec<EdgeReading>> {
    let (mut edges, unions) = (Vec::new(), view.unions()?);
    let canonical = unions.canonical(entity);
    for entity in unions.ids(&entity) {
        for id in edge_candidates(view, *entity, direction, edge_type)? {
            edges.extend(edge(view, id)?.filter(|edge| joins(&edge.ends, canonical, direction, edge_type)));
        }
    }
    edges.sort_by(|a, b| (&a.ends.edge_type, &a.place, a.edge).cmp(&(&b.ends.edge_type, &b.place, b.edge)));
    edges.dedup_by_key(|edge| edge.edge);
    Ok(edges)
}

fn joins(ends: &EdgeEnds, entity: EntityId, direction: Direction, edge_type: Option<&Name>) -> bool {
    let end = match direction {
        Direction::From => ends.source,
        Direction::To => ends.target,
    };
    end == entity && edge_type.is_none_or(|wanted| *wanted == ends.edge_type)
}

fn edge_candidates(
    view: &dyn View,
    entity: EntityId,
    direction: Direction,
    edge_type: Option<&Name>,
) -> Read<Vec<EdgeId>> {
    if let Some(entries) = view.entries(&index::edges_at(entity, direction, edge_type)) {
        return entries.filter_map(|entry| entry.map(|entry| index::edge_in(&entry)).transpose()).collect();
    }
    view.cells(&Cell::edges())
        .filter_map(|item| match item {
            Ok((Cell::Edge { edge }, _)) => Some(Ok(edge)),
            Ok(_) => None,
            Err(failure) => Some(Err(failure)),
        })
        .collect()
}

/// What a workspace knows of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// A member.
    Admitted,
    /// Once a member; a person removed it.
    Removed,
    /// Never admitted.
    Stranger,
}

/// Whether an actor is a member.
pub fn membership(view: &dyn View, member: ActorId) -> Read<Membership> {
    Ok(match cell(view, Cell::Member { member })?.content() {
        Some(Content::Present) => Membership::Admitted,
        Some(_) => Membership::Removed,
        None => Membership::Stranger,
    })
}

/// Everybody who was ever admitted.
pub fn members(view: &dyn View) -> Read<Vec<(ActorId, Membership)>> {
    let mut members = Vec::new();
    for item in view.cells(&Cell::members()) {
        let (cell, _) = item?;
        if let Cell::Member { member } = cell {
            members.push((member, membership(view, member)?));
        }
    }
    Ok(members)
}

/// An actor's display name.
pub fn actor_name(view: &dyn View, actor: ActorId) -> Read<Option<Text>> {
    Ok(match cell(view, Cell::ActorName { actor })?.content() {
        Some(Content::Name(name)) => Some(name.clone()),
        _ => None,
    })
}

/// A setting's value.
pub fn setting(view: &dyn View, setting: &Name) -> Read<Option<Value>> {
    Ok(united(view, Cell::Setting { setting: setting.clone() })?.content().and_then(Content::value).cloned())
}

/// The fields that hang on a record of a table under this very id, with their standing writes: what a removal says it
/// has seen.
pub fn hanging_on(view: &dyn View, table: &Name, entity: EntityId) -> Read<Vec<(Cell, Vec<Tip>)>> {
    view.cells(&Cell::fields(table, entity)).collect()
}
