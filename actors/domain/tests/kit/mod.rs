//! Replicas in memory: people at several nodes plan on what they have, and exchange bundles in whatever order.

#![allow(dead_code, reason = "each of the tests that share this uses a part of it")]

pub(crate) mod smiths;

use std::collections::BTreeSet;

use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::command::{Command, NewColumn, Request, Stance};
use openprod_domain::decide::{self, FreshIds, NoBase, Plan, Problem, Seen};
use openprod_domain::read::{self, CellReading};
use openprod_domain::text::ClientId;
use openprod_domain::view::{Empty, Layer, Layered, Read, View};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, CommandId, EdgeId, EntityId, OpId, OpRef, Position, SessionId, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::refusal::Refusal;
use openprod_model::value::{FieldType, Name, Text, Value};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn text(text: &str) -> Value {
    Value::text(text).unwrap()
}

pub(crate) fn record(number: u8) -> EntityId {
    EntityId::from_bytes([number; 16])
}

pub(crate) fn table(table: &str, columns: &[(&str, FieldType)]) -> Command {
    let column = |(key, field_type): &(&str, FieldType)| NewColumn {
        name: name(key),
        field_type: field_type.clone(),
        required: false,
        default: None,
    };
    Command::CreateTable {
        name: name(table),
        description: Text::new("").unwrap(),
        columns: columns.iter().map(column).collect(),
    }
}

pub(crate) fn adds(entity: EntityId, table: &str, values: &[(&str, &str)]) -> Command {
    let values = values.iter().map(|(column, value)| (name(column), text(value))).collect();
    Command::CreateRecord { record: Some(entity), table: name(table), values }
}

pub(crate) fn sets(record: EntityId, table: &str, column: &str, value: &str) -> Command {
    Command::SetFields { record, table: name(table), values: vec![(name(column), Some(text(value)))] }
}

/// What the person at a replica had seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eyes {
    /// Everything that the replica has.
    Open,
    /// It is not known.
    Unknown,
}

/// One node.
pub(crate) struct Replica {
    keys: Keys,
    number: u8,
    made: u64,
    clock_ms: u64,
    pub(crate) layer: Layer,
    /// The bundles that it has, by their numbers.
    has: BTreeSet<usize>,
}

/// Several nodes, and all bundles there are, each with those that its author had.
pub(crate) struct World {
    pub(crate) replicas: Vec<Replica>,
    bundles: Vec<(Bundle, BTreeSet<usize>)>,
}

struct Ids<'a>(&'a mut u64, u8);

impl Ids<'_> {
    fn next(&mut self) -> [u8; 16] {
        *self.0 += 1;
        let number = u128::from(*self.0) << 96 | u128::from(self.1) << 88 | random(*self.0, self.1);
        (number | 0xf << 124).to_be_bytes()
    }
}

/// Bits as random as those of a fresh id.
fn random(made: u64, replica: u8) -> u128 {
    let hash = blake3::hash(&[&made.to_be_bytes()[..], &[replica]].concat());
    u128::from_be_bytes(*hash.as_bytes().first_chunk().unwrap()) >> 48
}

impl FreshIds for Ids<'_> {
    fn entity(&mut self) -> EntityId {
        EntityId::from_bytes(self.next())
    }
    fn edge(&mut self) -> EdgeId {
        EdgeId::from_bytes(self.next())
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        let hash = blake3::hash(&[purpose, &[self.1]].concat());
        ClientId::new(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
    }
}

struct Everything<'a>(Layered<'a>);

impl Seen for Everything<'_> {
    fn seen(&self, cell: &Cell) -> Read<Option<Vec<OpRef>>> {
        Ok(Some(self.0.tips(cell)?.iter().map(|tip| tip.op).collect()))
    }
    fn before(&self, _: &Cell, _: OpRef) -> Read<Vec<Content>> {
        Ok(Vec::new())
    }
}

impl Replica {
    pub(crate) fn view(&self) -> Layered<'_> {
        self.layer.over(&Empty)
    }

    fn stamp(&mut self) -> Stamp {
        self.made += 1;
        // Clocks that run at different speeds: nothing but what is shown may depend on them.
        self.clock_ms += 1 + 10 * u64::from(self.number);
        let hlc = Hlc { ms: self.clock_ms, counter: 0 };
        let op_base = OpId::from_bytes((u128::from(self.made) << 64 | u128::from(self.number)).to_be_bytes());
        Stamp { workspace: WorkspaceId::from_bytes([1; 16]), actor: self.keys.actor(), hlc, op_base }
    }

    /// What a field shows, with all its candidates.
    pub(crate) fn field(&self, entity: EntityId, table: &str, column: &str) -> CellReading {
        read::field(&self.view(), &name(table), entity, &name(column)).unwrap().reading
    }

    /// The different texts that stand in a field, the one that is shown first.
    pub(crate) fn says(&self, entity: EntityId, table: &str, column: &str) -> Vec<String> {
        let reading = self.field(entity, table, column);
        let said = |tip: &Tip| tip.content.value().map_or_else(|| "nothing".to_owned(), word);
        let mut all: Vec<String> = reading.shown().into_iter().chain(&reading.tips).map(said).collect();
        let mut known = BTreeSet::new();
        all.retain(|word| known.insert(word.clone()));
        all
    }

    /// Everything there is.
    pub(crate) fn cells(&self) -> Vec<(Cell, Vec<Tip>)> {
        let position = |mut tip: Tip| {
            tip.position = None;
            tip
        };
        let cells = self.view().cells(&Cell::everything()).map(Result::unwrap).collect::<Vec<_>>().into_iter();
        cells.map(|(cell, tips)| (cell, tips.into_iter().map(position).collect())).collect()
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

impl World {
    /// So many replicas of a workspace with these tables.
    pub(crate) fn new(replicas: u8, tables: Vec<Command>) -> Self {
        let replica = |number| Replica {
            keys: Keys::from_seed(&[number + 1; 32]),
            number,
            made: 0,
            clock_ms: 0,
            layer: Layer::default(),
            has: BTreeSet::new(),
        };
        let replicas: Vec<Replica> = (0..replicas).map(replica).collect();
        let mut world = Self { replicas, bundles: Vec::new() };
        world.found();
        world.does(0, tables);
        world.everyone_meets();
        world
    }

    fn found(&mut self) {
        let founder = self.replicas[0].keys.actor();
        let (show, alex) = (Text::new("Show").unwrap(), Text::new("Alex").unwrap());
        let mut ops = vec![Operation::Bootstrap { name: show, founder, founder_name: alex, recovery: None }];
        for replica in &self.replicas[1..] {
            ops.push(Operation::AdmitMember {
                member: replica.keys.actor(),
                basis: openprod_model::operation::Basis::default(),
            });
        }
        let stamp = self.replicas[0].stamp();
        let ops = ops.iter().map(Operation::to_raw).collect();
        self.seal(0, stamp, BundleKind::BOOTSTRAP, Text::new("Found").unwrap(), ops);
        self.everyone_meets();
    }

    fn seal(
        &mut self,
        at: usize,
        stamp: Stamp,
        kind: BundleKind,
        label: Text,
        ops: Vec<openprod_model::operation::RawOp>,
    ) {
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes([1; 16]),
            wall_ms: 0,
            parents: vec![],
            prev: None,
            kind,
            label,
            source: Source::default(),
            undoes: vec![],
            ops,
        };
        let bundle = draft.seal(&self.replicas[at].keys).unwrap();
        self.bundles.push((bundle, self.replicas[at].has.clone()));
        self.delivers(self.bundles.len() - 1, at);
    }

    /// Somebody with open eyes does something at a replica.
    pub(crate) fn does(&mut self, at: usize, commands: Vec<Command>) -> Plan {
        self.tries(at, commands, Eyes::Open).unwrap()
    }

    pub(crate) fn is_refused(&mut self, at: usize, command: Command) -> Refusal {
        match self.tries(at, vec![command], Eyes::Open) {
            Err(Problem::Refused(refusal)) => refusal,
            other => panic!("this should have been refused: {other:?}"),
        }
    }

    pub(crate) fn tries(&mut self, at: usize, commands: Vec<Command>, eyes: Eyes) -> Result<Plan, Problem> {
        let request = Request {
            command_id: CommandId::from_bytes([9; 16]),
            session: Some(SessionId::from_bytes([1; 16])),
            base: (eyes == Eyes::Open).then_some(Position(1)),
            stance: Stance::Beside,
            kind: BundleKind::EDIT,
            label: None,
            source: Source::default(),
            commands,
        };
        let replica = &mut self.replicas[at];
        let stamp = replica.stamp();
        let mut made = replica.made;
        let mut ids = Ids(&mut made, replica.number);
        let plan = match eyes {
            Eyes::Open => decide::plan(&replica.view(), &Everything(replica.view()), &mut ids, stamp, &request),
            Eyes::Unknown => decide::plan(&replica.view(), &NoBase, &mut ids, stamp, &request),
        };
        self.replicas[at].made = made;
        let plan = plan?;
        self.seal(at, stamp, plan.kind, plan.label.clone(), plan.ops.clone());
        Ok(plan)
    }

    /// A replica writes ops that no command would have made, as another version may.
    pub(crate) fn writes(&mut self, at: usize, operations: &[Operation]) {
        let stamp = self.replicas[at].stamp();
        let ops = operations.iter().map(Operation::to_raw).collect();
        self.seal(at, stamp, BundleKind::EDIT, Text::new("Write").unwrap(), ops);
    }

    /// Gives a bundle to a replica, after all that its author had.
    fn delivers(&mut self, bundle: usize, to: usize) {
        let mut due: Vec<usize> = self.bundles[bundle].1.iter().copied().collect();
        due.push(bundle);
        for number in due {
            let replica = &mut self.replicas[to];
            if replica.has.insert(number) {
                replica.clock_ms = replica.clock_ms.max(self.bundles[number].0.header().hlc.ms);
                for op in self.bundles[number].0.ops() {
                    replica.layer.fold(&Empty, op, Some(Position(number as u64 + 1))).unwrap();
                }
            }
        }
    }

    /// One replica takes some bundles of all there are, in this order, each after those that its author had.
    pub(crate) fn hears(&mut self, at: usize, order: &[usize]) {
        for bundle in order {
            self.delivers(bundle % self.bundles.len(), at);
        }
    }

    /// Everybody gets everything, each in another order; all end in one state.
    pub(crate) fn everyone_meets(&mut self) {
        for to in 0..self.replicas.len() {
            for number in 0..self.bundles.len() {
                let bundle = if to % 2 == 0 { number } else { self.bundles.len() - 1 - number };
                self.delivers(bundle, to);
            }
        }
        self.agrees();
    }

    /// All replicas are in one state.
    pub(crate) fn agrees(&self) {
        let first = &self.replicas[0];
        for other in &self.replicas[1..] {
            assert_eq!(first.cells(), other.cells());
            assert_eq!(first.view().unions().unwrap(), other.view().unions().unwrap());
        }
    }
}
