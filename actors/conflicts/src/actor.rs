//! The actor: it hears that the state has folded more, and follows, one piece at a time, on a worker.

use std::sync::Arc;
use std::time::Duration;

use openprod_domain::view::{Read, ReadFailure};
use openprod_messages::conflicts::{ConflictsMsg, Standing};
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::{Folded, Snapshots};
use openprod_messages::watch;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{Board, follow};

/// The pause after a failed read. The state sees to its store; this room only waits until it can be read again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the actor may use. It speaks to nobody.
#[derive(Clone)]
pub struct ConflictsArgs {
    /// What it knows; it outlives the actor.
    pub board: Arc<Board>,
    /// The log.
    pub log: Arc<dyn LogReader>,
    /// The state.
    pub snapshots: Arc<dyn Snapshots>,
    /// Threads.
    pub env: Environment,
}

/// The conflicts room's actor.
pub struct Conflicts;

/// What the actor knows between two messages.
pub struct Following {
    args: ConflictsArgs,
    folded: watch::Receiver<Folded>,
    work: Work,
    /// Whether this incarnation has begun. What an earlier one knew is not trusted: it died of something.
    begun: bool,
}

/// What the worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Nothing,
    Follows,
    /// Nothing, until a pause after a failure is over.
    Pauses,
}

impl Actor for Conflicts {
    type Msg = ConflictsMsg;
    type State = Following;
    type Arguments = ConflictsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ConflictsMsg>,
        args: ConflictsArgs,
    ) -> Result<Following, ActorProcessingErr> {
        let folded = args.snapshots.folded();
        ractor::concurrency::spawn(listen(folded.clone(), myself));
        Ok(Following { args, folded, work: Work::Nothing, begun: false })
    }

    async fn post_start(
        &self,
        myself: ActorRef<ConflictsMsg>,
        state: &mut Following,
    ) -> Result<(), ActorProcessingErr> {
        state.go_on(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ConflictsMsg>,
        message: ConflictsMsg,
        state: &mut Following,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ConflictsMsg::Folded => state.go_on(&myself),
            ConflictsMsg::Followed { result } => state.followed(&myself, result),
            ConflictsMsg::TryAgain => state.try_again(&myself),
        }
        Ok(())
    }
}

/// Passes on that the state has folded more, until one of the two is gone.
async fn listen(mut folded: watch::Receiver<Folded>, room: ActorRef<ConflictsMsg>) {
    while folded.changed().await.is_ok() && room.cast(ConflictsMsg::Folded).is_ok() {}
}

impl Following {
    /// Follows the state if it is ahead and the worker is idle.
    fn go_on(&mut self, myself: &ActorRef<ConflictsMsg>) {
        let is_behind = self.args.board.says().position < self.folded.borrow().position;
        if self.work == Work::Nothing && (is_behind || !self.begun) {
            self.start(myself);
        }
    }

    fn start(&mut self, myself: &ActorRef<ConflictsMsg>) {
        self.work = Work::Follows;
        let (args, myself) = (self.args.clone(), myself.clone());
        let known = if self.begun { self.args.board.says() } else { Standing::default() };
        ractor::concurrency::spawn(async move {
            let env = args.env.clone();
            let result = env.offload(move || piece(&args, known)).await;
            let result = result.unwrap_or_else(|| Err(ReadFailure("the worker panicked".into())));
            // An incarnation that is gone does not wait for it.
            drop(myself.cast(ConflictsMsg::Followed { result }));
        });
    }

    fn followed(&mut self, myself: &ActorRef<ConflictsMsg>, result: Read<()>) {
        match result {
            Ok(()) => {
                (self.work, self.begun) = (Work::Nothing, true);
                self.go_on(myself);
            }
            Err(failure) => {
                tracing::warn!(%failure, "conflicts could not be looked for; they will be again");
                self.work = Work::Pauses;
                myself.send_after(PAUSE, || ConflictsMsg::TryAgain);
            }
        }
    }

    fn try_again(&mut self, myself: &ActorRef<ConflictsMsg>) {
        self.work = Work::Nothing;
        self.go_on(myself);
    }
}

/// Follows a piece, and tells everybody.
fn piece(args: &ConflictsArgs, known: Standing) -> Read<()> {
    let snapshot = args.snapshots.snapshot()?;
    let standing = if follow::goes_on(&known, snapshot.position()) {
        follow::further(known, &*snapshot, &*args.log)?
    } else {
        follow::from_scratch(&*snapshot)?
    };
    args.board.put(standing);
    Ok(())
}
