//! A daemon behind ssh. Called by `dial`, once for each connection. The user's own ssh does the work, so that its configuration, agent, jump
//! hosts and known hosts hold; connections share logins (ControlMaster).
//!
//! ```text
//! ssh host docker system dial-stdio     each connection a channel of a shared login; what docker's own clients do
//!   | no docker program there
//!   v
//! ssh -N -L local.sock:/var/run/docker.sock host     one forwarded socket with a login of its own, kept as long as this value
//! ```
//! Nothing is ever asked on the terminal: it belongs to the screen. BatchMode says so to ssh itself, an askpass that refuses says so to the ssh of a
//! jump host. A login that needs a password or a first look at a host key is refused with the command that settles it.

mod channel;
mod far;
mod logins;

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use self::channel::{Channel, Told};
use self::far::Far;
use self::logins::{FIRST_SOCKET, Logins};
use crate::api::error::one_line;
use crate::config::host::FAR_SOCKET;
use crate::engine::{Class, EngineError, Result};
use crate::http::Duplex;

/// For the login, by ssh's own clock.
const CONNECT_S: u32 = 15;
/// Until a forwarded socket stands.
const FORWARD: Duration = Duration::from_secs(20);
/// Longer paths of sockets are refused by the system; ssh adds some characters of its own, and logins have a number.
const MAX_DIR: usize = 36;
/// Whoever answers it in HTTP is a daemon.
const QUESTION: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";

/// One far host.
pub(super) struct Ssh {
    far: Arc<Far>,
    /// The lock lets one find out, or log in, while others wait.
    known: Mutex<Known>,
}

/// What is known of the far host.
#[derive(Default)]
struct Known {
    /// What was found to work there.
    means: Option<Means>,
    logins: Logins,
    /// When the last try was begun, and why it failed.
    failed: Option<(Instant, EngineError)>,
}

enum Means {
    DialStdio,
    Forward(Forward),
}

/// A far socket that stands here as another.
struct Forward {
    path: PathBuf,
    /// The ssh that holds it up; dropped, it ends.
    child: Box<Child>,
}

impl Forward {
    fn stands(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Ssh {
    pub(super) fn new(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let far = Far { user: own(user), host: host.to_owned(), port, socket: own(socket) };
        Self { far: Arc::new(far), known: Mutex::default() }
    }

    /// One connection to the daemon.
    pub(super) async fn dial(&self) -> Result<Box<dyn Duplex>> {
        let asked = Instant::now();
        let mut known = self.known.lock().await;
        // A host that is down is not waited for by one after the other: what was begun meanwhile tells all who waited.
        if let Some((_, error)) = known.failed.as_ref().filter(|(begun, _)| *begun >= asked) {
            return Err(error.clone());
        }
        let begun = Instant::now();
        let dialled = self.dial_in_turn(&mut known).await;
        known.failed = dialled.as_ref().err().map(|error| (begun, error.clone()));
        dialled
    }

    async fn dial_in_turn(&self, known: &mut Known) -> Result<Box<dyn Duplex>> {
        if let Some(Means::Forward(forward)) = &mut known.means
            && !forward.stands()
        {
            known.means = None;
        }
        if known.means.is_none() {
            known.means = Some(self.find_means(&mut known.logins).await?);
        }
        match &known.means {
            Some(Means::Forward(forward)) => {
                let stream = UnixStream::connect(&forward.path).await;
                Ok(Box::new(stream.map_err(|error| self.far.no_login(&error.to_string()))?))
            }
            _ => Ok(Box::new(self.dial_stdio(&mut known.logins).await?)),
        }
    }

    /// Docker's way first, with one question.
    async fn find_means(&self, logins: &mut Logins) -> Result<Means> {
        let mut channel = self.dial_stdio(logins).await?;
        if is_answered(&mut channel).await {
            return Ok(Means::DialStdio);
        }
        let Told { status, said } = channel.told().await;
        if !Far::lacks_docker(status, &said) {
            return Err(self.far.unopened(status, &said));
        }
        tracing::info!("no 'docker system dial-stdio' on {}: {}", self.far.host, one_line(&said));
        self.forward().await.map(Means::Forward)
    }

    async fn forward(&self) -> Result<Forward> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let dir = private_dir().map_err(|error| {
            let message = format!("cannot forward a socket of {}: {}", self.far.host, super::dial::plain(&error));
            EngineError::new(Class::Unavailable, &self.far.host, message)
        })?;
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}.{n}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = self.far.socket.as_deref().unwrap_or(FAR_SOCKET);
        // Through a shared login it would ask for a shell and end with it.
        let mut command = self.command();
        command
            .args(["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-N", "-L"])
            .arg(format!("{}:{socket}", path.display()));
        command.args(["--", &self.far.host]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| self.no_ssh(&error))?;
        let mut forward = Forward { path, child: Box::new(child) };
        let end = Instant::now() + FORWARD;
        // Not when its name is there: ssh gives the name a moment before it listens.
        let mut stream = loop {
            match UnixStream::connect(&forward.path).await {
                Ok(stream) => break stream,
                Err(_) if forward.stands() && Instant::now() < end => sleep(Duration::from_millis(20)).await,
                Err(_) => return Err(self.far.no_socket(socket)),
            }
        };
        // And it listens whether or not there is anything behind it.
        if is_answered(&mut stream).await { Ok(forward) } else { Err(self.far.no_socket(socket)) }
    }

    /// A channel of a login that stands.
    async fn dial_stdio(&self, logins: &mut Logins) -> Result<Channel> {
        let place = logins.place();
        let mut command = self.sharing(&place.socket_name());
        command.args(["--", &self.far.host, "docker"]);
        if let Some(socket) = &self.far.socket {
            // The far shell sees this word.
            command.args(["--host", &quoted(&format!("unix://{socket}"))]);
        }
        command.args(["system", "dial-stdio"]);
        let channel = Channel::open(Arc::clone(&self.far), command, place);
        let mut channel = channel.map_err(|error| self.no_ssh(&error))?;
        let mut asking = self.sharing(FIRST_SOCKET);
        asking.args(["-G", "--", &self.far.host]).stdin(Stdio::null()).stderr(Stdio::null());
        logins.wait_for(&mut channel, asking).await;
        if channel.has_failed() { Err(self.far.no_login(&channel.told().await.said)) } else { Ok(channel) }
    }

    /// Ssh through the login with this socket, which it makes where there is none.
    fn sharing(&self, socket_name: &str) -> Command {
        let mut command = self.command();
        match private_dir() {
            Ok(dir) => {
                command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]);
                command.args(["-o", &format!("ControlPath={}/{socket_name}", dir.display())]);
            }
            Err(_) => drop(command.args(["-o", "ControlPath=none"])),
        }
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        let words = "-o BatchMode=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -T -x";
        command.args(words.split(' ')).args(["-o", &format!("ConnectTimeout={CONNECT_S}")]);
        command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        if let Some(user) = &self.far.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.far.port {
            command.args(["-p", &port.to_string()]);
        }
        // A Ctrl-C on the terminal is for the face, not for its connections.
        command.process_group(0).kill_on_drop(true);
        command
    }

    fn no_ssh(&self, error: &io::Error) -> EngineError {
        let host = &self.far.host;
        let message = format!("cannot run ssh to reach {host}: {}", super::dial::plain(error));
        EngineError::new(Class::Unavailable, host, message)
            .with_hint("install an ssh client (Debian package openssh-client)")
    }
}

/// Whether a daemon is at the other end.
async fn is_answered(stream: &mut impl Duplex) -> bool {
    let mut answer = Vec::new();
    if stream.write_all(QUESTION).await.is_ok() && stream.flush().await.is_ok() {
        let _ = stream.take(64).read_to_end(&mut answer).await;
    }
    answer.starts_with(b"HTTP/1.")
}

/// For a shell: in single quotes.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A directory that only this user can look into, for sockets of shared logins.
fn private_dir() -> io::Result<PathBuf> {
    let uid = nix::unistd::geteuid().as_raw();
    let run = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.as_os_str().len() < MAX_DIR);
    let dir = match run {
        Some(run) => run.join("orlop-ssh"),
        None => PathBuf::from(format!("/tmp/orlop-ssh-{uid}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check_private(&dir, uid)?;
    Ok(dir)
}

fn check_private(dir: &Path, uid: u32) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(dir)?;
    if meta.is_dir() && meta.uid() == uid && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is not yours alone", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_far_shell_are_quoted() {
        assert_eq!(quoted("unix:///a b"), "'unix:///a b'");
        assert_eq!(quoted("a'; rm -rf /"), r"'a'\''; rm -rf /'");
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(check_private(dir.path(), uid).is_ok());
        assert!(check_private(dir.path(), uid + 1).is_err());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check_private(dir.path(), uid).is_err());
    }
}
