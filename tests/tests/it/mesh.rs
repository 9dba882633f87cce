//! Nodes that work as one: what is written on one is seen on the other, at once or after a weekend apart.

use openprod_client::v1;

use crate::world::{Setup, World, row};

#[tokio::test]
async fn what_is_written_on_one_node_is_seen_on_the_other_and_both_know_that_they_are_equal() {
    let (_world, mara, _tour, leo) = World::at_two_nodes().await;

    leo.sets("LX 1", "label", "Noon").await;
    mara.comes_to_see("LX 1", "label", "Noon").await;
    mara.sets("LX 1", "label", "Dusk").await;
    leo.comes_to_see("LX 1", "label", "Dusk").await;

    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    assert_eq!(mara.is_equal_at(bundles).await.verified_bundles, leo.is_equal_at(bundles).await.verified_bundles);
    let is_equal =
        |peer: &v1::Peer| peer.connection.iter().flat_map(|one| &one.sharing).any(|one| one.verified_ms.is_some());
    assert!(mara.watches_peers(is_equal).await >= 1);
    let silent = mara.knows_peers().await.peers[0].connection.as_ref().unwrap().silent_ms;
    assert!(silent < 5_000, "both say something every two seconds, not after {silent} ms");
    mara.types("openprod peers").await.ok().says("Hamlet: equal at");
    assert_eq!(mara.finds_all_well().await.state_hash, leo.finds_all_well().await.state_hash);
}

#[tokio::test]
async fn after_a_time_apart_both_have_everything_and_what_they_disagree_on_is_a_conflict_on_both() {
    let (mut world, mara, mut tour, leo) = World::at_two_nodes().await;
    mara.comes_to_see("LX 1", "label", "Dawn").await;

    tour.dies();
    mara.sets("LX 1", "label", "Noon").await;
    for number in 2..20 {
        mara.adds("cues", &format!("LX {number}"), row!["label" => "Home"]).await;
    }
    world.house.dies();
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Dusk").await;
    world.house.comes_back().await;
    // Both have other ports now, and nothing tells them of each other but a person.
    mara.names_peer(&leo.is_dialled_at().await).await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    mara.is_equal_at(bundles + 1).await;
    leo.is_equal_at(bundles + 1).await;
    assert_eq!(leo.sees("LX 19", "label").await, "Home");
    for person in [&mara, &leo] {
        let disputes = person.disputes(v1::ListConflictsRequest::default()).await;
        let [conflict] = &disputes[..] else { panic!("{disputes:?}") };
        assert!(conflict.sentence.contains("Mara (") && conflict.sentence.contains("Leo ("), "{}", conflict.sentence);
    }
    assert_eq!(mara.finds_all_well().await.state_hash, leo.finds_all_well().await.state_hash);
}

#[tokio::test]
async fn what_is_written_behind_a_removal_is_given_to_the_removed_not_even_in_the_first_moment() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let (_tour, leo) = world.joined_by("Leo", &mara).await;
    leo.comes_to_see("LX 1", "label", "Dawn").await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await;
    leo.is_equal_at(bundles.len() as u64).await;

    mara.removes_node_of(&leo).await;
    mara.sets("LX 1", "label", "Noon").await;
    leo.sees_peer(|peer| peer.state() != v1::PeerState::Connected).await;
    assert_eq!(leo.reads_history(v1::ListBundlesRequest::default()).await, bundles);
    assert_eq!(leo.sees("LX 1", "label").await, "Dawn");
}

/// Bytes that do not compress, of a few pieces.
fn recording(seed: u8, size: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    let mut bytes = vec![0; size];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn a_file_that_is_on_another_node_comes_when_somebody_opens_it() {
    let mut world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["sound blob"]).await;
    mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
    let (tour, leo) = world.joined_by("Leo", &mara).await;
    let storm = recording(1, 3_000_000);
    mara.refers("I.1", "sound", &storm, "storm.wav").await;
    let hash = mara.puts_file(&storm).await.hash;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    leo.is_equal_at(bundles).await;

    assert_eq!(leo.looks_at_file(&hash).await.availability(), v1::BlobAvailability::Unavailable);
    assert_eq!(leo.gets_part(&hash, 2_999_990, 0).await.unwrap(), storm[2_999_990..]);
    assert_eq!(leo.looks_at_file(&hash).await.availability(), v1::BlobAvailability::Here);

    let (rain, wind) = (recording(2, 700_000), recording(3, 10));
    let (rain_hash, wind_hash) = (mara.puts_file(&rain).await.hash, mara.puts_file(&wind).await.hash);
    let (blob, told) = leo.fetches_file(&rain_hash).await.unwrap();
    assert_eq!((blob.availability(), blob.size), (v1::BlobAvailability::Here, 700_000));
    assert!(told.iter().all(|progress| progress.done <= 3 * 256 * 1024), "{told:?}");
    leo.types(&format!("openprod blob fetch {wind_hash}")).await.ok().says("here");
    assert_eq!(leo.gets_file(&wind_hash).await.unwrap(), wind);

    // The node that had it is gone: what was fetched stays, what was not says where it stands.
    let late = mara.puts_file(b"a late thought").await.hash;
    world.house.dies();
    assert_eq!(leo.gets_file(&hash).await.unwrap(), storm);
    leo.sees_peer(|peer| peer.state() != v1::PeerState::Connected).await;
    let refused = leo.gets_file(&late).await.unwrap_err();
    assert_eq!(refused.reason(), Some(v1::Reason::BlobUnavailable), "{refused}");
    leo.types(&format!("openprod blob fetch {late}")).await.fails(1).says("is not on this node").says("another node");
    drop(tour);
}

#[tokio::test]
async fn a_deleted_file_is_given_to_no_node_and_a_pinned_one_comes_by_itself() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["plan blob"]).await;
    let (_tour, leo) = world.joined_by("Leo", &mara).await;
    let (plan, old) = (recording(4, 300_000), recording(5, 300_000));
    let (plan_hash, old_hash) = (mara.puts_file(&plan).await.hash, mara.puts_file(&old).await.hash);
    mara.deletes_file(&old_hash, "drawn anew").await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    leo.is_equal_at(bundles).await;
    assert_eq!(leo.gets_file(&old_hash).await.unwrap_err().reason(), Some(v1::Reason::BlobDeleted));
    assert_eq!(leo.fetches_file(&old_hash).await.unwrap_err().reason(), Some(v1::Reason::BlobDeleted));

    leo.pins_file(&plan_hash).await;
    leo.has_file(&plan_hash).await;
    assert_eq!(leo.gets_file(&plan_hash).await.unwrap(), plan);
}

#[tokio::test]
async fn a_node_that_keeps_all_files_gets_what_fields_say_and_nothing_else() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["plan blob"]).await;
    mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
    let (_venue, leo) = world.joined_by_keeper("Leo", &mara).await;
    let (plan, loose) = (recording(6, 600_000), recording(7, 10_000));
    let (plan_hash, loose_hash) = (mara.puts_file(&plan).await.hash, mara.puts_file(&loose).await.hash);
    mara.refers("I.1", "plan", &plan, "plan.pdf").await;
    leo.has_file(&plan_hash).await;
    assert_eq!(leo.lists_files().await.iter().map(|blob| blob.hash.as_str()).collect::<Vec<_>>(), [plan_hash]);
    assert_eq!(leo.looks_at_file(&loose_hash).await.availability(), v1::BlobAvailability::Unavailable);
}
