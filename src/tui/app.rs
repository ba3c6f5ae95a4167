//! Model, executor and inbox as one thing that takes messages and settles: what the event loop and the headless harness share.
//! It knows no terminal.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use tokio::sync::mpsc;

use crate::config::LineRunner;
use crate::engine::Hosts;

use super::executor::Executor;
use super::input::Input;
use super::keymap::{Binding, Keymap, PRESETS};
use super::layout::Layout;
use super::model::news::{TOAST_TIME, Toast, Tone};
use super::model::{Model, Pane};
use super::msg::{Command, Msg};
use super::settings::Settings;
use super::theme::Theme;
use super::update::{settle, update};
use super::{TuiOptions, settings, view};

/// The wall clock, or a test's.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Everything but the terminal.
pub struct App {
    pub model: Model,
    executor: Executor,
    inbox: mpsc::Receiver<Msg>,
    lines: Option<Arc<dyn LineRunner>>,
    hosts: Option<Arc<dyn Hosts>>,
    clock: Clock,
    /// Orders for the terminal that came up in this turn.
    for_terminal: Vec<Command>,
}

impl App {
    /// Builds the model and starts the subscriptions. Must run inside a tokio runtime.
    pub fn start(options: &TuiOptions) -> Self {
        let mut problems = Vec::new();
        let settings = match &options.config {
            Some((source, file)) => {
                let (settings, wrong) = settings::parse(source, file);
                problems.extend(wrong);
                settings
            }
            None => Settings::default(),
        };
        let keymap = keymap(&settings, &mut problems);
        let theme = theme(options, &settings, &mut problems);
        let (mut executor, inbox) = Executor::start(Arc::clone(&options.engine), options.lines.clone());
        executor.know_hosts(options.hosts.clone());
        let now = (options.clock)();
        let columns = settings.columns.clone();
        let mut model = Model::new(options.host.clone(), settings, theme, keymap, now);
        model.is_colorless = options.abilities.depth == super::screen::Depth::None;
        if let Some(columns) = columns {
            model.columns = columns;
        }
        if let Some(lines) = options.lines.clone() {
            model.complete_line = Box::new(move |typed| lines.complete(typed));
        }
        model.can_switch_host = options.hosts.is_some();
        for problem in problems {
            tracing::warn!("{problem}");
            let until = model.tick + TOAST_TIME * 3;
            model.toast(Toast { tone: Tone::Warning, text: problem, until });
        }
        Self {
            model,
            executor,
            inbox,
            lines: options.lines.clone(),
            hosts: options.hosts.clone(),
            clock: Arc::clone(&options.clock),
            for_terminal: Vec::new(),
        }
    }

    /// Takes one message in.
    pub fn take(&mut self, msg: Msg) {
        self.look_at_clock();
        let commands = update(&mut self.model, msg);
        self.run(commands);
    }

    pub fn input(&mut self, input: Input) {
        self.take(Msg::Input(input));
    }

    /// Ends a turn: asks for what the model needs now.
    pub fn settle(&mut self) {
        self.look_at_clock();
        let mut commands = settle(&mut self.model);
        commands.extend(super::update::fit_terminals(&mut self.model));
        self.run(commands);
    }

    /// Waits for the next message; `None` never comes while the app lives.
    pub async fn next(&mut self) -> Option<Msg> {
        self.inbox.recv().await
    }

    /// A message that is there already.
    pub fn try_next(&mut self) -> Option<Msg> {
        self.inbox.try_recv().ok()
    }

    /// Whether nothing is under way and nothing waits.
    pub fn is_quiet(&self) -> bool {
        self.executor.is_quiet() && self.inbox.is_empty()
    }

    /// Orders for the terminal since the last call.
    pub fn take_terminal_orders(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.for_terminal)
    }

    /// Paints the screen.
    pub fn view(&self, area: Rect, buf: &mut Buffer) -> Option<Position> {
        view::view(&self.model, area, buf)
    }

    /// The part of the screen that waits for an answer and stays as it is meanwhile.
    pub fn held(&self) -> Option<Rect> {
        self.model.detail.held_until?;
        let Layout::Areas(areas) = Layout::of(&self.model) else { return None };
        areas.area_of(Pane::Detail).filter(|area| area.pane != self.model.focus).map(|area| area.outer)
    }

    /// The last painted frame has been given to the terminal.
    pub fn painted(&mut self) {
        let (now, wall) = (self.model.tick, self.model.now_ns());
        if let Some(logs) = &mut self.model.detail.logs {
            logs.painted(now, wall);
        }
    }

    /// Leaves this engine for another; what was under way here is given up, and late answers find nobody.
    fn switch(&mut self, name: &str) {
        let Some(hosts) = &self.hosts else { return };
        match hosts.open(name) {
            Ok((entry, engine)) => {
                (self.executor, self.inbox) = Executor::start(engine, self.lines.clone());
                self.executor.know_hosts(self.hosts.clone());
                self.model.switch_host(entry);
            }
            Err(error) => self.take(Msg::HostRefused { name: name.to_owned(), error }),
        }
    }

    fn look_at_clock(&mut self) {
        self.model.tick = Instant::now();
        self.model.now = (self.clock)();
    }

    fn run(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Clipboard(_) | Command::Suspend | Command::Redraw | Command::SetMouse(_) | Command::Quit => {
                    self.for_terminal.push(command);
                }
                Command::AskHosts => {
                    if let Some(hosts) = &self.hosts {
                        self.executor.ask_hosts(Arc::clone(hosts));
                    }
                }
                Command::SwitchHost(name) => self.switch(&name),
                other => self.executor.run(other),
            }
        }
    }
}

fn keymap(settings: &Settings, problems: &mut Vec<String>) -> Keymap {
    let mut keymap = Keymap::default();
    if let Some(name) = &settings.keys_preset {
        match PRESETS.iter().find(|(known, _)| known == name) {
            Some((name, source)) => {
                let (bindings, wrong): (Vec<Binding>, _) = settings::read_bindings(source, name);
                problems.extend(wrong);
                problems.extend(keymap.bind(&bindings));
            }
            None => problems.push(format!("there is no key preset `{name}`; there are lazydocker and k9s")),
        }
    }
    problems.extend(keymap.bind(&settings.bindings));
    keymap
}

fn theme(options: &TuiOptions, settings: &Settings, problems: &mut Vec<String>) -> Theme {
    use super::screen::Depth;
    let by_terminal = if options.abilities.depth == Depth::Ansi16 { "ansi16" } else { "dark" };
    let wanted = settings.theme.as_deref().unwrap_or(by_terminal);
    let user = options.themes.iter().find(|(name, _)| name == wanted);
    let theme = match (Theme::built_in(wanted), user) {
        (_, Some((name, source))) => Theme::parse(name, source, &format!("{name}.toml")).unwrap_or_else(|e| {
            problems.push(e.to_string());
            Theme::dark()
        }),
        (Some(theme), None) => theme,
        (None, None) => {
            problems.push(format!("there is no theme `{wanted}`"));
            Theme::dark()
        }
    };
    if options.abilities.depth == Depth::None { theme.without_color() } else { theme }
}
