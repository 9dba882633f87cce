//! The `openprod` binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A node works in bursts on several threads, and what it frees between them shall be free: with the system's allocator
/// it keeps twice as much memory after taking in a large log, and takes longer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    openprod_node::cli::main()
}
