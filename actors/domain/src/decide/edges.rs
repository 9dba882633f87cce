//! Edges: joining records, properties, places.

use fractional_index::FractionalIndex;
use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::operation::{Basis, EdgeEnds, Operation, PositionAt};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Value};

use super::records::no_record;
use super::{Decision, Planner};
use crate::cell::{Cell, Content};
use crate::command::{Created, Place};
use crate::index::Direction;
use crate::read::{self, EdgeReading};

/// Places longer than this are made short again, for all edges of the target, in the same bundle.
const MAX_PLACE_BYTES: usize = 64;
/// Random halvings that keep two people's inserts at one spot from getting the same place.
const JITTER_STEPS: u8 = 8;

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
        if let Some(position) = between(&others, edge, place)? {
            return Ok(position);
        }
        self.rebalance(&others)?;
        let others = self.ordered_siblings(edge, ends)?;
        let full = || Refusal::new(Reason::InvalidRequest, "There is no room at this place.");
        Ok(between(&others, edge, place)?.ok_or_else(full)?)
    }

    fn ordered_siblings(&self, edge: EdgeId, ends: &EdgeEnds) -> Decision<Vec<EdgeReading>> {
        let mut edges = read::edges(&self.view(), ends.target, Direction::To, Some(&ends.edge_type))?;
        edges.retain(|other| other.edge != edge && other.place.is_some());
        Ok(edges)
    }

    fn rebalance(&mut self, edges: &[EdgeReading]) -> Decision<()> {
        let mut to = Vec::new();
        let mut place: Option<FractionalIndex> = None;
        for edge in edges {
            let next = place.as_ref().map_or_else(FractionalIndex::default, FractionalIndex::new_after);
            let basis = self.basis(&Cell::EdgePosition { edge: edge.edge })?;
            to.push(PositionAt { edge: edge.edge, position: next.as_bytes().to_vec(), basis });
            place = Some(next);
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

    fn edge(&self, edge: EdgeId, place: &str) -> Decision<EdgeReading> {
        let unknown = || Refusal::new(Reason::UnknownEdge, format!("There is no edge {edge}.")).at(place);
        Ok(read::edge(&self.view(), edge)?.ok_or_else(unknown)?)
    }
}

/// A fractional key at `place` among `others`; none if two neighbours leave no room or keys have grown long.
fn between(others: &[EdgeReading], edge: EdgeId, place: Place) -> Result<Option<Vec<u8>>, Refusal> {
    let index_of = |wanted: EdgeId| {
        let unknown = || {
            let message = format!("Edge {wanted} is not among the ordered edges of this target.");
            Refusal::new(Reason::UnknownEdge, message).at("place")
        };
        others.iter().position(|other| other.edge == wanted).ok_or_else(unknown)
    };
    let at = match place {
        Place::First => 0,
        Place::Last => others.len(),
        Place::Before(wanted) => index_of(wanted)?,
        Place::After(wanted) => index_of(wanted)? + 1,
    };
    // Beside an unreadable key, as a hostile peer may have written, there is no room: all keys are made anew.
    let key = |edge: &EdgeReading| {
        edge.place.clone().ok_or(()).and_then(|key| FractionalIndex::from_bytes(key).map_err(drop))
    };
    let left = at.checked_sub(1).map(|before| key(&others[before])).transpose();
    let right = others.get(at).map(key).transpose();
    let (Ok(left), Ok(right)) = (left, right) else { return Ok(None) };
    let position = FractionalIndex::new(left.as_ref(), right.as_ref()).and_then(|place| jittered(place, right, edge));
    Ok(position.map(|place| place.as_bytes().to_vec()).filter(|place| place.len() <= MAX_PLACE_BYTES))
}

/// Moves a place towards its right neighbour by halvings that the edge's random bits choose.
fn jittered(place: FractionalIndex, right: Option<FractionalIndex>, edge: EdgeId) -> Option<FractionalIndex> {
    let bits = edge.as_bytes()[15];
    let (mut low, mut high) = (place, right);
    for step in 0..JITTER_STEPS {
        let middle = FractionalIndex::new(Some(&low), high.as_ref())?;
        if bits >> step & 1 == 1 { low = middle } else { high = Some(middle) }
    }
    Some(low)
}
