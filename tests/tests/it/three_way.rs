//! The history of a real cue list, given to two teams that work apart: the conflicts of their meeting are exactly those
//! that a three-way comparison of the files finds.
//!
//! The files lie outside of this repository: `OPENPROD_REAL_DATA` names their folder; without it this test says so and
//! passes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::world::{Person, World};

/// A row's cue, its operation, and which of the rows with both it is.
type Key = (String, String, usize);
/// What the other columns of each row say.
type Rows = BTreeMap<Key, Vec<String>>;

fn revisions() -> Option<Vec<PathBuf>> {
    let folder = std::env::var_os("OPENPROD_REAL_DATA").map(PathBuf::from);
    let Some(folder) = folder else {
        println!("SKIPPED: OPENPROD_REAL_DATA does not name a folder");
        return None;
    };
    let folder = folder.join("01_console_cues/inspector_calls_cue_history");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "csv"));
    files.sort();
    Some(files)
}

/// A file read without any of the product's code: a row without a cue belongs to the cue above.
fn rows(file: &Path) -> Rows {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(file).unwrap();
    let (mut rows, mut seen, mut cue) = (Rows::new(), BTreeMap::<(String, String), usize>::new(), String::new());
    for row in reader.records().map(Result::unwrap) {
        let cell = |at: usize| row.get(at).unwrap_or_default().to_owned();
        if !cell(0).is_empty() {
            cue = cell(0);
        }
        let ordinal = seen.entry((cue.clone(), cell(1))).or_default();
        *ordinal += 1;
        rows.insert((cue.clone(), cell(1), *ordinal), vec![cell(2), cell(3)]);
    }
    rows
}

/// One team's work on what both began with: what it ended with, and which cells it wrote on the way.
fn worked(base: &Rows, files: &[&PathBuf]) -> (Rows, BTreeSet<(Key, usize)>) {
    let (mut now, mut written) = (base.clone(), BTreeSet::new());
    for (key, cells) in files.iter().flat_map(|file| rows(file)) {
        let Some(row) = now.get_mut(&key) else { continue };
        for (column, cell) in cells.into_iter().enumerate() {
            if row[column] != cell {
                row[column] = cell;
                written.insert((key.clone(), column));
            }
        }
    }
    (now, written)
}

/// The cells that both teams wrote and left with different contents.
fn three_way(base: &Rows, ours: &[&PathBuf], theirs: &[&PathBuf]) -> usize {
    let ((our_rows, our_writes), (their_rows, their_writes)) = (worked(base, ours), worked(base, theirs));
    let both = our_writes.intersection(&their_writes);
    both.filter(|(key, column)| our_rows[key][*column] != their_rows[key][*column]).count()
}

async fn takes_in(person: &Person, files: &[&PathBuf]) {
    for file in files {
        let line = "--table cues --fill-down cue --key cue,op,# --commit";
        person.types(&format!("openprod import '{}' {line}", file.display())).await.ok();
    }
}

/// Both teams begin with the same revisions and take in others of their own; then they meet. Gives the conflicts.
async fn apart(common: &[&PathBuf], ours: &[&PathBuf], theirs: &[&PathBuf]) -> usize {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    takes_in(&mara, common).await;
    let (_tour, leo) = world.away("Leo").await;
    takes_in(&mara, ours).await;
    takes_in(&leo, theirs).await;
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;

    let mut base = Rows::new();
    for file in common {
        base.extend(rows(file));
    }
    let expected = three_way(&base, ours, theirs);
    for person in [&mara, &leo] {
        let found = person.types("openprod conflicts --json").await.ok().json();
        assert_eq!(found.len(), expected, "{found:#?}");
    }
    expected
}

#[tokio::test]
async fn two_teams_that_edited_a_cue_list_apart_have_the_conflicts_of_a_three_way_comparison() {
    let Some(files) = revisions() else { return };
    let numbered = |wanted: &dyn Fn(usize) -> bool| -> Vec<&PathBuf> {
        (1..).zip(&files).filter(|(number, _)| wanted(*number)).map(|(_, file)| file).collect()
    };
    // In the order in which they were made the two halves of this history come to agree everywhere.
    for together in [1, 3] {
        let common = numbered(&|number| number <= together);
        let odd = numbered(&|number| number > together && number % 2 == 1);
        let even = numbered(&|number| number > together && number % 2 == 0);
        println!("{together} in common, then odd and even: {} conflicts", apart(&common, &odd, &even).await);
    }
    // Taken back in time from the last one, they do not.
    for (common, ours, theirs) in [(9, 2, 6), (8, 5, 7), (9, 3, 7)] {
        let only = |number| numbered(&move |other| other == number);
        let conflicts = apart(&only(common), &only(ours), &only(theirs)).await;
        println!("revision {common} in common, then {ours} and {theirs}: {conflicts} conflicts");
        assert!(conflicts > 0, "a comparison that finds nothing proves nothing");
    }
}
