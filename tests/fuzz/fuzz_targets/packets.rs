//! Any packet of multicast DNS, as the library reads it that hears the local network: refused, or read within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mdns_sd::fuzz_api::parse_packet(bytes));
