//! The stream of objects with which pull, push, load and import report: one JSON object after another, with or without newlines between.

use serde_json::Value;

use crate::api::json;
use crate::api::read::Read;
use crate::engine::progress::Step;

/// The longest object that is waited for; real ones have some hundred bytes.
const LONGEST: usize = 4 << 20;

/// The most memory that one object may take once it is read.
const RICHEST: usize = 64 << 20;

/// Cuts a byte stream into JSON objects, whatever the boundaries it arrives in. Each byte is looked at once on the way to its object's end, so
/// that an object that comes in a million pieces costs no more than one that comes whole.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// From the beginning of the object under way.
    held: Vec<u8>,
    /// How much of `held` has been looked at.
    n_seen: usize,
    /// Brackets that are open.
    depth: usize,
    within: Within,
    /// What is wrong with what came after the objects that were given.
    failed: Option<NotObjects>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Structure,
    Text,
    /// After a backslash.
    Escape,
}

/// No stream of JSON objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no stream of JSON objects: {0}")]
pub struct NotObjects(pub String);

impl Objects {
    /// Takes more bytes and gives the objects that are complete. What is wrong behind them is told by [`Objects::failure`], at the latest by the next
    /// call.
    ///
    /// # Errors
    /// What is no JSON, and an object beyond 4 MiB.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Value>, NotObjects> {
        if let Some(failed) = self.failed.clone() {
            return Err(failed);
        }
        self.held.extend_from_slice(bytes);
        let mut found = Vec::new();
        match self.read(&mut found) {
            Err(failed) if found.is_empty() => return Err(failed),
            Err(failed) => self.failed = Some(failed),
            Ok(()) => {}
        }
        Ok(found)
    }

    /// Why nothing comes any more after the objects that were given.
    pub fn failure(&mut self) -> Option<NotObjects> {
        self.failed.take()
    }

    fn read(&mut self, found: &mut Vec<Value>) -> Result<(), NotObjects> {
        let mut start = 0;
        while let Some(byte) = self.held.get(self.n_seen).copied() {
            let is_between = self.depth == 0 && self.within == Within::Structure;
            if is_between && !byte.is_ascii_whitespace() && !matches!(byte, b'{' | b'[') {
                let said = String::from_utf8_lossy(&self.held[self.n_seen..self.held.len().min(self.n_seen + 40)]);
                return Err(NotObjects(format!("it says {:?}", crate::api::error::one_line(&said))));
            }
            if self.n_seen - start > LONGEST {
                return Err(NotObjects("an object of more than 4 MiB".to_owned()));
            }
            if self.look_at(byte) {
                let end = self.n_seen + 1;
                found.push(json::parse(&self.held[start..end], RICHEST).map_err(|bad| NotObjects(bad.to_string()))?);
                start = end;
            }
            self.n_seen += 1;
        }
        if self.depth == 0 {
            start = self.n_seen;
        }
        self.held.drain(..start);
        self.n_seen -= start;
        Ok(())
    }

    /// Whether the stream may end here.
    pub fn is_between_objects(&self) -> bool {
        self.depth == 0 && self.failed.is_none()
    }

    /// Whether an object ends with this byte.
    fn look_at(&mut self, byte: u8) -> bool {
        self.within = match (self.within, byte) {
            (Within::Text, b'\\') => Within::Escape,
            (Within::Text, b'"') => Within::Structure,
            (Within::Text | Within::Escape, _) | (Within::Structure, b'"') => Within::Text,
            (Within::Structure, _) => Within::Structure,
        };
        match byte {
            b'{' | b'[' if self.within == Within::Structure => self.depth += 1,
            b'}' | b']' if self.within == Within::Structure => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
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
        assert!(Objects::default().feed(b"{\"a\":1]").is_err(), "brackets that do not fit");
        for endless in ["x", "}", "{", "\\"] {
            let mut objects = Objects::default();
            objects.feed(b"{\"a\":\"").unwrap();
            assert!((0..100).any(|_| objects.feed(endless.repeat(100_000).as_bytes()).is_err()), "{endless}");
            assert!(objects.held.len() <= LONGEST + 200_000);
        }
        let mut blank = Objects::default();
        assert!((0..100).all(|_| blank.feed(&[b'\n'; 100_000]).is_ok()) && blank.held.is_empty());
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
