//! How a failure is said and which exit code it gives. The one place where errors become text.
//!
//! Engine sentences are docker's where scripts match them (`No such container: x`); the prefix is `orlop:` before a container could run
//! (exit 125, 126, 127) and `Error:` elsewhere (exit 1), never "Error response from daemon": there is none.

use super::io::Io;
use super::template::TemplateError;
use super::values::ValueError;
use crate::engine::EngineError;

/// Nothing more to say, only the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exit code {0}")]
pub struct Quiet(pub u8);

/// A sentence for stderr, as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Said(pub String);

/// A failure of `run`, `create` or `exec` before the process ran.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct NotRun {
    /// `run`, `exec`.
    pub verb: &'static str,
    pub source: anyhow::Error,
}

/// Code of a process that died of SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// Says it; the exit code.
pub fn report(error: &anyhow::Error, io: &mut Io) -> u8 {
    if let Some(Quiet(code)) = error.downcast_ref() {
        return *code;
    }
    if let Some(NotRun { verb, source }) = error.downcast_ref() {
        return report_not_run(verb, source, io);
    }
    if is_broken_pipe(error) {
        return BROKEN_PIPE;
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        say_engine("Error: ", error, io);
        return 1;
    }
    if let Some(Said(text)) = error.downcast_ref() {
        io.say(text);
        return 1;
    }
    if let Some(error) = error.downcast_ref::<TemplateError>() {
        let what = if matches!(error, TemplateError::Parse(_)) { "parse" } else { "execute" };
        io.say(&format!("failed to {what} template: {error}"));
        return 1;
    }
    if let Some(error @ ValueError::Flag { .. }) = error.downcast_ref() {
        io.say(&error.to_string());
        return 125;
    }
    io.say(&format!("{error:#}"));
    1
}

/// An engine's error with its hint below.
pub fn say_engine(prefix: &str, error: &EngineError, io: &mut Io) {
    io.say(&format!("{prefix}{error}"));
    if let Some(hint) = &error.hint {
        io.say(&format!("hint: {hint}"));
    }
}

fn report_not_run(verb: &str, error: &anyhow::Error, io: &mut Io) -> u8 {
    if is_broken_pipe(error) {
        return BROKEN_PIPE;
    }
    if let Some(Quiet(code)) = error.downcast_ref() {
        return *code;
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        say_engine("orlop: ", error, io);
        return error.exit_code.unwrap_or(125);
    }
    if let Some(Said(text)) = error.downcast_ref() {
        io.say(text);
        return 1;
    }
    let more = format!("Run 'orlop {verb} --help' for more information");
    if matches!(error.downcast_ref(), Some(ValueError::Flag { .. })) {
        io.say(&format!("{error:#}\n\nUsage:  orlop {verb} [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n{more}"));
    } else {
        io.say(&format!("orlop: {error:#}\n\n{more}"));
    }
    125
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
