//! The witness: what the author of a request could have seen, worked out from the log alone, and whether what was
//! written for him is true to it. Nothing of the planner's is used.

use std::collections::BTreeSet;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::fold;
use openprod_model::bundle::Bundle;
use openprod_model::ids::{Digest, OpRef, Position, SessionId};

use super::company::{Verdict, ensure};

/// One write in the log of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) position: Position,
    /// The client session that made it here, if any.
    pub(crate) session: Option<SessionId>,
    bundle: Digest,
    /// What its bundle undoes or does again.
    undoes: Vec<Digest>,
    cell: Cell,
    op: OpRef,
    preds: Vec<OpRef>,
    restores: Option<OpRef>,
    seen: Vec<OpRef>,
    content: Content,
}

/// Every write of a bundle.
pub(crate) fn lines(
    position: Position,
    session: Option<SessionId>,
    bundle: &Bundle,
) -> impl Iterator<Item = Line> + '_ {
    let writes = bundle.ops().iter().flat_map(|op| {
        let writes = op.operation.iter().flat_map(fold::writes);
        writes.map(move |write| (op.reference, write))
    });
    writes.map(move |(op, write)| Line {
        position,
        session,
        bundle: bundle.digest(),
        undoes: bundle.header().undoes.clone(),
        op,
        restores: write.basis.restores,
        preds: write.basis.preds.clone(),
        seen: write.seen.to_vec(),
        cell: write.cell,
        content: write.content,
    })
}

impl Line {
    /// Whether it and `pred` are edits of a text or a list: those go on from each other, and take nothing away.
    fn takes_nothing_from(&self, pred: &OpRef, before: &[Self]) -> bool {
        let is_edit = |line: &Self| matches!(line.content, Content::Edit(_));
        is_edit(self) && before.iter().any(|line| line.op == *pred && line.cell == self.cell && is_edit(line))
    }
}

/// A request, as it was asked.
pub(crate) struct Witness<'a> {
    /// The log up to its bundle, which may have changed nothing.
    pub(crate) log: &'a [Line],
    /// Where its bundle lies.
    pub(crate) revision: Position,
    pub(crate) base: Option<Position>,
    pub(crate) session: Option<SessionId>,
    /// Whether nobody looked before it was written: an import, or a command line without a base that does not decide.
    pub(crate) is_blind: bool,
    /// Whether a person wrote it, who looked: what he saw does not stand beside what he wrote.
    pub(crate) is_informed: bool,
    /// Whether it undoes or does again: nobody else's values are written over.
    pub(crate) goes_back: bool,
}

impl Witness<'_> {
    /// Checks every write of the bundle.
    pub(crate) fn testifies(&self) -> Verdict {
        let own = self.log.partition_point(|line| line.position < self.revision);
        (own..self.log.len()).try_for_each(|at| {
            let line = &self.log[at];
            self.about(line, &self.log[..own], &self.log[own..at]).map_err(|wrong| format!("{wrong}: {line:?}"))
        })
    }

    fn about(&self, line: &Line, before: &[Line], own: &[Line]) -> Verdict {
        if self.goes_back {
            return undoes_only_its_own(line, before);
        }
        let known = self.known(&line.cell, before, own);
        let may = |pred: &OpRef| known.contains(pred) || line.takes_nothing_from(pred, before);
        ensure!(line.preds.iter().all(may), "a write supersedes what its author had not seen");
        if self.is_blind {
            let contents = before.iter().filter(|other| other.cell == line.cell && line.preds.contains(&other.op));
            let different: BTreeSet<String> = contents.map(|other| format!("{:?}", other.content)).collect();
            let merges = matches!(line.content, Content::Edit(_));
            ensure!(merges || different.len() <= 1, "a write that nobody looked at closes a conflict");
        }
        if self.is_informed && !self.was_united_since(before) {
            // What is carried over to another record stands there as it stood: values beside their rivals, and edits.
            let is_rival = |op: &OpRef| {
                let is_restored = own.iter().any(|other| other.op == *op && other.restores.is_some());
                line.restores.is_some() && is_restored || line.takes_nothing_from(op, own)
            };
            let mut certain = self.certain(&line.cell, before, own).into_iter();
            let missed = certain.find(|op| !line.preds.contains(op) && !is_rival(op));
            ensure!(missed.is_none(), "a write stands beside {missed:?}, which its author saw");
            self.about_what_hangs_there(line, before, own)?;
        }
        for op in &line.seen {
            let of = before.iter().chain(own).find(|other| other.op == *op).map(|other| &other.cell);
            let known = of.is_some_and(|cell| self.known(cell, before, own).contains(op));
            ensure!(known, "a removal claims to have seen {op:?}");
        }
        Ok(())
    }

    /// Whether cells may have been united behind the author's back: then he may have asked for one and write another,
    /// at which he never looked.
    fn was_united_since(&self, before: &[Line]) -> bool {
        let unites = |line: &Line| matches!(line.cell, Cell::Merge { .. } | Cell::Mapping { .. });
        before.iter().any(|line| unites(line) && self.base.is_some_and(|base| line.position > base))
    }

    /// A removal from a table names every standing field of the record that its author saw.
    fn about_what_hangs_there(&self, line: &Line, before: &[Line], own: &[Line]) -> Verdict {
        let (Cell::Facet { table, entity }, Content::Absent) = (&line.cell, &line.content) else { return Ok(()) };
        for other in before {
            match &other.cell {
                Cell::Field { table: of, entity: record, .. } if of == table && record == entity => {
                    let unnamed = self.certain(&other.cell, before, own).into_iter().find(|op| !line.seen.contains(op));
                    ensure!(unnamed.is_none(), "a removal does not name {unnamed:?}, which its author saw");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All that its author could have seen of a cell: what stood at the base (without one: what stands), what the same
    /// session has written since, what the request itself wrote before.
    fn known(&self, cell: &Cell, before: &[Line], own: &[Line]) -> BTreeSet<OpRef> {
        let mut known = standing(before, cell, self.base);
        let since = before.iter().filter(|line| self.base.is_some_and(|base| line.position > base));
        let of_session = since.filter(|line| line.session.is_some() && line.session == self.session);
        known.extend(of_session.chain(own).filter(|line| line.cell == *cell).map(|line| line.op));
        known
    }

    /// What he saw at his base and still stands, and what the request itself wrote before.
    fn certain(&self, cell: &Cell, before: &[Line], own: &[Line]) -> BTreeSet<OpRef> {
        let now = standing(before, cell, None);
        let overtaken: BTreeSet<&OpRef> = own.iter().flat_map(|line| &line.preds).collect();
        let certain = |op: &OpRef| now.contains(op) && !overtaken.contains(op);
        let at_base = if self.base.is_some() { standing(before, cell, self.base) } else { BTreeSet::new() };
        let of_request = own.iter().filter(|line| line.cell == *cell && !overtaken.contains(&line.op));
        at_base.into_iter().filter(certain).chain(of_request.map(|line| line.op)).collect()
    }
}

/// Undoing and doing again write over what the bundle in question has put there, or its own undoing and doing again, or
/// what says the same; never over another's later value.
fn undoes_only_its_own(line: &Line, before: &[Line]) -> Verdict {
    let of_cell = || before.iter().filter(|other| other.cell == line.cell);
    let is_its =
        |other: &Line| line.undoes.contains(&other.bundle) || other.undoes.iter().any(|it| line.undoes.contains(it));
    for pred in line.preds.iter().filter(|pred| !line.takes_nothing_from(pred, before)) {
        let over = of_cell().find(|other| other.op == *pred).ok_or("an undo supersedes what was never written")?;
        let put_back = of_cell().find(|other| Some(other.op) == over.restores);
        let is_own = is_its(over) || put_back.is_some_and(is_its);
        let says_the_same = of_cell().any(|other| is_its(other) && other.content == over.content);
        ensure!(is_own || says_the_same, "an undo writes over {over:?}");
    }
    Ok(())
}

/// The writes of a cell that stand at a position, or at the end: written and not superseded.
fn standing(lines: &[Line], cell: &Cell, at: Option<Position>) -> BTreeSet<OpRef> {
    let (mut written, mut dead) = (BTreeSet::new(), BTreeSet::new());
    let until = lines.iter().take_while(|line| at.is_none_or(|at| line.position <= at));
    for line in until.filter(|line| line.cell == *cell) {
        written.insert(line.op);
        dead.extend(&line.preds);
    }
    written.difference(&dead).copied().collect()
}
