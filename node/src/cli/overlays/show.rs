//! How overlays are shown: as a list, one by one, as a diff, and what has drifted.

use openprod_client::{Pages, v1};
use openprod_domain::describe::escaped;
use serde_json::{Value as Json, json};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::json as told;
use crate::cli::output::{self, Grid, Style, facts, grid, line, remark};
use crate::cli::time;

pub(super) fn as_json(overlay: &v1::Overlay) -> Json {
    json!({
        "overlay": overlay.overlay, "name": overlay.name, "label": overlay.label,
        "file": overlay.source.as_ref().map(|source| json!({"name": source.name, "hash": source.hash})),
        "created_ms": overlay.created_ms, "stashed": overlay.stashed, "generation": overlay.generation,
        "staged_cells": overlay.staged_cells, "undo": overlay.undo_label, "redo": overlay.redo_label,
    })
}

pub(super) fn list(context: &Context, overlays: &[v1::Overlay]) -> Result<(), CliError> {
    if context.style == Style::Json {
        return overlays.iter().try_for_each(|overlay| output::json(&as_json(overlay)));
    }
    let mut shown = Grid::new(&["NAME", "STAGED", "STATE", "MADE", "ID"]);
    for overlay in overlays {
        let staged = overlay.staged_cells.to_string();
        shown.row([
            overlay.name.clone(),
            staged,
            state(overlay).to_owned(),
            time::shown(overlay.created_ms),
            overlay.overlay.clone(),
        ]);
    }
    grid(context.style, &shown)
}

fn state(overlay: &v1::Overlay) -> &'static str {
    match (overlay.stashed, overlay.active_sessions) {
        (true, _) => "stashed",
        (false, 0) => "",
        (false, _) => "active",
    }
}

pub(super) fn one(context: &Context, overlay: &v1::Overlay) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&as_json(overlay));
    }
    facts(
        context.style,
        &[
            ("overlay", overlay.overlay.clone()),
            ("name", overlay.name.clone()),
            ("label", overlay.label.clone()),
            ("file", overlay.source.clone().map(|source| source.name).unwrap_or_default()),
            ("made", time::shown(overlay.created_ms)),
            ("state", state(overlay).to_owned()),
            ("staged cells", overlay.staged_cells.to_string()),
            ("undo", overlay.undo_label.clone()),
            ("redo", overlay.redo_label.clone()),
        ],
    )
}

pub(super) async fn preview(context: &Context, mut pages: Pages<v1::PreviewOverlayRequest>) -> Result<(), CliError> {
    let mut counts = v1::PreviewCounts::default();
    while let Some(page) = pages.next().await? {
        counts = page.counts.unwrap_or(counts);
        for difference in &page.differences {
            match context.style {
                Style::Json => output::json(&difference_json(difference))?,
                _ => lines_of(difference)?,
            }
        }
    }
    if context.style == Style::Json {
        return output::json(&json!({"counts": counts_json(&counts)}));
    }
    remark(&sentence(&counts));
    if counts.drifted > 0 {
        remark(&format!("{} have drifted: `openprod overlay drift` lists them.", counts.drifted));
    }
    Ok(())
}

/// "47 new, 3 changed, 0 removed", and what there is beside records.
fn sentence(counts: &v1::PreviewCounts) -> String {
    let records =
        format!("{} new, {} changed, {} removed", counts.new_records, counts.changed_records, counts.removed_records);
    let edges = counts.new_edges + counts.changed_edges + counts.removed_edges;
    let beside = [(edges, "edges"), (counts.others, "other changes")];
    let beside = beside.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    format!("{records}{}.", beside.collect::<String>())
}

fn counts_json(counts: &v1::PreviewCounts) -> Json {
    json!({
        "new_records": counts.new_records, "changed_records": counts.changed_records,
        "removed_records": counts.removed_records, "new_edges": counts.new_edges,
        "changed_edges": counts.changed_edges, "removed_edges": counts.removed_edges, "others": counts.others,
        "drifted": counts.drifted,
    })
}

fn sign(kind: v1::DifferenceKind) -> &'static str {
    match kind {
        v1::DifferenceKind::New => "+",
        v1::DifferenceKind::Removed => "-",
        v1::DifferenceKind::Changed | v1::DifferenceKind::Unspecified => "~",
    }
}

fn lines_of(difference: &v1::Difference) -> Result<(), CliError> {
    use v1::difference::Subject;
    let sign = sign(difference.kind());
    match &difference.subject {
        Some(Subject::Record(record)) => {
            line(&escaped(&format!("{sign} {}", record.name)))?;
            record.fields.iter().try_for_each(|field| field_line(difference.kind(), field))
        }
        Some(Subject::Edge(edge)) => {
            let ends = edge.edge.clone().unwrap_or_default().ends.unwrap_or_default();
            line(&escaped(&format!("{sign} edge {} from {} to {}", ends.r#type, ends.source, ends.target)))?;
            edge.properties.iter().try_for_each(|field| field_line(difference.kind(), field))
        }
        Some(Subject::Cell(cell)) => {
            let said = |content: &Option<v1::CellContent>| match content {
                Some(content) => told::content(Some(content)),
                None => "(nothing)".to_owned(),
            };
            line(&escaped(&format!("{sign} {}: {} -> {}", cell.name, said(&cell.before), said(&cell.after))))
        }
        None => Ok(()),
    }
}

fn field_line(kind: v1::DifferenceKind, field: &v1::FieldDifference) -> Result<(), CliError> {
    let text = |value: &Option<v1::Value>| value.as_ref().map_or_else(|| "(nothing)".to_owned(), told::text_of);
    let (before, after) = (text(&field.before), text(&field.after));
    let said = match kind {
        v1::DifferenceKind::New => after,
        v1::DifferenceKind::Removed => before,
        _ => format!("{before} -> {after}"),
    };
    let drifted = if field.drifted { "   (drifted)" } else { "" };
    line(&escaped(&format!("    {}: {said}{drifted}", field.column)))
}

fn difference_json(difference: &v1::Difference) -> Json {
    use v1::difference::Subject;
    let what = match difference.kind() {
        v1::DifferenceKind::New => "new",
        v1::DifferenceKind::Changed => "changed",
        v1::DifferenceKind::Removed => "removed",
        v1::DifferenceKind::Unspecified => "unknown",
    };
    let fields = |fields: &[v1::FieldDifference]| -> Vec<Json> {
        let value = |value: &Option<v1::Value>| value.as_ref().map(told::value);
        let field = |field: &v1::FieldDifference| {
            json!({"column": field.column, "before": value(&field.before), "after": value(&field.after),
                "drifted": field.drifted})
        };
        fields.iter().map(field).collect()
    };
    match &difference.subject {
        Some(Subject::Record(record)) => json!({"difference": what, "record": record.record, "table": record.table,
            "name": record.name, "fields": fields(&record.fields)}),
        Some(Subject::Edge(edge)) => json!({"difference": what, "edge": edge.edge.as_ref().map(told::edge),
            "properties": fields(&edge.properties)}),
        Some(Subject::Cell(cell)) => json!({"difference": what, "cell": cell.name,
            "before": cell.before.as_ref().map(|content| told::content(Some(content))),
            "after": cell.after.as_ref().map(|content| told::content(Some(content)))}),
        None => json!({"difference": what}),
    }
}

pub(super) async fn drift(context: &Context, pages: Pages<v1::ListDriftRequest>) -> Result<(), CliError> {
    let all = pages.all().await?;
    for drifted in &all {
        match context.style {
            Style::Json => output::json(&drift_json(drifted))?,
            _ => line(&escaped(&drifted.sentence))?,
        }
    }
    match (context.style, all.len()) {
        (Style::Json, _) => {}
        (_, 0) => remark("Nothing has drifted."),
        (_, _) => remark("Decide each with `openprod overlay keep-mine` or `openprod overlay use-canonical`."),
    }
    Ok(())
}

fn drift_json(drifted: &v1::DriftedCell) -> Json {
    let theirs = drifted.theirs.iter().map(|write| {
        json!({"content": told::content(write.content.as_ref()), "bundle": write.bundle.as_ref().map(told::bundle)})
    });
    json!({
        "sentence": drifted.sentence, "mine": told::content(drifted.mine.as_ref()),
        "theirs": theirs.collect::<Vec<_>>(),
    })
}
