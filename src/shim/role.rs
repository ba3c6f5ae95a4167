//! The shim's own `main`: takes what [`super::spawn`] left open, reports, and runs the loop. Called by the program's `main` before anything else when it
//! was executed as [`super::ROLE`]. Never returns to the caller's business: the process ends with it.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::config::{CONFIG_VERSION, ShimConfig};
use super::supervisor::{Given, Supervisor};
use crate::sys::orphan::inherited;
use crate::sys::selfexe;

/// Descriptors as [`super::spawn`] hands them over.
pub(super) const LISTENER_FD: i32 = 3;
pub(super) const STATUS_FD: i32 = 4;
pub(super) const LOCK_FD: i32 = 5;
pub(super) const CONFIG_FD: i32 = 6;

/// What is written to the status pipe when all is set up; anything else is the reason of a failure.
pub(super) const READY: &[u8] = b"ready";

/// Whether this program was started to be a shim.
pub fn is_asked_for() -> bool {
    std::env::args_os().next().is_some_and(|name| name == super::ROLE)
}

/// Runs the shim; returns its exit code.
pub fn run() -> u8 {
    // A no-op when an engine started us from a protected copy, as it does. Where it cannot be done, each launch says so.
    let _ = selfexe::protect();
    let Ok(status) = inherited(STATUS_FD) else { return 125 };
    let mut status = std::fs::File::from(status);
    let supervisor = match set_up() {
        Ok(supervisor) => supervisor,
        Err(error) => {
            // The engine that would read this may have gone; then nobody is left to tell.
            let _ = status.write_all(error.to_string().as_bytes());
            return 125;
        }
    };
    let _ = status.write_all(READY);
    drop(status);
    match supervisor.run() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn set_up() -> std::io::Result<Supervisor> {
    let listener = UnixListener::from(inherited(LISTENER_FD)?);
    let lock = inherited(LOCK_FD)?;
    let mut text = Vec::new();
    std::fs::File::from(inherited(CONFIG_FD)?).read_to_end(&mut text)?;
    let cfg: ShimConfig = serde_json::from_slice(&text)?;
    if cfg.version > CONFIG_VERSION {
        let text = format!("shim settings of version {} are newer than {CONFIG_VERSION}", cfg.version);
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    drop(text);
    // The last to be killed for memory, where that is permitted; the runtime sets the container's own value.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let _ = nix::sys::prctl::set_name(c"orlop-shim");
    let _ = nix::sys::prctl::set_child_subreaper(true);
    Supervisor::new(Given { cfg, listener, lock })
}
