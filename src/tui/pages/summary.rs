//! What matters about the subject, readable: first how it is (and, when it died, why), then what it is made of.

use std::time::SystemTime;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::engine::container::{Exit, Status};
use crate::engine::{ContainerDetail, HealthStatus, ImageDetail, RestartPolicy};

use super::super::model::detail::Loaded;
use super::super::model::rows::{ContainerRow, coarse, ports_text, short_id, short_reference};
use super::super::model::{Model, Pane, Subject};
use super::super::text::{self, sanitise};
use super::super::theme::Theme;
use super::super::units;
use super::containers::state_look;

/// Cells of the label column.
const LABEL: usize = 11;

/// A page being written: labelled rows that wrap under themselves.
struct Page<'a> {
    theme: &'a Theme,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Page<'_> {
    fn row(&mut self, label: &str, value: &str, style: Style) {
        if value.is_empty() {
            return;
        }
        let room = self.width.saturating_sub(LABEL + 1).max(8);
        for (at, part) in text::wrap(&sanitise(value), room).into_iter().enumerate() {
            let label = if at == 0 { text::pad(label, LABEL) } else { " ".repeat(LABEL) };
            self.lines.push(Line::from(vec![Span::styled(label, self.theme.dim), Span::styled(part, style)]));
        }
    }

    fn text(&mut self, label: &str, value: &str) {
        self.row(label, value, self.theme.text);
    }

    fn quiet(&mut self, label: &str, value: &str) {
        self.row(label, value, self.theme.dim);
    }

    /// Several values under one label, one a line.
    fn list(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        let mut label = label;
        for value in values {
            self.row(label, &value, self.theme.text);
            // A blank keeps the column without repeating the label.
            label = " ";
        }
    }

    fn spans(&mut self, label: &str, spans: Vec<Span<'static>>) {
        let mut all = vec![Span::styled(text::pad(label, LABEL), self.theme.dim)];
        all.extend(spans);
        self.lines.push(Line::from(all));
    }

    fn gap(&mut self) {
        if self.lines.last().is_some_and(|line| !line.spans.is_empty()) {
            self.lines.push(Line::default());
        }
    }

    fn heading(&mut self, title: &str, style: Style) {
        self.gap();
        self.lines.push(Line::styled(title.to_owned(), style));
    }
}

pub(super) fn lines(model: &Model, subject: &Subject, width: u16) -> Vec<Line<'static>> {
    let mut page = Page { theme: &model.theme, width: usize::from(width.saturating_sub(2)), lines: Vec::new() };
    let loaded = model.detail.loaded_for(subject);
    match subject.kind {
        Pane::Images => image(model, &mut page, loaded),
        Pane::Volumes => volume(model, &mut page),
        Pane::Networks => network(model, &mut page),
        _ => {
            if let Some(row) = model.containers.selected() {
                let detail = model.detail.container_for(subject);
                container(model, &mut page, row, detail);
            }
        }
    }
    if let Some((_, error)) = model.detail.failed.as_ref().filter(|(of, _)| of == subject) {
        page.gap();
        page.row("Error", &error.to_string(), model.theme.error);
        page.quiet("", error.hint.as_deref().unwrap_or_default());
    }
    page.lines
}

// ---- containers -----------------------------------------------------------------------------------------------------------------------

fn container(model: &Model, page: &mut Page<'_>, row: &ContainerRow, detail: Option<&ContainerDetail>) {
    let theme = &model.theme;
    let (glyph, style) = state_look(row, theme);
    page.spans("State", vec![Span::styled(format!("{glyph} {}", state_sentence(model, row)), style)]);
    health(page, row);
    if row.wants_card() {
        why_it_died(model, page, row);
    }
    usage(model, page, row);
    page.gap();
    page.text("Image", &row.it.image);
    page.quiet("", short_id(&row.it.image_id));
    page.text("Command", &row.command);
    let created = row.it.created.map(|created| {
        format!("{} ago · {}", coarse(model.now, Some(created)), units::clock(created, "%Y-%m-%d %H:%M"))
    });
    page.text("Created", &created.unwrap_or_default());
    page.quiet("Id", row.short_id());
    page.text("Ports", &ports_text(&row.it.ports));
    page.text("Networks", &row.it.networks.join(", "));
    page.list(
        "Mounts",
        row.it.mounts.iter().map(|mount| {
            let source = mount.name.as_deref().map(short_reference).unwrap_or_else(|| mount.source.clone());
            let source = if source.is_empty() { mount.kind.clone() } else { source };
            format!("{} ← {source}{}", mount.destination, if mount.read_write { "" } else { " (read-only)" })
        }),
    );
    if let Some(detail) = detail {
        settings(page, detail);
    }
    let labels =
        row.it.labels.iter().map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") });
    page.list("Labels", labels);
}

fn state_sentence(model: &Model, row: &ContainerRow) -> String {
    let state = &row.it.state;
    let ago = |moment: Option<SystemTime>| coarse(model.now, moment);
    match state.status {
        Status::Running => {
            let restarts = match state.restart_count {
                0 => String::new(),
                n => format!(", restarted {n}×"),
            };
            let pid = state.pid.map(|pid| format!(" · pid {pid}")).unwrap_or_default();
            format!("running for {}{restarts}{pid}", ago(state.started_at))
        }
        Status::Exited => {
            let code = state.exit.as_ref().map_or(0, |exit| exit.code);
            format!("exited with code {code}, {} ago", ago(state.finished_at))
        }
        Status::Restarting => format!("waiting to be restarted, {} so far", state.restart_count),
        Status::Created => "created, never started".to_owned(),
        status => status.as_str().to_owned(),
    }
}

fn health(page: &mut Page<'_>, row: &ContainerRow) {
    let theme = page.theme;
    let health = &row.it.state.health;
    let (word, style) = match health.status {
        HealthStatus::None => return,
        HealthStatus::Starting => ("starting", theme.busy),
        HealthStatus::Healthy => ("healthy", theme.ok),
        HealthStatus::Unhealthy => ("unhealthy", theme.warn),
    };
    let streak = if health.failing_streak > 0 {
        format!(", failed {}× in a row", health.failing_streak)
    } else {
        String::new()
    };
    page.row("Health", &format!("{word}{streak}"), style);
    if health.status == HealthStatus::Unhealthy
        && let Some(probe) = health.log.last()
    {
        page.quiet("", probe.output.trim());
    }
}

/// The card that answers the question before it is asked.
fn why_it_died(model: &Model, page: &mut Page<'_>, row: &ContainerRow) {
    let theme = &model.theme;
    let state = &row.it.state;
    page.heading("Why it ended", if row.has_failed() { theme.error } else { theme.heading });
    let by_engine = state.exit.as_ref().and_then(|exit| exit.error.as_deref());
    if let Some(exit) = state.exit.as_ref().filter(|_| by_engine.is_none()) {
        page.text("Exit", &decode(exit));
    }
    // The engine's own reason is mostly the start's error again; one of them is enough.
    let reason = if state.error.is_empty() { by_engine.unwrap_or_default() } else { &state.error };
    page.row("Reason", reason, theme.error);
    if let (Some(started), Some(finished)) = (state.started_at, state.finished_at)
        && let Ok(lived) = finished.duration_since(started)
    {
        let restarts =
            if state.restart_count > 0 { format!(", after {} restarts", state.restart_count) } else { String::new() };
        page.text("Lived", &format!("{}{restarts}", units::span(lived)));
    }
    if let Some(probe) = state.health.log.last() {
        page.text("Last probe", probe.output.trim());
    }
    let last = model.detail.last_lines.as_ref().filter(|(of, lines)| of.id == row.it.id && !lines.is_empty());
    if let Some((_, lines)) = last {
        page.lines.push(Line::styled("Last lines".to_owned(), theme.dim));
        for line in lines {
            let shown = text::clip(line, page.width.saturating_sub(2)).into_owned();
            page.lines.push(Line::from(vec![Span::styled("│ ", theme.faint), Span::styled(shown, theme.text)]));
        }
    }
}

/// What an exit code says, in words.
fn decode(exit: &Exit) -> String {
    if exit.oom_killed {
        return format!("{}: out of memory, killed by the kernel at its limit", exit.code);
    }
    let meaning = match exit.code {
        0 => "all went well".to_owned(),
        1 => "the program reported an error".to_owned(),
        2 => "misuse: often a bad argument".to_owned(),
        125 => "the engine could not run it".to_owned(),
        126 => "the command cannot be executed".to_owned(),
        127 => "the command was not found".to_owned(),
        code @ 129..=192 => format!("ended by signal {} ({})", code - 128, signal_name(code - 128)),
        255 => "the program gave up (exit -1)".to_owned(),
        _ => "the program's own code".to_owned(),
    };
    format!("{}: {meaning}", exit.code)
}

fn signal_name(number: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(number).map_or("unknown", nix::sys::signal::Signal::as_str)
}

fn usage(model: &Model, page: &mut Page<'_>, row: &ContainerRow) {
    let Some(usage) = model.usage.get(&row.it.id).filter(|_| row.status() == Status::Running) else { return };
    let Some(sample) = &usage.last else { return };
    let limit = if sample.mem_max_bytes.is_some() {
        format!(" of {}", units::bytes(sample.mem_limit_bytes))
    } else {
        String::new()
    };
    let shown = format!(
        "{} CPU · {}{limit} · {}",
        units::percent(usage.cpu_percent),
        units::bytes(usage.mem_bytes),
        units::counted(sample.n_pids, "process")
    );
    page.text("Uses", &shown);
}

/// What was asked for and is not the default.
fn settings(page: &mut Page<'_>, detail: &ContainerDetail) {
    let spec = &detail.spec;
    let resources = &spec.resources;
    let mut limits = Vec::new();
    limits.extend(resources.memory_bytes.filter(|n| *n > 0).map(|n| format!("memory {}", units::bytes(n))));
    limits.extend(resources.nano_cpus.filter(|n| *n > 0).map(|n| format!("{} CPUs", n as f64 / 1e9)));
    limits.extend(resources.pids_limit.filter(|n| *n > 0).map(|n| units::counted(n as u64, "process")));
    page.text("Limits", &limits.join(" · "));
    let restart = match spec.restart {
        RestartPolicy::No => String::new(),
        RestartPolicy::OnFailure { max_retries: 0 } => "on failure".to_owned(),
        RestartPolicy::OnFailure { max_retries } => format!("on failure, at most {max_retries}×"),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless stopped".to_owned(),
    };
    page.text("Restart", &restart);
    page.text("User", spec.user.as_deref().unwrap_or_default());
    page.text("Directory", spec.working_dir.as_deref().unwrap_or_default());
    let switches = [
        (spec.tty, "terminal"),
        (spec.auto_remove, "removed when it ends"),
        (spec.init, "tiny init"),
        (spec.read_only_rootfs, "read-only root"),
        (spec.privileged, "PRIVILEGED"),
    ];
    let on: Vec<&str> = switches.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect();
    page.text("Options", &on.join(" · "));
    if detail.size_rw_bytes.is_some_and(|n| n > 0) {
        page.text("Written", &detail.size_rw_bytes.map(units::bytes).unwrap_or_default());
    }
    page.list("Env", spec.env.iter().cloned());
}

// ---- the others -----------------------------------------------------------------------------------------------------------------------

fn image(model: &Model, page: &mut Page<'_>, loaded: Option<&Loaded>) {
    let Some(row) = model.images.selected() else { return };
    page.list("Names", row.it.references.iter().cloned());
    page.quiet("Id", short_id(&row.it.id));
    let shared = row.it.shared_bytes.filter(|n| *n > 0).map(|n| format!(", {} shared with others", units::bytes(n)));
    page.text("Size", &format!("{}{}", units::bytes(row.it.size_bytes), shared.unwrap_or_default()));
    page.text("Created", &format!("{} ago", coarse(model.now, row.it.created)));
    let users = model.containers.all().iter().filter(|container| container.it.image_id == row.it.id);
    let users: Vec<String> = users.map(|container| container.name.clone()).collect();
    page.text("Used by", &users.join(", "));
    if let Some(Loaded::Image(detail, history)) = loaded {
        image_config(page, detail, history.len());
    }
    page.list("Labels", row.it.labels.iter().map(|(key, value)| format!("{key}={value}")));
}

fn image_config(page: &mut Page<'_>, detail: &ImageDetail, n_history: usize) {
    let config = &detail.config;
    let variant = detail.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
    page.text("Platform", &format!("{}/{}{variant}", detail.os, detail.architecture));
    page.text("Layers", &format!("{} ({})", detail.layers.len(), units::counted(n_history as u64, "step")));
    page.gap();
    let words = |words: &Option<Vec<String>>| words.as_deref().unwrap_or_default().join(" ");
    page.text("Entrypoint", &words(&config.entrypoint));
    page.text("Command", &words(&config.cmd));
    page.text("Directory", &config.working_dir);
    page.text("User", &config.user);
    page.text("Ports", &config.exposed_ports.join(" "));
    page.text("Volumes", &config.volumes.join(" "));
    page.text("Stop signal", config.stop_signal.as_deref().unwrap_or_default());
    page.list("Env", config.env.iter().cloned());
}

fn volume(model: &Model, page: &mut Page<'_>) {
    let Some(row) = model.volumes.selected() else { return };
    page.text("Name", &row.it.name);
    page.text("Kind", if row.it.anonymous { "anonymous" } else { "named" });
    page.text("Driver", &row.it.driver);
    page.text("Size", &row.it.size_bytes.map(units::bytes).unwrap_or_default());
    page.text("Created", &format!("{} ago", coarse(model.now, row.it.created)));
    page.text("Path", &row.it.mountpoint);
    match row.users.as_slice() {
        [] => page.quiet("Used by", "nobody"),
        users => page.list("Used by", users.iter().cloned()),
    }
    page.list("Options", row.it.options.iter().map(|(key, value)| format!("{key}={value}")));
    page.list("Labels", row.it.labels.iter().map(|(key, value)| format!("{key}={value}")));
}

fn network(model: &Model, page: &mut Page<'_>) {
    let Some(row) = model.networks.selected() else { return };
    page.text("Name", &row.it.name);
    page.text("Driver", &row.it.driver);
    page.text("Scope", &row.it.scope);
    page.quiet("Id", short_id(&row.it.id));
    let users = model.containers.all().iter().filter(|container| container.it.networks.contains(&row.it.name));
    page.list("Used by", users.map(|container| container.name.clone()));
    page.list("Labels", row.it.labels.iter().map(|(key, value)| format!("{key}={value}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_in_words() {
        let exit = |code, oom_killed| Exit { code, oom_killed, ..Exit::default() };
        assert_eq!(decode(&exit(137, false)), "137: ended by signal 9 (SIGKILL)");
        assert_eq!(decode(&exit(137, true)), "137: out of memory, killed by the kernel at its limit");
        assert_eq!(decode(&exit(127, false)), "127: the command was not found");
        assert_eq!(decode(&exit(42, false)), "42: the program's own code");
        assert!(decode(&exit(191, false)).contains("signal 63"));
    }
}
