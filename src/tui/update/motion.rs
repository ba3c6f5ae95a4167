//! Motions: what up, down, top and pages mean where the focus is. Part of `update`.

use crossterm::event::KeyEvent;

use super::super::action::Action;
use super::super::layout::Layout;
use super::super::logs::{LogsAction, LogsCommand};
use super::super::model::{Model, Pane, Tab};
use super::super::msg::Command;

/// Further than any list is long.
const FAR: isize = isize::MAX / 2;

pub(super) fn go(model: &mut Model, action: Action) -> Vec<Command> {
    if model.focus == Pane::Detail && model.tab() == Tab::Logs {
        return match logs_motion(action) {
            Some(motion) => logs_action(model, motion),
            None => Vec::new(),
        };
    }
    let rows = Layout::of(model).rows_of(model.focus).saturating_sub(headings(model, model.focus)).max(1) as isize;
    let delta = match action {
        Action::Up => -1,
        Action::Down => 1,
        Action::Top => -FAR,
        Action::Bottom => FAR,
        Action::HalfPageUp => -(rows / 2).max(1),
        Action::HalfPageDown => (rows / 2).max(1),
        Action::PageUp => -rows,
        _ => rows,
    };
    step(model, delta);
    Vec::new()
}

/// The wheel.
pub(super) fn scroll(model: &mut Model, delta: isize) -> Vec<Command> {
    if model.layers.is_empty() {
        if model.focus == Pane::Detail && model.tab() == Tab::Logs {
            let motion = if delta < 0 { LogsAction::Up } else { LogsAction::Down };
            return logs_apply(model, motion, Some(delta.unsigned_abs() as u32));
        }
        step(model, delta);
    }
    Vec::new()
}

fn step(model: &mut Model, delta: isize) {
    match model.focus {
        Pane::Containers => model.containers.step(delta),
        Pane::Images => model.images.step(delta),
        Pane::Volumes => model.volumes.step(delta),
        Pane::Networks => model.networks.step(delta),
        Pane::Events => model.events.step(delta),
        Pane::Detail if model.tab() == Tab::Inspect => model.detail.inspect.step(delta),
        Pane::Detail if model.tab() == Tab::History && model.detail.layers_mut().is_some() => {
            if let Some(tree) = model.detail.layers_mut() {
                tree.step(delta);
            }
        }
        Pane::Detail => {
            let rows = Layout::of(model).rows_of(Pane::Detail);
            let most = super::super::pages::detail_len(model).saturating_sub(rows);
            model.detail.scroll = model.detail.scroll.saturating_add_signed(delta).min(most);
        }
    }
}

/// Heading rows of a list page: zoomed and narrow lists have one.
pub(in super::super) fn headings(model: &Model, pane: Pane) -> usize {
    match pane {
        Pane::Containers => 1,
        Pane::Images | Pane::Volumes | Pane::Networks => usize::from(has_heading(model, pane)),
        _ => 0,
    }
}

/// Small panes show rows alone: the pane's title says what they are.
pub(in super::super) fn has_heading(model: &Model, pane: Pane) -> bool {
    model.list == pane
}

pub(super) fn n_marks(model: &Model) -> usize {
    match model.list {
        Pane::Images => model.images.n_marks(),
        Pane::Volumes => model.volumes.n_marks(),
        Pane::Networks => model.networks.n_marks(),
        _ => model.containers.n_marks(),
    }
}

fn logs_motion(action: Action) -> Option<LogsAction> {
    Some(match action {
        Action::Up => LogsAction::Up,
        Action::Down => LogsAction::Down,
        Action::Top => LogsAction::Top,
        Action::Bottom => LogsAction::Bottom,
        Action::HalfPageUp => LogsAction::HalfPageUp,
        Action::HalfPageDown => LogsAction::HalfPageDown,
        Action::PageUp => LogsAction::PageUp,
        Action::PageDown => LogsAction::PageDown,
        _ => return None,
    })
}

pub(super) fn logs_action(model: &mut Model, action: LogsAction) -> Vec<Command> {
    logs_apply(model, action, None)
}

fn logs_apply(model: &mut Model, action: LogsAction, count: Option<u32>) -> Vec<Command> {
    let Some(logs) = &mut model.detail.logs else { return Vec::new() };
    let commands = logs.apply(action, count);
    logs.tick(model.tick, std::time::Duration::from_millis(4));
    from_logs(model, commands)
}

/// A key for a prompt inside the log view.
pub(super) fn logs_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let now_ns = model.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let Some(logs) = &mut model.detail.logs else { return Vec::new() };
    let commands = logs.input(key, now_ns);
    logs.tick(model.tick, std::time::Duration::from_millis(4));
    from_logs(model, commands)
}

/// What the log view wants done.
pub(super) fn from_logs(model: &mut Model, commands: Vec<LogsCommand>) -> Vec<Command> {
    let mut out = Vec::new();
    for command in commands {
        match command {
            LogsCommand::Copy { text } => {
                super::say(model, super::super::model::news::Tone::Good, "copied the line");
                out.push(Command::Clipboard(text));
            }
            other => out.push(Command::Logs(other)),
        }
    }
    out
}
