//! Refusals: each has a code, a reason, a sentence that names the place, and a next step; and nothing has changed.

use openprod_api::status::ApiError;
use openprod_client::v1;
use openprod_client::v1::value::Kind;

use crate::world::*;

/// What a refusal must be.
struct Wanted {
    code: &'static str,
    reason: &'static str,
    /// Words of the sentence, or the path of the part at fault: the place.
    place: &'static str,
}

fn wanted(code: &'static str, reason: &'static str, place: &'static str) -> Wanted {
    Wanted { code, reason, place }
}

impl Wanted {
    fn is(&self, error: &ApiError) {
        let Self { code, reason, place } = self;
        assert_eq!((format!("{:?}", error.code).as_str(), error.reason.as_str()), (*code, *reason), "{error:?}");
        assert!(error.message.contains(place) || error.at.contains(place), "{place} is not named: {error:?}");
        assert!(error.message.ends_with(['.', '?', '!']), "not a sentence: {error:?}");
        assert!(!error.message.chars().any(char::is_control), "control characters: {error:?}");
    }

    fn has_next_step(&self, error: &ApiError) {
        self.is(error);
        assert!(!error.next.is_empty(), "what to do next is not said: {error:?}");
    }
}

/// A world in which something stands that must not change.
async fn desk() -> (World, Person) {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table(
        "cues",
        &["label text", "page integer", "state enum on|off", "next reference cues", "tags list text"],
    )
    .await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "page" => 3]).await;
    mara.looks("LX 12").await;
    (world, mara)
}

fn set(mara: &Person, values: Vec<v1::FieldValue>) -> Vec<v1::Command> {
    vec![set_fields(&mara.id("LX 12"), "cues", values)]
}

#[tokio::test]
async fn what_is_not_there_is_named_and_the_nearest_name_offered() {
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    let nobody = fresh_id();
    let table = mara.fails_at(vec![create_record("", "cue", row!["name" => "x"])]).await;
    wanted("NotFound", "UNKNOWN_TABLE", "commands[0]").has_next_step(&table);
    assert!(table.next.contains("cues"), "{table:?}");
    let field = mara.fails_at(set(&mara, row!["lable" => "x"])).await;
    wanted("NotFound", "UNKNOWN_FIELD", "lable").has_next_step(&field);
    assert!(field.next.contains("label"), "{field:?}");
    let record = mara.fails_at(vec![set_fields(&nobody, "cues", row!["label" => "x"])]).await;
    wanted("NotFound", "UNKNOWN_RECORD", "commands[0]").is(&record);
    let edge = mara.fails_at(vec![delete_edge(&nobody)]).await;
    wanted("NotFound", "UNKNOWN_EDGE", "commands[0]").is(&edge);
    let actor = mara
        .fails_to_send(v1::ExecuteRequest { actor: "ab".repeat(32), ..mara.request(set(&mara, row!["page" => 1])) })
        .await;
    wanted("NotFound", "UNKNOWN_ACTOR", "actor").has_next_step(&actor);
    let elsewhere = v1::ExecuteRequest { workspace: nobody, ..mara.request(set(&mara, row!["page" => 1])) };
    wanted("NotFound", "UNKNOWN_WORKSPACE", "workspace").is(&mara.fails_to_send(elsewhere).await);
    let history = v1::GetRecordRequest {
        workspace: mara.workspace_id().to_string(),
        record: mara.id("LX 12"),
        as_of: Some(at_revision(999)),
        ..Default::default()
    };
    let history = ApiError::from(mara.client.tables().get_record(history).await.unwrap_err());
    wanted("NotFound", "UNKNOWN_HISTORY", "as_of").is(&history);
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn values_that_do_not_fit_are_refused_where_they_stand() {
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    let not_a_number = v1::Value { kind: Some(Kind::Float(f64::NAN)) };
    let no_day = v1::Date { year: 2026, month: 2, day: 30 };
    let two_kinds = v1::List {
        items: vec![
            v1::Primitive { kind: Some(v1::primitive::Kind::Text("a".into())) },
            v1::Primitive { kind: Some(v1::primitive::Kind::Integer(1)) },
        ],
    };
    for (values, reason, place) in [
        (row!["page" => "three"], "WRONG_TYPE", "page"),
        (row!["label" => 3], "WRONG_TYPE", "label"),
        (row!["state" => one_of("dim")], "UNKNOWN_ENUM_VALUE", "dim"),
        (row!["tags" => two_kinds], "WRONG_TYPE", "tags"),
        (row!["page" => not_a_number], "INVALID_VALUE", "commands[0].set_fields.values[0]"),
        (row!["label" => no_day], "INVALID_VALUE", "commands[0].set_fields.values[0]"),
        (vec![cleared("name")], "REQUIRED_MISSING", "name"),
        (row!["label" => "x".repeat(1024 * 1024 + 1)], "TOO_LARGE", "commands[0].set_fields.values[0]"),
    ] {
        let refused = mara.fails_at(set(&mara, values)).await;
        wanted("InvalidArgument", reason, place).is(&refused);
    }
    let lacking = mara.fails_at(vec![create_record("", "cues", row!["label" => "x"])]).await;
    wanted("InvalidArgument", "REQUIRED_MISSING", "name").is(&lacking);
    let twice = mara.fails_at(vec![create_table("cues", &["name text"])]).await;
    wanted("AlreadyExists", "ALREADY_EXISTS", "cues").is(&twice);
    let there = mara.fails_at(vec![create_record(&mara.id("LX 12"), "cues", row!["name" => "x"])]).await;
    wanted("AlreadyExists", "ALREADY_EXISTS", "commands[0]").is(&there);
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn one_bad_command_among_good_ones_undoes_them_all() {
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    let good = create_record("", "cues", row!["name" => "LX 13"]);
    let bad = create_record("", "cues", row!["name" => "LX 14", "page" => "x"]);
    let refused = mara.fails_at(vec![good.clone(), good, bad]).await;
    wanted("InvalidArgument", "WRONG_TYPE", "commands[2]").is(&refused);
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn requests_that_lack_something_or_contradict_themselves_are_refused() {
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    let good = || mara.request(set(&mara, row!["label" => "x"]));
    for (request, code, reason, place) in [
        (
            v1::ExecuteRequest { command_id: String::new(), ..good() },
            "InvalidArgument",
            "INVALID_REQUEST",
            "command_id",
        ),
        (v1::ExecuteRequest { command_id: "mine".into(), ..good() }, "InvalidArgument", "INVALID_VALUE", "command_id"),
        (v1::ExecuteRequest { workspace: String::new(), ..good() }, "InvalidArgument", "INVALID_REQUEST", "workspace"),
        (v1::ExecuteRequest { commands: Vec::new(), ..good() }, "InvalidArgument", "INVALID_REQUEST", "commands"),
        (
            v1::ExecuteRequest { commands: vec![v1::Command::default()], ..good() },
            "InvalidArgument",
            "INVALID_REQUEST",
            "commands[0]",
        ),
        (v1::ExecuteRequest { base: Some(999), ..good() }, "OutOfRange", "UNKNOWN_BASE", "999"),
        (v1::ExecuteRequest { stance: 77, ..good() }, "InvalidArgument", "INVALID_REQUEST", "stance"),
    ] {
        wanted(code, reason, place).is(&mara.fails_to_send(request).await);
    }
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn a_command_id_means_one_thing_for_ever() {
    let (mut world, mara) = desk().await;
    let request = mara.request(set(&mara, row!["label" => "Noon"]));
    let first = mara.client.commands().execute(request.clone()).await.unwrap().into_inner();
    assert!(!first.replayed);
    let leo = world.person("Leo").await;
    let before = mara.everything().await;
    for restarts in 0..2 {
        let other = v1::ExecuteRequest { commands: set(&mara, row!["label" => "Dusk"]), ..request.clone() };
        let somebody_else = v1::ExecuteRequest { actor: leo.actor.to_string(), ..request.clone() };
        for reused in [other, somebody_else] {
            wanted("AlreadyExists", "COMMAND_ID_REUSED", "command").is(&mara.fails_to_send(reused).await);
        }
        // The first answer, word for word: also that of the bundle, which nobody but the receipt remembers.
        let again = mara.client.commands().execute(request.clone()).await.unwrap().into_inner();
        assert_eq!(again, v1::ExecuteResponse { replayed: true, ..first.clone() }, "after {restarts} restarts");
        world.restarts().await;
        assert_eq!(mara.sees("LX 12", "label").await, "Noon");
    }
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn a_command_id_makes_one_workspace_for_ever() {
    let (mut world, mara) = desk().await;
    let founder = mara.actor.to_string();
    let asked = v1::CreateWorkspaceRequest { command_id: fresh_id(), name: "Macbeth".into(), founder };
    let first = mara.client.workspaces().create_workspace(asked.clone()).await.unwrap().into_inner();
    assert!(!first.replayed);
    for restarts in 0..2 {
        let again = mara.client.workspaces().create_workspace(asked.clone()).await.unwrap().into_inner();
        assert_eq!(
            again,
            v1::CreateWorkspaceResponse { replayed: true, recovery_key: String::new(), ..first.clone() },
            "after {restarts} restarts"
        );
        let other = v1::CreateWorkspaceRequest { name: "Tosca".into(), ..asked.clone() };
        let refused = mara.client.workspaces().create_workspace(other).await.unwrap_err();
        wanted("AlreadyExists", "COMMAND_ID_REUSED", "command").is(&refused.into());
        world.pulls_the_plug().await;
        assert_eq!(mara.client.list_workspaces().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn who_asks_to_be_refused_on_stale_knowledge_is_refused() {
    let (world, mara) = desk().await;
    let leo = world.person("Leo").await;
    leo.looks("LX 12").await;
    mara.sets("LX 12", "label", "Noon").await;
    let before = mara.everything().await;
    let careful =
        |values| v1::ExecuteRequest { stance: v1::Stance::IfUnchanged.into(), ..leo.request(set(&leo, values)) };
    let refused = leo.fails_to_send(careful(row!["label" => "Dusk"])).await;
    wanted("Aborted", "CHANGED", "label").has_next_step(&refused);
    assert_eq!(mara.everything().await, before);
    leo.client.commands().execute(careful(row!["page" => 4])).await.expect("another field is free");
    let typed = format!("openprod set cues \"LX 12\" label=Dusk --if-unchanged {}", before.0 - 2);
    leo.types(&typed).await.fails(1).says("label");
}

#[tokio::test]
async fn queries_are_refused_with_the_place_in_their_text() {
    let (_world, mara) = desk().await;
    let deep = format!("table == \"cues\" AND {}page == 1{}", "(".repeat(200), ")".repeat(200));
    let nots = format!("table == \"cues\" AND {} page == 1", "NOT ".repeat(200));
    let long = format!("table == \"cues\" AND label == \"{}\"", "x".repeat(20_000));
    let many = format!("table == \"cues\" AND page IN [{}1]", "1, ".repeat(1_001));
    for (query, reason, place) in [
        ("table == \"cues\" AND page ==", "INVALID_QUERY", ""),
        ("table == \"cues\" AND page === 3", "INVALID_QUERY", ""),
        ("table == \"cues\" AND pgae == 3", "INVALID_QUERY", "pgae"),
        ("table == \"cues\" AND label == \"open", "INVALID_QUERY", ""),
        ("table == \"qs\"", "INVALID_QUERY", "qs"),
        (&deep, "INVALID_QUERY", ""),
        (&nots, "INVALID_QUERY", ""),
        (&long, "INVALID_QUERY", ""),
        (&many, "INVALID_QUERY", ""),
    ] {
        let refused = mara.asks_in_vain(query).await;
        assert!(
            ["INVALID_QUERY", "UNKNOWN_FIELD", "UNKNOWN_TABLE", "TOO_LARGE"].contains(&refused.reason.as_str()),
            "{refused:?}"
        );
        assert!(refused.message.contains(place) || refused.at.contains(place), "{reason} {place}: {refused:?}");
        assert!(refused.message.len() < 2_000, "the query is not thrown back whole: {}", refused.message.len());
    }
    assert_eq!(mara.asks("table == \"cues\"").await, ["LX 12"], "the node goes on");
}

#[tokio::test]
async fn control_characters_are_no_names_and_are_never_shown() {
    let (world, mara) = desk().await;
    let before = mara.everything().await;
    let evil = "cues\u{1b}[2J\nerror: all is well";
    let table = mara.fails_at(vec![create_table(evil, &[])]).await;
    wanted("InvalidArgument", "INVALID_VALUE", "commands[0]").is(&table);
    let unknown = mara.fails_at(vec![drop_table(evil)]).await;
    assert!(!unknown.message.chars().any(char::is_control), "{unknown:?}");
    assert_eq!(mara.everything().await, before);
    // Text may hold them, terminals may not.
    mara.sets("LX 12", "label", "a\u{1b}[31mred\u{7}").await;
    let shown = mara.types("openprod records cues").await.ok();
    assert!(!shown.out.contains('\u{1b}') && !shown.out.contains('\u{7}'), "{shown}");
    let named = mara.client.create_workspace("Bad\u{1b}name", Some(mara.actor)).await.unwrap_err();
    assert!(named.to_string().contains("name"), "{named}");
    assert!(!world.house.has_said("\u{1b}"));
}

#[tokio::test]
async fn requests_and_lists_beyond_all_measure_are_refused() {
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    let huge = "x".repeat(1024 * 1024);
    let oversized: Vec<_> = (0..33).map(|_| create_record("", "cues", row!["name" => huge.as_str()])).collect();
    let request = mara.request(oversized);
    let refused = ApiError::from(
        mara.client.commands().max_encoding_message_size(usize::MAX).execute(request).await.unwrap_err(),
    );
    let code = format!("{:?}", refused.code);
    assert!(["OutOfRange", "ResourceExhausted", "InvalidArgument"].contains(&code.as_str()), "{refused:?}");
    let too_much: Vec<_> = (0..20).map(|_| create_record("", "cues", row!["name" => huge.as_str()])).collect();
    let refused = mara.fails_at(too_much).await;
    wanted("InvalidArgument", "TOO_LARGE", "bundle").has_next_step(&refused);
    let wide: Vec<String> = (0..5_000).map(|n| format!("c{n} text")).collect();
    let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
    wanted("InvalidArgument", "TOO_LARGE", "commands[0]").is(&mara.fails_at(vec![create_table("wide", &wide)]).await);
    assert_eq!(mara.everything().await, before);
}

#[tokio::test]
async fn schema_changes_that_would_lose_something_are_refused() {
    use v1::table_change::{self as change, Kind as Change};
    let (_world, mara) = desk().await;
    let before = mara.everything().await;
    for (change, reason) in [
        (Change::AddColumn(column("label text")), "ALREADY_EXISTS"),
        (
            Change::WidenEnum(change::WidenEnum { column: "label".into(), values: vec!["x".into()] }),
            "INVALID_SCHEMA_CHANGE",
        ),
        (Change::SetDefault(change::SetDefault { column: "page".into(), default: Some(value("x")) }), "WRONG_TYPE"),
        (Change::HideColumn(change::HideColumn { column: "nope".into() }), "UNKNOWN_FIELD"),
        (Change::RenameColumn(change::RenameColumn { column: "label".into(), name: "page".into() }), "ALREADY_EXISTS"),
    ] {
        let refused = mara.fails_at(vec![alter_table("cues", vec![change])]).await;
        assert_eq!(refused.reason, reason, "{refused:?}");
    }
    assert_eq!(mara.everything().await, before);
}
