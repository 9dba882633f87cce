//! What the author of a request had seen of a cell: the tips at his base, and his own session's later writes (I-5).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::decide::Seen;
use openprod_domain::edits::{self, Edit};
use openprod_domain::text::{Document, Kind};
use openprod_domain::view::{Layer, Moment, Read, View};
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::Snapshot;
use openprod_model::ids::{ActorId, OpRef, Position, SessionId};

/// Who made a pending op.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker {
    pub(crate) actor: ActorId,
    pub(crate) session: Option<SessionId>,
}

/// The eyes of one request's author.
pub(crate) struct SeenAtBase<'a> {
    pub(crate) snapshot: &'a Arc<dyn Snapshot>,
    pub(crate) layer: &'a Layer,
    pub(crate) log: &'a dyn LogReader,
    pub(crate) base: Option<Position>,
    pub(crate) session: Option<SessionId>,
    /// Whose the pending ops are.
    pub(crate) pending: &'a HashMap<OpRef, Maker>,
    /// Which bundles this session made, as far as was asked: large requests ask for the same few again and again.
    pub(crate) own: RefCell<HashMap<Position, bool>>,
}

impl Seen for SeenAtBase<'_> {
    fn seen(&self, cell: &Cell) -> Read<Option<Vec<OpRef>>> {
        let Some(base) = self.base else { return Ok(None) };
        let at_base = self.snapshot.tips_at(cell, &Moment::Revision(base))?;
        let mut seen: Vec<OpRef> = at_base.into_iter().map(|tip| tip.op).collect();
        if self.session.is_some() {
            self.add_own(cell, base, &mut seen)?;
        }
        Ok(Some(seen))
    }

    fn before(&self, cell: &Cell, op: OpRef) -> Read<Vec<Content>> {
        let Some((_, preds)) = self.snapshot.write(cell, op)? else { return Ok(Vec::new()) };
        let mut before = Vec::new();
        for pred in preds {
            before.extend(self.snapshot.write(cell, pred)?.map(|(tip, _)| tip.content));
        }
        Ok(before)
    }

    fn with_document(&self, cells: &[Cell], kind: Kind, more: &[Edit], tell: &mut dyn FnMut(&Document)) -> Read<bool> {
        let Some(base) = self.base else { return Ok(false) };
        let own = self.own_edits(cells, base)?;
        let (all, mut told) = ([&own[..], more].concat(), true);
        self.snapshot.with_document_at(cells, kind, &Moment::Revision(base), &all, &mut |document| {
            // An own edit that went on from what others had written meanwhile means nothing without that.
            told = all.iter().all(|edit| !document.left_out().contains_key(&edit.op));
            if told {
                tell(document);
            }
        })?;
        Ok(told)
    }
}

impl SeenAtBase<'_> {
    /// Adds what this session wrote after its base, and takes away what it wrote over.
    fn add_own(&self, cell: &Cell, base: Position, seen: &mut Vec<OpRef>) -> Read<()> {
        for row in self.snapshot.written(cell)? {
            if row.position > base && self.is_own(row.position)? {
                seen.push(row.op);
            }
            let superseded_by_own = match row.superseded_at.filter(|at| *at > base) {
                Some(at) => self.is_own(at)?,
                None => false,
            };
            if superseded_by_own {
                seen.retain(|op| *op != row.op);
            }
        }
        let standing = self.layer.over(self.snapshot.view()).tips(cell)?;
        let is_own = |op| self.pending.get(op).is_some_and(|maker: &Maker| maker.session == self.session);
        let pending = standing.iter().filter(|tip| is_own(&tip.op));
        seen.extend(pending.map(|tip| tip.op));
        Ok(())
    }

    /// What this session wrote to a document after its base.
    fn own_edits(&self, cells: &[Cell], base: Position) -> Read<Vec<Edit>> {
        if self.session.is_none() {
            return Ok(Vec::new());
        }
        let mut own = self.layer.edits(cells);
        own.retain(|edit| self.pending.get(&edit.op).is_some_and(|maker| maker.session == self.session));
        for cell in cells {
            for edit in self.snapshot.edits_behind(cell, base)? {
                if self.is_own_at(edit.position)? {
                    own.push(edit);
                }
            }
        }
        Ok(edits::in_order(own))
    }

    fn is_own_at(&self, position: Option<Position>) -> Read<bool> {
        position.map_or(Ok(false), |position| self.is_own(position))
    }

    fn is_own(&self, position: Position) -> Read<bool> {
        if let Some(own) = self.own.borrow().get(&position) {
            return Ok(*own);
        }
        let entry = self.log.entry(position)?;
        let own = entry.is_some_and(|entry| entry.session.is_some() && entry.session == self.session);
        self.own.borrow_mut().insert(position, own);
        Ok(own)
    }
}
