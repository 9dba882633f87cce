//! Membership: a bundle is admitted by its own past alone, so every node comes to the same verdict (I-7).
//!
//! With each bundle lies the set of member ops in its past *and in itself*. The verdict on a bundle folds the union of
//! its ancestors' sets, not its own: nobody admits himself. A set is named by the hash of its content, so equal pasts
//! share one name, on every node.

use std::collections::HashMap;
use std::sync::Arc;

use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::view::{Read, ReadFailure};
use openprod_domain::{fold, register};
use openprod_model::bundle::{Bundle, Op};
use openprod_model::codec;
use openprod_model::ids::{ActorId, OpRef};
use openprod_model::operation::Operation;
use serde::{Deserialize, Serialize};

use super::ledger::Past;

/// Sets and verdicts that are kept in memory; beyond, they are read again.
const CACHED: usize = 10_000;

/// Names a set of member ops: the hash of the references in it; all zeros for the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetId(#[serde(with = "codec::fixed")] pub [u8; 32]);

impl SetId {
    /// No member ops at all.
    pub const EMPTY: Self = Self([0; 32]);

    fn of(set: &[OpRef]) -> Self {
        if set.is_empty() {
            return Self::EMPTY;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"openprod/members/1\0");
        for op in set {
            hasher.update(op.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// What one op writes into one member's cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberOp {
    /// Whose membership.
    pub member: ActorId,
    /// The write.
    pub tip: Tip,
    /// What it supersedes.
    pub preds: Vec<OpRef>,
}

/// The member ops of a bundle.
pub fn member_ops(bundle: &Bundle) -> Vec<MemberOp> {
    bundle.ops().iter().filter_map(member_op).collect()
}

fn member_op(op: &Op) -> Option<MemberOp> {
    // Most ops are others; folding these would cost more than everything else that is done with a bundle here.
    let operation = op.operation.as_ref().filter(|operation| changes_membership(operation))?;
    let writes = fold::writes(operation);
    writes.iter().find_map(|write| match write.cell {
        Cell::Member { member } => {
            Some(MemberOp { member, tip: write.tip(op, None), preds: write.basis.preds.clone() })
        }
        _ => None,
    })
}

fn changes_membership(operation: &Operation) -> bool {
    matches!(operation, Operation::Bootstrap { .. } | Operation::AdmitMember { .. } | Operation::RemoveMember { .. })
}

/// Whether the member ops `past` show `actor` admitted. The order in which they are given does not matter: canonical
/// order puts every op behind those that its author had seen (I-8).
fn admits<'a>(actor: ActorId, past: impl Iterator<Item = &'a MemberOp>) -> bool {
    let mut ops: Vec<&MemberOp> = past.filter(|op| op.member == actor).collect();
    ops.sort_by_key(|op| op.tip.order());
    let mut tips = Vec::new();
    for op in ops {
        register::apply(&mut tips, op.tip.clone(), &op.preds);
    }
    let cell = Cell::Member { member: actor };
    register::shown(&cell, &tips).is_some_and(|tip| tip.content == Content::Present)
}

/// The sets, ops and verdicts that are at hand.
#[derive(Debug, Default)]
pub struct Members {
    sets: HashMap<SetId, Arc<[OpRef]>>,
    ops: HashMap<OpRef, Arc<MemberOp>>,
    verdicts: HashMap<(SetId, ActorId), bool>,
}

impl Members {
    /// The set `id`.
    pub fn set(&mut self, past: &dyn Past, id: SetId) -> Read<Arc<[OpRef]>> {
        if id == SetId::EMPTY {
            return Ok(Arc::from([]));
        }
        if let Some(set) = self.sets.get(&id) {
            return Ok(Arc::clone(set));
        }
        let set: Arc<[OpRef]> = past.member_set(id)?.ok_or_else(|| missing("a set of member operations"))?.into();
        self.sets.insert(id, Arc::clone(&set));
        Ok(set)
    }

    /// The union of sets.
    pub fn union(&mut self, past: &dyn Past, ids: impl IntoIterator<Item = SetId>) -> Read<SetId> {
        let mut ids: Vec<SetId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        if let [] | [_] = ids.as_slice() {
            return Ok(ids.first().copied().unwrap_or(SetId::EMPTY));
        }
        let mut union = Vec::new();
        for id in ids {
            union.extend_from_slice(&self.set(past, id)?);
        }
        Ok(self.remember(union))
    }

    /// The set `id` and `ops` besides.
    pub fn with(&mut self, past: &dyn Past, id: SetId, ops: Vec<MemberOp>) -> Read<SetId> {
        if ops.is_empty() {
            return Ok(id);
        }
        let mut set = self.set(past, id)?.to_vec();
        for op in ops {
            set.push(op.tip.op);
            self.ops.insert(op.tip.op, Arc::new(op));
        }
        Ok(self.remember(set))
    }

    fn remember(&mut self, mut set: Vec<OpRef>) -> SetId {
        set.sort_unstable();
        set.dedup();
        let id = SetId::of(&set);
        self.sets.entry(id).or_insert_with(|| set.into());
        id
    }

    /// Whether the member ops of the set `id` show `actor` admitted.
    pub fn admit(&mut self, past: &dyn Past, id: SetId, actor: ActorId) -> Read<bool> {
        if let Some(verdict) = self.verdicts.get(&(id, actor)) {
            return Ok(*verdict);
        }
        let set = self.set(past, id)?;
        let ops = set.iter().map(|op| self.op(past, *op)).collect::<Read<Vec<_>>>()?;
        let verdict = admits(actor, ops.iter().map(AsRef::as_ref));
        self.verdicts.insert((id, actor), verdict);
        Ok(verdict)
    }

    fn op(&mut self, past: &dyn Past, op: OpRef) -> Read<Arc<MemberOp>> {
        if let Some(op) = self.ops.get(&op) {
            return Ok(Arc::clone(op));
        }
        let found = Arc::new(past.member_op(op)?.ok_or_else(|| missing("a member operation"))?);
        self.ops.insert(op, Arc::clone(&found));
        Ok(found)
    }

    /// Forgets what can be read again, if there is much of it. Only while nothing waits to be committed.
    pub fn trim(&mut self) {
        if self.sets.len() + self.ops.len() + self.verdicts.len() > CACHED {
            *self = Self::default();
        }
    }
}

fn missing(what: &str) -> ReadFailure {
    ReadFailure(format!("{what} that the log refers to is not in it"))
}
