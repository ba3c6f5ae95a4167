//! The walk: what a person does with a host in a day, by keys alone; its daemon goes and comes back; its link is cut under a log that is followed.
//! It knows neither the daemon nor the way to it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::line::Cut;
use crate::person::Person;
use crate::way::{Kind, Way};

const ESC: &str = "\x1b";
const CTRL_S: &str = "\x13";
const CTRL_U: &str = "\x15";
const DETACH: &str = "\x1d";
const RIGHT: &str = "\x1b[C";

/// Twenty numbered lines a second; ends at once when asked to, though it is its own init. Podman 4.3 leaves lines out for a follower that is slower
/// than the container, cut or not: these it has time for.
const COUNT: &str = "sh -c 'trap \"exit 0\" TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done'";
/// Answers what it is told.
const ASK: &str = "sh -c 'trap \"exit 0\" TERM; while read x; do echo heard-$x; done'";

pub fn walk(mut way: Way) {
    let address = way.straight.clone();
    let mut person = Person::at(&way, &address);
    run(&mut person, &way, "count", COUNT, "\t\t");
    looks_at_it(&mut person);
    talks_to_it(&mut person, &way);
    pulls(&mut person, &way);
    makes_a_volume(&mut person);
    looks_at_networks(&mut person);
    daemon_goes_and_comes_back(&mut person, &mut way);
    stops_it(&mut person);
    person.leaves();
    let through = way.through.clone();
    let mut person = Person::at(&way, &through);
    link_is_cut(&mut person, &mut way);
    removes_everything(&mut person);
    person.leaves();
}

/// Login and first answers together take longer than a daemon that is near may be silent.
pub fn far_away(way: Way) {
    way.delay(Duration::from_millis(900));
    let mut person = Person::at(&way, &way.through);
    person.sees_no("connecting");
    person.shot("far");
    person.leaves();
}

/// Runs a container without a network through the form. `terminal` are the keys from the command to the terminal.
fn run(person: &mut Person, way: &Way, name: &str, command: &str, terminal: &str) {
    // This dockerd has no other network; podman has one of its own, which stands first.
    let none = if way.kind == Kind::Podman { RIGHT } else { "" };
    person.types("1n");
    person.sees("Run an image");
    person.types(&format!("{name}\t{command}{terminal}\t\t\t\t{none}"));
    person.shot(&format!("form-{name}"));
    person.types(CTRL_S);
    person.sees_no("Run an image");
    person.sees(&format!("started {name}"));
    person.waits_for_cursor_on(name);
    person.waits_for_row(name, "● up");
}

fn looks_at_it(person: &mut Person) {
    person.types("l");
    person.sees_line(3);
    person.sees("FOLLOW");
    person.shot("logs");
    person.types("e");
    person.sees("detach");
    person.tty.wait_until("no prompt comes", |screen| screen.contains("# "));
    person.types("echo in-$((40+2))-side\r");
    person.sees("in-42-side");
    person.shot("shell");
    person.types("exit\r");
    person.sees("the shell in count ended with exit code 0");
    person.types("t");
    person.sees("Processes");
    person.tty.wait_until("nothing is measured", has_stats);
    person.shot("stats");
    person.types("i");
    person.sees("RestartCount");
    person.shot("inspect");
}

/// CPU and memory with numbers.
fn has_stats(screen: &str) -> bool {
    let row = |label: &str| screen.lines().find(|line| line.contains(label)).unwrap_or_default().to_owned();
    row("│ CPU ").contains("% of ") && row("│ Memory ").contains("(host)") && !row("│ Memory ").contains(" 0B of")
}

fn talks_to_it(person: &mut Person, way: &Way) {
    // A terminal and an open stdin.
    run(person, way, "ask", ASK, "\t\t ");
    person.types("a");
    person.sees("detach");
    person.types("hello\r");
    person.sees("heard-hello");
    person.shot("attach");
    person.types(DETACH);
    person.sees("detached from ask; it goes on");
    person.waits_for_row("ask", "● up");
}

fn stops_it(person: &mut Person) {
    person.types("1g");
    person.waits_for_cursor_on("ask");
    person.types("s");
    person.sees("stopped ask");
    person.waits_for_row("ask", "○ exit 0");
    person.shot("stopped");
}

fn pulls(person: &mut Person, way: &Way) {
    let reference = way.images.reference();
    person.types("A");
    person.sees("Pull from a registry");
    person.types("p");
    person.sees("Pull an image");
    person.types(&format!("{reference}\r"));
    person.sees("fetching");
    person.shot("pulling");
    person.sees(&format!("pulled {reference}"));
    person.shot("pulled");
    person.types(ESC);
    person.sees_no("Jobs");
    person.sees("2 Images 2");
    person.types("2/team\r");
    person.sees("2 Images 1/2");
    person.shot("images");
    person.types("x");
    person.sees("Remove 1 image");
    person.types("y");
    person.sees_no("Remove 1 image");
    person.sees("2 Images 0/1");
    person.types(ESC);
    person.sees("2 Images 1");
}

fn makes_a_volume(person: &mut Person) {
    person.types("3");
    person.sees("3 Volumes 0");
    person.types("n");
    person.sees("Create a volume");
    person.types("store\r");
    person.sees("created volume store");
    person.sees("3 Volumes 1");
    person.waits_for_cursor_on("store");
    person.shot("volumes");
    person.types("x");
    person.sees("Remove 1 volume");
    person.types("y");
    person.sees("3 Volumes 0");
}

fn looks_at_networks(person: &mut Person) {
    person.types("4");
    person.sees("SCOPE");
    person.shot("networks");
    person.types("i");
    person.sees("Driver");
    person.shot("network");
    person.types(ESC);
}

/// The log is followed meanwhile, and the cursor is not on the first row.
fn daemon_goes_and_comes_back(person: &mut Person, way: &mut Way) {
    person.types("1G");
    person.waits_for_cursor_on("count");
    person.types("l");
    person.sees_line(3);
    person.types(ESC);
    std::thread::scope(|scope| {
        let daemon = &mut way.daemon;
        let stopping = scope.spawn(move || daemon.stop(Signal::SIGTERM));
        person.sees("  away");
        person.sees("reconnecting");
        stopping.join().unwrap();
    });
    person.shot("away");
    for row in ["count", "ask"] {
        person.sees(row);
    }
    person.types("k");
    person.waits_for_cursor_on("ask");
    person.types("j");
    person.waits_for_cursor_on("count");
    person.types("?");
    person.sees("Keys here");
    person.types(ESC);
    person.sees_no("Keys here");
    let before = person.newest_line();
    way.daemon.start_again();
    person.sees("the engine is back");
    person.sees_no("  away");
    person.sees_no("reconnecting");
    person.waits_for_cursor_on("count");
    person.types("l");
    person.sees_line(before + 40);
    person.shot("back");
    person.check_saved_log("count", before + 40);
    person.types(ESC);
}

fn link_is_cut(person: &mut Person, way: &mut Way) {
    person.sees("● up");
    person.types("1g");
    person.waits_for_cursor_on("count");
    person.types("l");
    person.sees_line(1);
    for how in [Cut::InOrder, Cut::Reset, Cut::InOrder] {
        let before = person.newest_line();
        person.sees_line(before + 10);
        way.cut(how);
        person.sees_line(before + 50);
    }
    person.shot("cut");
    let before = person.newest_line();
    person.check_saved_log("count", before);
    person.types(ESC);
    person.sees("● up");
}

fn removes_everything(person: &mut Person) {
    for n_left in [1, 0] {
        person.types("1x");
        person.sees("Remove 1 container");
        if n_left == 1 {
            person.shot("remove");
        }
        person.types("y");
        person.sees_no("Remove 1 container");
        person.sees(&format!("1 Containers {n_left}"));
    }
    person.sees("1 image is here, no container.");
    person.types(&format!("2{CTRL_U}"));
    person.shot("empty");
}
