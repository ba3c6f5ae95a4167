//! Every difference between API versions and between daemons of docker's family, in one place. Called by `remote` before a request and by a
//! server before an answer; nothing else compares versions.

use std::fmt;

use crate::engine::{Class, EngineError};

/// `1.41`; ordered by number, not by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

/// The oldest that is spoken: docker 1.12.
pub const OLDEST: ApiVersion = ApiVersion::new(1, 24);
/// The newest whose meaning is known here. A daemon may be newer: then this one is spoken, or its own oldest where that is newer still.
pub const NEWEST: ApiVersion = ApiVersion::new(1, 51);

impl ApiVersion {
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `1.41`, with or without a leading `v`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().trim_start_matches('v').split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    pub fn has(self, feature: Feature) -> bool {
        self >= feature.since()
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a daemon may be too old for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `wait?condition=`; before, only "not running" could be waited for.
    WaitCondition,
    /// Prune calls.
    Prune,
    /// `platform` of a pull.
    Platform,
    /// `HEAD /_ping`.
    HeadPing,
    /// `one-shot` stats: no second sample a second later.
    OneShotStats,
    /// `signal` of stop and restart.
    StopSignal,
    /// Content type of logs and attach says whether they are framed.
    StreamType,
    /// `consoleSize` of an exec's start.
    ExecSize,
    /// Environment and working directory of an exec.
    ExecWorkingDir,
    /// Volume prune takes named ones only with `all=true`; before, it took them always.
    VolumePruneAll,
    /// `type` filter of disk use, `Mounts` of create, `Init`, and others that old daemons ignore without harm are not listed.
    Mounts,
}

impl Feature {
    const fn since(self) -> ApiVersion {
        let minor = match self {
            Self::Mounts | Self::Prune => 25,
            Self::WaitCondition => 30,
            Self::Platform => 32,
            Self::ExecWorkingDir => 35,
            Self::HeadPing => 40,
            Self::OneShotStats => 41,
            Self::StopSignal | Self::StreamType | Self::ExecSize | Self::VolumePruneAll => 42,
        };
        ApiVersion::new(1, minor)
    }

    /// For the sentence that says what is missing.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitCondition => "waiting for the next exit or the removal",
            Self::Prune => "prune",
            Self::Platform => "the platform of a pull",
            Self::HeadPing => "HEAD /_ping",
            Self::OneShotStats => "a single sample of statistics",
            Self::StopSignal => "another signal for stop",
            Self::StreamType => "the type of a stream",
            Self::ExecSize => "the first size of a terminal",
            Self::ExecWorkingDir => "the working directory of an exec",
            Self::VolumePruneAll => "pruning of named volumes",
            Self::Mounts => "mounts",
        }
    }
}

/// Whose daemon answers. Told from the `Server` header of any answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Docker,
    Podman,
    Orlop,
    /// Something else that speaks the API.
    Other,
}

impl Family {
    /// `Docker/20.10.24 (linux)`, `Libpod/4.3.1 (linux)`.
    pub fn of(server_header: &str) -> Self {
        match server_header.split('/').next().unwrap_or("").trim() {
            "Docker" => Self::Docker,
            "Libpod" => Self::Podman,
            "Orlop" => Self::Orlop,
            _ => Self::Other,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Orlop => "orlop",
            Self::Other => "other",
        }
    }
}

/// The version to speak with a daemon that offers `oldest..=newest`.
///
/// # Errors
/// One sentence when it is too old.
pub fn agree(newest: ApiVersion, oldest: Option<ApiVersion>) -> Result<ApiVersion, String> {
    if newest < OLDEST {
        return Err(format!("the daemon speaks API {newest} at most, and {OLDEST} is the oldest that orlop speaks"));
    }
    // Reading is lenient, so a daemon from the future is spoken to in the oldest words it still knows.
    Ok(newest.min(NEWEST).max(oldest.unwrap_or(OLDEST)))
}

/// Podman answers with 500 where docker has a class, and docker now and then too: the sentence tells. Only 500 is looked at.
pub fn reclass(family: Family, status: u16, mut refused: EngineError) -> EngineError {
    const SAYS: &[(&str, Class)] = &[
        ("no such ", Class::NotFound),
        ("not found", Class::NotFound),
        ("unable to find", Class::NotFound),
        ("image not known", Class::NotFound),
        ("already in use", Class::Conflict),
        ("is being used by", Class::Conflict),
        ("container state improper", Class::Conflict),
        ("is not paused", Class::Conflict),
        ("is not running", Class::Conflict),
        ("cannot remove container", Class::Conflict),
        ("invalid argument", Class::Invalid),
        ("invalid filter", Class::Invalid),
        ("is an invalid", Class::Invalid),
        ("names must match", Class::Invalid),
    ];
    // dockerd unpausing what is not paused.
    const DOCKER_SAYS: &[(&str, Class)] = &[("is not paused", Class::Conflict)];
    let says = match (status, family) {
        (500, Family::Podman) => SAYS,
        (500, Family::Docker) => DOCKER_SAYS,
        _ => return refused,
    };
    let said = refused.message.to_lowercase();
    if let Some((_, class)) = says.iter().find(|(words, _)| said.contains(words)) {
        refused.class = *class;
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let v = |text| ApiVersion::parse(text).unwrap();
        assert!(v("1.9") < v("1.24") && v("2.0") > v("1.99"));
        assert_eq!(v("v1.41").to_string(), "1.41");
        for bad in ["", "1", "1.x", "-1.2", "1.24.3", "999999.1"] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let v = |minor| ApiVersion::new(1, minor);
        assert_eq!(agree(v(41), Some(v(12))), Ok(v(41)));
        assert_eq!(agree(v(24), None), Ok(v(24)));
        assert_eq!(agree(v(99), Some(v(44))), Ok(NEWEST));
        assert_eq!(agree(v(99), Some(v(60))), Ok(v(60)), "a future daemon is spoken to in its oldest words");
        assert!(agree(v(23), None).unwrap_err().contains("1.23"));
        assert!(v(41).has(Feature::OneShotStats) && !v(40).has(Feature::OneShotStats));
    }

    #[test]
    fn a_daemon_is_known_by_its_header() {
        assert_eq!(Family::of("Docker/20.10.24+dfsg1 (linux)"), Family::Docker);
        assert_eq!(Family::of("Libpod/4.3.1 (linux)"), Family::Podman);
        assert_eq!(Family::of("nginx"), Family::Other);
    }
}
