//! Comparing: heads, then state hashes, then what differs; and the whole logs, where nothing explains a difference.

use std::collections::{BTreeMap, BTreeSet};

use openprod_domain::view::Read;
use openprod_model::ids::Digest;
use openprod_wire::replication::{
    BUCKETS, Buckets, CellPrint, Cells, MAX_CELLS, MAX_DIGESTS, Reconcile, StateSummary, Summary, Want,
};

use super::engine::{Report, Side, Step, Turn, unexpected};
use super::forks::Comparison;
use super::giving::Giving;

/// Most keys of cells that an alarm names.
pub const MAX_NAMED: usize = 100;
/// How many ticks heads must differ, nobody having anything to give and neither log growing, before it needs an
/// explanation.
const STRIKES: u32 = 2;
/// Most buckets whose cells are compared: one wrong cell is in one, and a hundred names are enough.
const MAX_BUCKETS: usize = 4;
/// Most frames of cells for one bucket.
const MAX_PAGES: usize = 64;

const HEADS_DOMAIN: &[u8] = b"openprod/heads/1\0";

/// BLAKE3 of heads, in whatever order they come.
pub fn digest_of_heads(mut heads: Vec<Digest>) -> Digest {
    heads.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(HEADS_DOMAIN);
    for head in heads {
        hasher.update(head.as_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// The comparing.
pub(super) struct Comparing {
    side: Side,
    told: Option<Summary>,
    theirs: Option<Summary>,
    /// Both heads at the last tick, if they differed and nothing was under way.
    differed: Option<(Digest, Digest)>,
    strikes: u32,
    whole: Option<Comparison>,
    /// Whether the peer may begin to reconcile the whole logs: once per tick, since it costs reading all of it.
    may_reconcile: bool,
    /// The last heads that were found equal, with states that are equal too or cannot be compared.
    compared: Option<Digest>,
    /// The heads at which states were found to differ, and the buckets of the peer whose cells were sent for.
    diverged: Option<(Digest, BTreeSet<u8>)>,
    named: BTreeSet<Vec<u8>>,
}

impl Comparing {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            told: None,
            theirs: None,
            differed: None,
            strikes: 0,
            whole: None,
            may_reconcile: true,
            compared: None,
            diverged: None,
            named: BTreeSet::new(),
        }
    }

    /// Nothing is under way. The first time, the peer is told at once.
    pub(super) fn became_idle(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.told.is_none() { self.tell(true, turn) } else { Ok(()) }
    }

    /// The peer is told where this node stands, if that is news and nothing is under way; what it said before may fit
    /// by now.
    pub(super) fn pause(&mut self, idle: bool, giving: &mut Giving, turn: &mut Turn<'_>) -> Step {
        if !idle {
            return Ok(());
        }
        let ours = summary(idle, turn)?;
        if self.told != Some(ours) {
            self.say(ours, turn);
        }
        self.compare(&ours, giving, turn)
    }

    fn tell(&mut self, idle: bool, turn: &mut Turn<'_>) -> Step {
        let ours = summary(idle, turn)?;
        self.say(ours, turn);
        Ok(())
    }

    fn say(&mut self, ours: Summary, turn: &mut Turn<'_>) {
        self.told = Some(ours);
        turn.say(ours);
    }

    /// It is time to compare. If nothing explains that heads go on differing, the whole logs are reconciled.
    pub(super) fn tick(&mut self, idle: bool, explained: bool, turn: &mut Turn<'_>) -> Step {
        self.may_reconcile = true;
        self.tell(idle, turn)?;
        let (Some(ours), Some(theirs)) = (self.told, self.theirs) else { return Ok(()) };
        let still = ours.idle && theirs.idle && ours.heads != theirs.heads && !explained;
        let differ = still.then_some((ours.heads, theirs.heads));
        let as_before = differ.is_some() && differ == self.differed;
        self.strikes = if as_before { self.strikes + 1 } else { 0 };
        self.differed = differ;
        if self.strikes >= STRIKES && self.side == Side::Begins {
            self.strikes = 0;
            let mut whole = Comparison::new(turn.log, None)?;
            turn.say(whole.first()?);
            self.whole = Some(whole);
        }
        Ok(())
    }

    /// The peer says where it stands.
    pub(super) fn summary(&mut self, theirs: Summary, idle: bool, giving: &mut Giving, turn: &mut Turn<'_>) -> Step {
        self.theirs = Some(theirs);
        let ours = summary(idle, turn)?;
        self.compare(&ours, giving, turn)?;
        let is_told = |told: Summary| told.heads == ours.heads && told.state == ours.state;
        if ours.heads == theirs.heads && !self.told.is_some_and(is_told) {
            self.say(ours, turn);
        }
        Ok(())
    }

    fn compare(&mut self, ours: &Summary, giving: &mut Giving, turn: &mut Turn<'_>) -> Step {
        let heads = ours.heads;
        let Some(theirs) = self.theirs.filter(|theirs| theirs.heads == heads) else { return Ok(()) };
        giving.is_settled();
        let (Some(mine), Some(other)) = (ours.state, theirs.state) else { return Ok(()) };
        if comparable(&mine, &other) && mine.total != other.total {
            return self.diverge(heads, turn);
        }
        if self.compared.replace(heads) != Some(heads) {
            let is_synced = comparable(&mine, &other);
            let bundles = ours.bundles;
            turn.report(if is_synced { Report::Synced { heads, bundles } } else { Report::NotComparable { heads } });
        }
        Ok(())
    }

    fn diverge(&mut self, heads: Digest, turn: &mut Turn<'_>) -> Step {
        if self.diverged.as_ref().is_some_and(|(at, _)| *at == heads) {
            return Ok(());
        }
        self.compared = None;
        self.diverged = Some((heads, BTreeSet::new()));
        self.named.clear();
        turn.report(Report::Diverged { heads, cells: Vec::new() });
        let (at, buckets) = turn.state.buckets()?;
        if at == heads {
            turn.say(Buckets { heads, buckets: buckets.to_vec() });
        }
        Ok(())
    }

    /// The peer's buckets, at heads where the states differ: it is told the cells of those that do.
    pub(super) fn buckets(&mut self, theirs: &Buckets, turn: &mut Turn<'_>) -> Step {
        let (heads, ours) = turn.state.buckets()?;
        if heads != theirs.heads {
            return Ok(());
        }
        self.diverge(heads, turn)?;
        let Some((_, compared)) = self.diverged.as_mut().filter(|(_, compared)| compared.is_empty()) else {
            return Ok(());
        };
        let differ = (0..BUCKETS).filter(|number| ours[*number] != theirs.buckets[*number]);
        compared.extend(differ.filter_map(|number| u8::try_from(number).ok()).take(MAX_BUCKETS));
        compared.iter().try_for_each(|bucket| say_cells(heads, *bucket, turn))
    }

    /// The peer's cells of a bucket that differs.
    pub(super) fn cells(&mut self, theirs: &Cells, turn: &mut Turn<'_>) -> Step {
        if self.diverged.as_ref().is_none_or(|(heads, _)| *heads != theirs.heads) {
            return Ok(());
        }
        if self.named.len() < MAX_NAMED && turn.state.summary()?.0 == theirs.heads {
            let before = self.named.len();
            self.named.extend(differing(theirs, turn)?);
            if self.named.len() > before {
                let cells = self.named.iter().take(MAX_NAMED).cloned().collect();
                turn.report(Report::Diverged { heads: theirs.heads, cells });
            }
        }
        Ok(())
    }

    /// A step of reconciling the whole logs.
    pub(super) fn reconcile(&mut self, step: &Reconcile, giving: &mut Giving, turn: &mut Turn<'_>) -> Step {
        if step.actor.is_some() {
            return unexpected("one history is reconciled after the greeting");
        }
        match self.side {
            Side::Begins => self.reconciling(step, giving, turn),
            Side::Answers => self.answer(step, turn),
        }
    }

    fn answer(&mut self, step: &Reconcile, turn: &mut Turn<'_>) -> Step {
        if std::mem::take(&mut self.may_reconcile) {
            self.whole = Some(Comparison::new(turn.log, None)?);
        }
        // One that is asked for too often is not answered: the peer will ask again.
        if let Some(whole) = &mut self.whole {
            turn.say(whole.answer(&step.message)?);
        }
        Ok(())
    }

    fn reconciling(&mut self, step: &Reconcile, giving: &mut Giving, turn: &mut Turn<'_>) -> Step {
        let Some(whole) = &mut self.whole else { return unexpected("a reconciliation goes on that nobody began") };
        if let Some(next) = whole.next(&step.message)? {
            turn.say(next);
            return Ok(());
        }
        let (ours, theirs) = (std::mem::take(&mut whole.ours), std::mem::take(&mut whole.theirs));
        self.whole = None;
        turn.report(Report::Unexplained { ours: ours.len() as u64, theirs: theirs.len() as u64 });
        let some = |digests: std::collections::HashSet<Digest>| -> Vec<Digest> {
            let sorted: BTreeSet<Digest> = digests.into_iter().collect();
            sorted.into_iter().take(MAX_DIGESTS).collect()
        };
        giving.wanted(&some(ours), turn)?;
        let digests = some(theirs);
        if !digests.is_empty() {
            turn.say(Want { digests });
        }
        Ok(())
    }
}

/// Where this node stands. Its state is told only if it has folded all of the log, with nothing damaged in it.
fn summary(idle: bool, turn: &Turn<'_>) -> Read<Summary> {
    let tail = turn.log.tail()?;
    let (bundles, heads) = (tail.position.0, digest_of_heads(tail.heads));
    let (at, state) = turn.state.summary()?;
    Ok(Summary { heads, bundles, idle, state: state.filter(|_| at == heads) })
}

/// States compare if they were folded by the same laws, from ops that were known.
fn comparable(ours: &StateSummary, theirs: &StateSummary) -> bool {
    let same_known = ours.unknown_ops == 0 || ours.kinds == theirs.kinds;
    ours.fold_version == theirs.fold_version && ours.unknown_ops == theirs.unknown_ops && same_known
}

fn say_cells(heads: Digest, bucket: u8, turn: &mut Turn<'_>) -> Step {
    let mut after = Vec::new();
    for page in 1..=MAX_PAGES {
        let cells = turn.state.cells(bucket, &after, MAX_CELLS)?;
        let more = cells.len() == MAX_CELLS && page < MAX_PAGES;
        let last = cells.last().map(|cell| cell.key.clone());
        turn.say(Cells { heads, bucket, after, cells, more });
        let Some(last) = last.filter(|_| more) else { return Ok(()) };
        after = last;
    }
    Ok(())
}

/// The keys of cells that only one side has, or that differ, within what a frame covers.
fn differing(theirs: &Cells, turn: &Turn<'_>) -> Read<BTreeSet<Vec<u8>>> {
    let ours = turn.state.cells(theirs.bucket, &theirs.after, MAX_CELLS)?;
    let is_cut = theirs.more || theirs.cells.len() == MAX_CELLS || ours.len() == MAX_CELLS;
    let end = [theirs.cells.last(), ours.last()].into_iter().flatten().map(|cell| &cell.key).min().cloned();
    let covered = |cell: &&CellPrint| !is_cut || end.as_ref().is_some_and(|end| cell.key <= *end);
    let prints = |cells: &[CellPrint]| -> BTreeMap<Vec<u8>, [u8; 32]> {
        cells.iter().filter(covered).map(|cell| (cell.key.clone(), cell.print)).collect()
    };
    let (ours, theirs) = (prints(&ours), prints(&theirs.cells));
    let keys: BTreeSet<&Vec<u8>> = ours.keys().chain(theirs.keys()).collect();
    Ok(keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect())
}
