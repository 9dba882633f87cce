//! Compiles the `.proto` files: messages, clients and servers, and the descriptor set that reflection serves.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const ROOT: &str = "proto";
const FOLDER: &str = "proto/openprod/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FOLDER}");
    let descriptors = protox::compile(proto_files()?, [ROOT])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("openprod.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

/// All of them, sorted, so that builds are reproducible.
fn proto_files() -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| path.as_deref().map_or(true, is_proto))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(files)
}

fn is_proto(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "proto")
}
