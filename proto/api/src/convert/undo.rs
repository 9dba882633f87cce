//! Undo and redo, from and to messages.

use openprod_domain::inverse::Turn;
use openprod_domain::inverse::obstacle::{Cause, Obstacle};
use openprod_domain::inverse::stack::{Scope, Which};
use openprod_domain::inverse::take::{Named, Skipped};
use openprod_model::refusal::Refusal;

use super::history::{BundleName, bundle_named};
use crate::v1;

pub(super) fn undo(scope: Scope, bundle: Option<Which>) -> v1::Undo {
    v1::Undo { scope: scope_to(scope).into(), bundle: which_to(bundle) }
}

pub(super) fn redo(scope: Scope, bundle: Option<Which>) -> v1::Redo {
    v1::Redo { scope: scope_to(scope).into(), bundle: which_to(bundle) }
}

fn scope_to(scope: Scope) -> v1::UndoScope {
    match scope {
        Scope::Mine => v1::UndoScope::Mine,
        Scope::Shared => v1::UndoScope::Shared,
    }
}

/// Whose bundles are meant.
pub fn scope_from(scope: v1::UndoScope) -> Scope {
    match scope {
        v1::UndoScope::Unspecified | v1::UndoScope::Mine => Scope::Mine,
        v1::UndoScope::Shared => Scope::Shared,
    }
}

/// Undo or redo.
pub fn turn_from(turn: v1::UndoTurn) -> Turn {
    match turn {
        v1::UndoTurn::Unspecified | v1::UndoTurn::Undo => Turn::Undo,
        v1::UndoTurn::Redo => Turn::Redo,
    }
}

fn which_to(which: Option<Which>) -> String {
    match which {
        None => String::new(),
        Some(Which::Digest(digest)) => digest.to_string(),
        Some(Which::Id(id)) => id.to_string(),
    }
}

pub(super) fn which(bundle: &str) -> Result<Option<Which>, Refusal> {
    if bundle.is_empty() {
        return Ok(None);
    }
    Ok(Some(match bundle_named(bundle, "bundle")? {
        BundleName::Digest(digest) => Which::Digest(digest),
        BundleName::Id(id) => Which::Id(id),
    }))
}

/// A bundle as people speak of it.
pub fn bundle_ref(bundle: &Named) -> v1::BundleRef {
    v1::BundleRef {
        bundle_id: bundle.id.to_string(),
        bundle_digest: bundle.digest.to_string(),
        label: bundle.label.clone(),
    }
}

/// A bundle that was passed over.
pub fn skipped(skipped: &Skipped) -> v1::SkippedBundle {
    v1::SkippedBundle { bundle: Some(bundle_ref(&skipped.bundle)), obstacle: Some(obstacle(&skipped.obstacle)) }
}

/// Why a bundle cannot be undone or redone.
pub fn obstacle(obstacle: &Obstacle) -> v1::UndoObstacle {
    v1::UndoObstacle {
        cause: cause(obstacle.cause).into(),
        sentence: obstacle.sentence.clone(),
        names: obstacle.names.clone(),
    }
}

fn cause(cause: Cause) -> v1::undo_obstacle::Cause {
    use v1::undo_obstacle::Cause as Published;
    match cause {
        Cause::Changed => Published::Changed,
        Cause::Removed => Published::Removed,
        Cause::WouldHide => Published::WouldHide,
        Cause::NeverUndone => Published::NeverUndone,
        Cause::NewerVersion => Published::NewerVersion,
        Cause::Text => Published::Text,
        Cause::DoesNotFit => Published::DoesNotFit,
        Cause::TooLarge => Published::TooLarge,
        Cause::Damaged => Published::Damaged,
    }
}
