//! Places: fractional keys of ordered edges, which sort as bytes. Of equal keys the smaller edge id comes first.
//!
//! A key lies anywhere between its neighbours', chosen by the edge's id: two people who insert at one spot without
//! knowing of each other nearly never choose the same, and if they do, nothing worse comes of it than a small
//! rebalancing at the next insertion between the two. Rebalancing writes as few keys as make room, evenly between
//! those around them, so that what others move or insert at the same time still comes out near where they wanted it.

use std::ops::Range;

use fractional_index::FractionalIndex;
use openprod_model::ids::EdgeId;

/// Longer keys are made short again, in the same bundle.
const MAX_BYTES: usize = 64;
/// How long keys may be after that: as much room again.
const ROOMY_BYTES: usize = MAX_BYTES / 2;
/// Halvings by bits of the edge's id: one pair of concurrent inserts in 16 million collides.
const JITTER_BITS: u32 = 24;
/// Keys on either side of a spot that are rebalanced at first; the number doubles until there is room.
const FIRST_WINDOW: usize = 4;

/// The key of an edge; none if it cannot be read, as a hostile peer may have written it.
fn key(place: Option<&[u8]>) -> Option<FractionalIndex> {
    FractionalIndex::from_bytes(place?.to_vec()).ok()
}

/// A key for `edge` before the `at`-th of `places`; none if there is no room.
pub(super) fn between(places: &[Option<&[u8]>], at: usize, edge: EdgeId) -> Option<Vec<u8>> {
    let (left, right) = bounds(places, &(at..at))?;
    let place = middle(left.as_ref(), right.as_ref())?;
    let place = jittered(place, right, edge)?;
    Some(place.as_bytes().to_vec()).filter(|place| place.len() <= MAX_BYTES)
}

/// What surrounds a range of places; none if that cannot be read.
#[allow(clippy::type_complexity, reason = "two ends that may each be open")]
fn bounds(
    places: &[Option<&[u8]>],
    range: &Range<usize>,
) -> Option<(Option<FractionalIndex>, Option<FractionalIndex>)> {
    let at = |index: usize| places.get(index).map(|place| key(*place).ok_or(())).transpose();
    let left = match range.start.checked_sub(1) {
        Some(before) => at(before).ok()?,
        None => None,
    };
    Some((left, at(range.end).ok()?))
}

/// A key between two others, either of which may be open; none if they are equal or in the wrong order.
///
/// What both begin with is left out and put back: `fractional_index` 2.0.2 miscounts where both have a zero in it.
fn middle(left: Option<&FractionalIndex>, right: Option<&FractionalIndex>) -> Option<FractionalIndex> {
    let (Some(low), Some(high)) = (left, right) else { return FractionalIndex::new(left, right) };
    if low >= high {
        return None;
    }
    let (low, high) = (low.as_bytes(), high.as_bytes());
    let most = low.len().min(high.len()).saturating_sub(1);
    let alike = low.iter().zip(high).take(most).take_while(|(low, high)| low == high).count();
    let rest = |key: &[u8]| FractionalIndex::from_bytes(key[alike..].to_vec()).ok();
    let middle = FractionalIndex::new_between(&rest(low)?, &rest(high)?)?;
    FractionalIndex::from_bytes([&low[..alike], middle.as_bytes()].concat()).ok()
}

/// Moves a place towards its right neighbour by halvings that the edge's id chooses.
fn jittered(place: FractionalIndex, right: Option<FractionalIndex>, edge: EdgeId) -> Option<FractionalIndex> {
    let hash = blake3::hash(edge.as_bytes());
    let bits = u32::from_le_bytes(*hash.as_bytes().first_chunk()?);
    let (mut low, mut high) = (place, right);
    for step in 0..JITTER_BITS {
        let middle = middle(Some(&low), high.as_ref())?;
        if bits >> step & 1 == 1 { low = middle } else { high = Some(middle) }
    }
    Some(low)
}

/// New keys for the places around the `at`-th, in their order and with room between them.
pub(super) fn rebalanced(places: &[Option<&[u8]>], at: usize) -> (Range<usize>, Vec<Vec<u8>>) {
    let mut reach = FIRST_WINDOW;
    loop {
        let range = at.saturating_sub(reach)..at.saturating_add(reach).min(places.len());
        let whole = range == (0..places.len());
        let keys = bounds(places, &range).and_then(|(left, right)| fan(left.as_ref(), right.as_ref(), range.len()));
        if let Some(keys) = keys.filter(|keys| whole || keys.iter().all(|key| key.as_bytes().len() <= ROOMY_BYTES)) {
            return (range, keys.iter().map(|key| key.as_bytes().to_vec()).collect());
        }
        reach = reach.saturating_mul(2);
    }
}

/// So many keys in order between two others.
fn fan(left: Option<&FractionalIndex>, right: Option<&FractionalIndex>, count: usize) -> Option<Vec<FractionalIndex>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let middle = middle(left, right)?;
    let before = (count - 1) / 2;
    let mut keys = fan(left, Some(&middle), before)?;
    let after = fan(Some(&middle), right, count - 1 - before)?;
    keys.push(middle);
    keys.extend(after);
    Some(keys)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge(number: u64) -> EdgeId {
        EdgeId::new(number, [7; 10])
    }

    fn inserted(places: &mut Vec<Vec<u8>>, at: usize, edge: EdgeId) -> usize {
        let known: Vec<Option<&[u8]>> = places.iter().map(|place| Some(&**place)).collect();
        if let Some(place) = between(&known, at, edge) {
            places.insert(at, place);
            return 0;
        }
        let (range, keys) = rebalanced(&known, at);
        let written = range.len();
        places.splice(range, keys);
        let known: Vec<Option<&[u8]>> = places.iter().map(|place| Some(&**place)).collect();
        let place = between(&known, at, edge).unwrap();
        places.insert(at, place);
        written
    }

    #[test]
    fn two_who_insert_at_one_spot_nearly_never_choose_the_same_place() {
        let known = [vec![127, 128], vec![128]];
        let known: Vec<Option<&[u8]>> = known.iter().map(|place| Some(&**place)).collect();
        for at in 0..=2 {
            let mut places: Vec<_> = (0..2_000).map(|number| between(&known, at, edge(number)).unwrap()).collect();
            places.sort_unstable();
            places.dedup();
            // By chance, two thousand of 16 million collide once in eight tries.
            assert!(places.len() >= 1_998, "{}", places.len());
        }
    }

    #[test]
    fn rebalancing_writes_little() {
        let mut places = Vec::new();
        for number in 0..500 {
            let end = places.len();
            assert_eq!(inserted(&mut places, end, edge(number)), 0, "appending needs no room");
        }
        let written: usize = (500..1_500).map(|number| inserted(&mut places, 250, edge(number))).sum();
        assert!(written < 1_500, "{written} keys written for 1000 inserts at one spot");
    }

    #[test]
    fn all_keys_are_made_anew_where_none_can_be_read() {
        let bad: Vec<Option<&[u8]>> = vec![Some(&[]), None, Some(&[])];
        assert_eq!(between(&bad, 1, edge(1)), None);
        let (range, keys) = rebalanced(&bad, 1);
        assert_eq!(range, 0..3);
        assert!(keys.windows(2).all(|two| two[0] < two[1]));
    }

    fn any_key() -> impl Strategy<Value = FractionalIndex> {
        let byte = prop::sample::select(vec![0_u8, 1, 127, 128, 129, 255]);
        prop::collection::vec(byte, 0..6).prop_map(|mut bytes| {
            bytes.push(128);
            FractionalIndex::from_bytes(bytes).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_middle_lies_between_whatever_peers_wrote(one in any_key(), other in any_key()) {
            match middle(Some(&one), Some(&other)) {
                Some(middle) => prop_assert!(one < middle && middle < other, "{:?}", middle),
                None => prop_assert!(one >= other),
            }
            prop_assert!(middle(None, Some(&one)).unwrap() < one);
            prop_assert!(middle(Some(&one), None).unwrap() > one);
        }

        #[test]
        fn inserts_anywhere_keep_the_order(spots in prop::collection::vec(any::<u16>(), 1..200)) {
            let mut places = Vec::new();
            for (number, spot) in (0..).zip(spots) {
                let at = usize::from(spot) % (places.len() + 1);
                inserted(&mut places, at, edge(number));
                prop_assert!(places.windows(2).all(|two| two[0] < two[1]), "{:?}", places);
                prop_assert!(places.iter().all(|place| place.len() <= MAX_BYTES));
            }
        }
    }
}
