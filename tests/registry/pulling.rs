//! What a registry has, as we see it and as skopeo does.

use orlop::engine::auth::Credentials;
use orlop::engine::error::Class;
use orlop::engine::image::SearchImages;
use orlop::registry::Pick;
use orlop::stdx::ids::Digest;

use crate::house::*;

fn tag(name: &str) -> Pick {
    Pick::Tag(name.to_owned())
}

#[tokio::test]
async fn an_image_is_what_skopeo_says_it_is() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let layout = Layout::new(&[300_000, 10], &["amd64"]);
    layout.put(&registry.host(), "team/app:1", &["--dest-tls-verify=false"]);
    let client = client(|_| {});
    let repository = repository(&client, &format!("{}/team/app:1", registry.host()), Credentials::Anonymous);
    let resolved = repository.resolve(&tag("1"), None).await.unwrap();
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{}/team/app:1", registry.host())]);
    assert_eq!(resolved.manifest.bytes, raw.as_bytes());
    assert_eq!(resolved.digest(), &Digest::of(raw.as_bytes()));
    assert_eq!(repository.head(&tag("1")).await.unwrap().digest.as_ref(), Some(resolved.digest()));
    let config = repository.config(&resolved.config).await.unwrap();
    assert!(String::from_utf8_lossy(&config).contains("diff_ids"));
    for (layer, expected) in resolved.layers.iter().zip(&layout.layers) {
        assert_eq!(read(&repository, layer, 0).await.unwrap(), expected);
        assert_eq!(read(&repository, layer, 7).await.unwrap(), expected.slice(7..));
        assert!(read(&repository, layer, layer.size).await.unwrap().is_empty());
    }
    let pinned = Pick::Digest(resolved.digest().clone());
    assert_eq!(repository.resolve(&pinned, None).await.unwrap().manifest, resolved.manifest);
}

#[tokio::test]
async fn the_right_image_of_an_index_is_found() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let layout = Layout::new(&[1000], &["amd64", "arm64", "s390x"]);
    layout.put(&registry.host(), "multi:latest", &["--dest-tls-verify=false"]);
    let client = client(|_| {});
    let name = format!("{}/multi", registry.host());
    let repository = repository(&client, &name, Credentials::Anonymous);
    let arm = "linux/arm64".parse().unwrap();
    let resolved = repository.resolve(&tag("latest"), Some(&arm)).await.unwrap();
    let config = repository.config(&resolved.config).await.unwrap();
    assert!(String::from_utf8_lossy(&config).contains("arm64"));
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}:latest")]);
    assert_eq!(resolved.digest(), &Digest::of(raw.as_bytes()));
    assert_ne!(resolved.digest(), &resolved.manifest.digest);
    let missing = repository.resolve(&tag("latest"), Some(&"linux/riscv64".parse().unwrap())).await.unwrap_err();
    assert_eq!(missing.class, Class::NotFound);
    assert_eq!(missing.message, format!("no matching manifest for linux/riscv64 in {name}:latest"));
    assert_eq!(missing.hint.as_deref(), Some("it is there for linux/amd64, linux/arm64, linux/s390x"));
    // Without an index, the config says what the image is for.
    let single = Layout::new(&[1000], &["amd64"]);
    single.put(&registry.host(), "single:1", &["--dest-tls-verify=false"]);
    let repository = crate::house::repository(&client, &format!("{}/single", registry.host()), Credentials::Anonymous);
    let missing = repository.resolve(&tag("1"), Some(&arm)).await.unwrap_err();
    assert_eq!(missing.hint.as_deref(), Some("it is there for linux/amd64"));
}

#[tokio::test]
async fn typos_are_answered_with_what_is_near() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let layout = Layout::new(&[10], &["amd64"]);
    for name in ["debian:bookworm", "debian:trixie", "tools/editor:1"] {
        layout.put(&registry.host(), name, &["--dest-tls-verify=false"]);
    }
    let client = client(|_| {});
    let host = registry.host();
    let ask = async |name: &str, wanted: &str| {
        let repository = repository(&client, &format!("{host}/{name}"), Credentials::Anonymous);
        let error = repository.resolve(&tag(wanted), None).await.unwrap_err();
        (error.message.clone(), error.hint.clone().unwrap_or_default())
    };
    let near = ask("debian", "bokworm").await;
    assert_eq!(near.0, format!("manifest for {host}/debian:bokworm not found: manifest unknown"));
    assert_eq!(near.1, format!("did you mean {host}/debian:bookworm?"));
    let far = ask("debian", "12").await;
    assert!(far.1.starts_with(&format!("{host}/debian has 2 tags, among them ")), "{far:?}");
    let name = ask("tools/editr", "1").await;
    assert_eq!(name.1, format!("did you mean {host}/tools/editor?"));
}

#[tokio::test]
async fn tags_catalog_and_search() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let layout = Layout::new(&[10], &["amd64"]);
    for name in ["a/debian-slim:1", "a/debian-slim:2", "b/nginx:1", "debian:x"] {
        layout.put(&registry.host(), name, &["--dest-tls-verify=false"]);
    }
    let client = client(|_| {});
    let host = registry.host();
    let mut tags = repository(&client, &format!("{host}/a/debian-slim"), Credentials::Anonymous).tags().await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);
    let all = client.catalog(&host, &Credentials::Anonymous, 100).await.unwrap();
    assert_eq!(all, ["a/debian-slim", "b/nginx", "debian"]);
    assert_eq!(client.catalog(&host, &Credentials::Anonymous, 2).await.unwrap().len(), 2);
    let query = SearchImages { term: format!("{host}/debian"), ..SearchImages::default() };
    let found: Vec<_> = client.search(&query).await.unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(found, [format!("{host}/a/debian-slim"), format!("{host}/debian")]);
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_fallen_back_from() {
    if !tools() {
        return;
    }
    let hub = Registry::plain();
    let layout = Layout::new(&[5000], &["amd64"]);
    layout.put(&hub.host(), "library/app:1", &["--dest-tls-verify=false"]);
    let through = Registry::start(&Setup { mirror_of: Some(hub.url()), ..Setup::default() });
    let empty = Registry::plain();
    // Nobody listens on the first, the second has nothing, the third passes through.
    let dead = format!("http://127.0.0.1:{}", free_port());
    let client = client(|options| {
        options.hub = hub.url();
        options.registries = mirrors(&[dead, empty.url(), through.url()]);
    });
    let app = repository(&client, "app:1", Credentials::Anonymous);
    let resolved = app.resolve(&tag("1"), None).await.unwrap();
    assert_eq!(read(&app, &resolved.layers[0], 0).await.unwrap(), layout.layers[0]);
    // It came through the third: that one keeps what it passed on.
    let kept = through.dir.path().join("data/docker/registry/v2/repositories/library/app");
    assert!(kept.exists(), "{} is not there", kept.display());
    let direct = app.without_mirrors();
    assert_eq!(read(&direct, &resolved.layers[0], 0).await.unwrap(), layout.layers[0]);
    drop(through);
    assert_eq!(app.resolve(&tag("1"), None).await.unwrap().manifest, resolved.manifest);
}

/// A port on which nobody listened a moment ago; ports of bound sockets are not given out again while the socket lives.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
