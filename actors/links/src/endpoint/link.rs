//! A link: the conversation of two nodes on one connection, from the hello to the end.
//!
//! It shows what the two share, hands out channels, and measures. It decides nothing about which connection is kept:
//! that it asks the endpoint, once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use openprod_messages::environment::Clock;
use openprod_messages::watch;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::FrameError;
use openprod_wire::hello::{Control, Hello, MAX_WORKSPACES, TAG_LABEL, Versions, WorkspaceTag, clock_offset_ms};
use openprod_wire::opening::Opening;

use super::status::Obstacle;
use super::{LinkId, Purpose, Workspaces};
use crate::transport::{Channel, Closed, Connection, FrameSender, LinkError, Side};

/// How long the other may take to say hello, or to say what a channel is for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the clocks are compared.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// How often it is looked whether anything was heard: people are told of silence in seconds.
const LISTEN_EVERY: Duration = Duration::from_secs(1);

/// How long somebody who is no member may stay who has asked to be admitted: a person has to answer.
const APPLICANT_PATIENCE: Duration = Duration::from_mins(30);

/// How long somebody may stay who is no member and asks for nothing.
const STRANGER_PATIENCE: Duration = Duration::from_secs(30);

/// Channels whose openings are awaited at once.
const MAX_OPENINGS: usize = 32;

/// A connection with another node, as the work on it sees it. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    /// Which connection this is, within this run of the node.
    pub id: LinkId,
    /// The other's key, proven.
    pub peer: ActorId,
    /// The protocol version that both speak.
    pub version: u16,
    /// The connection.
    pub connection: Arc<dyn Connection>,
    heard: Arc<Heard>,
    secret: [u8; 32],
}

/// When something was last heard on a link, whatever it was.
#[derive(Debug)]
struct Heard {
    bytes: AtomicU64,
    at_ms: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({} with {})", self.id.0, self.peer.short())
    }
}

impl Link {
    /// Opens a channel of a workspace. The other may refuse it: then its first answer is that it was given up.
    pub async fn open(&self, workspace: WorkspaceId, purpose: Purpose) -> Result<Channel, LinkError> {
        let tag = self.tag(workspace, self.connection.side());
        let mut channel = self.connection.open().await?;
        channel.send.say(&purpose.opening(tag)).await?;
        Ok(channel)
    }

    /// For how many milliseconds nothing was heard, to the second.
    pub fn silent_ms(&self, clock: &dyn Clock) -> u64 {
        clock.monotonic_ms().saturating_sub(self.heard.at_ms.load(Ordering::Relaxed))
    }

    fn listen(&self, clock: &dyn Clock) {
        let received = self.connection.traffic().received;
        if self.heard.bytes.swap(received, Ordering::Relaxed) != received {
            self.heard.at_ms.store(clock.monotonic_ms(), Ordering::Relaxed);
        }
    }

    /// The workspace, of these, that the other names by a tag.
    fn workspace(&self, tag: WorkspaceTag, of: &[WorkspaceId]) -> Option<WorkspaceId> {
        let side = self.connection.side().other();
        of.iter().find(|workspace| self.tag(**workspace, side) == tag).copied()
    }

    fn tag(&self, workspace: WorkspaceId, side: Side) -> WorkspaceTag {
        WorkspaceTag::of(workspace, &self.secret, side)
    }

    fn tags(&self, of: impl IntoIterator<Item = WorkspaceId>) -> Vec<WorkspaceTag> {
        of.into_iter().take(MAX_WORKSPACES).map(|workspace| self.tag(workspace, self.connection.side())).collect()
    }
}

/// What a node says about itself.
#[derive(Debug, Clone)]
pub(super) struct Myself {
    /// Drawn at its start.
    pub(super) life: u64,
    /// `openprod 0.1.0`
    pub(super) software: String,
    /// The protocol versions that it speaks.
    pub(super) versions: Versions,
}

/// What the other said about itself.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    pub(super) link: Link,
    pub(super) life: u64,
    pub(super) software: String,
}

/// What changes on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The workspaces that both take part in.
    Shares(Vec<WorkspaceId>),
    /// How far the other's clock is ahead, in milliseconds.
    ClockOffset(i64),
}

/// Why no hello came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("it speaks protocol {theirs}, this node {ours}: update the older of the two")]
    Version { theirs: Versions, ours: Versions },
    #[error("it has no workspace in common with this node")]
    Stranger,
    #[error("it did not say hello")]
    Misbehaved,
    #[error("it is this very node")]
    Myself,
    #[error("{}", super::peers::TWIN_OF_THIS)]
    Twin,
    /// No failure: its channel was handed over.
    #[error("it asks to be admitted")]
    Asks,
}

impl HelloError {
    /// What the other is told.
    pub(super) fn code(&self) -> CloseCode {
        match self {
            Self::Link(LinkError::TooSlow) => CloseCode::TOO_SLOW,
            // What ends within a frame broke off there: that may happen to anybody, and one tries again soon.
            Self::Link(LinkError::Closed(_) | LinkError::GivenUp(_) | LinkError::Truncated) | Self::Asks => {
                CloseCode::DONE
            }
            Self::Link(_) | Self::Misbehaved => CloseCode::MISBEHAVED,
            Self::Version { .. } => CloseCode::VERSION,
            Self::Stranger => CloseCode::NOT_WELCOME,
            Self::Myself => CloseCode::MYSELF,
            Self::Twin => CloseCode::TWIN,
        }
    }

    /// What stands in the way, if that is known.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Link(LinkError::Closed(how)) => Obstacle::of_closing(how),
            Self::Version { .. } => Some(Obstacle::Version),
            Self::Stranger => Some(Obstacle::NotAMember),
            Self::Myself | Self::Twin => Some(Obstacle::Myself),
            Self::Link(_) | Self::Misbehaved | Self::Asks => None,
        }
    }

    /// Whether trying again soon would end the same way.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Link(LinkError::Closed(how)) => super::peers::is_unwelcome(how),
            Self::Link(_) | Self::Misbehaved | Self::Asks => false,
            Self::Version { .. } | Self::Stranger | Self::Myself | Self::Twin => true,
        }
    }
}

/// What a link needs to begin.
pub(super) struct Beginning {
    pub(super) id: LinkId,
    /// The key of this node.
    pub(super) own: ActorId,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) myself: Myself,
    /// The workspaces that this node runs or is about to join.
    pub(super) known: Vec<WorkspaceId>,
    pub(super) workspaces: Arc<dyn Workspaces>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Beginning {
    /// Says hello, whoever begins, and gives the conversation from there on.
    pub(super) async fn greet(self) -> Result<(Greeting, Channel), HelloError> {
        let greeted = tokio::time::timeout(PATIENCE, self.exchange()).await;
        greeted.unwrap_or(Err(HelloError::Link(LinkError::TooSlow)))
    }

    async fn exchange(self) -> Result<(Greeting, Channel), HelloError> {
        match self.connection.side() {
            _ if self.connection.peer() == self.own => Err(self.meet_own_key().await.unwrap_or_else(|error| error)),
            Side::Dialler => self.speak_first().await,
            Side::Dialled => self.answer().await,
        }
    }

    async fn speak_first(self) -> Result<(Greeting, Channel), HelloError> {
        let mut channel = self.connection.open().await.map_err(LinkError::from)?;
        channel.send.say(&Opening::Control).await?;
        channel.send.say(&Control::Hello(self.hello(self.known.clone()))).await?;
        let theirs = self.hear(&mut channel).await?;
        let greeting = self.agree(theirs)?;
        Ok((greeting, channel))
    }

    /// The other end has this node's own key: it is this node, dialled by itself, or one that was copied. Only who was
    /// dialled can tell, by the other's life.
    async fn meet_own_key(&self) -> Result<HelloError, HelloError> {
        if self.connection.side() == Side::Dialler {
            let mut channel = self.connection.open().await.map_err(LinkError::from)?;
            channel.send.say(&Opening::Control).await?;
            channel.send.say(&Control::Hello(self.hello(Vec::new()))).await?;
            return Ok(match self.connection.closed().await {
                Closed::There(CloseCode::TWIN) => HelloError::Twin,
                Closed::There(CloseCode::MYSELF) => HelloError::Myself,
                other => LinkError::Closed(other).into(),
            });
        }
        let mut channel = self.connection.accept().await.map_err(LinkError::from)?;
        match channel.receive.hear().await? {
            Some(Opening::Control) => {}
            _ => return Ok(HelloError::Misbehaved),
        }
        let theirs = self.hear(&mut channel).await?;
        Ok(if theirs.life == self.myself.life { HelloError::Myself } else { HelloError::Twin })
    }

    /// Nothing is said before the other has shown that it knows a workspace of this node.
    async fn answer(self) -> Result<(Greeting, Channel), HelloError> {
        let mut channel = self.connection.accept().await.map_err(LinkError::from)?;
        match channel.receive.hear().await? {
            Some(Opening::Control) => {}
            Some(Opening::Asking) => {
                self.workspaces.asked(Arc::clone(&self.connection), channel);
                return Err(HelloError::Asks);
            }
            _ => return Err(HelloError::Misbehaved),
        }
        let theirs = self.hear(&mut channel).await?;
        let link = self.link(0);
        let named: BTreeSet<_> = theirs.knows.iter().copied().collect();
        let is_named = |workspace: &WorkspaceId| named.contains(&link.tag(*workspace, Side::Dialler));
        let shared: Vec<_> = self.known.iter().copied().filter(is_named).collect();
        if shared.is_empty() {
            return Err(HelloError::Stranger);
        }
        let answer = Control::Hello(self.hello(shared));
        let greeting = self.agree(theirs)?;
        channel.send.say(&answer).await?;
        Ok((greeting, channel))
    }

    async fn hear(&self, channel: &mut Channel) -> Result<Hello, HelloError> {
        match channel.receive.hear().await {
            Ok(Some(Control::Hello(hello))) => Ok(hello),
            Ok(Some(_)) => Err(HelloError::Misbehaved),
            // The channel goes with its connection, which says why a moment later.
            Ok(None) | Err(LinkError::GivenUp(_)) => Err(LinkError::Closed(self.connection.closed().await).into()),
            Err(error) => Err(error.into()),
        }
    }

    fn hello(&self, knows: Vec<WorkspaceId>) -> Hello {
        Hello {
            versions: self.myself.versions,
            life: self.myself.life,
            software: self.myself.software.clone(),
            clock_ms: self.clock.wall_ms(),
            features: 0,
            knows: self.link(0).tags(knows),
        }
    }

    fn agree(&self, theirs: Hello) -> Result<Greeting, HelloError> {
        let (ours, theirs_are) = (self.myself.versions, theirs.versions);
        let version = ours.agree(theirs_are).ok_or(HelloError::Version { theirs: theirs_are, ours })?;
        Ok(Greeting { link: self.link(version), life: theirs.life, software: theirs.software })
    }

    fn link(&self, version: u16) -> Link {
        let connection = Arc::clone(&self.connection);
        let secret = connection.exporter(TAG_LABEL, &[]);
        let heard = Heard { bytes: AtomicU64::new(0), at_ms: AtomicU64::new(self.clock.monotonic_ms()) };
        Link { id: self.id, peer: connection.peer(), version, connection, heard: Arc::new(heard), secret }
    }
}

/// The conversation after the hello.
pub(super) struct Conversation {
    pub(super) link: Link,
    pub(super) control: Channel,
    pub(super) workspaces: Arc<dyn Workspaces>,
    pub(super) clock: Arc<dyn Clock>,
    /// Counts the times at which workspaces or members changed; gone with the endpoint.
    pub(super) changes: watch::Receiver<u64>,
    /// Asked to open the channel of a workspace again.
    pub(super) renewals: tokio::sync::mpsc::UnboundedReceiver<WorkspaceId>,
    pub(super) tells: Box<dyn Fn(News) + Send>,
}

type Opened = (WorkspaceId, Result<Channel, LinkError>);
type Awaited = (Channel, Result<Option<Opening>, LinkError>);

/// What the conversation knows.
struct Talk {
    link: Link,
    side: Side,
    workspaces: Arc<dyn Workspaces>,
    clock: Arc<dyn Clock>,
    tells: Box<dyn Fn(News) + Send>,
    say: FrameSender,
    /// Where this node takes the other for a member.
    here: BTreeSet<WorkspaceId>,
    /// The tags of where the other takes this node for one.
    there: BTreeSet<WorkspaceTag>,
    /// The workspaces whose channels were opened or handed over.
    linked: BTreeSet<WorkspaceId>,
    opening: FuturesUnordered<BoxFuture<'static, Opened>>,
    awaited: FuturesUnordered<BoxFuture<'static, Awaited>>,
    leave_at: Option<tokio::time::Instant>,
}

impl Conversation {
    /// Goes on until the connection ends, and says how it did.
    pub(super) async fn go_on(self) -> Closed {
        let Self { link, control, workspaces, clock, mut changes, mut renewals, tells } = self;
        let Channel { send: say, mut receive } = control;
        let connection = Arc::clone(&link.connection);
        let (closed, side) = (connection.closed(), connection.side());
        // Who dialled has its reasons, and waits for the other's patience to end.
        let patience = if side == Side::Dialler { APPLICANT_PATIENCE } else { STRANGER_PATIENCE };
        let leave_at = Some(tokio::time::Instant::now() + patience);
        let mut talk = Talk {
            link,
            side,
            workspaces,
            clock,
            tells,
            say,
            here: BTreeSet::new(),
            there: BTreeSet::new(),
            linked: BTreeSet::new(),
            opening: FuturesUnordered::new(),
            awaited: FuturesUnordered::new(),
            leave_at,
        };
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let mut listen = tokio::time::interval(LISTEN_EVERY);
        let mut said = talk.reconsider().await;
        tokio::pin!(closed);
        while said.is_ok() {
            let may_await = talk.awaited.len() < MAX_OPENINGS;
            said = tokio::select! {
                biased;
                _ = &mut closed => break,
                changed = changes.changed() => match changed {
                    Ok(()) => talk.reconsider().await,
                    Err(_) => Err(CloseCode::STOPPING),
                },
                heard = receive.hear::<Control>() => talk.hear(heard).await,
                Some(workspace) = renewals.recv() => {
                    talk.renew(workspace);
                    Ok(())
                }
                Some((workspace, channel)) = talk.opening.next() => {
                    talk.opened(workspace, channel);
                    Ok(())
                }
                Some((channel, opening)) = talk.awaited.next() => talk.take(channel, opening),
                accepted = connection.accept(), if may_await => {
                    talk.await_opening(accepted);
                    Ok(())
                }
                _ = probe.tick() => talk.probe().await,
                _ = listen.tick() => {
                    talk.link.listen(&*talk.clock);
                    Ok(())
                }
                () = leaving(talk.leave_at) => Err(CloseCode::NOT_WELCOME),
            };
        }
        if let Err(code) = said {
            connection.close(code);
        }
        talk.part();
        connection.closed().await
    }
}

async fn leaving(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A step of the conversation: done, or the reason to close the connection.
type Step = Result<(), CloseCode>;

impl Talk {
    /// Workspaces or members have changed: what the two share is worked out again.
    async fn reconsider(&mut self) -> Step {
        let peer = self.link.peer;
        let known = self.workspaces.known();
        let here: BTreeSet<_> = known.into_iter().filter(|w| self.workspaces.is_member(*w, peer)).collect();
        if here == self.here {
            return Ok(());
        }
        let (was_empty, is_empty) = (self.here.is_empty(), here.is_empty());
        self.here = here;
        self.shut();
        if is_empty {
            return Err(CloseCode::NOT_WELCOME);
        }
        if was_empty {
            self.leave_at = None;
            self.link.connection.welcome();
        }
        let tags = self.link.tags(self.here.iter().copied());
        self.say(&Control::Welcome(tags)).await?;
        self.share();
        Ok(())
    }

    /// Takes away the channels of workspaces in which the other is no member any more.
    fn shut(&mut self) {
        let (stay, go): (BTreeSet<_>, BTreeSet<_>) = self.linked.iter().partition(|w| self.here.contains(w));
        self.linked = stay;
        for workspace in go {
            self.workspaces.parted(&self.link, workspace);
        }
    }

    /// What both take part in; who dialled opens the channels that are missing.
    fn share(&mut self) {
        let theirs = self.side.other();
        let is_shared = |workspace: &WorkspaceId| self.there.contains(&self.link.tag(*workspace, theirs));
        let shared: Vec<_> = self.here.iter().copied().filter(is_shared).collect();
        if self.side == Side::Dialler {
            let missing: Vec<_> = shared.iter().copied().filter(|w| !self.linked.contains(w)).collect();
            for workspace in missing {
                self.open(workspace);
            }
        }
        (self.tells)(News::Shares(shared));
    }

    fn open(&mut self, workspace: WorkspaceId) {
        self.linked.insert(workspace);
        let link = self.link.clone();
        self.opening.push(Box::pin(async move { (workspace, link.open(workspace, Purpose::Bundles).await) }));
    }

    fn opened(&mut self, workspace: WorkspaceId, channel: Result<Channel, LinkError>) {
        match channel {
            Ok(channel) if self.here.contains(&workspace) => {
                self.workspaces.linked(&self.link, workspace, Purpose::Bundles, channel);
            }
            Ok(channel) => channel.give_up(CloseCode::NOT_WELCOME),
            Err(_) => drop(self.linked.remove(&workspace)),
        }
    }

    /// The work on a workspace broke off on this side, and begins again.
    fn renew(&mut self, workspace: WorkspaceId) {
        let is_shared = self.there.contains(&self.link.tag(workspace, self.side.other()));
        if self.side == Side::Dialler && self.here.contains(&workspace) && is_shared {
            self.open(workspace);
        }
    }

    async fn hear(&mut self, heard: Result<Option<Control>, LinkError>) -> Step {
        match heard {
            Ok(Some(Control::Welcome(tags))) => {
                self.there = tags.into_iter().collect();
                self.share();
                Ok(())
            }
            Ok(Some(Control::Probe { sent_ms })) => {
                let clock_ms = self.clock.wall_ms();
                self.say(&Control::Echo { sent_ms, clock_ms }).await
            }
            Ok(Some(Control::Echo { sent_ms, clock_ms })) => {
                (self.tells)(News::ClockOffset(clock_offset_ms(sent_ms, self.clock.wall_ms(), clock_ms)));
                Ok(())
            }
            // A newer node may say more than this one understands.
            Err(LinkError::Frame(FrameError::Unknown { .. })) => Ok(()),
            Ok(Some(Control::Hello(_))) | Err(LinkError::Frame(_)) => Err(CloseCode::MISBEHAVED),
            Ok(None) | Err(_) => Err(CloseCode::DONE),
        }
    }

    fn await_opening(&mut self, accepted: Result<Channel, Closed>) {
        if let Ok(mut channel) = accepted {
            self.awaited.push(Box::pin(async move {
                let opening = channel.receive.hear_within(PATIENCE).await;
                (channel, opening)
            }));
        }
    }

    /// The other has opened a channel, and said what for.
    fn take(&mut self, channel: Channel, opening: Result<Option<Opening>, LinkError>) -> Step {
        match opening.map(|opening| opening.and_then(Purpose::of)) {
            Ok(Some((purpose, tag))) => self.hand_over(channel, purpose, tag),
            Ok(None) | Err(LinkError::Frame(FrameError::Unknown { .. })) => channel.give_up(CloseCode::UNKNOWN),
            Err(LinkError::Frame(_)) => return Err(CloseCode::MISBEHAVED),
            Err(LinkError::TooSlow) => channel.give_up(CloseCode::TOO_SLOW),
            Err(_) => channel.give_up(CloseCode::DONE),
        }
        Ok(())
    }

    fn hand_over(&mut self, channel: Channel, purpose: Purpose, tag: WorkspaceTag) {
        let known = self.workspaces.known();
        let Some(workspace) = self.link.workspace(tag, &known) else {
            return channel.give_up(CloseCode::NOT_WELCOME);
        };
        let is_allowed = match purpose {
            Purpose::Admission => true,
            Purpose::Bundles => self.here.contains(&workspace) && self.side == Side::Dialled,
            Purpose::Files => self.here.contains(&workspace),
        };
        if !is_allowed {
            return channel.give_up(CloseCode::NOT_WELCOME);
        }
        match purpose {
            Purpose::Bundles => drop(self.linked.insert(workspace)),
            Purpose::Admission if self.here.is_empty() => {
                self.leave_at = Some(tokio::time::Instant::now() + APPLICANT_PATIENCE);
            }
            _ => {}
        }
        self.workspaces.linked(&self.link, workspace, purpose, channel);
    }

    async fn probe(&mut self) -> Step {
        let sent_ms = self.clock.wall_ms();
        self.say(&Control::Probe { sent_ms }).await
    }

    async fn say(&mut self, control: &Control) -> Step {
        self.say.say(control).await.map_err(|error| match error {
            LinkError::TooSlow => CloseCode::TOO_SLOW,
            _ => CloseCode::DONE,
        })
    }

    fn part(&mut self) {
        for workspace in std::mem::take(&mut self.linked) {
            self.workspaces.parted(&self.link, workspace);
        }
    }
}
