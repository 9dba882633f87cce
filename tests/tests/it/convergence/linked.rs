//! Meeting over links: replicas replicate as nodes do, through sessions over a network in memory, all at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openprod_links::replication::comparing::digest_of_heads;
use openprod_links::replication::session::{LinkStanding, Session, SessionArgs};
use openprod_links::transport::memory::{Ether, MemoryNetwork};
use openprod_links::transport::{Channel, Connection, Network};
use openprod_messages::watch;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, Digest};
use ractor::{Actor, ActorCell};
use tokio::sync::mpsc;

use super::company::{Company, Verdict, ensure};

/// How long they may take, in time that passes only when nobody has anything to do.
const PATIENCE: Duration = Duration::from_mins(5);

/// The key of the node that a replica lies on.
fn node(at: usize) -> ActorId {
    Keys::from_seed(&[100 + u8::try_from(at).unwrap(); 32]).actor()
}

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(at).unwrap()], 4433))
}

/// One end of a link.
struct End {
    at: usize,
    standing: watch::Receiver<LinkStanding>,
    session: ActorCell,
    _connection: Arc<dyn Connection>,
}

/// Links between replicas.
pub(super) struct Links {
    networks: Vec<Arc<MemoryNetwork>>,
    ends: Vec<End>,
}

impl Links {
    pub(super) fn among(company: &Company) -> Self {
        let ether = Ether::default();
        let networks = (0..company.replicas.len()).map(|at| ether.node(node(at), address(at))).collect();
        Self { networks, ends: Vec::new() }
    }

    /// Joins two replicas.
    pub(super) async fn join(&mut self, company: &Company, one: usize, other: usize) {
        let (dialler, listener) = (&self.networks[one], &self.networks[other]);
        let (here, there) = tokio::join!(dialler.dial(address(other), Some(node(other))), listener.accept());
        let (here, there) = (here.unwrap(), there.unwrap());
        let (mine, theirs) = tokio::join!(here.open(), there.accept());
        self.begins(company, one, other, here, mine.unwrap()).await;
        self.begins(company, other, one, there, theirs.unwrap()).await;
    }

    async fn begins(
        &mut self,
        company: &Company,
        at: usize,
        peer: usize,
        connection: Arc<dyn Connection>,
        channel: Channel,
    ) {
        let (standing, seen) = watch::channel(LinkStanding::default());
        let (moments, _) = mpsc::channel(1);
        let (own, peer) = (node(at), node(peer));
        let rooms = company.replicas[at].rooms();
        let args = SessionArgs { own, peer, channel, rooms, standing, moments };
        let (session, _) = Actor::spawn(None, Session, args).await.unwrap();
        self.ends.push(End { at, standing: seen, session: session.get_cell(), _connection: connection });
    }

    /// Waits until all have the same heads, and every link says that its ends were compared and are equal there.
    pub(super) async fn are_synced(&mut self, company: &Company) -> Verdict {
        for _ in 0..100_000 {
            if self.synced(company).is_some() {
                return self.are_sound();
            }
            let changes = self.ends.iter_mut().map(|end| Box::pin(end.standing.changed()));
            let in_time = tokio::time::timeout(PATIENCE, futures::future::select_all(changes)).await.is_ok();
            ensure!(in_time, "the links came to a standstill:\n{}", self.told());
        }
        Err("the links never came to rest".to_owned())
    }

    fn synced(&self, company: &Company) -> Option<Digest> {
        let heads = |at: usize| digest_of_heads(company.replicas[at].tail().heads);
        let first = heads(0);
        let same = (1..company.replicas.len()).all(|at| heads(at) == first);
        let told = |end: &End| {
            let standing = end.standing.borrow();
            // An older version's state is another one.
            standing.synced.is_some_and(|synced| synced.heads == first) || standing.not_comparable == Some(first)
        };
        (same && self.ends.iter().all(told)).then_some(first)
    }

    fn are_sound(&self) -> Verdict {
        let is_sound = |end: &End| {
            let standing = end.standing.borrow();
            standing.unexplained == 0 && standing.diverged.is_none() && standing.ended.is_none()
        };
        ensure!(self.ends.iter().all(is_sound), "a link found what it should not:\n{}", self.told());
        Ok(())
    }

    fn told(&self) -> String {
        let told = |end: &End| format!("replica {}: {:?}", end.at, *end.standing.borrow());
        self.ends.iter().map(told).collect::<Vec<_>>().join("\n")
    }

    /// Some of what is under way happens.
    pub(super) async fn go_on_for(&self, turns: usize) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    /// Cuts everything; what was under way is lost.
    pub(super) async fn are_cut(self) {
        for end in self.ends {
            end.session.kill_and_wait(None).await.unwrap();
        }
    }
}

/// Time passes only when nobody has anything to do.
pub(super) fn in_its_own_time() {
    tokio::time::pause();
}

/// Everybody is linked with everybody, or in a line, and replicates until all are equal.
pub(super) async fn everyone_meets(company: &mut Company) -> Verdict {
    in_its_own_time();
    let all = company.replicas.len();
    let in_line = company.dice.one_in(2);
    let mut links = Links::among(company);
    for one in 0..all {
        for other in one + 1..if in_line { (one + 2).min(all) } else { all } {
            links.join(company, one, other).await;
        }
    }
    let verdict = if all > 1 { links.are_synced(company).await } else { Ok(()) };
    links.are_cut().await;
    tokio::time::resume();
    verdict
}
