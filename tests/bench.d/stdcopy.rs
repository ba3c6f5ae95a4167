//! How fast a log stream of the docker API becomes lines: its framing alone, framing and timestamps in memory, and the whole way from a unix socket
//! through HTTP to the lines that a face gets. No daemon: the bytes are made up, as dockerd would send them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use orlop::api::log_lines::{Framing, LogLines};
use orlop::api::stdcopy::{self, Demux};
use orlop::config::host::Endpoint;
use orlop::engine::{Engine, LogsQuery, StreamKind};
use orlop::remote::Remote;

use super::measure::percentile;
use super::peers::Bench;
use super::table::Line;

/// Bytes of one pass, and what one read of a socket gives.
const SIZE: usize = 256 << 20;
const READ: usize = 64 << 10;

/// Lines of two lengths: a short one, and one of a chatty service.
const LENGTHS: [usize; 2] = [40, 160];

pub fn decoding(bench: &mut Bench) {
    for length in LENGTHS {
        let wire = wire(length);
        let n_lines = wire.n_lines;
        let frames = rate(bench, || {
            let mut demux = Demux::default();
            let mut n_frames = 0;
            for piece in pieces(&wire.bytes) {
                demux.feed_slice(&piece, |piece| n_frames += usize::from(piece.ends)).expect("frames");
            }
            assert_eq!(n_frames, n_lines);
        });
        let lines = rate(bench, || {
            let mut reader = LogLines::new(Framing::Framed);
            let found = pieces(&wire.bytes).map(|piece| reader.feed(piece).expect("frames").entries.len());
            assert_eq!(found.sum::<usize>(), n_lines);
        });
        let from_socket = |chunks: Chunks| {
            let path = bench.path(&format!("decode-{length}-{chunks:?}"));
            let _daemon = serve(&path, &wire, chunks);
            rate(bench, || read_all(&path, n_lines))
        };
        let (large, small) = (from_socket(Chunks::Large), from_socket(Chunks::EachFrame));
        bench.table.row(
            &format!("log decoding, lines of {length} bytes"),
            "MB/s",
            &[
                ("frames and timestamps to lines, in memory", lines),
                ("frames alone", frames),
                ("unix socket to lines", large),
                ("unix socket to lines, a chunk for each frame", small),
            ]
            .map(|(name, rates)| {
                let median = percentile(rates.iter().copied(), 0.5);
                Line { min: Some(percentile(rates.iter().copied(), 0.0)), ..Line::new(name, median).n(rates.len()) }
            }),
        );
    }
}

/// MB/s of each pass.
fn rate(bench: &Bench, mut pass: impl FnMut()) -> Vec<f64> {
    let n = bench.options.n.min(5);
    let one = |_| {
        let start = Instant::now();
        pass();
        SIZE as f64 / 1e6 / start.elapsed().as_secs_f64()
    };
    (0..n).map(one).collect()
}

struct Wire {
    bytes: Bytes,
    n_lines: usize,
    /// Length of one frame with its head.
    n_frame: usize,
}

fn wire(length: usize) -> Wire {
    let mut bytes = Vec::with_capacity(SIZE);
    let mut n_lines = 0;
    let text = "level=info msg=\"request served\" path=/api/v1/items/7 status=200 ".repeat(4);
    let n_frame = stdcopy::HEAD + 31 + length + 1;
    while bytes.len() + n_frame <= SIZE {
        bytes.extend_from_slice(&stdcopy::head(StreamKind::Stdout, (n_frame - stdcopy::HEAD) as u32));
        let second = orlop::api::time::seconds(1_795_236_339 + n_lines as i64 / 100_000);
        write!(bytes, "{second}.{:09}Z ", n_lines % 100_000 * 10_000).expect("memory");
        bytes.extend_from_slice(&text.as_bytes()[..length]);
        bytes.push(b'\n');
        n_lines += 1;
    }
    Wire { bytes: bytes.into(), n_lines, n_frame }
}

fn pieces(bytes: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..bytes.len()).step_by(READ).map(|at| bytes.slice(at..bytes.len().min(at + READ)))
}

/// How a daemon cuts its answer.
#[derive(Clone, Copy, Debug)]
enum Chunks {
    /// 32 KiB, as podman's and a proxy's buffers.
    Large,
    /// Dockerd flushes after each line.
    EachFrame,
}

/// A daemon that knows one log; its thread ends with the process.
fn serve(path: &Path, wire: &Wire, chunks: Chunks) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path).expect("a socket");
    let bytes = wire.bytes.clone();
    let size = match chunks {
        Chunks::Large => 32 << 10,
        Chunks::EachFrame => wire.n_frame,
    };
    let mut body = Vec::with_capacity(bytes.len() + bytes.len() / size * 10);
    for piece in bytes.chunks(size) {
        write!(body, "{:x}\r\n", piece.len()).expect("memory");
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    let body = Bytes::from(body);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = body.clone();
            std::thread::spawn(move || answer(stream, &body));
        }
    })
}

fn answer(stream: UnixStream, body: &[u8]) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        reader.read_line(&mut head).ok().filter(|n| *n > 0)?;
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 2 {
            line.clear();
        }
        if head.contains("/logs") {
            writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            writer.write_all(body).ok()?;
            continue;
        }
        let text = if head.contains("/json") { format!("{{\"Id\":\"{}\"}}", "a".repeat(64)) } else { "OK".to_owned() };
        write!(writer, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: {}\r\n\r\n{text}", text.len()).ok()?;
    }
}

fn read_all(path: &Path, n_lines: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let engine =
            Remote::with_patience(Endpoint::Unix(path.to_owned()), Duration::from_secs(60)).expect("an engine");
        let mut stream = engine.containers().logs("web", &LogsQuery::default()).await.expect("a log");
        let mut n_found = 0;
        while let Some(chunk) = stream.next().await {
            n_found += chunk.expect("lines").entries.len();
        }
        assert_eq!(n_found, n_lines);
    });
}
