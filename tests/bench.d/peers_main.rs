//! The benchmark command: orlop beside its peers, interleaved in one run, as a table of medians, minima, CPU times and ratios.
//! Started by `tests/bench`. It asserts no time; it fails only when something it measures fails.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

mod archive;
#[path = "../pty/driver.rs"]
mod driver;
mod engine;
mod far;
mod logs;
mod measure;
mod memory;
mod meter;
mod peers;
mod registry;
mod runtime;
mod screen;
mod screens;
mod stdcopy;
mod table;
mod tool;

use peers::{Bench, Options};

/// Measures and prints.
type Row = fn(&mut Bench);

/// What can be asked for by name, in the order in which it is done.
const ROWS: &[(&str, Row)] = &[
    ("runtime", runtime::run_true),
    ("runtime-seccomp", runtime::run_seccomp),
    ("runtime-exec", runtime::exec_true),
    ("runtime-cycle", runtime::create_to_delete),
    ("rss", runtime::peak_memory),
    ("start", engine::start),
    ("run", engine::run_rm),
    ("exec", engine::exec_true),
    ("stop", engine::stop),
    ("starts", engine::fifty_starts),
    ("memory", memory::supervisors),
    ("logs", logs::logs),
    ("follow", logs::follow),
    ("stdcopy", stdcopy::decoding),
    ("load", registry::load),
    ("images", registry::images),
    ("screen", |bench| screen::screen(bench, 62)),
    ("screen-many", |bench| screen::screen(bench, 502)),
    ("screens", |bench| screens::screens(bench, 62)),
    ("screens-many", |bench| screens::screens(bench, 500)),
    ("ps", engine::ps),
];

/// Rows that need the daemons.
const WITH_PEERS: &[&str] =
    &["run", "exec", "stop", "starts", "ps", "memory", "logs", "follow", "load", "images", "screens", "screens-many"];
/// Rows of the runtimes.
const WITH_RUNTIMES: &[&str] = &["runtime", "runtime-seccomp", "runtime-exec", "runtime-cycle", "rss"];
/// Rows that are done only when asked for, or with `--full`.
const LONG: &[&str] = &["screen-many", "screens", "screens-many"];

const HELP: &str = "tests/bench [ROW…] [options]
  --n N            samples of an engine's row (10); a runtime's row has five times as many
  --lines N        log lines (1000000)
  --containers N   containers of the ps row (200)
  --full           --n 20 --lines 10000000 --containers 500, and the long rows
  --orlop PROGRAM  measure this program instead of the one just built";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if tool::run(&args) {
        return;
    }
    if args.first().is_some_and(|arg| arg == "--peak-rss") {
        return measure::tell_peak_rss(&args[1..]);
    }
    let (options, rows) = parse(&args);
    let needs = |names: &[&str]| rows.iter().any(|(name, _)| names.contains(name));
    introduce();
    if needs(WITH_RUNTIMES) {
        runtime::tell_missing();
    }
    let mut bench = Bench::new(options);
    if needs(WITH_PEERS) {
        bench.start_peers();
    } else if needs(&["start"]) {
        bench.import();
    }
    for (_, row) in rows {
        row(&mut bench);
    }
}

/// On what this was measured.
fn introduce() {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let n_cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    println!("orlop {}, {date}, kernel {}, {n_cpus} CPUs", env!("CARGO_PKG_VERSION"), kernel.trim());
    for (program, word) in
        [("crun", "--version"), ("runc", "--version"), ("docker", "--version"), ("podman", "--version")]
    {
        let said = std::process::Command::new(program).arg(word).output();
        let text = said.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        println!("{}", text.lines().next().unwrap_or(&format!("{program}: not here")));
    }
    println!();
}

fn parse(args: &[String]) -> (Options, Vec<&'static (&'static str, Row)>) {
    let orlop = env!("CARGO_BIN_EXE_orlop").into();
    let mut options = Options { n: 10, n_log_lines: 1_000_000, n_containers: 200, orlop };
    let mut asked = Vec::new();
    let mut is_full = false;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().unwrap_or_else(|| refuse(&format!("{arg} takes a value")));
        let number =
            |text: &str| text.parse::<u64>().unwrap_or_else(|_| refuse(&format!("{arg}: {text} is no number")));
        match arg.as_str() {
            "--n" => options.n = number(value()).max(1) as usize,
            "--lines" => options.n_log_lines = number(value()),
            "--containers" => options.n_containers = number(value()) as usize,
            "--orlop" => options.orlop = value().into(),
            "--full" => {
                is_full = true;
                options = Options { n: 20, n_log_lines: 10_000_000, n_containers: 500, ..options };
            }
            "--help" | "-h" => {
                println!("{HELP}\nrows: {}", known());
                std::process::exit(0);
            }
            name if ROWS.iter().any(|(known, _)| *known == name) => asked.push(name),
            other => refuse(&format!("no row called {other}; known: {}", known())),
        }
    }
    let is_wanted = |name: &str| match asked.is_empty() {
        true => is_full || !LONG.contains(&name),
        false => asked.contains(&name),
    };
    let rows = ROWS.iter().filter(|(name, _)| is_wanted(name)).collect();
    (options, rows)
}

fn known() -> String {
    ROWS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}\n{HELP}");
    std::process::exit(2);
}
