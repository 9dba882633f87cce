//! An edit on one node as a client of another one sees it while strangers come to the door of the first.
//!
//! Whoever dials costs this machine more than it costs the node, so the same crowd comes to another node's door first.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openprod_client::{Workspace, v1};
use openprod_links::transport::quic::Quic;
use openprod_links::transport::{Connection, Network as _};
use openprod_model::identity::Keys;
use openprod_model::ids::ActorId;
use openprod_wire::hello::{Control, Hello, VERSIONS};
use openprod_wire::opening::Opening;
use tokio::task::{JoinHandle, JoinSet};

use super::kit::{Failure, Node, at, edit, line, load, ms, plain, rate};
use super::visible::{Audience, company};

/// Edits that are followed while nobody comes.
const EDITS: usize = 500;
/// Keys and addresses that the strangers have among them, each of which dials one after another.
const STRANGERS: u8 = 24;
/// How long a stranger listens who was let in: longer than the node takes to send it away.
const LISTENS: Duration = Duration::from_secs(1);

pub(super) async fn figures(folder: &Path, dials: usize) -> Result<(), Failure> {
    let (nodes, views) = company(folder, 2).await?;
    let mut elsewhere = Node::among_peers(&folder.join("elsewhere"))?;
    let decoy = elsewhere.workspace("Elsewhere").await?;
    let records = load(&views[0], 100).await?;
    let mut audience = Audience::of(&views).await?;
    let mut calm = Vec::new();
    for n in 0..EDITS {
        calm.push(audience.sees(&edit(&records[n % records.len()], n)).await?);
    }
    let mut beside = meanwhile(&mut audience, &records, come(door(&decoy).await?, dials)).await?;
    let before = nodes[0].resident_mib()?;
    let start = Instant::now();
    let mut during = meanwhile(&mut audience, &records, come(door(&views[0]).await?, dials)).await?;
    plain("(dials at the door of a node)", &format!("{:.0}/s", rate(dials, start.elapsed())));
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let [calm, beside, during] = [&mut calm, &mut beside, &mut during].map(|times| at(times, percent));
        let figure = |floor: &str| format!("edit shown elsewhere while {dials} strangers dial, {name} / {floor}");
        line(&figure("nobody does"), &ms(during), &ms(calm), during.div_duration_f64(calm));
        line(&figure("another node"), &ms(during), &ms(beside), during.div_duration_f64(beside));
    }
    plain("peak memory of that node", &format!("{} MiB, {before} before", nodes[0].peak_mib()?));
    Ok(())
}

/// Where a node is dialled.
async fn door(workspace: &Workspace) -> Result<SocketAddr, Failure> {
    Ok(workspace.client().ask(v1::ListPeersRequest {}).await?.listens_on.remove(0).parse()?)
}

/// How long each edit took until a crowd was gone.
async fn meanwhile(
    audience: &mut Audience,
    records: &[String],
    crowd: JoinHandle<Result<(), Failure>>,
) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::new();
    while !crowd.is_finished() {
        let n = times.len();
        times.push(audience.sees(&edit(&records[n % records.len()], EDITS + n)).await?);
    }
    crowd.await??;
    Ok(times)
}

/// So many dials, by all strangers at once.
fn come(node: SocketAddr, dials: usize) -> JoinHandle<Result<(), Failure>> {
    tokio::spawn(async move {
        let mut coming = JoinSet::new();
        for number in 1..=STRANGERS {
            let address = SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0));
            let quic = Quic::listen(&Keys::from_seed(&[number; 32]), address)?;
            coming.spawn(comes_again(quic, node, (usize::from(number)..=dials).step_by(STRANGERS.into())));
        }
        while let Some(one) = coming.join_next().await {
            one??;
        }
        Ok(())
    })
}

/// One stranger comes over and over: by a handshake and a hello of somebody who knows nothing, looking for another key,
/// and with a datagram that says nothing.
async fn comes_again(quic: Arc<Quic>, node: SocketAddr, numbers: impl Iterator<Item = usize>) -> Result<(), Failure> {
    let (noise, other) = (UdpSocket::bind("127.0.0.1:0")?, ActorId::from_bytes([7; 32]));
    for number in numbers {
        match number / usize::from(STRANGERS) % 3 {
            0 => drop(quic.dial(node, Some(other)).await),
            1 => drop(noise.send_to(&[0xc3; 1_200], node)?),
            // A node that is crowded lets nobody in, and that is an answer too.
            _ => {
                if let Ok(connection) = quic.dial(node, None).await {
                    says_hello(&*connection).await;
                }
            }
        }
    }
    Ok(())
}

/// Says what a node says first, and listens until it is sent away.
async fn says_hello(connection: &dyn Connection) {
    let hello =
        Hello { versions: VERSIONS, life: 1, software: "stranger".into(), clock_ms: 0, features: 0, knows: Vec::new() };
    if let Ok(mut channel) = connection.open().await {
        // Who is sent away before he has said it hears of it below.
        drop(channel.send.say(&Opening::Control).await);
        drop(channel.send.say(&Control::Hello(hello)).await);
        drop(tokio::time::timeout(LISTENS, connection.closed()).await);
    }
}
