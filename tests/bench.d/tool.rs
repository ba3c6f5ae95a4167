//! What runs inside the containers: the benchmark program itself, which is static. It writes lines at an exact rate, or ends politely.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

/// Where the containers find it.
pub const PATH: &str = "/bin/tool";

/// Plays the tool when asked to; false when the program is to be the benchmark.
pub fn run(args: &[String]) -> bool {
    match args {
        [word, rate, seconds] if word == "--emit" => {
            emit(rate.parse().expect("lines a second"), seconds.parse().expect("seconds"));
        }
        [word, n, seconds] if word == "--burst" => {
            burst(n.parse().expect("lines"), seconds.parse().expect("seconds"));
        }
        [word] if word == "--polite" => wait_for_term(),
        _ => return false,
    }
    true
}

/// Milliseconds since 1970, as the lines tell them.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Numbered lines of about 100 bytes with the time in them, in slices of 10 ms.
fn emit(rate: u64, seconds: u64) {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let start = Instant::now();
    let mut n_sent = 0;
    while n_sent < rate * seconds {
        let due = (start.elapsed().as_micros() as u64 * rate / 1_000_000).min(rate * seconds);
        let now = now_ms();
        while n_sent < due {
            n_sent += 1;
            let path = n_sent % 977;
            let written = writeln!(
                out,
                "#{n_sent} t={now} level=info msg=\"request served\" path=/api/v1/items/{path} status=200 took=12ms"
            );
            written.expect("somebody reads");
        }
        out.flush().expect("somebody reads");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// So many lines within two seconds, then four of silence, again and again.
fn burst(n_lines: u64, seconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        emit(n_lines / 2, 2);
        std::thread::sleep(Duration::from_secs(4));
    }
}

/// A process that ends at once when it is told to: what a stop costs by itself.
fn wait_for_term() {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGTERM);
    wanted.thread_block().expect("a signal can be blocked");
    println!("ready");
    let _ = wanted.wait();
}
