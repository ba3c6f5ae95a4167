//! Errors of the floors below as the engine's: class, subject, message, hint and the chain of causes. Called by every file of this room
//! where a lower floor's error ends. Exhaustive, so that a new class below does not compile until it has a meaning here.

use std::io;
use std::path::Path;

use crate::engine::{Class, EngineError};
use crate::store::{self, StoreError};

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        let class = match error.class {
            store::Class::NotFound => Class::NotFound,
            store::Class::Conflict => Class::Conflict,
            store::Class::Invalid => Class::Invalid,
            store::Class::Corrupt => Class::Internal,
            store::Class::Full => Class::Full,
            store::Class::Unavailable => Class::Unavailable,
            store::Class::Denied => Class::Forbidden,
            store::Class::TooNew => Class::Unsupported,
            store::Class::Internal => Class::Internal,
        };
        let mut made = Self::new(class, &error.subject, &error.message);
        made.hint.clone_from(&error.hint);
        match &error.source {
            Some(source) => made.caused_by(source.as_ref()),
            None => made,
        }
    }
}

/// A failed call of the operating system: "cannot ACT PATH".
pub(crate) fn io(act: &str, path: &Path, error: &io::Error) -> EngineError {
    use io::ErrorKind as Kind;
    let path = path.display();
    let (class, hint) = match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            (Class::Full, Some("free some space, or place the store elsewhere with --root"))
        }
        Kind::PermissionDenied => (Class::Forbidden, Some("run as root, or choose your own place with --root")),
        Kind::ReadOnlyFilesystem => {
            (Class::Forbidden, Some("the file system is read-only: place the store elsewhere with --root"))
        }
        _ => (Class::Internal, None),
    };
    let mut made = EngineError::new(class, path.to_string(), format!("cannot {act} {path}")).caused_by(error);
    made.hint = hint.map(str::to_owned);
    made
}

/// A blocking task that did not end by itself: a panic in it, or the runtime going down.
pub(crate) fn join(error: &tokio::task::JoinError) -> EngineError {
    EngineError::new(Class::Internal, "", "the work behind this call was lost").caused_by(error)
}
