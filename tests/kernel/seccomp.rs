//! The default profile as a container meets it: system calls by programs that do nothing else, and the same ones without the profile, so that
//! a refusal is seen to be the profile's. x86-64 only: the programs are machine code.
#![cfg(target_arch = "x86_64")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orlop::engine::spec::MountKind;
use orlop::engine::{ContainerSpec, MountSpec};

use super::embedded::{Lab, sh};

const EPERM: u8 = 1;
const EFAULT: u8 = 14;
const EINVAL: u8 = 22;
const ENOSYS: u8 = 38;

/// One system call that a container has no business with.
struct Probe {
    name: &'static str,
    call: [u64; 5],
    refused_with: u8,
    /// The kernel's own answer, where it is another one and the same on every kernel.
    without_profile: Option<u8>,
}

/// (name, number and arguments, refused with, without the profile).
const fn probe(name: &'static str, call: [u64; 5], refused_with: u8, without_profile: Option<u8>) -> Probe {
    Probe { name, call, refused_with, without_profile }
}

/// Numbers are those of x86-64.
const PROBES: [Probe; 14] = [
    probe("af_alg", [41, 38, 5, 0, 0], EPERM, None),
    probe("af_alg_with_high_bits", [41, 0xffff_ffff_0000_0026, 5, 0, 0], EPERM, None),
    probe("af_vsock", [41, 40, 1, 0, 0], EPERM, None),
    probe("keyctl", [250, 9999, 0, 0, 0], EPERM, Some(95)), // EOPNOTSUPP: no such operation
    probe("add_key", [248, 0, 0, 0, 0], EPERM, Some(EFAULT)),
    probe("request_key", [249, 0, 0, 0, 0], EPERM, Some(EFAULT)),
    probe("bpf", [321, 0, 0, 0, 0], EPERM, None),
    probe("userfaultfd", [323, 0, 0, 0, 0], EPERM, None),
    probe("unshare_user", [272, 0x1000_0000, 0, 0, 0], EPERM, Some(0)),
    probe("clone_user", [56, 0x1000_0000, 0, 0, 0], EPERM, None),
    probe("clone3", [435, 0, 0, 0, 0], ENOSYS, Some(EINVAL)),
    probe("mount", [165, 0, 0, 0, 0], EPERM, Some(EFAULT)),
    probe("io_uring_setup", [425, 1, 0, 0, 0], EPERM, None),
    probe("personality", [135, 0x40_0000, 0, 0, 0], EPERM, Some(0)),
];

/// A static program that makes one call and exits with its error number (0 when it succeeds with 0).
fn program(call: [u64; 5]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = Vec::new();
    // rax, rdi, rsi, rdx, r10.
    for (opcode, value) in [[0x48, 0xb8], [0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba]].iter().zip(call) {
        code.extend_from_slice(opcode);
        code.extend_from_slice(&value.to_le_bytes());
    }
    code.extend_from_slice(&[0x0f, 0x05]); // syscall
    code.extend_from_slice(&[0xf7, 0xd8, 0x89, 0xc7]); // edi = -eax
    code.extend_from_slice(&[0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit(edi)
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2u16, 62] {
        elf.extend_from_slice(&half.to_le_bytes()); // an executable, for x86-64
    }
    elf.extend_from_slice(&1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes()); // entry, program headers, sections
    }
    elf.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes()); // sizes and numbers of headers
    }
    for word in [1u32, 5] {
        elf.extend_from_slice(&word.to_le_bytes()); // load, readable and executable
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&code);
    elf
}

/// Runs every probe in one container; their exit codes by name.
fn answers(lab: &Lab, programs: &Path, security: &[&str]) -> Vec<(String, u8)> {
    let mount = MountSpec {
        kind: MountKind::Bind {
            source: programs.display().to_string(),
            propagation: None,
            create: false,
            non_recursive: false,
        },
        target: "/probes".to_owned(),
        read_only: true,
    };
    let spec = ContainerSpec {
        mounts: vec![mount],
        security_opts: security.iter().map(|it| (*it).to_owned()).collect(),
        ..sh("for it in /probes/*; do $it; echo ${it##*/} $?; done")
    };
    let (code, text) = lab.output(&spec);
    assert_eq!(code, 0, "{text}");
    let line = |line: &str| {
        let (name, code) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), code.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    text.lines().map(line).collect()
}

#[test]
fn cve_2026_31431_what_the_profile_refuses_is_refused_in_a_container() {
    let dir = tempfile::Builder::new().prefix("orlop-seccomp-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for probe in &PROBES {
        let path = dir.path().join(probe.name);
        crate::program::write(&path, program(probe.call));
    }
    let lab = Lab::new();
    let seen = answers(&lab, dir.path(), &[]);
    let open = answers(&lab, dir.path(), &["seccomp=unconfined"]);
    let of = |answers: &[(String, u8)], name: &str| answers.iter().find(|it| it.0 == name).map(|it| it.1);
    for probe in &PROBES {
        assert_eq!(of(&seen, probe.name), Some(probe.refused_with), "{}: {seen:?}", probe.name);
        let own = of(&open, probe.name);
        assert!(probe.without_profile.is_none() || own == probe.without_profile, "{} unconfined: {open:?}", probe.name);
    }
}

#[test]
fn ordinary_programs_notice_nothing_of_it() {
    let script = "set -e; seq 1000 | sort -n | wc -l; mkdir /tmp/a; echo x > /tmp/a/b; cat /tmp/a/b; \
                  rm -r /tmp/a; (sleep 0; echo child) & wait; kill -0 $$; stat -c %a /tmp; dd if=/dev/zero bs=1k count=4 2>/dev/null | wc -c";
    let (code, text) = Lab::new().output(&sh(script));
    assert_eq!((code, text.split_whitespace().collect::<Vec<_>>()), (0, vec!["1000", "x", "child", "1777", "4096"]));
}
