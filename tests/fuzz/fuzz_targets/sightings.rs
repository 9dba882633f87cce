//! Whatever is said on the local network by whoever pleases, in any order: only members' nodes are told of, seldom, and at
//! addresses that can be dialled; what is kept in mind is bounded, and nothing can be shown that would disturb a terminal.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use openprod_links::discovery::sightings::{
    FLOOD, FLOOD_WITHIN_MS, MAX_ADDRESSES, MAX_KIN, MAX_NEARBY, Sighting, Sightings, TELL_EVERY_MS, Verdict,
};
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::beacon::{Beacon, MAX_NAME_BYTES};

const ME: ActorId = ActorId::from_bytes([1; 32]);
/// More than are a flood.
const CROWDS: usize = FLOOD + 500;
const SHOW: WorkspaceId = WorkspaceId::from_bytes([1; 16]);

#[derive(Arbitrary, Debug)]
enum Act {
    /// A record with these strings, beside addresses and a port.
    Record {
        name: u16,
        txt: Vec<(String, String)>,
        v4: Vec<[u8; 4]>,
        v6: Vec<[u8; 16]>,
        port: u16,
    },
    /// A beacon as a node makes it, of somebody who knows the show or does not.
    Beacon {
        name: u16,
        key: u8,
        knows: bool,
        open: Vec<String>,
        port: u16,
    },
    /// The same of many at once.
    Crowd {
        first: u16,
        many: u16,
        knows: bool,
    },
    Leave {
        name: u16,
    },
    Noise,
    Passes {
        ms: u32,
    },
}

fn called(name: u16) -> String {
    format!("node {name}._openprod._udp.local.")
}

fn addresses(v4: &[[u8; 4]], v6: &[[u8; 16]], port: u16) -> Vec<SocketAddr> {
    let v4 = v4.iter().map(|bytes| IpAddr::from(Ipv4Addr::from(*bytes)));
    let v6 = v6.iter().map(|bytes| IpAddr::from(Ipv6Addr::from(*bytes)));
    v4.chain(v6).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// What a node of that key says; of its show no more than a tag.
fn beacon(key: ActorId, knows: bool, open: &[String]) -> Beacon {
    let open: Vec<_> = (2..).zip(open).map(|(n, name)| (WorkspaceId::from_bytes([n; 16]), name.clone())).collect();
    Beacon::of(key, [9; 8], if knows { &[SHOW] } else { &[] }, &open)
}

/// All that is heard, and who looks on.
struct Street {
    sightings: Sightings,
    now_ms: u64,
    told: BTreeMap<ActorId, u64>,
    heard: u64,
    since_ms: u64,
    names: BTreeSet<String>,
    /// How many may still come in crowds.
    crowds: usize,
}

impl Street {
    fn hears(&mut self) -> bool {
        if self.now_ms - self.since_ms >= FLOOD_WITHIN_MS {
            (self.heard, self.since_ms) = (0, self.now_ms);
        }
        self.heard += 1;
        self.heard > FLOOD as u64
    }

    fn sees(&mut self, name: String, beacon: Beacon, addresses: Vec<SocketAddr>) {
        let (key, is_flood, is_kin) = (beacon.key, self.hears(), beacon.tells_of(SHOW));
        self.names.insert(name.clone());
        let sighting = Sighting { name, beacon, addresses: addresses.clone() };
        match self.sightings.see(sighting, &[SHOW], self.now_ms) {
            Verdict::Tell { key: told, addresses: at } => {
                assert!(!is_flood && is_kin && told == key && key != ME);
                assert!((1..=MAX_ADDRESSES).contains(&at.len()) && at.iter().all(|one| addresses.contains(one)));
                assert!(at.iter().all(|one| one.port() != 0 && !one.ip().is_unspecified() && !one.ip().is_multicast()));
                let before = self.told.insert(key, self.now_ms);
                assert!(before.is_none_or(|before| self.now_ms >= before + TELL_EVERY_MS), "told too often");
            }
            verdict => assert_eq!(verdict == Verdict::Flood, is_flood),
        }
    }

    fn acts(&mut self, act: Act) {
        match act {
            Act::Record { name, txt, v4, v6, port } => {
                let txt: BTreeMap<String, String> = txt.into_iter().collect();
                let read = Beacon::from_txt(|key| txt.get(key).map(String::as_str));
                read.into_iter().for_each(|beacon| self.sees(called(name), beacon, addresses(&v4, &v6, port)));
            }
            Act::Beacon { name, key, knows, open, port } => {
                // Few names and keys, so that they meet.
                let (name, key) = (name % 4, key % 4);
                let beacon = beacon(ActorId::from_bytes([key; 32]), knows, &open);
                let is_named = beacon.to_txt().iter().any(|(_, value)| value.contains(&SHOW.to_string()));
                assert!(!is_named, "only what is open is named");
                self.sees(called(name), beacon, addresses(&[[10, 0, 0, key]], &[], port));
            }
            Act::Crowd { first, many, knows } => {
                let many = usize::from(many).min(self.crowds);
                self.crowds -= many;
                for name in (0..).map(|n| first.wrapping_add(n)).take(many) {
                    let mut key = [2; 32];
                    key[..2].copy_from_slice(&name.to_le_bytes());
                    let beacon = beacon(ActorId::from_bytes(key), knows, &["Hamlet".to_owned()]);
                    self.sees(called(name), beacon, addresses(&[[10, 0, 0, 1]], &[], 7_118));
                }
            }
            Act::Leave { name } => {
                // Whoever comes back after a goodbye is told of at once.
                self.sightings.leave(&called(name)).map(|key| self.told.remove(&key));
            }
            Act::Noise => {
                let is_flood = self.hears();
                assert_eq!(self.sightings.overhear(self.now_ms) == Verdict::Flood, is_flood);
            }
            Act::Passes { ms } => self.now_ms += u64::from(ms % 100_000),
        }
        let nearby = self.sightings.nearby();
        assert!(nearby.len() <= MAX_NEARBY);
        assert!(nearby.iter().all(|one| one.name.len() <= MAX_NAME_BYTES && !one.name.contains(char::is_control)));
        assert!(nearby.iter().all(|one| one.addresses.len() <= MAX_ADDRESSES && one.key != ME));
    }
}

fuzz_target!(|acts: Vec<Act>| {
    let sightings = Sightings::new(ME, 0);
    let (told, names) = (BTreeMap::new(), BTreeSet::new());
    let mut street = Street { sightings, now_ms: 0, told, heard: 0, since_ms: 0, names, crowds: CROWDS };
    acts.into_iter().take(64).for_each(|act| street.acts(act));
    let Street { mut sightings, names, .. } = street;
    let kept = names.iter().filter(|name| sightings.leave(name).is_some()).count();
    assert!(kept <= MAX_KIN && sightings.nearby().is_empty(), "{kept} nodes were kept in mind");
});
