//! The store's error: what kind, about what, and what to do. Called by every file of the store; becomes the
//! engine's error where it leaves for a face. Must keep the operating system's reason as source.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::engine;
use crate::stdx::lock::LockError;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The named thing is not there.
    NotFound,
    /// The present state forbids it.
    Conflict,
    /// The input cannot be meant or is hostile.
    Invalid,
    /// What is stored, or what was sent with a digest, is not what it should be.
    Corrupt,
    /// No room, no inodes, or over a quota.
    Full,
    /// No rights, or a read-only file system.
    Denied,
    /// Where the content comes from does not deliver it.
    Unavailable,
    /// A newer orlop wrote this.
    TooNew,
    /// Anything else.
    Internal,
}

/// One failure of the store.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What kind it is.
    pub class: Class,
    /// The id, name or path it is about.
    pub subject: String,
    /// One sentence, without the source's.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The reason beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `class` about `subject`.
    pub fn new(class: Class, subject: impl Display, message: impl Into<String>) -> StoreError {
        StoreError { class, subject: subject.to_string(), message: message.into(), hint: None, source: None }
    }

    /// Input that is refused: `subject` names it, `why` completes "SUBJECT: …".
    pub fn invalid(subject: impl Display, why: impl Display) -> StoreError {
        let message = format!("{subject}: {why}");
        StoreError::new(Class::Invalid, subject, message)
    }

    /// Something stored that is damaged.
    pub fn corrupt(subject: impl Display, why: impl Display) -> StoreError {
        let message = format!("{subject} is damaged: {why}");
        StoreError::new(Class::Corrupt, subject, message)
    }

    pub(super) fn too_new(root: &Path, found: u32, known: u32) -> StoreError {
        let message = format!("the store at {} has format {found}; this orlop knows up to {known}", root.display());
        StoreError::new(Class::TooNew, root.display(), message)
            .with_hint("use the newer orlop that wrote it, or another place with --root")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> StoreError {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the reason beneath.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        self.source = Some(source.into());
        self
    }

    /// A failed call: `act` and `subject` read as "cannot ACT SUBJECT".
    pub fn io(act: &str, subject: impl Display, source: io::Error) -> StoreError {
        let (class, hint) = classify(&source);
        let message = format!("cannot {act} {subject}");
        StoreError { class, subject: subject.to_string(), message, hint: hint.map(str::to_owned), source: None }
            .caused_by(source)
    }

    /// A lock that was not taken; `subject` reads before "is locked by".
    pub(super) fn lock(subject: &str, error: LockError) -> StoreError {
        match error {
            LockError::Io(error) => StoreError::io("lock", subject, error),
            held @ LockError::Held { .. } => StoreError::new(Class::Conflict, subject, format!("{subject} is {held}"))
                .with_hint("another command is at work on it; try again"),
        }
    }

    /// This error and its sources in one line, as a log or a test shows it.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

fn classify(error: &io::Error) -> (Class, Option<&'static str>) {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => (Class::NotFound, None),
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            (Class::Full, Some("free some space (orlop image prune), or place the store elsewhere with --root"))
        }
        Kind::PermissionDenied => (Class::Denied, Some("run as root, or choose your own place with --root")),
        Kind::ReadOnlyFilesystem => (Class::Denied, Some("the file system is read-only; place the store with --root")),
        Kind::AlreadyExists => (Class::Conflict, None),
        _ => (Class::Internal, None),
    }
}

/// Exhaustive, so that a new class does not compile until it has a meaning above.
impl From<StoreError> for engine::EngineError {
    fn from(error: StoreError) -> Self {
        let class = match error.class {
            Class::NotFound => engine::Class::NotFound,
            Class::Conflict => engine::Class::Conflict,
            Class::Invalid => engine::Class::Invalid,
            Class::Corrupt => engine::Class::Internal,
            Class::Full => engine::Class::Full,
            Class::Unavailable => engine::Class::Unavailable,
            Class::Denied => engine::Class::Forbidden,
            Class::TooNew => engine::Class::Unsupported,
            Class::Internal => engine::Class::Internal,
        };
        let mut made = Self::new(class, &error.subject, &error.message);
        made.hint.clone_from(&error.hint);
        match &error.source {
            Some(source) => made.caused_by(source.as_ref()),
            None => made,
        }
    }
}

/// Adds what was being done, and to what, to an operating system's error.
pub(super) trait IoContext<T> {
    /// "cannot ACT PATH".
    fn at(self, act: &str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, act: &str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(act, path.as_ref().display(), source))
    }
}

impl<T> IoContext<T> for nix::Result<T> {
    fn at(self, act: &str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(io::Error::from).at(act, path)
    }
}
