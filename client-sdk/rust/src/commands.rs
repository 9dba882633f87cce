//! Writing: changes that happen once, however often they are sent.

use openprod_api::v1;
use openprod_model::ids::{ActorId, CommandId};
use tonic::Request;

use crate::connect::{Client, Workspace};
use crate::error::Error;
use crate::ids;

/// A list of commands that happen together or not at all, under one command id.
///
/// Keep it until its outcome is known: executing it again gives the first answer again.
#[derive(Debug, Clone)]
pub struct Change {
    command_id: CommandId,
    base: Option<u64>,
    stance: v1::Stance,
    kind: v1::ExecuteKind,
    label: Option<String>,
    source: Option<v1::Source>,
    commands: Vec<v1::Command>,
    stage: Stage,
}

/// Where a change is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Where the workspace's handle says; if it says nothing, where the session does.
    Anywhere,
    /// Nowhere.
    Nowhere,
}

impl Change {
    /// A change by these commands, under a fresh command id.
    pub fn new(commands: impl IntoIterator<Item = impl Into<v1::Command>>) -> Self {
        Self {
            command_id: ids::command(),
            base: None,
            stance: v1::Stance::Beside,
            kind: v1::ExecuteKind::Edit,
            label: None,
            source: None,
            commands: commands.into_iter().map(Into::into).collect(),
            stage: Stage::Anywhere,
        }
    }

    /// The undo of a bundle, named by its digest or id, or of the next one that this scope knows.
    pub fn undo(scope: v1::UndoScope, bundle: Option<&str>) -> Self {
        let undo = v1::Undo { scope: scope.into(), bundle: bundle.unwrap_or_default().to_owned() };
        Self::new([v1::Command { kind: Some(v1::command::Kind::Undo(undo)) }])
    }

    /// The redo of a bundle that was undone, likewise.
    pub fn redo(scope: v1::UndoScope, bundle: Option<&str>) -> Self {
        let redo = v1::Redo { scope: scope.into(), bundle: bundle.unwrap_or_default().to_owned() };
        Self::new([v1::Command { kind: Some(v1::command::Kind::Redo(redo)) }])
    }

    /// The decision of conflicts: what each is about, and what holds from now on. One bundle, one operation for each.
    pub fn resolve(decisions: impl IntoIterator<Item = (v1::Cell, v1::resolve::Choice)>) -> Self {
        let resolve = |(cell, choice)| v1::Resolve { cell: Some(cell), choice: Some(choice) };
        let command = |decision| v1::Command { kind: Some(v1::command::Kind::Resolve(resolve(decision))) };
        Self::new(decisions.into_iter().map(command))
    }

    /// Under this command id: of an earlier run of the program, say.
    pub fn under(self, command_id: CommandId) -> Self {
        Self { command_id, ..self }
    }

    /// Made when this revision was the last that a read or a watch had shown; never that of a reply to a change.
    pub fn base(self, revision: u64) -> Self {
        Self { base: Some(revision), ..self }
    }

    /// What it does where it meets values that its author may not know.
    pub fn stance(self, stance: v1::Stance) -> Self {
        Self { stance, ..self }
    }

    /// The sentence for history, in the imperative.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// An import from that source.
    pub fn import_from(self, source: v1::Source) -> Self {
        Self { kind: v1::ExecuteKind::Import, source: Some(source), ..self }
    }

    /// Not staged, whatever overlay is active in this client's session.
    pub fn canonical(self) -> Self {
        Self { stage: Stage::Nowhere, ..self }
    }

    /// Its id.
    pub fn command_id(&self) -> CommandId {
        self.command_id
    }

    fn request(&self, workspace: &Workspace) -> v1::ExecuteRequest {
        v1::ExecuteRequest {
            command_id: self.command_id.to_string(),
            workspace: workspace.id().to_string(),
            actor: workspace.actor().map(|actor| actor.to_string()).unwrap_or_default(),
            session: workspace.client().session().to_string(),
            base: self.base,
            stance: self.stance.into(),
            kind: self.kind.into(),
            label: self.label.clone(),
            source: self.source.clone(),
            commands: self.commands.clone(),
            overlay: match self.stage {
                Stage::Nowhere => Some(String::new()),
                Stage::Anywhere => workspace.overlay().map(|overlay| overlay.to_string()),
            },
        }
    }
}

impl Workspace {
    /// Makes a change, and returns when it is on the node's disk.
    ///
    /// A lost connection, a restarting node and a passed deadline are retried under the same command id. Where that
    /// fails too, the outcome is not known; executing the same change later tells.
    pub async fn execute(&self, change: &Change) -> Result<v1::ExecuteResponse, Error> {
        let request = change.request(self);
        let client = self.client();
        let call = |deadline| {
            let mut request = Request::new(request.clone());
            request.set_timeout(deadline);
            let mut commands = client.commands();
            async move { commands.execute(request).await }
        };
        let done = client.patience().safely(client.at(), call).await?.into_inner();
        self.note(done.revision);
        Ok(done)
    }
}

impl Client {
    /// Makes an empty workspace, founded by `founder` or by the node's default identity.
    pub async fn create_workspace(
        &self,
        name: &str,
        founder: Option<ActorId>,
    ) -> Result<v1::CreateWorkspaceResponse, Error> {
        let message = v1::CreateWorkspaceRequest {
            command_id: ids::command().to_string(),
            name: name.to_owned(),
            founder: founder.map(|actor| actor.to_string()).unwrap_or_default(),
        };
        let call = |deadline| {
            let mut request = Request::new(message.clone());
            request.set_timeout(deadline);
            let mut workspaces = self.workspaces();
            async move { workspaces.create_workspace(request).await }
        };
        Ok(self.patience().safely(self.at(), call).await?.into_inner())
    }

    /// Makes an identity on the node. It has no command id, so that it is never retried.
    pub async fn create_identity(&self, display_name: &str) -> Result<v1::CreateIdentityResponse, Error> {
        let message = v1::CreateIdentityRequest { display_name: display_name.to_owned() };
        let call = async |deadline| {
            let mut request = Request::new(message);
            request.set_timeout(deadline);
            self.nodes().create_identity(request).await
        };
        Ok(self.patience().once(self.at(), call).await?.into_inner())
    }
}
