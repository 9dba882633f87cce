//! Conflicts as clients are told of them: the sentence, and who wrote what is in dispute.

use std::collections::{BTreeMap, BTreeSet};

use openprod_api::convert::history::cell_content;
use openprod_api::v1;
use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::conflict::{self, Candidate, Conflict, Dispute};
use openprod_domain::describe;
use openprod_domain::read::{self, Tables};
use openprod_domain::view::{History, Read, ReadFailure, View};
use openprod_messages::log::LogReader;
use openprod_model::ids::{ActorId, EntityId, OpRef, Position};
use openprod_model::value::Name;

use super::batch::{Names, info};

/// Tells conflicts of one view; each bundle, each table and each name is looked up once.
pub(super) struct Disputes<'a> {
    history: &'a dyn History,
    log: &'a dyn LogReader,
    names: Names<'a>,
    tables: Tables<'a>,
    bundles: BTreeMap<Position, v1::BundleInfo>,
}

impl<'a> Disputes<'a> {
    /// Of that view, with what is remembered of undone writes.
    pub(super) fn of(view: &'a dyn View, history: &'a dyn History, log: &'a dyn LogReader) -> Self {
        let (names, tables) = (Names::of(view), Tables::of(view));
        Self { history, log, names, tables, bundles: BTreeMap::new() }
    }

    /// What happened, for people.
    pub(super) fn sentence(&mut self, conflict: &Conflict) -> Read<String> {
        let Self { history, log, names, tables, .. } = self;
        describe::conflict(tables, conflict, &mut |tip| match author(*history, *log, conflict, tip)? {
            Some(actor) => names.called(actor),
            None => Ok("somebody".to_owned()),
        })
    }

    /// All of it.
    pub(super) fn whole(&mut self, conflict: &Conflict) -> Read<v1::Conflict> {
        let mut told = v1::Conflict {
            conflict: conflict.id().to_string(),
            sort: sort(&conflict.dispute).into(),
            cell: Some((&conflict.cell).into()),
            sentence: self.sentence(conflict)?,
            reopened: conflict.reopened,
            ..v1::Conflict::default()
        };
        match &conflict.dispute {
            Dispute::Values(candidates) => {
                let candidates = candidates.iter().map(|candidate| self.candidate(conflict, candidate));
                told.candidates = candidates.collect::<Read<_>>()?;
            }
            Dispute::RemovedWhileEdited { removals, edits } => {
                let removals = removals.iter().map(|tip| self.write(conflict, &conflict.cell, tip));
                told.removals = removals.collect::<Read<_>>()?;
                told.edits = edits.iter().map(|(cell, tip)| self.write(conflict, cell, tip)).collect::<Read<_>>()?;
            }
        }
        Ok(told)
    }

    fn candidate(&mut self, conflict: &Conflict, candidate: &Candidate) -> Read<v1::ConflictCandidate> {
        Ok(v1::ConflictCandidate {
            content: Some(cell_content(&conflict.cell, &candidate.content)),
            shown: candidate.shown,
            writes: candidate.tips.iter().map(|tip| self.write(conflict, &conflict.cell, tip)).collect::<Read<_>>()?,
        })
    }

    fn write(&mut self, conflict: &Conflict, cell: &Cell, tip: &Tip) -> Read<v1::DisputedWrite> {
        let said_at = conflict::origin(self.history, conflict, tip)?;
        let put_back_at = tip.position.filter(|_| said_at != tip.position);
        Ok(v1::DisputedWrite {
            op: tip.op.to_string(),
            cell: Some(cell.into()),
            content: Some(cell_content(cell, &tip.content)),
            decision: tip.decision,
            bundle: said_at.map(|at| self.bundle(at)).transpose()?,
            put_back: put_back_at.map(|at| self.bundle(at)).transpose()?,
        })
    }

    fn bundle(&mut self, at: Position) -> Read<v1::BundleInfo> {
        if let Some(known) = self.bundles.get(&at) {
            return Ok(known.clone());
        }
        let entry = self.log.entry(at)?.ok_or_else(|| ReadFailure(format!("the log lacks position {at}")))?;
        let told = info(&mut self.names, at, &entry, self.log.outline(at)?.as_ref())?;
        self.bundles.insert(at, told.clone());
        Ok(told)
    }
}

fn sort(dispute: &Dispute) -> v1::ConflictSort {
    match dispute {
        Dispute::Values(_) => v1::ConflictSort::ValuesDiffer,
        Dispute::RemovedWhileEdited { .. } => v1::ConflictSort::RemovedWhileEdited,
    }
}

/// Who said first what a write in dispute says, as far as the log knows.
pub(super) fn author(
    history: &dyn History,
    log: &dyn LogReader,
    conflict: &Conflict,
    tip: &Tip,
) -> Read<Option<ActorId>> {
    let Some(at) = conflict::origin(history, conflict, tip)? else { return Ok(None) };
    Ok(log.entry(at)?.map(|entry| entry.actor))
}

/// What a conflict touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The keys of tables.
    pub(super) tables: BTreeSet<Name>,
    /// Records, those at the ends of an edge among them.
    pub(super) records: BTreeSet<EntityId>,
}

/// What a conflict about `cell` touches, under every id and in every column that reads as one with it.
pub(super) fn places(view: &dyn View, cell: &Cell) -> Read<Places> {
    let mut places = Places::default();
    for cell in view.unions()?.cells(cell) {
        match cell {
            Cell::Table { table } | Cell::Column { table, .. } => places.tables.extend([table]),
            Cell::Facet { table, entity } | Cell::Field { table, entity, .. } => {
                places.tables.extend([table]);
                places.records.extend([entity]);
            }
            Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => {
                for tip in view.tips(&Cell::Edge { edge })? {
                    places.add_ends(view, &tip)?;
                }
            }
            Cell::Merge { low, high } => places.records.extend([low, high]),
            Cell::Mapping { low, high } => places.tables.extend([low.table, high.table]),
            Cell::Setting { .. } | Cell::Member { .. } | Cell::ActorName { .. } | Cell::Asset { .. } => {}
        }
    }
    Ok(places)
}

/// The same, and what a removed edge joined before, which only history tells.
pub(super) fn places_once(view: &dyn View, history: &dyn History, cell: &Cell) -> Read<Places> {
    let mut found = places(view, cell)?;
    if let Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } = cell
        && found.records.is_empty()
        && let Some(joined) = joined(view, history, &Cell::Edge { edge: *edge })?
    {
        found.add_ends(view, &joined)?;
    }
    Ok(found)
}

/// The write of an edge by which it joined two records, the latest that what stands has superseded.
fn joined(view: &dyn View, history: &dyn History, edge: &Cell) -> Read<Option<Tip>> {
    let mut open: Vec<OpRef> = view.tips(edge)?.iter().map(|tip| tip.op).collect();
    let mut seen = BTreeSet::new();
    while let Some(op) = open.pop() {
        let Some((tip, before)) = history.write(edge, op)?.filter(|_| seen.insert(op)) else { continue };
        if matches!(tip.content, Content::Edge(_)) {
            return Ok(Some(tip));
        }
        open.extend(before);
    }
    Ok(None)
}

impl Places {
    /// What a write of an edge joins; a removed edge joins nothing any more.
    fn add_ends(&mut self, view: &dyn View, tip: &Tip) -> Read<()> {
        let Content::Edge(ends) = &tip.content else { return Ok(()) };
        for record in [ends.source, ends.target] {
            self.records.extend(view.unions()?.ids(&record));
            self.tables.extend(read::tables_of(view, record)?);
        }
        Ok(())
    }
}
