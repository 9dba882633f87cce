//! The basis of a write: what its author knew of the cells that it writes, and so what it supersedes (I-5).
//!
//! The registers of a union are in conflict as one, and are decided as one; each keeps its own preds.

use openprod_model::ids::OpRef;
use openprod_model::operation::Basis;
use openprod_model::refusal::{Reason, Refusal};

use super::{Decision, Planner, Stance};
use crate::cell::{Cell, Content, Tip};
use crate::unions::Part;
use crate::view::{Read, View};
use crate::{describe, register};

/// What the author of a write knew of one of its cells.
pub(super) struct Known {
    standing: Vec<Tip>,
    /// Of those, what this very request wrote.
    own: Vec<OpRef>,
    /// The writes that the author had seen, those of this request included.
    preds: Vec<OpRef>,
    /// Whether that follows from a base, or is only what stands now.
    based: bool,
    /// What the cell says of the union that is written.
    part: Part,
}

impl Known {
    /// The standing writes that the author had seen.
    fn seen(&self) -> impl Iterator<Item = &Tip> {
        self.standing.iter().filter(|tip| self.preds.contains(&tip.op))
    }
}

/// How a write treats what stands.
struct Manner {
    /// Whether it writes over what is shown only, and leaves the rest of a conflict as it is.
    cautious: bool,
    /// The writes that say what is shown.
    equal: Vec<OpRef>,
    /// Whether it decides a conflict.
    decides: bool,
}

impl Manner {
    /// What a write in this manner says of each of its cells.
    fn bases(&self, known: &[Known]) -> Vec<Basis> {
        let speaking = known.iter().filter(|known| known.part == Part::Speaks);
        let gone = speaking.flat_map(|known| known.seen().filter(|tip| self.supersedes(known, &tip.op)));
        let gone: Vec<&Content> = gone.map(|tip| &tip.content).collect();
        let basis = |known: &Known| Basis { preds: self.preds(known, &gone), restores: None, decision: self.decides };
        known.iter().map(basis).collect()
    }

    fn supersedes(&self, known: &Known, op: &OpRef) -> bool {
        !self.cautious || self.equal.contains(op) || known.own.contains(op)
    }

    /// Which writes of a cell this one supersedes. `gone` is what it supersedes where the union speaks.
    fn preds(&self, known: &Known, gone: &[&Content]) -> Vec<OpRef> {
        let mut preds: Vec<OpRef> = match known.part {
            Part::Speaks => known.preds.iter().filter(|op| self.supersedes(known, op)).copied().collect(),
            // Of what was not shown, only as much is known as was shown elsewhere.
            Part::Hidden => known.seen().filter(|tip| gone.contains(&&tip.content)).map(|tip| tip.op).collect(),
            Part::Silent => known.standing.iter().map(|tip| tip.op).collect(),
        };
        preds.sort_unstable();
        preds.dedup();
        preds
    }
}

impl Planner<'_> {
    /// What this write says that its author knew of `cell`.
    pub(super) fn basis(&self, cell: &Cell) -> Decision<Basis> {
        let mut each = self.bases(cell, std::slice::from_ref(cell))?;
        Ok(each.pop().expect("one cell has one basis"))
    }

    /// What an edit of `asked` says that its author knew of each of the cells that it writes, which read as one.
    pub(super) fn bases(&self, asked: &Cell, cells: &[Cell]) -> Decision<Vec<Basis>> {
        let known = self.known(asked, cells)?;
        let manner = self.manner(asked, &known);
        Ok(manner.bases(&known))
    }

    /// What a decision says of cells that read as one: it closes all that its author had seen standing there.
    pub(super) fn verdicts(&self, cells: &[Cell]) -> Decision<Vec<Basis>> {
        let known = self.known(&cells[0], cells)?;
        let manner = Manner { cautious: false, equal: Vec::new(), decides: true };
        Ok(manner.bases(&known))
    }

    fn manner(&self, asked: &Cell, known: &[Known]) -> Manner {
        let speaking = || known.iter().filter(|known| known.part == Part::Speaks);
        let standing = register::united(speaking().flat_map(|known| known.standing.iter().cloned()));
        let based = known.iter().all(|known| known.based);
        let decides = !self.automatic && (based || self.stance == Stance::Decide);
        let conflicting = if based {
            register::in_conflict(asked, &register::united(speaking().flat_map(Known::seen).cloned()))
        } else {
            register::in_conflict(asked, &standing)
        };
        Manner {
            cautious: !decides,
            equal: register::equal_to_shown(asked, &standing),
            decides: decides && conflicting,
        }
    }

    pub(super) fn known(&self, asked: &Cell, cells: &[Cell]) -> Decision<Vec<Known>> {
        let view = self.view();
        let unions = view.unions()?;
        let mut standing = Vec::with_capacity(cells.len());
        for cell in cells {
            let mut tips = view.tips(cell)?;
            unions.canonicalize(&mut tips);
            standing.push((cell.clone(), tips));
        }
        let parts = unions.parts(&view, &standing)?;
        // Registers that were united behind the author's back are as foreign to him as those of another node.
        let united = unions.cells_through(asked, |pair| self.has_seen(&view, pair))?;
        let each = standing.into_iter().zip(parts);
        each.map(|((cell, tips), part)| self.known_of(&cell, tips, part, &united)).collect()
    }

    /// Whether the author has seen that a pair was merged or mapped.
    fn has_seen(&self, view: &dyn View, pair: &Cell) -> Read<bool> {
        let Some(seen) = self.seen.seen(pair)? else { return Ok(true) };
        let tips = view.tips(pair)?;
        let mut standing = tips.iter().filter(|tip| tip.content == Content::Present);
        Ok(standing.any(|tip| seen.contains(&tip.op) || self.planned.contains(&tip.op)))
    }

    fn known_of(&self, cell: &Cell, standing: Vec<Tip>, part: Part, united: &[Cell]) -> Decision<Known> {
        let own: Vec<OpRef> = standing.iter().map(|tip| tip.op).filter(|op| self.planned.contains(op)).collect();
        let seen = self.seen.seen(cell)?;
        let based = seen.is_some();
        let mut preds = match seen {
            Some(seen) if united.contains(cell) => seen,
            Some(_) => Vec::new(),
            None => standing.iter().map(|tip| tip.op).collect(),
        };
        if based && self.stance == Stance::IfUnchanged {
            refuse_changed(cell, &standing, &preds, &own)?;
        }
        preds.extend(&own);
        Ok(Known { standing, own, preds, based, part })
    }
}

fn refuse_changed(cell: &Cell, standing: &[Tip], seen: &[OpRef], own: &[OpRef]) -> Decision<()> {
    if standing.iter().all(|tip| seen.contains(&tip.op) || own.contains(&tip.op)) {
        return Ok(());
    }
    let message = format!("{} changed since the revision that this edit was made on.", describe::cell(cell));
    Err(Refusal::new(Reason::Changed, message).next("Read it again and decide.").into())
}
