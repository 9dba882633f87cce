//! What a command that failed tells: what happened, what was affected, what to do; and the program's exit code.

use std::process::ExitCode;

use openprod_api::status;
use openprod_client::{Error, Refused, v1};
use openprod_domain::describe::escaped;
use openprod_model::refusal::Refusal;
use serde_json::json;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// The node refused, or something failed.
    Failed = 1,
    /// The command line makes no sense, or lacks a yes.
    Usage = 2,
    /// No node answers.
    Unreachable = 3,
    /// Done in part, such as an import with bad rows.
    Partial = 4,
}

/// The table of exit codes, for the help text.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed; 2 wrong usage, or an answer was needed and \
                              nobody was there to give it; 3 no node answers; 4 done in part";

/// A command that failed: at most three lines for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    exit: Exit,
    reason: String,
    message: String,
    affected: String,
    next: String,
}

impl CliError {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        let (reason, affected, next) = Default::default();
        Self { exit, reason, message: message.into(), affected, next }
    }

    /// Something failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// It was done in part.
    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(Exit::Partial, message)
    }

    /// A file could not be used.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("{}: {error}.", path.display()))
    }

    /// Nobody reads the output any more, as behind `| head`: nothing to complain of.
    pub fn closed() -> Self {
        Self::new(Exit::Done, "")
    }

    /// Whether there is nothing to complain of.
    pub fn is_nothing(&self) -> bool {
        self.exit == Exit::Done
    }

    /// Says what was affected.
    #[must_use]
    pub fn affected(self, affected: impl Into<String>) -> Self {
        Self { affected: affected.into(), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }

    /// Tells it on standard error, as text or as one JSON object, and gives the exit code.
    pub(super) fn report(&self, json: super::output::Style) -> ExitCode {
        if self.exit == Exit::Done {
            return ExitCode::SUCCESS;
        }
        if json == super::output::Style::Json {
            let Self { reason, message, affected, next, .. } = self;
            let error = json!({"reason": reason, "message": message, "affected": affected, "next": next});
            eprintln!("{}", json!({"error": error}));
        } else {
            eprintln!("{}", self.lines());
        }
        ExitCode::from(self.exit as u8)
    }

    fn lines(&self) -> String {
        let lines = [format!("error: {}", self.message), self.affected.clone(), self.next.clone()];
        let shown = lines.iter().filter(|line| !line.is_empty()).map(|line| escaped(line));
        shown.collect::<Vec<_>>().join("\n  ")
    }
}

impl From<Refused> for CliError {
    fn from(refused: Refused) -> Self {
        let Refused { reason, message, mut next, .. } = refused;
        if reason == status::name(v1::Reason::Unauthenticated) {
            next =
                "Name the file of a token with --token-file; a node keeps its own under tokens/ in its folder. With a \
                    ticket: get a new one by `openprod token create` on the node's machine."
                    .into();
        }
        Self { reason, ..Self::failed(message).next(next) }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason.name().to_owned();
        Self { reason, ..Self::failed(refusal.message).next(refusal.next) }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refused) | Error::Busy(refused) => refused.into(),
            Error::Unreachable { at, why } => Self::new(Exit::Unreachable, format!("No node answers at {at}: {why}."))
                .next("Start one with `openprod up`, or say where it is with --socket or --connect."),
            Error::Unusable(why) => Self::usage(why),
            Error::Late { at } => Self::failed(format!("The node at {at} did not answer in time."))
                .affected("If this was a change, it may have been made.")
                .next("Look with `openprod history` before you try again."),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::closed(),
            _ => Self::failed(format!("The output could not be written: {error}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_takes_three_lines_at_most_and_shows_no_control_characters() {
        let error = CliError::failed("There is no table \"cue\x1b[2J\".").affected("Nothing changed.").next("Look.");
        assert_eq!(error.lines(), "error: There is no table \"cue\\u{1b}[2J\".\n  Nothing changed.\n  Look.");
    }
}
