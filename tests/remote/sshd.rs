//! An ssh server of the tests on loopback, with keys, configuration and known hosts of its own, and the client that a user of it would have.
//!
//! Ssh reads its configuration from the user's real home, which is not for tests to touch: a test that dials runs once more in a process whose PATH
//! begins with an `ssh` that names another configuration file. Nothing of orlop knows of that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemons::{self, PATIENCE};

/// Set in the process that has the ssh of the tests; names its directory.
const MARK: &str = "ORLOP_TEST_SSH";
const PORT: u16 = 2222;
const SSHD: &str = "/usr/sbin/sshd";

/// Configuration of a server without any docker program: there the daemon's socket is forwarded.
pub const NO_DOCKER: &str = "SetEnv PATH=/nonexistent";

/// The user's side: keys, known hosts, configuration.
pub struct Home {
    dir: PathBuf,
}

/// Runs `body` in a process that has the ssh of the tests. `test` is the whole name of the calling test.
pub fn with_own_ssh(test: &str, programs: &[&str], body: impl FnOnce(&Home)) {
    if let Some(dir) = std::env::var_os(MARK) {
        let home = Home { dir: PathBuf::from(dir) };
        std::fs::write(home.dir.join("began"), test).unwrap();
        return body(&home);
    }
    let needs: Vec<&str> = ["ssh", "ssh-keygen"].iter().chain(programs).copied().collect();
    if !Path::new(SSHD).exists() {
        return crate::world::not_here(test, "no sshd (Debian package openssh-server)");
    }
    if !daemons::is_here(test, &needs) {
        return;
    }
    let dir = tempfile::Builder::new().prefix("orlop-ssh-").tempdir().unwrap();
    let home = Home::make(dir.path());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(home.dir.join("bin")).chain(std::env::split_paths(&path))).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("PATH", path)
        .env(MARK, dir.path())
        // Where the shared login's socket goes.
        .env("XDG_RUNTIME_DIR", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    daemons::end_all_naming(dir.path());
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(std::fs::read_to_string(dir.path().join("began")).ok().as_deref(), Some(test), "it did not run: {said}");
    let is_told = |line: &&str| ["DIFFERS:", "NOT RUN:", "CONTRACT:"].iter().any(|head| line.starts_with(head));
    crate::world::tell(said.lines().filter(is_told));
}

impl Home {
    fn make(dir: &Path) -> Self {
        let home = Self { dir: dir.to_owned() };
        std::fs::create_dir(dir.join("bin")).unwrap();
        let wrapper = format!("#!/bin/sh\nexec {} -F {}/config \"$@\"\n", which("ssh").display(), dir.display());
        crate::program::write(dir.join("bin/ssh"), wrapper);
        make_key(&dir.join("user_key"));
        std::fs::copy(dir.join("user_key.pub"), dir.join("authorized_keys")).unwrap();
        home.configure("");
        home
    }

    /// Writes the configuration of the user's ssh: `more` stands before what holds for every host.
    pub fn configure(&self, more: &str) {
        let dir = self.dir.display();
        let text = format!(
            "{more}\nHost *\n  IdentityFile {dir}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {dir}/known_hosts\n  \
             GlobalKnownHostsFile /dev/null\n"
        );
        std::fs::write(self.dir.join("config"), text).unwrap();
    }

    /// The server's key becomes the known one, and the only one.
    pub fn trust(&self, servers: &[&Sshd]) {
        let lines: String = servers.iter().map(|server| server.known_host()).collect();
        std::fs::write(self.dir.join("known_hosts"), lines).unwrap();
    }

    pub fn forget_hosts(&self) {
        std::fs::write(self.dir.join("known_hosts"), "").unwrap();
    }

    /// No key opens anything any more.
    pub fn revoke_key(&self) {
        std::fs::write(self.dir.join("authorized_keys"), "").unwrap();
    }

    /// Shared logins that stand.
    pub fn n_logins(&self) -> usize {
        let sockets = std::fs::read_dir(self.dir.join("orlop-ssh")).into_iter().flatten().flatten();
        sockets.filter(|entry| entry.file_name().len() >= 40).count()
    }

    /// Ends the shared logins, as a new day would.
    pub fn end_logins(&self) {
        daemons::end_all_naming(&self.dir.join("orlop-ssh"));
        let _ = std::fs::remove_dir_all(self.dir.join("orlop-ssh"));
    }
}

/// One server.
pub struct Sshd {
    child: Child,
    dir: tempfile::TempDir,
    pub address: String,
}

impl Sshd {
    /// Lets the home's user in as root. `more` are lines of its configuration.
    /// Beyond that it is as an sshd that nobody has configured: ten channels a login, and logins dropped when ten are under way.
    pub fn start(home: &Home, more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("orlop-sshd-").tempdir().unwrap();
        make_key(&dir.path().join("host_key"));
        // Debian's own start of it makes this directory; sshd insists on it.
        let _ = std::fs::create_dir("/run/sshd");
        let address = daemons::own_address().to_string();
        let (own, keys) = (dir.path().display(), home.dir.join("authorized_keys"));
        // What a login reads in the real home is not for tests: it may take long, and a kill in the middle of it leaves things behind.
        let more = match more.strip_prefix("SetEnv ") {
            Some(rest) => format!("SetEnv HOME={own} {rest}"),
            None => format!("SetEnv HOME={own}\n{more}"),
        };
        let text = format!(
            "ListenAddress {address}:{PORT}\nHostKey {own}/host_key\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nLogLevel VERBOSE\n{more}\n",
            keys.display()
        );
        std::fs::write(dir.path().join("config"), text).unwrap();
        let child = spawn(dir.path());
        let server = Self { child, dir, address };
        server.wait_ready();
        server
    }

    /// `ssh://root@address:port`, with what may follow.
    pub fn url(&self, socket: &str) -> String {
        format!("ssh://root@{}:{PORT}{socket}", self.address)
    }

    /// How the user's ssh finds it under a name: lines of its configuration.
    pub fn named(&self, name: &str) -> String {
        format!("Host {name}\n  HostName {}\n  Port {PORT}\n  User root\n", self.address)
    }

    /// Lines of its log so far with these words.
    pub fn n_logged(&self, words: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains(words)).count()
    }

    /// The server and every session of it end at once, without a word.
    pub fn kill(&mut self) {
        let listener = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        for pid in descendants(listener) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path());
        self.wait_ready();
    }

    /// As if somebody else answered at its address.
    pub fn change_key(&mut self) {
        self.kill();
        make_key(&self.dir.path().join("host_key"));
        self.start_again();
    }

    fn known_host(&self) -> String {
        let key = std::fs::read_to_string(self.dir.path().join("host_key.pub")).unwrap();
        format!("[{}]:{PORT} {key}", self.address)
    }

    fn wait_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((self.address.as_str(), PORT)).is_err() {
            let said = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "sshd did not come up: {said}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &Path) -> Child {
    let (config, log) = (dir.join("config"), dir.join("log"));
    let mut command = Command::new(SSHD);
    command.arg("-D").arg("-f").arg(config).arg("-E").arg(log).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn make_key(path: &Path) {
    let _ = std::fs::remove_file(path);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.exists()).unwrap()
}

/// Every process beneath one.
fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok());
        // The name may hold anything; the parent is the second word after it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        found.extend(children.get(&pid).into_iter().flatten());
        at += 1;
    }
    found.split_off(1)
}
