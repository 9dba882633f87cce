//! What a bundle did to conflicts: which it opened, closed, or opened again.

use openprod_api::v1;
use openprod_domain::cell::Cell;
use openprod_domain::conflict::{self, Turn};
use openprod_domain::view::{Read, View};
use openprod_model::bundle::Bundle;

use super::super::disputes::{Disputes, places};
use super::{Scope, Telling};

/// What became of the conflicts in scope; none if the bundle may have reached any of all.
pub(super) fn told(telling: &Telling<'_>, bundle: &Bundle) -> Read<Option<Vec<v1::ConflictChange>>> {
    let (before, after) = (telling.before, telling.after);
    let written = conflict::written_by(bundle);
    let (Some(mut reached), Some(earlier)) = (conflict::reach(after, &written)?, conflict::reach(before, &written)?)
    else {
        return Ok(None);
    };
    reached.extend(earlier);
    let told_of = |view| Disputes::of(view, telling.now, telling.log);
    let (mut was, mut is) = (told_of(before), told_of(after));
    let mut changes = Vec::new();
    for turn in conflict::turns(before, after, &reached)? {
        let (kind, conflict, disputes) = match &turn {
            Turn::Opened(conflict) => (v1::ConflictChangeKind::Opened, conflict, &mut is),
            Turn::Reopened(conflict) => (v1::ConflictChangeKind::Reopened, conflict, &mut is),
            Turn::Changed(conflict) => (v1::ConflictChangeKind::Changed, conflict, &mut is),
            Turn::Resolved(conflict) => (v1::ConflictChangeKind::Resolved, conflict, &mut was),
        };
        if in_scope(after, telling.scope, &conflict.cell)? {
            changes.push(v1::ConflictChange {
                kind: kind.into(),
                conflict: conflict.id().to_string(),
                cell: Some((&conflict.cell).into()),
                sentence: disputes.sentence(conflict)?,
            });
        }
    }
    Ok(Some(changes))
}

/// Whether a conflict is about a table in scope, or about an edge at one. An edge that is gone does not say where it
/// was, and is told to everybody.
fn in_scope(view: &dyn View, scope: &Scope, cell: &Cell) -> Read<bool> {
    let places = places(view, cell)?;
    let is_lost = matches!(cell, Cell::Edge { .. } | Cell::EdgeProperty { .. }) && places.records.is_empty();
    Ok(scope.is_everything() || is_lost || places.tables.iter().any(|table| scope.holds(table)))
}
