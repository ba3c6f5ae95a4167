//! Work under way and how it went. Part of `update`.

use crossterm::event::{KeyCode, KeyEvent};

use crate::engine::container::Status;

use super::super::model::layers::{JobsBox, Layer};
use super::super::model::news::{Job, JobEnd, MAX_PAST_JOBS, Tone};
use super::super::model::{Model, Pane};
use super::super::msg::{Command, Msg, Outcome, Target, Work};
use super::{actions, layers, say, sessions};

/// Starts work and shows it in the footer.
pub(super) fn start(model: &mut Model, work: Work) -> Vec<Command> {
    if matches!(&work, Work::Containers { targets, .. } if targets.is_empty()) {
        return Vec::new();
    }
    let id = model.fresh_id();
    model.jobs.push(Job::new(id, title_of(&work), model.tick, work.clone()));
    // Transfers take long and have much to show; esc leaves them to the footer.
    if matches!(work, Work::Pull { .. } | Work::Push { .. } | Work::CopyImages { .. }) && model.layers.is_empty() {
        open(model);
        if let Some(Layer::Jobs(jobs)) = model.layers.last_mut() {
            jobs.cursor = model.jobs.len() - 1;
        }
    }
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
        Work::Pull { reference } => format!("pulling {reference}"),
        Work::Push { reference } => format!("pushing {reference}"),
        Work::CopyImages { images, host } => match images.as_slice() {
            [one] => format!("copying {one} to {host}"),
            many => format!("copying {} images to {host}", many.len()),
        },
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
                job.step(step, model.tick);
            }
            Vec::new()
        }
        Msg::JobDone(id, outcome) => {
            if let Some(at) = model.jobs.iter().position(|job| job.id == id) {
                let job = model.jobs.remove(at);
                let end = match outcome.bad.first() {
                    Some((_, error)) => JobEnd::Failed(error.clone()),
                    None => JobEnd::Done,
                };
                remember(model, job, end);
            }
            done(model, outcome)
        }
        _ => Vec::new(),
    }
}

/// Keeps an ended job for the list, the newest first.
fn remember(model: &mut Model, job: Job, end: JobEnd) {
    let past = job.ended(end, model.tick);
    model.past_jobs.push_front(past);
    model.past_jobs.truncate(MAX_PAST_JOBS);
}

/// Cancels the running job at this place of the list; what it has fetched stays for the next try.
pub(super) fn cancel(model: &mut Model, at: usize) -> Vec<Command> {
    if at >= model.jobs.len() {
        return Vec::new();
    }
    let job = model.jobs.remove(at);
    let id = job.id;
    say(model, Tone::Warning, format!("cancelled: {}", job.title));
    remember(model, job, JobEnd::Cancelled);
    model.due.lists.extend(Pane::LISTS);
    vec![Command::CancelJob(id)]
}

/// Does a past job again; a pull goes on where it stopped.
fn again(model: &mut Model, at: usize) -> Vec<Command> {
    let Some(past) = at.checked_sub(model.jobs.len()).and_then(|at| model.past_jobs.remove(at)) else {
        return Vec::new();
    };
    let commands = start(model, past.work);
    if let Some(Layer::Jobs(jobs)) = model.layers.last_mut() {
        jobs.cursor = model.jobs.len() - 1;
    }
    commands
}

pub(super) fn open(model: &mut Model) {
    model.layers.push(Layer::Jobs(JobsBox::default()));
}

/// Keys of the list of jobs.
pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let last = (model.jobs.len() + model.past_jobs.len()).saturating_sub(1);
    let Some(Layer::Jobs(jobs)) = model.layers.last_mut() else { return Vec::new() };
    let cursor = jobs.cursor.min(last);
    match key.code {
        KeyCode::Down | KeyCode::Char('j') => (jobs.cursor, jobs.scroll) = ((cursor + 1).min(last), 0),
        KeyCode::Up | KeyCode::Char('k') => (jobs.cursor, jobs.scroll) = (cursor.saturating_sub(1), 0),
        KeyCode::PageDown | KeyCode::Char(' ') => jobs.scroll += 5,
        KeyCode::PageUp => jobs.scroll = jobs.scroll.saturating_sub(5),
        KeyCode::Char('x') | KeyCode::Delete => return cancel(model, cursor),
        KeyCode::Char('r') => return again(model, cursor),
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | 'J') => drop(model.layers.pop()),
        _ => {}
    }
    Vec::new()
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
