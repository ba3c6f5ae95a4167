//! The connection to one daemon: which version is spoken, requests with deadlines, refusals as errors. Called by every verb of `remote`.
//! Connections are `http`'s to keep. A call that cannot connect makes the next one agree on the version again: the daemon may be another by then.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant as Moment};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::{FutureExt, StreamExt};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::ask::{Ask, Payload};
use super::dial::{self, CUT, STRANGER};
use super::execs::Known;
use super::wait::Gate;
use crate::api::compat::{self, ApiVersion, Family, Feature};
use crate::api::error;
use crate::api::json::{self, BadJson};
use crate::api::read::Read;
use crate::api::routes::Call;
use crate::config::host::Endpoint;
use crate::engine::{BoxStream, Class, EngineError, Result};
use crate::http::{Body, Deadlines, Duplex, HttpError, Pool, ResponseBody, Target};

/// The most JSON that is read of one answer: thousands of containers, and no more of a daemon that lies.
const MAX_JSON: u64 = 64 << 20;
/// The most memory that an answer may take once it is read: `[0,0,…]` grows to forty times its length.
pub(super) const MAX_READ: usize = 256 << 20;
/// The most that is read of a refusal.
const MAX_REFUSAL: u64 = 64 << 10;
/// Until a daemon says which version it speaks.
const HELLO: Duration = Duration::from_secs(30);
/// What Go's servers answer to plain HTTP where they speak TLS (net/http, server.go).
const HTTP_TO_HTTPS: &[u8] = b"sent an HTTP request to an HTTPS server.\n";
/// As long as a stream may last.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What the daemon is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) version: ApiVersion,
    pub(super) family: Family,
}

/// The question who is there, with as many askers as there are.
type Hello = Shared<BoxFuture<'static, Result<Peer>>>;

/// One daemon.
pub(super) struct Link {
    endpoint: Endpoint,
    target: Target,
    pool: Pool,
    /// No answer is waited for longer than this.
    longest: Duration,
    /// As shown in sentences.
    name: String,
    peer: Mutex<Option<Peer>>,
    /// The question for the version while it is under way.
    hello: Mutex<Option<WeakShared<BoxFuture<'static, Result<Peer>>>>>,
    own: Weak<Self>,
    /// Keeps starts behind waits that are on their way.
    pub(super) gate: Gate,
    /// Exec sessions made here.
    pub(super) execs: Known,
}

/// An answer whose body has not been read.
pub(super) struct Opened {
    pub(super) headers: HeaderMap,
    pub(super) body: BoxStream<Bytes>,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint, longest: Duration) -> Result<Arc<Self>> {
        let (mut dialer, target) = dial::route(&endpoint)?;
        dialer.deadline = dialer.deadline.min(longest);
        Ok(Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            name: endpoint.to_string(),
            target,
            pool: Pool::new(dialer),
            longest,
            endpoint,
            peer: Mutex::default(),
            hello: Mutex::default(),
            gate: Gate::default(),
            execs: Known::default(),
        }))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How long to wait where `usual` is the rule.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        usual.min(self.longest)
    }

    /// The same for a whole answer.
    fn within(&self, usual: Duration) -> Deadlines {
        Deadlines { idle: None, total: Some(self.patience(usual.min(YEAR))) }
    }

    /// Who is there, asked once for as long as connections can be made.
    pub(super) async fn peer(&self) -> Result<Peer> {
        if let Some(peer) = self.known_peer() {
            return Ok(peer);
        }
        self.hello().await
    }

    /// One question for all who want to know at the same time. Whoever of them is polled drives it, so that one who is not (a stream that nobody
    /// reads) holds up no other; it ends with the last of them.
    fn hello(&self) -> Hello {
        let mut asked = self.hello.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hello) = asked.as_ref().and_then(WeakShared::upgrade).filter(|hello| hello.peek().is_none()) {
            return hello;
        }
        let own = Weak::clone(&self.own);
        let name = self.name.clone();
        let hello = async move {
            let Some(link) = own.upgrade() else {
                return Err(EngineError::new(Class::Unavailable, &name, format!("{name} was left")).with_hint(CUT));
            };
            let peer = timeout(link.patience(HELLO), link.ask_who()).await;
            let peer = peer.unwrap_or_else(|_| Err(dial::silent(&link.endpoint)))?;
            *link.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
            tracing::info!("{}: {} speaks API {}", link.name, peer.family.as_str(), peer.version);
            Ok(peer)
        };
        let hello: Hello = hello.boxed().shared();
        *asked = hello.downgrade();
        hello
    }

    /// Whether the daemon's version has something.
    pub(super) async fn has(&self, feature: Feature) -> Result<bool> {
        Ok(self.peer().await?.version.has(feature))
    }

    /// # Errors
    /// `Unsupported` when the daemon's version has not got it.
    pub(super) async fn need(&self, feature: Feature) -> Result<()> {
        let peer = self.peer().await?;
        if peer.version.has(feature) {
            return Ok(());
        }
        let (name, what, version) = (&self.name, feature.name(), peer.version);
        Err(EngineError::unsupported(format!("{name}: {what} needs a newer daemon: it speaks API {version}"))
            .with_hint("update the daemon, or do it on another host"))
    }

    /// Whether it is known who is there.
    pub(super) fn is_met(&self) -> bool {
        self.known_peer().is_some()
    }

    fn known_peer(&self) -> Option<Peer> {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_who(&self) -> Result<Peer> {
        let answer = self.exchange("/_ping", Ask::new(Call::Ping), self.within(HELLO)).await?;
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let newest = text("api-version").and_then(|version| ApiVersion::parse(&version));
        let family = text("server").map_or(Family::Other, |server| Family::of(&server));
        let (status, kind) =
            (answer.status().as_u16(), text("content-type").unwrap_or_else(|| "no content type".to_owned()));
        let said = self.whole(answer, MAX_REFUSAL).await?;
        if status == 400 && said.ends_with(HTTP_TO_HTTPS) {
            let message = format!("{} speaks TLS, not plain HTTP", self.name);
            return Err(EngineError::new(Class::Invalid, &self.name, message)
                .with_hint("set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the directory of its certificates"));
        }
        if let Some(newest) = newest.filter(|newest| *newest <= compat::NEWEST) {
            return self.agreed(newest, None, family);
        }
        // A daemon that does not say, or one newer than this program: its own words on what it still understands.
        let stranger = || {
            let kind = error::one_line(&kind);
            let message =
                format!("{} does not answer as a docker daemon does: HTTP status {status}, {kind}", self.name);
            EngineError::new(Class::Internal, &self.name, message).with_hint(STRANGER)
        };
        let answer = self.exchange("/version", Ask::new(Call::Version), self.within(HELLO)).await?;
        let bytes = self.whole(answer, MAX_REFUSAL).await.map_err(|_| stranger())?;
        let doc = json::parse(&bytes, MAX_READ).map_err(|_| stranger())?;
        let said = |key: &str| doc.some_text(key).and_then(|version| ApiVersion::parse(&version));
        let newest = newest.or_else(|| said("ApiVersion")).ok_or_else(stranger)?;
        self.agreed(newest, said("MinAPIVersion"), family)
    }

    fn agreed(&self, newest: ApiVersion, oldest: Option<ApiVersion>, family: Family) -> Result<Peer> {
        match compat::agree(newest, oldest) {
            Ok(version) => Ok(Peer { version, family }),
            Err(why) => Err(EngineError::unsupported(format!("{}: {why}", self.name))
                .with_hint("update the daemon: docker 1.12 of 2016 is the first that will do")),
        }
    }

    /// Asks, and reads the answer as JSON; an empty answer is null.
    pub(super) async fn json(&self, ask: Ask) -> Result<Value> {
        let bytes = self.bytes(ask).await?;
        self.parse(&bytes)
    }

    /// Asks for a list; null is an empty one. What is no list would else be taken for "there are none".
    pub(super) async fn rows(&self, ask: Ask) -> Result<Value> {
        let doc = self.json(ask).await?;
        if doc.is_array() || doc.is_null() { Ok(doc) } else { Err(self.strange("something that is no list")) }
    }

    /// Asks for an object.
    pub(super) async fn object(&self, ask: Ask) -> Result<Value> {
        let doc = self.json(ask).await?;
        if doc.is_object() { Ok(doc) } else { Err(self.strange("nothing that was asked for")) }
    }

    /// The same, and the text as it came.
    pub(super) async fn raw_object(&self, ask: Ask) -> Result<(Value, Option<Box<RawValue>>)> {
        let bytes = self.bytes(ask).await?;
        let doc = self.parse(&bytes)?;
        if !doc.is_object() {
            return Err(self.strange("nothing that was asked for"));
        }
        Ok((doc, serde_json::from_slice(&bytes).ok()))
    }

    /// Asks where only success matters.
    pub(super) async fn done(&self, ask: Ask) -> Result<()> {
        self.bytes(ask).await.map(drop)
    }

    /// Asks where only the head matters.
    pub(super) async fn head(&self, ask: Ask) -> Result<HeaderMap> {
        let deadlines = Deadlines::idle(self.patience(ask.patience));
        let answer = self.accepted(ask, deadlines).await?;
        let headers = answer.headers().clone();
        self.whole(answer, MAX_REFUSAL).await?;
        Ok(headers)
    }

    /// Asks with an archive: as long as it moves, it may take its time.
    pub(super) async fn done_archive(&self, ask: Ask) -> Result<()> {
        let deadlines = Deadlines::idle(self.patience(ask.patience));
        let answer = self.accepted(ask, deadlines).await?;
        self.whole(answer, MAX_REFUSAL).await.map(drop)
    }

    async fn bytes(&self, ask: Ask) -> Result<Bytes> {
        let deadlines = self.within(ask.patience);
        let answer = self.accepted(ask, deadlines).await?;
        self.whole(answer, MAX_JSON).await
    }

    /// Asks for a stream: the deadline is for its head alone.
    pub(super) async fn open(&self, ask: Ask) -> Result<Opened> {
        // What has no deadline by its nature (`wait`) gets none from whoever is in a hurry either.
        let patience = if ask.patience == Duration::MAX { YEAR } else { self.patience(ask.patience) };
        let accepted = self.accepted(ask, Deadlines::NONE);
        let answer = timeout(patience, accepted).await.unwrap_or_else(|_| Err(dial::silent(&self.endpoint)))?;
        let (head, body) = answer.into_parts();
        let endpoint = self.endpoint.clone();
        let body = body.map(move |piece| piece.map_err(|error| dial::explain(&endpoint, error)));
        Ok(Opened { headers: head.headers, body: Box::pin(body) })
    }

    /// Asks for a stream in which a long silence is the end: archives, and whatever is there already.
    pub(super) async fn open_archive(&self, ask: Ask) -> Result<Opened> {
        let deadlines = Deadlines::idle(self.patience(ask.patience));
        let answer = self.accepted(ask, deadlines).await?;
        let (head, body) = answer.into_parts();
        let endpoint = self.endpoint.clone();
        let body = body.map(move |piece| piece.map_err(|error| dial::explain(&endpoint, error)));
        Ok(Opened { headers: head.headers, body: Box::pin(body) })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Value> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        json::parse(bytes, MAX_READ).map_err(|bad| match bad {
            BadJson::TooRich { .. } => dial::too_large(&self.endpoint, MAX_READ as u64),
            BadJson::NotJson(error) => self.strange("something that is no JSON").caused_by(&error),
        })
    }

    /// A stream that cannot be followed any further.
    pub(super) fn garbled(&self, bad: &dyn std::error::Error) -> EngineError {
        EngineError::new(Class::Internal, &self.name, format!("{}: {bad}", self.name)).with_hint(STRANGER)
    }

    /// An answer that no daemon gives.
    pub(super) fn strange(&self, what: &str) -> EngineError {
        EngineError::new(Class::Internal, &self.name, format!("{} answers with {what}", self.name)).with_hint(STRANGER)
    }

    async fn whole(&self, answer: Response<ResponseBody>, max: u64) -> Result<Bytes> {
        answer.into_body().collect(max).await.map_err(|error| dial::explain(&self.endpoint, error))
    }

    /// Sends with the agreed version and turns refusals into errors.
    async fn accepted(&self, ask: Ask, deadlines: Deadlines) -> Result<Response<ResponseBody>> {
        let target = self.versioned(&ask).await?;
        let name = ask.name.clone();
        let answer = self.exchange(&target, ask, deadlines).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer, &name).await);
        }
        // Success from somebody else: a proxy's page, which a verb without an answer would take for done.
        let kind = answer.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if kind.starts_with(b"text/html") { Err(self.strange("a web page")) } else { Ok(answer) }
    }

    /// Path and query under the agreed version. Events may be asked for before there is one, so that a screen on a far host waits once less: without
    /// a version daemons answer by their newest.
    pub(super) async fn versioned(&self, ask: &Ask) -> Result<String> {
        if ask.call == Call::Events && !self.is_met() {
            return Ok(ask.target());
        }
        Ok(format!("/v{}{}", self.peer().await?.version, ask.target()))
    }

    async fn refusal(&self, answer: Response<ResponseBody>, subject: &str) -> EngineError {
        let status = answer.status().as_u16();
        let elsewhere = answer.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        // Where the body does not come, the status alone says enough.
        let body = timeout(self.patience(HELLO), self.whole(answer, MAX_REFUSAL)).await;
        if let (300..=399, Some(elsewhere)) = (status, elsewhere) {
            let message = format!("{} sends us elsewhere: {}", self.name, error::one_line(&elsewhere));
            return EngineError::new(Class::Internal, subject, message)
                .with_hint("no daemon does that, and it is not followed: name the daemon's own address with -H");
        }
        self.refused(status, subject, &body.ok().and_then(Result::ok).unwrap_or_default())
    }

    /// What a status with this body means.
    pub(super) fn refused(&self, status: u16, subject: &str, body: &[u8]) -> EngineError {
        let mut refused = error::from_wire(status, subject, body);
        if error::sentence(body).is_none() && refused.class != Class::NotModified {
            refused.message = format!("{} refuses with HTTP status {status} and without a word", self.name);
            refused.hint = Some(STRANGER.to_owned());
        }
        compat::reclass(self.known_peer().map_or(Family::Other, |peer| peer.family), status, refused)
    }

    async fn exchange(&self, target: &str, ask: Ask, deadlines: Deadlines) -> Result<Response<ResponseBody>> {
        let request = self.request(target, ask)?;
        let answer = self.pool.request(&self.target, request, deadlines).await;
        answer.map_err(|error| self.lost(error))
    }

    /// A connection of its own, for what is not HTTP after the first answer.
    pub(super) async fn dial(&self) -> Result<Box<dyn Duplex>> {
        let dialled = self.pool.dialer().dial(&self.target).await;
        dialled.map(|dialled| dialled.stream).map_err(|error| self.lost(error))
    }

    fn lost(&self, error: HttpError) -> EngineError {
        if !matches!(error, HttpError::TooLarge { .. } | HttpError::Sending { .. }) {
            *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        dial::explain(&self.endpoint, error)
    }

    fn request(&self, target: &str, ask: Ask) -> Result<Request<Body>> {
        let method = Method::from_bytes(ask.method().as_bytes()).unwrap_or(Method::GET);
        let (body, kind) = match ask.payload {
            Payload::Empty => (Body::empty(), None),
            Payload::Json(bytes) => (Body::bytes(bytes), Some("application/json")),
            Payload::Tar(upload) => (Body::stream(upload), Some("application/x-tar")),
        };
        let bad = |name: &str| EngineError::new(Class::Invalid, name, format!("{name:?} cannot be asked for"));
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| bad(&ask.name))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("orlop/", env!("CARGO_PKG_VERSION"))));
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in ask.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).map_err(|_| bad(&ask.name))?);
        }
        Ok(request)
    }

    /// What `Host:` says.
    pub(super) fn host_header(&self) -> String {
        self.target.host_header()
    }

    /// How long a small question takes on a connection that stands.
    pub(super) async fn ping(&self) -> Result<Duration> {
        if !self.pool.has_idle(&self.target) {
            self.ping_once().await?;
        }
        let start = Moment::now();
        self.ping_once().await?;
        Ok(start.elapsed())
    }

    pub(super) async fn ping_once(&self) -> Result<()> {
        let answer = self.exchange("/_ping", Ask::new(Call::Ping), self.within(HELLO)).await?;
        self.whole(answer, MAX_REFUSAL).await.map(drop)
    }
}
