//! Files between nodes: the blobs room's conversations, over the links that the endpoint keeps.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use openprod_blobs::exchange::{self, Answering, Asking, Ended, Neighbour, Neighbours, Talk};
use openprod_links::endpoint::{Link, LinkId, Purpose};
use openprod_links::transport::{Channel, LinkError};
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::ids::WorkspaceId;
use openprod_wire::framing::Frame;

use crate::workspace::Workspace;

/// The nodes with which a workspace exchanges files now. It outlives the blobs room.
pub struct Neighbourhood {
    workspace: WorkspaceId,
    /// While syncing is paused, nobody is there.
    held: watch::Receiver<Option<u64>>,
    links: Mutex<BTreeMap<LinkId, Link>>,
    there: watch::Sender<Vec<Neighbour>>,
}

impl Neighbourhood {
    /// Nobody yet.
    pub fn new(workspace: WorkspaceId, held: watch::Receiver<Option<u64>>) -> Self {
        Self { workspace, held, links: Mutex::default(), there: watch::channel(Vec::new()).0 }
    }

    /// Syncing was paused, which ends what is under way; or goes on.
    pub fn look_again(&self) {
        self.change(|_| {});
    }

    /// A node is connected, and a member.
    pub fn linked(&self, link: &Link) {
        self.change(|links| drop(links.insert(link.id, link.clone())));
    }

    /// It is no longer, or no member any more: conversations with it end.
    pub fn parted(&self, link: LinkId) {
        self.change(|links| drop(links.remove(&link)));
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<LinkId, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<LinkId, Link>)) {
        let mut links = self.links();
        change(&mut links);
        let is_held = self.held.borrow().is_some();
        let there: Vec<_> = links.keys().filter(|_| !is_held).map(|link| Neighbour(link.0)).collect();
        self.there.send_if_modified(|known| {
            let is_news = *known != there;
            known.clone_from(&there);
            is_news
        });
    }

    /// Waits until a node has parted.
    async fn gone(&self, link: LinkId) {
        // The sender is this struct's own, which is borrowed.
        let _ = self.there.subscribe().wait_for(|there| !there.contains(&Neighbour(link.0))).await;
    }
}

impl Neighbours for Neighbourhood {
    fn there(&self) -> watch::Receiver<Vec<Neighbour>> {
        self.there.subscribe()
    }

    fn call(&self, neighbour: Neighbour) -> BoxFuture<'static, Result<Asking, Ended>> {
        let (link, workspace) = (self.links().get(&LinkId(neighbour.0)).cloned(), self.workspace);
        let held = self.held.clone();
        async move {
            let link = link.ok_or_else(|| Ended("it is connected no longer".to_owned()))?;
            let channel = link.open(workspace, Purpose::Files).await.map_err(|error| ended(&error))?;
            Ok(Box::new(UntilHeld { talk: OnChannel(channel), held }) as Asking)
        }
        .boxed()
    }
}

/// Answers a neighbour that asks for a file, for as long as it is one.
pub async fn answer(workspace: Workspace, env: Environment, link: LinkId, channel: Channel) {
    let library = workspace.library.clone();
    let answering: Answering = Box::new(OnChannel(channel));
    tokio::select! {
        biased;
        () = exchange::answer(library, env, answering) => {}
        () = workspace.neighbourhood.gone(link) => {}
    }
}

/// A conversation on a channel of a link.
struct OnChannel(Channel);

impl<Say, Hear> Talk<Say, Hear> for OnChannel
where
    Say: Frame + Send + Sync + 'static,
    Hear: Frame + Send + 'static,
{
    fn say(&mut self, say: Say) -> BoxFuture<'_, Result<(), Ended>> {
        async move { self.0.send.say(&say).await.map_err(|error| ended(&error)) }.boxed()
    }

    fn hear(&mut self) -> BoxFuture<'_, Result<Option<Hear>, Ended>> {
        async { self.0.receive.hear().await.map_err(|error| ended(&error)) }.boxed()
    }
}

/// A conversation that ends when syncing is paused.
struct UntilHeld {
    talk: OnChannel,
    held: watch::Receiver<Option<u64>>,
}

impl<Say, Hear> Talk<Say, Hear> for UntilHeld
where
    Say: Frame + Send + Sync + 'static,
    Hear: Frame + Send + 'static,
{
    fn say(&mut self, say: Say) -> BoxFuture<'_, Result<(), Ended>> {
        Talk::<Say, Hear>::say(&mut self.talk, say)
    }

    fn hear(&mut self) -> BoxFuture<'_, Result<Option<Hear>, Ended>> {
        async {
            tokio::select! {
                biased;
                _ = self.held.wait_for(Option::is_some) => Err(Ended("syncing is paused".to_owned())),
                heard = Talk::<Say, Hear>::hear(&mut self.talk) => heard,
            }
        }
        .boxed()
    }
}

fn ended(error: &LinkError) -> Ended {
    Ended(error.to_string())
}
