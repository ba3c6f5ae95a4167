//! The screen on the embedded engine, by keys alone: what a person does with a real container from the first key to the last, two people on
//! one store, and a screen that is killed in the middle. Every wait has a deadline; nothing is left but the store's empty directories.

use std::path::Path;

use nix::sys::signal::Signal;

#[path = "../pty/driver.rs"]
mod driver;

use driver::{Setup, Tty};

const ESC: &str = "\x1b";
const CTRL_S: &str = "\x13";
const CTRL_U: &str = "\x15";

/// Ends at once when asked to, though it is its own init; says a line a moment.
const TICKS: &str = "sh -c 'trap \"exit 0\" TERM; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done'";

fn store() -> tempfile::TempDir {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root");
    tempfile::Builder::new().prefix("orlop-screen-").tempdir().unwrap()
}

/// A screen on the store, with room for all panes.
fn person(store: &Path) -> Tty {
    let mut tty = Setup::on_store(store).start(120, 36);
    tty.wait_for("1 Containers");
    tty
}

/// Makes an image from this machine's own shell, as a newcomer would.
fn make_image(tty: &mut Tty) {
    tty.wait_for("Nothing here yet.");
    tty.write("A");
    tty.wait_for("Make one from this host");
    tty.write("h");
    tty.wait_for("Programs");
    tty.write(&format!("\t{CTRL_U}/bin/sh /bin/sleep /bin/ls {CTRL_S}"));
    tty.wait_for("made tools:latest");
    tty.wait_for("2 Images 1");
}

/// Runs a container that ticks, through the form.
fn run_container(tty: &mut Tty, name: &str) {
    tty.write("n");
    tty.wait_for("Run an image");
    tty.write(&format!("{name}\t{TICKS}{CTRL_S}"));
    tty.wait_gone("Run an image");
    tty.wait_for(&format!("started {name}"));
    tty.wait_for("● up");
}

fn remove_container(tty: &mut Tty) {
    tty.write("x");
    tty.wait_for("Remove 1 container");
    tty.write("y");
    tty.wait_gone("Remove 1 container");
}

fn check_empty(store: &Path) {
    let left: Vec<_> = std::fs::read_dir(store.join("root/containers")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "containers are left on disk: {left:?}");
}

#[test]
fn a_container_from_the_first_key_to_the_last() {
    let store = store();
    let mut tty = person(store.path());
    make_image(&mut tty);
    run_container(&mut tty, "web");

    tty.write("l");
    tty.wait_for("tick 3");
    tty.wait_for("FOLLOW");
    tty.write("e");
    tty.wait_for("detach");
    tty.wait_until("no prompt comes", |screen| screen.contains("# ") || screen.contains("$ "));
    tty.write("echo in-$((40+2))-side\r");
    tty.wait_for("in-42-side");
    tty.write("exit\r");
    tty.wait_gone("detach");
    tty.wait_for("1 Containers");

    tty.write("t");
    tty.wait_for("Processes");
    tty.wait_until("nothing is measured", |screen| screen.contains("% of ") && screen.contains("(host)"));
    tty.write("i");
    tty.wait_for("RestartCount");
    tty.write("d");
    tty.wait_for("running for");

    tty.write("P");
    tty.wait_for("‖ paused");
    tty.write("P");
    tty.wait_for("● up");
    tty.write("s");
    tty.wait_for("○ exit 0");
    tty.write("S");
    tty.wait_for("● up");
    tty.write("r");
    tty.wait_for("restarted web");
    tty.wait_for("● up");

    remove_container(&mut tty);
    tty.wait_for("1 image is here, no container.");
    // The first one goes back from the details.
    tty.write("qq");
    assert_eq!(tty.wait_exit(), 0);
    check_empty(store.path());
}

#[test]
fn an_image_is_saved_removed_and_loaded() {
    let store = store();
    let archive = store.path().join("tools.tar");
    let mut tty = person(store.path());
    make_image(&mut tty);
    tty.write("2\x10");
    tty.wait_for("what do you want to do?");
    tty.write("marked images to an archive\r");
    tty.wait_for("Save 1 image");
    tty.write(&format!("{}\r", archive.display()));
    tty.wait_for("saved ");
    tty.write("x");
    tty.wait_for("Remove 1 image");
    tty.write("y");
    tty.wait_for("2 Images 0");
    tty.write("A");
    tty.wait_for("Load an archive");
    tty.write("l");
    tty.wait_for("path of the archive");
    tty.write(&format!("{}\r", archive.display()));
    tty.wait_for("loaded tools:latest");
    tty.wait_for("2 Images 1");
    tty.write("q");
    assert_eq!(tty.wait_exit(), 0);
}

#[test]
fn two_screens_on_one_store_see_each_other_and_one_may_be_killed() {
    let store = store();
    let mut first = person(store.path());
    let mut second = person(store.path());
    make_image(&mut first);
    second.wait_for("2 Images 1");
    run_container(&mut first, "shared");
    second.wait_for("shared");
    second.wait_for("● up");
    second.write("P");
    first.wait_for("‖ paused");
    // The key turns round what its own screen shows.
    second.wait_for("‖ paused");
    second.write("P");
    first.wait_for("● up");
    second.wait_for("● up");

    // A shell of the first one's; then its screen is gone, and nothing else is.
    first.write("e");
    first.wait_for("detach");
    first.signal(Signal::SIGKILL);
    assert_eq!(first.wait_exit(), 137);
    second.write("l");
    second.wait_for("FOLLOW");
    second.wait_for("tick ");
    second.write(ESC);
    second.wait_for("● up");

    // A new one finds everything as it is.
    let mut third = person(store.path());
    third.wait_for("shared");
    third.wait_for("● up");
    third.write("s");
    second.wait_for("○ exit 0");
    remove_container(&mut second);
    third.wait_for("1 image is here, no container.");
    for tty in [&mut second, &mut third] {
        tty.write("q");
        assert_eq!(tty.wait_exit(), 0);
    }
    check_empty(store.path());
}
