//! The shared logins of one far host (ControlMaster), and which of them a channel goes through. Called by `ssh`, which lets in one caller at a time.
//!
//! An sshd gives one login ten channels (MaxSessions) and drops logins by chance when ten are under way (MaxStartups): a screen with a log of many
//! containers wants more, and so does everything at once after a cut. So there are as many logins as it takes, each made before the next is begun,
//! and a channel waits until its login stands. Where an sshd gives fewer, ssh itself makes a login for each channel beyond.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::channel::Channel;

/// Below the ten of an sshd that nobody has configured: other processes of the user's may share the login.
const MAX_CHANNELS: usize = 8;
/// A login that nobody can share by then will not be shared: its socket cannot be made.
const STANDS: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);
/// What ssh makes a socket's name of: its `%C` tells hosts, ports and users apart.
pub(super) const FIRST_SOCKET: &str = "%C";

/// Every login, with its channels.
#[derive(Default)]
pub(super) struct Logins {
    channels: Vec<Arc<()>>,
    /// Where the first one's socket is, once ssh was asked; the inner `None` for no sharing.
    socket: Option<Option<PathBuf>>,
}

/// A channel's place in a login, as long as this value lives.
pub(super) struct Place {
    n_login: usize,
    _held: Arc<()>,
}

impl Place {
    /// As ssh is told it.
    pub(super) fn socket_name(&self) -> String {
        format!("{FIRST_SOCKET}{}", self.suffix())
    }

    fn suffix(&self) -> String {
        if self.n_login == 0 { String::new() } else { format!(".{}", self.n_login) }
    }
}

impl Logins {
    /// In the first login that has room.
    pub(super) fn place(&mut self) -> Place {
        let has_room = |held: &Arc<()>| Arc::strong_count(held) <= MAX_CHANNELS;
        let n_login = self.channels.iter().position(has_room).unwrap_or(self.channels.len());
        if n_login == self.channels.len() {
            self.channels.push(Arc::default());
        }
        Place { n_login, _held: Arc::clone(&self.channels[n_login]) }
    }

    /// Waits until the login of a channel stands, or the channel has ended. `asking` is the command that says what ssh would do.
    pub(super) async fn wait_for(&mut self, channel: &mut Channel, asking: Command) {
        if self.socket.is_none() {
            self.socket = Some(socket_of(asking).await);
        }
        let Some(first) = self.socket.as_ref().and_then(Option::as_ref) else { return };
        let mut socket = first.clone().into_os_string();
        socket.push(channel.place().suffix());
        let end = Instant::now() + STANDS;
        while !is_heard(Path::new(&socket)).await && !channel.has_ended() {
            if Instant::now() > end {
                tracing::warn!("no shared login at {}", Path::new(&socket).display());
                self.socket = Some(None);
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether a login listens there: a dead one leaves its socket behind.
async fn is_heard(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

/// What `ssh -G` names as the socket.
async fn socket_of(mut asking: Command) -> Option<PathBuf> {
    let output = asking.output().await.ok()?;
    let path = output.stdout.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"controlpath "))?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    path.is_absolute().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_filled_before_the_next_and_filled_again() {
        let mut logins = Logins::default();
        let mut places: Vec<Place> = (0..2 * MAX_CHANNELS + 1).map(|_| logins.place()).collect();
        let logins_of = |places: &[Place]| places.iter().map(|place| place.n_login).collect::<Vec<_>>();
        let wanted = [vec![0; MAX_CHANNELS], vec![1; MAX_CHANNELS], vec![2]].concat();
        assert_eq!(logins_of(&places), wanted);
        assert_eq!(places[MAX_CHANNELS].socket_name(), "%C.1");
        drop(places.remove(3));
        assert_eq!(logins.place().socket_name(), "%C");
    }
}
