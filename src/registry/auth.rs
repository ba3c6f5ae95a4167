//! Proving who one is: basic, and bearer tokens of a token server (distribution's token specification), kept for each scope until they
//! expire. Called by `call` before a request and after a 401. Credentials go to the registry itself and to the token server that it names,
//! never to a mirror, never along a redirect, and never without TLS unless the registry itself has none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;

use super::call::AGENT;
use super::challenge::Challenge;
use super::error::{Again, RegistryError, Result, shown};
use super::hosts::{Endpoint, Hosts, Kind};
use super::url::{encoded, with_query};
use crate::engine::auth::Credentials;
use crate::engine::error::Class;
use crate::http::{Body, Deadlines, Target};
use crate::stdx::ids::Digest;

/// How token servers know this program.
const CLIENT_ID: &str = "orlop";
/// The largest answer of a token server that is read.
const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// A token that says nothing about its life lives so long (token specification).
const DEFAULT_LIFE_S: u64 = 60;
/// A token is not used in the last part of its life.
const MARGIN: Duration = Duration::from_secs(5);
const TOKEN_DEADLINE: Duration = Duration::from_secs(60);

/// Tokens of this process.
#[derive(Default)]
pub(super) struct Tokens {
    /// A slot for each key; the one who holds it asks, the others wait for the answer.
    slots: Mutex<HashMap<Key, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: String,
    service: String,
    scope: String,
    /// Digest of the credentials: another user's token is another token.
    who: String,
}

#[derive(Clone)]
struct Token {
    value: String,
    until: Instant,
}

/// What a token server says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    pub(super) refresh_token: Option<String>,
}

/// Whether the present token may be used or must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    Any,
    /// The registry has just refused this header.
    NotThis(&'a HeaderValue),
}

impl Tokens {
    /// The `Authorization` header for a request; `None` to send it without.
    pub(super) async fn header(
        &self,
        hosts: &Arc<Hosts>,
        endpoint: &Endpoint,
        credentials: &Credentials,
        scopes: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Option<HeaderValue>> {
        let nobody = Credentials::Anonymous;
        let credentials = if endpoint.kind == Kind::Mirror { &nobody } else { credentials };
        if let Credentials::RegistryToken(token) = credentials {
            return secret(&format!("Bearer {token}")).map(Some);
        }
        match endpoint.challenge() {
            None => Ok(None),
            Some(Challenge::Basic) => match credentials {
                Credentials::Password { username, password } => basic(username, password).map(Some),
                _ => Ok(None),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = if scopes.is_empty() { scope.unwrap_or_default() } else { scopes.join(" ") };
                let key = Key { realm, service: service.unwrap_or_default(), scope, who: fingerprint(credentials) };
                self.bearer(hosts, endpoint, credentials, key, wanted).await.map(Some)
            }
        }
    }

    async fn bearer(
        &self,
        hosts: &Arc<Hosts>,
        endpoint: &Endpoint,
        credentials: &Credentials,
        key: Key,
        wanted: Wanted<'_>,
    ) -> Result<HeaderValue> {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        // Held across the question on purpose: the layers of one image all need the same token at the same moment.
        let mut kept = slot.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.until) {
            let header = secret(&format!("Bearer {}", token.value))?;
            if wanted != Wanted::NotThis(&header) {
                return Ok(header);
            }
        }
        *kept = None;
        let granted = ask(hosts, endpoint, credentials, &key.realm, &key.service, &key.scope, Keep::No).await?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(DEFAULT_LIFE_S).min(24 * 3600));
        let value = granted.token.or(granted.access_token).filter(|token| !token.is_empty()).ok_or_else(|| {
            let message = format!("{}: its token server granted no token", endpoint.target);
            RegistryError::new(Class::Unavailable, &endpoint.target, message)
        })?;
        let header = secret(&format!("Bearer {value}"))?;
        *kept = Some(Token { value, until: Instant::now() + life.saturating_sub(MARGIN.min(life / 10)) });
        Ok(header)
    }
}

/// Whether to ask for a token to keep in place of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    No,
    Identity,
}

/// Asks a token server.
pub(super) async fn ask(
    hosts: &Arc<Hosts>,
    endpoint: &Endpoint,
    credentials: &Credentials,
    realm: &str,
    service: &str,
    scope: &str,
    keep: Keep,
) -> Result<Granted> {
    let (uri, target) = realm_of(hosts, &endpoint.target, realm)?;
    let request = match credentials {
        Credentials::IdentityToken(token) => by_refresh(&uri, service, scope, token)?,
        _ => by_query(&uri, service, scope, credentials, keep)?,
    };
    let pool = hosts.pool(&target).await?;
    let deadlines = Deadlines { idle: Some(TOKEN_DEADLINE), total: Some(TOKEN_DEADLINE) };
    let failed = |error| RegistryError::network(&target, error);
    let answer = pool.request(&target, request, deadlines).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(super::call::refused(&target.to_string(), &head, body).await.into_login(&target, credentials));
    }
    let bytes = body.collect(MAX_TOKEN_BYTES).await.map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("{target}: its answer is no token");
        RegistryError::new(Class::Unavailable, &target, message).because(error)
    })
}

/// Where the token server of `registry` is, when credentials may go there.
pub(super) fn realm_of(hosts: &Hosts, registry: &Target, realm: &str) -> Result<(Uri, Target)> {
    let wrong = |why: &str| {
        let message = format!("{}: its token server {:?} {why}", registry, shown(realm));
        RegistryError::new(Class::Forbidden, registry, message)
    };
    let uri: Uri = realm.parse().map_err(|_| wrong("is no address"))?;
    let target = Target::of(&uri).map_err(|_| wrong("is no address"))?;
    let is_downgrade = matches!((registry, &target), (Target::Tls { .. }, Target::Tcp { .. }));
    if is_downgrade && !hosts.registries.is_insecure(&target.host_header()) {
        return Err(wrong("has no TLS, so no credentials are sent there")
            .hint("name it in insecure-registries if that is meant"));
    }
    Ok((uri, target))
}

fn by_query(uri: &Uri, service: &str, scope: &str, credentials: &Credentials, keep: Keep) -> Result<Request<Body>> {
    let mut uri = uri.clone();
    let add = |uri: &mut Uri, name: &str, value: &str| -> Result<()> {
        *uri = with_query(uri, name, value)?;
        Ok(())
    };
    if !service.is_empty() {
        add(&mut uri, "service", service)?;
    }
    for one in scope.split(' ').filter(|one| !one.is_empty()) {
        add(&mut uri, "scope", one)?;
    }
    let mut authorization = None;
    if let Credentials::Password { username, password } = credentials {
        add(&mut uri, "account", username)?;
        authorization = Some(basic(username, password)?);
    }
    if keep == Keep::Identity {
        add(&mut uri, "client_id", CLIENT_ID)?;
        add(&mut uri, "offline_token", "true")?;
    }
    let mut request = request(Method::GET, &uri, Body::empty())?;
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn by_refresh(uri: &Uri, service: &str, scope: &str, token: &str) -> Result<Request<Body>> {
    let fields = [
        ("grant_type", "refresh_token"),
        ("service", service),
        ("client_id", CLIENT_ID),
        ("scope", scope),
        ("refresh_token", token),
    ];
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let mut request = request(Method::POST, uri, Body::bytes(form.join("&")))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    Ok(request)
}

fn request(method: Method, uri: &Uri, body: Body) -> Result<Request<Body>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Request::builder()
        .method(method)
        .uri(path)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/json")
        .body(body)
        .map_err(|error| RegistryError::new(Class::Invalid, uri, format!("{uri}: not an address")).because(error))
}

pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn secret(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| RegistryError::new(Class::Invalid, "", "the credentials hold characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn fingerprint(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Anonymous => String::new(),
        Credentials::Password { username, password } => {
            Digest::of(format!("p\0{username}\0{password}").as_bytes()).hex().to_owned()
        }
        Credentials::IdentityToken(token) => Digest::of(format!("i\0{token}").as_bytes()).hex().to_owned(),
        Credentials::RegistryToken(token) => Digest::of(format!("r\0{token}").as_bytes()).hex().to_owned(),
    }
}

impl RegistryError {
    /// What a refusal by a token server means.
    fn into_login(self, target: &Target, credentials: &Credentials) -> Self {
        if self.again != Again::No || !matches!(self.class, Class::Unauthorized | Class::Forbidden) {
            return self;
        }
        let message = match credentials {
            Credentials::Anonymous => format!("{target}: it grants nothing without a login"),
            Credentials::Password { username, .. } => {
                format!("{target}: incorrect username or password for {username}")
            }
            _ => format!("{target}: the kept login is no longer taken"),
        };
        Self { class: Class::Unauthorized, message, ..self }
    }
}

/// Whether a status says that the credentials, or their lack, are the matter.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}
