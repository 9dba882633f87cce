//! Rooms that die: each of them, at each step of a write, within one process; and a room that keeps dying.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openprod_client::{Endpoint, v1};
use openprod_node::config::{self, Flag};
use openprod_node::workspace::{Condition, Room};
use openprod_node::{node, server, telemetry};
use tokio::sync::oneshot;

use crate::crash::POINTS;
use crate::world::{Names, Person, connected, row};

/// A node within this process: its rooms are at hand.
struct House {
    node: Arc<node::Node>,
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
}

impl House {
    async fn opens() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flag = |name: &str, value: String| Flag { name: name.to_owned(), value };
        let root = folder.path().join("house").display().to_string();
        let flags = vec![flag("data_dir", root), flag("listen", "off".to_owned())];
        let node = node::Node::start(config::resolve(None, &[], flags).unwrap()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (open, opened) = oneshot::channel::<()>();
        let is_open = move |_| open.send(()).unwrap();
        tokio::spawn(server::serve(Arc::clone(&node), telemetry::start(), is_open, async { drop(stopped.await) }));
        opened.await.unwrap();
        Self { node, folder, stop: Some(stop) }
    }

    /// Somebody who has founded a show here and made a table.
    async fn person(&self, show: &str) -> Person {
        let folder = self.folder.path().join("house");
        let client = connected(Endpoint::Socket(folder.join("openprod.sock"))).await;
        let person = Person::sits_down(client, &folder, "Mara", Names::default()).await;
        let id = person.founds(show).await;
        let person = person.in_workspace(id);
        person.makes_table("cues", &["label text"]).await;
        person
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// Strikes once: kills the room when the point is next passed, and gives its death a moment to arrive there.
fn strike(house: &House, person: &Person, point: &str, room: Room) -> Arc<AtomicBool> {
    let workspace = house.node.workspace(person.workspace_id()).unwrap();
    let struck = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&struck);
    let callback = move || {
        if !flag.swap(true, Ordering::SeqCst) {
            workspace.kill(room);
            std::thread::sleep(Duration::from_millis(3));
        }
    };
    fail::cfg_callback(point, callback).unwrap();
    struck
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_room_may_die_at_every_step_of_a_write() {
    let _points = fail::FailScenario::setup();
    let house = House::opens().await;
    for point in POINTS {
        // A fresh workspace for each point: a workspace bears only so many deaths in a minute.
        let mara = house.person(point).await;
        let mut names = Vec::new();
        for room in Room::ALL {
            let struck = strike(&house, &mara, point, room);
            for n in 0..3 {
                let name = format!("{} {n}", room.word());
                mara.adds("cues", &name, row!["label" => point]).await;
                names.push(name);
            }
            assert_eq!(mara.lists("cues").await, names, "{room:?} at {point}");
            assert!(struck.load(Ordering::SeqCst), "{point} is not passed by a write");
            fail::remove(point);
        }
        assert_eq!(
            mara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await.len(),
            names.len() + 2,
            "{point}: each acted once"
        );
        mara.finds_all_well().await;
        assert!(mara.hears_of_disputes().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn conflicts_are_found_again_by_a_room_that_was_killed_over_and_over() {
    let _points = fail::FailScenario::setup();
    let house = House::opens().await;
    let mara = house.person("Hamlet").await;
    let tablet = mara.in_another_browser().await;
    let workspace = house.node.workspace(mara.workspace_id()).unwrap();
    for n in 0..6 {
        let cue = format!("LX {n}");
        mara.adds("cues", &cue, row!["label" => "Dawn"]).await;
        mara.looks(&cue).await;
        tablet.looks(&cue).await;
        mara.sets(&cue, "label", "Noon").await;
        workspace.kill(Room::Conflicts);
        tablet.sets(&cue, "label", "Dusk").await;
        assert_eq!(mara.hears_of_disputes().await.len(), n + 1);
    }
    let all = mara.disputes(v1::ListConflictsRequest::default()).await;
    workspace.kill(Room::Conflicts);
    mara.resolves(&all[0], "Dusk").await;
    assert_eq!(mara.hears_of_disputes().await.len(), 5);
    assert_eq!(mara.asks_how_it_is().await.conflict_count, Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_room_that_keeps_dying_stops_its_workspace_loudly_and_no_other() {
    let _points = fail::FailScenario::setup();
    let house = House::opens().await;
    let (mara, tara) = (house.person("Hamlet").await, house.person("Tosca").await);
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let workspace = house.node.workspace(mara.workspace_id()).unwrap();
    let mut condition = workspace.condition.clone();
    let killer = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        loop {
            every.tick().await;
            workspace.kill(Room::State);
        }
    });
    let over = condition.wait_for(|condition| matches!(condition, Condition::Failed { .. }));
    tokio::time::timeout(Duration::from_mins(1), over).await.expect("it gives up").unwrap();
    killer.abort();
    let over = condition.borrow().clone();
    let Condition::Failed { why } = over else { unreachable!() };
    assert!(why.contains("state"), "{why}");

    let status = mara.asks_how_it_is().await;
    assert_eq!((status.state(), status.why.contains("state")), (v1::WorkspaceState::Failed, true), "{status:?}");
    let refused = mara.fails_at(vec![crate::world::create_record("", "cues", row!["name" => "LX 2"])]).await;
    assert_eq!((refused.reason.as_str(), refused.next.is_empty()), ("WORKSPACE_DOWN", false), "{refused:?}");
    tara.adds("cues", "LX 1", row!["label" => "Dusk"]).await;
    assert_eq!(tara.lists("cues").await, ["LX 1"]);
}
