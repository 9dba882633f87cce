//! How a workspace lets in those who ask: one of its settings.

use openprod_model::value::{Name, Text, Value};

use crate::cell::{Cell, Content};
use crate::view::{Read, View};

/// How a workspace lets in those who ask. The stricter one is the lesser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum JoinMode {
    /// Only with a ticket. To everybody else the workspace does not exist.
    #[default]
    Invite,
    /// Whoever finds it may ask, and waits until a member approves.
    Request,
    /// Whoever finds it is let in.
    Open,
}

impl JoinMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Invite, Self::Request, Self::Open];

    /// The setting's name.
    pub fn setting() -> Name {
        Name::new("join_mode").expect("a word is a name")
    }

    /// Its word, which is the setting's value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Request => "request",
            Self::Open => "open",
        }
    }

    /// The mode of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }

    /// The setting's value.
    pub fn value(self) -> Value {
        Value::Text(Text::new(self.word()).expect("a word is a text"))
    }

    fn of_content(content: &Content) -> Self {
        match content {
            Content::Value(Value::Text(word)) => Self::from_word(word.as_str()).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// The mode of a workspace. While people disagree, the strictest of what they say: a door that somebody closed is
    /// not opened by somebody who did not know.
    pub fn of(view: &dyn View) -> Read<Self> {
        let tips = view.tips(&Cell::Setting { setting: Self::setting() })?;
        Ok(tips.iter().map(|tip| Self::of_content(&tip.content)).min().unwrap_or_default())
    }
}
