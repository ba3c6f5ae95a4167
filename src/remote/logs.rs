//! Log lines. Called by `containers`. Timestamps are always asked for: they are shown by faces or not, and they are what a cut stream is taken
//! up again by, without repeating or losing a line.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::ask::Ask;
use super::containers::missing;
use super::dial::CUT;
use super::link::Link;
use crate::api::compat::Family;
use crate::api::from_wire;
use crate::api::log_lines::{Framing, LogLines};
use crate::api::routes::{Call, Query};
use crate::api::time;
use crate::engine::container::Status;
use crate::engine::{BoxStream, Class, EngineError, LogChunk, LogStream, LogsQuery, Result, Resume};

/// Between two tries to go on, and how long they go on without success.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);
const GIVE_UP: Duration = Duration::from_secs(60);
/// A stream that stood for so long without a line was a stream: the container is silent, and something on the way closes what is silent.
const STOOD: Duration = Duration::from_secs(5);
/// Asked for once more before the last line's time: whether `since` includes its own moment, and how finely it is read, is each daemon's own. What
/// comes too early is left out by its time.
pub(super) const RESUME_MARGIN_NS: i64 = 1_000;
/// Until a daemon has looked for the first line.
const HEAD: Duration = Duration::from_secs(120);

pub(super) async fn open(link: &Arc<Link>, ctr: &str, query: &LogsQuery, tty: bool) -> Result<LogStream> {
    if !query.stdout && !query.stderr {
        let message = "Bad parameters: you must choose at least one stream";
        return Err(EngineError::new(Class::Invalid, ctr, message));
    }
    let framing = if tty { Framing::Raw } else { Framing::Framed };
    let mut tail = Tail {
        link: Arc::clone(link),
        ctr: ctr.to_owned(),
        query: query.clone(),
        framing,
        lines: LogLines::new(framing),
        body: Box::pin(stream::empty()),
        resume: Resume::default(),
        wait: FIRST_RETRY,
        opened: Instant::now(),
        in_vain: None,
        prelude: None,
        is_over: false,
    };
    let wants_some = query.tail.filter(|n| *n > 0 && query.follow && query.until.is_none());
    if let Some(n_wanted) = wants_some
        && link.peer().await?.family == Family::Podman
    {
        tail.prelude = Some(Prelude { n_wanted, n_taken: 0, first_ns: None });
    }
    tail.body = tail.ask(None).await?;
    Ok(Box::pin(stream::unfold(tail, |mut tail| async move { tail.next().await.map(|chunk| (chunk, tail)) })))
}

struct Tail {
    link: Arc<Link>,
    ctr: String,
    query: LogsQuery,
    framing: Framing,
    lines: LogLines,
    body: BoxStream<Bytes>,
    resume: Resume,
    /// Before the next try.
    wait: Duration,
    /// When the daemon let us in the last time.
    opened: Instant,
    /// Since when each stream has ended at once and without a line, in one run of the container, of a daemon that answers.
    in_vain: Option<(Instant, Option<SystemTime>)>,
    prelude: Option<Prelude>,
    is_over: bool,
}

/// Whether a closed log has more to come.
enum Left {
    /// In the run of the container that was begun then.
    More(Option<SystemTime>),
    /// From the container's next run, or from a daemon that is away.
    Later,
    Nothing,
}

/// The last lines, read to their end before they are followed. Podman 4.3 reads these and then looks for the end of the file: what is written between
/// is in neither. Followed from a moment on, it reads the file from its beginning and leaves nothing out.
struct Prelude {
    n_wanted: u64,
    n_taken: u64,
    first_ns: Option<i64>,
}

impl Prelude {
    fn took(&mut self, chunk: &LogChunk) {
        self.n_taken += chunk.entries.len() as u64;
        self.first_ns = self.first_ns.or(chunk.entries.first().map(|entry| entry.time_ns));
    }

    /// Whether lines of the last one's time are told apart by their number: times are whole seconds, and some of that second may have been left out
    /// before the first line.
    fn is_exact(&self, query: &LogsQuery, last_ns: Option<i64>) -> bool {
        let is_all = self.n_taken < self.n_wanted && query.stdout && query.stderr;
        self.n_taken == 0 || is_all || self.first_ns != last_ns
    }
}

impl Tail {
    async fn ask(&mut self, since_ns: Option<i64>) -> Result<BoxStream<Bytes>> {
        let query = self.query.clone();
        let since = since_ns.and_then(|ns| time::from_ns(ns.saturating_sub(RESUME_MARGIN_NS))).or(query.since);
        // The tail was for the beginning.
        let tail = match (since_ns, query.tail) {
            (Some(_), _) | (None, None) => "all".to_owned(),
            (None, Some(n)) => n.to_string(),
        };
        let words = Query::default()
            .with("timestamps", 1)
            .flag("stdout", query.stdout)
            .flag("stderr", query.stderr)
            .flag("follow", query.follow && self.prelude.is_none())
            .with("tail", tail)
            .with_some("since", since.map(unix))
            .with_some("until", query.until.map(unix));
        let ask = Ask::about(Call::ContainerLogs, &self.ctr).query(words).patient(HEAD);
        // What is written already comes without long silences.
        let opened = if query.follow { self.link.open(ask).await } else { self.link.open_archive(ask).await };
        Ok(opened.map_err(|refused| missing(refused, &self.ctr))?.body)
    }

    async fn next(&mut self) -> Option<Result<LogChunk>> {
        while !self.is_over {
            if let Some(said) = self.lines.complaint().filter(|_| self.lines.has_complained()) {
                self.is_over = true;
                return Some(Err(self.complained(said)));
            }
            let step = match self.body.next().await {
                Some(Ok(bytes)) => self.took(bytes),
                None => self.ended().await,
                Some(Err(error)) if self.query.follow && is_away(&error) => self.cut(error).await,
                Some(Err(error)) => Err(error),
            };
            match step {
                Ok(chunk) if chunk.entries.is_empty() => {}
                Ok(chunk) => {
                    self.wait = FIRST_RETRY;
                    self.in_vain = None;
                    return Some(Ok(chunk));
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn complained(&self, said: String) -> EngineError {
        EngineError::new(Class::Internal, &self.ctr, said).with_hint("the daemon says so; its own log may say more")
    }

    fn took(&mut self, bytes: Bytes) -> Result<LogChunk> {
        let chunk = self.lines.feed(bytes);
        let chunk = chunk.map_err(|bad| self.link.garbled(&bad))?;
        Ok(self.unseen(chunk))
    }

    /// Leaves out what was given before the last cut.
    fn unseen(&mut self, mut chunk: LogChunk) -> LogChunk {
        let n_seen = self.resume.skip(&chunk.entries);
        chunk.entries.drain(..n_seen);
        self.resume.took(&chunk.entries);
        if let Some(prelude) = &mut self.prelude {
            prelude.took(&chunk);
        }
        chunk
    }

    /// The daemon closed the stream. Followed, that is the end only if the container has ended: a restart is gone on with.
    async fn ended(&mut self) -> Result<LogChunk> {
        if let Some(said) = self.lines.complaint() {
            return Err(self.complained(said));
        }
        if let Some(prelude) = self.prelude.take() {
            // What came without a newline is whole once it is followed.
            let is_exact = prelude.is_exact(&self.query, self.resume.since_ns());
            self.query.tail = if is_exact { None } else { Some(0) };
            match self.follow_on(is_exact).await {
                Err(error) if is_away(&error) => return self.again(error).await,
                // It was removed meanwhile.
                Err(error) if error.class == Class::NotFound => self.is_over = true,
                opened => opened?,
            }
            return Ok(LogChunk::default());
        }
        let left = if self.query.follow && self.query.until.is_none() { self.left().await? } else { Left::Nothing };
        match left {
            Left::More(run) if self.is_hopeless(run) => return Err(self.ended_each_time()),
            Left::More(_) => return self.again(self.closed()).await,
            Left::Later => {
                self.in_vain = None;
                return self.again(self.closed()).await;
            }
            Left::Nothing => {}
        }
        if !self.lines.is_between_frames() {
            let message = format!("{} ended the log of {} in the middle", self.link.name(), self.ctr);
            return Err(EngineError::new(Class::Unavailable, &self.ctr, message).with_hint("ask for it again"));
        }
        self.is_over = true;
        let rest = self.lines.finish();
        Ok(self.unseen(rest))
    }

    /// Half a line that has come will come again as a whole.
    fn closed(&self) -> EngineError {
        let closed = format!("{} closed the log of {}", self.link.name(), self.ctr);
        EngineError::new(Class::Unavailable, &self.ctr, closed).with_hint(CUT)
    }

    async fn left(&mut self) -> Result<Left> {
        match self.link.json(Ask::about(Call::ContainerInspect, &self.ctr)).await {
            Ok(doc) => {
                let state = from_wire::container::detail(&doc, None).state;
                Ok(match state.status {
                    Status::Running | Status::Paused => Left::More(state.started_at),
                    Status::Restarting => Left::Later,
                    _ => Left::Nothing,
                })
            }
            Err(error) if error.class == Class::NotFound => Ok(Left::Nothing),
            // The daemon went away together with its streams: the container may live.
            Err(error) if is_away(&error) => Ok(Left::Later),
            Err(error) => Err(error),
        }
    }

    /// Whether the streams of this run's log have ended at once for too long.
    fn is_hopeless(&mut self, run: Option<SystemTime>) -> bool {
        if self.opened.elapsed() >= STOOD || self.in_vain.is_some_and(|(_, known)| known != run) {
            self.in_vain = None;
        }
        self.in_vain.get_or_insert((Instant::now(), run)).0.elapsed() >= self.link.patience(GIVE_UP)
    }

    fn ended_each_time(&self) -> EngineError {
        let (name, ctr) = (self.link.name(), &self.ctr);
        let message = format!("{name} ends the log of {ctr} at once, each time it is followed");
        EngineError::new(Class::Internal, ctr, message)
            .with_hint("the daemon's own log may say why; the log may still be read without following it")
    }

    /// Whether the container still runs is for the daemon to say once it is asked again.
    async fn cut(&mut self, error: EngineError) -> Result<LogChunk> {
        let run = self.in_vain.and_then(|(_, run)| run);
        if self.is_hopeless(run) { Err(self.ended_each_time()) } else { self.again(error).await }
    }

    /// Tries to take it up again; gives the first error when that fails for too long. A daemon that closes at once each time is not stormed.
    async fn again(&mut self, first: EngineError) -> Result<LogChunk> {
        tracing::info!("the log of {} is taken up again: {first}", self.ctr);
        let end = Instant::now() + GIVE_UP;
        loop {
            sleep(self.wait).await;
            self.wait = (self.wait * 2).min(LAST_RETRY);
            match self.reopen().await {
                Ok(()) => return Ok(LogChunk::default()),
                Err(error) if is_away(&error) && Instant::now() < end => self.in_vain = None,
                Err(error) if is_away(&error) => return Err(first),
                Err(error) => return Err(error),
            }
        }
    }

    /// From the prelude's end on, or only what is new.
    async fn follow_on(&mut self, is_exact: bool) -> Result<()> {
        if is_exact { self.reopen().await } else { self.begin(None).await }
    }

    async fn reopen(&mut self) -> Result<()> {
        self.begin(self.resume.since_ns()).await?;
        self.resume.asked_again();
        Ok(())
    }

    async fn begin(&mut self, since_ns: Option<i64>) -> Result<()> {
        self.body = self.ask(since_ns).await?;
        self.opened = Instant::now();
        self.lines = LogLines::new(self.framing);
        Ok(())
    }
}

/// The link's doing, and no decision of the daemon: it may be back in a moment.
pub(super) fn is_away(error: &EngineError) -> bool {
    matches!(error.class, Class::Unavailable | Class::Timeout)
}

/// Unix seconds with nanoseconds.
pub(super) fn unix(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}
