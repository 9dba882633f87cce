//! Finding the records that a file's cells name, and the edges that are not there yet.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use openprod_client::{Workspace, v1};
use openprod_domain::describe::escaped;
use openprod_model::ids::EntityId;
use openprod_model::value::{Name, Text, Value};

use super::error::ImportError;
use super::spec::LinkBy;
use super::survey;
use crate::sheet::format_value;

/// How many questions about edges are under way at once.
const AT_ONCE: usize = 16;

/// The records of a table by the texts that name them.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// The table's name, for sentences.
    pub(super) table: String,
    /// By the first column that names them, and by the second.
    exact: [Names; 2],
    /// Likewise, in lower case.
    folded: [Names; 2],
}

type Names = HashMap<String, Vec<EntityId>>;

impl Targets {
    pub(super) fn of(table: &str) -> Self {
        Self { table: escaped(table), ..Self::default() }
    }

    /// Adds a record with the values that name it, by the place of their column.
    pub(super) fn add<'a>(&mut self, record: EntityId, naming: impl IntoIterator<Item = (usize, &'a Value)>) {
        for (place, value) in naming {
            let text = format_value(value);
            let (exact, folded) = (text.trim().to_owned(), text.trim().to_lowercase());
            self.exact[place].entry(exact).or_default().push(record);
            self.folded[place].entry(folded).or_default().push(record);
        }
    }

    /// The records that a cell names, and a sentence for each name that names none or several.
    pub(super) fn resolve(&self, cell: &str, by: LinkBy) -> (Vec<EntityId>, Vec<String>) {
        match by {
            LinkBy::Prefix => match leading_number(cell) {
                Some(number) => self.numbered(number),
                None => (Vec::new(), vec![format!("\"{}\" does not begin with a number.", shown(cell))]),
            },
            // A name may hold commas itself, so the whole cell goes first.
            LinkBy::Name if !self.find(cell.trim()).is_empty() => self.all([cell.trim()]),
            LinkBy::Name => self.all(listed(cell)),
        }
    }

    fn all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> (Vec<EntityId>, Vec<String>) {
        let (mut records, mut problems) = (Vec::new(), Vec::new());
        for name in names {
            match self.find(name) {
                [] => problems.push(self.nothing(name)),
                [only] if records.contains(only) => {}
                [only] => records.push(*only),
                several => problems.push(self.unclear(several.len(), "are called", name)),
            }
        }
        (records, problems)
    }

    /// The record of that number: one that is called so, or else the one whose name begins with it, as "101 Storm"
    /// does with "101".
    fn numbered(&self, number: &str) -> (Vec<EntityId>, Vec<String>) {
        if !self.find(number).is_empty() {
            return self.all([number]);
        }
        match self.beginning_with(number).as_slice() {
            [] => (Vec::new(), vec![self.nothing(number)]),
            [only] => (vec![*only], Vec::new()),
            several => (Vec::new(), vec![self.unclear(several.len(), "begin with", number)]),
        }
    }

    /// By the first column, or else by the second.
    fn beginning_with(&self, number: &str) -> Vec<EntityId> {
        let begins =
            |name: &str| name.strip_prefix(number).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        let of = |names: &Names| -> BTreeSet<EntityId> {
            names.iter().filter(|(name, _)| begins(name)).flat_map(|(_, records)| records.iter().copied()).collect()
        };
        let found = self.exact.iter().map(of).find(|records| !records.is_empty());
        found.unwrap_or_default().into_iter().collect()
    }

    fn nothing(&self, name: &str) -> String {
        format!("There is no record \"{}\" in {}.", shown(name), self.table)
    }

    fn unclear(&self, count: usize, are: &str, name: &str) -> String {
        let (table, name) = (&self.table, shown(name));
        format!("{count} records of {table} {are} \"{name}\", so it cannot be told which is meant.")
    }

    /// By the very text in the first column, or else in the second; if there is none, by the text in another case.
    fn find(&self, name: &str) -> &[EntityId] {
        let normal = Text::new(name).map_or_else(|_| name.to_owned(), |text| text.to_string());
        let folded = normal.to_lowercase();
        let exact = self.exact.iter().filter_map(|names| names.get(&normal));
        let found = exact.chain(self.folded.iter().filter_map(|names| names.get(&folded))).next();
        found.map_or(&[], Vec::as_slice)
    }
}

/// The names in a cell such as "Storm, Harbour & Quay; Inn".
fn listed(cell: &str) -> impl Iterator<Item = &str> {
    let parts = cell.split([',', ';']).flat_map(|part| part.split(" & "));
    parts.map(str::trim).filter(|name| !name.is_empty())
}

fn leading_number(cell: &str) -> Option<&str> {
    let cell = cell.trim_start();
    let end = cell.find(|c: char| !c.is_ascii_digit()).unwrap_or(cell.len());
    Some(&cell[..end]).filter(|number| !number.is_empty())
}

fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escaped(&start))
}

/// An edge that a file asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WantedEdge {
    /// Its type: the name of the column.
    pub(super) edge_type: Name,
    /// The record of the row.
    pub(super) source: EntityId,
    /// The record that the cell names.
    pub(super) target: EntityId,
}

/// Which of the `wanted` edges are there already. Only sources that `may_have` edges are asked for.
pub(super) async fn present(
    workspace: &Workspace,
    wanted: &[WantedEdge],
    may_have: &HashSet<EntityId>,
) -> Result<HashSet<WantedEdge>, ImportError> {
    let mut ends: HashMap<&Name, (HashSet<EntityId>, HashSet<EntityId>)> = HashMap::new();
    for edge in wanted.iter().filter(|edge| may_have.contains(&edge.source)) {
        let (sources, targets) = ends.entry(&edge.edge_type).or_default();
        sources.insert(edge.source);
        targets.insert(edge.target);
    }
    let mut found = HashSet::new();
    for (edge_type, (sources, targets)) in ends {
        // A few scenes and hundreds of cues: ask at the smaller side.
        let (records, direction) = if sources.len() <= targets.len() {
            (sources, v1::EdgeDirection::From)
        } else {
            (targets, v1::EdgeDirection::To)
        };
        found.extend(at(workspace, edge_type, records, direction).await?);
    }
    Ok(found)
}

async fn at(
    workspace: &Workspace,
    edge_type: &Name,
    records: HashSet<EntityId>,
    direction: v1::EdgeDirection,
) -> Result<Vec<WantedEdge>, ImportError> {
    let question = |record: EntityId| v1::ListEdgesRequest {
        record: record.to_string(),
        direction: direction.into(),
        r#type: edge_type.to_string(),
        ..Default::default()
    };
    let pages: Vec<_> = records.into_iter().map(|record| workspace.pages(question(record)).all()).collect();
    let edges: Vec<Vec<v1::Edge>> = futures::stream::iter(pages).buffer_unordered(AT_ONCE).try_collect().await?;
    edges.into_iter().flatten().map(|edge| ends(edge, workspace)).collect()
}

fn ends(edge: v1::Edge, workspace: &Workspace) -> Result<WantedEdge, ImportError> {
    let v1::EdgeEnds { r#type, source, target } = edge.ends.unwrap_or_default();
    let unknown = |_| ImportError::unknown("The node told of an edge without a type.", "");
    Ok(WantedEdge {
        edge_type: Name::new(&r#type).map_err(unknown)?,
        source: survey::id(&source, workspace)?,
        target: survey::id(&target, workspace)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> EntityId {
        EntityId::from_bytes([n; 16])
    }

    fn scenes() -> Targets {
        let mut targets = Targets::of("scenes");
        for (n, number, title) in
            [(1, "12", "Storm"), (2, "13", "Harbour, by night"), (3, "14", "quay"), (4, "15", "Quay"), (5, "16", "Inn")]
        {
            let (number, title) = (Value::text(number).unwrap(), Value::text(title).unwrap());
            targets.add(record(n), [(0, &number), (1, &title)]);
        }
        targets.add(record(6), [(1, &Value::text("INN").unwrap())]);
        targets.add(record(7), [(0, &Value::text("Epilogue").unwrap()), (1, &Value::text("12").unwrap())]);
        targets
    }

    #[test]
    fn the_very_text_goes_before_another_case() {
        let named = |cell: &str| scenes().resolve(cell, LinkBy::Name).0;
        assert_eq!(named("Quay"), [record(4)]);
        assert_eq!(named("storm"), [record(1)]);
        assert_eq!(named(" 13 "), [record(2)]);
        assert_eq!(named("Harbour, by night"), [record(2)]);
        assert_eq!(named("Storm; quay & Inn, Storm"), [record(1), record(3), record(5)]);
    }

    #[test]
    fn names_that_mean_none_or_several_are_told() {
        let (records, problems) = scenes().resolve("Storm, QUAY, Act 9", LinkBy::Name);
        assert_eq!(records, [record(1)]);
        assert_eq!(
            problems,
            [
                "2 records of scenes are called \"QUAY\", so it cannot be told which is meant.",
                "There is no record \"Act 9\" in scenes.",
            ]
        );
    }

    #[test]
    fn a_cue_belongs_to_the_scene_that_its_number_begins_with() {
        let by_prefix = |cell: &str| scenes().resolve(cell, LinkBy::Prefix);
        assert_eq!(by_prefix("12.4").0, [record(1)]);
        assert_eq!(by_prefix("13A").0, [record(2)]);
        assert_eq!(by_prefix("LX 12").1, ["\"LX 12\" does not begin with a number."]);
        assert_eq!(by_prefix("99.1").1, ["There is no record \"99\" in scenes."]);
    }

    #[test]
    fn a_scene_may_be_called_by_more_than_its_number() {
        let mut targets = scenes();
        for (n, name) in
            [(8, "101 Scene One"), (9, "1012 Quay"), (10, "12 again"), (11, "7/a"), (12, "7 b"), (13, "8a")]
        {
            targets.add(record(n), [(0, &Value::text(name).unwrap())]);
        }
        let by_prefix = |cell: &str| targets.resolve(cell, LinkBy::Prefix);
        assert_eq!(by_prefix("101.5").0, [record(8)]);
        assert_eq!(by_prefix("12.4").0, [record(1)], "the very number goes first");
        assert_eq!(by_prefix("8").1, ["There is no record \"8\" in scenes."]);
        assert_eq!(by_prefix("7.1").1, ["2 records of scenes begin with \"7\", so it cannot be told which is meant."]);
    }
}
