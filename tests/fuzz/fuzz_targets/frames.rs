//! Any bytes on a stream between two nodes: cut into frames within the limit, and each refused or read to a frame that
//! has exactly those bytes, whatever kind of stream it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_wire::admission::Admission;
use openprod_wire::files::{FileAnswer, FileAsk};
use openprod_wire::framing::{self, Deframer, Frame};
use openprod_wire::hello::Control;
use openprod_wire::opening::Opening;
use openprod_wire::presence;
use openprod_wire::replication::Message;

fn read<T: Frame>(bytes: &[u8]) {
    if let Ok(frame) = framing::decode::<T>(bytes) {
        assert_eq!(framing::encode(&frame).expect("what came within the limits goes within them"), bytes);
    }
}

fn read_as_any(bytes: &[u8]) {
    read::<Opening>(bytes);
    read::<Control>(bytes);
    read::<Admission>(bytes);
    read::<Message>(bytes);
    read::<FileAsk>(bytes);
    read::<FileAnswer>(bytes);
    let _ = presence::hear(bytes);
}

fuzz_target!(|bytes: &[u8]| {
    read_as_any(bytes);
    let Some((limit, mut stream)) = bytes.split_first() else { return };
    let limit = usize::from(*limit) * 16;
    let mut deframer = Deframer::new(limit);
    while !stream.is_empty() {
        let (now, later) = stream.split_at(deframer.wanted().min(stream.len()));
        match deframer.push(now) {
            Ok(Some(frame)) => {
                assert!(frame.len() <= limit && deframer.is_between_frames());
                read_as_any(&frame);
            }
            Ok(None) => {}
            Err(_) => return,
        }
        stream = later;
    }
});
