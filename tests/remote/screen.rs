//! The real program's screen on dockerd over a line that is slow, and over one on which nothing moves any more: it is the person's all the time.

use std::time::Instant;

use orlop::engine::Engine;
use orlop::remote::Remote;

use crate::cuts::spec;
use crate::daemons::{self, DOCKERD, Daemon};
use crate::driver::{Setup, Tty};
use crate::line::Line;
use crate::world::runtime;

/// Of the daemon's bytes, in a second; the container writes far more.
const SLOW: u64 = 250_000;
/// Three times what the screen keeps of a log at most.
const MAX_RSS_BYTES: u64 = 96 << 20;

/// The screen on a daemon of its own, one of whose two containers writes 16 MB as fast as it can and goes on living.
fn flooded(test: &str, body: impl FnOnce(&Line, &mut Tty)) {
    if !daemons::is_here(test, DOCKERD) {
        return;
    }
    let daemon = Daemon::dockerd(&[]);
    // The word is not to be found in the command, which the screen shows too.
    let flood = format!("yes $(printf 'wa%s ' {}) | head -c 16m; sleep 1000", "ve ".repeat(20));
    runtime().block_on(async {
        run(&daemon.engine(), "flood", &flood).await;
        run(&daemon.engine(), "idle", "sleep 1000").await;
    });
    let line = Line::to(&daemon.socket());
    line.rate_per_s(SLOW);
    let address = line.endpoint().to_string();
    let mut tty = Setup::orlop(&["-H", &address]).start(120, 40);
    tty.wait_for("▌ flood");
    tty.write("l");
    tty.wait_for("wave wave");
    body(&line, &mut tty);
    tty.write("q");
    assert_eq!(tty.wait_exit(), 0);
}

async fn run(engine: &Remote, name: &str, script: &str) {
    engine.containers().create(Some(name), &spec(script)).await.unwrap();
    engine.containers().start(name).await.unwrap();
}

/// What needs no daemon changes with its key: help, the row, the tab, the pane.
fn answers(tty: &mut Tty) {
    let no_line = "waiting for the first line";
    tty.write("?");
    tty.wait_for("Keys here");
    tty.write("\x1b");
    tty.wait_gone("Keys here");
    tty.write("1j");
    tty.wait_for("▌ idle");
    tty.wait_for(no_line);
    tty.write("]");
    tty.wait_gone(no_line);
    tty.write("l");
    tty.wait_for(no_line);
    tty.write("1k");
    tty.wait_for("▌ flood");
    tty.write("2");
    tty.wait_for("Used by");
    tty.write("1");
    tty.wait_gone("Used by");
}

fn rss_bytes(tty: &Tty) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tty.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_flood_over_a_slow_line_leaves_the_keys_alone() {
    flooded("a_flood_over_a_slow_line_leaves_the_keys_alone", |line, tty| {
        let end = Instant::now() + daemons::PATIENCE;
        while line.n_given() < 4 * SLOW {
            assert!(Instant::now() < end, "{} bytes have come", line.n_given());
            answers(tty);
        }
        assert!(rss_bytes(tty) < MAX_RSS_BYTES, "{} bytes", rss_bytes(tty));
    });
}

#[test]
fn a_line_on_which_nothing_moves_leaves_the_keys_alone() {
    flooded("a_line_on_which_nothing_moves_leaves_the_keys_alone", |line, tty| {
        line.stall();
        answers(tty);
        tty.wait_for("the engine does not answer");
        let n_given = line.n_given();
        answers(tty);
        assert_eq!(line.n_given(), n_given, "it is not stalled");
    });
}
