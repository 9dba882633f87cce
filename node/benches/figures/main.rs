//! Figures: what the real binary does, beside a floor taken in the same run. Ratios are the result.
//!
//! `cargo bench -p openprod-node` prints the short form (up to 100,000 operations); the variable
//! `OPENPROD_BENCH_OPS=1000000` goes on to a million. Names behind `--` choose some of [`MENU`]. Nothing here fails on a
//! time.

use std::path::Path;

use kit::Failure;

mod alone;
mod blackout;
mod decisions;
mod files;
mod kit;
mod mesh;
mod strangers;
mod visible;

/// What can be asked for.
const MENU: &[&str] = &["alone", "decisions", "sync", "visible", "files", "strangers", "blackout"];

fn main() -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("openprod-bench").tempdir_in(std::env::temp_dir())?;
    // Cargo itself says --bench.
    let named: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| !MENU.contains(&name.as_str())) {
        return Err(format!("there is no {unknown:?}: name some of {}", MENU.join(", ")).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(figures(folder.path(), &named))
}

/// A number that the environment may give.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn figures(folder: &Path, named: &[String]) -> Result<(), Failure> {
    println!("{:<66} {:>14} {:>14} {:>8}", "figure", "ours", "floor", "ratio");
    for what in MENU.iter().filter(|what| named.is_empty() || named.iter().any(|name| name == *what)) {
        let folder = folder.join(what);
        std::fs::create_dir(&folder)?;
        let ops = number("OPENPROD_BENCH_OPS", 100_000);
        match *what {
            "alone" => alone::figures(&folder, ops).await?,
            "decisions" => decisions::figures(&folder).await?,
            "sync" => mesh::figures(&folder, ops).await?,
            "visible" => visible::figures(&folder).await?,
            "files" => files::figures(&folder).await?,
            "strangers" => strangers::figures(&folder, number("OPENPROD_BENCH_STRANGERS", 10_000)).await?,
            _ => blackout::figures(&folder).await?,
        }
        // A million operations on several nodes are gigabytes.
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
