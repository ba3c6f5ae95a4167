//! Log streams for the log view. Part of the executor.

use std::sync::Arc;

use futures_util::StreamExt;

use crate::engine::{Engine, LogChunk, LogsQuery};

use super::super::logs::{self, LogBatch, LogsCommand, SourceEnd, SourceQuery};
use super::super::msg::{Answer, Msg};
use super::{Executor, Outbox, questions};

impl Executor {
    pub(super) fn run_logs(&mut self, command: LogsCommand) {
        match command {
            LogsCommand::Subscribe { generation, queries } => {
                self.stop_logs();
                let task = follow(self.engine(), self.out.clone(), generation, queries);
                self.log_pump = Some(self.guard(tokio::spawn(task)));
            }
            LogsCommand::FetchOlder { generation, source, container, until, n } => {
                let engine = self.engine();
                self.ask(async move {
                    let query = LogsQuery { until: Some(until), tail: Some(n), ..LogsQuery::default() };
                    Msg::OlderLogs { generation, source, answer: read_all(&*engine, &container, &query).await }
                });
            }
            LogsCommand::Save { export, suggested_name } => self.ask(async move {
                let saved = tokio::task::spawn_blocking(move || {
                    use std::io::Write;
                    let (file, path) = questions::create_new(suggested_name.as_ref())?;
                    let mut to = std::io::BufWriter::new(file);
                    let written = export.write_to(&mut to).and_then(|_| to.flush());
                    written.map(|()| path.clone()).map_err(|e| format!("cannot write {}: {e}", path.display()))
                });
                Msg::Saved(saved.await.unwrap_or_else(|e| Err(e.to_string())))
            }),
            // The clipboard is the terminal's; `update` turns this into a command for the loop.
            LogsCommand::Copy { .. } => {}
        }
    }

    pub(super) fn stop_logs(&mut self) {
        if let Some(pump) = self.log_pump.take() {
            pump.abort();
        }
    }
}

async fn follow(engine: Arc<dyn Engine>, out: Outbox, generation: u64, queries: Vec<SourceQuery>) {
    let mut streams = Vec::new();
    let mut failed = LogBatch { generation, ..LogBatch::default() };
    for query in queries {
        let wanted = LogsQuery { follow: true, tail: query.tail, since: query.since, ..LogsQuery::default() };
        match engine.containers().logs(&query.container, &wanted).await {
            Ok(stream) => streams.push((query.source, stream)),
            Err(e) => failed.ended.push((query.source, SourceEnd::Failed(e.to_string()))),
        }
    }
    if !failed.ended.is_empty() && !out.send(Msg::Logs(failed)).await {
        return;
    }
    logs::pump(generation, streams, |batch| async { out.send(Msg::Logs(batch)).await }).await;
}

async fn read_all(engine: &dyn Engine, container: &str, query: &LogsQuery) -> Answer<Vec<LogChunk>> {
    let mut stream = engine.containers().logs(container, query).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        chunks.push(chunk?);
    }
    Ok(chunks)
}
