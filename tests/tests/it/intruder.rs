//! Somebody who speaks to a node's UDP port without being a node: a stranger, or a member who keeps no rule.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use openprod_links::transport::quic::Quic;
use openprod_links::transport::{Channel, Connection, DialError, Network as _, PROTOCOL};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, Digest, OpId, WorkspaceId};
use openprod_model::operation::RawOp;
use openprod_model::value::Text;
use openprod_wire::hello::{Control, Hello, Side, TAG_LABEL, VERSIONS, WorkspaceTag};
use openprod_wire::opening::Opening;
use openprod_wire::replication::{Frontier, Lacking, Message, Tip};

/// Longer than a node on this machine takes to answer, on the slowest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody with a key and a socket.
pub(crate) struct Intruder {
    pub(crate) keys: Keys,
    pub(crate) quic: Arc<Quic>,
}

impl Intruder {
    /// The `number`th, at an address of loopback of its own.
    pub(crate) fn number(number: u8) -> Self {
        Self::speaking(number, PROTOCOL)
    }

    /// The same, with another protocol than nodes speak.
    pub(crate) fn speaking(number: u8, protocol: &'static [u8]) -> Self {
        let keys = Keys::from_seed(&[number; 32]);
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0));
        let quic = Quic::speaking(protocol, &keys, address).unwrap();
        Self { keys, quic }
    }

    pub(crate) async fn dials(&self, node: SocketAddr) -> Result<Arc<dyn Connection>, DialError> {
        self.quic.dial(node, None).await
    }
}

/// The first datagram by which a connection begins, as a dial would send it: nobody goes on behind it.
pub(crate) async fn first_datagram(intruder: &Intruder) -> Vec<u8> {
    let deaf = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dial = intruder.quic.dial(deaf.local_addr().unwrap(), None);
    let mut datagram = vec![0; 2048];
    let length = tokio::select! {
        length = deaf.recv(&mut datagram) => length.unwrap(),
        _ = dial => unreachable!("nobody answers there"),
    };
    datagram.truncate(length);
    datagram
}

/// Sends one datagram from a port that is used once.
pub(crate) fn throws(datagram: &[u8], at: SocketAddr) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(datagram, at).unwrap();
}

/// A tag by which a dialler names a workspace.
pub(crate) fn tag(connection: &dyn Connection, workspace: WorkspaceId) -> WorkspaceTag {
    WorkspaceTag::of(workspace, &connection.exporter(TAG_LABEL, &[]), Side::Dialler)
}

/// A hello by somebody who knows these.
pub(crate) fn hello(knows: Vec<WorkspaceTag>) -> Control {
    Control::Hello(Hello { versions: VERSIONS, life: 1, software: "intruder".into(), clock_ms: 0, features: 0, knows })
}

/// A member's place in a workspace, from which it may say anything.
pub(crate) struct Place {
    connection: Arc<dyn Connection>,
    _control: Channel,
    workspace: WorkspaceId,
}

impl Place {
    /// Dials, and goes as far as a member goes.
    pub(crate) async fn taken_by(intruder: &Intruder, node: SocketAddr, workspace: WorkspaceId) -> Self {
        let connection = intruder.dials(node).await.unwrap();
        let tag = tag(&*connection, workspace);
        let mut control = connection.open().await.unwrap();
        control.send.say(&Opening::Control).await.unwrap();
        control.send.say(&hello(vec![tag])).await.unwrap();
        while !matches!(control.receive.hear().await.unwrap(), Some(Control::Welcome(_))) {}
        control.send.say(&Control::Welcome(vec![tag])).await.unwrap();
        Self { connection, _control: control, workspace }
    }

    /// A channel of that purpose.
    pub(crate) async fn opens(&self, purpose: fn(WorkspaceTag) -> Opening) -> Channel {
        let mut channel = self.connection.open().await.unwrap();
        channel.send.say(&purpose(tag(&*self.connection, self.workspace))).await.unwrap();
        channel
    }

    /// A channel for bundles behind the greeting, as of somebody who has nothing; and the tips of the node.
    pub(crate) async fn greets(&self) -> (Channel, Vec<Tip>) {
        let mut channel = self.opens(|tag| Opening::Workspace { tag }).await;
        channel.send.say(&Message::from(Frontier::default())).await.unwrap();
        let tips = loop {
            if let Message::Frontier(frontier) = hears(&mut channel).await.expect("the greeting comes first") {
                break frontier.tips;
            }
        };
        let digests = tips.iter().map(|tip| tip.digest).collect();
        channel.send.say(&Message::from(Lacking { digests, coming: Vec::new(), more: false })).await.unwrap();
        (channel, tips)
    }
}

/// What comes next, if anything does.
pub(crate) async fn hears(channel: &mut Channel) -> Option<Message> {
    let heard = tokio::time::timeout(PATIENCE, channel.receive.hear::<Message>()).await;
    heard.expect("the node says something, or ends it").ok().flatten()
}

/// Waits until the node has had enough of a channel; gives what it says last.
pub(crate) async fn is_given_up(channel: &mut Channel) -> Option<String> {
    let mut last = None;
    while let Some(message) = hears(channel).await {
        if let Message::Goodbye(goodbye) = message {
            last = Some(goodbye.sentence);
        }
    }
    last
}

/// A bundle that is well made and signed, and builds on these.
pub(crate) fn bundle(keys: &Keys, workspace: WorkspaceId, number: u64, parents: Vec<Digest>, ms: u64) -> Bundle {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let hlc = Hlc { ms, counter: 0 };
    let stamp = Stamp { workspace, actor: keys.actor(), hlc, op_base: OpId::from_bytes(id) };
    let draft = Draft {
        stamp,
        id: BundleId::from_bytes(id),
        wall_ms: ms,
        parents,
        prev: None,
        kind: BundleKind::EDIT,
        label: Text::new("Say whatever").unwrap(),
        source: Source::default(),
        undoes: Vec::new(),
        ops: vec![RawOp { kind: 60_000, body: number.to_le_bytes().to_vec() }],
    };
    draft.seal(keys).unwrap()
}

/// The same bundle with a signature of which one bit is wrong.
pub(crate) fn forged(bundle: &Bundle) -> Vec<u8> {
    const FORMAT_BYTES: usize = 2;
    const LENGTH_BYTES: usize = 8;
    let mut bytes = bundle.bytes().to_vec();
    let length: [u8; LENGTH_BYTES] = bytes[FORMAT_BYTES..FORMAT_BYTES + LENGTH_BYTES].try_into().unwrap();
    let signature = FORMAT_BYTES + LENGTH_BYTES + usize::try_from(u64::from_le_bytes(length)).unwrap();
    bytes[signature + 7] ^= 1;
    let parsed = Bundle::parse(&bytes).expect("it is a bundle");
    assert!(parsed.digest() == bundle.digest() && !parsed.signature_holds());
    bytes
}
