//! The little of URLs that the protocol needs: joining a `Location`, adding a query, writing a value into one. Called by the files of this
//! room; pure.

use hyper::Uri;

use super::error::{RegistryError, Result, shown};
use crate::engine::error::Class;

/// Where a `Location` or `Link` that came from `base` leads (RFC 3986 §5.2, without dot segments, which servers resolve themselves).
///
/// # Errors
/// `Invalid` when it is no address.
pub(super) fn join(base: &Uri, location: &str) -> Result<Uri> {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let path = base.path();
    // Whatever scheme it is: who dials says which are known.
    let has_scheme =
        location.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    let whole = if has_scheme {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        let dir = &path[..=path.rfind('/').unwrap_or(0).min(path.len().saturating_sub(1))];
        format!("{scheme}://{authority}{dir}{location}")
    };
    whole.parse().map_err(|_| {
        let message = format!("{authority}: it sends us to {:?}, which is no address", shown(location));
        RegistryError::new(Class::Invalid, authority, message)
    })
}

/// The same with one more query parameter.
pub(super) fn with_query(uri: &Uri, name: &str, value: &str) -> Result<Uri> {
    let mark = if uri.query().is_some() { '&' } else { '?' };
    let whole = format!("{uri}{mark}{name}={}", encoded(value));
    whole.parse().map_err(|_| RegistryError::new(Class::Invalid, uri, format!("{uri}: not an address")))
}

/// Percent-encoded for a query.
pub(super) fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(location: &str, expected: &str) {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/?x=1".parse().unwrap();
        assert_eq!(join(&base, location).unwrap().to_string(), expected);
    }

    #[test]
    fn locations_are_joined() {
        check("http://other/x?y", "http://other/x?y");
        check("//other/x", "https://other/x");
        check("/v2/b?c=d", "https://r.example:5000/v2/b?c=d");
        check("id?state=1", "https://r.example:5000/v2/a/blobs/uploads/id?state=1");
        check("?n=2", "https://r.example:5000/v2/a/blobs/uploads/?n=2");
        let base: Uri = "https://r/".parse().unwrap();
        assert!(join(&base, "/a b\u{1}").is_err());
    }

    #[test]
    fn queries_are_added_and_encoded() {
        let uri: Uri = "https://r/x".parse().unwrap();
        let uri = with_query(&uri, "digest", "sha256:00").unwrap();
        assert_eq!(uri.to_string(), "https://r/x?digest=sha256:00");
        assert_eq!(with_query(&uri, "q", "a b&c=ü").unwrap().query(), Some("digest=sha256:00&q=a%20b%26c%3D%C3%BC"));
    }
}
