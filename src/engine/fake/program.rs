//! What a fake container's or exec's command does: prints, waits, exits, listens. Decided once from argv; no time passes here.

use std::time::Duration;

use super::tape::{Style, Tape};
use crate::engine::logs::StreamKind;

/// What happens after the start, at which offset from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Writes(StreamKind, Vec<u8>),
    Ends(i32),
}

#[derive(Clone, Debug)]
pub(super) enum Program {
    /// A fixed course of things.
    Script(Vec<(Duration, Happening)>),
    /// Reads lines and answers, see `shell`.
    Shell,
    /// Copies its input to its output.
    Cat,
    /// Runs until signalled, writing the tape.
    Serves(Tape),
    /// Cannot be started: docker's exit code and the sentence.
    Fails(u8, String),
}

impl Program {
    pub(super) fn of(argv: &[String]) -> Self {
        let Some(name) = argv.first() else { return Self::Shell };
        let rest = &argv[1..];
        match name.rsplit('/').next().unwrap_or(name) {
            "sh" | "bash" | "ash" if rest.first().is_some_and(|arg| arg == "-c") => {
                Self::Script(script(rest.get(1).map_or("", String::as_str)))
            }
            "sh" | "bash" | "ash" if rest.is_empty() || rest == ["-i"] || rest == ["-l"] => Self::Shell,
            "cat" if rest.is_empty() => Self::Cat,
            "nope" | "nonexistent" => Self::Fails(127, format!("exec: \"{name}\": executable file not found in $PATH")),
            "passwd" | "not-executable" => Self::Fails(126, format!("exec: \"{name}\": permission denied")),
            "true" | "false" | "echo" | "sleep" | "exit" | "printf" | "id" | "pwd" | "ls" | "env" | "hostname"
            | "uname" => Self::Script(script(&argv.join(" "))),
            "chatty" => Self::Serves(Tape::new(Style::Mixed, rate(rest), 200_000)),
            _ => Self::Serves(Tape::new(Style::Logfmt, 2.0, 100_000)),
        }
    }
}

fn rate(args: &[String]) -> f64 {
    args.first().and_then(|arg| arg.parse().ok()).filter(|rate| *rate > 0.0).unwrap_or(5000.0)
}

/// Runs `a; b; c` on a virtual time line: what it writes and how it ends.
pub(super) fn script(text: &str) -> Vec<(Duration, Happening)> {
    let mut at = Duration::ZERO;
    let mut course = Vec::new();
    let mut code = 0;
    for command in text.split(';').map(str::trim).filter(|command| !command.is_empty()) {
        let (command, kind) = match command.strip_suffix(">&2") {
            Some(command) => (command.trim_end(), StreamKind::Stderr),
            None => (command, StreamKind::Stdout),
        };
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "sleep" => at += rest.trim().parse().map(Duration::from_secs_f64).unwrap_or_default(),
            "exit" => {
                course.push((at, Happening::Ends(rest.trim().parse().unwrap_or(code))));
                return course;
            }
            _ => {
                let (text, result) = builtin(name, rest);
                code = result;
                let kind = if result == 127 { StreamKind::Stderr } else { kind };
                if !text.is_empty() {
                    course.push((at, Happening::Writes(kind, text.into_bytes())));
                }
            }
        }
    }
    course.push((at, Happening::Ends(code)));
    course
}

/// The fake shell's commands: text and exit code.
pub(super) fn builtin(name: &str, rest: &str) -> (String, i32) {
    let plain = rest.trim().trim_matches(|c| c == '"' || c == '\'');
    match name {
        "true" | ":" | "cd" | "export" => (String::new(), 0),
        "false" => (String::new(), 1),
        "echo" => match plain.strip_prefix("-n ") {
            Some(text) => (text.to_owned(), 0),
            None => (format!("{plain}\n"), 0),
        },
        "printf" => (plain.replace("\\n", "\n").replace("\\t", "\t"), 0),
        "pwd" => ("/\n".to_owned(), 0),
        "id" => ("uid=0(root) gid=0(root)\n".to_owned(), 0),
        "whoami" => ("root\n".to_owned(), 0),
        "hostname" => ("fake\n".to_owned(), 0),
        "uname" => ("Linux\n".to_owned(), 0),
        "ls" => ("bin\ndev\netc\nproc\nsys\ntmp\nusr\nvar\n".to_owned(), 0),
        "env" => ("PATH=/usr/bin:/bin\nHOME=/root\n".to_owned(), 0),
        _ => (format!("sh: {name}: not found\n"), 127),
    }
}
