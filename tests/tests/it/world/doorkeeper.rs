//! What people do about those who want to join: tickets, requests, and the recovery key.

// The method's own path would need tonic here, which is for the crates that speak it.
#![allow(clippy::redundant_closure_for_method_calls)]

use openprod_api::status::ApiError;
use openprod_client::{Client, Error, v1};

use super::mesh::{LOOK_EVERY, PATIENCE};
use super::person::Person;

impl Person {
    /// Joins by a ticket or a recovery key, or asks at an address: the name of what was joined. `compare` is given the
    /// code, if there is one.
    pub(crate) async fn tries_to_join(
        &self,
        ticket: &str,
        address: &str,
        compare: impl AsyncFn(String),
    ) -> Result<String, Error> {
        use v1::join_response::Event;
        let (ticket, address, actor) = (ticket.to_owned(), address.to_owned(), self.actor.to_string());
        let mut answers = self.client.join(v1::JoinRequest { ticket, address, actor, ..Default::default() }).await?;
        loop {
            match answers.next().await?.expect("the last answer tells what was joined").event {
                Some(Event::Comparison(shown)) => compare(shown.code).await,
                Some(Event::Joined(joined)) => return Ok(joined.name),
                None => {}
            }
        }
    }

    /// Makes a ticket for so many nodes.
    pub(crate) async fn invites(&self, uses: u32) -> v1::CreateInviteResponse {
        let actor = self.actor.to_string();
        self.reads(v1::CreateInviteRequest { actor, uses, ..Default::default() }).await
    }

    /// The tickets: "live, 0 of 2", the latest first.
    pub(crate) async fn lists_invites(&self) -> Vec<String> {
        let invites = self.reads(v1::ListInvitesRequest::default()).await.invites;
        let state = |invite: &v1::Invite| invite.state().as_str_name().replace("INVITE_STATE_", "").to_lowercase();
        invites.iter().map(|one| format!("{}, {} of {}", state(one), one.joined.len(), one.uses)).collect()
    }

    /// Waits until the node has a workspace.
    pub(crate) async fn finds_workspace(&self) {
        let found = async {
            while self.lists_workspaces().await.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a workspace comes to be here");
    }

    /// Takes a ticket back.
    pub(crate) async fn revokes(&self, ticket: &v1::CreateInviteResponse) -> v1::InviteState {
        let invite = ticket.invite.clone().unwrap().invite;
        self.reads(v1::RevokeInviteRequest { invite, ..Default::default() }).await.invite.unwrap().state()
    }

    /// Who waits to be let in, by what they call themselves.
    pub(crate) async fn looks_who_waits(&self) -> Vec<String> {
        let waiting = self.reads(v1::ListJoinRequestsRequest::default()).await.requests;
        waiting.into_iter().map(|request| request.name).collect()
    }

    /// Approves whoever waits with this code; gives who it was.
    pub(crate) async fn lets_in(&self, code: &str) -> Result<String, ApiError> {
        let (workspace, code) = (self.workspace_id().to_string(), code.to_owned());
        let request = v1::ApproveJoinRequestRequest { workspace, code, actor: self.actor.to_string() };
        let answer = self.client.invites().approve_join_request(request).await.map_err(ApiError::from)?;
        Ok(answer.into_inner().request.unwrap().name)
    }

    /// Denies whoever waits with this code; gives who it was.
    pub(crate) async fn turns_away(&self, code: &str) -> Result<String, ApiError> {
        let (workspace, code) = (self.workspace_id().to_string(), code.to_owned());
        let request = v1::DenyJoinRequestRequest { workspace, code, actor: self.actor.to_string() };
        let answer = self.client.invites().deny_join_request(request).await.map_err(ApiError::from)?;
        Ok(answer.into_inner().request.unwrap().name)
    }

    /// Makes the recovery key of the workspace anew.
    pub(crate) async fn renews_recovery_key(&self) -> v1::CreateRecoveryKeyResponse {
        self.reads(v1::CreateRecoveryKeyRequest { actor: self.actor.to_string(), ..Default::default() }).await
    }

    /// Becomes a member again by a recovery key.
    pub(crate) async fn recovers(&self, recovery_key: &str) -> Result<v1::RecoverWorkspaceResponse, ApiError> {
        let (recovery_key, actor) = (recovery_key.to_owned(), self.actor.to_string());
        let request = v1::RecoverWorkspaceRequest { recovery_key, actor };
        let answer = self.client.invites().recover_workspace(request).await;
        answer.map(|answer| answer.into_inner()).map_err(ApiError::from)
    }
}

/// Founds a workspace in the name of the default identity; gives its id and its recovery key.
pub(crate) async fn founds_with_recovery_key(client: &Client, name: &str) -> (String, String) {
    let made = client.create_workspace(name, None).await.unwrap();
    (made.workspace, made.recovery_key)
}
