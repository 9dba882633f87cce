//! Which key re-admits its holder to a workspace, where it was made anew since the workspace began.

use openprod_model::ids::ActorId;
use openprod_model::value::{Name, Text, Value};

use crate::read;
use crate::view::{Read, View};

/// The setting that names the present recovery key by its actor id.
pub fn setting() -> Name {
    Name::new("recovery_key").expect("a word is a name")
}

/// The value by which the setting names a key.
pub fn value(key: ActorId) -> Value {
    Value::Text(Text::new(&key.to_string()).expect("digits are text"))
}

/// The key that a value of the setting names.
pub fn named(value: &Value) -> Option<ActorId> {
    match value {
        Value::Text(text) => text.as_str().parse().ok(),
        _ => None,
    }
}

/// The present recovery key, if one was made since the workspace began.
pub fn current(view: &dyn View) -> Read<Option<ActorId>> {
    Ok(read::setting(view, &setting())?.as_ref().and_then(named))
}
