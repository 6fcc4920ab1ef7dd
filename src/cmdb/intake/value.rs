//! The value of a property, bounded while it is built.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::too_large::{MAX_PROPERTY, MAX_TEXT, TooLarge, VALUE_BYTES};

/// What the value of one property may still take, in bytes.
#[derive(Debug)]
pub struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(MAX_PROPERTY)
    }
}

impl Room {
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        let bytes = bytes.saturating_add(VALUE_BYTES);
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| E::custom(TooLarge::Property))?;
        Ok(())
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<String, E> {
        if text.len() > MAX_TEXT {
            return Err(E::custom(TooLarge::Text));
        }
        self.take(text.len())?;
        Ok(text.to_owned())
    }
}

/// Builds a value within the room that is left.
#[derive(Debug)]
pub struct Bounded<'r>(pub &'r mut Room);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.text(text).map(Value::String)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Bounded(&mut *self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut entries = Map::new();
        while let Some(name) = fields.next_key_seed(Text(&mut *self.0))? {
            entries.insert(name, fields.next_value_seed(Bounded(&mut *self.0))?);
        }
        Ok(Value::Object(entries))
    }
}

// The name of a field.
struct Text<'r>(&'r mut Room);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        self.0.text(text)
    }
}
