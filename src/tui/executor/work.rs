//! Work that changes something: lifecycle verbs on many containers at once, images in and out, removal. Part of the executor.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use crate::engine::progress::Progress;
use crate::engine::{
    Access, Class, Containers, Engine, EngineError, Filters, Force, Hosts, ImportImage, LoadedImage, RemoveContainer,
    RemoveImage, StopOptions,
};
use crate::fleet::copy::copy_image;

use super::super::model::Pane;
use super::super::msg::{AfterCreate, Answer, Msg, Outcome, RunRequest, Target, Verb, Work};
use super::super::units;
use super::Outbox;

/// Containers acted on at the same time.
const AT_ONCE: usize = 16;

/// What work can reach: the engine it is given to, and the hosts there are.
pub(super) struct Reach {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) hosts: Option<Arc<dyn Hosts>>,
}

pub(super) async fn run(reach: Reach, out: Outbox, id: u64, work: Work) {
    let outcome = do_work(&reach, &out, id, work).await;
    out.send(Msg::JobDone(id, outcome)).await;
}

async fn do_work(reach: &Reach, out: &Outbox, id: u64, work: Work) -> Outcome {
    let engine = &reach.engine;
    let progress = || {
        let out = out.clone();
        Progress(Arc::new(move |step| out.offer(Msg::JobProgress(id, step))))
    };
    match work {
        Work::Containers { verb, targets } => containers(engine, verb, targets).await,
        Work::Rename { target, to } => {
            let answer = engine.containers().rename(&target.id, &to).await;
            single(format!("renamed to {to}:"), &target.name, answer)
        }
        Work::Update { target, update } => {
            let answer = engine.containers().update(&target.id, &update).await;
            let notes = answer.clone().unwrap_or_default();
            Outcome { notes, ..single("changed the limits of", &target.name, answer.map(drop)) }
        }
        Work::Run(request) => create_and_run(engine, *request).await,
        Work::Tag { image, reference } => {
            let answer = engine.images().tag(&image, &reference).await;
            single("tagged", &reference, answer)
        }
        Work::RemoveImages { targets, force } => {
            let options = RemoveImage { force, no_prune: false };
            let mut outcome = Outcome::new("removed");
            for target in targets {
                let answer = engine.images().remove(&target.id, &options).await;
                outcome.add(target.name, answer.map(drop));
            }
            outcome
        }
        Work::SaveImages { images, path } => save_images(engine, images, path).await,
        Work::Pull { reference } => super::registry::pull(engine, &reference, progress()).await,
        Work::Push { reference } => super::registry::push(engine, &reference, progress()).await,
        Work::CopyImages { images, host } => copy_images(reach, images, host, progress()).await,
        Work::LoadImages(path) => {
            let answer = match open(&path).await {
                Ok(file) => engine.images().load(Box::new(file), progress()).await,
                Err(e) => Err(e),
            };
            loaded("loaded", &path.display().to_string(), answer)
        }
        Work::Import { path, reference, changes } => {
            let options = ImportImage { reference, changes, ..ImportImage::default() };
            let answer = match open(&path).await {
                Ok(file) => engine.images().import(Box::new(file), &options, progress()).await.map(|image| vec![image]),
                Err(e) => Err(e),
            };
            loaded("imported", &path.display().to_string(), answer)
        }
        Work::FromHost { reference, paths } => {
            let answer = engine.images().from_host(&reference, &paths, progress()).await;
            loaded("made", &reference, answer.map(|image| vec![image]))
        }
        Work::CreateVolume(options) => match engine.volumes().create(&options).await {
            Ok(volume) => single("created volume", &volume.name, Ok(())),
            Err(e) => single("created volume", options.name.as_deref().unwrap_or("volume"), Err(e)),
        },
        Work::RemoveVolumes { targets, force } => {
            let force = if force { Force::Yes } else { Force::No };
            let mut outcome = Outcome::new("removed");
            for target in targets {
                let answer = engine.volumes().remove(&target.id, force).await;
                outcome.add(target.name, answer);
            }
            outcome
        }
        Work::Prune { what, all } => prune(engine, what, all).await,
    }
}

impl Outcome {
    fn add(&mut self, name: String, answer: Answer<()>) {
        match answer {
            // Already so: what was wanted.
            Err(e) if e.class != Class::NotModified => self.bad.push((name, e)),
            _ => self.good.push(name),
        }
    }
}

fn single(done: impl Into<String>, name: &str, answer: Answer<()>) -> Outcome {
    let mut outcome = Outcome::new(done);
    outcome.add(name.to_owned(), answer);
    outcome
}

async fn containers(engine: &Arc<dyn Engine>, verb: Verb, targets: Vec<Target>) -> Outcome {
    let mut outcome = Outcome::new(verb.done());
    let verb = &verb;
    let answers = stream::iter(targets)
        .map(|target| async move { (apply(engine.containers(), verb, &target.id).await, target) })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    for (answer, target) in answers {
        outcome.add(target.name, answer);
    }
    outcome
}

async fn apply(containers: &dyn Containers, verb: &Verb, id: &str) -> Answer<()> {
    match verb {
        Verb::Start => containers.start(id).await,
        Verb::Stop => containers.stop(id, &StopOptions::default()).await,
        Verb::Restart => containers.restart(id, &StopOptions::default()).await,
        Verb::Pause => containers.pause(id).await,
        Verb::Unpause => containers.unpause(id).await,
        Verb::Kill(signal) => containers.kill(id, signal).await,
        Verb::Remove { force, volumes } => {
            containers.remove(id, &RemoveContainer { force: *force, volumes: *volumes }).await
        }
    }
}

async fn create_and_run(engine: &Arc<dyn Engine>, request: RunRequest) -> Outcome {
    let created = match engine.containers().create(request.name.as_deref(), &request.spec).await {
        Ok(created) => created,
        Err(e) => return single("created", request.name.as_deref().unwrap_or(&request.spec.image), Err(e)),
    };
    let name = match &request.name {
        Some(name) => name.clone(),
        None => {
            engine.containers().inspect(&created.id).await.map_or_else(|_| created.id.clone(), |detail| detail.name)
        }
    };
    let mut outcome = match request.then {
        AfterCreate::Start => {
            let answer = engine.containers().start(&created.id).await;
            single("started", &name, answer)
        }
        AfterCreate::StartAndAttach => {
            let target = Target { id: created.id.clone(), name: name.clone() };
            Outcome { attach: Some(target), ..single("created", &name, Ok(())) }
        }
        AfterCreate::LeaveCreated => single("created", &name, Ok(())),
    };
    outcome.select = Some(created.id);
    outcome.notes = created.warnings;
    outcome
}

async fn open(path: &std::path::Path) -> Answer<File> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(&owned)?;
        if file.metadata()?.is_dir() { Err(std::io::Error::from(std::io::ErrorKind::IsADirectory)) } else { Ok(file) }
    });
    let opened = opened.await.map_err(std::io::Error::other).and_then(|opened| opened);
    opened.map_err(|e| {
        let shown = path.display().to_string();
        EngineError::new(Class::NotFound, &shown, format!("cannot open {shown}")).caused_by(&e)
    })
}

fn loaded(done: &str, source: &str, answer: Answer<Vec<LoadedImage>>) -> Outcome {
    let images = match answer {
        Ok(images) => images,
        Err(e) => return single(done, source, Err(e)),
    };
    let mut outcome = Outcome::new(done);
    for image in images {
        let short = image.id.strip_prefix("sha256:").unwrap_or(&image.id).chars().take(12).collect();
        outcome.good.push(image.references.first().cloned().unwrap_or(short));
    }
    outcome
}

async fn save_images(engine: &Arc<dyn Engine>, images: Vec<String>, path: PathBuf) -> Outcome {
    let shown = path.display().to_string();
    let created = tokio::task::spawn_blocking(move || super::questions::create_new(&path)).await;
    let (file, path) = match created.unwrap_or_else(|e| Err(e.to_string())) {
        Ok(created) => created,
        Err(reason) => return single("saved", &shown, Err(EngineError::new(Class::Invalid, &shown, reason))),
    };
    let answer = engine.images().save(&images, Box::new(std::io::BufWriter::new(file))).await;
    if answer.is_err() {
        // Half an archive is of no use to anybody.
        let _ = std::fs::remove_file(&path);
    }
    single("saved", &path.display().to_string(), answer)
}

/// To another host, opened for that alone; a layer that is there is not sent.
async fn copy_images(reach: &Reach, images: Vec<String>, host: String, progress: Progress) -> Outcome {
    let mut outcome = Outcome::new("copied");
    let opened = reach.hosts.as_ref().map(|hosts| hosts.open(&host));
    let target = match opened {
        Some(Ok((entry, target))) if entry.access == Access::Full => target,
        Some(Ok((entry, _))) => {
            let error = EngineError::new(Class::Forbidden, &host, format!("{} is read-only here", entry.name));
            outcome.bad.push((host, error));
            return outcome;
        }
        Some(Err(error)) => {
            outcome.bad.push((host, error));
            return outcome;
        }
        None => return outcome,
    };
    for image in images {
        match copy_image(&*reach.engine, &*target, &image, progress.clone()).await {
            Ok(copied) => {
                outcome.notes.push(match copied.n_sent {
                    0 => "nothing had to be sent".to_owned(),
                    n => format!("{} sent, {}", units::counted(n as u64, "layer"), units::bytes(copied.sent_bytes)),
                });
                outcome.notes.extend(copied.why_all);
                outcome.good.push(format!("{image} to {host}"));
            }
            Err(error) => outcome.bad.push((image, error)),
        }
    }
    outcome
}

async fn prune(engine: &Arc<dyn Engine>, what: Pane, all: bool) -> Outcome {
    let none = Filters::default();
    let (kind, answer) = match what {
        Pane::Images => {
            let dangling = none.with("dangling", if all { "false" } else { "true" });
            ("image", engine.images().prune(&dangling).await)
        }
        Pane::Volumes => {
            let filters = if all { none.with("all", "true") } else { none };
            ("volume", engine.volumes().prune(&filters).await)
        }
        _ => ("container", engine.containers().prune(&none).await),
    };
    let mut outcome = Outcome::new("pruned");
    match answer {
        Ok(report) => {
            let n = report.removed.len();
            outcome.good.push(format!("{n} {kind}{}", if n == 1 { "" } else { "s" }));
            outcome.notes.push(format!("{} reclaimed", units::bytes(report.reclaimed_bytes)));
        }
        Err(e) => outcome.bad.push((format!("{kind}s"), e)),
    }
    outcome
}
