//! A whole workspace on a stick, with its files: what goes along, what comes in, and what a bad stick costs.

use openprod_client::v1;

use crate::world::{Person, Setup, World, brings_in, row};

/// A scene with a plan: a file of that many bytes, no two alike.
async fn has_plan(person: &Person, scene: &str, bytes: &[u8]) -> String {
    person.adds("scenes", scene, row!["name" => scene]).await;
    person.refers(scene, "plan", bytes, &format!("{scene}.pdf")).await;
    blake3::hash(bytes).to_hex().to_string()
}

/// The bytes of a plan.
fn plan(number: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap() ^ number).collect()
}

/// Mara's show with three files, in the order in which they travel: by their addresses.
async fn with_three_plans(mara: &Person) -> Vec<(String, Vec<u8>)> {
    mara.makes_table("scenes", &["plan blob"]).await;
    let mut plans = Vec::new();
    for (number, length) in [(1, 700_000), (2, 0), (3, 90_000)] {
        let bytes = plan(number, length);
        mara.puts_file(&bytes).await;
        plans.push((has_plan(mara, &format!("I.{number}"), &bytes).await, bytes));
    }
    plans.sort();
    plans
}

async fn has_all(person: &Person, plans: &[(String, Vec<u8>)]) {
    for (hash, bytes) in plans {
        assert!(person.gets_file(hash).await.unwrap() == *bytes, "{hash}");
    }
}

fn blobs(answer: &v1::ImportWorkspaceResponse) -> &v1::ImportedBlobs {
    answer.blobs.as_ref().expect("the file carries some")
}

#[tokio::test]
async fn a_workspace_goes_to_another_node_with_its_files_and_tells_which_did_not_go_along() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    has_plan(&mara, "II.1", b"drawn elsewhere").await;
    let old = b"an old plan";
    mara.puts_file(old).await;
    let deleted = has_plan(&mara, "II.2", old).await;
    mara.deletes_file(&deleted, "drawn anew").await;
    mara.puts_file(b"what no field says").await;
    let told = mara.types("openprod export --workspace-file show.openprod --with-blobs").await.ok();
    told.says("3 files of 771.4 KiB (not: 1 not on this node, 1 deleted)");

    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    let took = leo.types(&format!("openprod restore {}", world.desk().join("show.openprod").display())).await.ok();
    took.says("Took in Hamlet").says("Files: 3 new ones of 771.4 KiB.");
    let leo = leo.in_workspace(mara.workspace_id());
    has_all(&leo, &plans).await;
    leo.finds_all_well().await;
    assert_eq!(leo.verifies_files().await.blobs, 3);

    // Brought twice, nothing is doubled; and what was deleted since does not come back.
    let file = mara.takes_out_with_files().await;
    let again = brings_in(&leo.client, file.clone()).await.unwrap();
    assert_eq!((again.new_bundles, blobs(&again).known_blobs, blobs(&again).new_blobs), (0, 3, 0));
    let without = mara.takes_out().await;
    assert!(brings_in(&leo.client, without).await.unwrap().blobs.is_none());
    mara.deletes_file(&plans[0].0, "cut from the show").await;
    let yard = world.another_node("yard").await;
    let ida = world.visitor(&yard, "Ida").await;
    brings_in(&ida.client, mara.takes_out().await).await.unwrap();
    let late = brings_in(&ida.client, file).await.unwrap();
    assert_eq!((blobs(&late).new_blobs, blobs(&late).unneeded_blobs, blobs(&late).refused_blobs), (2, 1, 0));
}

#[tokio::test]
async fn a_node_that_is_stopped_takes_in_the_files_too() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    let file = world.file("show.openprod", mara.takes_out_with_files().await.concat());
    let mut tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    tour.stops().await;
    leo.types(&format!("openprod restore {}", file.display())).await.ok().says("Restored Hamlet").says("3 new ones");
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    has_all(&leo, &plans).await;
}

#[tokio::test]
async fn bytes_that_are_damaged_on_the_stick_cost_one_file_and_nothing_else() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    let whole = mara.takes_out_with_files().await.concat();
    let content: usize = plans.iter().map(|(_, bytes)| bytes.len()).sum();
    let (hash, first) = plans.iter().find(|(_, bytes)| !bytes.is_empty()).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() - content + first.len() / 2] ^= 1;
    let path = world.file("show.openprod", damaged);

    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    let took = leo.types(&format!("openprod restore {}", path.display())).await;
    took.fails(4).says("Took in Hamlet").says("came damaged").says("1 files were not taken in; everything else was");
    let leo = leo.in_workspace(mara.workspace_id());
    leo.finds_all_well().await;
    assert_eq!(leo.looks_at_file(hash).await.availability(), v1::BlobAvailability::Unavailable);
    let rest: Vec<_> = plans.iter().filter(|(other, _)| other != hash).cloned().collect();
    has_all(&leo, &rest).await;
    let mended = brings_in(&leo.client, whole.chunks(100_000).map(<[u8]>::to_vec).collect()).await.unwrap();
    assert_eq!((blobs(&mended).new_blobs, blobs(&mended).known_blobs, mended.new_bundles), (1, 2, 0));
    has_all(&leo, &plans).await;

    // In the history, no byte may be another.
    let mut altered = whole.clone();
    altered[(whole.len() - content) / 2] ^= 1;
    let yard = world.another_node("yard").await;
    let ida = world.visitor(&yard, "Ida").await;
    brings_in(&ida.client, vec![altered]).await.unwrap_err();
    assert!(ida.client.list_workspaces().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stick_that_is_pulled_out_in_the_middle_has_brought_what_came_before() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    let whole = mara.takes_out_with_files().await.concat();
    let content: usize = plans.iter().map(|(_, bytes)| bytes.len()).sum();
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    // One byte of the last file that has any is missing, and with it all of that file.
    let last = plans.iter().rposition(|(_, bytes)| !bytes.is_empty()).unwrap();
    let cut = brings_in(&leo.client, vec![whole[..whole.len() - 1].to_vec()]).await.unwrap();
    let refused = (plans.len() - last) as u64;
    assert_eq!((blobs(&cut).new_blobs, blobs(&cut).refused_blobs), (last as u64, refused), "{cut:?}");
    assert!(blobs(&cut).reasons[0].contains("cut off"), "{cut:?}");
    let leo = leo.in_workspace(mara.workspace_id());
    has_all(&leo, &plans[..last]).await;
    // Of the files nothing came at all: the history is there.
    let yard = world.another_node("yard").await;
    let ida = world.visitor(&yard, "Ida").await;
    let bare = brings_in(&ida.client, vec![whole[..whole.len() - content].to_vec()]).await.unwrap();
    assert!(bare.new_bundles > 0 && blobs(&bare).refused_blobs >= 2, "{bare:?}");
    let rest = brings_in(&leo.client, vec![whole]).await.unwrap();
    assert_eq!((blobs(&rest).known_blobs, blobs(&rest).refused_blobs), (last as u64, 0));
    has_all(&leo, &plans).await;
}

#[tokio::test]
async fn a_node_that_dies_while_it_takes_files_in_has_whole_ones_only_and_takes_them_in_again() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    let whole = mara.takes_out_with_files().await;
    let mut tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    tour.dies();
    tour.set_up(Setup::faults("blobs-before-rename:2=abort"));
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await;
    brings_in(&leo.client, whole.clone()).await.unwrap_err();
    tour.ends().await;
    tour.set_up(Setup::default());
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    assert!(leo.verifies_files().await.damaged.is_empty());
    let again = brings_in(&leo.client, whole).await.unwrap();
    assert_eq!((again.new_bundles, blobs(&again).refused_blobs), (0, 0));
    has_all(&leo, &plans).await;
}

#[tokio::test]
async fn a_file_that_is_damaged_where_it_comes_from_is_told_on_both_sides() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let plans = with_three_plans(&mara).await;
    let (hash, bytes) = plans.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let rack = world.house.workspace_folder().join("blobs").join(&hash[..2]);
    let name = std::fs::read_dir(&rack).unwrap().map(|entry| entry.unwrap().path());
    let path = name.into_iter().find(|path| path.display().to_string().contains(hash.as_str())).unwrap();
    let mut stored = std::fs::read(&path).unwrap();
    *stored.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &stored).unwrap();
    mara.types("openprod export --workspace-file show.openprod --with-blobs").await.ok().says("(not: 1 damaged here)");
    let file = std::fs::read(world.desk().join("show.openprod")).unwrap();
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    let took = brings_in(&leo.client, file.chunks(500_000).map(<[u8]>::to_vec).collect()).await.unwrap();
    assert_eq!((blobs(&took).new_blobs, blobs(&took).refused_blobs), (2, 1), "{} bytes", bytes.len());
}
