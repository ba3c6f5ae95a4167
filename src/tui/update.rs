//! What happens when something comes in: [`update`] takes a message and changes the model, [`settle`] looks at the model afterwards and says
//! what has to be asked for. Plain functions, called by the event loop and by tests; no await, no lock, no I/O.
//!
//! Questions are derived from the state, not sent from wherever something changed: however many messages say that a list is old,
//! it is asked for once.

mod actions;
mod ask;
mod commands;
mod data;
mod filter;
mod forms;
mod jobs;
mod layers;
mod motion;
mod sessions;
mod settle;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::input::Input;
use super::keys::Chord;
use super::layout::{Areas, Layout};
use super::model::news::{TOAST_TIME, Toast, Tone};
use super::model::{Model, Pane, Tab};
use super::msg::{Command, Msg};

pub use actions::perform;
pub use settle::settle;

/// Takes one message in.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Command> {
    match msg {
        Msg::Input(input) => take_input(model, input),
        Msg::Resize(cols, rows) => {
            model.size = (cols, rows);
            Vec::new()
        }
        Msg::Tick => {
            // Searches and packing go on in slices, so that a key never waits for them.
            if let Some(logs) = &mut model.detail.logs {
                logs.tick(model.tick, std::time::Duration::from_millis(4));
            }
            Vec::new()
        }
        Msg::JobProgress(..) | Msg::JobDone(..) => jobs::take(model, msg),
        Msg::SessionOpened { .. } | Msg::SessionOutput { .. } | Msg::SessionEnded { .. } => sessions::take(model, msg),
        Msg::Line { pager, output } => {
            layers::pager_output(model, pager, output);
            Vec::new()
        }
        Msg::Paths { typed, found } => {
            layers::paths_found(model, &typed, found);
            Vec::new()
        }
        Msg::Hosts(known) => {
            ask::hosts_menu(model, known);
            Vec::new()
        }
        Msg::HostRefused { name, error } => {
            layers::show_error(model, "Another host", vec![(name, error)]);
            Vec::new()
        }
        other => data::take(model, other),
    }
}

fn take_input(model: &mut Model, input: Input) -> Vec<Command> {
    match input {
        Input::Key(key) => take_key(model, key),
        Input::Paste(text) => take_paste(model, &text),
        Input::Click { x, y } => click(model, x, y),
        Input::ScrollUp { .. } => motion::scroll(model, -3),
        Input::ScrollDown { .. } => motion::scroll(model, 3),
    }
}

/// Keys go to whatever is nearest: the top layer, the filter bar, a prompt inside the log view, and only then to the keymap.
fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    if let Some(plain) = typed_after_esc(model, key) {
        let mut out = take_key(model, KeyEvent::from(KeyCode::Esc));
        out.extend(take_key(model, plain));
        return out;
    }
    if !model.layers.is_empty() {
        return layers::take_key(model, key);
    }
    if model.filter_edit.is_some() {
        return filter::take_key(model, key);
    }
    if logs_want_text(model) && !is_cancel(key) {
        return motion::logs_key(model, key);
    }
    let scopes = model.scopes();
    match model.keymap.action(&scopes, Chord::from(key)) {
        Some((_, row)) => match row.ready(model) {
            Ok(()) => perform(model, row.action),
            Err(reason) => {
                say(model, Tone::Warning, format!("{}: {reason}", row.label));
                Vec::new()
            }
        },
        None => Vec::new(),
    }
}

/// Esc and a character in one read look like Alt and that character. Where nothing is bound to it, somebody types fast or the line is slow.
fn typed_after_esc(model: &Model, key: KeyEvent) -> Option<KeyEvent> {
    let KeyCode::Char(c) = key.code else { return None };
    let is_alt = key.modifiers.contains(KeyModifiers::ALT) && !key.modifiers.contains(KeyModifiers::CONTROL);
    let is_terminals = matches!(model.layers.last(), Some(super::model::layers::Layer::Terminal(_)));
    // The line editor's motions by words.
    let is_editors = "bf".contains(c) && (!model.layers.is_empty() || model.filter_edit.is_some());
    let is_bound = model.layers.is_empty() && model.keymap.action(&model.scopes(), Chord::from(key)).is_some();
    let plain = KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key };
    (is_alt && !is_terminals && !is_editors && !is_bound).then_some(plain)
}

fn is_cancel(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn logs_want_text(model: &Model) -> bool {
    model.focus == Pane::Detail
        && model.tab() == Tab::Logs
        && model.detail.logs.as_ref().is_some_and(super::logs::LogsModel::wants_text)
}

fn take_paste(model: &mut Model, text: &str) -> Vec<Command> {
    if !model.layers.is_empty() {
        return layers::take_paste(model, text);
    }
    if let Some((edit, _)) = &mut model.filter_edit {
        edit.insert(text);
        return filter::changed(model);
    }
    if logs_want_text(model)
        && let Some(logs) = &mut model.detail.logs
    {
        logs.paste(text);
    }
    Vec::new()
}

fn click(model: &mut Model, x: u16, y: u16) -> Vec<Command> {
    let Layout::Areas(areas) = Layout::of(model) else { return Vec::new() };
    if !model.layers.is_empty() {
        return Vec::new();
    }
    let at = ratatui::layout::Position::new(x, y);
    let Some(area) = areas.panes.iter().find(|area| area.outer.contains(at)).copied() else { return Vec::new() };
    let commands = actions::focus(model, area.pane);
    if area.inner.contains(at) {
        click_row(model, &areas, area.pane, y);
    }
    commands
}

fn click_row(model: &mut Model, areas: &Areas, pane: Pane, y: u16) {
    let Some(area) = areas.area_of(pane) else { return };
    let height = usize::from(area.inner.height);
    let row = usize::from(y - area.inner.y);
    match pane {
        Pane::Containers if row > 0 => {
            let first = model.containers.first_on_screen(height.saturating_sub(1));
            model.containers.select_at(first + row - 1);
        }
        Pane::Images => model.images.select_at(model.images.first_on_screen(height) + row),
        Pane::Volumes => model.volumes.select_at(model.volumes.first_on_screen(height) + row),
        Pane::Networks => model.networks.select_at(model.networks.first_on_screen(height) + row),
        _ => {}
    }
}

/// Shows a short message.
fn say(model: &mut Model, tone: Tone, text: impl Into<String>) {
    let until = model.tick + if tone == Tone::Bad { TOAST_TIME * 2 } else { TOAST_TIME };
    model.toast(Toast { tone, text: super::text::sanitise(&text.into()).into_owned(), until });
}

/// The filter text of the focused list.
pub fn filter_text(model: &Model) -> &str {
    filter::current(model)
}

/// Whether a list page has a heading row.
pub fn has_heading(model: &Model, pane: Pane) -> bool {
    motion::has_heading(model, pane)
}

/// Gives embedded terminals the size of their frame; says what the engine must be told.
pub fn fit_terminals(model: &mut Model) -> Vec<Command> {
    sessions::fit(model)
}
