//! Values: what a field can hold, with one canonical form each, so that equality is equality of bytes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::ids::{BlobHash, EntityId};

/// Longest text value in bytes: 1 MiB. Longer prose belongs in a text field's own document or in a blob.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Longest name (table, field, enum value, edge type, setting) in bytes. Names are part of every key.
pub const MAX_NAME_BYTES: usize = 128;
/// Most items in a list value: lists are read and replaced whole.
pub const MAX_LIST_ITEMS: usize = 10_000;

/// Why a value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// NaN and the infinities equal nothing a person could have meant.
    #[error("not a finite number")]
    NotFinite,
    /// Text above [`MAX_TEXT_BYTES`].
    #[error("text of {0} bytes is longer than the {MAX_TEXT_BYTES} allowed")]
    TextTooLong(usize),
    /// A NUL character, which no spreadsheet, terminal or C library carries unharmed.
    #[error("text holds a NUL character")]
    Nul,
    /// A name that is empty.
    #[error("a name may not be empty")]
    EmptyName,
    /// A name above [`MAX_NAME_BYTES`].
    #[error("a name of {0} bytes is longer than the {MAX_NAME_BYTES} allowed")]
    NameTooLong(usize),
    /// A control character in a name, or white space at one of its ends.
    #[error("a name may not hold control characters or begin or end with white space")]
    NameCharacters,
    /// A list above [`MAX_LIST_ITEMS`].
    #[error("a list of {0} items is longer than the {MAX_LIST_ITEMS} allowed")]
    ListTooLong(usize),
    /// Text that is not in Unicode normalization form C.
    #[error("text is not in normalization form C")]
    NotNormalized,
    /// A UTC offset outside ±18 hours.
    #[error("a UTC offset of {0} minutes is out of range")]
    Offset(i16),
}

/// Text in Unicode normalization form C, without NUL, at most [`MAX_TEXT_BYTES`] long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Text(Arc<str>);

impl Text {
    /// Normalizes `text`.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let normal: Arc<str> = if is_normal(text) { text.into() } else { text.nfc().collect::<String>().into() };
        Self::checked(normal)
    }

    fn checked(text: Arc<str>) -> Result<Self, InvalidValue> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvalidValue::TextTooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(InvalidValue::Nul);
        }
        Ok(Self(text))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is in normal form C. ASCII is, which is seen at a glance, and most texts are that.
fn is_normal(text: &str) -> bool {
    text.is_ascii() || unicode_normalization::is_nfc(text)
}

impl TryFrom<Arc<str>> for Text {
    type Error = InvalidValue;
    fn try_from(text: Arc<str>) -> Result<Self, InvalidValue> {
        if !is_normal(&text) {
            return Err(InvalidValue::NotNormalized);
        }
        Self::checked(text)
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name of a table, field, edge type, property, setting or enum value: normalized, 1 to [`MAX_NAME_BYTES`] bytes,
/// no control characters, no white space at its ends. Names compare exactly; case matters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Name(Arc<str>);

impl Name {
    /// Normalizes and checks `name`; white space at its ends is removed.
    pub fn new(name: &str) -> Result<Self, InvalidValue> {
        let normal: String = name.trim().nfc().collect();
        Self::try_from(Arc::<str>::from(normal))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Arc<str>> for Name {
    type Error = InvalidValue;
    fn try_from(name: Arc<str>) -> Result<Self, InvalidValue> {
        if name.is_empty() {
            Err(InvalidValue::EmptyName)
        } else if name.len() > MAX_NAME_BYTES {
            Err(InvalidValue::NameTooLong(name.len()))
        } else if name.chars().any(char::is_control) || name.trim() != &*name {
            Err(InvalidValue::NameCharacters)
        } else if !is_normal(&name) {
            Err(InvalidValue::NotNormalized)
        } else {
            Ok(Self(name))
        }
    }
}

impl From<Name> for Arc<str> {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A finite 64-bit float; negative zero is zero.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Float(f64);

impl Float {
    /// Refuses NaN and infinities, and makes -0 into 0.
    pub fn new(number: f64) -> Result<Self, InvalidValue> {
        if number.is_finite() {
            Ok(Self(if number == 0.0 { 0.0 } else { number }))
        } else {
            Err(InvalidValue::NotFinite)
        }
    }

    /// The number.
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl TryFrom<u64> for Float {
    type Error = InvalidValue;
    fn try_from(bits: u64) -> Result<Self, InvalidValue> {
        let float = Self::new(f64::from_bits(bits))?;
        if float.0.to_bits() == bits { Ok(float) } else { Err(InvalidValue::NotFinite) }
    }
}

impl From<Float> for u64 {
    fn from(float: Float) -> Self {
        float.0.to_bits()
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A calendar day: days since 1970-01-01, no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Date {
    /// Days since 1970-01-01; negative before.
    pub days: i32,
}

/// A date and a time as a clock on the wall shows it, with the offset from UTC where one was given.
///
/// A call at 18:00 stays at 18:00 in whatever zone the laptop is; so the reading is kept, not an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(i64, Option<i16>)", into = "(i64, Option<i16>)")]
pub struct DateTime {
    /// Milliseconds since 1970-01-01T00:00 on that clock.
    local_ms: i64,
    /// Minutes east of UTC, within ±18 hours; none for a floating time.
    offset_min: Option<i16>,
}

impl DateTime {
    /// A reading of `local_ms` milliseconds since 1970-01-01T00:00 at `offset_min` minutes east of UTC.
    pub fn new(local_ms: i64, offset_min: Option<i16>) -> Result<Self, InvalidValue> {
        match offset_min {
            Some(minutes) if !(-1080..=1080).contains(&minutes) => Err(InvalidValue::Offset(minutes)),
            _ => Ok(Self { local_ms, offset_min }),
        }
    }

    /// Milliseconds since 1970-01-01T00:00 on the clock that was read.
    pub fn local_ms(self) -> i64 {
        self.local_ms
    }

    /// Minutes east of UTC, if known.
    pub fn offset_min(self) -> Option<i16> {
        self.offset_min
    }
}

impl TryFrom<(i64, Option<i16>)> for DateTime {
    type Error = InvalidValue;
    fn try_from((local_ms, offset_min): (i64, Option<i16>)) -> Result<Self, InvalidValue> {
        Self::new(local_ms, offset_min)
    }
}

impl From<DateTime> for (i64, Option<i16>) {
    fn from(at: DateTime) -> Self {
        (at.local_ms, at.offset_min)
    }
}

/// A length of time in milliseconds; may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Duration {
    /// Milliseconds.
    pub ms: i64,
}

/// What a field says about a file: the bytes themselves live apart, addressed by hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3 of the bytes.
    pub hash: BlobHash,
    /// Their number.
    pub size: u64,
    /// A file name for people.
    pub name: Text,
    /// Media type, RFC 6838, such as `image/png`.
    pub media_type: Text,
}

/// A field of another record, from which this field takes its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldRef {
    /// The other record's entity.
    pub entity: EntityId,
    /// The table whose record it is.
    pub table: Name,
    /// The field.
    pub field: Name,
}

/// An item of a list value. Lists do not nest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Primitive {
    /// Text.
    Text(Text),
    /// Whole number.
    Integer(i64),
    /// Finite number.
    Float(Float),
    /// True or false.
    Boolean(bool),
    /// Calendar day.
    Date(Date),
    /// Wall-clock date and time.
    DateTime(DateTime),
    /// Length of time.
    Duration(Duration),
}

/// A list of primitives, at most [`MAX_LIST_ITEMS`] long.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Primitive>", into = "Vec<Primitive>")]
pub struct List(Vec<Primitive>);

impl List {
    /// The items, in order.
    pub fn items(&self) -> &[Primitive] {
        &self.0
    }
}

impl TryFrom<Vec<Primitive>> for List {
    type Error = InvalidValue;
    fn try_from(items: Vec<Primitive>) -> Result<Self, InvalidValue> {
        if items.len() > MAX_LIST_ITEMS { Err(InvalidValue::ListTooLong(items.len())) } else { Ok(Self(items)) }
    }
}

impl From<List> for Vec<Primitive> {
    fn from(list: List) -> Self {
        list.0
    }
}

/// The value of a field. Two values are equal exactly when their canonical bytes are.
///
/// The derived order sorts by type first; order within a type is the natural one. The query language orders
/// values by the field's type instead (numbers with numbers, natural order for text).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// Text.
    Text(Text),
    /// Whole number.
    Integer(i64),
    /// Finite number.
    Float(Float),
    /// True or false.
    Boolean(bool),
    /// Calendar day.
    Date(Date),
    /// Wall-clock date and time.
    DateTime(DateTime),
    /// Length of time.
    Duration(Duration),
    /// One of the values that the column lists.
    Enum(Name),
    /// Another entity.
    Entity(EntityId),
    /// A file.
    Blob(BlobRef),
    /// Several primitives.
    List(List),
    /// The value of another record's field; reads and edits go through to it.
    FieldRef(FieldRef),
}

impl Value {
    /// A text value.
    pub fn text(text: &str) -> Result<Self, InvalidValue> {
        Text::new(text).map(Self::Text)
    }

    /// A float value.
    pub fn float(number: f64) -> Result<Self, InvalidValue> {
        Float::new(number).map(Self::Float)
    }
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldType {
    /// Text, a scalar: concurrent edits conflict.
    Text,
    /// Whole number, 64 bits, signed.
    Integer,
    /// Finite 64-bit float.
    Float,
    /// True or false.
    Boolean,
    /// Calendar day.
    Date,
    /// Wall-clock date and time.
    DateTime,
    /// Length of time.
    Duration,
    /// One of `values`; more may be added, none taken away.
    Enum {
        /// What the field may hold, in the order in which it is offered.
        values: Vec<Name>,
    },
    /// Another record.
    Reference {
        /// The table whose records are meant; a hint, not a constraint on what peers wrote.
        table: Option<Name>,
    },
    /// A file.
    Blob,
    /// A list of primitives of one type, replaced whole: concurrent edits conflict.
    List {
        /// The type of each item.
        item: PrimitiveType,
    },
    /// Long text that several people may edit at once: edits merge and never conflict.
    Document,
    /// A list of primitives that several people may edit at once: edits merge and never conflict.
    Sequence {
        /// The type of each item.
        item: PrimitiveType,
    },
}

/// The type of a list's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PrimitiveType {
    /// Text.
    Text,
    /// Whole number.
    Integer,
    /// Finite number.
    Float,
    /// True or false.
    Boolean,
    /// Calendar day.
    Date,
    /// Wall-clock date and time.
    DateTime,
    /// Length of time.
    Duration,
}

impl From<PrimitiveType> for FieldType {
    fn from(primitive: PrimitiveType) -> Self {
        match primitive {
            PrimitiveType::Text => Self::Text,
            PrimitiveType::Integer => Self::Integer,
            PrimitiveType::Float => Self::Float,
            PrimitiveType::Boolean => Self::Boolean,
            PrimitiveType::Date => Self::Date,
            PrimitiveType::DateTime => Self::DateTime,
            PrimitiveType::Duration => Self::Duration,
        }
    }
}

impl FieldType {
    /// The word for this type in the command line, the API and errors.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Duration => "duration",
            Self::Enum { .. } => "enum",
            Self::Reference { .. } => "reference",
            Self::Blob => "blob",
            Self::List { .. } => "list",
            Self::Document => "document",
            Self::Sequence { .. } => "sequence",
        }
    }

    /// Whether fields of this type are edited, not set: their edits merge and never conflict.
    pub fn merges(&self) -> bool {
        matches!(self, Self::Document | Self::Sequence { .. })
    }

    /// Whether `value` is of this type. A field reference fits every type that is set: what it leads to is checked where
    /// it is read. Nothing fits a type that is edited instead.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Document | Self::Sequence { .. }, _) => false,
            (_, Value::FieldRef(_))
            | (Self::Text, Value::Text(_))
            | (Self::Integer, Value::Integer(_))
            | (Self::Float, Value::Float(_))
            | (Self::Boolean, Value::Boolean(_))
            | (Self::Date, Value::Date(_))
            | (Self::DateTime, Value::DateTime(_))
            | (Self::Duration, Value::Duration(_))
            | (Self::Reference { .. }, Value::Entity(_))
            | (Self::Blob, Value::Blob(_)) => true,
            (Self::Enum { values }, Value::Enum(name)) => values.contains(name),
            (Self::List { item }, Value::List(list)) => list.items().iter().all(|p| item.admits(p)),
            _ => false,
        }
    }
}

impl PrimitiveType {
    /// The word for this type.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Duration => "duration",
        }
    }

    /// Whether `item` is of this type.
    pub fn admits(self, item: &Primitive) -> bool {
        matches!(
            (self, item),
            (Self::Text, Primitive::Text(_))
                | (Self::Integer, Primitive::Integer(_))
                | (Self::Float, Primitive::Float(_))
                | (Self::Boolean, Primitive::Boolean(_))
                | (Self::Date, Primitive::Date(_))
                | (Self::DateTime, Primitive::DateTime(_))
                | (Self::Duration, Primitive::Duration(_))
        )
    }
}
