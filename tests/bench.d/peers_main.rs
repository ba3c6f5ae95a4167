//! The benchmark command: orlop beside its peers, interleaved in one run, as a table of medians, minima and ratios.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house
//! Started by `tests/bench`. It asserts no time; it fails only when something it measures fails.

mod engine;
mod measure;
mod peers;
mod runtime;

use peers::Bench;

/// Measures and prints.
type Row = fn(&mut Bench, usize);

/// What can be asked for by name.
const ROWS: &[(&str, Row)] = &[
    ("runtime", runtime::run_true),
    ("runtime-seccomp", runtime::run_seccomp),
    ("runtime-exec", runtime::exec_true),
    ("runtime-cycle", runtime::create_to_delete),
    ("rss", runtime::peak_memory),
    ("run", engine::run_rm),
    ("exec", engine::exec_true),
    ("stop", engine::stop),
    ("starts", engine::fifty_starts),
    ("ps", engine::ps_500),
    ("memory", engine::supervisor_memory),
    ("logs", engine::logs),
    ("load", engine::load),
];

/// Rows that need the daemons.
const WITH_PEERS: &[&str] = &["run", "exec", "stop", "starts", "ps", "memory", "logs", "load"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--peak-rss") {
        return measure::tell_peak_rss(&args[1..]);
    }
    let (n, asked) = parse(&args);
    let rows: Vec<_> =
        ROWS.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|one| one == name)).collect();
    let mut bench = Bench::new();
    if rows.iter().any(|(name, _)| WITH_PEERS.contains(name)) {
        bench.start_peers();
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    for (_, row) in rows {
        row(&mut bench, n);
    }
}

/// `--n N` and the rows asked for; complains about others.
fn parse(args: &[String]) -> (usize, Vec<String>) {
    let mut n = 20;
    let mut asked = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--n" {
            n = rest.next().and_then(|value| value.parse().ok()).expect("--n takes a number");
        } else if ROWS.iter().any(|(name, _)| name == arg) {
            asked.push(arg.clone());
        } else {
            let known: Vec<_> = ROWS.iter().map(|(name, _)| *name).collect();
            eprintln!("no row called {arg}; known: {}", known.join(" "));
            std::process::exit(2);
        }
    }
    (n, asked)
}
