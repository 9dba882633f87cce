//! What is the same: mapped columns, merged records, and what people said is not.

use openprod_api::v1;
use openprod_domain::cell::{Cell, Content, KeyRange, Tip};
use openprod_domain::describe;
use openprod_domain::read::{self, CellReading};
use openprod_domain::register;
use openprod_domain::unions::Unions;
use openprod_domain::view::{Read, View};
use openprod_model::ids::EntityId;
use openprod_model::operation::ColumnRef;

use super::super::paging::{self, Pages};
use super::super::reading::{Problem, Scene};

pub(super) fn mappings(scene: &Scene, request: &v1::ListMappingsRequest) -> Result<v1::ListMappingsResponse, Problem> {
    let unpaged =
        v1::ListMappingsRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<Vec<u8>>(&request.page_token)?.map(|(_, key)| key);
    let view = scene.view();
    let unions = view.unions()?;
    let mut cells = view.cells(&behind(Cell::mappings(), after));
    let (mut mappings, mut last) = (Vec::new(), None);
    while mappings.len() < paging::items(request.page_size) {
        let Some((cell, tips)) = cells.next().transpose()? else { break };
        last = Some(cell.key());
        if let Cell::Mapping { low, high } = &cell {
            mappings.push(mapping(&unions, low, high, &CellReading { cell: cell.clone(), tips }));
        }
    }
    let more = cells.next().transpose()?.is_some();
    let next = last.filter(|_| more).map(|key| pages.token(scene.revision(), &key)).unwrap_or_default();
    Ok(v1::ListMappingsResponse { mappings, next_page_token: next, revision: scene.revision().0 })
}

fn behind(range: KeyRange, after: Option<Vec<u8>>) -> KeyRange {
    match after {
        Some(key) => range.after(&key),
        None => range,
    }
}

fn mapping(unions: &Unions, low: &ColumnRef, high: &ColumnRef, reading: &CellReading) -> v1::Mapping {
    let state = match reading.content() {
        _ if reading.in_conflict() => v1::MappingState::Disputed,
        Some(Content::Present) => v1::MappingState::Confirmed,
        Some(Content::Rejected) => v1::MappingState::Rejected,
        _ => v1::MappingState::Revoked,
    };
    let group = unions.mapped(&low.table, &low.column);
    let column =
        |column: &ColumnRef| v1::NamedColumn { table: column.table.to_string(), column: column.column.to_string() };
    v1::Mapping {
        one: Some(column(low)),
        other: Some(column(high)),
        state: state.into(),
        united: group.is_some_and(|group| group.contains(high)),
    }
}

pub(super) fn merges(scene: &Scene, request: &v1::ListMergesRequest) -> Result<v1::ListMergesResponse, Problem> {
    let unpaged = v1::ListMergesRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<EntityId>(&request.page_token)?.map(|(_, last)| last);
    let view = scene.view();
    let unions = view.unions()?;
    let classes = unions.classes(after);
    let page = &classes[..classes.len().min(paging::items(request.page_size))];
    let records = page.iter().map(|class| merged(&*view, class)).collect::<Read<_>>()?;
    let last = page.last().filter(|_| page.len() < classes.len()).map(|class| class[0]);
    let next = last.map(|last| pages.token(scene.revision(), &last)).unwrap_or_default();
    Ok(v1::ListMergesResponse { records, next_page_token: next, revision: scene.revision().0 })
}

fn merged(view: &dyn View, class: &[EntityId]) -> Read<v1::MergedRecord> {
    let tables = read::tables_of(view, class[0])?;
    Ok(v1::MergedRecord {
        id: class[0].to_string(),
        ids: class.iter().map(EntityId::to_string).collect(),
        name: describe::called(view, class[0])?,
        tables: tables.iter().map(ToString::to_string).collect(),
    })
}

pub(super) fn exceptions(
    scene: &Scene,
    request: &v1::ListMergeExceptionsRequest,
) -> Result<v1::ListMergeExceptionsResponse, Problem> {
    let unpaged =
        v1::ListMergeExceptionsRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let after = pages.place::<Vec<u8>>(&request.page_token)?.map(|(_, key)| key);
    let view = scene.view();
    let (mut exceptions, mut last) = (Vec::new(), None);
    let mut more = false;
    for item in view.cells(&behind(Cell::merges(), after)) {
        scene.stop.check()?;
        let (cell, tips) = item?;
        let Some(exception) = exception(&*view, &cell, &tips)? else { continue };
        if exceptions.len() == paging::items(request.page_size) {
            more = true;
            break;
        }
        exceptions.push(exception);
        last = Some(cell.key());
    }
    let next = last.filter(|_| more).map(|key| pages.token(scene.revision(), &key)).unwrap_or_default();
    Ok(v1::ListMergeExceptionsResponse { exceptions, next_page_token: next, revision: scene.revision().0 })
}

/// The exception that a pair stands for; none if its records are one, by this pair or by others.
fn exception(view: &dyn View, cell: &Cell, tips: &[Tip]) -> Read<Option<v1::MergeException>> {
    let Cell::Merge { low, high } = cell else { return Ok(None) };
    let unions = view.unions()?;
    if unions.canonical(*low) == unions.canonical(*high) {
        return Ok(None);
    }
    Ok(Some(v1::MergeException {
        one: low.to_string(),
        other: high.to_string(),
        one_name: describe::called(view, *low)?,
        other_name: describe::called(view, *high)?,
        disputed: register::in_conflict(cell, tips),
    }))
}
