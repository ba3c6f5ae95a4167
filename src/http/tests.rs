//! The connection against a scripted server: deadlines, cuts, certificates, proxies, upgrades.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::server::StoresServerSessions;

use super::script::{Answer, Authority, Issued, Server};
use super::tls::{ClientCertificate, HostAuthorities};
use super::*;

/// Long enough for a loaded machine; what is to time out says so itself.
const PATIENT: Deadlines = Deadlines { idle: Some(Duration::from_secs(60)), total: None };
const HASTY: Deadlines = Deadlines { idle: Some(Duration::from_millis(150)), total: None };

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn tcp(server: &Server) -> Target {
    Target::Tcp { host: "127.0.0.1".to_owned(), port: server.port }
}

fn tls(server: &Server) -> Target {
    Target::Tls { host: "127.0.0.1".to_owned(), port: server.port }
}

fn options() -> TlsOptions {
    TlsOptions { host_authorities: HostAuthorities::Ignored, ..TlsOptions::default() }
}

fn pool_with(options: &TlsOptions) -> Pool {
    let proxies = Proxies::default();
    Pool::new(Dialer { tls: Some(Tls::new(options).unwrap()), proxies, deadline: Duration::from_secs(60) })
}

fn pool() -> Pool {
    pool_with(&options())
}

async fn text(answer: Result<hyper::Response<ResponseBody>, HttpError>) -> String {
    let body = answer.unwrap().into_body().collect(1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_it_died() {
    let server = Server::start(|request| {
        let answer = Answer::new(200, request.path.clone());
        if request.path == "/last" { answer.then_close() } else { answer }
    })
    .await;
    let pool = pool();
    for path in ["/a", "/b?c=d", "/last", "/e"] {
        assert_eq!(text(pool.request(&tcp(&server), get(path), PATIENT).await).await, path);
    }
    let received = server.received();
    let connections: Vec<_> = received.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
    assert_eq!(received[0].header("host"), Some(format!("127.0.0.1:{}", server.port).as_str()));
}

#[tokio::test]
async fn bodies_go_out_with_their_length_or_in_chunks() {
    let server = Server::start(|request| Answer::new(200, request.body.clone())).await;
    let pool = pool();
    let pieces = || futures_util::stream::iter([Ok(Bytes::from_static(b"one ")), Ok(Bytes::from_static(b"two"))]);
    for body in [Body::bytes("one two"), Body::stream(pieces()), Body::sized(pieces(), 7)] {
        let request = Request::put("/").body(body).unwrap();
        assert_eq!(text(pool.request(&tcp(&server), request, PATIENT).await).await, "one two");
    }
    let lengths: Vec<_> = server.received().iter().map(|r| r.header("content-length").map(str::to_owned)).collect();
    assert_eq!(lengths, [Some("7".to_owned()), None, Some("7".to_owned())]);
    for wrong in [6, 8] {
        let request = Request::put("/").body(Body::sized(pieces(), wrong)).unwrap();
        let error = pool.request(&tcp(&server), request, PATIENT).await.err().unwrap();
        assert!(matches!(error, HttpError::Sending { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn stalls_and_cuts_are_told_apart() {
    let server = Server::start(|request| match request.path.as_str() {
        "/silent" => Answer::new(200, "").header("Content-Length", "5").stall_at(0),
        "/stall" => Answer::new(200, "12345").stall_at(2),
        "/cut" => Answer::new(200, "12345").cut_at(2),
        "/nothing" => Answer::nothing(),
        _ => Answer::new(200, "x".repeat(100)),
    })
    .await;
    let pool = pool();
    let body = async |path: &str, deadlines| {
        pool.request(&tcp(&server), get(path), deadlines).await?.into_body().collect(50).await
    };
    assert!(matches!(body("/stall", HASTY).await, Err(HttpError::Timeout { .. })));
    assert!(matches!(body("/silent", HASTY).await, Err(HttpError::Timeout { .. })));
    let total = Deadlines { idle: None, total: Some(Duration::from_millis(150)) };
    assert!(matches!(body("/stall", total).await, Err(HttpError::Timeout { .. })));
    assert!(matches!(body("/cut", PATIENT).await, Err(HttpError::Cut { .. })));
    assert!(matches!(body("/nothing", PATIENT).await, Err(HttpError::Cut { .. })));
    assert!(matches!(body("/long", PATIENT).await, Err(HttpError::TooLarge { max: 50, .. })));
    let mut stream = pool.request(&tcp(&server), get("/cut"), PATIENT).await.unwrap().into_body();
    assert_eq!(stream.next().await.unwrap().unwrap(), "12");
    assert!(stream.next().await.unwrap().is_err());
}

#[tokio::test]
async fn nobody_there_is_said() {
    let server = Server::start(|_| Answer::new(200, "")).await;
    let target = tcp(&server);
    drop(server);
    // The task ends a moment after its abort.
    let error = loop {
        match pool().request(&target, get("/"), PATIENT).await {
            Err(error @ HttpError::Connect { .. }) => break error,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(error.to_string(), format!("cannot connect to {target}"));
    let nowhere = Target::Unix("/nonexistent/docker.sock".into());
    let error = pool().request(&nowhere, get("/"), PATIENT).await.err().unwrap();
    assert_eq!(error.to_string(), "cannot connect to /nonexistent/docker.sock");
}

/// What a client with `options` is told by a server with this certificate.
async fn verdict(issued: &Issued, options: &TlsOptions) -> Result<String, String> {
    let server = Server::start_tls(issued.server(), |_| Answer::new(200, "in")).await;
    match pool_with(options).request(&tls(&server), get("/"), PATIENT).await {
        Err(error) => Err(error.to_string().replace(&format!("127.0.0.1:{}", server.port), "HOST")),
        answer => Ok(text(answer).await),
    }
}

#[tokio::test]
async fn certificate_problems_are_named() {
    let authority = Authority::new();
    let trusting = TlsOptions { authorities: vec![("ca.crt".to_owned(), authority.pem().into_bytes())], ..options() };
    let good = authority.issue(&["127.0.0.1"], |_| {});
    assert_eq!(verdict(&good, &trusting).await, Ok("in".to_owned()));
    let said = |text: &str| Err(format!("HOST: its certificate {text}"));
    assert_eq!(verdict(&good, &options()).await, said("is signed by an unknown authority"));
    let other = Authority::new();
    let elsewhere = TlsOptions { authorities: vec![("o".to_owned(), other.pem().into_bytes())], ..options() };
    assert_eq!(verdict(&good, &elsewhere).await, said("is signed by an unknown authority"));
    let expired = authority.issue(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    assert_eq!(verdict(&expired, &trusting).await, said("has expired"));
    let early = authority.issue(&["127.0.0.1"], |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    assert_eq!(verdict(&early, &trusting).await, said("is not valid yet"));
    let named = authority.issue(&["a.example", "b.example"], |_| {});
    assert_eq!(verdict(&named, &trusting).await, said("is for a.example, b.example, not for this host"));
    let insecure = TlsOptions { verify: Verify::Nothing, ..options() };
    for issued in [&good, &expired, &named] {
        assert_eq!(verdict(issued, &insecure).await, Ok("in".to_owned()));
    }
}

/// Docker's guide makes a registry's certificate with `openssl req -x509` and gives that same file as ca.crt.
#[tokio::test]
async fn a_servers_own_certificate_may_be_its_authority() {
    let own = |names: &[&str], until: i32, is_ca: rcgen::IsCa| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.is_ca = is_ca;
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        Issued { chain_pem: params.self_signed(&key).unwrap().pem(), key_pem: key.serialize_pem() }
    };
    let ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let check = async |issued: Issued| {
        let pem = issued.chain_pem.clone().into_bytes();
        verdict(&issued, &TlsOptions { authorities: vec![("own".to_owned(), pem)], ..options() }).await
    };
    assert_eq!(check(own(&["127.0.0.1"], 3000, ca)).await, Ok("in".to_owned()));
    assert_eq!(check(own(&["127.0.0.1"], 3000, rcgen::IsCa::NoCa)).await, Ok("in".to_owned()));
    let expired = check(own(&["127.0.0.1"], 2001, ca)).await;
    assert_eq!(expired, Err("HOST: its certificate has expired".to_owned()));
    let named = check(own(&["a.example"], 3000, ca)).await;
    assert_eq!(named, Err("HOST: its certificate is for a.example, not for this host".to_owned()));
}

#[tokio::test]
async fn client_certificates_are_shown_and_asked_for() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"], |_| {});
    let server = Server::start_tls(issued.server_for_clients_of(&authority), |_| Answer::new(200, "in")).await;
    let trusting = TlsOptions { authorities: vec![("ca.crt".to_owned(), authority.pem().into_bytes())], ..options() };
    let us = authority.issue(&["me"], |_| {});
    let client = ClientCertificate {
        chain: us.chain_pem.clone().into_bytes(),
        key: us.key_pem.clone().into_bytes(),
        origin: "client.cert".to_owned(),
    };
    let known = TlsOptions { client: Some(client.clone()), ..trusting.clone() };
    assert_eq!(text(pool_with(&known).request(&tls(&server), get("/"), PATIENT).await).await, "in");
    let error = pool_with(&trusting).request(&tls(&server), get("/"), PATIENT).await.err().unwrap();
    assert_eq!(error.to_string(), format!("127.0.0.1:{}: it wants a client certificate", server.port));
    let keyless = ClientCertificate { key: b"no key".to_vec(), ..client };
    let error = Tls::new(&TlsOptions { client: Some(keyless), ..trusting }).err().unwrap();
    assert_eq!(error.to_string(), "client certificate client.cert: its key holds no private key");
    let nothing = TlsOptions { authorities: vec![("x/ca.crt".to_owned(), Vec::new())], ..options() };
    assert_eq!(Tls::new(&nothing).err().unwrap().to_string(), "authority x/ca.crt: it holds no certificate");
}

/// Counts the sessions that clients come back with.
#[derive(Debug, Default)]
struct Resumed(AtomicUsize);

impl StoresServerSessions for Resumed {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        self.take(&[])
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn sessions_with_a_client_certificate_are_not_resumed() {
    let authority = Authority::new();
    let (resumed, issued) = (Arc::new(Resumed::default()), authority.issue(&["127.0.0.1"], |_| {}));
    let mut config = issued.server_for_clients_of(&authority);
    config.session_storage = resumed.clone();
    let server = Server::start_tls(config, |_| Answer::new(200, "in")).await;
    let us = authority.issue(&["me"], |_| {});
    let client = ClientCertificate {
        chain: us.chain_pem.into_bytes(),
        key: us.key_pem.into_bytes(),
        origin: "client.cert".to_owned(),
    };
    let trusting = TlsOptions { authorities: vec![("ca.crt".to_owned(), authority.pem().into_bytes())], ..options() };
    let known = TlsOptions { client: Some(client), ..trusting };
    let pool = pool_with(&known);
    for _ in 0..2 {
        // A pool of its own makes a connection of its own; what is known of sessions they share.
        let fresh = Pool::new(pool.dialer().clone());
        assert_eq!(text(fresh.request(&tls(&server), get("/"), PATIENT).await).await, "in");
    }
    assert_eq!(resumed.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn plain_http_where_tls_was_expected_is_said() {
    let hello = Server::start_hello().await;
    let error = pool().request(&tls(&hello), get("/"), PATIENT).await.err().unwrap();
    assert_eq!(error.to_string(), format!("127.0.0.1:{}: it speaks plain HTTP, not TLS", hello.port));
}

#[tokio::test]
async fn proxies_forward_plain_requests_and_open_tunnels() {
    let proxy = Server::start(|request| match request.method.as_str() {
        "CONNECT" => Answer::new(407, "").then_close(),
        _ => Answer::new(200, request.path.clone()),
    })
    .await;
    let url = format!("http://me:secret@127.0.0.1:{}", proxy.port);
    let proxies = Proxies::new(Some(&url), Some(&url), "").unwrap();
    let dialer = Dialer { tls: Some(Tls::new(&options()).unwrap()), proxies, deadline: Duration::from_secs(60) };
    let pool = Pool::new(dialer);
    let far = Target::Tcp { host: "far.example".to_owned(), port: 80 };
    assert_eq!(text(pool.request(&far, get("/a?b"), PATIENT).await).await, "http://far.example/a?b");
    let far = Target::Tls { host: "far.example".to_owned(), port: 443 };
    let error = pool.request(&far, get("/"), PATIENT).await.err().unwrap();
    let expected = format!("proxy 127.0.0.1:{} refused a tunnel to far.example:443: 407 Scripted", proxy.port);
    assert_eq!(error.to_string(), expected);
    let received = proxy.received();
    assert_eq!((received[1].method.as_str(), received[1].path.as_str()), ("CONNECT", "far.example:443"));
    for request in &received {
        assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    }
}

#[tokio::test]
async fn an_upgrade_gives_the_raw_stream_or_the_refusal() {
    let server = Server::start(|request| match request.path.as_str() {
        "/attach" => Answer::switching(),
        _ => Answer::new(404, "no such container"),
    })
    .await;
    let dial = async || {
        let dialer = pool().dialer().clone();
        Connection::dial(&dialer, &tcp(&server)).await.unwrap()
    };
    let Upgraded::Raw { head, mut stream } = dial().await.upgrade(get("/attach"), "tcp", PATIENT).await.unwrap() else {
        panic!("refused");
    };
    assert_eq!(head.status(), 101);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).await.unwrap();
    assert_eq!(echo, "hello");
    let Upgraded::Refused(answer) = dial().await.upgrade(get("/other"), "tcp", PATIENT).await.unwrap() else {
        panic!("taken");
    };
    assert_eq!(text(Ok(*answer)).await, "no such container");
    assert_eq!(server.received()[0].header("upgrade"), Some("tcp"));
}
