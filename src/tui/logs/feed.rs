//! From the engine's streams to batches a model takes: the only asynchronous part of the log view. Called by the executor, one pump a view.
//!
//! Chunks that come close together become one batch, several sources are merged by time, and while the reader is busy nothing is read:
//! the engine's log file is the buffer. At most [`BATCH_BYTES`] a source are held here, plus the chunk that went over, and at most [`CREDIT`]
//! batches are under way, however long the queue between. The pump never drops a line and never reads ahead without bound.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::command::SourceIdx;
use crate::engine::{LogChunk, LogStream};

/// At least this long from one batch to the next while lines pour in.
const BATCH_INTERVAL: Duration = Duration::from_millis(16);
/// A batch is sent early when it holds this much, bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// A source that gave nothing for this long does not hold up the others.
const QUIET: Duration = Duration::from_millis(20);
/// The same before its first line: engines take a moment to open a log.
const QUIET_AT_FIRST: Duration = Duration::from_millis(250);

/// Batches sent and not yet dropped by their reader. The pump waits for one to be dropped; nothing is lost meanwhile.
const CREDIT: usize = 4;

/// What came since the last batch. Dropping it lets the pump send another.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// Of the subscription it belongs to.
    pub generation: u64,
    /// In order; with several sources ordered by time.
    pub chunks: Vec<(SourceIdx, LogChunk)>,
    pub ended: Vec<(SourceIdx, SourceEnd)>,
    /// Held by batches of a pump.
    pub credit: Option<Credit>,
}

/// A place among the batches under way, given back on drop.
#[derive(Debug)]
pub struct Credit {
    _permit: OwnedSemaphorePermit,
}

/// Why a source ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// The container ended; a restart may go on.
    Ended,
    /// The link was lost: ask again with `LogsModel::resume`.
    Failed(String),
}

/// Reads the streams and sends batches until all have ended or `send` says false. `send` may wait; nothing is read meanwhile.
///
/// Cancel safety: dropping it drops the streams, which ends the work behind them.
pub async fn pump<F, S>(generation: u64, streams: Vec<(SourceIdx, LogStream)>, mut send: F)
where
    F: FnMut(LogBatch) -> S,
    S: Future<Output = bool>,
{
    let mut merger = Merger::new(streams);
    let mut sent_at: Option<Instant> = None;
    let credit = Arc::new(Semaphore::new(CREDIT));
    loop {
        let mut batch = LogBatch { generation, ..LogBatch::default() };
        merger.read_some(None).await;
        if let Some(sent_at) = sent_at {
            let until = sent_at + BATCH_INTERVAL;
            while merger.has_room() && Instant::now() < until {
                merger.read_some(Some(until)).await;
            }
        }
        merger.take(&mut batch);
        let is_last = merger.is_finished();
        if batch.chunks.is_empty() && batch.ended.is_empty() && !is_last {
            continue;
        }
        let permit = Arc::clone(&credit).acquire_owned().await.expect("the semaphore is never closed");
        batch.credit = Some(Credit { _permit: permit });
        sent_at = Some(Instant::now());
        if !send(batch).await || is_last {
            return;
        }
    }
}

/// One stream and what was read of it but not given on.
struct Input {
    source: SourceIdx,
    stream: Option<LogStream>,
    waiting: VecDeque<LogChunk>,
    n_bytes: usize,
    /// Since when it has nothing to give.
    quiet_since: Instant,
    has_given: bool,
    end: Option<SourceEnd>,
}

impl Input {
    fn has_room(&self) -> bool {
        self.stream.is_some() && self.n_bytes < BATCH_BYTES
    }

    /// Until when its silence holds up the others; `None` when it does not.
    fn holds_until(&self) -> Option<Instant> {
        let patience = if self.has_given { QUIET } else { QUIET_AT_FIRST };
        (self.stream.is_some() && self.waiting.is_empty()).then(|| self.quiet_since + patience)
    }

    fn head_time(&self) -> Option<i64> {
        self.waiting.front().and_then(|chunk| chunk.entries.first()).map(|entry| entry.time_ns)
    }
}

/// Merges inputs by time.
struct Merger {
    inputs: Vec<Input>,
}

impl Merger {
    fn new(streams: Vec<(SourceIdx, LogStream)>) -> Self {
        let now = Instant::now();
        let input = |(source, stream)| Input {
            source,
            stream: Some(stream),
            waiting: VecDeque::new(),
            n_bytes: 0,
            quiet_since: now,
            has_given: false,
            end: None,
        };
        Self { inputs: streams.into_iter().map(input).collect() }
    }

    fn has_room(&self) -> bool {
        self.inputs.iter().any(Input::has_room)
    }

    fn is_finished(&self) -> bool {
        self.inputs.iter().all(|input| input.stream.is_none() && input.waiting.is_empty())
    }

    /// Waits until some stream gave something or ended, a silent one stops holding up what waits, or `until`.
    async fn read_some(&mut self, until: Option<Instant>) {
        let has_waiting = self.inputs.iter().any(|input| !input.waiting.is_empty());
        let now = Instant::now();
        let holding = self.inputs.iter().filter_map(Input::holds_until).filter(|until| *until > now).max();
        let deadline = match (until, holding.filter(|_| has_waiting)) {
            (Some(until), Some(holding)) => Some(until.min(holding)),
            (until, holding) => until.or(holding),
        };
        if !self.has_room() || (has_waiting && until.is_none() && holding.is_none()) {
            return;
        }
        let read = poll_fn(|cx| self.poll_read(cx));
        match deadline {
            // A deadline passed is no error: it means that what waits goes out now.
            Some(deadline) => drop(tokio::time::timeout_at(deadline, read).await),
            None => read.await,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut has_read = false;
        for input in &mut self.inputs {
            while input.has_room()
                && let Some(stream) = &mut input.stream
                && let Poll::Ready(item) = Pin::new(stream).poll_next(cx)
            {
                has_read = true;
                input.quiet_since = Instant::now();
                match item {
                    Some(Ok(chunk)) => {
                        input.has_given = true;
                        input.n_bytes += chunk.bytes.len().max(1);
                        input.waiting.push_back(chunk);
                    }
                    Some(Err(error)) => {
                        input.end = Some(SourceEnd::Failed(error.to_string()));
                        input.stream = None;
                    }
                    None => {
                        input.end = Some(SourceEnd::Ended);
                        input.stream = None;
                    }
                }
            }
        }
        if has_read { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves what may go out into the batch.
    fn take(&mut self, batch: &mut LogBatch) {
        if self.inputs.len() == 1 {
            let input = &mut self.inputs[0];
            batch.chunks.extend(input.waiting.drain(..).map(|chunk| (input.source, chunk)));
            input.n_bytes = 0;
        } else {
            self.merge(batch);
        }
        for input in &mut self.inputs {
            if input.waiting.is_empty()
                && let Some(end) = input.end.take()
            {
                batch.ended.push((input.source, end));
            }
        }
    }

    fn merge(&mut self, batch: &mut LogBatch) {
        let now = Instant::now();
        loop {
            for input in &mut self.inputs {
                // A chunk without lines says only how many are lost.
                while input.waiting.front().is_some_and(|chunk| chunk.entries.is_empty()) {
                    batch.chunks.extend(input.waiting.pop_front().map(|chunk| (input.source, chunk)));
                }
            }
            if self.inputs.iter().any(|input| input.holds_until().is_some_and(|until| until > now)) {
                return;
            }
            let heads = self.inputs.iter().enumerate().filter_map(|(idx, input)| Some((input.head_time()?, idx)));
            let Some((_, first)) = heads.clone().min() else { return };
            let limit = heads.filter(|(_, idx)| *idx != first).map(|(time_ns, _)| time_ns).min().unwrap_or(i64::MAX);
            let input = &mut self.inputs[first];
            let Some(chunk) = input.waiting.front_mut() else { return };
            let n = chunk.entries.iter().take_while(|entry| entry.time_ns <= limit).count().max(1);
            let rest = chunk.entries.split_off(n);
            let mut run = LogChunk { bytes: chunk.bytes.clone(), entries: rest, lost_before: 0 };
            std::mem::swap(chunk, &mut run);
            if chunk.entries.is_empty() {
                input.n_bytes = input.n_bytes.saturating_sub(chunk.bytes.len().max(1));
                input.waiting.pop_front();
            }
            batch.chunks.push((input.source, run));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use proptest::prelude::*;

    use super::*;
    use crate::tui::logs::store::tests::chunk;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    async fn collect(streams: Vec<(SourceIdx, LogStream)>) -> Vec<LogBatch> {
        let mut batches = Vec::new();
        pump(7, streams, |mut batch| {
            batch.credit = None;
            batches.push(batch);
            std::future::ready(true)
        })
        .await;
        batches
    }

    fn given(chunks: Vec<LogChunk>) -> LogStream {
        Box::pin(stream::iter(chunks.into_iter().map(Ok)))
    }

    #[test]
    fn what_comes_close_together_is_one_batch() {
        let chunks: Vec<LogChunk> = (0..100).map(|n| chunk(&[b"line"], n)).collect();
        let batches = run(collect(vec![(SourceIdx(0), given(chunks))]));
        assert_eq!(batches.len(), 1);
        assert_eq!((batches[0].generation, batches[0].chunks.len()), (7, 100));
        assert_eq!(batches[0].ended, [(SourceIdx(0), SourceEnd::Ended)]);
    }

    #[test]
    fn a_flood_comes_in_bounded_batches() {
        let big = vec![b'x'; 100 * 1024];
        let chunks: Vec<LogChunk> = (0..50).map(|n| chunk(&[&big], n)).collect();
        let batches = run(collect(vec![(SourceIdx(0), given(chunks))]));
        let sizes: Vec<usize> =
            batches.iter().map(|batch| batch.chunks.iter().map(|(_, chunk)| chunk.bytes.len()).sum()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 50 * 100 * 1024);
        assert!(sizes.iter().all(|size| *size <= BATCH_BYTES + 100 * 1024), "{sizes:?}");
    }

    #[test]
    fn a_silent_source_does_not_hold_up_a_talking_one() {
        let silent: LogStream = Box::pin(stream::pending());
        let talking: LogStream = Box::pin(given(vec![chunk(&[b"here"], 5)]).chain(stream::pending()));
        let first = run(async {
            let mut first = None;
            pump(1, vec![(SourceIdx(0), silent), (SourceIdx(1), talking)], |batch| {
                first = Some(batch);
                std::future::ready(false)
            })
            .await;
            first
        });
        assert_eq!(first.unwrap().chunks[0].0, SourceIdx(1));
    }

    #[test]
    fn a_lost_link_says_so_after_its_lines() {
        let error = crate::engine::EngineError::new(crate::engine::Class::Internal, "web", "gone");
        let lines = given(vec![chunk(&[b"last words"], 5)]).chain(stream::iter([Err(error)]));
        let batches = run(collect(vec![(SourceIdx(0), Box::pin(lines))]));
        let last = batches.last().unwrap();
        assert!(matches!(&last.ended[..], [(SourceIdx(0), SourceEnd::Failed(_))]));
    }

    #[test]
    fn a_reader_that_keeps_batches_stops_the_pump() {
        let chunks: Vec<LogChunk> = (0..50).map(|n| chunk(&[&[b'x'; BATCH_BYTES]], n)).collect();
        let mut kept = Vec::new();
        let pumping = pump(1, vec![(SourceIdx(0), given(chunks))], |batch| {
            kept.push(batch);
            std::future::ready(true)
        });
        let in_time = run(async { tokio::time::timeout(Duration::from_millis(300), pumping).await.is_ok() });
        assert!(!in_time, "it must wait for credit");
        assert_eq!(kept.len(), CREDIT);
    }

    proptest! {
        /// Sources in order come out in order, and nothing is lost.
        #[test]
        fn sources_are_merged_by_time(
            sources in prop::collection::vec(prop::collection::vec(0i64..50, 0..40), 1..4),
            chunk_len in 1usize..6,
        ) {
            let mut expected: Vec<i64> = Vec::new();
            let mut streams = Vec::new();
            for (idx, mut times) in sources.into_iter().enumerate() {
                times.sort_unstable();
                expected.extend(&times);
                let line = |time: &i64| chunk(&[b"x"], *time);
                let merged = |times: &[i64]| times.iter().map(line).reduce(|mut all, next| {
                    all.entries.extend(next.entries);
                    all
                }).unwrap();
                streams.push((SourceIdx(idx as u16), given(times.chunks(chunk_len).map(merged).collect())));
            }
            expected.sort_unstable();
            let batches = run(collect(streams));
            let got: Vec<i64> = batches.iter().flat_map(|batch| &batch.chunks)
                .flat_map(|(_, chunk)| chunk.entries.iter().map(|entry| entry.time_ns)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
