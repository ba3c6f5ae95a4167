//! The composition root: reads argv, picks the role this process plays (shim, runtime command, CLI verb or UI), builds the engine
//! and hands it to a face. Nothing else in the program names an engine implementation.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use orlop::cli::{self, Global, Io, Verb};
use orlop::config::contexts::Asked;
use orlop::config::places::Surroundings;
use orlop::config::{ConfigFile, Places, logging, settings};
use orlop::embedded::{Embedded, EmbeddedSettings, init};
use orlop::engine::fake::Fake;
use orlop::engine::{Engine, EngineError, HostEntry, Hosts};
use orlop::hosts::Directory;
use orlop::shim;
use orlop::sys::memory;
use orlop::tui::{self, TuiOptions};

fn main() -> ExitCode {
    // First of all: a shim starts often, stays small and must not set up anything of the faces.
    if shim::role::is_asked_for() {
        return ExitCode::from(shim::role::run());
    }
    if init::is_asked_for() {
        return ExitCode::from(init::run());
    }
    // Nor must a runtime command: engines call it several times for each container, and it forks.
    if let Some(argv) = runtime_command() {
        return ExitCode::from(u8::try_from(orlop::runtime::command::run(argv)).unwrap_or(1));
    }
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let parsed = match cli::parse(&argv) {
        Ok(parsed) => parsed,
        Err(usage) => return ExitCode::from(show(&usage)),
    };
    let config = read_config(&parsed.global);
    if let Some(problem) = &config.problem {
        complain(&format!("orlop: {problem}"));
    }
    match parsed.verb {
        Some(verb) => ExitCode::from(run_verb(verb, &parsed.global, &config)),
        None => run_screen(&parsed.global, &config),
    }
}

/// The words after `orlop runtime`, or after the program when it is called `orlop-runtime` (what `dockerd --add-runtime` can name).
fn runtime_command() -> Option<Vec<std::ffi::OsString>> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    if std::path::Path::new(&program).file_name().is_some_and(|name| name == "orlop-runtime") {
        return Some(words.collect());
    }
    words.next().filter(|word| word == "runtime").map(|_| words.collect())
}

/// The screen. Its log goes to a file whether asked for or not: the terminal is taken.
fn run_screen(global: &Global, config: &ConfigFile) -> ExitCode {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        complain("orlop: the screen needs a terminal on stdin and stdout\nhint: give a verb, see 'orlop --help'");
        return ExitCode::from(1);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(fail("cannot start: no memory or descriptors left"));
    };
    let directory = directory(global, config);
    let (host, engine) = match engine(global, &directory) {
        Ok(found) => found,
        Err(error) => {
            say_unusable(&error);
            return ExitCode::from(1);
        }
    };
    // A demo leaves nothing on disk. A log that cannot be written must not keep the screen away.
    let _log = if global.demo.is_some() { None } else { log(global, config, Some("info")).ok().flatten() };
    let mut options = TuiOptions::new(engine, host);
    if global.demo.is_none() {
        options.hosts = Some(Arc::new(directory));
    }
    options.lines = Some(Arc::new(cli::CommandLine { hosts: options.hosts.clone() }));
    if !config.path.as_os_str().is_empty() {
        options.read_config(&config.path);
    }
    let code = runtime.block_on(tui::run(options));
    runtime.shutdown_background();
    match code {
        Ok(code) => code,
        Err(error) => ExitCode::from(fail(&error.to_string())),
    }
}

/// One verb on a single thread: what it waits for are shims and files, and a second thread costs more than it gives.
fn run_verb(verb: Verb, global: &Global, config: &ConfigFile) -> u8 {
    memory::keep_for_a_short_life();
    let _log = match log(global, config, None) {
        Ok(guard) => guard,
        Err(why) => return fail(&why),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return fail("cannot start: no memory or descriptors left");
    };
    if let Verb::Completion(_) = verb {
        return runtime.block_on(cli::run(verb, Arc::new(Fake::empty()), Io::real()));
    }
    let is_before_run = matches!(verb, Verb::Run(_) | Verb::Create(_));
    let directory = directory(global, config);
    let (_, engine) = match engine(global, &directory) {
        Ok(found) => found,
        Err(error) => {
            say_unusable(&error);
            return if is_before_run { 125 } else { 1 };
        }
    };
    let hosts: Option<Arc<dyn Hosts>> = if global.demo.is_none() { Some(Arc::new(directory)) } else { None };
    let code = runtime.block_on(cli::run_among(verb, engine, hosts, Io::real()));
    // Blocking calls that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    code
}

/// The engines there are. Nothing is opened yet.
fn directory(global: &Global, config: &ConfigFile) -> Directory {
    let engine = &config.settings.engine;
    let config_dir = config.path.parent().filter(|dir| !dir.as_os_str().is_empty()).map(std::path::Path::to_path_buf);
    let places = places(global, config);
    let settings = EmbeddedSettings {
        detach_keys: engine.detach_keys.clone(),
        config_dir: config_dir.clone(),
        ..EmbeddedSettings::default()
    };
    Directory {
        open_embedded: Box::new(move || Ok(Embedded::open(places.clone(), settings.clone())?)),
        asked: asked(global, config),
        settings: config.settings.clone(),
        remembered: config_dir.map(|dir| dir.join("hosts")),
    }
}

/// The engine that is meant.
fn engine(global: &Global, directory: &Directory) -> Result<(HostEntry, Arc<dyn Engine>), EngineError> {
    match global.demo {
        Some(n_more) => {
            let entry = HostEntry { name: "demo".to_owned(), ..HostEntry::default() };
            Ok((entry, Arc::new(Fake::crowded_demo(n_more))))
        }
        None => directory.first(),
    }
}

/// What was said about the host: flags, environment, config file.
fn asked(global: &Global, config: &ConfigFile) -> Asked {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    Asked {
        host: global.host.clone(),
        context: global.context.clone(),
        names_store: global.root.is_some() || global.run_root.is_some(),
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        configured: config.settings.engine.host.clone(),
        cert_path: path("DOCKER_CERT_PATH"),
        tls_verify: text("DOCKER_TLS_VERIFY").is_some(),
        docker_config: path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker"))),
        xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
    }
}

/// Flags, then the environment, then the config file, then the defaults.
fn places(global: &Global, config: &ConfigFile) -> Places {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let uid = nix::unistd::geteuid();
    let engine = &config.settings.engine;
    let around = Surroundings {
        is_root: uid.is_root(),
        orlop_root: path("ORLOP_ROOT").or_else(|| engine.root.clone()),
        orlop_run: path("ORLOP_RUN").or_else(|| engine.run_root.clone()),
        xdg_data_home: path("XDG_DATA_HOME"),
        xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
        home: path("HOME"),
        uid: uid.as_raw(),
    };
    Places::choose(global.root.as_deref(), global.run_root.as_deref(), &around)
}

fn read_config(global: &Global) -> ConfigFile {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = global.config.clone().or_else(|| path("ORLOP_CONFIG"));
    let standard = || settings::default_path(path("XDG_CONFIG_HOME").as_deref(), path("HOME").as_deref());
    match (&named, named.clone().or_else(standard)) {
        (named, Some(path)) => settings::read(&path, named.is_some()),
        (_, None) => ConfigFile::default(),
    }
}

/// Starts orlop's own log when one is wanted: always for the screen, for verbs only when asked.
fn log(global: &Global, config: &ConfigFile, standard: Option<&str>) -> Result<Option<impl Drop + use<>>, String> {
    let settings = &config.settings.log;
    let asked = global.log_level.clone().or_else(|| global.debug.then(|| "debug".to_owned()));
    let asked = asked.or_else(|| std::env::var("ORLOP_LOG").ok()).or_else(|| settings.level.clone());
    let Some(filter) = asked.or_else(|| standard.map(str::to_owned)).filter(|filter| filter != "off") else {
        return Ok(None);
    };
    let file = settings.file.clone().unwrap_or_else(|| {
        let places = places(global, config);
        places.root.join("orlop.log")
    });
    logging::start(&filter, &file).map(Some)
}

fn show(usage: &cli::Usage) -> u8 {
    let text = format!("{}\n", usage.text);
    // Nobody to tell when the stream is closed.
    let _ = match usage.code {
        0 => std::io::stdout().write_all(text.as_bytes()),
        _ => std::io::stderr().write_all(text.as_bytes()),
    };
    usage.code
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn fail(why: &str) -> u8 {
    complain(&format!("orlop: {why}"));
    1
}

fn say_unusable(error: &EngineError) {
    complain(&format!("orlop: {error}"));
    if let Some(hint) = &error.hint {
        complain(&format!("hint: {hint}"));
    }
}
