//! The `openprod` binary again, built with the failpoints that crash tests need.
//!
//! `FAILPOINTS` is that of the fail crate (`oplog-mid-batch=3*off->1*panic`). `OPENPROD_FAULTS` adds what a test of
//! whole processes needs: `oplog-mid-batch:3=abort` ends the process when the point is passed for the third time;
//! `=stop` says so on standard error and never lets that thread go on. As the node forgets all points when it reads
//! `FAILPOINTS`, faults wait for a point called `read` there.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    if let Ok(faults) = std::env::var("OPENPROD_FAULTS") {
        std::thread::spawn(move || {
            while !fail::list().iter().any(|(name, _)| name == "read") {
                std::thread::sleep(Duration::from_millis(1));
            }
            for fault in faults.split(',') {
                plant(fault).expect("a fault is written as POINT:TIMES=abort or POINT:TIMES=stop");
            }
        });
    }
    openprod_node::cli::main()
}

fn plant(fault: &str) -> Option<()> {
    let (place, action) = fault.split_once('=')?;
    let (point, times) = place.split_once(':')?;
    let (point, times) = (point.to_owned(), times.parse::<u64>().ok()?);
    let strike: fn() = match action {
        "abort" => || std::process::abort(),
        "stop" => || {
            loop {
                std::thread::park();
            }
        },
        _ => return None,
    };
    let (name, passed) = (point.clone(), AtomicU64::new(0));
    let callback = move || {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == times {
            eprintln!("fault at {name}");
            strike();
        }
    };
    fail::cfg_callback(point, callback).ok()
}
