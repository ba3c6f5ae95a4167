//! Registries that lie: what a scripted server sends must be refused with one sentence, whatever it is.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::*;
use crate::engine::auth::{Credentials, RegistryAuth};
use crate::engine::error::Class;
use crate::http::script::{Answer, Received, Server};
use crate::oci::image::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::stdx::ids::Digest;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Plain HTTP to a client that tries TLS first: the script never sees that.
async fn serve(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> (Server, Repository) {
    let server = Server::start(script).await;
    let mut options = Options::default();
    options.registries.max_download_attempts = 2;
    let reference = format!("127.0.0.1:{}/app:1", server.port).parse().unwrap();
    let repository = Client::new(options).repository(&reference, Credentials::Anonymous);
    (server, repository)
}

/// Documents by their tag or digest.
async fn serve_documents(documents: Vec<(String, String, Vec<u8>)>) -> (Server, Repository) {
    serve(move |request| {
        let wanted = request.path.rsplit('/').next().unwrap_or_default();
        let found = documents.iter().find(|(name, ..)| name == wanted);
        match found {
            Some((_, kind, body)) => Answer::new(200, body.clone()).header("Content-Type", kind),
            None => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        }
    })
    .await
}

fn described(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).as_str(), "size": bytes.len()})
}

fn manifest(config_type: &str, layers: &[Value]) -> Vec<u8> {
    let config = described(config_type, b"{}");
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).to_string().into_bytes()
}

/// What resolving `1` says of one document.
async fn refusal_of(media_type: &str, body: Vec<u8>) -> RegistryError {
    let (_server, repository) = serve_documents(vec![("1".to_owned(), media_type.to_owned(), body)]).await;
    repository.resolve(&Pick::Tag("1".to_owned()), None).await.unwrap_err()
}

async fn check(media_type: &str, body: impl Into<Vec<u8>>, class: Class, expected: &str) {
    let error = refusal_of(media_type, body.into()).await;
    assert!(error.message.contains(expected), "{expected:?} is not in {:?}", error.message);
    assert_eq!(error.class, class, "{error}");
    assert!(!error.message.contains('\n') && !error.message.ends_with('.'), "{:?}", error.message);
}

#[tokio::test]
async fn what_is_no_image_is_refused_by_name() {
    let schema_1 = r#"{"schemaVersion":1,"name":"app","fsLayers":[]}"#;
    check("application/json", schema_1, Class::Unsupported, "is in docker's schema 1 format").await;
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8";
    check(signed, schema_1, Class::Unsupported, "is in docker's schema 1 format").await;
    let chart = manifest("application/vnd.cncf.helm.config.v1+json", &[]);
    check(OCI_MANIFEST, chart, Class::Invalid, r#"its config is "application/vnd.cncf.helm.config.v1+json""#).await;
    let odd = manifest(OCI_CONFIG, &[described(LAYER, b"1"), described("application/x-\u{1b}odd", b"2")]);
    check(OCI_MANIFEST, odd, Class::Invalid, r#"layer 2 has the unknown media type "application/x- odd""#).await;
    check("text/html", "<html>sign in</html>", Class::Invalid, "invalid").await;
    check(OCI_MANIFEST, "", Class::Invalid, "invalid").await;
    check(OCI_MANIFEST, "[".repeat(100_000), Class::Invalid, "invalid").await;
}

#[tokio::test]
async fn hostile_sizes_are_refused() {
    check(OCI_MANIFEST, vec![b' '; (4 << 20) + 1], Class::Invalid, "larger than 4194304 bytes").await;
    let many: Vec<Value> = (0..501).map(|number: u32| described(LAYER, &number.to_le_bytes())).collect();
    check(OCI_MANIFEST, manifest(OCI_CONFIG, &many), Class::Invalid, "501 layers").await;
    let entries: Vec<Value> = (0..1001).map(|number: u32| described(OCI_MANIFEST, &number.to_le_bytes())).collect();
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    check(OCI_INDEX, index, Class::Invalid, "1001 entries").await;
    let (server, repository) = serve_documents(Vec::new()).await;
    let mut config = descriptor(b"");
    config.size = (8 << 20) + 1;
    let error = repository.config(&config).await.unwrap_err();
    assert!(error.message.contains("too large"), "{error}");
    assert!(server.received().is_empty(), "it was asked for all the same");
}

/// CVE-2021-41190: what an index calls a manifest must be one, of the size that it says.
#[tokio::test]
async fn cve_2021_41190_an_entry_must_be_what_the_index_says() {
    let platform = json!({"os": "linux", "architecture": crate::oci::image::Platform::host().architecture});
    let image = manifest(OCI_CONFIG, &[]);
    let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string().into_bytes();
    let cases = [
        (OCI_MANIFEST, &inner, inner.len(), "which it is not"),
        (DOCKER_MANIFEST, &inner, inner.len(), "which it is not"),
        (OCI_INDEX, &image, image.len(), "which it is not"),
        (DOCKER_LIST, &image, image.len(), "which it is not"),
        (OCI_MANIFEST, &image, image.len() + 1, "the index says"),
    ];
    for (said, below, size, expected) in cases {
        let mut entry = described(said, below);
        entry["platform"] = platform.clone();
        entry["size"] = json!(size);
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
        let below = (Digest::of(below).as_str().to_owned(), said.to_owned(), below.clone());
        let (_server, repository) = serve_documents(vec![("1".into(), OCI_INDEX.into(), index), below]).await;
        let error = repository.resolve(&Pick::Tag("1".to_owned()), None).await.unwrap_err();
        assert!(error.message.contains(expected), "{said}: {error}");
        assert_eq!(error.class, Class::Invalid);
    }
}

#[tokio::test]
async fn indexes_in_indexes_end() {
    let mut documents = Vec::new();
    let mut below = manifest(OCI_CONFIG, &[]);
    let mut kind = OCI_MANIFEST;
    for _ in 0..6 {
        let entry = described(kind, &below);
        documents.push((Digest::of(&below).as_str().to_owned(), kind.to_owned(), below));
        below = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string().into_bytes();
        kind = OCI_INDEX;
    }
    documents.push(("1".to_owned(), OCI_INDEX.to_owned(), below));
    // Three deep is what some tools make; their image is found.
    documents.push(("3".to_owned(), OCI_INDEX.to_owned(), documents[3].2.clone()));
    let (_server, repository) = serve_documents(documents).await;
    let error = repository.resolve(&Pick::Tag("1".to_owned()), None).await.unwrap_err();
    assert!(error.message.contains("more than 3 deep"), "{error}");
    let found = repository.resolve(&Pick::Tag("3".to_owned()), None).await.unwrap();
    assert!(found.index.is_some() && found.layers.is_empty());
}

#[tokio::test]
async fn a_digest_that_the_registry_says_must_be_the_bytes() {
    let body = manifest(OCI_CONFIG, &[]);
    let lie = Digest::of(b"something else");
    let said = lie.as_str().to_owned();
    let (_server, repository) = serve(move |_| {
        Answer::new(200, body.clone()).header("Content-Type", OCI_MANIFEST).header("Docker-Content-Digest", &said)
    })
    .await;
    for pick in [Pick::Tag("1".to_owned()), Pick::Digest(lie)] {
        let error = repository.resolve(&pick, None).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.message.contains(" sent sha256:"), "{error}");
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let (media_type, digest) = (LAYER.to_owned(), Digest::of(bytes));
    Descriptor { media_type, digest, size: bytes.len() as u64, platform: None, annotations: None }
}

#[tokio::test]
async fn ranges_that_make_no_sense_are_not_believed() {
    for wrong in ["bytes 9-19/20", "bytes 5-19/21", "items 5-19/20", ""] {
        let wrong = wrong.to_owned();
        let (_server, repository) = serve(move |request| match request.header("range") {
            Some(_) => Answer::new(206, "zzzzzzzzzzz").header("Content-Range", &wrong),
            None => Answer::new(200, "0123456789abcdefghij"),
        })
        .await;
        let pieces: Vec<Bytes> =
            repository.blob(&descriptor(b"0123456789abcdefghij"), 5).map(Result::unwrap).collect().await;
        assert_eq!(pieces.concat(), b"56789abcdefghij");
    }
}

#[tokio::test]
async fn redirects_end_and_do_not_lose_tls() {
    let (server, repository) =
        serve(|request| Answer::new(307, "").header("Location", &format!("{}x", request.path))).await;
    let error = repository.tags().await.unwrap_err();
    assert!(error.message.contains("from place to place"), "{error}");
    assert_eq!(server.received().len(), 9);
    let (_server, repository) = serve(|_| Answer::new(302, "").header("Location", "gopher://x/")).await;
    assert!(repository.tags().await.unwrap_err().message.contains("invalid address"));
}

#[tokio::test]
async fn lists_come_in_pages_and_end() {
    let (server, repository) = serve(|request| match request.path.as_str() {
        "/v2/app/tags/list?n=1000" => {
            Answer::new(200, r#"{"tags":["a","b"]}"#).header("Link", r#"</v2/app/tags/list?last=b>; rel="next""#)
        }
        "/v2/app/tags/list?last=b" => {
            // Another host is not gone to, and a page without anything new is the last.
            Answer::new(200, r#"{"tags":["c"]}"#)
                .header("Link", r#"<http://far.example/v2/app/tags/list?last=c>; rel="next""#)
        }
        _ => Answer::new(200, r#"{"tags":null}"#).header("Link", r#"</v2/app/tags/list?last=b>; rel="next""#),
    })
    .await;
    assert_eq!(repository.tags().await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_login_never_leaves_tls_and_never_shows() {
    let (server, _) = serve(|_| {
        Answer::new(401, "").header("WWW-Authenticate", r#"Bearer realm="http://tokens.example/t",service="s""#)
    })
    .await;
    // The registry itself has no TLS, so its token server need not have it; the name does not resolve.
    let client = Client::new(Options::default());
    let credentials = Credentials::Password { username: "me".to_owned(), password: "hunter2".to_owned() };
    let strict = super::auth::realm_of(
        &client.hosts,
        &crate::http::Target::Tls { host: "r.example".to_owned(), port: 443 },
        "http://tokens.example/t",
    );
    assert!(strict.err().unwrap().message.contains("has no TLS"));
    for bad in ["", "x", "ftp://a/", "https://me:pw@a/"] {
        let target = crate::http::Target::Tcp { host: "r".to_owned(), port: 80 };
        assert!(super::auth::realm_of(&client.hosts, &target, bad).is_err(), "{bad:?}");
    }
    let host = format!("127.0.0.1:{}", server.port);
    let newline = Credentials::RegistryToken("a\nb".to_owned());
    let error = client.login(&RegistryAuth { registry: host, credentials: newline }).await.unwrap_err();
    assert_eq!(error.message, "the credentials hold characters that cannot be sent");
    assert!(!format!("{credentials:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_push_that_the_registry_stores_under_another_name_is_told() {
    let other = Digest::of(b"other");
    let (server, repository) =
        serve(move |_| Answer::new(201, "").header("Docker-Content-Digest", other.as_str())).await;
    let pick = Pick::Tag("1".to_owned());
    let error = repository.push_manifest(&pick, OCI_MANIFEST, Bytes::from_static(b"{}")).await.unwrap_err();
    assert!(error.message.contains("the registry stored"), "{error}");
    assert_eq!(server.received()[0].body, b"{}");
    let (_server, repository) = serve(|_| Answer::new(202, "")).await;
    let open: Opener = Arc::new(|_| Ok(futures_util::stream::empty().boxed()));
    let error = repository.push_blob(&descriptor(b"x"), &[], open).await.map(drop);
    // HEAD said that it is there; nothing was opened.
    assert!(error.is_ok());
}

/// Distribution specification, "Pushing a blob in chunks": the registry says how far an upload has come, and it goes on from there.
#[tokio::test]
async fn an_upload_that_was_cut_goes_on_from_where_the_registry_stands() {
    const KEPT: usize = 300_000;
    let blob: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let n_parts = std::sync::atomic::AtomicUsize::new(0);
    let (server, repository) = serve(move |request| match request.method.as_str() {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").header("Location", "/v2/app/blobs/uploads/u?state=0"),
        "PATCH" if n_parts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => Answer::new(503, ""),
        "GET" => Answer::new(204, "")
            .header("Location", "/v2/app/blobs/uploads/u?state=1")
            .header("Range", &format!("0-{}", KEPT - 1)),
        "PATCH" => Answer::new(202, "").header("Location", "/v2/app/blobs/uploads/u?state=2"),
        "PUT" => Answer::new(201, ""),
        _ => Answer::new(400, ""),
    })
    .await;
    let bytes = Bytes::from(blob.clone());
    let open: Opener = Arc::new(move |offset| {
        let rest = bytes.slice(usize::try_from(offset).unwrap_or(usize::MAX)..);
        Ok(futures_util::stream::iter([Ok(rest)]).boxed())
    });
    repository.push_blob(&descriptor(&blob), &[], open).await.unwrap();
    let received = server.received();
    let parts: Vec<_> = received.iter().filter(|request| request.method == "PATCH").collect();
    let ranges: Vec<_> = parts.iter().map(|part| part.header("content-range").unwrap_or_default()).collect();
    assert_eq!(ranges, ["0-999999", "300000-999999"]);
    assert!(parts[1].path.contains("state=1"), "{}", parts[1].path);
    assert_eq!(parts[1].body, blob[KEPT..]);
    let end = received.iter().find(|request| request.method == "PUT").unwrap();
    assert!(end.path.contains("state=2") && end.path.contains("digest=sha256:") && end.body.is_empty(), "{}", end.path);
}
