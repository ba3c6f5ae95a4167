//! What we send, as skopeo finds it.

use orlop::engine::auth::Credentials;
use orlop::engine::error::Class;
use orlop::oci::image::{Manifest, OCI_MANIFEST};
use orlop::registry::{BlobPushed, Pick, Repository};

use crate::house::*;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn tag(name: &str) -> Pick {
    Pick::Tag(name.to_owned())
}

#[tokio::test]
async fn what_was_pulled_is_pushed_byte_for_byte() {
    if !tools() {
        return;
    }
    let (from, to) = (Registry::plain(), Registry::start(&Setup { has_htpasswd: true, ..Setup::default() }));
    // One layer goes in one request, the other in parts.
    let layout = Layout::new(&[2_000_000, 10], &["amd64"]);
    layout.put(&from.host(), "app:1", &["--dest-tls-verify=false"]);
    let client = client(|_| {});
    let source = repository(&client, &format!("{}/app", from.host()), Credentials::Anonymous);
    let resolved = source.resolve(&tag("1"), None).await.unwrap();
    let target = repository(&client, &format!("{}/team/app", to.host()), login());
    let config = source.config(&resolved.config).await.unwrap();
    for round in [BlobPushed::Sent, BlobPushed::Existed] {
        for (layer, bytes) in resolved.layers.iter().zip(&layout.layers) {
            assert_eq!(target.push_blob(layer, &[], opener(bytes)).await.unwrap(), round);
        }
        assert_eq!(target.push_blob(&resolved.config, &[], opener(&config)).await.unwrap(), round);
        let document = &resolved.manifest;
        let digest = target.push_manifest(&tag("2"), &document.media_type, document.bytes.clone()).await.unwrap();
        assert_eq!(digest, document.digest);
    }
    let name = format!("docker://{}/team/app:2", to.host());
    let creds = format!("--creds={USER}:{PASSWORD}");
    let raw = skopeo(&["inspect", "--tls-verify=false", &creds, "--raw", &name]);
    assert_eq!(raw.as_bytes(), resolved.manifest.bytes);
    // skopeo reads every blob and verifies it.
    let dir = tempfile::tempdir().unwrap();
    let creds = format!("--src-creds={USER}:{PASSWORD}");
    skopeo(&["copy", "--src-tls-verify=false", &creds, &name, &format!("dir:{}", dir.path().display())]);
    for bytes in &layout.layers {
        let kept = dir.path().join(descriptor(bytes, LAYER).digest.hex());
        assert_eq!(std::fs::read(kept).unwrap(), bytes.as_ref());
    }
}

#[tokio::test]
async fn a_blob_of_a_neighbour_is_mounted() {
    if !tools() {
        return;
    }
    let registry = Registry::plain();
    let layout = Layout::new(&[50_000], &["amd64"]);
    layout.put(&registry.host(), "base:1", &["--dest-tls-verify=false"]);
    let client = client(|_| {});
    let target = repository(&client, &format!("{}/other", registry.host()), Credentials::Anonymous);
    let layer = descriptor(&layout.layers[0], LAYER);
    let from = ["nothing".to_owned(), "base".to_owned()];
    let pushed = target.push_blob(&layer, &from, opener(&layout.layers[0])).await.unwrap();
    assert_eq!(pushed, BlobPushed::Mounted { from: "base".to_owned() });
    assert!(target.has_blob(&layer.digest).await.unwrap());
    let unknown = crate::house::layer(60_000);
    let sent = target.push_blob(&descriptor(&unknown, LAYER), &from, opener(&unknown)).await.unwrap();
    assert_eq!(sent, BlobPushed::Sent);
}

async fn push_manifest_of(target: &Repository, layers: &[bytes::Bytes]) -> Result<(), orlop::registry::RegistryError> {
    let config = bytes::Bytes::from_static(b"{}");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: descriptor(&config, orlop::oci::image::OCI_CONFIG),
        layers: layers.iter().map(|bytes| descriptor(bytes, LAYER)).collect(),
        annotations: None,
    };
    target.push_blob(&manifest.config, &[], opener(&config)).await?;
    let bytes = serde_json::to_vec(&manifest).unwrap();
    target.push_manifest(&tag("1"), OCI_MANIFEST, bytes.into()).await.map(drop)
}

#[tokio::test]
async fn refusals_of_a_push_are_said() {
    if !tools() {
        return;
    }
    let open = Registry::plain();
    let client = client(|_| {});
    let target = repository(&client, &format!("{}/app", open.host()), Credentials::Anonymous);
    let error = push_manifest_of(&target, &[layer(10)]).await.unwrap_err();
    assert_eq!(error.message, format!("{}/app: the registry lacks a blob that the manifest names", open.host()));
    // Other bytes than the digest's, of the right number.
    let lie = descriptor(&layer(10), LAYER);
    let wrong = bytes::Bytes::from(vec![b'x'; usize::try_from(lie.size).unwrap()]);
    let error = target.push_blob(&lie, &[], opener(&wrong)).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.message.contains("other bytes than the digest's"), "{error}");
    let closed = Registry::start(&Setup { has_htpasswd: true, ..Setup::default() });
    let target = repository(&client, &format!("{}/app", closed.host()), Credentials::Anonymous);
    let error = push_manifest_of(&target, &[]).await.unwrap_err();
    assert_eq!(error.class, Class::Unauthorized);
    assert_eq!(error.message, format!("push to {}/app denied: this login may not write there", closed.host()));
    assert_eq!(error.hint, Some(format!("log in with: orlop login {}", closed.host())));
}
