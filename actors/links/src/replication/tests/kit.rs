//! Replicas with logs in memory, and the links between them: everything that happens follows from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openprod_domain::view::Read;
use openprod_messages::log::{Lanes, LogReader, Stored};
use openprod_messages::oplog::{Admitted, Held};
use openprod_messages::testing::MemoryLog;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, Digest, OpId, Position, WorkspaceId};
use openprod_model::operation::{Basis, Operation};
use openprod_model::value::{Name, Text, Value};
use openprod_wire::framing;
use openprod_wire::replication::{CellPrint, Message, StateSummary, squeeze};

use crate::replication::comparing::digest_of_heads;
use crate::replication::engine::{Effect, Ending, Engine, Event, Report, Side, Sums, World};
use crate::replication::under_way::UnderWay;

/// A small generator (SplitMix64), so that a seed says everything.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit as u64).unwrap()
    }
}

pub(super) fn person(number: u8) -> Keys {
    Keys::from_seed(&[number + 1; 32])
}

/// What is written in one operation at most.
const MAX_OP_BYTES: usize = 300_000;

static UNIQUE: AtomicU64 = AtomicU64::new(1);

/// Bytes that nobody had before.
fn unique() -> [u8; 16] {
    let number = UNIQUE.fetch_add(1, Ordering::Relaxed);
    blake3::hash(&number.to_le_bytes()).as_bytes()[..16].try_into().unwrap()
}

/// A log, the cells that it amounts to, and what it was told.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) log: Arc<MemoryLog>,
    /// A fault: this cell says something else here.
    pub(super) wrong: Option<Vec<u8>>,
    /// Bundles that it refuses, as if they were bad.
    pub(super) refuses: BTreeSet<Digest>,
    /// How often each bundle was handed to it by a peer.
    pub(super) handed: BTreeMap<Digest, usize>,
    /// Bundles that came before their parents.
    pub(super) early: BTreeSet<Digest>,
    pub(super) under_way: UnderWay,
    /// Its state has folded no more than this of the log.
    pub(super) folded: Option<Position>,
    /// Its state shows nobody else as a member any more.
    pub(super) is_alone: bool,
}

impl Replica {
    /// A replica that holds these.
    pub(super) fn of(bundles: &[Bundle]) -> Self {
        Self { log: MemoryLog::of(bundles), ..Self::default() }
    }

    fn gives_through(&self) -> Option<Position> {
        (!self.is_alone).then(|| self.folded.unwrap_or(self.log.end()))
    }

    /// A copy, as of a restored backup.
    pub(super) fn copied(&self) -> Self {
        Self::of(&self.bundles())
    }

    pub(super) fn bundles(&self) -> Vec<Bundle> {
        let stored = self.log.bundles(Position(1), usize::MAX, usize::MAX).unwrap().into_iter();
        let whole = |(_, _, stored)| match stored {
            Stored::Whole(bundle) => Arc::unwrap_or_clone(bundle),
            Stored::Damaged { .. } => panic!("nothing is damaged here"),
        };
        stored.map(whole).collect()
    }

    pub(super) fn digests(&self) -> BTreeSet<Digest> {
        self.bundles().iter().map(Bundle::digest).collect()
    }

    fn holds(&self, digest: Digest) -> bool {
        self.log.position_of(digest).unwrap().is_some()
    }

    /// Somebody writes here.
    pub(super) fn writes(&self, who: &Keys) -> Digest {
        self.writes_of(who, 3)
    }

    /// The same, so many bytes.
    pub(super) fn writes_of(&self, who: &Keys, bytes: usize) -> Digest {
        let tail = self.log.tail().unwrap();
        let last = self.bundles().iter().map(Bundle::last_hlc).max().unwrap_or(Hlc::ZERO);
        let (actor, text) = (who.actor(), "x".repeat(bytes.min(MAX_OP_BYTES)));
        let (setting, value) = (Name::new("colour").unwrap(), Some(Value::Text(Text::new(&text).unwrap())));
        let operation = Operation::PutSetting { setting, value, basis: Basis::default() };
        let ops = vec![operation.to_raw(); bytes.div_ceil(MAX_OP_BYTES)];
        let stamp = Stamp {
            workspace: WorkspaceId::from_bytes([7; 16]),
            actor,
            hlc: Hlc::tick(1_000 + UNIQUE.load(Ordering::Relaxed) % 50, last, u32::try_from(ops.len()).unwrap()),
            op_base: OpId::from_bytes(unique()),
        };
        let draft = Draft {
            stamp,
            id: BundleId::from_bytes(unique()),
            wall_ms: 1_000,
            parents: tail.heads,
            prev: self.log.prev_of(actor).unwrap(),
            kind: BundleKind::EDIT,
            label: Text::new("Test").unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops,
        };
        let bundle = draft.seal(who).unwrap();
        self.log.append(&bundle);
        bundle.digest()
    }

    /// Admits as the oplog does, but for signatures and members.
    fn admits(&mut self, offered: &[Vec<u8>]) -> Admitted {
        let (mut admitted, mut held) = (Admitted::default(), Vec::new());
        for (index, bytes) in offered.iter().enumerate() {
            let bundle = Bundle::parse(bytes).unwrap();
            let digest = bundle.digest();
            *self.handed.entry(digest).or_default() += 1;
            let missing: Vec<Digest> = bundle.ancestors().filter(|ancestor| !self.holds(*ancestor)).collect();
            if self.holds(digest) {
                admitted.known += 1;
            } else if !missing.is_empty() || self.refuses.contains(&digest) {
                admitted.unheld.push(index);
                self.early.extend((!missing.is_empty()).then_some(digest));
                admitted.missing.extend(missing);
                continue;
            } else {
                self.log.append(&bundle);
                admitted.appended += 1;
            }
            held.push(digest);
        }
        let placed = self.log.find(&held).unwrap().into_iter().flatten();
        let held =
            placed.map(|placed| Held { digest: placed.entry.digest, actor: placed.entry.actor, spot: placed.spot() });
        admitted.held = held.collect();
        admitted.through = self.log.end();
        admitted
    }

    fn cells_of(&self) -> Vec<(u8, CellPrint)> {
        let key = |digest: &Digest| digest.as_bytes().to_vec();
        let print = |digest: &Digest| {
            let is_wrong = self.wrong.as_ref() == Some(&key(digest));
            if is_wrong { [0xff; 32] } else { *digest.as_bytes() }
        };
        let cell = |digest| (key(digest)[0], CellPrint { key: key(digest), print: print(digest) });
        self.digests().iter().map(cell).collect()
    }
}

impl Sums for Replica {
    fn summary(&self) -> Read<(Digest, Option<StateSummary>)> {
        let (heads, buckets) = self.buckets()?;
        let total = Digest::from_bytes(*blake3::hash(buckets.as_flattened()).as_bytes());
        Ok((heads, Some(StateSummary { fold_version: 1, unknown_ops: 0, kinds: [0; 32], total })))
    }

    fn buckets(&self) -> Read<(Digest, Box<[[u8; 32]; 256]>)> {
        let mut buckets = Box::new([[0; 32]; 256]);
        for (bucket, cell) in self.cells_of() {
            let both = [buckets[usize::from(bucket)], cell.print].concat();
            buckets[usize::from(bucket)] = *blake3::hash(&both).as_bytes();
        }
        Ok((digest_of_heads(self.log.tail()?.heads), buckets))
    }

    fn cells(&self, bucket: u8, after: &[u8], limit: usize) -> Read<Vec<CellPrint>> {
        let cells = self.cells_of().into_iter().filter(|(number, cell)| *number == bucket && *cell.key > *after);
        Ok(cells.map(|(_, cell)| cell).take(limit).collect())
    }
}

/// One end of a link.
pub(super) struct End {
    at: usize,
    pub(super) engine: Engine,
    pub(super) inbox: VecDeque<Vec<u8>>,
    again: bool,
    in_hand: VecDeque<Vec<Vec<u8>>>,
    pub(super) reports: Vec<Report>,
    pub(super) heard: Vec<Vec<u8>>,
    pub(super) ending: Option<Ending>,
    /// The most bytes that ever were under way to it.
    pub(super) most_under_way: usize,
}

impl End {
    fn new(at: usize, side: Side, own: ActorId) -> Self {
        Self {
            at,
            engine: Engine::new(side, Box::new(move |actor| actor == own)),
            inbox: VecDeque::new(),
            again: false,
            in_hand: VecDeque::new(),
            reports: Vec::new(),
            heard: Vec::new(),
            ending: None,
            most_under_way: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.again && self.in_hand.is_empty()
    }

    /// The heads at which it was last told that both are equal.
    pub(super) fn synced(&self) -> Option<Digest> {
        let last = self.reports.iter().rev().find(|report| !matches!(report, Report::Progress(_)));
        match last {
            Some(Report::Synced { heads, .. }) => Some(*heads),
            _ => None,
        }
    }
}

/// Replicas and the links between them.
pub(super) struct Net {
    pub(super) replicas: Vec<Replica>,
    pub(super) links: BTreeMap<(usize, usize), [End; 2]>,
    pub(super) dice: Dice,
    /// Every bundle that anybody wrote.
    pub(super) written: BTreeSet<Digest>,
    /// What the ends of links that are no more had reported.
    pub(super) past_reports: Vec<Report>,
    /// They hear nothing, and say nothing.
    silent: BTreeSet<usize>,
}

impl Net {
    /// So many empty replicas; the first writes the first bundle.
    pub(super) fn new(replicas: usize, seed: u64) -> Self {
        let mut net = Self {
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            links: BTreeMap::new(),
            dice: Dice(seed),
            written: BTreeSet::new(),
            past_reports: Vec::new(),
            silent: BTreeSet::new(),
        };
        net.writes(0);
        net
    }

    /// The person of a replica writes there.
    pub(super) fn writes(&mut self, at: usize) -> Digest {
        self.writes_as(at, u8::try_from(at).unwrap())
    }

    /// The same, so many times.
    pub(super) fn writes_often(&mut self, at: usize, times: usize) {
        for _ in 0..times {
            self.writes(at);
        }
    }

    pub(super) fn writes_as(&mut self, at: usize, who: u8) -> Digest {
        let digest = self.replicas[at].writes(&person(who));
        self.has_grown(at, digest)
    }

    pub(super) fn writes_large(&mut self, at: usize, bytes: usize) -> Digest {
        let digest = self.replicas[at].writes_of(&person(u8::try_from(at).unwrap()), bytes);
        self.has_grown(at, digest)
    }

    fn has_grown(&mut self, at: usize, digest: Digest) -> Digest {
        self.written.insert(digest);
        self.tell_appended(at);
        digest
    }

    fn tell_appended(&mut self, at: usize) {
        let keys: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for key in keys.into_iter().filter(|key| key.0 == at || key.1 == at) {
            self.event(key, usize::from(key.1 == at), Event::Appended);
        }
    }

    /// Joins two replicas, unless they are.
    pub(super) fn joins(&mut self, one: usize, other: usize) {
        self.links_up(one, other, false);
    }

    /// The same, while the lower of them has syncing paused.
    pub(super) fn joins_paused(&mut self, one: usize, other: usize) {
        self.links_up(one, other, true);
    }

    fn links_up(&mut self, one: usize, other: usize, is_paused: bool) {
        let key = (one.min(other), one.max(other));
        if one == other || self.links.contains_key(&key) {
            return;
        }
        let own = |at: usize| person(u8::try_from(at).unwrap()).actor();
        let ends = [End::new(key.0, Side::Begins, own(key.0)), End::new(key.1, Side::Answers, own(key.1))];
        self.links.insert(key, ends);
        if is_paused {
            self.event(key, 0, Event::Held { on: true });
        }
        self.event(key, 0, Event::Opened);
        self.event(key, 1, Event::Opened);
    }

    pub(super) fn everyone_joins(&mut self) {
        for one in 0..self.replicas.len() {
            for other in 0..one {
                self.joins(one, other);
            }
        }
    }

    /// Cuts a link: whatever was under way is lost.
    pub(super) fn cuts(&mut self, one: usize, other: usize) {
        let link = self.links.remove(&(one.min(other), one.max(other)));
        for end in link.into_iter().flatten() {
            self.past_reports.extend(end.reports);
        }
    }

    /// From now on this one hears nothing and says nothing, and nobody knows.
    pub(super) fn falls_silent(&mut self, at: usize) {
        self.silent.insert(at);
    }

    /// Tells one end of a link what happened, and does what it says.
    pub(super) fn event(&mut self, key: (usize, usize), side: usize, event: Event) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let end = &mut link[side];
        if self.silent.contains(&end.at) {
            return;
        }
        let replica = &self.replicas[end.at];
        let world = World {
            log: &*replica.log,
            state: replica,
            through: replica.gives_through(),
            under_way: &replica.under_way,
        };
        let effects = end.engine.handle(event, &world);
        for effect in effects {
            let [one, other] = link;
            let (own, peer) = if side == 0 { (one, other) } else { (other, one) };
            match effect {
                Effect::Send(frame) => {
                    peer.inbox.push_back(squeeze::encode(&frame).unwrap());
                    peer.most_under_way = peer.most_under_way.max(peer.inbox.iter().map(Vec::len).sum());
                }
                Effect::Admit(bundles) => own.in_hand.push_back(bundles),
                Effect::Again => own.again = true,
                Effect::Damaged { at, reason } => panic!("{at}: {reason}"),
                Effect::Hear(bytes) => own.heard.push(bytes),
                Effect::Report(report) => own.reports.push(report),
                Effect::Close(ending) => own.ending = Some(ending),
            }
        }
    }

    /// What the end at `at` of its link with `from` has in hand cannot be admitted.
    pub(super) fn fails_to_admit(&mut self, from: usize, at: usize) {
        let key = (from.min(at), from.max(at));
        let side = usize::from(key.1 == at);
        self.links.get_mut(&key).unwrap()[side].in_hand.clear();
        self.event(key, side, Event::NotAdmitted { reason: "the disk took nothing".to_owned() });
    }

    /// So many things happen, if they can.
    pub(super) fn steps(&mut self, times: usize) {
        for _ in 0..times {
            self.step();
        }
    }

    /// Something happens on some link, by chance. Whether anything could.
    pub(super) fn step(&mut self) -> bool {
        let busy: Vec<((usize, usize), usize)> = self
            .links
            .iter()
            .flat_map(|(key, ends)| [0, 1].into_iter().filter(|side| !ends[*side].is_idle()).map(|side| (*key, side)))
            .collect();
        if busy.is_empty() {
            return false;
        }
        let (key, side) = busy[self.dice.below(busy.len())];
        let choice = self.dice.below(3);
        let end = &mut self.links.get_mut(&key).unwrap()[side];
        match choice {
            0 if !end.in_hand.is_empty() => self.admits(key, side),
            1 if end.again => {
                end.again = false;
                self.event(key, side, Event::Again);
            }
            _ => match end.inbox.pop_front() {
                Some(frame) => self.event(key, side, Event::Received(frame)),
                None if end.again => {
                    end.again = false;
                    self.event(key, side, Event::Again);
                }
                None => self.admits(key, side),
            },
        }
        true
    }

    fn admits(&mut self, key: (usize, usize), side: usize) {
        let end = &mut self.links.get_mut(&key).unwrap()[side];
        let (at, Some(bundles)) = (end.at, end.in_hand.pop_front()) else { return };
        let admitted = self.replicas[at].admits(&bundles);
        if admitted.appended > 0 {
            self.tell_appended(at);
        }
        self.event(key, side, Event::Admitted(admitted));
    }

    /// Everything that is under way arrives.
    pub(super) fn settles(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("they never stop talking");
    }

    /// The same, every link being as fast as the others.
    pub(super) fn settles_fairly(&mut self) {
        while self.links.values().flatten().any(|end| !end.is_idle()) {
            let keys: Vec<(usize, usize)> = self.links.keys().copied().collect();
            for (key, side) in keys.iter().flat_map(|key| [(*key, 0), (*key, 1)]) {
                self.admits(key, side);
                let end = &mut self.links.get_mut(&key).unwrap()[side];
                end.again = false;
                if let Some(frame) = end.inbox.pop_front() {
                    self.event(key, side, Event::Received(frame));
                }
                self.event(key, side, Event::Again);
            }
        }
    }

    pub(super) fn everywhere(&mut self, event: fn() -> Event) {
        let keys: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for key in keys {
            self.event(key, 0, event());
            self.event(key, 1, event());
        }
        self.settles();
    }

    /// All that is under way arrives, and all have compared.
    pub(super) fn meets(&mut self) {
        self.settles();
        for _ in 0..4 {
            self.everywhere(|| Event::Pause);
        }
    }

    /// Everybody holds everything that was ever written, says so, and needed no explanation.
    pub(super) fn agrees(&self) {
        for (key, ends) in &self.links {
            assert!(ends.iter().all(|end| end.ending.is_none()), "{key:?}: {:?}, {:?}", ends[0].ending, ends[1].ending);
        }
        for (at, replica) in self.replicas.iter().enumerate() {
            assert_eq!(replica.digests(), self.written, "replica {at}");
        }
        for (key, ends) in &self.links {
            for end in ends {
                let heads = digest_of_heads(self.replicas[end.at].log.tail().unwrap().heads);
                assert_eq!(end.synced(), Some(heads), "{key:?}: {:?}", end.reports);
            }
        }
        let mut reports = self.links.values().flatten().flat_map(|end| &end.reports).chain(&self.past_reports);
        assert!(!reports.any(|report| matches!(report, Report::Unexplained { .. } | Report::Diverged { .. })));
    }

    pub(super) fn end(&self, one: usize, other: usize) -> &End {
        let key = (one.min(other), one.max(other));
        &self.links[&key][usize::from(key.1 == one)]
    }

    /// What is said to the end at `at` of its link with `from`, as if by that.
    pub(super) fn says(&mut self, from: usize, at: usize, frame: impl Into<Message>) {
        let key = (from.min(at), from.max(at));
        self.event(key, usize::from(key.1 == at), Event::Received(framing::encode(&frame.into()).unwrap()));
    }
}
