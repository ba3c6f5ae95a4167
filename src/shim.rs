//! The supervisor: one small single-threaded process per container that owns its stdio, log, exit record, exec sessions, restart policy
//! and health checks. Engines come and go; shims stay. No tokio, no threads, no lock held while waiting.
//!
//! Called by `embedded` (through [`spawn`], [`probe`], [`bury`], [`client`] and [`protocol`]) and by `main` (the role itself, [`role`]).
//!
//! ```text
//! engine                     shim                                   container
//!   | spawn(ShimConfig) -----> Created   listens, nothing runs
//!   | Attach … -------------->           queued: sees the first byte
//!   | Start ----------------->  Running  ------------------------------> init, execs
//!   | Exec, Resize, Stop, …     Running <-> Paused
//!   |                           exit: drain, record, event, answer, clean up
//!   |                           Restarting (back-off) -> Running, or gone
//! ```
//! It must never: trust a pid without its pidfd, block on a client, lose a byte of output without counting it, or outlive its container.

pub mod backoff;
pub mod client;
pub mod config;
pub mod detach;
pub mod health;
pub mod log;
pub mod protocol;
pub mod role;
pub mod spawn;
pub mod state;
mod supervisor;

pub use client::ShimClient;
pub use config::{LogConfig, Rootfs, ShimConfig};
pub use protocol::{Fault, Frame, Kind, Note, Reply, Request};
pub use spawn::{Probe, SpawnError, bury, probe, spawn};
pub use state::{ProcessRef, RunState, boot_id};

/// `argv[0]`, or the first argument, that makes this program a shim.
pub const ROLE: &str = "orlop-shim";
