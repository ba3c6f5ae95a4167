//! Identifiers as newtypes: 64-hex ids of containers, execs and anonymous volumes, and content digests. Called by every
//! floor. A value of these types has been checked, so it is safe as one path component (CVE-2014-9357, CVE-2024-3727);
//! nothing here may ever build one without the check.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many characters of an id people are shown.
pub const SHORT_LEN: usize = 12;

/// Why a string is not an id or a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 lower-case hex digits.
    #[error("invalid id {0:?}: not 64 lower-case hex digits")]
    Id(String),
    /// Not `sha256:` and 64, or `sha512:` and 128, lower-case hex digits.
    #[error("invalid digest {0:?}: not sha256: or sha512: and lower-case hex digits")]
    Digest(String),
}

/// A random identifier of 256 bits, written as 64 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Box<str>);

impl Id {
    /// A fresh one from the system's random source.
    ///
    /// The first twelve digits always hold a letter, so that a short id never reads as a number (docker's rule, kept
    /// because `hostname` defaults to it and some resolvers take all-digit names for addresses).
    ///
    /// # Panics
    /// When the kernel has no random source.
    pub fn random() -> Id {
        loop {
            let mut raw = [0u8; 32];
            ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut raw)
                .expect("getrandom(2) works on every kernel this program runs on");
            let text = hex(&raw);
            if text.as_bytes()[..SHORT_LEN].iter().any(u8::is_ascii_alphabetic) {
                return Id(text.into());
            }
        }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits.
    pub fn short(&self) -> &str {
        &self.0[..SHORT_LEN]
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Id, IdError> {
        if is_hex(text, 64) { Ok(Id(text.into())) } else { Err(IdError::Id(clip(text))) }
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Id, IdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.into()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of some bytes: `sha256:<64 hex>` or `sha512:<128 hex>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

impl Digest {
    /// The sha256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The whole, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The first twelve digits.
    pub fn short(&self) -> &str {
        &self.hex()[..SHORT_LEN]
    }

    /// A hasher of this digest's algorithm, to verify content against it.
    pub fn hasher(&self) -> Hasher {
        if self.algorithm() == "sha512" { Hasher::sha512() } else { Hasher::sha256() }
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Digest, IdError> {
        let ok = text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
            || text.strip_prefix("sha512:").is_some_and(|hex| is_hex(hex, 128));
        if ok { Ok(Digest(text.into())) } else { Err(IdError::Digest(clip(text))) }
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Digest, IdError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a [`Digest`] over bytes that come in pieces.
#[derive(Clone)]
pub struct Hasher {
    context: ring::digest::Context,
    algorithm: &'static str,
}

impl Hasher {
    /// A new sha256 computation.
    pub fn sha256() -> Hasher {
        Hasher { context: ring::digest::Context::new(&ring::digest::SHA256), algorithm: "sha256" }
    }

    /// A new sha512 computation.
    pub fn sha512() -> Hasher {
        Hasher { context: ring::digest::Context::new(&ring::digest::SHA512), algorithm: "sha512" }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of everything taken.
    pub fn finish(self) -> Digest {
        Digest(format!("{}:{}", self.algorithm, hex(self.context.finish().as_ref())).into())
    }
}

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The start of a string that came from outside, for an error message.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_differ_and_parse_back() {
        let (a, b) = (Id::random(), Id::random());
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<Id>().unwrap(), a);
        assert!(a.short().bytes().any(|c| c.is_ascii_alphabetic()));
    }

    /// CVE-2014-9357, CVE-2014-9358: an image id was used as a path without a look at it.
    #[test]
    fn cve_2014_9358_ids_are_checked_before_they_can_be_paths() {
        let upper = "A".repeat(64);
        let slash = format!("../{}", "a".repeat(61));
        for bad in ["", "abc", "../../etc/passwd", upper.as_str(), slash.as_str()] {
            assert!(bad.parse::<Id>().is_err(), "{bad:?}");
        }
    }

    /// CVE-2024-3727: a digest string that is no digest was joined to paths and URLs.
    #[test]
    fn cve_2024_3727_digests_are_strict() {
        let good = format!("sha256:{}", "0".repeat(64));
        assert_eq!(good.parse::<Digest>().unwrap().hex().len(), 64);
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Digest>().is_ok());
        let bads = [
            "sha256:".into(),
            format!("sha256:{}", "0".repeat(63)),
            format!("sha256:{}", "G".repeat(64)),
            format!("sha256:{}/", "0".repeat(63)),
            format!("md5:{}", "0".repeat(32)),
            format!("sha256:../{}", "0".repeat(61)),
            format!(" {good}"),
        ];
        for bad in &bads {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<Digest>(serde_json::json!(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digest_of_known_bytes() {
        let digest = Digest::of(b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut hasher = Hasher::sha512();
        hasher.update(b"abc");
        assert!(hasher.finish().as_str().starts_with("sha512:ddaf35a193617aba"));
    }
}
