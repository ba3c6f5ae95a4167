//! Log lines as an async stream over the shim's log files. Called by `containers`. A blocking thread reads ahead into a small channel; between
//! bursts nothing runs. Following ends when the container's shim has gone, and goes on over a restart.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::engine::{Class, EngineError, LogChunk, LogStream, LogsQuery, Result};
use crate::shim::Request;
use crate::shim::log::{LogReader, WriterIs};
use crate::shim::protocol::WaitKind;

use super::Core;
use super::events::readable_copy;
use super::view::View;
use super::wire::Link;

/// Chunks read ahead: 1 MiB at most. The reading thread waits when they are not taken; nothing is dropped.
const READ_AHEAD: usize = 4;
/// A container that writes all the time wakes its followers this often, not at every write.
const NAP: Duration = Duration::from_millis(8);
/// How often the end of a restart is looked for.
const RESTART_POLL: Duration = Duration::from_millis(20);

type Sender = mpsc::Sender<Result<LogChunk>>;

/// Opens the log where the query begins. Blocks on the disk; must be called inside the tokio runtime.
pub(crate) fn open(core: &Arc<Core>, view: &View, query: &LogsQuery) -> Result<LogStream> {
    if !query.stdout && !query.stderr {
        return Err(EngineError::new(Class::Invalid, &view.record.id, "you must choose at least one stream"));
    }
    if view.record.spec.log.driver == "none" {
        let message = "configured logging driver does not support reading";
        return Err(EngineError::new(Class::Unsupported, &view.record.id, message)
            .with_hint("the container was made with --log-driver none"));
    }
    // Connected before the first look at the files: what ends after this is seen to end.
    let shim = RunEnd::watch(core, view)?;
    let writer = if shim.is_some() { WriterIs::Alive } else { WriterIs::Ended };
    let dir = core.log_dir(&view.id);
    let reader = LogReader::open(&dir, query, writer).map_err(|failed| failure(&failed))?;
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let job = Job { core: Arc::clone(core), view: view.clone(), follow: query.follow, sender };
    tokio::spawn(async move {
        let sender = job.sender.clone();
        if let Err(error) = job.run(reader, shim).await {
            // Nobody listening is no failure.
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    })))
}

/// One stream's work; ends when its receiver is dropped.
struct Job {
    core: Arc<Core>,
    view: View,
    follow: bool,
    sender: Sender,
}

impl Job {
    async fn run(self, reader: LogReader, mut shim: Option<RunEnd>) -> Result<()> {
        let mut reader = self.drain(reader).await?;
        if !self.follow {
            // What a living writer has begun and not ended is shown as it is.
            reader.writer_ended();
            self.drain(reader).await?;
            return Ok(());
        }
        let watch = watch(&reader)?;
        loop {
            if self.sender.is_closed() || reader.is_past_until() {
                return Ok(());
            }
            let Some(end) = &mut shim else {
                reader.writer_ended();
                self.drain(reader).await?;
                return Ok(());
            };
            tokio::select! {
                biased; // the listener's leaving first, then the end, so that a busy log cannot hide either
                () = self.sender.closed() => return Ok(()),
                () = end.reached() => shim = self.successor().await?,
                ready = watch.readable() => {
                    ready.map_err(|failed| failure(&failed))?.clear_ready();
                    tokio::time::sleep(NAP).await;
                }
            }
            reader.clear_wakeups();
            reader = self.drain(reader).await?;
        }
    }

    /// Sends all that there is now.
    async fn drain(&self, mut reader: LogReader) -> Result<LogReader> {
        let sender = self.sender.clone();
        let read = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = reader.next_chunk()? {
                if sender.blocking_send(Ok(chunk)).is_err() {
                    break;
                }
            }
            Ok::<_, io::Error>(reader)
        });
        read.await.map_err(|error| super::error::join(&error))?.map_err(|failed| failure(&failed))
    }

    /// The next run when this end is not the last: the shim starts the container again, or an engine does, which holds the container's lock
    /// meanwhile.
    async fn successor(&self) -> Result<Option<RunEnd>> {
        loop {
            if let Some(end) = RunEnd::watch(&self.core, &self.view)? {
                return Ok(Some(end));
            }
            let (core, id) = (Arc::clone(&self.core), self.view.id.clone());
            let is_held = tokio::task::spawn_blocking(move || core.is_locked(&id));
            if !is_held.await.map_err(|error| super::error::join(&error))? || self.sender.is_closed() {
                return RunEnd::watch(&self.core, &self.view);
            }
            tokio::time::sleep(RESTART_POLL).await;
        }
    }
}

/// Hears of the end of a container's run from its shim.
struct RunEnd {
    link: Link,
    seq: u64,
}

impl RunEnd {
    /// `None` when no shim is there: nothing runs.
    fn watch(core: &Core, view: &View) -> Result<Option<Self>> {
        let Some(mut link) = Link::connect(&core.run_dir(&view.id))? else { return Ok(None) };
        match link.send_first(Request::Wait { condition: WaitKind::NextExit }) {
            Ok(seq) => Ok(Some(Self { link, seq })),
            // It left between the two calls.
            Err(error) if error.class == Class::Unavailable => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The answer, or the shim's own end.
    async fn reached(&mut self) {
        let _ = self.link.answer(self.seq).await;
    }
}

fn watch(reader: &LogReader) -> Result<AsyncFd<OwnedFd>> {
    let missing = || EngineError::new(Class::Internal, "", "the log cannot be watched");
    let watch = reader.watch().ok_or_else(missing)?;
    readable_copy(watch).map_err(|failed| failure(&failed))
}

fn failure(failed: &io::Error) -> EngineError {
    EngineError::new(Class::Internal, "", "cannot read the log").caused_by(failed)
}
