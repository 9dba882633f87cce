//! Admission: bundles from elsewhere are judged together, so that one signature can vouch for a whole run.
//!
//! A bundle is authentic if its own signature verifies strictly, or if a later bundle of the same actor, itself
//! admitted, reaches it through `prev`. So of each chain only the tips are verified; the others only where their tip
//! fails. The machine is asked what it wants verified, told the answers, and asked again, until it wants nothing.
//!
//! What stands may still be kept for a person: a removed member's later work that comes through anybody's hands. It is
//! let in where a member gives it, or has built on it, since then members have it anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::oplog::{Admitted, Hands, Held};
use openprod_model::bundle::{Bundle, Malformed};
use openprod_model::ids::{ActorId, Digest};
use openprod_model::refusal::Refusal;

use super::batch::{Change, Unit};
use super::ledger::{Ancestors, Known, Ledger, Local, Past, foreign};
use super::members::SetId;
use crate::tables::{QuarantineRow, WaitingRow};

/// Bytes from elsewhere, and what they are.
#[derive(Debug)]
pub struct Candidate {
    /// What they say, or the bytes as they came and what is wrong with them.
    parsed: Result<Bundle, (Vec<u8>, Malformed)>,
    /// Whether it is offered now, and not only kept from before.
    is_offered: bool,
}

impl Candidate {
    /// Reads bytes.
    pub fn read(bytes: Vec<u8>) -> Self {
        Self { parsed: Bundle::parse(&bytes).map_err(|malformed| (bytes, malformed)), is_offered: true }
    }

    /// Reads bytes that were kept outside the log.
    pub(super) fn kept(bytes: Vec<u8>) -> Self {
        Self { is_offered: false, ..Self::read(bytes) }
    }

    /// Its digest and its ancestors, if it can be read.
    pub(super) fn links(&self) -> Option<(Digest, Vec<Digest>)> {
        let bundle = self.parsed.as_ref().ok()?;
        Some((bundle.digest(), bundle.ancestors().collect()))
    }
}

/// A bundle whose signature is to be checked.
#[derive(Debug, Clone)]
pub struct Wanted {
    index: usize,
    bundle: Arc<Bundle>,
}

impl Wanted {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.bundle.signature_holds()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Stands so far.
    Standing,
    /// In the log already.
    Known,
    /// An ancestor is not here, or does not stand.
    Waiting,
    /// Stands, and is kept until a person takes it.
    Held,
    /// Does not stand up to the checks.
    Refused(String),
}

/// What goes into quarantine.
#[derive(Debug)]
struct Suspect {
    bytes: Arc<[u8]>,
    digest: Option<Digest>,
    reason: String,
    held: bool,
}

#[derive(Debug)]
struct Entrant {
    /// Which of those offered it is.
    offered: Vec<usize>,
    /// The same header under different signatures; the first that verifies is taken.
    copies: Vec<Arc<Bundle>>,
    signed: Option<bool>,
    fate: Fate,
    /// The member ops in its past and itself, once it was judged.
    members: SetId,
    /// Those of its ancestors that came along.
    along: Vec<usize>,
    /// Later bundles of the same actor that came along and name it as `prev`.
    vouchers: Vec<usize>,
}

impl Entrant {
    fn bundle(&self) -> &Arc<Bundle> {
        &self.copies[0]
    }
}

/// Where bundles come from, and when.
#[derive(Debug)]
pub struct Origin {
    /// Their source, for people.
    pub source: String,
    /// Who gives them.
    pub hands: Hands,
    /// This node's clock.
    pub now_ms: u64,
}

/// Bundles from elsewhere that are being judged.
#[derive(Debug)]
pub struct Admission {
    from: Origin,
    malformed: Vec<Suspect>,
    /// Which of those offered could not be read.
    unread: Vec<usize>,
    duplicates: u64,
    entrants: Vec<Entrant>,
    by_digest: BTreeMap<Digest, usize>,
    /// Indices, ancestors first.
    order: Vec<usize>,
    suspects: BTreeSet<usize>,
}

impl Admission {
    /// Judges everything but the signatures.
    pub fn begin(ledger: &mut Ledger, past: &dyn Past, candidates: Vec<Candidate>, from: Origin) -> Read<Self> {
        let mut this = Self {
            from,
            malformed: Vec::new(),
            unread: Vec::new(),
            duplicates: 0,
            entrants: Vec::new(),
            by_digest: BTreeMap::new(),
            order: Vec::new(),
            suspects: BTreeSet::new(),
        };
        this.gather(candidates);
        this.join();
        this.judge(ledger, past)?;
        this.sift();
        Ok(this)
    }

    fn gather(&mut self, candidates: Vec<Candidate>) {
        for (offered, Candidate { parsed, is_offered }) in candidates.into_iter().enumerate() {
            match parsed {
                Err((bytes, malformed)) => {
                    self.unread.push(offered);
                    self.suspect(bytes, &malformed);
                }
                Ok(bundle) => {
                    let index = *self.by_digest.entry(bundle.digest()).or_insert(self.entrants.len());
                    self.enter(index, is_offered.then_some(offered), bundle);
                }
            }
        }
    }

    fn suspect(&mut self, bytes: Vec<u8>, malformed: &Malformed) {
        let reason = sentence(&malformed.to_string());
        self.malformed.push(Suspect { bytes: bytes.into(), digest: None, reason, held: false });
    }

    fn enter(&mut self, index: usize, offered: Option<usize>, bundle: Bundle) {
        let Some(entrant) = self.entrants.get_mut(index) else {
            let entrant = Entrant {
                offered: offered.into_iter().collect(),
                copies: vec![Arc::new(bundle)],
                signed: None,
                fate: Fate::Standing,
                members: SetId::EMPTY,
                along: Vec::new(),
                vouchers: Vec::new(),
            };
            self.entrants.push(entrant);
            return;
        };
        self.duplicates += u64::from(offered.is_some() && !entrant.offered.is_empty());
        entrant.offered.extend(offered);
        if entrant.copies.iter().all(|copy| copy.bytes() != bundle.bytes()) {
            entrant.copies.push(Arc::new(bundle));
        }
    }

    /// Finds who came along with whom, and an order in which ancestors come first. Digests cannot form a circle.
    fn join(&mut self) {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.entrants.len()];
        for index in 0..self.entrants.len() {
            let bundle = Arc::clone(self.entrants[index].bundle());
            self.entrants[index].along =
                bundle.ancestors().filter_map(|digest| self.by_digest.get(&digest).copied()).collect();
            for ancestor in &self.entrants[index].along {
                children[*ancestor].push(index);
            }
            let prev = bundle.header().prev.and_then(|prev| self.by_digest.get(&prev).copied());
            if let Some(prev) = prev.filter(|prev| self.author(*prev) == bundle.header().actor) {
                self.entrants[prev].vouchers.push(index);
            }
        }
        let mut open: Vec<usize> = self.entrants.iter().map(|entrant| entrant.along.len()).collect();
        let mut ready: BTreeSet<usize> = (0..open.len()).filter(|index| open[*index] == 0).collect();
        while let Some(index) = ready.pop_first() {
            self.order.push(index);
            for child in &children[index] {
                open[*child] -= 1;
                if open[*child] == 0 {
                    ready.insert(*child);
                }
            }
        }
    }

    fn author(&self, index: usize) -> ActorId {
        self.entrants[index].bundle().header().actor
    }

    fn judge(&mut self, ledger: &mut Ledger, past: &dyn Past) -> Read<()> {
        let mut end = ledger.end().position;
        let mut along: BTreeMap<Digest, Known> = BTreeMap::new();
        for index in self.order.clone() {
            let bundle = Arc::clone(self.entrants[index].bundle());
            if bundle.header().workspace != ledger.workspace() {
                self.refuse(index, &foreign());
                continue;
            }
            // With a bundle, all that it builds on is in the log: whatever builds on one that is not, is not either.
            let is_new = bundle.ancestors().any(|ancestor| along.contains_key(&ancestor));
            if !is_new && ledger.look(past, bundle.digest())?.is_some() {
                self.entrants[index].fate = Fate::Known;
                continue;
            }
            let Some(ancestors) = ancestors(ledger, past, &along, &bundle)? else {
                self.entrants[index].fate = Fate::Waiting;
                continue;
            };
            match ledger.judge(past, &bundle, &ancestors, end)? {
                Err(refusal) => self.refuse(index, &refusal),
                Ok(members) => {
                    end = end.next();
                    self.entrants[index].members = members;
                    let (actor, last_hlc) = (bundle.header().actor, bundle.last_hlc());
                    let known = Known { position: end, actor, last_hlc, members, spot: None };
                    along.insert(bundle.digest(), known);
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, index: usize, refusal: &Refusal) {
        self.entrants[index].fate = Fate::Refused(refusal.message.clone());
    }

    fn stands(&self, index: usize) -> bool {
        self.entrants[index].fate == Fate::Standing
    }

    /// Whether nothing that still stands vouches for it.
    fn is_tip(&self, index: usize) -> bool {
        self.stands(index) && !self.entrants[index].vouchers.iter().any(|voucher| self.stands(*voucher))
    }

    /// Takes out what cannot stand any more, until nothing changes.
    fn sift(&mut self) {
        loop {
            for index in self.order.clone() {
                let held = |entrant: &usize| matches!(self.entrants[*entrant].fate, Fate::Standing | Fate::Known);
                if self.stands(index) && !self.entrants[index].along.iter().all(held) {
                    self.entrants[index].fate = Fate::Waiting;
                }
            }
            let forged = |index: &usize| self.is_tip(*index) && self.entrants[*index].signed == Some(false);
            let forged: Vec<usize> = self.order.iter().copied().filter(forged).collect();
            if forged.is_empty() {
                return;
            }
            for index in forged {
                self.suspect_run_of(index);
                let author = self.author(index).short();
                self.entrants[index].fate = Fate::Refused(format!("Its signature is not that of its author {author}."));
            }
        }
    }

    /// What a forged tip seemed to vouch for is verified all at once: else a long forged chain would take as many
    /// rounds as it has bundles.
    fn suspect_run_of(&mut self, index: usize) {
        let author = self.author(index);
        let run = (0..self.entrants.len()).filter(|other| self.author(*other) == author);
        self.suspects.extend(run.collect::<Vec<_>>());
    }

    /// The signatures to be verified now; none if the judgement stands.
    pub fn wanted(&self) -> Vec<Wanted> {
        let open = |index: &usize| self.stands(*index) && self.entrants[*index].signed.is_none();
        if !self.order.iter().any(|index| open(index) && self.is_tip(*index)) {
            return Vec::new();
        }
        let wanted = self.order.iter().filter(|index| open(index));
        let wanted = wanted.filter(|index| self.is_tip(**index) || self.suspects.contains(index));
        wanted.flat_map(|index| self.copies(*index)).collect()
    }

    fn copies(&self, index: usize) -> impl Iterator<Item = Wanted> + '_ {
        self.entrants[index].copies.iter().map(move |bundle| Wanted { index, bundle: Arc::clone(bundle) })
    }

    /// The answers: which signatures hold.
    pub fn verified(&mut self, answers: Vec<(Wanted, bool)>) {
        for (Wanted { index, bundle }, holds) in answers {
            let entrant = &mut self.entrants[index];
            let held_before = entrant.signed == Some(true);
            entrant.signed = Some(holds || held_before);
            if holds && !held_before {
                entrant.copies = vec![bundle];
            }
        }
        self.sift();
    }

    /// Keeps for a person what stands, but was written by somebody who is removed as far as this node knows; not what a
    /// member gives or has built on.
    fn hold(&mut self, ledger: &mut Ledger, past: &dyn Past) -> Read<()> {
        let now = ledger.members_now(past)?;
        if now == SetId::EMPTY {
            // Nothing is here yet: whoever takes in a whole workspace takes in its past.
            return Ok(());
        }
        let mut is_wanted = vec![false; self.entrants.len()];
        for index in self.order.clone().into_iter().rev().filter(|index| self.stands(*index)).collect::<Vec<_>>() {
            let author = self.author(index);
            let gives = self.from.hands == Hands::Members && self.is_offered(index);
            if is_wanted[index] || gives || ledger.members.admit(past, now, author)? {
                self.entrants[index].along.iter().for_each(|ancestor| is_wanted[*ancestor] = true);
                continue;
            }
            let both = ledger.members.union(past, [now, self.entrants[index].members])?;
            if !ledger.members.admit(past, both, author)? {
                self.entrants[index].fate = Fate::Held;
            }
        }
        self.sift();
        Ok(())
    }

    /// Stages what stands and quarantines what does not. Should it fail, the ledger must not be used any more: some may
    /// be staged that will never be written.
    pub fn finish(mut self, ledger: &mut Ledger, past: &dyn Past) -> Read<(Admitted, Unit)> {
        self.hold(ledger, past)?;
        let mut admitted = Admitted { known: self.duplicates, ..Admitted::default() };
        admitted.unheld = std::mem::take(&mut self.unread);
        let (mut changes, mut suspects) = (Vec::new(), Vec::new());
        for index in std::mem::take(&mut self.order) {
            let bundle = Arc::clone(self.entrants[index].bundle());
            match std::mem::replace(&mut self.entrants[index].fate, Fate::Known) {
                Fate::Known => {
                    admitted.known += u64::from(self.is_offered(index));
                    admitted.held.extend(self.held(ledger, past, index)?);
                    changes.extend(self.replacement(ledger, past, index)?);
                }
                Fate::Waiting if self.is_offered(index) => {
                    let (missing, lacking) = self.missing(ledger, past, &bundle)?;
                    admitted.waiting += 1;
                    admitted.unheld.append(&mut self.entrants[index].offered);
                    admitted.missing.extend(missing);
                    changes.extend(self.wait(ledger, past, index, &lacking)?);
                }
                Fate::Waiting => {}
                Fate::Held => {
                    admitted.kept_for_people += u64::from(self.is_offered(index));
                    suspects.push(self.taken_out(index, removed(bundle.header().actor), true, &mut admitted));
                }
                Fate::Refused(reason) => suspects.push(self.taken_out(index, reason, false, &mut admitted)),
                Fate::Standing => {
                    let ancestors =
                        ledger.ancestors(past, &bundle)?.expect("ancestors of what stands are staged first");
                    let local = Local { now_ms: self.from.now_ms, ..Local::default() };
                    changes.push(ledger.stage(past, &bundle, &ancestors, local)?);
                    admitted.appended += 1;
                    admitted.held.extend(self.held(ledger, past, index)?);
                }
            }
        }
        admitted.unheld.sort_unstable();
        admitted.missing.sort_unstable();
        admitted.missing.dedup();
        suspects.extend(self.malformed.drain(..).map(|suspect| (suspect, true)));
        for (suspect, is_offered) in suspects {
            let (number, change) = self.quarantine(ledger, past, suspect)?;
            admitted.quarantined.extend(is_offered.then_some(number));
            changes.extend(change);
        }
        Ok((admitted, Unit { changes, end: ledger.end() }))
    }

    /// Where one that was offered lies now.
    fn held(&self, ledger: &mut Ledger, past: &dyn Past, index: usize) -> Read<Option<Held>> {
        let digest = self.entrants[index].bundle().digest();
        let known = if self.is_offered(index) { ledger.look(past, digest)? } else { None };
        Ok(known.and_then(|Known { actor, spot, .. }| Some(Held { digest, actor, spot: spot? })))
    }

    fn taken_out(&mut self, index: usize, reason: String, held: bool, admitted: &mut Admitted) -> (Suspect, bool) {
        let (is_offered, bundle) = (self.is_offered(index), Arc::clone(self.entrants[index].bundle()));
        admitted.unheld.append(&mut self.entrants[index].offered);
        (Suspect { bytes: Arc::clone(bundle.bytes()), digest: Some(bundle.digest()), reason, held }, is_offered)
    }

    fn is_offered(&self, index: usize) -> bool {
        !self.entrants[index].offered.is_empty()
    }

    /// The ancestors of a bundle that are nowhere on this node; and all those that are not in the log.
    fn missing(&self, ledger: &mut Ledger, past: &dyn Past, bundle: &Bundle) -> Read<(Vec<Digest>, Vec<Digest>)> {
        let (mut missing, mut lacking) = (Vec::new(), Vec::new());
        for ancestor in bundle.ancestors() {
            if ledger.look(past, ancestor)?.is_some() {
                continue;
            }
            lacking.push(ancestor);
            if !self.by_digest.contains_key(&ancestor) && ledger.kept(past, ancestor)?.is_empty() {
                missing.push(ancestor);
            }
        }
        Ok((missing, lacking))
    }

    /// Keeps every copy of a bundle until what it lacks comes.
    fn wait(&self, ledger: &mut Ledger, past: &dyn Past, index: usize, lacking: &[Digest]) -> Read<Vec<Change>> {
        let mut changes = Vec::new();
        for copy in &self.entrants[index].copies {
            let (source, missing) = (self.from.source.clone(), lacking.to_vec());
            let row = WaitingRow { digest: copy.digest(), source, since_ms: self.from.now_ms, missing };
            changes.extend(ledger.wait(past, Arc::clone(copy.bytes()), row)?);
        }
        Ok(changes)
    }

    fn quarantine(&self, ledger: &mut Ledger, past: &dyn Past, suspect: Suspect) -> Read<(u64, Option<Change>)> {
        let Suspect { bytes, digest, reason, held } = suspect;
        let (source, since_ms) = (self.from.source.clone(), self.from.now_ms);
        let row = QuarantineRow { digest, source, reason, since_ms, skipped: false, at: None, mark: [0; 32], held };
        ledger.quarantine(past, bytes, row)
    }

    /// A known bundle whose stored bytes were damaged is replaced by a good copy: one whose own signature verifies,
    /// or that a later bundle of its author in the log vouches for.
    fn replacement(&self, ledger: &mut Ledger, past: &dyn Past, index: usize) -> Read<Option<Change>> {
        let bundle = self.entrants[index].bundle();
        let digest = bundle.digest();
        if past.damaged(digest)?.is_none() {
            return Ok(None);
        }
        let Some(Known { position, .. }) = ledger.look(past, digest)? else { return Ok(None) };
        let vouched = !ledger.tips(past, bundle.header().actor)?.keys().any(|(_, tip)| *tip == digest);
        let good = self.entrants[index].copies.iter().find(|copy| vouched || copy.signature_holds());
        Ok(good.map(|copy| Change::Replace { position, digest, bytes: Arc::clone(copy.bytes()) }))
    }
}

fn ancestors(
    ledger: &mut Ledger,
    past: &dyn Past,
    along: &BTreeMap<Digest, Known>,
    bundle: &Bundle,
) -> Read<Option<Ancestors>> {
    let mut found = Vec::new();
    for digest in bundle.ancestors() {
        let known = match along.get(&digest) {
            Some(known) => Some(*known),
            None => ledger.look(past, digest)?,
        };
        let Some(known) = known else { return Ok(None) };
        found.push((digest, known));
    }
    Ok(Some(found))
}

fn removed(author: ActorId) -> String {
    format!("Its author {} was removed meanwhile, and no member has built on it: a person decides.", author.short())
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or_else(String::new, |c| c.to_uppercase().collect());
    format!("{first}{}.", letters.as_str())
}
