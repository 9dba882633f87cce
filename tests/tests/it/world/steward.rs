//! What a careful person does to keep data safe: check, save, take out and in; and to look after the node itself.

// The method's own path would need tonic here, which is for the crates that speak it.
#![allow(clippy::redundant_closure_for_method_calls)]

use openprod_api::status::ApiError;
use openprod_client::error::Error;
use openprod_client::{Answers, Client, v1};
use openprod_model::ids::WorkspaceId;

use super::person::Person;

impl Person {
    /// Checks everything in the workspace.
    pub(crate) async fn verifies(&self) -> v1::VerifyReport {
        self.tries_to_verify().await.unwrap()
    }

    /// The same, where the state may be opened anew meanwhile: then the check breaks off.
    pub(crate) async fn tries_to_verify(&self) -> Result<v1::VerifyReport, Error> {
        use v1::verify_response::Event;
        let mut answers = self.workspace().verify().await?;
        loop {
            if let Some(Event::Report(report)) = answers.next().await?.expect("a report comes last").event {
                return Ok(report);
            }
        }
    }

    /// Asserts that the check finds nothing.
    pub(crate) async fn finds_all_well(&self) -> v1::VerifyReport {
        let report = self.verifies().await;
        assert!(report.findings.is_empty() && report.outcome() == v1::CheckOutcome::Ok, "{report:#?}");
        report
    }

    /// Writes a copy of the workspace while the node runs.
    pub(crate) async fn backs_up(&self, path: &str) -> v1::BackupReport {
        use v1::backup_response::Event;
        let mut answers = self.workspace().backup(path).await.unwrap();
        loop {
            if let Some(Event::Report(report)) = answers.next().await.unwrap().expect("a report comes last").event {
                return report;
            }
        }
    }

    /// The workspace as one file.
    pub(crate) async fn takes_out(&self) -> Vec<Vec<u8>> {
        pieces_of(self.workspace().export().await.unwrap()).await
    }

    /// The same with its files.
    pub(crate) async fn takes_out_with_files(&self) -> Vec<Vec<u8>> {
        pieces_of(self.workspace().export_with_blobs().await.unwrap()).await
    }

    /// Exchanges with somebody at another node all that either has done, by a stick.
    pub(crate) async fn meets(&self, other: &Self) {
        let (mine, theirs) = (self.takes_out().await, other.takes_out().await);
        for (person, file) in [(other, mine), (self, theirs)] {
            let taken = brings_in(&person.client, file).await.unwrap();
            assert_eq!(taken.refused_bundles, 0, "{taken:?}");
        }
    }

    /// Asserts that everybody's node holds the same state, and that it stands up to every check.
    pub(crate) async fn agrees_with(&self, others: &[&Self]) {
        let own = self.finds_all_well().await;
        for other in others {
            let theirs = other.finds_all_well().await;
            assert_eq!(theirs.state_hash, own.state_hash, "{} and {} see different states", self.name, other.name);
        }
    }

    /// The bundles that are not whole, or not taken in.
    pub(crate) async fn lists_quarantine(&self) -> Vec<v1::Quarantined> {
        self.reads(v1::ListQuarantineRequest::default()).await.items
    }

    /// One of them, as far as it can be read.
    pub(crate) async fn looks_at_quarantined(&self, number: u64) -> v1::GetQuarantinedResponse {
        self.reads(v1::GetQuarantinedRequest { number, ..Default::default() }).await
    }

    /// Tries again to take it in.
    pub(crate) async fn retries_quarantined(&self, number: u64) -> v1::RetryQuarantinedResponse {
        self.reads(v1::RetryQuarantinedRequest { number, ..Default::default() }).await
    }

    /// Silences its alarm.
    pub(crate) async fn skips_quarantined(&self, number: u64) {
        self.reads(v1::SkipQuarantinedRequest { number, ..Default::default() }).await;
    }

    /// Takes some in whose author was removed meanwhile.
    pub(crate) async fn takes_over(&self, numbers: &[u64]) -> v1::TakeQuarantinedResponse {
        let (numbers, actor) = (numbers.to_vec(), self.actor.to_string());
        self.reads(v1::TakeQuarantinedRequest { numbers, actor, ..Default::default() }).await
    }

    /// The bundles that wait for others.
    pub(crate) async fn lists_waiting(&self) -> Vec<v1::WaitingBundle> {
        self.reads(v1::ListWaitingRequest::default()).await.items
    }

    /// Its bytes.
    pub(crate) async fn takes_quarantined(&self, number: u64) -> Vec<u8> {
        self.reads(v1::ExportQuarantinedRequest { number, ..Default::default() }).await.content
    }

    /// How the workspace is.
    pub(crate) async fn asks_how_it_is(&self) -> v1::WorkspaceStatus {
        let id = self.workspace_id().to_string();
        let status = self.client.ask(v1::GetStatusRequest {}).await.unwrap();
        status.workspaces.into_iter().find(|workspace| workspace.workspace == id).unwrap()
    }

    /// What the node is.
    pub(crate) async fn asks_what_it_is(&self) -> v1::GetInfoResponse {
        self.client.ask(v1::GetInfoRequest {}).await.unwrap()
    }

    /// Has the node check itself.
    pub(crate) async fn has_it_checked(&self) -> Vec<v1::Diagnosis> {
        self.client.ask(v1::RunDiagnosticsRequest {}).await.unwrap().checks
    }

    /// Who can act at the node.
    pub(crate) async fn lists_identities(&self) -> Vec<String> {
        self.client.identities().await.unwrap().into_iter().map(|identity| identity.display_name).collect()
    }

    /// The own identity, sealed.
    pub(crate) async fn packs_identity(&self, passphrase: &str) -> String {
        let (actor, passphrase) = (self.actor.to_string(), passphrase.to_owned());
        self.client.ask(v1::ExportIdentityRequest { actor, passphrase }).await.unwrap().text
    }

    /// From now on this identity acts where a request names none.
    pub(crate) async fn lets_act_by_default(&self, actor: &str) -> v1::Identity {
        let request = v1::SetDefaultIdentityRequest { actor: actor.to_owned() };
        self.client.ask(request).await.unwrap().identity.unwrap()
    }

    /// Changes how much the node writes to its log; gives what it was.
    pub(crate) async fn turns_the_log_to(&self, filter: &str) -> String {
        self.client.ask(v1::SetLogLevelRequest { filter: filter.to_owned() }).await.unwrap().previous_filter
    }
}

/// The bytes of a workspace file, in pieces as they come.
async fn pieces_of(mut answers: Answers<v1::ExportWorkspaceResponse>) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some(answer) = answers.next().await.unwrap() {
        if !answer.chunk.is_empty() {
            pieces.push(answer.chunk);
        }
    }
    pieces
}

/// Takes a workspace file into the node of that client.
pub(crate) async fn brings_in(client: &Client, pieces: Vec<Vec<u8>>) -> Result<v1::ImportWorkspaceResponse, ApiError> {
    let pieces = pieces.into_iter().map(|chunk| v1::ImportWorkspaceRequest { chunk });
    let pieces = tokio_stream::iter(pieces.collect::<Vec<_>>());
    let answer = client.workspaces().import_workspace(pieces).await;
    answer.map(|answer| answer.into_inner()).map_err(ApiError::from)
}

/// Unpacks an identity at the node of that client.
pub(crate) async fn unpacks_identity(
    client: &Client,
    text: &str,
    passphrase: &str,
) -> Result<v1::ImportIdentityResponse, ApiError> {
    let (text, passphrase) = (text.to_owned(), passphrase.to_owned());
    let request = v1::ImportIdentityRequest { text, passphrase, display_name: "Brought".to_owned() };
    client.nodes().import_identity(request).await.map(|answer| answer.into_inner()).map_err(ApiError::from)
}

/// The id of a workspace by its words.
pub(crate) fn workspace_id(text: &str) -> WorkspaceId {
    text.parse().unwrap()
}
