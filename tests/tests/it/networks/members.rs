//! Members who are removed while they are away, and come back.

use std::time::Duration;

use openprod_client::v1;

use super::cables::{Lan, Machine};
use super::crew::Crew;
use super::form;
use crate::world::{admit_member, remove_member};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_removed_member_who_comes_back_gets_nothing_and_gives_nothing_until_he_is_admitted_again() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, to_tour)) = (Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(3).await;
    let key = crew.people[1].knows_peers().await.key;

    to_tour.is_pulled();
    crew.edits(1, 0, "label", "written without knowing").await;
    let commands = vec![remove_member(&key, "lost laptop"), remove_member(&crew.people[1].actor.to_string(), "left")];
    let done = crew.people[0].does(commands).await;
    crew.notes(&done);
    crew.edits(0, 1, "label", "not for Leo").await;
    let (mara, leo) = (crew.people[0].clone(), crew.people[1].clone());
    let (at_mara, at_leo) = (mara.asks_how_it_is().await.revision, leo.asks_how_it_is().await.revision);

    to_tour.is_put_back();
    // A new life, lest the old connection be what tells.
    crew.restarts(1, |_| ()).await;
    let leo_again = crew.people[1].clone();
    let alone = |peer: &v1::Peer| peer.connection.as_ref().is_some_and(|one| one.workspaces.is_empty());
    leo_again.sees_peer(alone).await;
    mara.sees_peer(alone).await;
    leo_again.types("openprod peers").await.ok().says("nothing is shared");
    // A stranger is given time to show a ticket, and then he is sent away.
    while leo_again.knows_peers().await.peers[0].connection.is_some() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    leo_again.types("openprod peers").await.ok().says("not a member");
    assert_eq!(mara.asks_how_it_is().await.revision, at_mara, "nothing of his was taken");
    assert_eq!(leo_again.asks_how_it_is().await.revision, at_leo, "nothing was given to him");

    let back = vec![admit_member(&key, "the node of Leo"), admit_member(&leo.actor.to_string(), "Leo")];
    let done = mara.does(back).await;
    crew.notes(&done);
    // Nobody tells his node but the one that knows.
    crew.agrees(0).await;
    assert_eq!(leo_again.sees("LX 1", "label").await, "not for Leo");
    assert_eq!(mara.sees("LX 0", "label").await, "written without knowing");
    let history = mara.reads_history(v1::ListBundlesRequest::default()).await;
    assert!(history.iter().any(|line| line.starts_with("Leo: ")), "{history:?}");
}
