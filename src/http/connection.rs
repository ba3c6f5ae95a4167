//! One HTTP/1.1 connection over any stream of bytes. Called by `pool`, and by `remote` for connections of its own (hijack, ssh). It adds
//! nothing to a request but the `Host` header and, before a forwarding proxy, the whole URL.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::proxy::Proxy;
use super::{Body, Dialer, Duplex, HttpError, ResponseBody, Target};

/// How long to wait, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Longest time in which nothing moves: no byte of ours goes out, none of theirs comes. `None` waits.
    pub idle: Option<Duration>,
    /// For the whole, to the last byte of the answer. `None` lets it last.
    pub total: Option<Duration>,
}

impl Deadlines {
    /// For what lasts by its nature: events, logs, wait, attach.
    pub const NONE: Self = Self { idle: None, total: None };

    /// A stall of so long ends it.
    pub fn idle(span: Duration) -> Self {
        Self { idle: Some(span), total: None }
    }

    fn end(&self) -> Option<(Instant, Duration)> {
        self.total.map(|span| (Instant::now() + span, span))
    }
}

/// A connection that takes one request at a time. Dropping it closes it once the answers that are being read have ended.
pub struct Connection {
    sender: SendRequest<Body>,
    /// Moves the bytes. It may find the connection's end before a request is on it, and then it alone knows why; `None` once it has told.
    task: Option<JoinHandle<hyper::Result<()>>>,
    target: Target,
    forwarder: Option<Proxy>,
}

/// What came of asking for the raw stream.
pub enum Upgraded {
    /// The peer switched protocols: its answer's head, and the bytes both ways. Half-closing the writing side is passed on.
    Raw { head: Response<()>, stream: Box<dyn Duplex> },
    /// It did not; its answer says why.
    Refused(Box<Response<ResponseBody>>),
}

impl Connection {
    /// Dials and shakes hands.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub async fn dial(dialer: &Dialer, target: &Target) -> Result<Self, HttpError> {
        let dialed = dialer.dial(target).await?;
        let mut connection = Self::over(dialed.stream, target.clone()).await?;
        connection.forwarder = dialed.forwarder;
        Ok(connection)
    }

    /// Over a stream that somebody else made; `target` names the peer in errors and in the `Host` header.
    ///
    /// # Errors
    /// `Cut` when the stream is already dead.
    pub async fn over(stream: impl Duplex + 'static, target: Target) -> Result<Self, HttpError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| HttpError::from_hyper(&target.to_string(), error))?;
        // The task lives as long as the sender or the body being read.
        let task = tokio::spawn(connection.with_upgrades());
        Ok(Self { sender, task: Some(task), target, forwarder: None })
    }

    /// Sends a request whose URI is a path with its query; returns once the head of the answer is there.
    ///
    /// # Errors
    /// `Timeout`, `Cut`, `Protocol`, `Sending`, or what TLS said late.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn send(
        &mut self,
        request: Request<Body>,
        deadlines: Deadlines,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let total = deadlines.end();
        let response = self.head(request, deadlines, total).await?;
        let peer = self.target.to_string();
        Ok(response.map(|incoming| ResponseBody::new(peer, incoming, deadlines.idle, total)))
    }

    /// Sends a request with `Upgrade: <protocol>`, and takes the stream over when the peer agrees (101, or 200 from old daemons only where
    /// they switch). The deadlines hold to the head of the answer.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn upgrade(
        mut self,
        mut request: Request<Body>,
        protocol: &'static str,
        deadlines: Deadlines,
    ) -> Result<Upgraded, HttpError> {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
        let peer = self.target.to_string();
        let mut response = self.head(request, deadlines, deadlines.end()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.map(|incoming| ResponseBody::new(peer, incoming, deadlines.idle, None));
            return Ok(Upgraded::Refused(Box::new(body)));
        }
        let raw = hyper::upgrade::on(&mut response).await.map_err(|error| HttpError::from_hyper(&peer, error))?;
        Ok(Upgraded::Raw { head: response.map(drop), stream: Box::new(TokioIo::new(raw)) })
    }

    /// Whether another request could be sent now or soon.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Waits until the connection takes another request.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    async fn head(
        &mut self,
        mut request: Request<Body>,
        deadlines: Deadlines,
        total: Option<(Instant, Duration)>,
    ) -> Result<Response<hyper::body::Incoming>, HttpError> {
        let peer = self.target.to_string();
        self.address(&mut request)?;
        let sent = request.body().sent();
        let mut response = std::pin::pin!(self.sender.send_request(request));
        let answer = loop {
            let before = sent.load(Ordering::Relaxed);
            let Some((until, after)) = earlier(deadlines.idle.map(|span| (Instant::now() + span, span)), total) else {
                break response.await;
            };
            match timeout_at(until, &mut response).await {
                Ok(answer) => break answer,
                // Our body is still moving: that is no silence.
                Err(_) if moved(&sent, before) && total.is_none_or(|(end, _)| Instant::now() < end) => {}
                Err(_) => return Err(HttpError::Timeout { peer, waiting_for: "an answer", after }),
            }
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(HttpError::from_hyper(&peer, why(&mut self.task, error).await)),
        }
    }

    /// The request line and the headers that belong to the connection rather than to the request.
    fn address(&self, request: &mut Request<Body>) -> Result<(), HttpError> {
        let host = self.target.host_header();
        let wrong = |text: &str| HttpError::Address { text: text.to_owned(), why: "not an address" };
        if let Some(proxy) = &self.forwarder {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let whole = format!("http://{host}{path}");
            *request.uri_mut() = whole.parse::<Uri>().map_err(|_| wrong(&whole))?;
            if let Some(authorization) = &proxy.authorization {
                let value = HeaderValue::from_str(authorization).map_err(|_| wrong(&host))?;
                request.headers_mut().insert(HeaderName::from_static("proxy-authorization"), value);
            }
        }
        let value = HeaderValue::from_str(&host).map_err(|_| wrong(&host))?;
        request.headers_mut().entry(HOST).or_insert(value);
        Ok(())
    }
}

/// A request that never came onto the connection knows only that; what ended the connection is the task's to tell.
async fn why(task: &mut Option<JoinHandle<hyper::Result<()>>>, error: hyper::Error) -> hyper::Error {
    match task.take() {
        Some(task) if error.is_canceled() => task.await.ok().and_then(Result::err).unwrap_or(error),
        _ => error,
    }
}

fn moved(sent: &AtomicU64, before: u64) -> bool {
    sent.load(Ordering::Relaxed) != before
}

fn earlier(one: Option<(Instant, Duration)>, other: Option<(Instant, Duration)>) -> Option<(Instant, Duration)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.0 <= other.0 { one } else { other }),
        (one, other) => one.or(other),
    }
}
