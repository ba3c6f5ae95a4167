//! Calls of all kinds in their thousands against a daemon that stalls, cuts and lies now and then, most of them dropped in the middle; then
//! descriptors, threads, tasks and memory are counted. A few seconds by default, longer with ORLOP_TEST_SOAK=SECONDS. A program of its own,
//! because it counts what the whole process has: one test, one part after another.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[allow(dead_code)] // two programs share it, each uses most of it
#[path = "hostile/daemon.rs"]
mod daemon;
#[path = "soak/fleet.rs"]
mod fleet;
#[path = "hostile/good.rs"]
mod good;
#[path = "soak/mixed.rs"]
mod mixed;
#[path = "soak/weight.rs"]
mod weight;

use std::time::Duration;

/// How long each part goes on.
fn span() -> Duration {
    let asked = std::env::var("ORLOP_TEST_SOAK").ok();
    Duration::from_secs(asked.map_or(4, |text| text.parse().expect("ORLOP_TEST_SOAK is a number of seconds")))
}

#[test]
fn nothing_is_left_of_thousands_of_calls() {
    mixed::soak(span());
    fleet::soak(span());
}
