//! The `openprod` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    openprod_node::cli::main()
}
