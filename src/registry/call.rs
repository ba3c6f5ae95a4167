//! One question to a registry, and all that may lie between it and an answer: a login, a redirect, an overloaded server, a cut, a mirror that
//! has not got it. Called by every verb of this room. Repeats only what may be repeated; gives up after `max-download-attempts` failures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;

use super::auth::{Tokens, Wanted, is_refusal};
use super::challenge::{self, Challenge};
use super::error::{Again, Code, RegistryError, Result, shown};
use super::hosts::{Endpoint, Host, Hosts, Kind};
use super::url::join;
use crate::engine::auth::Credentials;
use crate::engine::error::Class;
use crate::http::{Body, Deadlines, ResponseBody, Target};

/// How servers know this program.
pub(super) const AGENT: &str = concat!("orlop/", env!("CARGO_PKG_VERSION"));
/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 8;
/// The largest error document that is read.
const MAX_ERROR_BYTES: u64 = 64 << 10;
/// A server that wants to be left alone for longer is not waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(120);
/// The first pause; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

pub(super) type Answer = Response<ResponseBody>;

/// A question that can be asked again.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below `/v2/`, or from the root when it begins with a slash; with its query.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// What a token must allow: `repository:<name>:pull`.
    pub(super) scopes: Vec<String>,
}

impl Call {
    pub(super) fn get(path: impl Into<String>, scope: impl Into<String>) -> Self {
        Self::new(Method::GET, path, scope)
    }

    pub(super) fn new(method: Method, path: impl Into<String>, scope: impl Into<String>) -> Self {
        let scopes = Some(scope.into()).filter(|scope| !scope.is_empty()).into_iter().collect();
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new(), scopes }
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// An answer that was read to its end.
pub(super) struct Fetched {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// Who asks, and with what.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) hosts: Arc<Hosts>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) credentials: Credentials,
    /// What errors name: the image or the host.
    pub(super) subject: String,
    /// Longest silence of a server.
    pub(super) stall: Duration,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Mirrors too.
    Anyone,
    /// The registry alone.
    Owner,
}

impl Caller {
    /// Asks one after the other until one answers with success; then again after a pause, if what failed may pass.
    pub(super) async fn call(&self, host: &Host, ask: Ask, call: &Call) -> Result<(Arc<Endpoint>, Answer)> {
        let mut n_failures = 0;
        loop {
            let endpoints = if ask == Ask::Anyone { host.readers() } else { host.owners() };
            let error = match self.once(&endpoints, call).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            n_failures += 1;
            self.pause(error, n_failures).await?;
        }
    }

    /// The same, with the body read whole; a body that breaks off is a failure like any other.
    pub(super) async fn fetch(&self, host: &Host, ask: Ask, call: &Call, max_bytes: u64) -> Result<Fetched> {
        let mut n_failures = 0;
        loop {
            let (endpoint, answer) = self.call(host, ask, call).await?;
            let (head, body) = answer.into_parts();
            match body.collect(max_bytes).await {
                Ok(bytes) => return Ok(Fetched { endpoint, headers: head.headers, bytes }),
                Err(error) => {
                    endpoint.failed();
                    n_failures += 1;
                    self.pause(RegistryError::network(&self.subject, error), n_failures).await?;
                }
            }
        }
    }

    /// Waits before the next attempt, or gives the error back when there is to be none.
    pub(super) async fn pause(&self, error: RegistryError, n_failures: u32) -> Result<()> {
        let doubled = FIRST_PAUSE.saturating_mul(1 << n_failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
        let pause = match error.again {
            Again::No => return Err(error),
            Again::Soon => doubled,
            Again::After(span) if span > MAX_PATIENCE => {
                return Err(error.hint(format!("it asks to come back in {} s", span.as_secs())));
            }
            Again::After(span) => span.max(doubled),
        };
        if n_failures >= self.hosts.registries.max_download_attempts {
            return Err(error);
        }
        tracing::info!("{}: {error}; again in {} ms", self.subject, pause.as_millis());
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Asks each in turn, without a second time.
    pub(super) async fn once(&self, endpoints: &[Arc<Endpoint>], call: &Call) -> Result<(Arc<Endpoint>, Answer)> {
        let mut first: Option<RegistryError> = None;
        for endpoint in endpoints {
            match self.ask(endpoint, call).await {
                Ok(answer) => return Ok((endpoint.clone(), answer)),
                Err(error) if endpoint.kind == Kind::Mirror => {
                    tracing::warn!("mirror {}: {error}; going on without it", endpoint.base);
                }
                Err(error) => {
                    let is_answer = !endpoint.pool_failed(&error);
                    // Of TLS and plain HTTP, the one that said something beyond "not that way" is told.
                    first = Some(match first {
                        Some(earlier) if !is_answer && earlier.code != Code::PlainHttp => earlier,
                        _ => error,
                    });
                    if is_answer {
                        break;
                    }
                }
            }
        }
        Err(first.unwrap_or_else(|| RegistryError::new(Class::Internal, &self.subject, "no registry to ask")))
    }

    /// One endpoint, success or an error that says what it said.
    pub(super) async fn ask(&self, endpoint: &Endpoint, call: &Call) -> Result<Answer> {
        let uri = self.uri(endpoint, &call.path)?;
        let answer = self.exchange(endpoint, &uri, call, || Body::bytes(call.body.clone())).await?;
        self.success(endpoint, answer).await
    }

    /// `answer`, if its status is a success.
    pub(super) async fn success(&self, endpoint: &Endpoint, answer: Answer) -> Result<Answer> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let error = refused(&endpoint.target.to_string(), &head, body).await;
        if endpoint.kind == Kind::Mirror && error.again != Again::No {
            endpoint.failed();
        }
        Err(error)
    }

    /// The address of a call's path.
    pub(super) fn uri(&self, endpoint: &Endpoint, path: &str) -> Result<Uri> {
        let whole = match path.strip_prefix('/') {
            Some(path) => format!("{}/{path}", endpoint.base),
            None => format!("{}/v2/{path}", endpoint.base),
        };
        whole.parse().map_err(|_| RegistryError::new(Class::Invalid, &self.subject, format!("{whole}: not an address")))
    }

    /// Sends to `uri` with who we are, logs in once more when asked to, and follows redirects of a reading request. The body is made anew for
    /// each time that it is sent.
    pub(super) async fn exchange(
        &self,
        endpoint: &Endpoint,
        uri: &Uri,
        call: &Call,
        body: impl Fn() -> Body,
    ) -> Result<Answer> {
        let mut used = self.header(endpoint, uri, call, Wanted::Any).await?;
        // At most three: not knowing what is asked for, with a token that has died, with a new one.
        for _ in 0..2 {
            let answer = self.follow(endpoint, uri, call, body(), used.as_ref()).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || !self.learn(endpoint, &answer) {
                return Ok(answer);
            }
            let wanted = used.as_ref().map_or(Wanted::Any, Wanted::NotThis);
            let next = self.header(endpoint, uri, call, wanted).await?;
            if next.is_none() || next == used {
                return Ok(answer);
            }
            used = next;
        }
        self.follow(endpoint, uri, call, body(), used.as_ref()).await
    }

    async fn header(
        &self,
        endpoint: &Endpoint,
        uri: &Uri,
        call: &Call,
        wanted: Wanted<'_>,
    ) -> Result<Option<HeaderValue>> {
        if target_of(uri, &self.subject)? != endpoint.target {
            return Ok(None);
        }
        self.tokens.header(&self.hosts, endpoint, &self.credentials, &call.scopes, wanted).await
    }

    /// Remembers what the endpoint asks for; `false` when it asks for nothing that we know.
    fn learn(&self, endpoint: &Endpoint, answer: &Answer) -> bool {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE);
        let found = challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
        let bearer = found.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        match bearer.or(found.first()) {
            Some(challenge) => {
                endpoint.learn(challenge.clone());
                true
            }
            None => false,
        }
    }

    async fn follow(
        &self,
        endpoint: &Endpoint,
        uri: &Uri,
        call: &Call,
        body: Body,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer> {
        let mut answer = self.send(endpoint, uri, call, body, authorization).await?;
        let mut here = uri.clone();
        let is_reading = matches!(call.method, Method::GET | Method::HEAD);
        for _ in 0..MAX_REDIRECTS {
            if !is_reading || !is_redirect(answer.status()) {
                return Ok(answer);
            }
            let Some(location) = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Ok(answer);
            };
            let there = join(&here, location)?;
            self.check_downgrade(&here, &there)?;
            // Who we are is for the registry alone, wherever it sends us (CVE-2020-15157).
            let stays = target_of(&there, &self.subject)? == endpoint.target;
            answer = self.send(endpoint, &there, call, Body::empty(), authorization.filter(|_| stays)).await?;
            here = there;
        }
        let message = format!("{}: it sends us from place to place without end", endpoint.target);
        Err(RegistryError::new(Class::Unavailable, &self.subject, message))
    }

    fn check_downgrade(&self, here: &Uri, there: &Uri) -> Result<()> {
        let (from, to) = (target_of(here, &self.subject)?, target_of(there, &self.subject)?);
        let is_downgrade = matches!((&from, &to), (Target::Tls { .. }, Target::Tcp { .. }));
        if !is_downgrade || self.hosts.registries.is_insecure(&to.host_header()) {
            return Ok(());
        }
        let message = format!("{from}: it sends us to {to}, which has no TLS");
        let mut error = RegistryError::new(Class::Forbidden, &self.subject, message)
            .hint("name that host in insecure-registries if that is meant");
        // It is we who refuse: nobody's login is at fault.
        error.from_network = true;
        Err(error)
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        uri: &Uri,
        call: &Call,
        body: Body,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer> {
        let target = target_of(uri, &self.subject)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut builder = Request::builder().method(call.method.clone()).uri(path).header(USER_AGENT, AGENT);
        for (name, value) in &call.headers {
            builder = builder.header(name, value);
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let request = builder.body(body).map_err(|error| {
            RegistryError::new(Class::Invalid, &self.subject, format!("{uri}: not an address")).because(error)
        })?;
        let is_own = target == endpoint.target;
        let pool = if is_own { endpoint.pool.clone() } else { self.hosts.pool(&target).await? };
        let answer = pool.request(&target, request, Deadlines::idle(self.stall)).await;
        if is_own {
            match &answer {
                Ok(_) => endpoint.answered(),
                Err(_) => endpoint.failed(),
            }
        }
        answer.map_err(|error| RegistryError::network(&self.subject, error))
    }
}

impl Endpoint {
    /// Whether the error is of the connection, so that another way to the same registry may do better.
    fn pool_failed(&self, error: &RegistryError) -> bool {
        matches!(error.class, Class::Unavailable | Class::Timeout) && error.from_network
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn target_of(uri: &Uri, subject: &str) -> Result<Target> {
    Target::of(uri).map_err(|error| RegistryError::network(subject, error))
}

/// The body of an error (distribution specification, "Error Codes").
#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<ErrorEntry>,
    /// Token servers and old registries.
    details: String,
    error: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorEntry {
    code: String,
    message: String,
}

/// What an answer without success says. The caller puts it into terms of what it was doing.
pub(super) async fn refused(peer: &str, head: &Parts, body: ResponseBody) -> RegistryError {
    let status = head.status;
    let text = body.collect(MAX_ERROR_BYTES).await.unwrap_or_default();
    let errors: Errors = serde_json::from_slice(&text).unwrap_or_default();
    let said = match errors.errors.first() {
        Some(first) if first.message.is_empty() => shown(&first.code),
        Some(first) => shown(&first.message),
        None if !errors.details.is_empty() => shown(&errors.details),
        None => shown(errors.error.as_str().unwrap_or_default()),
    };
    let class = match status.as_u16() {
        401 => Class::Unauthorized,
        403 => Class::Forbidden,
        404 => Class::NotFound,
        405 | 415 | 501 => Class::Unsupported,
        400..=499 if status != StatusCode::TOO_MANY_REQUESTS => Class::Invalid,
        _ => Class::Unavailable,
    };
    let again = match status.as_u16() {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => retry_after(head).map_or(Again::Soon, Again::After),
        _ => Again::No,
    };
    let mut error = RegistryError::new(class, peer, sentence(peer, status, &said)).again(again);
    error.status = status.as_u16();
    error.code = errors.errors.first().map_or(Code::Other, |first| Code::of(&first.code));
    if status == StatusCode::TOO_MANY_REQUESTS {
        error = error.hint("log in to be allowed more, or name a mirror in registry-mirrors");
    }
    error
}

fn sentence(peer: &str, status: StatusCode, said: &str) -> String {
    let name = match status {
        StatusCode::TOO_MANY_REQUESTS => "too many requests".to_owned(),
        other if is_refusal(other) => "access denied".to_owned(),
        other => format!("it answered {}", other.as_u16()),
    };
    if said.is_empty() { format!("{peer}: {name}") } else { format!("{peer}: {name}: {said}") }
}

fn retry_after(head: &Parts) -> Option<Duration> {
    pause_of(head.headers.get(RETRY_AFTER)?.to_str().ok()?, jiff::Timestamp::now())
}

/// Seconds or a date (RFC 9110 §10.2.3); a date that is over is no pause at all.
fn pause_of(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let when = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(when.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_said_in_seconds_or_as_a_date() {
        let now: jiff::Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(pause_of(value, now), expected.map(Duration::from_secs), "{value}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("Sat, 05 Nov 1994 08:49:37 GMT", Some(0));
        for wrong in ["", "-1", "1.5", "soon", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            check(wrong, None);
        }
    }
}
