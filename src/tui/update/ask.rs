//! Builds the dialogs, menus and prompts that actions open. Part of `update`.

use crate::engine::HostEntry;
use crate::engine::container::Status;

use super::super::edit::LineEdit;
use super::super::inspect_json;
use super::super::model::containers::{Column, Order, SortKey};
use super::super::model::layers::{
    Ask, Completion, Confirm, Layer, Menu, MenuItem, Pick, Prompt, Source, Switch, Then,
};
use super::super::model::news::Tone;
use super::super::model::rows::{ContainerRow, ImageRow, VolumeRow, short_id};
use super::super::model::{Model, Pane, Tab};
use super::super::msg::{Command, Target};
use super::super::theme;
use super::super::units;
use super::{data, say};

/// The name that stands for the fleet of all hosts.
const ALL_HOSTS: &str = "all";

fn push(model: &mut Model, layer: Layer) {
    model.layers.push(layer);
}

fn item(key: char, label: impl Into<String>, note: impl Into<String>, pick: Pick) -> MenuItem {
    MenuItem { key: Some(key), label: label.into(), note: note.into(), pick }
}

fn menu(model: &mut Model, title: impl Into<String>, items: Vec<MenuItem>, cursor: usize) {
    push(model, Layer::Menu(Menu { title: title.into(), items, cursor }));
}

pub(super) fn add_image_menu(model: &mut Model) {
    let items = vec![
        item('p', "Pull from a registry", "by its name: debian:12, host:5000/team/app", Pick::AskPull),
        item('s', "Search a registry", "by a word", Pick::AskSearch),
        item('l', "Load an archive", "docker save, OCI layout; plain, gzip or zstd", Pick::Load),
        item('i', "Import a root file system", "a tar of /, with any compression", Pick::Import),
        item('h', "Make one from this host", "programs of this machine with their libraries", Pick::FromHost),
    ];
    menu(model, "Add an image", items, 0);
}

pub(super) fn signal_menu(model: &mut Model) {
    const SIGNALS: &[(char, &str, &str)] = &[
        ('t', "TERM", "ask to end"),
        ('k', "KILL", "end at once"),
        ('i', "INT", "as ctrl-c"),
        ('h', "HUP", "often: read the configuration again"),
        ('q', "QUIT", "end with a core dump"),
        ('1', "USR1", "its own meaning"),
        ('2', "USR2", "its own meaning"),
        ('w', "WINCH", "window changed; graceful stop of some servers"),
        ('s', "STOP", "freeze"),
        ('c', "CONT", "go on"),
    ];
    let items =
        SIGNALS.iter().map(|(key, name, note)| item(*key, *name, *note, Pick::Signal((*name).to_owned()))).collect();
    let targets = super::jobs::container_targets(model, |status| status.is_alive() || status == Status::Restarting);
    menu(model, format!("Send a signal to {}", super::jobs::names(&targets)), items, 0);
}

pub(super) fn sort_menu(model: &mut Model) {
    let list = model.list;
    if let Some(order) = model.orders.of(list).copied() {
        let orders = Order::of(list);
        let items = orders.iter().map(|order| MenuItem {
            key: order.title().chars().next(),
            label: order.title().to_owned(),
            note: String::new(),
            pick: Pick::Order(list, *order),
        });
        let cursor = orders.iter().position(|one| *one == order).unwrap_or(0);
        return menu(model, format!("Order {} by", list.title().to_lowercase()), items.collect(), cursor);
    }
    let keys = ['s', 'n', 'i', 'd', 'c', 'm'];
    let items = SortKey::ALL.into_iter().zip(keys);
    let items = items.map(|(sort, key)| item(key, sort.title(), "", Pick::Sort(sort))).collect();
    let cursor = SortKey::ALL.iter().position(|sort| *sort == model.sort).unwrap_or(0);
    menu(model, "Order by", items, cursor);
}

pub(super) fn columns_menu(model: &mut Model) {
    let items = Column::ALL.into_iter().map(|column| MenuItem {
        key: None,
        label: column.title().to_owned(),
        note: if model.columns.contains(&column) { "shown".to_owned() } else { String::new() },
        pick: Pick::Column(column),
    });
    menu(model, "Columns", items.collect(), 0);
}

pub(super) fn theme_menu(model: &mut Model) {
    let items: Vec<MenuItem> = theme::BUILT_IN
        .iter()
        .map(|(name, _)| MenuItem {
            key: None,
            label: (*name).to_owned(),
            note: String::new(),
            pick: Pick::Theme((*name).to_owned()),
        })
        .collect();
    let cursor = theme::BUILT_IN.iter().position(|(name, _)| *name == model.theme.name).unwrap_or(0);
    menu(model, "Colours", items, cursor);
}

/// Asks which hosts there are; the menu opens with the answer.
pub(super) fn hosts(model: &mut Model) -> Vec<Command> {
    model.to_copy.clear();
    look_for_hosts(model)
}

/// The same for a host that images go to.
pub(super) fn copy_to_host(model: &mut Model) -> Vec<Command> {
    model.to_copy = model.images.targets().into_iter().map(|row| row.handle.clone()).collect();
    look_for_hosts(model)
}

fn look_for_hosts(model: &mut Model) -> Vec<Command> {
    say(model, Tone::Info, "looking for hosts");
    vec![Command::AskHosts]
}

fn targets_menu(model: &mut Model, images: Vec<String>, known: Vec<HostEntry>) {
    let others = known.into_iter().filter(|host| host.name != model.host.name && host.name != ALL_HOSTS);
    let mut items: Vec<MenuItem> = others
        .map(|host| MenuItem {
            key: None,
            label: super::super::text::sanitise(&host.name).into_owned(),
            note: host.address,
            pick: Pick::CopyTo(images.clone(), host.name),
        })
        .collect();
    let note = "unix, tcp, ssh".to_owned();
    let title = format!("Copy {} to", count(images.len(), "image"));
    items.push(MenuItem { key: None, label: "another address".to_owned(), note, pick: Pick::CopyToOther(images) });
    menu(model, title, items, 0);
}

pub(super) fn copy_to_other(model: &mut Model, images: Vec<String>) {
    let hint = "unix:///run/docker.sock, tcp://host:2376, ssh://user@host";
    prompt(model, "Copy to a host", hint, String::new(), Source::None, Ask::CopyTo(images));
}

pub(super) fn hosts_menu(model: &mut Model, mut known: Vec<HostEntry>) {
    model.toasts.retain(|toast| toast.text != "looking for hosts");
    let images = std::mem::take(&mut model.to_copy);
    if !images.is_empty() {
        return targets_menu(model, images, known);
    }
    // One that was named on the command line is in no list.
    if known.iter().all(|host| host.name != model.host.name) {
        known.insert(0, HostEntry { address: "here".to_owned(), ..model.host.clone() });
    }
    let cursor = known.iter().position(|host| host.name == model.host.name).unwrap_or(0);
    let mut items: Vec<MenuItem> = known
        .into_iter()
        .map(|host| MenuItem {
            key: None,
            label: super::super::text::sanitise(&host.name).into_owned(),
            note: host.address,
            pick: Pick::Host(host.name),
        })
        .collect();
    items.push(MenuItem {
        key: None,
        label: "another address".to_owned(),
        note: "unix, tcp, ssh".to_owned(),
        pick: Pick::OtherHost,
    });
    menu(model, "Hosts", items, cursor);
}

pub(super) fn other_host(model: &mut Model) {
    let hint = "unix:///run/docker.sock, tcp://host:2376, ssh://user@host";
    prompt(model, "Go to a host", hint, String::new(), Source::None, Ask::Host);
}

/// Jobs belong to the engine they were given to: one does not leave while they run.
pub(super) fn switch_host(model: &mut Model, name: String) -> Vec<Command> {
    let n_running = model.jobs.len();
    if n_running > 0 {
        say(model, Tone::Warning, format!("{n_running} running here: wait, or cancel with ctrl-c"));
        return Vec::new();
    }
    if !model.can_switch_host {
        say(model, Tone::Warning, "there is one engine only");
        return Vec::new();
    }
    vec![Command::SwitchHost(name)]
}

pub(super) fn copy_menu(model: &mut Model) {
    let mut items = Vec::new();
    let mut add = |key: char, what: &str, text: String| {
        if !text.is_empty() {
            items.push(item(key, what, text.clone(), Pick::Copy(what.to_owned(), text)));
        }
    };
    match model.list {
        Pane::Containers => {
            if let Some(row) = model.containers.selected() {
                add('n', "name", row.it.name.clone());
                add('i', "id", row.it.id.clone());
                add('m', "image", row.it.image.clone());
                add('c', "command", row.it.command.clone());
                if let Some(detail) = model.subject().and_then(|subject| model.detail.container_for(&subject)) {
                    add('r', "docker run", inspect_json::docker_run(detail));
                }
                add('e', "docker exec", format!("docker exec -it {} sh", row.it.name));
            }
        }
        Pane::Images => {
            if let Some(row) = model.images.selected() {
                add('n', "reference", row.handle.clone());
                add('i', "id", row.it.id.clone());
                add('r', "docker run", format!("docker run --rm -it {}", row.handle));
            }
        }
        Pane::Volumes => {
            if let Some(row) = model.volumes.selected() {
                add('n', "name", row.it.name.clone());
                add('m', "mountpoint", row.it.mountpoint.clone());
            }
        }
        _ => {
            if let Some(row) = model.networks.selected() {
                add('n', "name", row.it.name.clone());
                add('i', "id", row.it.id.clone());
            }
        }
    }
    if !items.is_empty() {
        menu(model, "Copy", items, 0);
    }
}

/// A prompt for one line.
pub(super) fn prompt(model: &mut Model, title: impl Into<String>, hint: &str, text: String, source: Source, then: Ask) {
    push(
        model,
        Layer::Prompt(Prompt {
            title: title.into(),
            hint: hint.to_owned(),
            edit: LineEdit::proposed(text),
            error: None,
            completion: Completion { source, ..Completion::default() },
            then,
        }),
    );
}

pub(super) fn rename(model: &mut Model) {
    if let Some(target) = super::actions::selected_container(model) {
        let name = target.name.clone();
        prompt(model, format!("Rename {name}"), "the new name", name, Source::None, Ask::Rename(target));
    }
}

pub(super) fn tag(model: &mut Model) {
    if let Some(row) = model.images.selected() {
        let (handle, suggested) =
            (row.handle.clone(), if row.is_dangling() { String::new() } else { row.handle.clone() });
        prompt(model, "Give the image another name", "name:tag", suggested, Source::None, Ask::Tag(handle));
    }
}

/// What to pull: the selected image's name is the proposal, everything known completes.
pub(super) fn pull(model: &mut Model) {
    let selected = model.images.selected().filter(|row| model.list == Pane::Images && !row.is_dangling());
    let name = selected.map(|row| row.handle.clone()).unwrap_or_default();
    prompt(model, "Pull an image", "name[:tag]; tab completes names known here", name, Source::Images, Ask::Pull);
    super::layers::ask_completions(model);
}

pub(super) fn push_image(model: &mut Model) {
    if let Some(row) = model.images.selected() {
        let name = if row.is_dangling() { String::new() } else { row.handle.clone() };
        prompt(model, "Push an image", "name:tag, as its registry will know it", name, Source::Images, Ask::Push);
    }
}

pub(super) fn search_registry(model: &mut Model) {
    let hint = "a word, or host:port/word for another registry than Docker Hub";
    prompt(model, "Search a registry", hint, String::new(), Source::None, Ask::SearchRegistry);
}

/// What the registry has: enter pulls.
pub(super) fn found_images(model: &mut Model, term: &str, found: Vec<crate::engine::FoundImage>) {
    model.toasts.retain(|toast| !toast.text.starts_with("searching for"));
    if found.is_empty() {
        say(model, Tone::Info, format!("the registry has nothing like {term}"));
        return;
    }
    let items = found.into_iter().map(|image| {
        let official = if image.is_official { "official · " } else { "" };
        let note = format!("★ {} · {official}{}", units::count(image.n_stars), image.description);
        MenuItem { key: None, label: data::shown(&image.name), note: data::shown(&note), pick: Pick::Pull(image.name) }
    });
    let items = items.collect();
    menu(model, format!("Found for {term}: enter pulls"), items, 0);
}

pub(super) fn load(model: &mut Model) {
    prompt(model, "Load an archive", "path of the archive; tab completes", String::new(), Source::Paths, Ask::Load);
}

pub(super) fn save_images(model: &mut Model) {
    let targets: Vec<String> = model.images.targets().into_iter().map(|row| row.handle.clone()).collect();
    let stem = targets.first().map_or_else(|| "image".to_owned(), |name| name.replace(['/', ':'], "-"));
    prompt(
        model,
        format!("Save {}", count(targets.len(), "image")),
        "path of the archive",
        format!("{stem}.tar"),
        Source::Paths,
        Ask::SaveImages(targets),
    );
}

pub(super) fn create_volume(model: &mut Model) {
    prompt(
        model,
        "Create a volume",
        "its name; empty for an anonymous one",
        String::new(),
        Source::None,
        Ask::CreateVolume,
    );
}

pub(super) fn inspect_search(model: &mut Model) {
    let text = model.detail.inspect.search().to_owned();
    prompt(model, "Search", "part of a key or a value", text, Source::None, Ask::InspectSearch);
}

pub(super) fn layer_search(model: &mut Model) {
    let text = model.detail.layers_mut().map(|tree| tree.search().to_owned()).unwrap_or_default();
    let hint = "part of a name, or of a path with / in it";
    prompt(model, "Search the files of the layers", hint, text, Source::None, Ask::LayerSearch);
}

/// Saves what the details show as text.
pub(super) fn save_page(model: &mut Model) {
    let Some(subject) = model.subject() else {
        say(model, Tone::Warning, "nothing is selected");
        return;
    };
    let name = match model.list {
        Pane::Containers => model.containers.selected().map(|row| row.name.clone()),
        _ => None,
    };
    let stem = name.unwrap_or_else(|| short_id(&subject.id).replace(['/', ':'], "-"));
    let (text, ending) = match model.tab() {
        Tab::Inspect => (
            model.detail.loaded_for(&subject).map(|loaded| pretty(&inspect_json::of(loaded))).unwrap_or_default(),
            "json",
        ),
        _ => (super::super::pages::detail_text(model), "txt"),
    };
    let suggested = format!("{stem}-{}.{ending}", model.tab().title().to_lowercase());
    prompt(
        model,
        "Save the page",
        "path; an existing file is not overwritten",
        suggested,
        Source::Paths,
        Ask::SaveText(text),
    );
}

pub(super) fn pretty(document: &serde_json::Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The dialog before removal: names every object, its state and the bytes that go.
pub(super) fn remove(model: &mut Model) -> Vec<Command> {
    match model.list {
        Pane::Images => {
            remove_images(model);
            Vec::new()
        }
        Pane::Volumes => {
            remove_volumes(model);
            Vec::new()
        }
        _ => remove_containers(model),
    }
}

fn remove_containers(model: &mut Model) -> Vec<Command> {
    let rows = model.containers.targets();
    let n_alive = rows.iter().filter(|row| row.status().is_alive() || row.status() == Status::Restarting).count();
    let objects =
        rows.iter().map(|row| (row.name.clone(), format!("{} · {}", row.state_text(model.now), row.image))).collect();
    let targets: Vec<Target> =
        rows.iter().map(|row| Target { id: row.it.id.clone(), name: row.name.clone() }).collect();
    let ids: Vec<String> = targets.iter().map(|target| target.id.clone()).collect();
    let n_anonymous =
        rows.iter().flat_map(|row| &row.it.mounts).filter(|mount| is_anonymous(mount.name.as_deref())).count();
    let mut switches = Vec::new();
    if n_alive > 0 {
        switches.push(Switch { key: 'f', label: "force: kill what runs", is_on: true });
    }
    if n_anonymous > 0 {
        switches.push(Switch { key: 'v', label: "its anonymous volumes too", is_on: false });
    }
    let question = match (targets.len(), n_alive) {
        (1, 0) => "What it wrote into its own layer is lost; named volumes stay.".to_owned(),
        (1, _) => "It RUNS. It is killed, and what it wrote into its own layer is lost; named volumes stay.".to_owned(),
        (_, 0) => "What they wrote into their own layers is lost; named volumes stay.".to_owned(),
        (n, alive) => format!(
            "{alive} of {n} RUN and are killed. What they wrote into their own layers is lost; named volumes stay."
        ),
    };
    let bytes = rows.iter().map(|row| row.it.size_rw_bytes).sum::<Option<u64>>();
    let title = format!("Remove {}", count(targets.len(), "container"));
    push(
        model,
        Layer::Confirm(Confirm {
            title,
            question,
            objects,
            bytes,
            switches,
            verb: "remove",
            then: Then::RemoveContainers(targets),
            is_on_yes: false,
        }),
    );
    if bytes.is_none() { vec![Command::Sizes(ids)] } else { Vec::new() }
}

/// Docker's names of anonymous volumes are 64 hex digits.
fn is_anonymous(name: Option<&str>) -> bool {
    name.is_some_and(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The first names, and how many more there are.
fn few(names: &[&str]) -> String {
    const MOST: usize = 3;
    let shown = data::shown(&names[..names.len().min(MOST)].join(", "));
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn remove_images(model: &mut Model) {
    let rows = model.images.targets();
    let objects = rows
        .iter()
        .map(|row| {
            let users: Vec<&str> = model.users_of_image(row).map(|user| user.name.as_str()).collect();
            let used = if users.is_empty() { String::new() } else { format!(" · used by {}", few(&users)) };
            let note = if row.it.references.len() > 1 {
                format!("loses this name, stays as {}{used}", other_names(row))
            } else {
                format!("{}{used}", units::bytes(row.it.size_bytes))
            };
            (data::shown(&row.handle), note)
        })
        .collect();
    // Bytes that another image shares, and images that keep another name, stay.
    let going: Vec<&ImageRow> = rows.iter().copied().filter(|row| row.it.references.len() < 2).collect();
    let bytes = bytes_freed(&going);
    let targets: Vec<Target> =
        rows.iter().map(|row| Target { id: row.handle.clone(), name: data::shown(&row.handle) }).collect();
    let is_used = rows.iter().any(|row| row.n_users > 0);
    let switches = if is_used {
        vec![Switch { key: 'f', label: "force: though containers use it", is_on: false }]
    } else {
        Vec::new()
    };
    let title = format!("Remove {}", count(targets.len(), "image"));
    let question = "Layers that no other image uses are deleted.".to_owned();
    push(
        model,
        Layer::Confirm(Confirm {
            title,
            question,
            objects,
            bytes: Some(bytes),
            switches,
            verb: "remove",
            then: Then::RemoveImages(targets),
            is_on_yes: false,
        }),
    );
}

fn other_names(row: &ImageRow) -> String {
    let others: Vec<String> =
        row.it.references.iter().filter(|name| **name != row.handle).map(|name| data::shown(name)).collect();
    others.join(", ")
}

fn remove_volumes(model: &mut Model) {
    let rows = model.volumes.targets();
    let objects = rows
        .iter()
        .map(|row| {
            let users: Vec<&str> = row.users.iter().map(String::as_str).collect();
            let used = if users.is_empty() { "unused".to_owned() } else { format!("used by {}", few(&users)) };
            let size = row.it.size_bytes.map(|size| format!("{} · ", units::bytes(size))).unwrap_or_default();
            (row.name.clone(), format!("{size}{used}"))
        })
        .collect();
    let bytes = rows.iter().map(|row| row.it.size_bytes).sum::<Option<u64>>();
    let targets: Vec<Target> =
        rows.iter().map(|row| Target { id: row.it.name.clone(), name: row.name.clone() }).collect();
    let title = format!("Remove {}", count(targets.len(), "volume"));
    let question = "Everything inside is lost.".to_owned();
    push(
        model,
        Layer::Confirm(Confirm {
            title,
            question,
            objects,
            bytes,
            switches: Vec::new(),
            verb: "remove",
            then: Then::RemoveVolumes(targets),
            is_on_yes: false,
        }),
    );
}

/// Objects with notes, and their bytes when known.
type Going = (Vec<(String, String)>, Option<u64>);

/// What a prune takes, named as exactly as the engine will: with `all`, named things too.
pub(super) fn prune_preview(model: &Model, what: Pane, all: bool) -> Going {
    match what {
        Pane::Images => {
            let goes = |row: &&ImageRow| (all || row.is_dangling()) && row.n_users == 0;
            let rows: Vec<_> = model.images.all().iter().filter(goes).collect();
            let objects = rows.iter().map(|row| (image_name(row), units::bytes(row.it.size_bytes)));
            (objects.collect(), Some(bytes_freed(&rows)))
        }
        Pane::Volumes => {
            let goes = |row: &&VolumeRow| (all || row.it.anonymous) && !row.is_used();
            let rows: Vec<_> = model.volumes.all().iter().filter(goes).collect();
            let size = |row: &VolumeRow| row.it.size_bytes.map(units::bytes).unwrap_or_default();
            let objects = rows.iter().map(|row| (row.name.clone(), size(row)));
            (objects.collect(), rows.iter().map(|row| row.it.size_bytes).sum())
        }
        _ => {
            let objects = stopped(model).map(|row| (row.name.clone(), row.state_text(model.now)));
            (objects.collect(), None)
        }
    }
}

fn stopped(model: &Model) -> impl Iterator<Item = &ContainerRow> {
    let is_stopped = |status| matches!(status, Status::Created | Status::Exited | Status::Dead);
    model.containers.all().iter().filter(move |row| is_stopped(row.status()))
}

/// The name that stands in lists; a bare id short.
fn image_name(row: &ImageRow) -> String {
    if row.is_dangling() { row.name.clone() } else { data::shown(&row.handle) }
}

/// Each image once, without what it shares with images that may stay.
fn bytes_freed(rows: &[&ImageRow]) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let firsts = rows.iter().filter(|row| seen.insert(&row.it.id));
    firsts.map(|row| row.it.size_bytes.saturating_sub(row.it.shared_bytes.unwrap_or(0))).sum()
}

/// The dialog before a prune names exactly what the engine will take.
pub(super) fn prune(model: &mut Model) -> Vec<Command> {
    let what = if model.list == Pane::Networks { Pane::Containers } else { model.list };
    let (objects, bytes) = prune_preview(model, what, false);
    let (question, switch) = match what {
        Pane::Images => (
            "Images without a name that no container uses are deleted.",
            Some("all that no container uses, named ones too"),
        ),
        Pane::Volumes => ("Anonymous volumes that no container uses are deleted.", Some("named ones too")),
        _ => ("All stopped containers are removed; what they wrote into their own layers is lost.", None),
    };
    let switches: Vec<Switch> = switch.map(|label| Switch { key: 'a', label, is_on: false }).into_iter().collect();
    if objects.is_empty() && switches.is_empty() {
        say(model, Tone::Info, "there is nothing to prune");
        return Vec::new();
    }
    let ids: Vec<String> = stopped(model).map(|row| row.it.id.clone()).collect();
    push(
        model,
        Layer::Confirm(Confirm {
            title: format!("Prune {}", what.title().to_lowercase()),
            question: question.to_owned(),
            objects,
            bytes,
            switches,
            verb: "prune",
            then: Then::Prune(what),
            is_on_yes: false,
        }),
    );
    if what == Pane::Containers { vec![Command::Sizes(ids)] } else { Vec::new() }
}

/// Quitting while work is under way.
pub(super) fn quit(model: &mut Model) {
    let objects = model.jobs.iter().map(|job| (job.title.clone(), String::new())).collect();
    let question = "This work is not finished; leaving cancels it. Containers go on.".to_owned();
    push(
        model,
        Layer::Confirm(Confirm {
            title: "Quit".to_owned(),
            question,
            objects,
            bytes: None,
            switches: Vec::new(),
            verb: "quit",
            then: Then::Quit,
            is_on_yes: false,
        }),
    );
}
