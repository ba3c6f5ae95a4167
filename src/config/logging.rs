//! orlop's own log: to a file through a writer thread, never to the screen. Called once by `main`, and only when a log is wanted:
//! a CLI verb without `--log-level` starts no thread and opens no file.

use std::path::Path;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// Starts it; the guard writes what is left when dropped.
///
/// # Errors
/// One sentence: the filter cannot be read, or the file cannot be opened.
pub fn start(filter: &str, file: &Path) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("invalid log level {filter:?}: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot open log file {}: {error}", file.display());
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::set_global_default(log).map_err(|error| error.to_string())?;
    Ok(guard)
}
