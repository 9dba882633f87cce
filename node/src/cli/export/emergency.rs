//! `openprod export --emergency`: what can still be read, straight from the log's file.

use std::path::Path;

use serde_json::json;

use crate::cli::backup::offline;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Style, json as show, remark};
use crate::emergency;

/// Saves the workspace that was named, or the only one, into `to`. It works while a node runs, too.
pub(super) async fn run(context: &Context, to: &Path) -> Result<(), CliError> {
    let root = context.config()?.data_dir;
    let ids = offline::workspaces_in(&root)?;
    let id = offline::chosen(context.globals.workspace.as_deref(), &ids)?;
    let log = root.join("workspaces").join(id.to_string()).join("log.redb");
    let target = to.to_owned();
    let saved = tokio::task::spawn_blocking(move || emergency::export(&log, id, &target)).await;
    let saved = saved.map_err(|error| CliError::failed(format!("The export broke off: {error}.")))?;
    let saved = saved.map_err(|error| {
        CliError::failed(format!("{error}.")).next("Name a folder with --output that is empty or not there yet.")
    })?;
    if context.style == Style::Json {
        let tables = saved.tables.iter().map(|(name, records)| json!({"table": name, "records": records}));
        show(&json!({
            "output": to.display().to_string(), "bundles": saved.bundles, "tables": tables.collect::<Vec<_>>(),
            "problems": saved.problems,
        }))?;
    }
    let (bundles, tables) = (saved.bundles, saved.tables.len());
    remark(&format!("Saved {tables} tables from {bundles} bundles to {}.", to.display()));
    match saved.problems.len() {
        0 => Ok(()),
        problems => Err(CliError::partial(format!("{problems} things could not be read, or are not to be trusted."))
            .next(format!("Read {}.", to.join(emergency::REPORT).display()))),
    }
}
