//! The same cases through `remote` on real daemons of Debian's: dockerd, and podman's service, by socket, TLS and ssh. Each is started on temporary
//! roots and a temporary socket, answers every case, and is stopped; one that is not installed is named. Each ends with its rows of the suite's table
//! over the engines: how many cases there are, how many end as everywhere, and for each of the others where it differs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use orlop::config::host::Endpoint;
use orlop::remote::Remote;

use crate::CASES;
use crate::certificates::{self, Authority};
use crate::daemons::{self, DOCKER, DOCKERD, Daemon, PODMAN};
use crate::sshd::{NO_DOCKER, Sshd, with_own_ssh};
use crate::world::{World, house, registry, tell};

/// Cases under way at once.
const N_AT_ONCE: usize = 3;

/// Where docker's own answer is another one. The case runs, and its end does not count.
const DOCKER_DIFFERS: &[(&str, &str)] = &[
    ("a_container_runs_and_its_exit_code_is_told", "20.10 may note the end of a short life before its start"),
    ("unknown_filters_are_refused", "20.10 begins the sentence with a capital letter: Invalid filter 'frob'"),
    ("a_search_finds_by_name", "20.10 asks registries by the first API alone, which this one has not"),
];

const PODMAN_DIFFERS: &[(&str, &str)] = &[
    ("a_container_runs_and_its_exit_code_is_told", "4.3 may note the end of a short life before its start"),
    ("wait_for_removal", "4.3 tells no exit code of what has been removed"),
    ("wait_registered_before_the_start_sees_the_exit", "4.3 looks four times a second: it may miss a short life"),
    ("auto_remove_leaves_nothing", "4.3 looks four times a second: it may miss a short life"),
    ("events_come_in_order", "4.3 answers before it follows its file of events"),
    ("only_running_ones_unless_all", "4.3 lists whole seconds and sorts within one by its own rule"),
    ("unknown_filters_are_refused", "4.3 words it otherwise: frob is an invalid filter"),
    ("kill_needs_a_running_container", "4.3 says: can only kill running containers"),
    ("a_taken_name_is_a_conflict", "4.3 words it otherwise, with the same class"),
    ("bad_requests_are_invalid", "4.3 words it otherwise: names must match …"),
    ("a_missing_command_is_127", "4.3 does not keep why a start failed"),
    ("newest_first_and_limited", "4.3 lists whole seconds and sorts within one by its own rule"),
    ("a_commit_is_told_in_the_history", "4.3 tells there from what an image was made"),
    ("a_login_is_proved", "4.3 speaks TLS alone for a login, whatever registries.conf says"),
    ("filters_select", "4.3 finds no ancestor by its short name"),
];

/// Every case on one daemon, each with connections of its own and some at once; what fails and is no known difference fails the test at the end,
/// all together.
fn answer_all(
    peer: &str,
    connect: impl Fn() -> Remote + Sync,
    registry: Option<&house::Registry>,
    differs: &[(&str, &str)],
) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, case)) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
            let world = World::of(Arc::new(connect()), "busybox").with_registry(registry.map(house::Registry::host));
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(world))).is_err() {
                failed.lock().unwrap().push(*name);
            }
        }
    };
    std::thread::scope(|scope| (0..N_AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    let known: Vec<_> = differs.iter().filter(|(name, _)| failed.contains(name)).collect();
    let n_passed = CASES.len() - failed.len();
    let mut rows =
        vec![format!("CONTRACT: {peer}: {} cases, {n_passed} as everywhere, {} differ", CASES.len(), known.len())];
    rows.extend(known.iter().map(|(name, why)| format!("DIFFERS:  {peer}: {name}: {why}")));
    tell(rows.iter().map(String::as_str));
    let unknown: Vec<_> = failed.iter().filter(|name| !known.iter().any(|(known, _)| known == *name)).collect();
    assert!(unknown.is_empty(), "{peer}: {} of {} cases failed: {unknown:?}", unknown.len(), CASES.len());
}

#[test]
fn remote_on_dockerd() {
    if daemons::is_here("remote_on_dockerd", DOCKERD) {
        let daemon = Daemon::dockerd(&[]);
        let registry = house::tools().then(registry);
        answer_all("dockerd", || daemon.engine(), registry.as_ref(), DOCKER_DIFFERS);
    }
}

#[test]
fn remote_on_dockerd_over_tls() {
    if !daemons::is_here("remote_on_dockerd_over_tls", DOCKERD) {
        return;
    }
    let address = daemons::own_address().to_string();
    let authority = Authority::new();
    let server = authority.issue("server", std::slice::from_ref(&address), |_| {});
    let client = authority.issue("client", &["client".to_owned()], |_| {});
    let _daemon = Daemon::dockerd(&certificates::listen(std::slice::from_ref(&address), &server));
    let connect = || Remote::new(certificates::endpoint(&address, &client)).unwrap();
    let registry = house::tools().then(registry);
    answer_all("dockerd over TLS", connect, registry.as_ref(), DOCKER_DIFFERS);
}

#[test]
fn remote_on_dockerd_over_ssh() {
    with_own_ssh("peers::remote_on_dockerd_over_ssh", DOCKER, |home| {
        let daemon = Daemon::dockerd(&[]);
        let server = Sshd::start(home, "");
        home.trust(&[&server]);
        let registry = house::tools().then(registry);
        answer_all("dockerd over ssh", || over(&server, &daemon), registry.as_ref(), DOCKER_DIFFERS);
    });
}

/// The daemon's socket behind an ssh server.
fn over(server: &Sshd, daemon: &Daemon) -> Remote {
    Remote::new(Endpoint::parse(&server.url(&daemon.socket().display().to_string())).unwrap()).unwrap()
}

/// Podman's service, which is told beforehand which registries speak without TLS.
fn podman(registry: Option<&house::Registry>) -> Daemon {
    let hosts: Vec<String> = registry.into_iter().map(house::Registry::host).collect();
    Daemon::podman_with_plain(&hosts)
}

#[test]
fn remote_on_podman() {
    if daemons::is_here("remote_on_podman", PODMAN) {
        let registry = house::tools().then(registry);
        let daemon = podman(registry.as_ref());
        answer_all("podman", || daemon.engine(), registry.as_ref(), PODMAN_DIFFERS);
    }
}

#[test]
fn remote_on_podman_over_ssh() {
    with_own_ssh("peers::remote_on_podman_over_ssh", PODMAN, |home| {
        let registry = house::tools().then(registry);
        let daemon = podman(registry.as_ref());
        let server = Sshd::start(home, NO_DOCKER);
        home.trust(&[&server]);
        answer_all("podman over ssh", || over(&server, &daemon), registry.as_ref(), PODMAN_DIFFERS);
    });
}
