//! orlop's own log: to a file through a writer thread, never to the screen. Called once by `main`, and only when a log is wanted:
//! a CLI verb without `--log-level` starts no thread and opens no file.

use std::path::Path;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the disk; more are dropped. The queue is an array that is written when it is made: the library's own 128,000 places
/// cost every process 5 MB and a millisecond.
const WAITING_LINES: usize = 1024;

/// Starts it; the guard writes what is left when dropped.
///
/// # Errors
/// One sentence: the filter cannot be read, or the file cannot be opened.
pub fn start(filter: &str, file: &Path) -> Result<WorkerGuard, String> {
    let wanted = EnvFilter::try_new(filter).map_err(|error| format!("invalid log level {filter:?}: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot open log file {}: {error}", file.display());
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).finish(file);
    let log = tracing_subscriber::fmt().with_env_filter(wanted).with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::set_global_default(log).map_err(|error| error.to_string())?;
    Ok(guard)
}
