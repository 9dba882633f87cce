//! Any TXT record that is heard on the local network: no beacon, or one within bounds that is said so again.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use openprod_model::ids::WorkspaceId;
use openprod_wire::beacon::{Beacon, MAX_NAME_BYTES, MAX_OPEN, MAX_TAGS};

fn read(txt: &BTreeMap<String, String>) -> Option<Beacon> {
    Beacon::from_txt(|key| txt.get(key).map(String::as_str))
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let strings = text.lines().filter_map(|line| line.split_once('='));
    let txt = strings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let Some(beacon) = read(&txt) else { return };
    assert!(beacon.tags.len() <= MAX_TAGS && beacon.open.len() <= MAX_OPEN);
    for (_, name) in &beacon.open {
        assert!(name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control));
    }
    let _ = beacon.tells_of(WorkspaceId::new(1, [1; 10]));
    assert_eq!(read(&beacon.to_txt().into_iter().collect()).as_ref(), Some(&beacon));
});
