//! The command line and the palette: one layer, two ways in. Part of `update`.
//!
//! In command mode the line is run as typed, by the command line's own definitions; a few words are the screen's own (`:q`, `:theme`).
//! In find mode, actions (with their keys) and commands are ranked by likeness.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use super::super::action::{Action, TABLE};
use super::super::edit::{Edited, LineEdit};
use super::super::model::layers::{Does, Layer, Pager, Palette, PaletteItem, PaletteMode};
use super::super::model::{Model, Pane};
use super::super::msg::Command;
use super::super::theme::BUILT_IN;
use super::{layers, perform, say};

/// Proposals shown.
const MAX_ITEMS: usize = 200;
/// Lines remembered for the arrow keys.
const MAX_HISTORY: usize = 100;

/// Words of the screen's own, with what they do.
const OWN: &[(&str, &str)] = &[
    ("theme", "Choose the colours: theme NAME"),
    ("host", "Switch to another engine: host NAME or ADDRESS"),
    ("read-only", "Refuse what changes something on this host, or allow it again"),
    ("quit", "Leave; containers go on"),
    ("help", "What the keys do here"),
    ("errors", "Show the last error again"),
    ("mouse", "Clicks and wheel for orlop, or for the terminal"),
];

pub(super) fn open(model: &mut Model, mode: PaletteMode) {
    model.layers.push(Layer::Palette(Palette {
        edit: LineEdit::default(),
        mode,
        items: Vec::new(),
        cursor: 0,
        recall: None,
    }));
    changed(model);
}

/// The text is another one: new proposals.
pub(super) fn changed(model: &mut Model) {
    let Some(Layer::Palette(palette)) = model.layers.last() else { return };
    let (typed, mode) = (palette.edit.text().to_owned(), palette.mode);
    let items = match mode {
        PaletteMode::Find => find(model, &typed),
        PaletteMode::Command => complete(model, &typed),
    };
    if let Some(Layer::Palette(palette)) = model.layers.last_mut() {
        palette.items = items;
        palette.cursor = 0;
    }
}

fn find(model: &Model, typed: &str) -> Vec<PaletteItem> {
    let mut all = actions(model);
    all.extend(themes());
    all.extend((model.complete_line)("").into_iter().map(|verb| PaletteItem {
        label: format!(":{}", verb.word),
        note: verb.help,
        key: String::new(),
        is_available: true,
        does: Does::Complete(format!("{} ", verb.word)),
    }));
    rank(all, typed)
}

fn actions(model: &Model) -> Vec<PaletteItem> {
    let scopes = model.scopes();
    let mut items = Vec::new();
    for row in TABLE.iter().filter(|row| scopes.contains(&row.scope) && !row.id.starts_with("move.")) {
        let unavailable = row.ready(model).err();
        let key = model.keymap.shown_key(&scopes, row.action).map(|chord| chord.to_string()).unwrap_or_default();
        items.push(PaletteItem {
            label: row.doc.to_owned(),
            note: unavailable.unwrap_or(row.id).to_owned(),
            key,
            is_available: unavailable.is_none(),
            does: Does::Action(row.action),
        });
    }
    items
}

fn themes() -> impl Iterator<Item = PaletteItem> {
    BUILT_IN.iter().map(|(name, _)| PaletteItem {
        label: format!("Colours: {name}"),
        note: "theme".to_owned(),
        key: String::new(),
        is_available: true,
        does: Does::Theme((*name).to_owned()),
    })
}

/// Best first; what cannot be done now comes last.
fn rank(items: Vec<PaletteItem>, typed: &str) -> Vec<PaletteItem> {
    if typed.trim().is_empty() {
        return items;
    }
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut chars = Vec::new();
    let mut scored: Vec<(bool, u32, PaletteItem)> = items
        .into_iter()
        .filter_map(|item| {
            let text = format!("{} {}", item.label, item.note);
            let score = pattern.score(Utf32Str::new(&text, &mut chars), &mut matcher)?;
            Some((item.is_available, score, item))
        })
        .collect();
    scored.sort_by_key(|(is_available, score, _)| std::cmp::Reverse((*is_available, *score)));
    scored.into_iter().take(MAX_ITEMS).map(|(_, _, item)| item).collect()
}

fn complete(model: &Model, typed: &str) -> Vec<PaletteItem> {
    let (head, word) = typed.rsplit_once(' ').map_or(("", typed), |(head, word)| (head, word));
    let with_head = |word: &str| if head.is_empty() { format!("{word} ") } else { format!("{head} {word} ") };
    let item = |word: &str, note: &str| PaletteItem {
        label: word.to_owned(),
        note: note.to_owned(),
        key: String::new(),
        is_available: true,
        does: Does::Complete(with_head(word)),
    };
    let mut items: Vec<PaletteItem> = Vec::new();
    if head.is_empty() {
        items.extend(OWN.iter().filter(|(own, _)| own.starts_with(word)).map(|(own, doc)| item(own, doc)));
    }
    if head == "theme" {
        items.extend(BUILT_IN.iter().filter(|(name, _)| name.starts_with(word)).map(|(name, _)| item(name, "")));
        return items;
    }
    items.extend((model.complete_line)(typed).iter().map(|found| item(&found.word, &found.help)));
    if !head.is_empty() && !word.starts_with('-') {
        items.extend(names(model, word).map(|(name, what)| item(&name, what)));
    }
    items.truncate(MAX_ITEMS);
    items
}

/// Names of things that begin with `word`.
fn names<'a>(model: &'a Model, word: &'a str) -> impl Iterator<Item = (String, &'static str)> + 'a {
    let containers = model.containers.all().iter().map(|row| (row.it.name.clone(), "container"));
    let images = model.images.all().iter().map(|row| (row.handle.clone(), "image"));
    let volumes = model.volumes.all().iter().map(|row| (row.it.name.clone(), "volume"));
    containers.chain(images).chain(volumes).filter(move |(name, _)| name.starts_with(word) && !word.is_empty())
}

pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let Some(Layer::Palette(palette)) = model.layers.last_mut() else { return Vec::new() };
    let last = palette.items.len().saturating_sub(1);
    let is_find = palette.mode == PaletteMode::Find;
    match key.code {
        KeyCode::Esc => drop(model.layers.pop()),
        KeyCode::Backspace if palette.edit.text().is_empty() => drop(model.layers.pop()),
        KeyCode::Char('p') if ctrl => {
            palette.mode = if is_find { PaletteMode::Command } else { PaletteMode::Find };
            changed(model);
        }
        KeyCode::Up if !is_find && palette.cursor == 0 => recall(model, 1),
        KeyCode::Down if !is_find && palette.recall.is_some() => recall(model, -1),
        KeyCode::Up | KeyCode::BackTab => palette.cursor = palette.cursor.saturating_sub(1),
        KeyCode::Down => palette.cursor = (palette.cursor + 1).min(last),
        KeyCode::Tab if is_find => palette.cursor = (palette.cursor + 1).min(last),
        KeyCode::Tab => {
            if let Some(PaletteItem { does: Does::Complete(line), .. }) = palette.items.get(palette.cursor).cloned() {
                palette.edit.set(line);
                changed(model);
            }
        }
        KeyCode::Enter if is_find => return run_item(model),
        KeyCode::Enter => {
            let line = palette.edit.text().trim().to_owned();
            return run_line(model, &line);
        }
        _ => {
            if palette.edit.key(key) == Edited::Changed {
                palette.recall = None;
                changed(model);
            }
        }
    }
    Vec::new()
}

/// Goes through the lines run before.
fn recall(model: &mut Model, delta: isize) {
    let n = model.line_history.len();
    let Some(Layer::Palette(palette)) = model.layers.last_mut() else { return };
    let next = palette.recall.map_or(-1, |at| at as isize) + delta;
    if next < 0 {
        palette.recall = None;
        palette.edit.set("");
    } else if (next as usize) < n {
        palette.recall = Some(next as usize);
        let line = model.line_history[n - 1 - next as usize].clone();
        palette.edit.set(line);
    }
    let kept = palette.recall;
    changed(model);
    if let Some(Layer::Palette(palette)) = model.layers.last_mut() {
        palette.recall = kept;
    }
}

fn run_item(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Palette(palette)) = model.layers.last_mut() else { return Vec::new() };
    let Some(item) = palette.items.get(palette.cursor).cloned() else { return Vec::new() };
    match item.does {
        Does::Action(_) if !item.is_available => {
            say(model, super::super::model::news::Tone::Warning, item.note);
            Vec::new()
        }
        Does::Action(action) => {
            model.layers.pop();
            perform(model, action)
        }
        Does::Theme(name) => {
            model.layers.pop();
            layers::set_theme(model, &name);
            Vec::new()
        }
        Does::Complete(line) => {
            palette.mode = PaletteMode::Command;
            palette.edit.set(line);
            changed(model);
            Vec::new()
        }
    }
}

fn run_line(model: &mut Model, line: &str) -> Vec<Command> {
    model.layers.pop();
    if line.is_empty() {
        return Vec::new();
    }
    model.line_history.retain(|known| known != line);
    model.line_history.push(line.to_owned());
    if model.line_history.len() > MAX_HISTORY {
        model.line_history.remove(0);
    }
    let (word, rest) = line.split_once(' ').map_or((line, ""), |(word, rest)| (word, rest.trim()));
    match (word, rest) {
        ("q" | "q!" | "quit" | "exit", "") => return super::actions::leave(model),
        ("theme", "") => return perform(model, Action::SwitchTheme),
        ("theme", name) => layers::set_theme(model, name),
        ("host" | "hosts" | "ctx", "") => return perform(model, Action::Hosts),
        ("host" | "ctx", name) => return super::ask::switch_host(model, name.to_owned()),
        ("read-only", "") => return perform(model, Action::ToggleReadOnly),
        ("help" | "h", "") => return perform(model, Action::Help),
        ("errors", "") => return perform(model, Action::Errors),
        ("mouse", "") => return perform(model, Action::ToggleMouse),
        ("containers" | "images" | "volumes" | "networks" | "events", "") => {
            let pane = match word {
                "images" if rest.is_empty() => Pane::Images,
                "volumes" => Pane::Volumes,
                "networks" => Pane::Networks,
                "events" => Pane::Events,
                _ => Pane::Containers,
            };
            return super::actions::focus(model, pane);
        }
        _ if model.is_read_only() && !is_reading(line) => {
            let text = format!("{} is read-only here; :read-only allows changes", model.host.name);
            say(model, super::super::model::news::Tone::Warning, text);
        }
        _ => return run_verb(model, line),
    }
    Vec::new()
}

/// Whether a line of the command line only looks. What is not known to look is taken to change something.
fn is_reading(line: &str) -> bool {
    const ALONE: &[&str] = &[
        "ps", "images", "logs", "inspect", "top", "stats", "events", "info", "version", "history", "search", "diff",
        "port", "df",
    ];
    const UNDER: &[&str] =
        &["ls", "list", "inspect", "logs", "stats", "top", "history", "df", "info", "events", "port", "diff"];
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let is_noun = ["container", "image", "volume", "network", "system"].contains(&first);
    ALONE.contains(&first) || (is_noun && words.next().is_some_and(|word| UNDER.contains(&word)))
}

fn run_verb(model: &mut Model, line: &str) -> Vec<Command> {
    let id = model.fresh_id();
    let title = format!(":{}", super::super::text::sanitise(line));
    model.layers.push(Layer::Pager(Pager {
        title,
        lines: Vec::new(),
        scroll: 0,
        is_following: true,
        run: Some((id, None)),
    }));
    vec![Command::RunLine { pager: id, line: line.to_owned() }]
}
