//! Build script: links the program as a plain static executable instead of a position-independent one.
//!
//! A static PIE relocates itself before `main`: of this program 350 KB of tables, in a private copy for every shim, at every start. Without
//! PIE they are ready in the page cache and shared. The price is that the program's own code has a fixed address; heap, stacks and mappings
//! are still random. Only this package is linked anew by it: flags in config.toml would rebuild every dependency.
#![allow(clippy::print_stdout)] // how a build script speaks

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=.cargo/link.rs");
    let has = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value.split(',').any(|it| it == wanted));
    let is_static = has("CARGO_CFG_TARGET_FEATURE", "crt-static");
    if is_static && has("CARGO_CFG_TARGET_OS", "linux") && has("CARGO_CFG_TARGET_ENV", "gnu") {
        for flag in ["-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bins={flag}");
        }
    }
}
