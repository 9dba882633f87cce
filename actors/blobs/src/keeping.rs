//! Keeping: which files this node wants to have though nobody asks for them now, and seeing to it that they come.
//!
//! Those are the pinned ones, and, if the node keeps all files, every one that a standing value is.

use std::sync::Arc;

use futures::StreamExt;
use openprod_messages::blobs::{BlobError, BlobsMsg, FetchStanding};
use openprod_messages::environment::Environment;
use openprod_model::ids::BlobHash;
use ractor::{ActorRef, call};

use crate::care::CHUNK_ROWS;
use crate::collect::{Library, is_needed};
use crate::exchange::ended;
use crate::mentions::unread;

/// How many such files come at once: whoever asks for one has the rest of the network.
const KEPT_AT_ONCE: usize = 2;

impl Library {
    /// The files that this node wants to have and has not. Blocks its thread.
    pub fn missing(&self, keeps_all: bool) -> Result<Vec<BlobHash>, BlobError> {
        let mut missing = Vec::new();
        let mut after = None;
        loop {
            let pins = self.store.index.pins(after, CHUNK_ROWS)?;
            let Some(last) = pins.last() else { break };
            after = Some(*last);
            missing.extend(
                pins.into_iter().filter_map(|hash| self.lacks(hash).transpose()).collect::<Result<Vec<_>, _>>()?,
            );
        }
        if keeps_all {
            missing.extend(self.missing_of_all()?);
        }
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    fn missing_of_all(&self) -> Result<Vec<BlobHash>, BlobError> {
        let snapshot = self.snapshots.snapshot().map_err(|failure| unread(&failure))?;
        let (mut missing, mut after) = (Vec::new(), None);
        loop {
            let mentions = self.mentions(after, CHUNK_ROWS)?;
            let Some((last, _)) = mentions.last() else { return Ok(missing) };
            after = Some(*last);
            for (hash, _) in mentions {
                if self.lacks(hash)?.is_some() && is_needed(&self.store.index, snapshot.view(), hash)? {
                    missing.push(hash);
                }
            }
        }
    }

    /// The file, if it is not here or no longer what it was.
    fn lacks(&self, hash: BlobHash) -> Result<Option<BlobHash>, BlobError> {
        let is_here = self.store.index.row(hash)?.is_some_and(|row| !row.damaged);
        Ok((!is_here).then_some(hash))
    }
}

/// Gets what is missing and can be had now, through the room.
pub(crate) async fn keep(library: Library, keeps_all: bool, env: Environment, room: ActorRef<BlobsMsg>) {
    let missing = match env.offload(move || library.missing(keeps_all)).await {
        Some(Ok(missing)) => missing,
        Some(Err(error)) => {
            return tracing::warn!(%error, "which files are missing could not be told; it is tried again");
        }
        None => return,
    };
    let room = Arc::new(room);
    let comings = missing.into_iter().map(|hash| come(Arc::clone(&room), hash));
    futures::stream::iter(comings).for_each_concurrent(KEPT_AT_ONCE, |coming| coming).await;
}

async fn come(room: Arc<ActorRef<BlobsMsg>>, hash: BlobHash) {
    if let Ok(Some(mut standing)) = call!(room, |reply| BlobsMsg::Fetch { hash, reply }) {
        match ended(&mut standing).await {
            Some(FetchStanding::Here(kept)) => {
                tracing::info!(file = %hash, bytes = kept.size, "a file to be kept has come");
            }
            Some(FetchStanding::Failed(error)) => {
                tracing::warn!(file = %hash, %error, "a file to be kept could not be");
            }
            _ => {}
        }
    }
}
