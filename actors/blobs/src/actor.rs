//! The actor: it tends the store, off the runtime's threads, and sees to it that what is wanted is fetched.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openprod_messages::blobs::{BlobsMsg, FetchStanding};
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::ids::BlobHash;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::task::JoinSet;

use crate::collect::Library;
use crate::exchange::{Exchange, Neighbours};
use crate::keeping;

/// How often what nothing needs any more is collected. It has waited for months: a day is soon enough.
const COLLECT_EVERY: Duration = Duration::from_hours(24);
/// How long after a start the first collection is: a node that starts has better things to do.
const COLLECT_AFTER: Duration = Duration::from_hours(1);

/// How often files that this node keeps are asked for again: whoever is connected may have got them meanwhile.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// What changes within this time is one reason to look.
const CALM: Duration = Duration::from_secs(1);
/// How many files may be on their way at once: each holds some pieces in memory and a file open.
const MAX_FETCHES: usize = 32;

/// What the room may use.
#[derive(Clone)]
pub struct BlobsArgs {
    /// The files, and what they are compared with. They outlive the actor.
    pub library: Library,
    /// The nodes that may have what is not here.
    pub neighbours: Arc<dyn Neighbours>,
    /// Whether every file that the workspace needs is kept here, asked for or not.
    pub keeps_all: bool,
    /// Threads.
    pub env: Environment,
}

/// What the room has in hand.
pub struct Desk {
    args: BlobsArgs,
    myself: ActorRef<BlobsMsg>,
    fetches: BTreeMap<BlobHash, Weak<watch::Sender<FetchStanding>>>,
    /// Fetches and what keeps files; they end with the room.
    work: JoinSet<()>,
    /// How often there was a reason to look for files to be kept.
    looks: watch::Sender<u64>,
}

/// The blobs room.
pub struct Blobs;

impl Actor for Blobs {
    type Msg = BlobsMsg;
    type State = Desk;
    type Arguments = BlobsArgs;

    async fn pre_start(&self, myself: ActorRef<BlobsMsg>, args: BlobsArgs) -> Result<Desk, ActorProcessingErr> {
        // Nobody waits for it: what was broken off only takes room.
        let (env, library) = (args.env.clone(), args.library.clone());
        tokio::spawn(async move { env.offload(move || clear_up(&library)).await });
        myself.send_after(COLLECT_AFTER, || BlobsMsg::Tend);
        Ok(Desk::new(args, myself))
    }

    async fn handle(
        &self,
        _: ActorRef<BlobsMsg>,
        message: BlobsMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            BlobsMsg::Fetch { hash, reply } => drop(reply.send(desk.fetch(hash))),
            BlobsMsg::Look => desk.looks.send_modify(|count| *count += 1),
            BlobsMsg::Tend => desk.tend().await,
            BlobsMsg::Close { reply } => desk.close(reply).await,
        }
        Ok(())
    }
}

impl Desk {
    fn new(args: BlobsArgs, myself: ActorRef<BlobsMsg>) -> Self {
        let (looks, reasons) = watch::channel(0);
        let mut work = JoinSet::new();
        work.spawn(keep(args.clone(), myself.clone(), reasons));
        Self { args, myself, fetches: BTreeMap::new(), work, looks }
    }

    /// How the fetch of a file goes, which begins unless it is under way; none if too many are.
    fn fetch(&mut self, hash: BlobHash) -> Option<watch::Receiver<FetchStanding>> {
        while self.work.try_join_next().is_some() {}
        self.fetches.retain(|_, shown| shown.strong_count() > 0);
        if let Some(shown) = self.fetches.get(&hash).and_then(Weak::upgrade) {
            return Some(shown.subscribe());
        }
        if self.fetches.len() >= MAX_FETCHES {
            return None;
        }
        let BlobsArgs { library, neighbours, env, .. } = self.args.clone();
        let (shown, standing) = watch::channel(FetchStanding::BEGUN);
        let shown = Arc::new(shown);
        self.fetches.insert(hash, Arc::downgrade(&shown));
        self.work.spawn(Exchange { store: library.store, neighbours, env }.fetch(hash, shown));
        Some(standing)
    }

    async fn tend(&self) {
        let library = self.args.library.clone();
        self.args.env.offload(move || collect(&library)).await;
        self.myself.send_after(COLLECT_EVERY, || BlobsMsg::Tend);
    }

    async fn close(&mut self, reply: RpcReplyPort<()>) {
        self.work.shutdown().await;
        let library = self.args.library.clone();
        self.args.env.offload(move || library.store.close()).await;
        // Whoever asked may have given up waiting.
        let _ = reply.send(());
    }
}

/// Gets the files that are to be kept, whenever there is a reason to look: somebody came, something was written or
/// pinned, or time went by.
async fn keep(args: BlobsArgs, room: ActorRef<BlobsMsg>, mut reasons: watch::Receiver<u64>) {
    let BlobsArgs { library, neighbours, keeps_all, env } = args;
    let (mut there, mut folded) = (neighbours.there(), library.snapshots.folded());
    loop {
        tokio::select! {
            biased;
            Ok(()) = there.changed() => {}
            Ok(()) = folded.changed(), if keeps_all => {}
            Ok(()) = reasons.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::time::sleep(CALM).await;
        let is_anybody_there = !there.borrow_and_update().is_empty();
        folded.mark_unchanged();
        reasons.mark_unchanged();
        if is_anybody_there {
            keeping::keep(library.clone(), keeps_all, env.clone(), room.clone()).await;
        }
    }
}

fn clear_up(library: &Library) {
    match library.store.clear_up() {
        Ok(cleared) if cleared == crate::care::Cleared::default() => {}
        Ok(cleared) => tracing::info!(?cleared, "what was left of files was cleared up"),
        Err(error) => tracing::warn!(%error, "files could not be looked through; new ones may still be taken"),
    }
}

fn collect(library: &Library) {
    match library.collect(false) {
        Ok(collected) if collected.blobs.is_empty() => {}
        Ok(collected) => {
            tracing::info!(files = collected.blobs.len(), bytes = collected.freed, "files were collected");
        }
        Err(error) => tracing::warn!(%error, "no files were collected"),
    }
}
