//! What is wrong between this node and others, and what to do about it, in words.
//!
//! Being alone is not wrong: nodes come and go. So what may be mere absence is a warning at most.

use std::net::SocketAddr;

use openprod_links::endpoint::{Obstacle, PeerStage, PeerStatus};

use super::{Check, Outcome};

/// The port on which nodes listen unless they are told otherwise.
pub const PORT: u16 = 7118;
/// How far a clock may be off before it is worth a word: people notice that.
pub const CLOCK_WORTH_MS: u64 = 2_000;
/// Fewer failures in a row are a node that just starts, or a Wi-Fi that blinks.
const FAILURES_WORTH: u32 = 3;

/// How this node stands among others.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerFacts {
    /// Where it was told to listen; none if it speaks with no others.
    pub wanted: Option<SocketAddr>,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    /// The same as others reach it: every interface by its own address.
    pub own: Vec<SocketAddr>,
    /// The nodes that it knows.
    pub known: Vec<PeerStatus>,
}

/// Something that is wrong with a peer, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    id: &'static str,
    outcome: Outcome,
    what: String,
    fix: String,
}

impl Complaint {
    fn new(id: &'static str, outcome: Outcome, what: String, fix: impl Into<String>) -> Self {
        Self { id, outcome, what, fix: fix.into() }
    }

    /// What is wrong, then what to do.
    pub fn sentences(&self) -> String {
        format!("{} {}", self.what, self.fix)
    }
}

/// The checks of this node among others.
pub fn judge_peers(facts: &PeerFacts) -> Vec<Check> {
    let mut checks = vec![judge_listening(facts)];
    if facts.wanted.is_none() {
        return checks;
    }
    let complaints: Vec<_> = facts.known.iter().flat_map(|peer| complaints(peer, &facts.own)).collect();
    let connected = facts.known.iter().filter(|peer| matches!(peer.stage, PeerStage::Connected(_))).count();
    let seen = format!("{connected} of {} known nodes are connected.", facts.known.len());
    let reached = Check::ok(REACHED, title(REACHED), seen);
    if !complaints.iter().any(|complaint| complaint.id == REACHED) {
        checks.push(reached);
    }
    checks.extend(
        complaints
            .into_iter()
            .map(|Complaint { id, outcome, what, fix }| Check::ok(id, title(id), what).but(outcome, fix)),
    );
    checks
}

const REACHED: &str = "peers.reached";
const CLOCK: &str = "peers.clock";
const VERSION: &str = "peers.version";
const MEMBER: &str = "peers.member";
const KEY: &str = "peers.key";

fn title(id: &'static str) -> &'static str {
    match id {
        CLOCK => "The clocks of connected nodes agree",
        VERSION => "Other nodes speak a version that this one speaks",
        MEMBER => "The nodes that are dialled have a workspace in common with this one",
        KEY => "Every node has a key of its own",
        _ => "Known nodes answer",
    }
}

fn judge_listening(facts: &PeerFacts) -> Check {
    let check = |evidence| Check::ok("peers.listening", "Other nodes can reach this one", evidence);
    let Some(wanted) = facts.wanted else {
        return check("This node speaks with no others: peer_listen is \"off\".".to_owned());
    };
    let ports: Vec<_> = facts.listening.iter().map(ToString::to_string).collect();
    let seen = check(format!("It listens on {} (UDP).", ports.join(", ")));
    let is_elsewhere = wanted.port() != 0 && facts.listening.iter().all(|address| address.port() != wanted.port());
    if !is_elsewhere {
        return seen;
    }
    let evidence = format!("{} Another program has UDP port {}.", seen.evidence, wanted.port());
    Check { evidence, ..seen }.but(
        Outcome::Warning,
        "Nodes on this network find it all the same; elsewhere, name it with its port. Or stop the other program and start \
         this node again.",
    )
}

/// What is wrong with a peer. `own` is where others reach this node.
pub fn complaints(peer: &PeerStatus, own: &[SocketAddr]) -> Vec<Complaint> {
    let clock = match &peer.stage {
        PeerStage::Connected(connected) => connected.clock_offset_ms.and_then(|ahead| of_clock(peer, ahead)),
        _ => None,
    };
    let double = peer.is_double.then(|| {
        let what = format!("Two machines have the key of {}: its folder was copied.", name(peer));
        Complaint::new(KEY, Outcome::Problem, what, NEW_KEY)
    });
    let obstacle = peer.obstacle.and_then(|obstacle| of_obstacle(peer, obstacle, own));
    clock.into_iter().chain(double).chain(obstacle).collect()
}

const NEW_KEY: &str = "On one of the two, stop the node, put its node.key aside and start it again: it makes a key of its \
                       own. Then let a member invite it (`openprod invite`).";

fn of_clock(peer: &PeerStatus, ahead_ms: i64) -> Option<Complaint> {
    if ahead_ms.unsigned_abs() < CLOCK_WORTH_MS {
        return None;
    }
    let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let what = format!("The clock of {} is {} {way} this machine's.", name(peer), span(ahead_ms.unsigned_abs()));
    let fix = "Set the one that is wrong (`timedatectl` shows it). Nothing is decided by clocks, but times shown with changes \
               are wrong.";
    Some(Complaint::new(CLOCK, Outcome::Warning, what, fix))
}

fn of_obstacle(peer: &PeerStatus, obstacle: Obstacle, own: &[SocketAddr]) -> Option<Complaint> {
    let who = name(peer);
    match obstacle {
        Obstacle::NoAnswer => of_silence(peer),
        Obstacle::WrongKey => Some(Complaint::new(
            KEY,
            Outcome::Warning,
            format!("Where {who} was, another node answers now ({}).", peer.trouble),
            "If that is the same machine with a new key, forget the old one (`openprod peer forget`) and invite the new \
             one.",
        )),
        Obstacle::Version => Some(Complaint::new(
            VERSION,
            Outcome::Problem,
            format!("{who} and this node have no protocol version in common ({}).", peer.trouble),
            "Install the same version of openprod on both; what each has stays as it is meanwhile.",
        )),
        Obstacle::NotAMember => Some(Complaint::new(
            MEMBER,
            Outcome::Warning,
            format!(
                "{who} has no workspace in common with this node: one of the two was never admitted, or was removed."
            ),
            "A member invites it: `openprod invite` there, `openprod join TICKET` here, or the other way round. If it is \
             not wanted, `openprod peer forget`.",
        )),
        Obstacle::Myself => peer.addresses.iter().any(|address| !is_own(*address, own)).then(|| {
            let what = format!("{who} answers with this node's own key: the folder of one was copied from the other.");
            Complaint::new(KEY, Outcome::Problem, what, NEW_KEY)
        }),
    }
}

fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    let is_port = own.iter().any(|own| own.port() == address.port());
    own.contains(&address) || address.ip().is_loopback() && is_port
}

/// One that was only found, or once was here, may have gone home; the pause between tries says how long it is so.
fn of_silence(peer: &PeerStatus) -> Option<Complaint> {
    let PeerStage::Waiting { failures: FAILURES_WORTH.., .. } = peer.stage else { return None };
    let port = peer.addresses.first().map_or(PORT, SocketAddr::port);
    let fix = format!(
        "If it should be there: see that it runs (`openprod status` there), that both are on one network, and that firewalls \
         let UDP port {port} pass (with ufw: `sudo ufw allow {port}/udp`). `openprod peer add` dials it at once."
    );
    Some(Complaint::new(REACHED, Outcome::Warning, format!("{} does not answer.", name(peer)), fix))
}

/// A peer as people name it: the beginning of its key, and where it is.
fn name(peer: &PeerStatus) -> String {
    let address = match &peer.stage {
        PeerStage::Connected(connected) => Some(connected.remote),
        _ => peer.addresses.first().copied(),
    };
    match (peer.key, address) {
        (Some(key), Some(address)) => format!("{} ({address})", key.short()),
        (Some(key), None) => key.short(),
        (None, Some(address)) => address.to_string(),
        (None, None) => "A node".to_owned(),
    }
}

/// A span as people say it: `42 s`, `7 min`, `3 h`, `12 days`.
fn span(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use openprod_links::endpoint::Connected;
    use openprod_links::transport::{Side, Traffic};
    use openprod_model::ids::ActorId;

    use super::*;

    fn at() -> SocketAddr {
        "10.0.0.5:7118".parse().unwrap()
    }

    fn peer(stage: PeerStage, obstacle: Option<Obstacle>) -> PeerStatus {
        let key = Some(ActorId::from_bytes([0xab; 32]));
        PeerStatus { key, addresses: vec![at()], stage, trouble: "why".to_owned(), obstacle, is_double: false }
    }

    fn waiting(failures: u32) -> PeerStage {
        PeerStage::Waiting { in_ms: 5_000, failures }
    }

    fn connected(clock_offset_ms: i64) -> PeerStage {
        PeerStage::Connected(Box::new(Connected {
            since_ms: 0,
            remote: at(),
            side: Side::Dialler,
            round_trip_us: 1,
            clock_offset_ms: Some(clock_offset_ms),
            traffic: Traffic::default(),
            version: 1,
            software: String::new(),
            silent_ms: 0,
            workspaces: Vec::new(),
        }))
    }

    fn said(peer: &PeerStatus) -> Vec<String> {
        complaints(peer, &[]).iter().map(Complaint::sentences).collect()
    }

    #[test]
    fn who_does_not_answer_may_be_behind_a_firewall_and_the_port_is_named() {
        assert!(said(&peer(waiting(FAILURES_WORTH - 1), Some(Obstacle::NoAnswer))).is_empty(), "it may just start");
        let [said] = &said(&peer(waiting(FAILURES_WORTH), Some(Obstacle::NoAnswer)))[..] else { panic!() };
        assert!(said.starts_with("abababab (10.0.0.5:7118) does not answer."), "{said}");
        assert!(said.contains("UDP port 7118") && said.contains("ufw allow 7118/udp"), "{said}");
    }

    #[test]
    fn every_obstacle_says_what_to_do() {
        let all = [Obstacle::NoAnswer, Obstacle::WrongKey, Obstacle::Version, Obstacle::NotAMember, Obstacle::Myself];
        for obstacle in all {
            let found = complaints(&peer(waiting(9), Some(obstacle)), &[]);
            assert_eq!(found.len(), 1, "{obstacle:?}");
            assert!(found[0].outcome > Outcome::Ok && !found[0].fix.is_empty(), "{found:?}");
        }
        assert!(said(&peer(connected(0), None)).is_empty());
    }

    #[test]
    fn this_very_node_under_another_name_is_no_copy() {
        let own = complaints(&peer(waiting(9), Some(Obstacle::Myself)), &[at()]);
        assert!(own.is_empty(), "{own:?}");
        let elsewhere = SocketAddr::new(at().ip(), 40_001);
        assert_eq!(complaints(&peer(waiting(9), Some(Obstacle::Myself)), &[elsewhere]).len(), 1);
    }

    #[test]
    fn a_clock_is_worth_a_word_from_two_seconds_on() {
        assert!(said(&peer(connected(1_999), None)).is_empty());
        assert!(said(&peer(connected(-2_000), None))[0].contains("is 2 s behind this machine's"));
        assert!(said(&peer(connected(3 * 86_400_000), None))[0].contains("is 3 days ahead of"));
        assert!(said(&peer(connected(3 * 3_600_000), None))[0].contains("is 3 h ahead of"));
    }

    #[test]
    fn a_copied_folder_is_a_problem() {
        let twin = PeerStatus { is_double: true, ..peer(connected(0), None) };
        assert!(said(&twin)[0].contains("node.key"));
    }

    #[test]
    fn a_port_that_another_program_has_is_told() {
        let listening = vec!["0.0.0.0:40001".parse().unwrap()];
        let facts = PeerFacts {
            wanted: Some("0.0.0.0:7118".parse().unwrap()),
            listening,
            own: Vec::new(),
            known: vec![peer(connected(0), None)],
        };
        let checks = judge_peers(&facts);
        assert_eq!(checks.iter().map(|check| check.outcome).collect::<Vec<_>>(), [Outcome::Warning, Outcome::Ok]);
        assert!(checks[0].evidence.contains("UDP port 7118"), "{checks:?}");
        let alone = judge_peers(&PeerFacts { wanted: None, ..facts });
        assert_eq!((alone.len(), alone[0].outcome), (1, Outcome::Ok));
    }
}
