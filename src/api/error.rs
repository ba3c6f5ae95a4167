//! Class of an error ↔ HTTP status, and docker's sentence inside the JSON body. Called by clients on every refusal, by a server for every one.

use serde_json::Value;

use super::read::Read;
use crate::engine::{Class, EngineError};
use crate::stdx::shown::is_unsafe;

/// The status that a class goes out with.
pub fn status(class: Class) -> u16 {
    match class {
        Class::NotModified => 304,
        Class::Invalid => 400,
        Class::Unauthorized => 401,
        Class::Forbidden => 403,
        Class::NotFound => 404,
        Class::Conflict => 409,
        Class::Internal => 500,
        Class::Unsupported => 501,
        Class::Unavailable => 503,
        Class::Timeout => 504,
        Class::Full => 507,
    }
}

/// The class that a status means; what no engine of docker's family sends is read by its hundred.
pub fn class(status: u16) -> Class {
    match status {
        304 => Class::NotModified,
        401 | 407 => Class::Unauthorized,
        403 => Class::Forbidden,
        404 | 410 => Class::NotFound,
        409 => Class::Conflict,
        408 | 504 => Class::Timeout,
        501 | 505 => Class::Unsupported,
        502 | 503 => Class::Unavailable,
        507 => Class::Full,
        400..=499 => Class::Invalid,
        _ => Class::Internal,
    }
}

/// The most of a foreign sentence that is shown.
const LONGEST: usize = 4096;

/// Reads a refusal. Docker sends `{"message":"…"}`, podman `{"cause":…,"message":…,"response":409}`, old daemons and proxies plain text or a page.
pub fn from_wire(status: u16, subject: &str, body: &[u8]) -> EngineError {
    let message = sentence(body).unwrap_or_else(|| format!("HTTP status {status}"));
    EngineError::new(class(status), subject, message)
}

/// What a refusal says, as one line; `None` when it has nothing to say or is a web page.
pub fn sentence(body: &[u8]) -> Option<String> {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(doc) => ["message", "error", "cause"].iter().find_map(|key| doc.some_text(key)),
        Err(_) => plain(body),
    };
    said.map(|text| one_line(&text)).filter(|line| !line.is_empty())
}

/// Text that is not a web page.
fn plain(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST)]).trim().to_owned();
    (!text.is_empty() && !text.starts_with('<')).then_some(text)
}

/// Control characters go, lines become one, and what is too long ends in an ellipsis: the text is foreign.
pub fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(LONGEST).map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How docker's command line reads a failed start: 127 for a command that is not there, 126 for one that cannot be run.
pub fn start_exit_code(message: &str) -> Option<u8> {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_about_exec = has(&["exec", "OCI runtime", "container process", "runc", "crun"]);
    if has(&["executable file not found", "command that was not found"]) {
        return Some(127);
    }
    if is_about_exec && has(&["no such file or directory", "No such file or directory"]) {
        return Some(127);
    }
    (is_about_exec && has(&["ermission denied", "s a directory", "exec format error"])).then_some(126)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_survives_the_wire() {
        use Class::*;
        for one in [
            NotFound,
            Invalid,
            Conflict,
            NotModified,
            Unauthorized,
            Forbidden,
            Unsupported,
            Unavailable,
            Full,
            Timeout,
            Internal,
        ] {
            assert_eq!(class(status(one)), one);
        }
    }

    #[test]
    fn the_sentence_is_found_in_any_body() {
        let says = |body: &str| from_wire(409, "x", body.as_bytes()).message;
        assert_eq!(says(r#"{"message":"No such container: x\n"}"#), "No such container: x");
        assert_eq!(says(r#"{"cause":"a","message":"b: a","response":409}"#), "b: a");
        assert_eq!(says("client is too old\n"), "client is too old");
        assert_eq!(says("<html><body>Bad gateway"), "HTTP status 409");
        assert_eq!(says("null"), "HTTP status 409");
        assert_eq!(says(""), "HTTP status 409");
        assert_eq!(says("a\u{1b}[2Jb"), "a [2Jb");
        assert_eq!(says(&"y".repeat(100_000)).chars().count(), LONGEST);
    }

    #[test]
    fn failed_starts_have_exit_codes() {
        let docker = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: ";
        assert_eq!(
            start_exit_code(&format!("{docker}\"nope\": executable file not found in $PATH: unknown")),
            Some(127)
        );
        assert_eq!(start_exit_code(&format!("{docker}\"/x\": stat /x: no such file or directory: unknown")), Some(127));
        assert_eq!(start_exit_code(&format!("{docker}\"/etc\": permission denied: unknown")), Some(126));
        assert_eq!(start_exit_code("driver failed programming external connectivity: port is already allocated"), None);
    }
}
