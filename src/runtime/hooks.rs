//! Hooks: programs that the config asks to run at set moments, with the container's state on standard input. Called by `launch`
//! on the host's side and by `init` inside; a hook's own descriptors are 0, 1 and 2 alone.

use super::error::{Result, RuntimeError, Step};
use crate::oci::runtime::{Hook, Spec};
use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// When a hook runs (runtime spec, "POSIX-platform Hooks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

#[allow(deprecated)] // prestart hooks are deprecated in the spec and used everywhere
pub(crate) fn of(spec: &Spec, moment: Moment) -> &[Hook] {
    let Some(hooks) = spec.hooks() else { return &[] };
    match moment {
        Moment::Prestart => hooks.prestart(),
        Moment::CreateRuntime => hooks.create_runtime(),
        Moment::CreateContainer => hooks.create_container(),
        Moment::StartContainer => hooks.start_container(),
        Moment::Poststart => hooks.poststart(),
        Moment::Poststop => hooks.poststop(),
    }
    .as_deref()
    .unwrap_or_default()
}

/// True when something on the host's side must run between the init's mounts and its change of root.
pub(crate) fn before_pivot(spec: &Spec) -> bool {
    !of(spec, Moment::Prestart).is_empty() || !of(spec, Moment::CreateRuntime).is_empty()
}

/// The state document that hooks read, for a container in the state `status`.
pub(crate) fn state(spec: &Spec, id: &str, bundle: &Path, pid: u32, status: &str) -> String {
    serde_json::json!({
        "ociVersion": spec.version(),
        "id": id,
        "status": status,
        "pid": pid,
        "bundle": bundle,
        "annotations": spec.annotations().clone().unwrap_or_default(),
    })
    .to_string()
}

/// Runs the hooks of one moment in order; the first that fails ends it.
///
/// Blocks until they end or their timeouts pass.
///
/// # Errors
/// The hook's path with its exit status and what it wrote to standard error.
pub(crate) fn run(hooks: &[Hook], moment: Moment, state: &str) -> Result<()> {
    for (idx, hook) in hooks.iter().enumerate() {
        run_one(hook, state).map_err(|why| {
            RuntimeError::new(Step::Hook, format!("{} #{idx} ({}): {why}", moment.name(), hook.path().display()))
        })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &str) -> std::result::Result<(), String> {
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for entry in hook.env().iter().flatten() {
        if let Some((key, value)) = entry.split_once('=') {
            command.env(key, value);
        }
    }
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|err| err.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its state: the pipe then breaks, and that is no failure.
        let _ = stdin.write_all(state.as_bytes());
    }
    wait(&mut child, hook.timeout().filter(|seconds| *seconds > 0))
}

fn wait(child: &mut Child, timeout_s: Option<i64>) -> std::result::Result<(), String> {
    let deadline = timeout_s.map(|seconds| Instant::now() + Duration::from_secs(seconds.unsigned_abs()));
    let status = match deadline {
        None => child.wait().map_err(|err| err.to_string())?,
        Some(deadline) => loop {
            if let Some(status) = child.try_wait().map_err(|err| err.to_string())? {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("timed out after {} s", timeout_s.unwrap_or(0)));
            }
            std::thread::sleep(Duration::from_millis(2));
        },
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(2048).read_to_string(&mut said);
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    Err(if said.trim().is_empty() { how } else { format!("{how}: {}", said.trim()) })
}
