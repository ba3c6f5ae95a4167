//! Where a verb reads and writes. The real one is the process's own descriptors; tests and the `:` line bring their own.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use crate::stdx::shown::is_unsafe;

/// A verb's surroundings.
pub struct Io {
    pub out: Box<dyn Write + Send + Sync>,
    pub err: Box<dyn Write + Send + Sync>,
    pub stdin: Stdin,
    /// Whether stdout is a terminal: tables redraw, progress shows.
    pub is_out_tty: bool,
    /// Whether stdout and stderr are one file, so that lines of both keep their order in one buffer.
    pub is_one_sink: bool,
    /// The clock for "2 hours ago".
    pub now: fn() -> SystemTime,
}

pub enum Stdin {
    /// Our descriptor 0.
    Real,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
}

impl Io {
    /// The process's own.
    pub fn real() -> Self {
        Self {
            out: stream(io::stdout().as_fd().try_clone_to_owned(), 64 << 10),
            err: stream(io::stderr().as_fd().try_clone_to_owned(), 4 << 10),
            stdin: Stdin::Real,
            is_out_tty: io::IsTerminal::is_terminal(&io::stdout()),
            is_one_sink: is_one_sink(),
            now: SystemTime::now,
        }
    }

    pub fn is_stdin_tty(&self) -> bool {
        matches!(self.stdin, Stdin::Real) && io::IsTerminal::is_terminal(&io::stdin())
    }

    /// Writes a line on stderr; a closed stderr is nobody's problem.
    pub fn say(&mut self, text: &str) {
        let _ = self.out.flush();
        // Errors and warnings are half other people's words.
        let is_plain = |c: char| !is_unsafe(c) || matches!(c, '\n' | '\t');
        let text: String = text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect();
        let _ = writeln!(self.err, "{text}");
        let _ = self.err.flush();
    }

    /// Asks on stderr and reads a line; only `y` or `yes` is yes.
    pub fn confirm(&mut self, question: &str) -> io::Result<bool> {
        let _ = self.out.flush();
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut line = String::new();
        match &self.stdin {
            Stdin::Real => drop(io::stdin().read_line(&mut line)?),
            Stdin::Bytes(bytes) => line = String::from_utf8_lossy(bytes).into_owned(),
        }
        Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// All of stdin as a blocking reader; a file that was redirected is one.
    pub fn take_stdin(&mut self) -> crate::engine::Reader {
        match std::mem::replace(&mut self.stdin, Stdin::Bytes(Vec::new())) {
            Stdin::Real => {
                self.stdin = Stdin::Real;
                match io::stdin().as_fd().try_clone_to_owned() {
                    Ok(fd) => Box::new(File::from(fd)),
                    Err(_) => Box::new(io::stdin()),
                }
            }
            Stdin::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
        }
    }
}

fn stream(fd: io::Result<OwnedFd>, capacity: usize) -> Box<dyn Write + Send + Sync> {
    match fd {
        Ok(fd) => Box::new(BufWriter::with_capacity(capacity, File::from(fd))),
        Err(_) => Box::new(io::sink()),
    }
}

fn is_one_sink() -> bool {
    use std::os::unix::fs::MetadataExt;
    let meta = |fd: io::Result<OwnedFd>| File::from(fd?).metadata().map(|meta| (meta.dev(), meta.ino(), meta.rdev()));
    let (out, err) = (meta(io::stdout().as_fd().try_clone_to_owned()), meta(io::stderr().as_fd().try_clone_to_owned()));
    matches!((out, err), (Ok(out), Ok(err)) if out == err)
}
