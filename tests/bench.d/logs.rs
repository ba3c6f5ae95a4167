//! Logs: how fast lines are taken in, how fast they come back, what it costs to follow them.

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::measure::{ms, percentile, run};
use super::peers::{Bench, Engine};
use super::table::Line;

/// What a followed container writes.
const FOLLOW_RATE: u64 = 200_000;
const FOLLOW_SECONDS: u64 = 10;

/// The lines are in a file that the container copies to its output, so that making them costs nothing here.
pub fn logs(bench: &mut Bench) {
    let n_lines = bench.options.n_log_lines;
    let file = bench.path("lines");
    write_lines(&file, n_lines);
    let (mut intake, mut back, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    for engine in bench.engines() {
        let mut make = bench.making(engine, "run");
        make.args(["-d", "--network", "none", "--name", "chatty", "-v", &format!("{}:/lines:ro", file.display())]);
        if engine == Engine::Orlop {
            // The others keep everything by default.
            make.args(["--log-opt", "max-size=16g"]);
        }
        make.args(["bb", "cat", "/lines"]);
        let taken = bench.as_engine(engine, || {
            let start = Instant::now();
            run(&mut make);
            run(bench.command(engine).args(["wait", "chatty"]));
            start.elapsed()
        });
        let mut came = 0;
        let read = bench.as_engine(engine, || {
            let start = Instant::now();
            came = count_lines(bench.command(engine).args(["logs", "chatty"]));
            start.elapsed()
        });
        let name = told(engine, came, n_lines);
        let line =
            |sample: super::measure::Sample| Line::new(&name, sample.wall.as_secs_f64()).cpu(sample.cpu.as_secs_f64());
        intake.push(line(taken));
        back.push(line(read));
        let tails = (0..5).map(|_| ms(run(bench.command(engine).args(["logs", "--tail", "10", "chatty"]))));
        tail.push(Line::new(engine.name(), percentile(tails, 0.5)).n(5));
        bench.as_engine(engine, || run(bench.command(engine).args(["rm", "-f", "chatty"])));
    }
    let _ = fs::remove_file(&file);
    let millions = n_lines as f64 / 1e6;
    bench.table.row(&format!("log intake of {millions} M lines of 100 bytes, run to exit"), "s", &intake);
    bench.table.row("`logs` of them", "s", &back);
    bench.table.row("`logs --tail 10` of them", "ms", &tail);
}

/// Who, and what it lost: a figure for less work must say so. Ours may lose nothing.
fn told(engine: Engine, came: u64, wanted: u64) -> String {
    assert!(engine != Engine::Orlop || came == wanted, "{came} of {wanted} lines came back");
    match came == wanted {
        true => engine.name().to_owned(),
        false => format!("{} (only {:.0} % of the lines)", engine.name(), came as f64 / wanted as f64 * 100.0),
    }
}

fn write_lines(path: &std::path::Path, n_lines: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path).expect("a file"));
    for n in 1..=n_lines {
        let line = writeln!(
            out,
            "{n:010} level=info msg=\"request served\" path=/api/v1/items/{:03} status=200 took=12ms bytes=4711 ua=c",
            n % 977
        );
        line.expect("the file is written");
    }
    out.flush().expect("the file is written");
}

/// How many lines a command prints.
fn count_lines(command: &mut Command) -> u64 {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut from = child.stdout.take().expect("piped");
    let mut buffer = vec![0; 1 << 20];
    let mut n_lines = 0;
    loop {
        match from.read(&mut buffer).expect("a pipe can be read") {
            0 => break,
            n => n_lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
        }
    }
    assert!(child.wait().is_ok_and(|status| status.success()), "{command:?} failed");
    n_lines
}

/// CPU time of everything while somebody follows a container that writes fast, its own included.
pub fn follow(bench: &mut Bench) {
    let (rate, seconds) = (FOLLOW_RATE.to_string(), FOLLOW_SECONDS.to_string());
    let emit = [super::tool::PATH, "--emit", &rate, &seconds];
    let mut lines = Vec::new();
    for engine in bench.engines() {
        let mut came = 0;
        let sample = bench.as_engine(engine, || {
            let start = Instant::now();
            run(bench.making(engine, "run").args(["-d", "--network", "none", "--name", "fast", "bb"]).args(emit));
            came = count_lines(bench.command(engine).args(["logs", "-f", "fast"]));
            start.elapsed()
        });
        let name = told(engine, came, FOLLOW_RATE * FOLLOW_SECONDS);
        lines.push(Line::new(&name, sample.cpu.as_secs_f64()));
        bench.as_engine(engine, || run(bench.command(engine).args(["rm", "-f", "fast"])));
    }
    let alone = writer_alone(bench, emit);
    bench.table.row(
        &format!("`logs -f` at 200k lines/s for 10 s: CPU of everything (the writer alone: {alone:.2})"),
        "CPU s",
        &lines,
    );
}

/// What the writer itself needs.
fn writer_alone(bench: &Bench, emit: [&str; 4]) -> f64 {
    let tool = std::env::current_exe().expect("the benchmark knows itself");
    let sample = bench.metered("writer", || {
        let start = Instant::now();
        count_lines(Command::new(tool).args(&emit[1..]));
        start.elapsed()
    });
    sample.cpu.as_secs_f64()
}
