//! Commands run inside a running container.

use super::container::Exit;

/// What to run. Empty `cmd` is `Invalid`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub cmd: Vec<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Added to the container's environment.
    pub env: Vec<String>,
    pub tty: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub privileged: bool,
    /// `None`: docker's `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecDetail {
    pub id: String,
    pub container_id: String,
    pub running: bool,
    /// Known once it ended.
    pub exit: Option<Exit>,
    pub pid: Option<u32>,
    pub spec: ExecSpec,
}
