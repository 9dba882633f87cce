//! What is to be written of a plan: rows under the names that the node knows, edges to the records that cells name.

use std::collections::{HashMap, HashSet};

use openprod_client::{Workspace, v1};
use openprod_domain::command::{Command, NewColumn, TableChange};
use openprod_domain::describe::escaped;
use openprod_domain::edits;
use openprod_domain::text::Kind;
use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Name, Text, Value};

use super::error::ImportError;
use super::ids::Ids;
use super::links::{self, Targets, WantedEdge};
use super::outcome::{BadCell, ImportSummary, Loss};
use super::spec::{Gone, ImportSpec, LinkSpec};
use super::survey::{self, Surveyed, SurveyedColumn};
use crate::sheet::{BadRow, ImportPlan, LinkWish, RowRef, Sheet};

/// A row that is to be written.
struct Row {
    line: u64,
    record: EntityId,
    values: RowValues,
}

enum RowValues {
    New(Vec<(Name, Value)>),
    Changed(Vec<(Name, Option<Value>)>),
}

impl Row {
    /// The record to which a field of this row refers.
    fn refers_to(&self, column: &Name) -> Option<EntityId> {
        let entity = |value: &Value| if let Value::Entity(entity) = value { Some(*entity) } else { None };
        match &self.values {
            RowValues::New(values) => {
                values.iter().find(|(name, _)| name == column).and_then(|(_, value)| entity(value))
            }
            RowValues::Changed(values) => {
                values.iter().find(|(name, _)| name == column).and_then(|(_, value)| entity(value.as_ref()?))
            }
        }
    }
}

/// What is to be written, and what was set aside.
pub(super) struct Draft {
    table: Name,
    makes_table: bool,
    /// What commands call each column of the file.
    references: HashMap<Name, Name>,
    rows: Vec<Row>,
    /// The record of each new row of the plan; none if it was set aside after all.
    new: Vec<Option<EntityId>>,
    /// Records whose rows were set aside after all.
    aside: HashSet<EntityId>,
    existing: HashSet<EntityId>,
    edges: Vec<WantedEdge>,
    bad: Vec<BadCell>,
    /// The columns by which people name records of this table.
    naming: Vec<Name>,
    /// The columns whose fields are edited, not set.
    merging: HashMap<Name, Kind>,
}

impl Draft {
    pub(super) fn of(
        table: Option<&Surveyed>,
        sheet: &Sheet,
        spec: &ImportSpec,
        plan: &mut ImportPlan,
    ) -> Result<Self, ImportError> {
        let columns = table.iter().flat_map(|table| table.columns.iter().map(|column| (*table, column)));
        let titled: HashMap<Name, &SurveyedColumn> =
            columns.map(|(table, column)| (table.title(column, &sheet.header), column)).collect();
        let new = plan.new_columns.iter().map(|(name, _)| (name.clone(), name.clone()));
        let known = titled.iter().map(|(title, column)| (title.clone(), column.reference.clone()));
        let there = titled.values().map(|column| (&column.reference, &column.field_type));
        let made = plan.new_columns.iter().map(|(name, field_type)| (name, field_type));
        let merging = there.chain(made).filter_map(|(name, of)| Some((name.clone(), edits::kind_of(of)?.0))).collect();
        let mut draft = Self {
            merging,
            table: table.map_or_else(|| table_name(&spec.table), |table| Ok(table.reference.clone()))?,
            makes_table: table.is_none(),
            references: known.chain(new).collect(),
            rows: Vec::new(),
            new: Vec::new(),
            aside: HashSet::new(),
            existing: HashSet::new(),
            edges: Vec::new(),
            bad: std::mem::take(&mut plan.bad).into_iter().map(bad_row).collect(),
            naming: table.map_or_else(
                || {
                    survey::naming(plan.new_columns.iter(), |(_, of)| of)
                        .into_iter()
                        .map(|(name, _)| name.clone())
                        .collect()
                },
                |table| table.naming().into_iter().map(|column| column.reference.clone()).collect(),
            ),
        };
        draft.take_new(plan, &titled);
        draft.take_changed(plan, &titled);
        Ok(draft)
    }

    fn take_new(&mut self, plan: &ImportPlan, titled: &HashMap<Name, &SurveyedColumn>) {
        let mut ids = Ids::new();
        for row in &plan.new_records {
            let has = |title: &Name| row.values.iter().any(|(name, _)| name == title);
            let lacking = titled.iter().find(|(title, of)| of.required && !of.has_default && !has(title));
            if let Some((title, _)) = lacking {
                self.bad.push(needs_value(row.line, title));
                self.new.push(None);
                continue;
            }
            let id = ids.next();
            let values = row.values.iter().map(|(title, value)| (self.references[title].clone(), value.clone()));
            let values = values.collect();
            self.rows.push(Row { line: row.line, record: id, values: RowValues::New(values) });
            self.new.push(Some(id));
        }
    }

    fn take_changed(&mut self, plan: &ImportPlan, titled: &HashMap<Name, &SurveyedColumn>) {
        for row in &plan.changed {
            if let Some(title) = row.clear.iter().find(|title| titled.get(*title).is_some_and(|of| of.required)) {
                self.bad.push(needs_value(row.line, title));
                self.aside.insert(row.record);
                continue;
            }
            let set = row.set.iter().map(|(title, value)| (title, Some(value.clone())));
            let clear = row.clear.iter().map(|title| (title, None));
            let values = set.chain(clear).map(|(title, value)| (self.references[title].clone(), value)).collect();
            self.rows.push(Row { line: row.line, record: row.record, values: RowValues::Changed(values) });
        }
    }

    /// Sets rows aside that refer to records which are not in the table that they should be in.
    pub(super) async fn check_references(
        &mut self,
        workspace: &Workspace,
        tables: &[v1::Table],
        column: &Name,
        table: &Name,
    ) -> Result<(), ImportError> {
        if self.rows.iter().all(|row| row.refers_to(column).is_none()) {
            return Ok(());
        }
        let table = survey::find_target(tables, table.as_str())?;
        let (records, _) = survey::records(workspace, &table, &table.naming()).await?;
        let there: HashSet<EntityId> = records.into_iter().map(|(record, _)| record).collect();
        let mut bad = Vec::new();
        self.rows.retain(|row| match row.refers_to(column) {
            Some(record) if !there.contains(&record) => {
                let message = format!("There is no record {record} in {}.", escaped(&table.name));
                bad.push(BadCell { line: row.line, column: column.to_string(), message, loss: Loss::Row });
                self.aside.insert(row.record);
                false
            }
            _ => true,
        });
        self.bad.extend(bad);
        Ok(())
    }

    /// The records to which a link may lead: of `target`, or of the imported table itself with its new records.
    pub(super) async fn targets(
        &self,
        workspace: &Workspace,
        target: Option<&Surveyed>,
        own: Option<&Surveyed>,
    ) -> Result<Targets, ImportError> {
        let name = target.or(own).map_or_else(|| self.table.to_string(), |table| table.name.clone());
        let mut targets = Targets::of(&name);
        if let Some(table) = target.or(own) {
            let (records, _) = survey::records(workspace, table, &table.naming()).await?;
            for (record, values) in &records {
                let named = values.iter().enumerate().filter_map(|(place, value)| Some((place, value.as_ref()?)));
                targets.add(*record, named);
            }
        }
        if target.is_none() {
            self.add_new(&mut targets);
        }
        Ok(targets)
    }

    fn add_new(&self, targets: &mut Targets) {
        for row in &self.rows {
            if let RowValues::New(values) = &row.values {
                let place = |column: &Name| self.naming.iter().position(|name| name == column);
                let named = values.iter().filter_map(|(column, value)| Some((place(column)?, value)));
                targets.add(row.record, named);
            }
        }
    }

    /// Whether this is the imported table itself.
    pub(super) fn is_of(&self, table: &Surveyed) -> bool {
        !self.makes_table && self.table == table.reference
    }

    /// Takes up the edges of one link, wished for in a column of row indices.
    pub(super) fn wish<'a>(
        &mut self,
        wishes: impl Iterator<Item = &'a LinkWish>,
        link: &LinkSpec,
        targets: &Targets,
        sheet: &Sheet,
    ) {
        let place = sheet.header.iter().position(|title| *title == link.column).expect("columns were checked");
        let edge_type = Name::new(&link.column).expect("header cells are names");
        for wish in wishes {
            let Some(source) = self.source(wish.from_row) else { continue };
            let row: usize = wish.target_text.parse().expect("the column holds indices of rows");
            let (records, problems) = targets.resolve(&sheet.rows[row].cells[place], link.by);
            let edge = |target| WantedEdge { edge_type: edge_type.clone(), source, target };
            self.edges.extend(records.into_iter().map(edge));
            let bad = |message| BadCell { line: wish.line, column: link.column.clone(), message, loss: Loss::Edge };
            self.bad.extend(problems.into_iter().map(bad));
        }
    }

    fn source(&mut self, row: RowRef) -> Option<EntityId> {
        match row {
            RowRef::New(index) => self.new[index].filter(|record| !self.aside.contains(record)),
            RowRef::Existing(record) if self.aside.contains(&record) => None,
            RowRef::Existing(record) => {
                self.existing.insert(record);
                Some(record)
            }
        }
    }

    pub(super) async fn drop_edges_that_are_there(&mut self, workspace: &Workspace) -> Result<(), ImportError> {
        let there = links::present(workspace, &self.edges, &self.existing).await?;
        let mut seen = HashSet::new();
        self.edges.retain(|edge| !there.contains(edge) && seen.insert(edge.clone()));
        Ok(())
    }

    /// What there is to do, as far as it is known here.
    pub(super) fn summary(&mut self, plan: &ImportPlan, sheet: &Sheet, table: String) -> ImportSummary {
        let mut bad = std::mem::take(&mut self.bad);
        bad.sort_by_key(|bad| bad.line);
        let new = self.rows.iter().filter(|row| matches!(row.values, RowValues::New(_))).count();
        ImportSummary {
            table,
            makes_table: self.makes_table,
            new,
            changed: self.rows.len() - new,
            unchanged: plan.unchanged,
            gone: plan.gone.len(),
            new_edges: self.edges.len(),
            bad,
            notes: sheet.notes.iter().chain(&plan.notes).cloned().collect(),
            ..ImportSummary::default()
        }
    }

    /// The table first, then the rows, then the edges, which may join any of them; what is gone last.
    pub(super) fn commands(self, plan: &ImportPlan, gone: Gone) -> Vec<Command> {
        let table = &self.table;
        let schema = schema(table, self.makes_table.then_some(()), &plan.new_columns);
        let rows = self.rows.into_iter().flat_map(|Row { record, values, .. }| match values {
            RowValues::New(values) => {
                vec![Command::CreateRecord { record: Some(record), table: table.clone(), values }]
            }
            RowValues::Changed(values) => {
                Command::setting(record, table, values, |column| self.merging.get(column).copied())
            }
        });
        let edges = self.edges.into_iter().map(|WantedEdge { edge_type, source, target }| Command::CreateEdge {
            edge: None,
            edge_type,
            source,
            target,
            properties: Vec::new(),
            place: None,
        });
        let gone = plan.gone.iter().filter(|_| gone == Gone::Go);
        let removals = gone.map(|record| Command::RemoveFromTable { record: *record, table: table.clone() });
        schema.into_iter().chain(rows).chain(edges).chain(removals).collect()
    }
}

fn schema(table: &Name, makes_table: Option<()>, columns: &[(Name, FieldType)]) -> Option<Command> {
    let column = |(name, field_type): &(Name, FieldType)| NewColumn {
        name: name.clone(),
        field_type: field_type.clone(),
        required: false,
        default: None,
    };
    let columns = columns.iter().map(column);
    match makes_table {
        Some(()) => Some(Command::CreateTable {
            name: table.clone(),
            description: Text::new("").expect("empty text is text"),
            columns: columns.collect(),
        }),
        None if columns.len() == 0 => None,
        None => {
            let changes = columns.map(TableChange::AddColumn).collect();
            Some(Command::AlterTable { table: table.clone(), changes })
        }
    }
}

fn bad_row(bad: BadRow) -> BadCell {
    BadCell { line: bad.line, column: bad.column, message: bad.message, loss: Loss::Row }
}

fn needs_value(line: u64, title: &Name) -> BadCell {
    let message = "A record of this table needs a value here.".to_owned();
    BadCell { line, column: title.to_string(), message, loss: Loss::Row }
}

fn table_name(text: &str) -> Result<Name, ImportError> {
    Name::new(text).map_err(|invalid| {
        let message = format!("\"{}\" cannot be the name of a table: {invalid}.", escaped(text));
        ImportError::unknown(message, "Choose another name with --table.")
    })
}
