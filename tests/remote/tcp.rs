//! Dockerd over TCP, plain and with TLS: what works, and what each thing wrong with a certificate is called.

use std::path::Path;
use std::process::Command;

use orlop::config::host::Endpoint;
use orlop::engine::{Class, Engine, EngineError, ListContainers, ListImages};
use orlop::remote::Remote;

use crate::certificates::{self, Authority};
use crate::daemons::{self, DOCKERD, Daemon};
use crate::world::runtime;

fn failure(endpoint: Endpoint) -> EngineError {
    runtime().block_on(async {
        let engine = Remote::new(endpoint).unwrap();
        engine.containers().list(&ListContainers::default()).await.expect_err("it must not be reached")
    })
}

fn reaches(endpoint: Endpoint) {
    runtime().block_on(async {
        let engine = Remote::new(endpoint).unwrap();
        assert_eq!(engine.system().version().await.unwrap().api_version, "1.41");
        assert_eq!(engine.images().list(&ListImages::default()).await.unwrap().len(), 1);
    });
}

fn check(endpoint: Endpoint, class: Class, message: &str, hint: &str) {
    let error = failure(endpoint);
    assert_eq!((error.class, error.message.as_str()), (class, message), "{error:?}");
    assert!(error.hint.as_deref().is_some_and(|said| said.contains(hint)), "{error:?}");
}

#[test]
fn plain_tcp_reaches_it() {
    if !daemons::is_here("plain_tcp_reaches_it", DOCKERD) {
        return;
    }
    let address = daemons::own_address().to_string();
    let daemon = Daemon::dockerd(&[format!("--host=tcp://{address}:2375"), "--tls=false".to_owned()]);
    let endpoint = Endpoint::parse(&format!("tcp://{address}")).unwrap();
    reaches(endpoint);
    check(
        Endpoint::parse(&format!("tcp://{address}:2374")).unwrap(),
        Class::Unavailable,
        &format!("cannot reach tcp://{address}:2374: nobody listens there"),
        "is the daemon running",
    );
    let https = Endpoint::parse(&format!("https://{address}:2375")).unwrap();
    check(https, Class::Invalid, &format!("tcp://{address}:2375 speaks plain HTTP, not TLS"), "DOCKER_TLS_VERIFY");
    drop(daemon);
}

#[test]
fn tls_reaches_it_and_each_wrong_certificate_is_named() {
    if !daemons::is_here("tls_reaches_it_and_each_wrong_certificate_is_named", DOCKERD) {
        return;
    }
    let (address, other) = (daemons::own_address().to_string(), daemons::own_address().to_string());
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue("server", std::slice::from_ref(&address), |_| {});
    let client = authority.issue("client", &["client".to_owned()], |_| {});
    let daemon = Daemon::dockerd(&certificates::listen(&[address.clone(), other.clone()], &server));

    reaches(certificates::endpoint(&address, &client));
    environment_names_the_certificates(&address, &client);

    let (here, there) = (format!("tcp://{address}:2376"), format!("tcp://{other}:2376"));
    let distrust = |at: &str, problem: &str| format!("cannot trust {at}: its certificate {problem}");
    let unknown = distrust(&here, "is signed by an unknown authority");
    check(certificates::endpoint(&address, &stranger.without_client("client")), Class::Forbidden, &unknown, "ca.pem");
    let wrong_name = distrust(&there, &format!("is for {address}, not for this host"));
    check(certificates::endpoint(&other, &client), Class::Forbidden, &wrong_name, "one of the names");

    let insecure = format!("cannot make a secure connection to {here}: ");
    let nobody = certificates::endpoint(&address, &authority.without_client("nobody"));
    let wants = format!("{insecure}it wants a client certificate");
    check(nobody, Class::Forbidden, &wants, "cert.pem and key.pem in DOCKER_CERT_PATH");
    let refuses = format!("{insecure}it refuses our client certificate");
    let late = authority.issue("late", &["client".to_owned()], certificates::expired);
    let because = format!("{refuses}, which has expired");
    check(certificates::endpoint(&address, &late), Class::Forbidden, &because, "renewed");
    let strange = stranger.issue("strange", &["client".to_owned()], |_| {});
    std::fs::copy(client.join("ca.pem"), strange.join("ca.pem")).unwrap();
    check(certificates::endpoint(&address, &strange), Class::Forbidden, &refuses, "authority");

    let plain = Endpoint::parse(&here).unwrap();
    check(plain, Class::Invalid, &format!("{here} speaks TLS, not plain HTTP"), "DOCKER_TLS_VERIFY");
    drop(daemon);
}

#[test]
fn a_daemon_with_an_expired_certificate_is_not_trusted() {
    if !daemons::is_here("a_daemon_with_an_expired_certificate_is_not_trusted", DOCKERD) {
        return;
    }
    let address = daemons::own_address().to_string();
    let authority = Authority::new();
    let server = authority.issue("server", std::slice::from_ref(&address), certificates::expired);
    let client = authority.issue("client", &["client".to_owned()], |_| {});
    let daemon = Daemon::dockerd(&certificates::listen(std::slice::from_ref(&address), &server));
    let message = format!("cannot trust tcp://{address}:2376: its certificate has expired");
    check(certificates::endpoint(&address, &client), Class::Forbidden, &message, "renewed");
    drop(daemon);
}

/// The program as a user of docker's variables runs it.
fn environment_names_the_certificates(address: &str, files: &Path) {
    let run = |verify: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
        command.env("DOCKER_HOST", format!("tcp://{address}:2376")).env("DOCKER_CERT_PATH", files);
        command.env("DOCKER_TLS_VERIFY", verify).env_remove("DOCKER_CONTEXT").args(["version"]).output().unwrap()
    };
    let told = run("1");
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && out.contains("20.10"), "{out}{err}");
    let plain = run("");
    let err = String::from_utf8_lossy(&plain.stderr);
    assert!(!plain.status.success() && err.contains("speaks TLS, not plain HTTP"), "{err}");
}
