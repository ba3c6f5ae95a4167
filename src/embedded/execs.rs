//! Commands inside running containers: the `Execs` trait. A command is prepared in this process and run by the container's shim, which knows
//! how it goes from then on.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use crate::engine::container::Status;
use crate::engine::{Attached, Class, EngineError, ExecDetail, ExecSpec, Execs, Result, TtySize};
use crate::oci::runtime::Process;
use crate::shim::Request;
use crate::shim::protocol::{Answer, Exec, ExecRecord, WhenSlow};
use crate::stdx::ids::Id;

use super::attach::{Stdin, session};
use super::containers::unexpected;
use super::lifecycle::not_running;
use super::view::View;
use super::wire::{Link, PROMPT};
use super::{Core, Embedded, error, events, rootfs, spec};

/// Prepared commands kept at most; the oldest that never ran go first.
const MAX_PREPARED: usize = 1000;

/// A command that was created here.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    container: Id,
    spec: ExecSpec,
    is_started: bool,
    order: u64,
}

#[async_trait]
impl Execs for Embedded {
    async fn create(&self, ctr: &str, spec: &ExecSpec) -> Result<String> {
        let (ctr, spec) = (ctr.to_owned(), spec.clone());
        self.blocking(move |core| core.create_exec(&ctr, spec)).await
    }

    async fn start(&self, exec_id: &str, size: Option<TtySize>) -> Result<Attached> {
        let (link, exec) = self.core.start_exec(exec_id, size, Attachment::Session).await?;
        let stdin = if exec.stdin { Stdin::Open } else { Stdin::None };
        Ok(session(link, exec.tty, stdin))
    }

    async fn start_detached(&self, exec_id: &str) -> Result<()> {
        self.core.start_exec(exec_id, None, Attachment::None).await.map(drop)
    }

    async fn inspect(&self, exec_id: &str) -> Result<ExecDetail> {
        let exec_id = exec_id.to_owned();
        self.blocking(move |core| core.inspect_exec(&exec_id)).await
    }

    async fn resize(&self, exec_id: &str, size: TtySize) -> Result<()> {
        let exec_id = exec_id.to_owned();
        self.blocking(move |core| {
            let (view, _) = core.exec_container(&exec_id)?;
            let request = Request::Resize { exec: Some(exec_id), rows: size.rows, cols: size.cols };
            core.ask(&view, request).map(drop)
        })
        .await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    Session,
    None,
}

impl Core {
    fn create_exec(&self, ctr: &str, spec: ExecSpec) -> Result<String> {
        if spec.cmd.first().is_none_or(String::is_empty) {
            return Err(EngineError::new(Class::Invalid, ctr, "No exec command specified"));
        }
        if let Some(bad) = spec.env.iter().find(|entry| entry.is_empty() || entry.starts_with('=')) {
            return Err(EngineError::new(Class::Invalid, bad, format!("invalid environment variable: {bad}")));
        }
        let view = self.look(ctr)?;
        check_can_exec(&view)?;
        let id = Id::random().to_string();
        let mut prepared = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        let order = prepared.values().map(|exec| exec.order + 1).max().unwrap_or(0);
        if prepared.len() >= MAX_PREPARED
            && let Some(oldest) = prepared.iter().min_by_key(|(_, exec)| exec.order).map(|(id, _)| id.clone())
        {
            prepared.remove(&oldest);
        }
        let command = spec.cmd.join(" ");
        prepared.insert(id.clone(), Prepared { container: view.id.clone(), spec, is_started: false, order });
        drop(prepared);
        let action = format!("exec_create: {command}");
        events::emit_container(&self.store.events(), &view.record, &action, &[("execID", id.clone())]);
        Ok(id)
    }

    async fn start_exec(
        self: &Arc<Self>,
        exec_id: &str,
        size: Option<TtySize>,
        attachment: Attachment,
    ) -> Result<(Link, Exec)> {
        let (core, id) = (Arc::clone(self), exec_id.to_owned());
        let claimed = tokio::task::spawn_blocking(move || core.claim_exec(&id, size, attachment)).await;
        let (mut link, exec) = claimed.map_err(|failed| error::join(&failed))??;
        match link.call(Request::Exec(Box::new(exec.clone())), PROMPT).await {
            Ok(Answer::ExecStarted { .. }) => Ok((link, exec)),
            Ok(other) => Err(unexpected(&other)),
            Err(mut failed) => {
                if matches!(failed.exit_code, Some(126 | 127)) {
                    failed.message = format!("OCI runtime exec failed: {}", failed.message);
                }
                Err(failed)
            }
        }
    }

    /// Marks the command as started, so that nobody starts it twice, and finds its container.
    fn claim_exec(&self, exec_id: &str, size: Option<TtySize>, attachment: Attachment) -> Result<(Link, Exec)> {
        let (view, prepared) = self.exec_container(exec_id)?;
        let Some(prepared) = prepared.filter(|prepared| !prepared.is_started) else {
            let message = format!("exec command {exec_id} has already run");
            return Err(EngineError::new(Class::Conflict, exec_id, message));
        };
        check_can_exec(&view)?;
        let link = Link::connect(&self.run_dir(&view.id))?.ok_or_else(|| not_running(&view.record))?;
        if let Some(own) = self.execs.lock().unwrap_or_else(PoisonError::into_inner).get_mut(exec_id) {
            own.is_started = true;
        }
        let asked = &prepared.spec;
        let is_session = attachment == Attachment::Session;
        let exec = Exec {
            id: exec_id.to_owned(),
            process: self.exec_process(&view, asked)?,
            tty: asked.tty,
            stdin: is_session && asked.attach_stdin,
            stdout: is_session && asked.attach_stdout,
            stderr: is_session && asked.attach_stderr,
            detach: !is_session,
            size: size.map(|size| (size.rows, size.cols)),
            detach_keys: asked.detach_keys.clone().or_else(|| self.settings.detach_keys.clone()),
            when_slow: WhenSlow::Wait,
            privileged: asked.privileged,
        };
        Ok((link, exec))
    }

    /// The container of a command, and what this process knows of it. One that another process made is found at its shim.
    fn exec_container(&self, exec_id: &str) -> Result<(View, Option<Prepared>)> {
        let missing = || EngineError::no_such_exec(exec_id);
        let own = self.execs.lock().unwrap_or_else(PoisonError::into_inner).get(exec_id).cloned();
        if let Some(prepared) = own {
            let view = self.view(&prepared.container)?.ok_or_else(missing)?;
            return Ok((view, Some(prepared)));
        }
        let is_there = |view: &View| view.run.exec_ids.iter().any(|id| id == exec_id);
        let view = self.views()?.into_iter().find(is_there).ok_or_else(missing)?;
        Ok((view, None))
    }

    fn exec_process(&self, view: &View, asked: &ExecSpec) -> Result<Process> {
        let text = asked.user.as_deref().or(view.record.spec.user.as_deref()).unwrap_or_default();
        let user = rootfs::resolve_running_user(view, text)?;
        spec::exec_process(&view.record, asked, &user)
    }

    fn inspect_exec(&self, exec_id: &str) -> Result<ExecDetail> {
        let (view, prepared) = self.exec_container(exec_id)?;
        let mut detail = ExecDetail {
            id: exec_id.to_owned(),
            container_id: view.record.id.clone(),
            spec: prepared.map(|prepared| prepared.spec).unwrap_or_default(),
            ..ExecDetail::default()
        };
        if let Some(record) = self.ask_exec(&view, exec_id)? {
            detail.running = record.running;
            detail.exit = record.exit;
            detail.pid = record.pid;
        }
        Ok(detail)
    }

    fn ask_exec(&self, view: &View, exec_id: &str) -> Result<Option<ExecRecord>> {
        let Some(mut client) = self.connect_shim(&view.id)? else { return Ok(None) };
        match client.call(Request::ExecInspect { id: Some(exec_id.to_owned()) }, PROMPT).map_err(EngineError::from) {
            Ok(Answer::Execs { execs }) => Ok(execs.into_iter().find(|exec| exec.id == exec_id)),
            Ok(other) => Err(unexpected(&other)),
            Err(error) if matches!(error.class, Class::NotFound | Class::Unavailable) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn check_can_exec(view: &View) -> Result<()> {
    match view.status() {
        Status::Running => Ok(()),
        Status::Paused => {
            let message = format!("container {} is paused, unpause the container before exec", view.record.id);
            Err(EngineError::new(Class::Conflict, &view.record.name, message))
        }
        Status::Restarting => {
            let message = format!("container {} is restarting, wait until the container is running", view.record.id);
            Err(EngineError::new(Class::Conflict, &view.record.name, message))
        }
        _ => Err(not_running(&view.record)),
    }
}
