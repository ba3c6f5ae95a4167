//! The far host as it was typed, and what its ssh said as one sentence with the way out. Called by `ssh` and its channels; pure.

use crate::api::error::one_line;
use crate::engine::{Class, EngineError};

/// A host behind ssh.
pub(super) struct Far {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Socket of the daemon there, when one was named.
    pub(super) socket: Option<String>,
}

/// The exit status of ssh itself; every other is the far side's program.
pub(super) const SSH_FAILED: i32 = 255;

impl Far {
    fn shown(&self) -> String {
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{user}{}", self.host)
    }

    /// What ssh typed by hand would be.
    fn by_hand(&self) -> String {
        let port = self.port.map(|port| format!(" -p {port}")).unwrap_or_default();
        format!("ssh{port} {}", self.shown())
    }

    fn error(&self, class: Class, message: String, hint: String) -> EngineError {
        EngineError::new(class, &self.host, message).with_hint(hint)
    }

    /// There is no login: one sentence for what ssh said.
    pub(super) fn no_login(&self, said: &str) -> EngineError {
        let by_hand = self.by_hand();
        let has = |words: &str| said.contains(words);
        let (class, why, hint) = match () {
            () if has("IDENTIFICATION HAS CHANGED") => (
                Class::Forbidden,
                "its host key has changed since the last time".to_owned(),
                format!("this may be an attack; if you know why it changed: {}", self.forget_key(said)),
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
            // Ssh keeps what is said on the way to itself while it shares a login (sshconnect.c, stderr_null).
            () if has("UNKNOWN port 65535") => (
                Class::Unavailable,
                "its jump host or ProxyCommand lets nobody through".to_owned(),
                format!("this says why: {by_hand}"),
            ),
            () => (Class::Unavailable, last_line(said), format!("try: {by_hand}")),
        };
        self.error(class, format!("cannot reach {} by ssh: {why}", self.shown()), hint)
    }

    /// Ssh names the file and the line where it knows them; an alias of its configuration is not what stands there.
    fn forget_key(&self, said: &str) -> String {
        let named = said.lines().map(str::trim).find(|line| line.starts_with("ssh-keygen "));
        match (named, self.port) {
            (Some(command), _) => one_line(command),
            (None, Some(port)) => format!("ssh-keygen -R '[{}]:{port}'", self.host),
            (None, None) => format!("ssh-keygen -R {}", self.host),
        }
    }

    /// The login stands, and the far docker program cannot reach its daemon.
    fn no_daemon(&self, said: &str) -> EngineError {
        let hint = if said.contains("ermission denied") {
            format!("{} may not use its socket: is that user in the group 'docker' there?", self.shown())
        } else {
            format!("does the daemon run there? try: {} docker version", self.by_hand())
        };
        let message = format!("cannot reach the daemon on {}: {}", self.shown(), last_line(said));
        self.error(Class::Unavailable, message, hint)
    }

    /// There is no docker program, and the forwarded socket leads nowhere.
    pub(super) fn no_socket(&self, socket: &str) -> EngineError {
        let message = format!(
            "cannot reach the daemon on {}: there is no docker program, and no daemon answers at {socket}",
            self.shown()
        );
        let hint = format!(
            "name its socket, such as ssh://{}/run/podman/podman.sock; sshd must allow AllowStreamLocalForwarding",
            self.shown()
        );
        self.error(Class::Unavailable, message, hint)
    }

    /// A channel ended before its first byte.
    pub(super) fn unopened(&self, status: Option<i32>, said: &str) -> EngineError {
        match status {
            Some(SSH_FAILED) | None => self.no_login(said),
            Some(_) => self.no_daemon(said),
        }
    }

    /// A channel ended that carried something; `None` where the far side closed it, which is an end like any other.
    pub(super) fn cut(&self, status: Option<i32>, said: &str) -> Option<EngineError> {
        if !matches!(status, Some(SSH_FAILED) | None) {
            return None;
        }
        let message = format!("the connection to {} was cut: {}", self.shown(), last_line(said));
        Some(EngineError::new(Class::Unavailable, &self.host, message))
    }

    /// Whether the far side has no docker program, or one too old to pass a connection on.
    pub(super) fn lacks_docker(status: Option<i32>, said: &str) -> bool {
        matches!(status, Some(126 | 127))
            || matches!(status, Some(status) if status != SSH_FAILED) && said.contains("is not a docker command")
    }
}

fn last_line(said: &str) -> String {
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    one_line(line.unwrap_or("the connection ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Far {
        Far { user: Some("ann".to_owned()), host: "box".to_owned(), port: Some(2222), socket: None }
    }

    fn check(said: &str, class: Class, hint: &str) {
        let error = far().no_login(said);
        assert_eq!(error.class, class, "{error:?}");
        assert!(error.message.starts_with("cannot reach ann@box by ssh: "), "{error:?}");
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{error:?}");
    }

    #[test]
    fn what_ssh_says_becomes_one_sentence_with_the_way_out() {
        check("ann@box: Permission denied (publickey,password).\r\n", Class::Unauthorized, "ssh -p 2222 ann@box");
        check("No ED25519 host key is known.\nHost key verification failed.\r\n", Class::Forbidden, "accept it once");
        let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.";
        check(changed, Class::Forbidden, "ssh-keygen -R '[box]:2222'");
        let named = format!("{changed}\n  ssh-keygen -f \"/x/known_hosts\" -R \"10.0.0.1\"\r\n");
        check(&named, Class::Forbidden, "ssh-keygen -f \"/x/known_hosts\" -R \"10.0.0.1\"");
        check("ssh: Could not resolve hostname box: Name or service not known", Class::Unavailable, "name right");
        check("ssh: connect to host box port 2222: Connection refused", Class::Unavailable, "sshd");
        check("kex_exchange_identification: \u{1b}[31mread\n", Class::Unavailable, "try: ssh");
        check("Connection closed by UNKNOWN port 65535\r\n", Class::Unavailable, "this says why: ssh -p 2222 ann@box");
        check("", Class::Unavailable, "try: ssh");
    }

    #[test]
    fn a_far_program_is_told_from_ssh_itself() {
        assert!(Far::lacks_docker(Some(127), "sh: 1: docker: not found"));
        assert!(Far::lacks_docker(Some(1), "docker: 'system dial-stdio' is not a docker command."));
        assert!(!Far::lacks_docker(Some(255), "x") && !Far::lacks_docker(None, "x"));
        let down = "failed to open the raw stream connection: dial unix /var/run/docker.sock: connect: no such file\n";
        assert!(!Far::lacks_docker(Some(1), down));
        let error = far().unopened(Some(1), down);
        assert!(error.message.starts_with("cannot reach the daemon on ann@box: failed to open"), "{error:?}");
        assert!(far().unopened(Some(1), "connect: permission denied").hint.unwrap().contains("group 'docker'"));
        assert_eq!(far().unopened(Some(255), "Permission denied").class, Class::Unauthorized);
        assert_eq!(far().cut(Some(0), ""), None);
        let cut = far().cut(Some(255), "Connection to box closed by remote host.\n").unwrap();
        assert_eq!(cut.message, "the connection to ann@box was cut: Connection to box closed by remote host.");
    }
}
