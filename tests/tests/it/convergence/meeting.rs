//! The meeting: everybody has heard everything. Now they must agree with each other, with the oracle, and with what was
//! promised to whoever wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use openprod_domain::cell::{Cell, Content, KeyRange, Tip};
use openprod_domain::describe;
use openprod_domain::fold::{self, Write};
use openprod_domain::oracle::Oracle;
use openprod_domain::read::{self, Tables};
use openprod_domain::view::{Moment, View};
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::{Bundle, Op};
use openprod_model::ids::{Digest, EntityId, OpRef, Position};
use openprod_model::value::Name;
use openprod_state::replay_hash;

use super::company::{Company, Verdict, ensure};
use super::portrait::{answers_need_no_index, conflicts, portrait};
use super::replica::WORKSPACE;

/// A replica as its judges see it.
pub(crate) struct Present {
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// All bundles of its log, in its order.
    pub(crate) bundles: Vec<Arc<Bundle>>,
}

/// Everybody meets, and all of the promises are checked.
pub(super) async fn ends_well(company: &mut Company) -> Verdict {
    for replica in &mut company.replicas {
        if !replica.unknown.is_empty() {
            replica.learns().await;
        }
    }
    company.everyone_meets().await?;
    let all = 0..company.replicas.len();
    let present: Vec<Present> = all.map(|at| company.present(at)).collect();
    all_is_well(&present, &company.acknowledged)
}

/// They agree with each other, with the oracle, and with what was promised.
pub(crate) fn all_is_well(present: &[Present], acknowledged: &BTreeSet<Digest>) -> Verdict {
    agree(present)?;
    for (at, replica) in present.iter().enumerate() {
        replica.is_what_the_oracle_says().map_err(|wrong| format!("replica {at}: {wrong}"))?;
        let lost = acknowledged.iter().find(|digest| replica.log.position_of(**digest).unwrap().is_none());
        ensure!(lost.is_none(), "replica {at} lacks the acknowledged bundle {lost:?}");
    }
    nothing_is_lost(&present[0], acknowledged)
}

fn agree(present: &[Present]) -> Verdict {
    let first = &present[0];
    let (heads, hash) = (first.heads(), first.snapshot.hash().unwrap());
    let shown = portrait(first.snapshot.view());
    for (at, other) in present.iter().enumerate().skip(1) {
        ensure!(other.heads() == heads, "replica {at} has other heads");
        ensure!(sorted(other.snapshot.heads().unwrap()) == heads, "the state of replica {at} has other heads");
        let theirs = portrait(other.snapshot.view());
        for (ours, theirs) in shown.iter().zip(&theirs) {
            ensure!(ours == theirs, "replica 0 shows\n  {ours}\nand replica {at}\n  {theirs}");
        }
        ensure!(shown.len() == theirs.len(), "replica {at} shows more or less");
        ensure!(other.snapshot.hash().unwrap() == hash, "replica {at} shows the same and has another hash");
    }
    let sentences: Vec<Vec<String>> = present.iter().map(Present::sentences).collect();
    ensure!(sentences.iter().all(|said| *said == sentences[0]), "conflicts are told in other words: {sentences:#?}");
    Ok(())
}

impl Present {
    fn heads(&self) -> Vec<Digest> {
        sorted(self.log.tail().unwrap().heads)
    }

    /// What people are told of the conflicts.
    fn sentences(&self) -> Vec<String> {
        let view = self.snapshot.view();
        let mut who = |tip: &Tip| {
            let entry = self.log.entry(tip.position.unwrap())?.unwrap();
            Ok(entry.actor.short())
        };
        let conflicts = conflicts(view);
        let mut tables = Tables::of(view);
        conflicts.iter().map(|conflict| describe::conflict(&mut tables, conflict, &mut who).unwrap()).collect()
    }

    /// Cells, index entries and hash are those of the definition, in whatever order it is given the bundles, and those
    /// of a replay from nothing.
    fn is_what_the_oracle_says(&self) -> Verdict {
        let (bundles, snapshot) = (&self.bundles, &*self.snapshot);
        shows_what_the_oracle_says(bundles, snapshot)?;
        let hash = snapshot.hash().unwrap();
        let replayed = replay_hash(self.log.clone(), WORKSPACE, &mut |_, _| {}).unwrap();
        ensure!(replayed == hash, "it comes to something else when it is replayed from nothing");
        is_remembered(snapshot, &bundles[..bundles.len() / 2])?;
        answers_need_no_index(snapshot.view(), snapshot, snapshot.position())
    }
}

/// The cells, the index and the hash of a state are what the definition makes of the bundles that it has folded.
pub(crate) fn shows_what_the_oracle_says(bundles: &[Arc<Bundle>], snapshot: &dyn Snapshot) -> Verdict {
    let numbered: Vec<_> = (1..).map(Position).zip(bundles.iter().map(|bundle| &**bundle)).collect();
    let oracle = Oracle::of(numbered.into_iter().rev());
    let expected: Vec<(Cell, Vec<Tip>)> = oracle.cells().filter(|(_, tips)| !tips.is_empty()).collect();
    let folded = snapshot.view().cells(&Cell::everything()).map(|item| item.unwrap());
    let folded: Vec<(Cell, Vec<Tip>)> = folded.filter(|(_, tips)| !tips.is_empty()).collect();
    for (ours, theirs) in expected.iter().zip(&folded) {
        ensure!(ours == theirs, "the oracle says\n  {ours:?}\nand the state\n  {theirs:?}");
    }
    ensure!(expected.len() == folded.len(), "the state has more or fewer cells than the oracle");
    let everything = KeyRange { from: Vec::new(), to: vec![u8::MAX] };
    let entries = snapshot.view().entries(&everything).ok_or("a snapshot keeps no index")?;
    let entries: BTreeSet<Vec<u8>> = entries.map(|entry| entry.unwrap()).collect();
    ensure!(entries == oracle.entries(), "the index is not what the cells say");
    ensure!(snapshot.hash().unwrap().total == oracle.total(), "the hash is not the oracle's");
    Ok(())
}

fn sorted(mut heads: Vec<Digest>) -> Vec<Digest> {
    heads.sort_unstable();
    heads
}

/// What the state says of a moment in its past is what the oracle says of the bundles that there were.
fn is_remembered(snapshot: &dyn Snapshot, earlier: &[Arc<Bundle>]) -> Verdict {
    let oracle = Oracle::of((1..).map(Position).zip(earlier.iter().map(|bundle| &**bundle)));
    let moment = Moment::Revision(Position(earlier.len() as u64));
    for (cell, tips) in oracle.cells() {
        let remembered = snapshot.tips_at(&cell, &moment).unwrap();
        ensure!(remembered == tips, "of {cell:?} there was\n  {tips:?}\nand what is remembered is\n  {remembered:?}");
    }
    Ok(())
}

/// Who wrote over a write: the bundles that name it, for that cell.
struct Fates<'a> {
    bundles: &'a [Arc<Bundle>],
    over: HashMap<(Vec<u8>, OpRef), Vec<usize>>,
    /// Where each op is found; more than once where a cloned machine said the same twice.
    written: HashMap<OpRef, Vec<usize>>,
    pasts: Vec<BTreeSet<usize>>,
}

impl<'a> Fates<'a> {
    fn of(bundles: &'a [Arc<Bundle>]) -> Self {
        let numbers: BTreeMap<Digest, usize> = bundles.iter().map(|bundle| bundle.digest()).zip(0..).collect();
        let mut fates = Self { bundles, over: HashMap::new(), written: HashMap::new(), pasts: Vec::new() };
        for (number, bundle) in bundles.iter().enumerate() {
            let mut past = BTreeSet::new();
            for parent in bundle.ancestors().map(|ancestor| numbers[&ancestor]) {
                past.insert(parent);
                past.extend(&fates.pasts[parent]);
            }
            fates.pasts.push(past);
            for op in bundle.ops() {
                fates.written.entry(op.reference).or_default().push(number);
                for write in writes(op) {
                    for pred in &write.basis.preds {
                        fates.over.entry((write.cell.key(), *pred)).or_default().push(number);
                    }
                }
            }
        }
        fates
    }

    /// Whether somebody who knew of it wrote over it.
    fn superseded(&self, cell: &Cell, op: OpRef) -> bool {
        let over = self.over.get(&(cell.key(), op)).into_iter().flatten();
        over.copied().any(|later| self.written[&op].iter().any(|at| *at == later || self.pasts[later].contains(at)))
    }
}

fn writes(op: &Op) -> Vec<Write<'_>> {
    op.operation.iter().flat_map(fold::writes).collect()
}

/// Every acknowledged write is shown, equal to what is shown, a candidate of a conflict, written over by somebody who
/// knew it, or hidden by a removal that can be named.
fn nothing_is_lost(present: &Present, acknowledged: &BTreeSet<Digest>) -> Verdict {
    let fates = Fates::of(&present.bundles);
    for bundle in fates.bundles.iter().filter(|bundle| acknowledged.contains(&bundle.digest())) {
        for op in bundle.ops() {
            for write in writes(op) {
                is_accounted_for(present.snapshot.view(), &fates, &write.cell, op.reference)?;
            }
        }
    }
    Ok(())
}

fn is_accounted_for(view: &dyn View, fates: &Fates, cell: &Cell, op: OpRef) -> Verdict {
    if fates.superseded(cell, op) {
        return Ok(());
    }
    let (own, reading) = (view.tips(cell).unwrap(), read::united(view, cell.clone()).unwrap());
    ensure!(own.iter().any(|tip| tip.op == op), "a write of {cell:?} is gone, and nobody who knew it wrote over it");
    let Some(tip) = reading.tips.iter().find(|tip| tip.op == op) else {
        return is_outspoken(view, cell, &own);
    };
    let merges = matches!(cell, Cell::EdgePosition { .. }) || matches!(tip.content, Content::Edit(_));
    let says_the_same = reading.content() == Some(&tip.content);
    ensure!(merges || says_the_same || reading.in_conflict(), "a write of {cell:?} stands, and nobody sees it");
    match cell {
        Cell::Field { table, entity, .. } if !read::is_record(view, table, *entity).unwrap() => {
            is_hidden_by_name(view, table, *entity, op)
        }
        _ => Ok(()),
    }
}

/// Of registers that read as one, those that are empty and those of tables that the record was removed from say nothing
/// as long as another one speaks.
fn is_outspoken(view: &dyn View, cell: &Cell, own: &[Tip]) -> Verdict {
    let is_empty = own.iter().all(|tip| tip.content == Content::Absent);
    let is_hidden =
        matches!(cell, Cell::Field { table, entity, .. } if !read::is_record(view, table, *entity).unwrap());
    ensure!(is_empty || is_hidden, "{cell:?} reads as one with others, and nobody sees what it says");
    Ok(())
}

/// Whoever removed the record had seen the write, or it is in dispute.
fn is_hidden_by_name(view: &dyn View, table: &Name, entity: EntityId, op: OpRef) -> Verdict {
    let facet = Cell::Facet { table: table.clone(), entity };
    let tips = view.tips(&facet).unwrap();
    ensure!(tips.iter().all(|tip| tip.content == Content::Absent), "{facet:?} is hidden, and nobody removed it");
    let is_alone = view.unions().unwrap().is_empty();
    if tips.is_empty() || !is_alone {
        // It never was a record of that table; or it has other ids, under which the write may be seen.
        return Ok(());
    }
    let tables = view.cells(&Cell::tables()).map(|item| item.unwrap().0);
    let facets = tables.filter_map(|cell| match cell {
        Cell::Table { table } => Some(view.tips(&Cell::Facet { table, entity }).unwrap()),
        _ => None,
    });
    let seen = facets.flatten().any(|tip| tip.content == Content::Absent && tip.seen.contains(&op));
    let in_dispute = conflicts(view).iter().any(|conflict| conflict.tips().iter().any(|tip| tip.op == op));
    ensure!(seen || in_dispute, "{op:?} is hidden with {facet:?}, by people who had not seen it, and nobody is told");
    Ok(())
}
