//! The terminal under a foreground `run`, `exec` or `attach`: raw mode that is always given back, its size, typed bytes, signals.

use std::io::{self, Read};
use std::os::fd::AsFd;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::io::Stdin;
use crate::engine::TtySize;
use crate::sys::winsize;

/// Raw mode on stdin while it lives; the old mode comes back on drop, so on return, on error and on unwinding.
pub struct RawMode(Termios);

impl RawMode {
    /// # Errors
    /// Stdin is no terminal, or it went away.
    pub fn enter() -> io::Result<Self> {
        let old = termios::tcgetattr(io::stdin())?;
        let mut raw = old.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self(old))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that hung up has no mode to restore.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Of stdout's terminal, or stdin's; `None` when neither is one.
pub fn size() -> Option<TtySize> {
    let of = |fd: std::os::fd::BorrowedFd<'_>| winsize::get(fd).ok().filter(|(rows, cols)| *rows > 0 && *cols > 0);
    let (rows, cols) = of(io::stdout().as_fd()).or_else(|| of(io::stdin().as_fd()))?;
    Some(TtySize { rows, cols })
}

/// Waits for Ctrl-C. From the first call on it no longer ends the process by itself.
pub async fn interrupted() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => drop(interrupts.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// What is typed or piped in, in chunks; ends with the input. A thread reads, as a terminal cannot be waited for otherwise without
/// making it non-blocking for everyone who shares it.
pub fn typed(stdin: &mut Stdin) -> mpsc::Receiver<Bytes> {
    // Sixteen chunks of 32 KiB: the reader waits when the container does not read.
    let (to, from) = mpsc::channel(16);
    match std::mem::replace(stdin, Stdin::Bytes(Vec::new())) {
        Stdin::Bytes(bytes) => drop(to.try_send(Bytes::from(bytes))),
        Stdin::Real => {
            let read = move || {
                let mut buffer = vec![0; 32 << 10];
                loop {
                    match io::stdin().lock().read(&mut buffer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok(0) | Err(_) => return,
                        Ok(n) => {
                            if to.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                                return;
                            }
                        }
                    }
                }
            };
            // Without a thread there is no input; the session goes on.
            drop(std::thread::Builder::new().name("stdin".to_owned()).spawn(read));
        }
    }
    from
}

/// What the process is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The terminal has another size.
    Resized,
    /// Name as engines take it, and number.
    Signal(&'static str, i32),
}

/// Signals from now on: their usual effect is off while the stream lives.
///
/// # Errors
/// A handler cannot be set.
pub fn signals() -> io::Result<BoxStream<'static, Told>> {
    let kinds = [
        (SignalKind::window_change(), Told::Resized),
        (SignalKind::interrupt(), Told::Signal("INT", 2)),
        (SignalKind::terminate(), Told::Signal("TERM", 15)),
        (SignalKind::hangup(), Told::Signal("HUP", 1)),
        (SignalKind::quit(), Told::Signal("QUIT", 3)),
        (SignalKind::user_defined1(), Told::Signal("USR1", 10)),
        (SignalKind::user_defined2(), Told::Signal("USR2", 12)),
        (SignalKind::alarm(), Told::Signal("ALRM", 14)),
    ];
    let mut all = Vec::new();
    for (kind, told) in kinds {
        let one =
            stream::unfold(
                signal(kind)?,
                move |mut signals| async move { signals.recv().await.map(|()| (told, signals)) },
            );
        all.push(one.boxed());
    }
    Ok(stream::select_all(all).boxed())
}

/// Whether what is typed can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Shown,
    Hidden,
}

/// Asks for one line on the terminal.
///
/// # Errors
/// Stdin is no terminal, or it went away.
pub fn ask(prompt: &str, echo: Echo) -> io::Result<String> {
    use std::io::Write;
    struct Back(Termios);
    impl Drop for Back {
        fn drop(&mut self) {
            // A terminal that hung up has no mode to restore.
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
        }
    }
    write!(io::stderr(), "{prompt}")?;
    let mut line = String::new();
    if echo == Echo::Shown {
        io::stdin().read_line(&mut line)?;
    } else {
        let old = termios::tcgetattr(io::stdin())?;
        let mut silent = old.clone();
        silent.local_flags.remove(termios::LocalFlags::ECHO);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &silent)?;
        let _back = Back(old);
        io::stdin().read_line(&mut line)?;
        writeln!(io::stderr())?;
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
