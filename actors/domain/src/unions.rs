//! Unions: the registers that read and write as one, because people merged records or confirmed mappings.
//!
//! Merging entities and mapping columns only relate pairs; what they unite follows from all pairs that stand. Folding
//! knows nothing of it (I-3): reading takes the union of the registers, planning writes every one of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use openprod_model::ids::EntityId;
use openprod_model::operation::ColumnRef;
use openprod_model::value::{Name, Value};

use crate::cell::{Cell, Content, KeyRange, Tip};
use crate::register;
use crate::view::{Read, View};

/// All merges and mappings that stand in one view. Small: it holds no entity and no column that is only itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unions {
    /// The entities that each merged entity is one with, itself included, the smallest first.
    classes: HashMap<EntityId, Arc<[EntityId]>>,
    /// The columns that each mapped column is one with, itself included, the smallest first.
    groups: HashMap<ColumnRef, Arc<[ColumnRef]>>,
}

impl Unions {
    /// Reads them from the pairs of a view.
    pub fn of(view: &dyn View) -> Read<Self> {
        let merged = confirmed(view, &Cell::merges(), |cell| match cell {
            Cell::Merge { low, high } => Some((low, high)),
            _ => None,
        })?;
        let mut mapped = confirmed(view, &Cell::mappings(), |cell| match cell {
            Cell::Mapping { low, high } => Some((low, high)),
            _ => None,
        })?;
        let mut fitting = Vec::new();
        for (low, high) in mapped.drain(..) {
            if fits(view, &low, &high)? {
                fitting.push((low, high));
            }
        }
        Ok(Self { classes: components(merged), groups: components(fitting) })
    }

    /// Whether nothing is merged and nothing mapped.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.groups.is_empty()
    }

    /// The id under which a merged record is known: the smallest of its ids, so that everybody finds the same.
    pub fn canonical(&self, entity: EntityId) -> EntityId {
        self.classes.get(&entity).map_or(entity, |class| class[0])
    }

    /// Whether the entity is one with any other.
    pub fn is_merged(&self, entity: EntityId) -> bool {
        self.classes.contains_key(&entity)
    }

    /// All ids of a record, the canonical one first.
    pub fn class(&self, entity: EntityId) -> Vec<EntityId> {
        self.classes.get(&entity).map_or_else(|| vec![entity], |class| class.to_vec())
    }

    /// All classes of merged records, by canonical id.
    pub fn classes(&self) -> BTreeMap<EntityId, Arc<[EntityId]>> {
        self.classes.values().map(|class| (class[0], Arc::clone(class))).collect()
    }

    /// All columns that hold the same fact as this one, itself included.
    pub fn group(&self, table: &Name, column: &Name) -> Vec<ColumnRef> {
        let one = ColumnRef { table: table.clone(), column: column.clone() };
        self.groups.get(&one).map_or_else(|| vec![one], |group| group.to_vec())
    }

    /// All groups of mapped columns.
    pub fn groups(&self) -> BTreeSet<Arc<[ColumnRef]>> {
        self.groups.values().cloned().collect()
    }

    /// The cells that read and write as one with `cell`, itself included, in key order: fields of merged records and
    /// of mapped columns. The first of them stands for all.
    pub fn cells(&self, cell: &Cell) -> Vec<Cell> {
        let Cell::Field { table, entity, field } = cell else { return vec![cell.clone()] };
        if self.is_empty() {
            return vec![cell.clone()];
        }
        let mut cells = Vec::new();
        for ColumnRef { table, column } in self.group(table, field) {
            let of = |entity| Cell::Field { table: table.clone(), entity, field: column.clone() };
            cells.extend(self.class(*entity).into_iter().map(of));
        }
        cells.sort_by_cached_key(Cell::key);
        cells
    }

    /// The standing writes of all cells that are one with `cell`, each op once, in canonical order; references to
    /// merged records under their canonical ids, so that equal values are equal.
    pub fn tips(&self, view: &dyn View, cell: &Cell) -> Read<Vec<Tip>> {
        let cells = self.cells(cell);
        let mut tips = Vec::new();
        for cell in &cells {
            tips.extend(view.tips(cell)?);
        }
        if cells.len() > 1 {
            tips.sort_by_key(Tip::order);
            tips.dedup_by_key(|tip| tip.op);
        }
        if !self.classes.is_empty() {
            for tip in &mut tips {
                self.canonicalize(tip);
            }
        }
        Ok(tips)
    }

    fn canonicalize(&self, tip: &mut Tip) {
        self.canonicalize_content(&mut tip.content);
    }

    /// What a write says, with references to merged records under their canonical ids.
    pub(crate) fn canonical_content(&self, mut content: Content) -> Content {
        self.canonicalize_content(&mut content);
        content
    }

    fn canonicalize_content(&self, content: &mut Content) {
        match content {
            Content::Value(Value::Entity(entity)) => *entity = self.canonical(*entity),
            Content::Edge(ends) => {
                ends.source = self.canonical(ends.source);
                ends.target = self.canonical(ends.target);
            }
            _ => {}
        }
    }
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

/// Whether two columns exist and hold values of one type.
fn fits(view: &dyn View, low: &ColumnRef, high: &ColumnRef) -> Read<bool> {
    let (low, high) = (type_of(view, low)?, type_of(view, high)?);
    Ok(low.is_some() && low == high)
}

fn type_of(view: &dyn View, column: &ColumnRef) -> Read<Option<&'static str>> {
    let cell = Cell::Column { table: column.table.clone(), column: column.column.clone() };
    let tips = view.tips(&cell)?;
    Ok(match register::shown(&cell, &tips).map(|tip| &tip.content) {
        Some(Content::Column(spec)) => Some(spec.field_type.word()),
        _ => None,
    })
}

/// The connected components of a graph, each sorted, under each of its members.
fn components<T: Ord + Clone + std::hash::Hash>(pairs: Vec<(T, T)>) -> HashMap<T, Arc<[T]>> {
    let mut neighbours: BTreeMap<T, Vec<T>> = BTreeMap::new();
    for (one, other) in pairs {
        neighbours.entry(one.clone()).or_default().push(other.clone());
        neighbours.entry(other).or_default().push(one);
    }
    let mut components: HashMap<T, Arc<[T]>> = HashMap::new();
    for start in neighbours.keys() {
        if components.contains_key(start) {
            continue;
        }
        let component = reached_from(start, &neighbours);
        components.extend(component.iter().map(|member| (member.clone(), Arc::clone(&component))));
    }
    components
}

fn reached_from<T: Ord + Clone>(start: &T, neighbours: &BTreeMap<T, Vec<T>>) -> Arc<[T]> {
    let (mut reached, mut next) = (BTreeSet::from([start.clone()]), vec![start]);
    while let Some(at) = next.pop() {
        for neighbour in &neighbours[at] {
            if reached.insert(neighbour.clone()) {
                next.push(neighbour);
            }
        }
    }
    reached.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_merges_and_chains_come_to_one_class() {
        let classes = components(vec![(2, 1), (3, 2), (7, 9), (1, 2)]);
        assert_eq!(classes[&3].to_vec(), [1, 2, 3]);
        assert_eq!(classes[&9].to_vec(), [7, 9]);
        assert_eq!(classes.get(&4), None);
    }
}
