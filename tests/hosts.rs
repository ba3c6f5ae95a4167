//! The screen by keys alone on real daemons: dockerd and podman, each over a unix socket, TLS and ssh. One walk for all six (`hosts/walk.rs`): what
//! a person does in a day, then the daemon goes and comes back, then the link is cut under a log that is followed.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[allow(dead_code)] // another test program uses the rest
#[path = "remote/certificates.rs"]
mod certificates;
#[allow(dead_code)] // another test program uses the rest
#[path = "remote/daemons.rs"]
mod daemons;
#[path = "pty/driver.rs"]
mod driver;
#[allow(dead_code)] // another test program uses the rest
#[path = "remote/line.rs"]
mod line;
#[path = "hosts/person.rs"]
mod person;
#[path = "common/program.rs"]
mod program;
#[path = "hosts/relay.rs"]
mod relay;
#[allow(dead_code)] // another test program uses the rest
#[path = "remote/sshd.rs"]
mod sshd;
#[path = "hosts/walk.rs"]
mod walk;
#[path = "hosts/way.rs"]
mod way;
#[allow(dead_code)] // the contract suite's; here only some of it is used
#[path = "contract/world.rs"]
mod world;

use daemons::{DOCKERD, PODMAN};
use sshd::with_own_ssh;
use walk::walk;
use way::{Kind, Way};

/// What the screen's walk on this daemon needs; says what is missing.
fn is_here(test: &str, programs: &[&str]) -> bool {
    daemons::is_here(test, programs) && daemons::is_here(test, &["docker-registry", "skopeo", "busybox"])
}

#[test]
fn dockerd_over_a_socket() {
    if is_here("dockerd_over_a_socket", DOCKERD) {
        walk(Way::socket(Kind::Dockerd));
    }
}

#[test]
fn dockerd_over_tls() {
    if is_here("dockerd_over_tls", DOCKERD) {
        walk(Way::tls(Kind::Dockerd));
    }
}

#[test]
fn dockerd_over_ssh() {
    let needs: Vec<&str> = ["docker", "docker-registry", "skopeo", "busybox"].iter().chain(DOCKERD).copied().collect();
    with_own_ssh("dockerd_over_ssh", &needs, |home| walk(Way::ssh(Kind::Dockerd, home)));
}

#[test]
fn podman_over_a_socket() {
    if is_here("podman_over_a_socket", PODMAN) {
        walk(Way::socket(Kind::Podman));
    }
}

#[test]
fn podman_over_tls() {
    if is_here("podman_over_tls", PODMAN) {
        walk(Way::tls(Kind::Podman));
    }
}

#[test]
fn podman_over_ssh() {
    let needs: Vec<&str> = ["docker-registry", "skopeo", "busybox"].iter().chain(PODMAN).copied().collect();
    with_own_ssh("podman_over_ssh", &needs, |home| walk(Way::ssh(Kind::Podman, home)));
}

#[test]
fn a_far_host_is_reached_however_slow() {
    if is_here("a_far_host_is_reached_however_slow", DOCKERD) {
        walk::far_away(Way::tls(Kind::Dockerd));
    }
}
