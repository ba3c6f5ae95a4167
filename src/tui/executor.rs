//! Does what `update` asks for: the only part of the screen that holds an engine. Called by the event loop with [`Command`]s; answers come
//! back as [`Msg`]s over one bounded channel.
//!
//! Every task has an owner here and ends with it; every question has a deadline, except work whose length the user's data decides
//! (load, import, save): that can be cancelled.

mod lines;
mod logs;
mod questions;
mod registry;
mod sessions;
mod work;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::LineRunner;
use crate::engine::{Engine, Hosts};

use super::msg::{Command, Msg};
use super::subscriptions::{self, Watched};

/// Messages on their way to `update`. Senders wait when it is full: engines then read no further, and nothing is dropped.
const CHANNEL: usize = 256;
/// Longest wait for the answer to a question.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Sends messages and counts what is under way, so that tests can wait for quiet.
#[derive(Clone)]
pub(super) struct Outbox {
    to: mpsc::Sender<Msg>,
    n_busy: Arc<AtomicUsize>,
}

impl Outbox {
    /// Waits for room; false when the screen has gone.
    pub(super) async fn send(&self, msg: Msg) -> bool {
        self.to.send(msg).await.is_ok()
    }

    /// Sends if there is room now: for progress, of which the next is as good.
    pub(super) fn offer(&self, msg: Msg) {
        let _ = self.to.try_send(msg);
    }
}

/// The tasks and the engine.
pub struct Executor {
    engine: Arc<dyn Engine>,
    lines: Option<Arc<dyn LineRunner>>,
    /// Where images can be copied to.
    hosts: Option<Arc<dyn Hosts>>,
    out: Outbox,
    watched: watch::Sender<Watched>,
    reconnect: Arc<tokio::sync::Notify>,
    forever: Vec<AbortHandle>,
    jobs: HashMap<u64, AbortHandle>,
    log_pump: Option<AbortHandle>,
    sessions: HashMap<u64, sessions::Session>,
    running_lines: HashMap<u64, AbortHandle>,
}

/// Counts one task as busy for as long as it lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counter))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Executor {
    /// Starts the subscriptions (events, stats). Must run inside a tokio runtime.
    pub fn start(engine: Arc<dyn Engine>, lines: Option<Arc<dyn LineRunner>>) -> (Self, mpsc::Receiver<Msg>) {
        let (to, from) = mpsc::channel(CHANNEL);
        let out = Outbox { to, n_busy: Arc::default() };
        let (watched, watching) = watch::channel(Watched::default());
        let reconnect = Arc::new(tokio::sync::Notify::new());
        let mut executor = Self {
            engine,
            lines,
            hosts: None,
            out,
            watched,
            reconnect,
            forever: Vec::new(),
            jobs: HashMap::new(),
            log_pump: None,
            sessions: HashMap::new(),
            running_lines: HashMap::new(),
        };
        let events =
            subscriptions::follow_events(executor.engine(), executor.out.clone(), Arc::clone(&executor.reconnect));
        let stats = subscriptions::sample_stats(executor.engine(), executor.out.clone(), watching);
        executor.forever.push(executor.guard(tokio::spawn(events)));
        executor.forever.push(executor.guard(tokio::spawn(stats)));
        (executor, from)
    }

    /// Lets work reach other engines.
    pub fn know_hosts(&mut self, hosts: Option<Arc<dyn Hosts>>) {
        self.hosts = hosts;
    }

    /// Whether nothing that was asked for is still under way.
    pub fn is_quiet(&self) -> bool {
        self.out.n_busy.load(Ordering::SeqCst) == 0
    }

    /// The verbs of the command line that continue `line`.
    pub fn complete_line(&self, line: &str) -> Vec<crate::config::Completion> {
        self.lines.as_ref().map(|lines| lines.complete(line)).unwrap_or_default()
    }

    /// Starts what the command asks for; never waits. Commands for the terminal itself are the loop's and ignored here.
    pub fn run(&mut self, command: Command) {
        match command {
            Command::List(pane) => self.ask(questions::list(self.engine(), pane)),
            Command::Container(id) => self.ask(questions::container(self.engine(), id)),
            Command::Info => self.ask(questions::info(self.engine())),
            Command::HostLoad => self.ask(questions::host_load(self.engine())),
            Command::Load(subject) => self.ask(questions::load(self.engine(), subject)),
            Command::Top(subject) => self.ask(questions::top(self.engine(), subject)),
            Command::LayerFiles(subject) => self.ask(questions::layer_files(self.engine(), subject)),
            Command::LastLines(subject) => self.ask(questions::last_lines(self.engine(), subject)),
            Command::Sizes(ids) => self.ask(questions::sizes(self.engine(), ids)),
            Command::SearchRegistry(term) => self.ask(registry::search(self.engine(), term)),
            Command::CompletePath(typed) => self.ask(questions::paths(typed)),
            Command::SaveText { path, text } => self.ask(questions::save_text(path, text)),
            Command::Watch(watched) => drop(self.watched.send_replace(watched)),
            Command::Job { id, work } => {
                let reach = work::Reach { engine: self.engine(), hosts: self.hosts.clone() };
                let task = work::run(reach, self.out.clone(), id, *work);
                let handle = self.spawn_counted(task);
                self.jobs.retain(|_, job| !job.is_finished());
                self.jobs.insert(id, handle);
            }
            Command::CancelJob(id) => {
                if let Some(job) = self.jobs.remove(&id) {
                    job.abort();
                }
            }
            Command::Logs(command) => self.run_logs(command),
            Command::StopLogs => self.stop_logs(),
            Command::OpenSession { session, open } => self.open_session(session, *open),
            Command::SessionInput { session, bytes } => self.session_input(session, bytes),
            Command::SessionResize { session, size } => self.session_resize(session, size),
            Command::CloseSession(session) => drop(self.sessions.remove(&session)),
            Command::RunLine { pager, line } => self.run_line(pager, &line),
            Command::StopLine(pager) => {
                if let Some(line) = self.running_lines.remove(&pager) {
                    line.abort();
                }
            }
            Command::Reconnect => self.reconnect.notify_one(),
            Command::AskHosts | Command::SwitchHost(_) => {}
            Command::Clipboard(_) | Command::Suspend | Command::Redraw | Command::SetMouse(_) | Command::Quit => {}
        }
    }

    /// Reads which hosts there are, off this thread.
    pub fn ask_hosts(&self, hosts: Arc<dyn Hosts>) {
        self.ask(async move {
            let known = tokio::task::spawn_blocking(move || hosts.known()).await;
            Msg::Hosts(known.unwrap_or_default())
        });
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Runs a question to its answer.
    fn ask(&self, question: impl Future<Output = Msg> + Send + 'static) {
        let out = self.out.clone();
        drop(self.spawn_counted(async move {
            out.send(question.await).await;
        }));
    }

    fn spawn_counted(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let busy = Busy::new(&self.out.n_busy);
        self.guard(tokio::spawn(async move {
            let _busy = busy;
            task.await;
        }))
    }

    /// Tells the screen when a task panics instead of ending.
    fn guard(&self, task: JoinHandle<()>) -> AbortHandle {
        let handle = task.abort_handle();
        let out = self.out.clone();
        tokio::spawn(async move {
            if let Err(e) = task.await
                && e.is_panic()
            {
                let panic = e.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                out.send(Msg::Panicked(text.unwrap_or_else(|| "a background task panicked".to_owned()))).await;
            }
        });
        handle
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let tasks = self.forever.drain(..).chain(self.jobs.drain().map(|(_, job)| job));
        tasks
            .chain(self.log_pump.take())
            .chain(self.running_lines.drain().map(|(_, line)| line))
            .for_each(|task| task.abort());
    }
}
