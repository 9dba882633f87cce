//! What an import would do: a sheet held against the records of a table, without changing anything.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use openprod_model::ids::EntityId;
use openprod_model::value::{FieldType, Name, Value};

use super::cell::{format_value, parse_value};
use super::decode::{Sheet, SheetRow};
use super::error::{SheetError, listed, shown};
use super::guess::guess_types;

/// The word in [`ImportOptions::keys`] for a row's number among those that share the keys before it.
pub const ORDINAL: &str = "#";

/// What a person asks of an import. Columns are named as in the sheet's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The table that takes the rows.
    pub table: String,
    /// The columns by which a row is known to be a record that is there already, [`ORDINAL`] among them; none: every
    /// row is a new record.
    pub keys: Vec<String>,
    /// Columns in which an empty cell means the one above, as in a cue list whose cue number stands once.
    pub fill_down: Vec<String>,
    /// Columns that name records of other tables, with the table's name. Their cells become [`LinkWish`]es, not values.
    pub links: Vec<(String, String)>,
    /// Types of columns that the table does not have yet; for others the type is guessed.
    pub types: Vec<(String, FieldType)>,
    /// The column of the table that stores the number meant by [`ORDINAL`], so that the next import finds it there.
    pub ordinal: Option<String>,
}

/// A table as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableNow {
    /// Its columns: the names under which the sheet knows them, and their types.
    pub columns: Vec<(Name, FieldType)>,
    /// Its records, in a lasting order.
    pub records: Vec<Existing>,
}

/// A record that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its entity.
    pub record: EntityId,
    /// The texts of its key fields, one for each of [`ImportOptions::keys`]; see [`TableNow::keyed`].
    pub key: Vec<String>,
    /// Its values, one for each of [`TableNow::columns`].
    pub values: Vec<Option<Value>>,
}

/// What an import would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportPlan {
    /// The table.
    pub table: String,
    /// Columns of the sheet that the table does not have.
    pub new_columns: Vec<(Name, FieldType)>,
    /// Rows that are no record yet.
    pub new_records: Vec<NewRecord>,
    /// Rows whose record is different.
    pub changed: Vec<Changed>,
    /// The number of rows whose record is the same.
    pub unchanged: usize,
    /// Records whose key is not in the file. Only told, never deleted.
    pub gone: Vec<EntityId>,
    /// Links to find a record for.
    pub links: Vec<LinkWish>,
    /// Rows that were set aside: nothing of them is in the lists above.
    pub bad: Vec<BadRow>,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// A row that is no record yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Its line in the file.
    pub line: u64,
    /// Its values.
    pub values: Vec<(Name, Value)>,
}

/// A row whose record is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its line in the file.
    pub line: u64,
    /// The record.
    pub record: EntityId,
    /// Fields that get a value, or another one.
    pub set: Vec<(Name, Value)>,
    /// Fields whose cell is empty now.
    pub clear: Vec<Name>,
}

/// The row from which a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowRef {
    /// An index into [`ImportPlan::new_records`].
    New(usize),
    /// A record that is there already, changed or not.
    Existing(EntityId),
}

/// A link for which a record is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkWish {
    /// The line in the file.
    pub line: u64,
    /// The record from which it leads.
    pub from_row: RowRef,
    /// The column in which it stands.
    pub column: String,
    /// The table to look in.
    pub target_table: String,
    /// What to look for; one name, if the cell lists several.
    pub target_text: String,
}

/// A row that was set aside, and why. A row with several bad cells is named for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its line in the file.
    pub line: u64,
    /// The column, or the key columns.
    pub column: String,
    /// What is wrong: a sentence.
    pub message: String,
}

impl TableNow {
    /// A table whose records are known by the text of their key fields. Where no ordinal is stored, records that
    /// share a key are numbered in the order given.
    pub fn keyed(
        columns: Vec<(Name, FieldType)>,
        records: Vec<(EntityId, Vec<Option<Value>>)>,
        options: &ImportOptions,
    ) -> Self {
        let index = |name: &str| columns.iter().position(|(column, _)| column.as_str() == name);
        let fields: Vec<Option<usize>> = options.keys.iter().map(|key| index(key)).collect();
        let stored = options.ordinal.as_deref().and_then(index);
        let mut ordinals = Ordinals::default();
        let mut keyed = |(record, values): (EntityId, Vec<Option<Value>>)| {
            let text = |index: Option<usize>| values.get(index?)?.as_ref().map(format_value);
            let texts = fields.iter().map(|field| text(*field).unwrap_or_default()).collect();
            Existing { record, key: ordinals.key(&options.keys, texts, text(stored)), values }
        };
        let records = records.into_iter().map(&mut keyed).collect();
        Self { columns, records }
    }
}

/// Plans the import of `sheet` into the table that is now as `now` says.
pub fn plan_import(sheet: &Sheet, options: &ImportOptions, now: &TableNow) -> Result<ImportPlan, SheetError> {
    check(sheet, options)?;
    let (columns, notes) = columns_of(sheet, options, now)?;
    let width = columns.len();
    let mut planner = Planner::new(options, now, columns);
    planner.plan.notes = notes;
    let fills: Vec<bool> = sheet.header.iter().map(|title| options.fill_down.contains(title)).collect();
    let mut above = vec![""; fills.len()];
    let (empty, rows): (Vec<_>, Vec<_>) = sheet.rows.iter().partition(|row| row.cells.iter().all(String::is_empty));
    for row in rows {
        let mut cells = filled(row, &fills, &mut above);
        cells.resize(width, "");
        planner.row(row.line, &cells);
    }
    if !empty.is_empty() {
        planner.plan.notes.push(format!("Empty rows that were left out: {}.", empty.len()));
    }
    Ok(planner.finish())
}

/// The cells of `row`, those of `fills` taken from `above` where they are empty.
fn filled<'a>(row: &'a SheetRow, fills: &[bool], above: &mut [&'a str]) -> Vec<&'a str> {
    for (index, cell) in row.cells.iter().enumerate() {
        if !cell.is_empty() || !fills[index] {
            above[index] = cell;
        }
    }
    above.to_vec()
}

fn check(sheet: &Sheet, options: &ImportOptions) -> Result<(), SheetError> {
    let known = |option: &'static str, column: &String| {
        if sheet.header.contains(column) {
            return Ok(());
        }
        let known = listed(sheet.header.iter().map(String::as_str));
        Err(SheetError::UnknownColumn { option, column: shown(column), known })
    };
    let columns = options.keys.iter().filter(|key| *key != ORDINAL);
    columns.clone().try_for_each(|key| known("key", key))?;
    options.fill_down.iter().try_for_each(|column| known("fill-down", column))?;
    options.links.iter().try_for_each(|(column, _)| known("link", column))?;
    options.types.iter().try_for_each(|(column, _)| known("type", column))?;
    let ordinals = options.keys.len() - columns.clone().count();
    if !options.keys.is_empty() && (columns.count() == 0 || ordinals > 1) {
        return Err(SheetError::Options("The key needs a column, and \"#\" at most once.".to_owned()));
    }
    if options.ordinal.as_ref().is_some_and(|column| ordinals == 0 || options.keys.contains(column)) {
        return Err(SheetError::Options(
            "A column for the ordinal needs \"#\" in the key, and is not itself one.".to_owned(),
        ));
    }
    Ok(())
}

/// What a column of the sheet is to the import.
enum Role {
    /// Values of a field, which has this index among the table's columns if it is there already.
    Field { name: Name, field_type: FieldType, index: Option<usize> },
    /// Names of records of this table.
    Link { table: String },
}

struct Column {
    title: String,
    role: Role,
    /// Whether its values are counted, and not read from the file.
    is_ordinal: bool,
    /// How many cells are stored in another spelling.
    respelled: usize,
    /// The first of them: line, text, spelling.
    first_respelled: Option<(u64, String, String)>,
}

impl Column {
    fn read(&self, cell: &str) -> Read {
        match &self.role {
            Role::Field { field_type, .. } => parse_value(cell, field_type),
            Role::Link { .. } => Ok(None),
        }
    }

    /// Of the file's cell, which for the ordinal does not count.
    fn read_file(&self, cell: &str) -> Read {
        if self.is_ordinal { Ok(None) } else { self.read(cell) }
    }
}

/// The sheet's columns, and behind them the ordinal's if the sheet does not have it.
fn columns_of(
    sheet: &Sheet,
    options: &ImportOptions,
    now: &TableNow,
) -> Result<(Vec<Column>, Vec<String>), SheetError> {
    let mut notes = Vec::new();
    let guesses = guess_types(sheet).into_iter().map(|guess| guess.field_type);
    let added = options.ordinal.iter().filter(|ordinal| !sheet.header.contains(ordinal));
    let titled = sheet.header.iter().zip(guesses).chain(added.map(|title| (title, FieldType::Integer)));
    let column = |(title, guess): (&String, FieldType)| {
        let is_ordinal = options.ordinal.as_ref() == Some(title);
        let role = role(title, guess, options, now, &mut notes)?;
        Ok(Column { title: title.clone(), role, is_ordinal, respelled: 0, first_respelled: None })
    };
    let columns = titled.map(column).collect::<Result<_, _>>()?;
    Ok((columns, notes))
}

fn role(
    title: &str,
    guess: FieldType,
    options: &ImportOptions,
    now: &TableNow,
    notes: &mut Vec<String>,
) -> Result<Role, SheetError> {
    if let Some((_, table)) = options.links.iter().find(|(column, _)| column == title) {
        return Ok(Role::Link { table: table.clone() });
    }
    let name = field_name(title)?;
    let index = now.columns.iter().position(|(column, _)| *column == name);
    let there = index.map(|index| now.columns[index].1.clone());
    let told = options.types.iter().find(|(column, _)| column == title).map(|(_, told)| told.clone());
    if let (Some(there), Some(_)) = (&there, told.as_ref().filter(|told| there.as_ref() != Some(told))) {
        notes.push(format!("Column \"{title}\" stays of type {}, as it is in the table.", there.word()));
    }
    Ok(Role::Field { name, field_type: there.or(told).unwrap_or(guess), index })
}

fn field_name(title: &str) -> Result<Name, SheetError> {
    Name::new(title).map_err(|invalid| SheetError::Options(format!("\"{}\": {invalid}.", shown(title))))
}

/// Counts rows that share a key.
#[derive(Default)]
struct Ordinals(HashMap<Vec<String>, u64>);

impl Ordinals {
    /// `texts` with a number in the place of [`ORDINAL`]: `stored`, or one more than in the last such row.
    fn key(&mut self, keys: &[String], mut texts: Vec<String>, stored: Option<String>) -> Vec<String> {
        if let Some(place) = keys.iter().position(|key| key == ORDINAL) {
            let count = self.0.entry(texts[..place].to_vec()).or_default();
            *count += 1;
            texts[place] = stored.unwrap_or_else(|| count.to_string());
        }
        texts
    }
}

struct Planner<'a> {
    options: &'a ImportOptions,
    now: &'a TableNow,
    columns: Vec<Column>,
    /// For each key the index of its column; none for the ordinal.
    keys: Vec<Option<usize>>,
    by_key: HashMap<&'a [String], Vec<usize>>,
    /// The line on which each key was first seen.
    lines: HashMap<Vec<String>, u64>,
    found: HashSet<EntityId>,
    ordinals: Ordinals,
    plan: ImportPlan,
}

/// What a cell says, or why it says nothing.
type Read = Result<Option<Value>, String>;

/// Where a row belongs.
#[derive(Default)]
struct Place {
    /// The index of its record, if there is one.
    existing: Option<usize>,
    /// Its number among those that share a key, if that was asked for.
    ordinal: Option<String>,
}

impl<'a> Planner<'a> {
    fn new(options: &'a ImportOptions, now: &'a TableNow, columns: Vec<Column>) -> Self {
        let mut by_key: HashMap<&[String], Vec<usize>> = HashMap::new();
        for (index, existing) in now.records.iter().enumerate() {
            by_key.entry(&existing.key).or_default().push(index);
        }
        let index = |key: &String| columns.iter().position(|column| column.title == *key && key != ORDINAL);
        let keys = options.keys.iter().map(index).collect();
        let (lines, found, ordinals) = (HashMap::new(), HashSet::new(), Ordinals::default());
        let plan = ImportPlan { table: options.table.clone(), ..ImportPlan::default() };
        Self { options, now, columns, keys, by_key, lines, found, ordinals, plan }
    }

    fn row(&mut self, line: u64, cells: &[&str]) {
        let mut read: Vec<Read> = self.columns.iter().zip(cells).map(|(column, cell)| column.read_file(cell)).collect();
        let place = self.place(line, cells, &read);
        let bad_cells =
            self.columns.iter().zip(&read).filter_map(|(column, read)| Some((column, read.as_ref().err()?)));
        let bad_key = place.as_ref().err().map(|message| (self.options.keys.join(", "), message.clone()));
        let bad: Vec<_> =
            bad_cells.map(|(column, message)| (column.title.clone(), message.clone())).chain(bad_key).collect();
        let (Ok(place), true) = (place, bad.is_empty()) else {
            return self.plan.bad.extend(bad.into_iter().map(|(column, message)| BadRow { line, column, message }));
        };
        if let Some(ordinal) = self.columns.iter().position(|column| column.is_ordinal) {
            read[ordinal] = self.columns[ordinal].read(place.ordinal.as_deref().unwrap_or_default());
        }
        let values: Vec<Option<Value>> = read.into_iter().map(Result::unwrap_or_default).collect();
        self.note_spelling(line, cells, &values);
        let from_row = match place.existing {
            Some(index) => self.compare(line, &self.now.records[index], values),
            None => self.add(line, values),
        };
        self.wish_links(line, cells, from_row);
    }

    /// Finds the row's record by its key. A row with a bad key cell is nowhere; its cell is named anyway.
    fn place(&mut self, line: u64, cells: &[&str], read: &[Read]) -> Result<Place, String> {
        let Some(texts) = self.key_texts(cells, read).filter(|texts| !texts.is_empty()) else {
            return Ok(Place::default());
        };
        if texts.iter().all(String::is_empty) {
            return Err("It has no key, so it cannot be told which record it is.".to_owned());
        }
        let key = self.ordinals.key(&self.options.keys, texts, None);
        let ordinal = self.options.keys.iter().position(|key| key == ORDINAL).map(|place| key[place].clone());
        let records = self.by_key.get(key.as_slice()).map_or(&[][..], Vec::as_slice);
        self.found.extend(records.iter().map(|index| self.now.records[*index].record));
        match self.lines.entry(key) {
            Entry::Occupied(first) => return Err(format!("It has the same key as line {}.", first.get())),
            Entry::Vacant(vacant) => vacant.insert(line),
        };
        match records {
            [] => Ok(Place { existing: None, ordinal }),
            [index] => Ok(Place { existing: Some(*index), ordinal }),
            several => Err(format!("{} records have this key, so it cannot be told which is meant.", several.len())),
        }
    }

    /// The text of each key cell, spelled as the record's would be; none if one of them cannot be read.
    fn key_texts(&self, cells: &[&str], read: &[Read]) -> Option<Vec<String>> {
        let text = |key: &Option<usize>| match key {
            None => Some(String::new()),
            Some(index) if matches!(self.columns[*index].role, Role::Link { .. }) => {
                Some(cells[*index].trim().to_owned())
            }
            Some(index) => {
                read[*index].as_ref().ok().map(|value| value.as_ref().map_or_else(String::new, format_value))
            }
        };
        self.keys.iter().map(text).collect()
    }

    fn add(&mut self, line: u64, values: Vec<Option<Value>>) -> RowRef {
        let fields = self.columns.iter().zip(values).filter_map(|(column, value)| match (&column.role, value) {
            (Role::Field { name, .. }, Some(value)) => Some((name.clone(), value)),
            _ => None,
        });
        self.plan.new_records.push(NewRecord { line, values: fields.collect() });
        RowRef::New(self.plan.new_records.len() - 1)
    }

    fn compare(&mut self, line: u64, existing: &Existing, values: Vec<Option<Value>>) -> RowRef {
        let mut changed = Changed { line, record: existing.record, set: Vec::new(), clear: Vec::new() };
        for (column, value) in self.columns.iter().zip(values) {
            let Role::Field { name, index, .. } = &column.role else { continue };
            let before = index.and_then(|index| existing.values.get(index)?.as_ref());
            match value {
                Some(value) if before != Some(&value) => changed.set.push((name.clone(), value)),
                None if before.is_some() => changed.clear.push(name.clone()),
                _ => {}
            }
        }
        if changed.set.is_empty() && changed.clear.is_empty() {
            self.plan.unchanged += 1;
        } else {
            self.plan.changed.push(changed);
        }
        RowRef::Existing(existing.record)
    }

    fn wish_links(&mut self, line: u64, cells: &[&str], from_row: RowRef) {
        for (column, cell) in self.columns.iter().zip(cells) {
            let Role::Link { table } = &column.role else { continue };
            let names = cell.split([',', ';']).flat_map(|part| part.split(" & ")).map(str::trim);
            self.plan.links.extend(names.filter(|name| !name.is_empty()).map(|name| LinkWish {
                line,
                from_row,
                column: column.title.clone(),
                target_table: table.clone(),
                target_text: name.to_owned(),
            }));
        }
    }

    /// Remembers where a value is stored in another spelling than the file's, such as "2.10" as 2.1.
    fn note_spelling(&mut self, line: u64, cells: &[&str], values: &[Option<Value>]) {
        for ((column, cell), value) in self.columns.iter_mut().zip(cells).zip(values) {
            let spelling = match value {
                None | Some(Value::Text(_)) => continue,
                Some(_) if column.is_ordinal => continue,
                Some(value) => format_value(value),
            };
            if spelling != *cell {
                column.respelled += 1;
                column.first_respelled.get_or_insert_with(|| (line, shown(cell), shown(&spelling)));
            }
        }
    }

    fn finish(mut self) -> ImportPlan {
        if !self.options.keys.is_empty() {
            let records = self.now.records.iter().map(|existing| existing.record);
            self.plan.gone = records.filter(|record| !self.found.contains(record)).collect();
        }
        for column in self.columns {
            if let Some((line, cell, spelling)) = column.first_respelled {
                self.plan.notes.push(format!(
                    "Column \"{}\": cells that are stored in another spelling: {}; the first on line {line}, \"{cell}\" as \
                     \"{spelling}\".",
                    column.title, column.respelled
                ));
            }
            if let Role::Field { name, field_type, index: None } = column.role {
                self.plan.new_columns.push((name, field_type));
            }
        }
        self.plan
    }
}

#[cfg(test)]
mod tests;
