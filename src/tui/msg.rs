//! What comes in ([`Msg`]) and what goes out ([`Command`]): the only two ways between `update` and the world.

use std::path::PathBuf;

use bytes::Bytes;

use crate::engine::progress::Step;
use crate::engine::{
    ContainerSpec, ContainerSummary, CreateVolume, EngineError, EngineInfo, Event, Exit, HostEntry, HostLoad,
    ImageSummary, NetworkSummary, ProcessTable, StatsSample, TtySize, UpdateContainer, Volume,
};

use super::input::Input;
use super::logs::{LogBatch, LogsCommand, SourceIdx};
use super::model::detail::Loaded;
use super::model::{Pane, Subject};

/// An engine's answer.
pub type Answer<T> = Result<T, EngineError>;

/// News for `update`.
#[derive(Debug)]
pub enum Msg {
    Input(Input),
    Resize(u16, u16),
    /// Nothing happened but time.
    Tick,

    Containers(Answer<Vec<ContainerSummary>>),
    /// One container that changed; `None` when it has gone.
    Container(String, Answer<Option<ContainerSummary>>),
    Images(Answer<Vec<ImageSummary>>),
    Volumes(Answer<Vec<Volume>>),
    Networks(Answer<Vec<NetworkSummary>>),
    Info(Answer<EngineInfo>),
    HostLoad(Answer<HostLoad>),
    /// The event stream stands; lists asked for from now on miss nothing.
    Subscribed,
    Event(Event),
    /// How long the engine took to answer.
    Latency(std::time::Duration),
    /// The event stream ended or could not be opened; the executor tries again by itself.
    LinkLost {
        error: EngineError,
        attempt: u32,
    },
    Samples(Vec<(String, StatsSample)>),

    Loaded(Subject, Answer<Box<Loaded>>),
    Top(Subject, Answer<ProcessTable>),
    LastLines(Subject, Vec<String>),
    LayerFiles(Subject, Answer<super::model::layer_tree::LayerTree>),
    /// Bytes of the writable layers of some containers, by id.
    Sizes(Vec<(String, u64)>),

    JobProgress(u64, Step),
    JobDone(u64, Outcome),

    Logs(LogBatch),
    OlderLogs {
        generation: u64,
        source: SourceIdx,
        answer: Answer<Vec<crate::engine::LogChunk>>,
    },
    Saved(Result<PathBuf, String>),
    /// What a registry has for a term.
    FoundImages(String, Answer<Vec<crate::engine::FoundImage>>),

    SessionOpened {
        session: u64,
        tty: bool,
    },
    SessionOutput {
        session: u64,
        bytes: Bytes,
    },
    SessionEnded {
        session: u64,
        end: SessionEnd,
    },

    Line {
        pager: u64,
        output: crate::config::LineOutput,
    },
    /// Paths that continue what was typed.
    Paths {
        typed: String,
        found: Vec<String>,
    },
    /// The engines that can be switched to.
    Hosts(Vec<HostEntry>),
    HostRefused {
        name: String,
        error: EngineError,
    },
    /// A background task panicked; the message is for the error box.
    Panicked(String),
}

/// How a piece of work went, for each of its targets.
#[derive(Debug)]
pub struct Outcome {
    /// Past tense: `stopped`, `removed`.
    pub done: String,
    /// Names of what worked.
    pub good: Vec<String>,
    /// Names and reasons of what did not.
    pub bad: Vec<(String, EngineError)>,
    /// What else is worth saying: bytes reclaimed, warnings.
    pub notes: Vec<String>,
    /// Select this container when it shows up.
    pub select: Option<String>,
    /// Open a terminal on this container.
    pub attach: Option<Target>,
}

impl Outcome {
    pub fn new(done: impl Into<String>) -> Self {
        Self { done: done.into(), good: Vec::new(), bad: Vec::new(), notes: Vec::new(), select: None, attach: None }
    }
}

/// Why an embedded terminal's stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEnd {
    Exited(Exit),
    /// The connection ended and the process may go on: detached, or attach with nothing more to say.
    Detached,
    Failed(EngineError),
}

/// Something that is acted on: what the engine is given and what people are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub id: String,
    pub name: String,
}

/// Orders for the executor.
#[derive(Debug)]
pub enum Command {
    List(Pane),
    Container(String),
    Info,
    HostLoad,
    Load(Subject),
    Top(Subject),
    LastLines(Subject),
    LayerFiles(Subject),
    Sizes(Vec<String>),
    /// From now on sample these containers; an empty list stops it.
    Watch(super::subscriptions::Watched),
    Job {
        id: u64,
        work: Box<Work>,
    },
    CancelJob(u64),
    Logs(LogsCommand),
    /// Nothing is followed any more.
    StopLogs,
    OpenSession {
        session: u64,
        open: Box<OpenSession>,
    },
    SessionInput {
        session: u64,
        bytes: Bytes,
    },
    SessionResize {
        session: u64,
        size: TtySize,
    },
    CloseSession(u64),
    RunLine {
        pager: u64,
        line: String,
    },
    StopLine(u64),
    CompletePath(String),
    /// Asks a registry for repositories by a term.
    SearchRegistry(String),
    SaveText {
        path: PathBuf,
        text: String,
    },
    /// Bytes for the terminal itself (OSC 52).
    Clipboard(String),
    Suspend,
    Redraw,
    SetMouse(super::terminal::Mouse),
    /// Which hosts there are; answered by [`Msg::Hosts`].
    AskHosts,
    /// Leave this engine for the one of that name or address.
    SwitchHost(String),
    /// Try to reach the engine now instead of waiting for the next try.
    Reconnect,
    Quit,
}

/// A terminal to open.
#[derive(Debug)]
pub struct OpenSession {
    pub container: String,
    pub how: SessionKind,
    pub size: TtySize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SessionKind {
    /// The first shell that the container has.
    Shell,
    Exec(Box<crate::engine::ExecSpec>),
    Attach,
    /// Attach first, start then: nothing of the output is lost.
    AttachAndStart,
}

/// Work that changes something and reports when it is done.
#[derive(Clone, Debug)]
pub enum Work {
    Containers { verb: Verb, targets: Vec<Target> },
    Rename { target: Target, to: String },
    Update { target: Target, update: Box<UpdateContainer> },
    Run(Box<RunRequest>),
    Tag { image: String, reference: String },
    RemoveImages { targets: Vec<Target>, force: bool },
    SaveImages { images: Vec<String>, path: PathBuf },
    LoadImages(PathBuf),
    Pull { reference: String },
    Push { reference: String },
    CopyImages { images: Vec<String>, host: String },
    Import { path: PathBuf, reference: Option<String>, changes: Vec<String> },
    FromHost { reference: String, paths: Vec<String> },
    CreateVolume(CreateVolume),
    RemoveVolumes { targets: Vec<Target>, force: bool },
    Prune { what: Pane, all: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Pause,
    Unpause,
    Kill(String),
    Remove { force: bool, volumes: bool },
}

impl Verb {
    /// `stopping`, for jobs under way.
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
            Self::Pause => "pausing",
            Self::Unpause => "unpausing",
            Self::Kill(_) => "signalling",
            Self::Remove { .. } => "removing",
        }
    }

    /// `stopped`, for what has been done.
    pub fn done(&self) -> String {
        match self {
            Self::Start => "started".into(),
            Self::Stop => "stopped".into(),
            Self::Restart => "restarted".into(),
            Self::Pause => "paused".into(),
            Self::Unpause => "unpaused".into(),
            Self::Kill(signal) => format!("sent {signal} to"),
            Self::Remove { .. } => "removed".into(),
        }
    }
}

/// A filled-in run form.
#[derive(Clone, Debug)]
pub struct RunRequest {
    pub name: Option<String>,
    pub spec: ContainerSpec,
    pub then: AfterCreate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCreate {
    Start,
    StartAndAttach,
    LeaveCreated,
}
