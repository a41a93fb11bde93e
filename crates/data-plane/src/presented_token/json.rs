//! JSON objects in which no name stands twice, at any level.
//!
//! `serde_json` alone keeps the last of two members, other parsers the first: what one checked, another
//! may not have read.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub(super) type Object = Map<String, Value>;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// Not JSON, not an object, or nested deeper than 128.
    NotAnObject,
    DuplicateKey,
}

pub(super) fn object(bytes: &[u8]) -> Result<Object, Error> {
    let duplicate = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict {
        duplicate: &duplicate,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::NotAnObject),
        Err(_) if duplicate.get() => Err(Error::DuplicateKey),
        Err(_) => Err(Error::NotAnObject),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    duplicate: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            if object.insert(name, value).is_some() {
                self.duplicate.set(true);
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_found_at_any_level_and_however_it_is_written() {
        for json in [
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","s\u0075b":"b"}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":[{"c":1,"c":1}]}]}"#,
        ] {
            assert_eq!(object(json.as_bytes()), Err(Error::DuplicateKey), "{json}");
        }
        for json in [
            r#"{"sub":1,"Sub":2,"ſub":3}"#,
            r#"{"a":{"b":1},"c":{"b":1}}"#,
        ] {
            assert!(object(json.as_bytes()).is_ok(), "{json}");
        }
    }

    #[test]
    fn only_an_object_is_an_object() {
        for json in [
            "",
            "null",
            "[]",
            "1",
            "\"a\"",
            "{",
            "{}x",
            "{} {}",
            "{\"a\":}",
            "{\"a\":1e999}",
        ] {
            assert_eq!(object(json.as_bytes()), Err(Error::NotAnObject), "{json}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Error::NotAnObject));
        assert!(object(br#" {"a":[1,-1,1.5,true,null,"x",{}]} "#).is_ok());
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(100).as_bytes()).is_ok());
        assert_eq!(object(nested(100_000).as_bytes()), Err(Error::NotAnObject));
    }
}
