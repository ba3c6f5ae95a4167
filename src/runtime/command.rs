//! `orlop runtime …`: runc's commands and flags over the library, for dockerd, podman, containerd and hands. Called by `main` before
//! anything else of the program is touched.
//!
//! Standard output belongs to the commands that print (`state`, `list`, `ps`, `events`, `features`, `spec`); errors go to standard
//! error and, as clients of runc expect them, to the file of `--log`.

mod args;
mod create;
mod foreground;
mod inspect;
mod lifecycle;
mod log;
mod update;

use super::error::{RuntimeError, Step};
use args::Args;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

/// What the options before the command say.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: log::Log,
    pub(crate) systemd_cgroup: bool,
}

const GLOBAL_VALUES: &[&str] = &["--root", "--log", "--log-format", "--criu", "--rootless"];
const GLOBAL_FLAGS: &[&str] = &["--debug", "--systemd-cgroup", "--help", "-h", "--version", "-v"];

/// Runs one command; the value is the process's exit code.
#[must_use]
pub fn run(argv: Vec<OsString>) -> i32 {
    let mut words = Vec::with_capacity(argv.len());
    for word in argv {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return complain(&log::Log::default(), &usage_error(format!("{word:?} is not UTF-8"))),
        }
    }
    let mut global = match Args::parse(words, GLOBAL_VALUES, GLOBAL_FLAGS, args::Stop::AtFirstWord) {
        Ok(global) => global,
        Err(err) => return complain(&log::Log::default(), &err),
    };
    let log = log::Log::new(global.value("--log"), global.value("--log-format"), global.has("--debug"));
    if global.has("--version") || global.has("-v") {
        return print(&format!("orlop-runtime version {}\nspec: 1.2.1\n", env!("CARGO_PKG_VERSION")));
    }
    let Some(command) = global.take_word().filter(|_| !global.has("--help") && !global.has("-h")) else {
        return print(USAGE);
    };
    let settings = Global {
        root: global.value("--root").map_or_else(default_root, PathBuf::from),
        log,
        systemd_cgroup: global.has("--systemd-cgroup"),
    };
    match dispatch(&settings, &command, global.rest()) {
        Ok(code) => code,
        Err(err) => complain(&settings.log, &err),
    }
}

fn dispatch(global: &Global, command: &str, rest: Vec<String>) -> Result<i32, RuntimeError> {
    match command {
        "create" => create::create(global, rest),
        "run" => create::run(global, rest),
        "exec" => create::exec(global, rest),
        "start" => lifecycle::start(global, rest),
        "kill" => lifecycle::kill(global, rest),
        "delete" => lifecycle::delete(global, rest),
        "pause" => lifecycle::pause(global, rest),
        "resume" => lifecycle::resume(global, rest),
        "update" => update::update(global, rest),
        "state" => inspect::state(global, rest),
        "list" => inspect::list(global, rest),
        "ps" => inspect::ps(global, rest),
        "events" => inspect::events(global, rest),
        "features" => inspect::features(rest),
        "spec" => inspect::spec(rest),
        "help" => Ok(print(USAGE)),
        "checkpoint" | "restore" => Err(usage_error(format!("{command} is not supported"))),
        other => Err(usage_error(format!("unknown command {other:?}: see orlop runtime --help"))),
    }
}

const USAGE: &str = "\
orlop runtime: an OCI container runtime

  orlop runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup] COMMAND …

  create [--bundle DIR] [--pid-file FILE] [--console-socket PATH] [--preserve-fds N] [--no-pivot] ID
  start ID
  run [as create] [--detach] [--keep] ID
  exec [--process FILE] [--tty] [--cwd DIR] [--env K=V] [--user UID[:GID]] [--additional-gids N] [--cap CAP] [--no-new-privs]
       [--detach] [--pid-file FILE] [--console-socket PATH] [--preserve-fds N] [--ignore-paused] ID COMMAND …
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  state ID
  list [--format table|json] [--quiet]
  ps [--format table|json] ID [ps options]
  pause ID
  resume ID
  update [--resources FILE|-] [--memory B] [--cpu-quota US] [--pids-limit N] … ID
  events [--stats] [--interval 5s] ID
  features
  spec [--bundle DIR] [--rootless]
";

pub(crate) fn usage_error(text: String) -> RuntimeError {
    RuntimeError::new(Step::Config, text)
}

fn default_root() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !super::launch::is_root() => PathBuf::from(dir).join("orlop-runtime"),
        _ => PathBuf::from("/run/orlop-runtime"),
    }
}

/// Writes to standard output; a reader that went away is no error.
pub(crate) fn print(text: &str) -> i32 {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    0
}

fn complain(log: &log::Log, err: &RuntimeError) -> i32 {
    log.error(&err.to_string());
    // Docker's codes for a program that is missing or cannot be executed; 1 for all else, as runc has it.
    match err.exit_code() {
        125 => 1,
        code => code,
    }
}
