//! Overlays: staging changes on the node, looking at them, and committing or discarding all of them.
//!
//! [`Workspace::through`] gives a handle that reads through an overlay and stages what it changes. The verbs here take
//! the overlay's id; each makes one command id, under which a lost answer is asked for again.

use openprod_api::v1;
use openprod_model::ids::OverlayId;

use crate::commands::Change;
use crate::connect::Workspace;
use crate::error::Error;
use crate::ids;
use crate::reads::Pages;

fn fresh() -> String {
    ids::command().to_string()
}

impl Workspace {
    /// The overlays, by name.
    pub async fn list_overlays(&self) -> Result<Vec<v1::Overlay>, Error> {
        Ok(self.read(v1::ListOverlaysRequest::default()).await?.overlays)
    }

    /// Makes an empty overlay. `label` is for its commit and may be empty; `source` is the file that it is for.
    pub async fn create_overlay(
        &self,
        name: &str,
        label: &str,
        source: Option<v1::Source>,
    ) -> Result<v1::Overlay, Error> {
        let (command_id, name, label) = (fresh(), name.to_owned(), label.to_owned());
        let made =
            self.read(v1::CreateOverlayRequest { command_id, name, label, source, ..Default::default() }).await?;
        Ok(made.overlay.unwrap_or_default())
    }

    /// Calls an overlay something else.
    pub async fn rename_overlay(&self, overlay: OverlayId, name: &str) -> Result<(), Error> {
        let (command_id, overlay, name) = (fresh(), overlay.to_string(), name.to_owned());
        self.read(v1::RenameOverlayRequest { command_id, overlay, name, ..Default::default() }).await.map(drop)
    }

    /// Makes an overlay the one that changes of this client's session are staged in, until the node restarts.
    pub async fn activate_overlay(&self, overlay: OverlayId) -> Result<(), Error> {
        let (overlay, session) = (overlay.to_string(), self.client().session().to_string());
        self.read(v1::ActivateOverlayRequest { overlay, session, ..Default::default() }).await.map(drop)
    }

    /// Stages changes of this client's session in no overlay any more.
    pub async fn deactivate_overlay(&self) -> Result<(), Error> {
        let session = self.client().session().to_string();
        self.read(v1::DeactivateOverlayRequest { session, ..Default::default() }).await.map(drop)
    }

    /// Sets an overlay aside.
    pub async fn stash_overlay(&self, overlay: OverlayId) -> Result<(), Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        self.read(v1::StashOverlayRequest { command_id, overlay, ..Default::default() }).await.map(drop)
    }

    /// Takes a stashed overlay up again.
    pub async fn recall_overlay(&self, overlay: OverlayId) -> Result<(), Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        self.read(v1::RecallOverlayRequest { command_id, overlay, ..Default::default() }).await.map(drop)
    }

    /// Drops an overlay with everything staged in it.
    pub async fn discard_overlay(&self, overlay: OverlayId) -> Result<(), Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        self.read(v1::DiscardOverlayRequest { command_id, overlay, ..Default::default() }).await.map(drop)
    }

    /// Commits everything that an overlay stages, as one bundle.
    pub async fn commit_overlay(&self, overlay: OverlayId) -> Result<v1::ExecuteResponse, Error> {
        let commit = v1::CommitOverlay { overlay: overlay.to_string() };
        self.execute(&Change::new([v1::Command { kind: Some(v1::command::Kind::CommitOverlay(commit)) }])).await
    }

    /// What an overlay would change; the first page counts it.
    pub fn preview_overlay(&self, overlay: OverlayId) -> Pages<v1::PreviewOverlayRequest> {
        self.pages(v1::PreviewOverlayRequest { overlay: overlay.to_string(), ..Default::default() })
    }

    /// What others have changed that an overlay also changes.
    pub fn drift(&self, overlay: OverlayId) -> Pages<v1::ListDriftRequest> {
        self.pages(v1::ListDriftRequest { overlay: overlay.to_string(), ..Default::default() })
    }

    /// Decides the drift of these cells, of all if there are none: what is staged is to stand. `base` is the revision at
    /// which the drift was listed.
    pub async fn keep_mine(&self, overlay: OverlayId, cells: Vec<v1::Cell>, base: Option<u64>) -> Result<(), Error> {
        let (command_id, overlay, all) = (fresh(), overlay.to_string(), cells.is_empty());
        self.read(v1::KeepMineRequest { command_id, overlay, cells, all, base, ..Default::default() }).await.map(drop)
    }

    /// Decides the drift of these cells, of all if there are none: what others wrote is to stand.
    pub async fn use_canonical(&self, overlay: OverlayId, cells: Vec<v1::Cell>) -> Result<(), Error> {
        let (command_id, overlay, all) = (fresh(), overlay.to_string(), cells.is_empty());
        self.read(v1::UseCanonicalRequest { command_id, overlay, cells, all, ..Default::default() }).await.map(drop)
    }

    /// Takes cells, and records with everything staged of them, out of an overlay.
    pub async fn knock_out(&self, overlay: OverlayId, cells: Vec<v1::Cell>, records: Vec<String>) -> Result<(), Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        self.read(v1::KnockOutRequest { command_id, overlay, cells, records, ..Default::default() }).await.map(drop)
    }

    /// Takes the last step within an overlay back, and tells what it had done.
    pub async fn undo_staged(&self, overlay: OverlayId) -> Result<String, Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        Ok(self.read(v1::UndoStagedRequest { command_id, overlay, ..Default::default() }).await?.label)
    }

    /// Does the step within an overlay again that was taken back last, and tells what it does.
    pub async fn redo_staged(&self, overlay: OverlayId) -> Result<String, Error> {
        let (command_id, overlay) = (fresh(), overlay.to_string());
        Ok(self.read(v1::RedoStagedRequest { command_id, overlay, ..Default::default() }).await?.label)
    }
}
