//! Thumbnails: made in a process that a hostile file can only end; and the picture and PDF suites, accepted or refused.

use std::fmt::Write as _;
use std::path::Path;

use openprod_client::v1::Reason;

use crate::real_data::data;
use crate::world::{Setup, World, below, raw};

/// One grey pixel.
const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 0,
    0, 0, 0, 0x3A, 0x7E, 0x9B, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9C, 0x63, 0x68, 0, 0, 0, 0x82, 0,
    0x81, 0x77, 0xCD, 0x72, 0xB6, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xAE, 0x42, 0x60, 0x82,
];

/// The width and height of a PNG.
fn size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{:?}", &png[..8.min(png.len())]);
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// A PDF of one page of that size, with a text.
fn pdf(width: u32, height: u32) -> Vec<u8> {
    let drawing = "BT /F1 24 Tf 20 20 Td (Enter Hamlet) Tj ET";
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
    );
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        page,
        format!("<< /Length {} >>\nstream\n{drawing}\nendstream", drawing.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(file.len());
        write!(file, "{} 0 obj\n{object}\nendobj\n", number + 1).unwrap();
    }
    let table = file.len();
    file += "xref\n0 6\n0000000000 65535 f \n";
    for place in places {
        writeln!(file, "{place:010} 00000 n ").unwrap();
    }
    write!(file, "trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").unwrap();
    file.into_bytes()
}

#[tokio::test]
async fn pictures_and_first_pages_are_shown_small_and_kept() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let (pixel, plan) = (mara.puts_file(PIXEL).await.hash, mara.puts_file(&pdf(1_000, 500)).await.hash);
    assert_eq!(size(&mara.looks_at_thumbnail(&pixel).await.unwrap()), (1, 1));
    let small = mara.looks_at_thumbnail(&plan).await.unwrap();
    assert_eq!(size(&small), (512, 256));
    assert_eq!(mara.looks_at_thumbnail(&plan).await.unwrap(), small);
    assert_eq!(kept(&world), 2);
    let copy = world.desk().join("small.png");
    mara.types(&format!("openprod blob thumbnail {plan} -o {}", copy.display())).await.ok();
    assert_eq!(std::fs::read(copy).unwrap(), small);

    let address = world.house.address();
    let token = std::fs::read_to_string(world.house.token_file(&mara.actor.to_string())).unwrap();
    let token = format!("Bearer {}", token.trim());
    let path = format!("GET /workspaces/{}/blobs/{plan}/thumbnail", mara.workspace_id());
    let answer = raw(&address, &path, &[("host", "localhost"), ("authorization", &token)], b"").await;
    assert_eq!((answer.status, answer.body), (200, small));
    assert_eq!(raw(&address, &path, &[("host", "localhost")], b"").await.status, 401);
}

#[tokio::test]
async fn what_cannot_be_shown_small_has_none_and_that_is_remembered() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    for bytes in [&b"Enter Hamlet."[..], &PIXEL[..40], b"%PDF-1.7 nothing", b"GIF89a\xff\xff\xff\xff"] {
        let hash = mara.puts_file(bytes).await.hash;
        for _ in 0..2 {
            let refused = mara.looks_at_thumbnail(&hash).await.unwrap_err();
            assert_eq!(refused.reason(), Some(Reason::NoThumbnail), "{refused}");
        }
    }
    assert_eq!(kept(&world), 4);
    let missing = blake3::hash(b"elsewhere").to_hex();
    assert_eq!(mara.looks_at_thumbnail(&missing).await.unwrap_err().reason(), Some(Reason::BlobUnavailable));
    let hash = mara.puts_file(PIXEL).await.hash;
    mara.deletes_file(&hash, "drawn anew").await;
    assert_eq!(mara.looks_at_thumbnail(&hash).await.unwrap_err().reason(), Some(Reason::BlobDeleted));
}

/// Every file of the suites gets a thumbnail or is refused, as it should be, and the node goes on as if nothing had been.
#[tokio::test]
async fn the_suites_of_pictures_and_pdfs_are_accepted_or_refused() {
    let Some(data) = data() else { return };
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let (mut shown, mut refused, mut broken_pngs) = (0, Vec::new(), Vec::new());
    for path in files_below(&data.join("07_blobs")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // So the suites of PNGs call those that are broken.
        broken_pngs.extend(Some(name.clone()).filter(|name| name.starts_with('x')));
        let hash = mara.puts_file(&std::fs::read(&path).unwrap()).await.hash;
        match mara.looks_at_thumbnail(&hash).await {
            Ok(png) => {
                let (width, height) = size(&png);
                assert!(width.max(height) <= 512 && width.min(height) > 0, "{name}");
                shown += 1;
            }
            Err(error) => {
                assert_eq!(error.reason(), Some(Reason::NoThumbnail), "{name}: {error}");
                refused.push(name);
            }
        }
    }
    println!("{shown} shown; refused: {refused:?}");
    let broken = |name: &String| name.starts_with('x') || name.contains("enc") || name.contains("password");
    let unexpected: Vec<_> = refused.iter().filter(|name| !broken(name)).collect();
    assert!(unexpected.is_empty(), "refused, and nothing is known to be wrong with them: {unexpected:?}");
    let taken: Vec<_> = broken_pngs.iter().filter(|name| !refused.contains(name)).collect();
    assert!(taken.is_empty() && !broken_pngs.is_empty(), "shown, though they are broken: {taken:?}");
    assert!(shown > 100, "{shown}");
    let report = mara.verifies_files().await;
    assert_eq!((report.damaged.len(), report.gone.len()), (0, 0));
    mara.finds_all_well().await;
}

/// How many thumbnails the house keeps.
fn kept(world: &World) -> usize {
    below(&world.house.workspace_folder().join("blobs/thumbnails")).len()
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    below(folder).into_iter().map(|name| folder.join(name)).collect()
}
