//! What goes wrong on the way, and that it does not matter, or is said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use orlop::engine::auth::{Credentials, RegistryAuth};
use orlop::engine::error::Class;
use orlop::registry::{BlobPushed, Pick};

use crate::house::*;
use crate::proxy::{Asked, Fault, Proxy};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn tag(name: &str) -> Pick {
    Pick::Tag(name.to_owned())
}

fn say(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    let own = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fault::Say(status, own, body.to_owned())
}

/// A registry that has `app:1` with one layer, and a proxy before it.
async fn behind(size: usize, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> (Registry, Proxy, Layout) {
    let registry = Registry::plain();
    let layout = Layout::new(&[size], &["amd64"]);
    layout.put(&registry.host(), "app:1", &["--dest-tls-verify=false"]);
    let proxy = Proxy::start(registry.port, rule).await;
    (registry, proxy, layout)
}

fn app(proxy: &Proxy) -> orlop::registry::Repository {
    repository(&client(|_| {}), &format!("{}/app", proxy.host()), Credentials::Anonymous)
}

#[tokio::test]
async fn a_transfer_that_is_cut_again_and_again_fetches_no_byte_twice() {
    if !tools() {
        return;
    }
    let (_registry, proxy, layout) =
        behind(200_000, |asked| if asked.is_blob() { Fault::CutAt(20_000) } else { Fault::Pass }).await;
    let app = app(&proxy);
    let layer = descriptor(&layout.layers[0], LAYER);
    assert_eq!(read(&app, &layer, 0).await.unwrap(), layout.layers[0]);
    let offsets: Vec<usize> = proxy.asked().iter().filter(|asked| asked.is_blob()).map(Asked::offset).collect();
    let expected: Vec<usize> = (0..layout.layers[0].len()).step_by(20_000).collect();
    assert_eq!(offsets, expected);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_its_start() {
    if !tools() {
        return;
    }
    let n_asked = AtomicUsize::new(0);
    let (_registry, proxy, layout) = behind(50_000, move |asked| {
        if !asked.is_blob() {
            return Fault::Pass;
        }
        if n_asked.fetch_add(1, Ordering::SeqCst) == 0 { Fault::CutAt(10_000) } else { Fault::NoRange }
    })
    .await;
    let layer = descriptor(&layout.layers[0], LAYER);
    assert_eq!(read(&app(&proxy), &layer, 0).await.unwrap(), layout.layers[0]);
    assert_eq!(read(&app(&proxy), &layer, 123).await.unwrap(), layout.layers[0].slice(123..));
}

#[tokio::test]
async fn a_stall_is_a_cut() {
    if !tools() {
        return;
    }
    let n_asked = AtomicUsize::new(0);
    let (_registry, proxy, layout) = behind(50_000, move |asked| {
        let is_first = asked.is_blob() && n_asked.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Fault::StallAt(5000) } else { Fault::Pass }
    })
    .await;
    let patient = client(|options| {
        options.stall = Duration::from_secs(2);
        options.registries.max_download_attempts = 20;
    });
    let app = repository(&patient, &format!("{}/app", proxy.host()), Credentials::Anonymous);
    let layer = descriptor(&layout.layers[0], LAYER);
    assert_eq!(read(&app, &layer, 0).await.unwrap(), layout.layers[0]);
}

#[tokio::test]
async fn an_overloaded_registry_is_asked_again_when_it_says() {
    if !tools() {
        return;
    }
    let n_asked = AtomicUsize::new(0);
    let (_registry, proxy, _layout) = behind(100, move |_| match n_asked.fetch_add(1, Ordering::SeqCst) {
        0 => say(429, &[("Retry-After", "1")], ""),
        1 => say(503, &[], "<html>"),
        2 => Fault::CutAt(0),
        _ => Fault::Pass,
    })
    .await;
    let start = Instant::now();
    app(&proxy).resolve(&tag("1"), None).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "it was told to wait a second");
}

#[tokio::test]
async fn what_does_not_pass_is_given_up_and_said() {
    if !tools() {
        return;
    }
    let (_registry, proxy, _layout) = behind(100, |asked| match asked.path.as_str() {
        "/v2/app/manifests/busy" => say(503, &[], r#"{"errors":[{"code":"X","message":"no \u001b[31mtime"}]}"#),
        "/v2/app/manifests/later" => say(429, &[("Retry-After", "3600")], ""),
        _ => Fault::Pass,
    })
    .await;
    let hasty = client(|options| options.registries.max_download_attempts = 2);
    let app = repository(&hasty, &format!("{}/app", proxy.host()), Credentials::Anonymous);
    let error = app.resolve(&tag("busy"), None).await.unwrap_err();
    assert_eq!(
        (error.class, error.message),
        (Class::Unavailable, format!("{}: it answered 503: no  [31mtime", proxy.host()))
    );
    assert_eq!(proxy.asked().len(), 2);
    let error = app.resolve(&tag("later"), None).await.unwrap_err();
    assert_eq!(error.message, format!("{}: too many requests", proxy.host()));
    assert_eq!(error.hint.as_deref(), Some("it asks to come back in 3600 s"));
    assert_eq!(proxy.asked().len(), 3);
}

#[tokio::test]
async fn wrong_bytes_are_refused() {
    if !tools() {
        return;
    }
    let (_registry, proxy, layout) = behind(5000, |asked| match asked.path.as_str() {
        path if path.contains("/manifests/") => Fault::Flip(30),
        _ if asked.header("accept-encoding").is_some() => Fault::Longer(10),
        _ if asked.is_blob() => Fault::Flip(3),
        _ => Fault::Pass,
    })
    .await;
    let app = app(&proxy);
    let error = app.resolve(&tag("1"), None).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains(&format!("{} sent sha256:", proxy.host())), "{error}");
    let layer = descriptor(&layout.layers[0], LAYER);
    let error = app.config(&layer).await.unwrap_err();
    assert!(error.message.contains(" for sha256:"), "{error}");
    let error = read(&app, &layer, 0).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains(&format!("more bytes for {}", layer.digest)), "{error}");
    // A manifest that says more than there is: the stream ends with an error, not with fewer bytes.
    let (_registry, plain, layout) = behind(5000, |_| Fault::Pass).await;
    let mut lie = descriptor(&layout.layers[0], LAYER);
    lie.size += 1;
    let hasty = client(|options| options.registries.max_download_attempts = 2);
    let app = repository(&hasty, &format!("{}/app", plain.host()), Credentials::Anonymous);
    let error = read(&app, &lie, 0).await.unwrap_err();
    assert!(error.message.contains("of 5"), "{error}");
}

/// CVE-2020-15157: credentials were sent to wherever a registry pointed.
#[tokio::test]
async fn cve_2020_15157_credentials_stay_when_we_are_sent_elsewhere() {
    if !tools() {
        return;
    }
    let registry = Registry::start(&Setup { has_htpasswd: true, ..Setup::default() });
    let layout = Layout::new(&[5000], &["amd64"]);
    let creds = format!("--dest-creds={USER}:{PASSWORD}");
    layout.put(&registry.host(), "app:1", &["--dest-tls-verify=false", &creds]);
    let bytes = layout.layers[0].clone();
    // The other host has the bytes and needs no password.
    let open = Registry::plain();
    layout.put(&open.host(), "app:1", &["--dest-tls-verify=false"]);
    let elsewhere = Proxy::start(open.port, |_| Fault::Pass).await;
    let there = elsewhere.host();
    let proxy = Proxy::start(registry.port, move |asked| {
        let location = format!("http://{there}{}", asked.path);
        if asked.is_blob() { say(307, &[("Location", &location)], "") } else { Fault::Pass }
    })
    .await;
    let app = repository(&client(|_| {}), &format!("{}/app", proxy.host()), login());
    let resolved = app.resolve(&tag("1"), None).await.unwrap();
    assert_eq!(read(&app, &resolved.layers[0], 1000).await.unwrap(), bytes.slice(1000..));
    let (here, away) = (proxy.asked(), elsewhere.asked());
    assert!(here.iter().any(|asked| asked.is_blob() && asked.header("authorization").is_some()));
    assert!(!away.is_empty());
    assert!(away.iter().all(|asked| asked.header("authorization").is_none()), "{away:?}");
    assert_eq!(away.last().unwrap().header("range"), Some("bytes=1000-"));
}

#[tokio::test]
async fn a_token_that_died_is_replaced_in_the_middle() {
    if !tools() {
        return;
    }
    let n_granted = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = n_granted.clone();
    let tokens = Proxy::start(0, move |asked| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        match asked.header("authorization") {
            // jan:s3cret
            Some("Basic amFuOnMzY3JldA==") => {
                let keep = if asked.path.contains("offline_token=true") { r#","refresh_token":"kept""# } else { "" };
                say(200, &[], &format!(r#"{{"token":"t{number}","expires_in":3600{keep}}}"#))
            }
            _ if asked.method == "POST" && String::from_utf8_lossy(&asked.body).contains("refresh_token=kept") => {
                say(200, &[], &format!(r#"{{"access_token":"t{number}"}}"#))
            }
            _ => say(401, &[], r#"{"details":"incorrect username or password"}"#),
        }
    })
    .await;
    let realm = format!("http://{}/token", tokens.host());
    // A token is good for three questions, although it was said to live an hour.
    let uses = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    let (_registry, proxy, layout) = behind(100_000, move |asked| {
        let challenge = format!(r#"Bearer realm="{realm}",service="of a test",scope="repository:app:pull""#);
        let refusal = say(401, &[("WWW-Authenticate", &challenge)], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        let Some(token) = asked.header("authorization").filter(|value| value.starts_with("Bearer t")) else {
            return refusal;
        };
        let mut uses = uses.lock().unwrap();
        let n_uses = uses.entry(token.to_owned()).or_default();
        *n_uses += 1;
        match () {
            () if *n_uses > 3 => refusal,
            () if asked.is_blob() => Fault::CutAt(20_000),
            () => Fault::Pass,
        }
    })
    .await;
    let client = client(|_| {});
    let host = proxy.host();
    let app = repository(&client, &format!("{host}/app"), login());
    app.resolve(&tag("1"), None).await.unwrap();
    let layer = descriptor(&layout.layers[0], LAYER);
    assert_eq!(read(&app, &layer, 0).await.unwrap(), layout.layers[0]);
    assert!(n_granted.load(Ordering::SeqCst) >= 2, "one token was good for all");
    assert!(proxy.asked().iter().all(|asked| asked.header("authorization").is_none_or(|it| it.starts_with("Bearer "))));
    assert!(tokens.asked()[0].path.contains("service=of%20a%20test&scope=repository:app:pull&account=jan"));
    let wrong = Credentials::Password { username: USER.to_owned(), password: "wrong".to_owned() };
    let error = repository(&client, &format!("{host}/app"), wrong).resolve(&tag("1"), None).await.unwrap_err();
    assert_eq!(error.class, Class::Unauthorized);
    // A login through the token server gives something to keep in place of the password.
    let auth = RegistryAuth { registry: host.clone(), credentials: login() };
    let kept = client.login(&auth).await.unwrap();
    assert_eq!(kept.as_deref(), Some("kept"));
    let app = repository(&client, &format!("{host}/app"), Credentials::IdentityToken(kept.unwrap()));
    app.resolve(&tag("1"), None).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_was_cut_is_finished() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let n_parts = AtomicUsize::new(0);
    let proxy = Proxy::start(registry.port, move |asked| {
        let is_first = asked.method == "PATCH" && n_parts.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Fault::CutRequestAt(300_000) } else { Fault::Pass }
    })
    .await;
    let bytes = layer(1_500_000);
    let app = app(&proxy);
    let pushed = app.push_blob(&descriptor(&bytes, LAYER), &[], opener(&bytes)).await.unwrap();
    assert_eq!(pushed, BlobPushed::Sent);
    let direct = repository(&client(|_| {}), &format!("{}/app", registry.host()), Credentials::Anonymous);
    assert_eq!(read(&direct, &descriptor(&bytes, LAYER), 0).await.unwrap(), bytes);
    let parts: Vec<_> = proxy.asked().into_iter().filter(|asked| asked.method == "PATCH").collect();
    // This registry throws the upload away ("upload resumed at wrong offset"); that others are gone on with, a scripted one shows.
    assert!(parts.len() >= 2, "the cut had no effect");
    assert_eq!(parts[0].header("content-range"), Some(format!("0-{}", bytes.len() - 1).as_str()));
}

#[tokio::test]
async fn search_asks_docker_hubs_index() {
    let hub = Proxy::start(0, |asked| match asked.path.as_str() {
        "/v1/search?q=deb%20ian&n=2" => say(
            200,
            &[],
            r#"{"num_results":3,"results":[{"name":"debian","description":"An\u001b[2J OS","star_count":5000,"is_official":true},
                {"name":"x/debian","description":null,"star_count":2},{"name":"y/debian","star_count":1}]}"#,
        ),
        _ => say(404, &[], ""),
    })
    .await;
    let client = client(|options| options.hub_index = format!("http://{}", hub.host()));
    let query = |term: &str, limit| orlop::engine::image::SearchImages {
        term: term.to_owned(),
        limit: Some(limit),
        ..Default::default()
    };
    let rows = client.search(&query("library/deb ian", 2)).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].name.as_str(), rows[0].n_stars, rows[0].is_official), ("debian", 5000, true));
    assert_eq!(rows[0].description, "An [2J OS");
    assert_eq!(client.search(&query("", 2)).await.unwrap_err().message, "search term is empty");
    assert!(client.search(&query("x", 101)).await.unwrap_err().message.contains("outside the range"));
}
