//! What an overlay would change, and what others have changed meanwhile.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openprod_api::convert::history::cell_content;
use openprod_api::v1;
use openprod_domain::cell::Cell;
use openprod_domain::describe;
use openprod_domain::overlay::Staging;
use openprod_domain::overlay::diff::{self, Becomes, Difference, FieldDiff, Subject, Survey};
use openprod_domain::overlay::drift::Drift;
use openprod_domain::read::{FieldReading, Tables};
use openprod_domain::view::{Read, View};
use openprod_messages::overlays::Overlay;
use openprod_model::ids::{Digest, OverlayId};

use super::super::batch::{Names, info};
use super::super::paging::{self, Pages};
use super::super::reading::{Problem, Scene};

/// The overlay that is looked through. Requests that name none do not come here.
fn overlay(scene: &Scene) -> &Overlay {
    scene.overlay.as_ref().expect("an overlay was named")
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What the overlay that was previewed last would change: whoever turns the page, or looks again, need not wait until
/// everything staged was looked at once more.
#[derive(Debug, Default)]
pub(super) struct Surveyed(Mutex<Option<(Picture, Arc<Survey>)>>);

/// An overlay at one of its generations, on one revision of one log.
type Picture = (OverlayId, u64, Digest);

impl Surveyed {
    fn survey(&self, scene: &Scene) -> Read<Arc<Survey>> {
        let overlay = overlay(scene);
        let picture = (overlay.info.id, overlay.staging.head().generation, scene.snapshot.chain());
        let last = self.last().clone();
        if let Some((_, survey)) = last.filter(|(known, _)| *known == picture) {
            return Ok(survey);
        }
        let survey = Arc::new(overlay.staging.survey(&scene.canonical())?);
        *self.last() = Some((picture, Arc::clone(&survey)));
        Ok(survey)
    }

    fn last(&self) -> MutexGuard<'_, Option<(Picture, Arc<Survey>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn differences(
    scene: &Scene,
    surveyed: &Surveyed,
    request: &v1::PreviewOverlayRequest,
) -> Result<v1::PreviewOverlayResponse, Problem> {
    let unpaged =
        v1::PreviewOverlayRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<Subject>(&request.page_token)?.map(|(_, last)| last);
    let (base, staging) = (scene.canonical(), &overlay(scene).staging);
    let survey = surveyed.survey(scene)?;
    let counts = after.is_none().then(|| counts(&survey));
    let view = scene.view();
    let mut teller = Teller { was: Tables::of(&*base), is: Tables::of(&*view), staging };
    let mut differences = Vec::new();
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = survey.subjects.range((from, Bound::Unbounded)).peekable();
    let (mut last, mut bytes) = (None, 0);
    while differences.len() < paging::items(request.page_size) && bytes < paging::MAX_BYTES {
        scene.stop.check()?;
        let Some(subject) = rest.next() else { break };
        if let Some(difference) = teller.difference(subject)? {
            bytes += weight(&difference);
            differences.push(difference);
        }
        last = Some(subject);
    }
    let next = last.filter(|_| rest.peek().is_some()).map(|last| pages.token(scene.revision(), last));
    Ok(v1::PreviewOverlayResponse {
        counts,
        differences,
        next_page_token: next.unwrap_or_default(),
        revision: scene.revision().0,
        generation: staging.head().generation,
    })
}

fn counts(Survey { counts, drifted, .. }: &Survey) -> v1::PreviewCounts {
    v1::PreviewCounts {
        new_records: count(counts.new_records),
        changed_records: count(counts.changed_records),
        removed_records: count(counts.removed_records),
        new_edges: count(counts.new_edges),
        changed_edges: count(counts.changed_edges),
        removed_edges: count(counts.removed_edges),
        others: count(counts.others),
        drifted: count(*drifted),
    }
}

/// About how many bytes a difference takes in a message.
fn weight(difference: &v1::Difference) -> usize {
    use v1::difference::Subject;
    let text = |value: &Option<v1::Value>| match value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(v1::value::Kind::Text(text)) => text.len(),
        _ => 64,
    };
    let fields = |fields: &[v1::FieldDifference]| -> usize {
        fields.iter().map(|field| 32 + text(&field.before) + text(&field.after)).sum()
    };
    128 + match &difference.subject {
        Some(Subject::Record(record)) => fields(&record.fields),
        Some(Subject::Edge(edge)) => fields(&edge.properties),
        _ => 256,
    }
}

/// Tells differences: of what people see canonically, and through the overlay.
struct Teller<'a> {
    was: Tables<'a>,
    is: Tables<'a>,
    staging: &'a Staging,
}

impl Teller<'_> {
    /// Nothing where nothing differs.
    fn difference(&mut self, subject: &Subject) -> Read<Option<v1::Difference>> {
        let difference = diff::difference(self.was.view(), self.is.view(), subject)?;
        let kind = match difference.becomes {
            Becomes::New => v1::DifferenceKind::New,
            Becomes::Changed => v1::DifferenceKind::Changed,
            Becomes::Removed => v1::DifferenceKind::Removed,
            Becomes::Same => return Ok(None),
        };
        Ok(Some(v1::Difference { kind: kind.into(), subject: self.subject(difference)? }))
    }

    fn subject(&mut self, difference: Difference) -> Read<Option<v1::difference::Subject>> {
        use v1::difference::Subject as Told;
        let fields = difference.fields.iter().map(|field| self.field(field)).collect::<Read<Vec<_>>>()?;
        Ok(match difference.subject {
            Subject::Record { table, entity } => {
                let tables = if difference.becomes == Becomes::Removed { &mut self.was } else { &mut self.is };
                let shown = tables.view();
                let name = tables.of_key(&table)?.map(|table| describe::record(shown, table, entity)).transpose()?;
                let (record, table) = (entity.to_string(), table.to_string());
                Some(Told::Record(v1::RecordDifference { record, table, name: name.unwrap_or_default(), fields }))
            }
            Subject::Edge(_) => difference
                .edge
                .as_ref()
                .map(|edge| Told::Edge(v1::EdgeDifference { edge: Some(edge.into()), properties: fields })),
            Subject::Other(key) => match Cell::from_key(&key) {
                Some(cell) => {
                    let (before, after) = difference.contents.unwrap_or_default();
                    let told = |content| cell_content(&cell, content);
                    Some(Told::Cell(v1::CellDifference {
                        cell: Some((&cell).into()),
                        name: describe::cell_in(&mut self.is, &cell)?,
                        before: before.as_ref().map(told),
                        after: after.as_ref().map(told),
                    }))
                }
                None => None,
            },
        })
    }

    fn field(&self, field: &FieldDiff) -> Read<v1::FieldDifference> {
        let value = |reading: &Option<FieldReading>| reading.as_ref()?.value.as_ref().map(v1::Value::from);
        let drifted = match field.after.as_ref().or(field.before.as_ref()) {
            Some(shown) => self.staging.drift_on(self.was.view(), &shown.reading.cell)?.is_some(),
            None => false,
        };
        Ok(v1::FieldDifference {
            column: field.field.to_string(),
            before: value(&field.before),
            after: value(&field.after),
            drifted,
        })
    }
}

pub(super) fn drift(scene: &Scene, request: &v1::ListDriftRequest) -> Result<v1::ListDriftResponse, Problem> {
    let unpaged = v1::ListDriftRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<Vec<u8>>(&request.page_token)?.map(|(_, last)| last);
    let base = scene.canonical();
    let all = overlay(scene).staging.drift(&base)?.into_iter();
    let mut all: Vec<(Vec<u8>, Drift)> = all.map(|drift| (drift.cell.key(), drift)).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut rest = all.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).peekable();
    let page: Vec<_> = rest.by_ref().take(paging::items(request.page_size)).collect();
    let last = page.last().filter(|_| rest.peek().is_some());
    let next = last.map(|(key, _)| pages.token(scene.revision(), key));
    let mut names = Names::of(&*base);
    let told = page.into_iter().map(|(_, drift)| drifted(scene, &*base, &mut names, &drift));
    Ok(v1::ListDriftResponse {
        drift: told.collect::<Read<_>>()?,
        next_page_token: next.unwrap_or_default(),
        revision: scene.revision().0,
    })
}

fn drifted(scene: &Scene, base: &dyn View, names: &mut Names<'_>, drift: &Drift) -> Read<v1::DriftedCell> {
    let (mut theirs, mut said) = (Vec::new(), Vec::new());
    for tip in &drift.theirs {
        let Some(at) = tip.position else { continue };
        let Some(entry) = scene.log.entry(at)? else { continue };
        let bundle = info(names, at, &entry, scene.log.outline(at)?.as_ref())?;
        said.push(format!("{} ({})", names.called(entry.actor)?, describe::content(&tip.content)));
        theirs.push(v1::DriftedWrite { bundle: Some(bundle), content: Some(cell_content(&drift.cell, &tip.content)) });
    }
    let subject = describe::cell_on(&overlay(scene).staging.over(base), &drift.cell)?;
    let mine = describe::content(&drift.mine);
    Ok(v1::DriftedCell {
        cell: Some((&drift.cell).into()),
        sentence: format!("{subject} is {mine} in this overlay, and was changed by {}.", said.join(" and ")),
        mine: Some(cell_content(&drift.cell, &drift.mine)),
        theirs,
    })
}
