//! One arm for each action of the table. Part of `update`; called by keys, palette and help alike, after the availability check.

use crate::engine::container::Status;

use super::super::action::Action;
use super::super::edit::LineEdit;
use super::super::logs::LogsAction;
use super::super::model::layer_tree::LayerTree;
use super::super::model::news::Tone;
use super::super::model::{Model, Pane, Tab, Zoom};
use super::super::msg::{Command, Verb, Work};
use super::super::terminal::Mouse;
use super::{ask, commands, data, forms, jobs, layers, motion, say, sessions};

/// Does an action. Availability has been checked by the caller.
pub fn perform(model: &mut Model, action: Action) -> Vec<Command> {
    if model.is_read_only() && action.changes_host() {
        say(model, Tone::Warning, format!("{} is read-only here; ctrl-w allows changes", model.host.name));
        return Vec::new();
    }
    match action {
        Action::Quit => return quit(model),
        Action::Cancel => return cancel(model),
        Action::Back => return back(model),
        Action::Help => layers::open_help(model),
        Action::Palette => commands::open(model, super::super::model::layers::PaletteMode::Find),
        Action::CommandLine => commands::open(model, super::super::model::layers::PaletteMode::Command),
        Action::ShowPane(Pane::Detail) => return show_logs(model),
        Action::ShowPane(pane) => return focus(model, pane),
        Action::NextPane => return cycle_pane(model, 1),
        Action::PreviousPane => return cycle_pane(model, -1),
        Action::Zoom => model.zoom = if model.zoom == Zoom::On { Zoom::Off } else { Zoom::On },
        Action::Redraw => return vec![Command::Redraw],
        Action::Refresh => return refresh(model),
        Action::Suspend => return vec![Command::Suspend],
        Action::Hosts => return ask::hosts(model),
        Action::ToggleReadOnly => toggle_read_only(model),
        Action::SwitchTheme => ask::theme_menu(model),
        Action::ToggleMouse => return toggle_mouse(model),
        Action::Errors => show_last_error(model),
        Action::AddImage => ask::add_image_menu(model),

        Action::Up
        | Action::Down
        | Action::Top
        | Action::Bottom
        | Action::HalfPageUp
        | Action::HalfPageDown
        | Action::PageUp
        | Action::PageDown => return motion::go(model, action),
        Action::In | Action::Open => return go_in(model),
        Action::Out => return go_out(model),

        Action::Mark => with_list(model, Marking::Toggle),
        Action::MarkRange => with_list(model, Marking::Range),
        Action::Filter => open_filter(model),
        Action::Sort => ask::sort_menu(model),
        Action::Columns => ask::columns_menu(model),
        Action::Copy => ask::copy_menu(model),
        Action::Save => ask::save_page(model),

        Action::New => new(model),
        Action::Start => return verb_on_targets(model, &Verb::Start, |s| !s.is_alive() && s != Status::Removing),
        Action::Stop => return verb_on_targets(model, &Verb::Stop, |s| s.is_alive() || s == Status::Restarting),
        Action::Restart => return verb_on_targets(model, &Verb::Restart, |s| s != Status::Removing),
        Action::TogglePause => return toggle_pause(model),
        Action::Kill => ask::signal_menu(model),
        Action::Remove => return ask::remove(model),
        Action::Prune => return ask::prune(model),
        Action::Rename => ask::rename(model),
        Action::Shell => return sessions::shell(model),
        Action::Exec => forms::open_exec(model),
        Action::Attach => return sessions::attach(model),
        Action::ShowTab(tab) => return show_tab(model, tab),
        Action::MergedLogs => return merged_logs(model),
        Action::PreviousRun => return previous_run(model),
        Action::Limits => forms::open_limits(model),
        Action::RawJson => layers::open_json(model),

        Action::Tag => ask::tag(model),
        Action::Pull => ask::pull(model),
        Action::Push => ask::push_image(model),
        Action::SearchRegistry => ask::search_registry(model),
        Action::CopyToHost => return ask::copy_to_host(model),
        Action::Jobs => jobs::open(model),
        Action::SaveImage => ask::save_images(model),

        Action::NextTab => return step_tab(model, 1),
        Action::PreviousTab => return step_tab(model, -1),
        Action::Search if model.tab() == Tab::History => ask::layer_search(model),
        Action::Search => ask::inspect_search(model),
        Action::NextMatch if model.tab() == Tab::History => with_layers(model, LayerTree::next_match),
        Action::PreviousMatch if model.tab() == Tab::History => with_layers(model, LayerTree::previous_match),
        Action::NextMatch => model.detail.inspect.next_match(),
        Action::PreviousMatch => model.detail.inspect.previous_match(),
        Action::FoldAll if model.tab() == Tab::History => with_layers(model, LayerTree::toggle_all),
        Action::FoldAll => model.detail.inspect.toggle_all(),
        Action::Logs(action) => return motion::logs_action(model, action),
    }
    Vec::new()
}

fn quit(model: &mut Model) -> Vec<Command> {
    if model.focus == Pane::Detail || model.focus == Pane::Events {
        return focus(model, model.list);
    }
    if !model.jobs.is_empty() {
        ask::quit(model);
        return Vec::new();
    }
    leave(model)
}

/// Ends the program; everything that runs goes on.
pub(super) fn leave(model: &mut Model) -> Vec<Command> {
    model.is_quitting = true;
    vec![Command::Quit]
}

fn cancel(model: &mut Model) -> Vec<Command> {
    if let Some(last) = model.jobs.len().checked_sub(1) {
        return jobs::cancel(model, last);
    }
    quit(model)
}

fn back(model: &mut Model) -> Vec<Command> {
    if model.focus == Pane::Detail
        && model.tab() == Tab::Logs
        && let Some(logs) = &mut model.detail.logs
        && logs.can_go_back()
    {
        let commands = logs.apply(LogsAction::Back, None);
        return motion::from_logs(model, commands);
    }
    let searches_layers = |model: &mut Model| model.detail.layers_mut().is_some_and(|tree| !tree.search().is_empty());
    if model.focus == Pane::Detail && model.tab() == Tab::Inspect && model.detail.inspect.has_search() {
        model.detail.inspect.set_search("");
    } else if model.focus == Pane::Detail && model.tab() == Tab::History && searches_layers(model) {
        with_layers(model, |tree| tree.set_search(""));
    } else if model.focus == Pane::Detail || model.focus == Pane::Events && model.events.filter().is_empty() {
        return focus(model, model.list);
    } else if !super::filter::current(model).is_empty() {
        super::filter::set(model, "");
    } else if motion::n_marks(model) > 0 {
        clear_marks(model);
    } else if model.zoom == Zoom::On {
        model.zoom = Zoom::Off;
    }
    Vec::new()
}

pub(super) fn clear_marks(model: &mut Model) {
    model.containers.clear_marks();
    model.images.clear_marks();
    model.volumes.clear_marks();
    model.networks.clear_marks();
}

/// Gives a pane the focus; a list also becomes what the details are about.
pub(super) fn focus(model: &mut Model, pane: Pane) -> Vec<Command> {
    model.focus = pane;
    if Pane::LISTS.contains(&pane) {
        model.list = pane;
        model.detail.merged.clear();
    }
    Vec::new()
}

fn cycle_pane(model: &mut Model, delta: isize) -> Vec<Command> {
    const CYCLE: [Pane; 5] = [Pane::Containers, Pane::Images, Pane::Volumes, Pane::Networks, Pane::Detail];
    let here = CYCLE.iter().position(|pane| *pane == model.focus).unwrap_or(CYCLE.len() - 1);
    let next = (here as isize + delta).rem_euclid(CYCLE.len() as isize) as usize;
    focus(model, CYCLE[next])
}

fn show_logs(model: &mut Model) -> Vec<Command> {
    model.list = Pane::Containers;
    show_tab(model, Tab::Logs)
}

fn show_tab(model: &mut Model, tab: Tab) -> Vec<Command> {
    if Tab::of(model.list).contains(&tab) {
        let list = model.list;
        model.detail.set_tab(list, tab);
        model.detail.merged.clear();
        model.focus = Pane::Detail;
    }
    Vec::new()
}

fn step_tab(model: &mut Model, delta: isize) -> Vec<Command> {
    let list = model.list;
    let tabs = Tab::of(list);
    let here = tabs.iter().position(|tab| *tab == model.tab()).unwrap_or(0);
    let next = (here as isize + delta).rem_euclid(tabs.len() as isize) as usize;
    model.detail.set_tab(list, tabs[next]);
    Vec::new()
}

fn merged_logs(model: &mut Model) -> Vec<Command> {
    let targets = jobs::container_targets(model, |_| true);
    let commands = show_tab(model, Tab::Logs);
    model.detail.merged = targets;
    commands
}

/// The log of the selected container, where its last run begins. The view may still have to be opened and filled.
fn previous_run(model: &mut Model) -> Vec<Command> {
    let Some(row) = model.containers.selected() else { return Vec::new() };
    let (id, started) = (row.it.id.clone(), row.it.state.started_at);
    let mut commands = show_tab(model, Tab::Logs);
    let is_open = model.detail.merged.is_empty() && model.detail.logs_of == [id.clone()];
    match (&mut model.detail.logs, started) {
        (Some(logs), Some(started)) if is_open => {
            commands.extend(logs.find_time(started).into_iter().map(Command::Logs))
        }
        _ => model.detail.find_time = started.map(|started| (id, started)),
    }
    commands
}

fn refresh(model: &mut Model) -> Vec<Command> {
    model.due.lists.extend(Pane::LISTS);
    model.due.asked.clear();
    model.due.info = true;
    model.due.reconciled = Some(model.tick);
    model.detail.is_stale = true;
    model.detail.failed = None;
    match model.link {
        super::super::model::Link::Up => Vec::new(),
        _ => vec![Command::Reconnect],
    }
}

fn toggle_mouse(model: &mut Model) -> Vec<Command> {
    model.mouse = if model.mouse == Mouse::On { Mouse::Off } else { Mouse::On };
    say(
        model,
        Tone::Info,
        if model.mouse == Mouse::On { "the mouse is orlop's" } else { "the mouse is the terminal's" },
    );
    vec![Command::SetMouse(model.mouse)]
}

fn show_last_error(model: &mut Model) {
    match model.last_error.clone() {
        Some(error) => layers::show_error(model, "Last error", vec![(String::new(), error)]),
        None => say(model, Tone::Info, "nothing has failed so far"),
    }
}

fn go_in(model: &mut Model) -> Vec<Command> {
    match model.focus {
        Pane::Detail if model.tab() == Tab::Inspect => model.detail.inspect.unfold(),
        Pane::Detail if model.tab() == Tab::History => with_layers(model, LayerTree::unfold),
        Pane::Detail => {}
        Pane::Events => open_event(model),
        _ if model.subject().is_some() => model.focus = Pane::Detail,
        _ => {}
    }
    Vec::new()
}

fn with_layers(model: &mut Model, act: impl FnOnce(&mut LayerTree)) {
    if let Some(tree) = model.detail.layers_mut() {
        act(tree);
    }
}

/// From an event to the container it is about.
fn open_event(model: &mut Model) {
    let Some(event) = model.events.selected().cloned() else { return };
    let found = model.containers.all().iter().find(|row| row.name == event.name).map(|row| row.it.id.clone());
    match found {
        Some(id) if event.kind == "container" && model.containers.select_id(&id) => {
            model.list = Pane::Containers;
            model.focus = Pane::Detail;
        }
        _ => say(model, Tone::Info, format!("{} is not here any more", event.name)),
    }
}

fn go_out(model: &mut Model) -> Vec<Command> {
    if model.tab() == Tab::Inspect && model.focus == Pane::Detail && model.detail.inspect.fold() {
        return Vec::new();
    }
    if model.tab() == Tab::History
        && model.focus == Pane::Detail
        && model.detail.layers_mut().is_some_and(LayerTree::fold)
    {
        return Vec::new();
    }
    focus(model, model.list)
}

enum Marking {
    Toggle,
    Range,
}

fn with_list(model: &mut Model, marking: Marking) {
    macro_rules! mark {
        ($list:expr) => {
            match marking {
                Marking::Toggle => {
                    $list.toggle_mark();
                    $list.step(1);
                }
                Marking::Range => $list.mark_range(),
            }
        };
    }
    match model.focus {
        Pane::Containers => mark!(model.containers),
        Pane::Images => mark!(model.images),
        Pane::Volumes => mark!(model.volumes),
        Pane::Networks => mark!(model.networks),
        Pane::Detail | Pane::Events => {}
    }
}

fn open_filter(model: &mut Model) {
    let typed = super::filter::current(model).to_owned();
    model.filter_edit = Some((LineEdit::new(typed), None));
}

fn new(model: &mut Model) {
    match model.list {
        Pane::Volumes => ask::create_volume(model),
        _ => forms::open_run(model),
    }
}

fn verb_on_targets(model: &mut Model, verb: &Verb, fits: impl Fn(Status) -> bool) -> Vec<Command> {
    let targets = jobs::container_targets(model, fits);
    model.containers.clear_marks();
    jobs::start(model, Work::Containers { verb: verb.clone(), targets })
}

fn toggle_pause(model: &mut Model) -> Vec<Command> {
    let paused = jobs::container_targets(model, |status| status == Status::Paused);
    let running = jobs::container_targets(model, |status| status == Status::Running);
    model.containers.clear_marks();
    let (verb, targets) = if running.is_empty() { (Verb::Unpause, paused) } else { (Verb::Pause, running) };
    jobs::start(model, Work::Containers { verb, targets })
}

/// Shows the details of what was just made or asked for.
pub(super) fn go_to_container(model: &mut Model, id: &str) {
    model.list = Pane::Containers;
    model.focus = Pane::Containers;
    model.containers.expect_id(id);
    model.due.containers.insert(id.to_owned());
    data::arrange_containers(model);
}

/// The container under the cursor, as something to act on.
pub(super) fn selected_container(model: &Model) -> Option<super::super::msg::Target> {
    let row = model.containers.selected()?;
    Some(super::super::msg::Target { id: row.it.id.clone(), name: row.name.clone() })
}

fn toggle_read_only(model: &mut Model) {
    use crate::engine::Access;
    let (access, text) = match model.host.access {
        Access::Full => (Access::ReadOnly, "read-only: nothing here can be changed"),
        Access::ReadOnly => (Access::Full, "changes are allowed"),
    };
    model.host.access = access;
    say(model, Tone::Info, text);
}
