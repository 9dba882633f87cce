//! Published test vectors, where the variable OPENPROD_REAL_DATA names a folder that holds them.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use openprod_model::identity::{Keys, Signature, verify};
use openprod_model::ids::{ActorId, OpId};
use serde_json::Value;

fn vectors(file: &str) -> Option<Value> {
    let folder = std::env::var_os("OPENPROD_REAL_DATA")?;
    let path = std::path::Path::new(&folder).join("08_vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap())
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn fixed<const N: usize>(value: &Value) -> Option<[u8; N]> {
    hex(value).try_into().ok()
}

#[test]
fn ed25519_signs_as_rfc_8032_says() {
    let Some(cases) = vectors("rfc8032_ed25519.json") else { return };
    for case in cases.as_array().unwrap() {
        let keys = Keys::from_seed(&fixed(&case["secret_key"]).unwrap());
        let (message, signature) = (hex(&case["message"]), Signature::from_bytes(&fixed(&case["signature"]).unwrap()));
        assert_eq!(keys.actor().as_bytes(), &fixed::<32>(&case["public_key"]).unwrap(), "{}", case["name"]);
        assert_eq!(keys.sign(&message), signature, "{}", case["name"]);
        assert!(verify(keys.actor(), &message, &signature));
    }
}

#[test]
fn ed25519_verifies_as_wycheproof_says() {
    let Some(file) = vectors("wycheproof_ed25519_test.json") else { return };
    for group in file["testGroups"].as_array().unwrap() {
        let actor = ActorId::from_bytes(fixed(&group["publicKey"]["pk"]).unwrap());
        for case in group["tests"].as_array().unwrap() {
            let holds = fixed::<64>(&case["sig"])
                .is_some_and(|signature| verify(actor, &hex(&case["msg"]), &Signature::from_bytes(&signature)));
            assert_eq!(holds, case["result"] == "valid", "case {}: {}", case["tcId"], case["comment"]);
        }
    }
}

#[test]
fn blake3_hashes_as_its_authors_say() {
    let Some(file) = vectors("blake3_test_vectors.json") else { return };
    for case in file["cases"].as_array().unwrap() {
        let length = usize::try_from(case["input_len"].as_u64().unwrap()).unwrap();
        let input: Vec<u8> = (0..=250).cycle().take(length).collect();
        assert_eq!(blake3::hash(&input).as_bytes()[..], hex(&case["hash"])[..32]);
    }
}

#[test]
fn uuids_of_version_7_carry_their_time() {
    let Some(cases) = vectors("uuid_rfc9562.json") else { return };
    let case = cases.as_array().unwrap().iter().find(|case| case["version"] == 7).unwrap();
    let id: OpId = case["uuid"].as_str().unwrap().parse().unwrap();
    let ms = 0x017F_22E2_79B0_u64;
    let mut random = [0; 10];
    random.copy_from_slice(&id.as_bytes()[6..]);
    assert_eq!(OpId::new(ms, random), id);
}
