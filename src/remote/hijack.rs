//! Attach and exec: a connection of its own on which, after one request and one head, bytes go both ways. Called by `containers` and `execs`.
//!
//! The request asks for an upgrade (`101 UPGRADED`); daemons that know none answer `200 OK` and take the connection over all the same. Both
//! come to the same thing here, which is why this head is read by hand: no HTTP library gives the stream away after a 200.
//! Half-closing the writing side is the end of input; output goes on until the daemon closes its side.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, timeout};

use super::ask::{Ask, Payload};
use super::dial;
use super::link::Link;
use super::logs::is_away;
use crate::api::compat::Family;
use crate::api::error;
use crate::api::from_wire;
use crate::api::routes::Call;
use crate::api::stdcopy::{Channel, Demux};
use crate::config::host::Endpoint;
use crate::engine::container::Status;
use crate::engine::{Attached, BoxStream, Class, EngineError, Input, Output, Result, StreamKind};
use crate::http::Duplex;
use crate::shim::detach::{self, Matcher};

/// Until the head of the answer is there: it comes before the container does anything.
const HEAD: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 32 << 10;
const MAX_REFUSAL: usize = 64 << 10;
/// Read at once.
const BUFFER: usize = 64 << 10;
/// Until the daemon takes what was typed; a process that does not read holds it up for as long as it likes, so this is for a dead link only.
const CLOSE: Duration = Duration::from_secs(10);
/// Output ends a moment before the daemon takes note of the process's end.
const SETTLING: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Docker notes this as the exit code of an exec whose client went away, though its process lives on (daemon/exec.go). Others may end with it.
const ATTACH_FAILED: i32 = 126;

type Wire = Box<dyn Duplex>;

/// How the bytes are to be read, what of what is typed ends it, and whose process it is.
pub(super) struct Session {
    pub(super) tty: bool,
    /// The bytes of the detach keys; empty for never.
    pub(super) detach_keys: Vec<u8>,
    pub(super) process: Process,
}

/// Whose output a stream carries: asked when the stream ends in a way that a cut link could have made.
#[derive(Clone, Debug)]
pub(super) enum Process {
    Exec(String),
    /// Name or id, and when it had last ended as the session began: a later end is the one that closed the stream.
    Container(String, Option<SystemTime>),
}

/// The bytes of detach keys as typed; docker's own where none are said.
pub(super) fn detach_keys(keys: Option<&str>) -> Result<Vec<u8>> {
    detach::parse(keys.unwrap_or(detach::DEFAULT_KEYS))
        .map_err(|error| EngineError::new(Class::Invalid, "", error.to_string()))
}

/// Sends the request and takes the connection over.
pub(super) async fn open(link: &Arc<Link>, ask: Ask, session: Session) -> Result<Attached> {
    let head = head(link, &ask).await?;
    let opening = async {
        let mut wire = link.dial().await?;
        let failed = |error: std::io::Error| gone(link, &error);
        wire.write_all(&head).await.map_err(failed)?;
        if let Payload::Json(body) = &ask.payload {
            wire.write_all(body).await.map_err(failed)?;
        }
        wire.flush().await.map_err(failed)?;
        let mut read = BytesMut::with_capacity(4096);
        let head = loop {
            let head = read_head(link, &mut wire, &mut read).await?;
            // Others of this hundred come before the answer.
            if head.status == 101 || !(100..=199).contains(&head.status) {
                break head;
            }
        };
        // A 200 with a length is a plain answer: nothing was taken over.
        if head.status == 101 || (head.status == 200 && head.length == Length::None) {
            return Ok((wire, read));
        }
        Err(refusal(link, &ask, &head, wire, read).await)
    };
    let (wire, first) =
        timeout(link.patience(HEAD), opening).await.unwrap_or_else(|_| Err(dial::silent(link.endpoint())))?;
    // Asked for once more only where the connection was lost meanwhile.
    let family = link.peer().await?.family;
    Ok(attached(link, wire, first, session, family))
}

async fn head(link: &Link, ask: &Ask) -> Result<Vec<u8>> {
    let (method, target, host) = (ask.method(), link.versioned(ask).await?, link.host_header());
    let length = match &ask.payload {
        Payload::Json(body) => body.len(),
        _ => 0,
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: orlop/{}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(head.into_bytes())
}

/// What the first lines of an answer say.
struct Head {
    status: u16,
    length: Length,
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// By the end of the connection.
    None,
    Bytes(usize),
    Chunks,
}

/// What came after the head stays in `read`.
async fn read_head(link: &Link, wire: &mut Wire, read: &mut BytesMut) -> Result<Head> {
    let strange = || link.strange("something that is no HTTP");
    let end = loop {
        if let Some(at) = memchr::memmem::find(read, b"\r\n\r\n") {
            break at + 4;
        }
        if read.len() > MAX_HEAD {
            return Err(strange());
        }
        if wire.read_buf(read).await.map_err(|error| gone(link, &error))? == 0 {
            return Err(if read.is_empty() { cut(link.name()) } else { strange() });
        }
    };
    let head = read.split_to(end);
    let text = std::str::from_utf8(&head).map_err(|_| strange())?;
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or("").split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok()).filter(|_| is_http).ok_or_else(strange)?;
    let length = lines.filter_map(|line| line.split_once(':')).fold(Length::None, |length, (name, value)| {
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" if value.trim() != "identity" => Length::Chunks,
            "content-length" if length == Length::None => Length::Bytes(value.trim().parse().unwrap_or(MAX_REFUSAL)),
            _ => length,
        }
    });
    Ok(Head { status, length })
}

/// Why it was refused: the JSON in what is left of the answer, whatever its encoding.
async fn refusal(link: &Link, ask: &Ask, head: &Head, mut wire: Wire, mut body: BytesMut) -> EngineError {
    let whole_object = |body: &BytesMut| {
        let start = memchr::memchr(b'{', body)?;
        serde_json::Deserializer::from_slice(&body[start..]).into_iter::<Value>().next()?.ok()
    };
    let reading = async {
        let is_whole = |body: &BytesMut| match head.length {
            Length::None => false,
            Length::Bytes(length) => body.len() >= length,
            Length::Chunks => body.ends_with(b"0\r\n\r\n"),
        };
        while !is_whole(&body) && whole_object(&body).is_none() && body.len() < MAX_REFUSAL {
            if !matches!(wire.read_buf(&mut body).await, Ok(1..)) {
                break;
            }
        }
    };
    // What did not come is done without.
    let _ = timeout(link.patience(CLOSE), reading).await;
    let text = match head.length {
        // Behind the size of the first chunk.
        Length::Chunks => memchr::memmem::find(&body, b"\r\n").map_or(&body[..], |at| &body[at + 2..]),
        _ => &body[..],
    };
    let body = whole_object(&body).map_or_else(|| text.to_vec(), |doc| doc.to_string().into_bytes());
    link.refused(head.status, &ask.name, &body)
}

fn gone(link: &Link, error: &std::io::Error) -> EngineError {
    if let Some(known) = dial::said_by_ssh(error) {
        return known;
    }
    let message = format!("the connection to {} was cut: {}", link.name(), dial::plain(error));
    EngineError::new(Class::Unavailable, link.name(), message).with_hint(dial::CUT)
}

fn cut(name: &str) -> EngineError {
    EngineError::new(Class::Unavailable, name, format!("the connection to {name} was cut")).with_hint(dial::CUT)
}

fn attached(link: &Arc<Link>, wire: Wire, first: BytesMut, session: Session, family: Family) -> Attached {
    let (read, write) = tokio::io::split(wire);
    let (detached, was_detached) = tokio::sync::watch::channel(false);
    let demux = (!session.tty).then(|| match family {
        Family::Podman => Demux::with_stray_newlines(),
        _ => Demux::default(),
    });
    let pending = if first.is_empty() { None } else { Some(first.freeze()) };
    let reader = Reader {
        link: Arc::clone(link),
        process: session.process,
        read,
        pending,
        demux,
        ready: Vec::new().into_iter(),
        was_detached,
        is_over: false,
    };
    let matcher = Matcher::new(session.detach_keys);
    Attached {
        tty: session.tty,
        output: reader.stream(),
        input: Box::new(Typing { name: link.name().to_owned(), write: Some(write), matcher, detached }),
    }
}

struct Reader {
    link: Arc<Link>,
    process: Process,
    read: ReadHalf<Wire>,
    pending: Option<Bytes>,
    demux: Option<Demux>,
    ready: std::vec::IntoIter<Output>,
    was_detached: tokio::sync::watch::Receiver<bool>,
    is_over: bool,
}

impl Reader {
    fn stream(self) -> BoxStream<Output> {
        Box::pin(stream::unfold(self, |mut reader| async move { reader.next().await.map(|step| (step, reader)) }))
    }

    async fn next(&mut self) -> Option<Result<Output>> {
        loop {
            if let Some(output) = self.ready.next() {
                return Some(Ok(output));
            }
            if self.is_over {
                return None;
            }
            let bytes = match self.pending.take() {
                Some(bytes) => bytes,
                None => {
                    let mut buffer = BytesMut::with_capacity(BUFFER);
                    match self.read.read_buf(&mut buffer).await {
                        Ok(0) => return self.end(Closed::InOrder).await,
                        Ok(_) => buffer.freeze(),
                        // A daemon that is done may reset instead of closing: what it had to say has come.
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                            return self.end(Closed::ByReset).await;
                        }
                        Err(error) => return self.fail(gone(&self.link, &error)),
                    }
                }
            };
            if let Err(failed) = self.take(bytes) {
                return Some(Err(failed));
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<()> {
        let Some(demux) = &mut self.demux else {
            self.ready = vec![Output::Bytes(StreamKind::Stdout, bytes)].into_iter();
            return Ok(());
        };
        let (mut outputs, mut complaint) = (Vec::new(), Vec::new());
        let fed = demux.feed(&bytes, |piece| match piece.channel {
            Channel::Stream(kind) if !piece.bytes.is_empty() => outputs.push(Output::Bytes(kind, piece.bytes)),
            Channel::Stream(_) => {}
            Channel::SystemError => complaint.extend_from_slice(&piece.bytes),
        });
        self.ready = outputs.into_iter();
        let failed =
            |message: String, hint| EngineError::new(Class::Internal, self.link.name(), message).with_hint(hint);
        if !complaint.is_empty() {
            self.is_over = true;
            let said = error::one_line(&String::from_utf8_lossy(&complaint));
            return Err(failed(said, "the daemon says so; its own log may say more"));
        }
        fed.map_err(|bad| {
            self.is_over = true;
            failed(format!("{}: {bad}", self.link.name()), dial::STRANGER)
        })
    }

    async fn end(&mut self, closed: Closed) -> Option<Result<Output>> {
        self.is_over = true;
        if *self.was_detached.borrow() {
            return Some(Ok(Output::Detached));
        }
        let how = if !self.demux.as_ref().is_none_or(Demux::is_between_frames) {
            "in the middle of its output"
        } else if may_be_cut(self.link.endpoint(), closed) && self.goes_on().await {
            "before the process ended"
        } else {
            return None;
        };
        let message = format!("the connection to {} was cut {how}", self.link.name());
        self.fail(EngineError::new(Class::Unavailable, self.link.name(), message).with_hint(dial::CUT))
    }

    fn fail(&mut self, error: EngineError) -> Option<Result<Output>> {
        self.is_over = true;
        Some(Err(error))
    }

    /// Whether the process lives on without its stream, as far as is known: a daemon that cannot be asked now cannot have closed it either.
    async fn goes_on(&mut self) -> bool {
        let end = Instant::now() + SETTLING;
        loop {
            match self.is_running().await {
                Ok(true) if Instant::now() < end => sleep(ASK_AGAIN).await,
                Ok(is_running) => return is_running,
                Err(error) => return is_away(&error),
            }
        }
    }

    async fn is_running(&mut self) -> Result<bool> {
        match &self.process {
            Process::Exec(id) => {
                let doc = self.link.json(Ask::about(Call::ExecInspect, id)).await?;
                let exec = from_wire::container::exec(&doc);
                if exec.exit.as_ref().is_none_or(|exit| exit.code != ATTACH_FAILED) {
                    return Ok(exec.running);
                }
                let asked = Ask::about(Call::ContainerTop, &exec.container_id);
                let processes = from_wire::container::processes(&self.link.json(asked).await?);
                Ok(exec.pid.is_some_and(|pid| processes.has_pid(pid)))
            }
            Process::Container(ctr, ended_before) => {
                let doc = self.link.json(Ask::about(Call::ContainerInspect, ctr)).await?;
                let state = from_wire::container::detail(&doc, None).state;
                let is_alive = matches!(state.status, Status::Running | Status::Paused);
                Ok(is_alive && state.finished_at == *ended_before)
            }
        }
    }
}

/// How the daemon's side of a stream was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    InOrder,
    ByReset,
}

/// Whether something between the daemon and us could have closed it. A socket of this machine is closed by the daemon alone, and TLS says that an
/// end is one.
fn may_be_cut(endpoint: &Endpoint, closed: Closed) -> bool {
    match endpoint {
        Endpoint::Unix(_) => false,
        Endpoint::Tcp { tls: Some(_), .. } => closed == Closed::ByReset,
        Endpoint::Tcp { tls: None, .. } | Endpoint::Ssh { .. } => true,
    }
}

struct Typing {
    name: String,
    /// `None` after the end of input.
    write: Option<WriteHalf<Wire>>,
    /// The daemon watches for the keys itself; this tells an end that they made from any other.
    matcher: Matcher,
    detached: tokio::sync::watch::Sender<bool>,
}

#[async_trait]
impl Input for Typing {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(write) = &mut self.write else { return Err(cut(&self.name)) };
        if self.matcher.feed(&bytes).detach {
            let _ = self.detached.send(true);
        }
        let written = async {
            write.write_all(&bytes).await?;
            write.flush().await
        };
        written.await.map_err(|_| cut(&self.name))
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut write) = self.write.take() else { return Ok(()) };
        // A process that ended has closed it already.
        let _ = timeout(CLOSE, write.shutdown()).await;
        Ok(())
    }
}
