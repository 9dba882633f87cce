//! Recovery keys: what readmits its holder to a workspace when every device is lost or everybody was removed.
//!
//! A recovery key is a member of its workspace from the first bundle on. Its secret half is shown once, when the
//! workspace is made, and kept on paper; no node stores it.

use openprod_model::codec;
use openprod_model::identity::Keys;
use openprod_model::ids::WorkspaceId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::letters::{self, LettersError};

const WORD: &str = "RECOVERY";
const VERSION: u8 = 1;
/// Letters between two dashes: what people copy by hand without losing their place.
const GROUP: usize = 6;

/// The recovery key of a workspace.
#[derive(Debug, Clone)]
pub struct RecoveryKey {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The key pair.
    pub keys: Keys,
}

#[derive(Serialize, Deserialize)]
struct Content {
    workspace: WorkspaceId,
    seed: [u8; 32],
}

/// Why a text is not a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Its letters are not those of a recovery key.
    #[error("{0}")]
    Letters(#[from] LettersError),
    /// The letters are right, and what they say is not a recovery key.
    #[error("its content is not a recovery key's")]
    Content,
}

impl RecoveryKey {
    /// Whether `text` says of itself that it is a recovery key, whole and right or not.
    pub fn is_meant(text: &str) -> bool {
        letters::claims(WORD, text)
    }

    /// Reads a recovery key that was copied, typed or scanned: case, line breaks and dashes do not matter.
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        let content = Zeroizing::new(letters::read(WORD, VERSION, text)?);
        let Content { workspace, seed } = codec::decode(&content).map_err(|_| RecoveryError::Content)?;
        Ok(Self { workspace, keys: Keys::from_seed(&Zeroizing::new(seed)) })
    }

    /// It in letters, divided by dashes: whoever has it can join the workspace and act there.
    pub fn reveal(&self) -> Zeroizing<String> {
        let content = Content { workspace: self.workspace, seed: *self.keys.seed() };
        let text = Zeroizing::new(letters::write(WORD, VERSION, &Zeroizing::new(codec::encode(&content))));
        let (head, letters) = text.split_at(text.len() - text.rsplit('-').next().map_or(0, str::len));
        let groups: Vec<&str> =
            (0..letters.len()).step_by(GROUP).map(|at| &letters[at..letters.len().min(at + GROUP)]).collect();
        Zeroizing::new(format!("{head}{}", groups.join("-")))
    }
}
