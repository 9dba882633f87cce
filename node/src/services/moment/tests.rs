//! Moments against a log whose bundles are made upon any of those before.

use openprod_messages::testing::MemoryLog;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::OpId;
use openprod_model::value::Text;
use proptest::prelude::*;

use super::*;

/// A log of bundles, each with the positions that it was made upon, and its wall clock.
struct Log {
    workspace: WorkspaceId,
    bundles: Vec<Bundle>,
    memory: Arc<MemoryLog>,
}

impl Log {
    fn of(workspace: [u8; 16], bundles: &[(Vec<usize>, u64)]) -> Self {
        let (workspace, keys) = (WorkspaceId::from_bytes(workspace), Keys::from_seed(&[1; 32]));
        let mut made: Vec<Bundle> = Vec::new();
        for (number, (parents, wall_ms)) in (1_u64..).zip(bundles) {
            let hlc = Hlc { ms: number, counter: 0 };
            let draft = Draft {
                stamp: Stamp { workspace, actor: keys.actor(), hlc, op_base: OpId::from_bytes([0; 16]) },
                id: BundleId::from_bytes(u128::from(number).to_be_bytes()),
                wall_ms: *wall_ms,
                parents: parents.iter().map(|parent| made[parent - 1].digest()).collect(),
                prev: None,
                kind: BundleKind::EDIT,
                label: Text::new("").unwrap(),
                source: Source::default(),
                undoes: Vec::new(),
                ops: Vec::new(),
            };
            made.push(draft.seal(&keys).unwrap());
        }
        let memory = MemoryLog::of(&made);
        // So that even these short logs are read in several parts.
        memory.tamper(|rows| rows.most_at_once = 3);
        Self { workspace, bundles: made, memory }
    }

    fn past<'a>(&'a self, stop: &'a Stop) -> Past<'a> {
        Past { workspace: self.workspace, log: &*self.memory, stop }
    }

    fn moment(&self, as_of: AsOf) -> Moment {
        let stop = Stop::default();
        self.past(&stop).moment(as_of, self.memory.end()).unwrap()
    }

    fn digest(&self, number: usize) -> AsOf {
        AsOf::Digest(self.bundles[number - 1].digest())
    }
}

fn line(workspace: u8, length: usize) -> Log {
    let bundles: Vec<_> =
        (1..=length).map(|number| ((1..number).rev().take(1).collect(), number as u64 * 10)).collect();
    Log::of([workspace; 16], &bundles)
}

fn is_revision(moment: &Moment, number: u64) -> bool {
    matches!(moment, Moment::Revision(Position(revision)) if *revision == number)
}

#[test]
fn on_one_line_the_past_of_a_bundle_is_its_revision() {
    let log = line(1, 20);
    for number in 1..=20 {
        assert!(is_revision(&log.moment(log.digest(number)), number as u64), "{number}");
    }
}

#[test]
fn a_branch_is_no_part_of_another_branchs_past() {
    let log = Log::of([2; 16], &[(vec![], 1), (vec![1], 2), (vec![1], 3), (vec![2], 4), (vec![3, 4], 5)]);
    let past = log.moment(log.digest(4));
    assert_eq!([1, 2, 3, 4, 5].map(|at| past.includes(Position(at))), [true, true, false, true, false]);
    assert_eq!(surely_shown(&past), Position(2));
    assert!(is_revision(&log.moment(log.digest(5)), 5), "a merge knows everything");
}

#[test]
fn a_time_means_what_clocks_showed_and_what_that_was_made_upon() {
    let log = Log::of([3; 16], &[(vec![], 10), (vec![1], 90), (vec![1], 20), (vec![2], 30), (vec![3, 4], 95)]);
    let early = log.moment(AsOf::WallMs(20));
    assert_eq!([1, 2, 3, 4, 5].map(|at| early.includes(Position(at))), [true, false, true, false, false]);
    let later = log.moment(AsOf::WallMs(30));
    assert!(is_revision(&later, 4), "bundle 4 was made upon 2, whose author's clock was ahead");
    assert!(is_revision(&log.moment(AsOf::WallMs(9)), 0));
    assert!(is_revision(&log.moment(AsOf::WallMs(1_000)), 5));
}

#[test]
fn what_is_remembered_of_one_log_is_not_believed_of_another() {
    assert!(is_revision(&line(4, 9).moment(line(4, 9).digest(9)), 9));
    let other = Log::of([4; 16], &[(vec![], 1), (vec![], 2), (vec![1], 3)]);
    assert!(!other.moment(other.digest(3)).includes(Position(2)));
}

#[test]
fn a_revision_that_is_not_there_yet_is_refused() {
    let (log, stop) = (line(5, 3), Stop::default());
    let past = log.past(&stop);
    assert_eq!(past.needed(AsOf::Revision(Position(3))).unwrap(), Position(3));
    assert_eq!(past.needed(AsOf::Revision(Position(4))).unwrap_err().0.code(), tonic::Code::NotFound);
    assert!(past.needed(AsOf::Digest(Digest::from_bytes([9; 32]))).is_err());
}

/// Ancestors, the naive way.
fn closed(bundles: &[(Vec<usize>, u64)], of: Vec<usize>) -> BTreeSet<u64> {
    let (mut todo, mut seen) = (of, BTreeSet::new());
    while let Some(number) = todo.pop() {
        if seen.insert(number as u64) {
            todo.extend(&bundles[number - 1].0);
        }
    }
    seen
}

fn histories() -> impl Strategy<Value = Vec<(Vec<usize>, u64)>> {
    let bundle = (proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 0..20_u64, 0..4_u8);
    proptest::collection::vec(bundle, 1..25).prop_map(|bundles| {
        let made_upon = |number: usize, picks: Vec<prop::sample::Index>, dice: u8| -> Vec<usize> {
            match (number, dice) {
                (1, _) => Vec::new(),
                (_, 0) => picks.iter().map(|pick| pick.index(number - 1) + 1).collect(),
                _ => vec![number - 1],
            }
        };
        (1..).zip(bundles).map(|(number, (picks, wall_ms, dice))| (made_upon(number, picks, dice), wall_ms)).collect()
    })
}

proptest! {
    #[test]
    fn every_moment_is_exactly_the_ancestors(bundles in histories(), salt in any::<[u8; 16]>(), ms in 0..20_u64) {
        let log = Log::of(salt, &bundles);
        let same = |moment: &Moment, expected: &BTreeSet<u64>| {
            (1..=bundles.len() as u64).all(|at| moment.includes(Position(at)) == expected.contains(&at))
        };
        for number in 1..=bundles.len() {
            prop_assert!(same(&log.moment(log.digest(number)), &closed(&bundles, vec![number])), "{}", number);
        }
        let early = (1..).zip(&bundles).filter(|(_, (_, wall_ms))| *wall_ms <= ms).map(|(number, _)| number);
        prop_assert!(same(&log.moment(AsOf::WallMs(ms)), &closed(&bundles, early.collect())));
    }
}
