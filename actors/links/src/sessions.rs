//! The sessions room of a workspace: one session for each node with which it shares its bundles.
//!
//! ```text
//! workspace
//!  +- sessions                  this actor: begins them, notices how they end, tells how they stand
//!      +- session, per link     runs an engine over a channel
//! ```
//!
//! The endpoint hands over channels and says when a link is gone. A session that ends while its link stands is begun
//! again after a pause, on a channel that the endpoint asks for; the pause grows until both sides are found equal. When
//! this room dies its sessions go with it; the next incarnation asks for channels on the links that are known to the
//! [`Doorway`].
//!
//! Who is in the workspace now passes through here too, beside the bundles: see [`crate::company`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openprod_messages::address::{Address, NoAnswer};
use openprod_messages::watch;
use openprod_model::ids::{ActorId, SessionId, WorkspaceId};
use openprod_wire::presence::{self, Person};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::mpsc;

use crate::company::{BREATH, Company, Present};
use crate::endpoint::{EndpointMsg, LinkId};
use crate::replication::session::{LinkStanding, MOMENTS_AHEAD, Rooms, Session, SessionArgs, SessionMsg};
use crate::transport::Channel;

/// The pause before a session is begun again that broke off at once; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: a peer that cannot be worked with costs a greeting a minute.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// How often at most a link's word of who is there is listened to, and said: faster than eyes follow is a waste.
const MOMENT_EVERY: Duration = Duration::from_millis(100);

/// Everybody who is in a workspace now.
pub type Everybody = Arc<Vec<Present>>;

/// The way in for the endpoint's channels. It outlives the room, and remembers which links there are.
#[derive(Clone)]
pub struct Doorway {
    room: Address<SessionsMsg>,
    links: Arc<Mutex<BTreeSet<LinkId>>>,
    company: Arc<watch::Sender<Everybody>>,
}

impl Doorway {
    /// The way into `room`.
    pub fn of(room: Address<SessionsMsg>) -> Self {
        Self { room, links: Arc::default(), company: Arc::new(watch::Sender::default()) }
    }

    /// Here is a channel for bundles; it takes the place of the one before on its link.
    pub fn linked(&self, link: LinkId, peer: ActorId, channel: Channel) {
        self.links().insert(link);
        // A room that is restarting asks for another channel.
        let _ = self.room.cast(SessionsMsg::Linked { link, peer, channel });
    }

    /// A link is gone, or the other is no member any more.
    pub fn parted(&self, link: LinkId) {
        self.links().remove(&link);
        let _ = self.room.cast(SessionsMsg::Parted { link });
    }

    /// How all sessions stand; none while the room is down.
    pub async fn status(&self) -> Vec<SessionStatus> {
        self.room.call(|reply| SessionsMsg::Status { reply }).await.unwrap_or_default()
    }

    /// Somebody at this node is in the workspace, or somewhere else in it than before. He is told of for
    /// [`crate::company::HERE_FOR`]. False if there is no room for him.
    pub async fn arrives(&self, person: Person) -> Result<bool, NoAnswer> {
        self.room.call(|reply| SessionsMsg::Arrives { person, reply }).await
    }

    /// Somebody at this node goes.
    pub fn leaves(&self, session: SessionId) {
        // A room that restarts has forgotten him.
        let _ = self.room.cast(SessionsMsg::Leaves { session });
    }

    /// Who is in the workspace, now and as it changes.
    pub fn company(&self) -> watch::Receiver<Everybody> {
        self.company.subscribe()
    }

    fn links(&self) -> MutexGuard<'_, BTreeSet<LinkId>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the room may speak to and use.
#[derive(Clone)]
pub struct SessionsArgs {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The key of this node.
    pub own: ActorId,
    /// The workspace's other rooms.
    pub rooms: Rooms,
    /// Who has the links.
    pub endpoint: Address<EndpointMsg>,
    /// Where the endpoint hands over channels.
    pub doorway: Doorway,
}

/// A session, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// The other node.
    pub peer: ActorId,
    /// The link.
    pub link: LinkId,
    /// How far the two are.
    pub standing: LinkStanding,
}

/// Messages to the room.
pub enum SessionsMsg {
    /// Here is a channel for bundles; it takes the place of the one before on its link.
    Linked {
        /// The link.
        link: LinkId,
        /// The other node.
        peer: ActorId,
        /// The channel, after its opening.
        channel: Channel,
    },
    /// A link is gone, or the other is no member any more.
    Parted {
        /// The link.
        link: LinkId,
    },
    /// How all sessions stand.
    Status {
        /// In the order of the links.
        reply: RpcReplyPort<Vec<SessionStatus>>,
    },
    /// Somebody at this node is here.
    Arrives {
        /// Who, and where.
        person: Person,
        /// Whether there was room for him.
        reply: RpcReplyPort<bool>,
    },
    /// Somebody at this node goes.
    Leaves {
        /// His client session.
        session: SessionId,
    },
    /// Another node says something of the moment. Said by the room's own tasks.
    Heard {
        /// Over which link.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// It is time to tell others who is here. Said by the room to itself.
    Tell,
    /// It is time to tell again who is here, and to forget who is not. Said by the room to itself.
    Breath,
    /// A pause is over. Said by the room to itself.
    Again {
        /// The link.
        link: LinkId,
        /// Of which session: a later one needs none.
        attempt: u64,
    },
}

/// The actor.
pub struct Sessions;

impl Actor for Sessions {
    type Msg = SessionsMsg;
    type State = Desk;
    type Arguments = SessionsArgs;

    async fn pre_start(&self, myself: ActorRef<SessionsMsg>, args: SessionsArgs) -> Result<Desk, ActorProcessingErr> {
        // What its dead incarnation had in hand is gone.
        for link in args.doorway.links().iter() {
            let _ = args.endpoint.cast(EndpointMsg::Renew { link: *link, workspace: args.workspace });
        }
        let desk = Desk {
            myself,
            args,
            links: BTreeMap::new(),
            begun: 0,
            company: Company::default(),
            breathes: false,
            is_to_tell: false,
        };
        desk.shows();
        Ok(desk)
    }

    async fn handle(
        &self,
        _: ActorRef<SessionsMsg>,
        message: SessionsMsg,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionsMsg::Linked { link, peer, channel } => desk.linked(link, peer, channel).await,
            SessionsMsg::Parted { link } => desk.parted(link),
            SessionsMsg::Status { reply } => drop(reply.send(desk.status())),
            SessionsMsg::Arrives { person, reply } => drop(reply.send(desk.arrives(person))),
            SessionsMsg::Leaves { session } => desk.leaves(session),
            SessionsMsg::Heard { link, bytes } => desk.heard(link, &bytes),
            SessionsMsg::Tell => desk.tells(),
            SessionsMsg::Breath => desk.breath(),
            SessionsMsg::Again { link, attempt } => desk.again(link, attempt),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<SessionsMsg>,
        event: SupervisionEvent,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, ..) => desk.ended(&who),
            SupervisionEvent::ActorFailed(who, error) => {
                tracing::error!(%error, "a session with another node failed; it is begun again");
                desk.ended(&who);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A link, and the session on it.
struct Held {
    peer: ActorId,
    session: Option<ActorRef<SessionMsg>>,
    standing: watch::Receiver<LinkStanding>,
    attempt: u64,
    pause: Duration,
}

/// What the room has in hand.
pub struct Desk {
    myself: ActorRef<SessionsMsg>,
    args: SessionsArgs,
    links: BTreeMap<LinkId, Held>,
    begun: u64,
    company: Company,
    /// Whether a [`SessionsMsg::Breath`] is under way.
    breathes: bool,
    /// Whether a [`SessionsMsg::Tell`] is.
    is_to_tell: bool,
}

impl Desk {
    async fn linked(&mut self, link: LinkId, peer: ActorId, channel: Channel) {
        let pause = self.links.get(&link).map_or(MIN_PAUSE, |held| held.pause);
        self.parted(link);
        let (standing, stands) = watch::channel(LinkStanding::default());
        let (moments, said) = mpsc::channel(MOMENTS_AHEAD);
        tokio::spawn(listens(link, said, self.myself.clone()));
        let SessionsArgs { own, rooms, .. } = self.args.clone();
        let args = SessionArgs { own, peer, channel, rooms, standing, moments };
        let begun = Session::spawn_linked(None, Session, args, self.supervisor()).await;
        let session = begun.map_err(|error| tracing::error!(%error, "a session could not be begun")).ok();
        self.begun += 1;
        let failed = session.is_none();
        let held =
            Held { peer, session: session.map(|(session, _)| session), standing: stands, attempt: self.begun, pause };
        self.links.insert(link, held);
        if failed {
            self.pauses(link);
        }
        if self.company.is_anybody_here() {
            self.tells_soon();
        }
    }

    fn supervisor(&self) -> ActorCell {
        self.myself.get_cell()
    }

    fn parted(&mut self, link: LinkId) {
        if let Some(Held { session: Some(session), .. }) = self.links.remove(&link) {
            session.stop(Some("the link is gone".to_owned()));
        }
        self.company.parts(link);
        self.shows();
    }

    fn arrives(&mut self, person: Person) -> bool {
        let has_room = self.company.arrives(person, self.now_ms());
        if has_room {
            self.tells_soon();
            self.shows();
            self.breathes_on();
        }
        has_room
    }

    fn leaves(&mut self, session: SessionId) {
        self.company.leaves(session);
        self.tells_soon();
        self.shows();
    }

    /// Only a member's node has a session here.
    fn heard(&mut self, link: LinkId, bytes: &[u8]) {
        let Some((held, people)) = self.links.get(&link).zip(presence::hear(bytes)) else { return };
        self.company.hears(link, held.peer, people, self.now_ms());
        self.shows();
        self.breathes_on();
    }

    fn breath(&mut self) {
        self.breathes = false;
        self.company.passes(self.now_ms());
        self.tells_soon();
        self.shows();
        self.breathes_on();
    }

    fn breathes_on(&mut self) {
        if !self.breathes && !self.company.is_empty() {
            self.breathes = true;
            drop(self.myself.send_after(BREATH, || SessionsMsg::Breath));
        }
    }

    /// However often people move, a link is told a few times a second.
    fn tells_soon(&mut self) {
        if !std::mem::replace(&mut self.is_to_tell, true) {
            drop(self.myself.send_after(MOMENT_EVERY, || SessionsMsg::Tell));
        }
    }

    fn tells(&mut self) {
        self.is_to_tell = false;
        let words = self.company.words();
        for session in self.links.values().filter_map(|held| held.session.as_ref()) {
            // One that has just ended is begun again, and told then.
            let _ = session.cast(SessionMsg::Say(words.clone()));
        }
    }

    fn shows(&self) {
        let now = self.company.all();
        self.args.doorway.company.send_if_modified(|shown| {
            let is_news = **shown != now;
            *shown = Arc::new(now);
            is_news
        });
    }

    fn now_ms(&self) -> u64 {
        self.args.rooms.env.clock.monotonic_ms()
    }

    fn status(&self) -> Vec<SessionStatus> {
        let status = |(link, held): (&LinkId, &Held)| SessionStatus {
            peer: held.peer,
            link: *link,
            standing: held.standing.borrow().clone(),
        };
        self.links.iter().map(status).collect()
    }

    fn ended(&mut self, who: &ActorCell) {
        let is_it = |held: &Held| held.session.as_ref().is_some_and(|session| session.get_id() == who.get_id());
        let Some((link, held)) = self.links.iter_mut().find(|(_, held)| is_it(held)) else { return };
        let link = *link;
        held.session = None;
        if held.standing.borrow().synced.is_some() {
            held.pause = MIN_PAUSE;
        }
        if let Some(why) = &held.standing.borrow().ended {
            tracing::info!(peer = %held.peer.short(), %why, "a session with another node ended");
        }
        self.pauses(link);
    }

    fn pauses(&mut self, link: LinkId) {
        let Some(held) = self.links.get_mut(&link) else { return };
        let attempt = held.attempt;
        drop(self.myself.send_after(held.pause, move || SessionsMsg::Again { link, attempt }));
        held.pause = (held.pause * 2).min(MAX_PAUSE);
    }

    fn again(&mut self, link: LinkId, attempt: u64) {
        if self.links.get(&link).is_some_and(|held| held.attempt == attempt && held.session.is_none()) {
            let _ = self.args.endpoint.cast(EndpointMsg::Renew { link, workspace: self.args.workspace });
        }
    }
}

/// Gives what a peer says of the moment to the room, the latest only, and not faster than people look.
async fn listens(link: LinkId, mut said: mpsc::Receiver<Vec<u8>>, room: ActorRef<SessionsMsg>) {
    while let Some(mut bytes) = said.recv().await {
        while let Ok(later) = said.try_recv() {
            bytes = later;
        }
        if room.cast(SessionsMsg::Heard { link, bytes }).is_err() {
            return;
        }
        tokio::time::sleep(MOMENT_EVERY).await;
    }
}
