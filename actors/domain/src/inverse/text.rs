//! Documents and sequences: what is undone is what the bundle did, letter by letter. Others' letters are never touched,
//! so nobody's later edit stands in the way.

use std::collections::BTreeSet;

use openprod_model::ids::{ActorId, Position};
use openprod_model::operation::Basis;

use super::obstacle::{Attempt, Obstacle};
use super::touch::Touch;
use super::{Choice, Inverse, Planned, preds_of};
use crate::cell::{Cell, Content};
use crate::compose::Putting;
use crate::edits;
use crate::view::Read;

impl Inverse<'_> {
    /// Plans what takes back the edits that `touch` made. Doing them again is taking back what undid them.
    pub(super) fn take_back(&mut self, touch: &Touch) -> Attempt<()> {
        let view = self.ground.view;
        let Some((kind, _)) = edits::kind_at(view, &touch.cell)? else { return Err(Obstacle::text().into()) };
        let updates = edits::read(view, &touch.cell, kind, |document| document.inverse(touch.updates()))?;
        let preds = preds_of(&view.tips(&touch.cell)?);
        for (sibling, update) in updates.into_iter().enumerate() {
            let basis = Basis { preds: preds.clone(), restores: None, decision: false };
            let (cell, content) = (touch.cell.clone(), Content::Edit(update));
            let putting = Putting { cell, content, basis, seen: Vec::new() };
            self.puttings.push(Planned { putting, sibling, known: None, unmakes: false });
        }
        Ok(())
    }
}

/// Whose later edits would be hidden with a document: of those that are not to be hidden, if anything of them is left.
pub(super) fn later_authors(inverse: &Inverse<'_>, cell: &Cell) -> Read<Vec<ActorId>> {
    let ground = inverse.ground;
    let Some((kind, _)) = edits::kind_at(ground.view, cell)? else { return Ok(Vec::new()) };
    let (mut later, mut authors) = (Vec::new(), BTreeSet::new());
    for edit in ground.view.edits(cell)? {
        let Some(position) = edit.position.filter(|position| *position > inverse.since) else { continue };
        let who = author(inverse, position)?;
        if inverse.choice == Choice::Next || who != ground.actor {
            later.push(edit.update);
            authors.insert(who);
        }
    }
    if later.is_empty() {
        return Ok(Vec::new());
    }
    let left = edits::read(ground.view, cell, kind, |document| document.inverse(later.iter().map(|update| &**update)))?;
    Ok(if left.is_empty() { Vec::new() } else { authors.into_iter().collect() })
}

fn author(inverse: &Inverse<'_>, position: Position) -> Read<ActorId> {
    Ok(inverse.ground.trail.step(position)?.map_or(inverse.ground.actor, |step| step.actor))
}
