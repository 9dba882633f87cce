//! What is the same: merging records, confirming, rejecting and revoking mappings of columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_model::ids::EntityId;
use openprod_model::operation::{Basis, ColumnRef, MappingAt, Operation, PairAt};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldType, Name};

use super::records::{column, no_record};
use super::{Decision, Planner, Problem};
use crate::cell::{Cell, Content, Tip};
use crate::command::NamedColumn;
use crate::compose::Putting;
use crate::describe;
use crate::read::{self, Column, Table};
use crate::register;
use crate::unions::Unions;
use crate::view::{Read, View};

impl Planner<'_> {
    pub(super) fn merge_records(&mut self, records: &[EntityId]) -> Decision<()> {
        let unions = self.view().unions()?;
        let mut different = BTreeSet::new();
        for (index, record) in records.iter().enumerate() {
            if !read::exists(&self.view(), *record)? {
                return Err(no_record(*record, &format!("records[{index}]")).into());
            }
            different.insert(unions.canonical(*record));
        }
        let mut different = different.into_iter();
        let first = different.next().ok_or_else(too_few)?;
        let at = self.pairs(different.map(|other| (first, other)))?;
        if at.is_empty() {
            return Err(if records.len() < 2 { too_few() } else { already_one() }.into());
        }
        self.push(Operation::MergeEntities { at })?;
        self.relate(first)
    }

    /// Writes of pairs, with what the author knows of each.
    pub(super) fn pairs(&self, pairs: impl IntoIterator<Item = (EntityId, EntityId)>) -> Decision<Vec<PairAt>> {
        let at = |(one, other)| Ok(PairAt { one, other, basis: self.basis(&Cell::merge(one, other))? });
        pairs.into_iter().map(at).collect()
    }

    /// Notes the fields of a record that has just been merged.
    fn relate(&mut self, record: EntityId) -> Decision<()> {
        let view = self.view();
        let mut related = Vec::new();
        for table in read::tables_of(&view, record)? {
            for id in view.unions()?.ids(&record) {
                related.extend(read::hanging_on(&view, &table, *id)?.into_iter().map(|(cell, _)| cell));
            }
        }
        self.related.extend(related);
        Ok(())
    }

    pub(super) fn confirm_mapping(&mut self, one: &NamedColumn, other: &NamedColumn) -> Decision<()> {
        let (one, other) = self.two_columns(one, other)?;
        check_alike(&one, &other)?;
        let unions = self.view().unions()?;
        let group = |side: &Side| unions.mapped(&side.at.table, &side.at.column).map(<[ColumnRef]>::to_vec);
        let ones = group(&one).unwrap_or_else(|| vec![one.at.clone()]);
        let others = group(&other).unwrap_or_else(|| vec![other.at.clone()]);
        if ones.contains(&other.at) {
            let message = format!("{one} and {other} are one field already.");
            return Err(Refusal::new(Reason::AlreadyExists, message).into());
        }
        refuse_two_of_one_table(&ones, &others)?;
        let at = self.mapping(&one, &other)?;
        self.push(Operation::ConfirmFieldMapping { at })?;
        self.relate_mapped(&one.at, &others)
    }

    /// Notes the mapped fields of the records that are on both sides of a new mapping.
    fn relate_mapped(&mut self, one: &ColumnRef, others: &[ColumnRef]) -> Decision<()> {
        let view = self.view();
        let mut related = Vec::new();
        for entity in read::records(&view, &one.table, None) {
            let entity = entity?;
            if in_any_table(&view, entity, others)? {
                related.push(Cell::Field { table: one.table.clone(), entity, field: one.column.clone() });
            }
        }
        self.related.extend(related);
        Ok(())
    }

    pub(super) fn reject_mapping(&mut self, one: &NamedColumn, other: &NamedColumn) -> Decision<()> {
        let (one, other) = self.two_columns(one, other)?;
        match self.stands(&one, &other)? {
            Some(Content::Present) => {
                let message = format!("{one} and {other} are confirmed to be one field.");
                Err(Refusal::new(Reason::InvalidRequest, message).next("Revoke the mapping first.").into())
            }
            Some(Content::Rejected) => {
                let message = format!("The mapping of {one} and {other} is rejected already.");
                Err(Refusal::new(Reason::AlreadyExists, message).into())
            }
            _ => {
                let at = self.mapping(&one, &other)?;
                self.push(Operation::RejectFieldMapping { at })
            }
        }
    }

    pub(super) fn revoke_mapping(&mut self, one: &NamedColumn, other: &NamedColumn) -> Decision<()> {
        let (one, other) = self.two_columns(one, other)?;
        let at = self.mapping(&one, &other)?;
        match self.stands(&one, &other)? {
            Some(Content::Present) => {
                let kept = self.missing(&one)?;
                self.push(Operation::RevokeFieldMapping { at })?;
                let unions = self.view().unions()?;
                let still_one = unions.mapped(&one.at.table, &one.at.column).is_some_and(|all| all.contains(&other.at));
                // Where a third column still joins the two, nothing is parted.
                if still_one { Ok(()) } else { self.push_all(kept) }
            }
            Some(Content::Rejected) => self.push(Operation::RevokeFieldMapping { at }),
            _ => {
                let message = format!("The mapping of {one} and {other} is neither confirmed nor rejected.");
                Err(Refusal::new(Reason::UnknownField, message).into())
            }
        }
    }

    /// What must be written for every field of a mapping to hold by itself what it shows with the others.
    fn missing(&self, side: &Side) -> Decision<Vec<Putting>> {
        let view = self.view();
        let unions = view.unions()?;
        let mut puttings = Vec::new();
        for entity in records_of(&view, &unions, &side.at)? {
            let cell = Cell::Field { table: side.at.table.clone(), entity, field: side.at.column.clone() };
            let tips = unions.verbatim(&view, &cell)?;
            let Some(shown) = register::shown(&cell, &tips).filter(|tip| tip.content != Content::Absent) else {
                continue;
            };
            for cell in read::written_with(&view, &cell)? {
                if view.tips(&cell)?.is_empty() {
                    puttings.push(copy(cell, shown));
                }
            }
        }
        Ok(puttings)
    }

    fn two_columns(&mut self, one: &NamedColumn, other: &NamedColumn) -> Decision<(Side, Side)> {
        let (one, other) = (self.side(one, "one")?, self.side(other, "other")?);
        if one.at == other.at {
            return Err(Refusal::new(Reason::InvalidRequest, format!("{one} is only one column.")).at("other").into());
        }
        Ok((one, other))
    }

    fn side(&mut self, named: &NamedColumn, place: &str) -> Decision<Side> {
        let table = self.table(&named.table).map_err(|problem| match problem {
            Problem::Refused(refusal) => Problem::Refused(refusal.within(place)),
            failure @ Problem::Read(_) => failure,
        })?;
        let column = column(&table, &named.column, place)?.clone();
        let at = ColumnRef { table: table.key.clone(), column: column.key.clone() };
        Ok(Side { at, table, column })
    }

    /// What is said of a mapping now.
    fn stands(&self, one: &Side, other: &Side) -> Decision<Option<Content>> {
        Ok(read::cell(&self.view(), Cell::mapping(one.at.clone(), other.at.clone()))?.content().cloned())
    }

    fn mapping(&self, one: &Side, other: &Side) -> Decision<MappingAt> {
        let basis = self.basis(&Cell::mapping(one.at.clone(), other.at.clone()))?;
        Ok(MappingAt { one: one.at.clone(), other: other.at.clone(), basis })
    }
}

/// A write that says in an empty register what another says already, credited to whoever said it.
pub(super) fn copy(cell: Cell, tip: &Tip) -> Putting {
    let basis = Basis { preds: Vec::new(), restores: Some(tip.op), decision: tip.decision };
    Putting { cell, content: tip.content.clone(), basis, seen: Vec::new() }
}

/// One side of a mapping.
struct Side {
    at: ColumnRef,
    table: Arc<Table>,
    column: Column,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.column.spec.name, self.table.spec.name)
    }
}

/// The records of all tables whose columns are one with this one.
fn records_of(view: &dyn View, unions: &Unions, column: &ColumnRef) -> Read<BTreeSet<EntityId>> {
    let group = unions.mapped(&column.table, &column.column).unwrap_or_default();
    let tables: BTreeSet<&Name> = group.iter().map(|column| &column.table).collect();
    tables.into_iter().flat_map(|table| read::records(view, table, None)).collect()
}

fn in_any_table(view: &dyn View, entity: EntityId, columns: &[ColumnRef]) -> Read<bool> {
    for column in columns {
        if read::is_record(view, &column.table, entity)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn too_few() -> Refusal {
    Refusal::new(Reason::InvalidRequest, "Merging needs two records at least.").at("records")
}

fn already_one() -> Refusal {
    Refusal::new(Reason::AlreadyExists, "These are one record already.").at("records")
}

/// Fields can be one if whatever fits the one fits the other.
fn check_alike(one: &Side, other: &Side) -> Result<(), Refusal> {
    let (ours, theirs) = (&one.column.spec.field_type, &other.column.spec.field_type);
    let message = match (ours, theirs) {
        _ if ours.merges() || theirs.merges() => {
            let merging = if ours.merges() { one } else { other };
            let field_type = describe::a_type(&merging.column.spec.field_type);
            format!("{merging} holds {field_type} that people edit together, and such fields cannot be mapped.")
        }
        (FieldType::Enum { values }, FieldType::Enum { values: others }) if sorted(values) != sorted(others) => {
            format!("{one} and {other} do not list the same values.")
        }
        (FieldType::Reference { table }, FieldType::Reference { table: others }) if table != others => {
            format!("{one} and {other} refer to records of different tables.")
        }
        _ if !crate::unions::are_alike(ours, theirs) => {
            let (ours, theirs) = (describe::a_type(ours), describe::a_type(theirs));
            format!("{one} holds {ours}, and {other} holds {theirs}.")
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(Reason::WrongType, message).at("other"))
}

fn sorted(values: &[Name]) -> BTreeSet<&Name> {
    values.iter().collect()
}

/// Two columns of one table would show and change each other in every record: nobody could tell why there are two.
fn refuse_two_of_one_table(ones: &[ColumnRef], others: &[ColumnRef]) -> Result<(), Refusal> {
    let mut pairs = ones.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    match pairs.find(|(one, other)| one.table == other.table) {
        None => Ok(()),
        Some((one, other)) => {
            let (column, table) = (&one.column, &one.table);
            let message =
                format!("This would make {column} and {} of {table} one field in every record.", other.column);
            Err(Refusal::new(Reason::InvalidRequest, message).at("other"))
        }
    }
}
