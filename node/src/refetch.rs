//! Refetching: a workspace whose log is lost on this node gets its history again, from a node that has it.
//!
//! Nobody but a person decides that: he joins the workspace again by a ticket, which says from whom the history comes.
//! The log that is lost is put aside, never removed. When the history has come, whatever can still be read of the old
//! log and is not there yet is taken back, through the same checks as bundles from anywhere: it may be the only copy.

use std::fs;
use std::io;
use std::path::PathBuf;

use openprod_messages::commands::CommandError;
use openprod_messages::oplog::{Hands, OplogMsg};
use openprod_model::ids::WorkspaceId;
use openprod_oplog::store::salvage;

use crate::folder::WorkspaceFolder;
use crate::node::{Node, Slot};
use crate::storage;
use crate::workspace::Workspace;

/// How many bundles are taken back at a time: as many as a checkpoint has.
const AT_A_TIME: usize = 256;

/// Whether a workspace of this node is closed because its log is lost.
pub fn is_lost(node: &Node, workspace: WorkspaceId) -> bool {
    let is_closed = |(id, slot): &(_, Slot)| *id == workspace && matches!(slot, Slot::Closed { .. });
    node.workspaces().iter().any(is_closed) && storage::is_lost(&node.folder.workspace(workspace), workspace)
}

/// Puts the lost log aside, with the state that was made from it.
pub fn put_aside(folder: &WorkspaceFolder, now_ms: u64) -> io::Result<()> {
    let to = folder.lost().join(now_ms.to_string());
    fs::create_dir_all(&to)?;
    for file in [folder.log(), folder.state()].iter().filter(|file| file.exists()) {
        let name = file.file_name().expect("a file of the folder has a name");
        fs::rename(file, to.join(name))?;
    }
    fs::File::open(folder.root())?.sync_all()
}

/// Takes back what can be read of the logs that were put aside: how many bundles were not here.
pub async fn take_back(node: &Node, workspace: &Workspace) -> Result<u64, CommandError> {
    let mut new = 0;
    for log in put_aside_logs(&node.folder.workspace(workspace.id)) {
        let path = log.clone();
        let read = node.env.offload(move || salvage(&path)).await;
        let unread = |why: String| CommandError::Unavailable(format!("{}: {why}", log.display()));
        let read = read.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()));
        let bundles = read.map_err(|error| unread(error.to_string()))?.bundles;
        for some in bundles.chunks(AT_A_TIME) {
            let bundles = some.iter().map(|bundle| bundle.bytes().to_vec()).collect();
            let source = "the lost log".to_owned();
            // They were let in once, here.
            let hands = Hands::Members;
            let admitted = workspace.oplog.call(|reply| OplogMsg::Admit { bundles, source, hands, reply }).await;
            let admitted = admitted.map_err(|none| unread(none.to_string()))?;
            new += admitted.map_err(|error| unread(error.to_string()))?.appended;
        }
    }
    Ok(new)
}

fn put_aside_logs(folder: &WorkspaceFolder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.lost()).into_iter().flatten();
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path().join("log.redb"))).collect();
    logs.retain(|log| log.exists());
    logs.sort();
    logs
}
