//! Faults of the past that an engine could repeat, each named after its report, on whole containers of the embedded engine. The runtime's own are
//! in `runtime.rs`, the store's beside its code. Each has been seen to fail with its check removed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orlop::engine::{ContainerSpec, Engine, ExecSpec};

use super::crowd::{command, command_line};
use super::embedded::{Lab, places, sh};

/// Runs a command in a running container: what it wrote.
fn exec(lab: &Lab, id: &str, words: &[&str]) -> String {
    command_line(lab, &[&["exec", id], words].concat())
}

#[test]
fn cve_2020_15257_no_socket_has_an_abstract_name_and_all_are_private() {
    let lab = Lab::new();
    let abstract_names = || -> Vec<String> {
        let text = std::fs::read_to_string("/proc/net/unix").unwrap();
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(7))
            .filter(|it| it.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    let id = lab.run(&ContainerSpec { network_mode: Some("host".to_owned()), ..sh("sleep 600") });
    assert!(abstract_names().iter().all(|name| !name.contains("orlop") && !name.contains(&id[..12])));
    // The container shares the host's network: what it could connect to by name is what it sees.
    let seen = exec(&lab, &id, &["cat", "/proc/net/unix"]);
    assert!(
        !seen.lines().any(|line| line.contains('@') && (line.contains("orlop") || line.contains(&id[..12]))),
        "{seen}"
    );
    let dir = places(lab.dir.path()).run.join(&id);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("shim.sock"))), (0o700, 0o600));
    lab.remove(&id);
}

#[test]
fn cve_2022_0492_the_cgroup_file_system_cannot_be_written() {
    let lab = Lab::new();
    let script = "for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/cgroup.procs \
         /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/*/notify_on_release; do \
         [ -e $f ] && { (echo 1 > $f) 2>/dev/null && echo wrote $f; }; done; \
         for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/mine 2>/dev/null && echo made $d/mine; done; \
         mkdir /tmp/m; mount -t cgroup -o rdma c /tmp/m 2>/dev/null && echo mounted v1; \
         mount -t cgroup2 c /tmp/m 2>/dev/null && echo mounted v2; ls /sys/fs/cgroup | wc -l";
    let (code, text) = lab.output(&sh(script));
    let mut lines = text.lines();
    let n_seen: usize = lines.next_back().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    assert!(code == 0 && n_seen > 0, "there is something to protect: {text}");
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn cve_2022_1227_top_executes_nothing_of_the_container() {
    let lab = Lab::new();
    let script = "for f in ps sh2 nsenter; do rm -f /bin/$f; printf '#!/bin/sh\\ntouch /tmp/executed\\n' > /bin/$f; \
         busybox chmod 755 /bin/$f; done; touch /tmp/ready; exec sleep 6000";
    let spec = ContainerSpec { env: vec!["PATH=/bin".to_owned()], ..sh(script) };
    let id = lab.run(&spec);
    let deadline = std::time::Instant::now() + super::embedded::PATIENCE;
    while !exec(&lab, &id, &["ls", "/tmp"]).contains("ready") {
        assert!(std::time::Instant::now() < deadline, "it does not get ready");
    }
    for arguments in ["", "-ef", "aux", "-o pid,user,comm"] {
        let table = lab.block_on(lab.engine.containers().top(&id, arguments)).unwrap();
        assert!(table.rows.iter().any(|row| row.iter().any(|cell| cell.contains("sleep"))), "{arguments}: {table:?}");
    }
    assert_eq!(exec(&lab, &id, &["ls", "/tmp"]), "ready\n");
    lab.remove(&id);
}

#[test]
fn cve_2022_24769_run_and_exec_have_nothing_inheritable() {
    let lab = Lab::new();
    let id = lab.run(&sh("grep Cap /proc/self/status; exec sleep 600"));
    let of_exec = exec(&lab, &id, &["grep", "Cap", "/proc/self/status"]);
    let of_user = exec(&lab, &id, &["cat", "/proc/1/status"]);
    for text in [of_exec, of_user] {
        for set in ["CapInh", "CapAmb"] {
            assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
        }
        assert!(text.contains("CapEff:\t00000000a80425fb"), "{text}");
    }
    lab.remove(&id);
}

#[test]
fn cve_2022_36109_groups_are_the_users_in_run_and_exec() {
    let lab = Lab::new();
    let groups = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Groups:")).map(str::to_owned);
        line.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let as_web = ContainerSpec {
        user: Some("web".to_owned()),
        group_add: vec!["4321".to_owned()],
        ..sh("cat /proc/self/status")
    };
    assert_eq!(groups(&lab.output(&as_web).1), ["29", "34", "4321"]);
    let id = lab.run(&sh("sleep 600"));
    let spec = ExecSpec { cmd: vec!["true".to_owned()], ..ExecSpec::default() };
    lab.block_on(lab.engine.execs().create(&id, &spec)).unwrap();
    let of_exec = exec(&lab, &id, &["cat", "/proc/self/status"]);
    assert!(!groups(&of_exec).contains(&"29".to_owned()), "{of_exec}");
    let of_web = command_line(&lab, &["exec", "-u", "web", &id, "cat", "/proc/self/status"]);
    assert_eq!(groups(&of_web), ["29", "34"]);
    lab.remove(&id);
}

/// GHSA-6fw5-f8r9-fgfm, GHSA-jq35-85cj-fj4p: counters of the host that tell what its other users type and compute.
#[test]
fn ghsa_6fw5_side_channels_are_covered() {
    let lab = Lab::new();
    let script = "cat /proc/interrupts /proc/timer_list /proc/keys 2>/dev/null; \
         for d in /sys/devices/virtual/powercap /sys/firmware; do [ -d $d ] && ls -A $d; done; \
         for d in /sys/devices/system/cpu/cpu*/thermal_throttle; do [ -d $d ] && ls $d; done; true";
    assert_eq!(lab.output(&sh(script)), (0, String::new()));
}

/// What an image or a container calls itself must not be able to drive the terminal of who lists it.
#[test]
fn names_and_commands_reach_the_terminal_without_control_characters() {
    let lab = Lab::new();
    let spec = ContainerSpec {
        labels: [("title".to_owned(), "\u{1b}]0;label\u{7}".to_owned())].into(),
        cmd: Some(vec!["echo".to_owned(), "\u{1b}]0;evil\u{7}\u{9b}2J\r\n".to_owned()]),
        ..sh("")
    };
    let id = lab.create(&spec).unwrap();
    let formats: [&[&str]; 4] = [
        &["ps", "-a", "--no-trunc"],
        &["ps", "-a", "--no-trunc", "--format", "table {{.Command}}\t{{.Labels}}"],
        &["ps", "-a", "--format", "json"],
        &["inspect", &id],
    ];
    for words in formats {
        let text = command_line(&lab, words);
        let is_bad = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(is_bad), "{words:?}: {text:?}");
    }
    lab.remove(&id);
}

/// Compressed archives are unpacked by this program alone, wherever the caller's PATH leads.
#[test]
fn cve_2026_41567_no_program_is_run_to_decompress() {
    let lab = Lab::new();
    let dir = lab.dir.path().join("evil");
    std::fs::create_dir(&dir).unwrap();
    let trace = lab.dir.path().join("executed");
    for name in ["xz", "unxz", "unpigz", "pigz", "gzip", "gunzip", "zstd", "unzstd", "tar", "bzip2"] {
        let path = dir.join(name);
        crate::program::write(&path, format!("#!/bin/sh\necho {name} >> {}\nexec cat\n", trace.display()));
    }
    let tar = super::embedded::busybox_tar().unwrap();
    let packed = |name: &str, bytes: Vec<u8>| {
        let path = lab.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let archives = [
        packed("a.tar.gz", gzip.finish().unwrap()),
        packed("a.tar.zst", zstd::encode_all(&tar[..], 1).unwrap()),
        packed("a.tar", tar),
    ];
    for archive in archives {
        let mut import = command(&lab, &["import", archive.to_str().unwrap(), "packed:1"]);
        let out = import.env("PATH", format!("{}:/usr/bin:/bin", dir.display())).output().unwrap();
        assert!(out.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&out.stderr));
    }
    assert!(!trace.exists(), "{}", std::fs::read_to_string(&trace).unwrap());
}
