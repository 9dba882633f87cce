//! Closing: the numbers by which a node says why it gave up a connection or a stream.

/// Why a connection or a stream was given up. A number that is not known means "for some reason of a newer version".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// All was said.
    pub const DONE: Self = Self(0);
    /// The node stops; it may be back soon.
    pub const STOPPING: Self = Self(1);
    /// Another connection between the two nodes is kept instead.
    pub const DUPLICATE: Self = Self(2);
    /// The other has nothing in common with this node, or is no member of what it asks for.
    pub const NOT_WELCOME: Self = Self(3);
    /// No protocol version is common to both.
    pub const VERSION: Self = Self(4);
    /// The other sent what this protocol does not allow.
    pub const MISBEHAVED: Self = Self(5);
    /// Too many connections or streams at present.
    pub const BUSY: Self = Self(6);
    /// The other took too long.
    pub const TOO_SLOW: Self = Self(7);
    /// A stream for something that this node does not know.
    pub const UNKNOWN: Self = Self(8);
    /// A person took the peer out of this node's list.
    pub const FORGOTTEN: Self = Self(9);
    /// The node that dialled is the node that was dialled.
    pub const MYSELF: Self = Self(10);
    /// Another computer runs with the other's key: one was copied from the other.
    pub const TWIN: Self = Self(11);

    /// The reason, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::DONE => "it was done",
            Self::STOPPING => "the node stopped",
            Self::DUPLICATE => "another connection is kept",
            Self::NOT_WELCOME => "not a member here",
            Self::VERSION => "no protocol version in common",
            Self::MISBEHAVED => "it sent what the protocol does not allow",
            Self::BUSY => "the node is busy",
            Self::TOO_SLOW => "it took too long",
            Self::UNKNOWN => "it asked for something unknown",
            Self::FORGOTTEN => "the peer was taken out of the list",
            Self::MYSELF => "it is this very node",
            Self::TWIN => "another computer runs with the same node key",
            _ => "a reason of a newer version",
        }
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.says(), self.0)
    }
}

impl std::fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
