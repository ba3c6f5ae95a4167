//! A two-way connection to a process: what attach and exec give. Output is a stream of chunks; input is a sink that can be half-closed.

use async_trait::async_trait;
use bytes::Bytes;

use super::BoxStream;
use super::error::Result;
use super::logs::StreamKind;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Send what was written so far first.
    pub replay_logs: bool,
    /// `ctrl-p,ctrl-q` by default, parsed on the engine's side; an empty string turns detaching off.
    pub detach_keys: Option<String>,
}

/// Cells, not pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TtySize {
    pub rows: u16,
    pub cols: u16,
}

/// An open connection. Dropping it detaches; the process goes on.
pub struct Attached {
    /// With a terminal there is one stream: all chunks are `Stdout`.
    pub tty: bool,
    pub output: BoxStream<Output>,
    pub input: Box<dyn Input>,
}

/// One step of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Bytes(StreamKind, Bytes),
    /// The detach keys were typed: the stream ends, the process goes on.
    Detached,
}

/// The writing half.
#[async_trait]
pub trait Input: Send {
    /// Waits for room; returns when the engine has taken all of it.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// End of input; output goes on.
    async fn close(&mut self) -> Result<()>;
}
