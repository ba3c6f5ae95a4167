//! Linux capabilities: names and bits, docker's defaults and add/drop arithmetic, and the drop of privileges in the
//! container's init. Called by `runtime::plan` (before the fork) and `runtime::init` (after it), and by the engine when it
//! checks a create request. Must never grant what was not asked for.

use std::fs;
use std::sync::OnceLock;

use crate::oci::runtime::{Capabilities, Capability, LinuxCapabilities};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sys::caps as sys;

/// Every capability with its kernel number as index (include/uapi/linux/capability.h) and its name without `CAP_`.
const TABLE: [(Capability, &str); 41] = [
    (Capability::Chown, "CHOWN"),
    (Capability::DacOverride, "DAC_OVERRIDE"),
    (Capability::DacReadSearch, "DAC_READ_SEARCH"),
    (Capability::Fowner, "FOWNER"),
    (Capability::Fsetid, "FSETID"),
    (Capability::Kill, "KILL"),
    (Capability::Setgid, "SETGID"),
    (Capability::Setuid, "SETUID"),
    (Capability::Setpcap, "SETPCAP"),
    (Capability::LinuxImmutable, "LINUX_IMMUTABLE"),
    (Capability::NetBindService, "NET_BIND_SERVICE"),
    (Capability::NetBroadcast, "NET_BROADCAST"),
    (Capability::NetAdmin, "NET_ADMIN"),
    (Capability::NetRaw, "NET_RAW"),
    (Capability::IpcLock, "IPC_LOCK"),
    (Capability::IpcOwner, "IPC_OWNER"),
    (Capability::SysModule, "SYS_MODULE"),
    (Capability::SysRawio, "SYS_RAWIO"),
    (Capability::SysChroot, "SYS_CHROOT"),
    (Capability::SysPtrace, "SYS_PTRACE"),
    (Capability::SysPacct, "SYS_PACCT"),
    (Capability::SysAdmin, "SYS_ADMIN"),
    (Capability::SysBoot, "SYS_BOOT"),
    (Capability::SysNice, "SYS_NICE"),
    (Capability::SysResource, "SYS_RESOURCE"),
    (Capability::SysTime, "SYS_TIME"),
    (Capability::SysTtyConfig, "SYS_TTY_CONFIG"),
    (Capability::Mknod, "MKNOD"),
    (Capability::Lease, "LEASE"),
    (Capability::AuditWrite, "AUDIT_WRITE"),
    (Capability::AuditControl, "AUDIT_CONTROL"),
    (Capability::Setfcap, "SETFCAP"),
    (Capability::MacOverride, "MAC_OVERRIDE"),
    (Capability::MacAdmin, "MAC_ADMIN"),
    (Capability::Syslog, "SYSLOG"),
    (Capability::WakeAlarm, "WAKE_ALARM"),
    (Capability::BlockSuspend, "BLOCK_SUSPEND"),
    (Capability::AuditRead, "AUDIT_READ"),
    (Capability::Perfmon, "PERFMON"),
    (Capability::Bpf, "BPF"),
    (Capability::CheckpointRestore, "CHECKPOINT_RESTORE"),
];

/// What docker gives a container that asks for nothing: 14 capabilities.
const DOCKER_DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CapsError {
    #[error("unknown capability {0:?}")]
    Unknown(String),
}

/// A set of capabilities; bit n is capability n of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapSet(u64);

impl CapSet {
    pub const EMPTY: CapSet = CapSet(0);

    /// Docker's default set.
    pub fn docker_default() -> CapSet {
        DOCKER_DEFAULT.into_iter().collect()
    }

    /// Everything this kernel knows, as far as this program has a name for it.
    pub fn all() -> CapSet {
        CapSet::up_to(last_cap())
    }

    fn up_to(last: u32) -> CapSet {
        CapSet((0..TABLE.len() as u32).filter(|bit| *bit <= last).fold(0, |bits, bit| bits | 1 << bit))
    }

    pub fn bits(self) -> u64 {
        self.0
    }

    pub fn from_bits(bits: u64) -> CapSet {
        CapSet(bits & CapSet::up_to(63).0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, cap: Capability) -> bool {
        self.0 & (1 << bit(cap)) != 0
    }

    #[must_use]
    pub fn with(self, cap: Capability) -> CapSet {
        CapSet(self.0 | 1 << bit(cap))
    }

    #[must_use]
    pub fn without(self, cap: Capability) -> CapSet {
        CapSet(self.0 & !(1 << bit(cap)))
    }

    #[must_use]
    pub fn intersect(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    #[must_use]
    pub fn minus(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    /// The members in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        TABLE.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, (cap, _))| *cap)
    }

    /// Names with `CAP_`, in the kernel's order, as `/info`, `inspect` and `capsh` print them.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|cap| format!("CAP_{}", name(cap))).collect()
    }

    /// As a set for the runtime spec.
    pub fn to_oci(self) -> Capabilities {
        self.iter().collect()
    }
}

impl FromIterator<Capability> for CapSet {
    fn from_iter<I: IntoIterator<Item = Capability>>(caps: I) -> CapSet {
        caps.into_iter().fold(CapSet::EMPTY, CapSet::with)
    }
}

impl From<&Capabilities> for CapSet {
    fn from(caps: &Capabilities) -> CapSet {
        caps.iter().copied().collect()
    }
}

/// The kernel's number of a capability.
pub fn bit(cap: Capability) -> u32 {
    // The table is complete (tested), so the fallback is never taken; 63 is no capability of any kernel.
    TABLE.iter().position(|(it, _)| *it == cap).map_or(63, |bit| bit as u32)
}

/// The name without `CAP_`.
pub fn name(cap: Capability) -> &'static str {
    TABLE.iter().find(|(it, _)| *it == cap).map_or("?", |(_, name)| name)
}

/// `CAP_NET_RAW`, `NET_RAW`, `net_raw`, … → the capability.
pub fn parse(text: &str) -> Result<Capability, CapsError> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    TABLE.iter().find(|(_, name)| *name == bare).map(|(cap, _)| *cap).ok_or_else(|| CapsError::Unknown(text.to_owned()))
}

/// `--cap-add` and `--cap-drop` on top of `base`, by docker's rules: add ALL means all but the dropped ones; drop ALL means
/// nothing but the added ones; otherwise drops come first and adds win.
///
/// # Errors
/// A name that is neither `ALL` nor a capability, even where it would not matter.
pub fn tweak(base: CapSet, add: &[String], drop: &[String]) -> Result<CapSet, CapsError> {
    let (added, add_all) = parse_list(add)?;
    let (dropped, drop_all) = parse_list(drop)?;
    Ok(if add_all {
        CapSet::all().minus(dropped)
    } else if drop_all {
        added
    } else {
        CapSet(base.minus(dropped).0 | added.0)
    })
}

fn parse_list(list: &[String]) -> Result<(CapSet, bool), CapsError> {
    let is_all = |text: &&String| matches!(text.trim().to_ascii_uppercase().as_str(), "ALL" | "CAP_ALL");
    let named = list.iter().filter(|text| !is_all(text)).map(|text| parse(text)).collect::<Result<CapSet, _>>()?;
    Ok((named, list.iter().any(|text| is_all(&text))))
}

/// The highest capability of this kernel, from /proc/sys/kernel/cap_last_cap, else by asking for each.
pub fn last_cap() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/cap_last_cap")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_else(|| (0..63).take_while(|cap| sys::is_bounding(*cap).is_ok()).last().unwrap_or(0))
    })
}

/// What a container process will hold, decided before the fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapsPlan {
    pub bounding: CapSet,
    pub effective: CapSet,
    pub permitted: CapSet,
    pub inheritable: CapSet,
    pub ambient: CapSet,
    last: u32,
}

impl CapsPlan {
    /// From the runtime spec's `process.capabilities`; nothing given means nothing held.
    ///
    /// A capability that this kernel or our own bounding set lacks cannot be given: it is left out, and the second value
    /// says so. An ambient capability must be permitted and inheritable, or the kernel refuses it: it is left out too.
    pub fn new(caps: Option<&LinuxCapabilities>) -> (CapsPlan, Vec<String>) {
        CapsPlan::within(caps, held_bounding(), last_cap())
    }

    fn within(caps: Option<&LinuxCapabilities>, limit: CapSet, last: u32) -> (CapsPlan, Vec<String>) {
        let Some(caps) = caps else { return (CapsPlan { last, ..CapsPlan::default() }, Vec::new()) };
        let wanted = |set: &Option<Capabilities>| set.as_ref().map_or(CapSet::EMPTY, CapSet::from);
        let bounding = wanted(caps.bounding());
        let permitted = wanted(caps.permitted());
        let inheritable = wanted(caps.inheritable());
        let effective = wanted(caps.effective());
        let ambient = wanted(caps.ambient());
        let everything = CapSet(bounding.0 | permitted.0 | inheritable.0 | effective.0 | ambient.0);
        let mut warnings: Vec<String> = everything
            .minus(limit)
            .iter()
            .map(|cap| format!("capability CAP_{} cannot be given: this host does not have it to give", name(cap)))
            .collect();
        let permitted = permitted.intersect(limit);
        let inheritable = inheritable.intersect(limit);
        let allowed_ambient = ambient.intersect(permitted).intersect(inheritable);
        warnings.extend(ambient.intersect(limit).minus(allowed_ambient).iter().map(|cap| {
            format!("ambient capability CAP_{} is left out: it is not both permitted and inheritable", name(cap))
        }));
        let plan = CapsPlan {
            bounding: bounding.intersect(limit),
            effective: effective.intersect(permitted),
            permitted,
            inheritable,
            ambient: allowed_ambient,
            last,
        };
        (plan, warnings)
    }

    /// First half, while the process is still privileged and before the uid changes: shrinks the bounding set and keeps
    /// the permitted set over setuid. Runs after a fork: no allocation.
    pub fn before_setuid(&self) -> Result<(), Errno> {
        for cap in 0..=self.last {
            // Bits above our table are dropped too: what has no name here was not asked for.
            if self.bounding.0 & (1 << cap) == 0 {
                match sys::drop_bounding(cap) {
                    // Without CAP_SETPCAP: nothing is wrong if it was not held anyway.
                    Err(_) if sys::is_bounding(cap) != Ok(true) => {}
                    done => done?,
                }
            }
        }
        sys::keep_over_setuid()
    }

    /// Second half, after the uid has changed: the final sets, then the ambient ones. Runs after a fork: no allocation.
    pub fn after_setuid(&self) -> Result<(), Errno> {
        sys::set(sys::Sets {
            effective: self.effective.0,
            permitted: self.permitted.0,
            inheritable: self.inheritable.0,
        })?;
        match sys::clear_ambient() {
            // Linux < 4.3 has no ambient set: then there is nothing to clear, and nothing may be asked for.
            Err(Errno::EINVAL) if self.ambient.is_empty() => return Ok(()),
            done => done?,
        }
        (0..=self.last).filter(|cap| self.ambient.0 & (1 << cap) != 0).try_for_each(sys::raise_ambient)
    }
}

/// Our own bounding set: nobody can hand out more than this.
fn held_bounding() -> CapSet {
    CapSet(
        CapSet::all()
            .iter()
            .map(bit)
            .filter(|bit| sys::is_bounding(*bit) == Ok(true))
            .fold(0, |set, bit| set | 1 << bit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn table_agrees_with_the_spec_crate() {
        for (number, (cap, short)) in TABLE.iter().enumerate() {
            assert_eq!(cap.to_string(), *short);
            assert_eq!(bit(*cap), number as u32);
        }
    }

    #[test]
    fn names_are_read_with_and_without_prefix_in_any_case() {
        for text in ["CAP_NET_RAW", "NET_RAW", "net_raw", "Cap_Net_Raw"] {
            assert_eq!(parse(text), Ok(Capability::NetRaw), "{text}");
        }
        for text in ["", "CAP_", "NETRAW", "CAP_CAP_CHOWN", "ALL"] {
            assert_eq!(parse(text), Err(CapsError::Unknown(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn docker_default_is_the_known_mask() {
        assert_eq!(CapSet::docker_default().bits(), 0xa804_25fb); // CapBnd in /proc/1/status of any docker container
    }

    #[test]
    fn add_and_drop_follow_docker() {
        let base = CapSet::docker_default();
        let check = |add: &[&str], drop: &[&str], want: CapSet| {
            assert_eq!(tweak(base, &list(add), &list(drop)), Ok(want), "add {add:?} drop {drop:?}");
        };
        check(&[], &[], base);
        check(&["SYS_ADMIN"], &[], base.with(Capability::SysAdmin));
        check(&[], &["chown"], base.without(Capability::Chown));
        check(&["ALL"], &["SYS_ADMIN"], CapSet::all().without(Capability::SysAdmin));
        check(&["CHOWN", "KILL"], &["all"], [Capability::Chown, Capability::Kill].into_iter().collect());
        check(&["CHOWN"], &["CHOWN"], base);
        check(&["ALL"], &["ALL"], CapSet::all());
        assert_eq!(tweak(base, &list(&["NOPE"]), &[]), Err(CapsError::Unknown("NOPE".to_owned())));
        assert_eq!(tweak(base, &list(&["ALL"]), &list(&["NOPE"])), Err(CapsError::Unknown("NOPE".to_owned())));
    }

    fn oci(set: CapSet, ambient: CapSet) -> LinuxCapabilities {
        let mut caps = LinuxCapabilities::default();
        caps.set_bounding(Some(set.to_oci()));
        caps.set_permitted(Some(set.to_oci()));
        caps.set_effective(Some(set.to_oci()));
        caps.set_inheritable(None);
        caps.set_ambient(Some(ambient.to_oci()));
        caps
    }

    #[test]
    fn what_the_host_lacks_is_left_out_and_said() {
        let limit = CapSet::docker_default().without(Capability::Mknod);
        let (plan, warnings) = CapsPlan::within(Some(&oci(CapSet::docker_default(), CapSet::EMPTY)), limit, 40);
        assert_eq!((plan.bounding, plan.permitted, plan.effective), (limit, limit, limit));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("CAP_MKNOD"));
    }

    #[test]
    fn ambient_without_inheritable_is_left_out() {
        let chown = CapSet::EMPTY.with(Capability::Chown);
        let (plan, warnings) = CapsPlan::within(Some(&oci(chown, chown)), CapSet::up_to(40), 40);
        assert!(plan.ambient.is_empty());
        assert_eq!(warnings.len(), 1);
    }

    proptest! {
        #[test]
        fn sets_survive_the_spec_form(bits in any::<u64>()) {
            let set = CapSet::from_bits(bits);
            prop_assert_eq!(CapSet::from(&set.to_oci()), set);
            let again: CapSet = set.names().iter().map(|it| parse(it).unwrap()).collect();
            prop_assert_eq!(again, set);
        }

        #[test]
        fn parse_never_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn dropped_is_gone_unless_added(add in 0u64..1 << 41, drop in 0u64..1 << 41) {
            let (add, drop) = (CapSet::from_bits(add), CapSet::from_bits(drop));
            let got = tweak(CapSet::docker_default(), &add.names(), &drop.names()).unwrap();
            prop_assert_eq!(got.intersect(drop).minus(add), CapSet::EMPTY);
            prop_assert_eq!(add.minus(got), CapSet::EMPTY);
        }
    }
}
