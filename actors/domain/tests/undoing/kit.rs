//! Three people with a replica each: a log, its cells folded, and everything that was ever written.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::command::{Command, Created, NewColumn, Place, Request, Stance};
use openprod_domain::conflict::{self, Conflict};
use openprod_domain::decide::{self, FreshIds, Plan, Problem, Seen};
use openprod_domain::inverse::stack::{Scope, Step, Trail, Which};
use openprod_domain::inverse::take::{self, Preview, Turned, Wanted};
use openprod_domain::inverse::{Ground, Turn};
use openprod_domain::oracle::Oracle;
use openprod_domain::read;
use openprod_domain::text::ClientId;
use openprod_domain::view::{Empty, History, Layer, Layered, Read, View};
use openprod_model::bundle::{Bundle, BundleKind, Draft, MAX_OPS, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, CommandId, Digest, EdgeId, EntityId, OpId, OpRef, Position, WorkspaceId};
use openprod_model::operation::{Basis, Operation, RawOp};
use openprod_model::refusal::Refusal;
use openprod_model::value::{FieldType, Name, Text, Value};

pub(crate) const NAMES: [&str; 3] = ["Mara", "Leo", "Jo"];

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn text(text: &str) -> Value {
    Value::text(text).unwrap()
}

pub(crate) fn keys(who: usize) -> &'static Keys {
    static KEYS: LazyLock<[Keys; 3]> = LazyLock::new(|| [1, 2, 3].map(|seed| Keys::from_seed(&[seed; 32])));
    &KEYS[who]
}

/// Ids in order, from a range of their own for each person.
#[derive(Clone, Default)]
struct Ids(u64, u8);

impl Ids {
    fn next(&mut self) -> [u8; 16] {
        self.0 += 1;
        let mut bytes = [0; 16];
        bytes[7] = self.1;
        bytes[8..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }
}

impl FreshIds for Ids {
    fn entity(&mut self) -> EntityId {
        EntityId::from_bytes(self.next())
    }
    fn edge(&mut self) -> EdgeId {
        EdgeId::from_bytes(self.next())
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        // Each replica draws its own.
        let seed =
            purpose.iter().fold(u64::from(self.1), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        ClientId::new(seed)
    }
}

/// What somebody knows who sees all that stands.
struct Memory<'a>(&'a Oracle);

impl Seen for Memory<'_> {
    fn seen(&self, _: &Cell) -> Read<Option<Vec<OpRef>>> {
        Ok(None)
    }
    fn before(&self, cell: &Cell, op: OpRef) -> Read<Vec<Content>> {
        let preds = self.0.write(cell, op)?.map(|(_, preds)| preds).unwrap_or_default();
        let mut before = Vec::new();
        for pred in preds {
            before.extend(self.0.write(cell, pred)?.map(|(tip, _)| tip.content));
        }
        Ok(before)
    }
}

/// One person's replica.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) who: usize,
    pub(crate) log: Vec<Arc<Bundle>>,
    pub(crate) oracle: Oracle,
    layer: Layer,
    at: HashMap<Digest, Position>,
    heads: BTreeSet<Digest>,
    prev: Option<Digest>,
    clock: Hlc,
    ids: Ids,
    /// What this person's commands do where they meet what others wrote.
    pub(crate) stance: Stance,
}

impl Trail for Replica {
    fn steps(&self, from: Position, limit: usize) -> Read<Vec<Step>> {
        let from = usize::try_from(from.0).unwrap().saturating_sub(1);
        let some = self.log.iter().enumerate().skip(from).take(limit);
        Ok(some.map(|(index, bundle)| step(index, bundle)).collect())
    }

    fn bundle(&self, at: Position) -> Read<Option<Bundle>> {
        Ok(self.log.get(usize::try_from(at.0).unwrap() - 1).map(|bundle| Bundle::clone(bundle)))
    }

    fn position_of(&self, which: Which) -> Read<Option<Position>> {
        Ok(match which {
            Which::Digest(digest) => self.at.get(&digest).copied(),
            Which::Id(id) => self.log.iter().find(|b| b.header().id == id).map(|bundle| self.at[&bundle.digest()]),
        })
    }
}

fn step(index: usize, bundle: &Bundle) -> Step {
    let header = bundle.header();
    let position = Position(index as u64 + 1);
    Step { position, digest: bundle.digest(), id: header.id, actor: header.actor, kind: header.kind }
}

impl Replica {
    /// Mara's, Leo's and Jo's replicas of a workspace with a table of cues and one of scenes.
    pub(crate) fn three() -> [Self; 3] {
        static THREE: LazyLock<[Replica; 3]> = LazyLock::new(Replica::founded);
        THREE.clone()
    }

    fn founded() -> [Self; 3] {
        let mut first = Self {
            who: 0,
            log: Vec::new(),
            oracle: Oracle::default(),
            layer: Layer::default(),
            at: HashMap::new(),
            heads: BTreeSet::new(),
            prev: None,
            clock: Hlc::ZERO,
            ids: Ids(0, 1),
            stance: Stance::Decide,
        };
        let (show, mara) = (Text::new("Show").unwrap(), Text::new(NAMES[0]).unwrap());
        let founder = keys(0).actor();
        first.seals(
            BundleKind::BOOTSTRAP,
            &[Operation::Bootstrap { name: show, founder, founder_name: mara, recovery: None }],
        );
        for (who, known) in NAMES.iter().enumerate().skip(1) {
            let name = Some(Text::new(known).unwrap());
            first.does(vec![Command::AdmitMember { member: keys(who).actor(), name }]);
        }
        let column =
            |column, required| NewColumn { name: name(column), field_type: FieldType::Text, required, default: None };
        for table in ["cues", "scenes"] {
            let columns = vec![column("name", false), column("label", false), column("notes", false)];
            let description = Text::new("").unwrap();
            first.does(vec![Command::CreateTable { name: name(table), description, columns }]);
        }
        let as_person = |who: usize| Self {
            who,
            prev: first.prev.filter(|_| who == 0),
            ids: Ids(0, u8::try_from(who).unwrap() + 2),
            ..first.clone()
        };
        [as_person(0), as_person(1), as_person(2)]
    }

    pub(crate) fn view(&self) -> Layered<'_> {
        self.layer.over(&Empty)
    }

    pub(crate) fn last(&self) -> Position {
        Position(self.log.len() as u64)
    }

    fn stamp(&mut self, ops: usize) -> Stamp {
        // Wall clocks that do not agree: none of it may matter.
        let wall_ms = 1_000 + self.log.len() as u64 * [3, 5, 4][self.who];
        let hlc = Hlc::tick(wall_ms, self.clock, u32::try_from(ops).unwrap());
        let op_base = OpId::from_bytes(self.ids.next());
        self.ids.0 += 100_000;
        Stamp { workspace: WorkspaceId::from_bytes([1; 16]), actor: keys(self.who).actor(), hlc, op_base }
    }

    fn commit(&mut self, stamp: Stamp, kind: BundleKind, label: Text, undoes: Vec<Digest>, ops: Vec<RawOp>) -> Bundle {
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(self.ids.next()),
            wall_ms: stamp.hlc.ms,
            parents: self.heads.iter().copied().collect(),
            prev: self.prev,
            kind,
            label,
            source: Source::default(),
            undoes,
            ops,
        };
        let bundle = Arc::new(draft.seal(keys(self.who)).unwrap());
        self.takes(&bundle);
        self.prev = Some(bundle.digest());
        Bundle::clone(&bundle)
    }

    /// Takes a bundle in, if all that it was made upon is there; says whether it is new.
    pub(crate) fn takes(&mut self, bundle: &Arc<Bundle>) -> bool {
        let known = |digest: &Digest| self.at.contains_key(digest);
        if known(&bundle.digest()) || !bundle.ancestors().all(|digest| known(&digest)) {
            return false;
        }
        self.log.push(Arc::clone(bundle));
        let position = self.last();
        self.at.insert(bundle.digest(), position);
        for ancestor in bundle.ancestors() {
            self.heads.remove(&ancestor);
        }
        self.heads.insert(bundle.digest());
        self.clock = self.clock.max(bundle.last_hlc());
        for op in bundle.ops() {
            self.layer.fold(&Empty, op, Some(position)).unwrap();
        }
        self.oracle.add(position, bundle);
        true
    }

    /// Takes everything that another replica has.
    pub(crate) fn meets(&mut self, other: &Self) {
        for bundle in &other.log {
            self.takes(bundle);
        }
    }

    /// Writes ops as they are.
    pub(crate) fn seals(&mut self, kind: BundleKind, operations: &[Operation]) -> Bundle {
        let stamp = self.stamp(operations.len());
        let ops = operations.iter().map(Operation::to_raw).collect();
        self.commit(stamp, kind, Text::new("Raw").unwrap(), Vec::new(), ops)
    }

    pub(crate) fn tries(&mut self, commands: Vec<Command>) -> Result<(Bundle, Plan), Problem> {
        let request = Request {
            command_id: CommandId::from_bytes([9; 16]),
            session: None,
            base: None,
            stance: self.stance,
            kind: BundleKind::EDIT,
            label: None,
            source: Source::default(),
            commands,
        };
        let stamp = self.stamp(1_000);
        let mut ids = std::mem::take(&mut self.ids);
        let plan = decide::plan(&self.view(), &Memory(&self.oracle), &mut ids, stamp, &request);
        self.ids = ids;
        let plan = plan?;
        let bundle = self.commit(stamp, plan.kind, plan.label.clone(), Vec::new(), plan.ops.clone());
        Ok((bundle, plan))
    }

    pub(crate) fn does(&mut self, commands: Vec<Command>) -> Bundle {
        self.tries(commands).unwrap().0
    }

    pub(crate) fn turns(
        &mut self,
        turn: Turn,
        scope: Scope,
        bundle: Option<Which>,
    ) -> Result<(Bundle, Turned), Refusal> {
        let (stamp, turned) = self.plans(turn, scope, bundle)?;
        Ok((self.commits(stamp, &turned), turned))
    }

    pub(crate) fn plans(
        &mut self,
        turn: Turn,
        scope: Scope,
        bundle: Option<Which>,
    ) -> Result<(Stamp, Turned), Refusal> {
        let stamp = self.stamp(MAX_OPS);
        let view = self.view();
        let ground = Ground { view: &view, history: &self.oracle, trail: self, actor: keys(self.who).actor() };
        let turned = take::plan(ground, self.last(), Wanted { turn, scope, bundle }, stamp);
        let turned = turned.map_err(|problem| match problem {
            Problem::Refused(refusal) => refusal,
            Problem::Read(failure) => panic!("{failure}"),
        })?;
        Ok((stamp, turned))
    }

    pub(crate) fn commits(&mut self, stamp: Stamp, turned: &Turned) -> Bundle {
        let (ops, label, undoes) = (turned.plan.ops.clone(), turned.plan.label.clone(), vec![turned.bundle.digest]);
        self.commit(stamp, turned.plan.kind, label, undoes, ops)
    }

    pub(crate) fn undoes(&mut self) -> Turned {
        self.turns(Turn::Undo, Scope::Mine, None).unwrap().1
    }

    pub(crate) fn redoes(&mut self) -> Turned {
        self.turns(Turn::Redo, Scope::Mine, None).unwrap().1
    }

    /// What lies ahead: each label, and why it cannot be turned.
    pub(crate) fn foresees(&self, turn: Turn, scope: Scope) -> Vec<(String, Option<String>)> {
        let view = self.view();
        let ground = Ground { view: &view, history: &self.oracle, trail: self, actor: keys(self.who).actor() };
        let stamp = Stamp {
            workspace: WorkspaceId::from_bytes([1; 16]),
            actor: ground.actor,
            hlc: Hlc::tick(0, self.clock, 1),
            op_base: OpId::from_bytes([255; 16]),
        };
        let mut preview = Preview::new(ground, self.last(), turn, scope, stamp);
        let mut ahead = Vec::new();
        while let Some(next) = preview.pop().unwrap() {
            let bundle = self.bundle(next.step.position).unwrap().unwrap();
            let label = bundle.header().label.to_string();
            ahead.push((label, next.obstacle.map(|obstacle| obstacle.sentence)));
        }
        ahead
    }

    pub(crate) fn adds(&mut self, table: &str, called: &str) -> EntityId {
        let values = vec![(name("name"), text(called))];
        let (_, plan) = self.tries(vec![Command::CreateRecord { record: None, table: name(table), values }]).unwrap();
        let [(_, Created::Record(entity))] = plan.created[..] else { panic!("one record") };
        entity
    }

    pub(crate) fn sets(&mut self, record: EntityId, column: &str, to: &str) -> Bundle {
        let value = (!to.is_empty()).then(|| text(to));
        self.does(vec![Command::SetFields { record, table: name("cues"), values: vec![(name(column), value)] }])
    }

    pub(crate) fn joins(&mut self, source: EntityId, target: EntityId) -> EdgeId {
        let command = Command::CreateEdge {
            edge: None,
            edge_type: name("in"),
            source,
            target,
            properties: Vec::new(),
            place: Some(Place::Last),
        };
        let (_, plan) = self.tries(vec![command]).unwrap();
        let [(_, Created::Edge(edge))] = plan.created[..] else { panic!("one edge") };
        edge
    }

    /// A field as it is shown, and whether it is in conflict.
    pub(crate) fn reads(&self, record: EntityId, column: &str) -> (String, bool) {
        let reading = read::field(&self.view(), &name("cues"), record, &name(column)).unwrap();
        let value = match &reading.value {
            Some(Value::Text(text)) => text.to_string(),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        };
        (value, reading.in_conflict())
    }

    /// All conflicts.
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        conflict::all(&self.view()).unwrap()
    }

    pub(crate) fn field(record: EntityId, column: &str) -> Cell {
        Cell::Field { table: name("cues"), entity: record, field: name(column) }
    }

    pub(crate) fn tips(&self, cell: &Cell) -> Vec<Tip> {
        self.view().tips(cell).unwrap()
    }

    /// That the author has seen all that stands in a cell.
    pub(crate) fn all_of(&self, cell: &Cell) -> Basis {
        let preds: Vec<OpRef> = self.tips(cell).iter().map(|tip| tip.op).collect();
        Basis { preds, restores: None, decision: false }
    }

    /// All that is shown: what each cell says, but for what says that nothing is there.
    pub(crate) fn shows(&self) -> Vec<(Cell, Content)> {
        let view = self.view();
        let cells = view.cells(&Cell::everything()).map(Result::unwrap);
        let shown = cells.filter_map(|(cell, tips)| {
            let shown = openprod_domain::register::shown(&cell, &tips)?;
            Some((cell, shown.content.clone()))
        });
        shown.filter(|(_, content)| *content != Content::Absent).collect()
    }
}
