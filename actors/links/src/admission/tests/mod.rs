//! The room, the door and those who knock, over a network in memory.

mod kit;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_domain::command::{Command, Stance};
use openprod_domain::join_mode::JoinMode;
use openprod_domain::read::Membership;
use openprod_messages::admission::{AdmissionMsg, Answer, JoinRequest, Terms, TicketNote, TicketStanding};
use openprod_messages::commands::CommandError;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::Snapshots;
use openprod_model::identity::Keys;
use openprod_model::ids::ActorId;
use openprod_model::operation::Operation;
use openprod_model::refusal::Reason;
use openprod_wire::admission::{Admission, Denial, Right, modest};
use openprod_wire::hello::{TAG_LABEL, WorkspaceTag};
use openprod_wire::opening::Opening;
use openprod_wire::ticket::Secret;
use tokio::sync::oneshot;

use self::kit::{HAMLET, Node, keys, text};
use super::crowd::MAX_FROM_ONE;
use super::gate::{Gate, Roll};
use super::guest::{Joined, Means, NotJoined};
use super::knock::{Comparison, KnockError, knock};
use super::waiting::PATIENCE_MS;
use crate::transport::Network;

/// Time stands still but for this.
const TICK: Duration = Duration::from_millis(1);
const HOUR_MS: u64 = 60 * 60 * 1000;
const TERMS: Terms = Terms { uses: 1, lifetime_ms: HOUR_MS };

impl Node {
    async fn invites(&self, uses: u16) -> Secret {
        let terms = Terms { uses, ..TERMS };
        let made = self.room.call(|reply| AdmissionMsg::Invite { terms, maker: None, reply }).await.unwrap();
        made.unwrap().1
    }

    async fn tickets(&self) -> Vec<TicketNote> {
        self.room.call(|reply| AdmissionMsg::Tickets { reply }).await.unwrap()
    }

    async fn requests(&self) -> Vec<JoinRequest> {
        self.room.call(|reply| AdmissionMsg::Requests { reply }).await.unwrap()
    }

    async fn decides(&self, code: &str, answer: Answer, by: &Keys) -> Result<JoinRequest, CommandError> {
        let (code, by) = (code.to_owned(), Some(by.actor()));
        self.room.call(|reply| AdmissionMsg::Decide { code, answer, by, reply }).await.unwrap()
    }

    fn gate(&self, key: ActorId) -> Gate {
        Roll::of(&*self.house.snapshot().unwrap(), &*self.house.log).unwrap().gate(key)
    }

    fn visitor(&self, seed: u8) -> Arc<dyn Network> {
        self.ether.node(keys(seed).actor(), SocketAddr::from(([10, 0, 1, seed], 4433)))
    }

    async fn joins(&self, seed: u8, means: Means) -> Result<Joined, KnockError> {
        asks(&*self.visitor(seed), means, |_| {}).await
    }

    /// Somebody knocks, and is left waiting: the code that his screen shows, and what comes of it.
    async fn is_asked_by(&self, seed: u8) -> (String, tokio::task::JoinHandle<Result<Joined, KnockError>>) {
        let (network, (shown, code)) = (self.visitor(seed), oneshot::channel());
        let shown = Mutex::new(Some(shown));
        let waits = tokio::spawn(async move {
            let show = |comparison: Comparison| {
                shown.lock().unwrap().take().unwrap().send(comparison.code).unwrap();
            };
            asks(&*network, asking(), show).await
        });
        let code = code.await.unwrap();
        while self.requests().await.iter().all(|request| request.joiner != keys(seed).actor()) {
            tokio::time::advance(TICK).await;
        }
        (code, waits)
    }
}

/// Dials, and asks to be admitted on a channel that names the workspace by its tag, or none.
async fn asks(network: &dyn Network, means: Means, show: impl FnMut(Comparison) + Send) -> Result<Joined, KnockError> {
    let connection = network.dial(SocketAddr::from(Node::ADDRESS), None).await.unwrap();
    let opening = match &means {
        Means::Asking { .. } => Opening::Asking,
        Means::Key { workspace, .. } => {
            let secret = connection.exporter(TAG_LABEL, b"");
            Opening::Admission { tag: WorkspaceTag::of(*workspace, &secret, connection.side()) }
        }
    };
    let mut channel = connection.open().await.unwrap();
    channel.send.say(&opening).await.unwrap();
    knock(network.key(), &*connection, channel, means, modest("Ines's laptop"), [7; 32], show).await
}

fn by_ticket(secret: Secret) -> Means {
    Means::Key { by: Right::Ticket, workspace: HAMLET, keys: secret.keys() }
}

fn asking() -> Means {
    Means::Asking { workspace: None }
}

#[allow(clippy::unnecessary_wraps, reason = "what a joiner gets is compared with it")]
fn joined() -> Result<Joined, KnockError> {
    Ok(Joined { workspace: HAMLET, name: text("Hamlet") })
}

fn refused(why: Denial) -> Result<Joined, KnockError> {
    Err(KnockError::NotJoined(NotJoined::Denied(why)))
}

const SILENCE: Result<Joined, KnockError> = Err(KnockError::NotJoined(NotJoined::Silence));

fn admits(member: ActorId) -> Vec<Command> {
    vec![Command::AdmitMember { member, name: None }]
}

fn removes(member: ActorId) -> Vec<Command> {
    vec![Command::RemoveMember { member, why: text("") }]
}

#[tokio::test]
async fn a_ticket_admits_its_bearer_and_makes_this_node_a_member_first() {
    let node = Node::starts().await;
    let secret = node.invites(1).await;
    assert_eq!(node.gate(node.key), Gate::Open);
    assert_eq!(node.joins(9, by_ticket(secret)).await, joined());
    assert_eq!(node.gate(keys(9).actor()), Gate::Open);
    let notes = node.tickets().await;
    assert_eq!((notes[0].standing, notes[0].maker), (TicketStanding::UsedUp, node.mara.actor()));
    assert_eq!(node.joins(9, by_ticket(secret)).await, joined(), "an answer that was lost is given again");
    assert_eq!(node.joins(10, by_ticket(secret)).await, refused(Denial::UsedUp));
    assert_eq!(node.house.membership(keys(10).actor()), Membership::Stranger);
}

#[tokio::test]
async fn tickets_outlive_the_room_and_none_of_their_secrets_is_kept() {
    let node = Node::starts().await;
    let secret = node.invites(2).await;
    assert_eq!(node.joins(9, by_ticket(secret)).await, joined());
    node.opens_room().await;
    assert_eq!(node.tickets().await[0].joined, [keys(9).actor()]);
    assert_eq!(node.joins(10, by_ticket(secret)).await, joined());
    assert_eq!(node.joins(11, by_ticket(secret)).await, refused(Denial::UsedUp));
    let (kept, seed) = (node.shelf.bytes.lock().unwrap().clone().unwrap(), *secret.keys().seed());
    assert!(!kept.windows(32).any(|window| window == seed));
    *node.shelf.bytes.lock().unwrap() = Some(b"rubbish".to_vec());
    node.opens_room().await;
    assert_eq!(node.joins(12, by_ticket(secret)).await, SILENCE, "what cannot be read admits nobody");
}

#[tokio::test]
async fn a_ticket_ends_when_it_is_revoked_or_old_or_its_maker_is_gone() {
    let node = Node::starts().await;
    let (one, two, three) = (node.invites(1).await, node.invites(1).await, node.invites(1).await);
    let ticket = one.keys().actor();
    let revoked = node.room.call(|reply| AdmissionMsg::Revoke { ticket, reply }).await.unwrap().unwrap();
    assert_eq!(revoked.standing, TicketStanding::Revoked);
    assert_eq!(node.joins(9, by_ticket(one)).await, refused(Denial::Revoked));
    node.house.does(&node.mara, Stance::Beside, admits(node.leo.actor())).unwrap();
    node.house.does(&node.leo, Stance::Beside, removes(node.mara.actor())).unwrap();
    assert_eq!(node.joins(9, by_ticket(two)).await, refused(Denial::MakerRemoved));
    node.waits(HOUR_MS);
    assert_eq!(node.joins(9, by_ticket(three)).await, refused(Denial::Expired));
    let unknown = node.room.call(|reply| AdmissionMsg::Revoke { ticket: node.key, reply }).await.unwrap();
    assert!(matches!(unknown, Err(CommandError::Refused(refusal)) if refusal.at == "ticket"));
}

#[tokio::test]
async fn only_a_member_invites_and_nothing_is_given_out_that_could_not_be_kept() {
    let node = Node::starts().await;
    let maker = Some(node.leo.actor());
    let made = node.room.call(|reply| AdmissionMsg::Invite { terms: TERMS, maker, reply }).await.unwrap();
    assert!(matches!(made, Err(CommandError::Refused(refusal)) if refusal.reason == Reason::NotAMember));
    node.shelf.is_full.store(true, Ordering::SeqCst);
    let made = node.room.call(|reply| AdmissionMsg::Invite { terms: TERMS, maker: None, reply }).await.unwrap();
    assert!(matches!(made, Err(CommandError::Unavailable(_))));
    assert!(node.tickets().await.is_empty());
}

#[tokio::test]
async fn a_use_that_could_not_be_kept_admits_nobody() {
    let node = Node::starts().await;
    let secret = node.invites(1).await;
    node.shelf.is_full.store(true, Ordering::SeqCst);
    assert_eq!(node.joins(9, by_ticket(secret)).await, refused(Denial::Unavailable));
    assert_eq!(node.house.membership(keys(9).actor()), Membership::Stranger);
    node.shelf.is_full.store(false, Ordering::SeqCst);
    assert_eq!(node.joins(9, by_ticket(secret)).await, joined());
}

#[tokio::test]
async fn who_was_removed_needs_a_new_ticket() {
    let node = Node::starts().await;
    let (old, new) = (node.invites(5).await, node.invites(5).await);
    assert_eq!(node.joins(9, by_ticket(old)).await, joined());
    node.house.does(&node.mara, Stance::Beside, removes(keys(9).actor())).unwrap();
    assert_eq!(node.joins(9, by_ticket(old)).await, refused(Denial::Removed));
    assert_eq!(node.joins(9, by_ticket(new)).await, joined());
    assert_eq!(node.gate(keys(9).actor()), Gate::Open);
}

#[tokio::test]
async fn whoever_holds_a_members_key_is_let_in_and_a_removed_ones_is_a_strangers() {
    let node = Node::starts().await;
    node.invites(1).await;
    let recovery = keys(50);
    node.house.does(&node.mara, Stance::Beside, admits(recovery.actor())).unwrap();
    let means = || Means::Key { by: Right::Member, workspace: HAMLET, keys: recovery.clone() };
    assert_eq!(node.joins(9, means()).await, joined());
    node.house.does(&node.mara, Stance::Beside, removes(recovery.actor())).unwrap();
    assert_eq!(node.joins(10, means()).await, SILENCE);
}

#[tokio::test]
async fn who_asks_waits_until_a_member_has_compared_the_digits() {
    let node = Node::starts().await;
    node.is_open_to(JoinMode::Request);
    let (code, waits) = node.is_asked_by(9).await;
    let requests = node.requests().await;
    assert_eq!((requests.len(), &requests[0].code, requests[0].name.as_str()), (1, &code, "Ines's laptop"));
    let wrong = node.decides("000 000", Answer::Approve, &node.mara).await;
    assert!(matches!(wrong, Err(CommandError::Refused(refusal)) if refusal.at == "code"));
    let by_stranger = node.decides(&code, Answer::Approve, &node.leo).await;
    assert!(matches!(by_stranger, Err(CommandError::Refused(refusal)) if refusal.reason == Reason::NotAMember));
    node.decides(&code.replace(' ', ""), Answer::Approve, &node.mara).await.unwrap();
    assert_eq!(waits.await.unwrap(), joined());
    assert_eq!((node.gate(keys(9).actor()), node.gate(node.key)), (Gate::Open, Gate::Open));
    assert!(node.requests().await.is_empty());
}

#[tokio::test]
async fn a_member_can_say_no_and_who_gives_up_waits_no_longer() {
    let node = Node::starts().await;
    node.is_open_to(JoinMode::Request);
    let (code, waits) = node.is_asked_by(9).await;
    node.decides(&code, Answer::Deny, &node.mara).await.unwrap();
    assert_eq!(waits.await.unwrap(), refused(Denial::Denied));
    let (_, gives_up) = node.is_asked_by(10).await;
    gives_up.abort();
    while !node.requests().await.is_empty() {
        tokio::time::advance(TICK).await;
    }
    let (_, late) = node.is_asked_by(11).await;
    node.waits(PATIENCE_MS);
    assert!(node.requests().await.is_empty());
    assert_eq!(late.await.unwrap(), refused(Denial::Unanswered));
}

#[tokio::test]
async fn an_open_workspace_lets_in_whoever_finds_it_but_nobody_who_was_removed() {
    let node = Node::starts().await;
    node.invites(1).await;
    node.is_open_to(JoinMode::Open);
    assert_eq!(node.joins(9, asking()).await, joined());
    node.house.does(&node.mara, Stance::Beside, removes(keys(9).actor())).unwrap();
    assert_eq!(node.joins(9, asking()).await, refused(Denial::Removed));
}

#[tokio::test]
async fn strangers_hear_nothing_whatever_they_try() {
    let node = Node::starts().await;
    let before = node.house.log.end();
    assert_eq!(node.joins(9, asking()).await, SILENCE);
    assert_eq!(node.joins(9, by_ticket(Secret::from_bytes([9; 16]))).await, SILENCE);
    let elsewhere = openprod_model::ids::WorkspaceId::from_bytes([8; 16]);
    let means = Means::Key { by: Right::Ticket, workspace: elsewhere, keys: keys(9) };
    assert_eq!(node.joins(9, means).await, SILENCE);
    assert_eq!(node.house.log.end(), before);
}

#[tokio::test]
async fn one_address_takes_no_more_than_its_share_of_the_door() {
    let node = Node::starts().await;
    node.is_open_to(JoinMode::Request);
    let network = node.visitor(9);
    let mut held = Vec::new();
    for _ in 0..MAX_FROM_ONE {
        let connection = network.dial(SocketAddr::from(Node::ADDRESS), None).await.unwrap();
        let mut channel = connection.open().await.unwrap();
        channel.send.say(&Opening::Asking).await.unwrap();
        let (commitment, name) = ([0; 32], text("Ines's laptop"));
        channel.send.say(&Admission::Request { workspace: None, commitment, name }).await.unwrap();
        let answer = channel.receive.hear::<Admission>().await.unwrap();
        assert!(matches!(answer, Some(Admission::Challenge { .. })), "it is inside: {answer:?}");
        held.push((connection, channel));
    }
    assert_eq!(asks(&*network, asking(), |_| {}).await, SILENCE);
    // Who says nothing is not waited for.
    tokio::time::advance(Duration::from_secs(11)).await;
    for (_, mut channel) in held {
        assert!(channel.receive.receive().await.is_err());
    }
}

/// The same law as on a roll made by hand, read from a log and a state.
#[tokio::test]
async fn an_admission_by_somebody_being_removed_elsewhere_keeps_the_gate_shut() {
    let node = Node::starts().await;
    let ines = keys(9).actor();
    let before = node.house.does(&node.mara, Stance::Beside, admits(node.leo.actor())).unwrap();
    node.house.does(&node.mara, Stance::Beside, removes(node.leo.actor())).unwrap();
    let admission = Operation::AdmitMember { member: ines, basis: node.house.tips(ines) };
    node.house.elsewhere(&node.leo, before, &admission);
    assert_eq!(node.house.membership(ines), Membership::Admitted);
    assert_eq!(node.gate(ines), Gate::Shut(super::gate::Shut::Disputed { by: node.leo.actor() }));
    node.house.does(&node.mara, Stance::Decide, admits(ines)).unwrap();
    assert_eq!(node.gate(ines), Gate::Open);
    assert!(node.house.log.tail().unwrap().heads.len() == 1);
}
