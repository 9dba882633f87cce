//! Any bytes offered as a bundle: refused, or read to a bundle that has exactly those bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_domain::fold;
use openprod_domain::view::{Empty, Layer};
use openprod_model::bundle::Bundle;
use openprod_model::operation::{Operation, RawOp};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(&**bundle.bytes(), bytes);
        let mut layer = Layer::default();
        for op in bundle.ops() {
            layer.fold(&Empty, op, None).expect("nothing is read from a disk here");
        }
    }
    if let Some((kind, body)) = bytes.split_first_chunk::<2>() {
        let raw = RawOp { kind: u16::from_le_bytes(*kind), body: body.to_vec() };
        if let Ok(Some(operation)) = Operation::from_raw(&raw) {
            assert_eq!(operation.to_raw(), raw);
            let _ = fold::writes(&operation);
        }
    }
});
