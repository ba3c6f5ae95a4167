//! A daemon behind ssh. Called by `dial`, once for each connection. The user's own ssh does the work, so that its configuration, agent, jump
//! hosts and known hosts hold; connections share one login (ControlMaster).
//!
//! ```text
//! ssh host docker system dial-stdio     each connection a channel of the shared login; what docker's own clients do
//!   | no docker program there
//!   v
//! ssh -N -L local.sock:/var/run/docker.sock host     one forwarded socket, kept as long as this value
//! ```
//! Nothing is ever asked on the terminal (BatchMode): it belongs to the screen. A login that needs a password or a first look at a host key is
//! refused with the command that settles it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::api::error::one_line;
use crate::config::host::FAR_SOCKET;
use crate::engine::{Class, EngineError, Result};
use crate::http::Duplex;

/// For the login, by ssh's own clock.
const CONNECT_S: u32 = 15;
/// Until a forwarded socket stands.
const FORWARD: Duration = Duration::from_secs(20);
/// The most of ssh's complaints that is read.
const MAX_SAID: u64 = 16 << 10;
/// Longer paths of sockets are refused by the system; ssh adds some characters of its own.
const MAX_DIR: usize = 40;

/// One far host.
pub(super) struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    socket: Option<String>,
    /// What was found to work there; the lock lets one find out while others wait.
    way: Mutex<Option<Means>>,
}

enum Means {
    DialStdio,
    /// The local end, and the ssh that holds it up.
    Forward(PathBuf, Box<Child>),
}

impl Drop for Means {
    fn drop(&mut self) {
        if let Self::Forward(path, _) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Ssh {
    pub(super) fn new(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self { user: own(user), host: host.to_owned(), port, socket: own(socket), way: Mutex::default() }
    }

    /// One connection to the daemon.
    pub(super) async fn dial(&self) -> Result<Box<dyn Duplex>> {
        let mut means = self.way.lock().await;
        if let Some(Means::Forward(_, child)) = &mut *means
            && !matches!(child.try_wait(), Ok(None))
        {
            *means = None;
        }
        if means.is_none() {
            *means = Some(self.find_means().await?);
        }
        match &*means {
            Some(Means::Forward(path, _)) => {
                let stream = UnixStream::connect(path).await;
                Ok(Box::new(stream.map_err(|error| self.failed(&error.to_string()))?))
            }
            _ => Ok(Box::new(self.dial_stdio()?)),
        }
    }

    /// Tries docker's way with one question; whoever answers in HTTP is a daemon.
    async fn find_means(&self) -> Result<Means> {
        let mut stream = self.dial_stdio()?;
        let mut said = stream.complaints.take();
        let asked = stream.write_all(b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await;
        let mut answer = Vec::new();
        if asked.is_ok() {
            let _ = (&mut stream).take(64).read_to_end(&mut answer).await;
        }
        if answer.starts_with(b"HTTP/1.") {
            return Ok(Means::DialStdio);
        }
        let status = stream.child.wait().await.ok().and_then(|status| status.code());
        let mut text = Vec::new();
        if let Some(said) = &mut said {
            // The shared login may hold the pipe open: what it had to say is there.
            let _ = timeout(Duration::from_millis(500), said.take(MAX_SAID).read_to_end(&mut text)).await;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        // 255 is ssh itself; everything else is the far side's program.
        if status == Some(255) || status.is_none() {
            return Err(self.failed(&text));
        }
        tracing::info!("no 'docker system dial-stdio' on {}: {}", self.host, one_line(&text));
        self.forward(&text).await
    }

    async fn forward(&self, why: &str) -> Result<Means> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let dir = private_dir().map_err(|error| self.failed(&error.to_string()))?;
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}.{n}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let far = self.socket.as_deref().unwrap_or(FAR_SOCKET);
        let mut command = self.command();
        command.args(["-o", "ExitOnForwardFailure=yes", "-N", "-L"]).arg(format!("{}:{far}", path.display()));
        command.args(["--", &self.host]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().map_err(|error| self.no_ssh(&error))?;
        let end = Instant::now() + FORWARD;
        while !path.exists() {
            if !matches!(child.try_wait(), Ok(None)) || Instant::now() > end {
                let message = format!(
                    "cannot reach the daemon on {}: there is no docker program ({}), and its socket cannot be forwarded",
                    self.shown(),
                    one_line(why)
                );
                return Err(EngineError::new(Class::Unavailable, &self.host, message)
                    .with_hint("does sshd there allow AllowStreamLocalForwarding?"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Means::Forward(path, Box::new(child)))
    }

    fn dial_stdio(&self) -> Result<Pipes> {
        let mut command = self.command();
        command.args(["--", &self.host, "docker"]);
        if let Some(socket) = &self.socket {
            // The far shell sees this word.
            command.args(["--host", &quoted(&format!("unix://{socket}"))]);
        }
        command.args(["system", "dial-stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.no_ssh(&error))?;
        let (stdin, stdout, complaints) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        match (stdin, stdout) {
            (stdin @ Some(_), Some(stdout)) => Ok(Pipes { child, stdin, stdout, complaints }),
            _ => Err(self.failed("its pipes are missing")),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ServerAliveCountMax=3",
            "-T",
            "-x",
        ]);
        command.args(["-o", &format!("ConnectTimeout={CONNECT_S}")]);
        if let Ok(dir) = private_dir() {
            command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]);
            command.args(["-o", &format!("ControlPath={}/%C", dir.display())]);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        // A Ctrl-C on the terminal is for the face, not for its connections.
        command.process_group(0).kill_on_drop(true).stderr(Stdio::piped());
        command
    }

    fn no_ssh(&self, error: &io::Error) -> EngineError {
        let message = format!("cannot run ssh to reach {}: {}", self.host, super::dial::plain(error));
        EngineError::new(Class::Unavailable, &self.host, message)
            .with_hint("install an ssh client (Debian package openssh-client)")
    }

    fn shown(&self) -> String {
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{user}{}", self.host)
    }

    /// What ssh typed by hand would be.
    fn by_hand(&self) -> String {
        let port = self.port.map(|port| format!(" -p {port}")).unwrap_or_default();
        format!("ssh{port} {}", self.shown())
    }

    /// One sentence for what ssh said.
    fn failed(&self, said: &str) -> EngineError {
        let (shown, by_hand) = (self.shown(), self.by_hand());
        let has = |words: &str| said.contains(words);
        let (class, why, hint) = match () {
            () if has("IDENTIFICATION HAS CHANGED") => (
                Class::Forbidden,
                "its host key has changed since the last time".to_owned(),
                format!("this may be an attack; if you know why it changed: ssh-keygen -R {}", self.host),
            ),
            () if has("Host key verification failed") => (
                Class::Forbidden,
                "its host key is not known yet".to_owned(),
                format!("look at the key and accept it once: {by_hand}"),
            ),
            () if has("Permission denied") => (
                Class::Unauthorized,
                "it does not let you in without a password".to_owned(),
                format!("orlop never asks for one: make '{by_hand}' work with a key (ssh-add, ssh-copy-id)"),
            ),
            () if has("Could not resolve hostname") => (
                Class::Unavailable,
                "no address is known for it".to_owned(),
                format!("is the name right? try: {by_hand}"),
            ),
            () if has("Connection refused") => (
                Class::Unavailable,
                "nobody listens there".to_owned(),
                format!("does sshd run there, on this port? try: {by_hand}"),
            ),
            () if has("timed out") => {
                (Class::Timeout, "it does not answer".to_owned(), format!("is the host up? try: {by_hand}"))
            }
            () => {
                let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("the connection ended");
                (Class::Unavailable, one_line(line), format!("try: {by_hand}"))
            }
        };
        EngineError::new(class, &self.host, format!("cannot reach {shown} by ssh: {why}")).with_hint(hint)
    }
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

/// A child's stdin and stdout as one stream. Dropping it ends the child.
struct Pipes {
    child: Child,
    /// `None` once the writing side is closed.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    complaints: Option<tokio::process::ChildStderr>,
}

impl AsyncRead for Pipes {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closing the pipe is what the far side hears as the end of input.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            let flushed = std::task::ready!(Pin::new(stdin).poll_flush(cx));
            self.stdin = None;
            return Poll::Ready(flushed);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, class: Class, hint: &str) {
        let ssh = Ssh::new(Some("ann"), "box", Some(2222), None);
        let error = ssh.failed(said);
        assert_eq!(error.class, class, "{error:?}");
        assert!(error.message.starts_with("cannot reach ann@box by ssh: "), "{error:?}");
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{error:?}");
    }

    #[test]
    fn what_ssh_says_becomes_one_sentence_with_the_way_out() {
        check("ann@box: Permission denied (publickey,password).\r\n", Class::Unauthorized, "ssh -p 2222 ann@box");
        check("No ED25519 host key is known.\nHost key verification failed.\r\n", Class::Forbidden, "accept it once");
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            Class::Forbidden,
            "ssh-keygen -R box",
        );
        check("ssh: Could not resolve hostname box: Name or service not known", Class::Unavailable, "name right");
        check("ssh: connect to host box port 2222: Connection refused", Class::Unavailable, "sshd");
        check("kex_exchange_identification: \u{1b}[31mread\n", Class::Unavailable, "try: ssh");
        check("", Class::Unavailable, "try: ssh");
    }

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
