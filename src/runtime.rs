//! The OCI runtime: a bundle becomes a process. Synchronous; called by the shim in process and by `orlop runtime …`.
//!
//! [`create`] makes a container's process and stops at the last moment before its program; [`Created::start`] lets it go;
//! [`exec`] puts another process into it. Everything is decided before the clone (`plan`), carried out after it (`init`), and
//! talked about over one socket pair (`sync`). What a single step is for stands with the step, in `init`.
//!
//! The caller is one single-threaded process that runs from a protected copy of its program ([`crate::sys::selfexe`]): the
//! container's init is a plain copy of it until exec.

pub mod caps;
pub mod cgroup;
pub mod command;
pub mod devices;
pub mod error;
pub mod exec;
mod filter;
pub mod hooks;
mod idmap;
mod init;
pub mod launch;
mod plan;
pub mod procfs;
pub mod seccomp;
mod state;
mod sync;
pub mod timeline;
pub mod user;

pub use error::{RuntimeError, Step};
pub use exec::{ExecChild, ExecIn, exec};
pub use launch::{Created, Launch, RootSwitch, RootfsSource, Running, StartGate, Stdio, create};
pub use timeline::Timeline;

use crate::oci::runtime::Spec;
use error::Result;
use std::path::Path;

/// Reads a config.json.
///
/// # Errors
/// What is wrong with it, and where.
pub fn load_spec(path: &Path) -> Result<Spec> {
    let text =
        std::fs::read(path).map_err(|err| RuntimeError::with_errno(Step::Config, path.display().to_string(), err))?;
    parse_spec(&text).map_err(|why| RuntimeError::new(Step::Config, format!("{}: {why}", path.display())))
}

/// Parses a spec. Capability names that this program does not know (a newer kernel's) are left out, not refused: the container
/// could not have got them anyway.
pub(crate) fn parse_spec(text: &[u8]) -> std::result::Result<Spec, String> {
    match serde_json::from_slice(text) {
        Ok(spec) => Ok(spec),
        Err(first) => {
            let mut value: serde_json::Value = serde_json::from_slice(text).map_err(|err| err.to_string())?;
            drop_unknown_capabilities(&mut value);
            serde_json::from_value(value).map_err(|_| first.to_string())
        }
    }
}

fn drop_unknown_capabilities(value: &mut serde_json::Value) {
    let Some(sets) = value.pointer_mut("/process/capabilities").and_then(|sets| sets.as_object_mut()) else { return };
    for names in sets.values_mut().filter_map(|set| set.as_array_mut()) {
        names.retain(|name| name.as_str().is_some_and(|name| caps::parse(name).is_ok()));
    }
}

/// Now, as records and logs have it: RFC 3339, UTC, nanoseconds.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

pub(crate) fn is_frozen(cgroup: &cgroup::Cgroup) -> bool {
    matches!(cgroup.freezer_state(), Ok(cgroup::FreezerState::Frozen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_of_tomorrow_does_not_spoil_a_config() {
        let text = br#"{"ociVersion":"1.2.0","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh"],
            "capabilities":{"bounding":["CAP_KILL","CAP_TOMORROW"]}}}"#;
        let spec = parse_spec(text).unwrap();
        let caps = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(caps.bounding().as_ref().unwrap().len(), 1);
        assert!(parse_spec(b"{\"ociVersion\":1}").is_err());
    }
}
