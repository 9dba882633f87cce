//! A person at a node: one client, one session, one identity; verbs that change things.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openprod_api::status::ApiError;
use openprod_client::{Change, Client, Endpoint, Patience, Workspace, v1};
use openprod_model::ids::{ActorId, OverlayId, WorkspaceId};

use super::speak::*;
use super::{Names, Node};

/// A record or an edge: its id, and the table of a record that was added under a name.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) table: String,
    pub(crate) id: String,
}

/// A person.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) actor: ActorId,
    pub(crate) client: Client,
    pub(super) at: PathBuf,
    pub(super) names: Names,
    workspace: Option<WorkspaceId>,
    /// The overlay that this person looks through and works in, if any.
    overlay: Option<OverlayId>,
    /// The last revision that this person was shown, if any.
    base: Arc<Mutex<Option<u64>>>,
}

/// Connects to the node that listens there.
pub(crate) async fn connected(to: Endpoint) -> Client {
    let patience = Patience { attempt: std::time::Duration::from_secs(20), ..Patience::default() };
    Client::connect_with(to, patience).await.unwrap()
}

impl Person {
    /// Sits down at the node, with a new identity.
    pub(crate) async fn arrives(node: &Node, name: &str, names: Names) -> Self {
        Self::sits_down(connected(node.socket()).await, node.folder(), name, names).await
    }

    /// Sits down at the node in that folder, with a new identity.
    pub(crate) async fn sits_down(client: Client, node: &Path, name: &str, names: Names) -> Self {
        let actor = client.create_identity(name).await.unwrap().identity.unwrap().actor.parse().unwrap();
        let at = node.to_owned();
        Self { name: name.to_owned(), actor, client, at, names, workspace: None, overlay: None, base: Arc::default() }
    }

    /// The same person, at work in that workspace.
    pub(crate) fn in_workspace(self, id: WorkspaceId) -> Self {
        Self { workspace: Some(id), ..self }
    }

    /// The same person, looking through an overlay and working in it.
    pub(crate) fn in_overlay(&self, overlay: OverlayId) -> Self {
        Self { overlay: Some(overlay), ..self.clone() }
    }

    /// The same person in a second browser: another session, which has seen nothing yet.
    pub(crate) async fn in_another_browser(&self) -> Self {
        let client = connected(Endpoint::Socket(self.at.join("openprod.sock"))).await;
        Self { client, base: Arc::default(), ..self.clone() }
    }

    /// The same person through another door.
    pub(crate) async fn through(&self, door: Endpoint) -> Self {
        Self { client: connected(door).await, base: Arc::default(), ..self.clone() }
    }

    /// At this one's node, but with the identity of somebody who has unpacked it there.
    pub(crate) fn with_identity_of(self, other: &Self) -> Self {
        Self { actor: other.actor, name: other.name.clone(), ..self }
    }

    /// The same person, who types at the node in that folder.
    pub(crate) fn in_folder(self, node: &Path) -> Self {
        Self { at: node.to_owned(), ..self }
    }

    /// The workspace, as this person acts in it.
    pub(crate) fn workspace(&self) -> Workspace {
        let workspace = self.client.workspace(self.workspace_id()).acting_as(self.actor);
        match self.overlay {
            Some(overlay) => workspace.through(overlay),
            None => workspace,
        }
    }

    /// Its id.
    pub(crate) fn workspace_id(&self) -> WorkspaceId {
        self.workspace.expect("this person works nowhere yet")
    }

    /// Whether this person works in a workspace.
    pub(super) fn is_at_work(&self) -> bool {
        self.workspace.is_some()
    }

    /// The id of what people call so; an id stands for itself.
    pub(crate) fn id(&self, name: &str) -> String {
        self.names.lock().unwrap().get(name).map_or_else(|| name.to_owned(), |thing| thing.id.clone())
    }

    pub(super) fn table_of(&self, name: &str) -> String {
        self.names.lock().unwrap().get(name).unwrap_or_else(|| panic!("nobody has added {name}")).table.clone()
    }

    /// Remembers the last revision that was shown.
    pub(super) fn was_shown(&self, revision: u64) {
        let mut base = self.base.lock().unwrap();
        *base = Some(base.unwrap_or_default().max(revision));
    }

    /// The last revision that was shown.
    pub(crate) fn has_seen(&self) -> Option<u64> {
        *self.base.lock().unwrap()
    }

    fn change(&self, commands: Vec<v1::Command>) -> Change {
        match self.has_seen() {
            Some(base) => Change::new(commands).base(base),
            None => Change::new(commands),
        }
    }

    /// Makes commands happen as one bundle, on what this person has seen.
    pub(crate) async fn does(&self, commands: Vec<v1::Command>) -> v1::ExecuteResponse {
        self.brings(&self.change(commands)).await
    }

    /// Makes a change happen.
    pub(crate) async fn brings(&self, change: &Change) -> v1::ExecuteResponse {
        let done = self.workspace().execute(change).await;
        done.unwrap_or_else(|error| panic!("{} was refused: {error} {error:?}", self.name))
    }

    /// Tries commands that are to be refused, as they come over the wire.
    pub(crate) async fn fails_at(&self, commands: Vec<v1::Command>) -> ApiError {
        self.fails_to_send(self.request(commands)).await
    }

    /// A request of these commands.
    pub(crate) fn request(&self, commands: Vec<v1::Command>) -> v1::ExecuteRequest {
        v1::ExecuteRequest {
            command_id: fresh_id(),
            workspace: self.workspace_id().to_string(),
            actor: self.actor.to_string(),
            session: self.client.session().to_string(),
            base: self.has_seen(),
            overlay: self.overlay.map(|overlay| overlay.to_string()),
            commands,
            ..Default::default()
        }
    }

    /// Sends a request that is to be refused.
    pub(crate) async fn fails_to_send(&self, request: v1::ExecuteRequest) -> ApiError {
        ApiError::from(self.client.commands().execute(request).await.expect_err("this should have been refused"))
    }

    /// Decides what stands open in these fields.
    pub(crate) async fn decides(&self, record: &str, column: &str, to: impl Into<Is>) -> v1::ExecuteResponse {
        let command = set_fields(&self.id(record), &self.table_of(record), vec![set_to(column, to)]);
        self.brings(&self.change(vec![command]).stance(v1::Stance::Decide)).await
    }

    /// Founds a workspace.
    pub(crate) async fn founds(&self, name: &str) -> WorkspaceId {
        self.client.create_workspace(name, Some(self.actor)).await.unwrap().workspace.parse().unwrap()
    }

    /// Makes a table whose first column is called name.
    pub(crate) async fn makes_table(&self, name: &str, columns: &[&str]) {
        let columns: Vec<&str> = ["name text required"].into_iter().chain(columns.iter().copied()).collect();
        self.does(vec![create_table(name, &columns)]).await;
    }

    /// Changes a table.
    pub(crate) async fn alters(&self, table: &str, change: v1::table_change::Kind) -> v1::ExecuteResponse {
        self.does(vec![alter_table(table, vec![change])]).await
    }

    /// Hides a table.
    pub(crate) async fn drops(&self, table: &str) -> v1::ExecuteResponse {
        self.does(vec![drop_table(table)]).await
    }

    /// Adds a record, to be called by its name from now on.
    pub(crate) async fn adds(&self, table: &str, name: &str, row: Vec<v1::FieldValue>) -> String {
        let row = [set_to("name", name)].into_iter().chain(row).collect();
        let done = self.does(vec![create_record("", table, row)]).await;
        self.calls_it(name, table, &done)
    }

    /// Brings a removed record back.
    pub(crate) async fn brings_back(&self, record: &str) -> v1::ExecuteResponse {
        self.does(vec![create_record(&self.id(record), &self.table_of(record), Vec::new())]).await
    }

    fn calls_it(&self, name: &str, table: &str, done: &v1::ExecuteResponse) -> String {
        use v1::created::Thing as Made;
        let id = match done.created[0].thing.clone().unwrap() {
            Made::Record(id) | Made::Edge(id) => id,
        };
        let thing = Thing { table: table.to_owned(), id: id.clone() };
        self.names.lock().unwrap().insert(name.to_owned(), thing);
        id
    }

    /// Makes a record one of another table too.
    pub(crate) async fn lists_also(&self, record: &str, table: &str, row: Vec<v1::FieldValue>) {
        self.does(vec![add_to_table(&self.id(record), table, row)]).await;
    }

    /// Takes a record out of a table.
    pub(crate) async fn removes(&self, record: &str, table: &str) -> v1::ExecuteResponse {
        self.does(vec![remove_from_table(&self.id(record), table)]).await
    }

    /// Takes a record out of all its tables.
    pub(crate) async fn deletes(&self, record: &str) -> v1::ExecuteResponse {
        self.does(vec![delete_record(&self.id(record))]).await
    }

    /// Sets a field.
    pub(crate) async fn sets(&self, record: &str, column: &str, to: impl Into<Is>) -> v1::ExecuteResponse {
        self.does(vec![set_fields(&self.id(record), &self.table_of(record), vec![set_to(column, to)])]).await
    }

    /// Clears a field.
    pub(crate) async fn clears(&self, record: &str, column: &str) -> v1::ExecuteResponse {
        self.does(vec![set_fields(&self.id(record), &self.table_of(record), vec![cleared(column)])]).await
    }

    /// Joins two records; the edge is called `source-target`.
    pub(crate) async fn joins(&self, source: &str, kind: &str, target: &str) -> String {
        self.joins_at(source, kind, target, None).await
    }

    /// Joins two records at a place among the sources of the target.
    pub(crate) async fn joins_at(&self, source: &str, kind: &str, target: &str, place: Option<v1::Place>) -> String {
        let done = self.does(vec![create_edge(kind, &self.id(source), &self.id(target), place)]).await;
        self.calls_it(&format!("{source}-{target}"), kind, &done)
    }

    /// Moves an ordered edge.
    pub(crate) async fn moves(&self, edge: &str, place: v1::Place) -> v1::ExecuteResponse {
        self.does(vec![move_edge(&self.id(edge), place)]).await
    }

    /// Removes an edge.
    pub(crate) async fn parts(&self, edge: &str) -> v1::ExecuteResponse {
        self.does(vec![delete_edge(&self.id(edge))]).await
    }

    /// Notes something on an edge.
    pub(crate) async fn notes(&self, edge: &str, property: &str, to: impl Into<Is>) -> v1::ExecuteResponse {
        self.does(vec![set_edge_properties(&self.id(edge), property, Some(value(to)))]).await
    }

    /// Changes a setting.
    pub(crate) async fn settles(&self, setting: &str, to: impl Into<Is>) -> v1::ExecuteResponse {
        self.does(vec![put_setting(setting, Some(value(to)))]).await
    }

    /// Admits somebody.
    pub(crate) async fn admits(&self, whom: &Person) -> v1::ExecuteResponse {
        self.does(vec![admit_member(&whom.actor.to_string(), &whom.name)]).await
    }

    /// Removes a member.
    pub(crate) async fn dismisses(&self, whom: &Person, why: &str) -> v1::ExecuteResponse {
        self.does(vec![remove_member(&whom.actor.to_string(), why)]).await
    }

    /// Gives somebody a name.
    pub(crate) async fn calls(&self, whom: &Person, name: &str) -> v1::ExecuteResponse {
        self.does(vec![name_actor(&whom.actor.to_string(), name)]).await
    }

    /// Decides a conflict for the candidate that reads so.
    pub(crate) async fn resolves(&self, conflict: &v1::Conflict, to: &str) -> v1::ExecuteResponse {
        let says = |one: &&v1::ConflictCandidate| {
            one.content.as_ref().is_some_and(|content| match &content.content {
                Some(v1::cell_content::Content::Value(value)) => aloud(Some(value)) == to,
                _ => false,
            })
        };
        let found = conflict.candidates.iter().find(says).unwrap_or_else(|| panic!("nobody said {to}: {conflict:?}"));
        self.rules(conflict, v1::resolve::Choice::Candidate(found.writes[0].op.clone())).await
    }

    /// Decides a conflict otherwise.
    pub(crate) async fn rules(&self, conflict: &v1::Conflict, choice: v1::resolve::Choice) -> v1::ExecuteResponse {
        self.does(vec![resolve(conflict, choice)]).await
    }

    /// Undoes the own last change; tells its label.
    pub(crate) async fn undoes(&self) -> String {
        self.brings(&Change::undo(v1::UndoScope::Mine, None)).await.undone.unwrap().label
    }

    /// Does again what was undone last; tells its label.
    pub(crate) async fn redoes(&self) -> String {
        self.brings(&Change::redo(v1::UndoScope::Mine, None)).await.redone.unwrap().label
    }

    /// Tries an undo or a redo that is to be refused; tells why.
    pub(crate) async fn cannot(&self, change: Change) -> String {
        let error = self.workspace().execute(&change).await.expect_err("this should have been refused");
        error.to_string()
    }

    /// Makes an identity for somebody else at the same node.
    pub(crate) async fn makes_identity(&self, name: &str) -> v1::Identity {
        self.client.create_identity(name).await.unwrap().identity.unwrap()
    }

    /// Everything that anybody could see of the workspace, to find that nothing has changed.
    pub(crate) async fn everything(&self) -> (u64, HashMap<String, Vec<v1::Record>>) {
        let described = self.describes().await;
        let mut all = HashMap::new();
        for table in self.workspace().list_tables().await.unwrap() {
            all.insert(table.key.clone(), self.workspace().records(&table.key).all().await.unwrap());
        }
        (described.revision, all)
    }
}
