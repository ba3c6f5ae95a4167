//! Gives a log back as the bytes that the process wrote, for an attach that wants them before what comes live. Called by the shim's loop in
//! small steps, each time the attacher has room again.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::line::{self, Tag};
use super::{LogFile, open_files};
use crate::engine::StreamKind;

const BLOCK_BYTES: usize = 64 * 1024;

/// A place in the log of a shim that is replaying it.
#[derive(Debug)]
pub struct Replay {
    files: VecDeque<LogFile>,
    offset: u64,
    carried: Vec<u8>,
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// Everything that is in the files now has been given.
    CaughtUp,
}

impl Replay {
    /// From the oldest kept byte on.
    ///
    /// # Errors
    /// The failed call.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (files, _) = open_files(dir, None)?;
        Ok(Self { files: files.into(), offset: 0, carried: Vec::new() })
    }

    /// Gives some more. The writer must have flushed before a `CaughtUp` can be believed to mean live output joins here.
    ///
    /// # Errors
    /// The failed call.
    pub fn step(&mut self, dir: &Path, give: &mut dyn FnMut(StreamKind, &[u8])) -> io::Result<Step> {
        let Some(file) = self.files.front() else { return Ok(Step::CaughtUp) };
        let mut block = std::mem::take(&mut self.carried);
        let n_carried = block.len();
        block.resize(n_carried + BLOCK_BYTES, 0);
        let n_read = file.file.read_at(&mut block[n_carried..], self.offset)?;
        block.truncate(n_carried + n_read);
        self.offset += n_read as u64;
        if n_read == 0 {
            return self.next_file(dir);
        }
        let end = memchr::memrchr(b'\n', &block).map_or(0, |at| at + 1);
        self.carried = block[end..].to_vec();
        // Neighbours of one stream go together.
        let mut text = Vec::new();
        let mut text_stream = StreamKind::Stdout;
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', &block[..end]) {
            let entry = &block[from..newline];
            from = newline + 1;
            let Some((stream, tag)) = line::kind(entry) else { continue };
            if stream != text_stream && !text.is_empty() {
                give(text_stream, &text);
                text.clear();
            }
            text_stream = stream;
            text.extend_from_slice(&entry[line::HEAD_BYTES..]);
            if tag == Tag::Full {
                text.push(b'\n');
            }
        }
        if !text.is_empty() {
            give(text_stream, &text);
        }
        Ok(Step::More)
    }

    fn next_file(&mut self, dir: &Path) -> io::Result<Step> {
        if self.files.len() > 1 {
            self.files.pop_front();
            self.offset = 0;
            self.carried.clear();
            return Ok(Step::More);
        }
        // Rotated while we were reading: the shim writes and replays in one thread, so the file's end is final.
        let own = self.files.front().map(|file| file.ino);
        let (newer, _) = open_files(dir, own)?;
        if newer.is_empty() {
            return Ok(Step::CaughtUp);
        }
        self.files.extend(newer);
        self.next_file(dir)
    }
}
