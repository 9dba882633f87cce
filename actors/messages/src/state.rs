//! What is said to the state: it folds what the log holds.

use openprod_domain::view::ReadFailure;
use openprod_model::ids::Position;
use ractor::RpcReplyPort;

/// Messages to the state.
pub enum StateMsg {
    /// The log has grown. A hint: the state reads on from its own position.
    Appended {
        /// How far.
        through: Position,
    },
    /// Damaged bundles of the log were replaced by good copies: a state that passed over them is folded anew.
    Mended,
    /// A piece of the log was folded. Said by the state's own worker only.
    FoldedPiece {
        /// How far, or why not.
        result: Result<Position, ReadFailure>,
    },
    /// Two seconds have passed since a non-durable commit: make it durable.
    Settle,
    /// The pause after a failure is over, or a reader found trouble. Said by the state's own timer and store only.
    TryAgain,
    /// Fold everything that the log holds, make it durable, close the store.
    Close {
        /// When that is done.
        reply: RpcReplyPort<()>,
    },
}
