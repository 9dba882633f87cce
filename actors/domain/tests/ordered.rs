//! Ordered edges on several replicas: whatever was inserted, moved, deleted and merged, everybody sees one order.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod kit;

use kit::{Eyes, World, adds, name, record, table};
use openprod_domain::command::{Command, Place};
use openprod_domain::index::Direction;
use openprod_domain::read::{self, EdgeReading};
use openprod_domain::view::View;
use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::value::FieldType;
use proptest::prelude::*;

const SCENE: u8 = 100;

/// A scene and so many people, on three replicas.
fn scene(people: u8) -> World {
    let mut world = World::new(3, vec![table("things", &[("name", FieldType::Text)])]);
    let numbers = (0..people).chain([SCENE, SCENE + 1]);
    world.does(0, numbers.map(|number| adds(record(number), "things", &[])).collect());
    world.everyone_meets();
    world
}

fn edge(number: u8) -> EdgeId {
    EdgeId::new(u64::from(number), *b"some bytes")
}

fn joins(number: u8, target: u8, place: Place) -> Command {
    Command::CreateEdge {
        edge: Some(edge(number)),
        edge_type: name("in"),
        source: record(number),
        target: record(target),
        properties: vec![],
        place: Some(place),
    }
}

fn moves(number: u8, place: Place) -> Command {
    Command::MoveEdge { edge: edge(number), place }
}

fn edges(view: &dyn View, target: u8) -> Vec<EdgeReading> {
    read::edges(view, record(target), Direction::To, None).unwrap()
}

/// The numbers of the edges, in order, as a replica shows them.
fn order(world: &World, at: usize) -> Vec<u8> {
    let edges = edges(&world.replicas[at].view(), SCENE);
    edges.iter().map(|reading| (0..=255).find(|number| edge(*number) == reading.edge).unwrap()).collect()
}

/// A scene with edges 0 to 4 in this order.
fn cast() -> World {
    let mut world = scene(10);
    world.does(0, (0..5).map(|number| joins(number, SCENE, Place::Last)).collect());
    world.everyone_meets();
    world
}

#[test]
fn two_inserts_at_one_spot_come_in_one_order() {
    let mut world = cast();
    world.does(0, vec![joins(5, SCENE, Place::After(edge(1)))]);
    world.does(1, vec![joins(6, SCENE, Place::After(edge(1)))]);
    world.everyone_meets();
    let order = order(&world, 2);
    assert!(
        [[0, 1, 5, 6, 2, 3, 4], [0, 1, 6, 5, 2, 3, 4]].contains(&order.as_slice().try_into().unwrap()),
        "{order:?}"
    );
    world.does(2, vec![joins(7, SCENE, Place::After(edge(order[2])))]);
    assert_eq!(self::order(&world, 2)[2..5], [order[2], 7, order[3]], "there is room between the two");
}

#[test]
fn equal_places_are_ordered_by_edge_and_give_way() {
    let mut world = cast();
    // Two who chose the same place: as if by a million to one.
    let place = edges(&world.replicas[0].view(), SCENE)[1].place.clone().unwrap();
    let ops = [2, 3].map(|number| openprod_model::operation::Operation::MoveOrderedEdge {
        to: openprod_model::operation::PositionAt {
            edge: edge(number),
            position: place.clone(),
            basis: openprod_model::operation::Basis::default(),
        },
    });
    world.writes(1, &ops);
    world.everyone_meets();
    assert_eq!(order(&world, 0), [0, 1, 2, 3, 4]);
    world.does(0, vec![moves(4, Place::Before(edge(3)))]);
    assert_eq!(order(&world, 0), [0, 1, 2, 4, 3]);
}

#[test]
fn the_latest_of_two_moves_wins_and_nothing_is_in_conflict() {
    let mut world = cast();
    world.does(0, vec![moves(4, Place::First)]);
    world.does(2, vec![moves(4, Place::After(edge(1)))]);
    world.everyone_meets();
    assert_eq!(order(&world, 1), [0, 1, 4, 2, 3], "the third replica's clock is ahead");
    assert!(edges(&world.replicas[1].view(), SCENE).iter().all(|edge| !edge.in_conflict));
    world.does(0, vec![moves(4, Place::Last)]);
    world.everyone_meets();
    assert_eq!(order(&world, 1), [0, 1, 2, 3, 4], "whoever has seen both moves later, whatever his clock");
}

#[test]
fn a_deleted_edge_stays_away_whoever_moves_it() {
    let mut world = cast();
    world.does(0, vec![Command::DeleteEdge { edge: edge(2) }]);
    world.does(1, vec![moves(2, Place::First)]);
    world.everyone_meets();
    assert_eq!(order(&world, 2), [0, 1, 3, 4]);
}

#[test]
fn merged_targets_have_one_order_and_split_ones_each_its_own() {
    let mut world = cast();
    world.does(1, vec![joins(5, SCENE + 1, Place::Last), joins(6, SCENE + 1, Place::Last)]);
    world.everyone_meets();
    let both: Vec<EntityId> = vec![record(SCENE), record(SCENE + 1)];
    world.does(0, vec![Command::MergeRecords { records: both }]);
    world.everyone_meets();
    let (all, others) = (order(&world, 1), edges(&world.replicas[1].view(), SCENE + 1));
    assert_eq!((all.len(), others.len()), (7, 7));
    world.does(1, vec![moves(6, Place::Before(edge(all[0])))]);
    assert_eq!(order(&world, 1)[0], 6);
    world.does(1, vec![Command::SplitRecord { record: record(SCENE), ids: vec![record(SCENE + 1)] }]);
    world.everyone_meets();
    assert_eq!(order(&world, 2), [0, 1, 2, 3, 4]);
    assert_eq!(edges(&world.replicas[2].view(), SCENE + 1)[0].edge, edge(6));
}

#[test]
fn rebalancing_leaves_concurrent_inserts_where_they_were_wanted() {
    let mut world = cast();
    for number in 10..60 {
        world.does(0, vec![adds(record(number), "things", &[]), joins(number, SCENE, Place::After(edge(2)))]);
    }
    world.does(1, vec![joins(5, SCENE, Place::After(edge(0)))]);
    world.does(2, vec![moves(4, Place::After(edge(1)))]);
    world.everyone_meets();
    let order = order(&world, 1);
    assert_eq!(order[..5], [0, 5, 1, 4, 2], "{order:?}");
    let inserted: Vec<u8> = (10..60).rev().collect();
    assert_eq!(order[5..55], inserted);
    assert_eq!(order[55], 3);
}

#[derive(Debug, Clone)]
enum Act {
    Join(u8, u8),
    Move(u8, u8),
    Delete(u8),
    Hear(Vec<usize>),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..10_u8, any::<u8>()).prop_map(|(number, spot)| Act::Join(number, spot)),
        4 => (0..10_u8, any::<u8>()).prop_map(|(number, spot)| Act::Move(number, spot)),
        1 => (0..10_u8).prop_map(Act::Delete),
        3 => prop::collection::vec(any::<usize>(), 1..4).prop_map(Act::Hear),
    ]
}

/// A spot among the edges that a replica shows, the moved one left out.
fn spot(world: &World, at: usize, spot: u8, moving: u8) -> (Place, Option<u8>) {
    let others: Vec<u8> = order(world, at).into_iter().filter(|number| *number != moving).collect();
    match usize::from(spot) % (others.len() + 1) {
        0 => (Place::First, None),
        behind => (Place::After(edge(others[behind - 1])), Some(others[behind - 1])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn everybody_sees_one_order(acts in prop::collection::vec((0..3_usize, any_act()), 0..60)) {
        let mut world = scene(10);
        for (at, act) in acts {
            let (number, command, behind) = match act {
                Act::Hear(order) => {
                    world.hears(at, &order);
                    continue;
                }
                Act::Delete(number) => {
                    drop(world.tries(at, vec![Command::DeleteEdge { edge: edge(number) }], Eyes::Open));
                    continue;
                }
                Act::Join(number, where_to) => {
                    let (place, behind) = spot(&world, at, where_to, number);
                    (number, joins(number, SCENE, place), behind)
                }
                Act::Move(number, where_to) => {
                    let (place, behind) = spot(&world, at, where_to, number);
                    (number, moves(number, place), behind)
                }
            };
            if world.tries(at, vec![command], Eyes::Open).is_ok() {
                let order = order(&world, at);
                let here = order.iter().position(|other| *other == number).unwrap();
                prop_assert_eq!(here.checked_sub(1).map(|before| order[before]), behind, "{:?}", order);
            }
        }
        world.everyone_meets();
        let orders: Vec<Vec<u8>> = (0..3).map(|at| order(&world, at)).collect();
        prop_assert!(orders.windows(2).all(|two| two[0] == two[1]));
    }
}
