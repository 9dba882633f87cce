//! What people do with overlays.

use openprod_client::v1;
use openprod_model::ids::OverlayId;

use super::person::Person;
use super::speak::*;

impl Person {
    /// Opens an overlay and works in it from now on.
    pub(crate) async fn opens_overlay(&self, name: &str) -> Self {
        let made = self.workspace().create_overlay(name, "", None).await.unwrap();
        self.in_overlay(made.overlay.parse().unwrap())
    }

    /// The overlay of that name.
    pub(crate) async fn overlay_id(&self, name: &str) -> OverlayId {
        let all = self.workspace().list_overlays().await.unwrap();
        let one = all.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no overlay {name}: {all:?}"));
        one.overlay.parse().unwrap()
    }

    /// The names of the overlays.
    pub(crate) async fn lists_overlays(&self) -> Vec<String> {
        self.workspace().list_overlays().await.unwrap().into_iter().map(|overlay| overlay.name).collect()
    }

    /// An overlay as it is.
    pub(crate) async fn looks_at_overlay(&self, name: &str) -> v1::Overlay {
        let overlay = self.overlay_id(name).await.to_string();
        let told = self.workspace().read(v1::GetOverlayRequest { overlay, ..Default::default() }).await.unwrap();
        told.overlay.unwrap()
    }

    /// Calls it something else.
    pub(crate) async fn renames_overlay(&self, name: &str, to: &str) {
        self.workspace().rename_overlay(self.overlay_id(name).await, to).await.unwrap();
    }

    /// Stages in it whatever this session does from now on.
    pub(crate) async fn works_in(&self, name: &str) {
        self.workspace().activate_overlay(self.overlay_id(name).await).await.unwrap();
    }

    /// Stages nothing more.
    pub(crate) async fn leaves_overlay(&self) {
        self.workspace().deactivate_overlay().await.unwrap();
    }

    /// Sets it aside.
    pub(crate) async fn stashes(&self, name: &str) {
        self.workspace().stash_overlay(self.overlay_id(name).await).await.unwrap();
    }

    /// Takes it up again.
    pub(crate) async fn recalls(&self, name: &str) {
        self.workspace().recall_overlay(self.overlay_id(name).await).await.unwrap();
    }

    /// Drops it.
    pub(crate) async fn discards(&self, name: &str) {
        self.workspace().discard_overlay(self.overlay_id(name).await).await.unwrap();
    }

    /// Commits it.
    pub(crate) async fn commits(&self, name: &str) -> v1::ExecuteResponse {
        self.workspace().commit_overlay(self.overlay_id(name).await).await.unwrap()
    }

    /// What it would change: how much, and what.
    pub(crate) async fn previews(&self, name: &str) -> (v1::PreviewCounts, Vec<v1::Difference>) {
        self.catches_up().await;
        let mut pages = self.workspace().preview_overlay(self.overlay_id(name).await);
        let (mut counts, mut all) = (None, Vec::new());
        while let Some(page) = pages.next().await.unwrap() {
            counts = counts.or(page.counts);
            all.extend(page.differences);
        }
        (counts.unwrap(), all)
    }

    /// What has drifted, a sentence each.
    pub(crate) async fn finds_drift(&self, name: &str) -> Vec<String> {
        self.catches_up().await;
        let all = self.workspace().drift(self.overlay_id(name).await).all().await.unwrap();
        all.into_iter().map(|drifted| drifted.sentence).collect()
    }

    /// Keeps what is staged in a field, or in all that has drifted.
    pub(crate) async fn keeps_mine(&self, name: &str, field: Option<(&str, &str)>) {
        let cells = self.fields(field);
        self.workspace().keep_mine(self.overlay_id(name).await, cells, None).await.unwrap();
    }

    /// Uses what others wrote into a field, or into all that has drifted.
    pub(crate) async fn uses_canonical(&self, name: &str, field: Option<(&str, &str)>) {
        let cells = self.fields(field);
        self.workspace().use_canonical(self.overlay_id(name).await, cells).await.unwrap();
    }

    fn fields(&self, field: Option<(&str, &str)>) -> Vec<v1::Cell> {
        let cell = |(record, column): (&str, &str)| field_cell(&self.table_of(record), &self.id(record), column);
        field.map(cell).into_iter().collect()
    }

    /// Takes a record out of it.
    pub(crate) async fn knocks_out(&self, name: &str, record: &str) {
        let records = vec![self.id(record)];
        self.workspace().knock_out(self.overlay_id(name).await, Vec::new(), records).await.unwrap();
    }

    /// Takes the last step in it back.
    pub(crate) async fn takes_back(&self, name: &str) -> String {
        self.workspace().undo_staged(self.overlay_id(name).await).await.unwrap()
    }

    /// Does it again.
    pub(crate) async fn does_again(&self, name: &str) -> String {
        self.workspace().redo_staged(self.overlay_id(name).await).await.unwrap()
    }
}
