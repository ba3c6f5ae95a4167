//! Joining a process's stdio: the container's own (`attach`) or an exec's. Called by `containers` and `execs`; the shim holds the streams.

use async_trait::async_trait;
use bytes::Bytes;

use crate::engine::{Attached, BoxStream, Class, EngineError, Input, Output, Result, StreamKind};
use crate::shim::client::Arrival;
use crate::shim::{Kind, Note};

use super::wire::{Link, SessionReader, SessionWriter};

/// Whether the session has an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    Open,
    None,
}

/// A session whose opening request was answered.
pub(crate) fn session(link: Link, tty: bool, stdin: Stdin) -> Attached {
    let (reader, writer) = link.into_session();
    Attached { tty, output: output(reader), input: Box::new(Keyboard { writer, stdin }) }
}

/// Output until the process ends, the client is let go, or the shim is gone.
fn output(reader: SessionReader) -> BoxStream<Output> {
    Box::pin(futures_util::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        loop {
            let step = match reader.next().await {
                Ok(Some(Arrival::Data(frame))) => {
                    let kind = if frame.kind == Kind::Stderr { StreamKind::Stderr } else { StreamKind::Stdout };
                    return Some((Ok(Output::Bytes(kind, frame.body)), Some(reader)));
                }
                Ok(Some(Arrival::Note(Note::Detached))) => Some(Ok(Output::Detached)),
                Ok(Some(Arrival::Note(Note::Dropped { bytes }))) => Some(Err(dropped(bytes))),
                Ok(Some(Arrival::Note(Note::Ended { .. })) | None) => None,
                // Answers to resizes, notes of a newer shim, and what `WhenSlow::Skip` would say, which is not asked for.
                Ok(Some(Arrival::Reply(_) | Arrival::Note(Note::Lost { .. } | Note::Unknown))) => continue,
                Err(error) => Some(Err(error)),
            };
            return step.map(|step| (step, None));
        }
    }))
}

fn dropped(bytes: u64) -> EngineError {
    EngineError::new(
        Class::Unavailable,
        "",
        format!("the output was read too slowly and the connection was let go: {bytes} bytes were not sent"),
    )
    .with_hint("the process goes on; its log has everything")
}

/// The writing half of a session.
struct Keyboard {
    writer: SessionWriter,
    stdin: Stdin,
}

#[async_trait]
impl Input for Keyboard {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self.stdin {
            Stdin::Open => self.writer.stdin(bytes).await,
            // Without an input there is nobody to take it (docker drops it too).
            Stdin::None => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<()> {
        match self.stdin {
            Stdin::Open => self.writer.end().await,
            Stdin::None => Ok(()),
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A half-closed socket means end of input to the shim; who asked for no input must not end it.
        if self.stdin == Stdin::None {
            self.writer.forget();
        }
    }
}
