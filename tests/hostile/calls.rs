//! Every call that asks once, as a table: its name, what it asks for, and the call itself.

use futures_util::StreamExt;
use orlop::engine::{
    AttachOptions, CreateVolume, Engine, EngineError, EventsQuery, ExecSpec, Filters, ListContainers, ListImages,
    LogsQuery, RemoveContainer, Result, SearchImages, StatsQuery, StopOptions, WaitCondition,
};
use orlop::remote::Remote;

use crate::house::Call;

/// One row.
pub struct Asked {
    pub name: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub call: Call,
    pub answer: Answer,
}

/// What the answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    List,
    Object,
    /// Success alone.
    Nothing,
    Stream,
    Raw,
}

macro_rules! row {
    ($answer:ident $name:literal $method:literal $path:literal, $engine:ident => $work:expr) => {
        Asked {
            name: $name,
            method: $method,
            path: $path,
            call: |$engine: Remote| Box::pin(async move { $work.await.map(drop) }),
            answer: Answer::$answer,
        }
    };
}

/// Reads a stream to its end.
async fn all<T>(stream: Result<orlop::engine::BoxStream<T>>) -> Result<()> {
    let mut stream = stream?;
    while let Some(item) = stream.next().await {
        item?;
    }
    Ok(())
}

async fn exec(engine: &Remote) -> Result<()> {
    let spec = ExecSpec { cmd: vec!["sh".into()], attach_stdout: true, ..ExecSpec::default() };
    let id = engine.execs().create("web", &spec).await?;
    all(Ok(engine.execs().start(&id, None).await?.output)).await
}

async fn attach(engine: &Remote) -> Result<()> {
    let options = AttachOptions { stdout: true, ..AttachOptions::default() };
    all(Ok(engine.containers().attach("web", &options).await?.output)).await
}

async fn search(engine: &Remote) -> Result<()> {
    let query = SearchImages { term: "x".into(), ..SearchImages::default() };
    engine.images().search(&query).await.map(drop)
}

/// Asked, and answered at once.
pub fn plain() -> Vec<Asked> {
    vec![
        row!(List "list" "GET" "/containers/json", e => e.containers().list(&ListContainers { all: true, ..Default::default() })),
        row!(Object "inspect" "GET" "/containers/web/json", e => e.containers().inspect("web")),
        row!(Object "top" "GET" "/containers/web/top", e => e.containers().top("web", "")),
        row!(List "changes" "GET" "/containers/web/changes", e => e.containers().changes("web")),
        row!(Nothing "start" "POST" "/containers/web/start", e => e.containers().start("web")),
        row!(Nothing "stop" "POST" "/containers/web/stop", e => e.containers().stop("web", &StopOptions::default())),
        row!(Nothing "kill" "POST" "/containers/web/kill", e => e.containers().kill("web", "KILL")),
        row!(Nothing "remove" "DELETE" "/containers/web", e => e.containers().remove("web", &RemoveContainer::default())),
        row!(Object "wait" "POST" "/containers/web/wait", e => e.containers().wait("web", WaitCondition::NotRunning)),
        row!(Object "exec inspect" "GET" "/exec/abc/json", e => e.execs().inspect("abc")),
        row!(List "images" "GET" "/images/json", e => e.images().list(&ListImages::default())),
        row!(Object "image" "GET" "/images/busybox/json", e => e.images().inspect("busybox")),
        row!(List "history" "GET" "/images/busybox/history", e => e.images().history("busybox")),
        row!(List "search" "GET" "/images/search", e => search(&e)),
        row!(Object "volumes" "GET" "/volumes", e => e.volumes().list(&Filters::default())),
        row!(Object "volume" "GET" "/volumes/data", e => e.volumes().inspect("data")),
        row!(Object "new volume" "POST" "/volumes/create", e => e.volumes().create(&CreateVolume::default())),
        row!(List "networks" "GET" "/networks", e => e.networks().list(&Filters::default())),
        row!(Object "info" "GET" "/info", e => e.system().info()),
        row!(Object "version" "GET" "/version", e => e.system().version()),
        row!(Object "df" "GET" "/system/df", e => e.system().disk_usage()),
    ]
}

/// Read to their end.
pub fn streams() -> Vec<Asked> {
    vec![
        row!(Stream "logs" "GET" "/containers/web/logs", e => async { all(e.containers().logs("web", &LogsQuery::default()).await).await }),
        row!(Stream "stats" "GET" "/containers/web/stats", e => async { all(e.containers().stats("web", &StatsQuery { once: false }).await).await }),
        row!(Stream "one sample" "GET" "/containers/web/stats", e => async { all(e.containers().stats("web", &StatsQuery { once: true }).await).await }),
        row!(Stream "events" "GET" "/events", e => async { all(e.system().events(&EventsQuery::default()).await).await }),
        row!(Raw "attach" "POST" "/containers/web/attach", e => async { attach(&e).await }),
        row!(Raw "exec" "POST" "/exec/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee/start", e => async { exec(&e).await }),
    ]
}

/// The error of a call that must fail.
pub fn refused(what: &str, answer: Result<()>) -> EngineError {
    let error = answer.err().unwrap_or_else(|| panic!("{what}: it was believed"));
    crate::house::check_sentence(what, &error);
    error
}
