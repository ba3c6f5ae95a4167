//! The error every engine call returns: class, subject, message, hint, and the chain of causes as text.
//!
//! Built where propagation stops (engines), shown once by faces, mapped to a status by `api`. It is cloneable so that the screen can keep
//! it, and it never carries a lower floor's type. Nothing here logs.

use std::fmt;

use crate::stdx::causes;

pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// What kind of failure it is; decides the HTTP status (`api`) and the exit code (`cli`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 404: the named thing does not exist.
    NotFound,
    /// 400: the request cannot be meant.
    Invalid,
    /// 409: the present state forbids it.
    Conflict,
    /// 304: it is already so.
    NotModified,
    /// 401: say who you are.
    Unauthorized,
    /// 403: not allowed.
    Forbidden,
    /// 501: this engine or kernel cannot do it.
    Unsupported,
    /// 503: the engine cannot be reached or is not ready.
    Unavailable,
    /// 500: no room on disk.
    Full,
    /// 500: a wait ran out of time.
    Timeout,
    /// 500: anything else.
    Internal,
}

/// One failure, in one sentence with a hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct EngineError {
    pub class: Class,
    /// Id or name of the thing it is about; empty when there is none.
    pub subject: String,
    /// Lower case but for docker's own wordings, no final period, names the thing and the act.
    pub message: String,
    /// What to do about it, one sentence; shown below the message.
    pub hint: Option<String>,
    /// Deeper reasons, nearest first, one sentence each.
    pub causes: Vec<String>,
    /// The exit code docker's CLI would end with, where it is not 1 (125, 126, 127).
    pub exit_code: Option<u8>,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl EngineError {
    pub fn new(class: Class, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            subject: subject.into(),
            message: message.into(),
            hint: None,
            causes: Vec::new(),
            exit_code: None,
        }
    }

    pub fn no_such_container(ctr: &str) -> Self {
        Self::new(Class::NotFound, ctr, format!("No such container: {ctr}"))
    }

    pub fn no_such_image(image: &str) -> Self {
        Self::new(Class::NotFound, image, format!("No such image: {image}"))
    }

    pub fn no_such_volume(name: &str) -> Self {
        Self::new(Class::NotFound, name, format!("get {name}: no such volume"))
    }

    pub fn no_such_exec(exec_id: &str) -> Self {
        Self::new(Class::NotFound, exec_id, format!("No such exec instance: {exec_id}"))
    }

    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(Class::Unsupported, "", what)
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_exit_code(mut self, code: u8) -> Self {
        self.exit_code = Some(code);
        self
    }

    /// Appends an error and its sources to the causes, outermost first.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        self.causes.extend(causes::chain(error));
        self
    }
}
