//! Any text offered as a query: refused with a place, or parsed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_domain::query::Query;
use openprod_domain::view::Empty;

fuzz_target!(|text: &str| {
    if let Ok(query) = Query::parse(text) {
        let _ = query.check(&Empty, None);
    }
});
