//! `create`, `run` and `exec`: the commands that make processes. Called by the dispatcher; protects this program's own file first.

use super::super::caps;
use super::super::cgroup::Cgroup;
use super::super::error::{At, Result, RuntimeError, Step};
use super::super::exec::{ExecIn, exec as exec_in};
use super::super::hooks::{self, Moment};
use super::super::launch::{Created, Launch, RootSwitch, Running, StartGate, Stdio, create as make};
use super::super::state::{Home, Record, Status};
use super::args::{Args, Stop};
use super::{Global, foreground, usage_error};
use crate::oci::runtime::{LinuxCapabilities, Process, Spec, User};
use crate::sys::process as sysproc;
use crate::sys::signal::Signal;
use crate::sys::{pidfd, selfexe, socket};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const CREATE_VALUES: &[&str] =
    &["--bundle", "-b", "--pid-file", "--console-socket", "--preserve-fds", "--pidfd-socket"];
const CREATE_FLAGS: &[&str] =
    &["--no-pivot", "--no-new-keyring", "--detach", "-d", "--keep", "--no-subreaper", "--systemd-cgroup"];

/// What `create` and `run` were asked for.
struct Wish {
    id: String,
    bundle: PathBuf,
    spec: Spec,
    spec_text: Vec<u8>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    preserve_fds: u32,
    root_switch: RootSwitch,
    args: Args,
}

impl Wish {
    fn parse(rest: Vec<String>) -> Result<Self> {
        let mut args = Args::parse(rest, CREATE_VALUES, CREATE_FLAGS, Stop::Never)?;
        let id = args.id()?;
        args.expect_end()?;
        let bundle = args.value("--bundle").or(args.value("-b")).unwrap_or(".");
        let bundle = fs::canonicalize(bundle).at(Step::Config, bundle)?;
        let config = bundle.join("config.json");
        let spec_text = fs::read(&config).at(Step::Config, config.display())?;
        let spec = super::super::parse_spec(&spec_text)
            .map_err(|why| RuntimeError::new(Step::Config, format!("{}: {why}", config.display())))?;
        Ok(Self {
            id,
            bundle,
            spec,
            spec_text,
            pid_file: args.value("--pid-file").filter(|path| !path.is_empty()).map(PathBuf::from),
            console_socket: args.value("--console-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
            preserve_fds: number(args.value("--preserve-fds"), "--preserve-fds")?,
            root_switch: if args.has("--no-pivot") { RootSwitch::MoveAndChroot } else { RootSwitch::PivotRoot },
            args,
        })
    }

    fn is_terminal(&self) -> bool {
        self.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false))
    }

    fn stdio(&self) -> Stdio {
        if self.is_terminal() { Stdio::Terminal { rows: 0, cols: 0 } } else { Stdio::Inherit }
    }
}

fn number(text: Option<&str>, name: &str) -> Result<u32> {
    text.map_or(Ok(0), |text| text.parse().map_err(|_| usage_error(format!("{name}: {text:?} is not a number"))))
}

/// No container is made by a process whose program file it could write (CVE-2019-5736).
fn protect() -> Result<()> {
    selfexe::protect().at(Step::Protect, "this program")
}

pub(crate) fn create(global: &Global, rest: Vec<String>) -> Result<i32> {
    protect()?;
    let wish = Wish::parse(rest)?;
    if wish.is_terminal() && wish.console_socket.is_none() {
        return Err(usage_error("cannot allocate tty if orlop will detach without setting console socket".to_owned()));
    }
    if !wish.is_terminal() && wish.console_socket.is_some() {
        return Err(usage_error("cannot use console socket if orlop will not detach or allocate tty".to_owned()));
    }
    let home = Home::claim(&global.root, &wish.id)?;
    let done = create_in(global, &wish, &home);
    if done.is_err() {
        let _ = home.remove();
    }
    done.map(|()| 0)
}

fn create_in(global: &Global, wish: &Wish, home: &Home) -> Result<()> {
    let listener = socket::listen_packets(&home.gate()).at(Step::Channel, "start gate")?;
    let launch = launch(global, wish, StartGate::Listener(listener));
    let mut created = make(launch)?;
    settle(global, wish, home, &mut created)?;
    created.leave().map(drop)
}

fn launch<'a>(global: &Global, wish: &'a Wish, gate: StartGate) -> Launch<'a> {
    Launch {
        stdio: wish.stdio(),
        preserve_fds: wish.preserve_fds,
        root_switch: wish.root_switch,
        gate,
        systemd_cgroup: global.systemd_cgroup || wish.args.has("--systemd-cgroup"),
        ..Launch::new(&wish.id, &wish.spec, &wish.bundle)
    }
}

/// Writes down what was made, and hands its terminal and pid to whoever asked for them.
fn settle(global: &Global, wish: &Wish, home: &Home, created: &mut Created<'_>) -> Result<()> {
    for warning in created.warnings() {
        global.log.warning(warning);
    }
    for (part, ns) in created.timeline().marks() {
        global.log.debug(&format!("{part}: {} us", ns / 1000));
    }
    home.write_config(&wish.spec_text)?;
    let record = record(wish, created.running()?);
    home.write(&record)?;
    if let (Some(path), Some(master)) = (&wish.console_socket, created.take_terminal()) {
        send_terminal(path, master)?;
    }
    if let Some(path) = &wish.pid_file {
        write_pid(path, created.pid())?;
    }
    Ok(())
}

fn record(wish: &Wish, process: &Running) -> Record {
    Record::new(&wish.id, &wish.spec, &wish.bundle, process, owner())
}

fn owner() -> String {
    if sysproc::euid() == 0 { "root".to_owned() } else { sysproc::euid().to_string() }
}

/// The pid in decimal, appearing whole.
fn write_pid(path: &Path, pid: u32) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = dir.join(format!(".{name}"));
    fs::write(&fresh, pid.to_string()).at(Step::Record, path.display())?;
    fs::rename(&fresh, path).at(Step::Record, path.display())
}

/// The terminal's master over the socket, with its name as the message (as containerd and conmon read it).
fn send_terminal(path: &Path, master: OwnedFd) -> Result<()> {
    let connection = socket::connect_stream(path).at(Step::ConsoleSocket, path.display())?;
    let name = Path::new("/dev/ptmx").as_os_str().as_bytes();
    socket::send(connection.as_fd(), name, Some(master.as_fd())).at(Step::ConsoleSocket, path.display())
}

pub(crate) fn run(global: &Global, rest: Vec<String>) -> Result<i32> {
    protect()?;
    let wish = Wish::parse(rest)?;
    let is_detached = wish.args.has("--detach") || wish.args.has("-d");
    if is_detached && wish.is_terminal() && wish.console_socket.is_none() {
        return Err(usage_error("cannot allocate tty if orlop will detach without setting console socket".to_owned()));
    }
    let home = Home::claim(&global.root, &wish.id)?;
    let done = run_in(global, &wish, &home, is_detached);
    if done.is_err() {
        let _ = home.remove();
    }
    done
}

fn run_in(global: &Global, wish: &Wish, home: &Home, is_detached: bool) -> Result<i32> {
    let mut wanted = launch(global, wish, StartGate::Caller);
    if let Some(size) = foreground::own_size().filter(|_| wish.is_terminal() && wish.console_socket.is_none()) {
        wanted.stdio = Stdio::Terminal { rows: size.rows, cols: size.cols };
    }
    // Blocked before the clone: a signal that comes now must wait for the container to take it.
    let signals = if is_detached { None } else { Some(foreground::divert()?) };
    let mut created = make(wanted)?;
    let master = if wish.console_socket.is_none() { created.take_terminal() } else { None };
    settle(global, wish, home, &mut created)?;
    let (running, timeline) = created.start()?;
    for (part, ns) in timeline.marks() {
        global.log.debug(&format!("{part}: {} us", ns / 1000));
    }
    let Some(signals) = signals else { return Ok(0) };
    let exit = foreground::attend(running.pidfd(), signals, master)?;
    if !wish.args.has("--keep") {
        let (_, cgroup) = running.into_parts();
        finish(global, wish, home, cgroup)?;
    }
    Ok(exit.code())
}

/// After the end of a foreground container: nothing of it stays.
fn finish(global: &Global, wish: &Wish, home: &Home, cgroup: Cgroup) -> Result<()> {
    // Processes that shared the host's pid namespace outlive their init; the container is over all the same.
    let _ = cgroup.kill_all(Signal::KILL.number());
    if let Err(err) = cgroup.destroy() {
        global.log.warning(&err.to_string());
    }
    home.remove()?;
    let after = hooks::of(&wish.spec, Moment::Poststop);
    if !after.is_empty() {
        let state = hooks::state(&wish.spec, &wish.id, &wish.bundle, 0, "stopped");
        // The spec: errors of poststop hooks are logged, and the lifecycle goes on.
        if let Err(err) = hooks::run(after, Moment::Poststop, &state) {
            global.log.warning(&err.to_string());
        }
    }
    Ok(())
}

const EXEC_VALUES: &[&str] = &[
    "--process",
    "-p",
    "--cwd",
    "--env",
    "-e",
    "--user",
    "-u",
    "--additional-gids",
    "-g",
    "--cap",
    "-c",
    "--pid-file",
    "--console-socket",
    "--preserve-fds",
    "--apparmor",
    "--process-label",
    "--cgroup",
    "--pidfd-socket",
];
const EXEC_FLAGS: &[&str] = &["--tty", "-t", "--detach", "-d", "--no-new-privs", "--ignore-paused", "--no-subreaper"];

pub(crate) fn exec(global: &Global, rest: Vec<String>) -> Result<i32> {
    protect()?;
    let mut args = Args::parse(rest, EXEC_VALUES, EXEC_FLAGS, Stop::AtSecondWord)?;
    let id = args.id()?;
    let home = Home::open(&global.root, &id)?;
    let record = home.read()?;
    match home.status(&record) {
        Status::Stopped => return Err(RuntimeError::new(Step::NotRunning, "cannot exec in a stopped container")),
        Status::Paused if !args.has("--ignore-paused") => {
            return Err(RuntimeError::new(
                Step::WrongState,
                "exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let spec = home.spec()?;
    let process = exec_process(&spec, &args)?;
    let words = args_command(&mut args);
    let process = with_command(process, words)?;
    run_exec(global, &args, &record, &spec, &process)
}

fn run_exec(global: &Global, args: &Args, record: &Record, spec: &Spec, process: &Process) -> Result<i32> {
    let is_detached = args.has("--detach") || args.has("-d");
    let console = args.value("--console-socket").filter(|path| !path.is_empty());
    let is_terminal = process.terminal().unwrap_or(false);
    if is_detached && is_terminal && console.is_none() {
        return Err(usage_error("cannot allocate tty if orlop will detach without setting console socket".to_owned()));
    }
    let gone = |_| RuntimeError::new(Step::NotRunning, "");
    let container = pidfd::open(record.pid).map_err(gone)?;
    if !record.is_alive() {
        // The number was somebody else's between reading and opening.
        return Err(RuntimeError::new(Step::NotRunning, ""));
    }
    let cgroup = Cgroup::open(&record.cgroup).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))?;
    let size = if console.is_none() { foreground::own_size() } else { None };
    let stdio = match (is_terminal, size) {
        (false, _) => Stdio::Inherit,
        (true, Some(size)) => Stdio::Terminal { rows: size.rows, cols: size.cols },
        (true, None) => Stdio::Terminal { rows: 0, cols: 0 },
    };
    let signals = if is_detached { None } else { Some(foreground::divert()?) };
    let mut child = exec_in(ExecIn {
        pid: record.pid,
        pidfd: container.as_fd(),
        spec,
        process,
        stdio,
        cgroup: Some(&cgroup),
        pdeathsig: false,
        preserve_fds: number(args.value("--preserve-fds"), "--preserve-fds")?,
    })?;
    for warning in &child.warnings {
        global.log.warning(warning);
    }
    let mut master = child.terminal.take();
    if let (Some(path), Some(_)) = (console, &master)
        && let Some(master) = master.take()
    {
        send_terminal(Path::new(path), master)?;
    }
    if let Some(path) = args.value("--pid-file").filter(|path| !path.is_empty()) {
        write_pid(Path::new(path), child.pid)?;
    }
    match signals {
        None => Ok(0),
        Some(signals) => Ok(foreground::attend(child.pidfd.as_fd(), signals, master)?.code()),
    }
}

fn args_command(args: &mut Args) -> Vec<String> {
    std::iter::from_fn(|| args.take_word()).collect()
}

/// The process to execute: a document of its own, or the container's with changes.
fn exec_process(spec: &Spec, args: &Args) -> Result<Process> {
    if let Some(path) = args.value("--process").or(args.value("-p")) {
        let text = fs::read(path).at(Step::Config, path)?;
        return serde_json::from_slice(&text).map_err(|err| RuntimeError::new(Step::Config, format!("{path}: {err}")));
    }
    let mut process =
        spec.process().clone().ok_or_else(|| RuntimeError::new(Step::Config, "process section is missing"))?;
    process.set_terminal(Some(args.has("--tty") || args.has("-t")));
    if let Some(cwd) = args.value("--cwd") {
        process.set_cwd(PathBuf::from(cwd));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.values("--env").chain(args.values("-e")).map(str::to_owned));
    process.set_env(Some(env));
    if let Some(user) = args.value("--user").or(args.value("-u")) {
        process.set_user(parse_user(user)?);
    }
    let gids: Vec<&str> = args.values("--additional-gids").chain(args.values("-g")).collect();
    if !gids.is_empty() {
        let parsed = gids.iter().map(|gid| number(Some(gid), "--additional-gids")).collect::<Result<Vec<_>>>()?;
        process.user_mut().set_additional_gids(Some(parsed));
    }
    if args.has("--no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    let added: Vec<&str> = args.values("--cap").chain(args.values("-c")).collect();
    if !added.is_empty() {
        process.set_capabilities(Some(with_caps(process.capabilities().clone(), &added)?));
    }
    Ok(process)
}

/// Strictly `uid[:gid]` (CVE-2026-30892): anything else names no user here.
fn parse_user(text: &str) -> Result<User> {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let parse = |part: &str| {
        let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let value = part.parse::<u32>().ok().filter(|value| is_digits && *value <= i32::MAX as u32);
        value.ok_or_else(|| usage_error(format!("invalid user {text:?}: uid[:gid] in numbers is needed")))
    };
    let mut user = User::default();
    user.set_uid(parse(uid)?);
    user.set_gid(gid.map_or(Ok(0), parse)?);
    Ok(user)
}

fn with_caps(base: Option<LinuxCapabilities>, added: &[&str]) -> Result<LinuxCapabilities> {
    let mut sets = base.unwrap_or_default();
    for name in added {
        let cap = caps::parse(name).map_err(|err| usage_error(err.to_string()))?;
        let with = |set: &Option<crate::oci::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(cap);
            Some(set)
        };
        // Not inheritable, not ambient: those would survive a change of user (CVE-2022-29162).
        sets.set_bounding(with(sets.bounding()));
        sets.set_permitted(with(sets.permitted()));
        sets.set_effective(with(sets.effective()));
    }
    Ok(sets)
}

fn with_command(mut process: Process, words: Vec<String>) -> Result<Process> {
    if !words.is_empty() {
        process.set_args(Some(words));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_users_are_numbers_and_nothing_else() {
        let user = parse_user("1000:50").unwrap();
        assert_eq!((user.uid(), user.gid()), (1000, 50));
        assert_eq!(parse_user("7").unwrap().gid(), 0);
        for text in ["", ":", "1:", ":1", "root", "-1", "+1", "1:2:3", "4294967296", "2147483648", "1 "] {
            assert!(parse_user(text).is_err(), "{text:?}");
        }
    }
}
