//! The OCI runtime: a bundle becomes a process. Synchronous; called by the shim in process and by `orlop runtime …`.

pub mod caps;
pub mod user;
