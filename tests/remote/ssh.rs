//! Daemons behind ssh: docker's way and the forwarded socket, a jump host, one login for all connections, and what is said when ssh says no.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use orlop::config::host::Endpoint;
use orlop::engine::{Class, ContainerSpec, Engine, EngineError, ExecSpec, ListContainers, ListImages, Output};
use orlop::remote::Remote;

use crate::daemons::{DOCKERD, Daemon, PATIENCE, PODMAN};
use crate::sshd::{Sshd, with_own_ssh};
use crate::world::runtime;

/// Docker's program on the far side is for docker's way; where it is not, the socket is forwarded.
const DOCKER: &[&str] = &["docker", DOCKERD[0], DOCKERD[1], DOCKERD[2]];
/// A far side without any docker program.
const BARE: &str = "SetEnv PATH=/nonexistent";

fn remote(url: &str) -> Remote {
    Remote::new(Endpoint::parse(url).unwrap()).unwrap()
}

/// Runs a command in a container through the link, with input and output, several connections at once.
async fn works(engine: &Remote) {
    assert_eq!(engine.images().list(&ListImages::default()).await.unwrap().len(), 1);
    let spec = ContainerSpec {
        image: "busybox".to_owned(),
        cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
        network_mode: Some("none".to_owned()),
        ..ContainerSpec::default()
    };
    let id = engine.containers().create(None, &spec).await.unwrap().id;
    engine.containers().start(&id).await.unwrap();
    let echoes = (0..4).map(|_| echo(engine, &id));
    futures_util::future::join_all(echoes).await;
    let force = orlop::engine::RemoveContainer { force: true, volumes: true };
    engine.containers().remove(&id, &force).await.unwrap();
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

#[test]
fn podman_is_reached_by_its_forwarded_socket() {
    with_own_ssh("ssh::podman_is_reached_by_its_forwarded_socket", PODMAN, |home| {
        let daemon = Daemon::podman();
        let server = Sshd::start(home, BARE);
        home.trust(&[&server]);
        runtime().block_on(async {
            works(&remote(&server.url(&socket(&daemon.socket())))).await;
            let error = failure(&remote(&server.url("/nonexistent.sock"))).await;
            check(&error, Class::Unavailable, "there is no docker program, and no daemon answers", "podman.sock");
        });
        let closed = Sshd::start(home, &format!("{BARE}\nAllowStreamLocalForwarding no"));
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
            let spec = ContainerSpec {
                image: "busybox".to_owned(),
                cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), "while true; do echo x; sleep 0.1; done".to_owned()]),
                network_mode: Some("none".to_owned()),
                ..ContainerSpec::default()
            };
            let id = engine.containers().create(None, &spec).await.unwrap().id;
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
