//! The filter bar of lists: typed text becomes the filter at every key. Part of `update`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::edit::Edited;
use super::super::filter::Filter;
use super::super::model::{Model, Pane};
use super::super::msg::Command;
use super::motion;

pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => model.filter_edit = None,
        KeyCode::Char('c') if ctrl => leave_empty(model),
        KeyCode::Esc => leave_empty(model),
        KeyCode::Up => return motion::go(model, super::super::action::Action::Up),
        KeyCode::Down | KeyCode::Tab => return motion::go(model, super::super::action::Action::Down),
        _ => {
            let Some((edit, _)) = &mut model.filter_edit else { return Vec::new() };
            if edit.key(key) == Edited::Changed {
                return changed(model);
            }
        }
    }
    Vec::new()
}

fn leave_empty(model: &mut Model) {
    model.filter_edit = None;
    set(model, "");
}

/// The text in the bar is another one.
pub(super) fn changed(model: &mut Model) -> Vec<Command> {
    let Some((edit, _)) = &model.filter_edit else { return Vec::new() };
    let typed = edit.text().to_owned();
    let problem = set(model, &typed);
    if let Some((_, shown)) = &mut model.filter_edit {
        *shown = problem;
    }
    Vec::new()
}

/// Filters the focused list; a bad expression leaves the filter as it was and says why.
pub(super) fn set(model: &mut Model, typed: &str) -> Option<String> {
    let filter = match Filter::parse(typed) {
        Ok(filter) => filter,
        Err(problem) => return Some(problem),
    };
    let orders = model.orders;
    match target(model) {
        Pane::Images => model.images.set_filter(filter, |a, b| orders.images.images(a, b)),
        Pane::Volumes => model.volumes.set_filter(filter, |a, b| orders.volumes.volumes(a, b)),
        Pane::Networks => model.networks.set_filter(filter, |a, b| orders.networks.networks(a, b)),
        Pane::Events => model.events.set_filter(filter, |a, b| b.number.cmp(&a.number)),
        _ => {
            let (sort, usage) = (model.sort, &model.usage);
            model.containers.set_filter(filter, |a, b| sort.compare(usage, a, b));
        }
    }
    None
}

/// The filter text of the focused list.
pub(in super::super) fn current(model: &Model) -> &str {
    match target(model) {
        Pane::Images => model.images.filter().typed(),
        Pane::Volumes => model.volumes.filter().typed(),
        Pane::Networks => model.networks.filter().typed(),
        Pane::Events => model.events.filter().typed(),
        _ => model.containers.filter().typed(),
    }
}

fn target(model: &Model) -> Pane {
    if model.focus == Pane::Events { Pane::Events } else { model.list }
}
