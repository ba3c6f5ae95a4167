//! One connection through ssh: a child's stdin and stdout as one stream. Made by `ssh`; dropping it ends the child.
//! Its end tells a cut from an end: ssh's exit status and its complaints become the stream's error.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::far::{Far, SSH_FAILED};
use super::logins::Place;

/// The most of ssh's complaints that is read, in bytes.
const MAX_SAID: u64 = 16 << 10;
/// A child that closed its output ends; the shared login may hold the pipe of its complaints open, and what it had to say is there by then.
const ENDING: Duration = Duration::from_secs(5);
const COMPLAINING: Duration = Duration::from_millis(500);

/// The two pipes of a child, and the child.
pub(super) struct Channel {
    far: Arc<Far>,
    /// `None` once the writing side is closed.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    end: End,
    has_read: bool,
    place: Place,
}

enum End {
    NotYet(Box<Child>, ChildStderr),
    /// Its output has ended: why is being found out.
    Asking(Pin<Box<dyn Future<Output = Told> + Send>>),
    Known(Told),
}

/// Exit status and last words.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) status: Option<i32>,
    pub(super) said: String,
}

async fn told(mut child: Box<Child>, complaints: ChildStderr) -> Told {
    let status = timeout(ENDING, child.wait()).await;
    let mut text = Vec::new();
    let _ = timeout(COMPLAINING, complaints.take(MAX_SAID).read_to_end(&mut text)).await;
    let status = status.ok().and_then(Result::ok).and_then(|status| status.code());
    Told { status, said: String::from_utf8_lossy(&text).into_owned() }
}

impl Channel {
    /// Starts the child.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn open(far: Arc<Far>, mut command: Command, place: Place) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout, complaints) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(complaints)) = (stdout, complaints) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let end = End::NotYet(Box::new(child), complaints);
        Ok(Self { far, stdin, stdout, end, has_read: false, place })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the child has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.status().is_some()
    }

    /// Whether ssh itself has ended it.
    pub(super) fn has_failed(&mut self) -> bool {
        self.status().is_some_and(|status| matches!(status.code(), Some(SSH_FAILED) | None))
    }

    fn status(&mut self) -> Option<ExitStatus> {
        match &mut self.end {
            End::NotYet(child, _) => child.try_wait().ok().flatten(),
            End::Asking(_) | End::Known(_) => None,
        }
    }

    /// How a child ended that gave no answer.
    pub(super) async fn told(mut self) -> Told {
        drop(self.stdin.take());
        match self.end {
            End::NotYet(child, complaints) => told(child, complaints).await,
            End::Asking(asking) => asking.await,
            End::Known(told) => told,
        }
    }

    fn find_out(&mut self) {
        self.end = match std::mem::replace(&mut self.end, End::Known(Told::default())) {
            End::NotYet(child, complaints) => End::Asking(Box::pin(told(child, complaints))),
            other => other,
        };
    }

    fn verdict(&self, told: &Told) -> io::Result<()> {
        let failed = match self.has_read {
            true => self.far.cut(told.status, &told.said),
            false => Some(self.far.unopened(told.status, &told.said)),
        };
        failed.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }
}

impl AsyncRead for Channel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.end {
                End::NotYet(..) => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut self.stdout).poll_read(cx, buffer))?;
                    if buffer.filled().len() > before || buffer.remaining() == 0 {
                        self.has_read = true;
                        return Poll::Ready(Ok(()));
                    }
                    self.find_out();
                }
                End::Asking(asking) => {
                    let told = ready!(asking.as_mut().poll(cx));
                    let verdict = self.verdict(&told);
                    self.end = End::Known(told);
                    return Poll::Ready(verdict);
                }
                End::Known(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closing the pipe is what the far side hears as the end of input.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            let flushed = ready!(Pin::new(stdin).poll_flush(cx));
            self.stdin = None;
            return Poll::Ready(flushed);
        }
        Poll::Ready(Ok(()))
    }
}
