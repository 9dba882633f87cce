//! Reading: records, tables, edges and members as people see them, made of cells.

use openprod_model::ids::{ActorId, EdgeId, EntityId};
use openprod_model::operation::EdgeEnds;
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{FieldRef, Name, Text, Value};

use crate::cell::{Cell, Content, Tip};
use crate::index::{self, Direction};
use crate::register;
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
}

/// Reads a cell.
pub fn cell(view: &dyn View, cell: Cell) -> Read<CellReading> {
    Ok(CellReading { tips: view.tips(&cell)?, cell })
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

/// Whether the entity is a record of the table.
pub fn is_record(view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
    Ok(cell(view, Cell::Facet { table: table.clone(), entity })?.content() == Some(&Content::Present))
}

/// The records of a table in the order of their ids, that is of their creation; those behind `after` only.
pub fn records<'a>(view: &'a dyn View, table: &Name, after: Option<EntityId>) -> Reading<'a, EntityId> {
    let mut range = Cell::facets(table);
    if let Some(entity) = after {
        range = range.after(&Cell::Facet { table: table.clone(), entity }.key());
    }
    Box::new(view.cells(&range).filter_map(|item| match item {
        Ok((cell, tips)) => match (&cell, register::shown(&cell, &tips)) {
            (Cell::Facet { entity, .. }, Some(tip)) if tip.content == Content::Present => Some(Ok(*entity)),
            _ => None,
        },
        Err(failure) => Some(Err(failure)),
    }))
}

/// The keys of the tables that the entity is a record of.
pub fn tables_of(view: &dyn View, entity: EntityId) -> Read<Vec<Name>> {
    let candidates: Vec<Name> = match view.entries(&index::facets_of(entity)) {
        Some(entries) => {
            entries.filter_map(|entry| entry.map(|entry| index::facet_in(&entry)).transpose()).collect::<Read<_>>()?
        }
        None => all_table_keys(view)?,
    };
    let mut tables = Vec::new();
    for table in candidates {
        if is_record(view, &table, entity)? {
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
    let start = Cell::Field { table: table.clone(), entity, field: field.clone() };
    let tips = view.tips(&start)?;
    follow(view, CellReading { cell: start, tips })
}

fn follow(view: &dyn View, own: CellReading) -> Read<FieldReading> {
    let Some(Content::Value(Value::FieldRef(first))) = own.content().cloned() else {
        return Ok(FieldReading { value: value_of(&own), origin: Origin::Own, reading: own });
    };
    let mut target = first.clone();
    for _ in 0..MAX_REFERENCE_STEPS {
        if !is_record(view, &target.table, target.entity)? {
            break;
        }
        let FieldRef { table, entity, field } = target;
        let far = cell(view, Cell::Field { table, entity, field })?;
        match far.content() {
            Some(Content::Value(Value::FieldRef(next))) => target = next.clone(),
            _ => {
                return Ok(FieldReading { value: value_of(&far), origin: Origin::Through(first), reading: far });
            }
        }
    }
    Ok(FieldReading { value: None, origin: Origin::Broken(first), reading: own })
}

fn value_of(reading: &CellReading) -> Option<Value> {
    reading.content().and_then(Content::value).cloned()
}

/// All fields that a record has values in, or conflicts, by column key; those of unknown columns too.
pub fn fields(view: &dyn View, table: &Name, entity: EntityId) -> Read<Vec<(Name, FieldReading)>> {
    let mut fields = Vec::new();
    for item in view.cells(&Cell::fields(table, entity)) {
        let (cell, tips) = item?;
        if let Cell::Field { field, .. } = &cell {
            let field = field.clone();
            fields.push((field, follow(view, CellReading { cell, tips })?));
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
    let reading = cell(view, Cell::Edge { edge })?;
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
    let mut properties = Vec::new();
    for item in view.cells(&Cell::properties(edge)) {
        let (cell, tips) = item?;
        if let Cell::EdgeProperty { property, .. } = &cell {
            let property = property.clone();
            properties.push((property, follow(view, CellReading { cell, tips })?));
        }
    }
    Ok(properties)
}

/// The edges at one end of an entity, of one type or of all; ordered ones by their places, the others by id.
pub fn edges(
    view: &dyn View,
    entity: EntityId,
    direction: Direction,
    edge_type: Option<&Name>,
) -> Read<Vec<EdgeReading>> {
    let mut edges = Vec::new();
    for id in edge_candidates(view, entity, direction, edge_type)? {
        if let Some(reading) = edge(view, id)?.filter(|edge| joins(&edge.ends, entity, direction, edge_type)) {
            edges.push(reading);
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
    Ok(cell(view, Cell::Setting { setting: setting.clone() })?.content().and_then(Content::value).cloned())
}

/// The fields that hang on a record of a table, with their standing writes: what a removal says it has seen.
pub fn hanging_on(view: &dyn View, table: &Name, entity: EntityId) -> Read<Vec<(Cell, Vec<Tip>)>> {
    view.cells(&Cell::fields(table, entity)).collect()
}
