//! Nodes with different sets of workspaces: nothing of one reaches a node that is not in it, and what happens to one
//! happens to no other.

use openprod_model::ids::WorkspaceId;

use crate::world::{Node, Person, Setup, World, below, row};

/// Three shows in one house; the touring van has the first two, the workshop the last two.
struct Season {
    world: World,
    van: Node,
    workshop: Node,
    /// Mara at the house, in each show.
    mara: [Person; 3],
    /// Leo in the van, in Hamlet and Macbeth.
    leo: [Person; 2],
    /// Ava in the workshop, in Macbeth and Tosca.
    ava: [Person; 2],
}

const SHOWS: [&str; 3] = ["Hamlet", "Macbeth", "Tosca"];

impl Season {
    async fn begins() -> Self {
        let world = World::with(Setup::among_peers()).await;
        let hamlet = world.person("Mara").await;
        let (macbeth, tosca) = (hamlet.founds(SHOWS[1]).await, hamlet.founds(SHOWS[2]).await);
        let elsewhere = async |show| hamlet.in_another_browser().await.in_workspace(show);
        let mara = [hamlet.clone(), elsewhere(macbeth).await, elsewhere(tosca).await];
        for show in &mara {
            show.makes_table("cues", &["label text"]).await;
            show.adds("cues", &first_cue(show), row!["label" => "Dawn"]).await;
        }
        let (van, workshop) = (world.another_node("van").await, world.another_node("workshop").await);
        let leo = joins(&world.visitor(&van, "Leo").await, [&mara[0], &mara[1]]).await;
        let ava = joins(&world.visitor(&workshop, "Ava").await, [&mara[1], &mara[2]]).await;
        leo[0].names_peer(&ava[0].is_dialled_at().await).await;
        Self { world, van, workshop, mara, leo, ava }
    }
}

/// The first cue of a show, so named that no two shows have the same.
fn first_cue(person: &Person) -> String {
    format!("LX of {}", person.workspace_id())
}

/// Somebody joins two shows, and sees what is in them.
async fn joins(guest: &Person, shows: [&Person; 2]) -> [Person; 2] {
    let joins = async |show: &Person| {
        let ticket = show.invites(1).await.ticket;
        guest.types(&format!("openprod join {ticket}")).await.ok();
        let guest = guest.in_another_browser().await.in_workspace(show.workspace_id());
        guest.is_a_member().await;
        guest.comes_to_see(&first_cue(show), "label", "Dawn").await;
        guest
    };
    [joins(shows[0]).await, joins(shows[1]).await]
}

/// Whether some file of a node says this.
fn says(node: &Node, what: &[u8]) -> bool {
    below(node.folder()).iter().any(|file| {
        let bytes = std::fs::read(node.folder().join(file)).unwrap_or_default();
        file.as_bytes().windows(what.len()).any(|part| part == what)
            || bytes.windows(what.len()).any(|part| part == what)
    })
}

fn has_heard_of(node: &Node, name: &str, id: WorkspaceId) -> bool {
    let spoken = node.has_said(name) || node.has_said(&id.to_string());
    spoken || [name.as_bytes(), id.to_string().as_bytes(), id.as_bytes()].iter().any(|what| says(node, what))
}

#[tokio::test]
async fn nobody_learns_of_a_workspace_that_he_is_not_in_and_a_removal_is_of_one_workspace() {
    let season = Season::begins().await;
    let Season { mara, leo, ava, van, workshop, .. } = &season;
    // The two guests have met, and share the one show that both have.
    leo[1].sets(&first_cue(&mara[1]), "label", "Noon").await;
    ava[0].comes_to_see(&first_cue(&mara[1]), "label", "Noon").await;
    let key = ava[0].knows_peers().await.key;
    let peers = leo[0].knows_peers().await.peers;
    let between = peers.iter().find(|peer| peer.key == key).and_then(|peer| peer.connection.clone());
    let shared = between.expect("the van and the workshop are connected").workspaces;
    assert_eq!(shared, [mara[1].workspace_id().to_string()]);
    assert_eq!(leo[0].lists_workspaces().await, ["Hamlet", "Macbeth"]);
    assert_eq!(ava[0].lists_workspaces().await, ["Macbeth", "Tosca"]);
    assert!(has_heard_of(van, SHOWS[0], mara[0].workspace_id()), "the search finds what is there");
    assert!(!has_heard_of(van, SHOWS[2], mara[2].workspace_id()));
    assert!(!has_heard_of(workshop, SHOWS[0], mara[0].workspace_id()));

    mara[0].removes_node_of(&leo[0]).await;
    mara[0].shares_with(&leo[0], 1).await;
    mara[1].sets(&first_cue(&mara[1]), "label", "Dusk").await;
    leo[1].comes_to_see(&first_cue(&mara[1]), "label", "Dusk").await;
    mara[0].sets(&first_cue(&mara[0]), "label", "Dusk").await;
    // What is written later in the other show has come, so this would have.
    mara[1].sets(&first_cue(&mara[1]), "label", "Night").await;
    leo[1].comes_to_see(&first_cue(&mara[1]), "label", "Night").await;
    assert_eq!(leo[0].sees(&first_cue(&mara[0]), "label").await, "Dawn", "the van gets nothing more of Hamlet");
}

#[tokio::test]
async fn a_workspace_that_is_broken_on_one_node_hurts_no_other() {
    let mut season = Season::begins().await;
    let broken = season.mara[2].workspace_id();
    season.world.house.dies();
    let log = season.world.house.folder().join(format!("workspaces/{broken}/log.redb"));
    // Not a damaged log, which would be put aside and fetched again from others: no log can be there at all.
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    season.world.house.comes_back().await;
    let at_home = season.mara[0].through(season.world.house.socket()).await;
    at_home.names_peer(&season.leo[0].is_dialled_at().await).await;
    let status = at_home.types("openprod status").await.ok();
    status.says("Hamlet").says("Macbeth").says(&format!("{broken}")).says("failed");
    for show in 0..2 {
        let cue = first_cue(&season.mara[show]);
        let here = season.mara[show].through(season.world.house.socket()).await;
        here.sets(&cue, "label", "Dusk").await;
        season.leo[show].comes_to_see(&cue, "label", "Dusk").await;
    }
    // What is broken at the house is whole in the workshop.
    let cue = first_cue(&season.mara[2]);
    season.ava[1].sets(&cue, "label", "Dusk").await;
    assert_eq!(season.ava[1].sees(&cue, "label").await, "Dusk");
}
