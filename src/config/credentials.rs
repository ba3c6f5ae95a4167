//! Docker's `config.json`: who one is to which registry, shared with docker, podman and skopeo. Called by faces before a pull or push,
//! and by `login` and `logout`. Everything else in the file stays as it is; a helper program is run only when the file names it, with
//! the registry's name on its stdin and never in its arguments.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engine::auth::Credentials;
use crate::stdx::atomic::{self, Durability};
use crate::stdx::lock::{FileLock, Mode};

/// What docker calls Docker Hub in its file.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The name by which helpers and the file say that the secret is a refresh token.
const TOKEN_USER: &str = "<token>";

/// Why the file, or a helper, was of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot {act} {}: {source}", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no docker configuration: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("{helper}: {why}")]
    Helper { helper: String, why: String },
}

type Result<T, E = CredentialsError> = std::result::Result<T, E>;

/// The file, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    path: PathBuf,
}

/// Where a secret went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Readable in the file, by its owner.
    Plainly(PathBuf),
    /// With this helper.
    ByHelper(String),
}

impl CredentialsFile {
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; `None` without a home.
    pub fn standard() -> Option<Self> {
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = of("DOCKER_CONFIG").or_else(|| Some(of("HOME")?.join(".docker")))?;
        Some(Self { path: dir.join("config.json") })
    }

    /// The file at this path, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who one is to `registry` (`host[:port]`, or a name of Docker Hub); anonymous when the file does not say. Blocks on the file, and on
    /// the helper that it names.
    ///
    /// # Errors
    /// A file that cannot be read, a helper that fails.
    pub fn lookup(&self, registry: &str) -> Result<Credentials> {
        let doc = self.read()?;
        let key = key_of(registry);
        if let Some(helper) = helper_for(&doc, &key) {
            return ask_helper(&helper, &key);
        }
        let Some(auths) = doc.get("auths").and_then(Value::as_object) else { return Ok(Credentials::Anonymous) };
        let entry = auths.get(&key).or_else(|| {
            let same = |known: &&String| host_of(known) == host_of(&key);
            auths.get(auths.keys().find(same)?)
        });
        entry.map_or(Ok(Credentials::Anonymous), |entry| self.entry(entry))
    }

    /// Every registry that the file has something for, as it calls them.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn registries(&self) -> Result<Vec<String>> {
        let doc = self.read()?;
        Ok(doc.get("auths").and_then(Value::as_object).map_or_else(Vec::new, |auths| auths.keys().cloned().collect()))
    }

    /// Keeps a secret for `registry`, with the helper if the file names one.
    ///
    /// # Errors
    /// As [`CredentialsFile::lookup`], or the failed write.
    pub fn store(&self, registry: &str, username: &str, secret: &Secret) -> Result<Kept> {
        let key = key_of(registry);
        let mut kept = Kept::Plainly(self.path.clone());
        self.change(|doc| {
            let entry = match helper_for(doc, &key) {
                Some(helper) => {
                    let (user, secret) = match secret {
                        Secret::Password(password) => (username, password),
                        Secret::IdentityToken(token) => (TOKEN_USER, token),
                    };
                    let asked = json!({"ServerURL": key, "Username": user, "Secret": secret});
                    run_helper(&helper, "store", &asked.to_string())?;
                    kept = Kept::ByHelper(helper);
                    json!({})
                }
                None => match secret {
                    Secret::Password(password) => json!({"auth": STANDARD.encode(format!("{username}:{password}"))}),
                    Secret::IdentityToken(token) => {
                        json!({"auth": STANDARD.encode(format!("{username}:")), "identitytoken": token})
                    }
                },
            };
            let auths = doc.entry("auths").or_insert_with(|| json!({}));
            if let Some(auths) = auths.as_object_mut() {
                auths.insert(key.clone(), entry);
            }
            Ok(())
        })?;
        Ok(kept)
    }

    /// Forgets `registry`; false when it was not known.
    ///
    /// # Errors
    /// As [`CredentialsFile::store`].
    pub fn erase(&self, registry: &str) -> Result<bool> {
        let key = key_of(registry);
        let mut was_known = false;
        self.change(|doc| {
            if let Some(helper) = helper_for(doc, &key) {
                was_known = ask_helper(&helper, &key)? != Credentials::Anonymous;
                run_helper(&helper, "erase", &key)?;
            }
            if let Some(auths) = doc.get_mut("auths").and_then(Value::as_object_mut) {
                let names: Vec<String> =
                    auths.keys().filter(|known| **known == key || host_of(known) == host_of(&key)).cloned().collect();
                was_known |= !names.is_empty();
                names.iter().for_each(|name| drop(auths.remove(name)));
            }
            Ok(())
        })?;
        Ok(was_known)
    }

    fn entry(&self, entry: &Value) -> Result<Credentials> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Entry {
            auth: String,
            username: String,
            password: String,
            identitytoken: String,
            registrytoken: String,
        }
        let malformed = |why: &str| CredentialsError::Malformed { path: self.path.clone(), why: why.to_owned() };
        let entry = Entry::deserialize(entry).map_err(|error| malformed(&error.to_string()))?;
        if !entry.registrytoken.is_empty() {
            return Ok(Credentials::RegistryToken(entry.registrytoken));
        }
        if !entry.identitytoken.is_empty() {
            return Ok(Credentials::IdentityToken(entry.identitytoken));
        }
        if entry.auth.is_empty() {
            return Ok(password(entry.username, entry.password));
        }
        let bytes = STANDARD.decode(entry.auth.trim()).map_err(|_| malformed("an auth entry is not base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| malformed("an auth entry is not text"))?;
        let (username, secret) = text.split_once(':').ok_or_else(|| malformed("an auth entry has no colon"))?;
        Ok(password(username.to_owned(), secret.trim_end_matches('\0').to_owned()))
    }

    fn read(&self) -> Result<Map<String, Value>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(source) => return Err(self.failed("read", source)),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| CredentialsError::Malformed { path: self.path.clone(), why: error.to_string() })
    }

    /// Reads, changes and replaces the file as a whole, mode 0600, one process at a time.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>) -> Result<()>) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| self.failed("write", e))?;
        let opened = std::fs::File::open(dir).map_err(|e| self.failed("lock", e))?;
        let _lock = FileLock::acquire_file(opened, Mode::Exclusive, std::time::Duration::from_secs(30))
            .map_err(|error| self.failed("lock", io::Error::other(error.to_string())))?;
        let mut doc = self.read()?;
        change(&mut doc)?;
        let text = format!("{:#}\n", Value::Object(doc));
        // A link keeps leading where it led.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        atomic::write(&path, text.as_bytes(), Durability::Synced).map_err(|e| self.failed("write", e))
    }

    fn failed(&self, act: &'static str, source: io::Error) -> CredentialsError {
        CredentialsError::File { act, path: self.path.clone(), source }
    }
}

/// What is kept of a login.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Password(String),
    IdentityToken(String),
}

fn password(username: String, password: String) -> Credentials {
    match username.as_str() {
        "" => Credentials::Anonymous,
        TOKEN_USER => Credentials::IdentityToken(password),
        _ => Credentials::Password { username, password },
    }
}

/// The name under which docker keeps a registry.
pub fn key_of(registry: &str) -> String {
    match host_of(registry) {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB_KEY.to_owned(),
        host => host.to_owned(),
    }
}

fn host_of(text: &str) -> &str {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    bare.split('/').next().unwrap_or_default()
}

fn helper_for(doc: &Map<String, Value>, key: &str) -> Option<String> {
    let own = doc.get("credHelpers").and_then(|helpers| helpers.get(key).or_else(|| helpers.get(host_of(key))));
    let name = own.or_else(|| doc.get("credsStore"))?.as_str()?;
    // One word of a program's name, never a path or an option.
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (is_plain && !name.is_empty() && !name.starts_with('.')).then(|| format!("docker-credential-{name}"))
}

fn ask_helper(helper: &str, key: &str) -> Result<Credentials> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    match run_helper(helper, "get", key) {
        Ok(text) => match serde_json::from_str::<Answer>(&text) {
            Ok(answer) => Ok(password(answer.username, answer.secret)),
            Err(error) => Err(CredentialsError::Helper { helper: helper.to_owned(), why: error.to_string() }),
        },
        // What every helper says for a registry that it does not know.
        Err(CredentialsError::Helper { why, .. }) if why.contains("credentials not found") => {
            Ok(Credentials::Anonymous)
        }
        Err(error) => Err(error),
    }
}

fn run_helper(helper: &str, verb: &str, input: &str) -> Result<String> {
    let failed = |why: String| CredentialsError::Helper { helper: helper.to_owned(), why };
    let child =
        Command::new(helper).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| failed(format!("cannot be run: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing says why by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(failed(text.lines().next().unwrap_or("it failed without a word").chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, CredentialsFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = CredentialsFile::at(dir.path().join("config.json"));
        if !text.is_empty() {
            std::fs::write(&file.path, text).unwrap();
        }
        (dir, file)
    }

    fn user(username: &str, password: &str) -> Credentials {
        Credentials::Password { username: username.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn what_docker_wrote_is_read() {
        let (_dir, file) = file(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjOnJldA=="},"https://r.test:5000/v2/":{"auth":"YTpi"},
                "t.test":{"auth":"YTo=","identitytoken":"tok"},"u.test":{"username":"x","password":"y"},"e.test":{}}}"#,
        );
        for name in ["docker.io", "", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert_eq!(file.lookup(name).unwrap(), user("me", "sec:ret"), "{name}");
        }
        assert_eq!(file.lookup("r.test:5000").unwrap(), user("a", "b"));
        assert_eq!(file.lookup("t.test").unwrap(), Credentials::IdentityToken("tok".to_owned()));
        assert_eq!(file.lookup("u.test").unwrap(), user("x", "y"));
        for name in ["e.test", "r.test", "other"] {
            assert_eq!(file.lookup(name).unwrap(), Credentials::Anonymous, "{name}");
        }
    }

    #[test]
    fn a_login_is_kept_beside_everything_else_and_goes_again() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, file) = file(r#"{"psFormat":"table","auths":{"a.test":{"auth":"YTpi"}}}"#);
        let kept = file.store("r.test:5000", "me", &Secret::Password("p:w".to_owned())).unwrap();
        assert_eq!(kept, Kept::Plainly(file.path.clone()));
        assert_eq!(file.lookup("r.test:5000").unwrap(), user("me", "p:w"));
        file.store("docker.io", "me", &Secret::IdentityToken("t".to_owned())).unwrap();
        assert_eq!(file.lookup("docker.io").unwrap(), Credentials::IdentityToken("t".to_owned()));
        let text = std::fs::read_to_string(&file.path).unwrap();
        assert!(text.contains(HUB_KEY) && text.contains("psFormat"), "{text}");
        assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(file.erase("r.test:5000").unwrap());
        assert!(!file.erase("r.test:5000").unwrap());
        assert_eq!(file.lookup("a.test").unwrap(), user("a", "b"));
    }

    #[test]
    fn a_broken_file_is_named_and_left_alone() {
        let (_dir, file) = file("{\"auths\":");
        assert!(file.lookup("x").unwrap_err().to_string().contains("config.json"));
        assert!(file.store("x", "a", &Secret::Password("b".to_owned())).is_err());
        assert_eq!(std::fs::read_to_string(&file.path).unwrap(), "{\"auths\":");
    }

    #[test]
    fn only_plain_names_of_helpers_are_run() {
        for (name, is_run) in [("pass", true), ("osxkeychain", true), ("../evil", false), ("", false), ("a b", false)] {
            let doc = json!({"credsStore": name});
            assert_eq!(helper_for(doc.as_object().unwrap(), "x").is_some(), is_run, "{name}");
        }
        let doc = json!({"credHelpers": {"r.test": "pass"}});
        assert_eq!(helper_for(doc.as_object().unwrap(), "r.test").as_deref(), Some("docker-credential-pass"));
        assert_eq!(helper_for(doc.as_object().unwrap(), "other"), None);
    }
}
