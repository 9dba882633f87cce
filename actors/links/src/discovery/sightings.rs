//! Sightings: which of the beacons that are heard are worth dialling. Pure, bounded, and never sure of anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_wire::beacon::Beacon;

/// The most nodes kept in mind that share a workspace with this one.
pub const MAX_KIN: usize = 256;

/// The most open workspaces kept in mind, of nodes that share none.
pub const MAX_NEARBY: usize = 64;

/// The most addresses taken from one beacon.
pub const MAX_ADDRESSES: usize = 8;

/// The endpoint is told of one node at most so often.
pub const TELL_EVERY_MS: u64 = 5_000;

/// So many beacons in a minute are a flood: no venue has so many nodes.
pub const FLOOD: usize = 2_000;
/// See [`FLOOD`].
pub const FLOOD_WITHIN_MS: u64 = 60_000;

/// A beacon as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The name of the service; whoever is gone is gone by this name.
    pub name: String,
    /// What it said.
    pub beacon: Beacon,
    /// Where it is, as was said beside it.
    pub addresses: Vec<SocketAddr>,
}

/// A workspace that somebody near lets everybody join. Nothing in it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearby {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name, as claimed.
    pub name: String,
    /// The node that says so.
    pub key: ActorId,
    /// Where that is.
    pub addresses: Vec<SocketAddr>,
}

/// What to make of a beacon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint should know.
    Tell {
        /// Of the node with this key, as it claims.
        key: ActorId,
        /// Where it may be dialled, at most [`MAX_ADDRESSES`].
        addresses: Vec<SocketAddr>,
    },
    /// Nothing.
    PassOver,
    /// Too many: listening stops for a while.
    Flood,
}

/// What was heard lately.
#[derive(Debug)]
pub struct Sightings {
    me: ActorId,
    kin: BTreeMap<String, Kin>,
    nearby: BTreeMap<(String, WorkspaceId), Nearby>,
    heard: usize,
    counting_since_ms: u64,
}

#[derive(Debug)]
struct Kin {
    key: ActorId,
    told_ms: u64,
}

impl Sightings {
    /// Nothing was heard yet by the node `me`.
    pub fn new(me: ActorId, now_ms: u64) -> Self {
        Self { me, kin: BTreeMap::new(), nearby: BTreeMap::new(), heard: 0, counting_since_ms: now_ms }
    }

    /// A beacon was heard by a node that knows these workspaces.
    pub fn see(&mut self, sighting: Sighting, known: &[WorkspaceId], now_ms: u64) -> Verdict {
        if self.is_flooded(now_ms) {
            return Verdict::Flood;
        }
        let Sighting { name, beacon, mut addresses } = sighting;
        addresses.retain(is_dialled);
        addresses.sort_by_key(|address| (address.is_ipv6(), *address));
        addresses.truncate(MAX_ADDRESSES);
        if beacon.key == self.me || addresses.is_empty() {
            return Verdict::PassOver;
        }
        if known.iter().any(|workspace| beacon.tells_of(*workspace)) {
            return self.see_kin(name, beacon.key, addresses, now_ms);
        }
        self.see_stranger(&name, &beacon, &addresses);
        Verdict::PassOver
    }

    /// Something was heard that is no beacon.
    pub fn overhear(&mut self, now_ms: u64) -> Verdict {
        if self.is_flooded(now_ms) { Verdict::Flood } else { Verdict::PassOver }
    }

    fn is_flooded(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.counting_since_ms) >= FLOOD_WITHIN_MS {
            (self.heard, self.counting_since_ms) = (0, now_ms);
        }
        self.heard += 1;
        self.heard > FLOOD
    }

    fn see_kin(&mut self, name: String, key: ActorId, addresses: Vec<SocketAddr>, now_ms: u64) -> Verdict {
        let is_known = self.kin.contains_key(&name);
        // Nor does a name gain by claiming one key after another.
        let is_it = |called: &str, kin: &Kin| kin.key == key || called == name;
        let mut it = self.kin.iter().filter(|(called, kin)| is_it(called, kin));
        let is_told = it.any(|(_, kin)| now_ms < kin.told_ms + TELL_EVERY_MS);
        if is_told || !is_known && self.kin.len() >= MAX_KIN {
            return Verdict::PassOver;
        }
        self.kin.insert(name, Kin { key, told_ms: now_ms });
        Verdict::Tell { key, addresses }
    }

    fn see_stranger(&mut self, name: &str, beacon: &Beacon, addresses: &[SocketAddr]) {
        self.nearby.retain(|(by, _), _| by != name);
        for (workspace, called) in &beacon.open {
            if self.nearby.len() < MAX_NEARBY {
                let (key, addresses) = (beacon.key, addresses.to_vec());
                let nearby = Nearby { workspace: *workspace, name: called.clone(), key, addresses };
                self.nearby.insert((name.to_owned(), *workspace), nearby);
            }
        }
    }

    /// A service has gone: the node, if it was one that matters.
    pub fn leave(&mut self, name: &str) -> Option<ActorId> {
        self.nearby.retain(|(by, _), _| by != name);
        self.kin.remove(name).map(|kin| kin.key)
    }

    /// The open workspaces near, of nodes that share none with this one.
    pub fn nearby(&self) -> Vec<Nearby> {
        self.nearby.values().cloned().collect()
    }
}

/// Whether an address is one that a node may be dialled at.
fn is_dialled(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != std::net::Ipv4Addr::BROADCAST
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOW: WorkspaceId = WorkspaceId::from_bytes([1; 16]);
    const OTHER: WorkspaceId = WorkspaceId::from_bytes([2; 16]);

    fn key(n: u64) -> ActorId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        ActorId::from_bytes(bytes)
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 2], 7118))
    }

    fn sighting(n: u64, workspace: WorkspaceId, open: &[(WorkspaceId, String)]) -> Sighting {
        let beacon = Beacon::of(key(n), [9; 8], &[workspace], open);
        Sighting { name: format!("node {n}"), beacon, addresses: vec![address()] }
    }

    fn tell(n: u64) -> Verdict {
        Verdict::Tell { key: key(n), addresses: vec![address()] }
    }

    #[test]
    fn whoever_shares_a_workspace_is_told_of_now_and_then_until_it_leaves() {
        let mut sightings = Sightings::new(key(1), 0);
        assert_eq!(sightings.see(sighting(2, SHOW, &[]), &[OTHER, SHOW], 10), tell(2));
        assert_eq!(sightings.see(sighting(2, SHOW, &[]), &[SHOW], 4_000), Verdict::PassOver);
        let mut renamed = sighting(2, SHOW, &[]);
        renamed.name = "another name".to_owned();
        assert_eq!(sightings.see(renamed, &[SHOW], 4_000), Verdict::PassOver);
        assert_eq!(sightings.see(sighting(2, SHOW, &[]), &[SHOW], 5_010), tell(2));
        let turncoat = Sighting { name: "node 2".to_owned(), ..sighting(3, SHOW, &[]) };
        assert_eq!(sightings.see(turncoat, &[SHOW], 6_000), Verdict::PassOver);
        assert_eq!(sightings.leave("node 2"), Some(key(2)));
        assert_eq!(sightings.leave("node 2"), None);
    }

    #[test]
    fn this_node_and_strangers_and_addresses_that_lead_nowhere_are_passed_over() {
        let mut sightings = Sightings::new(key(1), 0);
        assert_eq!(sightings.see(sighting(1, SHOW, &[]), &[SHOW], 0), Verdict::PassOver);
        assert_eq!(sightings.see(sighting(2, OTHER, &[]), &[SHOW], 0), Verdict::PassOver);
        let nowhere = ["0.0.0.0:7118", "224.0.0.251:7118", "255.255.255.255:7118", "10.0.0.2:0", "[ff02::fb]:7118"];
        let addresses = nowhere.map(|address| address.parse().unwrap()).to_vec();
        let lost = Sighting { addresses, ..sighting(2, SHOW, &[]) };
        assert_eq!(sightings.see(lost, &[SHOW], 0), Verdict::PassOver);
    }

    #[test]
    fn open_workspaces_near_are_listed_within_bounds() {
        let mut sightings = Sightings::new(key(1), 0);
        for n in 2..1_000 {
            sightings.see(sighting(n, OTHER, &[(OTHER, format!("Hamlet {n}"))]), &[SHOW], 0);
        }
        assert_eq!(sightings.nearby().len(), MAX_NEARBY);
        assert!(sightings.nearby().iter().any(|nearby| nearby.name == "Hamlet 2" && nearby.workspace == OTHER));
        sightings.leave("node 2");
        assert_eq!(sightings.nearby().len(), MAX_NEARBY - 1);
    }

    #[test]
    fn a_flood_is_noticed_and_memory_stays_bounded() {
        let mut sightings = Sightings::new(key(1), 0);
        let verdicts: Vec<_> = (2..5_000).map(|n| sightings.see(sighting(n, SHOW, &[]), &[SHOW], 1)).collect();
        assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Tell { .. })).count(), MAX_KIN);
        assert_eq!(verdicts.last(), Some(&Verdict::Flood));
        assert_eq!(sightings.kin.len(), MAX_KIN);
        assert_eq!(sightings.overhear(FLOOD_WITHIN_MS), Verdict::PassOver, "a minute later all is well");
    }
}
