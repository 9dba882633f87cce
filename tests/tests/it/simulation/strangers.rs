//! Strangers: somebody without a ticket, or with one that was taken back, comes by the network, says whatever, and asks
//! to be let in. He must be told nothing, and nobody may remember him.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_links::admission::guest::Means;
use openprod_links::admission::knock::knock;
use openprod_links::transport::memory::MemoryNetwork;
use openprod_links::transport::{Channel, Connection, Network};
use openprod_messages::admission::{AdmissionMsg, Terms};
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BlobHash, WorkspaceId};
use openprod_wire::admission::Right;
use openprod_wire::files::FileAsk;
use openprod_wire::hello::{Control, WorkspaceTag};
use openprod_wire::opening::Opening;
use openprod_wire::replication::{Frontier, Message};
use openprod_wire::ticket::Secret;

use super::clients::Said;
use super::joining::Host;
use crate::convergence::acts::text;
use crate::convergence::chance::Dice;
use crate::convergence::replica::WORKSPACE;
use crate::intruder::{hello, tag};

/// A stranger listens for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// The ticket that was taken back would have been good for an hour.
const TERMS: Terms = Terms { uses: 1, lifetime_ms: 3_600_000 };
/// The most bytes of rubbish at once.
const RUBBISH: usize = 1_400;

/// The key of all strangers.
pub(super) fn stranger_keys() -> Keys {
    Keys::from_seed(&[200; 32])
}

/// Where they come from.
pub(super) fn stranger_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 200], 4433))
}

/// How a stranger goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Connects, and says nothing.
    Mute,
    /// Says rubbish in a channel of any kind.
    Babbles,
    /// Names a workspace that nobody has.
    Errs,
    /// Knows the workspace's id, names it, and asks for bundles and for a file as a member does.
    Pretends,
    /// Knows the id, and asks to be admitted by a ticket that he has made up.
    Forges,
    /// Was given a ticket, which was taken back.
    WasInvited,
}

impl Manner {
    pub(super) const ALL: [Self; 6] =
        [Self::Mute, Self::Babbles, Self::Errs, Self::Pretends, Self::Forges, Self::WasInvited];
}

/// A stranger at a machine.
pub(super) struct Stranger {
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) host: Host,
    pub(super) manner: Manner,
    /// A file that he has heard of.
    pub(super) wants: Option<BlobHash>,
    pub(super) dice: Dice,
}

/// What strangers were told, and must not be.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn hears(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// Whatever comes on a channel.
    async fn listens(&self, of: &str, mut channel: Channel) {
        while let Ok(Some(bytes)) = channel.receive.receive().await {
            self.hears(format!("{} bytes on the {of} channel", bytes.len()));
        }
    }

    /// Channels that the other opens.
    async fn is_called(&self, connection: &dyn Connection) {
        while connection.accept().await.is_ok() {
            self.hears("a channel was opened to him");
        }
    }

    /// After its hello, a node may say that it lives; but not that anything is shared.
    async fn converses(&self, control: &mut Channel) {
        while let Ok(Some(said)) = control.receive.hear::<Control>().await {
            if matches!(&said, Control::Welcome(shared) if !shared.is_empty()) {
                self.hears("he is welcome");
            }
        }
    }
}

impl Stranger {
    /// Comes, tries, and goes. None if there was nothing to try.
    pub(super) async fn comes(mut self) -> Option<Said> {
        let told = Told::default();
        let secret = match self.manner {
            Manner::WasInvited => self.was_invited().await?,
            _ => Secret::from_bytes(self.dice.bytes()),
        };
        let _ = tokio::time::timeout(PATIENCE, self.tries(secret, &told)).await;
        let told = told.0.lock().unwrap().clone();
        Some(if told.is_empty() { Said::TurnedAway } else { Said::Told(told) })
    }

    /// A ticket, which was taken back at once: both were acknowledged.
    async fn was_invited(&self) -> Option<Secret> {
        let (admission, maker) = (self.host.front.now().1?.workspace.admission, Some(self.host.maker));
        let invited = admission.call(|reply| AdmissionMsg::Invite { terms: TERMS, maker, reply }).await;
        let (note, secret) = invited.ok()?.ok()?;
        let revoked = admission.call(|reply| AdmissionMsg::Revoke { ticket: note.key, reply }).await;
        revoked.ok()?.ok().map(|_| secret)
    }

    async fn tries(&mut self, secret: Secret, told: &Told) -> Option<()> {
        let connection = self.network.dial(self.host.address, None).await.ok()?;
        match self.manner {
            Manner::Mute => told.is_called(&*connection).await,
            Manner::Babbles => self.babbles(&*connection, told).await?,
            Manner::Errs => {
                let control = says_hello(&*connection, WorkspaceId::from_bytes([9; 16])).await?;
                tokio::join!(told.listens("control", control), told.is_called(&*connection));
            }
            Manner::Pretends => self.pretends(&*connection, told).await?,
            Manner::Forges | Manner::WasInvited => self.knocks(&*connection, secret, told).await?,
        }
        Some(())
    }

    async fn babbles(&mut self, connection: &dyn Connection, told: &Told) -> Option<()> {
        let mut channel = connection.open().await.ok()?;
        let opening = self.dice.pick(&openings(tag(connection, WORKSPACE)))?;
        channel.send.say(&opening).await.ok()?;
        let length = 1 + self.dice.below(RUBBISH);
        channel.send.send((0..length).map(|_| self.dice.roll().to_le_bytes()[0]).collect()).await.ok()?;
        tokio::join!(told.listens("first", channel), told.is_called(connection));
        Some(())
    }

    async fn pretends(&self, connection: &dyn Connection, told: &Told) -> Option<()> {
        let tag = tag(connection, WORKSPACE);
        let mut control = says_hello(connection, WORKSPACE).await?;
        control.send.say(&Control::Welcome(vec![tag])).await.ok()?;
        let mut bundles = opens(connection, Opening::Workspace { tag }).await?;
        bundles.send.say(&Message::from(Frontier::default())).await.ok()?;
        let mut file = opens(connection, Opening::Blob { tag }).await?;
        let hash = self.wants.unwrap_or(BlobHash::from_bytes([1; 32]));
        file.send.say(&FileAsk::Outline { hash }).await.ok()?;
        let listening = async { tokio::join!(told.listens("bundles", bundles), told.listens("file", file)) };
        tokio::join!(listening, told.converses(&mut control), told.is_called(connection));
        Some(())
    }

    async fn knocks(&mut self, connection: &dyn Connection, secret: Secret, told: &Told) -> Option<()> {
        let tag = tag(connection, WORKSPACE);
        let mut control = says_hello(connection, WORKSPACE).await?;
        let channel = opens(connection, Opening::Admission { tag }).await?;
        let means = Means::Key { by: Right::Ticket, workspace: WORKSPACE, keys: secret.keys() };
        let (me, number) = (self.network.key(), self.dice.bytes());
        let knocking = async {
            if knock(me, connection, channel, means, text("Stranger"), number, |_| ()).await.is_ok() {
                told.hears("he is admitted");
            }
        };
        tokio::join!(knocking, told.converses(&mut control), told.is_called(connection));
        Some(())
    }
}

async fn says_hello(connection: &dyn Connection, workspace: WorkspaceId) -> Option<Channel> {
    let mut control = opens(connection, Opening::Control).await?;
    control.send.say(&hello(vec![tag(connection, workspace)])).await.ok()?;
    Some(control)
}

async fn opens(connection: &dyn Connection, opening: Opening) -> Option<Channel> {
    let mut channel = connection.open().await.ok()?;
    channel.send.say(&opening).await.ok()?;
    Some(channel)
}

fn openings(tag: WorkspaceTag) -> [Opening; 6] {
    [
        Opening::Control,
        Opening::Workspace { tag },
        Opening::Admission { tag },
        Opening::Blob { tag },
        Opening::Presence { tag },
        Opening::Asking,
    ]
}

/// Whether somebody is the stranger.
pub(super) fn is_stranger(actor: ActorId) -> bool {
    static KEY: std::sync::LazyLock<ActorId> = std::sync::LazyLock::new(|| stranger_keys().actor());
    actor == *KEY
}
