//! The node: its folder, its identities, and the workspaces that it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use openprod_links::endpoint::EndpointMsg;
use openprod_messages::address::Address;
use openprod_messages::admission::TicketShelf;
use openprod_messages::commands::{CommandError, CommandsMsg, Founding, Outcome};
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, CommandId, Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use openprod_wire::admission::modest;
use openprod_wire::recovery::RecoveryKey;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::certificate::{self, Certificate, CertificateError};
use crate::clients::{Clients, ClientsError};
use crate::config::{Config, KeepFiles};
use crate::environment;
use crate::folder::{self, Folder, FolderError, FolderLock, LockError};
use crate::identities::{AllKeys, Identities, Identity, IdentityError, key_at};
use crate::manifest::{self, Manifest};
use crate::migration;
use crate::peers::{Peers, interfaces};
use crate::storage::{self, Stores};
use crate::syncing::Syncing;
use crate::workspace::{self, Condition, Parts, Workspace};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another node has the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A key file cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The list of clients cannot be used.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// There is no certificate for clients on other machines.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The folder's entries could not be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The supervisor did not start.
    #[error("the node's supervisor did not start: {0}")]
    Supervisor(String),
}

/// A workspace of this node, running or not.
#[derive(Clone)]
pub enum Slot {
    /// It was opened; its condition tells how it is since.
    Open(Box<Workspace>),
    /// It could not be opened.
    Closed {
        /// Why, for people.
        why: String,
    },
}

/// A workspace that was made.
pub struct Made {
    /// It.
    pub workspace: Workspace,
    /// What came of its first bundle.
    pub outcome: Outcome,
    /// Its recovery key, known to nobody else and never again; none in an answer that is given again.
    pub recovery: Option<RecoveryKey>,
}

/// A running node.
pub struct Node {
    /// Its configuration.
    pub config: Config,
    /// Its folder.
    pub folder: Folder,
    /// Clock, randomness, threads.
    pub env: Environment,
    /// The actors whose keys it holds.
    pub identities: Arc<Identities>,
    /// The tokens of clients on other machines.
    pub clients: Clients,
    /// What those clients know it by, if it speaks TLS.
    pub certificate: Option<Certificate>,
    /// Where those clients reach it, once its doors are open and if it speaks TLS.
    pub port: OnceLock<SocketAddr>,
    /// The key that it is known by.
    pub device: Keys,
    /// Who speaks with other nodes, if this one does.
    pub endpoint: Address<EndpointMsg>,
    /// All keys that it signs with.
    pub keyring: Arc<AllKeys>,
    /// When it started, by its own clock, in milliseconds since 1970.
    pub started_ms: u64,
    /// Other nodes, once they are spoken with; see [`crate::peers`].
    pub peers: OnceLock<Peers>,
    workspaces: RwLock<BTreeMap<WorkspaceId, Slot>>,
    listed: watch::Sender<()>,
    creating: tokio::sync::Mutex<()>,
    supervisor: ActorRef<()>,
    _lock: FolderLock,
}

impl Node {
    /// Starts a node: locks its folder, reads its keys, opens every workspace in it.
    pub async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let env = environment::real();
        let folder = Folder::open(&config.data_dir)?;
        let lock = folder.lock(jiff::Timestamp::now())?;
        let device = key_at(&folder.node_key(), "node", &*env.random)?;
        let identities = Identities::open(folder.identities(), folder.tokens(), &first_name(), &*env.random)?;
        let clients = Clients::open(folder.clients())?;
        let certificate = config.speaks_tls().then(|| own_certificate(&folder, &config)).transpose()?;
        let supervisor = Actor::spawn(None, NodeSupervisor, ()).await;
        let (supervisor, _) = supervisor.map_err(|error| StartError::Supervisor(error.to_string()))?;
        let identities = Arc::new(identities);
        let node = Arc::new(Self {
            started_ms: env.clock.wall_ms(),
            keyring: Arc::new(AllKeys::new(Arc::clone(&identities), device.clone())),
            identities,
            clients,
            certificate,
            port: OnceLock::new(),
            peers: OnceLock::new(),
            workspaces: RwLock::default(),
            listed: watch::Sender::default(),
            creating: tokio::sync::Mutex::default(),
            config,
            folder,
            env,
            device,
            endpoint: Address::of("endpoint"),
            supervisor,
            _lock: lock,
        });
        for id in node.folder.workspaces()? {
            let folder = node.folder.workspace(id);
            if folder.unfinished().exists() {
                tracing::warn!(workspace = %id, "a workspace whose making was broken off is removed");
                node.unmake(folder.root());
            } else {
                node.open(id).await;
            }
        }
        Ok(node)
    }

    /// Opens a workspace; one that cannot be opened is listed with the reason, and the others go on.
    async fn open(&self, id: WorkspaceId) {
        let slot = match self.try_open(id).await {
            Ok(workspace) => Slot::Open(Box::new(workspace)),
            Err(why) => {
                tracing::error!(workspace = %id, why, "the workspace could not be opened");
                Slot::Closed { why }
            }
        };
        self.list(id, slot);
    }

    async fn try_open(&self, id: WorkspaceId) -> Result<Workspace, String> {
        let folder = self.folder.workspace(id);
        migration::bring_forward(&folder, self.env.clock.wall_ms()).map_err(|error| error.to_string())?;
        manifest::read(&folder.manifest(), id).map_err(|error| error.to_string())?;
        let Stores { log, state, overlays } = storage::open(&folder, id, &self.config)?;
        let blobs = storage::blobs(&folder, id, &self.env);
        let parts = Parts {
            id,
            log,
            state,
            overlays,
            blobs,
            keeps_all_files: self.config.keep_files == KeepFiles::All,
            tickets: Arc::new(TicketFile(folder.tickets())),
            syncing: Syncing::noted_at(folder.sync_paused()),
            node: (self.device.actor(), own_name()),
            endpoint: self.endpoint.clone(),
            env: self.env.clone(),
            keyring: self.keyring.clone(),
        };
        workspace::start(parts, self.supervisor.get_cell()).await.map_err(|error| error.to_string())
    }

    /// Makes a new workspace and its first bundle. If this command made one before, that is the answer.
    pub async fn create(&self, command: CommandId, name: Text, founder: Option<ActorId>) -> Result<Made, CommandError> {
        let unknown =
            || Refusal::new(Reason::UnknownActor, "This node does not hold the founder's keys.").at("founder");
        let founder = founder.or_else(|| self.identities.default_actor()).ok_or_else(unknown)?;
        let founder = self.identities.of(founder).ok_or_else(unknown)?;
        if name.as_str().trim().is_empty() || name.as_str().chars().any(char::is_control) {
            let message = "A workspace needs a name without control characters.";
            return Err(Refusal::new(Reason::InvalidValue, message).at("name").into());
        }
        // A second call with the same command must find what the first one makes.
        let _one_at_a_time = self.creating.lock().await;
        let recovery = Keys::from_seed(&environment::secret(&*self.env.random));
        let founding = self.founding(name, &founder, &recovery);
        if let Some(workspace) = self.created_by(command)? {
            let outcome = found(&workspace, command, founding).await?;
            return Ok(Made { workspace, outcome, recovery: None });
        }
        let id = WorkspaceId::new(self.env.clock.wall_ms(), self.ten());
        let workspace = self.make(id).await?;
        match found(&workspace, command, founding).await {
            Ok(outcome) => {
                self.list_made(&workspace)?;
                Ok(Made { workspace, outcome, recovery: Some(RecoveryKey { workspace: id, keys: recovery }) })
            }
            Err(error) => {
                workspace.close().await;
                self.unmake(self.folder.workspace(id).root());
                Err(error)
            }
        }
    }

    /// Its founder is a member, and so are this node, which syncs it, and the recovery key.
    fn founding(&self, name: Text, founder: &Identity, recovery: &Keys) -> Founding {
        let besides = vec![(self.device.actor(), own_name()), (recovery.actor(), modest("Recovery key"))];
        let (founder, founder_name) = (founder.keys.actor(), founder.name.clone());
        Founding { name, founder, founder_name, besides, recovery: Some(recovery.actor()) }
    }

    /// The workspace whose first bundle was made by this command, as its log remembers.
    fn created_by(&self, command: CommandId) -> Result<Option<Workspace>, CommandError> {
        for (_, slot) in self.workspaces() {
            let Slot::Open(workspace) = slot else { continue };
            let receipt = workspace.log.receipt(command);
            let receipt = receipt.map_err(|failure| CommandError::Unavailable(failure.to_string()))?;
            if receipt.is_some_and(|(position, _)| position == Position(1)) {
                return Ok(Some(*workspace));
            }
        }
        Ok(None)
    }

    /// Takes in a folder that holds a workspace already: one that was imported or restored.
    pub async fn adopt(&self, id: WorkspaceId) -> Result<Workspace, CommandError> {
        match self.try_open(id).await {
            Ok(workspace) => {
                self.list(id, Slot::Open(Box::new(workspace.clone())));
                Ok(workspace)
            }
            Err(why) => Err(CommandError::Unavailable(why)),
        }
    }

    /// An empty workspace, running but not founded and not listed: filled by [`Self::create`] or by an import.
    pub async fn make(&self, id: WorkspaceId) -> Result<Workspace, CommandError> {
        let folder = self.folder.workspace(id);
        if folder.root().exists() {
            let message = "This node has that workspace already.";
            return Err(Refusal::new(Reason::AlreadyExists, message).into());
        }
        let made = folder.create().and_then(|()| folder::write_new(&folder.unfinished(), b""));
        let made =
            made.and_then(|()| manifest::write(&folder.manifest(), &Manifest::new(id, self.env.clock.wall_ms())));
        let result = match made {
            Ok(()) => self.try_open(id).await.map_err(CommandError::Unavailable),
            Err(error) => Err(disk_error(&error)),
        };
        if result.is_err() {
            self.unmake(folder.root());
        }
        result
    }

    /// Finishes and lists a workspace that [`Self::make`] made: from now on a restart opens it.
    pub fn list_made(&self, workspace: &Workspace) -> Result<(), CommandError> {
        let folder = self.folder.workspace(workspace.id);
        let finished = std::fs::remove_file(folder.unfinished())
            .and_then(|()| std::fs::File::open(folder.root()))
            .and_then(|folder| folder.sync_all());
        finished.map_err(|error| disk_error(&error))?;
        self.list(workspace.id, Slot::Open(Box::new(workspace.clone())));
        Ok(())
    }

    /// Removes what is left of a workspace that never held anything.
    pub fn unmake(&self, root: &Path) {
        if let Err(error) = std::fs::remove_dir_all(root) {
            tracing::warn!(folder = %root.display(), %error, "an unfinished workspace could not be removed");
        }
    }

    /// All workspaces.
    pub fn workspaces(&self) -> Vec<(WorkspaceId, Slot)> {
        let workspaces = self.workspaces.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        workspaces.iter().map(|(id, slot)| (*id, slot.clone())).collect()
    }

    /// Tells when a workspace is listed that was not.
    pub fn listed(&self) -> watch::Receiver<()> {
        self.listed.subscribe()
    }

    /// A workspace that runs.
    pub fn workspace(&self, id: WorkspaceId) -> Result<Workspace, Refusal> {
        let slot = self.workspaces().into_iter().find(|(known, _)| *known == id).map(|(_, slot)| slot);
        let down = |why: &str| {
            let message = format!("This workspace is not running. {why}");
            Refusal::new(Reason::WorkspaceDown, message).next("`openprod doctor` tells more.")
        };
        match slot {
            None => Err(unknown_workspace(id)),
            Some(Slot::Closed { why }) => Err(down(&why)),
            Some(Slot::Open(workspace)) => {
                let condition = workspace.condition.borrow().clone();
                match condition {
                    Condition::Running => Ok(*workspace),
                    Condition::Failed { why } => Err(down(&why)),
                    Condition::Closed => Err(down("It was closed.")),
                }
            }
        }
    }

    /// Whether every workspace that could be opened has folded all of its log.
    pub fn is_ready(&self) -> bool {
        self.workspaces().into_iter().all(|(_, slot)| match slot {
            Slot::Closed { .. } => true,
            Slot::Open(workspace) => {
                let folded = workspace.snapshots.folded().borrow().position;
                workspace.log.tail().map_or(true, |tail| folded >= tail.position)
            }
        })
    }

    /// Closes all workspaces, within `patience`; what is not closed by then is whole all the same (I-1).
    pub async fn stop(&self, patience: Duration) {
        if let Some(peers) = self.peers.get() {
            peers.stop();
        }
        let all = self.workspaces().into_iter().filter_map(|(_, slot)| match slot {
            Slot::Open(workspace) => Some(async move { workspace.close().await }),
            Slot::Closed { .. } => None,
        });
        if tokio::time::timeout(patience, futures::future::join_all(all)).await.is_err() {
            tracing::warn!("some workspaces took too long to close");
        }
        self.supervisor.stop(None);
    }

    fn ten(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.env.random.fill(&mut bytes);
        bytes
    }

    fn list(&self, id: WorkspaceId, slot: Slot) {
        self.write().insert(id, slot);
        self.listed.send_replace(());
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<WorkspaceId, Slot>> {
        self.workspaces.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What is said of a workspace that is not there.
pub fn unknown_workspace(id: WorkspaceId) -> Refusal {
    Refusal::new(Reason::UnknownWorkspace, format!("This node has no workspace {id}.")).at("workspace")
}

/// Makes the first bundle of a workspace, or gives the first answer again.
async fn found(workspace: &Workspace, command: CommandId, founding: Founding) -> Result<Outcome, CommandError> {
    let founding = Box::new(founding);
    let message = |reply| CommandsMsg::Found { command, founding, reply };
    let outcome = workspace.commands.call(message).await;
    outcome.map_err(|none| CommandError::Unavailable(none.to_string()))?
}

/// What the first identity is called: what the system calls the user.
fn first_name() -> String {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "Me".to_owned())
}

fn own_certificate(folder: &Folder, config: &Config) -> Result<Certificate, CertificateError> {
    Certificate::open(&folder.certificate(), certificate::names(&config.allowed_hosts, &interfaces()))
}

/// What this node is called where it is a member: what the network calls the machine.
pub fn own_name() -> Text {
    modest(&rustix::system::uname().nodename().to_string_lossy())
}

/// The tickets of a workspace, in a file of its folder.
struct TicketFile(PathBuf);

impl TicketShelf for TicketFile {
    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.0) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        folder::write_over(&self.0, bytes)
    }
}

fn disk_error(error: &std::io::Error) -> CommandError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Refusal::new(Reason::DiskFull, "The disk is full.").next("Free some space, then try again.").into();
    }
    CommandError::Unavailable(format!("The workspace's folder could not be made: {error}"))
}

/// The parent of all workspaces: it survives each of them.
struct NodeSupervisor;

impl Actor for NodeSupervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(who, error) = event {
            tracing::error!(actor = %who.get_id(), %error, "a workspace's supervisor failed");
        }
        Ok(())
    }
}
