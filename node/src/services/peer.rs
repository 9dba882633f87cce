//! PeerService: the nodes that this one knows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openprod_api::convert::history::signed_ms;
use openprod_api::convert::ids;
use openprod_api::status;
use openprod_api::v1;
use openprod_api::v1::peer_service_server::PeerService as Service;
use openprod_links::discovery::Nearby;
use openprod_links::endpoint::{Connected, EndpointMsg, PeerName, PeerStage, PeerStatus};
use openprod_links::replication::engine::{Progress, Stretch};
use openprod_links::replication::pace::Pace;
use openprod_links::replication::session::LinkStanding;
use openprod_links::transport::{Network, Side};
use openprod_messages::commands::CommandError;
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Parts, caller, calling, failed, no_answer, streaming};
use crate::diagnostics::peers::{Complaint, PORT, complaints};
use crate::joining;
use crate::node::{Node, Slot};
use crate::peers::Peers;
use crate::workspace::Workspace;

/// How often a watch looks: people follow a catching-up with their eyes.
const WATCH_EVERY: Duration = Duration::from_millis(500);

const ALONE: &str = "This node does not speak with other nodes.";
const LOOKS_NOWHERE: &str = "This node does not look for others: discovery is off, or it listens on no network.";

/// Tells of other nodes.
pub struct PeerService(Arc<Node>);

impl PeerService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    /// Adds how far this node is with each workspace over each connection.
    async fn tell_sharing(&self, peers: &mut [v1::Peer]) {
        for (_, slot) in super::workspaces(&self.0) {
            let Slot::Open(workspace) = slot else { continue };
            for session in workspace.doorway.status().await {
                let key = session.peer.to_string();
                let connection =
                    peers.iter_mut().filter(|peer| peer.key == key).find_map(|one| one.connection.as_mut());
                if let Some(connection) = connection {
                    connection.sharing.push(shared(&workspace, session.standing));
                }
            }
            self.tell_expected(&workspace, peers);
        }
    }

    /// Two nodes share a workspace once both have said so, which takes a moment after this one has joined. Until then it
    /// is told that the history is expected from there, and that syncing is paused.
    fn tell_expected(&self, workspace: &Workspace, peers: &mut [v1::Peer]) {
        let id = workspace.id.to_string();
        for peer in peers {
            let (Ok(key), Some(connection)) = (peer.key.parse(), &mut peer.connection) else { continue };
            if !connection.workspaces.contains(&id) && joining::is_expected(&self.0, workspace, key) {
                connection.workspaces.push(id.clone());
            }
            let is_told = connection.sharing.iter().any(|one| one.workspace == id);
            if connection.workspaces.contains(&id) && !is_told {
                connection.sharing.extend(held(workspace));
            }
        }
    }

    /// The workspaces that whoever calls may not know of are not told as shared either.
    fn leave_out_hidden(&self, peers: &mut [v1::Peer]) {
        let seen: Vec<_> = super::workspaces(&self.0).iter().map(|(id, _)| id.to_string()).collect();
        for connection in peers.iter_mut().filter_map(|peer| peer.connection.as_mut()) {
            connection.workspaces.retain(|id| seen.contains(id));
        }
    }

    async fn all(&self) -> Result<v1::ListPeersResponse, Status> {
        let key = self.0.device.actor().to_string();
        let Some(peers) = self.0.peers.get() else {
            return Ok(v1::ListPeersResponse { key, ..Default::default() });
        };
        let known = peers.endpoint.call(|reply| EndpointMsg::Status { reply }).await;
        let own = peers.addresses();
        let mut known: Vec<_> = known.map_err(no_answer)?.into_iter().map(|peer| shown(peer, &own)).collect();
        self.tell_sharing(&mut known).await;
        self.leave_out_hidden(&mut known);
        known.sort_by_key(|peer| (peer.connection.is_none(), peer.key.clone(), peer.addresses.clone()));
        let listens_on = peers.network.addresses().iter().map(ToString::to_string).collect();
        Ok(v1::ListPeersResponse { peers: known, key, listens_on })
    }

    /// Tells all there is to tell, again whenever it has changed, until nobody listens.
    async fn tells(self, sender: mpsc::Sender<Result<v1::WatchPeersResponse, Status>>) {
        let mut told = None;
        while !sender.is_closed() {
            let now = self.all().await;
            let has_failed = now.is_err();
            let answer = now.map(|v1::ListPeersResponse { peers, key, listens_on }| v1::WatchPeersResponse {
                peers,
                key,
                listens_on,
            });
            let is_news = answer.as_ref().ok() != told.as_ref();
            told = answer.as_ref().ok().cloned();
            if is_news && sender.send(answer).await.is_err() || has_failed {
                return;
            }
            tokio::select! {
                biased;
                () = sender.closed() => return,
                () = tokio::time::sleep(WATCH_EVERY) => {}
            }
        }
    }

    fn peers(&self) -> Result<&Peers, Status> {
        let alone = || {
            let refusal = Refusal::new(Reason::InvalidRequest, ALONE);
            status::refused(&refusal.next("Set peer_listen to an address and port, then start the node again."))
        };
        self.0.peers.get().ok_or_else(alone)
    }
}

#[tonic::async_trait]
impl Service for PeerService {
    type WatchPeersStream = Parts<v1::WatchPeersResponse>;

    async fn list_peers(&self, _: Request<v1::ListPeersRequest>) -> Result<Response<v1::ListPeersResponse>, Status> {
        self.all().await.map(Response::new)
    }

    async fn watch_peers(
        &self,
        request: Request<v1::WatchPeersRequest>,
    ) -> Result<Response<Self::WatchPeersStream>, Status> {
        let (sender, parts) = mpsc::channel(1);
        let caller = caller(request.extensions())?;
        tokio::spawn(calling::by(caller, Self(Arc::clone(&self.0)).tells(sender)));
        streaming(request.extensions(), ReceiverStream::new(parts))
    }

    async fn list_nearby(&self, _: Request<v1::ListNearbyRequest>) -> Result<Response<v1::ListNearbyResponse>, Status> {
        let trouble = self.0.peers.get().map_or(ALONE, |peers| if peers.looks() { "" } else { LOOKS_NOWHERE });
        let found = self.0.peers.get().map(|peers| peers.nearby.borrow().clone()).unwrap_or_default();
        let mut workspaces: Vec<_> = found.into_iter().map(nearby).collect();
        workspaces.sort_by(|a, b| (&a.name, &a.workspace, &a.key).cmp(&(&b.name, &b.workspace, &b.key)));
        Ok(Response::new(v1::ListNearbyResponse { workspaces, trouble: trouble.to_owned() }))
    }

    async fn add_peer(&self, request: Request<v1::AddPeerRequest>) -> Result<Response<v1::AddPeerResponse>, Status> {
        super::own_user_only(caller(request.extensions())?, "Peers are added and forgotten")?;
        let v1::AddPeerRequest { address, key } = request.into_inner();
        let key = ids::optional_id(&key, "key").map_err(|refusal| status::refused(&refusal))?;
        let addresses = resolved(&address).await.map_err(|refusal| status::refused(&refusal))?;
        let meant = addresses.clone();
        let add = |reply| EndpointMsg::Add { key, addresses: meant, reply };
        if !self.peers()?.endpoint.call(add).await.map_err(no_answer)? {
            let message = "This node knows as many others as it can.";
            let full = Refusal::new(Reason::TooLarge, message).next("`openprod peer forget` makes room.");
            return Err(status::refused(&full));
        }
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::AddPeerResponse { addresses }))
    }

    async fn forget_peer(
        &self,
        request: Request<v1::ForgetPeerRequest>,
    ) -> Result<Response<v1::ForgetPeerResponse>, Status> {
        super::own_user_only(caller(request.extensions())?, "Peers are added and forgotten")?;
        let named = request.into_inner().peer;
        let peer = name(&named).map_err(|refusal| status::refused(&refusal))?;
        let forget = |reply| EndpointMsg::Forget { peer, reply };
        if !self.peers()?.endpoint.call(forget).await.map_err(no_answer)? {
            let unknown = Refusal::new(Reason::UnknownActor, format!("This node knows no peer {named:?}."));
            return Err(status::refused(&unknown.at("peer").next("`openprod peers` lists them.")));
        }
        Ok(Response::new(v1::ForgetPeerResponse {}))
    }

    async fn pause_sync(
        &self,
        request: Request<v1::PauseSyncRequest>,
    ) -> Result<Response<v1::PauseSyncResponse>, Status> {
        super::own_user_only(caller(request.extensions())?, "Syncing is paused and resumed")?;
        let workspace = super::workspace(&self.0, &request.get_ref().workspace)?;
        let since_ms = workspace.pause_sync(self.0.env.clock.wall_ms()).map_err(|error| unkept(&error))?;
        Ok(Response::new(v1::PauseSyncResponse { paused_ms: signed_ms(since_ms) }))
    }

    async fn resume_sync(
        &self,
        request: Request<v1::ResumeSyncRequest>,
    ) -> Result<Response<v1::ResumeSyncResponse>, Status> {
        super::own_user_only(caller(request.extensions())?, "Syncing is paused and resumed")?;
        let workspace = super::workspace(&self.0, &request.get_ref().workspace)?;
        workspace.resume_sync().map_err(|error| unkept(&error))?;
        Ok(Response::new(v1::ResumeSyncResponse {}))
    }
}

/// A pause or its end that could not be noted does not happen.
fn unkept(error: &io::Error) -> Status {
    failed(CommandError::Unavailable(format!("the node's folder could not be written to: {error}")))
}

fn name(text: &str) -> Result<PeerName, Refusal> {
    if let Ok(address) = text.parse() {
        return Ok(PeerName::Address(address));
    }
    ids::id(text, "peer").map(PeerName::Key)
}

/// The addresses that a text stands for: `10.0.0.5`, `stage.local:7118`, `[fe80::1%3]:7118`.
pub(super) async fn resolved(text: &str) -> Result<Vec<SocketAddr>, Refusal> {
    let refused = |message: String| Refusal::new(Reason::InvalidValue, message).at("address");
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = text.parse() {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    let with_port = if text.contains(':') { text.to_owned() } else { format!("{text}:{PORT}") };
    let found = tokio::net::lookup_host(&with_port).await;
    let found: Vec<_> = found.map_err(|error| refused(format!("{text:?} names no machine: {error}.")))?.collect();
    if found.is_empty() { Err(refused(format!("{text:?} names no machine."))) } else { Ok(found) }
}

fn nearby(found: Nearby) -> v1::NearbyWorkspace {
    v1::NearbyWorkspace {
        workspace: found.workspace.to_string(),
        name: found.name,
        key: found.key.to_string(),
        addresses: found.addresses.iter().map(ToString::to_string).collect(),
    }
}

fn shown(peer: PeerStatus, own: &[SocketAddr]) -> v1::Peer {
    let advice = complaints(&peer, own).iter().map(Complaint::sentences).collect();
    let mut shown = v1::Peer {
        key: peer.key.map_or_else(String::new, |key| key.to_string()),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        trouble: peer.trouble,
        advice,
        ..Default::default()
    };
    match peer.stage {
        PeerStage::Resting => shown.set_state(v1::PeerState::Resting),
        PeerStage::Dialling => shown.set_state(v1::PeerState::Dialling),
        PeerStage::Waiting { in_ms, failures } => {
            shown.set_state(v1::PeerState::Waiting);
            shown.next_attempt_ms = Some(signed_ms(in_ms));
            shown.failures = failures;
        }
        PeerStage::Connected(connected) => {
            shown.set_state(v1::PeerState::Connected);
            shown.connection = Some(connection(*connected));
        }
    }
    shown
}

fn shared(workspace: &Workspace, standing: LinkStanding) -> v1::SharedWorkspace {
    let LinkStanding { progress, paces, synced, diverged, held_there, ended, .. } = standing;
    let Progress { giving, taking } = progress;
    v1::SharedWorkspace {
        workspace: workspace.id.to_string(),
        given: giving.done,
        to_give: giving.left,
        taken: taking.done,
        to_take: taking.left,
        verified_ms: synced.map(|synced| signed_ms(synced.at_ms)),
        verified_bundles: synced.map_or(0, |synced| synced.bundles),
        diverged: diverged.is_some(),
        diverging: diverged.iter().flat_map(|diverged| &diverged.cells).map(v1::Cell::from).collect(),
        trouble: ended.unwrap_or_default(),
        giving: catch_up(giving, paces.giving),
        taking: catch_up(taking, paces.taking),
        paused_ms: workspace.syncing.held().borrow().map(signed_ms),
        paused_there: held_there,
    }
}

/// What is told of a workspace that is paused before anything of it was exchanged.
fn held(workspace: &Workspace) -> Option<v1::SharedWorkspace> {
    let paused_ms = workspace.syncing.held().borrow().map(signed_ms)?;
    let (workspace, paused_ms) = (workspace.id.to_string(), Some(paused_ms));
    Some(v1::SharedWorkspace { workspace, paused_ms, ..Default::default() })
}

fn catch_up(stretch: Stretch, pace: Pace) -> Option<v1::CatchUp> {
    (stretch.left > 0).then(|| v1::CatchUp {
        done: pace.done(),
        left: stretch.left,
        left_bytes: stretch.left_bytes(),
        left_ms: pace.remaining_ms().map(signed_ms),
    })
}

fn connection(connected: Connected) -> v1::PeerConnection {
    v1::PeerConnection {
        since_ms: signed_ms(connected.since_ms),
        address: connected.remote.to_string(),
        dialled_by_this_node: connected.side == Side::Dialler,
        round_trip_us: connected.round_trip_us,
        clock_offset_ms: connected.clock_offset_ms,
        sent_bytes: connected.traffic.sent,
        received_bytes: connected.traffic.received,
        protocol_version: connected.version.into(),
        software: connected.software,
        workspaces: connected.workspaces.iter().map(ToString::to_string).collect(),
        sharing: Vec::new(),
        silent_ms: signed_ms(connected.silent_ms),
    }
}
