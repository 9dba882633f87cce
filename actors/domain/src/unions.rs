//! Unions: the registers that read and write as one, because people merged records or confirmed mappings.
//!
//! Merging entities and mapping columns only relate pairs; what they unite follows from all pairs that stand. Folding
//! knows nothing of it (I-3): reading takes the union of the registers, planning writes every one of them.
//!
//! **Which registers of a union speak.** Those of tables that the record is in, where they hold a value; a field that
//! is empty in one table says nothing against its value in another. Where none is left, those of tables that the
//! record was removed from, as a value must not vanish from one table because the record left another. Where none
//! holds a value, all of them. A register that holds several writes is never passed over: one of them may be a
//! clearing that conflicts with the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use openprod_model::ids::EntityId;
use openprod_model::operation::ColumnRef;
use openprod_model::value::{FieldType, Name, Value};

use crate::cell::{Cell, Content, KeyRange, Tip};
use crate::read;
use crate::register;
use crate::view::{Read, View};

/// All merges and mappings that stand in one view. Small: it holds no entity and no column that is only itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unions {
    classes: Components<EntityId>,
    groups: Components<ColumnRef>,
}

/// The connected components of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Components<T: Eq + Hash> {
    /// All of them, each with its smallest member first, in the order of these.
    all: Vec<Arc<[T]>>,
    /// The component of each member.
    of: HashMap<T, Arc<[T]>>,
    /// What each member is directly joined with.
    neighbours: BTreeMap<T, Vec<T>>,
}

/// What a register of a union contributes to what the union says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its writes are what the union says.
    Speaks,
    /// It holds values, but of a table that the record was removed from; other registers speak.
    Hidden,
    /// It holds nothing; other registers speak.
    Silent,
}

impl Unions {
    /// Reads them from the pairs of a view.
    pub fn of(view: &dyn View) -> Read<Self> {
        let merged = confirmed(view, &Cell::merges(), |cell| match cell {
            Cell::Merge { low, high } => Some((low, high)),
            _ => None,
        })?;
        let mapped = confirmed(view, &Cell::mappings(), |cell| match cell {
            Cell::Mapping { low, high } => Some((low, high)),
            _ => None,
        })?;
        let mut fitting = Vec::new();
        for (low, high) in mapped {
            if fits(view, &low, &high)? {
                fitting.push((low, high));
            }
        }
        Ok(Self { classes: Components::of(merged), groups: Components::of(fitting) })
    }

    /// Whether nothing is merged and nothing mapped.
    pub fn is_empty(&self) -> bool {
        self.classes.of.is_empty() && self.groups.of.is_empty()
    }

    /// The id under which a merged record is known: the smallest of its ids, so that everybody finds the same.
    pub fn canonical(&self, entity: EntityId) -> EntityId {
        self.ids(&entity)[0]
    }

    /// Whether the entity is one with any other.
    pub fn is_merged(&self, entity: EntityId) -> bool {
        self.classes.of.contains_key(&entity)
    }

    /// All ids of a record, the canonical one first.
    pub fn ids<'a>(&'a self, entity: &'a EntityId) -> &'a [EntityId] {
        self.classes.of.get(entity).map_or(std::slice::from_ref(entity), |class| class)
    }

    /// The ids of all merged records whose canonical id is greater than `after`, in the order of those.
    pub fn classes(&self, after: Option<EntityId>) -> &[Arc<[EntityId]>] {
        let from = after.map_or(0, |after| self.classes.all.partition_point(|class| class[0] <= after));
        &self.classes.all[from..]
    }

    /// The pairs whose merging makes the entity one with others, each once.
    pub fn pairs(&self, entity: EntityId) -> Vec<(EntityId, EntityId)> {
        let mut pairs = Vec::new();
        for one in self.ids(&entity) {
            let others = self.classes.neighbours.get(one).into_iter().flatten();
            pairs.extend(others.filter(|other| one < *other).map(|other| (*one, *other)));
        }
        pairs
    }

    /// The pairs that must be merged for these ids of one record to stay one without its other ids.
    pub fn missing_pairs(&self, ids: &BTreeSet<EntityId>) -> Vec<(EntityId, EntityId)> {
        let (mut left, mut heads) = (ids.clone(), Vec::new());
        while let Some(head) = left.first().copied() {
            let together = self.classes.walk(head, |_, other| Ok(ids.contains(other)));
            left.retain(|id| !together.as_ref().is_ok_and(|together| together.contains(id)) && *id != head);
            heads.push(head);
        }
        heads.iter().skip(1).map(|head| (heads[0], *head)).collect()
    }

    /// All columns that hold the same fact as this one, itself included, the smallest first; none if there is no other.
    pub fn mapped(&self, table: &Name, column: &Name) -> Option<&[ColumnRef]> {
        if self.groups.of.is_empty() {
            return None;
        }
        let one = ColumnRef { table: table.clone(), column: column.clone() };
        self.groups.of.get(&one).map(|group| &**group)
    }

    /// Whether any column of a table is mapped.
    pub fn maps(&self, table: &Name) -> bool {
        self.mapped_in(table).next().is_some()
    }

    /// The mapped columns of a table, by their keys, in the order of [`Self::groups`].
    pub fn mapped_in(&self, table: &Name) -> impl Iterator<Item = &Name> {
        let all = self.groups.all.iter().flat_map(|group| group.iter());
        all.filter(move |column| column.table == *table).map(|column| &column.column)
    }

    /// All groups of mapped columns, the smallest column of each first, in the order of these.
    pub fn groups(&self) -> &[Arc<[ColumnRef]>] {
        &self.groups.all
    }

    /// Whether no other cell reads as one with `cell`.
    pub fn is_alone(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Field { table, entity, field } => !self.is_merged(*entity) && self.mapped(table, field).is_none(),
            _ => true,
        }
    }

    /// The cells that read and write as one with `cell`, itself included, in key order: fields of merged records and
    /// of mapped columns. The first of them stands for all.
    pub fn cells(&self, cell: &Cell) -> Vec<Cell> {
        let Cell::Field { table, entity, field } = cell else { return vec![cell.clone()] };
        let alone = [ColumnRef { table: table.clone(), column: field.clone() }];
        fields(self.mapped(table, field).unwrap_or(&alone), self.ids(entity))
    }

    /// Those of [`Unions::cells`] that are one with `cell` by those pairs alone for which `counts` says so.
    pub fn cells_through(&self, cell: &Cell, mut counts: impl FnMut(&Cell) -> Read<bool>) -> Read<Vec<Cell>> {
        let Cell::Field { table, entity, field } = cell else { return Ok(vec![cell.clone()]) };
        if self.is_alone(cell) {
            return Ok(vec![cell.clone()]);
        }
        let column = ColumnRef { table: table.clone(), column: field.clone() };
        let ids = self.classes.walk(*entity, |one, other| counts(&Cell::merge(*one, *other)))?;
        let columns = self.groups.walk(column, |one, other| counts(&Cell::mapping(one.clone(), other.clone())))?;
        Ok(fields(&columns.into_iter().collect::<Vec<_>>(), &ids.into_iter().collect::<Vec<_>>()))
    }

    /// The part that each of several cells has in the union that they are.
    pub fn parts(&self, view: &dyn View, cells: &[(Cell, Vec<Tip>)]) -> Read<Vec<Part>> {
        let mut parts = Vec::with_capacity(cells.len());
        for (cell, tips) in cells {
            parts.push(if tips.iter().all(|tip| tip.content == Content::Absent) {
                Part::Silent
            } else if self.is_shown(view, cell, cells)? {
                Part::Speaks
            } else {
                Part::Hidden
            });
        }
        let speaks = parts.iter().min().copied().unwrap_or(Part::Speaks);
        parts.iter_mut().filter(|part| **part == speaks).for_each(|part| *part = Part::Speaks);
        Ok(parts)
    }

    /// Whether the record of a field is in its table; cells of one table are all shown or all hidden, so that between
    /// them it does not matter.
    fn is_shown(&self, view: &dyn View, cell: &Cell, cells: &[(Cell, Vec<Tip>)]) -> Read<bool> {
        let Cell::Field { table, entity, .. } = cell else { return Ok(true) };
        let of_table = |(other, _): &(Cell, Vec<Tip>)| matches!(other, Cell::Field { table: of, .. } if of == table);
        Ok(cells.iter().all(of_table) || read::holds_any_facet(view, table, self.ids(entity))?)
    }

    /// The standing writes of all cells that speak for what is one with `cell`, each op once, in canonical order;
    /// references to merged records under their canonical ids, so that equal values are equal.
    pub fn tips(&self, view: &dyn View, cell: &Cell) -> Read<Vec<Tip>> {
        let mut tips = self.verbatim(view, cell)?;
        self.canonicalize(&mut tips);
        Ok(tips)
    }

    /// The same with references as they were written.
    pub fn verbatim(&self, view: &dyn View, cell: &Cell) -> Read<Vec<Tip>> {
        if self.is_alone(cell) {
            return view.tips(cell);
        }
        let mut cells = Vec::new();
        for cell in self.cells(cell) {
            let tips = view.tips(&cell)?;
            cells.push((cell, tips));
        }
        let parts = self.parts(view, &cells)?;
        let speaking = cells.into_iter().zip(parts).filter(|(_, part)| *part == Part::Speaks);
        Ok(register::united(speaking.flat_map(|((_, tips), _)| tips)))
    }

    /// Puts references to merged records under their canonical ids.
    pub fn canonicalize(&self, tips: &mut [Tip]) {
        if self.classes.of.is_empty() {
            return;
        }
        for tip in tips {
            self.canonicalize_content(&mut tip.content);
        }
    }

    /// What a write says, with references to merged records under their canonical ids.
    pub(crate) fn canonical_content(&self, mut content: Content) -> Content {
        self.canonicalize_content(&mut content);
        content
    }

    fn canonicalize_content(&self, content: &mut Content) {
        match content {
            Content::Value(value) => self.canonicalize_value(value),
            Content::Edge(ends) => {
                ends.source = self.canonical(ends.source);
                ends.target = self.canonical(ends.target);
            }
            _ => {}
        }
    }

    /// Puts a reference to a merged record under its canonical id.
    pub fn canonicalize_value(&self, value: &mut Value) {
        match value {
            Value::Entity(entity) => *entity = self.canonical(*entity),
            Value::FieldRef(target) => target.entity = self.canonical(target.entity),
            _ => {}
        }
    }
}

/// The fields of every one of these entities in every one of these columns, in key order.
fn fields(columns: &[ColumnRef], ids: &[EntityId]) -> Vec<Cell> {
    let mut cells = Vec::with_capacity(columns.len() * ids.len());
    for ColumnRef { table, column } in columns {
        let of = |entity: &EntityId| Cell::Field { table: table.clone(), entity: *entity, field: column.clone() };
        cells.extend(ids.iter().map(of));
    }
    cells.sort_unstable();
    cells
}

/// The pairs of a range that are shown as standing.
fn confirmed<T>(view: &dyn View, range: &KeyRange, pair: impl Fn(Cell) -> Option<(T, T)>) -> Read<Vec<(T, T)>> {
    let mut pairs = Vec::new();
    for item in view.cells(range) {
        let (cell, tips) = item?;
        if register::shown(&cell, &tips).is_some_and(|tip| tip.content == Content::Present) {
            pairs.extend(pair(cell));
        }
    }
    Ok(pairs)
}

/// Whether two columns exist and can hold the same fact.
fn fits(view: &dyn View, low: &ColumnRef, high: &ColumnRef) -> Read<bool> {
    Ok(match (type_of(view, low)?, type_of(view, high)?) {
        (Some(low), Some(high)) => are_alike(&low, &high),
        _ => false,
    })
}

/// Whether fields of two types can be one. Texts and lists that merge cannot: each field has its own.
///
/// The values of two enums and the tables of two references may come to differ without that anybody meant to part the
/// fields; a value that does not fit one of them is flagged there.
pub fn are_alike(one: &FieldType, other: &FieldType) -> bool {
    match (one, other) {
        (FieldType::List { item }, FieldType::List { item: others }) => item == others,
        _ => one.word() == other.word() && !one.merges(),
    }
}

fn type_of(view: &dyn View, column: &ColumnRef) -> Read<Option<FieldType>> {
    let cell = Cell::Column { table: column.table.clone(), column: column.column.clone() };
    let tips = view.tips(&cell)?;
    Ok(match register::shown(&cell, &tips).map(|tip| &tip.content) {
        Some(Content::Column(spec)) => Some(spec.field_type.clone()),
        _ => None,
    })
}

impl<T: Eq + Hash> Default for Components<T> {
    fn default() -> Self {
        Self { all: Vec::new(), of: HashMap::new(), neighbours: BTreeMap::new() }
    }
}

impl<T: Ord + Clone + Hash> Components<T> {
    fn of(pairs: Vec<(T, T)>) -> Self {
        let mut neighbours: BTreeMap<T, Vec<T>> = BTreeMap::new();
        for (one, other) in pairs {
            neighbours.entry(one.clone()).or_default().push(other.clone());
            neighbours.entry(other).or_default().push(one);
        }
        let mut components = Self { neighbours, ..Self::default() };
        let starts: Vec<T> = components.neighbours.keys().cloned().collect();
        // In this order, whatever begins a component is its smallest member.
        for start in starts {
            if !components.of.contains_key(&start) {
                components.add(start);
            }
        }
        components
    }

    fn add(&mut self, start: T) {
        let reached = self.walk(start, |_, _| Ok(true));
        let component: Arc<[T]> = reached.into_iter().flatten().collect();
        self.of.extend(component.iter().map(|member| (member.clone(), Arc::clone(&component))));
        self.all.push(component);
    }

    /// What is joined with `start` by pairs that count, itself included.
    fn walk(&self, start: T, mut counts: impl FnMut(&T, &T) -> Read<bool>) -> Read<BTreeSet<T>> {
        let (mut reached, mut next) = (BTreeSet::from([start.clone()]), vec![start]);
        while let Some(at) = next.pop() {
            for neighbour in self.neighbours.get(&at).into_iter().flatten() {
                if !reached.contains(neighbour) && counts(&at, neighbour)? {
                    reached.insert(neighbour.clone());
                    next.push(neighbour.clone());
                }
            }
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opposite_merges_and_chains_come_to_one_class() {
        let classes = Components::of(vec![(2, 1), (3, 2), (7, 9), (1, 2)]);
        assert_eq!(classes.of[&3].to_vec(), [1, 2, 3]);
        assert_eq!(classes.of[&9].to_vec(), [7, 9]);
        assert_eq!(classes.of.get(&4), None);
        assert_eq!(classes.all.iter().map(|class| class[0]).collect::<Vec<_>>(), [1, 7]);
    }

    /// Whether two numbers are joined, by definition: relate whatever has a neighbour in common until nothing changes.
    fn related(pairs: &[(u8, u8)]) -> BTreeSet<(u8, u8)> {
        let mut related: BTreeSet<(u8, u8)> = pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
        loop {
            let steps = related.iter().flat_map(|(a, b)| {
                let onwards = related.iter().filter(move |(from, _)| from == b);
                onwards.map(move |(_, to)| (*a, *to))
            });
            let more: BTreeSet<_> = related.iter().copied().chain(steps).collect();
            if more.len() == related.len() {
                return related;
            }
            related = more;
        }
    }

    proptest! {
        #[test]
        fn components_equal_the_definition(pairs in prop::collection::vec((0..9_u8, 0..9_u8), 0..9)) {
            let pairs: Vec<_> = pairs.into_iter().filter(|(a, b)| a != b).collect();
            let (related, components) = (related(&pairs), Components::of(pairs));
            for (a, b) in (0..9).flat_map(|a| (0..9).map(move |b| (a, b))) {
                let together = components.of.get(&a).is_some_and(|component| component.contains(&b));
                prop_assert_eq!(together, related.contains(&(a, b)), "{} and {}", a, b);
            }
            prop_assert!(components.all.windows(2).all(|two| two[0][0] < two[1][0]));
            prop_assert!(components.of.values().all(|component| component.windows(2).all(|two| two[0] < two[1])));
        }
    }
}
