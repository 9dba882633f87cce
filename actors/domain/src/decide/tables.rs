//! Tables and columns: creating, altering, dropping.

use openprod_model::operation::{ColumnAt, Operation};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{FieldType, Name, Text, Value};

use super::{Decision, Planner};
use crate::cell::Cell;
use crate::command::{MAX_COLUMNS, NewColumn, TableChange};
use crate::describe;
use crate::read::{self, Column, Table};
use crate::view::View;

impl Planner<'_> {
    pub(super) fn create_table(&mut self, name: &Name, description: &Text, columns: &[NewColumn]) -> Decision<()> {
        if read::tables(&self.view())?.iter().any(|table| table.spec.name == *name) {
            let message = format!("There is a table \"{name}\" already.");
            return Err(Refusal::new(Reason::AlreadyExists, message).at("name").into());
        }
        let key = self.free_key(name, |key| Cell::Table { table: key })?;
        let spec = TableSpec { name: name.clone(), description: description.clone() };
        let mut table = Table { key: key.clone(), spec: spec.clone(), columns: Vec::new() };
        let mut at = Vec::new();
        for new in columns {
            at.push(self.add_column(&mut table, new)?);
        }
        let basis = self.basis(&Cell::Table { table: key.clone() })?;
        self.push(Operation::CreateTable { table: key, spec, basis, columns: at })
    }

    /// The name itself as a key, or the name with the first number that makes it free: keys are never used again.
    fn free_key(&self, name: &Name, cell: impl Fn(Name) -> Cell) -> Decision<Name> {
        let mut key = name.clone();
        for number in 2_u32.. {
            if self.view().tips(&cell(key.clone()))?.is_empty() {
                break;
            }
            key = Name::new(&format!("{name} {number}"))?;
        }
        Ok(key)
    }

    pub(super) fn alter_table(&mut self, name: &Name, changes: &[TableChange]) -> Decision<()> {
        if changes.is_empty() {
            return Err(Refusal::new(Reason::InvalidRequest, "No change is named.").at("changes").into());
        }
        let before = self.table(name)?;
        let mut table = Table::clone(&before);
        for (index, change) in changes.iter().enumerate() {
            self.change(&mut table, change).map_err(|problem| match problem {
                super::Problem::Refused(refusal) => {
                    super::Problem::Refused(refusal.within(&format!("changes[{index}]")))
                }
                failure @ super::Problem::Read(_) => failure,
            })?;
        }
        let operation = self.alteration(&before, &table)?;
        // Names may have moved to other tables: look them up afresh.
        self.tables.clear();
        self.push(operation)
    }

    /// The op that makes `before` into `after`.
    fn alteration(&self, before: &Table, after: &Table) -> Decision<Operation> {
        let spec = if after.spec == before.spec {
            None
        } else {
            Some((after.spec.clone(), self.basis(&Cell::Table { table: after.key.clone() })?))
        };
        let mut columns = Vec::new();
        for column in after.columns.iter().filter(|column| !before.columns.contains(column)) {
            columns.push(self.column_at(&after.key, column)?);
        }
        Ok(Operation::AlterTable { table: after.key.clone(), spec, columns })
    }

    fn column_at(&self, table: &Name, column: &Column) -> Decision<ColumnAt> {
        let basis = self.basis(&Cell::Column { table: table.clone(), column: column.key.clone() })?;
        Ok(ColumnAt { column: column.key.clone(), spec: column.spec.clone(), basis })
    }

    fn change(&mut self, table: &mut Table, change: &TableChange) -> Decision<()> {
        match change {
            TableChange::Rename { name } => self.rename_table(table, name)?,
            TableChange::Describe { description } => table.spec.description = description.clone(),
            TableChange::AddColumn(new) => {
                self.add_column(table, new)?;
            }
            TableChange::RenameColumn { column, name } => {
                refuse_taken(table, name)?;
                named(table, column)?.spec.name = name.clone();
            }
            TableChange::MoveColumn { column, before } => move_column(table, column, before.as_ref())?,
            TableChange::HideColumn { column } => named(table, column)?.spec.hidden = true,
            TableChange::ShowColumn { column } => named(table, column)?.spec.hidden = false,
            TableChange::WidenEnum { column, values } => widen(named(table, column)?, values)?,
            TableChange::Require { column, required } => named(table, column)?.spec.required = *required,
            TableChange::SetDefault { column, default } => {
                let column = named(table, column)?;
                check_default(&column.spec.name, &column.spec.field_type, default.as_ref())?;
                column.spec.default.clone_from(default);
            }
        }
        Ok(())
    }

    fn rename_table(&self, table: &mut Table, name: &Name) -> Decision<()> {
        if read::tables(&self.view())?.iter().any(|other| other.spec.name == *name && other.key != table.key) {
            return Err(Refusal::new(Reason::AlreadyExists, format!("There is a table \"{name}\" already.")).into());
        }
        table.spec.name = name.clone();
        Ok(())
    }

    fn add_column(&mut self, table: &mut Table, new: &NewColumn) -> Decision<ColumnAt> {
        refuse_taken(table, &new.name)?;
        if table.columns.len() >= MAX_COLUMNS {
            let message = format!("{} would have more than {MAX_COLUMNS} fields.", table.spec.name);
            return Err(Refusal::new(Reason::TooLarge, message).into());
        }
        check_type(&new.name, &new.field_type)?;
        check_default(&new.name, &new.field_type, new.default.as_ref())?;
        let key = self.free_key(&new.name, |column| Cell::Column { table: table.key.clone(), column })?;
        let last = table.columns.iter().map(|column| column.spec.order).max();
        let spec = ColumnSpec {
            name: new.name.clone(),
            field_type: new.field_type.clone(),
            required: new.required,
            default: new.default.clone(),
            order: last.map_or(0, |order| order.saturating_add(1)),
            hidden: false,
        };
        table.columns.push(Column { key, spec });
        self.column_at(&table.key, table.columns.last().expect("a column was just added"))
    }

    pub(super) fn drop_table(&mut self, name: &Name) -> Decision<()> {
        let table = self.table(name)?.key.clone();
        let basis = self.basis(&Cell::Table { table: table.clone() })?;
        self.tables.clear();
        self.push(Operation::DropTable { table, basis })
    }
}

fn refuse_taken(table: &Table, name: &Name) -> Result<(), Refusal> {
    if table.columns.iter().any(|column| column.spec.name == *name) {
        let message = format!("There is a field \"{name}\" already in {}.", table.spec.name);
        return Err(Refusal::new(Reason::AlreadyExists, message));
    }
    Ok(())
}

fn named<'a>(table: &'a mut Table, name: &Name) -> Result<&'a mut Column, Refusal> {
    let key = table.column(name).map(|column| column.key.clone());
    let known: Vec<String> = table.visible().map(|column| column.spec.name.to_string()).collect();
    let table_name = table.spec.name.clone();
    table.columns.iter_mut().find(|column| Some(&column.key) == key.as_ref()).ok_or_else(|| {
        let next = describe::suggestion(name.as_str(), known.iter().map(String::as_str), "field");
        Refusal::new(Reason::UnknownField, format!("There is no field \"{name}\" in {table_name}.")).next(next)
    })
}

fn move_column(table: &mut Table, column: &Name, before: Option<&Name>) -> Result<(), Refusal> {
    let moving = named(table, column)?.clone();
    let target = before.map(|before| named(table, before).map(|column| column.key.clone())).transpose()?;
    table.columns.retain(|other| other.key != moving.key);
    let at = target.and_then(|key| table.columns.iter().position(|other| other.key == key));
    table.columns.insert(at.unwrap_or(table.columns.len()), moving);
    for (order, column) in (0..).zip(&mut table.columns) {
        column.spec.order = order;
    }
    Ok(())
}

fn widen(column: &mut Column, more: &[Name]) -> Result<(), Refusal> {
    let FieldType::Enum { values } = &mut column.spec.field_type else {
        let message = format!("{} holds {}, not an enum.", column.spec.name, describe::a_type(&column.spec.field_type));
        return Err(Refusal::new(Reason::InvalidSchemaChange, message));
    };
    for value in more {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    check_type(&column.spec.name, &column.spec.field_type)
}

/// Most values of an enum: more are a table of their own.
const MAX_ENUM_VALUES: usize = 1_000;

fn check_type(name: &Name, field_type: &FieldType) -> Result<(), Refusal> {
    let FieldType::Enum { values } = field_type else { return Ok(()) };
    let mut unique = values.clone();
    unique.sort();
    unique.dedup();
    if unique.len() != values.len() || values.is_empty() {
        let message = format!("The enum {name} needs at least one value, each once.");
        return Err(Refusal::new(Reason::InvalidSchemaChange, message));
    }
    if values.len() > MAX_ENUM_VALUES {
        let message = format!("The enum {name} has {} values, more than {MAX_ENUM_VALUES}.", values.len());
        return Err(Refusal::new(Reason::TooLarge, message).next("Keep them in a table and refer to its records."));
    }
    Ok(())
}

fn check_default(name: &Name, field_type: &FieldType, default: Option<&Value>) -> Result<(), Refusal> {
    match default {
        Some(default) if !field_type.admits(default) || matches!(default, Value::FieldRef(_) | Value::Entity(_)) => {
            let message = format!("{} cannot be the default of {name}.", describe::value(default));
            Err(Refusal::new(Reason::WrongType, message))
        }
        _ => Ok(()),
    }
}
