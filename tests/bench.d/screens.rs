//! The screen on dockerd beside oxker and ducker: how soon it is there, how soon it answers, what it costs at rest and under a flood of lines,
//! with the same containers, on the same pseudo-terminals of 120x40, in turn. The peers are taken from PATH or from a cache that this row
//! fills with `cargo install`; one that cannot be had is named, with the reason.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::driver::{Setup, Tty};
use super::measure::{ms, percentile, run};
use super::memory::{Kind, memory_mib};
use super::peers::{Bench, Engine};
use super::screen::wake_ups;
use super::table::Line;
use super::tool;

/// How many containers run; the rest only exists.
const N_RUNNING: usize = 40;
const N_STARTS: usize = 7;
/// Before a start: the daemon is still at what the last screen asked.
const QUIET: Duration = Duration::from_secs(1);
const N_KEYS: usize = 40;
const IDLE: Duration = Duration::from_secs(12);
const FLOOD: Duration = Duration::from_secs(12);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that make containers.
const MAKERS: usize = 6;
/// There and back over the long link.
const LINK: Duration = Duration::from_millis(200);

/// A program with a screen for docker.
#[derive(Clone, Debug)]
struct Peer {
    name: &'static str,
    words: Vec<String>,
    /// What opens the log of the selected container, what opens the help, and what that shows.
    log_key: &'static str,
    help_key: &'static str,
    help_shows: &'static str,
}

pub fn screens(bench: &mut Bench, n_containers: usize) {
    let Some(docker) = bench.docker_pid() else {
        return println!("screens: NOT RUN: dockerd is not installed\n");
    };
    let peers = peers(bench);
    fill(bench, n_containers);
    let with = format!("screens on dockerd, {n_containers} containers ({N_RUNNING} run)");
    starts(bench, &peers, &with);
    at_rest(bench, &peers, &with, docker);
    far(bench, &peers, &with);
    empty(bench);
    for (what, words) in
        [("5,000 lines/s", ["--emit", "5000", "600"]), ("100,000 lines in bursts", ["--burst", "100000", "600"])]
    {
        logs(bench, &peers, what, &words);
    }
}

fn peers(bench: &Bench) -> Vec<Peer> {
    let address = format!("unix://{}", bench.path("docker.sock").display());
    let orlop = vec![bench.options.orlop.display().to_string(), "-H".to_owned(), address.clone()];
    let mut all = vec![Peer { name: "orlop", words: orlop, log_key: "l", help_key: "?", help_shows: "Keys here" }];
    for (name, host, log_key, help_key, help_shows) in
        [("oxker", "--host", "", "h", "toggle this panel"), ("ducker", "--docker-path", "l", "?", "Usage")]
    {
        match installed(name) {
            Ok(program) => {
                let words = vec![program.display().to_string(), host.to_owned(), address.clone()];
                all.push(Peer { name, words, log_key, help_key, help_shows });
            }
            Err(why) => println!("{name}: NOT RUN: {why}\n"),
        }
    }
    all
}

/// Where a peer is; fetched and built when it is not, once for all runs.
fn installed(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(program) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()) {
        return Ok(program);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).ok_or("there is no HOME to keep it in")?;
    let cache = home.join(".cache/orlop-bench");
    let program = cache.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    println!("building {name}, once, into {}", cache.display());
    let mut install = Command::new("cargo");
    install.args(["install", "--quiet", "--locked", "--root"]).arg(&cache).arg(name).stdin(Stdio::null());
    let output = install.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rev().find(|line| line.contains("error")).unwrap_or("no reason given").to_owned();
    if output.status.success() { Ok(program) } else { Err(format!("cargo install {name}: {last}")) }
}

fn fill(bench: &Bench, n_containers: usize) {
    let socket = bench.path("docker.sock");
    let parent = bench.meter.containers_of(Engine::Docker.name());
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            let (socket, parent) = (&socket, &parent);
            scope.spawn(move || {
                for index in (maker..n_containers).step_by(MAKERS) {
                    make(socket, parent, index);
                }
            });
        }
    });
}

/// By the API: 500 starts of a command would take longer than everything that is measured.
fn make(socket: &Path, parent: &str, index: usize) {
    let name = format!("box-{index:03}");
    let body = format!(
        r#"{{"Image":"bb","Cmd":["sleep","100000"],"HostConfig":{{"NetworkMode":"none","CgroupParent":"{parent}"}}}}"#
    );
    post(socket, &format!("/containers/create?name={name}"), &body);
    if index < N_RUNNING {
        post(socket, &format!("/containers/{name}/start"), "");
    }
}

fn post(socket: &Path, path: &str, body: &str) {
    let mut stream = UnixStream::connect(socket).expect("dockerd listens");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("dockerd reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("dockerd answers");
    let status = answer.split(' ').nth(1).unwrap_or_default();
    assert!(status.starts_with('2'), "{path}: {answer}");
}

fn empty(bench: &Bench) {
    let docker = || bench.command(Engine::Docker);
    let listed = docker().args(["ps", "-aq"]).output().expect("docker lists");
    let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
    for some in ids.lines().collect::<Vec<_>>().chunks(50) {
        run(docker().args(["rm", "-f"]).args(some));
    }
}

/// The program, when `shown` is on its screen; `None` when that does not come.
fn open(bench: &Bench, peer: &Peer, shown: &str) -> Option<Tty> {
    bench.meter.enter(peer.name);
    // A home of its own: what somebody set for a peer here must not count.
    let home = bench.path(&format!("home-{}", peer.name));
    fs::create_dir_all(&home).expect("a directory");
    let mut tty = Setup::new(peer.words.clone()).env("HOME", &home.to_string_lossy()).start(120, 40);
    bench.meter.leave();
    let start = Instant::now();
    while !tty.screen().contains(shown) {
        if start.elapsed() > Duration::from_secs(30) {
            println!("{}: {shown} does not show up in 30 s:\n{}\n", peer.name, tty.screen());
            return None;
        }
        tty.pump_once(start + Duration::from_secs(30));
    }
    Some(tty)
}

fn starts(bench: &mut Bench, peers: &[Peer], with: &str) {
    let (mut times, mut bytes) = (vec![Vec::new(); peers.len()], vec![f64::NAN; peers.len()]);
    for round in 0..=N_STARTS {
        for (at, peer) in peers.iter().enumerate() {
            std::thread::sleep(QUIET);
            let start = Instant::now();
            let Some(tty) = open(bench, peer, "box-0") else { continue };
            if round > 0 {
                times[at].push(ms(start.elapsed()));
            }
            bytes[at] = tty.n_bytes() as f64;
        }
    }
    let line = |at: usize| Line {
        min: Some(percentile(times[at].iter().copied(), 0.0)),
        ..Line::new(peers[at].name, percentile(times[at].iter().copied(), 0.5)).n(times[at].len())
    };
    let lines: Vec<Line> = (0..peers.len()).map(line).collect();
    bench.table.row(&format!("{with}: start to the first useful frame"), "ms", &lines);
    let lines: Vec<Line> = peers.iter().zip(bytes).map(|(peer, bytes)| Line::new(peer.name, bytes)).collect();
    bench.table.row(&format!("{with}: bytes until then"), "bytes", &lines);
}

/// What is told of a program at rest and under the cursor, in this order.
const AT_REST: [(&str, &str); 8] = [
    ("cursor key to screen, p50", "ms"),
    ("cursor key to screen, p95", "ms"),
    ("bytes for each key", "bytes"),
    ("idle CPU", "%"),
    ("load put on dockerd", "%"),
    ("idle wake-ups", "1/s"),
    ("idle bytes to the terminal", "bytes/s"),
    ("memory at rest, RSS", "MiB"),
];

fn at_rest(bench: &mut Bench, peers: &[Peer], with: &str, docker: u32) {
    let own = daemon_share(docker, || std::thread::sleep(IDLE / 2));
    let told: Vec<[f64; 8]> = peers.iter().map(|peer| rest_of(bench, peer, docker, own)).collect();
    for (at, (what, unit)) in AT_REST.iter().enumerate() {
        let lines: Vec<Line> = peers.iter().zip(&told).map(|(peer, told)| Line::new(peer.name, told[at])).collect();
        bench.table.row(&format!("{with}: {what}"), unit, &lines);
    }
}

fn rest_of(bench: &Bench, peer: &Peer, docker: u32, own: f64) -> [f64; 8] {
    let Some(mut tty) = open(bench, peer, "box-0") else { return [f64::NAN; 8] };
    tty.pump(Duration::from_secs(3));
    let (times, per_key) = keys(&mut tty);
    tty.pump(Duration::from_secs(2));
    let (bytes, wakes) = (tty.n_bytes(), wake_ups(tty.pid()));
    let mut cpu = f64::NAN;
    let daemon = daemon_share(docker, || cpu = super::screen::cpu_share(bench, peer.name, || tty.pump(IDLE)));
    let seconds = IDLE.as_secs_f64();
    [
        percentile(times.iter().copied(), 0.5),
        percentile(times.iter().copied(), 0.95),
        per_key,
        cpu,
        (daemon - own).max(0.0),
        (wake_ups(tty.pid()) - wakes) as f64 / seconds,
        (tty.n_bytes() - bytes) as f64 / seconds,
        memory_mib(tty.pid(), Kind::Rss),
    ]
}

/// The same keys where the daemon is a long way off: what is known already must be there at once.
fn far(bench: &mut Bench, peers: &[Peer], with: &str) {
    let (near, daemon) = (bench.path("far.sock"), bench.path("docker.sock"));
    if !near.exists() {
        super::far::link(&near, &daemon, LINK / 2);
    }
    let (near, daemon) = (near.display().to_string(), daemon.display().to_string());
    let mut told = Vec::new();
    for peer in peers {
        let words = peer.words.iter().map(|word| word.replace(&daemon, &near)).collect();
        let start = Instant::now();
        let Some(mut tty) = open(bench, &Peer { words, ..peer.clone() }, "box-0") else {
            told.push([f64::NAN; 3]);
            continue;
        };
        let first = ms(start.elapsed());
        tty.pump(Duration::from_secs(4));
        let (times, _) = keys(&mut tty);
        told.push([first, percentile(times.iter().copied(), 0.5), percentile(times.iter().copied(), 0.95)]);
    }
    let rows = ["start to the first useful frame", "cursor key to screen, p50", "cursor key to screen, p95"];
    for (at, row) in rows.iter().enumerate() {
        let lines: Vec<Line> = peers.iter().zip(&told).map(|(peer, told)| Line::new(peer.name, told[at])).collect();
        bench.table.row(&format!("{with}, {} ms away: {row}", LINK.as_millis()), "ms", &lines);
    }
}

/// Cursor keys: the time of each to the screen, and the bytes for one.
fn keys(tty: &mut Tty) -> (Vec<f64>, f64) {
    let before = tty.n_bytes();
    let mut times = Vec::new();
    for index in 0..N_KEYS {
        tty.write(if index < N_KEYS / 2 { "j" } else { "k" });
        let changed = tty.wait_change_within(PATIENCE, |screen| screen.contents_formatted());
        times.extend(changed.map(ms));
        tty.pump(Duration::from_millis(120));
    }
    (times, (tty.n_bytes() - before) as f64 / N_KEYS as f64)
}

/// Percent of one CPU that the daemon itself used during `work`.
fn daemon_share(pid: u32, work: impl FnOnce()) -> f64 {
    let ticks = || -> f64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        // utime and stime, fields 14 and 15 (man 5 proc), in hundredths of a second.
        rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
    };
    let (start, before) = (Instant::now(), ticks());
    work();
    (ticks() - before) / start.elapsed().as_secs_f64()
}

/// The same of a log that is followed.
const FLOODED: [(&str, &str); 8] = [
    ("CPU", "%"),
    ("bytes to the terminal", "bytes/s"),
    ("age of the newest line shown, p50", "ms"),
    ("age of the newest line shown, longest", "ms"),
    ("lines lost by its own count", ""),
    ("key to screen (help comes), p50", "ms"),
    ("keys without an answer in 5 s, of 8", ""),
    ("memory, RSS", "MiB"),
];

fn logs(bench: &mut Bench, peers: &[Peer], what: &str, words: &[&str; 3]) {
    let mut told = Vec::new();
    for peer in peers {
        // Each has the same short past to read.
        let parent = format!("--cgroup-parent={}", bench.meter.containers_of(Engine::Docker.name()));
        let mut docker = bench.command(Engine::Docker);
        run(docker
            .args(["run", "-d", "--network", "none", "--name", "a-flood", &parent, "bb", tool::PATH])
            .args(words));
        told.push(flood_of(bench, peer));
        run(bench.command(Engine::Docker).args(["rm", "-f", "a-flood"]));
    }
    for (at, (row, unit)) in FLOODED.iter().enumerate() {
        let lines: Vec<Line> = peers.iter().zip(&told).map(|(peer, told)| Line::new(peer.name, told[at])).collect();
        bench.table.row(&format!("screens on dockerd, {what} followed: {row}"), unit, &lines);
    }
}

fn flood_of(bench: &Bench, peer: &Peer) -> [f64; 8] {
    let Some(mut tty) = open(bench, peer, "a-flood") else { return [f64::NAN; 8] };
    tty.pump(Duration::from_secs(1));
    tty.write(peer.log_key);
    tty.pump(Duration::from_secs(4));
    let (bytes, mut ages) = (tty.n_bytes(), Vec::new());
    let cpu = super::screen::cpu_share(bench, peer.name, || {
        let end = Instant::now() + FLOOD;
        while Instant::now() < end {
            tty.pump(Duration::from_millis(200));
            ages.extend(super::screen::lag_ms(&tty.screen()));
        }
    });
    let bytes = (tty.n_bytes() - bytes) as f64 / FLOOD.as_secs_f64();
    let lost = tty.screen().split("lost ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let (mut times, mut n_dead) = (Vec::new(), 0);
    for _ in 0..8 {
        let is_help = |screen: &vt100::Screen| screen.contents().contains(peer.help_shows);
        tty.write(peer.help_key);
        match tty.wait_change_within(PATIENCE, is_help) {
            Some(time) => times.push(ms(time)),
            None => n_dead += 1,
        }
        tty.write("\x1b");
        if tty.wait_change_within(Duration::from_secs(1), is_help).is_none() {
            tty.write(peer.help_key);
            tty.pump(Duration::from_millis(300));
        }
    }
    [
        cpu,
        bytes,
        percentile(ages.iter().copied(), 0.5),
        percentile(ages.iter().copied(), 1.0),
        lost.unwrap_or(f64::NAN),
        percentile(times.iter().copied(), 0.5),
        f64::from(n_dead),
        memory_mib(tty.pid(), Kind::Rss),
    ]
}
