//! The full-screen terminal UI. Called by `main`; speaks to `dyn Engine` alone.
//!
//! ```text
//! bytes -> input -> keymap -> Action -> update(&mut Model, Msg) -> Vec<Command> -> executor -> dyn Engine
//!                                 |       settle(&mut Model) ----> Vec<Command> ----^  |
//!                                 +-> view(&Model) -> screen -> bytes        Msg <-----+
//! ```
//! `update`, `settle` and `view` are plain functions. The model is owned by the loop. Only the executor holds an engine.

pub mod action;
pub mod app;
pub mod charts;
pub mod edit;
pub mod event_loop;
pub mod executor;
pub mod filter;
pub mod headless;
pub mod home;
pub mod input;
pub mod inspect_json;
pub mod keymap;
pub mod keys;
pub mod layout;
pub mod listing;
pub mod logs;
pub mod modals;
pub mod model;
pub mod msg;
pub mod pages;
pub mod screen;
pub mod settings;
pub mod subscriptions;
pub mod terminal;
pub mod terminal_view;
pub mod text;
pub mod theme;
pub mod units;
pub mod update;
pub mod view;
pub mod widgets;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::LineRunner;
use crate::engine::{Engine, HostEntry, Hosts};

use self::app::{App, Clock};
use self::event_loop::End;
use self::screen::Screen;
use self::terminal::{Abilities, Terminal};

/// Everything the screen is given. Build one with [`TuiOptions::new`] and fill in the rest.
pub struct TuiOptions {
    pub engine: Arc<dyn Engine>,
    /// What the header says of the engine: `embedded`, `demo`, a host.
    pub host: HostEntry,
    /// The engines one can switch to; `None`: this one only.
    pub hosts: Option<Arc<dyn Hosts>>,
    /// What the `:` line runs; `None`: actions only.
    pub lines: Option<Arc<dyn LineRunner>>,
    /// Text and name of the config file, if there is one.
    pub config: Option<(String, String)>,
    /// The user's own themes: name and text.
    pub themes: Vec<(String, String)>,
    pub abilities: Abilities,
    pub clock: Clock,
}

impl TuiOptions {
    /// Defaults: no config, what the environment says of the terminal, the wall clock.
    pub fn new(engine: Arc<dyn Engine>, host: HostEntry) -> Self {
        Self {
            engine,
            host,
            hosts: None,
            lines: None,
            config: None,
            themes: Vec::new(),
            abilities: Abilities::detect(|name| std::env::var(name).ok()),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Reads the config file and the themes beside it, if they exist. A file that cannot be read is said on the screen, not fatal.
    pub fn read_config(&mut self, file: &Path) {
        let shown = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(source) => self.config = Some((source, shown)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => tracing::warn!("cannot read {shown}: {e}"),
        }
        let Some(entries) = file.parent().and_then(|dir| std::fs::read_dir(dir.join("themes")).ok()) else { return };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let is_theme = path.extension().is_some_and(|extension| extension == "toml");
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            if let (true, Some(name), Ok(source)) = (is_theme, name, std::fs::read_to_string(&path)) {
                self.themes.push((name, source));
            }
        }
    }
}

/// Shows the screen until the user leaves. Must run inside a tokio runtime; the terminal is given back whatever happens.
///
/// # Errors
/// When there is no terminal, or it refuses raw mode.
///
/// # Panics
/// Only on a bug; the terminal is given back first.
pub async fn run(options: TuiOptions) -> std::io::Result<ExitCode> {
    let app = App::start(&options);
    let terminal = Terminal::enter(app.model.mouse)?;
    let screen = Screen::new(options.abilities.depth, options.abilities.charset);
    let end = event_loop::run(app, terminal, screen).await?;
    Ok(match end {
        End::Quit => ExitCode::SUCCESS,
        End::Gone => ExitCode::from(129),
        End::Signalled(number) => ExitCode::from(128_u8.saturating_add(number as u8)),
    })
}
