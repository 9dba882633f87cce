//! Scenario C: import with preview. A cast list goes into an overlay, a typo is mended there, and all of it is committed
//! as one bundle; or it is discarded and leaves no trace.

use openprod_client::v1;

use crate::world::{Person, World};

/// Fifty people: three of them are in the show already, with other roles; one of the others has a typo.
fn cast() -> String {
    let known = "Jane Doe,Viola,18:00\nAlex Moreau,Orsino,17:30\nSamira Haddad,Olivia,17:30\n";
    let new: String = (1..47).fold(String::new(), |rows, n| rows + &format!("Player {n:02},Ensemble,19:00\n"));
    format!("name,role,call\n{known}{new}Jon Smiht,Feste,18:30\n")
}

async fn three_people_are_there(world: &World) -> (Person, Person) {
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    world.file("known.csv", "name,role,call\nJane Doe,tbd,18:00\nAlex Moreau,tbd,17:30\nSamira Haddad,tbd,17:30\n");
    mara.types("openprod import known.csv --table cast --key name --commit").await.ok();
    world.file("cast.csv", cast());
    (mara, leo)
}

#[tokio::test]
async fn a_cast_list_is_looked_at_mended_and_committed_as_one_bundle() {
    let world = World::new().await;
    let (mara, leo) = three_people_are_there(&world).await;
    let before = leo.everything().await;

    let imported = mara.types("openprod import cast.csv --table cast --key name").await.ok();
    imported.says("47 new, 3 changed, 0 gone").says("openprod overlay commit").says("openprod overlay discard");
    assert_eq!(mara.lists_overlays().await, ["cast.csv"]);
    assert_eq!(leo.everything().await, before, "nobody else sees it");

    let (counts, _) = mara.previews("cast.csv").await;
    assert_eq!((counts.new_records, counts.changed_records, counts.removed_records), (47, 3, 0));
    let preview = mara.types("openprod overlay preview cast.csv").await.ok();
    preview.says("+ cast Jon Smiht").says("~ cast Jane Doe").says("role: tbd -> Viola").says("47 new, 3 changed");
    mara.types("openprod set cast \"Jon Smiht\" \"name=Jon Smith\" --overlay cast.csv")
        .await
        .ok()
        .says("in the overlay");
    mara.types("openprod query 'role == \"Feste\"' --table cast --overlay cast.csv").await.ok().says("Jon Smith");
    mara.types("openprod explain cast \"Jane Doe\" role --overlay cast.csv").await.ok().says("Viola").says("(staged)");

    mara.types("openprod overlay commit cast.csv").await.ok().says("Committed");
    assert!(mara.lists_overlays().await.is_empty());
    let names = leo.lists("cast").await;
    assert!(names.len() == 50 && names.contains(&"Jon Smith".to_owned()) && !names.contains(&"Jon Smiht".to_owned()));
    let history = leo.reads_history(v1::ListBundlesRequest::default()).await;
    assert_eq!(history[0], "Mara: Import cast.csv into cast", "one bundle: {history:?}");
    let bundle = leo.workspace().pages(v1::ListBundlesRequest::default()).all().await.unwrap().remove(0);
    let source = bundle.source.clone().unwrap();
    assert_eq!(
        (bundle.kind(), source.kind(), source.name.as_str()),
        (v1::BundleKind::Overlay, v1::SourceKind::Overlay, "cast.csv")
    );
    assert_eq!(source.hash.len(), 64, "the hash of the file");
    mara.types(&format!("openprod history show {}", bundle.bundle_id)).await.ok().says("cast.csv");

    world.file("cast.csv", cast().replace("Jon Smiht", "Jon Smith"));
    let again = mara.types("openprod import cast.csv --table cast --key name").await.ok();
    again.says("0 new, 0 changed, 0 gone").says("nothing to change");
    assert!(mara.lists_overlays().await.is_empty(), "no overlay is left behind");
    leo.finds_all_well().await;
}

#[tokio::test]
async fn a_cast_list_that_is_discarded_leaves_no_trace() {
    let world = World::new().await;
    let (mara, leo) = three_people_are_there(&world).await;
    let before = leo.everything().await;
    mara.types("openprod import cast.csv --table cast --key name").await.ok();
    mara.types("openprod overlay discard cast.csv").await.fails(2).says("yes");
    mara.types("openprod overlay discard cast.csv --yes").await.ok().says("Discarded");
    assert_eq!(leo.everything().await, before);
    assert!(mara.lists_overlays().await.is_empty());
    mara.types("openprod overlay commit cast.csv").await.fails(1).says("no overlay");
}

#[tokio::test]
async fn what_is_gone_from_the_file_is_counted_and_goes_only_if_that_is_said() {
    let world = World::new().await;
    let (mara, _) = three_people_are_there(&world).await;
    world.file("fewer.csv", "name,role,call\nJane Doe,tbd,18:00\nAlex Moreau,tbd,17:30\n");
    let import = "openprod import fewer.csv --table cast --key name";
    mara.types(import).await.ok().says("0 new, 0 changed, 1 gone").says("--remove-gone").says("nothing to change");
    mara.types(&format!("{import} --remove-gone")).await.ok().says("1 gone").says("Staged");
    let (counts, _) = mara.previews("fewer.csv").await;
    assert_eq!((counts.new_records, counts.changed_records, counts.removed_records), (0, 0, 1));
    assert_eq!(mara.lists("cast").await.len(), 3);
    mara.commits("fewer.csv").await;
    assert_eq!(mara.lists("cast").await, ["Jane Doe", "Alex Moreau"]);
}
