//! The actor: each message goes to the shelf, off the runtime's threads, one after the other.

use std::sync::Arc;
use std::time::Duration;

use openprod_messages::environment::Environment;
use openprod_messages::overlays::{Action, Asked, Changed, OverlaysMsg};
use openprod_messages::watch;
use openprod_model::ids::Position;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::follow::Followed;
use crate::shelf::{Shelf, panicked};

/// How long after a failure the log is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the room may use.
#[derive(Clone)]
pub struct OverlaysArgs {
    /// The overlays, as they are shared with readers. They outlive the actor.
    pub shelf: Arc<Shelf>,
    /// Threads.
    pub env: Environment,
    /// Tells when the log has grown.
    pub appended: watch::Receiver<Position>,
}

/// The overlays room.
pub struct Overlays;

impl Actor for Overlays {
    type Msg = OverlaysMsg;
    type State = OverlaysArgs;
    type Arguments = OverlaysArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<OverlaysMsg>,
        args: OverlaysArgs,
    ) -> Result<OverlaysArgs, ActorProcessingErr> {
        // What cannot be read is told to whoever asks for it.
        args.on_a_thread(Shelf::load).await.ok_or("reading the overlays panicked")?;
        tokio::spawn(tell_of_growth(args.appended.clone(), myself.clone()));
        myself.cast(OverlaysMsg::Appended { through: *args.appended.borrow() })?;
        Ok(args)
    }

    async fn handle(
        &self,
        myself: ActorRef<OverlaysMsg>,
        message: OverlaysMsg,
        room: &mut OverlaysArgs,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OverlaysMsg::Do { action, asked, reply } => room.act(*action, asked, reply).await,
            OverlaysMsg::Activate { session, overlay, reply } => {
                drop(reply.send(room.shelf.activate(session, overlay)));
            }
            OverlaysMsg::Appended { .. } => room.follow(&myself).await,
            OverlaysMsg::Close { reply } => room.close(reply).await,
        }
        Ok(())
    }
}

impl OverlaysArgs {
    /// Does what may wait for the disk; nothing if that panicked.
    async fn on_a_thread<T: Send + 'static>(&self, job: impl FnOnce(&Shelf) -> T + Send + 'static) -> Option<T> {
        let kept = Arc::clone(&self.shelf);
        self.env.offload(move || job(&kept)).await
    }

    async fn act(&self, action: Action, asked: Asked, reply: RpcReplyPort<Changed>) {
        let done = self.on_a_thread(move |shelf| shelf.act(action, asked)).await;
        // Whoever hung up meanwhile can ask again with the same command id.
        let _ = reply.send(done.unwrap_or_else(|| Err(panicked().into())));
    }

    async fn follow(&self, myself: &ActorRef<OverlaysMsg>) {
        if self.on_a_thread(Shelf::follow).await != Some(Followed::Whole) {
            myself.send_after(LOOK_AGAIN_AFTER, || OverlaysMsg::Appended { through: Position::ZERO });
        }
    }

    async fn close(&self, reply: RpcReplyPort<()>) {
        self.on_a_thread(Shelf::close).await;
        // Whoever asked may have given up waiting.
        let _ = reply.send(());
    }
}

/// Passes the fact on, as long as the log and the actor live. One that was missed is told by the next.
async fn tell_of_growth(mut appended: watch::Receiver<Position>, actor: ActorRef<OverlaysMsg>) {
    while appended.changed().await.is_ok() {
        let through = *appended.borrow_and_update();
        if actor.cast(OverlaysMsg::Appended { through }).is_err() {
            return;
        }
    }
}
