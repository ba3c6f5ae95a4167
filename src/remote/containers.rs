//! Containers: every verb is one request, but for those that stream (`logs`, `stats`, `hijack`), wait (`wait`) or carry archives (`archive`).

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::ask::{Ask, LONG};
use super::hijack::{self, Process, Session};
use super::{Remote, archive, logs, stats, wait};
use crate::api::compat::{Family, Feature};
use crate::api::read::Read;
use crate::api::routes::{Call, Query};
use crate::api::{create, error, from_wire};
use crate::engine::container::DEFAULT_STOP_TIMEOUT;
use crate::engine::{
    AttachOptions, Attached, BoxStream, Change, Class, CommitContainer, ContainerDetail, ContainerSpec,
    ContainerSummary, Containers, CopiedPath, CopyInto, CreatedContainer, EngineError, Exit, Filters, ListContainers,
    LogStream, LogsQuery, ProcessTable, PruneReport, Reader, RemoveContainer, Result, StatsQuery, StatsSample,
    StopOptions, TtySize, UpdateContainer, WaitCondition, Writer,
};

/// What a daemon adds to the time that a stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// Docker's wait before it kills; a container may have its own, which only the daemon knows.
const STOP_TIMEOUT: Duration = Duration::from_secs(600);

/// What was typed, as it may stand in a path: without its leading slash.
///
/// # Errors
/// What can be no container's name or id is none, without asking.
pub(super) fn named(ctr: &str) -> Result<&str> {
    let name = ctr.strip_prefix('/').unwrap_or(ctr);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if is_name { Ok(name) } else { Err(EngineError::no_such_container(ctr)) }
}

#[async_trait]
impl Containers for Remote {
    async fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>> {
        let words = Query::default().flag("all", query.all).flag("size", query.size).with_some("limit", query.limit);
        let patience = if query.size { LONG } else { Duration::from_secs(60) };
        let ask = Ask::new(Call::ContainerList).query(words.filters(&query.filters)).patient(patience);
        let doc = self.link.rows(ask).await?;
        let mut rows = from_wire::container::summaries(&doc, SystemTime::now());
        if self.link.peer().await?.family == Family::Podman {
            // Podman sorts by its own rule. Whole seconds are all that the list tells, so the order within one stays podman's.
            rows.sort_by_key(|row| std::cmp::Reverse(row.created));
        }
        Ok(rows)
    }

    async fn create(&self, name: Option<&str>, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let ask = Ask::about(Call::ContainerCreate, name.unwrap_or(""))
            .query(Query::default().with_some("name", name))
            .json(&create::to_wire(spec))
            .patient(LONG);
        let doc = self.link.json(ask).await.map_err(|refused| missing_image(refused, &spec.image))?;
        let id = doc.text("Id");
        if id.is_empty() {
            return Err(self.link.strange("a new container without an id"));
        }
        Ok(CreatedContainer { id, warnings: doc.texts("Warnings") })
    }

    async fn inspect(&self, ctr: &str) -> Result<ContainerDetail> {
        let ask = Ask::about(Call::ContainerInspect, named(ctr)?).query(Query::default());
        let (doc, raw) = self.link.raw_object(ask).await.map_err(|refused| missing(refused, ctr))?;
        if doc.text("Id").is_empty() {
            return Err(self.link.strange("a container without an id"));
        }
        Ok(from_wire::container::detail(&doc, raw))
    }

    async fn start(&self, ctr: &str) -> Result<()> {
        self.link.gate.pass().await;
        let started = self.verb(Call::ContainerStart, ctr, Query::default(), LONG).await;
        started.map_err(|mut refused| {
            refused.exit_code = error::start_exit_code(&refused.message);
            if refused.exit_code.is_some() {
                refused.class = Class::Invalid;
            }
            refused
        })
    }

    async fn stop(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        self.stopping(Call::ContainerStop, ctr, options).await
    }

    async fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        self.stopping(Call::ContainerRestart, ctr, options).await
    }

    async fn kill(&self, ctr: &str, signal: &str) -> Result<()> {
        self.link.gate.pass().await;
        self.verb(Call::ContainerKill, ctr, Query::default().with("signal", signal), LONG).await
    }

    async fn pause(&self, ctr: &str) -> Result<()> {
        self.verb(Call::ContainerPause, ctr, Query::default(), LONG).await
    }

    async fn unpause(&self, ctr: &str) -> Result<()> {
        self.verb(Call::ContainerUnpause, ctr, Query::default(), LONG).await
    }

    async fn rename(&self, ctr: &str, new_name: &str) -> Result<()> {
        self.verb(Call::ContainerRename, ctr, Query::default().with("name", new_name), LONG).await
    }

    async fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()> {
        self.link.gate.pass().await;
        let query = Query::default().flag("force", options.force).flag("v", options.volumes);
        self.verb(Call::ContainerRemove, ctr, query, LONG).await
    }

    async fn wait(&self, ctr: &str, condition: WaitCondition) -> Result<Exit> {
        wait::wait(&self.link, named(ctr)?, condition).await.map_err(|refused| missing(refused, ctr))
    }

    async fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>> {
        let ask = Ask::about(Call::ContainerUpdate, named(ctr)?).json(&create::update(update));
        Ok(self.link.json(ask).await.map_err(|refused| missing(refused, ctr))?.texts("Warnings"))
    }

    async fn attach(&self, ctr: &str, options: &AttachOptions) -> Result<Attached> {
        let detach_keys = hijack::detach_keys(options.detach_keys.as_deref())?;
        let before = self.inspect(ctr).await?;
        let query = Query::default()
            .with("stream", 1)
            .flag("logs", options.replay_logs)
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .flag("stderr", options.stderr)
            .with_some("detachKeys", options.detach_keys.as_deref());
        let ask = Ask::about(Call::ContainerAttach, named(ctr)?).query(query);
        let process = Process::Container(before.id.to_string(), before.state.finished_at);
        hijack::open(&self.link, ask, Session { tty: before.spec.tty, detach_keys, process }).await
    }

    async fn resize(&self, ctr: &str, size: TtySize) -> Result<()> {
        let query = Query::default().with("h", size.rows).with("w", size.cols);
        self.verb(Call::ContainerResize, ctr, query, LONG).await
    }

    async fn logs(&self, ctr: &str, query: &LogsQuery) -> Result<LogStream> {
        let tty = self.inspect(ctr).await?.spec.tty;
        logs::open(&self.link, named(ctr)?, query, tty).await
    }

    async fn stats(&self, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>> {
        stats::open(&self.link, named(ctr)?, query).await.map_err(|refused| missing(refused, ctr))
    }

    async fn top(&self, ctr: &str, ps_args: &str) -> Result<ProcessTable> {
        let words = Some(ps_args).filter(|words| !words.is_empty());
        let ask = Ask::about(Call::ContainerTop, named(ctr)?).query(Query::default().with_some("ps_args", words));
        let doc = self.link.object(ask).await.map_err(|refused| missing(refused, ctr))?;
        Ok(from_wire::container::processes(&doc))
    }

    async fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        self.link.need(Feature::Prune).await?;
        let ask = Ask::new(Call::ContainerPrune).query(Query::default().filters(filters)).patient(LONG);
        let doc = self.link.json(ask).await?;
        // Podman gives a list of what it did to each.
        match doc.as_array() {
            Some(rows) => Ok(PruneReport {
                removed: rows.iter().map(|row| row.text("Id")).collect(),
                reclaimed_bytes: rows.iter().map(|row| row.count("Size")).sum(),
            }),
            None => Ok(from_wire::things::pruned(&doc, "ContainersDeleted")),
        }
    }

    async fn changes(&self, ctr: &str) -> Result<Vec<Change>> {
        let ask = Ask::about(Call::ContainerChanges, named(ctr)?).patient(LONG);
        let doc = self.link.rows(ask).await.map_err(|refused| missing(refused, ctr))?;
        Ok(from_wire::container::changes(&doc))
    }

    async fn export(&self, ctr: &str, to: Writer) -> Result<()> {
        archive::export(&self.link, named(ctr)?, to).await.map_err(|refused| missing(refused, ctr))
    }

    async fn commit(&self, ctr: &str, options: &CommitContainer) -> Result<String> {
        let (repository, tag) = super::images::split(&options.reference);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut query = Query::default()
            .with("container", named(ctr)?)
            .with_some("repo", some(repository))
            .with_some("tag", some(tag))
            .with_some("author", some(&options.author))
            .with_some("comment", some(&options.comment))
            .with("pause", u8::from(options.pause));
        for change in &options.changes {
            query = query.with("changes", change);
        }
        let ask = Ask::about(Call::ContainerCommit, ctr).query(query).json(&serde_json::json!({})).patient(LONG);
        let id = self.link.json(ask).await.map_err(|refused| missing(refused, ctr))?.text("Id");
        if id.is_empty() {
            return Err(self.link.strange("a new image without an id"));
        }
        Ok(from_wire::image::id(&id))
    }

    async fn stat_path(&self, ctr: &str, path: &str) -> Result<CopiedPath> {
        archive::stat(&self.link, named(ctr)?, path).await
    }

    async fn copy_from(&self, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
        archive::copy_from(&self.link, named(ctr)?, path, to).await
    }

    async fn copy_into(&self, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
        archive::copy_into(&self.link, named(ctr)?, options, tar).await
    }
}

impl Remote {
    /// A request that only succeeds or fails.
    async fn verb(&self, call: Call, ctr: &str, query: Query, patience: Duration) -> Result<()> {
        let ask = Ask::about(call, named(ctr)?).query(query).patient(patience);
        self.link.done(ask).await.map_err(|refused| missing(refused, ctr))
    }

    async fn stopping(&self, call: Call, ctr: &str, options: &StopOptions) -> Result<()> {
        if options.signal.is_some() {
            self.link.need(Feature::StopSignal).await?;
        }
        let timeout = match options.timeout {
            None => self.podmans_grace(ctr).await?,
            given => given,
        };
        self.link.gate.pass().await;
        let query = Query::default()
            .with_some("t", timeout.map(create::seconds))
            .with_some("signal", options.signal.as_deref());
        let patience = timeout.unwrap_or(STOP_TIMEOUT).saturating_add(STOP_MARGIN);
        self.verb(call, ctr, query, patience).await
    }

    /// Podman 4.3 notes a timeout of 0 for what is made through this API, and kills it at once unless the time is said with each stop.
    async fn podmans_grace(&self, ctr: &str) -> Result<Option<Duration>> {
        if self.link.peer().await?.family != Family::Podman {
            return Ok(None);
        }
        let own = Containers::inspect(self, ctr).await?.spec.stop_timeout;
        Ok(own.filter(|timeout| !timeout.is_zero()).or(Some(DEFAULT_STOP_TIMEOUT)))
    }
}

/// Podman's sentence for what is not there is another; one is enough.
pub(super) fn missing(refused: EngineError, ctr: &str) -> EngineError {
    let says_so = refused.message.to_lowercase().contains("no such container")
        || refused.message.contains("no container with name or ID");
    if refused.class == Class::NotFound && says_so { EngineError::no_such_container(ctr) } else { refused }
}

fn missing_image(refused: EngineError, image: &str) -> EngineError {
    if refused.class == Class::NotFound && refused.message.to_lowercase().contains("no such image") {
        return EngineError::no_such_image(image);
    }
    refused
}
