//! Who makes the call that this task serves, and which workspaces that caller may know of.
//!
//! The doors say who calls; [`super::workspace()`] asks here, and so do the lists of workspaces. A call of which no door
//! has said whose it is sees nothing, so a service cannot forget to ask.

use openprod_domain::read::{Membership, membership};

use super::Caller;
use crate::workspace::Workspace;

tokio::task_local! {
    static CALLER: Caller;
}

/// Serves a call as that caller's.
pub async fn by<T>(caller: Caller, serving: impl Future<Output = T>) -> T {
    CALLER.scope(caller, serving).await
}

/// Whether whoever calls may know of this workspace: through the Unix socket of every one, by token of those in which
/// the token's actor is a member.
pub fn sees(workspace: &Workspace) -> bool {
    match CALLER.try_with(|caller| caller.actor) {
        Ok(None) => true,
        Ok(Some(actor)) => {
            let snapshot = workspace.snapshots.snapshot();
            let standing = snapshot.and_then(|snapshot| membership(snapshot.view(), actor));
            matches!(standing, Ok(Membership::Admitted))
        }
        Err(_) => false,
    }
}

/// Whether whoever calls may know of what concerns all of the node.
pub fn sees_all() -> bool {
    CALLER.try_with(|caller| caller.actor.is_none()).unwrap_or(false)
}
