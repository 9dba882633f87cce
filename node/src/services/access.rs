//! AccessService: tokens for clients on other machines, and the certificate that they compare.

use std::net::SocketAddr;
use std::sync::Arc;

use openprod_api::convert::history::signed_ms;
use openprod_api::convert::ids;
use openprod_api::status::{self, ApiError};
use openprod_api::v1;
use openprod_api::v1::access_service_server::AccessService as Service;
use openprod_client::ClientTicket;
use openprod_model::ids::ActorId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_wire::ticket::MAX_ADDRESSES;
use tonic::{Request, Response, Status};

use super::caller;
use super::node::{person, unknown_actor};
use crate::certificate;
use crate::clients::{ClientToken, ClientsError};
use crate::node::Node;
use crate::peers::everywhere;

/// Gives out tokens, and tells the certificate.
pub struct AccessService(Arc<Node>);

impl AccessService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    fn acting(&self, named: &str) -> Result<ActorId, Status> {
        let named = ids::optional_id(named, "actor").map_err(|refusal| status::refused(&refusal))?;
        let actor = named.or_else(|| self.0.identities.default_actor());
        let known = actor.filter(|actor| self.0.identities.of(*actor).is_some());
        known.ok_or_else(|| unknown_actor(actor.unwrap_or(self.0.device.actor())))
    }

    /// Where clients on other machines reach this node.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = self.0.port.get().map_or_else(Vec::new, |address| everywhere(&[*address]));
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}

#[tonic::async_trait]
impl Service for AccessService {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        own_user_only(&request)?;
        let v1::CreateTokenRequest { name, actor } = request.into_inner();
        let name = person(&name).map_err(|status| named_at(status, "name"))?;
        let actor = self.acting(&actor)?;
        let made = self.0.clients.create(name.as_str(), actor, self.0.env.clock.wall_ms(), &*self.0.env.random);
        let (token, secret) = made.map_err(|error| not_kept(&error))?;
        let addresses = self.addresses();
        let certificate = self.0.certificate.as_ref().filter(|_| !addresses.is_empty());
        let ticket = certificate.map_or_else(String::new, |certificate| {
            let (addresses, token) = (addresses.clone(), secret.clone());
            ClientTicket { addresses, certificate: certificate.fingerprint(), token }.reveal()
        });
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(shown(token)),
            secret: secret.reveal(),
            addresses: if ticket.is_empty() { Vec::new() } else { addresses.iter().map(ToString::to_string).collect() },
            ticket,
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        own_user_only(&request)?;
        let tokens = self.0.clients.list().into_iter().map(shown).collect();
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        own_user_only(&request)?;
        let revoked = self.0.clients.revoke(&request.get_ref().token).map_err(|error| not_kept(&error))?;
        let unknown = || {
            let message = format!("There is no token {:?}.", request.get_ref().token);
            let refusal = Refusal::new(Reason::InvalidValue, message).at("token");
            status::refused(&refusal.next("`openprod tokens` lists them."))
        };
        Ok(Response::new(v1::RevokeTokenResponse { token: Some(shown(revoked.ok_or_else(unknown)?)) }))
    }

    async fn get_certificate(
        &self,
        _: Request<v1::GetCertificateRequest>,
    ) -> Result<Response<v1::GetCertificateResponse>, Status> {
        let none = || {
            let message = "This node shows no certificate: it is reached from this machine only.";
            let refusal = Refusal::new(Reason::InvalidRequest, message);
            status::refused(&refusal.next("Set listen to \"0.0.0.0:7117\", then start the node again."))
        };
        let certificate = self.0.certificate.as_ref().ok_or_else(none)?;
        Ok(Response::new(v1::GetCertificateResponse {
            pem: certificate.pem().to_owned(),
            fingerprint: certificate.fingerprint().to_string(),
            name: certificate::NAME.to_owned(),
        }))
    }
}

fn own_user_only<T>(request: &Request<T>) -> Result<(), Status> {
    super::own_user_only(caller(request.extensions())?, "Tokens are made, listed and taken back")
}

fn named_at(status: Status, at: &str) -> Status {
    ApiError { at: at.to_owned(), ..ApiError::from(status) }.into()
}

fn shown(token: ClientToken) -> v1::ClientToken {
    let ClientToken { id, name, actor, created_ms, .. } = token;
    v1::ClientToken { token: id, name, actor: actor.to_string(), created_ms: signed_ms(created_ms) }
}

fn not_kept(error: &ClientsError) -> Status {
    if let ClientsError::Full = error {
        let refusal = Refusal::new(Reason::TooLarge, super::sentence(&error.to_string()));
        return status::refused(&refusal.next("`openprod token revoke` takes back those that nobody needs."));
    }
    tracing::error!(%error, "a token was not kept");
    super::unavailable("The list of tokens could not be written to the node's folder.")
}
