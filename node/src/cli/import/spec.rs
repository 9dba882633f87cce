//! What a person asks of an import, and how options such as `scene=scenes:prefix` are read.

use std::str::FromStr;

use openprod_model::value::FieldType;

use crate::cli::columns;
use crate::sheet::ReadOptions;

/// What is asked of an import. Columns are named as in the file's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSpec {
    /// The table, by its name or key; it is made if it is not there.
    pub table: String,
    /// The columns by which a row is known to be a record that is there already; `#` counts rows that share the keys
    /// before it. Without any, every row becomes a new record.
    pub keys: Vec<String>,
    /// Columns in which an empty cell means the one above.
    pub fill_down: Vec<String>,
    /// Columns whose cells name records to which an edge is made.
    pub links: Vec<LinkSpec>,
    /// Types of columns that the table does not have yet.
    pub types: Vec<(String, FieldType)>,
    /// How the file is read.
    pub read: ReadOptions,
    /// In how many bundles it is written.
    pub bundles: Bundles,
    /// What becomes of records that are no longer in the file.
    pub gone: Gone,
}

/// What becomes of records of the table that are not in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gone {
    /// They are counted and left alone.
    #[default]
    Stay,
    /// They are taken out of the table.
    Go,
}

/// In how many bundles an import is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bundles {
    /// In one: all or nothing.
    #[default]
    One,
    /// In several, each all or nothing.
    Several,
}

/// A column whose cells name records of a table. The edge's type is the column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// The column.
    pub column: String,
    /// The table, by its name or key.
    pub table: String,
    /// What of a cell names the record.
    pub by: LinkBy,
}

/// What of a cell names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkBy {
    /// All of it; or, if there is no such record, the names that it lists.
    Name,
    /// The whole number at its beginning: "12.4" means "12", or else the only one such as "12 Storm".
    Prefix,
}

/// A type given for a column, as in `time=duration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeSpec(pub String, pub FieldType);

const PREFIX: &str = ":prefix";

impl FromStr for LinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, target) = pair(text, "COLUMN=TABLE, such as scene=scenes or scene=scenes:prefix")?;
        let (table, by) = match target.strip_suffix(PREFIX) {
            Some(table) => (table, LinkBy::Prefix),
            None => (target, LinkBy::Name),
        };
        Ok(Self { column: column.to_owned(), table: table.to_owned(), by })
    }
}

impl FromStr for TypeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, kind) = pair(text, "COLUMN=TYPE, such as time=duration")?;
        columns::field_type(kind).map(|kind| Self(column.to_owned(), kind)).map_err(|error| error.to_string())
    }
}

/// The last equals sign separates: headers of spreadsheets hold anything.
fn pair<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    let parts = text.rsplit_once('=').map(|(left, right)| (left.trim(), right.trim()));
    parts.filter(|(left, right)| !left.is_empty() && !right.is_empty()).ok_or_else(|| format!("write {form}"))
}

/// Reads a delimiter: one ASCII character, `\t` or `tab`.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("\\t" | "tab", _) => Ok(b'\t'),
        (_, [one]) if one.is_ascii() => Ok(*one),
        _ => Err("write one character such as ; or the word tab".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_types_are_read_as_people_write_them() {
        let link: LinkSpec = "Cue #=scenes:prefix".parse().unwrap();
        assert_eq!((link.column.as_str(), link.table.as_str(), link.by), ("Cue #", "scenes", LinkBy::Prefix));
        assert_eq!("a=b=scenes".parse::<LinkSpec>().unwrap().column, "a=b");
        assert!("scenes".parse::<LinkSpec>().is_err() && "=scenes".parse::<LinkSpec>().is_err());
        let kind = |text: &str| text.parse::<TypeSpec>().map(|TypeSpec(_, kind)| kind.word().to_owned());
        for word in ["text", "integer", "float", "boolean", "date", "datetime", "duration", "blob", "reference"] {
            assert_eq!(kind(&format!("x={word}")).unwrap(), word);
        }
        assert_eq!(kind("x=enum(in,out)").unwrap(), "enum");
        assert_eq!(kind("x=list(date)").unwrap(), "list");
        assert!(kind("x=number").is_err() && kind("x=").is_err());
    }

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!((delimiter(";"), delimiter("tab"), delimiter("\\t")), (Ok(b';'), Ok(b'\t'), Ok(b'\t')));
        assert!(delimiter("").is_err() && delimiter("ö").is_err() && delimiter("||").is_err());
    }
}
