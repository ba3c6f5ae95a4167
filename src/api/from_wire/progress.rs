//! The stream of objects with which pull, push, load and import report: one JSON object after another, with or without newlines between.

use serde_json::Value;

use crate::api::read::Read;
use crate::engine::progress::Step;

/// The longest object that is waited for; real ones have some hundred bytes.
const LONGEST: usize = 4 << 20;

/// Cuts a byte stream into JSON objects, whatever the boundaries it arrives in.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    held: Vec<u8>,
}

/// No stream of JSON objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no stream of JSON objects: {0}")]
pub struct NotObjects(pub String);

impl Objects {
    /// Takes more bytes and gives the objects that are complete.
    ///
    /// # Errors
    /// What is no JSON, and an object beyond 4 MiB.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Value>, NotObjects> {
        self.held.extend_from_slice(bytes);
        // An object without its end is not read again with every few bytes that come: only when one could have ended.
        if memchr::memchr(b'}', bytes).is_none() {
            return self.check_length().map(|()| Vec::new());
        }
        let mut found = Vec::new();
        let mut stream = serde_json::Deserializer::from_slice(&self.held).into_iter::<Value>();
        let mut taken = 0;
        loop {
            match stream.next() {
                Some(Ok(value)) => {
                    found.push(value);
                    taken = stream.byte_offset();
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(error)) => return Err(NotObjects(error.to_string())),
                None => {
                    taken = self.held.len();
                    break;
                }
            }
        }
        self.held.drain(..taken);
        self.check_length().map(|()| found)
    }

    /// Whether the stream may end here.
    pub fn is_between_objects(&self) -> bool {
        self.held.iter().all(u8::is_ascii_whitespace)
    }

    fn check_length(&self) -> Result<(), NotObjects> {
        if self.held.len() > LONGEST { Err(NotObjects("an object of more than 4 MiB".to_owned())) } else { Ok(()) }
    }
}

/// The daemon's sentence when the object says that it failed.
pub fn failure(doc: &Value) -> Option<String> {
    doc.at("errorDetail").some_text("message").or_else(|| doc.some_text("error"))
}

/// How far a part is, when the object says so.
pub fn step(doc: &Value) -> Option<Step> {
    let (status, part) = (doc.text("status"), doc.text("id"));
    let verb = VERBS.iter().find(|(words, _)| status.starts_with(words)).map(|(_, verb)| *verb)?;
    let detail = doc.at("progressDetail");
    let is_done = verb == "done";
    Some(Step {
        part: part.get(..12).unwrap_or(&part).to_owned(),
        verb,
        done_bytes: if is_done { 0 } else { detail.count("current") },
        total_bytes: detail.at("total").as_u64().filter(|total| *total > 0),
    })
}

/// What daemons say, and the house's word for it.
const VERBS: &[(&str, &str)] = &[
    ("Pulling fs layer", "waiting"),
    ("Waiting", "waiting"),
    ("Preparing", "waiting"),
    ("Downloading", "downloading"),
    ("Verifying", "verifying"),
    ("Download complete", "downloaded"),
    ("Extracting", "extracting"),
    ("Pull complete", "done"),
    ("Already exists", "done"),
    ("Pushing", "pushing"),
    ("Pushed", "done"),
    ("Layer already exists", "done"),
    ("Mounted from", "done"),
    ("Loading layer", "loading"),
    ("Importing", "importing"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_objects(texts in prop::collection::vec("[a-z{}\"\\\\é]{0,12}", 1..8), cut in 1_usize..20, gap in "[ \r\n]{0,2}") {
            let objects: Vec<_> = texts.iter().map(|text| json!({"status": text, "n": {"x": 1}})).collect();
            let wire: String = objects.iter().map(|object| format!("{object}{gap}")).collect();
            let mut reader = Objects::default();
            let mut seen = Vec::new();
            for piece in wire.as_bytes().chunks(cut) {
                seen.extend(reader.feed(piece).unwrap());
            }
            prop_assert_eq!(seen, objects);
            prop_assert!(reader.is_between_objects());
        }
    }

    #[test]
    fn what_is_no_object_stream_is_said() {
        assert!(Objects::default().feed(b"<html>}").is_err());
        let mut endless = Objects::default();
        assert!((0..100).any(|_| endless.feed(&[b' '; 100_000]).is_err()));
    }

    #[test]
    fn steps_and_failures_are_read() {
        let doc =
            json!({"status": "Downloading", "id": "0123456789abcdef", "progressDetail": {"current": 5, "total": 10}});
        let wanted = Step { part: "0123456789ab".into(), verb: "downloading", done_bytes: 5, total_bytes: Some(10) };
        assert_eq!(step(&doc), Some(wanted));
        assert_eq!(step(&json!({"status": "Digest: sha256:x"})), None);
        assert_eq!(failure(&json!({"error": "no", "errorDetail": {"message": "not here"}})), Some("not here".into()));
        assert_eq!(failure(&json!({"error": "no"})), Some("no".into()));
        assert_eq!(failure(&json!({"error": null})), None);
    }
}
