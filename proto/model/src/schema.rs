//! What a table and a column say of themselves.

use serde::{Deserialize, Serialize};

use crate::value::{FieldType, Name, Text, Value};

/// A table's description. Its key, which never changes, is the name it was created under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSpec {
    /// The name that people see; may be changed.
    pub name: Name,
    /// A sentence on what the table is for; may be empty.
    pub description: Text,
}

/// A column's description. Its key, which never changes, is the name it was created under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// The name that people see; may be changed.
    pub name: Name,
    /// The type of its fields; an enum may grow, nothing else changes.
    pub field_type: FieldType,
    /// Whether a new record must have a value, and an existing one may not lose it.
    pub required: bool,
    /// What a new record gets where nothing was given.
    pub default: Option<Value>,
    /// Its place among the table's columns: they are shown by ascending `order`, ties by key.
    pub order: u32,
    /// Whether it is left out where all columns are shown. Its values stay.
    pub hidden: bool,
}
