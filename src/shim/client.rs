//! A blocking client of one shim. Called by engines on blocking threads and by tests; an async engine takes [`ShimClient::into_parts`] (or
//! [`connect`]) and drives [`super::protocol`] over its own socket. Every call has a deadline; none retries.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::protocol::{self, Answer, Fault, Frame, Kind, Note, Numbered, ProtocolError, Reply, Request};

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the shim sent what is not its protocol")]
    Protocol(#[from] ProtocolError),
    #[error("the shim has gone")]
    Gone,
    #[error("the shim did not answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot talk to the shim")]
    Io(#[source] io::Error),
}

/// What can arrive on a connection.
#[derive(Clone, Debug)]
pub enum Arrival {
    Reply(Reply),
    Data(Frame),
    Note(Note),
}

/// A connection to a shim.
#[derive(Debug)]
pub struct ShimClient {
    stream: UnixStream,
    buf: BytesMut,
    next_seq: u64,
}

/// Connects to the shim whose run directory this is, however long its path; immediate, never blocks on a living shim.
///
/// # Errors
/// `NotFound` and `ConnectionRefused` when no shim listens there; else the failed call.
pub fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    // A socket address holds 108 bytes and a path may be longer: go through the directory's descriptor (man 7 unix).
    let dir = std::fs::File::open(run_dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd()))
}

impl ShimClient {
    /// Connects; see [`connect`].
    ///
    /// # Errors
    /// As [`connect`].
    pub fn connect(run_dir: &Path) -> io::Result<Self> {
        Ok(Self::new(connect(run_dir)?))
    }

    /// A client over a connected socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buf: BytesMut::new(), next_seq: 1 }
    }

    /// The socket and what has been read from it but not yet decoded.
    pub fn into_parts(self) -> (UnixStream, BytesMut) {
        (self.stream, self.buf)
    }

    /// Sends a request without waiting; returns its number.
    ///
    /// # Errors
    /// `Gone`, `Io`.
    pub fn send(&mut self, request: Request) -> Result<u64, ClientError> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut out = BytesMut::new();
        protocol::encode_json(Kind::Request, &Numbered { seq, request }, &mut out);
        self.stream.write_all(&out).map_err(from_io)?;
        Ok(seq)
    }

    /// Sends input to the data session; blocks while the process does not take it.
    ///
    /// # Errors
    /// `Gone`, `Io`.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(protocol::MAX_DATA_BYTES) {
            let mut out = BytesMut::with_capacity(protocol::HEADER_BYTES + piece.len());
            protocol::encode(Kind::Stdin, piece, &mut out);
            self.stream.write_all(&out).map_err(from_io)?;
        }
        Ok(())
    }

    /// Ends the input of the data session.
    ///
    /// # Errors
    /// `Gone`, `Io`.
    pub fn end_stdin(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&protocol::header(Kind::StdinEnd, 0)).map_err(from_io)
    }

    /// Asks and waits for the answer to this very request. Data, notes and other replies that come before it are lost: use it on a connection
    /// without a data session, or before one.
    ///
    /// # Errors
    /// All of [`ClientError`].
    pub fn call(&mut self, request: Request, patience: Duration) -> Result<Answer, ClientError> {
        let seq = self.send(request)?;
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left) {
                Ok(Some(Arrival::Reply(reply))) if reply.seq == seq => return Ok(reply.into_result()?),
                Ok(Some(_)) => {}
                Ok(None) => return Err(ClientError::Gone),
                Err(ClientError::Timeout(_)) => return Err(ClientError::Timeout(patience)),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next thing that arrives; `None` when the shim has closed.
    ///
    /// # Errors
    /// All of [`ClientError`] but `Gone`.
    pub fn receive(&mut self, patience: Duration) -> Result<Option<Arrival>, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = protocol::decode(&mut self.buf)? {
                return classify(frame).map(Some);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Timeout(patience));
            }
            self.stream.set_read_timeout(Some(left)).map_err(ClientError::Io)?;
            let mut chunk = [0u8; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n_read) => self.buf.extend_from_slice(&chunk[..n_read]),
                Err(error) if is_timeout(&error) => return Err(ClientError::Timeout(patience)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(ClientError::Io(error)),
            }
        }
    }
}

/// Sorts a frame from a shim.
///
/// # Errors
/// `Protocol` when its body is not what its kind says, or it is of a kind that only clients send.
pub fn classify(frame: Frame) -> Result<Arrival, ClientError> {
    match frame.kind {
        Kind::Stdout | Kind::Stderr => Ok(Arrival::Data(frame)),
        Kind::Reply => Ok(Arrival::Reply(protocol::from_json("reply", &frame.body)?)),
        Kind::Note => Ok(Arrival::Note(protocol::from_json("note", &frame.body)?)),
        Kind::Stdin | Kind::StdinEnd | Kind::Request => Err(ProtocolError::UnknownKind(frame.kind as u8).into()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn from_io(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Gone,
        _ => ClientError::Io(error),
    }
}
