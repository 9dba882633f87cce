//! Inverse: what undoes a bundle, and what does it again. New bundles that put contents back; history stays.
//!
//! **The law.** A bundle is undone cell by cell, and whole or not at all. A cell may be put back if nobody else has
//! changed it since: if each of its standing writes is the bundle's own, or puts back one of the bundle's own, or says
//! the same. Put back is what the writes said that the bundle had superseded there: one write for each of them, so that
//! the candidates of a resolved conflict come back side by side. Each says in `restores` whose content it puts back,
//! followed through earlier undoing; so undo, undo, redo, undo works at any depth, and two replicas that undo the same
//! bundle write the same and do not conflict. Where nothing stood before, the inverse is that nothing is there.
//!
//! **What it never does.** It never writes over another person's later content, and it never hides one: the undo of a
//! creation is refused if somebody else has written since on what it would take away. What hangs on a removed thing was
//! only hidden, so the undo of a removal brings everything back. Nor does it write where nobody sees it: on what somebody
//! has removed since.
//!
//! Redoing is the same with the roles changed: the contents of the bundle come back if the cells stand as its undo left
//! them.
//!
//! In documents and sequences nobody stands in the way: what is taken back is what the bundle did there, and no more.
//!
//! Reading order: `touch` (what a bundle did to each cell), this file, `text`, `hidden` (what a removal would hide),
//! [`made`] (writes become ops), [`obstacle`] (why not, in words), [`stack`] (which bundle is next), [`take`] (the next
//! that can be).

mod hidden;
pub mod made;
pub mod obstacle;
pub mod stack;
pub mod take;
mod text;
mod touch;

use std::collections::{HashMap, HashSet};

use openprod_model::bundle::{Bundle, Stamp};
use openprod_model::ids::{ActorId, OpRef, Position};
use openprod_model::operation::Basis;
use openprod_model::schema::ColumnSpec;
use serde::{Deserialize, Serialize};

use self::made::Made;
use self::obstacle::{Attempt, Obstacle};
use self::stack::Trail;
use self::touch::Touch;
use crate::cell::{Cell, Content, Tip};
use crate::compose::Putting;
use crate::view::{History, Read, View};

/// How many steps of "puts back" are followed. Undoing follows them through, so that honest chains are short.
const MAX_RESTORE_STEPS: usize = 64;

/// Undoing or doing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turn {
    /// Undoing.
    Undo,
    /// Doing again what was undone.
    Redo,
}

impl Turn {
    /// What begins the label of such a bundle.
    pub fn word(self) -> &'static str {
        match self {
            Self::Undo => "Undo",
            Self::Redo => "Redo",
        }
    }
}

/// What an inverse is made on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What stands now.
    pub view: &'a dyn View,
    /// What was ever written.
    pub history: &'a dyn History,
    /// The log.
    pub trail: &'a dyn Trail,
    /// Who undoes.
    pub actor: ActorId,
}

/// How a bundle was chosen, and with that whose later work its removals must not hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// As the next of the stack. What lies above it and was passed over stays, so nobody's later work is hidden.
    Next,
    /// By name. Whoever names it means it: only what others wrote later is not hidden.
    Named,
}

/// A bundle and where it lies in the log.
#[derive(Debug, Clone)]
pub struct Deed {
    /// The bundle.
    pub bundle: Bundle,
    /// Its position.
    pub position: Position,
}

/// What undoes `deed`, under `stamp`.
pub fn undo(ground: Ground<'_>, stamp: Stamp, choice: Choice, deed: &Deed) -> Attempt<Made> {
    obstacle::possible(&deed.bundle)?;
    let mut inverse = Inverse::new((ground, choice), Turn::Undo, deed, deed.position);
    for touch in touch::by(deed) {
        inverse.put_back(&touch)?;
    }
    inverse.finish(stamp)
}

/// What does `deed` again, which `undone` undid, under `stamp`.
pub fn redo(ground: Ground<'_>, stamp: Stamp, choice: Choice, deed: &Deed, undone: &Deed) -> Attempt<Made> {
    obstacle::possible(&deed.bundle)?;
    let mut inverse = Inverse::new((ground, choice), Turn::Redo, deed, undone.position);
    let undoing = touch::by(undone);
    let undoing: HashMap<&Cell, &Touch> = undoing.iter().map(|touch| (&touch.cell, touch)).collect();
    for touch in touch::by(deed) {
        inverse.put_again(&touch, undoing.get(&touch.cell).copied())?;
    }
    inverse.finish(stamp)
}

/// An inverse in the making.
struct Inverse<'a> {
    ground: Ground<'a>,
    choice: Choice,
    turn: Turn,
    /// The ops that are turned.
    own: HashSet<OpRef>,
    /// What other people wrote behind this is later than what is turned.
    since: Position,
    puttings: Vec<Planned>,
    /// The cells that cannot be put back, and who has changed them.
    changed: Vec<(Cell, Vec<ActorId>)>,
}

/// A write to be made.
struct Planned {
    putting: Putting,
    /// Which of the siblings of its cell it is.
    sibling: usize,
    /// For removals that were made before: what their authors had seen.
    known: Option<Vec<OpRef>>,
    /// Whether the cell comes to say that there is nothing because nothing was there before.
    unmakes: bool,
}

/// What may stand in a cell that nobody else has changed.
struct Expected<'a> {
    ops: &'a HashSet<OpRef>,
    contents: Vec<&'a Content>,
}

impl<'a> Inverse<'a> {
    fn new((ground, choice): (Ground<'a>, Choice), turn: Turn, deed: &Deed, since: Position) -> Self {
        let own = deed.bundle.ops().iter().map(|op| op.reference).collect();
        Self { ground, choice, turn, own, since, puttings: Vec::new(), changed: Vec::new() }
    }

    /// Plans what undoes `touch`.
    fn put_back(&mut self, touch: &Touch) -> Attempt<()> {
        if touch.is_text() {
            return self.take_back(touch);
        }
        let standing = self.ground.view.tips(&touch.cell)?;
        let expected = Expected { ops: &self.own, contents: touch.left().map(|tip| &tip.content).collect() };
        let others = self.others(&touch.cell, &standing, &expected)?;
        if !others.is_empty() {
            self.changed.push((touch.cell.clone(), others));
            return Ok(());
        }
        let preds = self.before(touch)?;
        if preds.is_empty() {
            return self.unmake(touch, &standing);
        }
        for (sibling, (pred, root)) in preds.into_iter().enumerate() {
            self.put(&touch.cell, &standing, sibling, &pred, root);
        }
        Ok(())
    }

    /// Plans what does `touch` again, after `undoing` undid it.
    fn put_again(&mut self, touch: &Touch, undoing: Option<&Touch>) -> Attempt<()> {
        if touch.is_text() {
            return undoing.map_or(Ok(()), |undoing| self.take_back(undoing));
        }
        // What its undo did not write, there is nothing to do about.
        let Some(undoing) = undoing else { return Ok(()) };
        let standing = self.ground.view.tips(&touch.cell)?;
        let ops = undoing.left().flat_map(|tip| [Some(tip.op), tip.restores]).flatten().collect();
        let expected = Expected { ops: &ops, contents: undoing.left().map(|tip| &tip.content).collect() };
        let others = self.others(&touch.cell, &standing, &expected)?;
        if !others.is_empty() {
            self.changed.push((touch.cell.clone(), others));
            return Ok(());
        }
        for (sibling, left) in touch.left().enumerate() {
            self.put(&touch.cell, &standing, sibling, left, left.op);
        }
        Ok(())
    }

    /// Who has changed the cell since: the authors of writes that nobody expected there.
    fn others(&self, cell: &Cell, standing: &[Tip], expected: &Expected<'_>) -> Read<Vec<ActorId>> {
        let mut by = Vec::new();
        for tip in standing {
            let same = expected.contents.contains(&&tip.content);
            if !same && !leads_to(self.ground.history, cell, tip, expected.ops)? {
                by.push(author(self.ground, tip)?);
            }
        }
        Ok(by)
    }

    /// What the writes said that the bundle superseded in a cell, each with the op that first said it.
    fn before(&self, touch: &Touch) -> Attempt<Vec<(Tip, OpRef)>> {
        let mut before: Vec<(Tip, OpRef)> = Vec::new();
        for pred in &touch.preds {
            let Some((tip, _)) = self.ground.history.write(&touch.cell, *pred)? else {
                return Err(Obstacle::newer().into());
            };
            let root = root(self.ground.history, &touch.cell, &tip)?;
            if !before.iter().any(|(_, known)| *known == root) {
                before.push((tip, root));
            }
        }
        before.sort_by_key(|(tip, _)| tip.order());
        Ok(before)
    }

    fn put(&mut self, cell: &Cell, standing: &[Tip], sibling: usize, tip: &Tip, restores: OpRef) {
        let basis = Basis { preds: preds_of(standing), restores: Some(restores), decision: tip.decision };
        let putting = Putting { cell: cell.clone(), content: tip.content.clone(), basis, seen: Vec::new() };
        let known = (tip.content == Content::Absent).then(|| tip.seen.clone());
        self.puttings.push(Planned { putting, sibling, known, unmakes: false });
    }

    /// Plans that nothing is there, where nothing was.
    fn unmake(&mut self, touch: &Touch, standing: &[Tip]) -> Attempt<()> {
        let content = match (&touch.cell, touch.left().last().map(|tip| &tip.content)) {
            // A place means nothing without its edge, and hides with it.
            (Cell::EdgePosition { .. }, _) => return Ok(()),
            (Cell::ActorName { .. }, _) => return Err(Obstacle::first_name().into()),
            (Cell::Column { .. }, Some(Content::Column(spec))) => {
                Content::Column(ColumnSpec { hidden: true, ..spec.clone() })
            }
            _ => Content::Absent,
        };
        let basis = Basis { preds: preds_of(standing), restores: None, decision: false };
        let putting = Putting { cell: touch.cell.clone(), content, basis, seen: Vec::new() };
        self.puttings.push(Planned { putting, sibling: 0, known: None, unmakes: true });
        Ok(())
    }

    fn finish(mut self, stamp: Stamp) -> Attempt<Made> {
        if !self.changed.is_empty() {
            return Err(Obstacle::changed(self.ground.view, &self.changed)?.into());
        }
        hidden::check(&mut self)?;
        obstacle::fits_tables(self.ground.view, self.puttings.iter().map(|planned| &planned.putting))?;
        made::make(self.ground, stamp, self.puttings)
    }
}

fn preds_of(standing: &[Tip]) -> Vec<OpRef> {
    let mut preds: Vec<OpRef> = standing.iter().map(|tip| tip.op).collect();
    preds.sort_unstable();
    preds
}

/// Whether a write is one of `ops`, or puts one of them back.
fn leads_to(history: &dyn History, cell: &Cell, tip: &Tip, ops: &HashSet<OpRef>) -> Read<bool> {
    if ops.contains(&tip.op) {
        return Ok(true);
    }
    let mut next = tip.restores;
    for _ in 0..MAX_RESTORE_STEPS {
        let Some(op) = next else { return Ok(false) };
        if ops.contains(&op) {
            return Ok(true);
        }
        next = history.write(cell, op)?.and_then(|(tip, _)| tip.restores);
    }
    Ok(false)
}

/// The op that first said what a write puts back; the write's own op if it puts nothing back.
fn root(history: &dyn History, cell: &Cell, tip: &Tip) -> Read<OpRef> {
    let (mut root, mut next) = (tip.op, tip.restores);
    for _ in 0..MAX_RESTORE_STEPS {
        let Some(op) = next else { break };
        root = op;
        next = history.write(cell, op)?.and_then(|(tip, _)| tip.restores);
    }
    Ok(root)
}

/// Who made a write; one that is not in the log yet is the undoer's own.
fn author(ground: Ground<'_>, tip: &Tip) -> Read<ActorId> {
    let Some(position) = tip.position else { return Ok(ground.actor) };
    Ok(ground.trail.step(position)?.map_or(ground.actor, |step| step.actor))
}
