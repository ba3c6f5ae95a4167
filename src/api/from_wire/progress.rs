//! The stream of objects with which pull, push, load and import report: one JSON object after another, with or without newlines between.

use std::collections::BTreeMap;

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

/// The parts of one transfer as far as they have been told: daemons say how large a part is only while its bytes move.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<String, Step>);

/// Parts that are remembered; images have some hundred at most.
const MAX_PARTS: usize = 4096;

impl Parts {
    /// How far a part is, when the object says so.
    pub fn step(&mut self, doc: &Value) -> Option<Step> {
        let (status, part) = (doc.text("status"), doc.text("id"));
        let verb = VERBS.iter().find(|(words, _)| status.starts_with(words)).map(|(_, verb)| *verb)?;
        let part = part.get(..12).unwrap_or(&part).to_owned();
        let known = self.0.get(&part);
        // Podman says of the image, once all is there, what docker says of a layer.
        if verb == "done" && known.is_none() {
            return None;
        }
        let detail = doc.at("progressDetail");
        let told = detail.at("total").as_u64().filter(|total| *total > 0);
        let total_bytes = told.or(known.and_then(|known| known.total_bytes));
        let done_bytes = match (detail.at("current").as_u64(), known) {
            (Some(done), _) => done,
            (None, _) if is_whole(verb) => total_bytes.unwrap_or(0),
            (None, known) => known.map_or(0, |known| known.done_bytes),
        };
        let step = Step { part: part.clone(), verb, done_bytes, total_bytes };
        if known.is_some() || self.0.len() < MAX_PARTS {
            self.0.insert(part, step.clone());
        }
        Some(step)
    }

    /// What is still to be said once the whole has ended well: podman tells the end of no part.
    pub fn rest(self) -> impl Iterator<Item = Step> {
        self.0.into_values().filter(|step| !step.is_settled()).map(|step| {
            let verb = if matches!(step.verb, "preparing" | "pushing") { "pushed" } else { "done" };
            Step { verb, done_bytes: step.total_bytes.unwrap_or(step.done_bytes), ..step }
        })
    }
}

/// Whether a part of which this is said without a number has all its bytes.
fn is_whole(verb: &str) -> bool {
    !matches!(verb, "waiting" | "preparing" | "fetching" | "verifying" | "pushing")
}

/// What daemons say, and the house's word for it.
const VERBS: &[(&str, &str)] = &[
    ("Pulling fs layer", "waiting"),
    ("Waiting", "waiting"),
    ("Retrying", "waiting"),
    ("Preparing", "preparing"),
    ("Downloading", "fetching"),
    ("Verifying", "verifying"),
    ("Download complete", "extracting"),
    ("Extracting", "extracting"),
    ("Pull complete", "done"),
    ("Already exists", "present"),
    ("Pushing", "pushing"),
    ("Pushed", "pushed"),
    ("Layer already exists", "exists"),
    ("Mounted from", "mounted"),
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
        assert_eq!(Parts::default().step(&json!({"status": "Digest: sha256:x"})), None);
        assert_eq!(failure(&json!({"error": "no", "errorDetail": {"message": "not here"}})), Some("not here".into()));
        assert_eq!(failure(&json!({"error": "no"})), Some("no".into()));
        assert_eq!(failure(&json!({"error": null})), None);
    }

    /// What a face is told of these sentences about one layer of ten bytes: word, bytes, of how many.
    fn told(said: &[(&str, Option<u64>)]) -> Vec<(&'static str, u64, Option<u64>)> {
        let mut parts = Parts::default();
        let docs = said.iter().map(|(status, done)| {
            let detail = done.map_or(json!({}), |done| json!({"current": done, "total": 10}));
            json!({"status": status, "id": "0123456789abcdef", "progressDetail": detail})
        });
        let mut steps: Vec<Step> = docs.filter_map(|doc| parts.step(&doc)).collect();
        steps.extend(parts.rest());
        assert!(steps.iter().all(|step| step.part == "0123456789ab"));
        steps.into_iter().map(|step| (step.verb, step.done_bytes, step.total_bytes)).collect()
    }

    #[test]
    fn a_part_keeps_its_size_when_only_words_come() {
        let docker = [
            ("Pulling fs layer", None),
            ("Waiting", None),
            ("Downloading", Some(4)),
            ("Downloading", Some(9)),
            ("Verifying Checksum", None),
            ("Download complete", None),
            ("Extracting", Some(3)),
            ("Pull complete", None),
        ];
        let (unknown, known) = (None, Some(10));
        let wanted = [
            ("waiting", 0, unknown),
            ("waiting", 0, unknown),
            ("fetching", 4, known),
            ("fetching", 9, known),
            ("verifying", 9, known),
            ("extracting", 10, known),
            ("extracting", 3, known),
            ("done", 10, known),
        ];
        assert_eq!(told(&docker), wanted);
        assert_eq!(told(&[("Already exists", None)]), [("present", 0, None)]);
    }

    #[test]
    fn parts_whose_end_nobody_tells_end_with_the_whole() {
        let podman = [("Pulling fs layer", None), ("Downloading", Some(4)), ("Download complete", None)];
        let wanted =
            [("waiting", 0, None), ("fetching", 4, Some(10)), ("extracting", 10, Some(10)), ("done", 10, Some(10))];
        assert_eq!(told(&podman), wanted);
        // Of the image, not of a layer.
        assert_eq!(told(&[("Pull complete", None)]), []);
    }
}
