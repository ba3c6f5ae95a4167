//! Containers and commands inside them: each call goes to the one member that has the container. Part of the fleet.

use std::sync::PoisonError;

use async_trait::async_trait;

use super::{Fleet, Member, choose_a_host};
use crate::engine::{
    AttachOptions, Attached, BoxStream, Change, Class, CommitContainer, ContainerDetail, ContainerSpec,
    ContainerSummary, Containers, CopiedPath, CopyInto, CreatedContainer, EngineError, ExecDetail, ExecSpec, Execs,
    Exit, Filters, ListContainers, LogStream, LogsQuery, ProcessTable, PruneReport, Reader, RemoveContainer, Result,
    StatsQuery, StatsSample, StopOptions, TtySize, UpdateContainer, WaitCondition, Writer,
};

impl Fleet {
    /// Who has this container, and what it is called there.
    ///
    /// # Errors
    /// `NotFound` when nobody has it, `Invalid` when several do; a member's own error when none that answers has it and one did not answer.
    async fn owner<'a>(&'a self, ctr: &'a str) -> Result<(&'a Member, String)> {
        if let Some(member) = self.remembered(ctr) {
            return Ok((member, ctr.to_owned()));
        }
        if let Some((member, name)) = self.addressed(ctr) {
            return Ok((member, name.to_owned()));
        }
        let (mut found, mut away): (Vec<(&Member, String)>, _) = (Vec::new(), None);
        for (member, answer) in self.ask_all(|member| member.engine.containers().inspect(ctr)).await {
            match answer {
                Ok(detail) => found.push((member, detail.id)),
                Err(error) if matches!(error.class, Class::NotFound) => {}
                Err(error) => away = Some(error),
            }
        }
        if found.len() > 1 {
            let hosts: Vec<&str> = found.iter().map(|(member, _)| member.name.as_str()).collect();
            let text = format!("{ctr} is on several hosts: {}", hosts.join(", "));
            return Err(EngineError::new(Class::Invalid, ctr, text).with_hint(format!("say {}/{ctr}", hosts[0])));
        }
        found.pop().ok_or_else(|| away.unwrap_or_else(|| EngineError::no_such_container(ctr)))
    }

    /// The same for what would change something there.
    ///
    /// # Errors
    /// As [`Fleet::owner`]; `Forbidden` on a read-only host.
    async fn changed<'a>(&'a self, ctr: &'a str) -> Result<(&'a Member, String)> {
        let (member, name) = self.owner(ctr).await?;
        member.may_change(ctr)?;
        Ok((member, name))
    }

    /// Who started this command, and its id there.
    fn exec_owner<'a>(&self, exec_id: &'a str) -> Result<(&Member, &'a str)> {
        self.addressed(exec_id).ok_or_else(|| EngineError::no_such_exec(exec_id))
    }
}

/// Passes a call on to the container's owner.
macro_rules! at_owner {
    ($self:ident, $ctr:ident, $method:ident $(, $arg:expr)*) => {{
        let (member, ctr) = $self.owner($ctr).await?;
        member.engine.containers().$method(&ctr $(, $arg)*).await
    }};
}

/// The same for a call that changes something there.
macro_rules! change_at_owner {
    ($self:ident, $ctr:ident, $method:ident $(, $arg:expr)*) => {{
        let (member, ctr) = $self.changed($ctr).await?;
        member.engine.containers().$method(&ctr $(, $arg)*).await
    }};
}

#[async_trait]
impl Containers for Fleet {
    async fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>> {
        let mut rows = Vec::new();
        let mut first = None;
        let mut n_here = 0;
        let answers = self.ask_all(|member| member.engine.containers().list(query)).await;
        for (owner, (member, answer)) in answers.into_iter().enumerate() {
            match answer {
                Ok(mut found) => {
                    n_here += 1;
                    found.iter_mut().for_each(|row| row.host.clone_from(&member.name));
                    // Only a list of everything is worth keeping for the time when the host is away.
                    if query.all && query.filters.is_empty() && query.limit.is_none() {
                        self.remember(owner, &found);
                        member.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
                    }
                    rows.extend(found);
                }
                Err(error) if error.class == Class::Invalid => return Err(error),
                Err(error) => {
                    let last = member.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let wanted = query.filters.values("id");
                    let is_wanted = |row: &ContainerSummary| wanted.is_empty() || wanted.contains(&row.id);
                    rows.extend(last.into_iter().filter(is_wanted).map(|row| away(row, &member.name)));
                    first = first.or(Some(error));
                }
            }
        }
        if let (0, Some(error)) = (n_here, first) {
            return Err(error);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.created));
        rows.truncate(query.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX));
        Ok(rows)
    }

    async fn create(&self, _name: Option<&str>, _spec: &ContainerSpec) -> Result<CreatedContainer> {
        Err(choose_a_host("a new container"))
    }

    async fn inspect(&self, ctr: &str) -> Result<ContainerDetail> {
        at_owner!(self, ctr, inspect)
    }

    async fn start(&self, ctr: &str) -> Result<()> {
        change_at_owner!(self, ctr, start)
    }

    async fn stop(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        change_at_owner!(self, ctr, stop, options)
    }

    async fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        change_at_owner!(self, ctr, restart, options)
    }

    async fn kill(&self, ctr: &str, signal: &str) -> Result<()> {
        change_at_owner!(self, ctr, kill, signal)
    }

    async fn pause(&self, ctr: &str) -> Result<()> {
        change_at_owner!(self, ctr, pause)
    }

    async fn unpause(&self, ctr: &str) -> Result<()> {
        change_at_owner!(self, ctr, unpause)
    }

    async fn rename(&self, ctr: &str, new_name: &str) -> Result<()> {
        change_at_owner!(self, ctr, rename, new_name)
    }

    async fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()> {
        change_at_owner!(self, ctr, remove, options)
    }

    async fn wait(&self, ctr: &str, condition: WaitCondition) -> Result<Exit> {
        at_owner!(self, ctr, wait, condition)
    }

    async fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>> {
        change_at_owner!(self, ctr, update, update)
    }

    async fn attach(&self, ctr: &str, options: &AttachOptions) -> Result<Attached> {
        // Who only looks on changes nothing.
        match options.stdin {
            true => change_at_owner!(self, ctr, attach, options),
            false => at_owner!(self, ctr, attach, options),
        }
    }

    async fn resize(&self, ctr: &str, size: TtySize) -> Result<()> {
        at_owner!(self, ctr, resize, size)
    }

    async fn logs(&self, ctr: &str, query: &LogsQuery) -> Result<LogStream> {
        at_owner!(self, ctr, logs, query)
    }

    async fn stats(&self, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>> {
        at_owner!(self, ctr, stats, query)
    }

    async fn top(&self, ctr: &str, ps_args: &str) -> Result<ProcessTable> {
        at_owner!(self, ctr, top, ps_args)
    }

    async fn prune(&self, _filters: &Filters) -> Result<PruneReport> {
        Err(choose_a_host("prune"))
    }

    async fn changes(&self, ctr: &str) -> Result<Vec<Change>> {
        at_owner!(self, ctr, changes)
    }

    async fn export(&self, ctr: &str, to: Writer) -> Result<()> {
        at_owner!(self, ctr, export, to)
    }

    async fn commit(&self, ctr: &str, options: &CommitContainer) -> Result<String> {
        change_at_owner!(self, ctr, commit, options)
    }

    async fn stat_path(&self, ctr: &str, path: &str) -> Result<CopiedPath> {
        at_owner!(self, ctr, stat_path, path)
    }

    async fn copy_from(&self, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
        at_owner!(self, ctr, copy_from, path, to)
    }

    async fn copy_into(&self, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
        change_at_owner!(self, ctr, copy_into, options, tar)
    }
}

/// A row of a host that does not answer: as it was, and said so.
fn away(mut row: ContainerSummary, host: &str) -> ContainerSummary {
    row.host = format!("{host} (away)");
    row
}

#[async_trait]
impl Execs for Fleet {
    async fn create(&self, ctr: &str, spec: &ExecSpec) -> Result<String> {
        let (member, ctr) = self.changed(ctr).await?;
        let exec_id = member.engine.execs().create(&ctr, spec).await?;
        Ok(member.own(&exec_id))
    }

    async fn start(&self, exec_id: &str, size: Option<TtySize>) -> Result<Attached> {
        let (member, exec_id) = self.exec_owner(exec_id)?;
        member.engine.execs().start(exec_id, size).await
    }

    async fn start_detached(&self, exec_id: &str) -> Result<()> {
        let (member, exec_id) = self.exec_owner(exec_id)?;
        member.engine.execs().start_detached(exec_id).await
    }

    async fn inspect(&self, exec_id: &str) -> Result<ExecDetail> {
        let (member, exec_id) = self.exec_owner(exec_id)?;
        member.engine.execs().inspect(exec_id).await
    }

    async fn resize(&self, exec_id: &str, size: TtySize) -> Result<()> {
        let (member, exec_id) = self.exec_owner(exec_id)?;
        member.engine.execs().resize(exec_id, size).await
    }
}
