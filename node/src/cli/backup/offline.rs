//! The folder of a node that does not run, and the workspaces in it.

use std::path::Path;

use jiff::Timestamp;
use openprod_model::ids::WorkspaceId;

use crate::cli::context::{Context, SHORTEST_PREFIX};
use crate::cli::error::CliError;
use crate::config::Config;
use crate::folder::{Folder, FolderLock, LockError};

/// The folder of a node that does not run; none starts on it while this is held.
pub(in crate::cli) struct Stopped {
    /// The configuration that its node would have.
    pub(in crate::cli) config: Config,
    /// The folder.
    pub(in crate::cli) folder: Folder,
    _lock: FolderLock,
}

/// The folder, if flags do not say that the node is elsewhere, and nobody has it.
pub(in crate::cli) fn stopped(context: &Context) -> Result<Option<Stopped>, CliError> {
    if is_elsewhere(context) {
        return Ok(None);
    }
    let config = context.config()?;
    if !config.data_dir.exists() {
        return Ok(None);
    }
    // A folder that is not ours to open may well be that of a node which answers us.
    let Ok(folder) = Folder::open(&config.data_dir) else { return Ok(None) };
    match folder.lock(Timestamp::now()) {
        Ok(lock) => Ok(Some(Stopped { config, folder, _lock: lock })),
        Err(LockError::Held { .. }) => Ok(None),
        Err(error) => Err(CliError::failed(format!("{error}."))),
    }
}

/// Like [`stopped`], for what can only be done while no node runs.
pub(in crate::cli) fn needed(context: &Context) -> Result<Stopped, CliError> {
    stopped(context)?.ok_or_else(|| {
        CliError::failed("There is no folder here of a node that does not run.")
            .next("Stop the node first, or say where its folder is with --data-dir.")
    })
}

/// Whether flags name a node rather than a folder.
pub(in crate::cli) fn is_elsewhere(context: &Context) -> bool {
    context.globals.connect.is_some() || context.globals.socket.is_some()
}

/// The workspaces that have a folder within `root`. Changes nothing there.
pub(in crate::cli) fn workspaces_in(root: &Path) -> Result<Vec<WorkspaceId>, CliError> {
    let folder = root.join("workspaces");
    let entries = std::fs::read_dir(&folder).map_err(|error| CliError::file(&folder, &error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut ids: Vec<WorkspaceId> = names.filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The workspace meant, by its id or the beginning of it; the only one if none was named.
pub(in crate::cli) fn chosen(wanted: Option<&str>, ids: &[WorkspaceId]) -> Result<WorkspaceId, CliError> {
    let is_meant = |id: &&WorkspaceId| match wanted.map(str::to_lowercase) {
        None => true,
        Some(wanted) => wanted.len() >= SHORTEST_PREFIX && id.to_string().starts_with(&wanted),
    };
    let meant: Vec<&WorkspaceId> = ids.iter().filter(is_meant).collect();
    match (meant[..].as_ref(), wanted) {
        ([only], _) => Ok(**only),
        ([], None) => Err(CliError::failed("There is no workspace in the node's folder.")),
        (_, wanted) => {
            let listed = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = match wanted {
                None => format!("There are {} workspaces in the node's folder.", ids.len()),
                Some(wanted) => format!("\"{wanted}\" is not the beginning of one workspace's id."),
            };
            Err(CliError::usage(message)
                .affected(format!("They are: {listed}."))
                .next("Without a node, name one by its id with --workspace."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_node_a_workspace_is_named_by_its_id() {
        let ids: Vec<WorkspaceId> = (1..3).map(|n| WorkspaceId::new(n << 40, [0; 10])).collect();
        assert_eq!(chosen(None, &ids[..1]).unwrap(), ids[0]);
        assert_eq!(chosen(Some(&ids[1].to_string()[..8]), &ids).unwrap(), ids[1]);
        assert!(chosen(None, &ids).is_err() && chosen(None, &[]).is_err() && chosen(Some("Hamlet"), &ids).is_err());
    }
}
