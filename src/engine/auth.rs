//! Who one is to a registry. Made by faces from docker's config file and prompts; handed to pull, push, search and login.
//!
//! A secret never shows in `Debug`, a log line or an error.

use std::fmt;

/// One way of proving who one is.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    Password {
        username: String,
        password: String,
    },
    /// OAuth2 refresh token, as docker keeps it in `identitytoken`.
    IdentityToken(String),
    /// Bearer token to send as it is (`registrytoken`).
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { username, .. } => write!(f, "Password({username})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

/// Credentials for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// `host[:port]`, or docker's `https://index.docker.io/v1/` for Docker Hub.
    pub registry: String,
    pub credentials: Credentials,
}
