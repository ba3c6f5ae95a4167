//! One client's connection inside the shim: frames in, frames out through a bounded queue, and what it is attached to. Never blocks. Called by the
//! loop, which alone decides what a frame means.

use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use bytes::BytesMut;
use nix::sys::epoll::EpollFlags;
use serde::Serialize;

use super::slab::Key;
use crate::engine::StreamKind;
use crate::shim::detach::Matcher;
use crate::shim::log::replay::Replay;
use crate::shim::protocol::{self, HEADER_BYTES, Kind, Note, WhenSlow};

/// Output waiting for a client; beyond it the process waits or bytes are left out, as the client chose.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Everything waiting for a client, answers included; a client that asks and never reads is let go.
const MAX_OWED_BYTES: usize = 16 << 20;

/// A connection.
pub(super) struct Conn {
    pub(super) stream: UnixStream,
    inbox: BytesMut,
    /// Begins at a frame's beginning.
    outbox: Vec<u8>,
    n_sent: usize,
    /// What epoll watches for; `None`: not registered.
    pub(super) watched: Option<EpollFlags>,
    pub(super) role: Option<Role>,
    /// Requests not yet answered.
    pub(super) n_owed: u32,
    pub(super) is_input_over: bool,
    /// Close when the queue is empty.
    pub(super) is_ending: bool,
    pub(super) is_broken: bool,
    /// The end of its session, said when it has been given the past.
    pub(super) last_note: Option<Note>,
    /// Bytes sent so far, for telling a slow client from a stuck one.
    pub(super) n_total: u64,
    /// Since when the process has been made to wait for this client.
    pub(super) blocks_since: Option<Instant>,
}

/// The data session of a connection.
pub(super) struct Role {
    pub(super) session: Key,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) keys: Matcher,
    pub(super) when_slow: WhenSlow,
    pub(super) replay: Option<Replay>,
    pub(super) n_lost: u64,
}

impl Role {
    pub(super) fn wants(&self, stream: StreamKind) -> bool {
        match stream {
            StreamKind::Stdout => self.stdout,
            StreamKind::Stderr => self.stderr,
        }
    }
}

/// What became of reading.
pub(super) enum Input {
    Some,
    None,
    Over,
}

impl Conn {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
            outbox: Vec::new(),
            n_sent: 0,
            watched: None,
            role: None,
            n_owed: 0,
            is_input_over: false,
            is_ending: false,
            is_broken: false,
            last_note: None,
            n_total: 0,
            blocks_since: None,
        }
    }

    /// Reads what is there, at most `buf` at once.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Input {
        match self.stream.read(buf) {
            Ok(0) => Input::Over,
            Ok(n_read) => {
                self.inbox.extend_from_slice(&buf[..n_read]);
                Input::Some
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Input::None,
            Err(_) => {
                self.is_broken = true;
                Input::Over
            }
        }
    }

    /// The next whole frame; a stream that is not the protocol breaks the connection.
    pub(super) fn next_frame(&mut self) -> Option<protocol::Frame> {
        match protocol::decode(&mut self.inbox) {
            Ok(Some(frame)) => Some(frame),
            Ok(None) => {
                if self.inbox.is_empty() {
                    self.inbox = BytesMut::new();
                }
                None
            }
            Err(_) => {
                self.is_broken = true;
                None
            }
        }
    }

    pub(super) fn send_json(&mut self, kind: Kind, value: &impl Serialize) {
        protocol::encode_json(kind, value, &mut self.outbox);
        self.flush();
    }

    pub(super) fn send_note(&mut self, note: &Note) {
        self.send_json(Kind::Note, note);
    }

    /// Sends output, or queues what the socket does not take.
    pub(super) fn send_data(&mut self, kind: Kind, body: &[u8]) {
        let header = protocol::header(kind, body.len());
        if !self.outbox.is_empty() {
            self.outbox.extend_from_slice(&header);
            self.outbox.extend_from_slice(body);
            return;
        }
        let n_written = match self.stream.write_vectored(&[IoSlice::new(&header), IoSlice::new(body)]) {
            Ok(n_written) => n_written,
            Err(error) if is_momentary(&error) => 0,
            Err(_) => {
                self.is_broken = true;
                return;
            }
        };
        if n_written < HEADER_BYTES + body.len() {
            self.outbox.extend_from_slice(&header);
            self.outbox.extend_from_slice(body);
            self.n_sent = n_written;
        }
    }

    /// Writes what the socket takes of the queue.
    pub(super) fn flush(&mut self) {
        while self.n_sent < self.outbox.len() && !self.is_broken {
            match self.stream.write(&self.outbox[self.n_sent..]) {
                Ok(n_written) => {
                    self.n_sent += n_written;
                    self.n_total += n_written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_momentary(&error) => break,
                Err(_) => self.is_broken = true,
            }
        }
        if self.n_sent >= self.outbox.len() {
            self.outbox = Vec::new();
            self.n_sent = 0;
        } else if self.n_sent > MAX_QUEUED_BYTES {
            let begin = self.current_frame();
            self.outbox.drain(..begin);
            self.n_sent -= begin;
        }
        self.is_broken |= self.n_queued() > MAX_OWED_BYTES;
    }

    pub(super) fn n_queued(&self) -> usize {
        self.outbox.len() - self.n_sent
    }

    pub(super) fn is_full(&self) -> bool {
        self.n_queued() > MAX_QUEUED_BYTES
    }

    /// Takes back what has not begun to be sent; returns how many bytes of output that was. Answers among it stay.
    pub(super) fn drop_queued_output(&mut self) -> u64 {
        let keep = match self.n_sent {
            0 => 0,
            _ => self.current_frame() + self.frame_len(self.current_frame()),
        };
        let mut kept = self.outbox[..keep.min(self.outbox.len())].to_vec();
        let mut n_dropped = 0;
        let mut at = keep;
        while at < self.outbox.len() {
            let len = self.frame_len(at);
            let frame = &self.outbox[at..(at + len).min(self.outbox.len())];
            if matches!(frame.first(), Some(1 | 2)) {
                n_dropped += frame.len().saturating_sub(HEADER_BYTES) as u64;
            } else {
                kept.extend_from_slice(frame);
            }
            at += len;
        }
        self.outbox = kept;
        n_dropped
    }

    /// Where the frame begins that is being sent.
    fn current_frame(&self) -> usize {
        let mut begin = 0;
        while begin + self.frame_len(begin) <= self.n_sent {
            begin += self.frame_len(begin);
        }
        begin
    }

    fn frame_len(&self, at: usize) -> usize {
        let len = self.outbox.get(at + 4..at + 8).and_then(|len| <[u8; 4]>::try_from(len).ok());
        HEADER_BYTES + len.map_or(0, u32::from_be_bytes) as usize
    }
}

fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::client::{Arrival, ShimClient};
    use std::time::Duration;

    #[test]
    fn a_client_that_is_let_go_gets_whole_frames_and_the_count() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut conn = Conn::new(ours);
        let body = vec![7; 60_000];
        let mut n_given = 0;
        while !conn.is_full() {
            conn.send_data(Kind::Stdout, &body);
            n_given += body.len() as u64;
        }
        let n_dropped = conn.drop_queued_output();
        assert!(n_dropped > 0);
        conn.send_note(&Note::Dropped { bytes: n_dropped });
        let mut client = ShimClient::new(theirs);
        let mut n_seen = 0;
        loop {
            conn.flush();
            match client.receive(Duration::from_secs(5)).unwrap().unwrap() {
                Arrival::Data(frame) => n_seen += frame.body.len() as u64,
                Arrival::Note(note) => {
                    assert_eq!(note, Note::Dropped { bytes: n_dropped });
                    break;
                }
                Arrival::Reply(reply) => panic!("{reply:?}"),
            }
        }
        assert_eq!(n_seen + n_dropped, n_given);
    }
}
