//! What the log view costs: `cargo bench --bench log_view` prints nanoseconds a line and milliseconds an act; asserts nothing.
//! With `picture WxH [keys…]` it paints one view of generated lines instead, as the bytes a terminal would get.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orlop::engine::{LogChunk, LogEntry, StreamKind};
use orlop::tui::logs::{Focus, LogBatch, LogSource, LogsAction, LogsModel, LogsOptions, SourceIdx};
use orlop::tui::screen::{Charset, Depth, Screen};
use orlop::tui::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const CHUNK: u64 = 1000;
const START_NS: i64 = 1_795_269_600_000_000_000;

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().map(String::as_str) == Some("picture") {
        return picture(&args[1..]);
    }
    let mut out = std::io::stdout().lock();
    let chunks: Vec<LogChunk> = (0..1000).map(|n| chunk(n * CHUNK)).collect();
    let n_bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    writeln!(out, "1,000,000 lines, {} MB, {} bytes a line", n_bytes >> 20, n_bytes / 1_000_000)?;

    let mut model = opened(1);
    let (mut fed, mut idle) = (Duration::ZERO, Duration::ZERO);
    for chunk in &chunks {
        let batch = batch(vec![(SourceIdx(0), chunk.clone())]);
        fed += time(|| model.feed(&batch, Instant::now()));
        idle += time(|| while model.tick(Instant::now(), Duration::from_millis(50)) {});
    }
    writeln!(out, "feed               {:>8.0} ns/line", fed.as_nanos() as f64 / 1e6)?;
    writeln!(out, "pack (idle work)   {:>8.0} ns/line", idle.as_nanos() as f64 / 1e6)?;
    writeln!(out, "held               {:>8} lines in {:.1} MiB", model.n_lines(), mib(model.memory_bytes()))?;

    let area = Rect::new(0, 0, 118, 38);
    let theme = Theme::dark();
    let mut buf = Buffer::empty(area);
    let mut each =
        |name: &str, model: &mut LogsModel, n: u32, act: &mut dyn FnMut(&mut LogsModel)| -> std::io::Result<()> {
            let mut times: Vec<Duration> = (0..n)
                .map(|_| {
                    time(|| {
                        act(model);
                        buf.reset();
                        model.view(area, &mut buf, &theme, Focus::Yes);
                    })
                })
                .collect();
            times.sort_unstable();
            let ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
            writeln!(out, "{name:<18} {:>8.3} ms p50 {:>8.3} p95 {:>8.3} max", ms(0.5), ms(0.95), ms(1.0))
        };
    each("view", &mut model, 200, &mut |_| {})?;
    each("key k", &mut model, 200, &mut |model| drop(model.apply(LogsAction::Up, None)))?;
    each("page up", &mut model, 200, &mut |model| drop(model.apply(LogsAction::PageUp, None)))?;
    each("gg then G", &mut model, 50, &mut |model| {
        model.apply(LogsAction::Top, None);
        model.apply(LogsAction::Bottom, None);
    })?;
    model.apply(LogsAction::Wrap, None);
    each("view wrapped", &mut model, 200, &mut |_| {})?;
    model.apply(LogsAction::Wrap, None);
    model.apply(LogsAction::Histogram, None);
    while model.tick(Instant::now(), Duration::from_millis(5)) {}
    each("view with strip", &mut model, 100, &mut |_| {})?;
    model.apply(LogsAction::Histogram, None);

    for pattern in ["NEEDLE-IN-HAYSTACK", "needle", "upstream.*retry=4", "!worker", "~ndlhay", "zzz-not-there"] {
        search(pattern, &mut model)?;
    }
    model.set_search("NEEDLE");
    model.apply(LogsAction::OnlyMatches, None);
    while model.tick(Instant::now(), Duration::from_millis(5)) {}
    each("view of matches", &mut model, 100, &mut |_| {})?;

    let long: Vec<u8> = "long line, mostly words é ".bytes().cycle().take(1 << 20).collect();
    let mut model = opened(1);
    model.apply(LogsAction::Wrap, None);
    model.feed(&batch(vec![(SourceIdx(0), lines(&[long.as_slice(); 8], 0))]), Instant::now());
    each("1 MB lines, view", &mut model, 20, &mut |_| {})?;
    each("1 MB lines, k", &mut model, 20, &mut |model| drop(model.apply(LogsAction::Up, None)))?;
    Ok(())
}

/// From setting a pattern to the first match on screen, and to the last line searched; in slices of 4 ms as the screen does it.
fn search(pattern: &str, model: &mut LogsModel) -> std::io::Result<()> {
    model.apply(LogsAction::Bottom, None);
    let start = Instant::now();
    model.set_search(pattern);
    model.apply(LogsAction::PreviousMatch, None);
    let mut first = None;
    let mut worst = Duration::ZERO;
    loop {
        let mut more = false;
        worst = worst.max(time(|| more = model.tick(Instant::now(), Duration::from_millis(4))));
        if first.is_none() && !model.is_following() {
            first = Some(start.elapsed());
        }
        if !more {
            break;
        }
    }
    let n = model.match_count().map_or(0, |count| count.n);
    let first = first.map_or_else(|| "none".to_owned(), |first| format!("{:.1} ms", first.as_secs_f64() * 1e3));
    writeln!(
        std::io::stdout(),
        "search {pattern:<20} first {first:>9}, all {:>6.0} ms, slice ≤ {:.1} ms, {n} found",
        start.elapsed().as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
    )
}

fn picture(args: &[String]) -> std::io::Result<()> {
    let size = args.first().map_or("120x40", String::as_str);
    let (width, height) = size.split_once('x').unwrap_or(("120", "40"));
    let area = Rect::new(0, 0, width.parse().unwrap_or(120), height.parse().unwrap_or(40));
    let n_sources = if args.iter().any(|arg| arg == "merged") { 3 } else { 1 };
    let mut model = opened(n_sources);
    let chunks = (0..20).flat_map(|n| runs(&chunk(n * CHUNK), n_sources)).collect();
    model.feed(&batch(chunks), Instant::now());
    let theme = args.iter().find_map(|arg| Theme::built_in(arg)).unwrap_or_else(Theme::dark);
    for arg in args.iter().skip(1) {
        let action = match arg.as_str() {
            "wrap" => LogsAction::Wrap,
            "json" => LogsAction::Json,
            "up" => LogsAction::HalfPageUp,
            "full" => LogsAction::Timestamps,
            "strip" => LogsAction::Histogram,
            "expand" => LogsAction::Expand,
            "only" => LogsAction::OnlyMatches,
            "level" => LogsAction::LevelUp,
            "fold" => LogsAction::Fold,
            "mark" => LogsAction::Mark,
            "prev" => LogsAction::PreviousMatch,
            text => {
                if let Some(pattern) = text.strip_prefix('/') {
                    model.set_search(pattern);
                }
                continue;
            }
        };
        model.apply(action, None);
        while model.tick(Instant::now(), Duration::from_millis(5)) {}
        model.view(area, &mut Buffer::empty(area), &theme, Focus::Yes);
    }
    while model.tick(Instant::now(), Duration::from_millis(5)) {}
    let mut screen = Screen::new(Depth::True, Charset::Unicode);
    let bytes = screen.frame(area, |buf| {
        let frame = ratatui::widgets::Block::bordered().border_style(theme.border_focus);
        let inner = frame.inner(area);
        let meter = model.meter_line(area.width.saturating_sub(2), &theme);
        let frame = frame.title(" web-1 ").title_bottom(meter.left).title_bottom(meter.right.right_aligned());
        ratatui::widgets::Widget::render(frame, area, buf);
        model.view(inner, buf, &theme, Focus::Yes)
    });
    std::io::stdout().write_all(bytes)
}

fn opened(n_sources: u16) -> LogsModel {
    let source = |n| LogSource {
        container: format!("c{n}"),
        label: ["web-1", "db", "worker-long"][usize::from(n) % 3].to_owned(),
    };
    LogsModel::open((0..n_sources).map(source).collect(), LogsOptions::default()).0
}

fn batch(chunks: Vec<(SourceIdx, LogChunk)>) -> LogBatch {
    LogBatch { generation: 1, chunks, ..LogBatch::default() }
}

/// Lines dealt out to sources in turn.
fn runs(chunk: &LogChunk, n_sources: u16) -> Vec<(SourceIdx, LogChunk)> {
    let run = |(n, entry): (usize, &LogEntry)| {
        let one = LogChunk { bytes: chunk.bytes.clone(), entries: vec![entry.clone()], lost_before: 0 };
        (SourceIdx((n / 7) as u16 % n_sources), one)
    };
    chunk.entries.iter().enumerate().map(run).collect()
}

fn time(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn lines(lines: &[&[u8]], first: u64) -> LogChunk {
    let mut bytes = Vec::new();
    let mut entries = Vec::with_capacity(lines.len());
    for (n, line) in lines.iter().enumerate() {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(line);
        entries.push(LogEntry {
            time_ns: START_NS + (first as i64 + n as i64) * 200_000,
            stream: if n % 31 == 0 { StreamKind::Stderr } else { StreamKind::Stdout },
            range: start..bytes.len() as u32,
            newline: true,
        });
    }
    LogChunk { bytes: Bytes::from(bytes), entries, lost_before: 0 }
}

/// Lines of the kinds people's programs write.
fn chunk(first: u64) -> LogChunk {
    let made: Vec<String> = (first..first + CHUNK).flat_map(made).collect();
    lines(&made.iter().map(String::as_bytes).collect::<Vec<_>>(), first)
}

fn made(n: u64) -> Vec<String> {
    let seq = n + 1;
    let line = match seq % 20 {
        1 | 11 => format!(
            r#"#{seq} {{"level":"info","msg":"request served","path":"/api/v1/items/{}","status":200,"dur_ms":{},"user":{{"id":{},"name":"ana"}}}}"#,
            seq % 977,
            seq % 83,
            seq % 41
        ),
        2 => format!(
            "#{seq} \x1b[32mINFO \x1b[0m \x1b[2mhttp::server\x1b[0m GET \x1b[1m/healthz\x1b[0m \x1b[32m200\x1b[0m 0.4ms"
        ),
        3 => format!(
            "#{seq} \x1b[33mWARN \x1b[0m pool: \x1b[38;5;208mslow query\x1b[0m took \x1b[1;33m{} ms\x1b[0m",
            100 + seq % 400
        ),
        4 => format!(
            "#{seq} \x1b[1;31mERROR\x1b[0m \x1b[31mupstream timed out\x1b[0m \x1b[48;2;80;0;0m\x1b[38;2;255;200;200m ECONNRESET \x1b[0m retry={}",
            seq % 5
        ),
        5 => format!("#{seq} 日本語のログ行です 🐳 docker 📦 wide ＡＢＣ 👩\u{200d}💻 zwj e\u{301} done"),
        6 if seq % 500 == 6 => format!("#{seq} long {} END", "0123456789 ".repeat(180)),
        7 => format!(
            "#{seq} ts=2026-11-21T01:02:03Z level=debug caller=cache.go:{} msg=\"cache hit\" key=user:{} ratio=0.93",
            seq % 300,
            seq % 5000
        ),
        8 if seq % 400 == 8 => {
            return vec![
                format!("#{seq} ERROR java.lang.IllegalStateException: boom"),
                "\tat com.acme.Foo.bar(Foo.java:12)".to_owned(),
                "\tat com.acme.Main.main(Main.java:7)".to_owned(),
            ];
        }
        9 => format!("#{seq} 10.0.0.7 - - \"GET /static/app.js HTTP/1.1\" 304 0 \"-\" \x07\x1b[2J"),
        _ => format!("#{seq} worker-{} processed job {seq} in {}ms queue={}", seq % 16, seq % 120, seq % 900),
    };
    if seq.is_multiple_of(100_003) { vec![line, format!("#{seq} NEEDLE-IN-HAYSTACK")] } else { vec![line] }
}
