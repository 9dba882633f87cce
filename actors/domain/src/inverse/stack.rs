//! The stack: which bundle is next to be undone or done again, read from the log and from nothing else.
//!
//! Going back from the end of the log, the first undo or redo of a bundle that is met says whether it is undone: an
//! undo always lies behind what it undoes. Next to be undone is the bundle that was done last, by itself or by a redo;
//! next to be done again is the one that was undone last. A new bundle clears what could be done again. Whose bundles
//! these are is the scope.

use std::collections::{HashSet, VecDeque};

use openprod_model::bundle::{Bundle, BundleKind};
use openprod_model::ids::{ActorId, BundleId, Digest, Position};
use serde::{Deserialize, Serialize};

use super::Turn;
use crate::view::Read;

/// How many bundles are looked at, going back: a long day of many people, and still read in well under a second.
pub const MAX_STEPS: usize = 100_000;
/// How many are read at a time.
const CHUNK_STEPS: u64 = 1_024;

/// Whose bundles are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The own ones.
    #[default]
    Mine,
    /// Everybody's.
    Shared,
}

/// How a bundle is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Which {
    /// By its digest.
    Digest(Digest),
    /// By its id.
    Id(BundleId),
}

/// A bundle in the log, as far as the stack must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where it lies.
    pub position: Position,
    /// Its identity.
    pub digest: Digest,
    /// Its id.
    pub id: BundleId,
    /// Its author.
    pub actor: ActorId,
    /// What made it.
    pub kind: BundleKind,
}

impl Step {
    /// Whether it did something by itself, and did not undo or redo something else.
    pub fn is_original(&self) -> bool {
        ![BundleKind::UNDO, BundleKind::REDO].contains(&self.kind)
    }
}

/// The log, as far as undoing asks.
pub trait Trail {
    /// The bundles from `from` on, at most `limit`, in the order of the log.
    fn steps(&self, from: Position, limit: usize) -> Read<Vec<Step>>;
    /// The bundle at a position; none if there is none, or if it is damaged.
    fn bundle(&self, at: Position) -> Read<Option<Bundle>>;
    /// Where the bundle of that name lies.
    fn position_of(&self, which: Which) -> Read<Option<Position>>;
    /// What is known of the bundle at a position.
    fn step(&self, at: Position) -> Read<Option<Step>> {
        Ok(self.steps(at, 1)?.into_iter().find(|step| step.position == at))
    }
}

/// A bundle that may be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The bundle.
    pub step: Step,
    /// The bundle that did, undid or redid it last: its place in the stack.
    pub by: Position,
}

/// The stack, from the top.
pub struct Stack<'a> {
    trail: &'a dyn Trail,
    turn: Turn,
    scope: Scope,
    actor: ActorId,
    /// Everything behind has been read.
    behind: Position,
    read: Vec<Step>,
    looked_at: usize,
    /// The bundles whose last undo or redo has been met.
    decided: HashSet<Digest>,
    found: VecDeque<Candidate>,
    ended: bool,
}

impl<'a> Stack<'a> {
    /// The stack of `actor`, read from the log up to `last`.
    pub fn new(trail: &'a dyn Trail, last: Position, turn: Turn, scope: Scope, actor: ActorId) -> Self {
        Self {
            trail,
            turn,
            scope,
            actor,
            behind: last.next(),
            read: Vec::new(),
            looked_at: 0,
            decided: HashSet::new(),
            found: VecDeque::new(),
            ended: false,
        }
    }

    /// The next bundle; none at the end of what is looked at.
    pub fn pop(&mut self) -> Read<Option<Candidate>> {
        while self.found.is_empty() && !self.ended {
            match self.back()? {
                Some(step) if step.is_original() => self.meets_original(step),
                Some(step) => self.meets_turn(step)?,
                None => self.ended = true,
            }
        }
        Ok(self.found.pop_front())
    }

    /// Whether there was more to look at than [`MAX_STEPS`].
    pub fn gave_up(&self) -> bool {
        self.looked_at >= MAX_STEPS
    }

    fn back(&mut self) -> Read<Option<Step>> {
        if self.gave_up() {
            return Ok(None);
        }
        if self.read.is_empty() && self.behind > Position::ZERO.next() {
            let from = Position(self.behind.0.saturating_sub(CHUNK_STEPS).max(1));
            let count = usize::try_from(self.behind.0 - from.0).unwrap_or(usize::MAX);
            self.read = self.trail.steps(from, count)?;
            self.read.retain(|step| step.position < self.behind);
            self.behind = from;
        }
        self.looked_at += usize::from(!self.read.is_empty());
        Ok(self.read.pop())
    }

    fn meets_original(&mut self, step: Step) {
        if !self.holds(&step) {
            return;
        }
        match self.turn {
            // Whoever does something new gives up what could have been done again.
            Turn::Redo => self.ended = true,
            Turn::Undo if !self.decided.contains(&step.digest) => {
                self.found.push_back(Candidate { step, by: step.position });
            }
            Turn::Undo => {}
        }
    }

    fn meets_turn(&mut self, turned: Step) -> Read<()> {
        let Some(bundle) = self.trail.bundle(turned.position)? else { return Ok(()) };
        let wanted = match self.turn {
            Turn::Undo => BundleKind::REDO,
            Turn::Redo => BundleKind::UNDO,
        };
        for digest in &bundle.header().undoes {
            if !self.decided.insert(*digest) || turned.kind != wanted {
                continue;
            }
            let Some(position) = self.trail.position_of(Which::Digest(*digest))? else { continue };
            let step = self.trail.step(position)?.filter(|step| step.is_original() && self.holds(step));
            self.found.extend(step.map(|step| Candidate { step, by: turned.position }));
        }
        Ok(())
    }

    fn holds(&self, step: &Step) -> bool {
        self.scope == Scope::Shared || step.actor == self.actor
    }
}

/// What became of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is done, by itself or by a redo.
    Done,
    /// It is undone, by the bundle at this position.
    Undone(Position),
}

/// What became of `step`, by the log up to `last`; none if it lies too far back to tell.
pub fn standing(trail: &dyn Trail, last: Position, step: &Step) -> Read<Option<Standing>> {
    if last.0.saturating_sub(step.position.0) > u64::try_from(MAX_STEPS).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let mut behind = last.next();
    while behind > step.position {
        let from = Position(behind.0.saturating_sub(CHUNK_STEPS).max(step.position.0));
        let count = usize::try_from(behind.0 - from.0).unwrap_or(usize::MAX);
        for turned in trail.steps(from, count)?.into_iter().rev().filter(|turned| turned.position < behind) {
            if !turned.is_original()
                && let Some(bundle) = trail.bundle(turned.position)?
                && bundle.header().undoes.contains(&step.digest)
            {
                let undone = turned.kind == BundleKind::UNDO;
                return Ok(Some(if undone { Standing::Undone(turned.position) } else { Standing::Done }));
            }
        }
        behind = from;
        if from == step.position {
            break;
        }
    }
    Ok(Some(Standing::Done))
}
