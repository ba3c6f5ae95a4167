//! Writes the log. Called by the shim with each piece of output it read and one time for all its lines; batches entries, writes them when the
//! batch is full or the shim's loop has nothing else to do, and rotates at entry boundaries. It never waits and never fails upwards: what
//! cannot be written is counted in [`LogTrouble`], and the next batch tries again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::index::Index;
use super::line::{self, Tag};
use super::{FILE_NAME, file_path};
use crate::engine::StreamKind;
use crate::shim::config::LogConfig;
use crate::shim::state::LogTrouble;

/// An unfinished line longer than this is written as a part.
const MAX_HELD_BYTES: usize = 16 * 1024;
/// A batch of entries this long is written at once.
const BATCH_BYTES: usize = 128 * 1024;
/// How much of an old file's end is looked at for an unfinished line or entry; longer than any entry.
const TAIL_BYTES: u64 = 512 * 1024;

/// The writing end of one container's log.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    max_size_bytes: u64,
    max_files: u32,
    /// `None` after a failure to open; each batch tries again.
    file: Option<File>,
    /// Whole entries in the file, bytes.
    size: u64,
    batch: Vec<u8>,
    /// Entries in it that end a line.
    n_batch_lines: u64,
    /// Text after the last newline, by stream.
    held: [Vec<u8>; 2],
    /// Whether the stream's last entry is a part.
    is_open_line: [bool; 2],
    index: Index,
    trouble: LogTrouble,
}

fn slot(stream: StreamKind) -> usize {
    match stream {
        StreamKind::Stdout => 0,
        StreamKind::Stderr => 1,
    }
}

impl LogWriter {
    /// Opens the log, going on with what an earlier run left; `None` for the driver `none`. Trouble is counted, not returned.
    pub fn open(cfg: &LogConfig, now_ns: i64) -> Option<Self> {
        let mut writer = Self {
            dir: cfg.dir.clone()?,
            max_size_bytes: cfg.max_size_bytes.max(1),
            max_files: cfg.max_files.max(1),
            file: None,
            size: 0,
            batch: Vec::new(),
            n_batch_lines: 0,
            held: [Vec::new(), Vec::new()],
            is_open_line: [false; 2],
            index: Index::default(),
            trouble: LogTrouble::default(),
        };
        if let Err(error) = writer.open_current() {
            writer.note_trouble(&error);
        }
        writer.remove_beyond_count();
        writer.close_lines(now_ns);
        Some(writer)
    }

    /// Takes a piece of output.
    pub fn write(&mut self, stream: StreamKind, bytes: &[u8], now_ns: i64) {
        let time = line::format_time(now_ns);
        let full = line::head(&time, stream, Tag::Full);
        let slot = slot(stream);
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let held = std::mem::take(&mut self.held[slot]);
            self.push(&full, &held, &bytes[from..newline]);
            self.is_open_line[slot] = false;
            from = newline + 1;
        }
        let rest = &bytes[from..];
        if rest.is_empty() {
            return;
        }
        if self.held[slot].len() + rest.len() <= MAX_HELD_BYTES {
            self.held[slot].extend_from_slice(rest);
            return;
        }
        let held = std::mem::take(&mut self.held[slot]);
        self.push(&line::head(&time, stream, Tag::Part), &held, rest);
        self.is_open_line[slot] = true;
    }

    /// Whether some text still waits for its newline in memory.
    pub fn holds_text(&self) -> bool {
        self.held.iter().any(|held| !held.is_empty())
    }

    /// Turns unfinished lines into parts, so that nothing but the batch is in memory; then writes the batch.
    pub fn flush_all(&mut self, now_ns: i64) {
        let time = line::format_time(now_ns);
        for stream in [StreamKind::Stdout, StreamKind::Stderr] {
            let held = std::mem::take(&mut self.held[slot(stream)]);
            if !held.is_empty() {
                self.push(&line::head(&time, stream, Tag::Part), &held, b"");
                self.is_open_line[slot(stream)] = true;
            }
        }
        self.flush();
    }

    /// Writes the batch.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let n_written = self.write_batch(&batch);
        if n_written < batch.len() {
            let lost = &batch[n_written..];
            // A line that a pause split into parts is one line.
            self.trouble.lost_lines += count_full(lost);
            self.trouble.lost_bytes += lost.len() as u64;
        }
        self.batch = batch;
        self.batch.clear();
    }

    /// Gives back memory that a quiet container does not need.
    pub fn shrink(&mut self) {
        if self.batch.is_empty() {
            self.batch = Vec::new();
        }
    }

    /// The end of a run: everything is written, the index knows the count.
    pub fn end(&mut self, now_ns: i64) {
        // A line left unfinished long ago gets an empty part here: unfinished lines are the log's last entries, in the order of streams.
        let time = line::format_time(now_ns);
        for stream in [StreamKind::Stdout, StreamKind::Stderr] {
            let held = std::mem::take(&mut self.held[slot(stream)]);
            if self.is_open_line[slot(stream)] || !held.is_empty() {
                self.push(&line::head(&time, stream, Tag::Part), &held, b"");
                self.is_open_line[slot(stream)] = true;
            }
        }
        self.flush();
        self.index.at_bytes = self.size;
        // Without it the next run counts the lines of the current file.
        let _ = self.index.write(&self.dir);
    }

    pub fn trouble(&self) -> &LogTrouble {
        &self.trouble
    }

    /// A new run begins: a line that the last one left unfinished ends here, so that the two are not joined.
    pub fn close_lines(&mut self, now_ns: i64) {
        let time = line::format_time(now_ns);
        for stream in [StreamKind::Stdout, StreamKind::Stderr] {
            if std::mem::take(&mut self.is_open_line[slot(stream)]) {
                self.push(&line::head(&time, stream, Tag::Full), b"", b"");
            }
        }
    }

    fn push(&mut self, head: &[u8; line::HEAD_BYTES], held: &[u8], rest: &[u8]) {
        let len = head.len() + held.len() + rest.len() + 1;
        let so_far = self.size + self.batch.len() as u64;
        if so_far > 0 && so_far + len as u64 > self.max_size_bytes {
            self.flush();
            self.rotate();
        } else if self.batch.len() + len > BATCH_BYTES {
            self.flush();
        }
        self.batch.extend_from_slice(head);
        self.batch.extend_from_slice(held);
        self.batch.extend_from_slice(rest);
        self.batch.push(b'\n');
        self.n_batch_lines += u64::from(head[line::HEAD_BYTES - 2] == b'F');
    }

    /// Writes entries; returns how many bytes of whole entries are in the file.
    fn write_batch(&mut self, batch: &[u8]) -> usize {
        if self.file.is_none()
            && let Err(error) = self.open_current()
        {
            self.note_trouble(&error);
            return 0;
        }
        let Some(file) = &mut self.file else { return 0 };
        let mut n_written = 0;
        let failure = loop {
            match file.write(&batch[n_written..]) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(n) => n_written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
            if n_written == batch.len() {
                break None;
            }
        };
        let n_whole = match failure {
            None => n_written,
            Some(_) => memchr::memrchr(b'\n', &batch[..n_written]).map_or(0, |at| at + 1),
        };
        self.size += n_whole as u64;
        let n_lines = std::mem::take(&mut self.n_batch_lines);
        self.index.n_lines += if failure.is_none() { n_lines } else { count_full(&batch[..n_whole]) };
        if let Some(error) = failure {
            // The file ends with a whole entry again, or is opened (and cut) anew by the next batch.
            if n_whole < n_written && file.set_len(self.size).is_err() {
                self.file = None;
            }
            self.note_trouble(&error);
        }
        n_whole
    }

    fn rotate(&mut self) {
        let first_line = self.index.files.last().map_or(0, |file| file.first_line) + self.index.n_lines;
        self.file = None;
        let shifted = self.shift_names();
        let opened = shifted.and_then(|()| self.create_current(first_line));
        if let Err(error) = opened {
            self.note_trouble(&error);
        }
        // See `end`.
        let _ = self.index.write(&self.dir);
    }

    fn shift_names(&self) -> io::Result<()> {
        if self.max_files == 1 {
            return missing_is_fine(std::fs::remove_file(file_path(&self.dir, 0)));
        }
        // From the first free place down; with all taken, the oldest is overwritten.
        let last = self.max_files - 1;
        let free = (1..last).find(|n| !file_path(&self.dir, *n).exists()).unwrap_or(last);
        for n in (0..free).rev() {
            missing_is_fine(std::fs::rename(file_path(&self.dir, n), file_path(&self.dir, n + 1)))?;
        }
        Ok(())
    }

    fn create_current(&mut self, first_line: u64) -> io::Result<()> {
        let file = options().create_new(true).open(self.dir.join(FILE_NAME))?;
        self.index.push(file.metadata()?.ino(), first_line);
        self.size = 0;
        self.file = Some(file);
        Ok(())
    }

    /// Opens the current file or makes it; cuts off an entry that a crash left half-written.
    fn open_current(&mut self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.dir)?;
        let path = self.dir.join(FILE_NAME);
        let file = match options().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index = Index::read(&self.dir);
                let first_line = self.index.files.last().map_or(0, |file| file.first_line) + self.index.n_lines;
                return self.create_current(first_line);
            }
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let len = meta.len();
        let tail_from = len.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; (len - tail_from) as usize];
        file.read_exact_at(&mut tail, tail_from)?;
        let n_whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
        self.size = tail_from + n_whole as u64;
        if self.size < len {
            file.set_len(self.size)?;
        }
        self.is_open_line = open_lines(&tail[..n_whole]);
        self.index = Index::read(&self.dir);
        if self.index.files.last().is_none_or(|last| last.ino != meta.ino()) {
            let first_line = self.index.files.last().map_or(0, |file| file.first_line) + self.index.n_lines;
            self.index.push(meta.ino(), first_line);
        }
        self.count_unindexed(&file)?;
        self.file = Some(file);
        Ok(())
    }

    /// Counts the lines that a run which was killed wrote after its last index.
    fn count_unindexed(&mut self, file: &File) -> io::Result<()> {
        if self.index.at_bytes > self.size {
            (self.index.at_bytes, self.index.n_lines) = (0, 0);
        }
        let mut at = self.index.at_bytes;
        // From an entry's beginning on; an entry longer than a block is counted by its end.
        let mut block = vec![0; 256 * 1024];
        let mut rest = Vec::new();
        while at < self.size {
            let n_wanted = ((self.size - at) as usize).min(block.len());
            let n_read = file.read_at(&mut block[..n_wanted], at)?;
            if n_read == 0 {
                break;
            }
            at += n_read as u64;
            rest.extend_from_slice(&block[..n_read]);
            let n_whole = memchr::memrchr(b'\n', &rest).map_or(0, |at| at + 1);
            self.index.n_lines += count_full(&rest[..n_whole]);
            rest.drain(..n_whole);
        }
        self.index.at_bytes = self.size;
        Ok(())
    }

    /// Files that an earlier, larger count left behind.
    fn remove_beyond_count(&self) {
        let mut n = self.max_files.max(1);
        while std::fs::remove_file(file_path(&self.dir, n)).is_ok() {
            n += 1;
        }
    }

    fn note_trouble(&mut self, error: &io::Error) {
        self.trouble.error = Some(format!("cannot write {}: {error}", file_path(&self.dir, 0).display()));
        self.trouble.at = Some(SystemTime::now());
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Entries that end a line.
fn count_full(entries: &[u8]) -> u64 {
    let mut n_full = 0;
    let mut from = 0;
    for newline in memchr::memchr_iter(b'\n', entries) {
        n_full += u64::from(entries.get(from + line::HEAD_BYTES - 2) == Some(&b'F'));
        from = newline + 1;
    }
    n_full
}

/// For each stream, whether its last entry is a part.
fn open_lines(entries: &[u8]) -> [bool; 2] {
    let mut is_open = [false; 2];
    for entry in entries.split(|byte| *byte == b'\n') {
        if let Some((stream, tag)) = line::kind(entry) {
            is_open[slot(stream)] = tag == Tag::Part;
        }
    }
    is_open
}

/// The wall clock as the log counts it.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
