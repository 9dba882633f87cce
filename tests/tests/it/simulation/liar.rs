//! A lying node: what arrives in the place of the frames that it says.

use std::sync::{Arc, Mutex};

use openprod_links::transport::memory::{Arrival, Garble};
use openprod_model::bundle::{Bundle, Draft, Source, Stamp};
use openprod_model::identity::Keys;
use openprod_model::ids::WorkspaceId;
use openprod_model::operation::RawOp;
use openprod_model::value::Text;
use openprod_wire::framing;
use openprod_wire::replication::Message;

use crate::convergence::chance::Dice;

/// The most bytes of a frame that is far too large.
const OVERSIZED: usize = 9 * 1024 * 1024;

/// How often a bit is flipped before it is one of the signature.
const FLIPS: usize = 400;

/// Lies in about one of `odds` frames. It is a member, and signs with its own keys whatever it pleases.
pub(super) fn lies(dice: Dice, odds: usize, keys: Keys) -> Garble {
    let state = Mutex::new((dice, Vec::<Vec<u8>>::new()));
    Arc::new(move |frame| {
        let (dice, said) = &mut *state.lock().unwrap();
        if said.len() < 64 {
            said.push(frame.clone());
        }
        if dice.one_in(odds) { lie(frame, said, dice, &keys) } else { Arrival::Frames(vec![frame]) }
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

fn lie(mut frame: Vec<u8>, said: &[Vec<u8>], dice: &mut Dice, keys: &Keys) -> Arrival {
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
        _ => Arrival::Frames(vec![forged(&frame, dice, keys).unwrap_or(frame)]),
    }
}

/// The same frame with bundles that are not what they were.
fn forged(frame: &[u8], dice: &mut Dice, keys: &Keys) -> Option<Vec<u8>> {
    let Ok(Message::Checkpoint(mut checkpoint)) = framing::decode(frame) else { return None };
    let bundles = &mut checkpoint.bundles;
    let which = dice.below(bundles.len());
    match dice.below(9) {
        0 => bundles.reverse(),
        1 => drop(bundles.remove(which)),
        2 => bundles.push(bundles[which].clone()),
        3..6 => bundles.push(signed_anew(&bundles[which], dice, keys)?),
        6 | 7 => bundles[which] = badly_signed(&bundles[which], dice)?,
        _ => {
            let at = dice.below(bundles[which].len());
            bundles[which][at] ^= 1 << dice.below(8);
        }
    }
    framing::encode(&Message::Checkpoint(checkpoint)).ok()
}

/// The same ops, said by the liar as if they were its own, in a bundle that nobody honest makes: out of time, out of its
/// chain, or for another workspace.
fn signed_anew(bytes: &[u8], dice: &mut Dice, keys: &Keys) -> Option<Vec<u8>> {
    let bundle = Bundle::parse(bytes).ok()?;
    let header = bundle.header();
    let ops: Option<Vec<RawOp>> = bundle.ops().iter().map(|op| Some(op.operation.as_ref()?.to_raw())).collect();
    let mut stamp =
        Stamp { workspace: header.workspace, actor: keys.actor(), hlc: header.hlc, op_base: header.op_base };
    let mut prev = header.prev;
    match dice.below(5) {
        0 => stamp.hlc.ms = 0,
        1 => stamp.hlc.ms = u64::MAX >> 16,
        2 => prev = None,
        3 => prev = header.parents.first().copied(),
        _ => stamp.workspace = WorkspaceId::from_bytes([9; 16]),
    }
    let draft = Draft {
        stamp,
        id: header.id,
        wall_ms: header.wall_ms,
        parents: header.parents.clone(),
        prev,
        kind: header.kind,
        label: Text::new("Forged").ok()?,
        source: Source::default(),
        undoes: Vec::new(),
        ops: ops?,
    };
    Some(draft.seal(keys).ok()?.bytes().to_vec())
}

/// The same bundle under a signature that is not its author's.
fn badly_signed(bytes: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let flipped = (0..FLIPS).map(|_| {
        let mut bytes = bytes.to_vec();
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        bytes
    });
    flipped.into_iter().find(|bytes| Bundle::parse(bytes).is_ok_and(|bundle| !bundle.signature_holds()))
}
