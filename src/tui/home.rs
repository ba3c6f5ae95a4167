//! `~/` in paths as typed. Called by prompts and by path completion.

use std::path::{Path, PathBuf};

/// `~/x` as a shell reads it; anything else as it is.
pub fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}
