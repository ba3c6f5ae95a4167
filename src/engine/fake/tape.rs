//! Log generators: the lines of a chatty container as a pure function of time, so that two hours of log cost nothing until read.
//! Called by the fake's containers; knows no state but its own epochs.

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::engine::logs::StreamKind;

/// What the lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// An HTTP access log.
    Access,
    /// One JSON object a line, levels and nested fields.
    Json,
    /// logfmt with levels.
    Logfmt,
    /// A database's log, with statements over several lines.
    Database,
    /// Everything at once: ANSI colours, JSON, 2,000-column lines, wide and combining characters, stack traces, control characters.
    Mixed,
}

/// A style at a rate. Keeps at most `keep` lines, as a rotated log does.
#[derive(Clone, Debug)]
pub struct Tape {
    pub style: Style,
    pub lines_per_s: f64,
    pub keep: u64,
    /// When it was running: start and, if it ended, end.
    epochs: Vec<(SystemTime, Option<SystemTime>)>,
}

impl Tape {
    pub fn new(style: Style, lines_per_s: f64, keep: u64) -> Self {
        Self { style, lines_per_s, keep, epochs: Vec::new() }
    }

    pub(super) fn start(&mut self, at: SystemTime) {
        self.stop(at);
        self.epochs.push((at, None));
    }

    pub(super) fn stop(&mut self, at: SystemTime) {
        if let Some((_, end @ None)) = self.epochs.last_mut() {
            *end = Some(at);
        }
    }

    /// Lines written so far, those rotated away included.
    pub(super) fn len(&self, now: SystemTime) -> u64 {
        self.epochs.iter().map(|epoch| self.epoch_len(epoch, now)).sum()
    }

    fn epoch_len(&self, (start, end): &(SystemTime, Option<SystemTime>), now: SystemTime) -> u64 {
        let until = end.unwrap_or(now);
        until.duration_since(*start).map_or(0, |ran| (ran.as_secs_f64() * self.lines_per_s) as u64 + 1)
    }

    /// The first line that is still kept.
    pub(super) fn first(&self, now: SystemTime) -> u64 {
        self.len(now).saturating_sub(self.keep)
    }

    /// When line `n` was written, which must be below `len`.
    pub(super) fn time_of(&self, n: u64, now: SystemTime) -> SystemTime {
        let mut before = 0;
        for epoch in &self.epochs {
            let here = self.epoch_len(epoch, now);
            if n < before + here {
                return epoch.0 + Duration::from_secs_f64((n - before) as f64 / self.lines_per_s);
            }
            before += here;
        }
        now
    }

    pub(super) fn stream_of(&self, n: u64) -> StreamKind {
        if n % 11 == 7 { StreamKind::Stderr } else { StreamKind::Stdout }
    }

    /// Appends line `n` without a newline.
    pub(super) fn write_line(&self, n: u64, out: &mut Vec<u8>) {
        let noise = scramble(n);
        // Writing to a Vec cannot fail.
        let _ = match self.style {
            Style::Access => access(n, noise, out),
            Style::Json => json(n, noise, out),
            Style::Logfmt => logfmt(n, noise, out),
            Style::Database => database(n, noise, out),
            Style::Mixed => mixed(n, noise, out),
        };
    }
}

/// A fixed mixing function: the same line has the same noise on every machine.
pub(super) fn scramble(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const LEVELS: [&str; 8] = ["info", "info", "debug", "info", "info", "warn", "info", "error"];
const PATHS: [&str; 6] = ["/", "/health", "/api/v1/orders", "/static/app.js", "/login", "/api/v1/users/42"];

fn level(noise: u64) -> &'static str {
    LEVELS[(noise % 8) as usize]
}

fn path(noise: u64) -> &'static str {
    PATHS[(noise / 8 % 6) as usize]
}

fn access(_n: u64, noise: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let status = [200, 200, 200, 304, 404, 200, 200, 502][(noise % 8) as usize];
    let (a, b, size, ms) = (noise >> 8 & 0xff, noise >> 16 & 0xff, noise >> 24 & 0xffff, noise >> 40 & 0x1ff);
    write!(out, "10.0.{a}.{b} \"GET {} HTTP/1.1\" {status} {size} {ms}ms \"curl/8.5.0\"", path(noise))
}

fn json(n: u64, noise: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let ms = noise >> 20 & 0x3ff;
    write!(
        out,
        r#"{{"level":"{}","seq":{n},"msg":"request done","http":{{"method":"GET","path":"{}","status":200}},"ms":{ms}}}"#,
        level(noise),
        path(noise)
    )
}

fn logfmt(n: u64, noise: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let job = noise >> 12 & 0xfff;
    write!(out, "level={} seq={n} component=queue job={job} msg=\"job finished\" took={}ms", level(noise), job / 3)
}

fn database(n: u64, noise: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match n % 12 {
        9 => write!(out, "LOG:  statement: SELECT id, name"),
        10 => write!(out, "\t  FROM orders WHERE id = {}", noise & 0xffff),
        11 => write!(out, "\t ORDER BY created DESC LIMIT 20;"),
        5 => write!(out, "ERROR:  duplicate key value violates unique constraint \"orders_pkey\""),
        _ => write!(out, "LOG:  checkpoint complete: wrote {} buffers", noise & 0xfff),
    }
}

fn mixed(n: u64, noise: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(out, "#{n} ")?;
    match n % 16 {
        0 => write!(out, "\x1b[1;31mERROR\x1b[0m upstream \x1b[4mtimed out\x1b[24m after {}ms", noise & 0xfff),
        1 => write!(out, "\x1b[38;5;208mwarn\x1b[0m \x1b[38;2;120;200;255mtrue colour\x1b[0m text"),
        2 | 9 | 13 => json(n, noise, out),
        3 => write!(out, "名前=注文処理 状態=完了 時間={}ミリ秒 🚀 👩‍👩‍👧‍👦 e\u{301}a\u{308} ﷽", noise & 0xff),
        4 => {
            write!(out, "long ")?;
            (0..200).try_for_each(|i| write!(out, "{:08x}-{i:03} ", noise as u32 ^ i))
        }
        5 => write!(out, "panicked at src/queue.rs:{}:9: index out of range", noise & 0x3ff),
        6 => write!(out, "    at worker::run (src/worker.rs:{})", noise & 0xff),
        7 => write!(out, "control \x07bell \x1b]0;title\x07 \x1b[2J\x1b[H cursor \x08back \x0bvt"),
        8 => write!(out, "progress 10%\rprogress 50%\rprogress 100%"),
        11 => out.write_all(b"not utf-8: \xff\xfe\xc3( tail"),
        12 => Ok(()),
        _ => logfmt(n, noise, out),
    }
}
