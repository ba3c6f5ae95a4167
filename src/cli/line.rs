//! The screen's `:` line: the same verbs and flags without a terminal, output as lines. Handed to `tui` by `main`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use clap::CommandFactory;
use futures_util::stream;
use tokio::sync::mpsc;

use super::args::{Cli, Verb};
use super::io::{Io, Stdin};
use super::verbs::{self, Ctx};
use super::{failure, usage, values};
use crate::config::{Completion, LineOutput, LineRunner, LineStream};
use crate::engine::{Engine, Hosts};

/// The command line behind the screen's.
#[derive(Clone, Default)]
pub struct CommandLine {
    /// Hosts that a line may name.
    pub hosts: Option<Arc<dyn Hosts>>,
}

impl LineRunner for CommandLine {
    fn complete(&self, line: &str) -> Vec<Completion> {
        complete(line)
    }

    fn run(&self, engine: Arc<dyn Engine>, line: &str) -> LineStream {
        // Lines wait here for the screen; a verb that writes faster than it is shown waits too.
        let (to, from) = mpsc::channel(1024);
        let task = tokio::spawn(run(engine, self.hosts.clone(), line.to_owned(), to));
        let owner = Owner(task);
        Box::pin(stream::unfold((from, owner), |(mut from, owner)| async move {
            from.recv().await.map(|output| (output, (from, owner)))
        }))
    }
}

/// Ends the verb when nobody reads any more.
struct Owner(tokio::task::JoinHandle<()>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(engine: Arc<dyn Engine>, hosts: Option<Arc<dyn Hosts>>, line: String, to: mpsc::Sender<LineOutput>) {
    let code = run_line(engine, hosts, &line, &to).await;
    // Nobody reads any more: nothing to tell.
    let _ = to.send(LineOutput::Ended(code)).await;
}

async fn run_line(
    engine: Arc<dyn Engine>,
    hosts: Option<Arc<dyn Hosts>>,
    line: &str,
    to: &mpsc::Sender<LineOutput>,
) -> u8 {
    let Some(mut words) = values::shell_words(line) else {
        let _ = to.send(LineOutput::Err("a quote is not closed".to_owned())).await;
        return 1;
    };
    words.insert(0, "orlop".to_owned());
    let verb = match usage::parse(&words) {
        Ok(cli) => cli.verb,
        Err(usage) => {
            for text in usage.text.lines() {
                let text = text.to_owned();
                let _ = to.send(if usage.code == 0 { LineOutput::Out(text) } else { LineOutput::Err(text) }).await;
            }
            return usage.code;
        }
    };
    let Some(verb) = verb else { return 0 };
    // Flushes hand over whole lines; the channel is drained by a task of its own so that plain `Write` can fill it.
    let lines = Arc::new(Mutex::new(Vec::new()));
    let io = Io {
        out: Box::new(LineWriter::new(lines.clone(), LineOutput::Out)),
        err: Box::new(LineWriter::new(lines.clone(), LineOutput::Err)),
        stdin: Stdin::Bytes(Vec::new()),
        is_out_tty: false,
        is_one_sink: false,
        now: SystemTime::now,
    };
    let mut ctx = Ctx { engine, hosts, io };
    let mut pump = tokio::time::interval(std::time::Duration::from_millis(20));
    let mut running = std::pin::pin!(with_answers(verb, &mut ctx));
    let code = loop {
        tokio::select! {
            code = &mut running => break code,
            _ = pump.tick() => hand_over(&lines, to).await,
        }
    };
    hand_over(&lines, to).await;
    code
}

async fn with_answers(verb: Verb, ctx: &mut Ctx) -> u8 {
    let code = match verbs::run(verb, ctx).await {
        Ok(code) => code,
        Err(error) => failure::report(&error, &mut ctx.io),
    };
    let _ = ctx.io.out.flush();
    let _ = ctx.io.err.flush();
    code
}

async fn hand_over(lines: &Mutex<Vec<LineOutput>>, to: &mpsc::Sender<LineOutput>) {
    let ready = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    for line in ready {
        if to.send(line).await.is_err() {
            return;
        }
    }
}

/// Cuts bytes into lines.
struct LineWriter {
    lines: Arc<Mutex<Vec<LineOutput>>>,
    wrap: fn(String) -> LineOutput,
    open: Vec<u8>,
}

impl LineWriter {
    fn new(lines: Arc<Mutex<Vec<LineOutput>>>, wrap: fn(String) -> LineOutput) -> Self {
        Self { lines, wrap, open: Vec::new() }
    }

    fn push(&self, line: &[u8]) {
        let line = (self.wrap)(String::from_utf8_lossy(line).into_owned());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.extend_from_slice(bytes);
        while let Some(end) = self.open.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.open.drain(..=end).collect();
            self.push(&line[..end]);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.open.is_empty() {
            let line = std::mem::take(&mut self.open);
            self.push(&line);
        }
    }
}

fn complete(line: &str) -> Vec<Completion> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let typed = if line.ends_with(char::is_whitespace) { "" } else { words.pop().unwrap_or("") };
    let mut command = Cli::command();
    for word in words.iter().filter(|word| !word.starts_with('-')) {
        match command.find_subcommand(word) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command.build();
    let help = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let mut found: Vec<Completion> = Vec::new();
    if typed.starts_with('-') {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(long) = arg.get_long() {
                found.push(Completion { word: format!("--{long}"), help: help(arg.get_help()) });
            }
        }
    } else {
        for sub in command.get_subcommands() {
            found.push(Completion { word: sub.get_name().to_owned(), help: help(sub.get_about()) });
        }
    }
    found.retain(|completion| completion.word.starts_with(typed));
    found
}
