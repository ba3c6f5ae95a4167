//! One engine, eight at a time, every kind of call, against a daemon of moods.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use orlop::engine::{
    AttachOptions, Attached, CopyInto, Engine, EventsQuery, ExecSpec, Filters, ListContainers, ListImages, LogsQuery,
    Result, StatsQuery, WaitCondition,
};
use orlop::remote::Remote;

use crate::daemon::{Daemon, Outcome, Request, Then, Wire};
use crate::good;
use crate::weight::Weight;

/// Calls under way at once.
const N_AT_ONCE: usize = 8;
/// What a call of the soak waits for an answer: short, for a part of them is never answered.
const PATIENCE: Duration = Duration::from_millis(100);
/// No call takes longer, however loaded the machine is.
const LIMIT: Duration = Duration::from_secs(60);
/// What the allocator may have kept of a load that comes and goes.
const RSS_MARGIN: u64 = 48 << 20;

/// The daemon's moods: by the number of the request, so that every run has all of them.
fn moody(request: &Request, wire: &mut Wire) -> Option<Outcome> {
    let n = request.number;
    Some(match n {
        n if n % 41 == 7 => Ok(Then::Stall),
        n if n % 37 == 5 => Ok(Then::Close),
        n if n % 31 == 3 => {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n[{\"Id\":\"").map(|()| Then::Close)
        }
        n if n % 43 == 11 => {
            wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n[{\"Id\":\"").map(|()| Then::Stall)
        }
        n if n % 47 == 13 => wire.answer(500, "application/json", b"{\"message\":\"not today\"}"),
        n if n % 53 == 17 => wire.answer(200, "text/html", b"<html>"),
        n if n % 59 == 19 => wire.write_all(b"\xff\xfenoise\r\n\r\n").map(|()| Then::Close),
        n if n % 61 == 23 && request.path.ends_with("/logs") => {
            let half = |wire: &mut Wire| {
                wire.chunked("application/octet-stream")?;
                wire.chunk(&good::line(0, "one"))?;
                wire.chunk(&good::line(1, "two")[..11])
            };
            half(wire).map(|()| Then::Close)
        }
        _ if request.path.ends_with("/export") => export(wire),
        _ if request.method == "PUT" => wire.answer(200, "application/json", b""),
        _ => return None,
    })
}

/// Some of an archive, and then a cut.
fn export(wire: &mut Wire) -> Outcome {
    wire.chunked("application/x-tar")?;
    for _ in 0..20 {
        wire.chunk(&[b'x'; 8192])?;
    }
    Ok(Then::Close)
}

/// Runs until the time is over, counts, and compares.
pub fn soak(span: Duration) {
    let daemon = Daemon::unix(Arc::new(moody));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_millis(200))
        .build()
        .unwrap();
    runtime.block_on(async {
        // What is made once is made.
        round(&daemon, Duration::from_secs(1)).await;
        let before = Weight::settled(None).await;
        let start = Instant::now();
        let counts = round(&daemon, span).await;
        let after = Weight::settled(Some(&before)).await;
        let n: usize = counts.values().map(|(n, _)| n).sum();
        println!(
            "soak: {n} calls in {:.1} s over {} connections; before {before}; after {after}",
            start.elapsed().as_secs_f64(),
            daemon.n_connections()
        );
        for (kind, (n, n_failed)) in &counts {
            println!("  {kind:<22} {n:>7} of which failed {n_failed:>6}");
        }
        assert!(counts.values().all(|(n, _)| *n > 0), "every kind was called: {counts:?}");
        assert_eq!(daemon.n_open(), 0, "connections are left open");
        assert!(after.has_no_more_than(&before), "before {before}, after {after}");
        assert!(after.rss_bytes < before.rss_bytes + RSS_MARGIN, "before {before}, after {after}");
    });
}

type Counts = BTreeMap<&'static str, (usize, usize)>;

async fn round(daemon: &Daemon, span: Duration) -> Counts {
    let engine = Remote::with_patience(daemon.endpoint(), PATIENCE).unwrap();
    let end = Instant::now() + span;
    let (next, counts) = (Cell::new(0_usize), Cell::new(Counts::new()));
    let worker = async || {
        while Instant::now() < end || next.get() < KINDS.len() * 2 {
            let n = next.replace(next.get() + 1);
            let (kind, call) = KINDS[n % KINDS.len()];
            let answer = tokio::time::timeout(LIMIT, call(&engine, daemon, n)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{kind} hangs"));
            let mut all = counts.take();
            let count = all.entry(kind).or_default();
            count.0 += 1;
            count.1 += usize::from(answer.is_err());
            counts.set(all);
        }
    };
    join_all((0..N_AT_ONCE).map(|_| worker())).await;
    counts.take()
}

type Kind = for<'a> fn(&'a Remote, &'a Daemon, usize) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

macro_rules! kinds {
    ($($name:literal => |$engine:ident, $daemon:ident, $n:ident| $work:expr,)*) => {
        const KINDS: &[(&str, Kind)] = &[$(($name, |$engine, $daemon, $n| { let _ = ($daemon, $n); Box::pin(async move { $work }) })),*];
    };
}

kinds! {
    "list" => |e, _d, _n| e.containers().list(&ListContainers::default()).await.map(drop),
    "inspect" => |e, _d, _n| e.containers().inspect("web").await.map(drop),
    "log read" => |e, _d, _n| drain(e.containers().logs("web", &LogsQuery::default()).await?).await,
    "log followed" => |e, _d, _n| some(e.containers().logs("web", &LogsQuery { follow: true, ..LogsQuery::default() }).await?).await,
    "attach" => |e, _d, _n| talk(e.containers().attach("web", &AttachOptions { stdin: true, stdout: true, ..AttachOptions::default() }).await?).await,
    "exec" => |e, _d, _n| exec(e).await,
    "events" => |e, _d, _n| some(e.system().events(&EventsQuery::default()).await?).await,
    "stats" => |e, _d, _n| some(e.containers().stats("web", &StatsQuery { once: false }).await?).await,
    "one sample" => |e, _d, _n| drain(e.containers().stats("web", &StatsQuery { once: true }).await?).await,
    "wait" => |e, _d, _n| cancelled(5, e.containers().wait("web", WaitCondition::NotRunning)).await,
    "images" => |e, _d, _n| e.images().list(&ListImages::default()).await.map(drop),
    "volumes" => |e, _d, _n| e.volumes().list(&Filters::default()).await.map(drop),
    "ping" => |e, _d, _n| e.system().ping().await.map(drop),
    "export" => |e, _d, _n| e.containers().export("web", Box::new(io::sink())).await,
    "export to a full disk" => |e, _d, _n| e.containers().export("web", Box::new(Full)).await,
    "copy" => |e, _d, _n| e.containers().copy_into("web", &CopyInto { path: "/".into(), ..CopyInto::default() }, archive()).await,
    "copy dropped" => |e, _d, n| cancelled(n as u64 % 3, e.containers().copy_into("web", &CopyInto::default(), archive())).await,
    "list dropped" => |e, _d, n| cancelled(n as u64 % 3, e.containers().list(&ListContainers::default())).await,
    "log dropped" => |e, _d, n| cancelled(n as u64 % 3, e.containers().logs("web", &LogsQuery::default())).await,
    "attach dropped" => |e, _d, n| cancelled(n as u64 % 3, e.containers().attach("web", &AttachOptions::default())).await,
    "an engine of its own" => |_e, d, _n| Remote::with_patience(d.endpoint(), PATIENCE)?.system().info().await.map(drop),
}

/// A disk without room.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn archive() -> orlop::engine::Reader {
    Box::new(io::Read::take(io::repeat(0), 300_000))
}

async fn drain<T>(mut stream: orlop::engine::BoxStream<T>) -> Result<()> {
    while let Some(item) = stream.next().await {
        item?;
    }
    Ok(())
}

/// The first item; the stream is dropped in the middle.
async fn some<T>(mut stream: orlop::engine::BoxStream<T>) -> Result<()> {
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(Some(item)) => item.map(drop),
        _ => Ok(()),
    }
}

async fn talk(mut attached: Attached) -> Result<()> {
    attached.input.write(bytes::Bytes::from_static(b"hello\n")).await?;
    some(attached.output).await
}

async fn exec(engine: &Remote) -> Result<()> {
    let spec = ExecSpec { cmd: vec!["sh".into()], attach_stdout: true, ..ExecSpec::default() };
    let id = engine.execs().create("web", &spec).await?;
    talk(engine.execs().start(&id, None).await?).await
}

/// Dropped after so many milliseconds.
async fn cancelled<T>(after_ms: u64, work: impl Future<Output = Result<T>>) -> Result<()> {
    match tokio::time::timeout(Duration::from_millis(after_ms), work).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Ok(()),
    }
}
