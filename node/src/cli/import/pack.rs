//! Commands into bundles: what each weighs, and where one bundle ends.

use openprod_domain::command::Command;
use openprod_model::bundle::MAX_OPS;
use openprod_model::codec;
use openprod_model::value::{Name, Value};

use super::spec::Bundles;

/// Most bytes of one bundle, about: what is left of 16 MiB for what this does not count.
pub(super) const MAX_BYTES: usize = 14 * 1024 * 1024;
/// Most commands of each of several bundles: few enough that each is there at once.
const BATCH: usize = 5_000;

/// What an operation takes beside names and value: ids, lengths, and what its author had seen.
const OP_BYTES: usize = 80;

/// What commands come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Operations.
    pub(super) ops: usize,
    /// Bytes, about.
    pub(super) bytes: usize,
}

impl Weight {
    fn and(self, other: Self) -> Self {
        Self { ops: self.ops + other.ops, bytes: self.bytes + other.bytes }
    }

    pub(super) fn fits(self) -> bool {
        self.ops <= MAX_OPS && self.bytes <= MAX_BYTES
    }

    pub(super) fn of_all(commands: &[Command], defaults: usize) -> Self {
        commands.iter().map(|command| Self::of(command, defaults)).fold(Self::default(), Self::and)
    }

    /// A new record may get as many values by itself as its table has `defaults`.
    fn of(command: &Command, defaults: usize) -> Self {
        match command {
            Command::CreateRecord { table, values, .. } => {
                let given = values.iter().map(|(column, value)| field(table, column, Some(value)));
                let by_itself = Self { ops: defaults, bytes: defaults * (OP_BYTES + table.as_str().len()) };
                given.fold(op(table.as_str().len()).and(by_itself), Self::and)
            }
            Command::SetFields { table, values, .. } => {
                let fields = values.iter().map(|(column, value)| field(table, column, value.as_ref()));
                fields.fold(Self::default(), Self::and)
            }
            Command::SetText { text, .. } => op(text.as_str().len()),
            Command::EditSequence { edits, .. } => op(edits.iter().map(|edit| format!("{edit:?}").len()).sum()),
            Command::CreateEdge { edge_type, .. } => op(edge_type.as_str().len() + 32),
            Command::CreateTable { columns, .. } => op(columns.len() * 400),
            Command::AlterTable { changes, .. } => op(changes.len() * 400),
            _ => op(0),
        }
    }
}

fn op(bytes: usize) -> Weight {
    Weight { ops: 1, bytes: OP_BYTES + bytes }
}

fn field(table: &Name, column: &Name, value: Option<&Value>) -> Weight {
    let value = value.map_or(0, |value| codec::encode(value).len());
    op(table.as_str().len() + column.as_str().len() + value)
}

/// Cuts commands into bundles; into one, whatever it weighs, unless several are allowed.
pub(super) fn cut(commands: Vec<Command>, bundles: Bundles, defaults: usize) -> Vec<Vec<Command>> {
    if bundles == Bundles::One {
        return if commands.is_empty() { Vec::new() } else { vec![commands] };
    }
    let (mut cut, mut weight): (Vec<Vec<Command>>, _) = (Vec::new(), Weight::default());
    for command in commands {
        let own = Weight::of(&command, defaults);
        match cut.last_mut() {
            Some(last) if last.len() < BATCH && weight.and(own).fits() => {
                last.push(command);
                weight = weight.and(own);
            }
            _ => {
                cut.push(vec![command]);
                weight = own;
            }
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::EntityId;

    use super::*;

    fn rows(count: usize, text: &str) -> Vec<Command> {
        let name = |text: &str| Name::new(text).unwrap();
        let row = |_| Command::CreateRecord {
            record: Some(EntityId::from_bytes([1; 16])),
            table: name("cues"),
            values: vec![(name("label"), Value::text(text).unwrap())],
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn one_bundle_stays_one_and_several_are_cut_by_number_and_size() {
        assert_eq!(cut(rows(12_000, "x"), Bundles::One, 0).len(), 1);
        assert!(cut(Vec::new(), Bundles::One, 0).is_empty());
        let lengths = |cut: Vec<Vec<Command>>| cut.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(cut(rows(12_000, "x"), Bundles::Several, 0)), [5_000, 5_000, 2_000]);
        let long = "x".repeat(1024 * 1024);
        assert_eq!(lengths(cut(rows(20, &long), Bundles::Several, 0)), [13, 7]);
    }

    #[test]
    fn defaults_count_as_operations() {
        let commands = rows(10, "x");
        assert_eq!(Weight::of_all(&commands, 0).ops, 20);
        assert_eq!(Weight::of_all(&commands, 3).ops, 50);
        assert!(!Weight::of_all(&rows(50_001, "x"), 0).fits());
    }
}
