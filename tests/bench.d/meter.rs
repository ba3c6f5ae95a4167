//! Whose CPU time: one branch of cgroups for each contender, in which its commands, daemons, supervisors and containers all run. The kernel
//! counts what a branch used, the dead included. `cpuacct` on cgroup v1, `cpu.stat` on v2.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where the branches are.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Every hierarchy that containers may make cgroups in.
    mounts: Vec<PathBuf>,
    counting: Option<Counting>,
    name: String,
}

#[derive(Clone, Debug)]
enum Counting {
    V1(PathBuf),
    V2(PathBuf),
}

impl Meter {
    /// `name` is that of the branch; nothing is made yet.
    pub fn new(name: &str) -> Self {
        let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut mounts = Vec::new();
        let mut counting = None;
        for line in text.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(place), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else { continue };
            let place = PathBuf::from(place);
            match kind {
                "cgroup" if options.split(',').any(|it| it == "cpuacct") => {
                    counting = Some(Counting::V1(place.clone()))
                }
                "cgroup2" if counting.is_none() => counting = Some(Counting::V2(place.clone())),
                "cgroup" | "cgroup2" => {}
                _ => continue,
            }
            mounts.push(place);
        }
        if counting.is_none() {
            println!("no cgroup counts CPU time here: the CPU column is empty\n");
        }
        Self { mounts, counting, name: name.to_owned() }
    }

    /// What `--cgroup-parent` takes, so that the containers of `who` count as its own.
    pub fn containers_of(&self, who: &str) -> String {
        format!("/{}/{who}/containers", self.name)
    }

    /// Moves this thread, and so the commands that it starts, into the branch of `who`.
    pub fn enter(&self, who: &str) {
        self.go(&format!("{}/{who}/commands", self.name));
    }

    /// Moves this thread to where nobody is measured.
    pub fn leave(&self) {
        self.go("");
    }

    fn go(&self, branch: &str) {
        let (root, file) = match &self.counting {
            Some(Counting::V1(root)) => (root, "tasks"),
            Some(Counting::V2(root)) => (root, "cgroup.procs"),
            None => return,
        };
        let dir = root.join(branch);
        fs::create_dir_all(&dir).expect("a cgroup");
        fs::write(dir.join(file), "0").expect("a cgroup can be entered");
    }

    /// CPU time that `who` has used so far; zero where nothing counts.
    pub fn cpu(&self, who: &str) -> Duration {
        let branch = format!("{}/{who}", self.name);
        match &self.counting {
            Some(Counting::V1(root)) => {
                let text = fs::read_to_string(root.join(branch).join("cpuacct.usage")).unwrap_or_default();
                Duration::from_nanos(text.trim().parse().unwrap_or(0))
            }
            Some(Counting::V2(root)) => {
                let text = fs::read_to_string(root.join(branch).join("cpu.stat")).unwrap_or_default();
                let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
                Duration::from_micros(micros.unwrap_or(0))
            }
            None => Duration::ZERO,
        }
    }

    /// Removes the branch; what still runs in it keeps its own part.
    pub fn remove(&self) {
        self.leave();
        for mount in &self.mounts {
            remove_below(&mount.join(&self.name));
        }
    }
}

/// A cgroup is removed by rmdir, from the leaves up.
fn remove_below(dir: &std::path::Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_below(&entry.path());
    }
    // One that is in use stays: the script that started us sweeps again when all processes are gone.
    let _ = fs::remove_dir(dir);
}
