//! A document or a sequence, whole, and what an editor needs that binds to it.

use openprod_api::convert::ids::id;
use openprod_api::v1;
use openprod_domain::describe;
use openprod_domain::edits;
use openprod_domain::read::{self, FieldReading};
use openprod_domain::text::{Document, Flaw};
use openprod_model::ids::EntityId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldType, PrimitiveType};

use super::super::reading::{self, Problem, Scene};

pub(super) fn document(scene: &Scene, request: &v1::GetDocumentRequest) -> Result<v1::GetDocumentResponse, Problem> {
    let record: EntityId = id(&request.record, "record")?;
    let view = scene.view();
    let view = &*view;
    let table = reading::table(view, &request.table)?;
    let key = reading::column(&table, &request.column)?;
    let column = table.columns.iter().find(|column| column.key == key);
    let field_type = column.map_or(FieldType::Text, |column| column.spec.field_type.clone());
    let Some((kind, item)) = edits::kind_of(&field_type) else {
        let message =
            format!("{} holds {}, which nobody edits in part.", request.column, describe::a_type(&field_type));
        return Err(Refusal::new(Reason::WrongType, message).at("column").next("Read the record instead.").into());
    };
    if !read::is_record(view, &table.key, record)? {
        return Err(super::no_record(view, record, &request.table)?.into());
    }
    let FieldReading { reading, .. } = read::field(view, &table.key, record, &key)?;
    let told = edits::read(view, &reading.cell, kind, |document| told(document, item, &request.state_vector))?;
    let told = told.map_err(|flaw| {
        let message = format!("The state vector cannot be read: {flaw}.");
        Refusal::new(Reason::InvalidValue, message).at("state_vector").next("Leave it out to get everything.")
    })?;
    Ok(v1::GetDocumentResponse { r#type: Some((&field_type).into()), revision: scene.revision().0, ..told })
}

fn told(document: &Document, item: Option<PrimitiveType>, known: &[u8]) -> Result<v1::GetDocumentResponse, Flaw> {
    let items = item.map(|item| document.items(item)).unwrap_or_default();
    Ok(v1::GetDocumentResponse {
        text: document.text(),
        items: items.iter().map(v1::Primitive::from).collect(),
        update: if known.is_empty() { document.encode_state() } else { document.missing_for(known)? },
        left_out: u32::try_from(document.left_out().len()).unwrap_or(u32::MAX),
        ..v1::GetDocumentResponse::default()
    })
}
