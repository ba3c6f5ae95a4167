//! Answers and news of the engine into the model. Part of `update`.

use serde_json::Value;

use crate::engine::container::Status;
use crate::engine::{Class, EngineError, Event, EventKind, HostLoad};

use super::super::inspect_json;
use super::super::listing::{Listing, Loading};
use super::super::model::detail::Loaded;
use super::super::model::news::Tone;
use super::super::model::rows::{ContainerRow, ImageRow, NetworkRow, VolumeRow};
use super::super::model::{Link, Model, Pane, Subject};
use super::super::msg::{Command, Msg};
use super::super::text::sanitise;
use super::{layers, say};

pub(super) fn take(model: &mut Model, msg: Msg) -> Vec<Command> {
    match msg {
        Msg::Containers(answer) => containers(model, answer),
        Msg::Container(id, answer) => return container(model, &id, answer),
        Msg::Images(answer) => {
            model.due.asked.remove(&Pane::Images);
            match answer {
                Ok(found) => {
                    let rows = found.into_iter().flat_map(ImageRow::all_of).collect();
                    let order = model.orders.images;
                    model.images.set_rows(rows, |a, b| order.images(a, b));
                    count_users(model);
                }
                Err(e) => failed(&mut model.images, e),
            }
        }
        Msg::Volumes(answer) => {
            model.due.asked.remove(&Pane::Volumes);
            match answer {
                Ok(found) => {
                    let rows = found.into_iter().map(VolumeRow::new).collect();
                    let order = model.orders.volumes;
                    model.volumes.set_rows(rows, |a, b| order.volumes(a, b));
                    count_users(model);
                }
                Err(e) => failed(&mut model.volumes, e),
            }
        }
        Msg::Networks(answer) => {
            model.due.asked.remove(&Pane::Networks);
            match answer {
                Ok(found) => {
                    let rows = found.into_iter().map(NetworkRow::new).collect();
                    let order = model.orders.networks;
                    model.networks.set_rows(rows, |a, b| order.networks(a, b));
                }
                Err(e) => failed(&mut model.networks, e),
            }
        }
        Msg::Info(answer) => {
            model.due.is_info_asked = false;
            if let Ok(info) = answer {
                model.info = Some(info);
            }
        }
        Msg::HostLoad(answer) => host_load(model, answer),
        Msg::Subscribed => return subscribed(model),
        Msg::Latency(latency) => {
            // A number that jitters is no news.
            let is_news = model.latency.is_none_or(|known| known.abs_diff(latency) > known / 4);
            if is_news {
                model.latency = Some(latency);
            }
        }
        Msg::Event(event) => event_came(model, &event),
        Msg::LinkLost { error, attempt } => link_lost(model, error, attempt),
        Msg::Samples(samples) => {
            for (id, sample) in samples {
                model.usage.entry(id).or_default().add(sample);
            }
            if model.sort.needs_stats() {
                arrange_containers(model);
            }
        }
        Msg::Loaded(subject, answer) => loaded(model, subject, answer),
        Msg::Top(subject, answer) => model.detail.top = Some((subject, answer)),
        Msg::LayerFiles(subject, answer) => {
            model.detail.layers_asked = None;
            model.detail.layer_tree = Some((subject, answer));
        }
        Msg::LastLines(subject, lines) => {
            model.detail.last_lines_asked = None;
            model.detail.last_lines = Some((subject, lines));
        }
        Msg::Logs(batch) => {
            if let Some(logs) = &mut model.detail.logs {
                logs.feed(&batch, model.tick);
                logs.tick(model.tick, std::time::Duration::from_millis(2));
                return logs.go_on().into_iter().map(Command::Logs).collect();
            }
        }
        Msg::OlderLogs { generation, source, answer } => {
            let Some(logs) = &mut model.detail.logs else { return Vec::new() };
            let commands = match answer {
                Ok(chunks) => logs.older(generation, source, &chunks),
                Err(e) => {
                    logs.older_failed(generation, &e.to_string());
                    Vec::new()
                }
            };
            return commands.into_iter().map(Command::Logs).collect();
        }
        Msg::FoundImages(term, Ok(found)) => super::ask::found_images(model, &term, found),
        Msg::FoundImages(term, Err(error)) => layers::show_error(model, "Not found out", vec![(term, error)]),
        Msg::Saved(Ok(path)) => say(model, Tone::Good, format!("saved to {}", path.display())),
        Msg::Saved(Err(reason)) => say(model, Tone::Bad, reason),
        Msg::Sizes(sizes) => layers::sizes_known(model, &sizes),
        Msg::Panicked(text) => {
            let error = EngineError::new(Class::Internal, "", format!("a task of the screen broke: {text}"));
            layers::show_error(model, "This is a bug in orlop", vec![(String::new(), error)]);
        }
        _ => {}
    }
    Vec::new()
}

fn host_load(model: &mut Model, answer: Result<HostLoad, EngineError>) {
    model.due.is_load_asked = false;
    match answer {
        Ok(load) => {
            model.host_cpu.push(Some(f64::from(load.cpu_percent)));
            model.host_load = Some(load);
        }
        // A daemon that cannot tell is not asked again and again.
        Err(error) => {
            model.host_load = None;
            model.due.has_no_load = error.class == Class::Unsupported;
        }
    }
}

fn failed<T>(listing: &mut Listing<T>, error: EngineError) {
    listing.loading = Loading::Failed(error);
}

fn containers(model: &mut Model, answer: Result<Vec<crate::engine::ContainerSummary>, EngineError>) {
    model.due.asked.remove(&Pane::Containers);
    match answer {
        Ok(found) => {
            let rows: Vec<ContainerRow> = found.into_iter().map(ContainerRow::new).collect();
            let alive: std::collections::HashSet<&str> =
                rows.iter().filter(|row| row.status().is_alive()).map(|row| row.it.id.as_str()).collect();
            model.usage.retain(|id, _| alive.contains(id.as_str()));
            let (sort, usage) = (model.sort, &model.usage);
            model.containers.set_rows(rows, |a, b| sort.compare(usage, a, b));
            count_users(model);
        }
        Err(e) => failed(&mut model.containers, e),
    }
}

fn container(
    model: &mut Model,
    id: &str,
    answer: Result<Option<crate::engine::ContainerSummary>, EngineError>,
) -> Vec<Command> {
    model.due.asked_containers.remove(id);
    let Ok(found) = answer else {
        // The whole list tells what one question could not.
        model.due.lists.insert(Pane::Containers);
        return Vec::new();
    };
    if found.as_ref().is_none_or(|row| row.state.status != Status::Running) {
        model.usage.remove(id);
    }
    let before = model.containers.find(id).map(ContainerRow::status);
    let now = found.as_ref().map(|row| row.state.status);
    let (sort, usage) = (model.sort, &model.usage);
    model.containers.set_row(id, found.map(ContainerRow::new), |a, b| sort.compare(usage, a, b));
    // A container that runs again goes on with its log.
    let is_followed = model.detail.logs_of.iter().any(|followed| followed == id);
    if is_followed
        && now == Some(Status::Running)
        && before != Some(Status::Running)
        && before != Some(Status::Paused)
        && let Some(logs) = &mut model.detail.logs
    {
        return logs.resume().into_iter().map(Command::Logs).collect();
    }
    Vec::new()
}

fn count_users(model: &mut Model) {
    model.count_users();
    for list in [Pane::Images, Pane::Volumes] {
        arrange_list(model, list);
    }
}

/// Sorts a list again that is not the containers'.
pub(super) fn arrange_list(model: &mut Model, list: Pane) {
    let orders = model.orders;
    match list {
        Pane::Images => model.images.arrange(|a, b| orders.images.images(a, b)),
        Pane::Volumes => model.volumes.arrange(|a, b| orders.volumes.volumes(a, b)),
        Pane::Networks => model.networks.arrange(|a, b| orders.networks.networks(a, b)),
        _ => {}
    }
}

/// Sorts the containers again.
pub(super) fn arrange_containers(model: &mut Model) {
    let (sort, usage) = (model.sort, &model.usage);
    model.containers.arrange(|a, b| sort.compare(usage, a, b));
}

fn subscribed(model: &mut Model) -> Vec<Command> {
    let was_down = matches!(model.link, Link::Down { .. });
    model.link = Link::Up;
    model.due.lists.extend(Pane::LISTS);
    model.due.info = true;
    // Answers that the lost link owed us will not come any more.
    model.due.asked.clear();
    model.due.asked_containers.clear();
    model.due.is_info_asked = false;
    model.due.is_load_asked = false;
    model.due.has_no_load = false;
    model.detail.asked = None;
    model.detail.is_stale = true;
    model.due.reconciled = Some(model.tick);
    if !was_down {
        return Vec::new();
    }
    say(model, Tone::Good, "the engine is back");
    match &mut model.detail.logs {
        Some(logs) if !model.detail.logs_of.is_empty() => logs.resume().into_iter().map(Command::Logs).collect(),
        _ => Vec::new(),
    }
}

fn link_lost(model: &mut Model, error: EngineError, attempt: u32) {
    let since = match &model.link {
        Link::Down { since, .. } => *since,
        _ => model.tick,
    };
    model.link = Link::Down { since, error, attempt };
}

/// Touches only what the event is about.
fn event_came(model: &mut Model, event: &Event) {
    model.add_event(event);
    match event.kind {
        EventKind::Container => {
            let word = event.action.split(':').next().unwrap_or_default();
            // These change nothing that is shown.
            if matches!(word, "attach" | "detach" | "resize" | "top" | "copy" | "export" | "archive-path") {
                return;
            }
            model.due.containers.insert(event.id.clone());
            let is_shown = model.subject().is_some_and(|subject| subject.id == event.id);
            if is_shown {
                model.detail.is_stale = true;
                model.detail.last_lines = None;
            }
            if matches!(word, "create" | "destroy") {
                model.due.lists.extend([Pane::Images, Pane::Volumes]);
            }
        }
        EventKind::Image => {
            model.due.lists.insert(Pane::Images);
            // The name may stand for another image now.
            if matches!(event.action.as_str(), "pull" | "tag" | "load" | "import" | "untag") {
                model.detail.layer_tree = None;
            }
        }
        EventKind::Volume => drop(model.due.lists.insert(Pane::Volumes)),
        EventKind::Network => drop(model.due.lists.insert(Pane::Networks)),
        // Other settings, or a host of the fleet that went or came.
        EventKind::Daemon => {
            model.due.info = true;
            model.due.lists.extend([Pane::Containers, Pane::Images, Pane::Volumes, Pane::Networks]);
        }
    }
}

fn loaded(model: &mut Model, subject: Subject, answer: Result<Box<Loaded>, EngineError>) {
    if model.detail.asked.as_ref() == Some(&subject) {
        model.detail.asked = None;
    }
    match answer {
        Ok(loaded) => {
            let document: Value = inspect_json::of(&loaded);
            if model.detail.inspect_of.as_ref() != Some(&subject) {
                model.detail.inspect.clear();
                model.detail.inspect_of = Some(subject.clone());
            }
            model.detail.inspect.set(&document);
            model.detail.failed = None;
            model.detail.loaded = Some((subject, loaded));
        }
        Err(e) => {
            if model.subject().as_ref() == Some(&subject) {
                model.detail.failed = Some((subject, e));
            }
        }
    }
}

/// A name made safe for a sentence.
pub(super) fn shown(name: &str) -> String {
    sanitise(name).into_owned()
}
