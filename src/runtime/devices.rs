//! Devices of a container: the nodes every container gets, docker's device rules, `--device` strings, and the device
//! filter of its cgroup (v1 lines, v2 eBPF). Called by `runtime::cgroup`, `runtime::plan` and the engine. Must never let a
//! device through that no rule allows.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::oci::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use nix::errno::Errno;

use crate::oci::OciSpecError;

use crate::sys::bpf::{self, Insn};

/// Nodes of every container's /dev: name, major, minor. All 0666, owned by the container's root.
pub const DEFAULT_NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Character devices that every container may open: the nodes above, console, ptmx and all of devpts.
pub const DEFAULT_ALLOWED: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("bad format for device {0:?}: expected HOST[:CONTAINER[:PERMISSIONS]]")]
    Format(String),
    #[error("invalid device rule {rule:?}: {why}")]
    Rule { rule: String, why: &'static str },
    #[error("cannot look at device {path}")]
    Stat { path: PathBuf, source: Errno },
    #[error("{0} is not a device")]
    NotADevice(PathBuf),
    #[error("cannot {act} the device filter")]
    Filter { act: &'static str, source: Errno },
    #[error("cannot write {line:?} to {file}")]
    Line { file: &'static str, line: String, source: std::io::Error },
    #[error("invalid device")]
    Spec(#[from] OciSpecError),
}

// ---- `--device`

/// A `--device` string taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    pub host: PathBuf,
    pub container: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub access: String,
}

/// `HOST[:CONTAINER[:PERMISSIONS]]`, also `HOST:PERMISSIONS`, as docker reads it.
pub fn parse_device(text: &str) -> Result<DeviceSpec, DeviceError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        _ => return Err(DeviceError::Format(text.to_owned())),
    };
    let is_fine = |path: &str| path.starts_with('/') && !Path::new(path).components().any(|it| it.as_os_str() == "..");
    if !is_fine(host) || !is_fine(container) {
        return Err(DeviceError::Format(text.to_owned()));
    }
    Ok(DeviceSpec { host: host.into(), container: container.into(), access: access.to_owned() })
}

fn is_access(text: &str) -> bool {
    let distinct: BTreeSet<char> = text.chars().collect();
    !text.is_empty() && distinct.len() == text.len() && distinct.iter().all(|it| "rwm".contains(*it))
}

/// The node to make and the rule that lets it be used, for a device that exists on the host. Links are followed.
pub fn host_device(spec: &DeviceSpec) -> Result<(LinuxDevice, LinuxDeviceCgroup), DeviceError> {
    let stat =
        nix::sys::stat::stat(&spec.host).map_err(|source| DeviceError::Stat { path: spec.host.clone(), source })?;
    let typ = match nix::sys::stat::SFlag::from_bits_truncate(stat.st_mode & nix::sys::stat::SFlag::S_IFMT.bits()) {
        nix::sys::stat::SFlag::S_IFCHR => LinuxDeviceType::C,
        nix::sys::stat::SFlag::S_IFBLK => LinuxDeviceType::B,
        _ => return Err(DeviceError::NotADevice(spec.host.clone())),
    };
    let major = nix::sys::stat::major(stat.st_rdev) as i64;
    let minor = nix::sys::stat::minor(stat.st_rdev) as i64;
    let node = LinuxDeviceBuilder::default()
        .path(spec.container.clone())
        .typ(typ)
        .major(major)
        .minor(minor)
        .file_mode(stat.st_mode & 0o777)
        .uid(stat.st_uid)
        .gid(stat.st_gid)
        .build()?;
    Ok((node, allow(typ, Some(major), Some(minor), &spec.access)?))
}

fn allow(
    typ: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(access).build()?;
    rule.set_major(major).set_minor(minor);
    Ok(rule)
}

/// Docker's rules of an ordinary container: nothing but making nodes (mknod) and the default devices.
pub fn docker_default_rules() -> Result<Vec<LinuxDeviceCgroup>, DeviceError> {
    let mut rules = vec![LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?];
    rules.extend(default_allowed()?);
    Ok(rules)
}

fn default_allowed() -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
    let mut rules = vec![allow(LinuxDeviceType::C, None, None, "m")?, allow(LinuxDeviceType::B, None, None, "m")?];
    for (major, minor) in DEFAULT_ALLOWED {
        rules.push(allow(LinuxDeviceType::C, Some(major), minor, "rwm")?);
    }
    Ok(rules)
}

// ---- rules

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const EVERYTHING: u8 = MKNOD | READ | WRITE;

/// Which devices a rule speaks of; `None` is a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    kind: Option<Kind>,
    major: Option<u32>,
    minor: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Block,
    Char,
}

impl Key {
    const ALL: Key = Key { kind: None, major: None, minor: None };

    fn covers(&self, other: &Key) -> bool {
        (self.kind.is_none() || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    is_allow: bool,
    key: Key,
    access: u8,
}

/// A device filter: ordered rules of which the last one that speaks of a request decides; without any it is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    rules: Vec<Rule>,
}

impl Filter {
    /// From the rules of a container, and after them what every container needs (as runc does), so that a plain
    /// deny-all leaves /dev/null usable.
    pub fn new(rules: &[LinuxDeviceCgroup]) -> Result<Filter, DeviceError> {
        let mut filter = Filter::default();
        for rule in rules.iter().chain(default_allowed()?.iter()) {
            filter.add(read_rule(rule)?);
        }
        Ok(filter)
    }

    /// Keeps the list short and makes each allow rule whole: a request for `rw` must match one rule, also when `r` and `w`
    /// were allowed by two.
    fn add(&mut self, mut rule: Rule) {
        if rule.key == Key::ALL && rule.access == EVERYTHING {
            self.rules.clear();
        } else if rule.is_allow {
            if let Some(at) = self.rules.iter().position(|it| it.is_allow && it.key == rule.key) {
                rule.access |= self.rules.remove(at).access;
            }
        } else {
            for it in self.rules.iter_mut().filter(|it| it.is_allow && rule.key.covers(&it.key)) {
                it.access &= !rule.access;
            }
            self.rules.retain(|it| it.access != 0);
        }
        let is_settled = rule.is_allow && self.rules.iter().all(|it| it.is_allow) && self.is_all_allowed();
        if !is_settled {
            self.rules.push(rule);
        }
    }

    /// Nothing is filtered: a privileged container.
    pub fn is_all_allowed(&self) -> bool {
        self.rules.iter().all(|it| it.is_allow)
            && self.rules.iter().any(|it| it.key == Key::ALL && it.access == EVERYTHING)
    }

    #[cfg(test)]
    fn allows(&self, key: Key, access: u8) -> bool {
        let speaks = |it: &&Rule| {
            it.key.covers(&key) && if it.is_allow { access & !it.access == 0 } else { access & it.access != 0 }
        };
        self.rules.iter().rev().find(speaks).is_some_and(|it| it.is_allow)
    }

    /// Lines for v1's devices.deny and devices.allow, in order.
    pub(super) fn v1_lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("devices.deny", "a".to_owned())];
        for rule in self.rules.iter().filter(|it| it.is_allow || it.key != Key::ALL) {
            let file = if rule.is_allow { "devices.allow" } else { "devices.deny" };
            lines.extend(v1_rule(rule).into_iter().map(|line| (file, line)));
        }
        lines
    }

    /// What devices.list shows when [`Filter::v1_lines`] have been written to a fresh cgroup.
    pub(super) fn v1_list(&self) -> BTreeSet<String> {
        self.rules.iter().filter(|it| it.is_allow).flat_map(v1_rule).collect()
    }

    /// The eBPF program for a v2 cgroup.
    pub fn program(&self) -> Vec<Insn> {
        let mut code = vec![
            insn(LDX_W, 2, 1, 0, 0),        // r2 = access << 16 | kind
            insn(MOV_REG, 3, 2, 0, 0),      // r3 = r2
            insn(AND_IMM, 2, 0, 0, 0xffff), // r2 = kind
            insn(RSH_IMM, 3, 0, 0, 16),     // r3 = access
            insn(LDX_W, 4, 1, 4, 0),        // r4 = major
            insn(LDX_W, 5, 1, 8, 0),        // r5 = minor
        ];
        for rule in self.rules.iter().rev() {
            code.extend(block(rule));
            if rule.key == Key::ALL && rule.access == EVERYTHING {
                // It decides everything that comes to it, and the kernel refuses a program with instructions that none reaches.
                return code;
            }
        }
        code.extend([insn(MOV_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
        code
    }

    /// Puts the filter on a v2 cgroup directory in place of the one that is there: first the new one, then away with the
    /// old, so that at no moment there is none.
    pub(super) fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<(), DeviceError> {
        let fail = |act| move |source| DeviceError::Filter { act, source };
        let old = bpf::device_programs(cgroup).map_err(fail("list"))?;
        if !self.is_all_allowed() {
            let new = bpf::load_device_program(&self.program()).map_err(fail("load"))?;
            bpf::attach_device_program(cgroup, new.as_fd()).map_err(fail("attach"))?;
        }
        old.iter().try_for_each(|it| bpf::detach_device_program(cgroup, it.as_fd())).map_err(fail("replace"))
    }
}

fn read_rule(rule: &LinuxDeviceCgroup) -> Result<Rule, DeviceError> {
    let fail = |why| DeviceError::Rule { rule: rule.to_string(), why };
    let number = |it: Option<i64>| match it {
        None | Some(-1) => Ok(None),
        Some(it) => u32::try_from(it).map(Some).map_err(|_| fail("device numbers are 0 or more")),
    };
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => None,
        LinuxDeviceType::B => Some(Kind::Block),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(Kind::Char),
        LinuxDeviceType::P => return Err(fail("a fifo is not a device")),
    };
    let text = rule.access().as_deref().unwrap_or("rwm");
    let access = text.chars().try_fold(0u8, |bits, it| match it {
        'm' => Ok(bits | MKNOD),
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        _ => Err(fail("access is made of r, w and m")),
    })?;
    // An empty access string comes from clients that mean all of it.
    let access = if access == 0 { EVERYTHING } else { access };
    Ok(Rule {
        is_allow: rule.allow(),
        key: Key { kind, major: number(rule.major())?, minor: number(rule.minor())? },
        access,
    })
}

/// v1 takes `a` for everything, whatever numbers and access follow it: a narrower rule for both kinds becomes two.
fn v1_rule(rule: &Rule) -> Vec<String> {
    let is_whole = rule.key == Key::ALL && rule.access == EVERYTHING;
    if rule.key.kind.is_some() || is_whole {
        return vec![v1_line(rule)];
    }
    let of = |kind| v1_line(&Rule { key: Key { kind: Some(kind), ..rule.key }, ..*rule });
    vec![of(Kind::Block), of(Kind::Char)]
}

fn v1_line(rule: &Rule) -> String {
    let number = |it: Option<u32>| it.map_or("*".to_owned(), |it| it.to_string());
    let kind = match rule.key.kind {
        None => 'a',
        Some(Kind::Block) => 'b',
        Some(Kind::Char) => 'c',
    };
    let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| rule.access & bit != 0)
        .map(|(_, c)| c)
        .collect();
    format!("{kind} {}:{} {access}", number(rule.key.major), number(rule.key.minor))
}

// ---- eBPF

const LDX_W: u8 = 0x61;
const MOV_REG: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const AND_IMM: u8 = 0x57;
const RSH_IMM: u8 = 0x77;
const JNE_IMM: u8 = 0x55;
const JNE_REG: u8 = 0x5d;
const JEQ_IMM: u8 = 0x15;
const EXIT: u8 = 0x95;

fn insn(code: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, offset, imm }
}

/// One rule: falls through to the next block unless everything matches.
fn block(rule: &Rule) -> Vec<Insn> {
    let mut code = Vec::new();
    match rule.key.kind {
        Some(Kind::Block) => code.push(insn(JNE_IMM, 2, 0, 0, 1)),
        Some(Kind::Char) => code.push(insn(JNE_IMM, 2, 0, 0, 2)),
        None => {}
    }
    if rule.access != EVERYTHING {
        code.push(insn(MOV_REG, 1, 3, 0, 0));
        code.push(insn(AND_IMM, 1, 0, 0, rule.access.into()));
        // An allow rule must cover all that is asked; a deny rule bites when it covers any of it.
        code.push(if rule.is_allow { insn(JNE_REG, 1, 3, 0, 0) } else { insn(JEQ_IMM, 1, 0, 0, 0) });
    }
    if let Some(major) = rule.key.major {
        code.push(insn(JNE_IMM, 4, 0, 0, major as i32));
    }
    if let Some(minor) = rule.key.minor {
        code.push(insn(JNE_IMM, 5, 0, 0, minor as i32));
    }
    code.push(insn(MOV_IMM, 0, 0, 0, rule.is_allow.into()));
    code.push(insn(EXIT, 0, 0, 0, 0));
    let end = code.len();
    for (at, it) in code.iter_mut().enumerate().filter(|(_, it)| matches!(it.code, JNE_IMM | JNE_REG | JEQ_IMM)) {
        it.offset = (end - at - 1) as i16;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn device_strings() {
        let check = |text: &str, host: &str, container: &str, access: &str| {
            let want = DeviceSpec { host: host.into(), container: container.into(), access: access.to_owned() };
            assert_eq!(parse_device(text).unwrap(), want, "{text}");
        };
        check("/dev/null", "/dev/null", "/dev/null", "rwm");
        check("/dev/null:/dev/x", "/dev/null", "/dev/x", "rwm");
        check("/dev/null:r", "/dev/null", "/dev/null", "r");
        check("/dev/null:/dev/x:mr", "/dev/null", "/dev/x", "mr");
        for bad in
            ["", "dev/null", "/dev/null:", "/dev/null:/dev/x:", "/a:/b:rr", "/a:/b:rwx", "/a:/b:r:w", "/dev/../etc:/x"]
        {
            assert!(parse_device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_device_becomes_a_node_and_a_rule() {
        let (node, rule) = host_device(&parse_device("/dev/null:/dev/zip:r").unwrap()).unwrap();
        assert_eq!((node.path().as_path(), node.major(), node.minor()), (Path::new("/dev/zip"), 1, 3));
        assert_eq!(rule.to_string(), "c 1:3 r");
        assert!(matches!(host_device(&parse_device("/etc").unwrap()), Err(DeviceError::NotADevice(_))));
        assert!(matches!(host_device(&parse_device("/nowhere").unwrap()), Err(DeviceError::Stat { .. })));
    }

    fn rule(is_allow: bool, kind: Option<Kind>, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
        Rule { is_allow, key: Key { kind, major, minor }, access }
    }

    fn filter(rules: &[Rule]) -> Filter {
        let mut filter = Filter::default();
        rules.iter().for_each(|it| filter.add(*it));
        filter
    }

    const NULL: Key = Key { kind: Some(Kind::Char), major: Some(1), minor: Some(3) };
    const SDA: Key = Key { kind: Some(Kind::Block), major: Some(8), minor: Some(0) };

    #[test]
    fn docker_defaults_allow_null_and_mknod_but_no_disk() {
        let filter = Filter::new(&docker_default_rules().unwrap()).unwrap();
        assert!(filter.allows(NULL, READ | WRITE) && filter.allows(SDA, MKNOD));
        assert!(!filter.allows(SDA, READ) && !filter.allows(Key { minor: Some(1), ..NULL }, READ)); // /dev/mem
        assert!(filter.v1_list().contains("c 136:* rwm"));
        assert_eq!(filter.v1_lines()[0], ("devices.deny", "a".to_owned()));
        assert!(!filter.is_all_allowed());
    }

    #[test]
    fn privileged_filters_nothing() {
        let all = LinuxDeviceCgroupBuilder::default().allow(true).access("rwm").build().unwrap();
        let filter = Filter::new(&[all]).unwrap();
        assert!(filter.is_all_allowed() && filter.allows(SDA, EVERYTHING));
        assert_eq!(filter.v1_lines(), [("devices.deny", "a".to_owned()), ("devices.allow", "a *:* rwm".to_owned())]);
    }

    #[test]
    fn split_rights_are_joined_and_denied_ones_taken_back() {
        let joined = filter(&[
            rule(true, NULL.kind, NULL.major, NULL.minor, READ),
            rule(true, NULL.kind, NULL.major, NULL.minor, WRITE),
        ]);
        assert!(joined.allows(NULL, READ | WRITE));
        let taken = filter(&[
            rule(true, NULL.kind, NULL.major, NULL.minor, EVERYTHING),
            rule(false, NULL.kind, NULL.major, NULL.minor, WRITE),
        ]);
        assert!(taken.allows(NULL, READ) && !taken.allows(NULL, READ | WRITE));
    }

    #[test]
    fn wrong_rules_are_named() {
        let bad = LinuxDeviceCgroupBuilder::default().allow(true).typ(LinuxDeviceType::C).access("rx").build().unwrap();
        assert!(Filter::new(&[bad]).unwrap_err().to_string().contains("r, w and m"));
    }

    /// Runs the program as the kernel would.
    fn interpret(code: &[Insn], key: Key, access: u8) -> bool {
        let kind = if key.kind == Some(Kind::Block) { 1 } else { 2 };
        let ctx = [u64::from(access) << 16 | kind, key.major.unwrap().into(), key.minor.unwrap().into()];
        let mut regs = [0u64; 11];
        let mut at = 0usize;
        loop {
            let it = code[at];
            let (dst, src) = (usize::from(it.regs & 15), usize::from(it.regs >> 4));
            let imm = i64::from(it.imm) as u64;
            at += 1;
            let is_jump = match it.code {
                LDX_W => {
                    regs[dst] = ctx[it.offset as usize / 4];
                    false
                }
                MOV_REG => {
                    regs[dst] = regs[src];
                    false
                }
                MOV_IMM => {
                    regs[dst] = imm;
                    false
                }
                AND_IMM => {
                    regs[dst] &= imm;
                    false
                }
                RSH_IMM => {
                    regs[dst] >>= imm;
                    false
                }
                JNE_IMM => regs[dst] != imm,
                JNE_REG => regs[dst] != regs[src],
                JEQ_IMM => regs[dst] == imm,
                EXIT => return regs[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            if is_jump {
                at += it.offset as usize;
            }
        }
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let number = || proptest::option::of(0u32..3);
        let kind = proptest::option::of(prop_oneof![Just(Kind::Block), Just(Kind::Char)]);
        (any::<bool>(), kind, number(), number(), 1u8..8)
            .prop_map(|(is_allow, kind, major, minor, access)| rule(is_allow, kind, major, minor, access))
    }

    proptest! {
        #[test]
        fn program_agrees_with_the_rules(
            rules in proptest::collection::vec(any_rule(), 0..8), is_block in any::<bool>(), major in 0u32..3, minor in 0u32..3, access in 1u8..8,
        ) {
            let filter = filter(&rules);
            let kind = Some(if is_block { Kind::Block } else { Kind::Char });
            let key = Key { kind, major: Some(major), minor: Some(minor) };
            let code = filter.program();
            prop_assert_eq!(interpret(&code, key, access), filter.allows(key, access));
            let mut reached = vec![false; code.len()];
            let mut next = vec![0];
            while let Some(at) = next.pop() {
                if std::mem::replace(&mut reached[at], true) {
                    continue;
                }
                let jump = matches!(code[at].code, JNE_IMM | JNE_REG | JEQ_IMM).then(|| at + 1 + code[at].offset as usize);
                next.extend(jump);
                next.extend((code[at].code != EXIT).then_some(at + 1));
            }
            prop_assert!(reached.iter().all(|it| *it), "the kernel refuses instructions that none reaches");
        }

        #[test]
        fn a_deny_that_comes_last_holds(rules in proptest::collection::vec(any_rule(), 0..8), last in any_rule()) {
            let last = Rule { is_allow: false, ..last };
            let filter = filter(&[rules.as_slice(), &[last]].concat());
            let key = Key { kind: last.key.kind.or(Some(Kind::Char)), major: last.key.major.or(Some(1)), minor: last.key.minor.or(Some(1)) };
            prop_assert!(!filter.allows(key, last.access));
        }

        #[test]
        fn device_strings_never_panic(text in "\\PC{0,40}") {
            let _ = parse_device(&text);
        }
    }
}
