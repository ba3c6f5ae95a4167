//! The registry client's error: what kind, about what, what to do, and whether the same may work a little later. Made by every file of
//! this room, turned into the engine's error by whoever calls it. What a registry wrote is shown clipped and without control characters; a
//! credential or a token is never part of it.

use std::fmt::Display;
use std::time::Duration;

use crate::engine::error::{Class, EngineError};
use crate::http::{CertificateProblem, HttpError};
use crate::oci::image::DocError;

pub(super) type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// One failure between us and a registry.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    pub class: Class,
    /// The image, repository or host it is about.
    pub subject: String,
    /// One sentence, without the source's.
    pub message: String,
    pub hint: Option<String>,
    /// The reason beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    pub(super) again: Again,
    pub(super) code: Code,
    /// HTTP status, 0 when there was none.
    pub(super) status: u16,
    /// The connection failed, so that nothing is known of what the registry would say.
    pub(super) from_network: bool,
}

/// Whether to try once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The peer decided, or we did.
    No,
    /// A cut, a stall, an overloaded server.
    Soon,
    /// The server said when.
    After(Duration),
}

/// The registry's own code, where it changes what we do or say (distribution specification, "Error Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    NameUnknown,
    ManifestBlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    /// Not a code of a registry: it was to speak TLS and does not.
    PlainHttp,
    Other,
}

impl Code {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "NAME_UNKNOWN" => Self::NameUnknown,
            "MANIFEST_BLOB_UNKNOWN" => Self::ManifestBlobUnknown,
            "BLOB_UPLOAD_UNKNOWN" => Self::BlobUploadUnknown,
            "DIGEST_INVALID" => Self::DigestInvalid,
            _ => Self::Other,
        }
    }
}

impl RegistryError {
    pub(super) fn new(class: Class, subject: impl Display, message: impl Into<String>) -> Self {
        let (subject, message) = (subject.to_string(), message.into());
        Self {
            class,
            subject,
            message,
            hint: None,
            source: None,
            again: Again::No,
            code: Code::Other,
            status: 0,
            from_network: false,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(super) fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    #[must_use]
    pub(super) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The network failed while doing something about `subject`.
    pub(super) fn network(subject: impl Display, error: HttpError) -> Self {
        let class = match &error {
            HttpError::Timeout { .. } => Class::Timeout,
            // More than any honest document has: asking again brings the same.
            HttpError::Address { .. } | HttpError::Setting(_) | HttpError::TooLarge { .. } => Class::Invalid,
            _ => Class::Unavailable,
        };
        let again = if error.is_transient() { Again::Soon } else { Again::No };
        let hint = match &error {
            HttpError::Certificate { problem: CertificateProblem::UnknownAuthority, .. } => {
                Some("give its authority as ca.crt in certs.d/<host>/, or name the host in insecure-registries")
            }
            HttpError::PlainHttp { .. } => Some("name the host in insecure-registries if that is meant"),
            other => other.hint(),
        };
        let code = if matches!(error, HttpError::PlainHttp { .. }) { Code::PlainHttp } else { Code::Other };
        let mut it = Self::new(class, subject, error.to_string()).again(again);
        it.hint = hint.map(str::to_owned);
        it.code = code;
        it.from_network =
            !matches!(error, HttpError::Address { .. } | HttpError::Setting(_) | HttpError::TooLarge { .. });
        it.source = into_source(error);
        it
    }

    /// A document that is refused.
    pub(super) fn document(subject: impl Display, error: DocError) -> Self {
        let message = format!("{subject}: {error}");
        Self::new(Class::Invalid, subject, message)
            .hint("the registry sent what no honest image has; ask whoever runs it")
    }
}

/// The reason beneath an HTTP error, whose own sentence is the message.
fn into_source(error: HttpError) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    match error {
        HttpError::Resolve { source, .. } | HttpError::Connect { source, .. } => Some(source.into()),
        HttpError::Protocol { source, .. } => Some(source.into()),
        HttpError::Cut { source, .. } => source,
        HttpError::Sending { source, .. } => Some(source),
        _ => None,
    }
}

impl From<RegistryError> for EngineError {
    fn from(error: RegistryError) -> Self {
        let mut it = Self::new(error.class, error.subject, error.message);
        it.hint = error.hint;
        match error.source {
            Some(source) => it.caused_by(source.as_ref()),
            None => it,
        }
    }
}

/// Text of a peer, fit to be shown: one line, no control characters, at most 300 of it.
pub(super) fn shown(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    clean.trim().to_owned()
}
