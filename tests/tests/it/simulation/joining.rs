//! Joining: a machine that nobody has heard of becomes a member by a ticket, while everything goes on.
//!
//! A guest does what a node does that joins. He asks until he is let in: where the answer is lost, with the same ticket;
//! where he is turned away, with a new one, from somebody else.

use std::net::SocketAddr;
use std::time::Duration;

use openprod_domain::read::{self, Membership};
use openprod_links::admission::guest::Means;
use openprod_links::admission::knock::{KnockError, knock};
use openprod_links::endpoint::{EndpointMsg, Purpose};
use openprod_messages::admission::{AdmissionMsg, Terms};
use openprod_messages::environment::Environment;
use openprod_model::ids::ActorId;
use openprod_wire::admission::Right;
use openprod_wire::ticket::Secret;

use super::clients::Said;
use super::machine::{Expected, Front};
use crate::convergence::acts::text;
use crate::convergence::replica::WORKSPACE;

/// The pause before a guest asks again.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Tickets are for one guest, for an hour.
const TERMS: Terms = Terms { uses: 1, lifetime_ms: 3_600_000 };

/// Somebody who may give out tickets, on a machine.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) front: Front,
    pub(super) key: ActorId,
    pub(super) address: SocketAddr,
    pub(super) maker: ActorId,
}

/// A machine that joins.
pub(super) struct Guest {
    pub(super) key: ActorId,
    pub(super) front: Front,
    pub(super) env: Environment,
    pub(super) expected: Expected,
    /// Whom it asks, one after another; not none.
    pub(super) hosts: Vec<Host>,
    pub(super) ticket: Option<(Host, Secret)>,
}

impl Guest {
    /// Asks until it is let in and sees that itself, however often it or others die meanwhile.
    pub(super) async fn joins(mut self) -> Option<Said> {
        while self.enters().await.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
        while !self.is_member().unwrap_or(false) {
            tokio::time::sleep(PAUSE).await;
        }
        Some(Said::Joined)
    }

    /// None if it is not let in yet.
    async fn enters(&mut self) -> Option<()> {
        let endpoint = self.front.now().1?.endpoint;
        if self.ticket.is_none() {
            self.ticket = self.is_invited().await;
        }
        let (host, secret) = self.ticket.clone()?;
        let (key, addresses) = (host.key, vec![host.address]);
        let reach = |reply| EndpointMsg::Reach { workspace: WORKSPACE, key, addresses: addresses.clone(), reply };
        let link = endpoint.call(reach).await.ok()?.ok()?;
        let channel = link.open(WORKSPACE, Purpose::Admission).await.ok()?;
        let means = Means::Key { by: Right::Ticket, workspace: WORKSPACE, keys: secret.keys() };
        let mut number = [0; 32];
        self.env.random.fill(&mut number);
        match knock(self.key, &*link.connection, channel, means, text("Guest"), number, |_| ()).await {
            Ok(_) => {}
            Err(KnockError::Lost(_)) => return None,
            Err(KnockError::NotJoined(_)) => {
                self.ticket = None;
                return None;
            }
        }
        self.expected.is_now(key);
        // An endpoint that is being started again looks for itself, and is found by the host.
        let _ = endpoint.cast(EndpointMsg::Changed);
        let _ = endpoint.call(|reply| EndpointMsg::Add { key: Some(key), addresses, reply }).await;
        Some(())
    }

    /// A ticket from the next host.
    async fn is_invited(&mut self) -> Option<(Host, Secret)> {
        self.hosts.rotate_left(1);
        let host = self.hosts.last()?.clone();
        let (admission, maker) = (host.front.now().1?.workspace.admission, Some(host.maker));
        let invited = admission.call(|reply| AdmissionMsg::Invite { terms: TERMS, maker, reply }).await;
        let (_, secret) = invited.ok()?.ok()?;
        Some((host, secret))
    }

    /// Whether its own state shows it as one; none if that cannot be told now.
    fn is_member(&self) -> Option<bool> {
        let snapshot = self.front.now().1?.workspace.snapshots.snapshot().ok()?;
        Some(read::membership(snapshot.view(), self.key).ok()? == Membership::Admitted)
    }
}
