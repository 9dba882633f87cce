//! Files: what a content says of one, whether it was deleted, and for how long its bytes stay.

use openprod_model::ids::BlobHash;
use openprod_model::value::{BlobRef, Name, Text, Value};

use crate::cell::{Cell, Content};
use crate::read;
use crate::view::{Read, View};

/// For how many days a file is kept that nothing needs any more, where nobody has set it.
pub const DEFAULT_RETENTION_DAYS: u64 = 90;
/// The longest that can be set: a hundred years.
pub const MAX_RETENTION_DAYS: u64 = 36_500;

/// The setting that says for how many days a file is kept that nothing needs any more.
pub fn retention_setting() -> Name {
    Name::new("blob_retention_days").expect("a word is a name")
}

/// Whether a value can be that setting's.
pub fn is_retention(value: &Value) -> bool {
    matches!(value, Value::Integer(days) if u64::try_from(*days).is_ok_and(|days| days <= MAX_RETENTION_DAYS))
}

/// For how many days a file is kept that nothing needs any more.
pub fn retention_days(view: &dyn View) -> Read<u64> {
    Ok(match read::setting(view, &retention_setting())? {
        Some(Value::Integer(days)) => u64::try_from(days).unwrap_or(DEFAULT_RETENTION_DAYS),
        _ => DEFAULT_RETENTION_DAYS,
    })
}

/// Why a file was deleted; none if it was not, or is wanted again.
pub fn deletion(view: &dyn View, hash: BlobHash) -> Read<Option<Text>> {
    Ok(match read::cell(view, Cell::Asset { hash })?.content() {
        Some(Content::Value(Value::Text(reason))) => Some(reason.clone()),
        _ => None,
    })
}

/// The file that a content is about, if it is about one.
pub fn file_in(content: &Content) -> Option<&BlobRef> {
    match content {
        Content::Value(Value::Blob(file)) => Some(file),
        Content::Column(spec) => match &spec.default {
            Some(Value::Blob(file)) => Some(file),
            _ => None,
        },
        _ => None,
    }
}
