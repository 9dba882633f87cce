//! Pages: a long answer comes in parts, none of them too large to be received, and the parts are the whole.

use openprod_client::v1;

use crate::world::{Person, World, row};

const SCRIPTS: [&str; 5] = ["Act 1", "Act 2", "Act 3", "Act 4", "Act 5"];

/// Five records, of which three are too much for one message.
async fn a_long_play() -> (World, Person) {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("scripts", &["words text"]).await;
    for act in SCRIPTS {
        mara.adds("scripts", act, row!["words" => "x".repeat(900_000)]).await;
    }
    (world, mara)
}

#[tokio::test]
async fn a_page_is_cut_where_it_would_become_too_large() {
    let (_world, mara) = a_long_play().await;
    let question = v1::ListRecordsRequest { table: "scripts".into(), page_size: 100, ..Default::default() };
    let first = mara.reads(question.clone()).await;
    assert_eq!((first.records.len(), first.next_page_token.is_empty()), (3, false));
    let second = mara.reads(v1::ListRecordsRequest { page_token: first.next_page_token, ..question }).await;
    assert_eq!((second.records.len(), second.next_page_token.as_str()), (2, ""));
    assert_eq!(mara.lists("scripts").await, SCRIPTS);
}

#[tokio::test]
async fn a_page_of_a_query_is_cut_likewise_and_keeps_its_order() {
    let (_world, mara) = a_long_play().await;
    let query = "name >= \"Act 2\" ORDER BY name DESC".to_owned();
    let question = v1::QueryRequest { table: "scripts".into(), query, page_size: 100, ..Default::default() };
    let first = mara.reads(question.clone()).await;
    assert_eq!((first.records.len(), first.next_page_token.is_empty()), (3, false));
    let second = mara.reads(v1::QueryRequest { page_token: first.next_page_token, ..question }).await;
    assert_eq!((second.records.len(), second.next_page_token.as_str()), (1, ""));
    let asked = mara.asks("table == \"scripts\" AND name >= \"Act 2\" ORDER BY name DESC").await;
    assert_eq!(asked, ["Act 5", "Act 4", "Act 3", "Act 2"]);
}
