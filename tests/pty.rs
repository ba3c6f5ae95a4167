//! The real binary on a real pseudo-terminal, on the made-up engine: what it leaves behind, whatever ends it.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[path = "pty/driver.rs"]
mod driver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{Setup, Tty};
use nix::sys::signal::Signal;

/// What must have been written when the terminal is given back.
const GIVEN_BACK: [&str; 3] = ["\x1b[?1049l", "\x1b[?25h", "\x1b[?2004l"];

fn demo() -> Setup {
    Setup::orlop(&["--demo"])
}

/// Waits for the end and checks that nothing of the screen is left.
fn check_restored(tty: &mut Tty, expected_code: i32) {
    let code = tty.wait_exit();
    let tail = tty.tail(400);
    for order in GIVEN_BACK {
        assert!(tail.contains(order), "{order:?} is missing at the end: {tail:?}");
    }
    assert_eq!(tty.modes(), tty.first_modes(), "the line discipline is not as it was");
    assert_eq!(code, expected_code);
}

#[test]
fn quitting_gives_the_terminal_back() {
    let mut tty = demo().start(120, 40);
    tty.wait_for("web-1");
    assert_ne!(tty.modes(), tty.first_modes(), "the terminal is not in raw mode");
    tty.write("q");
    check_restored(&mut tty, 0);
}

#[test]
fn signals_give_the_terminal_back() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let mut tty = demo().start(120, 40);
        tty.wait_for("web-1");
        tty.signal(signal);
        check_restored(&mut tty, code);
    }
}

/// Names a file; while it exists, the clock of the screen panics.
const BREAKS: &str = "ORLOP_TEST_BREAKS";

/// The other side of `a_panic_gives_the_terminal_back`: does nothing unless started by it.
#[test]
fn a_screen_whose_clock_breaks() {
    let Some(file) = std::env::var_os(BREAKS).map(std::path::PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Arc::new(orlop::engine::fake::Fake::demo());
    let mut options = orlop::tui::TuiOptions::new(engine, orlop::engine::HostEntry::default());
    options.clock = Arc::new(move || {
        assert!(!file.exists(), "the clock broke");
        std::time::SystemTime::now()
    });
    runtime.block_on(orlop::tui::run(options)).unwrap();
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("now");
    let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let words = [&own, "--exact", "a_screen_whose_clock_breaks", "--nocapture"].map(ToString::to_string).to_vec();
    let mut tty = Setup::new(words).env(BREAKS, &file.to_string_lossy()).start(120, 40);
    tty.wait_for("web-1");
    std::fs::write(&file, "").unwrap();
    tty.write("j");
    assert_eq!(tty.wait_exit(), 101);
    let tail = tty.tail(4000);
    let given_back = tail.rfind(GIVEN_BACK[0]).expect("the screen is left");
    assert!(tail[given_back..].contains("the clock broke"), "the message comes after the screen: {tail:?}");
    for order in GIVEN_BACK {
        assert!(tail.contains(order), "{order:?} is missing: {tail:?}");
    }
    assert_eq!(tty.modes(), tty.first_modes(), "the line discipline is not as it was");
}

#[test]
fn ctrl_c_leaves_when_nothing_runs() {
    let mut tty = demo().start(80, 24);
    tty.wait_for("web-1");
    tty.write("\x03");
    check_restored(&mut tty, 0);
}

#[test]
fn a_terminal_that_goes_away_ends_the_program() {
    let mut tty = demo().start(80, 24);
    tty.wait_for("web-1");
    tty.hang_up();
    let start = Instant::now();
    tty.wait_exit();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn ctrl_z_stops_it_and_fg_brings_it_back() {
    let mut tty = Setup::shell().start(100, 30);
    tty.wait_for("$ ");
    tty.write(&format!("{} --demo\r", driver::ORLOP));
    tty.wait_for("1 Containers");
    tty.write("\x1a");
    tty.wait_for("Stopped");
    assert!(tty.tail(2000).contains("\x1b[?1049l"), "the shell would write onto the screen");
    tty.write("fg\r");
    tty.wait_for("2 Images");
    tty.write("q");
    // The shell throws away what is typed before it asks again.
    tty.wait_until("the shell does not ask again", |screen| screen.trim_end().ends_with("\n$"));
    tty.write("exit\r");
    tty.wait_exit();
}

#[test]
fn a_new_size_is_a_new_layout() {
    let mut tty = demo().start(120, 40);
    tty.wait_for("2 Images");
    tty.resize(40, 10);
    tty.wait_for("2 Ima ");
    tty.resize(18, 4);
    tty.wait_for("too small");
    tty.resize(120, 40);
    tty.wait_for("4 Networks");
}

#[test]
fn without_colours_the_selection_still_shows() {
    let mut tty = demo().env("NO_COLOR", "1").start(120, 40);
    tty.wait_for("web-1");
    let written = tty.tail(usize::MAX);
    for style in styles(&written) {
        let is_colour = |code: &str| matches!(code.parse::<u8>(), Ok(30..=38 | 40..=48 | 90..=97 | 100..=107));
        assert!(!style.split(';').any(is_colour), "a colour was written: {style}");
    }
    assert!(written.contains("\x1b[7m") || written.contains(";7m"), "nothing is reversed");
}

/// The parameters of every SGR sequence.
fn styles(written: &str) -> impl Iterator<Item = &str> {
    written.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
        rest[end..].starts_with('m').then(|| &rest[..end])
    })
}

#[test]
fn plain_terminals_get_plain_text() {
    for (term, lang) in [("vt100", "C"), ("dumb", "C"), ("unheard-of", "C"), ("", "")] {
        let mut tty = demo().env("TERM", term).env("LANG", lang).start(80, 24);
        tty.wait_for("web-1");
        assert!(tty.tail(usize::MAX).is_ascii(), "TERM={term} LANG={lang}: something beyond ASCII was written");
        tty.write("q");
        check_restored(&mut tty, 0);
    }
}

#[test]
fn a_screen_at_rest_is_nearly_silent() {
    let mut tty = demo().start(120, 40);
    tty.wait_for("web-1");
    // Networks over the whole screen: no stats are shown, so only the header's load may change.
    tty.write("4z");
    tty.wait_for("SCOPE");
    tty.pump(Duration::from_secs(1));
    let before = tty.n_bytes();
    tty.pump(Duration::from_secs(3));
    let written = tty.n_bytes() - before;
    assert!(written < 300, "{written} bytes in 3 s on a screen where next to nothing changes");
}

#[test]
fn a_shell_in_the_frame_types_back_and_ends() {
    let mut tty = demo().start(100, 30);
    tty.wait_for("web-1");
    tty.write("/web-1\r\x1b");
    tty.pump(Duration::from_millis(200));
    tty.write("e");
    tty.wait_for("detach");
    tty.wait_for("# ");
    tty.write("echo one-$((1))two\r");
    tty.wait_for("two");
    tty.write("\x1d");
    tty.wait_for("1 Containers");
    tty.write("q");
    check_restored(&mut tty, 0);
}
