//! Work under way and how it went. Part of `update`.

use crate::engine::container::Status;

use super::super::model::news::{Job, Tone};
use super::super::model::{Model, Pane};
use super::super::msg::{Command, Msg, Outcome, Target, Work};
use super::{actions, layers, say, sessions};

/// Starts work and shows it in the footer.
pub(super) fn start(model: &mut Model, work: Work) -> Vec<Command> {
    if matches!(&work, Work::Containers { targets, .. } if targets.is_empty()) {
        return Vec::new();
    }
    let id = model.fresh_id();
    model.jobs.push(Job { id, title: title_of(&work), started: model.tick, progress: None });
    vec![Command::Job { id, work: Box::new(work) }]
}

fn title_of(work: &Work) -> String {
    match work {
        Work::Containers { verb, targets } => format!("{} {}", verb.doing(), names(targets)),
        Work::Rename { target, to } => format!("renaming {} to {to}", target.name),
        Work::Update { target, .. } => format!("changing the limits of {}", target.name),
        Work::Run(request) => format!("creating {}", request.name.as_deref().unwrap_or(&request.spec.image)),
        Work::Tag { reference, .. } => format!("tagging {reference}"),
        Work::RemoveImages { targets, .. } | Work::RemoveVolumes { targets, .. } => {
            format!("removing {}", names(targets))
        }
        Work::SaveImages { path, .. } => format!("saving {}", path.display()),
        Work::LoadImages(path) => format!("loading {}", path.display()),
        Work::Import { path, .. } => format!("importing {}", path.display()),
        Work::FromHost { reference, .. } => format!("making {reference}"),
        Work::CreateVolume(options) => format!("creating volume {}", options.name.as_deref().unwrap_or_default()),
        Work::Prune { what, .. } => format!("pruning {}", what.title().to_lowercase()),
    }
}

/// One name, or how many.
pub(super) fn names(targets: &[Target]) -> String {
    match targets {
        [one] => one.name.clone(),
        many => format!("{} containers", many.len()),
    }
}

pub(super) fn take(model: &mut Model, msg: Msg) -> Vec<Command> {
    match msg {
        Msg::JobProgress(id, step) => {
            if let Some(job) = model.jobs.iter_mut().find(|job| job.id == id) {
                job.progress = Some(step);
            }
            Vec::new()
        }
        Msg::JobDone(id, outcome) => {
            model.jobs.retain(|job| job.id != id);
            done(model, outcome)
        }
        _ => Vec::new(),
    }
}

fn done(model: &mut Model, outcome: Outcome) -> Vec<Command> {
    // Events tell of most changes; an engine whose events are late still shows the truth after its own work.
    model.due.lists.extend(Pane::LISTS);
    model.detail.is_stale = true;
    if !outcome.good.is_empty() {
        let what = match outcome.good.as_slice() {
            [one] => format!("{} {one}", outcome.done),
            many => format!("{} {}", outcome.done, many.len()),
        };
        let notes: String = outcome.notes.iter().map(|note| format!(" · {note}")).collect();
        say(model, Tone::Good, format!("{what}{notes}"));
    }
    if let Some(id) = &outcome.select {
        actions::go_to_container(model, id);
    }
    if !outcome.bad.is_empty() {
        let title = format!("Not {}", outcome.done.trim_end_matches(':'));
        layers::show_error(model, &title, outcome.bad);
    }
    match outcome.attach {
        Some(target) => sessions::attach_and_start(model, target),
        None => Vec::new(),
    }
}

/// The containers that an action is done to: the marked ones, else the selected one; of these, those whose state fits.
pub(super) fn container_targets(model: &Model, fits: impl Fn(Status) -> bool) -> Vec<Target> {
    let rows = model.containers.targets().into_iter().filter(|row| fits(row.status()));
    rows.map(|row| Target { id: row.it.id.clone(), name: row.name.clone() }).collect()
}
