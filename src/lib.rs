//! orlop: a container manager for the terminal, one Linux binary.
//!
//! Everything a person or a program can ask goes through one waist, the [`engine`] traits. Above it are the faces
//! ([`tui`], [`cli`]), below it the engine in this process ([`embedded`]). A face never names an implementation; only
//! `main.rs` does.
//!
//! ```text
//! key  -> keymap -> Action -> update(&mut Model, Msg) -> Vec<Command> -> executor -> dyn Engine -> embedded -> store, shim -> runtime -> sys
//!                                |                                                     |
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
//! 6  embedded                    the engine in this process
//! 3  api  config  store  shim    docker's shapes; settings; blobs, layers, records; supervisor
//! 2  engine   runtime            vocabulary and traits, no executor; OCI runtime, synchronous
//! 1  sys      oci                system calls, all `unsafe`; OCI spec types
//! 0  stdx                        std extensions
//! ```

pub mod api;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod engine;
pub mod oci;
pub mod runtime;
pub mod shim;
pub mod stdx;
pub mod store;
pub mod sys;
pub mod tui;
