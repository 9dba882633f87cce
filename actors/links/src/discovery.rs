//! Discovery: finding nodes on the local network by multicast DNS (RFC 6762, RFC 6763), on all of its interfaces.
//!
//! All that is heard is a hint. It is bounded here, told to the endpoint, and proven by the handshake or not at all.
//! mdns-sd keeps whatever it hears, without a bound and mostly without a word; so what it keeps is counted, and under a
//! flood its daemon is stopped for a while, and a new one begins with nothing.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use openprod_messages::address::Address;
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::ids::ActorId;
use openprod_wire::beacon::Beacon;

use crate::endpoint::{EndpointMsg, Workspaces};
pub use sightings::Nearby;
use sightings::{Sighting, Sightings, Verdict};

pub mod sightings;
#[cfg(test)]
mod tests;

/// The service under which nodes are found. QUIC runs on UDP.
const SERVICE: &str = "_openprod._udp.local.";

/// The port of multicast DNS.
pub const MDNS_PORT: u16 = 5353;

/// The salt of the tags is drawn anew so often.
const SALT_FOR: Duration = Duration::from_hours(24);

/// The pause before a daemon that failed is started again.
const PAUSE: Duration = Duration::from_secs(10);

/// The pause after a flood.
const FLOOD_PAUSE: Duration = Duration::from_mins(1);

/// How often it is counted what the daemon keeps.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How long the daemon may take to count: it does so between two packets.
const COUNT_WITHIN: Duration = Duration::from_secs(5);

/// So many records are a flood: a venue full of nodes has some thousands, and they take a few MiB.
const MAX_RECORDS: i64 = 10_000;

/// On which of the machine's interfaces a node is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On all but loopback.
    Network,
    /// On the interface with this address only.
    Interface(IpAddr),
}

/// What discovery may use.
#[derive(Clone)]
pub struct DiscoveryArgs {
    /// This node's key.
    pub key: ActorId,
    /// The port on which it is dialled.
    pub port: u16,
    /// On which interfaces.
    pub reach: Reach,
    /// The port of multicast DNS: [`MDNS_PORT`], but for tests.
    pub mdns_port: u16,
    /// The node's workspaces.
    pub workspaces: Arc<dyn Workspaces>,
    /// Who is told.
    pub endpoint: Address<EndpointMsg>,
    /// Where the open workspaces near are shown.
    pub nearby: Arc<watch::Sender<Vec<Nearby>>>,
    /// Clock and randomness.
    pub env: Environment,
}

/// Why discovery pauses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("multicast DNS does not work here: {0}")]
    Daemon(String),
    #[error("more was heard than any venue has nodes")]
    Flood,
    #[error("it fell behind")]
    Behind,
}

impl From<mdns_sd::Error> for Broken {
    fn from(error: mdns_sd::Error) -> Self {
        Self::Daemon(error.to_string())
    }
}

impl Broken {
    fn pause(&self) -> Duration {
        match self {
            Self::Flood => FLOOD_PAUSE,
            Self::Daemon(_) | Self::Behind => PAUSE,
        }
    }
}

/// Shows this node and looks for others, until the sender of `changes` is gone. `changes` counts the times at which the
/// workspaces changed.
pub async fn run(args: DiscoveryArgs, mut changes: watch::Receiver<u64>) {
    while let Err(broken) = look(&args, &mut changes).await {
        tracing::warn!(%broken, "looking for nodes on the local network pauses");
        tokio::select! {
            biased;
            () = gone(changes.clone()) => break,
            () = tokio::time::sleep(broken.pause()) => {}
        }
    }
}

async fn gone(mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {}
}

/// A daemon that stops when it is dropped, saying goodbye.
struct Daemon(ServiceDaemon);

impl Drop for Daemon {
    fn drop(&mut self) {
        // A daemon that does not listen any more is stopped already.
        let _ = self.0.shutdown();
    }
}

impl Daemon {
    fn start(args: &DiscoveryArgs) -> Result<Self, Broken> {
        let daemon = Self(ServiceDaemon::new_with_port(args.mdns_port)?);
        match args.reach {
            Reach::Network => daemon.0.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?,
            Reach::Interface(ip) => {
                daemon.0.disable_interface(IfKind::All)?;
                daemon.0.enable_interface(IfKind::Addr(ip))?;
            }
        }
        Ok(daemon)
    }

    /// Shows this node, in place of what was shown before.
    fn show(&self, args: &DiscoveryArgs, salt: [u8; 8]) -> Result<(), Broken> {
        let open = args.workspaces.advertised();
        let beacon = Beacon::of(args.key, salt, &args.workspaces.known(), &open);
        let name = args.key.short();
        let host = format!("openprod-{name}.local.");
        let txt = beacon.to_txt();
        let info = ServiceInfo::new(SERVICE, &name, &host, "", args.port, txt.as_slice())?;
        self.0.register(info.enable_addr_auto())?;
        Ok(())
    }

    /// Whoever sends addresses that nobody asked for is remembered for as long as he says, and no event tells.
    async fn count(&self) -> Result<(), Broken> {
        let counting = self.0.get_metrics()?;
        let counted = tokio::time::timeout(COUNT_WITHIN, counting.recv_async()).await;
        let counted = counted.ok().and_then(Result::ok).ok_or(Broken::Behind)?;
        let records = counted.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| count);
        if records.sum::<i64>() > MAX_RECORDS { Err(Broken::Flood) } else { Ok(()) }
    }
}

/// Looks until nobody wants it any more, or it cannot.
async fn look(args: &DiscoveryArgs, changes: &mut watch::Receiver<u64>) -> Result<(), Broken> {
    let daemon = Daemon::start(args)?;
    let events = daemon.0.browse(SERVICE)?;
    let mut sightings = Sightings::new(args.key, args.env.clock.monotonic_ms());
    let mut salt = drawn(args);
    let mut renewal = tokio::time::interval(SALT_FOR);
    let mut count = tokio::time::interval(COUNT_EVERY);
    loop {
        tokio::select! {
            biased;
            news = changes.changed() => match news {
                Ok(()) => daemon.show(args, salt)?,
                Err(_) => return Ok(()),
            },
            _ = renewal.tick() => {
                salt = drawn(args);
                daemon.show(args, salt)?;
            }
            _ = count.tick() => daemon.count().await?,
            event = events.recv_async() => heard(args, &mut sightings, event.map_err(|_| Broken::Behind)?)?,
        }
    }
}

fn drawn(args: &DiscoveryArgs) -> [u8; 8] {
    let mut salt = [0; 8];
    args.env.random.fill(&mut salt);
    salt
}

fn heard(args: &DiscoveryArgs, sightings: &mut Sightings, event: ServiceEvent) -> Result<(), Broken> {
    let now_ms = args.env.clock.monotonic_ms();
    let verdict = match event {
        ServiceEvent::ServiceResolved(service) => match sighting(&service) {
            Some(sighting) => sightings.see(sighting, &args.workspaces.known(), now_ms),
            None => sightings.overhear(now_ms),
        },
        ServiceEvent::ServiceRemoved(_, name) => {
            if let Some(key) = sightings.leave(&name) {
                tell(args, EndpointMsg::Left { key });
            }
            sightings.overhear(now_ms)
        }
        _ => sightings.overhear(now_ms),
    };
    show_nearby(args, sightings);
    match verdict {
        Verdict::Tell { key, addresses } => tell(args, EndpointMsg::Found { key, addresses }),
        Verdict::PassOver => {}
        Verdict::Flood => return Err(Broken::Flood),
    }
    Ok(())
}

fn show_nearby(args: &DiscoveryArgs, sightings: &Sightings) {
    args.nearby.send_if_modified(|shown| {
        let nearby = sightings.nearby();
        let is_news = *shown != nearby;
        *shown = nearby;
        is_news
    });
}

/// An endpoint that is restarting hears of the node when it is seen again.
fn tell(args: &DiscoveryArgs, message: EndpointMsg) {
    let _ = args.endpoint.cast(message);
}

fn sighting(service: &ResolvedService) -> Option<Sighting> {
    let beacon = Beacon::from_txt(|key| service.get_property_val_str(key))?;
    let addresses = service.addresses.iter().map(|ip| address(ip, service.port)).collect();
    Some(Sighting { name: service.fullname.clone(), beacon, addresses })
}

/// An address with the interface on which it means something, where it needs one.
fn address(ip: &ScopedIp, port: u16) -> SocketAddr {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        ip => SocketAddr::new(ip.to_ip_addr(), port),
    }
}
