//! orlop: a container manager for the terminal, one Linux binary.
//!
//! Everything a person or a program can ask goes through one waist, the [`engine`] traits. Above it are the faces
//! ([`tui`], [`cli`]), below it the engine in this process ([`embedded`]) and the one of another ([`remote`]). A face never
//! names an implementation; only `main.rs` does.
//!
//! ```text
//! key  -> keymap -> Action -> update(&mut Model, Msg) -> Vec<Command> -> executor -> dyn Engine -> embedded -> store, shim -> runtime -> sys
//!                                |                                                     |             +-> remote -> api, http -> dockerd | podman
//!                                +-> view(&Model, Frame)   <- Msg (results, streams) <-+
//! argv -> cli::args -> invocation -> dyn Engine -> cli::output
//! ```
//!
//! # Floors
//! A module imports only from lower floors; modules on one floor are strangers. `tests/tidy.rs` keeps it.
//!
//! ```text
//! 8  main.rs                     the composition root
//! 7  tui      cli                faces: speak to `dyn Engine`
//!    hosts                       which engines there are, how each is opened
//! 6  embedded                    the engine in this process
//! 5  fleet                       several engines as one
//! 4  registry  remote            distribution client; the engine behind docker's API
//! 3  api  config  store  shim    docker's shapes; settings; blobs, layers, records; supervisor
//!    http                        one dialled connection: TLS, proxies, streamed bodies, upgrades
//! 2  engine   runtime            vocabulary and traits, no executor; OCI runtime, synchronous
//! 1  sys      oci                system calls, all `unsafe`; OCI spec types
//! 0  stdx                        std extensions
//! ```
//!
//! # Where do I change …?
//! | what | where |
//! |--|--|
//! | a key, its help, the footer | one row in `tui/action.rs`; presets in `assets/keys/` |
//! | a colour | `themes/*.toml`; roles in `tui/theme.rs` |
//! | what a pane shows | `tui/pages/`, one feature a file |
//! | what happens on a key or an answer | `tui/update.rs` (pure); what it asks of the engine: `tui/executor.rs` |
//! | how log lines are read, searched, painted | `tui/logs/` |
//! | a flag of a verb | `cli/args/`; what it prints: `cli/verbs/`, `cli/table.rs`; `api/` for docker's JSON |
//! | what create, start, stop mean | `embedded/lifecycle.rs`; the OCI document they lead to: `embedded/spec/` |
//! | what is put right after a crash | `embedded/recover.rs`, `shim::bury` |
//! | restarts, health checks, attach, the log file | `shim/supervisor/`, `shim/log/` |
//! | what a pull keeps over a cut or a kill | `store/partial.rs`, `store/pull.rs`; what it asks of the registry: `embedded/pull.rs` |
//! | what a push sends of a layer | `store/push.rs`, compressed by `store/packing.rs` |
//! | `cp`, `diff`, `export`, `commit` | `embedded/copy.rs`, `embedded/tree.rs`, `store/{pack,unpack,diff,commit}.rs` |
//! | what `system check` proves | `store/check.rs` |
//! | how an image comes in, how a layer is unpacked | `store/load.rs`, `store/import.rs`, `store/extract.rs` |
//! | how an image goes to another host | `fleet/copy.rs`; what is sent of its archive: `store/relay.rs`; what a daemon has: `remote/layers.rs` |
//! | what is asked of a registry, and how often | `registry/call.rs`; logins: `registry/auth.rs` |
//! | TLS, proxies, deadlines of a connection | `http/` |
//! | what a daemon is asked, and how its answer is read | `remote/`, one verb a function; `api/routes.rs`, `api/from_wire/` |
//! | what differs between API versions and daemons | `api/compat.rs` |
//! | how a host behind ssh is reached, how many logins it takes | `remote/ssh.rs`, `remote/ssh/logins.rs` |
//! | how a host is named (-H, DOCKER_HOST, contexts) | `config/host.rs`, `config/contexts.rs` |
//! | a step of a container's start | `runtime/plan.rs` decides it, `runtime/init.rs` does it |
//! | a limit | `runtime/cgroup/limits.rs` |
//! | what system calls a container may make | `runtime/seccomp/profile.rs` |
//! | a system call | `sys/`, one a function |
//! | how the program is linked | `.cargo/config.toml`, `.cargo/link.rs` |
//! | what is measured | `tests/bench.d/` |
//! | a house rule | `tests/tidy.rs` |

pub mod api;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod engine;
pub mod fleet;
pub mod hosts;
pub mod http;
pub mod oci;
pub mod registry;
pub mod remote;
pub mod runtime;
pub mod shim;
pub mod stdx;
pub mod store;
pub mod sys;
pub mod tui;
