//! Errors on the wire: a canonical code, a published reason, the part at fault, a sentence, and what to do next.
//!
//! They travel as details of `google.rpc`: `ErrorInfo` (reason, domain, metadata), `BadRequest` (the part at fault),
//! `LocalizedMessage` (the sentence) and `Help` (a link without address that says what to do next). All of it goes
//! into one trailer, which clients cap at 8 KiB; so long sentences are cut.

use std::collections::HashMap;

use openprod_model::refusal::{self, Refusal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1::Reason;

/// The domain of our reasons.
pub const DOMAIN: &str = "openprod";
/// The metadata key under which `WATCHER_LAGGED` carries the token to go on with.
pub const RESUME_TOKEN: &str = "resume_token";

const PREFIX: &str = "REASON_";
const LOCALE: &str = "en";
/// The sentence travels three times and grows by a third in base64; four such parts stay below 8 KiB.
const MAX_PART_BYTES: usize = 600;

/// Why a call failed, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The canonical code.
    pub code: Code,
    /// The published reason without its prefix, such as `UNKNOWN_TABLE`; perhaps of a newer version; empty if the error
    /// did not come from a node but from the way to it.
    pub reason: String,
    /// What happened, for people: one sentence.
    pub message: String,
    /// What is at fault, as a path into the request; may be empty.
    pub at: String,
    /// What to do next, for people: one sentence; may be empty.
    pub next: String,
    /// The token to go on with, where a watcher was too slow.
    pub resume_token: Option<String>,
}

impl ApiError {
    /// An error of that reason, without place or advice.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: code(reason),
            reason: name(reason).to_owned(),
            message: message.into(),
            at: String::new(),
            next: String::new(),
            resume_token: None,
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// Says where a watcher can go on.
    #[must_use]
    pub fn resume_at(mut self, token: impl Into<String>) -> Self {
        self.resume_token = Some(token.into());
        self
    }

    /// The reason, if this version knows it.
    pub fn known_reason(&self) -> Option<Reason> {
        Reason::from_str_name(&format!("{PREFIX}{}", self.reason))
    }
}

impl From<&Refusal> for ApiError {
    fn from(refusal: &Refusal) -> Self {
        let Refusal { reason, at, message, next } = refusal.clone();
        let reason = published(reason);
        Self { at, next, ..Self::new(reason, message) }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let message = cut(&error.message);
        let metadata = error.resume_token.map(|token| (RESUME_TOKEN.to_owned(), token));
        let mut details = ErrorDetails::with_error_info(error.reason, DOMAIN, HashMap::from_iter(metadata));
        if !error.at.is_empty() {
            details.add_bad_request_violation(cut(&error.at), message.clone());
        }
        details.set_localized_message(LOCALE, message.clone());
        if !error.next.is_empty() {
            details.add_help_link(cut(&error.next), "");
        }
        Self::with_error_details(error.code, message, details)
    }
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        let help = details.help().and_then(|help| help.links.first());
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            at: violation.map(|violation| violation.field.clone()).unwrap_or_default(),
            next: help.map(|link| link.description.clone()).unwrap_or_default(),
            resume_token: info.and_then(|info| info.metadata.get(RESUME_TOKEN).cloned()),
        }
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

/// The status of a refusal.
pub fn refused(refusal: &Refusal) -> Status {
    ApiError::from(refusal).into()
}

/// The name of a reason as errors carry it, without its prefix.
pub fn name(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// The published reason of a refusal.
pub fn published(reason: refusal::Reason) -> Reason {
    Reason::from_str_name(&format!("{PREFIX}{}", reason.name())).unwrap_or(Reason::Unspecified)
}

/// The canonical code of a reason.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::Unspecified => Code::Unknown,
        Reason::UnknownWorkspace
        | Reason::UnknownTable
        | Reason::UnknownField
        | Reason::UnknownRecord
        | Reason::UnknownEdge
        | Reason::UnknownActor
        | Reason::UnknownHistory
        | Reason::UnknownOverlay
        | Reason::BlobUnavailable
        | Reason::NoThumbnail => Code::NotFound,
        Reason::WrongType
        | Reason::UnknownEnumValue
        | Reason::RequiredMissing
        | Reason::TooLarge
        | Reason::InvalidValue
        | Reason::InvalidSchemaChange
        | Reason::InvalidQuery
        | Reason::InvalidRequest
        | Reason::BadBundle => Code::InvalidArgument,
        Reason::AlreadyExists | Reason::CommandIdReused => Code::AlreadyExists,
        Reason::Changed => Code::Aborted,
        Reason::NotAMember | Reason::ActorNotYours => Code::PermissionDenied,
        Reason::UnknownBase | Reason::ResumeTokenExpired => Code::OutOfRange,
        Reason::DiskFull | Reason::WatcherLagged | Reason::TooBusy => Code::ResourceExhausted,
        Reason::WorkspaceDown => Code::Unavailable,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::Internal => Code::Internal,
        Reason::CannotUndo | Reason::NotInConflict | Reason::Drifted | Reason::NotInOverlay | Reason::BlobDeleted => {
            Code::FailedPrecondition
        }
    }
}

/// At most [`MAX_PART_BYTES`] of a text, with a sign that it was cut.
fn cut(text: &str) -> String {
    const SIGN: &str = "…";
    if text.len() <= MAX_PART_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_PART_BYTES - SIGN.len());
    format!("{}{SIGN}", &text[..end])
}

#[cfg(test)]
mod tests {
    use openprod_model::codec;

    use super::*;

    /// Every reason of the model: encoded, they are counted from zero.
    fn reasons() -> Vec<refusal::Reason> {
        (0_u32..).map_while(|number| codec::decode(&number.to_le_bytes()).ok()).collect()
    }

    #[test]
    fn every_reason_is_published_under_its_name_and_has_a_code() {
        let reasons = reasons();
        assert!(reasons.contains(&refusal::Reason::WorkspaceDown), "the last one known when this was written");
        for reason in reasons {
            assert_eq!(name(published(reason)), reason.name());
            assert_ne!(code(published(reason)), Code::Unknown, "{}", reason.name());
        }
    }

    #[test]
    fn every_published_reason_is_the_models_or_the_services_own() {
        let own = [
            "RESUME_TOKEN_EXPIRED",
            "WATCHER_LAGGED",
            "DEADLINE_EXCEEDED",
            "UNAUTHENTICATED",
            "TOO_BUSY",
            "INTERNAL",
            "ACTOR_NOT_YOURS",
        ];
        let of_model: Vec<_> = reasons().into_iter().map(refusal::Reason::name).collect();
        for reason in (1..).map_while(|number| Reason::try_from(number).ok()) {
            let name = name(reason);
            assert!(own.contains(&name) != of_model.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_published_comment_of_each_reason_names_its_code() {
        let proto = include_str!("../proto/openprod/v1/errors.proto");
        for reason in (1..).map_while(|number| Reason::try_from(number).ok()) {
            let line = proto.lines().position(|line| line.trim().starts_with(&format!("{} =", reason.as_str_name())));
            let comment = proto.lines().nth(line.unwrap() - 1).unwrap();
            let canonical = format!("{:?}", code(reason)).to_lowercase();
            let named = comment.trim_end_matches('.').rsplit(' ').next().unwrap();
            assert_eq!(named.replace('_', "").to_lowercase(), canonical, "{}", reason.as_str_name());
        }
    }

    #[test]
    fn a_refusal_comes_back_from_its_status() {
        let refusal = Refusal::new(refusal::Reason::UnknownTable, "There is no table \"cue\".")
            .at("commands[0].set_fields.table")
            .next("Did you mean \"cues\"?");
        let status = refused(&refusal);
        assert_eq!((status.code(), status.message()), (Code::NotFound, refusal.message.as_str()));
        let error = ApiError::from(status);
        assert_eq!(error.known_reason(), Some(Reason::UnknownTable));
        assert_eq!((error.reason.as_str(), &error.message), ("UNKNOWN_TABLE", &refusal.message));
        assert_eq!((&error.at, &error.next), (&refusal.at, &refusal.next));
    }

    #[test]
    fn a_slow_watcher_is_told_where_to_go_on() {
        let lagged = ApiError::new(Reason::WatcherLagged, "The reader was too slow.").resume_at("12:ab");
        assert_eq!(ApiError::from(Status::from(lagged.clone())), lagged);
    }

    #[test]
    fn a_status_from_elsewhere_is_kept_as_it_is() {
        let error = ApiError::from(Status::unavailable("connection refused"));
        assert_eq!((error.code, error.known_reason()), (Code::Unavailable, None));
        assert_eq!(error.message, "connection refused");
    }

    #[test]
    fn the_longest_error_fits_into_a_trailer() {
        let long = "🎭".repeat(2_000);
        let refusal = Refusal::new(refusal::Reason::InvalidValue, long.clone()).at(long.clone()).next(long);
        let status = refused(&refusal);
        let bytes = status.details().len() * 4 / 3 + status.message().len() * 3;
        assert!(bytes < 8_000, "{bytes}");
        assert!(status.message().ends_with('…'));
    }
}
