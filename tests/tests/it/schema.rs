//! Tables change while people work in them; keys never do, and nothing is lost.

use openprod_client::v1;
use openprod_client::v1::table_change::{self as change, Kind};

use crate::world::{World, column, one_of, row, value};

fn names(table: &v1::Table) -> Vec<&str> {
    table.columns.iter().filter(|column| !column.hidden).map(|column| column.name.as_str()).collect()
}

#[tokio::test]
async fn a_table_grows_and_its_old_names_go_on_working() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "state enum on|off"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "state" => one_of("on")]).await;
    mara.alters("cues", Kind::Rename(change::Rename { name: "Lighting cues".into() })).await;
    mara.alters("cues", Kind::Describe(change::Describe { description: "All of them.".into() })).await;
    mara.alters("cues", Kind::AddColumn(column("page integer"))).await;
    let renamed = change::RenameColumn { column: "label".into(), name: "What happens".into() };
    mara.alters("Lighting cues", Kind::RenameColumn(renamed)).await;
    let moved = change::MoveColumn { column: "page".into(), before: "label".into() };
    mara.alters("cues", Kind::MoveColumn(moved)).await;
    let widened = change::WidenEnum { column: "state".into(), values: vec!["cut".into()] };
    mara.alters("cues", Kind::WidenEnum(widened)).await;

    assert_eq!(mara.knows_tables().await, ["Lighting cues"]);
    let table = mara.knows_table("Lighting cues").await;
    assert_eq!((table.key.as_str(), table.description.as_str()), ("cues", "All of them."));
    assert_eq!(names(&table), ["name", "page", "What happens", "state"]);
    mara.sets("LX 12", "What happens", "Sunrise").await;
    assert_eq!(mara.sees("LX 12", "label").await, "Sunrise");
    mara.sets("LX 12", "state", one_of("cut")).await;
    assert_eq!(mara.asks("table == \"cues\" AND state == \"cut\"").await, ["LX 12"]);
}

#[tokio::test]
async fn a_hidden_column_keeps_its_values_and_a_default_fills_new_records() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.alters("cues", Kind::HideColumn(change::HideColumn { column: "label".into() })).await;
    assert_eq!(names(&mara.knows_table("cues").await), ["name"]);
    mara.alters("cues", Kind::ShowColumn(change::ShowColumn { column: "label".into() })).await;
    assert_eq!(mara.sees("LX 1", "label").await, "Dawn");
    let default = change::SetDefault { column: "label".into(), default: Some(value("as before")) };
    mara.alters("cues", Kind::SetDefault(default)).await;
    mara.alters("cues", Kind::Require(change::Require { column: "label".into(), required: true })).await;
    mara.adds("cues", "LX 2", Vec::new()).await;
    assert_eq!(mara.sees("LX 2", "label").await, "as before");
    assert_eq!(mara.sees("LX 1", "label").await, "Dawn");
}

#[tokio::test]
async fn a_dropped_table_keeps_its_records_for_those_who_look_back() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.looks("LX 1").await;
    let then = mara.has_seen().unwrap();
    mara.drops("cues").await;
    assert!(mara.knows_tables().await.is_empty());
    mara.types(&format!("openprod records cues --as-of {then}")).await.ok().says("Dawn");
}

#[tokio::test]
async fn tables_can_be_made_and_changed_from_the_command_line() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.types("openprod tables create props -c 'name:text:required' -c 'state:enum(in,out)=in'").await.ok();
    mara.types("openprod new props name=Skull").await.ok();
    mara.types("openprod records props").await.ok().says("Skull").says("in");
    mara.types("openprod tables widen-enum props state lost").await.ok();
    mara.types("openprod set props Skull state=lost").await.ok();
    mara.types("openprod tables rename props Properties").await.ok();
    mara.types("openprod query 'state == \"lost\"' --table Properties").await.ok().says("Skull");
    mara.types("openprod settings put workspace.name 'Hamlet, on tour'").await;
    mara.types("openprod settings get").await.ok();
}
