//! Networks and machines of this test's own, made of the kernel's: a switch is a bridge, a machine is a network
//! namespace, a cable is a veth pair. All of them vanish with the sandbox that `tests/networks/run.sh` makes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where nodes listen for others when nobody says otherwise.
const PEER_PORT: u16 = 7118;

/// The last part of a switch's own address; machines are numbered from 1.
const SWITCH: u8 = 254;

static LANS: AtomicU8 = AtomicU8::new(1);
static MACHINES: AtomicU8 = AtomicU8::new(1);

/// Runs `ip` with these words.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A local network: a switch that passes multicast on, and reaches no other.
pub(super) struct Lan {
    number: u8,
}

impl Lan {
    pub(super) fn new() -> Self {
        let lan = Self { number: LANS.fetch_add(1, Ordering::Relaxed) };
        let bridge = lan.bridge();
        ip(&format!("link add {bridge} type bridge mcast_snooping 0"));
        ip(&format!("link set {bridge} up"));
        lan
    }

    fn bridge(&self) -> String {
        format!("lan{}", self.number)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, last)
    }

    /// From now on the test itself is on this network, at the address given back. It passes nothing on by itself.
    pub(super) fn is_entered(&self) -> Ipv4Addr {
        let own = self.address(SWITCH);
        ip(&format!("addr add {own}/24 dev {}", self.bridge()));
        own
    }
}

/// A machine with a network stack of its own.
pub(super) struct Machine {
    number: u8,
}

impl Machine {
    /// With no cable in it yet.
    pub(super) fn new() -> Self {
        let machine = Self { number: MACHINES.fetch_add(1, Ordering::Relaxed) };
        ip(&format!("netns add {}", machine.name()));
        ip(&format!("-n {} link set lo up", machine.name()));
        machine
    }

    /// On a network.
    pub(super) fn on(lan: &Lan) -> (Self, Cable) {
        let machine = Self::new();
        let cable = machine.plugs_into(lan);
        (machine, cable)
    }

    /// What the kernel calls it.
    pub(super) fn name(&self) -> String {
        format!("machine{}", self.number)
    }

    /// Gets a cable to that network, and an address there.
    pub(super) fn plugs_into(&self, lan: &Lan) -> Cable {
        let (name, inside) = (self.name(), format!("eth{}", lan.number));
        let port = format!("m{}l{}", self.number, lan.number);
        ip(&format!("link add {port} master {} type veth peer name {inside} netns {name}", lan.bridge()));
        ip(&format!("-n {name} addr add {}/24 dev {inside}", lan.address(self.number)));
        ip(&format!("-n {name} link set {inside} up"));
        ip(&format!("link set {port} up"));
        Cable { port }
    }

    /// Where its node is dialled on that network.
    pub(super) fn is_dialled_on(&self, lan: &Lan) -> SocketAddr {
        SocketAddr::from((lan.address(self.number), PEER_PORT))
    }

    /// Gets another address on that network than it had, as by a new lease; gives where its node is dialled then.
    pub(super) fn gets_a_new_lease(&self, lan: &Lan) -> SocketAddr {
        let (name, inside) = (self.name(), format!("eth{}", lan.number));
        let fresh = lan.address(MACHINES.fetch_add(1, Ordering::Relaxed));
        ip(&format!("-n {name} addr flush dev {inside} scope global"));
        ip(&format!("-n {name} addr add {fresh}/24 dev {inside}"));
        SocketAddr::from((fresh, PEER_PORT))
    }
}

/// A cable between a machine and a switch.
pub(super) struct Cable {
    port: String,
}

impl Cable {
    /// The machine sees that it is out.
    pub(super) fn is_pulled(&self) {
        ip(&format!("link set {} down", self.port));
    }

    /// In again.
    pub(super) fn is_put_back(&self) {
        ip(&format!("link set {} up", self.port));
    }

    /// The other end goes into another switch; the machine notices nothing but who answers.
    pub(super) fn goes_to(&self, lan: &Lan) {
        ip(&format!("link set {} master {}", self.port, lan.bridge()));
    }
}

/// The cables of these machines go into another switch.
pub(super) fn go_to(machines: &[(Machine, Cable)], lan: &Lan) {
    for (_, cable) in machines {
        cable.goes_to(lan);
    }
}
