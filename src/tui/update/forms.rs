//! Forms: run, exec, limits, import, from-host. Builds them, takes their keys, checks every field, turns them into work. Part of `update`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::engine::spec::MountKind;
use crate::engine::{
    ContainerSpec, ExecSpec, ImportImage, MountSpec, PortBinding, Resources, RestartPolicy, UpdateContainer,
};

use super::super::edit::{Edited, LineEdit};
use super::super::model::layers::{Completion, Field, FieldId, Form, FormKind, Layer, Source, Value};
use super::super::model::{Model, Pane};
use super::super::msg::{AfterCreate, Command, RunRequest, Target, Work};
use super::super::units;
use super::{actions, jobs, sessions};

const RESTART: &[&str] = &["no", "on-failure", "always", "unless-stopped"];
/// Networks that every host has, after those that are its own.
const NETWORK: &[&str] = &["none", "host"];
/// What a container gets of docker and of podman when nothing is said.
const USUAL_NETWORKS: &[&str] = &["bridge", "podman"];
const AFTER: &[&str] = &["start", "start and attach", "create only"];

fn text(id: FieldId, label: &'static str, example: &'static str, value: impl Into<String>) -> Field {
    Field { id, label, example, value: Value::Text(LineEdit::new(value)), error: None }
}

/// A field with a value to take as it is or to type over.
fn proposed(id: FieldId, label: &'static str, example: &'static str, value: &str) -> Field {
    Field { id, label, example, value: Value::Text(LineEdit::proposed(value)), error: None }
}

fn toggle(id: FieldId, label: &'static str, example: &'static str) -> Field {
    Field { id, label, example, value: Value::Toggle(false), error: None }
}

fn choice(id: FieldId, label: &'static str, options: &[&str]) -> Field {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Field { id, label, example: "", value: Value::Choice { options, at: 0 }, error: None }
}

fn open(model: &mut Model, title: String, kind: FormKind, fields: Vec<Field>, focus: usize, button: &'static str) {
    model.layers.push(Layer::Form(Form {
        title,
        kind,
        fields,
        focus,
        button,
        completion: Completion::default(),
        error: None,
    }));
    refresh_completion(model);
}

pub(super) fn open_run(model: &mut Model) {
    let image = match model.list {
        Pane::Images => model.images.selected().map(|row| row.handle.clone()),
        // With a single image there is nothing to choose.
        _ if model.images.n_total() == 1 => model.images.all().first().map(|row| row.handle.clone()),
        _ => None,
    };
    let focus = usize::from(image.is_some());
    let fields = vec![
        text(FieldId::Image, "Image", "name:tag", image.unwrap_or_default()),
        text(FieldId::Name, "Name", "made up when empty", ""),
        text(FieldId::Command, "Command", "the image's own when empty", ""),
        choice(FieldId::Then, "Then", AFTER),
        toggle(FieldId::Tty, "Terminal", "a tty and an open stdin"),
        text(FieldId::Env, "Environment", "A=b C=\"d e\"", ""),
        text(FieldId::Ports, "Ports", "8080:80 127.0.0.1:53:53/udp", ""),
        text(FieldId::Mounts, "Mounts", "data:/data /host/dir:/dir:ro", ""),
        choice(FieldId::Network, "Network", &networks(model)),
        text(FieldId::Memory, "Memory", "512m", ""),
        text(FieldId::Cpus, "CPUs", "1.5", ""),
        text(FieldId::Pids, "Processes", "at most, 100", ""),
        choice(FieldId::Restart, "Restart", RESTART),
        text(FieldId::User, "User", "user[:group]", ""),
        text(FieldId::Workdir, "Directory", "/where/it/starts", ""),
        toggle(FieldId::AutoRemove, "Remove after", "when it ends"),
        toggle(FieldId::ReadOnly, "Read-only root", "nothing but mounts can be written"),
        toggle(FieldId::Init, "Tiny init", "forwards signals and reaps"),
    ];
    open(model, "Run an image".to_owned(), FormKind::Run, fields, focus, "Run");
}

/// The networks that a container of this host can have: first the one that it gets when nothing is said.
fn networks(model: &Model) -> Vec<&str> {
    let is_own = |name: &&str| !NETWORK.contains(name);
    let mut names: Vec<&str> = model.networks.all().iter().map(|row| row.it.name.as_str()).filter(is_own).collect();
    names.sort_by_key(|name| (!USUAL_NETWORKS.contains(name), *name));
    names.into_iter().chain(NETWORK.iter().copied()).collect()
}

pub(super) fn open_exec(model: &mut Model) {
    let Some(target) = actions::selected_container(model) else { return };
    let fields = vec![
        text(FieldId::Command, "Command", "ls -l /", ""),
        text(FieldId::User, "User", "the container's own when empty", ""),
        text(FieldId::Workdir, "Directory", "the container's own when empty", ""),
        text(FieldId::Env, "Environment", "A=b C=\"d e\"", ""),
        toggle(FieldId::Privileged, "Privileged", "all capabilities"),
    ];
    open(model, format!("Run inside {}", target.name), FormKind::Exec(target), fields, 0, "Run");
}

pub(super) fn open_limits(model: &mut Model) {
    let Some(target) = actions::selected_container(model) else { return };
    let detail = model.subject().and_then(|subject| model.detail.container_for(&subject).cloned());
    let now = detail.map(|detail| (detail.spec.resources, detail.spec.restart));
    let (resources, restart) = now.unwrap_or_default();
    let memory = resources.memory_bytes.filter(|n| *n > 0).map(plain_bytes).unwrap_or_default();
    let cpus = resources.nano_cpus.filter(|n| *n > 0).map(|n| format!("{}", n as f64 / 1e9)).unwrap_or_default();
    let pids = resources.pids_limit.filter(|n| *n > 0).map(|n| n.to_string()).unwrap_or_default();
    let mut policy = choice(FieldId::Restart, "Restart", RESTART);
    if let Value::Choice { at, .. } = &mut policy.value {
        *at = restart_slot(restart);
    }
    let fields = vec![
        text(FieldId::Memory, "Memory", "no limit", memory),
        text(FieldId::Cpus, "CPUs", "no limit", cpus),
        text(FieldId::Pids, "Processes", "no limit", pids),
        policy,
    ];
    open(model, format!("Limits of {}", target.name), FormKind::Limits(target), fields, 0, "Apply");
}

/// A size that reads back as exactly the same number.
fn plain_bytes(n: u64) -> String {
    for (unit, letter) in [(1 << 30, 'g'), (1 << 20, 'm'), (1 << 10, 'k')] {
        if n.is_multiple_of(unit) {
            return format!("{}{letter}", n / unit);
        }
    }
    n.to_string()
}

fn restart_slot(policy: RestartPolicy) -> usize {
    match policy {
        RestartPolicy::No => 0,
        RestartPolicy::OnFailure { .. } => 1,
        RestartPolicy::Always => 2,
        RestartPolicy::UnlessStopped => 3,
    }
}

pub(super) fn open_import(model: &mut Model) {
    let fields = vec![
        text(FieldId::Path, "Archive", "rootfs.tar.xz; tab completes", ""),
        text(FieldId::Reference, "Name", "name:tag", ""),
        text(FieldId::Command, "Command", "what it runs when nothing is said", ""),
    ];
    let kind = FormKind::Import(ImportImage::default());
    open(model, "Import a root file system".to_owned(), kind, fields, 0, "Import");
}

pub(super) fn open_from_host(model: &mut Model) {
    let fields = vec![
        proposed(FieldId::Reference, "Name", "name:tag", "tools:latest"),
        text(FieldId::Paths, "Programs", "/bin/sh /bin/ls; tab completes", "/bin/sh /bin/ls /bin/cat "),
    ];
    open(model, "Make an image from this host".to_owned(), FormKind::FromHost, fields, 0, "Make");
}

pub(super) fn take_paste(model: &mut Model, pasted: &str) {
    if let Some(Layer::Form(form)) = model.layers.last_mut()
        && let Some(Value::Text(edit)) = form.fields.get_mut(form.focus).map(|field| &mut field.value)
    {
        edit.insert(pasted);
    }
    refresh_completion(model);
}

pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let Some(Layer::Form(form)) = model.layers.last_mut() else { return Vec::new() };
    let n_stops = form.fields.len() + 1;
    let has_choice = form.completion.cursor.is_some();
    match key.code {
        KeyCode::Esc if has_choice || !form.completion.found.is_empty() => form.completion.found.clear(),
        KeyCode::Esc => drop(model.layers.pop()),
        KeyCode::Char('s') if ctrl => return submit(model),
        KeyCode::Down if !form.completion.found.is_empty() => step_completion(form, 1),
        KeyCode::Up if has_choice => step_completion(form, -1),
        KeyCode::Enter | KeyCode::Tab if has_choice => {
            take_completion(form);
            return refresh_completion(model);
        }
        KeyCode::Tab if can_complete_one(form) => {
            form.completion.cursor = Some(0);
            take_completion(form);
            return refresh_completion(model);
        }
        KeyCode::Enter if form.focus + 1 >= n_stops => return submit(model),
        KeyCode::Tab | KeyCode::Down | KeyCode::Enter => return move_focus(model, 1),
        KeyCode::BackTab | KeyCode::Up => return move_focus(model, -1),
        _ => return field_key(model, key),
    }
    Vec::new()
}

fn move_focus(model: &mut Model, delta: isize) -> Vec<Command> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else { return Vec::new() };
    let n_stops = form.fields.len() as isize + 1;
    check_field(form);
    form.focus = (form.focus as isize + delta).rem_euclid(n_stops) as usize;
    refresh_completion(model)
}

fn field_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else { return Vec::new() };
    let Some(field) = form.fields.get_mut(form.focus) else { return Vec::new() };
    match (&mut field.value, key.code) {
        (Value::Toggle(on), KeyCode::Char(' ') | KeyCode::Left | KeyCode::Right) => *on = !*on,
        (Value::Choice { options, at }, KeyCode::Char(' ') | KeyCode::Right) => {
            *at = (*at + 1) % options.len();
            follow_choice(form);
        }
        (Value::Choice { options, at }, KeyCode::Left) => {
            *at = (*at + options.len() - 1) % options.len();
            follow_choice(form);
        }
        (Value::Text(edit), _) => {
            if edit.key(key) != Edited::Changed {
                return Vec::new();
            }
            field.error = None;
            form.error = None;
            return refresh_completion(model);
        }
        _ => {}
    }
    Vec::new()
}

/// Whoever attaches wants a terminal; it can be switched off again.
fn follow_choice(form: &mut Form) {
    let attaches = form.text(FieldId::Then) == "start and attach";
    if form.fields.get(form.focus).is_some_and(|field| field.id == FieldId::Then)
        && let Some(field) = form.fields.iter_mut().find(|field| field.id == FieldId::Tty)
    {
        field.value = Value::Toggle(attaches);
    }
}

/// Proposals for the field under the cursor: images at once, paths by asking.
fn refresh_completion(model: &mut Model) -> Vec<Command> {
    let images: Vec<String> =
        model.images.all().iter().filter(|row| !row.is_dangling()).map(|row| row.handle.clone()).collect();
    let Some(Layer::Form(form)) = model.layers.last_mut() else { return Vec::new() };
    form.completion = Completion::default();
    let Some(field) = form.fields.get(form.focus) else { return Vec::new() };
    let Value::Text(edit) = &field.value else { return Vec::new() };
    match field.id {
        FieldId::Image => {
            let typed = edit.text().trim();
            form.completion.source = Source::Images;
            form.completion.found = images.into_iter().filter(|name| name.contains(typed) && name != typed).collect();
            Vec::new()
        }
        FieldId::Path | FieldId::Paths => {
            form.completion.source = Source::Paths;
            let word = last_word(edit.text());
            if word.is_empty() { Vec::new() } else { vec![Command::CompletePath(word.to_owned())] }
        }
        _ => Vec::new(),
    }
}

fn last_word(typed: &str) -> &str {
    typed.rsplit(' ').next().unwrap_or_default()
}

pub(super) fn paths_found(form: &mut Form, typed: &str, found: Vec<String>) {
    let Some(Value::Text(edit)) = form.fields.get(form.focus).map(|field| &field.value) else { return };
    if form.completion.source == Source::Paths && last_word(edit.text()) == typed {
        form.completion.found = found.into_iter().filter(|path| path != typed).collect();
        form.completion.cursor = None;
    }
}

fn can_complete_one(form: &Form) -> bool {
    form.completion.source == Source::Paths && !form.completion.found.is_empty()
}

fn step_completion(form: &mut Form, delta: isize) {
    let n = form.completion.found.len() as isize;
    let here = form.completion.cursor.map_or(if delta > 0 { -1 } else { 0 }, |at| at as isize);
    let next = here + delta;
    form.completion.cursor = (next >= 0).then_some((next.min(n - 1)) as usize);
}

fn take_completion(form: &mut Form) {
    let chosen = form.completion.cursor.take().and_then(|at| form.completion.found.get(at)).cloned();
    form.completion.found.clear();
    let Some(chosen) = chosen else { return };
    if let Some(Value::Text(edit)) = form.fields.get_mut(form.focus).map(|field| &mut field.value) {
        let head = edit.text().len() - last_word(edit.text()).len();
        let line = format!("{}{chosen}", &edit.text()[..head]);
        edit.set(line);
    }
}

/// Says what is wrong with the field that is being left.
fn check_field(form: &mut Form) {
    let Some(field) = form.fields.get_mut(form.focus) else { return };
    if let Value::Text(edit) = &field.value {
        field.error = problem_of(field.id, edit.text().trim()).err();
    }
}

/// Checks one field by itself; empty is fine here.
fn problem_of(id: FieldId, typed: &str) -> Result<(), String> {
    if typed.is_empty() {
        return Ok(());
    }
    match id {
        FieldId::Name => check_name(typed),
        FieldId::Command => split_words(typed).map(drop),
        FieldId::Env => parse_env(typed).map(drop),
        FieldId::Ports => parse_ports(typed).map(drop),
        FieldId::Mounts => parse_mounts(typed).map(drop),
        FieldId::Memory => parse_memory(typed).map(drop),
        FieldId::Cpus => parse_cpus(typed).map(drop),
        FieldId::Pids => parse_pids(typed).map(drop),
        FieldId::Workdir if !typed.starts_with('/') => Err("must begin with /".to_owned()),
        _ => Ok(()),
    }
}

/// Docker's rule for container names.
fn check_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.clone().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if first && rest && name.len() > 1 {
        Ok(())
    } else {
        Err("letters, digits, _ . - only; two or more; not - first".to_owned())
    }
}

/// Words as a shell splits them: quotes and backslashes, nothing else.
pub(super) fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("ends in a backslash".to_owned()),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

fn parse_env(typed: &str) -> Result<Vec<String>, String> {
    let words = split_words(typed)?;
    match words.iter().find(|word| word.starts_with('=')) {
        Some(word) => Err(format!("{word} has no name")),
        None => Ok(words),
    }
}

fn parse_ports(typed: &str) -> Result<Vec<PortBinding>, String> {
    split_words(typed)?.iter().map(|word| parse_port(word)).collect()
}

/// `[ip:][host:]container[/protocol]`.
fn parse_port(word: &str) -> Result<PortBinding, String> {
    let (ports, protocol) = word.rsplit_once('/').unwrap_or((word, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(format!("{protocol} is not tcp, udp or sctp"));
    }
    let (head, container) = ports.rsplit_once(':').map_or((None, ports), |(head, last)| (Some(head), last));
    let number =
        |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{text} is not a port"));
    let (host_ip, host) = match head {
        None => (None, None),
        Some(head) => match head.rsplit_once(':') {
            Some((ip, host)) => (Some(ip.trim_matches(['[', ']']).to_owned()), Some(host)),
            None => (None, Some(head)),
        },
    };
    if let Some(ip) = &host_ip {
        ip.parse::<std::net::IpAddr>().map_err(|_| format!("{ip} is not an address"))?;
    }
    Ok(PortBinding {
        container_port: number(container)?,
        protocol: protocol.to_owned(),
        host_ip,
        host_port: host.filter(|host| !host.is_empty()).map(number).transpose()?,
    })
}

fn parse_mounts(typed: &str) -> Result<Vec<MountSpec>, String> {
    split_words(typed)?.iter().map(|word| parse_mount(word)).collect()
}

/// `[source:]target[:ro]`; a source with a slash is a path of the host, else a volume.
fn parse_mount(word: &str) -> Result<MountSpec, String> {
    let (body, read_only) = match word.rsplit_once(':') {
        Some((body, "ro")) => (body, true),
        Some((body, "rw")) => (body, false),
        _ => (word, false),
    };
    let (source, target) = body.split_once(':').map_or((None, body), |(source, target)| (Some(source), target));
    if !target.starts_with('/') {
        return Err(format!("{target} must begin with /"));
    }
    let volume =
        |name: Option<String>| MountKind::Volume { name, no_copy: false, subpath: None, labels: Default::default() };
    let kind = match source {
        None => volume(None),
        Some("") => return Err(format!("{word} has no source")),
        Some(path) if path.starts_with(['/', '~', '.']) => {
            let path = super::super::home::expand(path);
            let path = std::path::absolute(&path).unwrap_or(path);
            MountKind::Bind {
                source: path.to_string_lossy().into_owned(),
                propagation: None,
                create: true,
                non_recursive: false,
            }
        }
        Some(name) if name.contains('/') => return Err(format!("{name} is neither a path from / nor a volume name")),
        Some(name) => volume(Some(name.to_owned())),
    };
    Ok(MountSpec { kind, target: target.to_owned(), read_only })
}

fn parse_memory(typed: &str) -> Result<u64, String> {
    let bytes = units::parse_bytes(typed).ok_or("a number with k, m or g, as 512m")?;
    // Docker's smallest limit; the kernel cannot start anything below.
    if bytes >= 6 << 20 { Ok(bytes) } else { Err("at least 6m".to_owned()) }
}

fn parse_cpus(typed: &str) -> Result<u64, String> {
    let cpus: f64 = typed
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.01 && *n <= 10_000.0)
        .ok_or("a number from 0.01, as 1.5")?;
    Ok((cpus * 1e9).round() as u64)
}

fn parse_pids(typed: &str) -> Result<i64, String> {
    typed.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a number from 1".to_owned())
}

/// Checks everything and starts the work; the first wrong field gets the focus.
fn submit(model: &mut Model) -> Vec<Command> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else { return Vec::new() };
    for field in &mut form.fields {
        if let Value::Text(edit) = &field.value {
            field.error = problem_of(field.id, edit.text().trim()).err();
        }
    }
    for id in required(&form.kind) {
        if form.text(*id).is_empty() {
            form.set_error(*id, "this cannot be empty");
        }
    }
    if let Some(at) = form.fields.iter().position(|field| field.error.is_some()) {
        form.focus = at;
        return refresh_completion(model);
    }
    let Some(Layer::Form(form)) = model.layers.pop() else { return Vec::new() };
    match finish(&form) {
        Ok(Finished::Work(work)) => jobs::start(model, work),
        Ok(Finished::Exec(target, spec)) => sessions::exec(model, target, spec),
        Err(problem) => {
            model.layers.push(Layer::Form(Form { error: Some(problem), ..form }));
            Vec::new()
        }
    }
}

fn required(kind: &FormKind) -> &'static [FieldId] {
    match kind {
        FormKind::Run => &[FieldId::Image],
        FormKind::Exec(_) => &[FieldId::Command],
        FormKind::Limits(_) => &[],
        FormKind::Import(_) => &[FieldId::Path, FieldId::Reference],
        FormKind::FromHost => &[FieldId::Reference, FieldId::Paths],
    }
}

enum Finished {
    Work(Work),
    Exec(Target, ExecSpec),
}

fn finish(form: &Form) -> Result<Finished, String> {
    let some = |id| Some(form.text(id)).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(match &form.kind {
        FormKind::Run => Finished::Work(Work::Run(Box::new(run_request(form)?))),
        FormKind::Exec(target) => {
            let spec = ExecSpec {
                cmd: split_words(form.text(FieldId::Command))?,
                user: some(FieldId::User),
                working_dir: some(FieldId::Workdir),
                env: parse_env(form.text(FieldId::Env))?,
                privileged: form.is_on(FieldId::Privileged),
                ..ExecSpec::default()
            };
            Finished::Exec(target.clone(), spec)
        }
        FormKind::Limits(target) => {
            let resources = Resources {
                // Docker's update reads 0 as "no limit".
                memory_bytes: Some(some(FieldId::Memory).map_or(Ok(0), |text| parse_memory(&text))?),
                nano_cpus: Some(some(FieldId::Cpus).map_or(Ok(0), |text| parse_cpus(&text))?),
                pids_limit: Some(some(FieldId::Pids).map_or(Ok(-1), |text| parse_pids(&text))?),
                ..Resources::default()
            };
            let update = UpdateContainer { resources, restart: Some(restart_of(form)) };
            Finished::Work(Work::Update { target: target.clone(), update: Box::new(update) })
        }
        FormKind::Import(_) => {
            let command = split_words(form.text(FieldId::Command))?;
            let changes = if command.is_empty() {
                Vec::new()
            } else {
                vec![format!("CMD {}", serde_json::to_string(&command).unwrap_or_default())]
            };
            let path = super::super::home::expand(form.text(FieldId::Path));
            Finished::Work(Work::Import { path, reference: some(FieldId::Reference), changes })
        }
        FormKind::FromHost => Finished::Work(Work::FromHost {
            reference: form.text(FieldId::Reference).to_owned(),
            paths: split_words(form.text(FieldId::Paths))?,
        }),
    })
}

fn restart_of(form: &Form) -> RestartPolicy {
    match form.text(FieldId::Restart) {
        "on-failure" => RestartPolicy::OnFailure { max_retries: 0 },
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        _ => RestartPolicy::No,
    }
}

fn run_request(form: &Form) -> Result<RunRequest, String> {
    let some = |id| Some(form.text(id)).filter(|text| !text.is_empty()).map(str::to_owned);
    let command = split_words(form.text(FieldId::Command))?;
    let then = match form.text(FieldId::Then) {
        "start and attach" => AfterCreate::StartAndAttach,
        "create only" => AfterCreate::LeaveCreated,
        _ => AfterCreate::Start,
    };
    let restart = restart_of(form);
    let auto_remove = form.is_on(FieldId::AutoRemove);
    if auto_remove && restart != RestartPolicy::No {
        return Err("a container that is restarted cannot be removed when it ends".to_owned());
    }
    let spec = ContainerSpec {
        image: form.text(FieldId::Image).to_owned(),
        cmd: (!command.is_empty()).then_some(command),
        env: parse_env(form.text(FieldId::Env))?,
        working_dir: some(FieldId::Workdir),
        user: some(FieldId::User),
        tty: form.is_on(FieldId::Tty),
        open_stdin: form.is_on(FieldId::Tty),
        restart,
        auto_remove,
        init: form.is_on(FieldId::Init),
        read_only_rootfs: form.is_on(FieldId::ReadOnly),
        mounts: parse_mounts(form.text(FieldId::Mounts))?,
        network_mode: some(FieldId::Network),
        ports: parse_ports(form.text(FieldId::Ports))?,
        resources: Resources {
            memory_bytes: some(FieldId::Memory).map(|text| parse_memory(&text)).transpose()?,
            nano_cpus: some(FieldId::Cpus).map(|text| parse_cpus(&text)).transpose()?,
            pids_limit: some(FieldId::Pids).map(|text| parse_pids(&text)).transpose()?,
            ..Resources::default()
        },
        ..ContainerSpec::default()
    };
    Ok(RunRequest { name: some(FieldId::Name), spec, then })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_like_a_shell() {
        assert_eq!(split_words(r#"sh -c 'echo "a b"' x\ y """#).unwrap(), ["sh", "-c", "echo \"a b\"", "x y", ""]);
        assert_eq!(split_words("  ").unwrap(), Vec::<String>::new());
        assert_eq!(split_words("'a").unwrap_err(), "a quote is not closed");
    }

    #[test]
    fn ports_as_docker_writes_them() {
        let port = parse_port("127.0.0.1:8080:80/udp").unwrap();
        assert_eq!((port.host_ip.as_deref(), port.host_port, port.container_port), (Some("127.0.0.1"), Some(8080), 80));
        assert_eq!(parse_port("80").unwrap().host_port, None);
        for bad in ["x", "0:80", "70000", "80/tls", "nowhere:1:2"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_as_docker_writes_them() {
        assert!(matches!(
            parse_mount("data:/d:ro").unwrap(),
            MountSpec { read_only: true, kind: MountKind::Volume { name: Some(_), .. }, .. }
        ));
        assert!(matches!(parse_mount("/a:/b").unwrap().kind, MountKind::Bind { source, .. } if source == "/a"));
        assert!(matches!(parse_mount("/b").unwrap().kind, MountKind::Volume { name: None, .. }));
        for bad in ["data:d", ":/x", "a/b:/x"] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_field_says_what_is_wrong() {
        for (id, typed, ok) in [
            (FieldId::Name, "web-1", true),
            (FieldId::Name, "-web", false),
            (FieldId::Name, "w", false),
            (FieldId::Memory, "512m", true),
            (FieldId::Memory, "1m", false),
            (FieldId::Cpus, "0.5", true),
            (FieldId::Cpus, "none", false),
            (FieldId::Pids, "0", false),
            (FieldId::Env, "A=b C='d e'", true),
            (FieldId::Env, "=b", false),
            (FieldId::Workdir, "srv", false),
        ] {
            assert_eq!(problem_of(id, typed).is_ok(), ok, "{id:?} {typed}");
        }
    }
}
