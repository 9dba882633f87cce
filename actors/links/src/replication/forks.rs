//! Forks: where each side has bundles of an actor that the other lacks, they find what both have.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use openprod_domain::view::Read;
use openprod_messages::log::{Lanes, Placed};
use openprod_model::ids::{ActorId, Digest, Position};
use openprod_wire::replication::{Common, MAX_DIGESTS, MAX_RECONCILE_BYTES, Reason, Reconcile};

use super::engine::{End, Side, Step, Turn, unexpected};
use super::had::Had;

/// Most steps of one reconciliation: each splits what differs by sixteen, and fills a frame.
const MAX_STEPS: usize = 4_096;
/// Most differences that one reconciliation may find, so that nobody makes this node remember what there is not.
const MAX_DIFFERENCES: usize = 1_000_000;
/// How many entries are read at once.
const PAGE: usize = 4_096;
/// A step stays below the limit of its frame.
const STEP_BYTES: u64 = MAX_RECONCILE_BYTES as u64 - 1_024;

/// Bundles that are compared with the peer's, step by step.
pub(super) struct Comparison {
    of: Option<ActorId>,
    /// The log up to here is compared; what was appended since is not.
    through: Position,
    machine: Negentropy<'static, NegentropyStorageVector>,
    steps: usize,
    /// Bundles that only this node has, as far as found. Known to the side that began.
    pub(super) ours: HashSet<Digest>,
    /// Bundles that only the peer has, likewise.
    pub(super) theirs: HashSet<Digest>,
}

impl Comparison {
    /// Of an actor's bundles, or of all.
    pub(super) fn new(log: &dyn Lanes, of: Option<ActorId>) -> Step<Self> {
        let through = log.tail()?.position;
        let mut storage = NegentropyStorageVector::new();
        each(log, of, through, |placed| {
            let id = Id::from_byte_array(*placed.entry.digest.as_bytes());
            storage.insert(placed.entry.hlc.ms, id).map_err(|error| broken(&error))
        })?;
        storage.seal().map_err(|error| broken(&error))?;
        let machine = Negentropy::owned(storage, STEP_BYTES).map_err(|error| broken(&error))?;
        Ok(Self { of, through, machine, steps: 0, ours: HashSet::new(), theirs: HashSet::new() })
    }

    /// Of whose bundles it is.
    pub(super) fn of(&self) -> Option<ActorId> {
        self.of
    }

    /// The first step.
    pub(super) fn first(&mut self) -> Step<Reconcile> {
        Ok(Reconcile { actor: self.of, message: self.machine.initiate().map_err(|error| broken(&error))? })
    }

    fn count(&mut self) -> Step {
        self.steps += 1;
        if self.steps > MAX_STEPS { unexpected("a reconciliation takes too many steps") } else { Ok(()) }
    }

    /// The step after the peer's, on the side that began; none at the end.
    pub(super) fn next(&mut self, message: &[u8]) -> Step<Option<Reconcile>> {
        self.count()?;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = self.machine.reconcile_with_ids(message, &mut have, &mut need).map_err(|error| broken(&error))?;
        let digests = |ids: Vec<Id>| ids.into_iter().map(|id| Digest::from_bytes(id.to_bytes()));
        self.ours.extend(digests(have));
        self.theirs.extend(digests(need));
        if self.theirs.len() > MAX_DIFFERENCES {
            return unexpected("a reconciliation names too many bundles");
        }
        Ok(next.map(|message| Reconcile { actor: self.of, message }))
    }

    /// The step after the peer's, on the side that answers.
    pub(super) fn answer(&mut self, message: &[u8]) -> Step<Reconcile> {
        self.count()?;
        Ok(Reconcile { actor: self.of, message: self.machine.reconcile(message).map_err(|error| broken(&error))? })
    }
}

fn broken(error: &negentropy::Error) -> End {
    End::Broken(Reason::MALFORMED, format!("a step of reconciliation could not be taken: {error}"))
}

/// Goes through an actor's bundles, or all, in the order of the log up to `through`.
fn each(log: &dyn Lanes, of: Option<ActorId>, through: Position, mut see: impl FnMut(&Placed) -> Step) -> Step {
    let is_meant = |placed: &&Placed| placed.at <= through && of.is_none_or(|of| placed.entry.actor == of);
    let mut from = Position(1);
    while from <= through {
        let page = log.placed(from, PAGE)?;
        let Some(last) = page.last() else { break };
        from = last.at.next();
        page.iter().filter(is_meant).try_for_each(&mut see)?;
    }
    Ok(())
}

/// The forks that are still to be reconciled.
pub(super) struct Forks {
    side: Side,
    open: BTreeSet<ActorId>,
    comparison: Option<Comparison>,
}

impl Forks {
    pub(super) fn new(side: Side) -> Self {
        Self { side, open: BTreeSet::new(), comparison: None }
    }

    /// Whether none is left.
    pub(super) fn are_known(&self) -> bool {
        self.open.is_empty()
    }

    /// These actors' histories are forked.
    pub(super) fn begin(&mut self, forked: BTreeSet<ActorId>, turn: &mut Turn<'_>) -> Step {
        self.open = forked;
        if self.side == Side::Begins { self.begin_next(turn) } else { Ok(()) }
    }

    fn begin_next(&mut self, turn: &mut Turn<'_>) -> Step {
        let Some(actor) = self.open.first() else { return Ok(()) };
        let mut comparison = Comparison::new(turn.log, Some(*actor))?;
        turn.say(comparison.first()?);
        self.comparison = Some(comparison);
        Ok(())
    }

    /// The peer's step.
    pub(super) fn reconcile(&mut self, step: &Reconcile, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        match self.side {
            Side::Begins => self.goes_on(step, had, turn),
            Side::Answers => self.answers(step, turn),
        }
    }

    fn answers(&mut self, step: &Reconcile, turn: &mut Turn<'_>) -> Step {
        let Some(actor) = step.actor.filter(|actor| self.open.contains(actor)) else {
            return unexpected("a history is reconciled that is not forked");
        };
        let under_way = self.comparison.take().filter(|comparison| comparison.of() == Some(actor));
        let mut comparison = under_way.map_or_else(|| Comparison::new(turn.log, Some(actor)), Ok)?;
        turn.say(comparison.answer(&step.message)?);
        self.comparison = Some(comparison);
        Ok(())
    }

    fn goes_on(&mut self, step: &Reconcile, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let Some(comparison) = self.comparison.as_mut().filter(|comparison| comparison.of() == step.actor) else {
            return unexpected("a reconciliation goes on that nobody began");
        };
        match comparison.next(&step.message)? {
            Some(next) => {
                turn.say(next);
                Ok(())
            }
            None => self.ends(had, turn),
        }
    }

    /// Everything of the actor that is not ours alone is common.
    fn ends(&mut self, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let (Some(comparison), Some(actor)) = (self.comparison.take(), self.open.pop_first()) else { return Ok(()) };
        let mut last: BTreeMap<u32, Placed> = BTreeMap::new();
        each(turn.log, Some(actor), comparison.through, |placed| {
            if !comparison.ours.contains(&placed.entry.digest) {
                last.insert(placed.lane, placed.clone());
            }
            Ok(())
        })?;
        // With more lanes than fit into a frame, the later ones are given again, which costs time and nothing else.
        let last: Vec<Placed> = last.into_values().take(MAX_DIGESTS).collect();
        note_all(had, turn.log, &last)?;
        turn.say(Common { actor, digests: last.iter().map(|placed| placed.entry.digest).collect() });
        self.begin_next(turn)
    }

    /// The peer, which began, says what both have.
    pub(super) fn common(&mut self, common: &Common, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        if self.side == Side::Begins || !self.open.remove(&common.actor) {
            return unexpected("a history was reconciled that is not forked");
        }
        self.comparison = None;
        let found: Vec<Placed> = turn.log.find(&common.digests)?.into_iter().flatten().collect();
        Ok(note_all(had, turn.log, &found)?)
    }
}

fn note_all(had: &mut Had, log: &dyn Lanes, all: &[Placed]) -> Read<()> {
    all.iter().try_for_each(|placed| had.note(log, placed.entry.actor, placed.spot()))
}
