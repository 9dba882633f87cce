//! The actor: each message goes to its line on the desk.

use std::sync::Arc;

use openprod_messages::address::Address;
use openprod_messages::commands::{CommandsMsg, SharedKeyring};
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::oplog::OplogMsg;
use openprod_messages::overlays::{Overlays, OverlaysMsg};
use openprod_messages::snapshot::Snapshots;
use openprod_model::ids::WorkspaceId;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::desk::Desk;

/// What the room may speak to and use.
#[derive(Clone)]
pub struct CommandsArgs {
    /// The workspace that it writes to.
    pub workspace: WorkspaceId,
    /// Clock, randomness, threads.
    pub env: Environment,
    /// This node's keys.
    pub keyring: SharedKeyring,
    /// Where bundles go.
    pub oplog: Address<OplogMsg>,
    /// What the log holds.
    pub log: Arc<dyn LogReader>,
    /// What the state shows.
    pub snapshots: Arc<dyn Snapshots>,
    /// Where requests are staged.
    pub overlays: Address<OverlaysMsg>,
    /// What is staged.
    pub shelf: Arc<dyn Overlays>,
}

/// The commands room.
pub struct Commands;

impl Actor for Commands {
    type Msg = CommandsMsg;
    type State = Desk;
    type Arguments = CommandsArgs;

    async fn pre_start(&self, myself: ActorRef<CommandsMsg>, args: CommandsArgs) -> Result<Desk, ActorProcessingErr> {
        Ok(Desk::new(args, myself))
    }

    async fn handle(
        &self,
        _: ActorRef<CommandsMsg>,
        message: CommandsMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CommandsMsg::Execute { request, actor, reply } => desk.execute(*request, actor, reply).await,
            CommandsMsg::Stage { overlay, request, actor, reply } => {
                desk.stage(overlay, *request, actor, reply).await;
            }
            CommandsMsg::Found { command, founding, reply } => desk.found(command, *founding, reply).await,
            CommandsMsg::Settled { epoch, digest, result } => desk.settled(epoch, digest, result),
            CommandsMsg::Close { reply } => desk.close(reply),
        }
        Ok(())
    }
}
