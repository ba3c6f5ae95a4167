//! Embedded terminals: exec and attach. Part of the executor; one task an open session, input over a bounded channel.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::engine::{
    AttachOptions, Attached, Class, Engine, EngineError, ExecSpec, Exit, Output, TtySize, WaitCondition,
};

use super::super::msg::{Answer, Msg, OpenSession, SessionEnd, SessionKind};
use super::{Executor, Outbox};

/// Key presses and pastes on their way to the container; what does not fit is dropped, as a real tty's queue does.
const INPUT: usize = 256;

/// Orders for a session's task.
enum Order {
    Bytes(Bytes),
    Resize(TtySize),
}

/// An open session; dropping it detaches.
pub(super) struct Session {
    orders: mpsc::Sender<Order>,
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Executor {
    pub(super) fn open_session(&mut self, session: u64, open: OpenSession) {
        let (orders, from) = mpsc::channel(INPUT);
        let task = run(self.engine(), self.out.clone(), session, open, from);
        let task = self.guard(tokio::spawn(task));
        self.sessions.insert(session, Session { orders, task });
    }

    pub(super) fn session_input(&self, session: u64, bytes: Bytes) {
        if let Some(session) = self.sessions.get(&session) {
            let _ = session.orders.try_send(Order::Bytes(bytes));
        }
    }

    pub(super) fn session_resize(&self, session: u64, size: TtySize) {
        if let Some(session) = self.sessions.get(&session) {
            let _ = session.orders.try_send(Order::Resize(size));
        }
    }
}

/// What is attached to, for resizing and for the exit.
enum Process {
    Exec(String),
    Container(String),
}

async fn run(engine: Arc<dyn Engine>, out: Outbox, session: u64, open: OpenSession, mut orders: mpsc::Receiver<Order>) {
    let (process, attached) = match connect(&*engine, &open).await {
        Ok(connected) => connected,
        Err(e) => {
            out.send(Msg::SessionEnded { session, end: SessionEnd::Failed(e) }).await;
            return;
        }
    };
    if !out.send(Msg::SessionOpened { session, tty: attached.tty }).await {
        return;
    }
    let Attached { mut output, mut input, .. } = attached;
    let mut is_detached = false;
    let mut failure = None;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Bytes(bytes)) => {
                    if let Err(e) = input.write(bytes).await {
                        failure = Some(e);
                        break;
                    }
                }
                Some(Order::Resize(size)) => resize(&*engine, &process, size).await,
                None => return,
            },
            chunk = output.next() => match chunk {
                Some(Ok(Output::Bytes(_, bytes))) => {
                    if !out.send(Msg::SessionOutput { session, bytes }).await {
                        return;
                    }
                }
                Some(Ok(Output::Detached)) => is_detached = true,
                Some(Err(e)) => {
                    failure = Some(e);
                    break;
                }
                None => break,
            },
        }
    }
    let end = match failure {
        _ if is_detached => SessionEnd::Detached,
        Some(e) if e.class != Class::Conflict => SessionEnd::Failed(e),
        _ => ended(&*engine, &process).await,
    };
    out.send(Msg::SessionEnded { session, end }).await;
}

async fn resize(engine: &dyn Engine, process: &Process, size: TtySize) {
    // A process that has just ended cannot be resized; its end is told by the stream.
    let _ = match process {
        Process::Exec(id) => engine.execs().resize(id, size).await,
        Process::Container(id) => engine.containers().resize(id, size).await,
    };
}

async fn ended(engine: &dyn Engine, process: &Process) -> SessionEnd {
    let exit: Answer<Option<Exit>> = match process {
        Process::Exec(id) => engine.execs().inspect(id).await.map(|detail| detail.exit),
        Process::Container(id) => engine.containers().wait(id, WaitCondition::NotRunning).await.map(Some),
    };
    match exit {
        Ok(Some(exit)) => SessionEnd::Exited(exit),
        Ok(None) => SessionEnd::Detached,
        Err(e) => SessionEnd::Failed(e),
    }
}

async fn connect(engine: &dyn Engine, open: &OpenSession) -> Answer<(Process, Attached)> {
    match &open.how {
        SessionKind::Shell => shell(engine, open).await,
        SessionKind::Exec(spec) => exec(engine, open, spec).await,
        SessionKind::Attach | SessionKind::AttachAndStart => {
            let replay_logs = open.how == SessionKind::Attach;
            let options = AttachOptions {
                stdin: true,
                stdout: true,
                stderr: true,
                replay_logs,
                detach_keys: Some(String::new()),
            };
            let attached = engine.containers().attach(&open.container, &options).await?;
            if open.how == SessionKind::AttachAndStart {
                engine.containers().start(&open.container).await?;
            }
            if attached.tty {
                let _ = engine.containers().resize(&open.container, open.size).await;
            }
            Ok((Process::Container(open.container.clone()), attached))
        }
    }
}

/// The shells worth trying, best first.
const SHELLS: [&str; 4] = ["/bin/bash", "/bin/ash", "/bin/sh", "/busybox/sh"];

/// One exec that becomes the best shell there is would need a shell to choose it; so they are tried, and a missing one costs a millisecond.
async fn shell(engine: &dyn Engine, open: &OpenSession) -> Answer<(Process, Attached)> {
    let mut last = None;
    // Daemons tell only after the fact that a program was not there, as a command that ended: so the files are looked at first.
    let looks = SHELLS.map(|shell| engine.containers().stat_path(&open.container, shell));
    let there = join_all(looks).await;
    let found: Vec<&str> =
        SHELLS.into_iter().zip(&there).filter(|(_, it)| it.is_ok()).map(|(shell, _)| shell).collect();
    // An engine that cannot look is asked for all of them.
    let tried = if there.iter().any(Result::is_ok) { found } else { SHELLS.to_vec() };
    for shell in tried {
        let spec = ExecSpec {
            cmd: vec![shell.to_owned()],
            env: vec!["TERM=xterm-256color".to_owned()],
            ..ExecSpec::default()
        };
        match exec(engine, open, &spec).await {
            Ok(connected) => return Ok(connected),
            Err(e) if matches!(e.exit_code, Some(126 | 127)) => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    let what = EngineError::new(Class::NotFound, &open.container, "there is no shell in this container");
    let what = what.with_hint("E runs any other command inside it");
    Err(match last {
        Some(e) => EngineError { causes: vec![e.message], ..what },
        None => what,
    })
}

async fn exec(engine: &dyn Engine, open: &OpenSession, spec: &ExecSpec) -> Answer<(Process, Attached)> {
    let spec = ExecSpec {
        tty: true,
        attach_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        // Detaching is the screen's: an exec left alone would go on unseen.
        detach_keys: Some(String::new()),
        ..spec.clone()
    };
    let id = engine.execs().create(&open.container, &spec).await?;
    let attached = engine.execs().start(&id, Some(open.size)).await?;
    Ok((Process::Exec(id), attached))
}
