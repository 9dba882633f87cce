//! Edges: joining records, properties, places.

use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::operation::{Basis, EdgeEnds, Operation, PositionAt};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Value};

use super::records::no_record;
use super::{Decision, Planner, places};
use crate::cell::{Cell, Content};
use crate::command::{Created, Place};
use crate::index::Direction;
use crate::read::{self, EdgeReading};

pub(super) fn ends(edge_type: &Name, source: EntityId, target: EntityId) -> EdgeEnds {
    EdgeEnds { edge_type: edge_type.clone(), source, target }
}

impl Planner<'_> {
    pub(super) fn create_edge(
        &mut self,
        edge: Option<EdgeId>,
        ends: EdgeEnds,
        properties: &[(Name, Value)],
        place: Option<Place>,
    ) -> Decision<()> {
        for (entity, end) in [(ends.source, "source"), (ends.target, "target")] {
            if !read::exists(&self.view(), entity)? {
                return Err(no_record(entity, end).into());
            }
        }
        let edge = edge.unwrap_or_else(|| self.ids.edge());
        let cell = Cell::Edge { edge };
        if matches!(read::cell(&self.view(), cell.clone())?.content(), Some(Content::Edge(_))) {
            let message = format!("Edge {edge} exists already.");
            return Err(Refusal::new(Reason::AlreadyExists, message).at("edge").into());
        }
        let basis = self.basis(&cell)?;
        let operation = match place {
            None => Operation::CreateEdge { edge, ends, basis },
            Some(place) => self.ordered(edge, ends, basis, place)?,
        };
        self.push(operation)?;
        for (property, value) in properties {
            self.set_property(edge, property, Some(value))?;
        }
        self.created.push((self.command, Created::Edge(edge)));
        Ok(())
    }

    fn ordered(&mut self, edge: EdgeId, ends: EdgeEnds, basis: Basis, place: Place) -> Decision<Operation> {
        let position = self.place(edge, &ends, place)?;
        let position_basis = self.basis(&Cell::EdgePosition { edge })?;
        Ok(Operation::CreateOrderedEdge { edge, ends, basis, position, position_basis })
    }

    pub(super) fn move_edge(&mut self, edge: EdgeId, place: Place) -> Decision<()> {
        let reading = self.edge(edge, "edge")?;
        if reading.place.is_none() {
            let message = format!("Edge {edge} has no place: it is not ordered.");
            return Err(Refusal::new(Reason::InvalidRequest, message).at("edge").into());
        }
        let position = self.place(edge, &reading.ends, place)?;
        let basis = self.basis(&Cell::EdgePosition { edge })?;
        self.push(Operation::MoveOrderedEdge { to: PositionAt { edge, position, basis } })
    }

    /// The fractional key for `place`, after making room where there is none.
    fn place(&mut self, edge: EdgeId, ends: &EdgeEnds, place: Place) -> Decision<Vec<u8>> {
        let others = self.ordered_siblings(edge, ends)?;
        let at = index_at(&others, place)?;
        if let Some(position) = places::between(&places_of(&others), at, edge) {
            return Ok(position);
        }
        let (range, keys) = places::rebalanced(&places_of(&others), at);
        self.rebalance(&others[range], keys)?;
        let others = self.ordered_siblings(edge, ends)?;
        let full = || Refusal::new(Reason::InvalidRequest, "There is no room at this place.");
        Ok(places::between(&places_of(&others), at, edge).ok_or_else(full)?)
    }

    fn ordered_siblings(&self, edge: EdgeId, ends: &EdgeEnds) -> Decision<Vec<EdgeReading>> {
        let mut edges = read::edges(&self.view(), ends.target, Direction::To, Some(&ends.edge_type))?;
        edges.retain(|other| other.edge != edge && other.place.is_some());
        Ok(edges)
    }

    fn rebalance(&mut self, edges: &[EdgeReading], keys: Vec<Vec<u8>>) -> Decision<()> {
        let mut to = Vec::new();
        for (EdgeReading { edge, .. }, position) in edges.iter().zip(keys) {
            let basis = self.basis(&Cell::EdgePosition { edge: *edge })?;
            to.push(PositionAt { edge: *edge, position, basis });
        }
        self.push(Operation::RebalanceOrderedEdges { to })
    }

    pub(super) fn delete_edge(&mut self, edge: EdgeId) -> Decision<()> {
        let reading = self.edge(edge, "edge")?;
        let properties = reading.properties.into_iter().map(|(_, property)| property.reading);
        let cells: Vec<_> = properties.map(|reading| (reading.cell, reading.tips)).collect();
        let seen = self.seen_of(&cells)?;
        let basis = self.basis(&Cell::Edge { edge })?;
        self.push(Operation::DeleteEdge { edge, basis, seen })
    }

    pub(super) fn set_edge_properties(&mut self, edge: EdgeId, values: &[(Name, Option<Value>)]) -> Decision<()> {
        self.edge(edge, "edge")?;
        if values.is_empty() {
            let refusal = Refusal::new(Reason::InvalidRequest, "No property is named.");
            return Err(refusal.at("values").into());
        }
        values.iter().try_for_each(|(property, value)| self.set_property(edge, property, value.as_ref()))
    }

    fn set_property(&mut self, edge: EdgeId, property: &Name, value: Option<&Value>) -> Decision<()> {
        let property = property.clone();
        let basis = self.basis(&Cell::EdgeProperty { edge, property: property.clone() })?;
        match value {
            Some(Value::FieldRef(_)) => {
                let message = format!("The property {property} cannot refer to a field.");
                Err(Refusal::new(Reason::WrongType, message).into())
            }
            Some(value) => self.push(Operation::SetEdgeProperty { edge, property, value: value.clone(), basis }),
            None => self.push(Operation::ClearEdgeProperty { edge, property, basis }),
        }
    }

    pub(super) fn edge(&self, edge: EdgeId, place: &str) -> Decision<EdgeReading> {
        let unknown = || Refusal::new(Reason::UnknownEdge, format!("There is no edge {edge}.")).at(place);
        Ok(read::edge(&self.view(), edge)?.ok_or_else(unknown)?)
    }
}

fn places_of(edges: &[EdgeReading]) -> Vec<Option<&[u8]>> {
    edges.iter().map(|edge| edge.place.as_deref()).collect()
}

/// Before which of `others` a place is.
fn index_at(others: &[EdgeReading], place: Place) -> Result<usize, Refusal> {
    let index_of = |wanted: EdgeId| {
        let unknown = || {
            let message = format!("Edge {wanted} is not among the ordered edges of this target.");
            Refusal::new(Reason::UnknownEdge, message).at("place")
        };
        others.iter().position(|other| other.edge == wanted).ok_or_else(unknown)
    };
    Ok(match place {
        Place::First => 0,
        Place::Last => others.len(),
        Place::Before(wanted) => index_of(wanted)?,
        Place::After(wanted) => index_of(wanted)? + 1,
    })
}
