//! The oplog against a naive model: random histories of several people, offered in random pieces, on a disk that
//! fails now and then, with an actor that is killed now and then.

use std::collections::{BTreeMap, BTreeSet};

use openprod_messages::log::{Lanes, LogReader};
use openprod_messages::oplog::AppendError;
use openprod_model::bundle::Bundle;
use openprod_model::identity::Keys;
use openprod_model::ids::Digest;
use openprod_model::operation::Operation;

use crate::logic::ledger::Past;

use super::kit::{Dice, Knowledge, Running, Trouble, check_log, command, person, running, unsigned};

/// Every bundle that anybody ever wrote, and who has what in his own past, by walking it.
#[derive(Default)]
struct Universe {
    bundles: BTreeMap<Digest, Bundle>,
}

impl Universe {
    fn past(&self, bundle: &Bundle) -> BTreeSet<Digest> {
        let (mut past, mut open) = (BTreeSet::new(), bundle.ancestors().collect::<Vec<_>>());
        while let Some(digest) = open.pop() {
            if past.insert(digest) {
                open.extend(self.bundles[&digest].ancestors());
            }
        }
        past
    }

    /// The law in one sentence: among the member writes of the author in the past that no other such write supersedes,
    /// none removes him and one admits him.
    fn admits_author(&self, bundle: &Bundle) -> bool {
        let author = bundle.header().actor;
        let (mut writes, mut dead) = (Vec::new(), BTreeSet::new());
        for digest in self.past(bundle) {
            for op in self.bundles[&digest].ops() {
                match op.operation.as_ref().unwrap() {
                    Operation::Bootstrap { founder, .. } if *founder == author => writes.push((op.reference, true)),
                    Operation::AdmitMember { member, basis } if *member == author => {
                        dead.extend(basis.preds.iter().copied());
                        writes.push((op.reference, true));
                    }
                    Operation::RemoveMember { member, basis, .. } if *member == author => {
                        dead.extend(basis.preds.iter().copied());
                        writes.push((op.reference, false));
                    }
                    _ => {}
                }
            }
        }
        writes.retain(|(op, _)| !dead.contains(op));
        writes.iter().any(|(_, admits)| *admits) && writes.iter().all(|(_, admits)| *admits)
    }

    /// The greatest set of offered bundles that stands: parents there, author admitted, signed or vouched for.
    fn standing(&self, log: &BTreeSet<Digest>, offered: &BTreeMap<Digest, bool>) -> BTreeSet<Digest> {
        let mut set: BTreeSet<Digest> = offered.keys().copied().filter(|digest| !log.contains(digest)).collect();
        loop {
            let stands = |digest: &Digest| {
                let bundle = &self.bundles[digest];
                let parents = bundle.ancestors().all(|parent| log.contains(&parent) || set.contains(&parent));
                let vouched = set.iter().any(|later| {
                    let later = self.bundles[later].header();
                    later.actor == bundle.header().actor && later.prev == Some(*digest)
                });
                parents && self.admits_author(bundle) && (offered[digest] || vouched)
            };
            let next: BTreeSet<Digest> = set.iter().copied().filter(stands).collect();
            if next == set {
                return set;
            }
            set = next;
        }
    }
}

struct Play {
    oplog: Running,
    dice: Dice,
    people: Vec<Keys>,
    /// What each of several far-away replicas knows, and the one here.
    replicas: Vec<Knowledge>,
    universe: Universe,
    log: BTreeSet<Digest>,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let people: Vec<Keys> = ["Mara", "Leo", "Eve", "Ida"].iter().map(|name| person(name)).collect();
        let mut play = Self {
            oplog: running().await,
            dice: Dice(seed),
            replicas: vec![Knowledge::default(); 3],
            universe: Universe::default(),
            log: BTreeSet::new(),
            people,
        };
        let first = play.replicas[0].bootstrap(&play.people[0]);
        play.oplog.append(&first).await.unwrap();
        play.log.insert(first.digest());
        for replica in &mut play.replicas[1..] {
            replica.sees(&first);
        }
        play.universe.bundles.insert(first.digest(), first);
        play
    }

    fn someone(&mut self) -> Keys {
        let at = self.dice.below(self.people.len());
        self.people[at].clone()
    }

    /// Somebody writes something on some replica. Nobody asks whether he may.
    fn write_elsewhere(&mut self) {
        let at = self.dice.below(self.replicas.len());
        let (who, whom) = (self.someone(), self.someone());
        let replica = &mut self.replicas[at];
        let bundle = match self.dice.below(8) {
            0 | 1 => replica.admit(&who, &whom),
            2 => replica.remove(&who, &whom),
            _ => replica.edit(&who),
        };
        self.universe.bundles.insert(bundle.digest(), bundle);
    }

    /// Replicas learn of each other's bundles, by a true merge of what they know.
    fn meet(&mut self) {
        let (a, b) = (self.dice.below(self.replicas.len()), self.dice.below(self.replicas.len()));
        let known = |replica: &Knowledge, universe: &Universe| {
            let mut all: BTreeSet<Digest> = replica.heads.iter().copied().collect();
            for head in &replica.heads {
                all.extend(universe.past(&universe.bundles[head]));
            }
            all
        };
        let (mine, theirs) = (known(&self.replicas[a], &self.universe), known(&self.replicas[b], &self.universe));
        let mut news: Vec<&Bundle> = theirs.difference(&mine).map(|digest| &self.universe.bundles[digest]).collect();
        news.sort_by_key(|bundle| (bundle.header().hlc, bundle.digest()));
        for bundle in news {
            self.replicas[a].sees(bundle);
        }
    }

    async fn offer(&mut self) {
        let mut offered: BTreeMap<Digest, bool> = BTreeMap::new();
        let all: Vec<Digest> = self.universe.bundles.keys().copied().collect();
        let keen = 1 + self.dice.below(4);
        for digest in all {
            if self.dice.one_in(keen) {
                offered.insert(digest, !self.dice.one_in(6));
            }
        }
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for (digest, signed) in &offered {
            let bundle = &self.universe.bundles[digest];
            pieces.push(if *signed { bundle.bytes().to_vec() } else { unsigned(bundle) });
        }
        for (digest, signed) in self.kept() {
            *offered.entry(digest).or_default() |= signed;
        }
        let standing = self.universe.standing(&self.log, &offered);
        match self.oplog.try_admit(pieces).await {
            Ok(admitted) => {
                assert_eq!(admitted.appended as usize, standing.len());
                self.log.extend(standing);
            }
            Err(AppendError::Disk { .. }) => self.look(),
            Err(other) => panic!("{other}"),
        }
    }

    /// What is kept outside the log, and whether it is signed: what comes may be what it waits for.
    fn kept(&self) -> Vec<(Digest, bool)> {
        let store = &self.oplog.store;
        let waiting = store.waiting(0, usize::MAX).unwrap().into_iter().map(|waiting| waiting.digest);
        let quarantined = store.quarantined(0, usize::MAX).unwrap().into_iter().filter_map(|one| one.digest);
        let digests: BTreeSet<Digest> = waiting.chain(quarantined).collect();
        let copies = digests.into_iter().flat_map(|digest| store.kept(digest).unwrap());
        let copies = copies.map(|bytes| Bundle::parse(&bytes).unwrap());
        copies.map(|bundle| (bundle.digest(), bundle.signature_holds())).collect()
    }

    /// An own bundle of a person here, planned on the log as it is.
    async fn append(&mut self) {
        let Ok(tail) = self.oplog.tail().await else { return };
        let who = self.someone();
        let prev = self.oplog.store.prev_of(who.actor()).unwrap();
        let mut here = Knowledge { heads: tail.heads, hlc: tail.hlc, ..Knowledge::default() };
        here.prev.extend(prev.map(|prev| (who.actor(), prev)));
        let bundle = here.edit(&who);
        self.universe.bundles.insert(bundle.digest(), bundle.clone());
        let allowed = self.universe.admits_author(&bundle);
        match self.oplog.ask_append(&bundle, command()).answer().await.unwrap() {
            Ok(_) => {
                assert!(allowed);
                self.log.insert(bundle.digest());
            }
            Err(AppendError::Refused(_)) => assert!(!allowed),
            Err(AppendError::Disk { .. }) => self.look(),
            Err(AppendError::Stale) => panic!("nobody else appends"),
        }
    }

    /// After a failed commit only the store knows; it may hold more than was acknowledged, never less (I-1).
    fn look(&mut self) {
        self.oplog.disk.heals();
        let stored: BTreeSet<Digest> = check_log(&self.oplog.store).into_iter().collect();
        assert!(self.log.is_subset(&stored));
        self.log = stored;
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0..=8 => self.write_elsewhere(),
            9 | 10 => self.meet(),
            11..=13 => self.offer().await,
            14..=17 => self.append().await,
            18 => self.oplog.killed_and_restarted().await,
            _ => {
                let trouble = [Trouble::Full, Trouble::WriteError, Trouble::SyncError][self.dice.below(3)];
                let after = self.dice.below(10) as u64;
                self.oplog.disk.has(trouble, after);
            }
        }
    }
}

#[tokio::test]
async fn random_histories_are_judged_as_the_naive_model_judges_them() {
    for seed in 0..24 {
        let mut play = Play::new(seed).await;
        for _ in 0..120 {
            play.step().await;
        }
        play.oplog.disk.heals();
        play.oplog.tail().await.unwrap();
        let stored: BTreeSet<Digest> = check_log(&play.oplog.store).into_iter().collect();
        assert_eq!(stored, play.log, "seed {seed}");
    }
}
