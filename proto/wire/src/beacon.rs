//! Beacons: what a node says about itself to everybody on the local network, in the TXT record of its service (RFC 6763).
//!
//! A bystander learns that there is a node, its key, and how many workspaces it has; neither their names nor ids, nor
//! which nodes share one: a workspace is named by a hash, keyed by its id, of the node's key and of a salt that the node
//! draws anew each day. Only a workspace that is open to everybody is named, so that it can be found.
//!
//! Nothing in a beacon is proven. Whoever dials because of one expects the key in it, and the handshake proves that.

use openprod_model::ids::{ActorId, WorkspaceId};

/// The version of this format.
const FORMAT: &str = "1";

/// The most workspaces told by tags.
pub const MAX_TAGS: usize = 64;

/// The most workspaces told by name.
pub const MAX_OPEN: usize = 4;

/// The longest name told, in bytes; a longer one is cut.
pub const MAX_NAME_BYTES: usize = 80;

/// What fits into one string of a TXT record beside its key.
const TAGS_PER_STRING: usize = 12;

const TAG_HEX: usize = 16;
const UUID_TEXT: usize = 36;
const KEY_CONTEXT: &str = "openprod 2026 beacon tag 1";

/// A workspace, to those who know its id: half a hash is enough for a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BeaconTag([u8; 8]);

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Its key, as it claims.
    pub key: ActorId,
    /// Drawn anew each day.
    pub salt: [u8; 8],
    /// Its workspaces.
    pub tags: Vec<BeaconTag>,
    /// Those among them that are open to everybody, with their names.
    pub open: Vec<(WorkspaceId, String)>,
}

impl BeaconTag {
    /// The tag of a workspace in the beacons of `key` with this salt.
    pub fn of(workspace: WorkspaceId, key: ActorId, salt: [u8; 8]) -> Self {
        let hash_key = blake3::derive_key(KEY_CONTEXT, workspace.as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(&hash_key);
        hasher.update(key.as_bytes()).update(&salt);
        let mut tag = [0; 8];
        hasher.finalize_xof().fill(&mut tag);
        Self(tag)
    }
}

impl Beacon {
    /// The beacon of a node with these workspaces, and with these open ones.
    pub fn of(key: ActorId, salt: [u8; 8], workspaces: &[WorkspaceId], open: &[(WorkspaceId, String)]) -> Self {
        let tags = workspaces.iter().take(MAX_TAGS).map(|workspace| BeaconTag::of(*workspace, key, salt));
        let named = open.iter().take(MAX_OPEN).map(|(workspace, name)| (*workspace, shown(name)));
        Self { key, salt, tags: tags.collect(), open: named.collect() }
    }

    /// Whether it tells of this workspace.
    pub fn tells_of(&self, workspace: WorkspaceId) -> bool {
        self.tags.contains(&BeaconTag::of(workspace, self.key, self.salt))
    }

    /// The keys and values of its TXT record, in order.
    pub fn to_txt(&self) -> Vec<(String, String)> {
        let mut txt = vec![("v".to_owned(), FORMAT.to_owned()), ("id".to_owned(), self.key.to_string())];
        txt.push(("s".to_owned(), hex(&self.salt)));
        let tags = self.tags.chunks(TAGS_PER_STRING).zip(0..);
        txt.extend(tags.map(|(tags, n)| (format!("w{n}"), tags.iter().map(|tag| hex(&tag.0)).collect())));
        let open = self.open.iter().zip(0..);
        txt.extend(open.map(|((workspace, name), n)| (format!("o{n}"), format!("{workspace}{name}"))));
        txt
    }

    /// Reads a TXT record, of which `value` gives the value of a key. None where it is no beacon of a known format.
    pub fn from_txt<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        if value("v") != Some(FORMAT) {
            return None;
        }
        let key = value("id")?.parse().ok()?;
        let salt = unhex(value("s")?)?;
        let strings = (0..MAX_TAGS.div_ceil(TAGS_PER_STRING)).map_while(|n| value(&format!("w{n}")));
        let tags = strings.flat_map(tags).take(MAX_TAGS).collect();
        let open = (0..MAX_OPEN).map_while(|n| value(&format!("o{n}")).and_then(named)).collect();
        Some(Self { key, salt, tags, open })
    }
}

fn tags(text: &str) -> impl Iterator<Item = BeaconTag> {
    text.as_bytes().chunks(TAG_HEX).filter_map(|tag| unhex(std::str::from_utf8(tag).ok()?).map(BeaconTag))
}

fn named(text: &str) -> Option<(WorkspaceId, String)> {
    let (workspace, name) = text.split_at_checked(UUID_TEXT)?;
    Some((workspace.parse().ok()?, shown(name)))
}

/// A name as it may be shown: cut, and without control characters.
fn shown(name: &str) -> String {
    let mut shown = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if shown.len() + letter.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        shown.push(letter);
    }
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<[u8; 8]> {
    let is_hex = text.len() == TAG_HEX && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u64::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    const KEY: ActorId = ActorId::from_bytes([3; 32]);

    fn workspace(n: u8) -> WorkspaceId {
        WorkspaceId::from_bytes([n; 16])
    }

    fn read(txt: &[(String, String)]) -> Option<Beacon> {
        let values: BTreeMap<_, _> = txt.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Beacon::from_txt(|key| values.get(key).copied())
    }

    #[test]
    fn a_beacon_comes_back_and_tells_of_its_workspaces_to_those_who_know_them() {
        let workspaces: Vec<_> = (0..40).map(workspace).collect();
        let open = [(workspace(7), "Hamlet, \u{1b}[2Jopen".to_owned())];
        let beacon = Beacon::of(KEY, [9; 8], &workspaces, &open);
        assert_eq!(read(&beacon.to_txt()).as_ref(), Some(&beacon));
        assert!(beacon.tells_of(workspace(39)) && !beacon.tells_of(workspace(40)));
        assert_eq!(beacon.open, [(workspace(7), "Hamlet, [2Jopen".to_owned())]);
        assert!(beacon.to_txt().iter().all(|(key, value)| key.len() + value.len() < 255));
    }

    #[test]
    fn it_names_nothing_that_is_not_open_and_looks_different_each_day() {
        let beacon = Beacon::of(KEY, [9; 8], &[workspace(1)], &[]);
        let said: String = beacon.to_txt().into_iter().map(|(_, value)| value).collect();
        assert!(!said.contains(&workspace(1).to_string()));
        assert_ne!(Beacon::of(KEY, [8; 8], &[workspace(1)], &[]).tags, beacon.tags);
        let neighbour = ActorId::from_bytes([4; 32]);
        assert_ne!(Beacon::of(neighbour, [9; 8], &[workspace(1)], &[]).tags, beacon.tags);
    }

    #[test]
    fn the_format_stays_what_it_is() {
        let txt = Beacon::of(KEY, [9; 8], &[workspace(1)], &[(workspace(2), "Hamlet".to_owned())]).to_txt();
        let expected = [
            ("v", "1".to_owned()),
            ("id", "03".repeat(32)),
            ("s", "09".repeat(8)),
            ("w0", "21051f5f62862bcb".to_owned()),
            ("o0", "02020202-0202-0202-0202-020202020202Hamlet".to_owned()),
        ];
        assert_eq!(txt, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    proptest! {
        #[test]
        fn hostile_records_never_panic_and_stay_within_bounds(values in prop::collection::vec("\\PC{0,300}", 12), flip in 0usize..12) {
            let keys = ["v", "id", "s", "w0", "w1", "w2", "w3", "w4", "w5", "o0", "o1", "o2"];
            let mut txt = Beacon::of(KEY, [9; 8], &[workspace(1)], &[]).to_txt();
            txt.extend(keys.iter().zip(&values).skip(3).map(|(key, value)| ((*key).to_owned(), value.clone())));
            txt.push((keys[flip].to_owned(), values[flip].clone()));
            if let Some(beacon) = read(&txt) {
                prop_assert!(beacon.tags.len() <= MAX_TAGS && beacon.open.len() <= MAX_OPEN);
                prop_assert!(beacon.open.iter().all(|(_, name)| name.len() <= MAX_NAME_BYTES));
            }
        }
    }
}
