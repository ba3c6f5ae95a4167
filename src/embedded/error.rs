//! Errors of the operating system and of lost work as the engine's. Called by every file of this room where such an error ends.

use std::io;
use std::path::Path;

use crate::engine::{Class, EngineError};

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
