//! The registry client against Debian's docker-registry (plain, TLS, htpasswd, pull-through mirror) and against a proxy in front of it that
//! cuts, stalls, lies, redirects and forgets tokens. Images are put there by skopeo, which also has the last word on digests. Loopback and
//! temporary directories only; a tool that is missing is named and the test says that it did not run.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "registry/faults.rs"]
mod faults;
#[path = "registry/house.rs"]
mod house;
#[path = "common/program.rs"]
mod program;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "registry/pulling.rs"]
mod pulling;
#[path = "registry/pushing.rs"]
mod pushing;
#[path = "registry/trust.rs"]
mod trust;
