//! Embedded terminals: shells, execs, attach. Part of `update`.

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::engine::container::Status;
use crate::engine::{ExecSpec, TtySize};

use super::super::keys::Chord;
use super::super::layout::Layout;
use super::super::model::Model;
use super::super::model::layers::{Layer, TerminalLayer, TerminalState};
use super::super::model::news::Tone;
use super::super::msg::{Command, Msg, OpenSession, SessionEnd, SessionKind, Target};
use super::super::terminal_view::{TerminalKey, TerminalModel};
use super::{actions, layers, say};

/// What a shell's frame says; it closes by itself when the shell ends.
const SHELL: &str = "shell";

pub(super) fn shell(model: &mut Model) -> Vec<Command> {
    match actions::selected_container(model) {
        Some(target) => open(model, target, SHELL.to_owned(), SessionKind::Shell),
        None => Vec::new(),
    }
}

pub(super) fn exec(model: &mut Model, target: Target, spec: ExecSpec) -> Vec<Command> {
    let what = format!("exec {}", spec.cmd.join(" "));
    open(model, target, what, SessionKind::Exec(Box::new(spec)))
}

pub(super) fn attach(model: &mut Model) -> Vec<Command> {
    match actions::selected_container(model) {
        Some(target) => open(model, target, "attach".to_owned(), SessionKind::Attach),
        None => Vec::new(),
    }
}

pub(super) fn attach_and_start(model: &mut Model, target: Target) -> Vec<Command> {
    open(model, target, "attach".to_owned(), SessionKind::AttachAndStart)
}

/// Cells inside the terminal's frame.
pub(in super::super) fn inside(model: &Model) -> (u16, u16) {
    match Layout::of(model) {
        Layout::TooSmall => (1, 1),
        Layout::Areas(areas) => (areas.body.width.saturating_sub(2).max(1), areas.body.height.saturating_sub(2).max(1)),
    }
}

fn open(model: &mut Model, container: Target, what: String, how: SessionKind) -> Vec<Command> {
    let session = model.fresh_id();
    let (cols, rows) = inside(model);
    let is_attach = matches!(how, SessionKind::Attach | SessionKind::AttachAndStart);
    let id = container.id.clone();
    let size = TtySize { rows, cols };
    let terminal = match TerminalModel::new(size, &model.settings.detach_key.to_string()) {
        Ok(terminal) => terminal,
        Err(e) => {
            say(model, Tone::Bad, format!("detach key: {e}"));
            return Vec::new();
        }
    };
    let state = TerminalState::Opening;
    model.layers.push(Layer::Terminal(Box::new(TerminalLayer {
        session,
        container,
        what,
        is_attach,
        model: terminal,
        state,
        has_tty: true,
        is_used: false,
        size: (cols, rows),
    })));
    vec![Command::OpenSession { session, open: Box::new(OpenSession { container: id, how, size }) }]
}

fn find(model: &mut Model, session: u64) -> Option<&mut TerminalLayer> {
    model.layers.iter_mut().find_map(|layer| match layer {
        Layer::Terminal(terminal) if terminal.session == session => Some(&mut **terminal),
        _ => None,
    })
}

pub(super) fn take(model: &mut Model, msg: Msg) -> Vec<Command> {
    match msg {
        Msg::SessionOpened { session, tty } => {
            if let Some(terminal) = find(model, session) {
                terminal.state = TerminalState::Live;
                terminal.has_tty = tty;
            }
            Vec::new()
        }
        Msg::SessionOutput { session, bytes } => {
            let reply = find(model, session).map(|terminal| terminal.feed(&bytes)).unwrap_or_default();
            if reply.is_empty() {
                Vec::new()
            } else {
                vec![Command::SessionInput { session, bytes: Bytes::from(reply) }]
            }
        }
        Msg::SessionEnded { session, end } => ended(model, session, end),
        _ => Vec::new(),
    }
}

fn ended(model: &mut Model, session: u64, end: SessionEnd) -> Vec<Command> {
    let Some(terminal) = find(model, session) else { return Vec::new() };
    let close = vec![Command::CloseSession(session)];
    let (what, name) = (terminal.what.clone(), terminal.container.name.clone());
    let code = match end {
        SessionEnd::Failed(error) => {
            let title = if terminal.state == TerminalState::Live {
                "The connection was lost"
            } else {
                "Cannot open a terminal"
            };
            drop_layer(model, session);
            layers::show_error(model, title, vec![(name, error)]);
            return close;
        }
        SessionEnd::Exited(exit) => Some(i64::from(exit.code)),
        SessionEnd::Detached => None,
    };
    // One that ended before anything was typed says why, and keys that were meant for it must not reach the lists.
    if what == SHELL && terminal.is_used {
        drop_layer(model, session);
        let how = code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        say(model, Tone::Info, format!("the shell in {name} ended{how}"));
        return close;
    }
    terminal.state = TerminalState::Ended;
    terminal.model.ended(code);
    close
}

fn drop_layer(model: &mut Model, session: u64) {
    model.layers.retain(|layer| !matches!(layer, Layer::Terminal(terminal) if terminal.session == session));
}

/// All keys are the process's but the detach key.
pub(super) fn take_key(model: &mut Model, key: KeyEvent) -> Vec<Command> {
    let detach = model.settings.detach_key;
    let Some(Layer::Terminal(terminal)) = model.layers.last_mut() else { return Vec::new() };
    let session = terminal.session;
    if terminal.state == TerminalState::Opening {
        let is_stop = key.code == KeyCode::Esc || Chord::from(key) == detach;
        let is_cancel = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_stop || is_cancel {
            return detached(model, session);
        }
        // What is typed ahead waits for the process: a link may be slow, and a quiet process does not show that it listens.
    }
    let send = |bytes: Vec<u8>| Command::SessionInput { session, bytes: Bytes::from(bytes) };
    match terminal.model.key(key) {
        TerminalKey::Send(bytes) if bytes.is_empty() => Vec::new(),
        TerminalKey::Send(bytes) => {
            terminal.is_used = true;
            vec![send(bytes)]
        }
        TerminalKey::Detach(bytes) => {
            let mut out = if bytes.is_empty() { Vec::new() } else { vec![send(bytes)] };
            out.extend(detached(model, session));
            out
        }
        TerminalKey::Close => {
            model.layers.pop();
            Vec::new()
        }
        TerminalKey::Scrolled | TerminalKey::Ignored => Vec::new(),
    }
}

pub(super) fn take_paste(model: &mut Model, text: &str) -> Vec<Command> {
    let Some(Layer::Terminal(terminal)) = model.layers.last_mut() else { return Vec::new() };
    if terminal.state == TerminalState::Ended {
        return Vec::new();
    }
    terminal.is_used = true;
    let bytes = Bytes::from(terminal.model.paste(text));
    vec![Command::SessionInput { session: terminal.session, bytes }]
}

fn detached(model: &mut Model, session: u64) -> Vec<Command> {
    if let Some(Layer::Terminal(terminal)) = model.layers.pop() {
        let still_runs =
            model.containers.find(&terminal.container.id).is_some_and(|row| row.status() == Status::Running);
        if terminal.is_attach && still_runs {
            say(model, Tone::Info, format!("detached from {}; it goes on", terminal.container.name));
        }
    }
    vec![Command::CloseSession(session)]
}

/// Tells the engine when the frame has another size than it was told.
pub(super) fn fit(model: &mut Model) -> Vec<Command> {
    let (cols, rows) = inside(model);
    let mut out = Vec::new();
    for layer in &mut model.layers {
        if let Layer::Terminal(terminal) = layer
            && terminal.size != (cols, rows)
        {
            terminal.size = (cols, rows);
            if let Some(size) = terminal.model.resize(TtySize { rows, cols }) {
                out.push(Command::SessionResize { session: terminal.session, size });
            }
        }
    }
    out
}
