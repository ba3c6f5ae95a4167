//! What engines and shims say to each other on `shim.sock`: pure values and a codec without I/O, for a blocking client ([`super::client`]), the
//! shim's own loop, and an async engine that drives the same socket over tokio.
//!
//! # Frames
//! A stream of frames both ways. Header of 8 bytes: kind, three zeros, body length as u32 big-endian (for output the same 8 bytes as
//! docker's multiplexed streams). Bodies: raw bytes for data, one JSON object for the rest.
//!
//! | kind | way | body |
//! |---|---|---|
//! | 0 `Stdin` | to the shim | bytes; at most [`MAX_DATA_BYTES`] |
//! | 1 `Stdout`, 2 `Stderr` | from the shim | bytes |
//! | 3 `StdinEnd` | to the shim | empty: end of input, output goes on |
//! | 16 `Request` | to the shim | `{"seq":N,"op":"…",…}` |
//! | 17 `Reply` | from the shim | `{"seq":N,"ok":{…}}` or `{"seq":N,"fault":{…}}` |
//! | 18 `Note` | from the shim | `{"note":"…",…}`, not asked for |
//!
//! # Conversation
//! Requests may be sent without waiting (pipelined); replies carry the request's `seq` and come when the thing has happened, so `wait` and
//! `stop` may be answered long after later ones. A connection carries at most one data session: after `attach` (the container's own stdio)
//! or `exec` with `detach` off, `Stdin`/`StdinEnd` frames go to it and `Stdout`/`Stderr` frames come from it, never before its reply. The
//! session ends with exactly one of the notes `ended`, `detached`, `dropped`; the shim then closes unless replies are still owed. Closing
//! the connection detaches. Half-closing it (shutdown of the writing side) counts as `StdinEnd`.
//!
//! # Versions
//! `hello` is optional and tells both versions. Unknown fields are ignored, an unknown `op` is answered with a fault of kind
//! `unsupported`, unknown notes and frame kinds from 32 up must be skipped. A shim outlives engines, so nothing here may change its meaning.

use std::time::SystemTime;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::state::RunState;
use crate::engine::{Class, EngineError, Exit, RestartPolicy, WaitCondition};
use crate::oci::runtime::{LinuxResources, Process};
use crate::stdx::causes;

/// The version of this protocol; grows when an `op` is added.
pub const PROTOCOL_VERSION: u32 = 1;
/// Bytes before every body.
pub const HEADER_BYTES: usize = 8;
/// Most bytes in one data frame.
pub const MAX_DATA_BYTES: usize = 1 << 20;
/// Most bytes in one control frame (an exec's process with a large environment).
pub const MAX_CONTROL_BYTES: usize = 4 << 20;

/// The kind of a frame: the first byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    StdinEnd = 3,
    Request = 16,
    Reply = 17,
    Note = 18,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::StdinEnd, Self::Request, Self::Reply, Self::Note]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One frame, its body shared with the buffer it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub body: Bytes,
}

/// Why a byte stream is not this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("frame of {len} bytes is longer than the {max} allowed")]
    TooLong { len: usize, max: usize },
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("malformed {what}: {detail}")]
    Malformed { what: &'static str, detail: String },
}

/// The 8 bytes before a body of `len` bytes.
pub fn header(kind: Kind, len: usize) -> [u8; HEADER_BYTES] {
    // Bodies are bounded far below u32 by the callers; a longer one is refused by the other side's decoder.
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// Appends one frame.
pub fn encode(kind: Kind, body: &[u8], out: &mut impl BufMut) {
    out.put_slice(&header(kind, body.len()));
    out.put_slice(body);
}

/// Appends one frame with a JSON body.
pub fn encode_json(kind: Kind, value: &impl Serialize, out: &mut impl BufMut) {
    // Our own types with string keys: serialising them cannot fail; an empty object would be answered as malformed.
    let body = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
    encode(kind, &body, out);
}

/// Takes one whole frame off the front of `buf`; `None` until more bytes have come. Frames of unknown kinds from 32 up are skipped.
///
/// # Errors
/// The stream cannot be followed any further: close it.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
    loop {
        let Some((head, _)) = buf.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let byte = head[0];
        let kind = Kind::of(byte);
        let max = match kind {
            None if byte < 32 => return Err(ProtocolError::UnknownKind(byte)),
            Some(Kind::Stdin | Kind::Stdout | Kind::Stderr | Kind::StdinEnd) => MAX_DATA_BYTES,
            _ => MAX_CONTROL_BYTES,
        };
        if len > max {
            return Err(ProtocolError::TooLong { len, max });
        }
        if buf.len() < HEADER_BYTES + len {
            return Ok(None);
        }
        buf.advance(HEADER_BYTES);
        let body = buf.split_to(len).freeze();
        if let Some(kind) = kind {
            return Ok(Some(Frame { kind, body }));
        }
    }
}

/// A request with its number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Numbered {
    /// Chosen by the client; the reply carries it.
    pub seq: u64,
    #[serde(flatten)]
    pub request: Request,
}

/// What an engine asks of a shim. Each names its [`Answer`]; `done` where none is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// → `hello`.
    Hello {
        version: u32,
    },
    /// Runs the container; answered once its process has been executed. A fault carries docker's exit code (126, 127, 125).
    Start,
    /// → `attached`. Joins the container's stdio, before or after its start.
    Attach(Attach),
    /// Sets the terminal's size, of the container or of an exec; before the start it is remembered.
    Resize {
        exec: Option<String>,
        rows: u16,
        cols: u16,
    },
    /// Sends a signal to the first process of the container. SIGKILL and the stop signal count as asked-for ends: no restart.
    Signal {
        signal: i32,
    },
    /// → `exited`. Signal, wait, SIGKILL for everything left. `None`: the container's own settings. Cancels a restart that is due. A shim that
    /// waits for its start answers `not_modified` and leaves.
    Stop {
        signal: Option<i32>,
        timeout: Option<StopTimeout>,
    },
    Pause,
    Resume,
    /// → `exec_started`, once its program has been executed. With `detach` no data session follows.
    Exec(Box<Exec>),
    /// → `execs`: one session, or all. Ended ones are told for five minutes.
    ExecInspect {
        id: Option<String>,
    },
    /// → `exited`. With `NotRunning` at once when not running; `Removed` is answered only when the container is auto-removed.
    Wait {
        condition: WaitKind,
    },
    /// Changes limits of the running container and the restart policy, also for later starts by this shim. → `warnings`.
    Update {
        resources: Option<Box<LinuxResources>>,
        restart: Option<RestartPolicy>,
    },
    /// The container's new name, for events and its name reservation.
    Rename {
        name: String,
        name_entry: Option<std::path::PathBuf>,
    },
    /// → `state`. Its status is `created` while the shim waits for its start, whatever earlier runs left in the record.
    State,
    #[serde(other)]
    Unknown,
}

/// How to join the container's stdio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// First everything that the log still holds, then without a gap what comes.
    pub replay: bool,
    /// `None`: the container's; empty: none.
    pub detach_keys: Option<String>,
    pub when_slow: WhenSlow,
}

/// What to do when a client reads slower than the container writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSlow {
    /// Make the container wait, at most 30 s; then the client is let go with the note `dropped`. For those that must see every byte.
    #[default]
    Wait,
    /// Leave bytes out and say how many with the note `lost`. For those that watch.
    Skip,
}

/// How long a stop waits before SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopTimeout {
    Ms(u64),
    Never,
}

/// A process to run in the container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// 64 hex digits, chosen by the engine.
    pub id: String,
    pub process: Process,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Nobody listens: output is thrown away, stdin is empty, the connection stays free.
    pub detach: bool,
    /// Rows and columns of its terminal.
    pub size: Option<(u16, u16)>,
    pub detach_keys: Option<String>,
    pub when_slow: WhenSlow,
    pub privileged: bool,
}

/// [`WaitCondition`] on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    #[default]
    NotRunning,
    NextExit,
    Removed,
}

impl From<WaitCondition> for WaitKind {
    fn from(condition: WaitCondition) -> Self {
        match condition {
            WaitCondition::NotRunning => Self::NotRunning,
            WaitCondition::NextExit => Self::NextExit,
            WaitCondition::Removed => Self::Removed,
        }
    }
}

/// The answer to one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    pub seq: u64,
    #[serde(flatten)]
    pub result: ReplyBody,
}

/// Success or failure, on the wire a field `ok` or `fault`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyBody {
    Ok(Box<Answer>),
    Fault(Fault),
}

impl Reply {
    /// The answer as a result.
    ///
    /// # Errors
    /// What the shim said.
    pub fn into_result(self) -> Result<Answer, Fault> {
        match self.result {
            ReplyBody::Ok(answer) => Ok(*answer),
            ReplyBody::Fault(fault) => Err(fault),
        }
    }
}

/// What a request brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    Done,
    Hello {
        version: u32,
        id: String,
        shim_pid: u32,
    },
    Attached {
        tty: bool,
    },
    Exited {
        exit: Exit,
    },
    ExecStarted {
        pid: u32,
    },
    Execs {
        execs: Vec<ExecRecord>,
    },
    Warnings {
        warnings: Vec<String>,
    },
    State {
        state: Box<RunState>,
    },
    #[serde(other)]
    Unknown,
}

/// One exec session as its shim knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRecord {
    pub id: String,
    pub pid: Option<u32>,
    pub running: bool,
    pub exit: Option<Exit>,
    pub tty: bool,
    pub started_at: Option<SystemTime>,
    pub finished_at: Option<SystemTime>,
}

/// Why a shim did not do it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(default)]
#[error("{message}")]
pub struct Fault {
    pub kind: FaultKind,
    /// One sentence, lower case, no period.
    pub message: String,
    /// Deeper reasons, nearest first.
    pub causes: Vec<String>,
    /// Docker's exit code, where it is not 1.
    pub exit_code: Option<u8>,
}

/// [`Class`] on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    NotFound,
    Invalid,
    Conflict,
    NotModified,
    Unsupported,
    Full,
    Timeout,
    #[default]
    #[serde(other)]
    Internal,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), ..Self::default() }
    }

    /// With the sources of an error as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        self.causes.extend(causes::chain(error));
        self
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        let class = match fault.kind {
            FaultKind::NotFound => Class::NotFound,
            FaultKind::Invalid => Class::Invalid,
            FaultKind::Conflict => Class::Conflict,
            FaultKind::NotModified => Class::NotModified,
            FaultKind::Unsupported => Class::Unsupported,
            FaultKind::Full => Class::Full,
            FaultKind::Timeout => Class::Timeout,
            FaultKind::Internal => Class::Internal,
        };
        Self { causes: fault.causes, exit_code: fault.exit_code, ..Self::new(class, "", fault.message) }
    }
}

/// Said without having been asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// The process of the data session ended and all of its output has been sent.
    Ended { exit: Exit },
    /// The detach keys were typed; the process goes on.
    Detached,
    /// So many bytes of output were left out here, because the client asked to skip when slow.
    Lost { bytes: u64 },
    /// The client read too slowly for too long and is let go; so many bytes that were read from the process were not sent.
    Dropped { bytes: u64 },
    #[serde(other)]
    Unknown,
}

/// Reads a JSON body.
///
/// # Errors
/// `Malformed` when it is not what `what` should be.
pub fn from_json<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(body).map_err(|error| ProtocolError::Malformed { what, detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            frames in proptest::collection::vec((0u8..3, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1usize..50,
        ) {
            let mut wire = BytesMut::new();
            for (kind, body) in &frames {
                encode(Kind::of(*kind).unwrap(), body, &mut wire);
            }
            let mut buf = BytesMut::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(cut) {
                buf.extend_from_slice(piece);
                while let Some(frame) = decode(&mut buf).unwrap() {
                    seen.push((frame.kind as u8, frame.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buf) {}
        }
    }

    #[test]
    fn later_kinds_are_skipped_and_foreign_ones_refused() {
        let mut buf = BytesMut::from(&[40u8, 0, 0, 0, 0, 0, 0, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, b'x'][..]);
        assert_eq!(decode(&mut buf).unwrap(), Some(Frame { kind: Kind::Stdout, body: Bytes::from_static(b"x") }));
        assert_eq!(
            decode(&mut BytesMut::from(&b"GET / HTTP/1.1\r\n"[..])),
            Err(ProtocolError::TooLong { len: 0x2f204854, max: MAX_CONTROL_BYTES })
        );
        assert_eq!(decode(&mut BytesMut::from(&[9u8; 8][..])), Err(ProtocolError::UnknownKind(9)));
    }

    #[test]
    fn requests_read_back_and_unknown_ones_are_known_as_such() {
        let sent = Numbered { seq: 7, request: Request::Stop { signal: None, timeout: Some(StopTimeout::Ms(5)) } };
        let text = serde_json::to_string(&sent).unwrap();
        assert_eq!(text, r#"{"seq":7,"op":"stop","signal":null,"timeout":{"ms":5}}"#);
        let back: Numbered = serde_json::from_str(&text).unwrap();
        assert_eq!(back.seq, 7);
        let later: Numbered = serde_json::from_str(r#"{"seq":8,"op":"teleport","to":"mars"}"#).unwrap();
        assert!(matches!(later, Numbered { seq: 8, request: Request::Unknown }));
    }

    #[test]
    fn replies_read_back() {
        let exit = Exit { code: 3, ..Exit::default() };
        let reply = Reply { seq: 1, result: ReplyBody::Ok(Box::new(Answer::Exited { exit: exit.clone() })) };
        let text = serde_json::to_string(&reply).unwrap();
        let back: Reply = serde_json::from_str(&text).unwrap();
        assert_eq!(back.into_result(), Ok(Answer::Exited { exit }));
        let fault = Reply { seq: 2, result: ReplyBody::Fault(Fault::new(FaultKind::Conflict, "paused")) };
        let back: Reply = serde_json::from_str(&serde_json::to_string(&fault).unwrap()).unwrap();
        assert_eq!(back.into_result().unwrap_err().kind, FaultKind::Conflict);
    }
}
