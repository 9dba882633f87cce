//! Why an import was not done, or not to its end.

use openprod_client::Error;

use crate::sheet::SheetError;

/// A sentence has one mark at its end; one that asks has its own.
fn ended(error: &SheetError) -> String {
    let said = error.to_string();
    if said.ends_with('?') { said } else { said + "." }
}

/// Why an import was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read, or its columns do not fit what was asked.
    #[error("The file cannot be imported: {}", ended(.0))]
    Sheet(#[from] SheetError),
    /// What was asked names something that is not there.
    #[error("{message}")]
    Unknown {
        /// What happened, in a sentence.
        message: String,
        /// What to do, in a sentence.
        next: String,
    },
    /// It does not fit into one bundle.
    #[error(
        "This import makes {ops} changes of about {bytes} bytes together; one bundle holds at most {max_ops} changes \
         and about {max_bytes} bytes."
    )]
    TooLarge {
        /// How many operations it would be.
        ops: usize,
        /// How many bytes, about.
        bytes: usize,
        /// How many operations one bundle may hold.
        max_ops: usize,
        /// How many bytes, about.
        max_bytes: usize,
    },
    /// The node was asked something and could not or would not answer. Nothing was written.
    #[error(transparent)]
    Node(Box<Error>),
    /// A bundle was not written; those before it were.
    #[error("{why}")]
    Stopped {
        /// How many bundles were written.
        done: usize,
        /// How many there are.
        of: usize,
        /// What the node said.
        why: Box<Error>,
    },
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Node(Box::new(error))
    }
}

impl ImportError {
    pub(super) fn unknown(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Unknown { message: message.into(), next: next.into() }
    }
}
