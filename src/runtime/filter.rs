//! The system call filter of a process: compiled before the clone, loaded after it. Called by `plan` and `init`.

use std::sync::Arc;

use super::error::{Result, RuntimeError, Step};
use super::seccomp::{Program, compile_cached};
use crate::oci::runtime::LinuxSeccomp;

#[derive(Debug)]
pub(crate) struct Filter(Arc<Program>);

pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    compile_cached(profile).map(Filter).map_err(|err| RuntimeError::new(Step::Seccomp, format!(": {err}")))
}

impl Filter {
    /// Runs after the fork: no allocation.
    pub(crate) fn load(&self) -> Result<()> {
        self.0.load().map_err(|err| RuntimeError::with_errno(Step::Seccomp, "", err.errno))
    }
}
