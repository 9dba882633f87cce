//! The company: several replicas, what each was promised, and how bundles get from one to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_domain::command::{Command, Request, Stance};
use openprod_messages::commands::{CommandError, Outcome};
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::{Bundle, BundleKind, Source};
use openprod_model::ids::{ActorId, CommandId, Digest, Position, SessionId};
use openprod_model::operation::RawOp;

use super::chance::Dice;
use super::linked;
use super::meeting::Present;
use super::replica::{Cast, Disks, Replica};
use super::witness::Witness;

/// What a test found to be wrong, in words.
pub(crate) type Verdict = Result<(), String>;

/// Fails with a sentence.
macro_rules! ensure {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}
pub(crate) use ensure;

/// What somebody asks of a replica.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) actor: ActorId,
    /// Which of the replica's client sessions asks, if any.
    pub(super) session: Option<u8>,
    pub(super) base: Option<Position>,
    pub(super) stance: Stance,
    pub(super) kind: BundleKind,
    pub(super) commands: Vec<Command>,
}

/// Everybody and everything.
pub(super) struct Company {
    pub(super) cast: Arc<Cast>,
    pub(super) replicas: Vec<Replica>,
    /// The bundles of all commands that were acknowledged.
    pub(super) acknowledged: BTreeSet<Digest>,
    /// Copies of replicas' disks, and whose they are.
    copies: Vec<(usize, Disks)>,
    pub(super) dice: Dice,
    /// Every bundle that was ever passed on: reading one from a log again costs more.
    library: BTreeMap<Digest, Arc<Bundle>>,
    commands: u64,
    pub(super) refusals: usize,
}

/// People who write.
const PEOPLE: usize = 4;

impl Company {
    /// One replica founds the workspace and admits everybody; the others are empty. Those whose index `ignorant` gives
    /// do not know some kinds of operations.
    pub(super) async fn new(replicas: usize, seed: u64, ignorant: &BTreeMap<usize, &'static [u16]>) -> Self {
        let (cast, mut dice) = (Cast::of(PEOPLE), Dice(seed));
        let mut company = Self {
            cast,
            replicas: Vec::new(),
            acknowledged: BTreeSet::new(),
            copies: Vec::new(),
            dice: Dice(dice.roll()),
            library: BTreeMap::new(),
            commands: 0,
            refusals: 0,
        };
        for number in 0..replicas {
            let unknown = ignorant.get(&number).copied().unwrap_or(&[]);
            company.replicas.push(Replica::new(&company.cast, dice.roll(), unknown).await);
        }
        let first = company.replicas[0].founds("Hamlet").await;
        company.acknowledged.insert(first);
        company
    }

    pub(super) fn actor(&self, number: usize) -> ActorId {
        self.cast.actor(number)
    }

    /// Asks a replica for several things at once; checks what the answers did to what others had written.
    pub(super) async fn asks(&mut self, at: usize, asked: &[Asked]) -> Result<Vec<Option<Outcome>>, String> {
        let requests = asked.iter().map(|asked| (self.request(at, asked), asked.actor)).collect();
        let answers = self.replicas[at].executes(requests).await;
        let mut outcomes = Vec::new();
        for (asked, answer) in asked.iter().zip(answers) {
            match answer {
                Ok(outcome) => {
                    ensure!(self.replicas[at].holds(outcome.answer.digest), "acknowledged, and not in the log");
                    self.acknowledged.insert(outcome.answer.digest);
                    self.knew_what_it_supersedes(at, asked, outcome.revision)?;
                    outcomes.push(Some(outcome));
                }
                Err(CommandError::Refused(_)) => {
                    self.refusals += 1;
                    outcomes.push(None);
                }
                Err(CommandError::Unavailable(why)) => return Err(format!("replica {at} was unavailable: {why}")),
            }
        }
        Ok(outcomes)
    }

    fn request(&mut self, at: usize, asked: &Asked) -> Request {
        self.commands += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.commands.to_be_bytes());
        Request {
            command_id: CommandId::from_bytes(id),
            session: asked.session.map(|number| session(at, number)),
            base: asked.base,
            stance: asked.stance,
            kind: asked.kind,
            label: None,
            source: Source::default(),
            commands: asked.commands.clone(),
        }
    }

    /// What was written is true to what its author had seen (I-5). A replica that does not know every kind of operation
    /// shows something else than its log says, so there nobody testifies.
    fn knew_what_it_supersedes(&mut self, at: usize, asked: &Asked, revision: Position) -> Verdict {
        if !self.replicas[at].unknown.is_empty() {
            return Ok(());
        }
        let kind = self.replicas[at].log().entry(revision).unwrap().map(|entry| entry.kind).ok_or("it is not there")?;
        let is_informed = [BundleKind::EDIT, BundleKind::SCHEMA, BundleKind::MEMBER].contains(&kind);
        let resolves = |command: &Command| matches!(command, Command::Resolve { .. });
        let decides =
            asked.stance == Stance::Decide && asked.kind != BundleKind::IMPORT || asked.commands.iter().any(resolves);
        let lines = self.replicas[at].lines();
        let witness = Witness {
            log: &lines[..lines.partition_point(|line| line.position <= revision)],
            revision,
            base: asked.base,
            session: asked.session.map(|number| session(at, number)),
            is_blind: !decides && (asked.kind == BundleKind::IMPORT || asked.base.is_none()),
            is_informed,
            goes_back: [BundleKind::UNDO, BundleKind::REDO].contains(&kind),
        };
        witness.testifies().map_err(|wrong| format!("at {revision} of replica {at}, asked {asked:?}: {wrong}"))
    }

    /// Writes past the door for commands. Nothing happens if the actor is no member there.
    pub(super) async fn writes_by_hand(&mut self, at: usize, actor: ActorId, ops: Vec<RawOp>) {
        let snapshot = self.snapshot(at);
        let membership = openprod_domain::read::membership(snapshot.view(), actor).unwrap();
        if membership == openprod_domain::read::Membership::Admitted {
            let digest = self.replicas[at].writes_by_hand(actor, ops).await;
            self.acknowledged.insert(digest);
        }
    }

    pub(super) fn snapshot(&self, at: usize) -> Arc<dyn Snapshot> {
        self.replicas[at].snapshot()
    }

    /// Offers bundles to a replica, all in one message, and checks that exactly those are appended whose ancestors are
    /// there or come along, and those that had waited for these; the others must wait, and be nowhere.
    pub(super) async fn offers(&mut self, to: usize, offered: &[Arc<Bundle>]) -> Verdict {
        let before: BTreeSet<Digest> = self.replicas[to].digests().into_iter().collect();
        let waiting = self.replicas[to].waiting().into_iter().map(|digest| Arc::clone(&self.library[&digest]));
        let all: Vec<Arc<Bundle>> = offered.iter().cloned().chain(waiting).collect();
        let fitting = fitting(&before, &all);
        let bytes = offered.iter().map(|bundle| bundle.bytes().to_vec()).collect();
        let admitted = self.replicas[to].admits(bytes).await;
        let distinct: BTreeSet<Digest> = offered.iter().map(|bundle| bundle.digest()).collect();
        let waiting = distinct.iter().filter(|digest| !before.contains(digest) && !fitting.contains(digest)).count();
        let counts = (admitted.appended, admitted.waiting, admitted.quarantined.len() as u64);
        let expected = (fitting.len() as u64, waiting as u64, 0);
        ensure!(
            counts == expected,
            "replica {to} admitted {admitted:?}, expected (appended, waiting, quarantined) {expected:?}"
        );
        let after: BTreeSet<Digest> = self.replicas[to].digests().into_iter().collect();
        ensure!(after == before.union(&fitting).copied().collect(), "replica {to} holds something else");
        Ok(())
    }

    /// What one replica has and another lacks, parents first.
    pub(super) fn news(&mut self, from: usize, to: usize) -> Vec<Arc<Bundle>> {
        let known: BTreeSet<Digest> = self.replicas[to].digests().into_iter().collect();
        let mut news = self.bundles(from);
        news.retain(|bundle| !known.contains(&bundle.digest()));
        news
    }

    /// All bundles of a replica, in the order of its log.
    pub(super) fn bundles(&mut self, of: usize) -> Vec<Arc<Bundle>> {
        let replica = &self.replicas[of];
        let library = &mut self.library;
        let known = |digest| Arc::clone(library.entry(digest).or_insert_with(|| Arc::new(replica.bundle(digest))));
        replica.digests().into_iter().map(known).collect()
    }

    /// A replica as its judges see it.
    pub(super) fn present(&mut self, at: usize) -> Present {
        let bundles = self.bundles(at);
        Present { log: Arc::clone(self.replicas[at].log()), snapshot: self.snapshot(at), bundles }
    }

    /// One replica tells another everything, in pieces, each shuffled, with something twice now and then.
    pub(super) async fn tells(&mut self, from: usize, to: usize) -> Verdict {
        let mut news = self.news(from, to);
        while !news.is_empty() {
            let some = 1 + self.dice.below(news.len().min(40));
            let mut piece: Vec<Arc<Bundle>> = news.drain(..some).collect();
            piece.extend(self.dice.pick(&piece).filter(|_| some.is_multiple_of(3)));
            self.dice.shuffle(&mut piece);
            self.offers(to, &piece).await?;
        }
        Ok(())
    }

    /// Everybody hears everything, through one of them, or over links.
    pub(super) async fn everyone_meets(&mut self) -> Verdict {
        if self.dice.one_in(2) {
            return linked::everyone_meets(self).await;
        }
        let through = self.dice.below(self.replicas.len());
        for one in 0..self.replicas.len() {
            self.tells(one, through).await?;
        }
        for one in 0..self.replicas.len() {
            self.tells(through, one).await?;
        }
        Ok(())
    }

    /// Keeps a copy of a replica's disks.
    pub(super) fn backs_up(&mut self, at: usize) {
        self.copies.push((at, self.replicas[at].copy_of_its_disks()));
    }

    /// An earlier copy, or one of now, is put to work as one more replica, which goes on with the same actors. What the
    /// copy lacks was acknowledged all the same: the replica that it was taken of lives on.
    pub(super) async fn forks(&mut self, choice: u64, cloned: bool) {
        let now = usize::try_from(choice % self.replicas.len() as u64).unwrap();
        let earlier = self.dice.pick(&self.copies);
        let (at, disks) = earlier.unwrap_or_else(|| (now, self.replicas[now].copy_of_its_disks()));
        let seed = if cloned { None } else { Some(choice) };
        let replica = self.replicas[at].again_on(&disks, seed).await;
        self.replicas.push(replica);
    }
}

fn session(replica: usize, number: u8) -> SessionId {
    SessionId::from_bytes([[u8::try_from(replica).unwrap() + 1; 8], [number + 1; 8]].concat().try_into().unwrap())
}

/// Of the offered bundles, those whose ancestors are known or fit themselves.
fn fitting(known: &BTreeSet<Digest>, offered: &[Arc<Bundle>]) -> BTreeSet<Digest> {
    let mut fitting = BTreeSet::new();
    loop {
        let there = |digest: &Digest| known.contains(digest) || fitting.contains(digest);
        let more: Vec<Digest> = offered
            .iter()
            .filter(|bundle| !there(&bundle.digest()) && bundle.ancestors().all(|ancestor| there(&ancestor)))
            .map(|bundle| bundle.digest())
            .collect();
        if more.is_empty() {
            return fitting;
        }
        fitting.extend(more);
    }
}
