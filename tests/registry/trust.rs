//! Certificates and passwords, theirs and ours.

use orlop::engine::auth::{Credentials, RegistryAuth};
use orlop::engine::error::Class;
use orlop::http::Proxies;
use orlop::registry::{Client, Options, Pick, RegistryError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::house::*;
use crate::proxy::Outgoing;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A name that is not loopback by its looks, so that nothing is insecure by itself; the outgoing proxy leads it here.
fn far(registry: &Registry) -> String {
    format!("registry.example:{}", registry.port)
}

/// A client behind the proxy.
fn client_through(proxy: &Outgoing, change: impl FnOnce(&mut Options)) -> Client {
    let url = proxy.url();
    let proxies = Proxies::new(Some(&url), Some(&url), "").unwrap();
    client(|options| {
        options.proxies = proxies;
        change(options);
    })
}

async fn tags(client: &Client, host: &str) -> Result<Vec<String>, RegistryError> {
    repository(client, &format!("{host}/app"), Credentials::Anonymous).tags().await
}

#[tokio::test]
async fn certs_d_gives_authorities_and_client_certificates() {
    if !tools() {
        return;
    }
    let proxy = Outgoing::start().await;
    let authority = Authority::new();
    let tls = Some(authority.issue("registry.example", |_| {}));
    let registry = Registry::start(&Setup { tls, client_authority: Some(authority.pem()), ..Setup::default() });
    let host = far(&registry);
    let dir = tempfile::tempdir().unwrap();
    let ca = authority.pem();
    let nothing = tags(&client_through(&proxy, |_| {}), &host).await.unwrap_err();
    assert_eq!(nothing.message, format!("{host}: its certificate is signed by an unknown authority"));
    assert!(nothing.hint.unwrap().contains("certs.d"));
    let trusting = client_through(&proxy, |options| options.certs_dirs = certs(dir.path(), &host, &[("ca.crt", &ca)]));
    let asked = tags(&trusting, &host).await.unwrap_err();
    assert!(asked.message.contains("client certificate"), "{asked}");
    let (chain, key) = authority.issue("me", |_| {});
    let known = client_through(&proxy, |options| {
        options.certs_dirs = certs(dir.path(), &host, &[("me.cert", &chain), ("me.key", &key)]);
    });
    // It lets us in; that it has no such repository is another matter.
    assert_eq!(tags(&known, &host).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn each_certificate_problem_has_its_sentence() {
    if !tools() {
        return;
    }
    let proxy = Outgoing::start().await;
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let check = async |name: &str, change: fn(&mut CertificateParams), expected: &str| {
        let tls = Some(authority.issue(name, change));
        let registry = Registry::start(&Setup { tls, ..Setup::default() });
        let host = far(&registry);
        let certs_dirs = certs(dir.path(), &host, &[("ca.crt", &authority.pem())]);
        let error = tags(&client_through(&proxy, |options| options.certs_dirs = certs_dirs), &host).await.unwrap_err();
        assert_eq!(error.message, format!("{host}: its certificate {expected}"));
        // Named as insecure, it is taken all the same.
        let insecure = client_through(&proxy, |options| options.registries.insecure_registries = vec![host.clone()]);
        assert_eq!(tags(&insecure, &host).await.unwrap_err().class, Class::NotFound);
    };
    check("registry.example", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1), "has expired").await;
    check("other.example", |_| {}, "is for other.example, not for this host").await;
}

#[tokio::test]
async fn plain_http_needs_to_be_allowed() {
    if !tools() {
        return;
    }
    let proxy = Outgoing::start().await;
    let registry = Registry::plain();
    let host = far(&registry);
    let refused = tags(&client_through(&proxy, |_| {}), &host).await.unwrap_err();
    assert_eq!(refused.message, format!("{host}: it speaks plain HTTP, not TLS"));
    assert!(refused.hint.unwrap().contains("insecure-registries"));
    let allowed = client_through(&proxy, |options| options.registries.insecure_registries = vec![host.clone()]);
    assert_eq!(tags(&allowed, &host).await.unwrap_err().class, Class::NotFound);
    assert!(proxy.asked().iter().any(|line| line.starts_with("CONNECT registry.example:")), "{:?}", proxy.asked());
    assert!(proxy.asked().iter().any(|line| line.starts_with("GET http://registry.example:")), "{:?}", proxy.asked());
    // Loopback by its address is insecure by itself, as docker has it.
    assert_eq!(tags(&client(|_| {}), &registry.host()).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn passwords_open_what_htpasswd_closes() {
    if !tools() {
        return;
    }
    let registry = Registry::start(&Setup { has_htpasswd: true, ..Setup::default() });
    let host = registry.host();
    let layout = Layout::new(&[2000], &["amd64"]);
    let creds = format!("--dest-creds={USER}:{PASSWORD}");
    layout.put(&host, "app:1", &["--dest-tls-verify=false", &creds]);
    let client = client(|_| {});
    let name = format!("{host}/app:1");
    let wrong = Credentials::Password { username: USER.to_owned(), password: "wrong".to_owned() };
    let pick = Pick::Tag("1".to_owned());
    let nobody = repository(&client, &name, Credentials::Anonymous).resolve(&pick, None).await.unwrap_err();
    assert_eq!(nobody.class, Class::Unauthorized);
    assert_eq!(nobody.message, format!("access to {host}/app denied: it does not exist or needs a login"));
    assert_eq!(nobody.hint, Some(format!("log in with: orlop login {host}")));
    let somebody = repository(&client, &name, wrong.clone()).resolve(&pick, None).await.unwrap_err();
    assert_eq!(
        somebody.message,
        format!("access to {host}/app denied: it does not exist or is not open to this login")
    );
    assert!(!format!("{somebody:?}").contains("wrong"), "{somebody:?}");
    let us = repository(&client, &name, login());
    let resolved = us.resolve(&pick, None).await.unwrap();
    assert_eq!(read(&us, &resolved.layers[0], 0).await.unwrap(), layout.layers[0]);
    let auth = |credentials| RegistryAuth { registry: host.clone(), credentials };
    assert_eq!(client.login(&auth(login())).await.unwrap(), None);
    let refused = client.login(&auth(wrong)).await.unwrap_err();
    assert_eq!(refused.message, format!("login to {host} denied: incorrect username or password"));
    assert!(client.catalog(&host, &Credentials::Anonymous, 9).await.unwrap_err().message.contains("not open"));
    assert_eq!(client.catalog(&host, &login(), 9).await.unwrap(), ["app"]);
}
