//! `user[:group]` → uid, gid, groups and home, by docker's rules, from the container's own /etc/passwd and /etc/group.
//! Called by the engine (create, exec) before the container runs and by the shim for exec. Must never ask the host's
//! name service, follow a path out of the root, or block on what an image put in place of a file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Ids above this wrap to root in tools with signed ids (CVE-2024-40635).
pub const MAX_ID: u32 = i32::MAX as u32;
/// What of passwd or group is read at most (CVE-2024-9676).
pub const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    #[error("invalid user {0:?}: expected user[:group], each a name or a number")]
    Grammar(String),
    #[error("uids and gids must be in range 0-2147483647, {0} is not")]
    Range(String),
    #[error("{0} is larger than 1 MiB")]
    TooLarge(&'static str),
    #[error("{0} in the container is not a regular file")]
    NotRegular(&'static str),
    #[error("cannot read {what}")]
    Read { what: &'static str, source: io::Error },
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups: the primary gid first (CVE-2022-36109), then those of the group file, then the extra ones.
    pub groups: Vec<u32>,
    /// From passwd; `/` when there is no entry.
    pub home: String,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves `spec` (empty means root) and the extra groups of `--group-add`.
///
/// Docker's rules: the first passwd line whose name is the text, or whose uid in decimal is the text, wins; a number
/// without a line stands for itself with gid 0 and no groups. Membership in the group file counts only when a line
/// matched and no group was given.
///
/// # Errors
/// A name without an entry, text that is neither name nor number, an id above 2^31-1, a file over 1 MiB.
pub fn resolve(
    spec: &str,
    passwd: Option<impl Read>,
    group: Option<impl Read>,
    extra: &[String],
) -> Result<ResolvedUser, UserError> {
    let (user_arg, group_arg) = split(spec)?;
    let passwd = slurp(passwd, "/etc/passwd")?;
    let group = slurp(group, "/etc/group")?;

    let wanted = if user_arg.is_empty() { "0" } else { user_arg };
    let line = passwd_lines(&passwd).find(|it| is_named(wanted, it.name, it.uid));
    let (uid, default_gid, home) = match &line {
        Some(line) => (line.uid, line.gid, if line.home.is_empty() { "/" } else { line.home }),
        None => (number(wanted)?.ok_or_else(|| UserError::NoUser(user_arg.to_owned()))?, 0, "/"),
    };
    let gid = if group_arg.is_empty() { default_gid } else { find_group(group_arg, &group)? };

    let mut groups = vec![gid];
    if let (Some(line), true) = (&line, group_arg.is_empty()) {
        let is_member = |it: &GroupLine<'_>| it.members.split(',').any(|member| member.trim() == line.name);
        groups.extend(group_lines(&group).filter(is_member).map(|it| it.gid));
    }
    for name in extra {
        groups.push(find_group(name, &group)?);
    }
    dedup_keeping_order(&mut groups);
    Ok(ResolvedUser { uid, gid, groups, home: home.to_owned() })
}

/// [`resolve`] with the files of the root file system open at `root`. A missing file is an empty one.
///
/// Blocks on the disk only: what is not a regular file is refused without being opened for reading.
pub fn resolve_in_root(root: BorrowedFd<'_>, spec: &str, extra: &[String]) -> Result<ResolvedUser, UserError> {
    resolve(spec, open_regular(root, "/etc/passwd")?, open_regular(root, "/etc/group")?, extra)
}

/// Opens a regular file below `root`, with every link resolved inside it; `None` when there is none.
fn open_regular(root: BorrowedFd<'_>, what: &'static str) -> Result<Option<File>, UserError> {
    let fail = |errno: Errno| UserError::Read { what, source: errno.into() };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = match openat2(root, what, how) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    let kind = nix::sys::stat::fstat(&path).map_err(fail)?.st_mode & nix::sys::stat::SFlag::S_IFMT.bits();
    if kind != nix::sys::stat::SFlag::S_IFREG.bits() {
        return Err(UserError::NotRegular(what));
    }
    // The O_PATH descriptor pins the inode that was looked at, so what is opened now is what was checked.
    let again = format!("/proc/self/fd/{}", path.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(Path::new(&again), flags, nix::sys::stat::Mode::empty()).map_err(fail)?;
    Ok(Some(file.into()))
}

fn slurp(file: Option<impl Read>, what: &'static str) -> Result<String, UserError> {
    let Some(file) = file else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|source| UserError::Read { what, source })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(UserError::TooLarge(what));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Exactly `user` or `user:group`; an empty half means the default (CVE-2026-30892: nothing is guessed from a prefix).
fn split(spec: &str) -> Result<(&str, &str), UserError> {
    let (user, group) = spec.split_once(':').unwrap_or((spec, ""));
    let is_plain = |text: &str| !text.contains(':') && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_plain(user) && is_plain(group) { Ok((user, group)) } else { Err(UserError::Grammar(spec.to_owned())) }
}

fn find_group(text: &str, group: &str) -> Result<u32, UserError> {
    if text.is_empty() {
        return Err(UserError::Grammar(String::new()));
    }
    match group_lines(group).find(|it| is_named(text, it.name, it.gid)) {
        Some(line) => Ok(line.gid),
        None => number(text)?.ok_or_else(|| UserError::NoGroup(text.to_owned())),
    }
}

fn is_named(text: &str, name: &str, id: u32) -> bool {
    name == text || id.to_string() == text
}

/// Digits alone are a number, anything else is a name. A number out of range is an error, never a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID && digits.len() == text.len() => Ok(Some(id)),
        _ => Err(UserError::Range(text.to_owned())),
    }
}

/// Well-formed lines alone: a line whose ids do not parse must not become root's.
fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|it| !it.is_empty() && !it.starts_with(['#', '+', '-']))?;
        let uid = file_id(fields.nth(1)?)?;
        let gid = file_id(fields.next()?)?;
        Some(PasswdLine { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|it| !it.is_empty() && !it.starts_with(['#', '+', '-']))?;
        let gid = file_id(fields.nth(1)?)?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn file_id(field: &str) -> Option<u32> {
    field.bytes().all(|b| b.is_ascii_digit()).then(|| field.parse().ok()).flatten().filter(|id| *id <= MAX_ID)
}

fn dedup_keeping_order(ids: &mut Vec<u32>) {
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken:x:none:0::/:/bin/sh\n\n# note\n+::::::\nweb:x:33:34:www:/var/www:/usr/sbin/nologin\n\
                          1000:x:77:78::/home/digits:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbare:x:5:5\nhuge:x:4294967296:1::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:web,ann\nweb:x:34:\naudio:x:29: ann , web\nann:x:1000:\nbad:x:-1:ann\n4:x:99:\nstaff:x:50:ann,ann\n";

    fn run(spec: &str, extra: &[&str]) -> Result<ResolvedUser, UserError> {
        let extra: Vec<String> = extra.iter().map(|it| (*it).to_owned()).collect();
        resolve(spec, Some(PASSWD.as_bytes()), Some(GROUP.as_bytes()), &extra)
    }

    fn check(spec: &str, extra: &[&str], uid: u32, gid: u32, groups: &[u32], home: &str) {
        let want = ResolvedUser { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
        assert_eq!(run(spec, extra).unwrap(), want, "{spec}");
    }

    #[test]
    fn docker_rules() {
        check("", &[], 0, 0, &[0], "/root");
        check(":", &[], 0, 0, &[0], "/root");
        check("root", &[], 0, 0, &[0], "/root");
        check("web", &[], 33, 34, &[34, 4, 29], "/var/www");
        check("33", &[], 33, 34, &[34, 4, 29], "/var/www");
        check("web:adm", &[], 33, 4, &[4], "/var/www");
        check("web:4", &[], 33, 4, &[4], "/var/www"); // the first line that matches by name or by number
        check(":adm", &[], 0, 4, &[4], "/root");
        check("4711", &[], 4711, 0, &[0], "/");
        check("4711:4712", &["audio", "5000"], 4711, 4712, &[4712, 29, 5000], "/");
        check("bare", &[], 5, 5, &[5], "/");
        check("ann", &["adm"], 1000, 1000, &[1000, 4, 29, 50], "/home/ann");
    }

    #[test]
    fn a_name_made_of_digits_wins_when_its_line_comes_first_cve_2016_3697() {
        check("1000", &[], 77, 78, &[78], "/home/digits");
    }

    #[test]
    fn additional_groups_hold_the_primary_one_cve_2022_36109() {
        assert_eq!(run("web", &[]).unwrap().groups.first(), Some(&34));
    }

    #[test]
    fn strict_grammar_cve_2026_30892() {
        for spec in ["a:b:c", "::", "web :adm", "web: adm", "we\tb", "1000\n", "web:adm:"] {
            assert!(matches!(run(spec, &[]), Err(UserError::Grammar(_))), "{spec:?}");
        }
        for spec in ["1x", "0x10", "1.5", "nobody-here", "é"] {
            assert!(matches!(run(spec, &[]), Err(UserError::NoUser(_))), "{spec:?}");
        }
        assert!(matches!(run("0:12x", &[]), Err(UserError::NoGroup(_))));
        assert!(matches!(run("0", &["nogroup-here"]), Err(UserError::NoGroup(_))));
        assert!(matches!(run("0", &[""]), Err(UserError::Grammar(_))));
    }

    #[test]
    fn ids_above_two_to_the_31_are_refused_cve_2024_40635() {
        assert_eq!(run("2147483647:2147483647", &[]).unwrap().uid, MAX_ID);
        for spec in ["2147483648", "4294967296", "-1", "+5", "99999999999999999999", "0:2147483648", "0:-5"] {
            assert!(matches!(run(spec, &[]), Err(UserError::Range(_))), "{spec}");
        }
        assert!(matches!(run("huge", &[]), Err(UserError::NoUser(_)))); // a line out of range is no line
    }

    #[test]
    fn a_line_with_broken_ids_is_no_root() {
        assert!(matches!(run("broken", &[]), Err(UserError::NoUser(_))));
    }

    #[test]
    fn big_files_are_refused_cve_2024_9676() {
        let endless = || Some(io::repeat(b'a'));
        assert!(matches!(resolve("0", endless(), None::<&[u8]>, &[]), Err(UserError::TooLarge("/etc/passwd"))));
        assert!(matches!(resolve("0", None::<&[u8]>, endless(), &[]), Err(UserError::TooLarge("/etc/group"))));
    }

    #[test]
    fn no_files_means_numbers_alone() {
        let run = |spec: &str| resolve(spec, None::<&[u8]>, None::<&[u8]>, &[]);
        assert_eq!(run("7:8").unwrap(), ResolvedUser { uid: 7, gid: 8, groups: vec![8], home: "/".to_owned() });
        assert!(matches!(run("web"), Err(UserError::NoUser(_))));
    }

    fn root_with(make: impl Fn(&Path)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        make(dir.path());
        dir
    }

    fn in_root(dir: &tempfile::TempDir, spec: &str) -> Result<ResolvedUser, UserError> {
        resolve_in_root(File::open(dir.path()).unwrap().as_fd(), spec, &[])
    }

    #[test]
    fn links_stay_inside_the_root() {
        let dir = root_with(|root| {
            std::fs::write(root.join("real"), "inside:x:12:13::/in:/bin/sh\n").unwrap();
            std::os::unix::fs::symlink("../../../../../real", root.join("etc/passwd")).unwrap();
        });
        assert_eq!(in_root(&dir, "inside").unwrap().uid, 12);
        let dir = root_with(|root| std::os::unix::fs::symlink("/etc/hostname", root.join("etc/passwd")).unwrap());
        assert_eq!(in_root(&dir, "5").unwrap().uid, 5); // the host's file of that name is not seen: no file, no entries
    }

    #[test]
    fn fifo_and_directory_are_refused_without_blocking_cve_2024_9676() {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        let dir = root_with(|root| nix::unistd::mkfifo(&root.join("etc/passwd"), mode).unwrap());
        assert!(matches!(in_root(&dir, "0"), Err(UserError::NotRegular("/etc/passwd"))));
        let dir = root_with(|root| std::fs::create_dir(root.join("etc/group")).unwrap());
        assert!(matches!(in_root(&dir, "0"), Err(UserError::NotRegular("/etc/group"))));
    }

    #[test]
    fn a_root_without_etc_has_numbers_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(in_root(&dir, "3:4").unwrap().groups, [4]);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents_root(spec in ".{0,24}", passwd in ".{0,200}", group in ".{0,200}") {
            if let Ok(user) = resolve(&spec, Some(passwd.as_bytes()), Some(group.as_bytes()), &[]) {
                prop_assert!(user.uid <= MAX_ID && user.groups.iter().all(|gid| *gid <= MAX_ID));
                let named_nobody = spec.is_empty() || spec.starts_with(':');
                let digits = spec.split(':').next().unwrap_or("").bytes().all(|b| b == b'0');
                let listed = passwd.contains(":0:");
                prop_assert!(user.uid != 0 || named_nobody || digits || listed);
            }
        }
    }
}
