//! Staging: a request is planned on what an overlay shows, and becomes staged cells; and an overlay becomes a bundle.

use std::sync::Arc;

use openprod_domain::command::{Created, Request};
use openprod_domain::decide;
use openprod_domain::overlay::stage::SeenThrough;
use openprod_domain::overlay::{Delta, Staging};
use openprod_messages::address::Address;
use openprod_messages::commands::{CommandError, OpenedConflict, StagedOutcome};
use openprod_messages::overlays::{Action, Asked, Done, Overlay, OverlayError, Overlays, OverlaysMsg};
use openprod_model::bundle::{OverlaySource, Source};
use openprod_model::identity::Keys;
use openprod_model::ids::OverlayId;
use openprod_model::refusal::{Reason, Refusal};

use crate::planning::{Ids, Picture, Planned, Told, command_error};

/// How often a request is planned again because somebody else has staged something meanwhile.
const ATTEMPTS: usize = 16;

/// A request on its way into an overlay.
pub(crate) struct StagingJob {
    pub(crate) picture: Picture,
    pub(crate) keys: Keys,
    pub(crate) request: Request,
    pub(crate) overlay: OverlayId,
    pub(crate) asked: Asked,
    pub(crate) shelf: Arc<dyn Overlays>,
    pub(crate) room: Address<OverlaysMsg>,
}

/// A request as it is to be staged.
struct Change {
    delta: Delta,
    created: Vec<(u32, Created)>,
    opened: Vec<OpenedConflict>,
}

impl StagingJob {
    /// Plans and has it staged; plans anew where the overlay has changed in between.
    pub(crate) async fn run(self) -> Result<StagedOutcome, CommandError> {
        let job = Arc::new(self);
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = Self::attempt(&job).await? {
                return Ok(outcome);
            }
        }
        Err(CommandError::Unavailable("Others work in this overlay; try again.".to_owned()))
    }

    async fn attempt(job: &Arc<Self>) -> Result<Option<StagedOutcome>, CommandError> {
        let planning = Arc::clone(job);
        let planned = job.picture.env.offload(move || planning.plan()).await;
        let broke_off = || CommandError::Unavailable("Planning broke off; try again.".to_owned());
        let change = match planned.ok_or_else(broke_off)?? {
            Planning::Answered(done) => return Ok(Some(job.outcome(done, Replayed::Yes))),
            Planning::Fresh(change) => change,
        };
        fail::fail_point!("commands-after-plan");
        let Change { delta, created, opened } = change;
        let action = Box::new(Action::Stage { overlay: job.overlay, delta: Box::new(delta), created, opened });
        let staged = job.room.call(|reply| OverlaysMsg::Do { action, asked: job.asked, reply }).await;
        match staged.map_err(|none| CommandError::Unavailable(none.to_string()))? {
            Ok((done, replayed)) => Ok(Some(job.outcome(done, if replayed { Replayed::Yes } else { Replayed::No }))),
            Err(OverlayError::Stale) => Ok(None),
            Err(OverlayError::Command(error)) => Err(error),
        }
    }

    fn outcome(&self, done: Done, replayed: Replayed) -> StagedOutcome {
        StagedOutcome { revision: self.picture.snapshot.position(), done, replayed: replayed == Replayed::Yes }
    }

    /// The first answer again, if there was one: the overlay may be gone since.
    fn plan(&self) -> Result<Planning, CommandError> {
        match self.shelf.receipt(self.asked.command)? {
            Some(receipt) if receipt.payload == self.asked.payload => Ok(Planning::Answered(receipt.done)),
            _ => {
                let staging = self.shelf.overlay(self.overlay)?.staging;
                Ok(Planning::Fresh(self.picture.stage(&self.request, &self.keys, (self.overlay, &staging))?))
            }
        }
    }
}

enum Planning {
    Answered(Done),
    Fresh(Change),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replayed {
    Yes,
    No,
}

impl Picture {
    fn stage(
        &self,
        request: &Request,
        keys: &Keys,
        (overlay, staging): (OverlayId, &Staging),
    ) -> Result<Change, CommandError> {
        self.check_base(request.base)?;
        let stamp = self.stamp(keys.actor(), request.commands.len());
        let base = self.layer.over(self.snapshot.view());
        let canonical = self.eyes(request);
        let seen = SeenThrough { canonical: &canonical, staging };
        let view = staging.over(&base);
        // Who writes in a document here and there at the same time is two.
        let secret = *blake3::keyed_hash(&self.secret, overlay.as_bytes()).as_bytes();
        let plan = decide::plan(&view, &seen, &mut Ids { env: &self.env, secret: &secret }, stamp, request)
            .map_err(command_error)?;
        let opened = self.all_opened(&plan.layer.over(&view), &plan, keys.actor())?;
        let delta = staging.stage(&base, &canonical, &plan.made(stamp), &plan.label).map_err(command_error)?;
        Ok(Change { delta, created: plan.created, opened })
    }

    /// Plans and signs the commit of an overlay.
    pub(crate) fn commit(&self, overlay: &Overlay, request: &Request, keys: &Keys) -> Result<Planned, CommandError> {
        let info = &overlay.info;
        let request = Request {
            label: request.label.clone().or_else(|| info.label.clone()),
            source: source_of(overlay),
            ..request.clone()
        };
        let stamp = self.stamp(keys.actor(), overlay.staging.len());
        let view = self.layer.over(self.snapshot.view());
        let plan =
            decide::commit(&view, stamp, &request, &overlay.staging, info.name.as_str()).map_err(command_error)?;
        let opened = self.all_opened(&plan.layer.over(&view), &plan, keys.actor())?;
        self.seal(plan, &request, stamp, keys, Told { opened, ..Told::default() }).map_err(|error| match error {
            CommandError::Refused(refusal) if refusal.reason == Reason::TooLarge => too_large(refusal).into(),
            error => error,
        })
    }
}

fn too_large(refusal: Refusal) -> Refusal {
    refusal.next("Knock out a part of the overlay, and make that change separately.")
}

/// Which overlay it was, at which generation; and which file was imported into it, if one was.
fn source_of(overlay: &Overlay) -> Source {
    let info = &overlay.info;
    let imported = (info.source.kind == Source::FILE).then_some(&info.source);
    let detail = OverlaySource {
        overlay: info.id,
        generation: overlay.staging.head().generation,
        file: imported.and_then(|file| <[u8; 32]>::try_from(&file.detail[..]).ok()),
    };
    let name = imported.map_or_else(|| info.name.clone(), |file| file.name.clone());
    Source { kind: Source::OVERLAY, name, detail: detail.to_detail() }
}
