//! Text → JSON value within a bound of memory. Called by clients for every answer of a daemon, which may be anybody.
//!
//! A value takes far more room than its text: two bytes of `[0,0,…` become 72, eight of `[{"a":0},…` some five hundred. What a value will
//! take is counted while it is read, and reading ends where the budget does.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// One value where it stands: in a list, or beside its name.
const VALUE: usize = size_of::<Value>();
/// What an allocation costs beyond its bytes.
const ALLOCATION: usize = 16;
/// An object with its index, before its members.
const OBJECT: usize = 400;
/// A member beside its value and the bytes of its name.
const MEMBER: usize = 64;

/// Why a text is no value for us.
#[derive(Debug, thiserror::Error)]
pub enum BadJson {
    /// It is JSON so far, and too much of it.
    #[error("it takes more than {budget} bytes to hold")]
    TooRich { budget: usize },
    #[error(transparent)]
    NotJson(serde_json::Error),
}

/// Reads one value; its memory is at most about `budget` bytes.
///
/// # Errors
/// No JSON, more than one value, deeper than 128 levels, or a value beyond the budget.
pub fn parse(text: &[u8], budget: usize) -> Result<Value, BadJson> {
    let left = Cell::new(Some(budget));
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Counted(&left).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| match left.get() {
        None => BadJson::TooRich { budget },
        Some(_) => BadJson::NotJson(error),
    })
}

/// Bytes that may still be taken; `None` once that was not enough.
struct Counted<'a>(&'a Cell<Option<usize>>);

impl Counted<'_> {
    fn take<E: serde::de::Error>(&self, n_bytes: usize) -> Result<(), E> {
        self.0.set(self.0.get().and_then(|left| left.checked_sub(n_bytes)));
        self.0.get().map(drop).ok_or_else(|| E::custom("too much"))
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.take::<D::Error>(VALUE)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.take::<E>(text.len() + ALLOCATION)?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        self.take::<E>(text.len() + ALLOCATION)?;
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take::<A::Error>(ALLOCATION)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Counted(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.take::<A::Error>(OBJECT)?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.take::<A::Error>(name.len() + MEMBER)?;
            map.insert(name, members.next_value_seed(Counted(self.0))?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_fits_reads_as_it_always_did(text in r#"[\[\]{}",:0-9a-z.\-\\ é]{0,40}"#) {
            let wanted = serde_json::from_str::<Value>(&text).ok();
            prop_assert_eq!(parse(text.as_bytes(), 1 << 20).ok(), wanted);
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = r#"{"a": [1, -2, 3.5, true, null, "x\n\u00e9"], "b": {}, "c": 18446744073709551615}"#;
        let wanted: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes(), 1 << 20).unwrap(), wanted);
    }

    #[test]
    fn what_grows_beyond_the_budget_is_too_rich() {
        let budget = 1 << 20;
        for one in ["0,", "[],", r#"{"a":0},"#, r#""a","#] {
            let text = format!("[{}0]", one.repeat(100_000));
            assert!(matches!(parse(text.as_bytes(), budget), Err(BadJson::TooRich { .. })), "{one}");
            assert!(parse(text.as_bytes(), 1 << 30).is_ok(), "{one}");
        }
        let names: String = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
        assert!(matches!(parse(format!("{{{names}\"x\":0}}").as_bytes(), budget), Err(BadJson::TooRich { .. })));
    }

    #[test]
    fn no_json_is_no_json() {
        for text in ["", "<html>", "{} {}", "[1,", &"[".repeat(100_000)] {
            assert!(matches!(parse(text.as_bytes(), 1 << 30), Err(BadJson::NotJson(_))), "{text:.20}");
        }
    }
}
