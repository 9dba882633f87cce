//! A large file from one node to another.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::stream;
use openprod_client::Workspace;
use openprod_client::blobs::MAX_PIECE_BYTES;
use openprod_links::transport::quic::floor;
use openprod_model::ids::BlobHash;

use super::kit::{Failure, line, median, plain, rate};
use super::visible::company;

/// How often each is measured, with another file each time.
const ROUNDS: u8 = 5;
/// How large the files are, in MiB: a recording of some minutes.
const FILE_MIB: usize = 256;

pub(super) async fn figures(folder: &Path) -> Result<(), Failure> {
    let mib = super::number("OPENPROD_BENCH_FILE_MIB", FILE_MIB);
    let (_nodes, views) = company(folder, 2).await?;
    let (mut put, mut fetched, mut got, mut floors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let pieces = stream::iter((0..mib).map(move |n| Ok(piece(round, n))));
        let hash = views[0].put_blob(pieces, None).await?.hash.parse()?;
        put.push(start.elapsed());
        floors.push(floor::stream(mib * MAX_PIECE_BYTES).await?);
        fetched.push(fetch(&views[1], hash).await?);
        got.push(get(&views[1], hash).await?);
    }
    let (fetched, floor) = (median(&mut fetched), median(&mut floors));
    let a_second = |time: Duration| format!("{:.0} MiB/s", rate(mib, time));
    let figure = format!("file of {mib} MiB to another node, durable / QUIC stream");
    line(&figure, &a_second(fetched), &a_second(floor), fetched.div_duration_f64(floor));
    plain(&format!("file of {mib} MiB put on a node by a client, durable"), &a_second(median(&mut put)));
    plain(&format!("file of {mib} MiB taken from a node by a client"), &a_second(median(&mut got)));
    Ok(())
}

/// A piece of a file like which there is no other, and which nothing makes smaller.
fn piece(round: u8, n: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[round]).update(&n.to_be_bytes());
    let mut piece = vec![0; MAX_PIECE_BYTES];
    hasher.finalize_xof().fill(&mut piece);
    piece
}

async fn fetch(view: &Workspace, hash: BlobHash) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut standing = view.fetch_blob(hash).await?;
    while standing.next().await?.is_some() {}
    Ok(start.elapsed())
}

async fn get(view: &Workspace, hash: BlobHash) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut pieces = view.get_blob(hash, 0, 0).await?;
    while pieces.next().await?.is_some() {}
    Ok(start.elapsed())
}
