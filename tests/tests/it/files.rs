//! Files: put and got, referred to by fields, missing without harm, deleted with a reason, and never half there.

use std::process::Stdio;

use openprod_client::v1;
use openprod_client::v1::{BlobAvailability, Reason};

use crate::world::{Setup, World, below, row, typed};

/// Bytes that no compression makes smaller.
fn film(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn a_file_is_put_and_got_in_parts_and_takes_room_once() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    let (film, notes) = (film(900_001), b"Enter Hamlet. ".repeat(40_000));
    let kept = mara.puts_file(&film).await;
    assert_eq!(kept.hash, blake3::hash(&film).to_hex().to_string());
    assert_eq!((kept.size, kept.stored_bytes, kept.availability()), (900_001, 900_001, BlobAvailability::Here));
    assert_eq!(leo.gets_file(&kept.hash).await.unwrap(), film);
    assert_eq!(leo.gets_part(&kept.hash, 262_140, 10).await.unwrap(), film[262_140..262_150]);
    assert_eq!(leo.gets_part(&kept.hash, 900_000, 10).await.unwrap(), film[900_000..]);
    assert_eq!(leo.gets_part(&kept.hash, 900_001, 0).await.unwrap(), b"");
    let text = leo.puts_file(&notes).await;
    assert!(text.stored_bytes < text.size / 10, "{text:?}");
    leo.puts_file(&film).await;
    leo.puts_file(b"").await;
    assert_eq!(mara.lists_files().await.len(), 3);
    assert_eq!(below(&world.house.workspace_folder().join("blobs")).len(), 3);
    let report = mara.verifies_files().await;
    assert_eq!((report.blobs, report.bytes, report.damaged.len(), report.gone.len()), (3, 1_460_001, 0, 0));
}

#[tokio::test]
async fn a_field_may_say_a_file_that_is_not_here_and_nothing_else_suffers() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["plan blob"]).await;
    mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
    mara.refers("I.1", "plan", b"drawn elsewhere", "plan.pdf").await;
    let hash = blake3::hash(b"drawn elsewhere").to_hex().to_string();
    let missing = mara.looks_at_file(&hash).await;
    assert_eq!((missing.name.as_str(), missing.size), ("plan.pdf", 15));
    assert_eq!(missing.availability(), BlobAvailability::Unavailable);
    let refused = mara.gets_file(&hash).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::BlobUnavailable), "{refused}");
    mara.types("openprod records scenes").await.ok().says("plan.pdf");
    mara.types("openprod blob list").await.ok().says("plan.pdf").says("not on this node");
    mara.types("openprod blob get plan.pdf").await.fails(1).says("is not on this node").says("another node");
    mara.finds_all_well().await;
    mara.puts_file(b"drawn elsewhere").await;
    assert_eq!(mara.gets_file(&hash).await.unwrap(), b"drawn elsewhere");
    assert_eq!(mara.looks_at_file(&hash).await.availability(), BlobAvailability::Here);
}

#[tokio::test]
async fn a_deleted_file_is_given_to_nobody_until_it_is_restored_or_the_deletion_undone() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    let hash = mara.puts_file(b"an old plan").await.hash;
    mara.deletes_file(&hash, "drawn anew").await;
    let deleted = leo.looks_at_file(&hash).await;
    assert_eq!((deleted.availability(), deleted.deletion_reason.as_str()), (BlobAvailability::Deleted, "drawn anew"));
    let refused = leo.gets_file(&hash).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::BlobDeleted));
    assert!(refused.to_string().contains("Drawn anew"), "{refused}");
    assert!(mara.collects_files().await.blobs.is_empty(), "its bytes stay, so that it can be taken back");
    leo.restores_file(&hash).await;
    assert_eq!(leo.gets_file(&hash).await.unwrap(), b"an old plan");
    mara.deletes_file(&hash, "once more").await;
    mara.undoes().await;
    assert_eq!(leo.gets_file(&hash).await.unwrap(), b"an old plan");
    mara.redoes().await;
    assert_eq!(leo.looks_at_file(&hash).await.deletion_reason, "once more");
    mara.types("openprod history").await.ok().says("Delete file");
}

#[tokio::test]
async fn a_field_that_is_a_file_is_explained_with_whether_it_is_here_and_why_not() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("scenes", &["plan blob"]).await;
    mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
    mara.refers("I.1", "plan", b"the plan", "plan.pdf").await;
    let told = mara.explains("I.1", "plan").await;
    assert!(told.sentence.contains("is the file \"plan.pdf\", written by Mara."), "{}", told.sentence);
    assert!(told.sentence.contains("It is 8 B large, and not on this node"), "{}", told.sentence);
    let hash = mara.puts_file(b"the plan").await.hash;
    assert!(mara.explains("I.1", "plan").await.sentence.ends_with("It is 8 B large, and on this node."));

    leo.deletes_file(&hash, "drawn anew").await;
    let told = mara.explains("I.1", "plan").await;
    assert!(told.sentence.ends_with("It was deleted by Leo: drawn anew."), "{told:?}");
    assert_eq!(told.file.unwrap().availability(), BlobAvailability::Deleted);
    let json = mara.types("openprod explain scenes I.1 plan --json").await.ok().says("deleted by Leo").json();
    assert_eq!(json[0]["file"]["hash"].as_str(), Some(hash.as_str()));
    let bundle = mara.types("openprod history --limit 1 --json").await.ok().json()[0]["bundle_id"].clone();
    let line = format!("openprod history show {}", bundle.as_str().unwrap());
    mara.types(&line).await.ok().says("Delete the file \"plan.pdf\": drawn anew");
}

#[tokio::test]
async fn everything_about_files_can_be_typed() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["plan blob"]).await;
    mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
    let path = world.file("plan of I.1.pdf", film(300_000));
    mara.types(&format!("openprod set scenes I.1 plan=\"@{}\"", path.display())).await.ok();
    mara.types("openprod records scenes").await.ok().says("plan of I.1.pdf").says("300000 application/pdf");
    let put = mara.types(&format!("openprod blob put \"{}\" --json", path.display())).await.ok();
    let hash = put.json()[0]["hash"].as_str().unwrap().to_owned();
    mara.types("openprod blob list").await.ok().says(&hash).says("plan of I.1.pdf").says("here");
    let copy = world.desk().join("copy.pdf");
    mara.types(&format!("openprod blob get {} -o \"{}\"", &hash[..8], copy.display())).await.ok().says("Written to");
    assert_eq!(std::fs::read(&copy).unwrap(), film(300_000));
    mara.types(&format!("openprod blob get {hash} -o \"{}\"", copy.display())).await.fails(1).says("already");
    mara.types("openprod blob pin \"plan of I.1.pdf\"").await.ok().says("pinned");
    mara.types(&format!("openprod blob unpin {hash}")).await.ok().says_nothing_of("pinned");
    mara.types("openprod blob verify").await.ok().says("1 files with 300000 bytes");
    mara.types("openprod blob collect --dry-run").await.ok().says("0 files").says("90 days");
    mara.types("openprod settings put blob_retention_days 0 --type integer").await.ok();
    mara.types("openprod blob collect").await.ok().says("0 files").says("0 days");
    mara.types("openprod settings put blob_retention_days soon").await.fails(1).says("whole number of days");
    mara.types(&format!("openprod blob delete {hash} --reason 'drawn anew'")).await.fails(2);
    mara.types(&format!("openprod blob delete {hash} --reason 'drawn anew' --yes")).await.ok();
    mara.types(&format!("openprod blob get {hash} -o -")).await.fails(1).says("Drawn anew").says("restore");
    mara.types("openprod blob list --json").await.ok().says("\"state\":\"deleted\"");
    mara.types(&format!("openprod blob restore {hash}")).await.ok();
    mara.types("openprod blob get nothing").await.fails(1).says("There is no file");
    mara.types("openprod blob put /").await.fails(1).says("not a file");
    mara.types("openprod set scenes I.1 plan=@/nowhere").await.fails(1).says("/nowhere").says("Nothing was changed");
}

#[tokio::test]
async fn pins_are_of_this_node_and_hold_for_what_is_still_to_come() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let hash = blake3::hash(b"later").to_hex().to_string();
    assert_eq!(mara.pins_file(&hash).await.availability(), BlobAvailability::Unavailable);
    assert!(mara.puts_file(b"later").await.pinned);
    assert!(!mara.unpins_file(&hash).await.pinned);
}

#[tokio::test]
async fn a_file_that_changed_on_the_disk_is_given_to_nobody_and_the_rest_goes_on() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let kept = mara.puts_file(&film(600_000)).await;
    let path = world.house.workspace_folder().join("blobs").join(&kept.hash[..2]).join(&kept.hash);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[400_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(mara.gets_part(&kept.hash, 0, 9).await.unwrap(), film(9), "the first piece is as it was");
    let refused = mara.gets_file(&kept.hash).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::BlobUnavailable), "{refused}");
    let report = mara.verifies_files().await;
    assert_eq!(report.damaged, std::slice::from_ref(&kept.hash));
    assert_eq!(mara.looks_at_file(&kept.hash).await.availability(), BlobAvailability::Damaged);
    mara.types("openprod blob verify").await.fails(1).says(&kept.hash);
    assert_eq!(mara.puts_file(&film(600_000)).await.availability(), BlobAvailability::Here);
    assert_eq!(mara.gets_file(&kept.hash).await.unwrap(), film(600_000));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let error = mara.breaks_off_a_file(&film(900_000)).await;
    assert!(error.to_string().contains("the stick was pulled out"), "{error}");
    assert!(mara.lists_files().await.is_empty());
    mara.puts_file(b"so that whatever was before is over").await;
    assert_eq!(mara.lists_files().await.len(), 1);
}

/// Where a node can be stopped, in the order in which a file that is put passes these points.
const POINTS: [&str; 5] =
    ["blobs-before-sync", "blobs-before-rename", "blobs-after-rename", "blobs-before-commit", "blobs-after-commit"];

#[tokio::test]
async fn the_process_may_die_at_every_step_of_a_put() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    // The index is there already, so that each point is passed by the file that is put.
    mara.puts_file(b"the first").await;
    for (number, point) in POINTS.into_iter().enumerate() {
        world.house.dies();
        world.house.set_up(Setup::faults(&format!("{point}:1=abort")));
        world.house.comes_back().await;
        let path = world.file("film", film(700_000 + number));
        let hash = blake3::hash(&film(700_000 + number)).to_hex().to_string();
        let typed = mara.types(&format!("openprod blob put \"{}\"", path.display())).await;
        assert_ne!(typed.code, 0, "{point}: {typed}");
        let status = world.house.ends().await;
        assert!(!status.success() && world.house.has_said(&format!("fault at {point}")), "{point}: {status}");
        world.house.set_up(Setup::default());
        world.house.comes_back().await;
        let in_incoming = || below(&world.house.workspace_folder().join("blobs/incoming"));
        // A beginning is removed, and what came whole is taken in: either is said.
        if !["blobs-after-commit"].contains(&point) {
            world.house.says("what was left of files was cleared up").await;
        }
        assert!(in_incoming().is_empty(), "{point}: {:?}", in_incoming());
        let known = mara.looks_at_file(&hash).await;
        match known.availability() {
            BlobAvailability::Here => assert_eq!(mara.gets_file(&hash).await.unwrap(), film(700_000 + number)),
            other => assert_eq!(other, BlobAvailability::Unavailable, "{point}"),
        }
        let files = below(&world.house.workspace_folder().join("blobs"));
        let here = mara.lists_files().await.iter().filter(|file| file.added_ms > 0).count();
        assert_eq!(files.len(), here, "{point}: {files:?}");
        mara.types(&format!("openprod blob put \"{}\"", path.display())).await.ok();
    }
    assert!(mara.verifies_files().await.damaged.is_empty());
}

#[tokio::test]
async fn kill_9_may_come_at_any_moment_of_many_puts() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    let path = world.file("film", film(3_000_000));
    for round in 0..4_u64 {
        let mut put = tokio::process::Command::new(crate::world::program());
        put.args(["blob", "put"]).arg(&path).env("OPENPROD_DATA_DIR", world.house.folder());
        let mut put = put.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..round * 400 {
            tokio::task::yield_now().await;
        }
        world.house.dies();
        put.kill().await.unwrap();
        world.house.comes_back().await;
        match mara.gets_file(blake3::hash(&film(3_000_000)).to_hex().as_ref()).await {
            Ok(bytes) => assert!(bytes == film(3_000_000)),
            Err(error) => assert_eq!(error.reason(), Some(Reason::BlobUnavailable), "{error}"),
        }
    }
    mara.puts_file(&film(3_000_000)).await;
    let report: v1::VerifyBlobsReport = mara.verifies_files().await;
    assert_eq!((report.blobs, report.damaged.len(), report.gone.len()), (1, 0, 0));
}

#[tokio::test]
async fn a_backup_holds_the_files_and_gives_them_back() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let (text, film) = (b"Enter Hamlet. ".repeat(40_000), film(400_000));
    let (text_hash, film_hash) = (mara.puts_file(&text).await.hash, mara.puts_file(&film).await.hash);
    let report = mara.backs_up(world.desk().join("saved").to_str().unwrap()).await;
    assert!(report.bytes > 400_000, "{report:?}");
    let mut tour = world.another_node("tour").await;
    tour.stops().await;
    typed(&format!("openprod restore {} --yes", report.path), tour.folder(), &[]).await.ok();
    tour.comes_back().await;
    tour.says("what was left of files was cleared up").await;
    for (hash, bytes) in [(text_hash, text), (film_hash, film)] {
        let copy = world.desk().join(&hash);
        let line = format!("openprod blob get {hash} --output {}", copy.display());
        typed(&line, tour.folder(), &[]).await.ok();
        assert!(std::fs::read(copy).unwrap() == bytes);
    }
}
