//! `top`: what `ps` would print of a container's processes, read from the host's /proc. Called by `containers`; takes pids from the
//! container's cgroup and executes nothing, in the container or outside (CVE-2022-1227).

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::{Class, EngineError, ProcessTable, Result};

use super::host;

/// A column: the names that select it, its heading, and how a process fills it.
struct Column {
    keys: &'static [&'static str],
    title: &'static str,
    cell: fn(&Process, &Around) -> String,
}

/// Everything that `ps` can be asked for here.
const COLUMNS: [Column; 26] = [
    Column { keys: &["user", "euser", "uname"], title: "USER", cell: |p, a| a.user(p.uid) },
    Column { keys: &["uid", "euid"], title: "UID", cell: |p, _| p.uid.to_string() },
    Column { keys: &["gid", "egid"], title: "GID", cell: |p, _| p.gid.to_string() },
    Column { keys: &["group", "egroup"], title: "GROUP", cell: |p, a| a.group(p.gid) },
    Column { keys: &["pid", "tgid"], title: "PID", cell: |p, _| p.pid.to_string() },
    Column { keys: &["ppid"], title: "PPID", cell: |p, _| p.ppid.to_string() },
    Column { keys: &["pgid", "pgrp"], title: "PGID", cell: |p, _| p.pgid.to_string() },
    Column { keys: &["sid", "sess", "session"], title: "SID", cell: |p, _| p.sid.to_string() },
    Column { keys: &["c"], title: "C", cell: |p, a| format!("{:.0}", p.cpu_percent(a).min(99.0)) },
    Column { keys: &["pcpu", "%cpu"], title: "%CPU", cell: |p, a| format!("{:.1}", p.cpu_percent(a)) },
    Column { keys: &["pmem", "%mem"], title: "%MEM", cell: |p, a| format!("{:.1}", p.mem_percent(a)) },
    Column { keys: &["vsz", "vsize"], title: "VSZ", cell: |p, _| (p.vsize_bytes / 1024).to_string() },
    Column { keys: &["rss", "rssize", "rsz"], title: "RSS", cell: |p, _| (p.rss_bytes / 1024).to_string() },
    Column { keys: &["tty", "tt", "tname"], title: "TTY", cell: |p, _| p.tty() },
    Column { keys: &["stat"], title: "STAT", cell: |p, _| p.stat() },
    Column { keys: &["s", "state"], title: "S", cell: |p, _| p.state.to_string() },
    Column { keys: &["stime", "start_time"], title: "STIME", cell: |p, a| a.start(p) },
    Column { keys: &["start", "bsdstart"], title: "START", cell: |p, a| a.start(p) },
    Column { keys: &["lstart"], title: "STARTED", cell: |p, a| a.long_start(p) },
    Column { keys: &["time", "cputime"], title: "TIME", cell: |p, _| clock(p.cpu_ticks / 100) },
    Column { keys: &["etime"], title: "ELAPSED", cell: |p, a| elapsed(p.age_s(a)) },
    Column { keys: &["etimes"], title: "ELAPSED", cell: |p, a| p.age_s(a).to_string() },
    Column { keys: &["nlwp", "thcount"], title: "NLWP", cell: |p, _| p.n_threads.to_string() },
    Column { keys: &["ni", "nice"], title: "NI", cell: |p, _| p.nice.to_string() },
    Column { keys: &["comm", "ucmd", "ucomm"], title: "COMMAND", cell: |p, _| p.comm.clone() },
    Column { keys: &["args", "cmd", "command"], title: "COMMAND", cell: |p, _| p.command() },
];

/// One process as /proc tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Process {
    pid: u32,
    ppid: u32,
    pgid: i64,
    sid: i64,
    tty_nr: i64,
    uid: u32,
    gid: u32,
    state: char,
    nice: i64,
    n_threads: u64,
    cpu_ticks: u64,
    start_ticks: u64,
    vsize_bytes: u64,
    rss_bytes: u64,
    tpgid: i64,
    comm: String,
    args: String,
}

/// What the cells need beside the process.
struct Around {
    boot_s: u64,
    now: SystemTime,
    mem_total_bytes: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

/// The table for these `ps` arguments; processes that are gone by the time we look are left out.
///
/// # Errors
/// `Invalid` for arguments that mean nothing here.
pub(crate) fn table(pids: &[u32], ps_args: &str) -> Result<ProcessTable> {
    let columns = choose(ps_args)?;
    let around = Around::read();
    let mut processes: Vec<Process> = pids.iter().filter_map(|pid| Process::read(*pid)).collect();
    processes.sort_by_key(|process| (process.start_ticks, process.pid));
    let row = |process: &Process| columns.iter().map(|(_, column)| (column.cell)(process, &around)).collect();
    Ok(ProcessTable {
        titles: columns.iter().map(|(title, _)| title.clone()).collect(),
        rows: processes.iter().map(row).collect(),
    })
}

/// The columns that some `ps` arguments mean, each with its heading.
fn choose(ps_args: &str) -> Result<Vec<(String, &'static Column)>> {
    let bad = |what: &str| {
        EngineError::new(Class::Invalid, what, format!("ps argument {what:?} is not known here"))
            .with_hint("-ef, -aux, aux, -eo or -o with columns as pid,user,%cpu,rss,comm,args")
    };
    let mut words = ps_args.split_whitespace();
    let mut chosen: Vec<(String, &'static Column)> = Vec::new();
    let mut style = "ef";
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        if let Some(at) = bare.find('o') {
            let (flags, rest) = (&bare[..at], &bare[at + 1..]);
            check_flags(flags).ok_or_else(|| bad(word))?;
            let list = if rest.is_empty() { words.next().ok_or_else(|| bad(word))? } else { rest };
            for field in list.split(',').filter(|field| !field.is_empty()) {
                chosen.push(named(field).ok_or_else(|| bad(field))?);
            }
        } else if bare == "f" || bare == "ef" || bare == "Af" || bare == "fe" {
            style = "ef";
        } else if bare.contains('u') && bare.chars().all(|c| "auxwf".contains(c)) {
            style = "aux";
        } else {
            check_flags(bare).ok_or_else(|| bad(word))?;
        }
    }
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let list: &[(&str, &str)] = match style {
        "aux" => &[
            ("user", "USER"),
            ("pid", "PID"),
            ("pcpu", "%CPU"),
            ("pmem", "%MEM"),
            ("vsz", "VSZ"),
            ("rss", "RSS"),
            ("tty", "TTY"),
            ("stat", "STAT"),
            ("start", "START"),
            ("time", "TIME"),
            ("args", "COMMAND"),
        ],
        _ => &[
            ("user", "UID"),
            ("pid", "PID"),
            ("ppid", "PPID"),
            ("c", "C"),
            ("stime", "STIME"),
            ("tty", "TTY"),
            ("time", "TIME"),
            ("args", "CMD"),
        ],
    };
    Ok(list.iter().filter_map(|(key, title)| named(key).map(|(_, column)| ((*title).to_owned(), column))).collect())
}

/// Selections (every process, wide, …): all mean the container's own here.
fn check_flags(flags: &str) -> Option<()> {
    flags.chars().all(|c| "eAaxwdf".contains(c)).then_some(())
}

/// `field` or `field=HEADING`.
fn named(field: &str) -> Option<(String, &'static Column)> {
    let (key, title) = field.split_once('=').map_or((field, None), |(key, title)| (key, Some(title)));
    let column = COLUMNS.iter().find(|column| column.keys.contains(&key.to_ascii_lowercase().as_str()))?;
    Some((title.unwrap_or(column.title).to_owned(), column))
}

/// As procps shows what a process calls itself: on one line, control characters as `?`.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                ' '
            } else if c.is_control() {
                '?'
            } else {
                c
            }
        })
        .collect()
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut process = Self::parse_stat(&stat)?;
        let effective = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        process.uid = effective("Uid:")?;
        process.gid = effective("Gid:")?;
        let words = cmdline.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy);
        process.args = printable(&words.collect::<Vec<_>>().join(" "));
        Some(process)
    }

    /// Fields as man 5 proc numbers them; the name may hold spaces and parentheses.
    fn parse_stat(stat: &str) -> Option<Self> {
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let fields: Vec<&str> = stat.get(close + 2..)?.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<i64>().ok());
        let unsigned = |field: usize| number(field).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Some(Self {
            pid: stat[..open].trim().parse().ok()?,
            comm: printable(&stat[open + 1..close]),
            state: fields.first()?.chars().next()?,
            ppid: number(4)? as u32,
            pgid: number(5)?,
            sid: number(6)?,
            tty_nr: number(7)?,
            tpgid: number(8)?,
            cpu_ticks: unsigned(14) + unsigned(15),
            nice: number(19)?,
            n_threads: unsigned(20),
            start_ticks: unsigned(22),
            // An address space may be larger than i64 in theory only.
            vsize_bytes: unsigned(23),
            rss_bytes: unsigned(24) * PAGE_BYTES,
            ..Self::default()
        })
    }

    fn age_s(&self, around: &Around) -> u64 {
        let started = around.boot_s + self.start_ticks / 100;
        around.now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().saturating_sub(started))
    }

    fn cpu_percent(&self, around: &Around) -> f64 {
        self.cpu_ticks as f64 / self.age_s(around).max(1) as f64
    }

    fn mem_percent(&self, around: &Around) -> f64 {
        self.rss_bytes as f64 / around.mem_total_bytes.max(1) as f64 * 100.0
    }

    /// The device number as `ps` writes it (man 4 pts, man 4 tty).
    fn tty(&self) -> String {
        let (major, minor) = ((self.tty_nr >> 8) & 0xfff, (self.tty_nr & 0xff) | ((self.tty_nr >> 12) & 0xfff00));
        match major {
            0 => "?".to_owned(),
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            _ => format!("{major}:{minor}"),
        }
    }

    fn stat(&self) -> String {
        let mut text = self.state.to_string();
        if self.nice != 0 {
            text.push(if self.nice < 0 { '<' } else { 'N' });
        }
        if self.sid == i64::from(self.pid) {
            text.push('s');
        }
        if self.n_threads > 1 {
            text.push('l');
        }
        if self.tpgid == self.pgid {
            text.push('+');
        }
        text
    }

    fn command(&self) -> String {
        if self.args.is_empty() { format!("[{}]", self.comm) } else { self.args.clone() }
    }
}

/// Of the architectures that this program is built for.
const PAGE_BYTES: u64 = 4096;

impl Around {
    fn read() -> Self {
        Self {
            boot_s: host::boot_time_s(),
            now: SystemTime::now(),
            mem_total_bytes: host::memory().total_bytes,
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        }
    }

    fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    fn started(&self, process: &Process) -> Option<jiff::Zoned> {
        let at = UNIX_EPOCH + Duration::from_secs(self.boot_s + process.start_ticks / 100);
        let at = jiff::Timestamp::try_from(at).ok()?;
        Some(at.to_zoned(crate::stdx::zone::local().clone()))
    }

    /// The time of day within the last 24 hours, else the day.
    fn start(&self, process: &Process) -> String {
        let format = if process.age_s(self) < 24 * 3600 { "%H:%M" } else { "%b%d" };
        self.started(process).map_or_else(String::new, |at| at.strftime(format).to_string())
    }

    fn long_start(&self, process: &Process) -> String {
        self.started(process).map_or_else(String::new, |at| at.strftime("%a %b %e %H:%M:%S %Y").to_string())
    }
}

/// The host's names for ids, as `ps` on the host shows them.
fn names(path: &str) -> HashMap<u32, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    let mut all = HashMap::new();
    for (id, name) in text.lines().filter_map(entry) {
        all.entry(id).or_insert(name);
    }
    all
}

/// `00:00:07`, with days in front when there are any.
fn clock(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let days = if days > 0 { format!("{days}-") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{rest:02}")
}

/// `07:12`, `01:07:12`, `3-01:07:12`.
fn elapsed(seconds: u64) -> String {
    let full = clock(seconds);
    if seconds < 3600 { full[3..].to_owned() } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> String {
        choose(args)
            .map(|list| list.into_iter().map(|(title, _)| title).collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    }

    #[test]
    fn arguments_choose_the_columns() {
        for args in ["", "-ef", "-f", "-e -f"] {
            assert_eq!(titles(args), "UID PID PPID C STIME TTY TIME CMD", "{args}");
        }
        for args in ["aux", "-aux", "auxww"] {
            assert_eq!(titles(args), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND", "{args}");
        }
        assert_eq!(titles("-o pid,comm,%cpu"), "PID COMMAND %CPU");
        assert_eq!(titles("-eo pid,rss=MEM"), "PID MEM");
        assert_eq!(titles("-opid"), "PID");
        for bad in ["-o", "-o nope", "--forest", "; id"] {
            assert_eq!(choose(bad).err().unwrap().class, Class::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_stat_line_with_a_hostile_name_parses() {
        let line =
            "42 (a) b (c) S 1 42 42 34816 42 4194304 1 0 0 0 250 50 0 0 20 5 3 0 1000 4096 2 18446744073709551615";
        let process = Process::parse_stat(line).unwrap();
        assert_eq!((process.comm.as_str(), process.ppid, process.cpu_ticks, process.nice), ("a) b (c", 1, 300, 5));
        assert_eq!((process.tty(), process.stat()), ("pts/0".to_owned(), "SNsl+".to_owned()));
        assert_eq!(process.command(), "[a) b (c]");
    }

    #[test]
    fn this_process_is_seen_and_a_gone_one_is_not() {
        let table = table(&[std::process::id(), u32::MAX - 1], "-o pid,args").unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0][0], std::process::id().to_string());
    }

    #[test]
    fn spans_are_written_as_ps_does() {
        assert_eq!((clock(7), clock(90_061)), ("00:00:07".to_owned(), "1-01:01:01".to_owned()));
        assert_eq!((elapsed(432), elapsed(4_032)), ("07:12".to_owned(), "01:07:12".to_owned()));
    }
}
