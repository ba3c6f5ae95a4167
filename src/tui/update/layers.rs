//! Keys for the top layer, and opening and closing of layers. Part of `update`.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::config::LineOutput;
use crate::engine::{CreateVolume, EngineError};

use super::super::action::{Scope, TABLE};
use super::super::edit::{Edited, LineEdit};
use super::super::inspect_json;
use super::super::layout::Layout;
use super::super::model::layers::{
    Ask, Confirm, ErrorBox, Help, HelpItem, Layer, Menu, Pager, PagerTone, Pick, Prompt, Source, Then,
};
use super::super::model::news::Tone;
use super::super::model::{Model, Pane};
use super::super::msg::{Command, Verb, Work};
use super::super::text::sanitise;
use super::super::theme::Theme;
use super::{actions, ask, commands, data, forms, jobs, perform, say, sessions};

/// Lines kept of a command's output.
const MAX_PAGER_LINES: usize = 20_000;

pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let is_terminal = matches!(model.layers.last(), Some(Layer::Terminal(_)));
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    if !is_terminal && ctrl {
        match key.code {
            KeyCode::Char('c') => return close(model),
            KeyCode::Char('l') => return vec![Command::Redraw],
            KeyCode::Char('z') => return vec![Command::Suspend],
            _ => {}
        }
    }
    match model.layers.last() {
        Some(Layer::Confirm(_)) => confirm_key(model, key),
        Some(Layer::Menu(_)) => menu_key(model, key),
        Some(Layer::Prompt(_)) => prompt_key(model, key),
        Some(Layer::Form(_)) => forms::take_key(model, key),
        Some(Layer::Palette(_)) => commands::take_key(model, key),
        Some(Layer::Help(_)) => help_key(model, key),
        Some(Layer::Pager(_)) => pager_key(model, key),
        Some(Layer::Error(_)) => error_key(model, key),
        Some(Layer::Terminal(_)) => sessions::take_key(model, key),
        Some(Layer::Jobs(_)) => jobs::take_key(model, key),
        None => Vec::new(),
    }
}

pub(super) fn take_paste(model: &mut Model, text: &str) -> Vec<Command> {
    match model.layers.last_mut() {
        Some(Layer::Prompt(prompt)) => prompt.edit.insert(text),
        Some(Layer::Palette(palette)) => {
            palette.edit.insert(text);
            commands::changed(model);
        }
        Some(Layer::Help(help)) => {
            help.edit.insert(text);
            filter_help(model);
        }
        Some(Layer::Form(_)) => forms::take_paste(model, text),
        Some(Layer::Terminal(_)) => return sessions::take_paste(model, text),
        _ => {}
    }
    Vec::new()
}

/// Closes the top layer; what it was running is cancelled.
pub(super) fn close(model: &mut Model) -> Vec<Command> {
    match model.layers.pop() {
        Some(Layer::Pager(Pager { run: Some((id, None)), .. })) => vec![Command::StopLine(id)],
        _ => Vec::new(),
    }
}

fn confirm_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let Some(Layer::Confirm(confirm)) = model.layers.last_mut() else { return Vec::new() };
    match key.code {
        KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right | KeyCode::Char('h' | 'l') => {
            confirm.is_on_yes = !confirm.is_on_yes;
        }
        KeyCode::Char('y') => return confirmed(model),
        KeyCode::Enter if confirm.is_on_yes => return confirmed(model),
        KeyCode::Enter | KeyCode::Esc | KeyCode::Char('n' | 'q') => drop(model.layers.pop()),
        KeyCode::Char(c) => {
            if let Some(switch) = confirm.switches.iter_mut().find(|switch| switch.key == c) {
                switch.is_on = !switch.is_on;
            }
            // What a prune takes depends on its switch.
            if let Then::Prune(what) = confirm.then
                && what != Pane::Containers
            {
                let all = is_on(confirm, 'a');
                let (objects, bytes) = ask::prune_preview(model, what, all);
                let Some(Layer::Confirm(confirm)) = model.layers.last_mut() else { return Vec::new() };
                (confirm.objects, confirm.bytes) = (objects, bytes);
            }
        }
        _ => {}
    }
    Vec::new()
}

fn is_on(confirm: &Confirm, key: char) -> bool {
    confirm.switches.iter().any(|switch| switch.key == key && switch.is_on)
}

fn confirmed(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Confirm(confirm)) = model.layers.pop() else { return Vec::new() };
    let (force, volumes, all) = (is_on(&confirm, 'f'), is_on(&confirm, 'v'), is_on(&confirm, 'a'));
    let work = match confirm.then {
        Then::RemoveContainers(targets) => Work::Containers { verb: Verb::Remove { force, volumes }, targets },
        Then::RemoveImages(targets) => Work::RemoveImages { targets, force },
        Then::RemoveVolumes(targets) => Work::RemoveVolumes { targets, force },
        Then::Prune(what) => Work::Prune { what, all },
        Then::Do(work) => work,
        Then::Quit => return actions::leave(model),
    };
    actions::clear_marks(model);
    jobs::start(model, work)
}

/// Sizes asked for when the dialog opened.
pub(super) fn sizes_known(model: &mut Model, sizes: &[(String, u64)]) {
    let Some(Layer::Confirm(confirm)) = model.layers.last_mut() else { return };
    let size_of = |id: &String| sizes.iter().find(|(known, _)| known == id).map(|(_, size)| *size);
    match &confirm.then {
        Then::RemoveContainers(targets) => {
            confirm.bytes = targets.iter().map(|target| size_of(&target.id)).sum();
        }
        Then::Prune(Pane::Containers) if !sizes.is_empty() => {
            confirm.bytes = Some(sizes.iter().map(|(_, size)| size).sum());
        }
        _ => {}
    }
}

fn menu_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let Some(Layer::Menu(menu)) = model.layers.last_mut() else { return Vec::new() };
    let last = menu.items.len().saturating_sub(1);
    let letter = match key.code {
        KeyCode::Char(c) => menu.items.iter().position(|item| item.key == Some(c)),
        _ => None,
    };
    if let Some(at) = letter {
        menu.cursor = at;
        return pick(model);
    }
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => menu.cursor = menu.cursor.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => menu.cursor = (menu.cursor + 1).min(last),
        KeyCode::Home | KeyCode::Char('g') => menu.cursor = 0,
        KeyCode::End | KeyCode::Char('G') => menu.cursor = last,
        KeyCode::Enter | KeyCode::Char(' ') => return pick(model),
        KeyCode::Esc | KeyCode::Char('q') => drop(model.layers.pop()),
        _ => {}
    }
    Vec::new()
}

fn pick(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Menu(Menu { items, cursor, .. })) = model.layers.last_mut() else { return Vec::new() };
    let Some(item) = items.get_mut(*cursor) else { return Vec::new() };
    let choice = item.pick.clone();
    if let Pick::Column(column) = choice {
        if model.columns.contains(&column) {
            model.columns.retain(|shown| *shown != column);
            item.note.clear();
        } else {
            model.columns.push(column);
            item.note = "shown".to_owned();
        }
        return Vec::new();
    }
    model.layers.pop();
    picked(model, choice)
}

fn picked(model: &mut Model, choice: Pick) -> Vec<Command> {
    match choice {
        Pick::Signal(signal) => {
            use crate::engine::container::Status;
            let targets = jobs::container_targets(model, |status| status.is_alive() || status == Status::Restarting);
            model.containers.clear_marks();
            return jobs::start(model, Work::Containers { verb: Verb::Kill(signal), targets });
        }
        Pick::Sort(sort) => {
            model.sort = sort;
            data::arrange_containers(model);
        }
        Pick::Order(list, chosen) => {
            if let Some(order) = model.orders.of(list) {
                *order = chosen;
            }
            data::arrange_list(model, list);
        }
        Pick::Theme(name) => set_theme(model, &name),
        Pick::Copy(what, text) => {
            say(model, Tone::Good, format!("copied the {what}"));
            return vec![Command::Clipboard(text)];
        }
        Pick::Host(name) => return ask::switch_host(model, name),
        Pick::OtherHost => ask::other_host(model),
        Pick::CopyTo(images, host) => return jobs::start(model, Work::CopyImages { images, host }),
        Pick::CopyToOther(images) => ask::copy_to_other(model, images),
        Pick::Load => ask::load(model),
        Pick::Import => forms::open_import(model),
        Pick::AskPull => ask::pull(model),
        Pick::AskSearch => ask::search_registry(model),
        Pick::Pull(reference) => return jobs::start(model, Work::Pull { reference }),
        Pick::FromHost => forms::open_from_host(model),
        Pick::Column(_) => {}
    }
    Vec::new()
}

/// Switches the colours at once; an unknown name is said.
pub(super) fn set_theme(model: &mut Model, name: &str) {
    match Theme::built_in(name) {
        Some(theme) => model.theme = if model.is_colorless { theme.without_color() } else { theme },
        None => say(model, Tone::Warning, format!("there is no theme {name}")),
    }
}

fn prompt_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let Some(Layer::Prompt(prompt)) = model.layers.last_mut() else { return Vec::new() };
    match key.code {
        KeyCode::Esc => drop(model.layers.pop()),
        KeyCode::Enter if prompt.completion.cursor.is_some() => {
            let is_dir = take_completion(prompt);
            if is_dir { return ask_completions(model) } else { return Vec::new() }
        }
        KeyCode::Enter => return submit(model),
        KeyCode::Tab | KeyCode::Down => return complete(model, 1),
        KeyCode::BackTab | KeyCode::Up => return complete(model, -1),
        _ => {
            if prompt.edit.key(key) == Edited::Changed {
                prompt.error = None;
                prompt.completion.cursor = None;
                let text = prompt.edit.text().to_owned();
                match prompt.then {
                    Ask::InspectSearch => model.detail.inspect.set_search(&text),
                    Ask::LayerSearch => search_layers(model, &text),
                    _ => {}
                }
                return ask_completions(model);
            }
        }
    }
    Vec::new()
}

fn search_layers(model: &mut Model, text: &str) {
    if let Some(tree) = model.detail.layers_mut() {
        tree.set_search(text);
    }
}

/// Puts the chosen proposal into the line; true when it is a directory to go on in.
fn take_completion(prompt: &mut Prompt) -> bool {
    let chosen = prompt.completion.cursor.take().and_then(|at| prompt.completion.found.get(at)).cloned();
    prompt.completion.found.clear();
    let Some(chosen) = chosen else { return false };
    let is_dir = chosen.ends_with('/');
    prompt.edit.set(chosen);
    is_dir
}

pub(super) fn ask_completions(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Prompt(prompt)) = model.layers.last() else { return Vec::new() };
    match prompt.completion.source {
        Source::Paths => vec![Command::CompletePath(prompt.edit.text().to_owned())],
        Source::Images => {
            // A proposal stands for everything that it could be.
            let typed = if prompt.edit.is_proposed() { "" } else { prompt.edit.text().trim() };
            let found = known_names(model, typed);
            if let Some(Layer::Prompt(prompt)) = model.layers.last_mut() {
                prompt.completion.found = found;
            }
            Vec::new()
        }
        Source::None => Vec::new(),
    }
}

/// Names of images that are here, that containers were made from, or that were pulled before, with this part in them.
fn known_names(model: &Model, typed: &str) -> Vec<String> {
    let here = model.images.all().iter().filter(|row| !row.is_dangling()).map(|row| row.handle.clone());
    let used = model.containers.all().iter().map(|row| row.it.image.clone());
    let pulled = model.past_jobs.iter().filter_map(|job| match &job.work {
        Work::Pull { reference } | Work::Push { reference } => Some(reference.clone()),
        _ => None,
    });
    let names: std::collections::BTreeSet<String> = here.chain(used).chain(pulled).collect();
    // An id is no name to a registry.
    let is_name = |name: &str| !name.is_empty() && !name.starts_with("sha256:");
    names.into_iter().filter(|name| is_name(name) && name.contains(typed) && name != typed).collect()
}

fn complete(model: &mut Model, delta: isize) -> Vec<Command> {
    let Some(Layer::Prompt(prompt)) = model.layers.last_mut() else { return Vec::new() };
    if prompt.completion.found.is_empty() {
        return ask_completions(model);
    }
    if prompt.completion.found.len() == 1 {
        prompt.completion.cursor = Some(0);
        if take_completion(prompt) {
            return ask_completions(model);
        }
        return Vec::new();
    }
    let n = prompt.completion.found.len() as isize;
    let here = prompt.completion.cursor.map_or(if delta > 0 { -1 } else { 0 }, |at| at as isize);
    prompt.completion.cursor = Some((here + delta).rem_euclid(n) as usize);
    Vec::new()
}

/// Paths came for what was typed; old answers are dropped.
pub(super) fn paths_found(model: &mut Model, typed: &str, found: Vec<String>) {
    match model.layers.last_mut() {
        Some(Layer::Prompt(prompt)) if prompt.edit.text() == typed => {
            prompt.completion.found = found;
            prompt.completion.cursor = None;
        }
        Some(Layer::Form(form)) => forms::paths_found(form, typed, found),
        _ => {}
    }
}

fn submit(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Prompt(prompt)) = model.layers.last_mut() else { return Vec::new() };
    let text = prompt.edit.text().trim().to_owned();
    let may_be_empty = matches!(prompt.then, Ask::CreateVolume | Ask::InspectSearch | Ask::LayerSearch);
    if text.is_empty() && !may_be_empty {
        prompt.error = Some("this cannot be empty".to_owned());
        return Vec::new();
    }
    let Some(Layer::Prompt(prompt)) = model.layers.pop() else { return Vec::new() };
    let path = || PathBuf::from(&text);
    match prompt.then {
        Ask::Rename(target) if target.name == text => Vec::new(),
        Ask::Rename(target) => jobs::start(model, Work::Rename { target, to: text }),
        Ask::Tag(image) => jobs::start(model, Work::Tag { image, reference: text }),
        Ask::Pull => jobs::start(model, Work::Pull { reference: text }),
        Ask::Push => jobs::start(model, Work::Push { reference: text }),
        Ask::SearchRegistry => {
            say(model, Tone::Info, format!("searching for {text}"));
            vec![Command::SearchRegistry(text)]
        }
        Ask::Load => jobs::start(model, Work::LoadImages(super::super::home::expand(&text))),
        Ask::SaveImages(images) => {
            jobs::start(model, Work::SaveImages { images, path: super::super::home::expand(&text) })
        }
        Ask::Host => ask::switch_host(model, text),
        Ask::CopyTo(images) => jobs::start(model, Work::CopyImages { images, host: text }),
        Ask::SaveText(contents) => vec![Command::SaveText { path: path(), text: contents }],
        Ask::CreateVolume => {
            let name = (!text.is_empty()).then_some(text);
            jobs::start(model, Work::CreateVolume(CreateVolume { name, ..CreateVolume::default() }))
        }
        Ask::LayerSearch => {
            search_layers(model, &text);
            let n = model.detail.layers_mut().map_or(0, |tree| tree.matches().0);
            if !text.is_empty() && n == 0 {
                say(model, Tone::Warning, format!("no file has {text} in its name"));
            }
            Vec::new()
        }
        Ask::InspectSearch => {
            model.detail.inspect.set_search(&text);
            if !text.is_empty() && model.detail.inspect.n_matches() == 0 {
                say(model, Tone::Warning, format!("nothing matches {text}"));
            }
            Vec::new()
        }
    }
}

/// Help for the scopes of the moment, straight from the table.
pub(super) fn open_help(model: &mut Model) {
    model.layers.push(Layer::Help(Help { edit: LineEdit::default(), items: Vec::new(), cursor: 0 }));
    filter_help(model);
}

fn filter_help(model: &mut Model) {
    let scopes = model.scopes();
    let Some(Layer::Help(help)) = model.layers.last() else { return };
    let wanted = help.edit.text().to_lowercase();
    let items = help_items(model, &scopes, &wanted);
    let first = items.iter().position(|item| matches!(item, HelpItem::Entry { .. })).unwrap_or(0);
    if let Some(Layer::Help(help)) = model.layers.last_mut() {
        help.items = items;
        help.cursor = first;
    }
}

fn help_items(model: &Model, scopes: &[Scope], wanted: &str) -> Vec<HelpItem> {
    let mut items = Vec::new();
    for scope in scopes {
        let mut entries = Vec::new();
        for row in TABLE.iter().filter(|row| row.scope == *scope) {
            // A key that a nearer scope takes does something else here.
            let keys =
                model.keymap.keys_of(row).iter().filter(|chord| {
                    model.keymap.action(scopes, **chord).is_some_and(|(action, _)| action == row.action)
                });
            let keys: Vec<String> = keys.map(ToString::to_string).collect();
            if keys.is_empty() {
                continue;
            }
            let keys = keys.join(" ");
            let is_wanted =
                row.doc.to_lowercase().contains(wanted) || row.label.contains(wanted) || keys.to_lowercase() == wanted;
            if is_wanted {
                entries.push(HelpItem::Entry {
                    action: row.action,
                    keys,
                    doc: row.doc,
                    unavailable: row.ready(model).err(),
                });
            }
        }
        if !entries.is_empty() {
            items.push(HelpItem::Heading(scope.title()));
            items.extend(entries);
        }
    }
    items
}

fn help_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let rows = layer_rows(model) as isize;
    let Some(Layer::Help(help)) = model.layers.last_mut() else { return Vec::new() };
    match key.code {
        KeyCode::Esc if !help.edit.text().is_empty() => {
            help.edit = LineEdit::default();
            filter_help(model);
        }
        KeyCode::Esc | KeyCode::F(1) => drop(model.layers.pop()),
        KeyCode::Up => step_help(help, -1),
        KeyCode::Down | KeyCode::Tab => step_help(help, 1),
        KeyCode::PageUp => step_help(help, -rows),
        KeyCode::PageDown => step_help(help, rows),
        KeyCode::Char('?') if help.edit.text().is_empty() => drop(model.layers.pop()),
        KeyCode::Enter => {
            let chosen = help.items.get(help.cursor).cloned();
            return run_help_item(model, chosen);
        }
        _ => {
            if help.edit.key(key) == Edited::Changed {
                filter_help(model);
            }
        }
    }
    Vec::new()
}

fn step_help(help: &mut Help, delta: isize) {
    let is_entry = |at: usize| matches!(help.items.get(at), Some(HelpItem::Entry { .. }));
    let last = help.items.len().saturating_sub(1);
    let mut at = help.cursor.saturating_add_signed(delta).min(last);
    // Headings are passed over, at the top downwards.
    let direction = if delta < 0 && at > 0 { -1 } else { 1 };
    while at < last && !is_entry(at) {
        at = at.saturating_add_signed(direction);
        if at == 0 {
            break;
        }
    }
    if !is_entry(at) {
        at = help.items.iter().position(|item| matches!(item, HelpItem::Entry { .. })).unwrap_or(0);
    }
    help.cursor = at;
}

fn run_help_item(model: &mut Model, chosen: Option<HelpItem>) -> Vec<Command> {
    match chosen {
        Some(HelpItem::Entry { action, unavailable: None, .. }) => {
            model.layers.pop();
            perform(model, action)
        }
        Some(HelpItem::Entry { unavailable: Some(reason), .. }) => {
            say(model, Tone::Warning, reason);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Rows of a layer's list, for paging.
fn layer_rows(model: &Model) -> usize {
    match Layout::of(model) {
        Layout::TooSmall => 1,
        Layout::Areas(areas) => usize::from(areas.body.height.saturating_sub(6)).max(1),
    }
}

/// The inspect answer as text.
pub(super) fn open_json(model: &mut Model) {
    let Some(subject) = model.subject() else { return };
    let Some(loaded) = model.detail.loaded_for(&subject) else {
        say(model, Tone::Info, "it is not loaded yet");
        return;
    };
    let text = ask::pretty(&inspect_json::of(loaded));
    let lines = text.lines().map(|line| (PagerTone::Plain, sanitise(line).into_owned())).collect();
    let title = format!("{} as JSON", short_title(model));
    model.layers.push(Layer::Pager(Pager { title, lines, scroll: 0, is_following: false, run: None }));
}

fn short_title(model: &Model) -> String {
    super::super::pages::subject_title(model)
}

fn pager_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let rows = layer_rows(model);
    let Some(Layer::Pager(pager)) = model.layers.last_mut() else { return Vec::new() };
    let most = pager.lines.len().saturating_sub(rows);
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let to = |delta: isize| pager.scroll.saturating_add_signed(delta).min(most);
    pager.scroll = match key.code {
        KeyCode::Esc | KeyCode::Char('q') | KeyCode::Enter => return close(model),
        KeyCode::Char('y' | 'c') if !ctrl => {
            let text: String = pager.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
            say(model, Tone::Good, "copied the text");
            return vec![Command::Clipboard(text)];
        }
        KeyCode::Up | KeyCode::Char('k') => to(-1),
        KeyCode::Down | KeyCode::Char('j') => to(1),
        KeyCode::Char('d') if ctrl => to(rows as isize / 2),
        KeyCode::Char('u') if ctrl => to(-(rows as isize) / 2),
        KeyCode::Char('f') if ctrl => to(rows as isize),
        KeyCode::Char('b') if ctrl => to(-(rows as isize)),
        KeyCode::PageDown | KeyCode::Char(' ') => to(rows as isize),
        KeyCode::PageUp => to(-(rows as isize)),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => most,
        _ => pager.scroll,
    };
    pager.is_following = pager.scroll >= most;
    Vec::new()
}

/// Output of a line that runs.
pub(super) fn pager_output(model: &mut Model, id: u64, output: LineOutput) {
    let rows = layer_rows(model);
    let pager = model.layers.iter_mut().find_map(|layer| match layer {
        Layer::Pager(pager) if pager.run.is_some_and(|(run, _)| run == id) => Some(pager),
        _ => None,
    });
    let Some(pager) = pager else { return };
    match output {
        LineOutput::Out(line) => pager.lines.push((PagerTone::Plain, sanitise(&line).into_owned())),
        LineOutput::Err(line) => pager.lines.push((PagerTone::Error, sanitise(&line).into_owned())),
        LineOutput::Ended(code) => {
            pager.run = Some((id, Some(code)));
            model.due.lists.extend(Pane::LISTS);
            return;
        }
    }
    if pager.lines.len() > MAX_PAGER_LINES {
        pager.lines.drain(..MAX_PAGER_LINES / 10);
    }
    if pager.is_following {
        pager.scroll = pager.lines.len().saturating_sub(rows);
    }
}

/// Opens the error box, or a toast when a single thing was merely refused without a reason worth a dialog.
pub(super) fn show_error(model: &mut Model, title: &str, errors: Vec<(String, EngineError)>) {
    model.last_error = errors.first().map(|(_, error)| error.clone());
    model.layers.push(Layer::Error(ErrorBox { title: title.to_owned(), errors, scroll: 0 }));
}

fn error_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let Some(Layer::Error(error)) = model.layers.last_mut() else { return Vec::new() };
    match key.code {
        KeyCode::Down | KeyCode::Char('j') => error.scroll += 1,
        KeyCode::Up | KeyCode::Char('k') => error.scroll = error.scroll.saturating_sub(1),
        KeyCode::Char('c' | 'y') => {
            let text: Vec<String> = error.errors.iter().map(|(_, error)| error.to_string()).collect();
            say(model, Tone::Good, "copied the message");
            return vec![Command::Clipboard(text.join("\n"))];
        }
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | ' ') => drop(model.layers.pop()),
        _ => {}
    }
    Vec::new()
}
