//! The `Containers` trait: each verb carried to where it happens.

use async_trait::async_trait;

use crate::engine::{
    AttachOptions, Attached, BoxStream, Change, Class, CommitContainer, ContainerDetail, ContainerSpec,
    ContainerSummary, Containers, CopiedPath, CopyInto, CreatedContainer, EngineError, Exit, Filters, ListContainers,
    LogStream, LogsQuery, ProcessTable, PruneReport, Reader, RemoveContainer, Result, StatsQuery, StatsSample,
    StopOptions, TtySize, UpdateContainer, WaitCondition, Writer,
};
use crate::shim::Request;
use crate::shim::protocol::{Answer, Attach, WhenSlow};
use std::sync::Arc;

use super::attach::{Stdin, session};
use super::lifecycle::Freeze;
use super::view::View;
use super::wire::{Link, PROMPT};
use super::{Core, Embedded, error, logs, stats, top};

#[async_trait]
impl Containers for Embedded {
    async fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>> {
        let query = query.clone();
        self.blocking(move |core| core.list(&query)).await
    }

    async fn create(&self, name: Option<&str>, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let (name, spec) = (name.map(str::to_owned), spec.clone());
        self.blocking(move |core| core.create(name.as_deref(), &spec)).await
    }

    async fn inspect(&self, ctr: &str) -> Result<ContainerDetail> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.inspect(&ctr)).await
    }

    async fn start(&self, ctr: &str) -> Result<()> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.start(&ctr)).await
    }

    async fn stop(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        self.core.stop(ctr, options).await
    }

    async fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        let (ctr, options) = (ctr.to_owned(), options.clone());
        self.blocking(move |core| core.restart(&ctr, &options)).await
    }

    async fn kill(&self, ctr: &str, signal: &str) -> Result<()> {
        let (ctr, signal) = (ctr.to_owned(), signal.to_owned());
        self.blocking(move |core| core.kill(&ctr, &signal)).await
    }

    async fn pause(&self, ctr: &str) -> Result<()> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.freeze(&ctr, Freeze::Pause)).await
    }

    async fn unpause(&self, ctr: &str) -> Result<()> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.freeze(&ctr, Freeze::Unpause)).await
    }

    async fn rename(&self, ctr: &str, new_name: &str) -> Result<()> {
        let (ctr, new_name) = (ctr.to_owned(), new_name.to_owned());
        self.blocking(move |core| core.rename(&ctr, &new_name)).await
    }

    async fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()> {
        let (ctr, options) = (ctr.to_owned(), *options);
        self.blocking(move |core| core.remove(&ctr, &options)).await
    }

    async fn wait(&self, ctr: &str, condition: WaitCondition) -> Result<Exit> {
        // Not on a blocking thread: the registration must stand when this future is first pending.
        let wait = self.core.register_wait(ctr, condition)?;
        wait.done().await
    }

    async fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>> {
        let (ctr, update) = (ctr.to_owned(), update.clone());
        self.blocking(move |core| core.update(&ctr, &update)).await
    }

    async fn attach(&self, ctr: &str, options: &AttachOptions) -> Result<Attached> {
        self.core.attach(ctr, options).await
    }

    async fn resize(&self, ctr: &str, size: TtySize) -> Result<()> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| {
            let view = core.look(&ctr)?;
            let request = Request::Resize { exec: None, rows: size.rows, cols: size.cols };
            core.ask(&view, request).map(drop)
        })
        .await
    }

    async fn logs(&self, ctr: &str, query: &LogsQuery) -> Result<LogStream> {
        let (ctr, query) = (ctr.to_owned(), query.clone());
        self.blocking(move |core| {
            let view = core.look(&ctr)?;
            logs::open(core, &view, &query)
        })
        .await
    }

    async fn stats(&self, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>> {
        let view = self.core.look_soon(ctr).await?;
        Ok(stats::stream(&self.core, &view, *query))
    }

    async fn samples(&self, ctrs: &[String]) -> Result<Vec<(String, StatsSample)>> {
        let ctrs = ctrs.to_vec();
        self.blocking(move |core| Ok(stats::samples(core, &ctrs))).await
    }

    async fn top(&self, ctr: &str, ps_args: &str) -> Result<ProcessTable> {
        let (ctr, ps_args) = (ctr.to_owned(), ps_args.to_owned());
        self.blocking(move |core| {
            let view = core.look(&ctr)?;
            core.check_running(&view)?;
            top::table(&stats::pids(&view.run.cgroups)?, &ps_args)
        })
        .await
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        let filters = filters.clone();
        self.blocking(move |core| core.prune(&filters)).await
    }

    async fn changes(&self, ctr: &str) -> Result<Vec<Change>> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.changes(&ctr)).await
    }

    async fn export(&self, ctr: &str, to: Writer) -> Result<()> {
        let ctr = ctr.to_owned();
        self.blocking(move |core| core.export(&ctr, to)).await
    }

    async fn commit(&self, ctr: &str, options: &CommitContainer) -> Result<String> {
        let (ctr, options) = (ctr.to_owned(), options.clone());
        self.blocking(move |core| core.commit(&ctr, &options)).await
    }

    async fn stat_path(&self, ctr: &str, path: &str) -> Result<CopiedPath> {
        let (ctr, path) = (ctr.to_owned(), path.to_owned());
        self.blocking(move |core| core.stat_path(&ctr, &path)).await
    }

    async fn copy_from(&self, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
        let (ctr, path) = (ctr.to_owned(), path.to_owned());
        self.blocking(move |core| core.copy_from(&ctr, &path, to)).await
    }

    async fn copy_into(&self, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
        let (ctr, options) = (ctr.to_owned(), options.clone());
        self.blocking(move |core| core.copy_into(&ctr, &options, tar)).await
    }
}

impl Core {
    /// [`Core::look`] for async callers.
    pub(crate) async fn look_soon(self: &Arc<Self>, ctr: &str) -> Result<View> {
        let (core, ctr) = (Arc::clone(self), ctr.to_owned());
        let looked = tokio::task::spawn_blocking(move || core.look(&ctr)).await;
        looked.map_err(|failed| error::join(&failed))?
    }

    /// Joins the container's stdio; a container that does not run gets a shim that waits for its start.
    async fn attach(self: &Arc<Self>, ctr: &str, options: &AttachOptions) -> Result<Attached> {
        let (core, ctr) = (Arc::clone(self), ctr.to_owned());
        let found = tokio::task::spawn_blocking(move || core.shim_to_attach(&ctr)).await;
        let (mut link, has_stdin) = found.map_err(|failed| error::join(&failed))??;
        let request = Attach {
            stdin: options.stdin && has_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            replay: options.replay_logs,
            detach_keys: options.detach_keys.clone().or_else(|| self.settings.detach_keys.clone()),
            when_slow: WhenSlow::Wait,
        };
        let stdin = if request.stdin { Stdin::Open } else { Stdin::None };
        match link.call(Request::Attach(request), PROMPT).await? {
            Answer::Attached { tty } => Ok(session(link, tty, stdin)),
            other => Err(unexpected(&other)),
        }
    }

    fn shim_to_attach(&self, ctr: &str) -> Result<(Link, bool)> {
        let view = self.look(ctr)?;
        if let Some(link) = self.link_to_running(&view)? {
            return Ok((link, view.record.spec.open_stdin));
        }
        // Another engine may be starting it: look again under the lock.
        let (_lock, view) = self.look_locked(ctr)?;
        let link = match self.link_to_running(&view)? {
            Some(link) => link,
            None => {
                let (stream, buf) = self.shim_for(&view)?.into_parts();
                Link::new(stream, buf)?
            }
        };
        Ok((link, view.record.spec.open_stdin))
    }

    fn link_to_running(&self, view: &View) -> Result<Option<Link>> {
        use crate::engine::container::Status;
        let conflict = |what: &str| {
            let message = format!("container {} is {what}", view.record.name);
            Err(EngineError::new(Class::Conflict, &view.record.name, message))
        };
        match view.status() {
            Status::Paused => conflict("paused, unpause the container before attach"),
            Status::Running | Status::Restarting => Link::connect(&self.run_dir(&view.id)),
            _ => Ok(None),
        }
    }

    /// Docker's conflict when something needs a running container.
    pub(crate) fn check_running(&self, view: &View) -> Result<()> {
        use crate::engine::container::Status;
        match view.status() {
            Status::Running | Status::Paused => Ok(()),
            Status::Restarting => {
                let message =
                    format!("container {} is restarting, wait until the container is running", view.record.id);
                Err(EngineError::new(Class::Conflict, &view.record.name, message))
            }
            _ => Err(super::lifecycle::not_running(&view.record)),
        }
    }
}

/// An answer of the wrong kind: a shim of a version that this program does not know.
pub(crate) fn unexpected(answer: &Answer) -> EngineError {
    EngineError::new(
        Class::Internal,
        "",
        format!("the container's supervisor gave an answer that was not asked for: {answer:?}"),
    )
}
