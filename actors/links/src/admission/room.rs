//! The admission room of a workspace: gives out tickets, lets in who has one, and keeps those who wait for a member.
//!
//! It admits nobody by itself: each admission is a command like any other, in the name of whoever made the ticket or
//! approved, or of this node where the workspace is open or the joiner has a member's key. What it remembers beyond a
//! restart are the tickets; who waits asks again.

use std::sync::Arc;
use std::time::Duration;

use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::fold::workspace_name_setting;
use openprod_domain::join_mode::JoinMode;
use openprod_domain::read::{self, Membership};
use openprod_domain::view::{Read, ReadFailure};
use openprod_messages::address::Address;
use openprod_messages::admission::{AdmissionMsg, Answer, JoinRequest, Terms, TicketNote, TicketShelf, Verdict};
use openprod_messages::commands::{CommandError, CommandsMsg, SharedKeyring};
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::{Snapshot, Snapshots};
use openprod_model::ids::ActorId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Text, Value};
use openprod_wire::admission::{Denial, Right, modest};
use openprod_wire::ticket::Secret;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::gate::{Gate, Roll};
use super::tickets::{Redeemed, Removed, Tickets};
use super::waiting::Waiting;

/// How often those who have waited too long, or are gone, are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long an admission may take to show in the state before the joiner is told all the same.
const FOLD_DEADLINE: Duration = Duration::from_secs(10);

/// What the room may speak to and use.
#[derive(Clone)]
pub struct AdmissionsArgs {
    /// Clock, randomness, threads.
    pub env: Environment,
    /// The key of this node.
    pub node: ActorId,
    /// What this node is called.
    pub node_name: Text,
    /// This node's keys.
    pub keyring: SharedKeyring,
    /// Where the tickets are kept.
    pub shelf: Arc<dyn TicketShelf>,
    /// Who writes.
    pub commands: Address<CommandsMsg>,
    /// What the log holds.
    pub log: Arc<dyn LogReader>,
    /// What the state shows.
    pub snapshots: Arc<dyn Snapshots>,
}

/// The admission room.
pub struct Admissions;

/// What the room remembers.
pub struct Desk {
    args: AdmissionsArgs,
    tickets: Tickets,
    waiting: Waiting<RpcReplyPort<Verdict>>,
}

impl Actor for Admissions {
    type Msg = AdmissionMsg;
    type State = Desk;
    type Arguments = AdmissionsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<AdmissionMsg>,
        args: AdmissionsArgs,
    ) -> Result<Desk, ActorProcessingErr> {
        myself.send_interval(SWEEP_EVERY, || AdmissionMsg::Sweep);
        Ok(Desk { tickets: kept(&*args.shelf), args, waiting: Waiting::default() })
    }

    async fn handle(
        &self,
        _: ActorRef<AdmissionMsg>,
        message: AdmissionMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AdmissionMsg::Invite { terms, maker, reply } => answer(reply, desk.invite(terms, maker).await),
            AdmissionMsg::Tickets { reply } => answer(reply, desk.tickets.notes(desk.now())),
            AdmissionMsg::Revoke { ticket, reply } => answer(reply, desk.revoke(ticket).await),
            AdmissionMsg::Claim { by, key, joiner, name, reply } => {
                let verdict = desk.claim(by, key, joiner, name).await;
                answer(reply, verdict.unwrap_or_else(|error| denied(&error)));
            }
            AdmissionMsg::Knock { request, reply } => desk.knock(request, reply).await,
            AdmissionMsg::Requests { reply } => answer(reply, desk.requests()),
            AdmissionMsg::Decide { code, answer: said, by, reply } => answer(reply, desk.decide(&code, said, by).await),
            AdmissionMsg::Sweep => desk.sweep(),
        }
        Ok(())
    }
}

impl Desk {
    fn now(&self) -> u64 {
        self.args.env.clock.wall_ms()
    }

    async fn invite(&mut self, terms: Terms, maker: Option<ActorId>) -> Result<(TicketNote, Secret), CommandError> {
        let maker = self.actor(maker)?;
        self.admit_this_node(maker).await?;
        let mut bytes = [0; 16];
        self.args.env.random.fill(&mut bytes);
        let secret = Secret::from_bytes(bytes);
        let mut tickets = self.tickets.clone();
        let note = tickets.issue(terms, secret.keys().actor(), maker, self.now())?;
        self.keep(tickets).await?;
        Ok((note, secret))
    }

    async fn revoke(&mut self, ticket: ActorId) -> Result<TicketNote, CommandError> {
        let mut tickets = self.tickets.clone();
        let note = tickets.revoke(ticket, self.now()).ok_or_else(|| {
            let message = "This node gave out no such ticket for this workspace.";
            Refusal::new(Reason::InvalidRequest, message).at("ticket").next("`openprod invites` lists them.")
        })?;
        self.keep(tickets).await?;
        Ok(note)
    }

    /// Somebody has proven that he has a ticket, or a member's key.
    async fn claim(&mut self, by: Right, key: ActorId, joiner: ActorId, name: Text) -> Result<Verdict, CommandError> {
        let maker = match by {
            Right::Ticket => match self.redeem(key, joiner).await? {
                Redeemed::Unknown => return Ok(Verdict::Silence),
                Redeemed::Denied(why) => return Ok(Verdict::Denied(why)),
                Redeemed::Admits { maker } => maker,
            },
            Right::Member if self.gate(key)? == Gate::Open => self.args.node,
            Right::Member => return Ok(Verdict::Silence),
        };
        match self.admit(joiner, name, maker).await {
            Err(CommandError::Refused(refusal)) if refusal.reason == Reason::NotAMember && by == Right::Ticket => {
                Ok(Verdict::Denied(Denial::MakerRemoved))
            }
            verdict => verdict,
        }
    }

    /// A ticket's use is kept before it admits: after a crash the same joiner uses it again, and nobody else.
    async fn redeem(&mut self, key: ActorId, joiner: ActorId) -> Result<Redeemed, CommandError> {
        let mut tickets = self.tickets.clone();
        let redeemed = tickets.redeem(key, joiner, self.removed(joiner)?, self.now());
        if tickets != self.tickets {
            self.keep(tickets).await?;
        }
        fail::fail_point!("links-after-redeem");
        Ok(redeemed)
    }

    async fn knock(&mut self, request: JoinRequest, reply: RpcReplyPort<Verdict>) {
        let JoinRequest { joiner, name, .. } = request.clone();
        match self.mode() {
            Ok(JoinMode::Request) => {
                let left = self.waiting.enter(request, reply);
                turn_away(left);
            }
            Ok(JoinMode::Open) => {
                let verdict = self.walk_in(joiner, name).await;
                answer(reply, verdict.unwrap_or_else(|error| denied(&error)));
            }
            Ok(JoinMode::Invite) => answer(reply, Verdict::Silence),
            Err(error) => answer(reply, denied(&error)),
        }
    }

    /// Into an open workspace; but whoever was removed from it does not walk in again.
    async fn walk_in(&mut self, joiner: ActorId, name: Text) -> Result<Verdict, CommandError> {
        if self.removed(joiner)? == Removed::Since {
            return Ok(Verdict::Denied(Denial::Removed));
        }
        self.admit(joiner, name, self.args.node).await
    }

    fn requests(&mut self) -> Vec<JoinRequest> {
        self.sweep();
        self.waiting.list()
    }

    async fn decide(&mut self, code: &str, said: Answer, by: Option<ActorId>) -> Result<JoinRequest, CommandError> {
        self.sweep();
        let by = self.actor(by)?;
        let (request, reply) = self.waiting.take(code).ok_or_else(|| {
            let message = "Nobody waits to join with this code: it may be mistyped, or they gave up.";
            Refusal::new(Reason::InvalidRequest, message).at("code").next("`openprod requests` lists who waits.")
        })?;
        let verdict = match said {
            Answer::Deny => Ok(Verdict::Denied(Denial::Denied)),
            Answer::Approve => self.admit(request.joiner, request.name.clone(), by).await,
        };
        match verdict {
            Ok(verdict) => {
                answer(reply, verdict);
                Ok(request)
            }
            Err(error) => {
                // Somebody else may be able to approve.
                self.waiting.enter(request, reply);
                Err(error)
            }
        }
    }

    fn sweep(&mut self) {
        let left = self.waiting.sweep(self.now(), RpcReplyPort::is_closed);
        turn_away(left);
    }

    /// Makes `joiner` a member, in the name of `by`, and waits until the state shows it: from then on it may sync.
    async fn admit(&self, joiner: ActorId, name: Text, by: ActorId) -> Result<Verdict, CommandError> {
        if self.gate(joiner)? != Gate::Open {
            let here = (self.gate(self.args.node)? != Gate::Open && by != self.args.node).then(|| self.this_node());
            let commands = here.into_iter().chain([Command::AdmitMember { member: joiner, name: Some(name) }]);
            self.write(commands.collect(), by).await?;
        }
        fail::fail_point!("links-before-verdict");
        Ok(Verdict::Admitted { name: self.workspace_name()? })
    }

    /// A node that is no member syncs with nobody, so nobody could join through it.
    async fn admit_this_node(&self, by: ActorId) -> Result<(), CommandError> {
        let snapshot = self.snapshot()?;
        let standing = read::membership(snapshot.view(), by).map_err(unreadable)?;
        if standing != Membership::Admitted {
            let message = format!("Actor {} is not a member of this workspace.", by.short());
            return Err(Refusal::new(Reason::NotAMember, message).next("Ask a member to admit it.").into());
        }
        match self.gate(self.args.node)? {
            Gate::Open => Ok(()),
            Gate::Shut(_) => self.write(vec![self.this_node()], by).await,
        }
    }

    fn this_node(&self) -> Command {
        Command::AdmitMember { member: self.args.node, name: Some(self.args.node_name.clone()) }
    }

    async fn write(&self, commands: Vec<Command>, by: ActorId) -> Result<(), CommandError> {
        // What people disagree about is decided by it: somebody has just said that this node shall be in.
        let request = Request::of_members(self.args.env.command(), Stance::Decide, None, commands);
        let outcome = self.args.commands.execute(request, Some(by)).await?;
        let mut folded = self.args.snapshots.folded();
        let shows = folded.wait_for(|now| now.position >= outcome.revision);
        if tokio::time::timeout(FOLD_DEADLINE, shows).await.is_err() {
            tracing::warn!("an admission is written and does not show in the state yet");
        }
        Ok(())
    }

    /// An actor of this node.
    fn actor(&self, named: Option<ActorId>) -> Result<ActorId, CommandError> {
        let unknown = || Refusal::new(Reason::UnknownActor, "This node does not hold the keys of that actor.");
        Ok(self.args.keyring.keys(named).ok_or_else(|| unknown().at("actor"))?.actor())
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, CommandError> {
        self.args.snapshots.snapshot().map_err(unreadable)
    }

    fn gate(&self, key: ActorId) -> Result<Gate, CommandError> {
        let roll = Roll::of(&*self.snapshot()?, &*self.args.log).map_err(unreadable)?;
        Ok(roll.gate(key))
    }

    fn removed(&self, joiner: ActorId) -> Result<Removed, CommandError> {
        let standing = read::membership(self.snapshot()?.view(), joiner).map_err(unreadable)?;
        Ok(if standing == Membership::Removed { Removed::Since } else { Removed::Not })
    }

    fn mode(&self) -> Result<JoinMode, CommandError> {
        JoinMode::of(self.snapshot()?.view()).map_err(unreadable)
    }

    fn workspace_name(&self) -> Result<Text, CommandError> {
        name_of(&*self.snapshot()?).map_err(unreadable)
    }

    /// Keeps the tickets durably, then goes by them.
    async fn keep(&mut self, tickets: Tickets) -> Result<(), CommandError> {
        let (bytes, place) = (tickets.bytes(), Arc::clone(&self.args.shelf));
        let written = self.args.env.offload(move || place.write(&bytes)).await;
        match written {
            Some(Ok(())) => {
                self.tickets = tickets;
                Ok(())
            }
            Some(Err(error)) => Err(CommandError::Unavailable(format!("The ticket could not be kept: {error}."))),
            None => Err(CommandError::Unavailable("The ticket could not be kept.".to_owned())),
        }
    }
}

/// What a workspace is called, in one line.
pub fn name_of(snapshot: &dyn Snapshot) -> Read<Text> {
    Ok(match read::setting(snapshot.view(), &workspace_name_setting())? {
        Some(Value::Text(name)) => modest(name.as_str()),
        _ => modest(""),
    })
}

/// Tickets that cannot be read are lost: new ones are made in a moment, and nobody is let in by mistake.
fn kept(shelf: &dyn TicketShelf) -> Tickets {
    let read = match shelf.read() {
        Ok(Some(bytes)) => Tickets::from_bytes(&bytes).map_err(|error| error.to_string()),
        Ok(None) => Ok(Tickets::default()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!(error, "the tickets of this workspace cannot be read, and are void");
        Tickets::default()
    })
}

fn turn_away(left: Vec<(RpcReplyPort<Verdict>, Denial)>) {
    for (reply, why) in left {
        answer(reply, Verdict::Denied(why));
    }
}

fn denied(error: &CommandError) -> Verdict {
    tracing::warn!(%error, "somebody could not be admitted");
    Verdict::Denied(Denial::Unavailable)
}

#[allow(clippy::needless_pass_by_value, reason = "it maps errors")]
fn unreadable(failure: ReadFailure) -> CommandError {
    CommandError::Unavailable(failure.to_string())
}

/// Answers a caller; one who has hung up meanwhile can ask again.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, answer: T) {
    let _ = reply.send(answer);
}
