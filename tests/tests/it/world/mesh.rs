//! What people do with other nodes: name them, let them in, see how it stands.

use std::time::Duration;

use openprod_client::v1;

use super::node::{Node, Setup};
use super::person::Person;
use super::speak::{admit_member, remove_member};

/// Longer than two nodes on one machine take to meet, on the slowest.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than two nodes take that may have just missed a comparison: they make the next within forty seconds.
const PATIENCE_TO_AGREE: Duration = Duration::from_secs(90);

/// The pause between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Person {
    /// The nodes that this one knows, and its own key and addresses.
    pub(crate) async fn knows_peers(&self) -> v1::ListPeersResponse {
        self.client.ask(v1::ListPeersRequest {}).await.unwrap()
    }

    /// Follows how it stands with other nodes until it is as wanted; how often it was told of them until then.
    pub(crate) async fn watches_peers(&self, wanted: impl Fn(&v1::Peer) -> bool) -> usize {
        let mut answers = self.client.watch_peers().await.unwrap();
        let followed = async {
            let mut told = 1;
            while !answers.next().await.unwrap().expect("a watch goes on").peers.iter().any(&wanted) {
                told += 1;
            }
            told
        };
        tokio::time::timeout(PATIENCE, followed).await.expect("it comes to be as wanted")
    }

    /// The workspaces near that can be joined without a ticket.
    pub(crate) async fn looks_around(&self) -> v1::ListNearbyResponse {
        self.client.ask(v1::ListNearbyRequest {}).await.unwrap()
    }

    /// Where the node listens for others.
    pub(crate) async fn is_dialled_at(&self) -> String {
        self.knows_peers().await.listens_on[0].clone()
    }

    /// Names a node by its address.
    pub(crate) async fn names_peer(&self, address: &str) -> v1::AddPeerResponse {
        let message = v1::AddPeerRequest { address: address.to_owned(), key: String::new() };
        self.client.ask(message).await.unwrap()
    }

    /// Takes a node out of the list.
    pub(crate) async fn forgets_peer(&self, peer: &str) {
        self.client.ask(v1::ForgetPeerRequest { peer: peer.to_owned() }).await.unwrap();
    }

    /// Pauses syncing of the workspace; since when it is.
    pub(crate) async fn pauses_sync(&self) -> i64 {
        self.workspace().read(v1::PauseSyncRequest::default()).await.unwrap().paused_ms
    }

    /// Lets it go on.
    pub(crate) async fn resumes_sync(&self) {
        self.workspace().read(v1::ResumeSyncRequest::default()).await.unwrap();
    }

    /// Makes the node at which somebody sits a member.
    pub(crate) async fn lets_in_node_of(&self, other: &Person) {
        let key = other.knows_peers().await.key;
        self.does(vec![admit_member(&key, &format!("the node of {}", other.name))]).await;
    }

    /// Removes the node at which somebody sits.
    pub(crate) async fn removes_node_of(&self, other: &Person) {
        let key = other.knows_peers().await.key;
        self.does(vec![remove_member(&key, "It went home")]).await;
    }

    /// Waits until this node shares so many workspaces with that of somebody.
    pub(crate) async fn shares_with(&self, other: &Person, count: usize) {
        let key = other.knows_peers().await.key;
        let shares = |peer: &v1::Peer| {
            let connection = peer.connection.as_ref().filter(|_| peer.key == key);
            connection.is_some_and(|one| one.workspaces.len() == count)
        };
        let seen = async {
            while !self.knows_peers().await.peers.iter().any(shares) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the two share as many as wanted");
    }

    /// Waits until the only peer is as wanted.
    pub(crate) async fn sees_peer(&self, wanted: impl Fn(&v1::Peer) -> bool) -> v1::Peer {
        let seen = async {
            loop {
                let peers = self.knows_peers().await.peers;
                match peers.first().filter(|peer| wanted(peer)) {
                    Some(peer) => break peer.clone(),
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        if let Ok(peer) = tokio::time::timeout(PATIENCE, seen).await {
            return peer;
        }
        panic!("{} knows {:#?}", self.name, self.knows_peers().await.peers)
    }

    /// Waits until somebody waits to be let in.
    pub(crate) async fn hears_a_knock(&self) {
        let heard = async {
            while self.looks_who_waits().await.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("somebody knocks");
    }

    /// Waits until this person is a member, as far as the own node knows.
    pub(crate) async fn is_a_member(&self) {
        let own = self.actor.to_string();
        let seen = async {
            while self.describes().await.members.iter().all(|member| member.actor != own) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the own node makes its person a member");
    }

    /// Waits until the only peer shares so many workspaces over a connection.
    pub(crate) async fn shares(&self, count: usize) -> v1::PeerConnection {
        let shares = |peer: &v1::Peer| peer.connection.as_ref().is_some_and(|one| one.workspaces.len() == count);
        self.sees_peer(shares).await.connection.unwrap()
    }

    /// Waits until a field says this here.
    pub(crate) async fn comes_to_see(&self, record: &str, column: &str, wanted: &str) {
        let seen = async {
            while self.sees(record, column).await != wanted {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            let peers = self.knows_peers().await.peers;
            panic!("{} sees {:?}, and knows {peers:#?}", self.name, self.sees(record, column).await);
        }
    }

    /// Waits until this node has found the only other one to hold and show the same, and so many bundles.
    pub(crate) async fn is_equal_at(&self, bundles: u64) -> v1::SharedWorkspace {
        let equal = |one: &&v1::SharedWorkspace| one.verified_ms.is_some() && one.verified_bundles >= bundles;
        let is_equal = |peer: &v1::Peer| peer.connection.iter().flat_map(|one| &one.sharing).any(|one| equal(&one));
        let peer = self.sees_peer(is_equal).await;
        peer.connection.unwrap().sharing.iter().find(equal).unwrap().clone()
    }

    /// Waits until this node has found so many others to hold and show the same as itself.
    pub(crate) async fn catches_up_with(&self, others: usize) {
        let is_caught_up = async || {
            let revision = self.asks_how_it_is().await.revision;
            let is_equal = |one: &v1::SharedWorkspace| one.verified_ms.is_some() && one.verified_bundles == revision;
            let peers = self.knows_peers().await.peers;
            let sharing = peers.iter().filter_map(|peer| peer.connection.as_ref());
            sharing.filter(|connection| connection.sharing.iter().any(is_equal)).count() == others
        };
        let seen = async {
            while !is_caught_up().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(PATIENCE_TO_AGREE, seen).await.is_err() {
            let (peers, own) = (self.knows_peers().await.peers, self.asks_how_it_is().await.revision);
            panic!("{} is at {own}, and knows {peers:#?}", self.name);
        }
    }

    /// Waits until some peer is as wanted.
    pub(crate) async fn comes_to_know(&self, wanted: impl Fn(&v1::Peer) -> bool) {
        let known = async {
            while !self.knows_peers().await.peers.iter().any(&wanted) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let is_known = tokio::time::timeout(PATIENCE, known).await.is_ok();
        assert!(is_known, "{} knows {:#?}", self.name, self.knows_peers().await.peers);
    }

    /// Waits until a check of the own node finds nothing any more.
    pub(crate) async fn comes_to_find_all_well(&self) {
        let mended = async {
            while !self.tries_to_verify().await.is_ok_and(|report| report.outcome() == v1::CheckOutcome::Ok) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let is_mended = tokio::time::timeout(PATIENCE_TO_AGREE, mended).await.is_ok();
        assert!(is_mended, "{} still finds {:#?}", self.name, self.verifies().await);
    }

    /// Waits until there is a record of that name here.
    pub(crate) async fn comes_to_have(&self, table: &str, record: &str) {
        let there = async {
            while !self.has_table(table).await || !self.lists(table).await.iter().any(|name| name == record) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let is_there = tokio::time::timeout(PATIENCE_TO_AGREE, there).await.is_ok();
        assert!(is_there, "{} has no {record}, and knows {:#?}", self.name, self.knows_peers().await.peers);
    }

    async fn has_table(&self, table: &str) -> bool {
        let tables =
            self.client.ask(v1::ListTablesRequest { workspace: self.workspace_id().to_string(), ..Default::default() });
        tables.await.is_ok_and(|answer| answer.tables.iter().any(|one| one.name == table))
    }
}

impl Node {
    /// It has the same port when it is started again, as a node has that is installed.
    pub(crate) async fn keeps_its_port(&mut self, somebody: &Person) {
        let peers = somebody.is_dialled_at().await;
        self.set_up(Setup { peers, ..self.setup() });
    }
}
