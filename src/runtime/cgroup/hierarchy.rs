//! Which cgroup hierarchies this host has and which of them owns a controller: v1, v2 or hybrid, decided per controller
//! from /proc/self/mountinfo. Called by `runtime::cgroup` and by whoever reports the host. Must never write.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CgroupError;

/// A resource controller, in both generations' spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Io,
    Pids,
    Devices,
    Freezer,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
}

const NAMES: [(Controller, &str, &str); 14] = [
    (Controller::Cpu, "cpu", "cpu"),
    (Controller::Cpuacct, "cpuacct", ""),
    (Controller::Cpuset, "cpuset", "cpuset"),
    (Controller::Memory, "memory", "memory"),
    (Controller::Io, "blkio", "io"),
    (Controller::Pids, "pids", "pids"),
    (Controller::Devices, "devices", ""),
    (Controller::Freezer, "freezer", ""),
    (Controller::Hugetlb, "hugetlb", "hugetlb"),
    (Controller::NetCls, "net_cls", ""),
    (Controller::NetPrio, "net_prio", ""),
    (Controller::PerfEvent, "perf_event", ""),
    (Controller::Rdma, "rdma", "rdma"),
    (Controller::Misc, "misc", "misc"),
];

impl Controller {
    fn from_v1(name: &str) -> Option<Controller> {
        NAMES.iter().find(|(_, v1, _)| *v1 == name).map(|(it, _, _)| *it)
    }

    fn from_v2(name: &str) -> Option<Controller> {
        NAMES.iter().find(|(_, _, v2)| *v2 == name && !name.is_empty()).map(|(it, _, _)| *it)
    }

    /// As cgroup.subtree_control spells it; empty for controllers that v2 does not have.
    pub(super) fn v2_name(self) -> &'static str {
        NAMES.iter().find(|(it, _, _)| *it == self).map_or("", |(_, _, v2)| v2)
    }

    /// For messages: v1's spelling, which users know.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(it, _, _)| *it == self).map_or("", |(_, v1, _)| v1)
    }
}

/// The space-separated names of cgroup.controllers.
pub(super) fn parse_v2_controllers(text: &str) -> Vec<Controller> {
    text.split_whitespace().filter_map(Controller::from_v2).collect()
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub mountpoint: PathBuf,
    pub version: Version,
    /// What can be limited here; on v2 what the root offers.
    pub controllers: Vec<Controller>,
    /// What to give mount(2) to see the same hierarchy again: `cpu,cpuacct`, `none,name=systemd`; empty on v2.
    pub mount_data: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    V1,
    V2,
}

/// How the host as a whole looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None,
    V1,
    V2,
    Hybrid,
}

/// All hierarchies of this mount namespace, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads what is mounted now.
    pub fn discover() -> Result<Layout, CgroupError> {
        let file = "/proc/self/mountinfo";
        let text = fs::read_to_string(file).map_err(|source| CgroupError::Read {
            path: PathBuf::new(),
            file: file.to_owned(),
            source,
        })?;
        Ok(Layout::parse(&text, |root| fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()))
    }

    /// From mountinfo lines (man 5 proc); `v2_controllers` reads cgroup.controllers of the v2 root.
    fn parse(mountinfo: &str, v2_controllers: impl Fn(&Path) -> String) -> Layout {
        let mut layout = Layout::default();
        for found in mountinfo.lines().filter_map(parse_line) {
            // The same hierarchy may be mounted several times: the first one counts.
            let is_known = |it: &Hierarchy| it.version == found.version && it.mount_data == found.mount_data;
            if !layout.hierarchies.iter().any(is_known) {
                layout.hierarchies.push(found);
            }
        }
        for it in layout.hierarchies.iter_mut().filter(|it| it.version == Version::V2) {
            it.controllers = parse_v2_controllers(&v2_controllers(&it.mountpoint));
        }
        layout
    }

    pub fn mode(&self) -> Mode {
        let has = |version| self.hierarchies.iter().any(|it| it.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (false, false) => Mode::None,
            (true, false) => Mode::V1,
            (false, true) => Mode::V2,
            (true, true) => Mode::Hybrid,
        }
    }

    /// The hierarchy that owns `controller`.
    pub fn owner(&self, controller: Controller) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|it| it.controllers.contains(&controller))
    }
}

/// `36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices` → one hierarchy without v2 controllers.
fn parse_line(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mountpoint = PathBuf::from(unescape(left.split(' ').nth(4)?));
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    if version == Version::V2 {
        return Some(Hierarchy { mountpoint, version, controllers: Vec::new(), mount_data: String::new() });
    }
    let options: Vec<&str> = right.nth(1)?.split(',').collect();
    let controllers: Vec<Controller> = options.iter().filter_map(|it| Controller::from_v1(it)).collect();
    let data: Vec<&str> =
        options.into_iter().filter(|it| Controller::from_v1(it).is_some() || it.starts_with("name=")).collect();
    let mount_data = if controllers.is_empty() { format!("none,{}", data.join(",")) } else { data.join(",") };
    (!data.is_empty()).then_some(Hierarchy { mountpoint, version, controllers, mount_data })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1_HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /mnt/again rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/a\\040b rw,relatime - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn each_controller_has_one_owner() {
        let layout = Layout::parse(V1_HYBRID, |root| {
            assert_eq!(root, Path::new("/sys/fs/cgroup/a b"));
            "hugetlb misc new_one\n".to_owned()
        });
        assert_eq!(layout.mode(), Mode::Hybrid);
        let owner = |it| layout.owner(it).map(|it| it.mountpoint.to_str().unwrap());
        assert_eq!(owner(Controller::Cpuacct), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(owner(Controller::Memory), Some("/sys/fs/cgroup/memory"));
        assert_eq!(owner(Controller::Hugetlb), Some("/sys/fs/cgroup/a b"));
        assert_eq!(owner(Controller::Devices), None);
        assert_eq!(layout.hierarchies[0].mount_data, "cpu,cpuacct");
        assert_eq!(layout.hierarchies[2].mount_data, "none,name=systemd");
    }

    #[test]
    fn modes() {
        let mode = |text: &str| Layout::parse(text, |_| String::new()).mode();
        assert_eq!(mode(""), Mode::None);
        assert_eq!(mode("1 1 0:1 / /c rw - cgroup2 c rw"), Mode::V2);
        assert_eq!(mode("1 1 0:1 / /c rw - cgroup c rw,pids"), Mode::V1);
    }

    #[test]
    fn this_host_is_read() {
        assert!(Layout::discover().is_ok());
    }

    proptest! {
        #[test]
        fn any_mountinfo_is_survived(text in "([ -~]{0,40} - cgroup2? [ -~]{0,30}\n){0,4}|\\PC{0,80}") {
            let _ = Layout::parse(&text, |_| text.clone());
        }
    }
}
