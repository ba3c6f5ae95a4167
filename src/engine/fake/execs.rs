//! The fake's execs: `Execs` on [`World`], with the tiny shell behind them.

use async_trait::async_trait;
use bytes::Bytes;

use super::Fake;
use super::program::{Happening, Program};
use super::queue::queue;
use super::shell::{DetachKeys, Shell};
use super::world::{FakeExec, World};
use crate::engine::Execs;
use crate::engine::attach::{Attached, Input, Output, TtySize};
use crate::engine::container::Status;
use crate::engine::error::{Class, EngineError, Result};
use crate::engine::exec::{ExecDetail, ExecSpec};
use crate::engine::logs::StreamKind;

impl World {
    fn exec(&mut self, exec_id: &str) -> Result<&mut FakeExec> {
        self.execs.get_mut(exec_id).ok_or_else(|| EngineError::no_such_exec(exec_id))
    }
}

#[async_trait]
impl Execs for Fake {
    async fn create(&self, ctr: &str, spec: &ExecSpec) -> Result<String> {
        let mut world = self.enter(&format!("execs.create {ctr}")).await?;
        let (idx, now) = (world.find(ctr)?, self.now());
        if spec.cmd.is_empty() {
            return Err(EngineError::new(Class::Invalid, ctr, "No exec command specified"));
        }
        let known = &world.containers[idx];
        match known.state.status {
            Status::Running => {}
            Status::Paused => {
                let message = format!("Container {ctr} is paused, unpause the container before exec");
                return Err(EngineError::new(Class::Conflict, ctr, message));
            }
            _ => return Err(EngineError::new(Class::Conflict, ctr, format!("container {} is not running", known.id))),
        }
        let container_id = known.id.clone();
        let id = world.new_id("exec");
        let detail = ExecDetail { id: id.clone(), container_id, spec: spec.clone(), ..ExecDetail::default() };
        world.containers[idx].exec_ids.push(id.clone());
        world.execs.insert(id.clone(), FakeExec { detail, shell: None, output: None, agenda: Default::default() });
        world.emit_ctr(now, idx, &format!("exec_create: {}", spec.cmd.join(" ")), &[("execID", id.clone())]);
        self.tell(world);
        Ok(id)
    }

    async fn start(&self, exec_id: &str, _size: Option<TtySize>) -> Result<Attached> {
        let mut world = self.enter(&format!("execs.start {exec_id}")).await?;
        let (sender, receiver) = queue();
        let spec = begin(&mut world, exec_id, self)?;
        let detach = DetachKeys::parse(spec.detach_keys.as_deref())
            .map_err(|why| EngineError::new(Class::Invalid, exec_id, format!("invalid detach keys: {why}")))?;
        let exec = world.exec(exec_id)?;
        let greeting = exec.shell.as_ref().map(Shell::greeting).unwrap_or_default();
        if !greeting.is_empty() {
            sender.push(Ok(Output::Bytes(StreamKind::Stdout, greeting.into())));
        }
        exec.output = Some(sender);
        self.tell(world);
        let input = ExecInput { fake: self.clone(), id: exec_id.to_owned(), detach, open: spec.attach_stdin };
        Ok(Attached { tty: spec.tty, output: Box::pin(receiver), input: Box::new(input) })
    }

    async fn start_detached(&self, exec_id: &str) -> Result<()> {
        let mut world = self.enter(&format!("execs.start_detached {exec_id}")).await?;
        begin(&mut world, exec_id, self)?;
        self.tell(world);
        Ok(())
    }

    async fn inspect(&self, exec_id: &str) -> Result<ExecDetail> {
        let mut world = self.enter(&format!("execs.inspect {exec_id}")).await?;
        Ok(world.exec(exec_id)?.detail.clone())
    }

    async fn resize(&self, exec_id: &str, _size: TtySize) -> Result<()> {
        let mut world = self.enter(&format!("execs.resize {exec_id}")).await?;
        world.exec(exec_id).map(drop)
    }
}

/// Runs the command from now on.
fn begin(world: &mut World, exec_id: &str, fake: &Fake) -> Result<ExecSpec> {
    let now = fake.now();
    let exec = world.exec(exec_id)?;
    if exec.detail.running || exec.detail.exit.is_some() {
        let message = format!("Error: Exec command {exec_id} is already running");
        return Err(EngineError::new(Class::Conflict, exec_id, message));
    }
    let spec = exec.detail.spec.clone();
    match Program::of(&spec.cmd) {
        Program::Fails(code, why) => {
            exec.detail.exit = Some(crate::engine::container::Exit { code: i32::from(code), ..Default::default() });
            let message = format!("exec failed: unable to start container process: {why}");
            return Err(EngineError::new(Class::Invalid, exec_id, message).with_exit_code(code));
        }
        Program::Script(course) => {
            exec.agenda = course.into_iter().map(|(after, what)| (now + after, what)).collect();
        }
        Program::Shell | Program::Cat => exec.shell = Some(Shell::new(spec.tty)),
        Program::Serves(_) => {
            let text = format!("{}: started\n", spec.cmd.join(" ")).into_bytes();
            exec.agenda = [(now, Happening::Writes(StreamKind::Stdout, text)), (now, Happening::Ends(0))].into();
        }
    }
    exec.detail.running = true;
    exec.detail.pid = Some(31_000 + now.elapsed().map_or(0, |_| 1));
    Ok(spec)
}

struct ExecInput {
    fake: Fake,
    id: String,
    detach: DetachKeys,
    open: bool,
}

impl ExecInput {
    fn answer(&mut self, ask: impl FnOnce(&mut Shell) -> super::shell::Answer, is_detached: bool) -> Result<()> {
        let mut world = self.fake.lock();
        let exec = world.exec(&self.id)?;
        let answer = exec.shell.as_mut().filter(|_| self.open).map(ask).unwrap_or_default();
        if let Some(to) = &exec.output {
            if !answer.output.is_empty() {
                to.push(Ok(Output::Bytes(StreamKind::Stdout, answer.output.into())));
            }
            if is_detached {
                to.push(Ok(Output::Detached));
            }
        }
        if is_detached {
            exec.output = None;
        }
        if let Some(code) = answer.ended {
            world.end_exec(&self.id, code);
        }
        self.fake.tell(world);
        Ok(())
    }
}

#[async_trait]
impl Input for ExecInput {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let (through, is_detached) = self.detach.feed(&bytes);
        self.answer(|shell| shell.feed(&through), is_detached)
    }

    async fn close(&mut self) -> Result<()> {
        let closed = self.answer(Shell::close, false);
        self.open = false;
        closed
    }
}
