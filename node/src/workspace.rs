//! A workspace's supervisor: it draws the tree, starts the rooms in order, and starts again those that die.
//!
//! ```text
//! workspace (this actor)
//!  +- oplog      the only writer of history
//!  +- state      folds what the log holds
//!  +- overlays   keeps what is staged, on this node only
//!  +- commands   the one door for writes
//!  +- conflicts  keeps at hand which cells are in conflict
//!  +- blobs      keeps files
//!  +- admission  gives out tickets, and lets in who may join
//!  +- sessions   shares the bundles with other nodes
//! ```
//!
//! One for one: a room that dies is started again after a pause, and nobody else is disturbed, for each rebuilds itself
//! from its store and the log. A workspace whose rooms keep dying is stopped, loudly; other workspaces go on.
//! The stores are opened here and outlive the rooms, so readers go on reading while a room is down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openprod_blobs::actor::{Blobs, BlobsArgs};
use openprod_blobs::collect::Library;
use openprod_blobs::store::Store;
use openprod_commands::actor::{Commands, CommandsArgs};
use openprod_conflicts::Board;
use openprod_conflicts::actor::{Conflicts, ConflictsArgs};
use openprod_links::admission::room::{Admissions, AdmissionsArgs};
use openprod_links::endpoint::EndpointMsg;
use openprod_links::replication::session::Rooms;
use openprod_links::replication::under_way::UnderWay;
use openprod_links::replication::welcome::Welcome;
use openprod_links::sessions::{Doorway, Sessions, SessionsArgs, SessionsMsg};
use openprod_messages::address::Address;
use openprod_messages::admission::{AdmissionMsg, TicketShelf};
use openprod_messages::blobs::BlobsMsg;
use openprod_messages::commands::{CommandsMsg, SharedKeyring};
use openprod_messages::conflicts;
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::oplog::OplogMsg;
use openprod_messages::overlays::{Overlays, OverlaysMsg};
use openprod_messages::snapshot::Snapshots;
use openprod_messages::state::StateMsg;
use openprod_messages::watch;
use openprod_model::ids::{ActorId, Position, WorkspaceId};
use openprod_model::value::Text;
use openprod_oplog::actor::{Oplog, OplogArgs};
use openprod_oplog::store::LogStore;
use openprod_overlays::actor::{Overlays as Overlaying, OverlaysArgs};
use openprod_overlays::shelf::Shelf;
use openprod_overlays::store::OverlayStore;
use openprod_state::StateStore;
use openprod_state::{State, StateArgs};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};

use crate::exchange::Neighbourhood;
use crate::restart::{Restarts, Verdict};
use crate::syncing::Syncing;

/// How a workspace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All rooms live, or are being started again.
    Running,
    /// Stopped, because its rooms kept dying, or it could not be opened.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// Stopped by request.
    Closed,
}

/// What others hold of a workspace: the addresses of its rooms, and its stores for reading. Cheap to clone.
#[derive(Clone)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// The door for writes.
    pub commands: Address<CommandsMsg>,
    /// The oplog, for quarantine and admission.
    pub oplog: Address<OplogMsg>,
    /// The state.
    pub state: Address<StateMsg>,
    /// The log, for reading.
    pub log: Arc<dyn LogReader>,
    /// The same log's store, for backups.
    pub store: Arc<LogStore>,
    /// The state, for reading.
    pub snapshots: Arc<dyn Snapshots>,
    /// The overlays room.
    pub overlays: Address<OverlaysMsg>,
    /// The overlays, for reading.
    pub shelf: Arc<dyn Overlays>,
    /// The cells in conflict, for reading.
    pub conflicts: Arc<dyn conflicts::Conflicts>,
    /// Its files, for whoever puts and reads them.
    pub library: Library,
    /// The admission room.
    pub admission: Address<AdmissionMsg>,
    /// Where channels with other nodes are handed over.
    pub doorway: Doorway,
    /// The nodes with which files are exchanged now.
    pub neighbourhood: Arc<Neighbourhood>,
    /// Whether it syncs.
    pub syncing: Arc<Syncing>,
    /// Who may sync it, by what its state shows.
    pub welcome: Arc<Welcome>,
    /// The blobs room.
    pub blobs: Address<BlobsMsg>,
    /// Tells when the log has grown.
    pub appended: watch::Receiver<Position>,
    /// How it is.
    pub condition: watch::Receiver<Condition>,
    sessions: Address<SessionsMsg>,
    supervisor: Address<WorkspaceMsg>,
}

/// What a workspace is made of.
pub struct Parts {
    /// Its id.
    pub id: WorkspaceId,
    /// Its log.
    pub log: Arc<LogStore>,
    /// Its state.
    pub state: Arc<StateStore>,
    /// Where its overlays lie.
    pub overlays: Box<dyn OverlayStore>,
    /// Its files.
    pub blobs: Arc<Store>,
    /// Whether it keeps every file that the workspace needs.
    pub keeps_all_files: bool,
    /// Where the tickets lie that admit to it.
    pub tickets: Arc<dyn TicketShelf>,
    /// Whether it syncs.
    pub syncing: Syncing,
    /// This node's own key, and what the node is called.
    pub node: (ActorId, Text),
    /// Who has the links with other nodes.
    pub endpoint: Address<EndpointMsg>,
    /// Clock, randomness, threads.
    pub env: Environment,
    /// This node's keys.
    pub keyring: SharedKeyring,
}

/// Messages to the supervisor.
pub enum WorkspaceMsg {
    /// The pause after a death is over. Said by the supervisor to itself.
    Restart(Room),
    /// Kill a room, as a fault would: for tests of what its death causes.
    #[cfg(feature = "failpoints")]
    Kill(Room),
    /// Finish what is queued, close the stores, stop.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}

/// A room of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The only writer of history.
    Oplog,
    /// Folds what the log holds.
    State,
    /// Keeps what is staged.
    Overlays,
    /// The one door for writes.
    Commands,
    /// Keeps at hand which cells are in conflict.
    Conflicts,
    /// Keeps files.
    Blobs,
    /// Gives out tickets, and lets in who may join.
    Admission,
    /// Shares the bundles with other nodes.
    Sessions,
}

impl Room {
    /// All rooms, in the order in which they are started.
    pub const ALL: [Self; 8] = [
        Self::Oplog,
        Self::State,
        Self::Overlays,
        Self::Commands,
        Self::Conflicts,
        Self::Blobs,
        Self::Admission,
        Self::Sessions,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Oplog => "oplog",
            Self::State => "state",
            Self::Overlays => "overlays",
            Self::Commands => "commands",
            Self::Conflicts => "conflicts",
            Self::Blobs => "blobs",
            Self::Admission => "admission",
            Self::Sessions => "sessions",
        }
    }
}

/// The supervisor.
pub struct WorkspaceSupervisor;

/// What the supervisor is started with.
pub struct WorkspaceArgs {
    workspace: Workspace,
    oplog: OplogArgs,
    state: StateArgs,
    overlays: OverlaysArgs,
    commands: CommandsArgs,
    conflicts: ConflictsArgs,
    blobs: BlobsArgs,
    admission: AdmissionsArgs,
    sessions: SessionsArgs,
    condition: watch::Sender<Condition>,
    env: Environment,
}

/// What the supervisor remembers.
pub struct Tree {
    args: WorkspaceArgs,
    living: Vec<(Room, ActorCell)>,
    restarts: Restarts,
}

/// Puts a workspace together and starts it under `parent`.
pub async fn start(parts: Parts, parent: ActorCell) -> Result<Workspace, SpawnErr> {
    let (workspace, args) = assemble(parts);
    let (supervisor, _) = Actor::spawn_linked(None, WorkspaceSupervisor, args, parent).await?;
    workspace.supervisor.moved_to(supervisor);
    Ok(workspace)
}

/// Gives each room the addresses that it may speak to, and nothing else.
fn assemble(parts: Parts) -> (Workspace, WorkspaceArgs) {
    let Parts { id, log, state, overlays, blobs, keeps_all_files, tickets, syncing, node, endpoint, env, keyring } =
        parts;
    let (oplog_at, state_at, commands_at) = (Address::of("oplog"), Address::of("state"), Address::of("commands room"));
    let (overlays_at, sessions_at) = (Address::of("overlays room"), Address::of("sessions room"));
    let (appended, appended_seen) = watch::channel(Position::ZERO);
    let (condition, condition_seen) = watch::channel(Condition::Running);
    let reader: Arc<dyn LogReader> = log.clone();
    let snapshots: Arc<dyn Snapshots> = state.clone();
    let shelf = Arc::new(Shelf::new(overlays, reader.clone(), snapshots.clone(), env.clone()));
    let board = Arc::new(Board::default());
    let library = Library { store: blobs, log: reader.clone(), snapshots: snapshots.clone(), overlays: shelf.clone() };
    let workspace = Workspace {
        id,
        commands: commands_at,
        oplog: oplog_at.clone(),
        state: state_at.clone(),
        log: reader.clone(),
        store: log.clone(),
        snapshots: snapshots.clone(),
        overlays: overlays_at.clone(),
        shelf: shelf.clone(),
        appended: appended_seen.clone(),
        conflicts: board.clone(),
        library: library.clone(),
        blobs: Address::of("blobs room"),
        admission: Address::of("admission room"),
        doorway: Doorway::of(sessions_at.clone()),
        neighbourhood: Arc::new(Neighbourhood::new(id, syncing.held())),
        syncing: Arc::new(syncing),
        welcome: Arc::new(Welcome::new(reader.clone(), snapshots.clone())),
        sessions: sessions_at,
        condition: condition_seen,
        supervisor: Address::of("workspace"),
    };
    let args = WorkspaceArgs {
        oplog: OplogArgs { store: log.clone(), env: env.clone(), state: state_at, appended },
        state: StateArgs { store: state, log: reader.clone(), env: env.clone(), oplog: oplog_at.clone() },
        conflicts: ConflictsArgs { board, log: reader.clone(), snapshots: snapshots.clone(), env: env.clone() },
        blobs: BlobsArgs {
            library,
            neighbours: workspace.neighbourhood.clone(),
            keeps_all: keeps_all_files,
            env: env.clone(),
        },
        overlays: OverlaysArgs { shelf: shelf.clone(), env: env.clone(), appended: appended_seen.clone() },
        sessions: SessionsArgs {
            workspace: id,
            own: node.0,
            rooms: Rooms {
                log: log.clone(),
                snapshots: snapshots.clone(),
                host: workspace.welcome.clone(),
                oplog: oplog_at.clone(),
                held: workspace.syncing.held(),
                keyring: keyring.clone(),
                under_way: UnderWay::default(),
                env: env.clone(),
            },
            endpoint,
            doorway: workspace.doorway.clone(),
        },
        admission: AdmissionsArgs {
            env: env.clone(),
            node: node.0,
            node_name: node.1,
            keyring: keyring.clone(),
            shelf: tickets,
            commands: workspace.commands.clone(),
            log: reader.clone(),
            snapshots: snapshots.clone(),
        },
        commands: CommandsArgs {
            workspace: id,
            env: env.clone(),
            keyring,
            oplog: oplog_at,
            log: reader,
            snapshots,
            overlays: overlays_at,
            shelf,
        },
        workspace: workspace.clone(),
        condition,
        env,
    };
    (workspace, args)
}

impl Workspace {
    /// Finishes what is queued, closes the stores, stops.
    pub async fn close(&self) {
        if self.supervisor.call(|reply| WorkspaceMsg::Close { reply }).await.is_err() {
            tracing::warn!(workspace = %self.id, "the workspace did not close in time; the log is whole all the same");
        }
    }

    /// Pauses syncing with all other nodes, until somebody resumes it. Since when it is paused, in milliseconds since 1970.
    pub fn pause_sync(&self, now_ms: u64) -> io::Result<u64> {
        let since_ms = self.syncing.pause(now_ms)?;
        self.neighbourhood.look_again();
        Ok(since_ms)
    }

    /// Lets syncing go on where it stopped.
    pub fn resume_sync(&self) -> io::Result<()> {
        self.syncing.resume()?;
        self.neighbourhood.look_again();
        Ok(())
    }

    /// Kills a room, as a fault would.
    #[cfg(feature = "failpoints")]
    pub fn kill(&self, room: Room) {
        let _ = self.supervisor.cast(WorkspaceMsg::Kill(room));
    }
}

impl Actor for WorkspaceSupervisor {
    type Msg = WorkspaceMsg;
    type State = Tree;
    type Arguments = WorkspaceArgs;

    async fn pre_start(&self, myself: ActorRef<WorkspaceMsg>, args: WorkspaceArgs) -> Result<Tree, ActorProcessingErr> {
        let mut tree = Tree { args, living: Vec::new(), restarts: Restarts::default() };
        for room in Room::ALL {
            tree.start(room, &myself).await?;
        }
        Ok(tree)
    }

    async fn handle(
        &self,
        myself: ActorRef<WorkspaceMsg>,
        message: WorkspaceMsg,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkspaceMsg::Restart(room) => tree.restart(room, &myself).await,
            #[cfg(feature = "failpoints")]
            WorkspaceMsg::Kill(room) => tree.kill(room),
            WorkspaceMsg::Close { reply } => tree.close(&myself, reply).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<WorkspaceMsg>,
        event: SupervisionEvent,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, why) => {
                tree.died(&who, &why.unwrap_or_else(|| "it was stopped".to_owned()), &myself);
            }
            SupervisionEvent::ActorFailed(who, error) => tree.died(&who, &error.to_string(), &myself),
            _ => {}
        }
        Ok(())
    }
}

impl Tree {
    async fn start(&mut self, room: Room, myself: &ActorRef<WorkspaceMsg>) -> Result<(), SpawnErr> {
        let parent = myself.get_cell();
        let workspace = &self.args.workspace;
        let cell = match room {
            Room::Oplog => {
                let (actor, _) = Actor::spawn_linked(None, Oplog, self.args.oplog.clone(), parent).await?;
                workspace.oplog.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::State => {
                let (actor, _) = Actor::spawn_linked(None, State, self.args.state.clone(), parent).await?;
                workspace.state.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::Overlays => {
                let (actor, _) = Actor::spawn_linked(None, Overlaying, self.args.overlays.clone(), parent).await?;
                workspace.overlays.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::Commands => {
                let (actor, _) = Actor::spawn_linked(None, Commands, self.args.commands.clone(), parent).await?;
                workspace.commands.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::Conflicts => {
                let (actor, _) = Actor::spawn_linked(None, Conflicts, self.args.conflicts.clone(), parent).await?;
                actor.get_cell()
            }
            Room::Blobs => {
                let (actor, _) = Actor::spawn_linked(None, Blobs, self.args.blobs.clone(), parent).await?;
                workspace.blobs.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::Admission => {
                let (actor, _) = Actor::spawn_linked(None, Admissions, self.args.admission.clone(), parent).await?;
                workspace.admission.moved_to(actor.clone());
                actor.get_cell()
            }
            Room::Sessions => {
                let (actor, _) = Actor::spawn_linked(None, Sessions, self.args.sessions.clone(), parent).await?;
                workspace.sessions.moved_to(actor.clone());
                actor.get_cell()
            }
        };
        self.living.push((room, cell));
        Ok(())
    }

    async fn restart(&mut self, room: Room, myself: &ActorRef<WorkspaceMsg>) {
        if self.is_over() {
            return;
        }
        match self.start(room, myself).await {
            Ok(()) => {
                metrics::counter!(crate::telemetry::RESTARTS, "room" => room.word()).increment(1);
                tracing::info!(workspace = %self.args.workspace.id, room = room.word(), "started again");
            }
            Err(error) => self.judge(room, &error.to_string(), myself),
        }
    }

    #[cfg(feature = "failpoints")]
    fn kill(&self, room: Room) {
        if let Some((_, cell)) = self.living.iter().find(|(living, _)| *living == room) {
            cell.kill();
        }
    }

    fn is_over(&self) -> bool {
        *self.args.condition.borrow() != Condition::Running
    }

    fn died(&mut self, who: &ActorCell, why: &str, myself: &ActorRef<WorkspaceMsg>) {
        let Some(index) = self.living.iter().position(|(_, cell)| cell.get_id() == who.get_id()) else { return };
        let (room, _) = self.living.swap_remove(index);
        if !self.is_over() {
            self.judge(room, why, myself);
        }
    }

    fn judge(&mut self, room: Room, why: &str, myself: &ActorRef<WorkspaceMsg>) {
        let workspace = self.args.workspace.id;
        match self.restarts.died(self.args.env.clock.monotonic_ms()) {
            Verdict::Restart { after_ms } => {
                tracing::warn!(%workspace, room = room.word(), why, after_ms, "a room died and will be started again");
                myself.send_after(Duration::from_millis(after_ms), move || WorkspaceMsg::Restart(room));
            }
            Verdict::GiveUp => {
                let why = format!("Its {} kept failing: {why}.", room.word());
                tracing::error!(%workspace, why, "the workspace is stopped");
                self.over(Condition::Failed { why });
                myself.stop(None);
            }
        }
    }

    fn over(&mut self, condition: Condition) {
        self.args.condition.send_replace(condition);
        for (_, cell) in self.living.drain(..) {
            cell.stop(None);
        }
    }

    /// Closes the rooms against the direction of the calls: the door first, the log last.
    async fn close(&mut self, myself: &ActorRef<WorkspaceMsg>, reply: RpcReplyPort<()>) {
        let workspace = self.args.workspace.clone();
        let closed = [
            workspace.commands.call(|reply| CommandsMsg::Close { reply }).await,
            workspace.overlays.call(|reply| OverlaysMsg::Close { reply }).await,
            workspace.blobs.call(|reply| BlobsMsg::Close { reply }).await,
            workspace.oplog.call(|reply| OplogMsg::Close { reply }).await,
            workspace.state.call(|reply| StateMsg::Close { reply }).await,
        ];
        for failure in closed.into_iter().filter_map(Result::err) {
            tracing::warn!(workspace = %workspace.id, %failure, "a room did not close in time");
        }
        self.over(Condition::Closed);
        myself.stop(None);
        // Whoever asked may have given up waiting.
        let _ = reply.send(());
    }
}
