//! Overlays at the desk: requests that are staged, and the commit of what was.

use std::sync::Arc;

use openprod_domain::command::Request;
use openprod_messages::commands::{CommandError, StagedOutcome};
use openprod_messages::overlays::{Asked, committed_behind};
use openprod_model::bundle::OverlaySource;
use openprod_model::codec;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, OverlayId};
use openprod_model::refusal::{Reason, Refusal};
use ractor::RpcReplyPort;

use super::{Desk, Pending, reused, unreadable};
use crate::planning::{Picture, Planned};
use crate::staging::StagingJob;

impl Desk {
    /// Plans a request for an overlay and has it staged, in a task of its own: nobody else waits for that.
    pub(crate) async fn stage(
        &mut self,
        overlay: OverlayId,
        request: Request,
        actor: Option<ActorId>,
        reply: RpcReplyPort<Result<StagedOutcome, CommandError>>,
    ) {
        match self.begin_staging(overlay, request, actor).await {
            Ok(job) => drop(tokio::spawn(async move { reply.send(job.run().await) })),
            // Whoever hung up meanwhile can ask again with the same id.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn begin_staging(
        &mut self,
        overlay: OverlayId,
        request: Request,
        actor: Option<ActorId>,
    ) -> Result<StagingJob, CommandError> {
        let keys = self.keys(actor)?;
        if request.turn().is_some() {
            let message = "Undo and redo take back what is in history, and not what is staged.";
            let next = "Leave out the overlay, or undo the last step within it.";
            return Err(Refusal::new(Reason::NotInOverlay, message).next(next).into());
        }
        let command = request.command_id;
        let is_waiting = self.waiting.values().any(|waiting| waiting.command == command);
        if is_waiting || self.args.log.receipt(command).map_err(|failure| unreadable(&failure))?.is_some() {
            return Err(reused(command));
        }
        let payload = *blake3::hash(&codec::encode(&(overlay, &request))).as_bytes();
        Ok(StagingJob {
            picture: self.picture(keys.actor()).await?,
            keys,
            request,
            overlay,
            asked: Asked { command, payload },
            shelf: Arc::clone(&self.args.shelf),
            room: self.args.overlays.clone(),
        })
    }

    /// Plans the commit of an overlay, unless that is the log's already, or on its way there.
    pub(super) async fn plan_commit(
        &self,
        picture: Picture,
        overlay: OverlayId,
        request: &Request,
        keys: &Keys,
    ) -> Result<Planned, CommandError> {
        // In this order: what the room drops behind our back, it drops because the log holds it.
        let read_up_to = *self.args.shelf.followed().borrow();
        let overlay = self.args.shelf.overlay(overlay)?;
        let on_its_way = |pending: &Pending| {
            let header = pending.bundle.header();
            OverlaySource::of(header.kind, &header.source).is_some_and(|source| source.overlay == overlay.info.id)
        };
        let committed = committed_behind(&*self.args.log, read_up_to, overlay.info.id);
        if self.pending.iter().any(on_its_way) || committed.map_err(|failure| unreadable(&failure))?.is_some() {
            let why =
                format!("The overlay \"{}\" was committed just now, and is being cleared away.", overlay.info.name);
            return Err(CommandError::Unavailable(why));
        }
        let (request, keys) = (request.clone(), keys.clone());
        let planned = self.args.env.offload(move || picture.commit(&overlay, &request, &keys)).await;
        planned.unwrap_or_else(|| Err(CommandError::Unavailable("Planning broke off; try again.".to_owned())))
    }
}
