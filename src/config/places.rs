//! Where an engine keeps things: a data root that survives a reboot and a run root that need not.
//! Called by `main`; passed down by value. Touches nothing on disk.

use std::path::{Path, PathBuf};

/// The two roots of one engine. Two engines with different roots know nothing of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Blobs, layers, volumes, containers, the index. 0700.
    pub root: PathBuf,
    /// Sockets and run state; normally on tmpfs. 0700.
    pub run: PathBuf,
}

/// What decides the places, taken from the process once so that tests can say it themselves.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub is_root: bool,
    pub orlop_root: Option<PathBuf>,
    pub orlop_run: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub uid: u32,
}

impl Places {
    /// Flags win over `ORLOP_ROOT`/`ORLOP_RUN`, these over the defaults of the user (XDG base directories) or of the system.
    pub fn choose(root_flag: Option<&Path>, run_flag: Option<&Path>, around: &Surroundings) -> Self {
        let root = root_flag.map(Path::to_path_buf).or_else(|| around.orlop_root.clone());
        let run = run_flag.map(Path::to_path_buf).or_else(|| around.orlop_run.clone());
        Self { root: root.unwrap_or_else(|| around.default_root()), run: run.unwrap_or_else(|| around.default_run()) }
    }

    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    pub fn container_run_dir(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }
}

impl Surroundings {
    fn default_root(&self) -> PathBuf {
        if self.is_root {
            return PathBuf::from("/var/lib/orlop");
        }
        let data = self.xdg_data_home.clone().or_else(|| self.home.as_ref().map(|home| home.join(".local/share")));
        data.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("orlop")
    }

    fn default_run(&self) -> PathBuf {
        if self.is_root {
            return PathBuf::from("/run/orlop");
        }
        match &self.xdg_runtime_dir {
            Some(dir) => dir.join("orlop"),
            None => PathBuf::from(format!("/tmp/orlop-{}", self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(root_flag: Option<&str>, around: &Surroundings, root: &str, run: &str) {
        let places = Places::choose(root_flag.map(Path::new), None, around);
        assert_eq!(places, Places { root: root.into(), run: run.into() });
    }

    #[test]
    fn flags_beat_environment_beats_defaults() {
        let system = Surroundings { is_root: true, ..Surroundings::default() };
        check(None, &system, "/var/lib/orlop", "/run/orlop");
        let env = Surroundings { orlop_root: Some("/e".into()), orlop_run: Some("/r".into()), ..system };
        check(None, &env, "/e", "/r");
        check(Some("/f"), &env, "/f", "/r");
    }

    #[test]
    fn a_user_gets_xdg_directories() {
        let user = Surroundings { home: Some("/home/a".into()), uid: 7, ..Surroundings::default() };
        check(None, &user, "/home/a/.local/share/orlop", "/tmp/orlop-7");
    }
}
