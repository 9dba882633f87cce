//! Hello: how two nodes begin, and what they go on telling each other beside the work of their workspaces.
//!
//! Who dialled speaks first. Who was dialled answers only somebody that knows one of its workspaces; a stranger gets no
//! byte. Knowledge is shown by tags: the hash, keyed by a workspace's id, of what only the two ends of this TLS session
//! can compute. So neither learns of a workspace whose id it does not know, and a tag is of no use in any other session.

use openprod_model::ids::WorkspaceId;
use serde::{Deserialize, Serialize};

use crate::framing::Frame;

/// The protocol versions of this build.
pub const VERSIONS: Versions = Versions { lowest: 1, highest: 1 };

/// The most workspaces named in one hello; a node that has more names the first ones.
pub const MAX_WORKSPACES: usize = 1_024;

/// The most bytes of a software version.
pub const MAX_SOFTWARE_BYTES: usize = 64;

/// The label under which a session's secret for [`WorkspaceTag`]s is exported (RFC 8446, section 7.5).
pub const TAG_LABEL: &[u8] = b"EXPORTER-openprod-workspace-tag";

const TAG_KEY_CONTEXT: &str = "openprod 2026 workspace tag 1";

/// The protocol versions that a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub lowest: u16,
    /// The newest.
    pub highest: u16,
}

impl Versions {
    /// The newest version that both speak.
    pub fn agree(self, other: Self) -> Option<u16> {
        let newest = self.highest.min(other.highest);
        (newest >= self.lowest.max(other.lowest)).then_some(newest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lowest == self.highest {
            write!(f, "{}", self.lowest)
        } else {
            write!(f, "{} to {}", self.lowest, self.highest)
        }
    }
}

/// Which end of a connection speaks. It enters the tags, so that nobody can pass for knowing by echoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The one that dialled.
    Dialler,
    /// The one that was dialled.
    Dialled,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Dialled,
            Self::Dialled => Self::Dialler,
        }
    }
}

/// A workspace as one end of one session names it: BLAKE3, keyed by the workspace's id, of the session's secret and the
/// side that speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkspaceTag([u8; 32]);

impl WorkspaceTag {
    /// The tag by which `side` names `workspace` in the session whose exporter under [`TAG_LABEL`] is `secret`.
    pub fn of(workspace: WorkspaceId, secret: &[u8; 32], side: Side) -> Self {
        let key = blake3::derive_key(TAG_KEY_CONTEXT, workspace.as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(secret).update(&[side as u8]);
        Self(*hasher.finalize().as_bytes())
    }

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for WorkspaceTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a node says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol versions that it speaks.
    pub versions: Versions,
    /// Drawn anew at each start of the node: a connection of an earlier life is dead, however it looks.
    pub life: u64,
    /// What the node is, for people: `openprod 0.1.0`.
    pub software: String,
    /// Its clock as it sends this: milliseconds since 1970.
    pub clock_ms: u64,
    /// What it can do beyond the version, a bit each; bits that are not known are passed over.
    pub features: u64,
    /// The workspaces that it knows. In an answer, only those of the question.
    pub knows: Vec<WorkspaceTag>,
}

/// What the nodes say to each other on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// The first frame each way.
    Hello(Hello),
    /// The workspaces in which the sender takes the other for a member, and which it serves now. Replaces the previous.
    Welcome(Vec<WorkspaceTag>),
    /// Asks for the other's clock.
    Probe {
        /// The sender's clock as it sends this, in milliseconds since 1970.
        sent_ms: u64,
    },
    /// Answers a probe.
    Echo {
        /// What the probe said.
        sent_ms: u64,
        /// The answerer's clock, in milliseconds since 1970.
        clock_ms: u64,
    },
}

impl Frame for Control {
    const KINDS: u32 = 4;
    /// Little more than [`MAX_WORKSPACES`] tags.
    const MAX_BYTES: usize = 64 * 1024;

    fn is_within_bounds(&self) -> bool {
        match self {
            Self::Hello(hello) => {
                hello.knows.len() <= MAX_WORKSPACES
                    && hello.software.len() <= MAX_SOFTWARE_BYTES
                    && !hello.software.contains(char::is_control)
                    && hello.versions.lowest <= hello.versions.highest
            }
            Self::Welcome(tags) => tags.len() <= MAX_WORKSPACES,
            Self::Probe { .. } | Self::Echo { .. } => true,
        }
    }
}

/// How far the other's clock is ahead of this node's, in milliseconds, by one question and its answer: it was read about
/// halfway between the two (RFC 5905, with one reading instead of two).
pub fn clock_offset_ms(asked_ms: u64, answered_ms: u64, theirs_ms: u64) -> i64 {
    let difference = i128::from(theirs_ms) - i128::from(u64::midpoint(asked_ms, answered_ms));
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}
