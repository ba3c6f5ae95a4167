//! How a case is run: a client on a runtime of its own, a deadline over all of it, and the look at what is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use orlop::engine::{Class, EngineError, Result};
use orlop::remote::Remote;

use crate::daemon::{Daemon, Outcome, Request, Script, Wire};

/// What the client of a test waits for an answer: stalls must end after it, and a loaded machine must answer within it.
pub const SHORT: Duration = Duration::from_millis(400);
/// For clients that are to succeed.
pub const LONG: Duration = Duration::from_secs(60);
/// Within this every case ends, also on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn script(answer: impl Fn(&Request, &mut Wire) -> Option<Outcome> + Send + Sync + 'static) -> Script {
    Arc::new(answer)
}

/// One thread, as the command line and the screen have it.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(LIMIT, work).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.expect("nothing hangs")
}

/// Calls once, looks that the client leaves no connection, and gives its answer.
pub async fn attempt<T>(
    daemon: &Daemon,
    patience: Duration,
    call: impl AsyncFnOnce(&Remote) -> Result<T>,
) -> Result<T> {
    let engine = Remote::with_patience(daemon.endpoint(), patience).unwrap();
    let answer = call(&engine).await;
    drop(engine);
    closed(daemon).await;
    answer
}

/// Until nobody is connected any more.
pub async fn closed(daemon: &Daemon) {
    let end = Instant::now() + LIMIT / 2;
    while daemon.n_open() > 0 {
        assert!(Instant::now() < end, "{} connections are left open", daemon.n_open());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether an error is one that a person can use: one line, a hint, nothing that drives a terminal.
pub fn check_sentence(what: &str, error: &EngineError) {
    let text = error.to_string();
    let is_line = |text: &str| !text.is_empty() && text.len() < 5000 && !text.chars().any(char::is_control);
    assert!(is_line(&text), "{what}: no sentence: {text:?}");
    assert!(!text.ends_with('.'), "{what}: {text}");
    // What the daemon itself says in so many words needs no more; whatever we say about it comes with advice.
    let is_ours = !matches!(error.class, Class::NotFound | Class::Conflict | Class::NotModified);
    if is_ours {
        let hint = error.hint.as_deref().unwrap_or_else(|| panic!("{what}: no hint: {text}"));
        assert!(is_line(hint), "{what}: {hint:?}");
    }
    assert!(!error.subject.chars().any(char::is_control), "{what}: {:?}", error.subject);
}

/// A boxed call for tables of them.
pub type Call = fn(Remote) -> BoxFuture<'static, Result<()>>;
