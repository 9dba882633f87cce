//! `openprod doctor`: the node's checks of itself; without a node, checks of its folder.

use openprod_client::v1;
use serde_json::json;

use super::backup::offline;
use super::context::Context;
use super::error::CliError;
use super::output::{Grid, Style, grid, json as show, remark};
use crate::diagnostics::{self, Check, Outcome};

/// What `doctor` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {}

/// Runs `doctor`.
pub async fn run(_: DoctorArgs, context: &Context) -> Result<(), CliError> {
    let checks = match context.client().await {
        Ok(client) => client.ask(v1::RunDiagnosticsRequest {}).await?.checks,
        Err(error) if offline::is_elsewhere(context) => return Err(error),
        Err(_) => without_node(context).await?,
    };
    tell(context, &checks)?;
    judged(checks.iter().map(v1::Diagnosis::outcome))
}

async fn without_node(context: &Context) -> Result<Vec<v1::Diagnosis>, CliError> {
    let config = context.config()?;
    remark(&format!("No node answers; this checks its folder {}.", config.data_dir.display()));
    let checks = tokio::task::spawn_blocking(move || diagnostics::of_folder(&config)).await;
    let checks = checks.map_err(|error| CliError::failed(format!("The checks broke off: {error}.")))?;
    Ok(checks.into_iter().map(told).collect())
}

/// A check as a node would tell it.
fn told(check: Check) -> v1::Diagnosis {
    let Check { id, title, outcome, evidence, fix } = check;
    let outcome = outcome_of(outcome).into();
    v1::Diagnosis { id: id.to_owned(), title: title.to_owned(), outcome, evidence, fix }
}

/// How a check went, as a node would tell it.
pub(super) fn outcome_of(outcome: Outcome) -> v1::CheckOutcome {
    match outcome {
        Outcome::Ok => v1::CheckOutcome::Ok,
        Outcome::Warning => v1::CheckOutcome::Warning,
        Outcome::Problem => v1::CheckOutcome::Problem,
    }
}

/// Fails if there is a problem; a warning is told and no more.
pub(super) fn judged(outcomes: impl Iterator<Item = v1::CheckOutcome>) -> Result<(), CliError> {
    match outcomes.filter(|outcome| *outcome == v1::CheckOutcome::Problem).count() {
        0 => Ok(()),
        1 => Err(CliError::failed("There is 1 problem.")),
        problems => Err(CliError::failed(format!("There are {problems} problems."))),
    }
}

/// How a check went, in a word.
pub(super) fn word(outcome: v1::CheckOutcome) -> &'static str {
    match outcome {
        v1::CheckOutcome::Unspecified => "unknown",
        v1::CheckOutcome::Ok => "ok",
        v1::CheckOutcome::Warning => "warning",
        v1::CheckOutcome::Problem => "PROBLEM",
    }
}

fn tell(context: &Context, checks: &[v1::Diagnosis]) -> Result<(), CliError> {
    if context.style == Style::Json {
        return checks.iter().try_for_each(|check| {
            let outcome = word(check.outcome()).to_lowercase();
            show(&json!({
                "id": check.id, "title": check.title, "outcome": outcome, "evidence": check.evidence, "fix": check.fix,
            }))
        });
    }
    let mut shown = Grid::new(&["ID", "OUTCOME", "SEEN", "WHAT TO DO"]);
    for check in checks {
        let outcome = word(check.outcome()).to_owned();
        shown.row([check.id.clone(), outcome, check.evidence.clone(), check.fix.clone()]);
    }
    grid(context.style, &shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_fail_and_warnings_do_not() {
        use v1::CheckOutcome::{Ok, Problem, Warning};
        let judged =
            |outcomes: &[v1::CheckOutcome]| judged(outcomes.iter().copied()).map_err(|error| error.to_string());
        assert_eq!(judged(&[Ok, Warning, Warning]), Result::Ok(()));
        assert_eq!(judged(&[Warning, Problem]), Err("There is 1 problem.".to_owned()));
        assert_eq!(judged(&[Problem, Problem]), Err("There are 2 problems.".to_owned()));
    }
}
