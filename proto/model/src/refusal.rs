//! Refusals: what a caller is told when the fault is his, typed for programs and in a sentence for a person.

use serde::{Deserialize, Serialize};

/// Why something was refused. Published in the API; the names never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// No such workspace on this node.
    UnknownWorkspace,
    /// No such table.
    UnknownTable,
    /// No such field in that table.
    UnknownField,
    /// No such record, or not in that table.
    UnknownRecord,
    /// No such edge.
    UnknownEdge,
    /// No such actor among this node's identities.
    UnknownActor,
    /// No such bundle, revision or cell.
    UnknownHistory,
    /// The value is not of the field's type.
    WrongType,
    /// The value is not one of the enum's.
    UnknownEnumValue,
    /// A required field would be without a value.
    RequiredMissing,
    /// Something of that name or id exists already.
    AlreadyExists,
    /// A limit was exceeded: too long, too many, too deep.
    TooLarge,
    /// A value, name or id has no valid form.
    InvalidValue,
    /// The change of schema is not possible.
    InvalidSchemaChange,
    /// The query does not parse or does not fit.
    InvalidQuery,
    /// The request lacks something or contradicts itself.
    InvalidRequest,
    /// The command id was used before, for something else.
    CommandIdReused,
    /// `if_unchanged` was given and the cell had changed.
    Changed,
    /// The acting actor is not a member of the workspace.
    NotAMember,
    /// A bundle did not stand up to its checks.
    BadBundle,
    /// The base revision is not of this log.
    UnknownBase,
    /// The disk does not take any more.
    DiskFull,
    /// The workspace is not running.
    WorkspaceDown,
    /// The conflict is none any more, or never was one.
    NotInConflict,
    /// Nothing is there to be undone or redone, or something stands in its way.
    CannotUndo,
    /// No such overlay on this node: it was committed or discarded, or never was.
    UnknownOverlay,
    /// Others changed what an overlay also changed, and nobody has decided which is to stand.
    Drifted,
    /// It cannot be done in an overlay.
    NotInOverlay,
    /// The file is not on this node, or damaged here.
    BlobUnavailable,
    /// The file was deleted.
    BlobDeleted,
    /// The file is no picture that can be shown small.
    NoThumbnail,
}

impl Reason {
    /// Its published name, such as `UNKNOWN_TABLE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownWorkspace => "UNKNOWN_WORKSPACE",
            Self::UnknownTable => "UNKNOWN_TABLE",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::UnknownRecord => "UNKNOWN_RECORD",
            Self::UnknownEdge => "UNKNOWN_EDGE",
            Self::UnknownActor => "UNKNOWN_ACTOR",
            Self::UnknownHistory => "UNKNOWN_HISTORY",
            Self::WrongType => "WRONG_TYPE",
            Self::UnknownEnumValue => "UNKNOWN_ENUM_VALUE",
            Self::RequiredMissing => "REQUIRED_MISSING",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::TooLarge => "TOO_LARGE",
            Self::InvalidValue => "INVALID_VALUE",
            Self::InvalidSchemaChange => "INVALID_SCHEMA_CHANGE",
            Self::InvalidQuery => "INVALID_QUERY",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::CommandIdReused => "COMMAND_ID_REUSED",
            Self::Changed => "CHANGED",
            Self::NotAMember => "NOT_A_MEMBER",
            Self::BadBundle => "BAD_BUNDLE",
            Self::UnknownBase => "UNKNOWN_BASE",
            Self::DiskFull => "DISK_FULL",
            Self::WorkspaceDown => "WORKSPACE_DOWN",
            Self::NotInConflict => "NOT_IN_CONFLICT",
            Self::CannotUndo => "CANNOT_UNDO",
            Self::UnknownOverlay => "UNKNOWN_OVERLAY",
            Self::Drifted => "DRIFTED",
            Self::NotInOverlay => "NOT_IN_OVERLAY",
            Self::BlobUnavailable => "BLOB_UNAVAILABLE",
            Self::BlobDeleted => "BLOB_DELETED",
            Self::NoThumbnail => "NO_THUMBNAIL",
        }
    }
}

/// A refusal: nothing was changed (I-13).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for programs.
    pub reason: Reason,
    /// What is at fault, as a path into the request, such as `commands[3].set_fields.values.label`; may be empty.
    pub at: String,
    /// What happened, for people: one sentence.
    pub message: String,
    /// What to do next, for people: one sentence; may be empty.
    pub next: String,
}

impl Refusal {
    /// A refusal without place or advice.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, at: String::new(), message: message.into(), next: String::new() }
    }

    /// Names the part of the request that is at fault.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }

    /// Puts `outer` before the place that is at fault.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.at = if self.at.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.at) };
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }
}

impl From<crate::value::InvalidValue> for Refusal {
    fn from(invalid: crate::value::InvalidValue) -> Self {
        use crate::value::InvalidValue as V;
        let reason = match invalid {
            V::TextTooLong(_) | V::NameTooLong(_) | V::ListTooLong(_) => Reason::TooLarge,
            _ => Reason::InvalidValue,
        };
        let message = invalid.to_string();
        let mut letters = message.chars();
        let message = letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect());
        Self::new(reason, format!("{message}."))
    }
}

impl From<crate::ids::InvalidId> for Refusal {
    fn from(invalid: crate::ids::InvalidId) -> Self {
        Self::new(Reason::InvalidValue, format!("{invalid}."))
    }
}
