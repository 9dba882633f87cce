//! Registers: what several standing writes of one cell mean together.
//!
//! A multi-value register as in Shapiro et al. (2011), with exact predecessors instead of version vectors. Applying
//! a write marks it written and each of its preds dead; what is written and not dead stands (I-3, I-5).

use openprod_model::ids::OpRef;

use crate::cell::{Cell, Content, Tip};

/// Adds `tip`, which supersedes `preds`, to the standing writes `tips` of a log whose order respects parents.
///
/// Idempotent. For arrival in any order at all, dead writes must be remembered too; see [`crate::oracle`].
pub fn apply(tips: &mut Vec<Tip>, tip: Tip, preds: &[OpRef]) {
    tips.retain(|standing| standing.op != tip.op && !preds.contains(&standing.op));
    let at = tips.partition_point(|standing| standing.order() < tip.order());
    tips.insert(at, tip);
}

/// The writes of several registers that read as one: each op once, in canonical order.
pub fn united(tips: impl IntoIterator<Item = Tip>) -> Vec<Tip> {
    let mut tips: Vec<Tip> = tips.into_iter().collect();
    tips.sort_by_key(Tip::order);
    tips.dedup_by_key(|tip| tip.op);
    tips
}

/// The write that is shown while several stand: one table of policies, by the kind of cell.
pub fn shown<'a>(cell: &Cell, tips: &'a [Tip]) -> Option<&'a Tip> {
    let latest = |wanted: &dyn Fn(&Tip) -> bool| tips.iter().filter(|tip| wanted(tip)).max_by_key(|tip| tip.order());
    let law = || latest(&|tip| tip.decision).or_else(|| latest(&|_| true));
    match cell {
        // A record that somebody removed and somebody else kept stays visible until they agree.
        Cell::Facet { .. } => latest(&|tip| tip.content == Content::Present).or_else(law),
        // Who was removed stays out until people agree.
        Cell::Member { .. } => latest(&|tip| tip.content == Content::Absent).or_else(law),
        Cell::EdgePosition { .. } => latest(&|_| true),
        // What somebody still wants stays until they agree.
        Cell::Asset { .. } => latest(&|tip| tip.content == Content::Absent).or_else(law),
        // What is in dispute unites nothing.
        Cell::Merge { .. } | Cell::Mapping { .. } => latest(&|tip| tip.content != Content::Present).or_else(law),
        _ => law(),
    }
}

/// Whether `tips` hold different contents and the cell's kind lets them conflict.
pub fn in_conflict(cell: &Cell, tips: &[Tip]) -> bool {
    disagree(cell, tips.iter().map(|tip| &tip.content))
}

/// The same for what standing writes say. Places are never in dispute, and edits of one text merge.
pub fn disagree<'a>(cell: &Cell, standing: impl Iterator<Item = &'a Content>) -> bool {
    let mut standing = standing.filter(|content| !matches!(content, Content::Edit(_)));
    let Some(first) = standing.next() else { return false };
    !matches!(cell, Cell::EdgePosition { .. }) && standing.any(|content| content != first)
}

/// The references of `tips` whose content equals the shown one: what a write without a base supersedes.
pub fn equal_to_shown(cell: &Cell, tips: &[Tip]) -> Vec<OpRef> {
    let Some(shown) = shown(cell, tips) else { return Vec::new() };
    tips.iter().filter(|tip| tip.content == shown.content).map(|tip| tip.op).collect()
}
