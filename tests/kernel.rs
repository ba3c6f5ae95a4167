//! Tests that need a kernel to play with: root, namespaces, cgroups, mounts. One module for each room; each test uses its own temporary
//! roots and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "kernel/cgroup.rs"]
mod cgroup;
#[path = "kernel/crowd.rs"]
mod crowd;
#[path = "kernel/embedded.rs"]
mod embedded;
#[path = "kernel/images.rs"]
mod images;
#[path = "kernel/peers.rs"]
mod peers;
#[path = "common/program.rs"]
mod program;
#[path = "kernel/regressions.rs"]
mod regressions;
#[path = "kernel/runtime.rs"]
mod runtime;
#[path = "kernel/screen.rs"]
mod screen;
#[path = "kernel/seccomp.rs"]
mod seccomp;
#[path = "kernel/shim.rs"]
mod shim;
#[path = "kernel/store.rs"]
mod store;
#[path = "kernel/survival.rs"]
mod survival;
