//! Numbers of answers, for serde.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::number::{MAX_ID, integer};

/// Largest count that a list is believed to have.
const MAX_COUNT: u64 = 1_000_000_000;

/// An ID.
///
/// # Errors
/// When it is not positive, or too large.
pub fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    checked(i64::deserialize(deserializer)?, 1)
}

/// An ID that may be missing, null or 0, which are all 0.
///
/// # Errors
/// When it is negative, or too large.
pub fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    checked(Option::deserialize(deserializer)?.unwrap_or_default(), 0)
}

/// IDs, flat or nested once.
///
/// # Errors
/// When one of them is not positive, or too large.
pub fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        One(i64),
        Several(Vec<i64>),
    }
    let mut ids = Vec::new();
    for item in Vec::<Item>::deserialize(deserializer)? {
        match item {
            Item::One(id) => ids.push(checked(id, 1)?),
            Item::Several(nested) => {
                for id in nested {
                    ids.push(checked(id, 1)?);
                }
            }
        }
    }
    Ok(ids)
}

/// A number of items that may be missing.
///
/// # Errors
/// When it is no whole number from 0.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(|count| count.min(MAX_COUNT)))
}

fn checked<E: Error>(id: i64, least: i64) -> Result<i64, E> {
    if (least..=MAX_ID).contains(&id) {
        return Ok(id);
    }
    Err(E::invalid_value(Unexpected::Signed(id), &"an ID"))
}

/// An error code: a number, or one as a text. Everything else is none, and no error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Code(pub Option<i64>);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor)
    }
}

struct CodeVisitor;

impl<'de> Visitor<'de> for CodeVisitor {
    type Value = Code;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a code")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Code, E> {
        Ok(Code(Some(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Code, E> {
        Ok(Code(i64::try_from(number).ok()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Code, E> {
        Ok(Code(integer(text)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Code, E> {
        Ok(Code(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Code, E> {
        Ok(Code(None))
    }

    fn visit_unit<E>(self) -> Result<Code, E> {
        Ok(Code(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Code, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Code(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Code, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Code(None))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::Code;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Listed {
        #[serde(deserialize_with = "super::id")]
        id: i64,
        #[serde(default, deserialize_with = "super::optional_id")]
        parent: i64,
        #[serde(default, deserialize_with = "super::count")]
        count: Option<u64>,
    }

    #[test]
    fn an_id_is_positive_and_a_count_is_capped() {
        let read = |text| serde_json::from_str::<Listed>(text);
        assert_eq!(read(r#"{"id":1,"parent":null}"#).unwrap(), Listed { id: 1, parent: 0, count: None });
        assert_eq!(read(r#"{"id":1,"count":18446744073709551615}"#).unwrap().count, Some(1_000_000_000));
        for text in [
            r#"{"id":0}"#,
            r#"{"id":-1}"#,
            r#"{"id":1e3}"#,
            r#"{"id":9223372036854775807}"#,
            r#"{"id":18446744073709551615}"#,
            r#"{"id":1,"parent":-1}"#,
            r#"{"id":1,"count":-1}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_code_is_a_number_or_none() {
        let read = |text: &str| serde_json::from_str::<Code>(text).unwrap().0;
        assert_eq!((read("7"), read("\"-7\""), read("9223372036854775808")), (Some(7), Some(-7), None));
        for text in ["null", "true", "1.5", "[1,[2]]", "{\"a\":{}}", "\"x\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
