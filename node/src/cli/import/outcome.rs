//! What an import would do or did, for programs and for people who are told by somebody else.

use serde_json::{Value as Json, json};

/// What an import would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// The file's name.
    pub file_name: String,
    /// BLAKE3 of its bytes, in hexadecimal digits.
    pub hash: String,
    /// The table's name.
    pub table: String,
    /// Whether the table is made.
    pub makes_table: bool,
    /// The file's columns.
    pub columns: Vec<ColumnSummary>,
    /// How many rows become new records.
    pub new: usize,
    /// How many records change.
    pub changed: usize,
    /// How many rows are as their records are.
    pub unchanged: usize,
    /// How many records are no longer in the file; they are left alone unless that was asked for.
    pub gone: usize,
    /// How many edges are made.
    pub new_edges: usize,
    /// What was set aside.
    pub bad: Vec<BadCell>,
    /// Sentences for people.
    pub notes: Vec<String>,
    /// How many operations it is.
    pub ops: usize,
    /// How many bytes, about.
    pub bytes: usize,
}

/// A column of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// Its type, as it is typed.
    pub kind: String,
    /// Whether it is made.
    pub is_new: bool,
    /// Why it has that type, in a sentence.
    pub why: String,
}

/// A cell that could not be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCell {
    /// Its line in the file.
    pub line: u64,
    /// Its column, or the key columns.
    pub column: String,
    /// What is wrong: a sentence.
    pub message: String,
    /// What is not imported for that.
    pub loss: Loss,
}

/// What is not imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The whole row.
    Row,
    /// Only the edge.
    Edge,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOutcome {
    /// What was to be done, and was.
    pub summary: ImportSummary,
    /// The bundles, in order; none if nothing had to be done.
    pub written: Vec<Written>,
    /// The overlay in which it is staged; none if it was written at once, or nothing had to be done.
    pub overlay: Option<StagedImport>,
    /// The conflicts that it opened: a sentence each.
    pub conflicts: Vec<String>,
}

/// Where an import is staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedImport {
    /// The overlay's id.
    pub overlay: String,
    /// What people call it.
    pub name: String,
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The revision behind it.
    pub revision: u64,
    /// Its id.
    pub bundle_id: String,
}

impl ImportSummary {
    /// How many rows were set aside.
    pub fn bad_rows(&self) -> usize {
        let mut lines: Vec<u64> = self.bad.iter().filter(|bad| bad.loss == Loss::Row).map(|bad| bad.line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines.len()
    }

    /// How many names in cells mean no record, or several.
    pub fn bad_links(&self) -> usize {
        self.bad.iter().filter(|bad| bad.loss == Loss::Edge).count()
    }

    /// In one line: "47 new, 3 changed, 0 gone; 12 unchanged; 2 bad rows".
    pub fn sentence(&self) -> String {
        let Self { new, changed, gone, .. } = self;
        let unchanged = counted(self.unchanged, "unchanged", "unchanged");
        let links = counted(self.new_edges, "new link", "new links");
        let mut parts = vec![format!("{new} new, {changed} changed, {gone} gone")];
        parts.extend(unchanged.into_iter().chain(links).chain(self.set_aside()));
        parts.join("; ")
    }

    /// What is set aside: "2 bad rows", "1 link without its record". Empty if nothing is.
    pub fn set_aside(&self) -> Vec<String> {
        let rows = counted(self.bad_rows(), "bad row", "bad rows");
        let links = counted(self.bad_links(), "link without its record", "links without their records");
        rows.into_iter().chain(links).collect()
    }

    /// All of it.
    pub fn to_json(&self) -> Json {
        let column = |column: &ColumnSummary| json!({"name": column.name, "type": column.kind, "new": column.is_new, "why": column.why});
        let bad = |bad: &BadCell| {
            let loss = match bad.loss {
                Loss::Row => "row",
                Loss::Edge => "link",
            };
            json!({"line": bad.line, "column": bad.column, "message": bad.message, "loss": loss})
        };
        json!({
            "file": self.file_name, "hash": self.hash, "table": self.table, "makes_table": self.makes_table,
            "columns": self.columns.iter().map(column).collect::<Vec<_>>(),
            "new": self.new, "changed": self.changed, "unchanged": self.unchanged, "gone": self.gone,
            "new_links": self.new_edges, "bad_rows": self.bad_rows(), "bad_links": self.bad_links(),
            "bad": self.bad.iter().map(bad).collect::<Vec<_>>(), "notes": self.notes,
            "ops": self.ops, "bytes": self.bytes,
        })
    }
}

impl ImportOutcome {
    /// All of it.
    pub fn to_json(&self) -> Json {
        let written = |written: &Written| json!({"revision": written.revision, "bundle_id": written.bundle_id});
        let mut json = self.summary.to_json();
        json["bundles"] = self.written.iter().map(written).collect();
        json["overlay"] = self.overlay.as_ref().map(|at| json!({"overlay": at.overlay, "name": at.name})).into();
        json["opened_conflicts"] = self.conflicts.clone().into();
        json
    }
}

fn counted(count: usize, one: &str, several: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { several }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn summary() -> ImportSummary {
        let bad = |line, loss| BadCell { line, column: "cue".to_owned(), message: "No.".to_owned(), loss };
        ImportSummary {
            file_name: "cues.csv".to_owned(),
            hash: "00".repeat(32),
            table: "cues".to_owned(),
            makes_table: false,
            columns: Vec::new(),
            new: 47,
            changed: 3,
            unchanged: 12,
            gone: 0,
            new_edges: 1,
            bad: vec![bad(3, Loss::Row), bad(3, Loss::Row), bad(9, Loss::Row), bad(10, Loss::Edge)],
            notes: Vec::new(),
            ops: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_row_with_two_bad_cells_is_one_bad_row() {
        let summary = summary();
        assert_eq!((summary.bad_rows(), summary.bad_links()), (2, 1));
        assert_eq!(
            summary.sentence(),
            "47 new, 3 changed, 0 gone; 12 unchanged; 1 new link; 2 bad rows; 1 link without its record"
        );
        assert_eq!(summary.to_json()["bad"].as_array().map(Vec::len), Some(4));
    }
}
