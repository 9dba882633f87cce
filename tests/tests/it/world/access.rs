//! What people do about clients on other machines: give out tokens, take them back, look at the certificate.

use openprod_client::{Client, ClientTicket, Endpoint, Error, v1};

use super::person::{Person, connected};

impl Person {
    /// Makes a token for a client that is to act as this person.
    pub(crate) async fn gives_token(&self, name: &str) -> v1::CreateTokenResponse {
        let (name, actor) = (name.to_owned(), self.actor.to_string());
        self.client.ask(v1::CreateTokenRequest { name, actor }).await.unwrap()
    }

    /// A ticket for a client that is to act as this person.
    pub(crate) async fn gives_ticket(&self, name: &str) -> ClientTicket {
        ClientTicket::parse(&self.gives_token(name).await.ticket).unwrap()
    }

    /// The clients that have a token, the latest first.
    pub(crate) async fn lists_tokens(&self) -> Vec<String> {
        let tokens = self.client.ask(v1::ListTokensRequest {}).await.unwrap().tokens;
        tokens.into_iter().map(|token| token.name).collect()
    }

    /// Takes a token back.
    pub(crate) async fn takes_token_back(&self, token: &v1::CreateTokenResponse) {
        let token = token.token.clone().unwrap().token;
        self.client.ask(v1::RevokeTokenRequest { token }).await.unwrap();
    }

    /// The certificate that the node shows.
    pub(crate) async fn knows_certificate(&self) -> v1::GetCertificateResponse {
        self.client.ask(v1::GetCertificateRequest {}).await.unwrap()
    }

    /// The same person at another machine, with a ticket.
    pub(crate) async fn by_ticket(&self, ticket: &ClientTicket) -> Self {
        self.through(Endpoint::Ticket(ticket.clone())).await
    }
}

/// What comes of a ticket that is to lead nowhere.
pub(crate) async fn turned_away(ticket: ClientTicket) -> Error {
    Client::connect(Endpoint::Ticket(ticket)).await.unwrap_err()
}

/// A client with a ticket.
pub(crate) async fn client_of(ticket: &ClientTicket) -> Client {
    connected(Endpoint::Ticket(ticket.clone())).await
}
