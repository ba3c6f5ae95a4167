//! Bytes from a writer on one thread to a reader on another, within one process, with an end that somebody must vouch for. Called by
//! `fleet`. Unlike a pipe of the kernel's, a writer that goes away is no end: the reader sees the end only when a third says that all was
//! written, and an error otherwise. Memory is bounded: the writer waits while the reader is a few pieces behind.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes of one piece.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that may wait; the writer waits beyond. Nothing is dropped.
const N_PIECES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Whole,
    Broken,
}

#[derive(Debug)]
struct Shared {
    verdict: Mutex<Verdict>,
    told: Condvar,
    /// The writer found nobody to read.
    is_unread: AtomicBool,
    /// The reader found that it was broken off.
    is_cut: AtomicBool,
}

impl Shared {
    fn now(&self) -> Verdict {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who says how it ended. Dropped without a word, the bytes are broken off: both ends fail at their next call.
#[derive(Debug)]
pub struct Judge(Arc<Shared>);

impl Judge {
    /// All was written.
    pub fn whole(&self) {
        self.say(Verdict::Whole);
    }

    /// It will never be whole.
    pub fn broken(&self) {
        self.say(Verdict::Broken);
    }

    /// For whoever must tell, afterwards, which end's failure was the first.
    pub fn ends(&self) -> Ends {
        Ends(Arc::clone(&self.0))
    }

    fn say(&self, verdict: Verdict) {
        let mut now = self.0.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == Verdict::Open {
            *now = verdict;
            self.0.told.notify_all();
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.broken();
    }
}

/// What the ends saw of each other.
#[derive(Clone, Debug)]
pub struct Ends(Arc<Shared>);

impl Ends {
    /// The writer failed because nobody read any more.
    pub fn writer_was_left(&self) -> bool {
        self.0.is_unread.load(Ordering::Relaxed)
    }

    /// The reader failed because the bytes broke off.
    pub fn reader_was_left(&self) -> bool {
        self.0.is_cut.load(Ordering::Relaxed)
    }
}

/// The end that is written to; bytes go over in pieces, the last one by `flush` or with the drop.
#[derive(Debug)]
pub struct PipeWriter {
    to: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    shared: Arc<Shared>,
}

/// The end that is read from.
#[derive(Debug)]
pub struct PipeReader {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    shared: Arc<Shared>,
}

/// A new pipe.
pub fn pipe() -> (PipeWriter, PipeReader, Judge) {
    let (to, from) = sync_channel(N_PIECES);
    let shared = Arc::new(Shared {
        verdict: Mutex::new(Verdict::Open),
        told: Condvar::new(),
        is_unread: AtomicBool::new(false),
        is_cut: AtomicBool::new(false),
    });
    let writer = PipeWriter { to, piece: Vec::new(), shared: Arc::clone(&shared) };
    let reader = PipeReader { from, piece: Vec::new(), at: 0, shared: Arc::clone(&shared) };
    (writer, reader, Judge(shared))
}

impl PipeWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.shared.now() == Verdict::Broken {
            self.shared.is_unread.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.piece.is_empty() {
            return Ok(());
        }
        self.to.send(std::mem::take(&mut self.piece)).map_err(|_| {
            self.shared.is_unread.store(true, Ordering::Relaxed);
            io::ErrorKind::BrokenPipe.into()
        })
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE_BYTES);
        }
        let n_taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n_taken]);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(n_taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // Who has gone needs no bytes.
        let _ = self.send();
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.at == self.piece.len() {
            if self.shared.now() == Verdict::Broken {
                return Err(self.cut());
            }
            match self.from.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return self.end(),
            }
        }
        let n_read = buffer.len().min(self.piece.len() - self.at);
        buffer[..n_read].copy_from_slice(&self.piece[self.at..self.at + n_read]);
        self.at += n_read;
        Ok(n_read)
    }
}

impl PipeReader {
    fn end(&self) -> io::Result<usize> {
        let mut verdict = self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        while *verdict == Verdict::Open {
            verdict = self.shared.told.wait(verdict).unwrap_or_else(PoisonError::into_inner);
        }
        if *verdict == Verdict::Whole { Ok(0) } else { Err(self.cut()) }
    }

    fn cut(&self) -> io::Error {
        self.shared.is_cut.store(true, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::ConnectionAborted, "the other end stopped in the middle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_in_order_and_the_end_is_vouched_for() {
        let (mut writer, mut reader, judge) = pipe();
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|at| (at % 251) as u8).collect();
        let sent = bytes.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            drop(writer);
            judge.whole();
        });
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        assert!(came == bytes);
        writing.join().unwrap();
    }

    #[test]
    fn a_writer_that_goes_away_is_no_end() {
        let (mut writer, mut reader, judge) = pipe();
        writer.write_all(b"half").unwrap();
        drop(writer);
        let ends = judge.ends();
        drop(judge);
        let mut came = Vec::new();
        assert_eq!(reader.read_to_end(&mut came).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(ends.reader_was_left() && !ends.writer_was_left());
    }

    #[test]
    fn a_reader_that_goes_away_stops_the_writer() {
        let (mut writer, reader, judge) = pipe();
        drop(reader);
        let piece = vec![0; PIECE_BYTES];
        assert_eq!(writer.write_all(&piece).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(judge.ends().writer_was_left());
    }
}
