//! The waist: traits and vocabulary that every face (`tui`, `cli`, `server`) speaks and every engine (`embedded`, `remote`) implements.
//!
//! Called by faces through `Arc<dyn Engine>`; implemented above this floor. It holds no executor, does no I/O and knows no wire names:
//! units stand in field names, ids are newtypes, absent is `Option`, and a stream always says why it ended.
//!
//! Law: `remote ∘ server ∘ E ≡ E`. Whatever only one engine can say does not belong here.
//!
//! Cancel safety: every future may be dropped at any await; dropping a stream ends the work behind it.

pub mod attach;
pub mod auth;
pub mod changes;
pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod fake;
pub mod filter;
pub mod hosts;
pub mod image;
pub mod logs;
pub mod network;
pub mod progress;
pub mod resume;
pub mod spec;
pub mod stats;
pub mod system;
pub mod volume;

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;

pub use attach::{AttachOptions, Attached, Input, Output, TtySize};
pub use auth::{Credentials, RegistryAuth};
pub use changes::{Change, ChangeKind, CommitContainer, CopiedPath, CopyInto, LayerFiles};
pub use container::{
    ContainerDetail, ContainerId, ContainerSummary, CreatedContainer, Exit, Health, HealthStatus, ListContainers,
    ProcessTable, RemoveContainer, StopOptions, UpdateContainer, WaitCondition,
};
pub use error::{Class, EngineError, Result};
pub use event::{Event, EventAction, EventKind, EventsQuery};
pub use exec::{ExecDetail, ExecSpec};
pub use filter::Filters;
pub use hosts::{Access, HostColor, HostEntry, Hosts};
pub use image::{
    FoundImage, HistoryEntry, ImageDetail, ImageSummary, ImportImage, LayersWanted, ListImages, LoadedImage,
    PruneReport, PullImage, PulledImage, PushImage, PushedImage, RemoveImage, RemovedImage, SearchImages,
};
pub use logs::{LogChunk, LogEntry, LogStream, LogsQuery, StreamKind};
pub use network::NetworkSummary;
pub use progress::Progress;
pub use resume::Resume;
pub use spec::{ContainerSpec, HealthCheck, MountSpec, PortBinding, Resources, RestartPolicy, Ulimit};
pub use stats::{Pressure, StatsQuery, StatsSample};
pub use system::{CheckProblem, CheckReport, CheckStore, DiskDetails, DiskUsage, EngineInfo, EngineVersion, HostLoad};
pub use volume::{CreateVolume, Volume};

/// A stream of results; it ends with `None` after the last item, or with one error that says why.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Anything that bytes can be read from; engines may ask whether it is a file, which they read in parallel.
pub trait Incoming: std::io::Read + Send + std::any::Any {}

impl<T: std::io::Read + Send + std::any::Any> Incoming for T {}

/// Bytes flowing into an engine: an archive to load, a root file system to import. Blocking reader, moved to a blocking thread by engines.
pub type Reader = Box<dyn Incoming>;

/// Bytes flowing out of an engine: an archive. Blocking writer, moved to a blocking thread by engines.
pub type Writer = Box<dyn std::io::Write + Send>;

/// Everything an engine offers, by resource. Cheap to clone behind `Arc`.
pub trait Engine: Send + Sync {
    fn containers(&self) -> &dyn Containers;
    fn execs(&self) -> &dyn Execs;
    fn images(&self) -> &dyn Images;
    fn volumes(&self) -> &dyn Volumes;
    fn networks(&self) -> &dyn Networks;
    fn system(&self) -> &dyn System;
}

/// Whoever offers the six resources is an engine.
impl<T: Containers + Execs + Images + Volumes + Networks + System> Engine for T {
    fn containers(&self) -> &dyn Containers {
        self
    }

    fn execs(&self) -> &dyn Execs {
        self
    }

    fn images(&self) -> &dyn Images {
        self
    }

    fn volumes(&self) -> &dyn Volumes {
        self
    }

    fn networks(&self) -> &dyn Networks {
        self
    }

    fn system(&self) -> &dyn System {
        self
    }
}

/// Containers. `ctr` is always what a user typed: a full id, a unique id prefix, or a name (with or without a leading slash).
///
/// # Errors
/// `NotFound` "No such container: X" for an unknown `ctr`; `Invalid` for an ambiguous prefix.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Containers matching the query, newest first.
    async fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>>;
    /// Makes a container; nothing runs yet. `Conflict` when the name is taken, `NotFound` when the image is not here.
    async fn create(&self, name: Option<&str>, spec: &ContainerSpec) -> Result<CreatedContainer>;
    async fn inspect(&self, ctr: &str) -> Result<ContainerDetail>;
    /// Runs a created or exited container; returns once its process has been executed. `NotModified` when already running.
    /// An exec failure has class `Invalid` with `exit_code` 126 or 127.
    async fn start(&self, ctr: &str) -> Result<()>;
    /// Sends the stop signal, waits for the timeout, kills; returns when the container has ended. `NotModified` when not running.
    async fn stop(&self, ctr: &str, options: &StopOptions) -> Result<()>;
    async fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()>;
    /// Sends a signal (`KILL`, `SIGKILL`, `9`). `Conflict` when not running.
    async fn kill(&self, ctr: &str, signal: &str) -> Result<()>;
    async fn pause(&self, ctr: &str) -> Result<()>;
    async fn unpause(&self, ctr: &str) -> Result<()>;
    async fn rename(&self, ctr: &str, new_name: &str) -> Result<()>;
    async fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()>;
    /// Resolves when the condition holds. Registered before it returns `Pending` the first time: no exit between call and poll is missed.
    async fn wait(&self, ctr: &str, condition: WaitCondition) -> Result<Exit>;
    /// Changes limits and restart policy of a container, running or not; returns warnings.
    async fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>>;
    /// Attaches to a container, which may be created but not started: then no byte of its output is lost.
    async fn attach(&self, ctr: &str, options: &AttachOptions) -> Result<Attached>;
    async fn resize(&self, ctr: &str, size: TtySize) -> Result<()>;
    /// Log lines in order of writing. With `follow` it goes on until the container ends; a restart continues it.
    async fn logs(&self, ctr: &str, query: &LogsQuery) -> Result<LogStream>;
    /// One sample at once, then (unless `once`) one a second until the container ends.
    async fn stats(&self, ctr: &str, query: &StatsQuery) -> Result<BoxStream<StatsSample>>;
    /// One sample of each of these, with the id asked for; those that do not run are left out. For engines that read many for the price of one.
    async fn samples(&self, _ctrs: &[String]) -> Result<Vec<(String, StatsSample)>> {
        Err(not_offered("samples of several containers at once"))
    }
    /// Processes as `ps` with these arguments would show them, read from outside (CVE-2022-1227).
    async fn top(&self, ctr: &str, ps_args: &str) -> Result<ProcessTable>;
    /// Removes all stopped containers that match.
    async fn prune(&self, filters: &Filters) -> Result<PruneReport>;
    /// What the container's file system has that its image has not, in order of path.
    async fn changes(&self, _ctr: &str) -> Result<Vec<Change>> {
        Err(not_offered("changes of a container's file system"))
    }
    /// Writes the container's whole file system as a tar. Blocking writer, moved to a blocking thread.
    async fn export(&self, _ctr: &str, _to: Writer) -> Result<()> {
        Err(not_offered("export"))
    }
    /// Makes an image from the container's present file system; returns its id.
    async fn commit(&self, _ctr: &str, _options: &CommitContainer) -> Result<String> {
        Err(not_offered("commit"))
    }
    /// Facts about one path in the container, running or not. `NotFound` as docker words it.
    async fn stat_path(&self, _ctr: &str, _path: &str) -> Result<CopiedPath> {
        Err(not_offered("cp"))
    }
    /// Writes a file or directory of the container as a tar whose first entry is its last name. Blocking writer, moved to a blocking thread.
    async fn copy_from(&self, _ctr: &str, _path: &str, _to: Writer) -> Result<CopiedPath> {
        Err(not_offered("cp"))
    }
    /// Unpacks a tar into an existing directory of the container; nothing resolves outside its root.
    async fn copy_into(&self, _ctr: &str, _options: &CopyInto, _tar: Reader) -> Result<()> {
        Err(not_offered("cp"))
    }
}

/// Commands run inside a running container.
#[async_trait]
pub trait Execs: Send + Sync {
    /// Prepares a command; returns the exec id (64 hex). `Conflict` when the container is not running or is paused.
    async fn create(&self, ctr: &str, spec: &ExecSpec) -> Result<String>;
    /// Starts it attached; the stream ends with the process.
    async fn start(&self, exec_id: &str, size: Option<TtySize>) -> Result<Attached>;
    /// Starts it with nothing attached.
    async fn start_detached(&self, exec_id: &str) -> Result<()>;
    async fn inspect(&self, exec_id: &str) -> Result<ExecDetail>;
    async fn resize(&self, exec_id: &str, size: TtySize) -> Result<()>;
}

/// Images. `image` is what a user typed: reference, id, id prefix or digest.
#[async_trait]
pub trait Images: Send + Sync {
    async fn list(&self, query: &ListImages) -> Result<Vec<ImageSummary>>;
    async fn inspect(&self, image: &str) -> Result<ImageDetail>;
    /// Newest entry first.
    async fn history(&self, image: &str) -> Result<Vec<HistoryEntry>>;
    async fn tag(&self, image: &str, new_reference: &str) -> Result<()>;
    /// Untags, and deletes what nothing else names. `Conflict` when a container uses it and `force` is off.
    async fn remove(&self, image: &str, options: &RemoveImage) -> Result<Vec<RemovedImage>>;
    async fn prune(&self, filters: &Filters) -> Result<PruneReport>;
    /// Reads docker-save archives and OCI layouts; nothing half-visible on failure.
    async fn load(&self, archive: Reader, progress: Progress) -> Result<Vec<LoadedImage>>;
    /// Makes an image from a root file system tar.
    async fn import(&self, archive: Reader, options: &ImportImage, progress: Progress) -> Result<LoadedImage>;
    /// Makes an image from executables of the engine's own host and the libraries they need.
    #[expect(clippy::wrong_self_convention, reason = "the verb is from-host")]
    async fn from_host(&self, reference: &str, paths: &[String], progress: Progress) -> Result<LoadedImage>;
    /// Writes the images as one archive that docker, podman and orlop load. Blocking writer, moved to a blocking thread.
    async fn save(&self, images: &[String], to: Writer) -> Result<()>;
    /// Fetches an image from its registry; it is there whole or not at all. A dropped future leaves a partial that the next pull goes on from.
    /// Progress parts are short layer digests (12 hex).
    async fn pull(&self, _request: &PullImage, _progress: Progress) -> Result<Vec<PulledImage>> {
        Err(not_offered("pull"))
    }
    /// Sends an image to its registry; what the registry has already is not sent again.
    async fn push(&self, _request: &PushImage, _progress: Progress) -> Result<Vec<PushedImage>> {
        Err(not_offered("push"))
    }
    /// Asks a registry for repositories by name.
    async fn search(&self, _query: &SearchImages) -> Result<Vec<FoundImage>> {
        Err(not_offered("search"))
    }
    /// What each layer added, changed and removed, bottom first.
    async fn layer_files(&self, _image: &str) -> Result<Vec<LayerFiles>> {
        Err(not_offered("the files of each layer"))
    }
    /// Which of an image's layers (diffIDs, bottom first) [`Images::load`] here must find in the archive; the rest may be left out of it.
    async fn layers_wanted(&self, _diff_ids: &[String]) -> Result<LayersWanted> {
        Ok(LayersWanted::All("this engine does not say which layers it has".to_owned()))
    }
}

#[async_trait]
pub trait Volumes: Send + Sync {
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>>;
    async fn create(&self, options: &CreateVolume) -> Result<Volume>;
    /// `NotFound` "get X: no such volume".
    async fn inspect(&self, name: &str) -> Result<Volume>;
    /// `Conflict` when a container uses it.
    async fn remove(&self, name: &str, force: Force) -> Result<()>;
    /// Removes unused anonymous volumes; named ones too with the filter `all=true`.
    async fn prune(&self, filters: &Filters) -> Result<PruneReport>;
}

#[async_trait]
pub trait Networks: Send + Sync {
    async fn list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>>;
}

#[async_trait]
pub trait System: Send + Sync {
    async fn info(&self) -> Result<EngineInfo>;
    async fn version(&self) -> Result<EngineVersion>;
    /// Answers at once while the engine is alive; the time taken is the link's latency.
    async fn ping(&self) -> Result<Duration>;
    /// Events as they happen, after those kept since `query.since`. The subscription stands when this returns: subscribe first, list second.
    async fn events(&self, query: &EventsQuery) -> Result<BoxStream<Event>>;
    async fn disk_usage(&self) -> Result<DiskUsage>;
    /// The same thing by thing; `None` where the lists have all sizes anyway.
    async fn disk_details(&self) -> Result<Option<DiskDetails>> {
        Ok(None)
    }
    /// How busy the host is. Cheap: asked every few seconds.
    async fn host_load(&self) -> Result<HostLoad> {
        Err(not_offered("the load of its host"))
    }
    /// Proves credentials to a registry; returns an identity token to keep instead of the password where the registry gives one.
    async fn login(&self, _auth: &RegistryAuth) -> Result<Option<String>> {
        Err(not_offered("login"))
    }
    /// Proves that everything the engine keeps is accounted for and whole; puts it right where asked. `Conflict` while content is added.
    async fn check(&self, _options: &CheckStore) -> Result<CheckReport> {
        Err(not_offered("a check of its store"))
    }
}

fn not_offered(what: &str) -> EngineError {
    EngineError::unsupported(format!("{what}: this engine does not offer it"))
}

/// Whether to go on where an engine would refuse to be safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    #[default]
    No,
    Yes,
}
