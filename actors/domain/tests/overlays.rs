//! Overlays: what is staged and committed equals the same edits done at once; what is discarded or undone leaves no trace.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Command, NewColumn, Request, Stance};
use openprod_domain::decide::{self, FreshIds, NoBase, Plan, Problem};
use openprod_domain::describe;
use openprod_domain::index::Direction;
use openprod_domain::overlay::diff::{self, Becomes, Counts};
use openprod_domain::overlay::stage::SeenThrough;
use openprod_domain::overlay::{Delta, Staging};
use openprod_domain::read;
use openprod_domain::text::{ClientId, TextEdit};
use openprod_domain::view::{Empty, Layer, View};
use openprod_model::bundle::{BundleKind, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, CommandId, EdgeId, EntityId, OpId, OverlayId, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::refusal::Reason;
use openprod_model::value::{FieldType, Name, Text, Value};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn text(text: &str) -> Value {
    Value::text(text).unwrap()
}

fn entity(number: u8) -> EntityId {
    EntityId::from_bytes([number; 16])
}

fn edge(number: u8) -> EdgeId {
    EdgeId::from_bytes([number; 16])
}

struct NoIds;

/// The same for who works in an overlay: there he writes in documents as somebody else.
struct NoIdsStaged;

impl FreshIds for NoIdsStaged {
    fn entity(&mut self) -> EntityId {
        NoIds.entity()
    }
    fn edge(&mut self) -> EdgeId {
        NoIds.edge()
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        NoIds.writer(&[purpose, b"staged"].concat())
    }
}

impl FreshIds for NoIds {
    fn entity(&mut self) -> EntityId {
        unreachable!("these tests give all ids")
    }
    fn edge(&mut self) -> EdgeId {
        unreachable!("these tests give all ids")
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        let hash = blake3::hash(purpose);
        ClientId::new(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
    }
}

fn request(commands: Vec<Command>) -> Request {
    Request {
        command_id: CommandId::from_bytes([9; 16]),
        session: None,
        base: None,
        stance: Stance::Beside,
        kind: BundleKind::EDIT,
        label: None,
        source: Source::default(),
        commands,
    }
}

/// A canonical state that grows by requests, all made by one person.
#[derive(Clone)]
struct Show {
    actor: ActorId,
    layer: Layer,
    ms: u64,
}

impl Show {
    fn new() -> Self {
        let actor = Keys::from_seed(&[1; 32]).actor();
        let mut show = Self { actor, layer: Layer::default(), ms: 1 };
        let (called, alex) = (Text::new("Show").unwrap(), Text::new("Alex").unwrap());
        let bootstrap = Operation::Bootstrap { name: called, founder: actor, founder_name: alex, recovery: None };
        let op = show.stamp().op(0, bootstrap);
        show.layer.fold(&Empty, &op, None).unwrap();
        let column =
            |of: &str, required| NewColumn { name: name(of), field_type: FieldType::Text, required, default: None };
        let mut columns = vec![column("name", true), column("label", false), column("note", false)];
        columns.push(NewColumn { field_type: FieldType::Document, ..column("script", false) });
        let description = Text::new("").unwrap();
        show.does(vec![Command::CreateTable { name: name("cues"), description, columns }]);
        show
    }

    fn stamp(&mut self) -> Stamp {
        self.ms += 1_000;
        let hlc = Hlc { ms: self.ms, counter: 0 };
        let workspace = WorkspaceId::from_bytes([1; 16]);
        Stamp { workspace, actor: self.actor, hlc, op_base: OpId::new(self.ms, [0; 10]) }
    }

    fn tries(&mut self, commands: Vec<Command>) -> Result<Plan, Problem> {
        let stamp = self.stamp();
        let plan = decide::plan(&self.layer.over(&Empty), &NoBase, &mut NoIds, stamp, &request(commands))?;
        self.folds(&plan, stamp);
        Ok(plan)
    }

    fn does(&mut self, commands: Vec<Command>) {
        self.tries(commands).unwrap();
    }

    /// Folds the ops as they were encoded, so that a plan whose references are off would show.
    fn folds(&mut self, plan: &Plan, stamp: Stamp) {
        for op in plan.made(stamp) {
            self.layer.fold(&Empty, &op, None).unwrap();
        }
    }

    fn stages(&mut self, staging: &Staging, commands: Vec<Command>) -> Result<Delta, Problem> {
        let stamp = self.stamp();
        let base = self.layer.over(&Empty);
        let seen = SeenThrough { canonical: &NoBase, staging };
        let plan = decide::plan(&staging.over(&base), &seen, &mut NoIdsStaged, stamp, &request(commands))?;
        staging.stage(&base, &NoBase, &plan.made(stamp), &plan.label)
    }

    fn commits(&mut self, staging: &Staging) -> Result<Plan, Problem> {
        let stamp = self.stamp();
        let overlay = OverlayId::from_bytes([7; 16]);
        let request = request(vec![Command::CommitOverlay { overlay }]);
        let plan = decide::commit(&self.layer.over(&Empty), stamp, &request, staging, "cast")?;
        self.folds(&plan, stamp);
        Ok(plan)
    }

    fn told(&self) -> Told {
        told(&self.layer.over(&Empty))
    }
}

type Properties = Vec<(Name, Option<Value>)>;

/// Everything that people see: records with their fields, edges, and what is in conflict.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    records: BTreeMap<EntityId, Vec<(Name, Option<Value>, bool)>>,
    edges: Vec<(EdgeId, EntityId, EntityId, Properties)>,
    tables: Vec<(Name, usize)>,
    setting: Option<Value>,
}

fn told(view: &dyn View) -> Told {
    let (mut records, mut edges) = (BTreeMap::new(), Vec::new());
    for record in read::records(view, &name("cues"), None) {
        let record = record.unwrap();
        let fields = read::fields(view, &name("cues"), record).unwrap().into_iter();
        // A cleared field and one that was never written look alike.
        let fields = fields.filter(|(_, field)| field.value.is_some() || field.in_conflict());
        records.insert(
            record,
            fields
                .map(|(name, field)| {
                    let torn = field.in_conflict();
                    (name, field.value, torn)
                })
                .collect(),
        );
        for edge in read::edges(view, record, Direction::From, None).unwrap() {
            let properties = edge.properties.into_iter().map(|(name, property)| (name, property.value));
            let properties = properties.filter(|(_, value)| value.is_some()).collect();
            edges.push((edge.edge, edge.ends.source, edge.ends.target, properties));
        }
    }
    let tables = read::tables(view).unwrap().into_iter().map(|table| (table.spec.name, table.columns.len()));
    let setting = read::setting(view, &name("curtain")).unwrap();
    Told { records, edges, tables: tables.collect(), setting }
}

fn makes(number: u8) -> Command {
    let values = vec![(name("name"), text(&format!("LX {number}")))];
    Command::CreateRecord { record: Some(entity(number)), table: name("cues"), values }
}

fn sets(number: u8, field: &str, value: Option<&str>) -> Command {
    let values = vec![(name(field), value.map(text))];
    Command::SetFields { record: entity(number), table: name("cues"), values }
}

fn joins(number: u8, source: u8, target: u8) -> Command {
    let properties = vec![(name("why"), text("loud"))];
    let (source, target) = (entity(source), entity(target));
    Command::CreateEdge {
        edge: Some(edge(number)),
        edge_type: name("follows"),
        source,
        target,
        properties,
        place: None,
    }
}

fn field(number: u8, field: &str) -> Cell {
    Cell::Field { table: name("cues"), entity: entity(number), field: name(field) }
}

fn facet(number: u8) -> Cell {
    Cell::Facet { table: name("cues"), entity: entity(number) }
}

/// A staging on which these were done one by one.
fn staged(show: &mut Show, commands: Vec<Command>) -> Staging {
    let mut staging = Staging::default();
    for command in commands {
        let delta = show.stages(&staging, vec![command]).unwrap();
        staging.apply(&delta);
    }
    staging
}

fn any_command() -> impl Strategy<Value = Command> {
    let record = 1_u8..6;
    let value = prop::option::of(prop::sample::select(vec!["Dawn", "Noon", "Dusk"]));
    prop_oneof![
        record.clone().prop_map(makes),
        (record.clone(), prop::sample::select(vec!["label", "note"]), value).prop_map(|(r, f, v)| sets(r, f, v)),
        record.clone().prop_map(|record| Command::DeleteRecord { record: entity(record) }),
        (10_u8..14, record.clone(), record).prop_map(|(edge, source, target)| joins(edge, source, target)),
        (10_u8..14).prop_map(|number| Command::DeleteEdge { edge: edge(number) }),
        (10_u8..14).prop_map(|number| Command::SetEdgeProperties {
            edge: edge(number),
            values: vec![(name("why"), Some(text("quiet")))]
        }),
        Just(Command::PutSetting { setting: name("curtain"), value: Some(text("red")) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn staging_and_committing_equals_doing_it(
        before in prop::collection::vec(any_command(), 0..10),
        after in prop::collection::vec(any_command(), 0..25),
    ) {
        let mut direct = Show::new();
        for command in before {
            drop(direct.tries(vec![command]));
        }
        let (mut canonical, untouched) = (direct.clone(), direct.told());
        let mut staging = Staging::default();
        for command in after {
            let done = direct.tries(vec![command.clone()]).is_ok();
            let staged = canonical.stages(&staging, vec![command.clone()]);
            prop_assert_eq!(staged.is_ok(), done, "{:?} {:?}", command, staged);
            if let Ok(delta) = staged {
                staging.apply(&delta);
            }
            prop_assert_eq!(told(&staging.over(&canonical.layer.over(&Empty))), direct.told(), "behind {:?}", command);
            prop_assert_eq!(canonical.told(), untouched.clone(), "what is staged is seen by nobody else");
        }
        match canonical.commits(&staging) {
            Ok(_) => {}
            Err(Problem::Refused(refusal)) => prop_assert_eq!(refusal.reason, Reason::InvalidRequest, "nothing to do"),
            Err(failure) => return Err(TestCaseError::fail(failure.to_string())),
        }
        prop_assert_eq!(canonical.told(), direct.told());
    }

    #[test]
    fn undo_and_redo_go_back_and_forth_over_everything(
        before in prop::collection::vec(any_command(), 0..8),
        after in prop::collection::vec(any_command(), 1..12),
        back in 0_usize..12,
    ) {
        let mut show = Show::new();
        for command in before {
            drop(show.tries(vec![command]));
        }
        let mut staging = Staging::default();
        let through = |staging: &Staging, show: &Show| told(&staging.over(&show.layer.over(&Empty)));
        let mut seen = vec![through(&staging, &show)];
        for command in after {
            if let Ok(delta) = show.stages(&staging, vec![command]) {
                staging.apply(&delta);
                seen.push(through(&staging, &show));
            }
        }
        let steps = back.min(seen.len() - 1);
        for wanted in seen.iter().rev().skip(1).take(steps) {
            staging.apply(&staging.undo().unwrap());
            prop_assert_eq!(&through(&staging, &show), wanted);
        }
        if steps == seen.len() - 1 {
            prop_assert!(staging.is_empty() && staging.undo().is_err());
        }
        for wanted in &seen[seen.len() - steps..] {
            staging.apply(&staging.redo().unwrap());
            prop_assert_eq!(&through(&staging, &show), wanted);
        }
        prop_assert!(staging.redo().is_err());
    }
}

#[test]
fn what_is_made_in_an_overlay_can_be_referred_to_there_and_nowhere_else() {
    let mut show = Show::new();
    show.does(vec![makes(1)]);
    let staging = staged(&mut show, vec![makes(2), joins(10, 1, 2)]);
    assert!(show.tries(vec![joins(11, 1, 2)]).is_err());
    let refused = show.stages(
        &staging,
        vec![Command::SetFields { record: entity(2), table: name("cues"), values: vec![(name("name"), None)] }],
    );
    assert!(matches!(refused, Err(Problem::Refused(refusal)) if refusal.reason == Reason::RequiredMissing));
}

#[test]
fn membership_cannot_be_staged() {
    let mut show = Show::new();
    let admit = Command::AdmitMember { member: ActorId::from_bytes([5; 32]), name: None };
    let refused = show.stages(&Staging::default(), vec![admit]);
    assert!(matches!(refused, Err(Problem::Refused(refusal)) if refusal.reason == Reason::NotInOverlay));
}

#[test]
fn only_what_both_have_changed_drifts_and_either_side_may_be_kept() {
    let mut show = Show::new();
    show.does(vec![makes(1), makes(2), sets(1, "label", Some("Dawn")), sets(2, "label", Some("Dawn"))]);
    let mut staging = staged(&mut show, vec![sets(1, "label", Some("Mine")), sets(2, "label", Some("Mine"))]);
    show.does(vec![sets(1, "label", Some("Theirs")), sets(2, "label", Some("Theirs")), sets(1, "note", Some("x"))]);
    show.does(vec![sets(2, "label", Some("Theirs again"))]);
    let base = show.layer.clone();
    let base = base.over(&Empty);
    let drift = staging.drift(&base).unwrap();
    assert_eq!(
        drift.iter().map(|drift| drift.cell.clone()).collect::<Vec<_>>(),
        [field(1, "label"), field(2, "label")]
    );
    let shown = read::field(&staging.over(&base), &name("cues"), entity(1), &name("label")).unwrap();
    assert_eq!(
        (shown.value.clone(), shown.in_conflict()),
        (Some(text("Mine")), true),
        "the overlay shows what is mine"
    );
    let refused = show.commits(&staging);
    assert!(matches!(refused, Err(Problem::Refused(refusal)) if refusal.reason == Reason::Drifted));

    staging.apply(&staging.keep_mine(&base, &[field(1, "label")]).unwrap());
    staging.apply(&staging.use_canonical(&base, &[field(2, "label")]).unwrap());
    assert!(staging.drift(&base).unwrap().is_empty());
    assert!(staging.use_canonical(&base, &[field(1, "label")]).is_err());
    show.commits(&staging).unwrap();
    let view = show.layer.over(&Empty);
    let label = |number| read::field(&view, &name("cues"), entity(number), &name("label")).unwrap();
    assert_eq!((label(1).value, label(1).reading.tips.len()), (Some(text("Mine")), 1), "causally behind theirs");
    assert_eq!(label(2).value, Some(text("Theirs again")));
}

#[test]
fn the_same_value_on_both_sides_is_no_drift() {
    let mut show = Show::new();
    show.does(vec![makes(1)]);
    let staging = staged(&mut show, vec![sets(1, "label", Some("Dawn"))]);
    show.does(vec![sets(1, "label", Some("Dawn"))]);
    assert!(staging.drift(&show.layer.over(&Empty)).unwrap().is_empty());
}

#[test]
fn knocking_out_a_new_record_takes_everything_along_that_hangs_on_it() {
    let mut show = Show::new();
    show.does(vec![makes(1)]);
    let mut staging =
        staged(&mut show, vec![makes(2), sets(2, "label", Some("Dawn")), joins(10, 1, 2), sets(1, "note", Some("x"))]);
    let base = show.layer.clone();
    let base = base.over(&Empty);
    let required = staging.knock_out(&base, &[field(2, "name")]);
    assert!(matches!(required, Err(Problem::Refused(refusal)) if refusal.reason == Reason::RequiredMissing));
    staging.apply(&staging.knock_out(&base, &[facet(2)]).unwrap());
    assert_eq!(staging.cells().map(|(cell, _)| cell).collect::<Vec<_>>(), [field(1, "note")]);
    staging.apply(&staging.undo().unwrap());
    assert_eq!(told(&staging.over(&base)).records.len(), 2);
    assert!(staging.knock_out(&base, &[field(1, "label")]).is_err());
}

#[test]
fn what_is_made_and_removed_in_an_overlay_is_not_committed() {
    let mut show = Show::new();
    let remove = Command::DeleteRecord { record: entity(2) };
    let mut staging = staged(&mut show, vec![makes(2), sets(2, "label", Some("Dawn")), remove]);
    assert!(matches!(show.commits(&staging), Err(Problem::Refused(_))));
    staging.apply(&show.stages(&staging, vec![makes(3)]).unwrap());
    assert_eq!(show.commits(&staging).unwrap().ops.len(), 2, "a record and its name");
}

#[test]
fn the_preview_tells_what_is_new_changed_field_by_field_and_removed() {
    let mut show = Show::new();
    show.does(vec![makes(1), makes(2), makes(3), sets(1, "label", Some("Dawn")), sets(3, "label", Some("same"))]);
    let commands = vec![
        makes(4),
        sets(1, "label", Some("Noon")),
        Command::DeleteRecord { record: entity(2) },
        sets(3, "label", Some("same")),
        joins(10, 1, 4),
    ];
    let staging = staged(&mut show, commands);
    let base = show.layer.over(&Empty);
    let counts = Counts { new_records: 1, changed_records: 1, removed_records: 1, new_edges: 1, ..Counts::default() };
    let (survey, view) = (staging.survey(&base).unwrap(), staging.over(&base));
    assert_eq!((survey.counts, survey.subjects.len()), (counts, 4), "what says the same is not told");
    let all: Vec<_> = survey.subjects.iter().map(|subject| diff::difference(&base, &view, subject).unwrap()).collect();
    let changed = all.iter().find(|part| part.becomes == Becomes::Changed).unwrap();
    let [label] = &changed.fields[..] else { panic!("{changed:?}") };
    let value = |field: &Option<read::FieldReading>| field.as_ref().and_then(|field| field.value.clone());
    assert_eq!((value(&label.before), value(&label.after)), (Some(text("Dawn")), Some(text("Noon"))));
}

#[test]
fn what_was_staged_while_a_commit_was_on_its_way_stays_on_top_of_it() {
    let mut show = Show::new();
    show.does(vec![makes(1)]);
    let mut staging = staged(&mut show, vec![sets(1, "label", Some("Dawn")), sets(1, "note", Some("x"))]);
    let generation = staging.head().generation;
    let stamp = show.stamp();
    let commit = staging.commit(&show.layer.over(&Empty), stamp).unwrap();
    staging.apply(&show.stages(&staging, vec![sets(1, "label", Some("Later"))]).unwrap());

    let made = |(index, raw)| stamp.op(index, Operation::from_raw(raw).unwrap().unwrap());
    let ops: Vec<_> = commit.ops.iter().enumerate().map(made).collect();
    for op in &ops {
        show.layer.fold(&Empty, op, None).unwrap();
    }
    staging.apply(&staging.committed(generation, &ops));
    assert_eq!(staging.cells().map(|(cell, _)| cell).collect::<Vec<_>>(), [field(1, "label")]);
    assert!(staging.drift(&show.layer.over(&Empty)).unwrap().is_empty(), "the commit is no drift");
    show.commits(&staging).unwrap();
    let label = read::field(&show.layer.over(&Empty), &name("cues"), entity(1), &name("label")).unwrap();
    assert_eq!((label.value.clone(), label.in_conflict()), (Some(text("Later")), false));
}

fn writes(number: u8, at: u32, text: &str) -> Command {
    let edits = vec![TextEdit::Insert { at, text: text.to_owned() }];
    Command::EditText { record: entity(number), table: name("cues"), column: name("script"), edits }
}

fn script(view: &dyn View, number: u8) -> Option<Value> {
    read::field(view, &name("cues"), entity(number), &name("script")).unwrap().value
}

#[test]
fn texts_are_edited_in_an_overlay_and_merge_with_what_others_write_meanwhile() {
    let mut show = Show::new();
    show.does(vec![makes(1), writes(1, 0, "Go on the word")]);
    let mut staging = staged(&mut show, vec![writes(1, 14, " ghost"), writes(1, 20, "!"), writes(1, 0, "LX: ")]);
    assert_eq!(staging.len(), 1, "all edits of a text are one");
    show.does(vec![writes(1, 0, "Stand by. ")]);
    let base = show.layer.clone();
    let base = base.over(&Empty);
    assert_eq!(script(&base, 1), Some(text("Stand by. Go on the word")));
    let inside = script(&staging.over(&base), 1);
    assert!(
        [text("Stand by. LX: Go on the word ghost!"), text("LX: Stand by. Go on the word ghost!")]
            .contains(&inside.clone().unwrap())
    );
    assert!(staging.drift(&base).unwrap().is_empty(), "edits merge");
    assert_eq!(staging.survey(&base).unwrap().counts, Counts { changed_records: 1, ..Counts::default() });

    staging.apply(&staging.undo().unwrap());
    assert!(!script(&staging.over(&base), 1).is_none_or(|text| describe::value(&text).contains("LX")));
    staging.apply(&staging.redo().unwrap());
    assert_eq!(script(&staging.over(&base), 1), inside);
    let plan = show.commits(&staging).unwrap();
    assert_eq!(plan.ops.len(), 1);
    assert_eq!(script(&show.layer.over(&Empty), 1), inside);
}

#[test]
fn what_is_written_into_a_text_while_a_commit_is_on_its_way_goes_on_from_it() {
    let mut show = Show::new();
    show.does(vec![makes(1)]);
    let mut staging = staged(&mut show, vec![writes(1, 0, "Go on"), sets(1, "label", Some("Dawn"))]);
    let generation = staging.head().generation;
    let stamp = show.stamp();
    let commit = staging.commit(&show.layer.over(&Empty), stamp).unwrap();
    staging.apply(&show.stages(&staging, vec![writes(1, 5, " the word")]).unwrap());
    let made = |(index, raw)| stamp.op(index, Operation::from_raw(raw).unwrap().unwrap());
    let ops: Vec<_> = commit.ops.iter().enumerate().map(made).collect();
    for op in &ops {
        show.layer.fold(&Empty, op, None).unwrap();
    }
    staging.apply(&staging.committed(generation, &ops));
    let base = show.layer.clone();
    assert_eq!(script(&base.over(&Empty), 1), Some(text("Go on")));
    assert_eq!(script(&staging.over(base.over(&Empty)), 1), Some(text("Go on the word")));
    show.commits(&staging).unwrap();
    assert_eq!(script(&show.layer.over(&Empty), 1), Some(text("Go on the word")));
}

#[test]
fn merged_records_drift_as_one_and_are_written_as_one() {
    let mut show = Show::new();
    show.does(vec![makes(1), makes(2)]);
    let clear = |number| sets(number, "label", Some("Dawn"));
    show.does(vec![clear(1), clear(2)]);
    let mut staging = staged(&mut show, vec![sets(1, "label", Some("Mine"))]);
    let stamp = show.stamp();
    let at = vec![openprod_model::operation::PairAt {
        one: entity(1),
        other: entity(2),
        basis: openprod_model::operation::Basis::default(),
    }];
    show.layer.fold(&Empty, &stamp.op(0, Operation::MergeEntities { at }), None).unwrap();
    let base = show.layer.clone();
    let base = base.over(&Empty);
    let [drift] = &staging.drift(&base).unwrap()[..] else { panic!("the other name of the record says Dawn") };
    assert_eq!((drift.cell.clone(), drift.mine.clone()), (field(1, "label"), Content::Value(text("Mine"))));
    staging.apply(&staging.keep_mine(&base, &[field(2, "label")]).unwrap());
    let plan = show.commits(&staging).unwrap();
    assert_eq!(plan.ops.len(), 2, "one for each standing write, or one for both: nothing else");
    let label = read::field(&show.layer.over(&Empty), &name("cues"), entity(2), &name("label")).unwrap();
    assert_eq!((label.value.clone(), label.in_conflict()), (Some(text("Mine")), false));
}
