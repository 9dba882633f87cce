//! The `openprod` binary again, built with the failpoints that crash tests need.

use std::process::ExitCode;

fn main() -> ExitCode {
    openprod_node::cli::main()
}
