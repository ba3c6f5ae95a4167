//! The end of a turn: looks at the model and says what has to be asked for, opened, followed or dropped. Every rule here is a function of
//! the state, so that it holds whatever led there.

use std::time::Duration;

use crate::engine::container::Status;

use super::super::layout::Layout;
use super::super::logs::{LogSource, LogsModel, LogsOptions};
use super::super::model::{Link, Model, Pane, Subject, Tab};
use super::super::msg::{Command, Target};
use super::super::subscriptions::Watched;
use super::motion;

/// The cursor rests this long before a log is opened or an inspect asked for.
const REST: Duration = Duration::from_millis(60);
/// The details stay as they are this long while the answer about a new subject is on its way.
const HOLD: Duration = Duration::from_millis(30);
/// All lists are asked for again this often, in case an event was lost.
const RECONCILE: Duration = Duration::from_secs(30);
/// The process table is refreshed this often while it is on screen.
const TOP_EVERY: Duration = Duration::from_secs(2);
/// Host load is asked for this often.
const LOAD_EVERY: Duration = Duration::from_secs(5);
/// More changed containers than this are cheaper as one list.
const MANY: usize = 8;

/// Settles the model; call it once after all messages of a turn.
pub fn settle(model: &mut Model) -> Vec<Command> {
    let mut out = Vec::new();
    model.wake_at = None;
    expire_toasts(model);
    remember_offsets(model);
    if model.link == Link::Up {
        reconcile(model);
        ask_lists(model, &mut out);
        ask_host_load(model, &mut out);
        note_shown(model);
        ask_detail(model, &mut out);
        follow_logs(model, &mut out);
    }
    release_detail(model);
    watch_stats(model, &mut out);
    wake_for_ages(model);
    out
}

fn expire_toasts(model: &mut Model) {
    let now = model.tick;
    model.toasts.retain(|toast| toast.until > now);
    if let Some(next) = model.toasts.iter().map(|toast| toast.until).min() {
        model.wake_by(next);
    }
    if !model.jobs.is_empty() {
        model.wake_by(now + Duration::from_millis(250));
    }
}

fn remember_offsets(model: &mut Model) {
    let layout = Layout::of(model);
    let rows = |pane| layout.rows_of(pane);
    model.containers.scroll_into(rows(Pane::Containers).saturating_sub(1));
    model.images.scroll_into(rows(Pane::Images).saturating_sub(motion::headings(model, Pane::Images)));
    model.volumes.scroll_into(rows(Pane::Volumes).saturating_sub(motion::headings(model, Pane::Volumes)));
    model.networks.scroll_into(rows(Pane::Networks).saturating_sub(motion::headings(model, Pane::Networks)));
    model.events.scroll_into(rows(Pane::Events));
    model.detail.inspect.scroll_into(rows(Pane::Detail));
    if let Some(tree) = model.detail.layers_mut() {
        tree.scroll_into(rows(Pane::Detail).saturating_sub(1));
    }
}

fn reconcile(model: &mut Model) {
    let due = model.due.reconciled.map_or(model.tick, |last| last + RECONCILE);
    if due <= model.tick {
        model.due.reconciled = Some(model.tick);
        model.due.lists.extend(Pane::LISTS);
        model.detail.is_stale = true;
    }
    model.wake_by(model.due.reconciled.unwrap_or(model.tick) + RECONCILE);
}

/// The load of the engine's host, for the header.
fn ask_host_load(model: &mut Model, out: &mut Vec<Command>) {
    // What everybody waits for comes first.
    if model.due.has_no_load || model.due.is_load_asked || model.is_waiting_for_lists() {
        return;
    }
    let due = model.due.load_at.map_or(model.tick, |last| last + LOAD_EVERY);
    if due > model.tick {
        return model.wake_by(due);
    }
    model.due.load_at = Some(model.tick);
    model.due.is_load_asked = true;
    out.push(Command::HostLoad);
}

fn ask_lists(model: &mut Model, out: &mut Vec<Command>) {
    if model.due.containers.len() > MANY {
        model.due.containers.clear();
        model.due.lists.insert(Pane::Containers);
    }
    for pane in Pane::LISTS {
        if model.due.lists.contains(&pane) && model.due.asked.insert(pane) {
            model.due.lists.remove(&pane);
            if pane == Pane::Containers {
                model.due.containers.clear();
            }
            out.push(Command::List(pane));
        }
    }
    let changed: Vec<String> = model.due.containers.difference(&model.due.asked_containers).cloned().collect();
    for id in changed {
        model.due.containers.remove(&id);
        model.due.asked_containers.insert(id.clone());
        out.push(Command::Container(id));
    }
    if model.due.info && !model.due.is_info_asked {
        model.due.info = false;
        model.due.is_info_asked = true;
        out.push(Command::Info);
    }
}

fn note_shown(model: &mut Model) {
    let shown = model.subject().map(|subject| (subject, model.tab()));
    if model.detail.shown != shown {
        let same_subject = match (&model.detail.shown, &shown) {
            (Some((before, _)), Some((now, _))) => before == now,
            _ => false,
        };
        if !same_subject {
            model.detail.scroll = 0;
            model.detail.top = None;
            model.detail.is_passing = model.tick.saturating_duration_since(model.detail.shown_since) < REST;
            let hold = if model.detail.is_passing { REST + HOLD } else { HOLD };
            model.detail.held_until = model.detail.shown.is_some().then(|| model.tick + hold);
        }
        model.detail.shown = shown;
        model.detail.shown_since = model.tick;
    }
}

/// Lets the details be painted once there is something whole to paint, or the wait has been long enough.
fn release_detail(model: &mut Model) {
    let Some(until) = model.detail.held_until else { return };
    let subject = model.subject();
    let is_loaded = subject.is_some_and(|subject| model.detail.loaded_for(&subject).is_some());
    let is_same_tab = model.detail.shown.as_ref().is_some_and(|(_, tab)| *tab == model.tab());
    if until <= model.tick || !is_same_tab || (is_loaded && model.tab() != Tab::Logs) || !model.layers.is_empty() {
        model.detail.held_until = None;
    } else {
        model.wake_by(until);
    }
}

/// Whether the cursor moves slowly or has rested long enough; else asks to be woken when it has.
fn has_rested(model: &mut Model) -> bool {
    let rested = model.detail.shown_since + REST;
    if model.detail.is_passing && model.tick < rested && model.detail.loaded.is_some() {
        model.wake_by(rested);
        return false;
    }
    true
}

fn ask_detail(model: &mut Model, out: &mut Vec<Command>) {
    let Some(subject) = model.subject() else { return };
    let is_loaded = model.detail.loaded.as_ref().is_some_and(|(of, _)| *of == subject);
    let has_failed = model.detail.failed.as_ref().is_some_and(|(of, _)| *of == subject);
    let wants = (!is_loaded && !has_failed) || model.detail.is_stale;
    if wants && model.detail.asked.is_none() && has_rested(model) {
        model.detail.is_stale = false;
        model.detail.asked = Some(subject.clone());
        out.push(Command::Load(subject.clone()));
    }
    if subject.kind == Pane::Containers {
        ask_last_lines(model, &subject, out);
        ask_top(model, &subject, out);
    }
    if subject.kind == Pane::Images && model.tab() == Tab::History && is_detail_shown(model) {
        ask_layers(model, &subject, out);
    }
}

/// The files of an image's layers, once for each image that the tab stays on.
fn ask_layers(model: &mut Model, subject: &Subject, out: &mut Vec<Command>) {
    let is_known = model.detail.layer_tree.as_ref().is_some_and(|(of, _)| of == subject);
    if !is_known && model.detail.layers_asked.is_none() && has_rested(model) {
        model.detail.layers_asked = Some(subject.clone());
        out.push(Command::LayerFiles(subject.clone()));
    }
}

/// The last lines of a container that failed, for its card.
fn ask_last_lines(model: &mut Model, subject: &Subject, out: &mut Vec<Command>) {
    let has_card = model.containers.find(&subject.id).is_some_and(|row| row.wants_card());
    let is_known = model.detail.last_lines.as_ref().is_some_and(|(of, _)| of == subject);
    if has_card && !is_known && model.detail.last_lines_asked.is_none() && has_rested(model) {
        model.detail.last_lines_asked = Some(subject.clone());
        out.push(Command::LastLines(subject.clone()));
    }
}

fn ask_top(model: &mut Model, subject: &Subject, out: &mut Vec<Command>) {
    if model.tab() != Tab::Top || !is_detail_shown(model) {
        return;
    }
    let is_alive = model.containers.find(&subject.id).is_some_and(|row| row.status() == Status::Running);
    if !is_alive {
        return;
    }
    let due = match (&model.detail.top, model.detail.top_asked) {
        (Some((of, _)), Some(asked)) if of == subject => asked + TOP_EVERY,
        (None, Some(asked)) => asked + Duration::from_millis(200),
        _ => model.tick,
    };
    if due > model.tick {
        model.wake_by(due);
        return;
    }
    model.detail.top_asked = Some(model.tick);
    model.wake_by(model.tick + TOP_EVERY);
    out.push(Command::Top(subject.clone()));
}

fn is_detail_shown(model: &Model) -> bool {
    matches!(Layout::of(model), Layout::Areas(areas) if areas.area_of(Pane::Detail).is_some())
}

/// Opens, switches or closes the followed log so that it is the one on screen.
fn follow_logs(model: &mut Model, out: &mut Vec<Command>) {
    let wants = model.tab() == Tab::Logs && model.list == Pane::Containers && is_detail_shown(model);
    let sources: Vec<Target> = match (wants, model.detail.merged.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => model.detail.merged.clone(),
        (true, true) => {
            let row = model.containers.selected();
            row.map(|row| Target { id: row.it.id.clone(), name: row.name.clone() }).into_iter().collect()
        }
    };
    let ids: Vec<String> = sources.iter().map(|source| source.id.clone()).collect();
    if ids == model.detail.logs_of {
        return;
    }
    if ids.is_empty() {
        // The view stays as it was; only the stream ends. Coming back resumes it without repeating a line.
        if model.detail.logs.is_some() && !model.detail.logs_of.is_empty() {
            out.push(Command::StopLogs);
        }
        model.detail.logs_of = ids;
        return;
    }
    if !has_rested(model) {
        return;
    }
    let is_same_view =
        model.detail.logs.as_ref().is_some_and(|logs| logs.sources().map(|s| &s.container).eq(ids.iter()));
    let wanted = model.detail.find_time.take().filter(|(id, _)| ids == [id.clone()]);
    model.detail.logs_of = ids;
    // With room for as many subscriptions as a view may ever have.
    let generation = model.fresh_id() << 32;
    let mut commands = match &mut model.detail.logs {
        Some(logs) if is_same_view => logs.come_back(),
        _ => {
            let sources = sources.into_iter().map(|s| LogSource { container: s.id, label: s.name }).collect();
            let options = LogsOptions {
                budget_bytes: model.settings.log_budget_bytes,
                zone: crate::stdx::zone::local().clone(),
                opened_ns: model.now_ns(),
                generation,
                ..LogsOptions::default()
            };
            let (logs, commands) = LogsModel::open(sources, options);
            model.detail.logs = Some(logs);
            commands
        }
    };
    if let (Some((_, time)), Some(logs)) = (wanted, &mut model.detail.logs) {
        commands.extend(logs.find_time(time));
    }
    out.extend(commands.into_iter().map(Command::Logs));
}

/// Stats are sampled for running rows on screen, and for the subject of the details; for all when the order needs it.
fn watch_stats(model: &mut Model, out: &mut Vec<Command>) {
    let (mut wanted, mut subject): (Vec<String>, _) = (Vec::new(), None);
    if model.link == Link::Up {
        let layout = Layout::of(model);
        let rows = match &layout {
            Layout::Areas(areas) if areas.area_of(Pane::Containers).is_some() => {
                layout.rows_of(Pane::Containers).saturating_sub(1)
            }
            _ => 0,
        };
        let is_running = |row: &&super::super::model::rows::ContainerRow| row.status() == Status::Running;
        if model.sort.needs_stats() {
            wanted = model.containers.visible().filter(is_running).map(|row| row.it.id.clone()).collect();
        } else {
            wanted = model
                .containers
                .window(rows)
                .map(|(_, row)| row)
                .filter(is_running)
                .map(|row| row.it.id.clone())
                .collect();
        }
        if let Some(row) = model.containers.selected().filter(is_running)
            && model.list == Pane::Containers
        {
            subject = Some(row.it.id.clone());
            if !wanted.contains(&row.it.id) {
                wanted.push(row.it.id.clone());
            }
        }
        wanted.sort();
    }
    let wanted = Watched { ids: wanted, subject };
    if wanted != model.due.watched {
        model.due.watched.clone_from(&wanted);
        out.push(Command::Watch(wanted));
    }
}

/// Ages change by the minute, and so does the clock: look again when the next one begins.
fn wake_for_ages(model: &mut Model) {
    let into_minute =
        model.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64 % 60_000);
    model.wake_by(model.tick + Duration::from_millis(60_000 - into_minute + 5));
    if let Some(stale) = model.stale_for() {
        let _ = stale;
        model.wake_by(model.tick + Duration::from_secs(1));
    }
    if let Some(logs) = &model.detail.logs
        && let Some(wait) = logs.tick_in()
    {
        model.wake_by(model.tick + wait);
    }
}
