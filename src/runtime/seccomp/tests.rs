//! Tests of `seccomp`, beside it because they outgrew it.

use proptest::prelude::*;

use super::compile::{AND, AUDIT_X86, AUDIT_X86_64, JA, JEQ, JGE, JGT, LD, RET, X32_BIT};
use super::table::SYSCALLS;
use super::*;
use crate::oci::runtime::{
    Arch, Capability, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSeccompOperator as Op, LinuxSyscall,
};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const fn errno(number: u32) -> u32 {
    0x5_0000 | number
}

/// Runs a program as the kernel would.
fn run(program: &Program, audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut words = vec![number, audit, 0, 0];
    args.iter().for_each(|it| words.extend([*it as u32, (it >> 32) as u32]));
    let (mut at, mut acc) = (0usize, 0u32);
    loop {
        let it = program.insns[at];
        at += 1;
        match it.code {
            LD => acc = words[it.k as usize / 4],
            AND => acc &= it.k,
            JA => at += it.k as usize,
            RET => return it.k,
            JEQ | JGT | JGE => {
                let is_so = match it.code {
                    JEQ => acc == it.k,
                    JGT => acc > it.k,
                    _ => acc >= it.k,
                };
                at += usize::from(if is_so { it.jt } else { it.jf });
            }
            other => panic!("instruction {other:#x} is not one of ours"),
        }
    }
}

fn x64(name: &str) -> u32 {
    SYSCALLS.iter().find(|it| it.0 == name).map(|it| it.1 as u32).unwrap()
}

fn x86(name: &str) -> u32 {
    SYSCALLS.iter().find(|it| it.0 == name).map(|it| it.2 as u32).unwrap()
}

const NONE: [u64; 6] = [0; 6];

#[test]
fn table_is_sorted_and_agrees_with_libc() {
    assert!(SYSCALLS.windows(2).all(|it| it[0].0 < it[1].0));
    for (name, number) in [("read", 0), ("clone3", 435), ("bpf", 321), ("openat2", 437), ("socket", 41)] {
        assert_eq!(x64(name), number, "{name}");
    }
    assert_eq!((x86("socketcall"), x86("exit"), x86("clone3")), (102, 1, 435));
    let row = |name: &str| SYSCALLS.iter().find(|it| it.0 == name).unwrap();
    assert_eq!((row("execve").3, row("openat").4, row("open").4), (520, 56, -1));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_refuses_what_it_should() {
    let caps: Vec<Capability> = crate::runtime::caps::CapSet::docker_default().iter().collect();
    let program = compile(&default_profile(&caps)).unwrap();
    let check = |name: &str, args: [u64; 6], want: u32| {
        assert_eq!(run(&program, AUDIT_X86_64, x64(name), args), want, "{name} {args:?}");
    };
    for name in [
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "mount",
        "unshare",
        "setns",
        "reboot",
        "kexec_load",
        "init_module",
        "open_by_handle_at",
        "perf_event_open",
        "pidfd_getfd",
    ] {
        check(name, NONE, errno(1));
    }
    for name in ["read", "write", "execve", "openat", "futex", "statx", "chroot", "mseal", "cachestat", "exit_group"] {
        check(name, NONE, ALLOW);
    }
    check("clone3", NONE, errno(38));
    check("clone", [0x11, 0, 0, 0, 0, 0], ALLOW);
    check("clone", [0x1000_0011, 0, 0, 0, 0, 0], errno(1)); // CLONE_NEWUSER
    check("socket", [2, 1, 0, 0, 0, 0], ALLOW);
    check("socket", [38, 5, 0, 0, 0, 0], errno(1));
    check("socket", [0x1_0000_0026, 5, 0, 0, 0, 0], errno(1)); // the kernel sees 38 here too
    check("socket", [40, 1, 0, 0, 0, 0], errno(1));
    check("personality", [8, 0, 0, 0, 0, 0], ALLOW);
    check("personality", [0x4_0000, 0, 0, 0, 0, 0], errno(1)); // ADDR_NO_RANDOMIZE
    assert_eq!(run(&program, AUDIT_X86, x86("socketcall"), NONE), ALLOW); // 32-bit programs have no other socket
    assert_eq!(run(&program, AUDIT_X86, x86("keyctl"), NONE), errno(1));
    assert_eq!(run(&program, AUDIT_X86_64, X32_BIT | 520, NONE), ALLOW);
    assert_eq!(run(&program, AUDIT_X86_64, X32_BIT | x64("keyctl"), NONE), errno(1));
    assert_eq!(run(&program, AUDIT_X86_64, 9999, NONE), errno(38)); // from a newer kernel
    assert_eq!(run(&program, 0x1234, 0, NONE), errno(1)); // no such architecture
    assert!(program.insns.len() < 1200, "{}", program.insns.len());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn capabilities_open_their_calls() {
    let program = compile(&default_profile(&[Capability::SysAdmin])).unwrap();
    for name in ["mount", "unshare", "clone3", "bpf", "clone"] {
        assert_eq!(run(&program, AUDIT_X86_64, x64(name), [0x1000_0000, 0, 0, 0, 0, 0]), ALLOW, "{name}");
    }
    assert_eq!(run(&program, AUDIT_X86_64, x64("chroot"), NONE), errno(1));
}

fn rule(names: &[&str], action: Action, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|it| (*it).to_owned()).collect()).set_action(action).set_args(Some(args));
    rule
}

fn profile(default: Action, rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(default).set_syscalls(Some(rules)).set_architectures(Some(vec![
        Arch::ScmpArchX86_64,
        Arch::ScmpArchX86,
        Arch::ScmpArchX32,
    ]));
    profile
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let notify = profile(Action::ScmpActAllow, vec![rule(&["mount"], Action::ScmpActNotify, vec![])]);
    assert_eq!(compile(&notify), Err(SeccompError::Notify { action: "SCMP_ACT_NOTIFY" }));
    let arg = LinuxSeccompArgBuilder::default().index(6usize).build().unwrap();
    let wide = profile(Action::ScmpActAllow, vec![rule(&["mount"], Action::ScmpActErrno, vec![arg])]);
    assert_eq!(compile(&wide), Err(SeccompError::ArgIndex(6, "mount".to_owned())));
    let mut flags = profile(Action::ScmpActAllow, vec![]);
    flags.set_flags(Some(vec![LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv]));
    assert!(matches!(compile(&flags), Err(SeccompError::Flag(_))));
}

#[test]
fn a_list_of_forbidden_calls_has_no_side_door() {
    let mut deny = profile(Action::ScmpActAllow, vec![rule(&["mount", "no_such_call"], Action::ScmpActErrno, vec![])]);
    deny.set_architectures(None);
    deny.set_flags(Some(vec![
        LinuxSeccompFilterFlag::SeccompFilterFlagLog,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    ]));
    let program = compile(&deny).unwrap();
    assert_eq!(program.flags, 6);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(run(&program, AUDIT_X86_64, x64("mount"), NONE), errno(1));
        assert_eq!(run(&program, AUDIT_X86_64, X32_BIT | x64("mount"), NONE), KILL);
        assert_eq!(run(&program, AUDIT_X86, x86("mount"), NONE), KILL);
    }
}

#[test]
fn the_cache_gives_the_same_program() {
    let profile = default_profile(&[]);
    let first = compile_cached(&profile).unwrap();
    assert!(Arc::ptr_eq(&first, &compile_cached(&profile).unwrap()));
    assert_eq!(*first, compile(&profile).unwrap());
    assert_eq!(Program::from_bytes(&first.to_bytes()), Ok((*first).clone()));
    let mut cut = first.to_bytes();
    cut.pop();
    assert_eq!(Program::from_bytes(&cut), Err(SeccompError::Damaged));
}

/// The profile read directly, without any of the compiler.
#[cfg(target_arch = "x86_64")]
fn judge(profile: &LinuxSeccomp, audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let columns = |row: &(&str, i16, i16, i16, i16)| match (audit, number >= X32_BIT) {
        (AUDIT_X86, _) => (row.2, 0),
        (_, true) => (row.3, X32_BIT),
        (_, false) => (row.1, 0),
    };
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let last = SYSCALLS.iter().map(columns).filter(|it| it.0 >= 0).map(|it| it.0 as u32 | it.1).max().unwrap();
    if number > last {
        return if default & 0xffff_0000 == 0x5_0000 { errno(38) } else { default };
    }
    let holds = |it: &LinuxSeccompArg| {
        let arg = args[it.index()];
        match it.op() {
            Op::ScmpCmpNe => arg != it.value(),
            Op::ScmpCmpLt => arg < it.value(),
            Op::ScmpCmpLe => arg <= it.value(),
            Op::ScmpCmpEq => arg == it.value(),
            Op::ScmpCmpGe => arg >= it.value(),
            Op::ScmpCmpGt => arg > it.value(),
            Op::ScmpCmpMaskedEq => arg & it.value() == it.value_two().unwrap_or(0),
        }
    };
    for group in profile.syscalls().iter().flatten() {
        let is_named = group.names().iter().any(|name| {
            SYSCALLS
                .iter()
                .find(|row| row.0 == name)
                .map(columns)
                .is_some_and(|it| it.0 >= 0 && it.0 as u32 | it.1 == number)
        });
        let args = group.args().as_deref().unwrap_or_default();
        let is_twice =
            args.iter().enumerate().any(|(at, it)| args[..at].iter().any(|other| other.index() == it.index()));
        if is_named && (if is_twice { args.iter().any(holds) } else { args.iter().all(holds) }) {
            return group.action().as_u32(group.errno_ret());
        }
    }
    default
}

fn words() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, Just(u64::MAX), Just(1 << 32), Just((1 << 32) + 1), Just(0xffff_ffff), any::<u64>()]
}

fn any_arg() -> impl Strategy<Value = LinuxSeccompArg> {
    let op = proptest::sample::select(vec![
        Op::ScmpCmpNe,
        Op::ScmpCmpLt,
        Op::ScmpCmpLe,
        Op::ScmpCmpEq,
        Op::ScmpCmpGe,
        Op::ScmpCmpGt,
        Op::ScmpCmpMaskedEq,
    ]);
    (0usize..3, words(), words(), op).prop_map(|(index, value, two, op)| {
        LinuxSeccompArgBuilder::default().index(index).value(value).value_two(two).op(op).build().unwrap()
    })
}

fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let action = proptest::sample::select(vec![
        Action::ScmpActAllow,
        Action::ScmpActErrno,
        Action::ScmpActKillProcess,
        Action::ScmpActLog,
        Action::ScmpActTrap,
    ]);
    let names = proptest::collection::vec(proptest::sample::select(SYSCALLS), 1..40);
    (names, action, proptest::collection::vec(any_arg(), 0..3), proptest::option::of(1u32..200)).prop_map(
        |(rows, action, args, ret)| {
            let names: Vec<&str> = rows.iter().map(|it| it.0).collect();
            let mut rule = rule(&names, action, args);
            rule.set_errno_ret(ret);
            rule
        },
    )
}

#[cfg(target_arch = "x86_64")]
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn program_agrees_with_the_profile(
        rules in proptest::collection::vec(any_rule(), 0..25),
        default in proptest::sample::select(vec![Action::ScmpActAllow, Action::ScmpActErrno, Action::ScmpActKillProcess]),
        calls in proptest::collection::vec((0usize..400, proptest::array::uniform3(words()), 0u8..3, any::<prop::sample::Index>()), 40),
    ) {
        let profile = profile(default, rules);
        let program = match compile(&profile) {
            Err(SeccompError::TooLarge(n)) => return Err(TestCaseError::reject(format!("{n} instructions"))),
            done => done.unwrap(),
        };
        let named: Vec<&String> = profile.syscalls().iter().flatten().flat_map(|it| it.names()).collect();
        for (number, args, abi, pick) in calls {
            let mut row = SYSCALLS[number % SYSCALLS.len()];
            if let (true, false) = (number % 2 == 0, named.is_empty()) {
                row = *SYSCALLS.iter().find(|it| it.0 == pick.get(&named).as_str()).unwrap();
            }
            let (audit, number) = match abi {
                0 => (AUDIT_X86_64, row.1.max(0) as u32),
                1 => (AUDIT_X86, row.2.max(0) as u32 + u32::from(row.2 < 0) * 5000),
                _ => (AUDIT_X86_64, X32_BIT | row.3.max(0) as u32),
            };
            let args = [args[0], args[1], args[2], 0, 0, 0];
            prop_assert_eq!(run(&program, audit, number, args), judge(&profile, audit, number, args), "{:#x} {} {:?}", audit, number, args);
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Program::from_bytes(&bytes);
    }
}
