//! Errors: what a call that failed means to the caller.

use openprod_api::status::ApiError;
use openprod_api::v1;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node refused: nothing was changed.
    #[error(transparent)]
    Refused(Refused),
    /// Nobody answers there, or no more.
    #[error("No node answers at {at}: {why}. Start one with `openprod up`.")]
    Unreachable {
        /// The address.
        at: String,
        /// What the network said.
        why: String,
    },
    /// Somebody answers there, and not with the certificate of the ticket. Nothing was said to it.
    #[error(
        "Whoever answers at {at} is not the node of this ticket: its certificate is {found}. Nothing was said to it. If the \
         node's certificate was renewed, get a new ticket (`openprod token create` on the node's machine)."
    )]
    NotTrusted {
        /// The address.
        at: String,
        /// The fingerprint of the certificate that was shown.
        found: String,
    },
    /// The address, the token or a file for them cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The deadline passed. A write may have happened: executing the same [`Change`](crate::Change) again tells.
    #[error("The node at {at} did not answer in time. A write may have happened; history tells.")]
    Late {
        /// The address.
        at: String,
    },
    /// The node is busy, restarting or cannot say how the call ended, and was so at each retry.
    #[error("{0}")]
    Busy(Refused),
    /// The node failed in a way that it did not foresee, or said something that makes no sense.
    #[error("The node at {at} failed: {why}. Its log says more.")]
    Failed {
        /// The address.
        at: String,
        /// What it said.
        why: String,
    },
}

/// What the node says of a call that it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, for programs: the published name, such as `UNKNOWN_TABLE`; of a newer node it may be one that
    /// [`Refused::known`] does not know.
    pub reason: String,
    /// The part of the request at fault, such as `commands[3].set_fields.values[0]`; may be empty.
    pub at: String,
    /// What happened, in a sentence for people.
    pub message: String,
    /// What to do next, in a sentence for people; may be empty.
    pub next: String,
}

impl Refused {
    /// The reason, if this version knows it.
    pub fn known(&self) -> Option<v1::Reason> {
        v1::Reason::from_str_name(&format!("REASON_{}", self.reason))
    }
}

impl Error {
    /// The node's reason, if it gave one that this version knows.
    pub fn reason(&self) -> Option<v1::Reason> {
        match self {
            Self::Refused(refused) | Self::Busy(refused) => refused.known(),
            Self::Late { .. } => Some(v1::Reason::DeadlineExceeded),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later. Reads and changes have been retried already.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Late { .. } | Self::Busy(_))
    }

    /// What the status of a call to `at` means.
    pub(crate) fn from_status(status: &Status, at: &str) -> Self {
        let at = at.to_owned();
        if is_transport(status) {
            return Self::Unreachable { at, why: transport_words(status) };
        }
        let refused = Refused::from(ApiError::from(status));
        match (status.code(), refused.known()) {
            (Code::Unavailable, _) | (_, Some(v1::Reason::TooBusy)) => Self::Busy(refused),
            (Code::DeadlineExceeded | Code::Cancelled, _) => Self::Late { at },
            (Code::Unimplemented, _) => Self::Failed { at, why: "it does not know this call: it may be older".into() },
            (Code::Internal | Code::Unknown | Code::DataLoss, _) => {
                Self::Failed { at, why: without_stop(refused.message) }
            }
            _ => Self::Refused(refused),
        }
    }
}

/// Statuses that were made on this side, of a connection that failed, have a source; those that came from a node have
/// none. An expired deadline is made on this side too, as CANCELLED.
fn is_transport(status: &Status) -> bool {
    let local = std::error::Error::source(status).is_some();
    local && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal)
}

/// The innermost cause says most: "Connection refused (os error 111)".
fn transport_words(status: &Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    without_stop(innermost.to_string())
}

pub(crate) fn without_stop(mut sentence: String) -> String {
    if sentence.ends_with('.') {
        sentence.pop();
    }
    sentence
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let ApiError { code, reason, message, at, next, .. } = error;
        let message = if message.is_empty() { code.description().to_owned() } else { message };
        Self { reason, at, message, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_of_a_refusal_arrive() {
        let sent = ApiError::new(v1::Reason::UnknownTable, "There is no table \"cue\".").next("Did you mean \"cues\"?");
        let sent = ApiError { at: "commands[0].set_fields.table".to_owned(), ..sent };
        let error = Error::from_status(&Status::from(sent.clone()), "here");
        let Error::Refused(refused) = error else { panic!("{error:?}") };
        assert_eq!(refused.known(), Some(v1::Reason::UnknownTable));
        assert_eq!((refused.at, refused.message, refused.next), (sent.at, sent.message, sent.next));
    }

    #[test]
    fn what_may_be_tried_again_is_told_from_what_may_not() {
        let means = |code| Error::from_status(&Status::new(code, "words"), "here");
        assert!(matches!(means(Code::Unavailable), Error::Busy(_)));
        assert!(matches!(means(Code::Cancelled), Error::Late { .. }));
        for code in [Code::Internal, Code::InvalidArgument, Code::PermissionDenied, Code::ResourceExhausted] {
            assert!(!means(code).is_transient(), "{code}");
        }
    }
}
