//! InviteService: tickets, those who ask to join, and the recovery key.

use std::net::SocketAddr;
use std::sync::Arc;

use openprod_api::convert::history::signed_ms;
use openprod_api::convert::ids;
use openprod_api::status::refused;
use openprod_api::v1;
use openprod_api::v1::invite_service_server::InviteService as Service;
use openprod_links::admission::guest::NotJoined;
use openprod_links::admission::knock::{Comparison, KnockError};
use openprod_messages::admission::{AdmissionMsg, Answer, JoinRequest, Terms, TicketNote, TicketStanding};
use openprod_model::ids::{ActorId, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_wire::admission::modest;
use openprod_wire::recovery::RecoveryKey;
use openprod_wire::ticket::{MAX_ADDRESSES, MAX_USES, Ticket};
use ractor::RpcReplyPort;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::peer::resolved;
use super::{Caller, Parts, STREAM_AHEAD, acting, caller, failed, no_answer, streaming, workspace};
use crate::identities::Identity;
use crate::joining::{self, JoinError, NobodyNear, Way};
use crate::node::Node;
use crate::peers::Peers;
use crate::recovery::{self, Renewed};

/// How many nodes may join with a ticket where nothing is said.
const DEFAULT_USES: u16 = 1;
/// How long a ticket is good where nothing is said: until the other laptop is found.
const DEFAULT_LIFETIME_MS: u64 = 2 * 60 * 60 * 1000;

/// Gives out tickets, and decides about those who ask.
pub struct InviteService {
    node: Arc<Node>,
}

impl InviteService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn asks<T: Send + 'static>(
        &self,
        named: &str,
        message: impl FnOnce(RpcReplyPort<T>) -> AdmissionMsg,
    ) -> Result<T, Status> {
        workspace(&self.node, named)?.admission.call(message).await.map_err(no_answer)
    }

    async fn decides(&self, named: &str, code: String, answer: Answer, by: Who<'_>) -> Result<v1::WaitingNode, Status> {
        let by = by.actor()?;
        let request = self.asks(named, |reply| AdmissionMsg::Decide { code, answer, by, reply }).await?;
        request.map(shown).map_err(failed)
    }
}

/// Who acts, as a request names him, and who calls.
struct Who<'a> {
    caller: Caller,
    named: &'a str,
}

impl Who<'_> {
    fn actor(&self) -> Result<Option<ActorId>, Status> {
        let named = ids::optional_id(self.named, "actor").map_err(|refusal| refused(&refusal))?;
        acting(self.caller, named, "actor")
    }
}

#[tonic::async_trait]
impl Service for InviteService {
    type JoinStream = Parts<v1::JoinResponse>;

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<Self::JoinStream>, Status> {
        let caller = caller(request.extensions())?;
        let asked = request.get_ref();
        let actor = Who { caller, named: &asked.actor }.actor()?;
        let person = person(&self.node, actor).map_err(|refusal| refused(&refusal))?;
        let addresses = match asked.address.trim() {
            "" => Vec::new(),
            listed => {
                let mut addresses = Vec::new();
                for address in listed.split(',').map(str::trim).take(MAX_ADDRESSES) {
                    addresses.extend(resolved(address).await.map_err(|refusal| refused(&refusal))?);
                }
                addresses
            }
        };
        let Some(peers) = self.node.peers.get() else {
            let alone = Refusal::new(Reason::InvalidRequest, "This node does not speak with other nodes.");
            let next = "Set peer_listen to an address and port, then start the node again.";
            return Err(refused(&alone.next(next)));
        };
        let way = match way(asked, addresses).map_err(|refusal| refused(&refusal))? {
            Way::Asking(name, addresses) if addresses.is_empty() => {
                let near = joining::near(peers, name.as_ref()).await;
                let (name, addresses) = near.map_err(|nobody| refused(&not_near(&nobody)))?;
                Way::Asking(Some(name), addresses)
            }
            way => way,
        };
        let (sender, parts) = mpsc::channel(STREAM_AHEAD);
        tokio::spawn(joins(Arc::clone(&self.node), way, person, sender));
        streaming(request.extensions(), ReceiverStream::new(parts))
    }

    async fn create_invite(
        &self,
        request: Request<v1::CreateInviteRequest>,
    ) -> Result<Response<v1::CreateInviteResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::CreateInviteRequest { workspace: named, actor, uses, lifetime_s } = request.into_inner();
        let maker = Who { caller, named: &actor }.actor()?;
        let workspace = workspace(&self.node, &named)?;
        let terms = terms(uses, lifetime_s);
        let made = workspace.admission.call(|reply| AdmissionMsg::Invite { terms, maker, reply }).await;
        let (note, secret) = made.map_err(no_answer)?.map_err(failed)?;
        let mut addresses = self.node.peers.get().map(Peers::addresses).unwrap_or_default();
        addresses.truncate(MAX_ADDRESSES);
        let ticket = Ticket {
            workspace: workspace.id,
            inviter: self.node.device.actor(),
            addresses: addresses.clone(),
            secret,
            expires_ms: note.expires_ms,
            uses: note.uses,
        };
        Ok(Response::new(v1::CreateInviteResponse {
            ticket: ticket.to_string(),
            invite: Some(invite(&note)),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn list_invites(
        &self,
        request: Request<v1::ListInvitesRequest>,
    ) -> Result<Response<v1::ListInvitesResponse>, Status> {
        let notes = self.asks(&request.into_inner().workspace, |reply| AdmissionMsg::Tickets { reply }).await?;
        Ok(Response::new(v1::ListInvitesResponse { invites: notes.iter().map(invite).collect() }))
    }

    async fn revoke_invite(
        &self,
        request: Request<v1::RevokeInviteRequest>,
    ) -> Result<Response<v1::RevokeInviteResponse>, Status> {
        caller(request.extensions())?;
        let v1::RevokeInviteRequest { workspace, invite: ticket } = request.into_inner();
        let ticket = ids::id(&ticket, "invite").map_err(|refusal| refused(&refusal))?;
        let note = self.asks(&workspace, |reply| AdmissionMsg::Revoke { ticket, reply }).await?;
        Ok(Response::new(v1::RevokeInviteResponse { invite: Some(invite(&note.map_err(failed)?)) }))
    }

    async fn list_join_requests(
        &self,
        request: Request<v1::ListJoinRequestsRequest>,
    ) -> Result<Response<v1::ListJoinRequestsResponse>, Status> {
        let waiting = self.asks(&request.into_inner().workspace, |reply| AdmissionMsg::Requests { reply }).await?;
        Ok(Response::new(v1::ListJoinRequestsResponse { requests: waiting.into_iter().map(shown).collect() }))
    }

    async fn approve_join_request(
        &self,
        request: Request<v1::ApproveJoinRequestRequest>,
    ) -> Result<Response<v1::ApproveJoinRequestResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::ApproveJoinRequestRequest { workspace, code, actor } = request.into_inner();
        let request = self.decides(&workspace, code, Answer::Approve, Who { caller, named: &actor }).await?;
        Ok(Response::new(v1::ApproveJoinRequestResponse { request: Some(request) }))
    }

    async fn deny_join_request(
        &self,
        request: Request<v1::DenyJoinRequestRequest>,
    ) -> Result<Response<v1::DenyJoinRequestResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::DenyJoinRequestRequest { workspace, code, actor } = request.into_inner();
        let request = self.decides(&workspace, code, Answer::Deny, Who { caller, named: &actor }).await?;
        Ok(Response::new(v1::DenyJoinRequestResponse { request: Some(request) }))
    }

    async fn recover_workspace(
        &self,
        request: Request<v1::RecoverWorkspaceRequest>,
    ) -> Result<Response<v1::RecoverWorkspaceResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::RecoverWorkspaceRequest { recovery_key, actor } = request.into_inner();
        let actor = Who { caller, named: &actor }.actor()?;
        let key = RecoveryKey::parse(&recovery_key).map_err(|error| {
            let message = format!("This is not a recovery key: {error}.");
            refused(&Refusal::new(Reason::InvalidValue, message).at("recovery_key"))
        })?;
        let workspace = key.workspace.to_string();
        let actor = recovery::recover(&self.node, key, actor).await.map_err(failed)?;
        Ok(Response::new(v1::RecoverWorkspaceResponse { workspace, actor: actor.to_string() }))
    }

    async fn create_recovery_key(
        &self,
        request: Request<v1::CreateRecoveryKeyRequest>,
    ) -> Result<Response<v1::CreateRecoveryKeyResponse>, Status> {
        let caller = caller(request.extensions())?;
        let v1::CreateRecoveryKeyRequest { workspace: named, actor } = request.into_inner();
        let by = Who { caller, named: &actor }.actor()?;
        let workspace = workspace(&self.node, &named)?;
        // The key that was made just before is the one that is replaced.
        super::snapshot_from(&workspace, Position::ZERO).await?;
        let Renewed { key, replaced, revision } = recovery::renew(&self.node, &workspace, by).await.map_err(failed)?;
        Ok(Response::new(v1::CreateRecoveryKeyResponse {
            recovery_key: key.reveal().to_string(),
            actor: key.keys.actor().to_string(),
            replaced: replaced.map_or_else(String::new, |key| key.to_string()),
            revision: revision.0,
        }))
    }
}

/// Who works on the workspace here.
fn person(node: &Node, named: Option<ActorId>) -> Result<Identity, Refusal> {
    let person = named.or_else(|| node.identities.default_actor()).and_then(|actor| node.identities.of(actor));
    let message = "This node does not hold the keys of that actor.";
    person.ok_or_else(|| Refusal::new(Reason::UnknownActor, message).at("actor"))
}

/// By what the request joins.
fn way(asked: &v1::JoinRequest, addresses: Vec<SocketAddr>) -> Result<Way, Refusal> {
    let invalid = |why: String| Refusal::new(Reason::InvalidValue, why).at("ticket");
    if asked.ticket.is_empty() {
        let name = Some(asked.workspace_name.trim()).filter(|name| !name.is_empty());
        return Ok(Way::Asking(name.map(modest), addresses));
    }
    if RecoveryKey::is_meant(&asked.ticket) {
        let key = RecoveryKey::parse(&asked.ticket).map_err(|error| invalid(format!("The recovery key: {error}.")))?;
        return Ok(Way::Recovery(key, needed(addresses)?));
    }
    let ticket = Ticket::parse(&asked.ticket).map_err(|error| {
        invalid(format!("This is not a whole ticket: {error}."))
            .next("Copy it again, from its first letter to its last.")
    })?;
    let addresses = addresses.into_iter().chain(ticket.addresses).collect();
    Ok(Way::Ticket(Ticket { addresses, ..ticket }))
}

fn needed(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    let missing = || Refusal::new(Reason::InvalidRequest, "The request lacks the address of a member's node.");
    if addresses.is_empty() { Err(missing().at("address")) } else { Ok(addresses) }
}

fn not_near(nobody: &NobodyNear) -> Refusal {
    let next = match nobody {
        NobodyNear::None => {
            "Ask a member for a ticket. `openprod nearby` lists what can be joined; `openprod join --at ADDRESS` asks a \
             node by its address."
        }
        NobodyNear::Several(_) => {
            "Name one of them, by its id if several are called the same: `openprod nearby` lists them."
        }
    };
    Refusal::new(Reason::InvalidRequest, super::sentence(&nobody.to_string())).at("address").next(next)
}

/// Joins, for as long as somebody listens: whoever goes away asks no longer. Once this node is a member, the workspace is
/// made all the same.
async fn joins(node: Arc<Node>, way: Way, person: Identity, parts: mpsc::Sender<Result<v1::JoinResponse, Status>>) {
    use v1::join_response::Event;
    let Some(peers) = node.peers.get() else { return };
    let told = parts.clone();
    let show = move |comparison: Comparison| {
        let (workspace_name, code) = (comparison.workspace.to_string(), comparison.code);
        let event = Some(Event::Comparison(v1::JoinComparison { workspace_name, code }));
        // There is room: it is said once, and first.
        let _ = told.try_send(Ok(v1::JoinResponse { event }));
    };
    let joined = joining::join(&node, peers, way, &person, show);
    let joined = tokio::select! {
        biased;
        () = parts.closed() => return,
        joined = joined => joined,
    };
    let answer = joined.map_err(|error| not_joined(&error)).map(|joined| {
        let (workspace, name) = (joined.workspace.to_string(), joined.name.to_string());
        v1::JoinResponse { event: Some(Event::Joined(v1::Joined { workspace, name })) }
    });
    let _ = parts.send(answer).await;
}

fn not_joined(error: &JoinError) -> Status {
    if let JoinError::Here(error) = error {
        return failed(error.clone());
    }
    let mut message = error.to_string();
    if let JoinError::Knock(KnockError::NotJoined(NotJoined::Choose(names))) = error {
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        message = format!("{message}: {}", names.join(", "));
    }
    let refusal = Refusal::new(Reason::NotAMember, super::sentence(&message));
    refused(&refusal.next(joining::advice(error)))
}

/// What was asked for; a number that is too large is refused as such by the room.
fn terms(uses: u32, lifetime_s: u32) -> Terms {
    Terms {
        uses: if uses == 0 { DEFAULT_USES } else { u16::try_from(uses).unwrap_or(MAX_USES.saturating_add(1)) },
        lifetime_ms: if lifetime_s == 0 { DEFAULT_LIFETIME_MS } else { u64::from(lifetime_s) * 1000 },
    }
}

fn invite(note: &TicketNote) -> v1::Invite {
    let state = match note.standing {
        TicketStanding::Live => v1::InviteState::Live,
        TicketStanding::UsedUp => v1::InviteState::UsedUp,
        TicketStanding::Expired => v1::InviteState::Expired,
        TicketStanding::Revoked => v1::InviteState::Revoked,
    };
    v1::Invite {
        invite: note.key.to_string(),
        actor: note.maker.to_string(),
        created_ms: signed_ms(note.made_ms),
        expires_ms: signed_ms(note.expires_ms),
        uses: u32::from(note.uses),
        joined: note.joined.iter().map(ToString::to_string).collect(),
        state: state.into(),
    }
}

fn shown(request: JoinRequest) -> v1::WaitingNode {
    v1::WaitingNode {
        node: request.joiner.to_string(),
        name: request.name.to_string(),
        code: request.code,
        since_ms: signed_ms(request.since_ms),
    }
}
