//! Conflicts and decisions, from and to messages.

use openprod_domain::command::Choice;
use openprod_model::refusal::{Reason, Refusal};

use super::ids::id;
use super::path::part;
use crate::v1;

impl From<&Choice> for v1::resolve::Choice {
    fn from(choice: &Choice) -> Self {
        match choice {
            Choice::Candidate(op) => Self::Candidate(op.to_string()),
            Choice::Value(value) => Self::Value(value.into()),
            Choice::Clear => Self::Clear(true),
            Choice::Restore => Self::Restore(true),
            Choice::LetGo => Self::LetGo(true),
        }
    }
}

impl TryFrom<v1::resolve::Choice> for Choice {
    type Error = Refusal;
    fn try_from(choice: v1::resolve::Choice) -> Result<Self, Refusal> {
        use v1::resolve::Choice as Asked;
        Ok(match choice {
            Asked::Candidate(op) => Self::Candidate(id(&op, "candidate")?),
            Asked::Value(value) => Self::Value(part(value, "value")?),
            Asked::Clear(true) => Self::Clear,
            Asked::Restore(true) => Self::Restore,
            Asked::LetGo(true) => Self::LetGo,
            Asked::Clear(false) | Asked::Restore(false) | Asked::LetGo(false) => {
                let message = "A choice that is said must be true.";
                return Err(Refusal::new(Reason::InvalidRequest, message).at("choice"));
            }
        })
    }
}
