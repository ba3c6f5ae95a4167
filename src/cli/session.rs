//! One attached session: output to our streams, input to the process, size and signals passed on, until one side ends.

use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::StreamExt;

use super::io::Io;
use super::terminal::{self, RawMode, Told};
use crate::engine::{Attached, Engine, Exit, Output, StreamKind};

/// Whose terminal is resized, who gets the signals.
pub enum Target {
    /// Id; signals are passed on when proxied.
    Container { id: String, is_proxied: bool },
    /// Exec id: signals end the client.
    Exec(String),
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The process closed its output.
    Output,
    Detached,
    /// A signal ended the client, not the process.
    Told(i32),
}

/// How long output may still come after the process is known to have ended.
const DRAIN: Duration = Duration::from_secs(10);

/// Signal handlers, set before anything runs so that none is lost between start and attach.
pub struct Ears(futures_util::stream::BoxStream<'static, Told>);

impl Ears {
    /// # Errors
    /// A handler cannot be set.
    pub fn open() -> std::io::Result<Self> {
        terminal::signals().map(Self)
    }
}

/// Runs it to its end. `exited` resolves when the process ended; it is left pending when nobody waits for that here.
///
/// # Errors
/// The connection broke, or our own output did.
pub async fn run(
    engine: &dyn Engine,
    attached: Attached,
    with_stdin: bool,
    target: &Target,
    mut ears: Ears,
    exited: impl Future<Output = ()>,
    io: &mut Io,
) -> anyhow::Result<End> {
    let Attached { tty, mut output, mut input } = attached;
    let raw = if tty && with_stdin && io.is_stdin_tty() { Some(RawMode::enter()?) } else { None };
    if tty {
        resize(engine, target).await;
    }
    let mut typed = with_stdin.then(|| terminal::typed(&mut io.stdin));
    let feed = async move {
        let Some(typed) = &mut typed else { return std::future::pending().await };
        while let Some(bytes) = typed.recv().await {
            // The process does not read any more: its exit tells why, not we.
            if input.write(bytes).await.is_err() {
                break;
            }
        }
        let _ = input.close().await;
        // Held to the end: dropping it may mean leaving.
        std::future::pending::<()>().await;
    };
    let drained = async {
        exited.await;
        tokio::time::sleep(DRAIN).await;
    };
    let (mut feed, mut drained) = (std::pin::pin!(feed), std::pin::pin!(drained));
    let end = loop {
        // Signals first, they are rare and must not starve; then output, so that echo is shown before more input is taken.
        tokio::select! {
            biased;
            Some(told) = ears.0.next() => {
                if let Some(number) = heed(engine, target, told).await {
                    break End::Told(number);
                }
            }
            chunk = output.next() => match show(chunk, &mut output, io)? {
                None => {}
                Some(end) => break end,
            },
            () = &mut drained => break End::Output,
            () = &mut feed => {}
        }
    };
    drop(raw);
    io.out.flush()?;
    io.err.flush()?;
    Ok(end)
}

/// Writes a chunk and all that is ready behind it, then flushes once.
fn show(
    first: Option<crate::engine::Result<Output>>,
    output: &mut crate::engine::BoxStream<Output>,
    io: &mut Io,
) -> anyhow::Result<Option<End>> {
    let mut chunk = first;
    let mut n_bytes = 0;
    loop {
        match chunk {
            None => return Ok(Some(End::Output)),
            Some(Ok(Output::Detached)) => return Ok(Some(End::Detached)),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Output::Bytes(kind, bytes))) => {
                n_bytes += bytes.len();
                if kind == StreamKind::Stderr {
                    io.out.flush()?;
                    io.err.write_all(&bytes)?;
                    io.err.flush()?;
                } else {
                    io.out.write_all(&bytes)?;
                }
            }
        }
        let is_enough = n_bytes > 1 << 20;
        match if is_enough { None } else { output.next().now_or_never() } {
            Some(next) => chunk = next,
            None => {
                io.out.flush()?;
                return Ok(None);
            }
        }
    }
}

/// Passes on what we were told; a number when it ends the client.
async fn heed(engine: &dyn Engine, target: &Target, told: Told) -> Option<i32> {
    match (told, target) {
        (Told::Resized, _) => resize(engine, target).await,
        (Told::Signal(name, _), Target::Container { id, is_proxied: true }) => {
            // It may have ended meanwhile.
            let _ = engine.containers().kill(id, name).await;
        }
        (Told::Signal(_, number), _) => return Some(number),
    }
    None
}

async fn resize(engine: &dyn Engine, target: &Target) {
    let Some(size) = terminal::size() else { return };
    // A process that has just ended has no size.
    let _ = match target {
        Target::Container { id, .. } => engine.containers().resize(id, size).await,
        Target::Exec(id) => engine.execs().resize(id, size).await,
    };
}

/// The exit code a shell would see.
pub fn code(exit: &Exit) -> u8 {
    u8::try_from(exit.code.rem_euclid(256)).unwrap_or(1)
}
