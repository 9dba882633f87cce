//! Spreadsheets of real productions and messy ones from the wild: taken in without loss, or refused with line and reason.
//!
//! They lie outside of this repository: `OPENPROD_REAL_DATA` names their folder; without it these tests say so and pass.

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use crate::world::{World, at_revision};

pub(crate) fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("OPENPROD_REAL_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("SKIPPED: OPENPROD_REAL_DATA does not name a folder");
    }
    folder
}

fn sheets(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sheets(&path, found);
        } else if path.extension().is_some_and(|ext| ["csv", "tsv", "xlsx"].iter().any(|sheet| ext == *sheet)) {
            found.push(path);
        }
    }
}

/// How two cells are compared.
#[derive(Clone, Copy)]
enum Compared {
    /// Character by character.
    Exactly,
    /// But for quotes and white space at the ends: files that escape quotes in a way of their own are read differently
    /// by every reader.
    Loosely,
}

/// The rows of a file in UTF-8 with this delimiter; other encodings and workbooks are left to those who read them.
fn rows(path: &Path, delimiter: u8, compared: Compared) -> Option<Vec<Vec<String>>> {
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .delimiter(delimiter)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let rows = reader.records().collect::<Result<Vec<_>, _>>().ok()?;
    let cell = |cell: &str| match compared {
        Compared::Exactly => cell.nfc().collect::<String>(),
        Compared::Loosely => cell.replace('"', "").trim().nfc().collect(),
    };
    let cells = |row: &csv::StringRecord| row.iter().map(cell).collect::<Vec<String>>();
    Some(rows.iter().map(cells).filter(|row| row.iter().any(|cell| !cell.is_empty())).collect())
}

/// What differs between the file and its export, the header left out, cells that are empty at the end of a row too.
fn difference(before: &[Vec<String>], after: &[Vec<String>]) -> Option<String> {
    let cut = |row: &Vec<String>| {
        let end = row.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        row[..end].to_vec()
    };
    let (before, after): (Vec<_>, Vec<_>) =
        (before.iter().skip(1).map(cut).collect(), after.iter().skip(1).map(cut).collect());
    if before.len() != after.len() {
        return Some(format!("{} rows became {}", before.len(), after.len()));
    }
    let at = before.iter().zip(&after).position(|(one, other)| one != other)?;
    Some(format!("row {}: {:?} became {:?}", at + 2, before[at], after[at]))
}

/// Whether an export holds what the file does; none if no independent reader makes sense of the file.
fn came_back(file: &Path, out: &Path, compared: Compared) -> Option<Result<(), String>> {
    let after = rows(out, b',', compared).unwrap();
    // The delimiter is the file's own; what it is, is for the import to find out.
    let read = b",;\t|".iter().filter_map(|delimiter| rows(file, *delimiter, compared));
    let mut differences: Vec<_> = read.map(|before| difference(&before, &after)).collect();
    if differences.iter().any(Option::is_none) {
        return Some(Ok(()));
    }
    differences.drain(..).flatten().next().map(Err)
}

#[tokio::test]
async fn every_sheet_is_taken_in_without_loss_or_refused_in_words() {
    let Some(data) = data() else { return };
    let mut files = Vec::new();
    for part in 1..=6 {
        let folder = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        let mine = folder.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("0{part}_")))
        });
        mine.for_each(|path| sheets(&path, &mut files));
    }
    let world = World::new().await;
    world.types("openprod init Everything").await.ok();
    let (mut whole, mut unread, mut refused) = (0, 0, 0);
    let (mut loosely, mut broken) = (Vec::new(), Vec::new());
    for (n, file) in files.iter().enumerate() {
        let (name, out) = (file.display(), world.desk().join(format!("{n}.csv")));
        let typed = world.types(&format!("openprod import '{name}' --table t{n} --batch")).await;
        if typed.code != 0 {
            let in_words = typed.err.contains("error: ") && !typed.err.contains("panicked") && typed.code != 101;
            if in_words {
                refused += 1;
            } else {
                broken.push(format!("{name}: {typed}"));
            }
            continue;
        }
        world.types(&format!("openprod export t{n} -o '{}'", out.display())).await.ok();
        match (came_back(file, &out, Compared::Exactly), came_back(file, &out, Compared::Loosely)) {
            (Some(Ok(())), _) => whole += 1,
            (_, Some(Ok(()))) => loosely.push(name.to_string()),
            (_, Some(Err(lost))) => broken.push(format!("{name}: {lost}")),
            (_, None) => unread += 1,
        }
    }
    println!("{} sheets: {whole} came back whole, {unread} not compared, {refused} refused in words", files.len());
    println!("{} more came back but for quotes or white space: {loosely:#?}", loosely.len());
    assert!(broken.is_empty(), "{} sheets lost something:\n{}", broken.len(), broken.join("\n"));
}

#[tokio::test]
async fn a_collection_of_twenty_thousand_works_is_taken_in_and_asked_about() {
    let Some(data) = data() else { return };
    let world = World::new().await;
    world.types("openprod init Tate").await.ok();
    let file = data.join("06_tables/large/tate_artworks_a.csv");
    world.types(&format!("openprod import '{}' --table works --key acno --batch", file.display())).await.ok();
    let found = world.types("openprod query 'all_artists == \"Robert Blake\"' --table works --json").await.ok().json();
    assert!(!found.is_empty());
    world.types("openprod verify").await.ok();
    let again =
        world.types(&format!("openprod import '{}' --table works --key acno --batch", file.display())).await.ok();
    again.says("nothing to change");
}

#[tokio::test]
async fn a_musical_comes_in_with_its_people_scenes_and_cues_joined() {
    let Some(data) = data() else { return };
    let world = World::new().await;
    world.types("openprod init Musical").await.ok();
    let file = |name: &str| data.join("03_stage_management").join(name).display().to_string();
    world
        .types(&format!("openprod import '{}' --table personnel --key Name --commit", file("slih_personnel.csv")))
        .await
        .ok();
    // A scene's number is the beginning of its name, "101 Scene One".
    let scenes = file("slih_breakdown.csv");
    world.types(&format!("openprod import '{scenes}' --table scenes --key 'Scene Name' --commit")).await.ok();
    let links = "--link Assignee=personnel --link Content=scenes:prefix";
    let cues = world
        .types(&format!("openprod import '{}' --table cues {links} --commit", file("slih_video_cue_list.csv")))
        .await;
    let cues = cues.fails(4).says("Line 8, Assignee: There is no record \"Casey Brennan\" in personnel");
    assert!(!cues.out.contains("Line 8, Content"), "{cues}");
    let mut reader = csv::Reader::from_path(scenes).unwrap();
    let scene = reader.records().map(|row| row.unwrap()[0].to_owned()).find(|name| name.starts_with("101 ")).unwrap();
    world.types(&format!("openprod edges list 'scenes/{scene}' --direction to")).await.ok().says("Content");
}

#[tokio::test]
async fn the_revisions_of_a_cue_list_become_its_history() {
    let Some(data) = data() else { return };
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let folder = data.join("01_console_cues/inspector_calls_cue_history");
    let mut files = Vec::new();
    sheets(&folder, &mut files);
    let mut revisions = Vec::new();
    for file in &files {
        let line = format!("openprod import '{}' --table cues --fill-down cue --key cue,op,# --commit", file.display());
        let typed = mara.types(&line).await;
        assert!([0, 4].contains(&typed.code), "{typed}");
        revisions.push(mara.describes().await.revision);
    }
    let history = mara.types("openprod history --kind import").await.ok();
    for file in &files {
        let typed = &history;
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(typed.out.contains(&*name), "{name} is not in history: {typed}");
    }
    let then = mara.workspace().records("cues");
    let now = then.all().await.unwrap().len();
    let first = openprod_client::v1::ListRecordsRequest {
        table: "cues".into(),
        as_of: Some(at_revision(revisions[0])),
        ..Default::default()
    };
    let first = mara.workspace().pages(first).all().await.unwrap().len();
    assert!(first < now, "{first} rows at first, {now} now");
    mara.finds_all_well().await;
}
