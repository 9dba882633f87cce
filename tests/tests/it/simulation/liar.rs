//! A lying node: what arrives in the place of the frames that it says.

use std::sync::{Arc, Mutex};

use openprod_links::transport::memory::{Arrival, Garble};
use openprod_wire::framing;
use openprod_wire::replication::Message;

use crate::convergence::chance::Dice;

/// The most bytes of a frame that is far too large.
const OVERSIZED: usize = 9 * 1024 * 1024;

/// Lies in about one of `odds` frames.
pub(super) fn lies(dice: Dice, odds: usize) -> Garble {
    let state = Mutex::new((dice, Vec::<Vec<u8>>::new()));
    Arc::new(move |frame| {
        let (dice, said) = &mut *state.lock().unwrap();
        if said.len() < 64 {
            said.push(frame.clone());
        }
        if dice.one_in(odds) { lie(frame, said, dice) } else { Arrival::Frames(vec![frame]) }
    })
}

/// The next frame is cut off, and the rest is as it is.
pub(super) fn truncates_one() -> Garble {
    let is_over = Mutex::new(false);
    Arc::new(move |frame| {
        if std::mem::replace(&mut *is_over.lock().unwrap(), true) {
            Arrival::Frames(vec![frame])
        } else {
            Arrival::Truncated
        }
    })
}

fn lie(mut frame: Vec<u8>, said: &[Vec<u8>], dice: &mut Dice) -> Arrival {
    match dice.below(8) {
        0 | 1 => {
            let at = dice.below(frame.len());
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
            Arrival::Frames(vec![frame])
        }
        2 => Arrival::Frames(vec![(0..dice.below(400)).map(|_| dice.roll().to_le_bytes()[0]).collect()]),
        3 => Arrival::Frames(vec![frame.clone(), frame]),
        4 => Arrival::Frames(dice.pick(said).into_iter().chain([frame]).collect()),
        5 => Arrival::Frames(Vec::new()),
        6 if dice.one_in(4) => Arrival::Frames(vec![vec![0x5a; OVERSIZED]]),
        _ => Arrival::Frames(vec![forged(&frame, dice).unwrap_or(frame)]),
    }
}

/// The same frame with bundles that are not what they were.
fn forged(frame: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let Ok(Message::Checkpoint(mut checkpoint)) = framing::decode(frame) else { return None };
    let bundles = &mut checkpoint.bundles;
    let which = dice.below(bundles.len());
    match dice.below(4) {
        0 => bundles.reverse(),
        1 => drop(bundles.remove(which)),
        2 => bundles.push(bundles[which].clone()),
        _ => {
            let at = dice.below(bundles[which].len());
            bundles[which][at] ^= 1 << dice.below(8);
        }
    }
    framing::encode(&Message::Checkpoint(checkpoint)).ok()
}
