//! Taking from the stack: the next bundle that can be turned, those passed over with their reasons, and what is ahead.

use openprod_model::bundle::{BundleKind, MAX_LABEL_BYTES, Stamp};
use openprod_model::ids::{BundleId, Digest, Position};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;
use serde::{Deserialize, Serialize};

use super::made::Made;
use super::obstacle::{self, Obstacle, Snag};
use super::stack::{Candidate, MAX_STEPS, Scope, Stack, Standing, Step, Which, standing};
use super::{Choice, Deed, Ground, Turn, redo, undo};
use crate::decide::{self, Decision, Plan, Problem};
use crate::describe::escaped;
use crate::view::{Layer, Read};

/// How many bundles are passed over before the search is given up: whoever has so many that cannot be undone must say
/// which one he means.
pub const MAX_SKIPPED: usize = 100;

/// What is to be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Undone, or done again.
    pub turn: Turn,
    /// Whose bundles.
    pub scope: Scope,
    /// A certain one; none for the next of the stack.
    pub bundle: Option<Which>,
}

/// A bundle as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: BundleId,
    /// Its identity.
    pub digest: Digest,
    /// Its label.
    pub label: String,
}

/// A bundle that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The bundle.
    pub bundle: Named,
    /// Why.
    pub obstacle: Obstacle,
}

/// A bundle to be turned.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The bundle.
    pub bundle: Named,
    /// What turns it.
    pub made: Made,
    /// What was passed over before it was found.
    pub skipped: Vec<Skipped>,
}

impl Taken {
    /// The sentence for the undo menu.
    fn label(&self, turn: Turn) -> Text {
        let mut label = format!("{}: {}", turn.word(), self.bundle.label);
        label.truncate(label.floor_char_boundary(MAX_LABEL_BYTES));
        Text::new(&label).expect("a shortened label is text")
    }
}

/// Finds what `wanted` means in the log up to `last`, and what turns it, under `stamp`.
pub fn take(ground: Ground<'_>, last: Position, wanted: Wanted, stamp: Stamp) -> Decision<Taken> {
    match wanted.bundle {
        Some(which) => certain(ground, last, wanted, which, stamp),
        None => next(ground, last, wanted, stamp),
    }
}

/// What an undo or a redo comes to.
#[derive(Debug)]
pub struct Turned {
    /// The bundle that is turned.
    pub bundle: Named,
    /// What was passed over.
    pub skipped: Vec<Skipped>,
    /// What is to be sealed; its bundle says in `undoes` which one it turns.
    pub plan: Plan,
}

/// Plans what `wanted` means in the log up to `last`, for the clock of `stamp`, which has room for as many ops as a
/// bundle may hold.
pub fn plan(ground: Ground<'_>, last: Position, wanted: Wanted, stamp: Stamp) -> Decision<Turned> {
    decide::admitted(ground.view, ground.actor)?;
    let taken = take(ground, last, wanted, stamp)?;
    let label = taken.label(wanted.turn);
    let Made { ops, layer, touched, .. } = taken.made;
    let opened = decide::opened(&layer.over(ground.view), &touched)?;
    let kind = match wanted.turn {
        Turn::Undo => BundleKind::UNDO,
        Turn::Redo => BundleKind::REDO,
    };
    let plan = Plan { ops, layer, created: Vec::new(), opened, kind, label };
    Ok(Turned { bundle: taken.bundle, skipped: taken.skipped, plan })
}

fn next(ground: Ground<'_>, last: Position, wanted: Wanted, stamp: Stamp) -> Decision<Taken> {
    let mut stack = Stack::new(ground.trail, last, wanted.turn, wanted.scope, ground.actor);
    let mut skipped = Vec::new();
    while let Some(candidate) = stack.pop()? {
        let (bundle, attempt) = attempt(ground, stamp, Choice::Next, wanted.turn, candidate)?;
        match attempt {
            Ok(made) => return Ok(Taken { bundle, made, skipped }),
            Err(obstacle) => skipped.push(Skipped { bundle, obstacle }),
        }
        if skipped.len() >= MAX_SKIPPED {
            break;
        }
    }
    Err(nothing(wanted.turn, &skipped, stack.gave_up()).into())
}

/// What turns a candidate, or why not.
fn attempt(
    ground: Ground<'_>,
    stamp: Stamp,
    choice: Choice,
    turn: Turn,
    candidate: Candidate,
) -> Decision<(Named, Result<Made, Obstacle>)> {
    let step = candidate.step;
    let Some(deed) = deed(ground, step.position)? else {
        return Ok((named(&step, ""), Err(Obstacle::damaged())));
    };
    let bundle = named(&step, deed.bundle.header().label.as_str());
    let attempt = match turn {
        Turn::Undo => undo(ground, stamp, choice, &deed),
        Turn::Redo => match self::deed(ground, candidate.by)? {
            Some(undone) => redo(ground, stamp, choice, &deed, &undone),
            None => Err(Obstacle::damaged().into()),
        },
    };
    match attempt {
        Ok(made) => Ok((bundle, Ok(made))),
        Err(Snag::Obstacle(obstacle)) => Ok((bundle, Err(*obstacle))),
        Err(Snag::Read(failure)) => Err(failure.into()),
    }
}

fn deed(ground: Ground<'_>, position: Position) -> Read<Option<Deed>> {
    Ok(ground.trail.bundle(position)?.map(|bundle| Deed { bundle, position }))
}

fn named(step: &Step, label: &str) -> Named {
    Named { id: step.id, digest: step.digest, label: escaped(label) }
}

fn certain(ground: Ground<'_>, last: Position, wanted: Wanted, which: Which, stamp: Stamp) -> Decision<Taken> {
    let position = ground.trail.position_of(which)?.filter(|position| *position <= last);
    let step = position.map(|position| ground.trail.step(position)).transpose()?.flatten();
    let unknown = || Refusal::new(Reason::UnknownHistory, "There is no such bundle.").at("bundle");
    let step = step.ok_or_else(unknown)?;
    let by = turnable(ground, last, wanted, &step)?;
    let (bundle, attempt) = attempt(ground, stamp, Choice::Named, wanted.turn, Candidate { step, by })?;
    match attempt {
        Ok(made) => Ok(Taken { bundle, made, skipped: Vec::new() }),
        Err(obstacle) => {
            let message = format!("\"{}\" cannot be {}. {}", bundle.label, participle(wanted.turn), obstacle.sentence);
            Err(Refusal::new(Reason::CannotUndo, message).at("bundle").into())
        }
    }
}

/// Refuses a bundle that is not the caller's to turn, or not to be turned now; gives the one that did or undid it last.
fn turnable(ground: Ground<'_>, last: Position, wanted: Wanted, step: &Step) -> Decision<Position> {
    let refused = |message: String| Problem::Refused(Refusal::new(Reason::CannotUndo, message).at("bundle"));
    if !step.is_original() {
        return Err(refused("This bundle is an undo or a redo itself: name the bundle that it is about.".to_owned()));
    }
    if wanted.scope == Scope::Mine && step.actor != ground.actor {
        let who = obstacle::name(ground.view, step.actor)?;
        let refusal = Refusal::new(Reason::CannotUndo, format!("This bundle was made by {who}.")).at("bundle");
        return Err(refusal.next("Ask for it in the shared scope.").into());
    }
    match (wanted.turn, standing(ground.trail, last, step)?) {
        (_, None) => Err(refused(format!("It lies more than {MAX_STEPS} bundles back."))),
        (Turn::Undo, Some(Standing::Done)) => Ok(step.position),
        (Turn::Redo, Some(Standing::Undone(by))) => Ok(by),
        (Turn::Undo, Some(Standing::Undone(_))) => Err(refused("It is undone already.".to_owned())),
        (Turn::Redo, Some(Standing::Done)) => Err(refused("It is not undone, so that it cannot be redone.".to_owned())),
    }
}

fn participle(turn: Turn) -> &'static str {
    match turn {
        Turn::Undo => "undone",
        Turn::Redo => "redone",
    }
}

fn nothing(turn: Turn, skipped: &[Skipped], gave_up: bool) -> Refusal {
    let participle = participle(turn);
    let further = if gave_up { format!(" among the last {MAX_STEPS} bundles") } else { String::new() };
    let Some(first) = skipped.first() else {
        return Refusal::new(Reason::CannotUndo, format!("There is nothing to be {participle}{further}."));
    };
    let (label, why) = (&first.bundle.label, &first.obstacle.sentence);
    let more = match skipped.len() {
        1 => String::new(),
        count => format!(" Nor can the {} before it.", count - 1),
    };
    let message = format!("Nothing can be {participle}{further}. \"{label}\" cannot: {why}{more}");
    Refusal::new(Reason::CannotUndo, message)
        .next("The list of what comes next tells all reasons; others can be named.")
}

/// A bundle of the stack, and whether it can be turned when its turn comes.
#[derive(Debug, Clone)]
pub struct Ahead {
    /// The bundle.
    pub step: Step,
    /// Its place in the stack.
    pub by: Position,
    /// Why it will be passed over, if it will.
    pub obstacle: Option<Obstacle>,
}

/// What lies ahead in the stack, from the top: each item as it is once those before it have been turned.
pub struct Preview<'a> {
    ground: Ground<'a>,
    turn: Turn,
    stack: Stack<'a>,
    /// What those before it come to.
    layer: Layer,
    stamp: Stamp,
}

impl<'a> Preview<'a> {
    /// The stack as `wanted` means it, in the log up to `last`; `stamp` is later than everything in the log.
    pub fn new(ground: Ground<'a>, last: Position, turn: Turn, scope: Scope, stamp: Stamp) -> Self {
        let stack = Stack::new(ground.trail, last, turn, scope, ground.actor);
        Self { ground, turn, stack, layer: Layer::default(), stamp }
    }

    /// The next bundle.
    pub fn pop(&mut self) -> Decision<Option<Ahead>> {
        let Some(candidate) = self.stack.pop()? else { return Ok(None) };
        let attempt = {
            let view = self.layer.over(self.ground.view);
            attempt(Ground { view: &view, ..self.ground }, self.stamp, Choice::Next, self.turn, candidate)?.1
        };
        let obstacle = match attempt {
            Ok(made) => {
                self.turns(made);
                None
            }
            Err(obstacle) => Some(obstacle),
        };
        Ok(Some(Ahead { step: candidate.step, by: candidate.by, obstacle }))
    }

    fn turns(&mut self, made: Made) {
        let count = u32::try_from(made.ops.len()).unwrap_or(u32::MAX);
        self.layer.absorb(made.layer);
        self.stamp.op_base = self.stamp.op_base.plus(count);
        self.stamp.hlc = self.stamp.hlc.plus(count).unwrap_or(self.stamp.hlc);
    }
}
