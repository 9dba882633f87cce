//! `openprod verify`: computes everything again that a workspace's history says of itself, and compares.

use std::ops::ControlFlow;

use openprod_client::v1;
use openprod_messages::log::LogReader as _;
use openprod_messages::snapshot::Snapshots as _;
use openprod_model::ids::WorkspaceId;
use serde_json::json;

use super::backup::offline::{self, Stopped};
use super::context::Context;
use super::doctor;
use super::error::CliError;
use super::export::bar::Bar;
use super::output::{Grid, Style, facts, grid, json as show};
use crate::storage;
use crate::verification::{self, Finding, Report, Subject};

/// What `verify` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// Reads the files of a node that does not run
    #[arg(long)]
    offline: bool,
}

/// Runs `verify`.
pub async fn run(args: VerifyArgs, context: &Context) -> Result<(), CliError> {
    let stopped = if args.offline { Some(offline::needed(context)?) } else { offline::stopped(context)? };
    let report = match stopped {
        Some(stopped) => without_node(context, stopped).await?,
        None => of_node(context).await?,
    };
    tell(context, &report)?;
    doctor::judged(report.findings.iter().map(v1::Finding::outcome))
}

async fn of_node(context: &Context) -> Result<v1::VerifyReport, CliError> {
    let workspace = context.workspace().await?;
    let (bar, mut report) = (Bar::new(), None);
    let mut answers = workspace.verify().await?;
    while let Some(answer) = answers.next().await? {
        match answer.event {
            Some(v1::verify_response::Event::Progress(progress)) => bar.told(&progress),
            Some(v1::verify_response::Event::Report(told)) => report = Some(told),
            None => {}
        }
    }
    report.ok_or_else(|| CliError::failed("The node did not say what it found."))
}

async fn without_node(context: &Context, stopped: Stopped) -> Result<v1::VerifyReport, CliError> {
    let ids = stopped.folder.workspaces()?;
    let id = offline::chosen(context.globals.workspace.as_deref(), &ids)?;
    let verified = tokio::task::spawn_blocking(move || of_files(&stopped, id)).await;
    verified.map_err(|error| CliError::failed(format!("The verification broke off: {error}.")))?
}

fn of_files(stopped: &Stopped, id: WorkspaceId) -> Result<v1::VerifyReport, CliError> {
    let files = stopped.folder.workspace(id);
    if !files.log().exists() {
        return Err(CliError::failed(format!("{} is missing.", files.log().display()))
            .next("Restore the last good backup with `openprod restore`."));
    }
    let stores = storage::open(&files, id, &stopped.config).map_err(CliError::failed)?;
    let failed = |why: String| CliError::failed(format!("The verification broke off: {why}."));
    let snapshot = stores.state.snapshot().map_err(|error| failed(error.to_string()))?;
    let tail = stores.log.tail().map_err(|error| failed(error.to_string()))?;
    // A state that lags would hide the end of the log.
    let snapshot = Some(snapshot).filter(|snapshot| snapshot.position() == tail.position);
    let bar = Bar::new();
    let subject = Subject { workspace: id, log: stores.log.clone(), snapshot };
    let report = verification::verify(&subject, &mut |progress| {
        bar.at(progress.stage.words(), progress.done, progress.total);
        ControlFlow::Continue(())
    });
    stores.state.close();
    report.map(told).map_err(|error| failed(error.to_string()))
}

/// The report as a node would tell it.
fn told(report: Report) -> v1::VerifyReport {
    let outcome = doctor::outcome_of(report.outcome()).into();
    let finding = |finding: Finding| v1::Finding {
        id: finding.id.to_owned(),
        outcome: doctor::outcome_of(finding.outcome).into(),
        sentence: finding.sentence,
        bundle_digest: finding.bundle.map(|digest| digest.to_string()).unwrap_or_default(),
        fix: finding.fix.to_owned(),
    };
    v1::VerifyReport {
        outcome,
        bundles: report.bundles,
        ops: report.ops,
        revision: report.revision.0,
        state_hash: report.state_hash.to_string(),
        findings: report.findings.into_iter().map(finding).collect(),
    }
}

fn tell(context: &Context, report: &v1::VerifyReport) -> Result<(), CliError> {
    let v1::VerifyReport { bundles, ops, revision, state_hash, findings, .. } = report;
    if context.style == Style::Json {
        let finding = |finding: &v1::Finding| {
            json!({
                "id": finding.id, "outcome": doctor::word(finding.outcome()), "sentence": finding.sentence,
                "bundle_digest": finding.bundle_digest, "fix": finding.fix,
            })
        };
        return show(&json!({
            "outcome": doctor::word(report.outcome()), "bundles": bundles, "ops": ops, "revision": revision,
            "state_hash": state_hash, "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        }));
    }
    let outcome = doctor::word(report.outcome()).to_owned();
    let numbers = [bundles, ops, revision].map(ToString::to_string);
    let [bundles, ops, revision] = numbers;
    facts(
        context.style,
        &[
            ("outcome", outcome),
            ("bundles", bundles),
            ("operations", ops),
            ("revision", revision),
            ("state hash", state_hash.clone()),
        ],
    )?;
    if findings.is_empty() {
        return Ok(());
    }
    let mut shown = Grid::new(&["ID", "OUTCOME", "FINDING", "BUNDLE", "WHAT TO DO"]);
    for finding in findings {
        let (outcome, bundle) = (doctor::word(finding.outcome()).to_owned(), finding.bundle_digest.chars().take(16));
        let (id, fix) = (finding.id.clone(), finding.fix.clone());
        shown.row([id, outcome, finding.sentence.clone(), bundle.collect(), fix]);
    }
    grid(context.style, &shown)
}
