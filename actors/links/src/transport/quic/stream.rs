//! A channel on QUIC: one bidirectional stream, cut into frames.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::{self, Deframer, FrameError};
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use super::{close_code, ending};
use crate::transport::{Channel, FIRST_LIMIT, Inlet, LinkError, Outlet};

type OwnCode = Arc<OnceLock<CloseCode>>;

pub(super) fn channel(send: SendStream, receive: RecvStream, code: &OwnCode) -> Channel {
    let inlet = StreamIn { stream: send, code: Arc::clone(code), is_within_frame: false };
    let deframer = Deframer::new(FIRST_LIMIT);
    Channel::of(inlet, StreamOut { stream: receive, code: Arc::clone(code), deframer, ended: None })
}

/// Where frames go in.
struct StreamIn {
    stream: SendStream,
    code: OwnCode,
    /// A frame was begun whose sending was given up: nothing can follow.
    is_within_frame: bool,
}

impl StreamIn {
    async fn put(&mut self, frame: Vec<u8>) -> Result<(), LinkError> {
        if self.is_within_frame {
            return Err(LinkError::Truncated);
        }
        self.is_within_frame = true;
        let prefix = framing::prefix(frame.len(), u32::MAX as usize)?;
        let written = match self.stream.write_all(&prefix).await {
            Ok(()) => self.stream.write_all(&frame).await,
            Err(error) => Err(error),
        };
        written.map_err(|error| self.failure(error))?;
        self.is_within_frame = false;
        Ok(())
    }

    fn failure(&mut self, error: WriteError) -> LinkError {
        // Every further attempt meets the same, and says so better than that a frame was cut.
        self.is_within_frame = false;
        match error {
            WriteError::Stopped(code) => LinkError::GivenUp(close_code(code)),
            WriteError::ConnectionLost(error) => ending(error, &self.code).into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::GivenUp(CloseCode::DONE),
        }
    }
}

impl Outlet for StreamIn {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.put(frame).boxed()
    }

    fn finish(&mut self) {
        // It fails only where the direction has ended already.
        let _ = self.stream.finish();
    }

    fn give_up(&mut self, code: CloseCode) {
        let _ = self.stream.reset(code.0.into());
    }
}

/// Where frames come out.
struct StreamOut {
    stream: RecvStream,
    code: OwnCode,
    deframer: Deframer,
    /// How it ended, to be said again.
    ended: Option<Result<(), LinkError>>,
}

impl StreamOut {
    /// What was read is kept in the deframer, so nothing is lost if this is dropped while it waits.
    async fn take(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone().map(|()| None);
            }
            let chunk = self.stream.read_chunk(self.deframer.wanted(), true).await;
            match chunk {
                Ok(Some(chunk)) => match self.deframer.push(&chunk.bytes) {
                    Ok(None) => {}
                    Ok(frame) => return Ok(frame),
                    Err(error) => self.ended = Some(Err(self.refuse(error))),
                },
                Ok(None) if self.deframer.is_between_frames() => self.ended = Some(Ok(())),
                Ok(None) => self.ended = Some(Err(LinkError::Truncated)),
                Err(error) => self.ended = Some(Err(self.failure(error))),
            }
        }
    }

    fn refuse(&mut self, error: FrameError) -> LinkError {
        self.give_up(CloseCode::MISBEHAVED);
        error.into()
    }

    fn failure(&self, error: ReadError) -> LinkError {
        match error {
            ReadError::Reset(code) => LinkError::GivenUp(close_code(code)),
            ReadError::ConnectionLost(error) => ending(error, &self.code).into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                LinkError::GivenUp(CloseCode::DONE)
            }
        }
    }
}

impl Inlet for StreamOut {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, LinkError>> {
        self.take().boxed()
    }

    fn set_limit(&mut self, bytes: usize) {
        self.deframer.set_limit(bytes);
    }

    fn give_up(&mut self, code: CloseCode) {
        // It fails only where the direction has ended already.
        let _ = self.stream.stop(code.0.into());
    }
}
