//! Certificates and passwords, theirs and ours.

use orlop::engine::auth::{Credentials, RegistryAuth};
use orlop::engine::error::Class;
use orlop::http::Proxies;
use orlop::registry::{Client, Options, Pick, RegistryError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::house::*;
use crate::proxy::{Fault, Outgoing, Proxy};

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

/// A proxy that is reached by TLS itself: tunnels to registries with TLS, plain requests to the others.
#[tokio::test]
async fn a_proxy_may_speak_tls_itself() {
    if !tools() {
        return;
    }
    let authority = Authority::new();
    let proxy = Outgoing::start_as(Some(&authority.issue("127.0.0.1", |_| {}))).await;
    assert!(proxy.url().starts_with("https://"));
    let tls = Some(authority.issue("registry.example", |_| {}));
    let (closed, plain) = (Registry::start(&Setup { tls, ..Setup::default() }), Registry::plain());
    let dir = tempfile::tempdir().unwrap();
    for registry in [&closed, &plain] {
        let host = far(registry);
        let unknown = tags(&client_through(&proxy, |_| {}), &host).await.unwrap_err();
        let expected = format!("127.0.0.1:{}: its certificate is signed by an unknown authority", proxy.port);
        assert_eq!(unknown.message, expected, "the proxy is verified");
        let certs_dirs = certs(dir.path(), &host, &[("ca.crt", &authority.pem())]);
        let trusting = client_through(&proxy, |options| {
            options.certs_dirs = certs_dirs;
            options.registries.insecure_registries = vec![far(&plain)];
        });
        assert_eq!(tags(&trusting, &host).await.unwrap_err().class, Class::NotFound);
    }
    let asked = proxy.asked();
    let (tunnel, request) =
        (format!("CONNECT {} ", far(&closed)), format!("GET http://{}/v2/app/tags/list", far(&plain)));
    assert!(asked.iter().any(|line| line.starts_with(&tunnel)), "{asked:?}");
    assert!(asked.iter().any(|line| line.starts_with(&request)), "{asked:?}");
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_not_followed() {
    if !tools() {
        return;
    }
    let outgoing = Outgoing::start().await;
    let authority = Authority::new();
    let layout = Layout::new(&[5000], &["amd64"]);
    let open = Registry::plain();
    layout.put(&open.host(), "app:1", &["--dest-tls-verify=false"]);
    let there = far(&open);
    let location = format!("http://{there}");
    let identity = authority.issue("registry.example", |_| {});
    let registry = Proxy::start_as(Some(&identity), open.port, move |asked| {
        let location = format!("{location}{}", asked.path);
        match asked.is_blob() {
            true => Fault::Say(307, vec![("Location".to_owned(), location)], String::new()),
            false => Fault::Pass,
        }
    })
    .await;
    let here = format!("registry.example:{}", registry.port);
    let dir = tempfile::tempdir().unwrap();
    let certs_dirs = certs(dir.path(), &here, &[("ca.crt", &authority.pem())]);
    let strict = client_through(&outgoing, |options| options.certs_dirs = certs_dirs.clone());
    let app = repository(&strict, &format!("{here}/app"), Credentials::Anonymous);
    let layer = app.resolve(&Pick::Tag("1".to_owned()), None).await.unwrap().layers.remove(0);
    let error = read(&app, &layer, 0).await.unwrap_err();
    assert_eq!(error.class, Class::Forbidden);
    assert!(error.message.contains(&format!("it sends us to {there}, which has no TLS")), "{error}");
    assert!(error.hint.unwrap().contains("insecure-registries"));
    let plainly = format!("GET http://{there}");
    assert!(!outgoing.asked().iter().any(|line| line.starts_with(&plainly)), "{:?}", outgoing.asked());
    // Somebody who means it says so.
    let lax = client_through(&outgoing, |options| {
        options.certs_dirs = certs_dirs;
        options.registries.insecure_registries = vec![there.clone()];
    });
    let app = repository(&lax, &format!("{here}/app"), Credentials::Anonymous);
    assert_eq!(read(&app, &layer, 0).await.unwrap(), layout.layers[0]);
}

/// What docker's helpers are to the program: `get`, `store` and `erase` on stdin, found on PATH.
const HELPER: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$1" >>"$here/verbs"
case "$1" in
store) cat >"$here/kept" ;;
get)
  read -r server || true
  if [ -e "$here/kept" ] && grep -q "\"$server\"" "$here/kept"; then cat "$here/kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$here/kept" ;;
esac
"#;

#[test]
fn a_credential_helper_keeps_what_login_learns() {
    if !tools() {
        return;
    }
    let registry = Registry::start(&Setup { has_htpasswd: true, ..Setup::default() });
    let host = registry.host();
    let dir = tempfile::tempdir().unwrap();
    let helper = dir.path().join("docker-credential-oftest");
    crate::program::write(&helper, HELPER);
    let config = dir.path().join("config.json");
    std::fs::write(&config, r#"{"credsStore":"oftest"}"#).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let orlop = |words: &[&str], input: &str| {
        use std::io::Write;
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_orlop"));
        command.args(words).env("PATH", &path).env("DOCKER_CONFIG", dir.path());
        command.env("ORLOP_ROOT", dir.path().join("root")).env("ORLOP_RUN", dir.path().join("run"));
        command.env("XDG_CONFIG_HOME", dir.path().join("config"));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let kept = dir.path().join("kept");
    let (is_ok, said) = orlop(&["login", "-u", USER, "--password-stdin", &host], "wrong");
    assert!(!is_ok && !kept.exists(), "{said}");
    let (is_ok, said) = orlop(&["login", "-u", USER, "--password-stdin", &host], PASSWORD);
    assert!(is_ok && said.contains("Login Succeeded"), "{said}");
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(stored, serde_json::json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD}));
    assert!(!std::fs::read_to_string(&config).unwrap().contains("auth\""), "nothing of it in the file");
    // What needs a login asks the helper.
    let (is_ok, said) = orlop(&["search", &format!("{host}/nothing")], "");
    assert!(is_ok, "{said}");
    let (is_ok, said) = orlop(&["logout", &host], "");
    assert!(is_ok && !kept.exists(), "{said}");
    let (is_ok, said) = orlop(&["search", &format!("{host}/nothing")], "");
    assert!(!is_ok, "{said}");
    let verbs = std::fs::read_to_string(dir.path().join("verbs")).unwrap();
    for verb in ["store", "get", "erase"] {
        assert!(verbs.lines().any(|line| line == verb), "{verb} was never asked for: {verbs}");
    }
}
