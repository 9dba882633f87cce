//! Multicast DNS as an attacker speaks it: names by the thousand, goodbyes for others, addresses nobody asked for, and
//! packets that are none.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::cables::{Lan, Machine};
use super::crew::Crew;
use super::form;
use crate::convergence::Dice;

/// Where multicast DNS is spoken (RFC 6762).
const EVERYBODY: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// Between two bursts, so that the attacker leaves something of the machine to others.
const BREATH: Duration = Duration::from_millis(2);

/// Packets in a burst.
const BURST: usize = 8;

/// What a node may grow by under a flood, in KiB: less than the records of a few seconds weigh.
const MAY_GROW_KIB: u64 = 64 * 1024;

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;

/// A response of multicast DNS, record by record.
struct Packet {
    bytes: Vec<u8>,
    records: u16,
}

impl Packet {
    fn new() -> Self {
        Self { bytes: vec![0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0], records: 0 }
    }

    fn name(labels: &[&str]) -> Vec<u8> {
        let label = |label: &&str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
        [labels.iter().flat_map(label).collect(), vec![0]].concat()
    }

    fn with(mut self, labels: &[&str], kind: u16, ttl_s: u32, data: &[u8]) -> Self {
        self.bytes.extend(Self::name(labels));
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(1u16.to_be_bytes());
        self.bytes.extend(ttl_s.to_be_bytes());
        self.bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        self.bytes.extend(data);
        self.records += 1;
        self.bytes[6..8].copy_from_slice(&self.records.to_be_bytes());
        self
    }
}

const SERVICE: [&str; 3] = ["_openprod", "_udp", "local"];

/// A service that is complete, and says what no node says.
fn service(name: &str, ttl_s: u32, dice: &mut Dice) -> Packet {
    let instance = [&[name], &SERVICE[..]].concat();
    let host = [name, "local"];
    let place = [&[0, 0, 0, 0, 0x1b, 0xce][..], &Packet::name(&host)].concat();
    let words = [&[200][..], &[b'v'; 200], &[5], b"key=\xff"].concat();
    let address = [10, 77, 200, u8::try_from(dice.below(250)).unwrap()];
    let packet = Packet::new().with(&SERVICE, PTR, ttl_s, &Packet::name(&instance));
    packet.with(&instance, SRV, ttl_s, &place).with(&instance, TXT, ttl_s, &words).with(&host, A, ttl_s, &address)
}

/// Addresses of machines that nobody asked about, to be remembered for years.
fn unasked(dice: &mut Dice) -> Packet {
    (0..20).fold(Packet::new(), |packet, _| {
        let name = format!("{:060x}", dice.roll());
        packet.with(&[&name, "local"], A, 100_000_000, &[10, 77, 201, 1])
    })
}

/// Something cut off, changed, or pointing at itself.
fn garbage(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = service("garbage", 120, dice).bytes;
    match dice.below(3) {
        0 => bytes.truncate(dice.below(bytes.len())),
        1 => bytes[12..14].copy_from_slice(&[0xc0, 12]),
        _ => (0..10).for_each(|_| {
            let at = dice.below(bytes.len());
            bytes[at] = dice.roll().to_le_bytes()[0];
        }),
    }
    bytes
}

fn hostile(dice: &mut Dice) -> Vec<u8> {
    let name = format!("{:016x}", dice.roll());
    match dice.below(5) {
        0 => service(&name, 4_500, dice).bytes,
        1 => service(&name, 0, dice).bytes,
        2 | 3 => unasked(dice).bytes,
        _ => garbage(dice),
    }
}

/// Somebody who shouts until he is dropped.
struct Shouter {
    stops: Arc<AtomicBool>,
    shouted: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shouter {
    fn starts(at: Ipv4Addr, seed: u64) -> Self {
        println!("the flood is drawn from seed {seed}");
        let (stops, shouted) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, count) = (Arc::clone(&stops), Arc::clone(&shouted));
        let thread = std::thread::spawn(move || {
            let socket = UdpSocket::bind((at, EVERYBODY.1)).unwrap();
            let mut dice = Dice(seed);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    socket.send_to(&hostile(&mut dice), EVERYBODY).unwrap();
                }
                count.fetch_add(BURST as u64, Ordering::Relaxed);
                std::thread::sleep(BREATH);
            }
        });
        Self { stops, shouted, thread: Some(thread) }
    }

    /// Waits until so many packets were sent.
    async fn has_shouted(&self, packets: u64) {
        while self.shouted.load(Ordering::Relaxed) < packets {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Shouter {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the shouter was cut short");
    }
}

#[tokio::test]
async fn a_flood_of_multicast_costs_bounded_memory_and_nodes_find_each_other_all_the_same() {
    let Some(form) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, _)) = (Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(2).await;
    let before = [crew.world.house.peak_memory_kib(), crew.nodes[0].peak_memory_kib()];

    let shouter = Shouter::starts(lan.is_entered(), 5353);
    shouter.has_shouted(form.of(20_000, 500_000) as u64).await;
    let grown = [crew.world.house.peak_memory_kib(), crew.nodes[0].peak_memory_kib()];
    println!("a flood of {} packets: {before:?} KiB before, {grown:?} KiB at most", form.of(20_000, 500_000));
    for (before, grown) in before.into_iter().zip(grown) {
        assert!(grown < before + MAY_GROW_KIB, "{before} KiB grew to {grown}");
    }

    // Both come back somewhere else, where only multicast can tell; he shouts on while they start.
    let away = |folder: &std::path::Path| assert!(folder.exists());
    house.gets_a_new_lease(&lan);
    tour.gets_a_new_lease(&lan);
    crew.restarts(1, away).await;
    crew.restarts(0, away).await;
    drop(shouter);
    crew.edits(0, 0, "label", "Dawn").await;
    crew.edits(1, 1, "label", "Dusk").await;
    crew.agrees(0).await;
}
