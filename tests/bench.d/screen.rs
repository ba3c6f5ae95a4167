//! The screen on the embedded engine, on a real pseudo-terminal of 120x40: how soon it is there, how soon it answers, what it costs at rest
//! and under a flood of lines. Its peers are driven by `screens`, on dockerd.

use std::fs;
use std::time::{Duration, Instant};

use super::driver::{Setup, Tty};
use super::measure::{ms, output, percentile, run};
use super::memory::{Kind, memory_mib};
use super::peers::{Bench, Engine};
use super::table::Line;
use super::tool;

/// Who is metered.
const WHO: &str = "screen";
/// The store, apart from that of the other rows.
const STORE: &str = "screen";
/// How many containers run; the rest only exists.
const N_RUNNING: usize = 12;
const N_KEYS: usize = 60;
const IDLE: Duration = Duration::from_secs(10);
const FLOOD_RATE: u64 = 100_000;

pub fn screen(bench: &mut Bench, n_containers: usize) {
    fill(bench, n_containers);
    let with = format!("screen with {n_containers} containers");
    let mut report = Report { bench, with, n: 1 };
    starts(&mut report);
    let mut tty = open(report.bench, "box-");
    // Stats of the first moments are in, the terminal is quiet.
    tty.pump(Duration::from_secs(3));
    keys(&mut report, &mut tty);
    idle(&mut report, &mut tty);
    leave(tty);
    flood(&mut report);
    empty(bench);
}

/// Prints rows with one line each.
struct Report<'a> {
    bench: &'a mut Bench,
    with: String,
    n: usize,
}

impl Report<'_> {
    fn say(&mut self, what: &str, unit: &str, value: f64) {
        let line = Line::new("orlop", value).n(self.n);
        self.bench.table.row(&format!("{}: {what}", self.with), unit, &[line]);
    }

    fn percentiles(&mut self, what: &str, values: &[f64]) {
        self.n = values.len();
        for (name, share) in [("p50", 0.5), ("p95", 0.95), ("longest", 1.0)] {
            self.say(&format!("{what}, {name}"), "ms", percentile(values.iter().copied(), share));
        }
        self.n = 1;
    }
}

fn orlop(bench: &Bench, verb: &str) -> std::process::Command {
    let mut command = bench.orlop_in(STORE);
    command.arg(verb);
    command
}

fn fill(bench: &Bench, n_containers: usize) {
    run(orlop(bench, "import").arg(bench.path("rootfs.tar")).arg("bb"));
    let parent = format!("--cgroup-parent={}", bench.meter.containers_of(Engine::Orlop.name()));
    for index in 0..n_containers {
        let name = format!("box-{index:03}");
        let words = [&parent, "--network", "none", "--name", &name, "bb", "sleep", "100000"];
        match index < N_RUNNING {
            true => run(orlop(bench, "run").arg("-d").args(words)),
            false => run(orlop(bench, "create").args(words)),
        };
    }
}

fn empty(bench: &Bench) {
    let ids = output(orlop(bench, "ps").arg("-aq"));
    run(orlop(bench, "rm").arg("-f").args(ids.lines()));
}

/// The screen, when `shown` is on it.
fn open(bench: &Bench, shown: &str) -> Tty {
    let words = [
        bench.options.orlop.display().to_string(),
        format!("--root={}", bench.path(STORE).display()),
        format!("--run-root={}", bench.path(&format!("{STORE}-run")).display()),
    ];
    bench.meter.enter(WHO);
    let mut tty = Setup::new(words.to_vec()).start(120, 40);
    bench.meter.leave();
    tty.wait_for(shown);
    tty
}

fn leave(mut tty: Tty) {
    tty.write("q");
    assert_eq!(tty.wait_exit(), 0, "the screen does not leave in good order");
}

fn starts(report: &mut Report<'_>) {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for round in 0..=10 {
        let start = Instant::now();
        let tty = open(report.bench, "box-000");
        if round > 0 {
            times.push(ms(start.elapsed()));
        }
        bytes = tty.n_bytes();
        leave(tty);
    }
    report.n = times.len();
    report.say(
        "start to the first useful frame (setsid's start included)",
        "ms",
        percentile(times.iter().copied(), 0.5),
    );
    report.say("the same, quickest", "ms", percentile(times.iter().copied(), 0.0));
    report.n = 1;
    report.say("bytes to the first useful frame", "bytes", bytes as f64);
}

/// The name in the row with the bar before it; the row itself may stay where it is, while the list scrolls.
fn selected(screen: &vt100::Screen) -> Option<String> {
    let at = |row, col| screen.cell(row, col).map(vt100::Cell::contents);
    let row = (0..40).find(|row| at(*row, 1) == Some("▌"))?;
    (3..12).map(|col| at(row, col)).collect()
}

fn keys(report: &mut Report<'_>, tty: &mut Tty) {
    let before = tty.n_bytes();
    let mut times = Vec::new();
    for index in 0..N_KEYS {
        tty.write(if index < N_KEYS / 2 { "j" } else { "k" });
        times.push(ms(tty.wait_change(selected).expect("the selection moves")));
        // As fast as keys repeat.
        tty.pump(Duration::from_millis(33));
    }
    report.percentiles("cursor key to screen", &times);
    report.say(
        "bytes for each key (stats and details included)",
        "bytes",
        (tty.n_bytes() - before) as f64 / N_KEYS as f64,
    );
}

fn idle(report: &mut Report<'_>, tty: &mut Tty) {
    tty.pump(Duration::from_secs(2));
    let (bytes, wakes) = (tty.n_bytes(), wake_ups(tty.pid()));
    let cpu = cpu_share(report.bench, WHO, || tty.pump(IDLE));
    let seconds = IDLE.as_secs_f64();
    report.say(&format!("idle CPU with live stats of {N_RUNNING}"), "%", cpu);
    report.say("idle bytes to the terminal", "bytes/s", (tty.n_bytes() - bytes) as f64 / seconds);
    report.say("idle wake-ups", "1/s", (wake_ups(tty.pid()) - wakes) as f64 / seconds);
    report.say("memory at rest, RSS", "MiB", memory_mib(tty.pid(), Kind::Rss));
}

/// Percent of one CPU that a contender used during `work`.
pub fn cpu_share(bench: &Bench, who: &str, work: impl FnOnce()) -> f64 {
    let (start, before) = (Instant::now(), bench.meter.cpu(who));
    work();
    let used = bench.meter.cpu(who).saturating_sub(before);
    used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
}

/// Voluntary switches of all threads so far.
pub fn wake_ups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
    };
    tasks.filter_map(of_task).sum()
}

/// The log of a container that writes without mercy, followed.
fn flood(report: &mut Report<'_>) {
    let parent = format!("--cgroup-parent={}", report.bench.meter.containers_of(Engine::Orlop.name()));
    let rate = FLOOD_RATE.to_string();
    let words = [&parent, "-d", "--network", "none", "--name", "a-flood", "bb", tool::PATH, "--emit", &rate, "120"];
    run(orlop(report.bench, "run").args(words));
    let mut tty = open(report.bench, "a-flood");
    tty.write("gl");
    tty.wait_for("FOLLOW");
    tty.pump(Duration::from_secs(2));
    report.with = "screen, logs of 100k lines/s".to_owned();
    let mut lags = Vec::new();
    let bytes = tty.n_bytes();
    let cpu = cpu_share(report.bench, WHO, || {
        for _ in 0..50 {
            tty.pump(Duration::from_millis(200));
            lags.extend(lag_ms(&tty.screen()));
        }
    });
    report.say("CPU", "%", cpu);
    report.say("bytes to the terminal", "bytes/s", (tty.n_bytes() - bytes) as f64 / 10.0);
    report.percentiles("age of the newest line shown", &lags);
    let is_help = |screen: &vt100::Screen| screen.contents().contains("Keys here");
    let mut times = Vec::new();
    for _ in 0..N_KEYS / 2 {
        tty.write("?");
        times.push(ms(tty.wait_change(is_help).expect("help comes")));
        // Not measured: a lone escape is one only after a silence.
        tty.write("\x1b");
        tty.wait_change(is_help).expect("help goes");
        tty.pump(Duration::from_millis(50));
    }
    report.percentiles("key to screen (help comes)", &times);
    report.say("RSS", "MiB", memory_mib(tty.pid(), Kind::Rss));
    // The first q would only leave the log; dropping it ends it.
    drop(tty);
}

/// How old the newest line on the screen is, by the time written in it.
pub fn lag_ms(screen: &str) -> Option<f64> {
    let times = screen.split(" t=").skip(1).filter_map(|rest| rest.get(..13)?.parse::<u64>().ok());
    times.max().map(|newest| tool::now_ms().saturating_sub(newest) as f64)
}
