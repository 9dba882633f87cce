//! Nodes that die while a file goes from one to the other: it is there and whole, or it is not there; what had come of it
//! is not sent again; and nothing else suffers.

use openprod_client::v1::{BlobAvailability, Reason};

use crate::world::{Node, Person, Setup, World, below, row};

/// Where the node that fetches can be stopped, in the order in which a file passes these points, and how often each is
/// passed before it strikes.
const TAKING: [(&str, usize); 12] = [
    ("blobs-before-outline", 1),
    ("blobs-after-outline", 1),
    ("blobs-before-piece", 1),
    ("blobs-after-piece", CAME),
    ("blobs-before-whole", 1),
    ("blobs-before-sync", 1),
    ("blobs-before-rename", 1),
    ("blobs-after-rename", 1),
    ("blobs-before-commit", 1),
    ("blobs-after-commit", 1),
    ("blobs-before-forget", 1),
    ("blobs-after-forget", 1),
];

const PIECE: usize = 256 * 1024;
/// The pieces of a file here; the last is smaller.
const PIECES: usize = 12;
/// How many of them have come when the node dies in the middle.
const CAME: usize = 9;
/// What may come over a new connection beside the pieces that are missing: its beginning, and the outline.
const BESIDES: usize = PIECE;

/// Bytes that do not compress, other ones for each number.
fn film(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; PIECES * PIECE - 1_000];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Two nodes of one show that find each other again whenever one was away.
struct Show {
    world: World,
    tour: Node,
    mara: Person,
    leo: Person,
}

impl Show {
    async fn begins() -> Self {
        let mut world = World::with(Setup::among_peers()).await;
        let mara = world.person("Mara").await;
        mara.makes_table("scenes", &["sound blob"]).await;
        mara.adds("scenes", "I.1", row!["name" => "I.1"]).await;
        world.house.keeps_its_port(&mara).await;
        let (mut tour, leo) = world.joined_by("Leo", &mara).await;
        tour.keeps_its_port(&leo).await;
        leo.comes_to_have("scenes", "I.1").await;
        // The index is there already, so that each point is passed by the file that is meant.
        let first = mara.puts_file(b"the first").await.hash;
        leo.fetches_file(&first).await.unwrap();
        Self { world, tour, mara, leo }
    }

    /// The node of the tour is started anew in this way, and is connected.
    async fn is_started(&mut self, setup: Setup) {
        self.tour.dies();
        self.tour.set_up(setup);
        self.tour.comes_back().await;
        self.meets().await;
    }

    /// Waits until the two nodes are connected.
    async fn meets(&self) {
        self.leo.sees_peer(|peer| peer.connection.iter().any(|one| !one.sharing.is_empty())).await;
    }

    /// What came over the only connection so far, in bytes.
    async fn has_received(&self) -> usize {
        let peer = self.leo.sees_peer(|peer| peer.connection.is_some()).await;
        usize::try_from(peer.connection.unwrap().received_bytes).unwrap()
    }

    /// How much of a file is there, at least; it comes from its beginning on.
    fn has_come(&self, hash: &str) -> usize {
        let path = self.tour.workspace_folder().join("blobs/incoming").join(format!("fetch-{hash}"));
        path.metadata().map_or(0, |file| usize::try_from(file.len()).unwrap())
    }

    /// What is begun, and not whole.
    fn begun(&self) -> Vec<String> {
        below(&self.tour.workspace_folder().join("blobs/incoming"))
    }

    /// The file is there and whole, or it is not there.
    async fn shows_it_whole_or_not_at_all(&self, hash: &str, film: &[u8], point: &str) {
        match self.leo.looks_at_file(hash).await.availability() {
            BlobAvailability::Here => assert!(self.leo.gets_file(hash).await.unwrap() == film, "{point}"),
            other => assert_eq!(other, BlobAvailability::Unavailable, "{point}"),
        }
    }

    /// All that was put is on both nodes, whole; nothing is left over, and people go on.
    async fn ends(&self, films: usize) {
        let all = films as u64 + 1;
        for person in [&self.mara, &self.leo] {
            let report = person.verifies_files().await;
            assert_eq!((report.blobs, report.damaged.len(), report.gone.len()), (all, 0, 0), "{}", person.name);
            person.finds_all_well().await;
        }
        assert!(self.begun().is_empty(), "{:?}", self.begun());
        self.leo.sets("I.1", "name", "I.2").await;
        self.mara.comes_to_see("I.1", "name", "I.2").await;
    }
}

#[tokio::test]
async fn the_node_that_fetches_a_file_may_die_at_every_step_and_goes_on_where_it_was() {
    let mut show = Show::begins().await;
    let well = show.tour.setup();
    for (number, (point, times)) in TAKING.into_iter().enumerate() {
        let film = film(number);
        let hash = show.mara.puts_file(&film).await.hash;
        show.is_started(well.clone().with_faults(&format!("{point}:{times}=abort"))).await;
        show.leo.fetches_file(&hash).await.expect_err(point);
        let status = show.tour.ends().await;
        assert!(!status.success() && show.tour.has_said(&format!("fault at {point}")), "{point}: {status}");

        show.is_started(well.clone()).await;
        show.shows_it_whole_or_not_at_all(&hash, &film, point).await;
        show.leo.fetches_file(&hash).await.unwrap();
        assert!(show.leo.gets_file(&hash).await.unwrap() == film, "{point}");
        let received = show.has_received().await;
        let missing = if point == "blobs-after-piece" { PIECES - CAME } else { PIECES };
        assert!(received < missing * PIECE + BESIDES, "{point}: {received} bytes came for {missing} pieces");
    }
    show.is_started(well).await;
    show.ends(TAKING.len()).await;
}

#[tokio::test]
async fn a_panic_at_any_step_of_fetching_a_file_is_told_and_the_next_attempt_goes_on() {
    let mut show = Show::begins().await;
    let well = show.tour.setup();
    let points = TAKING.map(|(point, _)| format!("{point}=1*panic->off"));
    show.is_started(well.clone().with_failpoints(&points.join(";"))).await;
    let (mut films, mut hash) = (0, String::new());
    for (point, _) in TAKING {
        // Some strike when the file is there already; the next is struck by another file.
        if hash.is_empty() || show.leo.looks_at_file(&hash).await.availability() == BlobAvailability::Here {
            films += 1;
            hash = show.mara.puts_file(&film(films)).await.hash;
        }
        show.leo.fetches_file(&hash).await.expect_err(point);
        show.tour.says(&format!("failpoint {point} panic")).await;
        show.shows_it_whole_or_not_at_all(&hash, &film(films), point).await;
    }
    assert!(show.leo.gets_file(&hash).await.unwrap() == film(films));
    show.is_started(well).await;
    show.tour.says("what was left of files was cleared up").await;
    show.ends(films).await;
}

#[tokio::test]
async fn the_node_that_gives_a_file_may_die_in_the_middle_and_the_rest_comes_when_it_is_back() {
    let mut show = Show::begins().await;
    let (film, well) = (film(0), show.world.house.setup());
    let hash = show.mara.puts_file(&film).await.hash;
    show.world.house.dies();
    show.world.house.set_up(well.clone().with_faults(&format!("blobs-before-given:{CAME}=abort")));
    show.world.house.comes_back().await;
    show.meets().await;
    let (leo, wanted) = (show.leo.clone(), hash.clone());
    let fetching = tokio::spawn(async move { leo.fetches_file(&wanted).await });
    assert!(!show.world.house.ends().await.success());
    let come = show.has_come(&hash);
    show.world.house.set_up(well);
    show.world.house.comes_back().await;
    // Whether he who asked is still there when it is back is a matter of moments.
    if let Err(error) = fetching.await.unwrap() {
        assert_eq!(error.reason(), Some(Reason::BlobUnavailable), "{error}");
        show.shows_it_whole_or_not_at_all(&hash, &film, "the giver").await;
    }
    show.meets().await;
    show.leo.fetches_file(&hash).await.unwrap();
    assert!(show.leo.gets_file(&hash).await.unwrap() == film);
    let received = show.has_received().await;
    assert!(received < film.len() - come + BESIDES, "{come} bytes were there, and then came {received}");
    show.ends(1).await;
}
