//! Somebody at a screen on a host: keys, what is seen, numbered lines, and a picture of each station where `ORLOP_TEST_SHOTS` names a directory.
//! Used by `walk.rs`.

use std::path::PathBuf;
use std::time::Duration;

use crate::driver::{Setup, Tty};
use crate::way::Way;

const CTRL_S: &str = "\x13";

/// One screen, and the directory that it saves into.
pub struct Person {
    pub tty: Tty,
    dir: tempfile::TempDir,
    host: String,
}

impl Person {
    /// Opens the screen at this address of the way.
    pub fn at(way: &Way, address: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("orlop-person-").tempdir().unwrap();
        let setup: Setup = way.screen(address, dir.path());
        let mut tty = setup.start(120, 40);
        // All lists are there: what is typed before may find none of it.
        tty.wait_for("2 Images 1");
        tty.wait_gone("4 Networks 0");
        Self { tty, dir, host: way.name.clone() }
    }

    pub fn types(&mut self, keys: &str) {
        self.tty.write(keys);
    }

    pub fn sees(&mut self, shown: &str) {
        self.tty.wait_for(shown);
    }

    pub fn sees_no(&mut self, shown: &str) {
        self.tty.wait_gone(shown);
    }

    /// Writes what is on the screen, and all that was written to it, where somebody wants to look at it.
    pub fn shot(&mut self, station: &str) {
        let Some(dir) = std::env::var_os("ORLOP_TEST_SHOTS").map(PathBuf::from) else { return };
        // What was waited for may have come before the rest of its frame.
        self.tty.pump(Duration::from_millis(200));
        std::fs::create_dir_all(&dir).unwrap();
        let stem = dir.join(format!("{}-{station}", self.host)).display().to_string();
        std::fs::write(format!("{stem}.txt"), self.tty.screen()).unwrap();
        std::fs::write(format!("{stem}.raw"), self.tty.tail(usize::MAX)).unwrap();
    }

    /// Waits until the log on the screen is at this number or further.
    pub fn sees_line(&mut self, number: u32) {
        self.tty.wait_until(&format!("line {number} does not show up"), |screen| newest(screen) >= number);
    }

    pub fn newest_line(&self) -> u32 {
        newest(&self.tty.screen())
    }

    /// Waits until the cursor of the list is on the row with this name.
    pub fn waits_for_cursor_on(&mut self, name: &str) {
        self.waits_for_row(name, "▌");
    }

    /// Waits until the row with this name shows this too.
    pub fn waits_for_row(&mut self, name: &str, shown: &str) {
        let is_it = |line: &str| {
            let row = line.split("││").next().unwrap_or_default();
            row.split_whitespace().any(|word| word == name) && row.contains(shown)
        };
        self.tty.wait_until(&format!("no row of {name} shows {shown}"), |screen| screen.lines().any(is_it));
    }

    /// Saves the log on the screen and checks that it has every number once, in order.
    pub fn check_saved_log(&mut self, name: &str, at_least: u32) {
        self.types(CTRL_S);
        self.sees(&format!("saved to {name}.log"));
        let saved = std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap();
        let numbers: Vec<u32> = saved.lines().map(|line| line.trim_start_matches("line ").parse().unwrap()).collect();
        let whole: Vec<u32> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, whole, "{}: a line is repeated or lost", self.host);
        assert!(numbers.len() >= at_least as usize, "{}: only {} lines are there", self.host, numbers.len());
        std::fs::remove_file(self.dir.path().join(format!("{name}.log"))).unwrap();
    }

    pub fn leaves(mut self) {
        // The first one goes back from the details.
        self.types("1qq");
        assert_eq!(self.tty.wait_exit(), 0);
    }
}

/// The largest number of a numbered line on the screen.
fn newest(screen: &str) -> u32 {
    let after = screen.split("line ").skip(1);
    let numbers = after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    numbers.max().unwrap_or(0)
}
