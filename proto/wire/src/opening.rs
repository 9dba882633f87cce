//! Opening: the first frame of every stream says what the stream is for.

use serde::{Deserialize, Serialize};

use crate::framing::Frame;
use crate::hello::WorkspaceTag;

/// What a stream is for. Each kind goes on in frames of its own, with limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// The one conversation between the nodes themselves, opened by whoever dialled: [`crate::hello::Control`].
    Control,
    /// The bundles of a workspace.
    Workspace {
        /// Which, by its opener's tag.
        tag: WorkspaceTag,
    },
    /// Somebody asks to be admitted to a workspace.
    Admission {
        /// Which, by its opener's tag.
        tag: WorkspaceTag,
    },
    /// Files of a workspace, apart from its bundles, so that no large file delays an edit.
    Blob {
        /// Which, by its opener's tag.
        tag: WorkspaceTag,
    },
    /// Nothing any more: who is here is told beside the bundles ([`crate::presence`]). The number stays taken, so that
    /// those behind it mean the same to every version.
    Presence {
        /// Of a workspace, by its opener's tag.
        tag: WorkspaceTag,
    },
    /// Somebody who knows no workspace asks to be admitted to one that lets itself be found.
    Asking,
}

impl Frame for Opening {
    const KINDS: u32 = 6;
    /// A kind and a tag; with room for what a newer version may add.
    const MAX_BYTES: usize = 256;
}
