//! Commands: what a client may ask for, already parsed into types that cannot be malformed.

use openprod_model::bundle::{BundleKind, Source};
use openprod_model::ids::{ActorId, BlobHash, CommandId, EdgeId, EntityId, OpRef, OverlayId, Position, SessionId};
use openprod_model::value::{FieldType, Name, Text, Value};
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::inverse::Turn;
use crate::inverse::stack::{Scope, Which};
use crate::inverse::take::Wanted;
use crate::text::{Kind, ListEdit, TextEdit};

/// Most commands in one request; each makes at least one op.
pub const MAX_COMMANDS: usize = openprod_model::bundle::MAX_OPS;
/// Most columns of a table: more than any spreadsheet that people read.
pub const MAX_COLUMNS: usize = 4_096;

/// A list of commands that happen together or not at all: one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Request {
    /// Made by the client; the same id acts once (I-6).
    pub command_id: CommandId,
    /// The client's session: its own later writes count as seen.
    pub session: Option<SessionId>,
    /// The last revision that the client had been shown when the edit was made. None for a one-shot command line.
    pub base: Option<Position>,
    /// What to do where the client does not know the present values.
    pub stance: Stance,
    /// What makes it: an edit or an import.
    pub kind: BundleKind,
    /// A short sentence in the imperative; made up from the commands if none is given.
    pub label: Option<Text>,
    /// Where the changes come from.
    pub source: Source,
    /// What to do, in order.
    pub commands: Vec<Command>,
}

impl Request {
    /// A change of who is a member that a node makes by itself, for no client.
    pub fn of_members(command_id: CommandId, stance: Stance, label: Option<Text>, commands: Vec<Command>) -> Self {
        let (session, base, kind, source) = (None, None, BundleKind::MEMBER, Source::default());
        Self { command_id, session, base, stance, kind, label, source, commands }
    }

    /// What is to be undone or redone, if that is all that the request asks for.
    pub fn turn(&self) -> Option<Wanted> {
        match self.commands.as_slice() {
            [Command::Undo { scope, bundle }] => Some(Wanted { turn: Turn::Undo, scope: *scope, bundle: *bundle }),
            [Command::Redo { scope, bundle }] => Some(Wanted { turn: Turn::Redo, scope: *scope, bundle: *bundle }),
            _ => None,
        }
    }
}

/// What a write does where it meets values that its author may not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Stance {
    /// Stands beside what the author had not seen: a conflict that people resolve.
    #[default]
    Beside,
    /// Refuses the whole request if a cell it writes changed since `base`.
    IfUnchanged,
    /// Decides open conflicts: supersedes everything that stands.
    Decide,
}

/// One change that a client asks for. Tables and columns are named by their names or keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum Command {
    /// Makes a table.
    CreateTable {
        /// Its name, and its key for ever.
        name: Name,
        /// What it is for; may be empty.
        description: Text,
        /// Its first columns, in order.
        columns: Vec<NewColumn>,
    },
    /// Changes a table and its columns.
    AlterTable {
        /// The table.
        table: Name,
        /// The changes, in order.
        changes: Vec<TableChange>,
    },
    /// Hides a table; its records and values are kept.
    DropTable {
        /// The table.
        table: Name,
    },
    /// Makes a new record, or brings a removed one back into this table.
    CreateRecord {
        /// Its id, if the client made one (to refer to it in later commands); else a fresh one.
        record: Option<EntityId>,
        /// The table.
        table: Name,
        /// Its first values, by column.
        values: Vec<(Name, Value)>,
    },
    /// Makes an existing record a record of one more table.
    AddToTable {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// Values in that table, by column.
        values: Vec<(Name, Value)>,
    },
    /// Takes a record out of a table; hides its values there, and deletes none.
    RemoveFromTable {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
    },
    /// Takes a record out of all its tables.
    DeleteRecord {
        /// The record.
        record: EntityId,
    },
    /// Sets and clears fields of a record.
    SetFields {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// The new value of each column; none clears it.
        values: Vec<(Name, Option<Value>)>,
    },
    /// Joins two records.
    CreateEdge {
        /// Its id, if the client made one; else a fresh one.
        edge: Option<EdgeId>,
        /// The kind of relationship.
        edge_type: Name,
        /// Where it starts.
        source: EntityId,
        /// Where it leads.
        target: EntityId,
        /// Its properties.
        properties: Vec<(Name, Value)>,
        /// Its place among the sources of the target, for an ordered edge.
        place: Option<Place>,
    },
    /// Moves an ordered edge.
    MoveEdge {
        /// The edge.
        edge: EdgeId,
        /// Where to.
        place: Place,
    },
    /// Removes an edge.
    DeleteEdge {
        /// The edge.
        edge: EdgeId,
    },
    /// Sets and clears properties of an edge.
    SetEdgeProperties {
        /// The edge.
        edge: EdgeId,
        /// The new value of each property; none clears it.
        values: Vec<(Name, Option<Value>)>,
    },
    /// Changes a setting of the workspace.
    PutSetting {
        /// Its name.
        setting: Name,
        /// Its value; none for the default.
        value: Option<Value>,
    },
    /// Admits a member.
    AdmitMember {
        /// Who.
        member: ActorId,
        /// What people call him, if he is not named yet.
        name: Option<Text>,
    },
    /// Removes a member.
    RemoveMember {
        /// Who.
        member: ActorId,
        /// Why; may be empty.
        why: Text,
    },
    /// Gives an actor a display name.
    NameActor {
        /// Who.
        actor: ActorId,
        /// The name.
        name: Text,
    },
    /// Decides a conflict.
    Resolve {
        /// What it is about: any of the cells that read as one.
        cell: Cell,
        /// What holds from now on.
        choice: Choice,
    },
    /// Undoes a bundle. The only command of its request.
    Undo {
        /// Whose bundles are meant.
        scope: Scope,
        /// A certain bundle; none for the next of the stack.
        bundle: Option<Which>,
    },
    /// Does a bundle again that was undone. The only command of its request.
    Redo {
        /// Whose bundles are meant.
        scope: Scope,
        /// A certain bundle; none for the next of the stack.
        bundle: Option<Which>,
    },
    /// Makes several records one: it has all their tables, fields and edges.
    MergeRecords {
        /// The records, under any of their ids.
        records: Vec<EntityId>,
    },
    /// Takes merged records apart, and remembers that they are not the same.
    SplitRecord {
        /// The merged record.
        record: EntityId,
        /// Those of its ids that become a record of their own, together.
        ids: Vec<EntityId>,
    },
    /// Makes some of a record's tables a record of its own, with the fields there.
    SplitOff {
        /// The record.
        record: EntityId,
        /// The tables that it leaves.
        tables: Vec<Name>,
        /// The edges that go along; all others stay.
        edges: Vec<EdgeId>,
        /// The id of the new record, if the client made one; else a fresh one.
        new: Option<EntityId>,
    },
    /// Says that two columns hold the same fact: from now on they read and write as one.
    ConfirmMapping {
        /// One column.
        one: NamedColumn,
        /// The other, of another table.
        other: NamedColumn,
    },
    /// Says that two columns do not hold the same fact.
    RejectMapping {
        /// One column.
        one: NamedColumn,
        /// The other.
        other: NamedColumn,
    },
    /// Takes back a confirmed or rejected mapping. Both columns keep what they show.
    RevokeMapping {
        /// One column.
        one: NamedColumn,
        /// The other.
        other: NamedColumn,
    },
    /// Commits all that an overlay stages, as one bundle. Alone in its request.
    CommitOverlay {
        /// The overlay.
        overlay: OverlayId,
    },
    /// Says that a file is no longer wanted; its bytes go later.
    DeleteAsset {
        /// The address of the file.
        hash: BlobHash,
        /// Why.
        reason: Text,
    },
    /// Takes the deletion of a file back.
    RestoreAsset {
        /// The address of the file.
        hash: BlobHash,
    },
    /// Edits a text that several people may edit at once.
    EditText {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// The column, of type document.
        column: Name,
        /// What to do, in order, to the text as the author saw it.
        edits: Vec<TextEdit>,
    },
    /// Makes such a text say this, by the least edit of what the author saw.
    SetText {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// The column, of type document.
        column: Name,
        /// The text.
        text: Text,
    },
    /// Edits a list that several people may edit at once.
    EditSequence {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// The column, of type sequence.
        column: Name,
        /// What to do, in order, to the list as the author saw it.
        edits: Vec<ListEdit>,
    },
    /// Takes what an editor that binds directly has done.
    ApplyUpdate {
        /// The record.
        record: EntityId,
        /// The table.
        table: Name,
        /// The column, of type document or sequence.
        column: Name,
        /// The id under which the editor writes.
        client: u64,
        /// A Yjs update, version 1.
        update: Vec<u8>,
    },
}

/// How a conflict is decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum Choice {
    /// What this write says, one of those in dispute.
    Candidate(OpRef),
    /// Another value, for a field, a property or a setting.
    Value(Value),
    /// No value.
    Clear,
    /// What was removed while somebody edited it comes back.
    Restore,
    /// What was removed stays away, and the edits with it.
    LetGo,
}

/// A column, by names or keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NamedColumn {
    /// Its table.
    pub table: Name,
    /// The column.
    pub column: Name,
}

impl std::fmt::Display for NamedColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

impl Command {
    /// What makes these fields of a record say something, or nothing: those whose edits merge, as `merges` tells of each
    /// column, are edited, and the others set.
    pub fn setting(
        record: EntityId,
        table: &Name,
        values: Vec<(Name, Option<Value>)>,
        merges: impl Fn(&Name) -> Option<Kind>,
    ) -> Vec<Self> {
        let (mut plain, mut commands) = (Vec::new(), Vec::new());
        for (column, value) in values {
            let table = table.clone();
            match (merges(&column), value) {
                (Some(Kind::Text), value @ (None | Some(Value::Text(_)))) => {
                    let text = match value {
                        Some(Value::Text(text)) => text,
                        _ => Text::new("").expect("nothing is text"),
                    };
                    commands.push(Self::SetText { record, table, column, text });
                }
                (Some(Kind::List), value @ (None | Some(Value::List(_)))) => {
                    let items = match value {
                        Some(Value::List(list)) => list.into(),
                        _ => Vec::new(),
                    };
                    commands.push(Self::EditSequence {
                        record,
                        table,
                        column,
                        edits: vec![ListEdit::ReplaceAll { items }],
                    });
                }
                (_, value) => plain.push((column, value)),
            }
        }
        if !plain.is_empty() {
            commands.insert(0, Self::SetFields { record, table: table.clone(), values: plain });
        }
        commands
    }

    /// Its word, as the API spells it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateTable { .. } => "create_table",
            Self::AlterTable { .. } => "alter_table",
            Self::DropTable { .. } => "drop_table",
            Self::CreateRecord { .. } => "create_record",
            Self::AddToTable { .. } => "add_to_table",
            Self::RemoveFromTable { .. } => "remove_from_table",
            Self::DeleteRecord { .. } => "delete_record",
            Self::SetFields { .. } => "set_fields",
            Self::CreateEdge { .. } => "create_edge",
            Self::MoveEdge { .. } => "move_edge",
            Self::DeleteEdge { .. } => "delete_edge",
            Self::SetEdgeProperties { .. } => "set_edge_properties",
            Self::PutSetting { .. } => "put_setting",
            Self::AdmitMember { .. } => "admit_member",
            Self::RemoveMember { .. } => "remove_member",
            Self::NameActor { .. } => "name_actor",
            Self::Resolve { .. } => "resolve",
            Self::Undo { .. } => "undo",
            Self::Redo { .. } => "redo",
            Self::MergeRecords { .. } => "merge_records",
            Self::SplitRecord { .. } => "split_record",
            Self::SplitOff { .. } => "split_off",
            Self::ConfirmMapping { .. } => "confirm_mapping",
            Self::RejectMapping { .. } => "reject_mapping",
            Self::RevokeMapping { .. } => "revoke_mapping",
            Self::CommitOverlay { .. } => "commit_overlay",
            Self::DeleteAsset { .. } => "delete_asset",
            Self::RestoreAsset { .. } => "restore_asset",
            Self::EditText { .. } => "edit_text",
            Self::SetText { .. } => "set_text",
            Self::EditSequence { .. } => "edit_sequence",
            Self::ApplyUpdate { .. } => "apply_update",
        }
    }

    /// Whether it says which records, or which columns, are the same.
    pub fn repairs_identity(&self) -> bool {
        matches!(
            self,
            Self::MergeRecords { .. }
                | Self::SplitRecord { .. }
                | Self::SplitOff { .. }
                | Self::ConfirmMapping { .. }
                | Self::RejectMapping { .. }
                | Self::RevokeMapping { .. }
        )
    }
}

/// A column to be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NewColumn {
    /// Its name, and its key for ever.
    pub name: Name,
    /// The type of its fields.
    pub field_type: FieldType,
    /// Whether its fields must have values.
    pub required: bool,
    /// What a new record gets where nothing was given.
    pub default: Option<Value>,
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum TableChange {
    /// Another name; the key stays.
    Rename {
        /// The new name.
        name: Name,
    },
    /// Another description.
    Describe {
        /// The new description.
        description: Text,
    },
    /// One more column, at the end.
    AddColumn(NewColumn),
    /// Another name for a column; the key stays.
    RenameColumn {
        /// The column.
        column: Name,
        /// The new name.
        name: Name,
    },
    /// Another place for a column.
    MoveColumn {
        /// The column.
        column: Name,
        /// The column before which it goes; none for the end.
        before: Option<Name>,
    },
    /// Leaves a column out where all columns are shown.
    HideColumn {
        /// The column.
        column: Name,
    },
    /// Shows a hidden column again.
    ShowColumn {
        /// The column.
        column: Name,
    },
    /// Adds values to an enum.
    WidenEnum {
        /// The column.
        column: Name,
        /// The values to add, in order.
        values: Vec<Name>,
    },
    /// Says whether a column's fields must have values.
    Require {
        /// The column.
        column: Name,
        /// Whether they must.
        required: bool,
    },
    /// What new records get where nothing was given.
    SetDefault {
        /// The column.
        column: Name,
        /// The default; none for no value.
        default: Option<Value>,
    },
}

/// A place among the sources of an ordered edge's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Right before an edge.
    Before(EdgeId),
    /// Right behind an edge.
    After(EdgeId),
}

/// What a request made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Created {
    /// A record.
    Record(EntityId),
    /// An edge.
    Edge(EdgeId),
}
