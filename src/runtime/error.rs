//! What can go wrong between a bundle and a process: one step for each act, so that a message says which act failed, on what, and
//! why. Steps travel from the init to its parent as numbers; the text is made on the parent's side.

use crate::sys::{Errno, SysError};
use std::fmt;

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal),+ $(,)?) => {
        /// One act of making, starting, entering or ending a container.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[doc = $doc])+ $name),+ }

        impl Step {
            const ALL: &'static [Step] = &[$(Step::$name),+];

            /// What was being done, to be followed by the subject.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Step::$name => $text),+ }
            }
        }
    };
}

steps! {
    /// The config or the command line asks for something impossible.
    Config = "invalid config",
    /// An id that is malformed.
    ContainerId = "invalid container id",
    /// An id that is taken.
    IdInUse = "container with given id already exists",
    /// No such container. The text is what docker and podman look for.
    Missing = "container does not exist",
    /// The container has ended, or was never started. The text is what clients look for.
    NotRunning = "container not running",
    /// The container is in another state than the act needs.
    WrongState = "cannot",
    /// Reading or writing the runtime's own records.
    Record = "cannot access",
    /// Making this process's program unreachable for containers.
    Protect = "cannot run from a protected copy of",
    /// Preparing the root file system's mount.
    OpenRoot = "cannot open root file system",
    /// Opening a bind mount's source.
    OpenSource = "cannot open mount source",
    /// Making the overlay.
    Overlay = "cannot mount overlay on",
    /// Opening a namespace that the config names by path.
    OpenNamespace = "cannot open namespace",
    /// Pipes and sockets between parent and init.
    Channel = "cannot set up channel",
    /// clone3.
    Clone = "cannot create process",
    /// uid_map, gid_map, setgroups.
    IdMap = "cannot write id map",
    /// Making, filling or joining the cgroup.
    Cgroup = "cannot set up cgroup",
    /// The init went away without a word.
    InitDied = "init process ended unexpectedly",
    /// A deadline passed.
    TimedOut = "timed out waiting for",
    /// Handing the terminal to whoever asked for it.
    ConsoleSocket = "cannot send terminal to",
    /// Joining a namespace.
    EnterNamespace = "cannot enter namespace",
    /// unshare of what cannot be had at the clone.
    NewNamespace = "cannot create namespace",
    /// Cutting the new mount namespace off from the host's.
    Propagation = "cannot set mount propagation of",
    /// Attaching the root file system.
    AttachRoot = "cannot attach root file system",
    /// Finding or making a mount's destination inside the root.
    MountTarget = "cannot prepare mount destination",
    /// A destination that an image turned into something else.
    UnsafeTarget = "refusing to mount on",
    /// Making the file system to mount.
    Mount = "cannot mount",
    /// Flags, propagation and id maps of a mount.
    MountFlags = "cannot change mount",
    /// Device nodes and links.
    Device = "cannot create device",
    /// The pseudo terminal.
    Terminal = "cannot set up terminal",
    /// A hook failed.
    Hook = "error running hook",
    /// pivot_root and what belongs to it.
    Pivot = "cannot change root to",
    /// Host and domain name.
    Hostname = "cannot set host name",
    /// Kernel parameters.
    Sysctl = "cannot set sysctl",
    /// Masked paths.
    Mask = "cannot mask",
    /// Read-only paths.
    ReadOnly = "cannot make read-only",
    /// The loopback link.
    Loopback = "cannot set up loopback link",
    /// A limit.
    Rlimit = "cannot set limit",
    /// oom_score_adj.
    OomScore = "cannot set oom score",
    /// Scheduling, personality, I/O priority.
    Schedule = "cannot set",
    /// A session of its own.
    Session = "cannot create session",
    /// Standard input, output and error.
    Stdio = "cannot connect standard streams",
    /// Capabilities.
    Caps = "cannot set capabilities",
    /// Groups, group, user.
    User = "cannot change to user",
    /// The working directory.
    Cwd = "cannot change working directory to",
    /// no_new_privs.
    NoNewPrivileges = "cannot set no_new_privs",
    /// The system call filter.
    Seccomp = "cannot load seccomp filter",
    /// Closing what the container must not see.
    CloseFds = "cannot close file descriptors",
    /// The parent went away before it said start.
    Orphaned = "parent went away before start",
    /// The program is nowhere on PATH.
    NotFound = "exec:",
    /// The program exists and cannot be executed.
    Exec = "exec:",
    /// Sending a signal.
    Kill = "cannot signal container",
    /// Freezing and thawing.
    Freeze = "cannot change freezer state of",
    /// Removing what a container leaves.
    Delete = "cannot delete container",
    /// Waiting for a process.
    Wait = "cannot wait for",
}

/// A failed step: what was done, to what, and what the kernel said, if it was the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeError {
    pub step: Step,
    /// The path, name or id that a person would recognise; may be a whole sentence where there is no errno.
    pub subject: String,
    pub errno: Option<Errno>,
}

pub type Result<T> = std::result::Result<T, RuntimeError>;

impl RuntimeError {
    pub fn new(step: Step, subject: impl Into<String>) -> Self {
        Self { step, subject: subject.into(), errno: None }
    }

    pub fn with_errno(step: Step, subject: impl Into<String>, errno: impl Into<Errno>) -> Self {
        Self { step, subject: subject.into(), errno: Some(errno.into()) }
    }

    /// Docker's exit code for it: 127 when the program does not exist, 126 when it cannot be executed, 125 for all else.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match (self.step, self.errno) {
            (Step::NotFound, _) | (Step::Exec, Some(Errno::ENOENT)) => 127,
            (Step::Exec, _) => 126,
            _ => 125,
        }
    }

    /// As the init sends it: step, errno (0 for none), subject.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.step as u8];
        bytes.extend_from_slice(&self.errno.map_or(0, |errno| errno.0).to_le_bytes());
        // One packet must carry it; the rest of an absurd subject is not missed.
        bytes.extend_from_slice(&self.subject.as_bytes()[..self.subject.len().min(3000)]);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (step, rest) = bytes.split_first()?;
        let (errno, subject) = rest.split_first_chunk::<4>()?;
        let errno = i32::from_le_bytes(*errno);
        Some(Self {
            step: *Step::ALL.get(usize::from(*step))?,
            subject: String::from_utf8_lossy(subject).into_owned(),
            errno: (errno != 0).then_some(Errno(errno)),
        })
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            // The wording by which docker and podman tell 127 from 126 from 125.
            Step::NotFound | Step::Exec => {
                write!(f, "unable to start container process: exec: {:?}: ", self.subject)?;
                return match (self.step, self.errno) {
                    (Step::NotFound, _) => write!(f, "executable file not found in $PATH"),
                    (_, Some(errno)) => write!(f, "{errno}"),
                    (_, None) => write!(f, "permission denied"),
                };
            }
            Step::NotRunning | Step::Missing if self.subject.is_empty() => return write!(f, "{}", self.step.text()),
            Step::NotRunning | Step::Missing => return write!(f, "{}: {}", self.step.text(), self.subject),
            Step::Config | Step::InitDied | Step::Hook | Step::Channel => {
                write!(f, "{}: {}", self.step.text(), self.subject)?
            }
            _ => write!(f, "{} {}", self.step.text(), self.subject)?,
        }
        self.errno.map_or(Ok(()), |errno| write!(f, ": {errno}"))
    }
}

impl std::error::Error for RuntimeError {}

/// Adds step and subject to a failed system call.
pub(crate) trait At<T> {
    fn at(self, step: Step, subject: impl fmt::Display) -> Result<T>;
}

impl<T, E: IntoErrno> At<T> for std::result::Result<T, E> {
    fn at(self, step: Step, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|err| RuntimeError::with_errno(step, subject.to_string(), err.into_errno()))
    }
}

/// Errors that are nothing but an errno.
pub(crate) trait IntoErrno {
    fn into_errno(self) -> Errno;
}

impl IntoErrno for SysError {
    fn into_errno(self) -> Errno {
        self.errno
    }
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

impl IntoErrno for std::io::Error {
    fn into_errno(self) -> Errno {
        self.into()
    }
}

impl IntoErrno for nix::errno::Errno {
    fn into_errno(self) -> Errno {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_trip_from_the_init() {
        for step in Step::ALL {
            let err = RuntimeError::with_errno(*step, "/x", Errno::EACCES);
            assert_eq!(RuntimeError::from_bytes(&err.to_bytes()), Some(err));
        }
        assert_eq!(RuntimeError::from_bytes(&[255, 0, 0, 0, 0]), None);
        assert_eq!(RuntimeError::from_bytes(&[]), None);
    }

    #[test]
    fn exec_failures_have_dockers_codes_and_words() {
        let missing = RuntimeError::new(Step::NotFound, "nope");
        assert_eq!(missing.exit_code(), 127);
        assert!(missing.to_string().ends_with("exec: \"nope\": executable file not found in $PATH"));
        let denied = RuntimeError::with_errno(Step::Exec, "/etc", Errno::EACCES);
        assert_eq!(denied.exit_code(), 126);
        assert!(denied.to_string().ends_with("exec: \"/etc\": permission denied"));
        assert_eq!(RuntimeError::with_errno(Step::Exec, "/x", Errno::ENOENT).exit_code(), 127);
        assert_eq!(RuntimeError::with_errno(Step::Mount, "/x", Errno::ENOENT).exit_code(), 125);
    }
}
