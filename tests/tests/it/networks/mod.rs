//! Real networks: nodes on machines with network stacks of their own, on switches, cables and bad lines.
//!
//! They run in a sandbox of namespaces that `tests/networks/run.sh` makes, which also says where none can be made;
//! without it each says that it was skipped. Nobody here trusts a time: a scenario waits until `openprod peers` calls
//! all nodes equal, and is judged by every acknowledged change being everywhere, equal state hashes, and the conflicts
//! that it must have made, no more and no fewer.

mod apart;
mod bad_lines;
mod cables;
mod clocks;
mod crew;
mod crowd;
mod flood;
mod lan;
mod line;
mod members;
mod stores;

/// How much a scenario does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In every run of everything.
    Short,
    /// By hand.
    Long,
}

impl Form {
    fn of(self, short: usize, long: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// The form that is run; none outside of the sandbox.
fn form() -> Option<Form> {
    match std::env::var("OPENPROD_NETWORKS").as_deref() {
        Ok("short") => Some(Form::Short),
        Ok("long") => Some(Form::Long),
        Ok(other) => panic!("OPENPROD_NETWORKS is short or long, not {other:?}"),
        Err(_) => {
            println!("SKIPPED: tests/networks/run.sh runs this");
            None
        }
    }
}
