//! A shim's socket driven by tokio: requests and answers, data sessions. Called by `lifecycle`, `attach`, `execs` and `wait`. Connecting and the
//! first request do not wait for anybody, so that a registration stands before the caller's first await.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::engine::{Class, EngineError, Result};
use crate::shim::client::{self, Arrival, ClientError};
use crate::shim::protocol::{self, Answer, Numbered, ProtocolError};
use crate::shim::{Kind, Request};

/// How long a shim may take for what it does at once.
pub(crate) const PROMPT: Duration = Duration::from_secs(30);

impl From<ClientError> for EngineError {
    fn from(error: ClientError) -> Self {
        let class = match &error {
            ClientError::Fault(_) => Class::Internal,
            ClientError::Protocol(_) | ClientError::Io(_) => Class::Internal,
            ClientError::Gone => Class::Unavailable,
            ClientError::Timeout(_) => Class::Timeout,
        };
        match error {
            ClientError::Fault(fault) => fault.into(),
            other => Self::new(class, "", "the container's supervisor did not answer").caused_by(&other),
        }
    }
}

/// A shim that has just ended is gone, whichever call is the first to see it.
fn of_sending(failed: std::io::Error) -> ClientError {
    match failed.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => ClientError::Gone,
        _ => ClientError::Io(failed),
    }
}

/// A connection whose first requests are already sent.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    buf: BytesMut,
    next_seq: u64,
}

impl Link {
    /// Connects to the shim of this run directory; `None` when none listens. Immediate. Must be called inside the tokio runtime.
    pub(crate) fn connect(run_dir: &Path) -> Result<Option<Self>> {
        match client::connect(run_dir) {
            Ok(stream) => Self::new(stream, BytesMut::new()).map(Some),
            Err(failed) if matches!(failed.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(failed) => Err(ClientError::Io(failed).into()),
        }
    }

    pub(crate) fn new(stream: std::os::unix::net::UnixStream, buf: BytesMut) -> Result<Self> {
        stream.set_nonblocking(true).map_err(ClientError::Io)?;
        let stream = UnixStream::from_std(stream).map_err(ClientError::Io)?;
        Ok(Self { stream, buf, next_seq: 1 })
    }

    /// Sends a request at once: a fresh socket takes one without waiting. Returns its number.
    pub(crate) fn send_first(&mut self, request: Request) -> Result<u64> {
        let (seq, frame) = self.encode(request);
        match self.stream.try_write(&frame) {
            Ok(n_written) if n_written == frame.len() => Ok(seq),
            Ok(_) => Err(ClientError::Io(ErrorKind::WouldBlock.into()).into()),
            // Not known to be ready yet: the socket itself decides.
            Err(failed) if failed.kind() == ErrorKind::WouldBlock => self.send_raw(&frame).map(|()| seq),
            Err(failed) => Err(of_sending(failed).into()),
        }
    }

    fn send_raw(&self, frame: &[u8]) -> Result<()> {
        use std::os::fd::AsFd;
        let copy = self.stream.as_fd().try_clone_to_owned().map_err(ClientError::Io)?;
        let mut socket = std::os::unix::net::UnixStream::from(copy);
        socket.write_all(frame).map_err(|failed| of_sending(failed).into())
    }

    fn encode(&mut self, request: Request) -> (u64, BytesMut) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut frame = BytesMut::new();
        protocol::encode_json(Kind::Request, &Numbered { seq, request }, &mut frame);
        (seq, frame)
    }

    /// Sends and waits for the answer; other arrivals before it are dropped, so only without a data session.
    pub(crate) async fn call(&mut self, request: Request, patience: Duration) -> Result<Answer> {
        let (seq, frame) = self.encode(request);
        let exchange = async {
            self.stream.write_all(&frame).await.map_err(|_| ClientError::Gone)?;
            self.answer(seq).await
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout(patience).into()),
        }
    }

    /// The answer to a request sent before. Waits as long as the shim lives: the caller sets the deadline, or the thing waited for has none.
    pub(crate) async fn answer(&mut self, seq: u64) -> Result<Answer> {
        loop {
            match next_arrival(&mut self.stream, &mut self.buf).await? {
                Some(Arrival::Reply(reply)) if reply.seq == seq => {
                    return reply.into_result().map_err(EngineError::from);
                }
                Some(_) => {}
                None => return Err(ClientError::Gone.into()),
            }
        }
    }

    /// The two directions of a data session.
    pub(crate) fn into_session(self) -> (SessionReader, SessionWriter) {
        let (read, write) = self.stream.into_split();
        let reader = SessionReader { stream: read, buf: self.buf };
        (reader, SessionWriter { stream: Some(write) })
    }
}

/// What comes out of a data session.
#[derive(Debug)]
pub(crate) struct SessionReader {
    stream: OwnedReadHalf,
    buf: BytesMut,
}

impl SessionReader {
    /// The next thing; `None` when the shim has closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrival>> {
        next_arrival(&mut self.stream, &mut self.buf).await
    }
}

/// What goes into one. Dropping it closes the process's input.
#[derive(Debug)]
pub(crate) struct SessionWriter {
    stream: Option<OwnedWriteHalf>,
}

impl SessionWriter {
    pub(crate) async fn stdin(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(protocol::MAX_DATA_BYTES));
            let mut frame = BytesMut::with_capacity(protocol::HEADER_BYTES + piece.len());
            protocol::encode(Kind::Stdin, &piece, &mut frame);
            self.send(&frame).await?;
        }
        Ok(())
    }

    pub(crate) async fn end(&mut self) -> Result<()> {
        self.send(&protocol::header(Kind::StdinEnd, 0)).await
    }

    /// Lets go of the direction without ending the process's input: for sessions that never had one.
    pub(crate) fn forget(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.forget();
        }
    }

    async fn send(&mut self, frame: &[u8]) -> Result<()> {
        match &mut self.stream {
            Some(stream) => stream.write_all(frame).await.map_err(|_| ClientError::Gone.into()),
            None => Err(ClientError::Gone.into()),
        }
    }
}

async fn next_arrival(stream: &mut (impl tokio::io::AsyncRead + Unpin), buf: &mut BytesMut) -> Result<Option<Arrival>> {
    loop {
        let frame = protocol::decode(buf).map_err(|error: ProtocolError| ClientError::Protocol(error))?;
        if let Some(frame) = frame {
            return Ok(Some(client::classify(frame)?));
        }
        buf.reserve(64 * 1024);
        match stream.read_buf(buf).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(failed) if failed.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(failed) => return Err(ClientError::Io(failed).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shim ends between the connection and the first request, which nobody has told tokio of: to every caller it is gone, and no fault.
    #[tokio::test]
    async fn a_shim_that_ends_before_the_first_request_is_gone() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut link = Link::new(ours, BytesMut::new()).unwrap();
        drop(theirs);
        let failed = link.send_first(Request::State).unwrap_err();
        assert_eq!(failed.class, Class::Unavailable, "{failed:?}");
    }
}
