//! The actor: it tends the store, off the runtime's threads.

use std::time::Duration;

use openprod_messages::blobs::BlobsMsg;
use openprod_messages::environment::Environment;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::collect::Library;

/// How often what nothing needs any more is collected. It has waited for months: a day is soon enough.
const COLLECT_EVERY: Duration = Duration::from_hours(24);
/// How long after a start the first collection is: a node that starts has better things to do.
const COLLECT_AFTER: Duration = Duration::from_hours(1);

/// What the room may use.
#[derive(Clone)]
pub struct BlobsArgs {
    /// The files, and what they are compared with. They outlive the actor.
    pub library: Library,
    /// Threads.
    pub env: Environment,
}

/// The blobs room.
pub struct Blobs;

impl Actor for Blobs {
    type Msg = BlobsMsg;
    type State = BlobsArgs;
    type Arguments = BlobsArgs;

    async fn pre_start(&self, myself: ActorRef<BlobsMsg>, args: BlobsArgs) -> Result<BlobsArgs, ActorProcessingErr> {
        // Nobody waits for it: what was broken off only takes room.
        let (env, library) = (args.env.clone(), args.library.clone());
        tokio::spawn(async move { env.offload(move || clear_up(&library)).await });
        myself.send_after(COLLECT_AFTER, || BlobsMsg::Tend);
        Ok(args)
    }

    async fn handle(
        &self,
        myself: ActorRef<BlobsMsg>,
        message: BlobsMsg,
        room: &mut BlobsArgs,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            BlobsMsg::Tend => room.tend(&myself).await,
            BlobsMsg::Close { reply } => room.close(reply).await,
        }
        Ok(())
    }
}

impl BlobsArgs {
    async fn tend(&self, myself: &ActorRef<BlobsMsg>) {
        let library = self.library.clone();
        self.env.offload(move || collect(&library)).await;
        myself.send_after(COLLECT_EVERY, || BlobsMsg::Tend);
    }

    async fn close(&self, reply: RpcReplyPort<()>) {
        let library = self.library.clone();
        self.env.offload(move || library.store.close()).await;
        // Whoever asked may have given up waiting.
        let _ = reply.send(());
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
