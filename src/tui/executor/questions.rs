//! Questions to the engine that have one answer. Called by the executor; each is a future that ends within the answer time.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;

use crate::engine::{Class, ContainerSummary, Engine, EngineError, Filters, ListContainers, ListImages, LogsQuery};

use super::super::model::detail::Loaded;
use super::super::model::layer_tree::LayerTree;
use super::super::model::{Pane, Subject};
use super::super::msg::{Answer, Msg};
use super::super::text::sanitise;
use super::ANSWER_TIME;

/// Lines shown of an ended container's log.
const LAST_LINES: u64 = 6;
/// Proposals for a path.
const MAX_PATHS: usize = 200;

async fn in_time<T>(subject: &str, answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    match tokio::time::timeout(ANSWER_TIME, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = format!("the engine did not answer within {} s", ANSWER_TIME.as_secs());
            Err(EngineError::new(Class::Timeout, subject, message).with_hint("ctrl-r asks again"))
        }
    }
}

pub(super) async fn list(engine: Arc<dyn Engine>, pane: Pane) -> Msg {
    let none = Filters::default();
    match pane {
        Pane::Images => Msg::Images(in_time("", engine.images().list(&ListImages::default())).await),
        Pane::Volumes => Msg::Volumes(in_time("", engine.volumes().list(&none)).await),
        Pane::Networks => Msg::Networks(in_time("", engine.networks().list(&none)).await),
        _ => {
            let all = ListContainers { all: true, ..ListContainers::default() };
            Msg::Containers(in_time("", engine.containers().list(&all)).await)
        }
    }
}

pub(super) async fn container(engine: Arc<dyn Engine>, id: String) -> Msg {
    let query =
        ListContainers { all: true, filters: Filters::default().with("id", id.clone()), ..ListContainers::default() };
    let answer = in_time(&id, engine.containers().list(&query)).await;
    let one = |found: Vec<ContainerSummary>| found.into_iter().find(|row| row.id == id);
    let answer = answer.map(one);
    Msg::Container(id, answer)
}

pub(super) async fn info(engine: Arc<dyn Engine>) -> Msg {
    Msg::Info(in_time("", engine.system().info()).await)
}

pub(super) async fn host_load(engine: Arc<dyn Engine>) -> Msg {
    Msg::HostLoad(in_time("", engine.system().host_load()).await)
}

pub(super) async fn load(engine: Arc<dyn Engine>, subject: Subject) -> Msg {
    let answer = in_time(&subject.id, async {
        Ok(Box::new(match subject.kind {
            Pane::Images => {
                let detail = engine.images().inspect(&subject.id).await?;
                let history = engine.images().history(&subject.id).await?;
                Loaded::Image(Box::new(detail), history)
            }
            Pane::Volumes => Loaded::Volume(engine.volumes().inspect(&subject.id).await?),
            Pane::Networks => {
                let all = engine.networks().list(&Filters::default()).await?;
                let found = all.into_iter().find(|network| network.id == subject.id);
                let gone =
                    || EngineError::new(Class::NotFound, &subject.id, format!("network {} not found", subject.id));
                Loaded::Network(found.ok_or_else(gone)?)
            }
            _ => Loaded::Container(Box::new(engine.containers().inspect(&subject.id).await?)),
        }))
    })
    .await;
    Msg::Loaded(subject, answer)
}

pub(super) async fn top(engine: Arc<dyn Engine>, subject: Subject) -> Msg {
    let answer =
        in_time(&subject.id, engine.containers().top(&subject.id, "-eo pid,ppid,user,pcpu,pmem,rss,etime,args")).await;
    // Engines that pass the arguments to a real ps may know fewer columns.
    let answer = match answer {
        Err(e) if e.class == Class::Invalid => in_time(&subject.id, engine.containers().top(&subject.id, "-ef")).await,
        other => other,
    };
    Msg::Top(subject, answer)
}

/// The files of all layers, sorted into a tree off this thread. No deadline: it takes as long as the image is large.
pub(super) async fn layer_files(engine: Arc<dyn Engine>, subject: Subject) -> Msg {
    let answer = match engine.images().layer_files(&subject.id).await {
        Ok(layers) => tokio::task::spawn_blocking(move || LayerTree::new(layers))
            .await
            .map_err(|e| EngineError::new(Class::Internal, &subject.id, e.to_string())),
        Err(e) => Err(e),
    };
    Msg::LayerFiles(subject, answer)
}

pub(super) async fn last_lines(engine: Arc<dyn Engine>, subject: Subject) -> Msg {
    let query = LogsQuery { tail: Some(LAST_LINES), ..LogsQuery::default() };
    let read = async {
        let mut stream = engine.containers().logs(&subject.id, &query).await?;
        let mut lines = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            for entry in &chunk.entries {
                lines.push(sanitise(&String::from_utf8_lossy(chunk.line(entry))).into_owned());
            }
        }
        Ok(lines)
    };
    let mut lines = in_time(&subject.id, read).await.unwrap_or_default();
    let surplus = lines.len().saturating_sub(LAST_LINES as usize);
    lines.drain(..surplus);
    Msg::LastLines(subject, lines)
}

pub(super) async fn sizes(engine: Arc<dyn Engine>, ids: Vec<String>) -> Msg {
    let filters = ids.iter().fold(Filters::default(), |filters, id| filters.with("id", id.clone()));
    let query = ListContainers { all: true, size: true, filters, ..ListContainers::default() };
    let found = in_time("", engine.containers().list(&query)).await.unwrap_or_default();
    Msg::Sizes(found.into_iter().filter_map(|row| Some((row.id, row.size_rw_bytes?))).collect())
}

/// Files and directories that continue a path as typed; directories end in a slash.
pub(super) async fn paths(typed: String) -> Msg {
    let for_blocking = typed.clone();
    let found = tokio::task::spawn_blocking(move || continue_path(&for_blocking)).await.unwrap_or_default();
    Msg::Paths { typed, found }
}

fn continue_path(typed: &str) -> Vec<String> {
    let (dir, start) = typed.rsplit_once('/').map_or(("", typed), |(dir, start)| (dir, start));
    let shown = if typed.contains('/') { format!("{dir}/") } else { String::new() };
    let real = if shown.is_empty() { PathBuf::from(".") } else { super::super::home::expand(&shown) };
    let Ok(entries) = std::fs::read_dir(real) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = name.starts_with(start) && (!name.starts_with('.') || start.starts_with('.'));
            let is_dir = entry.path().is_dir();
            is_wanted.then(|| format!("{shown}{name}{}", if is_dir { "/" } else { "" }))
        })
        .take(MAX_PATHS)
        .collect();
    found.sort();
    found
}

/// Writes a new file; an existing one is not overwritten, the name gets a number instead.
pub(super) async fn save_text(path: PathBuf, text: String) -> Msg {
    let written = tokio::task::spawn_blocking(move || write_new(&path, text.as_bytes())).await;
    Msg::Saved(written.unwrap_or_else(|e| Err(e.to_string())))
}

/// Creates `path`, or `path` with a number before its extension when it exists.
pub(super) fn create_new(path: &Path) -> Result<(std::fs::File, PathBuf), String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    for attempt in 0..1000 {
        let name = if attempt == 0 { format!("{stem}{extension}") } else { format!("{stem}-{attempt}{extension}") };
        let candidate = path.with_file_name(name);
        match std::fs::File::create_new(&candidate) {
            Ok(file) => return Ok((file, candidate)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("cannot write {}: {e}", candidate.display())),
        }
    }
    Err(format!("cannot write {}: too many files of that name", path.display()))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<PathBuf, String> {
    use std::io::Write;
    let (mut file, path) = create_new(path)?;
    file.write_all(bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_continued_like_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("image.tar"), "").unwrap();
        std::fs::write(dir.path().join(".hidden"), "").unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        let base = dir.path().to_string_lossy().into_owned();
        assert_eq!(continue_path(&format!("{base}/im")), [format!("{base}/image.tar"), format!("{base}/images/")]);
        assert_eq!(continue_path(&format!("{base}/.h")), [format!("{base}/.hidden")]);
        assert_eq!(continue_path(&format!("{base}/")).len(), 2);
        assert!(continue_path("/no/such/place/x").is_empty());
    }

    #[test]
    fn saving_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        assert_eq!(write_new(&path, b"1").unwrap(), path);
        assert_eq!(write_new(&path, b"2").unwrap(), dir.path().join("web-1.log"));
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
        assert!(write_new(&dir.path().join("no/dir"), b"").unwrap_err().starts_with("cannot write "));
    }
}
