//! A world to act in: nodes in folders of their own, and people at them.

mod access;
mod doorkeeper;
mod files;
mod identity;
mod mesh;
mod node;
mod person;
mod reading;
mod speak;
mod staging;
mod steward;
mod texts;
mod typing;
mod watcher;
mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openprod_model::ids::WorkspaceId;

pub(crate) use access::{client_of, turned_away};
pub(crate) use doorkeeper::founds_with_recovery_key;
pub(crate) use files::below;
pub(crate) use node::{Node, Setup, program};
pub(crate) use person::{Person, Thing, connected};
pub(crate) use speak::*;
pub(crate) use steward::{brings_in, unpacks_identity, workspace_id};
pub(crate) use typing::typed;
pub(crate) use watcher::told;
pub(crate) use wire::{begins, grpc_web, raw, rest_of};

/// One node, called the house, and whoever sits at it.
pub(crate) struct World {
    pub(crate) house: Node,
    folder: tempfile::TempDir,
    /// How further nodes are set up.
    others: Setup,
    names: Names,
    shows: Mutex<HashMap<String, Show>>,
}

/// What records and edges are called by those who speak of them.
pub(crate) type Names = Arc<Mutex<HashMap<String, Thing>>>;

#[derive(Clone)]
struct Show {
    id: WorkspaceId,
    founder: Person,
}

/// The workspace in which people are, unless it is said otherwise.
pub(crate) const HAMLET: &str = "Hamlet";

impl World {
    /// With a node that listens on its Unix socket only.
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// With a node that is set up otherwise.
    pub(crate) async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let others = Setup { peers: setup.peers.clone(), ..Setup::default() };
        let house = Node::start(&folder.path().join("house"), setup).await;
        Self { house, folder, others, names: Names::default(), shows: Mutex::default() }
    }

    /// A folder for files of this test.
    pub(crate) fn desk(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and tells where it is.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// One more node, with a folder of its own.
    pub(crate) async fn another_node(&self, name: &str) -> Node {
        Node::start(&self.folder.path().join(name), self.others.clone()).await
    }

    /// One more node, set up like this.
    pub(crate) async fn another_node_as(&self, name: &str, setup: Setup) -> Node {
        Node::start(&self.folder.path().join(name), setup).await
    }

    /// Somebody who works on Hamlet at the house. The first one founds it, the others are admitted.
    pub(crate) async fn person(&self, name: &str) -> Person {
        self.person_in(HAMLET, name).await
    }

    /// Somebody who works on that show at the house.
    pub(crate) async fn person_in(&self, show: &str, name: &str) -> Person {
        let person = Person::arrives(&self.house, name, self.names.clone()).await;
        let known = self.shows.lock().unwrap().get(show).cloned();
        if let Some(Show { id, founder }) = known {
            let person = person.in_workspace(id);
            founder.admits(&person).await;
            return person;
        }
        let id = person.founds(show).await;
        let person = person.in_workspace(id);
        self.shows.lock().unwrap().insert(show.to_owned(), Show { id, founder: person.clone() });
        person
    }

    /// Somebody who sits at the house and is a member of nothing.
    pub(crate) async fn stranger(&self, name: &str) -> Person {
        let person = Person::arrives(&self.house, name, self.names.clone()).await;
        let show = self.shows.lock().unwrap().get(HAMLET).map(|show| show.id);
        show.map_or(person.clone(), |id| person.in_workspace(id))
    }

    /// Somebody who sits at another node, and has heard of nothing.
    pub(crate) async fn visitor(&self, node: &Node, name: &str) -> Person {
        Person::arrives(node, name, self.names.clone()).await
    }

    /// Mara at the house, with the cue "LX 1" that says "Dawn", and Leo, who has joined at a node of his own and sees it.
    pub(crate) async fn at_two_nodes() -> (Self, Person, Node, Person) {
        let world = Self::with(Setup::among_peers()).await;
        let mara = world.person("Mara").await;
        mara.makes_table("cues", &["label text"]).await;
        mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
        let (tour, leo) = world.joined_by("Leo", &mara).await;
        leo.comes_to_see("LX 1", "label", "Dawn").await;
        (world, mara, tour, leo)
    }

    /// Somebody at a node of his own who joins the show of another by ticket, and is a member there when this returns.
    pub(crate) async fn joined_by(&self, name: &str, inviter: &Person) -> (Node, Person) {
        self.joined_at(self.others.clone(), name, inviter).await
    }

    /// The same at a node that gets every file of the show.
    pub(crate) async fn joined_by_keeper(&self, name: &str, inviter: &Person) -> (Node, Person) {
        let env = vec![("OPENPROD_KEEP_FILES", "all".to_owned())];
        self.joined_at(Setup { env, ..self.others.clone() }, name, inviter).await
    }

    /// The same at a node that is set up so.
    pub(crate) async fn joined_at(&self, setup: Setup, name: &str, inviter: &Person) -> (Node, Person) {
        let node = Node::start(&self.folder.path().join(name), setup).await;
        let person = Person::arrives(&node, name, self.names.clone()).await;
        let ticket = inviter.invites(1).await.ticket;
        person.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
        let person = person.in_workspace(inviter.workspace_id());
        person.is_a_member().await;
        (node, person)
    }

    /// Somebody who takes Hamlet, as it is at the house, to a node of his own, and goes on working there.
    pub(crate) async fn away(&self, name: &str) -> (Node, Person) {
        let node = self.another_node(name).await;
        let person = Person::arrives(&node, name, self.names.clone()).await;
        let show = self.shows.lock().unwrap().get(HAMLET).cloned().expect("somebody founds Hamlet first");
        show.founder.admits(&person).await;
        brings_in(&person.client, show.founder.takes_out().await).await.unwrap();
        (node, person.in_workspace(show.id))
    }

    /// The lights go out: no process may clean up, and the node is started again.
    pub(crate) async fn pulls_the_plug(&mut self) {
        self.house.dies();
        self.house.comes_back().await;
    }

    /// The node is stopped as it should be, and started again.
    pub(crate) async fn restarts(&mut self) {
        self.house.stops().await;
        self.house.comes_back().await;
    }
}
