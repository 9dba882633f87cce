//! Records and fields: creating, changing, adding to tables, removing.

use openprod_model::ids::{EntityId, OpRef};
use openprod_model::operation::{Basis, FacetAt, FieldAt, Operation};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldRef, FieldType, Name, Value};

use super::{Decision, Planner};
use crate::cell::{Cell, Content};
use crate::command::Created;
use crate::describe;
use crate::read::{self, Column, MAX_REFERENCE_STEPS, Table};
use crate::view::View;

impl Planner<'_> {
    pub(super) fn create_record(
        &mut self,
        record: Option<EntityId>,
        table: &Name,
        values: &[(Name, Value)],
    ) -> Decision<()> {
        let table = self.table(table)?;
        let entity = record.unwrap_or_else(|| self.ids.entity());
        if read::is_record(&self.view(), &table.key, entity)? {
            let message = format!("Record {entity} exists already in {}.", table.spec.name);
            return Err(Refusal::new(Reason::AlreadyExists, message).at("record").into());
        }
        self.attach(&table, entity, values)?;
        self.created.push((self.command, Created::Record(entity)));
        Ok(())
    }

    pub(super) fn add_to_table(&mut self, entity: EntityId, table: &Name, values: &[(Name, Value)]) -> Decision<()> {
        let table = self.table(table)?;
        if !read::exists(&self.view(), entity)? {
            return Err(no_record(entity, "record").into());
        }
        if read::is_record(&self.view(), &table.key, entity)? {
            let message = format!("Record {entity} is already in {}.", table.spec.name);
            return Err(Refusal::new(Reason::AlreadyExists, message).at("table").into());
        }
        self.attach(&table, entity, values)
    }

    /// Attaches a facet and fills its fields: given values first, then defaults where nothing is.
    fn attach(&mut self, table: &Table, entity: EntityId, values: &[(Name, Value)]) -> Decision<()> {
        let facet = Cell::Facet { table: table.key.clone(), entity };
        let basis = self.basis(&facet)?;
        self.push(Operation::AttachFacet { at: vec![FacetAt { entity, table: table.key.clone(), basis }] })?;
        for (index, (name, value)) in values.iter().enumerate() {
            let place = format!("values[{index}]");
            let column = column(table, name, &place)?;
            if column.spec.field_type.merges() {
                self.begin(table, column, entity, value, &place)?;
            } else {
                self.set_field(table, column, entity, value, &place)?;
            }
        }
        for column in &table.columns {
            self.fill(table, column, entity)?;
        }
        Ok(())
    }

    /// Gives a field of a new record its default, or finds that it needs a value.
    fn fill(&mut self, table: &Table, column: &Column, entity: EntityId) -> Decision<()> {
        if column.spec.default.is_none() && !column.spec.required {
            return Ok(());
        }
        let cell = Cell::Field { table: table.key.clone(), entity, field: column.key.clone() };
        if read::united(&self.view(), cell)?.content().is_some_and(|content| *content != Content::Absent) {
            return Ok(());
        }
        match &column.spec.default {
            Some(default) => self.set_field(table, column, entity, default, "default"),
            None => Err(required(table, column).into()),
        }
    }

    pub(super) fn set_fields(
        &mut self,
        entity: EntityId,
        table: &Name,
        values: &[(Name, Option<Value>)],
    ) -> Decision<()> {
        let table = self.table(table)?;
        if !read::is_record(&self.view(), &table.key, entity)? {
            let message = format!("There is no record {entity} in {}.", table.spec.name);
            return Err(Refusal::new(Reason::UnknownRecord, message).at("record").into());
        }
        if values.is_empty() {
            return Err(Refusal::new(Reason::InvalidRequest, "No field is named.").at("values").into());
        }
        for (index, (name, value)) in values.iter().enumerate() {
            let place = format!("values[{index}]");
            let column = column(&table, name, &place)?;
            match value {
                Some(value) => self.set_field(&table, column, entity, value, &place)?,
                None => self.clear_field(&table, column, entity)?,
            }
        }
        Ok(())
    }

    fn set_field(
        &mut self,
        table: &Table,
        column: &Column,
        entity: EntityId,
        value: &Value,
        place: &str,
    ) -> Decision<()> {
        self.check_value(table, column, value, place)?;
        self.check_mapped(table, column, value, place)?;
        let own = FieldRef { entity, table: table.key.clone(), field: column.key.clone() };
        if let Value::FieldRef(target) = value {
            self.check_reference(&own, column, target, place)?;
            let at = self.field_at(own)?;
            return self.push(Operation::SetFieldReference { at, target: target.clone() });
        }
        let target = self.through_references(own, place)?;
        let at = self.field_at(target)?;
        self.push(Operation::SetField { at, value: value.clone() })
    }

    fn clear_field(&mut self, table: &Table, column: &Column, entity: EntityId) -> Decision<()> {
        self.check_not_required(table, column)?;
        if column.spec.field_type.merges() {
            return Err(super::text::is_edited(table, column).at("values").into());
        }
        let own = FieldRef { entity, table: table.key.clone(), field: column.key.clone() };
        let at = self.field_at(own)?;
        self.push(Operation::ClearField { at })
    }

    /// The field, with all registers that read as one with it.
    fn field_at(&self, field: FieldRef) -> Decision<Vec<FieldAt>> {
        let cell = cell_of(field);
        let cells = read::written_with(&self.view(), &cell)?;
        let bases = self.bases(&cell, &cells)?;
        Ok(cells.into_iter().zip(bases).filter_map(|(cell, basis)| field_at(cell, basis)).collect())
    }

    /// The field that an edit of `own` writes: what it refers to, if it refers to another.
    pub(super) fn through_references(&self, own: FieldRef, place: &str) -> Decision<FieldRef> {
        let mut field = own;
        let unions = self.view().unions()?;
        for _ in 0..=MAX_REFERENCE_STEPS {
            let cell = cell_of(field.clone());
            match read::united(&self.view(), cell.clone())?.content() {
                // A reference between fields that have become one leads nowhere else: the field is written over.
                Some(Content::Value(Value::FieldRef(next)))
                    if !unions.cells(&cell).contains(&cell_of(next.clone())) =>
                {
                    field = next.clone();
                }
                _ => return Ok(field),
            }
        }
        let message = "This field refers to another in a circle, so there is nothing to write to.";
        Err(Refusal::new(Reason::InvalidRequest, message).at(place).next("Clear the field first.").into())
    }

    pub(super) fn check_value(&self, table: &Table, column: &Column, value: &Value, place: &str) -> Decision<()> {
        check_listed(table, column, value, place)?;
        if column.spec.field_type.merges() {
            return Err(super::text::is_edited(table, column).at(place).into());
        }
        if !column.spec.field_type.admits(value) {
            let message = format!(
                "{} in {} holds {}, and {} is not.",
                column.spec.name,
                table.spec.name,
                describe::a_type(&column.spec.field_type),
                describe::value(value)
            );
            return Err(Refusal::new(Reason::WrongType, message).at(place).into());
        }
        match value {
            Value::Entity(entity) => self.check_entity(&column.spec.field_type, *entity, place),
            _ => Ok(()),
        }
    }

    /// A value that is written into mapped columns, too, must be one that they list.
    pub(super) fn check_mapped(&self, table: &Table, column: &Column, value: &Value, place: &str) -> Decision<()> {
        if !matches!(value, Value::Enum(_)) {
            return Ok(());
        }
        let columns = self.same_columns(table, column)?;
        Ok(columns.iter().try_for_each(|(table, column)| check_listed(table, column, value, place))?)
    }

    /// A field that is to be cleared must need no value, nor may any that is one with it.
    pub(super) fn check_not_required(&self, table: &Table, column: &Column) -> Decision<()> {
        let columns = self.same_columns(table, column)?;
        match columns.iter().find(|(_, column)| column.spec.required) {
            Some((table, column)) => Err(required(table, column).into()),
            None => Ok(()),
        }
    }

    /// The column with all that are mapped to it.
    fn same_columns(&self, table: &Table, column: &Column) -> Decision<Vec<(Table, Column)>> {
        let view = self.view();
        let unions = view.unions()?;
        let mut columns = vec![(table.clone(), column.clone())];
        for other in unions.mapped(&table.key, &column.key).into_iter().flatten() {
            let Some(far) = read::table_of_key(&view, &other.table)?.filter(|far| far.key != table.key) else {
                continue;
            };
            let column = far.columns.iter().find(|column| column.key == other.column).cloned();
            columns.extend(column.map(|column| (far, column)));
        }
        Ok(columns)
    }

    fn check_entity(&self, field_type: &FieldType, entity: EntityId, place: &str) -> Decision<()> {
        let there = match field_type {
            FieldType::Reference { table: Some(table) } => read::is_record(&self.view(), table, entity)?,
            _ => read::exists(&self.view(), entity)?,
        };
        if there { Ok(()) } else { Err(no_record(entity, place).into()) }
    }

    /// A new field reference must lead to a field of the same type, and not back to where it starts.
    pub(super) fn check_reference(
        &self,
        own: &FieldRef,
        column: &Column,
        target: &FieldRef,
        place: &str,
    ) -> Decision<()> {
        if !read::is_record(&self.view(), &target.table, target.entity)? {
            return Err(no_record(target.entity, place).into());
        }
        let far = read::table_of_key(&self.view(), &target.table)?;
        let far = far.as_ref().and_then(|table| table.columns.iter().find(|column| column.key == target.field));
        let Some(far) = far else {
            let message = format!("There is no field \"{}\" in {}.", target.field, target.table);
            return Err(Refusal::new(Reason::UnknownField, message).at(place).into());
        };
        if far.spec.field_type.word() != column.spec.field_type.word() {
            let message = format!(
                "{} holds {}, and the field it is to show holds {}.",
                column.spec.name,
                describe::a_type(&column.spec.field_type),
                describe::a_type(&far.spec.field_type)
            );
            return Err(Refusal::new(Reason::WrongType, message).at(place).into());
        }
        let end = self.through_references(target.clone(), place)?;
        let own = self.view().unions()?.cells(&cell_of(own.clone()));
        if [end, target.clone()].into_iter().any(|field| own.contains(&cell_of(field))) {
            let message = "The field would refer to itself.";
            return Err(Refusal::new(Reason::InvalidRequest, message).at(place).into());
        }
        Ok(())
    }

    pub(super) fn remove_from_table(&mut self, entity: EntityId, table: &Name) -> Decision<()> {
        let table = self.table(table)?;
        let tables = read::tables_of(&self.view(), entity)?;
        if !tables.contains(&table.key) {
            let message = format!("There is no record {entity} in {}.", table.spec.name);
            return Err(Refusal::new(Reason::UnknownRecord, message).at("record").into());
        }
        let mut seen = self.seen_fields(&table.key, entity)?;
        if tables.len() == 1 {
            seen.extend(self.seen_edges(entity)?);
        }
        let at = self.facets_at(entity, &table.key)?;
        self.push(Operation::DetachFacet { at, seen })
    }

    pub(super) fn delete_record(&mut self, entity: EntityId) -> Decision<()> {
        let tables = read::tables_of(&self.view(), entity)?;
        if tables.is_empty() {
            return Err(no_record(entity, "record").into());
        }
        let mut seen = self.seen_edges(entity)?;
        let mut at = Vec::new();
        for table in tables {
            seen.extend(self.seen_fields(&table, entity)?);
            at.extend(self.facets_at(entity, &table)?);
        }
        self.push(Operation::DeleteEntity { at, seen })
    }

    /// The record's membership of a table, under each id that is attached to it.
    pub(super) fn facets_at(&self, entity: EntityId, table: &Name) -> Decision<Vec<FacetAt>> {
        let mut facets = Vec::new();
        for entity in read::ids_in(&self.view(), table, entity)? {
            let basis = self.basis(&Cell::Facet { table: table.clone(), entity })?;
            facets.push(FacetAt { entity, table: table.clone(), basis });
        }
        Ok(facets)
    }

    pub(super) fn seen_fields(&self, table: &Name, entity: EntityId) -> Decision<Vec<OpRef>> {
        let (view, mut seen) = (self.view(), Vec::new());
        for id in view.unions()?.ids(&entity) {
            seen.extend(self.seen_of(&read::hanging_on(&view, table, *id)?)?);
        }
        Ok(seen)
    }

    /// The tips of a record's edges and of their properties, hidden ones too, as far as the author had seen them.
    pub(super) fn seen_edges(&self, entity: EntityId) -> Decision<Vec<OpRef>> {
        let (view, mut tips) = (self.view(), Vec::new());
        for id in view.unions()?.ids(&entity) {
            for edge in read::edges_hanging_on(&view, *id)? {
                tips.extend(read::writes_of_edge(&view, edge)?);
            }
        }
        self.seen_of(&tips)
    }

    /// Of the standing writes of several cells, those that the author had seen.
    pub(super) fn seen_of(&self, cells: &[(Cell, Vec<crate::cell::Tip>)]) -> Decision<Vec<OpRef>> {
        let mut all = Vec::new();
        for (cell, tips) in cells {
            let standing = tips.iter().map(|tip| tip.op);
            match self.seen.seen(cell)? {
                Some(seen) => all.extend(standing.filter(|op| seen.contains(op) || self.planned.contains(op))),
                None => all.extend(standing),
            }
        }
        Ok(all)
    }
}

fn check_listed(table: &Table, column: &Column, value: &Value, place: &str) -> Result<(), Refusal> {
    let (FieldType::Enum { values }, Value::Enum(name)) = (&column.spec.field_type, value) else { return Ok(()) };
    if values.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = values.iter().map(Name::as_str).collect();
    let message = format!("\"{name}\" is not a value of {} in {}.", column.spec.name, table.spec.name);
    let next = format!("Known values: {}.", known.join(", "));
    Err(Refusal::new(Reason::UnknownEnumValue, message).at(place).next(next))
}

fn cell_of(field: FieldRef) -> Cell {
    let FieldRef { entity, table, field } = field;
    Cell::Field { table, entity, field }
}

fn field_at(cell: Cell, basis: Basis) -> Option<FieldAt> {
    let Cell::Field { table, entity, field } = cell else { return None };
    Some(FieldAt { entity, table, field, basis })
}

pub(super) fn column<'a>(table: &'a Table, name: &Name, place: &str) -> Result<&'a Column, Refusal> {
    table.column(name).ok_or_else(|| {
        let known = table.visible().map(|column| column.spec.name.as_str());
        let message = format!("There is no field \"{name}\" in {}.", table.spec.name);
        let next = describe::suggestion(name.as_str(), known, "field");
        Refusal::new(Reason::UnknownField, message).at(place).next(next)
    })
}

pub(super) fn required(table: &Table, column: &Column) -> Refusal {
    let message = format!("{} in {} needs a value.", column.spec.name, table.spec.name);
    Refusal::new(Reason::RequiredMissing, message).at("values")
}

pub(super) fn no_record(entity: EntityId, place: &str) -> Refusal {
    Refusal::new(Reason::UnknownRecord, format!("There is no record {entity}.")).at(place)
}
