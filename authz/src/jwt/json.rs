//! JSON read strictly (RFC 8259, RFC 7493): what two parsers could read differently is refused.
//!
//! Refused beside everything that is no JSON: a member said twice at any depth, compared after unescaping; nesting past
//! [`MAX_DEPTH`]; more than [`MAX_VALUES`] values; numbers out of range; lone surrogates and invalid UTF-8; bytes after the end.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep objects and arrays may nest; the outermost object is one.
pub(super) const MAX_DEPTH: usize = 32;

/// How many members and elements there may be in all.
pub(super) const MAX_VALUES: usize = 10_000;

/// What remains of the bounds while reading, and the reason for stopping if it was one of ours.
struct Bounds {
    values: Cell<usize>,
    reason: Cell<&'static str>,
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    bounds: &'a Bounds,
    /// How many levels may still be opened.
    depth: usize,
}

/// The object these bytes are, or fixed words about why they are none.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let bounds = Bounds { values: Cell::new(MAX_VALUES), reason: Cell::new("not JSON") };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { bounds: &bounds, depth: MAX_DEPTH }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value)).map_err(|_| bounds.reason.get())?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("not an object"),
    }
}

// === impl Strict ===

impl Strict<'_> {
    fn open<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.stop("nested too deeply"))?;
        Ok(Self { depth, ..self })
    }

    fn count<E: Error>(self) -> Result<(), E> {
        let left = self.bounds.values.get().checked_sub(1).ok_or_else(|| self.stop("too many values"))?;
        self.bounds.values.set(left);
        Ok(())
    }

    fn stop<E: Error>(self, reason: &'static str) -> E {
        self.bounds.reason.set(reason);
        E::custom(reason)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
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

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.stop("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.open()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            inner.count()?;
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.open()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            inner.count()?;
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.stop("a member said twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_kept_as_it_is() {
        let text = br#"{"a":null,"b":[true,false],"c":-1,"d":18446744073709551615,"e":-1.5,"f":"\u0061b","g":{"h":[[-2],{}]}}"#;
        let lenient: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(Value::Object(object(text).unwrap()), lenient);
    }
}
