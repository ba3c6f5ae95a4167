//! Daemons behind ssh: docker's way and the forwarded socket, a jump host, one login for all connections, and what is said when ssh says no.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use orlop::config::host::Endpoint;
use orlop::engine::{
    Attached, BoxStream, Class, Engine, EngineError, Event, EventsQuery, ExecSpec, ListContainers, ListImages,
    LogStream, LogsQuery, Output, RemoveContainer, StatsQuery, StatsSample,
};
use orlop::remote::Remote;

use crate::cuts::spec;
use crate::daemons::{DOCKER, Daemon, PATIENCE, PODMAN};
use crate::sshd::{NO_DOCKER, Sshd, with_own_ssh};
use crate::world::runtime;

fn remote(url: &str) -> Remote {
    Remote::new(Endpoint::parse(url).unwrap()).unwrap()
}

/// Runs a command in a container through the link, with input and output, several connections at once.
async fn works(engine: &Remote) {
    assert_eq!(engine.images().list(&ListImages::default()).await.unwrap().len(), 1);
    let id = engine.containers().create(None, &spec("sleep 1000")).await.unwrap().id;
    engine.containers().start(&id).await.unwrap();
    let echoes = (0..4).map(|_| echo(engine, &id));
    futures_util::future::join_all(echoes).await;
    remove(engine, &[id]).await;
}

async fn echo(engine: &Remote, ctr: &str) {
    let spec = ExecSpec {
        cmd: vec!["cat".to_owned()],
        attach_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    };
    let id = engine.execs().create(ctr, &spec).await.unwrap();
    let mut attached = engine.execs().start(&id, None).await.unwrap();
    attached.input.write("through\n".into()).await.unwrap();
    attached.input.close().await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        while let Some(step) = attached.output.next().await {
            if let Output::Bytes(_, bytes) = step.expect("the output goes on") {
                read.extend_from_slice(&bytes);
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("cat ends with its input");
    assert_eq!(read, b"through\n");
}

async fn failure(engine: &Remote) -> EngineError {
    let query = ListContainers::default();
    tokio::time::timeout(PATIENCE, engine.containers().list(&query))
        .await
        .expect("it is told in time")
        .expect_err("it must not be reached")
}

fn check(error: &EngineError, class: Class, message: &str, hint: &str) {
    assert!(error.class == class && error.message.contains(message), "{error:?}");
    assert!(error.hint.as_deref().is_some_and(|said| said.contains(hint)), "{error:?}");
}

fn socket(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn dockerd_is_reached_docker_s_way_with_one_login() {
    with_own_ssh("ssh::dockerd_is_reached_docker_s_way_with_one_login", DOCKER, |home| {
        let daemon = Daemon::dockerd(&[]);
        let server = Sshd::start(home, "");
        home.trust(&[&server]);
        let url = server.url(&socket(&daemon.socket()));
        runtime().block_on(async {
            works(&remote(&url)).await;
            assert_eq!(home.n_logins(), 1);
            // An alias of the user's configuration is as good, and so is the usual socket, as the far side's docker knows it.
            home.configure(&server.named("far"));
            works(&remote(&format!("ssh://far{}", socket(&daemon.socket())))).await;
        });
        let usual = Sshd::start(home, &format!("SetEnv DOCKER_HOST=unix://{}", socket(&daemon.socket())));
        let jump = format!("{}{}  ProxyJump far\n", server.named("far"), usual.named("behind"));
        home.configure(&jump);
        home.trust(&[&server, &usual]);
        runtime().block_on(works(&remote("ssh://behind")));
        home.end_logins();
        // A jump host that is not known is refused, and asks nobody.
        home.trust(&[&usual]);
        let error = runtime().block_on(async { failure(&remote("ssh://behind")).await });
        check(&error, Class::Unavailable, "its jump host or ProxyCommand lets nobody through", "ssh behind");
    });
}

/// What a screen has open that shows the merged log of some containers, and a shell.
struct Screen {
    ctrs: Vec<String>,
    logs: Vec<LogStream>,
    events: BoxStream<Event>,
    stats: BoxStream<StatsSample>,
    shell: Attached,
}

const N_MERGED: usize = 8;

impl Screen {
    async fn open(engine: &Remote) -> Self {
        let ticks = "while true; do echo x; sleep 0.2; done";
        let mut ctrs = Vec::new();
        for _ in 0..N_MERGED {
            let id = engine.containers().create(None, &spec(ticks)).await.unwrap().id;
            engine.containers().start(&id).await.unwrap();
            ctrs.push(id);
        }
        let query = LogsQuery { follow: true, ..LogsQuery::default() };
        let logs = ctrs.iter().map(|ctr| engine.containers().logs(ctr, &query));
        let exec = ExecSpec {
            cmd: vec!["sh".to_owned()],
            attach_stdin: true,
            attach_stdout: true,
            attach_stderr: true,
            ..ExecSpec::default()
        };
        let exec = engine.execs().create(&ctrs[0], &exec).await.unwrap();
        Self {
            logs: futures_util::future::try_join_all(logs).await.unwrap(),
            events: engine.system().events(&EventsQuery::default()).await.unwrap(),
            stats: engine.containers().stats(&ctrs[0], &StatsQuery::default()).await.unwrap(),
            shell: engine.execs().start(&exec, None).await.unwrap(),
            ctrs,
        }
    }

    /// Something comes of each.
    async fn is_alive(&mut self, engine: &Remote) {
        self.logs_go_on().await;
        next(&mut self.stats).await;
        self.shell.input.write("echo here\n".into()).await.unwrap();
        next(&mut self.shell.output).await;
        let id = engine.containers().create(None, &spec("true")).await.unwrap().id;
        while next(&mut self.events).await.id != id {}
        self.ctrs.push(id);
    }

    async fn logs_go_on(&mut self) {
        for log in &mut self.logs {
            next(log).await;
        }
    }
}

async fn next<T>(stream: &mut BoxStream<T>) -> T {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("something comes");
    item.expect("it has not ended").expect("it goes on")
}

/// All at the same time, each with a connection of its own.
async fn many_lists(engine: &Remote) {
    let everything = ListContainers { all: true, ..ListContainers::default() };
    let lists = (0..24).map(|_| engine.containers().list(&everything));
    futures_util::future::try_join_all(lists).await.unwrap();
}

async fn remove(engine: &Remote, ctrs: &[String]) {
    let force = RemoveContainer { force: true, volumes: true };
    let removals = ctrs.iter().map(|ctr| engine.containers().remove(ctr, &force));
    futures_util::future::try_join_all(removals).await.unwrap();
}

#[test]
fn more_channels_than_one_login_is_given_have_more_logins() {
    with_own_ssh("ssh::more_channels_than_one_login_is_given_have_more_logins", DOCKER, |home| {
        let daemon = Daemon::dockerd(&[]);
        let mut server = Sshd::start(home, "");
        home.trust(&[&server]);
        let engine = remote(&server.url(&socket(&daemon.socket())));
        runtime().block_on(async {
            let mut screen = Screen::open(&engine).await;
            screen.is_alive(&engine).await;
            many_lists(&engine).await;
            screen.is_alive(&engine).await;
            // Every one of them is shared.
            let n_logins = home.n_logins();
            assert!((2..=5).contains(&n_logins), "{n_logins}");
            assert_eq!(server.n_logged("Accepted publickey"), n_logins);
            // Everything is cut, and comes back at once: an sshd drops logins when many are under way.
            server.kill();
            server.start_again();
            many_lists(&engine).await;
            screen.logs_go_on().await;
            assert_eq!(server.n_logged("past MaxStartups"), 0);
            let ctrs = std::mem::take(&mut screen.ctrs);
            drop(screen);
            remove(&engine, &ctrs).await;
        });
    });
}

#[test]
fn a_server_that_gives_fewer_channels_is_asked_for_more_logins() {
    with_own_ssh("ssh::a_server_that_gives_fewer_channels_is_asked_for_more_logins", DOCKER, |home| {
        let daemon = Daemon::dockerd(&[]);
        let server = Sshd::start(home, "MaxSessions 2");
        home.trust(&[&server]);
        let engine = remote(&server.url(&socket(&daemon.socket())));
        runtime().block_on(async {
            let mut screen = Screen::open(&engine).await;
            screen.is_alive(&engine).await;
            remove(&engine, &screen.ctrs).await;
        });
    });
}

#[test]
fn podman_is_reached_by_its_forwarded_socket() {
    with_own_ssh("ssh::podman_is_reached_by_its_forwarded_socket", PODMAN, |home| {
        let daemon = Daemon::podman();
        let server = Sshd::start(home, NO_DOCKER);
        home.trust(&[&server]);
        runtime().block_on(async {
            works(&remote(&server.url(&socket(&daemon.socket())))).await;
            // One question for docker's program, and one login that holds the socket up for every connection.
            assert_eq!(server.n_logged("Starting session"), 1);
            assert_eq!(server.n_logged("Accepted publickey"), 2);
            let error = failure(&remote(&server.url("/nonexistent.sock"))).await;
            check(&error, Class::Unavailable, "there is no docker program, and no daemon answers", "podman.sock");
        });
        let closed = Sshd::start(home, &format!("{NO_DOCKER}\nAllowStreamLocalForwarding no"));
        home.trust(&[&closed]);
        let error = runtime().block_on(async { failure(&remote(&closed.url(&socket(&daemon.socket())))).await });
        check(&error, Class::Unavailable, "there is no docker program", "AllowStreamLocalForwarding");
    });
}

#[test]
fn what_ssh_refuses_is_one_sentence_with_a_hint() {
    with_own_ssh("ssh::what_ssh_refuses_is_one_sentence_with_a_hint", &["docker"], |home| {
        let mut server = Sshd::start(home, "");
        let url = server.url("/nonexistent.sock");
        let told = || runtime().block_on(async { failure(&remote(&url)).await });
        home.forget_hosts();
        let by_hand = format!("ssh -p 2222 root@{}", server.address);
        check(&told(), Class::Forbidden, "its host key is not known yet", &by_hand);
        home.trust(&[&server]);
        check(&told(), Class::Unavailable, "cannot reach the daemon on root@", "docker version");
        home.end_logins();
        server.change_key();
        check(&told(), Class::Forbidden, "its host key has changed", "ssh-keygen -f");
        home.trust(&[&server]);
        home.revoke_key();
        check(&told(), Class::Unauthorized, "does not let you in without a password", "ssh-copy-id");
        server.kill();
        check(&told(), Class::Unavailable, "nobody listens there", "does sshd run there");
        let nowhere = runtime().block_on(async { failure(&remote("ssh://nowhere.invalid")).await });
        check(&nowhere, Class::Unavailable, "no address is known for it", "is the name right");
    });
}

#[test]
fn an_sshd_that_dies_ends_streams_and_is_found_again() {
    with_own_ssh("ssh::an_sshd_that_dies_ends_streams_and_is_found_again", DOCKER, |home| {
        let daemon = Daemon::dockerd(&[]);
        let mut server = Sshd::start(home, "");
        home.trust(&[&server]);
        let engine = remote(&server.url(&socket(&daemon.socket())));
        runtime().block_on(async {
            let endless = spec("while true; do echo x; sleep 0.1; done");
            let id = engine.containers().create(None, &endless).await.unwrap().id;
            engine.containers().start(&id).await.unwrap();
            let both = orlop::engine::AttachOptions { stdout: true, stderr: true, ..Default::default() };
            let mut attached = engine.containers().attach(&id, &both).await.unwrap();
            assert!(attached.output.next().await.unwrap().is_ok());
            server.kill();
            let ending = async {
                loop {
                    match attached.output.next().await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return error,
                        None => panic!("a cut session looks ended"),
                    }
                }
            };
            let cut = tokio::time::timeout(PATIENCE, ending).await.expect("the end is told in time");
            assert!(cut.class == Class::Unavailable && cut.message.contains("was cut"), "{cut:?}");
            check(&failure(&engine).await, Class::Unavailable, "nobody listens there", "does sshd run there");
            server.start_again();
            let end = tokio::time::Instant::now() + PATIENCE;
            while let Err(error) = engine.containers().inspect(&id).await {
                assert!(tokio::time::Instant::now() < end, "it is not found again: {error:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    });
}
