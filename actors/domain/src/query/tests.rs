//! Queries on small worlds: what they mean, what they refuse, and that every plan gives the same rows.

use openprod_model::bundle::Stamp;
use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, EntityId, OpId, OpRef, WorkspaceId};
use openprod_model::operation::{Basis, ColumnAt, ColumnRef, FacetAt, FieldAt, MappingAt, Operation, PairAt};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{Date, DateTime, FieldRef, FieldType, List, Name, Primitive, PrimitiveType, Text, Value};
use proptest::prelude::*;

use super::*;
use crate::cell::{Cell, KeyRange, Tip};
use crate::view::{Empty, Layer, Layered, Read, Reading, View};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn text(text: &str) -> Value {
    Value::text(text).unwrap()
}

fn record(number: u16) -> EntityId {
    let mut bytes = [0; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    EntityId::from_bytes(bytes)
}

/// Whether a write has seen what stands in its cell.
#[derive(Debug, Clone, Copy)]
enum Author {
    Informed,
    Concurrent,
}

/// A workspace in memory.
#[derive(Default)]
struct World {
    layer: Layer,
    ops: usize,
}

impl World {
    fn view(&self) -> Layered<'_> {
        self.layer.over(&Empty)
    }

    fn does(&mut self, operation: Operation) {
        let stamp = Stamp {
            workspace: WorkspaceId::from_bytes([1; 16]),
            actor: ActorId::from_bytes([2; 32]),
            hlc: Hlc { ms: 1, counter: 0 },
            op_base: OpId::from_bytes([0; 16]),
        };
        self.layer.fold(&Empty, &stamp.op(self.ops, operation), None).unwrap();
        self.ops += 1;
    }

    fn basis(&self, author: Author, cell: &Cell) -> Basis {
        let seen = |tips: Vec<Tip>| tips.iter().map(|tip| tip.op).collect::<Vec<OpRef>>();
        let preds = match author {
            Author::Informed => seen(self.view().tips(cell).unwrap()),
            Author::Concurrent => Vec::new(),
        };
        Basis { preds, ..Basis::default() }
    }

    fn table(&mut self, table: &str, columns: &[(&str, FieldType)]) {
        let column = |(order, (key, field_type)): (usize, &(&str, FieldType))| ColumnAt {
            column: name(key),
            spec: ColumnSpec {
                name: name(key),
                field_type: field_type.clone(),
                required: false,
                default: None,
                order: u32::try_from(order).unwrap(),
                hidden: false,
            },
            basis: Basis::default(),
        };
        self.does(Operation::CreateTable {
            table: name(table),
            spec: TableSpec { name: name(table), description: Text::new("").unwrap() },
            basis: Basis::default(),
            columns: columns.iter().enumerate().map(column).collect(),
        });
    }

    fn facet(&self, table: &str, entity: EntityId) -> Vec<FacetAt> {
        let cell = Cell::Facet { table: name(table), entity };
        vec![FacetAt { entity, table: name(table), basis: self.basis(Author::Informed, &cell) }]
    }

    fn attach(&mut self, table: &str, entity: EntityId) {
        let at = self.facet(table, entity);
        self.does(Operation::AttachFacet { at });
    }

    fn detach(&mut self, table: &str, entity: EntityId) {
        let at = self.facet(table, entity);
        self.does(Operation::DetachFacet { at, seen: Vec::new() });
    }

    fn field(&self, table: &str, entity: EntityId, field: &str, author: Author) -> Vec<FieldAt> {
        let cell = Cell::Field { table: name(table), entity, field: name(field) };
        vec![FieldAt { entity, table: name(table), field: name(field), basis: self.basis(author, &cell) }]
    }

    fn pair(&self, a: u16, b: u16) -> Vec<PairAt> {
        let basis = self.basis(Author::Informed, &Cell::merge(record(a), record(b)));
        vec![PairAt { one: record(a), other: record(b), basis }]
    }

    fn set(&mut self, table: &str, entity: EntityId, field: &str, value: Value) {
        let at = self.field(table, entity, field, Author::Informed);
        self.does(Operation::SetField { at, value });
    }

    fn runs(&self, query: &str) -> Found {
        runs(&self.view(), query)
    }

    /// The numbers of the records found.
    fn finds(&self, query: &str) -> Vec<u16> {
        numbers(&self.runs(query).rows)
    }

    fn refuses(&self, query: &str) -> QueryError {
        match Query::parse(query).map(|query| query.check(&self.view(), Some(&name("cues")))) {
            Err(error) | Ok(Err(QueryProblem::Query(error))) => error,
            other => panic!("{query}: {other:?}"),
        }
    }
}

fn numbers(rows: &[EntityId]) -> Vec<u16> {
    rows.iter().map(|entity| u16::from_be_bytes(*entity.as_bytes().last_chunk().unwrap())).collect()
}

fn checked(view: &dyn View, query: &str) -> Checked {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    query.check(view, Some(&name("cues"))).unwrap_or_else(|error| panic!("{}: {error}", query.text()))
}

fn noon() -> Context {
    Context { now: DateTime::new(12 * 3_600_000, None).ok() }
}

fn runs(view: &dyn View, query: &str) -> Found {
    checked(view, query).run(view, &noon()).unwrap()
}

fn columns() -> Vec<(&'static str, FieldType)> {
    vec![
        ("label", FieldType::Text),
        ("number", FieldType::Integer),
        ("level", FieldType::Float),
        ("is_called", FieldType::Boolean),
        ("day", FieldType::Date),
        ("due", FieldType::DateTime),
        ("length", FieldType::Duration),
        ("department", FieldType::Enum { values: vec![name("sound"), name("lighting"), name("fly")] }),
        ("owner", FieldType::Reference { table: None }),
        ("tags", FieldType::List { item: PrimitiveType::Text }),
        ("Cue #", FieldType::Text),
    ]
}

/// Four cues: three as anybody would write them, and one with nothing in it.
fn cues() -> World {
    let mut world = World::default();
    world.table("cues", &columns());
    world.table("lighting.cues", &[]);
    for number in 1..=4 {
        world.attach("cues", record(number));
    }
    let due = |hours: i64| Value::DateTime(DateTime::new(hours * 3_600_000, None).unwrap());
    for (number, label, department, called) in
        [(1, "Blackout", "lighting", true), (2, "Thunder", "sound", false), (3, "blue 50% wash", "lighting", false)]
    {
        let entity = record(number);
        world.set("cues", entity, "label", text(label));
        world.set("cues", entity, "department", Value::Enum(name(department)));
        world.set("cues", entity, "is_called", Value::Boolean(called));
        world.set("cues", entity, "number", Value::Integer(i64::from(number) * 10));
        world.set("cues", entity, "level", Value::float(f64::from(number) + 0.5).unwrap());
        world.set("cues", entity, "due", due(i64::from(number) + 10));
        world.set("cues", entity, "day", Value::Date(Date { days: i32::from(number) - 2 }));
        world.set("cues", entity, "Cue #", text(["2", "10", "A3"][usize::from(number) - 1]));
    }
    world.set("cues", record(1), "owner", Value::Entity(record(7)));
    world.attach("lighting.cues", record(3));
    world
}

#[test]
fn queries_mean_what_they_say() {
    let cases: &[(&str, &[u16])] = &[
        ("", &[1, 2, 3, 4]),
        (r#"table == "cues" AND is_called == true AND NOT number == 20"#, &[1]),
        ("is_called", &[1]),
        ("NOT is_called", &[2, 3, 4]),
        ("is_called = false", &[2, 3]),
        (r#"department IN ["sound", "fly"]"#, &[2]),
        (r#"department IN ["sound", null]"#, &[2, 4]),
        ("department IN []", &[]),
        (r#"department < "lighting""#, &[2]),
        (r#"department == "video""#, &[]),
        (r#"label LIKE "bl%""#, &[1, 3]),
        (r#"label LIKE "%\%%""#, &[3]),
        (r#"label == "blackout""#, &[]),
        ("label exists", &[1, 2, 3]),
        ("NOT label exists", &[4]),
        ("label == null", &[4]),
        ("label != null", &[1, 2, 3]),
        (r#"label != "Thunder""#, &[1, 3]),
        (r#"NOT label == "Thunder""#, &[1, 3, 4]),
        ("number == 20.0 OR level == 1.5", &[1, 2]),
        ("number < 20.5 AND number > 10", &[2]),
        ("level > 2", &[2, 3]),
        ("level <= 9223372036854775807", &[1, 2, 3]),
        ("`Cue #` < '10.5'", &[1, 2]),
        ("`Cue #` >= '10'", &[2, 3]),
        ("due < $now", &[1]),
        ("due == $now", &[2]),
        ("due >= '1970-01-01T13:00'", &[3]),
        ("day <= $now", &[1, 2]),
        ("day > '1970-01-01'", &[3]),
        ("owner == '00000000-0000-0000-0000-000000000007'", &[1]),
        ("lighting.cues exists", &[3]),
        ("NOT lighting.cues exists AND is_called exists", &[1, 2]),
        ("label == 5", &[]),
        ("NOT label == 5", &[1, 2, 3, 4]),
        ("number < null", &[]),
        ("(is_called OR number == 20) AND (number == 10 OR label == 'x')", &[1]),
        ("ORDER BY `Cue #`", &[1, 2, 3, 4]),
        ("ORDER BY `Cue #` DESC", &[4, 3, 2, 1]),
        ("ORDER BY department, number DESC", &[2, 3, 1, 4]),
        ("ORDER BY is_called DESC, label LIMIT 2 OFFSET 1", &[1, 3]),
        ("LIMIT 2 OFFSET 1", &[2, 3]),
        ("LIMIT 0", &[]),
        ("OFFSET 9", &[]),
    ];
    let world = cues();
    for (query, expected) in cases {
        assert_eq!(world.finds(query), *expected, "{query}");
        assert_eq!(numbers(&runs(&Unindexed(&world.view()), query).rows), *expected, "scanning: {query}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place_and_what_was_meant() {
    let world = cues();
    let cases = [
        ("lable == 'x'", 1, "Table `cues` has no column `lable`.", "Did you mean `label`?"),
        ("number == 1\nORDER BY Label", 10, "Table `cues` has no column `Label`.", "Did you mean `label`?"),
        ("table == 'cuse'", 10, "There is no table `cuse`.", "Did you mean `cues`?"),
        ("label", 1, "`label` is no yes or no: it holds text.", ""),
        (
            "due < 'tomorrow'",
            7,
            "This cannot be compared with `due`.",
            "Write a date and time, such as \"2026-05-01T18:00\".",
        ),
        ("owner == 'Jane'", 10, "This cannot be compared with `owner`.", "Write a record's id, a UUID."),
        ("lighting.cue exists", 1, "Table `cues` has no column `lighting.cue`.", "Did you mean `lighting.cues`?"),
        ("lighting.cues == 1", 1, "Table `cues` has no column `lighting.cues`.", ""),
        ("table == 'lighting.cues'", 10, "The query names table `lighting.cues`, but was put to table `cues`.", ""),
        ("label LIKE 5", 12, "A pattern is text.", ""),
    ];
    for (query, column, message, next) in cases {
        let error = world.refuses(query);
        assert_eq!((error.position.column, error.message.as_str()), (column, message), "{query}");
        assert!(next.is_empty() || error.next == next, "{query}: {}", error.next);
    }
    let refusal = Refusal::from(world.refuses("lable == 'x'"));
    assert_eq!(refusal.reason, Reason::InvalidQuery);
    assert_eq!(refusal.message, "Table `cues` has no column `lable` (line 1, column 1).");
}

#[test]
fn a_query_without_a_table_says_so() {
    let world = cues();
    let problem = Query::parse("").unwrap().check(&world.view(), None).unwrap_err();
    assert!(problem.to_string().contains("which table"), "{problem}");
    let all = Query::of_table(&name("cues")).check(&world.view(), None).unwrap();
    assert_eq!(all.run(&world.view(), &Context::default()).unwrap().rows.len(), 4);
}

#[test]
fn plans_use_the_index_and_say_so() {
    let world = cues();
    let explain = |query: &str| checked(&world.view(), query).explain(&world.view(), &noon()).unwrap();
    assert_eq!(
        explain("is_called AND department == 'sound'"),
        "Looks only at records of `cues` that the index names for is_called."
    );
    assert_eq!(
        explain("label LIKE 'b%' AND (number == 1 OR number IN [2])"),
        "Looks only at records of `cues` that the index names for number == 1 or number IN [2]."
    );
    assert_eq!(
        explain("NOT is_called ORDER BY label"),
        "Lists the records of `cues` and looks only at those that the index names for is_called, \
         then sorts what matches."
    );
    assert_eq!(explain("label == null"), "Looks at every record of `cues`.");
    assert_eq!(explain(""), "Lists the records of `cues`.");
    assert_eq!(explain("label == 5"), "Finds nothing. `label` holds text: label == 5 is never true.");
    assert_eq!(world.runs("label == 'Thunder'").examined, 1);
    assert_eq!(world.runs("label LIKE 'b%'").examined, 2);
    assert_eq!(world.runs("LIMIT 1").examined, 1);
}

#[test]
fn the_shown_value_counts_and_references_are_followed() {
    let mut world = cues();
    world.set("cues", record(1), "label", text("Dawn"));
    assert_eq!(world.finds("label == 'Blackout'"), [0; 0]);
    let at = world.field("cues", record(4), "label", Author::Informed);
    let target = FieldRef { entity: record(2), table: name("cues"), field: name("label") };
    world.does(Operation::SetFieldReference { at, target });
    assert_eq!(world.finds("label == 'Thunder'"), [2, 4]);
    assert_eq!(world.finds("label LIKE 't%'"), [2, 4]);
    world.detach("cues", record(2));
    assert_eq!(world.finds("label == 'Thunder'"), [0; 0]);
}

#[test]
fn the_index_finds_an_instant_under_any_offset() {
    let mut world = cues();
    let time = |hours: i64, offset| Value::DateTime(DateTime::new(hours * 3_600_000, offset).unwrap());
    world.set("cues", record(1), "due", time(36, Some(1080)));
    world.set("cues", record(2), "due", time(0, Some(-1080)));
    world.set("cues", record(3), "due", time(0, Some(1080)));
    for (query, expected) in [
        ("due == '1970-01-01T18:00Z'", &[1, 2][..]),
        ("due == '1970-01-02T12:00+18:00'", &[1, 2]),
        ("due < '1970-01-01T00:00-18:00'", &[3]),
        ("due >= '1970-01-02T12:00+18:00'", &[1, 2]),
        ("due == '1970-01-02T12:00'", &[1]),
    ] {
        assert_eq!(world.finds(query), expected, "{query}");
        assert_eq!(numbers(&runs(&Unindexed(&world.view()), query).rows), expected, "scanning: {query}");
    }
}

#[test]
fn pages_make_up_the_whole_and_stop_early() {
    let mut world = World::default();
    world.table("cues", &columns());
    for number in 0..2_500 {
        world.attach("cues", record(number));
        world.set("cues", record(number), "number", Value::Integer(i64::from(number % 7)));
    }
    let view = world.view();
    for query in
        ["", "number > 4", "number == 3", "NOT number == 2 LIMIT 1200 OFFSET 700", "ORDER BY number DESC LIMIT 1000"]
    {
        let checked = checked(&view, query);
        let whole = checked.run(&view, &noon()).unwrap().rows;
        assert_eq!(turned(&checked, &view, 99), whole, "{query}");
    }
    let first = checked(&view, "number > 4").page(&view, &noon(), None, 10).unwrap();
    assert!(first.found.examined < 50, "{}", first.found.examined);
    let foreign = checked(&view, "").page(&view, &noon(), first.next.as_ref(), 10);
    assert!(matches!(foreign, Err(QueryProblem::Query(_))));
    assert!(checked(&view, "").page(&view, &noon(), Some(&PageKey::from_bytes(b"x")), 10).is_err());
}

/// All rows, page by page.
fn turned(checked: &Checked, view: &dyn View, size: usize) -> Vec<EntityId> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = checked.page(view, &noon(), after.as_ref(), size).unwrap();
        assert!(page.found.rows.len() == size || page.next.is_none());
        rows.extend(page.found.rows);
        after = Some(match page.next {
            Some(next) => PageKey::from_bytes(next.as_bytes()),
            None => return rows,
        });
    }
}

/// A view that keeps no index.
struct Unindexed<'a>(&'a dyn View);

impl View for Unindexed<'_> {
    fn edits(&self, cell: &Cell) -> Read<Vec<crate::edits::Edit>> {
        self.0.edits(cell)
    }
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        self.0.tips(cell)
    }
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        self.0.cells(range)
    }
    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        None
    }
    fn unions(&self) -> Read<std::sync::Arc<crate::unions::Unions>> {
        self.0.unions()
    }
}

#[derive(Debug, Clone)]
enum Act {
    Attach(&'static str, u16),
    Detach(&'static str, u16),
    Set(u16, &'static str, Value, Author),
    Clear(u16, &'static str),
    Refer(u16, &'static str, u16, &'static str),
    SetFar(u16, &'static str, Value),
    Merge(u16, u16),
    Split(u16, u16),
    Map(&'static str),
}

impl Act {
    fn on(self, world: &mut World) {
        match self {
            Self::Attach(table, number) => world.attach(table, record(number)),
            Self::Detach(table, number) => world.detach(table, record(number)),
            Self::Set(number, field, value, author) => {
                let at = world.field("cues", record(number), field, author);
                world.does(Operation::SetField { at, value });
            }
            Self::Clear(number, field) => {
                let at = world.field("cues", record(number), field, Author::Informed);
                world.does(Operation::ClearField { at });
            }
            Self::Refer(number, field, far, far_field) => {
                let at = world.field("cues", record(number), field, Author::Informed);
                let target = FieldRef { entity: record(far), table: name("cues"), field: name(far_field) };
                world.does(Operation::SetFieldReference { at, target });
            }
            Self::SetFar(number, field, value) => world.set("lighting.cues", record(number), field, value),
            Self::Merge(a, b) => {
                let at = world.pair(a, b);
                world.does(Operation::MergeEntities { at });
            }
            Self::Split(a, b) => {
                let at = world.pair(a, b);
                world.does(Operation::SplitEntity { at });
            }
            Self::Map(field) => {
                let side = |table| ColumnRef { table: name(table), column: name(field) };
                let (one, other) = (side("cues"), side("lighting.cues"));
                let basis = world.basis(Author::Informed, &Cell::mapping(one.clone(), other.clone()));
                world.does(Operation::ConfirmFieldMapping { at: MappingAt { one, other, basis } });
            }
        }
    }
}

fn any_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(columns().into_iter().map(|(key, _)| key).collect::<Vec<_>>())
}

/// Values of every type, those at the ends of their ranges among them.
fn some_values() -> Vec<Value> {
    let time = |ms, offset| Value::DateTime(DateTime::new(ms, offset).unwrap());
    let long = "long ".repeat(10);
    let mut values: Vec<Value> = ["", "a", "A", "2", "10", "é", &long, &format!("{long}tail")].map(text).to_vec();
    values.extend([i64::MIN, -1, 0, 2, (1 << 53) + 1, i64::MAX].map(Value::Integer));
    values.extend([f64::MIN, -0.5, 0.0, 2.0, 9_007_199_254_740_992.0, f64::MAX].map(|n| Value::float(n).unwrap()));
    values.extend([true, false].map(Value::Boolean));
    values.extend([-1, 0, 1].map(|days| Value::Date(Date { days })));
    values.extend([0, 43_200_000].map(|ms| time(ms, None)));
    values.extend([time(43_200_000, Some(0)), time(43_200_000, Some(1080)), time(-21_600_000, Some(-1080))]);
    values.extend(["sound", "lighting", "video"].map(|word| Value::Enum(name(word))));
    values.extend([1, 2].map(|number| Value::Entity(record(number))));
    values.push(Value::List(List::try_from(vec![Primitive::Integer(1)]).unwrap()));
    values
}

/// A field and a value for it, mostly of its type.
fn any_field_value() -> impl Strategy<Value = (&'static str, Value)> {
    let (mut fitting, mut foreign) = (Vec::new(), Vec::new());
    for (key, field_type) in columns() {
        let (fit, other): (Vec<_>, Vec<_>) = some_values().into_iter().partition(|value| field_type.admits(value));
        fitting.extend(fit.into_iter().map(|value| (key, value)));
        foreign.extend(other.into_iter().map(|value| (key, value)));
    }
    prop_oneof![3 => prop::sample::select(fitting), 1 => prop::sample::select(foreign)]
}

fn any_act() -> impl Strategy<Value = Act> {
    let table = prop::sample::select(vec!["cues", "cues", "cues", "lighting.cues"]);
    let author = prop::sample::select(vec![Author::Informed, Author::Concurrent]);
    prop_oneof![
        3 => (table.clone(), 0_u16..6).prop_map(|(table, number)| Act::Attach(table, number)),
        1 => (table, 0_u16..6).prop_map(|(table, number)| Act::Detach(table, number)),
        12 => (0_u16..6, any_field_value(), author).prop_map(|(number, (field, value), author)| {
            Act::Set(number, field, value, author)
        }),
        1 => (0_u16..6, any_field()).prop_map(|(number, field)| Act::Clear(number, field)),
        3 => (0_u16..6, any_field(), 0_u16..6).prop_map(|(near, field, far)| Act::Refer(near, field, far, field)),
        4 => (0_u16..6, any_field_value()).prop_map(|(number, (field, value))| Act::SetFar(number, field, value)),
        2 => (0_u16..6, 0_u16..6).prop_filter("a pair", |(a, b)| a != b).prop_map(|(a, b)| Act::Merge(a, b)),
        1 => (0_u16..6, 0_u16..6).prop_filter("a pair", |(a, b)| a != b).prop_map(|(a, b)| Act::Split(a, b)),
        1 => any_field().prop_map(Act::Map),
        1 => (0_u16..6, any_field(), 0_u16..6, any_field()).prop_map(|(a, field, b, far)| Act::Refer(a, field, b, far)),
    ]
}

const OTHER_TESTS: &[&str] = &[
    "label LIKE 'long%'",
    "label LIKE 'A'",
    "department IN ['sound', 'video']",
    "is_called",
    "lighting.cues exists",
    "owner == '00000000-0000-0000-0000-000000000001'",
    "owner != '00000000-0000-0000-0000-000000000002'",
    "owner IN ['00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003']",
    "day < $now",
];

const ORDERS: &[&str] = &[
    "",
    " ORDER BY label",
    " ORDER BY due DESC, number",
    " ORDER BY department LIMIT 3",
    " LIMIT 2 OFFSET 1",
    " ORDER BY tags, owner DESC OFFSET 2",
];

fn any_filter() -> impl Strategy<Value = String> {
    let how = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let literal = prop::sample::select(vec![
        "'a'",
        "''",
        "'10'",
        "'long long long long long long long long long long tail'",
        "2",
        "0",
        "-0.5",
        "2.0",
        "true",
        "false",
        "null",
        "9223372036854775807",
        "-9223372036854775808",
        "9007199254740992.0",
        "9007199254740993",
        "1e300",
    ]);
    let time =
        prop::sample::select(vec!["$now", "'1970-01-01'", "'1970-01-01T12:00Z'", "'1970-01-01T12:00+18:00'", "null"]);
    let plain = prop::sample::select(vec!["label", "number", "level", "is_called", "department", "tags", "`Cue #`"]);
    let test = prop_oneof![
        6 => (plain.clone(), how.clone(), literal.clone()).prop_map(|(field, how, to)| format!("{field} {how} {to}")),
        2 => (how, time).prop_map(|(how, time)| format!("due {how} {time}")),
        2 => (plain.clone(), prop::collection::vec(literal, 0..3)).prop_map(|(field, items)| {
            format!("{field} IN [{}]", items.join(", "))
        }),
        1 => plain.prop_map(|field| format!("{field} exists")),
        1 => prop::sample::select(OTHER_TESTS).prop_map(str::to_owned),
    ];
    test.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("NOT ({inner})")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" AND "))),
            prop::collection::vec(inner, 2..4).prop_map(|parts| format!("({})", parts.join(" OR "))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_plan_gives_the_same_rows(
        acts in prop::collection::vec(any_act(), 0..60),
        filter in any_filter(),
        order in prop::sample::select(ORDERS),
    ) {
        let mut world = World::default();
        world.table("cues", &columns());
        world.table("lighting.cues", &columns());
        for act in acts {
            act.on(&mut world);
        }
        let (view, query) = (world.view(), format!("{filter}{order}"));
        let found = runs(&view, &query);
        let scanned = runs(&Unindexed(&view), &query);
        prop_assert_eq!(&found.rows, &scanned.rows, "{}: {}", query, found.plan);
        prop_assert_eq!(turned(&checked(&view, &query), &view, 2), found.rows);
    }
}
