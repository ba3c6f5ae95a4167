//! Profile → program. The code is built from its end, so that every jump goes to what is already placed.
//!
//! Rules of one call are tried in the order of the profile; the first that matches decides, else the default action. Names that
//! this architecture lacks are passed over, as runc does. Calls newer than our table answer ENOSYS instead of a
//! default errno, so that programs fall back to older ones (runc's rule too).

use std::collections::{BTreeMap, HashMap};

use super::table::SYSCALLS;
use super::{Insn, MAX_INSNS, Program, SeccompError};
use crate::oci::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

pub(super) const AUDIT_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_X86: u32 = 0x4000_0003;
pub(super) const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub(super) const X32_BIT: u32 = 0x4000_0000;
const ERRNO: u32 = 0x0005_0000;
const ENOSYS: u32 = 38;
const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;

pub(super) const LD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const RET: u16 = 0x06;
/// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// A table of numbers: which audit architecture it belongs to, and which bit its numbers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
}

impl Abi {
    fn audit(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => AUDIT_X86_64,
            Abi::X86 => AUDIT_X86,
            Abi::Aarch64 => AUDIT_AARCH64,
        }
    }

    fn number(self, row: &(&str, i16, i16, i16, i16)) -> Option<u32> {
        let (number, bit) = match self {
            Abi::X86_64 => (row.1, 0),
            Abi::X86 => (row.2, 0),
            Abi::X32 => (row.3, X32_BIT),
            Abi::Aarch64 => (row.4, 0),
        };
        u32::try_from(number).ok().map(|it| it | bit)
    }

    fn last(self) -> u32 {
        SYSCALLS.iter().filter_map(|row| self.number(row)).max().unwrap_or(0)
    }
}

/// One way to decide about a call: all conditions hold → `ret`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rule {
    conditions: Vec<Condition>,
    ret: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Condition {
    index: u32,
    op: u32,
    value: u64,
    value_two: u64,
}

/// What happens to a range of call numbers: the rules in order, then `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outcome {
    rules: Vec<Rule>,
    otherwise: u32,
}

/// Compiles a profile for this machine's architecture and those it lists.
///
/// # Errors
/// Notify actions and listener flags (nobody listens), wrong argument indexes, a program beyond the kernel's bound.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let default = encode(profile.default_action(), profile.default_errno_ret())?;
    let abis = abis(profile);
    let mut builder = Builder::default();
    // A call through an architecture that is not listed must not slip through a list of forbidden ones.
    let foreign = if matches!(default & 0xffff_0000, ALLOW | LOG) { KILL_PROCESS } else { default };
    let mut next = builder.ret(foreign);
    let audits: Vec<u32> = abis.iter().rev().map(|it| it.audit()).collect();
    for (at, audit) in audits.iter().enumerate() {
        if audits[..at].contains(audit) {
            continue;
        }
        let segments = segments(profile, default, foreign, &abis, *audit)?;
        let tree = builder.tree(&segments);
        let entry = builder.load(NR, tree);
        next = builder.jump(JEQ, *audit, entry, next);
    }
    builder.load(ARCH, next);
    builder.finish(flags(profile)?)
}

fn abis(profile: &LinuxSeccomp) -> Vec<Abi> {
    let native = if cfg!(target_arch = "aarch64") { Abi::Aarch64 } else { Abi::X86_64 };
    let mut abis = vec![native];
    for arch in profile.architectures().iter().flatten() {
        // Other machines' architectures are in every portable profile; no call can come through them here.
        let abi = match arch {
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            Arch::ScmpArchAarch64 => Abi::Aarch64,
            _ => continue,
        };
        if !abis.contains(&abi) && (native == Abi::Aarch64) == (abi == Abi::Aarch64) {
            abis.push(abi);
        }
    }
    abis
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, SeccompError> {
    profile.flags().iter().flatten().try_fold(0, |bits, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(bits | 1),
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(bits | 2),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(bits | 4),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            Err(SeccompError::Flag("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
        }
    })
}

fn encode(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(SeccompError::Notify { action: "SCMP_ACT_NOTIFY" });
    }
    // Only sixteen bits are data: more would turn one action into another.
    Ok(action.as_u32(errno.map(|it| it & 0xffff)))
}

/// The space of call numbers of one audit architecture as (first number, outcome), sorted, neighbours different.
fn segments(
    profile: &LinuxSeccomp,
    default: u32,
    foreign: u32,
    abis: &[Abi],
    audit: u32,
) -> Result<Vec<(u32, Outcome)>, SeccompError> {
    let plain = |ret| Outcome { rules: Vec::new(), otherwise: ret };
    let unknown = if default & 0xffff_0000 == ERRNO { ERRNO | ENOSYS } else { default };
    let mut at: BTreeMap<u32, Outcome> = BTreeMap::new();
    let here: Vec<Abi> = abis.iter().copied().filter(|it| it.audit() == audit).collect();
    if audit == AUDIT_X86_64 {
        at.insert(X32_BIT, plain(if here.contains(&Abi::X32) { default } else { foreign }));
    }
    at.insert(0, plain(default));
    for abi in &here {
        let first_unknown = abi.last() + 1;
        at.insert(first_unknown, plain(unknown));
        for (number, rules) in rules_by_number(profile, *abi)? {
            let otherwise = if number >= first_unknown { unknown } else { default };
            at.insert(number, Outcome { rules, otherwise });
            if number + 1 != first_unknown {
                at.entry(number + 1).or_insert_with(|| plain(otherwise));
            }
        }
    }
    let mut segments: Vec<(u32, Outcome)> = Vec::new();
    for (first, outcome) in at {
        let outcome = simplify(outcome);
        if segments.last().is_none_or(|(_, last)| *last != outcome) {
            segments.push((first, outcome));
        }
    }
    Ok(segments)
}

/// What comes after an unconditional rule is never reached.
fn simplify(mut outcome: Outcome) -> Outcome {
    if let Some(end) = outcome.rules.iter().position(|it| it.conditions.is_empty()) {
        outcome.otherwise = outcome.rules[end].ret;
        outcome.rules.truncate(end);
    }
    outcome
}

fn rules_by_number(profile: &LinuxSeccomp, abi: Abi) -> Result<BTreeMap<u32, Vec<Rule>>, SeccompError> {
    let mut found: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for group in profile.syscalls().iter().flatten() {
        let ret = encode(group.action(), group.errno_ret())?;
        let alternatives = alternatives(group.args().as_deref().unwrap_or_default(), group.names())?;
        for name in group.names() {
            let row = SYSCALLS.binary_search_by(|row| row.0.cmp(name)).ok().map(|at| &SYSCALLS[at]);
            let Some(number) = row.and_then(|row| abi.number(row)) else { continue };
            let rules = alternatives.iter().map(|it| Rule { conditions: it.clone(), ret });
            found.entry(number).or_default().extend(rules);
        }
    }
    Ok(found)
}

/// All conditions must hold; but where one argument is named twice each condition stands for itself (runc's reading,
/// which older profiles count on).
fn alternatives(args: &[LinuxSeccompArg], names: &[String]) -> Result<Vec<Vec<Condition>>, SeccompError> {
    let condition = |it: &LinuxSeccompArg| match u32::try_from(it.index()) {
        Ok(index) if index < 6 => {
            Ok(Condition { index, op: it.op() as u32, value: it.value(), value_two: it.value_two().unwrap_or(0) })
        }
        _ => Err(SeccompError::ArgIndex(it.index(), names.first().cloned().unwrap_or_default())),
    };
    let all = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let is_repeated = all.iter().enumerate().any(|(at, it)| all[..at].iter().any(|other| other.index == it.index));
    Ok(if is_repeated { all.into_iter().map(|it| vec![it]).collect() } else { vec![all] })
}

/// Where an instruction stands, counted from the end of the program.
type Label = usize;

#[derive(Default)]
struct Builder {
    /// Last instruction first.
    code: Vec<Insn>,
    returns: HashMap<u32, Label>,
    chains: HashMap<Outcome, Label>,
}

impl Builder {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Insn { code, jt, jf, k });
        self.code.len() - 1
    }

    /// A return close enough for a conditional jump; a copy of one is as cheap as a jump to it.
    fn ret(&mut self, value: u32) -> Label {
        match self.returns.get(&value) {
            Some(at) if self.code.len() - at < 200 => *at,
            _ => {
                let at = self.push(RET, 0, 0, value);
                self.returns.insert(value, at);
                at
            }
        }
    }

    /// A load whose next instruction is `then`.
    fn load(&mut self, offset: u32, then: Label) -> Label {
        self.fall_into(then);
        self.push(LD, 0, 0, offset)
    }

    /// Makes the next pushed instruction run into `then`.
    fn fall_into(&mut self, then: Label) {
        if then + 1 != self.code.len() {
            let skip = self.code.len() - then - 1;
            self.push(JA, 0, 0, skip as u32);
        }
    }

    fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let (mut yes, mut no) = (yes, no);
        // Conditional jumps reach 255 instructions: a further target gets a long jump nearby (two may come in between).
        if self.code.len() - yes > 250 {
            yes = self.long_jump(yes);
        }
        if self.code.len() - no > 250 {
            no = self.long_jump(no);
        }
        let skip = |to: Label, from: usize| (from - to - 1) as u8;
        let at = self.code.len();
        self.push(code, skip(yes, at), skip(no, at), k)
    }

    fn long_jump(&mut self, to: Label) -> Label {
        let skip = self.code.len() - to - 1;
        self.push(JA, 0, 0, skip as u32)
    }

    /// The search tree over `segments`, with the call number in the accumulator.
    fn tree(&mut self, segments: &[(u32, Outcome)]) -> Label {
        if let [(_, only)] = segments {
            return self.outcome(only);
        }
        let (left, right) = segments.split_at(segments.len() / 2);
        let first = right.first().map_or(0, |it| it.0);
        let high = self.tree(right);
        let low = self.tree(left);
        self.jump(JGE, first, high, low)
    }

    fn outcome(&mut self, outcome: &Outcome) -> Label {
        if outcome.rules.is_empty() {
            return self.ret(outcome.otherwise);
        }
        if let Some(at) = self.chains.get(outcome) {
            return *at;
        }
        let mut next = self.ret(outcome.otherwise);
        for rule in outcome.rules.iter().rev() {
            let mut yes = self.ret(rule.ret);
            for condition in rule.conditions.iter().rev() {
                yes = self.condition(condition, yes, next);
            }
            next = yes;
        }
        self.chains.insert(outcome.clone(), next);
        next
    }

    /// Arguments are 64 bits wide, the machine 32: high word first.
    fn condition(&mut self, it: &Condition, yes: Label, no: Label) -> Label {
        const NE: u32 = LinuxSeccompOperator::ScmpCmpNe as u32;
        const LT: u32 = LinuxSeccompOperator::ScmpCmpLt as u32;
        const LE: u32 = LinuxSeccompOperator::ScmpCmpLe as u32;
        const EQ: u32 = LinuxSeccompOperator::ScmpCmpEq as u32;
        const GE: u32 = LinuxSeccompOperator::ScmpCmpGe as u32;
        const GT: u32 = LinuxSeccompOperator::ScmpCmpGt as u32;
        match it.op {
            EQ => self.equal(it.index, u64::MAX, it.value, yes, no),
            NE => self.equal(it.index, u64::MAX, it.value, no, yes),
            GT => self.greater(JGT, it.index, it.value, yes, no),
            GE => self.greater(JGE, it.index, it.value, yes, no),
            LT => self.greater(JGE, it.index, it.value, no, yes),
            LE => self.greater(JGT, it.index, it.value, no, yes),
            _ => self.equal(it.index, it.value, it.value_two, yes, no),
        }
    }

    fn equal(&mut self, index: u32, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let low = self.masked_word(index, 0, mask as u32, value as u32, yes, no);
        self.masked_word(index, 4, (mask >> 32) as u32, (value >> 32) as u32, low, no)
    }

    fn masked_word(&mut self, index: u32, word: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        let mut at = self.jump(JEQ, value, yes, no);
        if mask != u32::MAX {
            at = self.push(AND, 0, 0, mask);
        }
        self.load(ARGS + 8 * index + word, at)
    }

    /// `code` decides about the low word: JGT or JGE.
    fn greater(&mut self, code: u16, index: u32, value: u64, yes: Label, no: Label) -> Label {
        let high = (value >> 32) as u32;
        let low = self.jump(code, value as u32, yes, no);
        let low = self.load(ARGS + 8 * index, low);
        let same = self.jump(JEQ, high, low, no);
        let above = self.jump(JGT, high, yes, same);
        self.load(ARGS + 8 * index + 4, above)
    }

    fn finish(mut self, flags: u32) -> Result<Program, SeccompError> {
        self.code.reverse();
        if self.code.len() > MAX_INSNS {
            return Err(SeccompError::TooLarge(self.code.len()));
        }
        Ok(Program { insns: self.code, flags })
    }
}
