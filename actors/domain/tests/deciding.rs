//! What commands mean: people at one node, planning on an in-memory past, with and without a base.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Command, Created, NewColumn, Place, Request, Stance, TableChange};
use openprod_domain::decide::{self, FreshIds, NoBase, Plan, Problem, Seen};
use openprod_domain::index::Direction;
use openprod_domain::join_mode::JoinMode;
use openprod_domain::text::ClientId;
use openprod_domain::view::{Empty, Layer, Read, View};
use openprod_domain::{read, recovery};
use openprod_model::bundle::{BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, CommandId, EdgeId, EntityId, OpId, OpRef, Position, SessionId, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::refusal::Reason;
use openprod_model::value::{FieldRef, FieldType, Name, Text, Value};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn text(text: &str) -> Value {
    Value::text(text).unwrap()
}

#[derive(Default)]
struct Ids(u8);

impl FreshIds for Ids {
    fn entity(&mut self) -> EntityId {
        self.0 += 1;
        EntityId::from_bytes([self.0; 16])
    }
    fn edge(&mut self) -> EdgeId {
        self.0 += 1;
        EdgeId::from_bytes([self.0; 16])
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        ClientId::new(purpose.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))))
    }
}

/// A node with one actor: every committed request is a revision that can be written on later.
struct Desk {
    keys: Keys,
    ids: Ids,
    revisions: Vec<Layer>,
    by_session: HashMap<OpRef, u8>,
    wall_ms: u64,
}

struct Eyes<'a>(&'a Desk, usize, u8);

impl Seen for Eyes<'_> {
    fn seen(&self, cell: &Cell) -> Read<Option<Vec<OpRef>>> {
        let Self(desk, base, session) = self;
        let mut seen: Vec<OpRef> = desk.revisions[*base].over(&Empty).tips(cell)?.iter().map(|tip| tip.op).collect();
        let now = desk.revisions.last().unwrap().over(&Empty).tips(cell)?;
        seen.extend(now.iter().map(|tip| tip.op).filter(|op| desk.by_session.get(op) == Some(session)));
        Ok(Some(seen))
    }

    fn before(&self, _: &Cell, _: OpRef) -> Read<Vec<Content>> {
        Ok(Vec::new())
    }
}

impl Desk {
    fn new() -> Self {
        let keys = Keys::from_seed(&[1; 32]);
        let mut desk = Self {
            keys,
            ids: Ids::default(),
            revisions: vec![Layer::default()],
            by_session: HashMap::new(),
            wall_ms: 1,
        };
        let founder = desk.keys.actor();
        let (show, alex) = (Text::new("Show").unwrap(), Text::new("Alex").unwrap());
        let bootstrap = Operation::Bootstrap { name: show, founder, founder_name: alex, recovery: None };
        let op = desk.stamp().op(0, bootstrap);
        let mut layer = Layer::default();
        layer.fold(&Empty, &op, Some(Position(1))).unwrap();
        desk.revisions.push(layer);
        desk.does(vec![Command::CreateTable {
            name: name("cues"),
            description: Text::new("").unwrap(),
            columns: vec![
                column("number", FieldType::Text, true),
                column("label", FieldType::Text, false),
                column("state", FieldType::Enum { values: vec![name("open"), name("done")] }, false),
                column("time", FieldType::Duration, false),
                column("scene", FieldType::Reference { table: None }, false),
            ],
        }]);
        desk
    }

    fn join_mode(&self) -> JoinMode {
        JoinMode::of(&self.revisions.last().unwrap().over(&Empty)).unwrap()
    }

    fn stamp(&mut self) -> Stamp {
        self.wall_ms += 1_000;
        let hlc = Hlc { ms: self.wall_ms, counter: 0 };
        let op_base = OpId::new(self.wall_ms, [0; 10]);
        Stamp { workspace: WorkspaceId::from_bytes([1; 16]), actor: self.keys.actor(), hlc, op_base }
    }

    fn plan(&mut self, commands: Vec<Command>, base: Option<(usize, u8)>, stance: Stance) -> Result<Plan, Problem> {
        let request = Request {
            command_id: CommandId::from_bytes([9; 16]),
            session: base.map(|(_, session)| SessionId::from_bytes([session; 16])),
            base: base.map(|(base, _)| Position(base as u64)),
            stance,
            kind: BundleKind::EDIT,
            label: None,
            source: Source::default(),
            commands,
        };
        let stamp = self.stamp();
        let mut ids = std::mem::take(&mut self.ids);
        let layer = self.revisions.last().unwrap();
        let view = layer.over(&Empty);
        let plan = match base {
            Some((base, session)) => decide::plan(&view, &Eyes(self, base, session), &mut ids, stamp, &request),
            None => decide::plan(&view, &NoBase, &mut ids, stamp, &request),
        };
        self.ids = ids;
        let plan = plan?;
        self.commit(&plan, stamp, base.map_or(0, |(_, session)| session));
        Ok(plan)
    }

    /// Seals the plan and folds the sealed ops, so that a plan whose references are off would show.
    fn commit(&mut self, plan: &Plan, stamp: Stamp, session: u8) {
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes([1; 16]),
            wall_ms: 0,
            parents: vec![],
            prev: None,
            kind: plan.kind,
            label: plan.label.clone(),
            source: Source::default(),
            undoes: vec![],
            ops: plan.ops.clone(),
        };
        let bundle = draft.seal(&self.keys).unwrap();
        let mut next = self.revisions.last().unwrap().clone();
        for op in bundle.ops() {
            next.fold(&Empty, op, Some(Position(self.revisions.len() as u64))).unwrap();
            self.by_session.insert(op.reference, session);
        }
        self.revisions.push(next);
    }

    fn does(&mut self, commands: Vec<Command>) -> Plan {
        self.plan(commands, None, Stance::Beside).unwrap()
    }

    fn is_refused(&mut self, commands: Vec<Command>) -> openprod_model::refusal::Refusal {
        let before = self.revisions.len();
        let Err(Problem::Refused(refusal)) = self.plan(commands, None, Stance::Beside) else {
            panic!("this should have been refused")
        };
        assert_eq!(self.revisions.len(), before);
        refusal
    }

    fn revision(&self) -> usize {
        self.revisions.len() - 1
    }

    fn cue(&mut self, number: &str) -> EntityId {
        let values = vec![(name("number"), text(number))];
        let plan = self.does(vec![Command::CreateRecord { record: None, table: name("cues"), values }]);
        let [(0, Created::Record(entity))] = plan.created[..] else { panic!("one record") };
        entity
    }

    fn label(&self, entity: EntityId) -> read::FieldReading {
        let view = self.revisions.last().unwrap().over(&Empty);
        read::field(&view, &name("cues"), entity, &name("label")).unwrap()
    }

    fn with_view<T>(&self, look: impl FnOnce(&dyn View) -> T) -> T {
        look(&self.revisions.last().unwrap().over(&Empty))
    }
}

fn column(column: &str, field_type: FieldType, required: bool) -> NewColumn {
    NewColumn { name: name(column), field_type, required, default: None }
}

fn set(record: EntityId, field: &str, value: Option<Value>) -> Vec<Command> {
    vec![Command::SetFields { record, table: name("cues"), values: vec![(name(field), value)] }]
}

#[test]
fn two_browsers_that_overwrite_each_other_unseen_are_in_conflict() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.plan(set(cue, "label", Some(text("Sunrise"))), Some((base, 1)), Stance::Beside).unwrap();
    let plan = desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, 2)), Stance::Beside).unwrap();
    assert_eq!(plan.opened.len(), 1);
    assert!(desk.label(cue).in_conflict());
}

#[test]
fn a_browser_has_seen_its_own_later_writes() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.plan(set(cue, "label", Some(text("Sunrise"))), Some((base, 1)), Stance::Beside).unwrap();
    desk.plan(set(cue, "label", Some(text("Sunset"))), Some((base, 1)), Stance::Beside).unwrap();
    let label = desk.label(cue);
    assert!(!label.in_conflict());
    assert_eq!(label.value, Some(text("Sunset")));
}

#[test]
fn equal_values_are_no_conflict() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    for session in [1, 2] {
        desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, session)), Stance::Beside).unwrap();
    }
    assert!(!desk.label(cue).in_conflict());
}

#[test]
fn a_person_who_sees_a_conflict_and_writes_decides_it() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.plan(set(cue, "label", Some(text("Sunrise"))), Some((base, 1)), Stance::Beside).unwrap();
    desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, 2)), Stance::Beside).unwrap();
    let seen = desk.revision();
    desk.plan(set(cue, "label", Some(text("Morning"))), Some((seen, 3)), Stance::Beside).unwrap();
    let label = desk.label(cue);
    assert!(!label.in_conflict());
    assert!(label.reading.shown().unwrap().decision);
}

#[test]
fn a_late_edit_reopens_a_decided_conflict_while_the_decision_stays_on_show() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.plan(set(cue, "label", Some(text("Sunrise"))), Some((base, 1)), Stance::Beside).unwrap();
    desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, 2)), Stance::Beside).unwrap();
    let seen = desk.revision();
    desk.plan(set(cue, "label", Some(text("Morning"))), Some((seen, 3)), Stance::Beside).unwrap();
    desk.plan(set(cue, "label", Some(text("Late"))), Some((base, 4)), Stance::Beside).unwrap();
    let label = desk.label(cue);
    assert!(label.in_conflict());
    assert_eq!(label.value, Some(text("Morning")));
}

#[test]
fn without_a_base_a_write_supersedes_what_is_shown_and_leaves_the_rest_standing() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.plan(set(cue, "label", Some(text("Sunrise"))), Some((base, 1)), Stance::Beside).unwrap();
    desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, 2)), Stance::Beside).unwrap();
    desk.does(set(cue, "label", Some(text("Noon"))));
    let label = desk.label(cue);
    assert_eq!(label.reading.tips.len(), 2);
    desk.plan(set(cue, "label", Some(text("Noon"))), None, Stance::Decide).unwrap();
    assert!(!desk.label(cue).in_conflict());
}

#[test]
fn if_unchanged_refuses_what_changed_and_nothing_is_written() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    desk.does(set(cue, "label", Some(text("Sunrise"))));
    let before = desk.revision();
    let problem = desk.plan(set(cue, "label", Some(text("Dawn"))), Some((base, 1)), Stance::IfUnchanged).unwrap_err();
    let Problem::Refused(refusal) = problem else { panic!("refused") };
    assert_eq!((refusal.reason, desk.revision()), (Reason::Changed, before));
}

#[test]
fn what_does_not_fit_the_schema_is_refused_at_the_door() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let cases = [
        (set(cue, "lable", Some(text("x"))), Reason::UnknownField),
        (set(cue, "label", Some(Value::Integer(1))), Reason::WrongType),
        (set(cue, "state", Some(Value::Enum(name("half")))), Reason::UnknownEnumValue),
        (set(cue, "number", None), Reason::RequiredMissing),
        (set(EntityId::from_bytes([99; 16]), "label", None), Reason::UnknownRecord),
        (set(cue, "scene", Some(Value::Entity(EntityId::from_bytes([99; 16])))), Reason::UnknownRecord),
        (vec![Command::CreateRecord { record: None, table: name("cuse"), values: vec![] }], Reason::UnknownTable),
        (vec![Command::CreateRecord { record: None, table: name("cues"), values: vec![] }], Reason::RequiredMissing),
        (vec![Command::CreateRecord { record: Some(cue), table: name("cues"), values: vec![] }], Reason::AlreadyExists),
        (vec![], Reason::InvalidRequest),
    ];
    for (commands, reason) in cases {
        let refusal = desk.is_refused(commands);
        assert_eq!(refusal.reason, reason, "{refusal:?}");
    }
    let refusal = desk.is_refused(set(cue, "lable", Some(text("x"))));
    assert_eq!(refusal.at, "commands[0].set_fields.values[0]");
    assert_eq!(refusal.next, "Did you mean \"label\"?");
}

#[test]
fn removal_hides_and_re_attachment_brings_everything_back() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    desk.does(set(cue, "label", Some(text("Sunrise"))));
    let plan = desk.does(vec![Command::DeleteRecord { record: cue }]);
    assert!(!desk.with_view(|view| read::exists(view, cue)).unwrap());
    let Some(Operation::DeleteEntity { seen, .. }) = Operation::from_raw(&plan.ops[0]).unwrap() else {
        panic!("delete")
    };
    assert_eq!(seen.len(), 2, "number and label were seen");
    desk.does(vec![Command::CreateRecord { record: Some(cue), table: name("cues"), values: vec![] }]);
    assert_eq!(desk.label(cue).value, Some(text("Sunrise")));
}

#[test]
fn one_entity_is_a_record_of_two_tables() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    desk.does(vec![Command::CreateTable {
        name: name("called"),
        description: Text::new("").unwrap(),
        columns: vec![column("caller", FieldType::Text, false)],
    }]);
    desk.does(vec![Command::AddToTable {
        record: cue,
        table: name("called"),
        values: vec![(name("caller"), text("SM"))],
    }]);
    assert_eq!(desk.with_view(|view| read::tables_of(view, cue)).unwrap(), [name("called"), name("cues")]);
    desk.does(vec![Command::RemoveFromTable { record: cue, table: name("cues") }]);
    assert_eq!(desk.with_view(|view| read::tables_of(view, cue)).unwrap(), [name("called")]);
}

#[test]
fn edits_of_a_referring_field_go_through_to_its_target() {
    let mut desk = Desk::new();
    let (near, far) = (desk.cue("1"), desk.cue("2"));
    let to = |entity| Value::FieldRef(FieldRef { entity, table: name("cues"), field: name("label") });
    desk.does(set(near, "label", Some(to(far))));
    desk.does(set(near, "label", Some(text("Through"))));
    assert_eq!(desk.label(far).value, Some(text("Through")));
    assert_eq!(desk.label(near).value, Some(text("Through")));
    let circle = desk.is_refused(set(far, "label", Some(to(near))));
    assert_eq!(circle.reason, Reason::InvalidRequest);
    desk.does(vec![Command::DeleteRecord { record: far }]);
    assert!(matches!(desk.label(near).origin, read::Origin::Broken(_)));
}

#[test]
fn tables_are_altered_but_never_change_their_types() {
    let mut desk = Desk::new();
    let alter = |changes| vec![Command::AlterTable { table: name("cues"), changes }];
    desk.does(alter(vec![
        TableChange::RenameColumn { column: name("label"), name: name("title") },
        TableChange::AddColumn(column("label", FieldType::Integer, false)),
        TableChange::MoveColumn { column: name("title"), before: Some(name("number")) },
        TableChange::WidenEnum { column: name("state"), values: vec![name("cut"), name("open")] },
        TableChange::HideColumn { column: name("time") },
        TableChange::Rename { name: name("Light cues") },
    ]));
    let table = desk.with_view(|view| read::table(view, &name("Light cues"))).unwrap().unwrap();
    let columns: Vec<&str> = table.visible().map(|column| column.spec.name.as_str()).collect();
    assert_eq!(columns, ["title", "number", "state", "scene", "label"]);
    assert_eq!(table.column(&name("label")).unwrap().key, name("label 2"), "keys are never used again");
    assert_eq!(table.key, name("cues"));
    let taken = TableChange::RenameColumn { column: name("state"), name: name("title") };
    let refusal = desk.is_refused(alter(vec![taken]));
    assert_eq!((refusal.reason, refusal.at.as_str()), (Reason::AlreadyExists, "commands[0].alter_table.changes[0]"));
    let not_an_enum = TableChange::WidenEnum { column: name("time"), values: vec![name("x")] };
    assert_eq!(desk.is_refused(alter(vec![not_an_enum])).reason, Reason::InvalidSchemaChange);
}

#[test]
fn a_dropped_table_keeps_its_values_and_frees_its_name() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    desk.does(vec![Command::DropTable { table: name("cues") }]);
    assert!(desk.with_view(|view| read::table(view, &name("cues"))).unwrap().is_none());
    desk.does(vec![Command::CreateTable { name: name("cues"), description: Text::new("").unwrap(), columns: vec![] }]);
    let table = desk.with_view(|view| read::table(view, &name("cues"))).unwrap().unwrap();
    assert_eq!(table.key, name("cues 2"));
    let kept = desk.with_view(|view| read::field(view, &name("cues"), cue, &name("number"))).unwrap();
    assert_eq!(kept.value, Some(text("12")));
}

#[test]
fn ordered_edges_keep_the_order_that_people_give_them() {
    let mut desk = Desk::new();
    let scene = desk.cue("scene");
    let mut edges = Vec::new();
    for (number, place) in [("1", Place::Last), ("2", Place::Last), ("0", Place::First)] {
        let source = desk.cue(number);
        edges.push(join(&mut desk, source, scene, place));
    }
    let middle = desk.cue("1.5");
    let between = join(&mut desk, middle, scene, Place::Before(edges[1]));
    assert_eq!(order(&desk, scene), ["0", "1", "1.5", "2"]);
    desk.does(vec![Command::MoveEdge { edge: between, place: Place::Last }]);
    assert_eq!(order(&desk, scene), ["0", "1", "2", "1.5"]);
    desk.does(vec![Command::DeleteRecord { record: middle }]);
    assert_eq!(order(&desk, scene), ["0", "1", "2"]);
    desk.does(vec![Command::CreateRecord { record: Some(middle), table: name("cues"), values: vec![] }]);
    assert_eq!(order(&desk, scene), ["0", "1", "2", "1.5"], "a record brings its edges back");
}

#[test]
fn a_thousand_inserts_at_one_place_stay_in_order_with_short_keys() {
    let mut desk = Desk::new();
    let scene = desk.cue("scene");
    let source = desk.cue("x");
    let last = join(&mut desk, source, scene, Place::Last);
    for _ in 0..400 {
        join(&mut desk, source, scene, Place::Before(last));
    }
    let edges = desk.with_view(|view| read::edges(view, scene, Direction::To, None)).unwrap();
    assert_eq!(edges.len(), 401);
    assert_eq!(edges.last().unwrap().edge, last);
    assert!(edges.iter().all(|edge| edge.place.as_ref().unwrap().len() <= 64));
}

fn join(desk: &mut Desk, source: EntityId, target: EntityId, place: Place) -> EdgeId {
    let number = desk.revisions.len() as u64;
    let edge = EdgeId::new(number, [u8::try_from(number * 37 % 251).unwrap(); 10]);
    let command = Command::CreateEdge {
        edge: Some(edge),
        edge_type: name("in"),
        source,
        target,
        properties: vec![],
        place: Some(place),
    };
    desk.does(vec![command]);
    edge
}

fn order(desk: &Desk, target: EntityId) -> Vec<String> {
    desk.with_view(|view| {
        let edges = read::edges(view, target, Direction::To, Some(&name("in"))).unwrap();
        let number = |edge: &read::EdgeReading| {
            let field = read::field(view, &name("cues"), edge.ends.source, &name("number")).unwrap();
            let Some(Value::Text(number)) = field.value else { panic!("a number") };
            number.to_string()
        };
        edges.iter().map(number).collect()
    })
}

#[test]
fn strangers_write_nothing_and_the_last_member_stays() {
    let mut desk = Desk::new();
    let stranger = Keys::from_seed(&[2; 32]);
    let own = std::mem::replace(&mut desk.keys, stranger.clone());
    let refusal = desk.is_refused(vec![Command::PutSetting { setting: name("x"), value: None }]);
    assert_eq!(refusal.reason, Reason::NotAMember);
    desk.keys = own.clone();
    let last = Command::RemoveMember { member: own.actor(), why: Text::new("").unwrap() };
    assert_eq!(desk.is_refused(vec![last.clone()]).reason, Reason::InvalidRequest);
    desk.does(vec![Command::AdmitMember { member: stranger.actor(), name: Some(Text::new("Jo").unwrap()) }]);
    desk.keys = stranger;
    desk.does(vec![last]);
    desk.keys = own;
    assert_eq!(desk.is_refused(set(EntityId::from_bytes([1; 16]), "label", None)).reason, Reason::NotAMember);
}

#[test]
fn a_member_is_admitted_again_only_by_whoever_decides() {
    let mut desk = Desk::new();
    let jo = Command::AdmitMember { member: Keys::from_seed(&[2; 32]).actor(), name: None };
    desk.does(vec![jo.clone()]);
    assert_eq!(desk.is_refused(vec![jo.clone()]).reason, Reason::AlreadyExists);
    assert_eq!(desk.plan(vec![jo], None, Stance::Decide).unwrap().ops.len(), 1);
}

#[test]
fn nobody_removes_himself_and_the_recovery_key_is_named_by_an_actor() {
    let mut desk = Desk::new();
    let jo = Keys::from_seed(&[2; 32]).actor();
    desk.does(vec![Command::AdmitMember { member: jo, name: None }]);
    let founder = desk.keys.actor();
    let remove = |member| vec![Command::RemoveMember { member, why: Text::new("").unwrap() }];
    assert_eq!(desk.is_refused(remove(founder)).reason, Reason::InvalidRequest);
    let put = |value| vec![Command::PutSetting { setting: recovery::setting(), value }];
    assert_eq!(desk.is_refused(put(Some(text("paper")))).reason, Reason::InvalidValue);
    assert_eq!(desk.is_refused(put(Some(Value::Boolean(true)))).reason, Reason::InvalidValue);
    desk.does(put(Some(recovery::value(jo))));
    desk.does(put(None));
    desk.does(remove(jo));
}

#[test]
fn how_people_join_is_one_of_three_words() {
    let mut desk = Desk::new();
    let put = |value| vec![Command::PutSetting { setting: JoinMode::setting(), value }];
    assert_eq!(desk.is_refused(put(Some(text("sometimes")))).reason, Reason::InvalidValue);
    assert_eq!(desk.is_refused(put(Some(Value::Boolean(true)))).reason, Reason::InvalidValue);
    for mode in JoinMode::ALL {
        desk.does(put(Some(mode.value())));
        assert_eq!(desk.join_mode(), mode);
    }
    desk.does(put(None));
    assert_eq!(desk.join_mode(), JoinMode::Invite);
}

#[test]
fn writes_of_one_request_to_one_field_follow_each_other() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    let base = desk.revision();
    let twice = [set(cue, "label", Some(text("a"))), set(cue, "label", Some(text("b")))].concat();
    let plan = desk.plan(twice, Some((base, 1)), Stance::Beside).unwrap();
    assert!(plan.opened.is_empty());
    assert_eq!(desk.label(cue).value, Some(text("b")));
}

#[test]
fn automation_never_opens_a_conflict_on_a_clean_field_and_never_closes_one() {
    let mut desk = Desk::new();
    let cue = desk.cue("12");
    desk.does(set(cue, "label", Some(text("hand"))));
    let request = |commands| Request {
        command_id: CommandId::from_bytes([9; 16]),
        session: None,
        base: None,
        stance: Stance::Decide,
        kind: BundleKind::IMPORT,
        label: None,
        source: Source::default(),
        commands,
    };
    let imported = request(set(cue, "label", Some(text("import"))));
    let stamp = desk.stamp();
    let mut ids = Ids::default();
    let plan = desk.with_view(|view| decide::plan(view, &NoBase, &mut ids, stamp, &imported)).unwrap();
    desk.commit(&plan, stamp, 0);
    assert!(!desk.label(cue).in_conflict());
    let base = desk.revision();
    for (session, value) in [(1, "Sunrise"), (2, "Dawn")] {
        desk.plan(set(cue, "label", Some(text(value))), Some((base, session)), Stance::Beside).unwrap();
    }
    let stamp = desk.stamp();
    let plan = desk.with_view(|view| decide::plan(view, &NoBase, &mut ids, stamp, &imported)).unwrap();
    desk.commit(&plan, stamp, 0);
    assert!(desk.label(cue).in_conflict(), "a conflict stays open until a person closes it");
    assert!(desk.label(cue).reading.tips.iter().all(|tip| tip.content != Content::Absent));
}

#[test]
fn an_edit_on_a_base_before_a_merge_stands_beside_what_the_author_never_saw_there() {
    let mut desk = Desk::new();
    let (john, jay) = (desk.cue("John"), desk.cue("Jay"));
    let before = desk.revision();
    desk.plan(vec![Command::MergeRecords { records: vec![john, jay] }], Some((before, 1)), Stance::Beside).unwrap();
    let edit = |word| set(jay, "number", Some(text(word)));
    let refused = desk.plan(edit("Jo"), Some((before, 2)), Stance::IfUnchanged);
    assert!(matches!(refused, Err(Problem::Refused(refusal)) if refusal.reason == Reason::Changed));
    let number = |desk: &Desk| desk.with_view(|view| read::field(view, &name("cues"), john, &name("number")).unwrap());
    // Another session, which has not been told of the merge: as if it sat at another node.
    desk.plan(edit("Jo"), Some((before, 2)), Stance::Beside).unwrap();
    let contents: Vec<&str> = vec!["John", "Jo"];
    let standing = |field: &read::FieldReading| -> Vec<String> {
        field.reading.tips.iter().map(|tip| describe_text(tip.content.value())).collect()
    };
    assert_eq!(standing(&number(&desk)), contents);
    // The session that merged knows.
    desk.plan(edit("Jay"), Some((before, 1)), Stance::Beside).unwrap();
    assert_eq!(standing(&number(&desk)), ["Jo", "Jay"]);
}

fn describe_text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    }
}
