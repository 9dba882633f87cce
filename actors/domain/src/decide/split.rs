//! Taking apart: splitting merged records, and splitting tables off a record.

use std::collections::BTreeSet;

use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::operation::{Basis, EdgeEnds, FacetAt, Operation};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Name;

use super::records::no_record;
use super::unions::copy;
use super::{Decision, Planner};
use crate::cell::{Cell, Content, Tip};
use crate::command::Created;
use crate::compose::Putting;
use crate::read;
use crate::register;
use crate::view::View;

impl Planner<'_> {
    pub(super) fn split_record(&mut self, record: EntityId, ids: &[EntityId]) -> Decision<()> {
        let unions = self.view().unions()?;
        let (leaving, staying) = self.two_sides(record, ids)?;
        let crosses = |(one, other): &(EntityId, EntityId)| leaving.contains(one) != leaving.contains(other);
        let mut closed: BTreeSet<_> = unions.pairs(record).into_iter().filter(crosses).collect();
        // Whatever joined them, this pair remembers that they are not the same.
        closed.extend(leaving.first().copied().zip(staying.first().copied()).map(|(a, b)| (a.min(b), a.max(b))));
        let at = self.pairs(closed)?;
        let carried = self.fragments(unions.ids(&record))?;
        self.push(Operation::SplitEntity { at })?;
        // Ids of one side that were one only through the other side stay one.
        let joined: Vec<_> = [&leaving, &staying].into_iter().flat_map(|side| unions.missing_pairs(side)).collect();
        if !joined.is_empty() {
            let at = self.pairs(joined)?;
            self.push(Operation::MergeEntities { at })?;
        }
        self.push_all(carried)
    }

    /// What must be written for texts to be whole that were edited as one with those of the other ids.
    fn fragments(&self, ids: &[EntityId]) -> Decision<Vec<Putting>> {
        let view = self.view();
        let mut puttings = Vec::new();
        for id in ids {
            for table in read::tables_of(&view, *id)? {
                for (field, _) in read::fields(&view, &table, *id)? {
                    let own = Cell::Field { table: table.clone(), entity: *id, field };
                    if self.is_fragment(&own)? {
                        puttings.extend(self.carried(&own, &own)?.unwrap_or_default());
                    }
                }
            }
        }
        Ok(puttings)
    }

    /// The ids that leave a merged record, and those that stay.
    fn two_sides(&self, record: EntityId, ids: &[EntityId]) -> Decision<(BTreeSet<EntityId>, BTreeSet<EntityId>)> {
        let unions = self.view().unions()?;
        if !unions.is_merged(record) {
            if !read::exists(&self.view(), record)? {
                return Err(no_record(record, "record").into());
            }
            let refusal =
                Refusal::new(Reason::InvalidRequest, format!("Record {record} is not merged with any other."));
            return Err(refusal.at("record").next("Splitting off takes a record's tables apart.").into());
        }
        let class: BTreeSet<EntityId> = unions.ids(&record).iter().copied().collect();
        let leaving: BTreeSet<EntityId> = ids.iter().copied().collect();
        if let Some(foreign) = leaving.difference(&class).next() {
            let all: Vec<String> = class.iter().map(ToString::to_string).collect();
            let message = format!("{foreign} is no id of this record. It has {}.", all.join(", "));
            return Err(Refusal::new(Reason::UnknownRecord, message).at("ids").into());
        }
        let staying: BTreeSet<EntityId> = class.difference(&leaving).copied().collect();
        for (side, what) in [(&leaving, "split off"), (&staying, "kept")] {
            self.check_side(side, what)?;
        }
        Ok((leaving, staying))
    }

    /// What is in no table would be gone after a split.
    fn check_side(&self, ids: &BTreeSet<EntityId>, what: &str) -> Decision<()> {
        if ids.is_empty() {
            let message = format!("Of the ids of a merged record, at least one must be {what}.");
            return Err(Refusal::new(Reason::InvalidRequest, message).at("ids").into());
        }
        for id in ids {
            for table in read::tables_of(&self.view(), *id)? {
                if read::holds_facet(&self.view(), &table, *id)? {
                    return Ok(());
                }
            }
        }
        let message = format!("What would be {what} is in no table, and would not be seen any more.");
        Err(Refusal::new(Reason::InvalidRequest, message).at("ids").into())
    }

    pub(super) fn split_off(
        &mut self,
        record: EntityId,
        tables: &[Name],
        edges: &[EdgeId],
        new: Option<EntityId>,
    ) -> Decision<()> {
        let moving = self.moving(record, tables)?;
        let new = new.unwrap_or_else(|| self.ids.entity());
        if read::exists(&self.view(), new)? || self.view().unions()?.is_merged(new) {
            let message = format!("There is a record {new} already.");
            return Err(Refusal::new(Reason::AlreadyExists, message).at("new").into());
        }
        let fields = self.moved_fields(record, &moving, new)?;
        for table in &moving {
            self.attach_only(table, new)?;
            let seen = self.seen_fields(table, record)?;
            let at = self.facets_at(record, table)?;
            self.push(Operation::DetachFacet { at, seen })?;
        }
        let fields = self.over_what_hid(fields, new)?;
        self.push_all(fields)?;
        edges.iter().try_for_each(|edge| self.move_end(*edge, record, new))?;
        self.created.push((self.command, Created::Record(new)));
        Ok(())
    }

    /// The keys of the tables that are to leave: some of the record's, and not all.
    fn moving(&mut self, record: EntityId, tables: &[Name]) -> Decision<BTreeSet<Name>> {
        let all = read::tables_of(&self.view(), record)?;
        if all.is_empty() {
            return Err(no_record(record, "record").into());
        }
        let mut moving = BTreeSet::new();
        for (index, table) in tables.iter().enumerate() {
            let table = self.table(table)?;
            if !all.contains(&table.key) {
                let message = format!("There is no record {record} in {}.", table.spec.name);
                return Err(Refusal::new(Reason::UnknownRecord, message).at(format!("tables[{index}]")).into());
            }
            moving.insert(table.key.clone());
        }
        if moving.is_empty() || moving.len() == all.len() {
            let message = "Splitting off takes some of a record's tables, and leaves at least one.";
            return Err(Refusal::new(Reason::InvalidRequest, message).at("tables").into());
        }
        Ok(moving)
    }

    /// What must be written for the new record to say what the tables that leave say, and for mapped fields of the
    /// tables that stay not to lose what only those said.
    fn moved_fields(&self, record: EntityId, moving: &BTreeSet<Name>, new: EntityId) -> Decision<Vec<Putting>> {
        let view = self.view();
        let (mut puttings, mut filled) = (Vec::new(), BTreeSet::new());
        for table in moving {
            for (field, _) in read::fields(&view, table, record)? {
                let cell = Cell::Field { table: table.clone(), entity: record, field: field.clone() };
                let of_new = Cell::Field { table: table.clone(), entity: new, field };
                if let Some(carried) = self.carried(&cell, &of_new)? {
                    puttings.extend(carried);
                    continue;
                }
                puttings.extend(self.own_tips(&cell)?.iter().map(|tip| copy(of_new.clone(), tip)));
                for (cell, tips) in self.left_empty(&cell, moving)? {
                    if filled.insert(cell.clone()) {
                        puttings.extend(tips.iter().map(|tip| copy(cell.clone(), tip)));
                    }
                }
            }
        }
        Ok(puttings)
    }

    /// The same writes; what hid under the id of the new record, and comes up with it, they supersede.
    fn over_what_hid(&self, mut puttings: Vec<Putting>, new: EntityId) -> Decision<Vec<Putting>> {
        for putting in &mut puttings {
            if matches!(putting.cell, Cell::Field { entity, .. } if entity == new) && putting.basis.preds.is_empty() {
                putting.basis.preds = self.basis(&putting.cell)?.preds;
            }
        }
        Ok(puttings)
    }

    /// The standing writes of a field in its own table, under all ids; where there is no value, those that it shows
    /// through a mapping.
    fn own_tips(&self, cell: &Cell) -> Decision<Vec<Tip>> {
        let view = self.view();
        let unions = view.unions()?;
        let Cell::Field { table, entity, field } = cell else { return Ok(view.tips(cell)?) };
        let mut own = Vec::new();
        for id in unions.ids(entity) {
            own.extend(view.tips(&Cell::Field { table: table.clone(), entity: *id, field: field.clone() })?);
        }
        let own = register::united(own);
        let empty = own.iter().all(|tip| tip.content == Content::Absent);
        Ok(if empty { unions.verbatim(&view, cell)? } else { own })
    }

    /// The fields mapped to this one that hold nothing themselves, of tables that stay, and what they show.
    fn left_empty(&self, cell: &Cell, moving: &BTreeSet<Name>) -> Decision<Vec<(Cell, Vec<Tip>)>> {
        let view = self.view();
        let mut empty = Vec::new();
        for other in read::written_with(&view, cell)? {
            let stays = matches!(&other, Cell::Field { table, .. } if !moving.contains(table));
            if stays && view.tips(&other)?.is_empty() {
                let tips = self.own_tips(&other)?;
                empty.push((other, tips));
            }
        }
        Ok(empty)
    }

    fn attach_only(&mut self, table: &Name, entity: EntityId) -> Decision<()> {
        let basis = self.basis(&Cell::Facet { table: table.clone(), entity })?;
        let at = FacetAt { entity, table: table.clone(), basis };
        self.push(Operation::AttachFacet { at: vec![at] })
    }

    /// Puts an edge with all that hangs on it at the new record: what an edge joins never changes, so it is made anew.
    fn move_end(&mut self, edge: EdgeId, record: EntityId, new: EntityId) -> Decision<()> {
        let unions = self.view().unions()?;
        let reading = self.edge(edge, "edges")?;
        let old = unions.canonical(record);
        let end = |entity: EntityId| if unions.canonical(entity) == old { new } else { entity };
        let ends = EdgeEnds {
            edge_type: reading.ends.edge_type.clone(),
            source: end(reading.ends.source),
            target: end(reading.ends.target),
        };
        if ends == reading.ends {
            let message = format!("Edge {edge} is not at record {record}.");
            return Err(Refusal::new(Reason::UnknownEdge, message).at("edges").into());
        }
        let again = self.ids.edge();
        let mut puttings = vec![plain(Cell::Edge { edge: again }, Content::Edge(ends))];
        if let Some(place) = reading.place {
            puttings.push(plain(Cell::EdgePosition { edge: again }, Content::Place(place)));
        }
        for (property, _) in reading.properties {
            let cell = Cell::EdgeProperty { edge: again, property: property.clone() };
            let tips = self.view().tips(&Cell::EdgeProperty { edge, property })?;
            puttings.extend(tips.iter().map(|tip| copy(cell.clone(), tip)));
        }
        self.push_all(puttings)?;
        self.created.push((self.command, Created::Edge(again)));
        self.delete_edge(edge)
    }
}

fn plain(cell: Cell, content: Content) -> Putting {
    Putting { cell, content, basis: Basis::default(), seen: Vec::new() }
}
